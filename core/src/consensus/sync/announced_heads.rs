//! Heads that peers announce, and the choice of the next one to look up.
//!
//! A lookup costs requests, while announcing a head costs nothing. So lookups have budgets: one
//! peer gets one at a time until a head that it announced was verified, and at most one a second;
//! all peers without such a record together get [`NEWCOMER_LOOKUPS_PER_SECOND`]. A failed lookup
//! doubles the pause of the peers that announced the head. Seeds and peers with a record go first,
//! so that an honest head is followed at once, whatever other peers announce.
//!
//! Bounds: [`MAX_PEERS`] peers with one head each, [`MAX_HEADS`] different heads.

use super::announcers::{Announcer, Announcers};
use crate::atom::AtomId;
use crate::crypto::PublicKey;
use crate::time::Instant;
use crate::wire::network_group::NetworkGroup;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::time::Duration;

/// Maximum number of peers whose heads are remembered. If full, one without a record is dropped,
/// the one whose last announcement is oldest.
pub const MAX_PEERS: usize = 4_096;
/// Maximum number of different heads that are candidates. If full, the one with the lowest rank is
/// dropped.
pub const MAX_HEADS: usize = 256;
/// Maximum number of lookups per second of heads that only peers without a record announce, which
/// is also their burst.
pub const NEWCOMER_LOOKUPS_PER_SECOND: u32 = 8;
/// Minimum interval between two lookups of heads of one peer.
const LOOKUP_INTERVAL: Duration = Duration::from_secs(1);
/// Pause of a peer after a failed lookup; doubles each time, up to [`MAX_PAUSE`].
const PAUSE: Duration = Duration::from_secs(2);
const MAX_PAUSE: Duration = Duration::from_secs(300);
/// Number of consecutive failed lookups at which a peer loses its record.
const FAILURES_FORGIVEN: u32 = 2;

#[derive(Clone, Copy, Debug)]
struct Peer {
    group: NetworkGroup,
    is_seed: bool,
    head: Option<AtomId>,
    /// `true` if a head that it announced was verified, and later ones have not failed repeatedly.
    has_record: bool,
    failures: u32,
    next_lookup: Instant,
    /// Its head that is being looked up.
    looking_up: Option<AtomId>,
    /// Sequence number of its last announcement.
    announced: u64,
    /// Time until which its heads are ignored because it follows another chain.
    ignored_until: Instant,
}

#[derive(Clone, Debug)]
struct Head {
    announcers: BTreeSet<PublicKey>,
    /// Sequence number of the first announcement.
    since: u64,
    is_held: bool,
    retry_at: Instant,
    failures: u32,
    /// Wall time before which a block of its branch is not valid, in seconds.
    opens_unix: u64,
}

/// Result of an announcement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Announced {
    /// The head was not known.
    New,
    /// The head is already a candidate.
    Known,
    /// The peer follows another chain.
    Ignored,
    /// There is no room.
    Refused,
}

/// Urgency of a head's lookup; the larger, the more urgent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Rank {
    is_seed: bool,
    has_record: bool,
    failures: Reverse<u32>,
    groups: usize,
    peers: usize,
    since: u64,
}

impl Rank {
    /// Returns whether a seed or a peer with a record announces the head.
    pub(super) const fn is_trusted(&self) -> bool {
        self.is_seed || self.has_record
    }

    /// Returns the standing of the peers that announce the head.
    pub(super) const fn standing(&self) -> Standing {
        Standing {
            is_trusted: self.is_trusted(),
            failures: self.failures,
        }
    }
}

/// Record of a group of peers with their announced heads; the larger, the better.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Standing {
    /// `true` if a seed or a peer with a record is among them.
    pub(super) is_trusted: bool,
    failures: Reverse<u32>,
}

/// Announced heads. See the [module](self).
#[derive(Debug, Default)]
pub(super) struct AnnouncedHeads {
    peers: BTreeMap<PublicKey, Peer>,
    heads: BTreeMap<AtomId, Head>,
    announcements: u64,
    /// Time at which the budget of newcomers' lookups is full again.
    newcomers_full_at: Instant,
}

impl AnnouncedHeads {
    /// Records that a peer announces `head`; its earlier announcement is withdrawn.
    pub(super) fn announce(
        &mut self,
        now: Instant,
        announcer: Announcer,
        head: AtomId,
    ) -> Announced {
        let Announcer {
            peer: key,
            group,
            is_seed,
        } = announcer;
        self.withdraw(&key);
        if !self.peers.contains_key(&key) && self.peers.len() >= MAX_PEERS && !self.drop_peer() {
            return Announced::Refused;
        }
        self.announcements += 1;
        let peer = self.peers.entry(key).or_insert(Peer {
            group,
            is_seed,
            head: None,
            has_record: false,
            failures: 0,
            next_lookup: Instant::ZERO,
            looking_up: None,
            announced: 0,
            ignored_until: Instant::ZERO,
        });
        (peer.group, peer.is_seed) = (group, is_seed);
        peer.announced = self.announcements;
        if peer.ignored_until > now {
            return Announced::Ignored;
        }
        let is_known = self.heads.contains_key(&head);
        if !is_known && self.heads.len() >= MAX_HEADS && !self.make_room(announcer, now) {
            return Announced::Refused;
        }
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.head = Some(head);
        }
        let candidate = self.heads.entry(head).or_insert(Head {
            announcers: BTreeSet::new(),
            since: self.announcements,
            is_held: false,
            retry_at: Instant::ZERO,
            failures: 0,
            opens_unix: 0,
        });
        candidate.announcers.insert(key);
        if is_known {
            Announced::Known
        } else {
            Announced::New
        }
    }

    /// Withdraws the head that a peer announced.
    pub(super) fn withdraw(&mut self, key: &PublicKey) {
        let head = self.peers.get_mut(key).and_then(|peer| peer.head.take());
        if let Some(id) = head
            && let Some(head) = self.heads.get_mut(&id)
        {
            head.announcers.remove(key);
            if head.announcers.is_empty() && !head.is_held {
                self.heads.remove(&id);
            }
        }
    }

    /// Forgets a peer that was removed.
    pub(super) fn remove_peer(&mut self, key: &PublicKey) {
        self.withdraw(key);
        self.peers.remove(key);
    }

    fn drop_peer(&mut self) -> bool {
        let spare = self.peers.iter().filter(|(_, peer)| !peer.is_seed);
        let spare = spare.min_by_key(|(_, peer)| (peer.has_record, peer.announced));
        let Some(spare) = spare.map(|(key, _)| *key) else {
            return false;
        };
        self.remove_peer(&spare);
        true
    }

    /// Drops the candidate of the lowest rank. Returns `false` if all candidates are held, or that
    /// one is trusted and `announcer` is not.
    fn make_room(&mut self, announcer: Announcer, now: Instant) -> bool {
        let known = self.peers.get(&announcer.peer);
        let is_trusted = announcer.is_seed || known.is_some_and(|peer| peer.has_record);
        let free = self.heads.iter().filter(|(_, head)| !head.is_held);
        let least = free
            .map(|(id, head)| {
                let is_waiting = head.retry_at > now;
                (self.rank(head), Reverse(is_waiting), *id)
            })
            .min();
        let Some((_, _, id)) = least.filter(|(rank, ..)| is_trusted || !rank.is_trusted()) else {
            return false;
        };
        self.forget(&id);
        true
    }

    fn rank(&self, head: &Head) -> Rank {
        let announcers = head.announcers.iter().filter_map(|key| self.peers.get(key));
        let mut groups: Vec<NetworkGroup> = announcers.clone().map(|peer| peer.group).collect();
        groups.sort_unstable();
        groups.dedup();
        Rank {
            is_seed: announcers.clone().any(|peer| peer.is_seed),
            has_record: announcers.clone().any(|peer| peer.has_record),
            failures: Reverse(
                announcers
                    .clone()
                    .map(|peer| peer.failures)
                    .min()
                    .unwrap_or(0),
            ),
            groups: groups.len(),
            peers: head.announcers.len(),
            since: head.since,
        }
    }

    /// Returns the head to look up next, with its rank. Heads for which `is_known` returns `true`
    /// are skipped: they do not need a lookup.
    pub(super) fn next(
        &self,
        now: Instant,
        unix: u64,
        is_known: impl Fn(&AtomId) -> bool,
    ) -> Option<(AtomId, Rank)> {
        let due = self.heads.iter().filter(|(id, head)| {
            !head.is_held && head.retry_at <= now && head.opens_unix <= unix && !is_known(id)
        });
        let ranked = due.filter_map(|(id, head)| {
            let rank = self.rank(head);
            let may = if rank.is_trusted() {
                self.has_turn(head, now)
            } else {
                self.has_turn(head, now) && self.newcomers_full_at <= now + LOOKUP_INTERVAL
            };
            may.then_some((rank, *id))
        });
        ranked.max().map(|(rank, id)| (id, rank))
    }

    /// Returns whether one of the peers that announce it may have a head looked up.
    fn has_turn(&self, head: &Head, now: Instant) -> bool {
        let announcers = head.announcers.iter().filter_map(|key| self.peers.get(key));
        announcers.into_iter().any(|peer| {
            let is_idle = peer.looking_up.is_none() || peer.has_record || peer.is_seed;
            is_idle && peer.next_lookup <= now
        })
    }

    /// Starts the lookup of a candidate: it is kept until it is released, even if no peer announces
    /// it any more. Returns the peers that announce it.
    pub(super) fn hold(&mut self, now: Instant, id: &AtomId) -> Announcers {
        let mut announcers = Announcers::default();
        let Some(head) = self.heads.get_mut(id) else {
            return announcers;
        };
        head.is_held = true;
        let mut is_trusted = false;
        for key in &head.announcers {
            let Some(peer) = self.peers.get_mut(key) else {
                continue;
            };
            is_trusted |= peer.is_seed || peer.has_record;
            peer.looking_up = Some(*id);
            // Two at once, then one per interval.
            peer.next_lookup = peer.next_lookup.max(now - LOOKUP_INTERVAL) + LOOKUP_INTERVAL;
            announcers.add(Announcer {
                peer: *key,
                group: peer.group,
                is_seed: peer.is_seed,
            });
        }
        if !is_trusted {
            let share = LOOKUP_INTERVAL / NEWCOMER_LOOKUPS_PER_SECOND;
            self.newcomers_full_at = self.newcomers_full_at.max(now) + share;
        }
        announcers
    }

    /// Returns the peers that currently announce this head.
    pub(super) fn announcers(&self, id: &AtomId) -> Announcers {
        let mut announcers = Announcers::default();
        for key in self
            .heads
            .get(id)
            .into_iter()
            .flat_map(|head| &head.announcers)
        {
            if let Some(peer) = self.peers.get(key) {
                announcers.add(Announcer {
                    peer: *key,
                    group: peer.group,
                    is_seed: peer.is_seed,
                });
            }
        }
        announcers
    }

    /// Ends a lookup.
    pub(super) fn release(&mut self, id: &AtomId) {
        self.idle(id);
        if let Some(head) = self.heads.get_mut(id) {
            head.is_held = false;
            if head.announcers.is_empty() {
                self.heads.remove(id);
            }
        }
    }

    fn idle(&mut self, id: &AtomId) {
        for peer in self.peers.values_mut() {
            if peer.looking_up == Some(*id) {
                peer.looking_up = None;
            }
        }
    }

    /// Drops a candidate until a peer announces it again. Returns the peers that announced it.
    pub(super) fn forget(&mut self, id: &AtomId) -> BTreeSet<PublicKey> {
        self.idle(id);
        let Some(head) = self.heads.remove(id) else {
            return BTreeSet::new();
        };
        for key in &head.announcers {
            if let Some(peer) = self.peers.get_mut(key) {
                peer.head = None;
            }
        }
        head.announcers
    }

    /// Returns the best standing among these peers.
    pub(super) fn standing(&self, announcers: &Announcers) -> Standing {
        let standing = |announcer: &Announcer| {
            let peer = self.peers.get(&announcer.peer);
            Standing {
                is_trusted: announcer.is_seed || peer.is_some_and(|peer| peer.has_record),
                failures: Reverse(peer.map_or(0, |peer| peer.failures)),
            }
        };
        let worst = Standing {
            is_trusted: false,
            failures: Reverse(u32::MAX),
        };
        announcers.iter().map(standing).max().unwrap_or(worst)
    }

    /// Records that a block that these peers announced was verified.
    pub(super) fn succeeded(&mut self, announcers: &Announcers) {
        for announcer in announcers.iter() {
            if let Some(peer) = self.peers.get_mut(&announcer.peer) {
                peer.has_record = true;
                peer.failures = 0;
            }
        }
    }

    /// Records that a head that these peers announced could not be followed.
    pub(super) fn failed(&mut self, now: Instant, id: &AtomId, announcers: &Announcers) {
        for announcer in announcers.iter() {
            let Some(peer) = self.peers.get_mut(&announcer.peer) else {
                continue;
            };
            peer.failures = peer.failures.saturating_add(1);
            peer.has_record &= peer.failures < FAILURES_FORGIVEN;
            peer.next_lookup = peer.next_lookup.max(now + pause(peer.failures));
        }
        if let Some(head) = self.heads.get_mut(id) {
            head.failures = head.failures.saturating_add(1);
            head.retry_at = now + pause(head.failures);
        }
    }

    /// Excludes a head until the wall clock reaches `unix` seconds.
    pub(super) fn park(&mut self, id: &AtomId, unix: u64) {
        if let Some(head) = self.heads.get_mut(id) {
            head.opens_unix = unix;
        }
    }

    /// Returns whether a head waits for the wall clock.
    pub(super) fn has_parked(&self, unix: u64) -> bool {
        self.heads.values().any(|head| head.opens_unix > unix)
    }

    /// Ignores the heads of a peer until `until`, because it follows another chain.
    pub(super) fn ignore(&mut self, key: &PublicKey, until: Instant) {
        self.withdraw(key);
        if let Some(peer) = self.peers.get_mut(key) {
            peer.ignored_until = until;
            peer.has_record = false;
        }
    }

    /// Stops ignoring the heads of a peer.
    pub(super) fn stop_ignoring(&mut self, key: &PublicKey) {
        if let Some(peer) = self.peers.get_mut(key) {
            peer.ignored_until = Instant::ZERO;
        }
    }

    /// Returns when a candidate that is not held can be looked up, if only time prevents it.
    pub(super) fn next_due(&self, now: Instant) -> Option<Instant> {
        let free = self.heads.values().filter(|head| !head.is_held);
        let due = free.filter_map(|head| {
            let peers = head.announcers.iter().filter_map(|key| self.peers.get(key));
            let turn = peers.map(|peer| peer.next_lookup).min()?;
            Some(turn.max(head.retry_at))
        });
        let newcomers = self.newcomers_full_at - LOOKUP_INTERVAL;
        let due = due.chain([newcomers]).filter(|at| *at > now);
        due.min()
    }

    /// Returns the candidates, held or not.
    pub(super) fn heads(&self) -> impl Iterator<Item = &AtomId> {
        self.heads.keys()
    }

    /// Returns the heads that configured seeds announce.
    pub(super) fn heads_of_seeds(&self) -> Vec<AtomId> {
        let seeds = self.peers.values().filter(|peer| peer.is_seed);
        seeds.filter_map(|peer| peer.head).collect()
    }

    /// Returns the head that a peer announces.
    pub(super) fn head_of(&self, key: &PublicKey) -> Option<AtomId> {
        self.peers.get(key)?.head
    }

    /// Returns the number of candidates.
    pub(super) fn len(&self) -> usize {
        self.heads.len()
    }

    /// Returns the number of peers that announce this head.
    pub(super) fn peers_of(&self, id: &AtomId) -> usize {
        self.heads.get(id).map_or(0, |head| head.announcers.len())
    }

    /// Returns the number of different network groups with a peer that announces a head, and the
    /// number of seeds that announce one.
    pub(super) fn announcer_counts(&self) -> AnnouncerCounts {
        let announcing = self.peers.values().filter(|peer| peer.head.is_some());
        let mut groups: Vec<NetworkGroup> = announcing.clone().map(|peer| peer.group).collect();
        groups.sort_unstable();
        groups.dedup();
        AnnouncerCounts {
            groups: groups.len(),
            seeds: announcing.filter(|peer| peer.is_seed).count(),
        }
    }
}

/// Number of independent peers that announce heads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct AnnouncerCounts {
    pub(super) groups: usize,
    pub(super) seeds: usize,
}

fn pause(failures: u32) -> Duration {
    let doubled = PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(8));
    doubled.min(MAX_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u32) -> AtomId {
        let mut bytes = [7; 32];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        AtomId::new(bytes)
    }

    fn peer(number: u32) -> PublicKey {
        PublicKey::new(*id(number).as_bytes())
    }

    fn announcer(number: u32) -> Announcer {
        let [.., high, low] = number.to_be_bytes();
        Announcer {
            peer: peer(number),
            group: NetworkGroup::of([20, high, low, 1].into()),
            is_seed: false,
        }
    }

    fn at(millis: u64) -> Instant {
        Instant::from_millis(1_000_000 + millis)
    }

    fn next(heads: &AnnouncedHeads, now: Instant) -> Option<AtomId> {
        heads.next(now, 0, |_| false).map(|(id, _)| id)
    }

    #[test]
    fn peer_has_one_head_and_unannounced_heads_are_dropped_unless_held() {
        let mut heads = AnnouncedHeads::default();
        assert_eq!(heads.announce(at(0), announcer(1), id(1)), Announced::New);
        assert_eq!(heads.announce(at(0), announcer(2), id(1)), Announced::Known);
        assert_eq!(heads.announce(at(0), announcer(3), id(2)), Announced::New);
        assert_eq!(next(&heads, at(0)), Some(id(1)));
        assert_eq!(heads.hold(at(0), &id(1)).iter().count(), 2);
        assert_eq!(heads.announce(at(1), announcer(1), id(2)), Announced::Known);
        heads.remove_peer(&peer(2));
        assert_eq!((heads.peers_of(&id(1)), heads.peers_of(&id(2))), (0, 2));
        assert_eq!((heads.len(), next(&heads, at(1))), (2, Some(id(2))));
        heads.release(&id(1));
        assert_eq!(heads.len(), 1);
        heads.forget(&id(2));
        assert_eq!((heads.len(), next(&heads, at(1))), (0, None));
        assert_eq!(heads.announce(at(2), announcer(3), id(2)), Announced::New);
    }

    /// Announces random heads from one peer, fails their lookups after two seconds, and counts
    /// them.
    fn lookups_of_a_flood(seconds: u64) -> (AnnouncedHeads, u32) {
        let mut heads = AnnouncedHeads::default();
        let (mut count, mut since) = (0, None::<(u64, AtomId, Announcers)>);
        for millis in 0..seconds * 1_000 {
            let now = at(millis);
            heads.announce(now, announcer(1), id(u32::try_from(millis).unwrap()));
            if since.as_ref().is_some_and(|(at, ..)| millis - at > 2_000)
                && let Some((_, head, announcers)) = since.take()
            {
                heads.failed(now, &head, &announcers);
                heads.release(&head);
            }
            if let Some(head) = next(&heads, now) {
                assert!(since.is_none(), "one at a time");
                since = Some((millis, head, heads.hold(now, &head)));
                count += 1;
            }
        }
        (heads, count)
    }

    #[test]
    fn random_heads_of_one_peer_cost_few_lookups_and_do_not_delay_others() {
        let (mut heads, count) = lookups_of_a_flood(60);
        assert!(count <= 6, "{count} look-ups in a minute");
        heads.announce(at(60_000), announcer(2), id(u32::MAX));
        assert_eq!(next(&heads, at(60_000)), Some(id(u32::MAX)));
    }

    #[test]
    fn new_peers_share_a_budget_that_peers_with_a_record_do_not_use() {
        let mut heads = AnnouncedHeads::default();
        for number in 0..200 {
            heads.announce(at(0), announcer(number), id(number));
        }
        let mut count = 0;
        for millis in 0..2_000 {
            while let Some(head) = next(&heads, at(millis)) {
                heads.hold(at(millis), &head);
                count += 1;
            }
        }
        assert!((16..=26).contains(&count), "{count}");
        let mut known = Announcers::default();
        known.add(announcer(500));
        heads.announce(at(2_000), announcer(500), id(500));
        heads.succeeded(&known);
        let (best, rank) = heads.next(at(2_000), 0, |_| false).unwrap();
        assert!(best == id(500) && rank.is_trusted());
        // From there, too, only a bounded number.
        heads.hold(at(2_000), &best);
        let mut count = 0;
        for number in 501..521 {
            heads.announce(at(2_000), announcer(500), id(number));
            let best = heads
                .next(at(2_000), 0, |_| false)
                .filter(|it| it.1.is_trusted());
            if let Some((best, _)) = best {
                heads.hold(at(2_000), &best);
                count += 1;
            }
        }
        assert!(count <= 1, "{count}");
    }

    #[test]
    fn failures_pause_a_peer_with_backoff_and_reset_its_record() {
        let mut heads = AnnouncedHeads::default();
        let mut one = Announcers::default();
        one.add(announcer(1));
        let mut now = at(0);
        let mut pauses = Vec::new();
        for number in 0..12 {
            heads.announce(now, announcer(1), id(number));
            heads.hold(now, &id(number));
            heads.failed(now, &id(number), &one);
            heads.release(&id(number));
            heads.announce(now, announcer(1), id(number + 1));
            let begin = now;
            while next(&heads, now).is_none() {
                now = now + Duration::from_millis(500);
            }
            pauses.push(now.since(begin).as_secs());
        }
        assert_eq!(pauses, [2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300, 300]);
        heads.succeeded(&one);
        heads.announce(now, announcer(1), id(99));
        assert!(heads.next(now, 0, |_| false).unwrap().1.is_trusted());
        heads.failed(now, &id(99), &one);
        heads.failed(now, &id(99), &one);
        let later = now + MAX_PAUSE;
        assert!(!heads.next(later, 0, |_| false).unwrap().1.is_trusted());
    }

    #[test]
    fn flood_of_heads_is_bounded_and_spares_held_and_trusted_ones() {
        let mut heads = AnnouncedHeads::default();
        let mut known = Announcers::default();
        for number in [0, 1] {
            heads.announce(at(0), announcer(number), id(number));
        }
        heads.hold(at(0), &id(0));
        known.add(announcer(1));
        heads.succeeded(&known);
        for number in 2..6_000 {
            heads.announce(at(0), announcer(number), id(number));
        }
        assert_eq!((heads.len(), heads.peers.len()), (MAX_HEADS, MAX_PEERS));
        assert!(heads.heads.contains_key(&id(0)) && heads.peers_of(&id(1)) == 1);
        let seed = Announcer {
            is_seed: true,
            ..announcer(9_999)
        };
        assert_eq!(heads.announce(at(0), seed, id(9_999)), Announced::New);
        assert_eq!(next(&heads, at(0)), Some(id(9_999)));
    }

    #[test]
    fn heads_of_another_chain_are_ignored_for_a_while() {
        let mut heads = AnnouncedHeads::default();
        heads.announce(at(0), announcer(1), id(1));
        heads.ignore(&peer(1), at(5_000));
        assert_eq!(heads.len(), 0);
        assert_eq!(
            heads.announce(at(1), announcer(1), id(2)),
            Announced::Ignored
        );
        assert_eq!(
            heads.announce(at(5_000), announcer(1), id(3)),
            Announced::New
        );
    }

    #[test]
    fn future_head_waits_for_the_wall_clock_only() {
        let mut heads = AnnouncedHeads::default();
        heads.announce(at(0), announcer(1), id(1));
        heads.park(&id(1), 5_000);
        assert!(heads.has_parked(4_999) && !heads.has_parked(5_000));
        let next = |unix| heads.next(at(0), unix, |_| false).map(|(id, _)| id);
        assert_eq!((next(4_999), next(5_000)), (None, Some(id(1))));
    }
}
