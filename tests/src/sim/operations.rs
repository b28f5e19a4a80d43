//! Operator actions and machine failures, deliberate or by mistake: clocks that are set, lost
//! files, and moved keys. A plan of them is data, drawn from the seed before a trial begins.

use super::chain_files::{Key, Part};
use super::event_queue::EventQueue;
use super::host::ClockError;
use crate::random::Random;
use astreum_core::time::Instant;
use core::time::Duration;

/// Maximum number of seconds by which the clock of a machine that may validate is ahead. A key does
/// not sign a block before the time of its newest one, so that it pauses for this long once the
/// clock is corrected.
const MAX_VALIDATOR_AHEAD_SECONDS: usize = 15;
/// Maximum number of seconds by which another clock is ahead, or any clock is behind.
const MAX_OFF_SECONDS: usize = 600;

/// Operation on a machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// Sets the clock of a machine.
    SetClock(usize, ClockError),
    /// Cuts the power of a machine and removes a part of its files.
    Lose(usize, Part),
    /// Moves a key to another machine: its node stops and restarts without the key; the other one
    /// restarts with it.
    MoveKey(Key, usize),
    /// Starts all machines that are off.
    StartAll,
}

/// Scope of a plan.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scope {
    /// Machines with lower numbers hold the keys of their numbers at first.
    pub validators: usize,
    /// Machines that follow the chain; the last of them never validates.
    pub nodes: usize,
    /// Number of operations.
    pub count: usize,
    /// Start time.
    pub from: Duration,
    /// Duration.
    pub duration: Duration,
}

/// Draws a plan. Instants count from the beginning of the trial.
pub fn plan(random: &mut Random, scope: Scope, event_queue: &mut EventQueue<Operation>) {
    let millis = usize::try_from(scope.duration.as_millis()).unwrap_or(usize::MAX);
    for _ in 0..scope.count {
        let mut between = |from: usize| {
            let millis = from + random.below(millis.saturating_sub(from));
            (
                millis,
                Instant::ZERO + scope.from + Duration::from_millis(millis as u64),
            )
        };
        let (first, at) = between(0);
        let (_, later) = between(first);
        let node = random.below(scope.nodes);
        let key = random.below(scope.validators);
        match random.below(8) {
            0..=2 => {
                let error = clock_error(random, node + 1 < scope.nodes);
                event_queue.plan(at, Operation::SetClock(node, error));
                event_queue.plan(later, Operation::SetClock(node, ClockError::None));
            }
            3..=5 => {
                event_queue.plan(at, Operation::Lose(node, random.one_of(&Part::ALL)));
                event_queue.plan(later, Operation::StartAll);
            }
            _ => {
                let to = random.below(scope.nodes - 1);
                event_queue.plan(at, Operation::MoveKey(key, to));
                event_queue.plan(later, Operation::MoveKey(key, key));
            }
        }
    }
}

fn clock_error(random: &mut Random, may_validate: bool) -> ClockError {
    let ahead = match may_validate {
        true => MAX_VALIDATOR_AHEAD_SECONDS,
        false => MAX_OFF_SECONDS,
    };
    let mut seconds = |most| Duration::from_secs(1 + random.below(most) as u64);
    let [ahead, behind] = [seconds(ahead), seconds(MAX_OFF_SECONDS)];
    match random.below(3) {
        0 => ClockError::Ahead(ahead),
        1 => ClockError::Behind(behind),
        _ => ClockError::Unset,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plan_is_deterministic_and_every_clock_is_corrected_in_time() {
        let scope = Scope {
            validators: 2,
            nodes: 5,
            count: 20,
            from: Duration::from_secs(7),
            duration: Duration::from_secs(60),
        };
        let drawn = |seed| {
            let mut event_queue = EventQueue::default();
            plan(&mut Random::new(seed), scope, &mut event_queue);
            core::iter::from_fn(move || event_queue.next_until(Instant::from_secs(67)))
                .collect::<Vec<_>>()
        };
        assert_eq!(drawn(3), drawn(3));
        assert_ne!(drawn(3), drawn(4));
        let all = drawn(3);
        assert!(all.len() >= 40 && all.iter().all(|(at, _)| *at >= Instant::from_secs(7)));
        let wrong = all.iter().filter(
            |(_, what)| matches!(what, Operation::SetClock(_, error) if *error != ClockError::None),
        );
        let mended = |what: &Operation| matches!(what, Operation::SetClock(_, ClockError::None));
        let count = all.iter().filter(|(_, what)| mended(what)).count();
        assert_eq!(wrong.count(), count);
    }
}
