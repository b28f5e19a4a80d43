//! Replies of the control socket about forks.

use super::schema::{record, schema_of};
use super::text;
use astreum_core::atom::AtomId;
use astreum_core::chain::fork_choice::{Cause, Side};
use astreum_core::integer::Natural;

record! {
    /// Forks of the chain, and decisions of the operator.
    #[derive(Default)]
    pub struct ForksReply {
        /// Id of the head, if there is one.
        #[serde(with = "text")]
        pub head: Option<AtomId>,
        /// Height of the head.
        pub height: Option<u64>,
        /// Known forks.
        pub forks: Vec<ForkReply>,
        /// Forks that fork choice does not settle, each with its cause.
        pub contests: Vec<ForkReply>,
        /// Block whose branch is preferred to all others.
        #[serde(with = "text")]
        pub adopted: Option<AtomId>,
        /// Blocks that no branch may contain.
        #[serde(with = "text")]
        pub avoided: Vec<AtomId>,
    }
}

record! {
    /// Fork with its branches.
    pub struct ForkReply {
        /// Last block that the branches share.
        #[serde(with = "text")]
        pub block: AtomId,
        /// Height of that block.
        pub height: u64,
        /// Total stake as of that block, once it is known.
        #[serde(with = "text")]
        pub total_stake: Option<Natural>,
        /// Branch of the head.
        pub ours: Option<Side>,
        /// Other branches.
        pub others: Vec<Side>,
        /// `needs_operator` (the other branch is preferred, but the fork is too deep to follow it
        /// without a decision), `needs_first_decision` (there is no head to start from) or `light` (the
        /// other branch is longer, but too little stake has produced it); null if the fork is settled.
        #[serde(default, skip_serializing_if = "Option::is_none", with = "text")]
        pub cause: Option<Cause>,
    }
}

schema_of! {
    /// Branch above a fork.
    Side {
        /// First block in hex: the id for `chain adopt` and `chain avoid`.
        first: AtomId,
        /// Highest block.
        tip: AtomId,
        /// Number of blocks.
        blocks: u64,
        /// Stake of its distinct producers as of the fork, once it is known.
        stake: Option<Natural>,
    }
}
