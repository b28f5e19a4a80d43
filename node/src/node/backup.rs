//! Backup of a node that runs: cold storage with the files of its chain.
//!
//! Invariants:
//! - The head journal is read before atoms are copied, and a head is saved only after its atoms, so
//!   that the copy has every atom of each of its heads. Signing records are read after: a later one
//!   only keeps a key silent for longer.
//! - The directory gets its name once everything in it is on the disk: a directory under that name
//!   is complete. One under another name that was interrupted, or a copy of it, is marked as
//!   incomplete until then, and no node starts on it.

use super::{Node, NodeError};
use crate::chain_service::dir::{copy_head_journal, copy_other_files, location};
use crate::store::cold::{BackedUp, ColdError};
use crate::store::disk::is_within;
use core::fmt;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Reason a backup failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum BackupError {
    /// The node has no cold storage.
    NoColdStorage,
    /// The directory is not a place for a backup.
    Place {
        /// Path of the directory.
        path: PathBuf,
        /// Description of the error.
        problem: &'static str,
    },
    /// Cold storage could not be copied.
    Cold(ColdError),
    /// Another file or directory could not be read or written.
    Io {
        /// Name of the operation.
        operation: &'static str,
        /// Path of the file or directory.
        path: PathBuf,
        /// Error of the system.
        error: io::Error,
    },
}

impl BackupError {
    fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Io {
            operation,
            path: path.to_owned(),
            error,
        }
    }
}

impl fmt::Display for BackupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoColdStorage => {
                f.write_str("this node has no cold storage, so there is nothing to back up")
            }
            Self::Place { path, problem } => {
                write!(f, "cannot back up to {}: {problem}", path.display())
            }
            Self::Cold(error) => error.fmt(f),
            Self::Io {
                operation,
                path,
                error,
            } => write!(f, "cannot {operation} {}: {error}", path.display()),
        }
    }
}

impl core::error::Error for BackupError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Cold(error) => Some(error),
            Self::Io { error, .. } => Some(error),
            Self::NoColdStorage | Self::Place { .. } => None,
        }
    }
}

impl Node {
    /// Copies cold storage, and the files of the chain, to the directory `to`, which is created,
    /// or is empty. The node continues meanwhile; what was stored before the call is in the copy.
    ///
    /// The copy is a directory of cold storage with the chain's files in its subdirectory `chain`:
    /// a node whose `cold_storage_path` leads to it resumes from it. Keys, configuration, and the
    /// files of `state_dir` are not part of it.
    ///
    /// `should_continue` is asked regularly; the backup is given up once it returns `false`. A backup that
    /// fails leaves nothing behind.
    ///
    /// # Errors
    /// Fails if the node has no cold storage, `to` is not empty or is in cold storage, or a disk
    /// fails.
    pub fn back_up(
        &self,
        to: &Path,
        should_continue: &dyn Fn() -> bool,
    ) -> Result<BackedUp, NodeError> {
        let to = std::path::absolute(to).map_err(BackupError::io("find", to))?;
        // Without a slash at its end.
        let to: PathBuf = to.components().collect();
        let cold = self.store().cold().ok_or(BackupError::NoColdStorage)?;
        check_place(&to, cold.path())?;
        let partial = Partial::create(&to)?;
        let chain = location(self.settings(), false)?;
        let chain_to = partial.path.join("chain");
        let chain_to = chain_to.join(self.settings().chain_id.to_string());
        let heads = chain.as_deref().map(copy_head_journal).transpose()?;
        let unfinished = cold.begin_backup(&partial.path, should_continue);
        let unfinished = unfinished.map_err(BackupError::Cold)?;
        let mut beside = BackedUp::default();
        if let (Some(from), Some(heads)) = (chain, heads.flatten()) {
            beside = copy_other_files(&from, &chain_to, &heads)?;
        }
        let mut done = unfinished.finish().map_err(BackupError::Cold)?;
        done.files += beside.files;
        done.bytes += beside.bytes;
        partial.finish(&to)?;
        Ok(done)
    }
}

/// Checks that a backup can get this path.
fn check_place(to: &Path, cold: &Path) -> Result<(), BackupError> {
    let refused = |problem| BackupError::Place {
        path: to.to_owned(),
        problem,
    };
    if is_within(to, cold) {
        return Err(refused(
            "it is in the cold storage of the node; choose a directory on another disk",
        ));
    }
    match fs::read_dir(to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            Err(refused("it is not a directory"))
        }
        Err(error) => Err(BackupError::io("read", to)(error)),
        Ok(mut entries) => match entries.next() {
            None if is_mount_point(to) => {
                Err(refused("it is a mount point; choose a new directory in it"))
            }
            None => Ok(()),
            Some(_) => Err(refused(
                "it is not empty; choose an empty or a new directory",
            )),
        },
    }
}

/// Returns whether a directory is on another device than its parent.
fn is_mount_point(path: &Path) -> bool {
    let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev()).ok();
    path.parent()
        .is_none_or(|parent| device(parent) != device(path))
}

/// Directory of a backup that is under way; removed unless it is finished.
struct Partial {
    path: PathBuf,
}

impl Partial {
    /// Creates a directory beside the final one.
    fn create(to: &Path) -> Result<Self, BackupError> {
        let mut name = to.as_os_str().to_owned();
        name.push(OsString::from(format!(".{}.part", std::process::id())));
        let path = PathBuf::from(name);
        fs::create_dir(&path).map_err(BackupError::io("create", &path))?;
        Ok(Self { path })
    }

    /// Gives the directory its final name.
    fn finish(self, to: &Path) -> Result<(), BackupError> {
        let sync = |path: &Path| File::open(path).and_then(|dir| dir.sync_all());
        sync(&self.path).map_err(BackupError::io("sync", &self.path))?;
        // An empty directory of this name is replaced.
        fs::rename(&self.path, to).map_err(BackupError::io("rename to", to))?;
        let parent = to.parent().unwrap_or(to);
        sync(parent).map_err(BackupError::io("sync", parent))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Nothing to remove once it has its final name.
        if let Err(error) = fs::remove_dir_all(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            let path = self.path.display();
            crate::log::warn!("cannot remove the incomplete backup {path}: {error}");
        }
    }
}
