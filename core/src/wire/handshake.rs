//! Extension block in the payload of a handshake, for nodes of this implementation.
//!
//! A reference node ignores the payload; its own payloads are empty or two bytes long. A block is
//!
//! ```text
//! magic (4) ‖ field*      field = type (1) ‖ length (1) ‖ value
//! ```
//!
//! with fields in strictly ascending order of type. A field of unknown type is skipped, so a later
//! release can add fields; a different magic is a different format. Types:
//!
//! | type | value | meaning |
//! | --- | --- | --- |
//! | 1 | rules version `u32` BE ‖ chain id `u64` BE ‖ genesis id (32) or nothing | [`ChainIdentity`] of the sender |
//! | 2 | nothing | the sender asks for an authenticated block in return |
//! | 3 | cookie (8) | the sender contacts an address on its own initiative, and asks for an [echo](Block::echo) |
//! | 4 | cookie (8) | echo of a received cookie |
//! | 5 | port `u16` BE ‖ X25519 public key (32) | [`StreamOffer`]: the sender accepts streams |
//! | 255 | nonce (12) ‖ tag (16) | authentication, always last |
//!
//! A handshake is sent in the clear, and its sender can be forged. The tag, the first half of a
//! keyed BLAKE3 hash under a key derived from the X25519 secret of sender and receiver, covers the
//! receiver's key and the whole message in front of the tag: flag, sender, port, all fields, and
//! the nonce. The nonce belongs to the sender's stream and is checked for replays like the nonce of
//! a sealed message. A block without authentication shows that its sender is a node of this
//! implementation (or claims to be) and nothing else: of its fields only the cookies are used.
//!
//! Cookies are needed before a shared key exists, in blocks without authentication. A receiver that
//! has just answered another handshake does not answer a contact, which would have to be repeated;
//! an echo needs no memory, and cannot be forged from another address. A handshake of a reference
//! node has 43 bytes, so the amplification limit of three leaves [`MAX_ANSWER_BYTES`] for the block
//! in an answer.

use super::read::{take, take_byte};
use crate::atom::AtomId;
use crate::crypto::{HashKey, Nonce, PublicKey, SEAL_NONCE_BYTES, SharedKey};
use alloc::vec::Vec;
use core::fmt;

/// First bytes of a block.
pub const MAGIC: [u8; 4] = *b"ast1";
/// Maximum size of a payload that is read as a block, in bytes.
pub const MAX_BLOCK_BYTES: usize = 512;
/// Maximum size of a block in an answer to the shortest handshake, in bytes.
pub const MAX_ANSWER_BYTES: usize = 3 * 43 - 43;

const IDENTITY: u8 = 1;
const QUESTION: u8 = 2;
const COOKIE: u8 = 3;
const ECHO: u8 = 4;
const STREAM: u8 = 5;
const AUTHENTICATION: u8 = 255;
/// Size of type and length of a field, in bytes.
const FIELD_HEAD_BYTES: usize = 2;
const TAG_BYTES: usize = 16;
const IDENTITY_BYTES: usize = 4 + 8;
const STREAM_BYTES: usize = 2 + 32;
const CONTEXT: &str = "astreum 2026 handshake authentication";

/// Size of the authentication of a block, in bytes.
pub const AUTHENTICATION_BYTES: usize = FIELD_HEAD_BYTES + SEAL_NONCE_BYTES + TAG_BYTES;

/// Unpredictable bytes that the receiver of a contact returns.
pub type Cookie = [u8; 8];

/// The chain that a node follows.
///
/// ```
/// use astreum_core::wire::handshake::{Block, ChainIdentity};
///
/// let identity = ChainIdentity { rules_version: 2, chain_id: 7, genesis: None };
/// let block = Block { identity: Some(identity), ..Block::default() };
/// let mut payload = Vec::new();
/// block.write(&mut payload);
/// let (read, _) = Block::decode(&payload).unwrap();
/// assert_eq!(read.identity, Some(identity));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ChainIdentity {
    /// Version of the consensus rules.
    pub rules_version: u32,
    /// Id of the chain, which blocks and transactions carry.
    pub chain_id: u64,
    /// Id of the genesis block; `None` while the node has no chain. The zero id is not a block.
    pub genesis: Option<AtomId>,
}

/// Offer to accept streams ([`crate::stream`]) at the IP address that the sender is validated at. It
/// counts only in an authenticated block.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct StreamOffer {
    /// TCP port; not 0.
    pub port: u16,
    /// Public key of the sender's streams.
    pub key: PublicKey,
}

/// Fields of a block.
///
/// ```
/// use astreum_core::wire::handshake::{Block, MAGIC};
///
/// let block = Block { is_question: true, cookie: Some([7; 8]), ..Block::default() };
/// let mut payload = Vec::new();
/// block.write(&mut payload);
/// assert!(payload.starts_with(&MAGIC));
/// assert_eq!(payload.len(), block.encoded_len(false));
/// let (read, authentication) = Block::decode(&payload).unwrap();
/// assert!(read == block && authentication.is_none());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Block {
    /// The chain that the sender follows.
    pub identity: Option<ChainIdentity>,
    /// Flag: the sender asks for an authenticated block in return.
    pub is_question: bool,
    /// Cookie of a contact, which asks for an echo.
    pub cookie: Option<Cookie>,
    /// Cookie that the sender received at the address from which it answers.
    pub echo: Option<Cookie>,
    /// Offer to accept streams.
    pub stream: Option<StreamOffer>,
}

/// Authentication of a decoded block.
///
/// ```
/// use astreum_core::crypto::{PublicKey, SharedKey};
/// use astreum_core::wire::handshake::{Block, authenticate};
/// use astreum_core::wire::message::{HEADER_BYTES, write_handshake};
///
/// let (sender, receiver) = (PublicKey::new([1; 32]), PublicKey::new([2; 32]));
/// let (key, nonce) = (SharedKey::from_bytes([7; 32]), [3; 12]);
/// let (mut payload, mut message) = (Vec::new(), Vec::new());
/// Block::default().write(&mut payload);
/// write_handshake(&mut message, &sender, 0, &payload);
/// authenticate(&mut message, &key, &receiver, &nonce);
///
/// let (_, authentication) = Block::decode(&message[HEADER_BYTES..]).unwrap();
/// let authentication = authentication.unwrap();
/// assert_eq!(authentication.nonce, nonce);
/// assert!(authentication.is_valid(&message, &key, &receiver));
/// assert!(!authentication.is_valid(&message, &key, &sender));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Authentication<'b> {
    /// Nonce of the sender's stream.
    pub nonce: Nonce,
    tag: &'b [u8; TAG_BYTES],
}

/// Reason why a payload is not a block.
///
/// ```
/// use astreum_core::wire::handshake::{Block, BlockError, MAGIC};
///
/// // The payload of a reference node.
/// assert_eq!(Block::decode(&[]).err(), Some(BlockError::Magic));
/// let truncated = [&MAGIC[..], &[3, 8, 1]].concat();
/// assert_eq!(Block::decode(&truncated).err(), Some(BlockError::Truncated));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BlockError {
    /// The payload does not begin with the magic: it is from a reference node.
    Magic,
    /// The payload is longer than [`MAX_BLOCK_BYTES`].
    TooLong {
        /// Length of the payload, in bytes.
        len: usize,
    },
    /// A field is truncated.
    Truncated,
    /// The type of a field is not higher than the type of the field before.
    Order {
        /// Type of the field.
        kind: u8,
    },
    /// A known field has an invalid length or value.
    Field {
        /// Type of the field.
        kind: u8,
    },
}

impl fmt::Display for BlockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic => f.write_str("not an extension block"),
            Self::TooLong { len } => write!(
                f,
                "extension block of {len} bytes exceeds the maximum of {MAX_BLOCK_BYTES}"
            ),
            Self::Truncated => f.write_str("truncated field in an extension block"),
            Self::Order { kind } => {
                write!(f, "field {kind} of an extension block is out of order")
            }
            Self::Field { kind } => write!(f, "malformed field {kind} in an extension block"),
        }
    }
}

impl core::error::Error for BlockError {}

impl Block {
    /// Returns the encoded length of the block, in bytes.
    #[must_use]
    pub fn encoded_len(&self, is_authenticated: bool) -> usize {
        let identity = self.identity.as_ref().map_or(0, |identity| {
            FIELD_HEAD_BYTES + IDENTITY_BYTES + identity.genesis.map_or(0, |_| 32)
        });
        let question = usize::from(self.is_question) * FIELD_HEAD_BYTES;
        let cookies = [self.cookie, self.echo].into_iter().flatten();
        let cookies: usize = cookies.map(|cookie| FIELD_HEAD_BYTES + cookie.len()).sum();
        let stream = self.stream.map_or(0, |_| FIELD_HEAD_BYTES + STREAM_BYTES);
        let authentication = usize::from(is_authenticated) * AUTHENTICATION_BYTES;
        MAGIC.len() + identity + question + cookies + stream + authentication
    }

    /// Appends the block to `out`, without authentication.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&MAGIC);
        if let Some(identity) = &self.identity {
            let genesis = identity.genesis.as_ref();
            let genesis = genesis.map_or(&[][..], |id| id.as_bytes().as_slice());
            let [.., len] = (IDENTITY_BYTES + genesis.len()).to_be_bytes();
            out.extend_from_slice(&[IDENTITY, len]);
            out.extend_from_slice(&identity.rules_version.to_be_bytes());
            out.extend_from_slice(&identity.chain_id.to_be_bytes());
            out.extend_from_slice(genesis);
        }
        if self.is_question {
            out.extend_from_slice(&[QUESTION, 0]);
        }
        for (kind, cookie) in [(COOKIE, &self.cookie), (ECHO, &self.echo)] {
            if let Some(cookie) = cookie {
                let [.., len] = cookie.len().to_be_bytes();
                out.extend_from_slice(&[kind, len]);
                out.extend_from_slice(cookie);
            }
        }
        if let Some(offer) = &self.stream {
            let [.., len] = STREAM_BYTES.to_be_bytes();
            out.extend_from_slice(&[STREAM, len]);
            out.extend_from_slice(&offer.port.to_be_bytes());
            out.extend_from_slice(offer.key.as_bytes());
        }
    }

    /// Reads a payload: the block, and its authentication if present.
    ///
    /// # Errors
    /// Fails if the payload is not a block, or a malformed block.
    pub fn decode(payload: &[u8]) -> Result<(Self, Option<Authentication<'_>>), BlockError> {
        let mut rest = payload;
        if take(&mut rest) != Some(&MAGIC) {
            return Err(BlockError::Magic);
        }
        if payload.len() > MAX_BLOCK_BYTES {
            return Err(BlockError::TooLong { len: payload.len() });
        }
        let mut block = Self::default();
        let mut authentication = None;
        let mut last = 0;
        while let Some(kind) = take_byte(&mut rest) {
            if kind <= last {
                return Err(BlockError::Order { kind });
            }
            last = kind;
            let len = take_byte(&mut rest).ok_or(BlockError::Truncated)?;
            let value = rest.split_at_checked(len.into());
            let (value, behind) = value.ok_or(BlockError::Truncated)?;
            rest = behind;
            let malformed = BlockError::Field { kind };
            match kind {
                IDENTITY => block.identity = Some(read_identity(value).ok_or(malformed)?),
                QUESTION if !value.is_empty() => return Err(malformed),
                QUESTION => block.is_question = true,
                COOKIE => block.cookie = Some(value.try_into().map_err(|_| malformed)?),
                ECHO => block.echo = Some(value.try_into().map_err(|_| malformed)?),
                STREAM => block.stream = Some(read_offer(value).ok_or(malformed)?),
                AUTHENTICATION => authentication = Some(read_tag(value).ok_or(malformed)?),
                _ => {}
            }
        }
        Ok((block, authentication))
    }
}

fn read_identity(value: &[u8]) -> Option<ChainIdentity> {
    let mut rest = value;
    let rules_version = u32::from_be_bytes(*take(&mut rest)?);
    let chain_id = u64::from_be_bytes(*take(&mut rest)?);
    let genesis = if rest.is_empty() {
        None
    } else {
        let id = AtomId::from_slice(rest)?;
        // A missing genesis has one encoding: an empty rest, not the zero id.
        Some(id).filter(|id| !id.is_zero())?.into()
    };
    Some(ChainIdentity {
        rules_version,
        chain_id,
        genesis,
    })
}

fn read_offer(value: &[u8]) -> Option<StreamOffer> {
    let mut rest = value;
    let port = u16::from_be_bytes(*take(&mut rest)?);
    let key = PublicKey::from_slice(rest)?;
    let is_usable = port != 0 && key.is_canonical();
    is_usable.then_some(StreamOffer { port, key })
}

fn read_tag(value: &[u8]) -> Option<Authentication<'_>> {
    let mut rest = value;
    let nonce = *take(&mut rest)?;
    let tag = take(&mut rest)?;
    rest.is_empty().then_some(Authentication { nonce, tag })
}

/// Appends authentication to a handshake. `message` is the handshake as written so far, including
/// its header.
///
/// ```
/// use astreum_core::crypto::SecretKey;
/// use astreum_core::wire::handshake::{Block, authenticate};
/// use astreum_core::wire::message::{Body, Message, write_handshake};
///
/// let (ours, theirs) = (SecretKey::from_bytes([1; 32]), SecretKey::from_bytes([2; 32]));
/// let receiver = theirs.public_key();
/// let mut message = Vec::new();
/// let mut payload = Vec::new();
/// Block { is_question: true, ..Block::default() }.write(&mut payload);
/// write_handshake(&mut message, &ours.public_key(), 52_780, &payload);
/// authenticate(&mut message, &ours.agree(&receiver)?, &receiver, &[3; 12]);
///
/// let decoded = Message::decode(&message)?;
/// let Body::Handshake(payload) = decoded.body else {
///     panic!("not a handshake");
/// };
/// let (_, authentication) = Block::decode(payload)?;
/// let key = theirs.agree(&decoded.sender)?;
/// assert!(authentication.is_some_and(|tag| tag.is_valid(&message, &key, &receiver)));
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
pub fn authenticate(message: &mut Vec<u8>, key: &SharedKey, receiver: &PublicKey, nonce: &Nonce) {
    let [.., len] = (SEAL_NONCE_BYTES + TAG_BYTES).to_be_bytes();
    message.extend_from_slice(&[AUTHENTICATION, len]);
    message.extend_from_slice(nonce);
    let tag = tag(message, key, receiver);
    message.extend_from_slice(&tag);
}

impl Authentication<'_> {
    /// Returns whether the other owner of `key` has sent this message to `receiver`. `message` is
    /// the whole handshake, including its header.
    #[must_use]
    pub fn is_valid(&self, message: &[u8], key: &SharedKey, receiver: &PublicKey) -> bool {
        let Some((covered, _)) = message.split_last_chunk::<TAG_BYTES>() else {
            return false;
        };
        let expected = tag(covered, key, receiver);
        let pairs = expected.iter().zip(self.tag);
        // Constant time: does not branch on single bytes.
        pairs.fold(0, |differences, (a, b)| differences | (a ^ b)) == 0
    }
}

fn tag(covered: &[u8], key: &SharedKey, receiver: &PublicKey) -> [u8; TAG_BYTES] {
    let key = HashKey::derive(CONTEXT, key.as_bytes());
    let hash = key.hash(&[receiver.as_bytes(), covered]);
    let mut tag = [0; TAG_BYTES];
    for (byte, hashed) in tag.iter_mut().zip(hash) {
        *byte = hashed;
    }
    tag
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::SecretKey;
    use crate::wire::message::{Body, Message, write_handshake};
    use alloc::vec;
    use proptest::prelude::*;

    fn identity(genesis: Option<u8>) -> ChainIdentity {
        ChainIdentity {
            rules_version: 2,
            chain_id: 0x0102_0304_0506_0708,
            genesis: genesis.map(|byte| AtomId::new([byte; 32])),
        }
    }

    fn encoded(block: &Block) -> Vec<u8> {
        let mut out = vec![];
        block.write(&mut out);
        out
    }

    #[test]
    fn golden_bytes() {
        assert_eq!(encoded(&Block::default()), *b"ast1");
        let block = Block {
            identity: Some(identity(None)),
            is_question: true,
            ..Block::default()
        };
        let golden = b"ast1\x01\x0c\0\0\0\x02\x01\x02\x03\x04\x05\x06\x07\x08\x02\0";
        assert_eq!(encoded(&block), golden);
        let block = Block {
            identity: Some(identity(Some(0xab))),
            ..Block::default()
        };
        let mut golden = b"ast1\x01\x2c\0\0\0\x02\x01\x02\x03\x04\x05\x06\x07\x08".to_vec();
        golden.extend_from_slice(&[0xab; 32]);
        assert_eq!(encoded(&block), golden);
        let block = Block {
            cookie: Some(*b"a cookie"),
            echo: Some(*b"an echo."),
            ..Block::default()
        };
        assert_eq!(encoded(&block), *b"ast1\x03\x08a cookie\x04\x08an echo.");
        let block = Block {
            stream: Some(StreamOffer {
                port: 0x0102,
                key: PublicKey::new([0x5a; 32]),
            }),
            ..Block::default()
        };
        let golden = [&b"ast1\x05\x22\x01\x02"[..], &[0x5a; 32]].concat();
        assert_eq!(encoded(&block), golden);
    }

    #[test]
    fn largest_block_fits_an_answer_to_the_shortest_handshake() {
        let block = Block {
            identity: Some(identity(Some(1))),
            is_question: true,
            ..Block::default()
        };
        assert!(block.encoded_len(true) <= MAX_ANSWER_BYTES);
        let contact = Block {
            cookie: Some([7; 8]),
            ..Block::default()
        };
        let answer = Block {
            echo: Some([7; 8]),
            ..Block::default()
        };
        assert!(answer.encoded_len(false) <= contact.encoded_len(false));
    }

    #[test]
    fn payloads_of_reference_nodes_are_not_blocks() {
        for payload in [&[][..], &[0xce, 0x2c], b"ast", b"astreum ipv6"] {
            assert_eq!(Block::decode(payload), Err(BlockError::Magic));
        }
    }

    #[test]
    fn each_fault_has_its_error() {
        let decode = |fields: &[u8]| Block::decode(&[&MAGIC, fields].concat()).map(|_| ());
        for (fields, error) in [
            (&[1][..], BlockError::Truncated),
            (&[7, 2, 0], BlockError::Truncated),
            (&[0, 0], BlockError::Order { kind: 0 }),
            (&[2, 0, 2, 0], BlockError::Order { kind: 2 }),
            (&[2, 0, 1, 0], BlockError::Order { kind: 1 }),
            (&[2, 1, 0], BlockError::Field { kind: 2 }),
            (&[1, 0], BlockError::Field { kind: 1 }),
            (&[3, 0], BlockError::Field { kind: 3 }),
            (&[4, 7, 0, 0, 0, 0, 0, 0, 0], BlockError::Field { kind: 4 }),
            (&[255, 1, 0], BlockError::Field { kind: 255 }),
        ] {
            assert_eq!(decode(fields), Err(error), "{fields:?}");
        }
        // Neither port 0 nor a key that no secret key has.
        for (port, byte) in [(0, 1), (1, 0xff)] {
            let offer = [&[5, 34, 0, port][..], &[byte; 32]].concat();
            assert_eq!(decode(&offer), Err(BlockError::Field { kind: 5 }));
        }
        let short_offer = [&[5, 33, 0, 1][..], &[1; 31]].concat();
        assert_eq!(decode(&short_offer), Err(BlockError::Field { kind: 5 }));
        let zero_genesis = [&[1, 44][..], &[0; 44]].concat();
        assert_eq!(decode(&zero_genesis), Err(BlockError::Field { kind: 1 }));
        let short_genesis = [&[1, 43][..], &[1; 43]].concat();
        assert_eq!(decode(&short_genesis), Err(BlockError::Field { kind: 1 }));
        let long = vec![9; MAX_BLOCK_BYTES];
        let too_long = BlockError::TooLong { len: 516 };
        assert_eq!(decode(&long), Err(too_long));
    }

    #[test]
    fn unknown_fields_are_skipped() {
        let fields = [
            &encoded(&Block::default())[..],
            &[2, 0, 77, 3, 1, 2, 3, 200, 0],
        ]
        .concat();
        let (block, authentication) = Block::decode(&fields).unwrap();
        assert!(block.is_question && authentication.is_none());
    }

    fn authenticated(block: &Block, nonce: &Nonce) -> (Vec<u8>, SecretKey, SecretKey) {
        let (ours, theirs) = (
            SecretKey::from_bytes([1; 32]),
            SecretKey::from_bytes([2; 32]),
        );
        let key = ours.agree(&theirs.public_key()).unwrap();
        let mut message = vec![];
        write_handshake(&mut message, &ours.public_key(), 9, &[]);
        block.write(&mut message);
        authenticate(&mut message, &key, &theirs.public_key(), nonce);
        (message, ours, theirs)
    }

    fn is_valid(message: &[u8], key: &SharedKey, receiver: &PublicKey) -> Option<bool> {
        let Body::Handshake(payload) = Message::decode(message).unwrap().body else {
            return None;
        };
        let (_, authentication) = Block::decode(payload).ok()?;
        Some(authentication?.is_valid(message, key, receiver))
    }

    #[test]
    fn authentication_binds_sender_and_receiver() {
        let (message, ours, theirs) = authenticated(&Block::default(), &[7; 12]);
        let key = theirs.agree(&ours.public_key()).unwrap();
        let [us, them] = [ours.public_key(), theirs.public_key()];
        assert_eq!(is_valid(&message, &key, &them), Some(true));
        assert_eq!(is_valid(&message, &key, &us), Some(false), "reflected");
        let other = SecretKey::from_bytes([3; 32]).agree(&us).unwrap();
        assert_eq!(is_valid(&message, &other, &them), Some(false));
    }

    proptest! {
        #[test]
        fn blocks_round_trip_and_have_their_encoded_length(
            rules in any::<u32>(), chain in any::<u64>(), genesis in any::<Option<[u8; 32]>>(),
            has_identity: bool, is_question: bool, nonce in any::<Nonce>(),
            cookie in any::<Option<Cookie>>(), echo in any::<Option<Cookie>>(),
            offer in any::<Option<(u16, [u8; 31])>>(),
        ) {
            let genesis = genesis.map(AtomId::new).filter(|id| !id.is_zero());
            let identity = ChainIdentity { rules_version: rules, chain_id: chain, genesis };
            let identity = has_identity.then_some(identity);
            let stream = offer.filter(|(port, _)| *port != 0).map(|(port, key)| {
                let key = PublicKey::from_slice(&[&key[..], &[0]].concat()).unwrap();
                StreamOffer { port, key }
            });
            let block = Block { identity, is_question, cookie, echo, stream };
            let bytes = encoded(&block);
            prop_assert_eq!(bytes.len(), block.encoded_len(false));
            prop_assert_eq!(Block::decode(&bytes), Ok((block, None)));
            let (message, ..) = authenticated(&block, &nonce);
            prop_assert_eq!(message.len(), 35 + block.encoded_len(true));
            let (decoded, authentication) = Block::decode(&message[35..]).unwrap();
            prop_assert_eq!(decoded, block);
            prop_assert_eq!(authentication.unwrap().nonce, nonce);
        }

        #[test]
        fn changed_bit_anywhere_is_detected(
            position in any::<proptest::sample::Index>(), bit in 0..8u32,
        ) {
            let identity = Some(identity(Some(4)));
            let block = Block { identity, is_question: true, ..Block::default() };
            let (mut message, ours, theirs) = authenticated(&block, &[7; 12]);
            let key = theirs.agree(&ours.public_key()).unwrap();
            let at = 1 + position.index(message.len() - 1);
            message[at] ^= 1 << bit;
            prop_assert_ne!(is_valid(&message, &key, &theirs.public_key()), Some(true));
        }

        #[test]
        fn any_payload_decodes_or_fails(
            fields in proptest::collection::vec(any::<u8>(), 0..80), has_magic: bool,
        ) {
            let magic = if has_magic { &MAGIC[..] } else { &[] };
            let payload = [magic, &fields].concat();
            if let Ok((block, None)) = Block::decode(&payload) {
                let again = encoded(&block);
                prop_assert!(again.len() <= payload.len());
                prop_assert_eq!(Block::decode(&again), Ok((block, None)));
            }
        }
    }
}
