//! Definitions, functions and stack bodies: the documented language, evaluated.

use astreum_core::atom::MemoryStore;
use astreum_core::expr::Expr;
use astreum_core::machine::{Env, Machine};

/// Returns the results of a script as `{:#}` prints them, with one environment for all its
/// expressions.
fn script(source: &str) -> Vec<String> {
    let mut machine = Machine::new(MemoryStore::new());
    let mut env = Env::new();
    astreum_core::text::Parser::new(source)
        .map(|expr| {
            let expr = expr.unwrap_or_else(|error| panic!("{source}: {error}"));
            format!("{:#}", machine.eval(&expr, &mut env).value())
        })
        .collect()
}

fn result(source: &str) -> String {
    script(source).pop().unwrap_or_default()
}

/// Returns the printed form of an error value.
fn eval_error(message: &str) -> String {
    format!("{:#}", Expr::error("eval", message))
}

const INT_ADD: &str = "(((a b (($0 $1 add) sk)) (a b) fn) int.add def)";

#[test]
fn quickstart_runs_as_a_script() {
    let source = format!("{INT_ADD} (1 2 int.add)");
    assert_eq!(result(&source), "3");
}

#[test]
fn quickstart_runs_through_the_library() {
    let body = Expr::list(["$0", "$1", "add"].map(Expr::symbol));
    let stack = Expr::list([body, Expr::symbol("sk")]);
    let body = Expr::list([Expr::symbol("a"), Expr::symbol("b"), stack]);
    let params = Expr::list(["a", "b"].map(Expr::symbol));
    let function = Expr::list([body, params, Expr::symbol("fn")]);
    let mut env = Env::new();
    env.set("int.add", function);
    let bound = env.get("int.add").cloned().unwrap();
    let call = Expr::list([Expr::bytes([1]), Expr::bytes([2]), bound]);
    let evaluation = Machine::new(MemoryStore::new()).eval(&call, &mut env);
    assert_eq!(*evaluation.value(), Expr::bytes([3]));
    assert_eq!(evaluation.used(), 2);
}

#[test]
fn inline_function_is_called() {
    assert_eq!(result("(1 2 ((a b (($0 $1 add) sk)) (a b) fn))"), "3");
    assert_eq!(result("(1 2 (($0 $1 add) sk))"), "3");
}

#[test]
fn definitions_last_and_can_be_replaced() {
    assert_eq!(
        script("(5 x def) x (6 x def) x (x)"),
        ["5", "5", "6", "6", "6"]
    );
}

#[test]
fn form_evaluates_to_itself() {
    assert_eq!(result("((a) (a) fn)"), "((a) (a) fn)");
    assert_eq!(result("(($0) sk)"), "(($0) sk)");
}

#[test]
fn parameters_shadow_and_leave_no_trace() {
    assert_eq!(result("(1 x def) (9 ((x) (x) fn))"), "9");
    assert_eq!(result("(1 x def) (9 ((x) (x) fn)) x"), "1");
}

#[test]
fn function_sees_the_bindings_of_its_caller() {
    assert_eq!(result("(((y) (x) fn) show def) (7 y def) (1 show)"), "7");
}

#[test]
fn errors_are_values() {
    for (source, message) in [
        ("nowhere", "unbound symbol 'nowhere'"),
        ("(1 2 def)", "def name must be symbol"),
        ("(1 ref)", "ref target not found"),
        ("(1 2 ((a) (a) fn))", "arity mismatch"),
        ("(1 (7 sk))", "sk body must be list"),
        ("(1 (($x) sk))", "invalid sk placeholder"),
        ("(1 (($1) sk))", "arity mismatch in sk placeholder"),
        ("(1 (a (a) fn))", "fn body must be list"),
        ("(1 ((a) a fn))", "fn params must be list"),
        ("(1 ((a) (1) fn))", "fn param must be symbol"),
    ] {
        assert_eq!(result(source), eval_error(message), "{source}");
    }
}

#[test]
fn error_in_an_argument_is_the_result_of_the_call() {
    assert_eq!(
        result("(nowhere 1 (($0 $1 add) sk))"),
        eval_error("unbound symbol 'nowhere'")
    );
}

#[test]
fn error_in_an_ordinary_list_stays_an_item() {
    let text = result("(1 nowhere)");
    assert_eq!(
        text,
        format!("(1 {})", eval_error("unbound symbol 'nowhere'"))
    );
}

#[test]
fn list_of_one_evaluates_to_its_item() {
    assert_eq!(result("(((5)))"), "5");
    assert_eq!(result("()"), "()");
}
