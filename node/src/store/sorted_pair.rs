//! Sorted pair: the sealed files `<n>_index` and `<n>_data`, byte for byte in the reference's
//! format, and this implementation's lengths file beside them.
//!
//! The index is the number of entries and then the entries in ascending order of their ids; every
//! number is 64 bytes, big-endian:
//!
//! | bytes | index |
//! | --- | --- |
//! | 64 | number of entries |
//! | 32 + 64 + 64 each | id, position in the data, size |
//!
//! The data file is the atoms' stored bytes one after the other, in the same order. `<n>_lengths`
//! repeats the boundaries; see `sorted_pair/lengths.rs`.
//!
//! Lookups use a fingerprint index in memory, 3.6 bytes per entry: one cache line identifies which
//! entries have ids with the same leading bits, and holds sixteen further bits of each. Most misses
//! end there; a hit reads one entry and its data.
//!
//! Invariants:
//! - `Pair::find` returns only atoms whose bytes hash to the id.
//! - Whatever the files hold, nothing panics, and nothing larger than the data file is allocated.
//!   Ids that do not ascend cost memory and time, not atoms: they are looked up through a sorted
//!   permutation.
//! - The number of entries is the number that the index file has room for; the count in its header
//!   is only compared.
//! - A pair that was found damaged is marked (`Pair::is_damaged`), so that it is repaired instead
//!   of merged. `sorted_pair/salvage.rs` reads its intact parts.

mod fingerprint_index;
mod lengths;
mod salvage;
mod writer;

pub(super) use lengths::file_len as lengths_len;
pub(super) use salvage::{Condition, Files, Item, Salvage};
pub use writer::encode_pair;
pub(super) use writer::{PairWriter, data_name, index_name, lengths_name, temporary_name};

use super::disk::{Disk, FileId};
use super::sealed::Sealed;
use astreum_core::atom::{Atom, AtomId, ID_BYTES};
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};
use fingerprint_index::FingerprintIndex;
use std::borrow::Cow;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Bytes of every number in an index.
const NUMBER_BYTES: usize = 64;
const ENTRY_BYTES: usize = ID_BYTES + 2 * NUMBER_BYTES;
const COUNT_BYTES: u64 = 64;
const ENTRY_LEN: u64 = 160;
/// Number of entries per read when all are read.
const ENTRIES_PER_READ: u32 = 4_096;

/// Damaged place in a file.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Damage {
    /// Path of the file.
    pub path: PathBuf,
    /// Offset at which the damaged part begins, in bytes.
    pub offset: u64,
    /// Description of the damage.
    pub problem: Cow<'static, str>,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path,
            offset,
            problem,
        } = self;
        write!(f, "{}, byte {offset}: {problem}", path.display())
    }
}

/// Reason an atom that should be in a file could not be read.
#[derive(Debug)]
pub(super) enum ReadError {
    Damaged(Damage),
    Failed { path: PathBuf, error: io::Error },
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged(damage) => damage.fmt(f),
            Self::Failed { path, error } => write!(f, "cannot read {}: {error}", path.display()),
        }
    }
}

impl ReadError {
    pub(super) fn damaged(path: &Path, offset: u64, problem: &'static str) -> Self {
        Self::Damaged(Damage {
            path: path.to_owned(),
            offset,
            problem: problem.into(),
        })
    }

    pub(super) fn failed(path: &Path, error: io::Error) -> Self {
        let path = path.to_owned();
        Self::Failed { path, error }
    }
}

/// Entry of an index: the place of an atom's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Entry {
    id: AtomId,
    /// `None` if the number does not fit into 64 bits; no file can be that large.
    position: Option<u64>,
    size: Option<u64>,
}

impl Entry {
    fn parse(bytes: &[u8; ENTRY_BYTES]) -> Self {
        let (id, numbers) = bytes.split_at(ID_BYTES);
        let (position, size) = numbers.split_at(NUMBER_BYTES);
        Self {
            id: AtomId::from_slice(id).unwrap_or_default(),
            position: number(position),
            size: number(size),
        }
    }
}

/// Returns a big-endian number of any width, or `None` if it does not fit into 64 bits.
fn number(bytes: &[u8]) -> Option<u64> {
    let (high, low) = bytes.split_last_chunk::<8>()?;
    // One OR over all bytes: cheaper than a check of each.
    let zero = high.iter().fold(0, |any, byte| any | byte) == 0;
    zero.then(|| u64::from_be_bytes(*low))
}

/// Sealed pair; see the module.
#[derive(Debug)]
pub(super) struct Pair {
    number: u64,
    index: Sealed,
    data: Sealed,
    fingerprints: FingerprintIndex,
    /// Length of the lengths file in bytes, 0 if missing.
    lengths_len: u64,
    ids: [FileId; 2],
    is_damaged: AtomicBool,
}

impl Pair {
    /// Opens the pair with this number; also returns damage visible in the structure of its files.
    pub(super) fn open(
        disk: &dyn Disk,
        dir: &Path,
        number: u64,
        mapped: bool,
    ) -> Result<(Self, Vec<Damage>), ReadError> {
        let seal = |path: &Path| {
            Sealed::open(disk, path, mapped)
                .and_then(|sealed| Ok((sealed.file().identity()?, sealed)))
                .map_err(|error| ReadError::failed(path, error))
        };
        let (index_id, index) = seal(&dir.join(index_name(number)))?;
        let (data_id, data) = seal(&dir.join(data_name(number)))?;
        let lengths_path = dir.join(lengths_name(number));
        let lengths_len = match disk.open(&lengths_path).and_then(|file| file.len()) {
            Err(error) if error.kind() == ErrorKind::NotFound => 0,
            len => len.map_err(|error| ReadError::failed(&lengths_path, error))?,
        };
        let side = disk.shared().and_then(|it| it.side_file(index.path()));
        let known = side.as_deref().and_then(|it| load(disk, it, &index, &data));
        let (fingerprints, damages) = match known {
            Some(fingerprints) => (fingerprints, Vec::new()),
            None => {
                let (fingerprints, damages) = examine(&index, &data)?;
                if let Some(side) = side.filter(|_| damages.is_empty()) {
                    save(disk, &side, &fingerprints, &index, &data);
                }
                (fingerprints, damages)
            }
        };
        let pair = Self {
            number,
            index,
            data,
            fingerprints,
            lengths_len,
            ids: [index_id, data_id],
            is_damaged: AtomicBool::new(!damages.is_empty()),
        };
        Ok((pair, damages))
    }

    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// Returns the number of entries in the index.
    pub(super) const fn count(&self) -> u32 {
        self.fingerprints.count()
    }

    /// Returns the bytes of the index and the data, which decide when a level is merged.
    pub(super) fn bytes(&self) -> u64 {
        self.index.len() + self.data.len()
    }

    /// Returns the bytes of all files.
    pub(super) fn file_bytes(&self) -> u64 {
        self.bytes() + self.lengths_len
    }

    /// Returns whether the pair has a lengths file, as every pair that this implementation wrote.
    pub(super) const fn has_lengths(&self) -> bool {
        self.lengths_len > 0
    }

    /// Returns the memory used by lookups in bytes, without the page cache.
    pub(super) const fn memory_bytes(&self) -> u64 {
        self.fingerprints.memory_bytes()
    }

    /// Returns whether a part was found damaged since the pair was opened.
    pub(super) fn is_damaged(&self) -> bool {
        self.is_damaged.load(Ordering::Relaxed)
    }

    /// Marks the pair as damaged.
    pub(super) fn set_damaged(&self) {
        self.is_damaged.store(true, Ordering::Relaxed);
    }

    /// Checks that the files still have their names and lengths. Returns the first damage found.
    pub(super) fn check_files(&self, disk: &dyn Disk) -> io::Result<Option<Damage>> {
        for (sealed, id) in [&self.index, &self.data].into_iter().zip(self.ids) {
            let problem = if !sealed.check()? {
                "the file was truncated while it was open"
            } else if disk.identity(sealed.path())? != Some(id) {
                "the file was removed or replaced while it was open"
            } else {
                continue;
            };
            self.set_damaged();
            return Ok(Some(Damage {
                path: sealed.path().to_owned(),
                offset: 0,
                problem: problem.into(),
            }));
        }
        Ok(None)
    }

    /// Returns the identity of the open file with this path, the lengths file excluded.
    pub(super) fn id_of(&self, path: &Path) -> Option<FileId> {
        let files = [&self.index, &self.data].into_iter().zip(self.ids);
        let mut named = files.filter(|(sealed, _)| sealed.path() == path);
        named.next().map(|(_, id)| id)
    }

    /// Returns whether the atom may be in the pair; `false` is certain. No file is touched.
    #[inline]
    pub(super) fn may_have(&self, id: &AtomId) -> bool {
        self.fingerprints.may_have(id)
    }

    /// Returns the atom, verified, if it is in the pair.
    ///
    /// # Errors
    /// Fails if the atom is in the index and its bytes are damaged or cannot be read.
    pub(super) fn find(&self, id: &AtomId) -> Result<Option<Atom>, ReadError> {
        let was_damaged = self.is_damaged();
        match self.find_once(id) {
            // Copies that are kept nearer may be damaged, and the files not.
            Err(ReadError::Damaged(_)) if self.forget_copies() => {
                self.is_damaged.store(was_damaged, Ordering::Relaxed);
                self.find_once(id)
            }
            found => found,
        }
    }

    fn find_once(&self, id: &AtomId) -> Result<Option<Atom>, ReadError> {
        match self.locate(id) {
            Ok(None) => Ok(None),
            Ok(Some((at, entry))) => self.atom(at, &entry).map(Some),
            Err(error) => Err(self.failed_index(error)),
        }
    }

    /// Drops copies of the files that are kept nearer; returns `false` if there were none.
    fn forget_copies(&self) -> bool {
        let forgot = [&self.index, &self.data].map(|sealed| sealed.file().forget());
        forgot.contains(&true)
    }

    /// Returns whether the index has the atom; its data is not read.
    ///
    /// # Errors
    /// Fails if the index cannot be read.
    pub(super) fn contains(&self, id: &AtomId) -> io::Result<bool> {
        self.locate(id).map(|found| found.is_some())
    }

    /// Returns the number of the atom's entry, if it is in the index; its data is not read.
    ///
    /// # Errors
    /// Fails if the index cannot be read.
    pub(super) fn position(&self, id: &AtomId) -> io::Result<Option<u32>> {
        self.locate(id).map(|found| found.map(|(at, _)| at))
    }

    /// Like [`Self::find`]; the atom is read if `is_wanted` returns `true` for the number of its
    /// entry.
    ///
    /// # Errors
    /// Same as [`Self::find`].
    pub(super) fn find_if(
        &self,
        id: &AtomId,
        is_wanted: impl FnOnce(u32) -> bool,
    ) -> Result<Option<Option<Atom>>, ReadError> {
        match self.locate(id) {
            Ok(None) => Ok(None),
            Ok(Some((at, _))) if !is_wanted(at) => Ok(Some(None)),
            Ok(Some((at, entry))) => self.atom(at, &entry).map(|atom| Some(Some(atom))),
            Err(error) => Err(self.failed_index(error)),
        }
    }

    fn locate(&self, id: &AtomId) -> io::Result<Option<(u32, Entry)>> {
        let mut buffer = Vec::new();
        self.fingerprints
            .find(id, |at| read_entry(&self.index, at, &mut buffer))
    }

    fn failed_index(&self, error: io::Error) -> ReadError {
        if error.kind() == ErrorKind::UnexpectedEof {
            return self.damage(&self.index, 0, "the file was truncated while it was open");
        }
        ReadError::failed(self.index.path(), error)
    }

    fn damage(&self, file: &Sealed, offset: u64, problem: &'static str) -> ReadError {
        self.set_damaged();
        ReadError::damaged(file.path(), offset, problem)
    }

    fn atom(&self, at: u32, entry: &Entry) -> Result<Atom, ReadError> {
        let mut buffer = Vec::new();
        let stored = self.stored(at, entry, &mut buffer)?;
        let position = entry.position.unwrap_or_default();
        let atom = Atom::from_bytes(stored)
            .map_err(|_| self.damage(&self.data, position, "not an atom"))?;
        if atom.id() != entry.id {
            let problem = "atom id does not match its index entry";
            return Err(self.damage(&self.data, position, problem));
        }
        Ok(atom)
    }

    /// Returns the stored bytes that the entry points to, not verified.
    fn stored<'a>(
        &'a self,
        at: u32,
        entry: &Entry,
        buffer: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], ReadError> {
        let offset = entry_offset(at);
        let Some((position, size)) = entry.position.zip(entry.size) else {
            let problem = "position or size of the entry is too large";
            return Err(self.damage(&self.index, offset, problem));
        };
        self.data
            .read(position, size, buffer)
            .map_err(|error| match error.kind() {
                ErrorKind::UnexpectedEof => {
                    let problem = "the entry points beyond the end of the data file";
                    self.damage(&self.index, offset, problem)
                }
                _ => ReadError::failed(self.data.path(), error),
            })
    }

    /// Returns a cursor over the entries in ascending order of ids.
    pub(super) const fn cursor(&self) -> Cursor<'_> {
        Cursor {
            pair: self,
            next: 0,
            read_bytes: 0,
            buffer: Vec::new(),
        }
    }

    /// Returns the open files for a [`Salvage`].
    pub(super) const fn files(&self) -> Files<'_> {
        Files {
            index: Some(&self.index),
            data: Some(&self.data),
        }
    }
}

/// Cursor over a pair in ascending order of ids.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    pair: &'a Pair,
    next: u32,
    /// Stored bytes of the atoms read so far.
    read_bytes: u64,
    buffer: Vec<u8>,
}

impl Cursor<'_> {
    fn entry(&mut self) -> Option<io::Result<(u32, Entry)>> {
        let at = self.pair.fingerprints.nth(self.next)?;
        Some(read_entry(&self.pair.index, at, &mut self.buffer).map(|entry| (at, entry)))
    }

    /// Returns the id of the current entry, or `None` at the end.
    pub(super) fn id(&mut self) -> Option<Result<AtomId, ReadError>> {
        let entry = self.entry()?;
        let id = entry.map(|(_, entry)| entry.id);
        Some(id.map_err(|error| self.pair.failed_index(error)))
    }

    /// Returns the number of the current entry, or `None` at the end.
    pub(super) fn position(&self) -> Option<u32> {
        self.pair.fingerprints.nth(self.next)
    }

    /// Returns the stored bytes of the current entry's atom according to the index. Returns `None`
    /// at the end, or if the entry cannot be read or its size is invalid.
    pub(super) fn stored_len(&mut self) -> Option<u64> {
        let (_, entry) = self.entry()?.ok()?;
        entry.size
    }

    /// Returns the current entry's atom, verified.
    pub(super) fn atom(&mut self) -> Result<Atom, ReadError> {
        match self.entry() {
            None => Err(self.pair.failed_index(ErrorKind::UnexpectedEof.into())),
            Some(Err(error)) => Err(self.pair.failed_index(error)),
            Some(Ok((at, entry))) => {
                let atom = self.pair.atom(at, &entry)?;
                self.read_bytes += atom.stored_len() as u64;
                Ok(atom)
            }
        }
    }

    pub(super) const fn advance(&mut self) {
        self.next += 1;
    }

    /// Returns whether the atoms that were read make up the whole data file.
    pub(super) fn covers_data(&self) -> bool {
        self.read_bytes == self.pair.data.len()
    }
}

/// Builds the fingerprint index of a pair; also returns damage visible in the structure of its
/// files.
fn examine(index: &Sealed, data: &Sealed) -> Result<(FingerprintIndex, Vec<Damage>), ReadError> {
    let (count, mut damages) = entry_count(index)?;
    let fingerprints = FingerprintIndex::build(index, count)
        .map_err(|error| ReadError::failed(index.path(), error))?;
    if !fingerprints.is_ascending() {
        damages.push(Damage {
            path: index.path().to_owned(),
            offset: COUNT_BYTES,
            problem: "index ids are not in ascending order; lookups are slow".into(),
        });
    } else if damages.is_empty() {
        damages.extend(extra_data(index, data, count)?);
    }
    Ok((fingerprints, damages))
}

/// Loads the fingerprint index of a pair from a side file, which exists only for files without
/// damage in their structure.
fn load(disk: &dyn Disk, side: &Path, index: &Sealed, data: &Sealed) -> Option<FingerprintIndex> {
    let count = u32::try_from(room(index)).ok()?;
    let file = disk.open(side).ok()?;
    // A valid one is far shorter than the index.
    let len = file.len().ok().filter(|len| *len <= index.len())?;
    let mut bytes = vec![0; usize::try_from(len).ok()?];
    file.read_exact_at(&mut bytes, 0).ok()?;
    FingerprintIndex::from_bytes(&bytes, count, index.len(), data.len())
}

/// Saves the fingerprint index of a pair to a side file; a failure costs only time at the next start.
fn save(
    disk: &dyn Disk,
    side: &Path,
    fingerprints: &FingerprintIndex,
    index: &Sealed,
    data: &Sealed,
) {
    let Some(bytes) = fingerprints.to_bytes(index.len(), data.len()) else {
        return;
    };
    let temporary = side.with_extension("tmp");
    let written = disk.create(&temporary).and_then(|file| {
        file.write_all_at(&bytes, 0)?;
        disk.rename(&temporary, side)
    });
    if let Err(error) = written {
        crate::log::debug!("cold storage: cannot save {}: {error}", side.display());
    }
}

/// Encodes the fingerprint index of a pair with these files.
pub(super) fn encode_fingerprints(
    disk: &dyn Disk,
    index: &Path,
    data: &Path,
) -> io::Result<Vec<u8>> {
    let index = Sealed::open(disk, index, false)?;
    let data = Sealed::open(disk, data, false)?;
    let (fingerprints, damages) = examine(&index, &data).map_err(|error| match error {
        ReadError::Failed { error, .. } => error,
        ReadError::Damaged(damage) => io::Error::other(damage.to_string()),
    })?;
    let bytes = match damages.first() {
        Some(damage) => Err(io::Error::other(damage.to_string())),
        None => Ok(fingerprints.to_bytes(index.len(), data.len())),
    }?;
    bytes.ok_or_else(|| io::Error::other("the ids do not ascend"))
}

/// Returns the number of entries that an index has room for.
fn room(index: &Sealed) -> u64 {
    index.len().saturating_sub(COUNT_BYTES) / ENTRY_LEN
}

/// Returns the number of entries that the index has room for, and the damage that contradicts it.
fn entry_count(index: &Sealed) -> Result<(u32, Vec<Damage>), ReadError> {
    let path = index.path();
    let mut damages = Vec::new();
    let mut damage = |offset, problem: &'static str| {
        damages.push(Damage {
            path: path.to_owned(),
            offset,
            problem: problem.into(),
        });
    };
    let room = room(index);
    let count = u32::try_from(room).map_err(|_| {
        let problem = "index exceeds the maximum of 4,294,967,295 entries per pair";
        ReadError::damaged(path, 0, problem)
    })?;
    let mut buffer = Vec::new();
    match index.read(0, COUNT_BYTES, &mut buffer) {
        Ok(head) if number(head) == Some(room) => {}
        Ok(_) => damage(
            0,
            "the number of entries does not match the length of the file",
        ),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
            damage(0, "the file is too short to be an index");
        }
        Err(error) => return Err(ReadError::failed(path, error)),
    }
    let end = COUNT_BYTES + room * ENTRY_LEN;
    if index.len() > end {
        damage(end, "truncated last entry");
    }
    Ok((count, damages))
}

/// Checks the lengths file of a pair, if there is one.
pub(super) fn check_lengths(disk: &dyn Disk, dir: &Path, pair: &Pair) -> Result<(), ReadError> {
    let path = dir.join(lengths_name(pair.number));
    let failed = |error| ReadError::failed(&path, error);
    let lengths = lengths::Lengths::open(disk, &path).map_err(failed)?;
    let Some(mut lengths) = lengths else {
        return Ok(());
    };
    lengths.check().map_err(failed)?;
    let mut damage = lengths.damages().first().cloned();
    let pair_has = (u64::from(pair.count()), pair.data.len());
    if lengths
        .declared()
        .is_some_and(|declared| declared != pair_has)
    {
        damage = damage.or(Some(Damage {
            path,
            offset: 0,
            problem: "the lengths file belongs to another pair".into(),
        }));
    }
    damage.map_or(Ok(()), |damage| {
        pair.set_damaged();
        Err(ReadError::Damaged(damage))
    })
}

/// Checks that the last entry ends where the data file does, as in every intact pair.
fn extra_data(index: &Sealed, data: &Sealed, count: u32) -> Result<Option<Damage>, ReadError> {
    let end = match count.checked_sub(1) {
        None => Some(0),
        Some(last) => {
            let entry = read_entry(index, last, &mut Vec::new())
                .map_err(|error| ReadError::failed(index.path(), error))?;
            let end = entry.position.zip(entry.size);
            end.and_then(|(position, size)| position.checked_add(size))
        }
    };
    Ok(match end {
        Some(end) if end == data.len() => None,
        Some(end) if end < data.len() => Some(Damage {
            path: data.path().to_owned(),
            offset: end,
            problem: "data without an index entry".into(),
        }),
        _ => Some(Damage {
            path: index.path().to_owned(),
            offset: entry_offset(count.saturating_sub(1)),
            problem: "the last entry does not end where the data file does".into(),
        }),
    })
}

const fn entry_offset(at: u32) -> u64 {
    // A u32 times 160 fits into 64 bits; `From` is not const.
    let at = at as u64;
    COUNT_BYTES + at * ENTRY_LEN
}

fn read_entry(index: &Sealed, at: u32, buffer: &mut Vec<u8>) -> io::Result<Entry> {
    let bytes = index.read(entry_offset(at), ENTRY_LEN, buffer)?;
    bytes
        .first_chunk()
        .map(Entry::parse)
        .ok_or_else(|| ErrorKind::UnexpectedEof.into())
}

#[cfg(test)]
mod tests;
