//! When a validator's turn comes after one block.
//!
//! Each slot of two seconds after a block has one validator, drawn from the stakes that the block
//! left. Whoever misses its slot is not waited for: the next one's turn comes all the same.

use crate::atom::{AtomId, AtomSource};
use crate::chain::{
    Address, Block, Draw, MAX_SLOTS, RecordError, SLOT_SECONDS, SelectError, read_stakes,
};
use crate::integer::Natural;

/// Slots that are drawn in one call at most. A validator that is in none of them has a very small
/// stake; the next call goes on from there.
const MAX_DRAWS: u64 = 4_096;

/// Why there is no schedule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NoSchedule {
    /// This atom is needed first.
    Missing(AtomId),
    /// Nobody can be drawn.
    Select(SelectError),
    /// The stakes cannot be read.
    Unreadable(&'static str),
    /// This validator has nothing at stake.
    NoStake,
}

/// A validator's turns after one block.
#[derive(Debug)]
pub struct Schedule {
    validator: Address,
    timestamp: u64,
    draw: Draw,
    /// The validator's first slot that is drawn and not over.
    own: Option<u64>,
}

impl Schedule {
    /// The turns of `validator` after `parent`, whose time is `timestamp`.
    ///
    /// # Errors
    /// When an atom is missing, or the validator will never be drawn.
    pub fn new<S: AtomSource + ?Sized>(
        source: &S,
        parent: &Block,
        timestamp: u64,
        validator: Address,
    ) -> Result<Self, NoSchedule> {
        let stakes = read_stakes(source, parent.accounts).map_err(|error| match error {
            RecordError::Malformed { problem, .. } => NoSchedule::Unreadable(problem),
            ref other => other.missing().map_or(
                NoSchedule::Unreadable("the atom store failed"),
                NoSchedule::Missing,
            ),
        })?;
        if !stakes.contains_key(&validator) {
            return Err(NoSchedule::NoStake);
        }
        Ok(Self {
            validator,
            timestamp,
            draw: Draw::new(&stakes, parent.id()).map_err(NoSchedule::Select)?,
            own: None,
        })
    }

    /// The first second from `earliest` on that is the validator's; `None` if none has been found
    /// yet, or the block is too old to be followed. `earliest` must not go back between calls.
    pub fn next(&mut self, earliest: u64) -> Option<u64> {
        let earliest = earliest.max(self.timestamp + 1);
        let slot = self.slot_of(earliest)?;
        if self.own.is_none_or(|own| own < slot) {
            self.own = self.draw_own(slot);
        }
        // The first second of a slot is odd, counted from the block.
        self.own
            .map(|own| earliest.max(self.timestamp + SLOT_SECONDS * (own - 1) + 1))
    }

    fn draw_own(&mut self, from: u64) -> Option<u64> {
        let mut slot = from.max(self.draw.slot() + 1);
        let last = slot + MAX_DRAWS;
        while slot < last && slot <= MAX_SLOTS {
            if self.draw.validator_of(slot)? == self.validator {
                return Some(slot);
            }
            slot += 1;
        }
        None
    }

    fn slot_of(&self, timestamp: u64) -> Option<u64> {
        let (from, to) = (Natural::from(self.timestamp), Natural::from(timestamp));
        crate::chain::slot_of(&from, &to).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atom::MemoryStore;
    use crate::chain::{Genesis, validator_at};
    use crate::trie::Scalar;

    fn address(number: u8) -> Address {
        Address::new([number; 32])
    }

    fn parent(stakes: &[(u8, u64)]) -> (MemoryStore, Block) {
        let mut genesis = Genesis::new(address(9), 0_u64.into(), 1_000_u64.into());
        let stakes = stakes.iter();
        genesis.stakes = stakes
            .map(|(number, stake)| (address(*number), (*stake).into()))
            .collect();
        let mut store = MemoryStore::new();
        let block = genesis.build(&mut Scalar, &mut store).unwrap();
        (store, block)
    }

    #[test]
    fn every_second_belongs_to_whom_the_draw_says() {
        let (store, block) = parent(&[(1, 1_000), (2, 300), (3, 1)]);
        let stakes = read_stakes(&store, block.accounts).unwrap();
        let drawn = |second: u64| {
            let (from, to) = (block.timestamp.clone(), Natural::from(second));
            validator_at(&stakes, block.id(), &from, &to).unwrap()
        };
        for number in 1..=3 {
            let mut schedule = Schedule::new(&store, &block, 1_000, address(number)).unwrap();
            for second in 1_001..1_200 {
                let next = schedule.next(second).unwrap();
                assert_eq!(drawn(next), address(number));
                assert!((second..next).all(|missed| drawn(missed) != address(number)));
            }
        }
    }

    #[test]
    fn a_long_silence_is_passed_over_and_a_stranger_never_has_a_turn() {
        let (store, block) = parent(&[(1, 5), (2, 5)]);
        let mut schedule = Schedule::new(&store, &block, 1_000, address(1)).unwrap();
        let year = 1_000 + 365 * 86_400;
        assert!(schedule.next(year).is_some_and(|next| next < year + 100));
        let too_late = 1_000 + SLOT_SECONDS * (MAX_SLOTS + 1);
        assert_eq!(schedule.next(too_late), None);
        let stranger = Schedule::new(&store, &block, 1_000, address(4));
        assert_eq!(stranger.err(), Some(NoSchedule::NoStake));
        let empty = Schedule::new(&MemoryStore::new(), &block, 1_000, address(1));
        assert_eq!(empty.err(), Some(NoSchedule::Missing(block.accounts)));
    }
}
