//! Conservation of money under random transactions, and rejected transactions that change nothing.

use super::world::{
    CHAIN_ID, PARENT_TIME, World, address_of, key, natural, total, unsigned, with_dummy_signature,
};
use crate::atom::{AtomId, MemoryStore};
use crate::chain::{
    Address, BURN, Outcome, RecordAtoms, State, TREASURY, Transaction, Unsigned, channel, contract,
};
use crate::crypto::SigningKey;
use crate::integer::Natural;
use crate::trie::Scalar;
use proptest::prelude::*;
use std::vec::Vec;

/// Number of lists on which contracts are opened.
const LISTS: usize = 3;

#[derive(Clone, Debug)]
struct Op {
    sender: usize,
    recipient: usize,
    amount: u64,
    kind: u8,
    other: usize,
    chain_id: u64,
    long_counter: bool,
}

fn op() -> impl Strategy<Value = Op> {
    let amount = prop_oneof![Just(0_u64), 1..50_u64, 1..3_000_u64, Just(u64::MAX)];
    let chain_id = prop_oneof![9 => Just(7_u64), 1 => Just(8_u64)];
    (
        0..8_usize,
        0..8_usize,
        amount,
        0..10_u8,
        0..4_usize,
        chain_id,
        prop::bool::weighted(0.1),
    )
        .prop_map(
            |(sender, recipient, amount, kind, other, chain_id, long_counter)| Op {
                sender,
                recipient,
                amount,
                kind,
                other,
                chain_id,
                long_counter,
            },
        )
}

struct Scene {
    world: World,
    /// Addresses of users, and of one account per list at distance 0, which is paid for storing its
    /// list without proof of work.
    addresses: Vec<Address>,
    lists: Vec<AtomId>,
}

/// Returns the key of a user.
fn person(number: usize) -> SigningKey {
    key(0x30 + u8::try_from(number).unwrap())
}

fn update(peer: Address, window: u64) -> Vec<u8> {
    [&[channel::UPDATE][..], peer.as_ref(), &window.to_le_bytes()].concat()
}

fn scene() -> Scene {
    let mut lists = Vec::new();
    let values: Vec<[&[u8]; 2]> = [[b"a", b"b"], [b"c", b"d"], [b"e", b"f"]]
        .map(|pair| pair.map(|value: &[u8; 1]| value.as_slice()))
        .to_vec();
    for value in values.iter().take(LISTS) {
        lists.push(crate::atom::bytes_list(value).0);
    }
    let addresses: Vec<Address> = (0..5_u8)
        .map(|number| address_of(&person(number.into())))
        .chain(lists.iter().map(|id| Address::new(*id.as_bytes())))
        .collect();
    let balances: Vec<(Address, Natural)> = addresses
        .iter()
        .zip([0, 50, 2_000, 5_000, 100_000, 3_000, 4_000])
        .map(|(address, balance)| (*address, natural(balance)))
        .collect();
    let mut world = World::new(&balances);
    for value in values {
        world.add_list(&value);
    }
    Scene {
        world,
        addresses,
        lists,
    }
}

impl Scene {
    fn transaction(&self, op: &Op, index: usize) -> Transaction {
        let sender = self.addresses[op.sender];
        let other = self.addresses[op.other];
        let list = self.lists[op.other % LISTS];
        let (recipient, data) = match op.kind {
            0 => (TREASURY, Vec::new()),
            1 => (BURN, Vec::new()),
            2 => (BURN, [&[contract::OPEN][..], list.as_ref()].concat()),
            3 => (BURN, self.claim(list)),
            // A channel that can be closed, and one that allows withdrawals.
            4 => (sender, update(other, PARENT_TIME - 100)),
            8 => (sender, update(other, PARENT_TIME + 100)),
            5 => (sender, [&[channel::CLOSE][..], other.as_ref()].concat()),
            6 => (sender, self.withdrawal(op, sender, index)),
            _ => (self.addresses[op.recipient], Vec::new()),
        };
        let counter = if op.long_counter {
            Natural::from_bytes_le(&[1; 4_000]).unwrap() + natural(index as u64)
        } else {
            natural(index as u64)
        };
        let unsigned = Unsigned {
            chain_id: natural(op.chain_id),
            counter,
            ..unsigned(0, recipient, op.amount, &data)
        };
        with_dummy_signature(unsigned, sender)
    }

    /// Returns a claim to money that a user has put into a channel, signed by that user.
    fn withdrawal(&self, op: &Op, taker: Address, index: usize) -> Vec<u8> {
        let (payer, counter) = (self.addresses[op.other], 100 + index as u64);
        let chain_id = natural(CHAIN_ID);
        let amount = op.amount % 200;
        let message = channel::withdrawal_message(&chain_id, &payer, &taker, counter, amount);
        let signature = person(op.other).sign(&message.unwrap());
        let numbers = [counter.to_le_bytes(), amount.to_le_bytes()].concat();
        [
            &[channel::WITHDRAW][..],
            payer.as_ref(),
            &numbers,
            signature.as_bytes(),
        ]
        .concat()
    }

    /// Returns a payment claim for a list; at distance 0 it needs no proof of work.
    fn claim(&self, list: AtomId) -> Vec<u8> {
        let last = self.world.parent.id();
        let seed = blake3::hash(&[last.as_ref(), list.as_ref()].concat());
        let index = usize::from(seed.as_bytes()[0] & 1);
        let atoms = super::world::list(&self.world.store, list);
        let hash = blake3::hash(atoms[index].data());
        [
            &[contract::PAY][..],
            list.as_ref(),
            &[0; 64],
            hash.as_bytes(),
        ]
        .concat()
    }
}

/// Applies the transactions and returns the outcomes, the accounts root and all atoms.
fn run<'t>(
    state: &mut State<&MemoryStore>,
    transactions: impl IntoIterator<Item = &'t Transaction>,
) -> (Vec<Outcome>, AtomId, RecordAtoms) {
    let outcomes = transactions
        .into_iter()
        .map(|transaction| state.apply(transaction).unwrap())
        .collect();
    let mut atoms = RecordAtoms::new();
    let sealed = state.seal(&mut Scalar, &mut atoms).unwrap();
    (outcomes, sealed.accounts, atoms)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn money_is_conserved_and_rejected_transactions_change_no_state(
        ops in proptest::collection::vec(op(), 1..25), order: u64,
    ) {
        let scene = scene();
        let transactions: Vec<Transaction> =
            ops.iter().enumerate().map(|(index, op)| scene.transaction(op, index)).collect();
        let mut state = scene.world.state();
        let (outcomes, root, atoms) = run(&mut state, &transactions);

        let mut store = scene.world.store.clone();
        let before = total(&store, scene.world.parent.accounts);
        store.extend(atoms.iter().map(|(_, atom)| atom.clone()));
        let (minted, fees) = (state.minted().clone(), state.fees().clone());
        prop_assert_eq!(before + &minted, total(&store, root) + &fees);

        let is_applied = |outcome: &Outcome| matches!(outcome, Outcome::Applied { .. });
        let applied = outcomes.iter().filter(|outcome| is_applied(outcome)).count();
        prop_assert_eq!(fees, natural(applied as u64));

        // Without the rejected transactions, and with the accounts read in another order.
        let mut state = scene.world.state();
        let mut turn = order;
        for _ in 0..scene.addresses.len() {
            turn = turn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = (turn >> 33) as usize % scene.addresses.len();
            state.account(&scene.addresses[at]).unwrap();
        }
        let kept = transactions.iter().zip(&outcomes).filter(|(_, outcome)| is_applied(outcome));
        let again = run(&mut state, kept.map(|(transaction, _)| transaction));
        let applied: Vec<Outcome> = outcomes.into_iter().filter(is_applied).collect();
        prop_assert_eq!(state.minted(), &minted);
        prop_assert_eq!(again, (applied, root, atoms));
    }
}

/// Checks that the property test is not vacuous: every kind of outcome occurs.
#[test]
fn generated_operations_cover_every_outcome() {
    let scene = scene();
    let op = |sender, kind, amount, other| Op {
        sender,
        recipient: 0,
        amount,
        kind,
        other,
        chain_id: 7,
        long_counter: false,
    };
    // A contract is opened on the second list, and the account at distance 0 is paid for storing
    // it.
    let ops = [
        op(4, 2, 0, 1),
        op(6, 3, 0, 1),
        op(3, 4, 100, 2),
        op(3, 5, 0, 2),
        // One user withdraws from a channel that another has opened.
        op(3, 8, 150, 2),
        op(2, 6, 120, 3),
        op(2, 6, 120, 3),
        op(2, 0, 10, 0),
        op(1, 7, u64::MAX, 0),
        op(0, 7, 1, 0),
        Op {
            long_counter: true,
            ..op(2, 7, 1, 0)
        },
    ];
    let transactions: Vec<Transaction> = ops
        .iter()
        .enumerate()
        .map(|(index, op)| scene.transaction(op, index))
        .collect();
    let mut state = scene.world.state();
    let (outcomes, _, _) = run(&mut state, &transactions);
    let statuses: Vec<Option<u8>> = outcomes
        .iter()
        .map(|outcome| match outcome {
            Outcome::Applied { receipt, .. } => Some(receipt.status.code()),
            Outcome::Rejected(_) => None,
        })
        .collect();
    let paid = Some(0);
    assert_eq!(
        statuses,
        [
            paid,
            paid,
            paid,
            paid,
            paid,
            paid,
            // Exceeds the rest of the channel.
            Some(1),
            paid,
            Some(1),
            None,
            paid
        ]
    );
    // Two atoms of one byte each, one block after the last payment.
    assert_eq!(*state.minted(), natural(2 * 34));
}
