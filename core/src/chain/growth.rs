//! Storage growth: atoms and bytes that a block adds to the store of every node.

use super::cost::{TRANSACTION_ATOMS, stored_bytes};
use super::{Body, Header, Transaction};
use crate::atom::{Atom, AtomId, IdBits};
use core::hash::BuildHasherDefault;
use hashbrown::HashSet;

/// Bytes of an atom's index entry in a sorted pair, the format of cold storage: id, position and
/// size (source: the reference's `storage/cold.py`).
pub const INDEX_ENTRY_BYTES: u64 = 32 + 64 + 64;

/// Number of atoms of a block's record outside its body: type, version, signature and list.
const BLOCK_HEAD_ATOMS: u64 = 4;
/// Bytes of data of these atoms.
const BLOCK_HEAD_BYTES: u64 = 5 + 1 + 64 + 32;

/// Number of atoms and their stored bytes.
///
/// ```
/// use astreum_core::atom::Atom;
/// use astreum_core::chain::{Growth, INDEX_ENTRY_BYTES};
///
/// let atom = Atom::bytes(*b"abc");
/// let stored = [(atom.id(), atom.clone()), (atom.id(), atom)];
/// let growth = Growth::of_atoms(&stored);
/// assert_eq!((growth.atoms, growth.bytes), (1, 33 + 3));
/// assert_eq!(growth.pair_bytes(), 33 + 3 + INDEX_ENTRY_BYTES);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Growth {
    /// Number of atoms.
    pub atoms: u64,
    /// Stored bytes: the data of each atom plus 33 bytes.
    pub bytes: u64,
}

impl Growth {
    /// Counts these atoms, each distinct one once.
    #[must_use]
    pub fn of_atoms<'a>(atoms: impl IntoIterator<Item = &'a (AtomId, Atom)>) -> Self {
        let mut growth = Self::default();
        let mut counted: HashSet<AtomId, BuildHasherDefault<IdBits>> = HashSet::default();
        for (id, atom) in atoms {
            if counted.insert(*id) {
                growth.add(1, stored_len(atom.data().len()));
            }
        }
        growth
    }

    /// Counts the atoms that a block with this header, body and transactions adds: its record, its
    /// transactions and everything that they created. The few that a store has already are counted
    /// as well.
    ///
    /// The nonce need not be final: it changes a few bytes at most.
    ///
    /// ```
    /// use astreum_core::chain::{Builder, Election, Growth};
    /// # use astreum_core::atom::MemoryStore;
    /// # use astreum_core::chain::{Address, Genesis};
    /// # use astreum_core::crypto::SigningKey;
    /// # use astreum_core::integer::Natural;
    /// # use astreum_core::trie::Scalar;
    /// # let key = SigningKey::from_seed(&[1; 32]);
    /// # let validator = Address::from(key.verifying_key());
    /// # let mut store = MemoryStore::new();
    /// # let genesis = Genesis::new(validator, Natural::ZERO, 1_700_000_000_u64.into());
    /// # let parent = genesis.build(&mut Scalar, &mut store)?;
    /// # let Election { seeds, stakes } = Election::read(&store, &parent)?;
    /// // An empty block adds about 6 KB.
    /// let body = Builder::new(&store, &parent, &stakes).finish(&mut Scalar, Some(validator))?;
    /// let time = &parent.timestamp + &2_u64.into();
    /// let header = body.header(&parent, validator, time, Natural::ONE);
    /// let growth = Growth::of_block(&header, &body, []);
    /// assert!(growth.atoms >= 19 && growth.pair_bytes() < 10_000);
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    #[must_use]
    pub fn of_block<'t>(
        header: &Header,
        body: &Body,
        transactions: impl IntoIterator<Item = &'t Transaction>,
    ) -> Self {
        let mut growth = Self::of_atoms(&body.atoms);
        for field in header.fields() {
            growth.add(1, stored_len(field.len()));
        }
        let head_bytes = BLOCK_HEAD_BYTES + BLOCK_HEAD_ATOMS * stored_len(0);
        growth.add(BLOCK_HEAD_ATOMS, head_bytes);
        for transaction in transactions {
            growth.add(TRANSACTION_ATOMS, stored_bytes(transaction));
        }
        growth
    }

    /// Returns the size in bytes as sorted pairs, including the index.
    #[must_use]
    pub const fn pair_bytes(&self) -> u64 {
        let index = self.atoms.saturating_mul(INDEX_ENTRY_BYTES);
        self.bytes.saturating_add(index)
    }

    const fn add(&mut self, atoms: u64, bytes: u64) {
        self.atoms = self.atoms.saturating_add(atoms);
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// Returns the stored bytes of an atom with `data_bytes` of data.
const fn stored_len(data_bytes: usize) -> u64 {
    // A usize has at most 64 bits on every target of Rust.
    data_bytes as u64 + super::cost::ATOM_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atom::MemoryStore;
    use crate::chain::tests::{World, address_of, key, natural, unsigned};
    use std::vec::Vec;

    #[test]
    fn counts_every_atom_that_a_block_stores() {
        let mut world = World::new(&[(address_of(&key(1)), natural(1_000_000))]);
        let data: [&[u8]; 3] = [b"", b"abc", &[7; 5_000]];
        let send = |(number, data): (u64, &&[u8])| {
            unsigned(number, address_of(&key(2)), number, data).sign(&key(1))
        };
        let transactions: Vec<Transaction> = (1..).zip(&data).map(send).collect();
        for transactions in [&transactions[..0], &transactions] {
            let body = world.body(transactions, true);
            let header = world.header(&body);
            let growth = Growth::of_block(&header, &body, transactions);
            let block = world.mine(header);
            let mut atoms = block.to_atoms();
            // Each part separately: atoms that two parts share count twice.
            let mut expected = Growth::of_atoms(&atoms);
            for part in transactions
                .iter()
                .map(Transaction::to_atoms)
                .chain([body.atoms])
            {
                let growth = Growth::of_atoms(&part);
                expected.add(growth.atoms, growth.bytes);
                atoms.extend(part);
            }
            // The nonce was 0, encoded as one byte.
            let nonce = block.nonce.to_bytes_be().len() as u64;
            expected.bytes -= nonce - 1;
            assert_eq!(growth, expected);
            let stored: MemoryStore = atoms.into_iter().map(|(_, atom)| atom).collect();
            assert!(stored.len() as u64 <= growth.atoms);
            assert!(
                growth.atoms - stored.len() as u64 <= 4,
                "few atoms are duplicates"
            );
            assert_eq!(growth.pair_bytes(), growth.bytes + 160 * growth.atoms);
        }
    }
}
