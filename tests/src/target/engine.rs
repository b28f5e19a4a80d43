//! Fuzz target of the engine: arbitrary datagrams, commands and time.
//!
//! Promises: no panic; equal inputs give equal outputs; an unvalidated address gets at most three
//! times the bytes that came from it or named it, and one first contact in ten seconds; a deadline
//! lies ahead once it has been handled; every fetch ends once; state is bounded; heads,
//! transactions and chain identities come from validated peers only.

#![expect(
    clippy::expect_used,
    reason = "a fuzz target panics if a promise is broken"
)]

mod ledger;
mod peers;
mod session;

pub use session::session;

use super::input::{bytes, operations};
use arbitrary::{Arbitrary, Unstructured};
use astreum_core::atom::{Atom, AtomId, AtomSource, MemoryStore, bytes_list};
use astreum_core::crypto::{PublicKey, SecretKey};
use astreum_core::engine::{
    Engine, EngineConfig, Event, FetchId, FetchRequest, ListLimit, Recipient, Work, limits,
};
use astreum_core::time::Instant;
use astreum_core::wire::handshake::{Block, ChainIdentity, StreamOffer};
use astreum_core::wire::message::{Topic, write_handshake};
use astreum_core::wire::object::PayloadType;
use core::net::SocketAddr;
use core::time::Duration;
use ledger::Ledger;
use peers::{Answer, PEERS, Peer, decode};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::OnceLock;

/// Maximum number of steps of one input.
const MAX_STEPS: usize = 100;
/// Maximum number of packets that one step may produce; packets that wait for an address validation
/// or a timer are sent together.
const MAX_BURST: usize = 2_048;
/// Interval of the engine's peer checks, and so the maximum time to its next deadline.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);
/// Minimum number of timeouts that are handled after the last step.
const MIN_ROUNDS: usize = 4;
/// Time that exceeds the duration of any fetch without answers.
const LONG: Duration = Duration::from_secs(60);

/// Operation of one peer, or of the host with it. It begins with a byte: the action in its low half,
/// the peer in its high half.
#[derive(Clone, Copy, Debug)]
struct Operation<'a> {
    peer: u8,
    action: Action<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Action<'a> {
    /// Raw bytes from the peer's address.
    Datagram(&'a [u8]),
    /// Bytes as a message with the required proof of work.
    Message(&'a [u8]),
    Handshake,
    /// Arbitrary content of any topic, sealed like a peer's.
    Sealed(Topic, &'a [u8]),
    Wait(Duration),
    /// Fetches an object of a kind, whose id has equal bytes.
    FetchKind(u8, PayloadType),
    /// Contacts the peer, and advertises an object.
    Advertise(u8),
    /// The peer answers its oldest request, correctly or not.
    Answer {
        how: u8,
        other: u8,
    },
    Fetch {
        how: u8,
        id: u8,
    },
    /// Asks the peer too, or cancels the fetch.
    ChangeFetch(u8),
    Command {
        what: u8,
        id: u8,
    },
    /// Datagrams arrive in the queue, and some of them are handled.
    Queue {
        arrive: u8,
        handled: u8,
    },
    /// A handshake that names the chain of its sender, or that was altered in transit.
    Introduce(u8),
    Restart,
    Move,
    /// The peer forgets its oldest request.
    Forget,
    /// The host delivers the result of a nonce search.
    Work {
        attempts: u64,
    },
}

impl<'a> Arbitrary<'a> for Operation<'a> {
    fn arbitrary(input: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let code = u8::arbitrary(input)?;
        let peer = code >> 4;
        // At the end of the input, operands are zero.
        let mut byte = || u8::arbitrary(input);
        let action = match code & 0x0f {
            0 => Action::Datagram(content(input)?),
            1 => Action::Message(content(input)?),
            2 => Action::Handshake,
            3 | 4 => {
                let topic = Topic::from_code(byte()? % 6).unwrap_or(Topic::Ping);
                Action::Sealed(topic, content(input)?)
            }
            5 => Action::Wait(Duration::from_millis(u64::from(byte()?) * 250)),
            6 => Action::FetchKind(byte()?, PayloadType::new(1 + peer / 8)),
            7 => Action::Advertise(byte()?),
            8 => Action::Answer {
                how: byte()?,
                other: byte()?,
            },
            9 => Action::Fetch {
                how: byte()?,
                id: byte()?,
            },
            10 => Action::ChangeFetch(byte()?),
            11 => Action::Command {
                what: byte()?,
                id: byte()?,
            },
            12 => {
                let count = byte()?;
                Action::Queue {
                    arrive: count % 16,
                    handled: count / 16,
                }
            }
            13 => Action::Introduce(byte()?),
            14 => match byte()? % 3 {
                0 => Action::Restart,
                1 => Action::Move,
                _ => Action::Forget,
            },
            _ => Action::Work {
                attempts: u64::from(byte()?) << 6,
            },
        };
        Ok(Self { peer, action })
    }
}

/// Returns up to 255 bytes, behind their number.
fn content<'a>(input: &mut Unstructured<'a>) -> arbitrary::Result<&'a [u8]> {
    let len = u8::arbitrary(input)?;
    Ok(bytes(input, len.into()))
}

/// Runs one input. A quarter of the inputs, which their bytes select, run twice.
pub fn run(data: &[u8]) {
    let first = outputs(data);
    if super::selection(data, 4) == 0 {
        assert_eq!(first, outputs(data), "the engine is deterministic");
    }
}

struct Run {
    engine: Engine,
    peers: Vec<Peer>,
    /// Atoms of the engine's node, with their ids in a fixed order.
    objects: &'static Objects,
    now: Instant,
    ledger: Ledger,
    work: VecDeque<Work>,
    /// Fetches that have not ended.
    fetches: BTreeSet<FetchId>,
    ended: BTreeMap<FetchId, usize>,
    providers: usize,
    /// Addresses that were validated at the end of the last step.
    validated: Vec<SocketAddr>,
    sent: Sent,
}

/// Packets that the engine has sent: their destinations and sizes, and their bytes.
#[derive(PartialEq, Eq, Debug, Default)]
struct Sent {
    packets: Vec<(SocketAddr, usize)>,
    bytes: Vec<u8>,
}

/// Returns a configuration with unlimited queues for most inputs, and with short ones that fill at
/// once for the others.
fn config(data: &[u8]) -> EngineConfig {
    let secret = SecretKey::from_bytes([99; 32]);
    let mut config = EngineConfig::new(secret, 5_000);
    config.use_ipv6 = true;
    if data.len() % 4 == 1 {
        config.incoming_queue_limit_bytes = 1_500;
        config.incoming_queue_timeout = Duration::from_millis(300);
    }
    if data.len() % 8 == 2 {
        config.outgoing_queue_limit_bytes = 1_500;
        config.outgoing_queue_timeout = Duration::ZERO;
    }
    config
}

/// Atoms that the engine's node has.
struct Objects {
    ids: Vec<AtomId>,
    store: MemoryStore,
}

fn objects() -> &'static Objects {
    static OBJECTS: OnceLock<Objects> = OnceLock::new();
    OBJECTS.get_or_init(|| {
        let (_, list) = bytes_list(&[[1; 900]; 9]);
        let atoms = [Atom::bytes(*b"small"), Atom::bytes(vec![7; 3_000])];
        Objects {
            ids: atoms.iter().chain(&list).map(Atom::id).collect(),
            store: atoms.into_iter().chain(list).collect(),
        }
    })
}

fn outputs(data: &[u8]) -> Sent {
    let config = config(data);
    let mut run = Run {
        peers: (0..PEERS).map(|n| Peer::new(n, &config.secret)).collect(),
        engine: Engine::new(config, [5; 32], Instant::ZERO),
        objects: objects(),
        now: Instant::ZERO,
        ledger: Ledger::default(),
        work: VecDeque::new(),
        fetches: BTreeSet::new(),
        ended: BTreeMap::new(),
        providers: 0,
        validated: Vec::new(),
        sent: Sent::default(),
    };
    let mut input = Unstructured::new(data);
    for operation in operations(&mut input, MAX_STEPS) {
        run.act(operation);
        run.drain();
    }
    run.end();
    run.sent
}

impl Run {
    fn act(&mut self, Operation { peer, action }: Operation<'_>) {
        match action {
            Action::Datagram(datagram) => {
                let from = self.peer(peer).address();
                self.receive(from, datagram);
            }
            Action::Message(message) => {
                self.send(peer, |_, out| out.extend_from_slice(message));
            }
            Action::Handshake => self.send(peer, |peer, out| {
                write_handshake(out, &peer.key, peer.address().port(), &[]);
            }),
            Action::Sealed(topic, content) => {
                self.send(peer, |peer, out| peer.seal(out, topic, content));
            }
            Action::Wait(time) => {
                self.now = self.now + time;
                self.engine.handle_timeout(self.now, &self.objects.store);
                let next = self.engine.poll_timeout();
                assert!(next > Some(self.now), "no timer remains due");
            }
            Action::FetchKind(id, kind) => {
                let id = AtomId::new([id; 32]);
                let fetch = self.engine.fetch(self.now, FetchRequest::new(id, kind));
                self.fetches.insert(fetch);
            }
            Action::Advertise(id) => {
                let id = AtomId::new([id; 32]);
                self.contact(peer);
                self.engine.advertise(self.now, id, PayloadType::ATOM, None);
            }
            Action::Answer { how, other } => self.answer(peer, how, other),
            Action::Fetch { how, id } => self.fetch(peer, how, self.id(id)),
            Action::ChangeFetch(which) => self.change_fetch(peer, which.into()),
            Action::Command { what, id } => self.command(peer, what, self.id(id)),
            Action::Queue { arrive, handled } => self.queue(peer, arrive, handled),
            Action::Introduce(how) => self.introduce(peer, how),
            Action::Restart => self.peer(peer).restart(),
            Action::Move => {
                let peer = self.peer(peer);
                peer.has_moved = !peer.has_moved;
            }
            Action::Forget => drop(self.peer(peer).asked.pop_front()),
            Action::Work { attempts } => self.deliver_work(attempts),
        }
    }

    fn peer(&mut self, peer: u8) -> &mut Peer {
        let index = usize::from(peer % PEERS);
        self.peers.get_mut(index).expect("the index is in bounds")
    }

    fn key(&self, peer: u8) -> PublicKey {
        let index = usize::from(peer % PEERS);
        self.peers.get(index).expect("the index is in bounds").key
    }

    /// Returns an id: mostly of an atom that the engine or a peer has.
    fn id(&self, byte: u8) -> AtomId {
        let known = self.objects.ids.get(usize::from(byte % 16)).copied();
        known.unwrap_or(AtomId::new([byte; 32]))
    }

    fn contact(&mut self, peer: u8) {
        let address = self.peer(peer).address();
        self.ledger.contacted(address);
        self.engine.connect(self.now, address);
    }

    /// Lets a peer answer its oldest request, correctly or not.
    fn answer(&mut self, peer: u8, how: u8, other: u8) {
        let named = (self.key(other), self.peer(other).address());
        let me = *self.engine.public_key();
        let Some(id) = self.peer(peer).asked.pop_front() else {
            return;
        };
        let answer = match how % 6 {
            0 | 1 => Answer::Seen(named.1),
            2 => Answer::Contact(me, "127.0.0.1:5000".parse().expect("an address")),
            3 => Answer::Contact(named.0, named.1),
            4 => self
                .objects
                .store
                .atom(&id)
                .map_or(Answer::Nothing, Answer::Atom),
            _ => self
                .objects
                .store
                .atom(&id)
                .map_or(Answer::Nothing, |atom| Answer::List(vec![atom])),
        };
        self.send(peer, |peer, out| peer.answer(out, id, &answer));
    }

    fn fetch(&mut self, peer: u8, how: u8, id: AtomId) {
        let from = (how & 1 == 1).then(|| self.prefer(peer));
        let limit = match how % 3 {
            0 => ListLimit::MAX,
            _ => ListLimit {
                atoms: 3,
                bytes: 1_000,
            },
        };
        let fetch = match how % 8 {
            0..=2 => self
                .engine
                .fetch(self.now, FetchRequest::atom(id).first_from(from)),
            3 | 4 => self.engine.fetch(
                self.now,
                FetchRequest::list_within(id, limit).first_from(from),
            ),
            _ => self.engine.fetch(
                self.now,
                FetchRequest::beginning(id, limit).first_from(from),
            ),
        };
        assert!(self.fetches.insert(fetch), "the id of a fetch is unique");
    }

    /// Returns a peer that the host wants to be asked first, at any address that the engine knows.
    fn prefer(&mut self, peer: u8) -> PublicKey {
        for address in self.peer(peer).addresses() {
            self.ledger.contacted(address);
        }
        self.key(peer)
    }

    /// Cancels a fetch, or asks another peer for it.
    fn change_fetch(&mut self, peer: u8, which: usize) {
        let fetch = self.fetches.iter().nth(which / 2).copied();
        let Some(fetch) = fetch else { return };
        if which.is_multiple_of(2) {
            let key = self.prefer(peer);
            self.engine.prefer_peer(self.now, fetch, &key);
        } else if self.engine.cancel(fetch) {
            // Otherwise its event is already queued.
            self.fetches.remove(&fetch);
            assert!(!self.engine.cancel(fetch), "a cancelled fetch is removed");
        }
    }

    fn command(&mut self, peer: u8, what: u8, id: AtomId) {
        let now = self.now;
        match what % 8 {
            0 => {
                let key = self.key(peer);
                let was_known = self.engine.peer(&key).is_some();
                assert!(self.engine.disconnect(&key) >= was_known);
                assert!(self.engine.peer(&key).is_none());
            }
            1 => {
                let was = self.engine.advertised().any(|(known, _, _)| *known == id);
                assert_eq!(self.engine.withdraw(&id), was);
            }
            2 => self.engine.set_head(now, Some(id)),
            3 => self.engine.set_validator(now, what & 8 == 0),
            4 => {
                let seeds = [self.peer(peer).address(), self.peer(peer + 1).address()];
                for seed in seeds {
                    self.ledger.contacted(seed);
                }
                let (default, additional) = seeds.split_at(usize::from(what & 8 == 0));
                self.engine.set_seeds(now, default, additional);
            }
            5 => {
                let to = if what & 8 == 0 {
                    Recipient::Validators
                } else {
                    Recipient::Peer(self.key(peer))
                };
                let recipients = self.engine.send_transaction(now, id, to);
                assert!(recipients <= usize::from(PEERS));
            }
            6 => self.engine.set_chain_identity(now, identity(what)),
            _ => {
                let expires = (what & 8 == 0).then(|| now + Duration::from_secs(what.into()));
                let kind = PayloadType::LIST;
                self.engine.advertise(now, id, kind, expires);
            }
        }
    }

    /// Passes datagrams through the incoming queue.
    fn queue(&mut self, peer: u8, arrive: u8, handled: u8) {
        for n in 0..arrive {
            let from = self.peer(peer).address();
            let packet = if n.is_multiple_of(2) {
                self.packet(peer, |peer, out| {
                    write_handshake(out, &peer.key, peer.address().port(), &[]);
                })
            } else {
                self.packet(peer, |peer, out| peer.seal(out, Topic::Ping, &[0; 34]))
            };
            self.record(from, &packet);
            let limit = self.engine.incoming_bytes() + packet.len() as u64 + 6;
            self.engine.enqueue_datagram(self.now, from, &packet);
            assert!(self.engine.incoming_bytes() <= limit);
        }
        for _ in 0..handled {
            if !self.engine.handle_queued(self.now, &self.objects.store) {
                assert_eq!(self.engine.incoming_bytes(), 0);
                break;
            }
        }
    }

    /// Sends a handshake that names the chain of its sender, or that was altered in transit.
    fn introduce(&mut self, peer: u8, how: u8) {
        let block = Block {
            identity: (how & 1 == 0).then(|| identity(how)),
            is_question: how & 2 == 0,
            cookie: (how & 16 == 0).then_some([how; 8]),
            echo: (how & 32 == 0).then_some([how; 8]),
            stream: (how & 64 == 0).then(|| StreamOffer {
                port: u16::from(how) + 1,
                key: PublicKey::new([how & 63; 32]),
            }),
        };
        self.send(peer, |peer, out| {
            peer.introduce(out, &block);
            if how & 12 == 0
                && let Some(byte) = out.get_mut(usize::from(how))
            {
                *byte ^= 1;
            }
        });
    }

    /// Returns the result of a nonce search to the engine.
    fn deliver_work(&mut self, attempts: u64) {
        let Some(mut work) = self.work.pop_front() else {
            return;
        };
        let done = work.run(attempts).unwrap_or_else(|| work.give_up());
        // The packet was charged when it was created.
        self.ledger.is_exempt = true;
        self.engine.handle_work(self.now, done);
    }

    fn packet(&mut self, peer: u8, write: impl FnOnce(&mut Peer, &mut Vec<u8>)) -> Vec<u8> {
        let work = self.engine.required_difficulty().min(8);
        self.peer(peer).packet(u32::from(work), write)
    }

    fn send(&mut self, peer: u8, write: impl FnOnce(&mut Peer, &mut Vec<u8>)) {
        let packet = self.packet(peer, write);
        let from = self.peer(peer).address();
        self.receive(from, &packet);
    }

    fn receive(&mut self, from: SocketAddr, datagram: &[u8]) {
        self.record(from, datagram);
        if let Some(message) = decode(datagram) {
            for peer in &self.peers {
                peer.open(&message, datagram.len(), &mut self.ledger);
            }
        }
        self.engine
            .handle_datagram(self.now, from, datagram, &self.objects.store);
    }

    /// Records a datagram to the engine.
    fn record(&mut self, from: SocketAddr, datagram: &[u8]) {
        if let Some(message) = decode(datagram) {
            self.ledger.received(from, &message, datagram.len());
        }
    }

    /// Drains the engine's output. Addresses that were validated before the step count too.
    fn drain(&mut self) {
        let validated = self.engine.peers().filter(|peer| peer.is_validated);
        let validated: Vec<SocketAddr> = validated.map(|peer| peer.address).collect();
        if validated != self.validated {
            for address in &validated {
                // It may be contacted once more after it has lost its validation.
                self.ledger.contacted(*address);
            }
        }
        let before = core::mem::replace(&mut self.validated, validated);
        let mut buffer = Vec::new();
        let first = self.sent.packets.len();
        while let Some(transmit) = self.engine.poll_transmit(&mut buffer) {
            assert_eq!(transmit.len, buffer.len());
            if !self.validated.contains(&transmit.to) && !before.contains(&transmit.to) {
                self.ledger.sent(self.now, transmit.to, transmit.len);
            }
            for peer in &mut self.peers {
                peer.take(transmit.to, &buffer);
            }
            self.sent.packets.push((transmit.to, transmit.len));
            self.sent.bytes.extend_from_slice(&buffer);
            let burst = self.sent.packets.len() - first;
            assert!(
                burst <= MAX_BURST,
                "one step sends a bounded number of packets"
            );
        }
        self.ledger.is_exempt = false;
        while let Some(event) = self.engine.poll_event() {
            self.event(&event);
        }
        while let Some(work) = self.engine.poll_work() {
            self.work.push_back(work);
        }
        // The engine abandons work that the host is slow with.
        assert!(self.engine.pending_work() <= limits::MAX_WORK);
        let next = self.engine.poll_timeout();
        assert!(next.is_some_and(|next| next <= self.now + CHECK_INTERVAL));
        self.providers = self.providers.max(self.engine.provider_count());
    }

    fn event(&mut self, event: &Event) {
        match event {
            Event::Fetched { fetch, .. }
            | Event::Streamed { fetch, .. }
            | Event::FetchFailed { fetch, .. } => {
                assert!(self.fetches.remove(fetch), "the fetch was in progress");
                *self.ended.entry(*fetch).or_insert(0) += 1;
            }
            Event::Head { peer, .. }
            | Event::Transaction { peer, .. }
            | Event::ChainIdentity { peer, .. } => {
                // It may have been removed since.
                let peer = self.engine.peer(peer);
                assert!(peer.is_none_or(|peer| peer.is_validated), "{event:?}");
            }
            // A list that no host takes over continues by datagrams.
            Event::StreamWanted { .. }
            | Event::PeerAdded { .. }
            | Event::PeerMoved { .. }
            | Event::PeerRemoved { .. }
            | Event::OwnKeyElsewhere { .. }
            | Event::AddressLearned(_) => {}
        }
    }

    /// Checks that all activity ends and that state has not grown.
    fn end(&mut self) {
        let end = self.now + LONG;
        let mut rounds = 0;
        while let Some(due) = self.engine.poll_timeout()
            && due <= end
            && (rounds < MIN_ROUNDS
                || self.engine.pending_fetches() > 0
                || self.engine.outgoing_bytes() > 0)
        {
            rounds += 1;
            self.now = self.now.max(due);
            self.engine.handle_timeout(self.now, &self.objects.store);
            self.drain();
        }
        assert_eq!(self.engine.pending_fetches(), 0, "every fetch ends");
        assert!(self.fetches.is_empty(), "every fetch has reported its end");
        assert!(self.ended.values().all(|times| *times == 1), "once");
        let peers = self.engine.peers().count();
        assert!(peers <= usize::from(PEERS), "{peers} peers");
        assert!(self.providers <= 16 * MAX_STEPS, "providers");
        assert_eq!(self.engine.outgoing_bytes(), 0);
    }
}

fn identity(n: u8) -> ChainIdentity {
    ChainIdentity {
        rules_version: (n >> 6).into(),
        chain_id: (n >> 4 & 3).into(),
        genesis: (n & 8 == 0).then_some(AtomId::new([1 + n % 4; 32])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promises_hold_in_random_sessions() {
        for seed in 0..300 {
            run(&session(seed));
        }
    }
}
