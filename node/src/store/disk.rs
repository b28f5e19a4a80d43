//! The file system as cold storage sees it: a narrow trait, so that tests can put a disk behind it
//! that loses, tears and refuses; and its std implementation.
//!
//! What is assumed of a disk, and nothing more:
//! - What [`DiskFile::sync`] returned for is read back after a power loss, at its place and length.
//!   What was written and not synced may be there whole, in part or not at all, in any order.
//! - [`Disk::rename`] replaces atomically. A name that was made, renamed or removed is settled once
//!   [`Disk::sync_dir`] returned for its directory; before that either state may come back.
//! - After a failed write or sync nothing is known of what was not synced before; such a file is
//!   never written to again.

use super::map::Map;
use core::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

/// What a directory holds under one name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DirEntry {
    /// The name, where it is UTF-8; others are not ours.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Bytes in it, where it is a file.
    pub len: u64,
}

/// A file system.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Makes a directory and what is missing above it; that it exists is no error.
    ///
    /// # Errors
    /// When the disk refuses.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// What a directory holds, in no order. A directory that does not exist is empty.
    ///
    /// # Errors
    /// When the disk refuses.
    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>>;

    /// Makes an empty file to write to and read from; one of that name loses what it held.
    ///
    /// # Errors
    /// When the disk refuses.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file to read.
    ///
    /// # Errors
    /// When there is none or the disk refuses.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Renames a file, over one that has the new name.
    ///
    /// # Errors
    /// When the disk refuses.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file; that there is none is no error.
    ///
    /// # Errors
    /// When the disk refuses.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Settles the names in a directory.
    ///
    /// # Errors
    /// When the disk refuses.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Takes the lock that the file at `path` stands for, making it where it can; `None` when
    /// somebody else has it. Dropping gives it back.
    ///
    /// # Errors
    /// When the disk refuses; a disk that cannot be written to is no reason.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>>;
}

/// An open file.
pub trait DiskFile: Send + Sync {
    /// Bytes in the file.
    ///
    /// # Errors
    /// When the disk refuses.
    fn len(&self) -> io::Result<u64>;

    /// Whether it holds none.
    ///
    /// # Errors
    /// As [`Self::len`].
    fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|len| len == 0)
    }

    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    /// When the disk refuses; [`ErrorKind::UnexpectedEof`] when the file ends before.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// When the disk refuses; some of it may have been written then.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Returns once everything written is on the disk, with the length.
    ///
    /// # Errors
    /// When the disk refuses.
    fn sync(&self) -> io::Result<()>;

    /// The file in memory, if this disk can do that. Only for files that nobody writes to any more.
    ///
    /// # Errors
    /// When the system refuses.
    fn map(&self) -> io::Result<Option<Map>> {
        Ok(None)
    }
}

/// The system's own files.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemDisk;

impl Disk for SystemDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let entries = match fs::read_dir(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut listed = Vec::new();
        for entry in entries {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let metadata = match fs::metadata(entry.path()) {
                // It went away in between, or is a link to nothing.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                // A link that leads nowhere: who opens it hears of it, the others can be opened.
                Err(_) => entry.metadata()?,
                Ok(metadata) => metadata,
            };
            listed.push(DirEntry {
                name,
                is_dir: metadata.is_dir(),
                len: metadata.len(),
            });
        }
        Ok(listed)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)?;
        Ok(Arc::new(SystemFile(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        // A pipe in a file's place must not hold anybody up.
        let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
        let mut options = OpenOptions::new();
        let file = options.read(true).custom_flags(nonblocking).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        Ok(Arc::new(SystemFile(file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        // Only Unix lets a directory be opened and synced; elsewhere renames are settled in order.
        if cfg!(unix) {
            File::open(path)?.sync_all()?;
        }
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        let writable = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path);
        let file = match writable {
            Err(error) if is_read_only(&error) => return lock_existing(path),
            file => file?,
        };
        try_lock(file)
    }
}

/// Locks a file that is only read. Where there is none, nobody of ours has the store open.
fn lock_existing(path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
    match File::open(path) {
        Err(missing) if missing.kind() == ErrorKind::NotFound => Ok(Some(Box::new(()))),
        file => try_lock(file?),
    }
}

fn try_lock(file: File) -> io::Result<Option<Box<dyn Send + Sync>>> {
    match file.try_lock() {
        Ok(()) => Ok(Some(Box::new(file))),
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(error)) => Err(error),
    }
}

/// The system's own files, to be read and left as they are.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadOnlyDisk;

fn refuse<T>() -> io::Result<T> {
    Err(ErrorKind::ReadOnlyFilesystem.into())
}

impl Disk for ReadOnlyDisk {
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        refuse()
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        SystemDisk.list(path)
    }

    fn create(&self, _: &Path) -> io::Result<Arc<dyn DiskFile>> {
        refuse()
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        SystemDisk.open(path)
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        refuse()
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        refuse()
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        refuse()
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        lock_existing(path)
    }
}

/// Whether the disk says that it may be read and not written.
pub(super) fn is_read_only(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem
    )
}

#[derive(Debug)]
struct SystemFile(File);

#[cfg(unix)]
impl DiskFile for SystemFile {
    fn len(&self) -> io::Result<u64> {
        self.0.metadata().map(|metadata| metadata.len())
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.0, buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(&self.0, bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn map(&self) -> io::Result<Option<Map>> {
        Map::new(&self.0).map(Some)
    }
}
