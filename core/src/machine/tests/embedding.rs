//! Tests of calls, scripts, programs with arguments, and outcomes.

use crate::atom::{AtomId, MemoryStore, NoStore};
use crate::expr::{Bytes, Expr};
use crate::machine::{
    Env, Exceeded, LimitKind, Limits, Machine, Missing, Outcome, Program, ProgramError,
    ProgramErrorKind, Suspended, Wanted,
};
use crate::text::parse;
use alloc::string::ToString;

fn with(definitions: &str) -> (Machine<MemoryStore>, Env) {
    let (mut machine, mut env) = (Machine::new(MemoryStore::new()), Env::new());
    machine.eval_all(definitions, &mut env).unwrap();
    (machine, env)
}

fn integers<const N: usize>(values: [i64; N]) -> [Expr; N] {
    values.map(Expr::integer)
}

fn outcome(limits: Limits, meter: Option<u64>, source: &str) -> Outcome {
    let mut machine = Machine::with_limits(MemoryStore::new(), limits);
    machine.set_meter_limit(meter);
    let evaluation = machine.eval_all(source, &mut Env::new()).unwrap();
    evaluation.outcome()
}

#[test]
fn host_calls_match_calls_in_a_program() {
    let (mut machine, mut env) = with(
        "(((a b (($0 $1 add) sk)) (a b) fn) sum def) (($0 $0 add) sk) ((($0 $0 add) sk) double def) \
         (((x y def) (x) fn) set def) (7 seven def)",
    );
    let mut call = |name: &str, arguments: &[Expr]| {
        let value = machine.call(name, arguments, &mut env);
        (value.value().to_string(), value.used())
    };
    assert_eq!(call("sum", &integers([1, 2])), ("3".into(), 2));
    assert_eq!(call("double", &integers([21])), ("42".into(), 2));
    let list = Expr::list(integers([1, 2]));
    assert_eq!(call("double", core::slice::from_ref(&list)).0, "516");
    assert_eq!(call("sum", &integers([1])).0, "error eval: arity mismatch");
    assert_eq!(
        call("sum", &[list, Expr::integer(1)]).0,
        "error eval: argument must resolve to Bytes"
    );
    let error = Expr::error("mine", "message");
    assert_eq!(
        call("sum", &[error.clone(), error]).0,
        "error mine: message"
    );
    assert_eq!(call("nope", &[]).0, "error eval: unbound symbol 'nope'");
    assert_eq!(call("seven", &[]).0, "error eval: not a form");
    assert_eq!(call("set", &integers([5])).0, "5");
    assert!(env.get("y").is_none(), "a function's definition is its own");
    let form = parse("((a) (a) fn)").unwrap();
    let value = machine.call(&form, &integers([9]), &mut env);
    assert_eq!(*value.value(), Expr::integer(9));
    let nullary = parse("((1 2) () fn)").unwrap();
    let value = machine.call(&nullary, &[], &mut env);
    assert_eq!(*value.value(), Expr::list(integers([1, 2])));
}

#[test]
fn script_is_one_evaluation_that_ends_at_its_first_error() {
    let (mut machine, mut env) = (Machine::new(MemoryStore::new()), Env::new());
    let script = "(5 x def) (1 (($0 $0 add) sk)) (x (($0 $0 add) sk))";
    let evaluation = machine.eval_all(script, &mut env).unwrap();
    assert_eq!(evaluation.value(), &Expr::integer(10));
    assert_eq!(evaluation.used(), 4);
    let evaluation = machine.eval_all("(1 x def) nope (2 x def)", &mut env);
    assert!(evaluation.unwrap().value().is_error());
    assert_eq!(env.get("x"), Some(&Expr::integer(1)));
    let evaluation = machine.eval_all("; nothing", &mut env).unwrap();
    assert_eq!(evaluation.value(), &Expr::list([]));
    assert!(machine.eval_all("(3 x def) (", &mut env).is_err());
    assert_eq!(
        env.get("x"),
        Some(&Expr::integer(1)),
        "no part of the script ran"
    );
}

#[test]
fn program_arguments_are_values_even_if_they_spell_opcodes() {
    let body = parse("($1 $0 add)").unwrap();
    let program = Program::with_arguments(body.as_list().unwrap(), 2).unwrap();
    assert_eq!(program.len(), 3);
    let mut machine = Machine::new(NoStore);
    let mut run = |a: &[u8], b: &[u8]| {
        let arguments = [Bytes::new(a), Bytes::new(b)];
        machine.run_program(&program, &arguments).into_value()
    };
    assert_eq!(run(&[1], &[2]), Expr::integer(3));
    assert_eq!(run(b"add", &[0]), Expr::bytes("add"));
    let error = |source: &str| {
        let body = parse(source).unwrap();
        Program::with_arguments(body.as_list().unwrap(), 1).unwrap_err()
    };
    for (source, token, kind) in [
        ("(1 $1)", 1, ProgramErrorKind::Argument),
        ("($x)", 0, ProgramErrorKind::Placeholder),
        ("(1 2 (3))", 2, ProgramErrorKind::List),
    ] {
        assert_eq!(error(source), ProgramError { token, kind });
    }
}

#[test]
fn limit_outcomes_have_kind_limit_and_usage() {
    let limits = Limits {
        depth: 10,
        stack_items: 100,
        heap_entries: 2,
        live_bytes: 10_000,
        steps: 1_000,
        atoms: 2,
        atom_bytes: 20,
    };
    let exceeded = |kind, limit, used| Outcome::Limit(Exceeded { kind, limit, used });
    for (source, expected) in [
        (
            "(((x f) (x) fn) f def) (1 f)",
            exceeded(LimitKind::Depth, 10, 11),
        ),
        ("(1 ((7 0 jump) sk))", exceeded(LimitKind::Stack, 100, 101)),
        (
            "(1 ((1 1 heap_set 2 1 heap_set 3 1 heap_set) sk))",
            exceeded(LimitKind::Heap, 2, 3),
        ),
        (
            "(1 ((0 jump) sk))",
            exceeded(LimitKind::Steps, 1_000, 1_002),
        ),
        (
            "(1 ((1 1 atom_new 1 2 atom_new 1 3 atom_new) sk))",
            exceeded(LimitKind::Atoms, 2, 3),
        ),
        (
            "(1 ((1 \"0123456789\" atom_new 1 \"0123456789a\" atom_new) sk))",
            exceeded(LimitKind::AtomBytes, 20, 21),
        ),
    ] {
        assert_eq!(outcome(limits, None, source), expected, "{source}");
    }
    let grow =
        "(\"0123456789012345678901234567890123456789\" ((0 0 heap_get $0 add 0 0 heap_set) sk))";
    assert_eq!(outcome(limits, None, grow), Outcome::Finished);
    let wide = alloc::format!("(1 (({} $0 \"{}\" add) sk))", "", "x".repeat(9_000));
    let Outcome::Limit(exceeded) = outcome(limits, None, &wide) else {
        panic!("no limit exceeded by twice nine kilobytes");
    };
    assert_eq!(
        (exceeded.kind, exceeded.limit),
        (LimitKind::LiveBytes, 10_000)
    );
    assert!(exceeded.used > 7_500);
}

#[test]
fn refused_charge_is_the_outcome_although_the_program_continues() {
    let source = "(1 (2 (($0 $0 add) sk)) 3)";
    let mut machine = Machine::new(NoStore);
    machine.set_meter_limit(Some(2));
    let evaluation = machine.eval_source(source, &mut Env::new());
    assert_eq!(
        evaluation.value().to_string(),
        r#"(1 (error "low_eval" "meter limit") 3)"#
    );
    let exceeded = Exceeded {
        kind: LimitKind::Meter,
        limit: 2,
        used: 2,
    };
    assert_eq!(evaluation.outcome(), Outcome::Limit(exceeded));
    assert_eq!(outcome(Limits::DEFAULT, Some(3), source), Outcome::Finished);
}

#[test]
fn programs_cannot_imitate_an_outcome() {
    for source in [
        "(error \"eval\" \"interrupted\")",
        "(error \"low_eval\" \"meter limit\")",
        "(error \"eval\" \"step limit\")",
        "(error \"eval\" \"storage error\")",
        "(error \"low_eval\" \"unknown atom\")",
    ] {
        let evaluation = Machine::new(NoStore).eval_source(source, &mut Env::new());
        assert!(evaluation.value().is_error());
        assert_eq!(evaluation.outcome(), Outcome::Finished, "{source}");
        assert_eq!(
            (evaluation.failures().len(), evaluation.failure_count()),
            (0, 0)
        );
    }
}

#[test]
fn missing_outcome_distinguishes_list_and_atom() {
    let id = AtomId::new([7; 32]);
    let missing = |wanted| Outcome::Missing(Missing { id, wanted });
    let list = alloc::format!("(0x{id} ref)");
    assert_eq!(outcome(Limits::DEFAULT, None, &list), missing(Wanted::List));
    let code = [id.as_bytes().as_slice(), &[0], &[1], b"atom_load"];
    let evaluation = Machine::new(NoStore).run(&code.map(Bytes::new));
    assert_eq!(evaluation.outcome(), missing(Wanted::Atom));
    assert_eq!(evaluation.missing(), Some(id));
}

#[test]
fn parse_errors_have_a_position() {
    let evaluation = Machine::new(NoStore).eval_source("(1\n )) 2", &mut Env::new());
    let error = evaluation.parse_error().unwrap();
    assert_eq!((error.line(), error.column()), (2, 3));
    assert!(evaluation.value().is_error());
}

#[test]
fn forgetting_only_frees_memory() {
    let (mut machine, mut env) = with("(((a b (($0 $1 add) sk)) (a b) fn) sum def)");
    let first = machine.call("sum", &integers([1, 2]), &mut env);
    machine.forget();
    assert_eq!(machine.call("sum", &integers([1, 2]), &mut env), first);
}

#[test]
fn machines_and_suspended_evaluations_move_between_threads() {
    fn check<T: Send>() {}
    check::<Machine<MemoryStore>>();
    check::<Suspended>();
}

#[test]
fn code_is_compiled_once_for_many_calls() {
    let (mut machine, mut env) = with("(((a b (($0 $1 add) sk)) (a b) fn) sum def)");
    machine.call("sum", &integers([1, 2]), &mut env);
    let ops = machine.evaluator.library.ops.len();
    for value in 0..100 {
        let arguments = integers([value, 1]);
        let evaluation = machine.call("sum", &arguments, &mut env);
        assert_eq!(evaluation.value(), &Expr::integer(value + 1));
    }
    assert_eq!(machine.evaluator.library.ops.len(), ops);
}
