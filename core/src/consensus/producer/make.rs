//! From one head to the next: plan, build, mine, store, name.

use super::publish;
use super::{
    Draft, LATE, LISTEN, LISTEN_FOR_PEERS, MAX_BEHIND, MAX_BEHIND_LATER, PATIENCE_PER_BLOCK, Phase,
    Producer, RETRY, Started, Wait, monotonic,
};
use crate::atom::{AtomId, AtomSource, MemoryStore};
use crate::chain::{
    Block, Builder, Election, Genesis, MAX_BLOCK_TRANSACTIONS, Miner, REFERENCE_BLOCK_TRANSACTIONS,
    RecordError, Rejection, StateError, difficulty,
};
use crate::consensus::SignedBlock;
use crate::consensus::mempool::admission::{Refusal, Waiting};
use crate::consensus::producer::schedule::{NoSchedule, Schedule};
use crate::consensus::{
    Commit, Context, Effect, Environment, Event, Head, HeadState, PART, StoreFailure,
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
use core::convert::Infallible;
use core::time::Duration;

/// Transactions that are tried for one block beyond those that it may have.
const MAX_REJECTED: usize = 1_024;
/// Headers and nodes of the stakes' trie that one call reads.
const READS_PER_CALL: u32 = 4_096;
/// How long a plan without an end in sight holds, unless something happens.
const REPLAN: Duration = Duration::from_secs(60);
/// A turn is begun this much before the search would have to begin, for building the block.
const MARGIN: Duration = Duration::from_millis(50);
/// A search that needs more bits than this is estimated as if it needed so many.
const MAX_ESTIMATED_BITS: u64 = 48;
/// What one nonce is thought to take before any was tried.
const FIRST_GUESS: Duration = Duration::from_micros(20);

/// How long a search takes, learned from those before.
#[derive(Debug)]
pub(super) struct Pace {
    nanos_per_attempt: u64,
    /// The last slice of nonces: when it began, and how many were in it.
    slice: Option<(Instant, u64)>,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            nanos_per_attempt: u64::try_from(FIRST_GUESS.as_nanos()).unwrap_or(u64::MAX),
            slice: None,
        }
    }
}

impl Pace {
    /// A slice begins at `now`. The one before ended at the latest now: the machine has no clock to
    /// look at in between.
    fn begin(&mut self, now: Instant, attempts: u64) {
        if let Some((began, attempts)) = self.slice.replace((now, attempts)) {
            let nanos = u64::try_from(now.since(began).as_nanos()).unwrap_or(u64::MAX);
            let seen = nanos / attempts.max(1);
            // An average that halves the weight of what was seen every six slices or so.
            self.nanos_per_attempt = (self.nanos_per_attempt / 8 * 7)
                .saturating_add(seen / 8)
                .max(1);
        }
    }

    /// Other work comes now.
    const fn pause(&mut self) {
        self.slice = None;
    }

    /// How long a search for so many bits takes on average.
    fn expected(&self, required_bits: &Natural) -> Duration {
        let bits = required_bits.to_u64().unwrap_or(MAX_ESTIMATED_BITS);
        let attempts = 1_u64 << bits.clamp(1, MAX_ESTIMATED_BITS);
        Duration::from_nanos(self.nanos_per_attempt.saturating_mul(attempts))
    }
}

impl<H: BatchHasher> Producer<H> {
    /// Does the next piece of what is to be done for a block.
    pub(super) fn make_block(
        &mut self,
        world: &Environment<'_>,
        context: &mut Context,
        started: Started,
    ) {
        let now = world.now;
        if let Phase::Wait {
            why: Wait::Behind, ..
        } = &self.phase
            && !context.is_behind()
        {
            self.phase = Phase::Plan;
        }
        match &self.phase {
            Phase::Halted(_) => return,
            Phase::Wait { until, .. } if *until > now.instant => return,
            Phase::Scheduled { begin, .. } if *begin > now.instant => return,
            Phase::Plan | Phase::Wait { .. } | Phase::Scheduled { .. } => {
                self.phase = match self.plan(world, context, started) {
                    Ok(phase) => phase,
                    // There is more to read.
                    Err(Wait::Planning) => Phase::Plan,
                    Err(why) => self.wait(now.instant, why),
                };
            }
            Phase::Mining { .. } => self.mine(world),
            Phase::Found { .. } => {}
            Phase::Storing { retry, .. } => {
                if retry.is_some_and(|retry| retry <= now.instant) {
                    self.store(context);
                }
                return;
            }
        }
        self.publish_in_time(world, context);
    }

    fn wait(&self, now: Instant, why: Wait) -> Phase {
        let pause = match why {
            Wait::NoStake | Wait::NoTurnSoon | Wait::NoChain | Wait::LostBlock(_) => REPLAN,
            _ => RETRY,
        };
        let until = now + pause;
        Phase::Wait { until, why }
    }

    /// What comes next after the head, and its beginning if it is time for that.
    fn plan(
        &mut self,
        world: &Environment<'_>,
        context: &mut Context,
        started: Started,
    ) -> Result<Phase, Wait> {
        self.pace.pause();
        let Some(head) = self.head.clone() else {
            return self.begin_chain(world, context);
        };
        if self
            .config
            .chain_id
            .ne(&head.block().chain_id.to_u64().unwrap_or(u64::MAX))
        {
            return Err(Wait::Trouble("the head is of another chain".to_owned()));
        }
        if self.is_listening(world, started) {
            return Err(Wait::Listening);
        }
        if self.holds_back(world, context) {
            return Err(Wait::Behind);
        }
        if let Some(mark) = self.signed.on(&head.id()).copied() {
            return self.publish_again(world, context, mark);
        }
        let expected = self.pace.expected(&head.block().difficulty);
        let found = world.now.unix.saturating_add(expected);
        let rounded_up = found.as_secs() + u64::from(found.subsec_nanos() > 0);
        let later = self.signed.last().map_or(0, |mark| mark.timestamp + 1);
        let earliest = rounded_up.max(later);
        let timestamp = self.next_turn(world, context, &head, earliest)?;
        // A turn that the search reaches in time is begun so that it does.
        let begin = Duration::from_secs(timestamp).saturating_sub(expected + MARGIN);
        let is_now = timestamp == earliest.max(head.timestamp() + 1);
        if !is_now && begin > world.now.unix {
            let begin = world.now.instant_of(begin);
            return Ok(Phase::Scheduled { begin, timestamp });
        }
        self.signed
            .allows(&head.id(), timestamp)
            .map_err(Wait::Signed)?;
        let draft = self.build(world, context, &head, timestamp)?;
        let miner = self.miner(&head, &draft);
        Ok(Phase::Mining {
            draft: Box::new(draft),
            miner: Box::new(miner),
        })
    }

    /// Whether it is too early to sign: another node with the key may be there.
    fn is_listening(&self, world: &Environment<'_>, started: Started) -> bool {
        let now = world.now.instant;
        match self.first_peer {
            _ if self.made > 0 => false,
            Some(first) => now < first + LISTEN && first < started.at + LISTEN_FOR_PEERS,
            None => self.config.has_seeds && now < started.at + LISTEN_FOR_PEERS,
        }
    }

    /// Whether a longer chain is on its way that is worth waiting for.
    pub(super) fn holds_back(&mut self, world: &Environment<'_>, context: &Context) -> bool {
        if !context.is_behind() {
            self.held_at = None;
            return false;
        }
        let now = world.now.instant;
        if let Some(at) = self.held_at.replace(now) {
            self.held = self.held.saturating_add(now.since(at));
        }
        let limit = if self.made == 0 {
            MAX_BEHIND
        } else {
            MAX_BEHIND_LATER
        };
        self.held < limit
    }

    /// Begins a chain if there is none and this node may.
    fn begin_chain(
        &mut self,
        world: &Environment<'_>,
        context: &mut Context,
    ) -> Result<Phase, Wait> {
        if let Some(saved) = context.saved() {
            let block = Block::read(world.atoms, saved.id).ok();
            let state = saved.state;
            // Where it is not here, it takes a verifier to get it.
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
        let (chain_id, now) = (self.config.chain_id, world.now.unix.as_secs());
        let genesis = Genesis::new(self.address, chain_id.into(), now.into());
        let mut store = MemoryStore::new();
        let block = genesis.build(&mut self.hasher, &mut store);
        let block = block.map_err(|error| Wait::Trouble(error.to_string()))?;
        let atoms = store.iter().map(|(id, atom)| (*id, atom.clone()));
        context.ask(Effect::StoreBlock {
            block: block.id(),
            atoms: atoms.collect(),
        });
        self.genesis = Some(block);
        Err(Wait::LoadingHead)
    }

    /// Begins the chain with a genesis that has been stored; a failure is tried again.
    pub(super) fn genesis_stored(
        &mut self,
        world: &Environment<'_>,
        context: &mut Context,
        id: &AtomId,
        outcome: &Result<(), StoreFailure>,
    ) {
        let Some(block) = self.genesis.take_if(|block| block.id() == *id) else {
            return;
        };
        if let Err(failure) = outcome {
            let why = Wait::Trouble(format!("the genesis could not be stored: {failure}"));
            self.phase = self.wait(world.now.instant, why);
            return;
        }
        self.phase = Phase::Plan;
        if context.has_chain() {
            return;
        }
        let mut heads = publish::own_heads(&block);
        heads.push(block.accounts);
        self.offer(world, context, heads);
        context.report(Event::ChainBegun {
            chain_id: self.config.chain_id,
            genesis: block.id(),
        });
        if let Some(head) = Head::new(block, HeadState::Own) {
            context.set_head(head);
        }
    }

    /// Names a block again that was signed before a crash, if it is here.
    fn publish_again(
        &mut self,
        world: &Environment<'_>,
        context: &mut Context,
        mark: SignedBlock,
    ) -> Result<Phase, Wait> {
        let block = Block::read(world.atoms, mark.block);
        let head = block
            .ok()
            .and_then(|block| Head::new(block, HeadState::Own));
        let head = head.ok_or(Wait::LostBlock(mark))?;
        self.offer(world, context, publish::own_heads(head.block()));
        context.set_head(head);
        Err(Wait::LoadingHead)
    }

    /// The time of this validator's next turn.
    pub(super) fn next_turn(
        &mut self,
        world: &Environment<'_>,
        context: &mut Context,
        head: &Head,
        earliest: u64,
    ) -> Result<u64, Wait> {
        let mut schedule = match self.schedule.take() {
            Some(schedule) => schedule,
            None => {
                let election = self.election(world, context, head)?;
                let schedule = Schedule::new(&election, head.timestamp(), self.address);
                schedule.map_err(|error| match error {
                    NoSchedule::NoStake => Wait::NoStake,
                    NoSchedule::Election(error) => Wait::Trouble(error.to_string()),
                })?
            }
        };
        let next = schedule.next(earliest);
        self.schedule = Some(schedule);
        next.ok_or(Wait::NoTurnSoon)
    }

    /// What decides whose the slots after the head are.
    fn election(
        &mut self,
        world: &Environment<'_>,
        context: &mut Context,
        head: &Head,
    ) -> Result<Election, Wait> {
        let read = self
            .elections
            .load(world.atoms, head.block(), READS_PER_CALL);
        match read {
            Ok(Some(election)) => Ok(election),
            Ok(None) => Err(Wait::Planning),
            Err(RecordError::Malformed { problem, .. }) => Err(Wait::Trouble(format!(
                "the stakes cannot be read: {problem}"
            ))),
            Err(error) => Err(unreadable(context, &error.into())),
        }
    }

    /// The body of a block after `head`, from what waits.
    fn build(
        &mut self,
        world: &Environment<'_>,
        context: &mut Context,
        head: &Head,
        timestamp: u64,
    ) -> Result<Draft, Wait> {
        let election = self.election(world, context, head)?;
        let mut builder = Builder::new(world.atoms, head.block(), &election.stakes);
        let transactions = self.fill(context, &mut builder);
        let claims = self.config.claim_reward && !self.config.reference_followers;
        let claimant = claims.then_some(self.address);
        let body = builder
            .finish(&mut self.hasher, claimant)
            .map_err(|error| unreadable(context, &error))?;
        Ok(Draft {
            parent: head.id(),
            height: head.height() + 1,
            timestamp,
            body,
            transactions,
        })
    }

    /// Applies what waits, in its order, as far as the block takes it; what the rules do not have
    /// leaves the pool.
    fn fill<S: AtomSource<Error = Infallible>>(
        &mut self,
        context: &mut Context,
        builder: &mut Builder<S>,
    ) -> Vec<Waiting> {
        let limit = if self.config.reference_followers {
            REFERENCE_BLOCK_TRANSACTIONS
        } else {
            MAX_BLOCK_TRANSACTIONS
        };
        let limit = limit.min(self.config.max_block_transactions);
        let tried = self.pool.iter().take(limit + MAX_REJECTED);
        let tried: Vec<Waiting> = tried.map(|entry| entry.transaction.clone()).collect();
        let mut taken = Vec::new();
        for transaction in tried {
            if taken.len() >= limit {
                break;
            }
            let id = transaction.id();
            let refusal = match builder.apply(&transaction) {
                Ok(Ok(_)) => {
                    taken.push(transaction);
                    continue;
                }
                // What it looks at may fit into a block of its own.
                Ok(Err(Rejection::BlockListsTooLong { .. })) => continue,
                Ok(Err(Rejection::BlockFull)) => break,
                Ok(Err(rejection)) => Refusal::Rejected(rejection),
                Err(StateError::Malformed { problem, .. }) => Refusal::State(problem),
                Err(error) => match error.missing() {
                    Some(missing) if self.lack(context, missing) => continue,
                    Some(missing) => Refusal::MissingAtom(missing),
                    None => continue,
                },
            };
            self.pool.remove(&id);
            // In a block that was made meanwhile: what everybody wants.
            if refusal != Refusal::Rejected(Rejection::Replayed) {
                self.refuse(context, id, refusal);
            }
        }
        taken
    }

    fn miner(&self, head: &Head, draft: &Draft) -> Miner {
        let parent = head.block();
        let timestamp = Natural::from(draft.timestamp);
        let difficulty = difficulty(&parent.timestamp, &timestamp, &parent.difficulty);
        let header = draft
            .body
            .header(parent, self.address, timestamp, difficulty);
        Miner::new(header, self.config.key.clone(), &parent.difficulty)
    }

    /// Tries a slice of nonces.
    fn mine(&mut self, world: &Environment<'_>) {
        let attempts = self.config.slice_attempts;
        self.pace.begin(world.now.instant, attempts);
        let Phase::Mining { miner, .. } = &mut self.phase else {
            return;
        };
        let found = miner.try_nonces(attempts, &mut self.hasher);
        self.phase = match (core::mem::replace(&mut self.phase, Phase::Plan), found) {
            (Phase::Mining { draft, .. }, Some(block)) => Phase::Found { draft, block },
            (phase, _) => phase,
        };
    }

    /// Has a block stored whose time has come; drops one that is late.
    fn publish_in_time(&mut self, world: &Environment<'_>, context: &mut Context) {
        let (draft, is_found) = match &self.phase {
            Phase::Mining { draft, .. } => (draft, false),
            Phase::Found { draft, .. } => (draft, true),
            _ => return,
        };
        let timestamp = Duration::from_secs(draft.timestamp);
        if world.now.unix > timestamp + LATE {
            self.late += 1;
            let (height, timestamp) = (draft.height, draft.timestamp);
            context.report(Event::SlotMissed { height, timestamp });
            self.phase = Phase::Plan;
        } else if is_found && world.now.unix >= timestamp {
            if let Phase::Found { draft, block } = core::mem::replace(&mut self.phase, Phase::Plan)
            {
                let retry = None;
                self.phase = Phase::Storing {
                    draft,
                    block,
                    retry,
                };
            }
            self.store(context);
        }
    }

    /// Asks for the block to be kept and remembered as signed.
    fn store(&mut self, context: &mut Context) {
        let Phase::Storing {
            draft,
            block,
            retry,
        } = &mut self.phase
        else {
            return;
        };
        *retry = None;
        let mark = SignedBlock {
            parent: draft.parent,
            block: block.id(),
            height: draft.height,
            timestamp: draft.timestamp,
        };
        // From here on it counts as signed, whatever becomes of the attempt to store it.
        if let Err(conflict) = self.signed.add(mark) {
            self.phase = self.wait(self.now.instant, Wait::Signed(conflict));
            return;
        }
        let commit = Commit {
            atoms: publish::atoms(block, &draft.body, &draft.transactions),
            signed: self.signed.clone(),
        };
        context.ask(Effect::Commit(Box::new(commit)));
    }

    /// Names the block that has been stored.
    pub(super) fn committed(
        &mut self,
        world: &Environment<'_>,
        context: &mut Context,
        outcome: &Result<(), StoreFailure>,
    ) {
        let Phase::Storing { draft, retry, .. } = &mut self.phase else {
            return;
        };
        let is_head = context.head().map(Head::id) == Some(draft.parent);
        if let Err(problem) = outcome
            && is_head
        {
            context.report(Event::BlockNotStored {
                height: draft.height,
                problem: problem.to_string(),
            });
            *retry = Some(world.now.instant + RETRY);
            return;
        }
        let phase = core::mem::replace(&mut self.phase, Phase::Plan);
        let Phase::Storing { draft, block, .. } = phase else {
            return;
        };
        // Somebody else's block came while it was being stored: the fork choice has decided.
        if outcome.is_err() || !is_head {
            return;
        }
        // Patience comes back little by little, or heads that lead nowhere would cost all of it
        // for every block.
        self.held = match self.made {
            0 => Duration::ZERO,
            _ => self.held.saturating_sub(PATIENCE_PER_BLOCK),
        };
        self.made += 1;
        let (id, height) = (block.id(), draft.height);
        context.report(Event::BlockMade {
            id,
            height,
            transactions: draft.transactions.len(),
        });
        let heads = publish::heads(&block, &draft.body, &draft.transactions);
        self.pool.include(&draft.body.transaction_ids, height);
        if let Some(head) = Head::new(block, HeadState::Own) {
            context.set_head(head);
        }
        self.offer(world, context, heads);
    }

    fn offer(&mut self, world: &Environment<'_>, context: &mut Context, mut heads: Vec<AtomId>) {
        self.offers.take(monotonic(world), &mut heads);
        for id in heads {
            context.ask(Effect::Advertise {
                id,
                kind: PayloadType::LIST,
                lifetime: publish::LIFETIME,
            });
        }
    }

    /// An atom that a plan waited for has come, or will not.
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

/// Has an atom of the head's state fetched.
fn need(context: &mut Context, id: AtomId) -> Wait {
    context.ask(Effect::Fetch {
        id,
        limit: PART,
        from: None,
    });
    Wait::MissingAtom(id)
}

fn unreadable(context: &mut Context, error: &StateError<Infallible>) -> Wait {
    match (error.missing(), error) {
        (Some(id), _) => need(context, id),
        (None, StateError::Malformed { problem, .. }) => {
            Wait::Trouble(format!("the head's state cannot be read: {problem}"))
        }
        (None, StateError::Source(_) | StateError::Unmeasured { .. }) => {
            Wait::Trouble("the atom store failed".to_owned())
        }
    }
}
