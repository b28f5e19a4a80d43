//! Peers for which a shared key has been derived.
//!
//! A peer is *registered*, and listed to the host, once its address is validated, or with its first
//! ping if it cannot be validated (a reference node on IPv6). Only validated peers are in the
//! routing table, are named to others, and are candidates of lookups. Any other peer is sent a
//! request only if a referrer named it.

mod independence;
mod peer;
mod room;

pub(super) use peer::{Peer, Probe, Stream, WaitingPut};

use super::address::Origin;
use super::limits::{NEAR_PEERS, SHARED_ADDRESS_PEERS, SILENT_AFTER, SILENT_TRIAL_INTERVAL};
use super::replay::{Departed, ReplayWindow};
use super::round_trip::RoundTrip;
use super::shares::Share;
use crate::crypto::{KEY_BYTES, PublicKey};
use crate::time::Instant;
use crate::wire::network_group::{NetworkGroup, Scope};
use crate::wire::routing_table::{Entry, PeerTable};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;
use peer::EvictionQueueEntry;

/// Result of recording a validated address.
#[derive(Debug, Default)]
pub(super) struct Validated {
    /// Other key that was validated at the same address and has lost it, and the keys that only
    /// claimed the address and were last heard from before this peer came.
    pub(super) replaced: Vec<PublicKey>,
    /// Address that the peer was validated at before.
    pub(super) moved_from: Option<SocketAddr>,
    /// `true` if the peer was not registered before.
    pub(super) is_new: bool,
}

/// Known peers, at most [`MAX_PEERS`](super::limits::MAX_PEERS), with indexes by address and origin,
/// eviction queues and the routing table.
#[derive(Debug)]
pub(super) struct Peers {
    /// In boxes: the nodes of the map are usually half empty.
    by_key: BTreeMap<PublicKey, Box<Peer>>,
    by_address: BTreeMap<SocketAddr, PublicKey>,
    /// Addresses of peers that are not validated.
    claims: BTreeSet<(SocketAddr, PublicKey)>,
    /// Peers by the origin of their address: the validated one, else the one used last.
    by_origin: BTreeSet<(Origin, PublicKey)>,
    registered: usize,
    /// See [`Peers::independent`].
    independent: usize,
    /// Number of validated peers by network group.
    groups: BTreeMap<NetworkGroup, usize>,
    /// Last spare that has lost its place to a peer of another network group.
    turn: (Origin, PublicKey),
    /// Peers that are not validated, by the time at which they were last heard from, or earlier.
    unvalidated: Queue,
    /// Validated peers that the routing table has no room for, by the same time.
    spares: Queue,
    /// Validated peers by distance. Entries are added and removed only by the methods here.
    pub(super) table: PeerTable<Standing>,
    /// Number of silent peers in the routing table.
    silent: usize,
    /// Round trip over all peers: the estimate for a peer without one of its own.
    round_trip: RoundTrip,
    /// Statements of removed peers.
    departed: Departed,
}

/// State of a peer in the routing table as a server of objects.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Standing {
    /// `true` if the peer has left its last requests unanswered.
    is_silent: bool,
    /// `true` if the peer has answered a request for an object or for peers, other than a probe.
    pub(super) has_served: bool,
}

/// Peers in the order of eviction. A peer that is heard from keeps its position until it reaches
/// the front, so that a packet costs nothing here.
type Queue = BTreeSet<(Instant, PublicKey)>;

impl Peers {
    pub(super) fn new(me: PublicKey) -> Self {
        Self {
            by_key: BTreeMap::new(),
            by_address: BTreeMap::new(),
            claims: BTreeSet::new(),
            by_origin: BTreeSet::new(),
            registered: 0,
            independent: 0,
            groups: BTreeMap::new(),
            turn: (Origin::FIRST, PublicKey::new([0; KEY_BYTES])),
            unvalidated: Queue::new(),
            spares: Queue::new(),
            table: PeerTable::new(me),
            silent: 0,
            round_trip: RoundTrip::default(),
            departed: Departed::default(),
        }
    }

    pub(super) fn get(&self, key: &PublicKey) -> Option<&Peer> {
        self.by_key.get(key).map(Box::as_ref)
    }

    pub(super) fn get_mut(&mut self, key: &PublicKey) -> Option<&mut Peer> {
        self.by_key.get_mut(key).map(Box::as_mut)
    }

    /// Returns our own key.
    pub(super) const fn own_key(&self) -> &PublicKey {
        self.table.own_key()
    }

    /// Returns whether a peer is validated.
    pub(super) fn is_validated(&self, key: &PublicKey) -> bool {
        self.by_key.get(key).is_some_and(|peer| peer.is_validated)
    }

    /// Returns whether a peer may be sent a request: a reference node on IPv6 stops receiving at a
    /// request that it cannot answer.
    pub(super) fn may_ask(&self, key: &PublicKey) -> bool {
        let peer = self.by_key.get(key);
        peer.is_some_and(|peer| peer.may_be_asked_at(&peer.address))
    }

    /// Returns the share of tables that a peer, or this node itself, counts against.
    pub(super) fn share(&self, key: &PublicKey) -> Share {
        let address = self.by_key.get(key).map(|peer| peer.address.ip());
        Share::of(address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)), *key)
    }

    /// Returns the share of tables that this node itself counts against.
    pub(super) fn own_share(&self) -> Share {
        self.share(self.own_key())
    }

    /// Returns the keys of the validated peers that `keep` keeps, in order.
    pub(super) fn validated_where(&self, keep: impl Fn(&Peer) -> bool) -> Vec<PublicKey> {
        let validated = self.by_key.iter().filter(|(_, peer)| peer.is_validated);
        let kept = validated.filter(|(_, peer)| keep(peer));
        kept.map(|(key, _)| *key).collect()
    }

    /// Returns the response timeout of a request that was sent `tries` times to a peer.
    pub(super) fn response_timeout(&self, key: &PublicKey, tries: u8) -> Duration {
        let own = self.by_key.get(key).map(|peer| peer.round_trip);
        let trip = own.filter(RoundTrip::is_known).unwrap_or(self.round_trip);
        trip.response_timeout(tries)
    }

    /// Records the round trip of a request that was sent once.
    pub(super) fn note_round_trip(&mut self, key: &PublicKey, took: Duration) {
        self.round_trip.note(took);
        if let Some(peer) = self.by_key.get_mut(key) {
            peer.round_trip.note(took);
        }
    }

    /// Returns the private address that most validated peers share, if there are at least
    /// [`SHARED_ADDRESS_PEERS`].
    pub(super) fn shared_private_address(&self) -> Option<IpAddr> {
        let mut counts: BTreeMap<IpAddr, usize> = BTreeMap::new();
        for address in self.by_address.keys() {
            *counts.entry(address.ip()).or_default() += 1;
        }
        let all = self.by_address.len();
        let (ip, most) = counts.into_iter().max_by_key(|(_, count)| *count)?;
        let is_shared = all >= SHARED_ADDRESS_PEERS && 2 * most > all;
        (is_shared && Scope::of(ip) == Scope::Private).then_some(ip)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&PublicKey, &Peer)> {
        self.by_key.iter().map(|(key, peer)| (key, &**peer))
    }

    /// Returns all peers, with mutable states.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&PublicKey, &mut Peer)> {
        self.by_key.iter_mut().map(|(key, peer)| (key, &mut **peer))
    }

    /// Records that the content of our pings or blocks has changed, so that every peer is sent them
    /// at the shortest interval.
    pub(super) fn restart_pings(&mut self) {
        self.iter_mut().for_each(|(_, peer)| peer.pings = 0);
    }

    pub(super) const fn registered(&self) -> usize {
        self.registered
    }

    /// Returns the number of validated peers.
    pub(super) fn validated(&self) -> usize {
        self.by_address.len()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Returns whether a peer is validated at this address.
    pub(super) fn is_validated_address(&self, address: &SocketAddr) -> bool {
        self.by_address.contains_key(address)
    }

    /// Moves a peer into the queue that it belongs to now, if any.
    fn update_queue(&mut self, key: &PublicKey) {
        let Some(peer) = self.by_key.get_mut(key) else {
            return;
        };
        let belongs =
            (!peer.is_validated || self.table.get(key).is_none()).then_some(!peer.is_validated);
        if peer.queue_entry.map(|entry| entry.is_unvalidated) == belongs {
            return;
        }
        let queue_entry = belongs.map(|is_unvalidated| EvictionQueueEntry {
            is_unvalidated,
            at: peer.last_heard,
        });
        let was = core::mem::replace(&mut peer.queue_entry, queue_entry);
        self.remove_from_queue(key, was);
        match queue_entry {
            Some(entry) if entry.is_unvalidated => self.unvalidated.insert((entry.at, *key)),
            Some(entry) => self.spares.insert((entry.at, *key)),
            None => false,
        };
    }

    fn remove_from_queue(&mut self, key: &PublicKey, queue_entry: Option<EvictionQueueEntry>) {
        match queue_entry {
            Some(entry) if entry.is_unvalidated => self.unvalidated.remove(&(entry.at, *key)),
            Some(entry) => self.spares.remove(&(entry.at, *key)),
            None => false,
        };
    }

    /// Returns whether a peer is among the [`NEAR_PEERS`] of the routing table that are nearest to
    /// ourselves.
    pub(super) fn is_near(&self, key: &PublicKey) -> bool {
        let me = self.table.own_key().as_bytes();
        let near = self.table.nearest::<NEAR_PEERS>(me, |_| true);
        near.iter().any(|entry| entry.key() == key)
    }

    /// Adds a peer; the caller has made room for it. Its statements of an earlier run stay
    /// replayed.
    pub(super) fn insert(&mut self, key: PublicKey, mut peer: Peer) {
        if let Some((heard_at, share, statements)) = self.departed.take(&key) {
            peer.replay = ReplayWindow::remembering(statements);
            peer.departed = Some(Box::new((heard_at, share)));
        }
        self.by_origin.insert((Origin::of(&peer.address), key));
        self.claims.insert((peer.address, key));
        self.by_key.insert(key, Box::new(peer));
        self.update_queue(&key);
    }

    /// Removes a peer. If it was registered, its statements are kept for replay protection unless
    /// its stream was confirmed. Those that were remembered of an earlier time are kept as they were:
    /// a replay from any address adds a peer that is not registered. Returns whether it was
    /// registered, or `None` if it is unknown.
    pub(super) fn remove(&mut self, key: &PublicKey) -> Option<bool> {
        let peer = self.by_key.remove(key)?;
        self.remove_from_queue(key, peer.queue_entry);
        self.claims.remove(&(peer.address, *key));
        self.by_origin.remove(&(Origin::of(&peer.address), *key));
        self.registered -= usize::from(peer.is_registered);
        if peer.is_validated {
            self.count_out(&peer.address);
        }
        let was_independent = usize::from(peer.is_independent);
        self.independent = self.independent.saturating_sub(was_independent);
        if self.by_address.get(&peer.address) == Some(key) {
            self.by_address.remove(&peer.address);
        }
        self.leave_table(key);
        let now_heard = || (peer.last_heard, Share::of(peer.address.ip(), *key));
        let heard = peer.is_registered.then(now_heard);
        if let Some((at, share)) = heard.or(peer.departed.map(|before| *before))
            && let Some(statements) = peer.replay.into_statements()
        {
            self.departed.insert(at, share, *key, statements);
        }
        Some(peer.is_registered)
    }

    /// Subtracts a validated peer from its network group.
    fn count_out(&mut self, address: &SocketAddr) {
        let group = NetworkGroup::of(address.ip());
        if let Some(count) = self.groups.get_mut(&group) {
            *count -= 1;
            if *count == 0 {
                self.groups.remove(&group);
            }
        }
    }

    fn leave_table(&mut self, key: &PublicKey) {
        let entry = self.table.remove(key);
        self.silent -= usize::from(entry.is_some_and(|entry| entry.value.is_silent));
    }

    /// Returns whether a peer has left its last requests unanswered.
    pub(super) fn is_silent(&self, key: &PublicKey) -> bool {
        self.by_key.get(key).is_some_and(|peer| peer.is_silent)
    }

    /// Records that a request to a peer was not answered in time.
    pub(super) fn note_unanswered(&mut self, key: &PublicKey) {
        if let Some(peer) = self.by_key.get_mut(key) {
            peer.unanswered = peer.unanswered.saturating_add(1);
            // A peer that has never answered a request has yet to show that it serves.
            let most = if peer.has_answered { SILENT_AFTER } else { 1 };
            let is_silent = peer.unanswered >= most;
            self.set_silent(key, is_silent);
        }
    }

    /// Records that a peer has answered a request.
    pub(super) fn note_answered(&mut self, key: &PublicKey) {
        if let Some(peer) = self.by_key.get_mut(key) {
            peer.unanswered = 0;
            peer.has_answered = true;
            if peer.is_silent {
                self.set_silent(key, false);
            }
        }
        self.note_served(key);
    }

    /// Records that a peer has answered a request for an object or for peers. Such peers are used
    /// in addition to the nearest ones where nothing shows whether a peer complies with a request:
    /// keys near to an object are free to generate, and must not be the only ones that receive its
    /// records.
    pub(super) fn note_served(&mut self, key: &PublicKey) {
        if let Some(peer) = self.by_key.get_mut(key) {
            peer.has_served = true;
        }
        if let Some(entry) = self.table.get_mut(key) {
            entry.value.has_served = true;
        }
    }

    /// Returns whether a peer has answered a request for an object or for peers.
    pub(super) fn has_served(&self, key: &PublicKey) -> bool {
        self.by_key.get(key).is_some_and(|peer| peer.has_served)
    }

    fn set_silent(&mut self, key: &PublicKey, is_silent: bool) {
        if let Some(peer) = self.by_key.get_mut(key) {
            peer.is_silent = is_silent;
        }
        let Some(entry) = self.table.get_mut(key) else {
            return;
        };
        match (entry.value.is_silent, is_silent) {
            (false, true) => self.silent += 1,
            (true, false) => self.silent -= 1,
            _ => {}
        }
        entry.value.is_silent = is_silent;
    }

    /// Returns the `N` peers of the routing table nearest to `target` among those that `keep`
    /// keeps, silent ones behind all others.
    pub(super) fn nearest<const N: usize>(
        &self,
        target: &[u8; KEY_BYTES],
        keep: impl Fn(&Entry<Standing>) -> bool,
    ) -> heapless::Vec<&Entry<Standing>, N> {
        if self.silent == 0 {
            return self.table.nearest(target, keep);
        }
        let mut nearest = self
            .table
            .nearest(target, |entry| !entry.value.is_silent && keep(entry));
        if !nearest.is_full() {
            let silent: heapless::Vec<_, N> = self
                .table
                .nearest(target, |entry| entry.value.is_silent && keep(entry));
            let room = N - nearest.len();
            // At most as many as there is room for.
            nearest.extend(silent.into_iter().take(room));
        }
        nearest
    }

    /// Returns the first silent one of the `N` peers nearest to `target` that has not been tried
    /// within [`SILENT_TRIAL_INTERVAL`].
    pub(super) fn trial<const N: usize>(
        &self,
        now: Instant,
        target: &[u8; KEY_BYTES],
        keep: impl Fn(&Entry<Standing>) -> bool,
    ) -> Option<(PublicKey, SocketAddr)> {
        if self.silent == 0 {
            return None;
        }
        let nearest: heapless::Vec<_, N> = self.table.nearest(target, keep);
        let is_due = |key: &PublicKey| {
            let tried_at = self.by_key.get(key).and_then(|peer| peer.tried_at);
            tried_at.is_none_or(|at| now.since(at) >= SILENT_TRIAL_INTERVAL)
        };
        nearest
            .into_iter()
            .find(|entry| entry.value.is_silent && is_due(entry.key()))
            .map(|entry| (*entry.key(), entry.address()))
    }

    /// Records that a silent peer was tried.
    pub(super) fn note_trial(&mut self, now: Instant, key: &PublicKey) {
        if let Some(peer) = self.by_key.get_mut(key) {
            peer.tried_at = Some(now);
        }
    }

    /// Returns, for each bucket, the peer nearest to `asker` among those that `keep` keeps and that
    /// are not silent.
    pub(super) fn nearest_of_each_bucket<'t>(
        &'t self,
        asker: &PublicKey,
        keep: impl Fn(&Entry<Standing>) -> bool + 't,
    ) -> impl Iterator<Item = &'t Entry<Standing>> {
        self.table
            .nearest_of_each_bucket(asker, move |entry| !entry.value.is_silent && keep(entry))
    }

    /// Registers a peer; returns whether it was not registered before.
    pub(super) fn register(&mut self, key: &PublicKey) -> bool {
        let Some(peer) = self.by_key.get_mut(key) else {
            return false;
        };
        let is_new = !peer.is_registered;
        peer.is_registered = true;
        self.registered += usize::from(is_new);
        is_new
    }

    /// Updates the address of an unvalidated peer to the one that it uses now.
    pub(super) fn follow(&mut self, key: &PublicKey, address: SocketAddr) {
        if let Some(peer) = self.by_key.get_mut(key)
            && !peer.is_validated
            && peer.address != address
        {
            self.by_origin.remove(&(Origin::of(&peer.address), *key));
            self.by_origin.insert((Origin::of(&address), *key));
            self.claims.remove(&(peer.address, *key));
            self.claims.insert((address, *key));
            peer.address = address;
        }
    }

    /// Records that a peer is validated at `address`, and registers it.
    pub(super) fn set_validated(&mut self, key: &PublicKey, address: SocketAddr) -> Validated {
        let is_new = self.register(key);
        let Some(peer) = self.by_key.get_mut(key) else {
            return Validated::default();
        };
        let known_since = peer.known_since;
        let standing = Standing {
            is_silent: peer.is_silent,
            has_served: peer.has_served,
        };
        let had = peer.is_validated.then_some(peer.address);
        if had == Some(address) {
            return Validated::default();
        }
        self.claims.remove(&(peer.address, *key));
        self.by_origin.remove(&(Origin::of(&peer.address), *key));
        self.by_origin.insert((Origin::of(&address), *key));
        peer.address = address;
        peer.is_validated = true;
        // Until the next count.
        self.independent += usize::from(had.is_none());
        *self.groups.entry(peer.group()).or_default() += 1;
        if let Some(had) = had {
            self.count_out(&had);
            self.by_address.remove(&had);
            // If there is no room in its new network, it leaves the routing table and stays a peer.
            if self.table.set_address(key, address).is_err() {
                self.leave_table(key);
            }
        }
        let loser = self.by_address.insert(address, *key);
        if let Some(loser) = &loser {
            // Before the newcomer is inserted, which may take its place.
            self.leave_table(loser);
            self.update_queue(loser);
        }
        let claims = self.claims.range((address, PublicKey::new([0; 32]))..);
        let claims = claims.take_while(|(claimed, _)| *claimed == address);
        let gone = claims.filter(|(_, other)| {
            let other = self.by_key.get(other);
            other.is_some_and(|other| other.last_heard < known_since)
        });
        let replaced = loser
            .into_iter()
            .chain(gone.map(|(_, other)| *other))
            .collect();
        // A full bucket refuses newcomers; they stay peers.
        if self.table.get(key).is_none()
            && let Ok(replaced) = self.table.insert(*key, address, standing)
        {
            self.silent += usize::from(standing.is_silent);
            if let Some(replaced) = replaced {
                self.silent -= usize::from(replaced.value.is_silent);
                self.update_queue(replaced.key());
            }
        }
        self.update_queue(key);
        Validated {
            replaced,
            moved_from: had,
            is_new,
        }
    }
}

#[cfg(test)]
mod tests;
