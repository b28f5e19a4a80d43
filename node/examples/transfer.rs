//! Sends a transfer on a development network and waits for it.
//!
//! `astreum devnet --dir net` in another terminal, then
//! `cargo run -p astreum-node --example transfer -- net`

use astreum_node::astreum_core::chain::{Address, Unsigned};
use astreum_node::astreum_core::crypto::SigningKey;
use astreum_node::clock::unix_time;
use astreum_node::key_file::{KeyKind, PassphraseSource, read_secret};
use astreum_node::query::BlockAt;
use astreum_node::rpc::{AccountName, Client, DEFAULT_TIMEOUT, TransactionStatusReply, request};
use core::error::Error;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::args_os().nth(1).map(PathBuf::from);
    let directory = directory.ok_or("usage: transfer DIRECTORY-OF-THE-DEVNET")?;
    let (status, balance) = transfer(&directory, 1_000)?;
    println!("{} in a block: {}", status.id, status.state);
    println!("balance {balance}");
    Ok(())
}

/// Transfers from the first account to the second one; returns the state of the transaction, and
/// the balance of the recipient.
pub(crate) fn transfer(
    directory: &Path,
    amount: u64,
) -> Result<(TransactionStatusReply, String), Box<dyn Error>> {
    let key = |name: &str| {
        let path = directory.join("keys").join(name);
        let secret = read_secret(&path, KeyKind::Validation, &PassphraseSource::none())?;
        Ok::<_, Box<dyn Error>>(SigningKey::from_seed(secret.expose()))
    };
    let (sender, recipient) = (key("account1.key")?, key("account2.key")?);
    let recipient = Address::from(recipient.verifying_key());
    let client = Client::new(directory.join("node1/control.sock"), DEFAULT_TIMEOUT);
    let head = client.request(&request::Block {
        at: BlockAt::Head,
        transactions: 0,
        skip: 0,
    })?;
    let transaction = Unsigned {
        chain_id: head.chain_id.0,
        amount: amount.into(),
        // Distinguishes otherwise equal transactions.
        counter: unix_time().as_millis().into(),
        data: [].as_slice().into(),
        recipient,
    }
    .sign(&sender);
    let atoms = transaction.to_atoms();
    let sent = client.request(&request::SendTransaction {
        id: transaction.id(),
        atoms: atoms.into_iter().map(|(_, atom)| atom).collect(),
        dry_run: false,
        force: false,
    })?;
    let status = client.request(&request::TransactionStatus {
        id: sent.id,
        wait_seconds: 30,
        until_safe: false,
    })?;
    if status.block.is_none() {
        return Err(format!("not in a block after 30 s: {}", status.state).into());
    }
    let account = client.request(&request::Account {
        account: AccountName::Key(recipient),
    })?;
    Ok((status, account.balance.to_string()))
}
