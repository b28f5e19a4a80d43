//! Selection of the head: the fork choice over all verified blocks, and the time from which it is
//! binding.
//!
//! Every verified block competes by [`fork_choice`](crate::chain::fork_choice), regardless of when
//! it arrived and which peer announced it. Until the node has caught up for the first time, its
//! head is provisional: it shows the progress of the best branch, and reorganizations of any depth
//! are possible. From then on a reorganization deeper than `max_reorg_depth` needs the operator,
//! also after restarts.
//!
//! A node without a chain waits before it adopts one: for the heads of all configured seeds, or of
//! peers in [`FIRST_ADOPTION_GROUPS`] different network groups, or for `first_adoption_wait`.
//! Chains with different geneses cannot be compared; the one announced by more seeds, then by more
//! network groups, is adopted.

use super::announced_heads::AnnouncerCounts;
use super::block_index::{Basis, BlockIndex, Entry};
use super::branch::{Branch, Kind};
use super::call::Call;
use super::event::SyncEvent;
use super::stake_jobs::{ForkStakes, JobStep};
use super::status::DeepReorganization;
use super::{ChainSync, SyncConfig};
use crate::atom::AtomId;
use crate::chain::fork_choice::{
    Contest, Decision, ForkChoice, InsertError, Reorganization, Settings, Tip,
};
use crate::chain::{PARTICIPATION_BLOCKS, Participation};
use crate::consensus::{Anchor, Effect, Event, ForkDecisions, Head, HeadState, ResumeData};
use crate::time::Instant;
use crate::trie::BatchHasher;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::time::Duration;

/// Number of network groups whose heads a node waits for before it adopts a chain.
pub const FIRST_ADOPTION_GROUPS: usize = 8;
/// Time for which a branch that only one network group announces may keep the head provisional
/// while its headers are read.
const UNCONFIRMED_GRACE: Duration = Duration::from_secs(600);
/// Maximum number of verified blocks that were too early to compete and are retried.
const MAX_EARLY: usize = 256;

/// Result of submitting a block to the fork choice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Admission {
    /// It competes, or will once its time has come.
    Competes,
    /// It does not share a remembered block with our chain.
    Unlinked,
    /// It is of another chain, avoided, or lacks the checkpoint.
    Excluded,
}

/// State of the head selection.
#[derive(Debug)]
pub(super) struct Selection {
    pub(super) choice: ForkChoice<ForkStakes>,
    /// `true` once the node has caught up, so that its head is not provisional any more.
    pub(super) is_settled: bool,
    /// `true` if there may be a better head.
    pub(super) is_dirty: bool,
    early: BTreeSet<AtomId>,
    pub(super) contests: Vec<Contest>,
    pub(super) reorganization: Option<DeepReorganization>,
    pub(super) participation: Option<Participation>,
    /// Time when a peer first announced a head.
    first_announced: Option<Instant>,
    /// Anchor of an earlier run.
    restored_anchor: Option<Anchor>,
    restored_checkpoint: Option<AtomId>,
    /// Block that every adopted chain must contain.
    checkpoint: Option<AtomId>,
    /// Head adopted by the operator that cannot be compared with ours.
    forced: Option<AtomId>,
    /// Head that the participation was computed for.
    measured: Option<AtomId>,
}

impl Selection {
    pub(super) fn new(config: &SyncConfig) -> Self {
        Self {
            choice: choice(config, &config.decisions),
            is_settled: false,
            is_dirty: false,
            early: BTreeSet::new(),
            contests: Vec::new(),
            reorganization: None,
            participation: None,
            first_announced: None,
            restored_anchor: None,
            restored_checkpoint: None,
            checkpoint: config.checkpoint,
            forced: None,
            measured: None,
        }
    }

    /// Returns whether a verified block waits for its time to compete.
    pub(super) fn has_early(&self) -> bool {
        !self.early.is_empty()
    }

    /// Records the checkpoint, if it is this block of our own chain.
    pub(super) fn note_own_block(&mut self, id: AtomId, height: u64) {
        if self.checkpoint == Some(id) {
            self.choice.restore_checkpoint(id, height);
        }
    }

    /// Returns whether a checkpoint is configured and not known to be in our chain.
    pub(super) fn lacks_checkpoint(&self) -> bool {
        self.checkpoint.is_some() && self.choice.checkpoint_height().is_none()
    }

    /// Restores the data saved with the head of an earlier run.
    pub(super) const fn restore(&mut self, resume: &ResumeData) {
        self.is_settled |= resume.anchor.is_some();
        self.restored_anchor = resume.anchor;
        self.restored_checkpoint = resume.checkpoint;
    }

    /// Records that a peer has announced a head.
    pub(super) fn note_announcement(&mut self, now: Instant) {
        self.first_announced.get_or_insert(now);
    }
}

/// Returns a fork choice without blocks.
fn choice(config: &SyncConfig, decisions: &ForkDecisions) -> ForkChoice<ForkStakes> {
    let none = BlockIndex::default();
    let mut choice = ForkChoice::new(Settings {
        max_reorg_depth: config.max_reorg_depth,
    });
    if let Some(checkpoint) = config.checkpoint {
        choice.set_checkpoint(&none, checkpoint);
    }
    for block in &decisions.avoided {
        choice.avoid(&none, *block);
    }
    if let Some(block) = decisions.adopted {
        choice.adopt(&none, Some(block));
    }
    choice
}

impl<H: BatchHasher> ChainSync<H> {
    /// Follows the head, which any component may have set.
    pub(super) fn follow_head(&mut self, call: &mut Call<'_, '_>) {
        let Some(head) = call.context.head() else {
            return;
        };
        let now = (head.id(), head.state());
        if self.seen == Some(now) {
            return;
        }
        let head = head.clone();
        self.note_head(call, &head);
        self.choice.request();
        // The election after our own block follows from cached data. If not, it is loaded later.
        if head.state() == HeadState::Own {
            let _ = self
                .elections
                .after(&self.downloads.over(call.atoms()), head.block());
        }
        let resume = self.resume_data(&head);
        call.context.set_head_with(head, resume);
    }

    /// Loads the election after the head, which is saved with it.
    pub(super) fn load_election(&mut self, call: &mut Call<'_, '_>) {
        let head = call.context.head().filter(|head| {
            head.state() != HeadState::Trusted && self.elections.get(&head.id()).is_none()
        });
        let Some(head) = head.cloned() else {
            return;
        };
        match self
            .elections
            .after(&self.downloads.over(call.atoms()), head.block())
        {
            Ok(None) => call.is_busy = true,
            Ok(Some(_)) => {
                let resume = self.resume_data(&head);
                call.context.set_head_with(head, resume);
            }
            Err(error) => {
                if let Some(missing) = error.missing() {
                    self.downloads.want_from(call, head.id(), missing, None);
                }
            }
        }
    }

    /// Updates the index and the fork choice for a head.
    fn note_head(&mut self, call: &mut Call<'_, '_>, head: &Head) {
        let is_first = self.seen.is_none();
        self.seen = Some((head.id(), head.state()));
        let parent = self.index.get(&head.block().previous).copied();
        let verified = match head.state() {
            HeadState::Trusted => None,
            HeadState::Verified => call.context.root(),
            // Our own block on a block that was only trusted is not more than trusted.
            HeadState::Own if head.block().is_genesis() || is_first => call.context.root(),
            HeadState::Own => parent.and_then(|parent| parent.root()),
        };
        let basis = verified.map_or(Basis::Trusted, Basis::Verified);
        if let Some(entry) = Entry::of(head.block(), basis) {
            self.index.insert(head.id(), entry);
        }
        if is_first && verified.is_some() {
            self.read_back.start(head.block().previous);
        }
        self.index.set_head(head.id());
        // With a chain of our own, or one that is only trusted, there is nothing to catch up with.
        self.selection.is_settled |= head.block().is_genesis() && head.state() == HeadState::Own;
        self.selection.is_settled |= head.state() == HeadState::Trusted;
        if self.selection.is_settled {
            // Cannot fail: its entry was inserted above.
            let _ = self.selection.choice.set_head(&self.index, head.id());
            if is_first && let Some(anchor) = self.selection.restored_anchor {
                self.selection.choice.restore_anchor(anchor.height);
            }
        } else {
            self.compete(call, head.id(), false);
        }
        if let Some(id) = self.selection.restored_checkpoint.take()
            && Some(id) == self.config.checkpoint
        {
            let anchor = self
                .selection
                .restored_anchor
                .map_or(0, |anchor| anchor.height);
            self.selection.choice.restore_checkpoint(id, anchor);
        }
        self.selection.is_dirty = true;
    }

    /// Returns the data that a restart needs in addition to the head.
    fn resume_data(&self, head: &Head) -> ResumeData {
        let id = head.id();
        let seeds = self.elections.seeds_after(&id);
        let seeds = seeds.map(|seeds| seeds.to_bytes().to_vec());
        let height = self.selection.choice.anchor_height();
        let anchor = self.index.own_at(height).map(|id| Anchor { id, height });
        let anchor = anchor.or(self.selection.restored_anchor);
        ResumeData {
            election_seeds: seeds.unwrap_or_default(),
            anchor: anchor.filter(|_| self.selection.is_settled),
            checkpoint: self.config.checkpoint.filter(|_| {
                let height = self.selection.choice.checkpoint_height();
                height.is_some_and(|height| height <= head.height())
            }),
        }
    }

    /// Makes a block the head.
    pub(super) fn adopt(&mut self, call: &mut Call<'_, '_>, head: Head) {
        if let Some(root) = self.index.get(&head.id()).and_then(Entry::root)
            && call.context.root().is_none()
        {
            call.context.set_root(root);
            // Blocks that could not be compared with a trusted head can be compared now.
            self.readmit = true;
        }
        if head.state() != HeadState::Own {
            let now = call.unix();
            call.context.report(Event::HeadChanged {
                id: head.id(),
                height: head.height(),
                state: head.state(),
                age_seconds: now.saturating_sub(head.timestamp()),
            });
        }
        self.loader.stop_waiting();
        self.note_head(call, &head);
        let resume = self.resume_data(&head);
        call.context.set_head_with(head, resume);
        if core::mem::take(&mut self.readmit)
            && let Some(root) = call.context.root()
        {
            for tip in self.index.tips_of(root) {
                self.compete(call, tip, false);
            }
            self.choice.request();
        }
    }

    /// Submits a verified block, or one for which the default seed is trusted, to the fork choice.
    pub(super) fn compete(
        &mut self,
        call: &Call<'_, '_>,
        id: AtomId,
        leads_to_checkpoint: bool,
    ) -> Admission {
        let Some(entry) = self.index.get(&id) else {
            return Admission::Excluded;
        };
        // Without a chain, the genesis is chosen first.
        let is_ours = match (entry.root(), call.context.root()) {
            (Some(root), Some(ours)) => root == ours,
            (Some(_), None) => self.has_trusted_head(call),
            (None, _) => true,
        };
        if !is_ours {
            return Admission::Excluded;
        }
        let tip = Tip {
            id,
            leads_to_checkpoint,
        };
        let latest = self.unix.saturating_add(self.config.max_future_seconds);
        match self.selection.choice.insert(&self.index, tip, latest) {
            Ok(()) => {
                self.selection.is_dirty = true;
                self.selection.early.remove(&id);
                Admission::Competes
            }
            Err(InsertError::Early { .. }) if self.selection.early.len() < MAX_EARLY => {
                self.selection.early.insert(id);
                Admission::Competes
            }
            Err(error) => {
                self.selection.early.remove(&id);
                match error {
                    InsertError::NotIndexed(_) | InsertError::Unrelated | InsertError::TooDeep => {
                        Admission::Unlinked
                    }
                    InsertError::Early { .. }
                    | InsertError::Avoided(_)
                    | InsertError::LacksCheckpoint => Admission::Excluded,
                }
            }
        }
    }

    fn has_trusted_head(&self, call: &Call<'_, '_>) -> bool {
        let head = call.context.head();
        head.is_some_and(|head| head.state() == HeadState::Trusted)
    }

    /// Submits blocks again that were too early.
    pub(super) fn retry_early(&mut self, call: &Call<'_, '_>) {
        for id in self.selection.early.clone() {
            self.compete(call, id, false);
        }
    }

    /// Moves the head to the best competing block, if that differs.
    pub(super) fn choose(&mut self, call: &mut Call<'_, '_>) {
        self.read_stakes(call);
        self.force(call);
        if !self.choice.is_due(self.now) || !self.may_adopt(call) {
            return;
        }
        self.choice.done(self.now);
        if !core::mem::take(&mut self.selection.is_dirty) {
            return;
        }
        let trusted = self.heads_of_seeds();
        let stakes = self.elections.stakes();
        let outcome = self.selection.choice.decide(&stakes, &trusted);
        self.note_contests(call, outcome.contests);
        for block in outcome.missing_stakes {
            let is_verified = self.index.get(&block).is_some_and(Entry::is_verified);
            self.elections.read_stakes_after(block, is_verified);
            call.is_busy = true;
        }
        let to = match &outcome.decision {
            Decision::Switch(reorganization) => reorganization.to,
            Decision::Keep => match call.context.head() {
                // A trusted head may have been verified since.
                Some(head) => head.id(),
                None => return,
            },
        };
        let is_verified = self.index.get(&to).is_some_and(Entry::is_verified);
        let is_news = call.context.head().is_none_or(|head| {
            head.id() != to || head.state() == HeadState::Trusted && is_verified
        });
        if !is_news || self.is_bare_genesis(call, &to) {
            return;
        }
        let state = if is_verified {
            HeadState::Verified
        } else {
            HeadState::Trusted
        };
        // The block was read for verification; it is fetched if it has been dropped from memory
        // since.
        let Some(block) = self.loader.load(call, &mut self.downloads, to) else {
            self.selection.is_dirty = true;
            self.choice.request();
            return;
        };
        let Some(head) = Head::new(block, state) else {
            return;
        };
        if let Decision::Switch(reorganization) = outcome.decision {
            self.note_reorganization(call, &reorganization);
        }
        self.adopt(call, head);
    }

    /// Returns whether the head would be a genesis that no peer announces: a genesis costs nothing
    /// to make.
    fn is_bare_genesis(&self, call: &Call<'_, '_>, id: &AtomId) -> bool {
        let is_genesis = self.index.get(id).is_some_and(|entry| entry.height == 0);
        is_genesis && call.context.head().is_none() && self.heads.peers_of(id) == 0
    }

    fn note_reorganization(&mut self, call: &mut Call<'_, '_>, reorganization: &Reorganization) {
        let Some(from) = reorganization.from.filter(|_| reorganization.is_deep()) else {
            return;
        };
        let deep = DeepReorganization {
            from,
            to: reorganization.to,
            fork: reorganization.fork,
            depth: reorganization.undone,
            at_unix: self.unix,
        };
        self.selection.reorganization = Some(deep);
        call.context
            .report(Event::Sync(SyncEvent::Reorganized(deep)));
    }

    /// Returns whether a node without a chain may adopt one. If so, sets the root of the chain with
    /// the most support.
    fn may_adopt(&mut self, call: &mut Call<'_, '_>) -> bool {
        if call.context.head().is_some() {
            return true;
        }
        if call.context.saved().is_some() || !self.has_enough_announcements(call.now()) {
            return false;
        }
        if call.context.root().is_none() {
            let Some(root) = self.best_root() else {
                // Otherwise a head would be saved and announced for each block on the way.
                self.choice.done(self.now);
                return false;
            };
            call.context.set_root(root);
            for tip in self.index.tips_of(root) {
                let leads = self.branches.iter().any(|branch| branch.has_checkpoint);
                self.compete(call, tip, leads);
            }
        }
        true
    }

    /// Returns whether the heads of enough independent peers are known for the first choice.
    pub(super) fn has_enough_announcements(&self, now: Instant) -> bool {
        let AnnouncerCounts { groups, seeds } = self.heads.announcer_counts();
        let seeds = seeds + usize::from(self.seed.head().is_some());
        let has_seeds = self.config.seeds > 0 && seeds >= self.config.seeds;
        let first = self.selection.first_announced;
        let is_late =
            first.is_some_and(|first| now.since(first) >= self.config.first_adoption_wait);
        has_seeds || groups >= FIRST_ADOPTION_GROUPS || is_late
    }

    /// Returns when the first choice is made if no more peers announce a head.
    pub(super) fn first_choice_at(&self) -> Option<Instant> {
        let first = self
            .selection
            .first_announced
            .filter(|_| self.seen.is_none());
        first.map(|first| first + self.config.first_adoption_wait)
    }

    /// Returns the root of the verified chain that most seeds, then most network groups, announce;
    /// among equals the one with the higher chain, then with the lower id.
    fn best_root(&self) -> Option<AtomId> {
        let mut support: BTreeMap<AtomId, super::announcers::Announcers> = BTreeMap::new();
        for id in self.heads.heads() {
            if let Some(root) = self.index.get(id).and_then(Entry::root) {
                support
                    .entry(root)
                    .or_default()
                    .add_all(&self.heads.announcers(id));
            }
        }
        for branch in &self.branches {
            if let Some(root) = branch.root.filter(|_| !branch.is_reading_headers()) {
                support.entry(root).or_default().add_all(&branch.announcers);
            }
        }
        let roots = self.index.roots();
        let founded = roots.filter(|(root, top)| *top > 0 || self.heads.peers_of(root) > 0);
        let ranked = founded.map(|(root, top)| {
            let support = support
                .get(&root)
                .map(super::announcers::Announcers::support);
            (support, top, core::cmp::Reverse(root))
        });
        ranked.max().map(|(.., root)| root.0)
    }

    fn heads_of_seeds(&self) -> Vec<AtomId> {
        let mut heads = self.heads.heads_of_seeds();
        heads.extend(self.seed.head());
        heads.sort_unstable();
        heads.dedup();
        heads
    }

    /// Makes the head binding once the node has caught up.
    pub(super) fn settle(&mut self, call: &mut Call<'_, '_>) {
        let Some(head) = call.context.head() else {
            return;
        };
        // Announcing a head costs nothing, nor do invalid headers: a branch that only one peer
        // announces delays this only for a limited time.
        let is_nearing = |branch: &Branch| {
            let is_confirmed = branch.announcers.support().is_confirmed();
            let is_near = if branch.path.is_empty() {
                is_confirmed || self.heads.standing(&branch.announcers).is_trusted
            } else {
                let is_young = self.now.since(branch.since) < UNCONFIRMED_GRACE;
                let is_backed = is_confirmed || is_young || !branch.is_reading_headers();
                is_backed && branch.height > head.height()
            };
            is_near && !branch.is_stalled(self.now, super::scheduler::STALL_TIMEOUT)
        };
        let has_heard = self.has_enough_announcements(call.now());
        let is_alone = self.selection.first_announced.is_none();
        if self.selection.is_settled
            || is_alone
            || !has_heard
            || self.branches.iter().any(is_nearing)
        {
            return;
        }
        self.selection.is_settled = true;
        let _ = self.selection.choice.set_head(&self.index, head.id());
        self.selection.is_dirty = true;
        self.choice.request();
        let head = head.clone();
        let resume = self.resume_data(&head);
        call.context.set_head_with(head, resume);
    }

    /// Continues to read stakes that the fork choice needs.
    fn read_stakes(&mut self, call: &mut Call<'_, '_>) {
        let view = self.downloads.over(call.atoms());
        match self.elections.read_stakes(&view) {
            JobStep::Idle => {}
            JobStep::Progress => call.is_busy = true,
            JobStep::Done => {
                call.is_busy = true;
                self.selection.is_dirty = true;
                self.choice.request();
            }
            JobStep::Missing { block, atom } => {
                self.downloads.want_from(call, block, atom, None);
            }
        }
    }

    /// Computes the share of the stake that has produced the last blocks.
    pub(super) fn measure_participation(&mut self, call: &Call<'_, '_>) {
        let head = call.context.head().map(Head::id);
        if head == self.selection.measured {
            return;
        }
        let Some(election) = head.and_then(|head| self.elections.get(&head)) else {
            return;
        };
        self.selection.measured = head;
        let chain = self.index.own_chain().take(PARTICIPATION_BLOCKS);
        let producers = chain.map(|(_, entry)| entry.producer);
        self.selection.participation = Participation::of(&election.stakes, producers);
    }

    /// Carries out the operator's decision to adopt a branch.
    pub(super) fn adopt_fork(&mut self, call: &mut Call<'_, '_>, id: AtomId) {
        self.rejected.forget_dead_ends();
        self.selection.choice.adopt(&self.index, Some(id));
        self.decided(call);
        if !self.index.contains(&id) {
            self.sync_by_decision(id);
            return;
        }
        self.prefer(call, id);
    }

    /// Submits the branch through a known block that the operator has adopted to the fork choice.
    /// If it cannot be compared with ours, it replaces ours.
    fn prefer(&mut self, call: &Call<'_, '_>, id: AtomId) {
        let (mut competes, mut unlinked) = (false, Vec::new());
        for tip in self.index.tips_above(id) {
            match self.compete(call, tip, false) {
                Admission::Competes => competes = true,
                Admission::Unlinked => unlinked.push(tip),
                Admission::Excluded => {}
            }
        }
        let height = |tip: &AtomId| self.index.get(tip).map(|entry| entry.height);
        let best = unlinked.into_iter().max_by_key(height);
        self.selection.forced = best.filter(|_| !competes);
    }

    /// Records that a branch is verified, or linked, up to its head.
    pub(super) fn branch_ended(&mut self, call: &Call<'_, '_>, kind: Kind) {
        self.choice.request();
        if kind == Kind::Decided
            && let Some(adopted) = self.selection.choice.adopted()
        {
            self.prefer(call, adopted);
        }
    }

    /// Makes the adopted head that cannot be compared with ours the head.
    fn force(&mut self, call: &mut Call<'_, '_>) {
        let Some(id) = self.selection.forced else {
            return;
        };
        let Some(entry) = self.index.get(&id).copied() else {
            self.selection.forced = None;
            return;
        };
        let Some(block) = self.loader.load(call, &mut self.downloads, id) else {
            return;
        };
        self.selection.forced = None;
        let state = if entry.is_verified() {
            HeadState::Verified
        } else {
            HeadState::Trusted
        };
        if let Some(head) = Head::new(block, state) {
            self.selection.choice = choice(&self.config, &self.decisions());
            self.adopt(call, head);
            self.choice.request();
        }
    }

    /// Carries out the operator's decision to avoid a block.
    pub(super) fn avoid_block(&mut self, call: &mut Call<'_, '_>, id: AtomId) {
        self.selection.choice.avoid(&self.index, id);
        self.decided(call);
    }

    /// Requests storage of the operator's decisions, and a new choice.
    fn decided(&mut self, call: &mut Call<'_, '_>) {
        let decisions = self.decisions();
        call.context.push_effect(Effect::SaveDecisions(decisions));
        self.selection.is_dirty = true;
        self.choice.request();
        call.is_busy = true;
    }

    /// Returns the operator's decisions.
    pub(super) fn decisions(&self) -> ForkDecisions {
        ForkDecisions {
            adopted: self.selection.choice.adopted(),
            avoided: self.selection.choice.avoided().copied().collect(),
        }
    }

    /// Records the contested forks for the operator, and reports new ones.
    fn note_contests(&mut self, call: &mut Call<'_, '_>, contests: Vec<Contest>) {
        let name = |contest: &Contest| (contest.cause, contest.fork.block);
        for contest in &contests {
            let known = &self.selection.contests;
            if !known.iter().any(|known| name(known) == name(contest)) {
                call.context
                    .report(Event::Sync(SyncEvent::Contested(contest.clone())));
            }
        }
        self.selection.contests = contests;
    }
}
