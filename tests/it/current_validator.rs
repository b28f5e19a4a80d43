//! Leader election: its public interface, from a genesis block on.

#![expect(clippy::unwrap_used, reason = "a failure fails the test")]

use astreum_core::atom::MemoryStore;
use astreum_core::chain::{
    Address, Block, ElectionError, Genesis, SLOT_SECONDS, StakeTable, validator_at,
};
use astreum_core::integer::Natural;
use astreum_core::trie::Scalar;

const START: u64 = 1_700_000_000;

fn chain(stakes: &[(u8, u64)]) -> (Block, StakeTable) {
    let mut genesis = Genesis::new(Address::new([9; 32]), 0_u64.into(), START.into());
    let stakes = stakes.iter().copied();
    genesis.stakes = stakes
        .map(|(owner, stake)| (Address::new([owner; 32]), stake.into()))
        .collect();
    let mut store = MemoryStore::new();
    let block = genesis.build(&mut Scalar, &mut store).unwrap();
    let stakes = StakeTable::read(&store, block.accounts).unwrap();
    (block, stakes)
}

fn at(block: &Block, stakes: &StakeTable, seconds: u64) -> Result<Address, ElectionError> {
    let time = Natural::from(START + seconds);
    validator_at(stakes, block.id(), &block.timestamp, &time)
}

#[test]
fn sole_staker_has_every_slot() {
    let (block, stakes) = chain(&[(3, 1)]);
    for seconds in [0, 1, 2, 3, 1_000, 86_400] {
        assert_eq!(at(&block, &stakes, seconds), Ok(Address::new([3; 32])));
    }
}

#[test]
fn slot_has_one_validator() {
    let (block, stakes) = chain(&[(3, 40), (4, 30), (5, 30)]);
    for slot in 0..50 {
        let first = at(&block, &stakes, SLOT_SECONDS * slot + 1);
        let last = at(&block, &stakes, SLOT_SECONDS * slot + 2);
        assert_eq!(first, last, "slot {slot}");
    }
}

/// Each won slot halves the stake, so that no validator wins permanently, and in the end all have
/// the same chance.
#[test]
fn stake_advantage_decays_over_the_slots_of_a_schedule() {
    let (block, stakes) = chain(&[(3, 1_000_000), (4, 1), (5, 1)]);
    let validator = |slot: u64| at(&block, &stakes, SLOT_SECONDS * slot).unwrap();
    let rich = Address::new([3; 32]);
    let wins = |slots: core::ops::RangeInclusive<u64>| {
        slots
            .map(validator)
            .filter(|validator| *validator == rich)
            .count()
    };
    assert!(wins(1..=10) >= 9);
    let later = wins(1_001..=1_300);
    assert!((70..130).contains(&later), "{later} of 300");
}

#[test]
fn another_block_elects_other_validators() {
    let (block, stakes) = chain(&[(3, 1), (4, 1)]);
    let other = block.header().clone();
    let other = astreum_core::chain::Header {
        nonce: 1_u64.into(),
        ..other
    }
    .signed(None);
    let sequence = |block: &Block| {
        (1..65)
            .map(|slot| at(block, &stakes, 2 * slot))
            .collect::<Vec<_>>()
    };
    assert_ne!(sequence(&block), sequence(&other));
}

#[test]
fn times_before_the_block_count_as_its_first_slot() {
    let (block, stakes) = chain(&[(3, 5), (4, 5), (5, 5)]);
    let before = validator_at(&stakes, block.id(), &block.timestamp, &Natural::ZERO);
    assert_eq!(before, at(&block, &stakes, 1));
}
