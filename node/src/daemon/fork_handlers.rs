//! Handlers of requests about forks.

use crate::chain_service::{ChainStatus, Head};
use crate::node::Node;
use crate::rpc::{ForkReply, ForksReply, RpcError};
use astreum_core::atom::AtomId;
use astreum_core::chain::fork_choice::Fork;

pub(super) fn forks(node: &Node) -> ForksReply {
    forks_reply(&node.chain().status())
}

pub(super) fn adopt(node: &Node, id: AtomId) -> Result<ForksReply, RpcError> {
    Ok(forks_reply(&node.adopt_fork(id)?))
}

pub(super) fn avoid(node: &Node, id: AtomId) -> Result<ForksReply, RpcError> {
    Ok(forks_reply(&node.avoid_block(id)?))
}

fn forks_reply(status: &ChainStatus) -> ForksReply {
    let sync = &status.sync;
    let contests = sync.contests.iter();
    ForksReply {
        head: status.head.as_ref().map(Head::id),
        height: status.head.as_ref().map(Head::height),
        forks: sync.forks.iter().map(fork_reply).collect(),
        contests: contests
            .map(|contest| ForkReply {
                cause: Some(contest.cause),
                ..fork_reply(&contest.fork)
            })
            .collect(),
        adopted: sync.decisions.adopted,
        avoided: sync.decisions.avoided.to_vec(),
    }
}

fn fork_reply(fork: &Fork) -> ForkReply {
    ForkReply {
        block: fork.block,
        height: fork.height,
        total_stake: fork.total.clone(),
        ours: fork.ours.clone(),
        others: fork.others.clone(),
        cause: None,
    }
}
