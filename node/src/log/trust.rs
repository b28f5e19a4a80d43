//! Trust in the wall clock: a wrong clock could delete log files.
//!
//! Retention deletes by date. A clock that jumps ahead, by a mistake of its owner, a dead battery
//! or a broken time server, would make every file expire at once. A clock is trusted as long as it
//! advances like the monotonic clock; after a jump it is trusted again once it has done so for a
//! day.

use core::time::Duration;

use super::date::Date;

/// Minimum difference between the clocks that counts as a jump.
const JUMP: Duration = Duration::from_hours(1);
/// Time that a clock must be steady to be trusted again.
const PROBATION: Duration = Duration::from_hours(24);

/// State of trust in the wall clock. See the module.
#[derive(Debug)]
pub(super) struct ClockTrust {
    wall: Duration,
    monotonic: Duration,
    trusted_from: Duration,
}

impl ClockTrust {
    /// Starts with this time. `newest` is the day of the newest log file: a clock that is behind
    /// it, or far ahead of it, may be wrong and is not trusted at first.
    pub(super) fn new(
        wall: Duration,
        monotonic: Duration,
        newest: Option<Date>,
        retention_days: u32,
    ) -> Self {
        let today = Date::of(wall);
        let is_plausible = newest.is_none_or(|newest| {
            newest <= today.after(1) && newest >= today.before(u64::from(retention_days))
        });
        let probation = if is_plausible {
            Duration::ZERO
        } else {
            PROBATION
        };
        Self {
            wall,
            monotonic,
            trusted_from: monotonic.saturating_add(probation),
        }
    }

    /// Updates both times; returns whether the wall clock is trusted.
    pub(super) fn observe(&mut self, wall: Duration, monotonic: Duration) -> bool {
        let elapsed = monotonic.saturating_sub(self.monotonic);
        let expected = self.wall.saturating_add(elapsed);
        if wall.abs_diff(expected) > JUMP {
            self.trusted_from = monotonic.saturating_add(PROBATION);
        }
        (self.wall, self.monotonic) = (wall, monotonic);
        monotonic >= self.trusted_from
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn hours(hours: u64) -> Duration {
        Duration::from_hours(hours)
    }

    #[test]
    fn clock_jump_suspends_trust_for_a_day() {
        let wall = hours(500_000);
        let mut clock = ClockTrust::new(wall, hours(0), None, 7);
        assert!(clock.observe(wall + hours(5), hours(5)));
        assert!(!clock.observe(wall + hours(1_005), hours(5)));
        assert!(!clock.observe(wall + hours(1_028), hours(28)));
        assert!(clock.observe(wall + hours(1_029), hours(29)));
        // A jump back counts as well.
        assert!(!clock.observe(wall + hours(29), hours(29)));
        assert!(clock.observe(wall + hours(53), hours(53)));
    }

    #[test]
    fn start_far_from_the_newest_file_is_on_probation() {
        let wall = hours(24 * 20_000);
        let today = Date::of(wall);
        let is_trusted =
            |newest| ClockTrust::new(wall, hours(3), newest, 7).observe(wall, hours(3));
        assert!(is_trusted(None));
        assert!(is_trusted(Some(today)) && is_trusted(Some(today.before(7))));
        assert!(!is_trusted(Some(today.before(8))) && !is_trusted(Some(today.after(2))));
        let mut clock = ClockTrust::new(wall, hours(3), Some(today.before(8)), 7);
        assert!(clock.observe(wall + hours(24), hours(27)));
    }
}
