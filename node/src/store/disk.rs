//! File system interface of cold storage: a narrow trait and its std implementation. Tests put a
//! simulated disk behind the trait that loses, tears and refuses writes.
//!
//! Assumptions about a disk; no others are made:
//! - Data for which [`DiskFile::sync`] returned is read back after a power loss, at its offset and
//!   with its length. Data written and not synced may survive whole, in part or not at all, in any
//!   order.
//! - [`Disk::rename`] replaces atomically. A name that was created, renamed or removed is durable
//!   once [`Disk::sync_dir`] returned for its directory; before that either state may come back.
//! - After a failed write or sync the state of everything not yet synced is unknown; such a file is
//!   never written to again.
//! - A path may lead to another file or directory at any time: an operator, a script or another
//!   program may remove or replace it. [`FileId`] shows whether a path still leads to an open file.

mod lock;
mod metadata;
mod shared;
mod system;

pub use lock::{DirLock, Displaced};
pub(super) use metadata::is_read_only;
pub use shared::{OBJECT_STORE, Shared, SharedStatus, TURN_LIMIT, Turn};
pub use system::{ReadOnlyDisk, SystemDisk, is_within, real_path};

use super::mmap::Map;
use core::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Entry of a directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DirEntry {
    /// Name of the entry. Names that are not UTF-8 are not listed.
    pub name: String,
    /// True for a directory.
    pub is_dir: bool,
    /// Length of a file, in bytes.
    pub len: u64,
}

/// Identity of a file or directory, independent of its name. Not reused while the file is open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileId {
    /// Device or file system.
    pub device: u64,
    /// Inode number on that device.
    pub inode: u64,
}

/// File system operations that cold storage needs.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Creates a directory and its missing parents. An existing directory is not an error.
    ///
    /// # Errors
    /// Fails if the disk refuses.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Lists a directory, in no particular order. A missing directory counts as empty.
    ///
    /// # Errors
    /// Fails if the disk refuses.
    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>>;

    /// Creates an empty file for reading and writing, truncating an existing one.
    ///
    /// # Errors
    /// Fails if the disk refuses.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file for reading.
    ///
    /// # Errors
    /// Fails if the file does not exist or the disk refuses.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Renames a file, replacing an existing one.
    ///
    /// # Errors
    /// Fails if the disk refuses.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. A missing file is not an error.
    ///
    /// # Errors
    /// Fails if the disk refuses.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// Fails if the disk refuses.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Returns the identity of the file or directory at a path, or `None` if it does not exist.
    ///
    /// # Errors
    /// Fails if the disk refuses.
    fn identity(&self, path: &Path) -> io::Result<Option<FileId>>;

    /// Locks the directory at `root` and the file `LOCK` in it, which is created if possible.
    /// Returns `None` if another opener holds one of the locks. Dropping the lock releases it.
    ///
    /// # Errors
    /// Fails if the disk refuses. A read-only disk is not an error.
    fn lock(&self, root: &Path) -> io::Result<Option<Box<dyn DirLock>>>;

    /// Returns the part that is shared with other nodes, if sealed pairs are.
    fn shared(&self) -> Option<&dyn Shared> {
        None
    }
}

/// Open file.
pub trait DiskFile: Send + Sync {
    /// Returns the length in bytes.
    ///
    /// # Errors
    /// Fails if the disk refuses.
    fn len(&self) -> io::Result<u64>;

    /// Returns whether the file is empty.
    ///
    /// # Errors
    /// Same as [`Self::len`].
    fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|len| len == 0)
    }

    /// Returns the identity of the file, independent of its current name.
    ///
    /// # Errors
    /// Fails if the disk refuses.
    fn identity(&self) -> io::Result<FileId>;

    /// Fills `buffer` with the bytes from `offset` on.
    ///
    /// # Errors
    /// Returns [`io::ErrorKind::UnexpectedEof`] if the file ends first; fails if the disk refuses.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// Fails if the disk refuses; some of the bytes may have been written.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Blocks until everything written is durable, including the length.
    ///
    /// # Errors
    /// Fails if the disk refuses.
    fn sync(&self) -> io::Result<()>;

    /// Maps the file into memory, or returns `None` if this disk does not support it. For sealed
    /// files only.
    ///
    /// # Errors
    /// Fails if the system refuses the mapping.
    fn map(&self) -> io::Result<Option<Map>> {
        Ok(None)
    }

    /// Drops copies of the content that are kept nearer than the file, so that the next read is from
    /// the file. Returns `false` if there were none.
    fn forget(&self) -> bool {
        false
    }
}
