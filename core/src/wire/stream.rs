//! Frames of the stream between two nodes of this implementation.
//!
//! A stream is an ordered, encrypted channel beside the datagrams; this module only sees its plain
//! bytes. They are a sequence of frames:
//!
//! ```text
//! length (4, BE) ‖ kind (1) ‖ number (4, BE) ‖ body      length = that of all behind it
//! ```
//!
//! The number names a request; its client chooses it. Kinds:
//!
//! | kind | from | body | meaning |
//! | --- | --- | --- | --- |
//! | 1 | client | id (32) ‖ credit (4, BE) | [`Frame::List`]: send the list that starts with the atom |
//! | 2 | client | bytes (4, BE) | [`Frame::Credit`]: send as many more bytes |
//! | 3 | client | nothing | [`Frame::Cancel`]: send no more |
//! | 4 | client | id (32) ‖ count (4, BE) ‖ credit (4, BE) | [`Frame::Headers`]: send the headers of the block and of the blocks below it |
//! | 5 | client | credit (4, BE) ‖ (id (32))* | [`Frame::Bodies`]: send the transactions of the lists |
//! | 6 | client | most (4, BE) ‖ credit (4, BE) ‖ (id (32))* | [`Frame::Lists`]: send the lists, at most so many atoms of each |
//! | 64 | server | (length (4, BE) ‖ stored atom)* | [`Frame::Found`]: the next atoms, at least one |
//! | 65 | server | reason (1) | [`Frame::End`]: the request ends before its object is complete |
//!
//! A frame of another kind is a [`Frame::Unknown`]: a server refuses such a request by its number
//! and continues, so that a later release can add requests.

use super::read::take;
use crate::atom::{Atom, AtomId};
use alloc::vec::Vec;
use core::fmt;

/// Maximum length of a frame without the length in front of it, in bytes.
pub const MAX_FRAME_BYTES: usize = 262_144;
/// Size of the length in front of a frame, in bytes.
pub const LENGTH_BYTES: usize = 4;
/// Maximum number of ids in a request.
pub const MAX_IDS: usize = 1_024;
/// Size of the kind and the number of a frame, in bytes.
pub const HEAD_BYTES: usize = 1 + 4;

const LIST: u8 = 1;
const CREDIT: u8 = 2;
const CANCEL: u8 = 3;
const HEADERS: u8 = 4;
const BODIES: u8 = 5;
const LISTS: u8 = 6;
const FOUND: u8 = 64;
const END: u8 = 65;

/// Reason why a server ends a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EndReason {
    /// The server does not have the next atom.
    Missing,
    /// Too many requests are open on this connection.
    Busy,
    /// The server does not know this kind of request.
    Unsupported,
    /// The store of the server failed.
    Failed,
    /// A reason that this release does not know.
    Other(u8),
}

impl EndReason {
    /// Returns the reason with this code.
    #[must_use]
    pub const fn from_code(code: u8) -> Self {
        match code {
            1 => Self::Missing,
            2 => Self::Busy,
            3 => Self::Unsupported,
            4 => Self::Failed,
            code => Self::Other(code),
        }
    }

    /// Returns the code of the reason.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Missing => 1,
            Self::Busy => 2,
            Self::Unsupported => 3,
            Self::Failed => 4,
            Self::Other(code) => code,
        }
    }
}

/// One frame.
///
/// ```
/// use astreum_core::atom::AtomId;
/// use astreum_core::wire::stream::{Decoder, Frame};
///
/// let frame = Frame::List { number: 1, id: AtomId::new([7; 32]), credit: 1_000 };
/// let mut bytes = Vec::new();
/// frame.write(&mut bytes);
/// let mut decoder = Decoder::new();
/// let (first, second) = bytes.split_at(10);
/// decoder.push(first);
/// assert_eq!(decoder.next_frame(), Ok(None));
/// decoder.push(second);
/// assert_eq!(decoder.next_frame(), Ok(Some(frame)));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Frame<'b> {
    /// Requests the list that starts with the atom `id`.
    List {
        /// Number of the request.
        number: u32,
        /// Id of the first atom.
        id: AtomId,
        /// Number of stored bytes that the server may send.
        credit: u32,
    },
    /// Requests the headers of a block and of the blocks below it, downwards. Each is sent as the
    /// atoms of its record in the order in which [`Block::read`](crate::chain::Block::read) first
    /// reads them, and none is split between frames.
    Headers {
        /// Number of the request.
        number: u32,
        /// Id of the first block.
        id: AtomId,
        /// Maximum number of headers, not zero. There are fewer above the genesis.
        count: u32,
        /// Number of stored bytes that the server may send.
        credit: u32,
    },
    /// Requests the transactions of blocks. Each is sent behind the atom of the list that names it,
    /// as the atoms of its record in the order in which
    /// [`Transaction::read`](crate::chain::Transaction::read) first reads them, and neither is split
    /// between frames.
    Bodies {
        /// Number of the request.
        number: u32,
        /// Number of stored bytes that the server may send.
        credit: u32,
        /// Ids of the first atoms of the transaction lists.
        lists: Ids<'b>,
    },
    /// Requests lists, one behind the other: with a maximum of one atom each, single atoms.
    Lists {
        /// Number of the request.
        number: u32,
        /// Maximum number of atoms of each list, not zero. The rest of a longer one is left out.
        most: u32,
        /// Number of stored bytes that the server may send.
        credit: u32,
        /// Ids of the first atoms of the lists.
        lists: Ids<'b>,
    },
    /// Adds to the bytes that the server may send.
    Credit {
        /// Number of the request.
        number: u32,
        /// Number of further stored bytes.
        bytes: u32,
    },
    /// Ends a request whose answer the client no longer needs.
    Cancel {
        /// Number of the request.
        number: u32,
    },
    /// The next atoms of an answer.
    Found {
        /// Number of the request.
        number: u32,
        /// The atoms, which have not been checked.
        atoms: StoredAtoms<'b>,
    },
    /// Ends a request before its object is complete.
    End {
        /// Number of the request.
        number: u32,
        /// Reason of the end.
        reason: EndReason,
    },
    /// A frame of a kind that this release does not know.
    Unknown {
        /// Number of the request.
        number: u32,
        /// Kind of the frame.
        kind: u8,
    },
}

/// Stored forms of atoms in a frame: at least one, each with a length that is not zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoredAtoms<'b>(&'b [u8]);

impl<'b> Iterator for StoredAtoms<'b> {
    type Item = &'b [u8];

    fn next(&mut self) -> Option<&'b [u8]> {
        take_stored(&mut self.0)
    }
}

/// Ids in a frame: at least one and at most [`MAX_IDS`], none of them zero.
///
/// ```
/// use astreum_core::atom::AtomId;
/// use astreum_core::wire::stream::Ids;
///
/// let bytes = [[1; 32], [2; 32]].concat();
/// let ids = Ids::from_bytes(&bytes).expect("two ids");
/// assert!(ids.eq([AtomId::new([1; 32]), AtomId::new([2; 32])]));
/// assert_eq!(Ids::from_bytes(&[0; 32]), None);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ids<'b>(&'b [u8]);

impl<'b> Ids<'b> {
    /// Returns the ids in these bytes; `None` if there are none or too many, the length is not a
    /// multiple of 32, or an id is zero.
    #[must_use]
    pub fn from_bytes(bytes: &'b [u8]) -> Option<Self> {
        let (ids, rest) = bytes.as_chunks::<32>();
        let is_valid = rest.is_empty()
            && (1..=MAX_IDS).contains(&ids.len())
            && ids.iter().all(|id| *id != [0; 32]);
        is_valid.then_some(Self(bytes))
    }
}

impl Iterator for Ids<'_> {
    type Item = AtomId;

    fn next(&mut self) -> Option<AtomId> {
        take(&mut self.0).copied().map(AtomId::new)
    }
}

/// Splits the first atom off; `None` if there is none, or its length is zero or too large.
fn take_stored<'b>(rest: &mut &'b [u8]) -> Option<&'b [u8]> {
    let mut body = *rest;
    let len = usize::try_from(u32::from_be_bytes(*take(&mut body)?)).ok()?;
    let (stored, behind) = body.split_at_checked(len).filter(|_| len > 0)?;
    *rest = behind;
    Some(stored)
}

/// Reason why bytes are not a frame. The sender is at fault, and the stream cannot continue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FrameError {
    /// The length is less than [`HEAD_BYTES`] or more than [`MAX_FRAME_BYTES`].
    Length {
        /// Length that the frame states, in bytes.
        len: u32,
    },
    /// The body does not have the form that its kind requires.
    Body {
        /// Kind of the frame.
        kind: u8,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { len } => write!(
                f,
                "invalid frame length {len}: expected {HEAD_BYTES} to {MAX_FRAME_BYTES} bytes"
            ),
            Self::Body { kind } => write!(f, "malformed body in a frame of kind {kind}"),
        }
    }
}

impl core::error::Error for FrameError {}

impl<'b> Frame<'b> {
    /// Appends the bytes of the frame to `out`, with the length in front. The atoms of a
    /// [`Frame::Found`] are at most as long as those of a decoded frame.
    pub fn write(&self, out: &mut Vec<u8>) {
        let start = begin(out, self.kind(), self.number());
        match self {
            Self::List { id, credit, .. } => {
                out.extend_from_slice(id.as_bytes());
                out.extend_from_slice(&credit.to_be_bytes());
            }
            Self::Headers {
                id, count, credit, ..
            } => {
                out.extend_from_slice(id.as_bytes());
                out.extend_from_slice(&count.to_be_bytes());
                out.extend_from_slice(&credit.to_be_bytes());
            }
            Self::Bodies { credit, lists, .. } => {
                out.extend_from_slice(&credit.to_be_bytes());
                out.extend_from_slice(lists.0);
            }
            Self::Lists {
                most,
                credit,
                lists,
                ..
            } => {
                out.extend_from_slice(&most.to_be_bytes());
                out.extend_from_slice(&credit.to_be_bytes());
                out.extend_from_slice(lists.0);
            }
            Self::Credit { bytes, .. } => out.extend_from_slice(&bytes.to_be_bytes()),
            Self::Cancel { .. } | Self::Unknown { .. } => {}
            Self::Found { atoms, .. } => out.extend_from_slice(atoms.0),
            Self::End { reason, .. } => out.push(reason.code()),
        }
        finish(out, start);
    }

    /// Returns the number of the request.
    #[must_use]
    pub const fn number(&self) -> u32 {
        match self {
            Self::List { number, .. }
            | Self::Headers { number, .. }
            | Self::Bodies { number, .. }
            | Self::Lists { number, .. }
            | Self::Credit { number, .. }
            | Self::Cancel { number }
            | Self::Found { number, .. }
            | Self::End { number, .. }
            | Self::Unknown { number, .. } => *number,
        }
    }

    const fn kind(&self) -> u8 {
        match self {
            Self::List { .. } => LIST,
            Self::Headers { .. } => HEADERS,
            Self::Bodies { .. } => BODIES,
            Self::Lists { .. } => LISTS,
            Self::Credit { .. } => CREDIT,
            Self::Cancel { .. } => CANCEL,
            Self::Found { .. } => FOUND,
            Self::End { .. } => END,
            Self::Unknown { kind, .. } => *kind,
        }
    }

    /// Reads a frame without the length in front of it.
    fn decode(frame: &'b [u8]) -> Result<Self, FrameError> {
        let mut rest = frame;
        let len = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        let (kind, number) = take_head(&mut rest).ok_or(FrameError::Length { len })?;
        let malformed = FrameError::Body { kind };
        match kind {
            LIST => {
                let id = AtomId::new(*take(&mut rest).ok_or(malformed)?);
                let credit = take_last_u32(rest).filter(|_| !id.is_zero());
                let credit = credit.ok_or(malformed)?;
                Ok(Self::List { number, id, credit })
            }
            HEADERS => {
                let id = AtomId::new(*take(&mut rest).ok_or(malformed)?);
                let count = u32::from_be_bytes(*take(&mut rest).ok_or(malformed)?);
                let credit = take_last_u32(rest).filter(|_| !id.is_zero() && count > 0);
                Ok(Self::Headers {
                    number,
                    id,
                    count,
                    credit: credit.ok_or(malformed)?,
                })
            }
            BODIES => {
                let credit = u32::from_be_bytes(*take(&mut rest).ok_or(malformed)?);
                Ok(Self::Bodies {
                    number,
                    credit,
                    lists: Ids::from_bytes(rest).ok_or(malformed)?,
                })
            }
            LISTS => {
                let most = u32::from_be_bytes(*take(&mut rest).ok_or(malformed)?);
                let credit = u32::from_be_bytes(*take(&mut rest).ok_or(malformed)?);
                let lists = Ids::from_bytes(rest).filter(|_| most > 0);
                Ok(Self::Lists {
                    number,
                    most,
                    credit,
                    lists: lists.ok_or(malformed)?,
                })
            }
            CREDIT => {
                let bytes = take_last_u32(rest).ok_or(malformed)?;
                Ok(Self::Credit { number, bytes })
            }
            CANCEL if rest.is_empty() => Ok(Self::Cancel { number }),
            FOUND => {
                let atoms = StoredAtoms(rest);
                let mut behind = rest;
                while take_stored(&mut behind).is_some() {}
                let is_whole = behind.is_empty() && !rest.is_empty();
                if is_whole {
                    Ok(Self::Found { number, atoms })
                } else {
                    Err(malformed)
                }
            }
            END => match rest {
                [code] => {
                    let reason = EndReason::from_code(*code);
                    Ok(Self::End { number, reason })
                }
                _ => Err(malformed),
            },
            CANCEL => Err(malformed),
            kind => Ok(Self::Unknown { number, kind }),
        }
    }
}

fn take_head(rest: &mut &[u8]) -> Option<(u8, u32)> {
    let [kind] = *take(rest)?;
    let number = u32::from_be_bytes(*take(rest)?);
    Some((kind, number))
}

/// Reads a number that is all of `bytes`.
fn take_last_u32(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_be_bytes)
}

/// Appends the start of a frame whose length is not known yet, and returns its position.
fn begin(out: &mut Vec<u8>, kind: u8, number: u32) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    out.push(kind);
    out.extend_from_slice(&number.to_be_bytes());
    start
}

/// Writes the length of the frame that starts at `start` and goes to the end of `out`.
fn finish(out: &mut [u8], start: usize) {
    let frame = out.get_mut(start..).unwrap_or_default();
    if let Some((length, rest)) = frame.split_first_chunk_mut::<LENGTH_BYTES>() {
        *length = u32::try_from(rest.len()).unwrap_or(u32::MAX).to_be_bytes();
    }
}

/// Frame with atoms that is being written.
///
/// ```
/// use astreum_core::atom::Atom;
/// use astreum_core::wire::stream::{Decoder, Frame, FoundWriter};
///
/// let (mut bytes, atom) = (Vec::new(), Atom::bytes(*b"abc"));
/// let mut writer = FoundWriter::new(&mut bytes, 7);
/// assert!(writer.push(&atom));
/// writer.finish();
/// let mut decoder = Decoder::new();
/// decoder.push(&bytes);
/// let Ok(Some(Frame::Found { number: 7, atoms })) = decoder.next_frame() else {
///     panic!("atoms");
/// };
/// assert_eq!(atoms.collect::<Vec<_>>(), [atom.to_bytes()]);
/// ```
#[derive(Debug)]
pub struct FoundWriter<'o> {
    out: &'o mut Vec<u8>,
    start: usize,
    has_atoms: bool,
}

impl<'o> FoundWriter<'o> {
    /// Begins a frame at the end of `out`.
    pub fn new(out: &'o mut Vec<u8>, number: u32) -> Self {
        let start = begin(out, FOUND, number);
        Self {
            out,
            start,
            has_atoms: false,
        }
    }

    /// Returns the number of bytes that are written, with the length in front.
    #[must_use]
    pub fn len(&self) -> usize {
        self.out.len() - self.start
    }

    /// Returns whether the frame has no atom.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        !self.has_atoms
    }

    /// Appends an atom; returns `false`, without effect, if the frame would exceed
    /// [`MAX_FRAME_BYTES`].
    pub fn push(&mut self, atom: &Atom) -> bool {
        let stored = atom.stored_len();
        let Ok(len) = u32::try_from(stored) else {
            return false;
        };
        if self.len() + stored > MAX_FRAME_BYTES {
            return false;
        }
        self.out.extend_from_slice(&len.to_be_bytes());
        atom.write_to(self.out);
        self.has_atoms = true;
        true
    }

    /// Appends atoms that must not be split between frames; returns `false`, without effect, if the
    /// frame would exceed [`MAX_FRAME_BYTES`].
    pub fn push_all<'a>(&mut self, atoms: impl IntoIterator<Item = &'a Atom>) -> bool {
        let (len, had_atoms) = (self.out.len(), self.has_atoms);
        for atom in atoms {
            if !self.push(atom) {
                self.out.truncate(len);
                self.has_atoms = had_atoms;
                return false;
            }
        }
        true
    }

    /// Completes the frame, or removes it if it has no atom. Returns whether it has any.
    pub fn finish(self) -> bool {
        if self.has_atoms {
            finish(self.out, self.start);
        } else {
            self.out.truncate(self.start);
        }
        self.has_atoms
    }
}

/// Incremental decoder. Holds no more than the bytes that were pushed and not yet taken.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
    /// Number of bytes at the front that were taken.
    taken: usize,
}

impl Decoder {
    /// Creates a decoder without bytes.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            bytes: Vec::new(),
            taken: 0,
        }
    }

    /// Adds received bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.discard_taken();
        self.bytes.extend_from_slice(bytes);
    }

    fn discard_taken(&mut self) {
        if self.taken > 0 {
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
    }

    /// Returns the number of bytes that are held.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.bytes.len() - self.taken
    }

    /// Takes the next frame, or returns `None` if it has not arrived completely.
    ///
    /// # Errors
    /// Fails if the bytes are not a frame: the stream has to end.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        let mut rest = self.bytes.get(self.taken..).unwrap_or_default();
        let Some(length) = take(&mut rest) else {
            return Ok(None);
        };
        let stated = u32::from_be_bytes(*length);
        let len = usize::try_from(stated).unwrap_or(usize::MAX);
        if !(HEAD_BYTES..=MAX_FRAME_BYTES).contains(&len) {
            return Err(FrameError::Length { len: stated });
        }
        let Some((frame, _)) = rest.split_at_checked(len) else {
            return Ok(None);
        };
        self.taken += LENGTH_BYTES + len;
        Frame::decode(frame).map(Some)
    }
}

#[cfg(test)]
mod tests;
