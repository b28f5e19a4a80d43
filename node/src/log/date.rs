//! UTC calendar dates for times since 1970.

use astreum_core::calendar::UtcTime;
use core::fmt;
use core::str::FromStr;
use core::time::Duration;
use jiff::{Span, ToSpan as _, civil};

const DAY_SECONDS: u64 = 86_400;

/// Day in UTC, from 1970 on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Date(civil::Date);

impl Date {
    const EPOCH: Self = Self(civil::Date::constant(1970, 1, 1));

    /// Returns the day of a Unix time; a time after the year 9999 counts as its last day.
    pub(super) fn of(unix_time: Duration) -> Self {
        Self::EPOCH.after(unix_time.as_secs() / DAY_SECONDS)
    }

    /// Returns the day `days` days earlier, but not one before 1970.
    pub(super) fn before(self, days: u64) -> Self {
        Self(self.0.saturating_sub(span(days))).max(Self::EPOCH)
    }

    /// Returns the day `days` days later, but not one after the year 9999.
    pub(super) fn after(self, days: u64) -> Self {
        Self(self.0.saturating_add(span(days)))
    }
}

/// Returns a span of this many days, or of more days than the calendar has.
fn span(days: u64) -> Span {
    const MORE_THAN_ALL: i64 = 4_000_000;
    i64::try_from(days)
        .map_or(MORE_THAN_ALL, |days| days.min(MORE_THAN_ALL))
        .days()
}

/// `YYYY-MM-DD`.
impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for Date {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let date = Self(text.parse().map_err(|_| ())?);
        // The parser accepts other forms of ISO 8601 too.
        (date >= Self::EPOCH && date.to_string() == text)
            .then_some(date)
            .ok_or(())
    }
}

/// RFC 3339 with microseconds, as Python's `isoformat` writes it.
pub(super) struct Rfc3339(pub(super) Duration);

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hour, minute, second) = time_of_day(self.0);
        let (date, micros) = (Date::of(self.0), self.0.subsec_micros());
        write!(
            f,
            "{date}T{hour:02}:{minute:02}:{second:02}.{micros:06}+00:00"
        )
    }
}

/// `YYYY-MM-DD-HH-MM-SS`: the format that the reference documents.
pub(super) struct ConsoleStamp(pub(super) Duration);

impl fmt::Display for ConsoleStamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hour, minute, second) = time_of_day(self.0);
        let date = Date::of(self.0);
        write!(f, "{date}-{hour:02}-{minute:02}-{second:02}")
    }
}

/// Returns seconds since 1970 as a date and time; years beyond the calendar as a number.
pub(crate) fn utc_text(seconds: u64) -> String {
    UtcTime(seconds).to_string()
}

const fn time_of_day(unix_time: Duration) -> (u64, u64, u64) {
    let seconds = unix_time.as_secs() % DAY_SECONDS;
    (seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_known_days() {
        let date = |seconds| Date::of(Duration::from_secs(seconds)).to_string();
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(951_782_400), "2000-02-29");
        assert_eq!(date(1_709_164_799), "2024-02-28");
        assert_eq!(date(1_709_164_800), "2024-02-29");
        assert_eq!(date(4_107_542_400), "2100-03-01");
        assert_eq!(date(253_402_300_799), "9999-12-31");
    }

    #[test]
    fn date_round_trips_and_rejects_malformed() {
        for days in (0..40_000).step_by(7) {
            let date = Date::EPOCH.after(days);
            assert_eq!(date.to_string().parse(), Ok(date));
        }
        for text in [
            "2023-02-29",
            "2023-2-9",
            "x",
            "2023-13-01",
            "",
            "99999-01-01",
            "2024-01-01-01",
        ] {
            assert_eq!(text.parse::<Date>(), Err(()), "{text}");
        }
        for text in ["1969-12-31", "20240101", "2024-01-01T00:00:00"] {
            assert_eq!(text.parse::<Date>(), Err(()), "{text}");
        }
    }

    #[test]
    fn days_that_no_calendar_has_are_the_nearest_one() {
        assert_eq!(Date::of(Duration::MAX).to_string(), "9999-12-31");
        assert_eq!(Date::EPOCH.after(u64::MAX).to_string(), "9999-12-31");
        assert_eq!(Date::EPOCH.after(1).before(u64::MAX), Date::EPOCH);
    }

    #[test]
    fn formats_time_stamps() {
        let time = Duration::new(1_795_352_924, 937_795_999);
        assert_eq!(
            Rfc3339(time).to_string(),
            "2026-11-22T13:08:44.937795+00:00"
        );
        assert_eq!(ConsoleStamp(time).to_string(), "2026-11-22-13-08-44");
        assert_eq!(utc_text(time.as_secs()), "2026-11-22 13:08:44 UTC");
    }
}
