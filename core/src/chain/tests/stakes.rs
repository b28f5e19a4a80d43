//! Stakes recorded by transactions: their limits, and chains that continue regardless of the
//! stakes.

use super::world::{
    PARENT_TIME, World, address_of, key, mine, natural, unsigned, with_dummy_signature,
};
use crate::atom::MemoryStore;
use crate::chain::{
    Address, Block, Builder, Election, Genesis, GenesisError, Outcome, Position, RecordAtoms,
    StakeTable, Stakes, State, StateError, Status, TREASURY, Transaction, TransactionError,
    Unsigned, check_signatures, difficulty, min_new_stake, slot_of, verify_body, verify_header,
    verify_proposer,
};
use crate::crypto::{Signature, SigningKey};
use crate::integer::Natural;
use crate::trie::{self, Scalar};
use core::convert::Infallible;
use curve25519_dalek::{EdwardsPoint, Scalar as KeyScalar};
use proptest::prelude::*;
use sha2::{Digest, Sha512};
use std::vec::Vec;

const OLD: Address = Address::new([0x0d; 32]);
const NEW: Address = Address::new([0x4e; 32]);
const OTHER: Address = Address::new([0x77; 32]);

fn stake(counter: u64, sender: Address, amount: u64) -> Transaction {
    with_dummy_signature(unsigned(counter, TREASURY, amount, b""), sender)
}

fn verdict(
    state: &mut State<&MemoryStore>,
    transaction: &Transaction,
) -> Result<Status, TransactionError> {
    match state.admit_and_apply(transaction).unwrap() {
        Outcome::Applied { receipt, .. } => Ok(receipt.status),
        Outcome::Rejected(rejection) => Err(rejection),
    }
}

/// Creates a world with a total stake of 5,000,001: 1 for `OLD`, the rest for the block producer.
fn world() -> World {
    let rich = natural(50_000_000);
    World::with_stakes(
        &[(OLD, rich.clone()), (NEW, rich.clone()), (OTHER, rich)],
        &[
            (OLD, natural(1)),
            (address_of(&key(200)), natural(5_000_000)),
        ],
    )
}

fn too_small(amount: u64, least: u64) -> Result<Status, TransactionError> {
    Err(TransactionError::SmallStake {
        amount: natural(amount),
        minimum: natural(least),
    })
}

#[test]
fn new_stake_needs_a_millionth_of_all_stakes() {
    let world = world();
    let mut state = world.state();
    assert_eq!(verdict(&mut state, &stake(1, NEW, 0)), too_small(0, 6));
    assert_eq!(verdict(&mut state, &stake(2, NEW, 5)), too_small(5, 6));
    assert_eq!(state.min_new_stake(), natural(6));
    assert_eq!(verdict(&mut state, &stake(3, NEW, 6)), Ok(Status::Success));
    // Any amount may be added to an existing stake.
    for (counter, sender) in [(4, NEW), (5, OLD)] {
        assert_eq!(
            verdict(&mut state, &stake(counter, sender, 0)),
            Ok(Status::Success)
        );
    }
    assert_eq!(verdict(&mut state, &stake(6, OLD, 1)), Ok(Status::Success));
    // Stakes of the same block count towards the minimum.
    let large = stake(7, OLD, 10_000_000);
    assert_eq!(verdict(&mut state, &large), Ok(Status::Success));
    assert_eq!(verdict(&mut state, &stake(8, OTHER, 15)), too_small(15, 16));
    assert_eq!(
        verdict(&mut state, &stake(9, OTHER, 16)),
        Ok(Status::Success)
    );
}

#[test]
fn failed_transaction_records_no_new_stake() {
    let world = world();
    let mut state = world.state();
    let too_much = stake(1, NEW, 60_000_000);
    assert_eq!(verdict(&mut state, &too_much), too_small(0, 6));
    // If the sender is a validator, the transaction is part of the block and does not change its
    // stake.
    let too_much = stake(2, OLD, 60_000_000);
    assert_eq!(verdict(&mut state, &too_much), Ok(Status::Failed));
    assert_eq!(state.min_new_stake(), natural(6));
    // The reference records a stake of zero.
    let mut reference = world.state();
    let outcome = reference.apply(&stake(3, NEW, 60_000_000)).unwrap();
    assert!(
        matches!(outcome, Outcome::Applied { receipt, .. } if receipt.status == Status::Failed)
    );
    let mut atoms = RecordAtoms::new();
    let sealed = reference.seal(&mut Scalar, &mut atoms).unwrap();
    let mut store = world.store.clone();
    store.extend(atoms.into_iter().map(|(_, atom)| atom));
    let treasury = crate::chain::Account::find(&store, sealed.accounts, &TREASURY);
    let stakes = treasury.unwrap().unwrap().data;
    let recorded = trie::get(&store, stakes, NEW.as_ref()).unwrap().unwrap();
    assert_eq!(recorded[..], [0]);
}

#[test]
fn too_small_stake_changes_no_state() {
    let world = world();
    let seal = |transactions: &[Transaction]| {
        let mut state = world.state();
        let verdicts = transactions.iter().map(|it| verdict(&mut state, it));
        let applied = verdicts.filter(Result::is_ok).count();
        let mut atoms = RecordAtoms::new();
        let sealed = state.seal(&mut Scalar, &mut atoms).unwrap();
        (applied, sealed.accounts, atoms)
    };
    let (good, small) = (stake(1, OLD, 7), stake(2, NEW, 5));
    let expected = seal(core::slice::from_ref(&good));
    assert_eq!(seal(&[small.clone(), good.clone(), small]), expected);
}

#[test]
fn minimum_stake_is_rounded_up_and_never_zero() {
    for (total, least) in [
        (0, 1),
        (1, 1),
        (1_000_000, 1),
        (1_000_001, 2),
        (2_000_000, 2),
        (u64::MAX, 18_446_744_073_710),
    ] {
        assert_eq!(min_new_stake(&total.into()), natural(least), "{total}");
    }
}

/// Verdicts based on the stakes of another state would differ from those of other nodes.
#[test]
fn stakes_of_another_state_are_rejected() {
    let world = world();
    let other = StakeTable::from(&Stakes::from([(OLD, natural(3))]));
    let position = Position::after(&world.parent, &other);
    let mut state = State::new(&world.store, position);
    let error = state.admit_and_apply(&stake(1, NEW, 100)).unwrap_err();
    assert!(matches!(error, StateError::Malformed { .. }));
    let mut builder = Builder::new(&world.store, &world.parent, &other);
    let error = builder.finish(&mut Scalar, None).unwrap_err();
    assert!(matches!(error, StateError::Malformed { .. }));
    // Seeds of another block are detected as well; they do not make a block invalid.
    let body = world.builder().finish(&mut Scalar, None).unwrap();
    let block = world.mine(world.header(&body));
    let (seeds, stakes) = (world.seeds(), world.stakes());
    assert_eq!(
        verify_proposer::<()>(&block, &world.parent, &seeds, &stakes),
        Ok(())
    );
    let error = verify_proposer::<()>(&block, &world.parent, &seeds.child(block.id()), &stakes);
    assert!(error.unwrap_err().invalid().is_none());
}

/// Signing key with access to the secret scalar, which every owner of a key has.
struct RawKey {
    scalar: KeyScalar,
    address: Address,
}

impl RawKey {
    fn new(scalar: KeyScalar) -> Self {
        let address = EdwardsPoint::mul_base(&scalar).compress().to_bytes();
        let address = Address::new(address);
        Self { scalar, address }
    }

    fn negative(&self) -> Self {
        Self::new(-self.scalar)
    }

    fn sign(&self, unsigned: Unsigned) -> Transaction {
        let wide = |parts: &[&[u8]]| {
            let hash = parts.iter().fold(Sha512::new(), Sha512::chain_update);
            KeyScalar::from_bytes_mod_order_wide(&hash.finalize().into())
        };
        let draft = unsigned
            .clone()
            .signed(self.address, Signature::new([0; 64]));
        let message = draft.body_hash();
        let secret = wide(&[&self.scalar.to_bytes(), message.as_ref()]);
        let point = EdwardsPoint::mul_base(&secret).compress().to_bytes();
        let challenge = wide(&[&point, self.address.as_ref(), message.as_ref()]);
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&point);
        signature[32..].copy_from_slice(&(secret + challenge * self.scalar).to_bytes());
        unsigned.signed(self.address, Signature::new(signature))
    }
}

/// Returns two keys with the same low seven bits in the last byte, and their negatives.
fn related_keys() -> [RawKey; 4] {
    let one = RawKey::new(KeyScalar::from(1_000_u64));
    let low = |key: &RawKey| key.address.as_bytes()[31] & 0x7f;
    let mut keys = (1_001_u64..).map(|number| RawKey::new(KeyScalar::from(number)));
    let other = keys.find(|key| low(key) == low(&one)).unwrap();
    let negatives = (one.negative(), other.negative());
    [one, negatives.0, other, negatives.1]
}

/// Stakes of a key and its negative put the same trie nodes in two places, those of two such pairs
/// in four: a reader that rejected this could no longer read any stakes or verify any block.
#[test]
fn stakes_of_keys_and_their_negatives_stay_readable() {
    for amount in [0_u64, 1] {
        let validator = key(7);
        let address = address_of(&validator);
        let keys = related_keys();
        let mut genesis = Genesis::new(address, Natural::ZERO, natural(PARENT_TIME));
        genesis.stakes = Stakes::from([(address, natural(1_000))]);
        for key in &keys {
            genesis.balances.insert(key.address, natural(1_000));
        }
        let mut store = MemoryStore::new();
        let mut parent = genesis.build(&mut Scalar, &mut store).unwrap();
        let mut election = Election::read(&store, &parent).unwrap();
        let transactions: Vec<Transaction> = keys
            .iter()
            .map(|key| {
                key.sign(Unsigned {
                    chain_id: Natural::ZERO,
                    ..unsigned(1, TREASURY, amount, b"")
                })
            })
            .collect();
        let signed = check_signatures(&transactions);
        assert!(signed.iter().all(|signed| *signed), "they are valid");
        let mut pending = &transactions[..];
        for _ in 0..5 {
            let mut builder = Builder::new(&store, &parent, &election.stakes);
            let verdict = |transaction| builder.apply(transaction).unwrap();
            let verdicts: Vec<_> = pending.iter().map(verdict).collect();
            let is_in = |verdict: &Result<Status, TransactionError>| verdict.is_ok();
            assert!(
                verdicts
                    .iter()
                    .all(|verdict| is_in(verdict) == (amount > 0))
            );
            let body = builder.finish(&mut Scalar, None).unwrap();
            let applied = if amount > 0 { pending } else { &[] };
            pending = &[];
            let block = scheduled(&election, &parent, &validator, |time| {
                let bits = difficulty(&parent.timestamp, &time, &parent.difficulty);
                body.header(&parent, address, time, bits)
            });
            let Election { seeds, stakes } = &election;
            let latest = natural(1_000_000);
            let chain_id = Natural::ZERO;
            let header =
                verify_header::<Infallible>(&block, &parent, seeds, stakes, &chain_id, &latest);
            assert_eq!(header, Ok(()));
            let again = verify_body(
                &store,
                &block,
                &parent,
                stakes,
                applied,
                &signed[..applied.len()],
                &mut Scalar,
            )
            .unwrap();
            store.extend(body.atoms.iter().map(|(_, atom)| atom.clone()));
            let read = StakeTable::read(&store, block.accounts).unwrap();
            assert!(read.iter().eq(again.stakes.iter()));
            assert_eq!(read.len(), if amount > 0 { 5 } else { 1 });
            election = election.child(block.id(), body.stakes);
            parent = block;
        }
    }
}

/// Creates a block of the validator, in its first slot.
fn scheduled(
    election: &Election,
    parent: &Block,
    validator: &SigningKey,
    header: impl Fn(Natural) -> crate::chain::Header,
) -> Block {
    let address = address_of(validator);
    let mut schedule = election.schedule().unwrap();
    let slot = (1..).find(|slot| schedule.validator_of(*slot) == Some(address));
    let time = &parent.timestamp + &natural(2 * slot.unwrap());
    assert_eq!(slot_of(&parent.timestamp, &time), Ok(slot.unwrap()));
    mine(header(time), validator, &parent.difficulty)
}

/// Returns an owner of a stake: pairs that differ in the sign, neighbours with long common
/// prefixes, and common suffixes.
fn owner(number: u8) -> Address {
    let mut owner = [0x5a; 32];
    match number % 4 {
        0 => (owner[0], owner[31]) = (number / 8, 0x11 | (number & 4) << 5),
        1 => owner[31] = number,
        2 => owner[usize::from(number / 8)] ^= 1 << (number / 4 % 8),
        _ => owner[0] = number,
    }
    Address::new(owner)
}

#[derive(Clone, Debug)]
struct StakeChange {
    owner: u8,
    amount: u64,
}

fn change() -> impl Strategy<Value = StakeChange> {
    let amount = prop_oneof![Just(0_u64), Just(1), Just(7), 1..2_000_u64, Just(u64::MAX)];
    (any::<u8>(), amount).prop_map(|(owner, amount)| StakeChange { owner, amount })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Regardless of the stakes and their keys, every node reads the same stakes, and the next
    /// block can be made and verified.
    #[test]
    fn chain_continues_for_any_stakes(
        blocks in proptest::collection::vec(proptest::collection::vec(change(), 0..12), 1..6),
    ) {
        let owners: std::collections::BTreeSet<Address> = (0..=255).map(owner).collect();
        let balances: Vec<_> = owners.iter().map(|owner| (*owner, natural(4_000))).collect();
        let mut genesis = Genesis::new(address_of(&key(7)), natural(7), natural(PARENT_TIME));
        genesis.balances.extend(balances);
        genesis.stakes = Stakes::from([(address_of(&key(7)), natural(1))]);
        let mut store = MemoryStore::new();
        let mut parent = genesis.build(&mut Scalar, &mut store).unwrap();
        let mut election = Election::read(&store, &parent).unwrap();
        let first = election.stakes.clone();
        let mut counter = 0;
        for changes in blocks {
            let mut builder = Builder::new(&store, &parent, &election.stakes);
            let mut applied = Vec::new();
            for change in &changes {
                counter += 1;
                let transaction = stake(counter, owner(change.owner), change.amount);
                if builder.apply(&transaction).unwrap().is_ok() {
                    applied.push(transaction);
                }
            }
            let body = builder.finish(&mut Scalar, None).unwrap();
            // Any validator may make the block: only the slot is checked here, not the signature.
            let time = &parent.timestamp + &natural(2);
            let validator = election.schedule().unwrap().validator_of(1).unwrap();
            let block = body.header(&parent, validator, time, natural(1)).signed(None);
            let Election { seeds, stakes } = &election;
            prop_assert_eq!(verify_proposer::<()>(&block, &parent, seeds, stakes), Ok(()));
            let signed = std::vec![true; applied.len()];
            let again =
                verify_body(&store, &block, &parent, stakes, &applied, &signed, &mut Scalar);
            let again = again.unwrap();
            store.extend(again.atoms.iter().map(|(_, atom)| atom.clone()));
            block.write(&mut store).unwrap();

            let read = StakeTable::read(&store, block.accounts).unwrap();
            prop_assert_eq!(&read, &again.stakes);
            prop_assert!(read.iter().eq(again.stakes.iter()));
            prop_assert_eq!(read.total(), again.stakes.total());
            prop_assert!(read.iter().all(|(_, stake)| !stake.is_zero()));
            let mut loader = crate::chain::StakeLoader::new(first.clone(), read.root());
            let updated = loader.run(&store, u32::MAX).unwrap().unwrap();
            prop_assert!(updated.iter().eq(read.iter()));
            let new = read.iter().filter(|(owner, _)| stakes.stake(owner).is_zero());
            let smallest = new.map(|(_, stake)| stake.clone()).min();
            prop_assert!(smallest.is_none_or(|stake| stake >= min_new_stake(stakes.total())));
            election = election.child(block.id(), again.stakes);
            parent = block;
        }
        prop_assert_eq!(Election::read(&store, &parent), Ok(election));
    }
}

/// Numbers of a genesis that exceed the limit of a record could not be read later.
#[test]
fn too_large_genesis_amounts_are_rejected() {
    let huge = Natural::from_bytes_le(&[0xff; 200]).unwrap();
    type Change = fn(&mut Genesis, Natural);
    let changes: [Change; 4] = [
        |genesis, huge| drop(genesis.balances.insert(NEW, huge)),
        |genesis, huge| drop(genesis.stakes.insert(NEW, huge)),
        |genesis, huge| genesis.cumulative_total_fees = huge,
        |genesis, huge| drop(genesis.balances.insert(TREASURY, huge)),
    ];
    for change in changes {
        let mut genesis = Genesis::new(OLD, natural(7), natural(1));
        change(&mut genesis, huge.clone());
        let error = genesis.build(&mut Scalar, &mut MemoryStore::new());
        assert_eq!(error, Err(GenesisError::TooLarge));
    }
    let mut genesis = Genesis::new(OLD, natural(7), natural(1));
    let large = Natural::from_bytes_le(&[0xff; 127]).unwrap();
    genesis.balances.insert(NEW, large);
    assert!(genesis.build(&mut Scalar, &mut MemoryStore::new()).is_ok());
}
