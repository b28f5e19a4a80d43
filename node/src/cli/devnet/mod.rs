//! Command `astreum devnet`: a local network of nodes for development.
//!
//! | module | contents |
//! | --- | --- |
//! | [`args`] | arguments |
//! | [`directory`] | files, description and locks of a network |
//! | [`create`] | keys, configurations and genesis |
//! | [`nodes`] | processes of the nodes |
//! | [`child`] | hidden commands that run in these processes |
//! | [`snapshots`] | copies of all nodes |
//! | [`control`] | requests of other commands |
//! | [`facts`] | what is printed about a network |
//! | [`monitor`] | new blocks |
//! | [`supervise`] | the process that runs a network |
//!
//! Invariants:
//! - Nodes listen on 127.0.0.1 only, and on a chain id that is not a public one.
//! - No node outlives the process that runs the network, however that ends; a temporary directory
//!   is removed in each case.
//! - One process at a time changes a directory, and none while nodes use it.

mod args;
mod child;
mod control;
mod create;
mod directory;
mod facts;
mod monitor;
mod nodes;
mod snapshots;
mod supervise;

pub(super) use args::{DevnetArgs, HELP};
pub(super) use nodes::without_variables;

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use args::{AtArgs, DevnetCommand};
use control::Order;
use directory::{Description, Directory};

use crate::daemon::quoted;

use super::output::{Failure, Output};
use super::parse;

pub(super) fn devnet(args: DevnetArgs, out: &mut Output) -> Result<(), Failure> {
    match args.command {
        None => supervise::start(&args.start, out),
        Some(DevnetCommand::Show { at, json }) => facts::show(&find(&at)?, json, out),
        Some(DevnetCommand::Faucet {
            address,
            amount,
            at,
            json,
        }) => faucet(&address, &amount, &find(&at)?, json),
        Some(DevnetCommand::Snapshot { name, at }) => {
            let directory = find(&at)?;
            let path = snapshots::path_of(&directory, &name)?;
            let order = Order::Snapshot { name: name.clone() };
            change(&directory, &order, |directory, found| {
                snapshots::take(directory, found, &name, core::iter::empty())
            })?;
            Ok(writeln!(out, "{}", path.display())?)
        }
        Some(DevnetCommand::Restore { name, at }) => {
            let order = Order::Restore { name: name.clone() };
            change(&find(&at)?, &order, |directory, found| {
                snapshots::restore(directory, found, &name)
            })
        }
        Some(DevnetCommand::Reset { at }) => {
            change(&find(&at)?, &Order::Reset {}, snapshots::reset)
        }
        Some(DevnetCommand::Stop { at }) => stop(&find(&at)?),
        Some(DevnetCommand::Node(node)) => child::node(node, out),
        Some(DevnetCommand::Janitor { dir }) => child::janitor(&dir),
    }
}

fn find(at: &AtArgs) -> Result<Directory, Failure> {
    Directory::find(at.dir.as_deref())
}

/// Lets the process that runs the network carry out an order, or does it here if there is none.
fn change(
    directory: &Directory,
    order: &Order,
    alone: impl FnOnce(&Directory, &Description) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let found = directory.description()?;
    if directory.is_running() {
        return control::send(&directory.socket(), order);
    }
    let _lock = directory.lock()?;
    alone(directory, &found)
}

fn stop(directory: &Directory) -> Result<(), Failure> {
    directory.description()?;
    if !directory.is_running() {
        return Err(Failure::Failed(format!(
            "no development network runs in {}",
            directory.path().display()
        )));
    }
    control::send(&directory.socket(), &Order::Stop {})?;
    directory.wait_until_unlocked()
}

/// Replaces this process by the one of `astreum tx send`, with the faucet's key.
fn faucet(
    address: &str,
    amount: &str,
    directory: &Directory,
    is_json: bool,
) -> Result<(), Failure> {
    parse::account_key("the address", address)?;
    parse::natural("the amount", amount)?;
    let found = directory.description()?;
    if !directory.is_running() {
        let path = directory.path().display();
        let word = quoted(&path.to_string());
        return Err(Failure::Failed(format!(
            "the development network in {path} is not running; start it with `astreum devnet \
             --dir {word}`"
        )));
    }
    let mut command = faucet_command(address, amount, directory, &found)?;
    if is_json {
        command.arg("--json");
    }
    Err(Failure::Failed(format!(
        "cannot run `astreum tx send`: {}",
        command.exec()
    )))
}

fn faucet_command(
    address: &str,
    amount: &str,
    directory: &Directory,
    found: &Description,
) -> Result<Command, Failure> {
    let mut command = nodes::own_command_in_group()?;
    command
        .args(["tx", "send", address, amount])
        .arg(format!("--wait={}", found.wait_seconds()))
        .arg("--key-file")
        .arg(directory.key("faucet"))
        .arg("--config")
        .arg(directory.node_config(1));
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faucet_waits_longer_than_two_blocks() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = Directory::at(scratch.path()).unwrap();
        let found = Description {
            format: Description::version(),
            chain_id: 7,
            nodes: 1,
            validators: Vec::new(),
            accounts: Vec::new(),
            faucet: String::new(),
            balance: "5".to_owned(),
            block_time_seconds: 3_600,
            is_temporary: false,
        };
        let command = faucet_command("burn", "5", &directory, &found).unwrap();
        let mut arguments = command.get_args().map(|it| it.to_string_lossy());
        assert!(arguments.any(|it| it == "--wait=7260"), "{command:?}");
    }
}
