//! State that a transaction leaves for the next one, and its limits.

use super::world::{
    World, accounts, address_of, key, list, natural, unsigned, with_dummy_signature,
};
use crate::atom::{AtomId, AtomSource, MemoryStore, SourceError};
use crate::chain::{
    Address, BURN, Outcome, RecordAtoms, State, Status, TREASURY, Transaction, channel, contract,
};
use crate::integer::Natural;
use crate::trie::{self, Scalar};
use std::vec::Vec;

const PAYER: Address = Address::new([0x11; 32]);
const PEER: Address = Address::new([0x22; 32]);

fn status<S: AtomSource>(state: &mut State<S>, transaction: &Transaction) -> Option<Status> {
    match state.apply(transaction) {
        Ok(Outcome::Applied { receipt, .. }) => Some(receipt.status),
        Ok(Outcome::Rejected(_)) => None,
        Err(_) => panic!("an atom is missing"),
    }
}

fn data(operation: u8, rest: &[&[u8]]) -> Vec<u8> {
    [&[operation][..], &rest.concat()].concat()
}

#[test]
fn updated_channel_can_be_updated_again() {
    let world = World::new(&[(PAYER, natural(10_000))]);
    let mut state = world.state();
    let update = data(channel::UPDATE, &[PEER.as_ref(), &5_000_u64.to_le_bytes()]);
    for counter in 0..3 {
        let update = with_dummy_signature(unsigned(counter, PAYER, 100, &update), PAYER);
        assert_eq!(status(&mut state, &update), Some(Status::Success));
    }
    let mut atoms = RecordAtoms::new();
    let sealed = state.seal(&mut Scalar, &mut atoms).unwrap();
    // Three channel records of three atoms, and six contracts of six.
    assert_eq!(sealed.record_atoms.len(), 3 * 3 + 6 * 6);
    let mut store = world.store.clone();
    store.extend(atoms.into_iter().map(|(_, atom)| atom));
    let (_, payer) = accounts(&store, sealed.accounts)
        .into_iter()
        .find(|(address, _)| *address == PAYER)
        .unwrap();
    let id = trie::get(&store, payer.channels, PEER.as_ref())
        .unwrap()
        .unwrap();
    let fields = list(&store, AtomId::from_slice(&id).unwrap());
    let fields: Vec<&[u8]> = fields.iter().map(|atom| atom.data()).collect();
    assert_eq!(fields, [[44, 1].as_slice(), &[3], &5_000_u64.to_le_bytes()]);
}

#[test]
fn withdrawal_works_in_the_block_that_opens_the_channel() {
    let (payer, taker) = (key(1), key(2));
    let [from, to] = [&payer, &taker].map(address_of);
    let world = World::new(&[(from, natural(10_000)), (to, natural(100))]);
    let mut state = world.state();
    let open = data(channel::UPDATE, &[to.as_ref(), &5_000_u64.to_le_bytes()]);
    let open = unsigned(1, from, 300, &open).sign(&payer);
    let chain_id = &world.parent.chain_id;
    let message = channel::withdrawal_message(chain_id, &from, &to, 9, 120).unwrap();
    let signature = payer.sign(&message);
    let numbers = [9_u64.to_le_bytes(), 120_u64.to_le_bytes()].concat();
    let withdrawal = data(
        channel::WITHDRAW,
        &[from.as_ref(), &numbers, signature.as_bytes()],
    );
    let withdrawal = |counter| unsigned(counter, to, 0, &withdrawal).sign(&taker);
    assert_eq!(
        status(&mut state, &withdrawal(1)),
        Some(Status::Failed),
        "not open yet"
    );
    assert_eq!(status(&mut state, &open), Some(Status::Success));
    assert_eq!(status(&mut state, &withdrawal(2)), Some(Status::Success));
    assert_eq!(
        status(&mut state, &withdrawal(3)),
        Some(Status::Failed),
        "the counter is used"
    );
    // Each transaction costs a fee of 1, and 4 and 2 for storage.
    let left = state.account(&to).unwrap().unwrap().balance.clone();
    assert_eq!(left, natural(100 + 120 - 3 * 7));
}

#[test]
fn record_is_readable_as_a_list_after_its_transaction() {
    let world = World::new(&[(PAYER, natural(10_000))]);
    let mut first = world.state();
    let transfer = with_dummy_signature(unsigned(1, PEER, 1, b""), PAYER);
    assert_eq!(status(&mut first, &transfer), Some(Status::Success));
    let mut atoms = RecordAtoms::new();
    let sealed = first.seal(&mut Scalar, &mut atoms).unwrap();
    let (record, _) = atoms[sealed.record_atoms.start];

    let open = data(contract::OPEN, &[record.as_ref()]);
    let open = with_dummy_signature(unsigned(2, BURN, 0, &open), PAYER);
    let mut state = world.state();
    let missing = state.apply(&open).unwrap_err().missing();
    assert_eq!(missing, Some(record), "not created yet");
    assert_eq!(status(&mut state, &transfer), Some(Status::Success));
    assert_eq!(status(&mut state, &open), Some(Status::Success));

    // A rejected transaction has created nothing.
    let mut state = world.state();
    let other_chain = crate::chain::Unsigned {
        chain_id: natural(99),
        ..unsigned(1, PEER, 1, b"")
    };
    assert_eq!(
        status(&mut state, &with_dummy_signature(other_chain, PAYER)),
        None
    );
    assert_eq!(state.apply(&open).unwrap_err().missing(), Some(record));
}

#[test]
fn amounts_beyond_128_bits_neither_wrap_nor_panic() {
    let huge: Natural = "1000000000000000000000000000000000000000000000000000000"
        .parse()
        .unwrap();
    let world = World::new(&[(PAYER, huge.clone()), (PEER, Natural::from(u128::MAX))]);
    let mut state = world.state();
    let send = |counter, recipient, amount: &Natural, sender| {
        let unsigned = crate::chain::Unsigned {
            amount: amount.clone(),
            ..unsigned(counter, recipient, 0, b"")
        };
        with_dummy_signature(unsigned, sender)
    };
    let most = huge.checked_sub(&natural(1_000_000)).unwrap();
    let more = &huge + &huge;
    assert_eq!(
        status(&mut state, &send(1, PEER, &more, PAYER)),
        Some(Status::Failed)
    );
    assert_eq!(
        status(&mut state, &send(2, PEER, &most, PAYER)),
        Some(Status::Success)
    );
    let found = state.account(&PEER).unwrap().unwrap().balance.clone();
    assert_eq!(found, &most + &Natural::from(u128::MAX));
    assert_eq!(
        status(&mut state, &send(3, TREASURY, &most, PEER)),
        Some(Status::Success)
    );
    let treasury = state.account(&TREASURY).unwrap().unwrap().balance.clone();
    assert_eq!(treasury, most + natural(1));
}

/// Source that has an atom only from the second request on.
struct FirstMissSource<'s> {
    store: &'s MemoryStore,
    asked: core::cell::RefCell<std::collections::BTreeSet<AtomId>>,
}

impl AtomSource for FirstMissSource<'_> {
    type Error = core::convert::Infallible;

    fn atom(&self, id: &AtomId) -> Result<crate::atom::Atom, SourceError<Self::Error>> {
        if self.asked.borrow_mut().insert(*id) {
            return Err(SourceError::Missing(*id));
        }
        self.store.atom(id)
    }
}

#[test]
fn outcome_is_independent_of_missing_atoms() {
    let mut world = World::new(&[(PAYER, natural(100_000)), (PEER, natural(7_000))]);
    let kept = world.add_list(&[b"a", b"b", b"c"]);
    let open = data(contract::OPEN, &[kept.as_ref()]);
    let update = data(channel::UPDATE, &[PEER.as_ref(), &5_000_u64.to_le_bytes()]);
    let transactions = [
        with_dummy_signature(unsigned(1, PEER, 10, b""), PAYER),
        with_dummy_signature(unsigned(2, BURN, 0, &open), PAYER),
        with_dummy_signature(unsigned(3, PAYER, 50, &update), PAYER),
        with_dummy_signature(unsigned(4, TREASURY, 60, b""), PEER),
        with_dummy_signature(unsigned(5, PEER, 1_000_000, b""), PAYER),
    ];
    let mut whole = world.state();
    let mut expected_atoms = RecordAtoms::new();
    let outcomes: Vec<Outcome> = transactions
        .iter()
        .map(|transaction| whole.apply(transaction).unwrap())
        .collect();
    let expected = whole.seal(&mut Scalar, &mut expected_atoms).unwrap();

    let source = FirstMissSource {
        store: &world.store,
        asked: core::cell::RefCell::default(),
    };
    let mut state = State::new(&source, world.position());
    let mut misses = 0;
    for (transaction, expected) in transactions.iter().zip(outcomes) {
        loop {
            match state.apply(transaction) {
                Ok(outcome) => {
                    assert_eq!(outcome, expected);
                    break;
                }
                Err(error) => {
                    assert!(error.missing().is_some());
                    misses += 1;
                }
            }
        }
    }
    assert!(misses > 10, "{misses}");
    let mut atoms = RecordAtoms::new();
    let sealed = loop {
        atoms.clear();
        if let Ok(sealed) = state.seal(&mut Scalar, &mut atoms) {
            break sealed;
        }
    };
    assert_eq!((sealed, atoms), (expected, expected_atoms));
}
