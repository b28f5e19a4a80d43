//! Benchmarks of leader election with many stakes: a header after a block that changes ten stakes,
//! and the proposer schedule of the next slots.
//!
//! Limits: with 100,000 stakes at most 1 ms for a header and 5 ms for a schedule of 100 slots; with
//! 1,048,576 stakes at most twice that.

#![allow(missing_docs, reason = "a bench has no users")]
#![allow(clippy::unwrap_used, reason = "a bench may fail")]

use astreum_core::atom::{AtomId, MemoryStore, NoStore};
use astreum_core::chain::{
    Address, Block, Election, ElectionSeeds, Header, Miner, Participation, ProposerSchedule,
    StakeLoader, StakeTable, Stakes, difficulty, verify_header,
};
use astreum_core::crypto::SigningKey;
use astreum_core::integer::Natural;
use astreum_core::trie::{Scalar, Trie};
use divan::{Bencher, black_box};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

const COUNTS: [u64; 2] = [100_000, 1_048_576];
const CHANGED: u64 = 10;

fn main() {
    divan::main();
}

fn owner(number: u64) -> Address {
    match number {
        0 => Address::from(key().verifying_key()),
        number => Address::new(*blake3::hash(&number.to_be_bytes()).as_bytes()),
    }
}

fn key() -> SigningKey {
    SigningKey::from_seed(&[3; 32])
}

fn stake(number: u64) -> Natural {
    Natural::from(number * 7_919 % 1_000_003 + 1)
}

/// Stakes before and after a block, and the next block.
#[derive(Clone)]
struct Scene {
    /// Nodes of the trie that differ before and after; only these are read.
    store: MemoryStore,
    before: StakeTable,
    after: StakeTable,
    parent: Block,
    block: Block,
    seeds: ElectionSeeds,
}

fn header(previous: AtomId, height: u64, timestamp: u64) -> Header {
    Header {
        chain_id: Natural::ZERO,
        height: height.into(),
        previous,
        timestamp: timestamp.into(),
        difficulty: Natural::ONE,
        cumulative_stake: 1_000_000_000_u64.into(),
        cumulative_burn: 1_000_000_u64.into(),
        cumulative_mint: 1_000_u64.into(),
        cumulative_total_fees: 1_000_000_000_000_000_000_u64.into(),
        total_fees: Natural::ZERO,
        accounts: AtomId::new([3; 32]),
        transactions: AtomId::new([4; 32]),
        receipts: AtomId::new([5; 32]),
        validator: owner(0),
        nonce: Natural::ZERO,
    }
}

fn scene(count: u64) -> Scene {
    static SCENES: Mutex<BTreeMap<u64, Scene>> = Mutex::new(BTreeMap::new());
    let mut scenes = SCENES.lock().unwrap_or_else(PoisonError::into_inner);
    scenes.entry(count).or_insert_with(|| make(count)).clone()
}

fn make(count: u64) -> Scene {
    let stakes: Stakes = (0..count)
        .map(|number| (owner(number), stake(number)))
        .collect();
    let mut store = MemoryStore::new();
    let pairs = stakes
        .iter()
        .map(|(owner, stake)| (owner, stake.to_bytes_le()));
    let mut trie = Trie::from_sorted(pairs).unwrap();
    trie.commit(&mut Scalar, &mut NoStore).unwrap();
    // Owner 0 has the signing key and makes the block; its stake does not change.
    let changes: Stakes = (1..=CHANGED)
        .map(|number| (owner(number), 5_u64.into()))
        .collect();
    let mut roots = Vec::new();
    for values in [&changes, &stakes] {
        for owner in changes.keys() {
            let value = values.get(owner).unwrap().to_bytes_le();
            trie.put(&NoStore, owner.as_ref(), &value).unwrap();
        }
        roots.push(trie.commit(&mut Scalar, &mut store).unwrap());
    }
    drop(trie);
    let before = StakeTable::from(&stakes);
    let [changed, unchanged] = roots[..] else {
        unreachable!("two commits");
    };
    assert_eq!(before.root(), unchanged);
    let mut loader = StakeLoader::new(before.clone(), changed);
    let after = loader.run(&store, u32::MAX).unwrap().unwrap();

    let parent = header(AtomId::ZERO, 0, 1_000).signed(None);
    let seeds = ElectionSeeds::genesis(parent.id());
    let mut schedule = ProposerSchedule::new(&after, seeds.next_slot_seed()).unwrap();
    // The leader of the slot does not matter to the time of the election: verification computes a
    // few slots and finds that another validator has this one.
    schedule.next_validator();
    let time = 1_002;
    let mut header = header(parent.id(), 1, time);
    header.difficulty = difficulty(&parent.timestamp, &time.into(), &Natural::ONE);
    let block = Miner::new(header, key(), &Natural::ONE).try_nonces(1_000, &mut Scalar);
    Scene {
        store,
        before,
        after,
        parent,
        block: block.unwrap(),
        seeds,
    }
}

fn verify(scene: &Scene, stakes: &StakeTable) -> bool {
    let (chain_id, latest) = (Natural::ZERO, Natural::from(2_000_u64));
    let Scene { block, parent, .. } = scene;
    let verdict = verify_header::<()>(block, parent, &scene.seeds, stakes, &chain_id, &latest);
    verdict.is_err_and(|error| error.invalid().is_some())
}

/// Header verification from the stakes of the block before, as in a node that has neither produced
/// the block nor verified its body.
#[divan::bench(args = COUNTS, sample_count = 50)]
fn header_after_10_changes(bencher: Bencher<'_, '_>, count: u64) {
    let scene = scene(count);
    bencher.bench_local(|| {
        let mut loader = StakeLoader::new(scene.before.clone(), scene.after.root());
        let after = loader.run(&scene.store, u32::MAX).unwrap().unwrap();
        assert!(verify(black_box(&scene), &after));
        after
    });
}

/// Header verification with the stakes that the verification of the body has returned.
#[divan::bench(args = COUNTS, sample_count = 50)]
fn header_with_the_stakes_at_hand(bencher: Bencher<'_, '_>, count: u64) {
    let scene = scene(count);
    bencher.bench_local(|| assert!(verify(black_box(&scene), &scene.after)));
}

#[divan::bench(args = COUNTS, sample_count = 50)]
fn schedule_of_100_slots(bencher: Bencher<'_, '_>, count: u64) {
    let scene = scene(count);
    let election = Election {
        seeds: scene.seeds,
        stakes: scene.after.clone(),
    };
    bencher.bench_local(|| {
        let mut schedule = black_box(&election).schedule().unwrap();
        core::array::from_fn::<_, 100, _>(|_| schedule.next_validator())
    });
}

/// Leader of the last slot of an hour without a block.
#[divan::bench(args = COUNTS, sample_count = 5)]
fn schedule_of_an_hour(bencher: Bencher<'_, '_>, count: u64) {
    let scene = scene(count);
    bencher.bench_local(|| {
        let mut schedule =
            ProposerSchedule::new(&scene.after, scene.seeds.next_slot_seed()).unwrap();
        schedule.validator_of(black_box(1_800))
    });
}

#[divan::bench(args = COUNTS, sample_count = 5)]
fn participation_of_256_blocks(bencher: Bencher<'_, '_>, count: u64) {
    let scene = scene(count);
    bencher.bench_local(|| Participation::of(black_box(&scene.after), (0..256).map(owner)));
}
