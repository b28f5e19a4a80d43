use super::*;
use crate::chain::{ElectionSeeds, StakeTable, validator_at};
use crate::trie::{self, Scalar};
use alloc::string::ToString;
use core::convert::Infallible;

const VALIDATOR: Address = Address::new([0x55; 32]);

fn build(genesis: &Genesis) -> Result<(Block, MemoryStore), GenesisError<Infallible>> {
    let mut store = MemoryStore::new();
    let block = genesis.build(&mut Scalar, &mut store)?;
    Ok((block, store))
}

fn usable() -> Genesis {
    Genesis::new(VALIDATOR, 7_u64.into(), 1_700_000_000_u64.into())
}

/// First case of the public test vectors.
#[test]
fn reference_genesis_has_the_reference_id() {
    let genesis = Genesis::reference(VALIDATOR, Natural::ZERO, 1_700_000_000_u64.into());
    let (block, store) = build(&genesis).unwrap();
    assert_eq!(
        block.id().to_string(),
        "de897897489bee81be9d2c34e73c1a3d8c33a2b285c147383fd2dd9ce63c3718"
    );
    assert_eq!(Block::read(&store, block.id()), Ok(block.clone()));
    assert_eq!((block.signature(), block.is_genesis()), (None, true));
}

#[test]
fn default_genesis_is_usable() {
    let genesis = usable();
    assert_eq!(genesis.warnings(), []);
    let (block, store) = build(&genesis).unwrap();
    assert_eq!(block.chain_id, 7);
    assert_eq!(block.cumulative_stake, DEFAULT_TREASURY);
    let stakes = StakeTable::read(&store, block.accounts).unwrap();
    let now = &block.timestamp + &Natural::from(9_u64);
    let seed = ElectionSeeds::genesis(block.id()).next_slot_seed();
    let producer = validator_at(&stakes, seed, &block.timestamp, &now);
    assert_eq!(producer, Ok(VALIDATOR));
    let funded = Account::find(&store, block.accounts, &VALIDATOR).unwrap();
    assert_eq!(funded.unwrap().balance, DEFAULT_BALANCE);
    let absent = Account::find(&store, block.accounts, &Address::new([9; 32]));
    assert_eq!(absent, Ok(None));
}

/// The module doc's claims about the defaults.
#[test]
fn default_price_meets_its_requirements() {
    let genesis = usable();
    let year = YEAR_BLOCKS;
    assert_eq!(genesis.transfer_cost(1), Some(3_u64.into()));
    assert_eq!(genesis.transfer_cost(year), Some(10_u64.into()));
    assert_eq!(genesis.highest_transfer_cost(year), Some(10_u64.into()));
    // With all rewards of the year staked from the first block on.
    let rewards = &genesis.supply() + &Natural::from(year);
    let highest = genesis.price(year, &rewards).reserve(0);
    assert_eq!(highest, Some(10_u64.into()));
    assert_eq!(genesis.supply(), DEFAULT_BALANCE);
    let tenth = Natural::from(DEFAULT_BALANCE / 10);
    let costs = [1, DAY_BLOCKS, year].map(|blocks| genesis.filling_cost(blocks).unwrap());
    assert!(costs.iter().all(|cost| *cost >= tenth), "{costs:?}");
    // An owner of the whole supply has half of the stake.
    assert_eq!(genesis.stakes[&VALIDATOR], genesis.supply());
}

#[test]
fn cheap_storage_causes_a_warning() {
    let mut free = usable();
    free.balances.insert(TREASURY, Natural::ZERO);
    let cost = Natural::from(FILLED_BYTES / 1_120_000);
    let supply = DEFAULT_BALANCE.into();
    assert_eq!(
        free.warnings(),
        [GenesisWarning::CheapStorage { cost, supply }]
    );
    let mut large = usable();
    large
        .balances
        .insert(Address::new([8; 32]), 50_000_u64.into());
    let warnings = large.warnings();
    assert!(
        matches!(warnings[..], [GenesisWarning::CheapStorage { .. }]),
        "{warnings:?}"
    );
    assert!(
        warnings[0]
            .to_string()
            .contains("of the 300000 that can be spent")
    );
    // Balances that cannot be spent do not count.
    let mut burnt = usable();
    burnt.balances.insert(BURN, 50_000_000_u64.into());
    assert_eq!(burnt.warnings(), []);
    let mut none = usable();
    none.cumulative_total_fees = Natural::ZERO;
    assert_eq!(
        (none.filling_cost(1), none.highest_transfer_cost(1)),
        (None, None)
    );
}

/// A reference verifier cannot insert into an empty trie.
#[test]
fn burn_account_has_a_contract_in_the_genesis() {
    let (block, store) = build(&usable()).unwrap();
    let burn = Account::find(&store, block.accounts, &BURN)
        .unwrap()
        .unwrap();
    let treasury = Account::find(&store, block.accounts, &TREASURY)
        .unwrap()
        .unwrap();
    let record = trie::get(&store, burn.data, treasury.data.as_bytes())
        .unwrap()
        .unwrap();
    let record = collect_list(&store, AtomId::from_slice(&record).unwrap(), 6).unwrap();
    let fields: Vec<&[u8]> = record.iter().map(Atom::data).collect();
    let node = collect_list(&store, treasury.data, 5).unwrap();
    let bytes: usize = node.iter().map(Atom::stored_len).sum();
    let none: &[u8] = &[0; 32];
    assert_eq!(
        fields,
        [
            VALIDATOR.as_bytes().as_slice(),
            none,
            none,
            none,
            &Natural::from(bytes).to_bytes_le(),
            &[5]
        ]
    );
}

#[test]
fn genesis_contains_the_configured_accounts_and_contracts() {
    let mut genesis = usable();
    let (rich, object) = (Address::new([8; 32]), AtomId::new([6; 32]));
    genesis.balances.insert(rich, Natural::new(u128::MAX));
    genesis.balances.insert(TREASURY, 30_u64.into());
    genesis.balances.insert(BURN, 4_u64.into());
    genesis.stakes.insert(rich, 30_u64.into());
    genesis.cumulative_total_fees = 1_000_u64.into();
    let contract = Contract {
        owner: rich,
        bytes: 99_u64.into(),
        atoms: 2_u64.into(),
    };
    genesis.contracts.insert(object, contract);
    let (block, store) = build(&genesis).unwrap();
    assert_eq!(block.cumulative_stake, 30);
    assert_eq!(block.cumulative_burn, 4);
    assert_eq!(block.cumulative_total_fees, 1_000);
    let account = |address| {
        Account::find(&store, block.accounts, address)
            .unwrap()
            .unwrap()
    };
    assert_eq!(account(&rich).balance, Natural::new(u128::MAX));
    assert_eq!(account(&BURN).balance, 4);
    let contracts: Vec<_> = trie::entries(&store, account(&BURN).data).collect();
    assert_eq!(contracts.len(), 1);
    assert_eq!(
        StakeTable::read(&store, block.accounts),
        Ok(StakeTable::from(&genesis.stakes))
    );

    // 1 + ceil(526 * 30 / 1000) + ceil(272 * 30 / 1000); later with thirty times the cumulative
    // stake.
    assert_eq!(genesis.transfer_cost(1), Some(26_u64.into()));
    assert_eq!(genesis.transfer_cost(30), Some((1 + 474 + 245_u64).into()));
    let warnings = genesis.warnings();
    let [
        GenesisWarning::ExpensiveTransfers {
            first,
            after_a_day,
            after_a_year,
        },
        GenesisWarning::CheapStorage { .. },
    ] = &warnings[..]
    else {
        panic!("{warnings:?}");
    };
    // Costs if the whole supply were staked.
    assert!(*first > Natural::new(u128::MAX / 1_000));
    assert!(first < after_a_day && after_a_day < after_a_year);
    assert!(warnings[0].to_string().contains("costs up to"));
}

#[test]
fn reference_genesis_has_unaffordable_transfers() {
    let genesis = Genesis::reference(VALIDATOR, Natural::ZERO, Natural::ZERO);
    let warnings = genesis.warnings();
    assert!(matches!(
        warnings[0],
        GenesisWarning::ExpensiveTransfers { .. }
    ));
    assert_eq!(warnings.len(), 2);
    let cost = Natural::from(799_u64);
    assert_eq!(warnings[1], GenesisWarning::UnaffordableTransfers { cost });
}

#[test]
fn genesis_of_an_unusable_chain_is_rejected() {
    let mut genesis = usable();
    genesis.stakes = Stakes::from([(VALIDATOR, Natural::ZERO)]);
    assert_eq!(build(&genesis).err(), Some(GenesisError::NoStake));
    let mut genesis = usable();
    genesis.cumulative_total_fees = Natural::ZERO;
    assert_eq!(build(&genesis).err(), Some(GenesisError::NoFees));
    assert_eq!(genesis.transfer_cost(1), None);
    for reserved in [TREASURY, BURN] {
        let genesis = Genesis::new(reserved, Natural::ZERO, Natural::ZERO);
        assert_eq!(build(&genesis).err(), Some(GenesisError::ReservedValidator));
    }
}
