//! Benchmarks of the datagrams that one engine handles per second, without sockets and with its
//! answers drained: pings, requests with small and large answers, and malformed datagrams.

#![expect(clippy::expect_used, reason = "a bench that fails is to stop")]

use astreum_core::atom::{Atom, AtomId, MemoryStore};
use astreum_core::crypto::{Nonce, PublicKey, SecretKey, SharedKey, hash};
use astreum_core::engine::{Engine, EngineConfig};
use astreum_core::time::Instant;
use astreum_core::wire::message::{Body, Envelope, HEADER_BYTES, Message, Topic, write_handshake};
use astreum_core::wire::object::{Action, Answer, PayloadType, Request, write_response_head};
use astreum_core::wire::packet::{Draft, NONCE_BYTES, Packet};
use core::cell::RefCell;
use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;
use divan::Bencher;
use divan::counter::ItemsCount;

fn main() {
    divan::main();
}

const BATCH: usize = 1_000;

fn address(n: u8) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, n], 1_000 + u16::from(n)))
}

/// Returns the nonce of a sealed packet.
fn sealed_under(packet: &[u8]) -> Option<Nonce> {
    let message = packet.get(NONCE_BYTES..)?;
    let is_sealed = message.first() == Some(&0);
    let nonce = message.get(HEADER_BYTES..)?.first_chunk().copied();
    nonce.filter(|_| is_sealed)
}

/// Engine with a validated peer, and a source of packets of that peer.
struct Pair {
    server: Engine,
    secret: SecretKey,
    key: PublicKey,
    /// Last nonce, of the stream that the peer has confirmed.
    nonce: Nonce,
    store: MemoryStore,
}

impl Pair {
    fn new() -> Self {
        let [mut server, mut client] = [1, 2].map(|n| {
            let config = EngineConfig::new(SecretKey::from_bytes([n; 32]), address(n).port());
            Engine::new(config, [n; 32], Instant::ZERO)
        });
        let store = MemoryStore::new();
        client.connect(Instant::ZERO, address(1));
        let mut buffer = Vec::new();
        let mut nonce = None;
        for _ in 0..20 {
            while client.poll_transmit(&mut buffer).is_some() {
                nonce = sealed_under(&buffer).or(nonce);
                server.handle_datagram(Instant::ZERO, address(2), &buffer, &store);
            }
            while server.poll_transmit(&mut buffer).is_some() {
                client.handle_datagram(Instant::ZERO, address(1), &buffer, &store);
            }
        }
        assert!(server.peers().all(|peer| peer.is_validated) && server.peer_count() == 1);
        let key = *server.public_key();
        Self {
            server,
            secret: SecretKey::from_bytes([2; 32]),
            key,
            nonce: nonce.expect("the peer has sealed something"),
            store,
        }
    }

    /// Returns the next packets of the peer.
    fn packets(&mut self, topic: Topic, content: &[u8]) -> Vec<Vec<u8>> {
        let shared = self.secret.agree(&self.key).expect("a good key");
        let packets = (0..BATCH).map(|_| self.packet(&shared, 1_002, topic, content));
        packets.collect()
    }

    /// Returns the next packet of the peer, from a port.
    fn packet(&mut self, shared: &SharedKey, port: u16, topic: Topic, content: &[u8]) -> Vec<u8> {
        let mut count = [0; 8];
        count[2..].copy_from_slice(&self.nonce[6..]);
        let count = u64::from_be_bytes(count) + 1;
        self.nonce[6..].copy_from_slice(&count.to_be_bytes()[2..]);
        let nonce = self.nonce;
        let sender = self.secret.public_key();
        let envelope = Envelope {
            sender,
            port,
            key: shared,
            nonce,
        };
        let mut packet = Vec::new();
        let mut draft = Draft::new(&mut packet);
        envelope
            .write(draft.message_mut(), topic, content)
            .expect("short");
        draft.work(1);
        packet
    }

    /// Has the engine advertise objects, and drains the packets that are due.
    fn advertise(&mut self, count: u32) {
        for n in 0..count {
            let id = AtomId::new(hash(&n.to_be_bytes()));
            assert!(
                self.server
                    .advertise(Instant::ZERO, id, PayloadType::ATOM, None)
            );
        }
        self.handle(&[]);
    }

    /// Has the peer ping from another port; returns its answer to the probe that follows.
    fn move_to(&mut self, now: Instant, port: u16) -> Vec<u8> {
        let shared = self.secret.agree(&self.key).expect("a good key");
        let to = SocketAddr::new(address(2).ip(), port);
        let ping = self.packet(&shared, port, Topic::Ping, &PING);
        self.server.handle_datagram(now, to, &ping, &self.store);
        let (mut buffer, mut content) = (Vec::new(), Vec::new());
        let mut answer = None;
        while self.server.poll_transmit(&mut buffer).is_some() {
            let packet = Packet::decode(&buffer).expect("a packet");
            let message = Message::decode(packet.message()).expect("a message");
            if let Body::Sealed(sealed) = message.body
                && let Ok((Topic::ObjectRequest, content)) = sealed.open(&shared, &mut content)
                && let Ok(request) = Request::decode(content)
                && request.action == Action::Get(Some(PayloadType::ATOM))
            {
                answer = Some(request.atom_id);
            }
        }
        let mut content = Vec::new();
        write_response_head(&mut content, Answer::Nearest, &answer.expect("a probe"));
        self.packet(&shared, port, Topic::ObjectResponse, &content)
    }

    fn handle(&mut self, packets: &[Vec<u8>]) -> usize {
        let mut buffer = Vec::new();
        let mut answers = 0;
        for packet in packets {
            self.server
                .handle_datagram(Instant::ZERO, address(2), packet, &self.store);
            while self.server.poll_transmit(&mut buffer).is_some() {
                answers += 1;
            }
        }
        while self.server.poll_event().is_some() {}
        answers
    }

    fn bench(
        mut self,
        bencher: Bencher<'_, '_>,
        topic: Topic,
        content: &[u8],
        answers_each: usize,
    ) {
        // One warm-up batch, so that buffers have their final size.
        let warm = self.packets(topic, content);
        self.handle(&warm);
        let pair = RefCell::new(self);
        bencher
            .counter(ItemsCount::new(BATCH))
            // Each batch is handled in the order of its creation: old nonces would count as
            // replays.
            .with_inputs(|| pair.borrow_mut().packets(topic, content))
            .bench_local_values(|packets| {
                assert_eq!(pair.borrow_mut().handle(&packets), answers_each * BATCH);
            });
    }
}

fn get(id: AtomId) -> Vec<u8> {
    let mut content = Vec::new();
    let action = Action::Get(Some(PayloadType::ATOM));
    Request {
        action,
        atom_id: id,
        data: &[],
    }
    .write(&mut content);
    content
}

/// Ping that requires one bit of work.
const PING: [u8; 34] = {
    let mut ping = [0; 34];
    ping[1] = 1;
    ping
};

/// A handshake and a ping of a peer, with `advertised` objects.
#[divan::bench(sample_size = 1, args = [0, 65_536])]
fn handshake_and_ping(bencher: Bencher<'_, '_>, advertised: u32) {
    let mut pair = Pair::new();
    pair.advertise(advertised);
    let mut handshake = Vec::new();
    let mut draft = Draft::new(&mut handshake);
    write_handshake(draft.message_mut(), &pair.secret.public_key(), 1_002, &[]);
    draft.work(1);
    let pair = RefCell::new(pair);
    bencher
        .counter(ItemsCount::new(BATCH))
        .with_inputs(|| {
            let pings = pair.borrow_mut().packets(Topic::Ping, &PING).into_iter();
            let pairs = pings.flat_map(|ping| [handshake.clone(), ping]);
            pairs.collect::<Vec<Vec<u8>>>()
        })
        .bench_local_values(|packets| pair.borrow_mut().handle(&packets));
}

/// The answer that validates another port of a peer, with `advertised` objects.
#[divan::bench(sample_size = 1, args = [0, 65_536])]
fn port_move(bencher: Bencher<'_, '_>, advertised: u32) {
    let mut pair = Pair::new();
    pair.advertise(advertised);
    let state = RefCell::new((pair, Instant::from_secs(1), 2_000));
    bencher
        .with_inputs(|| {
            let (pair, now, port) = &mut *state.borrow_mut();
            *now = *now + Duration::from_secs(2);
            *port += 1;
            (*now, *port, pair.move_to(*now, *port))
        })
        .bench_local_values(|(now, port, answer)| {
            let pair = &mut state.borrow_mut().0;
            let from = SocketAddr::new(address(2).ip(), port);
            pair.server.handle_datagram(now, from, &answer, &pair.store);
        });
}

/// Sealed packets of an unknown sender, each from another network.
#[divan::bench(sample_size = 1)]
fn random_networks(bencher: Bencher<'_, '_>) {
    let mut pair = Pair::new();
    let mut packet = pair.packets(Topic::Ping, &PING).swap_remove(0);
    // Replaces the sender by an unknown one.
    packet
        .get_mut(NONCE_BYTES + 1..NONCE_BYTES + 33)
        .expect("a header")
        .copy_from_slice(SecretKey::from_bytes([9; 32]).public_key().as_bytes());
    Draft::resume(&mut packet).expect("a packet").work(1);
    let mut network = 0x1000_0000u32;
    let mut handle = |pair: &mut Pair| {
        let mut buffer = Vec::new();
        for _ in 0..BATCH {
            network = network.wrapping_add(256);
            let from = SocketAddr::from((Ipv4Addr::from_bits(network), 9));
            pair.server
                .handle_datagram(Instant::ZERO, from, &packet, &pair.store);
            while pair.server.poll_transmit(&mut buffer).is_some() {}
        }
    };
    // Fills budgets and tables first.
    (0..10).for_each(|_| handle(&mut pair));
    bencher
        .counter(ItemsCount::new(BATCH))
        .bench_local(|| handle(&mut pair));
}

#[divan::bench(sample_size = 1)]
fn ping(bencher: Bencher<'_, '_>) {
    let mut content = [0; 34];
    content[1] = 1;
    Pair::new().bench(bencher, Topic::Ping, &content, 0);
}

#[divan::bench(sample_size = 1, args = [100, 3_900])]
fn get_found(bencher: Bencher<'_, '_>, bytes: usize) {
    let mut pair = Pair::new();
    let id = pair.store.insert(Atom::bytes(vec![1; bytes]));
    pair.bench(bencher, Topic::ObjectRequest, &get(id), 1);
}

#[divan::bench(sample_size = 1)]
fn get_missing(bencher: Bencher<'_, '_>) {
    Pair::new().bench(bencher, Topic::ObjectRequest, &get(AtomId::new([1; 32])), 1);
}

#[divan::bench(sample_size = 1, args = [9, 100, 1_400])]
fn junk(bencher: Bencher<'_, '_>, bytes: usize) {
    let mut pair = Pair::new();
    let packets: Vec<Vec<u8>> = (0..BATCH)
        .map(|n| {
            let mut packet = (n as u64).to_be_bytes().to_vec();
            packet.resize(bytes, 0x5a);
            packet
        })
        .collect();
    bencher
        .counter(ItemsCount::new(BATCH))
        .bench_local(|| pair.handle(&packets));
}
