//! Where a start goes on: the head of an earlier run or the configured one, and what is stored of
//! our own chain.

use super::verified::{Entry, MAX_VERIFIED};
use super::{Environment, Verifier};
use crate::chain::{Context, Head, HeadState};
use astreum_core::atom::AtomId;
use astreum_core::chain::Block;
use std::sync::Arc;

/// Headers of our own chain that one call reads back after a start.
const READ_BACK_PER_CALL: usize = 256;

impl Verifier {
    /// Takes up the head of an earlier run, or the configured one.
    pub(super) fn resume(&mut self, world: &Environment<'_>, context: &mut Context) {
        let (id, state) = match context.saved() {
            Some(saved) => {
                let (id, state) = (saved.id, saved.state);
                if state != HeadState::Trusted
                    && !self.verified.contains(&id)
                    && let Some(root) = saved.root
                {
                    // Others can be followed down to it before it is here itself.
                    let entry = Entry {
                        height: saved.height,
                        timestamp: saved.timestamp,
                        previous: AtomId::ZERO,
                        root,
                    };
                    self.verified.insert(id, entry);
                }
                (id, state)
            }
            None if context.head().is_some() => return,
            None => match self.options.latest_block {
                Some(id) if Some(id) == self.options.verified_up_to => (id, HeadState::Verified),
                Some(id) => (id, HeadState::Trusted),
                None => return,
            },
        };
        let Some(block) = self.load(world, context, id, "the head to start from") else {
            return;
        };
        match Head::new(block, state) {
            Some(head) if head.block().chain_id == self.chain_id => {
                self.start_waits = None;
                if Some(id) == self.options.verified_up_to {
                    let root = context.root().unwrap_or(id);
                    self.verified.insert_head(&head, root);
                }
                self.adopt(world, context, head);
            }
            _ => {
                let what = format!("the head to start from, {id}, is of another chain");
                self.start_waits = Some(what);
            }
        }
    }

    /// The block, if it is here; it is fetched otherwise.
    pub(super) fn load(
        &mut self,
        world: &Environment<'_>,
        context: &mut Context,
        id: AtomId,
        what: &str,
    ) -> Option<Arc<Block>> {
        let error = match Block::read(&world.atoms, id) {
            Ok(block) => return Some(Arc::new(block)),
            Err(error) => error,
        };
        let waits = match error.missing() {
            Some(missing) => self.fetches.want(context, world.now.instant, missing),
            None => error.to_string(),
        };
        self.start_waits = Some(format!("{what}: {waits}"));
        None
    }

    /// Remembers what is stored of our own chain as verified, after a start.
    pub(super) fn read_back(&mut self, world: &Environment<'_>, context: &Context) {
        let Some(root) = context.root() else {
            self.read_back = None;
            return;
        };
        for _ in 0..READ_BACK_PER_CALL {
            let Some(id) = self.read_back.take() else {
                return;
            };
            let head = context.head().map_or(0, Head::height);
            let Ok(block) = Block::read(&world.atoms, id) else {
                return;
            };
            let Some(head_then) = Head::new(block, HeadState::Verified) else {
                return;
            };
            // The last one is the one that everything was verified from.
            let is_last = id == root || head_then.block().is_genesis();
            let depth = head.saturating_sub(head_then.height());
            if depth >= MAX_VERIFIED as u64 || self.verified.contains(&id) {
                return;
            }
            self.verified.insert_head(&head_then, root);
            if !is_last {
                self.read_back = Some(head_then.block().previous);
            }
        }
        self.is_busy = true;
    }
}
