//! Client of RPC over HTTP and WebSocket that sends exactly the given bytes.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a failed unwrap fails the test with its location"
)]

use core::net::SocketAddr;
use core::time::Duration;
use serde_json::Value;
use std::collections::VecDeque;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

/// Time limit of each read and write.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Reply over HTTP.
#[derive(Debug)]
pub struct HttpReply {
    /// Status code.
    pub status: u16,
    /// Header lines, in lower case.
    pub headers: String,
    /// Body.
    pub body: String,
}

impl HttpReply {
    /// Returns the body as JSON.
    ///
    /// # Panics
    /// Panics if it is not JSON.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Opens a connection.
///
/// # Panics
/// Panics if the server does not accept it.
#[must_use]
#[track_caller]
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream.set_write_timeout(Some(TIMEOUT)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Reads one reply.
///
/// # Errors
/// Fails if the connection ends before.
pub fn read_reply(stream: &TcpStream) -> io::Result<HttpReply> {
    read(stream, true)
}

fn read(stream: &TcpStream, has_body: bool) -> io::Result<HttpReply> {
    let mut reader = BufReader::new(stream);
    let mut headers = String::new();
    while !headers.ends_with("\r\n\r\n") {
        if reader.read_line(&mut headers)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let status = headers.split(' ').nth(1).and_then(|it| it.parse().ok());
    let headers = headers.to_ascii_lowercase();
    let length = headers
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length = length.and_then(|length| length.parse().ok());
    let length = length.filter(|_| has_body).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(HttpReply {
        status: status.ok_or(io::ErrorKind::InvalidData)?,
        headers,
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}

/// Sends a request with these header lines on a connection of its own.
///
/// # Panics
/// Panics if there is no reply.
#[track_caller]
pub fn exchange(address: SocketAddr, first: &str, headers: &[&str], body: &str) -> HttpReply {
    let mut stream = connect(address);
    let mut request = format!("{first} HTTP/1.1\r\n");
    for header in headers {
        request += &format!("{header}\r\n");
    }
    if !body.is_empty() {
        request += &format!("Content-Length: {}\r\n", body.len());
    }
    request += &format!("\r\n{body}");
    // A server that refuses a request early may close the connection before it has read all.
    let _ = stream.write_all(request.as_bytes());
    let reply = read(&stream, !first.starts_with("HEAD "));
    reply.unwrap_or_else(|error| panic!("{first} {headers:?}: {error}"))
}

/// Sends a GET request.
///
/// # Panics
/// Panics if there is no reply.
#[track_caller]
#[must_use]
pub fn get(address: SocketAddr, path: &str) -> HttpReply {
    exchange(address, &format!("GET {path}"), &["Host: localhost"], "")
}

/// Sends a message of JSON-RPC, with these further header lines.
///
/// # Panics
/// Panics if there is no reply.
#[track_caller]
#[must_use]
pub fn post(address: SocketAddr, message: &str, headers: &[&str]) -> HttpReply {
    let own = ["Host: localhost", "Content-Type: application/json"];
    exchange(address, "POST /", &[&own[..], headers].concat(), message)
}

/// Returns the message of a request.
#[must_use]
pub fn call(id: u64, method: &str, params: &Value) -> String {
    serde_json::json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string()
}

/// WebSocket.
#[derive(Debug)]
pub struct WebSocket {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
    /// Parameters of notifications that arrived while something else was waited for.
    notifications: VecDeque<Value>,
}

/// Codes of frames.
const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;

impl WebSocket {
    /// Opens a WebSocket with these further header lines.
    ///
    /// # Errors
    /// Returns the reply if the server refuses it.
    pub fn open(address: SocketAddr, headers: &[&str]) -> Result<Self, HttpReply> {
        let mut stream = connect(address);
        let mut request = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
                           Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                           Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            .to_owned();
        for header in headers {
            request += &format!("{header}\r\n");
        }
        stream
            .write_all(format!("{request}\r\n").as_bytes())
            .unwrap();
        // Byte by byte: what follows the headers is of the WebSocket.
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        if !head.starts_with("HTTP/1.1 101 ") {
            let status = head.split(' ').nth(1).and_then(|it| it.parse().ok());
            return Err(HttpReply {
                status: status.unwrap(),
                headers: head.to_ascii_lowercase(),
                body: String::new(),
            });
        }
        assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
        let reader = BufReader::with_capacity(64 << 10, stream.try_clone().unwrap());
        Ok(Self {
            stream,
            reader,
            notifications: VecDeque::new(),
        })
    }

    /// Returns the bytes of a frame, masked with zeros.
    #[must_use]
    pub fn frame(code: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0x80 | code];
        match payload.len() {
            short @ 0..126 => frame.push(0x80 | short as u8),
            medium @ 126..0x1_0000 => {
                frame.push(0x80 | 126);
                frame.extend((medium as u16).to_be_bytes());
            }
            long => {
                frame.push(0x80 | 127);
                frame.extend((long as u64).to_be_bytes());
            }
        }
        frame.extend([0; 4]);
        frame.extend(payload);
        frame
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// Fails if the connection does.
    pub fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends a message.
    ///
    /// # Panics
    /// Panics if the connection fails.
    #[track_caller]
    pub fn send(&mut self, message: &str) {
        self.send_raw(&Self::frame(TEXT, message.as_bytes()))
            .unwrap();
    }

    /// Receives the payload of the next message; `None` once the connection is closed.
    ///
    /// # Errors
    /// Fails if the connection does.
    pub fn receive_raw(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let mut head = [0; 2];
            self.reader.read_exact(&mut head)?;
            let length = match head[1] & 0x7f {
                126 => {
                    let mut bytes = [0; 2];
                    self.reader.read_exact(&mut bytes)?;
                    u64::from(u16::from_be_bytes(bytes))
                }
                127 => {
                    let mut bytes = [0; 8];
                    self.reader.read_exact(&mut bytes)?;
                    u64::from_be_bytes(bytes)
                }
                short => u64::from(short),
            };
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            self.reader.read_exact(&mut payload)?;
            match head[0] & 0x0f {
                TEXT => return Ok(Some(payload)),
                CLOSE => return Ok(None),
                PING => self.send_raw(&Self::frame(10, &payload))?,
                _ => {}
            }
        }
    }

    /// Receives the next message as JSON.
    ///
    /// # Panics
    /// Panics if the connection ends, or the message is not JSON.
    #[track_caller]
    pub fn receive(&mut self) -> Value {
        let message = self.receive_raw().unwrap();
        serde_json::from_slice(&message.unwrap_or_else(|| panic!("the WebSocket was closed")))
            .unwrap()
    }

    /// Sends a request, and returns its reply; notifications before it are skipped.
    ///
    /// # Panics
    /// Panics if the connection fails.
    #[track_caller]
    pub fn ask(&mut self, id: u64, method: &str, params: &Value) -> Value {
        self.send(&call(id, method, params));
        loop {
            let reply = self.receive();
            if reply["id"] == id {
                return reply;
            }
            self.keep(reply);
        }
    }

    fn keep(&mut self, mut message: Value) {
        if message["method"] == "subscription" {
            self.notifications.push_back(message["params"].take());
        }
    }

    /// Returns the next notification's parameters that `is_wanted` accepts; the others are kept.
    ///
    /// # Panics
    /// Panics if the connection ends before.
    #[track_caller]
    pub fn notified(&mut self, is_wanted: impl Fn(&Value) -> bool) -> Value {
        let mut seen = 0;
        loop {
            let mut kept = self.notifications.iter().skip(seen);
            if let Some(at) = kept.position(&is_wanted) {
                // Its index is that of a kept one.
                return self.notifications.remove(seen + at).unwrap();
            }
            seen = self.notifications.len();
            let message = self.receive();
            self.keep(message);
        }
    }
}

impl WebSocket {
    /// Sends `count` requests of one frame each, at most `in_flight` of them unanswered, and receives
    /// the replies; returns the time that it took.
    ///
    /// # Errors
    /// Fails if the connection does, or ends.
    pub fn pipeline(
        &mut self,
        frame: &[u8],
        in_flight: usize,
        count: usize,
    ) -> io::Result<Duration> {
        let began = std::time::Instant::now();
        let first = in_flight.min(count);
        self.send_raw(&frame.repeat(first))?;
        let (mut sent, mut due) = (first, 0);
        for _ in 0..count {
            self.receive_raw()?.ok_or(io::ErrorKind::UnexpectedEof)?;
            due += usize::from(sent + due < count);
            // Written together, as long as replies are waiting.
            if due > 0 && self.reader.buffer().is_empty() {
                self.send_raw(&frame.repeat(due))?;
                sent += due;
                due = 0;
            }
        }
        Ok(began.elapsed())
    }
}
