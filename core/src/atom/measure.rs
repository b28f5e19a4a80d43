//! Measurement of a list's length without storing its atoms.

use super::{Atom, AtomId};

/// Length of a run of list atoms that starts with an atom known by its id, and the id that follows
/// it. Ids are hashes, so the values never change.
///
/// ```
/// use astreum_core::atom::{AtomId, ListMeasurer, ListStretch, bytes_list};
///
/// let (head, atoms) = bytes_list(&["one"]);
/// let mut measurer = ListMeasurer::new(head, 10, 1_000);
/// assert!(measurer.push(head, &atoms[0]));
/// let stretch = ListStretch { atoms: 1, bytes: 33 + 3, next: AtomId::ZERO };
/// assert_eq!(measurer.stretch(), stretch);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ListStretch {
    /// Number of atoms in the run.
    pub atoms: u64,
    /// Total size of their stored forms, in bytes.
    pub bytes: u64,
    /// Id of the atom after the run; [`AtomId::ZERO`] at the end of the list.
    pub next: AtomId,
}

/// Measures a list while its atoms arrive, without storing them. Each atom is checked against the
/// `next` id of the previous one.
///
/// ```
/// use astreum_core::atom::{ListMeasurer, bytes_list};
///
/// let (head, atoms) = bytes_list(&["one", "two", "three"]);
/// let mut measurer = ListMeasurer::new(head, 1_000, 1_000_000);
/// while let Some(wanted) = measurer.wanted() {
///     let atom = atoms.iter().find(|atom| atom.id() == wanted).unwrap();
///     assert!(measurer.push(wanted, atom));
/// }
/// let stretch = measurer.stretch();
/// assert_eq!((stretch.atoms, stretch.bytes), (3, 3 * 33 + 11));
/// assert!(stretch.next.is_zero() && !measurer.is_too_long());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ListMeasurer {
    head: AtomId,
    max_atoms: u64,
    max_bytes: u64,
    stretch: ListStretch,
}

impl ListMeasurer {
    /// Creates a measurer for the list that starts at `head`. The list is too long if it has more
    /// than `max_atoms` atoms or more than `max_bytes` stored bytes.
    #[must_use]
    pub const fn new(head: AtomId, max_atoms: u64, max_bytes: u64) -> Self {
        Self {
            head,
            max_atoms,
            max_bytes,
            stretch: ListStretch {
                atoms: 0,
                bytes: 0,
                next: head,
            },
        }
    }

    /// Returns the head of the list.
    #[must_use]
    pub const fn head(&self) -> AtomId {
        self.head
    }

    /// Returns the id of the next atom, or `None` at the end of the list or once it is too long.
    #[must_use]
    pub fn wanted(&self) -> Option<AtomId> {
        let next = self.stretch.next;
        (!next.is_zero() && !self.is_too_long()).then_some(next)
    }

    /// Adds the next atom, whose id the caller has computed. Returns `false` and adds nothing if a
    /// different atom is expected.
    pub fn push(&mut self, id: AtomId, atom: &Atom) -> bool {
        if self.wanted() != Some(id) {
            return false;
        }
        self.stretch.atoms = self.stretch.atoms.saturating_add(1);
        // A usize has at most 64 bits on every target that Rust supports.
        let bytes = atom.stored_len() as u64;
        self.stretch.bytes = self.stretch.bytes.saturating_add(bytes);
        self.stretch.next = atom.next();
        true
    }

    /// Adds a run that was measured earlier and starts with the expected atom. Returns `false` and
    /// adds nothing if the run is empty or no atom is expected.
    ///
    /// ```
    /// use astreum_core::atom::{ListMeasurer, ListStretch, bytes_list};
    ///
    /// // The last two atoms were measured before.
    /// let (head, atoms) = bytes_list(&["one", "two", "three"]);
    /// let known = ListStretch { atoms: 2, bytes: 2 * 33 + 8, next: atoms[2].next() };
    /// let mut measurer = ListMeasurer::new(head, 10, 1_000);
    /// assert!(measurer.push(head, &atoms[0]) && measurer.skip(known));
    /// assert_eq!((measurer.wanted(), measurer.stretch().atoms), (None, 3));
    /// ```
    pub fn skip(&mut self, run: ListStretch) -> bool {
        if run.atoms == 0 || self.wanted().is_none() {
            return false;
        }
        self.stretch = ListStretch {
            atoms: self.stretch.atoms.saturating_add(run.atoms),
            bytes: self.stretch.bytes.saturating_add(run.bytes),
            next: run.next,
        };
        true
    }

    /// Returns whether the list is longer than allowed.
    ///
    /// ```
    /// use astreum_core::atom::{ListMeasurer, bytes_list};
    ///
    /// let (head, atoms) = bytes_list(&["one", "two"]);
    /// let mut measurer = ListMeasurer::new(head, 1, 1_000);
    /// assert!(measurer.push(head, &atoms[0]) && measurer.push(atoms[1].id(), &atoms[1]));
    /// assert!(measurer.is_too_long());
    /// ```
    #[must_use]
    pub const fn is_too_long(&self) -> bool {
        self.stretch.atoms > self.max_atoms || self.stretch.bytes > self.max_bytes
    }

    /// Returns the length measured so far, starting at the head.
    #[must_use]
    pub const fn stretch(&self) -> ListStretch {
        self.stretch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atom::bytes_list;

    #[test]
    fn only_the_expected_atom_counts() {
        let (head, atoms) = bytes_list(&[b"a".as_slice(), b"bc", b""]);
        let ids: alloc::vec::Vec<AtomId> = atoms.iter().map(Atom::id).collect();
        let mut measurer = ListMeasurer::new(head, 9, 999);
        assert!(!measurer.push(ids[1], &atoms[1]), "not the head");
        assert_eq!(
            (measurer.stretch().atoms, measurer.wanted()),
            (0, Some(head))
        );
        for (at, (id, atom)) in ids.iter().zip(&atoms).enumerate() {
            assert!(measurer.push(*id, atom));
            assert!(!measurer.push(*id, atom), "a second time");
            assert_eq!(measurer.wanted(), ids.get(at + 1).copied());
        }
        let whole = ListStretch {
            atoms: 3,
            bytes: 3 * 33 + 3,
            next: AtomId::ZERO,
        };
        assert_eq!(measurer.stretch(), whole);
        assert!(!measurer.push(AtomId::ZERO, &atoms[0]), "after the end");
        assert!(!measurer.skip(whole));
    }

    #[test]
    fn measurement_ends_once_the_list_is_too_long() {
        let (head, atoms) = bytes_list(&[b"aaaa"; 10]);
        for (max_atoms, max_bytes, expected) in [(4, 9_999, 5), (99, 4 * 37, 5), (10, 370, 10)] {
            let mut measurer = ListMeasurer::new(head, max_atoms, max_bytes);
            for atom in &atoms {
                measurer.push(atom.id(), atom);
            }
            assert_eq!(measurer.stretch().atoms, expected);
            assert_eq!(measurer.is_too_long(), expected == 5);
            assert_eq!(measurer.wanted(), None);
        }
    }

    #[test]
    fn known_runs_are_skipped() {
        let (head, atoms) = bytes_list(&[b"x"; 6]);
        let mut measurer = ListMeasurer::new(head, 99, 9_999);
        assert!(measurer.push(head, &atoms[0]));
        let run = ListStretch {
            atoms: 4,
            bytes: 4 * 34,
            next: atoms[5].id(),
        };
        assert!(!measurer.skip(ListStretch::default()), "an empty one");
        assert!(measurer.skip(run));
        assert!(measurer.push(atoms[5].id(), &atoms[5]));
        let stretch = measurer.stretch();
        assert_eq!((stretch.atoms, stretch.bytes), (6, 6 * 34));
        assert!(stretch.next.is_zero());
    }
}
