//! Planning: from a head to the next slot of this validator.

use super::assemble::AssemblyBudget;
use super::schedule::{NoSchedule, Schedule};
use super::timing::Timing;
use super::wait::wait;
use super::{
    AssemblyJob, LISTEN, LISTEN_FOR_PEERS, MAX_BEHIND, MAX_BEHIND_LATER, Phase, Problem, Producer,
    Slot, Started, Wait, publish,
};
use crate::atom::{AtomId, MemoryStore};
use crate::chain::{
    Block, Election, Genesis, MAX_BLOCK_TRANSACTIONS, REFERENCE_BLOCK_TRANSACTIONS, RecordError,
    StateError,
};
use crate::consensus::mempool::Mempool;
use crate::consensus::mempool::admission::contract_list;
use crate::consensus::mempool::verdicts::Verdict;
use crate::consensus::{
    Conflict, Context, Effect, Environment, Event, Head, HeadState, PART, SignedBlock, StoreFailure,
};
use crate::engine::FetchRequest;
use crate::trie::BatchHasher;
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::ToString;
use core::convert::Infallible;
use core::time::Duration;

/// Number of transactions that are tried for one block beyond its maximum.
const MAX_REJECTED: usize = 1_024;
/// Maximum number of headers and stake trie nodes read in one call.
const READS_PER_CALL: u32 = 4_096;
/// Minimum time for an assembly.
pub(super) const MIN_ASSEMBLY: Duration = Duration::from_millis(50);
/// Divisor of the processor time for an assembly that gives the time until the body is hashed.
const HASHING_PART: u32 = 2;

impl<H: BatchHasher> Producer<H> {
    /// Computes the next step after the head, and begins it if it is due.
    pub(super) fn plan(
        &mut self,
        environment: &Environment<'_>,
        context: &mut Context,
        mempool: &Mempool,
        started: Started,
    ) -> Result<Phase, Wait> {
        self.pace.pause();
        let Some(head) = self.head.clone() else {
            return self.begin_chain(environment, context);
        };
        if head.block().chain_id.to_u64() != Some(self.config.chain_id) {
            return Err(Wait::Failed("the head belongs to another chain".to_owned()));
        }
        if self.is_listening(environment, started) {
            return Err(Wait::Listening);
        }
        if self.needs_peer_head() {
            self.set_problem(context, Problem::NoPeerHead);
            return Err(Wait::NoPeerHead);
        }
        if self.holds_back(environment, context) {
            return Err(Wait::Behind);
        }
        if context.avoids(&head.id()) {
            return Err(Wait::Avoided(head.id()));
        }
        if let Some(phase) = self.publish_signed(environment, context, &head) {
            return Ok(phase);
        }
        let mark = self.signed.on(&head.id()).copied();
        if let Some(mark) = mark.filter(|mark| context.avoids(&mark.block)) {
            self.set_problem(context, Problem::AvoidedBlock(mark.block));
            return Err(Wait::Avoided(mark.block));
        }
        if matches!(self.problem, Some(Problem::AvoidedBlock(_))) {
            self.resolved(context);
        }
        if let Some(mark) = mark {
            return self.publish_again(environment, context, mark);
        }
        if self.waits_for_signer() {
            return Err(Wait::Signer);
        }
        let now = environment.now;
        let search = self.pace.search(&head.block().difficulty);
        let work = self.pace.assembly().saturating_add(search);
        let timing = Timing::new(now.unix, work);
        let signed = self.signed.last().map(|mark| mark.timestamp);
        let after_interval = head
            .timestamp()
            .saturating_add(self.config.block_interval_seconds);
        let earliest = timing.earliest(signed).max(after_interval);
        let timestamp = self.next_slot(environment, context, &head, earliest)?;
        if let Some(begin) = timing.begin(timestamp, head.timestamp()) {
            return Ok(Phase::Scheduled { begin, timestamp });
        }
        self.signed
            .allows(&head.id(), timestamp)
            .map_err(Wait::Signed)?;
        let slot = Slot {
            parent: head.id(),
            height: head.height() + 1,
            timestamp,
        };
        let job = self.job(environment, context, mempool, &head, &slot, search)?;
        let number = job.number;
        context.push_effect(Effect::Assemble(Box::new(job)));
        let since = now.instant;
        Ok(Phase::Assembling {
            slot,
            number,
            since,
        })
    }

    /// Returns the job that makes the body of a block after `head` from the ready transactions.
    fn job(
        &mut self,
        environment: &Environment<'_>,
        context: &mut Context,
        mempool: &Mempool,
        head: &Head,
        slot: &Slot,
        search: Duration,
    ) -> Result<AssemblyJob, Wait> {
        let election = self.election(environment, context, head)?;
        let limit = match self.config.reference_followers {
            true => REFERENCE_BLOCK_TRANSACTIONS,
            false => MAX_BLOCK_TRANSACTIONS,
        };
        let limit = limit.min(self.config.max_block_transactions);
        let ready = mempool.pool().ready().take(limit + MAX_REJECTED);
        let transactions: alloc::vec::Vec<_> =
            ready.map(|held| held.entry.transaction.clone()).collect();
        let lists = transactions.iter().filter_map(|one| contract_list(one));
        let lengths = lists.filter_map(|list| match mempool.verdicts().of(&list)? {
            Verdict::Measured(length) => Some((list, length)),
            Verdict::TooLong => None,
        });
        let lengths = lengths.collect();
        let claims = self.config.claim_reward && !self.config.reference_followers;
        // The search has to begin in time.
        let now = environment.now;
        let until = now.instant_of(slot.time().saturating_sub(search));
        let until = until.max(now.instant + MIN_ASSEMBLY);
        let allowed = self.allowance.next_block();
        self.jobs += 1;
        Ok(AssemblyJob {
            number: self.jobs,
            parent: head.clone(),
            stakes: election.stakes,
            transactions,
            lengths,
            claimant: claims.then_some(self.address),
            max_transactions: limit,
            max_growth_bytes: self.room.bound(allowed),
            growth_per_transaction: self.allowance.per_transaction(),
            budget: AssemblyBudget {
                cpu: self.config.max_assembly_time / HASHING_PART,
                until,
            },
        })
    }

    /// Returns whether it is too early to sign, because a duplicate validator may exist.
    pub(super) fn is_listening(&self, environment: &Environment<'_>, started: Started) -> bool {
        let now = environment.now.instant;
        match self.first_peer {
            _ if self.made > 0 => false,
            // An announced head may be a block of the key: it is read first, if possible.
            Some(first) => {
                now < first + LISTEN || self.observed.is_waiting() && now < first + LISTEN_FOR_PEERS
            }
            None => self.config.has_seeds && now < started.at + LISTEN_FOR_PEERS,
        }
    }

    /// Returns whether this node did not sign the newest known block of the key: the key was used
    /// on another node, or the signing record is lost. Only peers know what it has signed since
    /// then.
    fn was_used_elsewhere(&self) -> bool {
        // At the genesis there is nothing to learn.
        let is_begun = self.head.as_ref().is_some_and(|head| head.height() > 0);
        is_begun && self.made == 0 && !self.foreign.is_newest(self.signed.last())
    }

    /// Returns whether a peer has to announce a head first. If seeds are configured, there are
    /// other nodes.
    ///
    /// A node that made the key's newest block continues without peers: a chain must survive a
    /// restart of all its validators.
    pub(super) fn needs_peer_head(&self) -> bool {
        self.config.has_seeds && self.first_peer.is_none() && self.was_used_elsewhere()
    }

    /// Returns whether a longer chain is being synced. A key that was used elsewhere also waits for
    /// slow headers: its newest blocks may be among them.
    pub(super) fn is_behind(&self, context: &Context) -> bool {
        context.is_behind() || context.may_be_behind() && self.was_used_elsewhere()
    }

    /// Returns whether to hold back for a longer chain that is being synced.
    pub(super) fn holds_back(&mut self, environment: &Environment<'_>, context: &Context) -> bool {
        if !self.is_behind(context) {
            self.held_at = None;
            return false;
        }
        let now = environment.now.instant;
        if let Some(at) = self.held_at.replace(now) {
            self.held = self.held.saturating_add(now.since(at));
        }
        let limit = match self.made {
            0 => MAX_BEHIND,
            _ => MAX_BEHIND_LATER,
        };
        self.held < limit
    }

    /// Loads the saved head, or creates a chain if there is none and this node may.
    fn begin_chain(
        &mut self,
        environment: &Environment<'_>,
        context: &mut Context,
    ) -> Result<Phase, Wait> {
        if let Some(saved) = context.saved() {
            let block = Block::read(environment.atoms, saved.id).ok();
            let state = saved.state;
            // A block that is not stored has to be fetched by sync.
            if let Some(head) = block.and_then(|block| Head::new(block, state)) {
                context.set_head(head);
            }
            return Err(Wait::LoadingHead);
        }
        if self.config.has_seeds {
            return Err(Wait::NoChain);
        }
        if self.genesis.is_some() {
            return Err(Wait::LoadingHead);
        }
        let (chain_id, now) = (self.config.chain_id, environment.now.unix.as_secs());
        let genesis = Genesis::new(self.address, chain_id.into(), now.into());
        let mut store = MemoryStore::new();
        let block = genesis.build(&mut self.hasher, &mut store);
        let block = block.map_err(|error| Wait::Failed(error.to_string()))?;
        let atoms = store.iter().map(|(id, atom)| (*id, atom.clone()));
        context.push_effect(Effect::StoreBlock {
            block: block.id(),
            atoms: atoms.collect(),
        });
        self.genesis = Some(block);
        Err(Wait::LoadingHead)
    }

    /// Starts the chain with a genesis that has been stored; a failure is retried.
    pub(super) fn genesis_stored(
        &mut self,
        environment: &Environment<'_>,
        context: &mut Context,
        id: &AtomId,
        outcome: &Result<(), StoreFailure>,
    ) {
        let Some(block) = self.genesis.take_if(|block| block.id() == *id) else {
            return;
        };
        if context.has_chain() {
            // A head came meanwhile. The current phase is work for that one.
            return;
        }
        // Halted, it stays so: the chain begins without its blocks.
        let is_waiting = matches!(self.phase, Phase::Plan | Phase::Wait { .. });
        if let Err(failure) = outcome {
            if is_waiting {
                let why = Wait::Failed(format!("failed to store the genesis: {failure}"));
                self.phase = wait(environment.now.instant, why);
            }
            return;
        }
        if is_waiting {
            self.phase = Phase::Plan;
        }
        let mut heads = publish::own_heads(&block);
        heads.push(block.accounts);
        self.offer(environment, context, heads);
        context.report(Event::ChainCreated {
            chain_id: self.config.chain_id,
            genesis: block.id(),
        });
        if let Some(head) = Head::new(block, HeadState::Own) {
            context.set_head(head);
        }
    }

    /// Announces a block again that was signed before a crash, if it is stored.
    fn publish_again(
        &mut self,
        environment: &Environment<'_>,
        context: &mut Context,
        mark: SignedBlock,
    ) -> Result<Phase, Wait> {
        if self.unsaved.contains(&mark.block) {
            // Storing it failed, and was given up because of a foreign block of the key. After a
            // crash this node might not know that it has signed it.
            return Err(Wait::LostBlock(mark));
        }
        if self.adopted.contains(&mark.block) {
            // Another node made it: sync has to verify it and fetch its state.
            return Err(Wait::Signed(Conflict::SameParent(mark)));
        }
        let block = Block::read(environment.atoms, mark.block);
        let head = block
            .ok()
            .and_then(|block| Head::new(block, HeadState::Own));
        let head = head.ok_or(Wait::LostBlock(mark))?;
        self.offer(environment, context, publish::own_heads(head.block()));
        context.set_head(head);
        Err(Wait::LoadingHead)
    }

    /// Returns the timestamp of this validator's next slot, in seconds since 1970.
    pub(super) fn next_slot(
        &mut self,
        environment: &Environment<'_>,
        context: &mut Context,
        head: &Head,
        earliest: u64,
    ) -> Result<u64, Wait> {
        let mut schedule = match self.schedule.take() {
            Some(schedule) => schedule,
            None => {
                let election = self.election(environment, context, head)?;
                let schedule = Schedule::new(&election, head.timestamp(), self.address);
                schedule.map_err(|error| match error {
                    NoSchedule::NoStake => Wait::NoStake,
                    NoSchedule::Election(error) => Wait::Failed(error.to_string()),
                })?
            }
        };
        let next = schedule.next(earliest);
        self.schedule = Some(schedule);
        next.ok_or(Wait::NoSlotSoon)
    }

    /// Returns the leader election of the slots after the head.
    fn election(
        &mut self,
        environment: &Environment<'_>,
        context: &mut Context,
        head: &Head,
    ) -> Result<Election, Wait> {
        let read = self
            .elections
            .load(environment.atoms, head.block(), READS_PER_CALL);
        match read {
            Ok(Some(election)) => Ok(election),
            Ok(None) => Err(Wait::Planning),
            Err(RecordError::Malformed { problem, .. }) => Err(Wait::Failed(format!(
                "failed to read the stakes: {problem}"
            ))),
            Err(error) => Err(unreadable(context, &error.into())),
        }
    }

    /// Makes a new plan if the atom that the plan waits for has arrived.
    pub(super) fn state_fetched(&mut self, id: &AtomId, is_here: bool) {
        if let Phase::Wait {
            why: Wait::MissingAtom(missing),
            ..
        } = &self.phase
            && missing == id
            && is_here
        {
            self.phase = Phase::Plan;
        }
    }
}

/// Fetches an atom of the head's state.
pub(super) fn need(context: &mut Context, id: AtomId) -> Wait {
    context.push_effect(Effect::Fetch(FetchRequest::beginning(id, PART)));
    Wait::MissingAtom(id)
}

fn unreadable(context: &mut Context, error: &StateError<Infallible>) -> Wait {
    match (error.missing(), error) {
        (Some(id), _) => need(context, id),
        (None, StateError::Malformed { problem, .. }) => {
            Wait::Failed(format!("failed to read the head's state: {problem}"))
        }
        (None, StateError::Source(_) | StateError::Unmeasured { .. }) => {
            Wait::Failed("the atom store failed".to_owned())
        }
    }
}
