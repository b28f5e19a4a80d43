//! Chain directory: identity, head journal and signing records of one chain.
//!
//! | file | contents |
//! | --- | --- |
//! | `identity.json` | chain id, rules version, genesis, keys with a signing record |
//! | `heads` | journal of the last 1,024 heads; see [`head_journal`] |
//! | `signed_<chain id>_<key>.json` | signing record of a key; see [`signed`](super::signing_record) |
//! | `request_<chain id>_<key>` | block whose signature was requested last from a signer |
//! | `decisions.json` | the operator's decisions on forks |
//! | `waiting_forks.json` | forks that wait for a decision |
//! | `snapshot` | block whose whole state is stored; see [`snapshot`](super::snapshot) |
//! | `snapshot_begun` | block whose state is being fetched |
//! | `LOCK` | lock of the process that uses the directory |
//!
//! The directory is `<chain id>` in `chain_dir`, or else in `chain` of `cold_storage_path`. Cold
//! storage reads only `level_*` and its own files there, and a reference node only `level_*`, so
//! neither is affected.
//!
//! Invariants:
//! - A chain resumes only from the journal: not from blocks in the store, which any user can put
//!   there.
//! - Damage and missing parts are errors that name the command for recovery; they never count as
//!   the absence of a chain.
//! - Every file is synced, and replaced atomically or appended to. Nothing is written into a
//!   directory that was removed or replaced after it was opened.
//!
//! [`head_journal`]: astreum_core::consensus::head_journal

mod backup;
mod begin;
mod decisions;
mod error;
mod identity;
mod journal;
mod legacy;
mod location;
mod request;
mod waiting;

pub use backup::{copy_head_journal, copy_other_files};
pub use begin::{BeginError, begin_chain};
pub use error::{ChainDirError, Trace};
pub use identity::Identity;
pub use journal::HeadJournalFile;
pub use legacy::Legacy;
pub use location::{candidates, has_files, location};
pub use waiting::WaitingFork;

use super::signing_record::SigningRecordFile;
use crate::chain_service::producer::UnsignedBlock;
use crate::store::disk::{Disk as _, SystemDisk};
use astreum_core::atom::AtomId;
use astreum_core::chain::RULES_VERSION;
use astreum_core::consensus::head_journal::JournalHeader;
use astreum_core::consensus::{ForkDecisions, SavedHead, SigningRecord};
use decisions::DecisionsFile;
use identity::IdentityFile;
use request::RequestFile;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use waiting::WaitingForksFile;

const LOCK: &str = "LOCK";
const HEADS: &str = "heads";
const IDENTITY: &str = "identity.json";

/// Open chain directory, locked for this process.
#[derive(Debug)]
pub struct ChainDir {
    path: PathBuf,
    chain_id: u64,
    lock: File,
    identity_file: IdentityFile,
    identity: Option<Identity>,
    journal: Option<HeadJournalFile>,
}

impl ChainDir {
    /// Opens the directory of the chain `chain_id`, which is created if missing, and reads its
    /// files.
    ///
    /// # Errors
    /// Fails if another process uses the directory, a file is damaged or of another chain or other
    /// rules, or the disk fails.
    pub fn open(path: &Path, chain_id: u64) -> Result<Self, ChainDirError> {
        let mut dir = Self::open_unread(path, chain_id)?;
        dir.read()?;
        Ok(dir)
    }

    /// Opens the directory without reading its files, so that damaged ones can be replaced.
    ///
    /// # Errors
    /// Fails if another process uses the directory, or the disk fails.
    pub fn open_unread(path: &Path, chain_id: u64) -> Result<Self, ChainDirError> {
        let failed = |error| ChainDirError::io("open", path, error);
        create_dir(path).map_err(failed)?;
        let lock_path = path.join(LOCK);
        let lock = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(|error| ChainDirError::io("open", &lock_path, error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                return Err(ChainDirError::Locked { path: path.into() });
            }
            Err(fs::TryLockError::Error(error)) => {
                return Err(ChainDirError::io("lock", &lock_path, error));
            }
        }
        Ok(Self {
            path: path.to_owned(),
            chain_id,
            lock,
            identity_file: IdentityFile::new(path, chain_id),
            identity: None,
            journal: None,
        })
    }

    /// Reads identity and journal, and checks that they agree.
    fn read(&mut self) -> Result<(), ChainDirError> {
        self.identity = self.load_identity()?;
        self.journal = self.load_journal()?;
        match (&self.identity, &self.journal) {
            (Some(identity), Some(journal)) => {
                let (stated, header) = (identity.genesis, journal.header());
                if stated.is_some() && header.genesis.is_some() && stated != header.genesis {
                    let path = self.identity_file.path().to_owned();
                    let what = "its genesis does not match the head journal in the same directory";
                    return Err(ChainDirError::damaged(&path, what));
                }
            }
            (Some(_), None) => {
                let path = self.path.join(HEADS);
                return Err(ChainDirError::Missing { path });
            }
            (None, _) => {}
        }
        let rules = self.identity.as_ref().map(|it| it.rules_version);
        let of_journal = self.journal.as_ref().map(|it| it.header().rules_version);
        let mut versions = [rules, of_journal].into_iter().flatten();
        match versions.find(|found| *found != RULES_VERSION) {
            Some(found) => Err(ChainDirError::OtherRules {
                path: self.path.clone(),
                found,
            }),
            None => Ok(()),
        }
    }

    /// Returns the path of the directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the chain id.
    #[must_use]
    pub const fn chain_id(&self) -> u64 {
        self.chain_id
    }

    /// Returns the path of the identity.
    #[must_use]
    pub fn identity_path(&self) -> PathBuf {
        self.identity_file.path().to_owned()
    }

    /// Returns the path of the head journal.
    #[must_use]
    pub fn journal_path(&self) -> PathBuf {
        self.path.join(HEADS)
    }

    /// Returns the path of the head journal in a chain directory.
    #[must_use]
    pub fn journal_in(directory: &Path) -> PathBuf {
        directory.join(HEADS)
    }

    /// Reads the identity, independent of the other files.
    ///
    /// # Errors
    /// Fails if the identity is damaged or of another chain, or the disk fails.
    pub fn load_identity(&self) -> Result<Option<Identity>, ChainDirError> {
        self.identity_file.load()
    }

    /// Reads the head journal, independent of the other files.
    ///
    /// # Errors
    /// Fails if the journal is damaged or of another chain, or the disk fails.
    pub fn load_journal(&self) -> Result<Option<HeadJournalFile>, ChainDirError> {
        HeadJournalFile::open(&self.journal_path(), self.chain_id)
    }

    /// Returns whether the directory has a chain.
    #[must_use]
    pub const fn has_chain(&self) -> bool {
        self.journal.is_some()
    }

    /// Returns the chain's identity, if the directory has one.
    #[must_use]
    pub const fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// Returns the head journal, if the directory has a chain.
    #[must_use]
    pub const fn journal(&self) -> Option<&HeadJournalFile> {
        self.journal.as_ref()
    }

    /// Returns the file of this key's signing record.
    #[must_use]
    pub fn signing_record_file(&self, key: &[u8; 32]) -> SigningRecordFile {
        SigningRecordFile::new(&self.path, self.chain_id, key)
    }

    /// Returns the paths of all signing records.
    ///
    /// # Errors
    /// Fails if the directory cannot be listed.
    pub fn signing_record_files(&self) -> Result<Vec<PathBuf>, ChainDirError> {
        signing_record_files(&self.path, self.chain_id)
            .map_err(|error| ChainDirError::io("list", &self.path, error))
    }

    /// Returns the signing record of this key; an empty one if the key has signed nothing.
    ///
    /// # Errors
    /// Fails if the file is damaged, or missing although the key has signed.
    pub fn signing_record(&self, key: &[u8; 32]) -> Result<SigningRecord, ChainDirError> {
        let file = self.signing_record_file(key);
        let has_signed = self
            .identity
            .as_ref()
            .is_some_and(|identity| identity.signing_keys.contains(key));
        if has_signed && !file.path().exists() {
            return Err(ChainDirError::Missing {
                path: file.path().to_owned(),
            });
        }
        Ok(file.load()?)
    }

    /// Saves the signing record of this key.
    ///
    /// # Errors
    /// Fails if the disk fails. The previous record remains unless the new one was put in place.
    pub fn save_signing_record(
        &mut self,
        key: &[u8; 32],
        record: &SigningRecord,
    ) -> Result<(), ChainDirError> {
        self.check_in_place()?;
        self.signing_record_file(key).save(record)?;
        // Saved after the file, so that the identity never lists a missing record.
        if let Some(identity) = &mut self.identity
            && identity.signing_keys.insert(*key)
        {
            self.identity_file.save(identity)?;
        }
        Ok(())
    }

    /// Reads the block whose signature was requested last from the signer of this key.
    ///
    /// # Errors
    /// Fails if the file is damaged, or the disk fails.
    pub fn signing_request(&self, key: &[u8; 32]) -> Result<Option<UnsignedBlock>, ChainDirError> {
        RequestFile::new(&self.path, self.chain_id, key).load()
    }

    /// Saves the block whose signature is requested next from the signer of this key.
    ///
    /// # Errors
    /// Fails if the disk fails.
    pub fn save_signing_request(
        &self,
        key: &[u8; 32],
        block: &UnsignedBlock,
    ) -> Result<(), ChainDirError> {
        self.check_in_place()?;
        RequestFile::new(&self.path, self.chain_id, key).save(block)
    }

    /// Reads the operator's decisions on forks; returns empty ones if there is no file.
    ///
    /// # Errors
    /// Fails if the file is damaged, or the disk fails.
    pub fn decisions(&self) -> Result<ForkDecisions, ChainDirError> {
        self.load_decisions().map(Option::unwrap_or_default)
    }

    /// Reads the file of the operator's decisions on forks, if there is one.
    ///
    /// # Errors
    /// Fails if the file is damaged, or the disk fails.
    pub fn load_decisions(&self) -> Result<Option<ForkDecisions>, ChainDirError> {
        DecisionsFile::new(&self.path).load()
    }

    /// Returns the path of the file of the operator's decisions on forks.
    #[must_use]
    pub fn decisions_path(&self) -> PathBuf {
        DecisionsFile::new(&self.path).path().to_owned()
    }

    /// Saves the operator's decisions on forks.
    ///
    /// # Errors
    /// Fails if the disk fails. The previous decisions remain unless the new ones were put in
    /// place.
    pub fn save_decisions(&self, decisions: &ForkDecisions) -> Result<(), ChainDirError> {
        self.check_in_place()?;
        DecisionsFile::new(&self.path).save(decisions)
    }

    /// Reads the saved forks that wait for a decision of the operator; none if there is no file.
    ///
    /// # Errors
    /// Fails if the file is malformed, or the disk fails.
    pub fn waiting_forks(&self) -> Result<Vec<WaitingFork>, ChainDirError> {
        WaitingForksFile::new(&self.path).load()
    }

    /// Reads the saved forks of a chain directory, without its lock, that its saved decisions do
    /// not settle.
    ///
    /// # Errors
    /// Fails if a file is malformed, or the disk fails.
    pub fn undecided_forks_in(directory: &Path) -> Result<Vec<WaitingFork>, ChainDirError> {
        let mut forks = WaitingForksFile::new(directory).load()?;
        let decisions = DecisionsFile::new(directory).load()?.unwrap_or_default();
        forks.retain(|fork| !fork.is_settled_by(&decisions));
        Ok(forks)
    }

    /// Saves the forks that wait for a decision of the operator.
    ///
    /// # Errors
    /// Fails if the disk fails. The previous ones remain unless the new ones were put in place.
    pub fn save_waiting_forks(&self, forks: &[WaitingFork]) -> Result<(), ChainDirError> {
        self.check_in_place()?;
        WaitingForksFile::new(&self.path).save(forks)
    }

    /// Appends a head to the journal; starts the chain with it if the directory has none. `genesis`
    /// is the genesis of its chain, if known.
    ///
    /// # Errors
    /// Fails if the head belongs to another chain, or the disk fails. Heads saved before remain.
    pub fn save_head(
        &mut self,
        head: &SavedHead,
        genesis: Option<AtomId>,
    ) -> Result<(), ChainDirError> {
        self.check_in_place()?;
        let Some(journal) = &mut self.journal else {
            return self.begin(core::iter::once(head), genesis);
        };
        let known = journal.header().genesis;
        if let (Some(ours), Some(other)) = (known, genesis)
            && ours != other
        {
            return Err(ChainDirError::OtherGenesis { ours, other });
        }
        let header = JournalHeader {
            genesis: known.or(genesis),
            checkpoint: head.resume.checkpoint.or(journal.header().checkpoint),
            ..*journal.header()
        };
        journal
            .append(head, header)
            .map_err(|error| ChainDirError::io("write", &self.path.join(HEADS), error))?;
        self.complete_identity(header.genesis)
    }

    /// Starts a chain with these heads, newest last; replaces an existing one.
    ///
    /// # Errors
    /// Fails if the disk fails.
    pub fn begin<'h>(
        &mut self,
        heads: impl Iterator<Item = &'h SavedHead>,
        genesis: Option<AtomId>,
    ) -> Result<(), ChainDirError> {
        self.check_in_place()?;
        let heads: Vec<_> = heads.cloned().collect();
        let header = JournalHeader {
            chain_id: self.chain_id,
            rules_version: RULES_VERSION,
            genesis,
            checkpoint: heads.last().and_then(|head| head.resume.checkpoint),
        };
        let path = self.path.join(HEADS);
        let journal = HeadJournalFile::create(&path, header, heads)
            .map_err(|error| ChainDirError::io("write", &path, error))?;
        self.journal = Some(journal);
        // Saved after the journal, from which the identity can be rebuilt.
        self.complete_identity(genesis)
    }

    /// Writes the identity if it is missing or lacks the genesis.
    fn complete_identity(&mut self, genesis: Option<AtomId>) -> Result<(), ChainDirError> {
        let is_complete = self
            .identity
            .as_ref()
            .is_some_and(|identity| identity.genesis.is_some() || genesis.is_none());
        if is_complete {
            return Ok(());
        }
        let mut identity = match self.identity.take() {
            Some(identity) => identity,
            None => Identity::new(self.chain_id, self.signing_keys()?),
        };
        identity.genesis = identity.genesis.or(genesis);
        self.identity_file.save(&identity)?;
        self.identity = Some(identity);
        Ok(())
    }

    /// Rebuilds a missing identity from an intact journal. Returns whether it was missing.
    ///
    /// # Errors
    /// Fails if the disk fails.
    pub fn repair_identity(&mut self) -> Result<bool, ChainDirError> {
        let genesis = match &self.journal {
            Some(journal) if self.identity.is_none() => journal.header().genesis,
            _ => return Ok(false),
        };
        self.complete_identity(genesis)?;
        Ok(true)
    }

    /// Returns the keys of all signing records in the directory.
    fn signing_keys(&self) -> Result<Vec<[u8; 32]>, ChainDirError> {
        let files = self.signing_record_files()?;
        files
            .iter()
            .map(|path| Ok(SigningRecordFile::key_of(path)?))
            .collect()
    }

    /// Checks that the directory is still the one that was opened.
    fn check_in_place(&self) -> Result<(), ChainDirError> {
        let path = self.path.join(LOCK);
        let of = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        let held = self.lock.metadata().map(of);
        let failed = |error| ChainDirError::io("find", &path, error);
        if held.map_err(failed)? == fs::metadata(&path).map(of).map_err(failed)? {
            return Ok(());
        }
        let error = io::Error::other("the directory was replaced while the node was running");
        Err(failed(error))
    }
}

/// Returns the paths of the signing records in `directory` for the chain `chain_id`, sorted.
pub(super) fn signing_record_files(directory: &Path, chain_id: u64) -> io::Result<Vec<PathBuf>> {
    let prefix = format!("signed_{chain_id}_");
    let entries = SystemDisk.list(directory)?;
    let names = entries.into_iter().filter(|entry| !entry.is_dir);
    let names = names.map(|entry| entry.name);
    let ours = names.filter(|name| name.starts_with(&prefix) && name.ends_with(".json"));
    let mut paths: Vec<_> = ours.map(|name| directory.join(name)).collect();
    paths.sort();
    Ok(paths)
}

/// Creates a directory with its parents, and makes their names durable.
fn create_dir(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(path)?;
    for parent in path.ancestors().skip(1) {
        let parent = if parent.as_os_str().is_empty() {
            Path::new(".")
        } else {
            parent
        };
        match File::open(parent).and_then(|directory| directory.sync_all()) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => break,
            synced => synced?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
