//! Forks that wait for a decision of the operator, saved so that pruning knows them after a restart.

use crate::chain_service::dir::{ChainDir, WaitingFork};
use crate::chain_service::sync::SyncStatus;
use crate::log;
use astreum_core::atom::AtomId;
use std::collections::BTreeSet;

/// Forks that wait, those of earlier runs included.
#[derive(Debug, Default)]
pub(super) struct WaitingForks {
    forks: Vec<WaitingFork>,
    /// Blocks at which fork choice has found such a fork in this run.
    found: BTreeSet<AtomId>,
    /// True if the file differs.
    is_unsaved: bool,
}

impl WaitingForks {
    /// Reads the forks that an earlier run has saved.
    pub(super) fn load(dir: Option<&ChainDir>) -> Self {
        let loaded = dir.map(ChainDir::waiting_forks).transpose();
        match loaded {
            Ok(forks) => Self {
                forks: forks.unwrap_or_default(),
                ..Self::default()
            },
            Err(error) => {
                log::warn!("the saved forks that wait for a decision are ignored: {error}");
                Self {
                    is_unsaved: true,
                    ..Self::default()
                }
            }
        }
    }

    /// Returns the forks.
    pub(super) fn forks(&self) -> &[WaitingFork] {
        &self.forks
    }

    /// Takes over what fork choice has found. A fork that this run has not found remains until a
    /// decision settles it: its branches may not have been announced again yet.
    pub(super) fn update(&mut self, sync: &SyncStatus) {
        let mut forks: Vec<_> = sync.contests.iter().filter_map(WaitingFork::of).collect();
        self.found.extend(forks.iter().map(|fork| fork.block));
        for known in &self.forks {
            let is_found = self.found.contains(&known.block);
            let is_current = forks.iter().any(|fork| fork.block == known.block);
            let is_pending = known.is_adopted(&sync.decisions);
            let is_over = known.is_settled_by(&sync.decisions) || is_followed(known, sync);
            if !is_current && !is_over && (is_pending || !is_found) {
                forks.push(known.clone());
            }
        }
        if forks != self.forks {
            self.forks = forks;
            self.is_unsaved = true;
        }
    }

    /// Writes the file, if it differs.
    pub(super) fn save(&mut self, dir: Option<&ChainDir>) {
        if !core::mem::take(&mut self.is_unsaved) {
            return;
        }
        let saved = dir.map(|dir| dir.save_waiting_forks(&self.forks));
        if let Some(Err(error)) = saved {
            log::error!("failed to save the forks that wait for a decision: {error}");
        }
    }
}

/// Returns whether the node is on another branch of the fork than it was.
fn is_followed(known: &WaitingFork, sync: &SyncStatus) -> bool {
    let deep = sync.reorganization.as_ref();
    let mut ours = sync.forks.iter().filter(|fork| fork.block == known.block);
    deep.is_some_and(|deep| deep.fork == known.block)
        || ours.any(|fork| {
            let ours = fork.ours.as_ref();
            ours.is_some_and(|side| known.others.contains(&side.first))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use astreum_core::chain::fork_choice::{Cause, Contest, Fork, Side};
    use astreum_core::consensus::ForkDecisions;

    fn id(byte: u8) -> AtomId {
        AtomId::new([byte; 32])
    }

    fn fork(ours: u8, other: u8) -> Fork {
        let side = |first| Side {
            first: id(first),
            tip: id(9),
            blocks: 3,
            stake: None,
        };
        Fork {
            block: id(1),
            height: 5,
            total: None,
            ours: Some(side(ours)),
            others: vec![side(other)],
        }
    }

    fn found(cause: Cause) -> SyncStatus {
        SyncStatus {
            contests: vec![Contest {
                cause,
                fork: fork(2, 3),
            }],
            ..SyncStatus::default()
        }
    }

    /// Returns the heights of the forks that wait.
    fn heights(waiting: &WaitingForks) -> Vec<u64> {
        waiting.forks().iter().map(|fork| fork.height).collect()
    }

    #[test]
    fn fork_survives_a_restart_until_it_is_settled() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = ChainDir::open(scratch.path(), 1).unwrap();
        let mut waiting = WaitingForks::load(Some(&dir));
        waiting.update(&found(Cause::Light));
        assert_eq!(heights(&waiting), [0; 0]);
        waiting.update(&found(Cause::NeedsOperator));
        waiting.save(Some(&dir));
        // Fork choice does not know the branches yet.
        let mut again = WaitingForks::load(Some(&dir));
        again.update(&SyncStatus::default());
        assert_eq!(heights(&again), [5]);
        // It has found it, and it is over.
        again.update(&found(Cause::NeedsOperator));
        again.update(&SyncStatus::default());
        again.save(Some(&dir));
        assert_eq!(heights(&WaitingForks::load(Some(&dir))), [0; 0]);
        assert_eq!(ChainDir::undecided_forks_in(dir.path()).unwrap(), []);
    }

    #[test]
    fn adopted_branch_waits_until_the_node_is_on_it() {
        let mut waiting = WaitingForks::default();
        waiting.update(&found(Cause::NeedsOperator));
        let mut adopted = SyncStatus {
            decisions: ForkDecisions {
                adopted: Some(id(3)),
                avoided: Vec::new(),
            },
            forks: vec![fork(2, 3)],
            ..SyncStatus::default()
        };
        waiting.update(&adopted);
        assert_eq!(heights(&waiting), [5]);
        adopted.forks = vec![fork(3, 2)];
        waiting.update(&adopted);
        assert_eq!(heights(&waiting), [0; 0]);
    }
}
