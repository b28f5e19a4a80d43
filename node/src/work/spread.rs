//! Independent pieces of work, over the processors of this machine.

use crate::chain::{Parallel, Serial};
use core::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

/// Fewer pieces than this are not worth a thread.
const MIN_PER_THREAD: usize = 32;
/// Pieces that a thread takes at a time: half a millisecond of signatures, so that all threads end
/// together.
const SHARE: usize = 16;

/// As many threads as there are processors, for as long as a piece of work lasts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Threads(usize);

impl Threads {
    /// So many of them; none counts as one.
    #[must_use]
    pub const fn new(count: usize) -> Self {
        Self(count)
    }

    /// As many as this machine has processors.
    #[must_use]
    pub fn of_machine() -> Self {
        Self(std::thread::available_parallelism().map_or(1, NonZeroUsize::get))
    }
}

impl Parallel for Threads {
    fn all_beside(
        &self,
        count: usize,
        work: &(dyn Fn(usize, &mut [bool]) + Sync),
        beside: &mut dyn FnMut(),
    ) -> Vec<bool> {
        let threads = self.0.min(count / MIN_PER_THREAD).max(1);
        if threads == 1 {
            return Serial.all_beside(count, work, beside);
        }
        let mut results = vec![false; count];
        let shares = Mutex::new(results.chunks_mut(SHARE).enumerate());
        let help = || {
            loop {
                let share = shares.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some((number, results)) = share else {
                    return;
                };
                work(number * SHARE, results);
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..threads {
                scope.spawn(help);
            }
            beside();
            help();
        });
        results
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn threads_say_what_one_would_say(count in 0..500_usize, threads in 1..9_usize, by in 1..7_usize) {
            let work = |first: usize, results: &mut [bool]| {
                for (at, result) in (first..).zip(results) {
                    *result = at.is_multiple_of(by);
                }
            };
            let mut besides = 0;
            let results = Threads(threads).all_beside(count, &work, &mut || besides += 1);
            prop_assert_eq!(results, Serial.all(count, &work));
            prop_assert_eq!(besides, 1);
        }
    }
}
