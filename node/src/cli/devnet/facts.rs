//! Facts about a network for its users: addresses, sockets, accounts and their keys.

use std::io::Write as _;

use serde_json::{Value, json};

use super::super::output::{Failure, Output, json_line};
use super::create::read_key;
use super::directory::{Description, Directory};
use super::nodes::loopback;
use crate::daemon::quoted;
use crate::rpc::{Client, StatusReply, request};
use core::time::Duration;

/// Maximum time for a reply to a status request.
const STATUS_TIMEOUT: Duration = Duration::from_secs(5);

/// Returns the status of each node that answers.
fn statuses(directory: &Directory, found: &Description) -> Vec<Option<StatusReply>> {
    (1..=found.nodes)
        .map(|number| {
            let client = Client::new(directory.control_socket(number), STATUS_TIMEOUT);
            client.request(&request::Status {}).ok()
        })
        .collect()
}

/// Account with its secret key.
struct Account<'d> {
    name: String,
    address: &'d str,
    secret: String,
}

fn accounts<'d>(
    directory: &Directory,
    found: &'d Description,
) -> Result<Vec<Account<'d>>, Failure> {
    let accounts = found.accounts.iter().zip(1_u32..);
    let accounts = accounts.map(|(address, number)| (format!("account{number}"), address.as_str()));
    accounts
        .chain([("faucet".to_owned(), found.faucet.as_str())])
        .map(|(name, address)| {
            let secret = hex::encode(read_key(directory, &name)?.expose());
            Ok(Account {
                name,
                address,
                secret,
            })
        })
        .collect()
}

/// Returns the facts as JSON.
pub(super) fn as_json(directory: &Directory, found: &Description) -> Result<Value, Failure> {
    let statuses = statuses(directory, found);
    let nodes: Vec<Value> = (1..=found.nodes)
        .zip(&statuses)
        .map(|(number, status)| {
            let at = usize::try_from(number).unwrap_or(usize::MAX) - 1;
            let status = status.as_ref();
            let rpc_url = status.and_then(|_| directory.rpc_url(number));
            let token_file = rpc_url.as_ref().map(|_| directory.rpc_token(number));
            json!({
                "number": number,
                "running": status.is_some(),
                "address": status.map(loopback),
                "validator": found.validators.get(at),
                "config": directory.node_config(number),
                "control_socket": directory.control_socket(number),
                "rpc_url": rpc_url,
                "rpc_token_file": token_file,
                "height": status.and_then(|status| status.chain.height),
                "head": status.and_then(|status| status.chain.head).map(|id| id.to_string()),
            })
        })
        .collect();
    let accounts: Vec<Value> = accounts(directory, found)?
        .into_iter()
        .map(|account| {
            json!({
                "name": account.name,
                "address": account.address,
                "key_file": directory.key(&account.name),
                "secret_key": account.secret,
            })
        })
        .collect();
    Ok(json!({
        "directory": directory.path(),
        "temporary": found.is_temporary,
        "chain_id": found.chain_id,
        "block_time_seconds": found.block_time_seconds,
        "balance": found.balance,
        "nodes": nodes,
        "accounts": accounts,
    }))
}

/// Writes the facts.
pub(super) fn write(
    directory: &Directory,
    found: &Description,
    out: &mut Output,
) -> Result<(), Failure> {
    let shown = directory.path().display();
    let fate = match found.is_temporary {
        true => "removed at the end",
        false => "kept",
    };
    writeln!(out, "Development network")?;
    writeln!(out, "  directory   {shown} ({fate})")?;
    writeln!(out, "  chain id    {}", found.chain_id)?;
    let block_time = found.block_time_seconds;
    writeln!(out, "  block time  {block_time} s")?;
    writeln!(out)?;
    writeln!(out, "Nodes")?;
    let statuses = statuses(directory, found);
    for (number, status) in (1..=found.nodes).zip(&statuses) {
        let address = status.as_ref();
        let address = address.map_or_else(|| "not running".to_owned(), loopback);
        let at = usize::try_from(number).unwrap_or(usize::MAX) - 1;
        let role = match found.validators.get(at) {
            Some(_) => "validator",
            None => "follower",
        };
        let config = directory.node_config(number);
        writeln!(
            out,
            "  {number:>2}  {address:<16} {role:<10} {}",
            config.display()
        )?;
        if let Some(url) = status.as_ref().and_then(|_| directory.rpc_url(number)) {
            let token = directory.rpc_token(number);
            writeln!(out, "      RPC {url}, token in {}", token.display())?;
        }
    }
    writeln!(out)?;
    writeln!(
        out,
        "Accounts, each with {}; the faucet has more. The secret keys are shown because this is a",
        found.balance
    )?;
    writeln!(
        out,
        "development network: whoever reads this can spend these coins. Use the keys nowhere else."
    )?;
    for account in accounts(directory, found)? {
        let file = directory.key(&account.name);
        writeln!(out, "  {:<10}  {}", account.name, account.address)?;
        writeln!(out, "    secret    {}", account.secret)?;
        writeln!(out, "    key file  {}", file.display())?;
    }
    Ok(())
}

/// Writes suggestions for the next commands.
pub(super) fn write_suggestions(
    directory: &Directory,
    found: &Description,
    out: &mut Output,
) -> Result<(), Failure> {
    let word = |path: &std::path::Path| quoted(&path.to_string_lossy());
    let config = word(&directory.node_config(1));
    let at = match found.is_temporary {
        true => String::new(),
        false => format!(" --dir {}", word(directory.path())),
    };
    writeln!(out)?;
    writeln!(out, "Try in another terminal:")?;
    writeln!(out, "  astreum status --config {config}")?;
    if let [_, recipient, ..] = &found.accounts[..] {
        let key = word(&directory.key("account1"));
        let wait = found.wait_seconds();
        writeln!(
            out,
            "  astreum tx send {recipient} 1_000 --key-file {key} --config {config} --wait {wait}"
        )?;
    }
    writeln!(out, "  astreum devnet faucet ADDRESS 1_000{at}")?;
    writeln!(out, "  astreum devnet snapshot NAME{at}")?;
    match found.is_temporary {
        true => writeln!(out, "Ctrl-C stops the network and removes its directory.")?,
        false => writeln!(
            out,
            "Ctrl-C stops the network; `astreum devnet{at}` resumes it."
        )?,
    }
    Ok(())
}

pub(super) fn show(directory: &Directory, is_json: bool, out: &mut Output) -> Result<(), Failure> {
    let found = directory.description()?;
    match is_json {
        true => json_line(out, &as_json(directory, &found)?),
        false => write(directory, &found, out),
    }
}
