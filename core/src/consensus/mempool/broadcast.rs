//! Announcements to validators: of this node's own transactions, repeated until they are included,
//! and of the whole mempool to validators that connect.
//!
//! A datagram can be lost, and a validator that joins later has not received it. So a transaction
//! of a local user is announced again every [`REPEAT_BLOCKS`] blocks, or after [`REPEAT_TIME`] if
//! the chain stands still.
//!
//! Invariant: at most [`PER_TURN`] announcements are made in [`TURN_TIME`], and memory is bounded.

use crate::atom::AtomId;
use crate::crypto::PublicKey;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

/// Number of blocks after which an own transaction is announced again.
pub(super) const REPEAT_BLOCKS: u64 = 4;
/// Time after which an own transaction is announced again if no blocks arrive.
pub(super) const REPEAT_TIME: Duration = Duration::from_secs(30);
/// Maximum number of announcements in one turn.
pub(super) const PER_TURN: usize = 32;
/// Interval between two turns.
pub(super) const TURN_TIME: Duration = Duration::from_millis(250);
/// Maximum number of transactions offered to a validator that connects.
pub(super) const MAX_OFFERED: usize = 4_096;
/// Maximum number of validators remembered as having been offered the mempool. If full, the one
/// seen first is forgotten.
pub(super) const MAX_VALIDATORS: usize = 1_024;
/// Maximum number of validators to which the mempool is being offered at one time.
pub(super) const MAX_OFFERS: usize = 16;

/// Own transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Own {
    /// Number of validators that the last announcement went to; `None` before the first.
    validators: Option<usize>,
    /// Height of the head at the last announcement.
    height: u64,
    /// Time at which it is announced again at the latest.
    due: Duration,
}

/// Announcement to make.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Announcement {
    /// An own transaction, to all validators.
    Own(AtomId),
    /// A transaction of the mempool, to a validator that has connected.
    Offer(AtomId, PublicKey),
}

/// Announcements to validators. See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Broadcast {
    own: BTreeMap<AtomId, Own>,
    /// Own transactions in the order in which they are announced.
    order: VecDeque<AtomId>,
    validators: BTreeMap<PublicKey, ()>,
    validators_order: VecDeque<PublicKey>,
    offers: VecDeque<(PublicKey, Vec<AtomId>)>,
    next_turn: Duration,
    /// Time of the next check of the own transactions; `None` if there are none.
    next_own: Option<Duration>,
    height: u64,
}

impl Broadcast {
    /// Adds an own transaction, to be announced at once.
    pub(super) fn add(&mut self, now: Duration, id: AtomId) {
        let own = Own {
            validators: None,
            height: self.height,
            due: now,
        };
        if self.own.insert(id, own).is_none() {
            self.order.push_back(id);
        }
        self.next_own = Some(now);
    }

    /// Forgets a transaction.
    pub(super) fn remove(&mut self, id: &AtomId) {
        if self.own.remove(id).is_some() {
            self.order.retain(|other| other != id);
        }
        if self.own.is_empty() {
            self.next_own = None;
        }
    }

    /// Records the number of validators that an announcement went to.
    pub(super) fn announced(&mut self, id: &AtomId, validators: usize) {
        if let Some(own) = self.own.get_mut(id) {
            own.validators = Some(validators);
        }
    }

    /// Records that a transaction was announced to a validator. Returns whether it is an own
    /// transaction and this is the first validator it reached.
    pub(super) fn offered(&mut self, id: &AtomId) -> bool {
        let own = self.own.get_mut(id);
        let own = own.filter(|own| own.validators.is_none_or(|count| count == 0));
        own.is_some_and(|own| {
            own.validators = Some(1);
            true
        })
    }

    /// Returns the number of validators that the last announcement of an own transaction went to.
    pub(super) fn validators(&self, id: &AtomId) -> Option<usize> {
        self.own.get(id)?.validators
    }

    /// Records the height of the head.
    pub(super) fn set_height(&mut self, height: u64) {
        self.height = height;
        self.next_own = (!self.own.is_empty()).then_some(Duration::ZERO);
    }

    /// Records a validator among the peers. Returns whether the mempool must be offered to it.
    pub(super) fn add_validator(&mut self, peer: PublicKey) -> bool {
        if self.validators.contains_key(&peer) || self.offers.len() >= MAX_OFFERS {
            return false;
        }
        self.validators.insert(peer, ());
        self.validators_order.push_back(peer);
        if self.validators_order.len() > MAX_VALIDATORS
            && let Some(oldest) = self.validators_order.pop_front()
        {
            self.validators.remove(&oldest);
        }
        true
    }

    /// Offers these transactions to a validator, in this order.
    pub(super) fn offer(&mut self, peer: PublicKey, mut ids: Vec<AtomId>) {
        ids.truncate(MAX_OFFERED);
        ids.reverse();
        if !ids.is_empty() {
            self.offers.push_back((peer, ids));
        }
    }

    /// Forgets a peer; it is offered the mempool again if it returns.
    pub(super) fn forget(&mut self, peer: &PublicKey) {
        if self.validators.remove(peer).is_some() {
            self.validators_order.retain(|other| other != peer);
            self.offers.retain(|(other, _)| other != peer);
        }
    }

    /// Returns the announcements that are due.
    pub(super) fn due(&mut self, now: Duration) -> Vec<Announcement> {
        let mut due = Vec::new();
        if self.next_turn > now {
            return due;
        }
        if self.next_own.is_some_and(|next| next <= now) {
            self.announce_own(now, &mut due);
        }
        while due.len() < PER_TURN {
            let Some((peer, mut ids)) = self.offers.pop_front() else {
                break;
            };
            due.extend(ids.pop().map(|id| Announcement::Offer(id, peer)));
            if !ids.is_empty() {
                self.offers.push_back((peer, ids));
            }
        }
        if !due.is_empty() {
            self.next_turn = now.saturating_add(TURN_TIME);
        }
        due
    }

    /// Returns when [`Broadcast::due`] has announcements next.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let offers = (!self.offers.is_empty()).then_some(Duration::ZERO);
        let first = self.next_own.into_iter().chain(offers).min()?;
        Some(first.max(self.next_turn))
    }

    fn announce_own(&mut self, now: Duration, due: &mut Vec<Announcement>) {
        let height = self.height;
        let mut next = None;
        for _ in 0..self.order.len() {
            let Some(id) = self.order.pop_front() else {
                break;
            };
            let Some(own) = self.own.get_mut(&id) else {
                continue;
            };
            if !own.is_due(now, height) {
                next = Some(next.map_or(own.due, |next: Duration| next.min(own.due)));
                self.order.push_back(id);
            } else if due.len() < PER_TURN {
                own.height = height;
                own.due = now.saturating_add(REPEAT_TIME);
                next = Some(next.map_or(own.due, |next: Duration| next.min(own.due)));
                due.push(Announcement::Own(id));
                self.order.push_back(id);
            } else {
                // Left for the next turn.
                next = Some(now);
                self.order.push_front(id);
                break;
            }
        }
        self.next_own = next;
    }
}

impl Own {
    fn is_due(&self, now: Duration, height: u64) -> bool {
        // The height can also decrease, in a reorganization.
        self.due <= now || height.abs_diff(self.height) >= REPEAT_BLOCKS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> AtomId {
        AtomId::new([number; 32])
    }

    fn peer(number: u8) -> PublicKey {
        PublicKey::new([number; 32])
    }

    const NOW: Duration = Duration::from_secs(1_000);

    #[test]
    fn reannounces_own_transactions_every_few_blocks_until_they_are_removed() {
        let mut broadcast = Broadcast::default();
        broadcast.set_height(10);
        broadcast.add(NOW, id(1));
        assert_eq!(broadcast.due(NOW), [Announcement::Own(id(1))]);
        assert_eq!(broadcast.validators(&id(1)), None);
        broadcast.announced(&id(1), 0);
        assert_eq!(broadcast.validators(&id(1)), Some(0));
        broadcast.set_height(10 + REPEAT_BLOCKS - 1);
        let later = NOW + TURN_TIME;
        assert!(broadcast.due(later).is_empty());
        assert_eq!(broadcast.deadline(), Some(NOW + REPEAT_TIME));
        broadcast.set_height(10 + REPEAT_BLOCKS);
        assert_eq!(broadcast.deadline(), Some(NOW + TURN_TIME));
        assert_eq!(broadcast.due(later), [Announcement::Own(id(1))]);
        // No further blocks arrive.
        let later = later + REPEAT_TIME;
        assert_eq!(broadcast.due(later), [Announcement::Own(id(1))]);
        broadcast.remove(&id(1));
        assert!(broadcast.due(later + REPEAT_TIME).is_empty());
        assert_eq!(broadcast.deadline(), None);
    }

    #[test]
    fn offers_the_mempool_once_per_connection_of_a_validator() {
        let mut broadcast = Broadcast::default();
        assert!(broadcast.add_validator(peer(1)));
        broadcast.offer(peer(1), [id(1), id(2)].into());
        assert!(!broadcast.add_validator(peer(1)));
        let offers = [1, 2].map(|number| Announcement::Offer(id(number), peer(1)));
        assert_eq!(broadcast.due(NOW), offers);
        assert_eq!(broadcast.deadline(), None);
        broadcast.forget(&peer(1));
        assert!(broadcast.add_validator(peer(1)));
    }

    #[test]
    fn offers_to_a_disconnected_validator_are_dropped() {
        let mut broadcast = Broadcast::default();
        for number in 1..=3 {
            assert!(broadcast.add_validator(peer(number)));
            broadcast.offer(peer(number), [id(number)].into());
        }
        broadcast.forget(&peer(2));
        assert_eq!(broadcast.validators_order, [peer(1), peer(3)]);
        let offers = [1, 3].map(|number| Announcement::Offer(id(number), peer(number)));
        assert_eq!(broadcast.due(NOW), offers);
        assert!(!broadcast.add_validator(peer(1)) && !broadcast.add_validator(peer(3)));
        // Forgetting an unknown one has no effect.
        broadcast.forget(&peer(9));
        assert_eq!(broadcast.validators_order.len(), 2);
    }

    #[test]
    fn counts_the_first_validator_that_is_offered_an_own_transaction() {
        let mut broadcast = Broadcast::default();
        for number in 1..=3 {
            broadcast.add(NOW, id(number));
        }
        broadcast.announced(&id(2), 0);
        broadcast.announced(&id(3), 2);
        assert!(broadcast.offered(&id(1)) && broadcast.offered(&id(2)));
        for (number, validators) in [(1, 1), (2, 1), (3, 2)] {
            assert!(!broadcast.offered(&id(number)), "{number}");
            assert_eq!(broadcast.validators(&id(number)), Some(validators));
        }
        assert!(!broadcast.offered(&id(4)), "it is not an own transaction");
    }

    #[test]
    fn announcements_are_paced_and_validators_take_turns() {
        let mut broadcast = Broadcast::default();
        for number in 1..=2 {
            assert!(broadcast.add_validator(peer(number)));
            broadcast.offer(peer(number), (0..100).map(id).collect());
        }
        let mut now = NOW;
        let mut made = Vec::new();
        for _ in 0..5 {
            let due = broadcast.due(now);
            assert!(due.len() <= PER_TURN && broadcast.due(now).is_empty());
            made.extend(due);
            assert_eq!(broadcast.deadline(), Some(now + TURN_TIME));
            now += TURN_TIME;
        }
        let to = |peer| {
            let is_to =
                move |one: &&Announcement| matches!(one, Announcement::Offer(_, to) if *to == peer);
            made.iter().filter(is_to).count()
        };
        assert_eq!((to(peer(1)), to(peer(2))), (80, 80));
    }

    #[test]
    fn number_of_remembered_validators_is_bounded() {
        let mut broadcast = Broadcast::default();
        for number in 0..3_000_u32 {
            let mut key = [7; 32];
            key[..4].copy_from_slice(&number.to_be_bytes());
            if broadcast.add_validator(PublicKey::new(key)) {
                broadcast.offer(PublicKey::new(key), (0..2).map(id).collect());
            } else {
                // It is met again later.
                assert_eq!(broadcast.offers.len(), MAX_OFFERS);
                broadcast.offers.clear();
            }
        }
        assert_eq!(broadcast.validators.len(), MAX_VALIDATORS);
        assert_eq!(broadcast.validators_order.len(), MAX_VALIDATORS);
    }
}
