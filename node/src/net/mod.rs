//! The network thread: a mio loop that drains core's protocol engine.
//!
//! [`Network`] is its handle. API threads hand it commands through a bounded channel and a waker,
//! and wait for the reply on a channel of their own; the loop answers when the event comes, so
//! nobody polls. The loop alone owns the engine and the socket.

mod command;
mod driver;
mod grind;
mod local_address;
mod peer_statements;
mod readers;
mod report;
pub mod resolve;
mod seeds;
pub mod socket;

pub use resolve::SeedState;

pub use command::{Advertisement, FetchFailure, NetworkStatus, Peer, Provider};

use crate::Patience;
use crate::config::Config;
use crate::failure::Failure;
use crate::store::Store;
use crate::work::inbox::Inbox;
use astreum_core::atom::{Atom, AtomId};
use astreum_core::crypto::{PublicKey, SecretKey};
use astreum_core::wire::engine::{EngineConfig, ListLimit, Recipient};
use astreum_core::wire::handshake::ChainIdentity;
use astreum_core::wire::object::PayloadType;
use command::{Command, CommandSender};
use core::fmt;
use core::net::SocketAddr;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use driver::Driver;
use resolve::SeedNames;
use socket::BindError;
use std::io;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// Time that peers have for an object whose caller does not wait.
const UNWATCHED_FETCH_TIMEOUT: Duration = Duration::from_secs(2);

/// Why there is no network.
#[derive(Debug)]
#[non_exhaustive]
pub enum NetworkError {
    /// The socket could not be bound.
    Bind(BindError),
    /// The system did not give what the loop needs.
    System {
        /// What was attempted.
        attempt: &'static str,
        /// What the system said.
        cause: io::Error,
    },
}

impl fmt::Display for NetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(error) => error.fmt(f),
            Self::System { attempt, cause } => write!(f, "cannot {attempt}: {cause}"),
        }
    }
}

impl core::error::Error for NetworkError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Bind(error) => Some(error),
            Self::System { cause, .. } => Some(cause),
        }
    }
}

impl From<BindError> for NetworkError {
    fn from(error: BindError) -> Self {
        Self::Bind(error)
    }
}

/// The network has been stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stopped;

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the node is not connected")
    }
}

impl core::error::Error for Stopped {}

/// A running event loop. Dropping it stops the loop: what was acknowledged is sent first.
#[derive(Debug)]
pub struct Network {
    commands: CommandSender,
    thread: Option<JoinHandle<()>>,
    port: u16,
    public_key: PublicKey,
}

impl Network {
    /// Binds the socket and starts the loop, which stops at a panic of any of the node's threads.
    ///
    /// # Errors
    /// When the socket cannot be bound or the system gives no thread.
    pub fn start(
        config: &Config,
        secret: SecretKey,
        seed: [u8; 32],
        store: Store,
        failure: &Failure,
    ) -> Result<Self, NetworkError> {
        let public_key = secret.public_key();
        let driver = Driver::new(config, secret, seed, store, failure)?;
        let (port, commands) = (driver.port(), driver.commands());
        let stop = commands.clone();
        failure.on_panic(move || stop.stop());
        let failure = failure.clone();
        let thread = std::thread::Builder::new()
            .name("network".into())
            .spawn(move || {
                let _ = failure.watch(|| driver.run());
            })
            .map_err(|cause| NetworkError::System {
                attempt: "start the network thread",
                cause,
            })?;
        Ok(Self {
            commands,
            thread: Some(thread),
            port,
            public_key,
        })
    }

    /// The port that the socket is bound to.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The relay's public key.
    #[must_use]
    pub const fn public_key(&self) -> PublicKey {
        self.public_key
    }

    /// A handle that can outlive this one and then finds the network stopped.
    #[must_use]
    pub fn handle(&self) -> NetworkHandle {
        NetworkHandle {
            commands: self.commands.clone(),
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.commands.stop();
        if let Some(thread) = self.thread.take() {
            // A panic of it has been recorded.
            let _ = thread.join();
        }
    }
}

/// Sends commands to a [`Network`] from any thread.
#[derive(Clone, Debug)]
pub struct NetworkHandle {
    commands: CommandSender,
}

impl NetworkHandle {
    /// Says hello to an address.
    ///
    /// # Errors
    /// When the network has been stopped.
    pub fn contact(&self, address: SocketAddr) -> Result<(), Stopped> {
        self.commands.send(Command::Contact(address))
    }

    /// Fetches an atom, or the chain that starts with it; waits for the answer or the timeout.
    ///
    /// # Errors
    /// When no peer brought it, the caller's [`Patience`] is over, or the network has been stopped.
    pub fn fetch(&self, id: AtomId, kind: PayloadType) -> Result<Vec<Atom>, FetchFailure> {
        /// Tickets are unique within the process, whatever network they are of.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let patience = Patience::in_force();
        if patience.is_over() {
            return Err(FetchFailure::Abandoned);
        }
        let ticket = NEXT.fetch_add(1, Ordering::Relaxed);
        let (reply, answer) = sync_channel(1);
        let command = Command::Fetch {
            id,
            kind,
            ticket,
            reply,
        };
        let sent = self.commands.send(command);
        sent.map_err(|Stopped| FetchFailure::Stopped)?;
        loop {
            let answer = match patience.next_look() {
                None => answer.recv().map_err(RecvTimeoutError::from),
                Some(time) => answer.recv_timeout(time),
            };
            match answer {
                Ok(outcome) => return outcome,
                Err(RecvTimeoutError::Disconnected) => return Err(FetchFailure::Stopped),
                Err(RecvTimeoutError::Timeout) if patience.is_over() => {
                    let _ = self.commands.send(Command::Cancel { ticket });
                    return Err(FetchFailure::Abandoned);
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Asks peers for an object without waiting: what comes is kept in memory, for a later look.
    ///
    /// # Errors
    /// When the network has been stopped.
    pub fn request(&self, id: AtomId, kind: PayloadType) -> Result<(), Stopped> {
        self.commands.send(Command::Request { id, kind })
    }

    /// Contacts the addresses of peers of an earlier run, now and while there are no peers.
    ///
    /// # Errors
    /// When the network has been stopped.
    pub fn remember(&self, addresses: Vec<SocketAddr>) -> Result<(), Stopped> {
        self.commands.send(Command::Remember(addresses))
    }

    /// Removes a peer; `false` if it was not known. It may come back unless it is banned: then its
    /// packets are dropped for as long as this network runs.
    ///
    /// # Errors
    /// When the network has been stopped.
    pub fn remove_peer(&self, key: PublicKey, bans: bool) -> Result<bool, Stopped> {
        self.ask(|reply| Command::Remove { key, bans, reply })
    }

    /// Ends a ban; `false` if there was none.
    ///
    /// # Errors
    /// When the network has been stopped.
    pub fn unban(&self, key: PublicKey) -> Result<bool, Stopped> {
        self.ask(|reply| Command::Unban { key, reply })
    }

    /// Returns the keys of banned peers.
    ///
    /// # Errors
    /// When the network has been stopped.
    pub fn banned(&self) -> Result<Vec<PublicKey>, Stopped> {
        self.ask(Command::Banned)
    }

    /// Returns the objects that are advertised, with the time that is left for each.
    ///
    /// # Errors
    /// When the network has been stopped.
    pub fn advertised(&self) -> Result<Vec<Advertisement>, Stopped> {
        self.ask(Command::Advertised)
    }

    /// Tells the closest peers that this node has an object, again and again until it expires;
    /// `false` if too many are advertised.
    ///
    /// # Errors
    /// When the network has been stopped.
    pub fn advertise(&self, advertisement: Advertisement) -> Result<bool, Stopped> {
        self.ask(|reply| Command::Advertise {
            advertisement,
            reply,
        })
    }

    /// As [`Self::advertise`], for many, without hearing whether there was room.
    ///
    /// # Errors
    /// When the network has been stopped.
    pub fn advertise_all(&self, advertisements: Vec<Advertisement>) -> Result<(), Stopped> {
        self.commands.send(Command::AdvertiseAll(advertisements))
    }

    /// Fetches the beginning of a list for the chain's thread, which gets the outcome. `from` is
    /// asked first.
    ///
    /// # Errors
    /// When the network has been stopped.
    pub fn fetch_for_chain(
        &self,
        id: AtomId,
        limit: ListLimit,
        from: Option<PublicKey>,
        inbox: Inbox,
    ) -> Result<(), Stopped> {
        self.commands.send(Command::ChainFetch {
            id,
            limit,
            from,
            inbox,
        })
    }

    /// Fetches a list for the chain's thread that is given up beyond the limit. `from` is asked
    /// first.
    ///
    /// # Errors
    /// When the network has been stopped.
    pub fn fetch_small_for_chain(
        &self,
        id: AtomId,
        limit: ListLimit,
        from: Option<PublicKey>,
        inbox: Inbox,
    ) -> Result<(), Stopped> {
        self.commands.send(Command::ChainFetchSmall {
            id,
            limit,
            from,
            inbox,
        })
    }

    /// Tells the chain's thread what peers say of it, from now on.
    ///
    /// # Errors
    /// When the network has been stopped.
    pub fn tell_chain(&self, inbox: Inbox) -> Result<(), Stopped> {
        self.commands.send(Command::Chain(inbox))
    }

    /// Names another head to the peers.
    ///
    /// # Errors
    /// When the network has been stopped.
    pub fn set_head(&self, head: AtomId) -> Result<(), Stopped> {
        self.commands.send(Command::SetHead(head))
    }

    /// Sets the chain that this node follows, which peers of this implementation are told.
    ///
    /// # Errors
    /// When the network has been stopped.
    pub fn set_chain_identity(&self, identity: ChainIdentity) -> Result<(), Stopped> {
        self.commands.send(Command::SetChainIdentity(identity))
    }

    /// Tells the peers whether this node validates; transactions are taken only then.
    ///
    /// # Errors
    /// When the network has been stopped.
    pub fn set_validator(&self, is_validator: bool) -> Result<(), Stopped> {
        self.commands.send(Command::SetValidator(is_validator))
    }

    /// Ends an advertisement; `false` if there was none.
    ///
    /// # Errors
    /// When the network has been stopped.
    pub fn withdraw(&self, id: AtomId) -> Result<bool, Stopped> {
        self.ask(|reply| Command::Withdraw { id, reply })
    }

    /// Tells every validator among the peers of a transaction that this node has; gives how many
    /// there are.
    ///
    /// # Errors
    /// When the network has been stopped.
    pub fn announce_transaction(&self, transaction: AtomId) -> Result<usize, Stopped> {
        self.ask(|reply| Command::Announce { transaction, reply })
    }

    /// Announces a transaction for the chain's thread; where it goes to all validators, the thread gets
    /// to know how many they were.
    ///
    /// # Errors
    /// When the network has been stopped.
    pub fn announce_for_chain(
        &self,
        transaction: AtomId,
        to: Recipient,
        inbox: Inbox,
    ) -> Result<(), Stopped> {
        self.commands.send(Command::ChainAnnounce {
            transaction,
            to,
            inbox,
        })
    }

    /// The peers.
    ///
    /// # Errors
    /// When the network has been stopped.
    pub fn peers(&self) -> Result<Vec<Peer>, Stopped> {
        self.ask(Command::Peers)
    }

    /// Who is known to have an object.
    ///
    /// # Errors
    /// When the network has been stopped.
    pub fn providers(&self, id: AtomId) -> Result<Vec<Provider>, Stopped> {
        self.ask(|reply| Command::Providers { id, reply })
    }

    /// How the network is doing.
    ///
    /// # Errors
    /// When the network has been stopped.
    pub fn status(&self) -> Result<NetworkStatus, Stopped> {
        self.ask(Command::Status)
    }

    /// Sends a command with a reply channel and waits. The loop answers every command that it
    /// takes; when it stops, the channels that it drops end the wait.
    fn ask<T>(&self, command: impl FnOnce(SyncSender<T>) -> Command) -> Result<T, Stopped> {
        let (reply, answer) = sync_channel(1);
        self.commands.send(command(reply))?;
        answer.recv().map_err(|_| Stopped)
    }
}

/// The engine's configuration from the node's.
fn engine_config(config: &Config, secret: SecretKey, port: u16) -> EngineConfig {
    let fetch_timeout = config
        .atom_fetch_interval
        .saturating_mul(config.atom_fetch_retries);
    // Zero ends the waiting of callers and not the asking: peers are given the default time.
    let fetch_timeout = Some(fetch_timeout).filter(|timeout| !timeout.is_zero());
    EngineConfig {
        use_ipv6: config.use_ipv6,
        advertised_address: config.advertised_address,
        is_validator: false,
        head: config.latest_block_hash,
        peer_timeout: config.peer_timeout,
        peer_timeout_interval: config.peer_timeout_interval,
        bootstrap_retry_interval: config.bootstrap_retry_interval,
        storage_index_interval: config.storage_index_interval,
        fetch_timeout: fetch_timeout.unwrap_or(UNWATCHED_FETCH_TIMEOUT),
        incoming_queue_limit_bytes: config.incoming_queue_size_limit,
        outgoing_queue_limit_bytes: config.outgoing_queue_size_limit,
        incoming_queue_timeout: config.incoming_queue_timeout,
        outgoing_queue_timeout: config.outgoing_queue_timeout,
        ..EngineConfig::new(secret, port)
    }
}

fn seed_names(config: &Config) -> SeedNames {
    SeedNames {
        default: config.default_seed.as_ref().map(ToString::to_string),
        additional: config
            .additional_seeds
            .iter()
            .map(ToString::to_string)
            .collect(),
    }
}
