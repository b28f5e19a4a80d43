//! Parallel execution of independent units of work on the processors of this machine.
//!
//! Built on [`std::thread::scope`] instead of a library with a global pool of threads: the caller's
//! own work runs beside the units, and no thread outlives the call.

use astreum_core::consensus::{Parallel, Serial};
use core::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

/// Minimum number of units per thread; fewer are not worth a thread.
const MIN_PER_THREAD: usize = 16;
/// Number of units that a thread takes at a time: a quarter of a millisecond of signature checks, so that
/// all threads end at about the same time.
const SHARE: usize = 8;

/// Number of threads to use, each started for the duration of one call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Threads(usize);

impl Threads {
    /// Creates a setting of `count` threads; 0 counts as 1.
    #[must_use]
    pub const fn new(count: usize) -> Self {
        Self(count)
    }

    /// Creates a setting of one thread per processor of this machine.
    #[must_use]
    pub fn of_machine() -> Self {
        Self(std::thread::available_parallelism().map_or(1, NonZeroUsize::get))
    }
}

impl Parallel for Threads {
    fn all_alongside(
        &self,
        count: usize,
        work: &(dyn Fn(usize, &mut [bool]) + Sync),
        alongside: &mut dyn FnMut(),
    ) -> Vec<bool> {
        let threads = self.0.min(count / MIN_PER_THREAD).max(1);
        if threads == 1 {
            return Serial.all_alongside(count, work, alongside);
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
            alongside();
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
        fn verdicts_are_independent_of_the_number_of_threads(
            count in 0..500_usize,
            threads in 1..9_usize,
            by in 1..7_usize,
        ) {
            let work = |first: usize, results: &mut [bool]| {
                for (at, result) in (first..).zip(results) {
                    *result = at.is_multiple_of(by);
                }
            };
            let mut calls = 0;
            let results = Threads(threads).all_alongside(count, &work, &mut || calls += 1);
            prop_assert_eq!(results, Serial.all(count, &work));
            prop_assert_eq!(calls, 1);
        }
    }
}
