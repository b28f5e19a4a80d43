//! Transactions held by the mempool, within bounds.
//!
//! A transaction is *ready* (it can be applied, as far as is known) or *waiting* for data that it
//! needs: a list that it refers to, or an atom of the state. After inclusion in a block it is kept for
//! [`KEPT_BLOCKS`] more, in case that block's branch is abandoned. The pool does not look into
//! transactions: they are validated before they are inserted. There is no fee market: senders take
//! turns, and each sender's transactions keep their order of arrival.
//!
//! Invariants:
//! - Held transactions never exceed [`PoolLimits`], nor do the included ones, which are counted
//!   apart.
//! - Waiting transactions take at most a quarter of the limits, and yield to ready ones: a ready
//!   transaction that finds no room replaces the waiting ones that arrived last.
//! - A ready transaction is never displaced.
//! - The minimum cost of one sender's transactions is within the balance that it had when the last
//!   of them arrived, so that transactions that cannot be paid for do not take up room.

use super::turns::{Sender, Turn, Turns};
use crate::atom::AtomId;
use crate::integer::Natural;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

/// Number of blocks for which an included transaction is kept, in case its block's branch is
/// abandoned.
pub const KEPT_BLOCKS: u64 = 16;
/// Time after which a transaction that is not included expires.
pub const MAX_AGE: Duration = Duration::from_secs(3_600);
/// Divisor of each limit that gives the limit of the waiting transactions.
pub const WAITING_PART: usize = 4;

/// Limits of a mempool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PoolLimits {
    /// Maximum number of transactions, ready or waiting.
    pub transactions: usize,
    /// Maximum size of these transactions, in bytes.
    pub bytes: usize,
    /// Maximum number of ready transactions of one sender. Waiting transactions that become ready
    /// may exceed it by [`PoolLimits::sender_waiting`].
    pub sender_ready: usize,
    /// Maximum number of waiting transactions of one sender.
    pub sender_waiting: usize,
    /// Maximum size of one sender's transactions, in bytes.
    pub sender_bytes: usize,
}

impl Default for PoolLimits {
    fn default() -> Self {
        Self {
            transactions: 16_384,
            bytes: 64 << 20,
            sender_ready: 1_024,
            sender_waiting: 64,
            sender_bytes: 16 << 20,
        }
    }
}

/// Transaction as the pool sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry<T> {
    /// Transaction id.
    pub id: AtomId,
    /// Account that pays for it.
    pub sender: [u8; 32],
    /// Size that is counted for it, in bytes.
    pub bytes: usize,
    /// Minimum cost for its sender: fee and storage.
    pub charge: Natural,
    /// The transaction.
    pub transaction: T,
}

/// Reason the pool does not have room for a transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PoolError {
    /// It is already in the pool.
    Held,
    /// It is in a recent block.
    Included,
    /// The pool is full.
    Full {
        /// Number of transactions in the pool.
        transactions: usize,
        /// Their size, in bytes.
        bytes: usize,
    },
    /// The part of the pool for waiting transactions is full.
    WaitingFull {
        /// Number of waiting transactions.
        transactions: usize,
        /// Their size, in bytes.
        bytes: usize,
    },
    /// The sender's share is used up.
    SenderFull {
        /// Number of transactions of the sender.
        transactions: usize,
        /// Their size, in bytes.
        bytes: usize,
    },
    /// The sender's share of waiting transactions is used up.
    SenderWaitingFull {
        /// Number of waiting transactions of the sender.
        transactions: usize,
    },
    /// The sender could not pay for it in addition to its transactions in the pool.
    Unpayable {
        /// The sender's balance.
        balance: Natural,
        /// Minimum cost of its transactions including this one.
        needed: Natural,
    },
}

impl fmt::Display for PoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held => f.write_str("already in the mempool"),
            Self::Included => f.write_str("already in a block"),
            Self::Full {
                transactions,
                bytes,
            } => write!(
                f,
                "the mempool is full ({transactions} transactions, {bytes} bytes): send it again \
                 later"
            ),
            Self::WaitingFull {
                transactions,
                bytes,
            } => write!(
                f,
                "too many transactions are waiting for data ({transactions} transactions, {bytes} \
                 bytes): store the list that it refers to on this node first, or send it again \
                 later"
            ),
            Self::SenderFull {
                transactions,
                bytes,
            } => write!(
                f,
                "the sender already has {transactions} transactions ({bytes} bytes) in the \
                 mempool: send it again when some are included"
            ),
            Self::SenderWaitingFull { transactions } => write!(
                f,
                "{transactions} transactions of the sender are already waiting for data: store the \
                 lists that they refer to first"
            ),
            Self::Unpayable { balance, needed } => write!(
                f,
                "insufficient balance: the sender has {balance}, and its transactions in the \
                 mempool and this one need {needed} for fees and storage"
            ),
        }
    }
}

impl core::error::Error for PoolError {}

/// Circumstances under which a transaction enters the pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arrival {
    /// Expiry time, on the clock that the pool is called with.
    pub expires: Duration,
    /// `true` if a local user sent it.
    pub is_own: bool,
    /// Data that it waits for; `None` if it is ready.
    pub waits_for: Option<AtomId>,
    /// `true` if it was in a block whose branch was abandoned: it goes to the front.
    pub is_returned: bool,
}

/// State of a held transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EntryState {
    /// It can be applied.
    Ready,
    /// It waits for this list or atom.
    Waiting(AtomId),
    /// It is in a block.
    Included {
        /// The block.
        block: AtomId,
        /// The block's height.
        height: u64,
    },
}

#[derive(Clone, Copy, Debug)]
enum Slot {
    Ready(Turn),
    Waiting(AtomId),
    Included { block: AtomId, height: u64 },
}

/// Held transaction.
#[derive(Debug)]
pub struct Held<T> {
    /// The transaction.
    pub entry: Entry<T>,
    /// Expiry time.
    pub expires: Duration,
    /// `true` if a local user sent it.
    pub is_own: bool,
    /// Size in the saved mempool, in bytes.
    pub saved_bytes: usize,
    arrival: i64,
    slot: Slot,
}

impl<T> Held<T> {
    /// Returns its state.
    #[must_use]
    pub const fn state(&self) -> EntryState {
        match self.slot {
            Slot::Ready(_) => EntryState::Ready,
            Slot::Waiting(data) => EntryState::Waiting(data),
            Slot::Included { block, height } => EntryState::Included { block, height },
        }
    }
}

/// Usage of the pool by one sender.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
struct Share {
    ready: usize,
    waiting: usize,
    bytes: usize,
    charge: Natural,
}

/// Number and size of transactions.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Count {
    /// Number of transactions.
    pub transactions: usize,
    /// Their size, in bytes.
    pub bytes: usize,
}

impl Count {
    const fn add(&mut self, bytes: usize) {
        self.transactions += 1;
        self.bytes += bytes;
    }

    const fn remove(&mut self, bytes: usize) {
        self.transactions -= 1;
        self.bytes -= bytes;
    }
}

/// Held transactions. See the [module](self).
#[derive(Debug)]
pub struct Pool<T> {
    limits: PoolLimits,
    held: BTreeMap<AtomId, Held<T>>,
    /// Number of the next arrival, and of the next one in front of all others.
    arrivals: (i64, i64),
    ready: Turns<AtomId>,
    ready_count: Count,
    /// Waiting transactions by the data they wait for, in order of arrival.
    waiting: BTreeMap<AtomId, BTreeMap<i64, AtomId>>,
    waiting_arrivals: BTreeMap<i64, AtomId>,
    waiting_count: Count,
    senders: BTreeMap<Sender, Share>,
    expiries: BTreeSet<(Duration, AtomId)>,
    included: BTreeSet<(u64, AtomId)>,
    included_count: Count,
}

impl<T> Pool<T> {
    /// Creates an empty pool.
    #[must_use]
    pub const fn new(limits: PoolLimits) -> Self {
        Self {
            limits,
            held: BTreeMap::new(),
            arrivals: (0, -1),
            ready: Turns::new(),
            ready_count: Count {
                transactions: 0,
                bytes: 0,
            },
            waiting: BTreeMap::new(),
            waiting_arrivals: BTreeMap::new(),
            waiting_count: Count {
                transactions: 0,
                bytes: 0,
            },
            senders: BTreeMap::new(),
            expiries: BTreeSet::new(),
            included: BTreeSet::new(),
            included_count: Count {
                transactions: 0,
                bytes: 0,
            },
        }
    }

    /// Returns the limits.
    #[must_use]
    pub const fn limits(&self) -> &PoolLimits {
        &self.limits
    }

    /// Returns the number and size of the ready transactions.
    #[must_use]
    pub const fn ready_count(&self) -> Count {
        self.ready_count
    }

    /// Returns the number and size of the waiting transactions.
    #[must_use]
    pub const fn waiting_count(&self) -> Count {
        self.waiting_count
    }

    /// Returns the number and size of the included transactions that are kept.
    #[must_use]
    pub const fn included_count(&self) -> Count {
        self.included_count
    }

    /// Returns a held transaction.
    #[must_use]
    pub fn get(&self, id: &AtomId) -> Option<&Held<T>> {
        self.held.get(id)
    }

    /// Returns the ready transactions in the order in which blocks include them.
    pub fn ready(&self) -> impl Iterator<Item = &Held<T>> {
        self.ready.iter().filter_map(|(_, id)| self.held.get(id))
    }

    /// Returns the waiting transactions in order of arrival.
    pub fn waiting(&self) -> impl Iterator<Item = &Held<T>> {
        let ids = self.waiting_arrivals.values();
        ids.filter_map(|id| self.held.get(id))
    }

    /// Returns the transactions that wait for this list or atom, in order of arrival.
    pub fn waiting_for(&self, data: &AtomId) -> impl Iterator<Item = &Held<T>> {
        let ids = self.waiting.get(data).into_iter().flatten();
        ids.filter_map(|(_, id)| self.held.get(id))
    }

    /// Returns the ready and the waiting transactions, ordered by id.
    pub fn pending(&self) -> impl Iterator<Item = &Held<T>> {
        let held = self.held.values();
        held.filter(|held| !matches!(held.slot, Slot::Included { .. }))
    }

    /// Returns the first pending transaction after this id, in the order of ids.
    #[must_use]
    pub fn pending_after(&self, id: &AtomId) -> Option<&Held<T>> {
        use core::ops::Bound;
        let after = (Bound::Excluded(*id), Bound::Unbounded);
        let mut held = self.held.range(after).map(|(_, held)| held);
        held.find(|held| !matches!(held.slot, Slot::Included { .. }))
    }

    /// Returns the kept transactions of a block, each with the block's height.
    #[must_use]
    pub fn included_in(&self, block: &AtomId) -> Vec<(AtomId, u64)> {
        let is_in = |id: &AtomId| match self.held.get(id).map(Held::state) {
            Some(EntryState::Included { block: other, .. }) => other == *block,
            _ => false,
        };
        let included = self.included.iter();
        let included = included.filter(|(_, id)| is_in(id));
        included.map(|(height, id)| (*id, *height)).collect()
    }

    /// Marks a transaction as sent by a local user. Returns it, unless it was marked already.
    pub fn set_own(&mut self, id: &AtomId) -> Option<&mut Held<T>> {
        let held = self.held.get_mut(id).filter(|held| !held.is_own)?;
        held.is_own = true;
        Some(held)
    }

    /// Records the size of a transaction in the saved mempool.
    pub fn set_saved_bytes(&mut self, id: &AtomId, bytes: usize) {
        if let Some(held) = self.held.get_mut(id) {
            held.saved_bytes = bytes;
        }
    }

    /// Returns the reason for which a transaction with this id is refused without a check of its
    /// contents.
    #[must_use]
    pub fn known(&self, id: &AtomId) -> Option<PoolError> {
        Some(match self.held.get(id)?.slot {
            Slot::Ready(_) | Slot::Waiting(_) => PoolError::Held,
            Slot::Included { .. } => PoolError::Included,
        })
    }

    /// Checks that there is room for a transaction of this sender and size. Needs no other
    /// knowledge of the transaction.
    ///
    /// # Errors
    /// Returns [`PoolError`] if there is no room.
    pub fn check_room(
        &self,
        sender: &Sender,
        bytes: usize,
        is_waiting: bool,
    ) -> Result<(), PoolError> {
        let limits = &self.limits;
        let share = self.senders.get(sender).cloned().unwrap_or_default();
        if is_waiting && share.waiting >= limits.sender_waiting {
            return Err(PoolError::SenderWaitingFull {
                transactions: share.waiting,
            });
        }
        let has_enough = !is_waiting && share.ready >= limits.sender_ready;
        if has_enough || share.bytes + bytes > limits.sender_bytes {
            return Err(PoolError::SenderFull {
                transactions: share.ready + share.waiting,
                bytes: share.bytes,
            });
        }
        let (ready, waiting) = (self.ready_count, self.waiting_count);
        if is_waiting
            && (waiting.transactions >= limits.transactions / WAITING_PART
                || waiting.bytes + bytes > limits.bytes / WAITING_PART)
        {
            return Err(PoolError::WaitingFull {
                transactions: waiting.transactions,
                bytes: waiting.bytes,
            });
        }
        // A ready transaction may take the room of waiting ones.
        let (mut transactions, mut used) = (ready.transactions, ready.bytes);
        if is_waiting {
            transactions += waiting.transactions;
            used += waiting.bytes;
        }
        if transactions >= limits.transactions || used + bytes > limits.bytes {
            return Err(PoolError::Full {
                transactions: ready.transactions + waiting.transactions,
                bytes: ready.bytes + waiting.bytes,
            });
        }
        Ok(())
    }

    /// Inserts a transaction whose sender has `balance`. Returns the waiting transactions that it
    /// displaced.
    ///
    /// # Errors
    /// Returns [`PoolError`] if the transaction is already held, there is no room, or the sender
    /// could not pay for all its transactions in the pool.
    pub fn insert(
        &mut self,
        entry: Entry<T>,
        balance: &Natural,
        arrival: Arrival,
    ) -> Result<Vec<Held<T>>, PoolError> {
        if let Some(known) = self.known(&entry.id) {
            return Err(known);
        }
        let is_waiting = arrival.waits_for.is_some();
        self.check_room(&entry.sender, entry.bytes, is_waiting)?;
        let share = self.senders.get(&entry.sender);
        let needed = match share {
            Some(share) => &share.charge + &entry.charge,
            None => entry.charge.clone(),
        };
        if needed > *balance {
            return Err(PoolError::Unpayable {
                balance: balance.clone(),
                needed,
            });
        }
        let displaced = match is_waiting {
            true => Vec::new(),
            false => self.make_room(entry.bytes),
        };
        let number = match arrival.is_returned {
            true => self.arrivals.1,
            false => self.arrivals.0,
        };
        if arrival.is_returned {
            self.arrivals.1 -= 1;
        } else {
            self.arrivals.0 += 1;
        }
        self.hold(entry, arrival, number);
        Ok(displaced)
    }

    /// Makes a ready transaction wait for data. Removes and returns it if there is no room for
    /// that.
    pub fn wait_for(&mut self, id: &AtomId, data: AtomId) -> Option<Held<T>> {
        let held = self.held.get(id)?;
        let Slot::Ready(_) = held.slot else {
            return None;
        };
        let (sender, bytes) = (held.entry.sender, held.entry.bytes);
        let mut held = self.take(id)?;
        if self.check_room(&sender, bytes, true).is_err() {
            return Some(held);
        }
        held.slot = Slot::Waiting(data);
        self.put(held);
        None
    }

    /// Makes the transactions ready that wait for this list or atom. Returns their ids.
    pub fn make_ready(&mut self, data: &AtomId) -> Vec<AtomId> {
        let ids: Vec<AtomId> = self.waiting_for(data).map(|held| held.entry.id).collect();
        for id in &ids {
            if let Some(mut held) = self.take(id) {
                let (sender, arrival) = (held.entry.sender, held.arrival);
                held.slot = Slot::Ready(self.ready.push(sender, arrival, *id));
                self.put(held);
            }
        }
        ids
    }

    /// Removes and returns the transactions that wait for this list or atom.
    pub fn drop_waiting(&mut self, data: &AtomId) -> Vec<Held<T>> {
        let ids: Vec<AtomId> = self.waiting_for(data).map(|held| held.entry.id).collect();
        ids.iter().filter_map(|id| self.take(id)).collect()
    }

    /// Removes and returns a ready or waiting transaction.
    pub fn remove(&mut self, id: &AtomId) -> Option<Held<T>> {
        match self.held.get(id)?.slot {
            Slot::Ready(_) | Slot::Waiting(_) => self.take(id),
            Slot::Included { .. } => None,
        }
    }

    /// Records that a held transaction is in a block. Returns whether it was pending.
    pub fn include(&mut self, id: &AtomId, block: AtomId, height: u64) -> bool {
        let Some(mut held) = self.take(id) else {
            return false;
        };
        let was_pending = !matches!(held.slot, Slot::Included { .. });
        held.slot = Slot::Included { block, height };
        self.put(held);
        let limits = self.limits;
        while self.included_count.transactions > limits.transactions
            || self.included_count.bytes > limits.bytes
        {
            let Some((_, oldest)) = self.included.first().copied() else {
                break;
            };
            self.take(&oldest);
        }
        was_pending
    }

    /// Forgets included transactions of blocks more than [`KEPT_BLOCKS`] below this height.
    pub fn forget_included(&mut self, height: u64) {
        let oldest = height.saturating_sub(KEPT_BLOCKS);
        while let Some((height, id)) = self.included.first().copied()
            && height < oldest
        {
            self.take(&id);
        }
    }

    /// Removes and returns an included transaction.
    pub fn take_included(&mut self, id: &AtomId) -> Option<Held<T>> {
        match self.held.get(id)?.slot {
            Slot::Included { .. } => self.take(id),
            Slot::Ready(_) | Slot::Waiting(_) => None,
        }
    }

    /// Removes and returns the transactions that have expired at `now`.
    pub fn expire(&mut self, now: Duration) -> Vec<Held<T>> {
        let mut expired = Vec::new();
        while let Some((expires, id)) = self.expiries.first().copied()
            && expires <= now
        {
            expired.extend(self.take(&id));
        }
        expired
    }

    /// Returns when the next transaction expires.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Duration> {
        self.expiries.first().map(|(expires, _)| *expires)
    }

    /// Makes room for a ready transaction by removing the waiting ones that arrived last.
    fn make_room(&mut self, bytes: usize) -> Vec<Held<T>> {
        let mut displaced = Vec::new();
        loop {
            let (ready, waiting) = (self.ready_count, self.waiting_count);
            let is_free = ready.transactions + waiting.transactions < self.limits.transactions
                && ready.bytes + waiting.bytes + bytes <= self.limits.bytes;
            let last = self.waiting_arrivals.last_key_value().map(|(_, id)| *id);
            match last.filter(|_| !is_free) {
                Some(last) => displaced.extend(self.take(&last)),
                None => return displaced,
            }
        }
    }

    fn hold(&mut self, entry: Entry<T>, arrival: Arrival, number: i64) {
        let (id, sender) = (entry.id, entry.sender);
        let slot = match arrival.waits_for {
            Some(data) => Slot::Waiting(data),
            None if arrival.is_returned => Slot::Ready(self.ready.push_front(sender, number, id)),
            None => Slot::Ready(self.ready.push(sender, number, id)),
        };
        self.put(Held {
            entry,
            expires: arrival.expires,
            is_own: arrival.is_own,
            saved_bytes: 0,
            arrival: number,
            slot,
        });
    }

    /// Adds a transaction to the indexes and counts. A ready one is already in `ready`.
    fn put(&mut self, held: Held<T>) {
        let (id, bytes) = (held.entry.id, held.entry.bytes);
        match held.slot {
            Slot::Ready(_) => self.ready_count.add(bytes),
            Slot::Waiting(data) => {
                self.waiting_count.add(bytes);
                let group = self.waiting.entry(data).or_default();
                group.insert(held.arrival, id);
                self.waiting_arrivals.insert(held.arrival, id);
            }
            Slot::Included { height, .. } => {
                self.included_count.add(bytes);
                self.included.insert((height, id));
            }
        }
        if !matches!(held.slot, Slot::Included { .. }) {
            self.expiries.insert((held.expires, id));
            let share = self.senders.entry(held.entry.sender).or_default();
            share.bytes += bytes;
            share.charge = &share.charge + &held.entry.charge;
            match held.slot {
                Slot::Waiting(_) => share.waiting += 1,
                _ => share.ready += 1,
            }
        }
        self.held.insert(id, held);
    }

    /// Removes a transaction from all indexes and counts.
    fn take(&mut self, id: &AtomId) -> Option<Held<T>> {
        let held = self.held.remove(id)?;
        let bytes = held.entry.bytes;
        match held.slot {
            Slot::Ready(turn) => {
                self.ready.remove(turn);
                self.ready_count.remove(bytes);
            }
            Slot::Waiting(data) => {
                self.waiting_count.remove(bytes);
                self.waiting_arrivals.remove(&held.arrival);
                if let Some(group) = self.waiting.get_mut(&data) {
                    group.remove(&held.arrival);
                    if group.is_empty() {
                        self.waiting.remove(&data);
                    }
                }
            }
            Slot::Included { height, .. } => {
                self.included_count.remove(bytes);
                self.included.remove(&(height, *id));
                return Some(held);
            }
        }
        self.expiries.remove(&(held.expires, *id));
        if let Some(share) = self.senders.get_mut(&held.entry.sender) {
            share.bytes -= bytes;
            // It was added when the transaction was inserted.
            share.charge = share.charge.saturating_sub(&held.entry.charge);
            match held.slot {
                Slot::Waiting(_) => share.waiting -= 1,
                _ => share.ready -= 1,
            }
            if share.ready + share.waiting == 0 {
                self.senders.remove(&held.entry.sender);
            }
        }
        Some(held)
    }
}

#[cfg(test)]
mod tests;
