//! Benchmarks of the machine: a counter on the heap, nand of 32 bytes, nested calls, source text.

use astreum_core::atom::NoStore;
use astreum_core::expr::{Bytes, Expr};
use astreum_core::machine::{Env, Limits, Machine, Program};
use astreum_core::text::parse;
use divan::Bencher;
use divan::counter::ItemsCount;

fn main() {
    divan::main();
}

/// Creates a program that counts to `end` on the heap, with 13 tokens for each number. Every number
/// but the last is a missing key, which reads as empty, so that the program jumps to 0.
fn counting_loop(end: u16) -> Program {
    let end = end.to_be_bytes();
    let code: [&[u8]; 14] = [
        &end,
        &[13],
        b"heap_set",
        b"i",
        b"i",
        b"heap_get",
        &[0, 1],
        b"add",
        b"heap_set",
        b"i",
        b"heap_get",
        b"heap_get",
        b"jump",
        b"done",
    ];
    Program::new(&code.map(Bytes::new))
}

#[divan::bench]
fn counting_loop_iterations(bencher: Bencher<'_, '_>) {
    const COUNT: u16 = 30_000;
    let program = counting_loop(COUNT);
    let mut machine = Machine::new(NoStore);
    bencher
        .counter(ItemsCount::new(COUNT))
        .bench_local(|| machine.run_program(&program, &[]));
}

#[divan::bench]
fn nand_32_bytes(bencher: Bencher<'_, '_>) {
    const COUNT: usize = 10_000;
    let mut code = vec![Bytes::new(&[0x5a; 32])];
    for _ in 0..COUNT {
        code.extend([Bytes::new(&[0xc3; 32]), Bytes::new(b"nand")]);
    }
    let program = Program::new(&code);
    let mut machine = Machine::new(NoStore);
    bencher
        .counter(ItemsCount::new(COUNT))
        .bench_local(|| machine.run_program(&program, &[]));
}

/// Returns `((((1 f) f) f) …)`, with the whole function in place of each `f`.
fn nested_calls(depth: usize) -> Expr {
    let function = parse("((x) (x) fn)").unwrap_or_else(|error| panic!("{error}"));
    (0..depth).fold(Expr::bytes([1]), |arg, _| {
        Expr::list(vec![arg, function.clone()])
    })
}

#[divan::bench]
fn nested_function_calls(bencher: Bencher<'_, '_>) {
    const COUNT: usize = 1_000;
    let expr = nested_calls(COUNT);
    let mut machine = Machine::with_limits(NoStore, Limits::DEFAULT);
    let mut env = Env::new();
    bencher
        .counter(ItemsCount::new(COUNT))
        .bench_local(|| machine.eval(&expr, &mut env));
}

#[divan::bench]
fn source_text(bencher: Bencher<'_, '_>) {
    let mut machine = Machine::new(NoStore);
    let mut env = Env::new();
    bencher
        .bench_local(|| machine.eval_source("(1 2 ((a b (($0 $1 add) sk)) (a b) fn))", &mut env));
}
