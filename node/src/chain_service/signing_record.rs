//! File of a signing record (slashing protection).
//!
//! The file is `signed_<chain id>_<start of the key>.json` in the chain directory. It is replaced
//! as a whole, and synced, before a block is published. A damaged file is an error, and never
//! counts as an empty record.

use super::files::{read_file, replace_file};
use crate::store::is_no_room;
use astreum_core::atom::AtomId;
use astreum_core::chain::Block;
use astreum_core::consensus::{SignedBlock, SigningRecord, StoreFailure};
use core::fmt;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

/// Newest version of the file that is read; also the version that is written.
const VERSION: u32 = 1;
/// Maximum size of the file, in bytes.
const MAX_FILE_BYTES: u64 = 64 << 10;

/// Reason a signing record could not be saved or loaded. No block is signed then.
#[derive(Debug)]
pub struct SigningRecordError {
    /// Path of the file.
    pub path: PathBuf,
    /// Kind of the problem.
    pub problem: SigningRecordProblem,
}

/// Problem of a signing record's file.
#[derive(Debug)]
#[non_exhaustive]
pub enum SigningRecordProblem {
    /// The system failed to read or write the file.
    Io(io::Error),
    /// The file is damaged.
    Damaged(String),
    /// The file was written by a newer version of this program.
    NewerVersion(u32),
    /// The file belongs to the chain with this chain id.
    OtherChain(u64),
}

impl SigningRecordError {
    /// Converts the error to the form used by the consensus components.
    #[must_use]
    pub fn failure(&self) -> StoreFailure {
        match &self.problem {
            SigningRecordProblem::Io(error) if is_no_room(error.kind()) => {
                StoreFailure::NoRoom(self.to_string())
            }
            _ => StoreFailure::Failed(self.to_string()),
        }
    }
}

impl fmt::Display for SigningRecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "signing record {}: ", self.path.display())?;
        match &self.problem {
            SigningRecordProblem::Io(error) => return error.fmt(f),
            SigningRecordProblem::Damaged(what) => write!(f, "damaged ({what})")?,
            SigningRecordProblem::NewerVersion(version) => {
                return write!(
                    f,
                    "written in format {version}, the newest supported format is {VERSION}; use a \
                     newer version"
                );
            }
            SigningRecordProblem::OtherChain(chain_id) => {
                write!(f, "it belongs to the chain with chain_id {chain_id}")?;
            }
        }
        f.write_str(
            "; it prevents this validator from signing two blocks for one slot: `astreum chain \
             recover` rebuilds it from the key's blocks on the chain",
        )
    }
}

impl core::error::Error for SigningRecordError {}

/// Encoding in the file.
#[derive(Serialize, Deserialize)]
struct Record {
    version: u32,
    chain_id: u64,
    validator: String,
    blocks: Vec<BlockRecord>,
    /// Compact form of the last block, in hex digits: in the record of a signer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct BlockRecord {
    height: u64,
    timestamp: u64,
    parent: String,
    block: String,
}

/// File of one validator's signing record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SigningRecordFile {
    path: PathBuf,
    chain_id: u64,
    validator: String,
}

impl SigningRecordFile {
    /// Creates the handle of the file in `directory` for the validator with this public key on the
    /// chain `chain_id`.
    #[must_use]
    pub fn new(directory: &Path, chain_id: u64, validator: &[u8; 32]) -> Self {
        let validator = hex::encode(validator);
        let start: String = validator.chars().take(16).collect();
        Self {
            path: directory.join(format!("signed_{chain_id}_{start}.json")),
            chain_id,
            validator,
        }
    }

    /// Returns the path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the key of the signing record in the file at `path`.
    ///
    /// # Errors
    /// Fails if the file cannot be read.
    pub fn key_of(path: &Path) -> Result<[u8; 32], SigningRecordError> {
        let error = |problem| SigningRecordError {
            path: path.to_owned(),
            problem,
        };
        let missing = || SigningRecordProblem::Io(io::ErrorKind::NotFound.into());
        let text = read_file(path, MAX_FILE_BYTES).map_err(|e| error(unreadable(e)))?;
        let text = text.ok_or_else(|| error(missing()))?;
        let record = parse(&text).map_err(error)?;
        let key = hex::decode(&record.validator)
            .ok()
            .and_then(|bytes| bytes.try_into().ok());
        key.ok_or_else(|| error(SigningRecordProblem::Damaged("invalid key".to_owned())))
    }

    /// Reads the signing record; returns an empty one if the file does not exist.
    ///
    /// # Errors
    /// Fails if the file exists and cannot be used.
    pub fn load(&self) -> Result<SigningRecord, SigningRecordError> {
        let text =
            read_file(&self.path, MAX_FILE_BYTES).map_err(|error| self.error(unreadable(error)))?;
        let Some(text) = text else {
            return Ok(SigningRecord::default());
        };
        let parsed = self.parse(&text).map_err(|problem| self.error(problem))?;
        Ok(parsed.0)
    }

    /// Reads the signing record of a signer, with the last block.
    ///
    /// # Errors
    /// Fails if the file does not exist or cannot be used.
    pub fn load_with_last(&self) -> Result<(SigningRecord, Option<Block>), SigningRecordError> {
        let text =
            read_file(&self.path, MAX_FILE_BYTES).map_err(|error| self.error(unreadable(error)))?;
        let missing = || SigningRecordProblem::Io(io::ErrorKind::NotFound.into());
        let text = text.ok_or_else(|| self.error(missing()))?;
        self.parse(&text).map_err(|problem| self.error(problem))
    }

    fn parse(&self, text: &[u8]) -> Result<(SigningRecord, Option<Block>), SigningRecordProblem> {
        let damaged = |what: &dyn fmt::Display| SigningRecordProblem::Damaged(what.to_string());
        let record = parse(text)?;
        if record.chain_id != self.chain_id {
            return Err(SigningRecordProblem::OtherChain(record.chain_id));
        }
        if record.validator != self.validator {
            return Err(damaged(&"it belongs to another validator"));
        }
        let mut signed = SigningRecord::default();
        for block in &record.blocks {
            let id = |text: &str| {
                let id: Result<AtomId, _> = text.parse();
                id.map_err(|error| damaged(&error))
            };
            let block = SignedBlock {
                parent: id(&block.parent)?,
                block: id(&block.block)?,
                height: block.height,
                timestamp: block.timestamp,
            };
            signed.add(block).map_err(|conflict| damaged(&conflict))?;
        }
        let Some(digits) = record.last else {
            return Ok((signed, None));
        };
        let last = hex::decode(digits).ok();
        let last = last.and_then(|bytes| Block::from_compact(&bytes));
        let last = last.filter(|last| signed.last().map(|mark| mark.block) == Some(last.id()));
        let last = last.ok_or_else(|| damaged(&"its last block does not match its entries"))?;
        Ok((signed, Some(last)))
    }

    /// Replaces the record. The directory must exist.
    ///
    /// # Errors
    /// Fails if the file cannot be written. If the new file was not put in place, the previous
    /// record remains.
    pub fn save(&self, signed: &SigningRecord) -> Result<(), SigningRecordError> {
        self.save_with_last(signed, None)
    }

    /// Replaces the record of a signer; `last` is the block of its newest entry.
    ///
    /// # Errors
    /// Same as [`SigningRecordFile::save`].
    pub fn save_with_last(
        &self,
        signed: &SigningRecord,
        last: Option<&Block>,
    ) -> Result<(), SigningRecordError> {
        let blocks = signed.blocks().iter().map(|block| BlockRecord {
            height: block.height,
            timestamp: block.timestamp,
            parent: block.parent.to_string(),
            block: block.block.to_string(),
        });
        let record = Record {
            version: VERSION,
            chain_id: self.chain_id,
            validator: self.validator.clone(),
            blocks: blocks.collect(),
            last: last.map(|last| hex::encode(last.to_compact())),
        };
        let written = serde_json::to_vec(&record)
            .map_err(io::Error::from)
            .and_then(|mut text| {
                text.push(b'\n');
                replace_file(&self.path, &text)
            });
        match written {
            Ok(_) => Ok(()),
            Err(error) => Err(self.error(SigningRecordProblem::Io(error))),
        }
    }

    fn error(&self, problem: SigningRecordProblem) -> SigningRecordError {
        SigningRecordError {
            path: self.path.clone(),
            problem,
        }
    }
}

fn parse(text: &[u8]) -> Result<Record, SigningRecordProblem> {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let damaged = |error: serde_json::Error| SigningRecordProblem::Damaged(error.to_string());
    // The version is read first: the other fields of a newer version are unknown.
    let Version { version } = serde_json::from_slice(text).map_err(damaged)?;
    if version > VERSION {
        return Err(SigningRecordProblem::NewerVersion(version));
    }
    serde_json::from_slice(text).map_err(damaged)
}

/// Returns what is wrong with a file that could not be read: one that is too large is damaged.
fn unreadable(error: io::Error) -> SigningRecordProblem {
    match error.kind() {
        io::ErrorKind::InvalidData => SigningRecordProblem::Damaged(error.to_string()),
        _ => SigningRecordProblem::Io(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use astreum_core::testkit::mark;
    use std::fs;

    #[test]
    fn saved_records_round_trip_and_damage_is_an_error() {
        let scratch = tempfile::tempdir().unwrap();
        let file = SigningRecordFile::new(scratch.path(), 1, &[7; 32]);
        assert_eq!(file.load().unwrap(), SigningRecord::default());
        let mut signed = SigningRecord::default();
        for number in 0..40 {
            let time = u64::from(number) + 1;
            signed.add(mark(number, number + 1, time)).unwrap();
            file.save(&signed).unwrap();
            assert_eq!(file.load().unwrap(), signed);
        }
        assert_eq!(SigningRecordFile::key_of(file.path()).unwrap(), [7; 32]);
        let whole = fs::read(file.path()).unwrap();
        for len in 0..whole.len() - 1 {
            fs::write(file.path(), &whole[..len]).unwrap();
            let error = file.load().unwrap_err();
            assert!(
                matches!(error.problem, SigningRecordProblem::Damaged(_)),
                "{len}"
            );
            assert!(error.to_string().contains("astreum chain recover"));
        }
        fs::write(file.path(), vec![b' '; 70_000]).unwrap();
        assert!(file.load().unwrap_err().to_string().contains("70000 bytes"));
        let error = SigningRecordFile::key_of(file.path()).unwrap_err();
        assert!(matches!(error.problem, SigningRecordProblem::Damaged(_)));
        fs::write(file.path(), br#"{"version":2,"new":true}"#).unwrap();
        let error = file.load().unwrap_err();
        assert!(matches!(
            error.problem,
            SigningRecordProblem::NewerVersion(2)
        ));
        let other = SigningRecordFile::new(scratch.path(), 1, &[8; 32]);
        assert_eq!(other.load().unwrap(), SigningRecord::default());
        fs::write(other.path(), &whole).unwrap();
        let error = other.load().unwrap_err();
        assert!(error.to_string().contains("another validator"), "{error}");
        let other = SigningRecordFile::new(scratch.path(), 0, &[7; 32]);
        fs::write(other.path(), &whole).unwrap();
        let error = other.load().unwrap_err();
        assert!(matches!(error.problem, SigningRecordProblem::OtherChain(1)));
    }

    #[test]
    fn save_fails_in_a_missing_directory() {
        let scratch = tempfile::tempdir().unwrap();
        let gone = scratch.path().join("gone");
        let file = SigningRecordFile::new(&gone, 0, &[7; 32]);
        assert!(file.save(&SigningRecord::default()).is_err());
        assert!(!gone.exists());
    }
}
