//! Benchmarks of hashing batches of ids and tries: one message at a time, and in lanes.

#![allow(missing_docs, reason = "a bench has no users")]

use astreum_core::atom::{AtomId, MemoryStore};
use astreum_core::trie::{BatchHasher, HashInput, NodeIds, NodeInput, Scalar, Trie};
use astreum_node::simd::Lanes;
use divan::{Bencher, black_box, counter::ItemsCount};

fn main() {
    divan::main();
}

fn hash(bencher: Bencher<'_, '_>, message_bytes: usize, mut hasher: impl BatchHasher) {
    let data: Vec<u8> = (0..=250).cycle().take(message_bytes + 255).collect();
    let messages: Vec<&[u8]> = data.windows(message_bytes).collect();
    let mut out = vec![[0; 32]; 256];
    bencher.counter(ItemsCount::new(256_u32)).bench_local(|| {
        hasher.hash_many(black_box(&messages), &mut out);
    });
}

#[divan::bench(args = [32, 64, 73])]
fn ids_scalar(bencher: Bencher<'_, '_>, message_bytes: usize) {
    hash(bencher, message_bytes, Scalar);
}

#[divan::bench(args = [32, 64, 73])]
fn ids_in_lanes(bencher: Bencher<'_, '_>, message_bytes: usize) {
    hash(bencher, message_bytes, Lanes::new());
}

/// Measures the ids of leaves with 32 bytes each of key and value, or of nodes with two children.
fn nodes(bencher: Bencher<'_, '_>, is_leaf: bool, mut hasher: impl BatchHasher) {
    let id = |seed: u32| AtomId::new(*blake3::hash(&seed.to_be_bytes()).as_bytes());
    let input = HashInput {
        len: 32,
        ..HashInput::EMPTY
    };
    let node = |seed: u32| match is_leaf {
        true => NodeInput {
            key: input,
            value: input,
            ..NodeInput::EMPTY
        },
        false => NodeInput {
            children: [id(seed), id(seed + 1)],
            ..NodeInput::EMPTY
        },
    };
    let nodes: Vec<NodeInput> = (0..64).map(node).collect();
    let mut ids = vec![NodeIds::default(); nodes.len()];
    bencher
        .counter(ItemsCount::new(nodes.len()))
        .bench_local(|| hasher.node_ids(black_box(&nodes), &mut ids));
}

#[divan::bench(args = [true, false])]
fn nodes_scalar(bencher: Bencher<'_, '_>, is_leaf: bool) {
    nodes(bencher, is_leaf, Scalar);
}

#[divan::bench(args = [true, false])]
fn nodes_in_lanes(bencher: Bencher<'_, '_>, is_leaf: bool) {
    nodes(bencher, is_leaf, Lanes::new());
}

fn trie(bencher: Bencher<'_, '_>, mut hasher: impl BatchHasher) {
    let keys: Vec<[u8; 32]> = (0..100_000_u32)
        .map(|i| *blake3::hash(&i.to_be_bytes()).as_bytes())
        .collect();
    bencher
        .counter(ItemsCount::new(keys.len()))
        .bench_local(|| {
            let (store, mut trie) = (MemoryStore::new(), Trie::new());
            for key in black_box(&keys) {
                if let Err(error) = trie.put(&store, key, key) {
                    panic!("{error}");
                }
            }
            trie.root(&mut hasher)
        });
}

#[divan::bench(sample_count = 10)]
fn trie_scalar(bencher: Bencher<'_, '_>) {
    trie(bencher, Scalar);
}

#[divan::bench(sample_count = 10)]
fn trie_in_lanes(bencher: Bencher<'_, '_>) {
    trie(bencher, Lanes::new());
}
