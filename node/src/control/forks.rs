//! Forks of the chain as the control socket tells them.

use serde::{Deserialize, Serialize};

/// Forks of the chain, and what the operator has decided.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ForksReply {
    /// Id of the head, in hex, if there is one.
    pub head: Option<String>,
    /// Its height.
    pub height: Option<u64>,
    /// Forks that are known.
    pub forks: Vec<ForkReply>,
    /// Forks that fork choice does not settle, each with its cause.
    pub contests: Vec<ForkReply>,
    /// The block whose branch is preferred to all others, in hex.
    pub adopted: Option<String>,
    /// The blocks that no branch may contain, in hex.
    pub avoided: Vec<String>,
}

/// A fork and its branches.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ForkReply {
    /// The last block that the branches share, in hex.
    pub block: String,
    /// Its height.
    pub height: u64,
    /// The whole stake as of that block, once it is known.
    pub total_stake: Option<String>,
    /// The branch of the head.
    pub ours: Option<SideReply>,
    /// The other branches.
    pub others: Vec<SideReply>,
    /// `needs_operator` (the other branch is preferred, and the fork is too deep to follow it without
    /// a decision), `needs_first_decision` (there is no head to begin with) or `light` (the other
    /// branch is longer, and too little stake has produced it); null where it is settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

/// A branch above a fork.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SideReply {
    /// Its first block, in hex: the id for `chain adopt` and `chain avoid`.
    pub first: String,
    /// Its highest block, in hex.
    pub tip: String,
    /// Its blocks.
    pub blocks: u64,
    /// Stake of their distinct producers as of the fork, once it is known.
    pub stake: Option<String>,
}
