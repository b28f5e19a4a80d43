//! Node as a library: one [`Node`] holds a store and, once connected, a network.

pub(crate) mod advertisements;
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
mod pins;
mod pruning;
mod reconfigure;
mod refetch;
mod state_dir;
mod view;

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
use crate::config::{Config, Paths, Settings};
use crate::failure::Failure;
use crate::key_file::NodeKeys;
pub use crate::net::{Advertisement, NetworkStatus, Peer, Provider};
use crate::net::{FetchFailure, FetchedObject, Network, NetworkHandle};
use crate::port_mapping::{MappingStatus, PortMapper};
use crate::store::cold::{ColdStats, ColdStore};
use crate::store::hot::HotStats;
use crate::store::{Durability, Store, open_cold};
use crate::transaction_index::TransactionIndex;
use astreum_core::atom::{Atom, AtomId, ListError, SourceError, bytes_list, collect_list};
use astreum_core::chain::{ElectionCache, StakeTable};
use astreum_core::crypto::{PublicKey, SecretKey};
use astreum_core::engine::{FetchError, FetchProgress, FetchRequest};
use astreum_core::expr::Expr;
use astreum_core::machine::{Env, Evaluation, Limits, Machine};
use astreum_core::wire::object::PayloadType;
use core::net::{IpAddr, SocketAddr};
use known_peers::KnownPeers;
use pruning::{PruneThread, Pruner};
use refetch::Refetch;
use std::net::ToSocketAddrs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use astreum_core::atom::MAX_LIST_ATOMS;

/// Result of storing atoms.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stored {
    /// Id to fetch by: that of the atom, or of the first of several atoms.
    pub id: AtomId,
    /// Durability of the stored atoms.
    pub durability: Durability,
}

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
    /// Why the node's log, or the log of the process if it has none of its own, is not written.
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
/// let atom = bob.get_atom(stored.id)?.ok_or("nobody has it")?;
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

    /// Opens the socket and joins the network; has no effect if the node is connected. The chain is
    /// followed, and a validation key used, after [`Node::start_chain`]; [`Node::builder`] does all
    /// of it.
    ///
    /// # Errors
    /// Fails if the port is in use or not permitted, or if the system cannot create a thread.
    pub fn connect(&self) -> Result<(), NodeError> {
        if self.port().is_some() || !self.has_validation_key() {
            return self.join_network();
        }
        self.logged(|| {
            // Before anything that peers could notice.
            crate::chain_service::dir::location(&self.settings, true)?;
            let executable = std::env::current_exe().unwrap_or_else(|_| "astreum".into());
            let state_dir = Paths::new(&self.settings, &executable).state_dir;
            create_state_dir(&state_dir);
            self.join_network()?;
            let started = self.start_chain(&state_dir);
            if started.is_err() {
                self.disconnect();
            }
            started
        })
    }

    /// Opens the socket and joins the network, and no more.
    pub(crate) fn join_network(&self) -> Result<(), NodeError> {
        self.logged(|| self.open_network())
    }

    fn open_network(&self) -> Result<(), NodeError> {
        self.check()?;
        let mut network = self.network();
        if network.is_none() {
            let seed = clock::entropy().map_err(NodeError::Entropy)?;
            let (secret, store) = (self.secret.0.clone(), self.store.clone());
            let started = Network::start(&self.settings, secret, seed, store, &self.failure)?;
            if self.store.cold().is_some() {
                let (store, handle) = (self.store.clone(), started.handle());
                let refetch = Refetch::start(store, handle, &self.failure);
                *self.refetch() = Some(refetch.map_err(NodeError::RefetchThread)?);
                let thread = PruneThread::start(Arc::clone(&self.pruner), &self.failure);
                *self.prune_thread() = Some(thread.map_err(NodeError::PruneThread)?);
            }
            // Advertisements from before the connection start now; there is room for them.
            started.handle().advertise_all(self.advertised())?;
            let ports = (started.port(), started.stream_port());
            let mapper = PortMapper::start(&self.settings, ports, &self.failure);
            *self.port_mapper() = mapper.map_err(NodeError::PortMappingThread)?;
            *network = Some(started);
        }
        Ok(())
    }

    /// Contacts the validated peers of earlier runs, which are listed in a file in `directory`, and
    /// keeps the file up to date: the node can rejoin when its seeds are gone.
    ///
    /// # Errors
    /// Fails if the node is not connected, or if the system cannot create a thread.
    pub fn remember_peers(&self, directory: &Path) -> Result<(), NodeError> {
        let handle = self.handle()?;
        let mut known = self.known_peers();
        if known.is_none() {
            let started = self.logged(|| KnownPeers::start(directory, handle, &self.failure));
            *known = Some(started.map_err(NodeError::PeersThread)?);
        }
        Ok(())
    }

    /// Leaves the network: acknowledged messages are sent, then the socket is closed. Calls that
    /// wait for the network return at once.
    pub fn disconnect(&self) {
        self.logged(|| self.stop_threads());
    }

    fn stop_threads(&self) {
        // The gateway answers while the others stop.
        let mut port_mapper = self.port_mapper().take();
        if let Some(mapper) = &mut port_mapper {
            mapper.begin_stop();
        }
        self.stop_chain();
        // Updates its file once more.
        let known_peers = self.known_peers().take();
        drop(known_peers);
        // Ends the run that is under way.
        let prune_thread = self.prune_thread().take();
        drop(prune_thread);
        // Taken out first, so that the locks are not held while the threads stop.
        let refetch = self.refetch().take();
        if let Some(refetch) = &refetch {
            refetch.stop();
        }
        let network = self.network().take();
        drop(network);
        drop(refetch);
        drop(port_mapper);
        self.failure.clear();
    }

    /// Starts a handshake with an address; a peer that answers appears in [`Node::peers`].
    ///
    /// # Errors
    /// Fails if the node is not connected, if the name does not resolve to a usable address, or if
    /// the address is the node's own.
    pub fn contact(&self, address: impl ToSocketAddrs) -> Result<SocketAddr, NodeError> {
        let handle = self.handle()?;
        let addresses = address.to_socket_addrs().map_err(NodeError::Resolve)?;
        let address = addresses
            .into_iter()
            .find(|address| address.is_ipv4() || self.settings.use_ipv6)
            .ok_or(NodeError::NoUsableAddress)?;
        if self.port() == Some(address.port()) && is_local(address.ip()) {
            return Err(NodeError::OwnAddress(address));
        }
        handle.contact(address)?;
        Ok(address)
    }

    /// Returns the atom from the store, else from the network; `None` if no peer delivered it in
    /// time.
    ///
    /// # Errors
    /// Fails if too many fetches are in progress.
    pub fn get_atom(&self, id: AtomId) -> Result<Option<Atom>, NodeError> {
        if let Some(atom) = self.logged(|| self.store.get(&id)) {
            return Ok(Some(atom));
        }
        let atoms = self.fetch(id, PayloadType::ATOM)?;
        Ok(atoms.and_then(|atoms| atoms.into_iter().next()))
    }

    /// Returns the list that starts at `head`, in order, from the store, else from the network;
    /// `None` if an atom of it was not found.
    ///
    /// # Errors
    /// Returns [`NodeError::ListTooLong`] if the list has more than [`MAX_LIST_ATOMS`] atoms. Fails
    /// if too many fetches are in progress.
    pub fn get_atom_list(&self, head: AtomId) -> Result<Option<Vec<Atom>>, NodeError> {
        match self.logged(|| collect_list(&self.store, head, MAX_LIST_ATOMS)) {
            Ok(atoms) => Ok(Some(atoms)),
            Err(ListError::Source(SourceError::Missing(_))) => match self.fetch_list(head)? {
                Some(FetchedObject::Atoms(atoms)) => Ok(Some(atoms)),
                Some(FetchedObject::Stored) => {
                    let list = self.logged(|| collect_list(&self.store, head, MAX_LIST_ATOMS));
                    Ok(list.ok())
                }
                None => Ok(None),
            },
            Err(ListError::Source(SourceError::Failed(never))) => match never {},
            Err(ListError::TooLong { max }) => Err(NodeError::ListTooLong { max }),
        }
    }

    /// Stores an atom, which this node then serves to its peers, and pins it: pruning keeps it until
    /// [`Node::unpin`].
    ///
    /// # Errors
    /// Fails if the atom is too large to be sent or stored.
    pub fn put(&self, atom: Atom) -> Result<Stored, NodeError> {
        let id = atom.id();
        let durability = self.logged(|| self.store.put_pinned(vec![(id, atom)]))?;
        Ok(Stored { id, durability })
    }

    /// Stores atoms with a single write to the disk; returns their ids. Those that no other one
    /// leads to are pinned.
    ///
    /// # Errors
    /// Same as [`Node::put`]. Some atoms may have been stored.
    pub fn put_atoms(&self, atoms: Vec<Atom>) -> Result<(Vec<AtomId>, Durability), NodeError> {
        let atoms: Vec<_> = atoms.into_iter().map(|atom| (atom.id(), atom)).collect();
        let ids = atoms.iter().map(|(id, _)| *id).collect();
        Ok((ids, self.logged(|| self.store.put_pinned(atoms))?))
    }

    /// Stores `values` as a list of bytes atoms. The id of an empty list is [`AtomId::ZERO`].
    ///
    /// # Errors
    /// Same as [`Node::put`].
    pub fn put_list<V: AsRef<[u8]>>(&self, values: &[V]) -> Result<Stored, NodeError> {
        let (id, atoms) = bytes_list(values);
        self.put_all(id, atoms)
    }

    /// Stores the atom form of an expression.
    ///
    /// # Errors
    /// Same as [`Node::put`].
    pub fn put_expr(&self, expr: &Expr) -> Result<Stored, NodeError> {
        let (id, atoms) = expr.to_atoms();
        self.put_all(id, atoms)
    }

    fn put_all(&self, id: AtomId, atoms: Vec<Atom>) -> Result<Stored, NodeError> {
        let atoms = atoms.into_iter().map(|atom| (atom.id(), atom)).collect();
        let durability = self.logged(|| self.store.put_pinned(atoms))?;
        Ok(Stored { id, durability })
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

    /// Returns the authenticated peers; an empty list if the node is not connected.
    ///
    /// # Errors
    /// Fails if the network has failed.
    pub fn peers(&self) -> Result<Vec<Peer>, NodeError> {
        match self.handle() {
            Ok(handle) => Ok(handle.peers()?),
            Err(NodeError::NotConnected) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Returns the state of port mapping, if it is configured and the node is connected.
    #[must_use]
    pub fn port_mapping(&self) -> Option<MappingStatus> {
        self.port_mapper().as_ref().map(PortMapper::status)
    }

    /// Removes a peer, which may connect again; returns `false` if the peer is unknown.
    ///
    /// # Errors
    /// Fails if the node is not connected.
    pub fn remove_peer(&self, key: PublicKey) -> Result<bool, NodeError> {
        Ok(self.handle()?.remove_peer(key, false)?)
    }

    /// Removes a peer and drops its packets for as long as the node is connected; returns `false`
    /// if the peer is unknown. Keys cost nothing: a ban keeps a faulty peer away, not an attacker.
    ///
    /// # Errors
    /// Fails if the node is not connected.
    pub fn ban(&self, key: PublicKey) -> Result<bool, NodeError> {
        Ok(self.handle()?.remove_peer(key, true)?)
    }

    /// Ends a ban; returns `false` if the key was not banned.
    ///
    /// # Errors
    /// Fails if the node is not connected.
    pub fn unban(&self, key: PublicKey) -> Result<bool, NodeError> {
        Ok(self.handle()?.unban(key)?)
    }

    /// Returns the keys of banned peers.
    ///
    /// # Errors
    /// Fails if the node is not connected.
    pub fn banned(&self) -> Result<Vec<PublicKey>, NodeError> {
        Ok(self.handle()?.banned()?)
    }

    /// Returns the known providers of an object.
    ///
    /// # Errors
    /// Fails if the node is not connected.
    pub fn providers(&self, id: AtomId) -> Result<Vec<Provider>, NodeError> {
        Ok(self.handle()?.providers(id)?)
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

    /// The bound UDP port, if the node is connected.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.network().as_ref().map(Network::port)
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

    /// Fetches an object from the network; `None` if the node is not connected or no peer delivered
    /// the object in time. If waiting is disabled, only requests the object; a later call finds it.
    fn fetch(&self, id: AtomId, kind: PayloadType) -> Result<Option<Vec<Atom>>, NodeError> {
        let Ok(handle) = self.handle() else {
            return Ok(None);
        };
        if !self.waits() {
            let _ = handle.request(id, kind);
            return Ok(None);
        }
        fetched(handle.fetch(id, kind))
    }

    /// Like [`Self::fetch`], for a list, which may arrive by stream and is then only stored.
    pub(crate) fn fetch_list(&self, head: AtomId) -> Result<Option<FetchedObject>, NodeError> {
        let Ok(handle) = self.handle() else {
            return Ok(None);
        };
        if !self.waits() {
            let _ = handle.request(head, PayloadType::LIST);
            return Ok(None);
        }
        fetched(handle.fetch_list(head))
    }

    /// Fetches a list or its beginning from the network, without querying the store; `report` gets
    /// the progress. Like [`Self::fetch`], fails softly with `None`.
    pub(crate) fn fetch_with_progress(
        &self,
        request: FetchRequest,
        report: &mut dyn FnMut(FetchProgress),
    ) -> Result<Option<FetchedObject>, NodeError> {
        let Ok(handle) = self.handle() else {
            return Ok(None);
        };
        if !self.waits() {
            let _ = handle.request(request.id, request.kind);
            return Ok(None);
        }
        fetched(handle.fetch_with_progress(request, report))
    }

    pub(crate) fn waits(&self) -> bool {
        !self.settings.atom_fetch_interval.is_zero() && self.settings.atom_fetch_retries > 0
    }

    fn handle(&self) -> Result<NetworkHandle, NodeError> {
        self.check()?;
        let handle = self.network().as_ref().map(Network::handle);
        handle.ok_or(NodeError::NotConnected)
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

    fn known_peers(&self) -> MutexGuard<'_, Option<KnownPeers>> {
        let known = self.known_peers.lock();
        known.unwrap_or_else(PoisonError::into_inner)
    }

    fn port_mapper(&self) -> MutexGuard<'_, Option<PortMapper>> {
        let mapper = self.port_mapper.lock();
        mapper.unwrap_or_else(PoisonError::into_inner)
    }

    fn prune_thread(&self) -> MutexGuard<'_, Option<PruneThread>> {
        let thread = self.prune_thread.lock();
        thread.unwrap_or_else(PoisonError::into_inner)
    }

    fn refetch(&self) -> MutexGuard<'_, Option<Refetch>> {
        self.refetch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn network(&self) -> MutexGuard<'_, Option<Network>> {
        self.network.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns whether an address belongs to this host: sockets can be bound to those only.
fn is_local(ip: IpAddr) -> bool {
    ip.is_loopback() || std::net::UdpSocket::bind((ip, 0)).is_ok()
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

/// Maps an object that no peer delivered to `None`.
fn fetched<T>(outcome: Result<T, FetchFailure>) -> Result<Option<T>, NodeError> {
    match outcome {
        Ok(object) => Ok(Some(object)),
        Err(FetchFailure::Network(FetchError::NotFound | FetchError::Timeout)) => Ok(None),
        Err(FetchFailure::Network(error)) => Err(NodeError::Fetch(error)),
        Err(FetchFailure::Stopped | FetchFailure::Abandoned) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
