//! Block producer of a validator.
//!
//! For each head it computes its next slot, has the host assemble a body from the mempool, searches
//! for a nonce with a new signature for each, waits for the block's time, has the block stored, and
//! announces it. If the head changes to another validator's block meanwhile, it starts again.
//!
//! The block's time is chosen as in the reference: the time when the search is expected to end,
//! rounded up to a second, at least one second after the parent; then the first second from there
//! on that the proposer schedule assigns to this validator. A block that is not found within
//! [`MAX_LATENESS`] of its time is dropped: a missed slot.
//!
//! | module | contents |
//! | --- | --- |
//! | [`schedule`] | slots of one validator |
//! | [`assemble`] | assembly of a block's body on another thread, with a time budget |
//! | [`growth`] | limit of the storage growth by blocks |
//! | [`publish`] | selection of a block's atoms to advertise |
//! | `signer` | signing by another process that has the key |
//!
//! Invariants:
//! - It never publishes two blocks on one parent, nor a block that is not later than all its
//!   earlier ones, even after a crash: the signing record is saved before a block is published.
//! - It does not sign while it listens after its start, nor after it has seen a foreign block of
//!   its key (with a valid signature, so that only the key can stop it) until the key has been
//!   quiet; see `foreign_blocks`.
//! - Each call does one bounded piece of work: a plan, or one slice of nonces. Bodies are made by
//!   the host's worker.
//! - Work that is due at a wall time is checked every [`WALL_INTERVAL`] against the current wall
//!   clock; after a clock jump it makes a new plan.

pub mod assemble;
mod duplicate_validator;
mod foreign_blocks;
pub mod growth;
mod pace;
mod plan;
mod production;
pub mod publish;
pub mod schedule;
mod signer;
mod status;
mod timing;
mod wait;

pub use assemble::{
    Assembled, Assembly, AssemblyBudget, AssemblyError, AssemblyJob, Interrupt, NoInterrupt,
};
pub use foreign_blocks::{QUIET, QUIET_OTHER, UNUSED_SLOTS, UNUSED_SLOTS_OTHER};
pub use signer::{SignerUpdate, SigningJob, UnsignedBlock, ValidatorKey};
pub use status::{Activity, Halt, MissedSlot, Problem, ValidatorStatus, Wait};

use super::mempool::Mempool;
use super::signing_record::MAX_SIGNED_BLOCKS;
use super::{Context, Environment, Event, Head, Input, Now, SigningRecord, Start};
use crate::arc::Arc;
use crate::atom::AtomId;
use crate::chain::{Address, Block, ElectionCache, Miner};
use crate::engine::{FetchRequest, ListLimit};
use crate::time::Instant;
use crate::trie::BatchHasher;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;
use duplicate_validator::ObservedBlocks;
use foreign_blocks::{ForeignBlocks, signed_block};
use growth::Allowance;
use pace::Pace;
use publish::Offers;
use schedule::Schedule;
use signer::{Signed, Signer};

/// Time after a block's timestamp at which it is dropped if it has not been found.
pub const MAX_LATENESS: Duration = Duration::from_secs(2);
/// Time for which a validator listens for a duplicate validator after a peer has announced a head.
pub const LISTEN: Duration = Duration::from_secs(6);
/// Time for which it waits for a peer to announce a head, if there are seeds.
pub const LISTEN_FOR_PEERS: Duration = Duration::from_secs(30);
/// Maximum time for which it holds back for a longer chain before its first block.
pub const MAX_BEHIND: Duration = Duration::from_secs(600);
/// Maximum total time for which it holds back after that: any peer can announce invalid heads.
pub const MAX_BEHIND_LATER: Duration = Duration::from_secs(10);
/// Part of [`MAX_BEHIND_LATER`] that each own block restores.
pub const BEHIND_RESTORED_PER_BLOCK: Duration = Duration::from_millis(500);
/// Interval between checks of the wall clock while something is due at a wall time.
pub const WALL_INTERVAL: Duration = Duration::from_secs(1);
/// Difference between wall clock and monotonic clock since the last call above which the wall clock
/// has jumped.
pub const MAX_CLOCK_JUMP: Duration = Duration::from_secs(2);
/// Default of [`ProducerConfig::max_assembly_time`].
pub const MAX_ASSEMBLY_TIME: Duration = Duration::from_millis(500);
/// Time after which an assembly that the host has not answered is given up.
pub const ASSEMBLY_TIMEOUT: Duration = Duration::from_secs(30);
/// Time before something that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// Limit of a block's head and body, with each of their numbers in a few bytes.
const SMALL_RECORD: ListLimit = ListLimit {
    atoms: 15,
    bytes: 64 << 10,
};

/// Configuration of a producer.
#[derive(Clone, Debug)]
pub struct ProducerConfig {
    /// Key that its blocks are signed with.
    pub key: ValidatorKey,
    /// Id of the chain.
    pub chain_id: u64,
    /// `true` if its blocks claim the reward.
    pub claim_reward: bool,
    /// `true` if its blocks are restricted to what reference nodes can verify.
    pub reference_followers: bool,
    /// Maximum number of transactions in a block.
    pub max_block_transactions: usize,
    /// Average number of bytes that a block may add to storage; 0 for no limit. See [`growth`].
    pub max_block_growth_bytes: u64,
    /// Minimum number of seconds between a block and its parent; 0 for none. A slot that begins
    /// earlier is used if it lasts until then, else left to the next ones.
    pub block_interval_seconds: u64,
    /// Maximum processor time for assembling a block.
    pub max_assembly_time: Duration,
    /// `true` if seeds are configured: then it does not create a chain, and listens for the seeds'
    /// heads.
    pub has_seeds: bool,
    /// Number of nonces that are tried in one call.
    pub slice_attempts: u64,
}

impl ProducerConfig {
    /// Returns the documented defaults for this key.
    #[must_use]
    pub fn new(key: impl Into<ValidatorKey>) -> Self {
        Self {
            key: key.into(),
            chain_id: 0,
            claim_reward: true,
            reference_followers: false,
            max_block_transactions: 4_096,
            max_block_growth_bytes: growth::DEFAULT_GROWTH_BYTES,
            block_interval_seconds: 0,
            max_assembly_time: MAX_ASSEMBLY_TIME,
            has_seeds: false,
            slice_attempts: 256,
        }
    }
}

/// Parent, height and time of a block that is being made.
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

/// Block that is being made.
#[derive(Debug)]
struct Draft {
    slot: Slot,
    assembled: Arc<Assembled>,
}

impl Draft {
    /// Returns the body. Drafts are made only of successful assemblies.
    fn assembly(&self) -> Option<&Assembly> {
        self.assembled.outcome.as_ref().ok()
    }
}

enum Phase {
    /// The next step has to be computed.
    Plan,
    /// There is nothing to do before this instant; then a new plan is made.
    Wait { until: Instant, why: Wait },
    /// The next slot is known; work for its block begins at this wall time.
    Scheduled { begin: Duration, timestamp: u64 },
    /// The host assembles the body.
    Assembling {
        slot: Slot,
        number: u64,
        since: Instant,
    },
    /// The nonce is being searched.
    Mining { draft: Draft, miner: Box<Miner> },
    /// The signer searches for the nonce and signs.
    Signing {
        draft: Draft,
        /// `true` if the slot has passed.
        is_missed: bool,
    },
    /// The block is found, and its time has not come.
    Found { draft: Draft, block: Box<Block> },
    /// The block is being stored. A failed attempt is repeated at this instant.
    Storing {
        draft: Draft,
        block: Box<Block>,
        /// The signing record without the block.
        before: SigningRecord,
        retry: Option<Instant>,
    },
    /// A block that the signer had signed before is being stored. A failed attempt is repeated at
    /// this instant.
    Restoring {
        signed: Box<Signed>,
        retry: Option<Instant>,
    },
    /// Signing has stopped for now.
    Halted(Halt),
}

/// Block producer. See the [module](self).
pub struct Producer<H> {
    config: ProducerConfig,
    address: Address,
    hasher: H,
    signed: SigningRecord,
    /// Blocks signed in this run whose record may not be on disk, oldest first.
    unsaved: Vec<AtomId>,
    /// Foreign blocks of its key that were added to the record when signing resumed. If full, the
    /// oldest is forgotten.
    adopted: VecDeque<AtomId>,
    observed: ObservedBlocks,
    /// Foreign blocks of its key seen since signing stopped.
    foreign: ForeignBlocks,
    started: Option<Started>,
    /// Time when a peer first announced a head.
    first_peer: Option<Instant>,
    /// Time for which it has held back, less the time that its blocks restored; and when it last
    /// did.
    held: Duration,
    held_at: Option<Instant>,
    head: Option<Head>,
    /// Genesis created by this node that is being stored.
    genesis: Option<Block>,
    schedule: Option<Schedule>,
    elections: ElectionCache,
    offers: Offers,
    pace: Pace,
    allowance: Allowance,
    /// Limit of the next block after the storage refused one.
    room: growth::Room,
    problem: Option<Problem>,
    signer: Signer,
    phase: Phase,
    jobs: u64,
    /// Time of the last call.
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
    /// Creates a producer that has signed the blocks of `signed` in earlier runs.
    #[must_use]
    pub fn new(config: ProducerConfig, signed: SigningRecord, hasher: H) -> Self {
        Self {
            address: Address::from(config.key.verifying_key()),
            hasher,
            signed,
            unsaved: Vec::new(),
            adopted: VecDeque::new(),
            observed: ObservedBlocks::default(),
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
            signer: Signer::default(),
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

    /// Returns the account of its stake and earnings.
    #[must_use]
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// Returns the number of nonces tried so far for the current block.
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

    /// Returns its current activity.
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
            Phase::Signing { draft, .. } => Activity::Signing {
                height: draft.slot.height,
            },
            Phase::Storing { draft, .. } => Activity::Storing {
                height: draft.slot.height,
            },
            Phase::Restoring { signed, .. } => Activity::Storing {
                height: signed.block.height.to_u64().unwrap_or(u64::MAX),
            },
            Phase::Halted(halt) => Activity::Halted(halt.clone()),
        }
    }

    /// Returns the signing record.
    #[must_use]
    pub const fn signed(&self) -> &SigningRecord {
        &self.signed
    }

    /// Records an input; postpones all work that can wait.
    pub fn handle_input(
        &mut self,
        environment: &Environment<'_>,
        context: &mut Context,
        mempool: &mut Mempool,
        input: &Input,
    ) {
        self.update_clock(environment, context);
        match input {
            Input::PeerHead { peer, id, .. } => {
                self.first_peer.get_or_insert(environment.now.instant);
                self.observed.announced(*id, *peer);
                self.peer_head_announced(context);
            }
            Input::FetchedSmall { id, .. } => self.observed.fetched(id, None),
            Input::Fetched { id, outcome, .. } => {
                self.observed.fetched(id, outcome.as_deref().ok());
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
            Input::Signer(update) => self.signer_updated(environment, context, update),
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
        self.update_clock(environment, context);
        let started = self.start(environment, context);
        self.follow_head(context);
        self.detect_duplicate(environment, context, started);
        self.make_block(environment, context, mempool, started);
    }

    /// Returns when [`Producer::advance`] is due if there is no earlier input.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.observed.has_readable() || self.foreign.is_walking() {
            return Some(self.now.instant);
        }
        let next = match &self.phase {
            Phase::Plan | Phase::Mining { .. } => return Some(self.now.instant),
            Phase::Wait { until, .. } => *until,
            Phase::Scheduled { begin, .. } => self.now.instant_of(*begin),
            Phase::Found { draft, .. } => self.now.instant_of(draft.slot.time()),
            Phase::Assembling { since, .. } => *since + ASSEMBLY_TIMEOUT,
            Phase::Signing { is_missed, .. } if *is_missed => return None,
            Phase::Signing { draft, .. } => {
                // The slot has passed after this time, not at it.
                let last = draft.slot.time() + MAX_LATENESS;
                self.now.instant_of(last) + Duration::from_millis(1)
            }
            Phase::Storing { retry, .. } | Phase::Restoring { retry, .. } => (*retry)?,
            Phase::Halted(_) => self.now.instant + RETRY,
        };
        // By then the wall clock may have changed.
        Some(next.min(self.now.instant + WALL_INTERVAL))
    }

    /// Records the time of a call, and makes a new plan if the wall clock has jumped.
    fn update_clock(&mut self, environment: &Environment<'_>, context: &mut Context) {
        let before = core::mem::replace(&mut self.now, environment.now);
        let passed = environment.now.instant.since(before.instant);
        let expected = before.unix.saturating_add(passed);
        let jump = environment.now.unix.abs_diff(expected);
        if self.started.is_some() && jump > MAX_CLOCK_JUMP {
            self.schedule = None;
            // Signed blocks stay signed; everything else is planned again with the present clock.
            if !self.is_committed() {
                self.replan(context);
            }
        }
    }

    /// Returns whether a change of the head or the clock leaves the current phase as it is.
    const fn is_committed(&self) -> bool {
        matches!(
            self.phase,
            Phase::Storing { .. } | Phase::Restoring { .. } | Phase::Halted(_)
        )
    }

    /// Gives up the current work for a new plan.
    fn replan(&mut self, context: &mut Context) {
        match core::mem::replace(&mut self.phase, Phase::Plan) {
            Phase::Assembling { .. } => context.push_effect(super::Effect::CancelAssembly),
            Phase::Signing { .. } => context.push_effect(super::Effect::CancelSigning),
            // It is signed: it is published if its parent becomes the head again.
            Phase::Found { block, .. } if self.has_signer() => self.signer.keep(block),
            _ => {}
        }
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
        context.push_effect(super::Effect::SetValidator(true));
        started
    }

    /// Follows a change of the head.
    fn follow_head(&mut self, context: &mut Context) {
        let head = context.head();
        if head.map(Head::id) == self.head.as_ref().map(Head::id) {
            return;
        }
        self.head = head.cloned();
        self.schedule = None;
        if let Some(head) = &self.head {
            self.foreign.follow_head(head);
            self.observed.note(head.id());
        }
        if !self.is_committed() {
            self.replan(context);
        }
    }

    /// Stops signing if a foreign block of the key has been seen, and resumes once the key has been
    /// quiet.
    fn detect_duplicate(
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
        let found = self.observed.check(environment.atoms, judge);
        let foreign = &mut self.foreign;
        let walked = self
            .head
            .as_ref()
            .and_then(|head| foreign.walk(environment.atoms, head, &address, is_foreign));
        for (id, from) in self.observed.take_wanted() {
            let request = FetchRequest::list_within(id, SMALL_RECORD).first_from(from);
            context.push_effect(super::Effect::Fetch(request));
        }
        for block in [found, walked].into_iter().flatten() {
            self.foreign.add(environment.now.instant, block);
            self.halt_for_duplicate(context);
        }
        if matches!(self.phase, Phase::Halted(Halt::DuplicateValidator { .. })) {
            self.resume_if_quiet(environment, context);
        }
    }

    fn halt_for_duplicate(&mut self, context: &mut Context) {
        let Some(newest) = self.foreign.newest() else {
            return;
        };
        let halt = Halt::DuplicateValidator {
            block: newest.block,
            timestamp: newest.timestamp,
        };
        if !matches!(self.phase, Phase::Halted(Halt::DuplicateValidator { .. })) {
            context.report(Event::ProducerHalted(halt.clone()));
            context.push_effect(super::Effect::SetValidator(false));
            self.replan(context);
        }
        self.phase = Phase::Halted(halt);
    }

    /// Resumes signing once no other node has used the key for long enough.
    fn resume_if_quiet(&mut self, environment: &Environment<'_>, context: &mut Context) {
        let Some(head) = self.head.clone() else {
            return;
        };
        let unix_seconds = environment.now.unix.as_secs();
        if let Some(has_gone_back) = self.foreign.needs_slot(unix_seconds) {
            if has_gone_back {
                self.schedule = None;
            }
            if let Ok(slot) = self.next_slot(environment, context, &head, unix_seconds + 1) {
                self.foreign.watch_slot(slot, unix_seconds);
            }
        }
        let left = self
            .foreign
            .remaining(environment.now.instant, &self.signed);
        if !left.is_over()
            || self.foreign.is_walking()
            || self.observed.has_readable()
            || self.holds_back(environment, context)
        {
            return;
        }
        if self.needs_peer_head() {
            self.set_problem(context, Problem::NoPeerHead);
            return;
        }
        self.peer_head_announced(context);
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
        context.push_effect(super::Effect::SetValidator(true));
    }
}

#[cfg(test)]
mod tests;
