//! Client of a signer: a thread that keeps the connection and passes requests and replies.
//!
//! Invariants:
//! - No call waits for the signer.
//! - A request ends with one [`SignerUpdate`] that carries its number, or with
//!   [`SignerUpdate::Away`] and, after a new connection, [`SignerUpdate::Ready`].

use super::protocol::{
    CompactBlock, Decimal, Lines, MAX_SEARCH_MILLISECONDS, PROTOCOL, Reply, Request, line,
};
use crate::clock;
use crate::failure::Failure;
use crate::runtime::inbox::Inbox;
use astreum_core::chain::Block;
use astreum_core::consensus::Input;
use astreum_core::consensus::producer::{SignerUpdate, SigningJob};
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::Instant;

/// Time after which a connection is tried again, and interval of status requests.
const RETRY: Duration = Duration::from_secs(1);
/// Interval of status requests on an idle connection.
const IDLE: Duration = Duration::from_secs(5);
/// Maximum time for a reply that needs no search, and beyond the time of a search.
const REPLY_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum time for which a cancellation, or the end of the node, waits while a reply is awaited.
const CANCEL_DELAY: Duration = Duration::from_millis(20);
/// Maximum number of commands that wait for the thread.
const MAX_COMMANDS: usize = 8;

/// Address and key of a signer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignerConfig {
    /// Path of its Unix socket.
    pub socket: PathBuf,
    /// Public key of the validator.
    pub public_key: [u8; 32],
    /// Id of the chain.
    pub chain_id: u64,
}

enum Command {
    Sign(SigningJob),
    Cancel,
}

/// Handle of the client's thread. Dropping it ends the thread.
pub struct SignerClient {
    commands: Option<SyncSender<Command>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for SignerClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignerClient").finish_non_exhaustive()
    }
}

impl SignerClient {
    /// Starts the thread, which connects and reports to `inbox`.
    ///
    /// # Errors
    /// Fails if the system refuses a thread.
    pub fn start(config: SignerConfig, inbox: Inbox, failure: &Failure) -> io::Result<Self> {
        let (sender, commands) = sync_channel(MAX_COMMANDS);
        let stop = Arc::new(AtomicBool::new(false));
        let worker = Worker {
            stop: Arc::clone(&stop),
            config,
            inbox,
            commands,
            away: None,
            taken: 0,
        };
        let failure = failure.clone();
        let thread = std::thread::Builder::new()
            .name("signer".to_owned())
            .spawn(move || {
                let _ = failure.watch(|| worker.run());
            })?;
        Ok(Self {
            commands: Some(sender),
            stop,
            thread: Some(thread),
        })
    }

    /// Sends a request. If it cannot be sent, the connection is given up, which ends it.
    pub fn sign(&self, job: SigningJob) {
        self.command(Command::Sign(job));
    }

    /// Asks the signer to end its search.
    pub fn cancel(&self) {
        self.command(Command::Cancel);
    }

    fn command(&self, command: Command) {
        if let Some(commands) = &self.commands {
            // There is at most one open request, so the channel has room.
            let _ = commands.try_send(command);
        }
    }
}

impl Drop for SignerClient {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        drop(self.commands.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been recorded already.
            let _ = thread.join();
        }
    }
}

/// Reason a connection has ended.
enum End {
    /// The node stops.
    Stopped,
    /// The signer cannot be used.
    Away(String),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        let timed_out = [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut];
        Self::Away(match error.kind() {
            kind if timed_out.contains(&kind) => "it does not reply".to_owned(),
            _ => error.to_string(),
        })
    }
}

struct Worker {
    config: SignerConfig,
    inbox: Inbox,
    commands: Receiver<Command>,
    stop: Arc<AtomicBool>,
    /// Reason that was reported last, while the signer is away.
    away: Option<String>,
    /// Number of the last request that was taken over.
    taken: u64,
}

impl Worker {
    fn run(mut self) {
        loop {
            let end = match Connection::open(&self.config, Arc::clone(&self.stop)) {
                Ok(connection) => self.serve(connection),
                Err(end) => end,
            };
            match end {
                End::Stopped => return,
                End::Away(reason) => self.report_away(&reason),
            }
            // Requests of the ended connection are void: the next status reports what was signed.
            let retry = Instant::now() + RETRY;
            while let Some(left) = retry.checked_duration_since(Instant::now()) {
                match self.commands.recv_timeout(left) {
                    Ok(Command::Sign(job)) => self.taken = job.number,
                    Ok(Command::Cancel) => {}
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        }
    }

    fn report(&self, update: SignerUpdate) {
        self.inbox.answer(Input::Signer(update));
    }

    fn report_away(&mut self, reason: &str) {
        let socket = self.config.socket.display();
        let reason = format!("the signer at {socket} cannot be used: {reason}");
        if self.away.as_ref() != Some(&reason) {
            self.away = Some(reason.clone());
            self.report(SignerUpdate::Away(reason));
        }
    }

    /// Passes requests and replies until the connection ends.
    fn serve(&mut self, mut connection: Connection) -> End {
        let last = match connection.status(&self.config) {
            Ok(last) => last,
            Err(end) => return end,
        };
        self.away = None;
        let ended = self.taken;
        self.report(SignerUpdate::Ready { ended, last });
        loop {
            let done = match self.commands.recv_timeout(IDLE) {
                Ok(Command::Sign(job)) => self.sign(&mut connection, job),
                Ok(Command::Cancel) => Ok(()),
                Err(RecvTimeoutError::Timeout) => connection.status(&self.config).map(|_| ()),
                Err(RecvTimeoutError::Disconnected) => return End::Stopped,
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    fn sign(&mut self, connection: &mut Connection, job: SigningJob) -> Result<(), End> {
        let number = job.number;
        self.taken = number;
        let left = job.until.saturating_sub(clock::unix_time());
        let milliseconds = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        let milliseconds = milliseconds.min(MAX_SEARCH_MILLISECONDS);
        if milliseconds == 0 {
            self.report(SignerUpdate::NotFound { number });
            return Ok(());
        }
        connection.send(&Request::Sign {
            block: CompactBlock(job.block.header.clone().signed(None)),
            previous_difficulty: Decimal(job.previous_difficulty),
            search_milliseconds: milliseconds,
        })?;
        let deadline = Instant::now() + Duration::from_millis(milliseconds) + REPLY_TIMEOUT;
        let reply = loop {
            if let Some(reply) = connection.receive(CANCEL_DELAY)? {
                break reply;
            }
            match self.commands.try_recv() {
                Ok(Command::Cancel) => connection.send(&Request::Cancel {})?,
                // The producer has one open request.
                Ok(Command::Sign(_)) | Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return Err(End::Stopped),
            }
            if Instant::now() >= deadline {
                return Err(io::Error::from(io::ErrorKind::TimedOut).into());
            }
        };
        self.report(match reply {
            Reply::Signed { block } => SignerUpdate::Signed {
                number,
                block: Box::new(block.0),
            },
            Reply::NotFound {} => SignerUpdate::NotFound { number },
            Reply::Refused { reason, last } => SignerUpdate::Refused {
                number,
                reason,
                last: last.map(|last| Box::new(last.0)),
            },
            Reply::Unavailable { reason } => return Err(End::Away(reason)),
            Reply::Status { .. } => return Err(unexpected()),
        });
        Ok(())
    }
}

fn unexpected() -> End {
    End::Away("it sent an unexpected message".to_owned())
}

struct Connection {
    stream: UnixStream,
    lines: Lines,
    stop: Arc<AtomicBool>,
}

impl Connection {
    fn open(config: &SignerConfig, stop: Arc<AtomicBool>) -> Result<Self, End> {
        let address = SockAddr::unix(&config.socket)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // A signer that has been stopped does not accept, and its queue becomes full.
        socket.set_nonblocking(true)?;
        socket.connect(&address)?;
        socket.set_nonblocking(false)?;
        let stream = UnixStream::from(OwnedFd::from(socket));
        stream.set_write_timeout(Some(REPLY_TIMEOUT))?;
        Ok(Self {
            stream,
            lines: Lines::default(),
            stop,
        })
    }

    /// Asks for the status, and checks that the signer signs for this validator and chain. Returns
    /// its last block.
    fn status(&mut self, config: &SignerConfig) -> Result<Option<Box<Block>>, End> {
        self.send(&Request::Status { protocol: PROTOCOL })?;
        let deadline = Instant::now() + REPLY_TIMEOUT;
        let reply = loop {
            if let Some(reply) = self.receive(CANCEL_DELAY)? {
                break reply;
            }
            if self.stop.load(Ordering::Relaxed) {
                return Err(End::Stopped);
            }
            if Instant::now() >= deadline {
                return Err(io::Error::from(io::ErrorKind::TimedOut).into());
            }
        };
        let (protocol, public_key, chain_id, last) = match reply {
            Reply::Status {
                protocol,
                public_key,
                chain_id,
                last,
            } => (protocol, public_key, chain_id, last),
            Reply::Unavailable { reason } => return Err(End::Away(reason)),
            _ => return Err(unexpected()),
        };
        if protocol != PROTOCOL {
            return Err(End::Away(format!(
                "it speaks version {protocol} of the protocol, this node version {PROTOCOL}"
            )));
        }
        if public_key != hex::encode(config.public_key) {
            return Err(End::Away(format!(
                "it has the key {public_key}, not that of validation_public_key"
            )));
        }
        if chain_id != config.chain_id {
            return Err(End::Away(format!(
                "it signs for chain_id {chain_id}, this node follows {}",
                config.chain_id
            )));
        }
        Ok(last.map(|last| Box::new(last.0)))
    }

    fn send(&mut self, request: &Request) -> Result<(), End> {
        Ok(self.stream.write_all(&line(request))?)
    }

    /// Returns the next message, or `None` after `timeout`.
    fn receive(&mut self, timeout: Duration) -> Result<Option<Reply>, End> {
        self.stream.set_read_timeout(Some(timeout))?;
        loop {
            match self.lines.next_line() {
                Ok(None) => {}
                Ok(Some(line)) => {
                    let reply = serde_json::from_slice(&line);
                    return reply.map(Some).map_err(|_| unexpected());
                }
                Err(_) => return Err(unexpected()),
            }
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(End::Away("it closed the connection".to_owned())),
                Ok(count) => self.lines.push(bytes.get(..count).unwrap_or_default()),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => return Ok(None),
                    io::ErrorKind::Interrupted => {}
                    _ => return Err(error.into()),
                },
            }
        }
    }
}
