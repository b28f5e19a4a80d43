//! Benchmarks of the records of a chain: nonce attempts, header verification, leader election.
//!
//! For comparison: the reference (Python package `astreum` 0.3.71, on similar hardware) makes
//! 25,000 nonce attempts per second without a signature.

#![allow(missing_docs, reason = "a bench has no users")]

use astreum_core::atom::{AtomId, MemoryStore};
use astreum_core::chain::{
    Account, Address, Block, Header, MAX_SLOTS, Miner, ProposerSchedule, StakeTable, Stakes,
    Transaction, Unsigned, has_work, unsigned_nonce,
};
use astreum_core::crypto::SigningKey;
use astreum_core::integer::Natural;
use astreum_core::trie::Scalar;
use divan::{Bencher, black_box, counter::ItemsCount};

fn main() {
    divan::main();
}

const ATTEMPTS: u32 = 1_600;
/// Difficulty that no nonce reaches: an id has 256 bits.
const UNREACHABLE_DIFFICULTY: u64 = 300;

fn key() -> SigningKey {
    SigningKey::from_seed(&[1; 32])
}

fn header() -> Header {
    Header {
        chain_id: Natural::ZERO,
        height: 1_000_000_u64.into(),
        previous: AtomId::new([2; 32]),
        timestamp: 1_700_000_000_u64.into(),
        difficulty: 16_u64.into(),
        cumulative_stake: 1_000_000_000_u64.into(),
        cumulative_burn: 1_000_000_u64.into(),
        cumulative_mint: 1_000_u64.into(),
        cumulative_total_fees: 1_000_000_000_000_000_000_u64.into(),
        total_fees: Natural::ZERO,
        accounts: AtomId::new([3; 32]),
        transactions: AtomId::new([4; 32]),
        receipts: AtomId::new([5; 32]),
        validator: key().verifying_key().into(),
        nonce: Natural::ZERO,
    }
}

/// Hashes one message at a time; the lanes of a node are faster.
#[divan::bench(sample_count = 20)]
fn nonce_signed(bencher: Bencher<'_, '_>) {
    bencher
        .counter(ItemsCount::new(ATTEMPTS))
        .with_inputs(|| Miner::new(header(), key(), &UNREACHABLE_DIFFICULTY.into()))
        .bench_local_values(|mut miner| miner.try_nonces(ATTEMPTS.into(), &mut Scalar));
}

/// Nonce attempts as the reference makes them, without a signature.
#[divan::bench(sample_count = 20)]
fn nonce_unsigned(bencher: Bencher<'_, '_>) {
    let fields = [[7_u8; 32]; 14];
    let fields = fields.each_ref().map(|field| field.as_slice());
    bencher.counter(ItemsCount::new(ATTEMPTS)).bench_local(|| {
        let (attempts, work) = (ATTEMPTS.into(), UNREACHABLE_DIFFICULTY.into());
        unsigned_nonce(&fields, &[], Natural::ZERO, work, attempts, &mut Scalar)
    });
}

#[divan::bench]
fn sign(bencher: Bencher<'_, '_>) {
    let key = key();
    bencher.bench_local(|| key.sign(black_box(&[3; 32])));
}

#[divan::bench]
fn header_read(bencher: Bencher<'_, '_>) {
    let mut store = MemoryStore::new();
    let Ok(id) = header().sign(&key()).write(&mut store);
    bencher.bench_local(|| Block::read(&store, black_box(id)));
}

/// Signature and work of a block in memory.
#[divan::bench]
fn header_signature_and_work(bencher: Bencher<'_, '_>) {
    let block = header().sign(&key());
    bencher.bench_local(|| {
        let block = black_box(&block);
        (
            block.verify_signature(),
            has_work(&block.id(), &block.difficulty),
        )
    });
}

fn transaction() -> Transaction {
    let content = Unsigned {
        chain_id: Natural::ZERO,
        amount: 1_000_000_u64.into(),
        counter: 1_u64.into(),
        data: [].as_slice().into(),
        recipient: Address::new([9; 32]),
    };
    content.sign(&key())
}

#[divan::bench]
fn transaction_read(bencher: Bencher<'_, '_>) {
    let mut store = MemoryStore::new();
    let Ok(id) = transaction().write(&mut store);
    bencher.bench_local(|| Transaction::read(&store, black_box(id)));
}

#[divan::bench]
fn transaction_verify(bencher: Bencher<'_, '_>) {
    let transaction = transaction();
    bencher.bench_local(|| black_box(&transaction).verify_signature());
}

#[divan::bench]
fn account_to_atoms(bencher: Bencher<'_, '_>) {
    let account = Account {
        balance: 1_000_000_000_u64.into(),
        ..Account::default()
    };
    bencher.bench_local(|| black_box(&account).to_atoms());
}

fn stakes(count: u64) -> StakeTable {
    let staker = |i: u64| {
        let owner = Address::new(*blake3::hash(&i.to_be_bytes()).as_bytes());
        (owner, Natural::from(i * 7_919 % 1_000_003 + 1))
    };
    StakeTable::from(&(0..count).map(staker).collect::<Stakes>())
}

/// Leader of the next slot, starting from the stakes.
#[divan::bench(args = [10, 1_000])]
fn schedule_first(bencher: Bencher<'_, '_>, count: u64) {
    let stakes = stakes(count);
    let id = AtomId::new([6; 32]);
    bencher.bench_local(|| {
        ProposerSchedule::new(&stakes, id).map(|mut schedule| schedule.next_validator())
    });
}

/// Leader of the last slot of a week without a block.
#[divan::bench(args = [10, 1_000], sample_count = 10)]
fn schedule_week(bencher: Bencher<'_, '_>, count: u64) {
    let stakes = stakes(count);
    let id = AtomId::new([6; 32]);
    bencher.bench_local(|| {
        ProposerSchedule::new(&stakes, id).map(|mut schedule| schedule.validator_of(302_400))
    });
}

/// Leader of the last countable slot, which is the maximum cost of a timestamp.
#[divan::bench(args = [1_000], sample_count = 3, sample_size = 1)]
fn schedule_furthest(bencher: Bencher<'_, '_>, count: u64) {
    let stakes = stakes(count);
    let id = AtomId::new([6; 32]);
    bencher.bench_local(|| {
        ProposerSchedule::new(&stakes, id).map(|mut schedule| schedule.validator_of(MAX_SLOTS))
    });
}
