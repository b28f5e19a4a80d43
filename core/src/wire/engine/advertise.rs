//! Advertisements of what we provide, sent to the peers nearest to it.

use super::Engine;
use super::limits::{
    ADVERTISE_FANOUT, ADVERTISE_PACE, ADVERTISEMENTS_PER_TURN, EARLY_REPEATS, MAX_ADVERTISEMENTS,
};
use crate::atom::AtomId;
use crate::crypto::PublicKey;
use crate::time::Instant;
use crate::wire::object::PayloadType;
use crate::wire::table::Distance;
use alloc::collections::{BTreeMap, BTreeSet};

#[derive(Debug)]
struct Advertisement {
    kind: PayloadType,
    expires: Option<Instant>,
    due: Instant,
    /// When everybody is told again; before that, only those who have not been.
    repeat_at: Instant,
    /// How often everybody has been told.
    rounds: usize,
    /// Who was told last.
    told: heapless::Vec<PublicKey, ADVERTISE_FANOUT>,
}

/// Our advertisements.
#[derive(Debug, Default)]
pub(super) struct Advertisements {
    by_id: BTreeMap<AtomId, Advertisement>,
    by_due: BTreeSet<(Instant, AtomId)>,
    by_expiry: BTreeSet<(Instant, AtomId)>,
    /// When to send more.
    turn: Option<Instant>,
}

impl Advertisements {
    pub(super) fn deadline(&self) -> Option<Instant> {
        let due = self.by_due.first().map(|(due, _)| *due);
        // Not before the turn, if there is one.
        let due = due.map(|due| self.turn.map_or(due, |turn| due.max(turn)));
        let expiry = self.by_expiry.first().map(|(expires, _)| *expires);
        [due, expiry].into_iter().flatten().min()
    }

    /// Somebody new may be nearer to what we advertise: everything is due again, at our pace.
    pub(super) fn look_again(&mut self, now: Instant) {
        self.by_due.clear();
        for (id, advertisement) in &mut self.by_id {
            advertisement.due = now;
            self.by_due.insert((now, *id));
        }
    }

    /// A peer may have forgotten what it was told: it is told again, at our pace.
    pub(super) fn tell_again(&mut self, now: Instant, peer: &PublicKey) {
        for (id, advertisement) in &mut self.by_id {
            let told = advertisement.told.len();
            advertisement.told.retain(|told| told != peer);
            if advertisement.told.len() < told {
                self.by_due.remove(&(advertisement.due, *id));
                advertisement.due = now;
                self.by_due.insert((now, *id));
            }
        }
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
    /// Tells the nearest peers that we provide an object, now and every
    /// `storage_index_interval`, until `expires` if that is given. Advertising it again replaces
    /// kind and expiry. `false` if there are too many.
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

    /// Stops telling that we provide an object; `false` if we did not. Those who were told forget
    /// it in their own time.
    pub fn withdraw(&mut self, id: &AtomId) -> bool {
        self.advertisements.remove(id)
    }

    /// What we advertise.
    pub fn advertised(&self) -> impl Iterator<Item = (&AtomId, PayloadType, Option<Instant>)> {
        let by_id = self.advertisements.by_id.iter();
        by_id.map(|(id, advertisement)| (id, advertisement.kind, advertisement.expires))
    }

    /// After a change of our own address everybody is to be told again.
    pub(super) fn advertise_everything(&mut self) {
        for advertisement in self.advertisements.by_id.values_mut() {
            advertisement.repeat_at = Instant::ZERO;
        }
        self.advertisements.look_again(Instant::ZERO);
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
            match self.advertisements.by_due.first().copied() {
                Some((due, id)) if due <= now => self.advertise_one(now, id),
                _ => return,
            }
        }
        self.advertisements.turn = Some(now + ADVERTISE_PACE);
    }

    fn advertise_one(&mut self, now: Instant, id: AtomId) {
        // Without an address there is nothing to tell; learning one makes everything due.
        let address = self.advertised_address();
        let own = Distance::between(id.as_bytes(), self.me.as_bytes());
        let nearest = self
            .peers
            .nearest::<ADVERTISE_FANOUT>(id.as_bytes(), |entry| {
                Distance::between(id.as_bytes(), entry.key().as_bytes()) < own
            });
        let nearest: heapless::Vec<PublicKey, ADVERTISE_FANOUT> =
            nearest.into_iter().map(|entry| *entry.key()).collect();
        let Some(advertisement) = self.advertisements.by_id.get_mut(&id) else {
            return;
        };
        let kind = advertisement.kind;
        let is_repeat = advertisement.repeat_at <= now;
        if is_repeat {
            let interval = self.config.storage_index_interval;
            let is_once = interval.is_zero();
            // Nobody acknowledges a put, so the first may be lost.
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
        told.retain(|peer| nearest.contains(peer));
        // When we are nearest ourselves, nobody is told: searches end here anyway.
        for peer in nearest {
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
