//! Watch of the free space of one storage.

use astreum_core::time::Instant;
use core::fmt;
use core::time::Duration;
use std::collections::VecDeque;

/// Interval between two measurements.
pub(super) const CHECK_INTERVAL: Duration = Duration::from_secs(10);
/// Used share from which a storage counts as nearly full, in percent.
const NEARLY_FULL_PERCENT: u64 = 90;
/// Maximum number of measurements that the rate is computed from: one hour.
const MAX_SAMPLES: usize = 360;
/// Minimum time that a rate is computed from.
const MIN_RATE_TIME: Duration = Duration::from_secs(60);

/// Used and free space of a storage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Usage {
    /// Bytes in use.
    pub(super) used: u64,
    /// Bytes that the storage can still take.
    pub(super) left: u64,
}

/// Warning about a storage that is nearly full.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NearlyFull {
    /// Name of the storage.
    pub what: String,
    /// Used share, in percent.
    pub percent: u64,
    /// Bytes that the storage can still take.
    pub left_bytes: u64,
    /// Time until the storage is full at the present rate; `None` if it does not grow or the rate
    /// is unknown.
    pub full_in: Option<Duration>,
}

impl fmt::Display for NearlyFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            what,
            percent,
            left_bytes,
            full_in,
        } = self;
        write!(f, "{what} is {percent} % full: {left_bytes} bytes are left")?;
        let Some(full_in) = full_in else {
            return Ok(());
        };
        let minutes = full_in.as_secs() / 60;
        let (days, hours) = (minutes / (24 * 60), minutes / 60 % 24);
        match (days, hours) {
            (0, 0) => write!(f, ", enough for {minutes} min at the current rate"),
            (0, _) => write!(
                f,
                ", enough for {hours} h {} min at the current rate",
                minutes % 60
            ),
            _ => write!(f, ", enough for {days} d {hours} h at the current rate"),
        }
    }
}

/// Watch of one storage.
#[derive(Debug)]
pub(super) struct StorageWatch {
    what: String,
    samples: VecDeque<(Instant, u64)>,
}

impl StorageWatch {
    pub(super) const fn new(what: String) -> Self {
        Self {
            what,
            samples: VecDeque::new(),
        }
    }

    /// Records the current usage; returns a warning if the storage is nearly full.
    pub(super) fn check(&mut self, now: Instant, usage: Usage) -> Option<NearlyFull> {
        if self.samples.len() >= MAX_SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back((now, usage.used));
        let all = usage.used.saturating_add(usage.left);
        let percent = u128::from(usage.used) * 100 / u128::from(all.max(1));
        let percent = u64::try_from(percent).unwrap_or(100);
        (percent >= NEARLY_FULL_PERCENT).then(|| NearlyFull {
            what: self.what.clone(),
            percent,
            left_bytes: usage.left,
            full_in: self.full_in(usage.left),
        })
    }

    fn full_in(&self, left: u64) -> Option<Duration> {
        let ((from, before), (to, after)) = (self.samples.front()?, self.samples.back()?);
        let (time, added) = (to.since(*from), after.saturating_sub(*before));
        if time < MIN_RATE_TIME || added == 0 {
            return None;
        }
        let seconds = u128::from(left) * u128::from(time.as_secs()) / u128::from(added);
        Some(Duration::from_secs(
            u64::try_from(seconds).unwrap_or(u64::MAX),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 1_000_000;

    fn check(watch: &mut StorageWatch, seconds: u64, used: u64) -> Option<NearlyFull> {
        let usage = Usage {
            used,
            left: LIMIT - used,
        };
        watch.check(Instant::from_secs(seconds), usage)
    }

    #[test]
    fn storage_is_nearly_full_from_90_percent_with_the_remaining_time() {
        let mut watch = StorageWatch::new("cold storage".to_owned());
        assert_eq!(check(&mut watch, 0, 0), None);
        assert_eq!(check(&mut watch, 1_000, 899_999), None);
        let full = check(&mut watch, 1_001, 900_000).unwrap();
        assert_eq!((full.percent, full.left_bytes), (90, 100_000));
        // 900,000 bytes took 1,001 s.
        assert_eq!(full.full_in, Some(Duration::from_secs(111)));
        let text = "cold storage is 90 % full: 100000 bytes are left, enough for 1 min at the \
                    current rate";
        assert_eq!(full.to_string(), text);
    }

    #[test]
    fn rate_needs_growth_and_time_within_an_hour() {
        let mut watch = StorageWatch::new("disk".to_owned());
        assert_eq!(check(&mut watch, 0, 950_000).unwrap().full_in, None);
        assert_eq!(check(&mut watch, 30, 960_000).unwrap().full_in, None);
        for number in 0..2 * MAX_SAMPLES as u64 {
            check(&mut watch, 100 + 10 * number, 960_000);
        }
        assert_eq!(watch.samples.len(), MAX_SAMPLES);
        let full = check(&mut watch, 100_000, 960_000).unwrap();
        assert_eq!(full.full_in, None, "nothing was added in the last hour");
        let empty = Usage { used: 0, left: 0 };
        assert_eq!(watch.check(Instant::from_secs(100_001), empty), None);
    }

    #[test]
    fn formats_long_times_in_hours_or_days() {
        let of = |seconds| NearlyFull {
            what: "disk".to_owned(),
            percent: 95,
            left_bytes: 5,
            full_in: Some(Duration::from_secs(seconds)),
        };
        assert!(
            of(7_260)
                .to_string()
                .ends_with("for 2 h 1 min at the current rate")
        );
        assert!(
            of(90_000)
                .to_string()
                .ends_with("for 1 d 1 h at the current rate")
        );
    }
}
