//! Node as a library: one [`Node`] holds a store and, once connected, a network.

pub(crate) mod advertisements;
mod atoms;
mod backup;
mod builder;
mod chain;
pub(crate) mod chain_start;
mod chain_thread;
mod environments;
mod error;
mod history;
mod known_peers;
mod line_file;
mod network;
mod pins;
mod pruning;
mod reconfigure;
mod refetch;
mod state_dir;
mod view;

pub use atoms::Stored;
pub use backup::BackupError;
pub use builder::NodeBuilder;
pub use chain::{
    AccountState, QUERY_TIMEOUT, SendError, SentTransaction, TRANSACTION_LIFETIME,
    TransactionState, Until, Validators,
};
pub use error::NodeError;
pub use pins::Pinned;
pub(crate) use pruning::Limits as PruneLimits;
pub use pruning::PruneStatus;
pub(crate) use reconfigure::LIVE_KEYS;
pub(crate) use state_dir::create_state_dir;
pub use view::NodeStore;

use crate::chain_service::ChainView;
use crate::chain_service::snapshot::SnapshotThread;
use crate::chain_service::thread::ChainThread;
use crate::clock;
use crate::config::{Config, Settings};
use crate::failure::Failure;
use crate::key_file::NodeKeys;
use crate::net::Network;
pub use crate::net::{Advertisement, NetworkStatus, Peer, Provider};
use crate::port_mapping::PortMapper;
use crate::store::cold::{ColdStats, ColdStore};
use crate::store::hot::HotStats;
use crate::store::{Durability, Store, open_cold};
use crate::transaction_index::TransactionIndex;
use astreum_core::chain::{ElectionCache, StakeTable};
use astreum_core::crypto::{PublicKey, SecretKey};
use astreum_core::expr::Expr;
use astreum_core::machine::{Env, Evaluation, Limits, Machine};
use known_peers::KnownPeers;
use pruning::{PruneThread, Pruner};
use refetch::Refetch;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

pub use astreum_core::atom::MAX_LIST_ATOMS;

/// Status of a node.
#[derive(Clone, Debug)]
pub struct Status {
    /// Public key of the relay.
    pub public_key: PublicKey,
    /// Bound UDP port, if the node is connected.
    pub port: Option<u16>,
    /// Statistics of the atoms in memory.
    pub hot: HotStats,
    /// Statistics of cold storage, if there is one.
    pub cold: Option<ColdStats>,
    /// Durability of a `put`.
    pub durability: Durability,
    /// Status of the network, if the node is connected.
    pub network: Option<NetworkStatus>,
    /// Reason that the node's log, or the log of the process if it has none of its own, is not written.
    pub log_problem: Option<String>,
}

/// A node: stores, serves, fetches and evaluates atoms.
///
/// A new node is not connected; [`Node::connect`] opens its socket and joins the network. All
/// methods take `&self` and may be called from several threads. Methods that fetch wait for at most
/// `atom_fetch_interval × atom_fetch_retries`. Dropping the node disconnects it. A panic of one of
/// its threads stops the node; its methods return [`NodeError::Panicked`] from then on.
///
/// ```
/// use astreum_core::atom::Atom;
/// use astreum_node::{Node, config::Config};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let alone = || Config { incoming_port: 0, default_seed: None, ..Config::default() };
/// let (alice, bob) = (Node::new(alone())?, Node::new(alone())?);
/// alice.connect()?;
/// bob.connect()?;
/// bob.contact(("127.0.0.1", alice.port().ok_or("not connected")?))?;
///
/// let stored = alice.put(Atom::bytes(*b"hello"))?;
/// let atom = bob.get_atom(stored.id)?.ok_or("no peer has it")?;
/// assert_eq!(atom.data(), b"hello");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Node {
    settings: Settings,
    public_key: PublicKey,
    store: Store,
    // Declared before the network, which it uses, so that it is dropped first.
    chain_thread: Mutex<Option<ChainThread>>,
    snapshot: Mutex<Option<SnapshotThread>>,
    index: Mutex<Option<TransactionIndex>>,
    network: Mutex<Option<Network>>,
    refetch: Mutex<Option<Refetch>>,
    known_peers: Mutex<Option<KnownPeers>>,
    port_mapper: Mutex<Option<PortMapper>>,
    chain: ChainView,
    failure: Failure,
    /// Data that earlier queries about validators have read.
    elections: Mutex<ElectionCache>,
    /// Stakes that the last query about a confirmation has read.
    stakes: Mutex<StakeTable>,
    environments: environments::Environments,
    advertised: Arc<Mutex<advertisements::Advertised>>,
    pruner: Arc<Pruner>,
    prune_thread: Mutex<Option<PruneThread>>,
    /// Validation key that the node was created with; its account is the node's own.
    own_key: Option<[u8; 32]>,
    /// Key that the node validates with.
    validation_key: Mutex<Option<chain_thread::Validator>>,
    /// Directory of the chain thread's files, once that thread was started.
    state_dir: Mutex<Option<PathBuf>>,
    /// Limits of evaluations.
    eval_limits: Mutex<Limits>,
    secret: Secret,
    // Declared last so that it is dropped last.
    own_log: Option<builder::OwnLog>,
}

/// Secret key that `Debug` does not show.
struct Secret(SecretKey);

impl core::fmt::Debug for Secret {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("…")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Threads end in the order of their dependencies, and before the log.
        self.disconnect();
    }
}

impl Node {
    /// Resolves a configuration, reads its key files, and creates a node with these, not connected.
    ///
    /// # Errors
    /// Fails if the configuration is invalid or a key file cannot be used; otherwise the same as
    /// [`Node::with_settings`].
    pub fn new(config: Config) -> Result<Self, NodeError> {
        let settings = config.resolve().map_err(NodeError::Config)?;
        let keys = NodeKeys::read(&settings).map_err(NodeError::KeyFile)?;
        Self::with_settings(settings, keys)
    }

    /// Creates a node with these settings and keys, not connected. Without a relay key the node
    /// generates one for its lifetime.
    ///
    /// # Errors
    /// Fails if cold storage cannot be opened, or if the system has no entropy.
    pub fn with_settings(settings: Settings, keys: NodeKeys) -> Result<Self, NodeError> {
        let secret = relay_secret(&keys)?;
        let cold = open_cold(&settings, true).map_err(NodeError::ColdStorage)?;
        let store = Store::with_cold(settings.hot_storage_limit, cold);
        let validator = chain_thread::Validator::of(&settings, &keys);
        let own_key = validator.as_ref().map(chain_thread::Validator::public_key);
        let (chain, advertised) = (ChainView::default(), Arc::default());
        let pruner = Pruner::new(
            &settings,
            store.clone(),
            chain.clone(),
            Arc::clone(&advertised),
        );
        let pruner = Arc::new(pruner);
        Ok(Self {
            public_key: secret.public_key(),
            secret: Secret(secret),
            store,
            chain_thread: Mutex::new(None),
            snapshot: Mutex::new(None),
            index: Mutex::new(None),
            network: Mutex::new(None),
            elections: Mutex::default(),
            refetch: Mutex::new(None),
            known_peers: Mutex::new(None),
            port_mapper: Mutex::new(None),
            stakes: Mutex::default(),
            chain,
            failure: Failure::default(),
            environments: environments::Environments::default(),
            advertised,
            pruner,
            prune_thread: Mutex::default(),
            validation_key: Mutex::new(validator),
            state_dir: Mutex::new(None),
            own_log: None,
            eval_limits: Mutex::new(settings.eval_limits()),
            settings,
            own_key,
        })
    }

    /// Evaluates an expression over this node's atoms; missing atoms are fetched.
    ///
    /// ```
    /// use astreum_core::{expr::Expr, machine::Env, text};
    /// use astreum_node::{Node, config::Config};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let node = Node::new(Config::default())?;
    /// let sum = text::parse("(1 2 ((a b (($0 $1 add) sk)) (a b) fn))")?;
    /// assert_eq!(node.eval(&sum, &mut Env::new()).value(), &Expr::bytes([3]));
    /// # Ok(())
    /// # }
    /// ```
    pub fn eval(&self, expr: &Expr, env: &mut Env) -> Evaluation {
        self.machine().eval(expr, env)
    }

    /// Returns a machine over this node's atoms with the limits of its configuration, for callers
    /// that set a meter, an interrupt or other limits.
    #[must_use]
    pub fn machine(&self) -> Machine<NodeStore> {
        let limits = *self
            .eval_limits
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Machine::with_limits(self.view(), limits)
    }

    /// Returns this node's atoms as a source that fetches missing atoms, and as a sink.
    #[must_use]
    pub fn view(&self) -> NodeStore {
        NodeStore::new(self.store.clone(), self.handle().ok(), self.waits())
    }

    /// Returns the status of the node.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            public_key: self.public_key,
            port: self.port(),
            hot: self.store.hot_stats(),
            cold: self.store.cold().map(ColdStore::stats),
            durability: self.store.durability(),
            network: self.handle().ok().and_then(|handle| handle.status().ok()),
            log_problem: match &self.own_log {
                Some(own_log) => own_log.problem(),
                None => crate::log::problem(),
            },
        }
    }

    /// Runs `work` on the caller's thread, whose lines go to the node's own log, if it has one.
    pub(crate) fn logged<T>(&self, work: impl FnOnce() -> T) -> T {
        crate::log::within(self.failure.log(), work)
    }

    /// Returns the relay's public key.
    #[must_use]
    pub const fn public_key(&self) -> PublicKey {
        self.public_key
    }

    /// Returns the settings that the node runs with.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Returns this node's view of the chain, which changes over time.
    #[must_use]
    pub const fn chain(&self) -> &ChainView {
        &self.chain
    }

    /// Returns the local store, which does not use the network.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// Checks that no thread of the node has panicked.
    ///
    /// # Errors
    /// Returns [`NodeError::Panicked`] if one did.
    pub fn check(&self) -> Result<(), NodeError> {
        match self.failure.panic() {
            Some(panic) => Err(NodeError::Panicked(panic)),
            None => Ok(()),
        }
    }
}

/// Returns the configured relay key, else a new one.
fn relay_secret(keys: &NodeKeys) -> Result<SecretKey, NodeError> {
    if let Some(secret) = &keys.relay {
        return Ok(SecretKey::from_bytes(*secret.expose()));
    }
    clock::entropy()
        .map(SecretKey::from_bytes)
        .map_err(NodeError::Entropy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use astreum_core::atom::AtomId;
    use core::time::Duration;

    #[test]
    fn thread_panic_stops_the_node_and_is_returned_by_its_calls() {
        let scratch = tempfile::tempdir().unwrap();
        let node = Node::new(Config {
            incoming_port: 0,
            default_seed: None,
            ..Config::default()
        });
        let node = node.unwrap();
        node.connect().unwrap();
        node.start_chain(scratch.path()).unwrap();
        let handle = node.handle().unwrap();
        assert!(node.check().is_ok() && handle.status().is_ok());
        let failure = node.failure.clone();
        let thread = std::thread::Builder::new().name("worker".to_owned());
        let thread = thread.spawn(move || failure.watch(|| panic!("on purpose")));
        assert_eq!(thread.unwrap().join().unwrap(), None::<()>);
        for error in [
            node.check().unwrap_err(),
            node.peers().unwrap_err(),
            node.connect().unwrap_err(),
            node.start_chain(scratch.path()).unwrap_err(),
            node.adopt_fork(AtomId::ZERO).unwrap_err(),
        ] {
            assert!(matches!(error, NodeError::Panicked(_)), "{error}");
            assert!(
                error
                    .to_string()
                    .contains("\"worker\" panicked: on purpose")
            );
        }
        // The threads end on their own, and the host program continues.
        let began = std::time::Instant::now();
        while handle.status().is_ok() {
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "the network is still running"
            );
            std::thread::yield_now();
        }
        node.disconnect();
    }
}
