//! Store of a node as the machine sees it: missing atoms are fetched.

use crate::net::NetworkHandle;
use crate::store::{Store, StoreError};
use astreum_core::atom::{Atom, AtomId, AtomSink, AtomSource, SourceError};
use astreum_core::wire::object::PayloadType;
use core::convert::Infallible;

/// Atoms of a node and of its peers. A lookup may wait for the network.
#[derive(Clone, Debug)]
pub struct NodeStore {
    store: Store,
    network: Option<NetworkHandle>,
    /// `true` if lookups wait for the network.
    waits: bool,
}

impl NodeStore {
    pub(super) const fn new(store: Store, network: Option<NetworkHandle>, waits: bool) -> Self {
        Self {
            store,
            network,
            waits,
        }
    }

    fn fetch(&self, id: &AtomId) -> Option<Atom> {
        let network = self.network.as_ref()?;
        if !self.waits {
            let _ = network.request(*id, PayloadType::ATOM);
            return None;
        }
        let atoms = network.fetch(*id, PayloadType::ATOM).ok()?;
        atoms.into_iter().next()
    }
}

impl AtomSource for NodeStore {
    type Error = Infallible;

    fn atom(&self, id: &AtomId) -> Result<Atom, SourceError<Infallible>> {
        self.store
            .get(id)
            .or_else(|| self.fetch(id))
            .ok_or(SourceError::Missing(*id))
    }
}

impl AtomSink for NodeStore {
    type Error = StoreError;

    fn put(&mut self, id: AtomId, atom: Atom) -> Result<(), StoreError> {
        // Intermediate atoms of a program need not survive a crash, so no write waits for the disk.
        match self.store.keep(id, atom.clone()) {
            Err(_) if self.store.cold().is_some() => self.store.put_known(id, atom).map(|_| ()),
            kept => kept,
        }
    }
}
