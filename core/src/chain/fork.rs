//! Which heads are offered, which blocks are known to be bad, and which head is the best.
//!
//! Bounded, whatever peers do:
//! - a peer has one offer, its newest; there are at most [`MAX_OFFERS`];
//! - at most [`MAX_HEADS`] different heads are candidates. When there are more, the one that was
//!   offered first goes, unless the host holds it because it is being followed. So what is new has a
//!   chance, and who wants to crowd others out has to go on for ever;
//! - at most [`MAX_BAD_BLOCKS`] bad blocks and [`MAX_OFFENDERS`] of those who offered them are
//!   remembered; the oldest are forgotten.
//!
//! A block is bad when a rule says so. That an atom did not come, or that a block's time has not
//! come, is no rule.

use crate::atom::AtomId;
use crate::crypto::PublicKey;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::cmp::Reverse;

/// Peers whose newest head is known; the offers of further ones are refused.
pub const MAX_OFFERS: usize = 4_096;
/// Different heads that are candidates at once.
pub const MAX_HEADS: usize = 256;
/// Bad blocks that are remembered.
pub const MAX_BAD_BLOCKS: usize = 4_096;
/// Peers who offered bad blocks that are remembered.
pub const MAX_OFFENDERS: usize = 1_024;

/// What choosing looks at.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Tip {
    /// The block.
    pub id: AtomId,
    /// Blocks before it.
    pub height: u64,
    /// When it was made, in seconds since the Unix epoch.
    pub timestamp: u64,
    /// Whether the head that we have is one of its ancestors.
    pub extends_current: bool,
}

/// What age a head may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    /// The time, in seconds since the Unix epoch.
    pub now: u64,
    /// How many seconds old it may be.
    pub max_stale_seconds: u64,
    /// How many seconds it may be ahead.
    pub max_future_seconds: u64,
}

impl Window {
    /// Whether a block of this time is fresh.
    #[must_use]
    pub const fn is_fresh(&self, timestamp: u64) -> bool {
        self.now.saturating_sub(timestamp) <= self.max_stale_seconds && !self.is_early(timestamp)
    }

    /// Whether the time of a block is too far ahead.
    #[must_use]
    pub const fn is_early(&self, timestamp: u64) -> bool {
        timestamp.saturating_sub(self.now) > self.max_future_seconds
    }
}

/// The head to go on from: `current`, or a better one among `verified`.
///
/// The highest of those that are fresh is the best; of equal ones the current, else the one with the
/// lower id (source: the reference's `consensus/verification/worker.py`). In the reference a head
/// that is not fresh is never adopted, so that nobody can join or resume a chain that stands still.
/// Here it
/// is where there is no fresh one and we have no head, or it goes on from ours.
#[must_use]
pub fn choose(
    current: Option<&Tip>,
    verified: impl IntoIterator<Item = Tip>,
    window: &Window,
) -> Option<Tip> {
    let may_replace = |tip: &Tip| {
        let is_next = current.is_none() || tip.extends_current;
        window.is_fresh(tip.timestamp) || is_next && !window.is_early(tip.timestamp)
    };
    let is_current = |tip: &Tip| current.is_some_and(|current| current.id == tip.id);
    let rank = |tip: &Tip| {
        let is_fresh = window.is_fresh(tip.timestamp);
        (is_fresh, tip.height, is_current(tip), Reverse(tip.id))
    };
    // One that is not fresh competes with those that go on from it alone, which are higher.
    let kept = current.filter(|current| window.is_fresh(current.timestamp));
    let best = verified
        .into_iter()
        .filter(may_replace)
        .chain(kept.copied())
        .max_by_key(rank);
    best.or(current.copied())
}

/// What came of an offer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Offer<'f, R> {
    /// A head that was not known.
    New,
    /// A candidate already.
    Known,
    /// A block that is known to be bad.
    Bad(&'f R),
    /// There is no room for more.
    Refused,
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    peers: usize,
    /// Order of the first offer.
    since: u64,
    is_held: bool,
}

/// What is remembered of a peer who offered bad blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Offender {
    /// How many different ones.
    pub count: u64,
    /// The last of them.
    pub block: AtomId,
}

/// The heads that peers offer, and what was found bad for a reason of type `R`.
#[derive(Debug)]
pub struct Forks<R> {
    offers: BTreeMap<PublicKey, AtomId>,
    candidates: BTreeMap<AtomId, Candidate>,
    offered: u64,
    bad: BTreeMap<AtomId, R>,
    bad_order: VecDeque<AtomId>,
    offenders: BTreeMap<PublicKey, Offender>,
    offender_order: VecDeque<PublicKey>,
}

impl<R> Default for Forks<R> {
    fn default() -> Self {
        Self {
            offers: BTreeMap::new(),
            candidates: BTreeMap::new(),
            offered: 0,
            bad: BTreeMap::new(),
            bad_order: VecDeque::new(),
            offenders: BTreeMap::new(),
            offender_order: VecDeque::new(),
        }
    }
}

impl<R> Forks<R> {
    /// Nothing offered, nothing bad.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A peer names its head; what it named before does not count any more.
    pub fn offer(&mut self, peer: PublicKey, head: AtomId) -> Offer<'_, R> {
        self.withdraw(&peer);
        if self.bad.contains_key(&head) {
            self.note(peer, head);
            return self.bad.get(&head).map_or(Offer::Refused, Offer::Bad);
        }
        if self.offers.len() >= MAX_OFFERS {
            return Offer::Refused;
        }
        let is_known = self.candidates.contains_key(&head);
        if !is_known && self.candidates.len() >= MAX_HEADS && !self.make_room() {
            return Offer::Refused;
        }
        self.offers.insert(peer, head);
        self.offered += 1;
        let candidate = self.candidates.entry(head).or_insert(Candidate {
            peers: 0,
            since: self.offered,
            is_held: false,
        });
        candidate.peers += 1;
        if is_known { Offer::Known } else { Offer::New }
    }

    /// A peer offers nothing any more.
    pub fn withdraw(&mut self, peer: &PublicKey) {
        if let Some(head) = self.offers.remove(peer)
            && let Some(candidate) = self.candidates.get_mut(&head)
        {
            candidate.peers -= 1;
            if candidate.peers == 0 && !candidate.is_held {
                self.candidates.remove(&head);
            }
        }
    }

    fn make_room(&mut self) -> bool {
        let free = self.candidates.iter().filter(|(_, held)| !held.is_held);
        let oldest = free.min_by_key(|(_, candidate)| candidate.since);
        let Some(oldest) = oldest.map(|(id, _)| *id) else {
            return false;
        };
        self.forget(&oldest);
        true
    }

    /// Keeps a candidate until it is released, even if nobody offers it any more. `false` if it is
    /// none.
    pub fn hold(&mut self, head: &AtomId) -> bool {
        let candidate = self.candidates.get_mut(head);
        candidate.is_some_and(|candidate| {
            candidate.is_held = true;
            true
        })
    }

    /// Ends a hold.
    pub fn release(&mut self, head: &AtomId) {
        if let Some(candidate) = self.candidates.get_mut(head) {
            candidate.is_held = false;
            if candidate.peers == 0 {
                self.candidates.remove(head);
            }
        }
    }

    /// All candidates, held or not, in the order of their ids.
    pub fn heads(&self) -> impl Iterator<Item = &AtomId> {
        self.candidates.keys()
    }

    /// Drops a candidate and the offers of it, until somebody offers it anew.
    pub fn forget(&mut self, head: &AtomId) {
        self.candidates.remove(head);
        self.offers.retain(|_, offered| offered != head);
    }

    /// Candidates that are not held: those that most peers offer first, and the newest of these.
    #[must_use]
    pub fn waiting(&self) -> Vec<AtomId> {
        let free = self.candidates.iter().filter(|(_, held)| !held.is_held);
        let mut waiting: Vec<_> = free
            .map(|(id, candidate)| (candidate.peers, candidate.since, *id))
            .collect();
        waiting.sort_unstable_by(|a, b| b.cmp(a));
        waiting.into_iter().map(|(.., id)| id).collect()
    }

    /// How many peers offer this head.
    #[must_use]
    pub fn peers_of(&self, head: &AtomId) -> usize {
        self.candidates.get(head).map_or(0, |known| known.peers)
    }

    /// Different heads that are candidates.
    #[must_use]
    pub fn len(&self) -> usize {
        self.candidates.len()
    }

    /// Whether there is no candidate.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.candidates.is_empty()
    }

    /// Remembers `block` and its known `descendants` as bad, and who offers one of them.
    pub fn condemn(&mut self, block: AtomId, descendants: &[AtomId], reason: R)
    where
        R: Clone,
    {
        // The block itself last, so that it is forgotten last.
        for id in descendants.iter().copied().chain([block]) {
            if self.bad.insert(id, reason.clone()).is_none() {
                self.bad_order.push_back(id);
            }
            if self.candidates.remove(&id).is_some() {
                let offer = |(peer, head): (&PublicKey, &AtomId)| (*head == id).then_some(*peer);
                let peers: Vec<_> = self.offers.iter().filter_map(offer).collect();
                for peer in peers {
                    self.offers.remove(&peer);
                    self.note(peer, id);
                }
            }
        }
        while self.bad_order.len() > MAX_BAD_BLOCKS
            && let Some(oldest) = self.bad_order.pop_front()
        {
            self.bad.remove(&oldest);
        }
    }

    /// Why a block is bad, if it is known to be.
    #[must_use]
    pub fn bad(&self, block: &AtomId) -> Option<&R> {
        self.bad.get(block)
    }

    /// The bad blocks that are remembered, the one found last first.
    pub fn bad_blocks(&self) -> impl Iterator<Item = (&AtomId, &R)> {
        let ids = self.bad_order.iter().rev();
        ids.filter_map(|id| self.bad.get_key_value(id))
    }

    /// Who offered bad blocks.
    pub fn offenders(&self) -> impl Iterator<Item = (&PublicKey, &Offender)> {
        self.offenders.iter()
    }

    fn note(&mut self, peer: PublicKey, block: AtomId) {
        if let Some(offender) = self.offenders.get_mut(&peer) {
            if offender.block != block {
                offender.count += 1;
                offender.block = block;
            }
            return;
        }
        if self.offender_order.len() >= MAX_OFFENDERS
            && let Some(oldest) = self.offender_order.pop_front()
        {
            self.offenders.remove(&oldest);
        }
        self.offenders.insert(peer, Offender { count: 1, block });
        self.offender_order.push_back(peer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WINDOW: Window = Window {
        now: 1_000,
        max_stale_seconds: 10,
        max_future_seconds: 2,
    };

    fn id(n: u16) -> AtomId {
        let mut bytes = [7; 32];
        bytes[..2].copy_from_slice(&n.to_be_bytes());
        AtomId::new(bytes)
    }

    fn peer(n: u16) -> PublicKey {
        PublicKey::new(*id(n).as_bytes())
    }

    fn tip(n: u16, height: u64, timestamp: u64) -> Tip {
        Tip {
            id: id(n),
            height,
            timestamp,
            extends_current: false,
        }
    }

    fn chosen(current: Option<Tip>, verified: &[Tip]) -> Option<AtomId> {
        let chosen = choose(current.as_ref(), verified.iter().copied(), &WINDOW);
        chosen.map(|tip| tip.id)
    }

    #[test]
    fn the_highest_fresh_head_is_the_best_and_a_tie_changes_nothing() {
        let tips = [tip(3, 9, 995), tip(1, 8, 999), tip(2, 9, 1_002)];
        assert_eq!(chosen(None, &tips), Some(id(2)));
        assert_eq!(chosen(Some(tip(3, 9, 995)), &tips), Some(id(3)));
        assert_eq!(chosen(Some(tip(4, 9, 990)), &tips), Some(id(4)));
        // One that has stood still for too long gives way to what is alive, even if that is lower.
        assert_eq!(chosen(Some(tip(4, 20, 989)), &tips), Some(id(2)));
        assert_eq!(
            chosen(Some(tip(4, 20, 989)), &[tip(5, 30, 989)]),
            Some(id(4))
        );
        assert_eq!(chosen(None, &[]), None);
    }

    #[test]
    fn a_chain_that_stands_still_can_be_joined_and_gone_on_with_but_the_future_waits() {
        let old = tip(5, 30, 10);
        assert_eq!(chosen(None, &[old]), Some(id(5)));
        let next = Tip {
            extends_current: true,
            ..old
        };
        assert_eq!(chosen(Some(tip(4, 29, 8)), &[next]), Some(id(5)));
        assert_eq!(chosen(Some(tip(4, 29, 8)), &[old]), Some(id(4)));
        let early = Tip {
            timestamp: 1_003,
            ..next
        };
        assert_eq!(chosen(None, &[early]), None);
        assert_eq!(chosen(Some(tip(4, 29, 1_000)), &[early]), Some(id(4)));
    }

    #[test]
    fn a_peer_has_one_offer_and_what_nobody_offers_goes_unless_it_is_held() {
        let mut forks = Forks::<&str>::new();
        assert_eq!(forks.offer(peer(1), id(1)), Offer::New);
        assert_eq!(forks.offer(peer(2), id(1)), Offer::Known);
        assert_eq!(forks.offer(peer(3), id(2)), Offer::New);
        assert_eq!(forks.waiting(), [id(1), id(2)]);
        assert!(forks.hold(&id(1)));
        assert_eq!(forks.offer(peer(1), id(2)), Offer::Known);
        forks.withdraw(&peer(2));
        assert_eq!((forks.peers_of(&id(1)), forks.peers_of(&id(2))), (0, 2));
        assert_eq!((forks.len(), forks.waiting()), (2, alloc::vec![id(2)]));
        forks.release(&id(1));
        assert_eq!(forks.len(), 1);
        assert!(!forks.hold(&id(1)));
    }

    #[test]
    fn what_is_bad_stays_bad_and_who_offers_it_is_noted() {
        let mut forks = Forks::new();
        forks.offer(peer(1), id(3));
        forks.offer(peer(2), id(9));
        forks.condemn(id(1), &[id(3), id(2)], "wrong receipt");
        assert_eq!(forks.waiting(), [id(9)]);
        for bad in [1, 2, 3] {
            assert_eq!(forks.offer(peer(5), id(bad)), Offer::Bad(&"wrong receipt"));
        }
        // The same one again is the same offence.
        forks.offer(peer(5), id(3));
        let offenders: Vec<_> = forks
            .offenders()
            .map(|(key, of)| (*key, of.count))
            .collect();
        assert_eq!(offenders, [(peer(1), 1), (peer(5), 3)]);
        let first = forks.bad_blocks().next();
        assert_eq!(first, Some((&id(1), &"wrong receipt")));
    }

    #[test]
    fn a_flood_of_heads_pushes_out_the_oldest_but_nothing_that_is_followed() {
        let mut forks = Forks::<()>::new();
        forks.offer(peer(0), id(0));
        forks.hold(&id(0));
        for n in 1..1_000 {
            assert_eq!(forks.offer(peer(n), id(n)), Offer::New);
        }
        assert_eq!(forks.len(), MAX_HEADS);
        assert_eq!(forks.peers_of(&id(0)), 1);
        assert_eq!(forks.peers_of(&id(1)), 0);
        assert_eq!(forks.waiting().first(), Some(&id(999)));
        for n in 1_000..6_000 {
            forks.offer(peer(n), id(999));
            forks.condemn(id(n), &[], ());
        }
        assert_eq!(forks.offers.len(), MAX_OFFERS);
        assert_eq!(forks.bad_blocks().count(), MAX_BAD_BLOCKS);
        assert_eq!(
            (forks.bad(&id(1_000)), forks.bad(&id(5_999))),
            (None, Some(&()))
        );
        for n in 0..2_000 {
            forks.offer(peer(n), id(5_999));
        }
        assert_eq!(forks.offenders().count(), MAX_OFFENDERS);
    }

    proptest! {
        #[test]
        fn the_choice_does_not_depend_on_the_order(
            heights in proptest::collection::vec((0..4u64, 985..1_005u64), 1..8),
            at in any::<proptest::sample::Index>(), has_current: bool,
        ) {
            let tips: Vec<Tip> = (0..).zip(heights).map(|(n, (h, t))| tip(n, h, t)).collect();
            let current = has_current.then(|| tips[at.index(tips.len())]);
            let mut turned = tips.clone();
            turned.rotate_left(at.index(tips.len()));
            turned.reverse();
            prop_assert_eq!(chosen(current, &tips), chosen(current, &turned));
            // And who has chosen stays with it.
            if let Some(first) = chosen(current, &tips) {
                let first = tips.iter().find(|tip| tip.id == first).copied();
                prop_assert_eq!(chosen(first, &tips), first.map(|tip| tip.id));
            }
        }
    }
}
