//! Command `astreum tx`.

use core::time::Duration;
use std::io::Write as _;
use std::time::Instant;

use astreum_core::atom::AtomId;
use astreum_core::chain::{Address, MAX_TRANSACTION_DATA_BYTES, Transaction, Unsigned};
use astreum_core::crypto::{SigningKey, VerifyingKey};
use astreum_core::integer::Natural;
use serde_json::json;

use crate::clock;
use crate::config::{Secret, Settings};
use crate::key_file::{self, KeyKind, NodeKeys, PassphraseSource};
use crate::query::BlockAt;
use crate::rpc::{
    Client, ClientError, ConfirmationLevel, ErrorKind, MAX_WAIT_SECONDS, Number, SendReply,
    TransactionReply, TransactionStanding, TransactionStatusReply, hex, request,
};

use super::chain_args::{TxArgs, TxCommand, TxResendArgs, TxSendArgs, TxShowArgs, TxStatusArgs};
use super::node_args::{NodeArgs, client};
use super::output::{Failure, Output, complain, json_line};
use super::parse;
use super::table::{at_head, table};
use super::wait::Wait;

pub(super) fn tx(args: TxArgs, out: &mut Output) -> Result<(), Failure> {
    match args.command {
        TxCommand::Send(args) => send(&args, out),
        TxCommand::Resend(args) => resend(&args, out),
        TxCommand::Status(args) => status(&args, out),
        TxCommand::Show(args) => show(&args, out),
    }
}

fn send(args: &TxSendArgs, out: &mut Output) -> Result<(), Failure> {
    // Errors in the arguments are reported before a node is queried.
    let recipient = recipient(args)?;
    let data = data(args)?;
    let amount = amount(args, &data)?;
    let counter = number("the counter", args.counter.as_deref())?;
    let chain_id = number("the chain id", args.chain_id.as_deref())?;
    let settings = args.at.load()?.settings;
    let passphrases = args.passphrase.source(&settings);
    // With a key of its own the command does not need the configured one: nobody is asked for that
    // one's passphrase.
    let configured_passphrases = match &args.key_file {
        Some(_) => PassphraseSource::of(&settings),
        None => args.passphrase.source(&settings),
    };
    let configured = NodeKeys::read_one(&settings, KeyKind::Validation, &configured_passphrases);
    let configured = configured.map_err(Failure::failed);
    let validation = configured.as_ref().ok().cloned().flatten();
    let key = secret(args, configured, &passphrases)?;
    if !args.force {
        refuse_relay_key(&recipient, &key, validation.as_ref(), &settings)?;
    }
    let client = client(&args.at)?;
    let chain_id = match chain_id {
        Some(chain_id) => chain_id,
        None => head_chain_id(&client)?,
    };
    let transaction = Unsigned {
        chain_id,
        amount,
        counter: counter.unwrap_or_else(time_counter),
        data: data.as_slice().into(),
        recipient,
    }
    .sign(&SigningKey::from_seed(key.expose()));
    let atoms = transaction.to_atoms();
    let request = request::SendTransaction {
        id: transaction.id(),
        atoms: atoms.into_iter().map(|(_, atom)| atom).collect(),
        dry_run: args.dry_run,
        force: args.force,
    };
    let reply = client.request(&request)?;
    for warning in &reply.warnings {
        complain(&format!("warning: {warning}"));
    }
    let status = match args.wait {
        None => None,
        Some(until) => {
            if !args.json {
                write!(out, "{}", sent(&transaction, &reply, args.dry_run))?;
                out.flush()?;
            }
            Some(wait(&client, reply.id, until, &args.at, true)?)
        }
    };
    if args.json {
        json_line(
            out,
            &sent_json(&transaction, &reply, args.dry_run, status.as_ref()),
        )?;
    } else {
        match &status {
            None => write!(out, "{}", sent(&transaction, &reply, args.dry_run))?,
            Some(status) => write!(out, "{}", status_text(status))?,
        }
    }
    status.map_or(Ok(()), |status| verdict(&status, args.wait))
}

fn recipient(args: &TxSendArgs) -> Result<Address, Failure> {
    let key = parse::account_key("the recipient", &args.recipient)?;
    let address = Address::new(key);
    let is_common =
        address == astreum_core::chain::TREASURY || address == astreum_core::chain::BURN;
    if !is_common && !args.force && VerifyingKey::from_bytes(&key).is_err() {
        return Err(Failure::Usage(format!(
            "the recipient {address} is not an Ed25519 public key, so the amount could never be \
             spent; --force sends anyway"
        )));
    }
    Ok(address)
}

fn data(args: &TxSendArgs) -> Result<Vec<u8>, Failure> {
    let data = match (&args.data, &args.data_text) {
        (Some(digits), _) => parse::bytes("--data", digits)?,
        (None, Some(text)) => text.clone().into_bytes(),
        (None, None) => Vec::new(),
    };
    if data.len() > MAX_TRANSACTION_DATA_BYTES {
        let len = data.len();
        return Err(Failure::Usage(format!(
            "data of {len} bytes exceeds the maximum of {MAX_TRANSACTION_DATA_BYTES}; `astreum \
             put` stores more, and a transaction can refer to it by id"
        )));
    }
    Ok(data)
}

fn amount(args: &TxSendArgs, data: &[u8]) -> Result<Natural, Failure> {
    let amount = parse::natural("the amount", &args.amount)?;
    if amount.is_zero() && data.is_empty() {
        return Err(Failure::Usage(
            "the amount is 0 and there is no data: the transaction would only pay its fee"
                .to_owned(),
        ));
    }
    Ok(amount)
}

fn number(what: &str, text: Option<&str>) -> Result<Option<Natural>, Failure> {
    text.map(|text| parse::natural(what, text)).transpose()
}

/// Returns the sender's secret from a key file, else the configured one.
fn secret(
    args: &TxSendArgs,
    configured: Result<Option<Secret>, Failure>,
    passphrases: &PassphraseSource,
) -> Result<Secret, Failure> {
    if let Some(path) = &args.key_file {
        let secret = key_file::read_secret(path, KeyKind::Validation, passphrases);
        return secret.map_err(Failure::failed);
    }
    configured?.ok_or_else(|| {
        Failure::Usage(
            "missing sender: give --key-file FILE, or set validation_secret_key_file; \
             `astreum keys generate FILE --kind account` creates a key"
                .to_owned(),
        )
    })
}

/// Refuses a recipient that is the relay public key of an available secret. The node does the same
/// for its own relay key and those of its peers.
fn refuse_relay_key(
    recipient: &Address,
    sender: &Secret,
    validation: Option<&Secret>,
    settings: &Settings,
) -> Result<(), Failure> {
    let is_half_of = |secret: &Secret| KeyKind::Relay.public_key(secret) == *recipient.as_bytes();
    // This command needs neither of these keys, so an unreadable file does not stop it.
    let relay =
        key_file::configured_public_key(settings, KeyKind::Relay, &PassphraseSource::of(settings));
    let owner = if is_half_of(sender) {
        "the sender's own secret"
    } else if relay.is_ok_and(|relay| relay == Some(*recipient.as_bytes())) {
        "the configured relay key"
    } else if validation.is_some_and(is_half_of) {
        "the configured validation key's secret"
    } else {
        return Ok(());
    };
    Err(Failure::Usage(key_file::relay_key_refusal(
        recipient, owner,
    )))
}

fn head_chain_id(client: &Client) -> Result<Natural, Failure> {
    let request = request::Block {
        at: BlockAt::Head,
        transactions: 0,
        skip: 0,
    };
    let Number(chain_id) = client.request(&request)?.chain_id;
    Ok(chain_id)
}

/// Returns a counter that grows with time and distinguishes otherwise equal transactions.
fn time_counter() -> Natural {
    Natural::from(clock::unix_time().as_millis())
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

fn sent_to(reply: &SendReply) -> String {
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

/// Announces a transaction again.
fn resend(args: &TxResendArgs, out: &mut Output) -> Result<(), Failure> {
    let id = parse::id("the transaction", &args.id)?;
    let client = client(&args.at)?;
    let reply = client.request(&request::ResendTransaction { id })?;
    let status = match args.wait {
        None => None,
        Some(until) => Some(wait(&client, reply.id, until, &args.at, true)?),
    };
    if args.json {
        let value = json!({
            "id": reply.id.to_string(),
            "own_pool": reply.own_pool,
            "validators": reply.validators,
            "status": status,
        });
        json_line(out, &value)?;
    } else {
        let rows = [
            ("transaction", reply.id.to_string()),
            ("sent to", sent_to(&reply)),
        ];
        write!(out, "{}", table(&rows))?;
        if let Some(status) = &status {
            write!(out, "{}", status_text(status))?;
        }
    }
    status.map_or(Ok(()), |status| verdict(&status, args.wait))
}

/// Queries the state until the transaction is in a block, rejected or expired, or the time is up;
/// the node waits, not this process. `is_connected` states whether the node has answered before.
fn wait(
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
        ClientError::OldNode { .. }
        | ClientError::BadReply { .. }
        | ClientError::Stalled { .. } => false,
    }
}

fn status(args: &TxStatusArgs, out: &mut Output) -> Result<(), Failure> {
    let id = parse::id("the transaction", &args.id)?;
    let client = client(&args.at)?;
    let status = match args.wait {
        Some(until) => wait(&client, id, until, &args.at, false)?,
        None => client.request(&request::TransactionStatus {
            id,
            wait_seconds: 0,
            until_safe: false,
        })?,
    };
    if args.json {
        json_line(out, &status)?;
    } else {
        write!(out, "{}", status_text(&status))?;
    }
    verdict(&status, args.wait)
}

/// Returns the result of the command.
fn verdict(status: &TransactionStatusReply, waited: Option<Wait>) -> Result<(), Failure> {
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

fn status_text(status: &TransactionStatusReply) -> String {
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

fn show(args: &TxShowArgs, out: &mut Output) -> Result<(), Failure> {
    let id = parse::id("the transaction", &args.id)?;
    let reply = client(&args.at)?.request(&request::Transaction { id })?;
    if args.json {
        return json_line(out, &reply);
    }
    Ok(write!(out, "{}", transaction_text(&reply))?)
}

fn transaction_text(reply: &TransactionReply) -> String {
    let data = match &reply.data.0[..] {
        [] => "none".to_owned(),
        bytes => {
            let expr = astreum_core::expr::Expr::bytes(bytes);
            let shown = astreum_core::text::to_text(&expr, 400);
            format!("{} bytes, {shown}", bytes.len())
        }
    };
    let signature = match reply.signature_holds {
        true => "valid",
        false => "INVALID",
    };
    table(&[
        ("transaction", reply.id.to_string()),
        ("chain id", reply.chain_id.to_string()),
        ("sender", reply.sender.to_string()),
        ("recipient", reply.recipient.to_string()),
        ("amount", reply.amount.to_string()),
        ("counter", reply.counter.to_string()),
        ("data", data),
        ("signature", format!("{signature}, {}", reply.signature)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

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
