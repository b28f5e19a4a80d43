//! Ingestion of transactions into the mempool.

use super::admission::{self, AdmissionError, Admitted, MAX_TRANSACTION_BYTES, Pending, Refusal};
use super::announcements::{Source, Verdict, Want};
use super::pool::{Arrival, MAX_AGE, PoolError};
use super::saved::Saved;
use super::verdicts::Verdict as ListVerdict;
use super::waiting::{Data, Resolved};
use super::{Context, Effect, Environment, Mempool, Outcome};
use crate::atom::AtomId;
use crate::chain::TransactionError;
use crate::crypto::PublicKey;
use crate::engine::{FetchError, FetchRequest, ListLimit};
use core::time::Duration;

/// Maximum number of transactions checked in one call.
const CHECKS_PER_CALL: usize = 16;
/// Limit of the lists of a transaction: its head has four atoms, its body six; a trie node has
/// five.
const RECORD: ListLimit = ListLimit {
    atoms: 6,
    bytes: MAX_TRANSACTION_BYTES,
};

/// Transaction to be held.
struct Candidate {
    transaction: Pending,
    expires: Duration,
    is_own: bool,
    is_returned: bool,
    /// Peer to ask first for data that the transaction needs.
    from: Option<PublicKey>,
    /// `true` if the mempool file contains it.
    is_saved: bool,
}

impl Mempool {
    /// Handles an announcement; `source` is `None` for a local user.
    pub(super) fn announced(&mut self, context: &mut Context, id: AtomId, source: Source) {
        let refusal = match self.pool.known(&id) {
            Some(known) => Some(Refusal::PoolError(known)),
            None => {
                let taken = self.announcements.announce(self.now, id, source);
                taken.err().map(Refusal::Declined)
            }
        };
        if source.is_some() {
            // Peers announce repeatedly; nothing is reported.
            return;
        }
        self.outcomes.set_own(id);
        if self.announcements.is_open(&id) {
            // A local user has stored it here by now, whatever the fetch returns.
            self.arrived.push_back(id);
        }
        match refusal {
            // Sent again, or already held: it is announced as an own transaction from now on.
            Some(Refusal::PoolError(PoolError::Held)) => self.adopt(id),
            Some(Refusal::Declined(super::announcements::Declined::UnderWay)) | None => {}
            Some(refusal) => self.refuse(context, id, refusal),
        }
    }

    /// Makes a held transaction an own transaction of this node.
    fn adopt(&mut self, id: AtomId) {
        let arrived = self.wall_time();
        if let Some(held) = self.pool.set_own(&id) {
            let saved_bytes = self.saving.add(&held.entry.transaction, true, arrived);
            self.saving.remove(held.saved_bytes);
            held.saved_bytes = saved_bytes;
            self.broadcast.add(self.now, id);
            self.changed();
        }
    }

    pub(super) fn transaction_fetched(
        &mut self,
        context: &mut Context,
        id: &AtomId,
        outcome: Result<(), FetchError>,
    ) {
        let is_silent = outcome == Err(FetchError::Timeout);
        for waiter in self.announcements.fetched(id, is_silent) {
            match outcome {
                // After a timeout the peer may just be busy: it is asked again while there is time.
                Ok(()) | Err(FetchError::Timeout) => self.arrived.push_back(waiter),
                Err(FetchError::TooLarge) => {
                    let problem = "too many atoms or bytes for a transaction";
                    self.settle(
                        context,
                        waiter,
                        TransactionError::Malformed { problem }.into(),
                    );
                }
                Err(error) => self.settle(context, waiter, Refusal::NotFetched(error)),
            }
        }
    }

    /// Checks a few transactions.
    pub(super) fn take_transactions(
        &mut self,
        environment: &Environment<'_>,
        context: &mut Context,
    ) {
        for id in self.announcements.overdue(self.now) {
            self.settle(context, id, Refusal::TooSlow);
        }
        if self.head.is_none() {
            return;
        }
        for _ in 0..CHECKS_PER_CALL {
            let next = self.arrived.pop_front();
            let Some(id) = next.or_else(|| self.announcements.next(self.now)) else {
                return;
            };
            if self.announcements.is_open(&id) {
                self.check_announced(environment, context, id);
            }
        }
    }

    fn check_announced(
        &mut self,
        environment: &Environment<'_>,
        context: &mut Context,
        id: AtomId,
    ) {
        let sources = self.announcements.sources(&id);
        let is_own = sources.contains(&None);
        let from = sources.iter().flatten().next().map(|source| source.peer);
        let admitted = admission::read(environment.atoms, id).and_then(|transaction| {
            let candidate = Candidate {
                transaction,
                expires: self.now.saturating_add(MAX_AGE),
                is_own,
                is_returned: false,
                from,
                is_saved: false,
            };
            self.admit(environment, context, candidate)
        });
        match admitted {
            Ok(()) => self.announcements.settle(self.now, &id, Verdict::Good),
            Err(AdmissionError::Refused(refusal)) => self.settle(context, id, refusal),
            Err(AdmissionError::Missing(missing)) => match self.announcements.want(id, missing) {
                Want::Start(from) => {
                    // A peer that announces a transaction has it, even if a provider lookup does
                    // not find it.
                    let request = FetchRequest::list_within(missing, RECORD).first_from(from);
                    context.push_effect(Effect::Fetch(request));
                }
                Want::UnderWay => {}
                Want::Exhausted => self.settle(context, id, Refusal::MissingAtom(missing)),
            },
        }
    }

    /// Checks a transaction and holds it.
    fn admit(
        &mut self,
        environment: &Environment<'_>,
        context: &mut Context,
        candidate: Candidate,
    ) -> Result<(), AdmissionError> {
        let Some(head) = self.head.clone() else {
            return Err(Refusal::NoHead.into());
        };
        let transaction = candidate.transaction.clone();
        let for_references = self.config.reference_followers;
        let admitted = admission::check(
            environment.atoms,
            head.block(),
            transaction,
            &self.pool,
            for_references,
        )?;
        let Admitted {
            entry,
            balance,
            list,
        } = admitted;
        let waits_for = list.filter(|list| self.verdicts.of(list).is_none());
        if let Some(list) = list {
            if self.verdicts.of(&list) == Some(ListVerdict::TooLong) {
                return Err(TransactionError::ListTooLong { list }.into());
            }
            if waits_for.is_some() && self.verdicts.is_unavailable(self.now, &list) {
                if environment.atoms.atom(&list).is_err() {
                    return Err(Refusal::MissingAtom(list).into());
                }
                self.verdicts.found(&list);
            }
        }
        let (id, sender) = (entry.id, entry.sender);
        let arrival = Arrival {
            expires: candidate.expires,
            is_own: candidate.is_own,
            waits_for,
            is_returned: candidate.is_returned,
        };
        let displaced = self.pool.insert(entry, &balance, arrival);
        for held in displaced.map_err(Refusal::PoolError)? {
            let id = held.entry.id;
            self.removed(&held);
            self.refuse(context, id, Refusal::Displaced);
        }
        if let Some(list) = waits_for {
            self.needs.add(Data::List(list), sender, candidate.from);
        }
        let saved_bytes = match candidate.is_saved {
            true => self.saving.add_saved(&candidate.transaction),
            false => {
                let age = MAX_AGE.saturating_sub(candidate.expires.saturating_sub(self.now));
                let arrived = self.wall_time().saturating_sub(age);
                let is_own = candidate.is_own;
                self.saving.add(&candidate.transaction, is_own, arrived)
            }
        };
        self.pool.set_saved_bytes(&id, saved_bytes);
        if candidate.is_own {
            self.broadcast.add(self.now, id);
        }
        self.outcomes.remove(&id);
        self.changed();
        Ok(())
    }

    fn settle(&mut self, context: &mut Context, id: AtomId, refusal: Refusal) {
        self.announcements.settle(self.now, &id, refusal.verdict());
        // Several peers announce the same transaction; that is not a refusal.
        let is_known = matches!(
            refusal,
            Refusal::PoolError(PoolError::Held | PoolError::Included)
        );
        if !is_known {
            self.refuse(context, id, refusal);
        }
    }

    /// Handles the resolved needs of waiting transactions.
    pub(super) fn take_resolved(&mut self, context: &mut Context) {
        for resolved in self.needs.take_resolved() {
            match resolved {
                Resolved::List(list, verdict) => {
                    self.verdicts.remember(list, verdict);
                    match verdict {
                        ListVerdict::Measured(_) => self.make_ready(&list),
                        ListVerdict::TooLong => {
                            self.drop_waiting(
                                context,
                                &list,
                                &TransactionError::ListTooLong { list }.into(),
                            );
                        }
                    }
                }
                Resolved::Atom(atom) => self.make_ready(&atom),
                Resolved::Unavailable { data, atom } => {
                    self.verdicts.not_found(self.now, data);
                    self.drop_waiting(context, &data, &Refusal::MissingAtom(atom));
                }
            }
        }
    }

    fn make_ready(&mut self, data: &AtomId) {
        self.pool.make_ready(data);
        self.changed();
    }

    fn drop_waiting(&mut self, context: &mut Context, data: &AtomId, refusal: &Refusal) {
        for held in self.pool.drop_waiting(data) {
            let id = held.entry.id;
            self.removed(&held);
            self.refuse(context, id, refusal.clone());
        }
    }

    /// Makes a transaction that could not be applied wait for the missing data.
    pub(super) fn wait_for_data(&mut self, context: &mut Context, id: AtomId, data: Data) {
        let Some(held) = self.pool.get(&id) else {
            return;
        };
        let sender = held.entry.sender;
        match self.pool.wait_for(&id, data.id()) {
            None => self.needs.add(data, sender, None),
            Some(held) => {
                self.removed(&held);
                self.refuse(context, id, Refusal::MissingAtom(data.id()));
            }
        }
        self.changed();
    }

    /// Restores a transaction that an earlier run saved.
    pub(super) fn restore_one(
        &mut self,
        environment: &Environment<'_>,
        context: &mut Context,
        saved: Saved,
    ) {
        let id = saved.transaction.id();
        if saved.is_own {
            self.outcomes.set_own(id);
        }
        let age = self.unix.saturating_sub(saved.arrived);
        let Some(left) = MAX_AGE.checked_sub(age).filter(|left| !left.is_zero()) else {
            self.outcomes.put(id, Outcome::Expired);
            self.changed();
            return;
        };
        if self.pool.known(&id).is_some() {
            if saved.is_own {
                self.adopt(id);
            }
            return;
        }
        if !saved.is_own && !self.config.is_validator {
            return;
        }
        let atoms = saved.transaction.to_atoms();
        let candidate = Candidate {
            transaction: saved.transaction,
            expires: self.now.saturating_add(left),
            is_own: saved.is_own,
            is_returned: false,
            from: None,
            is_saved: true,
        };
        context.push_effect(Effect::Keep(atoms));
        match self.admit(environment, context, candidate) {
            Ok(()) => {}
            // Missing state is fetched as for any other transaction.
            Err(AdmissionError::Missing(_)) => {
                let taken = self.announcements.announce(self.now, id, None);
                if let Err(declined) = taken {
                    self.refuse(context, id, Refusal::Declined(declined));
                }
            }
            // It is included, in a block that may still be abandoned.
            Err(AdmissionError::Refused(refusal)) if refusal.is_replay() => {
                if saved.is_own {
                    self.remember_own(id);
                }
            }
            Err(AdmissionError::Refused(refusal)) => self.refuse(context, id, refusal),
        }
    }

    /// Takes back a transaction of an abandoned block.
    pub(super) fn readmit(
        &mut self,
        environment: &Environment<'_>,
        context: &mut Context,
        transaction: Pending,
        is_own: bool,
    ) -> Result<(), AdmissionError> {
        let candidate = Candidate {
            transaction,
            expires: self.now.saturating_add(MAX_AGE),
            is_own,
            is_returned: true,
            from: None,
            is_saved: false,
        };
        self.admit(environment, context, candidate)
    }
}
