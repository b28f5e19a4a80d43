//! Packets that any node can create.

use super::net::secret;
use crate::crypto::{Nonce, PublicKey, SecretKey};
use crate::wire::message::{Envelope, Topic, write_handshake};
use crate::wire::packet::Draft;
use crate::wire::ping::Ping;
use alloc::vec::Vec;
use core::num::NonZeroU8;

pub(super) fn handshake(sender: &PublicKey, port: u16) -> Vec<u8> {
    let mut packet = Vec::new();
    let mut draft = Draft::new(&mut packet);
    write_handshake(draft.message_mut(), sender, port, &[]);
    draft.work(1);
    packet
}

pub(super) fn sealed(
    from: &SecretKey,
    to: &PublicKey,
    port: u16,
    nonce: Nonce,
    topic: Topic,
    content: &[u8],
) -> Vec<u8> {
    let shared = from.agree(to).unwrap();
    let envelope = Envelope {
        sender: from.public_key(),
        port,
        key: &shared,
        nonce,
    };
    let mut packet = Vec::new();
    let mut draft = Draft::new(&mut packet);
    envelope.write(draft.message_mut(), topic, content).unwrap();
    draft.work(1);
    packet
}

pub(super) fn ping(difficulty: u8) -> [u8; 34] {
    let difficulty = NonZeroU8::new(difficulty).unwrap();
    Ping {
        is_validator: false,
        difficulty,
        latest_block: None,
    }
    .encode()
}

/// Returns a secret key for each of many unknown peers.
pub(super) fn many(n: u32) -> SecretKey {
    let mut bytes = *secret(99).as_bytes();
    bytes[..4].copy_from_slice(&n.to_be_bytes());
    SecretKey::from_bytes(bytes)
}
