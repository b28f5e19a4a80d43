//! Choice of the head: at the start, by the default seed, by the competition, and by the operator.

use super::ChainSync;
use super::announcers::Announcer;
use super::block_index::{Basis, Entry};
use super::call::Call;
use super::first_adoption::best_root;
use super::head_loader::StartWait;
use super::stake_jobs::JobStep;
use crate::atom::AtomId;
use crate::chain::{Address, Block, ElectionSeeds};
use crate::consensus::{Head, HeadState};
use crate::trie::BatchHasher;

impl<H: BatchHasher> ChainSync<H> {
    /// Loads the head of an earlier run, or the configured one.
    pub(super) fn resume(&mut self, call: &mut Call<'_, '_>) {
        self.selection.share_first_avoided(call);
        let Some((id, state)) = self.head_to_resume(call) else {
            return;
        };
        let Some(block) = self.loader.load(call, &mut self.downloads, id) else {
            return;
        };
        match Head::new(block, state) {
            Some(head) if head.block().chain_id == self.config.chain_id => {
                self.loader.stop_waiting();
                if Some(id) == self.config.verified_up_to {
                    let root = call.context.root().unwrap_or(id);
                    if let Some(entry) = Entry::of(head.block(), Basis::Verified(root)) {
                        self.index.insert(id, entry);
                    }
                }
                self.adopt(call, head);
                self.selection.competition.request();
            }
            _ => self.loader.wait(StartWait::OtherChain(id)),
        }
    }

    /// Returns the block and state of the head of an earlier run, or of the configured one, unless
    /// there is a head already.
    fn head_to_resume(&mut self, call: &Call<'_, '_>) -> Option<(AtomId, HeadState)> {
        let Some(saved) = call.context.saved() else {
            let id = self.config.latest_block;
            let id = id.filter(|_| call.context.head().is_none())?;
            return Some(match self.config.verified_up_to == Some(id) {
                true => (id, HeadState::Verified),
                false => (id, HeadState::Trusted),
            });
        };
        let (id, state) = (saved.id, saved.state);
        if state != HeadState::Trusted
            && !self.index.contains(&id)
            && let Some(root) = saved.root
        {
            // Other branches can be followed down to it before its block is loaded.
            let entry = Entry {
                height: saved.height,
                timestamp: saved.timestamp,
                previous: AtomId::ZERO,
                producer: Address::new([0; 32]),
                basis: Basis::Verified(root),
            };
            self.index.insert(id, entry);
            let seeds = ElectionSeeds::from_bytes(&saved.resume.election_seeds);
            self.elections.restore(seeds);
            self.selection.restore(&saved.resume);
        }
        Some((id, state))
    }

    /// Follows the head, which any component may have set.
    pub(super) fn follow_head(&mut self, call: &mut Call<'_, '_>) {
        let head = call.context.head();
        let Some(head) = head.filter(|head| self.selection.is_news(head)).cloned() else {
            return;
        };
        self.note_head(call, &head);
        self.selection.competition.request();
        // The election after our own block follows from cached data. If not, it is loaded later.
        if head.state() == HeadState::Own {
            let view = self.downloads.over(call.atoms());
            let _ = self.elections.after(&view, head.block());
        }
        self.save_head(call, head);
    }

    fn note_head(&mut self, call: &Call<'_, '_>, head: &Head) {
        let below = self.selection.note_head(call, &mut self.index, head);
        if let Some(below) = below {
            self.read_back.start(below);
        }
    }

    fn save_head(&self, call: &mut Call<'_, '_>, head: Head) {
        self.selection
            .save(call.context, &self.index, &self.elections, head);
    }

    /// Makes a block the head.
    fn adopt(&mut self, call: &mut Call<'_, '_>, head: Head) {
        self.selection.report(call, &self.index, &head);
        self.loader.stop_waiting();
        self.note_head(call, &head);
        self.save_head(call, head);
        self.selection.readmit(call, &self.index);
    }

    /// Loads the election after the head, which is saved with it.
    pub(super) fn load_election(&mut self, call: &mut Call<'_, '_>) {
        let head = call.context.head().filter(|head| {
            head.state() != HeadState::Trusted && self.elections.get(&head.id()).is_none()
        });
        let Some(head) = head.cloned() else {
            return;
        };
        let view = self.downloads.over(call.atoms());
        match self.elections.after(&view, head.block()) {
            Ok(None) => call.is_busy = true,
            Ok(Some(_)) => self.save_head(call, head),
            Err(error) => {
                if let Some(missing) = error.missing() {
                    self.downloads.want_from(call, head.id(), missing, None);
                }
            }
        }
    }

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
            self.branches.end_verified(&previous);
            self.heads.release(&previous);
        }
        self.seed.announce(announcer, id);
        self.first_adoption.note_announcement(call.now());
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
            if call.context.head().is_some() && !self.rejected.contains(&id) {
                self.branches.start_trusted(call, seed, id);
            }
            return;
        }
        if !self.is_ready_to_adopt(call) {
            return;
        }
        let read = Block::read(&self.downloads.over(call.atoms()), id);
        match read {
            Ok(block) => {
                self.downloads.release(&id);
                self.adopt_trusted(call, block);
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

    fn adopt_trusted(&mut self, call: &mut Call<'_, '_>, block: Block) {
        self.loader.stop_waiting();
        let ours = self.config.chain_id;
        if block.chain_id != ours {
            let theirs = block.chain_id.to_u64();
            self.loader
                .wait(StartWait::SeedOfOtherChain { theirs, ours });
            self.seed.drop_head();
            return;
        }
        let state = match self.config.joins_at_seed {
            true => HeadState::Verified,
            false => HeadState::Trusted,
        };
        match Head::new(block, state) {
            Some(head) => {
                if state == HeadState::Verified {
                    call.context.set_root(head.id());
                }
                self.adopt(call, head);
                self.selection.competition.request();
            }
            None => self.seed.drop_head(),
        }
    }

    /// Moves the head to the best competing block, if that differs.
    pub(super) fn choose(&mut self, call: &mut Call<'_, '_>) {
        self.read_stakes(call);
        self.replace_chain(call);
        let is_due = self.selection.competition.is_due(call.now());
        if !is_due || !self.may_adopt(call) {
            return;
        }
        let trusted = self.seed.with_heads_of_seeds(&self.heads);
        let choice = self
            .selection
            .choose(call, &self.index, &mut self.elections, &trusted);
        let Some(choice) = choice.filter(|choice| !self.is_bare_genesis(call, &choice.to)) else {
            return;
        };
        // The block was read for verification; it is fetched if it has been dropped from memory
        // since.
        let Some(block) = self.loader.load(call, &mut self.downloads, choice.to) else {
            self.selection.retry();
            return;
        };
        let Some(head) = Head::new(block, choice.state) else {
            return;
        };
        if let Some(reorganization) = &choice.reorganization {
            self.selection.note_reorganization(call, reorganization);
        }
        self.adopt(call, head);
    }

    /// Returns whether the head would be a genesis that no peer announces: a genesis costs nothing
    /// to make.
    fn is_bare_genesis(&self, call: &Call<'_, '_>, id: &AtomId) -> bool {
        let is_genesis = self.index.get(id).is_some_and(|entry| entry.height == 0);
        is_genesis && call.context.head().is_none() && self.heads.peers_of(id) == 0
    }

    fn is_ready_to_adopt(&self, call: &Call<'_, '_>) -> bool {
        self.first_adoption
            .is_ready(call.now(), &self.heads, &self.seed)
    }

    /// Returns whether a node without a chain may adopt one. If so, sets the root of the chain with
    /// the most support.
    fn may_adopt(&mut self, call: &mut Call<'_, '_>) -> bool {
        if call.context.head().is_some() {
            return true;
        }
        if call.context.saved().is_some() || !self.is_ready_to_adopt(call) {
            return false;
        }
        if call.context.root().is_none() {
            let Some(root) = best_root(&self.index, &self.heads, &self.branches) else {
                // Otherwise a head would be saved and announced for each block on the way.
                self.selection.competition.put_off(call.now());
                return false;
            };
            call.context.set_root(root);
            let leads = self.branches.iter().any(|branch| branch.has_checkpoint);
            self.selection.enter_tips(call, &self.index, root, leads);
        }
        true
    }

    /// Makes the adopted head that cannot be compared with ours the head.
    fn replace_chain(&mut self, call: &mut Call<'_, '_>) {
        let Some((id, state)) = self.selection.forced(&self.index) else {
            return;
        };
        let Some(block) = self.loader.load(call, &mut self.downloads, id) else {
            return;
        };
        self.selection.replace_chain();
        if let Some(head) = Head::new(block, state) {
            self.adopt(call, head);
            self.selection.competition.request();
        }
    }

    /// Makes the head binding once the node has caught up.
    pub(super) fn settle(&mut self, call: &mut Call<'_, '_>) {
        let is_waiting = self.selection.is_settled() || self.first_adoption.is_alone();
        let Some(head) = call.context.head().filter(|_| !is_waiting) else {
            return;
        };
        let now = call.now();
        if !self.is_ready_to_adopt(call)
            || self.branches.may_exceed(now, &self.heads, head.height())
        {
            return;
        }
        let head = head.clone();
        self.selection.settle(&self.index, head.id());
        self.save_head(call, head);
    }

    /// Continues to read stakes that the fork choice needs.
    fn read_stakes(&mut self, call: &mut Call<'_, '_>) {
        let view = self.downloads.over(call.atoms());
        match self.elections.read_stakes(&view) {
            JobStep::Idle => {}
            JobStep::Progress => call.is_busy = true,
            JobStep::Done => {
                call.is_busy = true;
                self.selection.retry();
            }
            JobStep::Missing { block, atom } => {
                self.downloads.want_from(call, block, atom, None);
            }
        }
    }

    /// Carries out the operator's decision to adopt a branch.
    pub(super) fn adopt_fork(&mut self, call: &mut Call<'_, '_>, id: AtomId) {
        self.rejected.forget_dead_ends();
        if !self.selection.adopt_fork(call, &self.index, id) {
            self.branches.start_decided(call.now(), &self.heads, id);
        }
    }
}
