//! Open connections of the control socket.
//!
//! Each connection has a thread that answers its requests in their order.
//!
//! Invariants:
//! - At most [`MAX_CONNECTIONS`] connections take any request. [`RESERVED_CONNECTIONS`] further ones take
//!   [`Request::Status`] and [`Request::Stop`] alone, one each and within [`RESERVED_TIMEOUT`]: a
//!   node whose connections are all at work can still be asked and stopped.
//! - A connection that has asked nothing for [`DISPLACED_AFTER`] gives its place to a new one when
//!   there is no other: idle connections lock nobody out.
//! - When the peer closes a connection, the flag of the request under way is set, and what waits or
//!   computes for it ends. A peer that only ends its own side still gets its reply.

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

/// Connections that are open at a time and take any request.
pub const MAX_CONNECTIONS: usize = 32;
/// Further connections, which take requests for the status and to stop.
pub const RESERVED_CONNECTIONS: usize = 4;
const ALL_CONNECTIONS: usize = MAX_CONNECTIONS + RESERVED_CONNECTIONS;
/// How long a connection may say nothing, or not take its reply.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Idle time after which a connection may lose its place.
const DISPLACED_AFTER: Duration = Duration::from_secs(2);
/// The same for a reserved one.
const RESERVED_TIMEOUT: Duration = Duration::from_secs(2);

/// What a connection may ask for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Any,
    Reserved,
}

#[derive(Debug)]
struct Connection {
    stream: UnixStream,
    /// Set when the peer is gone, or the node stops.
    gone: Arc<AtomicBool>,
    /// Since when it waits for a request; `None` while one is under way.
    idle_since: Arc<Mutex<Option<Instant>>>,
    thread: JoinHandle<()>,
}

/// The open connections. See the [module](self).
#[derive(Debug)]
pub(super) struct Connections {
    /// Below this are the tokens of others.
    first_token: usize,
    next: AtomicUsize,
    is_interrupted: AtomicBool,
    open: Mutex<BTreeMap<usize, Connection>>,
}

impl Connections {
    /// No connections; their events have tokens from `first_token` on.
    pub(super) const fn new(first_token: usize) -> Self {
        Self {
            first_token,
            next: AtomicUsize::new(first_token),
            is_interrupted: AtomicBool::new(false),
            open: Mutex::new(BTreeMap::new()),
        }
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<usize, Connection>> {
        // The map is never left half changed, so a panic elsewhere does not spoil it.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts to serve a connection, if there is a place for it.
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
        // Without it a request outlives its connection, and no more.
        let _ = registry.register(&mut source, Token(id), Interest::READABLE);
        let gone = Arc::new(AtomicBool::new(self.is_interrupted.load(Ordering::Relaxed)));
        let (handler, shared, flag) = (Arc::clone(handler), Arc::clone(self), Arc::clone(&gone));
        let idle_since = Arc::new(Mutex::new(Some(Instant::now())));
        let idle = Arc::clone(&idle_since);
        // The map is locked, so the thread cannot be gone before it is in it.
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

    /// Ends what is under way for a connection that its peer has closed.
    pub(super) fn closed_by_peer(&self, token: Token) {
        if token.0 >= self.first_token
            && let Some(connection) = self.open().get(&token.0)
        {
            connection.gone.store(true, Ordering::Relaxed);
        }
    }

    /// Ends what is under way for every connection, and for those to come.
    pub(super) fn interrupt(&self) {
        self.is_interrupted.store(true, Ordering::Relaxed);
        for connection in self.open().values() {
            connection.gone.store(true, Ordering::Relaxed);
        }
    }

    /// Ends the connections: idle readers see the end of their input, requests under way get their
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

/// Closes the connection that has been idle for longest, if for [`DISPLACED_AFTER`]; `false` if none
/// has.
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
        "{MAX_CONNECTIONS} connections are open, and only `status` and `stop` are answered until one \
         of them ends; try again"
    )
    .into()
}

fn prepare(stream: &UnixStream, place: Place) -> io::Result<()> {
    let timeout = match place {
        Place::Any => IDLE_TIMEOUT,
        Place::Reserved => RESERVED_TIMEOUT,
    };
    // Some systems hand the listener's mode on.
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))
}

/// The file's mode keeps others out already; this holds where the mode does not.
#[cfg(target_os = "linux")]
fn is_allowed(stream: &UnixStream) -> bool {
    let peer = rustix::net::sockopt::socket_peercred(stream);
    peer.is_ok_and(|peer| may_control(peer.uid, rustix::process::geteuid()))
}

/// The user who runs the node, and the superuser, who could do anything to it anyway.
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

/// A handler for a place.
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
