//! Peers that announced a head (announcers), and their turns for requests of its data.
//!
//! A peer that announces a head has it. It is asked first for all data of that head; several
//! announcers take turns, fast ones before slow ones. An announcer that does not answer loses its
//! preference at once, for [`SILENCE`] and for as long as others answer, and so do the peers of its
//! network group that have not answered yet. These are asked for one of [`PROBATION`] objects that
//! are only needed later.

use crate::crypto::PublicKey;
use crate::time::Instant;
use crate::wire::network_group::NetworkGroup;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

/// Maximum number of announcers remembered for one head.
pub(super) const MAX_ANNOUNCERS: usize = 16;
/// Time for which an announcer that did not answer is not preferred; doubles each time, up to
/// [`MAX_SILENCE`].
const SILENCE: Duration = Duration::from_secs(5);
const MAX_SILENCE: Duration = Duration::from_secs(300);
/// Response time up to which peers count as equally fast; above it, each doubling is one class.
const FAST_RESPONSE: Duration = Duration::from_millis(128);
/// One in this many requests, of those that are not urgent, goes to a peer without preference.
const PROBATION: u64 = 16;
/// Maximum number of peers whose turns are remembered. If full, the one asked longest ago is
/// forgotten.
const MAX_TURNS: usize = 4_096;

/// Peer that announced a head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Announcer {
    pub(super) peer: PublicKey,
    pub(super) group: NetworkGroup,
    /// `true` if it is a configured seed.
    pub(super) is_seed: bool,
}

/// Peers that announced one head or a block on its branch.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Announcers(Vec<Announcer>);

impl Announcers {
    /// Adds a peer. If full, it replaces a peer, other than a seed, whose network group is also
    /// that of another one, provided that its own group is new or it is a seed.
    pub(super) fn add(&mut self, announcer: Announcer) {
        if let Some(known) = self.0.iter_mut().find(|known| known.peer == announcer.peer) {
            *known = announcer;
            return;
        }
        if self.0.len() < MAX_ANNOUNCERS {
            self.0.push(announcer);
            return;
        }
        let is_new =
            announcer.is_seed || !self.0.iter().any(|known| known.group == announcer.group);
        let is_spare = |(at, one): &(usize, &Announcer)| {
            let mut others = self.0.iter().take(*at);
            !one.is_seed && others.any(|other| other.group == one.group)
        };
        let spare = self.0.iter().enumerate().find(is_spare).map(|(at, _)| at);
        if is_new && let Some(place) = spare.and_then(|at| self.0.get_mut(at)) {
            *place = announcer;
        }
    }

    pub(super) fn add_all(&mut self, others: &Self) {
        for announcer in &others.0 {
            self.add(*announcer);
        }
    }

    pub(super) fn remove(&mut self, peer: &PublicKey) {
        self.0.retain(|announcer| announcer.peer != *peer);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Announcer> {
        self.0.iter()
    }

    /// Returns the independent support of the head: seeds first, then network groups.
    pub(super) fn support(&self) -> Support {
        let mut groups: Vec<NetworkGroup> =
            self.0.iter().map(|announcer| announcer.group).collect();
        groups.sort_unstable();
        groups.dedup();
        Support {
            has_seed: self.0.iter().any(|announcer| announcer.is_seed),
            groups: groups.len(),
        }
    }
}

/// Independent support of a head; the larger, the more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(super) struct Support {
    pub(super) has_seed: bool,
    pub(super) groups: usize,
}

impl Support {
    /// Returns whether more than one peer supports the head independently.
    pub(super) const fn is_confirmed(&self) -> bool {
        self.has_seed || self.groups > 1
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Turn {
    /// Sequence number of the last request to it.
    asked: u64,
    silent_until: Instant,
    silences: u32,
    /// `true` if it has answered, and did not fail to since.
    answers: bool,
    /// Class of its last response time, in doublings of [`FAST_RESPONSE`]; 0 if fast or unknown.
    delay: u32,
}

/// Turns of peers in being asked.
#[derive(Debug, Default)]
pub(super) struct Turns {
    peers: BTreeMap<PublicKey, Turn>,
    requests: u64,
}

impl Turns {
    /// Returns the announcer to ask next: the fastest of those that answer, among equals the one
    /// asked longest ago; otherwise one whose network group has the fewest silent peers.
    /// `is_urgent` is `true` if something waits for the object.
    pub(super) fn next(
        &mut self,
        now: Instant,
        announcers: &Announcers,
        is_urgent: bool,
    ) -> Option<PublicKey> {
        let turn =
            |announcer: &Announcer| self.peers.get(&announcer.peer).copied().unwrap_or_default();
        let is_probation = !is_urgent && self.requests.is_multiple_of(PROBATION);
        let silent_beside = |announcer: &Announcer| {
            let group = announcers
                .iter()
                .filter(|other| other.group == announcer.group);
            group.filter(|other| turn(other).silences > 0).count()
        };
        let willing = announcers
            .iter()
            .filter(|announcer| turn(announcer).silent_until <= now);
        let next = willing.min_by_key(|announcer| {
            let Turn {
                answers,
                silences,
                asked,
                delay,
                ..
            } = turn(announcer);
            let silent = silences as usize + silent_beside(announcer);
            let is_second = (answers || silent == 0) == is_probation;
            let silent = if answers { 0 } else { silent };
            (is_second, silent, delay, asked)
        });
        let next = next?.peer;
        self.requests += 1;
        if self.peers.len() >= MAX_TURNS && !self.peers.contains_key(&next) {
            let oldest = self.peers.iter().min_by_key(|(_, turn)| turn.asked);
            if let Some(oldest) = oldest.map(|(peer, _)| *peer) {
                self.peers.remove(&oldest);
            }
        }
        self.peers.entry(next).or_default().asked = self.requests;
        Some(next)
    }

    /// Records that a peer has answered, with its response time if that was measured.
    pub(super) fn answered(&mut self, peer: &PublicKey, took: Option<Duration>) {
        if let Some(turn) = self.peers.get_mut(peer) {
            let multiples = |took: Duration| took.as_millis() / FAST_RESPONSE.as_millis();
            let delay = took.map(|took| multiples(took).checked_ilog2().map_or(0, |log| log + 1));
            *turn = Turn {
                asked: turn.asked,
                answers: true,
                delay: delay.unwrap_or(turn.delay),
                ..Turn::default()
            };
        }
    }

    /// Records that a peer did not answer.
    pub(super) fn fell_silent(&mut self, now: Instant, peer: &PublicKey) {
        let Some(turn) = self.peers.get_mut(peer) else {
            return;
        };
        turn.answers = false;
        if turn.silent_until <= now {
            let silence = SILENCE.saturating_mul(1 << turn.silences.min(8));
            turn.silent_until = now + silence.min(MAX_SILENCE);
            turn.silences = turn.silences.saturating_add(1);
        }
    }

    pub(super) fn forget(&mut self, peer: &PublicKey) {
        self.peers.remove(peer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announcer(number: u8, network: u8) -> Announcer {
        Announcer {
            peer: PublicKey::new([number; 32]),
            group: NetworkGroup::of([20, network, 0, number].into()),
            is_seed: false,
        }
    }

    fn announcers(count: u8) -> Announcers {
        let mut all = Announcers::default();
        (1..=count).for_each(|number| all.add(announcer(number, number)));
        all
    }

    #[test]
    fn announcers_take_turns_and_a_silent_one_waits() {
        let mut turns = Turns::default();
        let all = announcers(3);
        let now = Instant::from_secs(1);
        let next = |turns: &mut Turns, now| turns.next(now, &all, true).unwrap().as_bytes()[0];
        let first: Vec<u8> = (0..6).map(|_| next(&mut turns, now)).collect();
        assert_eq!(first, [1, 2, 3, 1, 2, 3]);
        turns.fell_silent(now, &announcer(2, 2).peer);
        let without: Vec<u8> = (0..4).map(|_| next(&mut turns, now)).collect();
        assert_eq!(without, [1, 3, 1, 3]);
        // Others are asked before it, unless they are silent too.
        let later = now + SILENCE;
        assert_eq!(next(&mut turns, later), 1);
        for number in [1, 3] {
            turns.fell_silent(later, &announcer(number, number).peer);
        }
        assert_eq!(next(&mut turns, later), 2);
        // Silent again, for twice as long, unless it answers.
        turns.fell_silent(later, &announcer(2, 2).peer);
        assert_ne!(next(&mut turns, later + SILENCE), 2);
        assert_ne!(next(&mut turns, later + SILENCE), 2);
        turns.answered(&announcer(2, 2).peer, None);
        assert_eq!(next(&mut turns, later + SILENCE), 2);
        for number in 1..=3 {
            turns.fell_silent(later, &announcer(number, number).peer);
        }
        assert_eq!(turns.next(later, &all, true), None);
    }

    #[test]
    fn fast_announcers_are_asked_before_slow_ones() {
        let mut turns = Turns::default();
        let all = announcers(4);
        let now = Instant::from_secs(1);
        let next = |turns: &mut Turns| turns.next(now, &all, true).unwrap().as_bytes()[0];
        let first: Vec<u8> = (0..4).map(|_| next(&mut turns)).collect();
        assert_eq!(first, [1, 2, 3, 4]);
        for (number, millis) in [(1, 900), (2, 30), (3, 100), (4, 5_000)] {
            let took = Some(Duration::from_millis(millis));
            turns.answered(&announcer(number, number).peer, took);
        }
        let then: Vec<u8> = (0..4).map(|_| next(&mut turns)).collect();
        assert_eq!(then, [2, 3, 2, 3]);
        for number in [2, 3] {
            turns.fell_silent(now, &announcer(number, number).peer);
        }
        assert_eq!(next(&mut turns), 1);
    }

    #[test]
    fn silent_peer_costs_the_turns_of_unanswered_peers_of_its_group() {
        let mut turns = Turns::default();
        let mut all = Announcers::default();
        for number in 1..12 {
            all.add(announcer(number, 9));
        }
        for number in 20..23 {
            all.add(announcer(number, number));
        }
        let now = Instant::from_secs(1);
        let first = turns.next(now, &all, true).unwrap();
        assert_eq!(first, announcer(1, 9).peer);
        turns.fell_silent(now, &first);
        let next = (0..6).map(|_| turns.next(now, &all, true).unwrap().as_bytes()[0]);
        assert_eq!(next.collect::<Vec<_>>(), [20, 21, 22, 20, 21, 22]);
        turns.fell_silent(now, &announcer(21, 21).peer);
        turns.fell_silent(now, &announcer(22, 22).peer);
        let first = announcer(20, 20).peer;
        turns.answered(&first, None);
        let later = now + MAX_SILENCE;
        let urgent = (0..50).map(|_| turns.next(later, &all, true).unwrap());
        assert!(urgent.collect::<Vec<_>>().iter().all(|peer| *peer == first));
        let ahead = (0..64).map(|_| turns.next(later, &all, false).unwrap());
        let others = ahead.filter(|peer| *peer != first).count();
        assert_eq!(others, 4);
    }

    #[test]
    fn support_counts_network_groups_and_seeds() {
        let mut all = Announcers::default();
        for number in 1..=40 {
            all.add(announcer(number, 1));
        }
        assert_eq!(all.iter().count(), MAX_ANNOUNCERS);
        assert!(!all.support().is_confirmed());
        // A full list of one network has room for another network.
        all.add(announcer(50, 2));
        assert_eq!(all.support().groups, 2);
        assert!(all.support().is_confirmed());
        let seed = Announcer {
            is_seed: true,
            ..announcer(60, 1)
        };
        all.add(seed);
        assert!(all.support().has_seed && all.iter().count() == MAX_ANNOUNCERS);
        all.remove(&announcer(50, 2).peer);
        all.remove(&seed.peer);
        assert!(!all.support().is_confirmed());
    }

    #[test]
    fn remembers_a_bounded_number_of_turns() {
        let mut turns = Turns::default();
        for number in 0..5_000_u64 {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&number.to_be_bytes());
            let mut one = Announcers::default();
            one.add(Announcer {
                peer: PublicKey::new(bytes),
                ..announcer(1, 1)
            });
            turns.next(Instant::ZERO, &one, true).unwrap();
        }
        assert_eq!(turns.peers.len(), MAX_TURNS);
    }
}
