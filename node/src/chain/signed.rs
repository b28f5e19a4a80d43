//! What this validator has signed, remembered so that it never signs against itself.
//!
//! Two different blocks of one validator on one parent let it tell two stories. They come about by
//! a crash between signing and storing, or by two nodes that run with one key. Against the first
//! there is the file of this module; against the second, [`SigningRecord::is_foreign`] and
//! [`SigningRecord::allows`] are asked before each block.
//!
//! The file is `signed_<chain id>_<start of the key>.json` in the state directory, replaced as a
//! whole before a block is published. A file that is damaged is an error, never "nothing signed".
//!
//! Invariants:
//! - For each parent that is remembered, one block is; the timestamps of blocks only grow.
//! - A mark is in the file before its block is published.

use super::head::{HeadFileProblem, replace};
use crate::store::is_no_room;
use astreum_core::atom::AtomId;
use astreum_core::consensus::{SignedBlock, SigningRecord, StoreFailure};
use core::fmt;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The newest version of the file that is read, and the one that is written.
const VERSION: u32 = 1;
/// No file of ours is longer.
const MAX_FILE_BYTES: u64 = 64 << 10;

/// Why what was signed could not be remembered or recalled. Nothing is signed then.
#[derive(Debug)]
pub struct SignedFileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: HeadFileProblem,
}

impl SignedFileError {
    /// Returns the error as the chain's components see it.
    #[must_use]
    pub fn failure(&self) -> StoreFailure {
        match &self.problem {
            HeadFileProblem::Io(error) if is_no_room(error.kind()) => {
                StoreFailure::NoRoom(self.to_string())
            }
            _ => StoreFailure::Failed(self.to_string()),
        }
    }
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
    pub fn load(&self) -> Result<SigningRecord, SignedFileError> {
        match fs::metadata(&self.path) {
            Ok(metadata) if metadata.len() > MAX_FILE_BYTES => {
                let what = format!("{} bytes", metadata.len());
                return Err(self.error(HeadFileProblem::Damaged(what)));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(SigningRecord::default());
            }
            Err(error) => return Err(self.error(HeadFileProblem::Io(error))),
        }
        let text = fs::read(&self.path).map_err(|error| self.error(HeadFileProblem::Io(error)))?;
        self.parse(&text).map_err(|problem| self.error(problem))
    }

    fn parse(&self, text: &[u8]) -> Result<SigningRecord, HeadFileProblem> {
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
        let mut signed = SigningRecord::default();
        for mark in &record.blocks {
            let id = |text: &str| {
                let id: Result<AtomId, _> = text.parse();
                id.map_err(|error| damaged(&error))
            };
            let mark = SignedBlock {
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
    pub fn save(&self, signed: &SigningRecord) -> Result<(), SignedFileError> {
        let blocks = signed.blocks().iter().map(|mark| MarkRecord {
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

    fn mark(parent: u8, block: u8, timestamp: u64) -> SignedBlock {
        SignedBlock {
            parent: AtomId::new([parent; 32]),
            block: AtomId::new([block; 32]),
            height: timestamp / 2,
            timestamp,
        }
    }

    #[test]
    fn the_file_gives_back_what_was_saved_and_damage_is_an_error() {
        let scratch = Scratch::new("signed");
        let file = SignedFile::new(&scratch.path().join("made"), 1, &[7; 32]);
        assert_eq!(file.load().unwrap(), SigningRecord::default());
        let mut signed = SigningRecord::default();
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
        assert_eq!(other.load().unwrap(), SigningRecord::default());
        fs::write(other.path(), &whole).unwrap();
        let error = other.load().unwrap_err();
        assert!(error.to_string().contains("another validator"), "{error}");
        let other = SignedFile::new(&scratch.path().join("made"), 0, &[7; 32]);
        fs::write(other.path(), &whole).unwrap();
        let error = other.load().unwrap_err();
        assert!(matches!(error.problem, HeadFileProblem::OtherChain(1)));
    }
}
