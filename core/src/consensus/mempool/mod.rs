//! Mempool: transactions waiting for inclusion in a block.
//!
//! Every node that follows a chain has one. The mempool of a validator holds transactions that
//! peers announce and local users send; that of another node holds those of its own users, so that
//! they can be announced until they are included.
//!
//! | module | contents |
//! | --- | --- |
//! | [`announcements`] | announced transactions until they are fetched |
//! | [`admission`] | checks of a transaction before it enters the mempool |
//! | [`pool`] | held transactions, ready or waiting, within bounds |
//! | [`waiting`] | data that waiting transactions need |
//! | [`verdicts`] | cache of measured lists |
//! | [`abandoned`] | walk along abandoned branches |
//! | [`saved`] | byte format in which a mempool survives a restart |
//! | [`status`], [`outcomes`] | status of the mempool and of transactions, for users |
//!
//! Invariants:
//! - Peers cannot make it hold more than the bounds of these modules.
//! - A transaction of a local user leaves it only included, refused or expired, and
//!   [`Mempool::status`] reports which, across restarts and reorganizations of any depth.
//! - One call does a bounded amount of work.

pub mod abandoned;
pub mod admission;
pub mod announcements;
mod broadcast;
mod inclusion;
mod ingest;
pub mod outcomes;
pub mod pool;
pub mod saved;
pub mod status;
mod turns;
pub mod verdicts;
pub mod waiting;

pub use abandoned::BranchReport;
pub use admission::{Pending, Refusal};
pub use outcomes::Outcome;
pub use pool::PoolLimits;
pub use saved::{Damage, Save};
pub use status::{MempoolStatus, Standing};

use super::{Component, Context, Effect, Environment, Event, Head, HeadState, Input};
use crate::arc::Arc;
use crate::atom::AtomId;
use crate::engine::Recipient;
use crate::time::Instant;
use abandoned::Abandoned;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use announcements::{Announcements, Announcer};
use broadcast::{Announcement, Broadcast};
use core::cell::RefCell;
use core::fmt;
use core::time::Duration;
use outcomes::Outcomes;
use pool::{Held, Pool};
use saved::{Saved, Saving};
use verdicts::Verdicts;
use waiting::Needs;

/// Maximum number of saved transactions restored in one call.
const RESTORED_PER_CALL: usize = 16;

/// Configuration of a mempool.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MempoolConfig {
    /// Limits of the held transactions.
    pub limits: PoolLimits,
    /// `true` if blocks are restricted to what reference nodes can verify.
    pub reference_followers: bool,
    /// `true` for the mempool of a validator, which accepts announcements of peers.
    pub is_validator: bool,
}

/// Mempool. See the [module](self).
pub struct Mempool {
    config: MempoolConfig,
    pool: Pool<Pending>,
    announcements: Announcements,
    /// Transactions whose fetch has ended.
    arrived: VecDeque<AtomId>,
    needs: Needs,
    verdicts: Verdicts,
    outcomes: Outcomes,
    broadcast: Broadcast,
    abandoned: Abandoned,
    abandoned_branch: Option<BranchReport>,
    /// Transactions of local users in recent blocks, oldest first.
    own_included: VecDeque<AtomId>,
    /// Last id of the running recheck of all pending transactions.
    recheck: Option<AtomId>,
    restored: VecDeque<Saved>,
    saving: Saving,
    head: Option<Head>,
    now: Duration,
    unix: Duration,
    refused: u64,
    status: RefCell<Option<Arc<MempoolStatus>>>,
}

impl fmt::Debug for Mempool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mempool")
            .field("ready", &self.pool.ready_count())
            .field("waiting", &self.pool.waiting_count())
            .finish_non_exhaustive()
    }
}

impl Mempool {
    /// Creates an empty mempool.
    #[must_use]
    pub fn new(config: MempoolConfig) -> Self {
        Self {
            pool: Pool::new(config.limits),
            config,
            announcements: Announcements::default(),
            arrived: VecDeque::new(),
            needs: Needs::default(),
            verdicts: Verdicts::default(),
            outcomes: Outcomes::default(),
            broadcast: Broadcast::default(),
            abandoned: Abandoned::default(),
            abandoned_branch: None,
            own_included: VecDeque::new(),
            recheck: None,
            restored: VecDeque::new(),
            saving: Saving::default(),
            head: None,
            now: Duration::ZERO,
            unix: Duration::ZERO,
            refused: 0,
            status: RefCell::new(None),
        }
    }

    /// Adds the transactions that an earlier run saved with [`Effect::SaveMempool`], and returns
    /// their number. Each is checked again once there is a head.
    ///
    /// # Errors
    /// Returns [`Damage`] if the bytes are damaged; intact transactions are restored nevertheless.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<usize, Damage> {
        let (saved, damage) = saved::read(bytes);
        let count = saved.len();
        self.saving.set_file(bytes.len(), damage.is_some());
        self.restored.extend(saved);
        damage.map_or(Ok(count), Err)
    }

    /// Returns all pending transactions in the byte format of [`saved`].
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        let mut bytes = saved::MAGIC.to_vec();
        for held in self.pool.pending() {
            let arrived = self.arrived_at(held);
            saved::write(&mut bytes, &held.entry.transaction, held.is_own, arrived);
        }
        for saved in &self.restored {
            saved::write(&mut bytes, &saved.transaction, saved.is_own, saved.arrived);
        }
        bytes
    }

    /// Asks the host to save all unsaved transactions. Must be called before shutdown.
    pub fn flush(&mut self, context: &mut Context) {
        let save = match self.saving.is_damaged() {
            true => {
                let bytes = self.snapshot();
                Some(self.saving.replace(self.now, bytes))
            }
            false => self.saving.append(self.now, true),
        };
        context.extend(save.map(Effect::SaveMempool));
    }

    /// Returns the held transactions.
    #[must_use]
    pub const fn pool(&self) -> &Pool<Pending> {
        &self.pool
    }

    /// Returns the last transaction that left without a block, and its outcome.
    #[cfg(test)]
    pub(crate) fn latest_outcome(&self) -> Option<(AtomId, Outcome)> {
        self.outcomes.latest()
    }

    /// Returns the known lengths of lists.
    #[must_use]
    pub const fn verdicts(&self) -> &Verdicts {
        &self.verdicts
    }

    /// Returns the standing of a transaction; `None` if it is not known here.
    #[must_use]
    pub fn standing(&self, id: &AtomId) -> Option<Standing> {
        let fetching = self
            .announcements
            .contains(id)
            .then_some(Standing::Fetching);
        self.status().standing(id).or(fetching)
    }

    /// Returns the status, which is rebuilt only after a change.
    pub fn status(&self) -> Arc<MempoolStatus> {
        if let Some(status) = &*self.status.borrow() {
            return Arc::clone(status);
        }
        let waiting = self.pool.waiting().filter_map(|held| match held.state() {
            pool::EntryState::Waiting(data) => Some((held.entry.id, data)),
            _ => None,
        });
        let own = self.pool.pending().filter(|held| held.is_own);
        let own = own.map(|held| (held.entry.id, self.broadcast.validators(&held.entry.id)));
        let outcomes = self.outcomes.iter();
        let status = Arc::new(MempoolStatus {
            ready: self.pool.ready().map(|held| held.entry.id).collect(),
            waiting: waiting.collect(),
            bytes: self.pool.ready_count().bytes + self.pool.waiting_count().bytes,
            own: own.collect(),
            outcomes: outcomes.map(|(id, one)| (*id, one.clone())).collect(),
            refused: self.refused,
            abandoned_branch: self.abandoned_branch,
        });
        *self.status.borrow_mut() = Some(Arc::clone(&status));
        status
    }

    /// Marks the status as changed.
    fn changed(&mut self) {
        *self.status.get_mut() = None;
    }

    /// Records the refusal of a transaction, and reports it.
    fn refuse(&mut self, context: &mut Context, id: AtomId, refusal: Refusal) {
        context.report(Event::TransactionRefused {
            id,
            refusal: refusal.clone(),
        });
        self.refused += 1;
        self.outcomes.put(id, Outcome::Refused(refusal));
        self.changed();
    }

    /// Cleans up after a transaction that has left the pool.
    fn removed(&mut self, held: &Held<Pending>) {
        let id = held.entry.id;
        self.broadcast.remove(&id);
        self.saving.remove(held.saved_bytes);
        if let pool::EntryState::Waiting(data) = held.state()
            && self.pool.waiting_for(&data).next().is_none()
        {
            self.needs.drop(&data);
        }
        self.changed();
    }

    fn arrived_at(&self, held: &Held<Pending>) -> Duration {
        let left = held.expires.saturating_sub(self.now);
        let age = pool::MAX_AGE.saturating_sub(left);
        self.wall_time().saturating_sub(age)
    }

    /// Returns the wall time with which saved transactions are dated. It is not before the head's
    /// timestamp: with a clock that was never set, they would otherwise expire at the next start.
    fn wall_time(&self) -> Duration {
        let head = self.head.as_ref();
        let verified = head.filter(|head| head.state() != HeadState::Trusted);
        let timestamp = verified.map_or(0, Head::timestamp);
        self.unix.max(Duration::from_secs(timestamp))
    }

    /// Removes expired transactions.
    fn expire(&mut self, context: &mut Context) {
        for held in self.pool.expire(self.now) {
            let id = held.entry.id;
            self.removed(&held);
            self.outcomes.put(id, Outcome::Expired);
            context.report(Event::TransactionExpired {
                id,
                is_own: held.is_own,
            });
        }
    }

    /// Makes the announcements that are due.
    fn announce(&mut self, environment: &Environment<'_>, context: &mut Context) {
        if self.head.is_none() {
            return;
        }
        for announcement in self.broadcast.due(self.now) {
            match announcement {
                Announcement::Own(id) => self.announce_own(environment, context, id),
                Announcement::Offer(id, peer) => {
                    if self.broadcast.offered(&id) {
                        self.changed();
                    }
                    self.announce_to(environment, context, id, Recipient::Peer(peer));
                }
            }
        }
    }

    fn announce_own(&mut self, environment: &Environment<'_>, context: &mut Context, id: AtomId) {
        // It may have been included, or become invalid, in a block whose list was not read.
        self.recheck_one(environment, context, &id);
        self.announce_to(environment, context, id, Recipient::Validators);
    }

    fn announce_to(
        &self,
        environment: &Environment<'_>,
        context: &mut Context,
        transaction: AtomId,
        to: Recipient,
    ) {
        let Some(held) = self.pool.get(&transaction) else {
            return;
        };
        let pending = &held.entry.transaction;
        // Announced validators will fetch it, so it must be stored here, even if memory was short.
        let is_here = |id: &AtomId| environment.atoms.atom(id).is_ok();
        if !is_here(&transaction) || !is_here(&pending.body_hash()) {
            context.push_effect(Effect::Keep(pending.to_atoms()));
        }
        context.push_effect(Effect::Announce { transaction, to });
    }

    /// Asks the host to save transactions when that is due.
    fn save(&mut self, context: &mut Context) {
        if !self.restored.is_empty() && self.head.is_some() {
            return;
        }
        if self.saving.is_damaged() || self.saving.is_wasteful() {
            let bytes = self.snapshot();
            let save = self.saving.replace(self.now, bytes);
            context.push_effect(Effect::SaveMempool(save));
            return;
        }
        let append = self.saving.append(self.now, false);
        context.extend(append.map(Effect::SaveMempool));
    }

    fn has_work(&self) -> bool {
        self.head.is_some()
            && (!self.arrived.is_empty()
                || self.announcements.has_next()
                || !self.restored.is_empty()
                || self.recheck.is_some()
                || self.abandoned.is_due())
    }
}

impl Component for Mempool {
    fn handle_input(
        &mut self,
        environment: &Environment<'_>,
        context: &mut Context,
        input: &Input,
    ) {
        self.set_now(environment);
        match input {
            Input::Transaction { peer, group, id } => {
                let source = peer.zip(*group);
                let source = source.map(|(peer, group)| Announcer { group, peer });
                if source.is_none() || self.config.is_validator {
                    self.announced(context, *id, source);
                }
            }
            Input::FetchedSmall { id, outcome } => {
                self.abandoned.fetched(id);
                self.transaction_fetched(context, id, *outcome);
            }
            Input::Fetched { id, outcome, .. } => {
                let outcome = outcome.as_deref().map_err(|error| *error);
                self.needs.fetched(id, outcome);
            }
            Input::ValidatorSeen { peer } if self.broadcast.add_validator(*peer) => {
                let ready = self.pool.ready().map(|held| held.entry.id);
                let ids: Vec<AtomId> = ready.take(broadcast::MAX_OFFERED).collect();
                self.broadcast.offer(*peer, ids);
            }
            Input::PeerGone { peer } => self.broadcast.forget(peer),
            Input::Announced {
                transaction,
                validators,
            } => {
                self.broadcast.announced(transaction, *validators);
                self.changed();
            }
            _ => {}
        }
    }

    fn advance(&mut self, environment: &Environment<'_>, context: &mut Context) {
        self.set_now(environment);
        self.follow_head(environment, context);
        self.expire(context);
        self.take_transactions(environment, context);
        self.needs.advance(self.now, environment.atoms, context);
        self.take_resolved(context);
        self.restore_some(environment, context);
        self.walk_abandoned(environment, context);
        self.recheck_some(environment, context);
        self.announce(environment, context);
        self.save(context);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        if self.has_work() {
            return Some(Instant::ZERO + self.now);
        }
        let due = [
            self.announcements.deadline(),
            self.pool.next_expiry(),
            self.needs.deadline(),
            self.broadcast.deadline().filter(|_| self.head.is_some()),
            self.saving.deadline(),
        ];
        let due = due.into_iter().flatten().min();
        due.map(|due| Instant::ZERO + due.max(self.now))
    }
}

impl Mempool {
    fn set_now(&mut self, environment: &Environment<'_>) {
        self.now = environment.now.instant.since(Instant::ZERO);
        self.unix = environment.now.unix;
    }

    fn restore_some(&mut self, environment: &Environment<'_>, context: &mut Context) {
        if self.head.is_none() {
            return;
        }
        for _ in 0..RESTORED_PER_CALL {
            let Some(saved) = self.restored.pop_front() else {
                return;
            };
            self.restore_one(environment, context, saved);
        }
    }
}

#[cfg(test)]
mod tests;
