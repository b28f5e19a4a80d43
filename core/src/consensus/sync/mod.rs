//! Sync: follows the heads that peers announce and verifies every block.
//!
//! A head is followed as a *branch*: its headers are read down to a block that is verified, or to
//! the genesis; then its blocks are verified from there up, and stored. What is verified competes to
//! be the head. What no peer sends is asked for again and again, and what comes too early waits;
//! neither makes a block bad. What breaks a rule is remembered with its reason, and all that stands
//! on it with it, and is not tried again. A block counts as verified once the host has stored it.
//!
//! Which chain is ours: the one that the head of an earlier run, a genesis of our own or
//! `verified_up_to` belongs to; a node with none of these takes one once it has heard of enough
//! (`head_selection`), but not for its genesis alone, which costs nothing to make: a block on it
//! has to have been verified, or the genesis be what a peer names. From then on the heads of peers
//! whose chain goes back to another genesis are ignored.
//!
//! The pinned default seed is trusted (`trusted_head`): its heads are linked by their headers and
//! compete like verified blocks.
//!
//! | module | contents |
//! | --- | --- |
//! | `announced_heads` | heads that peers name; budgets of their look-ups |
//! | `scheduler` | which branches are synced, and what comes of each |
//! | `branch`, `header_path`, `namers` | one branch, its headers, the peers behind it |
//! | `headers` | headers of a branch, downwards |
//! | `blocks`, `body`, `prefetch` | its blocks, upwards |
//! | `requests`, `working_set`, `measures` | fetches, and what is kept of what they brought |
//! | `block_index`, `bad_blocks`, `other_chains` | what is known of blocks and peers |
//! | `head_selection`, `stake_jobs`, `trusted_head`, `resume` | which head is ours |
//! | `status`, `event` | what is reported |
//!
//! Bounds: those of the modules; [`MAX_BRANCHES`] branches, of which [`MAX_LONG_BRANCHES`] have more
//! than a few headers. Each branch has its own bound of headers, so that none takes another's.

mod announced_heads;
mod bad_blocks;
mod block_index;
mod blocks;
mod body;
mod branch;
mod event;
mod head_selection;
mod header_path;
mod headers;
mod measures;
mod namers;
mod other_chains;
mod prefetch;
mod requests;
mod resume;
mod scheduler;
mod stake_jobs;
mod status;
mod trusted_head;
mod working_set;

pub use announced_heads::{MAX_HEADS, MAX_PEERS, NEWCOMER_LOOKUPS_PER_SECOND};
pub use block_index::{MAX_OTHER_BLOCKS, MAX_OWN_BLOCKS};
pub use body::{CheckedTransactions, verify_body};
pub use event::SyncEvent;
pub use head_selection::{DeepReorganization, FIRST_VOICES};
pub use header_path::{CHECKPOINT_INTERVAL, MAX_CHECKPOINTS, MAX_RESIDENT};
pub use headers::MAX_UNCONFIRMED_HEADERS;
pub use prefetch::{BODIES_AHEAD, MAX_IDS_AHEAD};
pub use requests::{MAX_AHEAD, MAX_BYTES_IN_FLIGHT, MAX_IN_FLIGHT, MissingAtom};
pub use scheduler::{MAX_BRANCHES, MAX_LONG_BRANCHES};
pub use status::{OtherChain, SyncProgress, SyncStatus, Waiting};
pub use working_set::{MAX_AHEAD_BYTES, MAX_HELD_BYTES};

use super::{Component, Context, Environment, Event, ForkDecisions, Head, HeadState, Input};
use crate::atom::AtomId;
use crate::chain::fork_choice::MAX_REORG_DEPTH;
use crate::chain::{Block, ElectionCache, ElectionSeeds, RULES_VERSION, StakeLoader};
use crate::integer::Natural;
use crate::time::Instant;
use crate::trie::BatchHasher;
use crate::wire::handshake::ChainIdentity;
use alloc::string::String;
use alloc::vec::Vec;
use announced_heads::{Announced, AnnouncedHeads};
use bad_blocks::{BadBlocks, DeadEnds};
use block_index::BlockIndex;
use branch::Branch;
use core::time::Duration;
use head_selection::Selection;
use header_path::PathLimits;
use namers::Namer;
use other_chains::OtherChains;
use requests::Requests;
use resume::StartWait;
use working_set::WorkingSet;

/// A block that is further ahead of the clock is not waited for; it is tried again when the clock
/// comes near.
pub const MAX_AHEAD_SECONDS: u64 = 600;
/// How long reading headers may hold back a validator of ours.
const HEADERS_GRACE: Duration = Duration::from_secs(30);
/// While something waits for the wall clock, it is looked at this often: clocks are set.
const CLOCK_INTERVAL: Duration = Duration::from_secs(1);

/// Configuration of sync.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SyncConfig {
    /// The chain.
    pub chain_id: u64,
    /// Seconds that a block may be ahead.
    pub max_future_seconds: u64,
    /// Between two looks at what could not be followed.
    pub interval: Duration,
    /// The block to start from where no head is remembered.
    pub latest_block: Option<AtomId>,
    /// The block up to which the chain counts as verified.
    pub verified_up_to: Option<AtomId>,
    /// A block that every chain must contain that is adopted.
    pub checkpoint: Option<AtomId>,
    /// Most blocks that are undone without the operator.
    pub max_reorg_depth: u64,
    /// Number of configured seeds.
    pub seeds: usize,
    /// How long a node without a chain waits for the heads of more peers before it takes one.
    pub first_adoption_wait: Duration,
    /// The operator's decisions in earlier runs.
    pub decisions: ForkDecisions,
    /// Bounds of the headers of a branch.
    pub limits: SyncLimits,
}

impl Default for SyncConfig {
    fn default() -> Self {
        Self {
            chain_id: 0,
            max_future_seconds: 2,
            interval: Duration::from_secs(10),
            latest_block: None,
            verified_up_to: None,
            checkpoint: None,
            max_reorg_depth: MAX_REORG_DEPTH,
            seeds: 0,
            first_adoption_wait: Duration::from_secs(20),
            decisions: ForkDecisions::default(),
            limits: SyncLimits::default(),
        }
    }
}

/// Bounds of the headers of a branch; smaller in tests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SyncLimits {
    /// Headers that are kept on the word of one peer.
    pub unconfirmed_headers: u64,
    /// Heights between two checkpoints.
    pub checkpoint_interval: u64,
    /// Checkpoints.
    pub checkpoints: usize,
    /// Header ids that are kept beside the checkpoints.
    pub resident_headers: usize,
}

impl Default for SyncLimits {
    fn default() -> Self {
        Self {
            unconfirmed_headers: MAX_UNCONFIRMED_HEADERS,
            checkpoint_interval: CHECKPOINT_INTERVAL,
            checkpoints: MAX_CHECKPOINTS,
            resident_headers: MAX_RESIDENT,
        }
    }
}

impl SyncLimits {
    const fn path(&self) -> PathLimits {
        PathLimits {
            interval: self.checkpoint_interval,
            checkpoints: self.checkpoints,
            resident: self.resident_headers,
        }
    }
}

/// Result of one piece of work for a branch.
enum Step {
    /// There is more to do at once.
    Progress,
    /// The headers are complete, or two branches are one.
    Joined,
    /// Nothing more until something comes.
    Waits,
    /// Every block of the branch is verified.
    Finished,
    /// This block is bad.
    Bad(AtomId, String),
    /// It goes where this node does not follow.
    DeadEnd(DeadEnd),
    /// A block is so many seconds from the future; the branch is tried again at this wall time.
    Early(u64, u64),
    /// No peer has sent the head.
    Unanswered,
}

/// Where a branch leads that is not followed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum DeadEnd {
    OtherChain(OtherChain),
    DeepFork,
    Avoided(AtomId),
}

/// Sync. See the [module](self).
#[derive(Debug)]
pub struct ChainSync<H> {
    config: SyncConfig,
    chain_id: Natural,
    hasher: H,
    heads: AnnouncedHeads,
    bad: BadBlocks,
    dead_ends: DeadEnds<DeadEnd>,
    other_chains: OtherChains,
    index: BlockIndex,
    elections: ElectionCache,
    branches: Vec<Branch>,
    requests: Requests,
    held: WorkingSet,
    /// The default seed, and the newest head that it has named.
    seed: Option<Namer>,
    seed_head: Option<AtomId>,
    selection: Selection,
    /// Whether the head is to be chosen again.
    wants_choice: bool,
    /// Whether blocks were verified since the head was chosen last, and when that is reason enough
    /// to choose it again.
    has_grown: bool,
    next_choice: Instant,
    /// Whether blocks are to compete that could not be compared before.
    readmit: bool,
    /// Seeds of the election that were saved with the head, and the stakes that belong to them.
    restored_seeds: Option<ElectionSeeds>,
    restored_stakes: Option<StakeLoader>,
    /// The root of the last call, and whether it is a genesis.
    root: Option<AtomId>,
    genesis: Option<AtomId>,
    /// The next header to read back of our own chain.
    read_back: Option<AtomId>,
    /// The block of the head that is being loaded.
    loading: Option<AtomId>,
    /// What the start waits for.
    start_waits: Option<StartWait>,
    /// The head of the last call.
    seen: Option<(AtomId, HeadState)>,
    turn: usize,
    is_busy: bool,
    now: Instant,
    unix: u64,
    next_look: Instant,
    /// What was dropped last, and why.
    dropped: Option<(AtomId, String)>,
}

impl<H: BatchHasher> ChainSync<H> {
    /// Creates sync that knows no block yet.
    #[must_use]
    pub fn new(config: SyncConfig, hasher: H) -> Self {
        Self {
            selection: Selection::new(&config),
            chain_id: config.chain_id.into(),
            config,
            hasher,
            heads: AnnouncedHeads::default(),
            bad: BadBlocks::default(),
            dead_ends: DeadEnds::default(),
            other_chains: OtherChains::default(),
            index: BlockIndex::default(),
            elections: ElectionCache::default(),
            branches: Vec::new(),
            requests: Requests::default(),
            held: WorkingSet::default(),
            seed: None,
            seed_head: None,
            wants_choice: false,
            has_grown: false,
            next_choice: Instant::ZERO,
            readmit: false,
            restored_seeds: None,
            restored_stakes: None,
            root: None,
            genesis: None,
            read_back: None,
            loading: None,
            start_waits: None,
            seen: None,
            turn: 0,
            is_busy: true,
            now: Instant::ZERO,
            unix: 0,
            next_look: Instant::ZERO,
            dropped: None,
        }
    }

    /// Returns whether this block was verified, and is remembered to have been.
    #[must_use]
    pub fn is_verified(&self, block: &AtomId) -> bool {
        self.index.is_verified(block)
    }

    /// Returns why a block is bad, if it is known to be.
    #[must_use]
    pub fn bad_reason(&self, block: &AtomId) -> Option<&str> {
        self.bad.reason(block)
    }

    /// Returns what peers are told of the chain that this node follows.
    #[must_use]
    pub const fn identity(&self) -> ChainIdentity {
        ChainIdentity {
            rules_version: RULES_VERSION,
            chain_id: self.config.chain_id,
            genesis: self.genesis,
        }
    }

    /// Finds out whether the root of our chain is a genesis.
    fn see_root(&mut self, environment: &Environment<'_>, context: &Context) {
        let root = context.root();
        if root == self.root {
            return;
        }
        self.root = root;
        let block = root.map(|root| Block::read(&environment.atoms, root));
        let is_genesis = block.is_some_and(|block| block.is_ok_and(|block| block.is_genesis()));
        self.genesis = root.filter(|_| is_genesis);
    }

    fn peer_head(&mut self, context: &mut Context, namer: Namer, id: AtomId) {
        if let Some(reason) = self.bad.reason(&id) {
            let event = SyncEvent::BadHead {
                peer: namer.peer,
                block: id,
                reason: String::from(reason),
            };
            self.bad.note_offender(namer.peer, id);
            // What its look-ups have cost stays with it.
            self.heads.withdraw(&namer.peer);
            context.report(Event::Sync(event));
            return;
        }
        if self.is_on_other_chain(context, namer.peer) {
            return;
        }
        match self.heads.announce(self.now, namer, id) {
            Announced::New | Announced::Known => {}
            Announced::Ignored | Announced::Refused => return,
        }
        self.is_busy = true;
        self.selection.hear(self.now);
        if self.index.is_verified(&id) {
            let mut namers = namers::Namers::default();
            namers.add(namer);
            self.heads.succeeded(&namers);
            return;
        }
        for branch in &mut self.branches {
            if branch.is_on(&id) {
                branch.namers.add(namer);
            }
        }
    }

    fn fetched(&mut self, input: &Input) {
        let Input::Fetched { id, outcome, from } = input else {
            return;
        };
        let atoms = outcome.as_deref().map_err(|error| *error);
        let Some(block) = self.requests.ended(self.now, *id, atoms, *from) else {
            return;
        };
        self.is_busy = true;
        let mut is_measured = false;
        for branch in &mut self.branches {
            let Ok(atoms) = atoms else {
                branch.measures.stop_at(id);
                continue;
            };
            let is_of_list = branch.measures.take(atoms);
            is_measured |= is_of_list;
            let is_body = !branch.is_reading_headers() && branch.at_hand() == Some(block);
            if is_of_list || is_body {
                branch.progressed = self.now;
            }
        }
        let branches = &self.branches;
        if let Ok(atoms) = atoms
            && !is_measured
            && self.needs(&block)
        {
            let is_at_hand =
                |id: &AtomId| branches.iter().any(|branch| branch.at_hand() == Some(*id));
            self.held.hold(block, atoms, is_at_hand);
        }
    }

    /// Returns whether something waits for atoms of this block.
    fn needs(&self, block: &AtomId) -> bool {
        let is_loading = self.loading == Some(*block) || self.seed_head == Some(*block);
        is_loading
            || self.selection.stakes.needs(block)
            || self.branches.iter().any(|branch| branch.needs(block))
    }

    /// Once in a while: what no peer names any more goes, and progress is adopted and reported.
    fn look(&mut self, context: &mut Context) {
        let now = self.now;
        self.next_look = now + self.config.interval;
        self.requests.tidy(now);
        self.drop_abandoned(now);
        let needed = self.held.blocks().filter(|block| !self.needs(block));
        for block in needed.collect::<Vec<_>>() {
            self.held.release(&block);
        }
        self.retry_early(context);
        self.measure_participation(context);
        self.wants_choice = true;
        for branch in &self.branches {
            let progress = status::progress(branch);
            context.report(Event::Sync(SyncEvent::Progress(progress)));
        }
    }

    /// Tells the producer whether a longer chain than ours is coming nearer.
    fn tell_whether_behind(&self, context: &mut Context) {
        let height = context.head().map_or(0, Head::height);
        let coming = self.branches.iter().filter(|branch| {
            let is_near = !branch.is_stalled(self.now, scheduler::PATIENCE);
            let is_longer = branch.height > height || branch.path.is_empty();
            is_longer && is_near && branch.not_before.is_none()
        });
        let (mut is_near, mut is_slow) = (false, false);
        for branch in coming {
            let is_young = self.now.since(branch.since) < HEADERS_GRACE;
            match is_young || !branch.is_reading_headers() {
                true => is_near = true,
                false => is_slow = true,
            }
        }
        context.set_behind(is_near);
        context.set_reading_headers(is_slow);
    }

    fn set_time(&mut self, environment: &Environment<'_>) {
        self.now = environment.now.instant;
        self.unix = environment.now.unix.as_secs();
    }
}

impl<H: BatchHasher> Component for ChainSync<H> {
    fn handle_input(
        &mut self,
        environment: &Environment<'_>,
        context: &mut Context,
        input: &Input,
    ) {
        self.set_time(environment);
        match input {
            Input::PeerHead {
                peer,
                group,
                id,
                is_default_seed,
                is_seed,
            } => {
                let namer = Namer {
                    peer: *peer,
                    group: *group,
                    is_seed: *is_seed || *is_default_seed,
                };
                if *is_default_seed {
                    self.seed_names(namer, *id);
                } else {
                    self.peer_head(context, namer, *id);
                }
            }
            Input::PeerIdentity { peer, identity } => {
                self.peer_identity(context, *peer, *identity);
            }
            Input::AdoptFork(id) => self.adopt_fork(context, *id),
            Input::AvoidBlock(id) => self.avoid_block(context, *id),
            Input::PeerGone { peer } => {
                if self.seed.is_some_and(|seed| seed.peer == *peer) {
                    (self.seed, self.seed_head) = (None, None);
                }
                self.heads.remove_peer(peer);
                self.other_chains.remove_peer(peer);
                self.requests.forget_peer(peer);
                for branch in &mut self.branches {
                    branch.namers.remove(peer);
                }
            }
            Input::Fetched { .. } => self.fetched(input),
            Input::BlockStored { block, outcome } => {
                self.block_stored(self.now, context, *block, outcome);
            }
            _ => {}
        }
    }

    fn advance(&mut self, environment: &Environment<'_>, context: &mut Context) {
        self.set_time(environment);
        self.is_busy = false;
        self.resume(environment, context);
        self.see_head(environment, context);
        self.see_root(environment, context);
        if self.read_back.is_some() {
            self.read_back(environment, context);
        }
        self.follow_seed(environment, context);
        self.start_branches(environment);
        self.run_branches(environment, context);
        if self.next_look <= self.now {
            self.look(context);
        }
        self.choose(environment, context);
        self.settle(environment, context);
        self.load_election(environment, context);
        self.tell_whether_behind(context);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        if self.is_busy {
            return Some(self.now);
        }
        let waits_for_clock = self.selection.has_early()
            || self.heads.has_parked(self.unix)
            || self
                .branches
                .iter()
                .any(|branch| branch.not_before.is_some());
        let clock = waits_for_clock.then(|| {
            let opens = self.branches.iter().filter_map(|branch| branch.not_before);
            let ahead = opens.map(|opens| opens.saturating_sub(self.unix)).min();
            let ahead = Duration::from_secs(ahead.unwrap_or(u64::MAX));
            self.now + CLOCK_INTERVAL.min(ahead)
        });
        let stores = self
            .branches
            .iter()
            .filter_map(|branch| branch.storing.as_ref());
        let store = stores.filter_map(|storing| storing.retry_at).min();
        let retry = self.requests.next_retry(self.now);
        let lookup = self.heads.next_due(self.now);
        let place = self.next_place(self.now);
        let first = self.first_choice_at().filter(|at| *at > self.now);
        let choice = Some(self.next_choice).filter(|at| self.has_grown && *at > self.now);
        [
            Some(self.next_look),
            clock,
            store,
            retry,
            lookup,
            place,
            first,
            choice,
        ]
        .into_iter()
        .flatten()
        .min()
    }
}

#[cfg(test)]
mod tests;
