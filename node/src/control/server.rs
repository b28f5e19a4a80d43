//! Listening on the control socket.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};

use super::protocol::{Handler, MAX_LINE_BYTES, answer_line, reply_line};

/// Connections that are open at a time; more are told so and closed.
pub const MAX_CONNECTIONS: usize = 32;
/// How long a connection may say nothing, or not take its reply.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest path of a socket. The system's limit where it is lowest, on BSD, is 103.
const MAX_PATH_BYTES: usize = if cfg!(target_os = "linux") { 107 } else { 103 };
/// How often the socket is looked for at its path.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
const LISTENER: Token = Token(0);
const WAKER: Token = Token(1);

/// Why the control socket could not be opened.
#[derive(Debug)]
pub enum ServerError {
    /// Another node has it.
    InUse {
        /// The socket.
        socket: PathBuf,
    },
    /// Something that is no socket stands in its place.
    NotASocket {
        /// The path.
        socket: PathBuf,
    },
    /// The system refused.
    Io {
        /// The socket.
        socket: PathBuf,
        /// What was tried.
        attempt: &'static str,
        /// How it failed.
        error: io::Error,
    },
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse { socket } => write!(
                f,
                "another node already runs with the control socket {}; give this one a state_dir or \
                 control_socket of its own",
                socket.display()
            ),
            Self::NotASocket { socket } => write!(
                f,
                "control_socket {} exists and is no socket; it is left alone",
                socket.display()
            ),
            Self::Io {
                socket,
                attempt,
                error,
            } => write!(
                f,
                "control_socket {} cannot be {attempt}: {error}{}",
                socket.display(),
                advice(error)
            ),
        }
    }
}

impl core::error::Error for ServerError {}

/// What to do where another place would help.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied
        | io::ErrorKind::NotFound
        | io::ErrorKind::AlreadyExists
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::ReadOnlyFilesystem => {
            "; set state_dir, or control_socket, to a place that can be written"
        }
        _ => "",
    }
}

/// An open control socket. Dropping it, or [`Server::stop`], closes and removes it. A socket that is
/// removed meanwhile is created again.
#[derive(Debug)]
pub struct Server {
    socket: PathBuf,
    held: Arc<Mutex<Held>>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
    connections: Arc<Connections>,
}

/// The socket file as it was created, and its lock, held for as long as the socket is this node's.
#[derive(Debug)]
struct Held {
    inode: Option<u64>,
    lock: File,
}

impl Held {
    /// The lock, if its file is still at this path.
    fn lock_at(&self, path: &Path) -> Option<File> {
        let at_path = fs::symlink_metadata(path).ok()?;
        let held = self.lock.metadata().ok()?;
        let is_there = (held.dev(), held.ino()) == (at_path.dev(), at_path.ino());
        is_there.then(|| self.lock.try_clone().ok()).flatten()
    }
}

/// The listener at the socket.
struct Endpoint {
    socket: PathBuf,
    listener: UnixListener,
    held: Arc<Mutex<Held>>,
}

impl Endpoint {
    /// Creates the socket, with its directory and its lock, which may be held already.
    fn create(
        socket: &Path,
        held: Option<&Mutex<Held>>,
    ) -> Result<(UnixListener, Held), ServerError> {
        let failed = |attempt| {
            move |error| ServerError::Io {
                socket: socket.to_owned(),
                attempt,
                error,
            }
        };
        if let Some(directory) = socket.parent() {
            let mut builder = DirBuilder::new();
            let made = builder.recursive(true).mode(0o700).create(directory);
            made.map_err(failed("created (its directory)"))?;
        }
        let still_locked = held.and_then(|held| lock_held(held).lock_at(&lock_path(socket)));
        let lock = still_locked.map_or_else(|| lock(socket), Ok)?;
        remove_stale(socket)?;
        let listener = UnixListener::bind(socket).map_err(failed("bound"))?;
        fs::set_permissions(socket, Permissions::from_mode(0o600)).map_err(failed("protected"))?;
        listener.set_nonblocking(true).map_err(failed("bound"))?;
        let inode = inode(socket);
        Ok((listener, Held { inode, lock }))
    }

    fn register(&self, poll: &Poll) -> io::Result<()> {
        let descriptor = self.listener.as_raw_fd();
        let mut source = SourceFd(&descriptor);
        let registry = poll.registry();
        registry.register(&mut source, LISTENER, Interest::READABLE)
    }

    /// Creates the socket again if it was removed: a node that cannot be reached can be neither asked
    /// nor stopped.
    fn renew_if_removed(&mut self, poll: &Poll) {
        if inode(&self.socket).is_some() {
            return;
        }
        let renewed =
            Self::create(&self.socket, Some(&self.held)).map_err(|error| error.to_string());
        let renewed = renewed.and_then(|(listener, held)| {
            let _ = poll
                .registry()
                .deregister(&mut SourceFd(&self.listener.as_raw_fd()));
            self.listener = listener;
            *lock_held(&self.held) = held;
            self.register(poll).map_err(|error| error.to_string())
        });
        match renewed {
            Ok(()) => log::warn!(
                "the control socket {} was removed, and is created again",
                self.socket.display()
            ),
            Err(error) => {
                if let Some(more) = crate::log::limited("control socket removed") {
                    log::error!("the control socket was removed: {error}{more}");
                }
            }
        }
    }
}

fn inode(socket: &Path) -> Option<u64> {
    fs::symlink_metadata(socket).ok().map(|data| data.ino())
}

fn lock_held(held: &Mutex<Held>) -> MutexGuard<'_, Held> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    /// Opens `socket` and answers on it with `handler`.
    ///
    /// # Errors
    /// When another node has it, its directory cannot be made, or the system refuses.
    pub fn start(socket: &Path, handler: Arc<dyn Handler>) -> Result<Self, ServerError> {
        let failed = |attempt| {
            move |error| ServerError::Io {
                socket: socket.to_owned(),
                attempt,
                error,
            }
        };
        check_place(socket)?;
        let (listener, held) = Endpoint::create(socket, None)?;
        let held = Arc::new(Mutex::new(held));
        let endpoint = Endpoint {
            socket: socket.to_owned(),
            listener,
            held: Arc::clone(&held),
        };
        let poll = Poll::new().map_err(failed("watched"))?;
        let waker = Waker::new(poll.registry(), WAKER).map_err(failed("watched"))?;
        endpoint.register(&poll).map_err(failed("watched"))?;
        let connections = Arc::new(Connections::default());
        let shared = Arc::clone(&connections);
        let thread = thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || listen(poll, endpoint, &handler, &shared))
            .map_err(failed("served"))?;
        Ok(Self {
            socket: socket.to_owned(),
            held,
            waker,
            thread: Some(thread),
            connections,
        })
    }

    /// Takes no more requests, lets those that are being answered finish, and removes the socket.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.waker.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        self.connections.close();
        if inode(&self.socket) == lock_held(&self.held).inode {
            let _ = fs::remove_file(&self.socket);
        }
    }
}

/// Refuses what cannot become a socket, before anything is made for it.
fn check_place(socket: &Path) -> Result<(), ServerError> {
    if let Err(error) = SocketAddr::from_pathname(socket) {
        let error = too_long(socket).unwrap_or(error);
        return Err(ServerError::Io {
            socket: socket.to_owned(),
            attempt: "bound",
            error,
        });
    }
    match fs::symlink_metadata(socket) {
        Ok(metadata) if !metadata.file_type().is_socket() => Err(ServerError::NotASocket {
            socket: socket.to_owned(),
        }),
        _ => Ok(()),
    }
}

/// What is wrong with a path that is too long for a socket.
pub(super) fn too_long(socket: &Path) -> Option<io::Error> {
    let len = socket.as_os_str().len();
    (len > MAX_PATH_BYTES).then(|| {
        io::Error::other(format!(
            "a socket's path has at most {MAX_PATH_BYTES} bytes and this one has {len}; set \
             control_socket to a shorter one"
        ))
    })
}

fn lock_path(socket: &Path) -> PathBuf {
    let mut name = socket.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}

/// Takes the lock that entitles a process to replace the socket. It is released with the process.
fn lock(socket: &Path) -> Result<File, ServerError> {
    let mut options = OpenOptions::new();
    let options = options.create(true).truncate(false).write(true).mode(0o600);
    let failed = |error| ServerError::Io {
        socket: socket.to_owned(),
        attempt: "locked",
        error,
    };
    let file = options.open(lock_path(socket)).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(ServerError::InUse {
            socket: socket.to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// Removes a socket that a process left behind; one that answers, or is none, is left alone.
fn remove_stale(socket: &Path) -> Result<(), ServerError> {
    let Ok(metadata) = fs::symlink_metadata(socket) else {
        return Ok(());
    };
    let socket_path = socket.to_owned();
    if !metadata.file_type().is_socket() {
        return Err(ServerError::NotASocket {
            socket: socket_path,
        });
    }
    match UnixStream::connect(socket) {
        Ok(_) => Err(ServerError::InUse {
            socket: socket_path,
        }),
        Err(_) => fs::remove_file(socket).map_err(|error| ServerError::Io {
            socket: socket_path,
            attempt: "replaced",
            error,
        }),
    }
}

/// The connections that are open, so that they can be told to end.
#[derive(Debug, Default)]
struct Connections {
    next: AtomicU64,
    open: Mutex<Open>,
}

type Open = BTreeMap<u64, (UnixStream, JoinHandle<()>)>;

impl Connections {
    fn open(&self) -> MutexGuard<'_, Open> {
        // The map is never left half changed, so a panic elsewhere does not spoil it.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Idle readers see the end of their input; requests in hand still get their reply.
    fn close(&self) {
        let open = core::mem::take(&mut *self.open());
        for (stream, _) in open.values() {
            let _ = stream.shutdown(Shutdown::Read);
        }
        for (_, thread) in open.into_values() {
            let _ = thread.join();
        }
    }
}

fn listen(
    mut poll: Poll,
    mut endpoint: Endpoint,
    handler: &Arc<dyn Handler>,
    connections: &Arc<Connections>,
) {
    let mut events = Events::with_capacity(8);
    let mut looked = Instant::now();
    loop {
        if looked.elapsed() >= LOOK_INTERVAL {
            endpoint.renew_if_removed(&poll);
            looked = Instant::now();
        }
        match poll.poll(&mut events, Some(LOOK_INTERVAL)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return,
            _ => {}
        }
        if events.iter().any(|event| event.token() == WAKER) {
            return;
        }
        // Until it would block: the poll tells of new connections once.
        loop {
            match endpoint.listener.accept() {
                Ok((stream, _)) => admit(stream, handler, connections),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    // Out of descriptors, say: the connection stays queued, so look again soon.
                    log::warn!("control socket: {error}");
                    thread::sleep(Duration::from_millis(100));
                }
            }
        }
    }
}

fn admit(stream: UnixStream, handler: &Arc<dyn Handler>, connections: &Arc<Connections>) {
    if !is_allowed(&stream) {
        return;
    }
    let id = connections.next.fetch_add(1, Ordering::Relaxed);
    let (Ok(copy), Ok(())) = (stream.try_clone(), prepare(&stream)) else {
        return;
    };
    let mut open = connections.open();
    if open.len() >= MAX_CONNECTIONS {
        drop(open);
        let reply = Err(format!("{MAX_CONNECTIONS} connections are open; try again").into());
        let _ = (&stream).write_all((reply_line(&reply) + "\n").as_bytes());
        return;
    }
    let (handler, shared) = (Arc::clone(handler), Arc::clone(connections));
    // The map is locked, so the thread cannot be gone before it is in it.
    let spawned = thread::Builder::new()
        .name("control-connection".to_owned())
        .spawn(move || {
            serve(&stream, handler.as_ref());
            shared.open().remove(&id);
        });
    if let Ok(thread) = spawned {
        open.insert(id, (copy, thread));
    }
}

fn prepare(stream: &UnixStream) -> io::Result<()> {
    // Some systems hand the listener's mode on.
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(IDLE_TIMEOUT))?;
    stream.set_write_timeout(Some(IDLE_TIMEOUT))
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

fn serve(stream: &UnixStream, handler: &dyn Handler) {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader
            .by_ref()
            .take(MAX_LINE_BYTES as u64)
            .read_until(b'\n', &mut line);
        let answer = match (read, line.pop()) {
            (Ok(_), Some(b'\n')) => answer_line(handler, &line),
            (Ok(MAX_LINE_BYTES), Some(_)) => {
                let error = format!("the request is longer than {MAX_LINE_BYTES} bytes");
                reply_line(&Err(error.into()))
            }
            _ => return,
        };
        let is_cut_off = line.len() + 1 == MAX_LINE_BYTES;
        let mut writer = stream;
        if writer.write_all((answer + "\n").as_bytes()).is_err() || is_cut_off {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::scratch::Scratch;

    use super::super::{Client, ClientError, Reply, Request};
    use super::*;

    struct Echo;

    impl Handler for Echo {
        fn handle(&self, request: Request) -> Reply {
            match request {
                Request::Connect { .. } => {
                    thread::sleep(Duration::from_millis(300));
                    Ok("slow".into())
                }
                _ => Ok("done".into()),
            }
        }
    }

    fn start(directory: &Path) -> (PathBuf, Server) {
        let socket = directory.join("state/control.sock");
        let server = Server::start(&socket, Arc::new(Echo)).unwrap();
        (socket, server)
    }

    fn ask(socket: &Path) -> Result<String, ClientError> {
        Client::new(socket, Duration::from_secs(5)).request(&Request::Status {})
    }

    #[test]
    fn answers_keeps_others_out_and_cleans_up() {
        let directory = Scratch::new("answers");
        let (socket, server) = start(directory.path());
        assert_eq!(ask(&socket).unwrap(), "done");
        let mode = fs::symlink_metadata(&socket).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(
            fs::metadata(socket.parent().unwrap()).unwrap().mode() & 0o777,
            0o700
        );
        server.stop();
        assert!(!socket.exists());
        assert!(matches!(ask(&socket), Err(ClientError::NotRunning { .. })));
    }

    #[test]
    fn a_removed_socket_is_created_again_with_its_directory() {
        let directory = Scratch::new("removed");
        let (socket, server) = start(directory.path());
        for what in [&*socket, socket.parent().unwrap()] {
            if what.is_dir() {
                fs::remove_dir_all(what).unwrap();
            } else {
                fs::remove_file(what).unwrap();
            }
            let deadline = Instant::now() + Duration::from_secs(60);
            while ask(&socket).is_err() {
                assert!(Instant::now() < deadline, "{} is gone", socket.display());
                thread::yield_now();
            }
            let mode = |path: &Path| fs::symlink_metadata(path).unwrap().mode() & 0o777;
            assert_eq!(mode(&socket), 0o600);
            assert_eq!(mode(socket.parent().unwrap()), 0o700);
            let second = Server::start(&socket, Arc::new(Echo));
            assert!(matches!(second, Err(ServerError::InUse { .. })));
        }
        server.stop();
        assert!(!socket.exists());
    }

    #[test]
    fn a_second_node_is_refused_and_a_stale_socket_is_replaced() {
        let directory = Scratch::new("stale");
        let (socket, server) = start(directory.path());
        let second = Server::start(&socket, Arc::new(Echo));
        assert!(matches!(second, Err(ServerError::InUse { .. })));
        assert_eq!(ask(&socket).unwrap(), "done");
        drop(server);
        drop(UnixListener::bind(&socket).unwrap());
        assert!(matches!(ask(&socket), Err(ClientError::NotRunning { .. })));
        let (socket, _server) = start(directory.path());
        assert_eq!(ask(&socket).unwrap(), "done");
    }

    #[test]
    fn what_answers_or_is_no_socket_is_left_alone() {
        let directory = Scratch::new("alone");
        let socket = directory.path().join("control.sock");
        let foreign = UnixListener::bind(&socket).unwrap();
        let refused = Server::start(&socket, Arc::new(Echo));
        assert!(matches!(refused, Err(ServerError::InUse { .. })));
        drop(foreign);
        fs::remove_file(&socket).unwrap();
        fs::write(&socket, "precious").unwrap();
        let refused = Server::start(&socket, Arc::new(Echo));
        assert!(matches!(refused, Err(ServerError::NotASocket { .. })));
        assert_eq!(fs::read_to_string(&socket).unwrap(), "precious");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn only_its_own_user_and_the_superuser_control_a_node() {
        let uid = rustix::process::Uid::from_raw;
        assert!(may_control(uid(1000), uid(1000)) && may_control(uid(0), uid(1000)));
        assert!(!may_control(uid(1001), uid(1000)) && !may_control(uid(1000), uid(0)));
        assert!(!may_control(uid(65534), uid(0)) && !may_control(uid(u32::MAX - 1), uid(1)));
    }

    #[test]
    fn an_endless_line_is_cut_off() {
        let directory = Scratch::new("endless");
        let (socket, _server) = start(directory.path());
        let mut stream = UnixStream::connect(&socket).unwrap();
        let _ = stream.write_all(&vec![b'x'; MAX_LINE_BYTES]);
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("longer than"), "{answer}");
    }

    #[test]
    fn connections_are_bounded_and_one_keeps_its_order() {
        let directory = Scratch::new("bounded");
        let (socket, _server) = start(directory.path());
        let held: Vec<UnixStream> = (0..MAX_CONNECTIONS)
            .map(|_| UnixStream::connect(&socket).unwrap())
            .collect();
        let mut answer = String::new();
        let one_more = UnixStream::connect(&socket).unwrap();
        BufReader::new(one_more).read_line(&mut answer).unwrap();
        assert!(answer.contains("connections are open"), "{answer}");
        let mut first = held.first().unwrap();
        first.write_all(b"{\"cmd\":\"peers\"}\nnonsense\n").unwrap();
        let mut lines = BufReader::new(first).lines();
        assert!(lines.next().unwrap().unwrap().contains("done"));
        assert!(lines.next().unwrap().unwrap().contains("not a request"));
    }

    #[test]
    fn stopping_ends_idle_connections_and_finishes_requests() {
        let directory = Scratch::new("stopping");
        let (socket, server) = start(directory.path());
        let mut idle = UnixStream::connect(&socket).unwrap();
        let slow = thread::spawn(move || {
            let address = "a:1".to_owned();
            Client::new(socket, Duration::from_secs(5))
                .request::<String>(&Request::Connect { address })
        });
        thread::sleep(Duration::from_millis(100));
        server.stop();
        assert_eq!(slow.join().unwrap().unwrap(), "slow");
        assert_eq!(idle.read(&mut [0; 9]).unwrap(), 0);
    }
}
