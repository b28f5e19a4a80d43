//! Fuzz target of the state transition: transactions of any kind on a small chain. Money is
//! conserved, rejected transactions leave the state unchanged, fetching of missing atoms does not
//! change the outcome, and the next block can be made and verified for any stakes.
//!
//! Transactions are signed, except those of addresses that are not keys: the negatives of keys, and
//! the address at which a list is stored. Only that address can be paid for storing the list in the
//! time that a test has. A claim on a channel is signed by its payer, and [`reached`] returns the
//! operations that have succeeded.

use super::input::Input;
use crate::model::first_miss_store::{FirstMissStore, retry_missing};
use crate::model::layered_store::LayeredStore;
use astreum_core::atom::{Atom, AtomId, AtomSource, MemoryStore, bytes_list, collect_list};
use astreum_core::chain::channel::{CLOSE, UPDATE, WITHDRAW, withdrawal_message};
use astreum_core::chain::{
    Account, Address, BURN, Block, Builder, Election, Genesis, Outcome, Position, RecordAtoms,
    StakeTable, State, StateError, Status, TREASURY, Transaction, Unsigned, check_signatures,
    contract, verify_body, verify_proposer, write_atoms,
};
use astreum_core::crypto::{Signature, SigningKey};
use astreum_core::integer::Natural;
use astreum_core::trie::{self, Scalar};
use core::convert::Infallible;
use std::sync::OnceLock;

/// Maximum number of transactions per run.
const MAX_TRANSACTIONS: usize = 16;
/// Number of addresses with a balance.
const USERS: u8 = 5;
/// Code of the sender whose address is the id of the list.
const KEEPER: u8 = 0x7f;
/// Maximum number of atoms of a list on the chain.
const MAX_ATOMS: usize = 1_000;

/// Time of the first block, and chain id.
const BEGINNING: u64 = 1_000;
const CHAIN_ID: u64 = 7;

/// Number of operations that have succeeded in a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Reached {
    /// Transfers and stakes.
    pub transfers: usize,
    /// Deposits into channels.
    pub updates: usize,
    /// Claims on channels.
    pub withdrawals: usize,
    /// Closings of channels.
    pub closings: usize,
    /// Openings of contracts.
    pub contracts: usize,
    /// Payments for storing a list.
    pub payments: usize,
}

/// Returns the key and the address of a user.
fn identity(number: u8) -> &'static (SigningKey, Address) {
    static USER_KEYS: OnceLock<Vec<(SigningKey, Address)>> = OnceLock::new();
    let people = USER_KEYS.get_or_init(|| {
        let keys = (0..USERS).map(|number| SigningKey::from_seed(&[0x30 + number; 32]));
        let address = |key: &SigningKey| Address::from(key.verifying_key());
        keys.map(|key| (key.clone(), address(&key))).collect()
    });
    let user = people.get(usize::from(number % USERS));
    user.unwrap_or_else(|| panic!("only {USERS} users exist"))
}

/// Returns the address of a user.
fn user(number: u8) -> Address {
    identity(number).1
}

/// Returns the list that contracts are opened on. Its atoms have equal content, so that it does not
/// matter which one has to be shown.
fn list() -> &'static (AtomId, Vec<Atom>) {
    static LIST: OnceLock<(AtomId, Vec<Atom>)> = OnceLock::new();
    LIST.get_or_init(|| bytes_list(&[b"a".as_slice(), b"a"]))
}

/// Returns the address of a sender. In addition to people there are the one at which the list is
/// stored, and keys and their negatives, which differ in one bit, with equal last bits and with a
/// long common prefix.
fn sender(code: u8) -> Address {
    if code == KEEPER {
        return Address::new(*list().0.as_bytes());
    }
    if code < 0x80 {
        return user(code);
    }
    let mut address = [0x5a; 32];
    address[31] = if code & 1 == 0 { 0x11 } else { 0x91 };
    let place = usize::from(code >> 2) % 31;
    if code & 2 != 0
        && let Some(byte) = address.get_mut(place)
    {
        *byte ^= 1;
    }
    Address::new(address)
}

/// First block of all chains, the atoms of its state, and its stakes.
struct Beginning {
    store: MemoryStore,
    block: Block,
    stakes: StakeTable,
}

fn beginning() -> &'static Beginning {
    static BLOCK: OnceLock<Beginning> = OnceLock::new();
    BLOCK.get_or_init(|| {
        let mut store = MemoryStore::new();
        store.extend(list().1.iter().cloned());
        let mut genesis = Genesis::new(user(0), CHAIN_ID.into(), BEGINNING.into());
        genesis.balances.insert(sender(KEEPER), 3_000_u64.into());
        for (number, balance) in (1..USERS).zip([50_u64, 3_000, 100_000, u64::MAX]) {
            genesis.balances.insert(user(number), balance.into());
        }
        for code in 0x80..=0xff {
            genesis.balances.insert(sender(code), 5_000_u64.into());
        }
        let Ok(block) = genesis.build(&mut Scalar, &mut store) else {
            panic!("invalid genesis");
        };
        let Ok(stakes) = StakeTable::read(&store, block.accounts) else {
            panic!("the stakes of a genesis are not readable");
        };
        Beginning {
            store,
            block,
            stakes,
        }
    })
}

/// Creates a chain of one block, on which `price` determines the price of storage. All have the
/// state in common.
fn chain(price: u8) -> (LayeredStore, Block) {
    let beginning = beginning();
    let mut header = beginning.block.header().clone();
    // The price of a byte is the ratio of stakes to fees.
    header.cumulative_total_fees = ((1 + u64::from(price)) * 10_000_000).into();
    let block = header.signed(None);
    let mut store = LayeredStore::new(&beginning.store);
    let Ok(_) = block.write(&mut store);
    (store, block)
}

fn transaction(
    input: &mut Input<'_>,
    number: usize,
    list: AtomId,
    last: AtomId,
) -> Option<Transaction> {
    let code = input.byte()?;
    let from = input.byte().unwrap_or(0);
    let to = input.byte().unwrap_or(1);
    let (sender, other) = (sender(from), user(to));
    let amount_len = match usize::from(input.byte().unwrap_or(1)) {
        // Most longer amounts cannot be paid.
        len if len >= 0x80 => len % 3,
        len => len % 20,
    };
    let amount = Natural::from_bytes_le(input.bytes(amount_len)).unwrap_or_default();
    let any_len = usize::from(code >> 4) * 8;
    let any = input.bytes(any_len);
    let (recipient, data) = match code & 15 {
        0..=3 => (other, any.to_vec()),
        4 => (TREASURY, any.to_vec()),
        5 => (BURN, any.to_vec()),
        6 => (BURN, [&[0][..], list.as_ref()].concat()),
        7 => match any.len() {
            len if len < 60 => (
                BURN,
                [
                    &[1][..],
                    list.as_ref(),
                    &[0; 64],
                    blake3::hash(b"a").as_bytes(),
                ]
                .concat(),
            ),
            _ => (BURN, [&[1][..], list.as_ref(), any].concat()),
        },
        // A window that is open, and one that is over.
        8 => {
            let window = BEGINNING - 100 + u64::from(code >> 7) * 200;
            let data = [&[1][..], other.as_ref(), &window.to_le_bytes()];
            (sender, data.concat())
        }
        9 => match any.len() {
            len if len < 60 => (sender, withdrawal(to, &sender, number, any)),
            _ => (sender, [&[2][..], last.as_ref(), any].concat()),
        },
        10 => (sender, [&[3][..], other.as_ref()].concat()),
        11 => (BURN, [&[0][..], any].concat()),
        _ => (sender, any.to_vec()),
    };
    let unsigned = Unsigned {
        chain_id: (CHAIN_ID + u64::from(code == 255)).into(),
        amount,
        counter: (number as u64).into(),
        data: data.as_slice().into(),
        recipient,
    };
    Some(match is_key(from) {
        true => unsigned.sign(&identity(from).0),
        false => unsigned.signed(sender, Signature::new([0; 64])),
    })
}

/// Returns whether a sender has a key of its own.
const fn is_key(code: u8) -> bool {
    code < KEEPER
}

/// Returns a claim to the balance of a user's channel, signed by that user.
fn withdrawal(payer: u8, taker: &Address, number: usize, any: &[u8]) -> Vec<u8> {
    let (counter, amount) = (
        100 + number as u64,
        any.first().copied().unwrap_or(1).into(),
    );
    let address = user(payer);
    let message = withdrawal_message(&CHAIN_ID.into(), &address, taker, counter, amount);
    let signature = identity(payer).0.sign(&message.unwrap_or_default());
    let numbers = [counter.to_le_bytes(), amount.to_le_bytes()].concat();
    [
        &[WITHDRAW][..],
        address.as_ref(),
        &numbers,
        signature.as_bytes(),
    ]
    .concat()
}

/// Result of the transactions: their outcomes, the root, and the state's totals. The outcome is
/// `None` for a transaction that needs an unavailable atom.
type Left = (Vec<Option<Outcome>>, AtomId, RecordAtoms, Natural, Natural);

/// Applies the transactions to the atoms of `source`; missing atoms can be fetched if they are in
/// `all`.
fn apply<S: AtomSource<Error = Infallible>>(
    source: S,
    all: &LayeredStore,
    parent: &Block,
    transactions: &[Transaction],
) -> Left {
    let stakes = &beginning().stakes;
    let mut state = State::new(source, Position::after(parent, stakes));
    let missing = |error: &StateError<Infallible>| error.missing();
    let is_nowhere = |error: &_| missing(error).is_some_and(|id: AtomId| all.atom(&id).is_err());
    let mut outcome = |transaction: &Transaction| match state.admit_and_apply(transaction) {
        Err(error) if is_nowhere(&error) => Ok(None),
        outcome => outcome.map(Some),
    };
    let outcomes = transactions
        .iter()
        .map(|transaction| retry_missing(|| outcome(transaction), missing))
        .collect();
    let mut atoms = RecordAtoms::new();
    let sealed = retry_missing(
        || {
            atoms.clear();
            state.seal(&mut Scalar, &mut atoms)
        },
        missing,
    );
    let (minted, fees) = (state.minted().clone(), state.fees().clone());
    (outcomes, sealed.accounts, atoms, minted, fees)
}

/// Applies the transactions that the bytes encode, and checks one of the promises, which the bytes
/// select, besides the conservation of money.
pub fn run(data: &[u8]) {
    let promises = [Promise::Fetching, Promise::Rejected, Promise::NextBlock];
    let selected = promises.get(super::selection(data, promises.len()));
    check(data, selected.as_slice());
}

/// Checks all promises, and returns the operations that have succeeded.
///
/// # Panics
/// Panics if a promise is broken.
#[must_use]
pub fn reached(data: &[u8]) -> Reached {
    check(
        data,
        &[&Promise::Fetching, &Promise::Rejected, &Promise::NextBlock],
    )
}

/// Promise whose check applies the transactions again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Promise {
    /// The outcome does not depend on missing atoms.
    Fetching,
    /// Rejected and waiting transactions do not change the state.
    Rejected,
    /// The next block can be made and verified.
    NextBlock,
}

fn check(data: &[u8], promises: &[&Promise]) -> Reached {
    let is_checked = |promise| promises.contains(&&promise);
    let mut input = Input(data);
    let (store, parent) = chain(input.byte().unwrap_or(200));
    let list = list().0;
    let mut transactions = Vec::new();
    while let Some(next) = transaction(&mut input, transactions.len(), list, parent.id()) {
        transactions.push(next);
        if transactions.len() == MAX_TRANSACTIONS {
            break;
        }
    }
    super::count_operations(transactions.len());
    let left = apply(&store, &store, &parent, &transactions);
    if is_checked(Promise::Fetching) {
        let first_miss_store = FirstMissStore::from(&store);
        let fetched = apply(first_miss_store, &store, &parent, &transactions);
        assert_eq!(
            left, fetched,
            "the outcome does not depend on missing atoms"
        );
    }
    let reached = count(&transactions, &left.0);

    let is_applied = |outcome: &Option<_>| matches!(outcome, Some(Outcome::Applied { .. }));
    let (outcomes, root, atoms, minted, fees) = left;
    let kept: Vec<Transaction> = transactions
        .into_iter()
        .zip(&outcomes)
        .filter(|(_, outcome)| is_applied(outcome))
        .map(|(transaction, _)| transaction)
        .collect();
    if is_checked(Promise::Rejected) && kept.len() < outcomes.len() {
        let again = apply(&store, &store, &parent, &kept);
        assert_eq!(
            (again.1, &again.2),
            (root, &atoms),
            "rejected and waiting transactions do not change the state"
        );
    }
    if is_checked(Promise::NextBlock) {
        check_next_block(&store, &parent, &kept, root);
    }
    let mut after = store;
    let Ok(()) = write_atoms(atoms, &mut after);
    let (before, now) = changed_balances(&after, parent.accounts, root);
    assert_eq!(before + &minted, now + &fees, "money is conserved");
    reached
}

/// Counts the operations that have succeeded.
fn count(transactions: &[Transaction], outcomes: &[Option<Outcome>]) -> Reached {
    let mut reached = Reached::default();
    for (transaction, outcome) in transactions.iter().zip(outcomes) {
        let Some(Outcome::Applied { receipt, .. }) = outcome else {
            continue;
        };
        if receipt.status != Status::Success {
            continue;
        }
        let operation = transaction.data.first().copied();
        let is_to_itself = transaction.recipient == *transaction.sender();
        let counter = match operation {
            Some(contract::OPEN) if transaction.recipient == BURN => &mut reached.contracts,
            Some(contract::PAY) if transaction.recipient == BURN => &mut reached.payments,
            Some(UPDATE) if is_to_itself => &mut reached.updates,
            Some(WITHDRAW) if is_to_itself => &mut reached.withdrawals,
            Some(CLOSE) if is_to_itself => &mut reached.closings,
            _ => &mut reached.transfers,
        };
        *counter += 1;
    }
    reached
}

/// Makes a block of the applied transactions and verifies it, and one on top of it. Transactions of
/// addresses that are not keys count as signed.
fn check_next_block(store: &LayeredStore, parent: &Block, kept: &[Transaction], root: AtomId) {
    let (Ok(mut election), mut store) = (Election::read(store, parent), store.clone()) else {
        panic!("the election after a genesis is not readable");
    };
    let (mut parent, mut transactions) = (parent.clone(), kept);
    for round in 0..2 {
        let mut builder = Builder::new(&store, &parent, &election.stakes);
        for transaction in transactions {
            let applied = builder.apply(transaction);
            assert!(matches!(applied, Ok(Ok(_))), "{applied:?}");
        }
        let Ok(body) = builder.finish(&mut Scalar, None) else {
            panic!("an atom of the state is missing");
        };
        assert!(
            round > 0 || body.accounts == root,
            "accounts roots are equal"
        );
        let Ok(scheduled) = election.schedule().map(|mut draw| draw.next_validator()) else {
            panic!("no stake exists");
        };
        let time = &parent.timestamp + &Natural::from(2_u64);
        let block = body.header(&parent, scheduled, time, Natural::ONE);
        let block = block.signed(None);
        let Election { seeds, stakes } = &election;
        assert_eq!(
            verify_proposer::<()>(&block, &parent, seeds, stakes),
            Ok(())
        );
        let signed = check_signatures(transactions);
        let counts = |(transaction, signed): (&Transaction, bool)| {
            signed || (0..USERS).all(|number| user(number) != *transaction.sender())
        };
        let signed: Vec<bool> = transactions.iter().zip(signed).map(counts).collect();
        let verdict = verify_body(
            &store,
            &block,
            &parent,
            stakes,
            transactions,
            &signed,
            &mut Scalar,
        );
        let Ok(verified) = verdict else {
            panic!("assembled block is invalid: {verdict:?}");
        };
        let Ok(()) = write_atoms(verified.atoms.clone(), &mut store);
        let Ok(read) = StakeTable::read(&store, block.accounts) else {
            panic!("stored stakes are not readable");
        };
        assert!(
            read.iter().eq(verified.stakes.iter()),
            "loaded stakes equal the updated ones"
        );
        election = election.child(block.id(), read);
        parent = block;
        transactions = &[];
    }
}

/// Returns the sums of the balances of all accounts that differ between two states, in the first and
/// in the second one, including those of their open channels.
fn changed_balances(store: &LayeredStore, before: AtomId, after: AtomId) -> (Natural, Natural) {
    let mut totals = (Natural::ZERO, Natural::ZERO);
    for change in trie::diff(store, before, after) {
        let Ok(change) = change else {
            panic!("cannot compare the accounts: {change:?}");
        };
        totals.0 += &balance(store, change.before.as_deref());
        totals.1 += &balance(store, change.after.as_deref());
    }
    totals
}

/// Returns the balance of an account, including those of its open channels.
fn balance(store: &LayeredStore, account: Option<&[u8]>) -> Natural {
    let Some(id) = account else {
        return Natural::ZERO;
    };
    let named = |value: &[u8]| AtomId::from_slice(value).unwrap_or_default();
    let Ok(account) = Account::read(store, named(id)) else {
        panic!("cannot read account {id:?}");
    };
    let mut total = account.balance;
    for entry in trie::entries(store, account.channels) {
        let Ok((_, record)) = entry else {
            panic!("cannot read the channels: {entry:?}");
        };
        let atoms = collect_list(store, named(&record), MAX_ATOMS);
        let Ok(Some(balance)) = atoms.map(|atoms| atoms.into_iter().next()) else {
            panic!("channel {record:?} has no record");
        };
        total += Natural::from_bytes_le(balance.data()).unwrap_or_default();
    }
    total
}
