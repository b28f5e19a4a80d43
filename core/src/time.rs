//! Points in time, passed in by the host. This crate does not read a clock.

use core::ops::{Add, Sub};
use core::time::Duration;

/// Point on the host's monotonic clock, in microseconds since an origin that the host chooses.
///
/// Only differences are meaningful. Arithmetic saturates, so a deadline far in the future is at
/// most [`Instant::MAX`] and never wraps into the past.
///
/// ```
/// use astreum_core::time::Instant;
/// use core::time::Duration;
///
/// let start = Instant::from_millis(1_500);
/// let deadline = start + Duration::from_secs(2);
/// assert!(deadline > start);
/// assert_eq!(deadline - Duration::from_secs(2), start);
/// assert_eq!(Instant::MAX + Duration::from_secs(1), Instant::MAX);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Instant {
    micros: u64,
}

impl Instant {
    /// Origin of the host's clock.
    pub const ZERO: Self = Self { micros: 0 };
    /// Latest instant; later than any event.
    pub const MAX: Self = Self { micros: u64::MAX };

    /// Creates the instant `micros` microseconds after the origin.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self { micros }
    }

    /// Creates the instant `millis` milliseconds after the origin, saturating.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self {
            micros: millis.saturating_mul(1_000),
        }
    }

    /// Creates the instant `secs` seconds after the origin, saturating.
    ///
    /// ```
    /// use astreum_core::time::Instant;
    /// assert_eq!(Instant::from_secs(2), Instant::from_millis(2_000));
    /// assert_eq!(Instant::from_secs(u64::MAX), Instant::MAX);
    /// ```
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self {
            micros: secs.saturating_mul(1_000_000),
        }
    }

    /// Returns the microseconds since the origin.
    ///
    /// ```
    /// use astreum_core::time::Instant;
    /// assert_eq!(Instant::from_millis(3).as_micros(), 3_000);
    /// ```
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.micros
    }

    /// Returns the duration from `earlier` to `self`, or zero if `earlier` is later.
    ///
    /// ```
    /// use astreum_core::time::Instant;
    /// use core::time::Duration;
    ///
    /// let (early, late) = (Instant::from_secs(1), Instant::from_secs(4));
    /// assert_eq!(late.since(early), Duration::from_secs(3));
    /// assert_eq!(early.since(late), Duration::ZERO);
    /// ```
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.micros.saturating_sub(earlier.micros))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Self {
            micros: self.micros.saturating_add(micros),
        }
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Self {
            micros: self.micros.saturating_sub(micros),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        assert_eq!(Instant::MAX + Duration::from_secs(1), Instant::MAX);
        assert_eq!(Instant::ZERO - Duration::from_secs(1), Instant::ZERO);
        assert_eq!(Instant::ZERO + Duration::MAX, Instant::MAX);
        assert_eq!(Instant::from_secs(u64::MAX), Instant::MAX);
    }

    #[test]
    fn since_is_zero_for_the_future() {
        let early = Instant::from_millis(5);
        let late = Instant::from_secs(1);
        assert_eq!(late.since(early), Duration::from_millis(995));
        assert_eq!(early.since(late), Duration::ZERO);
    }
}
