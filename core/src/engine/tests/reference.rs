//! Small model of an unmodified reference node, as observed on the wire.

use crate::atom::{Atom, AtomId, AtomSource, MemoryStore};
use crate::crypto::{PublicKey, SecretKey};
use crate::wire::message::{Body, Envelope, Message, Topic, write_handshake};
use crate::wire::object::{
    Action, Answer, Contact, Found, PayloadType, Request, Response, write_found_atom,
    write_found_list,
};
use crate::wire::packet::{Draft, Packet, REFERENCE_MAX_BYTES};
use crate::wire::ping::Ping;
use crate::wire::routing_table::{Distance, PeerTable};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::{SocketAddr, SocketAddrV4};
use core::num::NonZeroU8;

pub(super) struct Reference {
    secret: SecretKey,
    me: PublicKey,
    address: SocketAddr,
    pub(super) peers: PeerTable<()>,
    pub(super) pings: BTreeMap<PublicKey, Ping>,
    pub(super) store: MemoryStore,
    pub(super) index: BTreeMap<AtomId, Vec<u8>>,
    pub(super) wanted: BTreeMap<AtomId, PayloadType>,
    pub(super) got: MemoryStore,
    pub(super) out: Vec<(SocketAddr, Vec<u8>)>,
    /// `true` if it does not answer requests for lists.
    pub(super) is_listless: bool,
    /// `true` if it ignores everything that it receives.
    pub(super) is_dead: bool,
    /// Number of the run, to be different after each restart.
    pub(super) run_number: u8,
    nonce: u64,
}

impl Reference {
    pub(super) fn new(secret: SecretKey, address: SocketAddr) -> Self {
        let me = secret.public_key();
        Self {
            me,
            secret,
            address,
            peers: PeerTable::new(me),
            pings: BTreeMap::new(),
            store: MemoryStore::new(),
            index: BTreeMap::new(),
            wanted: BTreeMap::new(),
            got: MemoryStore::new(),
            out: Vec::new(),
            is_listless: false,
            is_dead: false,
            run_number: 0,
            nonce: 0,
        }
    }

    pub(super) fn handshake(&mut self, to: SocketAddr, payload: &[u8]) {
        let mut packet = Vec::new();
        let mut draft = Draft::new(&mut packet);
        write_handshake(draft.message_mut(), &self.me, self.address.port(), payload);
        draft.work(1);
        self.out.push((to, packet));
    }

    pub(super) fn send(&mut self, key: &PublicKey, to: SocketAddr, topic: Topic, content: &[u8]) {
        // Random in the reference; here only unique and not a counter.
        self.nonce += 1;
        let hash = crate::crypto::hash(
            &[
                self.me.as_bytes(),
                &[self.run_number][..],
                &self.nonce.to_be_bytes(),
            ]
            .concat(),
        );
        let shared = self.secret.agree(key).unwrap();
        let nonce = *hash.first_chunk::<12>().unwrap();
        let port = self.address.port();
        let envelope = Envelope {
            sender: self.me,
            port,
            key: &shared,
            nonce,
        };
        let mut packet = Vec::new();
        let mut draft = Draft::new(&mut packet);
        envelope.write(draft.message_mut(), topic, content).unwrap();
        draft.work(1);
        self.out.push((to, packet));
    }

    pub(super) fn ping(&mut self, key: &PublicKey, to: SocketAddr) {
        let ping = Ping {
            is_validator: false,
            difficulty: NonZeroU8::MIN,
            latest_block: None,
        };
        self.send(key, to, Topic::Ping, &ping.encode());
    }

    pub(super) fn get(&mut self, key: &PublicKey, to: SocketAddr, id: AtomId, kind: PayloadType) {
        self.wanted.insert(id, kind);
        let request = Request {
            action: Action::Get(Some(kind)),
            atom_id: id,
            data: &[],
        };
        let mut content = Vec::new();
        request.write(&mut content);
        self.send(key, to, Topic::ObjectRequest, &content);
    }

    pub(super) fn advertise(&mut self, key: &PublicKey, to: SocketAddr, id: AtomId) {
        let contact = contact(self.me, self.address);
        let action = Action::Put(PayloadType::ATOM);
        let mut content = Vec::new();
        Request {
            action,
            atom_id: id,
            data: &contact,
        }
        .write(&mut content);
        self.send(key, to, Topic::ObjectRequest, &content);
    }

    pub(super) fn receive(&mut self, from: SocketAddr, datagram: &[u8]) {
        if self.is_dead {
            return;
        }
        let datagram = &datagram[..datagram.len().min(REFERENCE_MAX_BYTES)];
        let packet = Packet::decode(datagram).expect("a packet");
        packet.check_work(1).expect("work");
        let message = Message::decode(packet.message()).expect("a message");
        let sender = message.sender;
        let mut from = from;
        from.set_port(message.port.expect("a port").get());
        match message.body {
            Body::Handshake(_) => {
                let is_known = self.peers.get(&sender).is_some();
                if is_known {
                    self.peers.set_address(&sender, from).unwrap();
                } else {
                    self.peers.insert(sender, from, ()).unwrap();
                    self.handshake(from, &[]);
                }
                self.ping(&sender, from);
            }
            Body::Sealed(sealed) => {
                let shared = self.secret.agree(&sender).expect("a valid key");
                let mut out = Vec::new();
                match sealed.open(&shared, &mut out) {
                    Ok((topic, content)) => self.handle(sender, from, topic, content),
                    Err(_) => self.handshake(from, &self.address.port().to_be_bytes()),
                }
            }
        }
    }

    fn handle(&mut self, sender: PublicKey, from: SocketAddr, topic: Topic, content: &[u8]) {
        match topic {
            Topic::Ping => {
                self.pings
                    .insert(sender, Ping::decode(content).expect("a ping"));
            }
            Topic::ObjectRequest => {
                let request = Request::decode(content).expect("a request");
                match request.action {
                    Action::Get(kind) => self.serve(sender, from, request.atom_id, kind),
                    Action::Put(_) => self.handle_put(request),
                }
            }
            Topic::ObjectResponse => self.handle_response(content),
            Topic::RouteRequest | Topic::RouteResponse | Topic::Transaction => {}
        }
    }

    fn serve(&mut self, to: PublicKey, at: SocketAddr, id: AtomId, kind: Option<PayloadType>) {
        let mut data = Vec::new();
        let kind = kind.unwrap_or(PayloadType::ATOM);
        let is_list = kind == PayloadType::LIST;
        let answer = if is_list && self.is_listless {
            return;
        } else if let Some(atoms) = self.look_up(&id, is_list) {
            if is_list {
                write_found_list(&mut data, &atoms).unwrap();
            } else {
                write_found_atom(&mut data, &atoms[0]);
            }
            Answer::Found
        } else if let Some(provider) = self.index.get(&id) {
            data.extend_from_slice(provider);
            Answer::Provider
        } else if let Some(nearest) = self.peers.closest(id.as_bytes()) {
            // Perhaps the asker itself.
            data.extend_from_slice(&contact(*nearest.key(), nearest.address()));
            Answer::Provider
        } else {
            return;
        };
        let mut content = Vec::new();
        Response {
            answer,
            atom_id: id,
            data: &data,
        }
        .write(&mut content);
        self.send(&to, at, Topic::ObjectResponse, &content);
    }

    fn look_up(&self, id: &AtomId, is_list: bool) -> Option<Vec<Atom>> {
        let mut atoms = Vec::from([self.store.atom(id).ok()?]);
        while is_list && !atoms.last()?.next().is_zero() {
            atoms.push(self.store.atom(&atoms.last()?.next()).ok()?);
        }
        Some(atoms)
    }

    fn handle_put(&mut self, request: Request<'_>) {
        let target = request.atom_id.as_bytes();
        let own = Distance::between(target, self.me.as_bytes());
        let nearest = self
            .peers
            .closest(target)
            .map(|entry| (*entry.key(), entry.address()));
        match nearest {
            Some((key, at)) if Distance::between(target, key.as_bytes()) < own => {
                let mut content = Vec::new();
                request.write(&mut content);
                self.send(&key, at, Topic::ObjectRequest, &content);
            }
            _ => drop(self.index.insert(request.atom_id, request.data.to_vec())),
        }
    }

    fn handle_response(&mut self, content: &[u8]) {
        let response = Response::decode(content).expect("a response");
        let id = response.atom_id;
        let Some(kind) = self.wanted.get(&id).copied() else {
            return;
        };
        match response.answer {
            Answer::Found => {
                let found = Found::decode(&id, response.data).expect("the requested object");
                self.wanted.remove(&id);
                let atoms = found.atoms().iter();
                self.got.extend(atoms.map(|hashed| hashed.atom().clone()));
            }
            Answer::Provider => {
                let contact = Contact::decode(response.data).expect("a contact");
                self.get(&contact.public_key, contact.address.into(), id, kind);
            }
            Answer::Nearest => {}
        }
    }
}

fn contact(key: PublicKey, address: SocketAddr) -> Vec<u8> {
    let SocketAddr::V4(address) = address else {
        panic!("a reference node cannot write IPv6 contacts")
    };
    let address = SocketAddrV4::new(*address.ip(), address.port());
    Contact {
        public_key: key,
        address,
    }
    .encode()
    .to_vec()
}
