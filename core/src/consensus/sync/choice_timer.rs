//! Time of the next choice of the head: at once when something has happened that may change it, and
//! once per [`INTERVAL`] while blocks are verified.

use crate::time::Instant;
use core::time::Duration;

/// Minimum interval between two choices that are due only because blocks were verified.
const INTERVAL: Duration = Duration::from_secs(1);

/// Reasons to choose the head again.
#[derive(Debug)]
pub(super) struct ChoiceTimer {
    is_requested: bool,
    /// `true` if blocks were verified since the head was last chosen; from `free_at` on, that is
    /// sufficient to choose again.
    has_grown: bool,
    free_at: Instant,
}

impl ChoiceTimer {
    pub(super) const fn new() -> Self {
        Self {
            is_requested: false,
            has_grown: false,
            free_at: Instant::ZERO,
        }
    }

    /// Requests a choice.
    pub(super) const fn request(&mut self) {
        self.is_requested = true;
    }

    /// Records that a block was verified. A branch that grows as fast as it is verified never ends,
    /// and must not keep its blocks from the choice.
    pub(super) const fn note_growth(&mut self) {
        self.has_grown = true;
    }

    /// Returns whether the head is to be chosen now; if so, the choice stays requested until it is
    /// [done](Self::done).
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        self.is_requested |= self.has_grown && self.free_at <= now;
        self.is_requested
    }

    /// Records that the head was chosen.
    pub(super) fn done(&mut self, now: Instant) {
        self.is_requested = false;
        self.has_grown = false;
        self.free_at = now + INTERVAL;
    }

    /// Returns the time at which growth alone makes a choice due, if it is not due already.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        Some(self.free_at).filter(|at| self.has_grown && *at > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_limited_to_the_interval_and_requests_are_not() {
        let mut timer = ChoiceTimer::new();
        let start = Instant::from_secs(100);
        assert!(!timer.is_due(start) && timer.deadline(start).is_none());
        timer.note_growth();
        assert!(timer.is_due(start), "the first growth");
        timer.done(start);
        timer.note_growth();
        let half = start + INTERVAL / 2;
        assert!(!timer.is_due(half));
        assert_eq!(timer.deadline(half), Some(start + INTERVAL));
        timer.request();
        assert!(timer.is_due(half));
        timer.done(half);
        assert!(!timer.is_due(start + INTERVAL) && timer.deadline(half).is_none());
        timer.note_growth();
        assert!(timer.is_due(half + INTERVAL));
        assert!(timer.is_due(half), "due until it is done");
    }
}
