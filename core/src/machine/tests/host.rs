//! Tests of host functions.

use crate::atom::NoStore;
use crate::expr::Expr;
use crate::machine::{
    BindError, Env, ErrorKind, HostError, HostFault, Limits, Machine, Outcome, Progress, Reason,
};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

/// Creates a machine with `join`, which concatenates its arguments and charges one per byte, `now`,
/// which counts, and `fail`.
fn machine() -> Machine<NoStore> {
    let mut machine = Machine::new(NoStore);
    machine
        .bind("join", |call| {
            let parts = call.arguments().iter().filter_map(Expr::as_bytes);
            let joined: Vec<u8> = parts.flatten().copied().collect();
            call.charge(joined.len() as u64)?;
            Ok(Expr::bytes(joined))
        })
        .unwrap();
    let mut now = 0_u8;
    machine
        .bind("now", move |_| {
            now += 1;
            Ok(Expr::integer(now))
        })
        .unwrap();
    machine
        .bind("fail", |call| match call.arguments() {
            [] => Err(HostFault::error("no argument")),
            [first, ..] if first.as_integer() == Some(0) => Ok(Expr::error("fail", "zero")),
            _ => Err(Broken.into()),
        })
        .unwrap();
    machine
}

#[derive(PartialEq, Debug)]
struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("broken")
    }
}

impl core::error::Error for Broken {}

fn value(source: &str) -> String {
    let evaluation = machine().eval_all(source, &mut Env::new()).unwrap();
    evaluation.value().to_string()
}

#[test]
fn host_functions_are_called_by_their_names() {
    assert_eq!(value("(65 66 join)"), "16706");
    assert_eq!(value("now"), "1");
    assert_eq!(value("(now)"), "1");
    assert_eq!(value("(now now join)"), "258");
    assert_eq!(value("(((x 1 join) (x) fn) f def) (65 f)"), "16641");
    assert_eq!(value("(1 ((now 2 add) sk))"), "7237497");
    assert_eq!(value("(1 (((now) 2 add) sk))"), "3");
    let mut machine = machine();
    let evaluation = machine.eval_source("(65 66 join)", &mut Env::new());
    assert_eq!(evaluation.used(), 2);
}

#[test]
fn errors_among_the_arguments_are_the_value() {
    assert_eq!(value("(1 nope join)"), "error eval: unbound symbol 'nope'");
    assert_eq!(value("(1 (0 fail) join)"), "error fail: zero");
    assert_eq!(value("(1 (0 fail))"), r#"(1 (error "fail" "zero"))"#);
}

#[test]
fn scripts_cannot_bind_or_alias_host_names() {
    let kind = |source: &str| {
        let evaluation = machine().eval_all(source, &mut Env::new()).unwrap();
        evaluation.failures()[0].kind()
    };
    assert_eq!(kind("(5 now def)"), ErrorKind::HostName);
    assert_eq!(kind("(1 ((now) (now) fn))"), ErrorKind::HostName);
    assert_eq!(kind("(((now) (now) fn) f def) (1 f)"), ErrorKind::HostName);
    // An alias is bound to a value, not to the function.
    assert_eq!(value("(now alias def) (alias alias join)"), "257");
    // A binding in the environment does not hide it.
    let mut env = Env::new();
    env.set("now", Expr::bytes("bound"));
    let evaluation = machine().eval_source("(now 7)", &mut env);
    assert_eq!(evaluation.value().to_string(), "(1 7)");
    // Bytes equal to the name are not the function.
    assert_eq!(value("(1 \"now\")"), r#"(1 7237495)"#);
    let evaluation = machine().call("now", &[], &mut env);
    assert_eq!(evaluation.failures()[0].kind(), ErrorKind::NotCallable);
}

#[test]
fn names_of_the_language_cannot_be_bound() {
    for name in ["def", "ref", "fn", "sk", "error"] {
        let bound = Machine::new(NoStore).bind(name, |_| Ok(Expr::list([])));
        assert_eq!(bound, Err(BindError::Reserved));
    }
}

#[test]
fn binding_and_unbinding_take_effect_at_once() {
    let (mut machine, mut env) = (Machine::new(NoStore), Env::new());
    env.set("f", Expr::bytes("value"));
    let expr = crate::text::parse("(f 1)").unwrap();
    let value = |machine: &mut Machine<NoStore>, env: &mut Env| {
        machine.eval(&expr, env).value().to_string()
    };
    assert_eq!(value(&mut machine, &mut env), "(\"value\" 1)");
    machine.bind("f", |_| Ok(Expr::bytes("called"))).unwrap();
    assert_eq!(value(&mut machine, &mut env), "(\"called\" 1)");
    assert!(machine.unbind("f") && !machine.unbind("f"));
    assert_eq!(value(&mut machine, &mut env), "(\"value\" 1)");
}

#[test]
fn failed_host_function_ends_the_evaluation_with_its_error() {
    let mut machine = machine();
    let evaluation = machine.eval_source("(7 (1 (2 fail)) 8)", &mut Env::new());
    assert_eq!(evaluation.outcome(), Outcome::HostError);
    assert_eq!(evaluation.value().to_string(), "error eval: host error");
    let Some(HostError::Function { name, error }) = machine.take_host_error() else {
        panic!("missing host error");
    };
    assert_eq!(name.as_str(), "fail");
    assert_eq!(error.downcast_ref::<Broken>(), Some(&Broken));
    assert!(machine.take_host_error().is_none());
    assert_eq!(
        machine.eval_source("1", &mut Env::new()).outcome(),
        Outcome::Finished
    );
}

#[test]
fn refused_host_charge_is_a_program_error() {
    let mut machine = machine();
    machine.set_meter_limit(Some(2));
    let evaluation = machine.eval_source("(1 (65 66 join))", &mut Env::new());
    assert_eq!(
        evaluation.value().to_string(),
        r#"(1 (error "low_eval" "meter limit"))"#
    );
    assert_eq!(evaluation.used(), 0);
    assert!(matches!(evaluation.outcome(), Outcome::Limit(_)));
}

#[test]
fn values_of_functions_count_as_memory() {
    let mut machine = Machine::with_limits(
        NoStore,
        Limits {
            live_bytes: 1_000,
            ..Limits::DEFAULT
        },
    );
    machine
        .bind("big", |_| Ok(Expr::bytes([1; 2_000])))
        .unwrap();
    machine.bind("half", |_| Ok(Expr::bytes([1; 500]))).unwrap();
    let mut outcome = |source: &str| machine.eval_source(source, &mut Env::new()).outcome();
    assert!(matches!(outcome("(1 big)"), Outcome::Limit(_)));
    assert_eq!(outcome("(1 half)"), Outcome::Finished);
    assert!(matches!(outcome("(half half)"), Outcome::Limit(_)));
}

#[test]
fn suspended_host_function_is_answered_or_called_again() {
    let mut machine = Machine::new(NoStore);
    let mut calls = 0;
    machine
        .bind("fetch", move |call| {
            calls += 1;
            assert_eq!(call.name(), "fetch");
            if calls < 3 {
                return Err(HostFault::Suspend);
            }
            Ok(Expr::integer(calls))
        })
        .unwrap();
    let mut env = Env::new();
    let expr = crate::text::parse("((1 a def) (7 8 fetch) (9 fetch))").unwrap();
    let Progress::Suspended(mut suspended) = machine.start(&expr, &mut env) else {
        panic!("not suspended at the first call");
    };
    assert!(
        matches!(suspended.reason(), Reason::HostFunction { name } if name.as_str() == "fetch")
    );
    let (name, arguments) = suspended.host_call().unwrap();
    assert_eq!(
        (name, arguments),
        ("fetch", &[Expr::integer(7), Expr::integer(8)][..])
    );
    suspended.answer(Ok(Expr::bytes("answer")));
    // Also after encoding and decoding.
    let bytes = suspended.to_bytes(&env);
    let (suspended, mut env) = machine.restore(&bytes).unwrap();
    let Progress::Suspended(suspended) = machine.resume(suspended, &mut env) else {
        panic!("not suspended at the second call");
    };
    assert_eq!(suspended.host_call().unwrap().1, [Expr::integer(9)]);
    let evaluation = machine.resume(suspended, &mut env).done().unwrap();
    assert_eq!(evaluation.value().to_string(), "(1 \"answer\" 3)");
    // An evaluation that cannot be suspended fails.
    let mut machine = Machine::new(NoStore);
    machine.bind("wait", |_| Err(HostFault::Suspend)).unwrap();
    let evaluation = machine.eval_source("wait", &mut env);
    assert_eq!(evaluation.outcome(), Outcome::HostError);
}

#[test]
fn image_needs_the_same_host_functions() {
    let mut first = machine();
    first.set_slice(Some(1));
    let mut env = Env::new();
    let expr = crate::text::parse("(1 2 (1 2 now))").unwrap();
    let Progress::Suspended(suspended) = first.start(&expr, &mut env) else {
        panic!("not suspended at the end of the slice");
    };
    let bytes = suspended.to_bytes(&env);
    let refused = Machine::new(NoStore).restore(&bytes);
    assert_eq!(
        refused.err(),
        Some(crate::machine::RestoreError::HostFunctions)
    );
    assert!(machine().restore(&bytes).is_ok());
    // In memory it can be resumed by any machine; the function is then missing.
    let mut other = Machine::new(NoStore);
    let evaluation = other.finish(suspended, &mut env);
    assert_eq!(evaluation.outcome(), Outcome::HostError);
    assert!(matches!(
        other.take_host_error(),
        Some(HostError::Function { .. })
    ));
    assert_eq!(
        other.eval_source("now", &mut env).outcome(),
        Outcome::Finished
    );
}
