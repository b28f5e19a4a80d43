//! The default seed, which is believed.

use super::Verifier;
use crate::chain::{Context, Environment, Head, HeadState};
use astreum_core::atom::AtomId;
use astreum_core::chain::Block;
use astreum_core::crypto::PublicKey;
use std::collections::BTreeSet;

impl Verifier {
    /// Takes back what a peer has offered before it was known to be the default seed: that is
    /// believed, not checked.
    pub(super) fn leave(&mut self, peer: &PublicKey) {
        let forks = &mut self.forks;
        let offered: BTreeSet<AtomId> = forks.heads().copied().collect();
        forks.withdraw(peer);
        self.chases.retain(|chase| {
            let stays = forks.peers_of(&chase.head) > 0 || !offered.contains(&chase.head);
            if !stays {
                forks.release(&chase.head);
            }
            stays
        });
    }

    /// Adopts the default seed's newest head, once its header is here.
    pub(super) fn follow_seed(&mut self, world: &Environment<'_>, context: &mut Context) {
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
        let error = match Block::read(&world.atoms, id) {
            Ok(block) => {
                self.seed = None;
                self.is_busy |= self.seed_next.is_some();
                self.seed_head(world, context, block);
                return;
            }
            Err(error) => error,
        };
        if let Some(missing) = error.missing() {
            let waits = self.fetches.want(context, world.now.instant, missing);
            self.start_waits = Some(format!("the default seed's head: {waits}"));
        }
        // A newer one may be easier to get.
        if self.seed_next.is_some() || error.missing().is_none() {
            self.seed = self.seed_next.take();
        }
    }

    fn seed_head(&mut self, world: &Environment<'_>, context: &mut Context, block: Block) {
        self.start_waits = None;
        if block.chain_id != self.chain_id {
            let (theirs, ours) = (&block.chain_id, &self.chain_id);
            self.start_waits = Some(format!(
                "the default seed is on chain {theirs}, this is chain {ours}"
            ));
            return;
        }
        let state = if self.verified.contains(&block.id()) {
            HeadState::Verified
        } else {
            HeadState::Trusted
        };
        let Some(head) = Head::new(block, state) else {
            return;
        };
        let window = self.window(world);
        let stays = context.head().is_some_and(|current| {
            current.state() != HeadState::Trusted
                && window.is_fresh(current.timestamp())
                && current.height() >= head.height()
        });
        if !stays {
            self.adopt(world, context, head);
        }
    }
}
