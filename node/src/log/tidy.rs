//! Retention and compression of rotated log files.
//!
//! Deletions come first and run synchronously: they make room on a full disk. Compression takes
//! seconds for a large file and runs on a separate thread. Each file is handled independently: one
//! that cannot be deleted or compressed is reported and does not affect the others.
//!
//! A file is compressed into a temporary file that is renamed when it is complete, so that a crash
//! leaves its lines in the plain file, which the next start compresses.

use core::sync::atomic::{AtomicBool, Ordering};
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::date::Date;
use super::names::{Kind, Name, next_name, rotated};

/// Maximum total size in bytes of the rotated files of a directory; the oldest are deleted beyond
/// that.
pub(super) const MAX_ROTATED_BYTES: u64 = 1 << 30;
/// Number of bytes compressed at a time, so that a stop takes effect soon.
const CHUNK_BYTES: usize = 64 << 10;

/// Retention limits for rotated files.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retention {
    pub(super) days: u32,
    pub(super) max_bytes: u64,
    pub(super) today: Date,
    /// `true` if the date is reliable. Otherwise the newest days that have files are kept.
    pub(super) is_trusted: bool,
}

/// Deletes expired files and the oldest ones beyond the size limit; returns the problems.
pub(super) fn delete_old(directory: &Path, retention: Retention) -> Vec<String> {
    let mut problems = Vec::new();
    let files = match rotated(directory) {
        Ok(files) => files,
        Err(error) => return vec![format!("{}: {error}", directory.display())],
    };
    let Retention {
        days,
        today,
        is_trusted,
        ..
    } = retention;
    let oldest = today.before(u64::from(days));
    let with_files: BTreeSet<Date> = files.iter().map(|file| file.name.day).collect();
    let newest: Vec<Date> = with_files.into_iter().rev().take(days as usize).collect();
    let mut kept = Vec::new();
    for file in files {
        if !file.is_file {
            problems.push(format!("{}: not a file", file.path.display()));
            continue;
        }
        let name = file.name;
        let is_old = match is_trusted {
            true => name.day < oldest || days == 0,
            false => !newest.contains(&name.day),
        };
        if is_old {
            note(
                &mut problems,
                &file.path,
                "delete",
                fs::remove_file(&file.path),
            );
        } else if is_trusted && name.day > today.after(1) {
            // Written while the clock was wrong; from now on it expires like a file of today.
            let renamed = next_name(directory, today)
                .map(|to| Name {
                    day: to.day,
                    number: to.number,
                    kind: name.kind,
                })
                .and_then(|to| fs::rename(&file.path, to.path(directory)));
            note(&mut problems, &file.path, "rename", renamed);
        } else {
            kept.push(file);
        }
    }
    let mut bytes: u64 = kept.iter().map(|file| file.len).sum();
    for file in kept {
        if bytes <= retention.max_bytes {
            break;
        }
        bytes -= file.len;
        note(
            &mut problems,
            &file.path,
            "delete",
            fs::remove_file(&file.path),
        );
    }
    problems
}

/// Removes interrupted compressions. Must not be called during a compression.
pub(super) fn delete_unfinished(directory: &Path) -> Vec<String> {
    let mut problems = Vec::new();
    for file in rotated(directory).unwrap_or_default() {
        if file.name.kind == Kind::Unfinished && file.is_file {
            note(
                &mut problems,
                &file.path,
                "delete",
                fs::remove_file(&file.path),
            );
        }
    }
    problems
}

/// Returns whether a rotated file is not compressed yet.
pub(super) fn has_plain(directory: &Path) -> bool {
    let files = rotated(directory).unwrap_or_default();
    files
        .iter()
        .any(|file| file.name.kind == Kind::Plain && file.is_file)
}

/// Compresses all rotated files that are still plain, until `stop` is set; returns the problems.
pub(super) fn compress_all(directory: &Path, stop: &AtomicBool) -> Vec<String> {
    let mut problems = Vec::new();
    for file in rotated(directory).unwrap_or_default() {
        if file.name.kind == Kind::Plain && file.is_file && !stop.load(Ordering::Relaxed) {
            let compressed = compress(directory, file.name, stop);
            note(&mut problems, &file.path, "compress", compressed);
        }
    }
    problems
}

fn compress(directory: &Path, name: Name, stop: &AtomicBool) -> io::Result<()> {
    let plain = name.path(directory);
    let of_kind = |kind| Name { kind, ..name }.path(directory);
    let (packed, unfinished) = (of_kind(Kind::Packed), of_kind(Kind::Unfinished));
    let written = compress_into(&plain, &unfinished, stop);
    match written {
        Ok(true) => {}
        Ok(false) | Err(_) => {
            let _ = fs::remove_file(&unfinished);
            return written.map(drop);
        }
    }
    // An existing file is never overwritten.
    let target = match fs::symlink_metadata(&packed) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => packed,
        _ => {
            let next = next_name(directory, name.day)?;
            let kind = Kind::Packed;
            Name { kind, ..next }.path(directory)
        }
    };
    fs::rename(&unfinished, target)?;
    match fs::remove_file(&plain) {
        // Deleted meanwhile to make room.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Compresses `plain` into `unfinished`; returns `false` if it was stopped.
fn compress_into(plain: &Path, unfinished: &Path, stop: &AtomicBool) -> io::Result<bool> {
    let mut options = OpenOptions::new();
    let options = options.create(true).truncate(true).write(true).mode(0o600);
    let mut plain = File::open(plain)?;
    let mut encoder = GzEncoder::new(
        BufWriter::new(options.open(unfinished)?),
        Compression::default(),
    );
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        if stop.load(Ordering::Relaxed) {
            return Ok(false);
        }
        match plain.read(&mut chunk) {
            Ok(0) => break,
            Ok(len) => encoder.write_all(chunk.get(..len).unwrap_or_default())?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let file = encoder.finish()?.into_inner().map_err(io::Error::from)?;
    file.sync_all()?;
    Ok(true)
}

fn note(problems: &mut Vec<String>, path: &Path, operation: &str, result: io::Result<()>) {
    if let Err(error) = result {
        let path = path.display();
        problems.push(format!("cannot {operation} {path}: {error}"));
    }
}

/// Thread that compresses rotated files.
#[derive(Debug)]
pub(super) struct Packer {
    thread: JoinHandle<()>,
    stop: Arc<AtomicBool>,
    problems: Arc<Mutex<Vec<String>>>,
}

/// Function that compresses the files of a directory until the flag is set, and returns the
/// problems.
pub(super) type Pack = fn(&Path, &AtomicBool) -> Vec<String>;

impl Packer {
    /// Starts the thread. `lock` keeps other processes out of the directory until it has ended.
    pub(super) fn start(directory: PathBuf, lock: Arc<File>, pack: Pack) -> io::Result<Self> {
        let (stop, problems) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let (stopped, found) = (Arc::clone(&stop), Arc::clone(&problems));
        let thread = thread::Builder::new()
            .name("log-pack".to_owned())
            .spawn(move || {
                let problems: Vec<String> = pack(&directory, &stopped);
                *lock_problems(&found) = problems;
                drop(lock);
            })?;
        Ok(Self {
            thread,
            stop,
            problems,
        })
    }

    /// Returns the problems once the thread has ended.
    pub(super) fn outcome(&self) -> Option<Vec<String>> {
        let is_finished = self.thread.is_finished();
        is_finished.then(|| core::mem::take(&mut *lock_problems(&self.problems)))
    }
}

impl Drop for Packer {
    fn drop(&mut self) {
        // Not joined: the thread may hang on a dead disk; the next run removes its unfinished file.
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn lock_problems(problems: &Mutex<Vec<String>>) -> std::sync::MutexGuard<'_, Vec<String>> {
    problems.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;
    use flate2::read::MultiGzDecoder;
    use tempfile::TempDir;

    /// 2026-11-22.
    const TODAY: Duration = Duration::from_secs(20_779 * 86_400);

    fn retention(days: u32) -> Retention {
        Retention {
            days,
            max_bytes: MAX_ROTATED_BYTES,
            today: Date::of(TODAY),
            is_trusted: true,
        }
    }

    fn put(scratch: &TempDir, names: &[&str]) {
        for name in names {
            fs::write(scratch.path().join(name), "x").unwrap();
        }
    }

    fn names(scratch: &TempDir) -> Vec<String> {
        let entries = fs::read_dir(scratch.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    fn unpacked(scratch: &TempDir, name: &str) -> String {
        let mut text = String::new();
        let file = File::open(scratch.path().join(name)).unwrap();
        MultiGzDecoder::new(file).read_to_string(&mut text).unwrap();
        text
    }

    fn compress_here(scratch: &TempDir) -> Vec<String> {
        compress_all(scratch.path(), &AtomicBool::new(false))
    }

    const NONE: [&str; 0] = [];

    #[test]
    fn retention_deletes_old_files_and_nothing_else() {
        let scratch = tempfile::tempdir().unwrap();
        put(
            &scratch,
            &[
                "node-2026-11-14.log.gz",
                "node-2026-11-14.3.log.gz",
                "node-2020-01-01.log",
            ],
        );
        let kept = [
            "node-2026-11-15.log.gz",
            "node-x.log.gz",
            "node.log",
            "other-2020-01-01.log.gz",
        ];
        put(&scratch, &kept);
        assert_eq!(delete_old(scratch.path(), retention(7)), NONE);
        assert_eq!(names(&scratch), kept);
        assert_eq!(delete_old(scratch.path(), retention(0)), NONE);
        assert_eq!(
            names(&scratch),
            ["node-x.log.gz", "node.log", "other-2020-01-01.log.gz"]
        );
    }

    #[test]
    fn untrusted_clock_deletes_by_number_of_days() {
        let scratch = tempfile::tempdir().unwrap();
        let days = ["2026-11-12", "2026-11-13", "2026-11-20", "2026-11-21"];
        for day in days {
            put(
                &scratch,
                &[
                    &format!("node-{day}.log.gz"),
                    &format!("node-{day}.1.log.gz"),
                ],
            );
        }
        let jumped = Retention {
            today: Date::of(TODAY).after(1_000),
            is_trusted: false,
            ..retention(3)
        };
        assert_eq!(delete_old(scratch.path(), jumped), NONE);
        assert_eq!(names(&scratch).len(), 6);
        assert!(!names(&scratch)[0].contains("2026-11-12"));
        // Once the clock is trusted, the date decides.
        let settled = Retention {
            is_trusted: true,
            ..jumped
        };
        assert_eq!(delete_old(scratch.path(), settled), NONE);
        assert_eq!(names(&scratch), NONE);
    }

    #[test]
    fn file_from_the_future_ages_from_today() {
        let scratch = tempfile::tempdir().unwrap();
        put(&scratch, &["node-2026-11-22.log", "node-2099-01-01.log.gz"]);
        let doubtful = Retention {
            is_trusted: false,
            ..retention(7)
        };
        assert_eq!(delete_old(scratch.path(), doubtful), NONE);
        assert!(names(&scratch).contains(&"node-2099-01-01.log.gz".to_owned()));
        assert_eq!(delete_old(scratch.path(), retention(7)), NONE);
        assert_eq!(
            names(&scratch),
            ["node-2026-11-22.1.log.gz", "node-2026-11-22.log"]
        );
    }

    #[test]
    fn rotated_files_are_bounded_in_bytes_the_oldest_go_first() {
        let scratch = tempfile::tempdir().unwrap();
        for name in [
            "node-2026-11-20.log.gz",
            "node-2026-11-22.10.log",
            "node-2026-11-22.2.log",
            "node-2026-11-22.log",
        ] {
            fs::write(scratch.path().join(name), [7; 100]).unwrap();
        }
        let bounded = Retention {
            max_bytes: 250,
            ..retention(7)
        };
        assert_eq!(delete_old(scratch.path(), bounded), NONE);
        assert_eq!(
            names(&scratch),
            ["node-2026-11-22.10.log", "node-2026-11-22.2.log"]
        );
    }

    #[test]
    fn compression_replaces_the_file_and_overwrites_nothing() {
        let scratch = tempfile::tempdir().unwrap();
        fs::write(scratch.path().join("node-2026-11-20.log"), "left\n").unwrap();
        fs::write(scratch.path().join("node-2026-11-21.2.log"), "two\n").unwrap();
        put(&scratch, &["node-2026-11-20.log.gz", "node-mine.log"]);
        put(&scratch, &["node-2026-11-21.log.gz.tmp"]);
        assert!(has_plain(scratch.path()));
        assert_eq!(delete_unfinished(scratch.path()), NONE);
        assert_eq!(compress_here(&scratch), NONE);
        assert!(!has_plain(scratch.path()));
        assert_eq!(
            names(&scratch),
            [
                "node-2026-11-20.1.log.gz",
                "node-2026-11-20.log.gz",
                "node-2026-11-21.2.log.gz",
                "node-mine.log"
            ]
        );
        assert_eq!(unpacked(&scratch, "node-2026-11-20.1.log.gz"), "left\n");
        assert_eq!(unpacked(&scratch, "node-2026-11-21.2.log.gz"), "two\n");
        let kept = fs::read_to_string(scratch.path().join("node-2026-11-20.log.gz")).unwrap();
        assert_eq!(kept, "x");
    }

    #[test]
    fn failures_name_their_file_and_do_not_affect_others() {
        let scratch = tempfile::tempdir().unwrap();
        let path = |name: &str| scratch.path().join(name);
        fs::create_dir(path("node-2020-01-01.log.gz")).unwrap();
        fs::create_dir(path("node-2026-11-20.log.gz.tmp")).unwrap();
        std::os::unix::fs::symlink("nowhere", path("node-2026-11-19.log")).unwrap();
        put(&scratch, &["node-2019-01-01.log", "node-2021-01-01.log"]);
        put(&scratch, &["node-2026-11-20.log", "node-2026-11-21.log"]);
        let problems = delete_old(scratch.path(), retention(7));
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert!(problems[0].contains("node-2020-01-01.log.gz"));
        assert!(!path("node-2019-01-01.log").exists() && !path("node-2021-01-01.log").exists());
        // The directory has the name of the first file's compressed form.
        let problems = compress_here(&scratch);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].contains("cannot compress") && problems[0].contains("2026-11-20.log"));
        assert!(path("node-2026-11-20.log").exists());
        assert_eq!(unpacked(&scratch, "node-2026-11-21.log.gz"), "x");
    }

    #[test]
    fn stopped_compression_leaves_the_plain_file_alone() {
        let scratch = tempfile::tempdir().unwrap();
        put(&scratch, &["node-2026-11-20.log"]);
        let stop = AtomicBool::new(true);
        let name = Name::parse("node-2026-11-20.log").unwrap();
        compress(scratch.path(), name, &stop).unwrap();
        assert_eq!(names(&scratch), ["node-2026-11-20.log"]);
    }
}
