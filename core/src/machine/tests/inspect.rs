//! Tests of stepping, and of the view of suspended evaluations.

use crate::atom::{Atom, MemoryStore, NoStore};
use crate::expr::{Bytes, Expr};
use crate::machine::{
    Env, Evaluation, Inspection, Limits, Machine, NextToken, Opcode, Operation, Program, Progress,
    Reason, Suspended, Task,
};
use crate::text::{Script, parse};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

const SOURCES: [&str; 14] = [
    "7",
    "()",
    "(1 2 (3 x))",
    "(1 2 (($0 $1 add) sk))",
    "(((a b (($0 $1 add) sk)) (a b) fn) int.add def) (1 2 int.add) (40 2 int.add)",
    "(((x x twice) (x) fn) twice def) (1 twice)",
    // Joined tokens, on which one step must not run more than one of them.
    "(1 ((k 0 heap_set k k heap_get 1 add heap_set k heap_get 2 nand 13 jump 9 ) sk))",
    // A loop: with the jump target and the counter on the heap.
    "(1 ((to 3 heap_set i i heap_get 1 add heap_set i heap_get 19 add to heap_get jump) sk))",
    "(1 ((0 jump) sk))",
    "((1 2 add) (\"add\" (($0) sk)) (1 (($0 add) sk)) 5)",
    "((\"add\" 1 2 (($1 $2 $0) sk)) nope (1 nope))",
    "((1 (\"data\") ((1 $0 atom_new) sk)) (1 ((1 \"data\" atom_new 0 2 atom_load) sk)))",
    "(0xf794f3fc7bb7251d00d972ed8e16407c1111a671adcdcbf8fae61fc7a9c45e14 ref)",
    "((5 x def) (6 (((x y def) (x (($0 1 add) sk)) y) (x) fn)) x y)",
];

fn exprs(source: &str) -> Vec<Expr> {
    let script = Script::parse(source).unwrap();
    script.exprs().cloned().collect()
}

fn machine() -> Machine<MemoryStore> {
    let limits = Limits {
        steps: 500,
        depth: 40,
        ..Limits::DEFAULT
    };
    let mut store = MemoryStore::new();
    store.insert(Atom::bytes(*b"abc"));
    let mut machine = Machine::with_limits(store, limits);
    machine.set_meter_limit(Some(300));
    machine
}

/// Steps to the end, and calls `look` before each step. Refuses what is not available.
fn step_through(
    machine: &mut Machine<MemoryStore>,
    task: Task<'_>,
    env: &mut Env,
    mut look: impl FnMut(&Suspended, &mut Machine<MemoryStore>, &mut Env),
) -> Evaluation {
    let mut progress = machine.start_stepping(task, env);
    loop {
        let mut suspended = match progress {
            Progress::Done(evaluation) => return evaluation,
            Progress::Suspended(suspended) => suspended,
        };
        look(&suspended, machine, env);
        if *suspended.reason() != Reason::Slice {
            suspended.refuse();
        }
        progress = machine.step(suspended, env);
    }
}

#[test]
fn stepping_changes_neither_value_nor_charge_nor_steps() {
    for source in SOURCES {
        let exprs = exprs(source);
        let (mut once, mut env) = (machine(), Env::new());
        let expected = once.eval_task(Task::Script(&exprs), &mut env);
        let (mut stepped, mut other) = (machine(), Env::new());
        let found = step_through(&mut stepped, Task::Script(&exprs), &mut other, |_, _, _| {});
        assert_eq!(found, expected, "{source}");
        assert!(env.iter().eq(other.iter()), "{source}");
        assert!(once.store().iter().eq(stepped.store().iter()), "{source}");
    }
}

#[test]
fn stepping_and_slices_can_be_mixed_and_moved() {
    for source in SOURCES {
        let exprs = exprs(source);
        let expected = machine().eval_task(Task::Script(&exprs), &mut Env::new());
        let (mut machine, mut env) = (machine(), Env::new());
        machine.set_slice(Some(2));
        let mut progress = machine.start_stepping(Task::Script(&exprs), &mut env);
        let mut count = 0_u32;
        let evaluation = loop {
            let suspended = match progress {
                Progress::Done(evaluation) => break evaluation,
                Progress::Suspended(suspended) => suspended,
            };
            let (mut suspended, mut restored) = machine.restore(&suspended.to_bytes(&env)).unwrap();
            if *suspended.reason() != Reason::Slice {
                suspended.refuse();
            }
            count += 1;
            progress = if count.is_multiple_of(3) {
                machine.resume(suspended, &mut restored)
            } else {
                machine.step(suspended, &mut restored)
            };
            env = restored;
        };
        let counts = |evaluation: &Evaluation| {
            let value = evaluation.value().to_string();
            (value, evaluation.used(), evaluation.steps())
        };
        assert_eq!(counts(&evaluation), counts(&expected), "{source}");
        assert_eq!(evaluation.outcome(), expected.outcome(), "{source}");
    }
}

fn stack_text(inspection: &Inspection<'_>) -> String {
    let Some(stack) = inspection.stack() else {
        return inspection.operation().unwrap().to_string();
    };
    let list =
        |values: Vec<Bytes>| Expr::List(values.into_iter().map(Expr::Bytes).collect()).to_string();
    let next = match stack.next_token() {
        NextToken::Opcode(opcode) => opcode.to_string(),
        NextToken::Value(value) => alloc::format!("push {}", Expr::Bytes(value)),
        NextToken::End => String::from("end"),
    };
    let heap = stack.heap().flat_map(|(key, value)| [key, value]).collect();
    let token = stack.position().token;
    let values = list(stack.values().collect());
    alloc::format!("{token} {next} {values} {}", list(heap))
}

#[test]
fn each_step_runs_one_token_or_operation() {
    let exprs = exprs("(3 ((my_key $0 heap_set my_key heap_get 1 add) sk))");
    let mut seen = Vec::new();
    let mut machine = machine();
    let evaluation = step_through(
        &mut machine,
        Task::Script(&exprs),
        &mut Env::new(),
        |suspended, _, _| seen.push(stack_text(&suspended.inspect())),
    );
    let expected = [
        "push a constant",
        "check an argument",
        "run a stack program, arguments: 1",
        "0 push \"my_key\" () ()",
        "1 push 3 (\"my_key\") ()",
        "2 heap_set (\"my_key\" 3) ()",
        "3 push \"my_key\" () (\"my_key\" 3)",
        "4 heap_get (\"my_key\") (\"my_key\" 3)",
        "5 push 1 (3) (\"my_key\" 3)",
        "6 add (3 1) (\"my_key\" 3)",
        "return",
    ];
    assert_eq!(seen, expected);
    assert_eq!(evaluation.value().as_integer(), Some(4));
}

#[test]
fn view_has_values_bindings_and_places() {
    let source = "(2 y def) (7 ((x y) (x) fn))";
    let script = Script::parse(source).unwrap();
    let exprs: Vec<Expr> = script.exprs().cloned().collect();
    let mut seen = Vec::new();
    step_through(
        &mut machine(),
        Task::Script(&exprs),
        &mut Env::new(),
        |suspended, _, _| {
            let inspection = suspended.inspect();
            let frames = inspection.frames();
            let span = script.find(frames[0].code(), &inspection.path()).unwrap();
            let names: Vec<_> = inspection.bindings().map(|(name, _)| name).collect();
            let operation = inspection.operation().unwrap();
            seen.push(alloc::format!(
                "{operation} | {} | {} {} {names:?}",
                &source[span],
                frames.len(),
                Expr::list(inspection.values().to_vec()),
            ));
        },
    );
    let expected = [
        "push a constant | 2 | 1 () []",
        "define y | y | 1 (2) []",
        "return | (2 y def) | 1 (2) [\"y\"]",
        "push a constant | 7 | 1 () []",
        "check an argument | 7 | 1 (7) []",
        "call a function, arguments: 1 | (7 ((x y) (x) fn)) | 1 (7) []",
        "look up y | y | 2 () [\"x\"]",
        "load x | x | 2 () [\"x\"]",
        "check an argument | x | 2 (7) [\"x\"]",
        "call y, arguments: 1 | y | 2 (7) [\"x\"]",
        "return | ((x y) (x) fn) | 2 ((7 2)) [\"x\"]",
        "return | (7 ((x y) (x) fn)) | 1 ((7 2)) []",
    ];
    assert_eq!(seen, expected);
}

#[test]
fn missing_atoms_and_refused_charges_suspend_a_step_before_its_effect() {
    let atom = Atom::bytes(*b"data");
    let expr = parse("(id (($0 0 2 atom_load 1 add) sk))").unwrap();
    let (mut machine, mut env) = (Machine::new(MemoryStore::new()), Env::new());
    env.set("id", Expr::bytes(atom.id()));
    machine.set_meter_limit(Some(4));
    let mut progress = machine.start_stepping(&expr, &mut env);
    let mut seen = Vec::new();
    let evaluation = loop {
        let mut suspended = match progress {
            Progress::Done(evaluation) => break evaluation,
            Progress::Suspended(suspended) => suspended,
        };
        let token = suspended
            .inspect()
            .stack()
            .map(|stack| stack.position().opcode);
        match suspended.reason() {
            Reason::Missing(missing) => {
                assert_eq!(missing.id, atom.id());
                assert_eq!(token, Some(Some(Opcode::AtomLoad)));
                machine.store_mut().insert(atom.clone());
                seen.push("missing");
            }
            Reason::Meter { cost } => {
                assert_eq!((*cost, token), (3, Some(Some(Opcode::Add))));
                suspended.grant(10);
                seen.push("meter");
            }
            reason => assert_eq!(*reason, Reason::Slice),
        }
        progress = machine.step(suspended, &mut env);
    };
    assert_eq!(seen, ["missing", "meter"]);
    assert_eq!(*evaluation.value(), Expr::bytes("db"));
}

#[test]
fn stack_programs_without_the_evaluator_can_be_stepped() {
    let program = Program::new(&[&[1][..], &[2], b"add"].map(Bytes::new));
    let task = Task::Program {
        program: &program,
        arguments: &[],
    };
    let (mut machine, mut env) = (Machine::new(NoStore), Env::new());
    let mut progress = machine.start_stepping(task, &mut env);
    let mut tokens = Vec::new();
    while let Progress::Suspended(suspended) = progress {
        let inspection = suspended.inspect();
        assert_eq!(inspection.operation(), None::<Operation<'_>>);
        assert!(inspection.frames().is_empty() && inspection.path().is_empty());
        let stack = inspection.stack().unwrap();
        assert_eq!(stack.token_count(), 3);
        tokens.push((stack.position().token, stack.position().depth));
        progress = machine.step(suspended, &mut env);
    }
    assert_eq!(tokens, [(0, 0), (1, 1), (2, 2)]);
}
