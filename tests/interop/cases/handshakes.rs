//! First contact, pings, and changes of keys and addresses.

use crate::environment::Environment;
use crate::ours::Ours;
use crate::reference::{Reference, Start};
use crate::suite::{Outcome, ensure, ensure_eq, wait_for};
use core::time::Duration;
use serde_json::json;
use std::thread;

const SECRET: &str = "3131313131313131313131313131313131313131313131313131313131313131";
const OTHER_SECRET: &str = "3232323232323232323232323232323232323232323232323232323232323232";
const HEAD: &str = "7777777777777777777777777777777777777777777777777777777777777777";

pub(crate) fn we_connect(environment: &Environment) -> Outcome {
    let mut reference = Reference::fresh(environment)?;
    let ours = Ours::with_seeds(environment, &[reference.address()])?;
    let peer = reference.wait_for_peer(&ours.key)?;
    ensure_eq!(
        peer["address"],
        json!(ours.address()),
        "our address at the reference"
    );
    let route = &reference.ask("status")?["route"];
    ensure_eq!(*route, json!([ours.key]), "the reference's route");
    let seen = ours.wait_for_peer(&reference.key)?;
    ensure_eq!(
        seen.address.to_string(),
        reference.address(),
        "address of the reference at our node"
    );
    Ok(())
}

pub(crate) fn reference_connects(environment: &Environment) -> Outcome {
    let ours = Ours::fresh(environment)?;
    let start = Start {
        seeds: &[ours.address()],
        ..Start::default()
    };
    let mut reference = Reference::start(environment, &start)?;
    let peer = reference.wait_for_peer(&ours.key)?;
    ensure_eq!(
        peer["address"],
        json!(ours.address()),
        "our address at the reference"
    );
    let seen = ours.wait_for_peer(&reference.key)?;
    ensure_eq!(
        seen.address.to_string(),
        reference.address(),
        "address of the reference at our node"
    );
    let proven = wait_for("our node validates the address of the reference", || {
        let peer = ours.wait_for_peer(&reference.key)?;
        Ok(peer.is_validated.then_some(peer))
    })?;
    ensure_eq!(proven.difficulty, 1, "the reference's difficulty");
    Ok(())
}

pub(crate) fn ping_carries_its_fields(environment: &Environment) -> Outcome {
    let start = Start {
        // With a validation key the reference stores the route of validators.
        config: Some(json!({"validation_secret_key": OTHER_SECRET})),
        ..Start::default()
    };
    let mut reference = Reference::start(environment, &start)?;
    let ours = Ours::start(
        environment,
        &[
            ("additional-seeds", &reference.address()),
            ("latest-block-hash", HEAD),
        ],
    )?;
    let peer = wait_for("the reference reads our ping", || {
        let peer = reference.wait_for_peer(&ours.key)?;
        Ok(peer["head"].is_string().then_some(peer))
    })?;
    ensure_eq!(peer["head"], json!(HEAD), "the head in our ping");
    ensure_eq!(peer["difficulty"], json!(1), "the difficulty in our ping");
    // Our node announces that it validates only if it does.
    let validators = &reference.ask("status")?["validators"];
    ensure_eq!(
        *validators,
        json!([]),
        "the validators that the reference knows"
    );
    Ok(())
}

pub(crate) fn ping_of_the_reference_is_read(environment: &Environment) -> Outcome {
    let mut reference = Reference::fresh(environment)?;
    let ours = Ours::with_seeds(environment, &[reference.address()])?;
    reference.wait_for_peer(&ours.key)?;
    let ping = json!({"key": ours.key, "validator": true, "difficulty": 5, "head": HEAD});
    reference.call("ping", ping)?;
    let peer = wait_for("we read the reference's ping", || {
        let peer = ours.wait_for_peer(&reference.key)?;
        Ok((peer.difficulty == 5).then_some(peer))
    })?;
    ensure_eq!(
        peer.latest_block.map(|id| id.to_string()),
        Some(HEAD.to_owned()),
        "the head in its ping"
    );
    ensure!(peer.is_validator, "the reference claims to be a validator");
    // Our messages must carry the work that it demands, or they would not arrive.
    let id = reference.call("put", json!({"data": "6162"}))?;
    let id = id.as_str().ok_or("no id")?;
    ensure!(
        ours.get(id)?.is_some(),
        "our node fetches an atom of the reference"
    );
    Ok(())
}

pub(crate) fn reference_restarts_with_its_key(environment: &Environment) -> Outcome {
    let ours = Ours::fresh(environment)?;
    let seeds = [ours.address()];
    let mut start = Start {
        seeds: &seeds,
        secret: Some(SECRET),
        ..Start::default()
    };
    let mut first = Reference::start(environment, &start)?;
    first.wait_for_peer(&ours.key)?;
    ours.wait_for_peer(&first.key)?;
    start.port = first.port;
    drop(first);
    // A reference node would send it only a ping, so that it would register no peer.
    let mut again = Reference::start(environment, &start)?;
    again.wait_for_peer(&ours.key)?;
    let id = again.call("put", json!({"data": "00"}))?;
    let id = id.as_str().ok_or("no id")?;
    ensure!(
        ours.get(id)?.is_some(),
        "our node fetches an atom of the restarted reference"
    );
    Ok(())
}

pub(crate) fn another_key_takes_over_an_address(environment: &Environment) -> Outcome {
    let ours = Ours::fresh(environment)?;
    let seeds = [ours.address()];
    let mut start = Start {
        seeds: &seeds,
        secret: Some(SECRET),
        ..Start::default()
    };
    let mut first = Reference::start(environment, &start)?;
    first.wait_for_peer(&ours.key)?;
    let old = first.key.clone();
    ours.wait_for_peer(&old)?;
    start.port = first.port;
    start.secret = Some(OTHER_SECRET);
    drop(first);
    let mut second = Reference::start(environment, &start)?;
    second.wait_for_peer(&ours.key)?;
    ours.wait_for_peer(&second.key)?;
    wait_for("our node removes the old key", || {
        let peers = ours.peers()?;
        Ok((!peers.iter().any(|peer| peer.public_key.to_string() == old)).then_some(()))
    })?;
    let id = ours
        .put(&[astreum_core::atom::Atom::bytes(*b"still here")])?
        .remove(0);
    let got = second.call("get", json!({"id": id}))?;
    ensure!(!got["atom"].is_null(), "the new key fetches our atom");
    Ok(())
}

pub(crate) fn we_restart_with_another_key(environment: &Environment) -> Outcome {
    let mut reference = Reference::fresh(environment)?;
    let seed = reference.address();
    let ours = Ours::with_seeds(environment, core::slice::from_ref(&seed))?;
    reference.wait_for_peer(&ours.key)?;
    let port = ours.port.to_string();
    drop(ours);
    let flags = [("additional-seeds", &*seed), ("incoming-port", &*port)];
    let again = Ours::start(environment, &flags)?;
    let peer = reference.wait_for_peer(&again.key)?;
    ensure_eq!(
        peer["address"],
        json!(again.address()),
        "address of the new key at the reference"
    );
    let id = reference.call("put", json!({"data": "01"}))?;
    ensure!(
        again.get(id.as_str().ok_or("no id")?)?.is_some(),
        "the new key fetches an atom"
    );
    Ok(())
}

/// A reference pings only if it has a reason to, so a node that evicts silent peers would lose all
/// of them.
pub(crate) fn idle_reference_stays_past_its_timeout(environment: &Environment) -> Outcome {
    let mut reference = Reference::fresh(environment)?;
    let flags = [
        ("additional-seeds", &*reference.address()),
        ("peer-timeout", "2"),
        ("peer-timeout-interval", "1"),
    ];
    let ours = Ours::start(environment, &flags)?;
    reference.wait_for_peer(&ours.key)?;
    ours.wait_for_peer(&reference.key)?;
    for _ in 0..12 {
        thread::sleep(Duration::from_millis(500));
        let peers = ours.peers()?;
        ensure!(
            peers
                .iter()
                .any(|peer| peer.public_key.to_string() == reference.key),
            "the idle reference left our table"
        );
    }
    let peer = reference.wait_for_peer(&ours.key)?;
    ensure_eq!(
        peer["address"],
        json!(ours.address()),
        "our address at the reference after the pause"
    );
    // A peer that has ended is evicted.
    let key = reference.key.clone();
    drop(reference);
    wait_for("the dead reference leaves our table", || {
        let peers = ours.peers()?;
        Ok((!peers.iter().any(|peer| peer.public_key.to_string() == key)).then_some(()))
    })
}
