//! File that saves the mempool across restarts.
//!
//! Core defines the content ([`saved`]); this module appends to the file and replaces it. A
//! transaction that a local user waits for is forced to the disk; other writes are left to the
//! system.
//!
//! Invariants:
//! - After a failed write, the file is cut back to its previous end or removed.
//! - A replacement takes effect completely or not at all. One that failed is kept and retried with
//!   the writes that follow it: records behind damage would not be read.

use crate::log;
use astreum_core::consensus::mempool::{Save, saved};
use core::time::Duration;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Time between two attempts to replace a file that could not be replaced.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// File of one chain's mempool.
#[derive(Debug)]
pub struct MempoolFile {
    path: PathBuf,
    /// Open file and its length in bytes, after the first write.
    open: Option<(File, u64)>,
    /// Contents that the file is to be replaced with, and when that failed last.
    unsaved: Option<(Vec<u8>, Instant)>,
}

impl MempoolFile {
    /// Creates the handle of the file in a directory. Nothing is read or created.
    #[must_use]
    pub fn new(directory: &Path, chain_id: u64) -> Self {
        Self {
            path: directory.join(format!("mempool_{chain_id}")),
            open: None,
            unsaved: None,
        }
    }

    /// Returns the path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file; returns no bytes if it does not exist.
    ///
    /// # Errors
    /// Fails if the file cannot be read.
    pub fn load(&self) -> io::Result<Vec<u8>> {
        let file = match File::open(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            file => file?,
        };
        let mut bytes = Vec::new();
        // Reads one byte more than the limit, which reveals a file that is too large.
        file.take(saved::MAX_BYTES as u64 + 1)
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Executes a write that the mempool requested. After a failure, a restart may lose these
    /// transactions.
    pub fn save(&mut self, save: Save) {
        let written = match (save, self.unsaved.take()) {
            (Save::Append { bytes, .. }, Some((mut contents, failed))) => {
                contents.extend(bytes);
                if failed.elapsed() < RETRY_INTERVAL {
                    self.unsaved = Some((contents, failed));
                    return;
                }
                self.replace_or_keep(contents)
            }
            (Save::Append { bytes, is_urgent }, None) => self.append(&bytes, is_urgent),
            (Save::Replace(contents), _) => self.replace_or_keep(contents),
        };
        if let Err(error) = written
            && let Some(more) = log::limited("mempool not saved")
        {
            let path = self.path.display();
            log::warn!("failed to save the mempool to {path}: {error}{more}");
        }
    }

    fn append(&mut self, bytes: &[u8], is_urgent: bool) -> io::Result<()> {
        if self.open.is_none() {
            let mut file = OpenOptions::new()
                .create(true)
                .append(true)
                .open(&self.path)?;
            let mut len = file.metadata()?.len();
            let header_len = saved::MAGIC.len() as u64;
            if len < header_len {
                // It is new, or a crash or a full disk cut its header off.
                file.set_len(0)?;
                if let Err(error) = file.write_all(&saved::MAGIC) {
                    let _ = file.set_len(0);
                    return Err(error);
                }
                len = header_len;
                if is_urgent {
                    self.sync_directory()?;
                }
            }
            self.open = Some((file, len));
        }
        let Some((file, len)) = &mut self.open else {
            return Ok(());
        };
        let written = file.write_all(bytes);
        if let Err(error) = written {
            // Records after a torn one would not be read.
            let is_undone = file.set_len(*len).is_ok();
            if !is_undone {
                let _ = fs::remove_file(&self.path);
                self.open = None;
            }
            return Err(error);
        }
        *len += bytes.len() as u64;
        if is_urgent {
            file.sync_data()?;
        }
        Ok(())
    }

    fn replace_or_keep(&mut self, contents: Vec<u8>) -> io::Result<()> {
        let replaced = self.replace(&contents);
        if replaced.is_err() && contents.len() <= saved::MAX_BYTES {
            self.unsaved = Some((contents, Instant::now()));
        }
        replaced
    }

    fn replace(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.open = None;
        let new = self.path.with_extension("new");
        let written = File::create(&new).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
        if let Err(error) = written {
            let _ = fs::remove_file(&new);
            return Err(error);
        }
        fs::rename(&new, &self.path)?;
        self.sync_directory()
    }

    fn sync_directory(&self) -> io::Result<()> {
        let directory = self
            .path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or_else(|| Path::new(".")))?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(bytes: &[u8]) -> Save {
        Save::Append {
            bytes: bytes.to_vec(),
            is_urgent: true,
        }
    }

    fn with_header(records: &[u8]) -> Vec<u8> {
        [&saved::MAGIC[..], records].concat()
    }

    #[test]
    fn appends_after_the_header_and_replaces_atomically() {
        let scratch = tempfile::tempdir().unwrap();
        let mut file = MempoolFile::new(scratch.path(), 7);
        assert_eq!(file.load().unwrap(), b"");
        file.save(append(b"one"));
        file.save(append(b"two"));
        let expected = with_header(b"onetwo");
        assert_eq!(file.load().unwrap(), expected);
        // Another run appends to the file.
        let mut file = MempoolFile::new(scratch.path(), 7);
        file.save(append(b"three"));
        assert_eq!(file.load().unwrap(), [&expected[..], b"three"].concat());
        file.save(Save::Replace(with_header(b"anew")));
        file.save(append(b"!"));
        assert_eq!(file.load().unwrap(), with_header(b"anew!"));
        let names = fs::read_dir(scratch.path()).unwrap();
        assert_eq!(names.count(), 1, "nothing is left over");
        assert_eq!(MempoolFile::new(scratch.path(), 8).load().unwrap(), b"");
    }

    #[test]
    fn failed_replacement_is_retried_with_later_records() {
        let scratch = tempfile::tempdir().unwrap();
        let gone = scratch.path().join("gone");
        let mut file = MempoolFile::new(&gone, 7);
        file.save(append(b"one"));
        assert_eq!(file.load().unwrap(), b"");
        file.save(Save::Replace(with_header(b"two")));
        fs::create_dir(&gone).unwrap();
        // Not at once, so that a full disk is not written to with each transaction.
        file.save(append(b"three"));
        assert_eq!(file.load().unwrap(), b"");
        let failed = file.unsaved.as_mut().map(|(_, failed)| failed).unwrap();
        *failed = failed.checked_sub(RETRY_INTERVAL).unwrap();
        file.save(append(b"four"));
        assert_eq!(file.load().unwrap(), with_header(b"twothreefour"));
        file.save(append(b"!"));
        assert_eq!(file.load().unwrap(), with_header(b"twothreefour!"));
    }

    #[test]
    fn file_with_a_truncated_header_is_recreated() {
        let scratch = tempfile::tempdir().unwrap();
        let mut file = MempoolFile::new(scratch.path(), 7);
        fs::write(file.path(), &saved::MAGIC[..5]).unwrap();
        file.save(append(b"one"));
        assert_eq!(file.load().unwrap(), with_header(b"one"));
    }
}
