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
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
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
    /// A part of the path of the socket's directory is not a directory.
    NotADirectory {
        /// That part.
        path: PathBuf,
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
            Self::NotADirectory { path } => write!(
                f,
                "{} is not a directory; set state_dir or control_socket to a writable path",
                path.display()
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
            made.map_err(|error| match not_a_directory(directory) {
                Some(path) => ServerError::NotADirectory { path: path.into() },
                None => failed("created (its directory)")(error),
            })?;
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
        check_path(socket)?;
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
fn check_path(socket: &Path) -> Result<(), ServerError> {
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
        let message = format!(
            "socket path of {len} bytes exceeds the maximum of {MAX_PATH_BYTES}; set \
             control_socket to a shorter one"
        );
        io::Error::new(io::ErrorKind::InvalidInput, message)
    })
}

/// Returns the part of a path that exists and is not a directory, if there is one. A link that leads
/// nowhere is one.
fn not_a_directory(path: &Path) -> Option<&Path> {
    let is_other = |part: &&Path| part.symlink_metadata().is_ok() && !part.is_dir();
    path.ancestors().find(is_other)
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
    let mut checked_at = Instant::now();
    let mut acceptor = Acceptor::default();
    loop {
        if checked_at.elapsed() >= CHECK_INTERVAL {
            endpoint.renew_if_removed(&poll);
            checked_at = Instant::now();
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
        self.retry_at.map_or(CHECK_INTERVAL, |at| {
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
mod tests;
