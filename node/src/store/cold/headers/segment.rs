//! Segment of the header file: headers of consecutive heights, found by height and by id.
//!
//! All numbers are little-endian.
//!
//! | bytes | part |
//! | ---: | --- |
//! | 8 | `ASTHDRS` and a version byte |
//! | 8 each | chain id, first height, number of headers, bytes of all records |
//! | 4 | CRC-32 of the above |
//! | records | for each height: length of the compact form (2), its CRC-32 (4), the [compact form](Block::to_compact) |
//! | 16 each | index: last 8 bytes of each id as a number, ascending, and the position of its record |
//! | 8 each | position of every 64th record |
//!
//! The last bytes of an id are used since the first ones of a block are zeros, by its proof of work.
//! Lookups use a filter of 10 bits for each header and the first entry of every 256 in memory.

use crate::store::disk::{Disk, DiskFile};
use crate::store::sorted_pair::Damage;
use astreum_core::atom::AtomId;
use astreum_core::chain::Block;
use core::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MAGIC: [u8; 8] = *b"ASTHDRS\x01";
const HEADER_BYTES: usize = 8 + 4 * 8 + 4;
/// Bytes of a record before the compact form.
const RECORD_HEAD: usize = 6;
const ENTRY_BYTES: usize = 16;
/// Number of headers between two positions in the table of heights.
const STEP: u64 = 64;
/// Number of index entries that are read together.
const GROUP: u64 = 256;
/// Number of bytes that are read or written at a time.
const CHUNK_BYTES: usize = 1 << 20;
/// Bits of the filter for each header, and bits that are set for each.
const FILTER_BITS: u64 = 10;
const FILTER_PROBES: u32 = 5;

/// Name of a segment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct SegmentName {
    pub(super) chain_id: u64,
    pub(super) first: u64,
    pub(super) last: u64,
}

impl SegmentName {
    pub(super) fn parse(name: &str) -> Option<Self> {
        let mut parts = name.strip_prefix("headers-")?.split('-');
        let mut number = || parts.next()?.parse::<u64>().ok();
        let parsed = Self {
            chain_id: number()?,
            first: number()?,
            last: number()?,
        };
        let is_canonical = parsed.to_string() == name && parsed.first <= parsed.last;
        is_canonical.then_some(parsed)
    }

    pub(super) const fn count(&self) -> u64 {
        self.last - self.first + 1
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            chain_id,
            first,
            last,
        } = self;
        write!(f, "headers-{chain_id}-{first}-{last}")
    }
}

/// Reason a header could not be read.
#[derive(Debug)]
pub(super) enum SegmentError {
    Damaged(Damage),
    Failed(PathBuf, io::Error),
}

/// Returns the key of an id in the index.
fn key_of(id: &AtomId) -> u64 {
    let last = id.as_bytes().last_chunk().copied();
    u64::from_be_bytes(last.unwrap_or_default())
}

/// Filter of keys, without false negatives.
struct Filter(Vec<u64>);

impl Filter {
    fn new(count: u64) -> Self {
        let words = count.saturating_mul(FILTER_BITS) / 64 + 1;
        Self(vec![0; usize::try_from(words).unwrap_or(1)])
    }

    fn bits(&self, key: u64) -> impl Iterator<Item = (usize, u64)> + use<> {
        let bits = self.0.len() as u64 * 64;
        // Ids are distributed like hashes; the steps are made of other bits of the key.
        let step = key.rotate_left(32) | 1;
        (0..FILTER_PROBES).map(move |probe| {
            let at = key.wrapping_add(step.wrapping_mul(u64::from(probe)));
            let scaled = (u128::from(at) * u128::from(bits)) >> 64;
            let bit = u64::try_from(scaled).unwrap_or(0);
            (usize::try_from(bit / 64).unwrap_or(0), 1 << (bit % 64))
        })
    }

    fn add(&mut self, key: u64) {
        for (word, bit) in self.bits(key) {
            if let Some(word) = self.0.get_mut(word) {
                *word |= bit;
            }
        }
    }

    fn may_have(&self, key: u64) -> bool {
        self.bits(key)
            .all(|(word, bit)| self.0.get(word).is_some_and(|word| word & bit != 0))
    }
}

/// Open segment.
pub(super) struct Segment {
    name: SegmentName,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    records_len: u64,
    len: u64,
    filter: Filter,
    /// First key of each group of index entries.
    fences: Vec<u64>,
}

impl Segment {
    pub(super) fn open(
        disk: &dyn Disk,
        path: &Path,
        name: SegmentName,
    ) -> Result<Self, SegmentError> {
        let failed = |error| SegmentError::Failed(path.to_owned(), error);
        let damaged = |problem: &'static str| {
            SegmentError::Damaged(Damage {
                path: path.to_owned(),
                offset: 0,
                problem: problem.into(),
            })
        };
        let file = disk.open(path).map_err(failed)?;
        let len = file.len().map_err(failed)?;
        let mut header = [0; HEADER_BYTES];
        if len < header.len() as u64 {
            return Err(damaged("the file is too short for a file of headers"));
        }
        file.read_exact_at(&mut header, 0).map_err(failed)?;
        let records_len = u64_at(&header, 32);
        if header != encode_header(name, records_len) {
            return Err(damaged("the header does not match the name of the file"));
        }
        if file_len(name.count(), records_len) != Some(len) {
            return Err(damaged("the file does not have its length"));
        }
        let mut segment = Self {
            name,
            path: path.to_owned(),
            file,
            records_len,
            len,
            filter: Filter::new(name.count()),
            fences: Vec::new(),
        };
        let (mut filter, mut fences) = (Filter::new(name.count()), Vec::new());
        let mut entries = segment.entries();
        let mut at = 0_u64;
        while let Some((key, _)) = entries.next().map_err(failed)? {
            if at.is_multiple_of(GROUP) {
                fences.push(key);
            }
            filter.add(key);
            at += 1;
        }
        (segment.filter, segment.fences) = (filter, fences);
        Ok(segment)
    }

    pub(super) const fn name(&self) -> &SegmentName {
        &self.name
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.len
    }

    pub(super) const fn memory_bytes(&self) -> u64 {
        (self.filter.0.len() + self.fences.len()) as u64 * 8
    }

    pub(super) fn may_have(&self, id: &AtomId) -> bool {
        self.filter.may_have(key_of(id))
    }

    const fn index_at(&self) -> u64 {
        HEADER_BYTES as u64 + self.records_len
    }

    fn entries(&self) -> Entries<'_> {
        Entries {
            file: &*self.file,
            at: self.index_at(),
            end: self.index_at() + self.name.count() * ENTRY_BYTES as u64,
            buffer: Vec::new(),
            next: 0,
        }
    }

    /// Returns the header with this id.
    pub(super) fn find(&self, id: &AtomId) -> Result<Option<Block>, SegmentError> {
        let key = key_of(id);
        if !self.filter.may_have(key) {
            return Ok(None);
        }
        let failed = |error| SegmentError::Failed(self.path.clone(), error);
        // Equal keys may begin in the group before the first one that begins with the key.
        let group = self.fences.partition_point(|first| *first < key);
        let group = (group as u64).saturating_sub(1);
        let mut entries = self.entries();
        entries.at += group * GROUP * ENTRY_BYTES as u64;
        while let Some((found, position)) = entries.next().map_err(failed)? {
            if found > key {
                break;
            }
            if found == key {
                let block = Block::from_compact(&self.record(position)?);
                if let Some(block) = block.filter(|block| block.id() == *id) {
                    return Ok(Some(block));
                }
            }
        }
        Ok(None)
    }

    /// Returns the header at a height of this segment.
    pub(super) fn at_height(&self, height: u64) -> Result<Option<Block>, SegmentError> {
        let failed = |error| SegmentError::Failed(self.path.clone(), error);
        let Some(at) = height.checked_sub(self.name.first) else {
            return Ok(None);
        };
        let table = self.index_at() + self.name.count() * ENTRY_BYTES as u64;
        let mut bytes = [0; 8];
        let place = table + at / STEP * 8;
        self.file.read_exact_at(&mut bytes, place).map_err(failed)?;
        let mut position = u64::from_le_bytes(bytes);
        for _ in 0..at % STEP {
            let (len, _) = self.record_head(position)?;
            position += (RECORD_HEAD + len) as u64;
        }
        Ok(Block::from_compact(&self.record(position)?))
    }

    fn damaged(&self, position: u64, problem: &'static str) -> SegmentError {
        SegmentError::Damaged(Damage {
            path: self.path.clone(),
            offset: HEADER_BYTES as u64 + position,
            problem: problem.into(),
        })
    }

    /// Returns the length of a record's compact form and its checksum.
    fn record_head(&self, position: u64) -> Result<(usize, u32), SegmentError> {
        if position + RECORD_HEAD as u64 > self.records_len {
            return Err(self.damaged(0, "a position is beyond the records"));
        }
        let mut head = [0; RECORD_HEAD];
        let read = self
            .file
            .read_exact_at(&mut head, HEADER_BYTES as u64 + position);
        read.map_err(|error| SegmentError::Failed(self.path.clone(), error))?;
        let [a, b, crc @ ..] = head;
        let len = usize::from(u16::from_le_bytes([a, b]));
        Ok((len, u32::from_le_bytes(crc)))
    }

    fn record(&self, position: u64) -> Result<Vec<u8>, SegmentError> {
        let (len, crc) = self.record_head(position)?;
        let start = position + RECORD_HEAD as u64;
        if start + len as u64 > self.records_len {
            return Err(self.damaged(position, "a record is longer than the records"));
        }
        let mut bytes = vec![0; len];
        let read = self
            .file
            .read_exact_at(&mut bytes, HEADER_BYTES as u64 + start);
        read.map_err(|error| SegmentError::Failed(self.path.clone(), error))?;
        match crc32fast::hash(&bytes) == crc {
            true => Ok(bytes),
            false => Err(self.damaged(position, "the checksum of a header does not match")),
        }
    }

    /// Calls `each` with every compact form in the order of heights, or with `None` for one that is
    /// damaged.
    pub(super) fn each<E>(
        &self,
        mut each: impl FnMut(Option<Vec<u8>>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut position = 0;
        for _ in 0..self.name.count() {
            let record = self.record(position);
            match self.record_head(position) {
                Ok((len, _)) => position += (RECORD_HEAD + len) as u64,
                Err(_) => position = self.records_len,
            }
            each(record.ok())?;
        }
        Ok(())
    }
}

/// Reader of index entries.
struct Entries<'a> {
    file: &'a dyn DiskFile,
    at: u64,
    end: u64,
    buffer: Vec<u8>,
    next: usize,
}

impl Entries<'_> {
    fn next(&mut self) -> io::Result<Option<(u64, u64)>> {
        if self.next >= self.buffer.len() {
            let left = self.end.saturating_sub(self.at);
            let take = left.min(GROUP * ENTRY_BYTES as u64);
            if take == 0 {
                return Ok(None);
            }
            self.buffer.resize(usize::try_from(take).unwrap_or(0), 0);
            self.file.read_exact_at(&mut self.buffer, self.at)?;
            self.at += take;
            self.next = 0;
        }
        let (key, position) = (
            u64_at(&self.buffer, self.next),
            u64_at(&self.buffer, self.next + 8),
        );
        self.next += ENTRY_BYTES;
        Ok(Some((key, position)))
    }
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let rest = bytes.get(at..).unwrap_or_default();
    rest.first_chunk().map_or(0, |it| u64::from_le_bytes(*it))
}

fn file_len(count: u64, records_len: u64) -> Option<u64> {
    let index = count.checked_mul(ENTRY_BYTES as u64)?;
    let table = count.div_ceil(STEP).checked_mul(8)?;
    (HEADER_BYTES as u64)
        .checked_add(records_len)?
        .checked_add(index)?
        .checked_add(table)
}

fn encode_header(name: SegmentName, records_len: u64) -> [u8; HEADER_BYTES] {
    let mut bytes = MAGIC.to_vec();
    for number in [name.chain_id, name.first, name.count(), records_len] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
    let mut header = [0; HEADER_BYTES];
    for (to, from) in header.iter_mut().zip(bytes) {
        *to = from;
    }
    header
}

/// Output in chunks.
struct Output<'a> {
    file: &'a dyn DiskFile,
    written: u64,
    buffer: Vec<u8>,
}

impl Output<'_> {
    fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(bytes);
        match self.buffer.len() >= CHUNK_BYTES {
            true => self.flush(),
            false => Ok(()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all_at(&self.buffer, self.written)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

/// Writes a segment of these headers.
pub(super) fn write(file: &dyn DiskFile, name: SegmentName, headers: &[Block]) -> io::Result<()> {
    let (mut records, mut index, mut table) = (Vec::new(), Vec::new(), Vec::new());
    for (at, block) in (0_u64..).zip(headers) {
        let position = records.len() as u64;
        if at.is_multiple_of(STEP) {
            table.push(position);
        }
        index.push((key_of(&block.id()), position));
        let compact = block.to_compact();
        let len = u16::try_from(compact.len()).map_err(|_| ErrorKind::InvalidInput)?;
        records.extend(len.to_le_bytes());
        records.extend(crc32fast::hash(&compact).to_le_bytes());
        records.extend(compact);
    }
    index.sort_unstable();
    let mut output = Output {
        file,
        written: 0,
        buffer: Vec::new(),
    };
    output.push(&encode_header(name, records.len() as u64))?;
    output.push(&records)?;
    for (key, position) in index {
        output.push(&key.to_le_bytes())?;
        output.push(&position.to_le_bytes())?;
    }
    for position in table {
        output.push(&position.to_le_bytes())?;
    }
    output.flush()
}

/// Writes a segment with the headers of two that follow each other, in constant memory. The records
/// are checked.
pub(super) fn merge(
    file: &dyn DiskFile,
    name: SegmentName,
    parts: &[Arc<Segment>; 2],
) -> io::Result<()> {
    let [lower, upper] = parts;
    let records_len = lower.records_len + upper.records_len;
    let mut output = Output {
        file,
        written: 0,
        buffer: Vec::new(),
    };
    output.push(&encode_header(name, records_len))?;
    let (mut table, mut position, mut at) = (Vec::new(), 0_u64, 0_u64);
    for part in parts {
        part.each(|record| {
            let record = record.ok_or_else(|| {
                io::Error::other("a header is damaged; see the damages of `astreum status`")
            })?;
            if at.is_multiple_of(STEP) {
                table.push(position);
            }
            let len = u16::try_from(record.len()).map_err(|_| ErrorKind::InvalidData)?;
            output.push(&len.to_le_bytes())?;
            output.push(&crc32fast::hash(&record).to_le_bytes())?;
            output.push(&record)?;
            position += (RECORD_HEAD + record.len()) as u64;
            at += 1;
            Ok::<(), io::Error>(())
        })?;
    }
    let (mut below, mut above) = (lower.entries(), upper.entries());
    let (mut first, mut second) = (below.next()?, above.next()?);
    loop {
        let is_first = match (first, second) {
            (None, None) => break,
            (Some((a, _)), Some((b, _))) => a <= b,
            (first, _) => first.is_some(),
        };
        let (entry, shift) = match is_first {
            true => (core::mem::replace(&mut first, below.next()?), 0),
            false => (
                core::mem::replace(&mut second, above.next()?),
                lower.records_len,
            ),
        };
        let (key, position) = entry.unwrap_or_default();
        output.push(&key.to_le_bytes())?;
        output.push(&(position + shift).to_le_bytes())?;
    }
    for position in table {
        output.push(&position.to_le_bytes())?;
    }
    output.flush()
}
