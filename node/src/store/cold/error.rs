//! Errors of cold storage.

use crate::store::disk::{Displaced, TURN_LIMIT};
use astreum_core::atom::AtomId;
use core::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Error of cold storage.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ColdError {
    /// The directory is open in another process.
    Locked {
        /// Path of the directory.
        path: PathBuf,
    },
    /// The directory was written by a newer version.
    Format {
        /// Path of the `FORMAT` file.
        path: PathBuf,
        /// Content of the file.
        found: String,
    },
    /// The `FORMAT` file is damaged.
    FormatDamaged {
        /// Path of the file.
        path: PathBuf,
        /// Content of the file.
        found: String,
    },
    /// The directory is a backup that was interrupted.
    Incomplete {
        /// Path of the directory.
        path: PathBuf,
    },
    /// The directory or a file in it was removed or replaced while it was open.
    Displaced(Displaced),
    /// An operation on the disk failed.
    Io {
        /// Name of the operation.
        operation: &'static str,
        /// Path of the file or directory.
        path: PathBuf,
        /// Kind of the failure.
        kind: io::ErrorKind,
        /// Error message of the system.
        message: String,
    },
    /// The limit of the store is reached.
    LimitReached {
        /// Bytes in use.
        used_bytes: u64,
        /// Maximum bytes.
        limit_bytes: u64,
    },
    /// A write alone exceeds the limit of the store.
    WriteTooLarge {
        /// Bytes that the write takes.
        write_bytes: u64,
        /// Maximum bytes.
        limit_bytes: u64,
    },
    /// An atom exceeds the maximum size of a journal record.
    AtomTooLarge {
        /// Size of the atom, in stored bytes.
        stored_bytes: usize,
    },
    /// The directory to read does not exist, or is not a cold store.
    Nothing {
        /// Path of the directory.
        path: PathBuf,
    },
    /// The directory to write to is not empty.
    NotEmpty {
        /// Path of the directory.
        path: PathBuf,
    },
    /// Damaged files that were set aside take as much space as the store may hold.
    SetAsideFull {
        /// Bytes in use.
        used_bytes: u64,
        /// Maximum bytes.
        limit_bytes: u64,
    },
    /// The caller of a backup is gone, or a garbage collection was stopped.
    Cancelled,
    /// A garbage collection is under way already.
    Collecting,
    /// An atom that a garbage collection has to keep is damaged.
    Unreadable {
        /// Id of the atom.
        id: AtomId,
    },
    /// The sealed pairs are shared with other nodes, so that garbage cannot be determined.
    SharedPairs,
    /// Another node is changing the shared pairs.
    NotOurTurn {
        /// Name of that node.
        holder: String,
    },
    /// An operation on shared pairs failed.
    Shared {
        /// Name of the operation.
        operation: &'static str,
        /// Local directory of the store.
        root: PathBuf,
        /// Description of the failure.
        message: String,
    },
    /// A pair of an object store could not be opened.
    Unopened {
        /// Path of its index.
        path: PathBuf,
    },
    /// The directory is the local part of a store whose pairs are in an object store.
    OfObjectStore {
        /// Path of the file that marks it.
        path: PathBuf,
    },
    /// The object store could not be opened.
    ObjectStore {
        /// Address of the object store.
        url: String,
        /// Description of the failure.
        message: String,
    },
    /// A level was damaged again right after its repair.
    DamagedAgain {
        /// Path of the level's directory.
        path: PathBuf,
    },
}

impl ColdError {
    pub(super) fn io(operation: &'static str, path: &Path, error: &io::Error) -> Self {
        let message = match error.kind() {
            // An existing directory is not an error, so the path leads to something else.
            io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
                "expected a directory: the path is a file or leads through one".into()
            }
            _ => error.to_string(),
        };
        Self::Io {
            operation,
            path: path.to_owned(),
            kind: error.kind(),
            message,
        }
    }
}

impl ColdError {
    /// Returns whether the disk is readable but not writable.
    pub(super) const fn is_read_only(&self) -> bool {
        matches!(
            self,
            Self::Io {
                kind: io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem,
                ..
            }
        )
    }

    /// Returns whether the cause may disappear without a change of the written atoms.
    pub(super) const fn is_of_disk(&self) -> bool {
        matches!(self, Self::Io { .. } | Self::Displaced(_))
    }
}

/// Describes a limit that is reached, without advice.
pub(in crate::store) fn limit_text(used_bytes: u64, limit_bytes: u64) -> String {
    format!("cold storage limit reached ({used_bytes} of {limit_bytes} bytes)")
}

impl fmt::Display for ColdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked { path } => write!(
                f,
                "another process has {} open; stop it or choose another cold_storage_path",
                path.display()
            ),
            Self::Format { path, found } => write!(
                f,
                "{} has the unknown format {found:?}; use a newer version, or, if no newer version \
                 has written here, the file is damaged: remove it and start again",
                path.display()
            ),
            Self::FormatDamaged { path, found } => write!(
                f,
                "{} is damaged: it contains {found:?}; remove it: the next start creates it again",
                path.display()
            ),
            Self::Incomplete { path } => write!(
                f,
                "{} is an incomplete backup, which was interrupted or is still being written: \
                 remove it, and use or make another one",
                path.display()
            ),
            Self::Displaced(displaced) => write!(
                f,
                "{displaced}: refusing writes, because they would be lost; put it back, or stop \
                 the node and start it again",
            ),
            Self::Io {
                operation,
                path,
                message,
                ..
            } => write!(f, "cannot {operation} {}: {message}", path.display()),
            Self::LimitReached {
                used_bytes,
                limit_bytes,
            } => write!(
                f,
                "{}; raise cold_storage_limit",
                limit_text(*used_bytes, *limit_bytes)
            ),
            Self::WriteTooLarge {
                write_bytes,
                limit_bytes,
            } => write!(
                f,
                "write of {write_bytes} bytes exceeds the limit of cold storage, {limit_bytes} \
                 bytes; raise cold_storage_limit"
            ),
            Self::AtomTooLarge { stored_bytes } => write!(
                f,
                "atom of {stored_bytes} stored bytes exceeds the journal maximum of {}; split the \
                 data and store it as a list of atoms",
                super::super::journal::MAX_RECORD_BYTES
            ),
            Self::Nothing { path } => write!(
                f,
                "no cold storage in {}: the directory is missing, empty, or something else",
                path.display()
            ),
            Self::NotEmpty { path } => write!(
                f,
                "{} is not empty; choose an empty or a new directory",
                path.display()
            ),
            Self::SetAsideFull {
                used_bytes,
                limit_bytes,
            } => write!(
                f,
                "damaged files that are set aside use {used_bytes} of {limit_bytes} bytes: further \
                 ones are not repaired; inspect them with `astreum store damaged` and remove them \
                 with `astreum store damaged --clear`"
            ),
            Self::Cancelled => f.write_str("the operation was cancelled"),
            Self::Collecting => f.write_str(
                "a garbage collection is under way already; try again once it has ended",
            ),
            Self::Unreadable { id } => write!(
                f,
                "cannot collect garbage: atom {id}, which has to be kept, is damaged; see \
                 `astreum store verify`"
            ),
            Self::SharedPairs => f.write_str(
                "refusing to collect garbage in an object store: other nodes use the same pairs, \
                 and what they pin and follow is not known here; objects are only removed by merges",
            ),
            Self::NotOurTurn { holder } => write!(
                f,
                "{holder} has the lease of the object store, to change its pairs; try again once it \
                 has ended; if it was killed, start it again: its lease then ends at once, and \
                 otherwise when a running node has waited for {} s",
                TURN_LIMIT.as_secs()
            ),
            Self::Shared {
                operation, message, ..
            } => write!(f, "cannot {operation} the pairs of the object store: {message}"),
            Self::Unopened { path } => write!(
                f,
                "cannot open the pair of the object store that is at {}; the log has the reason",
                path.display()
            ),
            Self::OfObjectStore { path } => write!(
                f,
                "{} states that the sealed pairs of this directory are in an object store: set \
                 cold_storage_path to its address and cold_storage_local_path to the directory",
                path.display()
            ),
            Self::ObjectStore { url, message } => {
                write!(f, "cannot open the object store {url}: {message}")
            }
            Self::DamagedAgain { path } => write!(
                f,
                "{} was damaged again during its merge; check the disk",
                path.display()
            ),
        }
    }
}

impl core::error::Error for ColdError {}
