//! Input of `put` as lists of atoms, in constant memory.
//!
//! The id of an atom depends on the id of the next one, so a file is read from its end, in blocks of
//! [`BLOCK_PIECES`] pieces. A pipe is first copied to an unnamed temporary file.

use core::ops::Range;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use astreum_core::atom::{AtomId, AtomKind, atom_id};
use astreum_core::manifest::{MAX_FILE_BYTES, PIECE_BYTES};

use crate::rpc::AtomParts;

/// Number of pieces that are read at once.
const BLOCK_PIECES: usize = 512;

/// State of a file by which a change is noticed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stamp {
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(file: &File) -> io::Result<Self> {
        let data = file.metadata()?;
        Ok(Self {
            len: data.len(),
            modified: (data.mtime(), data.mtime_nsec()),
            changed: (data.ctime(), data.ctime_nsec()),
        })
    }
}

/// Bytes with a known length that can be read at any offset.
#[derive(Debug)]
pub(super) struct Input {
    file: File,
    /// Offset of the first byte.
    start: u64,
    len: u64,
    stamp: Stamp,
}

impl Input {
    /// Opens the input for reading; `None` is stdin, from its current offset. What cannot be read
    /// at any offset is copied to a temporary file, in `directory` if possible.
    pub(super) fn open(path: Option<&Path>, directory: Option<&Path>) -> io::Result<Self> {
        let (mut file, is_stdin) = match path {
            Some(path) => (File::open(path)?, false),
            None => (File::from(rustix::io::dup(io::stdin())?), true),
        };
        let stamp = Stamp::of(&file)?;
        // Files of the system, below /proc for instance, state a length of 0.
        if !file.metadata()?.is_file() || stamp.len == 0 {
            return Self::spool(file, directory);
        }
        let start = match is_stdin {
            true => file.stream_position()?,
            false => 0,
        };
        let len = stamp.len.saturating_sub(start);
        check_len(len)?;
        Ok(Self {
            file,
            start,
            len,
            stamp,
        })
    }

    /// Opens a file of a folder, which must still be a regular file of this size.
    pub(super) fn open_regular(path: &Path, size: u64) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        // A link, or a pipe, could have taken its place.
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let flags = i32::try_from(flags.bits()).unwrap_or_default();
        let file = options.read(true).custom_flags(flags).open(path)?;
        let stamp = Stamp::of(&file)?;
        if !file.metadata()?.is_file() || stamp.len != size {
            return Err(changed());
        }
        Ok(Self {
            file,
            start: 0,
            len: size,
            stamp,
        })
    }

    /// Reads a file that this command writes.
    pub(super) fn of_file(file: &File) -> io::Result<Self> {
        let file = file.try_clone()?;
        let stamp = Stamp::of(&file)?;
        Ok(Self {
            start: 0,
            len: stamp.len,
            stamp,
            file,
        })
    }

    fn spool(from: impl Read, directory: Option<&Path>) -> io::Result<Self> {
        let mut file = temporary(directory)?;
        let len = io::copy(&mut from.take(MAX_FILE_BYTES + 1), &mut file)?;
        if len > MAX_FILE_BYTES {
            return Err(too_long());
        }
        Ok(Self {
            start: 0,
            len,
            stamp: Stamp::of(&file)?,
            file,
        })
    }

    /// Returns the number of bytes.
    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        let read = self.file.read_exact_at(buffer, self.start + at);
        read.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => changed(),
            _ => error,
        })
    }

    /// Checks that the file is the same as when it was opened.
    pub(super) fn check_unchanged(&self) -> io::Result<()> {
        match Stamp::of(&self.file)? == self.stamp {
            true => Ok(()),
            false => Err(changed()),
        }
    }
}

fn changed() -> io::Error {
    io::Error::other("the file changed while it was read; put it again")
}

fn too_long() -> io::Error {
    io::Error::other(format!(
        "longer than {MAX_FILE_BYTES} bytes, the maximum of a file; put the data in parts"
    ))
}

fn check_len(len: u64) -> io::Result<()> {
    if len > MAX_FILE_BYTES {
        return Err(too_long());
    }
    Ok(())
}

/// Creates a file without a name, in `directory` if possible, else in the system's directory for
/// temporary files, which may be in memory.
fn temporary(directory: Option<&Path>) -> io::Result<File> {
    #[cfg(target_os = "linux")]
    if let Some(directory) = directory {
        use rustix::fs::{Mode, OFlags};
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        if let Ok(file) = rustix::fs::open(directory, flags, Mode::RUSR | Mode::WUSR) {
            return Ok(file.into());
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = directory;
    let path = std::env::temp_dir().join(format!("astreum-put-{}", std::process::id()));
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create_new(true).mode(0o600);
    let named = |error: io::Error| {
        io::Error::new(
            error.kind(),
            format!("temporary file {}: {error}", path.display()),
        )
    };
    let file = options.open(&path).map_err(named)?;
    fs::remove_file(&path).map_err(named)?;
    Ok(file)
}

/// Splits a range of an input, which is one list, into pieces, from its end, and passes their atoms to
/// `take`. An empty range is one empty piece, so that it has an id that can be fetched. Returns the id
/// of the list. Its first atom is passed on only if the input is still the same.
pub(super) fn split<E>(
    input: &Input,
    range: Range<u64>,
    take: &mut dyn FnMut(AtomId, AtomParts<'_>) -> Result<(), E>,
    failed: &dyn Fn(io::Error) -> E,
) -> Result<AtomId, E> {
    let Range { start, mut end } = range;
    let mut next = AtomId::ZERO;
    let block_bytes = (BLOCK_PIECES * PIECE_BYTES) as u64;
    // A small file needs a small block.
    let capacity = usize::try_from((end - start).min(block_bytes)).unwrap_or_default();
    let mut block = vec![0; capacity];
    let mut is_first = true;
    while end > start || is_first {
        // All blocks but the last end between two blocks.
        let len = match (end - start) % block_bytes {
            0 => block_bytes.min(end - start),
            rest => rest,
        };
        end -= len;
        // `len` is at most the length of the block.
        let bytes = block
            .get_mut(..usize::try_from(len).unwrap_or_default())
            .unwrap_or_default();
        input.read_at(bytes, end).map_err(failed)?;
        let mut pieces: Vec<&[u8]> = bytes.chunks(PIECE_BYTES).collect();
        if is_first && pieces.is_empty() {
            pieces.push(&[]);
        }
        is_first = false;
        let head = pieces.len() - 1;
        for (at, data) in pieces.into_iter().rev().enumerate() {
            let kind = AtomKind::Bytes;
            let id = atom_id(kind, data, next);
            if end == start && at == head {
                input.check_unchanged().map_err(failed)?;
            }
            take(id, AtomParts { kind, next, data })?;
            next = id;
        }
    }
    Ok(next)
}

const _: () = assert!(PIECE_BYTES < crate::store::MAX_ATOM_DATA_BYTES);

#[cfg(test)]
mod tests {
    use super::*;
    use astreum_core::atom::{Atom, bytes_list};
    use std::io::Write as _;

    fn input(bytes: &[u8]) -> Input {
        Input::spool(bytes, None).unwrap()
    }

    /// Returns the list, its first atom first, and its id.
    fn list(input: &Input, range: Range<u64>) -> (Vec<Atom>, AtomId) {
        let mut atoms = Vec::new();
        let mut take = |id: AtomId, parts: AtomParts<'_>| {
            let atom = parts.to_atom();
            assert_eq!(atom.id(), id);
            atoms.push(atom);
            Ok(())
        };
        let id = split::<io::Error>(input, range, &mut take, &|error| error);
        atoms.reverse();
        (atoms, id.unwrap())
    }

    #[test]
    fn list_equals_that_of_the_whole_input() {
        let block = BLOCK_PIECES * PIECE_BYTES;
        for len in [
            1,
            3_899,
            3_900,
            3_901,
            7_801,
            block - 1,
            block,
            block + 1,
            2 * block + 5_000,
        ] {
            let mut bytes = vec![0; len];
            blake3::Hasher::new().finalize_xof().fill(&mut bytes);
            let pieces: Vec<&[u8]> = bytes.chunks(PIECE_BYTES).collect();
            let (head, atoms) = bytes_list(&pieces);
            let input = input(&bytes);
            let (split, id) = list(&input, 0..len as u64);
            assert!(split == atoms && id == head, "{len}");
            // A range is split like a file of its own.
            let start = len / 2;
            let (split, _) = list(&input, start as u64..len as u64);
            let pieces: Vec<&[u8]> = bytes[start..].chunks(PIECE_BYTES).collect();
            assert!(split == bytes_list(&pieces).1, "{len}");
        }
        let (empty, id) = list(&input(b""), 0..0);
        assert_eq!((&empty[..], id), (&[Atom::bytes([])][..], empty[0].id()));
    }

    #[test]
    fn changed_or_truncated_input_is_an_error_before_the_head_is_sent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in");
        let size = 2 * BLOCK_PIECES * PIECE_BYTES;
        for change in ["grow", "shrink", "rewrite"] {
            fs::write(&path, vec![7; size]).unwrap();
            let opened = Input::open(Some(&path), None).unwrap();
            assert_eq!(opened.len(), size as u64);
            let mut bytes = 0;
            let mut take = |_: AtomId, parts: AtomParts<'_>| {
                if bytes == 0 {
                    let mut file = OpenOptions::new().write(true).open(&path).unwrap();
                    match change {
                        "grow" => file.set_len(size as u64 + 1).unwrap(),
                        "shrink" => file.set_len(5).unwrap(),
                        _ => {
                            // The clock of the file system has a resolution of some milliseconds.
                            std::thread::sleep(core::time::Duration::from_millis(30));
                            file.write_all(b"other").unwrap();
                        }
                    }
                }
                bytes += parts.data.len();
                Ok(())
            };
            let result = split::<io::Error>(&opened, 0..size as u64, &mut take, &|error| error);
            let error = result.unwrap_err().to_string();
            assert!(
                error.contains("changed while it was read"),
                "{change}: {error}"
            );
            // The first piece of the file is not passed on.
            assert!(0 < bytes && bytes < size, "{change}: {bytes}");
        }
    }

    #[test]
    fn files_of_the_system_without_a_length_are_read() {
        let path = Path::new("/proc/self/status");
        if path.exists() {
            let opened = Input::open(Some(path), None).unwrap();
            assert!(opened.len() > 0);
        }
        let error = check_len(MAX_FILE_BYTES + 1).unwrap_err().to_string();
        assert!(error.contains("268005959270400 bytes"), "{error}");
        assert!(check_len(MAX_FILE_BYTES).is_ok());
    }

    #[test]
    fn file_of_a_folder_must_still_be_what_was_listed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in");
        fs::write(&path, b"12345").unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(Input::open_regular(&path, 5).unwrap().len(), 5);
        assert!(Input::open_regular(&path, 4).is_err());
        assert!(Input::open_regular(&link, 5).is_err());
        assert!(Input::open_regular(folder.path(), 5).is_err());
    }
}
