//! The thread of the chain, started and stopped with its node.

use super::{Node, NodeError};
use crate::chain::head::HeadFile;
use crate::chain::mempool_file::MempoolFile;
use crate::chain::producer::{Producer, ProducerConfig};
use crate::chain::signed::SignedFile;
use crate::chain::{Input, VerifierConfig};
use crate::config::Config;
use crate::lanes::Lanes;
use crate::log;
use crate::work::chain::{ChainParts, ChainThread};
use astreum_core::atom::AtomId;
use astreum_core::consensus::mempool::{Mempool, MempoolConfig};
use astreum_core::crypto::SigningKey;
use std::path::Path;
use std::sync::{MutexGuard, PoisonError};

impl Node {
    /// Takes part in the chain: goes on from where the last run ended, as `state_dir` has it, and
    /// validates if the configuration has a validation key. Once it does, it stays so until it is
    /// disconnected.
    ///
    /// # Errors
    /// When the node is not connected, or a file of the last run cannot be used.
    pub fn start_chain(&self, state_dir: &Path) -> Result<(), NodeError> {
        let mut chain_thread = self.chain_thread();
        if chain_thread.is_some() {
            return Ok(());
        }
        let config = &self.config;
        let head_file = HeadFile::new(state_dir, config.chain_id);
        let saved = head_file.load().map_err(NodeError::HeadFile)?;
        let validator = producer_config(config).map(|producer| -> Result<_, NodeError> {
            let key = producer.key.verifying_key();
            let file = SignedFile::new(state_dir, config.chain_id, key.as_bytes());
            let signed = file.load().map_err(NodeError::SignedFile)?;
            Ok((Producer::new(producer, signed, Lanes::new()), file))
        });
        let mempool_file = MempoolFile::new(state_dir, config.chain_id);
        let mempool = restored_mempool(config, &mempool_file);
        let network = self.handle()?;
        let thread = ChainThread::start(ChainParts {
            store: self.store.clone(),
            network: network.clone(),
            view: self.chain.clone(),
            head_file,
            saved,
            verifier: VerifierConfig::from(config),
            validator: validator.transpose()?,
            mempool,
            mempool_file,
        });
        let thread = thread.map_err(NodeError::ChainThread)?;
        network.tell_chain(thread.inbox().clone())?;
        *chain_thread = Some(thread);
        Ok(())
    }

    /// Takes a transaction that is stored here into the mempool as one of a local user, which is
    /// announced to validators until it is included. What becomes of it shows in [`Node::chain`].
    /// `false` if no chain is followed.
    pub fn submit_transaction(&self, id: AtomId) -> bool {
        let chain_thread = self.chain_thread();
        let inbox = chain_thread.as_ref().map(ChainThread::inbox);
        inbox.is_some_and(|inbox| {
            inbox.offer(Input::Transaction {
                peer: None,
                group: None,
                id,
            })
        })
    }

    pub(super) fn stop_chain(&self) {
        // Taken out first, so that stopping does not hold the lock.
        let thread = self.chain_thread().take();
        drop(thread);
    }

    fn chain_thread(&self) -> MutexGuard<'_, Option<ChainThread>> {
        self.chain_thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the mempool with what an earlier run had saved. A file that cannot be read costs its
/// contents, not the start.
fn restored_mempool(config: &Config, file: &MempoolFile) -> Mempool {
    let mut mempool = Mempool::new(MempoolConfig {
        reference_followers: config.reference_followers,
        is_validator: config.validation_secret_key.is_some(),
        ..MempoolConfig::default()
    });
    let path = file.path().display();
    let restored = match file.load() {
        Ok(bytes) => mempool.restore(&bytes),
        Err(error) => {
            log::warn!("failed to read the mempool of the last run from {path}: {error}");
            return mempool;
        }
    };
    match restored {
        Ok(0) => {}
        Ok(count) => log::info!("restored the mempool: path={path} transactions={count}"),
        Err(damage) => {
            log::warn!("the mempool of the last run is damaged: path={path}: {damage}");
        }
    }
    mempool
}

/// How this node validates, if it does.
fn producer_config(config: &Config) -> Option<ProducerConfig> {
    let secret = config.validation_secret_key.as_ref()?;
    let key = SigningKey::from_seed(secret.expose());
    // At most 65,536.
    let transactions = usize::try_from(config.max_block_transactions).unwrap_or(usize::MAX);
    Some(ProducerConfig {
        chain_id: config.chain_id,
        claim_reward: config.claim_reward,
        reference_followers: config.reference_followers,
        max_block_transactions: transactions,
        max_block_growth_bytes: config.max_block_growth_bytes,
        has_seeds: config.default_seed.is_some() || !config.additional_seeds.is_empty(),
        ..ProducerConfig::new(key)
    })
}
