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
//! (`first_adoption`). A genesis alone is not sufficient, since it costs nothing to make: a block
//! on it must have been verified, or a peer must announce the genesis. From then on the heads of
//! peers whose chain has another genesis are ignored.
//!
//! The pinned default seed is trusted (`trusted_head`): its heads are linked by their headers and
//! compete like verified blocks.
//!
//! | module | contents |
//! | --- | --- |
//! | `announced_heads` | heads that peers announce; budgets of their lookups |
//! | `branches` | the branches that are synced: selection, slots, turns |
//! | `branch`, `header_path`, `announcers` | one branch, its headers, the peers that announced it |
//! | `headers` | headers of a branch, downwards |
//! | `verifier`, `body`, `elections` | blocks of a branch, upwards |
//! | `trusted_head` | blocks of a branch that are trusted instead of verified |
//! | `downloads` | fetches and fetched atoms: `requests`, `working_set`, `prefetch`, `measures`, `streams` |
//! | `block_index`, `rejected`, `other_chains` | knowledge of blocks and peers |
//! | `competition`, `head_selection` | competing heads, and the one that is selected |
//! | `first_adoption` | choice of a chain by a node without one |
//! | `head_loader`, `read_back` | loading of heads; our own chain after a start |
//! | `run_branches`, `choose_head`, `timing` | wiring of the parts, and times of the next call |
//! | `status`, `event` | status and events |
//!
//! [`ChainSync`] only connects these parts. Each has its own state; what it needs of another one is
//! lent to it for a call.
//!
//! Bounds: those of the modules; [`MAX_BRANCHES`] branches, of which [`MAX_LONG_BRANCHES`] have
//! more than a few headers. Each branch has its own limit of headers, so that branches do not
//! compete for them.

mod announced_heads;
mod announcers;
mod bad_blocks;
mod block_index;
mod body;
mod branch;
mod branches;
mod call;
mod choice_timer;
mod choose_head;
mod competition;
mod config;
mod downloads;
mod elections;
mod event;
mod first_adoption;
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
mod run_branches;
mod seed_head;
mod stake_jobs;
mod status;
mod step;
mod streams;
mod timing;
mod trusted_head;
mod verifier;
mod waiting;
mod working_set;

pub use announced_heads::{MAX_HEADS, MAX_PEERS, NEWCOMER_LOOKUPS_PER_SECOND};
pub use block_index::{MAX_OTHER_BLOCKS, MAX_OWN_BLOCKS};
pub use body::{CheckedTransactions, verify_body};
pub use branches::{MAX_BRANCHES, MAX_LONG_BRANCHES};
pub use config::{MAX_UNCONFIRMED_HEADERS, SyncConfig, SyncLimits};
pub use event::SyncEvent;
pub use first_adoption::FIRST_ADOPTION_GROUPS;
pub use header_path::{CHECKPOINT_INTERVAL, MAX_CHECKPOINTS, MAX_RESIDENT};
pub use other_chains::OtherChain;
pub use prefetch::{BODIES_AHEAD, MAX_IDS_AHEAD};
pub use requests::{MAX_AHEAD, MAX_BYTES_IN_FLIGHT, MAX_IN_FLIGHT, MissingAtom};
pub use status::{DeepReorganization, SyncProgress, SyncStatus};
pub use verifier::MAX_AHEAD_SECONDS;
pub use waiting::Waiting;
pub use working_set::{MAX_AHEAD_BYTES, MAX_HELD_BYTES};

use super::{Component, Context, Environment, Event, Head, Input};
use crate::atom::AtomId;
use crate::crypto::PublicKey;
use crate::time::Instant;
use crate::trie::BatchHasher;
use crate::wire::handshake::ChainIdentity;
use announced_heads::{Announced, AnnouncedHeads};
use announcers::{Announcer, Announcers};
use block_index::BlockIndex;
use branches::Branches;
use call::Call;
use downloads::Downloads;
use elections::Elections;
use first_adoption::FirstAdoption;
use head_loader::HeadLoader;
use head_selection::HeadSelection;
use headers::HeaderReader;
use other_chains::OtherChains;
use read_back::ReadBack;
use rejected::Rejected;
use seed_head::SeedHead;
use timing::Timing;
use verifier::Verifier;

/// Sync. See the [module](self).
#[derive(Debug)]
pub struct ChainSync<H> {
    config: SyncConfig,
    heads: AnnouncedHeads,
    seed: SeedHead,
    rejected: Rejected,
    other_chains: OtherChains,
    index: BlockIndex,
    elections: Elections,
    branches: Branches,
    downloads: Downloads,
    headers: HeaderReader,
    verifier: Verifier<H>,
    selection: HeadSelection,
    first_adoption: FirstAdoption,
    loader: HeadLoader,
    read_back: ReadBack,
    timing: Timing,
}

impl<H: BatchHasher> ChainSync<H> {
    /// Creates sync without blocks.
    #[must_use]
    pub fn new(config: SyncConfig, hasher: H) -> Self {
        Self {
            heads: AnnouncedHeads::default(),
            seed: SeedHead::default(),
            rejected: Rejected::default(),
            other_chains: OtherChains::new(config.chain_id),
            index: BlockIndex::default(),
            elections: Elections::default(),
            branches: Branches::new(config.limits.path()),
            downloads: Downloads::new(config.has_streams),
            headers: HeaderReader::new(&config),
            verifier: Verifier::new(&config, hasher),
            selection: HeadSelection::new(&config),
            first_adoption: FirstAdoption::new(&config),
            loader: HeadLoader::default(),
            read_back: ReadBack::default(),
            timing: Timing::new(config.interval),
            config,
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
        self.other_chains.ours()
    }

    /// Returns whether a head of the default seed is trusted, and not only announced.
    fn trusts_seed(&self, call: &Call<'_, '_>) -> bool {
        let is_settled = self.config.verified_up_to.is_some() || call.context.has_chain();
        !(self.config.joins_at_seed && is_settled)
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
        match self.heads.announce(call.now(), announcer, id) {
            Announced::New | Announced::Known => {}
            Announced::Ignored | Announced::Refused => return,
        }
        call.is_busy = true;
        self.first_adoption.note_announcement(call.now());
        if self.index.is_verified(&id) {
            let mut announcers = Announcers::default();
            announcers.add(announcer);
            self.heads.succeeded(&announcers);
            return;
        }
        for branch in self.branches.iter_mut() {
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
        let root = call.context.root();
        let Some(difference) = self.other_chains.difference(&peer, root) else {
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
        let now = call.now();
        let atoms = outcome.as_deref().map_err(|error| *error);
        let Some(block) = self.downloads.fetch_ended(now, *id, atoms, *from) else {
            return;
        };
        call.is_busy = true;
        let mut is_measured = false;
        for branch in self.branches.iter_mut() {
            let Ok(atoms) = atoms else {
                branch.measures.stop_at(id);
                continue;
            };
            let is_of_list = branch.measures.take(atoms);
            is_measured |= is_of_list;
            let is_body = !branch.is_reading_headers() && branch.at_hand() == Some(block);
            if is_of_list || is_body {
                branch.progressed = now;
            }
        }
        if let Ok(atoms) = atoms
            && !is_measured
            && self.needs(&block)
        {
            let branches = &self.branches;
            self.downloads
                .hold(block, atoms, |id| branches.is_at_hand(id));
        }
    }

    /// Returns whether atoms of this block are needed.
    fn needs(&self, block: &AtomId) -> bool {
        self.loader.needs(block)
            || self.seed.head() == Some(*block)
            || self.elections.needs(block)
            || self.branches.needs(block)
    }

    fn peer_gone(&mut self, call: &mut Call<'_, '_>, peer: &PublicKey) {
        self.seed.remove_peer(peer);
        self.heads.remove_peer(peer);
        self.other_chains.remove_peer(peer);
        self.downloads.remove_peer(call, peer);
        self.branches.remove_peer(peer);
    }

    /// Does periodic work: drops state that is no longer needed, retries early blocks, and reports
    /// progress.
    fn run_periodic(&mut self, call: &mut Call<'_, '_>) {
        self.downloads.prune(call.now());
        self.branches
            .drop_abandoned(call, &mut self.heads, self.seed.head());
        let mut downloads = core::mem::take(&mut self.downloads);
        downloads.retain(|block| self.needs(block));
        self.downloads = downloads;
        self.selection.competition.retry_early(call, &self.index);
        self.selection
            .measure_participation(call.context, &self.index, &self.elections);
        self.selection.competition.request();
        for branch in self.branches.iter() {
            let progress = status::progress(branch);
            call.context
                .report(Event::Sync(SyncEvent::Progress(progress)));
        }
    }

    /// Informs the producer whether a chain longer than ours is being synced.
    fn update_behind(&self, call: &mut Call<'_, '_>) {
        let height = call.context.head().map_or(0, Head::height);
        let coming = self.branches.coming(call.now(), height);
        call.context.set_behind(coming.is_near);
        call.context.set_reading_headers(coming.is_slow);
    }
}

impl<H: BatchHasher> Component for ChainSync<H> {
    fn handle_input(
        &mut self,
        environment: &Environment<'_>,
        context: &mut Context,
        input: &Input,
    ) {
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
                match *is_default_seed && self.trusts_seed(call) {
                    true => self.seed_announced(call, announcer, *id),
                    false => self.peer_head(call, announcer, *id),
                }
            }
            Input::PeerIdentity { peer, identity } => {
                self.peer_identity(call, *peer, *identity);
            }
            Input::AdoptFork(id) => self.adopt_fork(call, *id),
            Input::AvoidBlock(id) => self.selection.avoid_block(call, &self.index, *id),
            Input::PeerGone { peer } => self.peer_gone(call, peer),
            Input::Fetched { .. } => self.fetched(call, input),
            Input::StreamProgress { number } => {
                let streams = &mut self.downloads.streams;
                call.is_busy |= streams.progressed(call.now(), *number);
            }
            Input::StreamEnded {
                number,
                is_complete,
            } => {
                let streams = &mut self.downloads.streams;
                call.is_busy |= streams.ended(call.now(), *number, *is_complete);
            }
            Input::BlockStored { block, outcome } => {
                self.block_stored(call, *block, outcome);
            }
            _ => {}
        }
        self.timing.note_input(call);
    }

    fn advance(&mut self, environment: &Environment<'_>, context: &mut Context) {
        let call = &mut Call::new(environment, context);
        call.is_busy |= self.downloads.streams.expire(call);
        self.resume(call);
        self.follow_head(call);
        self.other_chains
            .update_root(&call.atoms(), call.context.root());
        self.read_back
            .run(call, &mut self.index, &mut self.selection.competition);
        self.follow_seed(call);
        self.branches.start(call, &mut self.heads, &self.index);
        self.run_branches(call);
        if self.timing.is_period_over(call.now()) {
            self.run_periodic(call);
        }
        self.choose(call);
        self.settle(call);
        self.load_election(call);
        self.update_behind(call);
        self.timing.note_advance(call);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let (now, unix) = self.timing.last_call();
        if self.timing.is_busy() {
            return Some(now);
        }
        let competition = &self.selection.competition;
        let opens_at = self.branches.opens_at();
        let has_waiting = competition.has_early() || self.heads.has_parked(unix);
        let first = self.first_adoption.deadline();
        let first = first.filter(|at| !self.selection.has_head() && *at > now);
        self.timing.next_call([
            self.timing.next_look_at_clock(opens_at, has_waiting),
            self.branches.next_store_retry(),
            self.downloads.next_retry(now),
            self.downloads.streams.deadline(),
            self.heads.next_due(now),
            self.branches.next_slot_change(now),
            first,
            competition.deadline(now),
        ])
    }
}

#[cfg(test)]
mod tests;
