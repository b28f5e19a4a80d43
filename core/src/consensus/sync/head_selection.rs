//! Selection of the head: the outcome of the competition, and the time from which it is binding.
//!
//! Until the node has caught up for the first time, its head is provisional: it shows the progress
//! of the best branch, and reorganizations of any depth are possible. From then on a reorganization
//! deeper than `max_reorg_depth` needs the operator, also after restarts.

use super::block_index::{Basis, BlockIndex, Entry};
use super::branch::Kind;
use super::call::Call;
use super::competition::{Admission, Competition};
use super::config::SyncConfig;
use super::elections::Elections;
use super::event::SyncEvent;
use super::status::DeepReorganization;
use crate::atom::AtomId;
use crate::chain::fork_choice::{Contest, Decision, Reorganization};
use crate::chain::{PARTICIPATION_BLOCKS, Participation};
use crate::consensus::{Anchor, Context, Effect, Event, Head, HeadState, ResumeData};
use alloc::vec::Vec;

/// Head that was chosen.
#[derive(Debug)]
pub(super) struct Choice {
    /// Block of the head.
    pub(super) to: AtomId,
    /// State of the head.
    pub(super) state: HeadState,
    /// Reorganization that it takes, if it is not on our chain already.
    pub(super) reorganization: Option<Reorganization>,
}

/// State of the head selection. See the [module](self).
#[derive(Debug)]
pub(super) struct HeadSelection {
    pub(super) competition: Competition,
    /// `true` once the node has caught up, so that its head is not provisional any more.
    is_settled: bool,
    /// Head at the last call.
    seen: Option<(AtomId, HeadState)>,
    /// `true` if blocks that could not be compared before must be submitted again.
    readmits: bool,
    contests: Vec<Contest>,
    reorganization: Option<DeepReorganization>,
    participation: Option<Participation>,
    /// Head that the participation was computed for.
    measured: Option<AtomId>,
    /// Anchor of an earlier run.
    restored_anchor: Option<Anchor>,
    restored_checkpoint: Option<AtomId>,
    /// Head adopted by the operator that cannot be compared with ours.
    forced: Option<AtomId>,
    /// `true` once the context has the blocks that the operator avoids.
    has_shared_avoided: bool,
}

impl HeadSelection {
    /// Creates the state of a node without a head.
    pub(super) fn new(config: &SyncConfig) -> Self {
        Self {
            competition: Competition::new(config),
            is_settled: false,
            seen: None,
            readmits: false,
            contests: Vec::new(),
            reorganization: None,
            participation: None,
            measured: None,
            restored_anchor: None,
            restored_checkpoint: None,
            forced: None,
            has_shared_avoided: false,
        }
    }

    /// Restores the data saved with the head of an earlier run.
    pub(super) const fn restore(&mut self, resume: &ResumeData) {
        self.is_settled |= resume.anchor.is_some();
        self.restored_anchor = resume.anchor;
        self.restored_checkpoint = resume.checkpoint;
    }

    /// Returns whether the head is binding.
    pub(super) const fn is_settled(&self) -> bool {
        self.is_settled
    }

    /// Returns whether there is a head.
    pub(super) const fn has_head(&self) -> bool {
        self.seen.is_some()
    }

    /// Returns whether the head is not the one that was noted last.
    pub(super) fn is_news(&self, head: &Head) -> bool {
        self.seen != Some((head.id(), head.state()))
    }

    /// Updates the index and the fork choice for a head. Returns the block from which on our own
    /// chain has to be read back, if this is the first head.
    pub(super) fn note_head(
        &mut self,
        call: &Call<'_, '_>,
        index: &mut BlockIndex,
        head: &Head,
    ) -> Option<AtomId> {
        let is_first = self.seen.is_none();
        self.seen = Some((head.id(), head.state()));
        let parent = index.get(&head.block().previous).copied();
        let verified = match head.state() {
            HeadState::Trusted => None,
            HeadState::Verified => call.context.root(),
            // Our own block on a block that was only trusted is not more than trusted.
            HeadState::Own if head.block().is_genesis() || is_first => call.context.root(),
            HeadState::Own => parent.and_then(|parent| parent.root()),
        };
        let basis = verified.map_or(Basis::Trusted, Basis::Verified);
        if let Some(entry) = Entry::of(head.block(), basis) {
            index.insert(head.id(), entry);
        }
        index.set_head(head.id());
        // With a chain of our own, or one that is only trusted, there is nothing to catch up with.
        self.is_settled |= head.block().is_genesis() && head.state() == HeadState::Own;
        self.is_settled |= head.state() == HeadState::Trusted;
        if self.is_settled {
            self.competition.set_head(index, head.id());
            if is_first && let Some(anchor) = self.restored_anchor {
                self.competition.restore_anchor(anchor.height);
            }
        } else {
            self.competition.enter(call, index, head.id(), false);
        }
        if let Some(id) = self.restored_checkpoint.take() {
            let anchor = self.restored_anchor.map_or(0, |anchor| anchor.height);
            self.competition.note_own_block(id, anchor);
        }
        self.competition.note_change();
        (is_first && verified.is_some()).then_some(head.block().previous)
    }

    /// Saves the head with the data that a restart needs in addition.
    pub(super) fn save(
        &self,
        context: &mut Context,
        index: &BlockIndex,
        elections: &Elections,
        head: Head,
    ) {
        let seeds = elections.seeds_after(&head.id());
        let seeds = seeds.map(|seeds| seeds.to_bytes().to_vec());
        let height = self.competition.anchor_height();
        let anchor = index.own_at(height).map(|id| Anchor { id, height });
        let anchor = anchor.or(self.restored_anchor);
        let resume = ResumeData {
            election_seeds: seeds.unwrap_or_default(),
            anchor: anchor.filter(|_| self.is_settled),
            checkpoint: self.competition.checkpoint_below(head.height()),
        };
        context.set_head_with(head, resume);
    }

    /// Reports a new head. If it is the first verified one, its root becomes that of our chain.
    pub(super) fn report(&mut self, call: &mut Call<'_, '_>, index: &BlockIndex, head: &Head) {
        if let Some(root) = index.get(&head.id()).and_then(Entry::root)
            && call.context.root().is_none()
        {
            call.context.set_root(root);
            // Blocks that could not be compared with a trusted head can be compared now.
            self.readmits = true;
        }
        if head.state() != HeadState::Own {
            let age_seconds = call.unix().saturating_sub(head.timestamp());
            call.context.report(Event::HeadChanged {
                id: head.id(),
                height: head.height(),
                state: head.state(),
                age_seconds,
            });
        }
    }

    /// Submits the blocks again that could not be compared before there was a root.
    pub(super) fn readmit(&mut self, call: &Call<'_, '_>, index: &BlockIndex) {
        if core::mem::take(&mut self.readmits)
            && let Some(root) = call.context.root()
        {
            self.enter_tips(call, index, root, false);
            self.competition.request();
        }
    }

    /// Submits the highest blocks of the verified chains from `root` to the fork choice.
    pub(super) fn enter_tips(
        &mut self,
        call: &Call<'_, '_>,
        index: &BlockIndex,
        root: AtomId,
        leads_to_checkpoint: bool,
    ) {
        for tip in index.tips_of(root) {
            self.competition
                .enter(call, index, tip, leads_to_checkpoint);
        }
    }

    /// Returns the best competing block, if that differs from the head.
    pub(super) fn choose(
        &mut self,
        call: &mut Call<'_, '_>,
        index: &BlockIndex,
        elections: &mut Elections,
        trusted: &[AtomId],
    ) -> Option<Choice> {
        let stakes = elections.stakes();
        let outcome = self.competition.decide(call.now(), &stakes, trusted)?;
        self.note_contests(call.context, outcome.contests);
        let is_verified = |id: &AtomId| index.get(id).is_some_and(Entry::is_verified);
        for block in outcome.missing_stakes {
            elections.read_stakes_after(block, is_verified(&block));
            call.is_busy = true;
        }
        let reorganization = match outcome.decision {
            Decision::Switch(reorganization) => Some(reorganization),
            Decision::Keep => None,
        };
        let head = call.context.head();
        let to = match &reorganization {
            Some(reorganization) => reorganization.to,
            // A trusted head may have been verified since.
            None => head?.id(),
        };
        let is_verified = is_verified(&to);
        let is_news = head.is_none_or(|head| {
            head.id() != to || head.state() == HeadState::Trusted && is_verified
        });
        let state = if is_verified {
            HeadState::Verified
        } else {
            HeadState::Trusted
        };
        is_news.then_some(Choice {
            to,
            state,
            reorganization,
        })
    }

    /// Has the head chosen again, because the chosen one could not be loaded.
    pub(super) const fn retry(&mut self) {
        self.competition.note_change();
        self.competition.request();
    }

    /// Records a reorganization, if it is deep enough to inform the operator.
    pub(super) fn note_reorganization(
        &mut self,
        call: &mut Call<'_, '_>,
        reorganization: &Reorganization,
    ) {
        let Some(from) = reorganization.from.filter(|_| reorganization.is_deep()) else {
            return;
        };
        let deep = DeepReorganization {
            from,
            to: reorganization.to,
            fork: reorganization.fork,
            depth: reorganization.undone,
            at_unix: call.unix(),
        };
        self.reorganization = Some(deep);
        call.context
            .report(Event::Sync(SyncEvent::Reorganized(deep)));
    }

    /// Makes the head binding.
    pub(super) fn settle(&mut self, index: &BlockIndex, head: AtomId) {
        self.is_settled = true;
        self.competition.set_head(index, head);
        self.competition.note_change();
        self.competition.request();
    }

    /// Computes the share of the stake that has produced the last blocks.
    pub(super) fn measure_participation(
        &mut self,
        context: &Context,
        index: &BlockIndex,
        elections: &Elections,
    ) {
        let head = context.head().map(Head::id);
        if head == self.measured {
            return;
        }
        let Some(election) = head.and_then(|head| elections.get(&head)) else {
            return;
        };
        self.measured = head;
        let chain = index.own_chain().take(PARTICIPATION_BLOCKS);
        let producers = chain.map(|(_, entry)| entry.producer);
        self.participation = Participation::of(&election.stakes, producers);
    }

    /// Carries out the operator's decision to adopt a branch. Returns whether its block is known;
    /// otherwise it has to be synced.
    pub(super) fn adopt_fork(
        &mut self,
        call: &mut Call<'_, '_>,
        index: &BlockIndex,
        id: AtomId,
    ) -> bool {
        self.competition.adopt(index, id);
        self.decided(call);
        let is_known = index.contains(&id);
        if is_known {
            self.prefer(call, index, id);
        }
        is_known
    }

    /// Carries out the operator's decision to avoid a block.
    pub(super) fn avoid_block(&mut self, call: &mut Call<'_, '_>, index: &BlockIndex, id: AtomId) {
        self.competition.avoid(index, id);
        self.decided(call);
    }

    /// Tells the other components which blocks the operator avoids.
    fn share_avoided(&mut self, call: &mut Call<'_, '_>) {
        self.has_shared_avoided = true;
        call.context.set_avoided(self.competition.avoided());
    }

    /// Does so once after the start, with the decisions of earlier runs.
    pub(super) fn share_first_avoided(&mut self, call: &mut Call<'_, '_>) {
        if !self.has_shared_avoided {
            self.share_avoided(call);
        }
    }

    /// Requests storage of the operator's decisions, and a new choice.
    fn decided(&mut self, call: &mut Call<'_, '_>) {
        self.share_avoided(call);
        let decisions = self.competition.decisions();
        call.context.push_effect(Effect::SaveDecisions(decisions));
        self.competition.note_change();
        self.competition.request();
        call.is_busy = true;
    }

    /// Submits the branch through a known block that the operator has adopted to the fork choice.
    /// If it cannot be compared with ours, it replaces ours.
    fn prefer(&mut self, call: &Call<'_, '_>, index: &BlockIndex, id: AtomId) {
        let (mut competes, mut unlinked) = (false, Vec::new());
        for tip in index.tips_above(id) {
            match self.competition.enter(call, index, tip, false) {
                Admission::Competes => competes = true,
                Admission::Unlinked => unlinked.push(tip),
                Admission::Excluded => {}
            }
        }
        let height = |tip: &AtomId| index.get(tip).map(|entry| entry.height);
        let best = unlinked.into_iter().max_by_key(height);
        self.forced = best.filter(|_| !competes);
    }

    /// Records that a branch is verified, or linked, up to its head.
    pub(super) fn branch_ended(&mut self, call: &Call<'_, '_>, index: &BlockIndex, kind: Kind) {
        self.competition.request();
        if kind == Kind::Decided
            && let Some(adopted) = self.competition.adopted()
        {
            self.prefer(call, index, adopted);
        }
    }

    /// Returns the adopted head that cannot be compared with ours and replaces it, if any, and its
    /// state.
    pub(super) fn forced(&mut self, index: &BlockIndex) -> Option<(AtomId, HeadState)> {
        let id = self.forced?;
        let Some(entry) = index.get(&id) else {
            self.forced = None;
            return None;
        };
        let state = if entry.is_verified() {
            HeadState::Verified
        } else {
            HeadState::Trusted
        };
        Some((id, state))
    }

    /// Ends the comparison with our chain, which the adopted head replaces.
    pub(super) fn replace_chain(&mut self) {
        self.forced = None;
        let decisions = self.competition.decisions();
        self.competition.start_over(&decisions);
    }

    /// Records the contested forks for the operator, and reports new ones.
    fn note_contests(&mut self, context: &mut Context, contests: Vec<Contest>) {
        let name = |contest: &Contest| (contest.cause, contest.fork.block);
        for contest in &contests {
            let known = &self.contests;
            if !known.iter().any(|known| name(known) == name(contest)) {
                context.report(Event::Sync(SyncEvent::Contested(contest.clone())));
            }
        }
        self.contests = contests;
    }

    /// Returns the forks that the fork choice cannot settle.
    pub(super) fn contests(&self) -> &[Contest] {
        &self.contests
    }

    /// Returns the last reorganization of more than a few blocks.
    pub(super) const fn reorganization(&self) -> Option<DeepReorganization> {
        self.reorganization
    }

    /// Returns the share of the stake that has produced the last blocks.
    pub(super) const fn participation(&self) -> Option<Participation> {
        self.participation
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atom::NoStore;
    use crate::consensus::sync::tests::parts::{call_at, id, insert};
    use crate::testkit::header;

    fn head(height: u64, previous: AtomId, state: HeadState) -> Head {
        Head::new(header(height, previous, 100 * height).signed(None), state).unwrap()
    }

    #[test]
    fn first_verified_head_is_provisional_and_a_trusted_one_is_binding() {
        for (state, is_settled) in [(HeadState::Verified, false), (HeadState::Trusted, true)] {
            let mut selection = HeadSelection::new(&SyncConfig::default());
            let (mut index, mut context) = (BlockIndex::default(), Context::new(None));
            context.set_root(id(1));
            let first = head(5, id(4), state);
            assert!(selection.is_news(&first) && !selection.has_head());
            let below = call_at(1_000, &NoStore, &mut context, |call| {
                selection.note_head(call, &mut index, &first)
            });
            // Our own chain is read back only if it was verified.
            assert_eq!(below, (!is_settled).then_some(id(4)));
            assert_eq!(selection.is_settled(), is_settled);
            assert_eq!(index.is_verified(&first.id()), !is_settled);
            assert!(!selection.is_news(&first) && selection.has_head());
            selection.settle(&index, first.id());
            assert!(selection.is_settled());
            let second = head(6, first.id(), state);
            let below = call_at(1_000, &NoStore, &mut context, |call| {
                selection.note_head(call, &mut index, &second)
            });
            assert_eq!(below, None);
        }
    }

    #[test]
    fn adopted_branch_that_cannot_be_compared_replaces_ours() {
        let mut selection = HeadSelection::new(&SyncConfig::default());
        let (mut index, mut context) = (BlockIndex::default(), Context::new(None));
        context.set_root(id(1));
        let ours = head(5, id(4), HeadState::Verified);
        // Its fork point is not remembered.
        insert(&mut index, id(9), id(8), 7, id(1));
        call_at(1_000, &NoStore, &mut context, |call| {
            selection.note_head(call, &mut index, &ours);
            assert!(!selection.adopt_fork(call, &index, id(3)), "not known yet");
            assert_eq!(selection.forced(&index), None);
            assert!(selection.adopt_fork(call, &index, id(9)));
        });
        let forced = selection.forced(&index);
        assert_eq!(forced, Some((id(9), HeadState::Verified)));
        selection.replace_chain();
        assert_eq!(selection.forced(&index), None);
        assert_eq!(selection.competition.adopted(), Some(id(9)));
    }
}
