//! Sync, with this machine's hasher.

use crate::config::Config;
use crate::simd::Lanes;
pub use astreum_core::consensus::sync::{
    CheckedTransactions, DeepReorganization, MAX_BRANCHES, OtherChain, SyncConfig, SyncEvent,
    SyncProgress, SyncStatus, verify_body,
};

/// Sync: follows the heads that peers announce and verifies every block.
pub type ChainSync = astreum_core::consensus::sync::ChainSync<Lanes>;

impl From<&Config> for SyncConfig {
    fn from(config: &Config) -> Self {
        Self {
            chain_id: config.chain_id(),
            max_future_seconds: config.verification_max_future_skew,
            interval: config.verify_blockchain_interval(),
            latest_block: config.latest_block_hash,
            verified_up_to: config.verified_up_to,
            checkpoint: config.checkpoint,
            max_reorg_depth: config.max_reorg_depth,
            seeds: usize::from(config.default_seed.is_some()) + config.additional_seeds.len(),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests;
