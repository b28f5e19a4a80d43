//! Chain thread, started and stopped with its node.

use super::chain_start::{self, Start};
use super::{Node, NodeError};
use crate::chain_service::dir::ChainDir;
use crate::chain_service::mempool_file::MempoolFile;
use crate::chain_service::producer::{Producer, ProducerConfig, ValidatorKey};
use crate::chain_service::signer::SignerConfig;
use crate::chain_service::snapshot::{self, SnapshotParts, SnapshotStatus, SnapshotThread};
use crate::chain_service::thread::{ChainParts, ChainThread};
use crate::chain_service::{ChainStatus, Input, SyncConfig};
use crate::config::{Secret, Settings, SyncMode};
use crate::key_file::{KeyKind, NodeKeys};
use crate::log;
use crate::net::NetworkHandle;
use crate::simd::Lanes;
use astreum_core::atom::AtomId;
use astreum_core::consensus::mempool::{Mempool, MempoolConfig};
use astreum_core::crypto::{SigningKey, VerifyingKey};
use core::time::Duration;
use std::path::{Path, PathBuf};
use std::sync::{MutexGuard, PoisonError};

/// Maximum time that a decision on a fork waits for the chain thread.
const DECISION_TIMEOUT: Duration = Duration::from_secs(20);

impl Node {
    /// Takes part in the chain: resumes from the head journal in `chain_dir` or below
    /// `cold_storage_path`, and validates if the configuration has a validation key. Has no effect
    /// if the chain is already followed; the thread runs until the node is disconnected. Files of
    /// the previous format in `state_dir` are imported.
    ///
    /// # Errors
    /// Fails if the node is not connected, if a file of the last run cannot be used, or if a second
    /// chain would begin.
    pub fn start_chain(&self, state_dir: &Path) -> Result<(), NodeError> {
        self.logged(|| self.start_chain_in(state_dir))
    }

    fn start_chain_in(&self, state_dir: &Path) -> Result<(), NodeError> {
        self.check()?;
        let mut chain_thread = self.chain_thread();
        if chain_thread.is_some() {
            return Ok(());
        }
        let settings = &self.settings;
        let validator = self.validation_key().clone();
        let producer = validator.as_ref();
        let producer = producer.map(|validator| producer_config(settings, validator));
        let producer = producer.transpose()?;
        let mempool_file = MempoolFile::new(state_dir, settings.chain_id);
        let mempool = restored_mempool(settings, producer.is_some(), &mempool_file);
        let network = self.handle()?;
        let key = producer.as_ref();
        let key = key.map(|producer| *producer.key.verifying_key().as_bytes());
        let Start {
            dir,
            saved,
            signed,
            requested,
        } = chain_start::open(settings, key, state_dir, &self.store)?;
        let chain_path = dir.as_ref().map(|dir| dir.path().to_owned());
        let is_snapshot = settings.sync == SyncMode::Snapshot;
        let root = saved.as_ref().and_then(|head| head.root);
        let unfinished = chain_path.as_ref();
        let unfinished =
            unfinished.and_then(|dir| snapshot::unfinished(dir, &self.store, root, is_snapshot));
        let decisions = dir.as_ref().map(ChainDir::decisions).transpose()?;
        let decisions = decisions.unwrap_or_default();
        let producer = producer.map(|producer| {
            Producer::new(producer, signed, Lanes::new()).with_requested(requested)
        });
        let thread = ChainThread::start(ChainParts {
            store: self.store.clone(),
            network: network.clone(),
            view: self.chain.clone(),
            dir,
            saved,
            sync: SyncConfig {
                decisions,
                ..SyncConfig::from(settings)
            },
            validator: producer.zip(key),
            signer: validator.and_then(|validator| validator.signer(settings.chain_id)),
            mempool,
            mempool_file,
            state_dir: state_dir.to_owned(),
            failure: self.failure.clone(),
        });
        let thread = thread.map_err(NodeError::ChainThread)?;
        network.attach_chain(thread.inbox().clone())?;
        self.start_index(chain_path.as_deref())?;
        if is_snapshot || unfinished.is_some() {
            let block = unfinished.or(settings.checkpoint);
            *self.snapshot_thread() = Some(self.start_snapshot(network, block, chain_path)?);
        }
        *chain_thread = Some(thread);
        *self
            .state_dir
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(state_dir.to_owned());
        Ok(())
    }

    /// Validates with this key from now on, instead of any other. The chain thread restarts.
    ///
    /// # Errors
    /// Fails if the chain is not followed, or if the key cannot validate here; the node then
    /// continues as before.
    pub fn start_validating(&self, key: Secret) -> Result<(), NodeError> {
        self.validate_with(Some(Validator::Secret(key)))
    }

    /// Stops validating, and continues to follow the chain.
    ///
    /// # Errors
    /// Fails if the chain is not followed, or if its files cannot be used.
    pub fn stop_validating(&self) -> Result<(), NodeError> {
        self.validate_with(None)
    }

    fn validate_with(&self, key: Option<Validator>) -> Result<(), NodeError> {
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

    fn validation_key(&self) -> MutexGuard<'_, Option<Validator>> {
        let key = self.validation_key.lock();
        key.unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a stored transaction to the mempool as one of a local user; it is announced to
    /// validators until it is included. [`Node::chain`] shows its state. Returns `false` if the
    /// chain is not followed.
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

    /// Prefers the branch through this block to all others, however deep the reorganization; the
    /// decision survives a restart. Returns the status that includes it.
    ///
    /// # Errors
    /// Fails if the chain is not followed.
    pub fn adopt_fork(&self, id: AtomId) -> Result<ChainStatus, NodeError> {
        let is_taken = |status: &ChainStatus| status.sync.decisions.adopted == Some(id);
        self.decide(Input::AdoptFork(id), is_taken)
    }

    /// Rejects all branches through this block; the decision survives a restart. Returns the status
    /// that includes it.
    ///
    /// # Errors
    /// Fails if the chain is not followed.
    pub fn avoid_block(&self, id: AtomId) -> Result<ChainStatus, NodeError> {
        let is_taken = |status: &ChainStatus| status.sync.decisions.avoided.contains(&id);
        self.decide(Input::AvoidBlock(id), is_taken)
    }

    /// Sends a decision to the chain thread and waits until it has taken effect.
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

    /// Fetches the state after `block`, or after the block at which the chain is joined.
    fn start_snapshot(
        &self,
        network: NetworkHandle,
        block: Option<AtomId>,
        dir: Option<PathBuf>,
    ) -> Result<SnapshotThread, NodeError> {
        let thread = SnapshotThread::start(SnapshotParts {
            store: self.store.clone(),
            network,
            view: self.chain.clone(),
            block,
            dir,
            failure: self.failure.clone(),
        });
        thread.map_err(NodeError::ChainThread)
    }

    /// Returns the progress of the snapshot, if the node joins a chain by one.
    #[must_use]
    pub fn snapshot(&self) -> Option<SnapshotStatus> {
        self.snapshot_thread()
            .as_ref()
            .and_then(SnapshotThread::status)
    }

    fn snapshot_thread(&self) -> MutexGuard<'_, Option<SnapshotThread>> {
        self.snapshot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn stop_chain(&self) {
        drop(self.snapshot_thread().take());
        self.stop_index();
        // Taken out first, so that the lock is not held while the thread stops.
        let thread = self.chain_thread().take();
        drop(thread);
    }

    fn chain_thread(&self) -> MutexGuard<'_, Option<ChainThread>> {
        self.chain_thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the mempool with the transactions saved by an earlier run. If the file cannot be read,
/// its contents are lost, but the start continues.
fn restored_mempool(settings: &Settings, is_validator: bool, file: &MempoolFile) -> Mempool {
    let mut mempool = Mempool::new(MempoolConfig {
        reference_followers: settings.reference_followers,
        is_validator,
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

/// Key that a node validates with.
#[derive(Clone, Debug)]
pub(super) enum Validator {
    /// The node has the key.
    Secret(Secret),
    /// A signer has the key.
    Signer {
        /// Unix socket of the signer.
        socket: PathBuf,
        /// Public key.
        public_key: [u8; 32],
    },
}

impl Validator {
    /// Returns the configured key, if there is one.
    pub(super) fn of(settings: &Settings, keys: &NodeKeys) -> Option<Self> {
        let signer = settings.validation_signer.clone();
        match signer.zip(settings.validation_public_key) {
            Some((socket, public_key)) => Some(Self::Signer {
                socket,
                public_key: *public_key.as_bytes(),
            }),
            None => keys.validation.clone().map(Self::Secret),
        }
    }

    /// Returns the public key.
    pub(super) fn public_key(&self) -> [u8; 32] {
        match self {
            Self::Secret(secret) => KeyKind::Validation.public_key(secret),
            Self::Signer { public_key, .. } => *public_key,
        }
    }

    fn signer(self, chain_id: u64) -> Option<SignerConfig> {
        match self {
            Self::Secret(_) => None,
            Self::Signer { socket, public_key } => Some(SignerConfig {
                socket,
                public_key,
                chain_id,
            }),
        }
    }
}

/// Returns the configuration of block production with this key.
fn producer_config(
    settings: &Settings,
    validator: &Validator,
) -> Result<ProducerConfig, NodeError> {
    let key: ValidatorKey = match validator {
        Validator::Secret(secret) => SigningKey::from_seed(secret.expose()).into(),
        Validator::Signer { public_key, .. } => VerifyingKey::from_bytes(public_key)
            .map_err(|_| NodeError::ValidationPublicKey)?
            .into(),
    };
    // At most 65,536.
    let transactions = usize::try_from(settings.max_block_transactions).unwrap_or(usize::MAX);
    Ok(ProducerConfig {
        chain_id: settings.chain_id,
        claim_reward: settings.claim_reward,
        reference_followers: settings.reference_followers,
        max_block_transactions: transactions,
        max_block_growth_bytes: settings.max_block_growth_bytes,
        block_interval_seconds: settings.block_interval,
        has_seeds: settings.has_seeds(),
        ..ProducerConfig::new(key)
    })
}
