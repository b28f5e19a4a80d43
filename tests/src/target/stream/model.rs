//! Models of both sides of a stream, and the lists that are served.

use super::Reached;
use astreum_core::atom::{
    Atom, AtomId, AtomSource, HashedAtom, MemoryStore, SourceError, bytes_list,
};
use astreum_core::stream::{
    Answer, Client, ClientError, MAX_REQUESTS, Server, ServerError, TURN_BYTES, WINDOW_BYTES,
};
use astreum_core::wire::stream::{
    Decoder, EndReason, Frame, HEAD_BYTES, LENGTH_BYTES, MAX_FRAME_BYTES, StoredAtoms,
};
use core::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::sync::OnceLock;

/// Maximum size of an atom that fits a frame, in bytes.
const MAX_STORED_BYTES: usize = MAX_FRAME_BYTES - LENGTH_BYTES - HEAD_BYTES;

/// Number of bytes of the largest frame.
const FRAME_BYTES: u64 = MAX_FRAME_BYTES as u64;

/// Atom of a list.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) atom: Atom,
    id: AtomId,
    stored: Vec<u8>,
    /// `true` if the server has it.
    is_served: bool,
}

/// The rest of a list.
type Pieces = &'static [Piece];

/// Lists, and the store of the server.
struct World {
    lists: Vec<Vec<Piece>>,
    /// List and position of each atom.
    places: BTreeMap<AtomId, (usize, usize)>,
    store: MemoryStore,
}

/// Lowest code of a request that names several lists.
const SEVERAL: u8 = 192;
/// Numbers of the lists that take most time: larger than a quarter of the window, and than all of it.
const LARGE: usize = 5;
const HUGE: usize = 6;

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        // The first byte of the data makes the atoms of each list different.
        let list = |number: u8, lens: &[usize]| -> Vec<Vec<u8>> {
            lens.iter().map(|len| vec![number; *len + 1]).collect()
        };
        let small: Vec<usize> = (0..40).map(|number| number * 7).collect();
        let lists = [
            list(1, &[10]),
            list(2, &[0, 3, 40]),
            list(3, &small),
            list(4, &[100, MAX_STORED_BYTES, 100]),
            list(5, &[5, 900, 900, 900]),
            list(6, &[130_000; 24]),
            list(7, &[200_000; 48]),
        ];
        let mut world = World {
            lists: Vec::new(),
            places: BTreeMap::new(),
            store: MemoryStore::new(),
        };
        for (number, values) in lists.iter().enumerate() {
            let mut pieces = Vec::new();
            for (at, atom) in bytes_list(values).1.into_iter().enumerate() {
                let id = atom.id();
                // The end of one list is not in the store.
                let is_served = (number, at) != (4, 3);
                if is_served {
                    world.store.insert(atom.clone());
                }
                world.places.insert(id, (number, at));
                pieces.push(Piece {
                    id,
                    stored: atom.to_bytes(),
                    atom,
                    is_served,
                });
            }
            world.lists.push(pieces);
        }
        world
    })
}

/// Returns the id and the pieces of a list from a position on. Some codes are ids that are unknown,
/// or zero.
pub(super) fn place(code: u8, start: u8) -> (AtomId, Pieces) {
    let number = match code % 16 {
        15 => HUGE,
        14 => LARGE,
        13 => return (AtomId::new([start; 32]), &[]),
        code => usize::from(code) % LARGE,
    };
    let pieces = world().lists.get(number).map_or(&[][..], Vec::as_slice);
    let start = usize::from(start).checked_rem(pieces.len());
    let pieces = pieces.get(start.unwrap_or_default()..).unwrap_or_default();
    let id = pieces.first().map(|piece| piece.id);
    (id.unwrap_or_default(), pieces)
}

/// Rest of a request, in the model of either side.
struct Rest {
    /// Rest of the list that is sent now: empty if its next atom is unknown, `None` at the end.
    now: Option<Pieces>,
    /// Number of its atoms that are still requested.
    left: usize,
    /// Maximum number of atoms of each list.
    most: usize,
    /// Lists behind it.
    lists: VecDeque<Pieces>,
}

impl Rest {
    /// The rest of one list; an unknown one is empty.
    const fn of(pieces: Pieces) -> Self {
        Self {
            now: Some(pieces),
            left: usize::MAX,
            most: usize::MAX,
            lists: VecDeque::new(),
        }
    }

    /// Several lists, at most `most` atoms of each.
    fn of_lists(most: u32, lists: impl IntoIterator<Item = Pieces>) -> Self {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let mut lists: VecDeque<Pieces> = lists.into_iter().collect();
        Self {
            now: lists.pop_front(),
            left: most,
            most,
            lists,
        }
    }

    const fn is_complete(&self) -> bool {
        self.now.is_none()
    }

    /// Returns the next atom, if it is known.
    fn first(&self) -> Option<&'static Piece> {
        self.now?.first()
    }

    /// Takes the next atom if it has these bytes.
    fn take(&mut self, stored: &[u8]) -> Option<&'static Piece> {
        let (piece, rest) = self.now?.split_first()?;
        if piece.stored != stored {
            return None;
        }
        self.now = Some(rest);
        self.left -= 1;
        if rest.is_empty() || self.left == 0 {
            (self.now, self.left) = (self.lists.pop_front(), self.most);
        }
        Some(piece)
    }
}

/// Returns the list that starts with an atom, or nothing.
fn pieces(id: &AtomId) -> Pieces {
    let world = world();
    let place = world.places.get(id).and_then(|(list, at)| {
        let pieces = world.lists.get(*list)?;
        pieces.get(*at..)
    });
    place.unwrap_or_default()
}

fn size(stored: &[u8]) -> u32 {
    u32::try_from(stored.len()).unwrap_or(u32::MAX)
}

/// Passes the only frame in `bytes` to `check`, unless they are empty.
fn only_frame<T>(bytes: &[u8], check: impl FnOnce(&Frame<'_>) -> T) -> Option<T> {
    if bytes.is_empty() {
        return None;
    }
    let mut decoder = Decoder::new();
    decoder.push(bytes);
    let checked = match decoder.next_frame() {
        Ok(Some(frame)) => check(&frame),
        other => panic!("{other:?} was written"),
    };
    assert_eq!(decoder.buffered_bytes(), 0, "one frame was written");
    Some(checked)
}

/// Request of the client.
struct Wanted {
    /// Atoms that have not arrived.
    rest: Rest,
    /// Number of bytes that the server may send.
    credit: u32,
    /// Number of bytes that have arrived, and that the host has not stored.
    held: u32,
    /// Number of bytes that the host said it had stored, and that were not granted.
    claimed: u64,
}

/// A client, and the model of it.
#[derive(Default)]
pub(super) struct ClientSide {
    client: Client,
    open: BTreeMap<u32, Wanted>,
    next_number: u32,
    /// Bytes that may arrive for requests that were closed: their credit, and a frame for each.
    late: u64,
    /// `true` if one of the largest lists was requested; one is enough for a run.
    has_large: bool,
}

/// Violation by a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Lie {
    Atom,
    NoCredit,
    Unexpected,
}

impl From<ClientError> for Lie {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Atom(_) | ClientError::WrongAtom { .. } => Self::Atom,
            ClientError::NoCredit => Self::NoCredit,
            ClientError::Unexpected => Self::Unexpected,
            // The client requests only lists.
            ClientError::Split | ClientError::WrongKind => panic!("{error}"),
        }
    }
}

impl ClientSide {
    /// Returns whether no request is open.
    pub(super) fn is_idle(&self) -> bool {
        self.open.is_empty()
    }

    /// Requests a list. Some codes request several: the one that is named and the small ones behind
    /// it, or their beginnings.
    pub(super) fn request(&mut self, list: u8, start: u8, up: &mut Vec<u8>) {
        if list >= SEVERAL {
            return self.request_several(list, start, up);
        }
        let list = match list % 16 {
            14 | 15 if self.has_large => 0,
            _ => list,
        };
        let (id, pieces) = place(list, start);
        let before = up.len();
        let number = self.client.request_list(id, up);
        let is_possible = self.open.len() < MAX_REQUESTS && !id.is_zero();
        let credit = WINDOW_BYTES;
        let written = only_frame(up.get(before..).unwrap_or_default(), |frame| {
            let number = self.next_number;
            assert_eq!(*frame, Frame::List { number, id, credit });
        });
        assert_eq!(written.is_some(), is_possible);
        self.has_large |= number.is_some() && list % 16 >= 14;
        self.opened(number, is_possible, Rest::of(pieces));
    }

    fn request_several(&mut self, code: u8, start: u8, up: &mut Vec<u8>) {
        let most = match code % 4 {
            3 => u32::MAX,
            most => u32::from(most) + 1,
        };
        let places = (0..=code / 4 % 4).map(|at| place((code / 16 + at) % 5, start));
        let (ids, pieces): (Vec<AtomId>, Vec<Pieces>) = places.unzip();
        let before = up.len();
        let number = self.client.request_lists(&ids, most, up);
        let is_possible = self.open.len() < MAX_REQUESTS;
        let written = only_frame(up.get(before..).unwrap_or_default(), |frame| {
            let Frame::Lists {
                number,
                most: stated,
                credit,
                lists,
            } = *frame
            else {
                panic!("{frame:?} was written");
            };
            let stated = (number, stated, credit);
            assert_eq!(stated, (self.next_number, most, WINDOW_BYTES));
            assert!(lists.eq(ids.iter().copied()));
        });
        assert_eq!(written.is_some(), is_possible);
        self.opened(number, is_possible, Rest::of_lists(most, pieces));
    }

    /// Notes a request, which must have been made if it was possible.
    fn opened(&mut self, number: Option<u32>, is_possible: bool, rest: Rest) {
        assert_eq!(number, is_possible.then_some(self.next_number));
        if let Some(number) = number {
            self.next_number += 1;
            let wanted = Wanted {
                rest,
                credit: WINDOW_BYTES,
                held: 0,
                claimed: 0,
            };
            self.open.insert(number, wanted);
        }
        assert_eq!(self.client.open_requests(), self.open.len());
    }

    /// Cancels a request.
    pub(super) fn cancel(&mut self, number: u32, up: &mut Vec<u8>) {
        let before = up.len();
        self.client.cancel(number, up);
        let written = only_frame(up.get(before..).unwrap_or_default(), |frame| {
            assert_eq!(*frame, Frame::Cancel { number });
        });
        let cancelled = self.open.remove(&number);
        assert_eq!(written.is_some(), cancelled.is_some());
        let on_its_way = cancelled.map(|wanted| u64::from(wanted.credit) + FRAME_BYTES);
        self.late += on_its_way.unwrap_or(0);
        assert_eq!(self.client.open_requests(), self.open.len());
    }

    /// Notes that `bytes` are stored. Returns whether the client grants them.
    pub(super) fn store(&mut self, number: u32, bytes: u32, up: &mut Vec<u8>) -> bool {
        let before = up.len();
        self.client.stored(number, bytes, up);
        let granted = only_frame(up.get(before..).unwrap_or_default(), |frame| match frame {
            Frame::Credit { number: of, bytes } if *of == number => *bytes,
            other => panic!("{other:?} was written"),
        });
        let Some(wanted) = self.open.get_mut(&number) else {
            assert_eq!(granted, None, "the request is closed");
            return false;
        };
        wanted.held = wanted.held.saturating_sub(bytes);
        wanted.claimed += u64::from(bytes);
        let Some(granted) = granted else {
            return false;
        };
        let claimed = wanted.claimed.checked_sub(granted.into());
        wanted.claimed = claimed.unwrap_or_else(|| panic!("{granted} bytes were not stored"));
        wanted.credit += granted;
        assert!(granted >= WINDOW_BYTES / 4 && wanted.credit <= WINDOW_BYTES);
        true
    }

    /// Notes that all bytes that have arrived are stored, and returns the number of grants.
    pub(super) fn store_all(&mut self, up: &mut Vec<u8>) -> usize {
        let held: Vec<(u32, u32)> = self.open.iter().map(|(n, it)| (*n, it.held)).collect();
        let granted = held.into_iter().map(|(n, bytes)| self.store(n, bytes, up));
        granted.filter(|granted| *granted).count()
    }

    /// Handles a frame of the server. Returns `false` if the client reports a violation.
    pub(super) fn handle(&mut self, frame: &Frame<'_>, reached: &mut Reached) -> bool {
        let mut found: Vec<HashedAtom> = Vec::new();
        let answer = self.client.handle(frame, &mut found);
        let mut expected: Vec<&Piece> = Vec::new();
        let verdict = self.judge(frame, &mut expected);
        assert_eq!(answer.map_err(Lie::from), verdict, "{:?}", frame.number());
        let found = found.iter().map(|atom| (atom.id(), atom.atom()));
        assert!(
            found.eq(expected.iter().map(|piece| (piece.id, &piece.atom))),
            "exactly the atoms of the list are accepted, in order"
        );
        match verdict {
            Ok(Answer::Atoms { is_complete, .. }) => reached.completed += usize::from(is_complete),
            Ok(Answer::Ended { .. }) => reached.ended += 1,
            Ok(Answer::Late) => {}
            Err(lie) => {
                reached.excesses += usize::from(lie == Lie::NoCredit);
                return false;
            }
        }
        assert_eq!(self.client.open_requests(), self.open.len());
        true
    }

    /// Returns the answer to a frame, and the atoms that are accepted.
    fn judge(&mut self, frame: &Frame<'_>, accepted: &mut Vec<&Piece>) -> Result<Answer, Lie> {
        let number = frame.number();
        match *frame {
            _ if number >= self.next_number => Err(Lie::Unexpected),
            Frame::Found { atoms, .. } => self.accept(number, atoms, accepted),
            Frame::End { reason, .. } => match self.open.remove(&number) {
                Some(_) => {
                    self.late += FRAME_BYTES;
                    Ok(Answer::Ended { number, reason })
                }
                None => self.accept_late(HEAD_BYTES),
            },
            Frame::List { .. }
            | Frame::Headers { .. }
            | Frame::Bodies { .. }
            | Frame::Lists { .. }
            | Frame::Credit { .. }
            | Frame::Cancel { .. }
            | Frame::Unknown { .. } => Err(Lie::Unexpected),
        }
    }

    fn accept(
        &mut self,
        number: u32,
        atoms: StoredAtoms<'_>,
        accepted: &mut Vec<&Piece>,
    ) -> Result<Answer, Lie> {
        let Some(wanted) = self.open.get_mut(&number) else {
            return self.accept_late(atoms.map(<[u8]>::len).sum());
        };
        for stored in atoms {
            if wanted.credit == 0 {
                return Err(Lie::NoCredit);
            }
            accepted.push(wanted.rest.take(stored).ok_or(Lie::Atom)?);
            wanted.credit = wanted.credit.saturating_sub(size(stored));
            wanted.held += size(stored);
        }
        let next = wanted.rest.first();
        let next = next.map_or(AtomId::ZERO, |piece| piece.id);
        let is_complete = wanted.rest.is_complete();
        if is_complete {
            self.open.remove(&number);
            self.late += FRAME_BYTES;
        }
        Ok(Answer::Atoms {
            number,
            is_complete,
            next,
        })
    }

    /// Returns the answer to a frame for a closed request.
    fn accept_late(&mut self, bytes: usize) -> Result<Answer, Lie> {
        self.late = self.late.checked_sub(bytes as u64).ok_or(Lie::NoCredit)?;
        Ok(Answer::Late)
    }
}

/// Maximum number of atoms that are read to find that something is not a record.
const MAX_RECORD_READS: usize = 32;

/// Request that a server has accepted.
struct Served {
    number: u32,
    /// Atoms that were not sent.
    rest: Rest,
    credit: u32,
    /// Maximum number of atoms that are read and not sent.
    max_reads: usize,
}

/// Store of the server, which can fail.
#[derive(Default)]
pub(super) struct Source {
    pub(super) fails: bool,
    reads: Cell<usize>,
}

impl AtomSource for Source {
    type Error = ();

    fn atom(&self, id: &AtomId) -> Result<Atom, SourceError<()>> {
        self.reads.set(self.reads.get() + 1);
        if self.fails {
            return Err(SourceError::Failed(()));
        }
        let atom = world().store.atom(id);
        atom.map_err(|_| SourceError::Missing(*id))
    }
}

/// A server, and the model of it.
#[derive(Default)]
pub(super) struct ServerSide {
    server: Server,
    pub(super) source: Source,
    /// Open requests; the first with credit has its turn next.
    open: VecDeque<Served>,
    /// Refusals that were not sent.
    refusals: VecDeque<(u32, EndReason)>,
}

impl ServerSide {
    /// Returns the number of refusals that were not sent.
    pub(super) fn refusals(&self) -> usize {
        self.refusals.len()
    }

    /// Handles a frame of the client. Returns `false` if the server reports a violation.
    pub(super) fn handle(&mut self, frame: &Frame<'_>) -> bool {
        let result = self.server.handle(frame);
        assert_eq!(result, self.judge(frame), "{frame:?}");
        if result.is_err() {
            return false;
        }
        assert_eq!(self.server.open_requests(), self.open.len());
        assert!(self.open.len() <= MAX_REQUESTS && self.refusals.len() <= MAX_REQUESTS);
        true
    }

    fn judge(&mut self, frame: &Frame<'_>) -> Result<(), ServerError> {
        match *frame {
            Frame::List { number, id, credit } => {
                return self.open(number, Rest::of(pieces(&id)), credit, 1);
            }
            Frame::Lists {
                number,
                most,
                credit,
                lists,
            } => {
                let rest = Rest::of_lists(most, lists.map(|id| pieces(&id)));
                return self.open(number, rest, credit, 1);
            }
            // The store has no record of a chain: nothing of it is sent.
            Frame::Headers { number, credit, .. } | Frame::Bodies { number, credit, .. } => {
                return self.open(number, Rest::of(&[]), credit, MAX_RECORD_READS);
            }
            Frame::Credit { number, bytes } => {
                for open in self.open.iter_mut().filter(|open| open.number == number) {
                    open.credit = open.credit.saturating_add(bytes);
                }
            }
            Frame::Cancel { number } => self.open.retain(|open| open.number != number),
            Frame::Unknown { number, .. } => {
                return self.refuse(number, EndReason::Unsupported);
            }
            Frame::Found { .. } | Frame::End { .. } => return Err(ServerError::Unexpected),
        }
        Ok(())
    }

    fn open(
        &mut self,
        number: u32,
        rest: Rest,
        credit: u32,
        max_reads: usize,
    ) -> Result<(), ServerError> {
        if self.open.iter().any(|open| open.number == number) {
            return Err(ServerError::NumberInUse { number });
        }
        if self.open.len() == MAX_REQUESTS {
            return self.refuse(number, EndReason::Busy);
        }
        self.open.push_back(Served {
            number,
            rest,
            credit,
            max_reads,
        });
        Ok(())
    }

    fn refuse(&mut self, number: u32, reason: EndReason) -> Result<(), ServerError> {
        if self.refusals.len() == MAX_REQUESTS {
            return Err(ServerError::TooManyRefusals);
        }
        self.refusals.push_back((number, reason));
        Ok(())
    }

    /// Lets the server send a frame, with the end of its request if it has come.
    pub(super) fn poll(&mut self, down: &mut Vec<u8>) -> bool {
        let turn = self.open.iter().position(|open| open.credit > 0);
        let has_output = turn.is_some() || !self.refusals.is_empty();
        assert_eq!(self.server.has_output(), has_output);
        let before = down.len();
        self.source.reads.set(0);
        let polled = self.server.poll(&self.source, down);
        assert_eq!(polled, has_output);
        let written = down.get(before..).unwrap_or_default();
        if let Some((number, reason)) = self.refusals.pop_front() {
            let checked = only_frame(written, |frame| {
                assert_eq!(*frame, Frame::End { number, reason });
            });
            assert!(checked.is_some(), "a refusal was written");
            return true;
        }
        let Some(mut served) = turn.and_then(|turn| self.open.remove(turn)) else {
            assert!(written.is_empty());
            return false;
        };
        if self.check_turn(&mut served, written) {
            self.open.push_back(served);
        }
        assert_eq!(self.server.open_requests(), self.open.len());
        true
    }

    /// Checks the frames of a turn. Returns whether the request stays open.
    fn check_turn(&self, served: &mut Served, written: &[u8]) -> bool {
        let mut decoder = Decoder::new();
        decoder.push(written);
        let (mut sent, mut end) = (0, None);
        loop {
            let at = written.len() - decoder.buffered_bytes();
            let frame = match decoder.next_frame() {
                Ok(None) => break,
                Ok(Some(frame)) => frame,
                Err(error) => panic!("{error} was written"),
            };
            assert_eq!(frame.number(), served.number, "its turn");
            match frame {
                Frame::Found { atoms, .. } if at == 0 => {
                    let mut bytes = 0;
                    for stored in atoms {
                        assert!(served.credit > 0, "no atom is begun without credit");
                        assert!(bytes < TURN_BYTES, "others wait for their turns");
                        let piece = served.rest.take(stored);
                        assert!(piece.is_some_and(|piece| piece.is_served));
                        served.credit = served.credit.saturating_sub(size(stored));
                        bytes += LENGTH_BYTES + stored.len();
                        sent += 1;
                    }
                }
                Frame::End { reason, .. } if end.is_none() => end = Some(reason),
                other => panic!("{other:?} was written"),
            }
        }
        assert_eq!(decoder.buffered_bytes(), 0, "frames are complete");
        assert!(
            self.source.reads.get() <= sent + served.max_reads,
            "few reads"
        );
        let next = served.rest.first();
        let Some(reason) = end else {
            assert!(sent > 0 && !self.source.fails, "the turn was used");
            return !served.rest.is_complete();
        };
        let is_missing =
            next.is_none_or(|piece| !piece.is_served || piece.stored.len() > MAX_STORED_BYTES);
        let expected = match self.source.fails {
            true => EndReason::Failed,
            false => EndReason::Missing,
        };
        assert_eq!(reason, expected);
        assert!(self.source.fails || is_missing, "the next atom is there");
        false
    }
}
