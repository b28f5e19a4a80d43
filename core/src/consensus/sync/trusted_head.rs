//! The pinned default seed, whose head is trusted.

use super::resume::StartWait;
use super::{ChainSync, Environment};
use crate::atom::AtomId;
use crate::chain::Block;
use crate::consensus::{Context, Head, HeadState};
use crate::crypto::PublicKey;
use crate::trie::BatchHasher;
use alloc::collections::BTreeSet;

impl<H: BatchHasher> ChainSync<H> {
    /// Takes back what a peer has named before it was known to be the default seed: that is
    /// trusted, not verified.
    pub(super) fn trust(&mut self, peer: &PublicKey) {
        let heads = &mut self.heads;
        let named: BTreeSet<AtomId> = heads.heads().copied().collect();
        heads.remove_peer(peer);
        self.branches.retain(|branch| {
            let stays = heads.peers_of(&branch.head) > 0 || !named.contains(&branch.head);
            if !stays {
                heads.release(&branch.head);
            }
            stays
        });
    }

    /// Adopts the default seed's newest head, once its header is known.
    pub(super) fn follow_seed(&mut self, environment: &Environment<'_>, context: &mut Context) {
        if self.seed.is_none() {
            self.seed = self.seed_next.take();
        }
        let Some(id) = self.seed else {
            return;
        };
        if context.head().is_some_and(|head| head.id() == id) {
            self.seed = None;
            return;
        }
        let error = match Block::read(&self.held.over(environment.atoms), id) {
            Ok(block) => {
                self.seed = None;
                self.held.release(&id);
                self.is_busy |= self.seed_next.is_some();
                self.seed_head(environment, context, block);
                return;
            }
            Err(error) => error,
        };
        if let Some(missing) = error.missing() {
            let atom = self.want_of_start(context, environment.now.instant, id, missing);
            self.start_waits = Some(StartWait::SeedHead(atom));
        }
        // A newer one may be easier to get.
        if self.seed_next.is_some() || error.missing().is_none() {
            self.seed = self.seed_next.take();
        }
    }

    fn seed_head(&mut self, environment: &Environment<'_>, context: &mut Context, block: Block) {
        self.start_waits = None;
        if block.chain_id != self.chain_id {
            self.start_waits = Some(StartWait::SeedOfOtherChain {
                theirs: block.chain_id.to_u64(),
                ours: self.config.chain_id,
            });
            return;
        }
        let state = if self.index.contains(&block.id()) {
            HeadState::Verified
        } else {
            HeadState::Trusted
        };
        let Some(head) = Head::new(block, state) else {
            return;
        };
        let window = self.window(environment);
        let stays = context.head().is_some_and(|current| {
            current.state() != HeadState::Trusted
                && window.is_fresh(current.timestamp())
                && current.height() >= head.height()
        });
        if !stays {
            self.adopt(environment, context, head);
        }
    }
}
