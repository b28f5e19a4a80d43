//! Tests that suspended evaluations continue where they stopped.

use crate::arc::Arc;
use crate::atom::{Atom, AtomId, AtomSink, AtomSource, MemoryStore, NoStore, SourceError};
use crate::expr::{Bytes, Expr};
use crate::machine::{
    Env, Evaluation, HostError, Limits, Machine, Missing, Outcome, Progress, Reason, RestoreError,
    Suspended, Wanted,
};
use crate::text::parse;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

fn suspended(progress: Progress) -> Suspended {
    match progress {
        Progress::Suspended(suspended) => suspended,
        Progress::Done(evaluation) => panic!("finished: {evaluation:?}"),
    }
}

fn done(progress: Progress) -> Evaluation {
    match progress {
        Progress::Done(evaluation) => evaluation,
        Progress::Suspended(suspended) => panic!("suspended: {suspended:?}"),
    }
}

#[test]
fn each_missing_atom_needs_one_resumption_without_repeated_work() {
    let (head, atoms) = crate::atom::bytes_list(&["one", "two", "three", "four"]);
    let alone = [Atom::bytes(*b"left"), Atom::bytes(*b"right")];
    let [left, right] = alone.each_ref().map(Atom::id);
    let source = alloc::format!(
        "((1 counter def) (0x{head} ref) (1 (($0 1 add) sk)) (1 ((0 0 0x add) sk)))"
    );
    let expr = parse(&source).unwrap();
    let (mut machine, mut env) = (Machine::new(MemoryStore::new()), Env::new());
    let mut progress = machine.start(&expr, &mut env);
    for atom in &atoms {
        let waiting = suspended(progress);
        let missing = Missing {
            id: atom.id(),
            wanted: Wanted::List,
        };
        assert_eq!(*waiting.reason(), Reason::Missing(missing));
        assert_eq!(
            env.remove("counter"),
            (atom.id() == head).then(|| Expr::integer(1))
        );
        machine.store_mut().insert(atom.clone());
        progress = machine.resume(waiting, &mut env);
    }
    let evaluation = done(progress);
    assert_eq!(evaluation.outcome(), Outcome::Finished);
    let list = &evaluation.value().as_list().unwrap()[1];
    assert_eq!(list.as_list().unwrap()[0], Expr::bytes("four"));
    assert!(
        env.get("counter").is_none(),
        "the definition was not repeated"
    );

    // An opcode with two atoms.
    let concat = [left.as_ref(), right.as_ref(), b"atom_concat"].map(Bytes::new);
    let program = crate::machine::Program::new(&concat);
    let task = crate::machine::Task::Program {
        program: &program,
        arguments: &[],
    };
    let mut progress = machine.start(task, &mut env);
    for atom in alone {
        let waiting = suspended(progress);
        let missing = Missing {
            id: atom.id(),
            wanted: Wanted::Atom,
        };
        assert_eq!(*waiting.reason(), Reason::Missing(missing));
        machine.store_mut().insert(atom);
        progress = machine.resume(waiting, &mut env);
    }
    let evaluation = done(progress);
    assert_eq!(
        *evaluation.value(),
        Expr::bytes(Atom::bytes(*b"leftright").id())
    );
    assert_eq!(evaluation.used(), 9);
}

#[test]
fn missing_atoms_can_be_refused_individually() {
    let ids = [AtomId::new([1; 32]), AtomId::new([2; 32])];
    let source = alloc::format!("((0x{} ref) (0x{} ref))", ids[0], ids[1]);
    let (mut machine, mut env) = (Machine::new(MemoryStore::new()), Env::new());
    let expr = parse(&source).unwrap();
    let mut waiting = suspended(machine.start(&expr, &mut env));
    // Nothing has arrived: it is still suspended.
    waiting = suspended(machine.resume(waiting, &mut env));
    assert!(matches!(waiting.reason(), Reason::Missing(missing) if missing.id == ids[0]));
    waiting.refuse();
    let waiting = suspended(machine.resume(waiting, &mut env));
    assert!(matches!(waiting.reason(), Reason::Missing(missing) if missing.id == ids[1]));
    let evaluation = machine.finish(waiting, &mut env);
    let items = evaluation.value().as_list().unwrap();
    assert!(items.iter().all(Expr::is_error));
    assert!(matches!(evaluation.outcome(), Outcome::Missing(missing) if missing.id == ids[0]));
}

#[test]
fn meter_can_be_refilled() {
    let (mut machine, mut env) = (Machine::new(NoStore), Env::new());
    machine.set_meter_limit(Some(3));
    let expr = parse("((1 (($0 $0 add) sk)) (2 (($0 $0 add) sk)) (3 (($0 $0 add) sk)))").unwrap();
    let mut waiting = suspended(machine.start(&expr, &mut env));
    assert_eq!(*waiting.reason(), Reason::Meter { cost: 2 });
    assert_eq!(
        (waiting.meter().used(), waiting.meter().limit()),
        (2, Some(3))
    );
    waiting.grant(1);
    let mut waiting = suspended(machine.resume(waiting, &mut env));
    waiting.grant(1);
    let mut waiting = suspended(machine.resume(waiting, &mut env));
    assert_eq!(waiting.meter().used(), 4);
    waiting.refuse();
    let evaluation = done(machine.resume(waiting, &mut env));
    assert_eq!(
        evaluation.value().to_string(),
        r#"(2 4 (error "low_eval" "meter limit"))"#
    );
    assert!(matches!(evaluation.outcome(), Outcome::Limit(_)));
}

#[test]
fn slices_yield_and_endless_programs_can_be_dropped() {
    let (mut machine, mut env) = (Machine::new(NoStore), Env::new());
    machine.set_slice(Some(1_000));
    let expr = parse("(1 ((0 jump) sk))").unwrap();
    let mut waiting = suspended(machine.start(&expr, &mut env));
    for slice in 1..10 {
        assert_eq!(*waiting.reason(), Reason::Slice);
        assert!((slice * 1_000..slice * 1_000 + 10).contains(&waiting.steps()));
        waiting = suspended(machine.resume(waiting, &mut env));
    }
    drop(waiting);
    // A slice of zero steps is one step.
    machine.set_slice(Some(0));
    let expr = parse("((1 2 (($0 $1 add) sk)) (3))").unwrap();
    let mut progress = machine.start(&expr, &mut env);
    let mut count = 0;
    let evaluation = loop {
        match progress {
            Progress::Done(evaluation) => break evaluation,
            Progress::Suspended(suspended) => progress = machine.resume(suspended, &mut env),
        }
        count += 1;
    };
    assert_eq!(evaluation.value().to_string(), "(3 3)");
    assert!((1..20).contains(&count), "{count}");
    // Evaluations that cannot be suspended have no slices.
    let evaluation = machine.eval(&expr, &mut env);
    assert_eq!(evaluation.outcome(), Outcome::Finished);
}

#[test]
fn interrupt_suspends_until_the_flag_is_cleared() {
    let flag = Arc::new(AtomicBool::new(true));
    let (mut machine, mut env) = (Machine::new(NoStore), Env::new());
    machine.set_interrupt(Arc::clone(&flag));
    let expr = parse("(1 2 (($0 $1 add) sk))").unwrap();
    let waiting = suspended(machine.start(&expr, &mut env));
    assert_eq!(*waiting.reason(), Reason::Interrupted);
    let waiting = suspended(machine.resume(waiting, &mut env));
    flag.store(false, Ordering::Relaxed);
    let evaluation = done(machine.resume(waiting, &mut env));
    assert_eq!(*evaluation.value(), Expr::integer(3));
    flag.store(true, Ordering::Relaxed);
    let evaluation = machine.eval(&expr, &mut env);
    assert_eq!(evaluation.outcome(), Outcome::Interrupted);
    assert_eq!(*evaluation.value(), Expr::error("eval", "interrupted"));
}

/// Store that fails the given number of times, then works.
struct Flaky {
    store: MemoryStore,
    failures: core::cell::Cell<u32>,
}

impl Flaky {
    fn fails(&self) -> Result<(), &'static str> {
        match self.failures.get() {
            0 => Ok(()),
            left => {
                self.failures.set(left - 1);
                Err("disk full")
            }
        }
    }
}

impl AtomSource for Flaky {
    type Error = &'static str;

    fn atom(&self, id: &AtomId) -> Result<Atom, SourceError<&'static str>> {
        self.fails().map_err(SourceError::Failed)?;
        self.store.atom(id).map_err(|_| SourceError::Missing(*id))
    }
}

impl AtomSink for Flaky {
    type Error = &'static str;

    fn put(&mut self, _: AtomId, atom: Atom) -> Result<(), &'static str> {
        self.fails()?;
        self.store.insert(atom);
        Ok(())
    }
}

#[test]
fn failed_store_operation_is_retried_and_charged_once() {
    let flaky = |failures| Flaky {
        store: MemoryStore::new(),
        failures: core::cell::Cell::new(failures),
    };
    let expr = parse("(1 ((1 \"some data\" atom_new) sk))").unwrap();
    let (mut machine, mut env) = (Machine::new(flaky(2)), Env::new());
    let mut waiting = suspended(machine.start(&expr, &mut env));
    assert_eq!(*waiting.reason(), Reason::HostError);
    assert!(matches!(
        machine.take_host_error(),
        Some(HostError::Write("disk full"))
    ));
    waiting = suspended(machine.resume(waiting, &mut env));
    let evaluation = done(machine.resume(waiting, &mut env));
    assert_eq!(evaluation.used(), 9);
    assert_eq!(machine.store().store.len(), 1);
    // Without suspension the evaluation ends, and the error is the host's.
    let mut machine = Machine::new(flaky(1));
    let evaluation = machine.eval(&expr, &mut env);
    assert_eq!(evaluation.outcome(), Outcome::HostError);
    assert_eq!(
        *evaluation.value(),
        Expr::error("low_eval", "storage error")
    );
    assert!(matches!(
        machine.take_host_error(),
        Some(HostError::Write("disk full"))
    ));
}

#[test]
fn image_resumes_in_another_machine_on_another_thread() {
    let mut env = Env::new();
    env.set("base", Expr::integer(5));
    let mut env = Env::with_parent(Arc::new(env));
    let (mut machine, limits) = (Machine::new(NoStore), Limits::DEFAULT);
    machine.set_slice(Some(1));
    let source = "((((x y) (base (($0 add) sk))) (x) fn) f def) (((7 y def) (1 f)) 2)";
    let script: Vec<Expr> = crate::text::Parser::new(source)
        .map(Result::unwrap)
        .collect();
    let expected = Machine::new(NoStore)
        .eval_all(source, &mut env.clone())
        .unwrap();
    let mut progress = machine.start(crate::machine::Task::Script(&script), &mut env);
    let mut moved = 0;
    let evaluation = loop {
        let suspended = match progress {
            Progress::Done(evaluation) => break evaluation,
            Progress::Suspended(suspended) => suspended,
        };
        let bytes = suspended.to_bytes(&env);
        moved += 1;
        (progress, env) = std::thread::spawn(move || {
            let mut machine = Machine::with_limits(NoStore, limits);
            machine.set_slice(Some(1));
            let (suspended, mut env) = machine.restore(&bytes).unwrap();
            (machine.resume(suspended, &mut env), env)
        })
        .join()
        .unwrap();
    };
    assert!(moved >= 3, "{moved}");
    assert_eq!(evaluation.value(), expected.value());
    assert_eq!(
        (evaluation.used(), evaluation.steps()),
        (expected.used(), expected.steps())
    );
    assert_eq!(env.iter().count(), 2);
    assert_eq!(env.get("base"), Some(&Expr::integer(5)));
}

#[test]
fn image_preserves_equality_of_values() {
    // Results as long as an id are not kept alive elsewhere.
    let [a, b] = [[0xaa; 32], [0xbb; 32]];
    let code: Vec<Bytes> = [&a[..], &b, b"nand", &b, b"nand", &a, b"nand"]
        .map(Bytes::new)
        .into();
    let expected = Machine::new(NoStore).run(&code);
    let program = crate::machine::Program::new(&code);
    let mut machine = Machine::new(NoStore);
    machine.set_meter_limit(Some(0));
    let mut env = Env::new();
    let task = crate::machine::Task::Program {
        program: &program,
        arguments: &[],
    };
    let mut progress = machine.start(task, &mut env);
    let evaluation = loop {
        let mut suspended = match progress {
            Progress::Done(evaluation) => break evaluation,
            Progress::Suspended(suspended) => suspended,
        };
        suspended.grant(1);
        let (suspended, mut env) = machine.restore(&suspended.to_bytes(&env)).unwrap();
        progress = machine.resume(suspended, &mut env);
    };
    assert_eq!(evaluation, expected);
}

#[test]
fn damaged_or_too_large_images_are_rejected() {
    let mut machine = Machine::new(NoStore);
    machine.set_slice(Some(1));
    let mut env = Env::new();
    let expr = parse("(1 2 (1 2 (($0 $1 add) sk)))").unwrap();
    let bytes = suspended(machine.start(&expr, &mut env)).to_bytes(&env);
    for end in 0..bytes.len() {
        assert_eq!(
            machine.restore(&bytes[..end]).err(),
            Some(RestoreError::Malformed)
        );
    }
    let longer = [&bytes[..], &[0]].concat();
    assert_eq!(
        machine.restore(&longer).err(),
        Some(RestoreError::Malformed)
    );
    let tight = Limits {
        depth: Limits::DEFAULT.depth - 1,
        ..Limits::DEFAULT
    };
    let machine = Machine::with_limits(NoStore, tight);
    assert_eq!(machine.restore(&bytes).err(), Some(RestoreError::Limits));
}

#[test]
fn evaluation_that_moves_at_every_step_counts_as_one_that_does_not() {
    // A symbol of the environment, one that the program defines, and one that a parameter hides,
    // each called before and after.
    for source in [
        "((0 s) (((a s)) (a) fn))",
        "((0 s) (1 s) (2 s))",
        "((((($0 1 add) sk)) t def) (0 t) (1 t) (2 t))",
        "((0 s) (5 (((s s)) (s) fn)) (1 s) (5 (((s s)) (s) fn)))",
    ] {
        let expr = parse(source).unwrap();
        let environment = || {
            let mut env = Env::new();
            env.set("s", parse("(($0 1 add) sk)").unwrap());
            env
        };
        let once = Machine::new(MemoryStore::new()).eval(&expr, &mut environment());
        let (mut machine, mut env) = (Machine::new(MemoryStore::new()), environment());
        machine.set_slice(Some(1));
        let mut progress = machine.start(&expr, &mut env);
        let moved = loop {
            let suspended = match progress {
                Progress::Done(evaluation) => break evaluation,
                Progress::Suspended(suspended) => suspended,
            };
            let bytes = suspended.to_bytes(&env);
            machine = Machine::new(MemoryStore::new());
            machine.set_slice(Some(1));
            let (suspended, restored) = machine.restore(&bytes).unwrap();
            assert_eq!(suspended.to_bytes(&restored), bytes);
            env = restored;
            progress = machine.resume(suspended, &mut env);
        };
        let counts = |evaluation: &Evaluation| {
            let value = evaluation.value().to_string();
            (value, evaluation.steps(), evaluation.used())
        };
        assert_eq!(counts(&moved), counts(&once), "{source}");
    }
}
