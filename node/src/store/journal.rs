//! Write-ahead journal: append-only files of checksummed records, and their index in memory.
//!
//! A journal is the 8-byte header, `ASTJRNL` and a version byte, and then records:
//!
//! | bytes | record |
//! | --- | --- |
//! | 4 | length of the stored bytes, little-endian |
//! | 4 | CRC-32 of the length, the id and the stored bytes, little-endian |
//! | 32 | id |
//! | length | the atom's stored bytes |
//!
//! Invariants:
//! - Only the process that created a journal appends to it: a recovery never overwrites the bytes
//!   after the last good record, and later appends go to a new file.
//! - A damaged record loses only its own atom. [`scan`] continues at the next place where checksum
//!   and id match; a record found this way may have been inside another atom, but even then it
//!   holds a valid atom of that id.
//! - A record with a damaged length, checksum or id is repaired if its atom is intact.
//! - A truncated last record is distinguished from a damaged one: an interrupted write was not
//!   acknowledged, and is not a loss. In case of doubt it counts as damaged.
//! - At most the largest record and one window of the file are allocated.

mod salvage;
mod segment;

pub(super) use segment::{AT_BITS, Journal, Recovery, Segment};

use super::disk::DiskFile;
use super::sorted_pair::Damage;
use astreum_core::atom::{Atom, AtomId, AtomKind, HEADER_BYTES, ID_BYTES};
use std::io;
use std::path::Path;

/// Header of a journal: magic bytes and format version.
pub(super) const HEADER: [u8; 8] = *b"ASTJRNL\x01";
/// Bytes of a record in front of the stored bytes.
const RECORD_HEAD_BYTES: usize = 8 + ID_BYTES;
/// Maximum number of stored bytes in a record.
pub(super) const MAX_RECORD_BYTES: usize = 16 << 20;
const WINDOW_BYTES: usize = 1 << 20;
/// Maximum number of lost ids kept of one scan; further ones are counted.
const MAX_LOST_IDS: usize = 1 << 16;
/// Description of a journal that ends in an interrupted write.
const CUT_OFF: &str = "the journal ends with an interrupted write, which was not acknowledged";

/// Returns the name of the journal with this number.
pub(super) fn name(sequence: u64) -> String {
    format!("journal-{sequence:08}")
}

/// Returns the number in a journal's name, or `None` if it is not such a name.
pub(super) fn sequence(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("journal-")?;
    let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    all_digits.then(|| digits.parse().ok())?
}

/// Id of a record's atom and place of its stored bytes. The offset is relative to the buffer or the
/// file that holds the record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Record {
    pub(super) id: AtomId,
    pub(super) offset: u64,
    pub(super) len: u32,
}

/// Appends the record of an atom to `out`. Returns `false` if the atom is too large.
pub(super) fn encode(
    id: &AtomId,
    atom: &Atom,
    out: &mut Vec<u8>,
    records: &mut Vec<Record>,
) -> bool {
    let Some(len) = u32::try_from(atom.stored_len())
        .ok()
        .filter(|_| atom.stored_len() <= MAX_RECORD_BYTES)
    else {
        return false;
    };
    let start = out.len();
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(id.as_bytes());
    let offset = out.len() as u64;
    atom.write_to(out);
    let checksum = out.get(start + 8..).map_or(0, |rest| checksum(len, rest));
    if let Some(place) = out.get_mut(start + 4..start + 8) {
        place.copy_from_slice(&checksum.to_le_bytes());
    }
    let id = *id;
    records.push(Record { id, offset, len });
    true
}

/// Returns the CRC-32 of the length and of the id with the stored bytes.
fn checksum(len: u32, id_and_stored: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&len.to_le_bytes());
    hasher.update(id_and_stored);
    hasher.finalize()
}

/// Result of scanning a journal, without the records.
#[derive(PartialEq, Eq, Debug, Default)]
pub(super) struct Scanned {
    /// Damaged places.
    pub(super) damages: Vec<Damage>,
    /// Interrupted write at the end.
    pub(super) cut_off: Option<Damage>,
    /// Known ids of atoms in damaged records.
    pub(super) lost: Vec<AtomId>,
    /// Number of damaged parts whose ids are unknown.
    pub(super) unknown: u64,
}

impl Scanned {
    fn lose(&mut self, id: AtomId) {
        if self.lost.len() < MAX_LOST_IDS {
            self.lost.push(id);
        } else {
            self.unknown += 1;
        }
    }
}

/// Finds the records of a journal and its damage; calls `each` for every record.
pub(super) fn scan(
    path: &Path,
    file: &dyn DiskFile,
    mut each: impl FnMut(Record),
) -> io::Result<Scanned> {
    let mut window = Window::new(file)?;
    let mut scanned = Scanned::default();
    let damage = |offset, problem: &'static str| Damage {
        path: path.to_owned(),
        offset,
        problem: problem.into(),
    };
    if window.len == 0 {
        return Ok(scanned);
    }
    let mut at = HEADER.len() as u64;
    if window.read(0, HEADER.len())? != Some(&HEADER[..]) {
        if window.len < at || window.is_zero_from(0)? {
            scanned.cut_off = Some(damage(0, CUT_OFF));
            return Ok(scanned);
        }
        let problem = "the head of the journal is damaged";
        scanned.damages.push(damage(0, problem));
        at = 0;
    }
    // Start of the current damaged part, if in one.
    let mut lost: Option<u64> = None;
    while at < window.len {
        let Some(record) = record_at(&mut window, at, lost.is_some() || at == 0)? else {
            lost.get_or_insert(at);
            at += 1;
            continue;
        };
        if let Some(offset) = lost.take() {
            // Damage from offset 0 on is the header, which is reported already.
            if offset > 0 {
                let problem = "a part of the journal is damaged";
                scanned.damages.push(damage(offset, problem));
            }
            let from = offset.max(HEADER.len() as u64);
            salvage::salvage(&mut window, from..at, &mut scanned, &mut each)?;
        }
        at = record.offset + u64::from(record.len);
        each(record);
    }
    if let Some(offset) = lost {
        if offset > 0 && is_cut_off(&mut window, offset)? {
            scanned.cut_off = Some(damage(offset, CUT_OFF));
        } else {
            if offset > 0 {
                let problem = "the end of the journal is damaged";
                scanned.damages.push(damage(offset, problem));
            }
            let range = offset.max(HEADER.len() as u64)..window.len;
            salvage::salvage(&mut window, range, &mut scanned, &mut each)?;
        }
    }
    Ok(scanned)
}

/// Returns whether the bytes from `at` on look like an unfinished record: the file ends before the
/// record does, or none of it reached the disk.
fn is_cut_off(window: &mut Window<'_>, at: u64) -> io::Result<bool> {
    let Some(head) = window.read(at, RECORD_HEAD_BYTES + HEADER_BYTES)? else {
        return Ok(true);
    };
    let Some((&[l0, l1, l2, l3, c0, c1, c2, c3], _)) = head.split_first_chunk::<8>() else {
        return Ok(true);
    };
    let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    let expected = u32::from_le_bytes([c0, c1, c2, c3]);
    let there = window.len - at - RECORD_HEAD_BYTES as u64;
    if !(HEADER_BYTES..=MAX_RECORD_BYTES).contains(&len) || there >= len as u64 {
        return window.is_zero_from(at);
    }
    // Shorter than its length field states. If it is intact apart from that, the length is damaged.
    let Ok(there) = u32::try_from(there) else {
        return Ok(false);
    };
    let body = window.read(at + 8, ID_BYTES + there as usize)?;
    Ok(body.is_none_or(|body| checksum(there, body) != expected))
}

/// Returns the record that begins at `at`, if any. With `doubtful`, for a place where a record is
/// not expected, the atom's id is verified, too.
fn record_at(window: &mut Window<'_>, at: u64, doubtful: bool) -> io::Result<Option<Record>> {
    let Some(head) = window.read(at, RECORD_HEAD_BYTES + HEADER_BYTES)? else {
        return Ok(None);
    };
    let Some((&[l0, l1, l2, l3, c0, c1, c2, c3], rest)) = head.split_first_chunk::<8>() else {
        return Ok(None);
    };
    let len = u32::from_le_bytes([l0, l1, l2, l3]);
    let stored_len = len as usize;
    let kind_is_known = rest
        .last()
        .is_some_and(|&code| AtomKind::from_code(code).is_some());
    if !kind_is_known || !(HEADER_BYTES..=MAX_RECORD_BYTES).contains(&stored_len) {
        return Ok(None);
    }
    let Some(body) = window.read(at + 8, ID_BYTES + stored_len)? else {
        return Ok(None);
    };
    let expected = u32::from_le_bytes([c0, c1, c2, c3]);
    if checksum(len, body) != expected {
        return Ok(None);
    }
    let (id, stored) = body.split_at(ID_BYTES);
    let id = AtomId::from_slice(id).unwrap_or_default();
    if doubtful && Atom::from_bytes(stored).map(|atom| atom.id()) != Ok(id) {
        return Ok(None);
    }
    Ok(Some(Record {
        id,
        offset: at + RECORD_HEAD_BYTES as u64,
        len,
    }))
}

/// Forward-moving buffer over a file.
struct Window<'a> {
    file: &'a dyn DiskFile,
    len: u64,
    start: u64,
    buffer: Vec<u8>,
}

impl<'a> Window<'a> {
    fn new(file: &'a dyn DiskFile) -> io::Result<Self> {
        Ok(Self {
            file,
            len: file.len()?,
            start: 0,
            buffer: Vec::new(),
        })
    }

    /// Returns whether all bytes from `at` on are zero: space that was allocated and never written.
    fn is_zero_from(&mut self, mut at: u64) -> io::Result<bool> {
        while at < self.len {
            let len = (self.len - at).min(WINDOW_BYTES as u64);
            let bytes = self.read(at, usize::try_from(len).unwrap_or(WINDOW_BYTES))?;
            if bytes.is_none_or(|bytes| bytes.iter().any(|&byte| byte != 0)) {
                return Ok(false);
            }
            at += len;
        }
        Ok(true)
    }

    /// Returns `len` bytes at `at`, or `None` if the file ends first.
    fn read(&mut self, at: u64, len: usize) -> io::Result<Option<&[u8]>> {
        let wanted = len as u64;
        let Some(left) = self.len.checked_sub(at).filter(|&left| left >= wanted) else {
            return Ok(None);
        };
        let end = self.start + self.buffer.len() as u64;
        if at < self.start || at + wanted > end {
            let fill = left.min(wanted.max(WINDOW_BYTES as u64));
            self.buffer.clear();
            // At most the larger of a window and `len`, which is a usize.
            self.buffer.resize(usize::try_from(fill).unwrap_or(len), 0);
            self.start = at;
            self.file.read_exact_at(&mut self.buffer, at)?;
        }
        let from = usize::try_from(at - self.start).unwrap_or(usize::MAX);
        Ok(from
            .checked_add(len)
            .and_then(|to| self.buffer.get(from..to)))
    }
}

/// Returns the name of the file in which a reference node keeps an atom before its collation.
pub(super) fn leftover_name(id: &AtomId) -> String {
    format!("{}.bin", id.to_string().to_uppercase())
}

/// Returns the id in such a name. The reference writes upper case and reads either case.
pub(super) fn leftover_id(name: &str) -> Option<AtomId> {
    let digits = name
        .strip_suffix(".bin")
        .filter(|digits| digits.len() == 2 * ID_BYTES)?;
    let id: AtomId = digits.parse().ok()?;
    (leftover_name(&id) == *name).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::disk::{Disk, SystemDisk};
    use proptest::prelude::*;
    use tempfile::TempDir;

    fn journal_of(atoms: &[Atom]) -> (Vec<u8>, Vec<Record>) {
        let (mut bytes, mut records) = (HEADER.to_vec(), Vec::new());
        for atom in atoms {
            assert!(encode(&atom.id(), atom, &mut bytes, &mut records));
        }
        (bytes, records)
    }

    fn scan_bytes(scratch: &TempDir, bytes: &[u8]) -> (Vec<Record>, Scanned) {
        let path = scratch.path().join("journal");
        std::fs::write(&path, bytes).unwrap();
        let mut records = Vec::new();
        let file = SystemDisk.open(&path).unwrap();
        let scanned = scan(&path, &*file, |record| records.push(record)).unwrap();
        (records, scanned)
    }

    fn atoms(count: u8) -> Vec<Atom> {
        (0..count)
            .map(|n| Atom::bytes(vec![n; usize::from(n) * 3]))
            .collect()
    }

    #[test]
    fn names_round_trip_and_foreign_names_are_ignored() {
        assert_eq!(sequence(&name(12)), Some(12));
        assert_eq!(sequence(&name(u64::MAX)), Some(u64::MAX));
        for other in [
            "journal-",
            "journal-+1",
            "journal",
            "journal-1x",
            "Journal-1",
        ] {
            assert_eq!(sequence(other), None, "{other}");
        }
        let id = Atom::bytes(*b"x").id();
        assert_eq!(leftover_id(&leftover_name(&id)), Some(id));
        assert_eq!(leftover_id(&format!("{id}.bin")), None);
        assert_eq!(leftover_id("0x.bin"), None);
    }

    #[test]
    fn atom_beyond_the_largest_record_is_refused() {
        let (mut bytes, mut records) = (Vec::new(), Vec::new());
        let largest = Atom::bytes(vec![0; MAX_RECORD_BYTES - HEADER_BYTES]);
        assert!(encode(&AtomId::ZERO, &largest, &mut bytes, &mut records));
        let larger = Atom::bytes(vec![0; MAX_RECORD_BYTES - HEADER_BYTES + 1]);
        let len = bytes.len();
        assert!(!encode(&AtomId::ZERO, &larger, &mut bytes, &mut records));
        assert_eq!((bytes.len(), records.len()), (len, 1));
    }

    #[test]
    fn flipped_byte_is_reported_and_loses_only_its_atom() {
        let scratch = tempfile::tempdir().unwrap();
        let (bytes, records) = journal_of(&atoms(6));
        let clean = (records.clone(), Scanned::default());
        assert_eq!(scan_bytes(&scratch, &bytes), clean);
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x40;
            let (found, scanned) = scan_bytes(&scratch, &flipped);
            assert_eq!(scanned.cut_off, None, "byte {at}");
            assert_eq!(scanned.damages.len(), 1, "byte {at}");
            assert!(scanned.damages[0].offset <= at as u64);
            // A record whose length, checksum or id is damaged still yields its atom.
            let lost: Vec<AtomId> = records
                .iter()
                .filter(|record| {
                    (record.offset..record.offset + u64::from(record.len)).contains(&(at as u64))
                })
                .map(|record| record.id)
                .collect();
            assert_eq!((&scanned.lost, scanned.unknown), (&lost, 0), "byte {at}");
            assert_eq!(found.len(), records.len() - lost.len(), "byte {at}");
            assert!(found.iter().all(|record| records.contains(record)));
        }
    }

    #[test]
    fn truncation_keeps_complete_records() {
        let scratch = tempfile::tempdir().unwrap();
        let (bytes, records) = journal_of(&atoms(6));
        for len in 0..bytes.len() {
            let whole = records
                .iter()
                .take_while(|record| record.offset + u64::from(record.len) <= len as u64)
                .count();
            let (found, scanned) = scan_bytes(&scratch, &bytes[..len]);
            assert_eq!(found, records[..whole], "length {len}");
            assert_eq!(scanned.damages, [], "length {len}");
            let ends = records
                .iter()
                .map(|record| record.offset + u64::from(record.len));
            let clean = [0, HEADER.len() as u64]
                .into_iter()
                .chain(ends)
                .any(|end| end == len as u64);
            assert_eq!(
                scanned.cut_off.is_none(),
                clean,
                "length {len}: {scanned:?}"
            );
            // The system may have allocated space for a write that never came.
            let mut room = bytes[..len].to_vec();
            room.resize(len + 200, 0);
            let (found, scanned) = scan_bytes(&scratch, &room);
            assert_eq!(found, records[..whole], "length {len}");
            assert!(!clean || scanned.cut_off.is_some(), "length {len}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn scan_of_arbitrary_bytes_gives_only_atoms(
            bytes in proptest::collection::vec(any::<u8>(), 0..600),
        ) {
            let scratch = tempfile::tempdir().unwrap();
            let (found, _) = scan_bytes(&scratch, &bytes);
            prop_assert!(found.is_empty());
        }
    }
}
