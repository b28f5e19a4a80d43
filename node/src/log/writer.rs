//! Log thread: takes events from a bounded channel, so that no other thread waits for a disk or a
//! terminal.

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};

use log::{Level, Log as _, Record};

use crate::config::{LogFormat, Settings};

use super::date::Date;
use super::event::{Event, Identity};
use super::file::{LogFile, OpenError};
use super::tidy::{self, Pack, Packer, Retention};
use super::trust::ClockTrust;

/// Maximum number of queued events; further ones are dropped and counted.
pub(super) const QUEUE_EVENTS: usize = 8_192;
/// Interval between checks for midnight and for lines that the limiter suppressed.
const TICK: Duration = Duration::from_secs(1);
/// Delay before a failed open is retried; doubles with each failure.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const MAX_RETRY: Duration = Duration::from_secs(30);
/// Time that another process may hold the directory before that is reported: an earlier run may be
/// about to end.
const BUSY_TIMEOUT: Duration = Duration::from_secs(3);
/// Size in bytes at which a batch is written.
const BATCH_BYTES: usize = 64 << 10;
/// Maximum number of bytes kept while there is no file to write to.
const MAX_KEPT_BYTES: usize = 1 << 20;
/// Interval between tidying runs even if no file was rotated: failed steps are retried.
const TIDY_INTERVAL: Duration = Duration::from_hours(1);

/// Message to the thread.
pub(super) enum Message {
    Event(Event),
    /// Write everything so far, then answer.
    Flush(SyncSender<()>),
    /// Write everything so far, then end.
    Stop,
    /// Open the file again.
    Reopen,
    /// Write everything so far, then continue with other settings.
    Change(Changeable),
}

/// Settings that can change while the log is open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Changeable {
    pub(super) retention_days: u32,
    pub(super) format: LogFormat,
}

impl From<&Settings> for Changeable {
    fn from(settings: &Settings) -> Self {
        Self {
            retention_days: settings.logging_retention_days,
            format: settings.log_format,
        }
    }
}

/// Destination and limits of the log.
pub(super) struct LogSettings {
    pub(super) directory: PathBuf,
    pub(super) changeable: Changeable,
    pub(super) max_file_bytes: u64,
    pub(super) max_rotated_bytes: u64,
    pub(super) identity: Identity,
    /// Mirror on stdout, if enabled.
    pub(super) console: Option<env_logger::Logger>,
    /// Function that compresses rotated files, on a separate thread.
    pub(super) pack: Pack,
}

/// Clocks and outputs of the thread, replaced in tests.
#[derive(Clone)]
pub(super) struct Host {
    /// Returns the time since 1970.
    pub(super) wall: fn() -> Duration,
    /// Returns a time that never jumps.
    pub(super) monotonic: fn() -> Duration,
    /// Reports a failure that has not been reported yet.
    pub(super) report_error: fn(&str),
    /// Reason there is no log, for `status`.
    pub(super) health: Arc<Health>,
}

/// Reason there is no log, if there is none.
#[derive(Debug, Default)]
pub(super) struct Health(Mutex<Option<String>>);

impl Health {
    pub(super) fn problem(&self) -> Option<String> {
        self.lock().clone()
    }

    fn set(&self, problem: Option<String>) {
        *self.lock() = problem;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct Writer {
    settings: LogSettings,
    host: Host,
    file: Option<LogFile>,
    /// Time at which the first attempt since the last success failed, time of the next attempt, and
    /// delay after that.
    failing_since: Option<Duration>,
    retry_at: Duration,
    retry_delay: Duration,
    has_reported: bool,
    /// `true` if the last write failed: on a full disk a file can be opened, but not written.
    has_failed_writing: bool,
    batch: Vec<u8>,
    batch_lines: u64,
    batch_time: Duration,
    lost_lines: u64,
    dropped: Arc<AtomicU64>,
    trust: Option<ClockTrust>,
    packer: Option<Packer>,
    tidy_at: Duration,
}

impl Writer {
    pub(super) fn new(settings: LogSettings, host: Host, dropped: Arc<AtomicU64>) -> Self {
        let mut writer = Self {
            settings,
            host,
            file: None,
            failing_since: None,
            retry_at: Duration::ZERO,
            retry_delay: FIRST_RETRY,
            has_reported: false,
            has_failed_writing: false,
            batch: Vec::new(),
            batch_lines: 0,
            batch_time: Duration::ZERO,
            lost_lines: 0,
            dropped,
            trust: None,
            packer: None,
            tidy_at: Duration::ZERO,
        };
        writer.open();
        writer
    }

    pub(super) fn run(mut self, messages: &Receiver<Message>) {
        loop {
            match messages.recv_timeout(self.poll_timeout()) {
                Ok(message) => {
                    // All queued messages become one write.
                    let waiting = core::iter::once(message).chain(messages.try_iter());
                    for message in waiting {
                        match message {
                            Message::Event(event) => self.take(&event),
                            Message::Flush(done) => {
                                self.settle();
                                let _ = done.try_send(());
                            }
                            Message::Stop => return self.end(),
                            Message::Reopen => self.reopen(),
                            Message::Change(changeable) => {
                                self.write_batch();
                                self.settings.changeable = changeable;
                                self.tidy_at = Duration::ZERO;
                            }
                        }
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.tick(),
                Err(RecvTimeoutError::Disconnected) => return self.end(),
            }
            self.report_dropped();
            self.write_batch();
        }
    }

    /// Returns the time until there is work without a message.
    fn poll_timeout(&self) -> Duration {
        match self.file {
            Some(_) => TICK,
            None => self
                .retry_at
                .saturating_sub((self.host.monotonic)())
                .clamp(Duration::from_millis(1), TICK),
        }
    }

    fn take(&mut self, event: &Event) {
        if let Some(console) = &self.settings.console {
            let line = event.console_line();
            let mut record = Record::builder();
            record.level(event.level).target(&event.target);
            console.log(&record.args(format_args!("{line}")).build());
        }
        // Lines of two days do not share a batch: each day has a separate file.
        let is_new_day = Date::of(event.time) != Date::of(self.batch_time);
        if is_new_day || self.batch.len() >= BATCH_BYTES {
            self.write_batch();
        }
        if self.batch.is_empty() {
            self.batch_time = event.time;
        }
        self.append(event);
        self.batch_lines += 1;
    }

    /// Appends the line of an event to the batch.
    fn append(&mut self, event: &Event) {
        match self.settings.changeable.format {
            LogFormat::Json => event.write_json(&self.settings.identity, &mut self.batch),
            LogFormat::Text => event.write_text(&mut self.batch),
        }
    }

    /// Writes everything so far, then opens the file again, or tries it if there is none.
    fn reopen(&mut self) {
        self.retry_at = Duration::ZERO;
        self.write_batch();
        let reopened = self.file.as_mut().map_or(Ok(()), LogFile::reopen);
        self.check(reopened);
    }

    /// Logs a message about the log itself.
    fn own(&mut self, level: Level, message: String) {
        let event = Event::own((self.host.wall)(), level, message);
        self.take(&event);
    }

    fn report_dropped(&mut self) {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let message = format!(
                "dropped {dropped} log lines: they arrived faster than they could be written"
            );
            self.own(Level::Warn, message);
        }
    }

    fn report_problems(&mut self, problems: Vec<String>) {
        for problem in problems {
            if let Some(more) = super::limited("log files") {
                self.own(Level::Warn, format!("{problem}{more}"));
            }
        }
    }

    fn tick(&mut self) {
        for (reason, count) in super::leftovers((self.host.wall)()) {
            self.own(
                Level::Info,
                format!("{reason}: {count} more lines were not logged"),
            );
        }
        let now = (self.host.wall)();
        if let Some(file) = &mut self.file {
            file.rotate(now);
        }
        self.tidy_if_due();
    }

    fn settle(&mut self) {
        self.report_dropped();
        self.write_batch();
        let synced = self.file.as_ref().map_or(Ok(()), LogFile::sync);
        self.check(synced);
    }

    /// Makes a last attempt to write lines that have no file yet.
    fn end(&mut self) {
        self.retry_at = Duration::ZERO;
        self.settle();
    }

    fn open(&mut self) {
        let LogSettings {
            directory,
            max_file_bytes,
            ..
        } = &self.settings;
        match LogFile::open(directory, *max_file_bytes, (self.host.wall)()) {
            Ok(file) => {
                if self.trust.is_none() {
                    self.trust = Some(ClockTrust::new(
                        (self.host.wall)(),
                        (self.host.monotonic)(),
                        file.newest_day(),
                        self.settings.changeable.retention_days,
                    ));
                }
                let problems = tidy::delete_unfinished(directory);
                self.file = Some(file);
                if !self.has_failed_writing {
                    self.recover();
                }
                self.report_problems(problems);
            }
            Err(error) => self.fail(&error),
        }
    }

    fn write_batch(&mut self) {
        if self.batch.is_empty() && self.file.is_some() {
            return self.tidy_if_due();
        }
        if self.file.is_none() && (self.host.monotonic)() >= self.retry_at {
            self.open();
            if self.file.is_some() && self.lost_lines > 0 {
                let lost = core::mem::take(&mut self.lost_lines);
                let event = Event::own(
                    (self.host.wall)(),
                    Level::Warn,
                    format!("failed to write {lost} log lines"),
                );
                self.append(&event);
            }
        }
        match &mut self.file {
            Some(file) => {
                let written = file.write(&self.batch, self.batch_time);
                if written.is_err() {
                    self.lost_lines += self.batch_lines;
                    self.has_failed_writing = true;
                } else if self.has_failed_writing && !self.batch.is_empty() {
                    self.has_failed_writing = false;
                    self.recover();
                }
                self.check(written);
            }
            // The file may become available soon.
            None if self.batch.len() < MAX_KEPT_BYTES => return,
            None => self.lost_lines += self.batch_lines,
        }
        self.batch.clear();
        self.batch_lines = 0;
        self.tidy_if_due();
    }

    /// Forgets the failures: the log can be written again.
    fn recover(&mut self) {
        self.failing_since = None;
        self.retry_delay = FIRST_RETRY;
        self.has_reported = false;
        self.host.health.set(None);
    }

    /// After a failure closes the file, to be opened again later; the node continues meanwhile.
    fn check(&mut self, result: io::Result<()>) {
        if let Err(error) = result {
            self.fail(&OpenError::Io(error));
        }
    }

    fn fail(&mut self, error: &OpenError) {
        let now = (self.host.monotonic)();
        self.file = None;
        let since = *self.failing_since.get_or_insert(now);
        self.retry_at = now.saturating_add(self.retry_delay);
        self.retry_delay = (self.retry_delay * 2).min(MAX_RETRY);
        let is_busy = matches!(error, OpenError::Busy);
        if is_busy && now.saturating_sub(since) < BUSY_TIMEOUT {
            return;
        }
        let directory = self.settings.directory.display();
        let problem = format!("cannot write the log in {directory}: {error}");
        if !self.has_reported {
            self.has_reported = true;
            (self.host.report_error)(&format!("{problem}; continuing without a log file"));
        }
        self.host.health.set(Some(problem));
    }

    /// Deletes and compresses rotated files after a rotation, and once an hour.
    fn tidy_if_due(&mut self) {
        let (wall, now) = ((self.host.wall)(), (self.host.monotonic)());
        let is_trusted = match &mut self.trust {
            Some(trust) => trust.observe(wall, now),
            None => false,
        };
        let Some(file) = &mut self.file else { return };
        let mut problems = file.take_problems();
        // More may have been rotated while it ran; failed ones are retried in an hour.
        let (mut is_packed, mut has_failed) = (false, false);
        if let Some(outcome) = self.packer.as_ref().and_then(Packer::outcome) {
            (is_packed, has_failed) = (outcome.is_empty(), !outcome.is_empty());
            problems.extend(outcome);
            self.packer = None;
        }
        if file.take_rotated() || is_packed || now >= self.tidy_at {
            self.tidy_at = now.saturating_add(TIDY_INTERVAL);
            let retention = Retention {
                days: self.settings.changeable.retention_days,
                max_bytes: self.settings.max_rotated_bytes,
                today: Date::of(wall),
                is_trusted,
            };
            problems.extend(tidy::delete_old(file.directory(), retention));
            if self.packer.is_none() && !has_failed && tidy::has_plain(file.directory()) {
                let directory = file.directory().to_owned();
                match Packer::start(directory, file.lock(), self.settings.pack) {
                    Ok(packer) => self.packer = Some(packer),
                    Err(error) => problems.push(format!("cannot compress log files: {error}")),
                }
            }
        }
        self.report_problems(problems);
    }
}
