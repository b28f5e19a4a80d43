//! Streaming verification of an atom against its id.

use super::{AtomError, AtomId, AtomKind, HEADER_BYTES, ID_BYTES, id_from_parts};
use core::fmt;

/// Incremental verifier: takes an atom's stored bytes in pieces, in constant memory, and checks at
/// the end whether they are the expected atom.
///
/// ```
/// use astreum_core::atom::{Atom, AtomVerifier};
///
/// let atom = Atom::bytes(*b"some data");
/// let mut verifier = AtomVerifier::new(atom.id());
/// for piece in atom.to_bytes().chunks(7) {
///     verifier.update(piece);
/// }
/// assert!(verifier.finish().is_ok());
/// ```
#[derive(Clone)]
pub struct AtomVerifier {
    expected: AtomId,
    header: heapless::Vec<u8, HEADER_BYTES>,
    data_hasher: blake3::Hasher,
    data_len: u64,
}

/// Reason stored bytes are not the expected atom.
///
/// ```
/// use astreum_core::atom::{Atom, AtomVerifier, VerifyError};
///
/// let (asked, received) = (Atom::bytes(*b"abc"), Atom::bytes(*b"abd"));
/// let mut verifier = AtomVerifier::new(asked.id());
/// verifier.update(&received.to_bytes());
/// let error = VerifyError::OtherAtom { actual: received.id() };
/// assert_eq!(verifier.finish(), Err(error));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VerifyError {
    /// The bytes are not a valid atom.
    Malformed(AtomError),
    /// The bytes are an atom with another id.
    OtherAtom {
        /// Id of the bytes.
        actual: AtomId,
    },
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(error) => error.fmt(f),
            Self::OtherAtom { actual } => write!(f, "atom id mismatch: the bytes have id {actual}"),
        }
    }
}

impl core::error::Error for VerifyError {}

impl AtomVerifier {
    /// Creates a verifier for the atom with this id.
    #[must_use]
    pub fn new(expected: AtomId) -> Self {
        let (header, data_hasher) = (heapless::Vec::new(), blake3::Hasher::new());
        Self {
            expected,
            header,
            data_hasher,
            data_len: 0,
        }
    }

    /// Adds the next bytes of the stored form.
    pub fn update(&mut self, bytes: &[u8]) {
        let (head, data) = bytes.split_at(bytes.len().min(HEADER_BYTES - self.header.len()));
        // Never fails: the split leaves at most the remaining size of the header.
        let _ = self.header.extend_from_slice(head);
        self.data_hasher.update(data);
        self.data_len = self.data_len.saturating_add(data.len() as u64);
    }

    /// Returns the atom's kind and next id if the bytes are the expected atom.
    ///
    /// ```
    /// use astreum_core::atom::{Atom, AtomId, AtomKind, AtomVerifier};
    ///
    /// let atom = Atom::symbol("add");
    /// let mut verifier = AtomVerifier::new(atom.id());
    /// verifier.update(&atom.to_bytes());
    /// assert_eq!(verifier.finish(), Ok((AtomKind::Symbol, AtomId::ZERO)));
    /// ```
    ///
    /// # Errors
    /// Returns [`VerifyError::Malformed`] if the bytes are not an atom, and
    /// [`VerifyError::OtherAtom`] if their id differs.
    pub fn finish(self) -> Result<(AtomKind, AtomId), VerifyError> {
        let too_short = AtomError::TooShort {
            len: self.header.len(),
        };
        let (next, kind) = self
            .header
            .split_first_chunk::<ID_BYTES>()
            .and_then(|(next, rest)| Some((AtomId::new(*next), *rest.first()?)))
            .ok_or(VerifyError::Malformed(too_short))?;
        let kind =
            AtomKind::from_code(kind).ok_or(VerifyError::Malformed(AtomError::UnknownKind {
                code: kind,
            }))?;
        let data_hash = *self.data_hasher.finalize().as_bytes();
        let actual = id_from_parts(kind, &data_hash, next, self.data_len);
        if actual == self.expected {
            Ok((kind, next))
        } else {
            Err(VerifyError::OtherAtom { actual })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atom::Atom;
    use proptest::prelude::*;

    fn check(id: AtomId, pieces: &[&[u8]]) -> Result<(AtomKind, AtomId), VerifyError> {
        let mut verifier = AtomVerifier::new(id);
        pieces.iter().for_each(|piece| verifier.update(piece));
        verifier.finish()
    }

    #[test]
    fn rejects_a_short_header_an_unknown_kind_and_another_atom() {
        let atom = Atom::bytes(*b"x");
        let bytes = atom.to_bytes();
        assert_eq!(
            check(atom.id(), &[&bytes[..32]]),
            Err(VerifyError::Malformed(AtomError::TooShort { len: 32 }))
        );
        let mut wrong = bytes.clone();
        wrong[32] = 9;
        assert_eq!(
            check(atom.id(), &[&wrong]),
            Err(VerifyError::Malformed(AtomError::UnknownKind { code: 9 }))
        );
        let other = Atom::bytes(*b"y");
        assert_eq!(
            check(atom.id(), &[&other.to_bytes()]),
            Err(VerifyError::OtherAtom { actual: other.id() })
        );
    }

    proptest! {
        #[test]
        fn any_split_verifies(data in proptest::collection::vec(any::<u8>(), 0..200), cut in 0..300usize) {
            let atom = Atom::new(AtomKind::Symbol, data, AtomId::new([7; 32]));
            let bytes = atom.to_bytes();
            let (first, second) = bytes.split_at(cut.min(bytes.len()));
            prop_assert_eq!(check(atom.id(), &[first, second]), Ok((atom.kind(), atom.next())));
            prop_assert_eq!(check(atom.id(), &[bytes.as_slice()]), Ok((atom.kind(), atom.next())));
        }
    }
}
