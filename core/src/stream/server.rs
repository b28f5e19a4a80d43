//! Server of a stream: open requests, their turns and their credit.

#[cfg(feature = "chain")]
use super::walk::{Unit, Walk};
use super::{MAX_REQUESTS, Object, TURN_BYTES, spend};
#[cfg(feature = "chain")]
use crate::atom::HashedAtom;
use crate::atom::{AtomId, AtomSource, SourceError};
#[cfg(feature = "chain")]
use crate::chain::RecordError;
use crate::wire::stream::{EndReason, FoundWriter, Frame};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;

/// A request that is open.
#[derive(Debug)]
struct Request {
    number: u32,
    object: Object,
    /// Number of stored bytes that may be sent. No atom is begun without any.
    credit: u32,
}

/// Server of one connection.
#[derive(Debug, Default)]
pub struct Server {
    /// Open requests; the first has its turn next.
    requests: VecDeque<Request>,
    /// Refusals that have not been written.
    refusals: VecDeque<(u32, EndReason)>,
}

/// Violation of the protocol by a client: the connection has to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ServerError {
    /// The frame is one that only servers send.
    Unexpected,
    /// The number of a new request is that of an open one.
    NumberInUse {
        /// Number of the request.
        number: u32,
    },
    /// The client sends requests without reading the refusals.
    TooManyRefusals,
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unexpected => f.write_str("unexpected frame of a stream client"),
            Self::NumberInUse { number } => write!(f, "stream request {number} is open already"),
            Self::TooManyRefusals => f.write_str("too many refused requests on a stream"),
        }
    }
}

impl core::error::Error for ServerError {}

impl Server {
    /// Creates a server without requests.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            requests: VecDeque::new(),
            refusals: VecDeque::new(),
        }
    }

    /// Handles a frame of the client.
    ///
    /// # Errors
    /// Fails if the client violates the protocol.
    pub fn handle(&mut self, frame: &Frame<'_>) -> Result<(), ServerError> {
        match *frame {
            Frame::List { number, id, credit } => self.open(number, Object::List(id), credit),
            #[cfg(feature = "chain")]
            Frame::Headers {
                number,
                id,
                count,
                credit,
            } => self.open(number, Object::Walk(Walk::headers(id, count)), credit),
            #[cfg(feature = "chain")]
            Frame::Bodies {
                number,
                credit,
                lists,
            } => self.open(number, Object::Walk(Walk::bodies(lists)), credit),
            #[cfg(feature = "chain")]
            Frame::Lists {
                number,
                most,
                credit,
                lists,
            } => self.open(number, Object::Walk(Walk::lists(most, lists)), credit),
            #[cfg(not(feature = "chain"))]
            Frame::Headers { number, .. }
            | Frame::Bodies { number, .. }
            | Frame::Lists { number, .. } => self.refuse(number, EndReason::Unsupported),
            Frame::Credit { number, bytes } => {
                // The request may have ended in the meantime.
                let mut requests = self.requests.iter_mut();
                if let Some(open) = requests.find(|open| open.number == number) {
                    open.credit = open.credit.saturating_add(bytes);
                }
                Ok(())
            }
            Frame::Cancel { number } => {
                self.requests.retain(|open| open.number != number);
                Ok(())
            }
            Frame::Unknown { number, .. } => self.refuse(number, EndReason::Unsupported),
            Frame::Found { .. } | Frame::End { .. } => Err(ServerError::Unexpected),
        }
    }

    fn open(&mut self, number: u32, object: Object, credit: u32) -> Result<(), ServerError> {
        if self.requests.iter().any(|open| open.number == number) {
            return Err(ServerError::NumberInUse { number });
        }
        if self.requests.len() >= MAX_REQUESTS {
            return self.refuse(number, EndReason::Busy);
        }
        self.requests.push_back(Request {
            number,
            object,
            credit,
        });
        Ok(())
    }

    fn refuse(&mut self, number: u32, reason: EndReason) -> Result<(), ServerError> {
        if self.refusals.len() >= MAX_REQUESTS {
            return Err(ServerError::TooManyRefusals);
        }
        self.refusals.push_back((number, reason));
        Ok(())
    }

    /// Returns the number of open requests.
    #[must_use]
    pub fn open_requests(&self) -> usize {
        self.requests.len()
    }

    /// Returns whether [`Self::poll`] has something to write.
    #[must_use]
    pub fn has_output(&self) -> bool {
        !self.refusals.is_empty() || self.requests.iter().any(|open| open.credit > 0)
    }

    /// Appends the next frame to `out`: a refusal, or the atoms of the request whose turn it is, of
    /// about [`TURN_BYTES`]. Returns `false` if there is none. The host calls it while it has room
    /// for output.
    pub fn poll<S: AtomSource + ?Sized>(&mut self, source: &S, out: &mut Vec<u8>) -> bool {
        self.poll_until(source, out, &mut || false)
    }

    /// Like [`Self::poll`], and ends the frame behind the atom, header or transaction at which
    /// `is_over` returns `true`, since a source may be slow. At least one of these is written, so
    /// that the request continues.
    pub fn poll_until<S: AtomSource + ?Sized>(
        &mut self,
        source: &S,
        out: &mut Vec<u8>,
        is_over: &mut dyn FnMut() -> bool,
    ) -> bool {
        if let Some((number, reason)) = self.refusals.pop_front() {
            Frame::End { number, reason }.write(out);
            return true;
        }
        let turn = self.requests.iter().position(|open| open.credit > 0);
        let Some(mut request) = turn.and_then(|turn| self.requests.remove(turn)) else {
            return false;
        };
        if request.write(source, out, is_over) {
            self.requests.push_back(request);
        }
        true
    }
}

impl Request {
    /// Appends a frame of atoms, and of the end if the object does not continue in this store. Returns
    /// whether the request stays open.
    fn write<S: AtomSource + ?Sized>(
        &mut self,
        source: &S,
        out: &mut Vec<u8>,
        is_over: &mut dyn FnMut() -> bool,
    ) -> bool {
        let number = self.number;
        let mut writer = FoundWriter::new(out, number);
        let credit = &mut self.credit;
        let reason = match &mut self.object {
            Object::List(next) => write_list(next, credit, source, (&mut writer, is_over)),
            #[cfg(feature = "chain")]
            Object::Walk(walk) => write_units(walk, credit, &source, (&mut writer, is_over)),
        };
        writer.finish();
        if let Some(reason) = reason {
            Frame::End { number, reason }.write(out);
        }
        reason.is_none() && !self.object.is_complete()
    }
}

/// Writes the next atoms of a list. Returns the reason if it cannot continue.
fn write_list<S: AtomSource + ?Sized>(
    next: &mut AtomId,
    credit: &mut u32,
    source: &S,
    (writer, is_over): (&mut FoundWriter<'_>, &mut dyn FnMut() -> bool),
) -> Option<EndReason> {
    while !next.is_zero() && *credit > 0 && writer.len() < TURN_BYTES {
        let atom = match source.atom(next) {
            Ok(atom) => atom,
            Err(SourceError::Missing(_)) => return Some(EndReason::Missing),
            Err(SourceError::Failed(_)) => return Some(EndReason::Failed),
        };
        if !writer.push(&atom) {
            // Fits no frame at all, or not this one.
            return writer.is_empty().then_some(EndReason::Missing);
        }
        *credit = spend(*credit, &atom);
        *next = atom.next();
        if is_over() {
            break;
        }
    }
    None
}

/// Writes the next units of a walk. Returns the reason if it cannot continue.
#[cfg(feature = "chain")]
fn write_units<S: AtomSource>(
    walk: &mut Walk,
    credit: &mut u32,
    source: &S,
    (writer, is_over): (&mut FoundWriter<'_>, &mut dyn FnMut() -> bool),
) -> Option<EndReason> {
    while !walk.is_complete() && *credit > 0 && writer.len() < TURN_BYTES {
        let unit = Unit::new(source);
        let link = match walk.read(&unit) {
            Ok(link) => link,
            Err(RecordError::Source(SourceError::Failed(_))) => return Some(EndReason::Failed),
            // What is not an object of the requested kind is not there.
            Err(_) => return Some(EndReason::Missing),
        };
        let atoms = unit.into_atoms();
        let atoms = atoms.iter().map(HashedAtom::atom);
        if !writer.push_all(atoms.clone()) {
            return writer.is_empty().then_some(EndReason::Missing);
        }
        for atom in atoms {
            *credit = spend(*credit, atom);
        }
        walk.advance(link);
        if is_over() {
            break;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::{Answer, Client, ClientError};
    use super::*;
    use crate::atom::{Atom, HashedAtom, MemoryStore, bytes_list};
    use crate::wire::stream::{Decoder, MAX_FRAME_BYTES};
    use alloc::vec;
    use core::convert::Infallible;
    use proptest::prelude::*;

    fn list(values: impl IntoIterator<Item = usize>) -> (AtomId, Vec<Atom>, MemoryStore) {
        let values: Vec<_> = values.into_iter().map(|len| vec![7; len]).collect();
        let (head, atoms) = bytes_list(&values);
        let store = atoms.iter().cloned().collect();
        (head, atoms, store)
    }

    fn request(number: u32, id: AtomId, credit: u32) -> Frame<'static> {
        Frame::List { number, id, credit }
    }

    /// Numbers and total bytes of atoms of the frames in `bytes`, and reasons of ends.
    fn frames(bytes: &[u8]) -> Vec<(u32, usize, Option<EndReason>)> {
        let mut decoder = Decoder::new();
        decoder.push(bytes);
        let mut seen = vec![];
        while let Some(frame) = decoder.next_frame().unwrap() {
            seen.push(match frame {
                Frame::Found { number, atoms } => (number, atoms.map(<[u8]>::len).sum(), None),
                Frame::End { number, reason } => (number, 0, Some(reason)),
                other => panic!("{other:?}"),
            });
        }
        seen
    }

    #[test]
    fn requests_take_turns_and_wait_without_credit() {
        let (head, _, store) = list([60_000; 20]);
        let mut server = Server::new();
        server.handle(&request(1, head, u32::MAX)).unwrap();
        server.handle(&request(2, head, 1)).unwrap();
        server.handle(&request(3, head, u32::MAX)).unwrap();
        let mut out = vec![];
        for _ in 0..5 {
            assert!(server.poll(&store, &mut out));
        }
        let numbers: Vec<_> = frames(&out).iter().map(|frame| frame.0).collect();
        assert_eq!(numbers, [1, 2, 3, 1, 3]);
        assert_eq!(frames(&out)[1].1, 60_033, "one atom for one byte of credit");
        server.handle(&Frame::Cancel { number: 1 }).unwrap();
        server.handle(&Frame::Cancel { number: 3 }).unwrap();
        assert!(!server.has_output() && !server.poll(&store, &mut out));
        let credit = Frame::Credit {
            number: 2,
            bytes: 1,
        };
        server.handle(&credit).unwrap();
        assert!(server.has_output() && server.poll(&store, &mut out));
        assert!(!server.has_output());
    }

    #[test]
    fn frame_ends_when_the_time_of_the_host_is_over() {
        let (head, atoms, store) = list([10; 9]);
        let mut server = Server::new();
        server.handle(&request(1, head, u32::MAX)).unwrap();
        server.handle(&request(2, head, u32::MAX)).unwrap();
        let (mut out, mut asked) = (vec![], 0);
        let len = atoms[0].stored_len();
        for expected in [1, 3] {
            let mut is_over = || {
                asked += 1;
                asked >= expected
            };
            assert!(server.poll_until(&store, &mut out, &mut is_over));
        }
        // At least one atom, and then those for which there was time.
        assert_eq!(frames(&out), [(1, len, None), (2, 2 * len, None)]);
        while server.poll_until(&store, &mut out, &mut || true) {}
        for number in [1, 2] {
            let of = frames(&out).into_iter().filter(|frame| frame.0 == number);
            assert_eq!(of.map(|frame| frame.1).sum::<usize>(), 9 * len);
        }
        #[cfg(feature = "chain")]
        {
            let lists: Vec<u8> = atoms[..3]
                .iter()
                .flat_map(|it| *it.id().as_bytes())
                .collect();
            let lists = crate::wire::stream::Ids::from_bytes(&lists).unwrap();
            let (most, credit) = (1, u32::MAX);
            let number = 3;
            let singles = Frame::Lists {
                number,
                most,
                credit,
                lists,
            };
            server.handle(&singles).unwrap();
            out.clear();
            while server.poll_until(&store, &mut out, &mut || true) {}
            assert_eq!(frames(&out), [(3, len, None); 3]);
        }
    }

    #[test]
    fn end_of_the_stored_part_and_failures_have_reasons() {
        struct Failing;
        impl AtomSource for Failing {
            type Error = ();
            fn atom(&self, _: &AtomId) -> Result<Atom, SourceError<()>> {
                Err(SourceError::Failed(()))
            }
        }
        let (head, atoms, _) = list([10, 20, 30]);
        let part: MemoryStore = atoms[..2].iter().cloned().collect();
        let (mut server, mut out) = (Server::new(), vec![]);
        server.handle(&request(1, head, 1_000)).unwrap();
        while server.poll(&part, &mut out) {}
        assert_eq!(
            frames(&out),
            [(1, 96, None), (1, 0, Some(EndReason::Missing))]
        );
        out.clear();
        server.handle(&request(2, head, 1_000)).unwrap();
        while server.poll(&Failing, &mut out) {}
        assert_eq!(frames(&out), [(2, 0, Some(EndReason::Failed))]);
        assert_eq!(server.open_requests(), 0);
    }

    #[test]
    fn unknown_and_surplus_requests_are_refused_by_number() {
        let (head, _, store) = list([10]);
        let (mut server, mut out) = (Server::new(), vec![]);
        let unknown = Frame::Unknown { number: 9, kind: 7 };
        server.handle(&unknown).unwrap();
        assert!(server.poll(&store, &mut out));
        for number in 0..8 {
            server.handle(&request(number, head, 0)).unwrap();
        }
        server.handle(&request(20, head, 1)).unwrap();
        assert!(server.poll(&store, &mut out) && !server.poll(&store, &mut out));
        let reasons = [EndReason::Unsupported, EndReason::Busy];
        let ends = frames(&out).into_iter().map(|frame| frame.2.unwrap());
        assert!(ends.eq(reasons));
        let error = ServerError::NumberInUse { number: 3 };
        assert_eq!(server.handle(&request(3, head, 1)), Err(error));
        let end = Frame::End {
            number: 1,
            reason: EndReason::Busy,
        };
        assert_eq!(server.handle(&end), Err(ServerError::Unexpected));
        let refused = (0..20).find_map(|_| server.handle(&unknown).err());
        assert_eq!(refused, Some(ServerError::TooManyRefusals));
    }

    #[test]
    fn atom_that_fits_no_frame_ends_the_request() {
        let (head, _, store) = list([10, MAX_FRAME_BYTES, 10]);
        let (mut server, mut out) = (Server::new(), vec![]);
        server.handle(&request(1, head, u32::MAX)).unwrap();
        while server.poll(&store, &mut out) {}
        let ends = frames(&out);
        assert_eq!(ends, [(1, 43, None), (1, 0, Some(EndReason::Missing))]);
    }

    /// Moves a list from a server to a client in pieces; the client grants credit as it stores.
    fn transfer(head: AtomId, store: &MemoryStore, piece: usize) -> Result<Vec<Atom>, ClientError> {
        let (mut client, mut server) = (Client::new(), Server::new());
        let (mut up, mut down) = (Decoder::new(), Decoder::new());
        let (mut out, mut found) = (vec![], vec![]);
        let number = client.request_list(head, &mut out).unwrap();
        loop {
            for piece in core::mem::take(&mut out).chunks(piece) {
                up.push(piece);
                while let Some(frame) = up.next_frame().unwrap() {
                    server.handle(&frame).unwrap();
                }
            }
            let mut bytes = vec![];
            assert!(server.poll(store, &mut bytes), "the server stalls");
            for piece in bytes.chunks(piece) {
                down.push(piece);
                while let Some(frame) = down.next_frame().unwrap() {
                    let before = found.len();
                    let answer = client.handle(&frame, &mut found)?;
                    let new = found[before..]
                        .iter()
                        .map(|it: &HashedAtom| it.atom().stored_len());
                    client.stored(number, u32::try_from(new.sum::<usize>()).unwrap(), &mut out);
                    match answer {
                        Answer::Atoms {
                            is_complete: false, ..
                        } => {}
                        Answer::Late => panic!("late"),
                        Answer::Atoms { .. } | Answer::Ended { .. } => {
                            return Ok(found.iter().map(|it| it.atom().clone()).collect());
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn list_larger_than_the_window_arrives_without_a_stall() {
        let (head, atoms, store) = list((0..400).map(|n| 64_000 + n));
        assert!(atoms.iter().map(Atom::stored_len).sum::<usize>() > 24 << 20);
        assert_eq!(transfer(head, &store, 70_000), Ok(atoms));
    }

    proptest! {
        #[test]
        fn lists_arrive_whole_and_in_order(
            lens in proptest::collection::vec(0..3_000usize, 1..200), piece in 1..5_000usize,
        ) {
            let (head, atoms, store) = list(lens);
            prop_assert_eq!(transfer(head, &store, piece), Ok(atoms));
        }

        #[test]
        fn server_survives_any_frames(
            frames in proptest::collection::vec((0..5u8, 0..4u32, any::<u32>()), 0..60),
        ) {
            let (head, _, store) = list([500; 40]);
            let (mut server, mut out) = (Server::new(), vec![]);
            for (kind, number, n) in frames {
                let frame = match kind {
                    0 => request(number, head, n),
                    1 => Frame::Credit { number, bytes: n },
                    2 => Frame::Cancel { number },
                    3 => Frame::Unknown { number, kind: 9 },
                    _ => Frame::End { number, reason: EndReason::Busy },
                };
                if server.handle(&frame).is_err() {
                    server = Server::new();
                }
                let before = out.len();
                server.poll(&store, &mut out);
                prop_assert!(out.len() - before <= 2 * MAX_FRAME_BYTES);
                prop_assert!(server.open_requests() <= MAX_REQUESTS);
            }
        }
    }

    /// A source of an endless list, each atom of which the server must read only once.
    #[test]
    fn reads_no_more_than_it_sends() {
        struct Counting<'s>(&'s MemoryStore, core::cell::Cell<usize>);
        impl AtomSource for Counting<'_> {
            type Error = Infallible;
            fn atom(&self, id: &AtomId) -> Result<Atom, SourceError<Infallible>> {
                self.1.set(self.1.get() + 1);
                self.0.atom(id)
            }
        }
        let (head, atoms, store) = list([3_900; 200]);
        let counting = Counting(&store, core::cell::Cell::new(0));
        let (mut server, mut out) = (Server::new(), vec![]);
        server.handle(&request(1, head, u32::MAX)).unwrap();
        assert!(server.poll(&counting, &mut out));
        assert!(counting.1.get() < 40 && out.len() < TURN_BYTES + 4_000);
        while server.poll(&counting, &mut out) {}
        assert_eq!(counting.1.get(), atoms.len());
    }
}
