//! Submission of a signed transaction, and its state.

use core::time::Duration;
use std::io::Write as _;
use std::time::Instant;

use astreum_core::atom::AtomId;
use astreum_core::chain::Transaction;
use serde_json::json;

use crate::rpc::{
    Client, ClientError, ConfirmationLevel, ErrorKind, MAX_WAIT_SECONDS, SendReply,
    TransactionStanding, TransactionStatusReply, hex, request,
};

use super::node_args::NodeArgs;
use super::output::{Failure, Output, complain, json_line};
use super::table::{at_head, table};
use super::wait::Wait;

/// Way in which a transaction is submitted.
pub(super) struct Submission<'a> {
    pub(super) wait: Option<Wait>,
    pub(super) dry_run: bool,
    pub(super) force: bool,
    pub(super) json: bool,
    pub(super) at: &'a NodeArgs,
}

/// Submits a transaction, and waits for it if that is wanted.
pub(super) fn submit(
    client: &Client,
    transaction: &Transaction,
    submission: &Submission<'_>,
    out: &mut Output,
) -> Result<(), Failure> {
    let Submission {
        wait: until,
        dry_run,
        force,
        json,
        at,
    } = *submission;
    let atoms = transaction.to_atoms();
    let request = request::SendTransaction {
        id: transaction.id(),
        atoms: atoms.into_iter().map(|(_, atom)| atom).collect(),
        dry_run,
        force,
    };
    let reply = client.request(&request)?;
    for warning in &reply.warnings {
        complain(&format!("warning: {warning}"));
    }
    let status = match until {
        None => None,
        Some(until) => {
            if !json {
                write!(out, "{}", sent(transaction, &reply, dry_run))?;
                out.flush()?;
            }
            Some(wait(client, reply.id, until, at, true)?)
        }
    };
    if json {
        json_line(
            out,
            &sent_json(transaction, &reply, dry_run, status.as_ref()),
        )?;
    } else {
        match &status {
            None => write!(out, "{}", sent(transaction, &reply, dry_run))?,
            Some(status) => write!(out, "{}", status_text(status))?,
        }
    }
    status.map_or(Ok(()), |status| verdict(&status, until))
}

fn sent(transaction: &Transaction, reply: &SendReply, dry_run: bool) -> String {
    let to = match dry_run {
        true => "dry run: nothing sent".to_owned(),
        false => sent_to(reply),
    };
    let costs = &reply.costs;
    let fee = format!("{}, plus at most {} for storage", costs.fee, costs.storage);
    table(&[
        ("transaction", reply.id.to_string()),
        ("sender", transaction.sender().to_string()),
        ("recipient", transaction.recipient.to_string()),
        ("amount", transaction.amount.to_string()),
        ("counter", transaction.counter.to_string()),
        ("fee", fee),
        ("sender balance", costs.balance.to_string()),
        ("sent to", to),
    ])
}

/// Returns what a transaction was sent to.
pub(super) fn sent_to(reply: &SendReply) -> String {
    match (reply.own_pool, reply.validators) {
        (true, 0) => "this node (validator)".to_owned(),
        (true, count) => format!("this node and {count} other validators"),
        (false, 1) => "1 validator".to_owned(),
        (false, count) => format!("{count} validators"),
    }
}

fn sent_json(
    transaction: &Transaction,
    reply: &SendReply,
    dry_run: bool,
    status: Option<&TransactionStatusReply>,
) -> serde_json::Value {
    json!({
        "id": reply.id.to_string(),
        "chain_id": crate::rpc::number(&transaction.chain_id.to_string()),
        "sender": transaction.sender().to_string(),
        "recipient": transaction.recipient.to_string(),
        "amount": transaction.amount.to_string(),
        "counter": transaction.counter.to_string(),
        "data": hex(&transaction.data),
        "fee": reply.costs.fee.to_string(),
        "storage": reply.costs.storage.to_string(),
        "balance": reply.costs.balance.to_string(),
        "own_pool": reply.own_pool,
        "validators": reply.validators,
        "durable": reply.durable,
        "dry_run": dry_run,
        "warnings": reply.warnings,
        "status": status,
    })
}

/// Queries the state until the transaction is in a block, rejected or expired, or the time is up;
/// the node waits, not this process. `is_connected` states whether the node has answered before.
pub(super) fn wait(
    client: &Client,
    id: AtomId,
    until: Wait,
    at: &NodeArgs,
    mut is_connected: bool,
) -> Result<TransactionStatusReply, Failure> {
    // Well below the timeout after which this process would consider the node dead.
    let max_wait = MAX_WAIT_SECONDS.min(at.timeout.get().div_ceil(2));
    let deadline =
        Instant::now() + Duration::from_secs(until.seconds.get().min(u64::from(u32::MAX)));
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // Rounded up, so that a remainder below one second does not become a query without waiting.
        let left = left.as_secs() + u64::from(left.subsec_nanos() > 0);
        let request = request::TransactionStatus {
            id,
            wait_seconds: left.min(max_wait),
            until_safe: until.until_safe,
        };
        let status = match client.request(&request) {
            Err(error) if is_lost(&error, is_connected) => {
                return Err(Failure::Failed(format!(
                    "lost the connection to the node; state unknown: {error}; `astreum tx status \
                     {id}` queries it again"
                )));
            }
            answer => answer?,
        };
        is_connected = true;
        if is_reached(&status, until) || left <= max_wait {
            return Ok(status);
        }
    }
}

/// Returns whether the wait is over.
fn is_reached(status: &TransactionStatusReply, until: Wait) -> bool {
    match status.block {
        // If the confirmation of the block is unknown, waiting does not help.
        Some(_) => !until.until_safe || status.confirmation.is_none() || status.is_safe(),
        None => status.is_final(),
    }
}

/// Returns whether the node has stopped, so that the result of the request is unknown.
/// `was_connected` states whether it has answered before.
const fn is_lost(error: &ClientError, was_connected: bool) -> bool {
    match error {
        ClientError::NotRunning { .. } | ClientError::Unreachable { .. } => was_connected,
        ClientError::Io { .. } => true,
        ClientError::Refused(reply) => matches!(reply.kind, ErrorKind::Stopping),
        ClientError::Denied { .. }
        | ClientError::OldNode { .. }
        | ClientError::BadReply { .. }
        | ClientError::Stalled { .. } => false,
    }
}

/// Returns the result of the command.
pub(super) fn verdict(
    status: &TransactionStatusReply,
    waited: Option<Wait>,
) -> Result<(), Failure> {
    match status.state {
        TransactionStanding::Success
            if waited.is_some_and(|until| until.until_safe && !status.is_safe()) =>
        {
            Err(Failure::Failed(format!(
                "timed out waiting for the block of the transaction to be safe; `astreum tx status \
                 {}` queries it again",
                status.id
            )))
        }
        TransactionStanding::Success => Ok(()),
        TransactionStanding::Failed => Err(Failure::Failed(
            "the transaction failed in its block: the fee and storage were charged, the amount was \
             not transferred"
                .to_owned(),
        )),
        TransactionStanding::Unknown => Err(Failure::Failed(format!(
            "transaction {} was not found locally or at any peer",
            status.id
        ))),
        TransactionStanding::Refused => Err(Failure::Failed(format!(
            "the mempool refused the transaction: {}",
            status.reason.as_deref().unwrap_or("no reason given")
        ))),
        TransactionStanding::Expired => Err(Failure::Failed(format!(
            "the transaction expired before inclusion; `astreum tx resend {}` sends it again",
            status.id
        ))),
        TransactionStanding::Abandoned => Err(Failure::Failed(format!(
            "the transaction was in an abandoned branch and could not return to the mempool: {}",
            status.reason.as_deref().unwrap_or("no reason given")
        ))),
        _ if waited.is_some() => Err(Failure::Failed(
            "timed out waiting for inclusion; `astreum tx status` queries it again".to_owned(),
        )),
        _ => Ok(()),
    }
}

/// Returns the state of a transaction as text.
pub(super) fn status_text(status: &TransactionStatusReply) -> String {
    let state = match status.state {
        TransactionStanding::Success => "succeeded",
        TransactionStanding::Failed => "failed",
        TransactionStanding::Pending => "in this node's mempool, ready to be included",
        TransactionStanding::Waiting => "in this node's mempool, waiting for data",
        TransactionStanding::Fetching => "being fetched",
        TransactionStanding::Announced => "announced to validators, not included yet",
        TransactionStanding::Unheld => {
            "not announced to any validator yet; it is announced when one connects"
        }
        TransactionStanding::Refused => "refused by this node's mempool",
        TransactionStanding::Expired => {
            "expired before inclusion; `astreum tx resend` sends it again"
        }
        TransactionStanding::Abandoned => "in an abandoned branch, not returned to the mempool",
        TransactionStanding::Stored => {
            "known, but not in a block or in this node's mempool; `astreum tx resend` \
             announces it"
        }
        TransactionStanding::Unknown => "unknown",
    };
    let mut rows = vec![
        ("transaction", status.id.to_string()),
        ("state", state.to_owned()),
    ];
    rows.extend(status.reason.clone().map(|reason| ("reason", reason)));
    if let (Some(place), Some(count)) = (status.pool_place, status.pool_transactions) {
        rows.push(("queue position", format!("{place} of {count}")));
    }
    rows.extend(
        status
            .waits_for
            .map(|data| ("waiting for", data.to_string())),
    );
    rows.extend(
        status
            .validators
            .map(|count| ("validators", count.to_string())),
    );
    if let (Some(block), Some(height)) = (status.abandoned_block, status.abandoned_height) {
        rows.push(("abandoned block", format!("{height}, {block}")));
    }
    if let (Some(block), Some(height)) = (status.block, &status.height) {
        rows.push(("in block", format!("{height}, {block}")));
    }
    rows.extend(confirmation_text(status).map(|text| ("confirmation", text)));
    if let Some(index) = status.index {
        rows.push(("index", index.to_string()));
    }
    rows.extend(
        status
            .receipt
            .map(|receipt| ("receipt", receipt.to_string())),
    );
    rows.extend(status.cost.iter().map(|cost| ("fee", cost.to_string())));
    rows.extend(status.head.iter().map(|head| ("at block", at_head(head))));
    table(&rows)
}

fn confirmation_text(status: &TransactionStatusReply) -> Option<String> {
    let text = match (status.confirmation?, &status.undo_stake) {
        (ConfirmationLevel::Included, Some(stake)) => {
            format!("included: a branch with a stake of about {stake} can undo it")
        }
        (ConfirmationLevel::Included, None) => "included".to_owned(),
        (ConfirmationLevel::Safe, _) => {
            "safe: a branch with less than half of the stake cannot undo it".to_owned()
        }
        (ConfirmationLevel::Settled, _) => {
            "settled: undoing it requires a third of the stake to produce on both branches"
                .to_owned()
        }
    };
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use astreum_core::integer::Natural;

    #[test]
    fn status_text_explains_each_pending_state() {
        let id = AtomId::new([0xab; 32]);
        let mut reply = TransactionStatusReply {
            pool_place: Some(3),
            pool_transactions: Some(10),
            ..TransactionStatusReply::new(id, TransactionStanding::Pending, None)
        };
        let text = status_text(&reply);
        assert!(
            text.contains("ready to be included") && text.contains("3 of 10"),
            "{text}"
        );
        assert!(!reply.is_final());
        (reply.pool_place, reply.pool_transactions) = (None, None);
        reply.state = TransactionStanding::Waiting;
        reply.waits_for = Some(AtomId::new([0xcd; 32]));
        let text = status_text(&reply);
        assert!(
            text.contains("waiting for data") && text.contains(&"cd".repeat(32)),
            "{text}"
        );
        reply.waits_for = None;
        reply.state = TransactionStanding::Unheld;
        let text = status_text(&reply);
        assert!(text.contains("not announced to any validator"), "{text}");
        reply.state = TransactionStanding::Expired;
        assert!(reply.is_final() && verdict(&reply, None).is_err());
        reply.state = TransactionStanding::Abandoned;
        reply.reason = Some("insufficient balance".to_owned());
        (reply.abandoned_block, reply.abandoned_height) = (Some(AtomId::new([0xef; 32])), Some(7));
        let text = status_text(&reply);
        assert!(
            text.contains("in an abandoned branch") && text.contains("7, efef"),
            "{text}"
        );
        assert!(reply.is_final());
    }

    #[test]
    fn safe_wait_ends_when_the_block_is_safe() {
        let status = |confirmation, undo_stake: Option<u64>| {
            let id = AtomId::new([0xab; 32]);
            TransactionStatusReply {
                block: Some(AtomId::new([0xcd; 32])),
                height: Some(7_u64.into()),
                confirmation: Some(confirmation),
                undo_stake: undo_stake.map(Natural::from),
                ..TransactionStatusReply::new(id, TransactionStanding::Success, None)
            }
        };
        let (included, safe) = (
            status(ConfirmationLevel::Included, Some(5)),
            status(ConfirmationLevel::Safe, None),
        );
        let [until_included, until_safe]: [Wait; 2] =
            ["included", "safe"].map(|text| text.parse().unwrap());
        assert!(status_text(&included).contains("a stake of about 5 can undo it"));
        assert!(is_reached(&included, until_included) && !is_reached(&included, until_safe));
        assert!(is_reached(&safe, until_safe));
        assert!(verdict(&included, Some(until_included)).is_ok());
        assert!(verdict(&included, Some(until_safe)).is_err());
        assert!(verdict(&safe, Some(until_safe)).is_ok() && verdict(&included, None).is_ok());
    }
}
