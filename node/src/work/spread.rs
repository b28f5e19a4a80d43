//! Independent pieces of work, over the processors of this machine.

use crate::chain::Parallel;
use core::num::NonZeroUsize;

/// Fewer pieces than this are not worth a thread.
const MIN_PER_THREAD: usize = 32;

/// As many threads as there are processors, for as long as a piece of work lasts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Threads(usize);

impl Threads {
    /// As many as this machine has processors.
    #[must_use]
    pub fn of_machine() -> Self {
        Self(std::thread::available_parallelism().map_or(1, NonZeroUsize::get))
    }
}

impl Parallel for Threads {
    fn all(&self, count: usize, work: &(dyn Fn(usize) -> bool + Sync)) -> Vec<bool> {
        let threads = self.0.min(count / MIN_PER_THREAD).max(1);
        if threads == 1 {
            return (0..count).map(work).collect();
        }
        let mut results = vec![false; count];
        let share = count.div_ceil(threads);
        std::thread::scope(|scope| {
            for (number, results) in results.chunks_mut(share).enumerate() {
                scope.spawn(move || {
                    for (at, result) in results.iter_mut().enumerate() {
                        *result = work(number * share + at);
                    }
                });
            }
        });
        results
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::Serial;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn threads_say_what_one_would_say(count in 0..500_usize, threads in 1..9_usize, by in 1..7_usize) {
            let work = |at: usize| at.is_multiple_of(by);
            prop_assert_eq!(Threads(threads).all(count, &work), Serial.all(count, &work));
        }
    }
}
