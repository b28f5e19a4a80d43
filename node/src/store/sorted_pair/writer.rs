//! Atomic writer of pairs: a pair is on the disk completely or not at all.

use super::NUMBER_BYTES;
use super::lengths::LengthsEncoder;
use crate::store::disk::{Disk, DiskFile};
use astreum_core::atom::{Atom, AtomId};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes per write; offsets are multiples of it. This is the size of a large page of the processor,
/// so that the system can cache the file in such pages, which makes mapped reads cheaper to
/// translate.
const CHUNK_BYTES: usize = 2 << 20;

/// Returns the name of a pair's index.
pub(crate) fn index_name(number: u64) -> String {
    format!("{number}_index")
}

/// Returns the name of a pair's data.
pub(crate) fn data_name(number: u64) -> String {
    format!("{number}_data")
}

/// Returns the name of a pair's lengths file.
pub(crate) fn lengths_name(number: u64) -> String {
    format!("{number}_lengths")
}

fn number_bytes(number: u64) -> [u8; NUMBER_BYTES] {
    let mut bytes = [0; NUMBER_BYTES];
    if let Some(low) = bytes.last_chunk_mut() {
        *low = number.to_be_bytes();
    }
    bytes
}

/// Encoded content of a pair's files that is not written yet.
#[derive(Debug)]
struct Encoder {
    index: Vec<u8>,
    data: Vec<u8>,
    lengths: LengthsEncoder,
    count: u64,
    position: u64,
}

impl Encoder {
    /// Creates an encoder. The count at the start of the index is filled in last.
    fn new() -> Self {
        Self {
            index: number_bytes(0).to_vec(),
            data: Vec::new(),
            lengths: LengthsEncoder::new(),
            count: 0,
            position: 0,
        }
    }

    fn push(&mut self, id: &AtomId, atom: &Atom) {
        let size = atom.stored_len() as u64;
        self.index.extend_from_slice(id.as_bytes());
        self.index.extend_from_slice(&number_bytes(self.position));
        self.index.extend_from_slice(&number_bytes(size));
        atom.write_to(&mut self.data);
        // Atoms of 4 GiB or more do not occur here.
        let len = u32::try_from(size).unwrap_or(u32::MAX);
        self.lengths.push(id, len);
        self.count += 1;
        self.position += size;
    }
}

/// Encodes the index and the data of the pair that a collation of these atoms gives. Returns `None`
/// without atoms.
#[must_use]
pub fn encode_pair(atoms: impl IntoIterator<Item = Atom>) -> Option<(Vec<u8>, Vec<u8>)> {
    let atoms: BTreeMap<AtomId, Atom> = atoms.into_iter().map(|atom| (atom.id(), atom)).collect();
    let mut encoder = Encoder::new();
    for (id, atom) in &atoms {
        encoder.push(id, atom);
    }
    let Encoder {
        mut index, data, ..
    } = encoder;
    if let Some(head) = index.first_chunk_mut() {
        *head = number_bytes(encoder.count);
    }
    (!atoms.is_empty()).then_some((index, data))
}

/// Writer of a pair under temporary names. Dropped before [`Self::finish`], it removes the files.
pub(crate) struct PairWriter<'a> {
    disk: &'a dyn Disk,
    dir: PathBuf,
    number: u64,
    index: Output,
    data: Output,
    /// `None` for pairs that hold only files known to a reference node.
    lengths: Option<Output>,
    encoder: Encoder,
    /// True while the files are renamed to their final names.
    naming: bool,
}

/// File and number of bytes written to it.
struct Output {
    file: Arc<dyn DiskFile>,
    written: u64,
}

impl Output {
    fn create(disk: &dyn Disk, path: &Path) -> io::Result<Self> {
        let file = disk.create(path)?;
        Ok(Self { file, written: 0 })
    }

    /// Writes the complete chunks of `bytes` and removes them from it.
    fn write_chunks(&mut self, bytes: &mut Vec<u8>) -> io::Result<()> {
        let whole = bytes.len() / CHUNK_BYTES * CHUNK_BYTES;
        let Some(chunks) = bytes.get(..whole).filter(|chunks| !chunks.is_empty()) else {
            return Ok(());
        };
        self.file.write_all_at(chunks, self.written)?;
        self.written += whole as u64;
        bytes.drain(..whole);
        Ok(())
    }

    /// Writes the rest, replaces the placeholder at the start by the header if it is not empty, and
    /// syncs the file.
    fn finish(&self, rest: &[u8], header: &[u8]) -> io::Result<()> {
        self.file.write_all_at(rest, self.written)?;
        if !header.is_empty() {
            self.file.write_all_at(header, 0)?;
        }
        self.file.sync()
    }
}

impl<'a> PairWriter<'a> {
    /// Creates the files of the pair with this number, including a lengths file.
    pub(crate) fn create(disk: &'a dyn Disk, dir: &Path, number: u64) -> io::Result<Self> {
        let mut writer = Self::create_plain(disk, dir, number)?;
        let lengths = temporary(dir, &lengths_name(number));
        writer.lengths = Some(Output::create(disk, &lengths)?);
        Ok(writer)
    }

    /// Like [`Self::create`], without a lengths file: a pair as a reference node makes it.
    pub(crate) fn create_plain(disk: &'a dyn Disk, dir: &Path, number: u64) -> io::Result<Self> {
        let index = Output::create(disk, &temporary(dir, &index_name(number)))?;
        let data = Output::create(disk, &temporary(dir, &data_name(number)))?;
        Ok(Self {
            disk,
            dir: dir.to_owned(),
            number,
            index,
            data,
            lengths: None,
            encoder: Encoder::new(),
            naming: false,
        })
    }

    /// Adds an atom; ids have to ascend.
    pub(crate) fn push(&mut self, id: &AtomId, atom: &Atom) -> io::Result<()> {
        self.encoder.push(id, atom);
        let Encoder {
            index,
            data,
            lengths,
            ..
        } = &mut self.encoder;
        self.index.write_chunks(index)?;
        self.data.write_chunks(data)?;
        match &mut self.lengths {
            Some(output) => output.write_chunks(&mut lengths.bytes),
            None => Ok(()),
        }
    }

    /// Returns the number of atoms added.
    pub(crate) const fn count(&self) -> u64 {
        self.encoder.count
    }

    /// Returns the bytes of the files, the lengths file included.
    pub(crate) fn bytes(&self) -> u64 {
        let index = self.index.written + self.encoder.index.len() as u64;
        index + self.encoder.position + super::lengths::file_len(self.encoder.count)
    }

    /// Returns the directory that the pair is written to.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Gives the files their final names, the index last, each after everything it needs is
    /// durable: an index never exists without its data, which a reference node cannot handle.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        let encoder = &mut self.encoder;
        self.data.finish(&encoder.data, &[])?;
        self.index
            .finish(&encoder.index, &number_bytes(encoder.count))?;
        if let Some(output) = &self.lengths {
            let header = encoder.lengths.finish();
            output.finish(&encoder.lengths.bytes, &header)?;
        }
        // The name of the temporary index has to be durable as long as other files of the pair have
        // their final names and the index does not: recovery recognizes an unfinished pair by it.
        self.disk.sync_dir(&self.dir)?;
        self.naming = true;
        if self.lengths.is_some() {
            self.name(&lengths_name(self.number))?;
        }
        self.name(&data_name(self.number))?;
        self.disk.sync_dir(&self.dir)?;
        self.name(&index_name(self.number))?;
        self.disk.sync_dir(&self.dir)
    }

    fn name(&self, name: &str) -> io::Result<()> {
        let from = temporary(&self.dir, name);
        self.disk.rename(&from, &self.dir.join(name))
    }
}

impl Drop for PairWriter<'_> {
    fn drop(&mut self) {
        // Files that may already have final names are left to the caller, or to the recovery of the
        // next start, as are those that cannot be removed now.
        if self.naming {
            return;
        }
        let names = [data_name, index_name, lengths_name];
        for name in names.map(|name| name(self.number)) {
            let _ = self.disk.remove(&temporary(&self.dir, &name));
        }
    }
}

/// Returns the temporary name of a file: used until its content is durable, and for an index again
/// before it is removed.
pub(crate) fn temporary_name(name: &str) -> String {
    format!("{name}.tmp")
}

fn temporary(dir: &Path, name: &str) -> PathBuf {
    dir.join(temporary_name(name))
}
