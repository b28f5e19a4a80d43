//! Our node as a follower of reference nodes' chains: trusted, with a reference validator as its
//! default seed, and fully verified, where a chain obeys the rules. A reference validator's own
//! chain does not even obey the reference's rules.

use crate::chain::made_by_the_reference;
use crate::environment::Environment;
use crate::ours::Ours;
use crate::reference::Reference;
use crate::suite::{Outcome, ensure, ensure_eq, wait_for};
use astreum_core::chain::TREASURY;
use astreum_core::consensus::HeadState;
use astreum_core::integer::Natural;
use astreum_node::rpc::{ChainReply, Hex, hex};
use serde_json::json;

/// Validation secret of the reference.
const SECRET: [u8; 32] = [0x71; 32];

/// Waits until the head has at least this height, and returns the chain status at that time.
fn followed(ours: &Ours, height: u64) -> Result<ChainReply, String> {
    let followed = wait_for("our node follows the chain", || {
        let chain = ours.status()?.chain;
        Ok(Some(chain).filter(|chain| chain.height >= Some(height)))
    });
    followed.map_err(|error| {
        let (status, peers) = (ours.status(), ours.peers());
        format!("{error}; {status:?}; {peers:?}; output:\n{}", ours.output())
    })
}

fn validating_reference(environment: &Environment) -> Result<(Reference, String), String> {
    let mut reference = Reference::fresh(environment)?;
    let key = reference.call("validate", json!({"secret": hex(&SECRET)}))?;
    let key = key.as_str().ok_or("no key")?.to_owned();
    Ok((reference, key))
}

pub(crate) fn reference_validator_is_followed_as_trusted_and_reported(
    environment: &Environment,
) -> Outcome {
    let (mut reference, validator) = validating_reference(environment)?;
    let ours = Ours::start(environment, &[("default-seed", &reference.address())])?;
    for height in [2, 4] {
        let chain = followed(&ours, height)?;
        ensure_eq!(chain.state, Some(HeadState::Trusted), "state of the head");
        ensure_eq!(chain.root, None, "block from which it was verified");
        ensure!(
            chain.bad_blocks.is_empty(),
            "bad blocks: {:?}",
            chain.bad_blocks
        );
    }
    // Our reports of its blocks and accounts equal its own.
    let (account, treasury) = (
        ours.account(&validator)?,
        ours.account(&TREASURY.to_string())?,
    );
    ensure_eq!(treasury.balance, Natural::ONE, "balance of the treasury");
    let at = json!({"address": validator, "block": account.head.id.to_string()});
    let theirs = reference.call("account", at)?;
    ensure_eq!(
        json!(account.balance.to_string()),
        theirs["balance"],
        "balance of the validator at block {}",
        account.head.height
    );
    ensure_eq!(
        account.head.state,
        HeadState::Trusted,
        "the state of that block"
    );
    ensure!(
        !account.balance.is_zero(),
        "the validator has claimed rewards"
    );
    let block = ours.block(&account.head.id.to_string())?;
    let theirs = reference.call("block", json!({"block": block.id.to_string()}))?;
    for (name, value) in [
        ("height", block.height.to_string()),
        ("previous_block_hash", block.previous.to_string()),
        ("timestamp", block.timestamp.to_string()),
        ("difficulty", block.difficulty.to_string()),
        ("accounts_hash", block.accounts.to_string()),
        ("validator_public_key_bytes", block.validator.to_string()),
        ("nonce", block.nonce.to_string()),
    ] {
        ensure_eq!(theirs[name], json!(value), "{name} of a block");
    }
    ensure_eq!(
        block.validator.to_string(),
        validator,
        "producer of the block"
    );
    ensure_eq!(block.signature, Hex::default(), "its signature");
    // The printed status reports it as well.
    let status = ours.command(environment, &["status"])?;
    ensure!(
        status.contains("(trusted, not verified)"),
        "unexpected status: {status}"
    );
    let shown = ours.command(environment, &["account", "show", &validator])?;
    ensure!(
        shown.contains(", trusted), "),
        "unexpected output of account show: {shown}"
    );
    let shown = ours.command(environment, &["block", "show", &block.id.to_string()])?;
    ensure!(
        shown.contains(&validator),
        "unexpected output of block show: {shown}"
    );
    Ok(())
}

/// A reference validator neither signs its blocks nor publishes the reward: its own verifier
/// rejects them, and so does ours.
pub(crate) fn chain_of_a_reference_validator_cannot_be_verified(
    environment: &Environment,
) -> Outcome {
    let (mut reference, _) = validating_reference(environment)?;
    wait_for("the reference produces blocks", || {
        let head = reference.call("block", json!({}))?;
        Ok(head["height"].as_str().filter(|at| *at > "1").map(drop))
    })?;
    let ours = Ours::with_seeds(environment, &[reference.address()])?;
    let bad = wait_for("our node detects an invalid block", || {
        Ok(ours.status()?.chain.bad_blocks.into_iter().next())
    })?;
    ensure!(
        bad.reason.contains("signature"),
        "the block is invalid: {bad:?}"
    );
    let chain = ours.status()?.chain;
    ensure_eq!(chain.head, None, "our head");
    let verdict = reference.call("verify_head", json!({"block": bad.id.to_string()}))?;
    ensure_eq!(
        verdict["verified"],
        json!(false),
        "verdict of the reference on its own header"
    );
    let block = reference.call("block", json!({"block": bad.id.to_string()}))?;
    ensure_eq!(block["signature"], json!(""), "its signature");
    let verdict = reference.call("verify_body", json!({"block": bad.id.to_string()}))?;
    ensure_eq!(
        verdict,
        json!(false),
        "verdict of the reference on its own body"
    );
    Ok(())
}

/// Verifies a chain that is signed and obeys the rules. It is made with the reference's classes and
/// served by an unmodified reference node that is not trusted.
pub(crate) fn chain_that_a_reference_serves_is_verified(environment: &Environment) -> Outcome {
    let arguments = ["build", "--blocks", "8", "--transactions", "2"];
    let made = made_by_the_reference(environment, &arguments)?;
    let mut reference = Reference::fresh(environment)?;
    let atoms = made["atoms"].as_array().ok_or("no atoms")?;
    for some in atoms.chunks(500) {
        reference.call("put_stored", json!({"atoms": some}))?;
    }
    let block = |height: usize| made["blocks"][height]["id"].clone();
    reference.call("set_head", json!({"block": block(5)}))?;
    let seeds = reference.address();
    let flags = [
        ("additional-seeds", seeds.as_str()),
        // The machine may be slow, and the chain does not grow while it is read.
        ("verification-max-stale-seconds", "60"),
        ("verify-blockchain-interval", "1"),
    ];
    let ours = Ours::start(environment, &flags)?;
    for height in [5, 8] {
        reference.call("set_head", json!({"block": block(height)}))?;
        ours.wait_for_peer(&reference.key)?;
        reference.wait_for_peer(&ours.key)?;
        let ping = json!({"key": ours.key, "head": block(height)});
        reference.call("ping", ping)?;
        let chain = followed(&ours, u64::try_from(height).unwrap_or(0))?;
        let head = chain.head.map(|id| id.to_string());
        let root = chain.root.map(|id| id.to_string());
        ensure_eq!(json!(head), block(height), "the head");
        ensure_eq!(chain.state, Some(HeadState::Verified), "its state");
        ensure_eq!(json!(root), block(0), "block from which it was verified");
        for role in ["sender", "recipient"] {
            let key = made[role].as_str().unwrap_or_default();
            let account = ours.account(key)?;
            ensure_eq!(
                account.head.state,
                HeadState::Verified,
                "the state of the head"
            );
            let at = json!({"address": key, "block": account.head.id.to_string()});
            let theirs = reference.call("account", at)?;
            ensure_eq!(
                json!(account.balance.to_string()),
                theirs["balance"],
                "balance of the {role} at block {height}"
            );
        }
    }
    // Two transfers of 1 in each of eight blocks, in addition to 5.
    let recipient = made["recipient"].as_str().unwrap_or_default();
    ensure_eq!(ours.balance(recipient)?, "21", "balance of the recipient");
    Ok(())
}
