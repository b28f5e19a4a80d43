//! The validator: a state machine that makes blocks when its turn comes.
//!
//! For each head it finds its next turn, builds a block over what the pool holds, searches for a
//! nonce with a new signature for each, waits for the block's time, has it stored, and names it.
//! Somebody else's block on the way means a new head, and it begins again.
//!
//! The block's time is the reference's: when the search is expected to end, rounded up to a second,
//! at least one second after the parent; and then the first second from there that the schedule
//! gives to this validator. A block that is not found [`LATE`] after its time is dropped.
//!
//! Invariants:
//! - It never publishes two blocks on one parent, nor one that is not later than all before it, also
//!   not after a crash: what was signed is remembered before it is published.
//! - It signs nothing while it listens at its start, nor once it has seen a block of its key that it
//!   did not make (a valid signature is asked for, so that only the key can stop it), until the key
//!   has been quiet; see [`foreign_blocks`].
//! - Each call does one bounded piece of work: a few transactions, one body, or one slice of nonces.
//! - Nothing that a peer sends makes it hold more than the bounds of [`Pool`], [`Intake`] and of
//!   this module.

mod duplicate_validator;
mod foreign_blocks;
mod make;
pub mod publish;
pub mod schedule;
mod status;
mod transactions;

pub use foreign_blocks::{QUIET, QUIET_OTHER, UNUSED_TURNS, UNUSED_TURNS_OTHER};
pub use status::{Activity, Halt, ValidatorStatus, Wait};

use super::mempool::admission::{Refusal, Waiting};
use super::mempool::announcements::Intake;
use super::mempool::pool::{Pool, PoolLimits};
use super::{Component, Context, Environment, Event, Head, Input, Now};
use super::{SigningRecord, Start};
use crate::atom::AtomId;
use crate::chain::{Address, Block, Body, ElectionCache, Miner};
use crate::crypto::SigningKey;
use crate::time::Instant;
use crate::trie::BatchHasher;
use crate::wire::engine::ListLimit;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;
use duplicate_validator::Sightings;
use foreign_blocks::{ForeignBlocks, signed_block};
use make::Pace;
use publish::Offers;
use schedule::Schedule;
use transactions::Lacking;

/// A block that is not found so long after its time is dropped.
pub const LATE: Duration = Duration::from_secs(2);
/// How long a validator listens for another one with its key once a peer has named a head.
pub const LISTEN: Duration = Duration::from_secs(6);
/// How long it waits for a peer to name one, if there are seeds.
pub const LISTEN_FOR_PEERS: Duration = Duration::from_secs(30);
/// How long it holds back for a longer chain before its first block.
pub const MAX_BEHIND: Duration = Duration::from_secs(600);
/// How long in all it holds back after that: anybody can name heads that lead nowhere.
pub const MAX_BEHIND_LATER: Duration = Duration::from_secs(10);
/// What each block of its own gives back of that.
pub const PATIENCE_PER_BLOCK: Duration = Duration::from_millis(500);
/// Before something that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// Head and body of a block, and each number of them in a few bytes.
const SMALL_RECORD: ListLimit = ListLimit {
    atoms: 15,
    bytes: 64 << 10,
};
/// Refusals that are remembered to be told.
const MAX_REFUSALS: usize = 256;

/// What a validator is told once.
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
    /// Transactions of a block at most.
    pub max_block_transactions: usize,
    /// Whether seeds are configured: then it begins no chain of its own, and listens for them.
    pub has_seeds: bool,
    /// Nonces that are tried in one call.
    pub slice_attempts: u64,
    /// What the pool holds.
    pub pool: PoolLimits,
}

impl ProducerConfig {
    /// The documented defaults for this key.
    #[must_use]
    pub fn new(key: SigningKey) -> Self {
        Self {
            key,
            chain_id: 0,
            claim_reward: true,
            reference_followers: false,
            max_block_transactions: 4_096,
            has_seeds: false,
            slice_attempts: 256,
            pool: PoolLimits::default(),
        }
    }
}

/// A block that is being made.
#[derive(Debug)]
struct Draft {
    parent: AtomId,
    height: u64,
    timestamp: u64,
    body: Body,
    transactions: Vec<Waiting>,
}

enum Phase {
    /// It is to be found out what comes next.
    Plan,
    /// Nothing to do before this instant; then a new plan.
    Wait { until: Instant, why: Wait },
    /// The turn comes; at this instant the block is begun.
    Scheduled { begin: Instant, timestamp: u64 },
    /// The nonce is searched for.
    Mining {
        draft: Box<Draft>,
        miner: Box<Miner>,
    },
    /// The block is there, and its time is not.
    Found { draft: Box<Draft>, block: Block },
    /// It is being stored. It is tried again at this instant if that failed.
    Storing {
        draft: Box<Draft>,
        block: Block,
        retry: Option<Instant>,
    },
    /// It signs nothing for now.
    Halted(Halt),
}

/// The validator. See the [module](self).
pub struct Producer<H> {
    config: ProducerConfig,
    address: Address,
    hasher: H,
    pool: Pool<Waiting>,
    intake: Intake,
    /// Transactions whose fetch has ended.
    arrived: VecDeque<AtomId>,
    /// Atoms that transactions in the pool need.
    lacking: Vec<Lacking>,
    signed: SigningRecord,
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
    phase: Phase,
    /// The time of the last call.
    now: Now,
    made: u64,
    late: u64,
    refused: u64,
    refusals: VecDeque<(AtomId, Refusal)>,
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
    /// A validator that has signed what `signed` says in earlier runs.
    #[must_use]
    pub fn new(config: ProducerConfig, signed: SigningRecord, hasher: H) -> Self {
        Self {
            address: Address::from(config.key.verifying_key()),
            hasher,
            pool: Pool::new(config.pool),
            intake: Intake::default(),
            arrived: VecDeque::new(),
            lacking: Vec::new(),
            signed,
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
            phase: Phase::Plan,
            now: Now {
                instant: Instant::ZERO,
                unix: Duration::ZERO,
            },
            made: 0,
            late: 0,
            refused: 0,
            refusals: VecDeque::new(),
            config,
        }
    }

    /// The account that it stakes and earns with.
    #[must_use]
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// Nonces that were tried so far for the block at hand.
    #[must_use]
    pub fn attempts(&self) -> u64 {
        match &self.phase {
            Phase::Mining { miner, .. } => miner.attempts(),
            _ => 0,
        }
    }

    /// How it is doing.
    #[must_use]
    pub fn status(&self) -> ValidatorStatus {
        let refusals = self.refusals.iter();
        ValidatorStatus {
            validator: *self.address.as_bytes(),
            activity: self.activity(),
            blocks_made: self.made,
            blocks_late: self.late,
            pool_transactions: self.pool.len(),
            waiting: self.pool.iter().map(|entry| entry.id).collect(),
            pool_bytes: self.pool.bytes(),
            refused: self.refused,
            refusals: refusals
                .map(|(id, refusal)| (*id, refusal.to_string()))
                .collect(),
        }
    }

    /// What it is doing.
    #[must_use]
    pub fn activity(&self) -> Activity {
        match &self.phase {
            Phase::Plan if self.head.is_none() => Activity::Waiting(Wait::LoadingHead),
            Phase::Plan => Activity::Waiting(Wait::Planning),
            Phase::Wait { why, .. } => Activity::Waiting(why.clone()),
            Phase::Scheduled { timestamp, .. } => Activity::Scheduled {
                timestamp: *timestamp,
            },
            Phase::Mining { draft, miner } => Activity::Mining {
                height: draft.height,
                attempts: miner.attempts(),
            },
            Phase::Found { draft, .. } => Activity::Scheduled {
                timestamp: draft.timestamp,
            },
            Phase::Storing { draft, .. } => Activity::Storing {
                height: draft.height,
            },
            Phase::Halted(halt) => Activity::Halted(halt.clone()),
        }
    }

    /// Whether it has signed what it says is signed, for the host that keeps it.
    #[must_use]
    pub const fn signed(&self) -> &SigningRecord {
        &self.signed
    }

    /// What waits for a block.
    #[must_use]
    pub const fn pool(&self) -> &Pool<Waiting> {
        &self.pool
    }

    fn start(&mut self, world: &Environment<'_>, context: &mut Context) -> Started {
        if let Some(started) = self.started {
            return started;
        }
        let started = Started {
            at: world.now.instant,
            own_since: Start::new(&self.signed),
        };
        self.started = Some(started);
        context.ask(super::Effect::SetValidator(true));
        started
    }

    /// Takes notice of another head.
    fn follow_head(&mut self, world: &Environment<'_>, context: &Context) {
        let head = context.head();
        if head.map(Head::id) == self.head.as_ref().map(Head::id) {
            return;
        }
        let previous = core::mem::replace(&mut self.head, head.cloned());
        self.schedule = None;
        if let Some(head) = head {
            self.foreign.follow_head(head);
            self.note_included(world, previous.as_ref(), head);
            self.sightings.note(head.id());
        }
        self.pool.expire(monotonic(world));
        if !matches!(self.phase, Phase::Storing { .. } | Phase::Halted(_)) {
            self.phase = Phase::Plan;
        }
    }

    /// Stops signing if a block of the key has been seen that this node did not make, and resumes
    /// once the key has been quiet.
    fn look_for_second(
        &mut self,
        world: &Environment<'_>,
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
        let sighted = self.sightings.check(world.atoms, judge);
        let foreign = &mut self.foreign;
        let walked = self
            .head
            .as_ref()
            .and_then(|head| foreign.walk(world.atoms, head, &address, is_foreign));
        for id in self.sightings.take_wanted() {
            let limit = SMALL_RECORD;
            let from = None;
            context.ask(super::Effect::FetchSmall { id, limit, from });
        }
        for block in [sighted, walked].into_iter().flatten() {
            self.foreign.add(world.now.instant, block);
            self.halt_for_second(context);
        }
        if matches!(self.phase, Phase::Halted(Halt::SecondValidator { .. })) {
            self.resume_if_quiet(world, context);
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
        }
        self.phase = Phase::Halted(halt);
    }

    /// Signs again once no other node has used the key for long enough.
    fn resume_if_quiet(&mut self, world: &Environment<'_>, context: &mut Context) {
        let Some(head) = self.head.clone() else {
            return;
        };
        let unix_seconds = world.now.unix.as_secs();
        if let Some(has_gone_back) = self.foreign.wants_turn(unix_seconds) {
            if has_gone_back {
                self.schedule = None;
            }
            if let Ok(turn) = self.next_turn(world, context, &head, unix_seconds + 1) {
                self.foreign.watch_turn(turn, unix_seconds);
            }
        }
        let left = self.foreign.left(world.now.instant, &self.signed);
        if !left.is_over()
            || self.foreign.is_walking()
            || self.sightings.has_news()
            || self.holds_back(world, context)
        {
            return;
        }
        for block in self.foreign.until(unix_seconds) {
            self.signed.adopt(*block);
        }
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

/// Time that does not jump.
fn monotonic(world: &Environment<'_>) -> Duration {
    world.now.instant.since(Instant::ZERO)
}

impl<H: BatchHasher> Component for Producer<H> {
    fn handle_input(&mut self, world: &Environment<'_>, context: &mut Context, input: &Input) {
        self.now = world.now;
        match input {
            Input::PeerHead { id, .. } => {
                self.first_peer.get_or_insert(world.now.instant);
                self.sightings.name(*id);
            }
            Input::Transaction { peer, id } => self.announced(world, context, *id, *peer),
            Input::FetchedSmall { id, outcome } => {
                self.sightings.fetched(id, None);
                self.transaction_fetched(world, context, id, outcome);
            }
            Input::Fetched { id, outcome, .. } => {
                self.sightings.fetched(id, outcome.as_deref().ok());
                self.atom_fetched(id, outcome.is_ok());
            }
            Input::Committed(outcome) => self.committed(world, context, outcome),
            Input::BlockStored { block, outcome } => {
                self.genesis_stored(world, context, block, outcome);
            }
            Input::PeerIdentity { .. }
            | Input::AdoptFork(_)
            | Input::AvoidBlock(_)
            | Input::PeerGone { .. } => {}
        }
    }

    fn advance(&mut self, world: &Environment<'_>, context: &mut Context) {
        self.now = world.now;
        let started = self.start(world, context);
        self.follow_head(world, context);
        self.look_for_second(world, context, started);
        self.take_transactions(world, context);
        self.make_block(world, context, started);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        if self.has_transactions_to_look_at()
            || self.sightings.has_news()
            || self.foreign.is_walking()
        {
            return Some(self.now.instant);
        }
        let phase = match &self.phase {
            Phase::Plan | Phase::Mining { .. } => Some(self.now.instant),
            Phase::Wait { until, .. } => Some(*until),
            Phase::Scheduled { begin, .. } => Some(*begin),
            Phase::Found { draft, .. } => {
                Some(self.now.instant_of(Duration::from_secs(draft.timestamp)))
            }
            Phase::Storing { retry, .. } => *retry,
            Phase::Halted(_) => Some(self.now.instant + RETRY),
        };
        let intake = self.intake.deadline();
        let intake = intake.map(|deadline| Instant::ZERO + deadline);
        [phase, intake].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests;
