//! One sealed pair of files, byte for byte the reference's: `<n>_index` and `<n>_data`.
//!
//! The index is the number of entries and then the entries in the order of their ids; every number
//! is 64 bytes, big-endian:
//!
//! | bytes | index |
//! | --- | --- |
//! | 64 | number of entries |
//! | 32 + 64 + 64 each | id, position in the data, size |
//!
//! The data is the atoms' stored bytes one after the other, in the same order.
//!
//! Lookups use a side index in memory, 3.6 bytes an entry: one line of the processor's cache says
//! where the ids are that begin like the one that is asked for, and sixteen further bits of each.
//! A miss mostly ends there; a hit touches one entry and its data.
//!
//! Invariants:
//! - What `Pair::find` gives has the id that was asked for; its bytes were hashed.
//! - Whatever the two files hold, nothing panics, and nothing larger than the data file is
//!   allocated. Ids that do not ascend cost memory and time, not atoms: they are looked up through
//!   a sorted permutation.
//! - The number of entries is what the file has room for; the count in its head is only compared.

mod side;
mod writer;

pub use writer::encode_pair;
pub(super) use writer::{PairWriter, data_name, index_name, temporary_name};

use super::disk::Disk;
use super::map::Sealed;
use astreum_core::atom::{Atom, AtomId, ID_BYTES};
use core::fmt;
use side::Side;
use std::borrow::Cow;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Bytes of every number in an index.
const NUMBER_BYTES: usize = 64;
const ENTRY_BYTES: usize = ID_BYTES + 2 * NUMBER_BYTES;
const COUNT_BYTES: u64 = 64;
const ENTRY_LEN: u64 = 160;
/// Entries that are read at a time where all are read.
const ENTRIES_A_READ: u32 = 4_096;

/// A place in a file that is not what it should be.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// The byte in it at which the damaged part begins.
    pub offset: u64,
    /// What is wrong.
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

/// Why something that should be in a file could not be had.
#[derive(Debug)]
pub(super) enum ReadError {
    Damaged(Damage),
    Failed { path: PathBuf, error: io::Error },
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

/// Where an atom's bytes are, as the index has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Entry {
    id: AtomId,
    /// `None` where the number does not fit 64 bits, which no file can be large enough for.
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

/// A big-endian number of any width, if it fits 64 bits.
fn number(bytes: &[u8]) -> Option<u64> {
    let (high, low) = bytes.split_last_chunk::<8>()?;
    // One OR over all: cheaper than asking each.
    let zero = high.iter().fold(0, |any, byte| any | byte) == 0;
    zero.then(|| u64::from_be_bytes(*low))
}

/// A sealed pair; see the module.
#[derive(Debug)]
pub(super) struct Pair {
    number: u64,
    index_path: PathBuf,
    data_path: PathBuf,
    index: Sealed,
    data: Sealed,
    side: Side,
}

impl Pair {
    /// Opens the pair with this number and says what is wrong with the shape of its index.
    pub(super) fn open(
        disk: &dyn Disk,
        dir: &Path,
        number: u64,
        mapped: bool,
    ) -> Result<(Self, Vec<Damage>), ReadError> {
        let (index_path, data_path) = (dir.join(index_name(number)), dir.join(data_name(number)));
        let seal = |path: &Path| {
            disk.open(path)
                .and_then(|file| Sealed::new(file, mapped))
                .map_err(|error| ReadError::failed(path, error))
        };
        let (index, data) = (seal(&index_path)?, seal(&data_path)?);
        let (count, mut damages) = entry_count(&index, &index_path)?;
        let side =
            Side::build(&index, count).map_err(|error| ReadError::failed(&index_path, error))?;
        if !side.is_ascending() {
            damages.push(Damage {
                path: index_path.clone(),
                offset: COUNT_BYTES,
                problem: "the ids of the index do not ascend; lookups in it are slow".into(),
            });
        }
        let pair = Self {
            number,
            index_path,
            data_path,
            index,
            data,
            side,
        };
        Ok((pair, damages))
    }

    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// How many entries its index has.
    pub(super) const fn count(&self) -> u32 {
        self.side.count()
    }

    /// Bytes of both files.
    pub(super) const fn bytes(&self) -> u64 {
        self.index.len() + self.data.len()
    }

    /// Bytes of memory that lookups in it take, the page cache aside.
    pub(super) const fn memory_bytes(&self) -> u64 {
        self.side.memory_bytes()
    }

    /// Whether the atom may be here; `false` is certain, and no file is touched.
    #[inline]
    pub(super) fn may_have(&self, id: &AtomId) -> bool {
        self.side.may_have(id)
    }

    /// The atom, if it is here.
    ///
    /// # Errors
    /// When it should be here and its bytes are damaged or cannot be read.
    pub(super) fn find(&self, id: &AtomId) -> Result<Option<Atom>, ReadError> {
        match self.locate(id) {
            Ok(None) => Ok(None),
            Ok(Some((at, entry))) => self.atom(at, &entry).map(Some),
            Err(error) => Err(ReadError::failed(&self.index_path, error)),
        }
    }

    /// Whether the index has the atom; its data is not read.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub(super) fn contains(&self, id: &AtomId) -> io::Result<bool> {
        self.locate(id).map(|found| found.is_some())
    }

    fn locate(&self, id: &AtomId) -> io::Result<Option<(u32, Entry)>> {
        let mut buffer = Vec::new();
        self.side
            .find(id, |at| read_entry(&self.index, at, &mut buffer))
    }

    fn atom(&self, at: u32, entry: &Entry) -> Result<Atom, ReadError> {
        let mut buffer = Vec::new();
        let stored = self.stored(at, entry, &mut buffer)?;
        let position = entry.position.unwrap_or_default();
        let damaged = |problem| ReadError::damaged(&self.data_path, position, problem);
        let atom = Atom::from_bytes(stored).map_err(|_| damaged("no atom is stored here"))?;
        if atom.id() != entry.id {
            return Err(damaged("the atom here has not the id that the index says"));
        }
        Ok(atom)
    }

    /// The stored bytes that the entry points to, not verified.
    fn stored<'a>(
        &'a self,
        at: u32,
        entry: &Entry,
        buffer: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], ReadError> {
        let offset = entry_offset(at);
        let Some((position, size)) = entry.position.zip(entry.size) else {
            let problem = "the entry's position or size is no file's";
            return Err(ReadError::damaged(&self.index_path, offset, problem));
        };
        self.data
            .read(position, size, buffer)
            .map_err(|error| match error.kind() {
                ErrorKind::UnexpectedEof => ReadError::damaged(
                    &self.index_path,
                    offset,
                    "the entry points beyond the end of the data file",
                ),
                _ => ReadError::failed(&self.data_path, error),
            })
    }

    /// Its entries in the order of their ids.
    pub(super) const fn cursor(&self) -> Cursor<'_> {
        Cursor {
            pair: self,
            next: 0,
            buffer: Vec::new(),
        }
    }
}

/// Walks a pair in the order of its ids.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    pair: &'a Pair,
    next: u32,
    buffer: Vec<u8>,
}

impl Cursor<'_> {
    fn entry(&mut self) -> Option<io::Result<(u32, Entry)>> {
        let at = self.pair.side.nth(self.next)?;
        Some(read_entry(&self.pair.index, at, &mut self.buffer).map(|entry| (at, entry)))
    }

    /// The id of the current entry, `None` at the end.
    pub(super) fn id(&mut self) -> Option<io::Result<AtomId>> {
        self.entry().map(|entry| entry.map(|(_, entry)| entry.id))
    }

    /// Stored bytes of the current entry's atom, as its index has it; `None` where that cannot be
    /// read or there is no entry.
    pub(super) fn stored_len(&mut self) -> Option<u64> {
        let (_, entry) = self.entry()?.ok()?;
        entry.size
    }

    /// The current entry's atom, verified.
    pub(super) fn atom(&mut self) -> Result<Atom, ReadError> {
        match self.entry() {
            None => Err(ReadError::failed(
                &self.pair.index_path,
                ErrorKind::UnexpectedEof.into(),
            )),
            Some(Err(error)) => Err(ReadError::failed(&self.pair.index_path, error)),
            Some(Ok((at, entry))) => self.pair.atom(at, &entry),
        }
    }

    pub(super) const fn advance(&mut self) {
        self.next += 1;
    }
}

/// How many entries the index has room for, and what does not fit that.
fn entry_count(index: &Sealed, path: &Path) -> Result<(u32, Vec<Damage>), ReadError> {
    let mut damages = Vec::new();
    let mut damage = |offset, problem: &'static str| {
        damages.push(Damage {
            path: path.to_owned(),
            offset,
            problem: problem.into(),
        });
    };
    let room = index.len().saturating_sub(COUNT_BYTES) / ENTRY_LEN;
    let count = u32::try_from(room).map_err(|_| {
        let problem = "the index has more entries than one pair can have here, 4,294,967,295";
        ReadError::damaged(path, 0, problem)
    })?;
    let mut buffer = Vec::new();
    match index.read(0, COUNT_BYTES, &mut buffer) {
        Ok(head) if number(head) == Some(room) => {}
        Ok(_) => damage(
            0,
            "the number of entries does not fit the length of the file",
        ),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
            damage(0, "the file is too short to be an index");
        }
        Err(error) => return Err(ReadError::failed(path, error)),
    }
    let end = COUNT_BYTES + room * ENTRY_LEN;
    if index.len() > end {
        damage(end, "the last entry is cut off");
    }
    Ok((count, damages))
}

const fn entry_offset(at: u32) -> u64 {
    // A u32 times 160 fits 64 bits; `From` is not const.
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
