//! Authenticated map from byte strings to byte strings; one id commits to its whole contents.
//!
//! The map is the binary radix trie of the reference: bits most significant first, path-compressed,
//! each node a linked list of five atoms (see `node.rs`), and the id of the root node identifies
//! the map. A root of 32 zero bytes is the empty map.
//!
//! Invariants:
//! - **Canonical**: a node that [`Trie`] writes has a value or two children. Therefore the root
//!   depends only on the contents, not on the order of changes, including removals.
//! - **An empty value means absent**, because the stored form cannot distinguish them.
//! - A key that is a prefix of another key has its value at the inner node where it ends; the
//!   reference's reader finds it there (its writer crashes).
//! - Keys have at most [`MAX_KEY_BYTES`] bytes, so that a node's bit count fits its 16 bits.
//! - No recursion: a path can be 65,528 nodes long.
//! - **Missing atoms are an outcome**: an operation that needs an atom which the source does not
//!   have returns its id and changes nothing; fetch the atom and call again.
//!
//! ```
//! use astreum_core::atom::MemoryStore;
//! use astreum_core::trie::{Proof, Scalar, Trie};
//!
//! let mut store = MemoryStore::new();
//! let mut map = Trie::new();
//! map.put(&store, b"alice", b"7")?;
//! map.put(&store, b"bob", b"11")?;
//! let root = map.commit(&mut Scalar, &mut store)?;
//!
//! // A proof convinces a reader that has only the root, also of absence.
//! let proof = Proof::prove(&store, root, b"bob")?.to_bytes();
//! let value = Proof::from_bytes(&proof)?.verify(root, b"bob")?;
//! assert_eq!(value.as_deref(), Some(&b"11"[..]));
//! assert_eq!(Proof::prove(&store, root, b"carol")?.verify(root, b"carol")?, None);
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```

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
#[cfg(feature = "chain")]
pub(crate) use node::TYPE_NAME;
pub use proof::{Proof, ProofError};

use crate::atom::{AtomId, SourceError};
use core::fmt;

/// Maximum size of a key, in bytes.
pub const MAX_KEY_BYTES: usize = 8_191;

/// Reason an operation on a trie failed.
///
/// ```
/// use astreum_core::atom::{Atom, MemoryStore};
/// use astreum_core::trie::{self, TrieError};
///
/// let mut store = MemoryStore::new();
/// let root = store.insert(Atom::symbol("not a node"));
/// let error = trie::get(&store, root, b"key").unwrap_err();
/// assert!(matches!(error, TrieError::Malformed { node, .. } if node == root));
/// let error = trie::get(&store, root, &[0; 9_000]).unwrap_err();
/// assert!(matches!(error, TrieError::KeyTooLong { len: 9_000 }));
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TrieError<E> {
    /// An atom is missing or the source failed. Nothing was changed.
    Source(SourceError<E>),
    /// The stored atoms under this id are not a node.
    Malformed {
        /// Id of the node.
        node: AtomId,
        /// Description of the problem.
        problem: &'static str,
    },
    /// The key is longer than [`MAX_KEY_BYTES`].
    KeyTooLong {
        /// Length of the key, in bytes.
        len: usize,
    },
}

impl<E> TrieError<E> {
    /// Returns the missing atom to fetch before the operation is retried, if the error is a missing
    /// atom.
    ///
    /// ```
    /// use astreum_core::atom::{AtomId, NoStore};
    /// use astreum_core::trie;
    ///
    /// let root = AtomId::new([7; 32]);
    /// let error = trie::get(&NoStore, root, b"key").unwrap_err();
    /// assert_eq!(error.missing(), Some(root));
    /// ```
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
                    "trie key of {len} bytes exceeds the maximum of {MAX_KEY_BYTES}"
                )
            }
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for TrieError<E> {}

/// Returns the bits of `key` if it is not too long.
fn checked_key<E>(key: &[u8]) -> Result<bit_slice::Bits<'_>, TrieError<E>> {
    if key.len() > MAX_KEY_BYTES {
        return Err(TrieError::KeyTooLong { len: key.len() });
    }
    Ok(bit_slice::Bits::of(key))
}

#[cfg(test)]
mod tests;
