//! Tests that a machine's memory is bounded for its whole life, and that no state of one evaluation
//! reaches the next.

use crate::atom::{Atom, AtomId, AtomSink, AtomSource, MemoryStore, NoStore, SourceError};
use crate::expr::Expr;
use crate::machine::{Env, Limits, Machine, Outcome};
use crate::text::parse;
use alloc::string::{String, ToString};
use core::convert::Infallible;

#[test]
fn code_of_dropped_sources_does_not_accumulate() {
    let limits = Limits {
        live_bytes: 128 << 10,
        ..Limits::DEFAULT
    };
    let mut machine = Machine::with_limits(NoStore, limits);
    let mut env = Env::new();
    machine.eval_source("(((a b (($0 $1 add) sk)) (a b) fn) sum def)", &mut env);
    let mut most = 0;
    for number in 0..2_000 {
        let source = alloc::format!(
            "(({number} {number} sum) x{number} \"{}\")",
            "y".repeat(900)
        );
        machine.eval_source(&source, &mut env);
        let library = &machine.evaluator.library;
        most = most.max(library.ops.len() + library.constants.len() + library.blocks.len());
    }
    assert!(most < 2_000, "{most}");
}

#[test]
fn code_of_dropped_sources_is_a_small_part_of_the_cache() {
    let (mut machine, mut env) = (Machine::new(NoStore), Env::new());
    for number in 0..5_000 {
        machine.eval_source(&alloc::format!("({number} x{number} y)"), &mut env);
        assert!(machine.evaluator.library.blocks.len() < 400);
    }
}

#[test]
fn code_of_live_expressions_is_bounded_by_the_limit() {
    let limits = Limits {
        live_bytes: 1 << 20,
        ..Limits::DEFAULT
    };
    let mut machine = Machine::with_limits(NoStore, limits);
    let mut env = Env::new();
    let exprs: alloc::vec::Vec<_> = (0..2_000)
        .map(|number| parse(&alloc::format!("({number} x{number} (1 2))")).unwrap())
        .collect();
    for expr in &exprs {
        machine.eval(expr, &mut env);
        assert!(machine.evaluator.library.blocks.len() < 1_500);
    }
    // A large one is not kept at all.
    let large = parse(&alloc::format!("({})", "x ".repeat(10_000))).unwrap();
    machine.eval(&large, &mut env);
    assert_eq!(machine.evaluator.library.blocks.len(), 0);
}

#[test]
fn sources_that_are_too_large_to_evaluate_are_not_cached() {
    let limits = Limits {
        live_bytes: 128 << 10,
        ..Limits::DEFAULT
    };
    let mut machine = Machine::with_limits(NoStore, limits);
    let mut env = Env::new();
    for number in 0..20 {
        let source = alloc::format!("({})", alloc::format!("x{number} ").repeat(15_000));
        let evaluation = machine.eval_source(&source, &mut env);
        assert_eq!(evaluation.value().to_string(), "error eval: memory limit");
        assert_eq!(machine.evaluator.library.blocks.len(), 0);
        // Called by its value, by its name and from the host.
        let form = parse(&alloc::format!("({source} (x) fn)")).unwrap();
        env.set("form", form.clone());
        machine.eval_source("(1 form)", &mut env);
        machine.call(&form, &[Expr::integer(1)], &mut env);
        machine.eval(&Expr::list([Expr::integer(1), form]), &mut env);
        let kept: usize = machine
            .evaluator
            .library
            .blocks
            .iter()
            .map(|block| block.list.len())
            .sum();
        assert!(kept < 1_000, "{kept}");
    }
}

#[test]
fn forms_that_a_program_makes_count_as_memory_and_steps() {
    // `z` is bound to the symbol `sk`, so `(big z)` creates a new form with a large body each time.
    let limits = Limits {
        live_bytes: 1 << 20,
        steps: 1 << 20,
        ..Limits::DEFAULT
    };
    let mut machine = Machine::with_limits(NoStore, limits);
    let mut env = Env::new();
    env.set("z", Expr::symbol("sk"));
    let body = alloc::format!("(1 2 jump {} 0)", "\"token\" ".repeat(2_000));
    env.set("big", parse(&body).unwrap());
    machine
        .eval_all("((((big z) form def) (x form)) (x) fn) f0 def) ", &mut env)
        .unwrap_err();
    machine.eval_source("((((big z) form def) (x form)) (x) fn)", &mut env);
    let mut script = String::from("(((((big z) form def) (x form)) (x) fn) f0 def) ");
    for level in 1..=12 {
        let below = level - 1;
        script += &alloc::format!("((((x f{below}) (x f{below})) (x) fn) f{level} def) ");
    }
    machine.eval_all(&script, &mut env).unwrap();
    let evaluation = machine.eval_source("(1 f12)", &mut env);
    assert!(
        matches!(evaluation.outcome(), Outcome::Limit(_)),
        "{:?}",
        evaluation.outcome()
    );
    assert!(evaluation.steps() > 2_000, "each new form costs its items");
}

#[test]
fn symbols_that_ref_reads_count_as_memory() {
    let name = "n".repeat(50_000);
    let atom = Atom::symbol(&name);
    let id = atom.id();
    let store: MemoryStore = [atom].into_iter().collect();
    let limits = Limits {
        live_bytes: 1 << 20,
        ..Limits::DEFAULT
    };
    let mut machine = Machine::with_limits(store, limits);
    // The names are live at the same time, and then the value is a short error.
    let mut outcome = |count: usize| {
        let names = alloc::format!("(0x{id} ref) ").repeat(count);
        let source = alloc::format!("(({names}) ((x) (x) fn))");
        let evaluation = machine.eval_source(&source, &mut Env::new());
        evaluation.value().to_string()
    };
    assert_eq!(outcome(100), "error eval: memory limit");
    assert_eq!(outcome(10), "error eval: argument must resolve to Bytes");
}

#[test]
fn evaluator_garbage_does_not_count_against_the_stack_machine() {
    let limits = Limits {
        live_bytes: 1 << 16,
        ..Limits::DEFAULT
    };
    let mut machine = Machine::with_limits(NoStore, limits);
    let mut env = Env::new();
    env.set("long", Expr::bytes("y".repeat(3_000)));
    // `f0` creates a list of 112 bytes that is garbage immediately, and each further function twice
    // as many.
    let mut script = String::from("((((x x x x) ((1) sk)) (x) fn) f0 def)");
    for level in 1..10 {
        let below = level - 1;
        script += &alloc::format!("((((x f{below}) f{below}) (x) fn) f{level} def)");
    }
    machine.eval_all(&script, &mut env).unwrap();
    let mut refused = 0;
    for lists in 0..700_u32 {
        let calls: String = (0..10)
            .filter(|bit| lists >> bit & 1 == 1)
            .map(|bit| alloc::format!("(1 f{bit}) "))
            .collect();
        let source = alloc::format!("({calls} ((long (($0 1 add) sk)) ((1) sk)))");
        let evaluation = machine.eval_source(&source, &mut env);
        refused += u32::from(evaluation.outcome() != Outcome::Finished);
    }
    assert_eq!(refused, 0);
}

/// Store that panics when an atom is requested.
struct Panics;

impl AtomSource for Panics {
    type Error = Infallible;

    fn atom(&self, _: &AtomId) -> Result<Atom, SourceError<Infallible>> {
        panic!("the host's own fault")
    }
}

impl AtomSink for Panics {
    type Error = Infallible;

    fn put(&mut self, _: AtomId, _: Atom) -> Result<(), Infallible> {
        panic!("the host's own fault")
    }
}

#[test]
fn host_panic_does_not_affect_the_next_evaluation() {
    let (mut machine, mut env) = (Machine::new(Panics), Env::new());
    let id = AtomId::new([1; 32]);
    for source in [
        alloc::format!("(7 ((x (0x{id} ref)) (x) fn))"),
        alloc::format!("(7 (((1 2 def) x (5 y def) ((0x{id} ref))) (x) fn))"),
        String::from("(7 ((x (1 ((1 \"data\" atom_new) sk))) (x) fn))"),
    ] {
        let panicked = std::panic::catch_unwind(core::panic::AssertUnwindSafe(|| {
            machine.eval_source(&source, &mut env)
        }));
        assert!(panicked.is_err());
        let evaluation = machine.eval_source("(x y (1 2 (($0 $1 add) sk)))", &mut env);
        assert_eq!(
            evaluation.value().to_string(),
            r#"((error "eval" "unbound symbol 'x'") (error "eval" "unbound symbol 'y'") 3)"#
        );
    }
}
