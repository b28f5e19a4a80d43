//! Astreum's machine.

use crate::{CALLS, COUNT, NANDS, script::REPEAT};
use astreum_core::atom::NoStore;
use astreum_core::expr::{Bytes, Expr};
use astreum_core::machine::{Env, Machine, Program};
use astreum_core::text::parse;

fn runner(program: Program, expected: Expr) -> Box<dyn FnMut()> {
    let mut machine = Machine::new(NoStore);
    Box::new(move || assert_eq!(*machine.run_program(&program, &[]).value(), expected))
}

/// Returns a counting loop with 13 tokens per iteration: an absent heap key reads as an empty
/// value, so every number but the last jumps to 0.
pub fn counting() -> Box<dyn FnMut()> {
    let end = COUNT.to_be_bytes();
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
    runner(Program::new(&code.map(Bytes::new)), Expr::bytes("done"))
}

pub fn nand() -> Box<dyn FnMut()> {
    let mut code = vec![Bytes::new(&[0x5a; 32])];
    for _ in 0..NANDS {
        code.extend([Bytes::new(&[0xff; 32]), Bytes::new(b"nand")]);
    }
    runner(Program::new(&code), Expr::bytes([0x5a; 32]))
}

/// Returns nested calls: `(((1 ((x) (x) fn)) ((x) (x) fn)) …)`.
pub fn calls() -> Box<dyn FnMut()> {
    let function = parse("((x) (x) fn)").expect("a function");
    let expr = (0..CALLS).fold(Expr::bytes([1]), |arg, _| {
        Expr::list(vec![arg, function.clone()])
    });
    let (mut machine, mut env) = (Machine::new(NoStore), Env::new());
    Box::new(move || {
        for _ in 0..REPEAT {
            assert_eq!(
                machine.eval(&expr, &mut env).value().as_bytes(),
                Some(&[1][..])
            );
        }
    })
}
