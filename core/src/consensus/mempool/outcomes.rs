//! What became of transactions that are no longer in the mempool, for those that ask.

use super::admission::Refusal;
use crate::atom::AtomId;
use alloc::collections::{BTreeMap, VecDeque};

/// Transactions whose outcome is remembered. When full, the oldest is forgotten.
pub const MAX_OUTCOMES: usize = 1_024;

/// What became of a transaction that is in no block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It was refused, or removed again.
    Refused(Refusal),
    /// It was not included in time.
    Expired,
    /// It was in a block whose branch was left, and could not return to the mempool.
    Abandoned {
        /// The block.
        block: AtomId,
        /// The block's height.
        height: u64,
        /// Why it did not return.
        reason: Refusal,
    },
}

/// The latest outcomes.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    by_id: BTreeMap<AtomId, (u64, Outcome)>,
    order: VecDeque<(u64, AtomId)>,
    number: u64,
}

impl Outcomes {
    /// Remembers an outcome in the place of an earlier one.
    pub(super) fn put(&mut self, id: AtomId, outcome: Outcome) {
        self.number += 1;
        self.by_id.insert(id, (self.number, outcome));
        self.order.push_back((self.number, id));
        while self.order.len() > MAX_OUTCOMES {
            let Some((number, oldest)) = self.order.pop_front() else {
                return;
            };
            if self.by_id.get(&oldest).is_some_and(|(at, _)| *at == number) {
                self.by_id.remove(&oldest);
            }
        }
    }

    /// Forgets a transaction: it is in the mempool, or in a block.
    pub(super) fn remove(&mut self, id: &AtomId) {
        self.by_id.remove(id);
    }

    /// Returns the outcomes, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&AtomId, &Outcome)> {
        self.order.iter().filter_map(|(number, id)| {
            let (latest, outcome) = self.by_id.get(id)?;
            (latest == number).then_some((id, outcome))
        })
    }

    #[cfg(test)]
    pub(super) fn latest(&self) -> Option<(AtomId, Outcome)> {
        let latest = self.iter().last();
        latest.map(|(id, outcome)| (*id, outcome.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_outcome_of_a_transaction_counts_and_memory_is_bounded() {
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
        assert_eq!(outcomes.order.len(), MAX_OUTCOMES);
    }
}
