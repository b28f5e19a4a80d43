//! File of the forks that wait for a decision of the operator.
//!
//! Fork choice finds such a fork only once the branches have been announced. The file lets pruning
//! keep the states above the fork before that: after a restart, and while the node does not run.

use super::ChainDirError;
use crate::chain_service::files::{read_file, replace_file};
use astreum_core::atom::AtomId;
use astreum_core::chain::fork_choice::{Cause, Contest};
use astreum_core::consensus::ForkDecisions;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Newest version of the file that is read; also the version that is written.
const VERSION: u32 = 1;
/// Maximum size of the file, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Maximum number of forks that are saved, and of branches of one; the lowest are kept.
const MAX_SAVED: usize = 64;
const NAME: &str = "waiting_forks.json";

/// Fork that waits for a decision of the operator.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WaitingFork {
    /// Last block that the branches share.
    pub block: AtomId,
    /// Height of that block.
    pub height: u64,
    /// First block of the branch that the node is on, if it is on one.
    pub ours: Option<AtomId>,
    /// First blocks of the other branches.
    pub others: Vec<AtomId>,
}

impl WaitingFork {
    /// Returns the fork of a contest, if it waits for the operator.
    #[must_use]
    pub fn of(contest: &Contest) -> Option<Self> {
        let Contest { cause, fork } = contest;
        (*cause != Cause::Light).then(|| Self {
            block: fork.block,
            height: fork.height,
            ours: fork.ours.as_ref().map(|side| side.first),
            others: fork.others.iter().map(|side| side.first).collect(),
        })
    }

    /// Returns whether these decisions settle the fork: all other branches are avoided, ours is
    /// adopted, or there is none of ours and another one is adopted. An adopted branch that the node
    /// is not on settles it once ours is avoided, or the node has followed it.
    #[must_use]
    pub fn is_settled_by(&self, decisions: &ForkDecisions) -> bool {
        let is_avoided = |id: &AtomId| decisions.avoided.contains(id);
        let Some(ours) = self.ours else {
            let adopted = decisions.adopted;
            return adopted.is_some_and(|id| self.others.contains(&id))
                || self.others.iter().all(is_avoided);
        };
        decisions.adopted == Some(ours) || is_avoided(&ours) || self.others.iter().all(is_avoided)
    }

    /// Returns the reason that pruning keeps the states above the fork, and what to do about it.
    #[must_use]
    pub fn kept_text(&self) -> String {
        let Self { block, height, .. } = self;
        let others: Vec<String> = self.others.iter().map(AtomId::to_string).collect();
        format!(
            "the state of all blocks from height {height} on is kept, because the fork at block \
             {block} waits for a decision: see `astreum chain forks`, and decide with `astreum \
             chain adopt ID` or `astreum chain avoid ID`; first blocks of the other branches: {}",
            others.join(", ")
        )
    }

    /// Returns whether a branch is adopted that the node is not on.
    #[must_use]
    pub fn is_adopted(&self, decisions: &ForkDecisions) -> bool {
        let adopted = decisions.adopted;
        self.ours.is_some() && adopted.is_some_and(|id| self.others.contains(&id))
    }
}

/// Encoding in the file.
#[derive(Serialize, Deserialize)]
struct Record {
    version: u32,
    forks: Vec<WaitingFork>,
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

#[derive(Debug)]
pub(super) struct WaitingForksFile {
    path: PathBuf,
}

impl WaitingForksFile {
    pub(super) fn new(directory: &Path) -> Self {
        Self {
            path: directory.join(NAME),
        }
    }

    /// Reads the forks; none if the file does not exist.
    pub(super) fn load(&self) -> Result<Vec<WaitingFork>, ChainDirError> {
        let read = read_file(&self.path, MAX_FILE_BYTES);
        let read = read.map_err(|error| ChainDirError::io("read", &self.path, error))?;
        let forks = read.map(|text| self.parse(&text)).transpose()?;
        Ok(forks.unwrap_or_default())
    }

    fn parse(&self, text: &[u8]) -> Result<Vec<WaitingFork>, ChainDirError> {
        // No case for a recovery of the chain: the node replaces a file that it cannot read.
        let malformed = |error: serde_json::Error| {
            let error = std::io::Error::new(std::io::ErrorKind::InvalidData, error);
            ChainDirError::io("read", &self.path, error)
        };
        // Alone at first: the fields of a newer version are not known.
        let Version { version: found } = serde_json::from_slice(text).map_err(malformed)?;
        if found > VERSION {
            return Err(ChainDirError::NewerVersion {
                path: self.path.clone(),
                found,
            });
        }
        let record: Record = serde_json::from_slice(text).map_err(malformed)?;
        Ok(record.forks)
    }

    /// Replaces the saved forks.
    pub(super) fn save(&self, forks: &[WaitingFork]) -> Result<(), ChainDirError> {
        let mut forks = forks.to_vec();
        forks.sort_by_key(|fork| (fork.height, fork.block));
        forks.truncate(MAX_SAVED);
        for fork in &mut forks {
            fork.others.truncate(MAX_SAVED);
        }
        let version = VERSION;
        let text = serde_json::to_vec(&Record { version, forks }).map_err(std::io::Error::from);
        let saved = text.and_then(|mut text| {
            text.push(b'\n');
            replace_file(&self.path, &text)
        });
        let saved = saved.map(drop);
        saved.map_err(|error| ChainDirError::io("write", &self.path, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(byte: u8) -> AtomId {
        AtomId::new([byte; 32])
    }

    fn fork(ours: Option<AtomId>) -> WaitingFork {
        WaitingFork {
            block: id(1),
            height: 7,
            ours,
            others: vec![id(3), id(4)],
        }
    }

    #[test]
    fn waiting_forks_round_trip_and_damage_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let file = WaitingForksFile::new(directory.path());
        assert_eq!(file.load().unwrap(), []);
        let forks = [fork(Some(id(2))), fork(None)];
        file.save(&forks).unwrap();
        assert_eq!(file.load().unwrap(), forks);
        std::fs::write(&file.path, b"{\"version\":1,\"forks\":[{}]}").unwrap();
        let error = file.load().unwrap_err().to_string();
        assert!(error.contains(NAME), "{error}");
        std::fs::write(&file.path, b"{\"version\":2}").unwrap();
        assert!(matches!(
            file.load(),
            Err(ChainDirError::NewerVersion { found: 2, .. })
        ));
    }

    #[test]
    fn decisions_settle_a_fork() {
        let decided = |adopted: Option<u8>, avoided: &[u8]| ForkDecisions {
            adopted: adopted.map(id),
            avoided: avoided.iter().copied().map(id).collect(),
        };
        for (adopted, avoided, ours, none) in [
            (None, &[][..], false, false),
            (None, &[3], false, false),
            (None, &[3, 4], true, true),
            (None, &[2], true, false),
            (Some(2), &[], true, false),
            // Not before the node has followed it.
            (Some(3), &[], false, true),
            (Some(9), &[], false, false),
        ] {
            let decisions = decided(adopted, avoided);
            let is_settled = |fork: WaitingFork| fork.is_settled_by(&decisions);
            assert_eq!(is_settled(fork(Some(id(2)))), ours, "{decisions:?}");
            assert_eq!(is_settled(fork(None)), none, "{decisions:?}");
            let is_adopted = fork(Some(id(2))).is_adopted(&decisions);
            assert_eq!(is_adopted, adopted == Some(3), "{decisions:?}");
        }
    }
}
