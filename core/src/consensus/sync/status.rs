//! Status of sync, as data.

use super::branch::{Branch, Phase};
use super::other_chains::OtherChain;
use super::waiting::Waiting;
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

/// Maximum number of invalid blocks that are reported.
const REPORTED_BAD_BLOCKS: usize = 16;
/// Maximum number of reported peers that announced invalid blocks, and of those that follow other
/// chains.
const REPORTED_PEERS: usize = 64;

/// Progress of one branch.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SyncProgress {
    /// Head of the branch.
    pub head: AtomId,
    /// Height of the head; 0 until its header is known.
    pub height: u64,
    /// Number of known headers.
    pub headers_done: u64,
    /// Number of headers needed: down to the genesis, or to where the branch joins a verified
    /// block.
    pub headers_total: u64,
    /// Number of verified blocks.
    pub blocks_done: u64,
    /// Number of blocks to verify; 0 while the headers are not complete.
    pub blocks_total: u64,
    /// Condition that it waits for, if any.
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

/// Formatter of a contest.
pub(super) struct ContestText<'c>(pub(super) &'c Contest);

impl fmt::Display for ContestText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Contest { cause, fork } = self.0;
        let (block, height) = (fork.block, fork.height);
        write!(f, "fork at block {block}, height {height}: ")?;
        for (at, side) in fork.ours.iter().chain(&fork.others).enumerate() {
            let whose = match (at, &fork.ours) {
                (0, Some(_)) => "our branch",
                _ => "another branch",
            };
            let (first, tip, blocks) = (side.first, side.tip, side.blocks);
            write!(
                f,
                "{whose} begins with {first} and has {blocks} blocks up to {tip}; "
            )?;
        }
        f.write_str(match cause {
            Cause::NeedsOperator => {
                "its fork point is too deep to follow it automatically: adopt or avoid its \
                 first block"
            }
            Cause::NeedsFirstDecision => "no branch is adopted yet: adopt or avoid a first block",
            Cause::Light => "the other branch is longer, but too little stake has produced it",
        })
    }
}

/// Reorganization that is deep enough to inform the operator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeepReorganization {
    /// Head before the reorganization.
    pub from: AtomId,
    /// Head after the reorganization.
    pub to: AtomId,
    /// Last common block of both.
    pub fork: AtomId,
    /// Number of blocks that were undone.
    pub depth: u64,
    /// Wall time of the reorganization, in seconds since 1970.
    pub at_unix: u64,
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
    /// Branches that are being synced.
    pub syncs: Vec<SyncProgress>,
    /// Number of candidates among the announced heads.
    pub candidates: usize,
    /// Number of fetches under way.
    pub fetches: usize,
    /// Reason that the start, or following the default seed's head, has to wait.
    pub waits: Option<String>,
    /// Head that was dropped last without an invalid block, with the reason.
    pub dropped: Option<(AtomId, String)>,
    /// Verified block that could not be stored, with the reason; sync retries.
    pub not_stored: Option<(AtomId, StoreFailure)>,
    /// Invalid blocks that were found last, with their reasons.
    pub bad_blocks: Vec<(AtomId, String)>,
    /// Peers that announced invalid blocks, with the number of these blocks.
    pub offenders: Vec<(PublicKey, u64)>,
    /// Peers whose heads are ignored because they follow another chain.
    pub other_chains: Vec<(PublicKey, OtherChain)>,
    /// `true` once the node has caught up, so that its head is binding.
    pub is_settled: bool,
    /// Forks along our chain.
    pub forks: Vec<Fork>,
    /// Forks that the fork choice cannot settle.
    pub contests: Vec<Contest>,
    /// Fork decisions of the operator.
    pub decisions: ForkDecisions,
    /// `true` if a checkpoint is configured and not known to be in our chain.
    pub lacks_checkpoint: bool,
    /// Last reorganization of more than a few blocks.
    pub reorganization: Option<DeepReorganization>,
    /// Share of the stake that has produced the last blocks.
    pub participation: Option<Participation>,
}

impl<H: BatchHasher> ChainSync<H> {
    /// Returns the status of sync.
    #[must_use]
    pub fn status(&self) -> SyncStatus {
        let bad = self.rejected.bad_blocks().take(REPORTED_BAD_BLOCKS);
        let offenders = self.rejected.offenders().take(REPORTED_PEERS);
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
            fetches: self.downloads.in_flight(),
            waits: self.loader.waits().map(ToString::to_string),
            dropped: self.rejected.dropped().cloned(),
            not_stored,
            bad_blocks: bad.map(|(id, reason)| (*id, reason.clone())).collect(),
            offenders: offenders.map(|(peer, of)| (*peer, of.count)).collect(),
            other_chains: self.other_chains.iter().take(REPORTED_PEERS).collect(),
            is_settled: self.selection.is_settled(),
            forks: self.selection.competition.forks(),
            contests: self.selection.contests().to_vec(),
            decisions: self.selection.competition.decisions(),
            lacks_checkpoint: self.selection.competition.lacks_checkpoint(),
            reorganization: self.selection.reorganization(),
            participation: self.selection.participation(),
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
            // A genesis is verified as well and counts.
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
