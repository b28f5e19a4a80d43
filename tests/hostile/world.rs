//! World of one engine in virtual time, honest peers around it, and an account of the bytes from
//! and to every address.

use astreum_core::atom::{Atom, AtomSource};
use astreum_core::atom::{AtomId, MemoryStore};
use astreum_core::crypto::{PublicKey, SecretKey, SharedKey};
use astreum_core::engine::{Engine, EngineConfig, Event, FetchRequest, LookUp, ObjectSource, Read};
use astreum_core::time::Instant;
use astreum_core::wire::message::{Body, Message, Topic};
use astreum_core::wire::object::{self, Contact, PayloadType, Request, Response};
use astreum_core::wire::packet::Packet;
use core::net::SocketAddr;
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

/// Size of the largest first contact, in bytes: a request.
const FIRST_CONTACT_BYTES: usize = 106;
const CONTACT_INTERVAL: Duration = Duration::from_secs(10);

/// Bytes from and to an address.
#[derive(Clone, Copy, Default)]
pub(crate) struct Account {
    pub(crate) sent: u64,
    /// Bytes in redirects of others that name it.
    pub(crate) named: u64,
    pub(crate) got: u64,
    contacted: Option<Instant>,
    /// Number of first contacts beyond the amplification limit.
    pub(crate) contacts: u64,
}

/// Host in the network of the engine.
pub(crate) struct Host {
    pub(crate) engine: Engine,
    pub(crate) store: MemoryStore,
    /// Key that it shares with the engine.
    shared: SharedKey,
    /// Handler that replaces the engine of a malicious host.
    pub(crate) answer: Option<Answer>,
    /// Objects that it has fetched, with their times.
    pub(crate) fetched: Vec<(AtomId, Instant)>,
}

/// Store of the engine, a part of which is on a disk that reads one atom after the other.
#[derive(Default)]
pub(crate) struct Objects {
    memory: MemoryStore,
    disk: MemoryStore,
}

/// Duration of a disk read of one atom.
pub(crate) const DISK_READ: Duration = Duration::from_millis(10);

impl Objects {
    /// Adds an atom in memory.
    pub(crate) fn insert(&mut self, atom: Atom) -> AtomId {
        self.memory.insert(atom)
    }

    /// Adds an atom on the disk.
    pub(crate) fn insert_on_disk(&mut self, atom: Atom) -> AtomId {
        self.disk.insert(atom)
    }
}

impl ObjectSource for Objects {
    fn look_up(&self, id: &AtomId) -> LookUp {
        match (self.memory.atom(id), self.disk.atom(id)) {
            (Ok(atom), _) => LookUp::Found(atom),
            (_, Ok(_)) => LookUp::OnDisk,
            _ => LookUp::Missing,
        }
    }
}

/// Datagrams in transit, with sender and receiver.
type Queue = VecDeque<(SocketAddr, SocketAddr, Vec<u8>)>;

/// Reply of a malicious host to a datagram; `None` for the usual handling.
pub(crate) type Answer = Box<dyn FnMut(&[u8]) -> Option<Vec<u8>>>;

pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) server: Engine,
    pub(crate) at: SocketAddr,
    pub(crate) store: Objects,
    /// Reads in progress, with the times at which they end.
    reads: VecDeque<(Instant, Read)>,
    pub(crate) hosts: BTreeMap<SocketAddr, Host>,
    pub(crate) accounts: BTreeMap<SocketAddr, Account>,
    /// Packets that the engine has sent, since this was last emptied.
    pub(crate) sent: Vec<(SocketAddr, Vec<u8>)>,
    pub(crate) keep_sent: bool,
    /// True if hosts reach each other, and not only the engine.
    pub(crate) hosts_meet: bool,
    /// Packets to unvalidated addresses beyond their amplification limit.
    pub(crate) violations: Vec<String>,
}

pub(crate) fn secret(n: u32) -> [u8; 32] {
    let mut secret = [0x5a; 32];
    secret[..4].copy_from_slice(&n.to_be_bytes());
    secret
}

impl World {
    pub(crate) fn new(at: SocketAddr) -> Self {
        let now = Instant::from_secs(1_000);
        let config = EngineConfig::new(SecretKey::from_bytes(secret(0)), at.port());
        Self {
            now,
            server: Engine::new(config, [9; 32], now),
            at,
            store: Objects::default(),
            reads: VecDeque::new(),
            hosts: BTreeMap::new(),
            accounts: BTreeMap::new(),
            sent: Vec::new(),
            keep_sent: false,
            hosts_meet: false,
            violations: Vec::new(),
        }
    }

    pub(crate) fn key(&self) -> PublicKey {
        *self.server.public_key()
    }

    /// Adds a host with the secret of this number, which starts a handshake.
    pub(crate) fn join(&mut self, n: u32, at: SocketAddr) {
        self.add(n, at);
        let (server, now) = (self.at, self.now);
        if let Some(host) = self.hosts.get_mut(&at) {
            host.engine.connect(now, server);
        }
        let mut queue = VecDeque::new();
        self.drain_host(at, &mut queue);
        self.pump(queue);
    }

    /// Adds a host with the secret of this number.
    pub(crate) fn add(&mut self, n: u32, at: SocketAddr) {
        let config = EngineConfig::new(SecretKey::from_bytes(secret(n)), at.port());
        let mut seed = secret(n);
        seed[31] = 1;
        let shared = SecretKey::from_bytes(secret(n)).agree(&self.key());
        let host = Host {
            engine: Engine::new(config, seed, self.now),
            shared: shared.unwrap(),
            store: MemoryStore::new(),
            answer: None,
            fetched: Vec::new(),
        };
        self.hosts.insert(at, host);
    }

    /// Delivers a datagram from a host, or from an address that receives no answers.
    pub(crate) fn inject(&mut self, from: SocketAddr, bytes: Vec<u8>) {
        self.pump(VecDeque::from([(from, self.at, bytes)]));
    }

    /// Runs an action on the engine, then delivers the resulting datagrams.
    pub(crate) fn with<R>(&mut self, act: impl FnOnce(&mut Engine, Instant) -> R) -> R {
        let result = act(&mut self.server, self.now);
        self.pump(VecDeque::new());
        result
    }

    fn pump(&mut self, mut queue: Queue) {
        let mut buffer = Vec::new();
        loop {
            while let Some(transmit) = self.server.poll_transmit(&mut buffer) {
                self.account(transmit.to, &buffer);
                self.deliver(self.at, transmit.to, &buffer, &mut queue);
            }
            while self.server.poll_work().is_some() {}
            while let Some(read) = self.server.poll_read(self.now) {
                let free_at = self.reads.back().map_or(self.now, |(end, _)| *end);
                let end = free_at.max(self.now) + DISK_READ;
                self.reads.push_back((end, read));
            }
            let Some((from, to, bytes)) = queue.pop_front() else {
                return;
            };
            if to != self.at {
                self.deliver(from, to, &bytes, &mut queue);
                continue;
            }
            let answers_to = answers_to(from, &bytes);
            self.accounts.entry(answers_to).or_default().sent += bytes.len() as u64;
            self.server
                .handle_datagram(self.now, from, &bytes, &self.store);
        }
    }

    fn deliver(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8], queue: &mut Queue) {
        let Some(host) = self.hosts.get_mut(&to) else {
            return;
        };
        let answer = host.answer.as_mut().filter(|_| from == self.at);
        if let Some(answer) = answer.and_then(|answer| answer(bytes)) {
            if let Some(named) = named_address(&host.shared, &answer) {
                self.accounts.entry(named).or_default().named += answer.len() as u64;
            }
            queue.push_back((to, self.at, answer));
            return;
        }
        host.engine
            .handle_datagram(self.now, from, bytes, &host.store);
        self.drain_host(to, queue);
    }

    fn drain_host(&mut self, at: SocketAddr, queue: &mut Queue) {
        let Some(host) = self.hosts.get_mut(&at) else {
            return;
        };
        let mut buffer = Vec::new();
        while let Some(transmit) = host.engine.poll_transmit(&mut buffer) {
            if self.hosts_meet || transmit.to == self.at {
                queue.push_back((at, transmit.to, buffer.clone()));
            }
        }
        while let Some(event) = host.engine.poll_event() {
            if let Event::Fetched { id, .. } = event {
                host.fetched.push((id, self.now));
            }
        }
    }

    /// Runs an action on the engine of a host, then delivers the resulting datagrams.
    pub(crate) fn with_host(&mut self, at: &SocketAddr, act: impl FnOnce(&mut Host, Instant)) {
        let now = self.now;
        if let Some(host) = self.hosts.get_mut(at) {
            act(host, now);
        }
        let mut queue = VecDeque::new();
        self.drain_host(*at, &mut queue);
        self.pump(queue);
    }

    /// Makes a host fetch an object.
    pub(crate) fn fetch(&mut self, at: &SocketAddr, id: AtomId, kind: PayloadType) {
        self.with_host(at, |host, now| {
            host.engine.fetch(now, FetchRequest::new(id, kind));
        });
    }

    /// Lets time pass until `end`, for the disk, the engine and the hosts.
    pub(crate) fn run_until(&mut self, end: Instant) {
        loop {
            let read = self.reads.front().map(|(end, _)| *end);
            let timers = self.hosts.values().map(|host| host.engine.poll_timeout());
            let timers = timers.chain([self.server.poll_timeout(), read]);
            let Some(next) = timers.flatten().min().filter(|next| *next <= end) else {
                break;
            };
            self.now = self.now.max(next);
            if let Some((_, read)) = self.reads.pop_front_if(|(end, _)| *end <= self.now) {
                // The disk reads one atom at a time, slower than a turn of the engine.
                let done = read.run(&self.store.disk, || false);
                self.server.handle_read(self.now, done);
                self.pump(VecDeque::new());
            }
            self.pass(Duration::ZERO);
            self.wake_hosts();
        }
        self.now = self.now.max(end);
    }

    /// Records a packet and checks the limits: at most three times the bytes that came from the
    /// address and from peers that named it; beyond that one packet in ten seconds, which is the
    /// engine's first contact: a handshake, or the request to a provider that a peer named.
    fn account(&mut self, to: SocketAddr, bytes: &[u8]) {
        if self.keep_sent {
            self.sent.push((to, bytes.to_vec()));
        }
        if self.hosts.contains_key(&to) {
            return;
        }
        let len = bytes.len() as u64;
        let now = self.now;
        let account = self.accounts.entry(to).or_default();
        if account.got + len <= 3 * (account.sent + account.named) {
            account.got += len;
            return;
        }
        let is_small = bytes.len() <= FIRST_CONTACT_BYTES;
        let is_rested = account
            .contacted
            .is_none_or(|at| now.since(at) >= CONTACT_INTERVAL);
        account.contacted = Some(now);
        account.contacts += 1;
        if !is_small || !is_rested {
            self.violations.push(format!(
                "{len} bytes to {to}, which sent {} and received {}; referrals to it have {} bytes",
                account.sent, account.got, account.named
            ));
        }
    }

    /// Lets time pass, for the engine and for the hosts.
    pub(crate) fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        if self
            .server
            .poll_timeout()
            .is_some_and(|due| due <= self.now)
        {
            self.server.handle_timeout(self.now, &self.store);
            self.pump(VecDeque::new());
        }
        while self.server.poll_event().is_some() {}
    }

    /// Runs the due timers of the hosts.
    pub(crate) fn wake_hosts(&mut self) {
        let due: Vec<SocketAddr> = self
            .hosts
            .iter()
            .filter(|(_, host)| host.engine.poll_timeout().is_some_and(|at| at <= self.now))
            .map(|(at, _)| *at)
            .collect();
        for at in due {
            if let Some(host) = self.hosts.get_mut(&at) {
                host.engine.handle_timeout(self.now, &host.store);
            }
            let mut queue = VecDeque::new();
            self.drain_host(at, &mut queue);
            self.pump(queue);
        }
    }

    /// Returns the id that a packet to a host requests, if it is a request for an object.
    pub(crate) fn requested_id(&self, to: &SocketAddr, bytes: &[u8]) -> Option<AtomId> {
        let shared = &self.hosts.get(to)?.shared;
        let packet = Packet::decode(bytes).ok()?;
        let Body::Sealed(sealed) = Message::decode(packet.message()).ok()?.body else {
            return None;
        };
        let mut text = Vec::new();
        let (topic, content) = sealed.open(shared, &mut text).ok()?;
        let request = Request::decode(content).ok()?;
        (topic == Topic::ObjectRequest).then_some(request.atom_id)
    }

    /// Returns the number of hosts that the engine knows at a validated address.
    pub(crate) fn known_hosts(&self) -> usize {
        let is_known = |(at, host): &(&SocketAddr, &Host)| {
            let peer = self.server.peer(host.engine.public_key());
            peer.is_some_and(|peer| peer.is_validated && peer.address == **at)
        };
        self.hosts.iter().filter(is_known).count()
    }
}

/// Returns the address that a redirect names.
fn named_address(shared: &SharedKey, bytes: &[u8]) -> Option<SocketAddr> {
    let packet = Packet::decode(bytes).ok()?;
    let Body::Sealed(sealed) = Message::decode(packet.message()).ok()?.body else {
        return None;
    };
    let mut text = Vec::new();
    let (topic, content) = sealed.open(shared, &mut text).ok()?;
    let response = Response::decode(content).ok()?;
    let is_redirect = topic == Topic::ObjectResponse && response.answer == object::Answer::Provider;
    let contact = Contact::decode(response.data).ok()?;
    is_redirect.then_some(contact.address.into())
}

/// Returns the address to which the answer to a datagram goes: the port is in its header.
fn answers_to(mut from: SocketAddr, bytes: &[u8]) -> SocketAddr {
    let message = Packet::decode(bytes).map(|packet| packet.message());
    if let Some(port) = message.ok().and_then(|message| message.get(33..35)) {
        from.set_port(u16::from_be_bytes([port[0], port[1]]));
    }
    from
}
