//! The store as peers read it: their requests do not decide what stays in memory.
//!
//! A peer can ask for all of cold storage. If that counted as use, it would push out of the hot store
//! whatever the node itself needs.

use super::Store;
use astreum_core::atom::{Atom, AtomId, AtomSource, SourceError};
use core::convert::Infallible;

/// Reads a [`Store`] without a change to the hot store: nothing comes into it, and nothing counts as
/// used.
#[derive(Clone, Copy, Debug)]
pub struct ServedStore<'s>(&'s Store);

impl Store {
    /// Returns the store for requests of peers.
    #[must_use]
    pub const fn served(&self) -> ServedStore<'_> {
        ServedStore(self)
    }
}

impl AtomSource for ServedStore<'_> {
    type Error = Infallible;

    fn atom(&self, id: &AtomId) -> Result<Atom, SourceError<Infallible>> {
        let hot = self.0.shard(id).peek(id);
        let atom = hot.or_else(|| self.0.read_cold(id));
        atom.ok_or(SourceError::Missing(*id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::scratch::Scratch;
    use crate::store::cold::{ColdOptions, ColdStore};

    #[test]
    fn requests_of_peers_leave_the_hot_store_as_it_is() {
        let folder = Scratch::new("served");
        let options = ColdOptions::from_config(&Config::default());
        let cold = ColdStore::open(folder.path(), options).unwrap();
        // Room for some of the atoms in memory.
        let store = Store::with_cold(64 << 10, Some(cold));
        let atoms: Vec<Atom> = (0..500u32)
            .map(|n| Atom::bytes([&n.to_be_bytes()[..], &[7; 500]].concat()))
            .collect();
        for atom in &atoms {
            store.put(atom.clone()).unwrap();
        }
        let is_hot = |atom: &&Atom| store.shard(&atom.id()).contains(&atom.id());
        let hot: Vec<&Atom> = atoms.iter().filter(is_hot).collect();
        assert!(!hot.is_empty() && hot.len() < atoms.len());
        let before = store.hot_stats();
        for atom in &atoms {
            assert_eq!(store.served().atom(&atom.id()), Ok(atom.clone()));
        }
        assert_eq!(store.hot_stats(), before);
        assert!(hot.iter().all(is_hot));
        // The order of use, too: the oldest goes next.
        let next = Atom::bytes([9; 504]);
        store.put(next.clone()).unwrap();
        let gone: Vec<bool> = hot.iter().map(|atom| !is_hot(atom)).collect();
        let count = gone.iter().filter(|gone| **gone).count();
        assert!(count > 0 && gone[..count].iter().all(|gone| *gone));
        // Its own reads do bring atoms into memory.
        assert_eq!(store.get(&atoms[0].id()), Some(atoms[0].clone()));
        assert!(is_hot(&&atoms[0]));
        let missing = AtomId::new([1; 32]);
        assert!(store.served().atom(&missing).is_err());
    }
}
