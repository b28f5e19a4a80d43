//! File that saves the mempool across restarts.
//!
//! Core defines the content ([`saved`]); this module appends to the file and replaces it. A
//! transaction that a local user waits for is forced to the disk; other writes are left to the
//! system.
//!
//! Invariants:
//! - After a failed write, the file is cut back to its previous end or removed.
//! - A replacement takes effect completely or not at all.

use crate::log;
use astreum_core::consensus::mempool::{Save, saved};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// File of one chain's mempool.
#[derive(Debug)]
pub struct MempoolFile {
    path: PathBuf,
    /// Open file and its length in bytes, after the first write.
    open: Option<(File, u64)>,
}

impl MempoolFile {
    /// Creates the handle of the file in a directory. Nothing is read or created.
    #[must_use]
    pub fn new(directory: &Path, chain_id: u64) -> Self {
        Self {
            path: directory.join(format!("mempool_{chain_id}")),
            open: None,
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
        let written = match save {
            Save::Append { bytes, is_urgent } => self.append(&bytes, is_urgent),
            Save::Replace(bytes) => self.replace(&bytes),
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
            if len == 0 {
                file.write_all(&saved::MAGIC)?;
                len = saved::MAGIC.len() as u64;
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
    use crate::scratch::Scratch;

    fn append(bytes: &[u8]) -> Save {
        Save::Append {
            bytes: bytes.to_vec(),
            is_urgent: true,
        }
    }

    #[test]
    fn appends_behind_the_format_and_replaces_in_one_step() {
        let scratch = Scratch::new("mempool-file");
        let mut file = MempoolFile::new(scratch.path(), 7);
        assert_eq!(file.load().unwrap(), b"");
        file.save(append(b"one"));
        file.save(append(b"two"));
        let expected = [&saved::MAGIC[..], b"onetwo"].concat();
        assert_eq!(file.load().unwrap(), expected);
        // Another run appends to the file.
        let mut file = MempoolFile::new(scratch.path(), 7);
        file.save(append(b"three"));
        assert_eq!(file.load().unwrap(), [&expected[..], b"three"].concat());
        file.save(Save::Replace(b"anew".to_vec()));
        file.save(append(b"!"));
        assert_eq!(file.load().unwrap(), b"anew!");
        let names = fs::read_dir(scratch.path()).unwrap();
        assert_eq!(names.count(), 1, "nothing is left over");
        assert_eq!(MempoolFile::new(scratch.path(), 8).load().unwrap(), b"");
    }

    #[test]
    fn a_file_that_cannot_be_written_is_a_warning_and_no_panic() {
        let scratch = Scratch::new("mempool-unwritable");
        let gone = scratch.path().join("gone");
        let mut file = MempoolFile::new(&gone, 7);
        file.save(append(b"one"));
        file.save(Save::Replace(b"two".to_vec()));
        assert_eq!(file.load().unwrap(), b"");
        fs::create_dir(&gone).unwrap();
        file.save(append(b"three"));
        assert_eq!(file.load().unwrap(), [&saved::MAGIC[..], b"three"].concat());
    }
}
