//! Object of a sealed pair as a file: read in blocks, through the cache.

use super::cache::{BLOCK_BYTES, Cache};
use super::manifest::{Kind, PairEntry};
use super::requests::Requests;
use crate::store::disk::{DiskFile, FileId};
use core::sync::atomic::{AtomicU64, Ordering};
use std::io::{self, ErrorKind};
use std::sync::Arc;

/// Number of blocks that are fetched together when a file is read from one block to the next.
const BLOCKS_AHEAD: u64 = 8;
/// Device of all objects in [`FileId`]; the number of a pair is unique.
const DEVICE: u64 = u64::MAX;

/// Object of a pair; see the module.
pub(super) struct ObjectFile {
    requests: Arc<Requests>,
    cache: Arc<Cache>,
    key: String,
    name: String,
    len: u64,
    id: FileId,
    /// Number of the block after the one that was read last.
    next: AtomicU64,
}

/// Returns the identity of an object.
pub(super) const fn file_id(pair: &PairEntry, kind: Kind) -> FileId {
    let kind = match kind {
        Kind::Index => 0,
        Kind::Data => 1,
        Kind::Lengths => 2,
        Kind::Fingerprints => 3,
    };
    FileId {
        device: DEVICE,
        // The upper two bits of a number are never used.
        inode: pair.number << 2 | kind,
    }
}

impl ObjectFile {
    pub(super) fn new(
        requests: &Arc<Requests>,
        cache: &Arc<Cache>,
        pair: &PairEntry,
        kind: Kind,
    ) -> Self {
        Self {
            requests: Arc::clone(requests),
            cache: Arc::clone(cache),
            key: pair.key(kind),
            name: pair.name(kind),
            len: pair.len(kind),
            id: file_id(pair, kind),
            next: AtomicU64::new(u64::MAX),
        }
    }

    /// Fetches a block, and those that follow it if the file is read in their order; returns the
    /// block.
    fn fetch(&self, number: u64, is_sequential: bool) -> io::Result<Vec<u8>> {
        let blocks = if is_sequential { BLOCKS_AHEAD } else { 1 };
        let start = number * BLOCK_BYTES;
        let end = start.saturating_add(blocks * BLOCK_BYTES).min(self.len);
        let mut bytes = self.requests.get_range(&self.key, start, end - start)?;
        let block_bytes = usize::try_from(BLOCK_BYTES).unwrap_or(usize::MAX);
        for (number, block) in (number..).zip(bytes.chunks(block_bytes)) {
            self.cache.add(&self.name, number, block);
        }
        bytes.truncate(block_bytes);
        Ok(bytes)
    }
}

impl DiskFile for ObjectFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.len)
    }

    fn identity(&self) -> io::Result<FileId> {
        Ok(self.id)
    }

    fn read_exact_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64);
        if end.is_none_or(|end| end > self.len) {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        while !buffer.is_empty() {
            let (number, within) = (offset / BLOCK_BYTES, offset % BLOCK_BYTES);
            let len = (BLOCK_BYTES - within).min(buffer.len() as u64);
            let (part, rest) = buffer.split_at_mut(usize::try_from(len).unwrap_or(usize::MAX));
            let previous = self.next.swap(number + 1, Ordering::Relaxed);
            if !self.cache.read(&self.name, number, within, part) {
                let block = self.fetch(number, previous == number)?;
                let start = usize::try_from(within).unwrap_or(usize::MAX);
                let found = block.get(start..).and_then(|rest| rest.get(..part.len()));
                part.copy_from_slice(found.ok_or(ErrorKind::Other)?);
            }
            buffer = rest;
            offset += len;
        }
        Ok(())
    }

    fn write_all_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn forget(&self) -> bool {
        self.cache.forget(&self.name)
    }
}
