//! Writing a pair so that it is there whole or not at all.

use super::NUMBER_BYTES;
use crate::store::disk::{Disk, DiskFile};
use astreum_core::atom::{Atom, AtomId};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes that are written at a time, at a multiple of as many: a large page of the processor, so
/// that the system can keep the file in such pages, and a mapped read costs less to translate.
const CHUNK_BYTES: usize = 2 << 20;

/// Name of a pair's index.
pub(crate) fn index_name(number: u64) -> String {
    format!("{number}_index")
}

/// Name of a pair's data.
pub(crate) fn data_name(number: u64) -> String {
    format!("{number}_data")
}

fn number_bytes(number: u64) -> [u8; NUMBER_BYTES] {
    let mut bytes = [0; NUMBER_BYTES];
    if let Some(low) = bytes.last_chunk_mut() {
        *low = number.to_be_bytes();
    }
    bytes
}

/// What both files of a pair hold, and is not written yet.
#[derive(Debug)]
struct Encoder {
    index: Vec<u8>,
    data: Vec<u8>,
    count: u64,
    position: u64,
}

impl Encoder {
    /// The count in the head of the index is known in the end.
    fn new() -> Self {
        Self {
            index: number_bytes(0).to_vec(),
            data: Vec::new(),
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
        self.count += 1;
        self.position += size;
    }
}

/// The index and the data of the pair that these atoms are collated to; `None` without atoms.
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

/// Writes a pair under temporary names. Dropped before [`Self::finish`], it removes them.
pub(crate) struct PairWriter<'a> {
    disk: &'a dyn Disk,
    dir: PathBuf,
    number: u64,
    index: Arc<dyn DiskFile>,
    data: Arc<dyn DiskFile>,
    encoder: Encoder,
    index_written: u64,
    data_written: u64,
    /// Whether the files are getting their names.
    naming: bool,
}

impl<'a> PairWriter<'a> {
    pub(crate) fn create(disk: &'a dyn Disk, dir: &Path, number: u64) -> io::Result<Self> {
        let index = disk.create(&temporary(dir, &index_name(number)))?;
        let data = disk.create(&temporary(dir, &data_name(number)))?;
        Ok(Self {
            disk,
            dir: dir.to_owned(),
            number,
            index,
            data,
            encoder: Encoder::new(),
            index_written: 0,
            data_written: 0,
            naming: false,
        })
    }

    /// Adds an atom; ids have to ascend.
    pub(crate) fn push(&mut self, id: &AtomId, atom: &Atom) -> io::Result<()> {
        self.encoder.push(id, atom);
        let Encoder { index, data, .. } = &mut self.encoder;
        write_chunks(&*self.index, index, &mut self.index_written)?;
        write_chunks(&*self.data, data, &mut self.data_written)
    }

    /// How many atoms it has.
    pub(crate) const fn count(&self) -> u64 {
        self.encoder.count
    }

    /// What both files take.
    pub(crate) fn bytes(&self) -> u64 {
        let Encoder {
            index, position, ..
        } = &self.encoder;
        self.index_written + index.len() as u64 + position
    }

    /// Where it is written to.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Gives the files their names, the data first, each once what it needs is on the disk: so an
    /// index never stands without its data, which a reference node would stumble over.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        let Encoder { index, data, .. } = &self.encoder;
        self.index.write_all_at(index, self.index_written)?;
        self.data.write_all_at(data, self.data_written)?;
        self.index
            .write_all_at(&number_bytes(self.encoder.count), 0)?;
        self.data.sync()?;
        self.index.sync()?;
        // The name of the temporary index has to be there as long as the data is without one: by it
        // a recovery knows that data for what it is.
        self.disk.sync_dir(&self.dir)?;
        self.naming = true;
        for name in [data_name(self.number), index_name(self.number)] {
            let from = temporary(&self.dir, &name);
            self.disk.rename(&from, &self.dir.join(&name))?;
            self.disk.sync_dir(&self.dir)?;
        }
        Ok(())
    }
}

impl Drop for PairWriter<'_> {
    fn drop(&mut self) {
        // What is in the middle of it is for the owner to remove, or is told and removed when the
        // store is opened again, as is what cannot be removed now.
        if self.naming {
            return;
        }
        for name in [data_name(self.number), index_name(self.number)] {
            let _ = self.disk.remove(&temporary(&self.dir, &name));
        }
    }
}

/// Writes what there is of whole chunks.
fn write_chunks(file: &dyn DiskFile, bytes: &mut Vec<u8>, written: &mut u64) -> io::Result<()> {
    let whole = bytes.len() / CHUNK_BYTES * CHUNK_BYTES;
    let Some(chunks) = bytes.get(..whole).filter(|chunks| !chunks.is_empty()) else {
        return Ok(());
    };
    file.write_all_at(chunks, *written)?;
    *written += whole as u64;
    bytes.drain(..whole);
    Ok(())
}

/// What a file is called until everything in it is on the disk, and again before it is removed.
pub(crate) fn temporary_name(name: &str) -> String {
    format!("{name}.tmp")
}

fn temporary(dir: &Path, name: &str) -> PathBuf {
    dir.join(temporary_name(name))
}
