//! The blocks that were verified, newest first, and how they hang together.

use super::super::Head;
use astreum_core::atom::AtomId;
use std::collections::{BTreeMap, BTreeSet};

/// Blocks that are remembered as verified; the lowest go. A fork that leaves our chain further back
/// is not followed.
pub const MAX_VERIFIED: usize = 16_384;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Entry {
    pub(super) height: u64,
    pub(super) timestamp: u64,
    /// The block before it; the zero id where that is not known.
    pub(super) previous: AtomId,
    /// The block that its chain was verified from.
    pub(super) root: AtomId,
}

#[derive(Debug, Default)]
pub(super) struct Verified {
    blocks: BTreeMap<AtomId, Entry>,
    by_height: BTreeSet<(u64, AtomId)>,
}

impl Verified {
    pub(super) fn insert(&mut self, id: AtomId, entry: Entry) {
        if let Some(before) = self.blocks.insert(id, entry) {
            self.by_height.remove(&(before.height, id));
        }
        self.by_height.insert((entry.height, id));
        while self.blocks.len() > MAX_VERIFIED
            && let Some((_, lowest)) = self.by_height.pop_first()
        {
            self.blocks.remove(&lowest);
        }
    }

    pub(super) fn insert_head(&mut self, head: &Head, root: AtomId) {
        let entry = Entry {
            height: head.height(),
            timestamp: head.timestamp(),
            previous: head.block().previous,
            root,
        };
        self.insert(head.id(), entry);
    }

    pub(super) fn get(&self, id: &AtomId) -> Option<&Entry> {
        self.blocks.get(id)
    }

    pub(super) fn contains(&self, id: &AtomId) -> bool {
        self.blocks.contains_key(id)
    }

    /// Whether `ancestor`, at `height`, is below `block` or is it.
    pub(super) fn descends(&self, block: &AtomId, ancestor: &AtomId, height: u64) -> bool {
        let mut id = *block;
        while id != *ancestor {
            match self.blocks.get(&id) {
                Some(entry) if entry.height > height => id = entry.previous,
                _ => return false,
            }
        }
        true
    }
}
