//! Commands of API threads, the resolver and the workers to the event loop.

use super::Stopped;
use super::resolve::{SeedAddresses, SeedState};
use super::stream_memory::StreamedAtoms;
use super::stream_request::Receiver;
use super::stream_status::StreamStatus;
use crate::config::Settings;
use crate::runtime::inbox::Inbox;
use astreum_core::atom::{Atom, AtomId};
use astreum_core::consensus::StreamRequest;
use astreum_core::crypto::PublicKey;
use astreum_core::engine::{
    FetchError, FetchProgress, FetchRequest, ListId, PeerInfo, ReadDone, Recipient, Stats, WorkDone,
};
use astreum_core::time::Instant;
use astreum_core::wire::handshake::ChainIdentity;
use astreum_core::wire::network_group::NetworkGroup;
use astreum_core::wire::object::PayloadType;
use core::fmt;
use core::net::{IpAddr, SocketAddr};
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use mio::Waker;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

/// Capacity of the command queue; senders wait when it is full.
pub(super) const COMMAND_QUEUE: usize = 1_024;

/// Object that was fetched for a caller.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FetchedObject {
    /// The atom, or the atoms of the list.
    Atoms(Vec<Atom>),
    /// The list arrived by stream and is in the store.
    Stored,
}

/// Receiver of the outcome of a fetch.
pub(super) enum FetchReply {
    /// No receiver.
    None,
    /// A caller that waits.
    Caller {
        /// Identifies the fetch in [`Command::Cancel`].
        ticket: u64,
        reply: SyncSender<Result<FetchedObject, FetchFailure>>,
    },
    /// Chain thread, which gets the atoms.
    Chain(Inbox),
    /// Chain thread, which gets success or failure without the atoms.
    ChainSmall(Inbox),
}

pub(super) enum Command {
    Contact(SocketAddr),
    /// Fetch of an object; received atoms are stored.
    Fetch {
        request: FetchRequest,
        reply: FetchReply,
    },
    /// Ends a fetch whose caller has stopped waiting. The atoms that have arrived are kept.
    Cancel {
        ticket: u64,
    },
    /// Progress of a fetch; the reply is `None` once it has ended.
    FetchProgress {
        ticket: u64,
        reply: SyncSender<Option<FetchProgress>>,
    },
    /// Request by stream of the chain thread, or of a caller that stores what it brings.
    RequestByStream {
        request: StreamRequest,
        receiver: Receiver,
    },
    CancelStreamRequest {
        number: u64,
    },
    /// The caller of a request by stream has stored so many bytes.
    NoteStored {
        number: u64,
        bytes: usize,
    },
    Advertise {
        advertisement: Advertisement,
        reply: SyncSender<bool>,
    },
    /// Same as [`Command::Advertise`] for several objects, without a reply.
    AdvertiseAll(Vec<Advertisement>),
    SetHead(AtomId),
    SetChainIdentity(ChainIdentity),
    SetValidator(bool),
    /// Inbox for heads and transactions that peers announce.
    Chain(Inbox),
    Withdraw {
        id: AtomId,
        reply: SyncSender<bool>,
    },
    Announce {
        transaction: AtomId,
        reply: SyncSender<usize>,
    },
    /// Same as [`Command::Announce`] for the chain thread, which receives the number of validators
    /// reached.
    ChainAnnounce {
        transaction: AtomId,
        to: Recipient,
        inbox: Inbox,
    },
    Peers(SyncSender<Vec<Peer>>),
    Providers {
        id: AtomId,
        reply: SyncSender<Vec<Provider>>,
    },
    Status(SyncSender<NetworkStatus>),
    /// Peers of an earlier run, which are contacted while no peers are connected.
    Remember(Vec<SocketAddr>),
    /// Removes a peer; with `bans` keeps it away.
    Remove {
        key: PublicKey,
        bans: bool,
        reply: SyncSender<bool>,
    },
    /// Ends a ban; the reply is `true` if there was one.
    Unban {
        key: PublicKey,
        reply: SyncSender<bool>,
    },
    /// Returns the banned keys.
    Banned(SyncSender<Vec<PublicKey>>),
    /// Returns the advertised objects.
    Advertised(SyncSender<Vec<Advertisement>>),
    Seeds {
        /// Number of the resolver.
        round: u64,
        addresses: SeedAddresses,
    },
    /// Replaces the seeds by those of other settings.
    SetSeeds(Box<Settings>),
    WorkDone(WorkDone),
    ReadDone(ReadDone),
    Stream(StreamEvent),
}

/// Event of the threads that drive streams.
#[derive(Debug)]
pub(super) enum StreamEvent {
    /// The stream to a peer is ready for a list.
    Ready { list: ListId, peer: PublicKey },
    /// The stream of a list or of an object has ended. If that is not complete, it continues by
    /// datagrams.
    Ended { list: ListId, peer: PublicKey },
    /// Atoms of a list have arrived by stream and are stored: id of the next, number and bytes.
    Progress {
        list: ListId,
        peer: PublicKey,
        progress: (AtomId, usize, usize),
    },
    /// Atoms of an object that the engine holds have arrived by the stream of a request.
    Arrived {
        number: u64,
        list: ListId,
        peer: PublicKey,
        atoms: StreamedAtoms,
    },
    /// Atoms of a list have arrived by stream and wait to be stored.
    Waiting { list: ListId, peer: PublicKey },
    /// A connection from an IP address claims to be of a peer.
    Client {
        token: usize,
        relay: PublicKey,
        address: IpAddr,
    },
}

/// Object that this node offers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Advertisement {
    /// Id of the object.
    pub id: AtomId,
    /// Kind of the object: one atom or a list.
    pub kind: PayloadType,
    /// Time that it is offered; `None` until it is withdrawn.
    pub lifetime: Option<Duration>,
}

/// Provider record of an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Provider {
    /// Public key of the provider.
    pub key: PublicKey,
    /// Address of the provider.
    pub address: SocketAddr,
    /// Time until the record expires.
    pub expires_in: Duration,
}

/// State of a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Peer {
    /// Public key of the peer.
    pub public_key: PublicKey,
    /// Address that messages to it are sent to.
    pub address: SocketAddr,
    /// Network group of that address.
    pub group: NetworkGroup,
    /// `true` if that address is validated.
    pub is_validated: bool,
    /// `true` if its pings state that it validates.
    pub is_validator: bool,
    /// `true` if it is the pinned default seed.
    pub is_default_seed: bool,
    /// `true` if it is the pinned default seed, or validated at the address of a configured seed.
    pub is_seed: bool,
    /// Chain that it follows, if it is a node of this implementation and has stated it.
    pub identity: Option<ChainIdentity>,
    /// Proof of work that it requires of messages, in leading zero bits.
    pub difficulty: u8,
    /// Head that it announced last.
    pub head: Option<AtomId>,
    /// `true` if it offers a stream.
    pub offers_stream: bool,
    /// Time since its last sign of life that cannot be a replay.
    pub last_heard: Duration,
}

impl Peer {
    pub(super) fn new(info: &PeerInfo, now: Instant) -> Self {
        Self {
            public_key: info.key,
            address: info.address,
            group: info.group,
            is_validated: info.is_validated,
            is_validator: info.is_validator,
            is_default_seed: info.is_default_seed,
            is_seed: info.is_seed,
            identity: info.identity,
            difficulty: info.difficulty,
            head: info.head,
            offers_stream: info.stream.is_some(),
            last_heard: now.since(info.last_heard),
        }
    }
}

/// Status of the network.
#[derive(Clone, Debug)]
pub struct NetworkStatus {
    /// Number of authenticated peers.
    pub peers: usize,
    /// Address of this node that is announced to other nodes.
    pub advertised_address: Option<SocketAddr>,
    /// Private address that most peers share.
    pub shared_private_address: Option<IpAddr>,
    /// Proof of work that this node requires of messages, in leading zero bits.
    pub difficulty: u8,
    /// Number of advertised objects.
    pub advertisements: usize,
    /// Head that a peer announced last.
    pub head: Option<AtomId>,
    /// Time since the loop started.
    pub uptime: Duration,
    /// Configured seeds.
    pub seeds: Vec<SeedState>,
    /// Source address of recent packets with this node's own key.
    pub own_key_from: Option<SocketAddr>,
    /// State of the streams.
    pub streams: StreamStatus,
    /// Counters of the engine.
    pub stats: Stats,
}

/// Reason a fetch failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FetchFailure {
    /// Failure in the network.
    Network(FetchError),
    /// The network has been stopped.
    Stopped,
    /// The caller's [`WaitLimit`](crate::WaitLimit) was reached.
    Abandoned,
}

impl fmt::Display for FetchFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(error) => error.fmt(f),
            Self::Stopped => Stopped.fmt(f),
            Self::Abandoned => f.write_str("timed out"),
        }
    }
}

impl core::error::Error for FetchFailure {}

/// Sender that queues commands and wakes the loop.
#[derive(Clone, Debug)]
pub(super) struct CommandSender {
    queue: SyncSender<Command>,
    waker: Arc<Waker>,
    stopping: Arc<AtomicBool>,
}

impl CommandSender {
    pub(super) const fn new(
        queue: SyncSender<Command>,
        waker: Arc<Waker>,
        stopping: Arc<AtomicBool>,
    ) -> Self {
        Self {
            queue,
            waker,
            stopping,
        }
    }

    /// Queues a command; waits while the queue is full.
    pub(super) fn send(&self, command: Command) -> Result<(), Stopped> {
        if self.stopping.load(Ordering::Acquire) {
            return Err(Stopped);
        }
        self.queue.send(command).map_err(|_| Stopped)?;
        self.wake();
        Ok(())
    }

    /// Queues a command if the queue is not full. The command has to be one that may be lost.
    pub(super) fn offer(&self, command: Command) {
        if self.queue.try_send(command).is_ok() {
            self.wake();
        }
    }

    /// Stops the loop. Sets a flag instead of sending a command, so that it works when the queue is
    /// full.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.wake();
    }

    fn wake(&self) {
        // Fails only if the loop's side of the poll is gone; then there is no loop to wake.
        let _ = self.waker.wake();
    }
}
