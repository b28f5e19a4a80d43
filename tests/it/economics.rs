//! Default genesis: the cost of filling a disk, based on the measured state of transactions.

use astreum_core::chain::{Address, FILLED_BYTES, Genesis};
use astreum_core::integer::Natural;
use astreum_tests::economics::{DISK_BYTES, Epoch, Size, YEAR_BLOCKS, ways};

fn default_genesis() -> Genesis {
    Genesis::new(
        Address::new([9; 32]),
        Natural::ZERO,
        1_700_000_000_u64.into(),
    )
}

#[test]
fn filling_a_disk_costs_a_tenth_of_the_supply_in_every_measured_way() {
    let genesis = default_genesis();
    assert_eq!(DISK_BYTES, FILLED_BYTES);
    let ways = ways(Size::SMALL);
    for blocks in [1, YEAR_BLOCKS] {
        let epoch = Epoch::of(&genesis, blocks, &Natural::ZERO);
        let stated = genesis.filling_cost(blocks).unwrap();
        for way in &ways {
            let cost = epoch.filling(way);
            assert!(
                epoch.share_ppm(&cost) >= 100_000,
                "block {blocks}: {way:?} costs {cost}"
            );
            // The cost that the genesis states does not exceed the measured one.
            assert!(
                stated <= cost,
                "block {blocks}: stated {stated} for {way:?}, which costs {cost}"
            );
        }
    }
    let of = |name: &'static str| ways.iter().filter(move |way| way.name == name);
    assert!(of("transfer").all(|way| way.pair_bytes > 20_000));
    // More than two paths of 255 nodes, five atoms each.
    let deep: Vec<u64> = of("withdrawal from a deep channel")
        .map(|way| way.atoms)
        .collect();
    assert!(
        deep.iter().all(|atoms| *atoms > 2 * 255 * 5) && deep.len() == 1,
        "{deep:?}"
    );
}

#[test]
fn transfer_costs_at_most_ten_in_the_first_year() {
    let genesis = default_genesis();
    let rewards = Natural::from(YEAR_BLOCKS);
    let nothing = Natural::ZERO;
    let all = &genesis.supply() + &rewards;
    for (blocks, staked, expected) in [
        (1, &nothing, 3_u32),
        (YEAR_BLOCKS / 2, &nothing, 6),
        (YEAR_BLOCKS, &nothing, 10),
        (YEAR_BLOCKS, &all, 10),
    ] {
        let epoch = Epoch::of(&genesis, blocks, staked);
        // A transfer of a short amount, with a timestamp as its counter.
        assert_eq!(
            epoch.cost(510),
            Natural::from(u64::from(expected)),
            "block {blocks}"
        );
    }
}
