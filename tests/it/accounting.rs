//! Determinism of evaluation counts: they depend only on the program, the atoms and the limits.

#[path = "../no_std/src/accounting.rs"]
mod targets;

use crate::support::programs::{bindings, expr, store};
use astreum_core::expr::{Builder, Expr, Visit};
use astreum_core::machine::{Env, Limits, Machine, Outcome};
use proptest::collection::vec as vec_of;
use proptest::prelude::*;
use std::collections::HashMap;

type Counted = (Expr, Outcome, u64, u64);

fn counted(machine: &mut Machine<impl Store>, expr: &Expr, env: &mut Env) -> Counted {
    let evaluation = machine.eval(expr, env);
    (
        evaluation.value().clone(),
        evaluation.outcome(),
        evaluation.used(),
        evaluation.steps(),
    )
}

trait Store: astreum_core::atom::AtomSource + astreum_core::atom::AtomSink {}

impl<T: astreum_core::atom::AtomSource + astreum_core::atom::AtomSink> Store for T {}

fn environment() -> Env {
    let mut env = Env::new();
    for (name, value) in bindings() {
        env.set(&name, value);
    }
    env
}

/// Returns the same expression without shared parts in memory.
fn unshared(expr: &Expr) -> Expr {
    let mut builder = Builder::new();
    let mut whole = None;
    for step in expr.visit() {
        whole = match step {
            Visit::Symbol(name) => builder.push(Expr::symbol(name)),
            Visit::Bytes(bytes) => builder.push(Expr::bytes(&**bytes)),
            Visit::Open(_) => {
                builder.open();
                None
            }
            Visit::Close => builder.close(),
        };
    }
    whole.unwrap_or_else(|| Expr::list([]))
}

/// Returns the same expression with every repeated part shared.
fn shared(expr: &Expr, known: &mut HashMap<String, Expr>) -> Expr {
    let text = format!("{expr:?}");
    if let Some(known) = known.get(&text) {
        return known.clone();
    }
    let shared = match expr {
        Expr::List(items) => {
            let items: Vec<_> = items.iter().map(|item| shared(item, known)).collect();
            Expr::list(items)
        }
        leaf => leaf.clone(),
    };
    known.insert(text, shared.clone());
    shared
}

fn tight() -> impl Strategy<Value = Limits> {
    (400..12_000u64, 20..2_000u64, 2..40u64, 2..20u64).prop_map(
        |(live_bytes, steps, stack_items, depth)| Limits {
            live_bytes,
            steps,
            stack_items,
            depth,
            ..Limits::DEFAULT
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn used_machine_counts_like_a_new_one(
        exprs in vec_of(expr(), 1..6), order in vec_of(0..6usize, 1..12), limits in tight(),
    ) {
        let mut used = Machine::with_limits(store().0, limits);
        for index in order {
            let Some(expr) = exprs.get(index) else {
                continue;
            };
            let mut new = Machine::with_limits(store().0, limits);
            let expected = counted(&mut new, expr, &mut environment());
            prop_assert_eq!(counted(&mut used, expr, &mut environment()), expected);
        }
    }

    #[test]
    fn sharing_in_memory_does_not_change_accounting(
        parts in vec_of(expr(), 1..3), times in 1..5usize, limits in tight(),
    ) {
        let expr = Expr::list(vec![parts; times].concat());
        let mut environment_shared = Env::new();
        let mut known = HashMap::new();
        for (name, value) in bindings() {
            environment_shared.set(&name, shared(&value, &mut known));
        }
        let apart = unshared(&expr);
        let together = shared(&expr, &mut known);
        let mut machine = Machine::with_limits(store().0, limits);
        let expected = counted(&mut machine, &apart, &mut environment());
        let mut machine = Machine::with_limits(store().0, limits);
        prop_assert_eq!(counted(&mut machine, &together, &mut environment_shared), expected.clone());
        // From atoms, where each part occurs once.
        let (mut atoms, _) = store();
        let id = expr.write_atoms(&mut atoms).unwrap();
        let read = Expr::from_atoms(&atoms, &id, 1 << 20).unwrap();
        let mut machine = Machine::with_limits(store().0, limits);
        prop_assert_eq!(counted(&mut machine, &read, &mut environment()), expected);
    }
}

#[test]
fn accounting_of_scripts_is_the_same_on_every_target() {
    for case in &targets::CASES {
        assert_eq!(case.actual(), case.expected, "{}", case.source);
    }
}
