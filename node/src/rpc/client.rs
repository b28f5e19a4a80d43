//! Client of the control socket.

use core::fmt;
use core::time::Duration;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::codec::{Frame, FrameError, FrameReader, MAX_MESSAGE_BYTES, encode_message};
use super::error::RpcError;
use super::message::{parse_reply, request_message};
use super::server::{is_locked, too_long};
use super::service::Method;
use crate::WaitLimit;

/// Default time limit of a reply: longer than a node searches for an atom at many peers.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// Id of the only request of a connection.
const REQUEST_ID: u64 = 1;
/// Size in bytes of the buffer for reading.
const BUFFER_BYTES: usize = 64 << 10;

/// Reason a request has no result.
#[derive(Debug)]
pub enum ClientError {
    /// No process listens at the socket.
    NotRunning {
        /// Path of the socket.
        socket: PathBuf,
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
                "no node is running at {}; start one with `astreum run`, or name another socket \
                 with --control-socket",
                socket.display()
            ),
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
            Self::Io { socket, error } => {
                write!(f, "control socket {}: {error}", socket.display())
            }
            Self::OldNode { socket } => write!(
                f,
                "the node at {} is of an older version, with another protocol of the control \
                 socket; use its own program, or restart the node with this one",
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

/// Client of the node behind one control socket; each request uses a new connection.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    timeout: Duration,
}

impl Client {
    /// Creates a client of the node at `socket`, without opening a connection.
    pub fn new(socket: impl Into<PathBuf>, timeout: Duration) -> Self {
        Self {
            socket: socket.into(),
            timeout: timeout.max(Duration::from_millis(1)),
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
        let bad = |error: serde_json::Error| ClientError::BadReply {
            message: error.to_string(),
        };
        let message = request_message(REQUEST_ID, M::NAME, request).map_err(bad)?;
        let reply = self.exchange(&message)?;
        parse_reply(REQUEST_ID, &reply)
            .map_err(bad)?
            .map_err(ClientError::Refused)
    }

    fn exchange(&self, message: &[u8]) -> Result<Vec<u8>, ClientError> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                let socket = self.socket.clone();
                if is_locked(&socket) {
                    ClientError::Unreachable { socket }
                } else {
                    ClientError::NotRunning { socket }
                }
            }
            io::ErrorKind::InvalidInput => ClientError::Io {
                socket: self.socket.clone(),
                error: too_long(&self.socket).unwrap_or(error),
            },
            _ => ClientError::Io {
                socket: self.socket.clone(),
                error,
            },
        };
        let frame = encode_message(message).ok_or_else(|| {
            failed(io::Error::other(format!(
                "the request is longer than {MAX_MESSAGE_BYTES} bytes"
            )))
        })?;
        if WaitLimit::in_force().is_over() {
            return Err(failed(io::ErrorKind::TimedOut.into()));
        }
        let mut stream = UnixStream::connect(&self.socket).map_err(failed)?;
        stream
            .set_write_timeout(Some(self.timeout))
            .map_err(failed)?;
        let written = match stream.write_all(&frame) {
            Err(error) if !is_closed(&error) => return Err(failed(error)),
            // A node that refuses a connection states the reason without reading the request.
            written => written,
        };
        let wait_limit = WaitLimit::NONE.within(self.timeout);
        let read = wait_limit.scope(|| read_message(&stream));
        match read {
            Ok(Ok(message)) => Ok(message),
            Ok(Err(FrameError::OldProtocol)) => Err(ClientError::OldNode {
                socket: self.socket.clone(),
            }),
            Ok(Err(error)) => Err(ClientError::BadReply {
                message: error.to_string(),
            }),
            Err(error) => Err(failed(written.err().unwrap_or(error))),
        }
    }
}

/// Reads one message, within the thread's [`WaitLimit`].
fn read_message(mut stream: &UnixStream) -> io::Result<Result<Vec<u8>, FrameError>> {
    let wait_limit = WaitLimit::in_force();
    let mut reader = FrameReader::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let time = wait_limit.next_check();
        stream.set_read_timeout(time.map(|time| time.max(Duration::from_millis(1))))?;
        let mut input = match stream.read(&mut buffer) {
            Ok(0) => {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the node closed the connection",
                ));
            }
            Ok(len) => buffer.get(..len).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if is_timeout(&error) && !wait_limit.is_over() => continue,
            Err(error) => return Err(error),
        };
        match reader.read(&mut input) {
            Ok(Some(Frame::Message(message))) => return Ok(Ok(message)),
            // A node does not send unsolicited transfers.
            Ok(Some(Frame::Transfer { .. })) => return Ok(Err(FrameError::UnknownKind(1))),
            Ok(None) => {}
            Err(error) => return Ok(Err(error)),
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
}
