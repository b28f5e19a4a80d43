//! Log file `node.log`: appended to, and rotated at midnight UTC, when it is full, and when the
//! clock jumps.
//!
//! `node.log` is opened first, and opening does not depend on older files: a problem with them must
//! not disable the log. A file that is full or of another day is renamed to `node-YYYY-MM-DD.log`,
//! further ones of the same day to `node-YYYY-MM-DD.1.log` and so on; an existing file is never
//! overwritten. `tidy.rs` compresses and deletes.

use core::time::Duration;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use super::date::Date;
use super::names::{CURRENT, next_name, rotated};

/// File size in bytes at which a file is rotated.
pub(super) const MAX_FILE_BYTES: u64 = 64 << 20;
/// Minimum time by which a clock must be set back to start another file. A clock that is set back
/// by less passes midnight twice within one file.
const MIN_CLOCK_SETBACK: Duration = Duration::from_hours(1);

/// An open `node.log`.
#[derive(Debug)]
pub(super) struct LogFile {
    directory: PathBuf,
    file: File,
    len: u64,
    max_bytes: u64,
    /// Day of the lines in the file.
    day: Date,
    /// `true` if the last write may have left an incomplete line.
    torn: bool,
    lock: Arc<File>,
    /// `true` if a file was rotated since the last tidying.
    rotated: bool,
    problems: Vec<String>,
}

/// Reason a log could not be opened.
#[derive(Debug)]
pub(super) enum OpenError {
    /// Another process holds the directory, perhaps one that is about to end.
    Busy,
    Io(io::Error),
}

impl core::fmt::Display for OpenError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Busy => f.write_str("another node writes its log there; set another log_dir"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl LogFile {
    /// Opens the log in `directory`, which is created if missing. A file of an earlier day is
    /// rotated.
    pub(super) fn open(directory: &Path, max_bytes: u64, now: Duration) -> Result<Self, OpenError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
        let lock = Arc::new(lock(directory)?);
        let (file, len) = open_current(directory)?;
        // Day of the last line; an empty file has none.
        let day = match file.metadata()?.modified() {
            Ok(modified) if len > 0 => {
                let modified = modified.duration_since(UNIX_EPOCH);
                Date::of(modified.unwrap_or_default())
            }
            _ => Date::of(now),
        };
        let mut log = Self {
            directory: directory.to_owned(),
            file,
            len,
            max_bytes,
            day,
            torn: false,
            lock,
            rotated: true,
            problems: Vec::new(),
        };
        log.rotate(now);
        Ok(log)
    }

    /// Returns the day of the newest file, including the current one if it has lines.
    pub(super) fn newest_day(&self) -> Option<Date> {
        let files = rotated(&self.directory).unwrap_or_default();
        let current = (self.len > 0).then_some(self.day);
        files.iter().map(|file| file.name.day).chain(current).max()
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns the lock of the directory, for other work in it to hold.
    pub(super) fn lock(&self) -> Arc<File> {
        Arc::clone(&self.lock)
    }

    /// Returns whether a file was rotated since the last call.
    pub(super) fn take_rotated(&mut self) -> bool {
        core::mem::take(&mut self.rotated)
    }

    /// Returns the problems with rotated files since the last call.
    pub(super) fn take_problems(&mut self) -> Vec<String> {
        core::mem::take(&mut self.problems)
    }

    /// Appends complete lines, which were logged at `now`.
    pub(super) fn write(&mut self, lines: &[u8], now: Duration) -> io::Result<()> {
        self.rotate(now);
        self.reopen_if_moved()?;
        if self.torn {
            self.file.write_all(b"\n")?;
        }
        self.torn = true;
        self.file.write_all(lines)?;
        self.torn = false;
        self.len += lines.len() as u64;
        Ok(())
    }

    /// Starts a new file if the current one is full or of another day. If that fails, the problem
    /// is noted and the current file is used further.
    pub(super) fn rotate(&mut self, now: Duration) {
        let today = Date::of(now);
        let is_other_day =
            today > self.day || Date::of(now.saturating_add(MIN_CLOCK_SETBACK)) < self.day;
        let is_full = self.len >= self.max_bytes;
        if !is_other_day && !is_full {
            return;
        }
        if self.len == 0 {
            self.day = today;
            return;
        }
        if let Err(error) = self.set_aside() {
            let path = self.directory.join(CURRENT);
            self.problems
                .push(format!("cannot rotate {}: {error}", path.display()));
            // Tried again once the file has grown by the same size, or on the next day.
            self.max_bytes = self.len.saturating_add(self.max_bytes);
        }
        self.day = today;
    }

    fn set_aside(&mut self) -> io::Result<()> {
        let aside = next_name(&self.directory, self.day)?.path(&self.directory);
        let current = self.directory.join(CURRENT);
        match fs::rename(&current, aside) {
            // Another program has moved or deleted it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            renamed => renamed?,
        }
        (self.file, self.len) = open_current(&self.directory)?;
        self.torn = false;
        self.rotated = true;
        Ok(())
    }

    /// Syncs all data to the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Opens the file at the path again, which is a new one if another program has moved the old
    /// one.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.directory)?;
        (self.file, self.len) = open_current(&self.directory)?;
        Ok(())
    }

    /// Continues in a new file if another program has moved or deleted this one.
    fn reopen_if_moved(&mut self) -> io::Result<()> {
        let path = self.directory.join(CURRENT);
        let at_path = fs::metadata(path).ok().map(|data| (data.dev(), data.ino()));
        let ours = self.file.metadata()?;
        if at_path != Some((ours.dev(), ours.ino())) {
            // The whole directory may be missing.
            self.reopen()?;
        }
        Ok(())
    }
}

fn open_current(directory: &Path) -> io::Result<(File, u64)> {
    let mut options = OpenOptions::new();
    let options = options.create(true).append(true).mode(0o600);
    let path = directory.join(CURRENT);
    let opened = options.open(&path).and_then(|file| {
        let len = file.metadata()?.len();
        Ok((file, len))
    });
    opened.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

/// Locks the directory: only one process writes and rotates its files.
fn lock(directory: &Path) -> Result<File, OpenError> {
    let mut options = OpenOptions::new();
    let options = options.create(true).truncate(false).write(true).mode(0o600);
    let file = options.open(directory.join(".lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Busy),
        Err(TryLockError::Error(error)) => Err(OpenError::Io(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use tempfile::TempDir;

    use super::*;

    const DAY: u64 = 86_400;
    /// 2026-11-22.
    const TODAY: u64 = 20_779 * DAY;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn open(scratch: &TempDir, seconds: u64) -> LogFile {
        LogFile::open(scratch.path(), MAX_FILE_BYTES, at(seconds)).unwrap()
    }

    fn names(scratch: &TempDir) -> Vec<String> {
        let entries = fs::read_dir(scratch.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name != ".lock").collect();
        names.sort();
        names
    }

    fn text(scratch: &TempDir, name: &str) -> String {
        fs::read_to_string(scratch.path().join(name)).unwrap()
    }

    #[test]
    fn midnight_starts_a_new_file() {
        let scratch = tempfile::tempdir().unwrap();
        let mut log = open(&scratch, TODAY);
        assert!(log.take_rotated());
        log.write(b"one\n", at(TODAY + 5)).unwrap();
        log.write(b"two\n", at(TODAY + DAY - 1)).unwrap();
        assert_eq!(names(&scratch), ["node.log"]);
        assert!(!log.take_rotated());
        log.write(b"three\n", at(TODAY + DAY)).unwrap();
        assert!(log.take_rotated());
        assert_eq!(names(&scratch), ["node-2026-11-22.log", "node.log"]);
        assert_eq!(text(&scratch, "node-2026-11-22.log"), "one\ntwo\n");
        assert_eq!(text(&scratch, CURRENT), "three\n");
        // The file is rotated at midnight even if nothing is logged.
        log.rotate(at(TODAY + 2 * DAY));
        assert_eq!(text(&scratch, "node-2026-11-23.log"), "three\n");
        // A clock that is set back slightly passes midnight a second time in the same file.
        log.write(b"four\n", at(TODAY + 2 * DAY - 60)).unwrap();
        assert_eq!(text(&scratch, CURRENT), "four\n");
    }

    #[test]
    fn clock_that_jumps_ahead_and_back_rotates_on_both_jumps_and_at_midnight() {
        let scratch = tempfile::tempdir().unwrap();
        let mut log = open(&scratch, TODAY);
        log.write(b"before\n", at(TODAY)).unwrap();
        log.write(b"ahead\n", at(TODAY + 400 * DAY)).unwrap();
        log.write(b"back\n", at(TODAY + 60)).unwrap();
        log.write(b"next day\n", at(TODAY + DAY)).unwrap();
        assert_eq!(
            names(&scratch),
            [
                "node-2026-11-22.1.log",
                "node-2026-11-22.log",
                "node-2027-12-27.log",
                "node.log"
            ]
        );
        assert_eq!(text(&scratch, "node-2026-11-22.log"), "before\n");
        assert_eq!(text(&scratch, "node-2027-12-27.log"), "ahead\n");
        assert_eq!(text(&scratch, "node-2026-11-22.1.log"), "back\n");
        assert_eq!(text(&scratch, CURRENT), "next day\n");
    }

    #[test]
    fn full_file_is_rotated_within_the_day() {
        let scratch = tempfile::tempdir().unwrap();
        let mut log = LogFile::open(scratch.path(), 10, at(TODAY)).unwrap();
        for line in ["first\n", "second\n", "third\n", "fourth\n", "fifth\n"] {
            log.write(line.as_bytes(), at(TODAY)).unwrap();
        }
        assert_eq!(
            names(&scratch),
            ["node-2026-11-22.1.log", "node-2026-11-22.log", "node.log"]
        );
        assert_eq!(text(&scratch, "node-2026-11-22.log"), "first\nsecond\n");
        assert_eq!(text(&scratch, "node-2026-11-22.1.log"), "third\nfourth\n");
        assert_eq!(text(&scratch, CURRENT), "fifth\n");
        // The size includes the lines of an earlier run.
        log.write(b"sixth\n", at(TODAY)).unwrap();
        drop(log);
        let mut log = LogFile::open(scratch.path(), 10, at(TODAY)).unwrap();
        log.write(b"seventh\n", at(TODAY)).unwrap();
        assert_eq!(text(&scratch, CURRENT), "seventh\n");
        assert_eq!(log.take_problems(), [] as [&str; 0]);
    }

    #[test]
    fn file_of_an_earlier_day_is_rotated_on_start() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join(CURRENT);
        fs::write(&path, "old\n").unwrap();
        let yesterday = SystemTime::UNIX_EPOCH + at(TODAY - 9);
        let file = File::options().write(true).open(&path).unwrap();
        file.set_modified(yesterday).unwrap();
        let mut log = open(&scratch, TODAY);
        log.write(b"new\n", at(TODAY)).unwrap();
        assert_eq!(text(&scratch, "node-2026-11-21.log"), "old\n");
        assert_eq!(text(&scratch, CURRENT), "new\n");
    }

    #[test]
    fn restart_on_the_same_day_continues_the_file() {
        let scratch = tempfile::tempdir().unwrap();
        let now = crate::clock::unix_time();
        for line in [b"one\n", b"two\n"] {
            let mut log = LogFile::open(scratch.path(), MAX_FILE_BYTES, now).unwrap();
            log.write(line, now).unwrap();
        }
        assert_eq!(text(&scratch, CURRENT), "one\ntwo\n");
    }

    /// Entries that cannot be renamed, deleted or read, with any name: the log opens nevertheless,
    /// and each is reported.
    #[test]
    fn foreign_entries_do_not_prevent_opening_the_log() {
        let scratch = tempfile::tempdir().unwrap();
        let path = |name: &str| scratch.path().join(name);
        fs::create_dir(path("node-2026-11-21.log")).unwrap();
        std::os::unix::fs::symlink("nowhere", path("node-2026-11-20.log.gz")).unwrap();
        fs::create_dir(path("node-2020-01-01.log.gz.tmp")).unwrap();
        fs::write(path("node-2026-11-19.log.gz.tmp"), "half").unwrap();
        fs::write(path("node-2026-11-19.log"), "old\n").unwrap();
        let mut log = open(&scratch, TODAY);
        log.write(b"line\n", at(TODAY)).unwrap();
        assert_eq!(text(&scratch, CURRENT), "line\n");
        log.write(b"next\n", at(TODAY + DAY)).unwrap();
        assert_eq!(text(&scratch, "node-2026-11-22.log"), "line\n");
        assert_eq!(text(&scratch, CURRENT), "next\n");
    }

    #[test]
    fn moved_file_or_directory_is_created_again_and_a_directory_has_one_writer() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = scratch.path().join("log");
        let mut log = LogFile::open(&directory, MAX_FILE_BYTES, at(TODAY)).unwrap();
        log.write(b"one\n", at(TODAY)).unwrap();
        fs::remove_file(directory.join(CURRENT)).unwrap();
        log.write(b"two\n", at(TODAY)).unwrap();
        let current = || fs::read_to_string(directory.join(CURRENT)).unwrap();
        assert_eq!(current(), "two\n");
        let second = LogFile::open(&directory, MAX_FILE_BYTES, at(TODAY)).unwrap_err();
        assert!(matches!(second, OpenError::Busy), "{second}");
        assert!(second.to_string().contains("another node"));
        fs::remove_dir_all(&directory).unwrap();
        log.write(b"three\n", at(TODAY)).unwrap();
        assert_eq!(current(), "three\n");
    }
}
