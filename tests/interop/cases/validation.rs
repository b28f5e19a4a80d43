//! A validator of ours and a reference node that follows it.

use crate::environment::Environment;
use crate::ours::Ours;
use crate::reference::Reference;
use crate::suite::{Outcome, ensure_eq, wait_for};
use astreum_core::crypto::SigningKey;
use astreum_node::control::hex;
use serde_json::json;

/// The validator's secret; its chain starts with money for it.
const SECRET: [u8; 32] = [0x61; 32];

/// A validator that has made a block, and a reference node that it knows.
fn pair(environment: &Environment) -> Result<(Ours, Reference), String> {
    let secret = hex(&SECRET);
    let flags = [("validation-secret-key", secret.as_str())];
    let ours = Ours::start(environment, &flags)?;
    wait_for("our validator makes a block", || {
        let validator = ours.status()?.validator;
        Ok(validator.filter(|validator| validator.blocks_made > 0))
    })?;
    let mut reference = Reference::fresh(environment)?;
    reference.call("handshake", json!({"address": ours.address()}))?;
    reference.wait_for_peer(&ours.key)?;
    ours.wait_for_peer(&reference.key)?;
    Ok((ours, reference))
}

pub(crate) fn a_transaction_of_the_reference_lands_in_our_block(
    environment: &Environment,
) -> Outcome {
    let (ours, mut reference) = pair(environment)?;
    let recipient = hex(SigningKey::from_seed(&[0x62; 32])
        .verifying_key()
        .as_bytes());
    let sent = json!({
        "secret": hex(&SECRET), "recipient": recipient, "amount": 250, "key": ours.key,
    });
    let id = reference.call("transaction", sent)?;
    let id = id.as_str().ok_or("no id")?.to_owned();
    wait_for("the transfer is in a block of ours", || {
        Ok(ours.balance(&recipient)?.filter(|balance| balance == "250"))
    })?;
    // The reference reads it back, from whichever of the next blocks has it.
    let mut head = ours.status()?.latest_block.ok_or("no head")?;
    for _ in 0..20 {
        let asked = json!({"id": head, "account": recipient});
        let applied = reference.call("applied", asked)?;
        ensure_eq!(applied["balance"], json!(250), "the balance that it reads");
        if let Some(status) = applied["transactions"].get(&id) {
            ensure_eq!(status, &json!(0), "the status in the receipt");
            return Ok(());
        }
        let block = head.parse().map_err(|_| "no id")?;
        let block = astreum_core::chain::Block::read(&ours, block);
        head = block
            .map_err(|error| error.to_string())?
            .previous
            .to_string();
    }
    Err("the reference finds no receipt".to_owned())
}

pub(crate) fn the_references_check_takes_our_heads(environment: &Environment) -> Outcome {
    let (ours, mut reference) = pair(environment)?;
    let mut checked = 0;
    let mut last = String::new();
    wait_for("the reference checks three heads", || {
        let head = ours.status()?.latest_block.ok_or("no head")?;
        if head != last {
            let block = reference.call("block", json!({"id": head}))?;
            ensure_eq!(
                block["valid"],
                json!(true),
                "what the reference says of the head"
            );
            checked += 1;
            last = head;
        }
        Ok((checked >= 3).then_some(()))
    })
}
