//! Frames of the control socket, without I/O.
//!
//! ```text
//! length: u32, big endian, number of bytes of kind and body | kind: u8 | body
//! kind 0: one JSON-RPC 2.0 message
//! kind 1: number of a transfer: u32, big endian | bytes of that transfer; none end it
//! ```
//!
//! Invariants:
//! - A frame that a [`FrameReader`] returns is within [`MAX_MESSAGE_BYTES`] or
//!   [`MAX_TRANSFER_BYTES`]; [`encode_message`] and [`encode_transfer`] produce no other.
//! - The buffer of a reader has at most twice the size of the part of its frame that has arrived,
//!   or 64 KiB that are kept from an earlier frame; a length that a header claims is not reserved.
//! - After an error a reader takes no more bytes: the connection has to be closed.

use core::fmt;

/// Maximum size in bytes of a message.
pub const MAX_MESSAGE_BYTES: usize = 4 << 20;
/// Maximum number of bytes of a transfer in one frame, without the number of the transfer.
pub const MAX_TRANSFER_BYTES: usize = 256 << 10;
/// Size in bytes of a frame's length and kind.
const HEADER_BYTES: usize = 5;
/// Size in bytes of a frame's length.
const LENGTH_BYTES: usize = 4;
/// Size in bytes of the number of a transfer.
const TRANSFER_NUMBER_BYTES: usize = 4;
/// Maximum number of bytes of kind and body.
const MAX_FRAME_BYTES: usize = 1 + MAX_MESSAGE_BYTES;
/// Capacity of a buffer that is kept for the next frame.
const KEPT_BYTES: usize = 64 << 10;

const MESSAGE: u8 = 0;
const TRANSFER: u8 = 1;
/// First byte of every request and reply of the earlier protocol, one JSON object per line.
const OLD_PROTOCOL: u8 = b'{';

// The first byte of a length is 0, so that a frame cannot be taken for a line of the old protocol.
const _: () = assert!(MAX_FRAME_BYTES < 1 << 24);
const _: () = assert!(1 + TRANSFER_NUMBER_BYTES + MAX_TRANSFER_BYTES <= MAX_FRAME_BYTES);

/// Frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame {
    /// JSON-RPC message.
    Message(Vec<u8>),
    /// Bytes of a transfer.
    Transfer {
        /// Number of the transfer.
        number: u32,
        /// Bytes; none end the transfer.
        bytes: Vec<u8>,
    },
}

/// Reason the input is not a sequence of frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FrameError {
    /// The length is 0, so that there is no kind.
    Empty,
    /// The length is larger than that of any frame of its kind.
    TooLong {
        /// Length of kind and body in bytes.
        length: u32,
    },
    /// The kind is unknown.
    UnknownKind(u8),
    /// The frame is shorter than the number of its transfer.
    NoTransferNumber,
    /// The input starts like the earlier line-based protocol.
    OldProtocol,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("invalid frame: its length is 0"),
            Self::TooLong { length } => write!(
                f,
                "invalid frame: its length is {length} bytes; a message has at most \
                 {MAX_MESSAGE_BYTES} bytes, and a part of a transfer {MAX_TRANSFER_BYTES}"
            ),
            Self::UnknownKind(kind) => write!(f, "invalid frame: unknown kind {kind}"),
            Self::NoTransferNumber => {
                f.write_str("invalid frame: it is shorter than the number of its transfer")
            }
            Self::OldProtocol => f.write_str(
                "the protocol changed: this side takes JSON-RPC 2.0 messages in length-prefixed \
                 frames, not one JSON object per line",
            ),
        }
    }
}

impl core::error::Error for FrameError {}

/// State of a reader between two bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// In the header, of which this many bytes have arrived.
    Header(usize),
    /// In the body, of which this many bytes are missing.
    Body(usize),
    /// The input is invalid.
    Failed(FrameError),
}

/// Reader of frames from pieces of any size.
#[derive(Clone, Debug)]
pub struct FrameReader {
    state: State,
    is_first: bool,
    header: [u8; HEADER_BYTES],
    body: Vec<u8>,
}

impl Default for FrameReader {
    fn default() -> Self {
        Self::new()
    }
}

impl FrameReader {
    /// Creates a reader at the start of its input.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            state: State::Header(0),
            is_first: true,
            header: [0; HEADER_BYTES],
            body: Vec::new(),
        }
    }

    /// Returns whether the input so far ends between two frames.
    #[must_use]
    pub const fn is_between_frames(&self) -> bool {
        matches!(self.state, State::Header(0))
    }

    /// Takes bytes from the start of `input`, at most up to the end of a frame, and returns that
    /// frame once it is complete.
    ///
    /// # Errors
    /// Fails as soon as the input cannot become a frame, and from then on.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<Option<Frame>, FrameError> {
        loop {
            match self.state {
                State::Failed(error) => return Err(error),
                State::Header(have) => {
                    let Some((&byte, rest)) = input.split_first() else {
                        return Ok(None);
                    };
                    *input = rest;
                    if let Some(slot) = self.header.get_mut(have) {
                        *slot = byte;
                    }
                    self.state = self
                        .after_header_byte(have + 1)
                        .unwrap_or_else(State::Failed);
                    self.is_first = false;
                }
                State::Body(missing) => {
                    let (taken, rest) = input.split_at(missing.min(input.len()));
                    self.body.extend_from_slice(taken);
                    *input = rest;
                    let missing = missing - taken.len();
                    if missing > 0 {
                        self.state = State::Body(missing);
                        return Ok(None);
                    }
                    match self.complete() {
                        Ok(frame) => {
                            self.state = State::Header(0);
                            return Ok(Some(frame));
                        }
                        Err(error) => self.state = State::Failed(error),
                    }
                }
            }
        }
    }

    /// Returns the state once `have` bytes of the header have arrived.
    fn after_header_byte(&self, have: usize) -> Result<State, FrameError> {
        let [a, b, c, d, kind] = self.header;
        if have == 1 && self.is_first && a == OLD_PROTOCOL {
            return Err(FrameError::OldProtocol);
        }
        if have < LENGTH_BYTES {
            return Ok(State::Header(have));
        }
        let length = u32::from_be_bytes([a, b, c, d]);
        let too_long = FrameError::TooLong { length };
        let bytes = usize::try_from(length).map_err(|_| too_long)?;
        let body = bytes.checked_sub(1).ok_or(FrameError::Empty)?;
        if bytes > MAX_FRAME_BYTES {
            return Err(too_long);
        }
        if have < HEADER_BYTES {
            return Ok(State::Header(have));
        }
        match kind {
            MESSAGE => Ok(State::Body(body)),
            TRANSFER if body < TRANSFER_NUMBER_BYTES => Err(FrameError::NoTransferNumber),
            TRANSFER if body > TRANSFER_NUMBER_BYTES + MAX_TRANSFER_BYTES => Err(too_long),
            TRANSFER => Ok(State::Body(body)),
            other => Err(FrameError::UnknownKind(other)),
        }
    }

    fn complete(&mut self) -> Result<Frame, FrameError> {
        let [.., kind] = self.header;
        if kind == MESSAGE {
            return Ok(Frame::Message(core::mem::take(&mut self.body)));
        }
        let (number, bytes) = self
            .body
            .split_first_chunk::<TRANSFER_NUMBER_BYTES>()
            .ok_or(FrameError::NoTransferNumber)?;
        let frame = Frame::Transfer {
            number: u32::from_be_bytes(*number),
            bytes: bytes.to_vec(),
        };
        self.body.clear();
        self.body.shrink_to(KEPT_BYTES);
        Ok(frame)
    }
}

/// Returns the frame of a message; `None` if it is longer than [`MAX_MESSAGE_BYTES`].
#[must_use]
pub fn encode_message(message: &[u8]) -> Option<Vec<u8>> {
    if message.len() > MAX_MESSAGE_BYTES {
        return None;
    }
    frame(MESSAGE, &[message])
}

/// Returns the frame of a transfer's bytes; `None` if there are more than [`MAX_TRANSFER_BYTES`].
#[must_use]
pub fn encode_transfer(number: u32, bytes: &[u8]) -> Option<Vec<u8>> {
    if bytes.len() > MAX_TRANSFER_BYTES {
        return None;
    }
    frame(TRANSFER, &[&number.to_be_bytes(), bytes])
}

fn frame(kind: u8, parts: &[&[u8]]) -> Option<Vec<u8>> {
    let body: usize = parts.iter().map(|part| part.len()).sum();
    let length = u32::try_from(1 + body).ok()?;
    let mut frame = Vec::with_capacity(HEADER_BYTES + body);
    frame.extend_from_slice(&length.to_be_bytes());
    frame.push(kind);
    for part in parts {
        frame.extend_from_slice(part);
    }
    Some(frame)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reads input that arrives in pieces; returns the frames, and the error if there is one.
    fn read(pieces: &[&[u8]]) -> (Vec<Frame>, Result<FrameReader, FrameError>) {
        let (mut reader, mut frames) = (FrameReader::new(), Vec::new());
        for piece in pieces {
            let mut input = *piece;
            loop {
                match reader.read(&mut input) {
                    Ok(Some(frame)) => frames.push(frame),
                    Ok(None) => break,
                    Err(error) => return (frames, Err(error)),
                }
            }
            assert!(input.is_empty(), "all input is taken");
        }
        (frames, Ok(reader))
    }

    fn error_of(input: &[u8]) -> Option<FrameError> {
        let whole = read(&[input]).1.err();
        let bytes: Vec<&[u8]> = input.chunks(1).collect();
        assert_eq!(
            read(&bytes).1.err(),
            whole,
            "the error does not depend on the pieces"
        );
        whole
    }

    #[test]
    fn frames_are_the_same_for_every_split_of_the_input() {
        let expected = [
            Frame::Message(b"{}".to_vec()),
            Frame::Message(Vec::new()),
            Frame::Transfer {
                number: 0x0102_0304,
                bytes: b"abc".to_vec(),
            },
            Frame::Transfer {
                number: 7,
                bytes: Vec::new(),
            },
        ];
        let input = [
            encode_message(b"{}").unwrap(),
            encode_message(b"").unwrap(),
            encode_transfer(0x0102_0304, b"abc").unwrap(),
            encode_transfer(7, b"").unwrap(),
        ]
        .concat();
        assert_eq!(input[..7], *b"\0\0\0\x03\0{}");
        assert_eq!(input[12..24], *b"\0\0\0\x08\x01\x01\x02\x03\x04abc");
        for at in 0..=input.len() {
            for end in at..=input.len() {
                let (frames, reader) = read(&[&input[..at], &input[at..end], &input[end..]]);
                assert_eq!(frames, expected, "split at {at} and {end}");
                assert!(reader.unwrap().is_between_frames());
            }
        }
        for len in 1..input.len() {
            let (frames, reader) = read(&[&input[..len]]);
            assert_eq!(frames, expected[..frames.len()]);
            let ends = [7, 12, 24];
            assert_eq!(reader.unwrap().is_between_frames(), ends.contains(&len));
        }
    }

    #[test]
    fn lengths_are_checked_before_anything_is_stored() {
        let header = |length: usize, kind: u8| {
            let length = u32::try_from(length).unwrap().to_be_bytes();
            [&length[..], &[kind]].concat()
        };
        assert_eq!(error_of(&[0; 4]), Some(FrameError::Empty));
        let length = u32::MAX;
        assert_eq!(error_of(&[0xff; 4]), Some(FrameError::TooLong { length }));
        let longest = MAX_FRAME_BYTES;
        assert_eq!(error_of(&header(longest, MESSAGE)), None);
        let over = header(longest + 1, MESSAGE);
        assert!(matches!(error_of(&over), Some(FrameError::TooLong { .. })));
        let longest = 1 + TRANSFER_NUMBER_BYTES + MAX_TRANSFER_BYTES;
        assert_eq!(error_of(&header(longest, TRANSFER)), None);
        let over = header(longest + 1, TRANSFER);
        assert!(matches!(error_of(&over), Some(FrameError::TooLong { .. })));
        let short = header(TRANSFER_NUMBER_BYTES, TRANSFER);
        assert_eq!(error_of(&short), Some(FrameError::NoTransferNumber));
        for kind in 2..=u8::MAX {
            let error = error_of(&header(9, kind));
            assert_eq!(error, Some(FrameError::UnknownKind(kind)));
        }
        let mut reader = FrameReader::new();
        let mut input = &header(MAX_FRAME_BYTES, MESSAGE)[..];
        assert_eq!(reader.read(&mut input), Ok(None));
        assert_eq!(
            reader.body.capacity(),
            0,
            "a claimed length is not reserved"
        );
    }

    #[test]
    fn longest_message_passes_and_longer_ones_are_not_encoded() {
        let message = vec![b'x'; MAX_MESSAGE_BYTES];
        let input = encode_message(&message).unwrap();
        let (frames, _) = read(&[&input]);
        assert_eq!(frames, [Frame::Message(message)]);
        assert_eq!(encode_message(&vec![0; MAX_MESSAGE_BYTES + 1]), None);
        assert_eq!(encode_transfer(1, &vec![0; MAX_TRANSFER_BYTES + 1]), None);
    }

    #[test]
    fn old_protocol_line_is_recognized_at_the_start_only() {
        assert_eq!(
            error_of(b"{\"cmd\":\"status\"}\n"),
            Some(FrameError::OldProtocol)
        );
        let later = [encode_message(b"{}").unwrap(), b"{\"cm".to_vec()].concat();
        assert!(matches!(error_of(&later), Some(FrameError::TooLong { .. })));
    }

    #[test]
    fn frame_errors_are_final() {
        let mut reader = FrameReader::new();
        let mut input = &b"garbage"[..];
        let error = reader.read(&mut input).unwrap_err();
        let valid = encode_message(b"{}").unwrap();
        assert_eq!(reader.read(&mut &valid[..]), Err(error));
    }

    proptest! {
        #[test]
        fn arbitrary_input_reads_the_same_in_pieces_as_at_once(
            input in proptest::collection::vec(prop_oneof![Just(0_u8), any::<u8>(), 0..4_u8], 0..60),
            at in 0..60_usize,
        ) {
            let (first, second) = input.split_at(at.min(input.len()));
            let (whole, pieces) = (read(&[&input]), read(&[first, second]));
            prop_assert_eq!(whole.0, pieces.0);
            prop_assert_eq!(whole.1.err(), pieces.1.err());
        }
    }
}
