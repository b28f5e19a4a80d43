//! Errors of key files.

use core::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::age::{MAX_WORK_FACTOR, OpenError};
use super::kind::KeyKind;
use super::passphrase::PassphraseError;

/// Error of a key file. Never quotes the content.
#[derive(Debug)]
pub struct KeyError {
    path: PathBuf,
    /// Kind of key that was to be read, if only one is valid.
    wanted: Option<KeyKind>,
    /// `true` if the file was to be read, not created.
    is_read: bool,
    problem: Problem,
}

#[derive(Debug)]
pub(super) enum Problem {
    Exists,
    MissingDirectory,
    Readable { mode: u32 },
    WrongOwner,
    NotAFile,
    Content,
    Kind { found: KeyKind, wanted: KeyKind },
    Open(OpenError),
    Passphrase(PassphraseError),
    OtherPublicKey,
    Io(io::Error),
}

impl KeyError {
    /// Creates an error of reading the file at `path`.
    pub(super) fn reading(path: &Path, problem: Problem) -> Self {
        Self {
            path: path.to_owned(),
            wanted: None,
            is_read: true,
            problem,
        }
    }

    /// Creates an error of creating the file at `path`.
    pub(super) fn creating(path: &Path, problem: Problem) -> Self {
        Self {
            is_read: false,
            ..Self::reading(path, problem)
        }
    }

    /// Adds the kind of key that was to be read.
    pub(super) fn wanting(self, wanted: KeyKind) -> Self {
        Self {
            wanted: Some(wanted),
            ..self
        }
    }

    /// Returns whether the file is protected and no passphrase is available.
    #[must_use]
    pub const fn needs_passphrase(&self) -> bool {
        matches!(self.problem, Problem::Passphrase(PassphraseError::Missing))
    }

    /// Returns whether the passphrase that is available cannot be read or is wrong.
    #[must_use]
    pub const fn is_passphrase_invalid(&self) -> bool {
        match &self.problem {
            Problem::Passphrase(error) => !matches!(error, PassphraseError::Missing),
            Problem::Open(error) => matches!(error, OpenError::WrongPassphrase),
            _ => false,
        }
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.problem {
            Problem::Exists => write!(f, "refusing to overwrite {path}: the file exists"),
            Problem::Readable { mode } => write!(
                f,
                "{path} is accessible to other users (mode {mode:04o}); run chmod 600 on it, and \
                 generate a new key if others may have read it"
            ),
            Problem::WrongOwner => write!(f, "{path} belongs to another user"),
            Problem::NotAFile => write!(f, "{path} is not a regular file"),
            Problem::Content => write!(
                f,
                "{path} is not a key file: expected `relay` or `validation`, a space and 64 hex \
                 digits, or 64 hex digits alone, or a file protected by a passphrase"
            ),
            Problem::Kind { found, wanted } => write!(
                f,
                "{path} is a {found}; expected a {wanted}: `astreum keys generate FILE --kind {}` \
                 creates one",
                wanted.name()
            ),
            Problem::Open(OpenError::WrongPassphrase) => {
                write!(f, "wrong passphrase for {path}")
            }
            Problem::Open(OpenError::WorkFactor(found)) => write!(
                f,
                "{path} needs too much memory to open: its scrypt work factor is 2^{found}, the \
                 maximum is 2^{MAX_WORK_FACTOR}"
            ),
            Problem::Open(OpenError::NotByPassphrase) => write!(
                f,
                "{path} is an age file for recipients; only files that are protected by a \
                 passphrase can be opened"
            ),
            Problem::Open(OpenError::Malformed) => {
                write!(f, "{path} is damaged: it is not a valid age file")
            }
            Problem::Passphrase(PassphraseError::Missing) => write!(
                f,
                "{path} is protected by a passphrase: give --passphrase-file FILE or \
                 --passphrase-fd N, set key_passphrase_file, or run the command in a terminal"
            ),
            Problem::Passphrase(error) => write!(f, "passphrase for {path}: {error}"),
            Problem::OtherPublicKey => write!(
                f,
                "{path} is damaged: its first line states the public key of another secret"
            ),
            Problem::Io(error) if self.is_read && error.kind() == io::ErrorKind::NotFound => {
                let kind = self.wanted.map_or("KIND", KeyKind::name);
                write!(
                    f,
                    "missing key file {path}; `astreum keys generate {path} --kind {kind}` creates \
                     one"
                )
            }
            Problem::MissingDirectory => write!(
                f,
                "cannot create key file {path}: its directory does not exist; create it first"
            ),
            Problem::Io(error) => write!(f, "key file {path}: {error}"),
        }
    }
}

impl core::error::Error for KeyError {}
