//! Atoms of a machine: its own, or those of a node.

use astreum_core::atom::{Atom, AtomId, AtomSink, AtomSource, MemoryStore, SourceError};
use astreum_node::node::NodeStore;
use astreum_node::store::StoreError;
use core::cell::Cell;
use core::convert::Infallible;

/// Store of a machine.
pub(crate) struct Atoms {
    pub(crate) place: Place,
    /// Atom that the next lookup does not find: an earlier lookup has failed, and a node would wait
    /// for the network again.
    absent: Cell<Option<AtomId>>,
}

/// Place of the atoms.
pub(crate) enum Place {
    Memory(MemoryStore),
    Node(NodeStore),
}

impl Atoms {
    pub(crate) const fn new(place: Place) -> Self {
        Self {
            place,
            absent: Cell::new(None),
        }
    }

    /// Makes the next lookup of this atom fail without a search.
    pub(crate) fn assume_absent(&self, id: AtomId) {
        self.absent.set(Some(id));
    }
}

impl AtomSource for Atoms {
    type Error = Infallible;

    fn atom(&self, id: &AtomId) -> Result<Atom, SourceError<Infallible>> {
        if self.absent.take() == Some(*id) {
            return Err(SourceError::Missing(*id));
        }
        match &self.place {
            Place::Memory(store) => store.atom(id),
            Place::Node(store) => store.atom(id),
        }
    }
}

impl AtomSink for Atoms {
    type Error = StoreError;

    fn put(&mut self, id: AtomId, atom: Atom) -> Result<(), StoreError> {
        match &mut self.place {
            Place::Memory(store) => match store.put(id, atom) {
                Ok(()) => Ok(()),
                Err(never) => match never {},
            },
            Place::Node(store) => store.put(id, atom),
        }
    }
}
