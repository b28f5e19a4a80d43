//! Lists that transactions refer to: limited together, measured by the source or walked, and not
//! read if a claim has no proof of work.

use super::world::{World, natural, unsigned, with_dummy_signature};
use crate::atom::{Atom, AtomId, AtomKind, AtomSource, ListStretch, MemoryStore, SourceError};
use crate::chain::{
    Address, BURN, MAX_LIST_ATOMS, MAX_WALK_BYTES, Outcome, RecordAtoms, State, StateError, Status,
    Transaction, TransactionError, contract,
};
use crate::crypto::leading_zero_bits;
use crate::integer::Natural;
use crate::trie::Scalar;
use alloc::collections::BTreeMap;
use core::cell::RefCell;
use core::convert::Infallible;
use proptest::prelude::*;
use std::vec::Vec;

const PAYER: Address = Address::new([0x11; 32]);
const ATOMS: u64 = MAX_LIST_ATOMS as u64;

/// Store that has measured some lists and records reads.
struct Source {
    store: RefCell<MemoryStore>,
    stretches: RefCell<BTreeMap<AtomId, ListStretch>>,
    read: RefCell<Vec<AtomId>>,
}

impl Source {
    fn new(world: &World) -> Self {
        Self {
            store: world.store.clone().into(),
            stretches: RefCell::default(),
            read: RefCell::default(),
        }
    }

    fn measured(&self, head: AtomId, atoms: u64, bytes: u64, next: AtomId) {
        let stretch = ListStretch { atoms, bytes, next };
        self.stretches.borrow_mut().insert(head, stretch);
    }
}

impl AtomSource for Source {
    type Error = Infallible;

    fn atom(&self, id: &AtomId) -> Result<Atom, SourceError<Infallible>> {
        self.read.borrow_mut().push(*id);
        self.store.borrow().atom(id)
    }

    fn list_stretch(&self, head: &AtomId) -> Option<ListStretch> {
        self.stretches.borrow().get(head).copied()
    }
}

fn rich() -> World {
    World::new(&[(PAYER, Natural::from(u128::MAX))])
}

fn list(number: u8) -> AtomId {
    AtomId::new([number; 32])
}

fn open(list: AtomId) -> Transaction {
    let data = [&[contract::OPEN][..], list.as_ref()].concat();
    with_dummy_signature(
        unsigned(u64::from(list.as_bytes()[0]), BURN, 0, &data),
        PAYER,
    )
}

type Verdict = Result<Result<Status, TransactionError>, StateError<Infallible>>;

fn apply<S: AtomSource<Error = Infallible>>(
    state: &mut State<S>,
    transaction: &Transaction,
) -> Verdict {
    state.apply(transaction).map(|outcome| match outcome {
        Outcome::Applied { receipt, .. } => Ok(receipt.status),
        Outcome::Rejected(rejection) => Err(rejection),
    })
}

/// Checks the limits with four lists of these numbers of atoms and bytes: the second does not fit
/// beside the first, the third just does, and nothing fits after it. A list of length `alone` does
/// not fit into any block.
fn assert_bounded(lists: [(u64, u64); 4], alone: (u64, u64)) {
    let world = rich();
    let source = Source::new(&world);
    for (number, (atoms, bytes)) in (1..).zip(lists) {
        source.measured(list(number), atoms, bytes, AtomId::ZERO);
    }
    let (atoms, bytes) = alone;
    source.measured(list(9), atoms, bytes, AtomId::ZERO);
    let mut state = State::new(&source, world.position());
    let fits = Ok(Ok(Status::Success));
    let too_long = |number| {
        let list = list(number);
        Ok(Err(TransactionError::BlockListsTooLong { list }))
    };
    assert_eq!(apply(&mut state, &open(list(1))), fits);
    for _ in 0..2 {
        assert_eq!(apply(&mut state, &open(list(2))), too_long(2));
        let none = Ok(Err(TransactionError::ListTooLong { list: list(9) }));
        assert_eq!(apply(&mut state, &open(list(9))), none);
    }
    assert_eq!(
        apply(&mut state, &open(list(3))),
        fits,
        "a rejected transaction has no cost"
    );
    assert_eq!(apply(&mut state, &open(list(4))), too_long(4));
    // In a block of its own it fits.
    let mut state = State::new(&source, world.position());
    assert_eq!(apply(&mut state, &open(list(2))), fits);
}

#[test]
fn lists_of_a_block_are_bounded_together_in_atoms() {
    let of = |atoms: u64| (atoms, atoms);
    assert_bounded([of(ATOMS - 10), of(11), of(10), of(1)], of(ATOMS + 1));
}

#[test]
fn lists_of_a_block_are_bounded_together_in_bytes() {
    let of = |bytes: u64| (1, bytes);
    let most = MAX_WALK_BYTES;
    assert_bounded([of(most - 100), of(101), of(100), of(34)], of(most + 1));
}

/// The same limits apply when atoms are walked.
#[test]
fn walked_lists_have_the_same_bounds_as_measured_lists() {
    let mut world = rich();
    let data: std::sync::Arc<[u8]> = std::vec![7; (1 << 20) - 33].into();
    let mut next = AtomId::ZERO;
    let mut heads = Vec::new();
    for _ in 0..65 {
        next = world
            .store
            .insert(Atom::new(AtomKind::Bytes, data.clone(), next));
        heads.push(next);
    }
    let mut state = world.state();
    let list = heads[64];
    let none = Ok(Err(TransactionError::ListTooLong { list }));
    assert_eq!(apply(&mut state, &open(list)), none);
    assert_eq!(apply(&mut state, &open(heads[62])), Ok(Ok(Status::Success)));
    let list = heads[1];
    let full = Ok(Err(TransactionError::BlockListsTooLong { list }));
    assert_eq!(apply(&mut state, &open(list)), full);
    assert_eq!(apply(&mut state, &open(heads[0])), Ok(Ok(Status::Success)));

    let values: Vec<[u8; 2]> = (0..2_000_u16).map(u16::to_be_bytes).collect();
    let values: Vec<&[u8]> = values.iter().map(<[u8; 2]>::as_slice).collect();
    // Each suffix is a list of its own.
    let mut next = world.add_list(&values);
    let mut state = world.state();
    let mut walked = 0;
    for (counter, len) in (1..=2_000_u64).rev().enumerate() {
        let data = [&[contract::OPEN][..], next.as_ref()].concat();
        let open = with_dummy_signature(unsigned(counter as u64, BURN, 0, &data), PAYER);
        if walked + len > ATOMS {
            let list = next;
            let full = Ok(Err(TransactionError::BlockListsTooLong { list }));
            assert_eq!(apply(&mut state, &open), full);
            assert!(len > 1_000);
            return;
        }
        assert_eq!(apply(&mut state, &open), Ok(Ok(Status::Success)));
        walked += len;
        next = world.store.atom(&next).unwrap().next();
    }
    panic!("the walked lists are unbounded");
}

#[test]
fn partly_measured_list_costs_nothing_until_measured() {
    let world = rich();
    let source = Source::new(&world);
    source.measured(list(1), ATOMS - 10, 5, list(2));
    let mut state = State::new(&source, world.position());
    for _ in 0..3 {
        let error = apply(&mut state, &open(list(1))).unwrap_err();
        let (list, at) = (list(1), list(2));
        assert_eq!(error, StateError::Unmeasured { list, at });
        assert_eq!(
            (error.unmeasured(), error.missing()),
            (Some(list), Some(at))
        );
    }
    source.measured(list(2), 10, 5, AtomId::ZERO);
    assert_eq!(apply(&mut state, &open(list(1))), Ok(Ok(Status::Success)));
    // A stretch without atoms is ignored: it would lead nowhere.
    source.measured(list(3), 0, 0, list(3));
    let error = apply(&mut state, &open(list(3))).unwrap_err();
    assert_eq!(error.missing(), Some(list(3)));
}

/// List that continues with a record that the block itself creates, which no peer has yet.
#[test]
fn measured_list_may_continue_with_a_record_of_the_block() {
    let world = rich();
    let transfer = with_dummy_signature(unsigned(1, Address::new([0x22; 32]), 1, b""), PAYER);
    let mut first = world.state();
    assert_eq!(apply(&mut first, &transfer), Ok(Ok(Status::Success)));
    let mut atoms = RecordAtoms::new();
    let sealed = first.seal(&mut Scalar, &mut atoms).unwrap();
    let (record, _) = atoms[sealed.record_atoms.start];

    let source = Source::new(&world);
    source.measured(list(5), 7, 700, record);
    let mut state = State::new(&source, world.position());
    let error = apply(&mut state, &open(list(5))).unwrap_err();
    assert_eq!(error.missing(), Some(record), "before it is created");
    assert_eq!(apply(&mut state, &transfer), Ok(Ok(Status::Success)));
    assert_eq!(apply(&mut state, &open(list(5))), Ok(Ok(Status::Success)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// The recorded contract does not depend on the known stretches of the list.
    #[test]
    fn measured_and_walked_lists_leave_the_same_state(
        lens in proptest::collection::vec(0..90_usize, 1..40),
        cuts in proptest::collection::vec((0..40_usize, 1..40_usize), 0..5),
    ) {
        let mut world = rich();
        let values: Vec<Vec<u8>> = lens.iter().map(|len| std::vec![3; *len]).collect();
        let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
        let head = world.add_list(&values);
        let atoms = crate::atom::collect_list(&world.store, head, 100).unwrap();
        let run = |known: &[(usize, usize)]| {
            let source = Source::new(&world);
            for (start, len) in known {
                let run: Vec<&Atom> = atoms.iter().skip(*start).take(*len).collect();
                if let (Some(first), Some(last)) = (run.first(), run.last()) {
                    let bytes = run.iter().map(|atom| atom.stored_len() as u64).sum();
                    source.measured(first.id(), run.len() as u64, bytes, last.next());
                }
            }
            let mut state = State::new(&source, world.position());
            let verdict = apply(&mut state, &open(head));
            let mut atoms = RecordAtoms::new();
            let sealed = state.seal(&mut Scalar, &mut atoms).unwrap();
            (verdict, sealed.accounts)
        };
        prop_assert_eq!(run(&cuts), run(&[]));
        prop_assert_eq!(run(&[(0, 99)]), run(&[]));
    }
}

/// Claim by `sender` for storing the list, with the atom that is challenged first.
struct Claim<'a> {
    world: &'a World,
    list: AtomId,
    sender: Address,
}

impl Claim<'_> {
    fn challenged_atom(&self) -> Atom {
        let last = self.world.parent.id();
        let seed = blake3::hash(&[last.as_ref(), self.list.as_ref()].concat());
        let low = u64::from_le_bytes(*seed.as_bytes().first_chunk().unwrap());
        let atoms = crate::atom::collect_list(&self.world.store, self.list, 100).unwrap();
        atoms[usize::try_from(low % atoms.len() as u64).unwrap()].clone()
    }

    fn bits(&self, nonce: [u8; 64]) -> u32 {
        let (last, challenged) = (self.world.parent.id(), self.challenged_atom());
        let hash = blake3::hash(challenged.data());
        let parts: [&[u8]; 5] = [
            last.as_ref(),
            self.sender.as_ref(),
            self.list.as_ref(),
            hash.as_bytes(),
            &nonce,
        ];
        leading_zero_bits(blake3::hash(&parts.concat()).as_bytes())
    }

    /// Returns a claim with the first nonce that has exactly `bits` leading zero bits.
    fn with_bits(&self, bits: u32) -> Transaction {
        let nonces = (0..1_u64 << 20).map(|number| {
            let mut nonce = [0; 64];
            nonce[..8].copy_from_slice(&number.to_be_bytes());
            nonce
        });
        let mut nonces = nonces.filter(|nonce| self.bits(*nonce) == bits);
        self.transaction(nonces.next().unwrap(), &self.challenged_atom())
    }

    fn transaction(&self, nonce: [u8; 64], challenged: &Atom) -> Transaction {
        let hash = blake3::hash(challenged.data());
        let parts: [&[u8]; 4] = [
            &[contract::PAY],
            self.list.as_ref(),
            &nonce,
            hash.as_bytes(),
        ];
        with_dummy_signature(unsigned(9, BURN, 0, &parts.concat()), self.sender)
    }
}

/// Creates a world with a list of five atoms and an account at a distance of `distance_bits` bits
/// from it.
fn stored_list(distance_bits: u32) -> (World, AtomId, Address) {
    let values = [b"a", b"b", b"c", b"d", b"e"];
    let values: Vec<&[u8]> = values.iter().map(|value| value.as_slice()).collect();
    let (list, _) = crate::atom::bytes_list(&values);
    let mut address = *list.as_bytes();
    if let Some(bit) = distance_bits.checked_sub(1) {
        let byte = 31 - usize::try_from(bit / 8).unwrap();
        address[byte] ^= 1 << (bit % 8);
    }
    let provider = Address::new(address);
    let mut world = World::new(&[(PAYER, natural(10_000)), (provider, natural(10_000))]);
    assert_eq!(world.add_list(&values), list);
    (world, list, provider)
}

/// The operation byte may occur a second time, as in the reference's own claims, but not a third
/// time.
#[test]
fn claim_may_repeat_its_operation_byte_once() {
    let (world, list, sender) = stored_list(1);
    let claim = Claim {
        world: &world,
        list,
        sender,
    };
    let once = claim.transaction([0; 64], &claim.challenged_atom());
    for (before, expected) in [
        (&[contract::PAY][..], Status::Success),
        (&[contract::OPEN], Status::Failed),
        (&[contract::PAY; 2], Status::Failed),
    ] {
        let data = [&[contract::PAY], before, &once.data[1..]].concat();
        let mut state = world.state();
        assert_eq!(apply(&mut state, &open(list)), Ok(Ok(Status::Success)));
        let claim = with_dummy_signature(unsigned(9, BURN, 0, &data), sender);
        assert_eq!(apply(&mut state, &claim), Ok(Ok(expected)), "{before:?}");
    }
}

/// The claim needs the bit length of the distance between sender and list, minus 1.
#[test]
fn payment_needs_exactly_the_proof_of_work_for_its_distance() {
    for (distance, required) in [(0, 0_u32), (1, 0), (2, 1), (5, 4), (9, 8)] {
        let (world, list, sender) = stored_list(distance);
        let claim = Claim {
            world: &world,
            list,
            sender,
        };
        let mut state = world.state();
        assert_eq!(apply(&mut state, &open(list)), Ok(Ok(Status::Success)));
        if let Some(too_few) = required.checked_sub(1) {
            let lazy = claim.with_bits(too_few);
            assert_eq!(apply(&mut state, &lazy), Ok(Ok(Status::Failed)));
            assert!(state.minted().is_zero(), "nothing is minted without work");
        }
        let worked = claim.with_bits(required);
        assert_eq!(apply(&mut state, &worked), Ok(Ok(Status::Success)));
        // Five atoms of one byte each, for one block.
        assert_eq!(*state.minted(), natural(5 * 34));
    }
}

#[test]
fn claim_without_proof_of_work_reads_no_atom_of_the_list() {
    let (world, list, sender) = stored_list(40);
    let claim = Claim {
        world: &world,
        list,
        sender,
    };
    let mut seal = world.state();
    assert_eq!(apply(&mut seal, &open(list)), Ok(Ok(Status::Success)));
    let source = Source::new(&world);
    let mut state = State::new(&source, world.position());
    assert_eq!(apply(&mut state, &open(list)), Ok(Ok(Status::Success)));
    let atoms = crate::atom::collect_list(&world.store, list, 100).unwrap();
    let ids: Vec<AtomId> = atoms.iter().map(Atom::id).collect();
    let was_read = || source.read.borrow().iter().any(|id| ids.contains(id));
    assert!(was_read(), "it was measured");
    source.read.borrow_mut().clear();
    for challenged in &atoms {
        let lazy = claim.transaction([0; 64], challenged);
        assert_eq!(apply(&mut state, &lazy), Ok(Ok(Status::Failed)));
    }
    assert!(!was_read());
}

/// A claim must show the challenged atom, within the rest of the block's budget.
#[test]
fn payment_reads_up_to_the_challenged_atom() {
    let (world, list, sender) = stored_list(0);
    let claim = Claim {
        world: &world,
        list,
        sender,
    };
    let challenged = claim.challenged_atom();
    let atoms = crate::atom::collect_list(&world.store, list, 100).unwrap();
    let at = atoms.iter().position(|atom| *atom == challenged).unwrap();
    let other = &atoms[(at + 1) % atoms.len()];
    let source = Source::new(&world);
    // A list that leaves slightly too little, and one that leaves enough.
    let way = 34 * (at as u64 + 1);
    source.measured(
        self::list(1),
        1,
        MAX_WALK_BYTES - 5 * 34 - way + 1,
        AtomId::ZERO,
    );
    source.measured(
        self::list(2),
        1,
        MAX_WALK_BYTES - 5 * 34 - way,
        AtomId::ZERO,
    );
    // The same in atoms: those before the challenged one count.
    assert!(at > 0);
    let way = at as u64;
    source.measured(self::list(3), ATOMS - 5 - way + 1, 1, AtomId::ZERO);
    source.measured(self::list(4), ATOMS - 5 - way, 1, AtomId::ZERO);
    for (before, expected) in [
        (1, Err(TransactionError::BlockListsTooLong { list })),
        (2, Ok(Status::Success)),
        (3, Err(TransactionError::BlockListsTooLong { list })),
        (4, Ok(Status::Success)),
    ] {
        let mut state = State::new(&source, world.position());
        assert_eq!(apply(&mut state, &open(list)), Ok(Ok(Status::Success)));
        // The first two cost more than the sender has, but were looked at nevertheless.
        let status = if before < 3 {
            Status::Failed
        } else {
            Status::Success
        };
        let before = open(self::list(before));
        assert_eq!(apply(&mut state, &before), Ok(Ok(status)));
        let right = claim.transaction([0; 64], &challenged);
        assert_eq!(apply(&mut state, &right), Ok(expected));
    }
    let mut state = State::new(&source, world.position());
    assert_eq!(apply(&mut state, &open(list)), Ok(Ok(Status::Success)));
    let wrong = claim.transaction([0; 64], other);
    assert_eq!(apply(&mut state, &wrong), Ok(Ok(Status::Failed)));
}

/// By the reference's rules, an opening with an amount fails and moves nothing, but is still
/// recorded. The same byte sent to another account has no effect.
#[test]
fn opening_with_an_amount_fails_but_is_recorded_at_the_burn_account_only() {
    let world = rich();
    let source = Source::new(&world);
    source.measured(list(1), 4, 100, AtomId::ZERO);
    let opening = open(list(1));
    let mut state = State::new(&source, world.position());
    let elsewhere = unsigned(2, Address::new([0x22; 32]), 5, &opening.data);
    let moved = apply(&mut state, &with_dummy_signature(elsewhere, PAYER));
    assert_eq!(moved, Ok(Ok(Status::Success)));
    let with_amount = with_dummy_signature(unsigned(1, BURN, 5, &opening.data), PAYER);
    let failed = apply(&mut state, &with_amount);
    assert_eq!(failed, Ok(Ok(Status::Failed)));
    let again = apply(&mut state, &opening);
    assert_eq!(again, Ok(Ok(Status::Failed)), "it is recorded");
}

/// A sender may spend its whole balance on storage, but not more.
#[test]
fn opening_needs_exactly_the_storage_cost() {
    let mut world = World::new(&[(PAYER, natural(1_000_000))]);
    let list = world.add_list(&[b"a", b"bc"]);
    let body = world.body(&[open(list)], false);
    let held = super::world::accounts(&world.store, body.accounts);
    let payer = held.into_iter().find(|(address, _)| *address == PAYER);
    let cost = natural(1_000_000).saturating_sub(&payer.unwrap().1.balance);
    let less = cost.saturating_sub(&Natural::ONE);
    for (balance, expected) in [(cost, Status::Success), (less, Status::Failed)] {
        let mut world = World::new(&[(PAYER, balance)]);
        let list = world.add_list(&[b"a", b"bc"]);
        let mut state = world.state();
        assert_eq!(apply(&mut state, &open(list)), Ok(Ok(expected)));
    }
}
