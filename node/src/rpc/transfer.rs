//! Transfers: bytes that follow a request or precede its result, in frames of their own.
//!
//! A transfer of atoms is a sequence of records: the length of the stored form (`u32`, big endian),
//! then the stored form. A record may begin and end anywhere in a frame.
//!
//! Invariants:
//! - An [`AtomReader`] keeps at most one incomplete record, and reserves nothing for a length that
//!   exceeds the maximum of an atom.
//! - [`Incoming`] passes on the bytes of one transfer up to its end, and nothing else.

use super::codec::{Frame, FrameError};
use super::error::{ErrorKind, RpcError};
use super::protocol::TransferProgress;
use crate::store::MAX_ATOM_DATA_BYTES;
use astreum_core::atom::{Atom, AtomError, AtomId, AtomKind, HEADER_BYTES, split_stored};
use core::fmt;

/// Size in bytes of the length of a record.
const LENGTH_BYTES: usize = 4;
/// Maximum size in bytes of an atom's stored form.
const MAX_STORED_BYTES: usize = HEADER_BYTES + MAX_ATOM_DATA_BYTES;

/// Transfers of the connection that a request came from.
pub trait Transfers: fmt::Debug + Send + Sync {
    /// Waits for the next bytes of a transfer that the caller sends; none at its end.
    ///
    /// # Errors
    /// Fails if the caller is gone or silent for too long, if the node stops, or if another frame
    /// arrives.
    fn receive(&self, number: u32) -> Result<Vec<u8>, RpcError>;

    /// Sends bytes of a transfer to the caller; none end it. Waits while the caller does not read.
    ///
    /// # Errors
    /// Fails if the caller is gone or does not read for too long, or if the node stops.
    fn send(&self, number: u32, bytes: &[u8]) -> Result<(), RpcError>;

    /// Notifies the caller of the progress of a transfer that is sent to it.
    ///
    /// # Errors
    /// Same as [`Transfers::send`].
    fn report(&self, progress: &TransferProgress) -> Result<(), RpcError>;
}

/// Reason the frames or bytes of a transfer are invalid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TransferError {
    /// A frame belongs to another transfer.
    WrongNumber {
        /// Number of the open transfer.
        open: u32,
        /// Number in the frame.
        found: u32,
    },
    /// A message arrived before the end of the transfer.
    Message {
        /// Number of the open transfer.
        open: u32,
    },
    /// The input is not a sequence of frames.
    Frame(FrameError),
    /// The length of a record is not that of an atom.
    InvalidLength {
        /// Length of the stored form in bytes.
        length: u32,
        /// Index of the atom in the transfer.
        at: u64,
    },
    /// A record is not an atom.
    InvalidAtom {
        /// Reason.
        error: AtomError,
        /// Index of the atom in the transfer.
        at: u64,
    },
    /// There are more atoms than the receiver takes.
    TooManyAtoms {
        /// Maximum number of atoms.
        max: u64,
    },
    /// The transfer ends within a record.
    Incomplete {
        /// Index of the atom in the transfer.
        at: u64,
    },
}

impl fmt::Display for TransferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongNumber { open, found } => {
                write!(
                    f,
                    "transfer {found} is not open: expected bytes of transfer {open}"
                )
            }
            Self::Message { open } => {
                write!(
                    f,
                    "unexpected message: transfer {open} has not ended; an empty frame ends it"
                )
            }
            Self::Frame(error) => error.fmt(f),
            Self::InvalidLength { length, at } => write!(
                f,
                "invalid transfer: atom {at} has {length} stored bytes; expected {HEADER_BYTES} to \
                 {MAX_STORED_BYTES}"
            ),
            Self::InvalidAtom { error, at } => {
                write!(f, "invalid transfer: atom {at}: {error}")
            }
            Self::TooManyAtoms { max } => {
                write!(f, "the transfer has more than {max} atoms; send several")
            }
            Self::Incomplete { at } => write!(f, "the transfer ends within atom {at}"),
        }
    }
}

impl core::error::Error for TransferError {}

impl From<TransferError> for RpcError {
    fn from(error: TransferError) -> Self {
        let kind = match error {
            TransferError::WrongNumber { .. }
            | TransferError::Message { .. }
            | TransferError::Frame(_) => ErrorKind::InvalidFrame,
            TransferError::TooManyAtoms { .. } => ErrorKind::TooLarge,
            TransferError::InvalidLength { .. }
            | TransferError::InvalidAtom { .. }
            | TransferError::Incomplete { .. } => ErrorKind::Failed,
        };
        Self::new(kind, error.to_string())
    }
}

/// Receiver of one transfer's frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Incoming {
    number: u32,
    has_ended: bool,
}

impl Incoming {
    pub(super) const fn new(number: u32) -> Self {
        Self {
            number,
            has_ended: false,
        }
    }

    pub(super) const fn number(&self) -> u32 {
        self.number
    }

    /// Returns whether the frame that ends the transfer has been taken.
    pub(super) const fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Returns the bytes of a frame of this transfer; none at its end.
    pub(super) fn take(&mut self, frame: Frame) -> Result<Vec<u8>, TransferError> {
        let open = self.number;
        match frame {
            Frame::Message(_) => Err(TransferError::Message { open }),
            Frame::Transfer { number: found, .. } if found != open => {
                Err(TransferError::WrongNumber { open, found })
            }
            Frame::Transfer { bytes, .. } => {
                self.has_ended = bytes.is_empty();
                Ok(bytes)
            }
        }
    }
}

/// Parts of an atom in a transfer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AtomParts<'b> {
    /// Kind.
    pub kind: AtomKind,
    /// Id of the next atom.
    pub next: AtomId,
    /// Data.
    pub data: &'b [u8],
}

impl AtomParts<'_> {
    /// Returns the atom.
    #[must_use]
    pub fn to_atom(&self) -> Atom {
        Atom::new(self.kind, self.data, self.next)
    }
}

impl<'a> From<&'a Atom> for AtomParts<'a> {
    fn from(atom: &'a Atom) -> Self {
        Self {
            kind: atom.kind(),
            next: atom.next(),
            data: atom.data(),
        }
    }
}

/// Appends the record of an atom.
///
/// ```
/// use astreum_core::atom::{AtomId, AtomKind};
/// use astreum_node::rpc::{AtomParts, push_atom};
///
/// let mut bytes = Vec::new();
/// let parts = AtomParts { kind: AtomKind::Bytes, next: AtomId::ZERO, data: b"abc" };
/// push_atom(parts, &mut bytes);
/// assert_eq!((bytes.len(), &bytes[..4]), (40, &[0, 0, 0, 36][..]));
/// ```
pub fn push_atom(parts: AtomParts<'_>, out: &mut Vec<u8>) {
    let length = HEADER_BYTES + parts.data.len();
    // A reader rejects the length of an atom that is too large.
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(parts.next.as_bytes());
    out.push(parts.kind.code());
    out.extend_from_slice(parts.data);
}

/// Reader of atoms from the bytes of a transfer, in pieces of any size.
///
/// ```
/// use astreum_core::atom::{AtomId, AtomKind};
/// use astreum_node::rpc::{AtomParts, AtomReader, TransferError, push_atom};
///
/// let parts = AtomParts { kind: AtomKind::Bytes, next: AtomId::ZERO, data: b"abc" };
/// let mut bytes = Vec::new();
/// push_atom(parts, &mut bytes);
/// let (mut reader, mut count) = (AtomReader::new(10), 0);
/// for piece in bytes.chunks(7) {
///     reader.read(piece, &mut |read| {
///         assert_eq!(read, parts);
///         count += 1;
///         Ok::<(), TransferError>(())
///     })?;
/// }
/// assert_eq!((count, reader.finish()?), (1, 1));
/// # Ok::<(), TransferError>(())
/// ```
#[derive(Clone, Debug)]
pub struct AtomReader {
    /// Bytes of an incomplete record.
    partial: Vec<u8>,
    atoms: u64,
    max_atoms: u64,
}

impl AtomReader {
    /// Creates a reader that takes at most `max_atoms` atoms.
    #[must_use]
    pub const fn new(max_atoms: u64) -> Self {
        Self {
            partial: Vec::new(),
            atoms: 0,
            max_atoms,
        }
    }

    /// Passes the atoms that are complete to `take`, in order.
    ///
    /// # Errors
    /// Fails if the bytes are malformed, if there are too many atoms, or if `take` fails. The
    /// reader must not be used afterwards.
    pub fn read<E: From<TransferError>>(
        &mut self,
        bytes: &[u8],
        take: &mut dyn FnMut(AtomParts<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut rest = bytes;
        // Completes the record that an earlier piece began.
        while !self.partial.is_empty() && !rest.is_empty() {
            let wanted = match self.record_len(&self.partial)? {
                None => LENGTH_BYTES,
                Some(len) => len,
            };
            let missing = wanted.saturating_sub(self.partial.len());
            let (taken, behind) = rest.split_at(missing.min(rest.len()));
            self.partial.extend_from_slice(taken);
            rest = behind;
            if self.record_len(&self.partial)? == Some(self.partial.len()) {
                let record = core::mem::take(&mut self.partial);
                self.pass_on(&record, take)?;
                self.partial = record;
                self.partial.clear();
            }
        }
        while let Some(len) = self.record_len(rest)? {
            let Some((record, behind)) = rest.split_at_checked(len) else {
                break;
            };
            self.pass_on(record, take)?;
            rest = behind;
        }
        self.partial.extend_from_slice(rest);
        Ok(())
    }

    /// Returns the length of the record at the start of `bytes`; `None` if it has not arrived.
    fn record_len(&self, bytes: &[u8]) -> Result<Option<usize>, TransferError> {
        let Some(length) = bytes.first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        if self.atoms == self.max_atoms {
            let max = self.max_atoms;
            return Err(TransferError::TooManyAtoms { max });
        }
        let length = u32::from_be_bytes(*length);
        match usize::try_from(length) {
            Ok(len @ HEADER_BYTES..=MAX_STORED_BYTES) => Ok(Some(LENGTH_BYTES + len)),
            _ => Err(TransferError::InvalidLength {
                length,
                at: self.atoms,
            }),
        }
    }

    fn pass_on<E: From<TransferError>>(
        &mut self,
        record: &[u8],
        take: &mut dyn FnMut(AtomParts<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let at = self.atoms;
        let stored = record.get(LENGTH_BYTES..).unwrap_or_default();
        let (kind, next, data) =
            split_stored(stored).map_err(|error| TransferError::InvalidAtom { error, at })?;
        self.atoms += 1;
        take(AtomParts { kind, next, data })
    }

    /// Ends the transfer; returns the number of its atoms.
    ///
    /// # Errors
    /// Fails if the last record is incomplete.
    pub fn finish(self) -> Result<u64, TransferError> {
        if self.partial.is_empty() {
            Ok(self.atoms)
        } else {
            Err(TransferError::Incomplete { at: self.atoms })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use astreum_core::atom::bytes_list;

    /// Reads a transfer that arrives in pieces.
    fn read(pieces: &[&[u8]], max_atoms: u64) -> Result<Vec<Atom>, TransferError> {
        let (mut reader, mut atoms) = (AtomReader::new(max_atoms), Vec::new());
        for piece in pieces {
            reader.read(piece, &mut |parts| {
                atoms.push(parts.to_atom());
                Ok::<_, TransferError>(())
            })?;
        }
        assert_eq!(reader.finish()?, atoms.len() as u64);
        Ok(atoms)
    }

    #[test]
    fn atoms_are_the_same_for_every_split_of_the_transfer() {
        let (_, atoms) = bytes_list(&[b"".as_slice(), b"a", b"some more bytes"]);
        let mut bytes = Vec::new();
        for atom in &atoms {
            push_atom(AtomParts::from(atom), &mut bytes);
        }
        for at in 0..=bytes.len() {
            for end in at..=bytes.len() {
                let pieces = [&bytes[..at], &bytes[at..end], &bytes[end..]];
                assert_eq!(
                    read(&pieces, 3).as_ref(),
                    Ok(&atoms),
                    "split at {at}, {end}"
                );
            }
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(read(&single, 3), Ok(atoms));
        let ends = [37, 37 + 38];
        for len in 1..bytes.len() {
            let incomplete = matches!(
                read(&[&bytes[..len]], 3),
                Err(TransferError::Incomplete { .. })
            );
            assert_eq!(incomplete, !ends.contains(&len), "{len}");
        }
    }

    #[test]
    fn malformed_and_surplus_atoms_are_rejected_before_they_are_stored() {
        let record = |length: usize| u32::try_from(length).unwrap().to_be_bytes();
        for length in [0, 32, MAX_STORED_BYTES + 1, 0xffff_ffff] {
            for pieces in [1, 4] {
                let bytes = record(length);
                let bytes: Vec<&[u8]> = bytes.chunks(pieces).collect();
                let error = read(&bytes, 9).unwrap_err();
                let length = u32::try_from(length).unwrap();
                assert_eq!(error, TransferError::InvalidLength { length, at: 0 });
            }
        }
        let largest = Atom::bytes(vec![7; MAX_ATOM_DATA_BYTES]);
        let mut bytes = Vec::new();
        push_atom(AtomParts::from(&largest), &mut bytes);
        assert_eq!(read(&[&bytes], 1), Ok(vec![largest]));
        // The kind of the second atom.
        let mut bytes = bytes.repeat(2);
        let at = bytes.len() / 2 + LENGTH_BYTES + 32;
        bytes[at] = 3;
        let error = read(&[&bytes], 2).unwrap_err();
        assert!(
            error.to_string().contains("atom 1: unknown atom kind 3"),
            "{error}"
        );
        bytes[at] = 1;
        let error = read(&[&bytes], 1).unwrap_err();
        assert_eq!(error, TransferError::TooManyAtoms { max: 1 });
    }

    #[test]
    fn only_frames_of_the_open_transfer_are_taken() {
        let frame = |number, bytes: &[u8]| Frame::Transfer {
            number,
            bytes: bytes.to_vec(),
        };
        let mut incoming = Incoming::new(7);
        assert_eq!(incoming.take(frame(7, b"ab")), Ok(b"ab".to_vec()));
        let error = incoming.take(frame(8, b"ab")).unwrap_err();
        assert_eq!(error, TransferError::WrongNumber { open: 7, found: 8 });
        let error = incoming.take(Frame::Message(b"{}".to_vec())).unwrap_err();
        assert!(
            error.to_string().contains("transfer 7 has not ended"),
            "{error}"
        );
        assert!(!incoming.has_ended());
        assert_eq!(incoming.take(frame(7, b"")), Ok(Vec::new()));
        assert!(incoming.has_ended());
        assert_eq!(RpcError::from(error).kind, ErrorKind::InvalidFrame);
    }
}
