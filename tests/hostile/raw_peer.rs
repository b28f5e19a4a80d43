//! Packets that any peer can make.

use astreum_core::atom::{Atom, AtomId};
use astreum_core::crypto::{Nonce, PublicKey, SecretKey, SharedKey};
use astreum_core::wire::message::{Envelope, Topic, write_handshake};
use astreum_core::wire::object::{Action, Answer, Contact, PayloadType, Request, Response};
use astreum_core::wire::packet::Draft;
use astreum_core::wire::ping::Ping;
use core::net::SocketAddrV4;
use core::num::NonZeroU8;

/// Peer with its own key, and the key that it shares with the victim.
pub(crate) struct RawPeer {
    pub(crate) key: PublicKey,
    pub(crate) shared: SharedKey,
    sent: u64,
    prefix: u32,
}

impl RawPeer {
    pub(crate) fn new(secret: [u8; 32], victim: &PublicKey, prefix: u32) -> Self {
        let secret = SecretKey::from_bytes(secret);
        Self {
            key: secret.public_key(),
            shared: secret.agree(victim).unwrap(),
            sent: 0,
            prefix,
        }
    }

    fn nonce(&mut self) -> Nonce {
        self.sent += 1;
        let mut nonce = [0; 12];
        nonce[..4].copy_from_slice(&self.prefix.to_be_bytes());
        nonce[4..].copy_from_slice(&self.sent.to_be_bytes());
        nonce
    }

    /// Returns sealed content with this much proof of work.
    pub(crate) fn sealed(&mut self, port: u16, topic: Topic, content: &[u8], work: u32) -> Vec<u8> {
        let nonce = self.nonce();
        let envelope = Envelope {
            sender: self.key,
            port,
            key: &self.shared,
            nonce,
        };
        let mut packet = Vec::new();
        let mut draft = Draft::new(&mut packet);
        envelope.write(draft.message_mut(), topic, content).unwrap();
        draft.work(work);
        packet
    }
}

pub(crate) fn handshake(sender: &PublicKey, port: u16, work: u32) -> Vec<u8> {
    let mut packet = Vec::new();
    let mut draft = Draft::new(&mut packet);
    write_handshake(draft.message_mut(), sender, port, &[]);
    draft.work(work);
    packet
}

/// Returns bytes as a message with proof of work.
pub(crate) fn worked(message: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    let mut draft = Draft::new(&mut packet);
    draft.message_mut().extend_from_slice(message);
    if !message.is_empty() {
        draft.work(1);
    }
    packet
}

pub(crate) fn ping(difficulty: u8) -> Vec<u8> {
    let ping = Ping {
        is_validator: false,
        difficulty: NonZeroU8::new(difficulty).unwrap(),
        latest_block: None,
    };
    ping.encode().to_vec()
}

pub(crate) fn get(id: AtomId, kind: PayloadType) -> Vec<u8> {
    request(Action::Get(Some(kind)), id, &[])
}

pub(crate) fn request(action: Action, atom_id: AtomId, data: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    Request {
        action,
        atom_id,
        data,
    }
    .write(&mut content);
    content
}

pub(crate) fn respond(answer: Answer, atom_id: AtomId, data: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    Response {
        answer,
        atom_id,
        data,
    }
    .write(&mut content);
    content
}

pub(crate) fn contact(key: PublicKey, address: SocketAddrV4) -> Vec<u8> {
    Contact {
        public_key: key,
        address,
    }
    .encode()
    .to_vec()
}

/// Returns an atom whose answer is about 4 KB, the largest that a reference node can receive.
pub(crate) fn large_atom(n: u8) -> Atom {
    Atom::bytes(vec![n; 3_900])
}
