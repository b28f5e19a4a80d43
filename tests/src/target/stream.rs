//! Fuzz target of streams: bytes of frames in any pieces, and a client and a server whose bytes are
//! delayed, split, cut, corrupted or followed by frames of the input.
//!
//! Each side is compared with a model, frame by frame. What the model of one side expects does not
//! depend on the other side, so that either may be hostile.

mod model;

use arbitrary::{Arbitrary, Unstructured};
use astreum_core::atom::Atom;
use astreum_core::stream::{HELLO_BYTES, Hello};
use astreum_core::wire::stream::{
    Decoder, EndReason, FoundWriter, Frame, FrameError, HEAD_BYTES, LENGTH_BYTES, MAX_FRAME_BYTES,
};
use model::{ClientSide, ServerSide, place};

/// Maximum number of steps per run.
const MAX_STEPS: usize = 64;
/// Number of bytes that a server may have sent when no step lets it send more.
const MAX_SENT_BYTES: usize = 24 << 20;
/// Number of bytes in transit at which a host waits before it sends more.
const MAX_TRANSIT_BYTES: usize = 1 << 20;
/// Maximum number of rounds until all requests have ended.
const MAX_ROUNDS: usize = 200;

/// Number of events of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Reached {
    /// Frames that were read from the bytes of the input.
    pub frames: usize,
    /// Lists that have arrived completely.
    pub completed: usize,
    /// Requests that a server has ended with a reason.
    pub ended: usize,
    /// Grants of further credit by the client.
    pub grants: usize,
    /// Violations that the client has reported.
    pub lies: usize,
    /// Atoms that the client has rejected because the server had no credit.
    pub excesses: usize,
    /// Requests that the server has refused.
    pub refusals: usize,
    /// Violations that the server has reported.
    pub violations: usize,
}

/// Step of a run. The frames of a new kind are sent by a variant of [`Sent`].
#[derive(Clone, Copy, Arbitrary, Debug)]
enum Step<'a> {
    /// The client requests a list.
    Request(Place),
    /// The client cancels a request.
    Cancel(Number),
    /// The host of the client says that it has stored some bytes, whether it has or not.
    Store(Number, Amount),
    /// The server sends some frames.
    Poll(u8),
    /// Bytes arrive.
    Deliver(Direction, Amount),
    /// Everything arrives, and the server answers, a few times.
    Exchange(u8),
    /// A bit in transit changes.
    Flip(Direction, u16, u8),
    /// The bytes in transit are lost from a position on.
    Cut(Direction, u16),
    /// A hostile side sends a frame behind the bytes in transit.
    Send(Direction, Sent<'a>),
    /// The store of the server fails, or works again.
    Fail(bool),
    /// The connection ends, and a new one begins.
    Reconnect,
}

#[derive(Clone, Copy, PartialEq, Eq, Arbitrary, Debug)]
enum Direction {
    Up,
    Down,
}

/// Frame, or other bytes, of a hostile side.
#[derive(Clone, Copy, Arbitrary, Debug)]
enum Sent<'a> {
    List(Number, Place, Amount),
    Credit(Number, Amount),
    Cancel(Number),
    /// The atoms of a list from a position on.
    Atoms(Number, Place, u8),
    End(Number, u8),
    /// A frame of any kind and body.
    Frame(u8, Number, Bytes<'a>),
    Bytes(Bytes<'a>),
}

/// List, by its number, and a position in it.
#[derive(Clone, Copy, Arbitrary, Debug)]
struct Place {
    list: u8,
    start: u8,
}

/// Number of a request; few, so that they meet.
#[derive(Clone, Copy, Arbitrary, Debug)]
struct Number(u8);

impl Number {
    fn get(self) -> u32 {
        match self.0 % 16 {
            15 => u32::MAX,
            number => number.into(),
        }
    }
}

/// Number of bytes of any magnitude.
#[derive(Clone, Copy, Arbitrary, Debug)]
struct Amount(u8);

impl Amount {
    fn get(self) -> u32 {
        match self.0 {
            u8::MAX => u32::MAX,
            code => u32::from(code & 7) << (code >> 3),
        }
    }
}

/// Up to 255 bytes. The form of the crate for slices would take them from the end of the input.
#[derive(Clone, Copy, Debug)]
struct Bytes<'a>(&'a [u8]);

impl<'a> Arbitrary<'a> for Bytes<'a> {
    fn arbitrary(input: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let len = usize::from(u8::arbitrary(input)?);
        input.bytes(len.min(input.len())).map(Self)
    }
}

impl Sent<'_> {
    /// Appends the frame to the bytes in transit.
    fn write(self, out: &mut Vec<u8>) {
        match self {
            Self::List(number, at, credit) => {
                let (number, credit) = (number.get(), credit.get());
                let id = place(at.list, at.start).0;
                Frame::List { number, id, credit }.write(out);
            }
            Self::Credit(number, bytes) => {
                let (number, bytes) = (number.get(), bytes.get());
                Frame::Credit { number, bytes }.write(out);
            }
            Self::Cancel(number) => {
                let number = number.get();
                Frame::Cancel { number }.write(out);
            }
            Self::Atoms(number, at, count) => {
                let mut writer = FoundWriter::new(out, number.get());
                let pieces = place(at.list, at.start).1.iter();
                for piece in pieces.take(usize::from(count % 8) + 1) {
                    writer.push(&piece.atom);
                }
                writer.finish();
            }
            Self::End(number, code) => {
                let (number, reason) = (number.get(), EndReason::from_code(code));
                Frame::End { number, reason }.write(out);
            }
            Self::Frame(kind, number, body) => {
                let len = HEAD_BYTES + body.0.len();
                out.extend_from_slice(&u32::try_from(len).unwrap_or_default().to_be_bytes());
                out.push(kind);
                out.extend_from_slice(&number.get().to_be_bytes());
                out.extend_from_slice(body.0);
            }
            Self::Bytes(bytes) => out.extend_from_slice(bytes.0),
        }
    }
}

/// Reads the bytes as frames, or as steps of a connection.
pub fn run(data: &[u8]) {
    let _ = reached(data);
}

/// Does the same as [`run`], and returns the number of events.
///
/// # Panics
/// Panics if a promise is broken.
#[must_use]
pub fn reached(data: &[u8]) -> Reached {
    let mut reached = Reached::default();
    let mut input = Unstructured::new(data);
    if input.arbitrary().unwrap_or(0_u8).is_multiple_of(2) {
        super::count_operations(1);
        let sizes = input.arbitrary().unwrap_or([0; 4]);
        let bytes = input.take_rest();
        hello(bytes);
        reached.frames = check_frames(bytes, sizes);
    } else {
        let mut run = Run::new();
        for _ in 0..MAX_STEPS {
            if input.is_empty() {
                break;
            }
            let Ok(step) = input.arbitrary() else { break };
            super::count_operations(1);
            run.step(step);
        }
        run.end();
        reached = run.reached;
    }
    reached
}

/// Returns an input in which a server exhausts its credit, and sends an atom more.
#[must_use]
pub fn excess() -> Vec<u8> {
    // A derived form takes the variant from the place of a number among all 32-bit numbers.
    let variant = |index: u64, count: u64| {
        let number = (index << 32) / count + 1;
        u32::try_from(number).unwrap_or_default().to_le_bytes()
    };
    let step = |index| variant(index, 11).to_vec();
    let down = variant(1, 2);
    // The longest list has atoms of 200,034 bytes. 42 of them exceed the window.
    let request = [&*step(0), &[15, 0]].concat();
    let exchange = [&*step(5), &[3]].concat().repeat(11);
    let atoms = [&*step(8), &down, &variant(3, 7), &[0, 15, 42, 0]].concat();
    let deliver = [&*step(4), &down, &[u8::MAX]].concat();
    [vec![1], request, exchange, atoms, deliver].concat()
}

/// Checks the first bytes of a connection.
fn hello(bytes: &[u8]) {
    let Some(bytes) = bytes.first_chunk::<HELLO_BYTES>() else {
        return;
    };
    if let Some(hello) = Hello::decode(bytes) {
        assert_eq!(hello.encode(), bytes, "a hello");
        assert!(hello.prologue(&hello.relay, 7).starts_with(bytes));
    }
}

/// Checks that the frames in `bytes` are the same in pieces of these sizes and as a whole, and
/// returns their number.
fn check_frames(bytes: &[u8], sizes: [u8; 4]) -> usize {
    let whole = frames(bytes, [usize::MAX].into_iter());
    let sizes = sizes
        .into_iter()
        .cycle()
        .map(|size| usize::from(size).max(1));
    assert_eq!(
        frames(bytes, sizes),
        whole,
        "frames do not depend on pieces"
    );
    whole.0.len()
}

/// Decodes `bytes` in pieces of these sizes. Returns the positions of the ends of frames, and the
/// error at which the stream ends.
fn frames(
    bytes: &[u8],
    mut sizes: impl Iterator<Item = usize>,
) -> (Vec<usize>, Option<FrameError>) {
    let (mut decoder, mut ends) = (Decoder::new(), Vec::new());
    let (mut rest, mut at) = (bytes, 0);
    while !rest.is_empty() {
        let size = sizes.next().unwrap_or(usize::MAX).min(rest.len());
        let (piece, behind) = rest.split_at(size);
        rest = behind;
        decoder.push(piece);
        let pushed = bytes.len() - rest.len();
        loop {
            assert_eq!(decoder.buffered_bytes(), pushed - at);
            let source = bytes.get(at..).unwrap_or_default();
            match decoder.next_frame() {
                Ok(Some(frame)) => at += check_frame(&frame, source),
                Ok(None) => break,
                Err(error) => return (ends, Some(error)),
            }
            ends.push(at);
        }
        assert!(decoder.buffered_bytes() < LENGTH_BYTES + MAX_FRAME_BYTES);
    }
    (ends, None)
}

/// Checks that a frame encodes to the bytes that it was read from, and returns their number.
fn check_frame(frame: &Frame<'_>, source: &[u8]) -> usize {
    let stated = source.first_chunk().copied().map(u32::from_be_bytes);
    let len = LENGTH_BYTES + usize::try_from(stated.unwrap_or_default()).unwrap_or(usize::MAX);
    let source = source.get(..len).unwrap_or_default();
    let mut again = Vec::new();
    frame.write(&mut again);
    if matches!(frame, Frame::Unknown { .. }) {
        // Its body is not kept.
        let head = LENGTH_BYTES..LENGTH_BYTES + HEAD_BYTES;
        assert_eq!(
            again.get(head.clone()),
            source.get(head),
            "an unknown frame"
        );
    } else {
        assert_eq!(again, source, "a frame");
    }
    if let Frame::Found { number, atoms } = frame
        && let Ok(atoms) = atoms.map(Atom::from_bytes).collect::<Result<Vec<_>, _>>()
    {
        again.clear();
        let mut writer = FoundWriter::new(&mut again, *number);
        let is_written = atoms.iter().all(|atom| writer.push(atom));
        assert!(writer.finish() && is_written, "its atoms fit a frame");
        assert_eq!(again, source, "the atoms of a frame");
    }
    len
}

/// Bytes of one direction.
#[derive(Debug, Default)]
struct Channel {
    transit: Vec<u8>,
    decoder: Decoder,
}

impl Channel {
    fn deliver(&mut self, len: usize) {
        let len = len.min(self.transit.len());
        self.decoder
            .push(self.transit.get(..len).unwrap_or_default());
        self.transit.drain(..len);
    }
}

/// One client and one server, and their connection.
struct Run {
    client: ClientSide,
    server: ServerSide,
    up: Channel,
    down: Channel,
    /// `true` if both sides of this connection and the channel are honest.
    is_honest: bool,
    /// Number of bytes that servers have sent.
    sent: usize,
    reached: Reached,
}

impl Run {
    fn new() -> Self {
        Self {
            client: ClientSide::default(),
            server: ServerSide::default(),
            up: Channel::default(),
            down: Channel::default(),
            is_honest: true,
            sent: 0,
            reached: Reached::default(),
        }
    }

    fn step(&mut self, step: Step<'_>) {
        match step {
            Step::Request(at) => self.client.request(at.list, at.start, &mut self.up.transit),
            Step::Cancel(number) => self.client.cancel(number.get(), &mut self.up.transit),
            Step::Store(number, bytes) => {
                let up = &mut self.up.transit;
                let granted = self.client.store(number.get(), bytes.get(), up);
                self.reached.grants += usize::from(granted);
            }
            Step::Poll(count) => {
                for _ in 0..=count % 16 {
                    self.poll();
                }
            }
            Step::Deliver(direction, bytes) => {
                let len = usize::try_from(bytes.get()).unwrap_or(usize::MAX);
                self.deliver(direction, len);
            }
            Step::Exchange(count) => {
                for _ in 0..=count % 4 {
                    self.deliver(Direction::Up, usize::MAX);
                    self.poll();
                    self.deliver(Direction::Down, usize::MAX);
                }
            }
            Step::Flip(direction, at, bit) => {
                let transit = self.hostile(direction);
                let at = usize::from(at).checked_rem(transit.len());
                if let Some(byte) = at.and_then(|at| transit.get_mut(at)) {
                    *byte ^= 1 << (bit % 8);
                }
            }
            Step::Cut(direction, at) => self.hostile(direction).truncate(at.into()),
            Step::Send(direction, sent) => sent.write(self.hostile(direction)),
            Step::Fail(fails) => self.server.source.fails = fails,
            Step::Reconnect => self.reconnect(),
        }
    }

    /// Returns the bytes in transit, to be changed.
    fn hostile(&mut self, direction: Direction) -> &mut Vec<u8> {
        self.is_honest = false;
        match direction {
            Direction::Up => &mut self.up.transit,
            Direction::Down => &mut self.down.transit,
        }
    }

    fn reconnect(&mut self) {
        let (sent, reached) = (self.sent, self.reached);
        let fails = self.server.source.fails;
        *self = Self {
            sent,
            reached,
            ..Self::new()
        };
        self.server.source.fails = fails;
    }

    /// Lets the server send a frame, if there is room for it.
    fn poll(&mut self) -> bool {
        let before = self.down.transit.len();
        if before >= MAX_TRANSIT_BYTES || self.sent >= MAX_SENT_BYTES {
            return false;
        }
        let polled = self.server.poll(&mut self.down.transit);
        self.sent += self.down.transit.len() - before;
        polled
    }

    /// Lets bytes arrive, and passes the frames that are complete to their receiver. A violation
    /// ends the connection.
    fn deliver(&mut self, direction: Direction, len: usize) {
        let is_intact = match direction {
            Direction::Up => self.deliver_up(len),
            Direction::Down => self.deliver_down(len),
        };
        if !is_intact {
            assert!(!self.is_honest, "a violation between honest sides");
            self.reconnect();
        }
    }

    fn deliver_up(&mut self, len: usize) -> bool {
        self.up.deliver(len);
        loop {
            match self.up.decoder.next_frame() {
                Ok(None) => return true,
                Err(_) => return false,
                Ok(Some(frame)) => {
                    let refusals = self.server.refusals();
                    if !self.server.handle(&frame) {
                        self.reached.violations += 1;
                        return false;
                    }
                    self.reached.refusals += self.server.refusals() - refusals;
                }
            }
        }
    }

    fn deliver_down(&mut self, len: usize) -> bool {
        self.down.deliver(len);
        loop {
            match self.down.decoder.next_frame() {
                Ok(None) => return true,
                Err(_) => return false,
                Ok(Some(frame)) => {
                    if !self.client.handle(&frame, &mut self.reached) {
                        self.reached.lies += 1;
                        return false;
                    }
                }
            }
        }
    }

    /// Checks that all requests of honest sides end.
    fn end(&mut self) {
        self.sent = 0;
        for _ in 0..MAX_ROUNDS {
            if !self.is_honest || self.client.is_idle() {
                return;
            }
            self.deliver(Direction::Up, usize::MAX);
            while self.poll() {}
            self.sent = 0;
            self.deliver(Direction::Down, usize::MAX);
            self.reached.grants += self.client.store_all(&mut self.up.transit);
        }
        panic!("a request between honest sides does not end");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn server_that_exceeds_its_credit_is_reported() {
        let reached = reached(&excess());
        assert_eq!((reached.excesses, reached.lies), (1, 1), "{reached:?}");
    }

    #[test]
    fn promises_hold_for_random_connections() {
        for seed in 0..300 {
            let bytes = Random::new(seed).bytes(300);
            run(&[&[1], &*bytes].concat());
        }
    }
}
