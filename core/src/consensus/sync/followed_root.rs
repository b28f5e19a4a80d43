//! Root of the followed chain, and whether it is a genesis.

use crate::atom::{AtomId, AtomSource};
use crate::chain::Block;

/// Root whose block was read, and the same block if it is a genesis. A host may know the root
/// before its block is stored, and a configured root need not be a genesis.
#[derive(Debug, Default)]
pub(super) struct FollowedRoot {
    read: Option<AtomId>,
    genesis: Option<AtomId>,
}

impl FollowedRoot {
    /// Determines whether `root` is a genesis, as soon as its block is stored.
    pub(super) fn update<S: AtomSource + ?Sized>(&mut self, source: &S, root: Option<AtomId>) {
        if root == self.read {
            return;
        }
        *self = Self::default();
        if let Some(id) = root
            && let Ok(block) = Block::read(source, id)
        {
            self.read = root;
            self.genesis = block.is_genesis().then_some(id);
        }
    }

    /// Returns the root if it is known to be a genesis.
    pub(super) const fn genesis(&self) -> Option<AtomId> {
        self.genesis
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atom::{MemoryStore, NoStore};

    #[test]
    fn root_without_a_stored_block_is_not_a_genesis_and_is_read_again() {
        let mut root = FollowedRoot::default();
        let id = AtomId::new([1; 32]);
        root.update(&NoStore, Some(id));
        assert_eq!((root.read, root.genesis()), (None, None));
        // Bytes that are not a block do not count either.
        let mut store = MemoryStore::new();
        let id = store.insert(crate::atom::Atom::bytes(*b"not a block"));
        root.update(&store, Some(id));
        assert_eq!((root.read, root.genesis()), (None, None));
    }
}
