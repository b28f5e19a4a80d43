//! Sync, with this machine's hasher.

use crate::config::{Settings, SyncMode};
use crate::simd::Lanes;
pub use astreum_core::consensus::sync::{
    CheckedTransactions, DeepReorganization, MAX_BRANCHES, OtherChain, SyncConfig, SyncEvent,
    SyncProgress, SyncStatus, verify_body,
};

/// Sync: follows the heads that peers announce and verifies every block.
pub type ChainSync = astreum_core::consensus::sync::ChainSync<Lanes>;

impl From<&Settings> for SyncConfig {
    fn from(settings: &Settings) -> Self {
        Self {
            chain_id: settings.chain_id,
            max_future_seconds: settings.verification_max_future_skew,
            interval: settings.verify_blockchain_interval,
            latest_block: settings.latest_block_hash,
            verified_up_to: match settings.sync {
                SyncMode::Full => settings.verified_up_to,
                SyncMode::Snapshot => settings.checkpoint,
            },
            joins_at_seed: settings.sync == SyncMode::Snapshot,
            checkpoint: settings.checkpoint,
            max_reorg_depth: settings.max_reorg_depth,
            seeds: usize::from(settings.default_seed.is_some()) + settings.additional_seeds.len(),
            has_streams: settings.stream_port != Some(0),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests;
