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
//! # Parts
//!
//! [`Engine`] is a composition of parts that each have their own state, invariants and tests; its
//! methods connect them. Each part writes packets, events and counters to the output.
//!
//! | module | state |
//! | --- | --- |
//! | `inbound` | queue of datagrams, banned keys |
//! | `key_agreement` | budget of key agreements with unknown peers |
//! | `peers` | known peers, eviction, the routing table |
//! | `seeds` | addresses of the seeds and their timers |
//! | `contacts`, `solicited` | first contacts, their budgets and answers |
//! | `handshake_answers` | answers to handshakes |
//! | `address_validation` | ids and timers of probes |
//! | `object_server`, `providers`, `reads` | provider records, redirects, requests for a disk |
//! | `fetch` | fetches under way |
//! | `advertise` | our advertisements |
//! | `own_address` | votes on our own address |
//! | `output`, `egress`, `amplification`, `event_queue` | packets, amplification limits, events |
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
mod allowance;
mod amplification;
mod config;
mod contact;
mod contacts;
mod datagram;
mod egress;
mod egress_shares;
mod event;
mod event_queue;
mod fetch;
mod handshake;
mod handshake_answers;
mod held;
mod inbound;
mod ingress;
mod key_agreement;
pub mod limits;
mod object_server;
mod objects;
mod output;
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
pub use event::{
    Event, FetchError, FetchId, FetchProgress, ListId, PeerInfo, Recipient, RemoveReason,
    StreamedObject, Transmit,
};
pub use fetch::{Extent, FetchRequest, ListLimit};
pub use providers::Provider;
pub use queue::ByteQueue;
pub use reads::{LookUp, ObjectSource, Read, ReadDone, ReadId};
pub use stats::{DropReason, Stats};

use crate::atom::AtomId;
use crate::crypto::{Nonce, PublicKey};
use crate::time::Instant;
use address_validation::AddressValidation;
use advertise::Advertisements;
use alloc::vec::Vec;
use contacts::Contacts;
use core::net::SocketAddr;
use fetch::Fetches;
use handshake_answers::HandshakeAnswers;
use inbound::Inbound;
use key_agreement::KeyAgreement;
use object_server::ObjectServer;
use output::Output;
use own_address::OwnAddress;
use peers::Peers;
use seeds::Seeds;
use shares::Share;

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
/// use astreum_core::engine::{Engine, EngineConfig, Event, FetchRequest};
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
///                 let request = FetchRequest::atom(id).first_from(Some(peer));
///                 engines[1].fetch(now, request);
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
    inbound: Inbound,
    seeds: Seeds,
    peers: Peers,
    keys: KeyAgreement,
    contacts: Contacts,
    handshakes: HandshakeAnswers,
    validation: AddressValidation,
    objects: ObjectServer,
    fetches: Fetches,
    advertisements: Advertisements,
    own_address: OwnAddress,
    out: Output,
    /// Buffer that content is decrypted into, kept for its capacity.
    scratch: Vec<u8>,
    /// Time of the next check of all peers.
    next_check: Instant,
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
        Self {
            me,
            inbound: Inbound::new(&config),
            seeds: Seeds::new(now, config.bootstrap_retry_interval),
            peers: Peers::new(me),
            keys: KeyAgreement::new(now, config.secret.clone()),
            contacts: Contacts::new(now, config.use_ipv6),
            handshakes: HandshakeAnswers::new(),
            validation: AddressValidation::new(me, &seed),
            objects: ObjectServer::new(),
            fetches: Fetches::default(),
            advertisements: Advertisements::default(),
            own_address: OwnAddress::new(now, &config),
            out: Output::new(&config, me, &seed),
            scratch: Vec::new(),
            next_check: now + config.peer_timeout_interval,
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
        self.out.egress.poll(&mut self.out.stats, buffer)
    }

    /// Returns the next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.out.poll_event()
    }

    /// Returns the next proof-of-work search for the host to run.
    pub fn poll_work(&mut self) -> Option<Work> {
        self.out.egress.poll_work()
    }

    /// Handles the result of a proof-of-work search: queues its packet if a nonce was found, and
    /// drops the packet otherwise.
    pub fn handle_work(&mut self, now: Instant, done: WorkDone) {
        self.out.egress.handle_work(now, &mut self.out.stats, done);
    }

    /// Returns the registered peers, by key.
    pub fn peers(&self) -> impl Iterator<Item = PeerInfo> {
        let registered = self.peers.iter().filter(|(_, peer)| peer.is_registered);
        registered.map(|(key, peer)| peer.info(key, &self.seeds))
    }

    /// Returns the state of a registered peer.
    #[must_use]
    pub fn peer(&self, key: &PublicKey) -> Option<PeerInfo> {
        let peer = self.peers.get(key).filter(|peer| peer.is_registered)?;
        Some(peer.info(key, &self.seeds))
    }

    /// Returns the number of registered peers.
    #[must_use]
    pub const fn peer_count(&self) -> usize {
        self.peers.registered()
    }

    /// Returns the counters.
    #[must_use]
    pub const fn stats(&self) -> &Stats {
        &self.out.stats
    }

    /// Returns the provider records.
    pub fn providers(&self) -> impl Iterator<Item = (&AtomId, Provider)> {
        self.objects.providers.iter()
    }

    /// Returns the unexpired provider records of `id`: records put by the provider itself first,
    /// and within each rank the latest first.
    pub fn providers_of(&self, now: Instant, id: &AtomId) -> impl Iterator<Item = Provider> {
        self.objects.providers.of(now, id)
    }

    /// Returns the number of provider records.
    #[must_use]
    pub fn provider_count(&self) -> usize {
        self.objects.providers.len()
    }

    /// Returns the number of bytes in the incoming queue, see [`Engine::enqueue_datagram`].
    #[must_use]
    pub const fn incoming_bytes(&self) -> u64 {
        self.inbound.queued_bytes()
    }

    /// Returns the number of bytes in the outgoing queue.
    #[must_use]
    pub const fn outgoing_bytes(&self) -> u64 {
        self.out.egress.queued_bytes()
    }

    /// Returns the number of packets that wait for a proof-of-work search, whether or not the host
    /// has taken the search yet.
    #[must_use]
    pub fn pending_work(&self) -> usize {
        self.out.egress.pending_work()
    }

    /// Returns the proof of work that is required of senders at present, in leading zero bits.
    #[must_use]
    pub fn required_difficulty(&self) -> u8 {
        self.inbound.required_difficulty()
    }
}
