//! Reference node that follows our validator as its default seed, and reads our chain over the
//! network: blocks, accounts, receipts. Each of its results is compared with our own answer.

use crate::chain::{ALICE, BOB, FUNDS, VALIDATOR, account, address, follower, validator};
use crate::environment::Environment;
use crate::ours::Ours;
use crate::reference::Reference;
use crate::suite::{Outcome, ensure, ensure_eq, wait_for};
use astreum_core::chain::{Address, BURN};
use astreum_node::rpc::hex;
use serde_json::{Value, json};

/// Number of blocks that are compared one by one.
const BLOCKS: u64 = 6;
/// Account that does not exist before it receives something.
const NEW: [u8; 32] = [0x55; 32];

/// Waits until the reference's head is a block of ours of at least this height, and returns its id.
fn adopted(reference: &mut Reference, height: u64) -> Result<String, String> {
    wait_for("the reference adopts our head", || {
        let status = reference.ask("status")?;
        let Some(head) = status["head"].as_str() else {
            return Ok(None);
        };
        let block = reference.call("block", json!({"block": head}))?;
        let reached = text(&block["height"])
            .parse()
            .is_ok_and(|at: u64| at >= height);
        Ok(reached.then(|| head.to_owned()))
    })
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

pub(crate) fn reference_adopts_our_heads_and_accepts_our_headers(
    environment: &Environment,
) -> Outcome {
    // Started like any new chain: the validator makes its own genesis.
    let secret = hex(&[VALIDATOR; 32]);
    let ours = Ours::start(environment, &[("validation-secret-key", &secret)])?;
    let mut reference = follower(environment, &ours)?;
    let mut seen = Vec::new();
    for height in 1..=BLOCKS {
        seen.push(adopted(&mut reference, height)?);
    }
    seen.dedup();
    ensure!(seen.len() > 2, "it has adopted {} heads", seen.len());
    // From the head down to the genesis, each block as both nodes report it.
    let mut next = seen.pop().ok_or("no head")?;
    let mut heights = Vec::new();
    loop {
        let theirs = reference.call("block", json!({"block": next}))?;
        let block = ours.block(&next)?;
        for (name, value) in [
            ("chain_id", block.chain_id.to_string()),
            ("height", block.height.to_string()),
            ("previous_block_hash", block.previous.to_string()),
            ("timestamp", block.timestamp.to_string()),
            ("difficulty", block.difficulty.to_string()),
            ("cumulative_stake", block.cumulative_stake.to_string()),
            ("cumulative_burn", block.cumulative_burn.to_string()),
            ("cumulative_mint", block.cumulative_mint.to_string()),
            (
                "cumulative_total_fees",
                block.cumulative_total_fees.to_string(),
            ),
            ("total_fees", block.total_fees.to_string()),
            ("accounts_hash", block.accounts.to_string()),
            ("transactions_hash", block.transactions.to_string()),
            ("receipts_hash", block.receipts.to_string()),
            ("validator_public_key_bytes", block.validator.to_string()),
            ("nonce", block.nonce.to_string()),
            ("signature", block.signature.to_string()),
        ] {
            ensure_eq!(
                text(&theirs[name]),
                value,
                "{name} of block {}",
                block.height
            );
        }
        let verdict = reference.call("verify_head", json!({"block": next}))?;
        ensure_eq!(
            verdict["verified"],
            json!(true),
            "verify_block_head of the reference for block {}",
            block.height
        );
        heights.push(block.height.clone());
        if block.height.0.is_zero() {
            break;
        }
        let time = block.timestamp.0.to_u64().ok_or("no time")?;
        let scheduled = reference.call(
            "validator_for",
            json!({"block": block.previous.to_string(), "time": time}),
        )?;
        ensure_eq!(
            text(&scheduled),
            block.validator.to_string(),
            "validator that it schedules for block {}",
            block.height
        );
        next = block.previous.to_string();
    }
    ensure!(
        heights.len() as u64 > BLOCKS,
        "it has verified blocks {heights:?}"
    );
    Ok(())
}

pub(crate) fn reference_reads_our_accounts_and_receipts(environment: &Environment) -> Outcome {
    let ours = validator(environment, &[])?;
    let mut reference = follower(environment, &ours)?;
    let new = Address::new(NEW);
    let [paid, failed] = ours.send_too_much(BOB, address(ALICE))?;
    let sent = [
        ours.send(ALICE, address(BOB), 1_000, b"")?,
        ours.send(ALICE, new, 77, b"to a new account")?,
        ours.send(ALICE, BURN, 9, b"")?,
        paid,
        failed,
    ];
    let states = ["success", "success", "success", "success", "failed"];
    let mut last = 0;
    for (id, state) in sent.iter().zip(states) {
        let settled = ours.settled(id)?;
        ensure_eq!(
            settled.state.to_string(),
            state,
            "result of transaction {id}"
        );
        let height = settled.height.ok_or("no height")?.to_string();
        let block = settled.block.ok_or("no block")?.to_string();
        let receipts = reference.call("receipts", json!({"block": block}))?;
        let receipts = receipts.as_array().ok_or("no receipts")?;
        let own: Vec<&Value> = receipts
            .iter()
            .filter(|receipt| receipt["transaction"] == json!(id))
            .collect();
        let status = u8::from(state == "failed");
        let expected = json!({"transaction": id, "of": id, "status": status, "cost": 1});
        ensure_eq!(
            own,
            [&expected],
            "receipt in block {height} according to the reference"
        );
        last = last.max(height.parse::<u64>().map_err(|error| error.to_string())?);
    }
    let head = adopted(&mut reference, last)?;
    let new = new.to_string();
    for (account, balance) in [
        (account(ALICE), FUNDS - 1_086 - 3 * 3 + FUNDS / 10 * 6),
        (account(BOB), FUNDS + 1_000 - FUNDS / 10 * 6 - 2 * 3),
        (new, 77),
        (BURN.to_string(), 9 + 5 * 2),
    ] {
        let read = reference.call("account", json!({"address": account, "block": head}))?;
        ensure_eq!(
            text(&read["balance"]),
            balance.to_string(),
            "balance of {account} according to the reference"
        );
        ensure_eq!(
            ours.balance(&account)?,
            balance.to_string(),
            "balance of {account} according to our node"
        );
    }
    let unknown = reference.call("account", json!({"address": "66".repeat(32)}))?;
    ensure!(unknown.is_null(), "unknown account exists: {unknown}");
    Ok(())
}
