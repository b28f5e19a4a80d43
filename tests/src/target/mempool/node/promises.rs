//! Promises that hold after each call of a mempool.

use super::super::world::BALANCE;
use super::Node;
use astreum_core::atom::AtomId;
use astreum_core::consensus::Head;
use astreum_core::consensus::mempool::Mempool;
use astreum_core::consensus::mempool::announcements::{ANSWER_TIME, MAX_FETCHING, MAX_LINGERING};
use astreum_core::consensus::mempool::pool::{EntryState, WAITING_PART};
use astreum_core::consensus::mempool::waiting::MAX_FETCHES;
use astreum_core::integer::Natural;
use std::collections::{BTreeMap, BTreeSet};

/// Small fetches without an answer that are younger than [`ANSWER_TIME`]: those that hold a place,
/// those that linger and are requested again, and one of a walk along an abandoned branch.
const MAX_RECENT_FETCHES: usize = MAX_FETCHING + MAX_LINGERING + 1;

/// Transactions of the mempool at one time.
#[derive(Default)]
pub(super) struct Snapshot {
    pub(super) ready: BTreeSet<AtomId>,
    pub(super) waiting: BTreeSet<AtomId>,
}

impl Snapshot {
    pub(super) fn of(mempool: &Mempool) -> Self {
        let pool = mempool.pool();
        Self {
            ready: pool.ready().map(|held| held.entry.id).collect(),
            waiting: pool.waiting().map(|held| held.entry.id).collect(),
        }
    }
}

impl Node {
    /// Checks the promises after a call.
    pub(super) fn check(&self) {
        let (pool, limits) = (self.host.component.pool(), &self.config.limits);
        let (ready, waiting) = (pool.ready_count(), pool.waiting_count());
        assert!(ready.transactions + waiting.transactions <= limits.transactions);
        assert!(ready.bytes + waiting.bytes <= limits.bytes);
        assert!(waiting.transactions <= limits.transactions / WAITING_PART);
        assert!(waiting.bytes <= limits.bytes / WAITING_PART);
        let included = pool.included_count();
        assert!(included.transactions <= limits.transactions && included.bytes <= limits.bytes);
        let bytes: usize = pool.ready().map(|held| held.entry.bytes).sum();
        assert_eq!(
            (pool.ready().count(), bytes),
            (ready.transactions, ready.bytes)
        );
        let bytes: usize = pool.waiting().map(|held| held.entry.bytes).sum();
        assert_eq!(
            (pool.waiting().count(), bytes),
            (waiting.transactions, waiting.bytes)
        );
        let mut shares: BTreeMap<[u8; 32], (usize, usize, usize, Natural)> = BTreeMap::new();
        for held in pool.pending() {
            let entry = &held.entry;
            let share = shares.entry(entry.sender).or_default();
            match held.state() {
                EntryState::Waiting(_) => share.1 += 1,
                _ => share.0 += 1,
            }
            share.2 += entry.bytes;
            share.3 = &share.3 + &entry.charge;
            if self.signed.borrow_mut().insert(entry.id) {
                let signature = entry.transaction.verify_signature();
                assert!(signature.is_ok(), "{}: {signature:?}", entry.id);
            }
        }
        for (ready, waiting, bytes, charge) in shares.values() {
            assert!(*ready <= limits.sender_ready + limits.sender_waiting);
            assert!(*waiting <= limits.sender_waiting && *bytes <= limits.sender_bytes);
            assert!(*charge <= BALANCE, "the balance does not cover {charge}");
        }
        assert!(
            self.lists.len() <= MAX_FETCHES,
            "{} lists",
            self.lists.len()
        );
        let asked = self.small.values().flat_map(|(_, asked)| asked);
        let recent = asked
            .filter(|at| self.host.instant().since(**at) < ANSWER_TIME)
            .count();
        assert!(
            recent <= MAX_RECENT_FETCHES,
            "{recent} fetches without an answer"
        );
        for id in self.before.ready.iter().chain(&self.before.waiting) {
            let is_pending = pool.get(id).is_some();
            assert!(
                is_pending || self.ended.contains(id) || self.is_in_chain(id),
                "{id} vanished"
            );
        }
    }

    /// Returns whether the branch of the head contains a transaction.
    pub(super) fn is_in_chain(&self, id: &AtomId) -> bool {
        let head = self.host.context.head().map(Head::id);
        head.is_some_and(|head| self.world.includes(head, id))
    }
}
