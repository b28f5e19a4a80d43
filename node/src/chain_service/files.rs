//! Small files that are replaced as a whole.

use crate::store::disk::{Disk as _, SystemDisk};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Replaces the content of the file at `path` by `bytes`; a crash leaves either the old or the new
/// content. The directory must exist.
pub(super) fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(directory)?.sync_all()?;
    Ok(file)
}

/// Reads a file of at most `limit` bytes; returns `None` if it does not exist.
pub(super) fn read_file(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match SystemDisk.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let len = file.len()?;
    if len > limit {
        let what = format!("file of {len} bytes exceeds the maximum of {limit}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    let mut bytes = vec![0; usize::try_from(len).unwrap_or_default()];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(Some(bytes))
}
