//! Files of the operating system, writable and read-only.

use super::lock::SystemLock;
use super::metadata::file_id;
use super::{DirEntry, DirLock, Disk, DiskFile, FileId};
use crate::store::mmap::Map;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Files of the operating system.
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
            // A dangling link is listed: its target may be on a disk that is not mounted now, and
            // is not lost.
            let metadata = match fs::metadata(entry.path()) {
                Ok(metadata) => metadata,
                Err(_) => match entry.metadata() {
                    // Removed meanwhile.
                    Err(error) if error.kind() == ErrorKind::NotFound => continue,
                    metadata => metadata?,
                },
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
        // Opening a pipe in place of a file would block otherwise.
        let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
        let mut options = OpenOptions::new();
        let file = options.read(true).custom_flags(nonblocking).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("not a regular file"));
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
        // Only Unix can open and sync a directory; other systems are assumed to order renames
        // themselves.
        if cfg!(unix) {
            File::open(path)?.sync_all()?;
        }
        Ok(())
    }

    fn identity(&self, path: &Path) -> io::Result<Option<FileId>> {
        match fs::metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            metadata => Ok(Some(file_id(&metadata?))),
        }
    }

    fn lock(&self, root: &Path) -> io::Result<Option<Box<dyn DirLock>>> {
        boxed(SystemLock::take(root, true))
    }
}

fn boxed(lock: io::Result<Option<SystemLock>>) -> io::Result<Option<Box<dyn DirLock>>> {
    Ok(lock?.map(|lock| -> Box<dyn DirLock> { Box::new(lock) }))
}

/// Files of the operating system, read-only: every change is refused.
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

    fn identity(&self, path: &Path) -> io::Result<Option<FileId>> {
        SystemDisk.identity(path)
    }

    fn lock(&self, root: &Path) -> io::Result<Option<Box<dyn DirLock>>> {
        boxed(SystemLock::take(root, false))
    }
}

/// Returns the absolute path, with links resolved if the path exists.
#[must_use]
pub fn real_path(path: &Path) -> PathBuf {
    path.canonicalize()
        .or_else(|_| std::path::absolute(path))
        .unwrap_or_else(|_| path.to_owned())
}

/// Returns whether `path`, which need not exist, is in `directory` or is the directory itself. Links
/// are resolved.
#[must_use]
pub fn is_within(path: &Path, directory: &Path) -> bool {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut existing = path.ancestors().filter_map(|it| it.canonicalize().ok());
    let existing = existing.next();
    existing.is_some_and(|existing| existing.starts_with(real_path(directory)))
}

#[derive(Debug)]
struct SystemFile(File);

impl DiskFile for SystemFile {
    fn len(&self) -> io::Result<u64> {
        self.0.metadata().map(|metadata| metadata.len())
    }

    fn identity(&self) -> io::Result<FileId> {
        self.0.metadata().map(|metadata| file_id(&metadata))
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn map(&self) -> io::Result<Option<Map>> {
        Map::new(&self.0).map(Some)
    }
}
