//! Atoms of a node: getting, storing and fetching.
//!
//! Invariants:
//! - An atom that the store has is not fetched.
//! - An object that a user stores is pinned in cold storage before its id is returned: pruning does
//!   not remove it in between.
//! - An object that no peer delivered is `None`, not an error.

use super::{MAX_LIST_ATOMS, Node, NodeError};
use crate::net::{FetchFailure, FetchedObject};
use crate::store::Durability;
use astreum_core::atom::{Atom, AtomId, ListError, SourceError, bytes_list, collect_list};
use astreum_core::engine::{FetchError, FetchProgress, FetchRequest};
use astreum_core::expr::Expr;
use astreum_core::wire::object::PayloadType;

/// Result of storing atoms.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stored {
    /// Id to fetch by: that of the atom, or of the first of several atoms.
    pub id: AtomId,
    /// Durability of the stored atoms.
    pub durability: Durability,
}

impl Node {
    /// Returns the atom from the store, else from the network; `None` if no peer delivered it in
    /// time.
    ///
    /// # Errors
    /// Fails if too many fetches are in progress.
    pub fn get_atom(&self, id: AtomId) -> Result<Option<Atom>, NodeError> {
        if let Some(atom) = self.logged(|| self.store.get(&id)) {
            return Ok(Some(atom));
        }
        let atoms = self.fetch(id, PayloadType::ATOM)?;
        Ok(atoms.and_then(|atoms| atoms.into_iter().next()))
    }

    /// Returns the list that starts at `head`, in order, from the store, else from the network;
    /// `None` if an atom of it was not found.
    ///
    /// # Errors
    /// Returns [`NodeError::ListTooLong`] if the list has more than [`MAX_LIST_ATOMS`] atoms. Fails
    /// if too many fetches are in progress.
    pub fn get_atom_list(&self, head: AtomId) -> Result<Option<Vec<Atom>>, NodeError> {
        match self.logged(|| collect_list(&self.store, head, MAX_LIST_ATOMS)) {
            Ok(atoms) => Ok(Some(atoms)),
            Err(ListError::Source(SourceError::Missing(_))) => match self.fetch_list(head)? {
                Some(FetchedObject::Atoms(atoms)) => Ok(Some(atoms)),
                Some(FetchedObject::Stored) => {
                    let list = self.logged(|| collect_list(&self.store, head, MAX_LIST_ATOMS));
                    Ok(list.ok())
                }
                None => Ok(None),
            },
            Err(ListError::Source(SourceError::Failed(never))) => match never {},
            Err(ListError::TooLong { max }) => Err(NodeError::ListTooLong { max }),
        }
    }

    /// Stores an atom, which this node then serves to its peers, and pins it: pruning keeps it until
    /// [`Node::unpin`].
    ///
    /// # Errors
    /// Fails if the atom is too large to be sent or stored.
    pub fn put(&self, atom: Atom) -> Result<Stored, NodeError> {
        let id = atom.id();
        let durability = self.logged(|| self.store.put_pinned(vec![(id, atom)]))?;
        Ok(Stored { id, durability })
    }

    /// Stores atoms with a single write to the disk; returns their ids. Those that no other one
    /// leads to are pinned.
    ///
    /// # Errors
    /// Same as [`Node::put`]. Some atoms may have been stored.
    pub fn put_atoms(&self, atoms: Vec<Atom>) -> Result<(Vec<AtomId>, Durability), NodeError> {
        let atoms: Vec<_> = atoms.into_iter().map(|atom| (atom.id(), atom)).collect();
        let ids = atoms.iter().map(|(id, _)| *id).collect();
        Ok((ids, self.logged(|| self.store.put_pinned(atoms))?))
    }

    /// Stores `values` as a list of bytes atoms. The id of an empty list is [`AtomId::ZERO`].
    ///
    /// # Errors
    /// Same as [`Node::put`].
    pub fn put_list<V: AsRef<[u8]>>(&self, values: &[V]) -> Result<Stored, NodeError> {
        let (id, atoms) = bytes_list(values);
        self.put_all(id, atoms)
    }

    /// Stores the atom form of an expression.
    ///
    /// # Errors
    /// Same as [`Node::put`].
    pub fn put_expr(&self, expr: &Expr) -> Result<Stored, NodeError> {
        let (id, atoms) = expr.to_atoms();
        self.put_all(id, atoms)
    }

    fn put_all(&self, id: AtomId, atoms: Vec<Atom>) -> Result<Stored, NodeError> {
        let atoms = atoms.into_iter().map(|atom| (atom.id(), atom)).collect();
        let durability = self.logged(|| self.store.put_pinned(atoms))?;
        Ok(Stored { id, durability })
    }

    /// Fetches an object from the network; `None` if the node is not connected or no peer delivered
    /// the object in time. If waiting is disabled, only requests the object; a later call finds it.
    fn fetch(&self, id: AtomId, kind: PayloadType) -> Result<Option<Vec<Atom>>, NodeError> {
        let Ok(handle) = self.handle() else {
            return Ok(None);
        };
        if !self.waits() {
            let _ = handle.request(id, kind);
            return Ok(None);
        }
        fetched(handle.fetch(id, kind))
    }

    /// Like [`Self::fetch`], for a list, which may arrive by stream and is then only stored.
    pub(crate) fn fetch_list(&self, head: AtomId) -> Result<Option<FetchedObject>, NodeError> {
        let Ok(handle) = self.handle() else {
            return Ok(None);
        };
        if !self.waits() {
            let _ = handle.request(head, PayloadType::LIST);
            return Ok(None);
        }
        fetched(handle.fetch_list(head))
    }

    /// Fetches a list or its beginning from the network, without querying the store; `report` gets
    /// the progress. Like [`Self::fetch`], fails softly with `None`.
    pub(crate) fn fetch_with_progress(
        &self,
        request: FetchRequest,
        report: &mut dyn FnMut(FetchProgress),
    ) -> Result<Option<FetchedObject>, NodeError> {
        let Ok(handle) = self.handle() else {
            return Ok(None);
        };
        if !self.waits() {
            let _ = handle.request(request.id, request.kind);
            return Ok(None);
        }
        fetched(handle.fetch_with_progress(request, report))
    }

    pub(crate) fn waits(&self) -> bool {
        !self.settings.atom_fetch_interval.is_zero() && self.settings.atom_fetch_retries > 0
    }
}

/// Maps an object that no peer delivered to `None`.
fn fetched<T>(outcome: Result<T, FetchFailure>) -> Result<Option<T>, NodeError> {
    match outcome {
        Ok(object) => Ok(Some(object)),
        Err(FetchFailure::Network(FetchError::NotFound | FetchError::Timeout)) => Ok(None),
        Err(FetchFailure::Network(error)) => Err(NodeError::Fetch(error)),
        Err(FetchFailure::Stopped | FetchFailure::Abandoned) => Ok(None),
    }
}
