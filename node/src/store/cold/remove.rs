//! Removal of files whose content is stored elsewhere.
//!
//! The index of a merged pair first loses its final name, durably, before the data is removed: a
//! reference node cannot handle an index without data. The index is removed last, under its
//! temporary name, so that data without an index is always recognized as left over.
//!
//! Files that the disk refuses to remove are remembered, count as used space, and are removed
//! before anything else is written: a disk that fails occasionally must not fill up with
//! unreferenced files.

use super::set_aside::Moves;
use super::{ColdError, Inner};
use crate::store::disk::FileId;
use crate::store::journal::{Segment, leftover_name};
use crate::store::sorted_pair::{data_name, index_name, lengths_name, temporary_name};
use core::sync::atomic::Ordering;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Files whose content is durable elsewhere.
pub(super) enum Obsolete {
    Segments(Vec<Arc<Segment>>),
    /// Numbers of pairs and their bytes.
    Pairs {
        level: u32,
        pairs: Vec<(u64, u64)>,
    },
    /// Damaged files to be moved; entries before it in the list are removed afterwards.
    SetAside(Moves),
}

impl Obsolete {
    fn bytes(&self) -> u64 {
        match self {
            Self::Segments(segments) => segments.iter().map(|segment| segment.file_bytes()).sum(),
            Self::Pairs { pairs, .. } => pairs.iter().map(|(_, bytes)| bytes).sum(),
            // Reported separately.
            Self::SetAside(_) => 0,
        }
    }
}

impl Inner {
    /// Removes the obsolete files, last entry first. Files that cannot be removed are tried again
    /// next time.
    pub(super) fn remove_obsolete(&self, obsolete: &mut Vec<Obsolete>) -> Result<(), ColdError> {
        let mut removed = Ok(());
        while let Some(last) = obsolete.last()
            && removed.is_ok()
        {
            // Another directory at this path would have files of the same names.
            removed = self.check_place().and_then(|()| match last {
                Obsolete::Segments(segments) => self.remove_segments(segments),
                Obsolete::Pairs { level, pairs } => self.remove_pairs(*level, pairs),
                Obsolete::SetAside(moves) => self.set_aside(moves),
            });
            if removed.is_ok() {
                obsolete.pop();
            }
        }
        // Only counted after a failure: files about to be removed do not count against the limit.
        let left = obsolete.iter().map(Obsolete::bytes).sum();
        self.obsolete_bytes.store(left, Ordering::Relaxed);
        removed
    }

    fn remove_segments(&self, segments: &[Arc<Segment>]) -> Result<(), ColdError> {
        let level_0 = self.level_dir(0);
        let mut leftovers = false;
        for segment in segments {
            for journal in segment.journals() {
                // A damaged journal is set aside, and a replaced one belongs to another program.
                if !journal.is_damaged() && self.is_at(&journal.path, journal.id) {
                    self.remove(&journal.path)?;
                }
            }
            for id in segment.leftovers() {
                self.remove(&level_0.join(leftover_name(&id)))?;
                leftovers = true;
            }
        }
        if leftovers {
            self.sync_dir(&level_0)?;
        }
        self.sync_dir(&self.root)
    }

    fn remove_pairs(&self, level: u32, pairs: &[(u64, u64)]) -> Result<(), ColdError> {
        self.begin_turn()?;
        let dir = self.level_dir(level);
        let obsolete_path = |number| dir.join(temporary_name(&index_name(number)));
        for &(number, _) in pairs {
            let (from, to) = (dir.join(index_name(number)), obsolete_path(number));
            match self.disk.rename(&from, &to) {
                // An earlier attempt renamed it, or it never had its final name.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                renamed => renamed.map_err(|error| ColdError::io("rename", &from, &error))?,
            }
        }
        self.sync_dir(&dir)?;
        for &(number, _) in pairs {
            self.remove(&dir.join(data_name(number)))?;
            self.remove(&dir.join(lengths_name(number)))?;
        }
        self.sync_dir(&dir)?;
        for &(number, _) in pairs {
            self.remove(&obsolete_path(number))?;
        }
        Ok(())
    }

    /// Returns whether the file with this identity has this name; `false` if the disk cannot report it.
    pub(super) fn is_at(&self, path: &Path, id: FileId) -> bool {
        matches!(self.disk.identity(path), Ok(Some(found)) if found == id)
    }

    fn remove(&self, path: &Path) -> Result<(), ColdError> {
        let removed = self.disk.remove(path);
        removed.map_err(|error| ColdError::io("remove", path, &error))
    }

    pub(super) fn sync_dir(&self, path: &Path) -> Result<(), ColdError> {
        let synced = self.disk.sync_dir(path);
        synced.map_err(|error| ColdError::io("sync", path, &error))
    }
}
