//! Errors of a node, sorted by the party that can act on them.

use super::backup::BackupError;
use crate::chain_service::dir::ChainDirError;
use crate::config::ConfigErrors;
use crate::failure::ThreadPanic;
use crate::key_file::KeyError;
use crate::log::LogError;
use crate::net::{NetworkError, Stopped};
use crate::prune::PruneError;
use crate::store::StoreError;
use crate::store::cold::ColdError;
use astreum_core::atom::AtomId;
use astreum_core::engine::FetchError;
use core::fmt;
use core::net::SocketAddr;
use std::io;

/// Reason a node operation failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum NodeError {
    /// The configuration is invalid.
    Config(ConfigErrors),
    /// A key file could not be used.
    KeyFile(KeyError),
    /// The configured public key of the validator is not an Ed25519 public key.
    ValidationPublicKey,
    /// The system has no entropy.
    Entropy(io::Error),
    /// The network could not be started.
    Network(NetworkError),
    /// The files of the chain cannot be used.
    ChainDir(ChainDirError),
    /// The system could not create the chain thread.
    ChainThread(io::Error),
    /// The system could not create the thread that fetches lost atoms.
    RefetchThread(io::Error),
    /// The log could not be opened.
    Log(LogError),
    /// The file of advertisements cannot be written.
    Advertisements(io::Error),
    /// The chain is not followed, so no key can validate.
    ChainNotStarted,
    /// The system could not create the thread for the file of known peers.
    PeersThread(io::Error),
    /// The system could not create the thread that maps ports.
    PortMappingThread(io::Error),
    /// A thread of the node panicked, and the node has stopped.
    Panicked(ThreadPanic),
    /// The chain thread did not take a decision in time.
    ChainBusy,
    /// The node is not connected.
    NotConnected,
    /// A name could not be resolved.
    Resolve(io::Error),
    /// A name has no address that this node's socket can reach.
    NoUsableAddress,
    /// An address to contact is the node's own.
    OwnAddress(SocketAddr),
    /// The store rejected an atom.
    Store(StoreError),
    /// Cold storage could not be opened.
    ColdStorage(ColdError),
    /// A fetch could not be started.
    Fetch(FetchError),
    /// The limit of advertisements is reached.
    TooManyAdvertisements,
    /// The node has no cold storage.
    NoColdStorage,
    /// The system could not create the prune thread.
    PruneThread(io::Error),
    /// Pruning failed.
    Prune(PruneError),
    /// No peer delivered an atom.
    NotFound {
        /// Id of the atom.
        id: AtomId,
    },
    /// A backup failed.
    Backup(BackupError),
    /// A list of atoms is too long.
    ListTooLong {
        /// Maximum number of atoms.
        max: usize,
    },
}

impl fmt::Display for NodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(errors) => errors.fmt(f),
            Self::KeyFile(error) => error.fmt(f),
            Self::ValidationPublicKey => f.write_str(
                "validation_public_key is not an Ed25519 public key; `astreum signer` prints the key",
            ),
            Self::Entropy(error) => error.fmt(f),
            Self::Network(error) => error.fmt(f),
            Self::ChainDir(error) => error.fmt(f),
            Self::RefetchThread(error) => {
                write!(f, "cannot start the refetch thread: {error}")
            }
            Self::Log(error) => error.fmt(f),
            Self::Advertisements(error) => {
                write!(f, "failed to save advertisements: {error}")
            }
            Self::ChainNotStarted => f.write_str(
                "this node does not follow the chain; start it with Node::builder or start_chain",
            ),
            Self::PeersThread(error) => {
                write!(f, "cannot start the known peers thread: {error}")
            }
            Self::PortMappingThread(error) => {
                write!(f, "cannot start the port mapping thread: {error}")
            }
            Self::ChainThread(error) => {
                write!(f, "cannot start the chain thread: {error}")
            }
            Self::Panicked(panic) => write!(f, "the node has stopped: {panic}; this is a bug"),
            Self::ChainBusy => f.write_str(
                "the node is busy with blocks; the decision takes effect later (see `astreum chain \
                 forks`)",
            ),
            Self::NotConnected => Stopped.fmt(f),
            Self::Resolve(error) => write!(f, "failed to resolve the address: {error}"),
            Self::NoUsableAddress => f.write_str(
                "the name has no address that this node can reach; IPv6 needs use_ipv6 = true",
            ),
            Self::OwnAddress(address) => write!(
                f,
                "{address} is the address of this node; give the address of another node"
            ),
            Self::Store(error) => error.fmt(f),
            Self::ColdStorage(error) => write!(f, "cold storage: {error}"),
            Self::Fetch(error) => write!(f, "fetch failed: {error}"),
            Self::TooManyAdvertisements => {
                f.write_str("too many objects are advertised; withdraw some first")
            }
            Self::NoColdStorage => {
                f.write_str("this node has no cold storage; set cold_storage_path")
            }
            Self::PruneThread(error) => write!(f, "cannot start the prune thread: {error}"),
            Self::Prune(error) => error.fmt(f),
            Self::NotFound { id } => {
                write!(f, "atom {id} was found neither here nor at any peer")
            }
            Self::Backup(error) => error.fmt(f),
            Self::ListTooLong { max } => write!(f, "list exceeds the maximum of {max} atoms"),
        }
    }
}

impl core::error::Error for NodeError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Entropy(error)
            | Self::Resolve(error)
            | Self::ChainThread(error)
            | Self::PeersThread(error)
            | Self::PortMappingThread(error)
            | Self::Advertisements(error)
            | Self::PruneThread(error)
            | Self::RefetchThread(error) => Some(error),
            Self::ChainDir(error) => Some(error),
            Self::Log(error) => Some(error),
            Self::Network(error) => Some(error),
            Self::Store(error) => Some(error),
            Self::ColdStorage(error) => Some(error),
            Self::Fetch(error) => Some(error),
            Self::KeyFile(error) => Some(error),
            Self::Panicked(panic) => Some(panic),
            Self::Backup(error) => Some(error),
            Self::Prune(error) => Some(error),
            Self::Config(_)
            | Self::ValidationPublicKey
            | Self::ChainBusy
            | Self::NoColdStorage
            | Self::NotFound { .. }
            | Self::ChainNotStarted
            | Self::NotConnected
            | Self::NoUsableAddress
            | Self::OwnAddress(_)
            | Self::TooManyAdvertisements
            | Self::ListTooLong { .. } => None,
        }
    }
}

impl From<BackupError> for NodeError {
    fn from(error: BackupError) -> Self {
        Self::Backup(error)
    }
}

impl From<ChainDirError> for NodeError {
    fn from(error: ChainDirError) -> Self {
        Self::ChainDir(error)
    }
}

impl From<NetworkError> for NodeError {
    fn from(error: NetworkError) -> Self {
        Self::Network(error)
    }
}

impl From<Stopped> for NodeError {
    fn from(Stopped: Stopped) -> Self {
        Self::NotConnected
    }
}

impl From<StoreError> for NodeError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
