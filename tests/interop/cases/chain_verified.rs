//! Full verification of our chain by a reference node, which adopts it with all contents that a
//! reference can follow; for the other contents, the call of the reference that fails.
//!
//! Its verifier loses trie nodes between two puts and requests them from the network. Our nodes do
//! not have them, because they are not part of any finished trie. [`Replay`] finds them by
//! repeating our blocks with the reference's own classes, and stores them at our node to serve
//! them. That takes some time, so the reference must receive a block with transactions only after
//! its nodes are available.

use crate::chain::{
    ALICE, BOB, REFERENCE_VERIFIER, Replay, VALIDATOR, account, address, key, unix_seconds,
    validator, validator_for_references, validator_with_their_genesis,
};
use crate::environment::Environment;
use crate::ours::Ours;
use crate::reference::{Reference, Start};
use crate::suite::{Outcome, ensure, ensure_eq, wait_within};
use astreum_core::atom::bytes_list;
use astreum_core::chain::{Address, BURN, TREASURY};
use core::time::Duration;
use serde_json::{Value, json};

/// Its verifier walks down the whole chain twice, in Python.
const TIMEOUT: Duration = Duration::from_secs(90);
/// Account that does not exist before it receives something.
const NEW: [u8; 32] = [0x55; 32];
/// Time for which Bob may withdraw from his channel, in seconds.
const WINDOW_SECONDS: u64 = 3_600;

fn verifier(environment: &Environment, ours: &Ours) -> Result<Reference, String> {
    let config: Value =
        serde_json::from_str(REFERENCE_VERIFIER).map_err(|error| error.to_string())?;
    let mut reference = Reference::start(
        environment,
        &Start {
            seeds: &[ours.address()],
            config: Some(config),
            ..Start::default()
        },
    )?;
    reference.wait_for_peer(&ours.key)?;
    Ok(reference)
}

/// Waits until its verifier has adopted a block of at least this height as its head, and returns
/// the head.
fn adopted(reference: &mut Reference, height: u64) -> Result<String, String> {
    let adopted = wait_within(
        TIMEOUT,
        "the verifier of the reference adopts our chain",
        || {
            let status = reference.ask("status")?;
            let Some(head) = status["head"].as_str() else {
                return Ok(None);
            };
            let block = reference.call("block", json!({"block": head}))?;
            let at = block["height"].as_str().and_then(|at| at.parse().ok());
            Ok(at.filter(|at: &u64| *at >= height).map(|_| head.to_owned()))
        },
    );
    adopted.map_err(|error| match reference.ask("forks") {
        Ok(forks) => format!("{error}; its forks: {forks}"),
        Err(other) => format!("{error}; {other}"),
    })
}

/// Sends every kind of transaction that a reference can verify, and returns their ids with the
/// expected results.
fn everything(ours: &Ours) -> Result<Vec<(String, &'static str)>, String> {
    let mut sent = Vec::new();
    let now = unix_seconds()?;
    let (open, over) = (now + WINDOW_SECONDS, now - WINDOW_SECONDS);
    for (peer, window) in [(address(BOB), open), (Address::new(NEW), over)] {
        let mut update = vec![1];
        update.extend(peer.as_bytes());
        update.extend(window.to_le_bytes());
        sent.push((ours.send(ALICE, address(ALICE), 500, &update)?, "success"));
    }
    sent.push((ours.send(ALICE, Address::new(NEW), 77, b"")?, "success"));
    sent.push((ours.send(ALICE, address(BOB), 1_000, b"")?, "success"));
    sent.push((ours.send(BOB, address(BOB), 3, b"")?, "success"));
    let both = ours.send_too_much(BOB, address(ALICE))?;
    sent.extend(both.into_iter().zip(["success", "failed"]));
    sent.push((ours.send(ALICE, BURN, 9, b"")?, "success"));
    settled(ours, &sent)?;

    // Alice's signature for Bob's withdrawal of 200 from her channel.
    let (counter, amount) = (7_u64.to_le_bytes(), 200_u64.to_le_bytes());
    let mut message = vec![2];
    message.extend([0; 8]);
    for part in [address(ALICE).as_bytes(), address(BOB).as_bytes()] {
        message.extend(part);
    }
    message.extend(counter.iter().chain(&amount));
    let signature = key(ALICE).sign(&message);
    let mut withdraw = vec![2];
    withdraw.extend(address(ALICE).as_bytes());
    withdraw.extend(counter.iter().chain(&amount));
    withdraw.extend(signature.as_bytes());
    sent.push((ours.send(BOB, address(BOB), 0, &withdraw)?, "success"));

    let (list, atoms) = bytes_list(&[b"stored".as_slice(), b"by the network"]);
    ours.put(&atoms)?;
    let mut initial = vec![0];
    initial.extend(list.as_bytes());
    sent.push((ours.send(ALICE, BURN, 0, &initial)?, "success"));
    settled(ours, &sent)?;

    // From here on storage has a price.
    sent.push((ours.send(VALIDATOR, TREASURY, 5, b"")?, "success"));
    settled(ours, &sent)?;
    sent.push((ours.send(ALICE, address(BOB), 1, b"")?, "success"));
    // One window has passed, the other has not.
    for (peer, state) in [(Address::new(NEW), "success"), (address(BOB), "failed")] {
        let mut close = vec![3];
        close.extend(peer.as_bytes());
        sent.push((ours.send(ALICE, address(ALICE), 0, &close)?, state));
    }
    settled(ours, &sent)?;
    Ok(sent)
}

/// Waits until all of these are in blocks with the expected results, and returns the height of the
/// last one.
fn settled(ours: &Ours, sent: &[(String, &str)]) -> Result<u64, String> {
    let mut last = 0;
    for (number, (id, state)) in sent.iter().enumerate() {
        let settled = ours.settled(id)?;
        ensure_eq!(
            settled.state.to_string(),
            *state,
            "result of transaction {number}"
        );
        let height = settled.height.and_then(|at| at.0.to_u64());
        last = last.max(height.unwrap_or(0));
    }
    Ok(last)
}

pub(crate) fn reference_verifier_adopts_all_blocks_that_it_can_check(
    environment: &Environment,
) -> Outcome {
    let ours = validator_for_references(environment, &[])?;
    let sent = everything(&ours)?;
    let last = settled(&ours, &sent)?;
    let mut replay = Replay::start(environment, &ours)?;
    replay.up_to(&ours, last)?;

    let mut reference = verifier(environment, &ours)?;
    reference.ask("verify")?;
    let head = adopted(&mut reference, last + 1)?;
    let forks = reference.ask("forks")?;
    for (head, fork) in forks.as_object().ok_or("no forks")? {
        ensure!(
            fork["bad"].is_null(),
            "the reference considers {head} invalid: {fork}"
        );
    }
    compare(&ours, &mut reference, &head, &sent)?;

    // A transaction while it follows. The reference must not read it before the nodes are
    // available.
    reference.pause()?;
    let id = ours.send(ALICE, Address::new(NEW), 23, b"")?;
    let height = settled(&ours, &[(id, "success")])?;
    replay.up_to(&ours, height)?;
    reference.resume()?;
    let head = adopted(&mut reference, height)?;
    let new = json!({"address": Address::new(NEW).to_string(), "block": head});
    let new = reference.call("account", new)?;
    ensure_eq!(new["balance"], json!("100"), "balance of the new account");
    Ok(())
}

/// Compares the chain that the reference adopted with the sent transactions and our own answers.
fn compare(ours: &Ours, reference: &mut Reference, head: &str, sent: &[(String, &str)]) -> Outcome {
    for (number, (id, state)) in sent.iter().enumerate() {
        let block = ours.settled(id)?.block.map(|id| id.to_string());
        let receipts = reference.call("receipts", json!({"block": block}))?;
        let receipts = receipts.as_array().ok_or("no receipts")?;
        let of = |receipt: &&Value| receipt["of"] == json!(id);
        let status = receipts.iter().find(of).map(|receipt| &receipt["status"]);
        let expected = json!(u8::from(*state == "failed"));
        ensure_eq!(
            status,
            Some(&expected),
            "the receipt of transaction {number}"
        );
    }
    // No more transactions are sent, so a difference between the heads does not matter.
    for account in [
        account(ALICE),
        account(BOB),
        account(VALIDATOR),
        Address::new(NEW).to_string(),
        BURN.to_string(),
        TREASURY.to_string(),
    ] {
        let read = reference.call("account", json!({"address": account, "block": head}))?;
        ensure_eq!(
            read["balance"],
            json!(ours.balance(&account)?),
            "balance of {account}"
        );
    }
    let stake = reference.call(
        "stake",
        json!({"address": account(VALIDATOR), "block": head}),
    )?;
    ensure_eq!(stake, json!(6), "the validator's stake");
    Ok(())
}

/// Its trie loses the parent of a node that it splits. Without a harness that serves the nodes
/// between two puts, its verifier condemns an honest block.
pub(crate) fn reference_verifier_rejects_an_honest_block_without_the_lost_trie_nodes(
    environment: &Environment,
) -> Outcome {
    let ours = validator_for_references(environment, &[])?;
    let mut sent = Vec::new();
    // The ids decide which nodes are lost; with this many transactions some always are.
    for number in 0..12 {
        let to = Address::new([0x60 + number; 32]);
        sent.push((ours.send(ALICE, to, 1, b"")?, "success"));
    }
    let last = settled(&ours, &sent)?;
    let mut replay = Replay::start(environment, &ours)?;
    replay.verify_only(&ours, last)?;
    drop(replay);
    let mut reference = verifier(environment, &ours)?;
    for height in 1..=last {
        let block = ours.block(&height.to_string())?;
        let at = json!({"block": block.id.to_string()});
        let head = reference.call("verify_head", at.clone())?;
        ensure_eq!(
            head["verified"],
            json!(true),
            "verdict of the reference on header {height}"
        );
        let verdict = reference.call("verify_body", at)?;
        if verdict != json!(true) {
            return Ok(());
        }
    }
    Err("the reference has verified every block, so its trie no longer loses nodes".to_owned())
}

/// It does not know the reward: a block of ours that claims it passes its header check and fails in
/// the body check.
pub(crate) fn reference_verifier_rejects_a_block_that_claims_the_reward(
    environment: &Environment,
) -> Outcome {
    let ours = validator(environment, &[])?;
    let id = ours.send(ALICE, address(BOB), 1, b"")?;
    let height = settled(&ours, &[(id, "success")])?;
    let mut reference = verifier(environment, &ours)?;
    let block = ours.block(&height.to_string())?;
    let at = json!({"block": block.id.to_string()});
    let head = reference.call("verify_head", at.clone())?;
    ensure_eq!(
        head["verified"],
        json!(true),
        "verdict of the reference on the header"
    );
    let verdict = reference.call("verify_body", at)?;
    ensure_eq!(
        verdict,
        json!(false),
        "verdict of the reference on the body"
    );
    Ok(())
}

/// It cannot put into an empty trie: the first channel of an account fails in its body check, that
/// of an account with one does not.
pub(crate) fn reference_verifier_cannot_open_the_first_channel_of_an_account(
    environment: &Environment,
) -> Outcome {
    // With `reference-followers` the second update would be refused at once.
    let ours = validator_with_their_genesis(environment, &[("claim-reward=false", "")])?;
    let mut reference = verifier(environment, &ours)?;
    for (key, expected) in [(ALICE, true), (BOB, false)] {
        let mut update = vec![1];
        update.extend(address(VALIDATOR).as_bytes());
        let id = ours.send(key, address(key), 5, &update)?;
        let height = settled(&ours, &[(id, "success")])?;
        let block = ours.block(&height.to_string())?;
        let at = json!({"block": block.id.to_string()});
        let head = reference.call("verify_head", at.clone())?;
        ensure_eq!(
            head["verified"],
            json!(true),
            "verdict of the reference on the header"
        );
        if expected {
            Replay::start(environment, &ours)?.up_to(&ours, height)?;
        }
        let verdict = reference.call("verify_body", at)?;
        ensure_eq!(
            verdict,
            json!(expected),
            "verdict of the reference on block {height}"
        );
    }
    Ok(())
}
