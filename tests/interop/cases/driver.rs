//! The driver itself: a failure here is unrelated to our node.

use crate::environment::Environment;
use crate::reference::{Reference, Start};
use crate::suite::{Outcome, ensure, ensure_eq};
use serde_json::json;

pub(crate) fn two_references_meet_and_exchange_an_expression(environment: &Environment) -> Outcome {
    let mut first = Reference::fresh(environment)?;
    let start = Start {
        seeds: &[first.address()],
        ..Start::default()
    };
    let mut second = Reference::start(environment, &start)?;
    second.wait_for_peer(&first.key)?;
    first.wait_for_peer(&second.key)?;
    let head = first.call("put_source", json!({"source": "(1 (a ()) name)"}))?;
    let expression = second.call("get_expression", json!({"id": head}))?;
    ensure_eq!(
        expression,
        json!({"list": [{"bytes": "01"}, {"list": [{"sym": "a"}, {"list": []}]}, {"sym": "name"}]}),
        "expression rebuilt by the second reference"
    );
    let requests = first.count("Handling OBJECT_GET")?;
    ensure!(
        requests >= 4,
        "the first reference counted only {requests} requests"
    );
    Ok(())
}
