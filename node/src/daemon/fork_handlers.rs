//! Handlers of requests about forks.

use super::handlers::parse_id;
use crate::chain_service::{ChainStatus, Head};
use crate::node::Node;
use crate::rpc::{ForkReply, ForksReply, RpcError, SideReply};
use astreum_core::chain::fork_choice::{Cause, Fork, Side};

pub(super) fn forks(node: &Node) -> ForksReply {
    forks_reply(&node.chain().status())
}

pub(super) fn adopt(node: &Node, id: &str) -> Result<ForksReply, RpcError> {
    Ok(forks_reply(&node.adopt_fork(parse_id(id)?)?))
}

pub(super) fn avoid(node: &Node, id: &str) -> Result<ForksReply, RpcError> {
    Ok(forks_reply(&node.avoid_block(parse_id(id)?)?))
}

fn forks_reply(status: &ChainStatus) -> ForksReply {
    let sync = &status.sync;
    let contests = sync.contests.iter();
    ForksReply {
        head: status.head.as_ref().map(|head| head.id().to_string()),
        height: status.head.as_ref().map(Head::height),
        forks: sync.forks.iter().map(fork_reply).collect(),
        contests: contests
            .map(|contest| ForkReply {
                cause: Some(cause_word(contest.cause).to_owned()),
                ..fork_reply(&contest.fork)
            })
            .collect(),
        adopted: sync.decisions.adopted.map(|id| id.to_string()),
        avoided: sync
            .decisions
            .avoided
            .iter()
            .map(ToString::to_string)
            .collect(),
    }
}

fn fork_reply(fork: &Fork) -> ForkReply {
    ForkReply {
        block: fork.block.to_string(),
        height: fork.height,
        total_stake: fork.total.as_ref().map(ToString::to_string),
        ours: fork.ours.as_ref().map(side_reply),
        others: fork.others.iter().map(side_reply).collect(),
        cause: None,
    }
}

fn side_reply(side: &Side) -> SideReply {
    SideReply {
        first: side.first.to_string(),
        tip: side.tip.to_string(),
        blocks: side.blocks,
        stake: side.stake.as_ref().map(ToString::to_string),
    }
}

const fn cause_word(cause: Cause) -> &'static str {
    match cause {
        Cause::NeedsOperator => "needs_operator",
        Cause::NeedsFirstDecision => "needs_first_decision",
        Cause::Light => "light",
    }
}
