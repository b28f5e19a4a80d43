//! What the verifier tells of itself.

use super::chase::{Chase, Phase};
use super::{MAX_CHASES, Verifier};
use astreum_core::atom::AtomId;
use astreum_core::crypto::PublicKey;

/// Bad blocks that are told of.
const BAD_TOLD: usize = 16;
/// Peers who offered bad blocks that are told of.
const OFFENDERS_TOLD: usize = 64;

/// How far one head has been followed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SyncProgress {
    /// The head.
    pub head: AtomId,
    /// Its height; 0 until its header is here.
    pub height: u64,
    /// Headers that are here, of those that are needed for all that is known.
    pub headers_done: u64,
    /// Headers that are needed: down to the genesis, or to where it joins what is verified.
    pub headers_total: u64,
    /// Blocks that are verified.
    pub blocks_done: u64,
    /// Blocks that are to be verified; 0 while the headers are not complete.
    pub blocks_total: u64,
    /// What it waits for, if it does.
    pub waits: Option<String>,
}

/// How the verifier is doing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct VerifierStatus {
    /// The heads that are being followed.
    pub syncs: Vec<SyncProgress>,
    /// Heads that peers offer.
    pub candidates: usize,
    /// Fetches under way.
    pub fetches: usize,
    /// What the start or the head of the default seed waits for.
    pub waits: Option<String>,
    /// The head that was given up last without a block of it being bad, and why.
    pub dropped: Option<(AtomId, String)>,
    /// The bad blocks that were found last, and why they are.
    pub bad_blocks: Vec<(AtomId, String)>,
    /// Peers who offered bad blocks, and how many.
    pub offenders: Vec<(PublicKey, u64)>,
}

impl Verifier {
    /// How it is doing.
    #[must_use]
    pub fn status(&self) -> VerifierStatus {
        let bad = self.forks.bad_blocks().take(BAD_TOLD);
        let offenders = self.forks.offenders().take(OFFENDERS_TOLD);
        VerifierStatus {
            syncs: self.chases.iter().take(MAX_CHASES).map(sync).collect(),
            candidates: self.forks.len(),
            fetches: self.fetches.in_flight(),
            waits: self.start_waits.clone(),
            dropped: self.dropped.clone(),
            bad_blocks: bad.map(|(id, reason)| (*id, reason.clone())).collect(),
            offenders: offenders.map(|(peer, of)| (*peer, of.count)).collect(),
        }
    }
}

fn sync(chase: &Chase) -> SyncProgress {
    let left = chase.path.len() as u64;
    let (headers_total, blocks_done, blocks_total) = match &chase.phase {
        Phase::Walking { .. } if chase.height == 0 => (0, 0, 0),
        Phase::Walking { .. } => (chase.height.saturating_add(1), 0, 0),
        Phase::Joined { .. } => {
            // From a genesis on, it counts as well.
            let all = match chase.root {
                Some(_) if chase.joined_at > 0 => chase.height.saturating_sub(chase.joined_at),
                _ => chase.height.saturating_add(1),
            };
            (all, all.saturating_sub(left), all)
        }
    };
    let headers_done = match &chase.phase {
        Phase::Walking { .. } => left,
        Phase::Joined { .. } => headers_total,
    };
    SyncProgress {
        head: chase.head,
        height: chase.height,
        headers_done,
        headers_total,
        blocks_done,
        blocks_total,
        waits: chase.waits.clone(),
    }
}

/// A line for the log.
pub(super) fn progress(chase: &Chase) -> String {
    let SyncProgress {
        head,
        height,
        headers_done,
        headers_total,
        blocks_done,
        blocks_total,
        waits,
    } = sync(chase);
    let waits = waits.map(|waits| format!("; waits for {waits}"));
    format!(
        "following head {height} {head}: {headers_done} of {headers_total} headers, {blocks_done} \
         of {blocks_total} blocks{}",
        waits.unwrap_or_default()
    )
}
