//! Event loop of the network: passes socket, timers and commands to the engine, and handles the
//! engine's packets, events and work.
//!
//! Invariants:
//! - Only the poll blocks. Blocking work runs on workers, readers of cold storage or the resolver's
//!   thread, and its results return as commands.
//! - The work of one turn is capped; leftover work makes the next poll return at once. The poll is
//!   edge-triggered, so a source counts as ready until it returns `WouldBlock`.
//! - Every accepted fetch is answered once: by its event, or because its reply channel is dropped
//!   when the loop ends.
//! - A packet that the socket does not accept waits here, and further packets wait in the engine's
//!   bounded queue.

mod streams;

use super::command::{
    Advertisement, COMMAND_QUEUE, Command, CommandSender, FetchFailure, FetchReply, FetchedObject,
    NetworkStatus, Peer, Provider,
};
use super::drop_report::Report;
use super::peer_statements::PeerStatements;
use super::pow_pool::PowPool;
use super::readers::Readers;
use super::resolve::SeedState;
use super::seeds::Seeds;
use super::socket::{NodeSocket, Received, Sent};
use super::streams::limits::Limits;
use super::streams::{Control, Environment, Streams};
use super::{ENGINE_REQUESTS, NetworkError, engine_config};
use crate::clock::Clock;
use crate::config::Settings;
use crate::failure::Failure;
use crate::log;
use crate::store::Store;
use astreum_core::atom::{Atom, AtomId, LinkedAtoms};
use astreum_core::consensus::Input;
use astreum_core::crypto::{PublicKey, SecretKey};
use astreum_core::engine::{Engine, Event, FetchError, FetchId, Recipient, Transmit};
use astreum_core::time::Instant;
use astreum_core::wire::handshake::ChainIdentity;
use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use mio::{Events, Interest, Poll, Token, Waker};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

const SOCKET: Token = Token(0);
const WAKER: Token = Token(1);
/// Maximum number of datagrams handled in one turn.
const HANDLED_PER_TURN: usize = 128;
/// Minimum number of queued datagrams handled in one turn, if there are that many.
const WAITING_PER_TURN: usize = 16;
/// Maximum number of datagrams read from the socket in one turn.
const RECEIVED_PER_TURN: usize = 512;
/// Maximum number of commands handled in one turn.
const COMMANDS_PER_TURN: usize = 64;
/// Buffer size in bytes for the largest UDP datagram.
const DATAGRAM_BYTES: usize = 1 << 16;
/// Time that a packet with this node's own key is reported as a warning.
const OWN_KEY_LIFETIME: Duration = Duration::from_secs(3_600);
/// Maximum time that a stop waits for the socket to accept queued packets.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);

pub(super) struct EventLoop {
    poll: Poll,
    socket: NodeSocket,
    engine: Engine,
    store: Store,
    clock: Clock,
    // Declared before the pool and the readers: their threads may wait for room in this queue,
    // and must find it closed when they are joined.
    commands: Receiver<Command>,
    sender: CommandSender,
    failure: Failure,
    stopping: Arc<AtomicBool>,
    pow_pool: PowPool,
    readers: Readers,
    /// `None` if streams are turned off or could not be started.
    streams: Option<Streams>,
    stream_failure: Option<String>,
    /// Number of the next request by stream for the engine.
    next_request: u64,
    seeds: Seeds,
    fetches: BTreeMap<FetchId, FetchReply>,
    /// Fetches of callers, by the tickets that cancel them.
    tickets: BTreeMap<u64, FetchId>,
    buffer: Box<[u8]>,
    outgoing: Vec<u8>,
    blocked: Option<Transmit>,
    readable: bool,
    commands_left: bool,
    head: Option<AtomId>,
    statements: PeerStatements,
    reported: Report,
    /// Addresses of peers of an earlier run.
    remembered: Vec<SocketAddr>,
    seed_states: Vec<SeedState>,
    /// Source address and time of the last packet with this node's own key.
    own_key_from: Option<(SocketAddr, Instant)>,
}

impl EventLoop {
    pub(super) fn new(
        settings: &Settings,
        secret: SecretKey,
        seed: [u8; 32],
        store: Store,
        failure: &Failure,
    ) -> Result<Self, NetworkError> {
        let failed = |attempt| move |cause| NetworkError::System { attempt, cause };
        let mut socket = NodeSocket::bind(settings.incoming_port, settings.into())?;
        let poll = Poll::new().map_err(failed("open a poll"))?;
        let waker = Waker::new(poll.registry(), WAKER).map_err(failed("open a waker"))?;
        poll.registry()
            .register(socket.source(), SOCKET, Interest::READABLE)
            .map_err(failed("watch the socket"))?;
        let (queue, commands) = sync_channel(COMMAND_QUEUE);
        let stopping = Arc::new(AtomicBool::new(false));
        let sender = CommandSender::new(queue, Arc::new(waker), Arc::clone(&stopping));
        let clock = Clock::start();
        let environment = Environment {
            secret: secret.clone(),
            chain_id: settings.chain_id,
            store: store.clone(),
            sender: sender.clone(),
            clock,
            limits: Limits::new(settings),
        };
        let (streams, stream_failure) =
            streams::start(settings, socket.port(), &environment, failure);
        let mut config = engine_config(settings, secret, socket.port());
        config.stream_offer = streams.as_ref().map(Streams::offer);
        let engine = Engine::new(config, seed, clock.now());
        Ok(Self {
            pow_pool: PowPool::start(sender.clone(), clock, failure)
                .map_err(failed("start the workers"))?,
            readers: Readers::start(store.clone(), sender.clone(), clock, failure)
                .map_err(failed("start the readers"))?,
            streams,
            stream_failure,
            next_request: ENGINE_REQUESTS,
            seeds: Seeds::start(settings, &sender, failure, 0)
                .map_err(failed("start the resolver"))?,
            poll,
            socket,
            engine,
            store,
            clock,
            commands,
            sender,
            failure: failure.clone(),
            stopping,
            fetches: BTreeMap::new(),
            tickets: BTreeMap::new(),
            buffer: vec![0; DATAGRAM_BYTES].into(),
            outgoing: Vec::with_capacity(DATAGRAM_BYTES),
            blocked: None,
            readable: true,
            commands_left: false,
            head: settings.latest_block_hash,
            statements: PeerStatements::default(),
            reported: Report::default(),
            remembered: Vec::new(),
            seed_states: Vec::new(),
            own_key_from: None,
        })
    }

    pub(super) const fn port(&self) -> u16 {
        self.socket.port()
    }

    pub(super) fn commands(&self) -> CommandSender {
        self.sender.clone()
    }

    /// Runs until it is stopped.
    pub(super) fn run(mut self) {
        log::info!("listening on UDP port {}", self.socket.port());
        let mut events = Events::with_capacity(16);
        while !self.stopping.load(Ordering::Acquire) {
            if let Err(error) = self.wait(&mut events) {
                log::error!("network thread stopping: poll failed: {error}");
                self.stopping.store(true, Ordering::Release);
                return;
            }
            self.turn();
        }
        self.finish();
    }

    fn wait(&mut self, events: &mut Events) -> io::Result<()> {
        let timeout = self.timeout();
        match self.poll.poll(events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error),
        }
        for event in events.iter() {
            if event.token() == WAKER {
                self.commands_left = true;
                continue;
            }
            self.readable |= event.is_readable() || event.is_error();
            if event.is_writable() {
                self.unblock();
            }
        }
        Ok(())
    }

    /// Returns the maximum time for the poll; `None` for no limit.
    fn timeout(&self) -> Option<Duration> {
        if self.readable || self.commands_left || self.engine.incoming_bytes() > 0 {
            return Some(Duration::ZERO);
        }
        let now = self.clock.now();
        let deadlines = [
            self.engine.poll_timeout(),
            self.seeds.retry_at(),
            self.statements.retry_at(),
        ];
        let next = deadlines.into_iter().flatten().min();
        next.map(|deadline| deadline.since(now))
    }

    fn turn(&mut self) {
        let now = self.clock.now();
        if self.commands_left {
            self.take_commands(now);
        }
        if self.readable || self.engine.incoming_bytes() > 0 {
            self.take_datagrams(now);
        }
        let now = self.clock.now();
        if self.engine.poll_timeout().is_some_and(|due| due <= now) {
            self.engine
                .handle_timeout(now, &self.store.served_from_memory());
        }
        self.drain(now);
        self.statements.retry(now, |key| self.engine.peer(key));
        let has_peers = self.engine.peer_count() > 0;
        if self.seeds.check(now, has_peers) {
            for address in self.remembered.clone() {
                self.engine.connect(now, address);
            }
            self.transmit();
        }
        if let Some(line) = self.reported.line(now, self.engine.stats()) {
            log::info!("{line}");
        }
    }

    fn take_commands(&mut self, now: Instant) {
        for _ in 0..COMMANDS_PER_TURN {
            let Ok(command) = self.commands.try_recv() else {
                self.commands_left = false;
                return;
            };
            self.handle_command(now, command);
        }
    }

    fn handle_command(&mut self, now: Instant, command: Command) {
        // Each reply has a place in its channel, so sending it does not block; a caller that has
        // stopped listening is ignored.
        match command {
            Command::Contact(address) => self.engine.connect(now, address),
            Command::Fetch { mut request, reply } => {
                request.may_stream &= self.streams.is_some();
                let fetch = self.engine.fetch(now, request);
                if let FetchReply::Caller { ticket, .. } = &reply {
                    self.tickets.insert(*ticket, fetch);
                }
                if !matches!(reply, FetchReply::None) {
                    self.fetches.insert(fetch, reply);
                }
            }
            Command::RequestByStream { request, receiver } => {
                self.request_by_stream(now, request, receiver);
            }
            Command::CancelStreamRequest { number } => {
                self.control_streams(Control::CancelRequest { number });
            }
            Command::NoteStored { number, bytes } => {
                self.control_streams(Control::Kept { number, bytes });
            }
            Command::Remember(addresses) => {
                self.remembered = addresses;
                self.seeds.wake();
                for address in self.remembered.clone() {
                    self.engine.connect(now, address);
                }
            }
            Command::Remove { key, bans, reply } => {
                let was_known = if bans {
                    self.engine.ban(key)
                } else {
                    self.engine.disconnect(&key)
                };
                let _ = reply.send(was_known);
            }
            Command::Unban { key, reply } => {
                let _ = reply.send(self.engine.unban(&key));
            }
            Command::Banned(reply) => {
                let _ = reply.send(self.engine.banned().copied().collect());
            }
            Command::Advertised(reply) => {
                let advertised = self.engine.advertised();
                let advertised = advertised.map(|(id, kind, expires)| Advertisement {
                    id: *id,
                    kind,
                    lifetime: expires.map(|at| at.since(now)),
                });
                let _ = reply.send(advertised.collect());
            }
            Command::Cancel { ticket } => {
                // It may have been answered in the meantime.
                if let Some(fetch) = self.tickets.remove(&ticket) {
                    self.fetches.remove(&fetch);
                    let arrived = self.engine.arrived_atoms(fetch);
                    for (id, atom) in arrived.into_iter().flat_map(LinkedAtoms::with_ids) {
                        // Another try continues behind them.
                        let _ = self.store.keep(id, atom.clone());
                    }
                    self.engine.cancel(fetch);
                }
            }
            Command::FetchProgress { ticket, reply } => {
                let fetch = self.tickets.get(&ticket);
                let progress = fetch.and_then(|fetch| self.engine.fetch_progress(*fetch));
                let _ = reply.send(progress);
            }
            Command::AdvertiseAll(advertisements) => {
                for Advertisement { id, kind, lifetime } in advertisements {
                    let expires = lifetime.map(|lifetime| now + lifetime);
                    self.engine.advertise(now, id, kind, expires);
                }
            }
            Command::SetHead(head) => {
                self.head = Some(head);
                self.engine.set_head(now, self.head);
            }
            Command::SetChainIdentity(identity) => self.engine.set_chain_identity(now, identity),
            Command::SetValidator(is_validator) => self.engine.set_validator(now, is_validator),
            Command::Chain(inbox) => {
                let peers = self.engine.peers().map(|info| info.key);
                self.statements.attach(now, inbox, peers);
            }
            Command::Advertise {
                advertisement: Advertisement { id, kind, lifetime },
                reply,
            } => {
                let expires = lifetime.map(|lifetime| now + lifetime);
                let _ = reply.send(self.engine.advertise(now, id, kind, expires));
            }
            Command::Withdraw { id, reply } => {
                let _ = reply.send(self.engine.withdraw(&id));
            }
            Command::Announce { transaction, reply } => {
                let receivers =
                    self.engine
                        .send_transaction(now, transaction, Recipient::Validators);
                let _ = reply.send(receivers);
            }
            Command::ChainAnnounce {
                transaction,
                to,
                inbox,
            } => {
                let validators = self.engine.send_transaction(now, transaction, to);
                if to == Recipient::Validators {
                    inbox.answer(Input::Announced {
                        transaction,
                        validators,
                    });
                }
            }
            Command::Peers(reply) => {
                let peers = self.engine.peers();
                let _ = reply.send(peers.map(|info| Peer::new(&info, now)).collect());
            }
            Command::Providers { id, reply } => {
                let _ = reply.send(self.providers(now, &id));
            }
            Command::Status(reply) => {
                let _ = reply.send(self.status(now));
            }
            Command::Seeds { round, addresses } if round == self.seeds.round() => {
                self.engine
                    .set_seeds(now, &addresses.default, &addresses.additional);
                self.seed_states = addresses.states;
            }
            Command::Seeds { .. } => {}
            Command::SetSeeds(settings) => self.replace_seeds(now, &settings),
            Command::WorkDone(done) => self.engine.handle_work(now, done),
            Command::ReadDone(done) => self.engine.handle_read(now, done),
            Command::Stream(event) => self.handle_stream(now, event),
        }
    }

    /// Reads the socket. Urgent datagrams come first, then those queued in earlier turns. Datagrams
    /// beyond the cap of a turn go to the engine's queue, which requires more proof of work of
    /// senders as it fills. The socket is always emptied: what exceeds its buffer is dropped
    /// indiscriminately.
    fn take_datagrams(&mut self, now: Instant) {
        let mut budget = HANDLED_PER_TURN;
        for _ in 0..RECEIVED_PER_TURN {
            match self.socket.receive(&mut self.buffer) {
                Received::Datagram { len, from } => {
                    let datagram = self.buffer.get(..len).unwrap_or_default();
                    let store = self.store.served_from_memory();
                    let is_handled = self.engine.handle_or_queue_datagram(
                        now,
                        from,
                        datagram,
                        budget == 0,
                        &store,
                    );
                    if is_handled {
                        self.transmit();
                        budget = budget.saturating_sub(1);
                    }
                }
                Received::Empty => {
                    self.readable = false;
                    break;
                }
                Received::Error(error) => {
                    if let Some(more) = log::limited("receiving") {
                        log::info!("failed to receive: {error}{more}");
                    }
                }
            }
        }
        // Always handles at least `WAITING_PER_TURN`, however many datagrams were urgent.
        for _ in 0..budget.max(WAITING_PER_TURN) {
            if !self
                .engine
                .handle_queued(now, &self.store.served_from_memory())
            {
                return;
            }
            self.transmit();
        }
    }

    /// Replaces the seeds. Those of before are peers like any other from then on.
    fn replace_seeds(&mut self, now: Instant, settings: &Settings) {
        let round = self.seeds.round() + 1;
        match Seeds::start(settings, &self.sender, &self.failure, round) {
            Ok(seeds) => {
                self.seeds = seeds;
                if !self.remembered.is_empty() {
                    self.seeds.wake();
                }
                self.engine.set_seeds(now, &[], &[]);
                self.seed_states.clear();
            }
            Err(error) => log::error!("failed to replace the seeds: {error}"),
        }
    }

    /// Records a packet with this node's own key, unless it comes from the node's own, non-loopback
    /// IP address.
    fn note_own_key(&mut self, now: Instant, from: SocketAddr) {
        self.own_key_from = Some((from, now));
        if let Some(more) = log::limited("own relay key") {
            log::warn!("{}{more}", super::own_key_warning(from));
        }
    }

    /// Handles everything that the engine has produced.
    fn drain(&mut self, now: Instant) {
        while let Some(event) = self.engine.poll_event() {
            self.handle_event(now, event);
        }
        self.pow_pool.drain(now, &mut self.engine);
        self.readers.drain(now, &mut self.engine);
        self.transmit();
    }

    fn transmit(&mut self) {
        while self.blocked.is_none() {
            let Some(transmit) = self.engine.poll_transmit(&mut self.outgoing) else {
                return;
            };
            self.send(transmit);
        }
    }

    fn send(&mut self, transmit: Transmit) {
        match self.socket.send(&self.outgoing, transmit.to) {
            Sent::Done => {}
            Sent::Full => self.block(transmit),
            Sent::Lost(error) => {
                if let Some(more) = log::limited("sending") {
                    let Transmit { to, len } = transmit;
                    log::info!("failed to send {len} bytes to {to}: {error}{more}");
                }
            }
        }
    }

    /// Keeps the packet in the outgoing buffer until the socket is writable. The socket is watched
    /// for that only then: on Linux each packet that leaves would wake the loop.
    fn block(&mut self, transmit: Transmit) {
        self.blocked = Some(transmit);
        self.watch(Interest::READABLE | Interest::WRITABLE);
    }

    fn unblock(&mut self) {
        if let Some(transmit) = self.blocked.take() {
            self.watch(Interest::READABLE);
            self.send(transmit);
        }
    }

    fn watch(&mut self, interest: Interest) {
        let registry = self.poll.registry();
        if let Err(error) = registry.reregister(self.socket.source(), SOCKET, interest) {
            log::error!("failed to watch the socket: {error}");
        }
    }

    fn handle_event(&mut self, now: Instant, event: Event) {
        match event {
            Event::Fetched {
                fetch,
                id,
                atoms,
                from,
                ..
            } => {
                for (id, atom) in atoms.with_ids() {
                    // An atom that does not fit into the store still reaches its requester.
                    let _ = self.store.keep(id, atom.clone());
                }
                self.answer(fetch, id, Ok(atoms.into_atoms()), from);
            }
            Event::Streamed { fetch, id, rest } => self.finish_streamed(fetch, id, &rest),
            event @ Event::StreamWanted { .. } => self.open_stream(now, &event),
            Event::FetchFailed {
                fetch,
                id,
                atoms,
                error,
            } => {
                for (id, atom) in atoms.with_ids() {
                    // The beginning of a list is stored, so that it is not fetched again.
                    let _ = self.store.keep(id, atom.clone());
                }
                self.answer(fetch, id, Err(error), None);
            }
            Event::Head {
                peer,
                group,
                id,
                is_default_seed,
                is_seed,
            } => {
                // If the chain is followed, its thread chooses the head.
                if is_default_seed && !self.statements.is_attached() {
                    self.head = Some(id);
                    self.engine.set_head(now, self.head);
                }
                let info = self.engine.peer(&peer);
                if info.is_some_and(|info| info.is_validator && info.is_validated) {
                    let input = Input::ValidatorSeen { peer };
                    self.statements.deliver(now, &peer, input);
                }
                let input = Input::PeerHead {
                    peer,
                    group,
                    id,
                    is_default_seed,
                    is_seed,
                };
                self.statements.deliver(now, &peer, input);
            }
            Event::Transaction { peer, group, id } => {
                let (peer, group) = (Some(peer), Some(group));
                let input = Input::Transaction { peer, group, id };
                self.statements.transaction(input);
            }
            event @ Event::ChainIdentity { peer, identity } => {
                let input = Input::PeerIdentity { peer, identity };
                self.statements.deliver(now, &peer, input);
                log_event(&event);
            }
            event @ Event::PeerRemoved { peer, .. } => {
                let input = Input::PeerGone { peer };
                self.statements.deliver(now, &peer, input);
                log_event(&event);
            }
            Event::OwnKeyElsewhere { address } => self.note_own_key(now, address),
            event => log_event(&event),
        }
    }

    fn answer(
        &mut self,
        fetch: FetchId,
        id: AtomId,
        outcome: Result<Vec<Atom>, FetchError>,
        from: Option<PublicKey>,
    ) {
        match self.fetches.remove(&fetch) {
            None | Some(FetchReply::None) => {}
            Some(FetchReply::Caller { ticket, reply }) => {
                self.tickets.remove(&ticket);
                let outcome = outcome.map(FetchedObject::Atoms);
                let _ = reply.send(outcome.map_err(FetchFailure::Network));
            }
            Some(FetchReply::Chain(inbox)) => inbox.answer(Input::Fetched { id, outcome, from }),
            Some(FetchReply::ChainSmall(inbox)) => {
                let outcome = outcome.map(|_| ());
                inbox.answer(Input::FetchedSmall { id, outcome });
            }
        }
    }

    fn providers(&self, now: Instant, id: &AtomId) -> Vec<Provider> {
        let known = self.engine.providers_of(now, id);
        known
            .map(|provider| Provider {
                key: provider.key,
                address: provider.address,
                expires_in: provider.expires.since(now),
            })
            .collect()
    }

    fn status(&self, now: Instant) -> NetworkStatus {
        NetworkStatus {
            peers: self.engine.peer_count(),
            advertised_address: self.engine.advertised_address(),
            shared_private_address: self.engine.shared_private_address(),
            difficulty: self.engine.required_difficulty(),
            advertisements: self.engine.advertised().count(),
            head: self.head,
            uptime: now.since(Instant::ZERO),
            seeds: self.seed_states.clone(),
            own_key_from: self
                .own_key_from
                .filter(|(_, at)| now.since(*at) < OWN_KEY_LIFETIME)
                .map(|(from, _)| from),
            streams: self.stream_status(),
            stats: self.engine.stats().clone(),
        }
    }

    /// Completes work that was accepted before the stop: handles commands and sends packets.
    fn finish(mut self) {
        let now = self.clock.now();
        while let Ok(command) = self.commands.try_recv() {
            self.handle_command(now, command);
        }
        self.drain(now);
        let deadline = now + FLUSH_TIMEOUT;
        let mut events = Events::with_capacity(4);
        while self.blocked.is_some() && self.clock.now() < deadline {
            let left = deadline.since(self.clock.now());
            if self.poll.poll(&mut events, Some(left)).is_ok() && !events.is_empty() {
                self.unblock();
                self.transmit();
            }
        }
        log::info!("the network has stopped");
    }
}

/// Logs actions of peers, rate-limited, because peers can cause them at any rate.
fn log_event(event: &Event) {
    let (reason, line) = match event {
        Event::PeerAdded { peer, address } => {
            ("peer joined", format!("peer {peer} at {address} joined"))
        }
        Event::PeerMoved { peer, from, to } => (
            "peer moved",
            format!("peer {peer} moved from {from} to {to}"),
        ),
        Event::PeerRemoved { peer, reason } => {
            ("peer left", format!("peer {peer} left: {reason:?}"))
        }
        Event::ChainIdentity { peer, identity } => {
            let ChainIdentity {
                rules_version,
                chain_id,
                genesis,
            } = identity;
            let genesis = genesis.map_or_else(|| "none".into(), |id| id.to_string());
            (
                "peer's chain",
                format!(
                    "peer {peer} follows chain={chain_id} genesis={genesis} rules={rules_version}"
                ),
            )
        }
        Event::AddressLearned(address) => (
            "address learned",
            format!("peers see this node at {address}"),
        ),
        _ => return,
    };
    if let Some(more) = log::limited(reason) {
        log::info!("{line}{more}");
    }
}
