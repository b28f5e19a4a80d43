//! Frames of an archive.

use super::{ArchiveKind, Manifest};
use astreum_core::atom::{Atom, AtomId};
use core::fmt;
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Write};

const MAGIC: &[u8; 8] = b"ASTCHAIN";
const VERSION: u8 = 1;
/// Maximum length of the body of a frame, in bytes.
pub const MAX_BODY_BYTES: usize = 1 << 20;
/// Length of the body at which the writer begins another frame of atoms, in bytes.
const FULL_BODY_BYTES: usize = 256 << 10;
/// Maximum length of the manifest, in bytes.
const MAX_MANIFEST_BYTES: usize = 4_096;

const MANIFEST: u8 = 1;
const ATOMS: u8 = 2;
const BLOCK: u8 = 3;
const END: u8 = 4;

/// Reason why an archive cannot be read.
#[derive(Debug)]
#[non_exhaustive]
pub enum ArchiveError {
    /// The file could not be read.
    Io(io::Error),
    /// The file is not an archive.
    NotAnArchive,
    /// The archive was written by a newer version of this program.
    NewerVersion {
        /// Its version of the format.
        found: u8,
    },
    /// The file ends before its last frame.
    Truncated {
        /// Length of the file, in bytes.
        at: u64,
    },
    /// A frame is malformed.
    Damaged {
        /// Offset of the frame, in bytes.
        at: u64,
        /// Description of the damage.
        what: &'static str,
    },
    /// The archive is of another chain.
    OtherChain {
        /// Chain id of the archive.
        found: u64,
        /// Chain id of the node.
        expected: u64,
    },
    /// The archive was written under other consensus rules.
    OtherRules {
        /// Version of its rules.
        found: u32,
    },
}

impl fmt::Display for ArchiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "failed to read the archive: {error}"),
            Self::NotAnArchive => f.write_str(
                "not an archive of a chain: `astreum chain export` writes one, uncompressed",
            ),
            Self::NewerVersion { found } => write!(
                f,
                "the archive has format {found}, this program reads up to {VERSION}: use the \
                 program of the version that wrote it, or a newer one"
            ),
            Self::Truncated { at } => write!(
                f,
                "the archive ends at byte {at}, before its last frame: copy it again"
            ),
            Self::Damaged { at, what } => {
                write!(
                    f,
                    "the archive is damaged at byte {at}: {what}: copy it again"
                )
            }
            Self::OtherChain { found, expected } => write!(
                f,
                "the archive is of chain {found}, the node's chain_id is {expected}"
            ),
            Self::OtherRules { found } => write!(
                f,
                "the archive was written under version {found} of the consensus rules: use a \
                 program with these rules"
            ),
        }
    }
}

impl core::error::Error for ArchiveError {}

impl From<io::Error> for ArchiveError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Encoding of a manifest.
#[derive(Serialize, Deserialize)]
struct Record {
    kind: ArchiveKind,
    chain_id: u64,
    rules_version: u32,
    head: String,
    height: u64,
    timestamp: u64,
}

/// Writer of an archive.
pub(super) struct Writer<W> {
    out: W,
    hasher: blake3::Hasher,
    atoms: Vec<u8>,
    bytes: u64,
}

impl<W: Write> Writer<W> {
    /// Begins an archive.
    pub(super) fn new(out: W, manifest: &Manifest) -> io::Result<Self> {
        let mut writer = Self {
            out,
            hasher: blake3::Hasher::new(),
            atoms: Vec::new(),
            bytes: 0,
        };
        writer.write(MAGIC)?;
        writer.write(&[VERSION])?;
        let record = Record {
            kind: manifest.kind,
            chain_id: manifest.chain_id,
            rules_version: manifest.rules_version,
            head: manifest.head.to_string(),
            height: manifest.height,
            timestamp: manifest.timestamp,
        };
        let json = serde_json::to_vec(&record).map_err(io::Error::from)?;
        writer.frame(MANIFEST, &json)?;
        Ok(writer)
    }

    pub(super) fn atom(&mut self, atom: &Atom) -> io::Result<()> {
        let stored = atom.to_bytes();
        let len = u32::try_from(stored.len()).map_err(io::Error::other)?;
        if self.atoms.len() + 4 + stored.len() > MAX_BODY_BYTES {
            self.flush_atoms()?;
        }
        self.atoms.extend_from_slice(&len.to_be_bytes());
        self.atoms.extend_from_slice(&stored);
        if self.atoms.len() >= FULL_BODY_BYTES {
            self.flush_atoms()?;
        }
        Ok(())
    }

    /// Ends a block.
    pub(super) fn block(&mut self, id: AtomId) -> io::Result<()> {
        self.flush_atoms()?;
        self.frame(BLOCK, id.as_bytes())
    }

    /// Ends the archive; returns its length in bytes.
    pub(super) fn finish(mut self) -> io::Result<u64> {
        self.flush_atoms()?;
        let hash = self.hasher.finalize();
        self.frame(END, hash.as_bytes())?;
        self.out.flush()?;
        Ok(self.bytes)
    }

    fn flush_atoms(&mut self) -> io::Result<()> {
        if self.atoms.is_empty() {
            return Ok(());
        }
        let mut atoms = core::mem::take(&mut self.atoms);
        self.frame(ATOMS, &atoms)?;
        atoms.clear();
        self.atoms = atoms;
        Ok(())
    }

    fn frame(&mut self, kind: u8, body: &[u8]) -> io::Result<()> {
        let len = u32::try_from(body.len()).map_err(io::Error::other)?;
        self.write(&[kind])?;
        self.write(&len.to_be_bytes())?;
        self.write(body)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        self.out.write_all(bytes)
    }
}

/// Part of an archive.
#[derive(Debug)]
pub(super) enum Part {
    Atoms(Vec<(AtomId, Atom)>),
    Block(AtomId),
    End,
}

/// Reader of an archive, in constant memory.
pub(super) struct Reader<R> {
    input: R,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl<R: Read> Reader<R> {
    /// Reads the beginning of an archive.
    pub(super) fn new(input: R) -> Result<(Self, Manifest), ArchiveError> {
        let mut reader = Self {
            input,
            hasher: blake3::Hasher::new(),
            bytes: 0,
        };
        let mut head = [0; MAGIC.len() + 1];
        match reader.read(&mut head) {
            Err(ArchiveError::Truncated { .. }) => return Err(ArchiveError::NotAnArchive),
            read => read?,
        }
        let (magic, version) = head.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(ArchiveError::NotAnArchive);
        }
        match version {
            [VERSION] => {}
            [found, ..] => return Err(ArchiveError::NewerVersion { found: *found }),
            [] => return Err(ArchiveError::NotAnArchive),
        }
        let at = reader.bytes;
        let damaged = |what| ArchiveError::Damaged { at, what };
        let (kind, body) = reader.frame()?;
        if kind != MANIFEST || body.len() > MAX_MANIFEST_BYTES {
            return Err(damaged("no manifest"));
        }
        let record: Result<Record, _> = serde_json::from_slice(&body);
        let record = record.map_err(|_| damaged("malformed manifest"))?;
        let head = record.head.parse();
        let manifest = Manifest {
            kind: record.kind,
            chain_id: record.chain_id,
            rules_version: record.rules_version,
            head: head.map_err(|_| damaged("malformed manifest"))?,
            height: record.height,
            timestamp: record.timestamp,
        };
        Ok((reader, manifest))
    }

    /// Returns the number of bytes that were read.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reads the next part.
    pub(super) fn part(&mut self) -> Result<Part, ArchiveError> {
        let at = self.bytes;
        let damaged = |what| ArchiveError::Damaged { at, what };
        let hash = self.hasher.clone();
        let (kind, body) = self.frame()?;
        match kind {
            ATOMS => atoms(&body)
                .map(Part::Atoms)
                .ok_or_else(|| damaged("malformed atoms")),
            BLOCK => {
                let id = AtomId::from_slice(&body);
                id.map(Part::Block).ok_or_else(|| damaged("malformed id"))
            }
            END if body == hash.finalize().as_bytes() => Ok(Part::End),
            END => Err(damaged("the hash of the archive differs")),
            _ => Err(damaged("unknown kind of frame")),
        }
    }

    fn frame(&mut self) -> Result<(u8, Vec<u8>), ArchiveError> {
        let at = self.bytes;
        let mut head = [0; 5];
        self.read(&mut head)?;
        let [kind, len @ ..] = head;
        let len = usize::try_from(u32::from_be_bytes(len)).unwrap_or(usize::MAX);
        if len > MAX_BODY_BYTES {
            let what = "the length of a frame exceeds the maximum";
            return Err(ArchiveError::Damaged { at, what });
        }
        let mut body = vec![0; len];
        self.read(&mut body)?;
        Ok((kind, body))
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<(), ArchiveError> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.input.read(rest) {
                Ok(0) => {
                    return Err(ArchiveError::Truncated {
                        at: self.bytes + filled as u64,
                    });
                }
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.hasher.update(buffer);
        self.bytes += buffer.len() as u64;
        Ok(())
    }
}

/// Reads the atoms of a frame.
fn atoms(mut body: &[u8]) -> Option<Vec<(AtomId, Atom)>> {
    let mut atoms = Vec::new();
    while let Some((len, rest)) = body.split_first_chunk() {
        let len = usize::try_from(u32::from_be_bytes(*len)).ok()?;
        let (stored, rest) = rest.split_at_checked(len)?;
        let atom = Atom::from_bytes(stored).ok()?;
        atoms.push((atom.id(), atom));
        body = rest;
    }
    (body.is_empty() && !atoms.is_empty()).then_some(atoms)
}
