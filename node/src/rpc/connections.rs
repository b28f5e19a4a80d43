//! Open connections of the control socket.
//!
//! Each connection has a thread that answers its requests in order.
//!
//! Invariants:
//! - At most [`MAX_CONNECTIONS`] connections take any request. [`RESERVED_CONNECTIONS`] further
//!   ones take only [`Request::Status`] and [`Request::Stop`], one each and within
//!   [`RESERVED_TIMEOUT`]: a node whose connections are all busy can still be queried and stopped.
//! - A connection that has been idle for [`DISPLACED_AFTER`] is closed in favor of a new one if
//!   there is no free slot: idle connections do not lock out clients.
//! - When the client closes a connection, the flag of the current request is set, and its waits and
//!   computations end. A client that only shuts down its sending side still gets its reply.

use super::caller::Caller;
use super::codec::{Frame, FrameError, encode_message};
use super::dispatch::Incoming;
use super::error::{ErrorKind, RpcError};
use super::link::{InputError, Link, WRITE_CHECK};
use super::message::{CallId, reply_message};
use super::service::{Request, Service};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use core::time::Duration;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

/// Maximum number of open connections that take any request.
pub const MAX_CONNECTIONS: usize = 32;
/// Number of further connections, which take only status and stop requests.
pub const RESERVED_CONNECTIONS: usize = 4;
const ALL_CONNECTIONS: usize = MAX_CONNECTIONS + RESERVED_CONNECTIONS;
/// Maximum time that a connection may send nothing, or not accept its reply.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Idle time after which a connection may be closed in favor of a new one.
const DISPLACED_AFTER: Duration = Duration::from_secs(2);
/// Maximum idle time of a reserved connection.
const RESERVED_TIMEOUT: Duration = Duration::from_secs(2);

/// Size in bytes of the buffer for bytes that are ignored.
const BUFFER_BYTES: usize = 64 << 10;
/// Maximum number of bytes that are read and ignored before a connection is closed: the longest
/// request of the earlier line-based protocol.
const DRAIN_BYTES: usize = 4 << 20;
/// Maximum time for reading them.
const DRAIN_TIME: Duration = Duration::from_secs(1);
/// Reply to a client of the earlier line-based protocol, in the form that it reads.
const OLD_PROTOCOL_REPLY: &str = "{\"ok\":false,\"error\":\"the protocol of the control socket \
changed: this node takes JSON-RPC 2.0 messages in length-prefixed frames; use the program of the \
same version as the node\"}\n";

/// Kind of requests that a connection may send.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Slot {
    Any,
    Reserved,
}

#[derive(Debug)]
struct Connection {
    stream: UnixStream,
    /// Set when the client is gone or the node stops.
    gone: Arc<AtomicBool>,
    /// Time since which it waits for a request; `None` while one is in progress.
    idle_since: Arc<Mutex<Option<Instant>>>,
    thread: JoinHandle<()>,
}

/// Open connections. See the [module](self).
#[derive(Debug)]
pub(super) struct Connections {
    /// First token of a connection; lower ones belong to other event sources.
    first_token: usize,
    next: AtomicUsize,
    is_interrupted: AtomicBool,
    open: Mutex<BTreeMap<usize, Connection>>,
}

impl Connections {
    /// Creates an empty set of connections; their events have tokens from `first_token` on.
    pub(super) const fn new(first_token: usize) -> Self {
        Self {
            first_token,
            next: AtomicUsize::new(first_token),
            is_interrupted: AtomicBool::new(false),
            open: Mutex::new(BTreeMap::new()),
        }
    }

    /// Returns the number of connections that were served so far.
    #[cfg(test)]
    pub(super) fn served(&self) -> usize {
        self.next.load(Ordering::Relaxed) - self.first_token
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<usize, Connection>> {
        // The map is never left half-changed, so a panic elsewhere does not corrupt it.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts to serve a connection if there is a slot for it.
    pub(super) fn admit(
        self: &Arc<Self>,
        registry: &Registry,
        stream: UnixStream,
        service: &Arc<dyn Service>,
    ) {
        if !is_allowed(&stream) {
            return;
        }
        let mut open = self.open();
        while open.len() >= MAX_CONNECTIONS && displace_idle(&mut open) {}
        let slot = match open.len() {
            ..MAX_CONNECTIONS => Slot::Any,
            MAX_CONNECTIONS..ALL_CONNECTIONS => Slot::Reserved,
            _ => {
                drop(open);
                let _ = send(&stream, &refusal(all_slots_busy()));
                return;
            }
        };
        let (Ok(copy), Ok(())) = (stream.try_clone(), prepare(&stream, slot)) else {
            return;
        };
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let descriptor = copy.as_raw_fd();
        let mut source = SourceFd(&descriptor);
        // Without registration a request only outlives its connection.
        let _ = registry.register(&mut source, Token(id), Interest::READABLE);
        let gone = Arc::new(AtomicBool::new(self.is_interrupted.load(Ordering::Relaxed)));
        let (service, shared) = (Arc::clone(service), Arc::clone(self));
        let link = Arc::new(Link::new(stream, Arc::clone(&gone), timeout(slot)));
        let transfers = Arc::clone(&link);
        let caller = Caller::with_transfers(Arc::clone(&gone), transfers);
        let idle_since = Arc::new(Mutex::new(Some(Instant::now())));
        let idle = Arc::clone(&idle_since);
        // The map is locked, so the thread cannot remove its entry before it is inserted.
        let spawned = thread::Builder::new()
            .name("control-connection".to_owned())
            .spawn(move || {
                serve(&link, service.as_ref(), slot, (&caller, &idle));
                shared.open().remove(&id);
            });
        if let Ok(thread) = spawned {
            let connection = Connection {
                stream: copy,
                gone,
                idle_since,
                thread,
            };
            open.insert(id, connection);
        }
    }

    /// Ends the current request of a connection that its client has closed.
    pub(super) fn closed_by_peer(&self, token: Token) {
        if token.0 >= self.first_token
            && let Some(connection) = self.open().get(&token.0)
        {
            connection.gone.store(true, Ordering::Relaxed);
        }
    }

    /// Ends the current and all future requests of every connection.
    pub(super) fn interrupt(&self) {
        self.is_interrupted.store(true, Ordering::Relaxed);
        for connection in self.open().values() {
            connection.gone.store(true, Ordering::Relaxed);
        }
    }

    /// Closes the connections: idle ones see the end of their input, current requests get their
    /// reply.
    pub(super) fn close(&self) {
        let open = core::mem::take(&mut *self.open());
        for connection in open.values() {
            let _ = connection.stream.shutdown(Shutdown::Read);
        }
        for connection in open.into_values() {
            let _ = connection.thread.join();
        }
    }
}

/// Closes the connection that has been idle for longest, if for at least [`DISPLACED_AFTER`];
/// returns `false` if there is none.
fn displace_idle(open: &mut BTreeMap<usize, Connection>) -> bool {
    let idle = open.iter().filter_map(|(id, connection)| {
        let since = (*lock(&connection.idle_since))?;
        (since.elapsed() >= DISPLACED_AFTER).then_some((since, *id))
    });
    let longest = idle.min().and_then(|(_, longest)| open.remove(&longest));
    if let Some(connection) = &longest {
        // Its thread sees the end of the input and ends.
        let _ = connection.stream.shutdown(Shutdown::Both);
    }
    longest.is_some()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn all_slots_busy() -> RpcError {
    let message = format!(
        "{MAX_CONNECTIONS} connections are open, and only `status` and `stop` are answered until \
         one of them ends; try again"
    );
    RpcError::new(ErrorKind::Busy, message)
}

/// Returns the maximum time that a connection may send nothing, or not accept its reply.
const fn timeout(slot: Slot) -> Duration {
    match slot {
        Slot::Any => IDLE_TIMEOUT,
        Slot::Reserved => RESERVED_TIMEOUT,
    }
}

fn prepare(stream: &UnixStream, slot: Slot) -> io::Result<()> {
    // Some systems inherit the listener's mode.
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(timeout(slot)))?;
    // A link checks whether a longer wait is allowed.
    stream.set_write_timeout(Some(WRITE_CHECK))
}

/// Returns whether the client may control the node. The mode of the socket file keeps other users
/// out already; this check also works where the mode is not enforced.
#[cfg(target_os = "linux")]
fn is_allowed(stream: &UnixStream) -> bool {
    let peer = rustix::net::sockopt::socket_peercred(stream);
    peer.is_ok_and(|peer| may_control(peer.uid, rustix::process::geteuid()))
}

/// Returns whether a user may control the node: its own user, and root, which could do anything to
/// it anyway.
#[cfg(target_os = "linux")]
fn may_control(peer: rustix::process::Uid, own: rustix::process::Uid) -> bool {
    peer == own || peer.is_root()
}

#[cfg(not(target_os = "linux"))]
fn is_allowed(_: &UnixStream) -> bool {
    true
}

/// Returns the message of an error that is not the answer to a request.
fn refusal(error: RpcError) -> Vec<u8> {
    reply_message(&CallId::NULL, &Err::<(), _>(error))
}

/// Sends a message on a connection that is not served.
fn send(mut stream: &UnixStream, message: &[u8]) -> io::Result<()> {
    // Every message of this module is within the limit.
    let frame = encode_message(message).ok_or(io::ErrorKind::InvalidInput)?;
    stream.write_all(&frame)
}

fn serve(
    link: &Link,
    service: &dyn Service,
    slot: Slot,
    (caller, idle_since): (&Caller, &Mutex<Option<Instant>>),
) {
    loop {
        *lock(idle_since) = Some(Instant::now());
        let frame = link.next();
        *lock(idle_since) = None;
        let message = match frame {
            Ok(Frame::Message(message)) => message,
            Ok(Frame::Transfer { number, .. }) => {
                return refuse(link, &format!("transfer {number} is not open"));
            }
            Err(InputError::Frame(FrameError::OldProtocol)) => {
                let _ = link.stream().write_all(OLD_PROTOCOL_REPLY.as_bytes());
                return drain(link.stream());
            }
            Err(InputError::Frame(error)) => return refuse(link, &error.to_string()),
            Err(InputError::End | InputError::Io(_)) => return,
        };
        let incoming = Incoming::parse(&message).admit(|request| slot.admit(request));
        let reply = incoming.answer(service, caller).message;
        let sent = reply.map_or(Ok(()), |reply| link.send_message(&reply));
        if sent.is_err() || slot == Slot::Reserved {
            return;
        }
        if link.is_in_transfer() {
            return drain(link.stream());
        }
    }
}

impl Slot {
    /// Refuses a request that connections of this slot do not take.
    fn admit(self, request: &Request) -> Result<(), RpcError> {
        match (self, request) {
            (Self::Any, _) | (Self::Reserved, Request::Status(_) | Request::Stop(_)) => Ok(()),
            (Self::Reserved, _) => Err(all_slots_busy()),
        }
    }
}

/// States the reason that the connection is closed, and closes it.
fn refuse(link: &Link, reason: &str) {
    let error = RpcError::new(ErrorKind::InvalidFrame, reason);
    let _ = link.send_message(&refusal(error));
    drain(link.stream());
}

/// Reads the rest of the client's input, up to [`DRAIN_BYTES`] and for at most [`DRAIN_TIME`]: a
/// client that cannot finish its request would not read the reason.
fn drain(mut stream: &UnixStream) {
    let _ = stream.shutdown(Shutdown::Write);
    let deadline = Instant::now() + DRAIN_TIME;
    let (mut buffer, mut left) = (vec![0; BUFFER_BYTES], DRAIN_BYTES);
    while left > 0 {
        let time = deadline.saturating_duration_since(Instant::now());
        if time.is_zero() || stream.set_read_timeout(Some(time)).is_err() {
            return;
        }
        match stream.read(&mut buffer) {
            Ok(len @ 1..) => left = left.saturating_sub(len),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_os = "linux")]
    #[test]
    fn only_own_user_and_root_may_control_a_node() {
        use super::may_control;
        let uid = rustix::process::Uid::from_raw;
        assert!(may_control(uid(1000), uid(1000)) && may_control(uid(0), uid(1000)));
        assert!(!may_control(uid(1001), uid(1000)) && !may_control(uid(1000), uid(0)));
        assert!(!may_control(uid(65534), uid(0)) && !may_control(uid(u32::MAX - 1), uid(1)));
    }
}
