//! Common encoding of records: a head of atoms and, in signed records, a body.
//!
//! A signed record is the list `type → version → signature → list`, where the list atom holds the
//! id of the first atom of the body (source: the reference's `validation/models/block.py` and
//! `consensus/transaction/atomize.py`).

mod batch;

pub(super) use batch::{Part, write_lists};

use super::MAX_INTEGER_BYTES;
use crate::arc::Arc;
use crate::atom::{Atom, AtomId, AtomKind, AtomSink, AtomSource, SourceError};
use crate::integer::Natural;
use crate::trie::TrieError;
use alloc::vec::Vec;
use core::fmt;

/// Only version of records, in its canonical encoding.
pub(super) const VERSION: [u8; 1] = [1];

/// Error of an integer with more than [`MAX_INTEGER_BYTES`].
pub(super) const LONG_INTEGER: &str = "a number has more than 256 bytes";

/// Atoms of a record with their ids, in the order of the reference.
pub type RecordAtoms = Vec<(AtomId, Atom)>;

/// Reason that a record could not be read.
///
/// ```
/// use astreum_core::atom::MemoryStore;
/// use astreum_core::chain::{Receipt, RecordError, Account};
///
/// let mut store = MemoryStore::new();
/// let id = Account::default().write(&mut store).unwrap();
/// // An account is not a receipt.
/// let error = Receipt::read(&store, id).unwrap_err();
/// assert!(matches!(error, RecordError::Malformed { record, .. } if record == id));
/// assert_eq!(error.missing(), None);
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RecordError<E> {
    /// An atom is missing or the source failed.
    Source(SourceError<E>),
    /// The stored data under this id is not such a record or not canonical.
    Malformed {
        /// Id of the record.
        record: AtomId,
        /// Description of the error.
        problem: &'static str,
    },
}

impl<E> RecordError<E> {
    /// Returns the atom to fetch before a retry; `None` if no atom is missing.
    #[must_use]
    pub const fn missing(&self) -> Option<AtomId> {
        match self {
            Self::Source(SourceError::Missing(id)) => Some(*id),
            _ => None,
        }
    }
}

impl<E> From<SourceError<E>> for RecordError<E> {
    fn from(error: SourceError<E>) -> Self {
        Self::Source(error)
    }
}

impl<E> From<TrieError<E>> for RecordError<E> {
    fn from(error: TrieError<E>) -> Self {
        match error {
            TrieError::Source(error) => Self::Source(error),
            TrieError::Malformed { node, problem } => Self::Malformed {
                record: node,
                problem,
            },
            TrieError::KeyTooLong { .. } => Self::Malformed {
                record: AtomId::ZERO,
                problem: "trie key is too long",
            },
        }
    }
}

impl<E: fmt::Display> fmt::Display for RecordError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(error) => error.fmt(f),
            Self::Malformed { record, problem } => write!(f, "record {record}: {problem}"),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for RecordError<E> {}

/// Signed record as atoms.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedAtoms {
    /// Id of the record.
    pub id: AtomId,
    /// Id of the first atom of the body; a transaction's signature covers it.
    pub body_head: AtomId,
    /// Id of the list atom that holds the body; a block's signature covers it.
    pub body_list: AtomId,
    /// Atoms of the body, list, signature, version, type.
    pub atoms: RecordAtoms,
}

/// Encodes a signed record with these fields as its body, without checking them.
///
/// A node works with the typed records. This function can also encode records that the types cannot
/// represent, such as a block without a timestamp.
///
/// ```
/// use astreum_core::chain::signed_atoms;
/// let record = signed_atoms("block", &[b"only one field"], &[0; 64]);
/// let (id, head) = record.atoms.last().unwrap();
/// assert_eq!((*id, head.data()), (record.id, b"block".as_slice()));
/// assert_ne!(record.body_head, record.body_list);
/// ```
#[must_use]
pub fn signed_atoms(name: &str, fields: &[&[u8]], signature: &[u8]) -> SignedAtoms {
    let fields = fields.iter().map(|&field| (AtomKind::Bytes, field.into()));
    let (body_head, mut atoms) = link(fields.collect());
    let list = Atom::list(body_head, AtomId::ZERO);
    let body_list = list.id();
    let signature = Atom::new(AtomKind::Bytes, signature, body_list);
    let signature_id = signature.id();
    let version = Atom::new(AtomKind::Bytes, VERSION, signature_id);
    let version_id = version.id();
    let head = Atom::new(AtomKind::Symbol, name.as_bytes(), version_id);
    let id = head.id();
    atoms.extend([
        (body_list, list),
        (signature_id, signature),
        (version_id, version),
        (id, head),
    ]);
    SignedAtoms {
        id,
        body_head,
        body_list,
        atoms,
    }
}

/// Links atoms of these kinds and contents to a list; returns the id of the head and all atoms,
/// head first.
pub(super) fn link(parts: Vec<(AtomKind, Arc<[u8]>)>) -> (AtomId, RecordAtoms) {
    let mut next = AtomId::ZERO;
    let mut atoms = Vec::with_capacity(parts.len() + 4);
    for (kind, data) in parts.into_iter().rev() {
        let atom = Atom::new(kind, data, next);
        next = atom.id();
        atoms.push((next, atom));
    }
    atoms.reverse();
    (next, atoms)
}

/// Writes all atoms to `sink`.
///
/// ```
/// use astreum_core::atom::MemoryStore;
/// use astreum_core::chain::{Account, write_atoms};
/// let (id, atoms) = Account::default().to_atoms();
/// let mut store = MemoryStore::new();
/// write_atoms(atoms, &mut store).unwrap();
/// assert_eq!(Account::read(&store, id).unwrap(), Account::default());
/// ```
///
/// # Errors
/// Fails if the sink fails.
pub fn write_atoms<K: AtomSink + ?Sized>(atoms: RecordAtoms, sink: &mut K) -> Result<(), K::Error> {
    atoms
        .into_iter()
        .try_for_each(|(id, atom)| sink.put(id, atom))
}

/// Reader of one record, whose id it adds to errors.
pub(super) struct Reader<'s, S: ?Sized> {
    pub(super) source: &'s S,
    pub(super) record: AtomId,
}

/// Parsed head of a signed record.
pub(super) struct SignedHead {
    pub(super) signature: Atom,
    pub(super) body_head: AtomId,
    pub(super) body_list: AtomId,
}

impl<S: AtomSource + ?Sized> Reader<'_, S> {
    pub(super) fn malformed(&self, problem: &'static str) -> RecordError<S::Error> {
        RecordError::Malformed {
            record: self.record,
            problem,
        }
    }

    /// Reads the list at `head`, which must have between `min` and `max` atoms.
    pub(super) fn list(
        &self,
        head: AtomId,
        min: usize,
        max: usize,
    ) -> Result<Vec<Atom>, RecordError<S::Error>> {
        let mut atoms = Vec::with_capacity(max);
        let mut next = head;
        while !next.is_zero() {
            if atoms.len() == max {
                return Err(self.malformed("too many fields"));
            }
            let atom = self.source.atom(&next)?;
            // Checked before the rest is requested, because a peer may be slow to send it.
            if atoms.is_empty() && next == self.record && atom.kind() != AtomKind::Symbol {
                return Err(self.malformed("missing type name"));
            }
            next = atom.next();
            atoms.push(atom);
        }
        if atoms.len() < min {
            return Err(self.malformed("too few fields"));
        }
        Ok(atoms)
    }

    /// Reads the list at `head`, which must have `N` atoms.
    pub(super) fn exactly<const N: usize>(
        &self,
        head: AtomId,
    ) -> Result<[Atom; N], RecordError<S::Error>> {
        let atoms = self.list(head, N, N)?;
        let count = self.malformed("wrong number of fields");
        atoms.try_into().map_err(|_| count)
    }

    /// Reads the head of a signed record of this type.
    pub(super) fn signed_head(&self, name: &str) -> Result<SignedHead, RecordError<S::Error>> {
        let [head, version, signature, list] = self.exactly(self.record)?;
        self.name(&head, name)?;
        self.version(&version)?;
        if signature.kind() != AtomKind::Bytes {
            return Err(self.malformed("signature is not a bytes atom"));
        }
        let body_list = signature.next();
        let body_head = self.link(&list, "body is not a list id")?;
        Ok(SignedHead {
            signature,
            body_head,
            body_list,
        })
    }

    pub(super) fn name(&self, atom: &Atom, name: &str) -> Result<(), RecordError<S::Error>> {
        if atom.kind() != AtomKind::Symbol || atom.data() != name.as_bytes() {
            return Err(self.malformed("wrong record type"));
        }
        Ok(())
    }

    pub(super) fn version(&self, atom: &Atom) -> Result<(), RecordError<S::Error>> {
        if atom.kind() != AtomKind::Bytes || atom.data() != VERSION {
            return Err(self.malformed("unknown version: expected a canonical 1"));
        }
        Ok(())
    }

    /// Returns the id that a list atom holds.
    pub(super) fn link(
        &self,
        atom: &Atom,
        problem: &'static str,
    ) -> Result<AtomId, RecordError<S::Error>> {
        let id = AtomId::from_slice(atom.data()).filter(|_| atom.kind() == AtomKind::List);
        id.ok_or_else(|| self.malformed(problem))
    }

    /// Returns the 32 bytes that a bytes atom holds.
    pub(super) fn bytes_32(
        &self,
        atom: &Atom,
        problem: &'static str,
    ) -> Result<[u8; 32], RecordError<S::Error>> {
        let bytes = atom.data().try_into().ok();
        let bytes = bytes.filter(|_| atom.kind() == AtomKind::Bytes);
        bytes.ok_or_else(|| self.malformed(problem))
    }

    /// Parses a little-endian integer.
    pub(super) fn integer_le(
        &self,
        atom: &Atom,
        problem: &'static str,
    ) -> Result<Natural, RecordError<S::Error>> {
        self.integer(atom, || Natural::from_bytes_le(atom.data()).ok(), problem)
    }

    /// Parses a big-endian integer.
    pub(super) fn integer_be(
        &self,
        atom: &Atom,
        problem: &'static str,
    ) -> Result<Natural, RecordError<S::Error>> {
        self.integer(atom, || Natural::from_bytes_be(atom.data()).ok(), problem)
    }

    fn integer(
        &self,
        atom: &Atom,
        value: impl FnOnce() -> Option<Natural>,
        problem: &'static str,
    ) -> Result<Natural, RecordError<S::Error>> {
        if atom.data().len() > MAX_INTEGER_BYTES {
            return Err(self.malformed(LONG_INTEGER));
        }
        value()
            .filter(|_| atom.kind() == AtomKind::Bytes)
            .ok_or_else(|| self.malformed(problem))
    }
}

#[cfg(test)]
mod tests;
