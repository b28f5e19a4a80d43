//! Evidence, for who has nothing but a root, that a key has a value or has none.

use super::iter::{Step, get, step};
use super::node::StoredNode;
use super::{TrieError, checked_key};
use crate::atom::{Atom, AtomError, AtomId, AtomSource, MemoryStore};
use crate::expr::Bytes;
use alloc::vec::Vec;
use core::fmt;

/// The atoms of the nodes from the root to where a key is, or to where it would be.
///
/// They are everything that a lookup reads, so a lookup over them alone comes to the same result;
/// and each is bound to the root by its id, so they cannot be forged.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Proof {
    atoms: Vec<Atom>,
}

/// Why a proof shows nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProofError {
    /// A node on the way to the key is not in it.
    Incomplete {
        /// The atom that the lookup needed.
        missing: AtomId,
    },
    /// It holds atoms that are not on the way to the key.
    Superfluous,
    /// What it holds under this id is not a node.
    Malformed {
        /// The id.
        node: AtomId,
    },
    /// The key is longer than any key in a trie.
    KeyTooLong,
    /// The bytes end in the middle of an atom.
    Truncated,
    /// Bytes in it are not an atom.
    Atom(AtomError),
}

impl fmt::Display for ProofError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Incomplete { missing } => {
                write!(
                    f,
                    "the proof lacks atom {missing}; it is for another root or key"
                )
            }
            Self::Superfluous => f.write_str("the proof holds atoms that the key does not need"),
            Self::Malformed { node } => write!(f, "atom {node} of the proof is not a trie node"),
            Self::KeyTooLong => f.write_str("the key is longer than a trie key can be"),
            Self::Truncated => f.write_str("the proof ends in the middle of an atom"),
            Self::Atom(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for ProofError {}

impl Proof {
    /// Collects what shows the value of `key`, or that it has none.
    ///
    /// # Errors
    /// When a node is missing or malformed, or the key is too long.
    pub fn prove<S: AtomSource + ?Sized>(
        source: &S,
        root: AtomId,
        key: &[u8],
    ) -> Result<Self, TrieError<S::Error>> {
        let mut atoms = Vec::new();
        let (mut id, mut rest) = (root, checked_key(key)?);
        while !id.is_zero() {
            let node = StoredNode::load_atoms(source, id, &mut atoms, true)?;
            let Step::Below { child, rest: below } = step(&node, rest) else {
                break;
            };
            (id, rest) = (child, below);
        }
        Ok(Self { atoms })
    }

    /// The value that `key` has in the trie with this root, `None` if it has none. Needs no store.
    ///
    /// # Errors
    /// When the proof does not show either.
    pub fn verify(&self, root: AtomId, key: &[u8]) -> Result<Option<Bytes>, ProofError> {
        let store: MemoryStore = self.atoms.iter().cloned().collect();
        let value = get(&store, root, key).map_err(ProofError::from)?;
        // One proof for one statement: what is not needed could be anything.
        match Self::prove(&store, root, key) {
            Ok(needed) if needed == *self => Ok(value),
            _ => Err(ProofError::Superfluous),
        }
    }

    /// The atoms, root node first.
    #[must_use]
    pub fn atoms(&self) -> &[Atom] {
        &self.atoms
    }

    /// The atoms one after the other, each as its length in bytes, u32 BE, and its stored form.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for atom in &self.atoms {
            // A key or value atom of a trie is far smaller than 4 GiB.
            let len = u32::try_from(atom.stored_len()).unwrap_or(u32::MAX);
            bytes.extend_from_slice(&len.to_be_bytes());
            atom.write_to(&mut bytes);
        }
        bytes
    }

    /// Reads [`Proof::to_bytes`] back.
    ///
    /// # Errors
    /// When the bytes are cut or hold something else than atoms.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ProofError> {
        let mut atoms = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let (len, after) = rest.split_first_chunk::<4>().ok_or(ProofError::Truncated)?;
            let len = usize::try_from(u32::from_be_bytes(*len)).unwrap_or(usize::MAX);
            let (atom, after) = after.split_at_checked(len).ok_or(ProofError::Truncated)?;
            atoms.push(Atom::from_bytes(atom).map_err(ProofError::Atom)?);
            rest = after;
        }
        Ok(Self { atoms })
    }
}

impl From<TrieError<core::convert::Infallible>> for ProofError {
    fn from(error: TrieError<core::convert::Infallible>) -> Self {
        use crate::atom::SourceError;
        match error {
            TrieError::Source(SourceError::Missing(missing)) => Self::Incomplete { missing },
            TrieError::Source(SourceError::Failed(never)) => match never {},
            TrieError::Malformed { node, .. } => Self::Malformed { node },
            TrieError::KeyTooLong { .. } => Self::KeyTooLong,
        }
    }
}
