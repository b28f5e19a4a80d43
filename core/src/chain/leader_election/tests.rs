//! Leader election compared with the reference and with its definition; stake tables read from
//! tries.

use super::random::{below_natural, seeded};
use super::*;
use crate::atom::{Atom, AtomId, AtomKind, AtomSource, MemoryStore, SourceError, bytes_list};
use crate::chain::{Account, Address, Block, Genesis, Header, RecordError, TREASURY};
use crate::integer::Natural;
use crate::trie::{Scalar, Trie};
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::convert::Infallible;
use proptest::prelude::*;
use rand_mt::Mt;
use std::collections::BTreeSet;

mod elections;

/// Creates stakes whose owners have 0, 1, 2, … in every byte.
fn stakes(amounts: &[Natural]) -> Stakes {
    let owners = (0..).map(|owner| Address::new([owner; 32]));
    owners.zip(amounts.iter().cloned()).collect()
}

fn table(amounts: &[Natural]) -> StakeTable {
    StakeTable::from(&stakes(amounts))
}

fn naturals(amounts: &[&str]) -> Vec<Natural> {
    amounts.iter().map(|text| text.parse().unwrap()).collect()
}

/// Returns the block producers of the first slots, one digit each.
fn sequence(stakes: &StakeTable, seed: AtomId, slots: usize) -> String {
    let mut schedule = ProposerSchedule::new(stakes, seed).unwrap();
    let digit = |validator: Address| char::from(b'0' + validator.as_bytes()[0]);
    (0..slots)
        .map(|_| digit(schedule.next_validator()))
        .collect()
}

fn seed(bytes: &[(usize, u8)]) -> AtomId {
    let mut id = [0; 32];
    for (index, byte) in bytes {
        id[*index] = *byte;
    }
    AtomId::new(id)
}

/// Expected values from Python's `random.Random`, for bounds of one to five words and seeds with
/// leading zero bytes and words.
#[test]
fn leader_election_matches_the_reference() {
    let mut late = [7; 32];
    late[..3].fill(0);
    for (amounts, id, expected) in [
        (
            naturals(&[
                "1361129467683753853853498429727072845824",
                "1020847100762815390390123822295304634375",
                "1267650600228229401496703205376",
            ]),
            AtomId::new([0xab; 32]),
            "010001101001111000011101",
        ),
        (
            naturals(&["18446744073709551616", "9223372036854775809", "5"]),
            AtomId::new(late),
            "111000010100110101100101",
        ),
        (
            naturals(&["1099511627775", "549755813888", "8589934592", "1"]),
            seed(&[(8, 0x80)]),
            "010010110100012102211200",
        ),
        (
            naturals(&["10", "20", "30"]),
            AtomId::ZERO,
            "212012110210201002122201",
        ),
        (
            naturals(&["10", "20", "30"]),
            seed(&[(31, 1)]),
            "020112222100202202120201",
        ),
        (
            naturals(&["3", "1", "4", "1", "5", "9", "2", "6"]),
            seed(&[(30, 1)]),
            "545560773262455514240706",
        ),
        (
            naturals(&["0", "100", "0", "7"]),
            AtomId::new([0xff; 32]),
            "131113131331311331111133",
        ),
    ] {
        assert_eq!(sequence(&table(&amounts), id, 24), expected, "{amounts:?}");
    }
}

/// A week without a block.
#[test]
fn schedule_covers_long_gaps() {
    let amounts: Vec<Natural> = (0..9_u64)
        .map(|i| (i * i * 7919 % 1000 + 1).into())
        .collect();
    let stakes = table(&amounts);
    let seed = AtomId::new([0x5a; 32]);
    for (slot, expected) in [
        (1, 4),
        (10, 2),
        (100, 5),
        (1_000, 8),
        (10_000, 2),
        (100_000, 4),
        (302_400, 4),
    ] {
        let time = Natural::from(2_u64 * slot);
        let validator = validator_at(&stakes, seed, &Natural::ZERO, &time);
        assert_eq!(validator, Ok(Address::new([expected; 32])), "slot {slot}");
        for most in [1, 7, 1_000] {
            let mut schedule = ProposerSchedule::new(&stakes, seed).unwrap();
            let mut calls = 0;
            let found = loop {
                calls += 1;
                let before = schedule.slot();
                if let Some(found) = schedule.advance(slot, most) {
                    break found;
                }
                assert!((1..=65 * most).contains(&(schedule.slot() - before)));
            };
            assert_eq!(found, Address::new([expected; 32]), "slot {slot}");
            assert!(calls > slot / (65 * most), "in {calls} calls");
        }
    }
}

#[test]
fn slots_are_two_seconds_and_start_at_one() {
    let at = |before: u64, now: u64| slot_of(&before.into(), &now.into());
    for (now, slot) in [
        (0, 1),
        (99, 1),
        (100, 1),
        (101, 1),
        (102, 1),
        (103, 2),
        (104, 2),
        (105, 3),
    ] {
        assert_eq!(at(100, now), Ok(slot), "{now}");
    }
    assert_eq!(at(0, 2 * MAX_SLOTS), Ok(MAX_SLOTS));
    let slot = Natural::from(MAX_SLOTS + 1);
    let too_far = ElectionError::TooFar { slot };
    assert_eq!(at(0, 2 * MAX_SLOTS + 1), Err(too_far.clone()));
    assert_eq!(
        validator_at(
            &table(&[Natural::ONE]),
            AtomId::ZERO,
            &Natural::ZERO,
            &Natural::from(2 * MAX_SLOTS + 1)
        ),
        Err(too_far)
    );
    let huge = Natural::new(u128::MAX) + Natural::ONE;
    assert!(matches!(
        slot_of(&Natural::ZERO, &huge),
        Err(ElectionError::TooFar { .. })
    ));
}

#[test]
fn schedule_needs_a_stake() {
    for stakes in [table(&[]), table(&[Natural::ZERO, Natural::ZERO])] {
        assert_eq!(
            ProposerSchedule::new(&stakes, AtomId::ZERO).err(),
            Some(ElectionError::NoStake)
        );
    }
}

#[test]
fn passed_slot_has_no_producer() {
    let stakes = table(&naturals(&["10", "20"]));
    let mut schedule = ProposerSchedule::new(&stakes, AtomId::ZERO).unwrap();
    assert_eq!(schedule.validator_of(0), None);
    let fifth = schedule.validator_of(5);
    assert_eq!((schedule.validator_of(5), schedule.slot()), (fifth, 5));
    assert_eq!(schedule.validator_of(4), None);
}

#[test]
fn schedule_does_not_change_the_stake_table() {
    let stakes = table(&naturals(&["1000", "3", "900"]));
    let before: Vec<Natural> = stakes.iter().map(|(_, stake)| stake.clone()).collect();
    assert!(
        ProposerSchedule::new(&stakes, AtomId::ZERO)
            .unwrap()
            .validator_of(500)
            > None
    );
    assert!(stakes.iter().map(|(_, stake)| stake).eq(&before));
    assert_eq!(*stakes.total(), 1_903);
}

fn genesis_with(stakes: Stakes) -> (MemoryStore, Block) {
    let mut genesis = Genesis::new(Address::new([9; 32]), Natural::ZERO, Natural::ONE);
    genesis.stakes = stakes;
    let mut store = MemoryStore::new();
    let block = genesis.build(&mut Scalar, &mut store).unwrap();
    (store, block)
}

#[test]
fn stakes_are_read_from_the_treasury() {
    let amounts = naturals(&["5", "0", "340282366920938463463374607431768211456"]);
    let (store, block) = genesis_with(stakes(&amounts));
    let expected = table(&amounts);
    assert_eq!(expected.len(), 2);
    let found = StakeTable::read(&store, block.accounts).unwrap();
    assert_eq!(found, expected);
    assert!(found.iter().eq(expected.iter()));
    assert_eq!(found.total(), expected.total());

    let nothing = MemoryStore::new();
    let error = StakeTable::read(&nothing, block.accounts).unwrap_err();
    assert_eq!(error.missing(), Some(block.accounts));
    let empty = StakeTable::read(&nothing, AtomId::ZERO).unwrap_err();
    assert!(
        matches!(empty, RecordError::Malformed { problem, .. } if problem.contains("treasury"))
    );
}

/// Writes a treasury whose data trie has this root, and returns the accounts root.
fn treasury_with(store: &mut MemoryStore, stakes: AtomId) -> AtomId {
    let treasury = Account {
        balance: Natural::ONE,
        data: stakes,
        ..Account::default()
    };
    let record = treasury.write(store).unwrap();
    let mut accounts = Trie::new();
    accounts
        .put(store, TREASURY.as_bytes(), record.as_bytes())
        .unwrap();
    accounts.commit(&mut Scalar, store).unwrap()
}

/// Writes a trie with 2^248 stakes under keys of 32 bytes.
fn endless_stakes(store: &mut MemoryStore) -> AtomId {
    endless_nodes(store, &[1])
}

#[test]
fn endless_stakes_are_bounded_by_the_loader_limit() {
    let mut store = MemoryStore::new();
    let root = endless_stakes(&mut store);
    let accounts = treasury_with(&mut store, root);
    let mut loader = StakeLoader::new(StakeTable::default(), root);
    for _ in 0..10 {
        assert_eq!(loader.run(&store, 1_000), Ok(None));
    }
    let mut bounded = StakeLoader::new(StakeTable::default(), root).with_max_stakes(5_000);
    let error = bounded.run(&store, u32::MAX).unwrap_err();
    assert!(
        matches!(
            error,
            RecordError::Malformed { problem, .. } if problem.contains("number of stakes")
        ),
        "{error}"
    );
    let block = header(0, AtomId::ZERO, accounts).signed(None);
    let mut loader = ElectionLoader::new(&block, Some(5_000));
    let error = loader.run(&store, None, u32::MAX).unwrap_err();
    assert!(error.missing().is_none(), "{error}");
}

/// Writes 248 nodes, each with the same child twice: 2^248 keys of 32 bytes with this value.
fn endless_nodes(store: &mut MemoryStore, value: &[u8]) -> AtomId {
    let mut node = |bits: u8, child: AtomId, value: &[u8]| {
        let key: &[u8] = if bits == 0 { &[0, 0] } else { &[0, bits, 0] };
        let (fields, atoms) = bytes_list::<&[u8]>(&[key, child.as_ref(), child.as_ref(), value]);
        let head = Atom::new(AtomKind::Symbol, *b"trie", fields);
        store.extend(atoms);
        store.insert(head)
    };
    let leaf = node(8, AtomId::ZERO, value);
    (0..248).fold(leaf, |child, _| node(0, child, &[]))
}

#[test]
fn nodes_without_stakes_are_bounded_as_well() {
    // An empty value, and a stake of zero.
    for value in [[].as_slice(), &[0]] {
        let mut store = MemoryStore::new();
        let root = endless_nodes(&mut store, value);
        let accounts = treasury_with(&mut store, root);
        let mut bounded = StakeLoader::new(StakeTable::default(), root).with_max_stakes(5_000);
        let error = bounded.run(&store, 1 << 20).unwrap_err();
        assert!(
            matches!(error, RecordError::Malformed { problem, .. } if problem.contains("nodes")),
            "{error}"
        );
        let block = header(0, AtomId::ZERO, accounts).signed(None);
        let mut loader = ElectionLoader::new(&block, Some(5_000));
        assert!(loader.run(&store, None, 1 << 20).is_err());
    }
}

#[test]
fn genesis_with_endless_stakes_is_rejected_without_a_host_limit() {
    let mut store = MemoryStore::new();
    let root = endless_stakes(&mut store);
    let accounts = treasury_with(&mut store, root);
    let genesis = header(0, AtomId::ZERO, accounts).signed(None);
    assert!(genesis.is_genesis());
    let mut cache = ElectionCache::default();
    let calls = 1 << 10;
    let verdict = (0..calls).find_map(|_| cache.load(&store, &genesis, 4_096).transpose());
    let error = verdict.unwrap().unwrap_err();
    assert!(
        matches!(
            error,
            RecordError::Malformed { problem, .. } if problem.contains("number of stakes")
        ),
        "{error}"
    );
}

/// Entries that no transaction creates, in the state of a block that was not verified.
#[test]
fn entries_that_are_not_stakes_are_malformed() {
    let long = [[1; 256].as_slice(), &[1]].concat();
    for (key, value, part) in [
        ([7; 31].as_slice(), [1].as_slice(), "32 bytes"),
        (&[7; 33], &[1], "32 bytes"),
        (&[7; 32], &[1, 0], "canonical"),
        (&[7; 32], &long, "more than 256 bytes"),
    ] {
        let mut store = MemoryStore::new();
        let mut trie = Trie::new();
        trie.put(&store, key, value).unwrap();
        let root = trie.commit(&mut Scalar, &mut store).unwrap();
        let accounts = treasury_with(&mut store, root);
        let error = StakeTable::read(&store, accounts).unwrap_err();
        assert!(
            matches!(error, RecordError::Malformed { problem, .. } if problem.contains(part)),
            "{error}"
        );
    }
}

#[test]
fn malformed_stakes_stay_malformed_when_a_cache_is_asked_again() {
    let mut store = MemoryStore::new();
    let mut trie = Trie::new();
    trie.put(&store, &[7; 32], &[1, 0]).unwrap();
    trie.put(&store, &[8; 32], &[1]).unwrap();
    let root = trie.commit(&mut Scalar, &mut store).unwrap();
    let accounts = treasury_with(&mut store, root);
    let genesis = header(0, AtomId::ZERO, accounts).signed(None);
    let mut cache = ElectionCache::default();
    for _ in 0..3 {
        let error = cache.load(&store, &genesis, u32::MAX).unwrap_err();
        assert!(
            matches!(error, RecordError::Malformed { problem, .. } if problem.contains("canonical")),
            "{error}"
        );
        assert_eq!(cache.get(&genesis.id()), None);
    }
}

/// Two keys that differ in the sign of a point put the same node in two places, and two such pairs
/// with the same low bits put it in four.
#[test]
fn keys_and_their_negatives_may_all_have_the_same_stake() {
    let key = |first: u8, last: u8| {
        let mut key = [0x5a; 32];
        (key[0], key[31]) = (first, last);
        Address::new(key)
    };
    let keys = (0..3).flat_map(|first| [key(first, 0x11), key(first, 0x91)]);
    let stakes: Stakes = keys.map(|key| (key, Natural::ONE)).collect();
    let (store, block) = genesis_with(stakes.clone());
    let found = StakeTable::read(&store, block.accounts).unwrap();
    assert!(found.iter().eq(&stakes));
}

/// Naive leader election by its definition, without shortcuts.
struct Naive {
    random: Mt,
    stakes: Vec<Natural>,
}

impl Naive {
    fn next(&mut self) -> usize {
        let total: Natural = self.stakes.iter().sum();
        let choice = below_natural(&mut self.random, &total);
        let mut sum = Natural::ZERO;
        for (index, stake) in self.stakes.iter_mut().enumerate() {
            sum += &*stake;
            if choice < sum {
                *stake = stake.half().max(Natural::ONE);
                return index;
            }
        }
        panic!("the choice is below the total");
    }
}

/// Writes the trie of the stakes to the store and returns its root.
fn stored(store: &mut MemoryStore, stakes: &Stakes) -> AtomId {
    let pairs = stakes
        .iter()
        .map(|(key, stake)| (*key.as_bytes(), stake.to_bytes_le()));
    let mut trie = Trie::from_sorted(pairs).unwrap();
    trie.commit(&mut Scalar, store).unwrap()
}

/// Keys with long common prefixes, keys that differ only in the sign bit, and random keys.
fn any_key() -> impl Strategy<Value = Address> {
    let near = (0..32_usize, any::<u8>()).prop_map(|(place, byte)| {
        let mut key = [0x5a; 32];
        key[place] = byte;
        key
    });
    let sign = (0..6_u8, any::<bool>()).prop_map(|(first, negative)| {
        let mut key = [first; 32];
        key[31] = if negative { 0x91 } else { 0x11 };
        key
    });
    prop_oneof![near, sign, any::<[u8; 32]>()].prop_map(Address::new)
}

fn any_stakes() -> impl Strategy<Value = Stakes> {
    let stake = prop_oneof![Just(1_u128), 1..4_u128, any::<u128>()];
    let stake = stake.prop_map(|stake| Natural::new(stake.max(1)));
    proptest::collection::btree_map(any_key(), stake, 0..60)
}

/// Source whose atoms must be fetched, one at a time.
struct Fetching<'a> {
    all: &'a MemoryStore,
    here: RefCell<BTreeSet<AtomId>>,
    reads: Cell<usize>,
}

impl<'a> Fetching<'a> {
    fn new(all: &'a MemoryStore) -> Self {
        Self {
            all,
            here: RefCell::default(),
            reads: Cell::new(0),
        }
    }

    fn fetch(&self, error: &RecordError<Infallible>) {
        let missing = error.missing().expect("only an atom is missing");
        assert!(self.all.atom(&missing).is_ok(), "{missing} is not needed");
        assert!(self.here.borrow_mut().insert(missing), "fetched again");
    }
}

impl AtomSource for Fetching<'_> {
    type Error = Infallible;

    fn atom(&self, id: &AtomId) -> Result<Atom, SourceError<Infallible>> {
        self.reads.set(self.reads.get() + 1);
        if self.here.borrow().contains(id) {
            self.all.atom(id)
        } else {
            Err(SourceError::Missing(*id))
        }
    }
}

proptest! {
    #[test]
    fn schedule_shortcuts_do_not_change_the_result(
        amounts in proptest::collection::vec((any::<u64>(), 0..140_u32), 1..40),
        id in any::<[u8; 32]>(),
        jumps in proptest::collection::vec(1..200_u64, 1..6),
    ) {
        let amounts: Vec<Natural> = amounts
            .into_iter()
            .map(|(value, bits)| {
                let wide = Natural::from(value) * Natural::from(u64::MAX) * Natural::from(u64::MAX);
                (0..192 - bits).fold(wide, |value, _| value.half()).max(Natural::ONE)
            })
            .collect();
        let stakes = table(&amounts);
        let id = AtomId::new(id);
        let mut naive = Naive { random: seeded(id), stakes: amounts };
        let mut schedule = ProposerSchedule::new(&stakes, id).unwrap();
        let mut slot = 0;
        for jump in jumps {
            slot += jump;
            let winner = schedule.validator_of(slot).unwrap();
            let index = (0..jump).map(|_| naive.next()).last().unwrap();
            prop_assert_eq!(usize::from(winner.as_bytes()[0]), index);
        }
    }

    /// Reads from the empty table, from another table and back, regardless of which atoms have to
    /// be fetched and how few steps a call makes.
    #[test]
    fn stake_tables_load_from_any_other_table(
        before in any_stakes(), after in any_stakes(), steps in 1..40_u32,
    ) {
        let mut store = MemoryStore::new();
        let roots = [&before, &after].map(|stakes| stored(&mut store, stakes));
        let tables = [&before, &after].map(StakeTable::from);
        for (from, to) in [(None, 0), (None, 1), (Some(0), 1), (Some(1), 0), (Some(0), 0)] {
            let known = from.map_or_else(StakeTable::default, |from: usize| tables[from].clone());
            let source = Fetching::new(&store);
            let mut loader = StakeLoader::new(known, roots[to]);
            let table = loop {
                match loader.run(&source, steps) {
                    Ok(Some(table)) => break table,
                    Ok(None) => {}
                    Err(error) => {
                        let named = loader.pending_nodes().next();
                        source.fetch(&error);
                        prop_assert!(named.is_some(), "what is read next is named");
                    }
                }
            };
            prop_assert_eq!(table.root(), tables[to].root());
            prop_assert!(table.iter().eq(tables[to].iter()));
            prop_assert_eq!(table.total(), tables[to].total());
            if from == Some(to) {
                prop_assert_eq!(source.reads.get(), 0, "what is shared is not read");
            }
        }
    }
}

/// Ten changed stakes of many are read in few steps.
#[test]
fn loading_cost_is_proportional_to_the_changes() {
    let key = |number: u64| Address::new(crate::crypto::hash(&number.to_be_bytes()));
    let mut stakes: Stakes = (0..20_000)
        .map(|number| (key(number), Natural::ONE))
        .collect();
    let known = StakeTable::from(&stakes);
    let mut store = MemoryStore::new();
    stored(&mut store, &stakes);
    for number in 0..10 {
        stakes.insert(key(number), 2_u64.into());
    }
    let root = stored(&mut store, &stakes);
    let mut loader = StakeLoader::new(known, root);
    // About 10 paths of 15 levels.
    let table = loader.run(&store, 300).unwrap().expect("in 300 steps");
    assert!(table.iter().eq(&stakes));
}

fn header(height: u64, previous: AtomId, accounts: AtomId) -> Header {
    Header {
        chain_id: Natural::ZERO,
        height: height.into(),
        previous,
        timestamp: (7 + height).into(),
        difficulty: Natural::ONE,
        cumulative_stake: Natural::ZERO,
        cumulative_burn: Natural::ZERO,
        cumulative_mint: Natural::ZERO,
        cumulative_total_fees: Natural::ONE,
        total_fees: Natural::ZERO,
        accounts,
        transactions: AtomId::ZERO,
        receipts: AtomId::ZERO,
        validator: Address::new([9; 32]),
        nonce: Natural::ZERO,
    }
}

#[test]
fn expected_participation_matches_its_definition() {
    let equal = |count: u8| table(&std::vec![Natural::from(1_000_u64); usize::from(count)]);
    let run = |producers: u8| (0..=255_u8).map(move |at| Address::new([at % producers; 32]));
    // Σ s(1-(1-s)^256), computed in floating point.
    for (count, expected) in [(1, 1_000_000), (10, 1_000_000), (200, 722_853)] {
        let found = Participation::of(&equal(count), run(count)).unwrap();
        assert!(found.expected_ppm.abs_diff(expected) <= 2, "{found:?}");
        assert!(found.actual_ppm.abs_diff(1_000_000) <= 1 && !found.is_low());
    }
    let found = Participation::of(&equal(200), run(36)).unwrap();
    assert!(
        found.actual_ppm.abs_diff(180_000) <= 1 && found.is_low(),
        "{found:?}"
    );
    assert!(!Participation::of(&equal(200), run(37)).unwrap().is_low());
    assert_eq!(Participation::of(&equal(3), run(3).take(255)), None);
    assert_eq!(Participation::of(&table(&[]), run(3)), None);
    // Producers beyond the run are ignored, and those without a stake contribute nothing.
    let more = run(1).chain([Address::new([1; 32])]);
    let found = Participation::of(&equal(2), more).unwrap();
    assert!(found.actual_ppm.abs_diff(500_000) <= 1);
    let stranger = Participation::of(&equal(2), [Address::new([7; 32]); 256]).unwrap();
    assert!(stranger.actual_ppm == 0 && stranger.is_low());
}
