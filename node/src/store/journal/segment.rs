//! Segment: journals that share one in-memory index with the location of each of their atoms.
//!
//! The index is a list of records and a hash table into it. The table takes eight bytes per record,
//! 28 bits of them from a keyed hash of the id. Most of it stays in the processor's cache, it grows
//! without reading the records, and most lookups of absent ids end in it.

use super::{Record, Scanned, leftover_name};
use crate::store::disk::{DiskFile, FileId};
use crate::store::sorted_pair::ReadError;
use astreum_core::atom::{Atom, AtomId, HEADER_BYTES};
use core::hash::BuildHasher as _;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use hashbrown::hash_table::{Entry, HashTable};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::thread;

/// Records added under one lock, so that readers do not wait long.
const RECORDS_PER_LOCK: usize = 256;
/// Size of a journal from which on it is indexed by a thread of its own.
const PARALLEL_BYTES: u64 = 4 << 20;
/// Number of records that are passed to it at once, and number of such chunks that may wait.
const CHUNK_RECORDS: usize = 4_096;
const WAITING_CHUNKS: usize = 4;
/// Minimum size of a record in bytes.
const MIN_RECORD_BYTES: u64 = (super::RECORD_HEAD_BYTES + HEADER_BYTES) as u64;
/// Bits of a slot that hold the number of the record; more records than memory has room for.
pub(in crate::store) const AT_BITS: u32 = 36;

/// Location of an atom of a segment.
#[derive(Clone, Copy, Debug)]
struct Location {
    /// Index of the journal, or [`LEFTOVER`] for an atom in its own file in `level_0`.
    file: u32,
    len: u32,
    offset: u64,
}

const LEFTOVER: u32 = u32::MAX;

/// Index of a segment; see the module.
struct Index {
    records: Vec<(AtomId, Location)>,
    /// Tag and number of each record.
    slots: HashTable<u64>,
    /// Random keys, so that a peer cannot choose ids with equal tags.
    keys: [u64; 2],
}

impl Index {
    fn new() -> Self {
        let hasher = hashbrown::DefaultHashBuilder::default();
        Self {
            records: Vec::new(),
            slots: HashTable::new(),
            keys: [hasher.hash_one(0), hasher.hash_one(1) | 1],
        }
    }

    /// Returns the tag of an id: the bits of a slot above the record's number.
    fn tag(&self, id: &AtomId) -> u64 {
        let [key, factor] = self.keys;
        let leading = id.as_bytes().first_chunk().copied().unwrap_or_default();
        let product = u128::from(u64::from_le_bytes(leading) ^ key) * u128::from(factor);
        #[expect(clippy::cast_possible_truncation, reason = "both halves are wanted")]
        let folded = (product >> u64::BITS) as u64 ^ product as u64;
        folded >> AT_BITS
    }

    /// Returns the hash of a tag. The table uses both ends of the hash, and has only the tag when
    /// it grows.
    const fn hash(tag: u64) -> u64 {
        tag.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    /// Makes room for so many records in all, so that the index does not grow in steps.
    fn reserve(&mut self, records: usize) {
        let more = records.saturating_sub(self.records.len());
        self.records.reserve_exact(more);
        self.slots
            .reserve(more, |&slot| Self::hash(slot >> AT_BITS));
    }

    fn record(&self, slot: u64) -> Option<&(AtomId, Location)> {
        self.records.get(number(slot))
    }

    /// Returns whether the id may be in the index. False positives are rare; `false` is certain.
    fn may_have(&self, id: &AtomId) -> bool {
        let tag = self.tag(id);
        let found = self
            .slots
            .find(Self::hash(tag), |slot| slot >> AT_BITS == tag);
        found.is_some()
    }

    fn get(&self, id: &AtomId) -> Option<Location> {
        let tag = self.tag(id);
        let is_it = |&slot: &u64| {
            slot >> AT_BITS == tag && self.record(slot).is_some_and(|(found, _)| found == id)
        };
        let slot = self.slots.find(Self::hash(tag), is_it)?;
        self.record(*slot).map(|&(_, location)| location)
    }

    /// Inserts or replaces the location of an id. Returns `true` if the id is new.
    fn insert(&mut self, id: AtomId, location: Location) -> bool {
        let tag = self.tag(&id);
        let Self { records, slots, .. } = self;
        let is_it = |&slot: &u64| {
            let found = || records.get(number(slot));
            slot >> AT_BITS == tag && found().is_some_and(|(found, _)| *found == id)
        };
        let rehash = |&slot: &u64| Self::hash(slot >> AT_BITS);
        match slots.entry(Self::hash(tag), is_it, rehash) {
            Entry::Occupied(slot) => {
                if let Some((_, old)) = records.get_mut(number(*slot.get())) {
                    *old = location;
                }
                false
            }
            Entry::Vacant(slot) => {
                slot.insert(tag << AT_BITS | records.len() as u64);
                records.push((id, location));
                true
            }
        }
    }

    fn memory_bytes(&self) -> usize {
        self.records.capacity() * size_of::<(AtomId, Location)>()
            + self.slots.capacity() * (size_of::<u64>() + 1)
    }
}

/// Index of the journals that a recovery finds, older ones first.
///
/// A long journal is read and indexed on two threads: reading it with its checksums takes about as
/// long as filling the hash table.
pub(in crate::store) struct Recovery {
    index: Index,
    atoms: u64,
    stored_bytes: u64,
}

impl Recovery {
    /// Creates the index of the files of `level_0` that a reference node left, each with its length
    /// in bytes. Records of journals take their place.
    pub(in crate::store) fn new(leftovers: &[(AtomId, u32)]) -> Self {
        let mut recovery = Self {
            index: Index::new(),
            atoms: 0,
            stored_bytes: 0,
        };
        for &(id, len) in leftovers {
            let location = Location {
                file: LEFTOVER,
                len,
                offset: 0,
            };
            recovery.insert(id, location);
        }
        recovery
    }

    fn insert(&mut self, id: AtomId, location: Location) {
        if self.index.insert(id, location) {
            self.atoms += 1;
            self.stored_bytes += u64::from(location.len);
        }
    }

    fn add(&mut self, journal: u32, records: &[Record]) {
        for record in records {
            let location = Location {
                file: journal,
                len: record.len,
                offset: record.offset,
            };
            self.insert(record.id, location);
        }
    }

    /// Adds the records of a journal with so many bytes, which `scan` passes on.
    pub(in crate::store) fn scan(
        &mut self,
        journal: u32,
        bytes: u64,
        scan: impl FnOnce(&mut dyn FnMut(Record)) -> io::Result<Scanned>,
    ) -> io::Result<Scanned> {
        if bytes < PARALLEL_BYTES {
            return scan(&mut |record| self.add(journal, &[record]));
        }
        thread::scope(|scope| {
            let (sender, chunks) = sync_channel::<Vec<Record>>(WAITING_CHUNKS);
            let inserter = thread::Builder::new()
                .name("journal-index".to_owned())
                .spawn_scoped(scope, || self.add_chunks(journal, bytes, chunks))?;
            let mut chunk = Vec::with_capacity(CHUNK_RECORDS);
            let scanned = scan(&mut |record| {
                chunk.push(record);
                if chunk.len() == CHUNK_RECORDS {
                    let empty = Vec::with_capacity(CHUNK_RECORDS);
                    // Fails only if the thread has panicked.
                    let _ = sender.send(core::mem::replace(&mut chunk, empty));
                }
            });
            let _ = sender.send(chunk);
            drop(sender);
            let panicked = |_| io::Error::other("the thread that indexes a journal has panicked");
            inserter.join().map_err(panicked)?;
            scanned
        })
    }

    fn add_chunks(&mut self, journal: u32, bytes: u64, chunks: Receiver<Vec<Record>>) {
        for (number, chunk) in chunks.into_iter().enumerate() {
            if number == 0
                && let Some(last) = chunk.last()
            {
                // As many as there are if the others are as long.
                let seen = (last.offset + u64::from(last.len)).max(1);
                let expected = (chunk.len() as u64).saturating_mul(bytes) / seen;
                let expected = usize::try_from(expected).unwrap_or(usize::MAX);
                let most = bytes / MIN_RECORD_BYTES;
                let most = usize::try_from(most).unwrap_or(usize::MAX);
                let known = self.index.records.len();
                self.index.reserve(known.saturating_add(expected.min(most)));
            }
            self.add(journal, &chunk);
        }
    }
}

/// Returns the record's number in a slot.
fn number(slot: u64) -> usize {
    usize::try_from(slot & ((1 << AT_BITS) - 1)).unwrap_or(usize::MAX)
}

/// Journal of a segment.
pub(in crate::store) struct Journal {
    pub(in crate::store) path: PathBuf,
    pub(in crate::store) file: Arc<dyn DiskFile>,
    pub(in crate::store) id: FileId,
    is_damaged: AtomicBool,
    /// True if an earlier process wrote it and it is not known to be durable.
    is_unsynced: AtomicBool,
    /// True if the file has lost its name.
    is_displaced: AtomicBool,
    /// Atoms of damaged records, as found by the scan.
    lost: Vec<AtomId>,
    unknown: u64,
}

impl Journal {
    /// Creates an undamaged journal.
    pub(in crate::store) fn new(path: PathBuf, file: Arc<dyn DiskFile>) -> io::Result<Self> {
        Ok(Self {
            id: file.identity()?,
            path,
            file,
            is_damaged: AtomicBool::new(false),
            is_unsynced: AtomicBool::new(false),
            is_displaced: AtomicBool::new(false),
            lost: Vec::new(),
            unknown: 0,
        })
    }

    /// Sets the result of scanning a journal of an earlier process.
    pub(in crate::store) fn recovered(self, scanned: &Scanned) -> Self {
        Self {
            is_damaged: AtomicBool::new(!scanned.damages.is_empty()),
            is_unsynced: AtomicBool::new(true),
            lost: scanned.lost.clone(),
            unknown: scanned.unknown,
            ..self
        }
    }

    /// Returns whether a part of the journal was found damaged.
    pub(in crate::store) fn is_damaged(&self) -> bool {
        self.is_damaged.load(Ordering::Relaxed)
    }

    /// Marks that the file has lost its name, so that its content is lost with the process. Returns
    /// `false` if it was marked before.
    pub(in crate::store) fn set_displaced(&self) -> bool {
        !self.is_displaced.swap(true, Ordering::Relaxed)
    }

    /// Returns the ids of atoms in damaged records, and the number of damaged parts without a known
    /// id.
    pub(in crate::store) fn lost(&self) -> (&[AtomId], u64) {
        (&self.lost, self.unknown)
    }
}

/// Journals with one index: either the one being written, or all that a recovery found.
pub(in crate::store) struct Segment {
    journals: Vec<Journal>,
    level_0: PathBuf,
    index: RwLock<Index>,
    atoms: AtomicU64,
    stored_bytes: AtomicU64,
    file_bytes: AtomicU64,
}

impl Segment {
    /// Creates a segment of these journals with an empty index.
    pub(in crate::store) fn new(journals: Vec<Journal>, level_0: PathBuf) -> Self {
        Self {
            journals,
            level_0,
            index: RwLock::new(Index::new()),
            atoms: AtomicU64::new(0),
            stored_bytes: AtomicU64::new(0),
            file_bytes: AtomicU64::new(0),
        }
    }

    /// Creates a segment of the journals that a recovery has scanned.
    pub(in crate::store) fn recovered(
        journals: Vec<Journal>,
        level_0: PathBuf,
        found: Recovery,
    ) -> Self {
        Self {
            index: RwLock::new(found.index),
            atoms: AtomicU64::new(found.atoms),
            stored_bytes: AtomicU64::new(found.stored_bytes),
            ..Self::new(journals, level_0)
        }
    }

    /// Adds records of the journal with this index; their offsets count from `base`.
    pub(in crate::store) fn add(&self, journal: u32, base: u64, records: &[Record]) {
        for records in records.chunks(RECORDS_PER_LOCK) {
            let locations = records.iter().map(|record| {
                let location = Location {
                    file: journal,
                    len: record.len,
                    offset: base + record.offset,
                };
                (record.id, location)
            });
            self.extend(locations);
        }
    }

    fn extend(&self, locations: impl Iterator<Item = (AtomId, Location)>) {
        let (mut atoms, mut bytes) = (0, 0);
        {
            let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
            for (id, location) in locations {
                if index.insert(id, location) {
                    atoms += 1;
                    bytes += u64::from(location.len);
                }
            }
        }
        self.atoms.fetch_add(atoms, Ordering::Relaxed);
        self.stored_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts bytes that were written to the journals.
    pub(in crate::store) fn add_file_bytes(&self, bytes: u64) {
        self.file_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Returns the number of atoms.
    pub(in crate::store) fn atoms(&self) -> u64 {
        self.atoms.load(Ordering::Relaxed)
    }

    /// Returns the number of stored bytes of the atoms.
    pub(in crate::store) fn stored_bytes(&self) -> u64 {
        self.stored_bytes.load(Ordering::Relaxed)
    }

    /// Returns the size of the files in bytes, leftovers included.
    pub(in crate::store) fn file_bytes(&self) -> u64 {
        self.file_bytes.load(Ordering::Relaxed)
    }

    /// Returns the approximate memory of the index, in bytes.
    pub(in crate::store) fn memory_bytes(&self) -> u64 {
        self.index().memory_bytes() as u64
    }

    pub(in crate::store) fn journals(&self) -> &[Journal] {
        &self.journals
    }

    /// Returns the journals that were found damaged.
    pub(in crate::store) fn damaged_journals(&self) -> impl Iterator<Item = &Journal> {
        self.journals.iter().filter(|journal| journal.is_damaged())
    }

    /// Returns whether the file of any of its journals has lost its name.
    pub(in crate::store) fn is_displaced(&self) -> bool {
        let is_displaced = |journal: &Journal| journal.is_displaced.load(Ordering::Relaxed);
        self.journals.iter().any(is_displaced)
    }

    /// Returns the ids of all atoms, ascending.
    pub(in crate::store) fn ids(&self) -> Vec<AtomId> {
        let mut ids: Vec<_> = self.index().records.iter().map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids
    }

    /// Returns the ids of all atoms with the numbers of their records, of [`AT_BITS`] bits, in no
    /// order.
    pub(in crate::store) fn numbered_ids(&self) -> Vec<(AtomId, u64)> {
        let index = self.index();
        let records = (0..).zip(&index.records);
        records.map(|(number, (id, _))| (*id, number)).collect()
    }

    /// Returns the ids of all atoms with their stored bytes, in no order.
    pub(in crate::store) fn lens(&self) -> Vec<(AtomId, u32)> {
        let index = self.index();
        let records = index.records.iter();
        records.map(|(id, location)| (*id, location.len)).collect()
    }

    /// Returns the ids of the atoms that are files of `level_0`, ascending.
    pub(in crate::store) fn leftovers(&self) -> Vec<AtomId> {
        let index = self.index();
        let leftovers = index.records.iter();
        let leftovers = leftovers.filter(|(_, location)| location.file == LEFTOVER);
        let mut ids: Vec<_> = leftovers.map(|(id, _)| *id).collect();
        drop(index);
        ids.sort_unstable();
        ids
    }

    /// Returns whether the atom is in the index; its bytes are not read.
    pub(in crate::store) fn contains(&self, id: &AtomId) -> bool {
        self.index().get(id).is_some()
    }

    /// Marks the journal at this path as durable.
    pub(in crate::store) fn set_synced(&self, path: &Path) {
        for journal in self.journals.iter().filter(|journal| journal.path == path) {
            journal.is_unsynced.store(false, Ordering::Relaxed);
        }
    }

    /// Returns whether the atom is in a journal that this implementation has synced, or syncs with
    /// every write. A file that a reference node left was never synced.
    pub(in crate::store) fn is_durable(&self, id: &AtomId) -> bool {
        let location = self.index().get(id);
        let journal = location.and_then(|location| self.journals.get(location.file as usize));
        journal.is_some_and(|journal| !journal.is_unsynced.load(Ordering::Relaxed))
    }

    /// Calls `each` with the position of every id that may be in the index; the others are
    /// certainly not.
    pub(in crate::store) fn may_have<'a>(
        &self,
        ids: impl Iterator<Item = &'a AtomId>,
        mut each: impl FnMut(usize),
    ) {
        let index = self.index();
        for (at, id) in ids.enumerate() {
            if index.may_have(id) {
                each(at);
            }
        }
    }

    fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the atom if it is in the segment, verified.
    ///
    /// # Errors
    /// Fails if the atom is in the index and its bytes are damaged or cannot be read.
    pub(in crate::store) fn find(
        &self,
        id: &AtomId,
        open: impl FnOnce(&Path) -> io::Result<Arc<dyn DiskFile>>,
    ) -> Result<Option<Atom>, ReadError> {
        let location = self.index().get(id);
        let atom = location.map(|location| self.read(id, location, open));
        atom.transpose()
    }

    /// Returns the atom of a record without looking up its id, verified.
    ///
    /// # Errors
    /// Same as [`Self::find`].
    pub(in crate::store) fn read_record(
        &self,
        number: u64,
        open: impl FnOnce(&Path) -> io::Result<Arc<dyn DiskFile>>,
    ) -> Result<Option<Atom>, ReadError> {
        let record = self.index().record(number).copied();
        let atom = record.map(|(id, location)| self.read(&id, location, open));
        atom.transpose()
    }

    fn read(
        &self,
        id: &AtomId,
        location: Location,
        open: impl FnOnce(&Path) -> io::Result<Arc<dyn DiskFile>>,
    ) -> Result<Atom, ReadError> {
        let mut stored = vec![0; location.len as usize];
        let journal = self.journals.get(location.file as usize);
        let path = || match journal {
            Some(journal) => journal.path.clone(),
            None => self.level_0.join(leftover_name(id)),
        };
        let read = match journal {
            Some(journal) => journal.file.read_exact_at(&mut stored, location.offset),
            None => open(&path()).and_then(|file| file.read_exact_at(&mut stored, 0)),
        };
        let damaged = |problem| {
            if let Some(journal) = journal {
                journal.is_damaged.store(true, Ordering::Relaxed);
            }
            ReadError::damaged(&path(), location.offset, problem)
        };
        match read {
            Ok(()) => {}
            Err(error)
                if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::NotFound) =>
            {
                return Err(damaged("the file was truncated or removed"));
            }
            Err(error) => return Err(ReadError::failed(&path(), error)),
        }
        let atom = Atom::from_bytes(&stored).map_err(|_| damaged("not an atom"))?;
        if atom.id() != *id {
            return Err(damaged("atom id does not match its record"));
        }
        Ok(atom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn id(number: u32) -> AtomId {
        Atom::bytes(number.to_be_bytes()).id()
    }

    #[test]
    fn index_returns_the_last_record_of_an_id() {
        let scratch = tempfile::tempdir().unwrap();
        let segment = Segment::new(Vec::new(), scratch.path().to_owned());
        let mut model = BTreeMap::new();
        // Every third id occurs again later, at another location.
        let numbers = (0..20_000).flat_map(|n| [Some(n), (n % 3 == 0).then_some(n / 2)]);
        for (len, number) in (1..).zip(numbers.flatten()) {
            let record = Record {
                id: id(number),
                offset: u64::from(len) * 7,
                len,
            };
            segment.add(0, 8, &[record]);
            model.insert(record.id, record);
        }
        assert_eq!(segment.atoms(), model.len() as u64);
        assert!(segment.ids().iter().eq(model.keys()));
        let mut numbered = segment.numbered_ids();
        numbered.sort_unstable();
        assert!(numbered.iter().map(|(id, _)| id).eq(model.keys()));
        for (id, record) in &model {
            let location = segment.index().get(id).unwrap();
            assert_eq!(
                (location.len, location.offset),
                (record.len, record.offset + 8)
            );
            assert!(segment.contains(id));
        }
        let mut may_have = 0;
        segment.may_have(model.keys(), |_| may_have += 1);
        assert_eq!(may_have, model.len());
        let absent: Vec<_> = (20_000..40_000).map(id).collect();
        assert!(!absent.iter().any(|id| segment.contains(id)));
        let mut mistaken = 0;
        segment.may_have(absent.iter(), |_| mistaken += 1);
        // One or two are expected for tags of 28 bits.
        assert!(mistaken <= 20, "{mistaken}");
        // A record, its slot, and spare capacity.
        assert!(segment.memory_bytes() <= 3 * 57 * segment.atoms());
    }

    #[test]
    fn ids_with_equal_slots_are_distinguished() {
        let scratch = tempfile::tempdir().unwrap();
        let segment = Segment::new(Vec::new(), scratch.path().to_owned());
        let alike = |number: u8| {
            let mut bytes = [7; 32];
            bytes[31] = number;
            AtomId::new(bytes)
        };
        for number in 0..100 {
            let id = alike(number);
            let (offset, len) = (u64::from(number), 1);
            segment.add(0, 0, &[Record { id, offset, len }]);
        }
        for number in 0..100 {
            let location = segment.index().get(&alike(number)).unwrap();
            assert_eq!(location.offset, u64::from(number));
        }
        assert!(!segment.contains(&alike(100)));
    }

    #[test]
    fn long_journal_is_indexed_like_a_short_one() {
        let id = |n: u32| Atom::bytes(n.to_be_bytes()).id();
        let scan = |each: &mut dyn FnMut(Record)| {
            for n in 0..10_000_u32 {
                // The last thousand replace earlier ones.
                let (id, offset) = (id(n % 9_000), u64::from(n) * 100);
                each(Record {
                    id,
                    offset,
                    len: 50,
                });
            }
            Ok(Scanned::default())
        };
        let leftovers = [(id(5), 40), (id(20_000), 40)];
        let found = [10, PARALLEL_BYTES].map(|bytes| {
            let mut recovery = Recovery::new(&leftovers);
            recovery.scan(3, bytes, scan).unwrap();
            recovery
        });
        for n in (0..9_000).chain([20_000, 20_001]) {
            let [short, long] = found.each_ref().map(|it| {
                let found = it.index.get(&id(n));
                found.map(|place| (place.file, place.offset, place.len))
            });
            assert_eq!(short, long);
            let expected = match n {
                20_000 => Some((LEFTOVER, 0, 40)),
                0..1_000 => Some((3, u64::from(n + 9_000) * 100, 50)),
                1_000..9_000 => Some((3, u64::from(n) * 100, 50)),
                _ => None,
            };
            assert_eq!(long, expected, "{n}");
        }
        assert!(found.iter().all(|it| it.atoms == 9_001));
        let failed = Recovery::new(&[]).scan(0, PARALLEL_BYTES, |_| Err(ErrorKind::Other.into()));
        assert!(failed.is_err());
    }
}
