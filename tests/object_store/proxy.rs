//! HTTP proxy in front of the S3 server that fails on request.

use core::net::SocketAddr;
use core::time::Duration;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Way in which the proxy treats requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    /// Passes them on.
    Pass,
    /// Closes the connection.
    Refuse,
    /// Does not answer.
    Hang,
    /// Answers that the service is not available.
    Unavailable,
    /// Passes requests on, and closes the connection in the middle of the answer.
    Cut,
    /// Passes writes on, and closes the connection without an answer; passes reads on.
    LoseAnswers,
}

/// Longest time that a request hangs.
const HANG: Duration = Duration::from_secs(60);

/// Running proxy.
#[derive(Clone)]
pub(crate) struct Proxy {
    mode: Arc<Mutex<Mode>>,
    address: SocketAddr,
}

impl Proxy {
    /// Starts a proxy of the server at an address.
    pub(crate) fn start(server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let proxy = Self {
            mode: Arc::new(Mutex::new(Mode::Pass)),
            address: listener.local_addr()?,
        };
        let shared = proxy.clone();
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let shared = shared.clone();
                thread::spawn(move || {
                    let _ = shared.serve(connection, server);
                });
            }
        });
        Ok(proxy)
    }

    /// Returns its URL.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap_or_else(PoisonError::into_inner) = mode;
    }

    fn mode(&self) -> Mode {
        *self.mode.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers one request, and closes the connection.
    fn serve(&self, mut client: TcpStream, server: SocketAddr) -> io::Result<()> {
        if self.mode() == Mode::Refuse {
            return client.shutdown(Shutdown::Both);
        }
        let request = read_request(&mut client)?;
        match self.mode() {
            Mode::Refuse => return client.shutdown(Shutdown::Both),
            Mode::Hang => {
                for _ in 0..HANG.as_millis() / 100 {
                    thread::sleep(Duration::from_millis(100));
                    if self.mode() != Mode::Hang {
                        break;
                    }
                }
                return client.shutdown(Shutdown::Both);
            }
            Mode::Unavailable => {
                let body = "<Error><Code>SlowDown</Code></Error>";
                return write!(
                    client,
                    "HTTP/1.1 503 Slow Down\r\nContent-Length: {}\r\nConnection: \
                     close\r\n\r\n{body}",
                    body.len()
                );
            }
            Mode::Pass | Mode::Cut | Mode::LoseAnswers => {}
        }
        let is_write = request.starts_with(b"PUT ") || request.starts_with(b"POST ");
        let mut upstream = TcpStream::connect(server)?;
        upstream.write_all(&request)?;
        let mut answer = Vec::new();
        upstream.read_to_end(&mut answer)?;
        let sent = match self.mode() {
            Mode::LoseAnswers if is_write => 0,
            Mode::Cut => {
                let body = head_end(&answer).unwrap_or(answer.len());
                body + (answer.len() - body) / 2
            }
            _ => answer.len(),
        };
        client.write_all(answer.get(..sent).unwrap_or_default())?;
        client.shutdown(Shutdown::Both)
    }
}

/// Returns the position after the head of a message.
fn head_end(message: &[u8]) -> Option<usize> {
    let end = message.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some(end + 4)
}

/// Reads a request, and makes it the last one of its connection.
fn read_request(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut message = Vec::new();
    let mut buffer = [0; 64 << 10];
    let end = loop {
        if let Some(end) = head_end(&message) {
            break end;
        }
        let read = client.read(&mut buffer)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        message.extend_from_slice(buffer.get(..read).unwrap_or_default());
    };
    let head = String::from_utf8_lossy(message.get(..end).unwrap_or_default()).into_owned();
    let value_of = |name: &str| {
        let mut lines = head.lines();
        lines.find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name)
                .then(|| value.trim().to_owned())
        })
    };
    let length = value_of("content-length").and_then(|length| length.parse().ok());
    let total = end + length.unwrap_or(0);
    while message.len() < total {
        let read = client.read(&mut buffer)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        message.extend_from_slice(buffer.get(..read).unwrap_or_default());
    }
    let is_connection = |line: &&str| !line.to_ascii_lowercase().starts_with("connection:");
    let kept: Vec<&str> = head.trim_end().lines().filter(is_connection).collect();
    let mut request = format!("{}\r\nConnection: close\r\n\r\n", kept.join("\r\n")).into_bytes();
    request.extend_from_slice(message.get(end..total).unwrap_or_default());
    Ok(request)
}
