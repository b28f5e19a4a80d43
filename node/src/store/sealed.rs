//! Sealed files, mapped into memory or read.
//!
//! A sealed file returns slices of its content, either from a [memory map](super::mmap) or by plain
//! reads into the caller's buffer. Both pass the same tests; `cold_storage_mmap` selects one.

use super::disk::{Disk, DiskFile};
use super::mmap::Map;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// File that is complete and no longer written to.
pub(super) struct Sealed {
    file: Arc<Opened>,
    map: Option<Map>,
    /// True once the file was found shorter than when it was opened; the map must not be accessed
    /// then.
    is_short: AtomicBool,
}

/// Open file behind a [`Sealed`].
struct Opened {
    path: PathBuf,
    len: u64,
    file: Arc<dyn DiskFile>,
}

/// Files that are currently mapped; used to explain a bus error.
static MAPPED: Mutex<Vec<Weak<Opened>>> = Mutex::new(Vec::new());

impl Sealed {
    /// Opens the file at `path`, mapped if `mapped` is set and the disk supports it.
    pub(super) fn open(disk: &dyn Disk, path: &Path, mapped: bool) -> io::Result<Self> {
        let file = disk.open(path)?;
        let len = file.len()?;
        // An empty file cannot be mapped everywhere, and has nothing to read.
        let map = if mapped && len > 0 { file.map()? } else { None };
        let len = map.as_ref().map_or(len, |map| map.bytes().len() as u64);
        let path = path.to_owned();
        let file = Arc::new(Opened { path, len, file });
        if map.is_some() {
            let mut mapped = MAPPED.lock().unwrap_or_else(PoisonError::into_inner);
            mapped.retain(|file| file.strong_count() > 0);
            mapped.push(Arc::downgrade(&file));
        }
        Ok(Self {
            file,
            map,
            is_short: AtomicBool::new(false),
        })
    }

    /// Returns the length when the file was opened, in bytes.
    pub(super) fn len(&self) -> u64 {
        self.file.len
    }

    /// Returns the path that the file was opened at.
    pub(super) fn path(&self) -> &Path {
        &self.file.path
    }

    /// Returns the open file.
    pub(super) fn file(&self) -> &dyn DiskFile {
        &*self.file.file
    }

    /// Returns whether the file still has at least its original length. If not, it is no longer
    /// read through the map.
    ///
    /// # Errors
    /// Fails if the disk cannot report the length.
    pub(super) fn check(&self) -> io::Result<bool> {
        let is_whole = self.file.file.len()? >= self.file.len;
        if !is_whole {
            self.is_short.store(true, Ordering::Relaxed);
        }
        Ok(is_whole)
    }

    /// Returns `len` bytes from `offset` on, copied into `buffer` if the file is not mapped.
    ///
    /// # Errors
    /// Returns [`ErrorKind::UnexpectedEof`] if the file had fewer bytes when it was opened, before
    /// anything is allocated; otherwise the error of the disk.
    pub(super) fn read<'a>(
        &'a self,
        offset: u64,
        len: u64,
        buffer: &'a mut Vec<u8>,
    ) -> io::Result<&'a [u8]> {
        let end = offset
            .checked_add(len)
            .filter(|&end| end <= self.file.len)
            .ok_or(ErrorKind::UnexpectedEof)?;
        match &self.map {
            Some(map) if !self.is_short.load(Ordering::Relaxed) => slice(map.bytes(), offset, end),
            _ => {
                buffer.clear();
                buffer.resize(usize::try_from(len).map_err(|_| ErrorKind::OutOfMemory)?, 0);
                self.file.file.read_exact_at(buffer, offset)?;
                Ok(buffer)
            }
        }
    }
}

/// Returns the mapped files that are shorter now than when they were mapped.
pub(super) fn truncated() -> Vec<PathBuf> {
    // Called while another thread is stuck in a bus error, possibly holding the lock.
    let Ok(mapped) = MAPPED.try_lock() else {
        return Vec::new();
    };
    let files = mapped.iter().filter_map(Weak::upgrade);
    files
        .filter(|file| file.file.len().is_ok_and(|len| len < file.len))
        .map(|file| file.path.clone())
        .collect()
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
        f.debug_struct("Sealed")
            .field("path", &self.file.path)
            .field("len", &self.file.len)
            .field("mapped", &self.map.is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::disk::SystemDisk;
    use std::fs::File;

    fn open(path: &Path, mapped: bool) -> Sealed {
        Sealed::open(&SystemDisk, path, mapped).unwrap()
    }

    #[test]
    fn mapped_and_read_files_give_equal_results() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("file");
        let bytes: Vec<u8> = (0..10_000u32).flat_map(u32::to_le_bytes).collect();
        std::fs::write(&path, &bytes).unwrap();
        for mapped in [true, false] {
            let sealed = open(&path, mapped);
            assert_eq!(sealed.map.is_some(), mapped);
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
    fn empty_file_is_not_an_error() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("file");
        std::fs::write(&path, b"").unwrap();
        for mapped in [true, false] {
            let sealed = open(&path, mapped);
            assert_eq!(sealed.read(0, 0, &mut Vec::new()).unwrap(), b"");
        }
    }

    #[test]
    fn truncated_file_falls_back_to_plain_reads() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("file");
        std::fs::write(&path, vec![7; 100_000]).unwrap();
        for mapped in [true, false] {
            let sealed = open(&path, mapped);
            assert!(sealed.check().unwrap());
            assert!(!truncated().contains(&path));
            let file = File::options().write(true).open(&path).unwrap();
            file.set_len(50_000).unwrap();
            assert!(!sealed.check().unwrap());
            assert_eq!(truncated().contains(&path), mapped);
            let mut buffer = Vec::new();
            assert_eq!(sealed.read(0, 50_000, &mut buffer).unwrap(), [7; 50_000]);
            // Beyond the new end a map would raise SIGBUS.
            let error = sealed.read(90_000, 10, &mut buffer).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
            std::fs::write(&path, vec![7; 100_000]).unwrap();
        }
    }
}
