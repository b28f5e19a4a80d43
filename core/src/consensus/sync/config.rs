//! Configuration of sync.

use super::header_path::{CHECKPOINT_INTERVAL, MAX_CHECKPOINTS, MAX_RESIDENT, PathLimits};
use crate::atom::AtomId;
use crate::chain::fork_choice::MAX_REORG_DEPTH;
use crate::consensus::ForkDecisions;
use core::time::Duration;

/// Maximum number of headers kept for a branch that only one peer announces. More require that a
/// second network group or a configured seed announces the branch, or that the operator adopted it.
pub const MAX_UNCONFIRMED_HEADERS: u64 = 1 << 20;

/// Configuration of sync.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SyncConfig {
    /// Chain id.
    pub chain_id: u64,
    /// Maximum number of seconds by which a block may be ahead of the wall clock.
    pub max_future_seconds: u64,
    /// Interval of periodic work: cleanup, retries of early blocks, progress reports.
    pub interval: Duration,
    /// Block to start from if no head is remembered.
    pub latest_block: Option<AtomId>,
    /// Block up to which the chain counts as verified.
    pub verified_up_to: Option<AtomId>,
    /// `true` if the default seed is trusted for the first block alone: a node without a chain, and
    /// without [`Self::verified_up_to`], takes the head of the seed as that block; everything above
    /// it is verified.
    pub joins_at_seed: bool,
    /// Block that every adopted chain must contain.
    pub checkpoint: Option<AtomId>,
    /// Maximum number of blocks that are undone without the operator.
    pub max_reorg_depth: u64,
    /// Number of configured seeds.
    pub seeds: usize,
    /// Time for which a node without a chain waits for the heads of more peers before it adopts
    /// one.
    pub first_adoption_wait: Duration,
    /// Fork decisions of the operator in earlier runs.
    pub decisions: ForkDecisions,
    /// Limits of the headers of a branch.
    pub limits: SyncLimits,
    /// `true` if the host carries out [`Effect::Stream`](crate::consensus::Effect::Stream).
    pub has_streams: bool,
}

impl Default for SyncConfig {
    fn default() -> Self {
        Self {
            chain_id: 0,
            max_future_seconds: 2,
            interval: Duration::from_secs(10),
            latest_block: None,
            verified_up_to: None,
            joins_at_seed: false,
            checkpoint: None,
            max_reorg_depth: MAX_REORG_DEPTH,
            seeds: 0,
            first_adoption_wait: Duration::from_secs(20),
            decisions: ForkDecisions::default(),
            limits: SyncLimits::default(),
            has_streams: false,
        }
    }
}

/// Limits of the headers of a branch; smaller in tests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SyncLimits {
    /// Maximum number of headers of a branch that only one peer announces.
    pub unconfirmed_headers: u64,
    /// Number of heights between two checkpoints.
    pub checkpoint_interval: u64,
    /// Maximum number of checkpoints.
    pub checkpoints: usize,
    /// Maximum number of header ids kept in addition to the checkpoints.
    pub resident_headers: usize,
}

impl Default for SyncLimits {
    fn default() -> Self {
        Self {
            unconfirmed_headers: MAX_UNCONFIRMED_HEADERS,
            checkpoint_interval: CHECKPOINT_INTERVAL,
            checkpoints: MAX_CHECKPOINTS,
            resident_headers: MAX_RESIDENT,
        }
    }
}

impl SyncLimits {
    /// Returns the limits of the path of one branch.
    pub(super) const fn path(&self) -> PathLimits {
        PathLimits {
            interval: self.checkpoint_interval,
            checkpoints: self.checkpoints,
            resident: self.resident_headers,
        }
    }
}
