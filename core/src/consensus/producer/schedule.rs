//! Proposer schedule of one validator after one block.
//!
//! Each slot of two seconds after a block is assigned to one validator, elected by the stakes after
//! the block. A validator that misses its slot is not waited for: the next slot begins regardless.

use crate::chain::{Address, Election, ElectionError, MAX_SLOTS, ProposerSchedule, SLOT_SECONDS};
use crate::integer::Natural;

/// Maximum number of slots elected in one call. A validator that has none of them has a very small
/// stake; the next call continues from there.
const MAX_DRAWS: u64 = 4_096;

/// Reason there is no schedule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NoSchedule {
    /// The leader election is not possible.
    Election(ElectionError),
    /// This validator does not have a stake.
    NoStake,
}

/// Slots of a validator after one block.
#[derive(Debug)]
pub struct Schedule {
    validator: Address,
    timestamp: u64,
    draw: ProposerSchedule,
    /// The validator's first elected slot that is not over.
    own: Option<u64>,
}

impl Schedule {
    /// Creates the schedule of `validator` after a block with this timestamp, in seconds since
    /// 1970.
    ///
    /// # Errors
    /// Returns [`NoSchedule`] if the validator will never be elected.
    pub fn new(
        election: &Election,
        timestamp: u64,
        validator: Address,
    ) -> Result<Self, NoSchedule> {
        if election.stakes.stake(&validator).is_zero() {
            return Err(NoSchedule::NoStake);
        }
        Ok(Self {
            validator,
            timestamp,
            draw: election.schedule().map_err(NoSchedule::Election)?,
            own: None,
        })
    }

    /// Returns the first second from `earliest` on that belongs to the validator; `None` if none
    /// has been found yet, or the slots after the block are exhausted. `earliest` must not decrease
    /// between calls.
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
    use crate::atom::AtomId;
    use crate::chain::{StakeTable, validator_at};

    fn address(number: u8) -> Address {
        Address::new([number; 32])
    }

    fn election(stakes: &[(u8, u64)]) -> Election {
        let stakes = stakes.iter();
        let stakes = stakes.map(|(number, stake)| (address(*number), (*stake).into()));
        Election::genesis(AtomId::new([5; 32]), StakeTable::from(&stakes.collect()))
    }

    #[test]
    fn every_slot_belongs_to_its_elected_validator() {
        let election = election(&[(1, 1_000), (2, 300), (3, 1)]);
        let drawn = |second: u64| {
            let (from, to) = (1_000_u64.into(), Natural::from(second));
            let seed = election.seeds.next_slot_seed();
            validator_at(&election.stakes, seed, &from, &to).unwrap()
        };
        for number in 1..=3 {
            let mut schedule = Schedule::new(&election, 1_000, address(number)).unwrap();
            for second in 1_001..1_200 {
                let next = schedule.next(second).unwrap();
                assert_eq!(drawn(next), address(number));
                assert!((second..next).all(|missed| drawn(missed) != address(number)));
            }
        }
    }

    #[test]
    fn first_slot_is_the_second_after_the_block() {
        let election = election(&[(1, 1_000)]);
        for earliest in [0, 999, 1_000, 1_001] {
            let mut schedule = Schedule::new(&election, 1_000, address(1)).unwrap();
            assert_eq!(schedule.next(earliest), Some(1_001), "{earliest}");
        }
    }

    #[test]
    fn skips_long_gaps_and_finds_no_slot_without_stake() {
        let election = election(&[(1, 5), (2, 5)]);
        let mut schedule = Schedule::new(&election, 1_000, address(1)).unwrap();
        let year = 1_000 + 365 * 86_400;
        assert!(schedule.next(year).is_some_and(|next| next < year + 100));
        let too_late = 1_000 + SLOT_SECONDS * (MAX_SLOTS + 1);
        assert_eq!(schedule.next(too_late), None);
        let unstaked = Schedule::new(&election, 1_000, address(4));
        assert_eq!(unstaked.err(), Some(NoSchedule::NoStake));
    }

    #[test]
    fn slot_search_for_a_small_stake_is_bounded() {
        // Stakes of 1, which an election does not change: about one slot in 6,000.
        let stakes = (0..6_000_u32).map(|number| {
            let mut validator = [9; 32];
            validator[..4].copy_from_slice(&number.to_be_bytes());
            (Address::new(validator), Natural::ONE)
        });
        let stakes = StakeTable::from(&stakes.chain([(address(1), Natural::ONE)]).collect());
        let election = Election::genesis(AtomId::new([5; 32]), stakes);
        let mut draw = election.schedule().unwrap();
        let first = (1..).find(|slot| draw.validator_of(*slot) == Some(address(1)));
        let first = first.unwrap();
        let calls = first.div_ceil(MAX_DRAWS);
        assert_eq!(calls, 2, "slot {first}");
        let mut schedule = Schedule::new(&election, 1_000, address(1)).unwrap();
        assert_eq!(schedule.next(1_001), None);
        assert_eq!(schedule.draw.slot(), MAX_DRAWS);
        let begin = 1_000 + SLOT_SECONDS * (first - 1) + 1;
        assert_eq!(schedule.next(1_001), Some(begin));
    }

    #[test]
    fn unreachable_slots_are_skipped() {
        let election = election(&[(1, 5)]);
        let last = 1_000 + SLOT_SECONDS * MAX_SLOTS;
        let mut schedule = Schedule::new(&election, 1_000, address(1)).unwrap();
        assert_eq!(schedule.next(last), Some(last));
        assert_eq!(schedule.next(last + 1), None);
        let mut schedule = Schedule::new(&election, 1_000, address(1)).unwrap();
        assert_eq!(schedule.draw_own(MAX_SLOTS + 1), None);
        assert_eq!(schedule.draw.slot(), 0);
    }
}
