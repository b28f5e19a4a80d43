//! Route requests and responses.

use crate::environment::Environment;
use crate::ours::Ours;
use crate::reference::{Reference, Start};
use crate::suite::Outcome;
use serde_json::json;

/// Route request, for the table of all peers.
const ROUTE_REQUEST: u8 = 3;

pub(crate) fn the_reference_learns_peers_from_us(environment: &Environment) -> Outcome {
    let ours = Ours::fresh(environment)?;
    let start = Start {
        seeds: &[ours.address()],
        ..Start::default()
    };
    let mut first = Reference::start(environment, &start)?;
    let mut second = Reference::start(environment, &start)?;
    for reference in [&mut first, &mut second] {
        reference.wait_for_peer(&ours.key)?;
        ours.wait_for_peer(&reference.key)?;
    }
    let request = json!({"key": ours.key, "topic": ROUTE_REQUEST, "content": "00"});
    first.call("send", request)?;
    // It shakes hands with whomever our response names.
    first.wait_for_peer(&second.key)?;
    second.wait_for_peer(&first.key)?;
    Ok(())
}

pub(crate) fn we_learn_peers_from_the_reference(environment: &Environment) -> Outcome {
    let mut first = Reference::fresh(environment)?;
    let start = Start {
        seeds: &[first.address()],
        ..Start::default()
    };
    let mut second = Reference::start(environment, &start)?;
    first.wait_for_peer(&second.key)?;
    let ours = Ours::fresh(environment)?;
    ours.connect(&first.address())?;
    first.wait_for_peer(&ours.key)?;
    second.wait_for_peer(&ours.key)?;
    ours.wait_for_peer(&second.key)?;
    Ok(())
}
