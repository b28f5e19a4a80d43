//! Trusted heads: those of the pinned default seed.
//!
//! A node without a chain adopts the seed's head once its header is known. Later heads of the seed
//! are linked to known blocks by their headers, and then compete like verified blocks: the fork
//! choice applies to the seed too.

use super::ChainSync;
use super::announcers::{Announcer, Announcers};
use super::block_index::{Basis, Entry};
use super::branch::{Branch, Kind, Phase};
use super::call::Call;
use super::head_loader::StartWait;
use super::step::Step;
use crate::arc::Arc;
use crate::atom::AtomId;
use crate::chain::Block;
use crate::consensus::{Head, HeadState};
use crate::trie::BatchHasher;

/// Maximum number of blocks linked in one call.
const BLOCKS_PER_CALL: usize = 32;
/// Maximum number of heads of the seed that are linked at a time.
const MAX_TRUSTED_BRANCHES: usize = 2;

impl<H: BatchHasher> ChainSync<H> {
    /// Handles a head of the default seed. A head that the peer announced before it was known to be
    /// the seed is not verified any more, but trusted.
    pub(super) fn seed_announced(
        &mut self,
        call: &mut Call<'_, '_>,
        announcer: Announcer,
        id: AtomId,
    ) {
        let previous = self.heads.head_of(&announcer.peer);
        self.heads.remove_peer(&announcer.peer);
        if let Some(previous) = previous.filter(|previous| self.heads.peers_of(previous) == 0) {
            self.branches
                .retain(|branch| branch.head != previous || branch.kind != Kind::Verified);
            self.heads.release(&previous);
        }
        self.seed.announce(announcer, id);
        self.selection.note_announcement(self.now);
        call.is_busy = true;
    }

    /// Follows the default seed's newest head.
    pub(super) fn follow_seed(&mut self, call: &mut Call<'_, '_>) {
        let (Some(seed), Some(id)) = (self.seed.seed(), self.seed.head()) else {
            return;
        };
        if self.index.contains(&id) {
            return;
        }
        if call.context.has_chain() {
            if call.context.head().is_some() {
                self.link(call, seed, id);
            }
            return;
        }
        if !self.has_enough_announcements(call.now()) {
            return;
        }
        let read = Block::read(&self.downloads.over(call.atoms()), id);
        match read {
            Ok(block) => {
                self.downloads.release(&id);
                self.take_trusted(call, block);
            }
            Err(error) => match error.missing() {
                Some(missing) => {
                    let atom = self.downloads.want_from(call, id, missing, Some(seed));
                    self.loader.wait(StartWait::SeedHead(atom));
                }
                None => self.seed.drop_head(),
            },
        }
    }

    fn take_trusted(&mut self, call: &mut Call<'_, '_>, block: Block) {
        self.loader.stop_waiting();
        if block.chain_id != self.chain_id {
            self.loader.wait(StartWait::SeedOfOtherChain {
                theirs: block.chain_id.to_u64(),
                ours: self.config.chain_id,
            });
            self.seed.drop_head();
            return;
        }
        match Head::new(block, HeadState::Trusted) {
            Some(head) => {
                self.adopt(call, head);
                self.choice.request();
            }
            None => self.seed.drop_head(),
        }
    }

    /// Starts to link a head of the seed to known blocks.
    fn link(&mut self, call: &mut Call<'_, '_>, seed: Announcer, id: AtomId) {
        let is_trusted = |branch: &&Branch| branch.kind == Kind::Trusted;
        let trusted = self.branches.iter().filter(is_trusted);
        if self.rejected.contains(&id) || trusted.clone().any(|branch| branch.head == id) {
            return;
        }
        if trusted.clone().count() >= MAX_TRUSTED_BRANCHES
            && let Some(oldest) = trusted.min_by_key(|branch| branch.since)
        {
            let oldest = oldest.head;
            self.branches.retain(|branch| branch.head != oldest);
        }
        let mut announcers = Announcers::default();
        announcers.add(seed);
        let limits = self.config.limits.path();
        let mut branch = Branch::new(id, announcers, limits, self.now);
        branch.kind = Kind::Trusted;
        branch.has_slot = true;
        self.branches.push(branch);
        call.is_busy = true;
    }

    /// Adds the blocks of a linked branch to the index and submits them to the fork choice.
    pub(super) fn link_blocks(&mut self, call: &mut Call<'_, '_>, at: usize) -> Step {
        for _ in 0..BLOCKS_PER_CALL {
            let Some(branch) = self.branches.get(at) else {
                return Step::Waits;
            };
            if branch.path.is_empty() {
                return Step::Finished;
            }
            let Some(id) = branch.path.lowest() else {
                return self.reread_headers(call, at);
            };
            let block = match Block::read(&self.downloads.over(call.atoms()), id) {
                Ok(block) => block,
                Err(error) => return self.unreadable(call, at, id, &error),
            };
            self.downloads.release(&id);
            if !self.index.contains(&id)
                && let Some(entry) = Entry::of(&block, Basis::Trusted)
            {
                self.index.insert(id, entry);
            }
            let leads = branch.has_checkpoint;
            self.compete(call, id, leads);
            if let Some(branch) = self.branches.get_mut(at) {
                branch.path.pop_lowest();
                branch.has_progressed(call.now());
                branch.phase = Phase::Blocks {
                    parent: Some(Arc::new(block)),
                };
            }
        }
        Step::Progress
    }
}
