//! Unix socket of a signer.
//!
//! Each connection has a thread; there are at most [`MAX_CONNECTIONS`]. One request is signed at a
//! time. A search ends with its connection, with the next message on it, and at its deadline.

use super::vault::{SignOutcome, Vault};
use crate::chain_service::signer::protocol::{
    CompactBlock, Lines, MAX_SEARCH_MILLISECONDS, PROTOCOL, Reply, Request, line,
};
use crate::clock;
use astreum_core::chain::Block;
use astreum_core::integer::Natural;
use core::fmt;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket};
use std::fs::{self, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::Instant;

/// Maximum number of connections.
pub const MAX_CONNECTIONS: usize = 8;
/// Maximum number of connections that wait to be accepted, as in the standard library.
const BACKLOG: i32 = 128;
/// Time after which a connection without a message is closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Time within which a message must be complete, or a reply be taken.
const LINE_TIMEOUT: Duration = Duration::from_secs(5);
/// Interval at which a request tries again to begin while another one is signed.
const BUSY_INTERVAL: Duration = Duration::from_millis(10);
/// Pause after the system could not accept a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Options of a server.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Path of the socket.
    pub socket: PathBuf,
    /// `true` if the group of the socket may connect, not only its owner.
    pub has_group_access: bool,
}

/// Reason the socket cannot be opened.
#[derive(Debug)]
pub struct ServeError {
    socket: PathBuf,
    problem: ServeProblem,
}

#[derive(Debug)]
enum ServeProblem {
    InUse,
    NotASocket,
    Io(io::Error),
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let socket = self.socket.display();
        match &self.problem {
            ServeProblem::InUse => write!(f, "{socket} is in use by another signer"),
            ServeProblem::NotASocket => {
                write!(f, "refusing to replace {socket}: it is not a socket")
            }
            ServeProblem::Io(error) => write!(f, "failed to open {socket}: {error}"),
        }
    }
}

impl core::error::Error for ServeError {}

/// Writes a line about an event: a block that was signed, or a request that was not.
pub type Report = dyn Fn(&str) + Send + Sync;

/// Socket of a signer at its path, which accepts connections once it has a [`Server`]. Its file is
/// removed when this is dropped.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Creates the socket; one that no process listens on is replaced.
    ///
    /// # Errors
    /// Fails if another process listens on it, or if it cannot be created.
    pub fn open(options: &ServerOptions) -> Result<Self, ServeError> {
        let failed = |problem| ServeError {
            socket: options.socket.clone(),
            problem,
        };
        let io_failed = |error| failed(ServeProblem::Io(error));
        let path = &options.socket;
        match path.symlink_metadata() {
            Ok(metadata) if !metadata.file_type().is_socket() => {
                return Err(failed(ServeProblem::NotASocket));
            }
            Ok(_) if UnixStream::connect(path).is_ok() => {
                return Err(failed(ServeProblem::InUse));
            }
            Ok(_) => fs::remove_file(path).map_err(io_failed)?,
            Err(_) => {}
        }
        let errno_failed = |error: Errno| io_failed(error.into());
        let address = SocketAddrUnix::new(path.as_path()).map_err(errno_failed)?;
        let created = socket(AddressFamily::UNIX, SocketType::STREAM, None);
        let listener = UnixListener::from(created.map_err(errno_failed)?);
        bind(&listener, &address).map_err(errno_failed)?;
        let path = path.clone();
        let opened = Self { listener, path };
        let mode = if options.has_group_access {
            0o660
        } else {
            0o600
        };
        fs::set_permissions(&opened.path, Permissions::from_mode(mode)).map_err(io_failed)?;
        Ok(opened)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Signer with an open socket.
pub struct Server {
    socket: Socket,
    shared: Arc<Shared>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("socket", &self.socket.path)
            .finish_non_exhaustive()
    }
}

struct Shared {
    vault: Mutex<Vault>,
    /// Last block that may be named while another request is signed.
    last: Mutex<Option<Block>>,
    public_key: [u8; 32],
    chain_id: u64,
    connections: AtomicUsize,
    report: Box<Report>,
}

impl Server {
    /// Creates the server of a key. From now on connections are accepted at the socket.
    ///
    /// # Errors
    /// Fails if the system does.
    pub fn new(socket: Socket, mut vault: Vault, report: Box<Report>) -> Result<Self, ServeError> {
        listen(&socket.listener, BACKLOG).map_err(|error| ServeError {
            socket: socket.path.clone(),
            problem: ServeProblem::Io(error.into()),
        })?;
        let last = vault.last().ok().flatten().cloned();
        Ok(Self {
            socket,
            shared: Arc::new(Shared {
                public_key: *vault.public_key(),
                chain_id: vault.chain_id(),
                vault: Mutex::new(vault),
                last: Mutex::new(last),
                connections: AtomicUsize::new(0),
                report,
            }),
        })
    }

    /// Returns the path of the socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket.path
    }

    /// Serves connections for ever.
    pub fn run(&self) -> ! {
        loop {
            match self.socket.listener.accept() {
                Ok((stream, _)) => self.begin(stream),
                Err(error) => {
                    self.shared
                        .print(&format!("failed to accept a connection: {error}"));
                    std::thread::sleep(ACCEPT_PAUSE);
                }
            }
        }
    }

    fn begin(&self, stream: UnixStream) {
        let shared = Arc::clone(&self.shared);
        if shared.connections.fetch_add(1, Ordering::SeqCst) >= MAX_CONNECTIONS {
            shared.connections.fetch_sub(1, Ordering::SeqCst);
            shared.print("closed a connection: there are too many");
            return;
        }
        let counted = Counted(shared);
        let thread = std::thread::Builder::new().name("connection".to_owned());
        let started = thread.spawn(move || {
            let Counted(shared) = &counted;
            if let Err(error) = serve(shared, stream) {
                shared.print(&format!("closed a connection: {error}"));
            }
        });
        if let Err(error) = started {
            self.shared
                .print(&format!("failed to start a thread: {error}"));
        }
    }
}

/// Connection that counts until it is dropped.
struct Counted(Arc<Shared>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Shared {
    fn print(&self, text: &str) {
        (self.report)(text);
    }

    fn last(&self) -> Option<CompactBlock> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.clone().map(CompactBlock)
    }

    fn status(&self) -> Reply {
        // While another request is signed, the block before it is the last one on disk.
        if let Ok(mut vault) = self.vault.try_lock() {
            let last = match vault.last() {
                Ok(last) => last.cloned(),
                Err(reason) => return Reply::Unavailable { reason },
            };
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = last;
        }
        Reply::Status {
            protocol: PROTOCOL,
            public_key: hex::encode(self.public_key),
            chain_id: self.chain_id,
            last: self.last(),
        }
    }

    fn sign(
        &self,
        block: &Block,
        previous_difficulty: &Natural,
        should_continue: &mut dyn FnMut() -> bool,
    ) -> Reply {
        let mut vault = loop {
            match self.vault.try_lock() {
                Ok(vault) => break vault,
                Err(TryLockError::WouldBlock) if should_continue() => {
                    std::thread::sleep(BUSY_INTERVAL);
                }
                Err(TryLockError::WouldBlock) => return Reply::NotFound {},
                Err(TryLockError::Poisoned(_)) => {
                    // What the record in memory contains is unknown.
                    let reason = "the signer failed and has to be restarted".to_owned();
                    return Reply::Unavailable { reason };
                }
            }
        };
        let outcome = vault.sign(
            block,
            previous_difficulty,
            clock::unix_time(),
            should_continue,
        );
        let (height, time) = (&block.height, &block.timestamp);
        match outcome {
            SignOutcome::Signed(signed) => {
                let id = signed.id();
                *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(signed.clone());
                self.print(&format!("signed: height={height} timestamp={time} id={id}"));
                Reply::Signed {
                    block: CompactBlock(signed),
                }
            }
            SignOutcome::NotFound => Reply::NotFound {},
            SignOutcome::Refused(refusal) => {
                self.print(&format!(
                    "refused: height={height} timestamp={time}: {refusal}"
                ));
                Reply::Refused {
                    reason: refusal.to_string(),
                    last: self.last(),
                }
            }
            SignOutcome::NotSaved(reason) => {
                self.print(&format!("cannot sign: {reason}"));
                Reply::Unavailable { reason }
            }
        }
    }
}

/// Reason a connection was closed by the signer.
enum Closed {
    Malformed(String),
    TooSlow,
    Io(io::Error),
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(what) => write!(f, "malformed request: {what}"),
            Self::TooSlow => f.write_str("a request was not complete in time"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl From<io::Error> for Closed {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Serves a connection until its other side closes it.
fn serve(shared: &Shared, mut stream: UnixStream) -> Result<(), Closed> {
    let mut lines = Lines::default();
    stream.set_write_timeout(Some(LINE_TIMEOUT))?;
    loop {
        let Some(request) = next_request(&mut stream, &mut lines)? else {
            return Ok(());
        };
        let reply = match request {
            Request::Status { .. } => shared.status(),
            Request::Cancel {} => continue,
            Request::Sign {
                block,
                previous_difficulty,
                search_milliseconds,
            } => {
                let limit = search_milliseconds.min(MAX_SEARCH_MILLISECONDS);
                let deadline = Instant::now() + Duration::from_millis(limit);
                stream.set_nonblocking(true)?;
                let mut should_continue = || {
                    Instant::now() < deadline && lines.is_empty() && !has_news(&stream, &mut lines)
                };
                let reply = shared.sign(&block.0, &previous_difficulty.0, &mut should_continue);
                stream.set_nonblocking(false)?;
                reply
            }
        };
        match stream.write_all(&line(&reply)) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => written?,
        }
    }
}

/// Returns whether anything was received, or the other side has closed the connection.
fn has_news(mut stream: &UnixStream, lines: &mut Lines) -> bool {
    let mut bytes = [0; 512];
    match stream.read(&mut bytes) {
        Ok(count) => {
            lines.push(bytes.get(..count).unwrap_or_default());
            true
        }
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    }
}

/// Returns the next request; `None` if the connection was closed, or was idle for too long.
fn next_request(stream: &mut UnixStream, lines: &mut Lines) -> Result<Option<Request>, Closed> {
    let mut deadline = Instant::now() + IDLE_TIMEOUT;
    let mut is_partial = false;
    loop {
        let line = lines.next_line();
        let line = line.map_err(|_| Closed::Malformed("the line is too long".to_owned()))?;
        if let Some(line) = line {
            let request = serde_json::from_slice(&line);
            return request
                .map(Some)
                .map_err(|error| Closed::Malformed(error.to_string()));
        }
        if !core::mem::replace(&mut is_partial, !lines.is_empty()) && is_partial {
            deadline = Instant::now() + LINE_TIMEOUT;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return if is_partial {
                Err(Closed::TooSlow)
            } else {
                Ok(None)
            };
        }
        stream.set_read_timeout(Some(left))?;
        let mut bytes = [0; 4096];
        match stream.read(&mut bytes) {
            Ok(0) => return Ok(None),
            Ok(count) => lines.push(bytes.get(..count).unwrap_or_default()),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock
                | io::ErrorKind::TimedOut
                | io::ErrorKind::Interrupted => {}
                io::ErrorKind::ConnectionReset => return Ok(None),
                _ => return Err(error.into()),
            },
        }
    }
}
