//! Command `astreum tx`.

use std::io::Write as _;

use astreum_core::integer::Natural;
use serde_json::json;

use crate::query::BlockAt;
use crate::rpc::{Client, Number, TransactionReply, request};

use super::chain_args::{TxArgs, TxCommand, TxResendArgs, TxSendArgs, TxShowArgs, TxStatusArgs};
use super::node_args::client;
use super::output::{Failure, Output, json_line};
use super::table::table;
use super::tx_content::{Content, number};
use super::tx_send::{Submission, sent_to, status_text, submit, verdict, wait};
use super::{parse, tx_file};

pub(super) fn tx(args: TxArgs, out: &mut Output) -> Result<(), Failure> {
    match args.command {
        TxCommand::Send(args) => send(&args, out),
        TxCommand::Sign(args) => tx_file::sign(&args, out),
        TxCommand::Submit(args) => tx_file::submit_file(&args, out),
        TxCommand::Resend(args) => resend(&args, out),
        TxCommand::Status(args) => status(&args, out),
        TxCommand::Show(args) => show(&args, out),
    }
}

fn send(args: &TxSendArgs, out: &mut Output) -> Result<(), Failure> {
    // Errors in the arguments are reported before a node is queried.
    let chain_id = number("the chain id", args.chain_id.as_deref())?;
    let content = Content::read(&args.content, &args.at.load()?.settings)?;
    let client = client(&args.at)?;
    let chain_id = match chain_id {
        Some(chain_id) => chain_id,
        None => head_chain_id(&client)?,
    };
    let submission = Submission {
        wait: args.wait.until,
        dry_run: args.dry_run,
        force: args.content.force,
        json: args.json,
        at: &args.at,
    };
    submit(&client, &content.sign(chain_id), &submission, out)
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

/// Announces a transaction again.
fn resend(args: &TxResendArgs, out: &mut Output) -> Result<(), Failure> {
    let id = parse::id("the transaction", &args.id)?;
    let client = client(&args.at)?;
    let reply = client.request(&request::ResendTransaction { id })?;
    let status = match args.wait.until {
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
    status.map_or(Ok(()), |status| verdict(&status, args.wait.until))
}

fn status(args: &TxStatusArgs, out: &mut Output) -> Result<(), Failure> {
    let id = parse::id("the transaction", &args.id)?;
    let client = client(&args.at)?;
    let status = match args.wait.until {
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
    verdict(&status, args.wait.until)
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
