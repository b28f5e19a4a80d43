//! Proofs that a key has a value, or has none, in the trie with a known root.

use super::iter::{Step, get, step};
use super::node::StoredNode;
use super::{TrieError, checked_key};
use crate::atom::{Atom, AtomError, AtomId, AtomSource, MemoryStore};
use crate::expr::Bytes;
use alloc::vec::Vec;
use core::fmt;

/// Proof of presence or absence: the atoms of the nodes on the path from the root to a key, or to
/// the point where it would be.
///
/// They are exactly the atoms that a lookup reads, so a lookup over them alone has the same result.
/// Each atom is bound to the root by its id, so the proof cannot be forged.
///
/// ```
/// use astreum_core::atom::{AtomId, MemoryStore};
/// use astreum_core::trie::{Proof, Scalar, Trie};
///
/// let mut store = MemoryStore::new();
/// let root = Trie::from_sorted([("a", "1"), ("b", "2")])?.commit(&mut Scalar, &mut store)?;
/// let proof = Proof::prove(&store, root, b"a")?;
/// assert_eq!(proof.verify(root, b"a")?.as_deref(), Some(b"1".as_slice()));
/// // It proves nothing about another root or key.
/// assert!(proof.verify(AtomId::new([7; 32]), b"a").is_err());
/// assert!(proof.verify(root, b"b").is_err());
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Proof {
    atoms: Vec<Atom>,
}

/// Reason a proof is invalid.
///
/// ```
/// use astreum_core::atom::MemoryStore;
/// use astreum_core::trie::{Proof, ProofError, Scalar, Trie};
///
/// let mut store = MemoryStore::new();
/// let root = Trie::from_sorted([("a", "1")])?.commit(&mut Scalar, &mut store)?;
/// let mut bytes = Proof::prove(&store, root, b"a")?.to_bytes();
/// bytes.pop();
/// assert_eq!(Proof::from_bytes(&bytes).unwrap_err(), ProofError::Truncated);
/// let empty = Proof::from_bytes(&[])?;
/// assert_eq!(empty.verify(root, b"a"), Err(ProofError::Incomplete { missing: root }));
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProofError {
    /// A node on the path to the key is missing from the proof.
    Incomplete {
        /// Id of the atom that the lookup needed.
        missing: AtomId,
    },
    /// The proof has atoms that are not on the path to the key.
    Superfluous,
    /// The atoms of the proof under this id are not a node.
    Malformed {
        /// Id of the node.
        node: AtomId,
    },
    /// The key is longer than [`MAX_KEY_BYTES`](super::MAX_KEY_BYTES).
    KeyTooLong,
    /// The bytes end in the middle of an atom.
    Truncated,
    /// Bytes of the proof are not an atom.
    Atom(AtomError),
}

impl fmt::Display for ProofError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Incomplete { missing } => {
                write!(
                    f,
                    "missing atom {missing}: the proof is for another root or key"
                )
            }
            Self::Superfluous => f.write_str("the proof has unneeded atoms"),
            Self::Malformed { node } => write!(f, "atom {node} of the proof is not a trie node"),
            Self::KeyTooLong => f.write_str("trie key is too long"),
            Self::Truncated => f.write_str("truncated atom at the end of the proof"),
            Self::Atom(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for ProofError {}

impl Proof {
    /// Creates a proof of the value of `key`, or of its absence.
    ///
    /// ```
    /// use astreum_core::atom::MemoryStore;
    /// use astreum_core::trie::{Proof, Scalar, Trie};
    ///
    /// let mut store = MemoryStore::new();
    /// let pairs = [("a", "1"), ("b", "2"), ("c", "3")];
    /// let root = Trie::from_sorted(pairs)?.commit(&mut Scalar, &mut store)?;
    /// let proof = Proof::prove(&store, root, b"b")?;
    /// assert_eq!(proof.atoms()[0].id(), root);
    /// assert!(proof.atoms().len() < store.len());
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Fails if a node is missing or malformed, or if the key is too long.
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

    /// Verifies the proof against a trusted root and returns the value of `key`, or `None` if the
    /// key is absent. Needs no store.
    ///
    /// ```
    /// use astreum_core::atom::MemoryStore;
    /// use astreum_core::trie::{Proof, Scalar, Trie};
    ///
    /// let mut store = MemoryStore::new();
    /// let root = Trie::from_sorted([("a", "1")])?.commit(&mut Scalar, &mut store)?;
    /// // Absence is proven as well.
    /// assert_eq!(Proof::prove(&store, root, b"z")?.verify(root, b"z"), Ok(None));
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Fails if the proof proves neither a value nor its absence, or has superfluous atoms.
    pub fn verify(&self, root: AtomId, key: &[u8]) -> Result<Option<Bytes>, ProofError> {
        let store: MemoryStore = self.atoms.iter().cloned().collect();
        let value = get(&store, root, key).map_err(ProofError::from)?;
        // A proof is unique: superfluous atoms could be anything, so they are rejected.
        match Self::prove(&store, root, key) {
            Ok(needed) if needed == *self => Ok(value),
            _ => Err(ProofError::Superfluous),
        }
    }

    /// Returns the atoms, root node first.
    #[must_use]
    pub fn atoms(&self) -> &[Atom] {
        &self.atoms
    }

    /// Encodes the atoms one after the other, each as its length in bytes (u32 BE) and its stored
    /// form.
    ///
    /// ```
    /// use astreum_core::atom::MemoryStore;
    /// use astreum_core::trie::{Proof, Scalar, Trie};
    ///
    /// let mut store = MemoryStore::new();
    /// let root = Trie::from_sorted([("a", "1")])?.commit(&mut Scalar, &mut store)?;
    /// let proof = Proof::prove(&store, root, b"a")?;
    /// assert_eq!(Proof::from_bytes(&proof.to_bytes())?.atoms(), proof.atoms());
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
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

    /// Decodes [`Proof::to_bytes`].
    ///
    /// # Errors
    /// Returns [`ProofError::Truncated`] if the bytes are incomplete, and [`ProofError::Atom`] if a
    /// part is not an atom.
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
