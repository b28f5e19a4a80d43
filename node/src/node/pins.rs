//! Pins of a node's users: the objects that pruning keeps.

use super::{Node, NodeError};
use crate::store::cold::{ColdStore, PinKinds};
use astreum_core::atom::{Atom, AtomId, AtomSource as _};
use astreum_core::chain::{BURN, MAX_LIST_ATOMS, Transaction, contract, push_links};
use std::collections::HashSet;

/// Number of stored bytes of a fetched object that are written together.
const BATCH_BYTES: usize = 4 << 20;
/// Number of atoms of an object that are requested in vain before the others are not.
const MAX_MISSES: u64 = 16;

/// Result of [`Node::pin`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Pinned {
    /// Number of atoms of the object.
    pub atoms: u64,
    /// Number of those that were fetched or copied to cold storage.
    pub stored: u64,
    /// Number of ids in it that are not atoms of this node or its peers.
    pub missing: u64,
}

impl Node {
    /// Pins an object, so that pruning keeps it and all that it leads to. Atoms that are not in cold
    /// storage are copied there, from memory or from peers.
    ///
    /// # Errors
    /// Fails if there is no cold storage, the first atom is not found, the object has more than
    /// [`MAX_LIST_ATOMS`] atoms, or the disk fails.
    pub fn pin(&self, id: AtomId) -> Result<Pinned, NodeError> {
        let cold = self.cold()?;
        self.logged(|| {
            // Pinned first, so that nothing is pruned in between.
            let new = cold.add_pins(&[id], PinKinds::PINNED);
            let new = new.map_err(NodeError::ColdStorage)?;
            let pinned = self.store_object(cold, id);
            if pinned.is_err() {
                cold.remove_pins(&new).map_err(NodeError::ColdStorage)?;
            }
            cold.sync_pins().map_err(NodeError::ColdStorage)?;
            pinned
        })
    }

    /// Copies the missing atoms of an object to cold storage.
    fn store_object(&self, cold: &ColdStore, id: AtomId) -> Result<Pinned, NodeError> {
        let (network, mut pinned) = (self.view(), Pinned::default());
        let (mut waiting, mut seen) = (vec![id], HashSet::new());
        let (mut batch, mut batch_bytes) = (Vec::<(AtomId, Atom)>::new(), 0);
        while let Some(at) = waiting.pop() {
            if !seen.insert(at) {
                continue;
            }
            let local = self.store.get(&at);
            let atom = match local {
                None if pinned.missing < MAX_MISSES => network.atom(&at).ok(),
                local => local,
            };
            let Some(atom) = atom else {
                if at == id {
                    return Err(NodeError::NotFound { id });
                }
                pinned.missing += 1;
                continue;
            };
            if pinned.atoms >= MAX_LIST_ATOMS as u64 {
                let max = MAX_LIST_ATOMS;
                return Err(NodeError::ListTooLong { max });
            }
            pinned.atoms += 1;
            let Ok(()) = push_links(&self.store, &atom, &mut waiting);
            if !cold.contains(&at) {
                pinned.stored += 1;
                batch_bytes += atom.stored_len();
                batch.push((at, atom));
            }
            if batch_bytes >= BATCH_BYTES {
                cold.put(&batch).map_err(NodeError::ColdStorage)?;
                batch.clear();
                batch_bytes = 0;
            }
        }
        cold.put(&batch).map_err(NodeError::ColdStorage)?;
        Ok(pinned)
    }

    /// Ends the pin of an object, whether it was pinned or stored by a user; returns `false` if it
    /// was neither. Pruning removes it unless something else needs it.
    ///
    /// # Errors
    /// Fails if there is no cold storage, or the disk fails.
    pub fn unpin(&self, id: AtomId) -> Result<bool, NodeError> {
        let cold = self.cold()?;
        self.logged(|| {
            let removed = cold.remove_pins(&[id]);
            let removed = removed.map_err(NodeError::ColdStorage)?;
            cold.sync_pins().map_err(NodeError::ColdStorage)?;
            Ok(removed > 0)
        })
    }

    /// Returns at most `max` pinned objects with ids above `after`, in the order of their ids.
    ///
    /// # Errors
    /// Fails if there is no cold storage.
    pub fn pins(
        &self,
        after: Option<AtomId>,
        max: usize,
    ) -> Result<Vec<(AtomId, PinKinds)>, NodeError> {
        Ok(self.cold()?.pins(after, max))
    }

    /// Keeps the list whose contract a transaction of this node's user opens or is paid for.
    pub(super) fn pin_contract(&self, transaction: &Transaction) -> Result<(), NodeError> {
        let Some((cold, list)) = self.store.cold().zip(contract_list(transaction)) else {
            return Ok(());
        };
        let pinned = cold.add_pins(&[list], PinKinds::CONTRACT);
        pinned
            .and_then(|_| cold.sync_pins())
            .map_err(NodeError::ColdStorage)
    }
}

/// Returns the list of the contract that a transaction opens or claims a payment for.
fn contract_list(transaction: &Transaction) -> Option<AtomId> {
    let (operation, rest) = transaction.data.split_first()?;
    let is_contract = matches!(*operation, contract::OPEN | contract::PAY);
    let id = rest.first_chunk::<32>()?;
    (transaction.recipient == BURN && is_contract).then(|| AtomId::new(*id))
}
