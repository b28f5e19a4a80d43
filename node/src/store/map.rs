//! Sealed files in memory; all `unsafe` of the store is here.
//!
//! A sealed file gives slices of what it holds, either from a memory map or by plain reads into
//! the caller's buffer. Both pass the same tests; `cold_storage_mmap` chooses.
//!
//! The contract of the map: a sealed file is complete before it gets its name, and nothing of this
//! program writes to it, or cuts it, while it has that name (removal leaves the pages alone), and
//! the directory's lock keeps other nodes of ours out. Who shares the directory with programs that
//! do otherwise sets `cold_storage_mmap = false`: a mapped page of a file that was cut underneath
//! ends the process.

#![expect(
    unsafe_code,
    reason = "a memory map is unsafe by nature; this module states and keeps its contract"
)]

use super::disk::DiskFile;
use core::fmt;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::sync::Arc;

/// A file mapped into memory for reading.
pub struct Map(memmap2::Mmap);

impl Map {
    /// Maps a sealed file; see the module for what that asks of it.
    pub(super) fn new(file: &File) -> io::Result<Self> {
        // JUSTIFICATION: a read through the map costs no system call and no copy, which is what
        // makes cold storage as fast as memory.
        // SAFETY: nobody changes or cuts a sealed file while it is mapped (see the module), so the
        // bytes behind the slice do not change under it.
        let map = unsafe { memmap2::Mmap::map(file)? };
        Ok(Self(map))
    }

    fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Map").field(&self.0.len()).finish()
    }
}

/// A file that nobody writes to any more.
pub(super) struct Sealed {
    len: u64,
    source: Source,
}

enum Source {
    Mapped(Map),
    Read(Arc<dyn DiskFile>),
}

impl Sealed {
    /// `file`, mapped where that is wanted and the disk can.
    pub(super) fn new(file: Arc<dyn DiskFile>, mapped: bool) -> io::Result<Self> {
        let len = file.len()?;
        // An empty file cannot be mapped everywhere, and has nothing to read.
        let map = if mapped && len > 0 { file.map()? } else { None };
        Ok(match map {
            Some(map) => Self {
                len: map.bytes().len() as u64,
                source: Source::Mapped(map),
            },
            None => Self {
                len,
                source: Source::Read(file),
            },
        })
    }

    /// Bytes in the file.
    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    /// `len` bytes from `offset` on; `buffer` is where they go if they have to go somewhere.
    ///
    /// # Errors
    /// [`ErrorKind::UnexpectedEof`] when the file has fewer, which is found out before anything is
    /// allocated; else what the disk said.
    pub(super) fn read<'a>(
        &'a self,
        offset: u64,
        len: u64,
        buffer: &'a mut Vec<u8>,
    ) -> io::Result<&'a [u8]> {
        let end = offset
            .checked_add(len)
            .filter(|&end| end <= self.len)
            .ok_or(ErrorKind::UnexpectedEof)?;
        match &self.source {
            Source::Mapped(map) => slice(map.bytes(), offset, end),
            Source::Read(file) => {
                buffer.clear();
                buffer.resize(usize::try_from(len).map_err(|_| ErrorKind::OutOfMemory)?, 0);
                file.read_exact_at(buffer, offset)?;
                Ok(buffer)
            }
        }
    }
}

fn slice(bytes: &[u8], start: u64, end: u64) -> io::Result<&[u8]> {
    usize::try_from(start)
        .ok()
        .zip(usize::try_from(end).ok())
        .and_then(|(start, end)| bytes.get(start..end))
        .ok_or_else(|| ErrorKind::UnexpectedEof.into())
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mapped = matches!(self.source, Source::Mapped(_));
        f.debug_struct("Sealed")
            .field("len", &self.len)
            .field("mapped", &mapped)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;
    use crate::store::disk::{Disk, SystemDisk};

    #[test]
    fn mapped_and_read_give_the_same_and_refuse_the_same() {
        let scratch = Scratch::new("map");
        let path = scratch.path().join("file");
        let bytes: Vec<u8> = (0..10_000u32).flat_map(u32::to_le_bytes).collect();
        std::fs::write(&path, &bytes).unwrap();
        for mapped in [true, false] {
            let sealed = Sealed::new(SystemDisk.open(&path).unwrap(), mapped).unwrap();
            assert_eq!(matches!(sealed.source, Source::Mapped(_)), mapped);
            assert_eq!(sealed.len(), bytes.len() as u64);
            let mut buffer = Vec::new();
            for (offset, len) in [(0, 1), (4_095, 5_000), (39_999, 1), (40_000, 0)] {
                let expected = &bytes[offset..offset + len];
                let read = sealed.read(offset as u64, len as u64, &mut buffer).unwrap();
                assert_eq!(read, expected);
            }
            for (offset, len) in [(40_000, 1), (0, 40_001), (u64::MAX, 2), (1, u64::MAX)] {
                let error = sealed.read(offset, len, &mut buffer).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
            }
        }
    }

    #[test]
    fn an_empty_file_is_no_error() {
        let scratch = Scratch::new("map-empty");
        let path = scratch.path().join("file");
        std::fs::write(&path, b"").unwrap();
        for mapped in [true, false] {
            let sealed = Sealed::new(SystemDisk.open(&path).unwrap(), mapped).unwrap();
            assert_eq!(sealed.read(0, 0, &mut Vec::new()).unwrap(), b"");
        }
    }
}
