//! Tests of the semantics of the language by example, in particular of its additions to the
//! reference.

use crate::atom::{Atom, AtomId, AtomSource, MemoryStore, NoStore, bytes_list};
use crate::expr::{Bytes, Expr};
use crate::machine::{Env, Machine, Program};
use crate::text::parse;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// Returns the values of expressions that are evaluated in order in one environment.
fn values(sources: &[&str]) -> Vec<String> {
    let (mut machine, mut env) = (Machine::new(MemoryStore::new()), Env::new());
    let mut value = |source: &&str| machine.eval_source(source, &mut env).value().to_string();
    sources.iter().map(&mut value).collect()
}

fn value(source: &str) -> String {
    values(&[source]).concat()
}

/// Returns the message of the error that is the value of a source.
fn failure(source: &str) -> String {
    let mut machine = Machine::new(MemoryStore::new());
    let evaluation = machine.eval_source(source, &mut Env::new());
    let (topic, message) = evaluation.value().as_error().unwrap();
    assert_eq!(topic, b"eval");
    String::from_utf8(message.to_vec()).unwrap()
}

fn run(code: &[&[u8]], store: &mut MemoryStore) -> (Expr, u64) {
    let code: Vec<_> = code.iter().map(|token| Bytes::new(token)).collect();
    let evaluation = Machine::new(store).run(&code);
    (evaluation.value().clone(), evaluation.used())
}

#[test]
fn definition_persists_and_is_called_by_name() {
    let results = values(&[
        "(((a b (($0 $1 add) sk)) (a b) fn) int.add def)",
        "(1 2 int.add)",
        "((($0 $0 add) sk) double def)",
        "((3 double) 4 int.add)",
        "(5 x def)",
        "(x double)",
    ]);
    assert_eq!(results[1], "3");
    assert_eq!(results[3..], ["10", "5", "10"]);
}

#[test]
fn forms_evaluate_to_themselves() {
    for source in ["((x) (x) fn)", "(($0) sk)", "(junk (x) (x) fn)"] {
        assert_eq!(value(source), parse(source).unwrap().to_string());
    }
    assert_eq!(failure("(1 ((x) (1) fn))"), "fn param must be symbol");
    assert_eq!(failure("(1 (2 (x) fn))"), "fn body must be list");
    assert_eq!(failure("(1 ((x) 2 fn))"), "fn params must be list");
    assert_eq!(failure("(1 (2 sk))"), "sk body must be list");
}

#[test]
fn callee_is_resolved_before_argument_evaluation() {
    let results = values(&["((((x) (x) fn) f def) f)", "(7 f)"]);
    assert_eq!(results, ["(((x) (x) fn) ((x) (x) fn))", "7"]);
}

#[test]
fn functions_see_and_temporarily_shadow_their_callers_bindings() {
    let results = values(&[
        "(1 x def)",
        "(((x y) () fn) unused def)",
        "((x) reader def)",
        "(((x (($0) sk)) (unused) fn) read def)",
        "(9 ((0 read) (x) fn))",
        "(0 read)",
        "x",
    ]);
    assert_eq!(results[4..], ["9", "1", "1"]);
}

#[test]
fn def_binds_in_the_function_that_runs() {
    let results = values(&["(1 x def)", "(5 (((2 x def) x) (y) fn))", "x"]);
    assert_eq!(results[1..], ["(2 2)", "1"]);
}

#[test]
fn stack_program_opens_no_scope() {
    let results = values(&["((((5 x def)) sk) s def)", "(0 s)", "x"]);
    assert_eq!(results[1..], ["5", "5"]);
    let results = values(&["((((5 x def)) sk) s def)", "(1 (((0 s) x) (y) fn))", "x"]);
    assert_eq!(results[1], "(5 5)");
    assert!(results[2].contains("unbound symbol 'x'"));
}

#[test]
fn error_in_an_argument_is_the_value_of_the_call() {
    for source in [
        "(1 (nope 2 (($0) sk)) (($0 $1 add) sk))",
        "(nope ((x) (x) fn))",
        "((nope ((x) (x) fn)) y def)",
    ] {
        assert_eq!(failure(source), "unbound symbol 'nope'");
    }
    assert_eq!(
        failure("((1 2) ((x) (x) fn))"),
        "argument must resolve to Bytes"
    );
}

#[test]
fn errors_in_an_ordinary_list_stay_items() {
    let mut machine = Machine::new(NoStore);
    let evaluation = machine.eval_source("(1 nope 2)", &mut Env::new());
    let items = evaluation.value().as_list().unwrap();
    assert!(items[1].is_error());
    assert_eq!(items[2], Expr::bytes([2]));
}

#[test]
fn argument_bytes_that_spell_an_opcode_are_that_opcode() {
    assert_eq!(value("(1 2 \"add\" (($0 $1 $2) sk))"), "3");
    assert_eq!(value("(\"add\" 1 2 (($1 $2 $0) sk))"), "3");
}

#[test]
fn sources_that_are_not_one_expression_are_errors() {
    assert_eq!(failure(""), "no expression provided");
    assert_eq!(failure("; nothing"), "no expression provided");
    assert_eq!(failure("(1"), "parse error: expected ')'");
    assert_eq!(failure(")"), "parse error: unexpected ')'");
    assert_eq!(failure("1 2"), "unexpected tokens after expression");
}

#[test]
fn ref_reverses_the_list_and_reports_the_missing_atom() {
    let (head, mut atoms) = bytes_list(&[b"one", b"two"]);
    let last = atoms.pop().unwrap();
    let mut machine = Machine::new(atoms.into_iter().collect::<MemoryStore>());
    let source = alloc::format!("(0x{head} ref)");
    let evaluation = machine.eval_source(&source, &mut Env::new());
    assert_eq!(
        evaluation.value(),
        &Expr::error("eval", "ref target not found")
    );
    assert_eq!(evaluation.missing(), Some(last.id()));
    // The host fetches the missing atom and evaluates again.
    machine.store_mut().insert(last);
    let evaluation = machine.eval_source(&source, &mut Env::new());
    let expected = [b"two", b"one"].map(Expr::bytes);
    assert_eq!(evaluation.value().as_list().unwrap(), expected);
    assert_eq!(evaluation.missing(), None);
}

#[test]
fn ref_accepts_only_an_id() {
    assert_eq!(value(&alloc::format!("(0x{} ref)", AtomId::ZERO)), "()");
    for source in [
        "(ref ref)",
        "(0x ref)",
        "(1 2 ref)",
        "((1) ref)",
        "(zz ref)",
    ] {
        assert_eq!(failure(source), "ref expects (atom_id ref)");
    }
    for source in ["(0xabc ref)", "(12 ref)"] {
        assert_eq!(failure(source), "ref target not found");
    }
}

#[test]
fn atom_link_makes_a_list_atom() {
    let mut store = MemoryStore::new();
    let child = store.insert(Atom::bytes(*b"child"));
    let rest = AtomId::new([9; 32]);
    let (value, used) = run(
        &[child.as_bytes(), rest.as_bytes(), b"atom_link"],
        &mut store,
    );
    let made = Atom::list(child, rest);
    assert_eq!((value, used), (Expr::bytes(made.id().as_bytes()), 64));
    assert_eq!(store.atom(&made.id()), Ok(made));

    let link = |code: &[&[u8]]| run(code, &mut MemoryStore::new());
    let failed = |message| (Expr::error("low_eval", message), 0);
    assert_eq!(
        link(&[b"x", rest.as_bytes(), b"atom_link"]),
        failed("bad link")
    );
    assert_eq!(
        link(&[rest.as_bytes(), b"x", b"atom_link"]),
        failed("bad link")
    );
    assert_eq!(
        link(&[rest.as_bytes(), rest.as_bytes(), b"atom_link"]),
        failed("unknown atom")
    );
}

#[test]
fn first_missing_atom_of_a_program_is_reported() {
    let (first, second) = ([1; 32], [2; 32]);
    let code: [&[u8]; 3] = [&first, &second, b"atom_concat"];
    let evaluation = Machine::new(NoStore).run(&code.map(Bytes::new));
    assert_eq!(evaluation.missing(), Some(AtomId::new(first)));
    let code: [&[u8]; 4] = [b"short", b"", b"", b"atom_load"];
    let evaluation = Machine::new(NoStore).run(&code.map(Bytes::new));
    assert_eq!(evaluation.missing(), None);
}

#[test]
fn jumps_may_land_inside_a_sequence_that_runs_as_one() {
    // Jumps into `a a heap_get 1 add heap_set` at its third token, with two keys on the stack.
    let code: [&[u8]; 11] = [
        b"a",
        b"b",
        &[5],
        b"jump",
        b"a",
        b"heap_get",
        &[1],
        b"add",
        b"heap_set",
        b"a",
        b"heap_get",
    ];
    let program = Program::new(&code.map(Bytes::new));
    let evaluation = Machine::new(NoStore).run_program(&program, &[]);
    assert_eq!(evaluation.value(), &Expr::bytes([1]));
}

#[test]
fn machine_can_move_between_threads() {
    fn check<T: Send>() {}
    check::<Machine<MemoryStore>>();
}
