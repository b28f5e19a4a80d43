//! Requests for unavailable objects, which must end soon. Between reference nodes they never end:
//! thousands of packets a second until one of them stops.

use crate::environment::Environment;
use crate::ours::Ours;
use crate::reference::{Reference, Start};
use crate::suite::{Outcome, ensure};
use core::time::Duration;
use serde_json::json;
use std::thread;

const NOBODY_HAS: &str = "abababababababababababababababababababababababababababababababab";
const GET: &str = "Handling OBJECT_GET";
/// Maximum number of requests for one id that a node may receive: a few tries, peers and hops.
const BOUND: u64 = 40;

pub(crate) fn we_send_requests_to_two_references(environment: &Environment) -> Outcome {
    let mut first = Reference::fresh(environment)?;
    let start = Start {
        seeds: &[first.address()],
        ..Start::default()
    };
    let mut second = Reference::start(environment, &start)?;
    first.wait_for_peer(&second.key)?;
    let ours = Ours::with_seeds(environment, &[first.address(), second.address()])?;
    for reference in [&mut first, &mut second] {
        reference.wait_for_peer(&ours.key)?;
        ours.wait_for_peer(&reference.key)?;
    }
    let mut asked = || Ok::<u64, String>(first.count(GET)? + second.count(GET)?);
    let before = asked()?;
    ensure!(
        ours.get(NOBODY_HAS)?.is_none(),
        "the object exists at no node"
    );
    thread::sleep(Duration::from_secs(1));
    let requests = asked()? - before;
    ensure!(
        (1..=BOUND).contains(&requests),
        "the references received {requests} requests"
    );
    thread::sleep(Duration::from_secs(1));
    let later = asked()? - before;
    ensure!(
        later == requests,
        "the search continues: {later} requests, {requests} before"
    );
    Ok(())
}

pub(crate) fn reference_sends_requests_to_two_of_us(environment: &Environment) -> Outcome {
    let first = Ours::fresh(environment)?;
    let second = Ours::with_seeds(environment, &[first.address()])?;
    let start = Start {
        seeds: &[first.address(), second.address()],
        ..Start::default()
    };
    let mut reference = Reference::start(environment, &start)?;
    for ours in [&first, &second] {
        reference.wait_for_peer(&ours.key)?;
        ours.wait_for_peer(&reference.key)?;
    }
    first.wait_for_peer(&second.key)?;
    let packets = || Ok::<u64, String>(first.datagrams_received()? + second.datagrams_received()?);
    let before = packets()?;
    let got = reference.call("get", json!({"id": NOBODY_HAS}))?;
    ensure!(got["atom"].is_null(), "the object exists at no node: {got}");
    thread::sleep(Duration::from_secs(1));
    let after = packets()?;
    ensure!(
        (before + 1..=before + BOUND).contains(&after),
        "{} packets arrived for one request",
        after - before
    );
    let own = reference.count(GET)?;
    ensure!(
        own <= BOUND,
        "the reference received its own request {own} times"
    );
    thread::sleep(Duration::from_secs(1));
    let later = packets()?;
    ensure!(
        later <= after + 4,
        "the search continues: {} more packets",
        later - after
    );
    Ok(())
}
