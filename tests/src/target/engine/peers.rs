//! Peers of the engine, whose secrets the input may use.

use super::ledger::{Ledger, canonical};
use astreum_core::atom::{Atom, AtomId};
use astreum_core::crypto::{Nonce, PublicKey, SecretKey, SharedKey};
use astreum_core::wire::handshake::{self, Block};
use astreum_core::wire::message::{Body, Envelope, Message, Topic, write_handshake};
use astreum_core::wire::object::{
    Action, Answer as Kind, Request, write_found_atom, write_found_list, write_response_head,
};
use astreum_core::wire::packet::{Draft, Packet};
use core::net::{IpAddr, SocketAddr};
use std::collections::VecDeque;
use std::sync::OnceLock;

/// Number of peers whose keys the input may use.
pub(super) const PEERS: u8 = 8;
/// Address of each peer, and the address that it may move to: loopback, private and public networks
/// of both families, some of them shared.
const ADDRESSES: [[&str; 2]; PEERS as usize] = [
    ["127.0.0.1:4000", "127.0.0.1:4001"],
    ["127.0.0.2:4000", "8.8.1.1:4000"],
    ["8.8.8.8:4000", "9.9.9.9:4000"],
    ["8.8.9.9:4000", "10.1.1.1:4000"],
    ["10.0.0.2:4000", "[::ffff:10.0.0.3]:4000"],
    ["[2001:db8::1]:4000", "[2001:db8:1::1]:4000"],
    ["[fd00::2]:4000", "1.2.3.4:4000"],
    ["[::ffff:5.6.7.8]:4000", "5.6.7.8:4000"],
];
/// Maximum number of requests that a peer remembers.
const MAX_ASKED: usize = 64;

/// Answer of a peer.
pub(super) enum Answer {
    /// Nothing found, with the observed address of the requester.
    Seen(SocketAddr),
    /// Contact of a node that is nearer, or provides the object.
    Contact(PublicKey, SocketAddr),
    Atom(Atom),
    List(Vec<Atom>),
    /// Malformed content.
    Nothing,
}

pub(super) struct Peer {
    number: u8,
    pub(super) key: PublicKey,
    shared: SharedKey,
    engine: PublicKey,
    /// Number of the peer's run, and number of messages that it has sealed.
    life: u8,
    sealed: u64,
    pub(super) has_moved: bool,
    /// Ids that the engine has requested from it.
    pub(super) asked: VecDeque<AtomId>,
}

impl Peer {
    pub(super) fn new(number: u8, engine: &SecretKey) -> Self {
        let key = SecretKey::from_bytes([number + 1; 32]).public_key();
        Self {
            number,
            key,
            shared: engine.agree(&key).expect("a good key"),
            engine: engine.public_key(),
            life: 1,
            sealed: 0,
            has_moved: false,
            asked: VecDeque::new(),
        }
    }

    /// Returns its address and the address that it may move to.
    pub(super) fn addresses(&self) -> [SocketAddr; 2] {
        static PARSED: OnceLock<Vec<[SocketAddr; 2]>> = OnceLock::new();
        let parsed = PARSED.get_or_init(|| {
            let parse = |address: &str| address.parse().expect("an address");
            ADDRESSES.iter().map(|pair| pair.map(parse)).collect()
        });
        let addresses = parsed.get(usize::from(self.number));
        *addresses.expect("each peer has addresses")
    }

    pub(super) fn address(&self) -> SocketAddr {
        let [here, there] = self.addresses();
        if self.has_moved { there } else { here }
    }

    pub(super) fn restart(&mut self) {
        self.life = self.life.wrapping_add(1);
        self.sealed = 0;
        self.asked.clear();
    }

    /// Returns a nonce that counts upwards behind a prefix of this run. Some peers use unordered
    /// nonces, as reference nodes do.
    fn nonce(&mut self) -> Nonce {
        self.sealed += 1;
        let mut nonce = [self.number + 1; 12];
        let [_, life, .., a, b, c, d] = &mut nonce;
        *life = self.life;
        let [.., count_a, count_b, count_c, count_d] = self.sealed.to_be_bytes();
        [*a, *b, *c, *d] = [count_a, count_b, count_c, count_d];
        if self.number % 3 == 2 {
            let hash = astreum_core::crypto::hash(&nonce);
            nonce.copy_from_slice(&hash[..12]);
        }
        nonce
    }

    /// Returns a packet with this much proof of work.
    pub(super) fn packet(
        &mut self,
        work: u32,
        write: impl FnOnce(&mut Self, &mut Vec<u8>),
    ) -> Vec<u8> {
        let mut packet = Vec::new();
        let mut draft = Draft::new(&mut packet);
        write(self, draft.message_mut());
        draft.work(work);
        packet
    }

    /// Appends sealed content.
    pub(super) fn seal(&mut self, out: &mut Vec<u8>, topic: Topic, content: &[u8]) {
        let nonce = self.nonce();
        let envelope = Envelope {
            sender: self.key,
            port: self.address().port(),
            key: &self.shared,
            nonce,
        };
        // No content here is too long for the cipher.
        let _ = envelope.write(out, topic, content);
    }

    /// Appends a handshake with an authenticated block.
    pub(super) fn introduce(&mut self, out: &mut Vec<u8>, block: &Block) {
        let nonce = self.nonce();
        let mut message = Vec::new();
        write_handshake(&mut message, &self.key, self.address().port(), &[]);
        block.write(&mut message);
        handshake::authenticate(&mut message, &self.shared, &self.engine, &nonce);
        out.extend_from_slice(&message);
    }

    /// Appends an answer to a request of the engine.
    pub(super) fn answer(&mut self, out: &mut Vec<u8>, id: AtomId, answer: &Answer) {
        let mut content = Vec::new();
        match answer {
            Answer::Seen(address) => {
                write_response_head(&mut content, Kind::Nearest, &id);
                content.extend_from_slice(&place(*address));
            }
            Answer::Contact(key, address) => {
                write_response_head(&mut content, Kind::Provider, &id);
                content.extend_from_slice(key.as_bytes());
                // An IPv6 address follows an empty IPv4 address.
                if address.is_ipv6() {
                    content.extend_from_slice(&[0; 4]);
                    content.extend_from_slice(&address.port().to_be_bytes());
                }
                content.extend_from_slice(&place(*address));
            }
            Answer::Atom(atom) => {
                write_response_head(&mut content, Kind::Found, &id);
                write_found_atom(&mut content, atom);
            }
            Answer::List(atoms) => {
                write_response_head(&mut content, Kind::Found, &id);
                let _ = write_found_list(&mut content, atoms);
            }
            Answer::Nothing => write_response_head(&mut content, Kind::Found, &id),
        }
        self.seal(out, Topic::ObjectResponse, &content);
    }

    /// Returns the content of a message of `sender`, which is this peer or the engine, that was sealed
    /// for both.
    fn opened(&self, sender: &PublicKey, message: &Message<'_>) -> Option<Vec<u8>> {
        let Body::Sealed(sealed) = message.body else {
            return None;
        };
        if message.sender != *sender {
            return None;
        }
        let mut content = Vec::new();
        let (topic, opened) = sealed.open(&self.shared, &mut content).ok()?;
        Some([&[topic.code()], opened].concat())
    }

    /// Records the addresses that a message to the engine names, if it is from this peer, and the
    /// size of its datagram.
    pub(super) fn open(&self, message: &Message<'_>, len: usize, ledger: &mut Ledger) {
        if let Some(content) = self.opened(&self.key, message) {
            ledger.named(content, len);
        }
    }

    /// Processes a packet of the engine.
    pub(super) fn take(&mut self, to: SocketAddr, datagram: &[u8]) {
        if to != canonical(self.address()) {
            return;
        }
        let Some(message) = decode(datagram) else {
            return;
        };
        let content = self.opened(&self.engine, &message).unwrap_or_default();
        if let [topic, request @ ..] = &*content
            && *topic == Topic::ObjectRequest.code()
            && let Ok(request) = Request::decode(request)
            && matches!(request.action, Action::Get(_))
            && self.asked.len() < MAX_ASKED
        {
            self.asked.push_back(request.atom_id);
        }
    }
}

/// Returns the message in a datagram.
pub(super) fn decode(datagram: &[u8]) -> Option<Message<'_>> {
    Message::decode(Packet::decode(datagram).ok()?.message()).ok()
}

/// Encodes an address and port like the engine.
fn place(address: SocketAddr) -> Vec<u8> {
    let port = address.port().to_be_bytes();
    match address.ip() {
        IpAddr::V4(ip) => [&ip.octets()[..], &port].concat(),
        IpAddr::V6(ip) => [&ip.octets()[..], &port].concat(),
    }
}
