//! Advertisements of what we provide, sent to the peers nearest to it.
//!
//! A new peer may be nearer to some objects, and a restarted one has forgotten its records. No packet
//! walks the advertisements for that: it leaves a mark, and the advertisements are walked at the pace
//! at which they are sent, once for all marks that were left before. A peer has one walk per
//! [`CONTACT_INTERVAL`] of its own.

use super::Engine;
use super::limits::{
    ADDRESS_REPEAT_INTERVAL, ADVERTISE_FANOUT, ADVERTISE_MOST, ADVERTISE_PACE,
    ADVERTISEMENTS_PER_TURN, CONTACT_INTERVAL, EARLY_REPEATS, MAX_ADVERTISEMENTS, MAX_PEERS,
};
use super::peers::Standing;
use crate::atom::AtomId;
use crate::crypto::PublicKey;
use crate::time::Instant;
use crate::wire::object::PayloadType;
use crate::wire::table::{Distance, Entry};
use alloc::collections::{BTreeMap, BTreeSet};
use core::ops::Bound;

#[derive(Debug)]
struct Advertisement {
    kind: PayloadType,
    expires: Option<Instant>,
    due: Instant,
    /// When it is sent to all again; before that, only to peers that have not had it.
    repeat_at: Instant,
    /// How often it has been sent to all.
    rounds: usize,
    /// Peers that it was sent to last.
    told: heapless::Vec<PublicKey, ADVERTISE_MOST>,
}

/// A walk over all advertisements, some at a time.
#[derive(Debug, Default)]
struct Walk {
    /// The last advertisement that it has come to.
    at: Option<AtomId>,
    /// Peers that are told again.
    again: BTreeSet<PublicKey>,
    /// Whether everything is sent to all again.
    is_repeat: bool,
}

/// Our advertisements.
#[derive(Debug, Default)]
pub(super) struct Advertisements {
    by_id: BTreeMap<AtomId, Advertisement>,
    by_due: BTreeSet<(Instant, AtomId)>,
    by_expiry: BTreeSet<(Instant, AtomId)>,
    /// When to send more.
    turn: Option<Instant>,
    /// Peers that may have lost their records, by when they may be told again.
    marks: BTreeSet<(Instant, PublicKey)>,
    /// Whether the nearest peers may have changed since the walk began.
    is_look_due: bool,
    walk: Option<Walk>,
    /// Whether a walk is to send everything to all, and when the last one that did began.
    is_repeat_due: bool,
    repeated_at: Option<Instant>,
}

impl Advertisements {
    pub(super) fn deadline(&self) -> Option<Instant> {
        let due = self.by_due.first().map(|(due, _)| *due);
        // Not before the turn, if there is one.
        let due = due.map(|due| self.turn.map_or(due, |turn| due.max(turn)));
        let expiry = self.by_expiry.first().map(|(expires, _)| *expires);
        let walk = if self.by_id.is_empty() {
            None
        } else if self.walk.is_some() || self.is_look_due {
            Some(self.turn.unwrap_or(Instant::ZERO))
        } else {
            let mark = self.marks.first().map(|(due, _)| *due);
            mark.map(|due| self.turn.map_or(due, |turn| due.max(turn)))
        };
        [due, expiry, walk].into_iter().flatten().min()
    }

    /// Leaves a mark: a new peer may be nearer to what we advertise.
    pub(super) const fn look_again(&mut self) {
        self.is_look_due = true;
    }

    /// Begins a walk if there are marks that are due.
    fn begin_walk(&mut self, now: Instant) {
        let mut again = BTreeSet::new();
        while let Some(&(due, peer)) = self.marks.first()
            && due <= now
        {
            self.marks.pop_first();
            again.insert(peer);
        }
        let is_due = core::mem::take(&mut self.is_look_due) || !again.is_empty();
        let is_repeat = core::mem::take(&mut self.is_repeat_due);
        self.walk = (is_due && !self.by_id.is_empty()).then_some(Walk {
            at: None,
            again,
            is_repeat,
        });
    }

    /// Returns the next advertisement of the walk, prepared to be sent to those that it is to go to.
    fn next_of_walk(&mut self, now: Instant) -> Option<AtomId> {
        // At its end another may be due, for marks that were left in the meantime.
        for _ in 0..2 {
            if self.walk.is_none() {
                self.begin_walk(now);
            }
            let walk = self.walk.as_mut()?;
            let behind = walk.at.map_or(Bound::Unbounded, Bound::Excluded);
            let next = self.by_id.range_mut((behind, Bound::Unbounded)).next();
            let Some((id, advertisement)) = next else {
                self.walk = None;
                continue;
            };
            walk.at = Some(*id);
            advertisement.told.retain(|told| !walk.again.contains(told));
            if walk.is_repeat {
                advertisement.repeat_at = now;
                advertisement.rounds = 0;
            }
            return Some(*id);
        }
        None
    }

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
    /// `expires` if that is given. Advertising it again replaces kind and expiry. `false` if there are
    /// too many.
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
        let told = heapless::Vec::new();
        let advertisement = Advertisement {
            kind,
            expires,
            due: now,
            repeat_at: now,
            rounds: 0,
            told,
        };
        self.advertisements.by_id.insert(id, advertisement);
        self.advertisements.by_due.insert((now, id));
        if let Some(expires) = expires {
            self.advertisements.by_expiry.insert((expires, id));
        }
        self.advertise_due(now);
        true
    }

    /// Stops advertising an object; `false` if it was not advertised. Peers that have a record keep it
    /// until it expires.
    pub fn withdraw(&mut self, id: &AtomId) -> bool {
        self.advertisements.remove(id)
    }

    /// Returns our advertisements.
    pub fn advertised(&self) -> impl Iterator<Item = (&AtomId, PayloadType, Option<Instant>)> {
        let by_id = self.advertisements.by_id.iter();
        by_id.map(|(id, advertisement)| (id, advertisement.kind, advertisement.expires))
    }

    /// Notes that our own address has changed. Without one before, nothing has been sent yet, and goes
    /// out at our pace. Else each advertisement names the new address when it repeats, within
    /// `storage_index_interval`; those that do not repeat are sent again, once in
    /// [`ADDRESS_REPEAT_INTERVAL`].
    pub(super) fn advertise_address(&mut self, now: Instant, is_first: bool) {
        let repeats = !self.config.storage_index_interval.is_zero();
        let advertisements = &mut self.advertisements;
        if is_first {
            advertisements.is_repeat_due = true;
            advertisements.look_again();
        } else if !repeats {
            let was = advertisements.repeated_at;
            if was.is_none_or(|at| now.since(at) >= ADDRESS_REPEAT_INTERVAL) {
                advertisements.repeated_at = Some(now);
                advertisements.is_repeat_due = true;
                advertisements.look_again();
            }
        }
    }

    /// Leaves a mark: a peer may have restarted, and is told again of what it was told, at our pace and
    /// once per [`CONTACT_INTERVAL`].
    pub(super) fn tell_again(&mut self, now: Instant, key: &PublicKey) {
        let Some(peer) = self.peers.get_mut(key) else {
            return;
        };
        let told_at = peer.told_again_at;
        let due = told_at.map_or(now, |at| now.max(at + CONTACT_INTERVAL));
        let is_marked = told_at.is_some_and(|at| at > now);
        let has_room = self.advertisements.marks.len() < MAX_PEERS;
        if !is_marked && has_room && !self.advertisements.by_id.is_empty() {
            peer.told_again_at = Some(due);
            self.advertisements.marks.insert((due, *key));
        }
    }

    /// Sends what is due, some at a time.
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
            let Some(id) = due.or_else(|| self.advertisements.next_of_walk(now)) else {
                return;
            };
            self.advertise_one(now, id);
        }
        self.advertisements.turn = Some(now + ADVERTISE_PACE);
    }

    fn advertise_one(&mut self, now: Instant, id: AtomId) {
        // Without an address there is nothing to send; learning one makes everything due.
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
        let mut to: heapless::Vec<PublicKey, ADVERTISE_MOST> = heapless::Vec::new();
        for entry in nearest.into_iter().chain(serving) {
            if !to.contains(entry.key()) {
                // There is room for all of both.
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
            advertisement.told.clear();
        }
        let mut told = core::mem::take(&mut advertisement.told);
        let repeat_at = advertisement.repeat_at;
        told.retain(|peer| to.contains(peer));
        // When we are nearest ourselves, none is sent: lookups end here anyway.
        for peer in to {
            if let Some(address) = address
                && !told.contains(&peer)
                && self.send_put(now, &peer, id, kind, self.me, address)
            {
                // As many as are nearest fit.
                let _ = told.push(peer);
            }
        }
        if let Some(advertisement) = self.advertisements.by_id.get_mut(&id) {
            advertisement.told = told;
        }
        self.advertisements.schedule(id, repeat_at);
    }
}
