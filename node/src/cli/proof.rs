//! Command `astreum proof`.

use std::fs::File;
use std::io::{self, Write as _};

use serde_json::json;

use crate::query::{AccountProof, Proven};
use crate::rpc::{hex, number, request};

use super::chain_args::{ProofAccountArgs, ProofArgs, ProofCommand, ProofVerifyArgs};
use super::input::read_capped;
use super::node_args::client;
use super::output::{Failure, Output, complain, json_line};
use super::parse;
use super::path_arg::PathArg;
use super::table::{table, time};

/// Maximum size in bytes of a proof; real ones are far smaller, since a path has at most 256 nodes
/// of 64-byte ids.
const MAX_PROOF_BYTES: u64 = 4 << 20;

pub(super) fn proof(args: ProofArgs, out: &mut Output) -> Result<(), Failure> {
    match args.command {
        ProofCommand::Account(args) => account(&args, out),
        ProofCommand::Verify(args) => verify(&args, out),
    }
}

fn account(args: &ProofAccountArgs, out: &mut Output) -> Result<(), Failure> {
    let account = parse::account("the account", &args.account)?;
    let reply = client(&args.at)?.request(&request::ProveAccount { account })?;
    // The queried node may be wrong; the receiver of the proof makes the same check.
    let proven = reply
        .verify()
        .map_err(|problem| Failure::Failed(format!("invalid proof from the node: {problem}")))?;
    if proven.account.is_none() {
        complain("note: the account does not exist; this is a proof of absence");
    }
    json_line(out, &reply)
}

fn verify(args: &ProofVerifyArgs, out: &mut Output) -> Result<(), Failure> {
    let block = args.block.as_deref().map(|id| parse::id("--block", id));
    let block = block.transpose()?;
    let account = args.account.as_deref();
    let account = account.map(|key| parse::account_key("--account", key));
    let account = account.transpose()?;
    let name = match args.file.is_stdin() {
        true => "stdin".to_owned(),
        false => args.file.display().to_string(),
    };
    let failed = |what: String| Failure::Failed(format!("{name}: {what}"));
    let proof: AccountProof = serde_json::from_slice(&read(&args.file)?)
        .map_err(|error| failed(format!("malformed proof: {error}")))?;
    let proven = proof
        .verify()
        .map_err(|problem| failed(format!("invalid proof: {problem}")))?;
    if let Some(block) = block
        && proven.block.id() != block
    {
        let other = proven.block.id();
        return Err(failed(format!(
            "proof is for block {other}, expected {block}"
        )));
    }
    if let Some(account) = account
        && *proven.address.as_bytes() != account
    {
        let (other, account) = (proven.address, hex(&account));
        return Err(failed(format!(
            "proof is for account {other}, expected {account}"
        )));
    }
    if args.json {
        return json_line(out, &as_json(&proven));
    }
    write!(out, "{}", text(&proven))?;
    if block.is_none() {
        complain("note: this is valid only if you trust the block; --block ID checks its id");
    }
    Ok(())
}

fn read(file: &PathArg) -> Result<Vec<u8>, Failure> {
    let read = match file.is_stdin() {
        true => read_capped(io::stdin().lock(), MAX_PROOF_BYTES),
        false => File::open(&**file).and_then(|file| read_capped(file, MAX_PROOF_BYTES)),
    };
    read.map_err(|error| Failure::Failed(format!("{}: {error}", file.display())))
}

fn as_json(proven: &Proven) -> serde_json::Value {
    let Proven {
        address,
        block,
        account,
    } = proven;
    let account = account.as_ref().map(|(id, account)| {
        json!({
            "id": id.to_string(),
            "balance": account.balance.to_string(),
            "counter": account.counter.to_string(),
            "code": account.code.to_string(),
            "data": account.data.to_string(),
            "channels": account.channels.to_string(),
        })
    });
    json!({
        "account": address.to_string(),
        "exists": account.is_some(),
        "state": account,
        "block": {
            "id": block.id().to_string(),
            "height": number(&block.height.to_string()),
            "timestamp": number(&block.timestamp.to_string()),
            "chain_id": number(&block.chain_id.to_string()),
            "accounts": block.accounts.to_string(),
            "validator": block.validator.to_string(),
            "signature_holds": block.signature().map(|_| block.verify_signature().is_ok()),
        },
    })
}

fn text(proven: &Proven) -> String {
    let Proven {
        address,
        block,
        account,
    } = proven;
    let signed = match (block.signature(), block.verify_signature()) {
        (None, _) => "not signed (genesis block)".to_owned(),
        (Some(_), Ok(())) => format!("signed by {}", block.validator),
        (Some(_), Err(_)) => "INVALID signature".to_owned(),
    };
    let mut rows = vec![("account", address.to_string())];
    match account {
        None => rows.push(("exists", "no".to_owned())),
        Some((id, account)) => rows.extend([
            ("exists", "yes".to_owned()),
            ("balance", account.balance.to_string()),
            ("counter", account.counter.to_string()),
            ("code", account.code.to_string()),
            ("data", account.data.to_string()),
            ("channels", account.channels.to_string()),
            ("record", id.to_string()),
        ]),
    }
    rows.extend([
        ("at block", block.id().to_string()),
        ("height", block.height.to_string()),
        ("time", time(&block.timestamp)),
        ("chain id", block.chain_id.to_string()),
        ("signature", signed),
    ]);
    table(&rows)
}
