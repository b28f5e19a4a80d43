//! State that a node's chain resumes from.

use super::NodeError;
use crate::chain_service::dir::{
    ChainDir, ChainDirError, Legacy, Trace, candidates, has_files, location,
};
use crate::chain_service::producer::UnsignedBlock;
use crate::chain_service::replay::replay;
use crate::chain_service::search::any_block;
use crate::chain_service::signing_record::SigningRecordFile;
use crate::chain_service::{HeadState, SavedHead, SigningRecord};
use crate::clock;
use crate::config::Settings;
use crate::log;
use crate::store::Store;
use astreum_core::chain::Block;
use core::time::Duration;
use std::path::Path;
use std::time::Instant;

/// Interval between progress lines of a verification.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);

/// Rules version of directories in the previous format, which does not state one.
const LEGACY_RULES_VERSION: u32 = 1;

/// Chain files and their contents.
#[derive(Debug, Default)]
pub(super) struct Start {
    /// Chain directory; `None` if nothing is persisted.
    pub(super) dir: Option<ChainDir>,
    /// Head to resume from.
    pub(super) saved: Option<SavedHead>,
    /// Signing record of the validator's key.
    pub(super) signed: SigningRecord,
    /// Block whose signature was requested last from the validator's signer.
    pub(super) requested: Option<UnsignedBlock>,
}

/// Opens the chain directory of a node, imports files of the previous format from `state_dir`, and
/// refuses to continue where a second chain could begin.
pub(super) fn open(
    settings: &Settings,
    key: Option<[u8; 32]>,
    state_dir: &Path,
    store: &Store,
) -> Result<Start, NodeError> {
    let Some(path) = location(settings, key.is_some())? else {
        return Ok(Start::default());
    };
    let chain_id = settings.chain_id;
    let mut dir = ChainDir::open(&path, chain_id)?;
    if dir.repair_identity()? {
        log::warn!(
            "rewrote the missing identity of the chain in {}",
            path.display()
        );
    }
    let legacy = Legacy::find(state_dir, chain_id)?;
    if dir.has_chain() {
        if let Some(legacy) = legacy {
            retire(&legacy);
        }
    } else {
        refuse_other_directory(settings, &path)?;
        if let Some(legacy) = legacy {
            take_over(&mut dir, &legacy, key.is_some(), settings, store)?;
        }
        if key.is_some() && !dir.has_chain() {
            check_no_trace(&dir, settings, store)?;
        }
    }
    Ok(Start {
        saved: resume_point(&dir, store),
        signed: match key {
            Some(key) => dir.signing_record(&key)?,
            None => SigningRecord::default(),
        },
        requested: key.and_then(|key| signing_request(&dir, &key)),
        dir: Some(dir),
    })
}

/// Reads the block whose signature was requested last. Without it, only a block that the signer
/// has signed and the node has not published is lost.
fn signing_request(dir: &ChainDir, key: &[u8; 32]) -> Option<UnsignedBlock> {
    dir.signing_request(key).unwrap_or_else(|error| {
        log::warn!("the last signing request is ignored: {error}");
        None
    })
}

/// Returns the newest journaled head whose block is in the store, else the newest one, which is
/// then fetched.
fn resume_point(dir: &ChainDir, store: &Store) -> Option<SavedHead> {
    let journal = dir.journal()?;
    if journal.torn_bytes() > 0 {
        let path = dir.path().display();
        log::warn!("dropped an incomplete record at the end of the head journal in {path}");
    }
    let newest = journal.heads().back()?;
    let is_here = |head: &&SavedHead| Block::read(store, head.id).is_ok();
    let stored = journal.heads().iter().rev().find(is_here);
    if let Some(stored) = stored.filter(|stored| stored.id != newest.id) {
        log::warn!(
            "the last head is not in the store: resuming from an earlier one: height={} id={} \
             last_height={} last_id={}",
            stored.height,
            stored.id,
            newest.height,
            newest.id
        );
    }
    stored.or(Some(newest)).cloned()
}

/// Refuses to start in an empty directory while the chain's files are in another directory that the
/// configuration also names.
fn refuse_other_directory(settings: &Settings, path: &Path) -> Result<(), ChainDirError> {
    let others = candidates(settings).into_iter().skip(1);
    for other in others {
        if has_files(&other) {
            return Err(ChainDirError::NoJournal {
                path: path.to_owned(),
                chain_id: settings.chain_id,
                trace: Trace::Directory(other),
            });
        }
    }
    Ok(())
}

/// Refuses to validate without a journal where the chain has left a trace, unless peers can tell
/// how the chain continues.
fn check_no_trace(dir: &ChainDir, settings: &Settings, store: &Store) -> Result<(), NodeError> {
    let Some(trace) = trace(dir, settings.chain_id, store)? else {
        return Ok(());
    };
    if !settings.has_seeds() {
        return Err(NodeError::ChainDir(ChainDirError::NoJournal {
            path: dir.path().to_owned(),
            chain_id: settings.chain_id,
            trace,
        }));
    }
    log::warn!(
        "no head journal in {}, but {trace}: joining the chain through peers; `astreum chain \
         recover` resumes from cold storage instead",
        dir.path().display()
    );
    Ok(())
}

/// Returns a trace of the chain `chain_id` in its directory or in cold storage.
pub(crate) fn trace(
    dir: &ChainDir,
    chain_id: u64,
    store: &Store,
) -> Result<Option<Trace>, NodeError> {
    if let Some(path) = dir.signing_record_files()?.into_iter().next() {
        return Ok(Some(Trace::SigningRecord(path)));
    }
    let Some(cold) = store.cold() else {
        return Ok(None);
    };
    let block = any_block(cold, chain_id).map_err(NodeError::ColdStorage)?;
    Ok(block.map(|(id, height)| Trace::Block {
        id,
        height,
        store: cold.path().to_owned(),
    }))
}

fn retire(legacy: &Legacy) {
    match legacy.retire() {
        Ok(()) => log::warn!("renamed chain files of the previous format: they are not used"),
        Err(error) => log::error!("failed to rename chain files of the previous format: {error}"),
    }
}

/// Imports files of the previous format: signing records unchanged, the head if its chain passes
/// all rules.
fn take_over(
    dir: &mut ChainDir,
    legacy: &Legacy,
    validates: bool,
    settings: &Settings,
    store: &Store,
) -> Result<(), NodeError> {
    let chain_id = settings.chain_id;
    // Checked before anything is written.
    let head = legacy.head()?;
    for path in legacy.signing_record_files() {
        let key = SigningRecordFile::key_of(path).map_err(ChainDirError::from)?;
        let from = path.parent().unwrap_or(Path::new("."));
        let old = SigningRecordFile::new(from, chain_id, &key);
        let record = old.load().map_err(ChainDirError::from)?;
        // An earlier attempt may have come this far, and the key may have signed since.
        let kept = dir
            .signing_record_file(&key)
            .load()
            .map_err(ChainDirError::from)?;
        let time = |record: &SigningRecord| record.last().map(|block| block.timestamp);
        if time(&kept) < time(&record) {
            dir.save_signing_record(&key, &record)?;
        }
    }
    let Some((path, head)) = legacy.head_file().zip(head) else {
        // The contents of the directory are refused below, or stay beside the chain of the peers.
        retire(legacy);
        return Ok(());
    };
    if head.state == HeadState::Trusted {
        log::info!("the head of the previous run was not verified: syncing it from peers again");
        retire(legacy);
        return Ok(());
    }
    log::info!(
        "verifying the chain of the previous format: height={} id={}",
        head.height,
        head.id
    );
    let latest = clock::unix_time().as_secs();
    let latest = latest.saturating_add(settings.verification_max_future_skew);
    let mut reported = Instant::now();
    let replayed = replay(
        store,
        head.id,
        (chain_id, latest),
        None,
        &mut |done, total| {
            if reported.elapsed() >= PROGRESS_INTERVAL {
                reported = Instant::now();
                log::info!("verifying the chain of the previous format: blocks={done}/{total}");
            }
        },
    );
    match replayed.problem {
        None => {
            dir.begin(replayed.heads.iter(), replayed.genesis)?;
            log::warn!(
                "migrated the chain of the previous format to {}: height={} id={}",
                dir.path().display(),
                head.height,
                head.id
            );
        }
        Some(problem) if problem.is_invalid => {
            log::error!("{problem}");
            return Err(NodeError::ChainDir(ChainDirError::OtherRules {
                path: path.to_owned(),
                found: LEGACY_RULES_VERSION,
            }));
        }
        Some(problem) if validates => {
            return Err(NodeError::ChainDir(ChainDirError::NotVerified {
                path: path.to_owned(),
                why: problem.to_string(),
            }));
        }
        Some(problem) => log::warn!(
            "the chain of the previous format is incomplete in the store: syncing it from peers \
             again: {problem}"
        ),
    }
    retire(legacy);
    Ok(())
}
