//! Files of the previous format, which kept head and signing records in the state directory.

use super::{ChainDirError, signing_record_files};
use crate::chain_service::files::read_file;
use astreum_core::atom::AtomId;
use astreum_core::consensus::{HeadState, ResumeData, SavedHead};
use serde::Deserialize;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Only version of the head file.
const VERSION: u32 = 1;
/// Maximum size of the head file, in bytes.
const MAX_FILE_BYTES: u64 = 4_096;
/// Suffix of the names of files that were migrated.
const SUFFIX: &str = ".migrated";

/// Files of one chain in the previous format.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Legacy {
    head: Option<PathBuf>,
    signed: Vec<PathBuf>,
    chain_id: u64,
}

/// Encoding in the head file.
#[derive(Deserialize)]
struct Record {
    version: u32,
    chain_id: u64,
    head: String,
    height: u64,
    timestamp: u64,
    state: String,
    root: Option<String>,
}

impl Legacy {
    /// Finds the files of the chain `chain_id` in `state_dir`; returns `None` if there are none.
    ///
    /// # Errors
    /// Fails if the directory cannot be listed.
    pub fn find(state_dir: &Path, chain_id: u64) -> Result<Option<Self>, ChainDirError> {
        let failed = |error| ChainDirError::io("list", state_dir, error);
        let head = state_dir.join(format!("head_{chain_id}.json"));
        let head = head.try_exists().map_err(failed)?.then_some(head);
        let signed = signing_record_files(state_dir, chain_id).map_err(failed)?;
        let is_any = head.is_some() || !signed.is_empty();
        Ok(is_any.then_some(Self {
            head,
            signed,
            chain_id,
        }))
    }

    /// Returns the path of the head file, if it exists.
    #[must_use]
    pub fn head_file(&self) -> Option<&Path> {
        self.head.as_deref()
    }

    /// Returns the paths of the signing records.
    #[must_use]
    pub fn signing_record_files(&self) -> &[PathBuf] {
        &self.signed
    }

    /// Reads the head, if the head file exists.
    ///
    /// # Errors
    /// Fails if the file is damaged or cannot be read.
    pub fn head(&self) -> Result<Option<SavedHead>, ChainDirError> {
        let Some(path) = &self.head else {
            return Ok(None);
        };
        let read = read_file(path, MAX_FILE_BYTES);
        let text = read.map_err(|error| ChainDirError::io("read", path, error))?;
        let text = text.unwrap_or_default();
        let record: Record =
            serde_json::from_slice(&text).map_err(|error| ChainDirError::damaged(path, error))?;
        if record.version > VERSION {
            return Err(ChainDirError::NewerVersion {
                path: path.clone(),
                found: record.version,
            });
        }
        if record.chain_id != self.chain_id {
            return Err(ChainDirError::OtherChain {
                path: path.clone(),
                found: record.chain_id,
            });
        }
        let id = |text: &str| {
            let id: Result<AtomId, _> = text.parse();
            id.map_err(|error| ChainDirError::damaged(path, error))
        };
        Ok(Some(SavedHead {
            id: id(&record.head)?,
            height: record.height,
            timestamp: record.timestamp,
            state: HeadState::from_name(&record.state)
                .ok_or_else(|| ChainDirError::damaged(path, "unknown state"))?,
            root: record.root.as_deref().map(id).transpose()?,
            resume: ResumeData::default(),
        }))
    }

    /// Renames the files, so that neither this version nor an older one resumes from them again.
    ///
    /// # Errors
    /// Fails if the system does not rename them.
    pub fn retire(&self) -> Result<(), ChainDirError> {
        for path in self.head.iter().chain(&self.signed) {
            retire(path).map_err(|error| ChainDirError::io("rename", path, error))?;
        }
        Ok(())
    }
}

fn retire(path: &Path) -> io::Result<()> {
    let mut retired = path.as_os_str().to_owned();
    retired.push(SUFFIX);
    fs::rename(path, retired)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}
