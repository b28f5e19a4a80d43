//! Commands `astreum chain forks`, `adopt` and `avoid`: decisions on forks, by the running node.

use std::io::Write as _;

use astreum_core::atom::AtomId;
use astreum_core::chain::fork_choice::{Cause, Side};
use astreum_core::integer::Natural;
use clap::Args;

use crate::rpc::{ClientError, ForkReply, ForksReply, Method, request};

use super::node_args::{NodeArgs, client};
use super::output::{Failure, Output, complain, json_line};
use super::parse;
use super::table::table;

#[derive(Debug, Args)]
pub(super) struct ForksArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: NodeArgs,
}

#[derive(Debug, Args)]
pub(super) struct DecisionArgs {
    /// Id of the block: 64 hex digits, as listed by `astreum chain forks`.
    id: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: NodeArgs,
}

pub(super) fn forks(args: &ForksArgs, out: &mut Output) -> Result<(), Failure> {
    show(&ask(&args.at, &request::Forks {})?, args.json, out)
}

pub(super) fn adopt(args: &DecisionArgs, out: &mut Output) -> Result<(), Failure> {
    let id = parse::id("the block", &args.id)?;
    let reply = ask(&args.at, &request::AdoptFork { id })?;
    if !knows(&reply, &id) {
        complain(&format!(
            "note: no fork that this node knows begins with block {id}; if it does not have the \
             block, it requests it from its peers"
        ));
    }
    show(&reply, args.json, out)
}

pub(super) fn avoid(args: &DecisionArgs, out: &mut Output) -> Result<(), Failure> {
    let id = parse::id("the block", &args.id)?;
    show(&ask(&args.at, &request::AvoidBlock { id })?, args.json, out)
}

/// Returns whether the block is the first or the last one of a branch of a known fork.
fn knows(reply: &ForksReply, id: &AtomId) -> bool {
    let forks = reply.contests.iter().chain(&reply.forks);
    let mut sides = forks.flat_map(|fork| fork.ours.iter().chain(&fork.others));
    sides.any(|side| side.first == *id || side.tip == *id)
}

fn ask<M>(at: &NodeArgs, request: &M) -> Result<ForksReply, Failure>
where
    M: Method<Reply = ForksReply>,
{
    client(at)?.request(request).map_err(|error| match error {
        ClientError::NotRunning { .. } => Failure::Failed(format!(
            "{error}; only a running node knows forks: `astreum chain show` and `astreum chain \
             recover` read the files of a stopped node"
        )),
        error => error.into(),
    })
}

fn show(reply: &ForksReply, json: bool, out: &mut Output) -> Result<(), Failure> {
    if json {
        return json_line(out, reply);
    }
    Ok(write!(out, "{}", text(reply))?)
}

fn text(reply: &ForksReply) -> String {
    let head = match (&reply.head, reply.height) {
        (Some(head), Some(height)) => format!("{height}, {head}"),
        _ => "none".to_owned(),
    };
    let mut rows = vec![("head", head)];
    rows.extend(reply.adopted.iter().map(|id| ("adopted", id.to_string())));
    rows.extend(reply.avoided.iter().map(|id| ("avoided", id.to_string())));
    let is_contested = |fork: &&ForkReply| !reply.contests.iter().any(|it| it.block == fork.block);
    let others = reply.forks.iter().filter(is_contested);
    for fork in reply.contests.iter().chain(others) {
        rows.push(("fork", format!("{}, {}", fork.height, fork.block)));
        rows.extend(fork.cause.map(|cause| ("", why(cause).to_owned())));
        let total = fork.total_stake.as_ref();
        rows.extend(
            fork.ours
                .iter()
                .map(|side| ("  ours", side_text(side, total))),
        );
        rows.extend(
            fork.others
                .iter()
                .map(|side| ("  other", side_text(side, total))),
        );
    }
    let mut text = table(&rows);
    if reply.forks.is_empty() && reply.contests.is_empty() {
        text.push_str("no known forks\n");
    }
    text
}

fn side_text(side: &Side, total: Option<&Natural>) -> String {
    let stake = match (&side.stake, total) {
        (Some(stake), Some(total)) => format!("produced by a stake of {stake} of {total}"),
        (Some(stake), None) => format!("produced by a stake of {stake}"),
        (None, _) => "stake unknown".to_owned(),
    };
    format!(
        "first block {}, {} blocks up to {}, {stake}",
        side.first, side.blocks, side.tip
    )
}

const fn why(cause: Cause) -> &'static str {
    match cause {
        Cause::NeedsOperator => {
            "waiting for a decision: the other branch is preferred but too deep to follow \
             automatically; `astreum chain adopt` or `avoid` with a first block decides"
        }
        Cause::NeedsFirstDecision => {
            "waiting for a decision: two long branches are announced; `astreum chain adopt` or \
             `avoid` with a first block decides"
        }
        Cause::Light => {
            "keeping the head: the other branch is longer, but too little stake has produced it"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contested_fork_is_listed_once_with_branches_and_commands() {
        let side = |byte| Side {
            first: AtomId::new([byte; 32]),
            tip: AtomId::new([0xff; 32]),
            blocks: 2_000,
            stake: Some(Natural::from(7_u64)),
        };
        let fork = ForkReply {
            block: AtomId::new([0xaa; 32]),
            height: 12,
            total_stake: Some(Natural::from(10_u64)),
            ours: Some(side(0xbb)),
            others: vec![side(0xcc)],
            cause: None,
        };
        let contest = ForkReply {
            cause: Some(Cause::NeedsOperator),
            ..fork.clone()
        };
        let mut reply = ForksReply {
            head: Some(AtomId::new([0xee; 32])),
            height: Some(2_012),
            forks: vec![fork],
            contests: vec![contest],
            ..ForksReply::default()
        };
        for (byte, is_known) in [(0xcc, true), (0xff, true), (0xbb, true), (0xaa, false)] {
            assert_eq!(
                knows(&reply, &AtomId::new([byte; 32])),
                is_known,
                "{byte:x}"
            );
        }
        let shown = text(&reply);
        assert_eq!(shown.matches("\nfork").count(), 1, "{shown}");
        for part in [
            &"cc".repeat(32),
            "a stake of 7 of 10",
            "chain adopt",
            "2000 blocks",
            "2012, ee",
        ] {
            assert!(shown.contains(part), "no {part:?} in {shown}");
        }
        (reply.forks, reply.contests) = (Vec::new(), Vec::new());
        reply.avoided = vec![AtomId::new([0xdd; 32])];
        let shown = text(&reply);
        assert!(shown.contains("no known forks") && shown.contains(&"dd".repeat(32)));
    }
}
