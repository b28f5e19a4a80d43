//! Suspended and resumed evaluations, compared with uninterrupted ones.
#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

use crate::support::programs::{atoms, bindings, code, expr, store};
use astreum_core::atom::{AtomId, AtomSource, MemoryStore};
use astreum_core::expr::{Bytes, Expr};
use astreum_core::machine::{
    Env, Evaluation, Limits, Machine, Outcome, Program, Progress, Reason, Suspended, Task,
};
use proptest::collection::vec as vec_of;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Division of an evaluation into pieces; each number is used once, then the sequence repeats.
#[derive(Clone, Debug)]
struct Cuts {
    /// Steps of each slice.
    slices: Vec<u64>,
    /// Amounts granted at each refused charge.
    grants: Vec<u64>,
    /// True for each suspension whose evaluation moves as bytes to another machine.
    moves: Vec<bool>,
}

fn cuts() -> impl Strategy<Value = Cuts> {
    (
        vec_of(prop_oneof![1..4u64, 1..200u64], 1..8),
        vec_of(1..40u64, 1..8),
        vec_of(any::<bool>(), 1..8),
    )
        .prop_map(|(slices, grants, moves)| Cuts {
            slices,
            grants,
            moves,
        })
}

/// Result of an evaluation, with all its effects.
#[derive(PartialEq, Debug)]
struct Result {
    evaluation: (Expr, Outcome, u64, u64, u64),
    atoms: Vec<AtomId>,
    bindings: BTreeMap<String, Expr>,
}

fn result(evaluation: &Evaluation, store: &MemoryStore, env: &Env) -> Result {
    let bindings = env.iter();
    Result {
        evaluation: (
            evaluation.value().clone(),
            evaluation.outcome(),
            evaluation.used(),
            evaluation.steps(),
            evaluation.failure_count(),
        ),
        atoms: atoms(store),
        bindings: bindings
            .map(|(name, value)| (name.to_owned(), value.clone()))
            .collect(),
    }
}

fn environment() -> Env {
    let mut env = Env::new();
    for (name, value) in bindings() {
        env.set(&name, value);
    }
    env
}

fn at_once(task: Task<'_>, limits: Limits, meter: u64) -> Result {
    let mut machine = Machine::with_limits(store().0, limits);
    machine.set_meter_limit(Some(meter));
    let mut env = environment();
    let evaluation = match machine.start(task, &mut env) {
        Progress::Done(evaluation) => evaluation,
        Progress::Suspended(suspended) => machine.finish(suspended, &mut env),
    };
    result(&evaluation, machine.store(), &env)
}

/// Runs a task in pieces: every atom is missing at first, and the meter starts at zero.
fn in_pieces(task: Task<'_>, limits: Limits, meter: u64, cuts: &Cuts) -> (Result, usize) {
    let all = store().0;
    let fresh = || Machine::with_limits(MemoryStore::new(), limits);
    let mut machine = fresh();
    machine.set_meter_limit(Some(0));
    let mut env = environment();
    let mut slices = cuts.slices.iter().cycle();
    let mut grants = cuts.grants.iter().cycle();
    let mut moves = cuts.moves.iter().cycle();
    let mut count = 0;
    machine.set_slice(slices.next().copied());
    let mut progress = machine.start(task, &mut env);
    let evaluation = loop {
        let mut suspended = match progress {
            Progress::Done(evaluation) => break evaluation,
            Progress::Suspended(suspended) => suspended,
        };
        count += 1;
        assert!(count < 100_000, "the evaluation continues: {suspended:?}");
        answer(&mut suspended, &mut machine, &all, meter, &mut grants);
        if moves.next() == Some(&true) {
            let bytes = suspended.to_bytes(&env);
            let mut other = fresh();
            core::mem::swap(other.store_mut(), machine.store_mut());
            machine = other;
            (suspended, env) = machine.restore(&bytes).unwrap();
            assert_eq!(suspended.to_bytes(&env), bytes, "an image is canonical");
        }
        machine.set_slice(slices.next().copied());
        progress = machine.resume(suspended, &mut env);
    };
    let mut left = machine.store().clone();
    left.extend(all.iter().map(|(_, atom)| atom.clone()));
    (result(&evaluation, &left, &env), count)
}

/// Supplies the atom or charge that an evaluation waits for, or refuses it where it would have
/// failed at once.
fn answer<'a>(
    suspended: &mut Suspended,
    machine: &mut Machine<MemoryStore>,
    all: &MemoryStore,
    meter: u64,
    grants: &mut impl Iterator<Item = &'a u64>,
) {
    match suspended.reason() {
        Reason::Missing(missing) => match all.atom(&missing.id) {
            Ok(atom) => {
                machine.store_mut().insert(atom);
            }
            Err(_) => suspended.refuse(),
        },
        Reason::Meter { .. } => {
            let limit = suspended.meter().limit().unwrap();
            if limit < meter {
                let grant = grants.next().copied().unwrap().min(meter - limit);
                suspended.grant(grant);
            } else {
                suspended.refuse();
            }
        }
        Reason::Slice => {}
        other => panic!("unexpected reason {other:?}"),
    }
}

fn limits() -> impl Strategy<Value = Limits> {
    (
        prop_oneof![Just(1 << 20), 200..20_000u64],
        prop_oneof![Just(20_000), 10..600u64],
        prop_oneof![Just(1 << 16), 1..60u64],
        prop_oneof![Just(1 << 16), 1..30u64],
    )
        .prop_map(|(live_bytes, steps, stack_items, depth)| Limits {
            live_bytes,
            steps,
            stack_items,
            depth,
            atoms: 8,
            ..Limits::DEFAULT
        })
}

/// A sum of more than 32 bytes counts a step, here the one above the limit, before its writing is
/// charged.
#[test]
fn charge_at_a_limit_within_a_joined_operation_is_that_of_its_parts() {
    let id = [0xff; 32];
    let code: [&[u8]; 11] = [
        &[0],
        b"heap_get",
        &[0],
        &[0],
        b"heap_get",
        &id,
        b"add",
        b"heap_set",
        &[1],
        b"heap_get",
        b"jump",
    ];
    let code: Vec<_> = code.iter().map(|token| Bytes::new(token)).collect();
    let program = Program::new(&code);
    let task = Task::Program {
        program: &program,
        arguments: &[],
    };
    let cuts = Cuts {
        slices: vec![1],
        grants: vec![1],
        moves: vec![false],
    };
    for steps in 1..40 {
        let limits = Limits {
            steps,
            ..Limits::DEFAULT
        };
        let once = at_once(task, limits, 500);
        let (pieces, _) = in_pieces(task, limits, 500, &cuts);
        assert_eq!(pieces, once, "{steps} steps");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_slicing_of_a_script_gives_the_same_result(
        exprs in vec_of(expr(), 1..4), meter in 0..300u64, limits in limits(), cuts in cuts(),
    ) {
        let once = at_once(Task::Script(&exprs), limits, meter);
        let (pieces, _) = in_pieces(Task::Script(&exprs), limits, meter, &cuts);
        prop_assert_eq!(pieces, once);
    }

    #[test]
    fn any_slicing_of_a_program_gives_the_same_result(
        code in code(), meter in 0..600u64, limits in limits(), cuts in cuts(),
    ) {
        let code: Vec<_> = code.iter().map(|token| Bytes::new(token)).collect();
        let program = Program::new(&code);
        let task = Task::Program { program: &program, arguments: &[] };
        let once = at_once(task, limits, meter);
        let (pieces, _) = in_pieces(task, limits, meter, &cuts);
        prop_assert_eq!(pieces, once);
    }

    #[test]
    fn damaged_images_are_refused_or_run_within_their_limits(
        exprs in vec_of(expr(), 1..3), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>(),
    ) {
        let limits = Limits { steps: 5_000, live_bytes: 1 << 16, stack_items: 1 << 10, ..Limits::DEFAULT };
        let mut machine = Machine::with_limits(MemoryStore::new(), limits);
        machine.set_meter_limit(Some(3));
        machine.set_slice(Some(5));
        let mut env = environment();
        let Progress::Suspended(suspended) = machine.start(Task::Script(&exprs), &mut env) else {
            return Ok(());
        };
        let mut bytes = suspended.to_bytes(&env);
        let at = at.index(bytes.len());
        if cut {
            bytes.truncate(at);
        } else {
            bytes[at] = byte;
        }
        if let Ok((suspended, mut env)) = machine.restore(&bytes) {
            let evaluation = machine.finish(suspended, &mut env);
            prop_assert!(evaluation.steps() < 1 << 20 || evaluation.outcome() != Outcome::Finished);
        }
    }
}
