//! Scripted peers, which send exactly the packets of a test, and a stage that connects them to one
//! engine without latency.

use super::net::config;
use super::unknown_peer;
use crate::atom::{Atom, AtomId, AtomSource, MemoryStore};
use crate::crypto::{Nonce, PublicKey, SecretKey};
use crate::engine::{Engine, Event, FetchError, contact};
use crate::time::Instant;
use crate::wire::handshake::{self, Block};
use crate::wire::message::{Body, Message, Topic, write_handshake};
use crate::wire::object::{
    Action, Answer, PayloadType, Request, Response, write_found_atom, write_response_head,
};
use crate::wire::packet::{Draft, Packet};
use crate::wire::ping::Ping;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::num::NonZeroU8;
use core::time::Duration;

/// A scripted peer of one engine.
pub(super) struct Scripted {
    pub(super) secret: SecretKey,
    pub(super) address: SocketAddr,
    /// Number of the run of the peer: the prefix of its nonces.
    pub(super) run_number: u8,
    count: u64,
    /// `true` to use random nonces and to name the asker in answers to unknown ids, as a reference
    /// node does.
    pub(super) is_reference: bool,
    pub(super) answers_probes: bool,
    pub(super) answers_gets: bool,
    /// Address at which it reports that it observes the engine.
    pub(super) seen: SocketAddr,
    pub(super) store: MemoryStore,
    /// Redirects with which it answers requests for objects that it does not have, the last first.
    pub(super) redirects: Vec<(PublicKey, SocketAddr)>,
    /// Authentic content that the engine has sent it, without probes.
    pub(super) got: Vec<(Topic, Vec<u8>)>,
    /// Number of probes that the engine has sent it.
    pub(super) probes: usize,
    /// Payloads of the handshakes that the engine has sent it.
    pub(super) payloads: Vec<Vec<u8>>,
    /// All packets that it has sent, for replay.
    pub(super) sent: Vec<Vec<u8>>,
}

impl Scripted {
    pub(super) fn new(n: u32, address: SocketAddr) -> Self {
        Self {
            secret: unknown_peer::many(n),
            address,
            run_number: 1,
            count: 0,
            is_reference: false,
            answers_probes: true,
            answers_gets: true,
            seen: "198.51.100.1:1001".parse().unwrap(),
            store: MemoryStore::new(),
            redirects: Vec::new(),
            got: Vec::new(),
            probes: 0,
            payloads: Vec::new(),
            sent: Vec::new(),
        }
    }

    pub(super) fn key(&self) -> PublicKey {
        self.secret.public_key()
    }

    /// Discards all state but its key and address.
    pub(super) fn restart(&mut self) {
        self.run_number += 1;
        self.count = 0;
    }

    fn nonce(&mut self) -> Nonce {
        self.count += 1;
        let mut nonce = [self.run_number; 12];
        nonce[4..].copy_from_slice(&self.count.to_be_bytes());
        if self.is_reference {
            let seed = [self.secret.as_bytes().as_slice(), &nonce].concat();
            nonce = *crate::crypto::hash(&seed).first_chunk().unwrap();
        }
        nonce
    }

    pub(super) fn handshake(&mut self) -> Vec<u8> {
        let packet = unknown_peer::handshake(&self.key(), self.address.port());
        self.sent.push(packet.clone());
        packet
    }

    pub(super) fn sealed(&mut self, to: &PublicKey, topic: Topic, content: &[u8]) -> Vec<u8> {
        let nonce = self.nonce();
        let port = self.address.port();
        let packet = unknown_peer::sealed(&self.secret, to, port, nonce, topic, content);
        self.sent.push(packet.clone());
        packet
    }

    pub(super) fn ping(&mut self, to: &PublicKey, head: Option<AtomId>) -> Vec<u8> {
        let ping = Ping {
            is_validator: false,
            difficulty: NonZeroU8::MIN,
            latest_block: head,
        };
        self.sealed(to, Topic::Ping, &ping.encode())
    }

    /// Returns a handshake with an authenticated block.
    pub(super) fn block(&mut self, to: &PublicKey, block: &Block) -> Vec<u8> {
        let nonce = self.nonce();
        let shared = self.secret.agree(to).unwrap();
        let mut packet = Vec::new();
        let mut message = Vec::new();
        write_handshake(&mut message, &self.key(), self.address.port(), &[]);
        block.write(&mut message);
        handshake::authenticate(&mut message, &shared, to, &nonce);
        let mut draft = Draft::new(&mut packet);
        draft.message_mut().extend_from_slice(&message);
        draft.work(1);
        self.sent.push(packet.clone());
        packet
    }

    /// Returns a put that states that it has an object.
    pub(super) fn put(&mut self, to: &PublicKey, id: AtomId) -> Vec<u8> {
        let contact = contact::encode(self.key(), self.address);
        let mut content = Vec::new();
        let action = Action::Put(PayloadType::ATOM);
        Request {
            action,
            atom_id: id,
            data: &contact,
        }
        .write(&mut content);
        self.sealed(to, Topic::ObjectRequest, &content)
    }

    fn open(&self, packet: &[u8]) -> Option<(PublicKey, Topic, Vec<u8>)> {
        let packet = Packet::decode(packet).ok()?;
        let message = Message::decode(packet.message()).ok()?;
        let Body::Sealed(sealed) = message.body else {
            return None;
        };
        let shared = self.secret.agree(&message.sender).ok()?;
        let mut out = Vec::new();
        let (topic, content) = sealed.open(&shared, &mut out).ok()?;
        Some((message.sender, topic, content.to_vec()))
    }

    /// Handles a packet of the engine; returns its answer.
    pub(super) fn receive(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        let decoded = Packet::decode(packet).ok()?;
        if let Ok(message) = Message::decode(decoded.message())
            && let Body::Handshake(payload) = message.body
        {
            self.payloads.push(payload.to_vec());
        }
        let (sender, topic, content) = self.open(packet)?;
        let get = Request::decode(&content).ok().filter(|request| {
            topic == Topic::ObjectRequest && matches!(request.action, Action::Get(_))
        });
        let Some(id) = get.map(|get| get.atom_id) else {
            self.got.push((topic, content));
            return None;
        };
        let is_probe = id.as_bytes()[..16] == sender.as_bytes()[..16];
        if is_probe {
            self.probes += 1;
        } else {
            self.got.push((topic, content));
        }
        let answers = if is_probe {
            self.answers_probes
        } else {
            self.answers_gets
        };
        answers.then(|| self.answer(&sender, id, is_probe))
    }

    fn answer(&mut self, to: &PublicKey, id: AtomId, is_probe: bool) -> Vec<u8> {
        let mut content = Vec::new();
        if let Ok(atom) = self.store.atom(&id) {
            write_response_head(&mut content, Answer::Found, &id);
            write_found_atom(&mut content, &atom);
        } else if !is_probe && let Some((key, address)) = self.redirects.pop() {
            write_response_head(&mut content, Answer::Provider, &id);
            content.extend_from_slice(&contact::encode(key, address));
        } else if self.is_reference {
            write_response_head(&mut content, Answer::Provider, &id);
            content.extend_from_slice(&contact::encode(*to, self.seen));
        } else {
            write_response_head(&mut content, Answer::Nearest, &id);
            content.extend_from_slice(&contact::encode_seen(self.seen));
        }
        assert!(Response::decode(&content).is_ok());
        self.sealed(to, Topic::ObjectResponse, &content)
    }
}

impl Scripted {
    /// Returns the number of requests for objects that it received, without probes.
    pub(super) fn requests(&self) -> usize {
        let is_get = |(topic, content): &&(Topic, Vec<u8>)| {
            *topic == Topic::ObjectRequest && content.first() == Some(&0)
        };
        self.got.iter().filter(is_get).count()
    }

    /// Returns the number of pings that it was sent.
    pub(super) fn pings(&self) -> usize {
        let pings = self.got.iter().filter(|(topic, _)| *topic == Topic::Ping);
        pings.count()
    }

    /// Returns the number of records that it was sent.
    pub(super) fn records(&self) -> usize {
        let is_put = |(topic, content): &&(Topic, Vec<u8>)| {
            *topic == Topic::ObjectRequest && content.first() == Some(&1)
        };
        self.got.iter().filter(is_put).count()
    }
}

/// One engine among scripted peers.
pub(super) struct Stage {
    pub(super) now: Instant,
    pub(super) engine: Engine,
    pub(super) store: MemoryStore,
    pub(super) peers: Vec<Scripted>,
    pub(super) events: Vec<Event>,
    /// Packets to addresses without a scripted peer.
    pub(super) stray: Vec<(SocketAddr, Vec<u8>)>,
}

impl Stage {
    pub(super) fn new() -> Self {
        Self::with(Engine::new(config(1), [1; 32], Instant::from_secs(1_000)))
    }

    pub(super) fn with(engine: Engine) -> Self {
        Self {
            now: Instant::from_secs(1_000),
            engine,
            store: MemoryStore::new(),
            peers: Vec::new(),
            events: Vec::new(),
            stray: Vec::new(),
        }
    }

    pub(super) fn me(&self) -> PublicKey {
        *self.engine.public_key()
    }

    /// Adds a peer that has not sent anything yet.
    pub(super) fn add(&mut self, peer: Scripted) -> usize {
        self.peers.push(peer);
        self.peers.len() - 1
    }

    /// Lets a peer send a handshake and then a ping that states `head`.
    pub(super) fn meet(&mut self, peer: usize, head: Option<AtomId>) {
        let me = self.me();
        let handshake = self.peers[peer].handshake();
        self.deliver(peer, &handshake);
        let ping = self.peers[peer].ping(&me, head);
        self.deliver(peer, &ping);
    }

    /// Adds a peer and lets it meet the engine.
    pub(super) fn join(&mut self, peer: Scripted) -> usize {
        let peer = self.add(peer);
        self.meet(peer, None);
        peer
    }

    pub(super) fn knows(&self, peer: usize) -> bool {
        let peer = self.engine.peer(&self.peers[peer].key());
        peer.is_some_and(|peer| peer.is_validated)
    }

    /// Delivers a packet of a peer to the engine, and carries the resulting packets.
    pub(super) fn deliver(&mut self, peer: usize, packet: &[u8]) {
        let from = self.peers[peer].address;
        self.deliver_from(from, packet);
    }

    pub(super) fn deliver_from(&mut self, from: SocketAddr, packet: &[u8]) {
        self.engine
            .handle_datagram(self.now, from, packet, &self.store);
        self.carry();
    }

    /// Carries packets until there are none.
    pub(super) fn carry(&mut self) {
        let mut buffer = Vec::new();
        while let Some(transmit) = self.engine.poll_transmit(&mut buffer) {
            let to = transmit.to;
            let Some(peer) = self.peers.iter_mut().find(|peer| peer.address == to) else {
                self.stray.push((to, buffer.clone()));
                continue;
            };
            if let Some(answer) = peer.receive(&buffer) {
                let from = peer.address;
                self.engine
                    .handle_datagram(self.now, from, &answer, &self.store);
            }
        }
        while let Some(event) = self.engine.poll_event() {
            self.events.push(event);
        }
    }

    /// Runs the stage for `time`.
    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        self.carry();
        while let Some(due) = self.engine.poll_timeout()
            && due <= end
        {
            self.now = self.now.max(due);
            self.engine.handle_timeout(self.now, &self.store);
            self.carry();
        }
        self.now = end;
    }

    /// Returns the results of the fetches, in order.
    pub(super) fn fetched(&self) -> Vec<Result<usize, FetchError>> {
        let fetched = self.events.iter().filter_map(|event| match event {
            Event::Fetched { atoms, .. } => Some(Ok(atoms.len())),
            Event::FetchFailed { error, .. } => Some(Err(*error)),
            _ => None,
        });
        fetched.collect()
    }

    /// Returns the reported heads, oldest first.
    pub(super) fn heads(&self) -> Vec<AtomId> {
        let heads = self.events.iter().filter_map(|event| match event {
            Event::Head { id, .. } => Some(*id),
            _ => None,
        });
        heads.collect()
    }

    /// Returns the reported transactions, oldest first.
    pub(super) fn transactions(&self) -> Vec<AtomId> {
        let transactions = self.events.iter().filter_map(|event| match event {
            Event::Transaction { id, .. } => Some(*id),
            _ => None,
        });
        transactions.collect()
    }
}

/// Returns a distinct atom for each number.
pub(super) fn atom(n: u32) -> Atom {
    Atom::bytes(n.to_be_bytes())
}
