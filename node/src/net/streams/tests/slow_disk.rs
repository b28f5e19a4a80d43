//! Disk whose reads and syncs take long, and whose reads may fail.

use crate::config::Settings;
use crate::store::Store;
use crate::store::cold::{ColdOptions, ColdStore};
use crate::store::disk::{DirEntry, DirLock, Disk, DiskFile, FileId, SystemDisk};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use std::io;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

/// Times that each read and each sync takes, in milliseconds, and whether reads fail.
#[derive(Debug, Default)]
pub(super) struct Delays {
    pub(super) read_fails: AtomicBool,
    pub(super) read: AtomicU64,
    pub(super) sync: AtomicU64,
}

impl Delays {
    /// Creates a store with cold storage on such a disk.
    pub(super) fn store(self: &Arc<Self>) -> (Store, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let options = ColdOptions::from(&Settings::default());
        let disk = Arc::new(SlowDisk(Arc::clone(self)));
        let cold = ColdStore::open_on(disk, folder.path(), options).unwrap();
        (Store::with_cold(64 << 20, Some(cold)), folder)
    }
}

fn wait(delay: &AtomicU64) {
    std::thread::sleep(Duration::from_millis(delay.load(Ordering::Relaxed)));
}

#[derive(Debug)]
struct SlowDisk(Arc<Delays>);

struct SlowFile(Arc<dyn DiskFile>, Arc<Delays>);

impl DiskFile for SlowFile {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn identity(&self) -> io::Result<FileId> {
        self.0.identity()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        wait(&self.1.read);
        if self.1.read_fails.load(Ordering::Relaxed) {
            return Err(io::Error::other("the disk is gone"));
        }
        self.0.read_exact_at(buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        wait(&self.1.sync);
        self.0.sync()
    }
}

impl Disk for SlowDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        SystemDisk.create_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        SystemDisk.list(path)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = SystemDisk.create(path)?;
        Ok(Arc::new(SlowFile(file, Arc::clone(&self.0))))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = SystemDisk.open(path)?;
        Ok(Arc::new(SlowFile(file, Arc::clone(&self.0))))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        SystemDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        SystemDisk.remove(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        SystemDisk.sync_dir(path)
    }

    fn identity(&self, path: &Path) -> io::Result<Option<FileId>> {
        SystemDisk.identity(path)
    }

    fn lock(&self, root: &Path) -> io::Result<Option<Box<dyn DirLock>>> {
        SystemDisk.lock(root)
    }
}
