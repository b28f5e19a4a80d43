//! Quickstart of the reference's README, with the same steps and names: defines `int.add`, calls it
//! with 1 and 2, and prints `[3]`.
//!
//! `cargo run -p astreum-node --example quickstart`
//!
//! `quickstart.astreum` in the same folder is the same program as a script.

use astreum_node::{Config, Expr, Node};
use core::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    print!("{}", quickstart()?);
    Ok(())
}

/// Runs the steps and returns the output of the last one.
pub(crate) fn quickstart() -> Result<String, Box<dyn Error>> {
    // 1) Spin-up a stand-alone VM.
    let node = Node::new(Config::default())?;

    // 2) Create an environment. Its first use creates it.
    let env_id = "quickstart";
    node.environment(env_id);

    // 3) Build a function value using a low-level stack body via `sk`.
    // Body does: $0 $1 add   (i.e., a + b)
    let low_body = Expr::list(vec![
        Expr::symbol("$0"), // a (first arg)
        Expr::symbol("$1"), // b (second arg)
        Expr::symbol("add"),
    ]);

    let fn_body = Expr::list(vec![
        Expr::symbol("a"),
        Expr::symbol("b"),
        Expr::list(vec![low_body, Expr::symbol("sk")]),
    ]);

    let params = Expr::list(vec![Expr::symbol("a"), Expr::symbol("b")]);
    let int_add_fn = Expr::list(vec![fn_body, params, Expr::symbol("fn")]);

    // 4) Store under the name "int.add".
    node.env_set(env_id, "int.add", int_add_fn);

    // 5) Retrieve the function and call it with bytes 1 and 2.
    let bound = node
        .env_get(env_id, "int.add")
        .ok_or("int.add is not bound")?;
    let call = Expr::list(vec![Expr::bytes([1]), Expr::bytes([2]), bound]);
    let res = node.eval_in(env_id, &call);

    // sk returns bytes; for 1+2 expect a single byte with value 3
    let value = res.value();
    let elements = value.as_list().unwrap_or(core::slice::from_ref(value));
    let numbers: Vec<Option<i128>> = elements.iter().map(Expr::as_integer).collect();
    let numbers: Option<Vec<i128>> = numbers.into_iter().collect();
    let numbers = numbers.ok_or_else(|| format!("no numbers: {value}"))?;
    Ok(format!("{numbers:?}\n"))
}
