//! Chain of blocks with balances, made without the rules of a chain.

use super::fixtures::{address, header, key};
use crate::atom::{Atom, AtomId, AtomSink as _, AtomSource as _, MemoryStore, bytes_list};
use crate::chain::{Account, Block, Header, Receipt, RecordAtoms, Status, Transaction, push_links};
use crate::trie::{Scalar, Trie};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::convert::Infallible;

/// Chain whose blocks set balances.
#[derive(Debug, Default)]
pub struct StateChain {
    /// Atoms of all blocks.
    pub store: MemoryStore,
    /// Blocks by height.
    pub blocks: Vec<Block>,
}

/// Sink that keeps what it is given.
#[derive(Default)]
struct Written(RecordAtoms);

impl crate::atom::AtomSink for Written {
    type Error = Infallible;

    fn put(&mut self, id: AtomId, atom: Atom) -> Result<(), Infallible> {
        self.0.push((id, atom));
        Ok(())
    }
}

impl StateChain {
    /// Appends a block in which the accounts with these numbers have these balances. Returns the
    /// atoms that a node stores with it.
    ///
    /// # Panics
    /// Panics if the state of the chain is not in `store`.
    pub fn push(&mut self, balances: &[(u8, u64)], transactions: &[Transaction]) -> RecordAtoms {
        let parent = self.blocks.last().cloned();
        let (block, atoms) = self.block_on(parent.as_ref(), balances, transactions);
        self.blocks.push(block);
        atoms
    }

    /// Makes a block on `parent`, which may be on another branch.
    ///
    /// # Panics
    /// Panics if the state of the parent is not in `store`.
    pub fn block_on(
        &mut self,
        parent: Option<&Block>,
        balances: &[(u8, u64)],
        transactions: &[Transaction],
    ) -> (Block, RecordAtoms) {
        let mut written = Written::default();
        let mut accounts = Trie::open(parent.map_or(AtomId::ZERO, |parent| parent.accounts));
        for (number, balance) in balances {
            let account = Account {
                balance: (*balance).into(),
                ..Account::default()
            };
            let Ok(id) = account.write(&mut written);
            let put = accounts.put(&self.store, address(*number).as_bytes(), id.as_bytes());
            assert!(
                put.is_ok(),
                "the state of the parent is incomplete: {put:?}"
            );
        }
        let Ok(accounts) = accounts.commit(&mut Scalar, &mut written);
        let (mut ids, mut receipts) = (Vec::new(), Vec::new());
        for transaction in transactions {
            let Ok(id) = transaction.write(&mut written);
            let receipt = Receipt {
                transaction: id,
                status: Status::Success,
                cost: 1_u64.into(),
                logs: AtomId::ZERO,
            };
            let Ok(receipt) = receipt.write(&mut written);
            ids.push(id);
            receipts.push(receipt);
        }
        let mut list = |ids: &[AtomId]| {
            let (head, atoms) = bytes_list(ids);
            for atom in atoms {
                let Ok(()) = written.put(atom.id(), atom);
            }
            head
        };
        let (transactions, receipts) = (list(&ids), list(&receipts));
        let height = parent.map_or(0, |parent| parent.height.to_u64().unwrap_or(0) + 1);
        let previous = parent.map_or(AtomId::ZERO, Block::id);
        let block = Header {
            accounts,
            transactions,
            receipts,
            ..header(height, previous, 1_000 + 2 * height)
        };
        let block = block.sign(&key(1));
        written.0.extend(block.to_atoms());
        self.store
            .extend(written.0.iter().map(|(_, atom)| atom.clone()));
        (block, written.0)
    }

    /// Returns the atoms of a block: header, transactions, receipts and state.
    #[must_use]
    pub fn atoms_of(&self, block: &Block) -> BTreeSet<AtomId> {
        let mut roots = Vec::from([block.id(), block.accounts]);
        for list in [block.transactions, block.receipts] {
            let mut next = list;
            while let Ok(atom) = self.store.atom(&next) {
                roots.extend(AtomId::from_slice(atom.data()));
                roots.push(next);
                next = atom.next();
            }
        }
        self.closure(&roots)
    }

    /// Returns the atoms that these lead to.
    #[must_use]
    pub fn closure(&self, roots: &[AtomId]) -> BTreeSet<AtomId> {
        let (mut waiting, mut seen) = (roots.to_vec(), BTreeSet::new());
        while let Some(id) = waiting.pop() {
            if let Ok(atom) = self.store.atom(&id)
                && seen.insert(id)
            {
                let Ok(()) = push_links(&self.store, &atom, &mut waiting);
            }
        }
        seen
    }
}
