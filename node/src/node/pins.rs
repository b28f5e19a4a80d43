//! Pins of a node's users: the objects that pruning keeps.

mod copy;

use super::{Node, NodeError};
use crate::store::cold::PinKinds;
use astreum_core::atom::AtomId;
use astreum_core::chain::{BURN, Transaction, contract};
use astreum_core::engine::FetchProgress;
use copy::ObjectCopy;

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
    /// Fails if there is no cold storage, the first atom or the rest of a list is not found, the
    /// object has more than [`MAX_LIST_ATOMS`](astreum_core::atom::MAX_LIST_ATOMS) atoms, or the disk
    /// fails. It is not pinned then; what has arrived remains until it is pruned.
    pub fn pin(&self, id: AtomId) -> Result<Pinned, NodeError> {
        self.pin_with_progress(id, &mut |_| true)
    }

    /// Pins an object like [`Self::pin`]. `report` gets the progress of visiting and fetching it, and
    /// ends it by returning `false`.
    pub(crate) fn pin_with_progress(
        &self,
        id: AtomId,
        report: &mut dyn FnMut(FetchProgress) -> bool,
    ) -> Result<Pinned, NodeError> {
        let cold = self.cold()?;
        self.logged(|| {
            // Pinned first, so that nothing is pruned in between.
            let new = cold.add_pins(&[id], PinKinds::PINNED);
            let new = new.map_err(NodeError::ColdStorage)?;
            let copy = ObjectCopy {
                store: &self.store,
                cold,
                fetch: &|request, report| self.fetch_with_progress(request, report),
            };
            let pinned = copy.run(id, report);
            if pinned.is_err() {
                cold.remove_pins(&new).map_err(NodeError::ColdStorage)?;
            }
            cold.sync_pins().map_err(NodeError::ColdStorage)?;
            pinned
        })
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
