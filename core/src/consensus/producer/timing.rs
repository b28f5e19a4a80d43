//! Timing of the work for a slot: earliest possible timestamp, and time of its begin.

use super::MAX_LATENESS;
use core::time::Duration;

/// Safety margin: the work for a slot begins earlier by this time than it has to.
const MARGIN: Duration = Duration::from_millis(50);

/// Timing of the work for a slot, on the wall clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Timing {
    now: Duration,
    work: Duration,
}

impl Timing {
    /// Creates the timing of work that takes `work` and cannot begin before `now`.
    pub(super) const fn new(now: Duration, work: Duration) -> Self {
        Self { now, work }
    }

    /// Returns the first whole second at or after the end of work that begins now.
    fn reachable(&self) -> u64 {
        let done = self.now.saturating_add(self.work);
        done.as_secs()
            .saturating_add(u64::from(done.subsec_nanos() > 0))
    }

    /// Returns the earliest timestamp of a block, after the timestamp `signed` of the newest block
    /// that the key has signed, if any.
    pub(super) fn earliest(&self, signed: Option<u64>) -> u64 {
        let later = signed.map_or(0, |signed| signed.saturating_add(1));
        self.reachable().max(later)
    }

    /// Returns the time at which the work for `timestamp` begins, or `None` if it begins now.
    /// `parent` is the timestamp of the parent block.
    ///
    /// If `timestamp` is the first second that the work can reach after `parent`, and its begin is
    /// at most [`MAX_LATENESS`] away, the work begins now.
    pub(super) fn begin(&self, timestamp: u64, parent: u64) -> Option<Duration> {
        let begin = Duration::from_secs(timestamp).saturating_sub(self.work + MARGIN);
        let is_next = timestamp == self.reachable().max(parent.saturating_add(1));
        let is_due = begin <= self.now || is_next && begin <= self.now + MAX_LATENESS;
        (!is_due).then_some(begin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn earliest_timestamp_is_the_end_of_the_work_rounded_up() {
        for (now, work, earliest) in [
            (1_000_000, 0, 1_000),
            (1_000_000, 1, 1_001),
            (999_500, 500, 1_000),
            (999_500, 501, 1_001),
            (999_500, 1_500, 1_001),
        ] {
            let timing = Timing::new(millis(now), millis(work));
            assert_eq!(timing.earliest(None), earliest, "{now} ms + {work} ms");
        }
    }

    #[test]
    fn earliest_timestamp_is_later_than_the_last_signed_block() {
        let timing = Timing::new(millis(999_500), millis(500));
        for (signed, earliest) in [(998, 1_000), (999, 1_000), (1_000, 1_001), (5_000, 5_001)] {
            assert_eq!(timing.earliest(Some(signed)), earliest, "{signed}");
        }
        assert_eq!(timing.earliest(Some(u64::MAX)), u64::MAX);
    }

    #[test]
    fn work_begins_with_a_margin() {
        let timing = Timing::new(millis(1_000_000), millis(300));
        // 300 ms of work and 50 ms of margin.
        assert_eq!(timing.begin(1_010, 999), Some(millis(1_009_650)));
        for (now, begin) in [
            (1_009_649, Some(millis(1_009_650))),
            (1_009_650, None),
            (1_009_651, None),
        ] {
            // A parent at 1,010 makes the next possible timestamp 1,011: this slot is not the next.
            let timing = Timing::new(millis(now), millis(300));
            assert_eq!(timing.begin(1_010, 1_010), begin, "{now}");
        }
    }

    #[test]
    fn work_on_the_next_slot_begins_immediately_unless_it_is_far() {
        let work = millis(300);
        // The timestamp is the next second that the work can reach.
        assert_eq!(Timing::new(millis(1_000_000), work).begin(1_001, 999), None);
        // The timestamp of the parent is the bound: work begins up to MAX_LATENESS before its usual
        // begin.
        let far = 1_004;
        let begin = millis(1_003_650);
        let due = begin - MAX_LATENESS;
        assert_eq!(Timing::new(due, work).begin(far, far - 1), None);
        let before = Timing::new(due - millis(1), work);
        assert_eq!(before.begin(far, far - 1), Some(begin));
        // A slot that is not the next one waits, even if it is near.
        assert_eq!(Timing::new(due, work).begin(far, far - 2), Some(begin));
    }
}
