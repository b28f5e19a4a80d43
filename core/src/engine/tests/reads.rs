//! Tests of objects on a slow disk that are requested by one peer at full rate and by others.

use super::scripted::{Scripted, Stage};
use crate::atom::{Atom, AtomId, AtomKind, AtomSource, MemoryStore};
use crate::engine::{DropReason, LookUp, ObjectSource, Read, limits};
use crate::time::Instant;
use crate::wire::message::Topic;
use crate::wire::object::{Action, Answer, PayloadType, Request, Response};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::cell::Cell;
use core::net::SocketAddr;
use core::time::Duration;

/// Time that the disk takes for an atom.
const READ: Duration = Duration::from_millis(10);
/// Time that the network thread takes for a datagram.
const HANDLING: Duration = Duration::from_micros(20);

/// A store of which a part is in memory.
#[derive(Default)]
struct Disk {
    memory: MemoryStore,
    disk: MemoryStore,
    /// `true` if atoms are read at once, by the requesting thread.
    reads_at_once: bool,
    reads: Cell<u32>,
}

impl ObjectSource for Disk {
    fn look_up(&self, id: &AtomId) -> LookUp {
        if let Ok(atom) = self.memory.atom(id) {
            return LookUp::Found(atom);
        }
        match self.disk.atom(id) {
            Err(_) => LookUp::Missing,
            Ok(atom) if self.reads_at_once => {
                self.reads.set(self.reads.get() + 1);
                LookUp::Found(atom)
            }
            Ok(_) => LookUp::OnDisk,
        }
    }
}

/// A request and the time to its answer.
struct Asked {
    peer: usize,
    id: AtomId,
    at: Instant,
    took: Option<Duration>,
}

/// An engine whose host has one network thread, readers, and a disk that reads one atom after the
/// other.
struct Node {
    stage: Stage,
    store: Disk,
    /// Time at which the network thread has handled all datagrams so far.
    free_at: Instant,
    disk_free_at: Instant,
    reads: BTreeMap<Instant, Vec<Read>>,
    asked: Vec<Asked>,
}

impl Node {
    fn new() -> Self {
        let stage = Stage::new();
        let now = stage.now;
        Self {
            stage,
            store: Disk::default(),
            free_at: now,
            disk_free_at: now,
            reads: BTreeMap::new(),
            asked: Vec::new(),
        }
    }

    /// Adds a validated peer of a network group.
    fn join(&mut self, n: u32, group: u8) -> usize {
        let [.., a, b] = n.to_be_bytes();
        let address = SocketAddr::from(([group, 7, a, b], 4_000));
        let peer = self.stage.join(Scripted::new(n, address));
        assert!(self.stage.knows(peer));
        peer
    }

    fn list(&mut self, name: u32, len: usize) -> Vec<Atom> {
        let mut atoms: Vec<Atom> = Vec::new();
        let mut next = AtomId::ZERO;
        for _ in 0..len {
            let atom = Atom::new(AtomKind::Bytes, name.to_be_bytes().to_vec(), next);
            next = atom.id();
            self.store.disk.insert(atom.clone());
            atoms.push(atom);
        }
        atoms.reverse();
        atoms
    }

    fn packet(&mut self, peer: usize, id: AtomId, kind: PayloadType) -> Vec<u8> {
        let mut content = Vec::new();
        let action = Action::Get(Some(kind));
        Request {
            action,
            atom_id: id,
            data: &[],
        }
        .write(&mut content);
        let me = self.stage.me();
        self.stage.peers[peer].sealed(&me, Topic::ObjectRequest, &content)
    }

    /// Delivers a request that arrives at `now`.
    fn ask(&mut self, now: Instant, peer: usize, id: AtomId, kind: PayloadType) {
        let packet = self.packet(peer, id, kind);
        self.asked.push(Asked {
            peer,
            id,
            at: now,
            took: None,
        });
        let start = now.max(self.free_at);
        let from = self.stage.peers[peer].address;
        self.stage
            .engine
            .handle_datagram(start, from, &packet, &self.store);
        let reads = self.store.reads.take();
        self.free_at = start + HANDLING + READ * reads;
        self.drain(self.free_at);
    }

    /// Sends the queued packets of the engine, and hands its reads to the disk.
    fn drain(&mut self, now: Instant) {
        let stage = &mut self.stage;
        let mut buffer = Vec::new();
        while let Some(transmit) = stage.engine.poll_transmit(&mut buffer) {
            let peer = stage
                .peers
                .iter()
                .position(|peer| peer.address == transmit.to);
            let Some(peer) = peer else { continue };
            stage.peers[peer].receive(&buffer);
            let Some((Topic::ObjectResponse, content)) = stage.peers[peer].got.pop() else {
                continue;
            };
            let response = Response::decode(&content).unwrap();
            assert_eq!(response.answer, Answer::Found);
            let id = response.atom_id;
            let mut asked = self.asked.iter_mut();
            let first = asked
                .find(|asked| asked.peer == peer && asked.id == id && asked.took.is_none())
                .unwrap();
            first.took = Some(now.since(first.at));
        }
        while let Some(read) = stage.engine.poll_read(now) {
            self.disk_free_at = self.disk_free_at.max(now) + READ;
            self.reads.entry(self.disk_free_at).or_default().push(read);
        }
    }

    /// Runs the reads that end until `now`.
    fn run_until(&mut self, now: Instant) {
        while let Some((at, reads)) = self.reads.pop_first() {
            if at > now {
                self.reads.insert(at, reads);
                return;
            }
            for read in reads {
                // The disk is slower than a turn, so each read is of one atom.
                let done = read.run(&self.store.disk, || false);
                let start = at.max(self.free_at);
                self.stage.engine.handle_read(start, done);
                self.free_at = start + HANDLING;
                self.drain(self.free_at);
            }
        }
    }

    /// Returns a percentile of the response times of some requests, and the fraction that was
    /// answered.
    fn figures(&self, of: impl Fn(&Asked) -> bool) -> (Duration, f64) {
        let asked: Vec<&Asked> = self.asked.iter().filter(|asked| of(asked)).collect();
        let mut took: Vec<Duration> = asked.iter().filter_map(|asked| asked.took).collect();
        took.sort();
        let share = f64::from(u32::try_from(took.len()).unwrap())
            / f64::from(u32::try_from(asked.len()).unwrap());
        (took[took.len() * 99 / 100], share)
    }
}

/// Runs a flood: eight honest peers request objects in memory 40 times a second each and an atom on
/// the disk once a second each; attackers of some network groups request lists on the disk, 2,000
/// times a second in all. Returns the 99th percentile of the response times of honest requests: in
/// memory, and on the disk.
fn flood(attackers: u32, groups: u8, reads_at_once: bool) -> (Duration, Duration) {
    const SECONDS: u32 = 10;
    let mut node = Node::new();
    node.store.reads_at_once = reads_at_once;
    let honest: Vec<usize> = (0..8u8).map(|n| node.join(n.into(), 20 + n)).collect();
    let hostile: Vec<usize> = (0..attackers)
        .map(|n| node.join(100 + n, 60 + (n % u32::from(groups)).to_be_bytes()[3]))
        .collect();
    let lists: Vec<AtomId> = (0..1_000).map(|n| node.list(n, 60)[0].id()).collect();
    let warm: Vec<AtomId> = (0..50u8)
        .map(|n| node.store.memory.insert(Atom::bytes([n; 200])))
        .collect();
    let began = node.stage.now;
    node.free_at = began;
    let mut cold = BTreeMap::new();
    for n in 0..SECONDS * 2_000 {
        let now = began + Duration::from_micros(500) * n;
        node.run_until(now);
        let of = |of: &[usize]| of[n as usize % of.len()];
        if n % 6 == 0 {
            let id = warm[n as usize / 8 % warm.len()];
            node.ask(now, of(&honest), id, PayloadType::ATOM);
        }
        if n % 250 == 0 {
            let atom = Atom::bytes(n.to_be_bytes());
            let id = node.store.disk.insert(atom);
            cold.insert(id, ());
            let peer = honest[(n / 250) as usize % honest.len()];
            node.ask(now, peer, id, PayloadType::ATOM);
        }
        // A backlog of hours is as bad as one of ten seconds.
        if !reads_at_once || node.free_at < began + Duration::from_secs(SECONDS.into()) {
            node.ask(
                now,
                of(&hostile),
                lists[n as usize % 1_000],
                PayloadType::LIST,
            );
        }
    }
    let end = began + Duration::from_secs(2 * u64::from(SECONDS));
    node.run_until(end);
    let is_honest = |asked: &Asked| honest.contains(&asked.peer);
    let (memory, share) = node.figures(|asked| is_honest(asked) && !cold.contains_key(&asked.id));
    assert_eq!(
        share.to_bits(),
        1f64.to_bits(),
        "requests in memory that were answered"
    );
    let (disk, share) = node.figures(|asked| is_honest(asked) && cold.contains_key(&asked.id));
    assert_eq!(
        share.to_bits(),
        1f64.to_bits(),
        "requests on the disk that were answered"
    );
    if !reads_at_once && attackers == 1 {
        let stats = node.stage.engine.stats();
        assert!(stats.dropped(DropReason::ReadsFull) > 1_000);
    }
    (memory, disk)
}

#[test]
fn peer_that_asks_for_lists_on_a_slow_disk_does_not_delay_others() {
    let (memory, disk) = flood(1, 1, false);
    assert!(memory <= Duration::from_millis(10), "{memory:?}");
    // One read of the attacker, or of another honest peer, before its own.
    assert!(disk <= Duration::from_millis(40), "{disk:?}");
    // Without readers the same flood misses the bound.
    let (memory, _) = flood(1, 1, true);
    assert!(memory > Duration::from_millis(100), "{memory:?}");
}

#[test]
fn many_keys_of_one_network_group_get_the_turns_of_one() {
    let (memory, disk) = flood(60, 1, false);
    assert!(memory <= Duration::from_millis(10), "{memory:?}");
    assert!(disk <= Duration::from_millis(60), "{disk:?}");
    let (memory, disk) = flood(60, 6, false);
    assert!(memory <= Duration::from_millis(10), "{memory:?}");
    assert!(disk <= Duration::from_millis(150), "{disk:?}");
}

#[test]
fn answers_from_the_disk_come_in_the_order_of_the_requests() {
    let mut node = Node::new();
    let peer = node.join(1, 20);
    let now = node.stage.now;
    let ids: Vec<(AtomId, PayloadType)> = (0..20u32)
        .map(|n| {
            let len = if n % 3 == 0 { 5 } else { 1 };
            let kind = if n % 3 == 0 {
                PayloadType::LIST
            } else {
                PayloadType::ATOM
            };
            (node.list(n, len)[0].id(), kind)
        })
        .collect();
    for (id, kind) in &ids {
        node.ask(now, peer, *id, *kind);
        // A repeated request is read once.
        node.ask(now, peer, *id, *kind);
    }
    assert_eq!(node.stage.engine.pending_reads(), 20);
    node.run_until(now + Duration::from_secs(4));
    let answered: Vec<(Duration, AtomId)> = node
        .asked
        .iter()
        .filter_map(|asked| Some((asked.took?, asked.id)))
        .collect();
    assert!(
        answered
            .iter()
            .map(|(_, id)| *id)
            .eq(ids.iter().map(|(id, _)| *id))
    );
    assert!(answered.is_sorted_by(|before, after| before.0 < after.0));
    assert_eq!(node.stage.engine.pending_reads(), 0);
    // 7 lists of 5 atoms, and 13 atoms.
    assert_eq!(node.stage.engine.stats().disk_reads, 48);
}

#[test]
fn slowly_read_list_is_answered_in_parts() {
    let mut node = Node::new();
    let peer = node.join(1, 20);
    let atoms = node.list(1, 60);
    let mut came = 0;
    let mut answers = 0;
    let mut now = node.stage.now;
    while came < atoms.len() {
        node.ask(now, peer, atoms[came].id(), PayloadType::LIST);
        let end = now + limits::MAX_READ_TIME * 2;
        node.run_until(end);
        let took = node.asked.last().unwrap().took.unwrap();
        assert!(took <= limits::MAX_READ_TIME + 2 * READ, "{took:?}");
        // As many atoms as the disk reads in that time.
        came += 10;
        answers += 1;
        now = end;
    }
    assert_eq!(answers, 6);
    assert_eq!(node.stage.engine.stats().disk_reads, 60);
}

#[test]
fn reads_are_for_validated_peers() {
    let mut node = Node::new();
    let id = node.list(1, 1)[0].id();
    let mut peer = Scripted::new(1, SocketAddr::from(([20, 7, 1, 1], 4_000)));
    peer.answers_probes = false;
    let peer = node.stage.join(peer);
    let now = node.stage.now;
    node.ask(now, peer, id, PayloadType::ATOM);
    assert_eq!(node.stage.engine.pending_reads(), 0);
    assert!(node.stage.engine.poll_read(now).is_none());
}

#[test]
fn requests_of_a_removed_peer_are_not_read() {
    let mut node = Node::new();
    let peer = node.join(1, 20);
    let now = node.stage.now;
    for n in 0..u32::try_from(limits::MAX_READS_PER_PEER).unwrap() + 5 {
        let id = node.list(n, 1)[0].id();
        node.ask(now, peer, id, PayloadType::ATOM);
    }
    let engine = &node.stage.engine;
    assert_eq!(engine.pending_reads(), limits::MAX_READS_PER_PEER);
    assert_eq!(engine.stats().dropped(DropReason::ReadsFull), 5);
    node.stage.peers[peer].answers_probes = false;
    node.stage.run(Duration::from_secs(3_600));
    assert!(!node.stage.knows(peer));
    let late = node.stage.now;
    node.run_until(late);
    let engine = &node.stage.engine;
    assert_eq!(engine.pending_reads(), 0);
    assert_eq!(engine.stats().disk_reads, 1);
    let dropped = engine.stats().dropped(DropReason::ReadTimeout);
    assert_eq!(dropped, limits::MAX_READS_PER_PEER as u64 - 1);
}
