//! The thread of the chain, started and stopped with its node.

use super::chain_start::{self, Start};
use super::{Node, NodeError};
use crate::chain::dir::ChainDir;
use crate::chain::mempool_file::MempoolFile;
use crate::chain::producer::{Producer, ProducerConfig};
use crate::chain::{ChainStatus, Input, SyncConfig};
use crate::config::{Config, Secret};
use crate::lanes::Lanes;
use crate::log;
use crate::work::chain::{ChainParts, ChainThread};
use astreum_core::atom::AtomId;
use astreum_core::consensus::mempool::{Mempool, MempoolConfig};
use astreum_core::crypto::SigningKey;
use core::time::Duration;
use std::path::Path;
use std::sync::{MutexGuard, PoisonError};

/// How long a decision on a fork waits for the chain's thread.
const DECISION_TIMEOUT: Duration = Duration::from_secs(20);

impl Node {
    /// Takes part in the chain: resumes from the head journal in `chain_dir` or below
    /// `cold_storage_path`, and validates if the configuration has a validation key. Once it does, it
    /// stays so until it is disconnected. Files of the previous format in `state_dir` are taken over.
    ///
    /// # Errors
    /// When the node is not connected, a file of the last run cannot be used, or a second chain would
    /// begin.
    pub fn start_chain(&self, state_dir: &Path) -> Result<(), NodeError> {
        self.logged(|| self.start_chain_in(state_dir))
    }

    fn start_chain_in(&self, state_dir: &Path) -> Result<(), NodeError> {
        self.check()?;
        let mut chain_thread = self.chain_thread();
        if chain_thread.is_some() {
            return Ok(());
        }
        let config = &self.validating_config();
        let mempool_file = MempoolFile::new(state_dir, config.chain_id());
        let mempool = restored_mempool(config, &mempool_file);
        let network = self.handle()?;
        let producer = producer_config(config);
        let key = producer.as_ref();
        let key = key.map(|producer| *producer.key.verifying_key().as_bytes());
        let Start { dir, saved, signed } = chain_start::open(config, key, state_dir, &self.store)?;
        let decisions = dir.as_ref().map(ChainDir::decisions).transpose()?;
        let decisions = decisions.unwrap_or_default();
        let producer = producer.map(|producer| Producer::new(producer, signed, Lanes::new()));
        let thread = ChainThread::start(ChainParts {
            store: self.store.clone(),
            network: network.clone(),
            view: self.chain.clone(),
            dir,
            saved,
            sync: SyncConfig {
                decisions,
                ..SyncConfig::from(config)
            },
            validator: producer.zip(key),
            mempool,
            mempool_file,
            state_dir: state_dir.to_owned(),
            failure: self.failure.clone(),
        });
        let thread = thread.map_err(NodeError::ChainThread)?;
        network.tell_chain(thread.inbox().clone())?;
        *chain_thread = Some(thread);
        *self
            .state_dir
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(state_dir.to_owned());
        Ok(())
    }

    /// Validates with this key from now on, in place of another one. The chain's thread starts again.
    ///
    /// # Errors
    /// When the chain is not followed, or the key cannot validate here; the node goes on as before.
    pub fn start_validating(&self, key: Secret) -> Result<(), NodeError> {
        self.validate_with(Some(key))
    }

    /// Validates no more, and follows the chain.
    ///
    /// # Errors
    /// When the chain is not followed, or its files cannot be used.
    pub fn stop_validating(&self) -> Result<(), NodeError> {
        self.validate_with(None)
    }

    fn validate_with(&self, key: Option<Secret>) -> Result<(), NodeError> {
        let state_dir = self.state_dir.lock();
        let state_dir = state_dir.unwrap_or_else(PoisonError::into_inner).clone();
        let state_dir = state_dir.ok_or(NodeError::ChainNotStarted)?;
        let network = self.handle()?;
        let before = core::mem::replace(&mut *self.validation_key(), key);
        self.stop_chain();
        network.set_validator(false)?;
        let started = self.start_chain(&state_dir);
        if started.is_err() {
            *self.validation_key() = before;
            self.start_chain(&state_dir)?;
        }
        started
    }

    pub(super) fn has_validation_key(&self) -> bool {
        self.validation_key().is_some()
    }

    /// The configuration with the key that is validated with.
    fn validating_config(&self) -> Config {
        Config {
            validation_secret_key: self.validation_key().clone(),
            ..self.config.clone()
        }
    }

    fn validation_key(&self) -> MutexGuard<'_, Option<Secret>> {
        let key = self.validation_key.lock();
        key.unwrap_or_else(PoisonError::into_inner)
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

    /// Prefers the branch through this block to all others, however deep it left ours; the decision
    /// survives a restart. Returns the status with it.
    ///
    /// # Errors
    /// When no chain is followed.
    pub fn adopt_fork(&self, id: AtomId) -> Result<ChainStatus, NodeError> {
        let is_taken = |status: &ChainStatus| status.sync.decisions.adopted == Some(id);
        self.decide(Input::AdoptFork(id), is_taken)
    }

    /// Allows no branch through this block; the decision survives a restart. Returns the status with
    /// it.
    ///
    /// # Errors
    /// When no chain is followed.
    pub fn avoid_block(&self, id: AtomId) -> Result<ChainStatus, NodeError> {
        let is_taken = |status: &ChainStatus| status.sync.decisions.avoided.contains(&id);
        self.decide(Input::AvoidBlock(id), is_taken)
    }

    /// Hands a decision to the chain's thread and waits until it is taken.
    fn decide(
        &self,
        input: Input,
        is_taken: impl Fn(&ChainStatus) -> bool,
    ) -> Result<ChainStatus, NodeError> {
        self.check()?;
        let inbox = self.chain_thread().as_ref().map(|it| it.inbox().clone());
        inbox.ok_or(NodeError::NotConnected)?.answer(input);
        let taken = self.chain.wait_until(DECISION_TIMEOUT, is_taken);
        taken.ok_or(NodeError::ChainBusy)
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
        chain_id: config.chain_id(),
        claim_reward: config.claim_reward,
        reference_followers: config.reference_followers,
        max_block_transactions: transactions,
        max_block_growth_bytes: config.max_block_growth_bytes,
        has_seeds: config.default_seed.is_some() || !config.additional_seeds.is_empty(),
        ..ProducerConfig::new(key)
    })
}
