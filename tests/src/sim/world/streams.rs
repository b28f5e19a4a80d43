//! Streams between simulated nodes.
//!
//! A connection keeps the order of its bytes, as TCP does: bytes that the network loses arrive
//! later, and a partition stalls the connection for good. Nothing changes bytes on the way, since
//! streams are encrypted; a hostile server sends wrong atoms or damaged frames, stalls or closes
//! the connection instead. Timeouts and pauses are those of the node's stream thread.

use super::{Scheduled, World};
use crate::heap::{self, Part};
use crate::sim::host::{FalseStore, StreamCommand, number_at};
use astreum_core::atom::{Atom, AtomId, HashedAtom};
use astreum_core::consensus::{Input, StreamObject, StreamRequest};
use astreum_core::crypto::PublicKey;
use astreum_core::engine::{ListId, StreamedObject};
use astreum_core::stream::{
    Answer, Client, HANDSHAKE_TIMEOUT, IDLE_TIMEOUT, Pauses, STALL_TIMEOUT, Server,
};
use astreum_core::time::Instant;
use astreum_core::wire::stream::Decoder;
use core::net::SocketAddr;
use core::time::Duration;
use std::collections::BTreeMap;

/// Time after which lost bytes are sent again.
const RETRANSMISSION: Duration = Duration::from_millis(200);
/// Statistics of streams.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct StreamCounts {
    /// Connections that were opened.
    pub opened: u64,
    /// Lists that arrived completely.
    pub lists: u64,
    /// Objects that had not arrived by datagram, and arrived completely.
    pub objects: u64,
    /// Requests of chains that were answered completely.
    pub requests: u64,
    /// Bytes of verified atoms.
    pub bytes: u64,
    /// Violations of the protocol by servers, which clients have detected.
    pub violations: u64,
    /// Connections that a fault has closed or stalled.
    pub faults: u64,
}

impl core::ops::AddAssign for StreamCounts {
    fn add_assign(&mut self, other: Self) {
        self.opened += other.opened;
        self.lists += other.lists;
        self.objects += other.objects;
        self.requests += other.requests;
        self.bytes += other.bytes;
        self.violations += other.violations;
        self.faults += other.faults;
    }
}

/// One direction of a connection.
#[derive(Default)]
struct Pipe {
    decoder: Decoder,
    /// Time at which the last bytes arrive.
    last: Instant,
}

struct Connection {
    client: usize,
    server: usize,
    /// Key of the server.
    peer: PublicKey,
    is_open: bool,
    /// `true` if no more bytes arrive in either direction.
    is_stalled: bool,
    moved_at: Instant,
    /// Time of the first request since bytes of the server last arrived.
    awaits_since: Option<Instant>,
    /// Time of the next check of its times; other checks are void.
    checked_at: Instant,
    to_server: Pipe,
    to_client: Pipe,
    asking: Client,
    serving: Server,
    /// Lists and requests that wait until the connection is open.
    waiting: Vec<Wanted>,
    lists: BTreeMap<u32, ListId>,
    objects: BTreeMap<u32, ListId>,
    requests: BTreeMap<u32, u64>,
}

enum Wanted {
    List(ListId),
    /// An object that the engine holds: its first atom, and the maximum number of atoms.
    Object(ListId, AtomId, u32),
    Request(StreamRequest),
}

/// Streams of a world.
#[derive(Default)]
pub(super) struct Streams {
    next: u64,
    connections: BTreeMap<u64, Connection>,
    /// Pauses of each client.
    pauses: BTreeMap<usize, Pauses>,
    pub(super) counts: StreamCounts,
}

/// Reason of the end of a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Close {
    Failure,
    Violation,
}

impl World {
    /// Returns the statistics of all streams.
    #[must_use]
    pub const fn stream_counts(&self) -> StreamCounts {
        self.streams.counts
    }

    /// Closes or stalls every connection at random; returns the number of those that it has.
    pub fn disturb_streams(&mut self) -> u64 {
        let ids: Vec<u64> = self.streams.connections.keys().copied().collect();
        let mut disturbed = 0;
        for id in ids {
            match self.random.below(3) {
                0 => self.close(id, Close::Failure),
                1 => self.stall(id),
                _ => continue,
            }
            disturbed += 1;
        }
        self.streams.counts.faults += disturbed;
        disturbed
    }

    fn stall(&mut self, id: u64) {
        if let Some(connection) = self.streams.connections.get_mut(&id) {
            connection.is_stalled = true;
        }
    }

    /// Removes the connections of a node that has stopped. Its peers notice only that nothing
    /// arrives.
    pub(super) fn drop_streams(&mut self, number: usize) {
        let connections = &mut self.streams.connections;
        connections.retain(|_, connection| connection.client != number);
        for connection in connections.values_mut() {
            connection.is_stalled |= connection.server == number;
        }
        self.streams.pauses.remove(&number);
    }

    /// Opens the stream of a list or an object that the engine wants.
    pub(super) fn want_list(
        &mut self,
        client: usize,
        (list, object): (ListId, StreamedObject),
        (peer, address): (PublicKey, SocketAddr),
    ) {
        let wanted = match object {
            StreamedObject::Stored => Wanted::List(list),
            StreamedObject::Held { id, most } => Wanted::Object(list, id, most),
        };
        if !self.want(client, (peer, address), wanted) {
            self.end_list(client, list, &peer);
        }
    }

    /// Passes on what the chain of a node requests by stream; returns whether it did anything.
    pub(super) fn pass_stream_commands(&mut self, number: usize) -> bool {
        let Some(running) = self.running(number) else {
            return false;
        };
        let commands = core::mem::take(&mut running.stream_commands);
        let has_commands = !commands.is_empty();
        for command in commands {
            match command {
                StreamCommand::Cancel(request) => self.cancel_request(number, request),
                StreamCommand::Request(request) => {
                    let (now, peer) = (self.now, request.from);
                    let known = self.running(number).and_then(|it| {
                        it.engine.note_stream_use(now, &peer);
                        it.engine.peer(&peer)
                    });
                    let known = known.filter(|it| it.is_validated && it.stream.is_some());
                    let address = known.map(|it| it.address);
                    let request_number = request.number;
                    let wanted = Wanted::Request(request);
                    let is_wanted =
                        address.is_some_and(|address| self.want(number, (peer, address), wanted));
                    if !is_wanted {
                        self.end_request(number, request_number, false);
                    }
                }
            }
        }
        has_commands
    }

    /// Finds or opens a connection. Returns `false` if there is none.
    fn want(
        &mut self,
        client: usize,
        (peer, address): (PublicKey, SocketAddr),
        wanted: Wanted,
    ) -> bool {
        let now = self.now;
        let pauses = self.streams.pauses.get(&client);
        if pauses.is_some_and(|pauses| pauses.contains(now, &peer)) {
            return false;
        }
        let Some(server) = number_at(address).filter(|it| *it < self.hosts.len()) else {
            return false;
        };
        let mut connections = self.streams.connections.iter_mut();
        let known = connections.find(|(_, it)| it.client == client && it.peer == peer);
        if let Some((id, connection)) = known {
            let id = *id;
            connection.waiting.push(wanted);
            if connection.is_open {
                self.event_queue.plan(now, Scheduled::StreamReady(id));
            }
            return true;
        }
        let id = self.streams.next;
        self.streams.next += 1;
        let connection = Connection {
            client,
            server,
            peer,
            is_open: false,
            is_stalled: false,
            moved_at: now,
            awaits_since: None,
            checked_at: now + HANDSHAKE_TIMEOUT,
            to_server: Pipe::default(),
            to_client: Pipe::default(),
            asking: Client::new(),
            serving: Server::new(),
            waiting: vec![wanted],
            lists: BTreeMap::new(),
            objects: BTreeMap::new(),
            requests: BTreeMap::new(),
        };
        self.streams.connections.insert(id, connection);
        // The handshake takes a round trip.
        let ways = [(client, server), (server, client)].map(|(from, to)| self.way(from, to));
        if let [Some(there), Some(back)] = ways {
            self.event_queue
                .plan(now + there + back, Scheduled::StreamReady(id));
        }
        self.event_queue
            .plan(now + HANDSHAKE_TIMEOUT, Scheduled::StreamCheck(id));
        true
    }

    /// Returns the time after which bytes arrive; `None` in another part of the network.
    fn way(&mut self, from: usize, to: usize) -> Option<Duration> {
        if !self.links.connects(from, to) {
            return None;
        }
        let [first, _] = self.links.deliver(&mut self.random, from, to);
        let latency = Duration::from_micros(self.links.conditions.latency_micros);
        Some(first.unwrap_or(latency + RETRANSMISSION))
    }

    /// Sends what waits for a connection. The server accepts only validated peers.
    pub(super) fn stream_ready(&mut self, id: u64) {
        let now = self.now;
        let Some(mut connection) = self.streams.connections.remove(&id) else {
            return;
        };
        let (client, server) = (connection.client, connection.server);
        if !connection.is_open {
            let key = self.running(client).map(|it| *it.engine.public_key());
            let accepts = key.is_some_and(|key| {
                let host = self.hosts.get(server).filter(|host| !host.is_silent);
                let running = host.and_then(|host| host.running.as_ref());
                let known = running.and_then(|it| it.engine.peer(&key));
                known.is_some_and(|it| it.is_validated && it.stream.is_some())
            });
            if !accepts {
                self.streams.connections.insert(id, connection);
                self.close(id, Close::Failure);
                return;
            }
            connection.is_open = true;
            connection.moved_at = now;
            self.streams.counts.opened += 1;
        }
        let mut frames = Vec::new();
        for wanted in core::mem::take(&mut connection.waiting) {
            match wanted {
                Wanted::List(list) => self.begin_list(&mut connection, list, &mut frames),
                Wanted::Object(list, id, most) => {
                    match connection.asking.request_lists(&[id], most, &mut frames) {
                        Some(number) => {
                            connection.objects.insert(number, list);
                        }
                        None => self.end_list(client, list, &connection.peer),
                    }
                }
                Wanted::Request(request) => {
                    self.begin_request(&mut connection, &request, &mut frames);
                }
            }
        }
        self.send_frames(id, &mut connection, true, frames);
        self.streams.connections.insert(id, connection);
        self.note(11, id);
        self.drain(client);
    }

    fn begin_list(&mut self, connection: &mut Connection, list: ListId, frames: &mut Vec<u8>) {
        let (now, client, peer) = (self.now, connection.client, connection.peer);
        let Some(running) = self.running(client) else {
            return;
        };
        let scope = heap::enter(client, Part::Engine);
        let begun = running.engine.begin_stream(now, list, &peer);
        drop(scope);
        let Some(atoms) = begun else {
            return;
        };
        let next = atoms.next();
        let pairs = atoms.with_ids().map(|(id, atom)| (id, atom.clone()));
        let is_stored = running.store.put_all(pairs.collect()).is_ok();
        let number = match is_stored {
            true => connection.asking.request_list(next, frames),
            false => None,
        };
        match number {
            Some(number) => {
                connection.lists.insert(number, list);
            }
            None => self.end_list(client, list, &peer),
        }
    }

    fn begin_request(
        &mut self,
        connection: &mut Connection,
        request: &StreamRequest,
        frames: &mut Vec<u8>,
    ) {
        let asking = &mut connection.asking;
        let number = match &request.object {
            StreamObject::Headers { id, count } => asking.request_headers(*id, *count, frames),
            StreamObject::Bodies { lists } => asking.request_bodies(lists, frames),
            StreamObject::Lists { lists, most } => asking.request_lists(lists, *most, frames),
        };
        match number {
            Some(number) => {
                connection.requests.insert(number, request.number);
            }
            None => self.end_request(connection.client, request.number, false),
        }
    }

    fn send_frames(
        &mut self,
        id: u64,
        connection: &mut Connection,
        to_server: bool,
        bytes: Vec<u8>,
    ) {
        if bytes.is_empty() {
            return;
        }
        if to_server && connection.awaits_since.is_none() {
            connection.awaits_since = Some(self.now);
            connection.checked_at = connection.checked_at.min(self.now + STALL_TIMEOUT);
            self.event_queue
                .plan(connection.checked_at, Scheduled::StreamCheck(id));
        }
        if connection.is_stalled {
            return;
        }
        let ends = (connection.client, connection.server);
        let (from, to) = match to_server {
            true => ends,
            false => (ends.1, ends.0),
        };
        let Some(way) = self.way(from, to) else {
            connection.is_stalled = true;
            return;
        };
        let pipe = match to_server {
            true => &mut connection.to_server,
            false => &mut connection.to_client,
        };
        // Bytes do not overtake each other.
        pipe.last = pipe.last.max(self.now + way);
        let scheduled = Scheduled::Frames {
            connection: id,
            to_server,
            bytes,
        };
        self.event_queue.plan(pipe.last, scheduled);
    }

    pub(super) fn frames_arrived(&mut self, id: u64, to_server: bool, bytes: &[u8]) {
        let Some(mut connection) = self.streams.connections.remove(&id) else {
            return;
        };
        if connection.is_stalled {
            self.streams.connections.insert(id, connection);
            return;
        }
        connection.moved_at = self.now;
        if !to_server {
            connection.awaits_since = None;
        }
        let reply = match to_server {
            true => self.serve(&mut connection, bytes),
            false => self.take(&mut connection, bytes),
        };
        let client = connection.client;
        let closed = match reply {
            Ok(frames) => {
                self.send_frames(id, &mut connection, !to_server, frames);
                None
            }
            Err(close) => Some(close),
        };
        self.streams.connections.insert(id, connection);
        if let Some(close) = closed {
            self.close(id, close);
        }
        self.note(12, 2 * id + u64::from(to_server));
        self.drain(client);
    }

    /// Answers frames of a client.
    fn serve(&mut self, connection: &mut Connection, bytes: &[u8]) -> Result<Vec<u8>, Close> {
        let what = self.random.below(8);
        let Some(host) = self.hosts.get(connection.server) else {
            return Ok(Vec::new());
        };
        let Some(running) = host.running.as_ref() else {
            return Ok(Vec::new());
        };
        let decoder = &mut connection.to_server.decoder;
        decoder.push(bytes);
        while let Some(frame) = decoder.next_frame().map_err(|_| Close::Violation)? {
            let handled = connection.serving.handle(&frame);
            handled.map_err(|_| Close::Violation)?;
        }
        let mut out = Vec::new();
        let serving = &mut connection.serving;
        let lies = host.is_hostile || host.lies_by_stream;
        match (lies, what, &host.serves) {
            (true, 0, _) => connection.is_stalled = true,
            (true, 1, _) => return Err(Close::Failure),
            (true, 2..=4, None) => while serving.poll(&FalseStore, &mut out) {},
            (_, _, Some(atoms)) => while serving.poll(atoms, &mut out) {},
            (lies, _, None) => {
                while serving.poll(&running.store.served(), &mut out) {}
                if lies {
                    let at = self.random.below(out.len());
                    if let Some(byte) = out.get_mut(at) {
                        *byte ^= 1 << self.random.below(8);
                    }
                }
            }
        }
        Ok(out)
    }

    /// Handles frames of a server.
    fn take(&mut self, connection: &mut Connection, bytes: &[u8]) -> Result<Vec<u8>, Close> {
        let mut out = Vec::new();
        // The decoder cannot be borrowed while the world acts.
        let mut decoder = core::mem::take(&mut connection.to_client.decoder);
        decoder.push(bytes);
        while let Some(frame) = decoder.next_frame().map_err(|_| Close::Violation)? {
            let mut found = Vec::new();
            let answer = connection.asking.handle(&frame, &mut found);
            match answer.map_err(|_| Close::Violation)? {
                Answer::Atoms {
                    number,
                    is_complete,
                    next,
                } => self.take_atoms(connection, (number, is_complete, next), &found, &mut out),
                Answer::Ended { number, .. } => {
                    let (client, peer) = (connection.client, connection.peer);
                    let list = connection.lists.remove(&number);
                    if let Some(list) = list.or_else(|| connection.objects.remove(&number)) {
                        self.end_list(client, list, &peer);
                    }
                    if let Some(request) = connection.requests.remove(&number) {
                        self.end_request(client, request, false);
                    }
                }
                Answer::Late => {}
            }
        }
        connection.to_client.decoder = decoder;
        Ok(out)
    }

    fn take_atoms(
        &mut self,
        connection: &mut Connection,
        (number, is_complete, next): (u32, bool, AtomId),
        found: &[HashedAtom],
        out: &mut Vec<u8>,
    ) {
        let (now, client, peer) = (self.now, connection.client, connection.peer);
        if let Some(pauses) = self.streams.pauses.get_mut(&client) {
            pauses.note_delivered(&peer);
        }
        let stored_len = |atom: &HashedAtom| atom.atom().stored_len();
        let bytes: usize = found.iter().map(stored_len).sum();
        self.streams.counts.bytes += bytes as u64;
        let pairs = || found.iter().map(|it| (it.id(), it.atom().clone()));
        let returned = u32::try_from(bytes).unwrap_or(u32::MAX);
        if let Some(list) = connection.lists.get(&number).copied() {
            let Some(running) = self.running(client) else {
                return;
            };
            let pairs: Vec<(AtomId, Atom)> = pairs().collect();
            let mut should_continue = false;
            if running.store.put_all(pairs).is_ok() {
                let _scope = heap::enter(client, Part::Engine);
                let progress = (next, found.len(), bytes);
                should_continue = running
                    .engine
                    .note_stream_progress(now, list, &peer, progress);
            } else {
                running.engine.end_stream(now, list, &peer);
            }
            self.streams.counts.lists += u64::from(is_complete);
            if is_complete || !should_continue {
                connection.lists.remove(&number);
                connection.asking.cancel(number, out);
            } else {
                connection.asking.stored(number, returned, out);
            }
        } else if let Some(list) = connection.objects.get(&number).copied() {
            let Some(running) = self.running(client) else {
                return;
            };
            let scope = heap::enter(client, Part::Engine);
            let should_continue = running.engine.take_streamed(now, list, &peer, found);
            drop(scope);
            self.streams.counts.objects += u64::from(is_complete);
            if is_complete {
                connection.objects.remove(&number);
                self.end_list(client, list, &peer);
            } else if should_continue {
                connection.asking.stored(number, returned, out);
            } else {
                connection.objects.remove(&number);
                connection.asking.cancel(number, out);
            }
        } else if let Some(request) = connection.requests.get(&number).copied() {
            if let Some(running) = self.running(client) {
                for (id, atom) in pairs() {
                    // An atom that does not fit is fetched by datagram.
                    let _ = running.store.keep(id, atom);
                }
            }
            connection.asking.stored(number, returned, out);
            let input = Input::StreamProgress { number: request };
            self.input(client, &input);
            if is_complete {
                connection.requests.remove(&number);
                self.streams.counts.requests += 1;
                self.end_request(client, request, true);
            }
        }
    }

    fn input(&mut self, number: usize, input: &Input) {
        let now = self.now;
        if let Some(host) = self.hosts.get_mut(number) {
            host.input(now, input);
        }
    }

    fn end_list(&mut self, client: usize, list: ListId, peer: &PublicKey) {
        let now = self.now;
        if let Some(running) = self.running(client) {
            let _scope = heap::enter(client, Part::Engine);
            running.engine.end_stream(now, list, peer);
        }
    }

    fn end_request(&mut self, client: usize, number: u64, is_complete: bool) {
        let input = Input::StreamEnded {
            number,
            is_complete,
        };
        self.input(client, &input);
    }

    fn cancel_request(&mut self, client: usize, request: u64) {
        let own = self.streams.connections.iter_mut();
        let own = own.filter(|(_, connection)| connection.client == client);
        let mut cancelled = Vec::new();
        for (id, connection) in own {
            connection.waiting.retain(|wanted| match wanted {
                Wanted::Request(waiting) => waiting.number != request,
                Wanted::List(_) | Wanted::Object(..) => true,
            });
            let mut requests = connection.requests.iter();
            let number = requests.find(|(_, known)| **known == request);
            if let Some(number) = number.map(|(number, _)| *number) {
                connection.requests.remove(&number);
                let mut frames = Vec::new();
                connection.asking.cancel(number, &mut frames);
                cancelled.push((*id, frames));
            }
        }
        for (id, frames) in cancelled {
            if let Some(mut connection) = self.streams.connections.remove(&id) {
                self.send_frames(id, &mut connection, true, frames);
                self.streams.connections.insert(id, connection);
            }
        }
    }

    /// Closes a connection that is idle or stalled, or was not accepted in time.
    pub(super) fn check_stream(&mut self, id: u64) {
        let now = self.now;
        let connection = self.streams.connections.get_mut(&id);
        let Some(connection) = connection.filter(|it| it.checked_at == now) else {
            return;
        };
        let is_answered = connection.lists.is_empty()
            && connection.objects.is_empty()
            && connection.requests.is_empty();
        let stalls = connection.awaits_since.filter(|_| !is_answered);
        let ends = connection.moved_at + IDLE_TIMEOUT;
        let ends = ends.min(stalls.map_or(ends, |since| since + STALL_TIMEOUT));
        if !connection.is_open || ends <= now {
            self.close(id, Close::Failure);
        } else {
            connection.checked_at = ends;
            self.event_queue.plan(ends, Scheduled::StreamCheck(id));
        }
    }

    /// Ends the lists and requests of a connection.
    fn close(&mut self, id: u64, close: Close) {
        let Some(connection) = self.streams.connections.remove(&id) else {
            return;
        };
        let (client, peer) = (connection.client, connection.peer);
        self.streams.counts.violations += u64::from(close == Close::Violation);
        let mut lists: Vec<ListId> = connection.lists.into_values().collect();
        lists.extend(connection.objects.into_values());
        let mut requests: Vec<u64> = connection.requests.into_values().collect();
        for wanted in connection.waiting {
            match wanted {
                Wanted::List(list) | Wanted::Object(list, ..) => lists.push(list),
                Wanted::Request(request) => requests.push(request.number),
            }
        }
        let has_failed = !connection.is_open || !lists.is_empty() || !requests.is_empty();
        if has_failed || close == Close::Violation {
            let now = self.now;
            let pauses = self.streams.pauses.entry(client).or_default();
            match close {
                Close::Failure => pauses.note_failure(now, peer),
                Close::Violation => pauses.note_violation(now, peer),
            }
        }
        for list in lists {
            self.end_list(client, list, &peer);
        }
        for request in requests {
            self.end_request(client, request, false);
        }
        self.note(13, id);
        self.drain(client);
    }
}
