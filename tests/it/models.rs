//! Random programs, compared with the models by value, cost, atoms and bindings.

use crate::support::programs::{atoms, bindings, code, expr, store};
use astreum_core::expr::Bytes;
use astreum_core::machine::{Env, Limits, Machine, Meter};
use astreum_tests::model::{evaluator, stack};
use proptest::collection::vec as vec_of;
use proptest::prelude::*;
use std::collections::BTreeMap;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn stack_programs_agree_with_the_model(code in code(), limit in 0..400u64) {
        let (mut expected_store, _) = store();
        let mut machine = Machine::new(store().0);
        machine.set_meter_limit(Some(limit));
        let mut meter = Meter::new(Some(limit));
        let expected = stack::run(&code, &mut expected_store, &mut meter);
        let program: Vec<_> = code.iter().map(|token| Bytes::new(token)).collect();
        let evaluation = machine.run(&program);
        prop_assert_eq!(evaluation.value(), &expected);
        prop_assert_eq!(evaluation.used(), meter.used());
        prop_assert_eq!(atoms(machine.store()), atoms(&expected_store));
    }

    #[test]
    fn expressions_agree_with_the_model(
        exprs in vec_of(expr(), 1..4), limit in prop_oneof![Just(None), (0..60u64).prop_map(Some)],
    ) {
        let limit = limit.unwrap_or(1000);
        let (mut expected_store, _) = store();
        let limits = Limits { steps: 200_000, ..Limits::DEFAULT };
        let mut machine = Machine::with_limits(store().0, limits);
        machine.set_meter_limit(Some(limit));
        let mut env = Env::new();
        for (name, value) in bindings() {
            env.set(&name, value);
        }
        let mut scope = bindings();
        // One machine for all: its caches of one expression must not change the next.
        for expr in exprs {
            let mut meter = Meter::new(Some(limit));
            let mut evaluator = evaluator::Evaluator {
                store: &mut expected_store,
                meter: &mut meter,
                scopes: vec![scope],
                calls: 200,
                exhausted: false,
            };
            let expected = evaluator.eval(&expr);
            if evaluator.exhausted {
                return Ok(());
            }
            scope = evaluator.scopes.remove(0);
            let evaluation = machine.eval(&expr, &mut env);
            prop_assert_eq!(evaluation.value(), &expected);
            prop_assert_eq!(evaluation.used(), meter.used());
            prop_assert_eq!(atoms(machine.store()), atoms(&expected_store));
            let kept = env.iter().map(|(name, value)| (name.to_owned(), value.clone()));
            prop_assert_eq!(&kept.collect::<BTreeMap<_, _>>(), &scope);
        }
    }
}
