//! Network thread: a mio event loop that drives the core's protocol engine.
//!
//! [`Network`] is its handle. API threads send commands through a bounded channel and a waker, and
//! wait for the reply on a separate channel; the loop answers when the event arrives, so no thread
//! polls. Only the loop owns the engine and the socket.

mod command;
mod drop_report;
mod event_loop;
mod local_address;
mod own_key;
mod peer_statements;
mod pow_pool;
mod readers;
pub mod resolve;
mod seeds;
pub mod socket;
mod stream_memory;
mod stream_request;
mod stream_status;
mod streams;

pub use own_key::own_key_warning;
pub use resolve::SeedState;

pub use command::{Advertisement, FetchFailure, FetchedObject, NetworkStatus, Peer, Provider};
pub use stream_memory::StreamedAtoms;
pub use stream_request::{RequestEnd, StreamAnswer, StreamPart};
pub use stream_status::StreamStatus;
pub use streams::limits::shortage as stream_shortage;

use crate::WaitLimit;
use crate::config::Settings;
use crate::failure::Failure;
use crate::runtime::inbox::Inbox;
use crate::store::Store;
use astreum_core::atom::{Atom, AtomId};
use astreum_core::consensus::StreamRequest;
use astreum_core::crypto::{PublicKey, SecretKey};
use astreum_core::engine::{EngineConfig, Extent, FetchProgress, FetchRequest, Recipient};
use astreum_core::wire::handshake::ChainIdentity;
use astreum_core::wire::object::PayloadType;
use command::{Command, CommandSender, FetchReply};
use core::fmt;
use core::net::SocketAddr;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use event_loop::EventLoop;
use resolve::SeedNames;
use socket::BindError;
use std::io;
use std::sync::mpsc::{RecvTimeoutError, Sender, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Instant;
use stream_request::Receiver;

/// Lowest number of a [request by stream](NetworkHandle::request_by_stream) that is not one of the
/// chain thread.
pub const CALLER_REQUESTS: u64 = 1 << 63;
/// Lowest number of a request by stream of the event loop; the chain thread's are below.
const ENGINE_REQUESTS: u64 = 1 << 62;

/// Interval at which the progress of a fetch is looked up for a caller that wants it.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);
/// Time that peers have to deliver an object without a waiting caller.
const UNWATCHED_FETCH_TIMEOUT: Duration = Duration::from_secs(2);

/// Reason the network could not be started.
#[derive(Debug)]
#[non_exhaustive]
pub enum NetworkError {
    /// The socket could not be bound.
    Bind(BindError),
    /// The system did not provide a resource that the loop needs.
    System {
        /// Operation that failed.
        attempt: &'static str,
        /// Error of the system.
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

/// Error after the network has been stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stopped;

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the node is not connected")
    }
}

impl core::error::Error for Stopped {}

/// Running event loop. Dropping it stops the loop; acknowledged messages are sent first.
#[derive(Debug)]
pub struct Network {
    commands: CommandSender,
    thread: Option<JoinHandle<()>>,
    port: u16,
    stream_port: Option<u16>,
    public_key: PublicKey,
}

impl Network {
    /// Binds the socket and starts the loop, which stops if any of the node's threads panics.
    ///
    /// # Errors
    /// Fails if the socket cannot be bound or the system cannot create a thread.
    pub fn start(
        settings: &Settings,
        secret: SecretKey,
        seed: [u8; 32],
        store: Store,
        failure: &Failure,
    ) -> Result<Self, NetworkError> {
        let public_key = secret.public_key();
        let event_loop = EventLoop::new(settings, secret, seed, store, failure)?;
        let (port, commands) = (event_loop.port(), event_loop.commands());
        let stream_port = event_loop.stream_status().port;
        let stop = commands.clone();
        failure.on_panic(move || stop.stop());
        let failure = failure.clone();
        let thread = std::thread::Builder::new()
            .name("network".into())
            .spawn(move || {
                let _ = failure.watch(|| event_loop.run());
            })
            .map_err(|cause| NetworkError::System {
                attempt: "start the network thread",
                cause,
            })?;
        Ok(Self {
            commands,
            thread: Some(thread),
            port,
            stream_port,
            public_key,
        })
    }

    /// Returns the bound port of the socket.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Returns the TCP port on which streams are accepted; `None` if they are not.
    #[must_use]
    pub const fn stream_port(&self) -> Option<u16> {
        self.stream_port
    }

    /// Returns the relay's public key.
    #[must_use]
    pub const fn public_key(&self) -> PublicKey {
        self.public_key
    }

    /// Returns a handle that can outlive this value; its calls then fail with [`Stopped`].
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
            // A panic of the thread has been recorded already.
            let _ = thread.join();
        }
    }
}

/// Handle that sends commands to a [`Network`] from any thread.
#[derive(Clone, Debug)]
pub struct NetworkHandle {
    commands: CommandSender,
}

impl NetworkHandle {
    /// Starts a handshake with an address.
    ///
    /// # Errors
    /// Fails if the network has been stopped.
    pub fn contact(&self, address: SocketAddr) -> Result<(), Stopped> {
        self.commands.send(Command::Contact(address))
    }

    /// Fetches an atom, or the list that starts with it; waits for the answer or the timeout.
    ///
    /// # Errors
    /// Fails if no peer delivers it, the caller's [`WaitLimit`] is reached, or the network has been
    /// stopped.
    pub fn fetch(&self, id: AtomId, kind: PayloadType) -> Result<Vec<Atom>, FetchFailure> {
        match self.fetch_object(FetchRequest::new(id, kind), None)? {
            FetchedObject::Atoms(atoms) => Ok(atoms),
            // Only for requests that permit it.
            FetchedObject::Stored => Ok(Vec::new()),
        }
    }

    /// Fetches the list that starts with an atom, by stream if it is long and a peer offers that;
    /// waits for the answer or the timeout.
    ///
    /// # Errors
    /// Same as [`Self::fetch`].
    pub fn fetch_list(&self, head: AtomId) -> Result<FetchedObject, FetchFailure> {
        self.fetch_object(FetchRequest::list(head).or_by_stream(), None)
    }

    /// Fetches an object like [`Self::fetch_list`], and calls `report` every
    /// half a second with the progress.
    ///
    /// # Errors
    /// Same as [`Self::fetch`].
    pub fn fetch_with_progress(
        &self,
        request: FetchRequest,
        report: &mut dyn FnMut(FetchProgress),
    ) -> Result<FetchedObject, FetchFailure> {
        self.fetch_object(request, Some(report))
    }

    fn fetch_object(
        &self,
        request: FetchRequest,
        mut report: Option<&mut dyn FnMut(FetchProgress)>,
    ) -> Result<FetchedObject, FetchFailure> {
        /// Next ticket. Tickets are unique within the process, across networks.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let wait_limit = WaitLimit::in_force();
        if wait_limit.is_over() {
            return Err(FetchFailure::Abandoned);
        }
        let ticket = NEXT.fetch_add(1, Ordering::Relaxed);
        let (reply, answer) = sync_channel(1);
        let command = Command::Fetch {
            request,
            reply: FetchReply::Caller { ticket, reply },
        };
        let sent = self.commands.send(command);
        sent.map_err(|Stopped| FetchFailure::Stopped)?;
        let mut report_at = Instant::now() + PROGRESS_INTERVAL;
        loop {
            let is_reported = report.is_some();
            let next_report =
                is_reported.then(|| report_at.saturating_duration_since(Instant::now()));
            let next = wait_limit.next_check().into_iter().chain(next_report).min();
            let answer = match next {
                None => answer.recv().map_err(RecvTimeoutError::from),
                Some(time) => answer.recv_timeout(time),
            };
            if let Some(report) = &mut report
                && answer.is_err()
                && Instant::now() >= report_at
            {
                report_at = Instant::now() + PROGRESS_INTERVAL;
                let progress = self.call(|reply| Command::FetchProgress { ticket, reply });
                if let Ok(Some(progress)) = progress {
                    report(progress);
                }
            }
            match answer {
                Ok(outcome) => return outcome,
                Err(RecvTimeoutError::Disconnected) => return Err(FetchFailure::Stopped),
                Err(RecvTimeoutError::Timeout) if wait_limit.is_over() => {
                    let _ = self.commands.send(Command::Cancel { ticket });
                    return Err(FetchFailure::Abandoned);
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Requests an object from peers without waiting; it is kept in memory for a later lookup.
    ///
    /// # Errors
    /// Fails if the network has been stopped.
    pub fn request(&self, id: AtomId, kind: PayloadType) -> Result<(), Stopped> {
        let request = FetchRequest::new(id, kind);
        let reply = FetchReply::None;
        self.commands.send(Command::Fetch { request, reply })
    }

    /// Replaces the seeds by those of other settings.
    ///
    /// # Errors
    /// Fails if the network has been stopped.
    pub fn set_seeds(&self, settings: Settings) -> Result<(), Stopped> {
        self.commands.send(Command::SetSeeds(Box::new(settings)))
    }

    /// Contacts the addresses of peers of an earlier run, now and while no peers are connected.
    ///
    /// # Errors
    /// Fails if the network has been stopped.
    pub fn remember(&self, addresses: Vec<SocketAddr>) -> Result<(), Stopped> {
        self.commands.send(Command::Remember(addresses))
    }

    /// Removes a peer; returns `false` if it is unknown. It may connect again unless it is banned:
    /// then its packets are dropped for as long as this network runs.
    ///
    /// # Errors
    /// Fails if the network has been stopped.
    pub fn remove_peer(&self, key: PublicKey, bans: bool) -> Result<bool, Stopped> {
        self.call(|reply| Command::Remove { key, bans, reply })
    }

    /// Ends a ban; returns `false` if there was none.
    ///
    /// # Errors
    /// Fails if the network has been stopped.
    pub fn unban(&self, key: PublicKey) -> Result<bool, Stopped> {
        self.call(|reply| Command::Unban { key, reply })
    }

    /// Returns the keys of banned peers.
    ///
    /// # Errors
    /// Fails if the network has been stopped.
    pub fn banned(&self) -> Result<Vec<PublicKey>, Stopped> {
        self.call(Command::Banned)
    }

    /// Returns the advertised objects, with the remaining time of each.
    ///
    /// # Errors
    /// Fails if the network has been stopped.
    pub fn advertised(&self) -> Result<Vec<Advertisement>, Stopped> {
        self.call(Command::Advertised)
    }

    /// Tells the closest peers that this node has an object, periodically until it expires; returns
    /// `false` if too many objects are advertised.
    ///
    /// # Errors
    /// Fails if the network has been stopped.
    pub fn advertise(&self, advertisement: Advertisement) -> Result<bool, Stopped> {
        self.call(|reply| Command::Advertise {
            advertisement,
            reply,
        })
    }

    /// Same as [`Self::advertise`] for several objects, without reporting whether there was room.
    ///
    /// # Errors
    /// Fails if the network has been stopped.
    pub fn advertise_all(&self, advertisements: Vec<Advertisement>) -> Result<(), Stopped> {
        self.commands.send(Command::AdvertiseAll(advertisements))
    }

    /// Fetches a list for the chain thread, which gets the outcome: the atoms of the beginning of a
    /// list, and of a whole list only whether it was fetched.
    ///
    /// # Errors
    /// Fails if the network has been stopped.
    pub fn fetch_for_chain(&self, request: FetchRequest, inbox: Inbox) -> Result<(), Stopped> {
        let reply = match request.extent {
            Extent::Beginning(_) => FetchReply::Chain(inbox),
            Extent::Whole(_) => FetchReply::ChainSmall(inbox),
        };
        self.commands.send(Command::Fetch { request, reply })
    }

    /// Requests objects by stream for the chain thread, which receives the progress and the end.
    ///
    /// # Errors
    /// Fails if the network has been stopped.
    pub fn stream_for_chain(&self, request: StreamRequest, inbox: Inbox) -> Result<(), Stopped> {
        let receiver = Receiver::Chain(inbox);
        self.commands
            .send(Command::RequestByStream { request, receiver })
    }

    /// Ends a request by stream, by its number.
    ///
    /// # Errors
    /// Fails if the network has been stopped.
    pub fn cancel_stream(&self, number: u64) -> Result<(), Stopped> {
        self.commands.send(Command::CancelStreamRequest { number })
    }

    /// Requests objects by stream. `answers` receives the verified atoms as they arrive, and the end;
    /// more arrive as far as the caller has [stored](Self::note_stored) them. The numbers of requests
    /// from [`CALLER_REQUESTS`] on are those of callers.
    ///
    /// # Errors
    /// Fails if the network has been stopped.
    pub fn request_by_stream(
        &self,
        request: StreamRequest,
        answers: Sender<StreamAnswer>,
    ) -> Result<(), Stopped> {
        let receiver = Receiver::Caller(answers);
        self.commands
            .send(Command::RequestByStream { request, receiver })
    }

    /// Reports that `bytes` of what a request has brought are stored.
    ///
    /// # Errors
    /// Fails if the network has been stopped.
    pub fn note_stored(&self, number: u64, bytes: usize) -> Result<(), Stopped> {
        self.commands.send(Command::NoteStored { number, bytes })
    }

    /// Starts delivery of peers' statements about the chain to the chain thread.
    ///
    /// # Errors
    /// Fails if the network has been stopped.
    pub fn attach_chain(&self, inbox: Inbox) -> Result<(), Stopped> {
        self.commands.send(Command::Chain(inbox))
    }

    /// Announces another head to the peers.
    ///
    /// # Errors
    /// Fails if the network has been stopped.
    pub fn set_head(&self, head: AtomId) -> Result<(), Stopped> {
        self.commands.send(Command::SetHead(head))
    }

    /// Sets the chain that this node follows, and announces it to peers of this implementation.
    ///
    /// # Errors
    /// Fails if the network has been stopped.
    pub fn set_chain_identity(&self, identity: ChainIdentity) -> Result<(), Stopped> {
        self.commands.send(Command::SetChainIdentity(identity))
    }

    /// Sets whether this node validates, and announces it to peers. Transactions are accepted only
    /// if it does.
    ///
    /// # Errors
    /// Fails if the network has been stopped.
    pub fn set_validator(&self, is_validator: bool) -> Result<(), Stopped> {
        self.commands.send(Command::SetValidator(is_validator))
    }

    /// Ends an advertisement; returns `false` if there was none.
    ///
    /// # Errors
    /// Fails if the network has been stopped.
    pub fn withdraw(&self, id: AtomId) -> Result<bool, Stopped> {
        self.call(|reply| Command::Withdraw { id, reply })
    }

    /// Announces a stored transaction to all validators among the peers; returns their number.
    ///
    /// # Errors
    /// Fails if the network has been stopped.
    pub fn announce_transaction(&self, transaction: AtomId) -> Result<usize, Stopped> {
        self.call(|reply| Command::Announce { transaction, reply })
    }

    /// Announces a transaction for the chain thread. If it goes to all validators, the thread
    /// receives their number.
    ///
    /// # Errors
    /// Fails if the network has been stopped.
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

    /// Returns the peers.
    ///
    /// # Errors
    /// Fails if the network has been stopped.
    pub fn peers(&self) -> Result<Vec<Peer>, Stopped> {
        self.call(Command::Peers)
    }

    /// Returns the known providers of an object.
    ///
    /// # Errors
    /// Fails if the network has been stopped.
    pub fn providers(&self, id: AtomId) -> Result<Vec<Provider>, Stopped> {
        self.call(|reply| Command::Providers { id, reply })
    }

    /// Returns the status of the network.
    ///
    /// # Errors
    /// Fails if the network has been stopped.
    pub fn status(&self) -> Result<NetworkStatus, Stopped> {
        self.call(Command::Status)
    }

    /// Sends a command with a reply channel and waits. The loop answers every command that it
    /// accepts; when it stops, the channels that it drops end the wait.
    fn call<T>(&self, command: impl FnOnce(SyncSender<T>) -> Command) -> Result<T, Stopped> {
        let (reply, answer) = sync_channel(1);
        self.commands.send(command(reply))?;
        answer.recv().map_err(|_| Stopped)
    }
}

/// Derives the engine's configuration from the node's settings.
fn engine_config(settings: &Settings, secret: SecretKey, port: u16) -> EngineConfig {
    let fetch_timeout = settings
        .atom_fetch_interval
        .saturating_mul(settings.atom_fetch_retries);
    // Zero disables the waiting of callers, not the requests: peers get the default time.
    let fetch_timeout = Some(fetch_timeout).filter(|timeout| !timeout.is_zero());
    EngineConfig {
        use_ipv6: settings.use_ipv6,
        advertised_address: settings.advertised_address,
        is_validator: false,
        head: settings.latest_block_hash,
        peer_timeout: settings.peer_timeout,
        peer_timeout_interval: settings.peer_timeout_interval,
        bootstrap_retry_interval: settings.bootstrap_retry_interval,
        storage_index_interval: settings.storage_index_interval,
        fetch_timeout: fetch_timeout.unwrap_or(UNWATCHED_FETCH_TIMEOUT),
        incoming_queue_limit_bytes: settings.incoming_queue_size_limit,
        outgoing_queue_limit_bytes: settings.outgoing_queue_size_limit,
        incoming_queue_timeout: settings.incoming_queue_timeout,
        outgoing_queue_timeout: settings.outgoing_queue_timeout,
        ..EngineConfig::new(secret, port)
    }
}

fn seed_names(settings: &Settings) -> SeedNames {
    SeedNames {
        default: settings.default_seed.as_ref().map(ToString::to_string),
        additional: settings
            .additional_seeds
            .iter()
            .map(ToString::to_string)
            .collect(),
    }
}
