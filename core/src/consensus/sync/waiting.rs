//! Conditions that a branch waits for.

use super::requests::MissingAtom;
use crate::atom::AtomId;
use crate::consensus::StoreFailure;
use core::fmt;

/// Condition that a branch waits for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Waiting {
    /// An atom of a header.
    Header {
        /// The block.
        block: AtomId,
        /// The atom.
        atom: MissingAtom,
    },
    /// An atom that a block needs.
    Block {
        /// The block.
        block: AtomId,
        /// The atom.
        atom: MissingAtom,
    },
    /// The time of its next block.
    Time {
        /// Number of seconds left, by the wall clock.
        seconds: u64,
    },
    /// A second network group, or a seed, that announces the branch: it has the maximum number of
    /// headers that are kept for one peer.
    Confirmation {
        /// Number of headers so far.
        headers: u64,
    },
    /// A slot among the long branches.
    LongBranchSlot,
    /// Storage of a verified block.
    Storage {
        /// The block.
        block: AtomId,
        /// Reason it was not stored.
        failure: StoreFailure,
    },
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header { block, atom } => write!(f, "header {block}: {atom}"),
            Self::Block { block, atom } => write!(f, "block {block}: {atom}"),
            Self::Time { seconds } => write!(f, "a block that is {seconds} s in the future"),
            Self::Confirmation { headers } => write!(
                f,
                "confirmation of {headers} headers from a single peer: a seed or a peer of another \
                 network has to announce the same branch"
            ),
            Self::LongBranchSlot => {
                f.write_str("other branches: too many long ones are being synced")
            }
            Self::Storage { block, failure } => write!(f, "storage of block {block}: {failure}"),
        }
    }
}
