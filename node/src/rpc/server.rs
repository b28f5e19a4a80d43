//! Server of the control socket.

use core::fmt;
use core::time::Duration;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::net::{self, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};

use super::connections::Connections;
use super::service::Service;

/// Maximum length in bytes of a socket path. The lowest limit of a system, on BSD, is 103.
const MAX_PATH_BYTES: usize = if cfg!(target_os = "linux") { 107 } else { 103 };
/// Interval between checks that the socket still exists at its path.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Pause after a connection that could not be accepted.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// Times that a lock is tried again, and the pauses between.
const LOCK_TRIES: u32 = 5;
const LOCK_PAUSE: Duration = Duration::from_millis(10);
const LISTENER: Token = Token(0);
const WAKER: Token = Token(1);
/// First token of a connection.
const CONNECTIONS: usize = 2;

/// Reason the control socket could not be opened.
#[derive(Debug)]
pub enum ServerError {
    /// Another node uses it.
    InUse {
        /// Path of the socket.
        socket: PathBuf,
    },
    /// The path exists and is not a socket.
    NotASocket {
        /// Path that was configured.
        socket: PathBuf,
    },
    /// A system call failed.
    Io {
        /// Path of the socket.
        socket: PathBuf,
        /// Operation that failed.
        attempt: &'static str,
        /// Error of the system.
        error: io::Error,
    },
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse { socket } => write!(
                f,
                "another node already runs with the control socket {}; set another state_dir or \
                 control_socket",
                socket.display()
            ),
            Self::NotASocket { socket } => write!(
                f,
                "refusing to replace control_socket {}: the file exists and is not a socket",
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

/// Returns advice for errors that another path would avoid.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied
        | io::ErrorKind::NotFound
        | io::ErrorKind::AlreadyExists
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::ReadOnlyFilesystem => {
            "; set state_dir or control_socket to a writable path"
        }
        _ => "",
    }
}

/// Open control socket. Dropping it, or [`Server::stop`], closes and removes it. A socket that is
/// removed meanwhile is created again.
#[derive(Debug)]
pub struct Server {
    socket: PathBuf,
    held: Arc<Mutex<Held>>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
    connections: Arc<Connections>,
}

/// Inode of the created socket file, and its lock, held as long as the socket belongs to this node.
#[derive(Debug)]
struct Held {
    inode: Option<u64>,
    lock: File,
}

impl Held {
    /// Returns the lock if its file still exists at this path.
    fn lock_at(&self, path: &Path) -> Option<File> {
        let at_path = fs::symlink_metadata(path).ok()?;
        let held = self.lock.metadata().ok()?;
        let is_there = (held.dev(), held.ino()) == (at_path.dev(), at_path.ino());
        is_there.then(|| self.lock.try_clone().ok()).flatten()
    }
}

/// Listener at the socket.
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

    /// Creates the socket again if it was removed: without it the node could be neither queried nor
    /// stopped.
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
                "recreated the control socket {}: it was removed",
                self.socket.display()
            ),
            Err(error) => {
                if let Some(more) = crate::log::limited("control socket removed") {
                    log::error!("failed to recreate the removed control socket: {error}{more}");
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
    /// Opens `socket` and answers its requests with `service`.
    ///
    /// # Errors
    /// Fails if another node uses it, if its directory cannot be created, or if the system refuses.
    pub fn start(socket: &Path, service: Arc<dyn Service>) -> Result<Self, ServerError> {
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
        let connections = Arc::new(Connections::new(CONNECTIONS));
        let shared = Arc::clone(&connections);
        let thread = thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || listen(poll, endpoint, &service, &shared))
            .map_err(failed("served"))?;
        Ok(Self {
            socket: socket.to_owned(),
            held,
            waker,
            thread: Some(thread),
            connections,
        })
    }

    /// Ends all waits and computations of current and future requests.
    pub fn interrupt(&self) {
        self.connections.interrupt();
    }

    /// Accepts no more requests, lets current ones finish, and removes the socket.
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

/// Rejects a path that cannot become a socket, before anything is created for it.
fn check_place(socket: &Path) -> Result<(), ServerError> {
    if let Err(error) = net::SocketAddr::from_pathname(socket) {
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

/// Returns the error for a path that is too long for a socket.
pub(super) fn too_long(socket: &Path) -> Option<io::Error> {
    let len = socket.as_os_str().len();
    (len > MAX_PATH_BYTES).then(|| {
        io::Error::other(format!(
            "socket path of {len} bytes exceeds the maximum of {MAX_PATH_BYTES}; set \
             control_socket to a shorter one"
        ))
    })
}

fn lock_path(socket: &Path) -> PathBuf {
    let mut name = socket.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}

/// Returns whether a process holds the lock of a socket.
pub(super) fn is_locked(socket: &Path) -> bool {
    let file = File::open(lock_path(socket));
    // The shared lock is held only for a moment; a starting node retries.
    file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// Takes the lock that entitles a process to replace the socket. It is released when the process
/// ends.
fn lock(socket: &Path) -> Result<File, ServerError> {
    let mut options = OpenOptions::new();
    let options = options.create(true).truncate(false).write(true).mode(0o600);
    let failed = |error| ServerError::Io {
        socket: socket.to_owned(),
        attempt: "locked",
        error,
    };
    let file = options.open(lock_path(socket)).map_err(failed)?;
    let mut locked = file.try_lock();
    for _ in 0..LOCK_TRIES {
        if !matches!(locked, Err(TryLockError::WouldBlock)) {
            break;
        }
        // Perhaps held by a command that only checks it.
        thread::sleep(LOCK_PAUSE);
        locked = file.try_lock();
    }
    match locked {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(ServerError::InUse {
            socket: socket.to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// Removes a socket that a process left behind; fails if it still answers or is not a socket.
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

fn listen(
    mut poll: Poll,
    mut endpoint: Endpoint,
    service: &Arc<dyn Service>,
    connections: &Arc<Connections>,
) {
    let mut events = Events::with_capacity(8);
    let mut looked = Instant::now();
    let mut acceptor = Acceptor::default();
    loop {
        if looked.elapsed() >= LOOK_INTERVAL {
            endpoint.renew_if_removed(&poll);
            looked = Instant::now();
        }
        match poll.poll(&mut events, Some(acceptor.wait(Instant::now()))) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return,
            _ => {}
        }
        if events.iter().any(|event| event.token() == WAKER) {
            return;
        }
        for event in events.iter().filter(|event| event.is_write_closed()) {
            connections.closed_by_peer(event.token());
        }
        let accepted = acceptor.accept_all(
            Instant::now(),
            || endpoint.listener.accept(),
            |(stream, _)| connections.admit(poll.registry(), stream, service),
        );
        if let Err(error) = accepted
            && let Some(more) = crate::log::limited("control socket")
        {
            log::warn!("cannot accept a connection to the control socket: {error}{more}");
        }
    }
}

/// Accepts connections, with pauses while they cannot be accepted.
#[derive(Default)]
struct Acceptor {
    /// Time of the next attempt after one that failed.
    retry_at: Option<Instant>,
}

impl Acceptor {
    /// Returns the time to wait for events before the next attempt.
    fn wait(&self, now: Instant) -> Duration {
        self.retry_at.map_or(LOOK_INTERVAL, |at| {
            at.saturating_duration_since(now).min(RETRY_PAUSE)
        })
    }

    /// Accepts connections until that would block: the poll reports new ones once. Does nothing
    /// during a pause.
    ///
    /// # Errors
    /// Fails if one cannot be accepted, for instance because the process has no descriptor left. It
    /// stays queued and is accepted after [`RETRY_PAUSE`], in which the server can be stopped.
    fn accept_all<C>(
        &mut self,
        now: Instant,
        mut accept: impl FnMut() -> io::Result<C>,
        mut admit: impl FnMut(C),
    ) -> io::Result<()> {
        if self.retry_at.is_some_and(|at| now < at) {
            return Ok(());
        }
        self.retry_at = None;
        loop {
            match accept() {
                Ok(connection) => admit(connection),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => {
                    self.retry_at = Some(now + RETRY_PAUSE);
                    return Err(error);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {

    use super::super::codec::{Frame, FrameReader, encode_message, encode_transfer};
    use super::super::{
        Caller, Client, ClientError, MAX_CONNECTIONS, MAX_MESSAGE_BYTES, PartialService, PeerReply,
        RESERVED_CONNECTIONS, RpcError, StatusReply, request,
    };
    use super::*;
    use core::net::{IpAddr, Ipv4Addr, SocketAddr};
    use core::sync::atomic::{AtomicUsize, Ordering};
    use std::io::{Read as _, Write as _};

    const VERSION: &str = "of the test";
    const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

    fn status() -> StatusReply {
        StatusReply {
            version: VERSION.to_owned(),
            ..StatusReply::default()
        }
    }

    /// Service that answers `connect` after a while.
    struct Slow;

    impl PartialService for Slow {
        fn status(&self, _: request::Status, _: &Caller) -> Result<StatusReply, RpcError> {
            Ok(status())
        }

        fn peers(&self, _: request::Peers, _: &Caller) -> Result<Vec<PeerReply>, RpcError> {
            Ok(Vec::new())
        }

        fn connect(&self, _: request::Connect, _: &Caller) -> Result<SocketAddr, RpcError> {
            thread::sleep(Duration::from_millis(300));
            Ok(ADDRESS)
        }
    }

    /// Service that answers `peers` once its callers are gone, and counts those in progress.
    #[derive(Default)]
    struct Patient {
        under_way: AtomicUsize,
    }

    impl PartialService for Patient {
        fn status(&self, _: request::Status, _: &Caller) -> Result<StatusReply, RpcError> {
            Ok(status())
        }

        fn peers(&self, _: request::Peers, caller: &Caller) -> Result<Vec<PeerReply>, RpcError> {
            self.under_way.fetch_add(1, Ordering::SeqCst);
            while !caller.is_gone() {
                thread::yield_now();
            }
            self.under_way.fetch_sub(1, Ordering::SeqCst);
            Ok(Vec::new())
        }

        fn connect(&self, _: request::Connect, _: &Caller) -> Result<SocketAddr, RpcError> {
            Ok(ADDRESS)
        }

        fn stop(&self, _: request::Stop, _: &Caller) -> Result<(), RpcError> {
            Ok(())
        }
    }

    const PEERS: &[u8] = br#"{"jsonrpc":"2.0","id":1,"method":"peers"}"#;

    fn frame(message: &[u8]) -> Vec<u8> {
        encode_message(message).unwrap()
    }

    /// Reads messages from a stream until it ends or there are `count`.
    fn messages(mut stream: &UnixStream, count: usize) -> Vec<String> {
        let (mut reader, mut messages) = (FrameReader::new(), Vec::new());
        let mut byte = [0];
        while messages.len() < count && stream.read(&mut byte).unwrap() == 1 {
            if let Some(Frame::Message(message)) = reader.read(&mut &byte[..]).unwrap() {
                messages.push(String::from_utf8(message).unwrap());
            }
        }
        messages
    }

    /// Sends bytes; returns all messages up to the end of the connection.
    fn sent(socket: &Path, bytes: &[u8]) -> Vec<String> {
        let mut stream = UnixStream::connect(socket).unwrap();
        stream.write_all(bytes).unwrap();
        messages(&stream, usize::MAX)
    }

    fn wait_for(what: &str, is_met: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !is_met() {
            assert!(Instant::now() < deadline, "{what}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Error of a process without a free descriptor.
    fn no_descriptor<C>() -> io::Result<C> {
        Err(io::Error::from_raw_os_error(24))
    }

    #[test]
    fn connection_that_cannot_be_accepted_ends_the_turn_and_is_accepted_later() {
        let would_block = || Err(io::ErrorKind::WouldBlock.into());
        let mut outcomes = [Ok(1), no_descriptor(), Ok(2), would_block()].into_iter();
        let mut taken = Vec::new();
        let mut acceptor = Acceptor::default();
        let began = Instant::now();
        let mut turn = |now, taken: &mut Vec<u32>| {
            acceptor.accept_all(
                now,
                || outcomes.next().expect("nothing is accepted after the end"),
                |connection| taken.push(connection),
            )
        };
        let error = turn(began, &mut taken).unwrap_err();
        assert_eq!((error.raw_os_error(), &taken[..]), (Some(24), &[1][..]));
        turn(began, &mut taken).unwrap();
        assert_eq!(taken, [1], "it waits for the end of the pause");
        turn(began + RETRY_PAUSE, &mut taken).unwrap();
        assert_eq!(taken, [1, 2]);
    }

    /// New connections arrive all the time and wake the server.
    #[test]
    fn lack_of_descriptors_neither_spins_nor_fills_the_log() {
        let mut acceptor = Acceptor::default();
        let (mut attempts, mut failures) = (0, Vec::new());
        let began = Instant::now();
        assert_eq!(acceptor.wait(began), LOOK_INTERVAL);
        let minute = 60_000;
        for passed in (0..minute).map(Duration::from_millis) {
            let accept = || {
                attempts += 1;
                no_descriptor()
            };
            let accepted = acceptor.accept_all(began + passed, accept, |()| ());
            failures.extend(accepted.err().map(|_| passed));
            let wait = acceptor.wait(began + passed);
            assert!(!wait.is_zero() && wait <= RETRY_PAUSE, "{wait:?}");
        }
        assert_eq!(attempts, 600);
        let mut limiter = crate::log::Limiter::default();
        let lines = failures.into_iter();
        let lines = lines.filter(|at| limiter.allow("control socket", *at).is_some());
        assert!(lines.count() <= 11);
    }

    fn start(directory: &Path) -> (PathBuf, Server) {
        let socket = directory.join("state/control.sock");
        let server = Server::start(&socket, Arc::new(Slow)).unwrap();
        (socket, server)
    }

    fn ask(socket: &Path) -> Result<String, ClientError> {
        let client = Client::new(socket, Duration::from_secs(5));
        client.request(&request::Status {}).map(|it| it.version)
    }

    #[test]
    fn answers_keeps_others_out_and_cleans_up() {
        let directory = tempfile::tempdir().unwrap();
        let (socket, server) = start(directory.path());
        assert_eq!(ask(&socket).unwrap(), VERSION);
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
        let directory = tempfile::tempdir().unwrap();
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
            let second = Server::start(&socket, Arc::new(Slow));
            assert!(matches!(second, Err(ServerError::InUse { .. })));
        }
        server.stop();
        assert!(!socket.exists());
    }

    #[test]
    fn a_second_node_is_refused_and_a_stale_socket_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let (socket, server) = start(directory.path());
        let second = Server::start(&socket, Arc::new(Slow));
        assert!(matches!(second, Err(ServerError::InUse { .. })));
        assert_eq!(ask(&socket).unwrap(), VERSION);
        drop(server);
        drop(UnixListener::bind(&socket).unwrap());
        assert!(matches!(ask(&socket), Err(ClientError::NotRunning { .. })));
        let (socket, _server) = start(directory.path());
        assert_eq!(ask(&socket).unwrap(), VERSION);
    }

    #[test]
    fn what_answers_or_is_no_socket_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("control.sock");
        let foreign = UnixListener::bind(&socket).unwrap();
        let refused = Server::start(&socket, Arc::new(Slow));
        assert!(matches!(refused, Err(ServerError::InUse { .. })));
        drop(foreign);
        fs::remove_file(&socket).unwrap();
        fs::write(&socket, "precious").unwrap();
        let refused = Server::start(&socket, Arc::new(Slow));
        assert!(matches!(refused, Err(ServerError::NotASocket { .. })));
        assert_eq!(fs::read_to_string(&socket).unwrap(), "precious");
    }

    #[test]
    fn input_that_is_not_frames_is_answered_with_an_error_and_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let (socket, _server) = start(directory.path());
        for (input, reason) in [
            (vec![0; 5], "its length is 0"),
            (
                vec![b'x'; MAX_MESSAGE_BYTES],
                "its length is 2021161080 bytes",
            ),
            (b"\0\0\0\x02\x09a".to_vec(), "unknown kind 9"),
            (b"\0\0\0\x02\x01a".to_vec(), "shorter than the number"),
            (encode_transfer(7, b"a").unwrap(), "transfer 7 is not open"),
        ] {
            let answers = sent(&socket, &[frame(PEERS), input].concat());
            assert_eq!(answers.len(), 2, "{answers:?}");
            assert!(answers[1].contains("\"code\":-32000"), "{answers:?}");
            assert!(answers[1].contains(reason), "{answers:?}");
        }
    }

    #[test]
    fn a_client_of_the_old_protocol_is_told_that_it_changed() {
        let directory = tempfile::tempdir().unwrap();
        let (socket, _server) = start(directory.path());
        for len in [0, MAX_MESSAGE_BYTES - 100] {
            let mut stream = UnixStream::connect(&socket).unwrap();
            let line = format!("{{\"cmd\":\"eval\",\"source\":\"{}\"}}\n", "1".repeat(len));
            stream.write_all(line.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert_eq!(answer.matches('\n').count(), 1, "{answer}");
            let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
            assert_eq!(answer["ok"], false);
            let said = answer["error"].as_str().unwrap();
            assert!(
                said.contains("protocol of the control socket changed"),
                "{said}"
            );
        }
    }

    #[test]
    fn a_node_of_the_old_protocol_is_recognized() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("control.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let node = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut byte = [0];
            while stream.read(&mut byte).unwrap() == 1 && byte != *b"\n" {}
            let answer = "{\"error\":\"not a request: expected value\",\"ok\":false}\n";
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let error = ask(&socket).unwrap_err();
        assert!(matches!(error, ClientError::OldNode { .. }), "{error}");
        assert!(error.to_string().contains("older version"), "{error}");
        node.join().unwrap();
    }

    #[test]
    fn connections_are_bounded_and_one_keeps_its_order() {
        let directory = tempfile::tempdir().unwrap();
        let (socket, _server) = start(directory.path());
        let held: Vec<UnixStream> = (0..MAX_CONNECTIONS)
            .map(|_| UnixStream::connect(&socket).unwrap())
            .collect();
        let answers = sent(&socket, &frame(PEERS));
        assert!(answers[0].contains("connections are open"), "{answers:?}");
        assert!(answers[0].contains("\"code\":-32001"), "{answers:?}");
        let mut first = held.first().unwrap();
        let notification = frame(br#"{"jsonrpc":"2.0","method":"peers"}"#);
        let input = [frame(PEERS), notification, frame(b"nonsense"), frame(PEERS)].concat();
        // One byte at a time, then all at once.
        for bytes in input.chunks(1).chain([&input[..]]) {
            first.write_all(bytes).unwrap();
        }
        let answers = messages(first, 6);
        for answers in answers.chunks(3) {
            assert!(answers[0].contains("\"result\":[]"), "{answers:?}");
            assert!(answers[1].contains("not a request"), "{answers:?}");
            assert!(answers[2].contains("\"result\":[]"), "{answers:?}");
        }
    }

    #[test]
    fn status_and_stop_are_answered_while_every_connection_is_at_work() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("control.sock");
        let service = Arc::new(Patient::default());
        let _server = Server::start(&socket, Arc::clone(&service) as Arc<dyn Service>).unwrap();
        let at_work: Vec<UnixStream> = (0..MAX_CONNECTIONS)
            .map(|_| {
                let mut stream = UnixStream::connect(&socket).unwrap();
                stream.write_all(&frame(PEERS)).unwrap();
                stream
            })
            .collect();
        let under_way = || service.under_way.load(Ordering::SeqCst);
        wait_for("all are at work", || under_way() == MAX_CONNECTIONS);
        let client = Client::new(&socket, Duration::from_secs(60));
        for _ in 0..2 * RESERVED_CONNECTIONS {
            client.request(&request::Status {}).unwrap();
            client.request(&request::Stop {}).unwrap();
        }
        // Silent reserved connections end soon.
        let silent: Vec<UnixStream> = (0..RESERVED_CONNECTIONS)
            .map(|_| UnixStream::connect(&socket).unwrap())
            .collect();
        wait_for("silent connections end", || {
            client.request(&request::Status {}).is_ok()
        });
        drop((silent, at_work));
        wait_for("abandoned requests end", || under_way() == 0);
        client.request(&request::Status {}).unwrap();
    }

    #[test]
    fn a_node_without_its_socket_runs_for_clients_too() {
        let directory = tempfile::tempdir().unwrap();
        let (socket, server) = start(directory.path());
        let client = Client::new(&socket, Duration::from_secs(60));
        // The listener is gone permanently, but the lock is held.
        let held = lock_held(&server.held).lock.try_clone().unwrap();
        server.stop();
        let asked = || client.request(&request::Status {});
        assert!(matches!(asked(), Err(ClientError::Unreachable { .. })));
        drop(held);
        assert!(matches!(asked(), Err(ClientError::NotRunning { .. })));
    }

    #[test]
    fn idle_connections_give_their_places_to_new_ones() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("control.sock");
        let service = Arc::new(Patient::default());
        let _server = Server::start(&socket, Arc::clone(&service) as Arc<dyn Service>).unwrap();
        let idle: Vec<UnixStream> = (0..MAX_CONNECTIONS)
            .map(|_| UnixStream::connect(&socket).unwrap())
            .collect();
        let client = Client::new(&socket, Duration::from_secs(60));
        let connect = || {
            let address = "127.0.0.1:1".to_owned();
            client.request(&request::Connect { address })
        };
        wait_for("any request is answered again", || connect().is_ok());
        drop(idle);
    }

    #[test]
    fn requests_end_when_their_connection_is_closed_and_not_when_its_input_ends() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("control.sock");
        let service = Arc::new(Patient::default());
        let server = Server::start(&socket, Arc::clone(&service) as Arc<dyn Service>).unwrap();
        let under_way = || service.under_way.load(Ordering::SeqCst);
        let ask = || {
            let mut stream = UnixStream::connect(&socket).unwrap();
            stream.write_all(&frame(PEERS)).unwrap();
            stream
        };
        let (closed, half_closed) = (ask(), ask());
        half_closed.shutdown(std::net::Shutdown::Write).unwrap();
        wait_for("both are under way", || under_way() == 2);
        drop(closed);
        wait_for("the closed one ends", || under_way() == 1);
        server.interrupt();
        assert!(messages(&half_closed, 1)[0].contains("\"result\":[]"));
        assert_eq!(under_way(), 0);
    }

    #[test]
    fn stopping_ends_idle_connections_and_finishes_requests() {
        let directory = tempfile::tempdir().unwrap();
        let (socket, server) = start(directory.path());
        let mut idle = UnixStream::connect(&socket).unwrap();
        let slow = thread::spawn(move || {
            let address = "a:1".to_owned();
            Client::new(socket, Duration::from_secs(5)).request(&request::Connect { address })
        });
        thread::sleep(Duration::from_millis(100));
        server.stop();
        assert_eq!(slow.join().unwrap().unwrap(), ADDRESS);
        assert_eq!(idle.read(&mut [0; 9]).unwrap(), 0);
    }
}
