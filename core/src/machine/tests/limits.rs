//! Tests that every limit ends the evaluation with its error, that deeply nested programs do not
//! use the host stack, and that memory stays within its limit.

use crate::arc::Arc;
use crate::atom::{AtomSource, MemoryStore, NoStore};
use crate::expr::{Bytes, Expr};
use crate::machine::{Env, Limits, Machine};
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

/// Returns topic and message of the error of the last source; the sources are evaluated in order.
fn failure(limits: Limits, sources: &[&str]) -> (String, String) {
    let (mut machine, mut env) = (Machine::with_limits(MemoryStore::new(), limits), Env::new());
    let mut last = Expr::list(vec![]);
    for source in sources {
        last = machine.eval_source(source, &mut env).into_value();
    }
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (topic, message) = last.as_error().unwrap();
    (text(topic), text(message))
}

fn run(limits: Limits, code: &[&[u8]]) -> Expr {
    let code: Vec<_> = code.iter().map(|token| Bytes::new(token)).collect();
    Machine::with_limits(MemoryStore::new(), limits)
        .run(&code)
        .into_value()
}

fn low_error(message: &str) -> Expr {
    Expr::error("low_eval", message)
}

fn on_a_small_stack(work: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(64 << 10);
    thread.spawn(work).unwrap().join().unwrap();
}

const ENDLESS: &str = "(((x f) (x) fn) f def)";

#[test]
fn endless_recursion_reaches_the_depth_limit() {
    let expected = ("eval".into(), "depth limit".into());
    assert_eq!(failure(Limits::DEFAULT, &[ENDLESS, "(1 f)"]), expected);
    // The same if each call waits inside a list.
    let nested = "((1 (x f) 2) (x) fn)";
    let define = alloc::format!("({nested} f def)");
    assert_eq!(failure(Limits::DEFAULT, &[&define, "(1 f)"]), expected);
}

#[test]
fn call_tree_reaches_the_step_limit() {
    let limits = Limits {
        depth: 50,
        steps: 1_000_000,
        ..Limits::DEFAULT
    };
    // Each level doubles the number of calls.
    let mut sources = vec![String::from("((x) (x) fn) f0 def)").replace("((x) (x)", "(((x) (x)")];
    for level in 1..40 {
        let below = level - 1;
        sources.push(alloc::format!(
            "((((x f{below}) f{below}) (x) fn) f{level} def)"
        ));
    }
    sources.push("(1 f39)".into());
    let sources: Vec<_> = sources.iter().map(String::as_str).collect();
    assert_eq!(
        failure(limits, &sources),
        ("eval".into(), "step limit".into())
    );
}

#[test]
fn loop_reaches_the_step_limit_exactly() {
    let limits = Limits {
        steps: 20,
        ..Limits::DEFAULT
    };
    assert_eq!(run(limits, &[&[0], b"jump"]), low_error("step limit"));
    let mut machine = Machine::with_limits(NoStore, limits);
    let evaluation = machine.run(&[Bytes::new(&[0]), Bytes::new(b"jump")]);
    assert_eq!(evaluation.used(), 11);
    let expected = ("low_eval".into(), "step limit".into());
    assert_eq!(
        failure(
            Limits {
                steps: 1000,
                ..limits
            },
            &["(1 ((0 jump) sk))"]
        ),
        expected
    );
    // A limit ends the evaluation: the error is not an item of the list.
    assert_eq!(
        failure(
            Limits {
                steps: 1000,
                ..limits
            },
            &["(1 (1 ((0 jump) sk)) 2)"]
        ),
        expected
    );
}

#[test]
fn stacks_have_limits() {
    let limits = Limits {
        stack_items: 3,
        ..Limits::DEFAULT
    };
    assert_eq!(run(limits, &[b"a", b"b", b"c"]), low_error("bad stack"));
    assert_eq!(
        run(limits, &[b"a", b"b", b"c", b"d"]),
        low_error("stack limit")
    );
    assert_eq!(
        run(limits, &[b"a", b"b", b"c", b"d", b"add"]),
        low_error("stack limit")
    );
    assert_eq!(
        run(limits, &[&[0], &[0], b"jump"]),
        low_error("stack limit")
    );
    let expected = ("eval".into(), "stack limit".into());
    assert_eq!(failure(limits, &["(1 2 3 x)"]), expected);
}

#[test]
fn heap_has_a_limit() {
    let limits = Limits {
        heap_entries: 1,
        ..Limits::DEFAULT
    };
    let one: [&[u8]; 7] = [b"k", b"v", b"heap_set", b"k", b"w", b"heap_set", b"end"];
    assert_eq!(run(limits, &one), Expr::bytes("end"));
    let two: [&[u8]; 7] = [b"k", b"v", b"heap_set", b"j", b"w", b"heap_set", b"end"];
    assert_eq!(run(limits, &two), low_error("heap limit"));
    // A computed key counts like one that occurs in the code.
    let computed: [&[u8]; 9] = [
        b"k",
        b"v",
        b"heap_set",
        &[1],
        &[1],
        b"add",
        b"w",
        b"heap_set",
        b"end",
    ];
    assert_eq!(run(limits, &computed), low_error("heap limit"));
}

#[test]
fn growing_values_reach_the_memory_limit() {
    let limits = Limits {
        live_bytes: 1 << 20,
        ..Limits::DEFAULT
    };
    // Each iteration leaves one more long value on the stack.
    let long = [1; 1000];
    let grow: [&[u8]; 5] = [&long, &[1], b"add", &[0], b"jump"];
    assert_eq!(run(limits, &grow), low_error("memory limit"));
    // Garbage does not count: this reaches only the step limit.
    let turn: [&[u8]; 10] = [
        b"k",
        b"k",
        b"heap_get",
        &long,
        b"add",
        b"heap_set",
        &[0],
        b"jump",
        b"",
        b"",
    ];
    let limits = Limits {
        steps: 1 << 20,
        ..limits
    };
    assert_eq!(run(limits, &turn), low_error("step limit"));
}

#[test]
fn repeated_list_joins_reach_the_memory_limit() {
    let limits = Limits {
        live_bytes: 1 << 20,
        ..Limits::DEFAULT
    };
    let mut sources = vec![String::from("(\"0123456789\" x0 def)")];
    for level in 1..40 {
        let below = level - 1;
        sources.push(alloc::format!(
            "(((x{below} x{below}) (($0) sk)) x{level} def)"
        ));
    }
    let sources: Vec<_> = sources.iter().map(String::as_str).collect();
    let (mut machine, mut env) = (Machine::with_limits(NoStore, limits), Env::new());
    let results: Vec<_> = sources
        .iter()
        .map(|source| machine.eval_source(source, &mut env).into_value())
        .collect();
    assert!(results.contains(&Expr::error("eval", "memory limit")));
    let longest = results
        .iter()
        .filter_map(Expr::as_bytes)
        .map(<[u8]>::len)
        .max();
    assert!(longest <= Some(1 << 20));
}

#[test]
fn value_with_a_huge_printed_form_is_rejected() {
    let limits = Limits {
        live_bytes: 1 << 20,
        ..Limits::DEFAULT
    };
    let (mut machine, mut env) = (Machine::with_limits(NoStore, limits), Env::new());
    let mut refused = false;
    machine.eval_source("((1 2) x def)", &mut env);
    for _ in 0..64 {
        let evaluation = machine.eval_source("((x x) x def)", &mut env);
        refused |= evaluation.value() == &Expr::error("eval", "memory limit");
    }
    assert!(refused);
}

#[test]
fn discarded_lists_do_not_accumulate() {
    let limits = Limits {
        live_bytes: 1 << 16,
        ..Limits::DEFAULT
    };
    let (mut machine, mut env) = (Machine::with_limits(NoStore, limits), Env::new());
    // Each call creates a list of 112 bytes; 4,096 of them exceed the limit.
    machine.eval_source("((((x x x x) ((1) sk)) (x) fn) f0 def)", &mut env);
    for level in 1..=12 {
        let below = level - 1;
        let define = alloc::format!("((((x f{below}) f{below}) (x) fn) f{level} def)");
        machine.eval_source(&define, &mut env);
    }
    let value = machine.eval_source("(1 f12)", &mut env).into_value();
    assert_eq!(value, Expr::bytes([1]));
}

#[test]
fn atoms_have_limits() {
    let make: [&[u8]; 6] = [&[1], b"data", b"atom_new", &[1], b"data", b"atom_new"];
    let limits = Limits {
        atoms: 1,
        ..Limits::DEFAULT
    };
    assert_eq!(run(limits, &make), low_error("atom limit"));
    let limits = Limits {
        atom_bytes: 7,
        ..Limits::DEFAULT
    };
    assert_eq!(run(limits, &make), low_error("atom limit"));
    // An atom that doubles at every iteration.
    let double: [&[u8]; 14] = [
        b"k",
        &[1],
        b"0123456789",
        b"atom_new",
        b"heap_set",
        b"k",
        b"k",
        b"heap_get",
        b"k",
        b"heap_get",
        b"atom_concat",
        b"heap_set",
        &[5],
        b"jump",
    ];
    let code: Vec<_> = double.iter().map(|token| Bytes::new(token)).collect();
    let mut machine = Machine::new(MemoryStore::new());
    assert_eq!(machine.run(&code).into_value(), low_error("atom limit"));
    let made: usize = machine
        .store()
        .iter()
        .map(|(_, atom)| atom.data().len())
        .sum();
    assert!(made as u64 <= Limits::DEFAULT.atom_bytes);
}

#[test]
fn interrupt_ends_an_endless_evaluation() {
    let flag = Arc::new(AtomicBool::new(false));
    let limits = Limits {
        steps: u64::MAX,
        ..Limits::DEFAULT
    };
    let mut machine = Machine::with_limits(NoStore, limits);
    machine.set_interrupt(Arc::clone(&flag));
    let worker = std::thread::spawn(move || {
        let value = machine
            .eval_source("(1 ((0 jump) sk))", &mut Env::new())
            .into_value();
        (value, machine)
    });
    flag.store(true, Ordering::Relaxed);
    let (value, mut machine) = worker.join().unwrap();
    assert_eq!(value, Expr::error("eval", "interrupted"));
    flag.store(false, Ordering::Relaxed);
    assert_eq!(
        machine.eval_source("(1)", &mut Env::new()).into_value(),
        Expr::bytes([1])
    );
}

#[test]
fn million_nested_lists_evaluate_on_a_small_stack() {
    on_a_small_stack(|| {
        let nest = |wrap: fn(Expr) -> Expr| (0..1_000_000).fold(Expr::bytes([1]), |e, _| wrap(e));
        let mut machine = Machine::new(NoStore);
        let mut eval = |expr: &Expr| machine.eval(expr, &mut Env::new()).into_value();
        assert_eq!(
            eval(&nest(|inner| Expr::list(vec![inner]))),
            Expr::bytes([1])
        );
        let pairs = nest(|inner| Expr::list(vec![inner, Expr::bytes([2])]));
        assert!(eval(&pairs) == pairs);
        let calls = nest(|inner| Expr::list(vec![inner, Expr::symbol("f")]));
        let mut env = Env::new();
        env.set("f", crate::text::parse("((x) (x) fn)").unwrap());
        let value = machine.eval(&calls, &mut env).into_value();
        assert_eq!(value, Expr::bytes([1]));
    });
}

#[test]
fn shared_expression_output_is_bounded() {
    let shared = (0..60).fold(Expr::symbol("x"), |e, _| Expr::list(vec![e.clone(), e]));
    let value = Machine::new(NoStore)
        .eval(&shared, &mut Env::new())
        .into_value();
    assert_eq!(value, Expr::error("eval", "memory limit"));
}

#[test]
fn store_failure_is_an_error() {
    struct Broken;
    impl AtomSource for Broken {
        type Error = ();
        fn atom(
            &self,
            _: &crate::atom::AtomId,
        ) -> Result<crate::atom::Atom, crate::atom::SourceError<()>> {
            Err(crate::atom::SourceError::Failed(()))
        }
    }
    impl crate::atom::AtomSink for Broken {
        type Error = ();
        fn put(&mut self, _: crate::atom::AtomId, _: crate::atom::Atom) -> Result<(), ()> {
            Err(())
        }
    }
    let mut machine = Machine::new(Broken);
    let make: [&[u8]; 3] = [&[1], b"data", b"atom_new"];
    let value = machine.run(&make.map(Bytes::new)).into_value();
    assert_eq!(value, low_error("storage error"));
    let id = crate::atom::AtomId::new([1; 32]);
    let value = machine.eval_source(&alloc::format!("(0x{id} ref)"), &mut Env::new());
    assert_eq!(value.into_value(), Expr::error("eval", "storage error"));
}
