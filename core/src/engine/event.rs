//! Events for the host, and their parts.

use crate::atom::{AtomId, LinkedAtoms};
use crate::crypto::PublicKey;
use crate::time::Instant;
use crate::wire::handshake::{ChainIdentity, StreamOffer};
use crate::wire::network_group::NetworkGroup;
use crate::wire::object::PayloadType;
use core::fmt;
use core::net::SocketAddr;

/// Identifier of one call of [`Engine::fetch`](super::Engine::fetch).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FetchId(pub(super) u64);

/// Identifier of a fetched list that callers may share and that may continue by stream.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ListId(pub(super) u64);

impl ListId {
    /// Identifier of the first list of an engine.
    pub const FIRST: Self = Self(0);
}

/// Destination and length of the datagram in the caller's buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transmit {
    /// Receiver. On a dual-stack socket the host has to map an IPv4 address to IPv6.
    pub to: SocketAddr,
    /// Length of the datagram in bytes, which is the length of the buffer.
    pub len: usize,
}

/// Progress of a fetch that is under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FetchProgress {
    /// Number of atoms that have arrived, in any way.
    pub atoms: usize,
    /// Number of their stored bytes.
    pub bytes: usize,
    /// Id of the atom that the fetch waits for.
    pub next: AtomId,
}

/// Reason why a fetch failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FetchError {
    /// No peer that was asked has the object or named a peer that had not been asked; or fetching
    /// is disabled, or the id is zero or the kind unknown.
    NotFound,
    /// The object did not arrive in time.
    Timeout,
    /// Too many fetches are under way, or too many callers share this one.
    TooMany,
    /// The list has more atoms or bytes than the limit.
    TooLarge,
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFound => "not found at any peer",
            Self::Timeout => "timed out",
            Self::TooMany => "too many fetches in progress",
            Self::TooLarge => "list exceeds the size limit",
        })
    }
}

impl core::error::Error for FetchError {}

/// Reason why a peer was removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RemoveReason {
    /// The peer was silent for too long, and did not answer when asked for a sign of life.
    TimedOut,
    /// The routing table has no room for the peer, and neither side has requested anything from the
    /// other for too long.
    Unused,
    /// Another key was validated at its address.
    Replaced,
    /// Its place was needed for another peer.
    Displaced,
    /// The host disconnected it.
    Disconnected,
}

/// Object that a host requests by stream for a fetch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StreamedObject {
    /// The rest of a list, which the host stores, see
    /// [`Engine::begin_stream`](super::Engine::begin_stream).
    Stored,
    /// The list that starts with an atom, or its beginning. The engine holds it: pass what arrives
    /// to [`Engine::take_streamed`](super::Engine::take_streamed), and the end to
    /// [`Engine::end_stream`](super::Engine::end_stream).
    Held {
        /// First atom.
        id: AtomId,
        /// Maximum number of atoms, not zero.
        most: u32,
    },
}

/// Event for the host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A peer was registered: its address is validated, or cannot be validated and the peer has
    /// sent an authentic ping.
    PeerAdded {
        /// Key of the peer.
        peer: PublicKey,
        /// Address that its packets are sent to.
        address: SocketAddr,
    },
    /// A peer was validated at another address.
    PeerMoved {
        /// Key of the peer.
        peer: PublicKey,
        /// Previous address.
        from: SocketAddr,
        /// New address.
        to: SocketAddr,
    },
    /// A peer was removed.
    PeerRemoved {
        /// Key of the peer.
        peer: PublicKey,
        /// Reason of the removal.
        reason: RemoveReason,
    },
    /// A fetch succeeded. The atoms have the ids that they were requested under; for a list, they
    /// are all its atoms, head first, unless only a part was requested.
    Fetched {
        /// Identifier of the fetch.
        fetch: FetchId,
        /// Requested id.
        id: AtomId,
        /// Requested kind.
        kind: PayloadType,
        /// Fetched atoms.
        atoms: LinkedAtoms,
        /// Peer that sent the last of them; `None` for the empty list, and for the beginning of a
        /// list whose fetch timed out.
        from: Option<PublicKey>,
    },
    /// An object can continue by stream: a long list of which a part has arrived, or an object whose
    /// answers do not arrive by datagram. Until the stream delivers, it continues by datagrams.
    /// A host that does not open the stream calls [`Engine::end_stream`](super::Engine::end_stream):
    /// a fetch that waits for a stream is not given up before its time is over.
    StreamWanted {
        /// Identifier of the object.
        list: ListId,
        /// Peer that has served a part of the list, or was asked for the object.
        peer: PublicKey,
        /// Validated IP address of the peer, with the port of its offer.
        address: SocketAddr,
        /// Offer of the peer.
        offer: StreamOffer,
        /// Object to request, and whether the host or the engine holds the atoms that arrive.
        object: StreamedObject,
    },
    /// A fetch succeeded that went on by stream: the host has the beginning of the list already.
    Streamed {
        /// Identifier of the fetch.
        fetch: FetchId,
        /// Requested id.
        id: AtomId,
        /// Atoms that arrived by datagram after the last stream: the end of the list, or nothing.
        rest: LinkedAtoms,
    },
    /// A fetch failed.
    FetchFailed {
        /// Identifier of the fetch.
        fetch: FetchId,
        /// Requested id.
        id: AtomId,
        /// Atoms that arrived before the failure: the beginning of the list, without those that the
        /// host has from a stream.
        atoms: LinkedAtoms,
        /// Reason of the failure.
        error: FetchError,
    },
    /// A peer's ping names another head than its previous one.
    Head {
        /// Peer that named the head: the first one to ask for its block.
        peer: PublicKey,
        /// Network group of the peer's address.
        group: NetworkGroup,
        /// Id of the head.
        id: AtomId,
        /// `true` if the peer is the pinned default seed.
        is_default_seed: bool,
        /// `true` if the peer is the pinned default seed, or its validated address is that of a
        /// configured seed.
        is_seed: bool,
    },
    /// A peer announces a transaction. Reported only if we are a validator.
    Transaction {
        /// Peer that announced it: the first one to ask for its atoms.
        peer: PublicKey,
        /// Network group of the peer's address.
        group: NetworkGroup,
        /// Id of the transaction.
        id: AtomId,
    },
    /// A peer reports the chain that it follows, for the first time or after a change. Also
    /// available as [`PeerInfo::identity`], in case the event was dropped.
    ChainIdentity {
        /// Key of the peer.
        peer: PublicKey,
        /// Identity of its chain: authentic, and of the present run of the peer.
        identity: ChainIdentity,
    },
    /// Another node has our relay key: it has proved this from the given address.
    OwnKeyElsewhere {
        /// Address of the other node.
        address: SocketAddr,
    },
    /// Our own address was learned or has changed: most network groups observe us at this address,
    /// which advertisements name from now on.
    AddressLearned(SocketAddr),
}

/// Snapshot of the state of a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerInfo {
    /// Public key.
    pub key: PublicKey,
    /// Address that its packets are sent to.
    pub address: SocketAddr,
    /// Network group of that address.
    pub group: NetworkGroup,
    /// `true` if that address is validated.
    pub is_validated: bool,
    /// `true` if its pings state that it is a validator.
    pub is_validator: bool,
    /// `true` if it is the pinned default seed.
    pub is_default_seed: bool,
    /// `true` if it is the pinned default seed, or its validated address is that of a configured
    /// seed.
    pub is_seed: bool,
    /// Proof of work that it requires, in leading zero bits, clamped to the maximum.
    pub difficulty: u8,
    /// Head that its last ping named.
    pub head: Option<AtomId>,
    /// Chain that it follows; `None` while unknown, as for a reference node.
    pub identity: Option<ChainIdentity>,
    /// Its offer to accept streams: authentic, and of its present run.
    pub stream: Option<StreamOffer>,
    /// Time of its last sign of life that cannot be a replay.
    pub last_heard: Instant,
}

/// Recipients of an announced transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Recipient {
    /// A single peer.
    Peer(PublicKey),
    /// All validated peers whose pings state that they are validators and name a head. (A reference
    /// node that has a validation key but no head stops receiving at its first transaction.)
    Validators,
}
