//! Cache of measured and unavailable lists, by id.
//!
//! The length of a list is determined by its id and never changes. Measuring a long list is work
//! that its sender does not pay for, so it is done once.

use crate::atom::AtomId;
use alloc::collections::{BTreeMap, VecDeque};
use core::time::Duration;

/// Maximum number of cached lists. If full, the one added first is forgotten.
pub const MAX_VERDICTS: usize = 65_536;
/// Maximum number of atoms remembered as unavailable.
pub const MAX_UNAVAILABLE: usize = 4_096;
/// Time for which an atom that no peer has is not requested again.
pub const UNAVAILABLE_TIME: Duration = Duration::from_secs(30);

/// Length of a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ListLength {
    /// Number of atoms.
    pub atoms: u64,
    /// Stored size of the atoms, in bytes.
    pub bytes: u64,
}

/// Result of measuring a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It was read to its end.
    Measured(ListLength),
    /// It exceeds the number of list atoms a block may read.
    TooLong,
}

/// Verdicts on lists. See the [module](self).
#[derive(Debug, Default)]
pub struct Verdicts {
    lists: BTreeMap<AtomId, Verdict>,
    order: VecDeque<AtomId>,
    unavailable: BTreeMap<AtomId, Duration>,
    unavailable_order: VecDeque<(Duration, AtomId)>,
}

impl Verdicts {
    /// Returns the verdict on a list, if it is cached.
    #[must_use]
    pub fn of(&self, list: &AtomId) -> Option<Verdict> {
        self.lists.get(list).copied()
    }

    /// Stores the verdict on a list.
    pub fn remember(&mut self, list: AtomId, verdict: Verdict) {
        if self.lists.insert(list, verdict).is_none() {
            self.order.push_back(list);
        }
        while self.order.len() > MAX_VERDICTS {
            if let Some(oldest) = self.order.pop_front() {
                self.lists.remove(&oldest);
            }
        }
    }

    /// Returns whether a list or atom was found to be unavailable less than [`UNAVAILABLE_TIME`]
    /// ago.
    #[must_use]
    pub fn is_unavailable(&self, now: Duration, id: &AtomId) -> bool {
        self.unavailable.get(id).is_some_and(|until| *until > now)
    }

    /// Remembers that no peer has a list or atom.
    pub fn not_found(&mut self, now: Duration, id: AtomId) {
        let until = now.saturating_add(UNAVAILABLE_TIME);
        self.unavailable.insert(id, until);
        self.unavailable_order.push_back((until, id));
        while let Some((until, id)) = self.unavailable_order.front().copied()
            && (until <= now || self.unavailable_order.len() > MAX_UNAVAILABLE)
        {
            self.unavailable_order.pop_front();
            if self.unavailable.get(&id) == Some(&until) {
                self.unavailable.remove(&id);
            }
        }
    }

    /// Forgets that a list or atom was unavailable.
    pub fn found(&mut self, id: &AtomId) {
        self.unavailable.remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u32) -> AtomId {
        let mut bytes = [9; 32];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        AtomId::new(bytes)
    }

    #[test]
    fn remembers_unavailable_atoms_for_a_limited_time() {
        let now = Duration::from_secs(50);
        let mut verdicts = Verdicts::default();
        verdicts.not_found(now, id(1));
        assert!(verdicts.is_unavailable(now, &id(1)));
        let over = now + UNAVAILABLE_TIME;
        assert!(!verdicts.is_unavailable(over, &id(1)));
        verdicts.not_found(over, id(2));
        assert_eq!(verdicts.unavailable.len(), 1, "the first one is over");
        verdicts.found(&id(2));
        assert!(!verdicts.is_unavailable(over, &id(2)));
        let count = u32::try_from(MAX_UNAVAILABLE).unwrap() + 3;
        for number in 10..10 + count {
            verdicts.not_found(over, id(number));
        }
        assert_eq!(verdicts.unavailable_order.len(), MAX_UNAVAILABLE);
        assert!(verdicts.is_unavailable(over, &id(9 + count)));
        assert!(!verdicts.is_unavailable(over, &id(10)));
    }

    #[test]
    fn verdicts_are_bounded_and_the_oldest_are_forgotten() {
        let mut verdicts = Verdicts::default();
        let count = u32::try_from(MAX_VERDICTS).unwrap() + 5;
        for number in 0..count {
            verdicts.remember(id(number), Verdict::TooLong);
        }
        assert_eq!(verdicts.lists.len(), MAX_VERDICTS);
        assert_eq!(verdicts.of(&id(4)), None);
        assert_eq!(verdicts.of(&id(5)), Some(Verdict::TooLong));
    }

    #[test]
    fn retries_unavailable_atoms_after_a_while() {
        let mut verdicts = Verdicts::default();
        let at = Duration::from_secs;
        verdicts.not_found(at(100), id(1));
        assert!(verdicts.is_unavailable(at(129), &id(1)));
        assert!(!verdicts.is_unavailable(at(130), &id(1)));
        // Later again: the expiry of the first entry does not end the second.
        verdicts.not_found(at(120), id(1));
        verdicts.not_found(at(140), id(2));
        assert!(verdicts.is_unavailable(at(149), &id(1)));
        verdicts.found(&id(1));
        assert!(!verdicts.is_unavailable(at(121), &id(1)));
        for number in 10..20_000 {
            verdicts.not_found(at(141), id(number));
        }
        assert!(verdicts.unavailable.len() <= MAX_UNAVAILABLE);
        assert!(verdicts.unavailable_order.len() <= MAX_UNAVAILABLE);
    }
}
