//! Sync: follows the heads that peers announce and verifies every block.
//!
//! A head is followed as a *branch*: its headers are read down to a verified block, or to the
//! genesis; then its blocks are verified from there up, and stored. Verified blocks compete to be
//! the head. Data that no peer sends are requested again, and blocks that are too early wait;
//! neither makes a block invalid. An invalid block is remembered with its reason, as are its known
//! descendants, and is not tried again. A block counts as verified once the host has stored it.
//!
//! Our chain is the one that contains the head of an earlier run, a genesis of our own, or
//! `verified_up_to`. A node with none of these adopts a chain once enough heads are known
//! (`head_selection`). A genesis alone is not sufficient, since it costs nothing to make: a block
//! on it must have been verified, or a peer must announce the genesis. From then on the heads of
//! peers whose chain has another genesis are ignored.
//!
//! The pinned default seed is trusted (`trusted_head`): its heads are linked by their headers and
//! compete like verified blocks.
//!
//! | module | contents |
//! | --- | --- |
//! | `announced_heads` | heads that peers announce; budgets of their lookups |
//! | `scheduler` | selection of the branches to sync, and handling of their results |
//! | `branch`, `header_path`, `announcers` | one branch, its headers, the peers that announced it |
//! | `headers` | headers of a branch, downwards |
//! | `blocks`, `body`, `prefetch` | blocks of a branch, upwards |
//! | `requests`, `working_set`, `measures` | fetches, fetched atoms, lengths of fetched lists |
//! | `block_index`, `bad_blocks`, `other_chains` | knowledge of blocks and peers |
//! | `head_selection`, `stake_jobs`, `trusted_head`, `resume` | selection of the head |
//! | `status`, `event` | status and events |
//!
//! Bounds: those of the modules; [`MAX_BRANCHES`] branches, of which [`MAX_LONG_BRANCHES`] have
//! more than a few headers. Each branch has its own limit of headers, so that branches do not
//! compete for them.

mod announced_heads;
mod announcers;
mod bad_blocks;
mod block_index;
mod blocks;
mod body;
mod branch;
mod call;
mod choice_timer;
mod config;
mod downloads;
mod elections;
mod event;
mod followed_root;
mod head_loader;
mod head_selection;
mod header_path;
mod headers;
mod measures;
mod other_chains;
mod prefetch;
mod read_back;
mod rejected;
mod requests;
mod resume;
mod scheduler;
mod seed_head;
mod stake_jobs;
mod status;
mod step;
mod trusted_head;
mod waiting;
mod working_set;

pub use announced_heads::{MAX_HEADS, MAX_PEERS, NEWCOMER_LOOKUPS_PER_SECOND};
pub use block_index::{MAX_OTHER_BLOCKS, MAX_OWN_BLOCKS};
pub use body::{CheckedTransactions, verify_body};
pub use config::{MAX_UNCONFIRMED_HEADERS, SyncConfig, SyncLimits};
pub use event::SyncEvent;
pub use head_selection::FIRST_ADOPTION_GROUPS;
pub use header_path::{CHECKPOINT_INTERVAL, MAX_CHECKPOINTS, MAX_RESIDENT};
pub use other_chains::OtherChain;
pub use prefetch::{BODIES_AHEAD, MAX_IDS_AHEAD};
pub use requests::{MAX_AHEAD, MAX_BYTES_IN_FLIGHT, MAX_IN_FLIGHT, MissingAtom};
pub use scheduler::{MAX_BRANCHES, MAX_LONG_BRANCHES};
pub use status::{DeepReorganization, SyncProgress, SyncStatus};
pub use waiting::Waiting;
pub use working_set::{MAX_AHEAD_BYTES, MAX_HELD_BYTES};

use super::{Component, Context, Environment, Event, Head, HeadState, Input};
use crate::atom::AtomId;
use crate::chain::RULES_VERSION;
use crate::crypto::PublicKey;
use crate::integer::Natural;
use crate::time::Instant;
use crate::trie::BatchHasher;
use crate::wire::handshake::ChainIdentity;
use alloc::vec::Vec;
use announced_heads::{Announced, AnnouncedHeads};
use announcers::Announcer;
use block_index::BlockIndex;
use branch::Branch;
use call::Call;
use choice_timer::ChoiceTimer;
use core::time::Duration;
use downloads::Downloads;
use elections::Elections;
use followed_root::FollowedRoot;
use head_loader::HeadLoader;
use head_selection::Selection;
use other_chains::OtherChains;
use read_back::ReadBack;
use rejected::Rejected;
use seed_head::SeedHead;

/// Maximum number of seconds by which a branch waits for a block ahead of the clock. A branch
/// further ahead is dropped and tried again when the clock comes near.
pub const MAX_AHEAD_SECONDS: u64 = 600;
/// Time for which reading headers may hold back our own validator.
const HEADERS_GRACE: Duration = Duration::from_secs(30);
/// Interval between checks of the wall clock while something waits for it: it may be set.
const CLOCK_INTERVAL: Duration = Duration::from_secs(1);

/// Sync. See the [module](self).
#[derive(Debug)]
pub struct ChainSync<H> {
    config: SyncConfig,
    chain_id: Natural,
    hasher: H,
    heads: AnnouncedHeads,
    rejected: Rejected,
    other_chains: OtherChains,
    index: BlockIndex,
    elections: Elections,
    branches: Vec<Branch>,
    downloads: Downloads,
    seed: SeedHead,
    selection: Selection,
    choice: ChoiceTimer,
    /// `true` if blocks that could not be compared before must be submitted again.
    readmit: bool,
    root: FollowedRoot,
    read_back: ReadBack,
    loader: HeadLoader,
    /// Head at the last call.
    seen: Option<(AtomId, HeadState)>,
    turn: usize,
    is_busy: bool,
    now: Instant,
    unix: u64,
    next_periodic: Instant,
}

impl<H: BatchHasher> ChainSync<H> {
    /// Creates sync without blocks.
    #[must_use]
    pub fn new(config: SyncConfig, hasher: H) -> Self {
        Self {
            selection: Selection::new(&config),
            other_chains: OtherChains::new(config.chain_id),
            chain_id: config.chain_id.into(),
            config,
            hasher,
            heads: AnnouncedHeads::default(),
            rejected: Rejected::default(),
            index: BlockIndex::default(),
            elections: Elections::default(),
            branches: Vec::new(),
            downloads: Downloads::default(),
            seed: SeedHead::default(),
            choice: ChoiceTimer::new(),
            readmit: false,
            root: FollowedRoot::default(),
            read_back: ReadBack::default(),
            loader: HeadLoader::default(),
            seen: None,
            turn: 0,
            is_busy: true,
            now: Instant::ZERO,
            unix: 0,
            next_periodic: Instant::ZERO,
        }
    }

    /// Returns whether this block is remembered as verified.
    #[must_use]
    pub fn is_verified(&self, block: &AtomId) -> bool {
        self.index.is_verified(block)
    }

    /// Returns the reason a block is invalid, if it is known to be.
    #[must_use]
    pub fn bad_reason(&self, block: &AtomId) -> Option<&str> {
        self.rejected.bad_reason(block)
    }

    /// Returns the identity of the followed chain, for announcement to peers.
    #[must_use]
    pub const fn identity(&self) -> ChainIdentity {
        ChainIdentity {
            rules_version: RULES_VERSION,
            chain_id: self.config.chain_id,
            genesis: self.root.genesis(),
        }
    }

    fn peer_head(&mut self, call: &mut Call<'_, '_>, announcer: Announcer, id: AtomId) {
        if let Some(reason) = self.rejected.check_announcement(announcer.peer, id) {
            let event = SyncEvent::BadHead {
                peer: announcer.peer,
                block: id,
                reason,
            };
            // The cost of its lookups stays recorded.
            self.heads.withdraw(&announcer.peer);
            call.context.report(Event::Sync(event));
            return;
        }
        if self.is_on_other_chain(call, announcer.peer) {
            return;
        }
        match self.heads.announce(self.now, announcer, id) {
            Announced::New | Announced::Known => {}
            Announced::Ignored | Announced::Refused => return,
        }
        call.is_busy = true;
        self.selection.note_announcement(self.now);
        if self.index.is_verified(&id) {
            let mut announcers = announcers::Announcers::default();
            announcers.add(announcer);
            self.heads.succeeded(&announcers);
            return;
        }
        for branch in &mut self.branches {
            if branch.is_on(&id) {
                branch.announcers.add(announcer);
            }
        }
    }

    /// Handles the chain that a peer states to follow.
    fn peer_identity(&mut self, call: &mut Call<'_, '_>, peer: PublicKey, identity: ChainIdentity) {
        self.other_chains.set_identity(peer, identity);
        self.heads.stop_ignoring(&peer);
        if !self.is_on_other_chain(call, peer) {
            self.other_chains.clear(&peer);
        }
    }

    /// Returns whether a peer has stated that it follows another chain; if so, ignores its heads.
    fn is_on_other_chain(&mut self, call: &mut Call<'_, '_>, peer: PublicKey) -> bool {
        // The root may be a configured block, whose genesis is unknown.
        let genesis = self.root.genesis();
        let genesis = genesis.filter(|genesis| call.context.root() == Some(*genesis));
        let Some(difference) = self.other_chains.difference(&peer, genesis) else {
            return false;
        };
        self.ignore_peer(call, peer, difference, call.now());
        true
    }

    /// Ignores the heads of a peer that follows another chain, and reports it once.
    fn ignore_peer(
        &mut self,
        call: &mut Call<'_, '_>,
        peer: PublicKey,
        difference: OtherChain,
        until: Instant,
    ) {
        self.heads.ignore(&peer, until);
        if self.other_chains.note(peer, difference) {
            let event = SyncEvent::OtherChain { peer, difference };
            call.context.report(Event::Sync(event));
        }
    }

    fn fetched(&mut self, call: &mut Call<'_, '_>, input: &Input) {
        let Input::Fetched { id, outcome, from } = input else {
            return;
        };
        let atoms = outcome.as_deref().map_err(|error| *error);
        let Some(block) = self.downloads.fetch_ended(self.now, *id, atoms, *from) else {
            return;
        };
        call.is_busy = true;
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
            self.downloads.hold(block, atoms, is_at_hand);
        }
    }

    /// Returns whether atoms of this block are needed.
    fn needs(&self, block: &AtomId) -> bool {
        let is_loading = self.loader.needs(block) || self.seed.head() == Some(*block);
        is_loading
            || self.elections.needs(block)
            || self.branches.iter().any(|branch| branch.needs(block))
    }

    /// Does periodic work: drops state that is no longer needed, retries early blocks, and reports
    /// progress.
    fn run_periodic(&mut self, call: &mut Call<'_, '_>) {
        let now = self.now;
        self.next_periodic = now + self.config.interval;
        self.downloads.prune(now);
        self.drop_abandoned(call);
        let mut downloads = core::mem::take(&mut self.downloads);
        downloads.retain(|block| self.needs(block));
        self.downloads = downloads;
        self.retry_early(call);
        self.measure_participation(call);
        self.choice.request();
        for branch in &self.branches {
            let progress = status::progress(branch);
            call.context
                .report(Event::Sync(SyncEvent::Progress(progress)));
        }
    }

    /// Informs the producer whether a chain longer than ours is being synced.
    fn update_behind(&self, call: &mut Call<'_, '_>) {
        let height = call.context.head().map_or(0, Head::height);
        let coming = self.branches.iter().filter(|branch| {
            let is_near = !branch.is_stalled(self.now, scheduler::STALL_TIMEOUT);
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
        call.context.set_behind(is_near);
        call.context.set_reading_headers(is_slow);
    }
}

impl<H: BatchHasher> Component for ChainSync<H> {
    fn handle_input(
        &mut self,
        environment: &Environment<'_>,
        context: &mut Context,
        input: &Input,
    ) {
        self.now = environment.now.instant;
        self.unix = environment.now.unix.as_secs();
        let call = &mut Call::new(environment, context);
        match input {
            Input::PeerHead {
                peer,
                group,
                id,
                is_default_seed,
                is_seed,
            } => {
                let announcer = Announcer {
                    peer: *peer,
                    group: *group,
                    is_seed: *is_seed || *is_default_seed,
                };
                if *is_default_seed {
                    self.seed_announced(call, announcer, *id);
                } else {
                    self.peer_head(call, announcer, *id);
                }
            }
            Input::PeerIdentity { peer, identity } => {
                self.peer_identity(call, *peer, *identity);
            }
            Input::AdoptFork(id) => self.adopt_fork(call, *id),
            Input::AvoidBlock(id) => self.avoid_block(call, *id),
            Input::PeerGone { peer } => {
                self.seed.remove_peer(peer);
                self.heads.remove_peer(peer);
                self.other_chains.remove_peer(peer);
                self.downloads.remove_peer(peer);
                for branch in &mut self.branches {
                    branch.announcers.remove(peer);
                }
            }
            Input::Fetched { .. } => self.fetched(call, input),
            Input::BlockStored { block, outcome } => {
                self.block_stored(call, *block, outcome);
            }
            _ => {}
        }
        self.is_busy |= call.is_busy;
    }

    fn advance(&mut self, environment: &Environment<'_>, context: &mut Context) {
        self.now = environment.now.instant;
        self.unix = environment.now.unix.as_secs();
        let call = &mut Call::new(environment, context);
        self.resume(call);
        self.follow_head(call);
        self.root.update(&call.atoms(), call.context.root());
        self.read_back
            .run(call, &mut self.index, &mut self.selection);
        self.follow_seed(call);
        self.start_branches(call);
        self.run_branches(call);
        if self.next_periodic <= self.now {
            self.run_periodic(call);
        }
        self.choose(call);
        self.settle(call);
        self.load_election(call);
        self.update_behind(call);
        self.is_busy = call.is_busy;
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
        let retry = self.downloads.next_retry(self.now);
        let lookup = self.heads.next_due(self.now);
        let slot_change = self.next_slot_change(self.now);
        let first = self.first_choice_at().filter(|at| *at > self.now);
        let choice = self.choice.deadline(self.now);
        [
            Some(self.next_periodic),
            clock,
            store,
            retry,
            lookup,
            slot_change,
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
