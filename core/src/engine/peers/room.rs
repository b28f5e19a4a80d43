//! Choice of the peer that gives its place to another.
//!
//! A spare, a validated peer that the routing table has no room for, is of little use to us, while
//! meeting us is of much use to a newcomer. Spares are therefore evicted once they have been silent;
//! otherwise a network larger than [`MAX_PEERS`] could not be joined through us. Newcomers have time
//! to validate their address before the next one takes their place, as long as they are few.
//!
//! The owner of a large network can fill all places with peers that are never silent. So, as in
//! [`super::super::shares`], the network group with most validated peers loses first: to a newcomer
//! of a group that has fewer, without regard to silence, one spare after another. A newcomer of the
//! group itself takes the place of a spare of the group.
//!
//! A seed finds a place in its network, however many peers are there. Seeds that are validated are
//! never evicted.

use super::peer::EvictionQueueEntry;
use super::{Origin, Peers};
use crate::crypto::{KEY_BYTES, PublicKey};
use crate::engine::limits::{
    MAX_PEERS, MAX_PEERS_PER_NETWORK, SPARE_PEER_SILENCE, UNVALIDATED_GRACE, UNVALIDATED_WITH_GRACE,
};
use crate::engine::seeds::Seeds;
use crate::engine::stats::DropReason;
use crate::time::Instant;
use crate::wire::network_group::NetworkGroup;
use crate::wire::routing_table::TABLE_PEERS_PER_GROUP;
use core::net::SocketAddr;
use core::ops::Bound;

impl Peers {
    /// Returns the peer to evict for a newcomer at `address`, or `None` if there is room.
    ///
    /// # Errors
    /// Returns [`DropReason::TooManyPeers`] if there is neither room nor a peer to evict.
    pub(in crate::engine) fn make_room(
        &mut self,
        now: Instant,
        address: &SocketAddr,
        seeds: &Seeds,
    ) -> Result<Option<PublicKey>, DropReason> {
        if self.is_full(address) {
            return self.make_room_in(now, address, seeds).map(Some);
        }
        if self.by_key.len() < MAX_PEERS {
            return Ok(None);
        }
        let unvalidated = self.eviction_candidate(true, seeds);
        let is_grace_over = |at: Instant| now.since(at) >= UNVALIDATED_GRACE;
        let is_crowded = self.unvalidated.len() > UNVALIDATED_WITH_GRACE;
        if let Some((_, key)) = unvalidated.filter(|(at, _)| is_crowded || is_grace_over(*at)) {
            return Ok(Some(key));
        }
        let is_silent = |at: Instant| now.since(at) >= SPARE_PEER_SILENCE;
        let is_seed = seeds.contains(address);
        let group = NetworkGroup::of(address.ip());
        let own = self.groups.get(&group).copied().unwrap_or(0);
        let heaviest = self.groups.iter().max_by_key(|(_, count)| **count);
        let heaviest = heaviest.map(|(group, count)| (*group, *count));
        let heavier = heaviest.filter(|(_, most)| own + 1 < *most);
        let crowd = heavier.and_then(|(crowd, _)| self.next_spare(crowd, seeds));
        if crowd.is_some() {
            return Ok(crowd);
        }
        // Like the limits of the routing table, this does not apply to addresses that are not
        // public, which may be those of a NAT or a bridge in front of all peers.
        let is_crowd =
            heavier.is_none() && own > TABLE_PEERS_PER_GROUP && !group.is_local() && !is_seed;
        let spare = if is_crowd {
            let spare = self.next_spare(group, seeds);
            let peer = spare.and_then(|key| Some((self.by_key.get(&key)?.last_heard, key)));
            peer.filter(|(at, _)| is_silent(*at))
        } else {
            let spare = self.eviction_candidate(false, seeds);
            spare.filter(|(at, _)| is_seed || is_silent(*at))
        };
        let (_, key) = spare.or(unvalidated).ok_or(DropReason::TooManyPeers)?;
        Ok(Some(key))
    }

    /// Returns the peer to evict so that a known one can be at `address`, or `None` if there is
    /// room.
    ///
    /// # Errors
    /// Returns [`DropReason::TooManyPeers`] if there is neither room nor a peer to evict.
    pub(in crate::engine) fn make_room_at(
        &self,
        now: Instant,
        key: &PublicKey,
        address: &SocketAddr,
        seeds: &Seeds,
    ) -> Result<Option<PublicKey>, DropReason> {
        let was = self.by_key.get(key).map(|peer| Origin::of(&peer.address));
        // A peer that is validated at the address is removed without that.
        let is_there = was == Some(Origin::of(address)) || self.by_address.contains_key(address);
        if is_there || !self.is_full(address) {
            return Ok(None);
        }
        self.make_room_in(now, address, seeds).map(Some)
    }

    /// Returns whether the origin of an address has all its places taken.
    fn is_full(&self, address: &SocketAddr) -> bool {
        let there = self.at_origin(Origin::of(address));
        there.take(MAX_PEERS_PER_NETWORK).count() >= MAX_PEERS_PER_NETWORK
    }

    /// Returns the peers of an origin, by key.
    fn at_origin(&self, origin: Origin) -> impl Iterator<Item = &PublicKey> {
        let from = (origin, PublicKey::new([0; KEY_BYTES]));
        let there = self.by_origin.range(from..);
        let there = there.take_while(move |(of, _)| *of == origin);
        there.map(|(_, key)| key)
    }

    /// Returns the peer to evict from an origin that has all its places taken. A newcomer at the
    /// address of a seed may take the place of any peer but a seed.
    fn make_room_in(
        &self,
        now: Instant,
        address: &SocketAddr,
        seeds: &Seeds,
    ) -> Result<PublicKey, DropReason> {
        let is_seed = seeds.contains(address);
        let own = self.at_origin(Origin::of(address));
        let own = own.filter_map(|key| {
            let is_in_table = self.table.get(key).is_some();
            Some((key, self.by_key.get(key)?, is_in_table))
        });
        let evictable = own.filter(|(key, peer, is_in_table)| {
            let is_silent = now.since(peer.last_heard) >= SPARE_PEER_SILENCE;
            let is_evictable = is_seed || is_silent && !is_in_table;
            !peer.is_validated || is_evictable && !peer.is_seed(key, seeds)
        });
        evictable
            .min_by_key(|(_, peer, is_in_table)| (peer.is_validated, *is_in_table, peer.last_heard))
            .map(|(key, ..)| *key)
            .ok_or(DropReason::TooManyPeers)
    }

    /// Returns the next spare of a network group, in turn and by network, that is not a seed: it
    /// must not depend on who sends most. Few peers of a group are not spares.
    fn next_spare(&mut self, group: NetworkGroup, seeds: &Seeds) -> Option<PublicKey> {
        let of_group = |(_, key): &&(Origin, PublicKey)| {
            let peer = self.by_key.get(key);
            peer.is_some_and(|peer| NetworkGroup::of(peer.address.ip()) == group)
        };
        let is_spare = |(_, key): &&(Origin, PublicKey)| {
            let peer = self.by_key.get(key).filter(|peer| peer.is_validated);
            let is_loser = peer.is_some_and(|peer| !peer.is_seed(key, seeds));
            is_loser && self.table.get(key).is_none()
        };
        let spare_after = |last: (Origin, PublicKey)| {
            let after = (Bound::Excluded(last), Bound::Unbounded);
            let after = self.by_origin.range(after).take_while(of_group);
            after.copied().find(|it| is_spare(&it))
        };
        let first = Origin::of(&SocketAddr::new(group.first_address(), 0));
        let first = (first, PublicKey::new([0; KEY_BYTES]));
        let found = spare_after(self.turn).or_else(|| spare_after(first))?;
        self.turn = found;
        Some(found.1)
    }

    /// Returns the unvalidated or spare peer that was heard from longest ago, and that time.
    fn eviction_candidate(
        &mut self,
        is_unvalidated: bool,
        seeds: &Seeds,
    ) -> Option<(Instant, PublicKey)> {
        let queue = if is_unvalidated {
            &mut self.unvalidated
        } else {
            &mut self.spares
        };
        loop {
            let is_kept = |key: &PublicKey| {
                let peer = self.by_key.get(key).filter(|peer| peer.is_validated);
                peer.is_some_and(|peer| peer.is_seed(key, seeds))
            };
            let &(at, key) = queue.iter().find(|(_, key)| !is_kept(key))?;
            // A peer in a queue is known.
            let peer = self.by_key.get_mut(&key)?;
            if peer.last_heard <= at {
                return Some((at, key));
            }
            // It was heard from since it was queued.
            queue.remove(&(at, key));
            queue.insert((peer.last_heard, key));
            peer.queue_entry = Some(EvictionQueueEntry {
                is_unvalidated,
                at: peer.last_heard,
            });
        }
    }
}
