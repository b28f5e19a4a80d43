//! Hostile and deep input: every function that takes an expression takes a million nested ones on a
//! small stack, and every function that reads text reads a hundred megabytes of it.

use astreum_core::atom::MemoryStore;
use astreum_core::expr::Expr;
use astreum_core::machine::{Env, Limits, Machine};
use astreum_core::text::{ParseErrorKind, Parser, parse, to_text, tokenize};
use core::time::Duration;
use std::time::Instant;

const MILLION: usize = 1_000_000;
/// Stack size below the thread default of any platform.
const STACK_BYTES: usize = 64 << 10;
const LONG_TOKEN_BYTES: usize = 100 << 20;

/// Runs on a stack that a recursion over the input would overflow at once.
fn on_a_small_stack(work: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new()
        .stack_size(STACK_BYTES)
        .spawn(work);
    let outcome = thread.map(std::thread::JoinHandle::join);
    assert!(matches!(outcome, Ok(Ok(()))), "the thread panicked");
}

/// Returns `((…(inner)…))`.
fn nested_text(inner: &str) -> String {
    ["(".repeat(MILLION), inner.to_owned(), ")".repeat(MILLION)].concat()
}

#[test]
fn million_open_parentheses_are_an_error() {
    on_a_small_stack(|| {
        let source = "(".repeat(MILLION);
        let error = parse(&source).unwrap_err();
        assert_eq!(error.kind, ParseErrorKind::ExpectedClose);
        assert_eq!(error.offset(), MILLION);
        assert_eq!(error.open.map(|open| open.offset), Some(MILLION - 1));
        let snippet = error.snippet(&source).to_string();
        assert!(
            snippet.len() < 1_000,
            "the caret line is not short: {}",
            snippet.len()
        );
        assert_eq!(Parser::new(&source).count(), 1);
    });
}

#[test]
fn million_open_parentheses_are_skipped_by_a_comment() {
    on_a_small_stack(|| {
        let source = format!("#;{}", nested_text("a"));
        assert_eq!(tokenize(&source), Ok(vec![]));
        let chained = format!("{}a", "#;(".repeat(MILLION));
        assert_eq!(tokenize(&chained), Ok(vec![]));
    });
}

#[test]
fn million_nested_lists_parse_print_and_drop() {
    on_a_small_stack(|| {
        let text = nested_text("a");
        let expr = parse(&text).unwrap();
        assert_eq!(expr.visit().count(), 2 * MILLION + 1);
        assert!(expr.to_string() == text);
        assert_eq!(to_text(&expr, 3), "(((…");
        let copy = expr.clone();
        assert!(copy == expr);
        drop(expr);
        drop(copy);
    });
}

#[test]
fn million_nested_lists_go_to_atoms_and_back() {
    on_a_small_stack(|| {
        let expr = parse(&nested_text("()")).unwrap();
        let (id, atoms) = expr.to_atoms();
        assert_eq!(atoms.len(), MILLION + 1);
        assert_eq!(id, expr.id());
        let store: MemoryStore = atoms.into_iter().collect();
        assert!(Expr::from_atoms(&store, &id, MILLION + 1) == Ok(expr));
        assert!(Expr::from_atoms(&store, &id, MILLION).is_err());
    });
}

#[test]
fn million_nested_lists_evaluate() {
    on_a_small_stack(|| {
        let mut machine = Machine::new(MemoryStore::new());
        let mut env = Env::new();
        // A list of one item equals its item, at every depth.
        let evaluation = machine.eval_source(&nested_text("5"), &mut env);
        assert_eq!(*evaluation.value(), Expr::bytes([5]));
        // Lists of two are evaluated item by item, so all of them are open at the innermost one.
        let source = ["(1 ".repeat(MILLION), ")".repeat(MILLION)].concat();
        let evaluation = machine.eval_source(&source, &mut env);
        let value = evaluation.value();
        assert!(
            !value.is_error() || is_limit(value),
            "{}",
            to_text(value, 200)
        );
    });
}

/// Returns whether the value is `(error "eval" "… limit")`.
fn is_limit(value: &Expr) -> bool {
    value
        .as_error()
        .is_some_and(|(topic, message)| topic == b"eval" && message.ends_with(b" limit"))
}

#[test]
fn wide_list_costs_no_more_than_a_deep_one() {
    on_a_small_stack(|| {
        let source = format!("({})", "1 ".repeat(MILLION));
        let mut machine = Machine::new(MemoryStore::new());
        let evaluation = machine.eval_source(&source, &mut Env::new());
        assert_eq!(
            evaluation.value().as_list().map(<[Expr]>::len),
            Some(MILLION)
        );
    });
}

#[test]
fn hundred_megabyte_token_is_parsed_in_linear_time() {
    let started = Instant::now();
    for (text, kind) in [("a", "symbol"), ("7", "symbol"), ("é", "symbol")] {
        let source = text.repeat(LONG_TOKEN_BYTES / text.len());
        let tokens = tokenize(&source).unwrap();
        assert_eq!(tokens.len(), 1, "{kind}");
        let expr = parse(&source).unwrap();
        // A token with this many digits is not an integer any more.
        assert_eq!(expr.as_symbol().map(str::len), Some(source.len()));
    }
    let mut string = "x".repeat(LONG_TOKEN_BYTES);
    string.insert(0, '"');
    let error = parse(&string).unwrap_err();
    assert_eq!(
        (error.kind, error.offset()),
        (ParseErrorKind::UnterminatedString, 0)
    );
    string.push('"');
    let expr = parse(&string).unwrap();
    assert_eq!(expr.as_bytes().map(<[u8]>::len), Some(LONG_TOKEN_BYTES));
    assert!(
        started.elapsed() < Duration::from_secs(60),
        "parsing is quadratic"
    );
}

#[test]
fn endless_stack_program_stops_at_its_meter_limit() {
    let mut machine = Machine::new(MemoryStore::new());
    machine.set_meter_limit(Some(MILLION as u64));
    let evaluation = machine.eval_source("(1 ((0 jump) sk))", &mut Env::new());
    let expected = Expr::error("low_eval", "meter limit");
    assert_eq!(*evaluation.value(), expected);
    assert_eq!(evaluation.used(), MILLION as u64 - 1);
}

#[test]
fn endless_program_stops_without_a_meter() {
    let limits = Limits {
        steps: MILLION as u64,
        ..Limits::DEFAULT
    };
    for source in [
        // A stack program that jumps to its start.
        "(1 ((0 jump) sk))",
        // A function that calls itself in tail position, and one that does not.
        "(((x again) (x) fn) again def) (1 again)",
        "(((1 (x again)) (x) fn) again def) (1 again)",
    ] {
        let mut machine = Machine::with_limits(MemoryStore::new(), limits);
        let mut env = Env::new();
        let mut last = None;
        for expr in Parser::new(source) {
            last = Some(machine.eval(&expr.unwrap(), &mut env));
        }
        let evaluation = last.unwrap();
        assert!(
            is_limit_of_any_topic(evaluation.value()),
            "{source} ended with {}",
            to_text(evaluation.value(), 200)
        );
        // Steps beyond the limit are counted before they are refused: at most those of one
        // operation.
        let past = evaluation.steps().saturating_sub(limits.steps);
        assert!(past <= 1_000, "{source} went {past} steps past its limit");
    }
}

/// Returns whether the value contains the error of an exceeded limit of any topic, possibly as an
/// item of a list.
fn is_limit_of_any_topic(value: &Expr) -> bool {
    to_text(value, 4_096).contains(" limit")
}
