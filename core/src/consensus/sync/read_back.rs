//! Reading of the stored part of our own chain after a start, from the head down.
//!
//! The blocks enter the index as verified, so that forks below the head can be compared with our
//! chain. If a checkpoint is configured, reading goes on until it is found.

use super::block_index::{Basis, BlockIndex, Entry, MAX_OWN_BLOCKS};
use super::call::Call;
use super::head_selection::Selection;
use crate::atom::AtomId;
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

    /// Adds the next stored blocks to the index, and looks for the checkpoint among them. Ends at
    /// the first block that is not stored.
    pub(super) fn run(
        &mut self,
        call: &mut Call<'_, '_>,
        index: &mut BlockIndex,
        selection: &mut Selection,
    ) {
        if self.0.is_none() {
            return;
        }
        let Some(root) = call.context.root() else {
            self.0 = None;
            return;
        };
        for _ in 0..HEADERS_PER_CALL {
            let Some(id) = self.0.take() else {
                return;
            };
            let head = call.context.head().map_or(0, Head::height);
            let Ok(block) = Block::read(&call.atoms(), id) else {
                return;
            };
            let Some(entry) = Entry::of(&block, Basis::Verified(root)) else {
                return;
            };
            // The last one is the block that the chain was verified from.
            let is_last = id == root || block.is_genesis();
            let depth = head.saturating_sub(entry.height);
            selection.note_own_block(id, entry.height);
            if depth < MAX_OWN_BLOCKS && !index.contains(&id) {
                index.insert(id, entry);
            } else if !selection.lacks_checkpoint() {
                return;
            }
            if !is_last {
                self.0 = Some(block.previous);
            }
        }
        call.is_busy = true;
    }
}
