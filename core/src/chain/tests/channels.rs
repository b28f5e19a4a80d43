//! Payment channels: accepted data of the operations, and malformed records.

use super::world::{
    PARENT_TIME, World, address_of, key, list, natural, unsigned, with_dummy_signature,
};
use crate::atom::{Atom, AtomId, AtomKind, MemoryStore};
use crate::chain::{Account, Address, Outcome, RecordAtoms, State, Status, Transaction, channel};
use crate::integer::Natural;
use crate::trie::{self, Scalar, Trie};
use std::vec::Vec;

const PAYER: Address = Address::new([0x11; 32]);
/// Addresses that start with the operation byte of an update and of a closing.
const PEERS: [Address; 2] = [
    Address::new([channel::UPDATE; 32]),
    Address::new([channel::CLOSE; 32]),
];
const WINDOW: u64 = PARENT_TIME + 500;

fn status(state: &mut State<&MemoryStore>, transaction: &Transaction) -> Status {
    match state.apply(transaction).unwrap() {
        Outcome::Applied { receipt, .. } => receipt.status,
        Outcome::Rejected(rejection) => panic!("{rejection}"),
    }
}

fn own(counter: u64, amount: u64, data: &[u8]) -> Transaction {
    with_dummy_signature(unsigned(counter, PAYER, amount, data), PAYER)
}

/// Returns the fields of a channel after the transactions so far.
fn fields(world: &World, state: &mut State<&MemoryStore>, peer: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut atoms = RecordAtoms::new();
    let sealed = state.seal(&mut Scalar, &mut atoms).unwrap();
    let mut store = world.store.clone();
    store.extend(atoms.into_iter().map(|(_, atom)| atom));
    let payer = Account::find(&store, sealed.accounts, &PAYER)
        .unwrap()
        .unwrap();
    let id = trie::get(&store, payer.channels, peer).unwrap()?;
    let fields = list(&store, AtomId::from_slice(&id).unwrap());
    Some(fields.iter().map(|atom| atom.data().to_vec()).collect())
}

fn balance(state: &mut State<&MemoryStore>, address: &Address) -> Natural {
    state.account(address).unwrap().unwrap().balance.clone()
}

/// The operation byte may be omitted.
#[test]
fn channel_update_may_omit_the_operation_byte() {
    let [peer, _] = PEERS;
    let window = WINDOW.to_le_bytes();
    let operation = [channel::UPDATE];
    let full: Vec<u8> = [&operation[..], peer.as_ref(), &window].concat();
    let bare: Vec<u8> = [peer.as_ref(), &window].concat();
    let expected = [natural(70).to_bytes_le(), natural(1).to_bytes_le()];
    for (data, window) in [
        (full.clone(), WINDOW),
        (full[..33].to_vec(), 0),
        (bare.clone(), WINDOW),
        (bare[..32].to_vec(), 0),
    ] {
        let world = World::new(&[(PAYER, natural(10_000))]);
        let mut state = world.state();
        assert_eq!(
            status(&mut state, &own(1, 70, &data)),
            Status::Success,
            "{}",
            data.len()
        );
        let found = fields(&world, &mut state, peer.as_ref()).unwrap();
        assert_eq!(found[..2], expected);
        assert_eq!(found[2], window.to_le_bytes());
    }
    for len in (1..=60).filter(|len| ![32, 33, 40, 41].contains(len)) {
        let world = World::new(&[(PAYER, natural(10_000))]);
        let mut state = world.state();
        let data: Vec<u8> = std::vec![channel::UPDATE; len];
        assert_eq!(
            status(&mut state, &own(1, 70, &data)),
            Status::Failed,
            "{len}"
        );
        assert_eq!(fields(&world, &mut state, peer.as_ref()), None);
    }
}

/// The window may not become shorter, and a window of more than 64 bits is invalid.
#[test]
fn channel_update_keeps_or_extends_the_window() {
    let world = World::new(&[(PAYER, natural(10_000))]);
    let mut state = world.state();
    let [peer, _] = PEERS;
    let update =
        |window: u64| [&[channel::UPDATE][..], peer.as_ref(), &window.to_le_bytes()].concat();
    assert_eq!(
        status(&mut state, &own(1, 1, &update(WINDOW))),
        Status::Success
    );
    assert_eq!(
        status(&mut state, &own(2, 1, &update(WINDOW - 1))),
        Status::Failed
    );
    assert_eq!(
        status(&mut state, &own(3, 1, &update(WINDOW))),
        Status::Success
    );
    assert_eq!(
        status(&mut state, &own(4, 1, &update(u64::MAX))),
        Status::Success
    );
    // Fees and storage of four transactions, and the amounts of the three successful ones.
    assert_eq!(balance(&mut state, &PAYER), natural(10_000 - 3 - 4 * 6));
}

#[test]
fn channel_closes_after_its_window_and_by_its_full_address() {
    let [_, peer] = PEERS;
    let open =
        |window: u64| [&[channel::UPDATE][..], peer.as_ref(), &window.to_le_bytes()].concat();
    let close = [&[channel::CLOSE][..], peer.as_ref()].concat();
    for (window, data, expected) in [
        (PARENT_TIME - 1, close.as_slice(), Status::Success),
        (PARENT_TIME - 1, &close[1..], Status::Success),
        (PARENT_TIME, &close, Status::Failed),
        (PARENT_TIME + 1, &close, Status::Failed),
        (PARENT_TIME - 1, &close[..32], Status::Success),
        (PARENT_TIME - 1, &close[..31], Status::Failed),
        (
            PARENT_TIME - 1,
            &[&close[..], &[3]].concat(),
            Status::Failed,
        ),
    ] {
        let world = World::new(&[(PAYER, natural(10_000))]);
        let mut state = world.state();
        assert_eq!(
            status(&mut state, &own(1, 500, &open(window))),
            Status::Success
        );
        let before = balance(&mut state, &PAYER);
        assert_eq!(
            status(&mut state, &own(2, 0, data)),
            expected,
            "{window} {data:?}"
        );
        let after = balance(&mut state, &PAYER);
        let gained = &after + &natural(6) == &before + &natural(500);
        assert_eq!(gained, expected == Status::Success && data.len() >= 32);
        let found = fields(&world, &mut state, peer.as_ref()).unwrap();
        let is_empty = found[0] == [0];
        assert_eq!(is_empty, gained);
        // The counter is not used a second time.
        assert_eq!(found[1], [if gained { 2 } else { 1 }]);
    }
}

/// A channel record without atoms is an empty channel; any other length than three is malformed.
#[test]
fn channel_records_have_three_fields_or_none() {
    let [peer, _] = PEERS;
    let base = World::new(&[(PAYER, natural(10_000))]);
    for (count, expected) in [
        (0_usize, Status::Success),
        (1, Status::Failed),
        (2, Status::Failed),
        (3, Status::Success),
        (4, Status::Failed),
    ] {
        let mut world = base.clone();
        let values = std::vec![[5_u8]; count];
        let values: Vec<&[u8]> = values.iter().map(<[u8; 1]>::as_slice).collect();
        let record = world.add_list(&values);
        let accounts = with_channel(&mut world, peer, record);
        let mut position = world.position();
        position.accounts = accounts;
        let mut state = State::new(&world.store, position);
        let update = [&[channel::UPDATE][..], peer.as_ref()].concat();
        assert_eq!(
            status(&mut state, &own(1, 70, &update)),
            expected,
            "{count} fields"
        );
        if expected == Status::Success {
            let found = fields(&world, &mut state, peer.as_ref()).unwrap();
            let before = if count == 0 { 0 } else { 5 };
            assert_eq!(found[0], natural(70 + before).to_bytes_le());
            assert_eq!(found[1], natural(1 + before).to_bytes_le());
        }
    }
    // A record with atoms of another kind is malformed.
    let mut world = base.clone();
    let symbol = world
        .store
        .insert(Atom::new(AtomKind::Symbol, *b"x", AtomId::ZERO));
    let accounts = with_channel(&mut world, peer, symbol);
    let mut position = world.position();
    position.accounts = accounts;
    let mut state = State::new(&world.store, position);
    let update = [&[channel::UPDATE][..], peer.as_ref()].concat();
    assert_eq!(status(&mut state, &own(1, 70, &update)), Status::Failed);
}

/// Returns the accounts root of a world in which the payer has a channel with this record.
fn with_channel(world: &mut World, peer: Address, record: AtomId) -> AtomId {
    let store = &mut world.store;
    let mut channels = Trie::new();
    channels.put(store, peer.as_ref(), record.as_ref()).unwrap();
    let payer = Account {
        balance: natural(10_000),
        channels: channels.commit(&mut Scalar, store).unwrap(),
        ..Account::default()
    };
    let payer = payer.write(store).unwrap();
    let mut accounts = Trie::open(world.parent.accounts);
    accounts.put(store, PAYER.as_ref(), payer.as_ref()).unwrap();
    accounts.commit(&mut Scalar, store).unwrap()
}

/// Withdrawals: each part of a claim is checked.
#[test]
fn withdrawal_needs_the_payers_signature_over_its_exact_content() {
    let (payer, taker) = (key(1), key(2));
    let [from, to] = [&payer, &taker].map(address_of);
    let world = World::new(&[(from, natural(10_000)), (to, natural(10_000))]);
    let chain_id = &world.parent.chain_id;
    let claim = |counter: u64, amount: u64, stated: u64| {
        let message = channel::withdrawal_message(chain_id, &from, &to, counter, amount).unwrap();
        let numbers = [counter.to_le_bytes(), stated.to_le_bytes()].concat();
        let signature = payer.sign(&message);
        [
            &[channel::WITHDRAW][..],
            from.as_ref(),
            &numbers,
            signature.as_bytes(),
        ]
        .concat()
    };
    let good = claim(9, 120, 120);
    let mut forged = good.clone();
    *forged.last_mut().unwrap() ^= 1;
    let cut = &good[..good.len() - 1];
    for (data, window, expected) in [
        (good.as_slice(), WINDOW, Status::Success),
        (&good, PARENT_TIME + 1, Status::Success),
        (&good, PARENT_TIME, Status::Failed),
        (&claim(9, 300, 300), WINDOW, Status::Success),
        (&claim(9, 301, 301), WINDOW, Status::Failed),
        (&claim(9, 120, 121), WINDOW, Status::Failed),
        // The counter of the channel is 1 once it is open.
        (&claim(2, 120, 120), WINDOW, Status::Success),
        (&claim(1, 120, 120), WINDOW, Status::Failed),
        (&forged, WINDOW, Status::Failed),
        (cut, WINDOW, Status::Failed),
    ] {
        let mut state = world.state();
        let update = [&[channel::UPDATE][..], to.as_ref(), &window.to_le_bytes()].concat();
        let open = unsigned(1, from, 300, &update).sign(&payer);
        assert_eq!(status(&mut state, &open), Status::Success);
        let before = balance(&mut state, &to);
        let withdrawal = unsigned(2, to, 999_999, data).sign(&taker);
        assert_eq!(status(&mut state, &withdrawal), expected);
        let withdrawn = data.get(41..49).map(|amount| amount.try_into().unwrap());
        let withdrawn = withdrawn.map_or(0, u64::from_le_bytes);
        let withdrawn = if expected == Status::Success {
            withdrawn
        } else {
            0
        };
        assert_eq!(
            balance(&mut state, &to) + natural(7),
            before + natural(withdrawn)
        );
        // The claim is worthless to any other sender.
        let stolen = unsigned(3, from, 0, data).sign(&payer);
        assert_eq!(status(&mut state, &stolen), Status::Failed);
    }
}

/// The sender needs exactly the reserve and the moved amount.
#[test]
fn transfer_succeeds_with_the_exact_balance() {
    for (balance, expected) in [(5 + 100, Status::Failed), (6 + 100, Status::Success)] {
        let world = World::new(&[(PAYER, natural(balance))]);
        let mut state = world.state();
        let transfer = with_dummy_signature(unsigned(1, Address::new([7; 32]), 100, b""), PAYER);
        assert_eq!(status(&mut state, &transfer), expected, "{balance}");
    }
}
