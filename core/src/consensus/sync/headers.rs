//! Headers of a branch: read down from its head to a verified block, to the genesis, or to a dead
//! end; and read again, a stretch at a time, on the way up.
//!
//! On the way down a header is checked against its child as far as that is cheap. Its signature and
//! its slot are checked on the way up, where the stakes are known.

use super::ChainSync;
use super::block_index::{Basis, Entry, MAX_OWN_BLOCKS};
use super::branch::{Branch, Kind, Phase};
use super::call::Call;
use super::other_chains::OtherChain;
use super::rejected::DeadEnd;
use super::step::Step;
use super::waiting::Waiting;
use crate::arc::Arc;
use crate::atom::AtomId;
use crate::chain::{Block, RecordError, VerifyError, verify_link};
use crate::consensus::HeadState;
use crate::trie::BatchHasher;
use alloc::string::ToString;
use core::convert::Infallible;

/// Maximum number of headers of a branch read in one call.
const HEADERS_PER_CALL: usize = 32;
/// Number of failed fetches of a header's atom at which the branch counts as stalled.
const STUCK_FAILURES: u32 = 4;

impl<H: BatchHasher> ChainSync<H> {
    /// Reads headers of a branch, downwards.
    pub(super) fn read_headers(&mut self, call: &mut Call<'_, '_>, at: usize) -> Step {
        for _ in 0..HEADERS_PER_CALL {
            match self.read_header(call, at) {
                Step::Progress => {}
                step => return step,
            }
        }
        Step::Progress
    }

    fn read_header(&mut self, call: &mut Call<'_, '_>, at: usize) -> Step {
        let now = call.now();
        let Some(branch) = self.branches.get(at) else {
            return Step::Waits;
        };
        let Phase::Headers { next } = branch.phase else {
            return Step::Progress;
        };
        if let Some(reason) = self.rejected.bad_reason(&next) {
            return Step::Bad(next, reason.to_string());
        }
        if let Some(end) = self.rejected.dead_end(&next) {
            return Step::DeadEnd(end);
        }
        if self
            .selection
            .choice
            .avoided()
            .any(|avoided| *avoided == next)
        {
            return Step::DeadEnd(DeadEnd::Avoided(next));
        }
        if let Some(waits) = self.room_for_header(at) {
            if let Some(branch) = self.branches.get_mut(at) {
                branch.waits = Some(waits);
            }
            return Step::Waits;
        }
        let block = match Block::read(&self.downloads.over(call.atoms()), next) {
            Ok(block) => Arc::new(block),
            Err(error) => return self.unreadable(call, at, next, &error),
        };
        self.downloads.release(&next);
        let Some(branch) = self.branches.get_mut(at) else {
            return Step::Waits;
        };
        branch.has_checkpoint |= self.config.checkpoint == Some(next);
        let known = self.index.get(&next);
        let known = known.filter(|entry| entry.is_verified() || branch.kind == Kind::Trusted);
        if let Some(entry) = known {
            branch.root = entry.root();
            branch.joined_at = entry.height;
            return join(branch, Some(block), call);
        }
        // With its own timestamp as the limit, the link check never finds it too late.
        if let Some(child) = &branch.lowest
            && let Err(VerifyError::Invalid(invalid)) =
                verify_link::<Infallible>(child, &block, &self.chain_id, &child.timestamp)
        {
            return Step::Bad(child.id(), invalid.to_string());
        }
        let (Some(height), Some(_)) = (block.height.to_u64(), block.timestamp.to_u64()) else {
            return Step::Bad(next, "height or timestamp exceeds 64 bits".to_string());
        };
        if block.chain_id != self.chain_id {
            if let Some(child) = &branch.lowest {
                let chain = OtherChain::ChainId {
                    theirs: block.chain_id.to_u64(),
                    ours: self.config.chain_id,
                };
                let reason = alloc::format!("its parent belongs to another chain: {chain}");
                return Step::Bad(child.id(), reason);
            }
            let (theirs, ours) = (block.chain_id.to_u64(), self.config.chain_id);
            return Step::DeadEnd(DeadEnd::OtherChain(OtherChain::ChainId { theirs, ours }));
        }
        if block.is_genesis() != (height == 0) {
            let reason = alloc::format!("invalid height {height}");
            return Step::Bad(next, reason);
        }
        if branch.path.is_empty() {
            branch.height = height;
        }
        let is_root = Some(next) == call.context.root() && !block.is_genesis();
        if is_root || Some(next) == self.config.verified_up_to {
            let root = call.context.root().unwrap_or(next);
            if let Some(entry) = Entry::of(&block, Basis::Verified(root)) {
                self.index.insert(next, entry);
                self.compete(call, next, false);
            }
            return Step::Progress;
        }
        branch.path.push_below(next, height);
        branch.has_progressed(now);
        branch.lowest = Some(Arc::clone(&block));
        if block.is_genesis() {
            if let Some(ours) = call.context.root().filter(|root| *root != next) {
                let theirs = next;
                return Step::DeadEnd(DeadEnd::OtherChain(OtherChain::Genesis { theirs, ours }));
            }
            branch.root = Some(next);
            return join(branch, None, call);
        }
        let is_free = match branch.kind {
            Kind::Decided => true,
            // A branch that is verified is not bound by a head that is only trusted.
            Kind::Verified => call
                .context
                .head()
                .is_none_or(|head| head.state() == HeadState::Trusted),
            Kind::Trusted => false,
        };
        let head = call
            .context
            .head()
            .filter(|_| self.selection.is_settled && !is_free);
        if head.is_some_and(|head| height.saturating_add(MAX_OWN_BLOCKS) < head.height()) {
            return Step::DeadEnd(DeadEnd::DeepFork);
        }
        let (head, previous) = (branch.head, block.previous);
        branch.phase = Phase::Headers { next: previous };
        self.absorb(&head, previous)
    }

    /// Returns the reason for which a branch has to wait before it may have another header, if any.
    fn room_for_header(&self, at: usize) -> Option<Waiting> {
        let branch = self.branches.get(at)?;
        let headers = branch.path.len();
        let max = self.config.limits.unconfirmed_headers;
        let is_confirmed =
            branch.kind == Kind::Decided || branch.announcers.support().is_confirmed();
        if headers >= max && !is_confirmed {
            return Some(Waiting::Confirmation { headers });
        }
        branch.needs_slot().then_some(Waiting::LongBranchSlot)
    }

    /// Merges this branch with the branch whose head is `next`, if there is one.
    fn absorb(&mut self, head: &AtomId, next: AtomId) -> Step {
        let kind = self.branches.iter().find(|branch| branch.head == *head);
        let kind = kind.map(|branch| branch.kind);
        let is_below = |branch: &Branch| branch.head == next && Some(branch.kind) == kind;
        let Some(other) = self.branches.iter().position(is_below) else {
            return Step::Progress;
        };
        let other = self.branches.remove(other);
        self.heads.release(&other.head);
        if let Some(branch) = self.branches.iter_mut().find(|branch| branch.head == *head) {
            branch.absorb(other);
        }
        // Indices of branches have changed, and perhaps the direction.
        Step::Joined
    }

    /// Fetches the atom that a header lacks.
    pub(super) fn unreadable(
        &mut self,
        call: &mut Call<'_, '_>,
        at: usize,
        block: AtomId,
        error: &RecordError<Infallible>,
    ) -> Step {
        let Some(missing) = error.missing() else {
            return Step::Bad(block, error.to_string());
        };
        let Some(branch) = self.branches.get_mut(at) else {
            return Step::Waits;
        };
        let purpose = branch.purpose(block);
        let atom = self.downloads.want(call, missing, purpose);
        branch.waits = Some(Waiting::Header { block, atom });
        branch.is_stuck = atom
            .failed
            .is_some_and(|(_, count)| count >= STUCK_FAILURES);
        if branch.path.is_empty() && atom.failed.is_some() && self.downloads.has_failed(&missing) {
            return Step::Unanswered;
        }
        Step::Waits
    }

    /// Reads headers again that the path has dropped, so that its next blocks are known.
    pub(super) fn reread_headers(&mut self, call: &mut Call<'_, '_>, at: usize) -> Step {
        for _ in 0..HEADERS_PER_CALL {
            let Some(branch) = self.branches.get_mut(at) else {
                return Step::Waits;
            };
            let Some(place) = branch.path.reread_next() else {
                return Step::Progress;
            };
            let block = match Block::read(&self.downloads.over(call.atoms()), place.id) {
                Ok(block) => block,
                Err(error) => return self.unreadable(call, at, place.id, &error),
            };
            self.downloads.release(&place.id);
            if !branch.path.reread(block.previous) {
                let reason = "headers differ from the earlier ones";
                return Step::Bad(place.id, reason.to_string());
            }
            branch.has_progressed(call.now());
        }
        Step::Progress
    }
}

/// Starts the upward direction of a branch whose headers are complete.
fn join(branch: &mut Branch, parent: Option<Arc<Block>>, call: &Call<'_, '_>) -> Step {
    branch.phase = Phase::Blocks { parent };
    branch.lowest = None;
    branch.has_progressed(call.now());
    Step::Joined
}
