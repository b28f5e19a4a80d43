//! Client of a stream: requests, verification and credit.

#[cfg(feature = "chain")]
use super::walk::{Unit, Walk};
use super::{MAX_REQUESTS, Object, WINDOW_BYTES, spend};
use crate::atom::{Atom, AtomError, AtomId, HashedAtom};
#[cfg(feature = "chain")]
use crate::atom::{AtomSource, SourceError};
#[cfg(feature = "chain")]
use crate::chain::RecordError;
#[cfg(feature = "chain")]
use crate::wire::stream::Ids;
use crate::wire::stream::{EndReason, Frame, HEAD_BYTES, MAX_FRAME_BYTES, StoredAtoms};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
#[cfg(feature = "chain")]
use core::cell::RefCell;
use core::fmt;

/// Number of bytes that may arrive for a closed request beyond its credit: a frame.
const LATE_BYTES: u64 = MAX_FRAME_BYTES as u64;

/// A request that is open.
#[derive(Debug)]
struct Request {
    object: Object,
    /// Number of bytes that the server may send ahead of what is stored.
    window: u32,
    /// Number of bytes that the server may still send.
    credit: u32,
    /// Number of bytes that the host has stored and that were not granted again.
    returned: u32,
}

/// Client of one connection.
#[derive(Debug)]
pub struct Client {
    next_number: u32,
    requests: BTreeMap<u32, Request>,
    /// Number of bytes that may still arrive for requests that were closed.
    late_credit: u64,
    /// Window of a new request for a list, in bytes.
    list_window: u32,
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

/// Meaning of a frame of the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Atoms of a request have arrived, and are verified.
    Atoms {
        /// Number of the request.
        number: u32,
        /// `true` if the last of them is the end of the object: the request is closed.
        is_complete: bool,
        /// Id of the atom that the object continues with; zero at its end. Behind the last of the
        /// requested headers, the id of the block below it.
        next: AtomId,
    },
    /// The server has ended a request before its object was complete.
    Ended {
        /// Number of the request.
        number: u32,
        /// Reason of the end.
        reason: EndReason,
    },
    /// The frame belongs to a request that was closed earlier.
    Late,
}

/// Violation of the protocol by a server: the connection has to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientError {
    /// The bytes of an atom are malformed.
    Atom(AtomError),
    /// An atom is not the one that the object continues with.
    WrongAtom {
        /// Id of the atom that the object continues with, or zero at its end.
        expected: AtomId,
        /// Id of the atom that was sent.
        actual: AtomId,
    },
    /// A frame ends within a header or a transaction.
    Split,
    /// The object of the request is not of the kind that it was sent as: a client requests only ids
    /// that stand for such an object, so only a server sends another.
    WrongKind,
    /// An atom was sent without credit, or more for closed requests than they had credit for.
    NoCredit,
    /// The frame is one that only clients send, names a request that was never made, or is of an
    /// unknown kind.
    Unexpected,
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Atom(error) => error.fmt(f),
            Self::WrongAtom { expected, actual } => {
                write!(f, "stream sent atom {actual} instead of {expected}")
            }
            Self::Split => f.write_str("frame of a stream ends within a header or a transaction"),
            Self::WrongKind => f.write_str("stream sent an object of another kind"),
            Self::NoCredit => f.write_str("stream sent an atom without credit"),
            Self::Unexpected => f.write_str("unexpected frame of a stream server"),
        }
    }
}

impl core::error::Error for ClientError {}

impl Client {
    /// Creates a client without requests.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            next_number: 0,
            requests: BTreeMap::new(),
            late_credit: 0,
            list_window: WINDOW_BYTES,
        }
    }

    /// Sets the number of stored bytes of a list that may be sent ahead of their verification and
    /// storage; [`WINDOW_BYTES`] by default. Counts for later requests. Zero counts as one.
    #[must_use]
    pub fn with_list_window(self, bytes: u32) -> Self {
        Self {
            list_window: bytes.max(1),
            ..self
        }
    }

    /// Requests the list that starts with the atom `id`, which is not zero: appends the frame to
    /// `out`, and returns the number of the request. Returns `None` if [`MAX_REQUESTS`] are open or
    /// the numbers of the connection are used up.
    pub fn request_list(&mut self, id: AtomId, out: &mut Vec<u8>) -> Option<u32> {
        if id.is_zero() {
            return None;
        }
        let credit = self.list_window;
        let number = self.insert(Object::List(id), credit)?;
        Frame::List { number, id, credit }.write(out);
        Some(number)
    }

    /// Requests the header of the block `id` and those of the blocks below it, `count` in all, as
    /// [`Self::request_list`] requests a list. Returns `None` also if either is zero.
    #[cfg(feature = "chain")]
    pub fn request_headers(&mut self, id: AtomId, count: u32, out: &mut Vec<u8>) -> Option<u32> {
        if id.is_zero() || count == 0 {
            return None;
        }
        let number = self.insert(Object::Walk(Walk::headers(id, count)), WINDOW_BYTES)?;
        Frame::Headers {
            number,
            id,
            count,
            credit: WINDOW_BYTES,
        }
        .write(out);
        Some(number)
    }

    /// Requests the transactions of the lists that start with these atoms, as
    /// [`Self::request_list`] requests a list. Returns `None` also if there are no lists or more
    /// than [`MAX_IDS`](crate::wire::stream::MAX_IDS), or an id is zero.
    #[cfg(feature = "chain")]
    pub fn request_bodies(&mut self, lists: &[AtomId], out: &mut Vec<u8>) -> Option<u32> {
        let bytes: Vec<u8> = lists.iter().flat_map(|id| *id.as_bytes()).collect();
        let ids = Ids::from_bytes(&bytes)?;
        let number = self.insert(Object::Walk(Walk::bodies(ids)), WINDOW_BYTES)?;
        Frame::Bodies {
            number,
            credit: WINDOW_BYTES,
            lists: ids,
        }
        .write(out);
        Some(number)
    }

    /// Requests the lists that start with these atoms, at most `most` atoms of each, as
    /// [`Self::request_list`] requests a list. Returns `None` also if there are no lists or more
    /// than [`MAX_IDS`](crate::wire::stream::MAX_IDS), or an id or `most` is zero.
    #[cfg(feature = "chain")]
    pub fn request_lists(&mut self, lists: &[AtomId], most: u32, out: &mut Vec<u8>) -> Option<u32> {
        let bytes: Vec<u8> = lists.iter().flat_map(|id| *id.as_bytes()).collect();
        let ids = Ids::from_bytes(&bytes).filter(|_| most > 0)?;
        let number = self.insert(Object::Walk(Walk::lists(most, ids)), WINDOW_BYTES)?;
        Frame::Lists {
            number,
            most,
            credit: WINDOW_BYTES,
            lists: ids,
        }
        .write(out);
        Some(number)
    }

    fn insert(&mut self, object: Object, window: u32) -> Option<u32> {
        let number = self.next_number;
        if self.requests.len() >= MAX_REQUESTS {
            return None;
        }
        self.next_number = number.checked_add(1)?;
        let request = Request {
            object,
            window,
            credit: window,
            returned: 0,
        };
        self.requests.insert(number, request);
        Some(number)
    }

    /// Returns the number of open requests.
    #[must_use]
    pub fn open_requests(&self) -> usize {
        self.requests.len()
    }

    /// Handles a frame of the server, and appends the atoms in it to `found` as far as they are
    /// verified.
    ///
    /// # Errors
    /// Fails if the server violates the protocol. The atoms in front of the violation are appended.
    pub fn handle(
        &mut self,
        frame: &Frame<'_>,
        found: &mut Vec<HashedAtom>,
    ) -> Result<Answer, ClientError> {
        let number = frame.number();
        let is_for_client = matches!(frame, Frame::Found { .. } | Frame::End { .. });
        if number >= self.next_number || !is_for_client {
            return Err(ClientError::Unexpected);
        }
        let Some(request) = self.requests.get_mut(&number) else {
            let late = self.late_credit.checked_sub(late_bytes(frame));
            self.late_credit = late.ok_or(ClientError::NoCredit)?;
            return Ok(Answer::Late);
        };
        if let Frame::End { reason, .. } = *frame {
            self.close(number);
            return Ok(Answer::Ended { number, reason });
        }
        if let Frame::Found { atoms, .. } = frame {
            request.take_all(*atoms, found)?;
        }
        let (is_complete, next) = (request.object.is_complete(), request.object.next());
        if is_complete {
            self.close(number);
        }
        Ok(Answer::Atoms {
            number,
            is_complete,
            next,
        })
    }

    /// Notes that the host has stored `bytes` of a request, or otherwise no longer holds them, and
    /// grants them again: appends a frame to `out` once they are a quarter of the window.
    pub fn stored(&mut self, number: u32, bytes: u32, out: &mut Vec<u8>) {
        let Some(request) = self.requests.get_mut(&number) else {
            return;
        };
        request.returned = request.returned.saturating_add(bytes);
        let missing = request.window.saturating_sub(request.credit);
        let bytes = request.returned.min(missing);
        // A quarter of a tiny window is zero, which is nothing to grant.
        if bytes >= (request.window / 4).max(1) {
            request.returned -= bytes;
            request.credit += bytes;
            Frame::Credit { number, bytes }.write(out);
        }
    }

    /// Closes a request: appends a frame to `out` if it was open.
    pub fn cancel(&mut self, number: u32, out: &mut Vec<u8>) {
        let Some(request) = self.requests.remove(&number) else {
            return;
        };
        // As much may be on its way, and the rest of a frame that the last of it has begun.
        let credit = u64::from(request.credit).saturating_add(LATE_BYTES);
        self.late_credit = self.late_credit.saturating_add(credit);
        Frame::Cancel { number }.write(out);
    }

    /// Closes a request that the server has ended.
    fn close(&mut self, number: u32) {
        self.requests.remove(&number);
        // An end behind the last atom, for instance, does no harm.
        self.late_credit = self.late_credit.saturating_add(LATE_BYTES);
    }
}

impl Request {
    /// Verifies the atoms of a frame, and appends them to `found`.
    fn take_all(
        &mut self,
        atoms: StoredAtoms<'_>,
        found: &mut Vec<HashedAtom>,
    ) -> Result<(), ClientError> {
        match &mut self.object {
            Object::List(next) => {
                for stored in atoms {
                    if self.credit == 0 {
                        return Err(ClientError::NoCredit);
                    }
                    let atom = take(stored, *next)?;
                    self.credit = spend(self.credit, atom.atom());
                    *next = atom.atom().next();
                    found.push(atom);
                }
            }
            #[cfg(feature = "chain")]
            Object::Walk(walk) => {
                let sent = SentAtoms(RefCell::new(atoms));
                while let Some(stored) = sent.peek() {
                    if self.credit == 0 {
                        return Err(ClientError::NoCredit);
                    }
                    if walk.is_complete() {
                        return Err(take(stored, AtomId::ZERO)
                            .err()
                            .unwrap_or(ClientError::Split));
                    }
                    let unit = Unit::new(&sent);
                    let link = walk.read(&unit).map_err(|error| match error {
                        RecordError::Source(SourceError::Failed(error)) => error,
                        _ => ClientError::WrongKind,
                    })?;
                    walk.advance(link);
                    let atoms = unit.into_atoms();
                    for atom in &atoms {
                        self.credit = spend(self.credit, atom.atom());
                    }
                    found.extend(atoms);
                }
            }
        }
        Ok(())
    }
}

/// Returns the bytes that a frame counts if its request was closed.
fn late_bytes(frame: &Frame<'_>) -> u64 {
    let bytes = match frame {
        Frame::Found { atoms, .. } => atoms.map(<[u8]>::len).sum(),
        _ => HEAD_BYTES,
    };
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// Verifies an atom against the id that is expected.
fn take(stored: &[u8], expected: AtomId) -> Result<HashedAtom, ClientError> {
    let atom = Atom::from_bytes(stored).map_err(ClientError::Atom)?;
    let atom = HashedAtom::new(atom);
    let actual = atom.id();
    if actual == expected {
        Ok(atom)
    } else {
        Err(ClientError::WrongAtom { expected, actual })
    }
}

/// Atoms of a frame as a source that has each only when it is the next one.
#[cfg(feature = "chain")]
struct SentAtoms<'b>(RefCell<StoredAtoms<'b>>);

#[cfg(feature = "chain")]
impl<'b> SentAtoms<'b> {
    fn peek(&self) -> Option<&'b [u8]> {
        { *self.0.borrow() }.next()
    }
}

#[cfg(feature = "chain")]
impl AtomSource for SentAtoms<'_> {
    type Error = ClientError;

    fn atom(&self, id: &AtomId) -> Result<Atom, SourceError<ClientError>> {
        let stored = self.0.borrow_mut().next().ok_or(ClientError::Split);
        let atom = stored.and_then(|stored| take(stored, *id));
        atom.map(|atom| atom.atom().clone())
            .map_err(SourceError::Failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atom::bytes_list;
    use crate::wire::stream::{Decoder, FoundWriter};
    use alloc::vec;

    /// Handles a frame with these atoms.
    fn answer(
        client: &mut Client,
        number: u32,
        atoms: &[Atom],
    ) -> (Result<Answer, ClientError>, usize) {
        let (mut bytes, mut found) = (vec![], vec![]);
        let mut writer = FoundWriter::new(&mut bytes, number);
        for atom in atoms {
            assert!(writer.push(atom));
        }
        writer.finish();
        let mut decoder = Decoder::new();
        decoder.push(&bytes);
        let frame = decoder.next_frame().unwrap().unwrap();
        (client.handle(&frame, &mut found), found.len())
    }

    fn requested(head: AtomId) -> Client {
        let mut client = Client::new();
        assert_eq!(client.request_list(head, &mut vec![]), Some(0));
        client
    }

    #[test]
    fn verifies_each_atom_against_the_link_before_it() {
        let (head, atoms) = bytes_list(&["a", "b", "c"]);
        let mut client = requested(head);
        let part = Answer::Atoms {
            number: 0,
            is_complete: false,
            next: atoms[1].id(),
        };
        assert_eq!(answer(&mut client, 0, &atoms[..1]), (Ok(part), 1));
        let end = Answer::Atoms {
            number: 0,
            is_complete: true,
            next: AtomId::ZERO,
        };
        assert_eq!(answer(&mut client, 0, &atoms[1..]), (Ok(end), 2));
        assert_eq!(client.open_requests(), 0);
        assert_eq!(answer(&mut client, 0, &atoms[..1]), (Ok(Answer::Late), 0));
    }

    #[test]
    fn lying_server_is_an_error_behind_what_is_verified() {
        let (head, atoms) = bytes_list(&["a", "b", "c"]);
        let swapped = [atoms[0].clone(), atoms[2].clone()];
        let error = ClientError::WrongAtom {
            expected: atoms[1].id(),
            actual: atoms[2].id(),
        };
        assert_eq!(answer(&mut requested(head), 0, &swapped), (Err(error), 1));
        // An atom behind the end of the list.
        let longer = [&atoms[..], &atoms[2..]].concat();
        let (refused, verified) = answer(&mut requested(head), 0, &longer);
        assert!(
            matches!(refused, Err(ClientError::WrongAtom { expected, .. }) if expected.is_zero())
        );
        assert_eq!(verified, 3);
    }

    #[test]
    fn late_frames_are_bounded_by_the_credit_of_what_was_cancelled() {
        let values: Vec<_> = (0..300u32)
            .map(|n| [&n.to_be_bytes()[..], &[0; 60_000]].concat())
            .collect();
        let (head, atoms) = bytes_list(&values);
        // The server may have sent all of the window before it learns of the end.
        let mut client = requested(head);
        assert!(answer(&mut client, 0, &atoms[..1]).0.is_ok());
        client.cancel(0, &mut vec![]);
        let mut late = 0;
        let refused = atoms.iter().skip(1).find_map(|atom| {
            late += atom.stored_len();
            let (answer, found) = answer(&mut client, 0, core::slice::from_ref(atom));
            assert_eq!(found, 0);
            answer.err()
        });
        assert_eq!(refused, Some(ClientError::NoCredit));
        let window = usize::try_from(WINDOW_BYTES).unwrap();
        assert!(
            (window - 60_100..window + 400_000).contains(&late),
            "{late}"
        );
        // So are frames without atoms.
        let mut client = requested(head);
        let reason = EndReason::Missing;
        let end = Frame::End { number: 0, reason };
        let refused = (0..100_000).find_map(|_| client.handle(&end, &mut vec![]).err());
        assert_eq!(refused, Some(ClientError::NoCredit));
    }

    #[test]
    fn unsolicited_frames_are_errors() {
        let (head, atoms) = bytes_list(&["a", "b"]);
        let mut client = requested(head);
        let unexpected = Err(ClientError::Unexpected);
        assert_eq!(answer(&mut client, 1, &atoms), (unexpected, 0));
        for frame in [
            Frame::Cancel { number: 0 },
            Frame::Unknown { number: 0, kind: 9 },
            Frame::End {
                number: 7,
                reason: EndReason::Missing,
            },
        ] {
            assert_eq!(client.handle(&frame, &mut vec![]), unexpected, "{frame:?}");
        }
        let reason = EndReason::Missing;
        let ended = Answer::Ended { number: 0, reason };
        let end = Frame::End { number: 0, reason };
        assert_eq!(client.handle(&end, &mut vec![]), Ok(ended));
        assert_eq!(client.open_requests(), 0);
    }

    #[test]
    fn server_that_exceeds_its_credit_is_an_error() {
        let values: Vec<_> = (0..300u32)
            .map(|n| [&n.to_be_bytes()[..], &[0; 65_000]].concat())
            .collect();
        let (head, atoms) = bytes_list(&values);
        let mut client = requested(head);
        let mut sent = 0;
        let refused = atoms.chunks(1).find_map(|atom| {
            sent += atom[0].stored_len();
            answer(&mut client, 0, atom).0.err()
        });
        assert_eq!(refused, Some(ClientError::NoCredit));
        let window = usize::try_from(WINDOW_BYTES).unwrap();
        assert!(sent > window && sent < window + 3 * 65_100, "{sent}");
    }

    #[test]
    fn credit_is_returned_as_bytes_are_stored_and_never_exceeds_the_window() {
        let (head, atoms) = bytes_list(&[[1; 60_000], [2; 60_000]]);
        let mut client = requested(head);
        let mut out = vec![];
        client.stored(0, u32::MAX, &mut out);
        assert!(out.is_empty(), "nothing was used");
        answer(&mut client, 0, &atoms[..1]).0.unwrap();
        client.stored(0, u32::MAX, &mut out);
        assert!(out.is_empty(), "less than a quarter of the window was used");
        client.requests.get_mut(&0).unwrap().credit = 1;
        client.stored(0, 0, &mut out);
        let mut decoder = Decoder::new();
        decoder.push(&out);
        let bytes = WINDOW_BYTES - 1;
        let credit = Frame::Credit { number: 0, bytes };
        assert_eq!(decoder.next_frame(), Ok(Some(credit)));
    }

    #[test]
    fn window_of_lists_is_the_choice_of_the_host() {
        let mut client = Client::new().with_list_window(1_000);
        let (head, atoms) = bytes_list(&[[1; 600], [2; 600], [3; 600]]);
        let mut out = vec![];
        client.request_list(head, &mut out).unwrap();
        let mut decoder = Decoder::new();
        decoder.push(&out);
        let (number, id, credit) = (0, head, 1_000);
        let request = Frame::List { number, id, credit };
        assert_eq!(decoder.next_frame(), Ok(Some(request)));
        answer(&mut client, 0, &atoms[..2]).0.unwrap();
        let third = answer(&mut client, 0, &atoms[2..]).0;
        assert_eq!(third.err(), Some(ClientError::NoCredit));
        let mut tiny = Client::new().with_list_window(0);
        tiny.request_list(head, &mut out).unwrap();
        answer(&mut tiny, 0, &atoms[..1]).0.unwrap();
        out.clear();
        tiny.stored(0, 0, &mut out);
        assert!(out.is_empty(), "nothing is granted");
        tiny.stored(0, 1, &mut out);
        assert!(!out.is_empty());
    }

    #[test]
    fn open_requests_are_bounded_and_can_be_cancelled() {
        let id = AtomId::new([7; 32]);
        let (mut client, mut out) = (Client::new(), vec![]);
        assert_eq!(client.request_list(AtomId::ZERO, &mut out), None);
        let opened = (0..20).filter(|_| client.request_list(id, &mut out).is_some());
        assert_eq!(opened.count(), MAX_REQUESTS);
        out.clear();
        client.cancel(3, &mut out);
        assert!(!out.is_empty());
        client.cancel(3, &mut out);
        let mut decoder = Decoder::new();
        decoder.push(&out);
        assert_eq!(decoder.next_frame(), Ok(Some(Frame::Cancel { number: 3 })));
        assert_eq!(decoder.next_frame(), Ok(None));
        assert!(client.request_list(id, &mut out).is_some());
    }
}
