//! Route requests and responses.

use crate::environment::Environment;
use crate::ours::Ours;
use crate::reference::{Reference, Start};
use crate::suite::Outcome;
use astreum_core::crypto::SecretKey;
use astreum_node::rpc::hex;
use serde_json::json;

/// Topic code of a route request, for the table of all peers.
const ROUTE_REQUEST: u8 = 3;

pub(crate) fn reference_learns_peers_from_us(environment: &Environment) -> Outcome {
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
    // It starts a handshake with each peer that our response names.
    first.wait_for_peer(&second.key)?;
    second.wait_for_peer(&first.key)?;
    Ok(())
}

/// A response names one peer of each bucket, the nearest to the requester, and that is the
/// requester itself where it shares the bucket. So the keys are chosen: of the two that the first
/// node knows, only ours shares bits with it.
pub(crate) fn we_learn_peers_from_the_reference(environment: &Environment) -> Outcome {
    let [first_secret, our_secret] = [0, 1].map(|number| secret(false, number));
    let mut first = Reference::start(
        environment,
        &Start {
            secret: Some(&first_secret),
            ..Start::default()
        },
    )?;
    let mut second = Reference::start(
        environment,
        &Start {
            seeds: &[first.address()],
            secret: Some(&secret(true, 0)),
            ..Start::default()
        },
    )?;
    first.wait_for_peer(&second.key)?;
    let ours = Ours::start(environment, &[("relay-secret-key", &our_secret)])?;
    ours.connect(&first.address())?;
    first.wait_for_peer(&ours.key)?;
    second.wait_for_peer(&ours.key)?;
    ours.wait_for_peer(&second.key)?;
    Ok(())
}

/// Returns the secret of a key with this first bit; different numbers give different secrets.
fn secret(first_bit: bool, number: usize) -> String {
    let secrets = (1..=u8::MAX).map(|byte| [byte; 32]);
    let mut fitting = secrets.filter(|bytes| {
        let key = SecretKey::from_bytes(*bytes).public_key();
        key.as_bytes()
            .first()
            .is_some_and(|byte| byte >> 7 == u8::from(first_bit))
    });
    hex(&fitting.nth(number).unwrap_or_default())
}
