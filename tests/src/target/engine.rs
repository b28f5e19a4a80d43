//! The engine under arbitrary datagrams, commands and time: no panic, bounded answers, bounded
//! state, and the same outputs for the same inputs.

use super::input::Input;
use astreum_core::atom::{Atom, AtomId, MemoryStore};
use astreum_core::crypto::{SecretKey, SharedKey};
use astreum_core::time::Instant;
use astreum_core::wire::engine::{Engine, EngineConfig, limits};
use astreum_core::wire::message::{Envelope, Topic, write_handshake};
use astreum_core::wire::object::PayloadType;
use astreum_core::wire::packet::Draft;
use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;

/// Peers whose keys the input may use.
const PEERS: u8 = 4;
/// Steps of one input.
const MAX_STEPS: usize = 200;
/// Packets that one step may bring out: what waits for a proof or a timer goes together.
const MAX_BURST: usize = 512;

/// Each step is a byte that says what happens, and its operands.
pub fn run(data: &[u8]) {
    let first = outputs(data);
    assert_eq!(first, outputs(data), "the engine is deterministic");
}

fn peer_secret(peer: u8) -> SecretKey {
    SecretKey::from_bytes([peer + 1; 32])
}

fn peer_address(peer: u8) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::new(127, 0, 0, peer + 1).into(), 4_000)
}

struct Run<'a> {
    input: Input<'a>,
    engine: Engine,
    shared: Vec<SharedKey>,
    store: MemoryStore,
    now: Instant,
    /// Sealed messages so far; a nonce is used once.
    sealed: u32,
}

fn outputs(data: &[u8]) -> Vec<(SocketAddr, Vec<u8>)> {
    let secret = SecretKey::from_bytes([99; 32]);
    let shared = (0..PEERS).filter_map(|peer| {
        let key = peer_secret(peer).public_key();
        secret.agree(&key).ok()
    });
    let atoms = [Atom::bytes(*b"small"), Atom::bytes(vec![7; 3_000])];
    let mut run = Run {
        input: Input(data),
        shared: shared.collect(),
        engine: Engine::new(EngineConfig::new(secret, 5_000), [5; 32], Instant::ZERO),
        store: atoms.into_iter().collect(),
        now: Instant::ZERO,
        sealed: 0,
    };
    let mut all = Vec::new();
    for _ in 0..MAX_STEPS {
        let Some(step) = run.input.byte() else { break };
        run.step(step);
        run.drain(&mut all);
    }
    let peers = run.engine.peers().count();
    assert!(
        peers <= usize::from(PEERS) + 1,
        "{peers} peers out of {PEERS}"
    );
    assert!(run.engine.provider_count() <= 2 * MAX_STEPS, "providers");
    all
}

impl Run<'_> {
    fn step(&mut self, step: u8) {
        let peer = (step >> 4) % PEERS;
        match step % 8 {
            // Raw bytes, from anywhere.
            0 => {
                let len = usize::from(self.input.byte().unwrap_or_default());
                let datagram = self.input.bytes(len).to_vec();
                self.receive(peer_address(peer), &datagram);
            }
            // Bytes as a message with the work that is asked for.
            1 => {
                let len = usize::from(self.input.byte().unwrap_or_default());
                let bytes = self.input.bytes(len).to_vec();
                self.send(peer, |out| out.extend_from_slice(&bytes));
            }
            2 => {
                let key = peer_secret(peer).public_key();
                self.send(peer, |out| write_handshake(out, &key, 4_000, &[]));
            }
            // Any content of any topic, sealed as a peer seals it.
            3 | 4 => {
                let topic = self.input.byte().unwrap_or_default();
                let topic = Topic::from_code(topic % 6).unwrap_or(Topic::Ping);
                let len = usize::from(self.input.byte().unwrap_or_default());
                let content = self.input.bytes(len).to_vec();
                self.sealed(peer, topic, &content);
            }
            5 => {
                let millis = u64::from(self.input.byte().unwrap_or_default()) * 250;
                self.now = self.now + Duration::from_millis(millis);
                self.engine.handle_timeout(self.now, &self.store);
            }
            6 => {
                let id = AtomId::new([self.input.byte().unwrap_or_default(); 32]);
                let kind = PayloadType::new(1 + step / 128);
                self.engine.fetch(self.now, id, kind);
            }
            _ => {
                let id = AtomId::new([self.input.byte().unwrap_or_default(); 32]);
                self.engine.connect(self.now, peer_address(peer));
                self.engine.advertise(self.now, id, PayloadType::ATOM, None);
            }
        }
    }

    fn sealed(&mut self, peer: u8, topic: Topic, content: &[u8]) {
        let Some(key) = self.shared.get(usize::from(peer)).cloned() else {
            return;
        };
        self.sealed += 1;
        let mut nonce = [peer; 12];
        nonce[..4].copy_from_slice(&self.sealed.to_be_bytes());
        let envelope = Envelope {
            sender: peer_secret(peer).public_key(),
            port: 4_000,
            key: &key,
            nonce,
        };
        self.send(peer, |out| {
            // No content here is too long for the cipher.
            let _ = envelope.write(out, topic, content);
        });
    }

    fn send(&mut self, peer: u8, write: impl FnOnce(&mut Vec<u8>)) {
        let mut buffer = Vec::new();
        let mut draft = Draft::new(&mut buffer);
        write(draft.message_mut());
        draft.work(u32::from(self.engine.required_difficulty().min(8)));
        self.receive(peer_address(peer), &buffer);
    }

    fn receive(&mut self, from: SocketAddr, datagram: &[u8]) {
        self.engine
            .handle_datagram(self.now, from, datagram, &self.store);
    }

    fn drain(&mut self, all: &mut Vec<(SocketAddr, Vec<u8>)>) {
        let mut buffer = Vec::new();
        let before = all.len();
        while let Some(transmit) = self.engine.poll_transmit(&mut buffer) {
            assert_eq!(transmit.len, buffer.len());
            all.push((transmit.to, buffer.clone()));
            assert!(
                all.len() - before <= MAX_BURST,
                "one step brings out no end of packets"
            );
        }
        while self.engine.poll_event().is_some() {}
        // Nobody grinds here; what is not brought back is dropped in time.
        while self.engine.poll_work().is_some() {}
        if let Some(next) = self.engine.poll_timeout() {
            assert!(next <= Instant::MAX, "a deadline");
        }
    }
}

/// The limits are what they are called.
const _: () = assert!(limits::AMPLIFICATION <= 3);
