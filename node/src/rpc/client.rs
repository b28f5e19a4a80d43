//! Client of the control socket.

use core::fmt;
use core::time::Duration;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::protocol::{ErrorReply, MAX_LINE_BYTES, Request, parse_reply};
use super::server::{is_locked, too_long};
use crate::WaitLimit;

/// Default time limit of a reply: longer than a node searches for an atom at many peers.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

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
    /// The reply is malformed.
    BadReply {
        /// Description of the error.
        message: String,
    },
    /// The node refused the request.
    Refused(ErrorReply),
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
            Self::BadReply { message } => write!(
                f,
                "invalid reply of the node: {message}; it may run another version"
            ),
            Self::Refused(reply) => f.write_str(&reply.error),
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
    pub fn request<T: DeserializeOwned>(&self, request: &Request) -> Result<T, ClientError> {
        let line = self.exchange(request)?;
        let bad = |error: serde_json::Error| ClientError::BadReply {
            message: error.to_string(),
        };
        let result = parse_reply(&line)
            .map_err(bad)?
            .map_err(ClientError::Refused)?;
        serde_json::from_value(result).map_err(bad)
    }

    fn exchange(&self, request: &Request) -> Result<Vec<u8>, ClientError> {
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
        let bad = |message: String| ClientError::BadReply { message };
        let mut line = serde_json::to_vec(request).map_err(|error| bad(error.to_string()))?;
        line.push(b'\n');
        if WaitLimit::in_force().is_over() {
            return Err(failed(io::ErrorKind::TimedOut.into()));
        }
        let mut stream = UnixStream::connect(&self.socket).map_err(failed)?;
        stream
            .set_write_timeout(Some(self.timeout))
            .map_err(failed)?;
        stream.write_all(&line).map_err(failed)?;
        let mut reply = Vec::new();
        let wait_limit = WaitLimit::NONE.within(self.timeout);
        wait_limit
            .scope(|| read_line(&stream, &mut reply))
            .map_err(failed)?;
        match reply.pop() {
            Some(b'\n') => Ok(reply),
            None => {
                let error = io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the node closed the connection",
                );
                Err(failed(error))
            }
            Some(_) => Err(bad(format!(
                "truncated or longer than {MAX_LINE_BYTES} bytes"
            ))),
        }
    }
}

/// Reads up to a newline or [`MAX_LINE_BYTES`], within the thread's [`WaitLimit`].
fn read_line(stream: &UnixStream, line: &mut Vec<u8>) -> io::Result<()> {
    let wait_limit = WaitLimit::in_force();
    let mut reader = BufReader::new(stream.take(MAX_LINE_BYTES as u64));
    loop {
        let time = wait_limit.next_check();
        stream.set_read_timeout(time.map(|time| time.max(Duration::from_millis(1))))?;
        // Bytes read before a timeout stay in `line`.
        match reader.read_until(b'\n', line) {
            Err(error) if is_timeout(&error) && !wait_limit.is_over() => {}
            read => return read.map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn a_removed_socket_is_told_from_a_node_that_does_not_run() {
        let scratch = tempfile::tempdir().unwrap();
        let socket = scratch.path().join("sock");
        let ask = || {
            let client = Client::new(&socket, DEFAULT_TIMEOUT);
            let asked = client.request::<serde_json::Value>(&Request::Status {});
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
