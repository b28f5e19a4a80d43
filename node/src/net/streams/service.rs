//! Thread of the streams: sockets, lists, and their limits.

use super::bandwidth::{self, Bandwidth, Direction};
use super::channel::{Channel, Moved, violation};
use super::connection::{Connection, Phase, Role, Usage};
use super::listener::Listener;
use super::open_requests::{List, Requests};
use super::writer::{Job, Part, Writer};
use super::{Control, Counters, Environment, LISTENER, WAKER, noise};
use crate::log;
use crate::net::command::{Command, StreamEvent};
use crate::net::stream_memory::{Account, Accounts, Memory};
use crate::net::stream_request::RequestEnd;
use astreum_core::atom::{AtomId, HashedAtom};
use astreum_core::crypto::{PublicKey, SecretKey};
use astreum_core::engine::ListId;
use astreum_core::stream::{self, Answer, Client, HELLO_BYTES, Hello, Pauses};
use astreum_core::time::Instant;
use astreum_core::wire::handshake::StreamOffer;
use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

/// Interval between checks of timeouts while there are connections.
const TICK: Duration = Duration::from_millis(500);
/// Number of bytes that a connection moves in one turn.
const TURN_BYTES: usize = 1 << 20;
/// Time after which a turn reads no further atoms, so that a slow disk delays the other connections
/// by no more than this and one object.
const TURN_TIME: Duration = Duration::from_millis(10);
/// Number of stored bytes of a list that may be on the way. Credit is granted again by quarters, so
/// that three of them are always on the way: 500 MB/s at a round-trip time of 50 ms.
const LIST_WINDOW_BYTES: u32 = 32 << 20;
/// Number of unsent bytes above which a server reads no further atoms.
const UNSENT_BYTES: usize = 512 << 10;
/// Number of unsent bytes of requests above which a server has failed that does not read them. All
/// requests that can be open at once take less.
const UNSENT_REQUEST_BYTES: usize = 384 << 10;

pub(super) struct Service {
    poll: Poll,
    pub(super) listener: Listener,
    controls: Receiver<Control>,
    pub(super) writer: Writer,
    pub(super) environment: Environment,
    secret: SecretKey,
    hello: Hello,
    offer: StreamOffer,
    stopping: Arc<AtomicBool>,
    counters: Arc<Counters>,
    next_token: usize,
    pub(super) connections: BTreeMap<usize, Connection>,
    pub(super) lists: BTreeMap<ListId, List>,
    pub(super) requests: Requests,
    /// Peers that are not tried again before a time.
    pauses: Pauses,
    /// Time of the last report of what waits for the disk.
    waiting_reported: Instant,
    bandwidth: Bandwidth,
    memory: Memory,
    /// Memory of lists and requests, by peer.
    memory_of_peers: BTreeMap<PublicKey, Account>,
    /// Time until connections are accepted; `None` until the poll reports one.
    pub(super) accepts_in: Option<Duration>,
}

impl Service {
    pub(super) fn new(
        (poll, listener): (Poll, Listener),
        (controls, writer, memory): (Receiver<Control>, Writer, Memory),
        environment: Environment,
        offer: StreamOffer,
        (stopping, counters): (Arc<AtomicBool>, Arc<Counters>),
    ) -> Self {
        let limits = environment.limits;
        let bandwidth = Bandwidth::new(environment.clock.now(), limits.bandwidth);
        Self {
            poll,
            listener,
            controls,
            writer,
            secret: stream::secret_key(&environment.secret),
            hello: Hello {
                chain_id: environment.chain_id,
                relay: environment.secret.public_key(),
            },
            environment,
            offer,
            stopping,
            counters,
            next_token: WAKER.0 + 1,
            connections: BTreeMap::new(),
            lists: BTreeMap::new(),
            requests: Requests::default(),
            pauses: Pauses::new(),
            waiting_reported: Instant::ZERO,
            bandwidth,
            memory,
            memory_of_peers: BTreeMap::new(),
            accepts_in: Some(Duration::ZERO),
        }
    }

    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(128);
        while !self.stopping.load(Ordering::Acquire) {
            let timeout = self.timeout();
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    log::error!("streams are stopping: poll failed: {error}");
                    return;
                }
                _ => {}
            }
            // What arrives during the turns has not been looked at: their time is not the peers'.
            let now = self.environment.clock.now();
            for event in &events {
                if event.token() == LISTENER {
                    self.accepts_in = Some(Duration::ZERO);
                }
                if let Some(connection) = self.connections.get_mut(&event.token().0) {
                    connection.readable |= event.is_readable() || event.is_error();
                    connection.writable |= event.is_writable() || event.is_error();
                    connection.has_more = true;
                }
            }
            while let Ok(control) = self.controls.try_recv() {
                self.handle(control);
            }
            self.resume_reading();
            self.end_pauses();
            self.accept();
            self.turns();
            self.report_waiting(now);
            self.expire(now);
            let connections = self.connections.len() as u64;
            let counter = &self.counters.connections;
            counter.store(connections, Ordering::Relaxed);
        }
    }

    /// Gives the connections that had reached a limit of bandwidth a turn.
    fn end_pauses(&mut self) {
        for connection in self.connections.values_mut() {
            connection.has_more |= connection.is_paused;
        }
    }

    /// Gives the connections that were not read while too much was in memory a turn.
    fn resume_reading(&mut self) {
        for connection in self.connections.values_mut() {
            let may = connection.readable && !connection.is_server() && !connection.is_full();
            connection.has_more |= may;
        }
    }

    fn timeout(&self) -> Option<Duration> {
        let has_more = self.connections.values().any(|it| it.has_more);
        let ticks = !self.connections.is_empty() || self.writer.has_waiting();
        let tick = match (has_more, ticks) {
            (true, _) => Some(Duration::ZERO),
            (false, true) => Some(TICK),
            (false, false) => None,
        };
        let mut paused = self.connections.values().filter(|it| it.is_paused);
        let pause = paused.next().map(|_| bandwidth::PAUSE);
        let times = self.accepts_in.into_iter().chain(tick).chain(pause);
        times.min()
    }

    fn handle(&mut self, control: Control) {
        match control {
            Control::Open {
                list,
                peer,
                address,
                offer,
            } => {
                if !self.open(list, peer, address, &offer) {
                    self.writer.push(Job::Ended { list, peer });
                }
            }
            Control::Begin { list, peer, atoms } => self.begin(list, peer, &atoms),
            Control::Cancel { list, peer } => self.cancel(list, &peer),
            Control::Request {
                request,
                address,
                offer,
                receiver,
            } => self.request(request, address, &offer, receiver),
            Control::CancelRequest { number } => self.cancel_request(number),
            Control::Kept { number, bytes } => {
                self.renew_credit(self.requests.place(number), bytes);
            }
            Control::Client { token, key } => self.note_client(token, key),
            Control::Stored { list, bytes } => self.note_stored(list, bytes),
        }
    }

    /// Returns the accounts of what connections to a peer deliver.
    pub(super) fn accounts(&mut self, peer: PublicKey, usage: Usage) -> Accounts {
        let all = match usage {
            Usage::Lists => self.memory.lists.clone(),
            Usage::Requests => self.memory.requests.clone(),
        };
        let peers = &mut self.memory_of_peers;
        if !peers.contains_key(&peer) {
            peers.retain(|_, account| account.is_used());
        }
        let account = peers.entry(peer);
        let peer = account.or_insert_with(|| self.memory.of_peer()).clone();
        Accounts { all, peer }
    }

    /// Finds or opens the connection to a peer. Returns its token, and whether it is open.
    pub(super) fn connection_to(
        &mut self,
        peer: PublicKey,
        usage: Usage,
        address: SocketAddr,
        offer: &StreamOffer,
    ) -> Option<(usize, bool)> {
        let now = self.environment.clock.now();
        let mut known = self.connections.iter();
        let known = known.find(|(_, connection)| connection.client_of() == Some((peer, usage)));
        if let Some((token, connection)) = known {
            return Some((*token, connection.channel.is_open()));
        }
        if self.pauses.contains(now, &peer) {
            return None;
        }
        if !self.make_room_for_client() {
            return None;
        }
        match self.connect(now, (peer, usage), address, offer) {
            Ok(token) => Some((token, false)),
            Err(error) => {
                if let Some(more) = log::limited("opening a stream") {
                    log::info!("cannot open a stream to {address}: {error}{more}");
                }
                None
            }
        }
    }

    /// Returns whether there is a place for a connection to a peer; closes the one that has been
    /// unused for longest if there is none.
    fn make_room_for_client(&mut self) -> bool {
        let clients = self.connections.iter().filter(|(_, it)| !it.is_server());
        if clients.clone().count() < self.environment.limits.clients {
            return true;
        }
        let unused = clients.filter(|(token, _)| !self.has_any(**token));
        let unused = unused.min_by_key(|(_, connection)| connection.moved_at);
        let Some(token) = unused.map(|(token, _)| *token) else {
            return false;
        };
        if let Some(connection) = self.connections.remove(&token) {
            self.close(token, &connection, None);
        }
        true
    }

    fn connect(
        &mut self,
        now: Instant,
        (peer, usage): (PublicKey, Usage),
        address: SocketAddr,
        offer: &StreamOffer,
    ) -> io::Result<usize> {
        let prologue = self.hello.prologue(&peer, offer.port);
        let handshake = noise::initiate(&self.secret, &offer.key, &prologue);
        let handshake = handshake.map_err(|error| violation(error.to_string()))?;
        let socket = TcpStream::connect(address)?;
        let mut channel = Channel::new(socket);
        channel.set_handshake(handshake);
        channel.write_clear(&self.hello.encode());
        channel.write_handshake()?;
        let role = Role::Client {
            peer,
            usage,
            accounts: self.accounts(peer, usage),
            client: Client::new().with_list_window(LIST_WINDOW_BYTES),
            frames: Vec::new(),
        };
        let mut connection = Connection::new(now, channel, address.ip(), role);
        // Until the system reports that it is connected.
        (connection.readable, connection.writable) = (false, false);
        self.insert(connection)
    }

    pub(super) fn insert(&mut self, mut connection: Connection) -> io::Result<usize> {
        let token = self.next_token;
        self.next_token += 1;
        let socket = &mut connection.channel.socket;
        // Best effort: without it, the end of a list may arrive later.
        let _ = socket.set_nodelay(true);
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registry = self.poll.registry();
        registry.register(socket, Token(token), interest)?;
        self.connections.insert(token, connection);
        Ok(token)
    }

    /// Goes on with the handshake of a client that the event loop knows, or closes the connection.
    fn note_client(&mut self, token: usize, key: Option<PublicKey>) {
        let (relay, port) = (&self.hello.relay, self.offer.port);
        let Some(connection) = self.connections.get_mut(&token) else {
            return;
        };
        let Role::Server { phase, .. } = &mut connection.role else {
            return;
        };
        let handshake = key.zip(match *phase {
            Phase::Asked(hello) => noise::respond(&self.secret, &hello.prologue(relay, port)).ok(),
            _ => None,
        });
        let Some((key, handshake)) = handshake else {
            self.connections.remove(&token);
            return;
        };
        *phase = Phase::Message(key);
        connection.channel.set_handshake(handshake);
        connection.has_more = true;
    }

    /// Gives each connection that has something to do a turn.
    fn turns(&mut self) {
        let busy = self.connections.iter().filter(|(_, it)| it.has_more);
        let busy: Vec<usize> = busy.map(|(token, _)| *token).collect();
        for token in busy {
            let Some(mut connection) = self.connections.remove(&token) else {
                continue;
            };
            match self.turn(token, &mut connection) {
                Ok(true) => {
                    self.connections.insert(token, connection);
                }
                Ok(false) => self.close(token, &connection, None),
                Err(error) => self.close(token, &connection, Some(&error)),
            }
        }
    }

    /// Moves bytes of a connection; returns `false` once the peer has closed it.
    fn turn(&mut self, token: usize, connection: &mut Connection) -> io::Result<bool> {
        (connection.has_more, connection.is_paused) = (false, false);
        let mut budget = TURN_BYTES;
        let ends = self.environment.clock.now() + TURN_TIME;
        loop {
            let is_over = self.write_frames(ends, connection)?;
            let mut moved = 0;
            let now = self.environment.clock.now();
            let address = connection.address;
            let allowed = self.bandwidth.allowance(now, address, Direction::Sent);
            if connection.writable && connection.channel.unsent_bytes() > 0 && allowed == 0 {
                connection.is_paused = true;
            } else if connection.writable && connection.channel.unsent_bytes() > 0 {
                let (result, bytes) = connection.channel.send(allowed)?;
                self.bandwidth.count(now, address, Direction::Sent, bytes);
                connection.writable = result != Moved::Blocked;
                self.counters
                    .sent_bytes
                    .fetch_add(bytes as u64, Ordering::Relaxed);
                moved += bytes;
                if result == Moved::Closed {
                    return Ok(false);
                }
            }
            let mut is_closed = false;
            let is_held_up = self.is_held_up(token, connection);
            let allowed = self.bandwidth.allowance(now, address, Direction::Received);
            if connection.readable && !is_held_up && allowed == 0 {
                connection.is_paused = true;
            } else if connection.readable && !is_held_up {
                let (result, bytes) = connection.channel.receive(allowed)?;
                if bytes > 0 {
                    connection.awaits_since = None;
                }
                self.bandwidth
                    .count(now, address, Direction::Received, bytes);
                connection.readable = result != Moved::Blocked;
                let counter = &self.counters.received_bytes;
                counter.fetch_add(bytes as u64, Ordering::Relaxed);
                moved += bytes;
                is_closed = result == Moved::Closed;
            }
            self.read(token, connection)?;
            if is_closed {
                return Ok(false);
            }
            if moved == 0 {
                return Ok(true);
            }
            connection.moved_at = self.environment.clock.now();
            budget = budget.saturating_sub(moved);
            if budget == 0 || is_over {
                connection.has_more = true;
                return Ok(true);
            }
        }
    }

    /// Encrypts frames while there is room for output. Returns whether the time of the turn is over
    /// before that: the connection has more to do.
    fn write_frames(&self, ends: Instant, connection: &mut Connection) -> io::Result<bool> {
        let channel = &mut connection.channel;
        if !channel.is_open() {
            return Ok(false);
        }
        let clock = &self.environment.clock;
        match &mut connection.role {
            Role::Client { frames, .. } => {
                if !frames.is_empty() {
                    connection.awaits_since.get_or_insert_with(|| clock.now());
                }
                channel.write_text(frames)?;
                frames.clear();
                if channel.unsent_bytes() > UNSENT_REQUEST_BYTES {
                    let what = "the server does not read requests";
                    return Err(io::Error::new(io::ErrorKind::TimedOut, what));
                }
            }
            Role::Server { server, .. } => {
                let source = self.environment.store.served_checked();
                let mut frame = Vec::new();
                let mut is_over = || clock.now() >= ends;
                while channel.unsent_bytes() < UNSENT_BYTES
                    && server.poll_until(&source, &mut frame, &mut is_over)
                {
                    channel.write_text(&frame)?;
                    frame.clear();
                    if is_over() {
                        connection.has_more = true;
                        return Ok(true);
                    }
                }
            }
        }
        Ok(false)
    }

    /// Handles what has been received.
    fn read(&mut self, token: usize, connection: &mut Connection) -> io::Result<()> {
        if !connection.channel.is_open() {
            self.read_handshake(token, connection)?;
        }
        while connection.channel.is_open()
            && connection.channel.read_text(&mut connection.decoder)?
        {
            self.read_frames(token, connection)?;
        }
        Ok(())
    }

    fn read_handshake(&mut self, token: usize, connection: &mut Connection) -> io::Result<()> {
        let Connection {
            channel,
            address,
            role,
            ..
        } = connection;
        match role {
            Role::Server { phase, .. } => {
                if let Phase::Hello = phase
                    && let Some(bytes) = channel.take_clear::<HELLO_BYTES>()
                {
                    let hello = Hello::decode(&bytes);
                    let hello = hello.filter(|it| it.chain_id == self.hello.chain_id);
                    let hello = hello.ok_or_else(|| violation("unknown protocol or chain"))?;
                    *phase = Phase::Asked(hello);
                    self.report(StreamEvent::Client {
                        token,
                        relay: hello.relay,
                        address: *address,
                    });
                }
                if let Phase::Message(key) = *phase
                    && channel.read_handshake()?
                {
                    if channel.remote_key() != Some(key.as_bytes()) {
                        return Err(violation("the client has another key than it announced"));
                    }
                    channel.write_handshake()?;
                    channel.open()?;
                    *phase = Phase::Open;
                    connection.has_more = true;
                }
            }
            Role::Client { .. } => {
                if channel.read_handshake()? {
                    channel.open()?;
                    self.fill_places_of(token, connection);
                }
            }
        }
        Ok(())
    }

    fn read_frames(&mut self, token: usize, connection: &mut Connection) -> io::Result<()> {
        let Connection { decoder, role, .. } = connection;
        let mut has_ended = false;
        while let Some(frame) = decoder.next_frame().map_err(invalid)? {
            match role {
                Role::Server { server, .. } => {
                    server.handle(&frame).map_err(invalid)?;
                    connection.has_more = true;
                }
                Role::Client {
                    client,
                    peer,
                    accounts,
                    frames,
                    ..
                } => {
                    let mut found = Vec::new();
                    let answer = client.handle(&frame, &mut found).map_err(invalid)?;
                    let (number, next, is_complete, ended) = match answer {
                        Answer::Atoms {
                            number,
                            next,
                            is_complete,
                        } => (number, next, is_complete, None),
                        Answer::Ended { number, reason } => {
                            (number, AtomId::ZERO, false, Some(reason))
                        }
                        Answer::Late => continue,
                    };
                    if !found.is_empty() {
                        self.pauses.note_delivered(peer);
                    }
                    has_ended |= is_complete || ended.is_some();
                    let Some(list) = self.list_of(token, number) else {
                        let end = match ended {
                            Some(reason) => Some(RequestEnd::from(reason)),
                            None => is_complete.then_some(RequestEnd::Complete),
                        };
                        let kept = self.read_requested((token, number), accounts, found, end);
                        client.stored(number, u32::try_from(kept).unwrap_or(u32::MAX), frames);
                        connection.has_more |= !frames.is_empty();
                        continue;
                    };
                    let peer = *peer;
                    if !found.is_empty() {
                        let atoms = found.iter().map(|it| (it.id(), it.atom().clone()));
                        self.writer.push(Job::Store(Part {
                            list,
                            peer,
                            atoms: atoms.collect(),
                            next,
                            counts: true,
                            share: accounts.share(found.iter().map(HashedAtom::atom)),
                        }));
                    }
                    if is_complete || ended.is_some() {
                        self.lists.remove(&list);
                    }
                    if ended.is_some() {
                        self.writer.push(Job::Ended { list, peer });
                    }
                }
            }
        }
        if has_ended {
            self.fill_places_of(token, connection);
        }
        Ok(())
    }

    pub(super) fn report(&self, event: StreamEvent) {
        // Fails only after the loop has ended.
        let _ = self.environment.sender.send(Command::Stream(event));
    }

    /// Gives back the lists of a connection that has ended, and pauses a peer that is at fault.
    fn close(&mut self, token: usize, connection: &Connection, error: Option<&io::Error>) {
        let address = connection.address;
        if let Some(error) = error
            && let Some(more) = log::limited("stream")
        {
            log::info!("stream with {address} ended: {error}{more}");
        }
        let lists = self.lists.iter().filter(|(_, list)| list.token == token);
        let lists: Vec<(ListId, PublicKey)> = lists.map(|(id, list)| (*id, list.peer)).collect();
        for (list, peer) in &lists {
            self.lists.remove(list);
            let (list, peer) = (*list, *peer);
            self.writer.push(Job::Ended { list, peer });
        }
        let had_requests = self.end_requests_of(token);
        let Role::Client { peer, .. } = &connection.role else {
            return;
        };
        let is_violation = error.is_some_and(|it| it.kind() == io::ErrorKind::InvalidData);
        let is_failure =
            error.is_some() || !connection.channel.is_open() || !lists.is_empty() || had_requests;
        let now = self.environment.clock.now();
        if is_violation {
            // Nothing more is taken from the other connection to it.
            let mut others = self.connections.iter();
            let other = others.find(|(_, it)| it.client_of().is_some_and(|it| it.0 == *peer));
            let other = other.map(|(token, _)| *token);
            if let Some(token) = other
                && let Some(other) = self.connections.remove(&token)
            {
                self.close(token, &other, None);
            }
            self.pauses.note_violation(now, *peer);
        } else if is_failure {
            self.pauses.note_failure(now, *peer);
        }
    }

    /// Reports the lists that wait for the disk, and not for their peers.
    fn report_waiting(&mut self, now: Instant) {
        if now.since(self.waiting_reported) < TICK {
            return;
        }
        self.waiting_reported = now;
        for (list, peer) in self.writer.waiting() {
            // If the event loop has much to do, the next report is soon enough.
            let event = StreamEvent::Waiting { list, peer };
            self.environment.sender.offer(Command::Stream(event));
        }
    }

    /// Closes the connections whose time is over at `now`.
    fn expire(&mut self, now: Instant) {
        let over = self.connections.iter().filter(|(token, it)| {
            let is_silent = it.is_silent(now, self.has_open(**token));
            it.is_late(now) || is_silent && !self.is_held_up(**token, it)
        });
        let over: Vec<usize> = over.map(|(token, _)| *token).collect();
        for token in over {
            if let Some(connection) = self.connections.remove(&token) {
                self.close(token, &connection, None);
            }
        }
    }
}

/// Converts a violation of the protocol.
fn invalid(error: impl core::error::Error) -> io::Error {
    violation(error.to_string())
}
