//! Times of the next call.

use super::call::Call;
use crate::time::Instant;
use core::time::Duration;

/// Interval between checks of the wall clock while something waits for it: it may be set.
const CLOCK_INTERVAL: Duration = Duration::from_secs(1);

/// Time of the last call, and what it left behind.
#[derive(Debug)]
pub(super) struct Timing {
    now: Instant,
    /// Wall time, in seconds since 1970.
    unix: u64,
    is_busy: bool,
    /// Interval of periodic work.
    interval: Duration,
    next_period: Instant,
}

impl Timing {
    /// Creates the state before the first call, which has work to do.
    pub(super) const fn new(interval: Duration) -> Self {
        Self {
            now: Instant::ZERO,
            unix: 0,
            is_busy: true,
            interval,
            next_period: Instant::ZERO,
        }
    }

    /// Records a call with an input.
    pub(super) const fn note_input(&mut self, call: &Call<'_, '_>) {
        self.is_busy |= call.is_busy;
        (self.now, self.unix) = (call.now(), call.unix());
    }

    /// Records a call that has done all work except what it left behind.
    pub(super) const fn note_advance(&mut self, call: &Call<'_, '_>) {
        self.is_busy = call.is_busy;
        (self.now, self.unix) = (call.now(), call.unix());
    }

    /// Returns whether periodic work is due; if so, the next period begins.
    pub(super) fn is_period_over(&mut self, now: Instant) -> bool {
        let is_over = self.next_period <= now;
        if is_over {
            self.next_period = now + self.interval;
        }
        is_over
    }

    /// Returns the monotonic time and the wall time, in seconds since 1970, of the last call.
    pub(super) const fn last_call(&self) -> (Instant, u64) {
        (self.now, self.unix)
    }

    /// Returns whether the last call left work behind that can be done at once.
    pub(super) const fn is_busy(&self) -> bool {
        self.is_busy
    }

    /// Returns when the wall clock is to be checked, if something waits for it: by `opens_at`, in
    /// seconds since 1970, as far as that is known.
    pub(super) fn next_look_at_clock(
        &self,
        opens_at: Option<u64>,
        has_waiting: bool,
    ) -> Option<Instant> {
        let ahead = opens_at.map(|opens| opens.saturating_sub(self.unix));
        let ahead = ahead.or(has_waiting.then_some(u64::MAX))?;
        Some(self.now + CLOCK_INTERVAL.min(Duration::from_secs(ahead)))
    }

    /// Returns when the next call is due if there is no work to do at once, given the times at which
    /// parts have work to do.
    pub(super) fn next_call<const N: usize>(&self, times: [Option<Instant>; N]) -> Option<Instant> {
        let times = times.into_iter().flatten();
        times.chain([self.next_period]).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_is_checked_each_second_while_something_waits_and_when_a_branch_opens() {
        let mut timing = Timing::new(Duration::from_secs(10));
        timing.unix = 1_000;
        assert_eq!(timing.next_look_at_clock(None, false), None);
        let second = Some(timing.now + Duration::from_secs(1));
        assert_eq!(timing.next_look_at_clock(None, true), second);
        assert_eq!(timing.next_look_at_clock(Some(1_500), false), second);
        // It opened already: the call is due.
        assert_eq!(timing.next_look_at_clock(Some(999), true), Some(timing.now));
    }

    #[test]
    fn next_call_is_the_earliest_time_or_the_end_of_the_period() {
        let mut timing = Timing::new(Duration::from_secs(10));
        assert!(timing.is_busy(), "before the first call");
        let at = Instant::from_secs;
        assert!(timing.is_period_over(at(2)) && !timing.is_period_over(at(11)));
        assert_eq!(timing.next_call([None, Some(at(30))]), Some(at(12)));
        assert_eq!(timing.next_call([Some(at(4)), None]), Some(at(4)));
    }
}
