//! Lengths file of a pair: the start of each atom in the data file, independent of the index.
//!
//! The data file has no boundaries of its own, so a damaged index would make intact atoms
//! unreadable. `<n>_lengths` repeats them, small and checksummed. A reference node ignores the
//! file: it only looks for names that end in `_index`, and opens the data by number.
//!
//! | bytes | header |
//! | --- | --- |
//! | 8 | `ASTLENS` and a version byte |
//! | 8 | number of atoms, little-endian |
//! | 8 | length of the data file, little-endian |
//! | 4 | CRC-32 of the above, little-endian |
//!
//! then blocks of up to 256 atoms each:
//!
//! | bytes | block |
//! | --- | --- |
//! | 8 | position of the first atom in the data file, little-endian |
//! | 4 + 2 each | length of the atom, little-endian; last two bytes of its id |
//! | 4 | CRC-32 of the block, little-endian |
//!
//! Every block has a fixed offset, so that a damaged one affects only its own atoms. The two bytes
//! of the id distinguish a damaged atom from a damaged index entry if neither matches the other.

use super::Damage;
use crate::store::disk::{Disk, DiskFile};
use astreum_core::atom::AtomId;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MAGIC: [u8; 8] = *b"ASTLENS\x01";
const HEADER_BYTES: usize = 28;
const BLOCK_ATOMS: u64 = 256;
const ATOM_BYTES: usize = 6;
const POSITION_BYTES: usize = 8;
const CHECKSUM_BYTES: usize = 4;
const FULL_BLOCK_BYTES: usize = POSITION_BYTES + 256 * ATOM_BYTES + CHECKSUM_BYTES;

/// Maximum number of damaged places reported per lengths file.
const MAX_DAMAGES: usize = 8;

/// Returns the length of the lengths file of a pair with `atoms` atoms, in bytes.
pub(crate) const fn file_len(atoms: u64) -> u64 {
    let (header, block, overhead) = (HEADER_BYTES as u64, BLOCK_ATOMS, 12);
    let blocks = atoms.div_ceil(block);
    header
        .saturating_add(atoms.saturating_mul(ATOM_BYTES as u64))
        .saturating_add(blocks.saturating_mul(overhead))
}

/// Encoder of a lengths file, filled while its pair is written.
#[derive(Debug)]
pub(super) struct LengthsEncoder {
    /// Placeholder for the header and the complete blocks not written yet.
    pub(super) bytes: Vec<u8>,
    block: Vec<u8>,
    atoms: u64,
    position: u64,
}

impl LengthsEncoder {
    /// Creates an encoder. The header is written last, when the number of atoms is known.
    pub(super) fn new() -> Self {
        Self {
            bytes: vec![0; HEADER_BYTES],
            block: Vec::with_capacity(FULL_BLOCK_BYTES),
            atoms: 0,
            position: 0,
        }
    }

    /// Adds the next atom of the data file.
    pub(super) fn push(&mut self, id: &AtomId, len: u32) {
        if self.block.is_empty() {
            self.block.extend_from_slice(&self.position.to_le_bytes());
        }
        self.block.extend_from_slice(&len.to_le_bytes());
        self.block.extend_from_slice(&tag_of(id));
        self.atoms += 1;
        self.position += u64::from(len);
        if self.block.len() == FULL_BLOCK_BYTES - CHECKSUM_BYTES {
            self.end_block();
        }
    }

    /// Ends the last block and returns the header.
    pub(super) fn finish(&mut self) -> [u8; HEADER_BYTES] {
        if !self.block.is_empty() {
            self.end_block();
        }
        header(self.atoms, self.position)
    }

    fn end_block(&mut self) {
        let checksum = crc32fast::hash(&self.block);
        self.bytes.append(&mut self.block);
        self.bytes.extend_from_slice(&checksum.to_le_bytes());
    }
}

fn header(atoms: u64, data_len: u64) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    let (checked, checksum) = bytes.split_at_mut(HEADER_BYTES - CHECKSUM_BYTES);
    let fields = [MAGIC, atoms.to_le_bytes(), data_len.to_le_bytes()];
    checked.copy_from_slice(fields.as_flattened());
    checksum.copy_from_slice(&crc32fast::hash(checked).to_le_bytes());
    bytes
}

/// Returns the last two bytes of the id. The first bytes are nearly equal in neighboring atoms.
pub(super) fn tag_of(id: &AtomId) -> [u8; 2] {
    id.as_bytes().last_chunk().copied().unwrap_or_default()
}

/// Place of an atom in the data file and tag of its id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Extent {
    pub(super) position: u64,
    pub(super) len: u64,
    pub(super) tag: [u8; 2],
}

/// Reader of a lengths file that may be damaged.
pub(super) struct Lengths {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    file_len: u64,
    /// Number of atoms that the file has room for, limited by the header if it is intact.
    atoms: u64,
    /// Number of atoms and length of the data file, if the header is intact.
    declared: Option<(u64, u64)>,
    /// Number of the block that was read last, and true if it is intact.
    current: Option<(u64, bool)>,
    /// Number and position of the atom after the one of the last call, if it is in the same block.
    walked: Option<(u64, u64)>,
    buffer: Vec<u8>,
    damages: Vec<Damage>,
}

impl Lengths {
    /// Opens the lengths file at `path`, damaged or not; returns `None` if it does not exist.
    pub(super) fn open(disk: &dyn Disk, path: &Path) -> io::Result<Option<Self>> {
        let file = match disk.open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let file_len = file.len()?;
        let mut lengths = Self {
            path: path.to_owned(),
            file,
            file_len,
            atoms: atoms_of(file_len),
            declared: None,
            current: None,
            walked: None,
            buffer: Vec::new(),
            damages: Vec::new(),
        };
        let mut bytes = [0; HEADER_BYTES];
        let is_read = match lengths.file.read_exact_at(&mut bytes, 0) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => false,
            read => read.map(|()| true)?,
        };
        let (atoms, data_len) = fields(&bytes);
        if is_read && header(atoms, data_len) == bytes {
            lengths.declared = Some((atoms, data_len));
            lengths.atoms = lengths.atoms.min(atoms);
            if file_len != self::file_len(atoms) {
                lengths.damage(
                    0,
                    "the lengths file does not have the length that its header states",
                );
            }
        } else {
            lengths.damage(0, "the header of the lengths file is damaged");
        }
        Ok(Some(lengths))
    }

    /// Returns the number of atoms in the pair and the length of its data file, or `None` if the
    /// header is damaged.
    pub(super) const fn declared(&self) -> Option<(u64, u64)> {
        self.declared
    }

    /// Returns the number of atoms that the file has room for.
    pub(super) const fn atoms(&self) -> u64 {
        self.atoms
    }

    /// Returns the place of the atom with this number, or `None` if that part of the file is
    /// damaged. Cheapest in ascending order of numbers.
    pub(super) fn extent(&mut self, number: u64) -> io::Result<Option<Extent>> {
        if number >= self.atoms || !self.load(number / BLOCK_ATOMS)? {
            return Ok(None);
        }
        let in_block = number % BLOCK_ATOMS;
        let Some((first, atoms)) = self.buffer.split_first_chunk::<POSITION_BYTES>() else {
            return Ok(None);
        };
        let (mut at, mut position) = match self.walked {
            Some((next, position)) if next == number => (in_block, position),
            _ => (0, u64::from_le_bytes(*first)),
        };
        let atoms = atoms.as_chunks::<ATOM_BYTES>().0;
        let skipped = usize::try_from(at).unwrap_or(usize::MAX);
        let mut extent = None;
        for atom in atoms.iter().skip(skipped) {
            if at > in_block {
                break;
            }
            let [a, b, c, d, tag @ ..] = *atom;
            let len = u64::from(u32::from_le_bytes([a, b, c, d]));
            extent = Some(Extent { position, len, tag });
            position = position.saturating_add(len);
            at += 1;
        }
        self.walked = Some((number + 1, position)).filter(|_| at < BLOCK_ATOMS);
        Ok(extent)
    }

    /// Reads every block, so that all damage is found.
    pub(super) fn check(&mut self) -> io::Result<()> {
        for block in 0..self.atoms.div_ceil(BLOCK_ATOMS) {
            self.load(block)?;
        }
        Ok(())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the damage found so far.
    pub(super) fn damages(&self) -> &[Damage] {
        &self.damages
    }

    /// Reads a block, without its checksum, into the buffer. Returns `false` if it is damaged.
    fn load(&mut self, block: u64) -> io::Result<bool> {
        if let Some((number, is_whole)) = self.current
            && number == block
        {
            return Ok(is_whole);
        }
        let offset = HEADER_BYTES as u64 + block.saturating_mul(FULL_BLOCK_BYTES as u64);
        self.walked = None;
        let left = self.atoms.saturating_sub(block * BLOCK_ATOMS);
        let atoms = usize::try_from(left.min(BLOCK_ATOMS)).unwrap_or_default();
        let body = POSITION_BYTES + atoms * ATOM_BYTES;
        self.buffer.clear();
        self.buffer.resize(body + CHECKSUM_BYTES, 0);
        let is_read = match self.file.read_exact_at(&mut self.buffer, offset) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => false,
            read => read.map(|()| true)?,
        };
        let (checked, checksum) = self.buffer.split_at(body);
        let is_whole = is_read && crc32fast::hash(checked).to_le_bytes() == *checksum;
        self.buffer.truncate(body);
        self.current = Some((block, is_whole));
        if !is_whole {
            self.damage(
                offset.min(self.file_len),
                "a block of the lengths file is damaged",
            );
        }
        Ok(is_whole)
    }

    fn damage(&mut self, offset: u64, problem: &'static str) {
        let damage = Damage {
            path: self.path.clone(),
            offset,
            problem: problem.into(),
        };
        // Each place is reported once, even if it is read twice. The list stays short: further
        // damage does not change the verdict on the file.
        if self.damages.len() < MAX_DAMAGES && !self.damages.contains(&damage) {
            self.damages.push(damage);
        }
    }
}

fn fields(header: &[u8; HEADER_BYTES]) -> (u64, u64) {
    let (chunks, _) = header.as_chunks::<8>();
    let field = |at: usize| chunks.get(at).copied().unwrap_or_default();
    (u64::from_le_bytes(field(1)), u64::from_le_bytes(field(2)))
}

/// Returns the number of atoms in a lengths file of this length; the inverse of `file_len`.
fn atoms_of(file_len: u64) -> u64 {
    let body = file_len.saturating_sub(HEADER_BYTES as u64);
    let (full, rest) = (
        body / FULL_BLOCK_BYTES as u64,
        body % FULL_BLOCK_BYTES as u64,
    );
    let overhead = (POSITION_BYTES + CHECKSUM_BYTES) as u64;
    full * BLOCK_ATOMS + rest.saturating_sub(overhead) / ATOM_BYTES as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::disk::SystemDisk;
    use tempfile::TempDir;

    fn id(number: u64) -> AtomId {
        AtomId::new(*blake3::hash(&number.to_le_bytes()).as_bytes())
    }

    const fn len_of(number: u64) -> u32 {
        33 + (number % 700) as u32
    }

    fn encoded(atoms: u64) -> Vec<u8> {
        let mut encoder = LengthsEncoder::new();
        for number in 0..atoms {
            encoder.push(&id(number), len_of(number));
        }
        let header = encoder.finish();
        let mut bytes = encoder.bytes;
        bytes[..header.len()].copy_from_slice(&header);
        bytes
    }

    fn open(scratch: &TempDir, bytes: &[u8]) -> Lengths {
        let path = scratch.path().join("0_lengths");
        std::fs::write(&path, bytes).unwrap();
        Lengths::open(&SystemDisk, &path).unwrap().unwrap()
    }

    #[test]
    fn extents_round_trip_in_any_order() {
        let scratch = tempfile::tempdir().unwrap();
        for atoms in [0, 1, 255, 256, 257, 1_000] {
            let bytes = encoded(atoms);
            assert_eq!(bytes.len() as u64, file_len(atoms));
            let mut lengths = open(&scratch, &bytes);
            let data_len: u64 = (0..atoms).map(|number| u64::from(len_of(number))).sum();
            assert_eq!(lengths.declared(), Some((atoms, data_len)));
            lengths.check().unwrap();
            assert_eq!(lengths.damages(), []);
            let position = |number| (0..number).map(|at| u64::from(len_of(at))).sum::<u64>();
            for number in (0..atoms).chain((0..atoms).rev()) {
                let extent = lengths.extent(number).unwrap().unwrap();
                assert_eq!(extent.position, position(number), "{number} of {atoms}");
                assert_eq!(extent.len, u64::from(len_of(number)));
                assert_eq!(extent.tag, tag_of(&id(number)));
            }
            assert_eq!(lengths.extent(atoms).unwrap(), None);
        }
    }

    #[test]
    fn damaged_byte_costs_one_block_and_a_cut_the_blocks_behind_it() {
        let scratch = tempfile::tempdir().unwrap();
        let bytes = encoded(600);
        for at in (0..bytes.len()).step_by(7) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x10;
            let mut lengths = open(&scratch, &flipped);
            lengths.check().unwrap();
            assert_eq!(lengths.damages().len(), 1, "byte {at}");
            let block = at.checked_sub(HEADER_BYTES).map(|at| at / FULL_BLOCK_BYTES);
            for number in 0..600 {
                let extent = lengths.extent(number).unwrap();
                let is_hit = block == Some(usize::try_from(number / BLOCK_ATOMS).unwrap());
                assert_eq!(extent.is_none(), is_hit, "byte {at}, atom {number}");
            }
        }
        for cut in (0..bytes.len()).step_by(31) {
            let mut lengths = open(&scratch, &bytes[..cut]);
            lengths.check().unwrap();
            assert!(!lengths.damages().is_empty(), "cut at {cut}");
            let whole = cut.saturating_sub(HEADER_BYTES) / FULL_BLOCK_BYTES;
            for number in 0..600 {
                let is_whole = number / BLOCK_ATOMS < whole as u64;
                assert_eq!(
                    lengths.extent(number).unwrap().is_some(),
                    is_whole,
                    "cut at {cut}"
                );
            }
        }
    }

    /// A number of atoms that the file has no room for costs neither time nor memory.
    #[test]
    fn crafted_header_is_bounded_by_the_file() {
        let scratch = tempfile::tempdir().unwrap();
        let mut lengths = open(&scratch, &header(u64::MAX, u64::MAX));
        assert_eq!(lengths.atoms(), 0);
        lengths.check().unwrap();
        assert_eq!(lengths.extent(0).unwrap(), None);
        assert_eq!(lengths.damages().len(), 1);
    }
}
