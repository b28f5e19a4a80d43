//! Atoms of a node in a test.

use crate::atom::{Atom, AtomId, AtomSource, MemoryStore, SourceError};
use alloc::collections::VecDeque;
use core::convert::Infallible;

/// Atoms of a host.
pub trait HostStore: AtomSource<Error = Infallible> + Sync {
    /// Adds atoms that survive a restart.
    fn store(&mut self, atoms: impl IntoIterator<Item = Atom>);

    /// Adds fetched atoms.
    fn keep(&mut self, atoms: impl IntoIterator<Item = Atom>);
}

impl HostStore for MemoryStore {
    fn store(&mut self, atoms: impl IntoIterator<Item = Atom>) {
        self.extend(atoms);
    }

    fn keep(&mut self, atoms: impl IntoIterator<Item = Atom>) {
        self.extend(atoms);
    }
}

/// Stored atoms, and fetched ones as far as there is room; the oldest are dropped.
#[derive(Clone, Debug)]
pub struct LocalStore {
    /// Atoms that survive a restart.
    pub stored: MemoryStore,
    fetched: MemoryStore,
    /// Fetched atoms in order, unless there is room for all.
    order: VecDeque<(AtomId, usize)>,
    bytes: usize,
    limit_bytes: usize,
}

impl Default for LocalStore {
    fn default() -> Self {
        Self::new(usize::MAX)
    }
}

impl LocalStore {
    /// Creates an empty store with room for this number of fetched bytes.
    #[must_use]
    pub fn new(limit_bytes: usize) -> Self {
        Self {
            stored: MemoryStore::new(),
            fetched: MemoryStore::new(),
            order: VecDeque::new(),
            bytes: 0,
            limit_bytes,
        }
    }

    /// Drops all fetched atoms.
    pub fn forget(&mut self) {
        self.fetched = MemoryStore::new();
        self.order.clear();
        self.bytes = 0;
    }

    /// Returns the number of atoms, counting those twice that are stored and fetched.
    #[must_use]
    pub fn len(&self) -> usize {
        self.stored.len() + self.fetched.len()
    }

    /// Returns whether it has no atoms.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl HostStore for LocalStore {
    fn store(&mut self, atoms: impl IntoIterator<Item = Atom>) {
        self.stored.extend(atoms);
    }

    fn keep(&mut self, atoms: impl IntoIterator<Item = Atom>) {
        for atom in atoms {
            let len = atom.stored_len();
            let id = self.fetched.insert(atom);
            if self.limit_bytes < usize::MAX {
                self.order.push_back((id, len));
                self.bytes += len;
            }
        }
        while self.bytes > self.limit_bytes
            && let Some((id, len)) = self.order.pop_front()
        {
            self.fetched.remove(&id);
            self.bytes -= len;
        }
    }
}

impl AtomSource for LocalStore {
    type Error = Infallible;

    fn atom(&self, id: &AtomId) -> Result<Atom, SourceError<Infallible>> {
        self.stored.atom(id).or_else(|_| self.fetched.atom(id))
    }
}
