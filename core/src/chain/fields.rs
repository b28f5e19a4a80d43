//! Contract and channel records: short lists of byte strings.

use super::record::Part;
use crate::atom::{Atom, AtomKind};
use crate::integer::Natural;
use alloc::vec::Vec;

/// Maximum number of fields of a record.
pub(super) const MAX_FIELDS: usize = 6;

/// Fields of a contract or channel record, in one allocation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Fields {
    bytes: Vec<u8>,
    ends: heapless::Vec<usize, MAX_FIELDS>,
}

impl Fields {
    pub(super) fn new<const N: usize>(fields: [&[u8]; N]) -> Self {
        const { assert!(N <= MAX_FIELDS) };
        Self::collect(fields.into_iter())
    }

    /// Collects the data of the first [`MAX_FIELDS`] atoms.
    pub(super) fn from_atoms(atoms: &[Atom]) -> Self {
        Self::collect(atoms.iter().map(Atom::data))
    }

    fn collect<'f>(fields: impl Iterator<Item = &'f [u8]> + Clone) -> Self {
        let fields = fields.take(MAX_FIELDS);
        let mut bytes = Vec::with_capacity(fields.clone().map(<[u8]>::len).sum());
        let mut ends = heapless::Vec::new();
        for field in fields {
            bytes.extend_from_slice(field);
            // `take` leaves at most as many fields as there is room for.
            let _ = ends.push(bytes.len());
        }
        Self { bytes, ends }
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Returns the field with this index; empty if there is none.
    pub(super) fn get(&self, index: usize) -> &[u8] {
        let start = match index.checked_sub(1) {
            Some(before) => self.ends.get(before).copied(),
            None => Some(0),
        };
        start
            .zip(self.ends.get(index))
            .and_then(|(start, end)| self.bytes.get(start..*end))
            .unwrap_or_default()
    }

    /// Returns the field with this index as a little-endian integer.
    pub(super) fn number(&self, index: usize) -> Natural {
        number(self.get(index))
    }

    /// Returns the fields as the parts of a list of `N` bytes atoms.
    pub(super) fn parts<const N: usize>(&self) -> [Part<'_>; N] {
        core::array::from_fn(|index| (AtomKind::Bytes, self.get(index)))
    }
}

/// Reads a little-endian integer of any width; no bytes are 0.
///
/// Values inside tries and records are read as leniently as the reference reads them, because
/// values that are already in a state can no longer be rejected.
pub(super) fn number(bytes: &[u8]) -> Natural {
    let len = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    let shortest = bytes.get(..len).unwrap_or_default();
    Natural::from_bytes_le(shortest).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_stored_in_order() {
        let fields = Fields::new([b"ab".as_slice(), b"", b"c"]);
        assert_eq!(fields.len(), 3);
        assert_eq!(
            [0, 1, 2, 3].map(|index| fields.get(index)),
            [b"ab".as_slice(), b"", b"c", b""]
        );
        let atoms: Vec<Atom> = (0..9_u8).map(|byte| Atom::bytes([byte])).collect();
        let fields = Fields::from_atoms(&atoms);
        assert_eq!((fields.len(), fields.get(5)), (6, [5].as_slice()));
    }

    #[test]
    fn numbers_may_be_padded() {
        for (bytes, value) in [
            ([0, 0, 0].as_slice(), 0_u64),
            (&[], 0),
            (&[1, 0], 1),
            (&[0, 1, 0], 256),
        ] {
            assert_eq!(number(bytes), Natural::from(value));
        }
    }
}
