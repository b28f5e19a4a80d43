//! Competition of heads: the fork choice over all known blocks, and the time of its next decision.
//!
//! Every verified block competes, regardless of when it arrived and which peer announced it; so do
//! blocks for which the default seed is trusted. A block that is too early competes once its time
//! has come.

use super::block_index::BlockIndex;
use super::call::Call;
use super::choice_timer::ChoiceTimer;
use super::config::SyncConfig;
use super::stake_jobs::{ForkStakes, KnownStakes};
use crate::atom::AtomId;
use crate::chain::fork_choice::{Fork, ForkChoice, InsertError, Outcome, Settings, Tip};
use crate::consensus::{ForkDecisions, Head, HeadState};
use crate::time::Instant;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

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

/// Competing heads. See the [module](self).
#[derive(Debug)]
pub(super) struct Competition {
    choice: ForkChoice<ForkStakes>,
    timer: ChoiceTimer,
    /// `true` if there may be a better head.
    has_changed: bool,
    early: BTreeSet<AtomId>,
    max_reorg_depth: u64,
    /// Block that every adopted chain must contain.
    checkpoint: Option<AtomId>,
    max_future_seconds: u64,
}

impl Competition {
    /// Creates a competition without blocks, with the operator's decisions in earlier runs.
    pub(super) fn new(config: &SyncConfig) -> Self {
        let mut competition = Self {
            choice: ForkChoice::new(Settings {
                max_reorg_depth: config.max_reorg_depth,
            }),
            timer: ChoiceTimer::new(),
            has_changed: false,
            early: BTreeSet::new(),
            max_reorg_depth: config.max_reorg_depth,
            checkpoint: config.checkpoint,
            max_future_seconds: config.max_future_seconds,
        };
        competition.start_over(&config.decisions);
        competition
    }

    /// Removes all blocks from the fork choice.
    pub(super) fn start_over(&mut self, decisions: &ForkDecisions) {
        let none = BlockIndex::default();
        self.choice = ForkChoice::new(Settings {
            max_reorg_depth: self.max_reorg_depth,
        });
        if let Some(checkpoint) = self.checkpoint {
            self.choice.set_checkpoint(&none, checkpoint);
        }
        for block in &decisions.avoided {
            self.choice.avoid(&none, *block);
        }
        if let Some(block) = decisions.adopted {
            self.choice.adopt(&none, Some(block));
        }
    }

    /// Submits a verified block, or one for which the default seed is trusted, to the fork choice.
    pub(super) fn enter(
        &mut self,
        call: &Call<'_, '_>,
        index: &BlockIndex,
        id: AtomId,
        leads_to_checkpoint: bool,
    ) -> Admission {
        let Some(entry) = index.get(&id) else {
            return Admission::Excluded;
        };
        // Without a chain, the genesis is chosen first.
        let is_ours = match (entry.root(), call.context.root()) {
            (Some(root), Some(ours)) => root == ours,
            (Some(_), None) => call.context.head().is_some_and(is_trusted),
            (None, _) => true,
        };
        if !is_ours {
            return Admission::Excluded;
        }
        let tip = Tip {
            id,
            leads_to_checkpoint,
        };
        let latest = call.unix().saturating_add(self.max_future_seconds);
        match self.choice.insert(index, tip, latest) {
            Ok(()) => {
                self.has_changed = true;
                self.early.remove(&id);
                Admission::Competes
            }
            Err(InsertError::Early { .. }) if self.early.len() < MAX_EARLY => {
                self.early.insert(id);
                Admission::Competes
            }
            Err(error) => {
                self.early.remove(&id);
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

    /// Submits blocks again that were too early.
    pub(super) fn retry_early(&mut self, call: &Call<'_, '_>, index: &BlockIndex) {
        for id in self.early.clone() {
            self.enter(call, index, id, false);
        }
    }

    /// Returns whether a block waits for its time to compete.
    pub(super) fn has_early(&self) -> bool {
        !self.early.is_empty()
    }

    /// Makes a known block the head that the others compete with.
    pub(super) fn set_head(&mut self, index: &BlockIndex, head: AtomId) {
        // Fails only if the head is not in the index; then it does not compete.
        let _ = self.choice.set_head(index, head);
    }

    /// Requests a decision, although the competing blocks may be the same.
    pub(super) const fn request(&mut self) {
        self.timer.request();
    }

    /// Records that a competing block was verified.
    pub(super) const fn note_growth(&mut self) {
        self.timer.note_growth();
    }

    /// Records that there may be a better head.
    pub(super) const fn note_change(&mut self) {
        self.has_changed = true;
    }

    /// Returns whether a decision is due; if so, it stays due until it is made or
    /// [put off](Self::put_off).
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        self.timer.is_due(now)
    }

    /// Returns when the growth of branches alone makes a decision due, if it is not due already.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        self.timer.deadline(now)
    }

    /// Puts a due decision off until it is requested again.
    pub(super) fn put_off(&mut self, now: Instant) {
        self.timer.done(now);
    }

    /// Makes a decision; `None` if nothing has changed since the last one.
    pub(super) fn decide(
        &mut self,
        now: Instant,
        stakes: &KnownStakes<'_>,
        trusted: &[AtomId],
    ) -> Option<Outcome> {
        self.timer.done(now);
        let has_changed = core::mem::take(&mut self.has_changed);
        has_changed.then(|| self.choice.decide(stakes, trusted))
    }

    /// Prefers the branch through this block to all others.
    pub(super) fn adopt(&mut self, index: &BlockIndex, id: AtomId) {
        self.choice.adopt(index, Some(id));
    }

    /// Rejects every branch through this block.
    pub(super) fn avoid(&mut self, index: &BlockIndex, id: AtomId) {
        self.choice.avoid(index, id);
    }

    /// Finds out again whether our chain contains an avoided block, after blocks below the head have
    /// entered the index.
    pub(super) fn reconsider(&mut self, index: &BlockIndex) {
        let first = self.avoided().next();
        if let Some(block) = first {
            self.choice.avoid(index, block);
            self.note_change();
            self.request();
        }
    }

    /// Returns whether the operator avoids this block.
    pub(super) fn avoids(&self, id: &AtomId) -> bool {
        self.avoided().any(|avoided| avoided == *id)
    }

    /// Returns the blocks that the operator avoids.
    pub(super) fn avoided(&self) -> impl Iterator<Item = AtomId> {
        self.choice.avoided().copied()
    }

    /// Returns the block whose branch the operator has adopted.
    pub(super) const fn adopted(&self) -> Option<AtomId> {
        self.choice.adopted()
    }

    /// Returns the operator's decisions.
    pub(super) fn decisions(&self) -> ForkDecisions {
        ForkDecisions {
            adopted: self.choice.adopted(),
            avoided: self.avoided().collect(),
        }
    }

    /// Returns the height up to which our chain is final for this node.
    pub(super) const fn anchor_height(&self) -> u64 {
        self.choice.anchor_height()
    }

    /// Restores the height up to which our chain was final in an earlier run.
    pub(super) fn restore_anchor(&mut self, height: u64) {
        self.choice.restore_anchor(height);
    }

    /// Records the checkpoint, if it is this block of our own chain.
    pub(super) fn note_own_block(&mut self, id: AtomId, height: u64) {
        if self.checkpoint == Some(id) {
            self.choice.restore_checkpoint(id, height);
        }
    }

    /// Returns the configured checkpoint if our chain is known to contain it at or below `height`.
    pub(super) fn checkpoint_below(&self, height: u64) -> Option<AtomId> {
        let found = self.choice.checkpoint_height();
        let is_below = found.is_some_and(|found| found <= height);
        self.checkpoint.filter(|_| is_below)
    }

    /// Returns whether a checkpoint is configured and not known to be in our chain.
    pub(super) const fn lacks_checkpoint(&self) -> bool {
        self.checkpoint.is_some() && self.choice.checkpoint_height().is_none()
    }

    /// Returns the forks along our chain.
    pub(super) fn forks(&self) -> Vec<Fork> {
        self.choice.forks()
    }
}

fn is_trusted(head: &Head) -> bool {
    head.state() == HeadState::Trusted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atom::NoStore;
    use crate::chain::fork_choice::Decision;
    use crate::consensus::Context;
    use crate::consensus::sync::elections::Elections;
    use crate::consensus::sync::tests::parts::{call_at, id, insert};

    /// Returns a genesis that is the head, and a block on it whose timestamp is 100.
    fn chain() -> (BlockIndex, Competition, Context) {
        let mut index = BlockIndex::default();
        insert(&mut index, id(1), AtomId::ZERO, 0, id(1));
        insert(&mut index, id(2), id(1), 1, id(1));
        index.set_head(id(1));
        let mut competition = Competition::new(&SyncConfig::default());
        competition.set_head(&index, id(1));
        let mut context = Context::new(None);
        context.set_root(id(1));
        (index, competition, context)
    }

    fn decide(competition: &mut Competition) -> Option<Decision> {
        let outcome = competition.decide(Instant::ZERO, &Elections::default().stakes(), &[]);
        outcome.map(|outcome| outcome.decision)
    }

    #[test]
    fn early_block_competes_once_its_time_has_come() {
        let (index, mut competition, mut context) = chain();
        let entered = call_at(97, &NoStore, &mut context, |call| {
            competition.enter(call, &index, id(2), false)
        });
        assert_eq!(entered, Admission::Competes);
        assert!(competition.has_early());
        call_at(97, &NoStore, &mut context, |call| {
            competition.retry_early(call, &index);
        });
        assert!(competition.has_early() && decide(&mut competition).is_none());
        // A block may be two seconds ahead of the clock.
        call_at(98, &NoStore, &mut context, |call| {
            competition.retry_early(call, &index);
        });
        assert!(!competition.has_early());
        let decision = decide(&mut competition);
        assert!(
            matches!(&decision, Some(Decision::Switch(it)) if it.to == id(2)),
            "{decision:?}"
        );
        assert!(decide(&mut competition).is_none(), "nothing has changed");
    }

    #[test]
    fn blocks_of_other_chains_and_avoided_ones_are_excluded() {
        let (mut index, mut competition, mut context) = chain();
        insert(&mut index, id(8), id(7), 1, id(7));
        insert(&mut index, id(9), id(6), 5, id(1));
        let mut enter = |competition: &mut Competition, block| {
            call_at(1_000, &NoStore, &mut context, |call| {
                competition.enter(call, &index, block, false)
            })
        };
        assert_eq!(enter(&mut competition, id(8)), Admission::Excluded);
        assert_eq!(enter(&mut competition, id(9)), Admission::Unlinked);
        assert_eq!(
            enter(&mut competition, id(5)),
            Admission::Excluded,
            "unknown"
        );
        competition.avoid(&index, id(2));
        assert_eq!(enter(&mut competition, id(2)), Admission::Excluded);
        // The decision outlives a new start.
        let decisions = competition.decisions();
        competition.start_over(&decisions);
        assert!(competition.avoids(&id(2)) && !competition.avoids(&id(1)));
    }
}
