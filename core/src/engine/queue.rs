//! Queue that is bounded in bytes.
//!
//! The size of an item is stored with it and subtracted when it leaves, in whatever way; nothing
//! else changes the sum.

use super::limits::MAX_QUEUE_WAITING;
use crate::time::Instant;
use alloc::collections::VecDeque;
use core::time::Duration;

/// Number of bytes that the reference counts for a queued item besides the datagram.
const ITEM_OVERHEAD_BYTES: u64 = 6;

#[derive(Debug)]
struct Item<T> {
    bytes: u64,
    item: T,
}

/// First-in, first-out queue with a capacity in bytes; a few more items wait a limited time for
/// space.
#[derive(Debug)]
pub struct ByteQueue<T> {
    limit_bytes: u64,
    timeout: Duration,
    bytes: u64,
    items: VecDeque<Item<T>>,
    waiting: VecDeque<(Instant, Item<T>)>,
}

impl<T> ByteQueue<T> {
    /// Creates an empty queue. A limit of 0 disables the capacity; with a timeout of zero no item
    /// waits.
    #[must_use]
    pub const fn new(limit_bytes: u64, timeout: Duration) -> Self {
        Self {
            limit_bytes,
            timeout,
            bytes: 0,
            items: VecDeque::new(),
            waiting: VecDeque::new(),
        }
    }

    const fn has_room(&self, bytes: u64) -> bool {
        self.limit_bytes == 0 || self.bytes.saturating_add(bytes) <= self.limit_bytes
    }

    fn admit(&mut self, item: Item<T>) {
        self.bytes = self.bytes.saturating_add(item.bytes);
        self.items.push_back(item);
    }

    /// Appends an item of `len` bytes, or lets it wait for space.
    ///
    /// # Errors
    /// Returns the item if there is no space and it cannot wait.
    pub fn push(&mut self, now: Instant, len: usize, item: T) -> Result<(), T> {
        let bytes = (len as u64).saturating_add(ITEM_OVERHEAD_BYTES);
        let item = Item { bytes, item };
        if self.waiting.is_empty() && self.has_room(bytes) {
            self.admit(item);
            return Ok(());
        }
        // An item larger than the whole queue can never fit.
        if self.timeout.is_zero()
            || self.waiting.len() >= MAX_QUEUE_WAITING
            || bytes > self.limit_bytes
        {
            return Err(item.item);
        }
        self.waiting.push_back((now + self.timeout, item));
        Ok(())
    }

    /// Removes the first item; waiting items move up as far as there is space.
    pub fn pop(&mut self) -> Option<T> {
        let Item { bytes, item } = self.items.pop_front()?;
        self.bytes = self.bytes.saturating_sub(bytes);
        while let Some((_, next)) = self.waiting.front()
            && self.has_room(next.bytes)
            && let Some((_, next)) = self.waiting.pop_front()
        {
            self.admit(next);
        }
        Some(item)
    }

    /// Removes and returns an item that has waited too long for space.
    pub fn pop_expired(&mut self, now: Instant) -> Option<T> {
        if self.deadline().is_none_or(|deadline| deadline > now) {
            return None;
        }
        self.waiting.pop_front().map(|(_, item)| item.item)
    }

    /// Drops all items that have waited too long for space; returns their number.
    pub fn expire(&mut self, now: Instant) -> usize {
        core::iter::from_fn(|| self.pop_expired(now)).count()
    }

    /// Returns the time at which the next waiting item is dropped.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.waiting.front().map(|(deadline, _)| *deadline)
    }

    /// Returns the number of bytes in the queue, including the overhead of each item but not the
    /// waiting items.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the number of items in the queue, without the waiting ones.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Returns whether there is nothing to pop.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Returns the proof of work that the fill level of the queue requires of senders, in leading
    /// zero bits, as in the reference's table.
    #[must_use]
    pub fn required_difficulty(&self) -> u8 {
        /// Hundredths of the limit below which a difficulty applies, and that difficulty.
        const STEPS: [(u64, u8); 9] = [
            (70, 1),
            (75, 3),
            (80, 5),
            (85, 8),
            (90, 12),
            (93, 16),
            (95, 19),
            (97, 22),
            (98, 24),
        ];
        if self.limit_bytes == 0 {
            return 1;
        }
        let filled = u128::from(self.bytes) * 100;
        let limit = u128::from(self.limit_bytes);
        let step = STEPS
            .iter()
            .find(|(hundredths, _)| filled < limit * u128::from(*hundredths));
        step.map_or(26, |(_, difficulty)| *difficulty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(secs: u64) -> Instant {
        Instant::from_secs(secs)
    }

    #[test]
    fn full_queue_lets_some_items_wait_and_then_drops() {
        let mut queue = ByteQueue::new(32, Duration::from_secs(1));
        assert_eq!(queue.push(at(0), 10, 'a'), Ok(()));
        assert_eq!(queue.push(at(0), 10, 'b'), Ok(()));
        assert_eq!((queue.bytes(), queue.push(at(0), 10, 'c')), (32, Ok(())));
        assert_eq!((queue.len(), queue.deadline()), (2, Some(at(1))));
        assert_eq!(queue.push(at(0), 27, 'x'), Err('x'), "can never fit");
        assert_eq!(queue.pop(), Some('a'));
        assert_eq!(
            (queue.len(), queue.deadline(), queue.bytes()),
            (2, None, 32)
        );
        assert_eq!(queue.push(at(5), 1, 'd'), Ok(()));
        assert_eq!((queue.expire(at(5)), queue.expire(at(6))), (0, 1));
        assert_eq!(
            (queue.pop(), queue.pop(), queue.pop()),
            (Some('b'), Some('c'), None)
        );
        assert_eq!(queue.bytes(), 0);
    }

    #[test]
    fn zero_disables_the_limit_and_zero_timeout_the_waiting() {
        let mut endless = ByteQueue::new(0, Duration::ZERO);
        assert!((0..10_000).all(|n| endless.push(at(0), usize::MAX, n).is_ok()));
        assert_eq!(endless.required_difficulty(), 1);
        let mut hasty = ByteQueue::new(10, Duration::ZERO);
        assert_eq!(
            (hasty.push(at(0), 4, 1), hasty.push(at(0), 1, 2)),
            (Ok(()), Err(2))
        );
    }

    #[test]
    fn difficulty_matches_the_table_of_the_reference() {
        let mut queue = ByteQueue::new(1_000, Duration::ZERO);
        let mut seen = alloc::vec![];
        for _ in 0..100 {
            assert_eq!(queue.push(at(0), 4, ()), Ok(()));
            seen.push(queue.required_difficulty());
        }
        for (percent, expected) in [
            (69, 1),
            (70, 3),
            (74, 3),
            (75, 5),
            (80, 8),
            (85, 12),
            (90, 16),
            (93, 19),
            (95, 22),
            (97, 24),
            (98, 26),
            (100, 26),
        ] {
            assert_eq!(seen[percent - 1], expected, "at {percent}");
        }
        while queue.pop().is_some() {}
        assert_eq!((queue.bytes(), queue.required_difficulty()), (0, 1));
    }

    proptest! {
        #[test]
        fn byte_count_equals_the_sum_of_the_items(
            limit in 0..200u64, timeout_seconds in 0..3u64,
            steps in proptest::collection::vec((0..4u8, 0..60usize), 0..200),
        ) {
            let mut queue = ByteQueue::new(limit, Duration::from_secs(timeout_seconds));
            for (now, (step, len)) in steps.into_iter().enumerate() {
                let now = at(now as u64);
                match step {
                    0 | 1 => drop(queue.push(now, len, len)),
                    2 => drop(queue.pop()),
                    _ => drop(queue.expire(now)),
                }
                let sum: u64 = queue.items.iter().map(|item| item.item as u64 + 6).sum();
                prop_assert_eq!(queue.bytes(), sum);
                prop_assert!(limit == 0 || sum <= limit);
                prop_assert!(queue.waiting.is_empty() || !queue.items.is_empty());
            }
            while queue.pop().is_some() {}
            prop_assert_eq!((queue.bytes(), queue.waiting.len()), (0, 0));
        }
    }
}
