//! Event queue in order of time. Of two simultaneous events the one that was planned first comes
//! first, so that the order depends on the plan alone.

use astreum_core::time::Instant;
use core::cmp::Ordering;
use std::collections::BinaryHeap;

struct Entry<T> {
    at: Instant,
    number: u64,
    what: T,
}

impl<T> Entry<T> {
    const fn key(&self) -> (Instant, u64) {
        (self.at, self.number)
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The heap returns the greatest entry first, so the earliest is the greatest.
impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        other.key().cmp(&self.key())
    }
}

/// Planned events, the earliest first.
pub struct EventQueue<T> {
    heap: BinaryHeap<Entry<T>>,
    planned: u64,
}

impl<T> Default for EventQueue<T> {
    fn default() -> Self {
        Self {
            heap: BinaryHeap::new(),
            planned: 0,
        }
    }
}

impl<T> EventQueue<T> {
    /// Plans an event.
    pub fn plan(&mut self, at: Instant, what: T) {
        let number = self.planned;
        self.planned += 1;
        self.heap.push(Entry { at, number, what });
    }

    /// Returns the next event, if it occurs until `end`.
    pub fn next_until(&mut self, end: Instant) -> Option<(Instant, T)> {
        if self.heap.peek()?.at > end {
            return None;
        }
        self.heap.pop().map(|entry| (entry.at, entry.what))
    }

    /// Returns the number of planned events.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Returns whether no event is planned.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_ordered_by_time_then_by_insertion() {
        let mut event_queue = EventQueue::default();
        for (seconds, name) in [(2, "c"), (1, "a"), (2, "d"), (1, "b")] {
            event_queue.plan(Instant::from_secs(seconds), name);
        }
        let mut order = String::new();
        while let Some((_, name)) = event_queue.next_until(Instant::from_secs(2)) {
            order += name;
        }
        assert_eq!(order, "abcd");
        event_queue.plan(Instant::from_secs(3), "e");
        assert_eq!(event_queue.next_until(Instant::from_secs(2)), None);
        assert_eq!(event_queue.len(), 1);
    }
}
