//! UTC calendar: human-readable dates of Unix times.

use core::fmt;
use jiff::SignedDuration;
use jiff::civil::DateTime;

/// Start of Unix time.
const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

/// Time in seconds since the Unix epoch. It prints as `2026-11-28 04:04:44 UTC`, and in the
/// alternate form, without spaces, as `2026-11-28T04:04:44Z`. A time after the year 9999 prints as
/// its number of seconds after 1970.
///
/// ```
/// use astreum_core::calendar::UtcTime;
/// assert_eq!(UtcTime(1_700_000_000).to_string(), "2023-11-14 22:13:20 UTC");
/// assert_eq!(format!("{:#}", UtcTime(1_700_000_000)), "2023-11-14T22:13:20Z");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct UtcTime(pub u64);

impl fmt::Display for UtcTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0;
        let since_epoch = i64::try_from(seconds).map(SignedDuration::from_secs);
        let time = since_epoch
            .ok()
            .and_then(|since| EPOCH.checked_add(since).ok());
        match (time, f.alternate()) {
            (Some(time), true) => write!(f, "{time}Z"),
            (Some(time), false) => write!(f, "{} {} UTC", time.date(), time.time()),
            (None, true) => write!(f, "{seconds}s-after-1970"),
            (None, false) => write!(f, "{seconds} s after 1970"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn times_print_as_dates_up_to_the_year_9999() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_795_838_684, "2026-11-28 04:04:44 UTC"),
            (253_402_300_799, "9999-12-31 23:59:59 UTC"),
            (253_402_300_800, "253402300800 s after 1970"),
            (u64::MAX, "18446744073709551615 s after 1970"),
        ] {
            assert_eq!(UtcTime(seconds).to_string(), text);
        }
        assert_eq!(
            alloc::format!("{:#}", UtcTime(1_795_838_684)),
            "2026-11-28T04:04:44Z"
        );
        assert!(!alloc::format!("{:#}", UtcTime(u64::MAX)).contains(' '));
    }
}
