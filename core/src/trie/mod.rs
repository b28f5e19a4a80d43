//! A map from byte strings to byte strings whose whole contents are named by one id.
//!
//! It is the binary radix trie of the reference: bits most significant first, path-compressed, a
//! node is a chain of five atoms (see `node.rs`), and the id of the root node names the map. A root
//! of 32 zero bytes is the empty map.
//!
//! Invariants:
//! - **Canonical**: a node that [`Trie`] writes has a value or two children. So the root depends on
//!   the contents alone, not on the order in which they came, removals included.
//! - **An empty value means absent**, as the stored form cannot tell them apart.
//! - A key that is the start of another has its value at the inner node where it ends; the
//!   reference's reader finds it there (its writer crashes).
//! - Keys have at most [`MAX_KEY_BYTES`] bytes, so that a node's bit count fits its 16 bits.
//! - Nothing recurses: a path can be 65,528 nodes long.
//! - **Missing is an outcome**: an operation that needs an atom which the source does not have
//!   says so with the id and has changed nothing; fetch it and call again.

mod arena;
mod bit_slice;
mod build;
mod commit;
mod diff;
mod hash;
mod iter;
mod mutate;
mod node;
mod proof;

pub use build::BuildError;
pub use diff::{Change, Diff, DiffCursor, DiffStep, diff};
pub use hash::{
    ABSENT_CHILD_HASH, BatchHasher, EMPTY_KEY_HASH, EMPTY_VALUE_ID, HashInput, NodeIds, NodeInput,
    Scalar, TYPE_HASH,
};
pub use iter::{Entries, entries, get, prefix, range};
pub use mutate::Trie;
pub use proof::{Proof, ProofError};

use crate::atom::{AtomId, SourceError};
use core::fmt;

/// The longest key, in bytes.
pub const MAX_KEY_BYTES: usize = 8_191;

/// Why an operation on a trie stopped.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TrieError<E> {
    /// An atom is missing or the source failed. Nothing was changed.
    Source(SourceError<E>),
    /// What is stored under this id is not a node.
    Malformed {
        /// The node's id.
        node: AtomId,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The key is longer than [`MAX_KEY_BYTES`].
    KeyTooLong {
        /// Its length in bytes.
        len: usize,
    },
}

impl<E> TrieError<E> {
    /// The atom to fetch before the operation is tried again, if that is what it waits for.
    #[must_use]
    pub const fn missing(&self) -> Option<AtomId> {
        match self {
            Self::Source(SourceError::Missing(id)) => Some(*id),
            _ => None,
        }
    }
}

impl<E> From<SourceError<E>> for TrieError<E> {
    fn from(error: SourceError<E>) -> Self {
        Self::Source(error)
    }
}

impl<E: fmt::Display> fmt::Display for TrieError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(error) => error.fmt(f),
            Self::Malformed { node, problem } => write!(f, "trie node {node}: {problem}"),
            Self::KeyTooLong { len } => {
                write!(
                    f,
                    "a trie key has at most {MAX_KEY_BYTES} bytes, this one has {len}"
                )
            }
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for TrieError<E> {}

/// `key`, if it is not too long.
fn checked_key<E>(key: &[u8]) -> Result<bit_slice::Bits<'_>, TrieError<E>> {
    if key.len() > MAX_KEY_BYTES {
        return Err(TrieError::KeyTooLong { len: key.len() });
    }
    Ok(bit_slice::Bits::of(key))
}

#[cfg(test)]
mod tests;
