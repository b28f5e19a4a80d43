//! Trusted heads: those of the pinned default seed.
//!
//! A node without a chain adopts the seed's head once its header is known. Later heads of the seed
//! are linked to known blocks by their headers, and then compete like verified blocks: the fork
//! choice applies to the seed too.

use super::block_index::{Basis, BlockIndex, Entry};
use super::branch::{Branch, Phase};
use super::call::Call;
use super::downloads::Downloads;
use super::head_selection::HeadSelection;
use super::headers::{reread, unreadable};
use super::step::Step;
use crate::arc::Arc;
use crate::chain::Block;

/// Maximum number of blocks linked in one call.
const BLOCKS_PER_CALL: usize = 32;

/// Adds the blocks of a linked branch to the index and submits them to the fork choice.
pub(super) fn link_blocks(
    call: &mut Call<'_, '_>,
    branch: &mut Branch,
    downloads: &mut Downloads,
    index: &mut BlockIndex,
    selection: &mut HeadSelection,
) -> Step {
    for _ in 0..BLOCKS_PER_CALL {
        if branch.path.is_empty() {
            return Step::Finished;
        }
        let Some(id) = branch.path.lowest() else {
            return reread(call, branch, downloads);
        };
        let block = match Block::read(&downloads.over(call.atoms()), id) {
            Ok(block) => block,
            Err(error) => return unreadable(call, branch, downloads, id, &error),
        };
        downloads.release(&id);
        if !index.contains(&id)
            && let Some(entry) = Entry::of(&block, Basis::Trusted)
        {
            index.insert(id, entry);
        }
        let leads = branch.has_checkpoint;
        selection.competition.enter(call, index, id, leads);
        branch.path.pop_lowest();
        branch.has_progressed(call.now());
        branch.phase = Phase::Blocks {
            parent: Some(Arc::new(block)),
        };
    }
    Step::Progress
}
