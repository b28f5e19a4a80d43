//! Status of sync, as data.

use super::branch::{Branch, Phase};
use super::head_selection::DeepReorganization;
use super::requests::MissingAtom;
use super::{ChainSync, MAX_BRANCHES};
use crate::atom::AtomId;
use crate::chain::Participation;
use crate::chain::fork_choice::{Cause, Contest, Fork};
use crate::consensus::{ForkDecisions, StoreFailure};
use crate::crypto::PublicKey;
use crate::trie::BatchHasher;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

/// Bad blocks that are reported.
const REPORTED_BAD_BLOCKS: usize = 16;
/// Peers that named bad blocks, or follow other chains, that are reported.
const REPORTED_PEERS: usize = 64;

/// What a branch waits for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Waiting {
    /// An atom of a header.
    Header {
        /// The block.
        block: AtomId,
        /// The atom.
        atom: MissingAtom,
    },
    /// An atom that a block needs.
    Block {
        /// The block.
        block: AtomId,
        /// The atom.
        atom: MissingAtom,
    },
    /// The time of its next block.
    Time {
        /// Seconds left, by the wall clock.
        seconds: u64,
    },
    /// A second network group, or a seed, that names the branch: it has more headers than are kept
    /// on the word of one peer.
    Confirmation {
        /// Headers so far.
        headers: u64,
    },
    /// A place among the long branches.
    Place,
    /// Room to store a verified block.
    Storage {
        /// The block.
        block: AtomId,
        /// Why it was not stored.
        failure: StoreFailure,
    },
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header { block, atom } => write!(f, "header {block}: {atom}"),
            Self::Block { block, atom } => write!(f, "block {block}: {atom}"),
            Self::Time { seconds } => write!(f, "its time comes in {seconds} s"),
            Self::Confirmation { headers } => write!(
                f,
                "{headers} headers on the word of one peer; a seed or a peer of another network has \
                 to name the same branch"
            ),
            Self::Place => f.write_str("too many long branches are being synced"),
            Self::Storage { block, failure } => write!(f, "storing block {block}: {failure}"),
        }
    }
}

/// Progress of one branch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SyncProgress {
    /// The head.
    pub head: AtomId,
    /// Its height; 0 until its header is known.
    pub height: u64,
    /// Headers that are known, of those that are needed for all that is known.
    pub headers_done: u64,
    /// Headers that are needed: down to the genesis, or to where the branch joins what is verified.
    pub headers_total: u64,
    /// Blocks that are verified.
    pub blocks_done: u64,
    /// Blocks that are to be verified; 0 while the headers are not complete.
    pub blocks_total: u64,
    /// What it waits for, if it does.
    pub waits: Option<String>,
}

impl fmt::Display for SyncProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            head,
            height,
            headers_done,
            headers_total,
            blocks_done,
            blocks_total,
            waits,
        } = self;
        write!(
            f,
            "syncing: head={head} height={height} headers={headers_done}/{headers_total} \
             blocks={blocks_done}/{blocks_total}"
        )?;
        match waits {
            Some(waits) => write!(f, " waiting for {waits}"),
            None => Ok(()),
        }
    }
}

/// How a peer's chain differs from ours, so that its heads are not followed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OtherChain {
    /// It has another chain id.
    ChainId {
        /// Theirs; `None` if it passes 64 bits.
        theirs: Option<u64>,
        /// Ours.
        ours: u64,
    },
    /// It goes back to another genesis.
    Genesis {
        /// Theirs.
        theirs: AtomId,
        /// Ours, or the block that ours was verified from.
        ours: AtomId,
    },
    /// It has other consensus rules.
    Rules {
        /// Theirs.
        theirs: u32,
        /// Ours.
        ours: u32,
    },
}

impl fmt::Display for OtherChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ChainId {
                theirs: Some(theirs),
                ours,
            } => write!(f, "chain id {theirs}, ours is {ours}"),
            Self::ChainId { theirs: None, ours } => {
                write!(f, "chain id of more than 64 bits, ours is {ours}")
            }
            Self::Genesis { theirs, ours } => write!(f, "genesis {theirs}, ours is {ours}"),
            Self::Rules { theirs, ours } => {
                write!(f, "consensus rules version {theirs}, ours is {ours}")
            }
        }
    }
}

/// Text of a contest.
pub(super) struct ContestText<'c>(pub(super) &'c Contest);

impl fmt::Display for ContestText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Contest { cause, fork } = self.0;
        let (block, height) = (fork.block, fork.height);
        write!(f, "fork at block {block} of height {height}: ")?;
        for (at, side) in fork.ours.iter().chain(&fork.others).enumerate() {
            let whose = match (at, &fork.ours) {
                (0, Some(_)) => "ours",
                _ => "another",
            };
            let (first, tip, blocks) = (side.first, side.tip, side.blocks);
            write!(
                f,
                "{whose} begins with {first} and has {blocks} blocks up to {tip}; "
            )?;
        }
        f.write_str(match cause {
            Cause::NeedsOperator => {
                "it left ours too long ago to be followed without the operator: \
                 adopt or avoid its first block"
            }
            Cause::NeedsFirstDecision => {
                "it is not known which one to begin with: adopt or avoid a first block"
            }
            Cause::Light => "the other one is longer, and too little stake has built it",
        })
    }
}

impl fmt::Display for DeepReorganization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            from,
            to,
            fork,
            depth,
            ..
        } = self;
        write!(
            f,
            "reorganization: depth={depth} fork={fork} old_head={from} new_head={to}"
        )
    }
}

/// Status of sync.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SyncStatus {
    /// The branches that are being synced.
    pub syncs: Vec<SyncProgress>,
    /// Heads that peers announce.
    pub candidates: usize,
    /// Fetches under way.
    pub fetches: usize,
    /// What the start or the head of the default seed waits for.
    pub waits: Option<String>,
    /// The head that was given up last without a block of it being bad, and why.
    pub dropped: Option<(AtomId, String)>,
    /// The verified block that could not be stored, and why; sync continues when it can.
    pub not_stored: Option<(AtomId, StoreFailure)>,
    /// The bad blocks that were found last, and their reasons.
    pub bad_blocks: Vec<(AtomId, String)>,
    /// Peers that named bad blocks, and how many.
    pub offenders: Vec<(PublicKey, u64)>,
    /// Peers whose heads are ignored, since they follow another chain.
    pub other_chains: Vec<(PublicKey, OtherChain)>,
    /// Whether the node has caught up once, so that its head binds it.
    pub is_settled: bool,
    /// Forks along our chain.
    pub forks: Vec<Fork>,
    /// Forks that the fork choice does not settle.
    pub contests: Vec<Contest>,
    /// The operator's decisions.
    pub decisions: ForkDecisions,
    /// Whether the configured checkpoint is not known to be in our chain.
    pub lacks_checkpoint: bool,
    /// The last reorganization of more than a few blocks.
    pub reorganization: Option<DeepReorganization>,
    /// Share of the stake that has produced the last blocks.
    pub participation: Option<Participation>,
}

impl<H: BatchHasher> ChainSync<H> {
    /// Returns its status.
    #[must_use]
    pub fn status(&self) -> SyncStatus {
        let bad = self.bad.iter().take(REPORTED_BAD_BLOCKS);
        let offenders = self.bad.offenders().take(REPORTED_PEERS);
        let not_stored = self.branches.iter().find_map(|branch| match &branch.waits {
            Some(Waiting::Storage { block, failure }) => Some((*block, failure.clone())),
            _ => None,
        });
        SyncStatus {
            syncs: self
                .branches
                .iter()
                .take(MAX_BRANCHES)
                .map(progress)
                .collect(),
            candidates: self.heads.len(),
            fetches: self.requests.in_flight(),
            waits: self.start_waits.as_ref().map(ToString::to_string),
            dropped: self.dropped.clone(),
            not_stored,
            bad_blocks: bad.map(|(id, reason)| (*id, reason.clone())).collect(),
            offenders: offenders.map(|(peer, of)| (*peer, of.count)).collect(),
            other_chains: self.other_chains.iter().take(REPORTED_PEERS).collect(),
            is_settled: self.selection.is_settled,
            forks: self.selection.choice.forks(),
            contests: self.selection.contests.clone(),
            decisions: self.decisions(),
            lacks_checkpoint: self.config.checkpoint.is_some()
                && self.selection.choice.checkpoint_height().is_none(),
            reorganization: self.selection.reorganization,
            participation: self.selection.participation,
        }
    }
}

/// Returns the progress of a branch.
pub(super) fn progress(branch: &Branch) -> SyncProgress {
    let left = branch.path.len();
    let (headers_total, blocks_done, blocks_total) = match &branch.phase {
        Phase::Headers { .. } if branch.height == 0 => (0, 0, 0),
        Phase::Headers { .. } => (branch.height.saturating_add(1), 0, 0),
        Phase::Blocks { .. } => {
            // From a genesis on, it counts as well.
            let all = match branch.root {
                Some(_) if branch.joined_at > 0 => branch.height.saturating_sub(branch.joined_at),
                _ => branch.height.saturating_add(1),
            };
            (all, all.saturating_sub(left), all)
        }
    };
    let headers_done = match &branch.phase {
        Phase::Headers { .. } => left,
        Phase::Blocks { .. } => headers_total,
    };
    SyncProgress {
        head: branch.head,
        height: branch.height,
        headers_done,
        headers_total,
        blocks_done,
        blocks_total,
        waits: branch.waits.as_ref().map(ToString::to_string),
    }
}
