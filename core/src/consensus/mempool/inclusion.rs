//! Transactions that leave the mempool with a block, and return when its branch is abandoned.

use super::abandoned::{BranchReport, Step};
use super::admission::{self, AdmissionError, Pending, Refusal};
use super::pool::{EntryState, Held};
use super::waiting::Data;
use super::{Context, Effect, Environment, Event, Head, Mempool, Outcome};
use crate::atom::{AtomId, AtomKind, collect_list};
use crate::chain::{MAX_BLOCK_TRANSACTIONS, Transaction, TransactionError};
use crate::engine::{FetchRequest, ListLimit};
use alloc::vec::Vec;

/// Maximum number of pending transactions that are checked again in one call.
const RECHECKS: usize = 32;
/// Maximum number of own transactions of recent blocks that are remembered as own, in case they
/// return.
const MAX_OWN_INCLUDED: usize = 4_096;
/// Limit of a block's head or body.
const RECORD: ListLimit = ListLimit {
    atoms: 15,
    bytes: 64 << 10,
};

impl Mempool {
    /// Records that transactions are in a block.
    pub fn include(&mut self, ids: &[AtomId], block: AtomId, height: u64) {
        for id in ids {
            let held = self.pool.get(id);
            let is_own = held.is_some_and(|held| held.is_own);
            let waits_for = held.and_then(|held| match held.state() {
                EntryState::Waiting(data) => Some(data),
                _ => None,
            });
            let saved_bytes = held.map_or(0, |held| held.saved_bytes);
            if self.pool.include(id, block, height) {
                self.broadcast.remove(id);
                self.saving.remove(saved_bytes);
                if is_own {
                    self.remember_own(*id);
                }
                if let Some(data) = waits_for
                    && self.pool.waiting_for(&data).next().is_none()
                {
                    self.needs.drop(&data);
                }
            }
            self.outcomes.remove(id);
        }
        self.pool.forget_included(height);
        self.changed();
    }

    /// Removes rejected transactions from the mempool after block assembly, and makes those that
    /// lack data wait for it.
    pub fn settle_assembly(
        &mut self,
        context: &mut Context,
        rejected: &[(AtomId, Refusal)],
        lacking: &[(AtomId, Data)],
    ) {
        for (id, refusal) in rejected {
            self.reject(context, id, refusal.clone());
        }
        for (id, data) in lacking {
            self.wait_for_data(context, *id, *data);
        }
    }

    /// Removes a transaction that cannot be applied.
    fn reject(&mut self, context: &mut Context, id: &AtomId, refusal: Refusal) {
        if let Refusal::Transaction(TransactionError::ListTooLong { list }) = &refusal {
            self.verdicts
                .remember(*list, super::verdicts::Verdict::TooLong);
        }
        let Some(held) = self.pool.remove(id) else {
            return;
        };
        self.removed(&held);
        // A replayed transaction was included in a block made meanwhile, as intended.
        if refusal.is_replay() {
            if held.is_own {
                self.remember_own(*id);
            }
        } else {
            self.refuse(context, *id, refusal);
        }
    }

    /// Remembers that an included transaction was sent by a local user.
    pub(super) fn remember_own(&mut self, id: AtomId) {
        self.own_included.push_back(id);
        if self.own_included.len() > MAX_OWN_INCLUDED {
            self.own_included.pop_front();
        }
    }

    /// Follows a change of the head.
    pub(super) fn follow_head(&mut self, environment: &Environment<'_>, context: &mut Context) {
        let head = context.head();
        if head.map(Head::id) == self.head.as_ref().map(Head::id) {
            return;
        }
        let previous = core::mem::replace(&mut self.head, head.cloned());
        let Some(head) = self.head.clone() else {
            return;
        };
        self.broadcast.set_height(head.height());
        let is_next = previous
            .as_ref()
            .is_none_or(|previous| previous.id() == head.block().previous);
        let is_read = self.read_included(environment, &head);
        if !is_next || !is_read {
            // The blocks in between may have applied any transaction.
            self.recheck = Some(AtomId::ZERO);
        }
        if let Some(previous) = previous.filter(|_| !is_next)
            && let Some(report) = self.abandoned.add(previous.id(), head.id())
        {
            self.end_walk(context, report);
        }
    }

    /// Marks the transactions of a block as included. Returns whether they could be read.
    fn read_included(&mut self, environment: &Environment<'_>, head: &Head) -> bool {
        if self.pool.pending().next().is_none() && self.pool.included_count().transactions == 0 {
            return true;
        }
        let list = head.block().transactions;
        let Ok(atoms) = collect_list(environment.atoms, list, MAX_BLOCK_TRANSACTIONS) else {
            return false;
        };
        let ids = atoms.iter().filter(|atom| atom.kind() == AtomKind::Bytes);
        let ids: Vec<AtomId> = ids
            .filter_map(|atom| AtomId::from_slice(atom.data()))
            .collect();
        self.include(&ids, head.id(), head.height());
        true
    }

    /// Continues the walk along abandoned branches.
    pub(super) fn walk_abandoned(&mut self, environment: &Environment<'_>, context: &mut Context) {
        if self.head.is_none() {
            return;
        }
        match self.abandoned.step(environment.atoms) {
            Step::Idle | Step::More => {}
            Step::Missing(id) => {
                context.push_effect(Effect::Fetch(FetchRequest::list_within(id, RECORD)));
            }
            Step::Transactions { block, height, ids } => {
                for id in ids {
                    self.return_transaction(environment, context, id, (block, height));
                }
            }
            Step::Unreadable { block } => {
                // Return at least the transactions that are still remembered.
                let ids = self.pool.included_in(&block);
                for (id, height) in ids {
                    self.return_transaction(environment, context, id, (block, height));
                }
            }
            Step::Done(report) => self.end_walk(context, report),
        }
    }

    fn end_walk(&mut self, context: &mut Context, report: BranchReport) {
        // A head that only advances, by several blocks in one call, abandons none.
        if report.blocks > 0 {
            context.report(Event::TransactionsReturned(report));
            self.abandoned_branch = Some(report);
            self.changed();
        }
    }

    /// Returns a transaction of an abandoned block to the mempool, unless the other branch contains
    /// it.
    fn return_transaction(
        &mut self,
        environment: &Environment<'_>,
        context: &mut Context,
        id: AtomId,
        (block, height): (AtomId, u64),
    ) {
        // It may have been included again on the other branch.
        let is_other = |held: &Held<Pending>| match held.state() {
            EntryState::Included { block: other, .. } => other != block,
            EntryState::Ready | EntryState::Waiting(_) => true,
        };
        if self.pool.get(&id).is_some_and(is_other) {
            return;
        }
        let remembered = self.pool.take_included(&id);
        let at = self.own_included.iter().position(|own| *own == id);
        let is_own = at.is_some() || remembered.as_ref().is_some_and(|held| held.is_own);
        if !is_own && !self.config.is_validator {
            return;
        }
        let transaction = match remembered {
            Some(held) => Ok(held.entry.transaction),
            None => admission::read(environment.atoms, id),
        };
        let transaction = match transaction {
            Ok(transaction) => transaction,
            Err(AdmissionError::Missing(_)) => {
                // It is fetched and checked like any other.
                let source = None;
                if self.announcements.announce(self.now, id, source).is_err() {
                    self.abandoned.count(false);
                }
                return;
            }
            Err(AdmissionError::Refused(_)) => return,
        };
        if let Some(at) = at {
            self.own_included.remove(at);
        }
        // Check this first: room in the mempool matters only if the other branch does not contain
        // it.
        if self.is_applied(environment, &transaction) {
            if is_own {
                self.remember_own(id);
            }
            return;
        }
        match self.readmit(environment, context, transaction, is_own) {
            Ok(()) => self.abandoned.count(true),
            Err(unfit) => {
                let reason = match unfit {
                    AdmissionError::Refused(refusal) => refusal,
                    AdmissionError::Missing(atom) => Refusal::MissingAtom(atom),
                };
                self.abandoned.count(false);
                self.outcomes.put(
                    id,
                    Outcome::Abandoned {
                        block,
                        height,
                        reason,
                    },
                );
                self.changed();
            }
        }
    }

    /// Returns whether the branch of the head contains a transaction.
    fn is_applied(&self, environment: &Environment<'_>, transaction: &Transaction) -> bool {
        let Some(head) = &self.head else {
            return false;
        };
        let check = admission::recheck(environment.atoms, head.block(), transaction);
        matches!(check, Err(AdmissionError::Refused(refusal)) if refusal.is_replay())
    }

    /// Checks some of the pending transactions again, over the state of the head.
    pub(super) fn recheck_some(&mut self, environment: &Environment<'_>, context: &mut Context) {
        for _ in 0..RECHECKS {
            let Some(at) = self.recheck else {
                return;
            };
            let next = self.pool.pending_after(&at).map(|held| held.entry.id);
            self.recheck = next;
            if let Some(id) = next {
                self.recheck_one(environment, context, &id);
            }
        }
    }

    /// Checks a pending transaction again, and removes it if it was applied or can no longer be.
    pub(super) fn recheck_one(
        &mut self,
        environment: &Environment<'_>,
        context: &mut Context,
        id: &AtomId,
    ) {
        let (Some(head), Some(held)) = (&self.head, self.pool.get(id)) else {
            return;
        };
        let transaction = &held.entry.transaction;
        let check = admission::recheck(environment.atoms, head.block(), transaction);
        if let Err(AdmissionError::Refused(refusal)) = check
            && matches!(refusal, Refusal::Transaction(_))
        {
            self.reject(context, id, refusal);
        }
    }
}

impl Refusal {
    /// Returns whether the transaction is already in the chain.
    #[must_use]
    pub const fn is_replay(&self) -> bool {
        matches!(self, Self::Transaction(TransactionError::Replayed))
    }
}
