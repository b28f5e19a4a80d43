//! Output file that appears under its name only when it is complete.
//!
//! A file that is to be resumed has a name that follows from the id of the object, stays when the
//! command fails, and is locked while a command writes it. What it has is used only after a check
//! ([`verified_len`]).

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use astreum_core::atom::AtomId;
use astreum_core::manifest::LIST_BYTES;

use crate::WaitLimit;

use super::interrupt::Interrupt;
use super::new_file::cannot_create;
use super::output::Failure;
use super::pieces::{Input, split};

/// Number of bytes that are written at once.
const BUFFER_BYTES: usize = 256 << 10;
/// Number of hex digits of an id in the name of a file that can be resumed.
const ID_DIGITS: usize = 16;

/// Returns the path of an incomplete output: that of `resumed`, or one of this process alone.
pub(super) fn part_path(path: &Path, resumed: Option<&AtomId>) -> PathBuf {
    let mut name = OsString::from(path);
    match resumed {
        Some(id) => {
            let id = id.to_string();
            name.push(format!(".{}.part", id.get(..ID_DIGITS).unwrap_or(&id)));
        }
        None => name.push(format!(".{}.part", std::process::id())),
    }
    PathBuf::from(name)
}

/// Locks an incomplete output that several commands could resume.
pub(super) fn lock(file: &File, path: &Path) -> Result<(), Failure> {
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => Failure::Failed(format!(
            "{}: another command is writing it; wait for its end",
            path.display()
        )),
        TryLockError::Error(error) => Failure::Failed(format!("{}: {error}", path.display())),
    })
}

/// Checks that the disk of a path has room for so many bytes. A manifest of a few bytes can state any
/// size.
pub(super) fn check_free(what: &str, path: &Path, needed: u64) -> Result<(), Failure> {
    let Ok(disk) = rustix::fs::statvfs(path) else {
        return Ok(());
    };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    match needed > free {
        true => Err(Failure::Failed(format!(
            "the {what} has {needed} bytes to write, and the disk has room for {free}; nothing was \
             written"
        ))),
        false => Ok(()),
    }
}

/// Returns how many bytes at the start of a file are those of these lists, up to the end of the last
/// list that is complete. `size` is the size of all lists, `None` for a single list of unknown size.
pub(super) fn verified_len(file: &File, lists: &[AtomId], size: Option<u64>) -> io::Result<u64> {
    let input = Input::of_file(file)?;
    let (len, mut verified) = (input.len(), 0);
    for expected in lists {
        let end = match size {
            Some(size) => size.min(verified + LIST_BYTES),
            None => len,
        };
        let is_empty = end == verified && size != Some(0);
        if end > len || is_empty {
            break;
        }
        let id = split::<io::Error>(&input, verified..end, &mut |_, _| Ok(()), &|error| error)?;
        if id != *expected {
            break;
        }
        verified = end;
    }
    Ok(verified)
}

/// File that appears under its name only when it is complete. An existing entry that is not a
/// regular file, such as a pipe or a device, is written to directly.
pub(super) struct Partial {
    path: PathBuf,
    temporary: Option<PathBuf>,
    /// Whether the temporary file stays if the command fails.
    is_kept: bool,
    file: BufWriter<File>,
    /// Signals that would leave the temporary file behind.
    interrupt: Option<Interrupt>,
}

impl Partial {
    /// Checks that the disk has room for a file of this size.
    pub(super) fn check_room(&self, size: u64) -> Result<(), Failure> {
        let Some(path) = &self.temporary else {
            return Ok(());
        };
        let present = fs::metadata(path).map_or(0, |metadata| metadata.len());
        check_free("file", path, size.saturating_sub(present))
    }

    /// Creates the file, or opens the incomplete one of this object if it is to be resumed.
    pub(super) fn create(path: &Path, resumed: Option<&AtomId>) -> Result<Self, Failure> {
        let failed = |path: &Path, error| Failure::Failed(format!("{}: {error}", path.display()));
        // The target of a link is written, so that the link is kept.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let is_special = fs::metadata(&path).is_ok_and(|metadata| !metadata.is_file());
        if is_special {
            let file = OpenOptions::new().write(true).open(&path);
            return Ok(Self {
                file: BufWriter::new(file.map_err(|error| failed(&path, error))?),
                path,
                temporary: None,
                is_kept: false,
                interrupt: None,
            });
        }
        let temporary = part_path(&path, resumed);
        let interrupt = Interrupt::watch().map_err(|error| failed(&path, error))?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).truncate(false);
        match resumed {
            Some(_) => {
                let flags = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits());
                options.create(true);
                options.custom_flags(flags.unwrap_or_default());
            }
            None => {
                options.create_new(true);
            }
        }
        let file = options
            .open(&temporary)
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => Failure::Failed(cannot_create(&path, &error)),
                io::ErrorKind::PermissionDenied => failed(&path, error),
                // Other errors do not concern the path that the user gave.
                _ => failed(&temporary, error),
            })?;
        if resumed.is_some() {
            lock(&file, &temporary)?;
        }
        Ok(Self {
            path,
            temporary: Some(temporary),
            is_kept: resumed.is_some(),
            file: BufWriter::with_capacity(BUFFER_BYTES, file),
            interrupt: Some(interrupt),
        })
    }

    /// Keeps what the file has of these lists, see [`verified_len`]; the rest is to be written. Returns
    /// the number of bytes that are kept.
    pub(super) fn keep_verified(
        &mut self,
        lists: &[AtomId],
        size: Option<u64>,
    ) -> Result<u64, Failure> {
        if !self.is_kept {
            return Ok(0);
        }
        let file = self.file.get_mut();
        let kept = verified_len(file, lists, size).and_then(|len| {
            file.set_len(len)?;
            file.seek(SeekFrom::Start(len))
        });
        kept.map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &io::Error) -> Failure {
        Failure::Failed(format!("{}: {error}", self.path.display()))
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if let Some(interrupt) = &self.interrupt {
            interrupt.check()?;
        }
        self.file
            .write_all(bytes)
            .map_err(|error| self.failed(&error))
    }

    /// Removes the file: the object turned out not to be a file.
    pub(super) fn discard(mut self) {
        self.is_kept = false;
    }

    /// Returns the limit that ends waits once a signal interrupts the command.
    pub(super) fn limit(&self) -> WaitLimit {
        let interrupt = self.interrupt.as_ref();
        interrupt.map_or(WaitLimit::NONE, Interrupt::limit)
    }

    /// Completes the file if all of it was written; else removes it, unless it can be resumed. If a
    /// signal interrupted the command, ends the process by that signal.
    pub(super) fn finish(mut self, written: Result<(), Failure>) -> Result<(), Failure> {
        let written = written.and_then(|()| {
            let flushed = self.file.flush();
            flushed.map_err(|error| self.failed(&error))
        });
        let interrupt = self.interrupt.take();
        if let Some(interrupt) = interrupt.filter(Interrupt::is_received) {
            let path = self.path.display().to_string();
            let kept = if self.is_kept {
                "; --resume keeps complete lists of it, and writes the rest again"
            } else {
                ""
            };
            // Removes the file.
            drop(self);
            interrupt.end(&format!("interrupted: {path} was not written{kept}"));
            return Err(Failure::Reported);
        }
        written?;
        if let Some(temporary) = &self.temporary {
            fs::rename(temporary, &self.path).map_err(|error| self.failed(&error))?;
            self.temporary = None;
        }
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            if self.is_kept {
                // For the next command.
                let _ = self.file.flush();
                return;
            }
            let _ = fs::remove_file(temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use astreum_core::atom::bytes_list;

    fn id_of(bytes: &[u8]) -> AtomId {
        bytes_list(&bytes.chunks(3_900).collect::<Vec<_>>()).0
    }

    #[test]
    fn resumed_file_keeps_only_what_is_verified() {
        let folder = tempfile::tempdir().unwrap();
        let (path, content) = (folder.path().join("out"), vec![7; 10_000]);
        let id = id_of(&content);
        let part = part_path(&path, Some(&id));
        let kept = |found: &[u8], size| {
            fs::write(&part, found).unwrap();
            let mut partial = Partial::create(&path, Some(&id)).unwrap();
            let kept = partial.keep_verified(&[id], size).unwrap();
            let other = Partial::create(&path, Some(&id)).map(drop);
            assert!(
                format!("{other:?}").contains("another command"),
                "{other:?}"
            );
            drop(partial);
            assert_eq!(fs::metadata(&part).unwrap().len(), kept);
            kept
        };
        let mut changed = content.clone();
        changed[5] = 8;
        for size in [None, Some(10_000)] {
            assert_eq!(kept(&content, size), 10_000);
            assert_eq!(kept(&content[..9_999], size), 0);
            assert_eq!(kept(&changed, size), 0);
            assert_eq!(kept(b"", size), 0);
        }
        let longer = [&content[..], b"x"].concat();
        assert_eq!(kept(&longer, Some(10_000)), 10_000, "the rest is cut off");
        assert_eq!(kept(&longer, None), 0);
        assert!(!path.exists());
        // Without resumption nothing stays.
        let partial = Partial::create(&path, None).unwrap();
        let temporary = partial.temporary.clone().unwrap();
        assert!(temporary.exists());
        drop(partial);
        assert!(!temporary.exists());
    }

    #[test]
    fn link_in_the_place_of_an_incomplete_file_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, target) = (folder.path().join("out"), folder.path().join("target"));
        fs::write(&target, "content").unwrap();
        let id = id_of(b"x");
        std::os::unix::fs::symlink(&target, part_path(&path, Some(&id))).unwrap();
        assert!(Partial::create(&path, Some(&id)).is_err());
        assert_eq!(fs::read(&target).unwrap(), b"content");
    }
}
