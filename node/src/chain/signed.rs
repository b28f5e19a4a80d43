//! What this validator has signed, remembered so that it never signs against itself.
//!
//! Two different blocks of one validator on one parent let it tell two stories. They come about by
//! a crash between signing and storing, or by two nodes that run with one key. Against the first
//! there is the file of this module; against the second, [`Signed::is_foreign`] and
//! [`Signed::allows`] are asked before each block.
//!
//! The file is `signed_<chain id>_<start of the key>.json` in the state directory, replaced as a
//! whole before a block is published. A file that is damaged is an error, never "nothing signed".
//!
//! Invariants:
//! - For each parent that is remembered, one block is; the timestamps of blocks only grow.
//! - A mark is in the file before its block is published.

use super::head::{HeadFileProblem, replace};
use astreum_core::atom::AtomId;
use core::fmt;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Blocks that are remembered; older ones have children, or were left for good.
pub const MAX_MARKS: usize = 32;
/// The newest version of the file that is read, and the one that is written.
const VERSION: u32 = 1;
/// No file of ours is longer.
const MAX_FILE_BYTES: u64 = 64 << 10;

/// A block that was signed for publication.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    /// The block before it.
    pub parent: AtomId,
    /// The block.
    pub block: AtomId,
    /// Blocks before it in its chain.
    pub height: u64,
    /// Its time, in seconds since 1970.
    pub timestamp: u64,
}

/// Why a block must not be signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Conflict {
    /// Another one on the same parent has been.
    SameParent(Mark),
    /// One of the same time or a later one has been.
    NotLater(Mark),
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SameParent(mark) => write!(
                f,
                "block {} of height {} was signed on the same parent",
                mark.block, mark.height
            ),
            Self::NotLater(mark) => write!(
                f,
                "block {} was signed for the time {}, which is not over",
                mark.block, mark.timestamp
            ),
        }
    }
}

/// What has been signed, oldest first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Signed {
    marks: Vec<Mark>,
}

impl Signed {
    /// The block that was signed last.
    #[must_use]
    pub fn last(&self) -> Option<&Mark> {
        self.marks.last()
    }

    /// The block that was signed on `parent`, as far as it is remembered.
    #[must_use]
    pub fn on(&self, parent: &AtomId) -> Option<&Mark> {
        self.marks.iter().find(|mark| mark.parent == *parent)
    }

    /// Whether a block on `parent` with this time may be signed.
    ///
    /// # Errors
    /// When it would be the second one on its parent, or not later than all before.
    pub fn allows(&self, parent: &AtomId, timestamp: u64) -> Result<(), Conflict> {
        if let Some(mark) = self.on(parent) {
            return Err(Conflict::SameParent(*mark));
        }
        let later = self.marks.iter().find(|mark| mark.timestamp >= timestamp);
        later.map_or(Ok(()), |mark| Err(Conflict::NotLater(*mark)))
    }

    /// Remembers a block that is about to be published. The same one again changes nothing.
    ///
    /// # Errors
    /// When it must not be signed; nothing is remembered then.
    pub fn add(&mut self, mark: Mark) -> Result<(), Conflict> {
        if self.on(&mark.parent) == Some(&mark) {
            return Ok(());
        }
        self.allows(&mark.parent, mark.timestamp)?;
        if self.marks.len() >= MAX_MARKS {
            self.marks.remove(0);
        }
        self.marks.push(mark);
        Ok(())
    }

    /// Whether a block that this key signed was made by another node: it is not remembered, and it
    /// is younger than everything that this node had signed when it started at `start` (or than the
    /// start itself, where nothing had been).
    #[must_use]
    pub fn is_foreign(&self, block: &AtomId, timestamp: u64, start: Start) -> bool {
        // Before the oldest that is remembered there may be some that were forgotten.
        let is_full = self.marks.len() >= MAX_MARKS;
        let oldest = self.marks.first().filter(|_| is_full);
        let known_since = oldest.map_or(0, |mark| mark.timestamp).max(start.0);
        timestamp > known_since && !self.marks.iter().any(|mark| mark.block == *block)
    }
}

/// The time after which each block of the key is either this node's or another's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Start(u64);

impl Start {
    /// For a node that starts at `unix_seconds` with what it had signed before.
    #[must_use]
    pub fn new(signed: &Signed, unix_seconds: u64) -> Self {
        Self(signed.last().map_or(unix_seconds, |mark| mark.timestamp))
    }
}

/// Why what was signed could not be remembered or recalled. Nothing is signed then.
#[derive(Debug)]
pub struct SignedFileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: HeadFileProblem,
}

impl fmt::Display for SignedFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.path.display())?;
        match &self.problem {
            HeadFileProblem::Io(error) => return error.fmt(f),
            HeadFileProblem::Damaged(what) => write!(f, "damaged ({what})")?,
            HeadFileProblem::NewerVersion(version) => write!(
                f,
                "written in format {version}, this version reads up to {VERSION}"
            )?,
            HeadFileProblem::OtherChain(chain_id) => {
                write!(f, "of the chain with chain_id {chain_id}")?;
            }
        }
        f.write_str(
            "; it keeps this validator from signing two blocks for one place: if no other node has \
             its key, and its last block is a minute old, remove the file",
        )
    }
}

impl core::error::Error for SignedFileError {}

/// The form in the file.
#[derive(Serialize, Deserialize)]
struct Record {
    version: u32,
    chain_id: u64,
    validator: String,
    blocks: Vec<MarkRecord>,
}

#[derive(Serialize, Deserialize)]
struct MarkRecord {
    height: u64,
    timestamp: u64,
    parent: String,
    block: String,
}

/// The place of a validator's file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedFile {
    path: PathBuf,
    chain_id: u64,
    validator: String,
}

impl SignedFile {
    /// The file of the validator with this public key on the chain `chain_id`, in `state_dir`.
    #[must_use]
    pub fn new(state_dir: &Path, chain_id: u64, validator: &[u8; 32]) -> Self {
        let validator = crate::control::hex(validator);
        let start: String = validator.chars().take(16).collect();
        Self {
            path: state_dir.join(format!("signed_{chain_id}_{start}.json")),
            chain_id,
            validator,
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was signed; nothing if there is no file.
    ///
    /// # Errors
    /// When there is a file and it cannot be used.
    pub fn load(&self) -> Result<Signed, SignedFileError> {
        match fs::metadata(&self.path) {
            Ok(metadata) if metadata.len() > MAX_FILE_BYTES => {
                let what = format!("{} bytes", metadata.len());
                return Err(self.error(HeadFileProblem::Damaged(what)));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Signed::default()),
            Err(error) => return Err(self.error(HeadFileProblem::Io(error))),
        }
        let text = fs::read(&self.path).map_err(|error| self.error(HeadFileProblem::Io(error)))?;
        self.parse(&text).map_err(|problem| self.error(problem))
    }

    fn parse(&self, text: &[u8]) -> Result<Signed, HeadFileProblem> {
        let damaged = |what: &dyn fmt::Display| HeadFileProblem::Damaged(what.to_string());
        let record: Record = serde_json::from_slice(text).map_err(|error| damaged(&error))?;
        if record.version > VERSION {
            return Err(HeadFileProblem::NewerVersion(record.version));
        }
        if record.chain_id != self.chain_id {
            return Err(HeadFileProblem::OtherChain(record.chain_id));
        }
        if record.validator != self.validator {
            return Err(damaged(&"it is of another validator"));
        }
        let mut signed = Signed::default();
        for mark in &record.blocks {
            let id = |text: &str| {
                let id: Result<AtomId, _> = text.parse();
                id.map_err(|error| damaged(&error))
            };
            let mark = Mark {
                parent: id(&mark.parent)?,
                block: id(&mark.block)?,
                height: mark.height,
                timestamp: mark.timestamp,
            };
            signed.add(mark).map_err(|conflict| damaged(&conflict))?;
        }
        Ok(signed)
    }

    /// Replaces what was remembered.
    ///
    /// # Errors
    /// When the system does not write it; what was remembered before is there then.
    pub fn save(&self, signed: &Signed) -> Result<(), SignedFileError> {
        let blocks = signed.marks.iter().map(|mark| MarkRecord {
            height: mark.height,
            timestamp: mark.timestamp,
            parent: mark.parent.to_string(),
            block: mark.block.to_string(),
        });
        let record = Record {
            version: VERSION,
            chain_id: self.chain_id,
            validator: self.validator.clone(),
            blocks: blocks.collect(),
        };
        let written = serde_json::to_vec(&record)
            .map_err(io::Error::from)
            .and_then(|mut text| {
                text.push(b'\n');
                replace(&self.path, &text)
            });
        written.map_err(|error| self.error(HeadFileProblem::Io(error)))
    }

    fn error(&self, problem: HeadFileProblem) -> SignedFileError {
        SignedFileError {
            path: self.path.clone(),
            problem,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    fn mark(parent: u8, block: u8, timestamp: u64) -> Mark {
        Mark {
            parent: AtomId::new([parent; 32]),
            block: AtomId::new([block; 32]),
            height: timestamp / 2,
            timestamp,
        }
    }

    #[test]
    fn one_block_on_each_parent_and_each_later_than_all_before() {
        let mut signed = Signed::default();
        signed.add(mark(1, 2, 10)).unwrap();
        signed.add(mark(1, 2, 10)).unwrap();
        let second = signed.add(mark(1, 3, 12));
        assert_eq!(second, Err(Conflict::SameParent(mark(1, 2, 10))));
        let early = signed.add(mark(2, 4, 10));
        assert_eq!(early, Err(Conflict::NotLater(mark(1, 2, 10))));
        signed.add(mark(2, 4, 11)).unwrap();
        assert_eq!(signed.last(), Some(&mark(2, 4, 11)));
        for number in 0..100 {
            let (parent, time) = (100 + number, 12 + u64::from(number));
            signed.add(mark(parent, 0, time)).unwrap();
        }
        assert_eq!(signed.marks.len(), MAX_MARKS);
    }

    #[test]
    fn a_block_of_the_key_that_is_younger_than_the_start_and_not_ours_is_foreign() {
        let mut signed = Signed::default();
        let fresh = Start::new(&signed, 100);
        let old = AtomId::new([9; 32]);
        assert!(!signed.is_foreign(&old, 100, fresh));
        assert!(signed.is_foreign(&old, 101, fresh));
        signed.add(mark(1, 2, 50)).unwrap();
        let start = Start::new(&signed, 100);
        // Made after this node's last block and before its start: by whom else?
        assert!(signed.is_foreign(&old, 51, start));
        assert!(!signed.is_foreign(&old, 50, start));
        signed.add(mark(2, 3, 120)).unwrap();
        assert!(!signed.is_foreign(&AtomId::new([3; 32]), 120, start));
        assert!(signed.is_foreign(&old, 119, start));
        // What was forgotten is not taken for another's.
        for number in 0..32 {
            signed
                .add(mark(50 + number, 0, 130 + u64::from(number)))
                .unwrap();
        }
        assert!(!signed.is_foreign(&AtomId::new([3; 32]), 120, start));
        assert!(signed.is_foreign(&old, 131, start));
    }

    #[test]
    fn the_file_gives_back_what_was_saved_and_damage_is_an_error() {
        let scratch = Scratch::new("signed");
        let file = SignedFile::new(&scratch.path().join("made"), 1, &[7; 32]);
        assert_eq!(file.load().unwrap(), Signed::default());
        let mut signed = Signed::default();
        for number in 0..40 {
            let time = u64::from(number) + 1;
            signed.add(mark(number, number + 1, time)).unwrap();
            file.save(&signed).unwrap();
            assert_eq!(file.load().unwrap(), signed);
        }
        let whole = fs::read(file.path()).unwrap();
        for len in 0..whole.len() - 1 {
            fs::write(file.path(), &whole[..len]).unwrap();
            let error = file.load().unwrap_err();
            assert!(
                matches!(error.problem, HeadFileProblem::Damaged(_)),
                "{len}"
            );
        }
        let other = SignedFile::new(&scratch.path().join("made"), 1, &[8; 32]);
        assert_eq!(other.load().unwrap(), Signed::default());
        fs::write(other.path(), &whole).unwrap();
        let error = other.load().unwrap_err();
        assert!(error.to_string().contains("another validator"), "{error}");
        let other = SignedFile::new(&scratch.path().join("made"), 0, &[7; 32]);
        fs::write(other.path(), &whole).unwrap();
        let error = other.load().unwrap_err();
        assert!(matches!(error.problem, HeadFileProblem::OtherChain(1)));
    }
}
