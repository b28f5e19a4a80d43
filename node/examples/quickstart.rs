//! The quickstart: defines `int.add`, calls it with 1 and 2, and prints `[3]`.
//!
//! `cargo run -p astreum-node --example quickstart`
//!
//! The same as a script is `quickstart.astreum` beside this file.

use astreum_core::expr::Expr;
use astreum_core::machine::Env;
use astreum_node::{Node, config::Config};
use core::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    // 1) A stand-alone machine: a node that is not connected.
    let node = Node::new(Config::default())?;

    // 2) An environment.
    let mut env = Env::new();

    // 3) A function value with a stack body, which `sk` runs: $0 $1 add.
    let stack_body = Expr::list(["$0", "$1", "add"].map(Expr::symbol).to_vec());
    let body = Expr::list(vec![
        Expr::symbol("a"),
        Expr::symbol("b"),
        Expr::list(vec![stack_body, Expr::symbol("sk")]),
    ]);
    let params = Expr::list(vec![Expr::symbol("a"), Expr::symbol("b")]);
    let int_add = Expr::list(vec![body, params, Expr::symbol("fn")]);

    // 4) Bound to the name int.add.
    env.set("int.add", int_add);

    // 5) Called by that name with the bytes 1 and 2.
    let call = Expr::list(vec![
        Expr::bytes([1]),
        Expr::bytes([2]),
        Expr::symbol("int.add"),
    ]);
    let evaluation = node.eval(&call, &mut env);
    let value = evaluation.value();
    let items = value.as_list().unwrap_or(core::slice::from_ref(value));
    let numbers: Option<Vec<i128>> = items.iter().map(Expr::as_integer).collect();
    let numbers = numbers.ok_or_else(|| format!("no numbers: {value}"))?;
    println!("{numbers:?}");
    Ok(())
}
