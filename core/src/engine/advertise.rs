//! Advertisements of the objects that we provide, sent to the peers nearest to each.
//!
//! A new peer may be nearer to some objects, and a restarted peer has lost its records. No packet
//! triggers a pass over the advertisements: it only sets a mark. The pass runs at the pace at which
//! advertisements are sent, once for all marks that were set before it began. A peer triggers at
//! most one pass per [`CONTACT_INTERVAL`].

use super::Engine;
use super::limits::{
    ADDRESS_REPEAT_INTERVAL, ADVERTISE_FANOUT, ADVERTISE_PACE, ADVERTISEMENTS_PER_TURN,
    CONTACT_INTERVAL, EARLY_REPEATS, MAX_ADVERTISE_PEERS, MAX_ADVERTISEMENTS, MAX_PEERS,
};
use super::peers::Standing;
use crate::atom::AtomId;
use crate::crypto::PublicKey;
use crate::time::Instant;
use crate::wire::object::PayloadType;
use crate::wire::routing_table::{Distance, Entry};
use alloc::collections::{BTreeMap, BTreeSet};
use core::ops::Bound;

/// An advertised object, and the peers that it was last sent to.
#[derive(Debug)]
struct Advertisement {
    kind: PayloadType,
    expires: Option<Instant>,
    due: Instant,
    /// Time of the next full round; before it, only peers that have not received it are sent it.
    repeat_at: Instant,
    /// Number of full rounds sent.
    rounds: usize,
    /// Peers that it was sent to last.
    receivers: heapless::Vec<PublicKey, MAX_ADVERTISE_PEERS>,
}

/// A pass over all advertisements, a few at a time.
#[derive(Debug, Default)]
struct Pass {
    /// Last advertisement that the pass has reached.
    at: Option<AtomId>,
    /// Peers that are sent every advertisement again.
    again: BTreeSet<PublicKey>,
    /// `true` if every advertisement is sent to all its peers again.
    is_repeat: bool,
}

/// Our advertisements, their timers, and the pass over them.
#[derive(Debug, Default)]
pub(super) struct Advertisements {
    by_id: BTreeMap<AtomId, Advertisement>,
    by_due: BTreeSet<(Instant, AtomId)>,
    by_expiry: BTreeSet<(Instant, AtomId)>,
    /// Time of the next turn, if the last one was used up.
    turn: Option<Instant>,
    /// Peers that may have lost their records, by the time at which they may be sent them again.
    marks: BTreeSet<(Instant, PublicKey)>,
    /// `true` if the nearest peers may have changed since the pass began.
    is_pass_due: bool,
    pass: Option<Pass>,
    /// `true` if the next pass is to send everything to all peers.
    is_repeat_due: bool,
    repeated_at: Option<Instant>,
}

impl Advertisements {
    pub(super) fn deadline(&self) -> Option<Instant> {
        let due = self.by_due.first().map(|(due, _)| *due);
        // Not before the next turn, if one is set.
        let due = due.map(|due| self.turn.map_or(due, |turn| due.max(turn)));
        let expiry = self.by_expiry.first().map(|(expires, _)| *expires);
        let pass = if self.by_id.is_empty() {
            None
        } else if self.pass.is_some() || self.is_pass_due {
            Some(self.turn.unwrap_or(Instant::ZERO))
        } else {
            let mark = self.marks.first().map(|(due, _)| *due);
            mark.map(|due| self.turn.map_or(due, |turn| due.max(turn)))
        };
        [due, expiry, pass].into_iter().flatten().min()
    }

    /// Marks the advertisements for another pass: a new peer may be nearer to them.
    pub(super) const fn schedule_pass(&mut self) {
        self.is_pass_due = true;
    }

    /// Begins a pass if any mark is due.
    fn begin_pass(&mut self, now: Instant) {
        let mut again = BTreeSet::new();
        while let Some(&(due, peer)) = self.marks.first()
            && due <= now
        {
            self.marks.pop_first();
            again.insert(peer);
        }
        let is_due = core::mem::take(&mut self.is_pass_due) || !again.is_empty();
        let is_repeat = core::mem::take(&mut self.is_repeat_due);
        self.pass = (is_due && !self.by_id.is_empty()).then_some(Pass {
            at: None,
            again,
            is_repeat,
        });
    }

    /// Returns the next advertisement of the pass, with the peers to be sent it again already
    /// cleared.
    fn next_of_pass(&mut self, now: Instant) -> Option<AtomId> {
        // At its end a second pass may be due, for marks that were set in the meantime.
        for _ in 0..2 {
            if self.pass.is_none() {
                self.begin_pass(now);
            }
            let pass = self.pass.as_mut()?;
            let behind = pass.at.map_or(Bound::Unbounded, Bound::Excluded);
            let next = self.by_id.range_mut((behind, Bound::Unbounded)).next();
            let Some((id, advertisement)) = next else {
                self.pass = None;
                continue;
            };
            pass.at = Some(*id);
            advertisement
                .receivers
                .retain(|peer| !pass.again.contains(peer));
            if pass.is_repeat {
                advertisement.repeat_at = now;
                advertisement.rounds = 0;
            }
            return Some(*id);
        }
        None
    }

    /// Sets the time at which an advertisement is sent next; `Instant::MAX` means never.
    fn schedule(&mut self, id: AtomId, due: Instant) {
        if let Some(advertisement) = self.by_id.get_mut(&id) {
            self.by_due.remove(&(advertisement.due, id));
            advertisement.due = due;
            if due < Instant::MAX {
                self.by_due.insert((due, id));
            }
        }
    }

    fn remove(&mut self, id: &AtomId) -> bool {
        let Some(advertisement) = self.by_id.remove(id) else {
            return false;
        };
        self.by_due.remove(&(advertisement.due, *id));
        if let Some(expires) = advertisement.expires {
            self.by_expiry.remove(&(expires, *id));
        }
        true
    }
}

impl Engine {
    /// Advertises an object to the nearest peers, now and every `storage_index_interval`, until
    /// `expires` if given. Advertising an object again replaces its kind and expiry. Returns
    /// `false` if [`MAX_ADVERTISEMENTS`] are reached or `id` is zero. An expiry in the past removes
    /// the advertisement and returns `true`.
    pub fn advertise(
        &mut self,
        now: Instant,
        id: AtomId,
        kind: PayloadType,
        expires: Option<Instant>,
    ) -> bool {
        self.advertisements.remove(&id);
        let is_over = expires.is_some_and(|expires| expires <= now);
        if is_over || id.is_zero() || self.advertisements.by_id.len() >= MAX_ADVERTISEMENTS {
            return is_over;
        }
        let receivers = heapless::Vec::new();
        let advertisement = Advertisement {
            kind,
            expires,
            due: now,
            repeat_at: now,
            rounds: 0,
            receivers,
        };
        self.advertisements.by_id.insert(id, advertisement);
        self.advertisements.by_due.insert((now, id));
        if let Some(expires) = expires {
            self.advertisements.by_expiry.insert((expires, id));
        }
        self.advertise_due(now);
        true
    }

    /// Stops advertising an object; returns `false` if it was not advertised. Peers that have a
    /// record keep it until it expires.
    pub fn withdraw(&mut self, id: &AtomId) -> bool {
        self.advertisements.remove(id)
    }

    /// Returns our advertisements: id, kind and expiry.
    pub fn advertised(&self) -> impl Iterator<Item = (&AtomId, PayloadType, Option<Instant>)> {
        let by_id = self.advertisements.by_id.iter();
        by_id.map(|(id, advertisement)| (id, advertisement.kind, advertisement.expires))
    }

    /// Reacts to a change of our own address. If there was none before, nothing has been sent yet,
    /// and everything is sent at the usual pace. Otherwise each advertisement carries the new
    /// address when it repeats, within `storage_index_interval`; advertisements that do not repeat
    /// are sent again, at most once per [`ADDRESS_REPEAT_INTERVAL`].
    pub(super) fn advertise_address(&mut self, now: Instant, is_first: bool) {
        let repeats = !self.config.storage_index_interval.is_zero();
        let advertisements = &mut self.advertisements;
        if is_first {
            advertisements.is_repeat_due = true;
            advertisements.schedule_pass();
        } else if !repeats {
            let was = advertisements.repeated_at;
            if was.is_none_or(|at| now.since(at) >= ADDRESS_REPEAT_INTERVAL) {
                advertisements.repeated_at = Some(now);
                advertisements.is_repeat_due = true;
                advertisements.schedule_pass();
            }
        }
    }

    /// Marks a peer that may have restarted: it is sent its advertisements again, at the usual pace
    /// and at most once per [`CONTACT_INTERVAL`].
    pub(super) fn readvertise_to(&mut self, now: Instant, key: &PublicKey) {
        let Some(peer) = self.peers.get_mut(key) else {
            return;
        };
        let previous = peer.readvertised_at;
        let due = previous.map_or(now, |at| now.max(at + CONTACT_INTERVAL));
        let is_marked = previous.is_some_and(|at| at > now);
        let has_room = self.advertisements.marks.len() < MAX_PEERS;
        if !is_marked && has_room && !self.advertisements.by_id.is_empty() {
            peer.readvertised_at = Some(due);
            self.advertisements.marks.insert((due, *key));
        }
    }

    /// Removes expired advertisements and sends those that are due, at most
    /// [`ADVERTISEMENTS_PER_TURN`] per turn.
    pub(super) fn advertise_due(&mut self, now: Instant) {
        while let Some(&(expires, id)) = self.advertisements.by_expiry.first()
            && expires <= now
        {
            self.advertisements.remove(&id);
        }
        if self.advertisements.turn.is_some_and(|turn| turn > now) {
            return;
        }
        self.advertisements.turn = None;
        for _ in 0..ADVERTISEMENTS_PER_TURN {
            let first = self.advertisements.by_due.first().copied();
            let due = first.filter(|(due, _)| *due <= now).map(|(_, id)| id);
            let Some(id) = due.or_else(|| self.advertisements.next_of_pass(now)) else {
                return;
            };
            self.advertise_one(now, id);
        }
        self.advertisements.turn = Some(now + ADVERTISE_PACE);
    }

    /// Sends one advertisement to the nearest peers that are nearer to the object than we are and
    /// have not received it in this round, and schedules the next round.
    fn advertise_one(&mut self, now: Instant, id: AtomId) {
        // Without an address of our own there is nothing to send; learning one makes everything
        // due.
        let address = self.advertised_address();
        let own = Distance::between(id.as_bytes(), self.me.as_bytes());
        let is_nearer = |entry: &Entry<Standing>| {
            Distance::between(id.as_bytes(), entry.key().as_bytes()) < own
        };
        let nearest: heapless::Vec<_, ADVERTISE_FANOUT> =
            self.peers.nearest(id.as_bytes(), is_nearer);
        let serving: heapless::Vec<_, ADVERTISE_FANOUT> =
            self.peers.nearest(id.as_bytes(), |entry| {
                entry.value.has_served && is_nearer(entry)
            });
        let mut to: heapless::Vec<PublicKey, MAX_ADVERTISE_PEERS> = heapless::Vec::new();
        for entry in nearest.into_iter().chain(serving) {
            if !to.contains(entry.key()) {
                // The capacity is that of both sources together.
                let _ = to.push(*entry.key());
            }
        }
        let Some(advertisement) = self.advertisements.by_id.get_mut(&id) else {
            return;
        };
        let kind = advertisement.kind;
        let is_repeat = advertisement.repeat_at <= now;
        if is_repeat {
            let interval = self.config.storage_index_interval;
            let is_once = interval.is_zero();
            // Puts are not acknowledged, so the first may be lost.
            let early = EARLY_REPEATS.get(advertisement.rounds);
            advertisement.rounds = advertisement.rounds.saturating_add(1);
            advertisement.repeat_at = if is_once {
                Instant::MAX
            } else {
                now + early.map_or(interval, |early| interval.min(*early))
            };
            advertisement.receivers.clear();
        }
        let mut receivers = core::mem::take(&mut advertisement.receivers);
        let repeat_at = advertisement.repeat_at;
        receivers.retain(|peer| to.contains(peer));
        // If we are the nearest ourselves, none is sent: lookups end here anyway.
        for peer in to {
            if let Some(address) = address
                && !receivers.contains(&peer)
                && self.send_put(now, &peer, id, kind, self.me, address)
            {
                // The capacity is that of `to`.
                let _ = receivers.push(peer);
            }
        }
        if let Some(advertisement) = self.advertisements.by_id.get_mut(&id) {
            advertisement.receivers = receivers;
        }
        self.advertisements.schedule(id, repeat_at);
    }
}
