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
use crate::config::{Config, Secret};
use crate::key_file::{self, KeyKind};
use crate::rpc::{
    BlockReply, Client, ClientError, ErrorKind, MAX_WAIT_SECONDS, SendReply, TransactionReply,
    TransactionStatusReply, hex, request, unhex,
};

use super::account::{at_head, table};
use super::args::NodeArgs;
use super::chain_args::{TxArgs, TxCommand, TxResendArgs, TxSendArgs, TxShowArgs, TxStatusArgs};
use super::eval_session::client;
use super::output::{Failure, Output, complain, json_line};
use super::parse;
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
    let config = args.at.load()?.config;
    let key = secret(args, &config)?;
    if !args.force {
        refuse_relay_key(&recipient, &key, &config)?;
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
    let atoms = atoms.iter().map(|(_, atom)| hex(&atom.to_bytes()));
    let request = request::SendTransaction {
        id: transaction.id().to_string(),
        atoms: atoms.collect(),
        dry_run: args.dry_run,
        force: args.force,
    };
    let reply: SendReply = client.request(&request)?;
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
            Some(wait(&client, &reply.id, until, &args.at, true)?)
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
            "the recipient {address} is not an Ed25519 public key, so nobody could ever spend \
             what it gets; --force sends all the same"
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
            "the data has {len} bytes; a transaction takes {MAX_TRANSACTION_DATA_BYTES}. `astreum \
             put` stores more, and a transaction can name it"
        )));
    }
    Ok(data)
}

fn amount(args: &TxSendArgs, data: &[u8]) -> Result<Natural, Failure> {
    let amount = parse::natural("the amount", &args.amount)?;
    if amount.is_zero() && data.is_empty() {
        return Err(Failure::Usage(
            "the amount is 0 and there is no data, so nothing would happen but the fee".to_owned(),
        ));
    }
    Ok(amount)
}

fn number(what: &str, text: Option<&str>) -> Result<Option<Natural>, Failure> {
    text.map(|text| parse::natural(what, text)).transpose()
}

/// Returns the sender's secret from a key file or the configuration.
fn secret(args: &TxSendArgs, config: &Config) -> Result<Secret, Failure> {
    if let Some(path) = &args.key_file {
        return key_file::read_secret(path, KeyKind::Validation).map_err(Failure::failed);
    }
    configured_secret(config)?.ok_or_else(|| {
        Failure::Usage(
            "missing sender: give --key-file FILE, or set validation_secret_key_file; \
             `astreum keys generate FILE --kind account` makes a key"
                .to_owned(),
        )
    })
}

fn configured_secret(config: &Config) -> Result<Option<Secret>, Failure> {
    match &config.validation_secret_key_file {
        Some(path) => key_file::read_secret(path, KeyKind::Validation)
            .map(Some)
            .map_err(Failure::failed),
        None => Ok(config.validation_secret_key.clone()),
    }
}

/// Refuses a recipient that is the relay public key of an available secret. The node does the same
/// for its own relay key and those of its peers.
fn refuse_relay_key(recipient: &Address, sender: &Secret, config: &Config) -> Result<(), Failure> {
    let is_half_of = |secret: &Secret| KeyKind::Relay.public_key(secret) == *recipient.as_bytes();
    // This command needs neither of these keys, so an unreadable file does not stop it.
    let relay_file = config.relay_secret_key_file.as_deref();
    let relay_file = relay_file.and_then(|path| key_file::read_secret(path, KeyKind::Relay).ok());
    let relay = relay_file.as_ref().or(config.relay_secret_key.as_ref());
    let validation = configured_secret(config).ok().flatten();
    let owner = if is_half_of(sender) {
        "the sender's own secret"
    } else if relay.is_some_and(is_half_of) {
        "the configured relay key"
    } else if validation.as_ref().is_some_and(is_half_of) {
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
        at: "head".to_owned(),
        transactions: 0,
        skip: 0,
    };
    let head: BlockReply = client.request(&request)?;
    head.chain_id.parse().map_err(|_| {
        Failure::Failed("invalid reply of the node: its chain id is not a number".to_owned())
    })
}

/// Returns a counter that grows with time and distinguishes otherwise equal transactions.
fn time_counter() -> Natural {
    Natural::from(clock::unix_time().as_millis())
}

fn sent(transaction: &Transaction, reply: &SendReply, dry_run: bool) -> String {
    let to = match dry_run {
        true => "none: this is a dry run".to_owned(),
        false => sent_to(reply),
    };
    let costs = &reply.costs;
    let fee = format!("{}, and {} at most for storage", costs.fee, costs.storage);
    table(&[
        ("transaction", reply.id.clone()),
        ("sender", transaction.sender().to_string()),
        ("recipient", transaction.recipient.to_string()),
        ("amount", transaction.amount.to_string()),
        ("counter", transaction.counter.to_string()),
        ("fee", fee),
        ("sender has", costs.balance.clone()),
        ("sent to", to),
    ])
}

fn sent_to(reply: &SendReply) -> String {
    match (reply.own_pool, reply.validators) {
        (true, 0) => "this node, which validates".to_owned(),
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
        "id": reply.id,
        "chain_id": crate::rpc::number(&transaction.chain_id.to_string()),
        "sender": transaction.sender().to_string(),
        "recipient": transaction.recipient.to_string(),
        "amount": transaction.amount.to_string(),
        "counter": transaction.counter.to_string(),
        "data": hex(&transaction.data),
        "fee": reply.costs.fee,
        "storage": reply.costs.storage,
        "balance": reply.costs.balance,
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
    let id = parse::id("the transaction", &args.id)?.to_string();
    let client = client(&args.at)?;
    let reply: SendReply = client.request(&request::ResendTransaction { id })?;
    let status = match args.wait {
        None => None,
        Some(until) => Some(wait(&client, &reply.id, until, &args.at, true)?),
    };
    if args.json {
        let value = json!({
            "id": reply.id,
            "own_pool": reply.own_pool,
            "validators": reply.validators,
            "status": status,
        });
        json_line(out, &value)?;
    } else {
        let rows = [
            ("transaction", reply.id.clone()),
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
    id: &str,
    until: Wait,
    at: &NodeArgs,
    mut is_connected: bool,
) -> Result<TransactionStatusReply, Failure> {
    // Well below the timeout after which this process would consider the node dead.
    let at_once = MAX_WAIT_SECONDS.min(at.timeout.get().div_ceil(2));
    let deadline =
        Instant::now() + Duration::from_secs(until.seconds.get().min(u64::from(u32::MAX)));
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // Rounded up, so that a remainder below one second does not become a query without waiting.
        let left = left.as_secs() + u64::from(left.subsec_nanos() > 0);
        let request = request::TransactionStatus {
            id: id.to_owned(),
            wait_seconds: left.min(at_once),
            until_safe: until.until_safe,
        };
        let status: TransactionStatusReply = match client.request(&request) {
            Err(error) if is_lost(&error, is_connected) => {
                return Err(Failure::Failed(format!(
                    "lost the connection to the node; state unknown: {error}; `astreum tx status \
                     {id}` asks again"
                )));
            }
            answer => answer?,
        };
        is_connected = true;
        if is_reached(&status, until) || left <= at_once {
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
        ClientError::OldNode { .. } | ClientError::BadReply { .. } => false,
    }
}

fn status(args: &TxStatusArgs, out: &mut Output) -> Result<(), Failure> {
    let id = parse::id("the transaction", &args.id)?.to_string();
    let client = client(&args.at)?;
    let status = match args.wait {
        Some(until) => wait(&client, &id, until, &args.at, false)?,
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
    match status.state.as_str() {
        "success" if waited.is_some_and(|until| until.until_safe && !status.is_safe()) => {
            Err(Failure::Failed(format!(
                "timed out waiting for its block to be safe; `astreum tx status {}` asks again",
                status.id
            )))
        }
        "success" => Ok(()),
        "failed" => Err(Failure::Failed(
            "the transaction is in a block and failed there: its fee and storage are paid, its \
             amount was not moved"
                .to_owned(),
        )),
        "unknown" => Err(Failure::Failed(format!(
            "transaction {} is not known here or to any peer",
            status.id
        ))),
        "refused" => Err(Failure::Failed(format!(
            "the mempool does not take it: {}",
            status.reason.as_deref().unwrap_or("no reason given")
        ))),
        "expired" => Err(Failure::Failed(format!(
            "it expired before it was included; `astreum tx resend {}` sends it again",
            status.id
        ))),
        "abandoned" => Err(Failure::Failed(format!(
            "it was in a branch that was left, and could not return to the mempool: {}",
            status.reason.as_deref().unwrap_or("no reason given")
        ))),
        _ if waited.is_some() => Err(Failure::Failed(
            "timed out waiting for inclusion; `astreum tx status` asks again".to_owned(),
        )),
        _ => Ok(()),
    }
}

fn status_text(status: &TransactionStatusReply) -> String {
    let state = match status.state.as_str() {
        "success" => "succeeded",
        "failed" => "failed",
        "pending" => "in this node's mempool, ready to be included",
        "waiting" => "in this node's mempool, waiting for data",
        "fetching" => "being fetched",
        "announced" => "announced to validators, in no block yet",
        "unheld" => "not held by any known validator; it is announced when one connects",
        "refused" => "refused by this node's mempool",
        "expired" => "expired before it was included; `astreum tx resend` sends it again",
        "abandoned" => "in a branch that was left, and not returned to the mempool",
        "stored" => {
            "known here, in no block and not in this node's mempool; `astreum tx resend` \
             announces it"
        }
        "unknown" => "unknown",
        other => other,
    };
    let mut rows = vec![
        ("transaction", status.id.clone()),
        ("state", state.to_owned()),
    ];
    let own = |text: &Option<String>| text.clone();
    rows.extend(own(&status.reason).map(|reason| ("reason", reason)));
    if let (Some(place), Some(count)) = (status.pool_place, status.pool_transactions) {
        rows.push(("place in the mempool", format!("{place} of {count}")));
    }
    rows.extend(own(&status.waits_for).map(|data| ("waits for", data)));
    rows.extend(
        status
            .validators
            .map(|count| ("validators", count.to_string())),
    );
    if let (Some(block), Some(height)) = (own(&status.abandoned_block), status.abandoned_height) {
        rows.push(("left block", format!("{height}, {block}")));
    }
    if let (Some(block), Some(height)) = (own(&status.block), own(&status.height)) {
        rows.push(("in block", format!("{height}, {block}")));
    }
    rows.extend(confirmation_text(status).map(|text| ("confirmation", text)));
    if let Some(index) = status.index {
        rows.push(("index", index.to_string()));
    }
    rows.extend(own(&status.receipt).map(|receipt| ("receipt", receipt)));
    rows.extend(own(&status.cost).map(|cost| ("fee", cost)));
    rows.extend(
        status
            .head
            .iter()
            .map(|head| ("as of block", at_head(head))),
    );
    table(&rows)
}

fn confirmation_text(status: &TransactionStatusReply) -> Option<String> {
    let text = match (status.confirmation.as_deref()?, &status.undo_stake) {
        ("included", Some(stake)) => format!("included: a stake of about {stake} undoes it"),
        ("safe", _) => "safe: no branch of less than half of the stake undoes it".to_owned(),
        ("settled", _) => {
            "settled: undoing it takes a third of the stake to produce on both branches".to_owned()
        }
        (other, _) => other.to_owned(),
    };
    Some(text)
}

fn show(args: &TxShowArgs, out: &mut Output) -> Result<(), Failure> {
    let id: AtomId = parse::id("the transaction", &args.id)?;
    let request = request::Transaction { id: id.to_string() };
    let reply: TransactionReply = client(&args.at)?.request(&request)?;
    if args.json {
        return json_line(out, &reply);
    }
    Ok(write!(out, "{}", transaction_text(&reply))?)
}

fn transaction_text(reply: &TransactionReply) -> String {
    let data = match (reply.data.as_str(), unhex(&reply.data)) {
        ("", _) => "none".to_owned(),
        (digits, None) => digits.to_owned(),
        (_, Some(bytes)) => {
            let shown = astreum_core::text::to_text(&astreum_core::expr::Expr::bytes(bytes), 400);
            format!("{} bytes, {shown}", reply.data.len() / 2)
        }
    };
    let signature = match reply.signature_holds {
        true => "holds",
        false => "DOES NOT HOLD",
    };
    table(&[
        ("transaction", reply.id.clone()),
        ("chain id", reply.chain_id.clone()),
        ("sender", reply.sender.clone()),
        ("recipient", reply.recipient.clone()),
        ("amount", reply.amount.clone()),
        ("counter", reply.counter.clone()),
        ("data", data),
        ("signature", format!("{signature}, {}", reply.signature)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_of_a_pending_transaction_says_what_it_waits_for() {
        let mut reply = TransactionStatusReply {
            id: "ab".repeat(32),
            state: "pending".to_owned(),
            reason: None,
            waits_for: None,
            validators: None,
            abandoned_block: None,
            abandoned_height: None,
            pool_place: Some(3),
            pool_transactions: Some(10),
            block: None,
            height: None,
            confirmation: None,
            undo_stake: None,
            index: None,
            receipt: None,
            cost: None,
            head: None,
        };
        let text = status_text(&reply);
        assert!(
            text.contains("ready to be included") && text.contains("3 of 10"),
            "{text}"
        );
        assert!(!reply.is_final());
        (reply.pool_place, reply.pool_transactions) = (None, None);
        reply.state = "waiting".to_owned();
        reply.waits_for = Some("cd".repeat(32));
        let text = status_text(&reply);
        assert!(
            text.contains("waiting for data") && text.contains(&"cd".repeat(32)),
            "{text}"
        );
        reply.waits_for = None;
        reply.state = "unheld".to_owned();
        let text = status_text(&reply);
        assert!(text.contains("not held by any known validator"), "{text}");
        reply.state = "expired".to_owned();
        assert!(reply.is_final() && verdict(&reply, None).is_err());
        reply.state = "abandoned".to_owned();
        reply.reason = Some("insufficient balance".to_owned());
        (reply.abandoned_block, reply.abandoned_height) = (Some("ef".repeat(32)), Some(7));
        let text = status_text(&reply);
        assert!(
            text.contains("branch that was left") && text.contains("7, efef"),
            "{text}"
        );
        assert!(reply.is_final());
    }

    #[test]
    fn a_wait_for_a_safe_block_ends_with_it_and_not_before() {
        let text = |confirmation: &str, undo_stake: Option<&str>| {
            let reply = serde_json::json!({
                "id": "ab", "state": "success", "block": "cd", "height": "7", "index": 0,
                "receipt": null, "cost": null, "head": null,
                "confirmation": confirmation, "undo_stake": undo_stake,
            });
            serde_json::from_value::<TransactionStatusReply>(reply).unwrap()
        };
        let (included, safe) = (text("included", Some("5")), text("safe", None));
        let [until_included, until_safe]: [Wait; 2] =
            ["included", "safe"].map(|text| text.parse().unwrap());
        assert!(status_text(&included).contains("a stake of about 5 undoes it"));
        assert!(is_reached(&included, until_included) && !is_reached(&included, until_safe));
        assert!(is_reached(&safe, until_safe));
        assert!(verdict(&included, Some(until_included)).is_ok());
        assert!(verdict(&included, Some(until_safe)).is_err());
        assert!(verdict(&safe, Some(until_safe)).is_ok() && verdict(&included, None).is_ok());
    }
}
