//! Requests of other commands to the process that runs a network: one line of JSON each way.

use core::time::Duration;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::super::output::Failure;
use super::directory::{Directory, failed};

/// Maximum length of a request.
const MAX_REQUEST_BYTES: u64 = 4_096;
/// Maximum length of a reply.
const MAX_REPLY_BYTES: u64 = 64 << 10;
/// Time for which a client may take to send its request.
const READ_TIMEOUT: Duration = Duration::from_secs(1);
/// Maximum time for a request to be carried out.
const REPLY_TIMEOUT: Duration = Duration::from_secs(3_600);

/// Request.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Order {
    Snapshot { name: String },
    Restore { name: String },
    Reset {},
    Stop {},
}

/// Reply: an error, if there is one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Reply {
    pub(super) error: Option<String>,
}

/// Socket of the process that runs a network.
#[derive(Debug)]
pub(super) struct Control {
    listener: UnixListener,
    path: PathBuf,
}

impl Control {
    /// Opens the socket of a directory that this process has locked.
    pub(super) fn open(directory: &Directory) -> Result<Self, Failure> {
        let path = directory.socket();
        let _ = fs::remove_file(&path);
        let opened = UnixListener::bind(&path).and_then(|listener| {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        });
        let listener = opened.map_err(|error| failed("cannot listen at", &path, &error))?;
        Ok(Self { listener, path })
    }

    /// Returns the next order, if one has arrived; invalid ones are answered.
    pub(super) fn next(&self) -> Option<(Order, UnixStream)> {
        let (stream, _) = self.listener.accept().ok()?;
        match receive(&stream) {
            Ok(order) => Some((order, stream)),
            Err(error) => {
                answer(stream, Some(format!("invalid request: {error}")));
                None
            }
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn receive(stream: &UnixStream) -> io::Result<Order> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(READ_TIMEOUT))?;
    stream.set_write_timeout(Some(READ_TIMEOUT))?;
    let mut line = String::new();
    BufReader::new(stream.take(MAX_REQUEST_BYTES)).read_line(&mut line)?;
    serde_json::from_str(&line).map_err(io::Error::other)
}

/// Answers an order. A client that is gone does not matter.
pub(super) fn answer(mut stream: UnixStream, error: Option<String>) {
    let reply = serde_json::to_string(&Reply { error }).unwrap_or_default();
    let _ = stream.write_all(format!("{reply}\n").as_bytes());
}

/// Sends an order and waits until it is carried out.
pub(super) fn send(socket: &Path, order: &Order) -> Result<(), Failure> {
    let asked = UnixStream::connect(socket).and_then(|mut stream| {
        stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
        let text = serde_json::to_string(order).map_err(io::Error::other)?;
        stream.write_all(format!("{text}\n").as_bytes())?;
        let mut line = String::new();
        BufReader::new(stream.take(MAX_REPLY_BYTES)).read_line(&mut line)?;
        serde_json::from_str::<Reply>(&line).map_err(io::Error::other)
    });
    let reply = asked.map_err(|error| failed("no answer at", socket, &error))?;
    reply
        .error
        .map_or(Ok(()), |error| Err(Failure::Failed(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_answered_and_other_input_is_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = Directory::at(scratch.path()).unwrap();
        let control = Control::open(&directory).unwrap();
        let mode = fs::metadata(directory.socket()).unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        assert!(control.next().is_none());
        let name = "a".to_owned();
        let order = Order::Snapshot { name };
        let (socket, sent) = (directory.socket(), order.clone());
        let client = std::thread::spawn(move || send(&socket, &sent));
        let (received, stream) = loop {
            if let Some(next) = control.next() {
                break next;
            }
        };
        assert_eq!(received, order);
        answer(stream, Some("no".to_owned()));
        let Err(Failure::Failed(text)) = client.join().unwrap() else {
            panic!("the error is not passed on");
        };
        assert_eq!(text, "no");
        for wrong in [
            "\n",
            "{}\n",
            "{\"fly\":{}}\n",
            "{\"stop\":{\"a\":1}}\n",
            "x",
        ] {
            let mut stream = UnixStream::connect(directory.socket()).unwrap();
            stream.write_all(wrong.as_bytes()).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            assert!(control.next().is_none());
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line).unwrap();
            assert!(line.contains("invalid request"), "{wrong:?}: {line:?}");
        }
        drop(control);
        assert!(!directory.socket().exists());
    }
}
