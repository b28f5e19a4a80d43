//! File system interface of cold storage: a narrow trait, so that tests can put a simulated disk
//! behind it that loses, tears and refuses writes; and its std implementation.
//!
//! Assumptions about a disk, and nothing more:
//! - Data for which [`DiskFile::sync`] returned is read back after a power loss, at its offset and
//!   with its length. Data written and not synced may survive whole, in part or not at all, in any
//!   order.
//! - [`Disk::rename`] replaces atomically. A name that was created, renamed or removed is durable
//!   once [`Disk::sync_dir`] returned for its directory; before that either state may come back.
//! - After a failed write or sync the state of everything not yet synced is unknown; such a file is
//!   never written to again.
//! - A path may lead to another file or directory at any time: an operator, a script or another
//!   program may remove or replace it. [`FileId`] tells whether a path still leads to an open file.

mod lock;
mod system;

pub use lock::{DirLock, Displaced};
pub(super) use system::is_read_only;
pub use system::{ReadOnlyDisk, SystemDisk, real_path};

use super::map::Map;
use core::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// One name in a directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DirEntry {
    /// The name. Names that are not UTF-8 are not listed.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Length in bytes of a file.
    pub len: u64,
}

/// Identity of a file or directory, independent of its name. Not reused while the file is open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileId {
    /// The device or file system.
    pub device: u64,
    /// The inode on it.
    pub inode: u64,
}

/// A file system.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Creates a directory and its missing parents. An existing directory is not an error.
    ///
    /// # Errors
    /// When the disk refuses.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Lists a directory, in no order. A directory that does not exist is empty.
    ///
    /// # Errors
    /// When the disk refuses.
    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>>;

    /// Creates an empty file for reading and writing, truncating an existing one.
    ///
    /// # Errors
    /// When the disk refuses.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file for reading.
    ///
    /// # Errors
    /// When it does not exist or the disk refuses.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Renames a file, replacing an existing one.
    ///
    /// # Errors
    /// When the disk refuses.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. A missing file is not an error.
    ///
    /// # Errors
    /// When the disk refuses.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// When the disk refuses.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Identity of the file or directory at a path, `None` when there is none.
    ///
    /// # Errors
    /// When the disk refuses.
    fn identity(&self, path: &Path) -> io::Result<Option<FileId>>;

    /// Locks the directory at `root` and the file `LOCK` in it, which is created where possible;
    /// `None` when another opener holds one of the locks. Dropping the lock releases it.
    ///
    /// # Errors
    /// When the disk refuses. A read-only disk is not an error.
    fn lock(&self, root: &Path) -> io::Result<Option<Box<dyn DirLock>>>;
}

/// An open file.
pub trait DiskFile: Send + Sync {
    /// Length in bytes.
    ///
    /// # Errors
    /// When the disk refuses.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file is empty.
    ///
    /// # Errors
    /// As [`Self::len`].
    fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|len| len == 0)
    }

    /// Identity of the file, whatever its name is now.
    ///
    /// # Errors
    /// When the disk refuses.
    fn identity(&self) -> io::Result<FileId>;

    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    /// When the disk refuses; [`io::ErrorKind::UnexpectedEof`] when the file ends before.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// When the disk refuses; a part may have been written then.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Returns once everything written is durable, the length included.
    ///
    /// # Errors
    /// When the disk refuses.
    fn sync(&self) -> io::Result<()>;

    /// Maps the file into memory, if this disk supports it. Only for sealed files.
    ///
    /// # Errors
    /// When the system refuses.
    fn map(&self) -> io::Result<Option<Map>> {
        Ok(None)
    }
}
