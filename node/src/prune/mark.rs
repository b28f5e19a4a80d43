//! Visits of everything that an object leads to.

use super::{atom_of, is_stored};
use crate::store::cold::{ColdError, Collection, Visit};
use astreum_core::atom::AtomId;
use astreum_core::chain::{
    Block, MAX_LIST_ATOMS, RecordError, Transaction, opened_list, push_links,
};

/// Number of visits between two reports, and between two questions whether to continue.
const VISITS_PER_REPORT: u64 = 4_096;
/// Bytes that an atom takes beside its stored form: in the index and in the lengths.
const ENTRY_BYTES: u64 = 166;

/// Visitor of atoms.
pub(super) struct Marker<'c, 'r> {
    collection: &'c Collection,
    waiting: Vec<AtomId>,
    visited: u64,
    bytes: u64,
    missing: u64,
    marked: &'r mut dyn FnMut(u64),
    should_continue: &'r dyn Fn() -> bool,
}

impl<'c, 'r> Marker<'c, 'r> {
    pub(super) fn new(
        collection: &'c Collection,
        marked: &'r mut dyn FnMut(u64),
        should_continue: &'r dyn Fn() -> bool,
    ) -> Self {
        Self {
            collection,
            waiting: Vec::new(),
            visited: 0,
            bytes: 0,
            missing: 0,
            marked,
            should_continue,
        }
    }

    /// Returns the number of atoms that were visited.
    pub(super) const fn visited(&self) -> u64 {
        self.visited
    }

    /// Returns the bytes that they take.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the number of atoms that were not stored.
    pub(super) const fn missing(&self) -> u64 {
        self.missing
    }

    fn visit(&mut self, id: &AtomId) -> Result<Visit, ColdError> {
        let visit = self.collection.visit(id)?;
        match &visit {
            Visit::New(atom) => {
                self.visited += 1;
                self.bytes += atom.stored_len() as u64 + ENTRY_BYTES;
                if self.visited.is_multiple_of(VISITS_PER_REPORT) {
                    (self.marked)(self.visited);
                    if !(self.should_continue)() {
                        return Err(ColdError::Cancelled);
                    }
                }
            }
            Visit::Missing => self.missing += 1,
            Visit::Known => {}
        }
        Ok(visit)
    }

    /// Visits everything that an atom leads to.
    pub(super) fn follow(&mut self, id: AtomId) -> Result<(), ColdError> {
        self.waiting.push(id);
        while let Some(id) = self.waiting.pop() {
            if let Visit::New(atom) = self.visit(&id)? {
                push_links(self.collection, &atom, &mut self.waiting)?;
            }
        }
        Ok(())
    }

    /// Visits a block with its transactions, receipts and state.
    pub(super) fn block(&mut self, block: &Block) -> Result<(), ColdError> {
        self.follow(block.id())?;
        for list in [block.transactions, block.receipts] {
            self.ids(list)?;
        }
        match block.accounts.is_zero() {
            true => Ok(()),
            false => self.follow(block.accounts),
        }
    }

    /// Visits a list of ids and what the ids lead to. The list is followed even if it was visited,
    /// since what its atoms lead to was not.
    fn ids(&mut self, head: AtomId) -> Result<(), ColdError> {
        let mut next = head;
        for _ in 0..MAX_LIST_ATOMS {
            if next.is_zero() || !is_stored(&self.visit(&next)?) {
                break;
            }
            let Some(atom) = atom_of(self.collection, &next)? else {
                break;
            };
            if let Some(id) = AtomId::from_slice(atom.data()) {
                self.follow(id)?;
            }
            next = atom.next();
        }
        Ok(())
    }

    /// Visits the atoms of a list, not what its items lead to. No other visits may follow.
    pub(super) fn list(&mut self, head: AtomId) -> Result<(), ColdError> {
        let mut next = head;
        while !next.is_zero() {
            match self.visit(&next)? {
                Visit::New(atom) => next = atom.next(),
                // Its list was visited, too.
                Visit::Known | Visit::Missing => break,
            }
        }
        Ok(())
    }

    /// Visits the lists that a block's transactions have opened contracts on.
    pub(super) fn opened_lists(&mut self, block: &Block) -> Result<(), ColdError> {
        let mut next = block.transactions;
        for _ in 0..MAX_LIST_ATOMS {
            if next.is_zero() {
                break;
            }
            let Some(atom) = atom_of(self.collection, &next)? else {
                break;
            };
            next = atom.next();
            let id = AtomId::from_slice(atom.data()).unwrap_or_default();
            let transaction = match Transaction::read(self.collection, id) {
                Ok(transaction) => transaction,
                Err(RecordError::Source(astreum_core::atom::SourceError::Failed(error))) => {
                    return Err(error);
                }
                Err(_) => continue,
            };
            if let Some(list) = opened_list(&transaction) {
                self.list(list)?;
            }
        }
        Ok(())
    }
}
