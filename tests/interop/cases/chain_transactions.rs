//! Transactions from a reference node to our validator.

use crate::chain::{ALICE, BOB, FUNDS, account, follower, validator};
use crate::environment::Environment;
use crate::suite::{Outcome, ensure_eq, wait_for};
use astreum_node::rpc::{TransactionStanding, hex};
use serde_json::json;

pub(crate) fn transaction_of_the_reference_is_included_in_our_block(
    environment: &Environment,
) -> Outcome {
    let ours = validator(environment, &[])?;
    let mut reference = follower(environment, &ours)?;
    ours.wait_for_peer(&reference.key)?;
    let posted = json!({
        "secret": hex(&[ALICE; 32]), "recipient": account(BOB), "amount": 4_321, "counter": 1,
        "data": hex(b"from Python"), "key": ours.key,
    });
    let id = reference.call("post_transaction", posted)?;
    let id = id.as_str().ok_or("no id")?;
    let settled = ours.settled(id)?;
    ensure_eq!(
        settled.state,
        TransactionStanding::Success,
        "transaction state according to our node"
    );
    let block = settled.block.ok_or("no block")?.to_string();
    // The reference finds the transaction there, with its effects.
    wait_for("the reference adopts the block or one after it", || {
        let head = reference.ask("status")?["head"].clone();
        let theirs = reference.call("block", json!({"block": head}))?;
        let height = theirs["height"].as_str().and_then(|at| at.parse().ok());
        let own = settled.height.as_ref().and_then(|at| at.0.to_u64());
        Ok((height >= own).then_some(()))
    })?;
    let receipts = reference.call("receipts", json!({"block": block}))?;
    let expected = json!([{"transaction": id, "of": id, "status": 0, "cost": 1}]);
    ensure_eq!(receipts, expected, "receipts according to the reference");
    for (key, balance) in [(ALICE, FUNDS - 4_324), (BOB, FUNDS + 4_321)] {
        let read = reference.call("account", json!({"address": account(key)}))?;
        ensure_eq!(
            read["balance"],
            json!(balance.to_string()),
            "balance of {key:x} according to the reference"
        );
    }
    Ok(())
}

/// Its own `send_transaction` requires the block of its head in memory, which every ping unloads and
/// only its verification thread loads; with the block it requires validators, which only a validator
/// stores.
pub(crate) fn send_function_of_the_reference_fails(environment: &Environment) -> Outcome {
    let ours = validator(environment, &[])?;
    let mut reference = follower(environment, &ours)?;
    wait_for("the reference has a head", || {
        Ok(reference.ask("status")?["head"].as_str().map(str::to_owned))
    })?;
    let send = json!({"secret": hex(&[ALICE; 32]), "recipient": account(BOB), "amount": 1});
    // The ping and the verification thread race, so either reason may be the first one; the next
    // ping unloads the block again, so it may take more than one attempt.
    wait_for("send of the reference fails without validators", || {
        let reply = reference.try_call("send_transaction", send.clone())?;
        let error = reply["error"].as_str().unwrap_or_default();
        match error {
            "RuntimeError: latest block unavailable" => {
                reference.ask("load_head")?;
                Ok(None)
            }
            "RuntimeError: no validator available" => Ok(Some(())),
            _ => Err(format!("unexpected reply {reply}")),
        }
    })?;
    ensure_eq!(
        ours.balance(&account(BOB))?,
        FUNDS.to_string(),
        "balance of Bob"
    );
    Ok(())
}
