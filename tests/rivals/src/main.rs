//! Comparison of Astreum's machine with revm, rhai and the Python reference: the same work, in one
//! run, on one machine. Prints nanoseconds for each task, and the speed of Astreum relative to the
//! others.
//!
//! The reference is run by the interpreter that `ASTREUM_REFERENCE_PYTHON` names.

mod evm;
mod machine;
mod reference;
mod script;

use std::process::ExitCode;
use std::time::Instant;

/// Iterations of the counting loop.
pub const COUNT: u16 = 20_000;
/// Number of operations on 32 bytes.
pub const NANDS: usize = 10_000;
/// Number of nested calls.
pub const CALLS: usize = 50;

/// Number of rounds, in each of which every task runs once; the fastest counts.
const ROUNDS: usize = 25;

fn main() -> ExitCode {
    let reference = match reference::measure() {
        Ok(reference) => reference,
        Err(message) => {
            eprintln!("error: {message}");
            return ExitCode::FAILURE;
        }
    };
    let mut work = [
        Work::new(
            "counting loop, per iteration",
            "revm",
            1.7,
            160.0,
            COUNT.into(),
        ),
        Work::new("nand of 32 bytes", "revm", 1.2, 190.0, NANDS),
        Work::new(
            "nested function call",
            "rhai",
            5.0,
            200.0,
            CALLS * script::REPEAT,
        ),
    ];
    let mut ours = [machine::counting(), machine::nand(), machine::calls()];
    let mut theirs = [evm::counting(), evm::nand(), script::calls()];
    for _ in 0..ROUNDS {
        for ((work, ours), theirs) in work.iter_mut().zip(&mut ours).zip(&mut theirs) {
            work.ours = work.ours.min(time(ours));
            work.theirs = work.theirs.min(time(theirs));
        }
    }
    println!(
        "work                          astreum   rival            ratio (bar)   reference        ratio (bar)"
    );
    let mut reached = true;
    for (work, reference) in work.iter().zip(reference) {
        let items = work.items as f64;
        let (ours, theirs) = (work.ours / items, work.theirs / items);
        let (ratio, over) = (theirs / ours, reference / ours);
        println!(
            "{:<28} {ours:>7.1} ns   {} {theirs:>6.1} ns   {ratio:>6.1} ({:.1})   {reference:>10.0} ns   {over:>7.0} ({:.0})",
            work.name, work.rival, work.bar, work.reference_bar,
        );
        reached &= ratio >= work.bar && over >= work.reference_bar;
    }
    if reached {
        ExitCode::SUCCESS
    } else {
        eprintln!("error: a ratio is below its bar");
        ExitCode::FAILURE
    }
}

struct Work {
    name: &'static str,
    rival: &'static str,
    bar: f64,
    reference_bar: f64,
    items: usize,
    ours: f64,
    theirs: f64,
}

impl Work {
    fn new(
        name: &'static str,
        rival: &'static str,
        bar: f64,
        reference_bar: f64,
        items: usize,
    ) -> Self {
        let (ours, theirs) = (f64::INFINITY, f64::INFINITY);
        Self {
            name,
            rival,
            bar,
            reference_bar,
            items,
            ours,
            theirs,
        }
    }
}

/// Returns the nanoseconds of one run.
fn time(run: &mut Box<dyn FnMut()>) -> f64 {
    let start = Instant::now();
    run();
    start.elapsed().as_secs_f64() * 1e9
}
