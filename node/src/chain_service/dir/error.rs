//! Errors of the chain directory, with the commands that resolve them.

use crate::chain_service::signing_record::SigningRecordError;
use crate::store::is_no_room;
use astreum_core::atom::AtomId;
use astreum_core::chain::RULES_VERSION;
use astreum_core::consensus::StoreFailure;
use core::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Reason a chain directory cannot be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum ChainDirError {
    /// An operation of the system failed.
    Io {
        /// Name of the operation.
        operation: &'static str,
        /// Path of the file or directory.
        path: PathBuf,
        /// Error of the system.
        error: io::Error,
    },
    /// Another process uses the directory.
    Locked {
        /// Path of the directory.
        path: PathBuf,
    },
    /// A file is damaged.
    Damaged {
        /// Path of the file.
        path: PathBuf,
        /// Description of the damage.
        what: String,
    },
    /// A file is missing, and other files show that it existed.
    Missing {
        /// Path of the file.
        path: PathBuf,
    },
    /// A newer version of the program wrote a file.
    NewerVersion {
        /// Path of the file.
        path: PathBuf,
        /// Version of the file.
        found: u32,
    },
    /// A file belongs to another chain.
    OtherChain {
        /// Path of the file.
        path: PathBuf,
        /// Chain id in the file.
        found: u64,
    },
    /// The chain was started under other consensus rules.
    OtherRules {
        /// Path of the directory or file.
        path: PathBuf,
        /// Version of the rules.
        found: u32,
    },
    /// A head belongs to a chain with another genesis.
    OtherGenesis {
        /// Genesis of the chain in the directory.
        ours: AtomId,
        /// Genesis of the head's chain.
        other: AtomId,
    },
    /// A signing record cannot be used.
    SigningRecord(SigningRecordError),
    /// A validator has no directory for the chain's files.
    NoDirectory,
    /// A chain with this chain id exists already, so that no other one is started.
    SecondChain {
        /// Chain id of both chains.
        chain_id: u64,
        /// Evidence of the existing chain.
        trace: Trace,
    },
    /// There is evidence of the chain, but no head journal to resume it from.
    NoJournal {
        /// Expected path of the journal.
        path: PathBuf,
        /// Chain id of the chain.
        chain_id: u64,
        /// Evidence of the chain.
        trace: Trace,
    },
    /// The chain of a directory of the previous format could not be verified.
    NotVerified {
        /// Path of the head file.
        path: PathBuf,
        /// Reason the verification failed.
        why: String,
    },
}

/// Evidence of a chain.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Trace {
    /// Directory with the chain's files.
    Directory(PathBuf),
    /// Head file of the previous format.
    HeadFile(PathBuf),
    /// Signing record of a key.
    SigningRecord(PathBuf),
    /// Block in cold storage.
    Block {
        /// Id of the block.
        id: AtomId,
        /// Height of the block.
        height: u64,
        /// Directory of cold storage.
        store: PathBuf,
    },
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => write!(f, "its files are in {}", path.display()),
            Self::HeadFile(path) => {
                write!(f, "its head is in {} (previous format)", path.display())
            }
            Self::SigningRecord(path) => {
                write!(f, "{} is the signing record of a validator", path.display())
            }
            Self::Block { id, height, store } => write!(
                f,
                "cold storage in {} has its block {height}, {id}",
                store.display()
            ),
        }
    }
}

impl ChainDirError {
    pub(crate) fn io(operation: &'static str, path: &Path, error: io::Error) -> Self {
        let path = path.to_owned();
        if error.kind() == io::ErrorKind::InvalidData {
            let what = error.to_string();
            return Self::Damaged { path, what };
        }
        Self::Io {
            operation,
            path,
            error,
        }
    }

    pub(super) fn damaged(path: &Path, what: impl fmt::Display) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            what: what.to_string(),
        }
    }

    /// Converts the error to the form used by the consensus components.
    #[must_use]
    pub fn failure(&self) -> StoreFailure {
        match self {
            Self::SigningRecord(error) => error.failure(),
            Self::Io { error, .. } if is_no_room(error.kind()) => {
                StoreFailure::NoRoom(self.to_string())
            }
            _ => StoreFailure::Failed(self.to_string()),
        }
    }

    /// Returns the commands that resolve the error, one per line, for a node that was started with
    /// these `options`.
    #[must_use]
    pub fn commands(&self, options: &str) -> Vec<String> {
        let astreum = |command: &str, purpose: &str| {
            let space = if options.is_empty() { "" } else { " " };
            format!("astreum {command}{space}{options}    # {purpose}")
        };
        let recover = || {
            vec![
                astreum("chain recover", "shows what can be recovered"),
                astreum("chain recover --adopt", "resumes the best verified chain"),
            ]
        };
        match self {
            Self::Damaged { .. } | Self::Missing { .. } | Self::SigningRecord(_) => recover(),
            Self::SecondChain { trace, .. } => {
                let mut commands = match trace {
                    Trace::Directory(_) | Trace::HeadFile(_) => {
                        vec![astreum("run", "resumes that chain")]
                    }
                    Trace::SigningRecord(_) | Trace::Block { .. } => recover(),
                };
                commands.push(
                    "astreum genesis with another --cold-storage-path, --chain-dir and \
                     --state-dir, or another --chain-id    # creates another chain"
                        .to_owned(),
                );
                commands
            }
            Self::NoJournal { path, trace, .. } => match trace {
                Trace::Directory(other) => vec![
                    format!("mv {}/* {}/", other.display(), path.display()),
                    astreum("run", "resumes that chain"),
                ],
                _ => recover(),
            },
            Self::NotVerified { .. } => recover(),
            Self::Io { .. }
            | Self::Locked { .. }
            | Self::NewerVersion { .. }
            | Self::OtherChain { .. }
            | Self::OtherRules { .. }
            | Self::OtherGenesis { .. }
            | Self::NoDirectory => Vec::new(),
        }
    }
}

impl fmt::Display for ChainDirError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io {
                operation,
                path,
                error,
            } => write!(f, "failed to {operation} {}: {error}", path.display()),
            Self::Locked { path } => write!(
                f,
                "{} is in use by another process: stop it, or set another chain_dir",
                path.display()
            ),
            Self::Damaged { path, what } => write!(
                f,
                "{}: damaged ({what}); `astreum chain recover` finds the chain in cold storage and \
                 verifies it",
                path.display()
            ),
            Self::Missing { path } => write!(
                f,
                "{} is missing, and the files in the same directory belong to an existing chain; \
                 restore it, or run `astreum chain recover`, which finds the chain in cold storage \
                 and verifies it",
                path.display()
            ),
            Self::NewerVersion { path, found } => write!(
                f,
                "{}: written in format {found} by a newer version of this program; use that \
                 version",
                path.display()
            ),
            Self::OtherChain { path, found } => write!(
                f,
                "{}: belongs to the chain with chain_id {found}; set chain_id = {found}, or \
                 another directory",
                path.display()
            ),
            Self::OtherRules { path, found } => write!(
                f,
                "{}: the chain was created under consensus rules version {found}, and this program \
                 implements version {RULES_VERSION}; run a release that implements version {found} \
                 to continue that chain, or set another chain_id and directories to join or begin \
                 one under version {RULES_VERSION}",
                path.display()
            ),
            Self::OtherGenesis { ours, other } => write!(
                f,
                "refusing to save a head of genesis {other}: this directory belongs to the chain \
                 of genesis {ours}"
            ),
            Self::SigningRecord(error) => error.fmt(f),
            Self::NoDirectory => f.write_str(
                "no chain directory is configured: a validator needs one for its chain identity, \
                 signing record and heads; set cold_storage_path, or chain_dir without cold \
                 storage",
            ),
            Self::SecondChain { chain_id, trace } => write!(
                f,
                "refusing to create a second chain with chain_id {chain_id}: {trace}; resume or \
                 recover that chain, or create another one in other directories"
            ),
            Self::NoJournal {
                path,
                chain_id,
                trace,
            } => {
                write!(
                    f,
                    "refusing to create a second chain with chain_id {chain_id}: {trace}, and {} \
                     has no head journal to resume it from; ",
                    path.display()
                )?;
                f.write_str(match trace {
                    Trace::Directory(_) => "move the files to the configured directory",
                    _ => "`astreum chain recover` finds the chain in cold storage and verifies it",
                })
            }
            Self::NotVerified { path, why } => write!(
                f,
                "{}: the chain of the previous format could not be verified: {why}; \
                 `astreum chain recover` shows what can be recovered",
                path.display()
            ),
        }
    }
}

impl core::error::Error for ChainDirError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Io { error, .. } => Some(error),
            Self::SigningRecord(error) => Some(error),
            _ => None,
        }
    }
}

impl From<SigningRecordError> for ChainDirError {
    fn from(error: SigningRecordError) -> Self {
        Self::SigningRecord(error)
    }
}
