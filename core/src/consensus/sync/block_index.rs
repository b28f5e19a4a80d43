//! Index of the blocks that may become the head, by id and along the chain of the head.
//!
//! Branches join here: the descendants of a verified block are verified from there on. Blocks for
//! which the default seed is trusted are linked by their headers only. The chain of the head keeps
//! its newest [`MAX_OWN_BLOCKS`]; of all other blocks [`MAX_OTHER_BLOCKS`] are kept, and the lowest
//! are dropped. So other peers' blocks, such as many blocks of one slot, cannot make the node
//! forget its own chain.

use crate::atom::AtomId;
use crate::chain::fork_choice::{self, IndexedBlock};
use crate::chain::{Address, Block};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// Maximum number of remembered blocks of the head's chain. A branch that forks further back is not
/// followed.
pub const MAX_OWN_BLOCKS: u64 = 8_192;
/// Maximum number of remembered blocks of other branches.
pub const MAX_OTHER_BLOCKS: usize = 8_192;

/// Basis on which a block is in the index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Basis {
    /// It was verified, and its chain from this block on.
    Verified(AtomId),
    /// The default seed or the configuration is trusted for it.
    Trusted,
}

/// Block of the index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Entry {
    pub(super) height: u64,
    pub(super) timestamp: u64,
    /// Parent of the block; the zero id if unknown.
    pub(super) previous: AtomId,
    pub(super) producer: Address,
    pub(super) basis: Basis,
}

impl Entry {
    /// Returns the entry of a block; `None` if its height or timestamp exceeds 64 bits.
    pub(super) fn of(block: &Block, basis: Basis) -> Option<Self> {
        Some(Self {
            height: block.height.to_u64()?,
            timestamp: block.timestamp.to_u64()?,
            previous: block.previous,
            producer: block.validator,
            basis,
        })
    }

    /// Returns the block that its chain was verified from, if it was verified.
    pub(super) const fn root(&self) -> Option<AtomId> {
        match self.basis {
            Basis::Verified(root) => Some(root),
            Basis::Trusted => None,
        }
    }

    pub(super) const fn is_verified(&self) -> bool {
        matches!(self.basis, Basis::Verified(_))
    }
}

/// Index of blocks. See the [module](self).
#[derive(Debug, Default)]
pub(super) struct BlockIndex {
    blocks: BTreeMap<AtomId, Entry>,
    /// Known part of the head's chain, by height.
    own: BTreeMap<u64, AtomId>,
    /// All other blocks, by height.
    others: BTreeSet<(u64, AtomId)>,
}

impl BlockIndex {
    /// Adds a block.
    pub(super) fn insert(&mut self, id: AtomId, entry: Entry) {
        if self.blocks.insert(id, entry).is_some() {
            return;
        }
        let child = self.own.get(&entry.height.saturating_add(1));
        let child = child.and_then(|child| self.blocks.get(child));
        let is_own = child.is_some_and(|child| child.previous == id)
            || self.own.get(&entry.height) == Some(&id);
        if is_own {
            self.own.insert(entry.height, id);
        } else {
            self.others.insert((entry.height, id));
        }
        self.evict();
    }

    /// Makes the chain of `head` the one that is kept.
    pub(super) fn set_head(&mut self, head: AtomId) {
        let mut chain = BTreeMap::new();
        let mut next = head;
        let mut fork = None;
        while let Some(entry) = self.blocks.get(&next) {
            if self.own.get(&entry.height) == Some(&next) {
                fork = Some(entry.height);
                break;
            }
            chain.insert(entry.height, next);
            next = entry.previous;
        }
        let left = match fork {
            Some(height) => self.own.split_off(&height.saturating_add(1)),
            None => core::mem::take(&mut self.own),
        };
        for (height, id) in &chain {
            self.others.remove(&(*height, *id));
        }
        self.others
            .extend(left.iter().map(|(height, id)| (*height, *id)));
        self.own.extend(chain);
        self.evict();
    }

    fn evict(&mut self) {
        while self.own.len() as u64 > MAX_OWN_BLOCKS
            && let Some((_, lowest)) = self.own.pop_first()
        {
            self.blocks.remove(&lowest);
        }
        while self.others.len() > MAX_OTHER_BLOCKS
            && let Some((_, lowest)) = self.others.pop_first()
        {
            self.blocks.remove(&lowest);
        }
    }

    pub(super) fn get(&self, id: &AtomId) -> Option<&Entry> {
        self.blocks.get(id)
    }

    pub(super) fn contains(&self, id: &AtomId) -> bool {
        self.blocks.contains_key(id)
    }

    /// Returns whether a block was verified.
    pub(super) fn is_verified(&self, id: &AtomId) -> bool {
        self.blocks.get(id).is_some_and(Entry::is_verified)
    }

    /// Returns the roots of verified chains, each with its greatest verified height.
    pub(super) fn roots(&self) -> impl Iterator<Item = (AtomId, u64)> {
        let mut roots: BTreeMap<AtomId, u64> = BTreeMap::new();
        for entry in self.blocks.values() {
            if let Some(root) = entry.root() {
                let top = roots.entry(root).or_default();
                *top = entry.height.max(*top);
            }
        }
        roots.into_iter()
    }

    /// Returns the verified blocks of the chains from `root` that do not have children.
    pub(super) fn tips_of(&self, root: AtomId) -> Vec<AtomId> {
        let of_root = |entry: &Entry| entry.root() == Some(root);
        let tips = self.tips().into_iter();
        tips.filter(|id| self.blocks.get(id).is_some_and(of_root))
            .collect()
    }

    /// Returns `id` and its descendants that do not have children.
    pub(super) fn tips_above(&self, id: AtomId) -> Vec<AtomId> {
        let height = self.blocks.get(&id).map_or(0, |entry| entry.height);
        let tips = self.tips().into_iter();
        tips.filter(|tip| self.descends(tip, &id, height)).collect()
    }

    fn tips(&self) -> BTreeSet<AtomId> {
        let mut tips: BTreeSet<AtomId> = self.blocks.keys().copied().collect();
        for entry in self.blocks.values() {
            tips.remove(&entry.previous);
        }
        tips
    }

    /// Returns whether `ancestor`, at `height`, is `block` or an ancestor of it.
    fn descends(&self, block: &AtomId, ancestor: &AtomId, height: u64) -> bool {
        let mut id = *block;
        while id != *ancestor {
            match self.blocks.get(&id) {
                Some(entry) if entry.height > height => id = entry.previous,
                _ => return false,
            }
        }
        true
    }

    /// Returns the block of the head's chain at this height, if it is remembered.
    pub(super) fn own_at(&self, height: u64) -> Option<AtomId> {
        self.own.get(&height).copied()
    }

    /// Returns the blocks of the head's chain, the highest first.
    pub(super) fn own_chain(&self) -> impl Iterator<Item = (&AtomId, &Entry)> {
        let ids = self.own.values().rev();
        ids.filter_map(|id| Some((id, self.blocks.get(id)?)))
    }

    /// Returns the number of blocks in the index.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.blocks.len()
    }
}

impl fork_choice::BlockIndex for BlockIndex {
    fn block(&self, id: &AtomId) -> Option<IndexedBlock> {
        let entry = self.blocks.get(id)?;
        Some(IndexedBlock {
            height: entry.height,
            parent: entry.previous,
            producer: entry.producer,
            timestamp: entry.timestamp,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(branch: u8, height: u64) -> AtomId {
        let mut bytes = [branch + 1; 32];
        bytes[..8].copy_from_slice(&height.to_be_bytes());
        AtomId::new(bytes)
    }

    /// Adds a branch of blocks at these heights on `previous`.
    fn extend(index: &mut BlockIndex, branch: u8, heights: core::ops::Range<u64>, on: AtomId) {
        let mut previous = on;
        for height in heights {
            let entry = Entry {
                height,
                timestamp: height,
                previous,
                producer: Address::new([branch; 32]),
                basis: Basis::Verified(id(0, 0)),
            };
            previous = id(branch, height);
            index.insert(previous, entry);
        }
    }

    #[test]
    fn keeps_the_chain_of_the_head() {
        let mut index = BlockIndex::default();
        extend(&mut index, 0, 0..30, AtomId::ZERO);
        index.set_head(id(0, 29));
        extend(&mut index, 1, 11..40, id(0, 10));
        assert_eq!(index.own_at(20), Some(id(0, 20)));
        index.set_head(id(1, 39));
        assert_eq!(index.own_at(20), Some(id(1, 20)));
        assert_eq!(index.own_chain().count(), 40);
        assert_eq!(index.others.len(), 19);
        // Onwards from there, and back.
        extend(&mut index, 1, 40..41, id(1, 39));
        index.set_head(id(1, 40));
        assert_eq!(index.own_at(40), Some(id(1, 40)));
        index.set_head(id(0, 29));
        assert_eq!(index.own_at(20), Some(id(0, 20)));
        assert_eq!((index.own.len(), index.others.len()), (30, 30));
    }

    #[test]
    fn finds_roots_and_tips() {
        let mut index = BlockIndex::default();
        extend(&mut index, 0, 0..30, AtomId::ZERO);
        extend(&mut index, 1, 11..40, id(0, 10));
        let entry = *index.get(&id(1, 39)).unwrap();
        let trusted = Entry {
            previous: id(1, 39),
            height: 40,
            basis: Basis::Trusted,
            ..entry
        };
        index.insert(id(2, 40), trusted);
        assert!(index.is_verified(&id(1, 39)) && !index.is_verified(&id(2, 40)));
        assert_eq!(index.roots().collect::<Vec<_>>(), [(id(0, 0), 39)]);
        assert_eq!(index.tips_of(id(0, 0)), [id(0, 29)]);
        assert_eq!(index.tips_above(id(0, 11)), [id(0, 29)]);
        assert_eq!(index.tips_above(id(1, 11)), [id(2, 40)]);
        // Verified later, it stays where it was.
        index.insert(id(2, 40), entry);
        assert!(index.is_verified(&id(2, 40)));
    }

    #[test]
    fn blocks_read_back_below_the_chain_join_it() {
        let mut index = BlockIndex::default();
        extend(&mut index, 0, 20..30, id(0, 19));
        index.set_head(id(0, 29));
        for height in (0..20).rev() {
            extend(
                &mut index,
                0,
                height..height + 1,
                id(0, height.wrapping_sub(1)),
            );
        }
        assert_eq!(index.own_at(0), Some(id(0, 0)));
        assert!(index.others.is_empty());
    }

    #[test]
    fn flood_of_side_blocks_does_not_evict_our_chain() {
        let mut index = BlockIndex::default();
        extend(&mut index, 0, 0..9_000, AtomId::ZERO);
        index.set_head(id(0, 8_999));
        for number in 0..20_000_u64 {
            let mut bytes = [9; 32];
            bytes[8..16].copy_from_slice(&number.to_be_bytes());
            let entry = Entry {
                height: 9_000,
                ..*index.get(&id(0, 8_999)).unwrap()
            };
            index.insert(AtomId::new(bytes), entry);
        }
        assert_eq!(index.own_chain().count() as u64, MAX_OWN_BLOCKS);
        assert_eq!(index.own_at(8_999 - MAX_OWN_BLOCKS), None);
        let most = usize::try_from(MAX_OWN_BLOCKS).unwrap() + MAX_OTHER_BLOCKS;
        assert_eq!(index.len(), most);
    }
}
