//! Client of a stream: requests, verification and credit.

use super::{MAX_REQUESTS, WINDOW_BYTES};
use crate::atom::{Atom, AtomError, AtomId, HashedAtom};
use crate::wire::stream::{EndReason, Frame};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;

/// A request that is open.
#[derive(Debug)]
struct Request {
    /// Id of the next atom.
    expected: AtomId,
    /// Number of bytes that the server may still send.
    credit: u32,
    /// Number of bytes that the host has stored and that were not granted again.
    returned: u32,
}

/// Client of one connection.
#[derive(Debug, Default)]
pub struct Client {
    next_number: u32,
    requests: BTreeMap<u32, Request>,
}

/// Meaning of a frame of the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Atoms of a request have arrived, and are verified.
    Atoms {
        /// Number of the request.
        number: u32,
        /// `true` if the last of them is the end of the list: the request is closed.
        is_complete: bool,
    },
    /// The server has ended a request before its list was complete.
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
    /// An atom is not the one that the list continues with.
    WrongAtom {
        /// Id of the atom that the list continues with, or zero at its end.
        expected: AtomId,
        /// Id of the atom that was sent.
        actual: AtomId,
    },
    /// An atom was sent without credit.
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
        }
    }

    /// Requests the list that starts with the atom `id`, which is not zero: appends the frame to
    /// `out`, and returns the number of the request. Returns `None` if [`MAX_REQUESTS`] are open or
    /// the numbers of the connection are used up.
    pub fn request_list(&mut self, id: AtomId, out: &mut Vec<u8>) -> Option<u32> {
        let number = self.next_number;
        if self.requests.len() >= MAX_REQUESTS || id.is_zero() {
            return None;
        }
        self.next_number = number.checked_add(1)?;
        let credit = WINDOW_BYTES;
        Frame::List { number, id, credit }.write(out);
        let request = Request {
            expected: id,
            credit,
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
            return Ok(Answer::Late);
        };
        if let Frame::End { reason, .. } = *frame {
            self.requests.remove(&number);
            return Ok(Answer::Ended { number, reason });
        }
        if let Frame::Found { atoms, .. } = frame {
            for stored in *atoms {
                found.push(request.take(stored)?);
            }
        }
        let is_complete = request.expected.is_zero();
        if is_complete {
            self.requests.remove(&number);
        }
        Ok(Answer::Atoms {
            number,
            is_complete,
        })
    }

    /// Notes that the host has stored `bytes` of a request, or otherwise no longer holds them, and
    /// grants them again: appends a frame to `out` once they are a quarter of the window.
    pub fn stored(&mut self, number: u32, bytes: u32, out: &mut Vec<u8>) {
        let Some(request) = self.requests.get_mut(&number) else {
            return;
        };
        request.returned = request.returned.saturating_add(bytes);
        let missing = WINDOW_BYTES.saturating_sub(request.credit);
        let bytes = request.returned.min(missing);
        if bytes >= WINDOW_BYTES / 4 {
            request.returned -= bytes;
            request.credit += bytes;
            Frame::Credit { number, bytes }.write(out);
        }
    }

    /// Closes a request: appends a frame to `out` if it was open.
    pub fn cancel(&mut self, number: u32, out: &mut Vec<u8>) {
        if self.requests.remove(&number).is_some() {
            Frame::Cancel { number }.write(out);
        }
    }
}

impl Request {
    /// Verifies the next atom.
    fn take(&mut self, stored: &[u8]) -> Result<HashedAtom, ClientError> {
        let expected = self.expected;
        if self.credit == 0 {
            return Err(ClientError::NoCredit);
        }
        let atom = Atom::from_bytes(stored).map_err(ClientError::Atom)?;
        let atom = HashedAtom::new(atom);
        let actual = atom.id();
        if actual != expected {
            return Err(ClientError::WrongAtom { expected, actual });
        }
        let bytes = u32::try_from(stored.len()).unwrap_or(u32::MAX);
        self.credit = self.credit.saturating_sub(bytes);
        self.expected = atom.atom().next();
        Ok(atom)
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
        };
        assert_eq!(answer(&mut client, 0, &atoms[..1]), (Ok(part), 1));
        let end = Answer::Atoms {
            number: 0,
            is_complete: true,
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
