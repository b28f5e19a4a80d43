//! Reading of the stored part of our own chain after a start, from the head down.
//!
//! The blocks enter the index as verified, so that forks below the head can be compared with our
//! chain. Their atoms are read once, so that the host does not keep thousands of headers in memory.
//! If a checkpoint is configured, reading continues until it is found.

use super::block_index::{Basis, BlockIndex, Entry, MAX_OWN_BLOCKS};
use super::call::Call;
use super::competition::Competition;
use crate::atom::{AtomId, ReadOnce};
use crate::chain::Block;
use crate::consensus::Head;

/// Maximum number of headers of our own chain read in one call.
const HEADERS_PER_CALL: usize = 256;

/// Next block of our own chain to read. See the [module](self).
#[derive(Debug, Default)]
pub(super) struct ReadBack(Option<AtomId>);

impl ReadBack {
    /// Starts with this block.
    pub(super) const fn start(&mut self, block: AtomId) {
        self.0 = Some(block);
    }

    /// Returns whether there is a block to read.
    #[cfg(test)]
    pub(super) const fn is_running(&self) -> bool {
        self.0.is_some()
    }

    /// Adds the next stored blocks to the index, and looks for the checkpoint among them. Ends at
    /// the first block that is not stored.
    pub(super) fn run(
        &mut self,
        call: &mut Call<'_, '_>,
        index: &mut BlockIndex,
        competition: &mut Competition,
    ) {
        if self.0.is_none() {
            return;
        }
        let Some(root) = call.context.root() else {
            self.0 = None;
            return;
        };
        self.read(call, index, competition, root);
        competition.reconsider(index);
    }

    /// Adds blocks to the index, as [`Self::run`] does.
    fn read(
        &mut self,
        call: &mut Call<'_, '_>,
        index: &mut BlockIndex,
        competition: &mut Competition,
        root: AtomId,
    ) {
        for _ in 0..HEADERS_PER_CALL {
            let Some(id) = self.0.take() else {
                return;
            };
            let head = call.context.head().map_or(0, Head::height);
            let Ok(block) = Block::read(&ReadOnce(call.atoms()), id) else {
                return;
            };
            let Some(entry) = Entry::of(&block, Basis::Verified(root)) else {
                return;
            };
            // The last one is the block that the chain was verified from.
            let is_last = id == root || block.is_genesis();
            let depth = head.saturating_sub(entry.height);
            competition.note_own_block(id, entry.height);
            if depth < MAX_OWN_BLOCKS && !index.contains(&id) {
                index.insert(id, entry);
            } else if !competition.lacks_checkpoint() {
                return;
            }
            if !is_last {
                self.0 = Some(block.previous);
            }
        }
        call.is_busy = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atom::MemoryStore;
    use crate::chain::write_atoms;
    use crate::consensus::sync::config::SyncConfig;
    use crate::consensus::sync::tests::parts::{call_at, store_headers};
    use crate::consensus::{Context, HeadState};

    #[test]
    fn stored_chain_is_verified_down_to_its_root_or_to_a_gap() {
        let mut store = MemoryStore::new();
        let blocks = store_headers(&mut store, 6);
        for (lowest, has_root) in [(0, true), (3, false)] {
            let mut stored = MemoryStore::new();
            for block in &blocks[lowest..] {
                write_atoms(block.to_atoms(), &mut stored).unwrap();
            }
            let config = SyncConfig {
                checkpoint: Some(blocks[2].id()),
                ..SyncConfig::default()
            };
            let mut competition = Competition::new(&config);
            let (mut index, mut context) = (BlockIndex::default(), Context::new(None));
            context.set_root(blocks[0].id());
            let head = Head::new(blocks[5].clone(), HeadState::Verified).unwrap();
            context.set_head(head);
            let mut read_back = ReadBack::default();
            read_back.start(blocks[4].id());
            call_at(1_000, &stored, &mut context, |call| {
                read_back.run(call, &mut index, &mut competition);
            });
            assert!(!read_back.is_running());
            for (height, block) in blocks[..5].iter().enumerate() {
                assert_eq!(index.is_verified(&block.id()), height >= lowest, "{height}");
            }
            assert_eq!(competition.lacks_checkpoint(), !has_root);
        }
    }
}
