//! In-memory atom store, bounded by bytes, with least-recently-used eviction. It is own code because
//! its limit includes the bookkeeping, which libraries for caches do not count.
//!
//! Invariants:
//! - [`HotStore::used_bytes`] is exactly the sum of [`entry_bytes`] over the stored atoms, after
//!   every operation, and never exceeds the limit.
//! - The charge of [`entry_bytes`] covers the bookkeeping: slots are dense (a removal moves the
//!   last slot into the hole), so their memory shrinks with their number, and the index is shrunk
//!   when it is mostly empty.
//! - Lookup, insertion and eviction cost O(1); the order of use is a doubly linked list through the
//!   slots.
//! - The index hashes with a random key: ids are hashes, but a peer can search for ids whose bits
//!   collide. Its entries keep their hash, so that it grows without a look at the slots.

use astreum_core::atom::{Atom, AtomId};
use core::hash::BuildHasher;
use hashbrown::{DefaultHashBuilder, HashTable};

/// Slots in one allocation. Growth never copies existing slots; only the last chunk is not full.
const CHUNK_SLOTS: usize = 1 << CHUNK_BITS;
const CHUNK_BITS: u32 = 9;
/// Bytes that an entry costs besides its slot and its data: the two counters in front of shared
/// data, the allocator's header and rounding, and the entry's share of an index that is at worst a
/// third full.
const ENTRY_EXTRA_BYTES: usize = 16 + 16 + 32;
/// Number of entries below which the index is not shrunk.
const INDEX_MIN_ENTRIES: usize = 1 << 10;
/// End marker of the list of slots.
const NONE: u32 = u32::MAX;

/// Returns the bytes that storing this atom costs, including bookkeeping.
#[must_use]
pub fn entry_bytes(atom: &Atom) -> usize {
    size_of::<Slot>() + ENTRY_EXTRA_BYTES + atom.data().len()
}

/// Counters and content of a [`HotStore`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HotStats {
    /// Number of stored atoms.
    pub atoms: u64,
    /// Bytes in use, including bookkeeping.
    pub used_bytes: u64,
    /// Maximum bytes.
    pub limit_bytes: u64,
    /// Number of lookups that found their atom.
    pub hits: u64,
    /// Number of lookups that did not find their atom.
    pub misses: u64,
    /// Number of atoms that were added.
    pub inserted: u64,
    /// Number of atoms evicted to make room for others.
    pub evicted: u64,
    /// Number of atoms rejected because they alone exceed the limit.
    pub refused: u64,
}

impl HotStats {
    pub(super) fn merge(mut self, other: &Self) -> Self {
        self.atoms += other.atoms;
        self.used_bytes += other.used_bytes;
        self.limit_bytes += other.limit_bytes;
        self.hits += other.hits;
        self.misses += other.misses;
        self.inserted += other.inserted;
        self.evicted += other.evicted;
        self.refused += other.refused;
        self
    }
}

/// Error for an atom that alone exceeds the limit of the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooLarge {
    /// Bytes that the atom costs.
    pub entry_bytes: usize,
    /// Maximum bytes of the store.
    pub limit_bytes: usize,
}

#[derive(Debug)]
struct Slot {
    id: AtomId,
    atom: Atom,
    older: u32,
    newer: u32,
}

/// Entry of the index: the hash of an id, and the number of its slot.
#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: u32,
    at: u32,
}

impl Entry {
    /// Returns the hash that the table uses: it takes the position from the lowest bits, and a mark
    /// from the highest ones.
    const fn spread(self) -> u64 {
        spread(self.hash)
    }
}

const fn spread(hash: u32) -> u64 {
    (hash as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Byte-bounded store with least-recently-used eviction; see the module.
#[derive(Debug)]
pub struct HotStore {
    index: HashTable<Entry>,
    hasher: DefaultHashBuilder,
    chunks: Vec<Vec<Slot>>,
    len: usize,
    newest: u32,
    oldest: u32,
    used_bytes: usize,
    limit_bytes: usize,
    stats: HotStats,
}

impl HotStore {
    /// Creates an empty store that uses at most `limit_bytes`.
    #[must_use]
    pub fn new(limit_bytes: usize) -> Self {
        Self {
            index: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            chunks: Vec::new(),
            len: 0,
            newest: NONE,
            oldest: NONE,
            used_bytes: 0,
            limit_bytes,
            stats: HotStats::default(),
        }
    }

    /// Returns the atom with this id and makes it the most recently used.
    pub fn get(&mut self, id: &AtomId) -> Option<Atom> {
        let Some(at) = self.find(id) else {
            self.stats.misses += 1;
            return None;
        };
        self.stats.hits += 1;
        self.touch(at);
        Some(self.slot(at).atom.clone())
    }

    /// Returns the atom with this id; neither counts as a lookup nor changes the order of use.
    #[must_use]
    pub fn peek(&self, id: &AtomId) -> Option<Atom> {
        let at = self.find(id)?;
        Some(self.slot(at).atom.clone())
    }

    /// Returns whether the atom is stored; neither counts as a lookup nor changes the order of use.
    #[must_use]
    pub fn contains(&self, id: &AtomId) -> bool {
        self.find(id).is_some()
    }

    /// Stores `atom` under `id`, which must be its own id, as the most recently used, and evicts
    /// the least recently used atoms to make room.
    ///
    /// Returns `true` if the atom was not stored before.
    ///
    /// # Errors
    /// Fails if the atom alone exceeds the limit. Nothing is evicted then.
    pub fn put(&mut self, id: AtomId, atom: Atom) -> Result<bool, TooLarge> {
        if let Some(at) = self.find(&id) {
            self.touch(at);
            return Ok(false);
        }
        let cost = entry_bytes(&atom);
        if cost > self.limit_bytes {
            self.stats.refused += 1;
            let limit_bytes = self.limit_bytes;
            return Err(TooLarge {
                entry_bytes: cost,
                limit_bytes,
            });
        }
        while self.used_bytes + cost > self.limit_bytes || self.len >= NONE as usize {
            self.remove_at(self.oldest);
            self.stats.evicted += 1;
        }
        self.stats.inserted += 1;
        self.push(id, atom);
        self.used_bytes += cost;
        Ok(true)
    }

    /// Sets the limit, and evicts the least recently used atoms that exceed it.
    pub fn set_limit(&mut self, limit_bytes: usize) {
        self.limit_bytes = limit_bytes;
        while self.used_bytes > self.limit_bytes {
            self.remove_at(self.oldest);
            self.stats.evicted += 1;
        }
    }

    /// Removes and returns an atom.
    pub fn remove(&mut self, id: &AtomId) -> Option<Atom> {
        let at = self.find(id)?;
        Some(self.remove_at(at))
    }

    /// Returns the number of stored atoms.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Returns whether the store is empty.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the bytes in use, including bookkeeping.
    #[must_use]
    pub const fn used_bytes(&self) -> usize {
        self.used_bytes
    }

    /// Returns the counters and the current content.
    #[must_use]
    pub fn stats(&self) -> HotStats {
        HotStats {
            atoms: self.len as u64,
            used_bytes: self.used_bytes as u64,
            limit_bytes: self.limit_bytes as u64,
            ..self.stats
        }
    }

    /// Returns the ids from the most to the least recently used.
    pub fn ids(&self) -> impl Iterator<Item = AtomId> {
        let first = (self.newest != NONE).then_some(self.newest);
        core::iter::successors(first, |&at| {
            let older = self.slot(at).older;
            (older != NONE).then_some(older)
        })
        .map(|at| self.slot(at).id)
    }

    fn find(&self, id: &AtomId) -> Option<u32> {
        let hash = self.hash(id);
        let is_it = |entry: &Entry| entry.hash == hash && self.slot(entry.at).id == *id;
        self.index.find(spread(hash), is_it).map(|entry| entry.at)
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "half of the bits tell the entries of an index apart"
    )]
    fn hash(&self, id: &AtomId) -> u32 {
        self.hasher.hash_one(id) as u32
    }

    /// Makes the slot the most recently used one.
    fn touch(&mut self, at: u32) {
        if self.newest != at {
            self.unlink(at);
            self.link_newest(at);
        }
    }

    fn push(&mut self, id: AtomId, atom: Atom) {
        // `put` keeps the number of slots below `NONE`.
        let at = u32::try_from(self.len).unwrap_or(NONE);
        if self.len.is_multiple_of(CHUNK_SLOTS) {
            self.chunks.push(Vec::with_capacity(CHUNK_SLOTS));
        }
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.push(Slot {
                id,
                atom,
                older: NONE,
                newer: NONE,
            });
        }
        self.len += 1;
        self.link_newest(at);
        let hash = self.hash(&id);
        let entry = Entry { hash, at };
        self.index
            .insert_unique(entry.spread(), entry, |other| other.spread());
    }

    fn remove_at(&mut self, at: u32) -> Atom {
        self.unlink(at);
        self.forget_index(at);
        // The last slot fills the hole, so that the slots stay dense.
        let last = u32::try_from(self.len - 1).unwrap_or(NONE);
        if at != last {
            self.move_last_to(at, last);
        }
        self.len -= 1;
        let popped = self.chunks.last_mut().and_then(Vec::pop);
        if self.chunks.last().is_some_and(Vec::is_empty) {
            self.chunks.pop();
        }
        self.shrink_index();
        // A slot existed at `at`, so there was a last one.
        let atom = popped.map_or_else(Atom::empty_list, |slot| slot.atom);
        self.used_bytes -= entry_bytes(&atom);
        atom
    }

    /// Moves the last slot to the unlinked one at `at`, and updates the links and the index entry
    /// that pointed to it.
    fn move_last_to(&mut self, at: u32, last: u32) {
        let hash = spread(self.hash(&self.slot(last).id));
        if let Some(entry) = self.index.find_mut(hash, |entry| entry.at == last) {
            entry.at = at;
        }
        let (older, newer) = (self.slot(last).older, self.slot(last).newer);
        self.set_newer(older, at);
        self.set_older(newer, at);
        let (hole_chunk, hole_slot) = place(at);
        let Some(mut moved) = self.chunks.last_mut().and_then(Vec::pop) else {
            return;
        };
        if let Some(hole) = self
            .chunks
            .get_mut(hole_chunk)
            .and_then(|chunk| chunk.get_mut(hole_slot))
        {
            core::mem::swap(hole, &mut moved);
        }
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.push(moved);
        }
    }

    fn forget_index(&mut self, at: u32) {
        let hash = spread(self.hash(&self.slot(at).id));
        if let Ok(entry) = self.index.find_entry(hash, |entry| entry.at == at) {
            entry.remove();
        }
    }

    fn shrink_index(&mut self) {
        let len = self.index.len();
        if self.index.capacity() > INDEX_MIN_ENTRIES.max(len.saturating_mul(3)) {
            self.index
                .shrink_to(len.saturating_add(len / 2), |entry| entry.spread());
        }
    }

    fn unlink(&mut self, at: u32) {
        let (older, newer) = (self.slot(at).older, self.slot(at).newer);
        self.set_newer(older, newer);
        self.set_older(newer, older);
    }

    fn link_newest(&mut self, at: u32) {
        let previous = self.newest;
        let slot = self.slot_mut(at);
        slot.older = previous;
        slot.newer = NONE;
        self.set_newer(previous, at);
        self.newest = at;
    }

    /// Sets the newer neighbor of `at`; for `NONE`, sets the oldest end of the list.
    fn set_newer(&mut self, at: u32, newer: u32) {
        if at == NONE {
            self.oldest = newer;
        } else {
            self.slot_mut(at).newer = newer;
        }
    }

    fn set_older(&mut self, at: u32, older: u32) {
        if at == NONE {
            self.newest = older;
        } else {
            self.slot_mut(at).older = older;
        }
    }

    fn slot(&self, at: u32) -> &Slot {
        slot_in(&self.chunks, at)
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "the index, the list and its ends name only slots that exist"
    )]
    fn slot_mut(&mut self, at: u32) -> &mut Slot {
        let (chunk, slot) = place(at);
        &mut self.chunks[chunk][slot]
    }
}

const fn place(at: u32) -> (usize, usize) {
    ((at >> CHUNK_BITS) as usize, at as usize & (CHUNK_SLOTS - 1))
}

#[expect(
    clippy::indexing_slicing,
    reason = "the index, the list and its ends name only slots that exist"
)]
fn slot_in(chunks: &[Vec<Slot>], at: u32) -> &Slot {
    let (chunk, slot) = place(at);
    &chunks[chunk][slot]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    fn atom(number: u16, len: usize) -> Atom {
        let mut data = vec![0; len.max(2)];
        data[..2].copy_from_slice(&number.to_be_bytes());
        Atom::bytes(data)
    }

    /// Naive model of the store, newest entry first.
    struct Model {
        entries: VecDeque<(AtomId, Atom)>,
        limit_bytes: usize,
    }

    impl Model {
        fn used_bytes(&self) -> usize {
            self.entries.iter().map(|(_, atom)| entry_bytes(atom)).sum()
        }

        fn remove(&mut self, id: &AtomId) -> Option<Atom> {
            let at = self.entries.iter().position(|(other, _)| other == id)?;
            self.entries.remove(at).map(|(_, atom)| atom)
        }

        fn get(&mut self, id: &AtomId) -> Option<Atom> {
            let atom = self.remove(id)?;
            self.entries.push_front((*id, atom.clone()));
            Some(atom)
        }

        fn put(&mut self, id: AtomId, atom: Atom) -> Option<bool> {
            if self.get(&id).is_some() {
                return Some(false);
            }
            if entry_bytes(&atom) > self.limit_bytes {
                return None;
            }
            self.entries.push_front((id, atom));
            while self.used_bytes() > self.limit_bytes {
                self.entries.pop_back();
            }
            Some(true)
        }
    }

    #[derive(Clone, Debug)]
    enum Op {
        Get(u16),
        Put(u16, usize),
        Remove(u16),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            (0..40u16).prop_map(Op::Get),
            (0..40u16, 0..600usize).prop_map(|(number, len)| Op::Put(number, len)),
            (0..40u16).prop_map(Op::Remove),
        ]
    }

    /// Returns the atom of a number. Each number has one length, so that it has one id.
    fn numbered(number: u16, lens: &[usize; 40]) -> Atom {
        atom(number, lens[usize::from(number)])
    }

    proptest! {
        #[test]
        fn matches_the_model(
            ops in proptest::collection::vec(op(), 0..400), limit_bytes in 0..6_000usize,
        ) {
            let mut store = HotStore::new(limit_bytes);
            let mut model = Model { entries: VecDeque::new(), limit_bytes };
            let mut lens = [2; 40];
            for op in ops {
                match op {
                    Op::Get(number) => {
                        let id = numbered(number, &lens).id();
                        prop_assert_eq!(store.get(&id), model.get(&id));
                    }
                    Op::Put(number, len) => {
                        lens[usize::from(number)] = len;
                        let atom = numbered(number, &lens);
                        let id = atom.id();
                        prop_assert_eq!(store.put(id, atom.clone()).ok(), model.put(id, atom));
                    }
                    Op::Remove(number) => {
                        let id = numbered(number, &lens).id();
                        prop_assert_eq!(store.remove(&id), model.remove(&id));
                    }
                }
                prop_assert_eq!(store.used_bytes(), model.used_bytes());
                prop_assert!(store.used_bytes() <= limit_bytes);
                let expected: Vec<AtomId> = model.entries.iter().map(|(id, _)| *id).collect();
                prop_assert_eq!(store.ids().collect::<Vec<_>>(), expected);
                prop_assert_eq!(store.len(), model.entries.len());
            }
        }
    }

    #[test]
    fn evicts_the_least_recently_used_first() {
        let cost = entry_bytes(&atom(0, 2));
        let mut store = HotStore::new(3 * cost);
        let atoms: Vec<Atom> = (0..4).map(|number| atom(number, 2)).collect();
        for atom in &atoms[..3] {
            assert_eq!(store.put(atom.id(), atom.clone()), Ok(true));
        }
        assert_eq!(store.get(&atoms[0].id()), Some(atoms[0].clone()));
        assert_eq!(store.put(atoms[3].id(), atoms[3].clone()), Ok(true));
        assert!(!store.contains(&atoms[1].id()));
        assert!(store.contains(&atoms[0].id()) && store.contains(&atoms[2].id()));
        let stats = store.stats();
        assert_eq!((stats.hits, stats.inserted, stats.evicted), (1, 4, 1));
    }

    #[test]
    fn atom_larger_than_the_store_is_refused_and_evicts_nothing() {
        let small = atom(1, 2);
        let mut store = HotStore::new(entry_bytes(&small) + 10);
        assert_eq!(store.put(small.id(), small.clone()), Ok(true));
        let large = atom(2, 13);
        let refused = TooLarge {
            entry_bytes: entry_bytes(&large),
            limit_bytes: entry_bytes(&small) + 10,
        };
        assert_eq!(store.put(large.id(), large), Err(refused));
        assert!(store.contains(&small.id()));
        assert_eq!(store.stats().refused, 1);
    }

    /// The charge must cover the real cost of the bookkeeping, also after the store held many more
    /// entries than it does now.
    #[test]
    fn charged_bytes_cover_slots_and_index() {
        let mut store = HotStore::new(usize::MAX);
        let bookkeeping = |store: &HotStore| {
            let slots: usize = store.chunks.iter().map(Vec::capacity).sum();
            slots * size_of::<Slot>() + store.index.allocation_size()
        };
        let charged = |store: &HotStore| store.len() * (size_of::<Slot>() + 32);
        let slack = CHUNK_SLOTS * size_of::<Slot>() + INDEX_MIN_ENTRIES * 32;
        let atoms: Vec<Atom> = (0..20_000).map(|number| atom(number, 2)).collect();
        for atom in &atoms {
            store.put(atom.id(), atom.clone()).unwrap();
            assert!(bookkeeping(&store) <= charged(&store) + slack);
        }
        for atom in &atoms {
            assert_eq!(store.remove(&atom.id()).as_ref(), Some(atom));
            assert!(bookkeeping(&store) <= charged(&store) + slack);
        }
        assert_eq!(store.used_bytes(), 0);
        assert!(store.is_empty() && store.ids().next().is_none());
    }
}
