//! Datagrams that one engine handles per second, answers drained, without sockets: pings, requests
//! with small and large answers, and junk.

#![expect(clippy::expect_used, reason = "a bench that fails is to stop")]

use astreum_core::atom::{Atom, AtomId, MemoryStore};
use astreum_core::crypto::{Nonce, PublicKey, SecretKey};
use astreum_core::time::Instant;
use astreum_core::wire::engine::{Engine, EngineConfig};
use astreum_core::wire::message::{Envelope, HEADER_BYTES, Topic};
use astreum_core::wire::object::{Action, PayloadType, Request};
use astreum_core::wire::packet::{Draft, NONCE_BYTES};
use core::cell::RefCell;
use core::net::SocketAddr;
use divan::Bencher;
use divan::counter::ItemsCount;

fn main() {
    divan::main();
}

const BATCH: usize = 1_000;

fn address(n: u8) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, n], 1_000 + u16::from(n)))
}

/// The nonce of a sealed packet.
fn sealed_under(packet: &[u8]) -> Option<Nonce> {
    let message = packet.get(NONCE_BYTES..)?;
    let is_sealed = message.first() == Some(&0);
    let nonce = message.get(HEADER_BYTES..)?.first_chunk().copied();
    nonce.filter(|_| is_sealed)
}

/// An engine at which a peer is validated, and a source of that peer's packets.
struct Pair {
    server: Engine,
    secret: SecretKey,
    key: PublicKey,
    /// The last nonce: of the stream that the peer has confirmed.
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
        assert!(server.peers().all(|peer| peer.is_proven) && server.peer_count() == 1);
        let key = *server.public_key();
        Self {
            server,
            secret: SecretKey::from_bytes([2; 32]),
            key,
            nonce: nonce.expect("the peer has sealed something"),
            store,
        }
    }

    /// The next packets of the peer.
    fn packets(&mut self, topic: Topic, content: &[u8]) -> Vec<Vec<u8>> {
        let shared = self.secret.agree(&self.key).expect("a good key");
        let packet = |_| {
            let mut count = [0; 8];
            count[2..].copy_from_slice(&self.nonce[6..]);
            let count = u64::from_be_bytes(count) + 1;
            self.nonce[6..].copy_from_slice(&count.to_be_bytes()[2..]);
            let nonce = self.nonce;
            let sender = self.secret.public_key();
            let envelope = Envelope {
                sender,
                port: 1_002,
                key: &shared,
                nonce,
            };
            let mut packet = Vec::new();
            let mut draft = Draft::new(&mut packet);
            envelope
                .write(draft.message_mut(), topic, content)
                .expect("short");
            draft.work(1);
            packet
        };
        (0..BATCH).map(packet).collect()
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
        // One warm-up batch, so that buffers have their size.
        let warm = self.packets(topic, content);
        self.handle(&warm);
        let pair = RefCell::new(self);
        bencher
            .counter(ItemsCount::new(BATCH))
            // Each batch is handled as it was made: old nonces would count as replays.
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
