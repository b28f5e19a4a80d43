//! The protocol engine: datagrams and time in, datagrams and events out. No sockets, no threads, no
//! clock, no entropy.
//!
//! # How to drive it
//!
//! After each input ([`Engine::handle_datagram`], [`Engine::handle_timeout`],
//! [`Engine::handle_work`], [`Engine::handle_read`], or a command), drain
//! [`Engine::poll_transmit`], [`Engine::poll_event`], [`Engine::poll_work`] and
//! [`Engine::poll_read`] until each gives nothing, then wait for a datagram or for
//! [`Engine::poll_timeout`]. There are reads only where an [`ObjectSource`] names atoms that are on a
//! disk.
//!
//! # Invariants
//!
//! - Two engines with equal configuration, seed and inputs give equal outputs, byte for byte.
//! - No input makes it panic, recurse, loop for long or hold more than [`limits`] says.
//! - An address is *validated* only by the echo of an unguessable id that was sent to it under the
//!   peer's key. To any other address go at most [`limits::AMPLIFICATION`] times the bytes that came
//!   from it, or from a peer that named it in a redirect, and first contacts of our own: one packet
//!   an address per [`limits::CONTACT_INTERVAL`] of our own accord and one because peers have named it.
//!   Seeds are contacted at their own interval.
//! - A peer's address, and the pin of the default seed, move only to validated addresses.
//! - Unsolicited responses have no effect, and atoms count only under the id that they hash to.
//! - What a peer states (its head, a transaction, its chain) counts only once the peer is validated,
//!   and only from its present run: recorded packets of earlier runs have no effect.
//! - An IPv6 node is asked for objects, and sent IPv6 addresses, only after it has shown to be a node
//!   of ours by [`IPV6_MARK`] or an authenticated block: a reference node would stop receiving.

mod address;
mod advertise;
mod ask;
mod budget;
mod config;
mod contact;
mod credit;
mod egress_shares;
mod event;
mod fetch;
mod handshake;
mod held;
pub mod limits;
mod maintain;
mod objects;
mod outbox;
mod own_address;
mod own_key;
mod peers;
mod ping;
mod proof;
mod providers;
mod queue;
mod random;
mod reads;
mod receive;
mod replay;
mod round_trip;
mod routes;
mod seeds;
mod shares;
mod solicited;
mod stats;
#[cfg(test)]
mod tests;

pub use config::EngineConfig;
pub use event::{Event, FetchError, FetchId, PeerInfo, Recipient, RemoveReason, Transmit};
pub use fetch::ListLimit;
pub use outbox::{Work, WorkDone, WorkId};
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
use budget::{Agreements, Recently, UnknownKey};
use core::net::SocketAddr;
use credit::Credits;
use fetch::Fetches;
use outbox::Outbox;
use own_address::OwnAddress;
use peers::{Peer, Peers};
use providers::Providers;
use random::ProbeIds;
use reads::Reads;
use replay::Departed;
use round_trip::RoundTrip;
use seeds::Seeds;
use shares::{Share, ShareTable, Shares};
use solicited::Solicited;

/// Payload of our handshakes to IPv6 addresses, by which nodes of ours know each other there. A
/// reference node ignores the payload.
pub const IPV6_MARK: &[u8] = b"astreum ipv6";

/// The sender of a message, and where its answer goes.
#[derive(Clone, Copy, Debug)]
struct Source {
    key: PublicKey,
    address: SocketAddr,
    /// Whether the peer is validated at this address, and the message cannot be of an earlier run
    /// of it.
    is_proven: bool,
}

/// An authentic message that is not known to be a replay.
#[derive(Clone, Copy, Debug)]
struct Sender {
    source: Source,
    /// The nonce that it was sealed under.
    nonce: Nonce,
    /// Whether what it states counts. If not, statements are held until the sender has answered a
    /// probe.
    is_trusted: bool,
    /// Whether the sender has confirmed another stream: the message is of an earlier run of it, or
    /// of a later one.
    is_unconfirmed: bool,
}

/// The protocol engine. See the [module](self) for how to drive it.
#[derive(Debug)]
pub struct Engine {
    config: EngineConfig,
    me: PublicKey,
    seeds: Seeds,
    peers: Peers,
    departed: Departed,
    credits: Credits,
    agreements: Agreements,
    /// Keys shared with unknown peers of which a packet did not open, by where it came from.
    unknown_keys: ShareTable<(PublicKey, SocketAddr), UnknownKey>,
    /// Addresses that we have contacted of our own accord, and because peers have named them.
    contacts: Recently<(SocketAddr, bool)>,
    /// Their answers.
    solicited: Solicited,
    /// Peers that have made us contact addresses.
    namers: Recently<PublicKey>,
    /// Handshakes to unvalidated addresses, by the key that they answered.
    handshakes: Recently<(SocketAddr, PublicKey)>,
    /// Handshakes that found no place there.
    unremembered: u32,
    /// Keys, at IPv6 addresses, that have shown to be nodes of ours.
    marked: Recently<(PublicKey, SocketAddr)>,
    /// Keys whose packets are dropped.
    banned: BTreeSet<PublicKey>,
    redirects: Recently<(PublicKey, AtomId, objects::Told)>,
    probe_ids: ProbeIds,
    probe_timers: BTreeSet<(Instant, PublicKey)>,
    answer_timers: BTreeSet<(Instant, PublicKey)>,
    outbox: Outbox,
    providers: Providers,
    fetches: Fetches,
    /// Requests of peers for objects that are on a disk.
    reads: Reads,
    /// Round trip over all peers: what to expect of an unknown one.
    round_trip: RoundTrip,
    advertisements: Advertisements,
    own_address: OwnAddress,
    incoming: ByteQueue<(SocketAddr, Vec<u8>)>,
    /// What waits for the host. Statements of peers have a share.
    events: VecDeque<(Event, Option<Share>)>,
    event_shares: Shares,
    stats: Stats,
    /// Where content is opened; kept for its capacity.
    scratch: Vec<u8>,
    next_check: Instant,
    next_bootstrap: Instant,
    seeds_looked_at: Instant,
}

impl Source {
    /// Returns the share of tables that its packets use.
    fn share(&self) -> Share {
        Share::of(self.address.ip(), self.key)
    }
}

impl Engine {
    /// Creates an engine without peers. All its randomness comes from `seed`, which must be fresh
    /// for each run and secret.
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
            contacts: Recently::new(interval, limits::MAX_CONTACTS),
            solicited: Solicited::new(now),
            namers: Recently::new(interval, limits::MAX_CONTACTS),
            handshakes: Recently::new(interval, limits::MAX_HANDSHAKE_ANSWERS),
            unremembered: 0,
            marked: Recently::new(interval, limits::MAX_HANDSHAKE_ANSWERS),
            banned: BTreeSet::new(),
            redirects: Recently::new(interval, limits::MAX_REDIRECTS),
            probe_ids: ProbeIds::new(&seed),
            probe_timers: BTreeSet::new(),
            answer_timers: BTreeSet::new(),
            outbox: Outbox::new(&config, me, &seed),
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
            seeds_looked_at: now,
            config,
        }
    }

    /// Returns our own key.
    #[must_use]
    pub const fn public_key(&self) -> &PublicKey {
        &self.me
    }

    /// Returns the next packet in `buffer`, whose contents are replaced. Buffers are exchanged, not
    /// copied: the memory is used again.
    pub fn poll_transmit(&mut self, buffer: &mut Vec<u8>) -> Option<Transmit> {
        self.outbox.poll(&mut self.stats, buffer)
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
        self.outbox.poll_work()
    }

    /// Takes the result of a search; its packet goes out, or is dropped.
    pub fn handle_work(&mut self, now: Instant, done: WorkDone) {
        self.outbox.handle_work(now, &mut self.stats, done);
    }

    /// Returns the registered peers, by key.
    pub fn peers(&self) -> impl Iterator<Item = PeerInfo> {
        let registered = self.peers.iter().filter(|(_, peer)| peer.is_registered);
        registered.map(|(key, peer)| self.info(key, peer))
    }

    /// Returns what is known of a registered peer.
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
            is_proven: peer.is_proven,
            is_validator: peer.is_validator,
            is_default_seed: self.seeds.is_default(key),
            is_seed: self.seeds.is_seed(key, peer),
            difficulty: peer.difficulty,
            head: peer.head,
            identity: peer.introduction.identity,
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

    /// Returns the provider records of `id`, the latest first.
    pub fn providers_of(&self, now: Instant, id: &AtomId) -> impl Iterator<Item = Provider> {
        self.providers.of(now, id)
    }

    /// Returns the number of provider records.
    #[must_use]
    pub fn provider_count(&self) -> usize {
        self.providers.len()
    }

    /// Returns the bytes in the incoming queue, see [`Engine::enqueue_datagram`].
    #[must_use]
    pub const fn incoming_bytes(&self) -> u64 {
        self.incoming.bytes()
    }

    /// Returns the bytes in the outgoing queue.
    #[must_use]
    pub const fn outgoing_bytes(&self) -> u64 {
        self.outbox.queued_bytes()
    }

    /// Returns the number of searches that the host has not brought back.
    #[must_use]
    pub fn pending_work(&self) -> usize {
        self.outbox.pending_work()
    }

    /// Returns the proof of work that is required of senders now, in leading zero bits.
    #[must_use]
    pub fn required_difficulty(&self) -> u8 {
        self.incoming.required_difficulty()
    }

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
