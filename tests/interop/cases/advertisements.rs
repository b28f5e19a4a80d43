//! Advertisements: their recipients and their lifetime.

use crate::environment::Environment;
use crate::ours::Ours;
use crate::reference::{Reference, Start, nearer_to};
use crate::suite::{Outcome, ensure, ensure_eq, wait_for};
use core::time::Duration;
use serde_json::json;
use std::thread;

const PUT: &str = "Handling OBJECT_PUT";

pub(crate) fn our_advertisement_is_repeated_until_it_expires(environment: &Environment) -> Outcome {
    let mut reference = Reference::fresh(environment)?;
    let flags = [
        ("additional-seeds", &*reference.address()),
        ("storage-index-interval", "1"),
    ];
    let ours = Ours::start(environment, &flags)?;
    ours.wait_for_peer(&reference.key)?;
    reference.wait_for_peer(&ours.key)?;
    let atom = nearer_to(&reference.key, &ours.key)?;
    let id = ours.put(&[atom])?.remove(0);
    ours.advertise(&id, false, Some(3))?;
    let provider = wait_for("the reference indexes us as the provider", || {
        Ok(reference.ask("providers")?.get(&id).cloned())
    })?;
    let expected = json!({"key": ours.key, "address": ours.address()});
    ensure_eq!(provider, expected, "provider in the index of the reference");
    thread::sleep(Duration::from_secs(4));
    let repeated = reference.count(PUT)?;
    ensure!(
        (2..=5).contains(&repeated),
        "{repeated} advertisements in 3 s, expected one per second"
    );
    thread::sleep(Duration::from_millis(2_500));
    ensure_eq!(
        reference.count(PUT)?,
        repeated,
        "advertisements after the expiry"
    );
    ensure_eq!(
        ours.status()?.advertisements,
        0,
        "our remaining advertisements"
    );
    Ok(())
}

pub(crate) fn advertisement_of_the_reference_is_indexed(environment: &Environment) -> Outcome {
    let ours = Ours::fresh(environment)?;
    let start = Start {
        seeds: &[ours.address()],
        ..Start::default()
    };
    let mut reference = Reference::start(environment, &start)?;
    reference.wait_for_peer(&ours.key)?;
    let atom = nearer_to(&ours.key, &reference.key)?;
    let id = reference.put(&atom)?;
    reference.call("advertise", json!({"id": id}))?;
    let providers = wait_for("we index the reference as the provider", || {
        let providers = ours.providers(&id)?;
        Ok((!providers.is_empty()).then_some(providers))
    })?;
    let found: Vec<(String, String)> = providers
        .iter()
        .map(|provider| {
            (
                provider.public_key.to_string(),
                provider.address.to_string(),
            )
        })
        .collect();
    ensure_eq!(
        found,
        [(reference.key.clone(), reference.address())],
        "provider in our index"
    );
    ensure!(
        providers
            .iter()
            .all(|provider| provider.expires_seconds <= 1_800),
        "a provider record expires within half an hour"
    );
    Ok(())
}
