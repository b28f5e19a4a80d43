//! Messages: a header in the clear, then the payload of a handshake, or sealed content.
//!
//! `flag (1: 1 handshake, anything else sealed) ‖ sender's key (32) ‖ port u16 BE ‖ rest`; the rest
//! of a sealed message is `nonce (12) ‖ ChaCha20-Poly1305(topic byte ‖ content)` (reference:
//! `communication/models/message.py`). The header is not authenticated: a relay of a sealed message
//! can change its port, and all 255 other flags mean "sealed". A decoded flag is therefore not
//! kept, and is written as 0.

use super::read::{take, take_byte, take_u16};
use crate::crypto::{Nonce, PublicKey, SEAL_NONCE_BYTES, SealTooLong, SharedKey};
use alloc::vec::Vec;
use core::fmt;
use core::num::NonZeroU16;

/// Size of the header (flag, key, port), in bytes.
pub const HEADER_BYTES: usize = 35;
/// Minimum size of a sealed message after its header, in bytes: a nonce and one byte.
const MIN_SEALED_BYTES: usize = SEAL_NONCE_BYTES + 1;
/// Flag of a handshake.
const HANDSHAKE_FLAG: u8 = 1;
/// Flag that is written for sealed content.
const SEALED_FLAG: u8 = 0;

/// Type of sealed content.
///
/// ```
/// use astreum_core::wire::message::Topic;
/// assert_eq!(Topic::from_code(0), Some(Topic::Ping));
/// assert_eq!(Topic::from_code(6), None);
/// assert!(Topic::ALL.iter().all(|topic| Topic::from_code(topic.code()) == Some(*topic)));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Topic {
    /// A [`Ping`](super::ping::Ping).
    Ping = 0,
    /// An object [`Request`](super::object::Request).
    ObjectRequest = 1,
    /// An object [`Response`](super::object::Response).
    ObjectResponse = 2,
    /// A [`RouteTable`](super::route_message::RouteTable) whose peers are requested.
    RouteRequest = 3,
    /// Addresses of peers.
    RouteResponse = 4,
    /// Id of a transaction.
    Transaction = 5,
}

impl Topic {
    /// All topics, in the order of their codes.
    pub const ALL: [Self; 6] = [
        Self::Ping,
        Self::ObjectRequest,
        Self::ObjectResponse,
        Self::RouteRequest,
        Self::RouteResponse,
        Self::Transaction,
    ];

    /// Returns the topic with this code, or `None` if the code is unknown.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// Returns the code, which is the byte in front of the content.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Ping => 0,
            Self::ObjectRequest => 1,
            Self::ObjectResponse => 2,
            Self::RouteRequest => 3,
            Self::RouteResponse => 4,
            Self::Transaction => 5,
        }
    }
}

/// Reason why bytes are not a message. The sender is at fault.
///
/// ```
/// use astreum_core::wire::message::{Message, MessageError};
/// let error = Message::decode(&[0; 34]).err();
/// assert_eq!(error, Some(MessageError::HeaderTooShort { len: 34 }));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MessageError {
    /// Fewer than the 35 bytes of the header.
    HeaderTooShort {
        /// Length of the input, in bytes.
        len: usize,
    },
    /// Not a handshake, and too short after the header for a nonce and sealed content.
    SealedTooShort {
        /// Length of the input after the header, in bytes.
        len: usize,
    },
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HeaderTooShort { len } => write!(
                f,
                "message of {len} bytes is too short: expected a header of {HEADER_BYTES}"
            ),
            Self::SealedTooShort { len } => write!(
                f,
                "sealed part of {len} bytes is too short: expected at least {MIN_SEALED_BYTES}"
            ),
        }
    }
}

impl core::error::Error for MessageError {}

/// Reason why sealed content cannot be read.
///
/// ```
/// use astreum_core::crypto::{SecretKey, SharedKey};
/// use astreum_core::wire::message::{Body, ContentError, Envelope, Message, Topic};
///
/// let sender = SecretKey::from_bytes([1; 32]).public_key();
/// let key = &SharedKey::from_bytes([7; 32]);
/// let mut bytes = Vec::new();
/// Envelope { sender, port: 1, key, nonce: [3; 12] }.write(&mut bytes, Topic::Ping, b"")?;
/// let Body::Sealed(sealed) = Message::decode(&bytes)?.body else {
///     panic!("a handshake");
/// };
/// let (other, mut content) = (SharedKey::from_bytes([8; 32]), Vec::new());
/// assert_eq!(sealed.open(&other, &mut content), Err(ContentError::NotAuthentic));
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ContentError {
    /// Not sealed with this key, or changed in transit. Also seen from a peer that has not
    /// received our handshake.
    NotAuthentic,
    /// Authentic, but without even a topic.
    Empty,
    /// Authentic, but with an unknown topic.
    UnknownTopic {
        /// Code of the topic.
        code: u8,
    },
}

impl fmt::Display for ContentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAuthentic => f.write_str("content is not authentic under the shared key"),
            Self::Empty => f.write_str("content without a topic"),
            Self::UnknownTopic { code } => write!(f, "unknown topic {code}"),
        }
    }
}

impl core::error::Error for ContentError {}

/// Header of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Key of the sender, as claimed by the message.
    pub sender: PublicKey,
    /// Port at which the sender claims to listen. 0 reads as `None`.
    pub port: Option<NonZeroU16>,
    /// `true` if the message is a handshake, `false` if its content is sealed.
    pub is_handshake: bool,
}

/// Header and body of a message, borrowed.
///
/// ```
/// use astreum_core::crypto::SecretKey;
/// use astreum_core::wire::message::{Body, Message, write_handshake};
///
/// let sender = SecretKey::from_bytes([1; 32]).public_key();
/// let mut bytes = Vec::new();
/// write_handshake(&mut bytes, &sender, 52_780, b"payload");
/// let message = Message::decode(&bytes).unwrap();
/// assert_eq!((message.sender, message.port.map(|port| port.get())), (sender, Some(52_780)));
/// assert!(matches!(message.body, Body::Handshake(b"payload")));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message<'b> {
    /// Key of the sender, as claimed by the message. Authentic once sealed content has been opened.
    pub sender: PublicKey,
    /// Port at which the sender claims to listen; never authentic. 0 reads as `None`.
    pub port: Option<NonZeroU16>,
    /// Content after the header.
    pub body: Body<'b>,
}

/// Content of a message after its header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Body<'b> {
    /// A handshake with its payload, in the clear.
    Handshake(&'b [u8]),
    /// Sealed content.
    Sealed(Sealed<'b>),
}

impl<'b> Message<'b> {
    /// Reads a message, without the nonce of the packet.
    ///
    /// # Errors
    /// Fails if the bytes are too short for a header, or for sealed content.
    pub fn decode(bytes: &'b [u8]) -> Result<Self, MessageError> {
        let too_short = MessageError::HeaderTooShort { len: bytes.len() };
        let mut rest = bytes;
        let flag = take_byte(&mut rest).ok_or(too_short)?;
        let sender = PublicKey::new(*take(&mut rest).ok_or(too_short)?);
        let port = NonZeroU16::new(take_u16(&mut rest).ok_or(too_short)?);
        let header = Header {
            sender,
            port,
            is_handshake: flag == HANDSHAKE_FLAG,
        };
        Self::with_header(header, bytes)
    }

    /// Returns the message whose header has been read from `bytes` before.
    ///
    /// # Errors
    /// Fails as [`Message::decode`] does.
    pub fn with_header(header: Header, bytes: &'b [u8]) -> Result<Self, MessageError> {
        let too_short = MessageError::HeaderTooShort { len: bytes.len() };
        let rest = bytes.get(HEADER_BYTES..).ok_or(too_short)?;
        let body = if header.is_handshake {
            Body::Handshake(rest)
        } else {
            Body::Sealed(Sealed::split(rest)?)
        };
        let Header { sender, port, .. } = header;
        Ok(Self { sender, port, body })
    }

    /// Returns the header.
    #[must_use]
    pub const fn header(&self) -> Header {
        Header {
            sender: self.sender,
            port: self.port,
            is_handshake: matches!(self.body, Body::Handshake(_)),
        }
    }
}

/// Content that is still sealed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sealed<'b> {
    nonce: &'b Nonce,
    text: &'b [u8],
}

impl<'b> Sealed<'b> {
    fn split(rest: &'b [u8]) -> Result<Self, MessageError> {
        match rest.split_first_chunk::<SEAL_NONCE_BYTES>() {
            Some((nonce, text)) if !text.is_empty() => Ok(Self { nonce, text }),
            _ => Err(MessageError::SealedTooShort { len: rest.len() }),
        }
    }

    /// Returns the nonce that the sender chose. Sender and nonce together identify the message in
    /// replay checks.
    #[must_use]
    pub const fn nonce(&self) -> &'b Nonce {
        self.nonce
    }

    /// Decrypts the content into `out`, which is cleared first; returns the topic and the content.
    ///
    /// # Errors
    /// Fails if the content is not authentic under `key`, is empty, or has an unknown topic.
    pub fn open<'o>(
        &self,
        key: &SharedKey,
        out: &'o mut Vec<u8>,
    ) -> Result<(Topic, &'o [u8]), ContentError> {
        out.clear();
        key.open_to(self.nonce, self.text, out)
            .map_err(|_| ContentError::NotAuthentic)?;
        let (&code, content) = out.split_first().ok_or(ContentError::Empty)?;
        let topic = Topic::from_code(code).ok_or(ContentError::UnknownTopic { code })?;
        Ok((topic, content))
    }
}

fn write_header(out: &mut Vec<u8>, flag: u8, sender: &PublicKey, port: u16) {
    out.push(flag);
    out.extend_from_slice(sender.as_bytes());
    out.extend_from_slice(&port.to_be_bytes());
}

/// Appends a handshake to `out`.
///
/// ```
/// use astreum_core::crypto::PublicKey;
/// use astreum_core::wire::message::{HEADER_BYTES, write_handshake};
/// let mut bytes = Vec::new();
/// write_handshake(&mut bytes, &PublicKey::new([7; 32]), 0x1234, &[]);
/// assert_eq!(bytes.len(), HEADER_BYTES);
/// assert_eq!((bytes[0], &bytes[33..]), (1, [0x12, 0x34].as_slice()));
/// ```
pub fn write_handshake(out: &mut Vec<u8>, sender: &PublicKey, port: u16, payload: &[u8]) {
    write_header(out, HANDSHAKE_FLAG, sender, port);
    out.extend_from_slice(payload);
}

/// Parts of a sealed message besides its content.
///
/// ```
/// use astreum_core::crypto::SecretKey;
/// use astreum_core::wire::message::{Body, Envelope, Message, Topic};
///
/// let (ours, theirs) = (SecretKey::from_bytes([1; 32]), SecretKey::from_bytes([2; 32]));
/// let envelope = Envelope {
///     sender: ours.public_key(),
///     port: 52_780,
///     key: &ours.agree(&theirs.public_key())?,
///     nonce: [3; 12],
/// };
/// let mut bytes = Vec::new();
/// envelope.write(&mut bytes, Topic::Ping, b"hello")?;
///
/// // The receiver derives the same key from the sender in the header.
/// let message = Message::decode(&bytes)?;
/// let Body::Sealed(sealed) = message.body else {
///     panic!("a handshake");
/// };
/// let shared = theirs.agree(&message.sender)?;
/// let mut opened = Vec::new();
/// assert_eq!(sealed.open(&shared, &mut opened)?, (Topic::Ping, &b"hello"[..]));
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'k> {
    /// Our key.
    pub sender: PublicKey,
    /// Port at which we listen.
    pub port: u16,
    /// Key that is shared with the receiver.
    pub key: &'k SharedKey,
    /// Nonce. Neither side may use it twice with `key`.
    pub nonce: Nonce,
}

impl Envelope<'_> {
    /// Appends a sealed message to `out`; `write` appends the content, and nothing else.
    ///
    /// ```
    /// use astreum_core::crypto::{PublicKey, SharedKey};
    /// use astreum_core::wire::message::{Envelope, Topic};
    ///
    /// let key = &SharedKey::from_bytes([7; 32]);
    /// let envelope = Envelope { sender: PublicKey::new([1; 32]), port: 1, key, nonce: [3; 12] };
    /// let (mut copied, mut in_place) = (Vec::new(), Vec::new());
    /// envelope.write(&mut copied, Topic::Ping, b"hello").unwrap();
    /// envelope.write_with(&mut in_place, Topic::Ping, |out| out.extend(b"hello")).unwrap();
    /// assert_eq!(copied, in_place);
    /// ```
    ///
    /// # Errors
    /// Returns [`SealTooLong`] if the content is longer than the cipher allows; such content does
    /// not fit into a datagram.
    pub fn write_with(
        &self,
        out: &mut Vec<u8>,
        topic: Topic,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), SealTooLong> {
        write_header(out, SEALED_FLAG, &self.sender, self.port);
        out.extend_from_slice(&self.nonce);
        let start = out.len();
        out.push(topic.code());
        write(out);
        let text = out.get_mut(start..).unwrap_or_default();
        let tag = self.key.seal(&self.nonce, text)?;
        out.extend_from_slice(&tag);
        Ok(())
    }

    /// Appends a sealed message with this content to `out`.
    ///
    /// # Errors
    /// Fails as [`Envelope::write_with`] does.
    pub fn write(
        &self,
        out: &mut Vec<u8>,
        topic: Topic,
        content: &[u8],
    ) -> Result<(), SealTooLong> {
        self.write_with(out, topic, |out| out.extend_from_slice(content))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{SecretKey, TAG_BYTES};
    use alloc::vec;
    use proptest::prelude::*;

    fn keys() -> (SecretKey, SecretKey) {
        (
            SecretKey::from_bytes([1; 32]),
            SecretKey::from_bytes([2; 32]),
        )
    }

    fn sealed(topic: Topic, content: &[u8], nonce: Nonce) -> Vec<u8> {
        let (ours, theirs) = keys();
        let key = ours.agree(&theirs.public_key()).unwrap();
        let envelope = Envelope {
            sender: ours.public_key(),
            port: 4_000,
            key: &key,
            nonce,
        };
        let mut out = vec![];
        envelope.write(&mut out, topic, content).unwrap();
        out
    }

    fn open(bytes: &[u8]) -> Result<(Topic, Vec<u8>), ContentError> {
        let (ours, theirs) = keys();
        let Ok(Message {
            body: Body::Sealed(sealed),
            sender,
            ..
        }) = Message::decode(bytes)
        else {
            panic!("not sealed");
        };
        let key = theirs.agree(&sender).unwrap();
        assert_eq!(sender, ours.public_key());
        let mut out = vec![0xee; 3];
        sealed
            .open(&key, &mut out)
            .map(|(topic, content)| (topic, content.to_vec()))
    }

    #[test]
    fn handshake_golden_bytes() {
        let mut out = vec![];
        write_handshake(&mut out, &PublicKey::new([0xab; 32]), 0xce2c, &[1, 2]);
        let mut golden = vec![1];
        golden.extend_from_slice(&[0xab; 32]);
        golden.extend_from_slice(&[0xce, 0x2c, 1, 2]);
        assert_eq!(out, golden);
        assert_eq!(
            Message::decode(&out),
            Ok(Message {
                sender: PublicKey::new([0xab; 32]),
                port: NonZeroU16::new(0xce2c),
                body: Body::Handshake(&[1, 2]),
            })
        );
    }

    #[test]
    fn short_messages_are_rejected_with_the_missing_part() {
        for flag in [0, 1, 7] {
            let mut bytes = vec![flag; 34];
            assert_eq!(
                Message::decode(&bytes),
                Err(MessageError::HeaderTooShort { len: 34 })
            );
            bytes.resize(HEADER_BYTES + 12, flag);
            let decoded = Message::decode(&bytes);
            if flag == 1 {
                assert!(decoded.is_ok());
                assert!(Message::decode(&bytes[..HEADER_BYTES]).is_ok());
            } else {
                assert_eq!(decoded, Err(MessageError::SealedTooShort { len: 12 }));
                bytes.push(0);
                assert!(Message::decode(&bytes).is_ok());
            }
        }
        assert_eq!(
            Message::decode(&[]),
            Err(MessageError::HeaderTooShort { len: 0 })
        );
    }

    #[test]
    fn content_without_a_known_topic_is_rejected() {
        let (ours, theirs) = keys();
        let key = ours.agree(&theirs.public_key()).unwrap();
        let mut message = vec![];
        write_header(&mut message, 9, &ours.public_key(), 0);
        assert_eq!(
            open(&[message.as_slice(), &[0; 12 + 15]].concat()),
            Err(ContentError::NotAuthentic)
        );
        for (text, expected) in [
            (&mut [][..], ContentError::Empty),
            (&mut [6, 1][..], ContentError::UnknownTopic { code: 6 }),
        ] {
            let tag = key.seal(&[5; 12], text).unwrap();
            let whole = [message.as_slice(), &[5; 12], text, &tag].concat();
            assert_eq!(open(&whole), Err(expected));
        }
    }

    #[test]
    fn topics_and_codes_agree() {
        for (code, topic) in (0u8..).zip(Topic::ALL) {
            assert_eq!((topic.code(), Topic::from_code(code)), (code, Some(topic)));
        }
        assert!((6..=255).all(|code| Topic::from_code(code).is_none()));
    }

    proptest! {
        #[test]
        fn sealed_content_round_trips(
            content in proptest::collection::vec(any::<u8>(), 0..200),
            topic in proptest::sample::select(&Topic::ALL), nonce in any::<Nonce>(),
            flag in any::<u8>().prop_filter("handshake", |flag| *flag != 1),
        ) {
            let mut bytes = sealed(topic, &content, nonce);
            prop_assert_eq!(bytes.len(), HEADER_BYTES + 12 + 1 + content.len() + TAG_BYTES);
            prop_assert_eq!(open(&bytes), Ok((topic, content.clone())));
            bytes[0] = flag;
            prop_assert_eq!(open(&bytes), Ok((topic, content)));
        }

        #[test]
        fn changed_bit_after_the_header_is_detected(
            content in proptest::collection::vec(any::<u8>(), 0..50),
            position in any::<proptest::sample::Index>(), bit in 0..8u32,
        ) {
            let mut bytes = sealed(Topic::Ping, &content, [3; 12]);
            let at = HEADER_BYTES + position.index(bytes.len() - HEADER_BYTES);
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(open(&bytes), Err(ContentError::NotAuthentic));
        }

        #[test]
        fn any_bytes_decode_or_fail(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            match Message::decode(&bytes) {
                Ok(message) => {
                    let port = message.port.map_or(0, NonZeroU16::get);
                    let mut again = vec![];
                    match message.body {
                        Body::Handshake(payload) => {
                            write_handshake(&mut again, &message.sender, port, payload);
                        }
                        Body::Sealed(sealed) => {
                            write_header(&mut again, bytes[0], &message.sender, port);
                            again.extend_from_slice(sealed.nonce);
                            again.extend_from_slice(sealed.text);
                        }
                    }
                    prop_assert_eq!(again, bytes);
                }
                Err(_) => prop_assert!(bytes.len() < HEADER_BYTES + MIN_SEALED_BYTES),
            }
        }
    }
}
