//! Why cold storage did not do what it was asked for.

use core::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ColdError {
    /// Another process has the directory open.
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// The directory was written by a newer version.
    Format {
        /// The file that says so.
        path: PathBuf,
        /// What it says.
        found: String,
    },
    /// The disk failed.
    Io {
        /// What was tried.
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The kind of failure.
        kind: io::ErrorKind,
        /// What the system said.
        message: String,
    },
    /// The store may not grow further.
    LimitReached {
        /// Bytes that it takes.
        used_bytes: u64,
        /// Bytes that it may take.
        limit_bytes: u64,
    },
    /// An atom is larger than a journal takes.
    AtomTooLarge {
        /// Its stored bytes.
        stored_bytes: usize,
    },
    /// The directory that is to be read does not exist, or is no store's.
    Nothing {
        /// The directory.
        path: PathBuf,
    },
    /// The directory that is exported to holds something already.
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
}

impl ColdError {
    pub(super) fn io(operation: &'static str, path: &Path, error: &io::Error) -> Self {
        let message = match error.kind() {
            // A directory that is there is no failure, so this is something else.
            io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
                "it is a file, or goes through one; a directory is wanted".into()
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
                "{} says {found:?}, which this version does not know; use a newer version",
                path.display()
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
                "cold storage takes {used_bytes} of {limit_bytes} bytes and refuses writes; \
                 raise cold_storage_limit"
            ),
            Self::AtomTooLarge { stored_bytes } => write!(
                f,
                "the atom has {stored_bytes} stored bytes and a journal takes {}; cut the data and \
                 store it as a list of atoms",
                super::super::journal::MAX_RECORD_BYTES
            ),
            Self::Nothing { path } => write!(
                f,
                "there is no cold storage in {}: it does not exist, is empty, or is something else",
                path.display()
            ),
            Self::NotEmpty { path } => write!(
                f,
                "{} is not empty; export to a directory that is",
                path.display()
            ),
        }
    }
}

impl core::error::Error for ColdError {}
