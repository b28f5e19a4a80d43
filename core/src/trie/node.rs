//! One node and its five atoms.
//!
//! A node is the chain symbol `trie` → key → child 0 → child 1 → value (the reference's
//! `storage/models/trie.py`). The key atom holds the number of bits as u16 BE and then the bits,
//! left-aligned and zero-padded; a child atom holds the child's id, 32 zero bytes for none; the
//! value atom is empty where there is no value. The node's id is the id of the symbol atom. The bit
//! that leads to a child belongs to the key of neither.

use super::TrieError;
use super::bit_slice::Bits;
use crate::atom::{Atom, AtomId, AtomKind, AtomSource};
use alloc::vec::Vec;

/// What the first atom of a node holds.
pub(super) const TYPE_NAME: &[u8] = b"trie";

/// A node as it is stored.
#[derive(Clone, Debug)]
pub(super) struct StoredNode {
    key: Atom,
    children: [AtomId; 2],
    value: Atom,
}

impl StoredNode {
    /// The bits that a key must have here.
    pub(super) fn key(&self) -> Bits<'_> {
        let data = self.key.data();
        let len = data
            .first_chunk()
            .map_or(0, |len| usize::from(u16::from_be_bytes(*len)));
        Bits::new(data.get(2..).unwrap_or_default(), 0, len)
    }

    /// The child behind this bit, [`AtomId::ZERO`] for none.
    pub(super) const fn child(&self, bit: bool) -> AtomId {
        let [zero, one] = self.children;
        if bit { one } else { zero }
    }

    /// The value, empty where there is none.
    pub(super) fn value(&self) -> &[u8] {
        self.value.data()
    }

    pub(super) fn shared_value(&self) -> alloc::sync::Arc<[u8]> {
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

    /// As [`StoredNode::load`]; appends the node's atoms to `atoms` when `keep` is set.
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
                return Err(malformed("its chain has fewer than five atoms"));
            }
            let atom = source.atom(&next)?;
            if atom.kind() != kind {
                return Err(malformed("an atom of it has the wrong kind"));
            }
            next = atom.next();
            if keep {
                atoms.push(atom.clone());
            }
            Ok(atom)
        };
        if part(AtomKind::Symbol)?.data() != TYPE_NAME {
            return Err(malformed("it is not a trie node"));
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
            return Err(malformed("its chain has more than five atoms"));
        }
        let node = Self {
            key,
            children,
            value,
        };
        let mut canonical = Vec::new();
        node.key().write_aligned(&mut canonical);
        let declared = node
            .key
            .data()
            .first_chunk()
            .map(|len| u16::from_be_bytes(*len));
        if declared.map(usize::from) != Some(node.key().len())
            || node.key.data().get(2..) != Some(&canonical)
        {
            return Err(malformed("its key does not have the bits that it declares"));
        }
        Ok(node)
    }
}
