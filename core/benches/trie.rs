//! Benchmarks of tries: puts and the root after them, with the scalar hasher.

#![allow(missing_docs, reason = "a bench has no users")]

use astreum_core::atom::MemoryStore;
use astreum_core::trie::{self, Scalar, Trie};
use divan::{Bencher, black_box, counter::ItemsCount};

fn main() {
    divan::main();
}

/// Returns pseudorandom 32-byte keys, which resemble account addresses.
fn keys(count: u32) -> Vec<[u8; 32]> {
    (0..count)
        .map(|i| *blake3::hash(&i.to_be_bytes()).as_bytes())
        .collect()
}

fn filled(keys: &[[u8; 32]]) -> Trie {
    let (store, mut trie) = (MemoryStore::new(), Trie::new());
    for key in keys {
        if let Err(error) = trie.put(&store, key, key) {
            panic!("{error}");
        }
    }
    trie
}

#[divan::bench(args = [1_000, 100_000], sample_count = 10)]
fn put_and_root(bencher: Bencher<'_, '_>, count: u32) {
    let keys = keys(count);
    bencher
        .counter(ItemsCount::new(count))
        .bench(|| filled(black_box(&keys)).root(&mut Scalar));
}

/// The same puts without hashing.
#[divan::bench(args = [100_000], sample_count = 10)]
fn put_only(bencher: Bencher<'_, '_>, count: u32) {
    let keys = keys(count);
    bencher
        .counter(ItemsCount::new(count))
        .bench(|| filled(black_box(&keys)));
}

/// 1,000 puts into a trie of 100,000 entries, and the root after them.
#[divan::bench(sample_count = 20)]
fn put_1_000_into_100_000(bencher: Bencher<'_, '_>) {
    let keys = keys(101_000);
    let (old, new) = keys.split_at(100_000);
    let mut base = filled(old);
    base.root(&mut Scalar);
    bencher
        .counter(ItemsCount::new(1_000_u32))
        .with_inputs(|| base.clone())
        .bench_values(|mut trie| {
            let store = MemoryStore::new();
            for key in new {
                if let Err(error) = trie.put(&store, key, key) {
                    panic!("{error}");
                }
            }
            trie.root(&mut Scalar)
        });
}

#[divan::bench]
fn get_from_store(bencher: Bencher<'_, '_>) {
    let keys = keys(10_000);
    let mut store = MemoryStore::new();
    let Ok(root) = filled(&keys).commit(&mut Scalar, &mut store);
    let mut next = keys.iter().cycle();
    bencher.bench_local(|| next.next().map(|key| trie::get(&store, root, key)));
}
