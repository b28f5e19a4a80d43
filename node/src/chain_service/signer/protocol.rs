//! Protocol between a node and a signer.
//!
//! Each message is one line of JSON, of at most [`MAX_LINE_BYTES`] with its line feed. The node
//! sends requests and the signer sends one reply to each, in their order, except for
//! [`Request::Cancel`], which has no reply. A malformed request ends the connection.
//!
//! A block travels in its compact form ([`Block::to_compact`]), in hex digits; a block to be signed
//! has no signature. The signer computes what it signs from the fields: it cannot be made to sign
//! anything but the body of a block.

use astreum_core::chain::Block;
use astreum_core::integer::Natural;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Version of the protocol.
pub const PROTOCOL: u32 = 1;
/// Maximum length of a message, in bytes.
pub const MAX_LINE_BYTES: usize = 16 << 10;
/// Maximum duration of a search, in milliseconds.
pub const MAX_SEARCH_MILLISECONDS: u64 = 30_000;

/// Message of the node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case", deny_unknown_fields)]
#[expect(clippy::large_enum_variant, reason = "a connection has one at a time")]
pub enum Request {
    /// Asks for the signer's key, chain and last block. Ends in [`Reply::Status`].
    Status {
        /// Version of the protocol that the node speaks.
        protocol: u32,
    },
    /// Asks for a nonce and a signature. Ends in [`Reply::Signed`], [`Reply::NotFound`],
    /// [`Reply::Refused`] or [`Reply::Unavailable`].
    Sign {
        /// Block without a signature. The search begins at its nonce.
        block: CompactBlock,
        /// Difficulty of the parent, in decimal digits.
        previous_difficulty: Decimal,
        /// Maximum duration of the search, in milliseconds.
        search_milliseconds: u64,
    },
    /// Ends the search for the request before; without effect if it has ended.
    Cancel {},
}

/// Message of the signer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case", deny_unknown_fields)]
pub enum Reply {
    /// Key, chain and last block of the signer.
    Status {
        /// Version of the protocol that the signer speaks.
        protocol: u32,
        /// Public key, in hex digits.
        public_key: String,
        /// Id of the chain whose blocks it signs.
        chain_id: u64,
        /// Last block that it has signed.
        last: Option<CompactBlock>,
    },
    /// The signed block. It is in the signing record.
    Signed {
        /// Block with nonce and signature.
        block: CompactBlock,
    },
    /// The search has ended without a nonce; nothing was signed.
    NotFound {},
    /// The signer does not sign this block.
    Refused {
        /// Reason, for people.
        reason: String,
        /// Last block that it has signed.
        last: Option<CompactBlock>,
    },
    /// The signer cannot sign at present. It may have signed the block without being able to save
    /// that; [`Request::Status`] reports whether it has.
    Unavailable {
        /// Reason, for people.
        reason: String,
    },
}

/// Block in its compact form.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CompactBlock(pub Block);

impl CompactBlock {
    /// Returns the block in hex digits.
    #[must_use]
    pub fn to_digits(&self) -> String {
        hex::encode(self.0.to_compact())
    }

    /// Returns the block with these digits, if they are its only form.
    #[must_use]
    pub fn from_digits(digits: &str) -> Option<Self> {
        let bytes = hex::decode(digits).ok()?;
        let block = Block::from_compact(&bytes)?;
        (block.to_compact() == bytes).then_some(Self(block))
    }
}

impl Serialize for CompactBlock {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_digits())
    }
}

impl<'de> Deserialize<'de> for CompactBlock {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let digits = String::deserialize(deserializer)?;
        Self::from_digits(&digits).ok_or_else(|| serde::de::Error::custom("malformed block"))
    }
}

/// Number in decimal digits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decimal(pub Natural);

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let digits = String::deserialize(deserializer)?;
        // Longer ones would take time to convert, and have no use.
        let number = digits.parse().ok().filter(|_| digits.len() <= 1_024);
        number
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom("malformed number"))
    }
}

/// Returns the line of a message.
#[must_use]
pub fn line<M: Serialize>(message: &M) -> Vec<u8> {
    // The messages have only text keys, so this cannot fail.
    let mut line = serde_json::to_vec(message).unwrap_or_default();
    line.push(b'\n');
    line
}

/// Splits received bytes into lines.
#[derive(Debug, Default)]
pub struct Lines {
    bytes: Vec<u8>,
}

/// Received line, or beginning of one, of more than [`MAX_LINE_BYTES`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LineTooLong;

impl Lines {
    /// Adds received bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Returns whether a part of a line has been received.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Returns the next line without its line feed, if it is complete.
    ///
    /// # Errors
    /// Fails if the next line is too long.
    pub fn next_line(&mut self) -> Result<Option<Vec<u8>>, LineTooLong> {
        let end = self.bytes.iter().position(|byte| *byte == b'\n');
        match end {
            Some(end) if end < MAX_LINE_BYTES => {
                let rest = self.bytes.split_off(end + 1);
                let mut line = core::mem::replace(&mut self.bytes, rest);
                line.pop();
                Ok(Some(line))
            }
            None if self.bytes.len() < MAX_LINE_BYTES => Ok(None),
            _ => Err(LineTooLong),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use astreum_core::atom::MemoryStore;
    use astreum_core::chain::{Address, Genesis};
    use astreum_core::testkit::key;
    use astreum_core::trie::Scalar;

    fn block() -> Block {
        let validator = Address::from(key(1).verifying_key());
        let genesis = Genesis::new(validator, Natural::ZERO, 5_u64.into());
        let parent = genesis.build(&mut Scalar, &mut MemoryStore::new()).unwrap();
        parent.header().clone().sign(&key(1))
    }

    #[test]
    fn messages_round_trip_and_unknown_ones_are_rejected() {
        let block = || CompactBlock(block());
        let requests = [
            Request::Status { protocol: 1 },
            Request::Sign {
                block: block(),
                previous_difficulty: Decimal(7_u64.into()),
                search_milliseconds: 5,
            },
            Request::Cancel {},
        ];
        for request in requests {
            let line = line(&request);
            assert!(line.len() < MAX_LINE_BYTES);
            assert_eq!(serde_json::from_slice::<Request>(&line).unwrap(), request);
        }
        let replies = [
            Reply::Status {
                protocol: 1,
                public_key: "00".to_owned(),
                chain_id: 3,
                last: Some(block()),
            },
            Reply::Signed { block: block() },
            Reply::NotFound {},
            Reply::Refused {
                reason: "no".to_owned(),
                last: None,
            },
            Reply::Unavailable {
                reason: "busy".to_owned(),
            },
        ];
        for reply in replies {
            let line = line(&reply);
            assert_eq!(serde_json::from_slice::<Reply>(&line).unwrap(), reply);
        }
        let digits = block().to_digits();
        for text in [
            "",
            "{}",
            "[]",
            r#"{"request":"sign_text","text":"a"}"#,
            r#"{"request":"cancel","more":1}"#,
            r#"{"request":"status","protocol":-1}"#,
            r#"{"request":"sign","block":"","previous_difficulty":"1","search_milliseconds":1}"#,
            &format!(
                r#"{{"request":"sign","block":"{digits}00","previous_difficulty":"1","search_milliseconds":1}}"#
            ),
            &format!(
                r#"{{"request":"sign","block":"{digits}","previous_difficulty":"-1","search_milliseconds":1}}"#
            ),
        ] {
            assert!(serde_json::from_str::<Request>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn lines_are_bounded_and_may_arrive_in_parts() {
        let mut lines = Lines::default();
        for byte in b"ab\n" {
            assert_eq!(lines.next_line(), Ok(None));
            lines.push(&[*byte]);
        }
        lines.push(b"\ncd\ne");
        assert_eq!(lines.next_line(), Ok(Some(b"ab".to_vec())));
        assert_eq!(lines.next_line(), Ok(Some(Vec::new())));
        assert_eq!(lines.next_line(), Ok(Some(b"cd".to_vec())));
        assert_eq!(lines.next_line(), Ok(None));
        lines.push(&[b'x'; MAX_LINE_BYTES - 2]);
        assert_eq!(lines.next_line(), Ok(None));
        let mut longest = Lines::default();
        longest.push(&lines.bytes);
        longest.push(b"\n");
        assert_eq!(
            longest.next_line().unwrap().unwrap().len(),
            MAX_LINE_BYTES - 1
        );
        lines.push(b"x");
        assert_eq!(lines.next_line(), Err(LineTooLong));
        lines.push(b"\n");
        assert_eq!(lines.next_line(), Err(LineTooLong));
    }
}
