//! UTC calendar: human-readable dates of Unix times.

use core::fmt;

/// Number of seconds in a day.
const DAY_SECONDS: u64 = 86_400;
/// Last second of the year 9999, as a Unix time.
const LAST_SECOND: u64 = 253_402_300_799;

/// Returns year, month and day of the month in the Gregorian calendar. `days` is the number of days
/// since 1970-01-01; numbers that would overflow count as the last representable day.
#[must_use]
pub const fn civil(days: u64) -> (u64, u64, u64) {
    // Counts from 0000-03-01, so that the leap day is the last day of its year. Source: Howard
    // Hinnant's `civil_from_days`.
    let days = days.saturating_add(719_468);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

/// Time in seconds since the Unix epoch. It prints as `2026-11-28 04:04:44 UTC`, and in the
/// alternate form, without spaces, as `2026-11-28T04:04:44Z`. A time after the year 9999 prints as
/// its number of seconds after 1970.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct UtcTime(pub u64);

impl fmt::Display for UtcTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0;
        match (seconds > LAST_SECOND, f.alternate()) {
            (true, true) => return write!(f, "{seconds}s-after-1970"),
            (true, false) => return write!(f, "{seconds} s after 1970"),
            (false, _) => {}
        }
        let (year, month, day) = civil(seconds / DAY_SECONDS);
        let of_day = seconds % DAY_SECONDS;
        let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
        if f.alternate() {
            return write!(
                f,
                "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"
            );
        }
        write!(
            f,
            "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC"
        )
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
            (LAST_SECOND, "9999-12-31 23:59:59 UTC"),
            (LAST_SECOND + 1, "253402300800 s after 1970"),
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

    #[test]
    fn days_that_cannot_be_counted_do_not_overflow() {
        let (_, month, day) = civil(u64::MAX);
        assert!((1..=12).contains(&month) && (1..=31).contains(&day));
    }
}
