//! Memory limits: the peak heap size while hostile input is processed.
//!
//! The allocator of this binary counts what each thread allocates, so that the threads of the test
//! harness do not disturb a measurement. What is measured runs in one thread.

use astreum_core::atom::{AtomId, MemoryStore};
use astreum_core::machine::{Env, Limits, Machine};
use astreum_core::text::{Parser, parse, to_text};
use astreum_core::wire::object::{Found, FoundError};
use core::alloc::{GlobalAlloc, Layout};
use core::cell::Cell;
use std::alloc::System;

thread_local! {
    /// Bytes that this thread allocated, less those that it freed. Below zero in a thread that
    /// frees what others allocated.
    static LIVE_BYTES: Cell<i64> = const { Cell::new(0) };
    static PEAK_BYTES: Cell<i64> = const { Cell::new(0) };
}

/// System allocator with counters.
struct Counting;

fn count(change: i64) {
    LIVE_BYTES.set(LIVE_BYTES.get() + change);
    PEAK_BYTES.set(PEAK_BYTES.get().max(LIVE_BYTES.get()));
}

fn bytes(layout: Layout) -> i64 {
    i64::try_from(layout.size()).unwrap_or(i64::MAX)
}

// SAFETY: every call is passed to the system allocator with unchanged arguments; the counters do
// not touch allocated memory and allocate nothing themselves (thread locals without destructor that
// are initialized by a constant).
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(bytes(layout));
        // SAFETY: the caller upholds the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-bytes(layout));
        // SAFETY: the pointer was returned by `alloc` for this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Returns the result of `work` and its peak heap size beyond the size at its start, in bytes.
fn peak_of<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = LIVE_BYTES.get();
    PEAK_BYTES.set(before);
    let result = work();
    let peak = usize::try_from(PEAK_BYTES.get() - before);
    (result, peak.unwrap_or(usize::MAX))
}

#[test]
fn allocator_counts_live_and_peak_bytes() {
    let (_, peak) = peak_of(|| drop(vec![0_u8; 1 << 20]));
    assert_eq!(peak, 1 << 20);
}

#[test]
fn other_threads_do_not_count() {
    let other = vec![0_u8; 1 << 20];
    let (_, peak) = peak_of(|| {
        let freed = std::thread::spawn(move || drop(other));
        freed.join().expect("the thread drops a vector");
        drop(vec![0_u8; 1 << 20]);
    });
    assert!((1 << 20..2 << 20).contains(&peak), "{peak}");
}

#[test]
fn greedy_program_stays_within_its_limits() {
    const LIVE_BYTES_MAX: usize = 4 << 20;
    const ATOM_BYTES_MAX: usize = 1 << 20;
    let limits = Limits {
        live_bytes: LIVE_BYTES_MAX as u64,
        atom_bytes: ATOM_BYTES_MAX as u64,
        // Short values are stored in their slots, so slots have a separate limit.
        stack_items: 1 << 16,
        heap_entries: 1 << 14,
        steps: 1 << 22,
        ..Limits::DEFAULT
    };
    for source in [
        // A list that doubles with every call.
        "(((x x) (x) fn) pair def) ((1 pair) l def) ((l l) l def) ((((l l) (l l)) ((l l) (l l))) l def)",
        // A function that never returns, with work left in each call.
        "(((1 (x again)) (x) fn) again def) (1 again)",
        // A stack that grows without end, and a heap that does.
        "(1 ((7 7 7 7 0 jump) sk))",
        "(1 ((0 1 add 0 heap_get 1 add 0 1 heap_set 0 jump) sk))",
        // An atom that doubles.
        "(1 ((0 1 \"some bytes to begin with\" atom_new heap_set 0 0 heap_get 0 heap_get atom_concat heap_set 5 jump) sk))",
    ] {
        let mut machine = Machine::with_limits(MemoryStore::new(), limits);
        let exprs: Vec<_> = Parser::new(source).map_while(Result::ok).collect();
        let (shown, peak) = peak_of(|| {
            let mut env = Env::new();
            let mut shown = String::new();
            for expr in &exprs {
                shown = to_text(machine.eval(expr, &mut env).value(), 100);
            }
            shown
        });
        let allowed = 4 * (LIVE_BYTES_MAX + ATOM_BYTES_MAX);
        assert!(peak < allowed, "{source}: {peak} bytes, value {shown}");
    }
}

#[test]
fn memory_of_text_is_proportional_to_its_length() {
    for source in [
        "(".repeat(1 << 20),
        "a ".repeat(1 << 19),
        "(a)".repeat(1 << 18),
        "\"".repeat(1 << 20),
        "9".repeat(1 << 20),
        ";".repeat(1 << 20),
        "#;(".repeat(1 << 18),
    ] {
        let (_, peak) = peak_of(|| drop(parse(&source)));
        // A token of one byte can become an expression of 24 bytes and an entry of a work list.
        let allowed = 128 * source.len();
        assert!(peak < allowed, "{peak} bytes for {:.3}…", source);
    }
}

#[test]
fn claimed_length_allocates_nothing() {
    let claimed = [2, 0xff, 0xff, 0xff, 0xff, 0, 0, 0];
    let (found, peak) = peak_of(|| Found::decode(&AtomId::ZERO, &claimed));
    assert_eq!(found, Err(FoundError::Truncated));
    assert_eq!(peak, 0);
}

/// Returns the bytes that stay allocated after `work`.
fn growth_of(work: impl FnOnce()) -> i64 {
    let before = LIVE_BYTES.get();
    work();
    LIVE_BYTES.get() - before
}

#[test]
fn machine_memory_does_not_grow_with_evaluated_sources() {
    let limits = Limits {
        live_bytes: 128 << 10,
        ..Limits::DEFAULT
    };
    let mut machine = Machine::with_limits(MemoryStore::new(), limits);
    let mut env = Env::new();
    machine.eval_source("(((a b (($0 $1 add) sk)) (a b) fn) sum def)", &mut env);
    let items = |count: usize, number: usize| -> String {
        (0..count)
            .map(|item| format!("n{number}.{item} "))
            .collect()
    };
    // The second kind is too large to be evaluated within the limit.
    for (sources, count, is_evaluated) in [(20_000, 100, true), (50, 6_000, false)] {
        // Names, functions and stack programs that are unique to each source.
        let (mut peaks, mut used) = (0, 0);
        let growth = growth_of(|| {
            for number in 0..sources {
                let source = format!(
                    "(({number} {number} sum) (({}) ({}) fn) ((\"{}\" $0) sk))",
                    items(count / 2, number),
                    items(count / 4, number),
                    items(count / 4, number),
                );
                let ((), peak) = peak_of(|| {
                    used += machine.eval_source(&source, &mut env).used();
                });
                peaks = peaks.max(peak);
            }
        });
        assert_eq!(used > 0, is_evaluated);
        assert!(growth < 1 << 20, "{sources} sources: {growth} bytes");
        assert!(peaks < 16 << 20, "{peaks}");
    }
}
