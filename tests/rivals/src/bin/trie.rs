//! Comparison of the trie with nomt-core and alloy-trie: the root of 100,000 pairs of 32 random
//! bytes each, in the order of their generation. Sorting is included, because all three need it.

use alloy_trie::{HashBuilder, Nibbles};
use astreum_core::atom::MemoryStore;
use astreum_core::trie::{BatchHasher, Scalar, Trie};
use astreum_node::simd::Lanes;
use nomt_core::hasher::{Blake3Hasher, ValueHasher as _};
use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

const PUTS: u32 = 100_000;
const ROUNDS: usize = 15;
/// Puts per second of the reference, measured separately.
const REFERENCE: f64 = 4_300.0;

type Key = [u8; 32];

fn ours(keys: &[Key], hasher: &mut impl BatchHasher) {
    let mut trie = Trie::new();
    let pairs: Vec<(&Key, &Key)> = keys.iter().map(|key| (key, key)).collect();
    trie.put_all(&MemoryStore::new(), &pairs).unwrap();
    black_box(trie.root(hasher));
}

/// The value is hashed, as in our trie.
fn nomt(keys: &[Key]) {
    let mut pairs: Vec<(Key, Key)> = keys
        .iter()
        .map(|key| (*key, Blake3Hasher::hash_value(key)))
        .collect();
    pairs.sort_unstable();
    black_box(nomt_core::update::build_trie::<Blake3Hasher>(
        0,
        pairs,
        |_| (),
    ));
}

fn alloy(keys: &[Key]) {
    let mut sorted: Vec<&Key> = keys.iter().collect();
    sorted.sort_unstable();
    let mut builder = HashBuilder::default();
    for key in sorted {
        builder.add_leaf(Nibbles::unpack(key), key);
    }
    black_box(builder.root());
}

fn main() -> ExitCode {
    let keys: Vec<Key> = (0..PUTS)
        .map(|number| *blake3::hash(&number.to_be_bytes()).as_bytes())
        .collect();
    let mut runs: [(&str, Box<dyn FnMut()>); 4] = [
        (
            "astreum, lanes",
            Box::new(|| ours(&keys, &mut Lanes::new())),
        ),
        ("astreum, scalar", Box::new(|| ours(&keys, &mut Scalar))),
        ("nomt-core", Box::new(|| nomt(&keys))),
        ("alloy-trie", Box::new(|| alloy(&keys))),
    ];
    let mut fastest = [f64::INFINITY; 4];
    for _ in 0..ROUNDS {
        for ((_, run), fastest) in runs.iter_mut().zip(&mut fastest) {
            let start = Instant::now();
            run();
            *fastest = fastest.min(start.elapsed().as_secs_f64());
        }
    }
    let rates = fastest.map(|seconds| f64::from(PUTS) / seconds);
    for ((name, _), rate) in runs.iter().zip(rates) {
        println!("{name:<16} {rate:>12.0} puts/s");
    }
    println!("reference        {REFERENCE:>12.0} puts/s");
    let width = Lanes::new().width();
    let [lanes, scalar, nomt, alloy] = rates;
    let mut checks = vec![
        ("scalar: 90 times the reference", scalar / REFERENCE, 90.0),
        (
            "1.2 times nomt-core and alloy-trie",
            lanes / nomt.max(alloy),
            1.2,
        ),
    ];
    if width == 16 {
        checks.push(("AVX-512: 600 times the reference", lanes / REFERENCE, 600.0));
    }
    let mut reached = true;
    for (what, ratio, bar) in checks {
        println!("{what:<36} {ratio:>7.1} (bar {bar:.1})");
        reached &= ratio >= bar;
    }
    if reached {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
