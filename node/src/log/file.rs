//! `node.log`: appended to, rotated at midnight UTC, compressed, and in the end deleted.
//!
//! A day's file is renamed first and compressed then, into a temporary name that becomes the final
//! one when it is complete; so a crash at any point leaves the day's lines either in
//! `node-YYYY-MM-DD.log`, which the next start compresses, or complete in `….log.gz`. A name that
//! is taken is never written over: the newer file gets `node-YYYY-MM-DD.1.log.gz` and so on.

use core::time::Duration;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::date::Date;

const CURRENT: &str = "node.log";
const PREFIX: &str = "node-";
const PLAIN_SUFFIX: &str = ".log";
const PACKED_SUFFIX: &str = ".log.gz";
const UNFINISHED_SUFFIX: &str = ".log.gz.tmp";
/// Files of one day that are told apart; beyond that the day's file stays where it is.
const MAX_FILES_A_DAY: u32 = 10_000;

/// An open `node.log` and the rotation around it.
#[derive(Debug)]
pub(super) struct LogFile {
    directory: PathBuf,
    retention_days: u32,
    file: File,
    /// The day that the file's lines are of.
    day: Date,
    /// Whether the last write may have left half a line.
    torn: bool,
    _lock: File,
}

impl LogFile {
    /// Opens the log in `directory`, which is made if need be, and tidies up what earlier runs
    /// left: a file of an earlier day is rotated, an interrupted compression is done again.
    pub(super) fn open(directory: &Path, retention_days: u32, now: Duration) -> io::Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
        let lock = lock(directory)?;
        let today = Date::of(now);
        let current = directory.join(CURRENT);
        if let Some(day) = day_of_content(&current)?
            && day < today
        {
            set_aside(directory, day)?;
        }
        let file = open_current(directory)?;
        let log = Self {
            directory: directory.to_owned(),
            retention_days,
            file,
            day: today,
            torn: false,
            _lock: lock,
        };
        log.tidy(today)?;
        Ok(log)
    }

    /// Appends whole lines, which were made at `now`.
    pub(super) fn write(&mut self, lines: &[u8], now: Duration) -> io::Result<()> {
        self.rotate(now)?;
        self.reopen_if_moved()?;
        if self.torn {
            self.file.write_all(b"\n")?;
        }
        self.torn = true;
        self.file.write_all(lines)?;
        self.torn = false;
        Ok(())
    }

    /// Starts a new file if a new day has begun.
    pub(super) fn rotate(&mut self, now: Duration) -> io::Result<()> {
        let today = Date::of(now);
        // A clock that was set back does not make a day twice.
        if today <= self.day {
            return Ok(());
        }
        if fs::metadata(self.directory.join(CURRENT)).is_ok_and(|data| data.len() > 0) {
            set_aside(&self.directory, self.day)?;
        }
        self.day = today;
        self.file = open_current(&self.directory)?;
        self.torn = false;
        self.tidy(today)
    }

    /// Makes sure that everything is on the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Somebody may have moved or deleted the file; lines that nobody can find help nobody.
    fn reopen_if_moved(&mut self) -> io::Result<()> {
        let path = self.directory.join(CURRENT);
        let at_path = fs::metadata(path).ok().map(|data| (data.dev(), data.ino()));
        let ours = self.file.metadata()?;
        if at_path != Some((ours.dev(), ours.ino())) {
            self.file = open_current(&self.directory)?;
        }
        Ok(())
    }

    /// Compresses what was set aside, and deletes what is past its time.
    fn tidy(&self, today: Date) -> io::Result<()> {
        let oldest = today.before(u64::from(self.retention_days));
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                continue;
            };
            let Some((day, suffix)) = rotated(name) else {
                continue;
            };
            if suffix == UNFINISHED_SUFFIX || day < oldest {
                fs::remove_file(&path)?;
            } else if suffix == PLAIN_SUFFIX {
                compress(&self.directory, &path, day)?;
            }
        }
        Ok(())
    }
}

fn open_current(directory: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let options = options.create(true).append(true).mode(0o600);
    options.open(directory.join(CURRENT))
}

/// One process writes and rotates one directory.
fn lock(directory: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let options = options.create(true).truncate(false).write(true).mode(0o600);
    let file = options.open(directory.join(".lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(io::Error::other(
            "another node writes its log here; give this one a log_dir of its own",
        )),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// The day of the last line of a file, `None` without any.
fn day_of_content(path: &Path) -> io::Result<Option<Date>> {
    match fs::metadata(path) {
        Ok(data) if data.len() == 0 => Ok(None),
        Ok(data) => {
            let modified = data.modified()?.duration_since(UNIX_EPOCH);
            Ok(Some(Date::of(modified.unwrap_or_default())))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The day and the kind of a rotated file, `None` for any other.
fn rotated(name: &str) -> Option<(Date, &'static str)> {
    let rest = name.strip_prefix(PREFIX)?;
    let suffix = [UNFINISHED_SUFFIX, PACKED_SUFFIX, PLAIN_SUFFIX]
        .into_iter()
        .find(|suffix| rest.ends_with(suffix))?;
    let stem = rest.strip_suffix(suffix)?;
    let (day, number) = stem.split_once('.').unwrap_or((stem, "0"));
    number.parse::<u32>().ok()?;
    Some((day.parse().ok()?, suffix))
}

/// The first free name for a file of `day`.
fn free_name(directory: &Path, day: Date, suffix: &str) -> io::Result<PathBuf> {
    let name = |number: u32| match number {
        0 => format!("{PREFIX}{day}{suffix}"),
        _ => format!("{PREFIX}{day}.{number}{suffix}"),
    };
    (0..MAX_FILES_A_DAY)
        .map(|number| directory.join(name(number)))
        .find(|path| fs::symlink_metadata(path).is_err())
        .ok_or_else(|| io::Error::other(format!("{day} has too many log files")))
}

fn set_aside(directory: &Path, day: Date) -> io::Result<()> {
    let aside = free_name(directory, day, PLAIN_SUFFIX)?;
    fs::rename(directory.join(CURRENT), aside)
}

fn compress(directory: &Path, plain: &Path, day: Date) -> io::Result<()> {
    let packed = free_name(directory, day, PACKED_SUFFIX)?;
    let unfinished = packed.with_extension("gz.tmp");
    let mut options = OpenOptions::new();
    let options = options.create(true).truncate(true).write(true).mode(0o600);
    let mut encoder = GzEncoder::new(
        BufWriter::new(options.open(&unfinished)?),
        Compression::default(),
    );
    io::copy(&mut File::open(plain)?, &mut encoder)?;
    let file = encoder.finish()?.into_inner().map_err(io::Error::from)?;
    file.sync_all()?;
    fs::rename(&unfinished, &packed)?;
    fs::remove_file(plain)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::time::SystemTime;

    use flate2::read::MultiGzDecoder;

    use crate::scratch::Scratch;

    use super::*;

    const DAY: u64 = 86_400;
    /// 2026-11-22.
    const TODAY: u64 = 20_779 * DAY;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn names(scratch: &Scratch) -> Vec<String> {
        let entries = fs::read_dir(scratch.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name != ".lock").collect();
        names.sort();
        names
    }

    fn unpacked(scratch: &Scratch, name: &str) -> String {
        let mut text = String::new();
        let file = File::open(scratch.path().join(name)).unwrap();
        MultiGzDecoder::new(file).read_to_string(&mut text).unwrap();
        text
    }

    fn current(scratch: &Scratch) -> String {
        fs::read_to_string(scratch.path().join(CURRENT)).unwrap()
    }

    #[test]
    fn midnight_starts_a_new_file_and_packs_the_old_one() {
        let scratch = Scratch::new("log-midnight");
        let mut log = LogFile::open(scratch.path(), 7, at(TODAY)).unwrap();
        log.write(b"one\n", at(TODAY + 5)).unwrap();
        log.write(b"two\n", at(TODAY + DAY - 1)).unwrap();
        assert_eq!(names(&scratch), ["node.log"]);
        log.write(b"three\n", at(TODAY + DAY)).unwrap();
        assert_eq!(names(&scratch), ["node-2026-11-22.log.gz", "node.log"]);
        assert_eq!(unpacked(&scratch, "node-2026-11-22.log.gz"), "one\ntwo\n");
        assert_eq!(current(&scratch), "three\n");
        // Midnight comes without anything to log, too, and a clock set back changes nothing.
        log.rotate(at(TODAY + 2 * DAY)).unwrap();
        log.write(b"four\n", at(TODAY)).unwrap();
        assert_eq!(unpacked(&scratch, "node-2026-11-23.log.gz"), "three\n");
        assert_eq!(current(&scratch), "four\n");
    }

    #[test]
    fn a_file_of_an_earlier_day_is_rotated_on_start() {
        let scratch = Scratch::new("log-start");
        let path = scratch.path().join(CURRENT);
        fs::write(&path, "old\n").unwrap();
        let yesterday = SystemTime::UNIX_EPOCH + at(TODAY - 9);
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(yesterday)
            .unwrap();
        let mut log = LogFile::open(scratch.path(), 7, at(TODAY)).unwrap();
        log.write(b"new\n", at(TODAY)).unwrap();
        assert_eq!(unpacked(&scratch, "node-2026-11-21.log.gz"), "old\n");
        assert_eq!(current(&scratch), "new\n");
    }

    #[test]
    fn a_restart_on_the_same_day_goes_on_in_the_same_file() {
        let scratch = Scratch::new("log-restart");
        let now = crate::clock::unix_time();
        LogFile::open(scratch.path(), 7, now)
            .unwrap()
            .write(b"one\n", now)
            .unwrap();
        LogFile::open(scratch.path(), 7, now)
            .unwrap()
            .write(b"two\n", now)
            .unwrap();
        assert_eq!(current(&scratch), "one\ntwo\n");
    }

    #[test]
    fn what_a_crash_left_is_packed_and_nothing_is_written_over() {
        let scratch = Scratch::new("log-crash");
        let put = |name: &str, text: &str| fs::write(scratch.path().join(name), text).unwrap();
        put("node-2026-11-20.log", "left\n");
        put("node-2026-11-20.log.gz", "somebody's");
        put("node-2026-11-21.log.gz.tmp", "half");
        put("node-mine.log", "not ours");
        LogFile::open(scratch.path(), 7, at(TODAY)).unwrap();
        assert_eq!(
            names(&scratch),
            [
                "node-2026-11-20.1.log.gz",
                "node-2026-11-20.log.gz",
                "node-mine.log",
                "node.log"
            ]
        );
        assert_eq!(unpacked(&scratch, "node-2026-11-20.1.log.gz"), "left\n");
        let kept = fs::read_to_string(scratch.path().join("node-2026-11-20.log.gz")).unwrap();
        assert_eq!(kept, "somebody's");
    }

    #[test]
    fn retention_deletes_what_is_older_and_nothing_else() {
        let scratch = Scratch::new("log-retention");
        let put = |name: &str| fs::write(scratch.path().join(name), "x").unwrap();
        let old = [
            "node-2026-11-14.log.gz",
            "node-2026-11-14.3.log.gz",
            "node-2020-01-01.log",
        ];
        let kept = [
            "node-2026-11-15.log.gz",
            "node-x.log.gz",
            "other-2020-01-01.log.gz",
        ];
        old.iter().chain(&kept).for_each(|name| put(name));
        let mut log = LogFile::open(scratch.path(), 7, at(TODAY)).unwrap();
        let [first, second, third] = kept;
        assert_eq!(names(&scratch), [first, second, "node.log", third]);
        log.retention_days = 0;
        log.write(b"today\n", at(TODAY)).unwrap();
        log.rotate(at(TODAY + DAY)).unwrap();
        assert_eq!(
            names(&scratch),
            ["node-x.log.gz", "node.log", "other-2020-01-01.log.gz"]
        );
    }

    #[test]
    fn a_file_that_was_moved_is_made_again_and_a_directory_has_one_writer() {
        let scratch = Scratch::new("log-moved");
        let mut log = LogFile::open(scratch.path(), 7, at(TODAY)).unwrap();
        log.write(b"one\n", at(TODAY)).unwrap();
        fs::remove_file(scratch.path().join(CURRENT)).unwrap();
        log.write(b"two\n", at(TODAY)).unwrap();
        assert_eq!(current(&scratch), "two\n");
        let second = LogFile::open(scratch.path(), 7, at(TODAY));
        assert!(second.unwrap_err().to_string().contains("another node"));
    }
}
