//! Smallest useful program: machine and trie with a heap of 64 KiB. The size of its flash image and
//! its peak of memory are the figures of `core/README.md`.

#![no_std]
#![no_main]

use astreum_core::atom::{AtomId, MemoryStore};
use astreum_core::machine::{Env, Machine};
use astreum_core::trie::{Proof, Scalar, Trie};
use astreum_no_std_machine::{HEAP, SMALL, limits, stop};
use cortex_m_rt::entry;
use cortex_m_semihosting::hprintln;

#[entry]
fn main() -> ! {
    // SAFETY: this runs once, before the first allocation.
    unsafe { HEAP.init() };
    let bytes = HEAP.select(SMALL).bytes();
    let machine = evaluate(bytes);
    let trie = prove();
    hprintln!(
        "footprint: machine {} bytes of heap at most, trie {}",
        machine,
        trie
    );
    stop(machine.max(trie) < bytes && HEAP.live_bytes() == 0)
}

/// Evaluates a script that defines a function and calls it. Returns the peak of memory.
fn evaluate(heap_bytes: usize) -> usize {
    let mut machine = Machine::with_limits(MemoryStore::new(), limits(heap_bytes));
    let mut env = Env::new();
    machine.eval_source("(((a b (($0 $1 add) sk)) (a b) fn) int.add def)", &mut env);
    let evaluation = machine.eval_source("(1 2 int.add)", &mut env);
    if evaluation.value().as_integer() != Some(3) {
        stop(false);
    }
    HEAP.peak_bytes()
}

/// Commits a trie and verifies one of its proofs. Returns the peak of memory.
fn prove() -> usize {
    HEAP.restart_peak();
    let proven = || {
        let mut store = MemoryStore::new();
        let mut map = Trie::new();
        for (key, value) in [("alice", "7"), ("bob", "11"), ("carol", "13")] {
            map.put(&store, key.as_bytes(), value.as_bytes()).ok()?;
        }
        let root: AtomId = map.commit(&mut Scalar, &mut store).ok()?;
        let proof = Proof::prove(&store, root, b"bob").ok()?.to_bytes();
        Proof::from_bytes(&proof).ok()?.verify(root, b"bob").ok()?
    };
    if proven().as_deref() != Some(b"11") {
        stop(false);
    }
    HEAP.peak_bytes()
}
