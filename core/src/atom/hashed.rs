//! Atoms whose ids have been computed, so that they are hashed once on their way from the network
//! to a store.

use super::{Atom, AtomId};
use alloc::vec::{self, Vec};
use core::ops::Deref;
use core::{iter, slice};

/// Atom with its id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HashedAtom {
    id: AtomId,
    atom: Atom,
}

impl HashedAtom {
    /// Hashes an atom.
    #[must_use]
    pub fn new(atom: Atom) -> Self {
        let id = atom.id();
        Self { id, atom }
    }

    /// Returns an atom whose id is known already.
    #[cfg(all(feature = "chain", feature = "engine"))]
    pub(crate) const fn with_id(id: AtomId, atom: Atom) -> Self {
        Self { id, atom }
    }

    /// Returns the id, without hashing.
    #[must_use]
    pub const fn id(&self) -> AtomId {
        self.id
    }

    /// Returns the atom.
    #[must_use]
    pub const fn atom(&self) -> &Atom {
        &self.atom
    }
}

/// Beginning of a list, or a single atom, whose atoms have been checked against the ids that name
/// them: the first has the id of the list, and every other the id that the one before links to.
///
/// ```
/// use astreum_core::atom::{HashedAtom, LinkedAtoms, bytes_list};
///
/// let (head, atoms) = bytes_list(&[b"one", b"two"]);
/// let mut linked = LinkedAtoms::new(head);
/// for atom in &atoms {
///     assert!(linked.push(&HashedAtom::new(atom.clone())));
/// }
/// assert!(linked.next().is_zero());
/// let ids: Vec<_> = linked.with_ids().map(|(id, _)| id).collect();
/// assert_eq!(ids, [head, atoms[0].next()]);
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LinkedAtoms {
    head: AtomId,
    next: AtomId,
    atoms: Vec<Atom>,
}

impl LinkedAtoms {
    /// Creates the beginning of a list of which no atom is known.
    #[must_use]
    pub const fn new(head: AtomId) -> Self {
        Self {
            head,
            next: head,
            atoms: Vec::new(),
        }
    }

    /// Returns the id of the atom behind the last, or [`AtomId::ZERO`] at the end of the list.
    #[must_use]
    pub const fn next(&self) -> AtomId {
        self.next
    }

    /// Appends an atom; returns `false`, without effect, if its id is not the one that is expected
    /// next.
    pub fn push(&mut self, atom: &HashedAtom) -> bool {
        let is_next = atom.id == self.next && !self.next.is_zero();
        if is_next {
            self.next = atom.atom.next;
            self.atoms.push(atom.atom.clone());
        }
        is_next
    }

    /// Returns the atoms with their ids, head first. The ids are those of the links, and are not
    /// computed again.
    pub fn with_ids(&self) -> impl Iterator<Item = (AtomId, &Atom)> {
        let links = self.atoms.iter().map(Atom::next);
        iter::once(self.head).chain(links).zip(&self.atoms)
    }

    /// Returns the atoms, head first.
    #[must_use]
    pub fn into_atoms(self) -> Vec<Atom> {
        self.atoms
    }
}

impl Deref for LinkedAtoms {
    type Target = [Atom];

    fn deref(&self) -> &[Atom] {
        &self.atoms
    }
}

impl IntoIterator for LinkedAtoms {
    type Item = Atom;
    type IntoIter = vec::IntoIter<Atom>;

    fn into_iter(self) -> Self::IntoIter {
        self.atoms.into_iter()
    }
}

impl<'a> IntoIterator for &'a LinkedAtoms {
    type Item = &'a Atom;
    type IntoIter = slice::Iter<'a, Atom>;

    fn into_iter(self) -> Self::IntoIter {
        self.atoms.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::super::bytes_list;
    use super::*;

    #[test]
    fn only_the_linked_atom_is_appended_and_each_id_is_that_of_its_atom() {
        let (head, atoms) = bytes_list(&[b"a", b"b", b"c"]);
        let hashed: Vec<HashedAtom> = atoms.iter().cloned().map(HashedAtom::new).collect();
        let mut linked = LinkedAtoms::new(head);
        assert!(!linked.push(&hashed[1]), "not the head");
        for (at, atom) in hashed.iter().enumerate() {
            assert_eq!(linked.next(), atom.id());
            assert!(linked.push(atom));
            assert!(!linked.push(atom), "appended already");
            assert_eq!(linked.len(), at + 1);
        }
        assert!(linked.next().is_zero());
        for (id, atom) in linked.with_ids() {
            assert_eq!(id, atom.id());
        }
        assert_eq!(linked.with_ids().count(), 3);
        assert_eq!(linked.into_atoms(), atoms);
        let mut empty = LinkedAtoms::new(AtomId::ZERO);
        assert!(!empty.push(&hashed[2]) && empty.is_empty());
    }
}
