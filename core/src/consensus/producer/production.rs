//! Production of a block for a slot: assembly, nonce search, storage, announcement.

use super::plan::need;
use super::wait::wait;
use super::{
    ASSEMBLY_TIMEOUT, Assembled, AssemblyError, BEHIND_RESTORED_PER_BLOCK, Draft, MAX_LATENESS,
    MissedSlot, Phase, Problem, Producer, RETRY, Slot, Started, ValidatorKey, Wait, growth,
    publish,
};
use crate::arc::Arc;
use crate::atom::AtomId;
use crate::chain::cost::stored_bytes;
use crate::chain::{Header, Miner, difficulty};
use crate::consensus::mempool::Mempool;
use crate::consensus::{
    Commit, Context, Effect, Environment, Event, Head, HeadState, SignedBlock, StoreFailure,
};
use crate::integer::Natural;
use crate::time::Instant;
use crate::trie::BatchHasher;
use crate::wire::object::PayloadType;
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::time::Duration;

/// Interval between attempts while the storage does not have room for an empty block.
const ROOM_RETRY: Duration = Duration::from_secs(5);

impl<H: BatchHasher> Producer<H> {
    /// Does the next piece of work for a block.
    pub(super) fn make_block(
        &mut self,
        environment: &Environment<'_>,
        context: &mut Context,
        mempool: &mut Mempool,
        started: Started,
    ) {
        let now = environment.now;
        if let Phase::Wait {
            why: Wait::Behind, ..
        } = &self.phase
            && !self.is_behind(context)
        {
            self.phase = Phase::Plan;
        }
        match &self.phase {
            Phase::Halted(_) => return,
            Phase::Wait { until, .. } if *until > now.instant => return,
            Phase::Scheduled { begin, .. } if *begin > now.unix => return,
            Phase::Plan | Phase::Wait { .. } | Phase::Scheduled { .. } => {
                self.phase = match self.plan(environment, context, mempool, started) {
                    Ok(phase) => phase,
                    // There is more to read.
                    Err(Wait::Planning) => Phase::Plan,
                    Err(why) => wait(now.instant, why),
                };
            }
            Phase::Assembling { since, .. } if *since + ASSEMBLY_TIMEOUT <= now.instant => {
                self.set_problem(context, Problem::AssemblyStalled);
                self.replan(context);
                self.phase = wait(now.instant, Wait::Failed("the worker stalled".to_owned()));
            }
            Phase::Mining { .. } => self.mine(environment),
            Phase::Assembling { .. } | Phase::Signing { .. } | Phase::Found { .. } => {}
            Phase::Restoring { retry, .. } => {
                if retry.is_some_and(|retry| retry <= now.instant) {
                    self.restore(context);
                }
                return;
            }
            Phase::Storing { retry, .. } => {
                if retry.is_some_and(|retry| retry <= now.instant) {
                    self.store(context);
                }
                return;
            }
        }
        self.publish_in_time(environment, context);
    }

    /// Handles the body that the host has assembled.
    pub(super) fn assembled(
        &mut self,
        environment: &Environment<'_>,
        context: &mut Context,
        mempool: &mut Mempool,
        assembled: &Arc<Assembled>,
    ) {
        let Phase::Assembling {
            slot,
            number,
            since,
        } = &self.phase
        else {
            return;
        };
        if *number != assembled.number {
            return;
        }
        let (slot, since) = (*slot, *since);
        let now = environment.now.instant;
        self.pace.assembled(now.since(since));
        if context.head().map(Head::id) != Some(slot.parent) {
            // The result belongs to a head that has been replaced.
            self.phase = Phase::Plan;
            return;
        }
        mempool.settle_assembly(context, &assembled.rejected, &assembled.lacking);
        self.phase = match &assembled.outcome {
            Ok(_) => match self.header(&slot, assembled) {
                Some((header, previous)) => {
                    self.sign_or_mine(context, slot, header, previous, assembled)
                }
                // The head changed meanwhile.
                None => Phase::Plan,
            },
            Err(AssemblyError::Missing(id)) => wait(now, need(context, *id)),
            Err(AssemblyError::Unreadable(problem)) => {
                let problem = format!("failed to read the head's state: {problem}");
                wait(now, Wait::Failed(problem))
            }
            Err(AssemblyError::NoRoom { needed, room }) => {
                let problem = format!(
                    "not enough storage: an empty block needs {needed} bytes, {room} are available"
                );
                self.no_room(context, problem, now)
            }
        };
    }

    /// Returns the header of a block, and the difficulty of its parent.
    fn header(&self, slot: &Slot, assembled: &Assembled) -> Option<(Header, Natural)> {
        let head = self.head.as_ref().filter(|head| head.id() == slot.parent)?;
        let body = &assembled.outcome.as_ref().ok()?.body;
        let parent = head.block();
        let timestamp = Natural::from(slot.timestamp);
        let difficulty = difficulty(&parent.timestamp, &timestamp, &parent.difficulty);
        let header = body.header(parent, self.address, timestamp, difficulty);
        Some((header, parent.difficulty.clone()))
    }

    fn sign_or_mine(
        &mut self,
        context: &mut Context,
        slot: Slot,
        header: Header,
        previous_difficulty: Natural,
        assembled: &Arc<Assembled>,
    ) -> Phase {
        match &self.config.key {
            ValidatorKey::Secret(key) => Phase::Mining {
                miner: Box::new(Miner::new(header, key.clone(), &previous_difficulty)),
                draft: Draft {
                    slot,
                    assembled: Arc::clone(assembled),
                },
            },
            ValidatorKey::Signer(_) => {
                self.request_signature(context, slot, header, previous_difficulty, assembled)
            }
        }
    }

    /// Tries a slice of nonces.
    fn mine(&mut self, environment: &Environment<'_>) {
        let attempts = self.config.slice_attempts;
        self.pace.begin_slice(environment.now.instant, attempts);
        let Phase::Mining { miner, .. } = &mut self.phase else {
            return;
        };
        let found = miner.try_nonces(attempts, &mut self.hasher);
        self.phase = match (core::mem::replace(&mut self.phase, Phase::Plan), found) {
            (Phase::Mining { draft, .. }, Some(block)) => Phase::Found {
                draft,
                block: Box::new(block),
            },
            (phase, _) => phase,
        };
    }

    /// Requests storage of a block whose time has come; drops a late one.
    pub(super) fn publish_in_time(&mut self, environment: &Environment<'_>, context: &mut Context) {
        let (slot, during) = match &self.phase {
            Phase::Assembling { slot, .. } => (*slot, MissedSlot::Assembling),
            Phase::Mining { draft, .. } => (draft.slot, MissedSlot::Mining),
            Phase::Signing { draft, .. } => (draft.slot, MissedSlot::Signing),
            Phase::Found { draft, .. } => (draft.slot, MissedSlot::Publishing),
            _ => return,
        };
        let now = environment.now.unix;
        let is_late = now > slot.time() + MAX_LATENESS;
        if is_late && let Phase::Signing { .. } = self.phase {
            // The request stays open until the signer replies.
            self.signing_missed(context);
        } else if is_late && !(self.has_signer() && matches!(self.phase, Phase::Found { .. })) {
            // A block from a signer is published late: no other block on its parent is signed.
            self.late += 1;
            context.report(Event::SlotMissed {
                height: slot.height,
                timestamp: slot.timestamp,
                during,
            });
            self.replan(context);
        } else if now >= slot.time()
            && let Phase::Found { .. } = &self.phase
            && let Phase::Found { draft, block } = core::mem::replace(&mut self.phase, Phase::Plan)
        {
            self.phase = Phase::Storing {
                draft,
                block,
                before: self.signed.clone(),
                retry: None,
            };
            self.store(context);
        }
    }

    /// Requests storage of the block and of the signing record.
    fn store(&mut self, context: &mut Context) {
        let Phase::Storing {
            draft,
            block,
            retry,
            ..
        } = &mut self.phase
        else {
            return;
        };
        *retry = None;
        let Some(assembly) = draft.assembly() else {
            self.phase = Phase::Plan;
            return;
        };
        let mark = SignedBlock {
            parent: draft.slot.parent,
            block: block.id(),
            height: draft.slot.height,
            timestamp: draft.slot.timestamp,
        };
        // From here on the block counts as signed.
        if let Err(conflict) = self.signed.add(mark) {
            self.phase = wait(self.now.instant, Wait::Signed(conflict));
            return;
        }
        if !self.unsaved.contains(&mark.block) {
            self.unsaved.push(mark.block);
        }
        let mut atoms = assembly.body.atoms.clone();
        atoms.extend(assembly.transaction_atoms.iter().cloned());
        atoms.extend(block.to_atoms());
        let commit = Commit {
            block: mark.block,
            atoms,
            signed: self.signed.clone(),
        };
        context.push_effect(Effect::Commit(Box::new(commit)));
    }

    /// Announces the block that has been stored.
    pub(super) fn committed(
        &mut self,
        environment: &Environment<'_>,
        context: &mut Context,
        mempool: &mut Mempool,
        id: &AtomId,
        outcome: &Result<(), StoreFailure>,
    ) {
        if outcome.is_ok()
            && let Some(at) = self.unsaved.iter().position(|unsaved| unsaved == id)
        {
            // The record saved with it contains the blocks before it as well.
            self.unsaved.drain(..=at);
        }
        if let Phase::Restoring { .. } = self.phase {
            self.restored(environment, context, id, outcome);
            return;
        }
        let Phase::Storing { draft, block, .. } = &mut self.phase else {
            return;
        };
        if block.id() != *id {
            // It was given up while it was being stored, because of a foreign block of the key.
            return;
        }
        let is_head = context.head().map(Head::id) == Some(draft.slot.parent);
        if let Err(failure) = outcome
            && is_head
        {
            self.not_stored(environment, context, failure);
            return;
        }
        let phase = core::mem::replace(&mut self.phase, Phase::Plan);
        let Phase::Storing { draft, block, .. } = phase else {
            return;
        };
        // The head changed while the block was being stored: the fork choice has decided.
        let Some(assembly) = draft.assembly().filter(|_| outcome.is_ok() && is_head) else {
            return;
        };
        self.resolved(context);
        self.room
            .stored(assembly.growth_bytes, self.allowance.next_block());
        let transactions = assembly.transactions.len();
        let own_bytes = assembly.transactions.iter();
        let own_bytes = own_bytes.map(|one| stored_bytes(one)).sum();
        self.allowance
            .spend(assembly.growth_bytes, own_bytes, transactions);
        // The time for holding back is restored gradually; otherwise invalid heads would cost all
        // of it for every block.
        self.held = match self.made {
            0 => Duration::ZERO,
            _ => self.held.saturating_sub(BEHIND_RESTORED_PER_BLOCK),
        };
        self.made += 1;
        let (id, height) = (block.id(), draft.slot.height);
        context.report(Event::BlockProduced {
            id,
            height,
            transactions,
        });
        let heads = publish::heads(&block, &assembly.body, &assembly.transactions);
        mempool.include(&assembly.body.transaction_ids, id, height);
        if let Some(head) = Head::new(*block, HeadState::Own) {
            context.set_head(head);
        }
        self.offer(environment, context, heads);
    }

    /// Handles a block that could not be stored.
    fn not_stored(
        &mut self,
        environment: &Environment<'_>,
        context: &mut Context,
        failure: &StoreFailure,
    ) {
        let now = environment.now.instant;
        let Phase::Storing {
            draft,
            block,
            before,
            retry,
        } = &mut self.phase
        else {
            return;
        };
        context.report(Event::BlockNotStored {
            height: draft.slot.height,
            problem: failure.to_string(),
        });
        if !failure.is_no_room() || matches!(self.config.key, ValidatorKey::Signer(_)) {
            // The block and its record may be on disk, or in the signer's record: only this block
            // may be published for the slot.
            *retry = Some(now + RETRY);
            self.set_problem(context, Problem::StorageFailed(failure.to_string()));
            return;
        }
        // Without room its record was not saved either. The block has not left this node and never
        // will: it is given up for a smaller one.
        self.signed = before.clone();
        let id = block.id();
        self.unsaved.retain(|unsaved| *unsaved != id);
        let smaller = room_after(draft);
        self.phase = self.retry_smaller(context, smaller, failure, now);
    }

    /// Returns the phase after a lack of room: a new plan with this limit, or a wait if there is
    /// none.
    pub(super) fn retry_smaller(
        &mut self,
        context: &mut Context,
        smaller: Option<growth::Room>,
        failure: &StoreFailure,
        now: Instant,
    ) -> Phase {
        match smaller {
            None => self.no_room(context, failure.to_string(), now),
            Some(room) => {
                self.room = room;
                Phase::Plan
            }
        }
    }

    /// Halts production and reports it until there is room again.
    fn no_room(
        &mut self,
        context: &mut Context,
        problem: alloc::string::String,
        now: Instant,
    ) -> Phase {
        // Start from an empty block to find the largest size that fits.
        self.room = growth::Room::EMPTY;
        self.set_problem(context, Problem::NoRoom(problem));
        Phase::Wait {
            until: now + ROOM_RETRY,
            why: Wait::NoRoom,
        }
    }

    /// Records a problem, and reports it once.
    pub(super) fn set_problem(&mut self, context: &mut Context, problem: Problem) {
        let is_same = self
            .problem
            .as_ref()
            .is_some_and(|other| other.kind() == problem.kind());
        if !is_same {
            context.report(Event::ProductionHalted(problem.clone()));
        }
        self.problem = Some(problem);
    }

    /// Records that a block was stored.
    pub(super) fn resolved(&mut self, context: &mut Context) {
        // A block that was signed before does not bring the signer back.
        if matches!(self.problem, Some(Problem::SignerAway(_))) && !self.has_ready_signer() {
            return;
        }
        if self.problem.take().is_some() {
            context.report(Event::ProductionResumed);
        }
    }

    /// Records that a peer has announced a head.
    pub(super) fn peer_head_announced(&mut self, context: &mut Context) {
        if self.problem == Some(Problem::NoPeerHead) {
            self.resolved(context);
        }
    }

    pub(super) fn offer(
        &mut self,
        environment: &Environment<'_>,
        context: &mut Context,
        mut heads: Vec<AtomId>,
    ) {
        let now = environment.now.instant.since(Instant::ZERO);
        self.offers.take(now, &mut heads);
        for id in heads {
            context.push_effect(Effect::Advertise {
                id,
                kind: PayloadType::LIST,
                lifetime: publish::LIFETIME,
            });
        }
    }
}

/// Returns the limit of the next block after the storage refused this one; `None` if the block was
/// empty.
pub(super) fn room_after(draft: &Draft) -> Option<growth::Room> {
    let assembly = draft.assembly()?;
    let is_empty = assembly.transactions.is_empty();
    (!is_empty).then(|| growth::Room::after_refusal(assembly.growth_bytes))
}
