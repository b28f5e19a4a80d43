//! A node as a library: one [`Node`] holds a store and, once connected, a network.

mod advertisements;
mod builder;
mod chain;
pub(crate) mod chain_start;
mod chain_thread;
mod environments;
mod error;
mod known_peers;
mod line_file;
mod refetch;
mod view;

pub use builder::NodeBuilder;
pub use chain::{
    AccountState, QUERY_TIMEOUT, SendError, SentTransaction, TRANSACTION_LIFETIME,
    TransactionState, Until, Validators,
};
pub use error::NodeError;
pub use view::NodeStore;

use crate::chain::ChainView;
use crate::clock;
use crate::config::{self, Config, Paths};
use crate::failure::Failure;
pub use crate::net::{Advertisement, NetworkStatus, Peer, Provider};
use crate::net::{FetchFailure, Network, NetworkHandle};
use crate::store::cold::{ColdOptions, ColdStats, ColdStore};
use crate::store::hot::HotStats;
use crate::store::{Durability, Store};
use crate::work::chain::ChainThread;
use astreum_core::atom::{Atom, AtomId, ListError, SourceError, bytes_list, collect_list};
use astreum_core::chain::{ElectionCache, StakeTable};
use astreum_core::crypto::{PublicKey, SecretKey};
use astreum_core::expr::Expr;
use astreum_core::machine::{Env, Evaluation, Machine};
use astreum_core::wire::engine::FetchError;
use astreum_core::wire::object::PayloadType;
use core::net::{IpAddr, SocketAddr};
use known_peers::KnownPeers;
use refetch::Refetch;
use std::net::ToSocketAddrs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The longest chain that is walked; as long as consensus lets a list be.
pub const MAX_LIST_ATOMS: usize = 1 << 20;

/// What keeping atoms gave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stored {
    /// The id to ask for: that of the atom, or of the first of several.
    pub id: AtomId,
    /// How long it lasts.
    pub durability: Durability,
}

/// How a node is doing.
#[derive(Clone, Debug)]
pub struct Status {
    /// The relay's public key.
    pub public_key: PublicKey,
    /// The bound UDP port, if the node is connected.
    pub port: Option<u16>,
    /// Atoms in memory.
    pub hot: HotStats,
    /// Cold storage, where there is one.
    pub cold: Option<ColdStats>,
    /// How long a `put` lasts.
    pub durability: Durability,
    /// The network, if the node is connected.
    pub network: Option<NetworkStatus>,
    /// Why the node's log, or the log of the process if it has none of its own, is not written.
    pub log_problem: Option<String>,
}

/// A node: it keeps, serves, fetches and evaluates atoms.
///
/// A new node is on its own; [`Node::connect`] opens its socket and joins the network. All methods
/// take `&self` and may be called from several threads. Those that fetch wait for the answer, at
/// most `atom_fetch_interval × atom_fetch_retries`. Dropping the node disconnects it. A panic of one of
/// its threads stops it: [`NodeError::Panicked`] from then on.
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
    config: Config,
    public_key: PublicKey,
    store: Store,
    // Before the network, which it uses, and ended before it.
    chain_thread: Mutex<Option<ChainThread>>,
    network: Mutex<Option<Network>>,
    refetch: Mutex<Option<Refetch>>,
    known_peers: Mutex<Option<KnownPeers>>,
    chain: ChainView,
    failure: Failure,
    /// What questions about validators have read.
    elections: Mutex<ElectionCache>,
    /// The stakes that the last question about a confirmation has read.
    stakes: Mutex<StakeTable>,
    environments: environments::Environments,
    advertised: Mutex<advertisements::Advertised>,
    /// The key that it validates with.
    validation_key: Mutex<Option<config::Secret>>,
    /// Where the files of the chain's thread are, once it was started.
    state_dir: Mutex<Option<PathBuf>>,
    secret: Secret,
    // The last to go.
    own_log: Option<builder::OwnLog>,
}

/// Keeps the key out of `Debug`.
struct Secret(SecretKey);

impl core::fmt::Debug for Secret {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("…")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // In the order that threads need, and before the log ends.
        self.disconnect();
    }
}

impl Node {
    /// A node with this configuration, not connected. Key files are read; without a relay key it
    /// gets a new one for as long as it lives.
    ///
    /// # Errors
    /// When the configuration is not valid, a key file cannot be used, or the system has no
    /// entropy.
    pub fn new(config: Config) -> Result<Self, NodeError> {
        let mut config = config.resolve().map_err(NodeError::Config)?;
        config.read_key_files().map_err(NodeError::KeyFile)?;
        let secret = relay_secret(&config)?;
        let cold = config.cold_storage_path.as_deref().map(|path| {
            ColdStore::open(path, ColdOptions::from_config(&config)).map_err(NodeError::ColdStorage)
        });
        let store = Store::with_cold(config.hot_storage_limit, cold.transpose()?);
        Ok(Self {
            public_key: secret.public_key(),
            secret: Secret(secret),
            store,
            chain_thread: Mutex::new(None),
            network: Mutex::new(None),
            elections: Mutex::default(),
            refetch: Mutex::new(None),
            known_peers: Mutex::new(None),
            stakes: Mutex::default(),
            chain: ChainView::default(),
            failure: Failure::default(),
            environments: environments::Environments::default(),
            advertised: Mutex::default(),
            validation_key: Mutex::new(config.validation_secret_key.clone()),
            state_dir: Mutex::new(None),
            own_log: None,
            config,
        })
    }

    /// Opens the socket and joins the network. A node that is connected stays so. With a validation key
    /// it joins the validation route and validates, with its files in `state_dir` and where the
    /// configuration says; without one, the chain is followed after [`Node::start_chain`].
    /// [`Node::builder`] does all of it, with a log.
    ///
    /// # Errors
    /// When the port is taken or not allowed, the system gives no thread, or the key cannot validate
    /// here. The node is not connected then.
    pub fn connect(&self) -> Result<(), NodeError> {
        if self.port().is_some() || !self.has_validation_key() {
            return self.join_network();
        }
        self.logged(|| {
            // Before anything that peers could notice.
            crate::chain::dir::location(&self.config)?;
            let executable = std::env::current_exe().unwrap_or_else(|_| "astreum".into());
            let state_dir = Paths::new(&self.config, &executable).state_dir;
            crate::run::create_private(&state_dir);
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
            let started = Network::start(&self.config, secret, seed, store, &self.failure)?;
            if self.store.cold().is_some() {
                let (store, handle) = (self.store.clone(), started.handle());
                let refetch = Refetch::start(store, handle, &self.failure);
                *self.refetch() = Some(refetch.map_err(NodeError::RefetchThread)?);
            }
            // What was advertised before is, from now on; there is room for it.
            started.handle().advertise_all(self.advertised())?;
            *network = Some(started);
        }
        Ok(())
    }

    /// Contacts the validated peers of earlier runs, which a file in `directory` names, and keeps the
    /// file up to date: a node finds its way back when its seeds are gone.
    ///
    /// # Errors
    /// When the node is not connected, or the system gives no thread.
    pub fn remember_peers(&self, directory: &Path) -> Result<(), NodeError> {
        let handle = self.handle()?;
        let mut known = self.known_peers();
        if known.is_none() {
            let started = self.logged(|| KnownPeers::start(directory, handle, &self.failure));
            *known = Some(started.map_err(NodeError::PeersThread)?);
        }
        Ok(())
    }

    /// Leaves the network: what was acknowledged is sent, then the socket is closed. Calls that
    /// wait for the network return at once.
    pub fn disconnect(&self) {
        self.logged(|| self.stop_threads());
    }

    fn stop_threads(&self) {
        self.stop_chain();
        // Looks at the peers once more.
        let known_peers = self.known_peers().take();
        drop(known_peers);
        // Taken out first, so that stopping does not hold the locks.
        let refetch = self.refetch().take();
        if let Some(refetch) = &refetch {
            refetch.stop();
        }
        let network = self.network().take();
        drop(network);
        drop(refetch);
        self.failure.clear();
    }

    /// Says hello to an address; what it answers shows in [`Node::peers`].
    ///
    /// # Errors
    /// When the node is not connected, the name does not resolve to an address that it can use, or the
    /// address is the node's own.
    pub fn contact(&self, address: impl ToSocketAddrs) -> Result<SocketAddr, NodeError> {
        let handle = self.handle()?;
        let addresses = address.to_socket_addrs().map_err(NodeError::Resolve)?;
        let address = addresses
            .into_iter()
            .find(|address| address.is_ipv4() || self.config.use_ipv6)
            .ok_or(NodeError::NoUsableAddress)?;
        if self.port() == Some(address.port()) && is_local(address.ip()) {
            return Err(NodeError::OwnAddress(address));
        }
        handle.contact(address)?;
        Ok(address)
    }

    /// The atom: from here, else from the network. `None` if nobody had it in time.
    ///
    /// # Errors
    /// When too many fetches are under way.
    pub fn get_atom(&self, id: AtomId) -> Result<Option<Atom>, NodeError> {
        if let Some(atom) = self.logged(|| self.store.get(&id)) {
            return Ok(Some(atom));
        }
        let atoms = self.fetch(id, PayloadType::ATOM)?;
        Ok(atoms.and_then(|atoms| atoms.into_iter().next()))
    }

    /// The chain that starts at `head`, in order: from here, else from the network. `None` if an
    /// atom of it was nowhere.
    ///
    /// # Errors
    /// When the chain is longer than is taken, or too many fetches are under way.
    pub fn get_atom_list(&self, head: AtomId) -> Result<Option<Vec<Atom>>, NodeError> {
        match self.logged(|| collect_list(&self.store, head, MAX_LIST_ATOMS)) {
            Ok(atoms) => Ok(Some(atoms)),
            Err(ListError::Source(SourceError::Missing(_))) => self.fetch(head, PayloadType::LIST),
            Err(ListError::Source(SourceError::Failed(never))) => match never {},
            Err(ListError::TooLong { max }) => Err(NodeError::ListTooLong { max }),
        }
    }

    /// Keeps an atom, for this node and for whoever asks it.
    ///
    /// # Errors
    /// When the atom is too large to travel or to be kept.
    pub fn put(&self, atom: Atom) -> Result<Stored, NodeError> {
        let (id, durability) = self.logged(|| self.store.put(atom))?;
        Ok(Stored { id, durability })
    }

    /// Keeps atoms, with one write to the disk for all of them; gives their ids.
    ///
    /// # Errors
    /// As [`Node::put`]. Some may have been kept then.
    pub fn put_atoms(&self, atoms: Vec<Atom>) -> Result<(Vec<AtomId>, Durability), NodeError> {
        let atoms: Vec<_> = atoms.into_iter().map(|atom| (atom.id(), atom)).collect();
        let ids = atoms.iter().map(|(id, _)| *id).collect();
        Ok((ids, self.logged(|| self.store.put_all(atoms))?))
    }

    /// Keeps `values` as a chain of bytes atoms. No values are [`AtomId::ZERO`].
    ///
    /// # Errors
    /// As [`Node::put`].
    pub fn put_list<V: AsRef<[u8]>>(&self, values: &[V]) -> Result<Stored, NodeError> {
        let (id, atoms) = bytes_list(values);
        self.put_all(id, atoms)
    }

    /// Keeps the atom form of an expression.
    ///
    /// # Errors
    /// As [`Node::put`].
    pub fn put_expr(&self, expr: &Expr) -> Result<Stored, NodeError> {
        let (id, atoms) = expr.to_atoms();
        self.put_all(id, atoms)
    }

    fn put_all(&self, id: AtomId, atoms: Vec<Atom>) -> Result<Stored, NodeError> {
        let atoms = atoms.into_iter().map(|atom| (atom.id(), atom)).collect();
        let durability = self.logged(|| self.store.put_all(atoms))?;
        Ok(Stored { id, durability })
    }

    /// Evaluates an expression over this node's atoms; what is missing is fetched.
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

    /// A machine over this node's atoms with the limits of its configuration, to set a meter, an
    /// interrupt or other limits.
    #[must_use]
    pub fn machine(&self) -> Machine<NodeStore> {
        Machine::with_limits(self.view(), self.config.eval_limits())
    }

    /// This node's atoms as a source that fetches what is missing, and a sink.
    #[must_use]
    pub fn view(&self) -> NodeStore {
        NodeStore::new(self.store.clone(), self.handle().ok(), self.waits())
    }

    /// The peers that have shown who they are; none if the node is not connected.
    ///
    /// # Errors
    /// When the network failed.
    pub fn peers(&self) -> Result<Vec<Peer>, NodeError> {
        match self.handle() {
            Ok(handle) => Ok(handle.peers()?),
            Err(NodeError::NotConnected) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Removes a peer, which may come back; `false` if it was not known.
    ///
    /// # Errors
    /// When the node is not connected.
    pub fn remove_peer(&self, key: PublicKey) -> Result<bool, NodeError> {
        Ok(self.handle()?.remove_peer(key, false)?)
    }

    /// Removes a peer and drops its packets for as long as the node is connected; `false` if it was
    /// not known. Keys cost nothing: a ban keeps a faulty peer away, not an attacker.
    ///
    /// # Errors
    /// When the node is not connected.
    pub fn ban(&self, key: PublicKey) -> Result<bool, NodeError> {
        Ok(self.handle()?.remove_peer(key, true)?)
    }

    /// Ends a ban; `false` if there was none.
    ///
    /// # Errors
    /// When the node is not connected.
    pub fn unban(&self, key: PublicKey) -> Result<bool, NodeError> {
        Ok(self.handle()?.unban(key)?)
    }

    /// Returns the keys of banned peers.
    ///
    /// # Errors
    /// When the node is not connected.
    pub fn banned(&self) -> Result<Vec<PublicKey>, NodeError> {
        Ok(self.handle()?.banned()?)
    }

    /// Who is known to have an object.
    ///
    /// # Errors
    /// When the node is not connected.
    pub fn providers(&self, id: AtomId) -> Result<Vec<Provider>, NodeError> {
        Ok(self.handle()?.providers(id)?)
    }

    /// How the node is doing.
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

    /// The relay's public key.
    #[must_use]
    pub const fn public_key(&self) -> PublicKey {
        self.public_key
    }

    /// The configuration.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// What this node knows of the chain, as it changes.
    #[must_use]
    pub const fn chain(&self) -> &ChainView {
        &self.chain
    }

    /// What is kept here, without the network.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// Fetches from the network; `None` if there is none, or nobody brought the object in time. Where
    /// waiting is disabled, it is asked for, and a later call finds it.
    fn fetch(&self, id: AtomId, kind: PayloadType) -> Result<Option<Vec<Atom>>, NodeError> {
        let Ok(handle) = self.handle() else {
            return Ok(None);
        };
        if !self.waits() {
            let _ = handle.request(id, kind);
            return Ok(None);
        }
        match handle.fetch(id, kind) {
            Ok(atoms) => Ok(Some(atoms)),
            Err(FetchFailure::Network(FetchError::NotFound | FetchError::Timeout)) => Ok(None),
            Err(FetchFailure::Network(error)) => Err(NodeError::Fetch(error)),
            Err(FetchFailure::Stopped | FetchFailure::Abandoned) => Ok(None),
        }
    }

    pub(crate) const fn waits(&self) -> bool {
        !self.config.atom_fetch_interval.is_zero() && self.config.atom_fetch_retries > 0
    }

    fn handle(&self) -> Result<NetworkHandle, NodeError> {
        self.check()?;
        let handle = self.network().as_ref().map(Network::handle);
        handle.ok_or(NodeError::NotConnected)
    }

    /// Returns the error of a thread that panicked, if one did.
    ///
    /// # Errors
    /// [`NodeError::Panicked`].
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

    fn refetch(&self) -> MutexGuard<'_, Option<Refetch>> {
        self.refetch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn network(&self) -> MutexGuard<'_, Option<Network>> {
        self.network.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an address is one of this host: sockets can be bound to those alone.
fn is_local(ip: IpAddr) -> bool {
    ip.is_loopback() || std::net::UdpSocket::bind((ip, 0)).is_ok()
}

/// The relay key that the configuration gives, else a new one.
fn relay_secret(config: &Config) -> Result<SecretKey, NodeError> {
    if let Some(secret) = &config.relay_secret_key {
        return Ok(SecretKey::from_bytes(*secret.expose()));
    }
    clock::entropy()
        .map(SecretKey::from_bytes)
        .map_err(NodeError::Entropy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;
    use core::time::Duration;

    #[test]
    fn a_panic_of_a_thread_stops_the_node_and_is_the_error_of_its_calls() {
        let scratch = Scratch::new("panicked");
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
        // The threads end without being asked again, and the host goes on.
        let began = std::time::Instant::now();
        while handle.status().is_ok() {
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "the network goes on"
            );
            std::thread::yield_now();
        }
        node.disconnect();
    }
}
