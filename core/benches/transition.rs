//! Benchmarks of blocks of plain transfers: execution, verification without signatures, signatures.

#![allow(missing_docs, reason = "a bench has no users")]

use astreum_core::atom::{AtomId, MemoryStore};
use astreum_core::chain::{
    Account, Address, BURN, Block, Builder, Header, StakeTable, TREASURY, Transaction, Unsigned,
    check_signatures, read_transactions, verify_body,
};
use astreum_core::crypto::SigningKey;
use astreum_core::integer::Natural;
use astreum_core::trie::{Scalar, Trie};
use divan::{Bencher, black_box, counter::ItemsCount};

const TRANSFERS: u32 = 10_000;
const ACCOUNTS: u32 = 10_000;

fn main() {
    divan::main();
}

/// Parent block with accounts, and transfers between them.
struct Scene {
    store: MemoryStore,
    parent: Block,
    stakes: StakeTable,
    transactions: Vec<Transaction>,
}

#[allow(clippy::unwrap_used, reason = "a bench may fail")]
fn scene() -> Scene {
    let mut store = MemoryStore::new();
    let key_of = |index: u32| SigningKey::from_seed(blake3::hash(&index.to_be_bytes()).as_bytes());
    let keys: Vec<SigningKey> = (0..ACCOUNTS).map(key_of).collect();
    let addresses: Vec<Address> = keys
        .iter()
        .map(|key| Address::from(key.verifying_key()))
        .collect();
    let rich = Account {
        balance: Natural::from(1_000_000_000_u64),
        ..Account::default()
    };
    let mut entries = vec![(TREASURY, Account::default()), (BURN, Account::default())];
    entries.extend(addresses.iter().map(|address| (*address, rich.clone())));
    let entries: Vec<(Address, AtomId)> = entries
        .iter()
        .map(|(address, account)| (*address, account.write(&mut store).unwrap()))
        .collect();
    let mut accounts = Trie::new();
    accounts.put_all(&store, &entries).unwrap();
    let header = Header {
        chain_id: Natural::ONE,
        height: Natural::ONE,
        previous: AtomId::ZERO,
        timestamp: Natural::ONE,
        difficulty: Natural::ONE,
        cumulative_stake: Natural::ONE,
        cumulative_burn: Natural::ZERO,
        cumulative_mint: Natural::ZERO,
        cumulative_total_fees: Natural::from(1_000_u64),
        total_fees: Natural::ZERO,
        accounts: accounts.commit(&mut Scalar, &mut store).unwrap(),
        transactions: AtomId::ZERO,
        receipts: AtomId::ZERO,
        validator: TREASURY,
        nonce: Natural::ZERO,
    };
    let parent = header.signed(None);
    let transfer = |(index, key): (u32, &SigningKey)| {
        let to = (index as usize).wrapping_mul(7_919) % addresses.len();
        Unsigned {
            chain_id: Natural::ONE,
            amount: Natural::from(10_u64),
            counter: Natural::from(index),
            data: Vec::new().as_slice().into(),
            recipient: addresses.get(to).copied().unwrap(),
        }
        .sign(key)
    };
    let transactions: Vec<Transaction> = (0..TRANSFERS)
        .zip(keys.iter().cycle())
        .map(transfer)
        .collect();
    for transaction in &transactions {
        transaction.write(&mut store).unwrap();
    }
    Scene {
        store,
        parent,
        stakes: StakeTable::default(),
        transactions,
    }
}

#[allow(clippy::unwrap_used, reason = "a bench may fail")]
fn built(scene: &Scene) -> astreum_core::chain::Body {
    let mut builder = Builder::new(&scene.store, &scene.parent, &scene.stakes);
    for transaction in &scene.transactions {
        builder.apply(transaction).unwrap().unwrap();
    }
    builder.finish(&mut Scalar, None).unwrap()
}

/// Execution with roots and atoms, without reading the transactions and checking their signatures.
#[divan::bench(sample_count = 5)]
fn apply_and_seal(bencher: Bencher<'_, '_>) {
    let scene = scene();
    bencher
        .counter(ItemsCount::new(TRANSFERS))
        .bench(|| built(black_box(&scene)));
}

/// Execution alone, without roots and atoms.
#[divan::bench(sample_count = 5)]
fn apply(bencher: Bencher<'_, '_>) {
    let scene = scene();
    bencher.counter(ItemsCount::new(TRANSFERS)).bench(|| {
        let mut builder = Builder::new(&scene.store, &scene.parent, &scene.stakes);
        let applied = scene
            .transactions
            .iter()
            .filter(|transaction| matches!(builder.apply(black_box(transaction)), Ok(Ok(_))));
        applied.count()
    });
}

/// Verification of a block from its header on, without signatures.
#[divan::bench(sample_count = 5)]
#[allow(clippy::unwrap_used, reason = "a bench may fail")]
fn read_and_verify(bencher: Bencher<'_, '_>) {
    let mut scene = scene();
    let body = built(&scene);
    scene
        .store
        .extend(body.atoms.iter().map(|(_, atom)| atom.clone()));
    let header = body.header(&scene.parent, TREASURY, Natural::from(2_u64), Natural::ONE);
    let block = header.signed(None);
    let signed = vec![true; scene.transactions.len()];
    bencher.counter(ItemsCount::new(TRANSFERS)).bench(|| {
        let transactions = read_transactions(&scene.store, black_box(&block)).unwrap();
        let (store, parent, stakes) = (&scene.store, &scene.parent, &scene.stakes);
        verify_body(
            store,
            &block,
            parent,
            stakes,
            &transactions,
            &signed,
            &mut Scalar,
        )
        .unwrap()
    });
}

/// Signatures of 1,000 transactions on one core.
#[divan::bench(sample_count = 5)]
fn signatures(bencher: Bencher<'_, '_>) {
    let scene = scene();
    let some = scene.transactions.get(..1_000).unwrap_or_default();
    bencher
        .counter(ItemsCount::new(some.len()))
        .bench(|| check_signatures(black_box(some)));
}
