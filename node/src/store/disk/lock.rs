//! Exclusive lock of a cold storage directory.
//!
//! Three locks are held, each against another way of opening the same path twice:
//!
//! | lock on | refuses a second opener after |
//! | --- | --- |
//! | `LOCK` in the directory | no change; older versions know only this lock |
//! | the directory itself | `LOCK` was removed |
//! | `.<name>.lock` beside the directory | the directory was removed or moved, and created again |
//!
//! All are advisory locks of the operating system, which releases them when the process ends in any
//! way. If the system cannot lock a directory (some network file systems) or the parent directory
//! is not writable, only the other locks apply.

use super::FileId;
use super::metadata::{file_id, is_read_only};
use core::fmt;
use core::time::Duration;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::thread;

/// Name of the lock file in the directory.
const LOCK: &str = "LOCK";
/// Attempts to lock a file that other openers remove meanwhile.
const ATTEMPTS: usize = 16;

/// Number of times that a busy lock is tried again, and the pause before each.
const BUSY_RETRIES: usize = 5;
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// Path that no longer leads to the locked file or directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Displaced {
    /// Path that was locked.
    pub path: PathBuf,
    /// True if the path leads nowhere; otherwise it leads to another file or directory.
    pub is_missing: bool,
}

impl fmt::Display for Displaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.is_missing {
            "was removed or moved away"
        } else {
            "was replaced by another"
        };
        write!(f, "{} {what} while it was open", self.path.display())
    }
}

/// Held lock. Dropping it releases the directory.
pub trait DirLock: Send + Sync {
    /// Checks that the path still leads to the locked directory, and `LOCK` in it to the locked
    /// file. Returns the first path that does not.
    ///
    /// # Errors
    /// Fails if the disk cannot report it.
    fn displaced(&self) -> io::Result<Option<Displaced>>;
}

/// Lock on files of the operating system.
#[derive(Debug)]
pub(super) struct SystemLock {
    root: Held,
    lock: Option<Held>,
    _beside: Option<Beside>,
}

/// Open file and the path that it was opened at.
#[derive(Debug)]
struct Held {
    path: PathBuf,
    id: FileId,
    _file: File,
}

impl Held {
    fn new(path: PathBuf, file: File) -> io::Result<Self> {
        let id = file_id(&file.metadata()?);
        Ok(Self {
            path,
            id,
            _file: file,
        })
    }

    fn displaced(&self) -> io::Result<Option<Displaced>> {
        let displaced = |is_missing| {
            let path = self.path.clone();
            Some(Displaced { path, is_missing })
        };
        match fs::metadata(&self.path) {
            Ok(metadata) if file_id(&metadata) == self.id => Ok(None),
            Ok(_) => Ok(displaced(false)),
            Err(error) if is_gone(&error) => Ok(displaced(true)),
            Err(error) => Err(error),
        }
    }
}

/// Lock file beside the directory.
#[derive(Debug)]
struct Beside {
    path: PathBuf,
    /// True if the file is removed when the lock is released.
    is_removed: bool,
    _file: File,
}

impl Drop for Beside {
    fn drop(&mut self) {
        if !self.is_removed {
            return;
        }
        // The file is still locked, so only an opener that waits for the lock can have it open.
        // That opener finds the name gone, and starts over.
        let _ = fs::remove_file(&self.path);
    }
}

impl SystemLock {
    /// Locks `root`; files for it may be created only if `writable` is set. A lock that is busy is
    /// tried again for a tenth of a second: a child of this process has it between its fork and the
    /// start of its program, also if it was released meanwhile.
    pub(super) fn take(root: &Path, writable: bool) -> io::Result<Option<Self>> {
        for _ in 0..BUSY_RETRIES {
            if let Some(lock) = Self::try_take(root, writable)? {
                return Ok(Some(lock));
            }
            thread::sleep(BUSY_PAUSE);
        }
        Self::try_take(root, writable)
    }

    fn try_take(root: &Path, writable: bool) -> io::Result<Option<Self>> {
        let beside = match lock_beside(root, writable) {
            Attempt::Locked(beside) => Some(beside),
            Attempt::Busy => return Ok(None),
            Attempt::Unavailable => None,
        };
        let directory = File::open(root)?;
        match directory.try_lock() {
            Err(TryLockError::WouldBlock) => return Ok(None),
            // Not every file system locks directories.
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        let path = root.join(LOCK);
        let lock = match open_lock(&path, writable)? {
            None => None,
            Some(file) => match file.try_lock() {
                Ok(()) => Some(Held::new(path, file)?),
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error),
            },
        };
        Ok(Some(Self {
            root: Held::new(root.to_owned(), directory)?,
            lock,
            _beside: beside,
        }))
    }
}

impl DirLock for SystemLock {
    fn displaced(&self) -> io::Result<Option<Displaced>> {
        match self.root.displaced()? {
            None => self.lock.as_ref().map_or(Ok(None), Held::displaced),
            displaced => Ok(displaced),
        }
    }
}

/// Opens `LOCK`, creating it if possible. Returns `None` on a read-only disk without the file.
fn open_lock(path: &Path, writable: bool) -> io::Result<Option<File>> {
    if writable {
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        match options.open(path) {
            Err(error) if is_read_only(&error) => {}
            opened => return opened.map(Some),
        }
    }
    match File::open(path) {
        // No node of ours has it open.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some),
    }
}

enum Attempt {
    Locked(Beside),
    Busy,
    Unavailable,
}

/// Locks the path of the directory by a file beside it. If that is unavailable, the path is not
/// protected against a replaced directory.
fn lock_beside(root: &Path, writable: bool) -> Attempt {
    let absolute = std::path::absolute(root);
    let Some((parent, name)) = absolute
        .as_deref()
        .ok()
        .and_then(|path| path.parent().zip(path.file_name()))
    else {
        return Attempt::Unavailable;
    };
    let mut file_name = std::ffi::OsString::from(".");
    file_name.push(name);
    file_name.push(".lock");
    let path = parent.join(file_name);
    for _ in 0..ATTEMPTS {
        let mut options = OpenOptions::new();
        options.read(true);
        if writable {
            options.write(true).create(true).truncate(false).mode(0o600);
        }
        let Ok(file) = options.open(&path) else {
            return Attempt::Unavailable;
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Attempt::Busy,
            Err(TryLockError::Error(_)) => return Attempt::Unavailable,
        }
        // The previous holder may have removed the name after this opener opened it.
        let ours = file.metadata().map(|metadata| file_id(&metadata));
        let named = fs::metadata(&path).map(|metadata| file_id(&metadata));
        if matches!((ours, named), (Ok(ours), Ok(named)) if ours == named) {
            return Attempt::Locked(Beside {
                path,
                is_removed: writable,
                _file: file,
            });
        }
    }
    Attempt::Busy
}

/// Returns whether the error means that the path leads nowhere.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(root: &Path) -> Option<SystemLock> {
        SystemLock::take(root, true).unwrap()
    }

    #[test]
    fn locked_directory_has_one_opener_even_if_files_are_removed() {
        type Change = fn(&Path);
        let changes: [(&str, Change); 4] = [
            ("nothing", |_| ()),
            ("LOCK removed", |root| {
                fs::remove_file(root.join(LOCK)).unwrap();
            }),
            ("directory recreated", |root| {
                fs::remove_dir_all(root).unwrap();
                fs::create_dir(root).unwrap();
            }),
            ("directory moved away", |root| {
                fs::rename(root, root.with_extension("moved")).unwrap();
                fs::create_dir(root).unwrap();
            }),
        ];
        for (name, change) in changes {
            let scratch = tempfile::tempdir().unwrap();
            let root = scratch.path().join("cold");
            fs::create_dir(&root).unwrap();
            let lock = take(&root).unwrap();
            assert_eq!(lock.displaced().unwrap(), None, "{name}");
            change(&root);
            assert!(take(&root).is_none(), "{name}: opened twice");
            let displaced = lock.displaced().unwrap();
            assert_eq!(
                displaced.is_none(),
                name == "nothing",
                "{name}: {displaced:?}"
            );
            drop(lock);
            let lock = take(&root).unwrap();
            assert_eq!(lock.displaced().unwrap(), None, "{name}");
            drop(lock);
            let beside = scratch.path().join(".cold.lock");
            assert!(!beside.exists(), "{name}: the lock file is left");
        }
    }

    #[test]
    fn reader_creates_no_lock_and_respects_one() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().join("cold");
        fs::create_dir(&root).unwrap();
        let reader = SystemLock::take(&root, false).unwrap().unwrap();
        assert!(take(&root).is_none());
        assert_eq!(reader.displaced().unwrap(), None);
        drop(reader);
        assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
        let writer = take(&root).unwrap();
        assert!(SystemLock::take(&root, false).unwrap().is_none());
        drop(writer);
    }
}
