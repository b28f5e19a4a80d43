//! Store on top of a shared one, for states that many runs begin with.

use astreum_core::atom::{Atom, AtomId, AtomSink, AtomSource, MemoryStore, SourceError};
use core::convert::Infallible;

/// Store that reads through to a shared one, which it does not change. Cloning it copies only the
/// atoms that were added.
#[derive(Clone, Debug)]
pub struct LayeredStore {
    below: &'static MemoryStore,
    added: MemoryStore,
}

impl LayeredStore {
    /// Creates a store with the atoms of `below`.
    #[must_use]
    pub const fn new(below: &'static MemoryStore) -> Self {
        Self {
            below,
            added: MemoryStore::new(),
        }
    }
}

impl AtomSource for LayeredStore {
    type Error = Infallible;

    fn atom(&self, id: &AtomId) -> Result<Atom, SourceError<Infallible>> {
        self.added.atom(id).or_else(|_| self.below.atom(id))
    }
}

impl AtomSink for LayeredStore {
    type Error = Infallible;

    fn put(&mut self, id: AtomId, atom: Atom) -> Result<(), Infallible> {
        self.added.put(id, atom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::OnceLock;

    #[test]
    fn added_atoms_do_not_change_the_shared_store() {
        static BELOW: OnceLock<MemoryStore> = OnceLock::new();
        let (shared, added) = (Atom::bytes(*b"shared"), Atom::bytes(*b"added"));
        let below = BELOW.get_or_init(|| [shared.clone()].into_iter().collect());
        let mut store = LayeredStore::new(below);
        assert_eq!(store.put(added.id(), added.clone()), Ok(()));
        for atom in [&shared, &added] {
            assert_eq!(store.atom(&atom.id()).as_ref(), Ok(atom));
        }
        assert_eq!(below.len(), 1);
        let missing = LayeredStore::new(below).atom(&added.id());
        assert_eq!(missing, Err(SourceError::Missing(added.id())));
    }
}
