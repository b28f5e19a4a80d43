//! Stored form of a node: five atoms.
//!
//! A node is the linked list symbol `trie` → key → child 0 → child 1 → value (the reference's
//! `storage/models/trie.py`). The key atom has the number of bits as u16 BE followed by the bits,
//! left-aligned and zero-padded. A child atom has the child's id, or 32 zero bytes if there is no
//! child. The value atom is empty if there is no value. The node's id is the id of the symbol atom.
//! The bit that selects a child is not part of the key of either node.

use super::TrieError;
use super::bit_slice::Bits;
use crate::atom::{Atom, AtomId, AtomKind, AtomSource};
use alloc::vec::Vec;

/// Data of the first atom of a node.
pub(crate) const TYPE_NAME: &[u8] = b"trie";

/// Node in its stored form.
#[derive(Clone, Debug)]
pub(super) struct StoredNode {
    key: Atom,
    children: [AtomId; 2],
    value: Atom,
}

impl StoredNode {
    /// Returns the key bits of the node.
    pub(super) fn key(&self) -> Bits<'_> {
        let data = self.key.data();
        let len = data
            .first_chunk()
            .map_or(0, |len| usize::from(u16::from_be_bytes(*len)));
        Bits::new(data.get(2..).unwrap_or_default(), 0, len)
    }

    /// Returns the child for this bit, or [`AtomId::ZERO`] if there is none.
    pub(super) const fn child(&self, bit: bool) -> AtomId {
        let [zero, one] = self.children;
        if bit { one } else { zero }
    }

    /// Returns the value; empty if there is none.
    pub(super) fn value(&self) -> &[u8] {
        self.value.data()
    }

    pub(super) fn shared_value(&self) -> crate::arc::Arc<[u8]> {
        self.value.shared_data()
    }

    /// Loads the node with this id.
    pub(super) fn load<S: AtomSource + ?Sized>(
        source: &S,
        id: AtomId,
    ) -> Result<Self, TrieError<S::Error>> {
        let mut none = Vec::new();
        Self::load_atoms(source, id, &mut none, false)
    }

    /// Loads the node as [`StoredNode::load`] does; appends its atoms to `atoms` if `keep` is set.
    pub(super) fn load_atoms<S: AtomSource + ?Sized>(
        source: &S,
        id: AtomId,
        atoms: &mut Vec<Atom>,
        keep: bool,
    ) -> Result<Self, TrieError<S::Error>> {
        let malformed = |problem| TrieError::Malformed { node: id, problem };
        let mut next = id;
        let mut part = |kind: AtomKind| -> Result<Atom, TrieError<S::Error>> {
            if next.is_zero() {
                return Err(malformed("its list has fewer than five atoms"));
            }
            let atom = source.atom(&next)?;
            if atom.kind() != kind {
                return Err(malformed("an atom has the wrong kind"));
            }
            next = atom.next();
            if keep {
                atoms.push(atom.clone());
            }
            Ok(atom)
        };
        if part(AtomKind::Symbol)?.data() != TYPE_NAME {
            return Err(malformed("not a trie node"));
        }
        let key = part(AtomKind::Bytes)?;
        let mut children = [AtomId::ZERO; 2];
        for child in &mut children {
            let atom = part(AtomKind::Bytes)?;
            *child =
                AtomId::from_slice(atom.data()).ok_or(malformed("a child id is not 32 bytes"))?;
        }
        let value = part(AtomKind::Bytes)?;
        if !next.is_zero() {
            return Err(malformed("its list has more than five atoms"));
        }
        let node = Self {
            key,
            children,
            value,
        };
        if !is_canonical(node.key.data()) {
            return Err(malformed(
                "key length does not match its declared number of bits",
            ));
        }
        Ok(node)
    }
}

/// Returns whether the data of a key atom has exactly the bits that it declares, padded with zeros.
fn is_canonical(data: &[u8]) -> bool {
    let Some((len, bits)) = data.split_first_chunk() else {
        return false;
    };
    let len = usize::from(u16::from_be_bytes(*len));
    // The padding of a whole byte is empty: all eight bits are shifted out.
    let padding = 0xff_u16 >> ((len + 7) % 8 + 1);
    let last = bits.last().copied().unwrap_or_default();
    bits.len() == len.div_ceil(8) && u16::from(last) & padding == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn canonical_data_is_what_the_bits_encode_to(
            len in 0..20_u16, bits in proptest::collection::vec(any::<u8>(), 0..4),
        ) {
            let mut data = len.to_be_bytes().to_vec();
            data.extend(&bits);
            let bits = Bits::new(&bits, 0, len.into());
            let is_same = usize::from(len) == bits.len() && bits.to_atom_data() == data;
            prop_assert_eq!(is_canonical(&data), is_same);
        }
    }

    #[test]
    fn data_without_a_length_is_not_canonical() {
        assert!(!is_canonical(&[]) && !is_canonical(&[0]));
    }
}
