//! Pages with checksums, of which the files of the index consist.
//!
//! A page has [`PAGE_BYTES`]: [`DATA_BYTES`] of items, then the first 16 bytes of the keyed BLAKE3
//! hash of its number and its data. The key of the first page is fixed; that of the others is the
//! hash of the first page, so that a page of another file is recognized.

use core::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// Size of a page, in bytes.
pub(super) const PAGE_BYTES: usize = 1_024;
/// Number of bytes of a page before its checksum.
pub(super) const DATA_BYTES: usize = PAGE_BYTES - CHECKSUM_BYTES;
const CHECKSUM_BYTES: usize = 16;

/// Key of the checksums of a file.
pub(super) type Key = [u8; 32];

/// Failure of a file of the index.
#[derive(Debug)]
pub(super) enum FileError {
    /// The system cannot read or write it.
    Io {
        /// Failed operation, such as `read` or `write`.
        operation: &'static str,
        /// Path of the file.
        path: PathBuf,
        /// Error of the system.
        error: io::Error,
    },
    /// Its content is invalid.
    Damaged {
        /// Path of the file.
        path: PathBuf,
        /// Problem and place.
        problem: String,
    },
}

impl FileError {
    pub(super) fn io(operation: &'static str, path: &Path, error: io::Error) -> Self {
        let path = path.to_owned();
        Self::Io {
            operation,
            path,
            error,
        }
    }

    pub(super) fn damaged(path: &Path, problem: impl Into<String>) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            problem: problem.into(),
        }
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io {
                operation,
                path,
                error,
            } => {
                write!(f, "failed to {operation} {}: {error}", path.display())
            }
            Self::Damaged { path, problem } => write!(f, "{}: {problem}", path.display()),
        }
    }
}

/// Returns the key of the first page of every file.
pub(super) fn first_key() -> Key {
    blake3::derive_key("astreum transaction index 2026 first page", &[])
}

fn checksum(key: &Key, number: u64, data: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(&number.to_be_bytes());
    hasher.update(data);
    let mut checksum = [0; CHECKSUM_BYTES];
    hasher.finalize_xof().fill(&mut checksum);
    checksum
}

/// Reads the data of a page, and compares its checksum.
pub(super) fn read_page(
    file: &File,
    path: &Path,
    key: &Key,
    number: u64,
) -> Result<Vec<u8>, FileError> {
    let mut page = vec![0; PAGE_BYTES];
    let offset = number.saturating_mul(PAGE_BYTES as u64);
    match file.read_exact_at(&mut page, offset) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(FileError::damaged(path, "the file is too short"));
        }
        Err(error) => return Err(FileError::io("read", path, error)),
    }
    let found = page.split_off(DATA_BYTES);
    if found != checksum(key, number, &page) {
        let problem = format!("the checksum of the page at byte {offset} does not match");
        return Err(FileError::damaged(path, problem));
    }
    Ok(page)
}

/// Writer of pages, in order.
#[derive(Debug)]
pub(super) struct PageWriter {
    path: PathBuf,
    out: BufWriter<File>,
    key: Key,
    number: u64,
    page: Vec<u8>,
}

impl PageWriter {
    /// Creates a file, or empties it, and writes its first page, which has this data.
    pub(super) fn create(path: &Path, first: &[u8]) -> Result<(Self, Key), FileError> {
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)
            .map_err(|error| FileError::io("create", path, error))?;
        let mut writer = Self {
            path: path.to_owned(),
            out: BufWriter::new(file),
            key: first_key(),
            number: 0,
            page: Vec::new(),
        };
        writer.page.extend_from_slice(first);
        writer.page.resize(DATA_BYTES, 0);
        let key = *blake3::hash(&writer.page).as_bytes();
        writer.end_page()?;
        writer.key = key;
        Ok((writer, key))
    }

    /// Adds an item, which does not go across pages.
    pub(super) fn push(&mut self, item: &[u8]) -> Result<(), FileError> {
        if self.page.len() + item.len() > DATA_BYTES {
            self.end_page()?;
        }
        self.page.extend_from_slice(item);
        Ok(())
    }

    /// Ends the current page, if it has items.
    pub(super) fn end_section(&mut self) -> Result<(), FileError> {
        match self.page.is_empty() {
            true => Ok(()),
            false => self.end_page(),
        }
    }

    fn end_page(&mut self) -> Result<(), FileError> {
        self.page.resize(DATA_BYTES, 0);
        let checksum = checksum(&self.key, self.number, &self.page);
        let written = self.out.write_all(&self.page);
        let written = written.and_then(|()| self.out.write_all(&checksum));
        written.map_err(|error| FileError::io("write", &self.path, error))?;
        self.page.clear();
        self.number += 1;
        Ok(())
    }

    /// Ends the file; it is on the disk when this returns.
    pub(super) fn finish(mut self) -> Result<File, FileError> {
        self.end_section()?;
        let path = self.path;
        let file = self
            .out
            .into_inner()
            .map_err(io::IntoInnerError::into_error);
        let synced = file.and_then(|file| file.sync_all().map(|()| file));
        synced.map_err(|error| FileError::io("write", &path, error))
    }
}
