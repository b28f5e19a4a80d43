//! The head of the chain, and the file that remembers it across restarts.
//!
//! The file is `head_<chain id>.json` in the state directory. It is replaced as a whole: written
//! beside its place, forced to the disk, and renamed, so that after a crash the old or the new one
//! is there. A file that is damaged or from a newer version is an error that says what to do; it is
//! never taken for "no head", since a validator would start another chain then.

use astreum_core::atom::AtomId;
use astreum_core::consensus::{HeadState, SavedHead};
use core::fmt;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// The newest version of the file that is read, and the one that is written.
const VERSION: u32 = 1;
/// No file of ours is longer.
const MAX_FILE_BYTES: u64 = 4_096;

/// Why the head could not be remembered or recalled.
#[derive(Debug)]
pub struct HeadFileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: HeadFileProblem,
}

/// What is wrong with a head file.
#[derive(Debug)]
#[non_exhaustive]
pub enum HeadFileProblem {
    /// The system does not read or write it.
    Io(io::Error),
    /// It is not what was written.
    Damaged(String),
    /// A newer version of this program wrote it.
    NewerVersion(u32),
    /// It is of another chain.
    OtherChain(u64),
}

impl fmt::Display for HeadFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.path.display())?;
        let way_out = "remove it, and the node takes a head from its peers";
        match &self.problem {
            HeadFileProblem::Io(error) => write!(
                f,
                "{error}; set state_dir to a directory that can be read and written"
            ),
            HeadFileProblem::Damaged(what) => write!(f, "damaged ({what}); {way_out}"),
            HeadFileProblem::NewerVersion(version) => {
                write!(
                    f,
                    "written in format {version}, this version reads up to {VERSION}; {way_out}"
                )
            }
            HeadFileProblem::OtherChain(chain_id) => {
                write!(f, "of the chain with chain_id {chain_id}; {way_out}")
            }
        }
    }
}

impl core::error::Error for HeadFileError {}

/// The form in the file.
#[derive(Serialize, Deserialize)]
struct Record {
    version: u32,
    chain_id: u64,
    head: String,
    height: u64,
    timestamp: u64,
    state: String,
    root: Option<String>,
}

/// The place of a node's head file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeadFile {
    path: PathBuf,
    chain_id: u64,
}

impl HeadFile {
    /// The file of the chain `chain_id` in `state_dir`.
    #[must_use]
    pub fn new(state_dir: &Path, chain_id: u64) -> Self {
        Self {
            path: state_dir.join(format!("head_{chain_id}.json")),
            chain_id,
        }
    }

    /// What was saved last; `None` if nothing was.
    ///
    /// # Errors
    /// When there is a file and it cannot be used.
    pub fn load(&self) -> Result<Option<SavedHead>, HeadFileError> {
        match fs::metadata(&self.path) {
            Ok(metadata) if metadata.len() > MAX_FILE_BYTES => {
                let what = format!("{} bytes", metadata.len());
                return Err(self.error(HeadFileProblem::Damaged(what)));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.error(HeadFileProblem::Io(error))),
        }
        let text = fs::read(&self.path).map_err(|error| self.error(HeadFileProblem::Io(error)))?;
        self.parse(&text)
            .map(Some)
            .map_err(|problem| self.error(problem))
    }

    fn parse(&self, text: &[u8]) -> Result<SavedHead, HeadFileProblem> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let damaged = |error: serde_json::Error| HeadFileProblem::Damaged(error.to_string());
        // Alone at first: what else a newer version has cannot be known.
        let Version { version } = serde_json::from_slice(text).map_err(damaged)?;
        if version > VERSION {
            return Err(HeadFileProblem::NewerVersion(version));
        }
        let record: Record = serde_json::from_slice(text).map_err(damaged)?;
        if record.chain_id != self.chain_id {
            return Err(HeadFileProblem::OtherChain(record.chain_id));
        }
        let id = |text: &str| {
            let id: Result<AtomId, _> = text.parse();
            id.map_err(|error| HeadFileProblem::Damaged(error.to_string()))
        };
        Ok(SavedHead {
            id: id(&record.head)?,
            height: record.height,
            timestamp: record.timestamp,
            state: HeadState::from_name(&record.state).ok_or_else(|| {
                HeadFileProblem::Damaged(format!("unknown state `{}`", record.state))
            })?,
            root: record.root.as_deref().map(id).transpose()?,
        })
    }

    /// Replaces what was saved.
    ///
    /// # Errors
    /// When the system does not write it; what was saved before is there then.
    pub fn save(&self, saved: &SavedHead) -> Result<(), HeadFileError> {
        let record = Record {
            version: VERSION,
            chain_id: self.chain_id,
            head: saved.id.to_string(),
            height: saved.height,
            timestamp: saved.timestamp,
            state: saved.state.name().to_owned(),
            root: saved.root.as_ref().map(AtomId::to_string),
        };
        let mut text = serde_json::to_vec(&record).map_err(io::Error::from);
        if let Ok(text) = &mut text {
            text.push(b'\n');
        }
        text.and_then(|text| replace(&self.path, &text))
            .map_err(|error| self.error(HeadFileProblem::Io(error)))
    }

    fn error(&self, problem: HeadFileProblem) -> HeadFileError {
        HeadFileError {
            path: self.path.clone(),
            problem,
        }
    }
}

/// Writes `bytes` as the whole of the file at `path`, so that a crash leaves the old or the new.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(directory)?;
    let beside = path.with_extension("json.new");
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    fn saved(n: u8, state: HeadState) -> SavedHead {
        SavedHead {
            id: AtomId::new([n; 32]),
            height: u64::from(n),
            timestamp: 1_700_000_000 + u64::from(n),
            state,
            root: (n > 1).then_some(AtomId::new([9; 32])),
        }
    }

    #[test]
    fn the_last_head_is_recalled_and_chains_do_not_mix() {
        let scratch = Scratch::new("head");
        let file = HeadFile::new(&scratch.path().join("made"), 1);
        assert_eq!(file.load().unwrap(), None);
        for saved in [saved(1, HeadState::Trusted), saved(2, HeadState::Own)] {
            file.save(&saved).unwrap();
            assert_eq!(file.load().unwrap(), Some(saved));
        }
        let other = HeadFile::new(&scratch.path().join("made"), 0);
        assert_eq!(other.load().unwrap(), None);
        // Somebody renamed it.
        fs::copy(&file.path, &other.path).unwrap();
        let error = other.load().unwrap_err();
        assert!(matches!(error.problem, HeadFileProblem::OtherChain(1)));
        assert_eq!(
            fs::read_dir(file.path.parent().unwrap()).unwrap().count(),
            2
        );
    }

    #[test]
    fn a_damaged_file_is_an_error_that_names_it_and_never_no_head() {
        let scratch = Scratch::new("head-damaged");
        let file = HeadFile::new(scratch.path(), 0);
        file.save(&saved(2, HeadState::Verified)).unwrap();
        let whole = fs::read(&file.path).unwrap();
        for len in 0..whole.len() - 1 {
            fs::write(&file.path, &whole[..len]).unwrap();
            let error = file.load().unwrap_err();
            assert!(
                matches!(error.problem, HeadFileProblem::Damaged(_)),
                "{len}"
            );
            assert!(error.to_string().contains("head_0.json"));
        }
        fs::write(&file.path, br#"{"version":2,"new":true}"#).unwrap();
        let error = file.load().unwrap_err();
        assert!(matches!(error.problem, HeadFileProblem::NewerVersion(2)));
        let id = AtomId::new([2; 32]).to_string();
        let text = String::from_utf8(whole).unwrap().replace(&id, "02");
        fs::write(&file.path, text).unwrap();
        let error = file.load().unwrap_err();
        assert!(matches!(error.problem, HeadFileProblem::Damaged(_)));
        fs::write(&file.path, vec![b' '; 5_000]).unwrap();
        assert!(file.load().unwrap_err().to_string().contains("5000 bytes"));
    }
}
