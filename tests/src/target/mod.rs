//! Fuzz target bodies. Each takes arbitrary bytes and panics if a promise is broken.
//!
//! A target under `fuzz/` is one line that calls one of these. The tests replay the committed
//! corpus through the same functions, so that findings of fuzzing do not recur unnoticed.

pub mod cold;
pub mod decode;
pub mod differential;
pub mod engine;
pub mod host;
pub mod low_eval;
pub mod mempool;
pub mod producer;
pub mod proofs;
pub mod records;
pub mod script;
pub mod stream;
pub mod sync;
pub mod text;
pub mod transition;
pub mod trie;

mod eval;
mod input;
mod parse;
mod round_trip;
mod scene;

use core::sync::atomic::{AtomicU64, Ordering};

/// Number of operations that inputs have run in this process.
static OPERATIONS: AtomicU64 = AtomicU64::new(0);

/// Returns the number of operations that inputs have run in this process: the steps of the targets
/// that have some, and otherwise one for each input. Executions alone do not show whether a target
/// has become faster or only does less.
#[must_use]
pub fn operations() -> u64 {
    OPERATIONS.load(Ordering::Relaxed)
}

/// Counts operations.
fn count_operations(count: usize) {
    OPERATIONS.fetch_add(count as u64, Ordering::Relaxed);
}

/// Returns a number below `count` that depends on all bytes of an input. A target whose promises take
/// a pass each over an input checks one of them: its mutants meet the others.
fn selection(data: &[u8], count: usize) -> usize {
    let hash = data.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    usize::try_from(hash >> 33).unwrap_or_default() % count.max(1)
}

/// Name and body of a target.
pub type Target = (&'static str, fn(&[u8]));

/// All targets, by their names in `cargo fuzz`.
pub const TARGETS: &[Target] = &[
    ("cold", cold::run),
    ("decode", decode::run),
    ("differential", differential::run),
    ("engine", engine::run),
    ("host", host::run),
    ("low_eval", low_eval::run),
    ("mempool", mempool::run),
    ("producer", producer::run),
    ("proofs", proofs::run),
    ("records", records::run),
    ("script", script::run),
    ("stream", stream::run),
    ("sync", sync::run),
    ("text", text::run),
    ("transition", transition::run),
    ("trie", trie::run),
];
