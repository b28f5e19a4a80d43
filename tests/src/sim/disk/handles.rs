//! Open files and locks of a simulated disk.

use super::{SimDisk, off, write};
use astreum_node::store::disk::{DirLock, DiskFile, Displaced, FileId};
use std::io::{self, ErrorKind};
use std::path::PathBuf;

pub(super) struct SimLock {
    pub(super) disk: SimDisk,
    pub(super) root: PathBuf,
    pub(super) id: FileId,
}

impl DirLock for SimLock {
    fn displaced(&self) -> io::Result<Option<Displaced>> {
        let mut state = self.disk.state();
        state.read()?;
        let found = state.identity(&self.root);
        Ok((found != Some(self.id)).then(|| Displaced {
            path: self.root.clone(),
            is_missing: found.is_none(),
        }))
    }
}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.disk.state().locks.remove(&self.root);
    }
}

pub(super) struct SimFile {
    pub(super) disk: SimDisk,
    pub(super) inode: usize,
}

impl Drop for SimFile {
    fn drop(&mut self) {
        if let Some(inode) = self.disk.state().inodes.get_mut(self.inode) {
            inode.opened = inode.opened.saturating_sub(1);
        }
    }
}

impl DiskFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        let mut state = self.disk.state();
        state.read()?;
        Ok(state.inode(self.inode)?.now.len() as u64)
    }

    fn identity(&self) -> io::Result<FileId> {
        let inode = 2 * self.inode as u64;
        Ok(FileId { device: 1, inode })
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.read()?;
        let now = &state.inode(self.inode)?.now;
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let bytes = start
            .checked_add(buffer.len())
            .and_then(|end| now.get(start..end))
            .ok_or(ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        let offset = usize::try_from(offset).map_err(|_| ErrorKind::FileTooLarge)?;
        // A failed write may have written its first half.
        let (bytes, outcome) = match state.change() {
            Ok(false) => (bytes, Ok(())),
            Ok(true) => (bytes, Err(off())),
            Err(error) if state.off => return Err(error),
            Err(error) => (bytes.get(..bytes.len() / 2).unwrap_or_default(), Err(error)),
        };
        let inode = state.inode(self.inode)?;
        write(&mut inode.now, offset, bytes);
        inode.pending.push((offset, bytes.to_vec()));
        outcome
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        if state.change()? {
            return Err(off());
        }
        let fault = state.sync_fault();
        let inode = state.inode(self.inode)?;
        if let Some(kind) = fault {
            // As in the kernel: pages that could not be written count as clean afterwards.
            inode.is_dropped |= !inode.pending.is_empty();
            inode.pending.clear();
            return Err(kind.into());
        }
        if !inode.is_dropped {
            inode.durable.clone_from(&inode.now);
        }
        inode.pending.clear();
        Ok(())
    }
}
