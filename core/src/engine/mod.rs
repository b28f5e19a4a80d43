//! Protocol engine: takes datagrams and time, produces datagrams and events. It has no sockets,
//! threads, clock or entropy.
//!
//! # How to drive it
//!
//! After each input ([`Engine::handle_datagram`], [`Engine::handle_timeout`],
//! [`Engine::handle_work`], [`Engine::handle_read`], or a command), drain
//! [`Engine::poll_transmit`], [`Engine::poll_event`], [`Engine::poll_work`] and
//! [`Engine::poll_read`] until each returns `None`, then wait for a datagram or until
//! [`Engine::poll_timeout`]. Reads occur only if an [`ObjectSource`] reports atoms as
//! [`LookUp::OnDisk`].
//!
//! # Terms
//!
//! - A *reference node* runs the unmodified reference implementation. A *node of this
//!   implementation* runs this engine.
//! - A *referrer* is a peer that named an address to us, in a redirect or in a route response.
//! - A *statement* is a claim that a peer makes about itself or about the chain: a ping (its head
//!   and role), an announced transaction, or the chain identity in an authenticated handshake.
//!
//! # Invariants
//!
//! - Two engines with equal configuration, seed and inputs give equal outputs, byte for byte.
//! - No input makes it panic, recurse, loop for long or hold more than the bounds in [`limits`].
//! - An address is *validated* only by the echo of an unguessable id that was sent to it under the
//!   peer's key. Any other address is sent at most [`limits::AMPLIFICATION`] times the bytes that
//!   came from it, or from a referrer that named it in a redirect, and first contacts: per
//!   [`limits::CONTACT_INTERVAL`] one packet of our own accord and one caused by referrers. Seeds
//!   are contacted at their own interval.
//! - A peer's address, and the pin of the default seed, move only to validated addresses.
//! - Unsolicited responses have no effect, and an atom is accepted only under the id that it hashes
//!   to.
//! - Statements of a peer (its head, a transaction, its chain) count only once the peer is
//!   validated, and only if they are of its present run: recorded packets of earlier runs have no
//!   effect.
//! - A peer on IPv6 is sent object requests and IPv6 addresses only after it has identified itself
//!   as a node of this implementation by [`IPV6_MARK`] or an authenticated block: a reference node
//!   would stop receiving.

mod address;
mod address_validation;
mod advertise;
mod amplification;
mod config;
mod contact;
mod egress;
mod egress_shares;
mod event;
mod fetch;
mod handshake;
mod held;
mod ingress;
pub mod limits;
mod objects;
mod own_address;
mod own_key;
mod peers;
mod ping;
mod providers;
mod queue;
mod random;
mod rate_limit;
mod reads;
mod replay;
mod request;
mod round_trip;
mod routes;
mod seeds;
mod shares;
mod solicited;
mod stats;
#[cfg(test)]
mod tests;
mod timers;

pub use config::EngineConfig;
pub use egress::{Work, WorkDone, WorkId};
pub use event::{Event, FetchError, FetchId, PeerInfo, Recipient, RemoveReason, Transmit};
pub use fetch::ListLimit;
pub use providers::Provider;
pub use queue::ByteQueue;
pub use reads::{LookUp, ObjectSource, Read, ReadDone, ReadId};
pub use stats::{DropReason, Stats};

use crate::atom::AtomId;
use crate::crypto::{Nonce, PublicKey};
use crate::time::Instant;
use advertise::Advertisements;
use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;
use amplification::Credits;
use core::net::SocketAddr;
use egress::Egress;
use fetch::Fetches;
use own_address::OwnAddress;
use peers::{Peer, Peers};
use providers::Providers;
use random::ProbeIds;
use rate_limit::{Agreements, IntervalLimiter, UnknownKey};
use reads::Reads;
use replay::Departed;
use round_trip::RoundTrip;
use seeds::Seeds;
use shares::{Share, ShareTable, Shares};
use solicited::Solicited;

/// Payload of our handshakes to IPv6 addresses, by which nodes of this implementation recognize
/// each other. A reference node ignores the payload.
pub const IPV6_MARK: &[u8] = b"astreum ipv6";

/// Sender of a message, and the address that its answer goes to.
#[derive(Clone, Copy, Debug)]
struct Source {
    key: PublicKey,
    address: SocketAddr,
    /// `true` if the peer is validated at this address and the message cannot be of an earlier run
    /// of the peer.
    is_validated: bool,
}

/// Sender and nonce of an authentic message that is not known to be a replay.
#[derive(Clone, Copy, Debug)]
struct Sender {
    source: Source,
    /// Nonce that the message was sealed under.
    nonce: Nonce,
    /// `true` if its statements count. Otherwise they are held until the sender has answered a
    /// probe.
    is_trusted: bool,
    /// `true` if the sender has confirmed another stream: the message is of an earlier or a later
    /// run of the sender.
    is_unconfirmed: bool,
}

/// Protocol engine. See the [module](self) for how to drive it.
///
/// Two engines, joined without a network; one fetches an atom from the other:
///
/// ```
/// use astreum_core::atom::{Atom, MemoryStore};
/// use astreum_core::crypto::SecretKey;
/// use astreum_core::engine::{Engine, EngineConfig, Event};
/// use astreum_core::time::Instant;
/// use core::net::SocketAddr;
/// use core::time::Duration;
///
/// let mut now = Instant::from_secs(1_000);
/// let addresses = [7_001, 7_002].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
/// let mut engines = [(1, 7_001), (2, 7_002)].map(|(number, port)| {
///     let config = EngineConfig::new(SecretKey::from_bytes([number; 32]), port);
///     Engine::new(config, [number; 32], now)
/// });
/// let mut stores = [MemoryStore::new(), MemoryStore::new()];
/// let atom = Atom::bytes(*b"hello");
/// let id = stores[0].insert(atom.clone());
///
/// engines[1].connect(now, addresses[0]);
/// let mut fetched = Vec::new();
/// let mut buffer = Vec::new();
/// for _ in 0..1_000 {
///     now = now + Duration::from_millis(1);
///     for (from, to) in [(0, 1), (1, 0)] {
///         if engines[from].poll_timeout().is_some_and(|at| at <= now) {
///             engines[from].handle_timeout(now, &stores[from]);
///         }
///         while let Some(mut work) = engines[from].poll_work() {
///             let done = work.run(u64::MAX).unwrap_or_else(|| work.give_up());
///             engines[from].handle_work(now, done);
///         }
///         while engines[from].poll_transmit(&mut buffer).is_some() {
///             engines[to].handle_datagram(now, addresses[from], &buffer, &stores[to]);
///         }
///     }
///     while let Some(event) = engines[1].poll_event() {
///         match event {
///             Event::PeerAdded { peer, .. } => {
///                 engines[1].fetch_atom(now, id, Some(peer));
///             }
///             Event::Fetched { atoms, .. } => fetched.extend(atoms),
///             _ => {}
///         }
///     }
/// }
/// assert_eq!(fetched, [atom]);
/// ```
#[derive(Debug)]
pub struct Engine {
    config: EngineConfig,
    me: PublicKey,
    seeds: Seeds,
    peers: Peers,
    departed: Departed,
    credits: Credits,
    agreements: Agreements,
    /// Keys shared with unknown peers whose last packet failed authentication, by key and address.
    unknown_keys: ShareTable<(PublicKey, SocketAddr), UnknownKey>,
    /// Addresses contacted recently; the flag is `true` for contacts of our own accord and `false`
    /// for those caused by referrers.
    contacts: IntervalLimiter<(SocketAddr, bool)>,
    /// Contacted addresses and the keys that have answered from them.
    solicited: Solicited,
    /// Referrals charged to each referrer.
    referrers: IntervalLimiter<PublicKey>,
    /// Recent handshakes to unvalidated addresses, by the address and the key that they answered.
    handshakes: IntervalLimiter<(SocketAddr, PublicKey)>,
    /// Number of handshakes that were due an answer while `handshakes` was full.
    untracked_handshakes: u32,
    /// Keys, each at an IPv6 address, that have identified themselves as nodes of this
    /// implementation.
    marked: IntervalLimiter<(PublicKey, SocketAddr)>,
    /// Keys whose packets are dropped.
    banned: BTreeSet<PublicKey>,
    redirects: IntervalLimiter<(PublicKey, AtomId, objects::RedirectKind)>,
    probe_ids: ProbeIds,
    probe_timers: BTreeSet<(Instant, PublicKey)>,
    answer_timers: BTreeSet<(Instant, PublicKey)>,
    egress: Egress,
    providers: Providers,
    fetches: Fetches,
    /// Requests of peers for objects that are on a disk.
    reads: Reads,
    /// Round trip over all peers: the estimate for a peer without one of its own.
    round_trip: RoundTrip,
    advertisements: Advertisements,
    own_address: OwnAddress,
    incoming: ByteQueue<(SocketAddr, Vec<u8>)>,
    /// Events that the host has not taken yet. Statements of peers count against a share.
    events: VecDeque<(Event, Option<Share>)>,
    event_shares: Shares,
    stats: Stats,
    /// Buffer that content is decrypted into, kept for its capacity.
    scratch: Vec<u8>,
    next_check: Instant,
    next_bootstrap: Instant,
    seeds_contacted_at: Instant,
}

impl Source {
    /// Returns the share of tables that its packets count against.
    fn share(&self) -> Share {
        Share::of(self.address.ip(), self.key)
    }
}

impl Engine {
    /// Creates an engine without peers. All its randomness is derived from `seed`, which must be
    /// fresh for each run and secret.
    #[must_use]
    pub fn new(config: EngineConfig, seed: [u8; 32], now: Instant) -> Self {
        let me = config.secret.public_key();
        let interval = limits::CONTACT_INTERVAL;
        Self {
            me,
            seeds: Seeds::default(),
            peers: Peers::new(me),
            departed: Departed::default(),
            credits: Credits::default(),
            agreements: Agreements::new(now),
            unknown_keys: ShareTable::new(limits::MAX_UNKNOWN_KEYS),
            contacts: IntervalLimiter::new(interval, limits::MAX_CONTACTS),
            solicited: Solicited::new(now),
            referrers: IntervalLimiter::new(interval, limits::MAX_CONTACTS),
            handshakes: IntervalLimiter::new(interval, limits::MAX_HANDSHAKE_ANSWERS),
            untracked_handshakes: 0,
            marked: IntervalLimiter::new(interval, limits::MAX_HANDSHAKE_ANSWERS),
            banned: BTreeSet::new(),
            redirects: IntervalLimiter::new(interval, limits::MAX_REDIRECTS),
            probe_ids: ProbeIds::new(&seed),
            probe_timers: BTreeSet::new(),
            answer_timers: BTreeSet::new(),
            egress: Egress::new(&config, me, &seed),
            providers: Providers::default(),
            fetches: Fetches::default(),
            reads: Reads::default(),
            round_trip: RoundTrip::default(),
            advertisements: Advertisements::default(),
            own_address: OwnAddress::new(now),
            incoming: ByteQueue::new(
                config.incoming_queue_limit_bytes,
                config.incoming_queue_timeout,
            ),
            events: VecDeque::new(),
            event_shares: Shares::new(),
            stats: Stats::default(),
            scratch: Vec::new(),
            next_check: now + config.peer_timeout_interval,
            next_bootstrap: now,
            seeds_contacted_at: now,
            config,
        }
    }

    /// Returns our own public key.
    #[must_use]
    pub const fn public_key(&self) -> &PublicKey {
        &self.me
    }

    /// Moves the next packet into `buffer`, replacing its contents, and returns its destination and
    /// length. Buffers are exchanged, not copied, so that memory is reused.
    pub fn poll_transmit(&mut self, buffer: &mut Vec<u8>) -> Option<Transmit> {
        self.egress.poll(&mut self.stats, buffer)
    }

    /// Returns the next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        let (event, share) = self.events.pop_front()?;
        if let Some(share) = share {
            self.event_shares.remove(share);
        }
        Some(event)
    }

    /// Returns the next proof-of-work search for the host to run.
    pub fn poll_work(&mut self) -> Option<Work> {
        self.egress.poll_work()
    }

    /// Handles the result of a proof-of-work search: queues its packet if a nonce was found, and
    /// drops the packet otherwise.
    pub fn handle_work(&mut self, now: Instant, done: WorkDone) {
        self.egress.handle_work(now, &mut self.stats, done);
    }

    /// Returns the registered peers, by key.
    pub fn peers(&self) -> impl Iterator<Item = PeerInfo> {
        let registered = self.peers.iter().filter(|(_, peer)| peer.is_registered);
        registered.map(|(key, peer)| self.info(key, peer))
    }

    /// Returns the state of a registered peer.
    #[must_use]
    pub fn peer(&self, key: &PublicKey) -> Option<PeerInfo> {
        let peer = self.peers.get(key).filter(|peer| peer.is_registered)?;
        Some(self.info(key, peer))
    }

    fn info(&self, key: &PublicKey, peer: &Peer) -> PeerInfo {
        PeerInfo {
            key: *key,
            address: peer.address,
            group: peer.group(),
            is_validated: peer.is_validated,
            is_validator: peer.is_validator,
            is_default_seed: self.seeds.is_default(key),
            is_seed: self.seeds.is_seed(key, peer),
            difficulty: peer.difficulty,
            head: peer.head,
            identity: peer.block_exchange.identity,
            last_heard: peer.last_heard,
        }
    }

    /// Returns the number of registered peers.
    #[must_use]
    pub const fn peer_count(&self) -> usize {
        self.peers.registered()
    }

    /// Returns the counters.
    #[must_use]
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Returns the provider records.
    pub fn providers(&self) -> impl Iterator<Item = (&AtomId, Provider)> {
        self.providers.iter()
    }

    /// Returns the unexpired provider records of `id`: records put by the provider itself first,
    /// and within each rank the latest first.
    pub fn providers_of(&self, now: Instant, id: &AtomId) -> impl Iterator<Item = Provider> {
        self.providers.of(now, id)
    }

    /// Returns the number of provider records.
    #[must_use]
    pub fn provider_count(&self) -> usize {
        self.providers.len()
    }

    /// Returns the number of bytes in the incoming queue, see [`Engine::enqueue_datagram`].
    #[must_use]
    pub const fn incoming_bytes(&self) -> u64 {
        self.incoming.bytes()
    }

    /// Returns the number of bytes in the outgoing queue.
    #[must_use]
    pub const fn outgoing_bytes(&self) -> u64 {
        self.egress.queued_bytes()
    }

    /// Returns the number of packets that wait for a proof-of-work search, whether or not the host
    /// has taken the search yet.
    #[must_use]
    pub fn pending_work(&self) -> usize {
        self.egress.pending_work()
    }

    /// Returns the proof of work that is required of senders at present, in leading zero bits.
    #[must_use]
    pub fn required_difficulty(&self) -> u8 {
        self.incoming.required_difficulty()
    }

    /// Queues an event. When [`limits::MAX_EVENTS`] are queued, a statement displaces an older one
    /// of the source with most statements, or is dropped; other events are always queued.
    fn push_event(&mut self, event: Event) {
        let peer = match &event {
            Event::Head { peer, .. }
            | Event::Transaction { peer, .. }
            | Event::ChainIdentity { peer, .. } => Some(peer),
            _ => None,
        };
        let share = peer.map(|peer| self.share(peer));
        if let Some(share) = share {
            if self.events.len() >= limits::MAX_EVENTS {
                self.stats.drop(DropReason::EventsFull);
                let Some(loser) = self.event_shares.loser(share) else {
                    return;
                };
                let mut shares = self.events.iter().map(|(_, share)| *share);
                if let Some(oldest) = shares.position(|share| share == Some(loser)) {
                    self.events.remove(oldest);
                    self.event_shares.remove(loser);
                }
            }
            self.event_shares.add(share);
        }
        self.events.push_back((event, share));
    }
}
