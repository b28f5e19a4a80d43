//! Resumption at the start, from the head of an earlier run or the configured one.

use super::ChainSync;
use super::block_index::{Basis, Entry};
use super::call::Call;
use super::head_loader::StartWait;
use crate::atom::AtomId;
use crate::chain::{Address, ElectionSeeds};
use crate::consensus::{Head, HeadState};
use crate::trie::BatchHasher;

impl<H: BatchHasher> ChainSync<H> {
    /// Loads the head of an earlier run, or the configured one.
    pub(super) fn resume(&mut self, call: &mut Call<'_, '_>) {
        let (id, state) = match call.context.saved() {
            Some(saved) => {
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
                (id, state)
            }
            None if call.context.head().is_some() => return,
            None => match self.config.latest_block {
                Some(id) if Some(id) == self.config.verified_up_to => (id, HeadState::Verified),
                Some(id) => (id, HeadState::Trusted),
                None => return,
            },
        };
        let Some(block) = self.loader.load(call, &mut self.downloads, id) else {
            return;
        };
        match Head::new(block, state) {
            Some(head) if head.block().chain_id == self.chain_id => {
                self.loader.stop_waiting();
                if Some(id) == self.config.verified_up_to {
                    let root = call.context.root().unwrap_or(id);
                    if let Some(entry) = Entry::of(head.block(), Basis::Verified(root)) {
                        self.index.insert(id, entry);
                    }
                }
                self.adopt(call, head);
                self.choice.request();
            }
            _ => self.loader.wait(StartWait::OtherChain(id)),
        }
    }
}
