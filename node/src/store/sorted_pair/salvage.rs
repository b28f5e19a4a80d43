//! Reader of the intact parts of a damaged pair.
//!
//! An atom is intact if its bytes hash to the id that the pair had for it. The place of its bytes
//! is known from up to three sources: its index entry, the lengths file, and the neighboring
//! entries, since atoms are stored without gaps. The id is known from the entry, and two bytes of
//! it from the lengths file; ids ascend, so a damaged id is usually out of order.
//!
//! | damaged part | intact atoms with a lengths file | without it |
//! | --- | --- | --- |
//! | position or size of an entry | all | all, by the neighboring entries |
//! | id of an entry | all | all, by similarity or by the order of the ids |
//! | index truncated or missing | all | those that the rest of the index covers |
//! | bytes of an atom | all others | all others |
//! | data truncated | those before the end | those before the end |
//! | bytes appended | all | all |
//!
//! An atom stored under the id that its bytes hash to is never wrong; accepting one by mistake only
//! costs its space. Lost atoms are reported by id if the id can be trusted, so that they can be
//! fetched again.

use super::lengths::{Extent, Lengths, tag_of};
use super::{
    COUNT_BYTES, Damage, ENTRY_LEN, Entry, ReadError, data_name, entry_offset, index_name,
    lengths_name, number, read_entry,
};
use crate::store::disk::Disk;
use crate::store::sealed::Sealed;
use astreum_core::atom::{Atom, AtomId, HEADER_BYTES};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Maximum number of damaged places reported; more would not change the verdict.
const MAX_DAMAGES: usize = 64;
/// Minimum number of bytes that an id and a damaged copy of it have in common.
const ALIKE_BYTES: usize = 16;

/// Files of a pair that could be opened.
#[derive(Clone, Copy)]
pub(in crate::store) struct Files<'a> {
    pub(in crate::store) index: Option<&'a Sealed>,
    pub(in crate::store) data: Option<&'a Sealed>,
}

/// Result for one atom that the pair holds or held.
#[derive(Debug)]
pub(in crate::store) enum Item {
    Intact(AtomId, Atom),
    /// Damaged atom with a known id.
    Lost(AtomId),
    /// Number of damaged or missing atoms with unknown ids.
    Unknown(u64),
}

/// Damage of a pair, by file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::store) struct Condition {
    pub(in crate::store) index: bool,
    pub(in crate::store) data: bool,
    pub(in crate::store) lengths: bool,
}

impl Condition {
    pub(in crate::store) const fn is_damaged(self) -> bool {
        self.index || self.data || self.lengths
    }
}

/// Reader of a damaged pair in the order of its data file, past damaged parts; see the module.
pub(in crate::store) struct Salvage<'a> {
    files: Files<'a>,
    index_path: PathBuf,
    data_path: PathBuf,
    lengths: Option<Lengths>,
    /// Number of entries that the index has room for.
    room: u64,
    /// Number of entries whose ids are reported if their atoms are lost.
    trusted: u64,
    /// Number of atoms that are read one by one.
    count: u64,
    /// Number of further atoms that neither index nor lengths file covers.
    beyond: u64,
    /// True if the total number of atoms is known.
    is_counted: bool,
    next: u64,
    /// Start of the next atom, if known; and the last id.
    expected: Option<u64>,
    previous: Option<AtomId>,
    /// Bytes of the intact atoms so far.
    intact_bytes: u64,
    condition: Condition,
    damages: Vec<Damage>,
    buffer: Vec<u8>,
}

impl<'a> Salvage<'a> {
    /// Creates a reader of the pair with this number in `dir`.
    pub(in crate::store) fn new(
        disk: &dyn Disk,
        dir: &Path,
        number: u64,
        files: Files<'a>,
    ) -> Result<Self, ReadError> {
        let lengths_path = dir.join(lengths_name(number));
        let lengths = Lengths::open(disk, &lengths_path);
        let lengths = lengths.map_err(|error| ReadError::failed(&lengths_path, error))?;
        let mut salvage = Self {
            files,
            index_path: dir.join(index_name(number)),
            data_path: dir.join(data_name(number)),
            lengths,
            room: 0,
            trusted: 0,
            count: 0,
            beyond: 0,
            is_counted: false,
            next: 0,
            expected: Some(0),
            previous: None,
            intact_bytes: 0,
            condition: Condition::default(),
            damages: Vec::new(),
            buffer: Vec::new(),
        };
        salvage.set_count()?;
        Ok(salvage)
    }

    /// Returns the number of atoms that are read one by one.
    pub(in crate::store) const fn count(&self) -> u64 {
        self.count
    }

    /// Returns the damaged files and places, complete once [`Self::next`] has returned `None`.
    pub(in crate::store) fn finish(self) -> (Condition, Vec<Damage>) {
        (self.condition, self.damages)
    }

    /// Determines how many atoms there are, or were, and checks the sizes of the files.
    fn set_count(&mut self) -> Result<(), ReadError> {
        let data_len = self.files.data.map_or(0, Sealed::len);
        let declared = self.lengths.as_ref().and_then(Lengths::declared);
        let covered = self.lengths.as_ref().map_or(0, Lengths::atoms);
        let head = self.read_head()?;
        let is_consistent = head == Some(self.room) && self.ends_with_data()?;
        match declared {
            Some((atoms, len)) if is_consistent && (atoms, len) != (self.room, data_len) => {
                // They contradict each other, and the index agrees with the data.
                let path = self.lengths.take().map(|lengths| lengths.path().to_owned());
                self.condition.lengths = true;
                if let Some(path) = path {
                    self.damage(&path, 0, "the lengths file belongs to another pair");
                }
                self.count = self.room;
            }
            Some((atoms, len)) => {
                self.count = atoms.min(self.room.max(covered));
                self.beyond = plausible(atoms, len.max(data_len)).saturating_sub(self.count);
                self.condition.index |= atoms != self.room || head != Some(atoms);
                if len != data_len && self.files.data.is_some() {
                    self.condition.data = true;
                    let path = self.data_path.clone();
                    let problem = if len < data_len {
                        "the data file is longer than the pair"
                    } else {
                        "truncated data file"
                    };
                    self.damage(&path, len.min(data_len), problem);
                }
            }
            None => {
                self.count = self.room.max(covered);
                let head = plausible(head.unwrap_or(0), data_len);
                self.beyond = head.saturating_sub(self.count);
                self.condition.index |= !is_consistent;
            }
        }
        self.is_counted = declared.is_some() || head == Some(self.room) || self.beyond > 0;
        self.trusted = match (declared, head) {
            (None, Some(head)) if head < self.room => head,
            _ => self.count,
        };
        if self.files.index.is_none() {
            self.condition.index = true;
            let path = self.index_path.clone();
            self.damage(&path, 0, "the file is missing");
        } else if self.condition.index {
            let path = self.index_path.clone();
            self.damage(&path, 0, "the number of entries does not match the pair");
        }
        if self.files.data.is_none() {
            self.condition.data = true;
            let path = self.data_path.clone();
            self.damage(&path, 0, "the file is missing");
        }
        Ok(())
    }

    /// Returns the number at the start of the index; sets the number of entries that it has room
    /// for.
    fn read_head(&mut self) -> Result<Option<u64>, ReadError> {
        let Some(index) = self.files.index else {
            return Ok(None);
        };
        let body = index.len().saturating_sub(COUNT_BYTES);
        self.room = (body / ENTRY_LEN).min(u64::from(u32::MAX));
        self.condition.index |= body % ENTRY_LEN != 0;
        let head = index.read(0, COUNT_BYTES, &mut self.buffer);
        Ok(readable(head)
            .map_err(|error| ReadError::failed(&self.index_path, error))?
            .and_then(number))
    }

    /// Returns whether the last entry ends where the data file does.
    fn ends_with_data(&mut self) -> Result<bool, ReadError> {
        let len = self.files.data.map(Sealed::len);
        let Some(last) = self.room.checked_sub(1) else {
            return Ok(len == Some(0) && self.files.index.is_some());
        };
        let entry = self.entry(last)?;
        Ok(entry.and_then(|entry| entry.end()) == len)
    }

    /// Returns the next atom, or `None` at the end.
    pub(in crate::store) fn next(&mut self) -> Result<Option<Item>, ReadError> {
        if self.next >= self.count {
            return self.end();
        }
        let at = self.next;
        self.next += 1;
        let entry = self.entry(at)?;
        let extent = match &mut self.lengths {
            Some(lengths) => lengths
                .extent(at)
                .map_err(|error| ReadError::failed(lengths.path(), error))?,
            None => None,
        };
        if self.files.data.is_none() {
            return Ok(Some(self.lost(at, entry.as_ref(), extent)));
        }
        // In most cases the entry is right and its atom intact.
        if let Some(entry) = &entry
            && let Some((position, size)) = entry.position.zip(entry.size)
            && let Some(atom) = self.atom(position, size, entry.id)?
        {
            let is_expected = self.expected == Some(position);
            let agrees = extent.is_none_or(|extent| extent.agrees(entry));
            if !agrees {
                self.damage_lengths("the lengths file does not match the index");
            }
            self.condition.index |= !is_expected && self.expected.is_some() && extent.is_none();
            return Ok(Some(self.intact(position, atom)));
        }
        match (extent, entry) {
            (Some(extent), entry) => self.by_extent(at, extent, entry),
            (None, Some(entry)) => self.by_entry(at, &entry),
            (None, None) => Ok(Some(self.lost(at, None, None))),
        }
    }

    /// Reads an atom whose place is in the lengths file, and whose entry or bytes are damaged.
    fn by_extent(
        &mut self,
        at: u64,
        extent: Extent,
        entry: Option<Entry>,
    ) -> Result<Option<Item>, ReadError> {
        let is_it = |id: &AtomId| {
            tag_of(id) == extent.tag || entry.as_ref().is_some_and(|entry| entry.id == *id)
        };
        match self.any_atom(extent.position, extent.len)? {
            Some(atom) if is_it(&atom.id()) => {
                self.damage_entry(at);
                Ok(Some(self.intact(extent.position, atom)))
            }
            _ => {
                self.expected = extent.position.checked_add(extent.len);
                self.damage_data(extent.position);
                Ok(Some(self.lost(at, entry.as_ref(), Some(extent))))
            }
        }
    }

    /// Reads an atom without a lengths entry, whose index entry or bytes are damaged.
    fn by_entry(&mut self, at: u64, entry: &Entry) -> Result<Option<Item>, ReadError> {
        let following = self.entry(at + 1)?;
        let data_len = self.files.data.map_or(0, Sealed::len);
        let is_last = at + 1 == self.count;
        let end = if is_last {
            Some(data_len)
        } else {
            following.as_ref().and_then(|entry| entry.position)
        };
        let ranges = [
            (self.expected, self.expected.zip(entry.size)),
            (entry.position, None),
            (self.expected, None),
        ];
        for (start, sized) in ranges {
            let Some(start) = start else { continue };
            let len = match sized {
                Some((_, size)) => Some(size),
                None => end.and_then(|end| end.checked_sub(start)),
            };
            if let Some(len) = len
                && let Some(atom) = self.atom(start, len, entry.id)?
            {
                self.damage_entry(at);
                return Ok(Some(self.intact(start, atom)));
            }
        }
        let in_order = |id: &AtomId| {
            self.previous.is_none_or(|previous| previous < *id)
                && (is_last || following.as_ref().is_some_and(|next| *id < next.id))
        };
        let entry_is_in_order = in_order(&entry.id);
        // The atom fills the space between its neighbors: if its bytes are intact, the id of the
        // entry is the damaged part.
        if let Some((start, end)) = self.expected.zip(end)
            && let Some(len) = end.checked_sub(start)
            && let Some(atom) = self.any_atom(start, len)?
        {
            let id = atom.id();
            let in_order = |id: &AtomId| {
                self.previous.is_none_or(|previous| previous < *id)
                    && (is_last || following.as_ref().is_some_and(|next| *id < next.id))
            };
            if is_alike(&id, &entry.id) || !entry_is_in_order && in_order(&id) {
                self.damage_entry(at);
                return Ok(Some(self.intact(start, atom)));
            }
        }
        self.expected = entry.end().filter(|_| entry_is_in_order);
        if entry_is_in_order {
            self.damage_data(entry.position.unwrap_or_default());
            return Ok(Some(self.lost(at, Some(entry), None)));
        }
        self.damage_entry(at);
        // Its bytes are not counted as intact, so the data file counts as damaged.
        self.condition.data = true;
        Ok(Some(Item::Unknown(1)))
    }

    /// Reports the atoms, data and damage after the last atom; returns `None` when all is reported.
    fn end(&mut self) -> Result<Option<Item>, ReadError> {
        if self.beyond > 0 {
            let beyond = core::mem::take(&mut self.beyond);
            return Ok(Some(Item::Unknown(beyond)));
        }
        let data_len = self.files.data.map_or(0, Sealed::len);
        if data_len > self.intact_bytes && !self.is_counted {
            self.is_counted = true;
            return Ok(Some(Item::Unknown(1)));
        }
        if data_len > self.intact_bytes && !self.condition.data {
            self.condition.data = true;
            let (path, end) = (self.data_path.clone(), self.expected.unwrap_or_default());
            self.damage(&path, end, "data without an index entry");
        }
        if let Some(lengths) = &mut self.lengths {
            lengths
                .check()
                .map_err(|error| ReadError::failed(lengths.path(), error))?;
            self.condition.lengths |= !lengths.damages().is_empty();
            for damage in lengths.damages().to_vec() {
                self.note(damage);
            }
        }
        Ok(None)
    }

    fn intact(&mut self, position: u64, atom: Atom) -> Item {
        let (id, len) = (atom.id(), atom.stored_len() as u64);
        self.expected = position.checked_add(len);
        self.previous = Some(id);
        self.intact_bytes += len;
        Item::Intact(id, atom)
    }

    fn lost(&mut self, at: u64, entry: Option<&Entry>, extent: Option<Extent>) -> Item {
        let has_tag = |entry: &&Entry| extent.is_none_or(|extent| tag_of(&entry.id) == extent.tag);
        match entry.filter(has_tag).filter(|_| at < self.trusted) {
            Some(entry) => {
                self.previous = Some(entry.id);
                Item::Lost(entry.id)
            }
            None => {
                self.damage_entry(at);
                Item::Unknown(1)
            }
        }
    }

    fn entry(&mut self, at: u64) -> Result<Option<Entry>, ReadError> {
        let (Some(index), Ok(number)) = (self.files.index, u32::try_from(at)) else {
            return Ok(None);
        };
        if at >= self.room {
            return Ok(None);
        }
        let entry = read_entry(index, number, &mut self.buffer);
        readable(entry).map_err(|error| ReadError::failed(&self.index_path, error))
    }

    /// Returns the atom in this range of the data, if it has this id.
    fn atom(&mut self, start: u64, len: u64, id: AtomId) -> Result<Option<Atom>, ReadError> {
        let atom = self.any_atom(start, len)?;
        Ok(atom.filter(|atom| atom.id() == id))
    }

    /// Returns the atom in this range of the data, if the bytes are a valid atom.
    fn any_atom(&mut self, start: u64, len: u64) -> Result<Option<Atom>, ReadError> {
        let Some(data) = self.files.data else {
            return Ok(None);
        };
        let stored = readable(data.read(start, len, &mut self.buffer));
        let stored = stored.map_err(|error| ReadError::failed(&self.data_path, error))?;
        Ok(stored.and_then(|stored| Atom::from_bytes(stored).ok()))
    }

    fn damage_entry(&mut self, at: u64) {
        self.condition.index = true;
        let path = self.index_path.clone();
        let offset = entry_offset(u32::try_from(at).unwrap_or(u32::MAX));
        self.damage(&path, offset, "the index entry is damaged");
    }

    fn damage_data(&mut self, position: u64) {
        self.condition.data = true;
        let path = self.data_path.clone();
        let problem = "atom id does not match its index entry";
        self.damage(&path, position, problem);
    }

    fn damage_lengths(&mut self, problem: &'static str) {
        self.condition.lengths = true;
        if let Some(path) = self.lengths.as_ref().map(|it| it.path().to_owned()) {
            self.damage(&path, 0, problem);
        }
    }

    fn damage(&mut self, path: &Path, offset: u64, problem: &'static str) {
        self.note(Damage {
            path: path.to_owned(),
            offset,
            problem: problem.into(),
        });
    }

    fn note(&mut self, damage: Damage) {
        if self.damages.len() < MAX_DAMAGES && !self.damages.contains(&damage) {
            self.damages.push(damage);
        }
    }
}

impl Entry {
    fn end(&self) -> Option<u64> {
        let (position, size) = self.position.zip(self.size)?;
        position.checked_add(size)
    }
}

impl Extent {
    fn agrees(&self, entry: &Entry) -> bool {
        (Some(self.position), Some(self.len)) == (entry.position, entry.size)
            && self.tag == tag_of(&entry.id)
    }
}

/// Returns `None` if the file ends too early, which is damage and not a failure.
fn readable<T>(read: io::Result<T>) -> io::Result<Option<T>> {
    match read {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
        read => read.map(Some),
    }
}

/// Returns `atoms` if `data_len` bytes can hold so many, otherwise 0.
fn plausible(atoms: u64, data_len: u64) -> u64 {
    let most = data_len / HEADER_BYTES as u64;
    if atoms <= most { atoms } else { 0 }
}

fn is_alike(one: &AtomId, other: &AtomId) -> bool {
    let bytes = one.as_bytes().iter().zip(other.as_bytes());
    bytes.filter(|(one, other)| one == other).count() >= ALIKE_BYTES
}
