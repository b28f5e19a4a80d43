//! Client of the control socket.

use core::fmt;
use core::time::Duration;
use serde::de::DeserializeOwned;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::codec::{Frame, FrameError, MAX_MESSAGE_BYTES, encode_message, encode_transfer};
use super::error::RpcError;
use super::link::{FrameInput, InputError};
use super::message::{parse_progress, parse_reply, request_message};
use super::protocol::TransferProgress;
use super::server::{is_locked, too_long};
use super::service::Method;
use super::transfer::Incoming;
use crate::WaitLimit;

/// Default time limit of a reply: longer than a node searches for an atom at many peers.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// Maximum number of connections that wait for another download.
const MAX_IDLE: usize = 16;
/// Id of every request: a connection has one at a time.
const REQUEST_ID: u64 = 1;
/// Number of every transfer: a connection has one at a time.
pub const TRANSFER: u32 = 1;

/// Reason a request has no result.
#[derive(Debug)]
pub enum ClientError {
    /// No process listens at the socket.
    NotRunning {
        /// Path of the socket.
        socket: PathBuf,
    },
    /// The system denies this user access to the socket.
    Denied {
        /// Path of the socket.
        socket: PathBuf,
        /// Name or number of the user that the socket or the closest visible directory belongs to.
        owner: Option<String>,
    },
    /// A node holds the socket's lock but does not listen: the socket was removed, or the node is
    /// starting or stopping.
    Unreachable {
        /// Path of the socket.
        socket: PathBuf,
    },
    /// The connection failed.
    Io {
        /// Path of the socket.
        socket: PathBuf,
        /// Error of the system.
        error: io::Error,
    },
    /// The node speaks the earlier line-based protocol.
    OldNode {
        /// Path of the socket.
        socket: PathBuf,
    },
    /// A download made no progress in time, while the node fetched atoms from peers.
    Stalled {
        /// Path of the socket.
        socket: PathBuf,
        /// Time without progress.
        timeout: Duration,
        /// Last progress.
        progress: TransferProgress,
    },
    /// The reply is malformed.
    BadReply {
        /// Description of the error.
        message: String,
    },
    /// The node refused the request.
    Refused(RpcError),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRunning { socket } => write!(
                f,
                "no node is running at {}; for a node with a configuration file give --config FILE \
                 (the packaged service has /etc/astreum/node.toml), or name its socket with \
                 --control-socket; otherwise start a node with `astreum run`",
                socket.display()
            ),
            Self::Denied { socket, owner } => {
                let user = owner.as_deref().map(|it| format!(" of the user {it}"));
                let command = match owner {
                    Some(owner) => format!("sudo, or as that user with `sudo -u {owner}`"),
                    None => "sudo, or as the user of the node".to_owned(),
                };
                write!(
                    f,
                    "permission denied for the control socket {}{}: a node accepts commands of its \
                     own user and of root; run the command with {command}",
                    socket.display(),
                    user.unwrap_or_default()
                )
            }
            Self::Unreachable { socket } => write!(
                f,
                "a node holds the control socket {0} but does not accept connections: it is \
                 starting or stopping, or the socket was removed and is created again within \
                 seconds; otherwise stop the process that has {0}.lock open",
                socket.display()
            ),
            Self::Io { socket, error } if is_timeout(error) => {
                write!(
                    f,
                    "timed out waiting for the node at {}; --timeout sets the limit",
                    socket.display()
                )
            }
            Self::Stalled {
                socket,
                timeout,
                progress,
            } => write!(
                f,
                "no progress for {} s: the node at {} is waiting for atom {} from its peers, after \
                 {} atoms with {} bytes; the node keeps what has arrived, so try again, or set a \
                 longer --timeout",
                timeout.as_secs(),
                socket.display(),
                progress.next,
                progress.atoms,
                progress.bytes
            ),
            Self::Io { socket, error } => {
                write!(f, "control socket {}: {error}", socket.display())
            }
            Self::OldNode { socket } => write!(
                f,
                "the node at {} runs an older version with an incompatible control protocol; use \
                 the program of that version, or restart the node with this one",
                socket.display()
            ),
            Self::BadReply { message } => write!(
                f,
                "invalid reply of the node: {message}; it may run another version"
            ),
            Self::Refused(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for ClientError {}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

fn is_closed(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
    )
}

/// Part of a download.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Download<'d> {
    /// Bytes of the transfer.
    Bytes(&'d [u8]),
    /// Progress of the node while it fetches what it will send.
    Progress(&'d TransferProgress),
}

/// Client of the node behind one control socket. Downloads use the connection of an earlier one
/// that has ended; every other request uses a new connection.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    timeout: Duration,
    /// Connections whose download has ended, shared by clones.
    idle: Arc<Mutex<Vec<Idle>>>,
}

/// Connection without a request.
#[derive(Debug)]
struct Idle {
    stream: UnixStream,
    input: FrameInput,
}

impl Client {
    /// Creates a client of the node at `socket`, without opening a connection.
    pub fn new(socket: impl Into<PathBuf>, timeout: Duration) -> Self {
        Self {
            socket: socket.into(),
            timeout: timeout.max(Duration::from_millis(1)),
            idle: Arc::default(),
        }
    }

    /// Returns the client with another time limit.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self::new(self.socket, timeout)
    }

    /// Returns the path of the socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Sends a request and waits for the result within the limits of the client's timeout and the
    /// thread's [`WaitLimit`]. A request that is given up ends at the node as well.
    ///
    /// # Errors
    /// Fails if no node is running, if the connection fails or times out, or if the node refuses.
    pub fn request<M: Method>(&self, request: &M) -> Result<M::Reply, ClientError> {
        let message = message(request)?;
        let mut connection = self.send(&message)?;
        connection.reply()
    }

    /// Sends a request with transfer [`TRANSFER`] and waits for the result. `next` returns the bytes
    /// of the next frame, at most [`MAX_TRANSFER_BYTES`](super::MAX_TRANSFER_BYTES), or `None` at
    /// the end. The timeout applies to each frame.
    ///
    /// # Errors
    /// Same as [`Client::request`]. Fails if `next` fails; the node then ends its work as well.
    pub fn upload<M: Method, E: From<ClientError>>(
        &self,
        request: &M,
        next: &mut dyn FnMut() -> Result<Option<Vec<u8>>, E>,
    ) -> Result<M::Reply, E> {
        let message = message(request)?;
        let mut connection = self.send(&message)?;
        loop {
            let bytes = next()?;
            // No bytes would end the transfer early.
            if bytes.as_ref().is_some_and(Vec::is_empty) {
                continue;
            }
            connection.send_part(bytes.as_deref().unwrap_or_default())?;
            // A node that refuses the transfer states the reason.
            if bytes.is_none() || connection.written.is_err() {
                return Ok(connection.reply()?);
            }
        }
    }

    /// Sends a request, passes the bytes of transfer [`TRANSFER`] and the progress of the node's
    /// fetches to `take`, and returns the result that follows. The timeout counts from the last
    /// progress: it applies to each frame, and a node that fetches reports only what has changed.
    ///
    /// # Errors
    /// Same as [`Client::request`]. Fails if `take` fails; the node then ends its work as well.
    pub fn download<M: Method, E: From<ClientError>>(
        &self,
        request: &M,
        take: &mut dyn FnMut(Download<'_>) -> Result<(), E>,
    ) -> Result<M::Reply, E> {
        let message = message(request)?;
        let (mut connection, first) = self.begin_download(&message)?;
        let mut first = Some(first);
        let mut incoming = Incoming::new(TRANSFER);
        // Last progress, unless bytes have arrived since.
        let mut fetching = None;
        while !incoming.has_ended() {
            let frame =
                first
                    .take()
                    .map_or_else(|| connection.next(), Ok)
                    .map_err(|error| match (error, fetching.take()) {
                        (ClientError::Io { socket, error }, Some(progress))
                            if is_timeout(&error) =>
                        {
                            let timeout = self.timeout;
                            ClientError::Stalled {
                                socket,
                                timeout,
                                progress,
                            }
                        }
                        (error, _) => error,
                    })?;
            if let Frame::Message(message) = &frame {
                if let Some(progress) = parse_progress(message) {
                    take(Download::Progress(&progress))?;
                    fetching = Some(progress);
                    continue;
                }
                // Instead of the transfer, or of its end, only an error is expected.
                parse::<M::Reply>(message)?;
            }
            fetching = None;
            let bytes = incoming.take(frame).map_err(|error| bad_reply(&error))?;
            take(Download::Bytes(&bytes))?;
        }
        let reply = connection.reply()?;
        self.keep(connection);
        Ok(reply)
    }

    /// Sends a request that changes nothing, on an idle connection if there is one. Returns the
    /// connection, and the first frame of the answer. The node may have closed an idle connection.
    fn begin_download(&self, message: &[u8]) -> Result<(Connection<'_>, Frame), ClientError> {
        while let Some(Idle { stream, input }) = self.take_idle() {
            let mut connection = Connection {
                client: self,
                stream,
                input,
                written: Ok(()),
            };
            connection.write(&self.frame(message)?)?;
            match connection.next() {
                Err(ClientError::Io { error, .. })
                    if error.kind() == io::ErrorKind::UnexpectedEof => {}
                first => return Ok((connection, first?)),
            }
        }
        let mut connection = self.send(message)?;
        let first = connection.next()?;
        Ok((connection, first))
    }

    /// Keeps a connection whose request has ended for the next download.
    fn keep(&self, connection: Connection<'_>) {
        let Connection { stream, input, .. } = connection;
        let mut idle = self.idle();
        if idle.len() < MAX_IDLE {
            idle.push(Idle { stream, input });
        }
    }

    fn take_idle(&self) -> Option<Idle> {
        self.idle().pop()
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, error: io::Error) -> ClientError {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                let socket = self.socket.clone();
                if is_locked(&socket) {
                    ClientError::Unreachable { socket }
                } else {
                    ClientError::NotRunning { socket }
                }
            }
            io::ErrorKind::PermissionDenied => ClientError::Denied {
                socket: self.socket.clone(),
                owner: owner(&self.socket),
            },
            io::ErrorKind::InvalidInput => ClientError::Io {
                socket: self.socket.clone(),
                error: too_long(&self.socket).unwrap_or(error),
            },
            _ => ClientError::Io {
                socket: self.socket.clone(),
                error,
            },
        }
    }

    /// Returns the frame of a message.
    fn frame(&self, message: &[u8]) -> Result<Vec<u8>, ClientError> {
        encode_message(message).ok_or_else(|| {
            self.failed(io::Error::other(format!(
                "the request is longer than {MAX_MESSAGE_BYTES} bytes"
            )))
        })
    }

    /// Opens a connection and sends a message.
    fn send(&self, message: &[u8]) -> Result<Connection<'_>, ClientError> {
        let failed = |error| self.failed(error);
        let frame = self.frame(message)?;
        if WaitLimit::in_force().is_over() {
            return Err(failed(io::ErrorKind::TimedOut.into()));
        }
        let stream = UnixStream::connect(&self.socket).map_err(failed)?;
        stream
            .set_write_timeout(Some(self.timeout))
            .map_err(failed)?;
        let mut connection = Connection {
            client: self,
            stream,
            input: FrameInput::new(),
            written: Ok(()),
        };
        connection.write(&frame)?;
        Ok(connection)
    }
}

/// Connection on which a request was sent.
struct Connection<'c> {
    client: &'c Client,
    stream: UnixStream,
    input: FrameInput,
    /// Result of the last write: a node that refuses a connection states the reason without reading
    /// the request.
    written: io::Result<()>,
}

impl Connection<'_> {
    fn write(&mut self, frame: &[u8]) -> Result<(), ClientError> {
        self.written = match self.stream.write_all(frame) {
            Err(error) if !is_closed(&error) => return Err(self.client.failed(error)),
            written => written,
        };
        Ok(())
    }

    /// Sends bytes of the transfer; none end it.
    fn send_part(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        let frame = encode_transfer(TRANSFER, bytes).ok_or_else(|| {
            let error = "a part of the transfer is too long for a frame";
            self.client.failed(io::Error::other(error))
        })?;
        self.write(&frame)
    }

    fn reply<R: DeserializeOwned>(&mut self) -> Result<R, ClientError> {
        match self.next()? {
            Frame::Message(message) => parse(&message),
            // A node does not send unsolicited transfers.
            Frame::Transfer { .. } => Err(bad_reply(&FrameError::UnknownKind(1))),
        }
    }

    /// Waits for a frame within the client's timeout and the thread's [`WaitLimit`].
    fn next(&mut self) -> Result<Frame, ClientError> {
        let wait_limit = WaitLimit::NONE.within(self.client.timeout);
        let Self { stream, input, .. } = self;
        let frame = wait_limit.scope(|| input.next(|buffer| read(stream, buffer)));
        frame.map_err(|error| match error {
            InputError::Frame(FrameError::OldProtocol) => ClientError::OldNode {
                socket: self.client.socket.clone(),
            },
            InputError::Frame(error) => bad_reply(&error),
            InputError::Io(error) if !is_closed(&error) => self.client.failed(error),
            InputError::End | InputError::Io(_) => self.client.failed(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the node closed the connection; it may have stopped",
            )),
        })
    }
}

/// Returns the user that a path, or the closest visible directory above it, belongs to: the name, or
/// the number of a user that `/etc/passwd` does not have.
fn owner(path: &Path) -> Option<String> {
    let user = path
        .ancestors()
        .find_map(|path| path.symlink_metadata().ok())?
        .uid();
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(user)).then(|| name.to_owned())
    });
    Some(name.unwrap_or_else(|| format!("#{user}")))
}

/// Returns the message of a request.
fn message<M: Method>(request: &M) -> Result<Vec<u8>, ClientError> {
    request_message(REQUEST_ID, M::NAME, request).map_err(|error| bad_reply(&error))
}

/// Returns the result that a message contains.
fn parse<R: DeserializeOwned>(message: &[u8]) -> Result<R, ClientError> {
    parse_reply(REQUEST_ID, message)
        .map_err(|error| bad_reply(&error))?
        .map_err(ClientError::Refused)
}

fn bad_reply(error: &impl fmt::Display) -> ClientError {
    ClientError::BadReply {
        message: error.to_string(),
    }
}

/// Reads bytes within the thread's [`WaitLimit`].
fn read(mut stream: &UnixStream, buffer: &mut [u8]) -> io::Result<usize> {
    let wait_limit = WaitLimit::in_force();
    loop {
        let time = wait_limit.next_check();
        stream.set_read_timeout(time.map(|time| time.max(Duration::from_millis(1))))?;
        match stream.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if is_timeout(&error) && !wait_limit.is_over() => {}
            read => return read,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::request;
    use super::*;
    use std::fs::File;

    #[test]
    fn removed_socket_is_distinguished_from_a_stopped_node() {
        let scratch = tempfile::tempdir().unwrap();
        let socket = scratch.path().join("sock");
        let ask = || {
            let client = Client::new(&socket, DEFAULT_TIMEOUT);
            let asked = client.request(&request::Status {});
            asked.unwrap_err().to_string()
        };
        assert!(ask().starts_with("no node is running at"), "{}", ask());
        let mut lock = socket.clone().into_os_string();
        lock.push(".lock");
        let lock = File::create(lock).unwrap();
        assert!(ask().starts_with("no node is running at"), "{}", ask());
        // A node holds the lock for as long as it runs.
        lock.lock().unwrap();
        let text = ask();
        assert!(
            text.starts_with("a node holds the control socket"),
            "{text}"
        );
        assert!(text.contains("the socket was removed"), "{text}");
        assert!(text.contains("created again within seconds"), "{text}");
    }

    #[test]
    fn missing_node_is_explained_with_its_configuration_first() {
        let socket = "/x/control.sock".into();
        let text = ClientError::NotRunning { socket }.to_string();
        let config = text.find("--config FILE").unwrap();
        assert!(config < text.find("`astreum run`").unwrap(), "{text}");
    }

    #[test]
    fn denied_access_names_the_owner_of_the_socket() {
        let scratch = tempfile::tempdir().unwrap();
        let client = Client::new(scratch.path().join("none/sock"), DEFAULT_TIMEOUT);
        let text = client
            .failed(io::ErrorKind::PermissionDenied.into())
            .to_string();
        let user = std::fs::metadata(scratch.path()).unwrap().uid();
        let owner = owner(scratch.path()).unwrap();
        assert!(
            owner == format!("#{user}") || !owner.contains('#'),
            "{owner}"
        );
        assert!(text.contains(&format!("of the user {owner}: ")), "{text}");
        assert!(text.contains(&format!("`sudo -u {owner}`")), "{text}");
    }
}
