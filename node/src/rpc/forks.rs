//! Replies of the control socket about forks.

use serde::{Deserialize, Serialize};

/// Forks of the chain, and decisions of the operator.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ForksReply {
    /// Id of the head in hex, if there is one.
    pub head: Option<String>,
    /// Height of the head.
    pub height: Option<u64>,
    /// Known forks.
    pub forks: Vec<ForkReply>,
    /// Forks that fork choice does not settle, each with its cause.
    pub contests: Vec<ForkReply>,
    /// Block whose branch is preferred to all others, in hex.
    pub adopted: Option<String>,
    /// Blocks that no branch may contain, in hex.
    pub avoided: Vec<String>,
}

/// Fork with its branches.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ForkReply {
    /// Last block that the branches share, in hex.
    pub block: String,
    /// Height of that block.
    pub height: u64,
    /// Total stake as of that block, once it is known.
    pub total_stake: Option<String>,
    /// Branch of the head.
    pub ours: Option<SideReply>,
    /// Other branches.
    pub others: Vec<SideReply>,
    /// `needs_operator` (the other branch is preferred, but the fork is too deep to follow it
    /// without a decision), `needs_first_decision` (there is no head to start from) or `light` (the
    /// other branch is longer, but too little stake has produced it); null if the fork is settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

/// Branch above a fork.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SideReply {
    /// First block in hex: the id for `chain adopt` and `chain avoid`.
    pub first: String,
    /// Highest block in hex.
    pub tip: String,
    /// Number of blocks.
    pub blocks: u64,
    /// Stake of its distinct producers as of the fork, once it is known.
    pub stake: Option<String>,
}
