//! Recovery of a chain directory from the blocks in cold storage.
//!
//! The blocks of the chain id are searched, and the highest chain is verified from its genesis by
//! all rules. If verification fails, the verified part competes with the next chain. Nothing
//! changes before [`adopt`].

use super::dir::{ChainDir, ChainDirError, HeadJournalFile, Identity};
use super::replay::{Replay, replay};
use super::search::{Blocks, Found, blocks};
use super::signing_record::SigningRecordFile;
use crate::store::Store;
use crate::store::cold::{ColdError, ColdStore, Progress};
use astreum_core::atom::AtomId;
use astreum_core::chain::Block;
use astreum_core::consensus::{ForkDecisions, SavedHead, SignedBlock, SigningRecord};
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

/// Maximum number of heads that are verified.
const MAX_REPLAYED: usize = 16;
/// Memory for atoms during verification, in bytes.
const HOT_BYTES: u64 = 256 << 20;

/// Condition of a file, or of files, of the chain directory.
#[derive(Debug)]
pub enum Condition<T> {
    /// The file does not exist.
    Missing,
    /// The file is usable.
    Intact(T),
    /// The file is unusable.
    Damaged(ChainDirError),
}

impl<T> Condition<T> {
    fn of(read: Result<Option<T>, ChainDirError>) -> Self {
        match read {
            Ok(Some(value)) => Self::Intact(value),
            Ok(None) => Self::Missing,
            Err(error) => Self::Damaged(error),
        }
    }

    /// Returns the value, if the file is usable.
    pub const fn intact(&self) -> Option<&T> {
        match self {
            Self::Intact(value) => Some(value),
            Self::Missing | Self::Damaged(_) => None,
        }
    }
}

/// Head in cold storage, with the result of verifying its chain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// Id of the head.
    pub id: AtomId,
    /// Height of the head.
    pub height: u64,
    /// Result of the verification; `None` if a better chain made it unnecessary.
    pub replay: Option<Replay>,
}

/// Contents of a chain directory and of the cold storage beside it.
#[derive(Debug)]
pub struct Survey {
    /// Identity of the chain.
    pub identity: Condition<Identity>,
    /// Head journal.
    pub journal: Condition<HeadJournalFile>,
    /// Signing records by path.
    pub signed: Vec<(PathBuf, Condition<SigningRecord>)>,
    /// Operator's decisions on forks.
    pub decisions: Condition<ForkDecisions>,
    /// Blocks in cold storage.
    pub blocks: Blocks,
    /// Genesis blocks among the blocks in cold storage.
    pub geneses: Vec<AtomId>,
    /// Heads among the blocks in cold storage, the highest first.
    pub candidates: Vec<Candidate>,
}

/// Reason no chain can be adopted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NothingToAdopt {
    /// Identity, journal and signing records are intact: the node resumes from them.
    Intact,
    /// No chain in cold storage could be verified.
    NoChain,
    /// There are chains of several geneses, and none of them is known to be the right one.
    Ambiguous,
}

impl Survey {
    /// Returns the genesis of the chain in the directory, if it is known.
    #[must_use]
    pub fn genesis(&self) -> Option<AtomId> {
        let identity = self.identity.intact().and_then(|it| it.genesis);
        let journal = self.journal.intact().and_then(|it| it.header().genesis);
        identity.or(journal)
    }

    /// Returns whether identity, journal and signing records are intact, so that no chain has to
    /// be adopted.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        let is_damaged = |condition: &Condition<SigningRecord>| condition.intact().is_none();
        let signed = self.signed.iter();
        self.identity.intact().is_some()
            && self.journal.intact().is_some()
            && !signed.map(|(_, condition)| condition).any(is_damaged)
    }

    /// Returns the verified chain to adopt: the highest one, or the verified part of `wanted`.
    ///
    /// # Errors
    /// Fails if there is nothing to adopt; see [`NothingToAdopt`].
    pub fn best(&self, wanted: Option<AtomId>) -> Result<&Replay, NothingToAdopt> {
        if self.is_intact() && wanted.is_none() {
            return Err(NothingToAdopt::Intact);
        }
        if self.genesis().is_none() && wanted.is_none() && self.geneses.len() > 1 {
            return Err(NothingToAdopt::Ambiguous);
        }
        let replays = self.candidates.iter().filter_map(|candidate| {
            let is_wanted = wanted.is_none_or(|wanted| wanted == candidate.id);
            candidate.replay.as_ref().filter(|_| is_wanted)
        });
        let ours = replays.filter(|replay| {
            let genesis = replay.genesis.filter(|_| !replay.heads.is_empty());
            let is_ours = self.genesis().is_none_or(|ours| Some(ours) == genesis);
            genesis.is_some() && (is_ours || wanted.is_some())
        });
        let height = |replay: &&Replay| replay.heads.back().map(|head| head.height);
        // Of equally high chains the first one is taken, which has the lower id.
        let best = ours.reduce(|best, next| {
            if height(&next) > height(&best) {
                next
            } else {
                best
            }
        });
        best.ok_or(NothingToAdopt::NoChain)
    }
}

/// Examines `dir`, which must be opened unread, and cold storage, and verifies the best chain, or
/// the one that ends in `wanted`. `latest_unix_seconds` is the latest timestamp that is accepted.
///
/// # Errors
/// Fails if the disk fails.
pub fn survey(
    dir: &ChainDir,
    cold: &ColdStore,
    wanted: Option<AtomId>,
    latest_unix_seconds: u64,
    progress: &mut dyn FnMut(&'static str, &'static str, Progress),
) -> Result<Survey, SurveyError> {
    let chain_id = dir.chain_id();
    let found = blocks(cold, chain_id, &mut |at| progress("searching", "atoms", at))?;
    let mut survey = Survey {
        identity: Condition::of(dir.load_identity()),
        journal: Condition::of(dir.load_journal()),
        signed: signing_records(dir)?,
        decisions: Condition::of(dir.load_decisions()),
        geneses: found.geneses(),
        candidates: Vec::new(),
        blocks: found,
    };
    let mut heads = survey.blocks.heads();
    if let Some(wanted) = wanted {
        let height = survey.blocks.get(&wanted).map_or(0, |found| found.height);
        let previous = AtomId::ZERO;
        heads = vec![(wanted, Found { height, previous })];
    }
    let store = Store::with_cold(HOT_BYTES, Some(cold.clone()));
    let mut reached = None;
    for (at, (id, found)) in heads.into_iter().enumerate() {
        // The remaining heads are not higher than the verified blocks.
        let is_needed = at < MAX_REPLAYED && reached.is_none_or(|reached| found.height > reached);
        let replay = is_needed.then(|| {
            replay(
                &store,
                id,
                (chain_id, latest_unix_seconds),
                Some(cold),
                &mut |done, total| {
                    progress("verifying", "blocks", Progress { done, total });
                },
            )
        });
        let is_ours = |replay: &&Replay| {
            let ours = survey.genesis();
            ours.is_none() || ours == replay.genesis
        };
        let heads = replay.as_ref().filter(is_ours).map(|replay| &replay.heads);
        let height = heads.and_then(|heads| Some(heads.back()?.height));
        reached = reached.max(height);
        survey.candidates.push(Candidate {
            id,
            height: found.height,
            replay,
        });
    }
    Ok(survey)
}

/// Reason a survey failed.
#[derive(Debug)]
pub enum SurveyError {
    /// Cold storage failed.
    Store(ColdError),
    /// The chain directory could not be read.
    Dir(ChainDirError),
}

impl core::fmt::Display for SurveyError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Dir(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for SurveyError {}

impl From<ColdError> for SurveyError {
    fn from(error: ColdError) -> Self {
        Self::Store(error)
    }
}

impl From<ChainDirError> for SurveyError {
    fn from(error: ChainDirError) -> Self {
        Self::Dir(error)
    }
}

fn signing_records(
    dir: &ChainDir,
) -> Result<Vec<(PathBuf, Condition<SigningRecord>)>, ChainDirError> {
    let mut records = Vec::new();
    for path in dir.signing_record_files()? {
        let record = SigningRecordFile::key_of(&path)
            .and_then(|key| dir.signing_record_file(&key).load())
            .map(Some);
        records.push((path, Condition::of(record.map_err(ChainDirError::from))));
    }
    let identity = dir.load_identity().ok().flatten();
    let keys = identity.map(|identity| identity.signing_keys);
    for key in keys.into_iter().flatten() {
        let path = dir.signing_record_file(&key).path().to_owned();
        if !records.iter().any(|(known, _)| *known == path) {
            records.push((path, Condition::Missing));
        }
    }
    Ok(records)
}

/// Makes `dir` resume from the last head of a verified chain. Damaged or missing signing records
/// are rebuilt from the blocks on the chain, for `keys` and for the keys in the identity. Files
/// that are replaced and cannot be read are kept under another name.
///
/// # Errors
/// Fails if the disk fails.
pub fn adopt(
    dir: &mut ChainDir,
    cold: &ColdStore,
    survey: &Survey,
    chain: &Replay,
    keys: &[[u8; 32]],
) -> Result<(), ChainDirError> {
    let mut signing: BTreeSet<[u8; 32]> = keys.iter().copied().collect();
    if let Some(identity) = survey.identity.intact() {
        signing.extend(&identity.signing_keys);
    }
    for (path, condition) in &survey.signed {
        match condition {
            Condition::Damaged(_) => set_aside(path)?,
            Condition::Intact(_) => {
                signing.insert(SigningRecordFile::key_of(path)?);
            }
            Condition::Missing => {}
        }
    }
    if matches!(survey.identity, Condition::Damaged(_)) {
        set_aside(&dir.identity_path())?;
    }
    if matches!(survey.journal, Condition::Damaged(_)) {
        set_aside(&dir.journal_path())?;
    }
    set_decisions_aside(dir, survey)?;
    let store = Store::with_cold(HOT_BYTES, Some(cold.clone()));
    for key in &signing {
        // An existing record is never replaced by a weaker one.
        if !dir.signing_record_file(key).path().exists() {
            let record = record_from_chain(&store, &chain.heads, key);
            if !record.blocks().is_empty() {
                dir.save_signing_record(key, &record)?;
            }
        }
    }
    dir.begin(chain.heads.iter(), chain.genesis)
}

/// Keeps the file of the operator's decisions under another name if it cannot be read; returns
/// whether it could not. The node starts without decisions then.
///
/// # Errors
/// Fails if the disk fails.
pub fn set_decisions_aside(dir: &ChainDir, survey: &Survey) -> Result<bool, ChainDirError> {
    let is_damaged = matches!(survey.decisions, Condition::Damaged(_));
    if is_damaged {
        set_aside(&dir.decisions_path())?;
    }
    Ok(is_damaged)
}

/// Rebuilds the signing record of a key from the last blocks of its chain.
pub(super) fn record_from_chain<'h>(
    store: &Store,
    heads: impl IntoIterator<Item = &'h SavedHead>,
    key: &[u8; 32],
) -> SigningRecord {
    let mut record = SigningRecord::default();
    for head in heads {
        let block = Block::read(store, head.id).ok();
        let own = block.filter(|block| block.validator.as_bytes() == key && !block.is_genesis());
        if let Some(block) = own {
            // Cannot fail: a verified chain has one block per parent, each later than its parent.
            let _ = record.add(SignedBlock {
                parent: block.previous,
                block: head.id,
                height: head.height,
                timestamp: head.timestamp,
            });
        }
    }
    record
}

fn set_aside(path: &std::path::Path) -> Result<(), ChainDirError> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".damaged");
    fs::rename(path, aside).map_err(|error| ChainDirError::io("rename", path, error))
}
