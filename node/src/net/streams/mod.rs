//! Streams: lists, headers and transactions over TCP between nodes of this implementation.
//!
//! A thread of its own drives the sockets, the encryption and the core's state machines
//! ([`astreum_core::stream`]), so that a transfer does not delay datagrams; a second one stores the
//! lists that arrive ([`writer`]). The event loop, which owns the engine, decides: it names the lists
//! to fetch, states whether the client of a connection is a validated peer, and receives the progress.
//!
//! Invariants:
//! - A connection costs no key agreement before the event loop has confirmed that its client is a
//!   validated peer at the IP address that the connection comes from.
//! - Connections that peers open are limited in total, per network and in their rate; those that this
//!   node opens in total, and to two per peer: one for lists, which is not read while too much waits
//!   to be stored, and one for everything else. Limited are also the time of a handshake, the time
//!   without traffic, the bytes in memory ([`limits`]), and those of a second if that is configured
//!   ([`bandwidth`]).
//! - The event loop never waits for these threads. They may wait for its command queue.
//! - Every list that the event loop hands over is given back once: complete, or by
//!   `StreamEvent::Ended`. Every request of the chain thread ends in one `Input::StreamEnded`, unless
//!   it is cancelled.

pub(in crate::net) mod bandwidth;
mod channel;
mod connection;
pub(in crate::net) mod limits;
mod listener;
mod lists;
mod noise;
mod open_requests;
mod places;
mod requests;
mod service;
#[cfg(test)]
mod tests;
mod writer;

use super::command::CommandSender;
use super::socket::Interface;
use super::stream_memory::Memory;
use super::stream_request::Receiver;
use super::stream_status::StreamStatus;
use crate::clock::Clock;
use crate::failure::Failure;
use crate::log;
use crate::store::Store;
use astreum_core::atom::LinkedAtoms;
use astreum_core::consensus::StreamRequest;
use astreum_core::crypto::{PublicKey, SecretKey};
use astreum_core::engine::ListId;
use astreum_core::stream;
use astreum_core::wire::handshake::StreamOffer;
use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use mio::{Poll, Token, Waker};
use service::Service;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender, channel};
use std::thread::JoinHandle;
use writer::Writer;

const LISTENER: Token = Token(0);
const WAKER: Token = Token(1);

/// Decision or request of the event loop, or progress of the writer.
#[derive(Debug)]
pub(super) enum Control {
    /// A list is wanted from a peer.
    Open {
        list: ListId,
        peer: PublicKey,
        address: SocketAddr,
        offer: StreamOffer,
    },
    /// The stream of a list begins behind these atoms, which have arrived already.
    Begin {
        list: ListId,
        peer: PublicKey,
        atoms: LinkedAtoms,
    },
    /// Another thread requests objects from a peer.
    Request {
        request: StreamRequest,
        address: SocketAddr,
        offer: StreamOffer,
        receiver: Receiver,
    },
    /// The requested data is no longer needed.
    CancelRequest { number: u64 },
    /// The fetch of a list has ended or been cancelled, or no longer uses the stream of this peer.
    Cancel { list: ListId, peer: PublicKey },
    /// Stream key of the client of a connection; `None` if it is not to be served.
    Client {
        token: usize,
        key: Option<PublicKey>,
    },
    /// Bytes of a list are stored.
    Stored { list: ListId, bytes: usize },
    /// The receiver of a request no longer holds bytes.
    Kept { number: u64, bytes: usize },
}

/// Sender that queues controls and wakes the thread.
#[derive(Clone, Debug)]
pub(super) struct ControlSender {
    queue: Sender<Control>,
    waker: Arc<Waker>,
}

impl ControlSender {
    pub(super) fn send(&self, control: Control) {
        // Fails only if the thread has ended.
        let _ = self.queue.send(control);
        let _ = self.waker.wake();
    }
}

#[derive(Debug, Default)]
struct Counters {
    received_bytes: AtomicU64,
    sent_bytes: AtomicU64,
    connections: AtomicU64,
}

/// Parts of the node that the thread uses.
#[derive(Clone)]
pub(super) struct Environment {
    pub(super) secret: SecretKey,
    pub(super) chain_id: u64,
    pub(super) store: Store,
    pub(super) sender: CommandSender,
    pub(super) clock: Clock,
    pub(super) limits: limits::Limits,
}

/// Running streams. Dropping them ends their threads.
#[derive(Debug)]
pub(super) struct Streams {
    control: ControlSender,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    counters: Arc<Counters>,
    memory: Memory,
    offer: StreamOffer,
}

impl Streams {
    /// Binds the TCP port and starts the threads.
    pub(super) fn start(
        (port, interface): (u16, Interface),
        environment: Environment,
        failure: &Failure,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let (queue, controls): (_, mpsc::Receiver<Control>) = channel();
        let control = ControlSender { queue, waker };
        let listener = listener::Listener::bind(port, interface, poll.registry())?;
        let offer = StreamOffer {
            port: listener.port(),
            key: stream::secret_key(&environment.secret).public_key(),
        };
        let writer = Writer::start(
            environment.store.clone(),
            environment.sender.clone(),
            control.clone(),
            failure,
        )?;
        let (stopping, counters) = (Arc::default(), Arc::<Counters>::default());
        let memory = environment.limits.memory(&control.waker);
        let service = Service::new(
            (poll, listener),
            (controls, writer, memory.clone()),
            environment,
            offer,
            (Arc::clone(&stopping), Arc::clone(&counters)),
        );
        let failure = failure.clone();
        let thread = std::thread::Builder::new()
            .name("streams".into())
            .spawn(move || {
                let _ = failure.watch(|| service.run());
            })?;
        log::info!("accepting streams on TCP port {}", offer.port);
        Ok(Self {
            control,
            stopping,
            thread: Some(thread),
            counters,
            memory,
            offer,
        })
    }

    pub(super) const fn offer(&self) -> StreamOffer {
        self.offer
    }

    pub(super) fn send(&self, control: Control) {
        self.control.send(control);
    }

    pub(super) fn status(&self) -> StreamStatus {
        StreamStatus {
            port: Some(self.offer.port),
            failure: None,
            received_bytes: self.counters.received_bytes.load(Ordering::Relaxed),
            sent_bytes: self.counters.sent_bytes.load(Ordering::Relaxed),
            connections: self.counters.connections.load(Ordering::Relaxed),
            memory_bytes: self.memory.bytes() as u64,
        }
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        let _ = self.control.waker.wake();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been recorded already.
            let _ = thread.join();
        }
    }
}
