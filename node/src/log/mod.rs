//! Logging: JSON lines in `node.log`, rotated and compressed, and a mirror on stdout.
//!
//! All lines go through the `log` crate. `log_level` selects the records, else `RUST_LOG` in
//! `env_logger`'s syntax, else the level is `info`. Level, format and retention can change while the
//! log is open: see [`reconfigure`].
//!
//! Invariants:
//! - Logging never blocks: a record is passed to the log's thread through a bounded queue, and is
//!   dropped and counted if there is no room.
//! - A failure to write is reported once on stderr and in `status`, and writing is retried; nothing
//!   else stops. Problems with rotated files never prevent lines from being written.
//! - Log files are bounded in size and in number of days.
//! - A record is one line, whatever text it contains, and has no control characters for a terminal.

mod date;
mod event;
mod file;
mod limit;
mod names;
mod router;
mod tidy;
mod trust;
mod watch;
mod writer;

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::io;
use std::io::Write as _;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};

use arc_swap::ArcSwap;
use astreum_core::text::Escaped;
use env_logger::{Builder, Env, Target};
use log::{LevelFilter, Log, Metadata, Record};

pub(crate) use date::utc_text;
pub use limit::{Limiter, Suppressed};
pub use router::Scope;
pub(crate) use router::within;
pub use watch::{LogLine, Watch};

use astreum_core::time::Instant;

use crate::clock::{self, Clock};
use crate::config::{LogFilter, PRODUCT, Paths, Settings};
use event::{Event, Identity};
use file::MAX_FILE_BYTES;
use tidy::MAX_ROTATED_BYTES;
use writer::{Changeable, Health, Host, LogSettings, Message, QUEUE_EVENTS, Writer};

/// First line of every log.
pub const BANNER: &str = "Starting Astreum Node";
/// Name of the log's thread.
pub(crate) const THREAD_NAME: &str = "log";
/// Maximum time that [`Handle`] waits for the last lines to be written.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// Logs at a level, with the name of the calling function; the other macros use it.
macro_rules! emit {
    ($level:ident, $($message:tt)+) => {{
        fn here() {}
        ::log::log!(
            ::log::Level::$level,
            func = ::core::any::type_name_of_val(&here);
            $($message)+
        )
    }};
}

/// Same as `log::error!`, with the name of the calling function.
#[allow(unused_macros, reason = "used as soon as something logs at this level")]
macro_rules! error {
    ($($message:tt)+) => { $crate::log::emit!(Error, $($message)+) };
}

/// Same as `log::warn!`, with the name of the calling function.
#[allow(unused_macros, reason = "used as soon as something logs at this level")]
macro_rules! warn_ {
    ($($message:tt)+) => { $crate::log::emit!(Warn, $($message)+) };
}

/// Same as `log::info!`, with the name of the calling function.
macro_rules! info {
    ($($message:tt)+) => { $crate::log::emit!(Info, $($message)+) };
}

/// Same as `log::debug!`, with the name of the calling function.
#[allow(unused_macros, reason = "used as soon as something logs at this level")]
macro_rules! debug {
    ($($message:tt)+) => { $crate::log::emit!(Debug, $($message)+) };
}

pub(crate) use {debug, emit, error, info, warn_ as warn};

/// Number of logs whose handles are alive.
static OPEN_LOGS: Mutex<usize> = Mutex::new(0);
static LIMITER: Mutex<Option<Limiter>> = Mutex::new(None);
static HEALTH: OnceLock<Arc<Health>> = OnceLock::new();

/// Returns the reason this process cannot write its log, if there is one.
#[must_use]
pub fn problem() -> Option<String> {
    HEALTH.get().and_then(|health| health.problem())
}

/// Returns the time since the first call; it never jumps.
fn monotonic() -> Duration {
    static CLOCK: OnceLock<Clock> = OnceLock::new();
    CLOCK.get_or_init(Clock::start).now().since(Instant::ZERO)
}

/// Returns the number of lines suppressed before it if a line with this reason may be logged now,
/// else `None`. Every line that peers can cause must check this first.
///
/// ```
/// if let Some(more) = astreum_node::log::limited("undecodable datagram") {
///     log::warn!("a datagram could not be decoded{more}");
/// }
/// ```
pub fn limited(reason: &'static str) -> Option<Suppressed> {
    let mut limiter = LIMITER.lock().unwrap_or_else(PoisonError::into_inner);
    let limiter = limiter.get_or_insert_default();
    limiter.allow(reason, clock::unix_time())
}

fn leftovers(now: Duration) -> Vec<(&'static str, u64)> {
    let mut limiter = LIMITER.lock().unwrap_or_else(PoisonError::into_inner);
    limiter
        .as_mut()
        .map_or_else(Vec::new, |limiter| limiter.leftovers(now))
}

/// Reason logging could not be set up.
#[derive(Debug)]
pub enum LogError {
    /// The process already has a logger.
    AlreadySet,
    /// The system could not create a thread.
    Thread(io::Error),
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadySet => f.write_str("a logger is already installed in this process"),
            Self::Thread(error) => write!(f, "cannot start the log thread: {error}"),
        }
    }
}

impl core::error::Error for LogError {}

/// Sets up logging for this process and logs the banner. Dropping the handle writes the remaining
/// lines.
///
/// # Errors
/// Fails if the process already has a logger, or if no thread can be started. A directory that is
/// not writable is not an error: it is reported on stderr and by [`problem`].
pub fn init(settings: &Settings, paths: &Paths) -> Result<Handle, LogError> {
    if !router::install() || router::has_default() {
        return Err(LogError::AlreadySet);
    }
    let health = Arc::clone(HEALTH.get_or_init(Arc::default));
    let (logger, handle) = start(settings, paths, health)?;
    if !router::set_default(logger) {
        return Err(LogError::AlreadySet);
    }
    info!("{BANNER}");
    Ok(handle)
}

/// Opens the log of one of several nodes of this process and logs the banner. Lines of threads that
/// run in the scope go to this log.
///
/// # Errors
/// Fails if the process has a logger of its own, which then receives the lines, or if no thread can
/// be started.
pub fn open(settings: &Settings, paths: &Paths) -> Result<(Scope, Handle), LogError> {
    if !router::install() {
        return Err(LogError::AlreadySet);
    }
    let (logger, handle) = start(settings, paths, Arc::default())?;
    let scope = Scope::new(logger);
    scope.enter(|| info!("{BANNER}"));
    Ok((scope, handle))
}

/// Starts the thread of a log.
fn start(
    settings: &Settings,
    paths: &Paths,
    health: Arc<Health>,
) -> Result<(NodeLogger, Handle), LogError> {
    let log_health = Arc::clone(&health);
    let log_settings = LogSettings {
        directory: paths.log_dir.clone(),
        changeable: Changeable::from(settings),
        max_file_bytes: MAX_FILE_BYTES,
        max_rotated_bytes: MAX_ROTATED_BYTES,
        pack: tidy::compress_all,
        identity: Identity {
            logger: format!("{PRODUCT}.{}", paths.instance_id),
            instance_id: paths.instance_id.clone(),
            pid: std::process::id(),
        },
        console: settings.verbose.then(console),
    };
    let host = Host {
        wall: clock::unix_time,
        monotonic,
        report_error,
        health,
    };
    let filter = filter(settings.log_level.as_ref());
    let (logger, messages) = NodeLogger::new(clock::unix_time, filter);
    let writer_dropped = Arc::clone(&logger.dropped);
    let handle_sender = logger.sender.clone();
    let level = logger.filter.load().filter();
    let thread = thread::Builder::new()
        .name(THREAD_NAME.to_owned())
        .spawn(move || {
            Writer::new(log_settings, host, writer_dropped).run(&messages);
        })
        .map_err(LogError::Thread)?;
    {
        let mut open = OPEN_LOGS.lock().unwrap_or_else(PoisonError::into_inner);
        *open += 1;
        log::set_max_level(level.max(log::max_level()));
    }
    let handle = Handle {
        sender: handle_sender,
        health: log_health,
        thread: Some(thread),
    };
    Ok((logger, handle))
}

/// Applies the level, format and retention of these settings to the log of the calling thread.
pub fn reconfigure(settings: &Settings) {
    router::with_current(|logger| {
        let level = logger.reconfigure(settings);
        let open = OPEN_LOGS.lock().unwrap_or_else(PoisonError::into_inner);
        // Another log of the process may need more.
        let least = if *open > 1 {
            log::max_level()
        } else {
            LevelFilter::Off
        };
        log::set_max_level(level.max(least));
    });
}

/// Opens the file of the calling thread's log again, after another program has moved it.
pub fn reopen() {
    router::with_current(|logger| deliver(&logger.sender, Message::Reopen));
}

/// Handle of the log's thread; dropping it writes the remaining lines.
#[derive(Debug)]
pub struct Handle {
    sender: SyncSender<Message>,
    health: Arc<Health>,
    thread: Option<JoinHandle<()>>,
}

impl Handle {
    /// Waits, for a bounded time, until all lines so far are written.
    pub fn flush(&self) {
        flush(&self.sender);
    }

    /// Returns why the log is not written, if it is not.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        self.health.problem()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        {
            // The level is set under the lock: another log may be opening at the same time.
            let mut open = OPEN_LOGS.lock().unwrap_or_else(PoisonError::into_inner);
            *open = open.saturating_sub(1);
            if *open == 0 {
                log::set_max_level(LevelFilter::Off);
            }
        }
        flush(&self.sender);
        // Joined only if it accepted the message: it may hang in a write to a dead disk.
        if self.sender.try_send(Message::Stop).is_ok()
            && let Some(thread) = self.thread.take()
        {
            let deadline = std::time::Instant::now() + FLUSH_TIMEOUT;
            while !thread.is_finished() && std::time::Instant::now() < deadline {
                thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

fn flush(sender: &SyncSender<Message>) {
    let (done, is_done) = sync_channel(1);
    if deliver(sender, Message::Flush(done)) {
        let _ = is_done.recv_timeout(FLUSH_TIMEOUT);
    }
}

/// Sends a message that must not be dropped for lack of room; returns `false` if there was none for
/// [`FLUSH_TIMEOUT`].
fn deliver(sender: &SyncSender<Message>, mut message: Message) -> bool {
    let deadline = std::time::Instant::now() + FLUSH_TIMEOUT;
    while let Err(TrySendError::Full(back)) = sender.try_send(message) {
        if std::time::Instant::now() >= deadline {
            return false;
        }
        message = back;
        thread::sleep(Duration::from_millis(1));
    }
    true
}

/// Returns the filter of `log_level`, else that of `RUST_LOG`, else one of the level `info`.
fn filter(levels: Option<&LogFilter>) -> env_logger::Logger {
    let mut builder = match levels {
        Some(levels) => {
            let mut builder = Builder::new();
            builder.parse_filters(levels.as_str());
            builder
        }
        None => Builder::from_env(Env::default().default_filter_or("info")),
    };
    builder.build()
}

/// Returns the mirror: `env_logger` writes the formatted line of an event to stdout. Events have
/// passed the filter of the log already.
fn console() -> env_logger::Logger {
    let mut builder = Builder::new();
    builder.filter_level(LevelFilter::Trace);
    builder.target(Target::Stdout);
    builder.format(|out, record| writeln!(out, "{}", Escaped(&record.args().to_string())));
    builder.build()
}

fn report_error(message: &str) {
    // A closed stderr is ignored.
    let _ = writeln!(io::stderr(), "astreum: {message}");
}

/// Logger that the `log` crate calls, on any thread.
struct NodeLogger {
    filter: ArcSwap<env_logger::Logger>,
    sender: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
    clock: fn() -> Duration,
}

impl NodeLogger {
    fn new(clock: fn() -> Duration, filter: env_logger::Logger) -> (Self, Receiver<Message>) {
        let (sender, receiver) = sync_channel(QUEUE_EVENTS);
        let logger = Self {
            filter: ArcSwap::from_pointee(filter),
            sender,
            dropped: Arc::default(),
            clock,
        };
        (logger, receiver)
    }

    /// Applies settings; returns the maximum level that is logged from now on.
    fn reconfigure(&self, settings: &Settings) -> LevelFilter {
        let filter = filter(settings.log_level.as_ref());
        let level = filter.filter();
        self.filter.store(Arc::new(filter));
        deliver(&self.sender, Message::Change(settings.into()));
        level
    }
}

impl Log for NodeLogger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.filter.load().enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.filter.load().matches(record) {
            return;
        }
        let event = Event::new(record, (self.clock)());
        watch::observe(&event);
        if self.sender.try_send(Message::Event(event)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self) {
        flush(&self.sender);
    }
}

#[cfg(test)]
mod tests;
