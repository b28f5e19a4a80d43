//! Commands `astreum pin`, `unpin` and `pins`: the objects that pruning keeps.

use std::io::Write as _;

use crate::rpc::{Client, MAX_PINS_REPLY, PinReply, PinnedReply, TRANSFER, request};
use astreum_core::atom::AtomId;
use serde_json::json;

use super::args::{PinArgs, PinsArgs, UnpinArgs};
use super::node_args::client;
use super::output::{Failure, Output, json_line};
use super::parse;

pub(super) fn pin(args: &PinArgs, out: &mut Output) -> Result<(), Failure> {
    let ids = parse::ids("the object", &args.ids)?;
    let client = client(&args.at)?;
    for id in ids {
        let PinnedReply {
            atoms,
            stored,
            missing,
        } = pin_one(&client, id)?;
        if args.json {
            json_line(
                out,
                &json!({ "id": id, "atoms": atoms, "stored": stored, "missing": missing }),
            )?;
            continue;
        }
        write!(
            out,
            "{id}: {atoms} atoms, {stored} of them copied to cold storage"
        )?;
        match missing {
            0 => writeln!(out)?,
            missing => writeln!(out, ", {missing} ids in it not found")?,
        }
    }
    Ok(())
}

/// Pins an object; the timeout counts from the last progress.
fn pin_one(client: &Client, id: AtomId) -> Result<PinnedReply, Failure> {
    let transfer = Some(TRANSFER);
    client.download(&request::Pin { id, transfer }, &mut |_| Ok(()))
}

pub(super) fn unpin(args: &UnpinArgs, out: &mut Output) -> Result<(), Failure> {
    let _ = out;
    let ids = parse::ids("the object", &args.ids)?;
    let client = client(&args.at)?;
    let mut missing = Vec::new();
    for id in ids {
        if !client.request(&request::Unpin { id })? {
            missing.push(id.to_string());
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::Failed(format!(
        "not pinned: {}",
        missing.join(", ")
    )))
}

pub(super) fn pins(args: &PinsArgs, out: &mut Output) -> Result<(), Failure> {
    let client = client(&args.at)?;
    let mut after = None;
    loop {
        let max = Some(MAX_PINS_REPLY);
        let pins = client.request(&request::Pins { after, max })?;
        for pin in &pins {
            if args.json {
                json_line(out, pin)?;
                continue;
            }
            let PinReply {
                id,
                stored,
                pinned,
                contract,
            } = pin;
            let kinds = [
                (stored, "stored"),
                (pinned, "pinned"),
                (contract, "contract"),
            ];
            let kinds = kinds.into_iter().filter(|(has, _)| **has);
            let kinds: Vec<&str> = kinds.map(|(_, name)| name).collect();
            writeln!(out, "{id}  {}", kinds.join(", "))?;
        }
        match pins.last() {
            Some(last) if pins.len() as u64 >= MAX_PINS_REPLY => after = Some(last.id),
            _ => return Ok(()),
        }
    }
}
