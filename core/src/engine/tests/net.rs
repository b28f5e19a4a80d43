//! Simulated network of engines and reference models. Packets take a millisecond unless a test sets
//! another latency; each is recorded.

use super::reference::Reference;
use crate::atom::{Atom, AtomId, MemoryStore};
use crate::crypto::{PublicKey, SecretKey};
use crate::engine::{DropReason, Engine, EngineConfig, Event, FetchError, FetchRequest};
use crate::time::Instant;
use crate::wire::object::PayloadType;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

pub(super) const LATENCY: Duration = Duration::from_millis(1);

pub(super) struct Node {
    pub(super) engine: Engine,
    pub(super) store: MemoryStore,
    pub(super) events: Vec<Event>,
}

pub(super) enum Host {
    Ours(Box<Node>),
    Reference(Box<Reference>),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Packet {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) bytes: Vec<u8>,
}

#[derive(Default)]
pub(super) struct Net {
    pub(super) now: Instant,
    pub(super) hosts: BTreeMap<SocketAddr, Host>,
    in_flight: BTreeMap<(Instant, u64), Packet>,
    count: u64,
    /// Latency in one direction.
    pub(super) latency: Duration,
    /// Maximum number of bytes of a packet that arrives.
    pub(super) max_packet_bytes: Option<usize>,
    pub(super) sent: Vec<Packet>,
}

pub(super) fn secret(n: u8) -> SecretKey {
    SecretKey::from_bytes([n; 32])
}

pub(super) fn key(n: u8) -> PublicKey {
    secret(n).public_key()
}

/// Returns the loopback address of a node. Loopback is exempt from the limits per network.
pub(super) fn at(n: u8) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, n], 1000 + u16::from(n)))
}

pub(super) fn config(n: u8) -> EngineConfig {
    EngineConfig::new(secret(n), at(n).port())
}

impl Net {
    /// Creates an empty network.
    pub(super) fn new() -> Self {
        Self {
            now: Instant::from_secs(1_000),
            latency: LATENCY,
            ..Self::default()
        }
    }

    /// Adds nodes 1 to `count` of this implementation, which do not know each other.
    pub(super) fn of_ours(count: u8) -> Self {
        let mut net = Self::new();
        for n in 1..=count {
            net.add(n, config(n));
        }
        net
    }

    pub(super) fn add(&mut self, n: u8, config: EngineConfig) {
        self.add_at(at(n), config, [n; 32]);
    }

    pub(super) fn add_at(&mut self, address: SocketAddr, config: EngineConfig, seed: [u8; 32]) {
        let engine = Engine::new(config, seed, self.now);
        let node = Node {
            engine,
            store: MemoryStore::new(),
            events: Vec::new(),
        };
        self.hosts.insert(address, Host::Ours(Box::new(node)));
    }

    pub(super) fn add_reference(&mut self, n: u8) -> &mut Reference {
        self.hosts.insert(
            at(n),
            Host::Reference(Box::new(Reference::new(secret(n), at(n)))),
        );
        self.reference(n)
    }

    pub(super) fn node_at(&mut self, address: SocketAddr) -> &mut Node {
        match self.hosts.get_mut(&address) {
            Some(Host::Ours(node)) => node,
            _ => panic!("no node of ours at {address}"),
        }
    }

    pub(super) fn node(&mut self, n: u8) -> &mut Node {
        self.node_at(at(n))
    }

    pub(super) fn engine(&mut self, n: u8) -> &mut Engine {
        &mut self.node(n).engine
    }

    pub(super) fn reference(&mut self, n: u8) -> &mut Reference {
        match self.hosts.get_mut(&at(n)) {
            Some(Host::Reference(reference)) => reference,
            _ => panic!("no reference {n}"),
        }
    }

    /// Calls `act` on an engine, then sends the packets that it has queued.
    pub(super) fn with<R>(&mut self, n: u8, act: impl FnOnce(&mut Engine, Instant) -> R) -> R {
        let now = self.now;
        let result = act(self.engine(n), now);
        self.drain(at(n));
        result
    }

    pub(super) fn connect(&mut self, from: u8, to: u8) {
        self.with(from, |engine, now| engine.connect(now, at(to)));
    }

    /// Connects one node to another and runs the network for a second.
    pub(super) fn meet(&mut self, from: u8, to: u8) {
        self.connect(from, to);
        self.run(Duration::from_secs(1));
    }

    pub(super) fn put(&mut self, n: u8, atom: Atom) -> AtomId {
        self.node(n).store.insert(atom)
    }

    pub(super) fn fetch(&mut self, n: u8, id: AtomId, kind: PayloadType) {
        self.with(n, |engine, now| {
            engine.fetch(now, FetchRequest::new(id, kind))
        });
    }

    /// Puts a packet on the wire.
    pub(super) fn inject(&mut self, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        let packet = Packet { from, to, bytes };
        self.sent.push(packet.clone());
        let len = packet.bytes.len();
        if self.max_packet_bytes.is_some_and(|most| len > most) {
            return;
        }
        self.in_flight
            .insert((self.now + self.latency, self.count), packet);
        self.count += 1;
    }

    fn drain(&mut self, address: SocketAddr) {
        let mut packets = Vec::new();
        match self.hosts.get_mut(&address) {
            Some(Host::Ours(node)) => {
                let mut buffer = Vec::new();
                while let Some(transmit) = node.engine.poll_transmit(&mut buffer) {
                    assert_eq!(transmit.len, buffer.len());
                    packets.push((transmit.to, buffer.clone()));
                }
                while let Some(event) = node.engine.poll_event() {
                    node.events.push(event);
                }
            }
            Some(Host::Reference(reference)) => packets.append(&mut reference.out),
            None => {}
        }
        for (to, bytes) in packets {
            self.inject(address, to, bytes);
        }
    }

    /// Runs the network for `time`.
    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        let addresses: Vec<SocketAddr> = self.hosts.keys().copied().collect();
        addresses.iter().for_each(|address| self.drain(*address));
        loop {
            let arrival = self.in_flight.first_key_value().map(|((at, _), _)| *at);
            let timeout = self.hosts.iter().filter_map(|(address, host)| match host {
                Host::Ours(node) => Some((node.engine.poll_timeout()?, *address)),
                Host::Reference(_) => None,
            });
            let timeout = timeout.min();
            let next = arrival.into_iter().chain(timeout.map(|(at, _)| at)).min();
            let Some(next) = next.filter(|next| *next <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            if arrival == Some(next) {
                let (_, packet) = self.in_flight.pop_first().unwrap();
                self.deliver(&packet);
            } else if let Some((_, address)) = timeout {
                let now = self.now;
                let node = self.node_at(address);
                node.engine.handle_timeout(now, &node.store);
                assert!(
                    node.engine.poll_timeout() > Some(now),
                    "a timeout that is not handled"
                );
                self.drain(address);
            }
        }
    }

    fn deliver(&mut self, packet: &Packet) {
        let now = self.now;
        match self.hosts.get_mut(&packet.to) {
            Some(Host::Ours(node)) => {
                node.engine
                    .handle_datagram(now, packet.from, &packet.bytes, &node.store);
            }
            Some(Host::Reference(reference)) => reference.receive(packet.from, &packet.bytes),
            None => return,
        }
        self.drain(packet.to);
    }

    /// Returns the packets to `to`, without the first `skip` of all packets.
    pub(super) fn sent_to(&self, to: SocketAddr, skip: usize) -> Vec<&Packet> {
        self.sent
            .iter()
            .skip(skip)
            .filter(|packet| packet.to == to)
            .collect()
    }

    pub(super) fn dropped(&mut self, n: u8, reason: DropReason) -> u64 {
        self.engine(n).stats().dropped(reason)
    }

    /// Returns the results of the fetches of a node, in order.
    pub(super) fn fetched(&mut self, n: u8) -> Vec<Result<Vec<Atom>, FetchError>> {
        let events = self.node(n).events.iter();
        events
            .filter_map(|event| match event {
                Event::Fetched { atoms, .. } => Some(Ok(atoms.to_vec())),
                Event::FetchFailed { error, .. } => Some(Err(*error)),
                _ => None,
            })
            .collect()
    }

    pub(super) fn knows(&mut self, n: u8, other: u8) -> bool {
        self.engine(n)
            .peer(&key(other))
            .is_some_and(|peer| peer.is_validated)
    }
}
