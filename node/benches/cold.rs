//! Benchmarks of cold storage with a million atoms: open, hits, misses; and durable puts.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a bench has no users, and stops where it fails"
)]

use astreum_core::atom::{Atom, AtomId};
use astreum_node::config::ColdStorageSync;
use astreum_node::store::cold::{ColdOptions, ColdStore};
use core::sync::atomic::{AtomicU64, Ordering};
use divan::{Bencher, black_box, counter::ItemsCount};
use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

const ATOMS: u64 = 1_000_000;
const BATCH: u64 = 10_000;
const GETS: u64 = 10_000;

fn main() {
    let _ = fs::remove_dir_all(dir());
    divan::main();
    let _ = fs::remove_dir_all(dir());
}

fn dir() -> PathBuf {
    std::env::temp_dir().join(format!("astreum-bench-cold-{}", std::process::id()))
}

fn options() -> ColdOptions {
    ColdOptions {
        level_size_bytes: 10 << 20,
        limit_bytes: 0,
        sync: ColdStorageSync::Always,
        mapped: true,
        background: true,
    }
}

fn atom(number: u64) -> (AtomId, Atom) {
    let atom = Atom::bytes(*blake3::hash(&number.to_be_bytes()).as_bytes());
    (atom.id(), atom)
}

fn atoms(numbers: core::ops::Range<u64>) -> Vec<(AtomId, Atom)> {
    numbers.map(atom).collect()
}

/// Store of [`ATOMS`] atoms, all collated.
static FULL: LazyLock<ColdStore> = LazyLock::new(|| {
    let options = ColdOptions {
        sync: ColdStorageSync::Never,
        background: false,
        ..options()
    };
    let store = ColdStore::open(&dir().join("full"), options).unwrap();
    for first in (0..ATOMS).step_by(100_000) {
        store.put(&atoms(first..first + 100_000)).unwrap();
        store.maintain().unwrap();
    }
    store.collate().unwrap();
    // Touches every page, so that page faults are not measured.
    assert_eq!(store.verify(&mut |_| ()).unwrap().damaged, 0);
    let stats = store.stats();
    let (whole, rest) = (
        stats.memory_bytes / stats.atoms,
        stats.memory_bytes % stats.atoms,
    );
    let files: Vec<u64> = stats.levels.iter().map(|level| level.files).collect();
    let hundredths = 100 * rest / stats.atoms;
    eprintln!("{whole}.{hundredths:02} bytes of memory an atom; files by level {files:?}");
    store
});

/// Returns ids of some of the atoms from `first` on, in an order that defeats caches.
fn scattered(first: u64, round: u64) -> Vec<AtomId> {
    (0..GETS)
        .map(|n| atom(first + (round * 7_919 + n * 611_953) % ATOMS).0)
        .collect()
}

#[divan::bench(sample_count = 50)]
fn get_verified(bencher: Bencher<'_, '_>) {
    LazyLock::force(&FULL);
    let mut round = 0;
    bencher
        .counter(ItemsCount::new(GETS))
        .with_inputs(|| {
            round += 1;
            scattered(0, round)
        })
        .bench_local_refs(|ids| {
            for id in ids {
                assert!(black_box(FULL.get(id)).unwrap().is_some());
            }
        });
}

#[divan::bench(sample_count = 50)]
fn get_absent(bencher: Bencher<'_, '_>) {
    LazyLock::force(&FULL);
    let ids = scattered(2 * ATOMS, 0);
    bencher.counter(ItemsCount::new(GETS)).bench_local(|| {
        for id in &ids {
            assert!(black_box(FULL.get(id)).unwrap().is_none());
        }
    });
}

#[divan::bench(sample_count = 10)]
fn open_a_million(bencher: Bencher<'_, '_>) {
    // The store is locked while it is open, so a copy is opened.
    let copy = dir().join("copy");
    FULL.export_reference(&copy, &mut |_| ()).unwrap();
    bencher.bench_local(|| ColdStore::open_to_read(&copy, true).unwrap());
}

#[divan::bench(sample_count = 50)]
fn ingest_durably(bencher: Bencher<'_, '_>) {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let store = ColdStore::open(&dir().join("ingest"), options()).unwrap();
    bencher
        .counter(ItemsCount::new(BATCH))
        .with_inputs(|| {
            let first = NEXT.fetch_add(BATCH, Ordering::Relaxed);
            atoms(first..first + BATCH)
        })
        .bench_local_refs(|batch| store.put(batch).unwrap());
}
