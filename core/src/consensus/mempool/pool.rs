//! Transactions that wait for a block, in the order they came.
//!
//! The pool keeps order and bounds; what a transaction is, and whether it is one, has been found out
//! before it comes here. There is no market for fees: what came first goes first.
//!
//! Invariants:
//! - What is held never passes [`PoolLimits`]: transactions and bytes in all and for one sender, and
//!   the same again for those that are in recent blocks.
//! - A newcomer that there is no room for is refused; nothing that waits is pushed out by it.
//! - What one sender's waiting transactions cost at least is within the balance that it had when the
//!   last of them came, so that room is not taken by what cannot pay for it.
//! - A transaction that went into a block is kept for [`KEPT_BLOCKS`] more, and waits again, at its
//!   old place, if that block's chain is left.
//!
//! No clock, no store: time is an argument, and equal calls give equal pools.

use crate::atom::AtomId;
use crate::integer::Natural;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

/// Blocks for which a transaction that is in one is kept, in case that block's chain is left.
pub const KEPT_BLOCKS: u64 = 16;
/// A transaction that has waited this long leaves.
pub const MAX_WAIT: Duration = Duration::from_secs(3_600);

/// What a pool holds at most.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PoolLimits {
    /// Transactions that wait.
    pub transactions: usize,
    /// Bytes of those.
    pub bytes: usize,
    /// Transactions of one sender that wait.
    pub sender_transactions: usize,
    /// Bytes of those.
    pub sender_bytes: usize,
}

impl Default for PoolLimits {
    fn default() -> Self {
        Self {
            transactions: 16_384,
            bytes: 64 << 20,
            sender_transactions: 4_096,
            sender_bytes: 16 << 20,
        }
    }
}

/// A transaction as the pool sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry<T> {
    /// Its id.
    pub id: AtomId,
    /// Who pays for it.
    pub sender: [u8; 32],
    /// What it is counted as.
    pub bytes: usize,
    /// What it costs its sender at least: fee and storage.
    pub charge: Natural,
    /// The transaction.
    pub transaction: T,
}

/// Why the pool has no place for a transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NoPlace {
    /// It waits already.
    Waiting,
    /// It is in a recent block.
    Included,
    /// The pool is full.
    Full {
        /// How many transactions wait.
        transactions: usize,
        /// How many bytes they are.
        bytes: usize,
    },
    /// The sender has enough of them here.
    SenderFull {
        /// How many of the sender's transactions wait.
        transactions: usize,
        /// How many bytes they are.
        bytes: usize,
    },
    /// With what already waits, the sender could not pay.
    CannotPay {
        /// What the sender has.
        balance: Natural,
        /// What its waiting transactions and this one cost at least.
        needed: Natural,
    },
}

impl fmt::Display for NoPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting => f.write_str("it waits for a block already"),
            Self::Included => f.write_str("it is in a block already"),
            Self::Full {
                transactions,
                bytes,
            } => write!(
                f,
                "the pool is full: {transactions} transactions of {bytes} bytes wait; send it \
                 again later"
            ),
            Self::SenderFull {
                transactions,
                bytes,
            } => write!(
                f,
                "{transactions} transactions of {bytes} bytes of this sender wait already; send it \
                 again when some are in a block"
            ),
            Self::CannotPay { balance, needed } => write!(
                f,
                "the sender has {balance}; fees and storage of this transaction and of those that \
                 wait cost {needed}"
            ),
        }
    }
}

impl core::error::Error for NoPlace {}

#[derive(Clone, Copy, Debug)]
enum Place {
    Waiting(u64),
    Included(u64),
}

/// What one sender takes up.
#[derive(Clone, Default, Debug)]
struct Share {
    transactions: usize,
    bytes: usize,
    charge: Natural,
}

#[derive(Debug)]
struct Slot<T> {
    entry: Entry<T>,
    since: Duration,
}

#[derive(Debug)]
struct Included<T> {
    slot: Slot<T>,
    height: u64,
}

/// The pool. See the [module](self).
#[derive(Debug)]
pub struct Pool<T> {
    limits: PoolLimits,
    arrivals: u64,
    places: BTreeMap<AtomId, Place>,
    waiting: BTreeMap<u64, Slot<T>>,
    waiting_bytes: usize,
    senders: BTreeMap<[u8; 32], Share>,
    included: BTreeMap<u64, Included<T>>,
    included_bytes: usize,
}

impl<T> Pool<T> {
    /// An empty pool.
    #[must_use]
    pub const fn new(limits: PoolLimits) -> Self {
        Self {
            limits,
            arrivals: 0,
            places: BTreeMap::new(),
            waiting: BTreeMap::new(),
            waiting_bytes: 0,
            senders: BTreeMap::new(),
            included: BTreeMap::new(),
            included_bytes: 0,
        }
    }

    /// How many transactions wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The bytes of what waits.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// How many transactions of recent blocks are kept.
    #[must_use]
    pub fn included(&self) -> usize {
        self.included.len()
    }

    /// What waits, in the order of arrival.
    pub fn iter(&self) -> impl Iterator<Item = &Entry<T>> {
        self.waiting.values().map(|slot| &slot.entry)
    }

    /// Why a transaction with this id would be refused whatever it holds.
    #[must_use]
    pub fn known(&self, id: &AtomId) -> Option<NoPlace> {
        Some(match self.places.get(id)? {
            Place::Waiting(_) => NoPlace::Waiting,
            Place::Included(_) => NoPlace::Included,
        })
    }

    /// Whether there is room for so many bytes of this sender: what can be asked before anything
    /// else is found out.
    ///
    /// # Errors
    /// Where there is none.
    pub fn check_room(&self, sender: &[u8; 32], bytes: usize) -> Result<(), NoPlace> {
        let limits = &self.limits;
        if self.waiting.len() >= limits.transactions || self.waiting_bytes + bytes > limits.bytes {
            return Err(NoPlace::Full {
                transactions: self.waiting.len(),
                bytes: self.waiting_bytes,
            });
        }
        let share = self.senders.get(sender).filter(|share| {
            share.transactions >= limits.sender_transactions
                || share.bytes + bytes > limits.sender_bytes
        });
        share.map_or(Ok(()), |share| {
            Err(NoPlace::SenderFull {
                transactions: share.transactions,
                bytes: share.bytes,
            })
        })
    }

    /// Takes a transaction whose sender has `balance`.
    ///
    /// # Errors
    /// When it is here already, there is no room, or the sender could not pay for all that waits.
    pub fn insert(
        &mut self,
        now: Duration,
        entry: Entry<T>,
        balance: &Natural,
    ) -> Result<(), NoPlace> {
        if let Some(known) = self.known(&entry.id) {
            return Err(known);
        }
        self.check_room(&entry.sender, entry.bytes)?;
        let waiting = self.senders.get(&entry.sender);
        let needed = match waiting {
            Some(share) => &share.charge + &entry.charge,
            None => entry.charge.clone(),
        };
        if needed > *balance {
            return Err(NoPlace::CannotPay {
                balance: balance.clone(),
                needed,
            });
        }
        let arrival = self.arrivals;
        self.arrivals += 1;
        self.wait(arrival, Slot { entry, since: now });
        Ok(())
    }

    /// Takes note that these are in the block of this height; ids that are not here are skipped.
    pub fn include<'a>(&mut self, ids: impl IntoIterator<Item = &'a AtomId>, height: u64) {
        for id in ids {
            match self.places.get(id) {
                Some(&Place::Waiting(arrival)) => {
                    if let Some(slot) = self.leave(arrival) {
                        self.keep(arrival, Included { slot, height });
                    }
                }
                Some(Place::Included(arrival)) => {
                    if let Some(included) = self.included.get_mut(arrival) {
                        included.height = height;
                    }
                }
                None => {}
            }
        }
        let oldest = height.saturating_sub(KEPT_BLOCKS);
        self.forget_where(|included| included.height < oldest);
        while self.included.len() > self.limits.transactions
            || self.included_bytes > self.limits.bytes
        {
            let Some(first) = self.included.first_key_value().map(|(arrival, _)| *arrival) else {
                break;
            };
            self.forget(first);
        }
    }

    /// Lets what is in blocks above `height` wait again, at its old place: those blocks were left.
    /// What there is no room for goes.
    pub fn give_back(&mut self, height: u64) {
        let arrivals: Vec<u64> = self
            .included
            .iter()
            .filter(|(_, included)| included.height > height)
            .map(|(arrival, _)| *arrival)
            .collect();
        for arrival in arrivals {
            if let Some(Included { slot, .. }) = self.forget(arrival) {
                let entry = &slot.entry;
                if self.check_room(&entry.sender, entry.bytes).is_ok() {
                    self.wait(arrival, slot);
                }
            }
        }
    }

    /// Drops a transaction that waits; `false` if there is none with this id.
    pub fn remove(&mut self, id: &AtomId) -> bool {
        match self.places.get(id) {
            Some(&Place::Waiting(arrival)) => self.leave(arrival).is_some(),
            _ => false,
        }
    }

    /// Drops what has waited for [`MAX_WAIT`]; gives how many those were.
    pub fn expire(&mut self, now: Duration) -> usize {
        let old: Vec<u64> = self
            .waiting
            .iter()
            .filter(|(_, slot)| now.saturating_sub(slot.since) >= MAX_WAIT)
            .map(|(arrival, _)| *arrival)
            .collect();
        old.into_iter()
            .filter(|arrival| self.leave(*arrival).is_some())
            .count()
    }

    fn wait(&mut self, arrival: u64, slot: Slot<T>) {
        let entry = &slot.entry;
        let share = self.senders.entry(entry.sender).or_default();
        share.transactions += 1;
        share.bytes += entry.bytes;
        share.charge = &share.charge + &entry.charge;
        self.waiting_bytes += entry.bytes;
        self.places.insert(entry.id, Place::Waiting(arrival));
        self.waiting.insert(arrival, slot);
    }

    fn leave(&mut self, arrival: u64) -> Option<Slot<T>> {
        let slot = self.waiting.remove(&arrival)?;
        let entry = &slot.entry;
        self.places.remove(&entry.id);
        self.waiting_bytes -= entry.bytes;
        if let Some(share) = self.senders.get_mut(&entry.sender) {
            share.transactions -= 1;
            share.bytes -= entry.bytes;
            // It was added when the entry came.
            share.charge = share.charge.checked_sub(&entry.charge).unwrap_or_default();
            if share.transactions == 0 {
                self.senders.remove(&entry.sender);
            }
        }
        Some(slot)
    }

    fn keep(&mut self, arrival: u64, included: Included<T>) {
        let entry = &included.slot.entry;
        self.included_bytes += entry.bytes;
        self.places.insert(entry.id, Place::Included(arrival));
        self.included.insert(arrival, included);
    }

    fn forget(&mut self, arrival: u64) -> Option<Included<T>> {
        let included = self.included.remove(&arrival)?;
        let entry = &included.slot.entry;
        self.places.remove(&entry.id);
        self.included_bytes -= entry.bytes;
        Some(included)
    }

    fn forget_where(&mut self, is_old: impl Fn(&Included<T>) -> bool) {
        let old: Vec<u64> = self
            .included
            .iter()
            .filter(|(_, included)| is_old(included))
            .map(|(arrival, _)| *arrival)
            .collect();
        for arrival in old {
            self.forget(arrival);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    const SMALL: PoolLimits = PoolLimits {
        transactions: 8,
        bytes: 100,
        sender_transactions: 4,
        sender_bytes: 60,
    };

    fn id(number: u8) -> AtomId {
        AtomId::new([number; 32])
    }

    fn entry(number: u8, sender: u8, bytes: usize, charge: u64) -> Entry<u8> {
        Entry {
            id: id(number),
            sender: [sender; 32],
            bytes,
            charge: charge.into(),
            transaction: number,
        }
    }

    fn order(pool: &Pool<u8>) -> Vec<u8> {
        pool.iter().map(|entry| entry.transaction).collect()
    }

    fn insert(pool: &mut Pool<u8>, entry: Entry<u8>, balance: u64) -> Result<(), NoPlace> {
        pool.insert(Duration::ZERO, entry, &balance.into())
    }

    #[test]
    fn order_is_arrival_order_whatever_the_ids_and_charges() {
        let mut pool = Pool::new(SMALL);
        for (number, charge) in [(9, 1), (3, 50), (7, 2)] {
            insert(&mut pool, entry(number, number, 1, charge), 50).unwrap();
        }
        assert_eq!(order(&pool), [9, 3, 7]);
    }

    #[test]
    fn each_refusal_has_its_reason() {
        let mut pool = Pool::new(SMALL);
        insert(&mut pool, entry(1, 1, 10, 5), 5).unwrap();
        let again = insert(&mut pool, entry(1, 1, 10, 5), 500);
        assert_eq!(again, Err(NoPlace::Waiting));
        let poor = insert(&mut pool, entry(2, 1, 10, 5), 9);
        let (balance, needed) = (9_u64.into(), 10_u64.into());
        assert_eq!(poor, Err(NoPlace::CannotPay { balance, needed }));
        for number in 2..=4 {
            insert(&mut pool, entry(number, 1, 10, 0), 5).unwrap();
        }
        let fifth = insert(&mut pool, entry(5, 1, 1, 0), 5);
        let sender_full = NoPlace::SenderFull {
            transactions: 4,
            bytes: 40,
        };
        assert_eq!(fifth, Err(sender_full));
        insert(&mut pool, entry(6, 2, 60, 0), 0).unwrap();
        let full = insert(&mut pool, entry(7, 3, 1, 0), 0);
        let (transactions, bytes) = (5, 100);
        assert_eq!(
            full,
            Err(NoPlace::Full {
                transactions,
                bytes
            })
        );
        pool.include(&[id(1)], 7);
        let included = insert(&mut pool, entry(1, 1, 10, 5), 500);
        assert_eq!(included, Err(NoPlace::Included));
    }

    #[test]
    fn what_a_left_block_held_waits_again_at_its_old_place() {
        let mut pool = Pool::new(SMALL);
        for number in 1..=4 {
            insert(&mut pool, entry(number, number, 1, 1), 1).unwrap();
        }
        pool.include(&[id(1)], 10);
        pool.include(&[id(3), id(99)], 11);
        assert_eq!((order(&pool), pool.included()), (vec![2, 4], 2));
        pool.give_back(10);
        assert_eq!((order(&pool), pool.included()), (vec![2, 3, 4], 1));
        pool.give_back(0);
        assert_eq!(order(&pool), [1, 2, 3, 4]);
        pool.include(&[id(2)], 20);
        pool.include(&[], 20 + KEPT_BLOCKS);
        assert_eq!(pool.included(), 1);
        pool.include(&[], 21 + KEPT_BLOCKS);
        assert_eq!((pool.included(), pool.known(&id(2))), (0, None));
    }

    #[test]
    fn what_has_waited_too_long_leaves() {
        let mut pool = Pool::new(SMALL);
        let at = Duration::from_secs;
        pool.insert(at(5), entry(1, 1, 1, 1), &1_u64.into())
            .unwrap();
        pool.insert(at(9), entry(2, 1, 1, 0), &1_u64.into())
            .unwrap();
        assert_eq!(pool.expire(at(4) + MAX_WAIT), 0);
        assert_eq!(pool.expire(at(5) + MAX_WAIT), 1);
        assert_eq!(order(&pool), [2]);
        // Its charge left with it.
        pool.insert(at(9), entry(1, 1, 1, 1), &1_u64.into())
            .unwrap();
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert {
            number: u8,
            sender: u8,
            bytes: usize,
            charge: u64,
            balance: u64,
        },
        Include(Vec<u8>, u64),
        GiveBack(u64),
        Remove(u8),
        Expire(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let numbers = proptest::collection::vec(0..24u8, 0..4);
        prop_oneof![
            6 => (0..24u8, 0..4u8, 0..40usize, 0..9u64, 0..30u64).prop_map(
                |(number, sender, bytes, charge, balance)| Step::Insert {
                    number, sender, bytes, charge, balance,
                },
            ),
            2 => (numbers, 0..40u64).prop_map(|(ids, height)| Step::Include(ids, height)),
            1 => (0..40u64).prop_map(Step::GiveBack),
            1 => (0..24u8).prop_map(Step::Remove),
            1 => (0..4_000u64).prop_map(Step::Expire),
        ]
    }

    /// Everything that is counted, counted again.
    fn check(pool: &Pool<u8>) -> Result<(), TestCaseError> {
        prop_assert!(pool.len() <= SMALL.transactions && pool.bytes() <= SMALL.bytes);
        prop_assert!(pool.included() <= SMALL.transactions);
        prop_assert!(pool.included_bytes <= SMALL.bytes);
        prop_assert_eq!(
            pool.iter().map(|entry| entry.bytes).sum::<usize>(),
            pool.bytes()
        );
        let included = pool.included.values().map(|one| one.slot.entry.bytes);
        prop_assert_eq!(included.sum::<usize>(), pool.included_bytes);
        prop_assert_eq!(pool.places.len(), pool.len() + pool.included());
        let mut senders: BTreeMap<[u8; 32], (usize, usize, u64)> = BTreeMap::new();
        for entry in pool.iter() {
            prop_assert_eq!(pool.known(&entry.id), Some(NoPlace::Waiting));
            let share = senders.entry(entry.sender).or_default();
            share.0 += 1;
            share.1 += entry.bytes;
            share.2 += entry.charge.to_u64().unwrap();
        }
        prop_assert_eq!(senders.len(), pool.senders.len());
        for (sender, (transactions, bytes, charge)) in senders {
            let share = &pool.senders[&sender];
            prop_assert_eq!((share.transactions, share.bytes), (transactions, bytes));
            prop_assert_eq!(share.charge.to_u64(), Some(charge));
            prop_assert!(transactions <= SMALL.sender_transactions);
            prop_assert!(bytes <= SMALL.sender_bytes);
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn bounds_order_and_accounts_hold_whatever_happens(
            steps in proptest::collection::vec(step(), 0..120),
        ) {
            let mut pool = Pool::new(SMALL);
            // By id: when it came, as the model has it. Never reused while the pool knows the id.
            let mut came: BTreeMap<AtomId, usize> = BTreeMap::new();
            for (at, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Insert { number, sender, bytes, charge, balance } => {
                        let known = pool.known(&id(number));
                        let taken = insert(&mut pool, entry(number, sender, bytes, charge), balance);
                        prop_assert!(known.is_none() || taken.is_err());
                        if taken.is_ok() {
                            prop_assert!(charge <= balance);
                            came.insert(id(number), at);
                        }
                    }
                    Step::Include(numbers, height) => {
                        let ids: Vec<AtomId> = numbers.into_iter().map(id).collect();
                        pool.include(&ids, height);
                    }
                    Step::GiveBack(height) => pool.give_back(height),
                    Step::Remove(number) => {
                        let waited = pool.known(&id(number)) == Some(NoPlace::Waiting);
                        prop_assert_eq!(pool.remove(&id(number)), waited);
                    }
                    Step::Expire(now) => {
                        pool.expire(Duration::from_secs(now));
                    }
                }
                check(&pool)?;
                let order: Vec<usize> = pool.iter().map(|entry| came[&entry.id]).collect();
                prop_assert!(order.is_sorted(), "{:?}", order);
            }
        }
    }
}
