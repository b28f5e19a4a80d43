//! Open connections of the control socket.
//!
//! Each connection has a thread that answers its requests in order.
//!
//! Invariants:
//! - At most [`MAX_CONNECTIONS`] connections take any request. [`RESERVED_CONNECTIONS`] further
//!   ones take only [`Request::Status`] and [`Request::Stop`], one each and within
//!   [`RESERVED_TIMEOUT`]: a node whose connections are all busy can still be queried and stopped.
//! - A connection that has been idle for [`DISPLACED_AFTER`] is closed in favor of a new one if
//!   there is no other place: idle connections lock no client out.
//! - When the client closes a connection, the flag of the current request is set, and its waits and
//!   computations end. A client that only shuts down its sending side still gets its reply.

use super::protocol::{ErrorReply, Handler, MAX_LINE_BYTES, Request, answer_line, reply_line};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use core::time::Duration;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
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

/// Kind of requests that a connection may send.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
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

    fn open(&self) -> MutexGuard<'_, BTreeMap<usize, Connection>> {
        // The map is never left half-changed, so a panic elsewhere does not corrupt it.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts to serve a connection if there is a place for it.
    pub(super) fn admit(
        self: &Arc<Self>,
        registry: &Registry,
        stream: UnixStream,
        handler: &Arc<dyn Handler>,
    ) {
        if !is_allowed(&stream) {
            return;
        }
        let mut open = self.open();
        while open.len() >= MAX_CONNECTIONS && displace_idle(&mut open) {}
        let place = match open.len() {
            ..MAX_CONNECTIONS => Place::Any,
            MAX_CONNECTIONS..ALL_CONNECTIONS => Place::Reserved,
            _ => {
                drop(open);
                let reply = reply_line(&Err(no_place()));
                let _ = (&stream).write_all((reply + "\n").as_bytes());
                return;
            }
        };
        let (Ok(copy), Ok(())) = (stream.try_clone(), prepare(&stream, place)) else {
            return;
        };
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let descriptor = copy.as_raw_fd();
        let mut source = SourceFd(&descriptor);
        // Without registration a request only outlives its connection.
        let _ = registry.register(&mut source, Token(id), Interest::READABLE);
        let gone = Arc::new(AtomicBool::new(self.is_interrupted.load(Ordering::Relaxed)));
        let (handler, shared, flag) = (Arc::clone(handler), Arc::clone(self), Arc::clone(&gone));
        let idle_since = Arc::new(Mutex::new(Some(Instant::now())));
        let idle = Arc::clone(&idle_since);
        // The map is locked, so the thread cannot remove its entry before it is inserted.
        let spawned = thread::Builder::new()
            .name("control-connection".to_owned())
            .spawn(move || {
                serve(&stream, handler.as_ref(), place, (&flag, &idle));
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

fn no_place() -> ErrorReply {
    format!(
        "{MAX_CONNECTIONS} connections are open, and only `status` and `stop` are answered until \
         one of them ends; try again"
    )
    .into()
}

fn prepare(stream: &UnixStream, place: Place) -> io::Result<()> {
    let timeout = match place {
        Place::Any => IDLE_TIMEOUT,
        Place::Reserved => RESERVED_TIMEOUT,
    };
    // Some systems inherit the listener's mode.
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))
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

fn serve(
    stream: &UnixStream,
    handler: &dyn Handler,
    place: Place,
    (gone, idle_since): (&Arc<AtomicBool>, &Mutex<Option<Instant>>),
) {
    let handler = Placed { handler, place };
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        *lock(idle_since) = Some(Instant::now());
        let read = reader
            .by_ref()
            .take(MAX_LINE_BYTES as u64)
            .read_until(b'\n', &mut line);
        *lock(idle_since) = None;
        let answer = match (read, line.pop()) {
            (Ok(_), Some(b'\n')) => answer_line(&handler, &line, gone),
            (Ok(MAX_LINE_BYTES), Some(_)) => {
                let error = format!("the request is longer than {MAX_LINE_BYTES} bytes");
                reply_line(&Err(error.into()))
            }
            _ => return,
        };
        let is_last = line.len() + 1 == MAX_LINE_BYTES || place == Place::Reserved;
        let mut writer = stream;
        if writer.write_all((answer + "\n").as_bytes()).is_err() || is_last {
            return;
        }
    }
}

/// Handler at a place.
struct Placed<'h> {
    handler: &'h dyn Handler,
    place: Place,
}

impl Handler for Placed<'_> {
    fn handle(&self, request: Request, gone: &Arc<AtomicBool>) -> super::Reply {
        let is_always_taken = matches!(request, Request::Status {} | Request::Stop {});
        if self.place == Place::Reserved && !is_always_taken {
            return Err(no_place());
        }
        self.handler.handle(request, gone)
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_os = "linux")]
    #[test]
    fn only_its_own_user_and_the_superuser_control_a_node() {
        use super::may_control;
        let uid = rustix::process::Uid::from_raw;
        assert!(may_control(uid(1000), uid(1000)) && may_control(uid(0), uid(1000)));
        assert!(!may_control(uid(1001), uid(1000)) && !may_control(uid(1000), uid(0)));
        assert!(!may_control(uid(65534), uid(0)) && !may_control(uid(u32::MAX - 1), uid(1)));
    }
}
