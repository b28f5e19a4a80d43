//! Copies of the files of a chain, while a node appends to them and replaces them.
//!
//! A file that is replaced is read as one of its versions. A head that is being appended to the
//! journal may be copied in part, which reads as an interrupted write.

use super::{ChainDirError, HEADS, LOCK};
use crate::chain_service::files::{read_file, replace_file};
use crate::store::cold::BackedUp;
use std::fs::{self, File};
use std::path::Path;

/// Maximum size of a file that is copied, in bytes. The head journal, the largest, is smaller.
const MAX_FILE_BYTES: u64 = 64 << 20;
/// End of the name of a file that is about to replace another.
const NEW: &str = ".new";

/// Reads the head journal of a chain directory; `None` if there is none.
///
/// # Errors
/// Fails if the disk fails.
pub fn copy_head_journal(from: &Path) -> Result<Option<Vec<u8>>, ChainDirError> {
    let path = from.join(HEADS);
    read_file(&path, MAX_FILE_BYTES).map_err(|error| ChainDirError::io("read", &path, error))
}

/// Writes this head journal and copies of all other files of a chain directory to the directory
/// `to`, which is created. Everything is on the disk when this returns.
///
/// # Errors
/// Fails if a disk fails.
pub fn copy_other_files(from: &Path, to: &Path, heads: &[u8]) -> Result<BackedUp, ChainDirError> {
    let created = |error| ChainDirError::io("create", to, error);
    fs::create_dir_all(to).map_err(created)?;
    let mut done = BackedUp::default();
    let mut write = |name: &str, bytes: &[u8]| -> Result<(), ChainDirError> {
        let path = to.join(name);
        let written = replace_file(&path, bytes);
        written.map_err(|error| ChainDirError::io("write", &path, error))?;
        done.files += 1;
        done.bytes += bytes.len() as u64;
        Ok(())
    };
    write(HEADS, heads)?;
    let listed = fs::read_dir(from).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    for entry in listed.map_err(|error| ChainDirError::io("read", from, error))? {
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let is_copied = [HEADS, LOCK].contains(&&*name) || name.ends_with(NEW);
        if is_copied || !entry.path().is_file() {
            continue;
        }
        let path = entry.path();
        let bytes = read_file(&path, MAX_FILE_BYTES);
        // A file that is gone has been replaced by another, or was temporary.
        if let Some(bytes) = bytes.map_err(|error| ChainDirError::io("read", &path, error))? {
            write(&name, &bytes)?;
        }
    }
    for dir in to.ancestors().take(3) {
        let synced = File::open(dir).and_then(|opened| opened.sync_all());
        synced.map_err(|error| ChainDirError::io("sync", dir, error))?;
    }
    Ok(done)
}
