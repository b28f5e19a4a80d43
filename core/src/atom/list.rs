//! Linked lists of atoms: `next` links from a head to [`AtomId::ZERO`].

use super::{Atom, AtomId, AtomKind, AtomSource, SourceError};
use alloc::vec::Vec;
use core::fmt;

/// Maximum number of atoms in a list: one that is fetched, one on the chain, and all lists together
/// that the transactions of one block read.
pub const MAX_LIST_ATOMS: usize = 1_048_576;

/// Creates a linked list of bytes atoms that holds `values` in order. Returns the id of the head
/// and the atoms, head first.
///
/// Without values, returns [`AtomId::ZERO`] and no atoms.
///
/// ```
/// use astreum_core::atom::bytes_list;
///
/// let (head, atoms) = bytes_list(&["one", "two"]);
/// assert_eq!((atoms[0].id(), atoms[0].data()), (head, b"one".as_slice()));
/// assert_eq!(atoms[0].next(), atoms[1].id());
/// assert!(atoms[1].next().is_zero());
/// ```
pub fn bytes_list<V: AsRef<[u8]>>(values: &[V]) -> (AtomId, Vec<Atom>) {
    let mut next = AtomId::ZERO;
    let mut atoms = Vec::with_capacity(values.len());
    for value in values.iter().rev() {
        let atom = Atom::new(AtomKind::Bytes, value.as_ref(), next);
        next = atom.id();
        atoms.push(atom);
    }
    atoms.reverse();
    (next, atoms)
}

/// Reason a list could not be read to its end.
///
/// ```
/// use astreum_core::atom::{ListError, MemoryStore, SourceError, bytes_list, collect_list};
///
/// // Only the first atom of the list is stored.
/// let (head, atoms) = bytes_list(&["one", "two"]);
/// let store: MemoryStore = atoms[..1].iter().cloned().collect();
/// let missing = SourceError::Missing(atoms[1].id());
/// assert_eq!(collect_list(&store, head, 10), Err(ListError::Source(missing)));
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ListError<E> {
    /// An atom of the list is missing, or the source failed.
    Source(SourceError<E>),
    /// The list has more atoms than the caller allows.
    TooLong {
        /// Maximum number of atoms.
        max: usize,
    },
}

impl<E: fmt::Display> fmt::Display for ListError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(error) => error.fmt(f),
            Self::TooLong { max } => write!(f, "the list has more than {max} atoms"),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for ListError<E> {}

/// Reads the atoms of the list that starts at `head`, in order, at most `max_atoms` of them.
///
/// [`AtomId::ZERO`] as the head is the empty list.
///
/// ```
/// use astreum_core::atom::{ListError, MemoryStore, bytes_list, collect_list};
///
/// let (head, atoms) = bytes_list(&["one", "two", "three"]);
/// let store: MemoryStore = atoms.iter().cloned().collect();
/// assert_eq!(collect_list(&store, head, 10), Ok(atoms));
/// assert_eq!(collect_list(&store, head, 2), Err(ListError::TooLong { max: 2 }));
/// ```
///
/// # Errors
/// Returns [`ListError::Source`] if an atom is missing or the source fails, and
/// [`ListError::TooLong`] if the list has more than `max_atoms` atoms.
pub fn collect_list<S: AtomSource + ?Sized>(
    source: &S,
    head: AtomId,
    max_atoms: usize,
) -> Result<Vec<Atom>, ListError<S::Error>> {
    let mut atoms = Vec::new();
    let mut next = head;
    while !next.is_zero() {
        if atoms.len() == max_atoms {
            return Err(ListError::TooLong { max: max_atoms });
        }
        let atom = source.atom(&next).map_err(ListError::Source)?;
        next = atom.next();
        atoms.push(atom);
    }
    Ok(atoms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atom::MemoryStore;

    #[test]
    fn list_round_trips_in_order() {
        let (head, atoms) = bytes_list(&[b"a".as_slice(), b"", b"c"]);
        let store: MemoryStore = atoms.iter().cloned().collect();
        assert_eq!(collect_list(&store, head, 3), Ok(atoms));
        assert_eq!(
            collect_list(&store, head, 2),
            Err(ListError::TooLong { max: 2 })
        );
    }

    #[test]
    fn list_without_values_has_the_zero_id_and_no_atoms() {
        let (head, atoms) = bytes_list::<&[u8]>(&[]);
        assert!(head.is_zero() && atoms.is_empty());
        assert_eq!(collect_list(&MemoryStore::new(), head, 0), Ok(Vec::new()));
    }

    #[test]
    fn read_error_names_the_missing_atom() {
        let (head, mut atoms) = bytes_list(&[b"a", b"b"]);
        let lost = atoms.pop().map(|atom| atom.id());
        let store: MemoryStore = atoms.into_iter().collect();
        let error = collect_list(&store, head, 9);
        assert_eq!(
            error.err(),
            lost.map(|id| ListError::Source(SourceError::Missing(id)))
        );
    }
}
