//! Rate at which sync proceeds to its first target.

use super::SyncStatus;
use astreum_core::atom::AtomId;
use core::time::Duration;
use std::collections::VecDeque;
use std::time::Instant;

/// Time of which the mean is taken.
const WINDOW: Duration = Duration::from_secs(10);
/// Minimum interval between two samples.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(500);

/// Means of the last ten seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SyncRate {
    /// Headers that became available in a second.
    pub headers_per_second: u64,
    /// Blocks that were verified in a second.
    pub blocks_per_second: u64,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Instant,
    headers: u64,
    blocks: u64,
}

/// Samples of the progress to one target.
#[derive(Debug, Default)]
pub(super) struct RateMeter {
    target: Option<AtomId>,
    /// Oldest first; all but the first are within [`WINDOW`].
    samples: VecDeque<Sample>,
    /// Progress at the latest status, which need not be a sample.
    latest: Option<Sample>,
}

impl RateMeter {
    /// Takes the progress of a new status.
    pub(super) fn note(&mut self, now: Instant, sync: &SyncStatus) {
        let Some(progress) = sync.syncs.first() else {
            *self = Self::default();
            return;
        };
        let sample = Sample {
            at: now,
            headers: progress.headers_done,
            blocks: progress.blocks_done,
        };
        let is_less = |latest: Sample| {
            // What was done counts from another block now.
            sample.headers < latest.headers || sample.blocks < latest.blocks
        };
        if self.target != Some(progress.head) || self.latest.is_some_and(is_less) {
            self.samples.clear();
        }
        self.target = Some(progress.head);
        self.latest = Some(sample);
        let is_due = |last: &Sample| now.duration_since(last.at) >= SAMPLE_INTERVAL;
        if self.samples.back().is_none_or(is_due) {
            self.samples.push_back(sample);
        }
        let is_old = |second: &Sample| now.duration_since(second.at) >= WINDOW;
        while self.samples.get(1).is_some_and(is_old) {
            self.samples.pop_front();
        }
    }

    /// Returns the rate at `now`; `None` without a target, or within the first second.
    pub(super) fn rate(&self, now: Instant) -> Option<SyncRate> {
        let latest = self.latest?;
        let within = |sample: &&Sample| now.duration_since(sample.at) <= WINDOW;
        // After a pause without progress all samples are old, and the latest shows no more.
        let first = self.samples.iter().find(within).unwrap_or(&latest);
        let millis = u64::try_from(now.duration_since(first.at).as_millis()).ok()?;
        if millis < 1_000 {
            return None;
        }
        let of = |count: u64| count.saturating_mul(1_000) / millis;
        Some(SyncRate {
            headers_per_second: of(latest.headers - first.headers),
            blocks_per_second: of(latest.blocks - first.blocks),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain_service::SyncProgress;

    fn status(target: u8, headers_done: u64, blocks_done: u64) -> SyncStatus {
        SyncStatus {
            syncs: vec![SyncProgress {
                head: AtomId::new([target; 32]),
                height: 9_000,
                headers_done,
                headers_total: 9_000,
                blocks_done,
                blocks_total: 9_000,
                waits: None,
            }],
            ..SyncStatus::default()
        }
    }

    fn rate(meter: &RateMeter, now: Instant) -> Option<(u64, u64)> {
        let rate = meter.rate(now)?;
        Some((rate.headers_per_second, rate.blocks_per_second))
    }

    #[test]
    fn rate_is_the_mean_of_ten_seconds_and_falls_when_nothing_moves() {
        let begin = Instant::now();
        let at = |millis| begin + Duration::from_millis(millis);
        let mut meter = RateMeter::default();
        assert_eq!(meter.rate(begin), None);
        for tenth in 0..=300 {
            meter.note(at(100 * tenth), &status(1, 40 * tenth, 5 * tenth));
            let expected = (tenth >= 10).then_some((400, 50));
            assert_eq!(rate(&meter, at(100 * tenth)), expected, "{tenth}");
        }
        assert!(meter.samples.len() <= 22);
        let (headers, blocks) = rate(&meter, at(35_000)).unwrap();
        assert!((199..=201).contains(&headers) && (24..=26).contains(&blocks));
        assert_eq!(rate(&meter, at(60_000)), Some((0, 0)));
        // Twice as fast.
        for tenth in 601..=750 {
            let done = tenth - 600;
            meter.note(at(100 * tenth), &status(1, 12_000 + 80 * done, 1_500));
        }
        assert_eq!(rate(&meter, at(75_000)), Some((800, 0)));
    }

    #[test]
    fn another_target_or_none_begins_anew() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut meter = RateMeter::default();
        meter.note(at(0), &status(1, 100, 100));
        meter.note(at(2), &status(1, 300, 200));
        assert_eq!(rate(&meter, at(2)), Some((100, 50)));
        meter.note(at(3), &status(2, 5, 0));
        assert_eq!(rate(&meter, at(3)), None);
        meter.note(at(5), &status(2, 25, 0));
        assert_eq!(rate(&meter, at(5)), Some((10, 0)));
        // The same target from another block on.
        meter.note(at(6), &status(2, 25, 0));
        meter.note(at(6), &status(2, 3, 0));
        assert_eq!(rate(&meter, at(6)), None);
        meter.note(at(9), &SyncStatus::default());
        assert_eq!(rate(&meter, at(9)), None);
    }
}
