//! What API threads, the resolver and the workers say to the loop.

use super::Stopped;
use super::resolve::{SeedAddresses, SeedState};
use crate::work::inbox::Inbox;
use astreum_core::atom::{Atom, AtomId};
use astreum_core::crypto::PublicKey;
use astreum_core::time::Instant;
use astreum_core::wire::engine::{
    FetchError, ListLimit, PeerInfo, ReadDone, Recipient, Stats, WorkDone,
};
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

/// Commands that may wait; senders wait beyond that.
pub(super) const COMMAND_QUEUE: usize = 1_024;

pub(super) enum Command {
    Contact(SocketAddr),
    Fetch {
        id: AtomId,
        kind: PayloadType,
        /// Names the fetch in [`Command::Cancel`].
        ticket: u64,
        reply: SyncSender<Result<Vec<Atom>, FetchFailure>>,
    },
    /// A fetch that nobody waits for: what comes is kept.
    Request {
        id: AtomId,
        kind: PayloadType,
    },
    /// Ends a fetch whose caller does not wait any more.
    Cancel {
        ticket: u64,
    },
    /// A fetch of the beginning of a list, whose outcome the chain's thread gets.
    ChainFetch {
        id: AtomId,
        limit: ListLimit,
        from: Option<PublicKey>,
        inbox: Inbox,
    },
    /// A fetch of a list that is given up beyond the limit; the chain's thread gets to know whether
    /// it is here.
    ChainFetchSmall {
        id: AtomId,
        limit: ListLimit,
        from: Option<PublicKey>,
        inbox: Inbox,
    },
    Advertise {
        advertisement: Advertisement,
        reply: SyncSender<bool>,
    },
    /// Nobody waits to hear whether there was room.
    AdvertiseAll(Vec<Advertisement>),
    SetHead(AtomId),
    SetChainIdentity(ChainIdentity),
    SetValidator(bool),
    /// Where heads and transactions that peers tell of go.
    Chain(Inbox),
    Withdraw {
        id: AtomId,
        reply: SyncSender<bool>,
    },
    Announce {
        transaction: AtomId,
        reply: SyncSender<usize>,
    },
    /// As [`Command::Announce`], for the chain's thread, which gets to know how many validators it went
    /// to.
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
    /// Peers of an earlier run, which are contacted while there are none.
    Remember(Vec<SocketAddr>),
    /// Removes a peer; `bans` keeps it away.
    Remove {
        key: PublicKey,
        bans: bool,
        reply: SyncSender<bool>,
    },
    /// Ends a ban; whether there was one.
    Unban {
        key: PublicKey,
        reply: SyncSender<bool>,
    },
    /// The keys that are banned.
    Banned(SyncSender<Vec<PublicKey>>),
    /// The objects that are advertised.
    Advertised(SyncSender<Vec<Advertisement>>),
    Seeds(SeedAddresses),
    WorkDone(WorkDone),
    ReadDone(ReadDone),
}

/// Something that this node offers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Advertisement {
    /// Its id.
    pub id: AtomId,
    /// Whether it is one atom or a chain.
    pub kind: PayloadType,
    /// How long it is offered; `None` until it is withdrawn.
    pub lifetime: Option<Duration>,
}

/// Somebody who has an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Provider {
    /// Who.
    pub key: PublicKey,
    /// Where.
    pub address: SocketAddr,
    /// How long that is still believed.
    pub expires_in: Duration,
}

/// What is known of a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Peer {
    /// Its key.
    pub public_key: PublicKey,
    /// Where it is sent to.
    pub address: SocketAddr,
    /// The network group of that address.
    pub group: NetworkGroup,
    /// Whether that address is validated.
    pub is_proven: bool,
    /// Whether its pings say that it validates.
    pub is_validator: bool,
    /// Whether it is the pinned default seed.
    pub is_default_seed: bool,
    /// Whether it is the pinned default seed, or validated at the address of a configured seed.
    pub is_seed: bool,
    /// The chain that it follows, if it is a node of this implementation and has told.
    pub identity: Option<ChainIdentity>,
    /// The difficulty that it asks of messages.
    pub difficulty: u8,
    /// The head that it named last.
    pub head: Option<AtomId>,
    /// Time since it last gave a sign of life that cannot be a replay.
    pub last_heard: Duration,
}

impl Peer {
    pub(super) fn new(info: &PeerInfo, now: Instant) -> Self {
        Self {
            public_key: info.key,
            address: info.address,
            group: info.group,
            is_proven: info.is_proven,
            is_validator: info.is_validator,
            is_default_seed: info.is_default_seed,
            is_seed: info.is_seed,
            identity: info.identity,
            difficulty: info.difficulty,
            head: info.head,
            last_heard: now.since(info.last_heard),
        }
    }
}

/// How the network is doing.
#[derive(Clone, Debug)]
pub struct NetworkStatus {
    /// Peers that have shown who they are.
    pub peers: usize,
    /// Where others are told that this node is.
    pub advertised_address: Option<SocketAddr>,
    /// The private address that most peers share.
    pub shared_private_address: Option<IpAddr>,
    /// The difficulty that this node asks of messages.
    pub difficulty: u8,
    /// Objects that are advertised.
    pub advertisements: usize,
    /// The head that a peer named last.
    pub head: Option<AtomId>,
    /// Time since the loop started.
    pub uptime: Duration,
    /// The configured seeds.
    pub seeds: Vec<SeedState>,
    /// Where packets with this node's own key came from lately.
    pub own_key_from: Option<SocketAddr>,
    /// What the engine counted.
    pub stats: Stats,
}

/// Why a fetch brought nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FetchFailure {
    /// The network says so.
    Network(FetchError),
    /// The network has been stopped.
    Stopped,
    /// The caller's [`Patience`](crate::Patience) was over.
    Abandoned,
}

impl fmt::Display for FetchFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(error) => error.fmt(f),
            Self::Stopped => Stopped.fmt(f),
            Self::Abandoned => f.write_str("the time for it is over"),
        }
    }
}

impl core::error::Error for FetchFailure {}

/// Queues commands and wakes the loop.
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

    /// Queues a command, waiting for room if there is none.
    pub(super) fn send(&self, command: Command) -> Result<(), Stopped> {
        if self.stopping.load(Ordering::Acquire) {
            return Err(Stopped);
        }
        self.queue.send(command).map_err(|_| Stopped)?;
        self.wake();
        Ok(())
    }

    /// Tells the loop to stop. A flag and no command, so that it works when the queue is full.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.wake();
    }

    fn wake(&self) {
        // Fails only when the loop's side of the poll is gone; then nobody is left to be woken.
        let _ = self.waker.wake();
    }
}
