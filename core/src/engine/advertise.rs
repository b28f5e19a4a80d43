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
use super::peers::{Peer, Peers, Standing};
use crate::atom::AtomId;
use crate::crypto::PublicKey;
use crate::time::Instant;
use crate::wire::object::PayloadType;
use crate::wire::routing_table::{Distance, Entry};
use alloc::collections::{BTreeMap, BTreeSet};
use core::ops::Bound;
use core::time::Duration;

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

    /// Adds an advertisement that is due now, replacing one of the same object. Returns `false` if
    /// [`MAX_ADVERTISEMENTS`] are reached or `id` is zero.
    fn add(
        &mut self,
        now: Instant,
        id: AtomId,
        kind: PayloadType,
        expires: Option<Instant>,
    ) -> bool {
        self.remove(&id);
        if id.is_zero() || self.by_id.len() >= MAX_ADVERTISEMENTS {
            return false;
        }
        let advertisement = Advertisement {
            kind,
            expires,
            due: now,
            repeat_at: now,
            rounds: 0,
            receivers: heapless::Vec::new(),
        };
        self.by_id.insert(id, advertisement);
        self.by_due.insert((now, id));
        if let Some(expires) = expires {
            self.by_expiry.insert((expires, id));
        }
        true
    }

    /// Reacts to a change of our own address. If there was none before, nothing has been sent yet,
    /// and everything is sent at the usual pace. Otherwise each advertisement carries the new
    /// address when it repeats; advertisements that do not repeat are sent again, at most once per
    /// [`ADDRESS_REPEAT_INTERVAL`].
    pub(super) fn address_changed(&mut self, now: Instant, is_first: bool, repeats: bool) {
        if is_first {
            self.is_repeat_due = true;
            self.schedule_pass();
        } else if !repeats {
            let was = self.repeated_at;
            if was.is_none_or(|at| now.since(at) >= ADDRESS_REPEAT_INTERVAL) {
                self.repeated_at = Some(now);
                self.is_repeat_due = true;
                self.schedule_pass();
            }
        }
    }

    /// Marks a peer that may have restarted: it is sent its advertisements again, at the usual pace
    /// and at most once per [`CONTACT_INTERVAL`].
    pub(super) fn mark(&mut self, now: Instant, key: &PublicKey, peer: &mut Peer) {
        let previous = peer.readvertised_at;
        let due = previous.map_or(now, |at| now.max(at + CONTACT_INTERVAL));
        let is_marked = previous.is_some_and(|at| at > now);
        let has_room = self.marks.len() < MAX_PEERS;
        if !is_marked && has_room && !self.by_id.is_empty() {
            peer.readvertised_at = Some(due);
            self.marks.insert((due, *key));
        }
    }

    /// Removes expired advertisements, and begins a turn if one may begin.
    fn begin_turn(&mut self, now: Instant) -> bool {
        while let Some(&(expires, id)) = self.by_expiry.first()
            && expires <= now
        {
            self.remove(&id);
        }
        if self.turn.is_some_and(|turn| turn > now) {
            return false;
        }
        self.turn = None;
        true
    }

    /// Returns the next advertisement to send: one that is due, else the next of the pass.
    fn next(&mut self, now: Instant) -> Option<AtomId> {
        let first = self.by_due.first().copied();
        let due = first.filter(|(due, _)| *due <= now).map(|(_, id)| id);
        due.or_else(|| self.next_of_pass(now))
    }

    /// Begins to send an advertisement to the peers `nearest`; `interval` is that of full rounds, or
    /// zero if there is only one. Returns its kind and the peers that have not received it in this
    /// round.
    fn begin_round(
        &mut self,
        now: Instant,
        id: &AtomId,
        nearest: &Receivers,
        interval: Duration,
    ) -> Option<(PayloadType, Receivers)> {
        let advertisement = self.by_id.get_mut(id)?;
        if advertisement.repeat_at <= now {
            // Puts are not acknowledged, so the first may be lost.
            let early = EARLY_REPEATS.get(advertisement.rounds);
            advertisement.rounds = advertisement.rounds.saturating_add(1);
            advertisement.repeat_at = if interval.is_zero() {
                Instant::MAX
            } else {
                now + early.map_or(interval, |early| interval.min(*early))
            };
            advertisement.receivers.clear();
        }
        let receivers = &mut advertisement.receivers;
        receivers.retain(|peer| nearest.contains(peer));
        let missing = nearest.iter().filter(|peer| !receivers.contains(peer));
        Some((advertisement.kind, missing.copied().collect()))
    }

    /// Records that an advertisement was sent to a peer.
    fn note_sent(&mut self, id: &AtomId, peer: PublicKey) {
        if let Some(advertisement) = self.by_id.get_mut(id) {
            // The capacity is that of the nearest peers.
            let _ = advertisement.receivers.push(peer);
        }
    }

    /// Schedules the next round of an advertisement.
    fn end_round(&mut self, id: AtomId) {
        if let Some(repeat_at) = self.by_id.get(&id).map(|it| it.repeat_at) {
            self.schedule(id, repeat_at);
        }
    }
}

/// Peers that an advertisement is sent to.
type Receivers = heapless::Vec<PublicKey, MAX_ADVERTISE_PEERS>;

/// Returns the peers to send an advertisement to: the nearest to the object that are nearer than we
/// are, of all peers and of those that have answered a request. If we are the nearest ourselves,
/// there is none: lookups end here anyway.
fn receivers(peers: &Peers, id: &AtomId) -> Receivers {
    let own = Distance::between(id.as_bytes(), peers.own_key().as_bytes());
    let is_nearer =
        |entry: &Entry<Standing>| Distance::between(id.as_bytes(), entry.key().as_bytes()) < own;
    let nearest: heapless::Vec<_, ADVERTISE_FANOUT> = peers.nearest(id.as_bytes(), is_nearer);
    let serving: heapless::Vec<_, ADVERTISE_FANOUT> = peers.nearest(id.as_bytes(), |entry| {
        entry.value.has_served && is_nearer(entry)
    });
    let mut to = Receivers::new();
    for entry in nearest.into_iter().chain(serving) {
        if !to.contains(entry.key()) {
            // The capacity is that of both sources together.
            let _ = to.push(*entry.key());
        }
    }
    to
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
        if expires.is_some_and(|expires| expires <= now) {
            self.advertisements.remove(&id);
            return true;
        }
        let is_added = self.advertisements.add(now, id, kind, expires);
        if is_added {
            self.advertise_due(now);
        }
        is_added
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

    /// Marks a peer that may have restarted, see [`Advertisements::mark`].
    pub(super) fn readvertise_to(&mut self, now: Instant, key: &PublicKey) {
        if let Some(peer) = self.peers.get_mut(key) {
            self.advertisements.mark(now, key, peer);
        }
    }

    /// Removes expired advertisements and sends those that are due, at most
    /// [`ADVERTISEMENTS_PER_TURN`] per turn.
    pub(super) fn advertise_due(&mut self, now: Instant) {
        if !self.advertisements.begin_turn(now) {
            return;
        }
        for _ in 0..ADVERTISEMENTS_PER_TURN {
            let Some(id) = self.advertisements.next(now) else {
                return;
            };
            self.advertise_one(now, id);
        }
        self.advertisements.turn = Some(now + ADVERTISE_PACE);
    }

    /// Sends one advertisement to the peers that have not received it in this round, and schedules
    /// the next round. Without an address of our own there is nothing to send; learning one makes
    /// everything due.
    fn advertise_one(&mut self, now: Instant, id: AtomId) {
        let nearest = receivers(&self.peers, &id);
        let interval = self.config.storage_index_interval;
        let begun = self
            .advertisements
            .begin_round(now, &id, &nearest, interval);
        let Some((kind, to)) = begun else {
            return;
        };
        for peer in to {
            if let Some(address) = self.own_address.advertised()
                && self.send_put(now, &peer, id, kind, self.me, address)
            {
                self.advertisements.note_sent(&id, peer);
            }
        }
        self.advertisements.end_round(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn peers(range: core::ops::Range<u8>) -> Receivers {
        range.map(|n| PublicKey::new([n; 32])).collect()
    }

    #[test]
    fn each_peer_receives_an_advertisement_once_per_round() {
        let (id, interval) = (AtomId::new([1; 32]), SECOND * 600);
        let mut all = Advertisements::default();
        let mut now = Instant::from_secs(1);
        assert!(all.add(now, id, PayloadType::LIST, None));
        assert_eq!(all.next(now), Some(id));
        let (kind, to) = all.begin_round(now, &id, &peers(0..2), interval).unwrap();
        assert_eq!((kind, &to), (PayloadType::LIST, &peers(0..2)));
        all.note_sent(&id, to[0]);
        all.end_round(id);
        // One was not reached, and another is near now.
        let (_, to) = all.begin_round(now, &id, &peers(0..3), interval).unwrap();
        assert_eq!(to, peers(1..3));
        now = all.deadline().unwrap();
        assert_eq!(now, Instant::from_secs(1) + EARLY_REPEATS[0].min(interval));
        assert_eq!(all.next(now), Some(id));
        let (_, to) = all.begin_round(now, &id, &peers(0..3), interval).unwrap();
        assert_eq!(to, peers(0..3), "a new round");
    }

    #[test]
    fn single_round_is_not_repeated_and_expires() {
        let id = AtomId::new([1; 32]);
        let mut all = Advertisements::default();
        let now = Instant::from_secs(1);
        assert!(!all.add(now, AtomId::ZERO, PayloadType::ATOM, None));
        assert!(all.add(now, id, PayloadType::ATOM, Some(now + SECOND)));
        assert!(
            all.begin_round(now, &id, &peers(0..1), Duration::ZERO)
                .is_some()
        );
        all.end_round(id);
        assert_eq!(all.deadline(), Some(now + SECOND), "only its expiry");
        assert!(all.begin_turn(now) && all.next(now).is_none());
        assert!(all.begin_turn(now + SECOND));
        assert!(all.by_id.is_empty() && all.deadline().is_none());
        assert_eq!(all.begin_round(now, &id, &peers(0..1), SECOND), None);
    }

    #[test]
    fn changed_address_repeats_only_what_would_not_repeat_itself() {
        let (now, id) = (Instant::from_secs(10_000), AtomId::new([1; 32]));
        for (is_first, repeats, is_repeated) in [
            (true, true, true),
            (true, false, true),
            (false, true, false),
            (false, false, true),
        ] {
            let mut all = Advertisements::default();
            all.add(now, id, PayloadType::ATOM, None);
            all.begin_round(now, &id, &peers(0..1), Duration::ZERO);
            all.end_round(id);
            all.address_changed(now, is_first, repeats);
            assert_eq!(all.next(now).is_some(), is_repeated);
        }
        let mut all = Advertisements::default();
        all.add(now, id, PayloadType::ATOM, None);
        for (after, is_repeated) in [
            (Duration::ZERO, true),
            (ADDRESS_REPEAT_INTERVAL / 2, false),
            (ADDRESS_REPEAT_INTERVAL, true),
        ] {
            all.schedule(id, Instant::MAX);
            all.address_changed(now + after, false, false);
            assert_eq!(all.next(now + after).is_some(), is_repeated, "{after:?}");
            all.pass = None;
        }
    }
}
