//! Work on the branches, in turns, and the consequences of its results.

use super::ChainSync;
use super::block_index::{Basis, Entry, MAX_OWN_BLOCKS};
use super::branch::{Branch, Kind};
use super::call::Call;
use super::event::SyncEvent;
use super::headers::{HEADERS_PER_CALL, reread};
use super::rejected::DeadEnd;
use super::step::Step;
use super::trusted_head::link_blocks;
use super::verifier;
use crate::atom::AtomId;
use crate::consensus::{Event, StoreFailure};
use crate::trie::BatchHasher;
use alloc::format;
use alloc::string::{String, ToString};
use core::time::Duration;

/// Time for which the heads of a peer that follows another chain are ignored.
const IGNORED: Duration = Duration::from_secs(600);

impl<H: BatchHasher> ChainSync<H> {
    /// Does one piece of work for each branch, but verifies at most one block.
    pub(super) fn run_branches(&mut self, call: &mut Call<'_, '_>) {
        self.branches.grant_slots(call, &mut self.heads);
        for head in self.branches.next_turn() {
            // It may have been merged into an earlier branch, or ended with it.
            let Some(branch) = self.branches.get_mut(&head) else {
                continue;
            };
            let is_reading = branch.is_reading_headers();
            let mut step = if is_reading {
                self.read_headers(call, head)
            } else {
                self.advance_blocks(call, head)
            };
            if matches!(step, Step::LacksData) {
                self.branches.bound_checked(&head);
                step = Step::Waits;
            }
            let was_heavy = !is_reading && !matches!(step, Step::Waits);
            self.handle_step(call, head, step);
            if was_heavy {
                call.is_busy = true;
                return;
            }
        }
    }

    /// Reads headers of a branch, downwards.
    fn read_headers(&mut self, call: &mut Call<'_, '_>, head: AtomId) -> Step {
        for _ in 0..HEADERS_PER_CALL {
            let Some(branch) = self.branches.get_mut(&head) else {
                return Step::Waits;
            };
            let step = self.headers.read(
                call,
                branch,
                &mut self.downloads,
                &mut self.index,
                &mut self.selection,
                &self.rejected,
            );
            match step {
                Step::Progress => {}
                Step::Header { next } => {
                    if self.branches.merge(&mut self.heads, &head, next) {
                        return Step::Joined;
                    }
                }
                step => return step,
            }
        }
        Step::Progress
    }

    /// Links or verifies the next blocks of a branch.
    fn advance_blocks(&mut self, call: &mut Call<'_, '_>, head: AtomId) -> Step {
        let ids = self.branches.ids_ahead();
        let Some(branch) = self.branches.get_mut(&head) else {
            return Step::Waits;
        };
        let (downloads, index) = (&mut self.downloads, &mut self.index);
        if let Step::Bad(block, reason) = reread(call, branch, downloads) {
            return Step::Bad(block, reason);
        }
        if branch.kind == Kind::Trusted {
            return link_blocks(call, branch, downloads, index, &mut self.selection);
        }
        downloads.fetch_ahead(call, branch, ids);
        let (elections, rejected) = (&mut self.elections, &self.rejected);
        self.verifier
            .verify_next(call, branch, downloads, elections, index, rejected)
    }

    fn handle_step(&mut self, call: &mut Call<'_, '_>, head: AtomId, step: Step) {
        call.is_busy |= !matches!(step, Step::Waits | Step::LacksData | Step::Unanswered);
        match step {
            Step::Progress | Step::Header { .. } | Step::Joined | Step::Waits | Step::LacksData => {
            }
            Step::Finished => {
                if let Some(branch) = self.branches.remove(&head) {
                    self.selection.branch_ended(call, &self.index, branch.kind);
                }
                self.heads.release(&head);
            }
            Step::Bad(block, reason) => self.mark_invalid(call, block, &reason),
            Step::DeadEnd(end) => self.drop_branch(call, head, end),
            Step::Early(opens, ahead) => {
                self.branches.remove_all(&head);
                self.heads.park(&head, opens);
                self.heads.release(&head);
                let reason = format!("a block of it is {ahead} s in the future");
                self.drop_head(call, head, reason);
            }
            Step::Unanswered => {
                // Heads of the default seed or of the operator are requested again.
                let is_announced = self.heads.peers_of(&head) > 0;
                let is_spare = |branch: &Branch| {
                    branch.head == head && branch.kind == Kind::Verified && !is_announced
                };
                if let Some(branch) = self.branches.remove_if(is_spare) {
                    self.heads.failed(call.now(), &head, &branch.announcers);
                    self.heads.release(&head);
                    call.is_busy = true;
                }
            }
        }
    }

    fn drop_head(&mut self, call: &mut Call<'_, '_>, head: AtomId, reason: String) {
        call.context.report(Event::Sync(SyncEvent::HeadDropped {
            head,
            reason: reason.clone(),
        }));
        self.rejected.note_dropped(head, reason);
    }

    /// Ends a branch that this node does not follow.
    fn drop_branch(&mut self, call: &mut Call<'_, '_>, head: AtomId, end: DeadEnd) {
        let Some(branch) = self.branches.remove(&head) else {
            return;
        };
        let landmarks = branch.path.landmarks().chain([head]);
        self.rejected.add_dead_ends(landmarks, end);
        let reason = match end {
            DeadEnd::OtherChain(difference) => {
                let announcers = self.heads.announcers(&head);
                let until = call.now() + IGNORED;
                for announcer in branch.announcers.iter().chain(announcers.iter()) {
                    self.ignore_peer(call, announcer.peer, difference, until);
                }
                self.rejected.note_dropped(head, difference.to_string());
                self.heads.forget(&head);
                return;
            }
            DeadEnd::Avoided(block) => format!("block {block} is avoided by the operator"),
            DeadEnd::DeepFork => {
                format!("its fork point is more than {MAX_OWN_BLOCKS} blocks below our head")
            }
        };
        self.heads.failed(call.now(), &head, &branch.announcers);
        self.drop_head(call, head, reason);
        self.heads.forget(&head);
    }

    /// Remembers an invalid block, and ends every branch that contains it.
    fn mark_invalid(&mut self, call: &mut Call<'_, '_>, block: AtomId, reason: &str) {
        call.context.report(Event::Sync(SyncEvent::BadBlock {
            block,
            reason: String::from(reason),
        }));
        for (branch, near) in self.branches.remove_with(&block) {
            // Its nearest descendants, which later branches will meet, and the head.
            let tainted = near.into_iter().chain([branch.head]);
            for id in tainted.filter(|id| *id != block) {
                self.rejected.add_bad(id, reason, self.heads.forget(&id));
            }
            self.heads
                .failed(call.now(), &branch.head, &branch.announcers);
            let announcers = self.heads.forget(&branch.head);
            self.rejected.add_bad(branch.head, reason, announcers);
        }
        // Added last, so that it is forgotten last.
        let announcers = self.heads.forget(&block);
        self.rejected.add_bad(block, reason, announcers);
    }

    /// Handles the outcome of storing a block.
    pub(super) fn block_stored(
        &mut self,
        call: &mut Call<'_, '_>,
        id: AtomId,
        outcome: &Result<(), StoreFailure>,
    ) {
        while let Some(branch) = self.branches.storing(&id) {
            call.is_busy = true;
            if let Err(failure) = outcome {
                verifier::store_failed(call, branch, id, failure);
                continue;
            }
            let Some(block) = verifier::stored(call, branch) else {
                return;
            };
            let basis = branch.root.map(Basis::Verified);
            if let Some(entry) = basis.and_then(|basis| Entry::of(&block, basis)) {
                self.index.insert(id, entry);
            }
            self.heads.succeeded(&branch.announcers);
            for announcer in branch.announcers.iter() {
                self.other_chains.clear(&announcer.peer);
            }
            verifier::pass(call, branch, &mut self.downloads, block);
            let competition = &mut self.selection.competition;
            competition.enter(call, &self.index, id, branch.has_checkpoint);
            competition.note_growth();
        }
    }
}
