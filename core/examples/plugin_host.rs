//! Host of untrusted plugins: limits, a price per operation, host functions, and outcomes by type.
//!
//! ```text
//! cargo run -p astreum-core --example plugin_host
//! ```

use astreum_core::atom::NoStore;
use astreum_core::expr::Expr;
use astreum_core::machine::{BindError, Env, Limits, Machine, Outcome};
use core::error::Error;

/// Host with one function, `price`, which costs 10.
fn host() -> Result<Machine<NoStore>, BindError> {
    let limits = Limits {
        steps: 100_000,
        live_bytes: 1 << 20,
        ..Limits::DEFAULT
    };
    let mut machine = Machine::with_limits(NoStore, limits);
    machine.set_meter_limit(Some(1_000));
    machine.bind("price", |call| {
        call.charge(10)?;
        match call.arguments() {
            [item] if item.as_bytes() == Some(b"apple") => Ok(Expr::integer(3)),
            // An error value: the plugin may handle it.
            _ => Ok(Expr::error("price", "unknown item")),
        }
    })?;
    Ok(machine)
}

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let mut machine = host()?;
    let plugins = [
        ("a sum", r#"(("apple" price) 4 (($0 $1 add) sk))"#),
        ("an unknown item", r#"("pear" price)"#),
        ("an endless loop", "(((x loop) (x) fn) loop def) (1 loop)"),
    ];
    let mut last = None;
    for (name, source) in plugins {
        // Each plugin has an environment of its own and cannot affect the next one.
        let evaluation = machine.eval_all(source, &mut Env::new())?;
        println!(
            "{name}: {:?}, charge {}, value {}",
            evaluation.outcome(),
            evaluation.used(),
            evaluation.value()
        );
        last = Some(evaluation.outcome());
    }
    assert!(matches!(last, Some(Outcome::Limit(_))));
    let bought = machine.eval_source(r#"("apple" price)"#, &mut Env::new());
    assert_eq!(bought.value().as_integer(), Some(3));
    assert_eq!(bought.used(), 10);
    // With a limit that the price reaches, the charge is refused and the outcome names the limit.
    machine.set_meter_limit(Some(10));
    let refused = machine.eval_source(r#"("apple" price)"#, &mut Env::new());
    assert!(matches!(refused.outcome(), Outcome::Limit(_)));
    Ok(())
}
