//! Input of `put` as a list of atoms, in constant memory.
//!
//! The id of an atom depends on the id of the next one, so a file is read from its end, in blocks of
//! [`BLOCK_PIECES`] pieces. A pipe is first copied to an unnamed temporary file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use astreum_core::atom::{AtomId, AtomKind, HEADER_BYTES, MAX_LIST_ATOMS, atom_id};

use crate::rpc::{AtomParts, MAX_TRANSFER_BYTES, push_atom};

/// Number of data bytes per atom of a file, which a reference node can receive.
pub(super) const PIECE_BYTES: usize = 3_900;
/// Maximum size in bytes of a file: what one list holds. `--help` states the number.
pub(super) const MAX_FILE_BYTES: u64 = MAX_LIST_ATOMS as u64 * PIECE_BYTES as u64;
/// Number of pieces that are read at once.
const BLOCK_PIECES: usize = 512;
/// Maximum size in bytes of an atom in a transfer.
const MAX_RECORD_BYTES: usize = 4 + HEADER_BYTES + crate::store::MAX_ATOM_DATA_BYTES;

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

    fn spool(from: impl Read, directory: Option<&Path>) -> io::Result<Self> {
        let mut file = temporary(directory)?;
        let len = io::copy(&mut from.take(MAX_FILE_BYTES + 1), &mut file)?;
        if len > MAX_FILE_BYTES {
            return Err(io::Error::other(format!(
                "longer than {MAX_FILE_BYTES} bytes, the maximum for one put; put the data in parts"
            )));
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

    fn check_unchanged(&self) -> io::Result<()> {
        match Stamp::of(&self.file)? == self.stamp {
            true => Ok(()),
            false => Err(changed()),
        }
    }
}

fn changed() -> io::Error {
    io::Error::other("the file changed while it was read; put it again")
}

fn check_len(len: u64) -> io::Result<()> {
    if len > MAX_FILE_BYTES {
        return Err(io::Error::other(format!(
            "{len} bytes exceed the maximum of {MAX_FILE_BYTES} bytes for one put ({MAX_LIST_ATOMS} \
             atoms); put the data in parts"
        )));
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

/// Collects atoms to parts of a transfer.
#[derive(Debug, Default)]
pub(super) struct Parts {
    part: Vec<u8>,
    /// Id of the first atom.
    first: Option<AtomId>,
    atoms: u64,
}

impl Parts {
    /// Adds an atom; returns the part before it if the atom does not fit into that.
    pub(super) fn push(&mut self, id: AtomId, parts: AtomParts<'_>) -> Option<Vec<u8>> {
        self.first.get_or_insert(id);
        self.atoms += 1;
        let is_full = self.part.len() + MAX_RECORD_BYTES > MAX_TRANSFER_BYTES;
        let full = is_full.then(|| {
            let empty = Vec::with_capacity(MAX_TRANSFER_BYTES);
            core::mem::replace(&mut self.part, empty)
        });
        push_atom(parts, &mut self.part);
        full
    }

    /// Returns the last part, and the summary of all.
    pub(super) fn finish(self, head: AtomId) -> (Vec<u8>, Sent) {
        let sent = Sent {
            head,
            end: self.first.unwrap_or(head),
            atoms: self.atoms,
        };
        (self.part, sent)
    }
}

/// Summary of a list that was sent, its last atom first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Sent {
    /// Id of the first atom of the list.
    pub(super) head: AtomId,
    /// Id of the last atom.
    pub(super) end: AtomId,
    /// Number of atoms.
    pub(super) atoms: u64,
}

/// Returns the number of a file's bytes in so many bytes of a transfer, rounded to whole pieces.
pub(super) const fn data_bytes(part_bytes: usize) -> usize {
    part_bytes.div_ceil(PIECE_BYTES + 4 + HEADER_BYTES) * PIECE_BYTES
}

/// Splits an input into a list of pieces, from its end, and passes the parts of a transfer to
/// `take` until that returns `false`. Empty input is one empty piece, so that it has an id that can
/// be fetched. The part with the head is passed on only if the input is still the same.
pub(super) fn split(
    input: &Input,
    take: &mut dyn FnMut(Vec<u8>) -> bool,
) -> io::Result<Option<Sent>> {
    let mut parts = Parts::default();
    let mut next = AtomId::ZERO;
    let mut block = vec![0; BLOCK_PIECES * PIECE_BYTES];
    let block_bytes = block.len() as u64;
    let (mut end, mut is_first) = (input.len, true);
    while end > 0 || is_first {
        // All blocks but the last end between two blocks.
        let len = match end % block_bytes {
            0 => block_bytes.min(end),
            rest => rest,
        };
        end -= len;
        // `len` is at most the length of the block.
        let bytes = block
            .get_mut(..usize::try_from(len).unwrap_or_default())
            .unwrap_or_default();
        input.read_at(bytes, end)?;
        let mut pieces: Vec<&[u8]> = bytes.chunks(PIECE_BYTES).collect();
        if is_first && pieces.is_empty() {
            pieces.push(&[]);
        }
        is_first = false;
        for data in pieces.into_iter().rev() {
            let kind = AtomKind::Bytes;
            let id = atom_id(kind, data, next);
            if let Some(part) = parts.push(id, AtomParts { kind, next, data })
                && !take(part)
            {
                return Ok(None);
            }
            next = id;
        }
    }
    input.check_unchanged()?;
    let (part, sent) = parts.finish(next);
    Ok(take(part).then_some(sent))
}

const _: () = assert!(PIECE_BYTES < crate::store::MAX_ATOM_DATA_BYTES);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::{AtomReader, TransferError};
    use astreum_core::atom::{Atom, bytes_list};
    use std::io::Write as _;

    fn input(bytes: &[u8]) -> Input {
        Input::spool(bytes, None).unwrap()
    }

    /// Returns the list, its first atom first, and its summary.
    fn list(input: &Input) -> (Vec<Atom>, Sent) {
        let (mut reader, mut atoms) = (AtomReader::new(1 << 20), Vec::new());
        let sent = split(input, &mut |part| {
            assert!(part.len() <= MAX_TRANSFER_BYTES);
            let read = reader.read(&part, &mut |parts| {
                atoms.push(parts.to_atom());
                Ok::<_, TransferError>(())
            });
            read.is_ok()
        });
        atoms.reverse();
        (atoms, sent.unwrap().unwrap())
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
            let (split, sent) = list(&input(&bytes));
            assert!(split == atoms, "{len}");
            let end = atoms.last().unwrap().id();
            let atoms = atoms.len() as u64;
            assert_eq!(sent, Sent { head, end, atoms }, "{len}");
        }
        let (empty, sent) = list(&input(b""));
        assert_eq!(empty, [Atom::bytes([])]);
        assert_eq!(
            (sent.head, sent.end, sent.atoms),
            (empty[0].id(), empty[0].id(), 1)
        );
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
            let result = split(&opened, &mut |part| {
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
                bytes += part.len();
                true
            });
            let error = result.unwrap_err().to_string();
            assert!(
                error.contains("changed while it was read"),
                "{change}: {error}"
            );
            // The first piece of the file is in no part.
            let all = size / PIECE_BYTES * (PIECE_BYTES + 4 + HEADER_BYTES);
            assert!(0 < bytes && bytes < all, "{change}: {bytes}");
        }
    }

    #[test]
    fn files_of_the_system_without_a_length_are_read() {
        let path = Path::new("/proc/self/status");
        if path.exists() {
            let opened = Input::open(Some(path), None).unwrap();
            assert!(opened.len() > 0);
        }
        assert_eq!(data_bytes(2 * 3_937), 7_800);
        let error = check_len(MAX_FILE_BYTES + 1).unwrap_err().to_string();
        assert!(
            error.contains("4089446401 bytes") && error.contains("1048576 atoms"),
            "{error}"
        );
        assert!(check_len(MAX_FILE_BYTES).is_ok());
    }
}
