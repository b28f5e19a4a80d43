//! Tests of error positions.

use crate::atom::NoStore;
use crate::expr::{Bytes, Expr};
use crate::machine::{Env, ErrorKind, Failure, Machine, Opcode, StackPosition};
use crate::text::Script;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// Returns the failures of a script, each with the source text at its position and at those of its
/// callers.
fn failures(source: &str) -> Vec<(Failure, Vec<String>)> {
    let script = Script::parse(source).unwrap();
    let (mut machine, mut env) = (Machine::new(NoStore), Env::new());
    let mut failures = Vec::new();
    for (index, expr) in script.exprs().enumerate() {
        let evaluation = machine.eval(expr, &mut env);
        for failure in evaluation.failures() {
            let mut places = Vec::new();
            for (depth, frame) in failure.frames().iter().enumerate() {
                let path = if depth == 0 {
                    failure.path()
                } else {
                    frame.path()
                };
                let span = script.find(frame.code(), &path);
                let span = span.or_else(|| script.span(index)).unwrap();
                places.push(source[span].to_string());
            }
            failures.push((failure.clone(), places));
        }
    }
    failures
}

/// Returns the kind and the source texts of the only failure of a script.
fn failure(source: &str) -> (ErrorKind, Vec<String>) {
    let mut failures = failures(source);
    assert_eq!(failures.len(), 1, "{failures:?}");
    let (failure, places) = failures.remove(0);
    (failure.kind(), places)
}

#[test]
fn every_evaluator_error_has_a_position() {
    for (source, kind, place) in [
        ("nope", ErrorKind::UnboundSymbol, "nope"),
        ("(1 (2 nope) 3)", ErrorKind::UnboundSymbol, "nope"),
        ("(1 def)", ErrorKind::DefinitionShape, "(1 def)"),
        ("(7 (1 2 def))", ErrorKind::DefinitionName, "2"),
        ("(1 2 ((a) (a) fn))", ErrorKind::Arity, "(1 2 ((a) (a) fn))"),
        ("(1 (7 (a) fn))", ErrorKind::FunctionBody, "(1 (7 (a) fn))"),
        (
            "(1 ((a) 7 fn))",
            ErrorKind::FunctionParameters,
            "(1 ((a) 7 fn))",
        ),
        (
            "(1 ((a) (7) fn))",
            ErrorKind::FunctionParameter,
            "(1 ((a) (7) fn))",
        ),
        ("(1 (7 sk))", ErrorKind::StackBody, "(1 (7 sk))"),
        ("(1 ((2 $x) sk))", ErrorKind::Placeholder, "$x"),
        ("(1 ((2 $1) sk))", ErrorKind::PlaceholderArity, "$1"),
        ("(1 2 ref)", ErrorKind::ReferenceShape, "(1 2 ref)"),
        ("((0x12 ref) 1)", ErrorKind::ReferenceTarget, "0x12"),
        (
            "(1 (2 3) ((a b) (a b) fn))",
            ErrorKind::FunctionArgument,
            "(2 3)",
        ),
        (
            "(((1 (2)) (($0) sk)) 7)",
            ErrorKind::BadStack,
            "((1 (2)) (($0) sk))",
        ),
        ("((1 (2 3)) (($0) sk))", ErrorKind::ByteList, "(1 (2 3))"),
    ] {
        let (found, places) = match source {
            // A list of lists cannot be joined; one-item lists of bytes are their items.
            "(((1 (2)) (($0) sk)) 7)" => continue,
            source => failure(source),
        };
        assert_eq!((found, places[0].as_str()), (kind, place), "{source}");
    }
}

#[test]
fn errors_inside_functions_have_a_call_trace() {
    let source = "(((x (($0 $1 add) sk)) (x) fn) f def)\n(((1 (y f)) (y) fn) g def)\n(2 (3 g))";
    let mut found = failures(source);
    let (failure, places) = found.remove(0);
    assert_eq!(failure.kind(), ErrorKind::PlaceholderArity);
    assert_eq!(places, ["$1", "f", "g"]);
    let names: Vec<_> = failure.frames().iter().map(|frame| frame.name()).collect();
    assert_eq!(names, [Some("f"), Some("g"), None]);
    assert_eq!(failure.more_frames(), 0);
}

#[test]
fn unbound_symbol_at_the_tail_is_a_call() {
    let found = failures("(1 2 int.ad) (int.ad 1) int.ad");
    let calls: Vec<_> = found.iter().map(|(failure, _)| failure.is_call()).collect();
    assert_eq!(calls, [true, false, false]);
    assert!(found.iter().all(|(_, places)| places[0] == "int.ad"));
    assert_eq!(found[0].0.symbol(), Some("int.ad"));
    assert_eq!(found[0].0.to_string(), "unbound symbol 'int.ad'");
}

#[test]
fn errors_of_stack_programs_have_token_opcode_and_depth() {
    for (source, kind, token, opcode, depth, place) in [
        (
            "(1 2 (($0 $1 sub) sk))",
            ErrorKind::BadStack,
            3,
            None,
            3,
            "($0 $1 sub)",
        ),
        (
            "(1 (($0 add) sk))",
            ErrorKind::Underflow,
            1,
            Some(Opcode::Add),
            1,
            "add",
        ),
        // Tokens that run as one operation fail like separate ones.
        (
            "(1 ((7 add) sk))",
            ErrorKind::Underflow,
            1,
            Some(Opcode::Add),
            1,
            "add",
        ),
        (
            "(1 ((99 jump) sk))",
            ErrorKind::BadJump,
            1,
            Some(Opcode::Jump),
            1,
            "jump",
        ),
        (
            "(1 ((9 9 heap_set 9 heap_get jump) sk))",
            ErrorKind::BadJump,
            5,
            Some(Opcode::Jump),
            1,
            "jump",
        ),
        (
            // A list in the body whose value equals the name of an opcode is that opcode.
            "(1 (((\"add\") 2 $0) sk))",
            ErrorKind::Underflow,
            0,
            Some(Opcode::Add),
            0,
            "(\"add\")",
        ),
        (
            "(1 (($0 1 2 atom_load) sk))",
            ErrorKind::UnknownAtom,
            3,
            Some(Opcode::AtomLoad),
            3,
            "atom_load",
        ),
    ] {
        let mut found = failures(source);
        let (failure, places) = found.pop().unwrap();
        let stack = StackPosition {
            token,
            opcode,
            depth,
        };
        assert_eq!(
            (failure.kind(), failure.stack()),
            (kind, Some(stack)),
            "{source}"
        );
        assert_eq!(places[0], place, "{source}");
    }
}

#[test]
fn tokens_of_a_failed_program_are_those_of_its_body() {
    let found = failures("((($0 sub) sk) s def) (1 2 s)");
    let tokens = found[0].0.tokens().unwrap();
    assert_eq!(tokens[1], Expr::symbol("sub"));
    let code: [&[u8]; 2] = [&[1], b"add"];
    let evaluation = Machine::new(NoStore).run(&code.map(Bytes::new));
    let failure = &evaluation.failures()[0];
    assert_eq!(failure.kind(), ErrorKind::Underflow);
    assert_eq!(failure.stack().map(|stack| stack.token), Some(1));
    assert_eq!((failure.tokens(), failure.frames().len()), (None, 0));
}

#[test]
fn calls_from_the_host_are_in_the_trace() {
    let (mut machine, mut env) = (Machine::new(NoStore), Env::new());
    machine.eval_source("(((x nope) (x) fn) f def)", &mut env);
    let evaluation = machine.call("f", &[Expr::integer(1)], &mut env);
    let frames = evaluation.failures()[0].frames();
    assert_eq!((frames.len(), frames[0].name()), (1, Some("f")));
    let evaluation = machine.call("g", &[], &mut env);
    assert_eq!(evaluation.failures()[0].symbol(), Some("g"));
}

#[test]
fn number_of_recorded_errors_is_bounded() {
    let (mut machine, mut env) = (Machine::new(NoStore), Env::new());
    let names: String = (0..1_000).map(|name| alloc::format!("n{name} ")).collect();
    let evaluation = machine.eval_source(&alloc::format!("({names})"), &mut env);
    assert_eq!(evaluation.failure_count(), 1_000);
    assert_eq!(evaluation.failures().len(), 16);
    assert_eq!(evaluation.failures()[15].symbol(), Some("n15"));
    // For deep calls the innermost frames are kept.
    let mut source = String::from("(((x nope) (x) fn) f0 def) ");
    for level in 1..100 {
        let below = level - 1;
        source += &alloc::format!("(((x f{below}) (x) fn) f{level} def) ");
    }
    machine.eval_all(&source, &mut env).unwrap();
    let evaluation = machine.call("f99", &[Expr::integer(1)], &mut env);
    let failure = &evaluation.failures()[0];
    assert_eq!((failure.frames().len(), failure.more_frames()), (16, 84));
    assert_eq!(failure.frames()[0].name(), Some("f0"));
}

#[test]
fn error_positions_do_not_depend_on_earlier_evaluations() {
    let source = "(((x y) (x) fn) f def) (1 (2 (3 f)))";
    let alone = failure(source);
    let script = Script::parse(source).unwrap();
    let (mut machine, mut env) = (Machine::new(NoStore), Env::new());
    for other in 0..50 {
        machine.eval_source(&alloc::format!("(1 (a{other} 2) ((b) (b) fn))"), &mut env);
    }
    let mut last = None;
    for expr in script.exprs() {
        last = Some(machine.eval(expr, &mut env));
    }
    let last = last.unwrap();
    let failure = &last.failures()[0];
    let span = script
        .find(failure.frames()[0].code(), &failure.path())
        .unwrap();
    assert_eq!(source[span], alone.1[0]);
}
