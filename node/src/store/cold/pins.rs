//! Pins: the objects that a garbage collection keeps although no chain needs them.
//!
//! Everything that a user stores is pinned, and everything that a user pins by its id. Pins are in
//! memory, and in the file `pins-<n>` with the highest number; a reference node ignores it. A file is
//! 8 bytes of header, `ASTPINS` and a version byte, and then records of 38 bytes:
//!
//! | bytes | record |
//! | ---: | --- |
//! | 1 | operation: 1 adds the kinds, 2 removes the id, 3 and 4 state whether the list is complete |
//! | 1 | kinds: 1 stored by a user, 2 pinned by a user, 4 list under a storage contract |
//! | 32 | id; of a user's write only the atoms that no other atom of the write leads to |
//! | 4 | CRC-32 of the above, little-endian |
//!
//! Invariants:
//! - The first change of a process writes a new file with all pins, syncs it, renames it from a
//!   temporary name and syncs the name before older files are removed; later changes are appended.
//!   Only the process that created a file appends to it.
//! - A pin counts in memory before the atoms are written, so that no collection removes them in
//!   between, and is on the disk before the write is acknowledged, as far as `cold_storage_sync`
//!   requires.
//! - The list is *complete* if every user's write to the directory is in it: the store was created
//!   with it, or an operator has confirmed it. Otherwise nothing may be collected. It is incomplete again
//!   once another program has written to the directory, as far as that can be seen: a reference
//!   node leaves atoms in `level_0` and pairs without lengths.
//! - A record that is damaged, unless it is the last one, makes the list incomplete.

use super::{ColdError, ColdStore, Inner, Snapshot, lock};
use crate::config::ColdStorageSync;
use crate::store::disk::{DirEntry, DiskFile};
use crate::store::journal::Segment;
use astreum_core::atom::{Atom, AtomId, AtomKind, ID_BYTES};
use core::ops::Bound;
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

const HEADER: [u8; 8] = *b"ASTPINS\x01";
const RECORD_BYTES: usize = 2 + ID_BYTES + 4;
/// Number of bytes that are read or written at a time.
const CHUNK_BYTES: usize = RECORD_BYTES * 4_096;

const ADD: u8 = 1;
const REMOVE: u8 = 2;
const COMPLETE: u8 = 3;
const INCOMPLETE: u8 = 4;

/// Reasons for which an object is kept; a set.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct PinKinds(u8);

impl PinKinds {
    /// A user has stored the object.
    pub const STORED: Self = Self(1);
    /// A user has pinned the object.
    pub const PINNED: Self = Self(2);
    /// The list is under a storage contract that this node has an interest in. Its atoms are kept,
    /// not what they lead to.
    pub const CONTRACT: Self = Self(4);

    /// Returns whether the set has these kinds.
    #[must_use]
    pub const fn has(self, kinds: Self) -> bool {
        self.0 & kinds.0 == kinds.0
    }
}

/// Pins of a store.
#[derive(Default)]
pub(super) struct Pins {
    state: Mutex<State>,
    /// Held during a sync; the number of the file, and the length that is known to be durable.
    synced: Mutex<(u64, u64)>,
}

#[derive(Default)]
struct State {
    pins: BTreeMap<AtomId, PinKinds>,
    is_complete: bool,
    /// True if the file states that the list is complete and it is not. The files that show it are not
    /// replaced before that is on the disk.
    is_unsaved: bool,
    active: Option<Active>,
    next_number: u64,
    /// Older files, which are removed once there is a new one.
    older: Vec<PathBuf>,
}

/// File that this process appends to.
#[derive(Clone)]
struct Active {
    number: u64,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    end: u64,
}

fn record(operation: u8, kinds: PinKinds, id: &AtomId) -> [u8; RECORD_BYTES] {
    let mut record = [0; RECORD_BYTES];
    let body = [&[operation, kinds.0], id.as_bytes().as_slice()].concat();
    let crc = crc32fast::hash(&body).to_le_bytes();
    for (to, from) in record.iter_mut().zip(body.iter().chain(&crc)) {
        *to = *from;
    }
    record
}

impl State {
    /// Applies a record; returns `false` if it is damaged.
    fn apply(&mut self, record: &[u8]) -> bool {
        let Some((body, crc)) = record.split_last_chunk::<4>() else {
            return false;
        };
        let ([operation, kinds], Some(id)) = (match body.split_first_chunk::<2>() {
            Some((head, id)) => (*head, AtomId::from_slice(id)),
            None => return false,
        }) else {
            return false;
        };
        if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
            return false;
        }
        match operation {
            ADD => self.pins.entry(id).or_default().0 |= kinds,
            REMOVE => drop(self.pins.remove(&id)),
            COMPLETE => self.is_complete = true,
            INCOMPLETE => self.is_complete = false,
            _ => return false,
        }
        true
    }

    /// Returns everything as records.
    fn records(&self) -> impl Iterator<Item = [u8; RECORD_BYTES]> {
        let operation = if self.is_complete {
            COMPLETE
        } else {
            INCOMPLETE
        };
        let first = record(operation, PinKinds::default(), &AtomId::ZERO);
        let pins = self.pins.iter();
        let pins = pins.map(|(id, kinds)| record(ADD, *kinds, id));
        core::iter::once(first).chain(pins)
    }
}

impl ColdStore {
    /// Pins objects. The pins are durable after [`Self::sync_pins`].
    ///
    /// Returns those that were not pinned at all.
    ///
    /// # Errors
    /// Fails if the disk fails.
    pub fn add_pins(&self, ids: &[AtomId], kinds: PinKinds) -> Result<Vec<AtomId>, ColdError> {
        let inner = &self.inner;
        let mut state = lock(&inner.pins.state);
        let mut new = Vec::new();
        let mut records = Vec::new();
        for id in ids {
            let before = state.pins.get(id).copied();
            if before.is_some_and(|before| before.has(kinds)) {
                continue;
            }
            if before.is_none() {
                new.push(*id);
            }
            state.pins.entry(*id).or_default().0 |= kinds.0;
            records.extend(record(ADD, kinds, id));
        }
        inner.append_pins(&mut state, &records)?;
        Ok(new)
    }

    /// Removes the pins of objects, whatever their kinds, and returns how many had any. Durable
    /// after [`Self::sync_pins`].
    ///
    /// # Errors
    /// Fails if the disk fails.
    pub fn remove_pins(&self, ids: &[AtomId]) -> Result<u64, ColdError> {
        let inner = &self.inner;
        let mut state = lock(&inner.pins.state);
        let (mut removed, mut records) = (0, Vec::new());
        for id in ids {
            if state.pins.remove(id).is_some() {
                records.extend(record(REMOVE, PinKinds::default(), id));
                removed += 1;
            }
        }
        inner.append_pins(&mut state, &records)?;
        Ok(removed)
    }

    /// Makes all changes of pins durable, unless `cold_storage_sync` leaves that to the system.
    ///
    /// # Errors
    /// Fails if the disk fails.
    pub fn sync_pins(&self) -> Result<(), ColdError> {
        match self.inner.options.sync {
            ColdStorageSync::Always => self.inner.sync_pins(),
            ColdStorageSync::Interval | ColdStorageSync::Never => Ok(()),
        }
    }

    /// Returns at most `max` pins with ids above `after`, in the order of their ids.
    #[must_use]
    pub fn pins(&self, after: Option<AtomId>, max: usize) -> Vec<(AtomId, PinKinds)> {
        let state = lock(&self.inner.pins.state);
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let pins = state.pins.range((from, Bound::Unbounded));
        pins.take(max).map(|(id, kinds)| (*id, *kinds)).collect()
    }

    /// Returns the number of pins.
    #[must_use]
    pub fn pin_count(&self) -> usize {
        lock(&self.inner.pins.state).pins.len()
    }

    /// Returns whether everything that users have stored is known to be pinned.
    #[must_use]
    pub fn are_pins_complete(&self) -> bool {
        lock(&self.inner.pins.state).is_complete
    }

    /// Records that everything that users want to keep is pinned, or that it is not known to be.
    ///
    /// # Errors
    /// Fails if the disk fails.
    pub fn set_pins_complete(&self, is_complete: bool) -> Result<(), ColdError> {
        self.inner.set_pins_complete(is_complete)
    }
}

/// Returns the ids of the atoms that no other of the atoms leads to.
#[must_use]
pub fn roots_of(atoms: &[(AtomId, Atom)]) -> Vec<AtomId> {
    let mut linked = HashSet::new();
    for (_, atom) in atoms {
        linked.insert(atom.next());
        if atom.kind() == AtomKind::List {
            linked.extend(AtomId::from_slice(atom.data()));
        }
    }
    let ids = atoms.iter().map(|(id, _)| *id);
    ids.filter(|id| !linked.contains(id)).collect()
}

/// Returns the number of a file of pins.
fn number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("pins-")?;
    let number: u64 = digits.parse().ok()?;
    (number.to_string() == digits).then_some(number)
}

/// Returns whether another program than this one has written to the directory.
fn has_foreign_files(snapshot: &Snapshot) -> bool {
    let has_leftovers = |segment: &Arc<Segment>| !segment.leftovers().is_empty();
    snapshot.segments.iter().any(has_leftovers) || snapshot.pairs().any(|pair| !pair.has_lengths())
}

impl Inner {
    /// Loads the pins of a directory that was just opened. In a new one, the file is created.
    pub(super) fn load_pins(&self, entries: &[DirEntry]) -> Result<(), ColdError> {
        let files = entries.iter().filter(|entry| !entry.is_dir);
        let numbers = files.filter_map(|entry| number(&entry.name));
        let numbers: std::collections::BTreeSet<u64> = numbers.collect();
        let path_of = |number: u64| self.root.join(format!("pins-{number}"));
        let snapshot = self.snapshot.load();
        let mut state = lock(&self.pins.state);
        state.next_number = numbers.last().map_or(0, |last| last + 1);
        state.older = numbers.iter().copied().map(path_of).collect();
        let Some(last) = numbers.last() else {
            let is_empty = snapshot.segments.is_empty() && snapshot.levels.is_empty();
            state.is_complete = is_empty;
            if is_empty && lock(&self.log).failure.is_none() {
                self.begin_pins(&mut state)?;
            }
            return Ok(());
        };
        self.read_pins(&path_of(*last), &mut state)?;
        if state.is_complete && has_foreign_files(&snapshot) {
            state.is_complete = false;
            // Once they are collated or merged, the files do not show it.
            state.is_unsaved = true;
            let is_writable = lock(&self.log).failure.is_none();
            if is_writable && let Err(error) = self.begin_pins(&mut state) {
                crate::log::error!("cold storage: {error}");
            }
        }
        Ok(())
    }

    fn read_pins(&self, path: &Path, state: &mut State) -> Result<(), ColdError> {
        let failed = |error| ColdError::io("read", path, &error);
        let file = self.disk.open(path).map_err(failed)?;
        let len = file.len().map_err(failed)?;
        let mut header = [0; HEADER.len()];
        let is_whole = len >= header.len() as u64;
        if is_whole {
            file.read_exact_at(&mut header, 0).map_err(failed)?;
        }
        let mut is_damaged = !is_whole || header != HEADER;
        let mut at = header.len() as u64;
        let (mut buffer, mut was_bad) = (Vec::new(), false);
        while at < len {
            let take = (len - at).min(CHUNK_BYTES as u64);
            buffer.resize(usize::try_from(take).unwrap_or(0), 0);
            file.read_exact_at(&mut buffer, at).map_err(failed)?;
            for record in buffer.chunks(RECORD_BYTES) {
                // An interrupted write leaves damage at the end only.
                is_damaged |= was_bad;
                was_bad = !state.apply(record);
            }
            at += take;
        }
        if is_damaged {
            state.is_complete = false;
            crate::log::error!(
                "cold storage: {} is damaged: pins may be missing, so nothing is pruned",
                path.display()
            );
        }
        Ok(())
    }

    fn set_pins_complete(&self, is_complete: bool) -> Result<(), ColdError> {
        let mut state = lock(&self.pins.state);
        if state.is_complete == is_complete {
            return Ok(());
        }
        state.is_complete = is_complete;
        let operation = if is_complete { COMPLETE } else { INCOMPLETE };
        let change = record(operation, PinKinds::default(), &AtomId::ZERO);
        self.append_pins(&mut state, &change)?;
        drop(state);
        self.sync_pins()
    }

    /// Appends records of changes that are in the state already.
    fn append_pins(&self, state: &mut State, records: &[u8]) -> Result<(), ColdError> {
        if records.is_empty() {
            return Ok(());
        }
        let Some(active) = &mut state.active else {
            // The new file has the changes.
            return self.begin_pins(state);
        };
        let written = active.file.write_all_at(records, active.end);
        if let Err(error) = written {
            let error = ColdError::io("write to", &active.path, &error);
            self.retire_pins(state);
            return Err(error);
        }
        active.end += records.len() as u64;
        Ok(())
    }

    /// Ends writing to the file, after a failure; the next change writes a new one.
    fn retire_pins(&self, state: &mut State) {
        state.older.extend(state.active.take().map(|it| it.path));
    }

    /// Writes what has to be on the disk before the files of another program are replaced.
    pub(super) fn settle_pins(&self) -> Result<(), ColdError> {
        let mut state = lock(&self.pins.state);
        match state.is_unsaved {
            true => self.begin_pins(&mut state),
            false => Ok(()),
        }
    }

    /// Writes a new file with all pins.
    fn begin_pins(&self, state: &mut State) -> Result<(), ColdError> {
        self.check_place()?;
        let number = state.next_number;
        state.next_number += 1;
        let path = self.root.join(format!("pins-{number}"));
        let temporary = self.root.join("pins.tmp");
        let written = (|| {
            let file = self.disk.create(&temporary)?;
            let (mut at, mut buffer) = (0, HEADER.to_vec());
            for record in state.records() {
                buffer.extend(record);
                if buffer.len() >= CHUNK_BYTES {
                    file.write_all_at(&buffer, at)?;
                    at += buffer.len() as u64;
                    buffer.clear();
                }
            }
            file.write_all_at(&buffer, at)?;
            at += buffer.len() as u64;
            file.sync()?;
            self.disk.rename(&temporary, &path)?;
            self.disk.sync_dir(&self.root)?;
            Ok((file, at))
        })();
        let (file, end) = written.map_err(|error| ColdError::io("write", &path, &error))?;
        for older in core::mem::take(&mut state.older) {
            // One that stays is ignored, and is removed by a later process.
            let _ = self.disk.remove(&older);
        }
        state.is_unsaved = false;
        state.active = Some(Active {
            number,
            path,
            file,
            end,
        });
        Ok(())
    }

    /// Makes all changes of pins durable. Concurrent callers share a sync.
    pub(super) fn sync_pins(&self) -> Result<(), ColdError> {
        let Some(wanted) = lock(&self.pins.state).active.clone() else {
            return Ok(());
        };
        let mut synced = lock(&self.pins.synced);
        if *synced >= (wanted.number, wanted.end) {
            return Ok(());
        }
        // Further changes may have come while this thread waited for the lock.
        let Some(now) = lock(&self.pins.state).active.clone() else {
            return Err(ColdError::io(
                "sync",
                &wanted.path,
                &std::io::Error::other("an earlier write failed"),
            ));
        };
        let done = now.file.sync();
        if let Err(error) = done {
            let mut state = lock(&self.pins.state);
            if state
                .active
                .as_ref()
                .is_some_and(|it| it.number == now.number)
            {
                self.retire_pins(&mut state);
            }
            return Err(ColdError::io("sync", &now.path, &error));
        }
        *synced = (now.number, now.end);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::cold::ColdOptions;
    use astreum_core::atom::bytes_list;
    use std::fs;

    fn open(path: &Path) -> ColdStore {
        let options = ColdOptions {
            level_size_bytes: 1 << 20,
            limit_bytes: 0,
            sync: ColdStorageSync::Always,
            mapped: true,
            background: false,
        };
        ColdStore::open(path, options).unwrap()
    }

    fn id(number: u8) -> AtomId {
        AtomId::new([number; 32])
    }

    fn files(path: &Path) -> Vec<String> {
        let entries = fs::read_dir(path).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("pins")).collect()
    }

    #[test]
    fn pins_survive_restarts_in_one_file() {
        let scratch = tempfile::tempdir().unwrap();
        for number in 0..5 {
            let store = open(scratch.path());
            assert!(store.are_pins_complete());
            assert_eq!(store.pin_count(), usize::from(number));
            let new = store
                .add_pins(&[id(number), id(9)], PinKinds::STORED)
                .unwrap();
            assert_eq!(new, [id(number), id(9)]);
            assert_eq!(store.add_pins(&[id(9)], PinKinds::PINNED).unwrap(), []);
            assert_eq!(store.remove_pins(&[id(9), id(8)]).unwrap(), 1);
            store.sync_pins().unwrap();
            assert_eq!(files(scratch.path()).len(), 1);
        }
        let store = open(scratch.path());
        assert_eq!(
            store.pins(Some(id(1)), 2),
            [(id(2), PinKinds::STORED), (id(3), PinKinds::STORED)]
        );
    }

    #[test]
    fn interrupted_record_is_ignored_and_damage_makes_the_list_incomplete() {
        let scratch = tempfile::tempdir().unwrap();
        let store = open(scratch.path());
        store.add_pins(&[id(1), id(2)], PinKinds::STORED).unwrap();
        drop(store);
        let path = scratch.path().join(&files(scratch.path())[0]);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        let store = open(scratch.path());
        assert_eq!(store.pins(None, 9), [(id(1), PinKinds::STORED)]);
        assert!(store.are_pins_complete());
        drop(store);
        let mut damaged = whole;
        let at = damaged.len() - RECORD_BYTES - 10;
        damaged[at] ^= 1;
        fs::write(&path, &damaged).unwrap();
        let store = open(scratch.path());
        assert_eq!(store.pins(None, 9), [(id(2), PinKinds::STORED)]);
        assert!(!store.are_pins_complete());
        store.set_pins_complete(true).unwrap();
        drop(store);
        assert!(open(scratch.path()).are_pins_complete());
    }

    #[test]
    fn store_from_before_pins_is_incomplete() {
        let scratch = tempfile::tempdir().unwrap();
        let (atom, path) = (Atom::bytes(*b"x"), scratch.path());
        open(path).put(&[(atom.id(), atom)]).unwrap();
        fs::remove_file(path.join(&files(path)[0])).unwrap();
        let store = open(path);
        assert!(!store.are_pins_complete());
        // A pin does not change that.
        store.add_pins(&[id(1)], PinKinds::PINNED).unwrap();
        drop(store);
        assert!(!open(path).are_pins_complete());
    }

    #[test]
    fn files_of_another_program_make_the_list_incomplete() {
        let scratch = tempfile::tempdir().unwrap();
        let (path, atom) = (scratch.path(), Atom::bytes(*b"x"));
        drop(open(path));
        let name = crate::store::journal::leftover_name(&atom.id());
        fs::write(path.join("level_0").join(name), atom.to_bytes()).unwrap();
        let store = open(path);
        assert!(!store.are_pins_complete());
        store.collate().unwrap();
        drop(store);
        let store = open(path);
        assert!(!store.are_pins_complete());
        store.set_pins_complete(true).unwrap();
        drop(store);
        assert!(open(path).are_pins_complete());
        fs::remove_file(path.join("level_1").join("0_lengths")).unwrap();
        assert!(!open(path).are_pins_complete());
    }

    #[test]
    fn only_the_head_of_a_list_is_a_root() {
        let (head, atoms) = bytes_list(&["a", "b", "c"]);
        let mut atoms: Vec<_> = atoms.into_iter().map(|atom| (atom.id(), atom)).collect();
        let single = Atom::bytes(*b"single");
        atoms.push((single.id(), single.clone()));
        assert_eq!(roots_of(&atoms), [head, single.id()]);
        let list = Atom::list(head, AtomId::ZERO);
        atoms.push((list.id(), list.clone()));
        assert_eq!(roots_of(&atoms), [single.id(), list.id()]);
    }
}
