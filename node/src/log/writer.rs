//! The log's own thread: takes events from a bounded channel, so that nobody else waits for a disk
//! or a terminal.

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};

use log::{Level, Log as _, Record};

use super::date::Date;
use super::event::{Event, Identity};
use super::file::LogFile;

/// Events that wait for the thread; more are dropped and counted.
pub(super) const QUEUE_EVENTS: usize = 8_192;
/// How often the thread looks for midnight and for what the limiter left out.
const TICK: Duration = Duration::from_secs(1);
/// How long a log that could not be written waits for its next chance.
const RETRY: Duration = Duration::from_secs(30);
/// Bytes that are collected before they are written.
const BATCH_BYTES: usize = 64 << 10;

/// What the thread is told.
pub(super) enum Message {
    Event(Event),
    /// Write everything so far, then answer.
    Flush(SyncSender<()>),
    /// Write everything so far, then end.
    Stop,
}

/// Where the lines go.
pub(super) struct Settings {
    pub(super) directory: PathBuf,
    pub(super) retention_days: u32,
    pub(super) identity: Identity,
    /// The mirror on stdout, if it is wanted.
    pub(super) console: Option<env_logger::Logger>,
}

pub(super) struct Writer {
    settings: Settings,
    clock: fn() -> Duration,
    file: Option<LogFile>,
    retry_at: Duration,
    batch: Vec<u8>,
    batch_lines: u64,
    batch_time: Duration,
    lost_lines: u64,
    dropped: Arc<AtomicU64>,
    /// Called for every failure that has not been told yet; stderr, but for tests.
    complain: fn(&str),
    has_complained: bool,
}

impl Writer {
    pub(super) fn new(
        settings: Settings,
        clock: fn() -> Duration,
        dropped: Arc<AtomicU64>,
        complain: fn(&str),
    ) -> Self {
        let mut writer = Self {
            settings,
            clock,
            file: None,
            retry_at: Duration::ZERO,
            batch: Vec::new(),
            batch_lines: 0,
            batch_time: Duration::ZERO,
            lost_lines: 0,
            dropped,
            complain,
            has_complained: false,
        };
        writer.open((writer.clock)());
        writer
    }

    pub(super) fn run(mut self, messages: &Receiver<Message>) {
        loop {
            match messages.recv_timeout(TICK) {
                Ok(message) => {
                    // Everything that waits becomes one write.
                    let waiting = core::iter::once(message).chain(messages.try_iter());
                    for message in waiting {
                        match message {
                            Message::Event(event) => self.take(&event),
                            Message::Flush(done) => {
                                self.settle();
                                let _ = done.try_send(());
                            }
                            Message::Stop => return self.settle(),
                        }
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.tick(),
                Err(RecvTimeoutError::Disconnected) => return self.settle(),
            }
            self.report_dropped();
            self.write_batch();
        }
    }

    fn take(&mut self, event: &Event) {
        if let Some(console) = &self.settings.console {
            let line = event.console_line();
            let mut record = Record::builder();
            record.level(event.level).target(&event.target);
            console.log(&record.args(format_args!("{line}")).build());
        }
        // Lines of two days do not share a batch: each day has its own file.
        let is_new_day = Date::of(event.time) != Date::of(self.batch_time);
        if is_new_day || self.batch.len() >= BATCH_BYTES {
            self.write_batch();
            self.batch_time = event.time;
        }
        event.write_json(&self.settings.identity, &mut self.batch);
        self.batch_lines += 1;
    }

    fn own(&mut self, level: Level, message: String) {
        let event = Event::own((self.clock)(), level, message);
        self.take(&event);
    }

    fn report_dropped(&mut self) {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let message = format!(
                "{dropped} log lines were dropped: they came faster than they were written"
            );
            self.own(Level::Warn, message);
        }
    }

    fn tick(&mut self) {
        for (reason, count) in super::leftovers((self.clock)()) {
            self.own(
                Level::Info,
                format!("{reason}: {count} more lines were not logged"),
            );
        }
        let now = (self.clock)();
        if let Some(file) = &mut self.file {
            let rotated = file.rotate(now);
            self.check(rotated, now);
        }
    }

    fn settle(&mut self) {
        self.report_dropped();
        self.write_batch();
        if let Some(file) = &self.file {
            let synced = file.sync();
            self.check(synced, (self.clock)());
        }
    }

    fn open(&mut self, now: Duration) {
        let Settings {
            directory,
            retention_days,
            ..
        } = &self.settings;
        match LogFile::open(directory, *retention_days, now) {
            Ok(file) => self.file = Some(file),
            Err(error) => self.check(Err(error), now),
        }
    }

    fn write_batch(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let now = (self.clock)();
        if self.file.is_none() && now >= self.retry_at {
            self.open(now);
            if self.file.is_some() && self.lost_lines > 0 {
                let lost = core::mem::take(&mut self.lost_lines);
                let event = Event::own(
                    now,
                    Level::Warn,
                    format!("{lost} log lines could not be written"),
                );
                event.write_json(&self.settings.identity, &mut self.batch);
                self.has_complained = false;
            }
        }
        match &mut self.file {
            Some(file) => {
                let written = file.write(&self.batch, self.batch_time);
                if written.is_err() {
                    self.lost_lines += self.batch_lines;
                }
                self.check(written, now);
            }
            None => self.lost_lines += self.batch_lines,
        }
        self.batch.clear();
        self.batch_lines = 0;
    }

    /// After a failure the file is let go and tried again later; the node goes on meanwhile.
    fn check(&mut self, result: io::Result<()>, now: Duration) {
        let Err(error) = result else {
            return;
        };
        self.file = None;
        self.retry_at = now + RETRY;
        if !self.has_complained {
            self.has_complained = true;
            let directory = self.settings.directory.display();
            (self.complain)(&format!(
                "the log in {directory} cannot be written ({error}); going on without it"
            ));
        }
    }
}
