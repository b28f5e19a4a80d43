//! Packets: the content of a datagram.
//!
//! A packet is a nonce of 8 bytes, big-endian, then a message. The nonce is a proof of work
//! ([`pow`]): the receiver requires a number of leading zero bits in `BLAKE3(message ‖ nonce)`.

use super::pow::{self, Progress, Search};
use alloc::vec::Vec;
use core::fmt;

pub use super::pow::NONCE_BYTES;

/// Maximum size of a datagram that an unmodified reference node reads, in bytes; it truncates
/// longer ones.
pub const REFERENCE_MAX_BYTES: usize = 4_096;
/// Maximum payload of a UDP datagram over IPv4, in bytes.
pub const MAX_BYTES: usize = 65_507;

/// Reason why a datagram is not a packet with enough work. The sender is at fault.
///
/// ```
/// use astreum_core::wire::packet::{Packet, PacketError};
/// assert_eq!(Packet::decode(&[0; 8]).err(), Some(PacketError::TooShort { len: 8 }));
/// let packet = Packet::decode(b"\0\0\0\0\0\0\0\0message").unwrap();
/// let (actual, required) = (packet.work(), 256);
/// assert_eq!(packet.check_work(required), Err(PacketError::TooLittleWork { actual, required }));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PacketError {
    /// No message after the nonce.
    TooShort {
        /// Length of the datagram, in bytes.
        len: usize,
    },
    /// Not enough work.
    TooLittleWork {
        /// Leading zero bits of the packet.
        actual: u32,
        /// Required leading zero bits.
        required: u32,
    },
}

impl fmt::Display for PacketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort { len } => write!(
                f,
                "packet of {len} bytes is too short: expected more than {NONCE_BYTES}"
            ),
            Self::TooLittleWork { actual, required } => write!(
                f,
                "insufficient proof of work: {actual} leading zero bits, {required} required"
            ),
        }
    }
}

impl core::error::Error for PacketError {}

/// Nonce and message of a datagram, borrowed.
///
/// ```
/// use astreum_core::wire::packet::{Draft, Packet};
///
/// let mut datagram = Vec::new();
/// let mut draft = Draft::new(&mut datagram);
/// draft.message_mut().extend(b"hello");
/// draft.work(8);
/// let packet = Packet::decode(&datagram).unwrap();
/// assert_eq!(packet.message(), b"hello");
/// assert!(packet.work() >= 8);
/// assert_eq!(packet.nonce().to_be_bytes(), datagram[..8]);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet<'b> {
    nonce: u64,
    message: &'b [u8],
}

impl<'b> Packet<'b> {
    /// Splits a datagram. Does not check the work: see [`Packet::check_work`].
    ///
    /// # Errors
    /// Returns [`PacketError::TooShort`] if there is no message.
    pub fn decode(datagram: &'b [u8]) -> Result<Self, PacketError> {
        match datagram.split_first_chunk::<NONCE_BYTES>() {
            Some((nonce, message)) if !message.is_empty() => Ok(Self {
                nonce: u64::from_be_bytes(*nonce),
                message,
            }),
            _ => Err(PacketError::TooShort {
                len: datagram.len(),
            }),
        }
    }

    /// Creates a packet from a nonce and the bytes of a message, which are not empty.
    #[must_use]
    pub const fn from_parts(nonce: u64, message: &'b [u8]) -> Self {
        Self { nonce, message }
    }

    /// Returns the nonce.
    #[must_use]
    pub const fn nonce(&self) -> u64 {
        self.nonce
    }

    /// Returns the bytes of the message, at least one.
    #[must_use]
    pub const fn message(&self) -> &'b [u8] {
        self.message
    }

    /// Returns the work, in leading zero bits. Hashes the message.
    #[must_use]
    pub fn work(&self) -> u32 {
        pow::work_bits(self.message, self.nonce)
    }

    /// Checks the proof of work. Hashes the message unless `required` is 0.
    ///
    /// ```
    /// use astreum_core::wire::packet::Packet;
    /// let packet = Packet::decode(b"\0\0\0\0\0\0\0\0message").unwrap();
    /// assert!(packet.check_work(packet.work()).is_ok());
    /// assert!(packet.check_work(packet.work() + 1).is_err());
    /// ```
    ///
    /// # Errors
    /// Returns [`PacketError::TooLittleWork`] if there are fewer than `required` leading zero bits.
    pub fn check_work(&self, required: u32) -> Result<(), PacketError> {
        if required == 0 {
            return Ok(());
        }
        let actual = self.work();
        if actual >= required {
            Ok(())
        } else {
            Err(PacketError::TooLittleWork { actual, required })
        }
    }
}

/// Packet under construction in the buffer of the caller: space for the nonce, then the message.
///
/// ```
/// use astreum_core::wire::packet::{Draft, Packet};
///
/// let mut buffer = Vec::new();
/// let mut draft = Draft::new(&mut buffer);
/// draft.message_mut().extend_from_slice(b"a message");
/// draft.work(4);
/// assert_eq!(Packet::decode(&buffer).map(|packet| packet.check_work(4)), Ok(Ok(())));
/// ```
#[derive(Debug)]
pub struct Draft<'b> {
    buffer: &'b mut Vec<u8>,
}

impl<'b> Draft<'b> {
    /// Clears `buffer` and reserves space for the nonce, which is 0 until it is set.
    #[must_use]
    pub fn new(buffer: &'b mut Vec<u8>) -> Self {
        buffer.clear();
        buffer.extend_from_slice(&[0; NONCE_BYTES]);
        Self { buffer }
    }

    /// Resumes a packet that is complete except for its nonce.
    ///
    /// ```
    /// use astreum_core::wire::packet::{Draft, Packet};
    /// let mut datagram = b"\0\0\0\0\0\0\0\0message".to_vec();
    /// let mut draft = Draft::resume(&mut datagram).unwrap();
    /// assert_eq!(draft.message(), b"message");
    /// draft.set_nonce(7);
    /// assert_eq!(Packet::decode(&datagram).unwrap().nonce(), 7);
    /// ```
    ///
    /// # Errors
    /// Fails as [`Packet::decode`] does.
    pub fn resume(buffer: &'b mut Vec<u8>) -> Result<Self, PacketError> {
        Packet::decode(buffer)?;
        Ok(Self { buffer })
    }

    /// Returns the buffer for appending the message. The bytes that it already has must not be
    /// changed.
    pub const fn message_mut(&mut self) -> &mut Vec<u8> {
        self.buffer
    }

    /// Returns the message as written so far.
    #[must_use]
    pub fn message(&self) -> &[u8] {
        self.buffer.get(NONCE_BYTES..).unwrap_or_default()
    }

    /// Sets a nonce that was found by another search.
    pub fn set_nonce(&mut self, nonce: u64) {
        if let Some(field) = self.buffer.first_chunk_mut::<NONCE_BYTES>() {
            *field = nonce.to_be_bytes();
        }
    }

    /// Searches for the first nonce with enough work, from 0, and sets it. Takes `2^difficulty`
    /// hashes on average: only for small difficulties; use [`Search`] for larger ones.
    pub fn work(&mut self, difficulty: u32) {
        let mut search = Search::new(self.message(), difficulty);
        // A search that tries all 2^64 nonces has a large difficulty and is not expected here.
        if let Progress::Found(nonce) = search.run(u64::MAX) {
            self.set_nonce(nonce);
        }
    }

    /// Tries at most `attempts` nonces from 0 and sets the first one that has enough work. Returns
    /// `false` if none has; the caller then searches elsewhere.
    ///
    /// ```
    /// use astreum_core::wire::packet::Draft;
    /// let mut datagram = Vec::new();
    /// let mut draft = Draft::new(&mut datagram);
    /// draft.message_mut().extend(b"message");
    /// assert!(!draft.try_work(64, 10));
    /// assert!(draft.try_work(4, 10_000));
    /// ```
    pub fn try_work(&mut self, difficulty: u32, attempts: u64) -> bool {
        let mut search = Search::new(self.message(), difficulty);
        match search.run(attempts) {
            Progress::Found(nonce) => {
                self.set_nonce(nonce);
                true
            }
            Progress::Pending | Progress::Exhausted => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    #[test]
    fn splits_golden_bytes() {
        let datagram = [0, 0, 0, 0, 0, 0, 1, 2, 9, 8];
        let packet = Packet::decode(&datagram).unwrap();
        assert_eq!((packet.nonce(), packet.message()), (0x102, &[9, 8][..]));
    }

    #[test]
    fn nonce_alone_is_not_a_packet() {
        for len in 0..=NONCE_BYTES {
            assert_eq!(
                Packet::decode(&vec![0; len]),
                Err(PacketError::TooShort { len })
            );
        }
    }

    #[test]
    fn work_hashes_the_message_followed_by_the_nonce() {
        // Checked against the reference: a search starts at nonce 0.
        let mut buffer = Vec::new();
        Draft::new(&mut buffer).message_mut().push(b'x');
        let mut draft = Draft::resume(&mut buffer).unwrap();
        assert!(!draft.try_work(200, 50));
        assert!(draft.try_work(8, 1 << 20));
        let packet = Packet::decode(&buffer).unwrap();
        let hash = blake3::hash(&[b"x".as_slice(), &packet.nonce().to_be_bytes()].concat());
        assert_eq!(hash.as_bytes()[0], 0);
        assert_eq!(packet.check_work(8), Ok(()));
        let actual = packet.work();
        assert_eq!(
            packet.check_work(actual + 1),
            Err(PacketError::TooLittleWork {
                actual,
                required: actual + 1
            })
        );
        assert_eq!(packet.check_work(0), Ok(()));
    }

    proptest! {
        #[test]
        fn drafts_decode(message in proptest::collection::vec(any::<u8>(), 1..100), nonce: u64) {
            let mut buffer = vec![1, 2, 3];
            let mut draft = Draft::new(&mut buffer);
            draft.message_mut().extend_from_slice(&message);
            prop_assert_eq!(draft.message(), &message);
            draft.set_nonce(nonce);
            prop_assert_eq!(Packet::decode(&buffer), Ok(Packet { nonce, message: &message }));
        }

        #[test]
        fn any_bytes_decode_or_fail(datagram in proptest::collection::vec(any::<u8>(), 0..40)) {
            match Packet::decode(&datagram) {
                Ok(packet) => {
                    let nonce = packet.nonce().to_be_bytes();
                    prop_assert_eq!([&nonce, packet.message()].concat(), datagram);
                }
                Err(error) => prop_assert_eq!(error, PacketError::TooShort { len: datagram.len() }),
            }
        }
    }
}
