//! Key of the streams of a node, and the first bytes of a connection.

use crate::crypto::{HashKey, PublicKey, SecretKey};
use alloc::vec::Vec;

/// Name of the protocol and its version.
const PROTOCOL: [u8; 8] = *b"astream\x01";
const KEY_CONTEXT: &str = "astreum 2026 stream key";
/// Size of a [`Hello`], in bytes.
pub const HELLO_BYTES: usize = PROTOCOL.len() + 8 + 32;

/// Derives the secret key of a node's streams from its relay key, so that the relay key itself has
/// one use.
///
/// ```
/// use astreum_core::crypto::SecretKey;
/// use astreum_core::stream::secret_key;
///
/// let relay = SecretKey::from_bytes([1; 32]);
/// assert_ne!(secret_key(&relay).public_key(), relay.public_key());
/// ```
#[must_use]
pub fn secret_key(relay: &SecretKey) -> SecretKey {
    // The hash of nothing under the derived key, so that the key itself is not an output.
    SecretKey::from_bytes(HashKey::derive(KEY_CONTEXT, relay.as_bytes()).hash(&[]))
}

/// First bytes of the client of a connection, in the clear: the protocol, its chain and its relay
/// key, which its datagrams name in the clear as well. So a server that does not know the client
/// refuses it without a key agreement.
///
/// ```
/// use astreum_core::crypto::PublicKey;
/// use astreum_core::stream::Hello;
///
/// let hello = Hello { chain_id: 1, relay: PublicKey::new([7; 32]) };
/// let bytes = hello.encode();
/// assert_eq!(Hello::decode(bytes.first_chunk().unwrap()), Some(hello));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hello {
    /// Id of the chain that the client is configured for.
    pub chain_id: u64,
    /// Relay key of the client.
    pub relay: PublicKey,
}

impl Hello {
    /// Encodes the bytes that are sent.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let chain_id = self.chain_id.to_be_bytes();
        [&PROTOCOL[..], &chain_id, self.relay.as_bytes()].concat()
    }

    /// Reads the bytes; `None` if they are of another protocol or version.
    #[must_use]
    pub fn decode(bytes: &[u8; HELLO_BYTES]) -> Option<Self> {
        let rest = bytes.strip_prefix(&PROTOCOL)?;
        let (chain_id, relay) = rest.split_first_chunk()?;
        Some(Self {
            chain_id: u64::from_be_bytes(*chain_id),
            relay: PublicKey::from_slice(relay)?,
        })
    }

    /// Returns the data that both sides of the encryption are bound to: this hello, and the relay
    /// key and the port of the server.
    #[must_use]
    pub fn prologue(&self, server: &PublicKey, port: u16) -> Vec<u8> {
        let mut prologue = self.encode();
        prologue.extend_from_slice(server.as_bytes());
        prologue.extend_from_slice(&port.to_be_bytes());
        prologue
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prologue_names_protocol_chain_both_keys_and_port() {
        let hello = Hello {
            chain_id: 0x0102,
            relay: PublicKey::new([7; 32]),
        };
        let prologue = hello.prologue(&PublicKey::new([8; 32]), 0x0304);
        let golden = [
            &b"astream\x01\0\0\0\0\0\0\x01\x02"[..],
            &[7; 32],
            &[8; 32],
            b"\x03\x04",
        ];
        assert_eq!(prologue, golden.concat());
    }

    #[test]
    fn other_versions_are_not_read() {
        let relay = PublicKey::new([7; 32]);
        let bytes = Hello { chain_id: 0, relay }.encode();
        let mut bytes: [u8; HELLO_BYTES] = bytes.try_into().unwrap();
        assert!(Hello::decode(&bytes).is_some());
        bytes[7] = 2;
        assert_eq!(Hello::decode(&bytes), None);
    }

    #[test]
    fn stream_key_is_pinned() {
        let relay = SecretKey::from_bytes([1; 32]);
        let derived = blake3::derive_key(KEY_CONTEXT, &[1; 32]);
        let expected = blake3::keyed_hash(&derived, &[]);
        assert_eq!(secret_key(&relay).as_bytes(), expected.as_bytes());
    }
}
