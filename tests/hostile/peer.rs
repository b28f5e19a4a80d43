//! Honest peer: an engine on a socket of its own.

use crate::process::Node;
use astreum_core::atom::{AtomId, MemoryStore};
use astreum_core::crypto::SecretKey;
use astreum_core::engine::{Engine, EngineConfig, Event, FetchRequest};
use astreum_core::time::Instant;
use astreum_core::wire::object::PayloadType;
use core::net::SocketAddr;
use core::time::Duration;
use std::io::ErrorKind;
use std::net::UdpSocket;

pub(crate) struct Peer {
    pub(crate) socket: UdpSocket,
    pub(crate) engine: Engine,
    /// Atoms that it serves.
    pub(crate) store: MemoryStore,
    origin: std::time::Instant,
    buffer: Vec<u8>,
    /// Received datagrams, if they are recorded.
    pub(crate) received: Option<Vec<Vec<u8>>>,
    /// Time that it takes to handle a datagram.
    pub(crate) delay: Option<Duration>,
    /// Sent datagrams, if they are recorded.
    pub(crate) sent: Option<Vec<Vec<u8>>>,
}

/// Opens a socket on loopback.
pub(crate) fn socket() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").expect("cannot bind a port on loopback")
}

impl Peer {
    pub(crate) fn new(secret: [u8; 32]) -> Self {
        let socket = socket();
        let port = socket.local_addr().unwrap().port();
        let config = EngineConfig::new(SecretKey::from_bytes(secret), port);
        let mut seed = secret;
        seed[0] ^= 0xff;
        Self {
            socket,
            engine: Engine::new(config, seed, Instant::ZERO),
            store: MemoryStore::new(),
            origin: std::time::Instant::now(),
            buffer: vec![0; 1 << 16],
            received: None,
            delay: None,
            sent: None,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    pub(crate) fn now(&self) -> Instant {
        Instant::ZERO + self.origin.elapsed()
    }

    fn transmit(&mut self) {
        let mut packet = Vec::new();
        while let Some(transmit) = self.engine.poll_transmit(&mut packet) {
            let _ = self.socket.send_to(&packet, transmit.to);
            if let Some(sent) = &mut self.sent {
                sent.push(packet.clone());
            }
        }
        while let Some(mut work) = self.engine.poll_work() {
            // An honest peer performs the requested work.
            if let Some(done) = work.run(1 << 22) {
                let now = self.now();
                self.engine.handle_work(now, done);
            }
        }
    }

    /// Runs the peer until `until` holds, for at most `time`. Returns whether it holds.
    pub(crate) fn run(
        &mut self,
        time: Duration,
        mut until: impl FnMut(&mut Engine) -> bool,
    ) -> bool {
        let end = std::time::Instant::now() + time;
        loop {
            self.transmit();
            if until(&mut self.engine) {
                return true;
            }
            let now = self.now();
            let left = end.saturating_duration_since(std::time::Instant::now());
            if left.is_zero() {
                return false;
            }
            let due = self
                .engine
                .poll_timeout()
                .map_or(left, |due| due.since(now));
            let wait = due.min(left).max(Duration::from_micros(100));
            self.socket.set_read_timeout(Some(wait)).unwrap();
            match self.socket.recv_from(&mut self.buffer) {
                Ok((len, from)) => {
                    if let Some(delay) = self.delay {
                        std::thread::sleep(delay);
                    }
                    let now = self.now();
                    if let Some(received) = &mut self.received {
                        received.push(self.buffer[..len].to_vec());
                    }
                    self.engine
                        .handle_datagram(now, from, &self.buffer[..len], &self.store);
                }
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                // The socket of a recipient has been closed.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                Err(error) => panic!("receiving: {error}"),
            }
            let now = self.now();
            if self.engine.poll_timeout().is_some_and(|due| due <= now) {
                self.engine.handle_timeout(now, &self.store);
            }
        }
    }

    /// Connects to the node. Returns whether both addresses were validated in time.
    pub(crate) fn connect_to(&mut self, node: &Node) -> bool {
        let (address, key) = (node.address, node.key);
        let now = self.now();
        self.engine.connect(now, address);
        let own = *self.engine.public_key();
        let connected = self.run(Duration::from_secs(5), |engine| {
            engine.peer(&key).is_some_and(|peer| peer.is_validated)
        });
        let is_known = || {
            node.peers()
                .iter()
                .any(|peer| peer.public_key == own && peer.is_validated)
        };
        for _ in 0..50 {
            if connected && is_known() {
                return true;
            }
            self.run(Duration::from_millis(100), |_| false);
        }
        false
    }

    /// Fetches an atom from any peer that has it, and returns the duration.
    pub(crate) fn fetch(&mut self, id: AtomId) -> Option<Duration> {
        let now = self.now();
        let asked = std::time::Instant::now();
        self.engine
            .fetch(now, FetchRequest::new(id, PayloadType::ATOM));
        let mut outcome = None;
        self.run(Duration::from_secs(6), |engine| {
            while let Some(event) = engine.poll_event() {
                match event {
                    Event::Fetched { .. } => outcome = Some(true),
                    Event::FetchFailed { .. } => outcome = Some(false),
                    _ => {}
                }
            }
            outcome.is_some()
        });
        (outcome == Some(true)).then(|| asked.elapsed())
    }
}
