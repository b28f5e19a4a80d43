//! Lengths of the lists that a block's transactions read, without their atoms.
//!
//! A transaction may read a list of 64 MiB, for the price of its storage or, if it is refused, for
//! nothing. Only the length matters, so a list is measured while it is fetched, and only the result
//! is kept. Several lists of one block are measured at a time, and all of them before the block is
//! tried again.
//!
//! Lists may share atoms, which are fetched once: if there are several lists, the head of each is
//! fetched alone, so that lists with a common tail meet there, and the lengths of fetched parts are
//! kept by the id of their first atom, so that a list that reaches one later skips it.
//!
//! Bounds: [`MAX_LISTS_AT_ONCE`] lists at a time; as many results as a block has transactions, and
//! [`MAX_RUNS`] parts. Measuring before it is known to be needed ends at [`MAX_AHEAD_BYTES`].

use crate::atom::{Atom, AtomId, AtomSource, ListMeasurer, ListStretch};
use crate::chain::{MAX_LIST_ATOMS, MAX_WALK_BYTES, Transaction, opened_list};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

/// Maximum number of lists that are measured at a time.
const MAX_LISTS_AT_ONCE: usize = 32;
/// Maximum size of lists that are measured before the block is known to need them, in bytes: the
/// lists that a block may read, and one that is too long.
const MAX_AHEAD_BYTES: u64 = 2 * MAX_WALK_BYTES;
/// Maximum number of fetched parts whose lengths are kept. A list of maximum length has about a
/// thousand.
const MAX_RUNS: usize = 8_192;
/// Maximum number of the host's atoms read in one call.
const READS_PER_CALL: usize = 8_192;

/// Measured lengths. See the [module](self).
#[derive(Debug, Default)]
pub(super) struct ListMeasures {
    known: BTreeMap<AtomId, ListStretch>,
    /// Fetched parts, by their first atoms.
    runs: BTreeMap<AtomId, ListStretch>,
    /// Lists that are being measured, by their next atom.
    active: BTreeMap<AtomId, Vec<ListMeasurer>>,
    waiting: VecDeque<AtomId>,
    seen: BTreeSet<AtomId>,
    bytes: u64,
}

impl ListMeasures {
    /// Returns the known length of the list that starts with this atom.
    pub(super) fn get(&self, head: &AtomId) -> Option<ListStretch> {
        self.known.get(head).copied()
    }

    /// Starts to measure the list from this atom on, which a block needs, before all others.
    pub(super) fn need(&mut self, head: AtomId) {
        let is_active = || self.active.values().flatten().any(|it| it.head() == head);
        if self.known.contains_key(&head) || is_active() {
            return;
        }
        self.waiting.retain(|id| *id != head);
        self.begin(head);
    }

    /// Queues the lists that these transactions open contracts on, to be measured as long as they
    /// do not exceed the amount that a block may read.
    pub(super) fn expect(&mut self, transactions: &[Transaction]) {
        for list in transactions.iter().filter_map(opened_list) {
            if self.seen.insert(list) {
                self.waiting.push_back(list);
            }
        }
    }

    fn begin(&mut self, head: AtomId) {
        let max_atoms = MAX_LIST_ATOMS as u64;
        let measurer = ListMeasurer::new(head, max_atoms, MAX_WALK_BYTES);
        self.seen.insert(head);
        self.enqueue(measurer);
    }

    /// Adds a list under its next atom, or its length as known if it is complete.
    fn enqueue(&mut self, mut measurer: ListMeasurer) {
        while let Some(run) = measurer.wanted().and_then(|id| self.run(&id))
            && measurer.skip(run)
        {}
        match measurer.wanted() {
            Some(wanted) => self.active.entry(wanted).or_default().push(measurer),
            None => self.finish(&measurer),
        }
    }

    fn run(&self, first: &AtomId) -> Option<ListStretch> {
        let run = self.known.get(first).or_else(|| self.runs.get(first));
        run.copied()
    }

    fn finish(&mut self, measurer: &ListMeasurer) {
        let stretch = measurer.stretch();
        self.bytes = self.bytes.saturating_add(stretch.bytes);
        self.known.insert(measurer.head(), stretch);
    }

    /// Adds fetched atoms, in the order of their list. Returns whether they belong to a list that
    /// is being measured.
    pub(super) fn take(&mut self, atoms: &[Atom]) -> bool {
        let first = atoms.first().map(Atom::id);
        let Some(first) = first.filter(|first| self.active.contains_key(first)) else {
            return false;
        };
        // Each atom is hashed once, however many lists share it.
        let ids = core::iter::once(first).chain(atoms.iter().skip(1).map(Atom::id));
        let part: Vec<(AtomId, &Atom)> = ids.zip(atoms).collect();
        let mut run = ListMeasurer::new(first, u64::MAX, u64::MAX);
        self.extend(&mut run, &part);
        self.take_part(first, &part);
        if self.runs.len() < MAX_RUNS {
            self.runs.insert(first, run.stretch());
        }
        true
    }

    fn take_part(&mut self, first: AtomId, part: &[(AtomId, &Atom)]) {
        for mut measurer in self.active.remove(&first).unwrap_or_default() {
            self.extend(&mut measurer, part);
            self.enqueue(measurer);
        }
    }

    /// Adds atoms up to one that begins a known part.
    fn extend(&self, measurer: &mut ListMeasurer, part: &[(AtomId, &Atom)]) {
        for (id, atom) in part {
            let is_added = measurer.push(*id, atom);
            if !is_added || measurer.wanted().is_some_and(|id| self.run(&id).is_some()) {
                break;
            }
        }
    }

    /// Reads atoms that the host has. Returns whether there is more to read.
    pub(super) fn advance<S: AtomSource>(&mut self, source: &S) -> bool {
        while self.active.len() < MAX_LISTS_AT_ONCE
            && self.bytes < MAX_AHEAD_BYTES
            && let Some(head) = self.waiting.pop_front()
        {
            self.begin(head);
        }
        let mut reads = READS_PER_CALL;
        let wanted: Vec<AtomId> = self.active.keys().copied().collect();
        for id in wanted {
            let mut id = id;
            while reads > 0
                && let Ok(atom) = source.atom(&id)
            {
                reads -= 1;
                let next = atom.next();
                self.take_part(id, &[(id, &atom)]);
                id = next;
                if !self.active.contains_key(&id) {
                    break;
                }
            }
        }
        let may_begin = self.active.len() < MAX_LISTS_AT_ONCE && self.bytes < MAX_AHEAD_BYTES;
        reads == 0 || may_begin && !self.waiting.is_empty()
    }

    /// Returns the atoms to fetch, each with whether to fetch it alone.
    pub(super) fn wanted(&self) -> impl Iterator<Item = (AtomId, bool)> {
        let is_one_of_many = self.seen.len() > 1;
        self.active.iter().map(move |(id, measurers)| {
            let is_head = measurers.iter().all(|measurer| measurer.head() == *id);
            (*id, is_one_of_many && is_head)
        })
    }

    /// Ends measuring at an atom that cannot be fetched, with the length so far: the block itself
    /// may create the rest.
    pub(super) fn stop_at(&mut self, id: &AtomId) {
        for measurer in self.active.remove(id).unwrap_or_default() {
            if measurer.stretch().atoms > 0 {
                self.finish(&measurer);
            }
        }
    }

    /// Returns whether nothing is being measured.
    pub(super) fn is_idle(&self) -> bool {
        self.active.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atom::{MemoryStore, bytes_list};
    use crate::consensus::sync::working_set::WorkingSet;

    fn list(number: u8, count: usize) -> (AtomId, Vec<Atom>) {
        bytes_list(&alloc::vec![[number; 9]; count])
    }

    #[test]
    fn measures_fetched_parts_without_keeping_atoms() {
        let (head, atoms) = list(1, 5_000);
        let mut measures = ListMeasures::default();
        measures.need(head);
        measures.need(head);
        let mut parts = 0;
        loop {
            let Some((wanted, false)) = measures.wanted().next() else {
                break;
            };
            let at = atoms.iter().position(|atom| atom.id() == wanted).unwrap();
            let part = &atoms[at..(at + 999).min(atoms.len())];
            assert!(measures.take(part));
            assert!(!measures.take(part), "a second time");
            parts += 1;
        }
        assert_eq!(parts, 6);
        let expected = ListStretch {
            atoms: 5_000,
            bytes: 5_000 * 42,
            next: AtomId::ZERO,
        };
        assert_eq!(measures.get(&head), Some(expected));
        assert!(measures.is_idle());
    }

    #[test]
    fn stops_at_overlong_and_broken_lists() {
        let (head, atoms) = bytes_list(&alloc::vec![[7_u8; 60_000]; 1_200]);
        let mut measures = ListMeasures::default();
        measures.need(head);
        for part in atoms.chunks(100) {
            measures.take(part);
        }
        let known = measures.get(&head).unwrap();
        assert!(known.bytes > MAX_WALK_BYTES && known.atoms < 1_200);
        let (head, atoms) = list(2, 10);
        measures.need(head);
        measures.take(&atoms[..4]);
        let (next, _) = measures.wanted().next().unwrap();
        assert_eq!(next, atoms[4].id());
        measures.stop_at(&next);
        assert_eq!(measures.get(&head).map(|known| known.atoms), Some(4));
        // From there on it is measured as a separate list.
        measures.need(next);
        measures.take(&atoms[4..]);
        assert_eq!(measures.get(&next).map(|known| known.atoms), Some(6));
    }

    #[test]
    fn reads_stored_atoms_and_shares_common_tails() {
        let (tail, atoms) = list(3, 50);
        let first = Atom::new(crate::atom::AtomKind::Bytes, *b"first", tail);
        let second = Atom::new(crate::atom::AtomKind::Bytes, *b"second", tail);
        let mut store: MemoryStore = atoms.iter().take(20).cloned().collect();
        store.extend([first.clone(), second.clone()]);
        let held = WorkingSet::default();
        let mut measures = ListMeasures::default();
        for head in [first.id(), second.id(), tail] {
            measures.need(head);
        }
        while measures.advance(&held.over(&store)) {}
        assert_eq!(
            measures.wanted().collect::<Vec<_>>(),
            [(atoms[20].id(), false)]
        );
        measures.take(&atoms[20..]);
        let lengths = [first.id(), second.id(), tail].map(|id| measures.get(&id).unwrap().atoms);
        assert_eq!(lengths, [51, 51, 50]);
    }

    #[test]
    fn atoms_that_lists_share_are_fetched_once() {
        const PART: usize = 64;
        let (tail, atoms) = list(4, 1_000);
        let mut store: MemoryStore = atoms.iter().cloned().collect();
        let ids: Vec<AtomId> = atoms.iter().map(Atom::id).collect();
        // 40 lists share the whole tail, more than are measured at a time, and one shares a part.
        let head = |number: u8, next| Atom::new(crate::atom::AtomKind::Bytes, [number], next);
        let mut heads: Vec<Atom> = (0..40).map(|number| head(number, tail)).collect();
        heads.push(head(40, ids[500]));
        store.extend(heads.iter().cloned());
        let mut measures = ListMeasures::default();
        for one in &heads {
            measures.seen.insert(one.id());
            measures.waiting.push_back(one.id());
        }
        let nothing = MemoryStore::new();
        let held = WorkingSet::default();
        let mut fetched: BTreeMap<AtomId, u32> = BTreeMap::new();
        loop {
            while measures.advance(&held.over(&nothing)) && measures.is_idle() {}
            let wanted: Vec<(AtomId, bool)> = measures.wanted().collect();
            if wanted.is_empty() {
                break;
            }
            // All of them are under way before the first arrives.
            for (id, is_alone) in wanted {
                let most = if is_alone { 1 } else { PART };
                let mut part = Vec::new();
                let mut next = id;
                while part.len() < most
                    && let Ok(atom) = store.atom(&next)
                {
                    *fetched.entry(next).or_default() += 1;
                    next = atom.next();
                    part.push(atom);
                }
                measures.take(&part);
            }
        }
        for one in &heads[..40] {
            assert_eq!(measures.get(&one.id()).map(|it| it.atoms), Some(1_001));
        }
        assert_eq!(measures.get(&heads[40].id()).map(|it| it.atoms), Some(501));
        // The one that begins in a part repeats at most that part.
        let again: Vec<&AtomId> = (fetched.iter().filter(|(_, count)| **count > 1))
            .map(|(id, _)| id)
            .collect();
        assert!(
            again.len() <= PART,
            "{} atoms are fetched again",
            again.len()
        );
        assert!(again.iter().all(|id| ids[500..500 + PART].contains(id)));
        assert!(fetched.values().all(|count| *count <= 2));
        assert_eq!(fetched.len(), 1_041);
    }
}
