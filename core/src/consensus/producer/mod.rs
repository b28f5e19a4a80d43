//! Block producer of a validator.
//!
//! For each head it computes its next slot, has the host assemble a body over what the mempool holds,
//! searches for a nonce with a new signature for each, waits for the block's time, has it stored, and
//! announces it. Another validator's block on the way means a new head, and it begins again.
//!
//! The block's time is the reference's: when the search is expected to end, rounded up to a second,
//! at least one second after the parent; and then the first second from there that the proposer
//! schedule gives to this validator. A block that is not found [`LATE`] after its time is dropped: a
//! missed slot.
//!
//! | module | contents |
//! | --- | --- |
//! | [`schedule`] | slots of one validator |
//! | [`assemble`] | a block's body, made apart from this thread within a budget of time |
//! | [`growth`] | what blocks may leave in storage |
//! | [`publish`] | what of a block is stored and advertised |
//!
//! Invariants:
//! - It never publishes two blocks on one parent, nor one that is not later than all before it, also
//!   not after a crash: what was signed is saved before it is published.
//! - It signs nothing while it listens at its start, nor once it has seen a block of its key that it
//!   did not make (a valid signature is required, so that only the key can stop it), until the key
//!   has been quiet; see `foreign_blocks`.
//! - Each call does one bounded piece of work: a plan, or one slice of nonces. Bodies are made by the
//!   host's worker.
//! - What is due at a wall time is looked at every [`WALL_INTERVAL`], with the wall clock as it is
//!   then; a clock that jumps makes it plan anew.

pub mod assemble;
mod duplicate_validator;
mod foreign_blocks;
pub mod growth;
mod make;
mod pace;
mod plan;
pub mod publish;
pub mod schedule;
mod status;
mod timing;

pub use assemble::{
    Assembled, Assembly, AssemblyBudget, AssemblyError, AssemblyJob, Interrupt, NoInterrupt,
};
pub use foreign_blocks::{QUIET, QUIET_OTHER, UNUSED_TURNS, UNUSED_TURNS_OTHER};
pub use status::{Activity, Halt, MissedSlot, Problem, ValidatorStatus, Wait};

use super::mempool::Mempool;
use super::signing_record::MAX_SIGNED_BLOCKS;
use super::{Context, Environment, Event, Head, Input, Now, SigningRecord, Start};
use crate::atom::AtomId;
use crate::chain::{Address, Block, ElectionCache, Miner};
use crate::crypto::SigningKey;
use crate::time::Instant;
use crate::trie::BatchHasher;
use crate::wire::engine::ListLimit;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;
use duplicate_validator::Sightings;
use foreign_blocks::{ForeignBlocks, signed_block};
use growth::Allowance;
use pace::Pace;
use publish::Offers;
use schedule::Schedule;

/// A block that is not found so long after its time is dropped.
pub const LATE: Duration = Duration::from_secs(2);
/// How long a validator listens for another one with its key once a peer has named a head.
pub const LISTEN: Duration = Duration::from_secs(6);
/// How long it waits for a peer to name one, if there are seeds.
pub const LISTEN_FOR_PEERS: Duration = Duration::from_secs(30);
/// How long it holds back for a longer chain before its first block.
pub const MAX_BEHIND: Duration = Duration::from_secs(600);
/// How long in all it holds back after that: any peer can name heads that lead nowhere.
pub const MAX_BEHIND_LATER: Duration = Duration::from_secs(10);
/// What each block of its own gives back of that.
pub const PATIENCE_PER_BLOCK: Duration = Duration::from_millis(500);
/// Time between two looks at the wall clock while something is due at a wall time.
pub const WALL_INTERVAL: Duration = Duration::from_secs(1);
/// Clocks that disagree by more than this since the last call have jumped.
pub const MAX_CLOCK_JUMP: Duration = Duration::from_secs(2);
/// Default of [`ProducerConfig::max_assembly_time`].
pub const MAX_ASSEMBLY_TIME: Duration = Duration::from_millis(500);
/// An assembly that the host has not answered after this time is given up.
pub const ASSEMBLY_PATIENCE: Duration = Duration::from_secs(30);
/// Time before something that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// Head and body of a block, and each number of them in a few bytes.
const SMALL_RECORD: ListLimit = ListLimit {
    atoms: 15,
    bytes: 64 << 10,
};

/// Configuration of a producer.
#[derive(Clone, Debug)]
pub struct ProducerConfig {
    /// The key that it signs with.
    pub key: SigningKey,
    /// The chain.
    pub chain_id: u64,
    /// Whether its blocks claim the reward.
    pub claim_reward: bool,
    /// Whether its blocks keep to what reference nodes can follow.
    pub reference_followers: bool,
    /// Transactions that a block may have.
    pub max_block_transactions: usize,
    /// Bytes, as stored, that a block may leave on average; 0 for no limit. See [`growth`].
    pub max_block_growth_bytes: u64,
    /// Processor time that assembling a block may take.
    pub max_assembly_time: Duration,
    /// Whether seeds are configured: then it begins no chain of its own, and listens for them.
    pub has_seeds: bool,
    /// Nonces that are tried in one call.
    pub slice_attempts: u64,
}

impl ProducerConfig {
    /// Returns the documented defaults for this key.
    #[must_use]
    pub fn new(key: SigningKey) -> Self {
        Self {
            key,
            chain_id: 0,
            claim_reward: true,
            reference_followers: false,
            max_block_transactions: 4_096,
            max_block_growth_bytes: growth::DEFAULT_GROWTH_BYTES,
            max_assembly_time: MAX_ASSEMBLY_TIME,
            has_seeds: false,
            slice_attempts: 256,
        }
    }
}

/// Place and time of a block that is being made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Slot {
    parent: AtomId,
    height: u64,
    timestamp: u64,
}

impl Slot {
    const fn time(&self) -> Duration {
        Duration::from_secs(self.timestamp)
    }
}

/// A block that is being made.
#[derive(Debug)]
struct Draft {
    slot: Slot,
    assembled: Arc<Assembled>,
}

impl Draft {
    /// Returns the body. A draft is made only of an assembly that has one.
    fn assembly(&self) -> Option<&Assembly> {
        self.assembled.outcome.as_ref().ok()
    }
}

enum Phase {
    /// It is to be found out what comes next.
    Plan,
    /// Nothing to do before this instant; then a new plan.
    Wait { until: Instant, why: Wait },
    /// The slot comes; at this wall time the block is begun.
    Scheduled { begin: Duration, timestamp: u64 },
    /// The host assembles the body.
    Assembling {
        slot: Slot,
        number: u64,
        since: Instant,
    },
    /// The nonce is searched for.
    Mining { draft: Draft, miner: Box<Miner> },
    /// The block is there, and its time is not.
    Found { draft: Draft, block: Box<Block> },
    /// It is being stored. It is tried again at this instant if that failed.
    Storing {
        draft: Draft,
        block: Box<Block>,
        /// The signing record without it.
        before: SigningRecord,
        retry: Option<Instant>,
    },
    /// It signs nothing for now.
    Halted(Halt),
}

/// Block producer. See the [module](self).
pub struct Producer<H> {
    config: ProducerConfig,
    address: Address,
    hasher: H,
    signed: SigningRecord,
    /// Blocks that it has signed in this run and whose record may not be on the disk, oldest first.
    unsaved: Vec<AtomId>,
    /// Blocks of its key from elsewhere that are in its record since it signs again. When full, the
    /// oldest is forgotten.
    adopted: VecDeque<AtomId>,
    sightings: Sightings,
    /// Blocks of the key that another node made, since it has stopped signing for them.
    foreign: ForeignBlocks,
    started: Option<Started>,
    /// When a peer first named a head.
    first_peer: Option<Instant>,
    /// How long it has held back since its last block, and when it did last.
    held: Duration,
    held_at: Option<Instant>,
    head: Option<Head>,
    /// A genesis of its own that is being stored.
    genesis: Option<Block>,
    schedule: Option<Schedule>,
    elections: ElectionCache,
    offers: Offers,
    pace: Pace,
    allowance: Allowance,
    /// What the next block may leave after one found no room.
    room: growth::Room,
    problem: Option<Problem>,
    phase: Phase,
    jobs: u64,
    /// The time of the last call.
    now: Now,
    made: u64,
    late: u64,
}

impl<H: BatchHasher> fmt::Debug for Producer<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("validator", &self.address)
            .field("activity", &self.activity())
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, Debug)]
struct Started {
    at: Instant,
    own_since: Start,
}

impl<H: BatchHasher> Producer<H> {
    /// Creates a producer that has signed what `signed` says in earlier runs.
    #[must_use]
    pub fn new(config: ProducerConfig, signed: SigningRecord, hasher: H) -> Self {
        Self {
            address: Address::from(config.key.verifying_key()),
            hasher,
            signed,
            unsaved: Vec::new(),
            adopted: VecDeque::new(),
            sightings: Sightings::default(),
            foreign: ForeignBlocks::default(),
            started: None,
            first_peer: None,
            held: Duration::ZERO,
            held_at: None,
            head: None,
            genesis: None,
            schedule: None,
            elections: ElectionCache::default(),
            offers: Offers::default(),
            pace: Pace::default(),
            allowance: Allowance::new(config.max_block_growth_bytes),
            room: growth::Room::default(),
            problem: None,
            phase: Phase::Plan,
            jobs: 0,
            now: Now {
                instant: Instant::ZERO,
                unix: Duration::ZERO,
            },
            made: 0,
            late: 0,
            config,
        }
    }

    /// Returns the account that it stakes and earns with.
    #[must_use]
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// Returns the nonces that were tried so far for the block at hand.
    #[must_use]
    pub fn attempts(&self) -> u64 {
        match &self.phase {
            Phase::Mining { miner, .. } => miner.attempts(),
            _ => 0,
        }
    }

    /// Returns the status.
    #[must_use]
    pub fn status(&self) -> ValidatorStatus {
        ValidatorStatus {
            validator: *self.address.as_bytes(),
            activity: self.activity(),
            problem: self.problem.clone(),
            blocks_made: self.made,
            blocks_late: self.late,
        }
    }

    /// Returns what it is doing.
    #[must_use]
    pub fn activity(&self) -> Activity {
        match &self.phase {
            Phase::Plan if self.head.is_none() => Activity::Waiting(Wait::LoadingHead),
            Phase::Plan => Activity::Waiting(Wait::Planning),
            Phase::Wait { why, .. } => Activity::Waiting(why.clone()),
            Phase::Scheduled { timestamp, .. } => Activity::Scheduled {
                timestamp: *timestamp,
            },
            Phase::Assembling { slot, .. } => Activity::Assembling {
                height: slot.height,
            },
            Phase::Mining { draft, miner } => Activity::Mining {
                height: draft.slot.height,
                attempts: miner.attempts(),
            },
            Phase::Found { draft, .. } => Activity::Scheduled {
                timestamp: draft.slot.timestamp,
            },
            Phase::Storing { draft, .. } => Activity::Storing {
                height: draft.slot.height,
            },
            Phase::Halted(halt) => Activity::Halted(halt.clone()),
        }
    }

    /// Returns what it has signed.
    #[must_use]
    pub const fn signed(&self) -> &SigningRecord {
        &self.signed
    }

    /// Records an input; does no work that can wait.
    pub fn handle_input(
        &mut self,
        environment: &Environment<'_>,
        context: &mut Context,
        mempool: &mut Mempool,
        input: &Input,
    ) {
        self.notice_time(environment, context);
        match input {
            Input::PeerHead { peer, id, .. } => {
                self.first_peer.get_or_insert(environment.now.instant);
                self.sightings.name(*id, *peer);
                self.peer_head_named(context);
            }
            Input::FetchedSmall { id, .. } => self.sightings.fetched(id, None),
            Input::Fetched { id, outcome, .. } => {
                self.sightings.fetched(id, outcome.as_deref().ok());
                self.state_fetched(id, outcome.is_ok());
            }
            Input::Assembled(assembled) => {
                self.assembled(environment, context, mempool, assembled);
            }
            Input::BlockStored { block, outcome } => {
                self.genesis_stored(environment, context, block, outcome);
            }
            Input::Committed { block, outcome } => {
                self.committed(environment, context, mempool, block, outcome);
            }
            _ => {}
        }
    }

    /// Does one bounded piece of due work. Called after inputs, after a change of the head, and at
    /// [`Producer::poll_timeout`].
    pub fn advance(
        &mut self,
        environment: &Environment<'_>,
        context: &mut Context,
        mempool: &mut Mempool,
    ) {
        self.notice_time(environment, context);
        let started = self.start(environment, context);
        self.follow_head(context);
        self.look_for_second(environment, context, started);
        self.make_block(environment, context, mempool, started);
    }

    /// Returns when [`Producer::advance`] is due if nothing happens before.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.sightings.has_news() || self.foreign.is_walking() {
            return Some(self.now.instant);
        }
        let next = match &self.phase {
            Phase::Plan | Phase::Mining { .. } => return Some(self.now.instant),
            Phase::Wait { until, .. } => *until,
            Phase::Scheduled { begin, .. } => self.now.instant_of(*begin),
            Phase::Found { draft, .. } => self.now.instant_of(draft.slot.time()),
            Phase::Assembling { since, .. } => *since + ASSEMBLY_PATIENCE,
            Phase::Storing { retry, .. } => (*retry)?,
            Phase::Halted(_) => self.now.instant + RETRY,
        };
        // By then the wall clock may say something else.
        Some(next.min(self.now.instant + WALL_INTERVAL))
    }

    /// Takes the time of a call, and plans anew if the wall clock has jumped.
    fn notice_time(&mut self, environment: &Environment<'_>, context: &mut Context) {
        let before = core::mem::replace(&mut self.now, environment.now);
        let passed = environment.now.instant.since(before.instant);
        let expected = before.unix.saturating_add(passed);
        let jump = environment.now.unix.abs_diff(expected);
        if self.started.is_some() && jump > MAX_CLOCK_JUMP {
            self.schedule = None;
            // What was signed stays signed; everything else is planned by the clock as it is now.
            if !matches!(self.phase, Phase::Storing { .. } | Phase::Halted(_)) {
                self.plan_anew(context);
            }
        }
    }

    /// Gives up what it is doing for a new plan.
    fn plan_anew(&mut self, context: &mut Context) {
        if matches!(self.phase, Phase::Assembling { .. }) {
            context.ask(super::Effect::CancelAssembly);
        }
        self.phase = Phase::Plan;
    }

    fn start(&mut self, environment: &Environment<'_>, context: &mut Context) -> Started {
        if let Some(started) = self.started {
            return started;
        }
        let started = Started {
            at: environment.now.instant,
            own_since: Start::new(&self.signed),
        };
        self.started = Some(started);
        context.ask(super::Effect::SetValidator(true));
        started
    }

    /// Takes notice of another head.
    fn follow_head(&mut self, context: &mut Context) {
        let head = context.head();
        if head.map(Head::id) == self.head.as_ref().map(Head::id) {
            return;
        }
        self.head = head.cloned();
        self.schedule = None;
        if let Some(head) = &self.head {
            self.foreign.follow_head(head);
            self.sightings.note(head.id());
        }
        if !matches!(self.phase, Phase::Storing { .. } | Phase::Halted(_)) {
            self.plan_anew(context);
        }
    }

    /// Stops signing if a block of the key has been seen that this node did not make, and resumes
    /// once the key has been quiet.
    fn look_for_second(
        &mut self,
        environment: &Environment<'_>,
        context: &mut Context,
        started: Started,
    ) {
        let (address, chain_id, signed) = (self.address, self.config.chain_id, &self.signed);
        let is_foreign = |block: &Block| {
            let Some(timestamp) = block.timestamp.to_u64() else {
                return false;
            };
            block.validator == address
                && block.chain_id.to_u64() == Some(chain_id)
                && signed.is_foreign(&block.id(), timestamp, started.own_since)
                && block.verify_signature().is_ok()
        };
        let judge = |block: &Block| is_foreign(block).then(|| signed_block(block)).flatten();
        let sighted = self.sightings.check(environment.atoms, judge);
        let foreign = &mut self.foreign;
        let walked = self
            .head
            .as_ref()
            .and_then(|head| foreign.walk(environment.atoms, head, &address, is_foreign));
        for (id, from) in self.sightings.take_wanted() {
            let limit = SMALL_RECORD;
            context.ask(super::Effect::FetchSmall { id, limit, from });
        }
        for block in [sighted, walked].into_iter().flatten() {
            self.foreign.add(environment.now.instant, block);
            self.halt_for_second(context);
        }
        if matches!(self.phase, Phase::Halted(Halt::SecondValidator { .. })) {
            self.resume_if_quiet(environment, context);
        }
    }

    fn halt_for_second(&mut self, context: &mut Context) {
        let Some(newest) = self.foreign.newest() else {
            return;
        };
        let halt = Halt::SecondValidator {
            block: newest.block,
            timestamp: newest.timestamp,
        };
        if !matches!(self.phase, Phase::Halted(Halt::SecondValidator { .. })) {
            context.report(Event::ProducerHalted(halt.clone()));
            context.ask(super::Effect::SetValidator(false));
            self.plan_anew(context);
        }
        self.phase = Phase::Halted(halt);
    }

    /// Signs again once no other node has used the key for long enough.
    fn resume_if_quiet(&mut self, environment: &Environment<'_>, context: &mut Context) {
        let Some(head) = self.head.clone() else {
            return;
        };
        let unix_seconds = environment.now.unix.as_secs();
        if let Some(has_gone_back) = self.foreign.wants_turn(unix_seconds) {
            if has_gone_back {
                self.schedule = None;
            }
            if let Ok(turn) = self.next_slot(environment, context, &head, unix_seconds + 1) {
                self.foreign.watch_turn(turn, unix_seconds);
            }
        }
        let left = self.foreign.left(environment.now.instant, &self.signed);
        if !left.is_over()
            || self.foreign.is_walking()
            || self.sightings.has_news()
            || self.holds_back(environment, context)
        {
            return;
        }
        if self.needs_peer_head() {
            self.trouble(context, Problem::NoPeerHead);
            return;
        }
        self.peer_head_named(context);
        for block in self.foreign.until(unix_seconds) {
            self.signed.adopt(*block);
            self.adopted.push_back(block.block);
        }
        let known = self.adopted.len().saturating_sub(MAX_SIGNED_BLOCKS);
        self.adopted.drain(..known);
        let newest = self.foreign.newest().map(|block| block.block);
        self.foreign.resume();
        if let Some(started) = &mut self.started {
            started.own_since = Start::new(&self.signed);
        }
        self.phase = Phase::Plan;
        context.report(Event::ProducerResumed {
            newest: newest.unwrap_or_default(),
        });
        context.ask(super::Effect::SetValidator(true));
    }
}

#[cfg(test)]
mod tests;
