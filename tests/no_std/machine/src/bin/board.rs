//! Tests of the machine with heaps of 64 and 256 KiB: a million evaluations, scripts that want more
//! than they get, conformance.

#![no_std]
#![no_main]

extern crate alloc;

#[path = "../../../src/check.rs"]
mod check;
#[path = "../../../../src/conform/portable/machine/mod.rs"]
#[expect(
    dead_code,
    reason = "operations that are not of the machine read more kinds of fields"
)]
mod conform;

use astreum_core::atom::MemoryStore;
use astreum_core::expr::Expr;
use astreum_core::machine::{Env, LimitKind, Machine, Outcome};
use astreum_no_std_machine::{HEAP, LARGE, MEDIUM, SMALL, limits, stop};
use check::check;
use cortex_m_rt::entry;
use cortex_m_semihosting::hprintln;

/// Heaps, and the number of evaluations without growth in each.
const HEAPS: [(usize, u32); 2] = [(SMALL, EVALUATIONS), (MEDIUM, 100_000)];
/// A million take minutes on an emulator.
const EVALUATIONS: u32 = match option_env!("ASTREUM_LONG_RUN") {
    Some(_) => 1_000_000,
    None => 100_000,
};
/// Number of evaluations after which the memory has to stay the same.
const WARM_UP: u32 = 1_000;

#[entry]
fn main() -> ! {
    // SAFETY: this runs once, before the first allocation.
    unsafe { HEAP.init() };
    for (heap, count) in HEAPS {
        hostile_scripts(heap);
        evaluations(heap, count);
        conformance(heap);
        assert_eq!(HEAP.live_bytes(), 0, "memory was lost");
    }
    hprintln!("machine: ok");
    stop(true)
}

/// Evaluates calls and new sources, and checks that memory does not grow.
fn evaluations(heap: usize, count: u32) {
    let bytes = HEAP.select(heap).bytes();
    let mut machine = Machine::with_limits(MemoryStore::new(), limits(bytes));
    let mut env = Env::new();
    machine.eval_source("(((a b (($0 $1 add) sk)) (a b) fn) int.add def)", &mut env);
    let mut after_warm_up = 0;
    for round in 0..count {
        let (a, b) = (u64::from(round), u64::from(round % 7));
        let evaluation = match round % 50 {
            // New source each time: its code is dropped again.
            0 => machine.eval_source(&alloc::format!("({a} {b} int.add)"), &mut env),
            _ => machine.call("int.add", &[Expr::integer(a), Expr::integer(b)], &mut env),
        };
        assert_eq!(
            evaluation.value().as_integer(),
            Some(i128::from(a + b)),
            "round {round}"
        );
        drop(evaluation);
        if round == WARM_UP {
            HEAP.restart_peak();
            after_warm_up = HEAP.live_bytes();
        }
    }
    let grown = HEAP.peak_bytes() - after_warm_up;
    hprintln!(
        "machine: {} KiB: {} evaluations, {} bytes in use, {} more at most",
        bytes >> 10,
        count,
        after_warm_up,
        grown
    );
    assert!(grown < bytes / 4, "memory grew by {grown} bytes");
}

/// Scripts that never end or want all memory, and the limits that end them.
const HOSTILE: [(&str, LimitKind); 7] = [
    ("(1 ((0 jump) sk))", LimitKind::Steps),
    (
        "(((1 (x again)) (x) fn) again def) (1 again)",
        LimitKind::Depth,
    ),
    ("(1 ((7 7 7 7 0 jump) sk))", LimitKind::Stack),
    (
        "(1 ((0 0 heap_get 1 add heap_set 0 heap_get 0 heap_get heap_set 0 jump) sk))",
        LimitKind::Heap,
    ),
    (
        concat!(
            "((1 2) l def) ((l l) l def) ((l l) l def) ((l l) l def) ((l l) l def) ((l l) l def) ",
            "((l l) l def) ((l l) l def) ((l l) l def) ((l l) l def) ((l l) l def) ((l l) l def) ",
            "((l l) l def) ((l l) l def) ((l l) l def) ((l l) l def)"
        ),
        LimitKind::LiveBytes,
    ),
    (
        "(1 ((1 \"data\" atom_new \"k\" 0 jump) sk))",
        LimitKind::Atoms,
    ),
    (
        "(1 ((\"k\" 1 \"some bytes to begin with, long enough\" atom_new heap_set \
         \"k\" \"k\" heap_get \"k\" heap_get atom_concat heap_set 5 jump) sk))",
        LimitKind::AtomBytes,
    ),
];

/// Checks that a limit ends each hostile script before the memory does.
fn hostile_scripts(heap: usize) {
    let bytes = HEAP.select(heap).bytes();
    for (source, expected) in HOSTILE {
        HEAP.restart_peak();
        let mut machine = Machine::with_limits(MemoryStore::new(), limits(bytes));
        let outcome = match machine.eval_all(source, &mut Env::new()) {
            Ok(evaluation) => evaluation.outcome(),
            Err(error) => panic!("{source}: {error}"),
        };
        hprintln!(
            "machine: {} KiB: {:?}, {} bytes at most",
            bytes >> 10,
            outcome,
            HEAP.peak_bytes()
        );
        let Outcome::Limit(exceeded) = outcome else {
            panic!("{source} did not exceed a limit");
        };
        assert_eq!(exceeded.kind, expected, "{source}");
    }
}

/// Case files of the operations of the machine.
const FILES: [(&str, &str); 11] = [
    ("atom", include_str!("../../../../vectors/atom.jsonl")),
    (
        "atom_decode",
        include_str!("../../../../vectors/atom_decode.jsonl"),
    ),
    (
        "bytes_list",
        include_str!("../../../../vectors/bytes_list.jsonl"),
    ),
    ("eval", include_str!("../../../../vectors/eval.jsonl")),
    (
        "eval_limits",
        include_str!("../../../../vectors/eval_limits.jsonl"),
    ),
    (
        "expr_atoms",
        include_str!("../../../../vectors/expr_atoms.jsonl"),
    ),
    (
        "low_eval",
        include_str!("../../../../vectors/low_eval.jsonl"),
    ),
    (
        "low_eval_limits",
        include_str!("../../../../vectors/low_eval_limits.jsonl"),
    ),
    ("parse", include_str!("../../../../vectors/parse.jsonl")),
    (
        "tokenize",
        include_str!("../../../../vectors/tokenize.jsonl"),
    ),
    ("trie", include_str!("../../../../vectors/trie.jsonl")),
];

/// Answers the conformance cases in this heap, but for those that take more than three quarters of
/// it in the large heap: requests and answers are JSON, and take more memory than the machine.
fn conformance(heap: usize) {
    for (name, cases) in FILES {
        let (mut answered, mut too_large, mut peak) = (0, 0, 0);
        for line in cases.lines() {
            HEAP.select(LARGE);
            check(line);
            let needed = HEAP.peak_bytes();
            let bytes = HEAP.select(heap).bytes();
            if needed > bytes / 4 * 3 {
                too_large += 1;
                continue;
            }
            check(line);
            peak = peak.max(HEAP.peak_bytes());
            answered += 1;
        }
        hprintln!(
            "machine: {} KiB: {}: {} cases, {} need more memory; {} bytes at most",
            HEAP.select(heap).bytes() >> 10,
            name,
            answered,
            too_large,
            peak
        );
        assert!(answered > 0, "{name}: no case was answered");
    }
}
