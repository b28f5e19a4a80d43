//! Small text files of a node: a line with the format, a line per entry, and a last line with the
//! BLAKE3 hash of the lines before it.
//!
//! Invariants:
//! - A file is replaced as a whole and synced, or stays unchanged.
//! - A truncated or modified file is detected.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Error message for a truncated or modified file.
pub(super) const DAMAGED: &str = "the file is damaged and is replaced";
const OTHER_FORMAT: &str = "the file is of another version and is replaced";

/// Reads at most `max_bytes` of a file; `None` if it does not exist.
pub(super) fn read(path: &Path, max_bytes: u64) -> io::Result<Option<String>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut text = String::new();
    file.take(max_bytes).read_to_string(&mut text)?;
    Ok(Some(text))
}

/// Returns the text of a file with these entries.
pub(super) fn encode(format: &str, lines: impl Iterator<Item = String>) -> String {
    let mut text = format!("{format}\n");
    for line in lines {
        text.push_str(&line);
        text.push('\n');
    }
    let hash = blake3::hash(text.as_bytes());
    text + &format!("blake3 {hash}\n")
}

/// Checks the format and the hash of a text; returns the lines of its entries.
pub(super) fn parse<'t>(
    format: &str,
    text: &'t str,
) -> Result<impl Iterator<Item = &'t str>, &'static str> {
    let lines = text.strip_suffix('\n').ok_or(DAMAGED)?;
    let (lines, last) = lines.rsplit_once('\n').ok_or(DAMAGED)?;
    let hash = last.strip_prefix("blake3 ").ok_or(DAMAGED)?;
    let hashed = text.get(..=lines.len()).ok_or(DAMAGED)?;
    if blake3::hash(hashed.as_bytes()).to_string() != hash {
        return Err(DAMAGED);
    }
    let mut lines = lines.split('\n');
    if lines.next() != Some(format) {
        return Err(OTHER_FORMAT);
    }
    Ok(lines)
}

/// Replaces a file atomically and syncs it; only its owner can read it.
pub(super) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).truncate(true).mode(0o600);
    let written = options.open(&new).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    let replaced = written.and_then(|()| fs::rename(&new, path));
    if let Err(error) = replaced {
        let _ = fs::remove_file(&new);
        return Err(error);
    }
    let directory = path.parent().map(PathBuf::from).unwrap_or_default();
    File::open(directory)?.sync_all()
}
