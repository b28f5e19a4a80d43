//! Down: from a head to a block that is verified, to the genesis, or to where it is refused.

use super::chase::Phase;
use super::verified::{Entry, MAX_VERIFIED};
use super::{Step, Verifier};
use crate::chain::{Context, Environment, HeadState};
use astreum_core::atom::AtomId;
use astreum_core::chain::{Block, RecordError, VerifyError, verify_link};
use core::convert::Infallible;
use std::sync::Arc;

/// Headers that one call looks at.
const HEADERS_PER_CALL: usize = 32;
/// Headers of all chases together that wait to be verified, 32 bytes each. A chain that would pass
/// it is not followed; `verified_up_to` shortens it.
pub const MAX_PATHS: usize = 1 << 21;

impl Verifier {
    pub(super) fn walk(
        &mut self,
        world: &Environment<'_>,
        context: &mut Context,
        at: usize,
    ) -> Step {
        for _ in 0..HEADERS_PER_CALL {
            match self.walk_one(world, context, at) {
                Step::Progress => {}
                step => return step,
            }
        }
        Step::Progress
    }

    fn walk_one(&mut self, world: &Environment<'_>, context: &mut Context, at: usize) -> Step {
        let total: usize = self.chases.iter().map(|chase| chase.path.len()).sum();
        let Some(chase) = self.chases.get_mut(at) else {
            return Step::Waits;
        };
        let Phase::Walking { next } = chase.phase else {
            return Step::Progress;
        };
        if let Some(reason) = self.forks.bad(&next) {
            return Step::Bad(next, reason.clone());
        }
        let block = match Block::read(&world.atoms, next) {
            Ok(block) => Arc::new(block),
            Err(error) => return self.unreadable(world, context, at, next, &error),
        };
        if let Some(entry) = self.verified.get(&next) {
            let (root, height) = (entry.root, entry.height);
            chase.root = Some(root);
            chase.joined_at = height;
            return join(chase, Some(block), world);
        }
        // Its own time is never too late for the check of how blocks hang together.
        if let Some(child) = &chase.lowest {
            let latest = child.timestamp.clone();
            let link = verify_link::<Infallible>(child, &block, &self.chain_id, &latest);
            if let Err(VerifyError::Invalid(invalid)) = link {
                let child = child.id();
                return Step::Bad(child, invalid.to_string());
            }
        }
        let (Some(height), Some(timestamp)) = (block.height.to_u64(), block.timestamp.to_u64())
        else {
            return Step::Bad(next, "its height or its time passes 64 bits".to_owned());
        };
        if block.chain_id != self.chain_id {
            let reason = format!(
                "it belongs to chain {}, this is chain {}",
                block.chain_id, self.chain_id
            );
            return Step::Bad(next, reason);
        }
        if block.is_genesis() != (height == 0) {
            return Step::Bad(next, format!("its height is {height}, where it cannot be"));
        }
        if chase.path.is_empty() {
            chase.height = height;
        }
        let is_root = Some(next) == context.root() && !block.is_genesis();
        if is_root || Some(next) == self.options.verified_up_to {
            let entry = Entry {
                height,
                timestamp,
                previous: block.previous,
                root: context.root().unwrap_or(next),
            };
            self.verified.insert(next, entry);
            return Step::Progress;
        }
        if total >= MAX_PATHS {
            let reason = format!("more than {MAX_PATHS} headers; set verified_up_to");
            return Step::Dropped(reason);
        }
        chase.path.push(next);
        chase.progressed = world.now.instant;
        chase.lowest = Some(Arc::clone(&block));
        if block.is_genesis() {
            if let Some(root) = context.root().filter(|root| *root != next) {
                return Step::Bad(next, format!("another chain: ours goes back to {root}"));
            }
            chase.root = Some(next);
            return join(chase, None, world);
        }
        let is_verified = |state| matches!(state, HeadState::Verified | HeadState::Own);
        let head = context.head().filter(|head| is_verified(head.state()));
        // A path is far shorter than 2^64.
        if head.is_some_and(|head| height.saturating_add(MAX_VERIFIED as u64) < head.height()) {
            let reason = format!("it leaves our chain more than {MAX_VERIFIED} blocks back");
            return Step::Dropped(reason);
        }
        let (head, previous) = (chase.head, block.previous);
        chase.phase = Phase::Walking { next: previous };
        self.absorb(&head, previous)
    }

    /// If `next` is the head of another chase, that one is a part of this.
    fn absorb(&mut self, head: &AtomId, next: AtomId) -> Step {
        let Some(other) = self.chases.iter().position(|chase| chase.head == next) else {
            return Step::Progress;
        };
        let other = self.chases.remove(other);
        self.forks.release(&other.head);
        if let Some(chase) = self.chases.iter_mut().find(|chase| chase.head == *head) {
            chase.absorb(other);
        }
        // Places have changed, and perhaps the way.
        Step::Joined
    }

    pub(super) fn unreadable(
        &mut self,
        world: &Environment<'_>,
        context: &mut Context,
        at: usize,
        block: AtomId,
        error: &RecordError<Infallible>,
    ) -> Step {
        let Some(missing) = error.missing() else {
            return Step::Bad(block, error.to_string());
        };
        let waits = self.fetches.want(context, world.now.instant, missing);
        if let Some(chase) = self.chases.get_mut(at) {
            chase.waits = Some(format!("header {block}: {waits}"));
        }
        Step::Waits
    }
}

fn join(
    chase: &mut super::chase::Chase,
    parent: Option<Arc<Block>>,
    world: &Environment<'_>,
) -> Step {
    chase.phase = Phase::Joined { parent };
    chase.lowest = None;
    chase.waits = None;
    chase.progressed = world.now.instant;
    Step::Joined
}
