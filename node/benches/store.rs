//! Benchmarks of hot storage: hits, misses, and puts that evict, on one thread and on two.
//!
//! `cargo bench -p astreum-node --bench store`

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a bench that cannot be set up must stop"
)]

use astreum_core::atom::{Atom, AtomId};
use astreum_node::store::Store;
use core::sync::atomic::{AtomicUsize, Ordering};
use divan::{Bencher, black_box};

const ATOMS: u32 = 100_000;
const ROOMY_BYTES: u64 = 1 << 30;
/// Limit with space for about a quarter of the atoms, so that each put evicts.
const TIGHT_BYTES: u64 = 8 << 20;

fn main() {
    divan::main();
}

fn atoms() -> Vec<(AtomId, Atom)> {
    (0..ATOMS)
        .map(|number| {
            let mut data = [0; 100];
            data[..4].copy_from_slice(&number.to_be_bytes());
            let atom = Atom::bytes(data);
            (atom.id(), atom)
        })
        .collect()
}

fn filled(atoms: &[(AtomId, Atom)]) -> Store {
    let store = Store::new(ROOMY_BYTES);
    for (id, atom) in atoms {
        store.put_known(*id, atom.clone()).expect("there is room");
    }
    store
}

/// Returns the next atom, with a stride, so that consecutive atoms are not adjacent in memory.
fn next<'a>(atoms: &'a [(AtomId, Atom)], at: &AtomicUsize) -> &'a (AtomId, Atom) {
    &atoms[at.fetch_add(7_919, Ordering::Relaxed) % atoms.len()]
}

#[divan::bench(threads = [1, 2], sample_size = 20_000)]
fn get_hit(bencher: Bencher<'_, '_>) {
    let atoms = atoms();
    let (store, at) = (filled(&atoms), AtomicUsize::new(0));
    bencher.bench(|| black_box(store.get(&next(&atoms, &at).0)));
}

#[divan::bench(sample_size = 20_000)]
fn get_miss(bencher: Bencher<'_, '_>) {
    let atoms = atoms();
    let (store, at) = (Store::new(ROOMY_BYTES), AtomicUsize::new(0));
    bencher.bench(|| black_box(store.get(&next(&atoms, &at).0)));
}

#[divan::bench(threads = [1, 2], sample_size = 20_000)]
fn put_and_evict(bencher: Bencher<'_, '_>) {
    let atoms = atoms();
    let (store, at) = (Store::new(TIGHT_BYTES), AtomicUsize::new(0));
    bencher.bench(|| {
        let (id, atom) = next(&atoms, &at);
        black_box(store.put_known(*id, atom.clone()))
    });
}
