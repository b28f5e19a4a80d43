use super::*;
use crate::atom::{Atom, AtomKind, MemoryStore, bytes_list};
use crate::chain::Genesis;
use crate::trie::{Scalar, Trie};
use alloc::string::String;
use proptest::prelude::*;

/// Stakes whose owners are 0, 1, 2, … in the first byte.
fn stakes(amounts: &[Natural]) -> Stakes {
    let owners = (0..).map(|owner| Address::new([owner; 32]));
    owners.zip(amounts.iter().cloned()).collect()
}

fn naturals(amounts: &[&str]) -> Vec<Natural> {
    amounts.iter().map(|text| text.parse().unwrap()).collect()
}

/// The first slots' validators, a digit each.
fn sequence(stakes: &Stakes, block: AtomId, slots: usize) -> String {
    let mut draw = Draw::new(stakes, block).unwrap();
    let digit = |validator: Address| char::from(b'0' + validator.as_bytes()[0]);
    (0..slots).map(|_| digit(draw.next_validator())).collect()
}

fn block(bytes: &[(usize, u8)]) -> AtomId {
    let mut id = [0; 32];
    for (index, byte) in bytes {
        id[*index] = *byte;
    }
    AtomId::new(id)
}

/// Python's `random.Random`, over bounds of two to five words and seeds with zero words in front.
#[test]
fn draws_are_those_of_the_reference() {
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
            block(&[(8, 0x80)]),
            "010010110100012102211200",
        ),
        (
            naturals(&["10", "20", "30"]),
            AtomId::ZERO,
            "212012110210201002122201",
        ),
        (
            naturals(&["10", "20", "30"]),
            block(&[(31, 1)]),
            "020112222100202202120201",
        ),
        (
            naturals(&["3", "1", "4", "1", "5", "9", "2", "6"]),
            block(&[(30, 1)]),
            "545560773262455514240706",
        ),
        (
            naturals(&["0", "100", "0", "7"]),
            AtomId::new([0xff; 32]),
            "131113131331311331111133",
        ),
    ] {
        assert_eq!(sequence(&stakes(&amounts), id, 24), expected, "{amounts:?}");
    }
}

/// A week without a block.
#[test]
fn a_long_gap_is_drawn_to_its_end() {
    let amounts: Vec<Natural> = (0..9_u64)
        .map(|i| (i * i * 7919 % 1000 + 1).into())
        .collect();
    let stakes = stakes(&amounts);
    let id = AtomId::new([0x5a; 32]);
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
        let validator = validator_at(&stakes, id, &Natural::ZERO, &time);
        assert_eq!(validator, Ok(Address::new([expected; 32])), "slot {slot}");
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
    let too_far = SelectError::TooFar { slot };
    assert_eq!(at(0, 2 * MAX_SLOTS + 1), Err(too_far.clone()));
    assert_eq!(
        validator_at(
            &stakes(&[Natural::ONE]),
            AtomId::ZERO,
            &Natural::ZERO,
            &Natural::from(2 * MAX_SLOTS + 1)
        ),
        Err(too_far)
    );
    let huge = Natural::new(u128::MAX) + Natural::ONE;
    assert!(matches!(
        slot_of(&Natural::ZERO, &huge),
        Err(SelectError::TooFar { .. })
    ));
}

#[test]
fn without_stakes_nobody_is_drawn() {
    for stakes in [stakes(&[]), stakes(&[Natural::ZERO, Natural::ZERO])] {
        assert_eq!(
            Draw::new(&stakes, AtomId::ZERO).err(),
            Some(SelectError::NoStake)
        );
    }
}

#[test]
fn a_slot_that_has_passed_is_not_drawn_again() {
    let stakes = stakes(&naturals(&["10", "20"]));
    let mut draw = Draw::new(&stakes, AtomId::ZERO).unwrap();
    assert_eq!(draw.validator_of(0), None);
    let fifth = draw.validator_of(5);
    assert_eq!((draw.validator_of(5), draw.slot()), (fifth, 5));
    assert_eq!(draw.validator_of(4), None);
}

#[test]
fn stakes_are_read_from_the_treasury() {
    let validator = Address::new([9; 32]);
    let mut genesis = Genesis::new(validator, Natural::ZERO, Natural::ONE);
    genesis.stakes = stakes(&naturals(&[
        "5",
        "0",
        "340282366920938463463374607431768211456",
    ]));
    let mut store = MemoryStore::new();
    let block = genesis.build(&mut Scalar, &mut store).unwrap();
    let mut expected = genesis.stakes.clone();
    expected.retain(|_, stake| !stake.is_zero());
    assert_eq!(read_stakes(&store, block.accounts), Ok(expected));

    let nothing = MemoryStore::new();
    let error = read_stakes(&nothing, block.accounts).unwrap_err();
    assert_eq!(error.missing(), Some(block.accounts));
    let empty = read_stakes(&nothing, AtomId::ZERO).unwrap_err();
    assert!(
        matches!(empty, RecordError::Malformed { problem, .. } if problem.contains("treasury"))
    );
}

/// A treasury whose stakes are the trie with this root.
fn treasury_with(store: &mut MemoryStore, stakes: AtomId) -> AtomId {
    let treasury = Account {
        balance: Natural::ONE,
        counter: Natural::ZERO,
        code: AtomId::ZERO,
        data: stakes,
        channels: AtomId::ZERO,
    };
    let record = treasury.write(store).unwrap();
    let mut accounts = Trie::new();
    accounts
        .put(store, TREASURY.as_bytes(), record.as_bytes())
        .unwrap();
    accounts.commit(&mut Scalar, store).unwrap()
}

/// 256 nodes, each with one child twice: 2^256 stakes.
#[test]
fn a_stakes_trie_that_fans_out_is_refused_at_once() {
    let mut store = MemoryStore::new();
    let mut node = |child: AtomId, value: &[u8]| {
        let fields: [&[u8]; 4] = [&[0, 0], child.as_ref(), child.as_ref(), value];
        let (fields, atoms) = bytes_list(&fields);
        let head = Atom::new(AtomKind::Symbol, *b"trie", fields);
        store.extend(atoms);
        store.insert(head)
    };
    let mut root = node(AtomId::ZERO, &[1]);
    for _ in 0..256 {
        root = node(root, &[]);
    }
    let accounts = treasury_with(&mut store, root);
    let error = read_stakes(&store, accounts).unwrap_err();
    assert!(
        matches!(error, RecordError::Malformed { problem, .. } if problem.contains("two places")),
        "{error}"
    );
}

/// Two keys that differ in the sign of a point leave the same node in two places.
#[test]
fn a_key_and_its_negative_may_both_have_a_stake() {
    let (mut one, mut other) = ([0x5a; 32], [0x5a; 32]);
    (one[31], other[31]) = (0x11, 0x91);
    let mut store = MemoryStore::new();
    let mut genesis = Genesis::new(Address::new(one), Natural::ZERO, Natural::ONE);
    genesis.stakes = [one, other]
        .map(|key| (Address::new(key), Natural::ONE))
        .into();
    let block = genesis.build(&mut Scalar, &mut store).unwrap();
    assert_eq!(read_stakes(&store, block.accounts), Ok(genesis.stakes));
}

/// The draw as it is described, without a shortcut.
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

proptest! {
    #[test]
    fn shortcuts_change_nothing(
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
        let stakes = stakes(&amounts);
        let id = AtomId::new(id);
        let mut naive = Naive { random: seeded(id), stakes: amounts };
        let mut draw = Draw::new(&stakes, id).unwrap();
        let mut slot = 0;
        for jump in jumps {
            slot += jump;
            let drawn = draw.validator_of(slot).unwrap();
            let index = (0..jump).map(|_| naive.next()).last().unwrap();
            prop_assert_eq!(usize::from(drawn.as_bytes()[0]), index);
        }
    }

    #[test]
    fn a_natural_and_a_small_bound_draw_the_same(bound in 1..u128::MAX, seed: u32) {
        let (mut small, mut large) = (Mt::new(seed), Mt::new(seed));
        let bound = bound >> (seed % 128);
        let bound = bound.max(1);
        for _ in 0..3 {
            let value = below(&mut small, bound);
            prop_assert_eq!(below_natural(&mut large, &bound.into()), Natural::new(value));
            prop_assert!(value < bound);
        }
    }
}
