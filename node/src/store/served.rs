//! Read access to the store for peers, and for what reads many atoms once; these reads do not affect
//! what stays in memory.
//!
//! A peer can request all of cold storage. If that counted as use, it would evict the atoms that
//! the node itself needs from the hot store. The network thread looks only in memory
//! ([`Store::served_from_memory`]); atoms that may be on the disk are read on other threads
//! ([`Store::served`]).

use super::Store;
use super::cold::ColdError;
use crate::log;
use astreum_core::atom::{Atom, AtomId, AtomSource, SourceError};
use astreum_core::engine::{LookUp, ObjectSource};
use core::convert::Infallible;

/// Reader of a [`Store`] that leaves the hot store unchanged: it adds no atom and counts no use.
#[derive(Clone, Copy, Debug)]
pub struct ServedStore<'s>(&'s Store);

/// Like [`ServedStore`], and an atom that the disk fails to read is not one that is missing.
#[derive(Clone, Copy, Debug)]
pub struct ServedChecked<'s>(&'s Store);

/// Like [`ServedStore`], without reading from a disk.
#[derive(Clone, Copy, Debug)]
pub struct ServedMemory<'s>(&'s Store);

impl Store {
    /// Returns a reader for requests of peers. Lookups may wait for a disk.
    #[must_use]
    pub const fn served(&self) -> ServedStore<'_> {
        ServedStore(self)
    }

    /// Returns a reader for requests of peers whose protocol can report failures. Lookups may wait for
    /// a disk.
    #[must_use]
    pub const fn served_checked(&self) -> ServedChecked<'_> {
        ServedChecked(self)
    }

    /// Returns a reader for requests of peers on a thread that must not wait for a disk.
    #[must_use]
    pub const fn served_from_memory(&self) -> ServedMemory<'_> {
        ServedMemory(self)
    }

    /// Returns an atom that is in memory, without counting it as use.
    fn peek(&self, id: &AtomId) -> Option<Atom> {
        self.shard(id).peek(id)
    }
}

impl AtomSource for ServedStore<'_> {
    type Error = Infallible;

    fn atom(&self, id: &AtomId) -> Result<Atom, SourceError<Infallible>> {
        let atom = self.0.peek(id).or_else(|| self.0.read_cold(id));
        atom.ok_or(SourceError::Missing(*id))
    }
}

impl AtomSource for ServedChecked<'_> {
    type Error = ColdError;

    fn atom(&self, id: &AtomId) -> Result<Atom, SourceError<ColdError>> {
        if let Some(atom) = self.0.peek(id) {
            return Ok(atom);
        }
        let cold = self.0.cold().ok_or(SourceError::Missing(*id))?;
        match cold.get(id) {
            Ok(atom) => atom.ok_or(SourceError::Missing(*id)),
            Err(error) => {
                if let Some(more) = log::limited("cold storage") {
                    log::error!("cannot read atom {id} for a peer: {error}{more}");
                }
                Err(SourceError::Failed(error))
            }
        }
    }
}

impl ObjectSource for ServedMemory<'_> {
    fn look_up(&self, id: &AtomId) -> LookUp {
        if let Some(atom) = self.0.peek(id) {
            return LookUp::Found(atom);
        }
        match self.0.cold() {
            Some(cold) if cold.may_have(id) => LookUp::OnDisk,
            _ => LookUp::Missing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;
    use crate::store::cold::{ColdOptions, ColdStore};
    use astreum_core::atom::ReadOnce;

    #[test]
    fn peer_requests_do_not_change_the_hot_store() {
        let folder = tempfile::tempdir().unwrap();
        let options = ColdOptions::from(&Settings::default());
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
            assert_eq!(ReadOnce(&store).atom(&atom.id()), Ok(atom.clone()));
        }
        assert_eq!(store.hot_stats(), before);
        assert!(hot.iter().all(is_hot));
        // The order of use is unchanged, too: the oldest atom is evicted next.
        let next = Atom::bytes([9; 504]);
        store.put(next.clone()).unwrap();
        let gone: Vec<bool> = hot.iter().map(|atom| !is_hot(atom)).collect();
        let count = gone.iter().filter(|gone| **gone).count();
        assert!(count > 0 && gone[..count].iter().all(|gone| *gone));
        // The node's own reads do bring atoms into memory.
        assert_eq!(store.get(&atoms[0].id()), Some(atoms[0].clone()));
        assert!(is_hot(&&atoms[0]));
        let missing = AtomId::new([1; 32]);
        assert!(store.served().atom(&missing).is_err());
        // Without reading the disk, atoms that are not in memory are known to be on disk.
        let memory = store.served_from_memory();
        assert_eq!(memory.look_up(&missing), LookUp::Missing);
        let reads = store.cold().unwrap().stats().hits;
        for atom in &atoms {
            let expected = if is_hot(&atom) {
                LookUp::Found(atom.clone())
            } else {
                LookUp::OnDisk
            };
            assert_eq!(memory.look_up(&atom.id()), expected);
        }
        assert_eq!(store.cold().unwrap().stats().hits, reads);
    }
}
