//! Outcomes of transactions that are no longer in the mempool.
//!
//! Outcomes of transactions of local users are kept apart from those of peers, so that a flood of
//! refused transactions does not displace an outcome that a user waits for.

use super::admission::Refusal;
use crate::atom::AtomId;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};

/// Maximum number of outcomes remembered for local users, and as many for peers. If full, the
/// oldest is forgotten.
pub const MAX_OUTCOMES: usize = 1_024;
/// Maximum number of transactions remembered as sent by local users. If full, the oldest is
/// forgotten.
pub const MAX_OWN: usize = 4_096;

/// Outcome of a transaction that is not in a block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It was refused, or removed later.
    Refused(Refusal),
    /// It was not included in time.
    Expired,
    /// It was in a block whose branch was abandoned, and could not return to the mempool.
    Abandoned {
        /// The block.
        block: AtomId,
        /// The block's height.
        height: u64,
        /// Reason it did not return.
        reason: Refusal,
    },
}

/// Latest outcomes. See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    of_users: Latest,
    of_peers: Latest,
    own: BTreeSet<AtomId>,
    own_order: VecDeque<AtomId>,
    /// Number of outcomes so far.
    number: u64,
}

impl Outcomes {
    /// Remembers that a local user sent a transaction.
    pub(super) fn set_own(&mut self, id: AtomId) {
        if !self.own.insert(id) {
            return;
        }
        self.own_order.push_back(id);
        if self.own_order.len() > MAX_OWN
            && let Some(oldest) = self.own_order.pop_front()
        {
            self.own.remove(&oldest);
        }
    }

    /// Stores an outcome, replacing an earlier one.
    pub(super) fn put(&mut self, id: AtomId, outcome: Outcome) {
        self.remove(&id);
        self.number += 1;
        match self.own.contains(&id) {
            true => self.of_users.put(self.number, id, outcome),
            false => self.of_peers.put(self.number, id, outcome),
        }
    }

    /// Forgets a transaction that is in the mempool or in a block again.
    pub(super) fn remove(&mut self, id: &AtomId) {
        self.of_users.by_id.remove(id);
        self.of_peers.by_id.remove(id);
    }

    /// Returns the outcomes, those of peers first, each oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&AtomId, &Outcome)> {
        self.of_peers.iter().chain(self.of_users.iter())
    }

    #[cfg(test)]
    pub(super) fn latest(&self) -> Option<(AtomId, Outcome)> {
        let both = self.of_users.by_id.iter().chain(&self.of_peers.by_id);
        let latest = both.max_by_key(|(_, (number, _))| *number);
        latest.map(|(id, (_, outcome))| (*id, outcome.clone()))
    }
}

/// The latest [`MAX_OUTCOMES`] outcomes of one kind.
#[derive(Debug, Default)]
struct Latest {
    by_id: BTreeMap<AtomId, (u64, Outcome)>,
    order: VecDeque<(u64, AtomId)>,
}

impl Latest {
    fn put(&mut self, number: u64, id: AtomId, outcome: Outcome) {
        self.by_id.insert(id, (number, outcome));
        self.order.push_back((number, id));
        while self.order.len() > MAX_OUTCOMES {
            let Some((number, oldest)) = self.order.pop_front() else {
                return;
            };
            if self.by_id.get(&oldest).is_some_and(|(at, _)| *at == number) {
                self.by_id.remove(&oldest);
            }
        }
    }

    fn iter(&self) -> impl Iterator<Item = (&AtomId, &Outcome)> {
        self.order.iter().filter_map(|(number, id)| {
            let (latest, outcome) = self.by_id.get(id)?;
            (latest == number).then_some((id, outcome))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn flood_from_peers_does_not_evict_outcomes_of_own_transactions() {
        let id = |number: u64| {
            let mut bytes = [2; 32];
            bytes[..8].copy_from_slice(&number.to_be_bytes());
            AtomId::new(bytes)
        };
        let mut outcomes = Outcomes::default();
        outcomes.put(id(0), Outcome::Refused(Refusal::TooSlow));
        outcomes.set_own(id(0));
        outcomes.put(id(0), Outcome::Expired);
        for number in 1..10_000 {
            outcomes.put(id(number), Outcome::Refused(Refusal::TooSlow));
        }
        let own: Vec<_> = outcomes.iter().filter(|(at, _)| **at == id(0)).collect();
        assert_eq!(own, [(&id(0), &Outcome::Expired)]);
        for number in 0..2 * MAX_OWN as u64 {
            outcomes.set_own(id(number));
            outcomes.set_own(id(number));
            outcomes.put(id(number), Outcome::Expired);
        }
        assert_eq!(outcomes.own.len(), MAX_OWN);
        assert_eq!(outcomes.of_users.order.len(), MAX_OUTCOMES);
    }

    #[test]
    fn keeps_the_latest_outcome_per_transaction_within_bounds() {
        let mut outcomes = Outcomes::default();
        let id = |number: usize| {
            let mut bytes = [1; 32];
            bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
            AtomId::new(bytes)
        };
        outcomes.put(id(0), Outcome::Refused(Refusal::TooSlow));
        outcomes.put(id(0), Outcome::Expired);
        for number in 1..MAX_OUTCOMES {
            outcomes.put(id(number), Outcome::Expired);
        }
        // The first entry has gone, the second is of the same transaction.
        assert_eq!(outcomes.iter().next(), Some((&id(0), &Outcome::Expired)));
        outcomes.put(id(MAX_OUTCOMES), Outcome::Expired);
        assert_eq!(outcomes.iter().next().map(|(id, _)| *id), Some(id(1)));
        outcomes.remove(&id(1));
        assert_eq!(outcomes.iter().count(), MAX_OUTCOMES - 1);
        for number in 0..3 * MAX_OUTCOMES {
            outcomes.put(id(number), Outcome::Expired);
        }
        assert_eq!(outcomes.of_peers.order.len(), MAX_OUTCOMES);
    }

    #[test]
    fn remembers_the_latest_own_transactions() {
        let mut outcomes = Outcomes::default();
        let id = |number: usize| {
            let mut bytes = [3; 32];
            bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
            AtomId::new(bytes)
        };
        for number in 0..=MAX_OWN {
            outcomes.set_own(id(number));
            // Put again, it does not take a second place.
            outcomes.set_own(id(number));
        }
        assert_eq!(outcomes.own_order.len(), MAX_OWN);
        assert!(!outcomes.own.contains(&id(0)));
        assert!(outcomes.own.contains(&id(1)) && outcomes.own.contains(&id(MAX_OWN)));
    }
}
