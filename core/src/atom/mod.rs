//! Atoms: the common unit of storage, network and machine.
//!
//! An atom is a kind, a link to another atom and data. Its id is
//! `BLAKE3(kind ‖ BLAKE3(data) ‖ next ‖ len(data) as u64 LE)`, so an id commits to all parts, and
//! the id of the head commits to a whole list. The stored form is `next (32) ‖ kind (1) ‖ data`
//! (source of both: the reference's `storage/models/atom.py`).
//!
//! Invariants:
//! - An [`Atom`] always has a valid kind. Every byte string of 33 bytes or more whose kind byte is
//!   at most 2 decodes, and decoding followed by encoding returns the same bytes.
//! - Reading a list never visits an id twice (ids are hashes, so a cycle would be a collision) and
//!   never exceeds the stated limit.

mod hashed;
mod list;
mod measure;
mod source;
mod verify;

pub use hashed::{HashedAtom, LinkedAtoms};
pub use list::{ListError, MAX_LIST_ATOMS, bytes_list, collect_list};
pub use measure::{ListMeasurer, ListStretch};
#[cfg(feature = "chain")]
pub(crate) use source::IdBits;
pub use source::{AtomSink, AtomSource, MemoryStore, NoStore, ReadOnce, SourceError};
pub use verify::{AtomVerifier, VerifyError};

use crate::arc::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

/// Size of an id, in bytes.
pub const ID_BYTES: usize = 32;
/// Size of the header in an atom's stored form, in bytes: the next id and the kind.
pub const HEADER_BYTES: usize = ID_BYTES + 1;

/// Identifier of an atom: a BLAKE3 hash of its kind, data hash, link and length.
///
/// ```
/// use astreum_core::atom::{Atom, AtomId};
///
/// let id = Atom::bytes(*b"abc").id();
/// let text = "f794f3fc7bb7251d00d972ed8e16407c1111a671adcdcbf8fae61fc7a9c45e14";
/// assert_eq!(id.to_string(), text);
/// assert_eq!(text.parse(), Ok(id));
/// assert!("f794".parse::<AtomId>().is_err());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct AtomId([u8; ID_BYTES]);

impl AtomId {
    /// The null id, 32 zero bytes. Terminates a list; also the head of an empty list of bytes.
    pub const ZERO: Self = Self([0; ID_BYTES]);

    /// Creates an id from its 32 bytes.
    #[must_use]
    pub const fn new(bytes: [u8; ID_BYTES]) -> Self {
        Self(bytes)
    }

    /// Creates an id from a slice, or returns `None` if it does not have exactly 32 bytes.
    ///
    /// ```
    /// use astreum_core::atom::AtomId;
    /// assert_eq!(AtomId::from_slice(&[7; 32]), Some(AtomId::new([7; 32])));
    /// assert_eq!(AtomId::from_slice(&[7; 31]), None);
    /// ```
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Returns the 32 bytes of the id.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; ID_BYTES] {
        &self.0
    }

    /// Returns whether this is [`AtomId::ZERO`].
    ///
    /// ```
    /// use astreum_core::atom::{Atom, AtomId};
    /// assert!(AtomId::ZERO.is_zero());
    /// assert!(Atom::bytes(*b"the only item").next().is_zero());
    /// ```
    #[must_use]
    pub fn is_zero(&self) -> bool {
        *self == Self::ZERO
    }
}

impl From<[u8; ID_BYTES]> for AtomId {
    fn from(bytes: [u8; ID_BYTES]) -> Self {
        Self(bytes)
    }
}

impl AsRef<[u8]> for AtomId {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Formats the id in lower-case hex without a prefix.
impl fmt::Display for AtomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        crate::hex::write(&self.0, f)
    }
}

impl fmt::Debug for AtomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AtomId({self})")
    }
}

/// Error for a text that is not an [`AtomId`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ParseIdError;

impl fmt::Display for ParseIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("invalid atom id: expected 64 hex digits, optionally prefixed with 0x")
    }
}

impl core::error::Error for ParseIdError {}

impl FromStr for AtomId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let digits = text
            .strip_prefix("0x")
            .or_else(|| text.strip_prefix("0X"))
            .unwrap_or(text);
        let mut id = [0; ID_BYTES];
        hex::decode_to_slice(digits, &mut id).map_err(|_| ParseIdError)?;
        Ok(Self(id))
    }
}

/// Kind of an atom: the meaning of its data.
///
/// ```
/// use astreum_core::atom::{Atom, AtomKind};
/// assert_eq!(Atom::symbol("add").kind(), AtomKind::Symbol);
/// assert_eq!(AtomKind::List.code(), 2);
/// assert_eq!(AtomKind::from_code(3), None);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum AtomKind {
    /// A name in UTF-8.
    Symbol = 0,
    /// Bytes; their reader defines the meaning.
    Bytes = 1,
    /// The id of a child; `next` is the rest of the list.
    List = 2,
}

impl AtomKind {
    /// Returns the kind with this code, or `None` if the code is unknown.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Symbol),
            1 => Some(Self::Bytes),
            2 => Some(Self::List),
            _ => None,
        }
    }

    /// Returns the code used in stored bytes and in the id.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Symbol => 0,
            Self::Bytes => 1,
            Self::List => 2,
        }
    }
}

/// Reason bytes are not an atom.
///
/// ```
/// use astreum_core::atom::{Atom, AtomError};
///
/// let mut bytes = Atom::bytes(*b"abc").to_bytes();
/// bytes[32] = 9;
/// assert_eq!(Atom::from_bytes(&bytes), Err(AtomError::UnknownKind { code: 9 }));
/// assert_eq!(Atom::from_bytes(&bytes[..20]), Err(AtomError::TooShort { len: 20 }));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AtomError {
    /// The bytes are shorter than the 33 bytes of the header.
    TooShort {
        /// Number of bytes.
        len: usize,
    },
    /// The kind byte is not 0, 1 or 2.
    UnknownKind {
        /// The kind byte.
        code: u8,
    },
}

impl fmt::Display for AtomError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort { len } => {
                write!(
                    f,
                    "atom of {len} bytes is too short: expected at least {HEADER_BYTES}"
                )
            }
            Self::UnknownKind { code } => {
                write!(
                    f,
                    "unknown atom kind {code}: expected 0 (symbol), 1 (bytes) or 2 (list)"
                )
            }
        }
    }
}

impl core::error::Error for AtomError {}

/// Atom: a kind, a link and data. Cloning is cheap because the data is shared.
///
/// ```
/// use astreum_core::atom::{Atom, AtomKind};
///
/// let last = Atom::bytes(*b"two");
/// let first = Atom::new(AtomKind::Bytes, *b"one", last.id());
/// assert_eq!((first.kind(), first.data()), (AtomKind::Bytes, b"one".as_slice()));
/// assert_eq!(first.next(), last.id());
/// // The id commits to the link: the same data without it is another atom.
/// assert_ne!(first.id(), Atom::bytes(*b"one").id());
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Atom {
    kind: AtomKind,
    next: AtomId,
    data: Arc<[u8]>,
}

impl Atom {
    /// Creates an atom of any kind.
    ///
    /// ```
    /// use astreum_core::atom::{Atom, AtomId, AtomKind};
    /// let atom = Atom::new(AtomKind::Symbol, *b"add", AtomId::ZERO);
    /// assert_eq!(atom, Atom::symbol("add"));
    /// ```
    #[must_use]
    pub fn new(kind: AtomKind, data: impl Into<Arc<[u8]>>, next: AtomId) -> Self {
        Self {
            kind,
            next,
            data: data.into(),
        }
    }

    /// Creates a bytes atom without a link.
    ///
    /// ```
    /// use astreum_core::atom::Atom;
    /// let atom = Atom::bytes(*b"abc");
    /// assert_eq!(atom.data(), b"abc");
    /// assert_eq!(atom, Atom::bytes(vec![0x61, 0x62, 0x63]));
    /// ```
    #[must_use]
    pub fn bytes(data: impl Into<Arc<[u8]>>) -> Self {
        Self::new(AtomKind::Bytes, data, AtomId::ZERO)
    }

    /// Creates a symbol atom without a link.
    #[must_use]
    pub fn symbol(name: &str) -> Self {
        Self::new(AtomKind::Symbol, name.as_bytes(), AtomId::ZERO)
    }

    /// Creates a list atom with the first item `child` and the remaining list `rest`.
    ///
    /// ```
    /// use astreum_core::atom::Atom;
    ///
    /// // The list `(a b)`: one list atom for each item.
    /// let (a, b) = (Atom::symbol("a"), Atom::symbol("b"));
    /// let rest = Atom::list(b.id(), Atom::empty_list().next());
    /// let list = Atom::list(a.id(), rest.id());
    /// assert_eq!(list.data(), a.id().as_bytes());
    /// assert_eq!(list.next(), rest.id());
    /// ```
    #[must_use]
    pub fn list(child: AtomId, rest: AtomId) -> Self {
        Self::new(AtomKind::List, *child.as_bytes(), rest)
    }

    /// Creates the atom that represents the empty list.
    ///
    /// ```
    /// use astreum_core::{atom::Atom, expr::Expr};
    /// assert!(Atom::empty_list().data().is_empty());
    /// assert_eq!(Atom::empty_list().id(), Expr::list([]).id());
    /// ```
    #[must_use]
    pub fn empty_list() -> Self {
        Self::new(AtomKind::List, [], AtomId::ZERO)
    }

    /// Returns the kind.
    #[must_use]
    pub const fn kind(&self) -> AtomKind {
        self.kind
    }

    /// Returns the id of the next atom of the list, or [`AtomId::ZERO`] at its end.
    #[must_use]
    pub const fn next(&self) -> AtomId {
        self.next
    }

    /// Returns the data.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// Returns the data as a shared reference.
    #[must_use]
    pub fn shared_data(&self) -> Arc<[u8]> {
        Arc::clone(&self.data)
    }

    /// Returns the id; hashes the data and the header.
    ///
    /// ```
    /// use astreum_core::atom::{Atom, AtomKind, atom_id};
    /// let atom = Atom::bytes(*b"abc");
    /// assert_eq!(atom.id(), atom_id(AtomKind::Bytes, b"abc", atom.next()));
    /// ```
    #[must_use]
    pub fn id(&self) -> AtomId {
        atom_id(self.kind, &self.data, self.next)
    }

    /// Returns the size of the stored form, in bytes: 33 more than the size of the data.
    #[must_use]
    pub fn stored_len(&self) -> usize {
        HEADER_BYTES + self.data.len()
    }

    /// Returns the stored form: next id, kind, data.
    ///
    /// ```
    /// use astreum_core::atom::Atom;
    ///
    /// let atom = Atom::bytes(*b"abc");
    /// let bytes = atom.to_bytes();
    /// assert_eq!(bytes.len(), atom.stored_len());
    /// assert_eq!((bytes[32], &bytes[33..]), (1, b"abc".as_slice()));
    /// ```
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.stored_len());
        self.write_to(&mut bytes);
        bytes
    }

    /// Appends the stored form to `out`.
    ///
    /// ```
    /// use astreum_core::atom::Atom;
    ///
    /// let mut record = b"header".to_vec();
    /// let atom = Atom::symbol("x");
    /// atom.write_to(&mut record);
    /// assert_eq!(record[6..], atom.to_bytes());
    /// ```
    pub fn write_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.next.as_bytes());
        out.push(self.kind.code());
        out.extend_from_slice(&self.data);
    }

    /// Reads the stored form.
    ///
    /// ```
    /// use astreum_core::atom::Atom;
    /// let atom = Atom::symbol("add");
    /// assert_eq!(Atom::from_bytes(&atom.to_bytes()), Ok(atom));
    /// ```
    ///
    /// # Errors
    /// Returns [`AtomError::TooShort`] if the header is incomplete, and [`AtomError::UnknownKind`]
    /// if the kind is unknown.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, AtomError> {
        let (kind, next, data) = split_stored(bytes)?;
        Ok(Self::new(kind, data, next))
    }
}

/// Splits stored bytes into kind, next id and data without copying the data.
///
/// ```
/// use astreum_core::atom::{Atom, AtomId, AtomKind, split_stored};
/// let bytes = Atom::bytes(*b"abc").to_bytes();
/// assert_eq!(split_stored(&bytes), Ok((AtomKind::Bytes, AtomId::ZERO, b"abc".as_slice())));
/// ```
///
/// # Errors
/// As [`Atom::from_bytes`].
pub fn split_stored(bytes: &[u8]) -> Result<(AtomKind, AtomId, &[u8]), AtomError> {
    let too_short = AtomError::TooShort { len: bytes.len() };
    let (next, rest) = bytes.split_first_chunk::<ID_BYTES>().ok_or(too_short)?;
    let (&code, data) = rest.split_first().ok_or(too_short)?;
    let kind = AtomKind::from_code(code).ok_or(AtomError::UnknownKind { code })?;
    Ok((kind, AtomId(*next), data))
}

/// Returns the id of the atom with these parts.
///
/// ```
/// use astreum_core::atom::{Atom, AtomId, AtomKind, atom_id};
/// let id = atom_id(AtomKind::Symbol, b"add", AtomId::ZERO);
/// assert_eq!(id, Atom::symbol("add").id());
/// ```
#[must_use]
pub fn atom_id(kind: AtomKind, data: &[u8], next: AtomId) -> AtomId {
    let data_hash = *blake3::hash(data).as_bytes();
    // A usize has at most 64 bits on every target that Rust supports.
    id_from_parts(kind, &data_hash, next, data.len() as u64)
}

/// Returns the id of the atom whose data has this hash and this length in bytes; the data itself is
/// not needed.
///
/// ```
/// use astreum_core::atom::{Atom, AtomId, AtomKind, id_from_parts};
/// let hash = *blake3::hash(b"abc").as_bytes();
/// let id = id_from_parts(AtomKind::Bytes, &hash, AtomId::ZERO, 3);
/// assert_eq!(id, Atom::bytes(*b"abc").id());
/// ```
#[must_use]
pub fn id_from_parts(kind: AtomKind, data_hash: &[u8; 32], next: AtomId, len: u64) -> AtomId {
    AtomId(*blake3::hash(&id_preimage(kind, data_hash, next, len)).as_bytes())
}

/// Size of the hashed input of an id, in bytes.
pub(crate) const ID_PREIMAGE_BYTES: usize = 1 + 32 + ID_BYTES + 8;

/// Returns the hashed input of an atom's id.
pub(crate) fn id_preimage(
    kind: AtomKind,
    data_hash: &[u8; 32],
    next: AtomId,
    len: u64,
) -> [u8; ID_PREIMAGE_BYTES] {
    let mut preimage = [0; ID_PREIMAGE_BYTES];
    let (kind_byte, rest) = preimage.split_at_mut(1);
    let (hash_bytes, rest) = rest.split_at_mut(32);
    let (next_bytes, len_bytes) = rest.split_at_mut(ID_BYTES);
    kind_byte.copy_from_slice(&[kind.code()]);
    hash_bytes.copy_from_slice(data_hash);
    next_bytes.copy_from_slice(next.as_bytes());
    len_bytes.copy_from_slice(&len.to_le_bytes());
    preimage
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use proptest::prelude::*;

    #[test]
    fn id_text_round_trips_and_rejects_malformed() {
        let id = Atom::bytes(*b"abc").id();
        let text = id.to_string();
        assert_eq!(
            text,
            "f794f3fc7bb7251d00d972ed8e16407c1111a671adcdcbf8fae61fc7a9c45e14"
        );
        assert_eq!(text.parse(), Ok(id));
        assert_eq!(alloc::format!("0x{text}").parse(), Ok(id));
        assert_eq!("f794".parse::<AtomId>(), Err(ParseIdError));
        assert_eq!(text.replace('f', "g").parse::<AtomId>(), Err(ParseIdError));
        assert_eq!("é".repeat(32).parse::<AtomId>(), Err(ParseIdError));
    }

    #[test]
    fn short_bytes_and_unknown_kinds_are_rejected() {
        assert_eq!(
            Atom::from_bytes(&[0; 32]),
            Err(AtomError::TooShort { len: 32 })
        );
        let mut bytes = [0; 33];
        assert_eq!(Atom::from_bytes(&bytes), Ok(Atom::symbol("")));
        bytes[32] = 3;
        assert_eq!(
            Atom::from_bytes(&bytes),
            Err(AtomError::UnknownKind { code: 3 })
        );
    }

    proptest! {
        #[test]
        fn stored_bytes_round_trip(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(atom) = Atom::from_bytes(&bytes) {
                prop_assert_eq!(atom.to_bytes(), bytes);
            }
        }

        #[test]
        fn id_commits_to_every_part(
            data in proptest::collection::vec(any::<u8>(), 0..40), next in any::<[u8; 32]>(),
        ) {
            let atom = Atom::new(AtomKind::Bytes, data.clone(), next.into());
            prop_assert_ne!(atom.id(), Atom::new(AtomKind::List, data.clone(), next.into()).id());
            let mut longer = data.clone();
            longer.push(0);
            prop_assert_ne!(atom.id(), Atom::new(AtomKind::Bytes, longer, next.into()).id());
            let mut other = next;
            other[31] ^= 1;
            prop_assert_ne!(atom.id(), Atom::new(AtomKind::Bytes, data, other.into()).id());
        }
    }
}
