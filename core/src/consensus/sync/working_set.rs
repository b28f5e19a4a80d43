//! Fetched atoms of undecided blocks.
//!
//! The host keeps fetched atoms as far as it has room. Verification of a block must not depend on
//! that room, and nothing may be downloaded twice for one block, so atoms fetched for a block are
//! held here until the block is decided. Atoms of which only a result is kept, such as those of a
//! measured list, are not held.
//!
//! Bounds: [`MAX_HELD_BYTES`]. Above it, the atoms held for other blocks are dropped first, and
//! then no more are held; atoms that do not fit are read from the host, or fetched again.

use super::measures::ListMeasures;
use crate::atom::{Atom, AtomId, AtomSource, ListStretch, SourceError};
use alloc::collections::{BTreeMap, BTreeSet};
use core::convert::Infallible;

/// Maximum number of bytes held: a full block, its list, and the paths to the state that it
/// touches.
pub const MAX_HELD_BYTES: usize = 256 << 20;
/// Maximum number of these bytes for blocks that are not next.
pub const MAX_AHEAD_BYTES: usize = 64 << 20;
/// Memory of a held atom in addition to its stored bytes.
const OVERHEAD_BYTES: usize = 160;

#[derive(Debug, Default)]
struct Owned {
    ids: BTreeSet<AtomId>,
    bytes: usize,
}

#[derive(Debug)]
struct Held {
    atom: Atom,
    /// Number of blocks that it is held for.
    blocks: usize,
}

/// Held atoms. See the [module](self).
#[derive(Debug, Default)]
pub(super) struct WorkingSet {
    atoms: BTreeMap<AtomId, Held>,
    by_block: BTreeMap<AtomId, Owned>,
    bytes: usize,
}

impl WorkingSet {
    /// Holds atoms that were fetched for `block`. `is_at_hand` returns whether a block is the next
    /// one of its branch.
    pub(super) fn hold(
        &mut self,
        block: AtomId,
        atoms: &[Atom],
        is_at_hand: impl Fn(&AtomId) -> bool,
    ) {
        let bytes = atoms.iter().map(held_bytes).sum::<usize>();
        if !is_at_hand(&block) && self.ahead_bytes(&is_at_hand) + bytes > MAX_AHEAD_BYTES {
            return;
        }
        while self.bytes + bytes > MAX_HELD_BYTES {
            let others = self.by_block.iter().filter(|(id, _)| **id != block);
            let largest = others.max_by_key(|(id, owned)| (!is_at_hand(id), owned.bytes));
            let Some(largest) = largest.map(|(id, _)| *id) else {
                return;
            };
            self.release(&largest);
        }
        let owned = self.by_block.entry(block).or_default();
        for atom in atoms {
            let (id, bytes) = (atom.id(), held_bytes(atom));
            if !owned.ids.insert(id) {
                continue;
            }
            owned.bytes += bytes;
            let held = self.atoms.entry(id).or_insert_with(|| {
                self.bytes += bytes;
                let atom = atom.clone();
                Held { atom, blocks: 0 }
            });
            held.blocks += 1;
        }
    }

    fn ahead_bytes(&self, is_at_hand: impl Fn(&AtomId) -> bool) -> usize {
        let ahead = self.by_block.iter().filter(|(id, _)| !is_at_hand(id));
        ahead.map(|(_, owned)| owned.bytes).sum()
    }

    /// Drops the atoms held for a block that is decided.
    pub(super) fn release(&mut self, block: &AtomId) {
        let Some(owned) = self.by_block.remove(block) else {
            return;
        };
        for id in &owned.ids {
            let Some(held) = self.atoms.get_mut(id) else {
                continue;
            };
            held.blocks -= 1;
            if held.blocks == 0 {
                self.bytes = self.bytes.saturating_sub(held_bytes(&held.atom));
                self.atoms.remove(id);
            }
        }
    }

    /// Returns the atoms held for a block.
    pub(super) fn of_block(&self, block: &AtomId) -> impl Iterator<Item = (AtomId, Atom)> {
        let owned = self.by_block.get(block).into_iter();
        let ids = owned.flat_map(|owned| owned.ids.iter());
        ids.filter_map(|id| Some((*id, self.atoms.get(id)?.atom.clone())))
    }

    /// Returns the blocks that atoms are held for.
    pub(super) fn blocks(&self) -> impl Iterator<Item = AtomId> {
        self.by_block.keys().copied()
    }

    /// Returns the number of bytes held, including bookkeeping.
    #[cfg(test)]
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns a source of the held atoms and those of the host.
    pub(super) const fn over<'a>(&'a self, host: HostAtoms<'a>) -> View<'a> {
        View {
            held: self,
            host,
            measures: None,
        }
    }
}

fn held_bytes(atom: &Atom) -> usize {
    atom.stored_len() + OVERHEAD_BYTES
}

/// Atoms of the host.
pub(super) type HostAtoms<'a> = &'a (dyn AtomSource<Error = Infallible> + Sync);

/// Held atoms, then those of the host.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    held: &'a WorkingSet,
    host: HostAtoms<'a>,
    measures: Option<&'a ListMeasures>,
}

impl<'a> View<'a> {
    /// Returns the source with the known lengths of lists.
    pub(super) const fn with(self, measures: &'a ListMeasures) -> Self {
        Self {
            measures: Some(measures),
            ..self
        }
    }
}

impl AtomSource for View<'_> {
    type Error = Infallible;

    fn atom(&self, id: &AtomId) -> Result<Atom, SourceError<Infallible>> {
        match self.held.atoms.get(id) {
            Some(held) => Ok(held.atom.clone()),
            None => self.host.atom(id),
        }
    }

    fn list_stretch(&self, head: &AtomId) -> Option<ListStretch> {
        let known = self.measures.and_then(|measures| measures.get(head));
        known.or_else(|| self.host.list_stretch(head))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atom::NoStore;
    use alloc::vec;
    use alloc::vec::Vec;

    fn block(number: u8) -> AtomId {
        AtomId::new([number; 32])
    }

    fn large(number: u8) -> Atom {
        Atom::bytes(vec![number; 1 << 20])
    }

    #[test]
    fn holds_atoms_until_their_block_is_verified_or_rejected() {
        let mut set = WorkingSet::default();
        let atoms = [Atom::bytes(*b"one"), Atom::bytes(*b"two")];
        set.hold(block(1), &atoms, |_| true);
        let bytes = set.bytes();
        // The same atom is held once, also for another block.
        for number in [1, 2] {
            set.hold(block(number), &atoms, |_| true);
        }
        assert_eq!(set.bytes(), bytes);
        for atom in &atoms {
            assert_eq!(set.over(&NoStore).atom(&atom.id()), Ok(atom.clone()));
        }
        set.release(&block(1));
        assert!(set.over(&NoStore).atom(&atoms[0].id()).is_ok());
        set.release(&block(2));
        assert!(set.over(&NoStore).atom(&atoms[0].id()).is_err());
        assert_eq!((set.bytes(), set.by_block.len()), (0, 0));
    }

    #[test]
    fn is_bounded_and_keeps_what_is_at_hand() {
        let mut set = WorkingSet::default();
        let is_at_hand = |id: &AtomId| *id == block(1);
        for number in 0..100 {
            set.hold(block(2), &[large(number)], is_at_hand);
        }
        assert!(set.bytes() <= MAX_AHEAD_BYTES && set.bytes() > MAX_AHEAD_BYTES / 2);
        let other = |number: u8| Atom::bytes(vec![number; (1 << 20) + 1]);
        for number in 0..250 {
            set.hold(block(1), &[other(number)], is_at_hand);
            assert!(set.bytes() <= MAX_HELD_BYTES);
        }
        // Atoms held in advance have been dropped.
        assert!(set.over(&NoStore).atom(&other(0).id()).is_ok());
        assert!(set.over(&NoStore).atom(&large(0).id()).is_err());
        assert_eq!(set.blocks().collect::<Vec<_>>(), [block(1)]);
        set.release(&block(1));
        assert_eq!(set.bytes(), 0);
    }
}
