//! World of many nodes in one thread: virtual time, one source of randomness, and a hash over all
//! events. Equal settings and seeds give equal hashes.

mod streams;

pub use streams::StreamCounts;

use super::byzantine::{self, MAX_SEEN, Sent};
use super::chain_files::{Key, Part};
use super::disk::SimDisk;
use super::event_queue::EventQueue;
use super::host::{FalseStore, Host, Lookup, address, number_at};
use super::ledger::Ledger;
use super::links::Links;
use super::promises::Promises;
use crate::heap;
use crate::random::Random;
use astreum_core::atom::{Atom, AtomId, LinkedAtoms};
use astreum_core::engine::{Event, FetchRequest, limits};
use astreum_core::time::Instant;
use astreum_core::wire::object::PayloadType;
use core::net::SocketAddr;
use core::time::Duration;
use streams::Streams;

/// Interval of a store's maintenance.
const MAINTENANCE: Duration = Duration::from_secs(5);
/// Number of seeds that every node is configured with.
pub const SEEDS: usize = 3;

enum Scheduled {
    Arrival {
        to: usize,
        from: SocketAddr,
        datagram: Vec<u8>,
    },
    EngineTimer(usize),
    ChainTimer(usize),
    Maintenance(usize),
    Frames {
        connection: u64,
        to_server: bool,
        bytes: Vec<u8>,
    },
    StreamReady(u64),
    StreamCheck(u64),
}

/// Result of a lookup.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Found {
    /// Node that looked.
    pub node: usize,
    /// Id that was looked up.
    pub id: AtomId,
    /// Duration of the lookup; `None` if it failed.
    pub took: Option<Duration>,
}

/// Totals of a world.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    /// Datagrams sent.
    pub sent: u64,
    /// Bytes in them.
    pub sent_bytes: u64,
    /// Datagrams that arrived.
    pub arrived: u64,
    /// Power cuts.
    pub power_cuts: u64,
    /// Acknowledged writes.
    pub acknowledged: u64,
}

/// Simulated machines, their network and their time.
pub struct World {
    now: Instant,
    /// Source of all random choices, including those of planned faults.
    pub random: Random,
    event_queue: EventQueue<Scheduled>,
    /// Network.
    pub links: Links,
    hosts: Vec<Host>,
    /// True if nodes that start have a disk.
    pub has_disks: bool,
    /// Machines with lower numbers are the seeds of every node that starts.
    pub seed_count: usize,
    /// Machine whose datagrams are recorded in [`Self::tapped`].
    pub tap: Option<usize>,
    /// Destinations and datagrams of that machine since this was last emptied.
    pub tapped: Vec<(usize, Vec<u8>)>,
    ledger: Option<Ledger>,
    /// Promises of the nodes that follow the chain.
    pub promises: Promises,
    trace: u64,
    /// Lookups that have ended since this was last emptied.
    pub found: Vec<Found>,
    /// Totals of the events.
    pub counts: Counts,
    buffer: Vec<u8>,
    streams: Streams,
}

impl World {
    /// Creates a world of `hosts` machines, all of them off. Without disks, atoms are kept in
    /// memory.
    #[must_use]
    pub fn new(seed: u64, hosts: usize, has_disks: bool) -> Self {
        let mut random = Random::new(seed);
        let hosts = (0..hosts)
            .map(|number| Host::new(number, &mut random))
            .collect();
        Self {
            // Not zero, so that a time of zero cannot be mistaken for "never".
            now: Instant::from_secs(1_000),
            random,
            event_queue: EventQueue::default(),
            links: Links::new(),
            hosts,
            has_disks,
            seed_count: SEEDS,
            tap: None,
            tapped: Vec::new(),
            ledger: None,
            promises: Promises::default(),
            trace: seed,
            found: Vec::new(),
            counts: Counts::default(),
            buffer: Vec::new(),
            streams: Streams::default(),
        }
    }

    /// Returns the current time.
    #[must_use]
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// Returns the hash over all events.
    #[must_use]
    pub const fn trace(&self) -> u64 {
        self.trace
    }

    /// Returns the machines.
    #[must_use]
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Returns one machine.
    pub fn host(&mut self, number: usize) -> Option<&mut Host> {
        self.hosts.get_mut(number)
    }

    /// Starts a node that is down. Returns `false` if it is up or its disk refuses.
    pub fn start(&mut self, number: usize) -> bool {
        let seeds: Vec<SocketAddr> = (0..self.seed_count.min(self.hosts.len()))
            .filter(|seed| *seed != number)
            .map(address)
            .collect();
        let Some(host) = self.hosts.get_mut(number) else {
            return false;
        };
        if host.running.is_some() {
            return false;
        }
        if !host.start(self.now, &mut self.random, self.has_disks, &seeds) {
            self.take_notes(number);
            return false;
        }
        if let Some(ledger) = self
            .ledger
            .as_ref()
            .filter(|_| host.follows && !host.is_hostile)
            && !host.follow(self.now, ledger)
        {
            host.running = None;
            return false;
        }
        self.note(1, number as u64);
        if self.has_disks {
            self.event_queue
                .plan(self.now + MAINTENANCE, Scheduled::Maintenance(number));
        }
        self.drain(number);
        true
    }

    /// Shuts a node down cleanly.
    pub fn stop(&mut self, number: usize) {
        if let Some(host) = self.hosts.get_mut(number)
            && host.running.is_some()
        {
            host.stop(self.now);
            self.drop_streams(number);
            self.note(9, number as u64);
        }
        self.take_notes(number);
    }

    /// Stops a node that is up, and starts it with this validator's key or without one.
    pub fn configure(&mut self, number: usize, key: Option<Key>) {
        let was_up = self
            .hosts
            .get(number)
            .is_some_and(|host| host.running.is_some());
        self.stop(number);
        if let Some(host) = self.hosts.get_mut(number) {
            host.key = key;
        }
        if was_up {
            self.start(number);
        }
    }

    /// Cuts the power of a node and removes a part of its files.
    pub fn lose(&mut self, number: usize, part: Part) {
        self.cut_power(number);
        let Some(host) = self.hosts.get_mut(number) else {
            return;
        };
        host.files.lose(part);
        if part == Part::Disk {
            host.disk = SimDisk::new();
            host.acknowledged.clear();
            host.lists.clear();
            host.pruning.pinned.clear();
            host.pruning.horizon = 0;
        }
        if matches!(part, Part::Disk | Part::StateDir) {
            self.promises.forget_mempool(number);
        }
        self.note(10, number as u64);
    }

    fn take_notes(&mut self, number: usize) {
        if let Some(host) = self.hosts.get_mut(number) {
            for note in core::mem::take(&mut host.notes) {
                self.promises.take(self.now, number, host.key, note);
            }
        }
    }

    /// Records the transactions that nodes have accepted from their users.
    pub fn note_accepted(&mut self) {
        let waiting: Vec<_> = self.promises.waiting().collect();
        for (id, node) in waiting {
            let following = self.hosts.get(node).and_then(|host| host.chain());
            if following.is_some_and(|chain| chain.mempool().pool().known(&id).is_some()) {
                self.promises.accept(self.now, id);
            }
        }
    }

    /// Cuts the power of a node.
    pub fn cut_power(&mut self, number: usize) {
        if let Some(host) = self.hosts.get_mut(number)
            && host.running.is_some()
        {
            host.cut_power(&mut self.random);
            self.drop_streams(number);
            self.counts.power_cuts += 1;
            self.note(2, number as u64);
        }
    }

    /// Stores atoms at a node.
    pub fn put(&mut self, number: usize, atoms: Vec<(AtomId, Atom)>) {
        let Some(host) = self.hosts.get_mut(number) else {
            return;
        };
        let before = host.acknowledged.len();
        host.put(self.now, atoms);
        self.counts.acknowledged += (host.acknowledged.len() - before) as u64;
        self.drain(number);
    }

    /// Stores the atoms of a list at a node, and advertises the list.
    pub fn put_list(&mut self, number: usize, head: AtomId, atoms: Vec<(AtomId, Atom)>) {
        let Some(host) = self.hosts.get_mut(number) else {
            return;
        };
        let before = host.acknowledged.len();
        host.put_list(self.now, head, atoms);
        self.counts.acknowledged += (host.acknowledged.len() - before) as u64;
        self.drain(number);
    }

    /// Adds a chain to the world, which nodes that start later follow.
    pub fn set_ledger(&mut self, ledger: Ledger) {
        self.promises = Promises::new(ledger.genesis().id());
        self.ledger = Some(ledger);
    }

    /// Returns the chain, if there is one.
    #[must_use]
    pub const fn ledger(&self) -> Option<&Ledger> {
        self.ledger.as_ref()
    }

    /// Submits a payment of the wallet at a node.
    pub fn pay(&mut self, number: usize) {
        let now = self.now;
        if let Some(ledger) = self.ledger.as_mut()
            && let Some(host) = self.hosts.get_mut(number)
        {
            let payment = ledger.pay();
            self.promises.sent(payment.id(), number);
            host.send(now, &payment);
            self.drain(number);
        }
    }

    /// Runs an action on a machine, and sends the resulting datagrams. Returns `None` if the
    /// machine does not exist.
    pub fn act<R>(
        &mut self,
        number: usize,
        act: impl FnOnce(&mut Host, Instant) -> R,
    ) -> Option<R> {
        let result = act(self.hosts.get_mut(number)?, self.now);
        self.drain(number);
        Some(result)
    }

    /// Delivers a datagram that seems to come from an address.
    pub fn inject(&mut self, to: usize, from: SocketAddr, datagram: Vec<u8>) {
        let scheduled = Scheduled::Arrival { to, from, datagram };
        self.event_queue.plan(self.now, scheduled);
    }

    /// Starts a lookup, whose end is reported in [`Self::found`].
    pub fn look_up(&mut self, number: usize, id: AtomId) {
        self.fetch(number, FetchRequest::new(id, PayloadType::ATOM));
    }

    /// Starts a lookup of a list, which may continue by stream.
    pub fn look_up_list(&mut self, number: usize, id: AtomId) {
        self.fetch(number, FetchRequest::list(id).or_by_stream());
    }

    fn fetch(&mut self, number: usize, request: FetchRequest) {
        let (id, since) = (request.id, self.now);
        if let Some(host) = self.hosts.get_mut(number)
            && let Some(running) = host.running.as_mut()
        {
            let fetch = running.engine.fetch(since, request);
            running.lookups.insert(fetch, Lookup { id, since });
            self.drain(number);
        }
    }

    /// Lets time pass.
    pub fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some((at, scheduled)) = self.event_queue.next_until(end) {
            self.now = at;
            self.dispatch(scheduled);
        }
        self.now = end;
    }

    fn dispatch(&mut self, scheduled: Scheduled) {
        match scheduled {
            Scheduled::Arrival { to, from, datagram } => self.arrive(to, from, datagram),
            Scheduled::EngineTimer(number) => self.wake(number),
            Scheduled::ChainTimer(number) => self.advance_chain(number),
            Scheduled::Maintenance(number) => self.maintain(number),
            Scheduled::Frames {
                connection,
                to_server,
                bytes,
            } => self.frames_arrived(connection, to_server, &bytes),
            Scheduled::StreamReady(connection) => self.stream_ready(connection),
            Scheduled::StreamCheck(connection) => self.check_stream(connection),
        }
    }

    fn arrive(&mut self, to: usize, from: SocketAddr, datagram: Vec<u8>) {
        let now = self.now;
        let Some(host) = self.hosts.get_mut(to) else {
            return;
        };
        if now < host.busy_until {
            // The event loop is busy; the system keeps the datagram.
            let at = host.busy_until;
            let scheduled = Scheduled::Arrival { to, from, datagram };
            self.event_queue.plan(at, scheduled);
            return;
        }
        let Some(running) = host.running.as_mut().filter(|_| !host.is_silent) else {
            return;
        };
        let scope = heap::enter(to, heap::Part::Engine);
        if let Some(atoms) = &host.serves {
            running.engine.handle_datagram(now, from, &datagram, atoms);
        } else if host.is_hostile {
            let _scope = heap::leave();
            if host.seen.len() < MAX_SEEN {
                host.seen.push(datagram.clone());
            }
            running
                .engine
                .handle_datagram(now, from, &datagram, &FalseStore);
        } else {
            let store = &running.store;
            running.engine.handle_datagram(now, from, &datagram, store);
        }
        drop(scope);
        self.counts.arrived += 1;
        self.note_bytes(to as u64, &datagram);
        self.drain(to);
    }

    fn wake(&mut self, number: usize) {
        let now = self.now;
        let Some(host) = self.hosts.get_mut(number) else {
            return;
        };
        let Some(running) = host.running.as_mut() else {
            return;
        };
        // An earlier wakeup has been planned since, or the node was restarted.
        if running.wakes_at != Some(now) {
            return;
        }
        running.wakes_at = None;
        let scope = heap::enter(number, heap::Part::Engine);
        running.engine.handle_timeout(now, &running.store);
        drop(scope);
        self.note(3, number as u64);
        self.drain(number);
    }

    /// Advances the chain of a node.
    fn advance_chain(&mut self, number: usize) {
        let now = self.now;
        let Some(host) = self.hosts.get_mut(number) else {
            return;
        };
        let following = host
            .running
            .as_mut()
            .and_then(|node| node.following.as_mut());
        // As in `wake`.
        if following.is_none_or(|following| following.wakes_at != Some(now)) {
            return;
        }
        host.advance(now);
        self.note(8, number as u64);
        self.drain(number);
    }

    fn maintain(&mut self, number: usize) {
        let Some(host) = self.hosts.get_mut(number) else {
            return;
        };
        let Some(cold) = host.running.as_ref().and_then(|node| node.store.cold()) else {
            return;
        };
        // A disk that refuses says so in the status; the next round tries again.
        let scope = heap::enter(number, heap::Part::Store);
        // The node's thread waits as long as a pair is rewritten.
        let is_done = host.pruning.is_sweeping || cold.maintain().is_ok();
        drop(scope);
        host.busy_until = self.now + host.write_time;
        self.note(4, number as u64 * 2 + u64::from(is_done));
        self.event_queue
            .plan(self.now + MAINTENANCE, Scheduled::Maintenance(number));
    }

    /// Sends the datagrams of a node, handles its events, and plans its next wakeup.
    fn drain(&mut self, number: usize) {
        let now = self.now;
        let mut buffer = core::mem::take(&mut self.buffer);
        while let Some(running) = self.running(number) {
            let scope = heap::enter(number, heap::Part::Engine);
            if let Some(mut work) = running.engine.poll_work() {
                let done = work.run(u64::MAX).unwrap_or_else(|| work.give_up());
                running.engine.handle_work(now, done);
            } else if let Some(transmit) = running.engine.poll_transmit(&mut buffer) {
                drop(scope);
                self.send(number, transmit.to, &buffer);
            } else if let Some(event) = running.engine.poll_event() {
                drop(scope);
                self.handle_event(number, event);
            } else {
                drop(scope);
                if !self.pass_stream_commands(number) {
                    break;
                }
            }
        }
        self.buffer = buffer;
        self.plan_wake(number);
        if let Some(host) = self.hosts.get_mut(number)
            && let Some(at) = host.plan_chain(now)
        {
            self.event_queue.plan(at, Scheduled::ChainTimer(number));
        }
        self.take_notes(number);
    }

    fn running(&mut self, number: usize) -> Option<&mut super::host::Running> {
        self.hosts.get_mut(number)?.running.as_mut()
    }

    fn plan_wake(&mut self, number: usize) {
        let now = self.now;
        let Some(running) = self.running(number) else {
            return;
        };
        let Some(due) = running.engine.poll_timeout() else {
            return;
        };
        // At least a moment later; a node that is always due would stop time.
        let due = due.max(now + Duration::from_micros(1));
        if running.wakes_at.is_none_or(|at| due < at || at <= now) {
            running.wakes_at = Some(due);
            self.event_queue.plan(due, Scheduled::EngineTimer(number));
        }
    }

    fn handle_event(&mut self, number: usize, event: Event) {
        let now = self.now;
        if let Some(host) = self.hosts.get_mut(number) {
            host.handle_event(now, &event);
        }
        let (fetch, atoms) = match event {
            Event::Fetched { fetch, atoms, .. } => (fetch, Some(atoms)),
            Event::Streamed { fetch, rest, .. } => (fetch, Some(rest)),
            Event::StreamWanted {
                list,
                peer,
                address,
                object,
                ..
            } => {
                self.want_list(number, (list, object), (peer, address));
                return;
            }
            Event::FetchFailed { fetch, .. } => (fetch, None),
            _ => return,
        };
        let Some(running) = self.running(number) else {
            return;
        };
        let Some(Lookup { id, since }) = running.lookups.remove(&fetch) else {
            return;
        };
        let is_found = atoms.is_some();
        for (id, atom) in atoms.iter().flat_map(LinkedAtoms::with_ids) {
            // An atom that does not fit is fetched again when it is needed again.
            let _ = running.store.keep(id, atom.clone());
        }
        let took = is_found.then(|| now.since(since));
        self.found.push(Found {
            node: number,
            id,
            took,
        });
        self.note(5 + u64::from(is_found), number as u64);
    }

    fn send(&mut self, from: usize, to: SocketAddr, datagram: &[u8]) {
        let Some(host) = self.hosts.get(from) else {
            return;
        };
        if !host.is_hostile {
            self.carry(from, to, datagram.to_vec());
            return;
        }
        for sent in byzantine::mutate(&mut self.random, datagram, &host.seen) {
            match sent {
                Sent::ToRecipient(datagram) => self.carry(from, to, datagram),
                Sent::ToOther(datagram) => {
                    let stray = address(self.random.below(self.hosts.len()));
                    self.carry(from, stray, datagram);
                }
            }
        }
    }

    fn carry(&mut self, from: usize, to: SocketAddr, datagram: Vec<u8>) {
        self.counts.sent += 1;
        self.counts.sent_bytes += datagram.len() as u64;
        let Some(to) = number_at(to).filter(|to| *to < self.hosts.len()) else {
            return;
        };
        if self.tap == Some(from) {
            self.tapped.push((to, datagram.clone()));
        }
        if datagram.len() > self.links.conditions.max_datagram_bytes {
            return;
        }
        let [first, again] = self.links.deliver(&mut self.random, from, to);
        let from = address(from);
        if let Some(way) = again {
            let datagram = datagram.clone();
            self.event_queue
                .plan(self.now + way, Scheduled::Arrival { to, from, datagram });
        }
        if let Some(way) = first {
            self.event_queue
                .plan(self.now + way, Scheduled::Arrival { to, from, datagram });
        }
    }

    /// Returns the first bound that a node exceeds.
    #[must_use]
    pub fn exceeded(&self) -> Option<String> {
        self.hosts.iter().find_map(|host| {
            let running = host.running.as_ref()?;
            let (engine, hot) = (&running.engine, running.store.hot_stats());
            let disk_bytes = host.disk.used_bytes();
            // A merge in progress has written the content of its inputs a second time.
            let disk_limit_bytes = 2 * host.cold_limit_bytes;
            let bounds = [
                (
                    "peers",
                    engine.peer_count() as u64,
                    limits::MAX_PEERS as u64,
                ),
                (
                    "provider records",
                    engine.provider_count() as u64,
                    limits::MAX_PROVIDED as u64,
                ),
                (
                    "fetches",
                    engine.pending_fetches() as u64,
                    limits::MAX_FETCHES as u64,
                ),
                (
                    "searches",
                    engine.pending_work() as u64,
                    limits::MAX_WORK as u64,
                ),
                ("bytes to send", engine.outgoing_bytes(), 67_108_864),
                ("bytes in memory", hot.used_bytes, hot.limit_bytes),
                ("bytes on disk", disk_bytes, disk_limit_bytes),
            ];
            let broken = bounds.into_iter().find(|(_, has, may)| has > may)?;
            let (what, has, may) = broken;
            Some(format!(
                "node {} has {has} {what}, the limit is {may}",
                host.number
            ))
        })
    }

    fn note(&mut self, what: u64, number: u64) {
        let time = self.now.as_micros();
        for word in [what, number, time] {
            self.trace = mixed(self.trace, word);
        }
    }

    fn note_bytes(&mut self, number: u64, bytes: &[u8]) {
        self.note(7, number);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            for (to, from) in word.iter_mut().zip(chunk) {
                *to = *from;
            }
            self.trace = mixed(self.trace, u64::from_le_bytes(word));
        }
    }
}

const fn mixed(hash: u64, word: u64) -> u64 {
    let hash = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^ (hash >> 29)
}
