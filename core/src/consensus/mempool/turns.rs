//! Fair queue of items of many senders: senders take turns, and each sender's own items keep their
//! order of arrival.
//!
//! Each item gets a turn: one after its sender's last, and not before the present turn, which is
//! the lowest turn of any item. Items are served by turn, then by arrival. So a sender with a
//! thousand queued items is served once before a newcomer, and not a thousand times. (Start-time
//! fair queueing with equal weights.)

use alloc::collections::{BTreeMap, BTreeSet};

/// Sender of items.
pub(super) type Sender = [u8; 32];

/// Position of an item: its turn, then its arrival.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Turn {
    turn: i64,
    arrival: i64,
}

/// Items of many senders in fair order.
#[derive(Debug)]
pub(super) struct Turns<T> {
    items: BTreeMap<Turn, (Sender, T)>,
    senders: BTreeMap<Sender, BTreeSet<Turn>>,
    /// Turn of a new item whose sender has nothing queued.
    present: i64,
}

impl<T> Turns<T> {
    /// Creates an empty queue.
    pub(super) const fn new() -> Self {
        Self {
            items: BTreeMap::new(),
            senders: BTreeMap::new(),
            present: 0,
        }
    }

    /// Returns whether there are no items.
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Returns the items in the order in which they are served.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Turn, &T)> {
        self.items.iter().map(|(turn, (_, item))| (*turn, item))
    }

    /// Adds an item behind those of its sender. Arrivals must be unique.
    pub(super) fn push(&mut self, sender: Sender, arrival: i64, item: T) -> Turn {
        let last = self.senders.get(&sender).and_then(BTreeSet::last);
        let turn = last.map_or(self.present, |last| last.turn.saturating_add(1));
        self.put(Turn { turn, arrival }, sender, item)
    }

    /// Adds an item in front of those of its sender: one that was served and has returned. Its
    /// arrival must be earlier than any other.
    pub(super) fn push_front(&mut self, sender: Sender, arrival: i64, item: T) -> Turn {
        let first = self.senders.get(&sender).and_then(BTreeSet::first);
        let turn = first.map_or(self.present, |first| first.turn.saturating_sub(1));
        self.present = self.present.min(turn);
        self.put(Turn { turn, arrival }, sender, item)
    }

    fn put(&mut self, turn: Turn, sender: Sender, item: T) -> Turn {
        self.items.insert(turn, (sender, item));
        self.senders.entry(sender).or_default().insert(turn);
        turn
    }

    /// Removes and returns the item at a position.
    pub(super) fn remove(&mut self, turn: Turn) -> Option<T> {
        let (sender, item) = self.items.remove(&turn)?;
        if let Some(turns) = self.senders.get_mut(&sender) {
            turns.remove(&turn);
            if turns.is_empty() {
                self.senders.remove(&sender);
            }
        }
        if let Some((first, _)) = self.items.first_key_value() {
            self.present = first.turn;
        }
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn order(turns: &Turns<u32>) -> Vec<u32> {
        turns.iter().map(|(_, item)| *item).collect()
    }

    #[test]
    fn new_sender_is_served_after_one_item_of_each_other_sender() {
        let mut turns = Turns::new();
        for number in 0..5 {
            turns.push([1; 32], i64::from(number), number);
        }
        turns.push([2; 32], 10, 10);
        turns.push([3; 32], 11, 11);
        turns.push([2; 32], 12, 12);
        assert_eq!(order(&turns), [0, 10, 11, 1, 12, 2, 3, 4]);
        // After some were served, a newcomer does not wait for the remaining turns of the flood.
        let first: Vec<Turn> = turns.iter().take(5).map(|(turn, _)| turn).collect();
        for turn in first {
            turns.remove(turn);
        }
        turns.push([4; 32], 13, 13);
        assert_eq!(order(&turns), [2, 13, 3, 4]);
    }

    #[test]
    fn returned_items_are_served_first_in_their_old_order() {
        let mut turns = Turns::new();
        turns.push([1; 32], 5, 5);
        turns.push([2; 32], 6, 6);
        // Newest first, in the order of the walk.
        for arrival in [-1, -2, -3] {
            turns.push_front([1; 32], arrival, arrival.unsigned_abs().try_into().unwrap());
        }
        assert_eq!(order(&turns), [3, 2, 1, 5, 6]);
        turns.push([3; 32], 7, 7);
        assert_eq!(
            order(&turns),
            [3, 7, 2, 1, 5, 6],
            "no sender falls behind it"
        );
    }

    proptest! {
        #[test]
        fn senders_are_served_round_robin_in_their_own_order(
            pushes in proptest::collection::vec((0..6u8, any::<bool>()), 0..80),
        ) {
            let mut turns = Turns::new();
            let mut queued: Vec<(u8, u32)> = Vec::new();
            for (at, (sender, also_serve)) in (0_u32..).zip(pushes) {
                turns.push([sender; 32], i64::from(at), at);
                queued.push((sender, at));
                if also_serve {
                    let first = turns.iter().next().map(|(turn, item)| (turn, *item));
                    let (turn, item) = first.unwrap();
                    prop_assert_eq!(turns.remove(turn), Some(item));
                    queued.retain(|(_, at)| *at != item);
                }
            }
            let served = order(&turns);
            prop_assert_eq!(served.len(), queued.len());
            let sender_of = |item: u32| queued.iter().find(|(_, at)| *at == item).unwrap().0;
            for sender in 0..6 {
                let own: Vec<u32> = served.iter().copied().filter(|at| sender_of(*at) == sender).collect();
                prop_assert!(own.is_sorted());
                // Between an item of this sender and its next but one, each other sender with items
                // left has one.
                let places: Vec<usize> = (0..served.len()).filter(|at| sender_of(served[*at]) == sender).collect();
                for pair in places.windows(3) {
                    for other in (0..6).filter(|other| *other != sender) {
                        let last = served.iter().rposition(|at| sender_of(*at) == other);
                        let first = served.iter().position(|at| sender_of(*at) == other);
                        if last.is_some_and(|last| last > pair[2]) && first.is_some_and(|first| first < pair[0]) {
                            let between = &served[pair[0]..pair[2]];
                            prop_assert!(between.iter().any(|at| sender_of(*at) == other));
                        }
                    }
                }
            }
            prop_assert_eq!(turns.senders.values().map(BTreeSet::len).sum::<usize>(), served.len());
        }
    }
}
