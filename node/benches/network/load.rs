//! Load generator: a peer whose requests are sealed before the measurement starts.

use astreum_core::atom::AtomId;
use astreum_core::crypto::{PublicKey, SecretKey, SharedKey};
use astreum_core::wire::message::{Body, Envelope, Message, Topic, write_handshake};
use astreum_core::wire::object::{Action, Answer, Contact, PayloadType, Request, Response};
use astreum_core::wire::packet::{Draft, Packet};
use core::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use core::time::Duration;
use std::net::UdpSocket;
use std::time::Instant;

/// Number of requests in flight; the socket buffer of the node holds far more.
const WINDOW: usize = 64;
/// Time without an answer after which the requests in flight count as lost.
const LOST: Duration = Duration::from_millis(200);

/// Peer and its socket.
pub(crate) struct Load {
    socket: UdpSocket,
    own: PublicKey,
    shared: SharedKey,
    nonce: u128,
}

impl Load {
    /// Creates a peer whose address the node has validated.
    pub(crate) fn new(node: SocketAddr, key: PublicKey) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
        socket.set_read_timeout(Some(LOST)).expect("not zero");
        let secret = SecretKey::from_bytes([9; 32]);
        let mut load = Self {
            socket,
            own: secret.public_key(),
            shared: secret.agree(&key).expect("an honest key"),
            nonce: 1,
        };
        load.meet(node);
        load
    }

    fn port(&self) -> u16 {
        self.socket.local_addr().expect("it is bound").port()
    }

    /// Sends a handshake and answers the probes by which the node validates our address.
    fn meet(&mut self, node: SocketAddr) {
        let mut packet = Vec::new();
        let mut draft = Draft::new(&mut packet);
        write_handshake(draft.message_mut(), &self.own, self.port(), &[]);
        draft.work(1);
        self.socket.send_to(&packet, node).expect("loopback");
        let mut buffer = [0; 4_096];
        while let Ok(len) = self.socket.recv(&mut buffer) {
            if let Some(id) = self.requested_id(&buffer[..len]) {
                let answer = self.seal(Topic::ObjectResponse, |out| {
                    let contact = Contact {
                        public_key: self.own,
                        address: SocketAddrV4::new(Ipv4Addr::LOCALHOST, self.port()),
                    };
                    Response {
                        answer: Answer::Provider,
                        atom_id: id,
                        data: &contact.encode(),
                    }
                    .write(out);
                });
                self.socket.send_to(&answer, node).expect("loopback");
                self.nonce += 1;
            }
        }
    }

    /// Returns the id of the object that a packet requests.
    fn requested_id(&self, datagram: &[u8]) -> Option<AtomId> {
        let packet = Packet::decode(datagram).ok()?;
        let Body::Sealed(sealed) = Message::decode(packet.message()).ok()?.body else {
            return None;
        };
        let mut opened = Vec::new();
        let (topic, content) = sealed.open(&self.shared, &mut opened).ok()?;
        let request = Request::decode(content).ok()?;
        (topic == Topic::ObjectRequest).then_some(request.atom_id)
    }

    fn seal(&self, topic: Topic, write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut nonce = [0; 12];
        nonce.copy_from_slice(&self.nonce.to_be_bytes()[4..]);
        let mut packet = Vec::new();
        let mut draft = Draft::new(&mut packet);
        let envelope = Envelope {
            sender: self.own,
            port: self.port(),
            key: &self.shared,
            nonce,
        };
        envelope
            .write_with(draft.message_mut(), topic, write)
            .expect("it is short");
        draft.work(1);
        packet
    }

    /// Returns `count` sealed requests, for each of the atoms in turn.
    pub(crate) fn requests(&mut self, ids: &[AtomId], count: usize) -> Vec<Vec<u8>> {
        let request = |id| Request {
            action: Action::Get(Some(PayloadType::ATOM)),
            atom_id: id,
            data: &[],
        };
        ids.iter()
            .cycle()
            .take(count)
            .map(|id| {
                self.nonce += 1;
                self.seal(Topic::ObjectRequest, |out| request(*id).write(out))
            })
            .collect()
    }

    /// Sends the requests with a bounded number in flight; returns the answers per second.
    pub(crate) fn drive(&self, to: SocketAddr, requests: &[Vec<u8>]) -> f64 {
        let mut buffer = [0; 65_536];
        let (mut under_way, mut answered) = (0, 0);
        let mut last_answer = Instant::now();
        let start = last_answer;
        for request in requests {
            self.socket.send_to(request, to).expect("loopback");
            under_way += 1;
            while under_way >= WINDOW {
                match self.socket.recv(&mut buffer) {
                    Ok(_) => {
                        answered += 1;
                        under_way -= 1;
                    }
                    Err(_) => under_way = 0,
                }
            }
        }
        last_answer = last_answer.max(Instant::now());
        while under_way > 0 && self.socket.recv(&mut buffer).is_ok() {
            answered += 1;
            under_way -= 1;
            last_answer = Instant::now();
        }
        assert!(
            answered * 10 >= requests.len() * 9,
            "only {answered} of {} were answered",
            requests.len()
        );
        answered as f64 / (last_answer - start).as_secs_f64()
    }
}
