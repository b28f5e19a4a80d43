//! Events for the host, and their parts.

use crate::atom::{Atom, AtomId};
use crate::crypto::PublicKey;
use crate::time::Instant;
use crate::wire::handshake::ChainIdentity;
use crate::wire::network_group::NetworkGroup;
use crate::wire::object::PayloadType;
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;

/// Names one call of [`Engine::fetch`](super::Engine::fetch).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FetchId(pub(super) u64);

/// Destination of the datagram in the caller's buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transmit {
    /// The receiver. On a dual-stack socket an IPv4 address has to be mapped by the host.
    pub to: SocketAddr,
    /// Bytes in the buffer, all of which are the datagram.
    pub len: usize,
}

/// Reason why a fetch failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FetchError {
    /// Every peer that was asked does not have it, or named only peers that had been asked.
    NotFound,
    /// It did not arrive in time.
    Timeout,
    /// Too many fetches are under way.
    TooMany,
    /// The list has more atoms or bytes than are taken.
    TooLarge,
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFound => "no peer has it",
            Self::Timeout => "no answer in time",
            Self::TooMany => "too many fetches are under way",
            Self::TooLarge => "the list is too large",
        })
    }
}

impl core::error::Error for FetchError {}

/// Reason why a peer was removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RemoveReason {
    /// Silent for too long, also when asked.
    TimedOut,
    /// Another key was validated at its address.
    Replaced,
    /// Its place was needed.
    Displaced,
    /// The host disconnected it.
    Disconnected,
}

/// Something that happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A peer was registered: its address is validated, or it cannot be and has sent an authentic
    /// ping.
    PeerAdded {
        /// The peer.
        peer: PublicKey,
        /// Where it is sent to.
        address: SocketAddr,
    },
    /// A peer was validated at another address.
    PeerMoved {
        /// The peer.
        peer: PublicKey,
        /// The address that it had.
        from: SocketAddr,
        /// The address that it has.
        to: SocketAddr,
    },
    /// A peer was removed.
    PeerRemoved {
        /// The peer.
        peer: PublicKey,
        /// The reason.
        reason: RemoveReason,
    },
    /// A fetch has succeeded. The atoms have the ids they were requested under: for a list, they are
    /// all its atoms, head first.
    Fetched {
        /// The fetch.
        fetch: FetchId,
        /// The requested id.
        id: AtomId,
        /// The requested kind.
        kind: PayloadType,
        /// The atoms.
        atoms: Vec<Atom>,
        /// The peer that sent the last of them; `None` for the empty list, and for the beginning of one
        /// that timed out.
        from: Option<PublicKey>,
    },
    /// A fetch has failed.
    FetchFailed {
        /// The fetch.
        fetch: FetchId,
        /// The requested id.
        id: AtomId,
        /// What came of it: the beginning of the list.
        atoms: Vec<Atom>,
        /// The reason.
        error: FetchError,
    },
    /// A peer's ping names a head other than the one it named before.
    Head {
        /// The peer that named it: the first to ask for all that belongs to it.
        peer: PublicKey,
        /// The network group of the peer's address.
        group: NetworkGroup,
        /// The head.
        id: AtomId,
        /// Whether the peer is the pinned default seed.
        is_default_seed: bool,
        /// Whether the peer is the pinned default seed, or its validated address is that of a
        /// configured seed.
        is_seed: bool,
    },
    /// A peer announces a transaction. Only when we validate.
    Transaction {
        /// The peer that announced it: the first to ask for all that belongs to it.
        peer: PublicKey,
        /// The network group of the peer's address.
        group: NetworkGroup,
        /// The transaction's id.
        id: AtomId,
    },
    /// A peer follows this chain, or another than before. [`PeerInfo::identity`] has it too, in case
    /// the event was dropped.
    ChainIdentity {
        /// The peer.
        peer: PublicKey,
        /// Its chain: authentic, and of the present run of the peer.
        identity: ChainIdentity,
    },
    /// Another node has our relay key: it has shown so from this address.
    OwnKeyElsewhere {
        /// The address.
        address: SocketAddr,
    },
    /// Most network groups see us at this address, which advertisements name from now on.
    AddressLearned(SocketAddr),
}

/// What is known of a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerInfo {
    /// Its key.
    pub key: PublicKey,
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
    /// Whether the peer is the pinned default seed, or its validated address is that of a configured
    /// seed.
    pub is_seed: bool,
    /// The proof of work that it requires, clamped.
    pub difficulty: u8,
    /// The head that it named last.
    pub head: Option<AtomId>,
    /// The chain that it follows; `None` while that is not known, as of a reference node.
    pub identity: Option<ChainIdentity>,
    /// When it last gave a sign of life that cannot be a replay.
    pub last_heard: Instant,
}

/// Recipients of an announced transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Recipient {
    /// One peer.
    Peer(PublicKey),
    /// Every validated peer whose pings say that it validates and name a head. (A reference node that
    /// has a validation key but no head stops receiving at its first transaction.)
    Validators,
}
