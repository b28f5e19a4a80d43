//! Sealed pairs that are shared with other nodes, on a disk that has them.
//!
//! Other nodes add pairs, and merge them into new ones. The snapshot follows the list of pairs: at
//! intervals, before a change by this node, and when a file has disappeared under a reader.
//!
//! Invariants:
//! - **A pair that cannot be opened does not make its atoms absent**: the snapshot stays as it was,
//!   and the failure is reported.
//! - This node changes pairs only during its turn, which other nodes respect but nothing relies on:
//!   a change by a node whose turn has ended fails.
//! - Garbage is not collected: what this node does not need, another one may.

use super::{ColdError, Inner};
use crate::store::disk::{Shared, SharedStatus, Turn};
use crate::store::sorted_pair::{Pair, ReadError};
use astreum_core::atom::AtomId;
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

impl Inner {
    /// Returns whether other nodes read and write the same pairs.
    pub(super) fn is_shared(&self) -> bool {
        self.disk.shared().is_some()
    }

    /// Takes this node's turn to change shared pairs, and loads their current list. Has no effect on
    /// a disk without shared pairs.
    pub(super) fn begin_turn(&self) -> Result<(), ColdError> {
        let Some(shared) = self.disk.shared() else {
            return Ok(());
        };
        let begun = shared.begin();
        match begun.map_err(|error| self.failed_share("change", &error))? {
            Turn::Ready => self.follow(shared),
            Turn::Busy(holder) => Err(ColdError::NotOurTurn { holder }),
        }
    }

    /// Ends this node's turn.
    pub(super) fn end_turn(&self) {
        if let Some(shared) = self.disk.shared() {
            shared.end();
        }
    }

    /// Looks for changes by other nodes.
    pub(super) fn watch_shared(&self, shared: &dyn Shared) {
        // The disk reports its own failures.
        if shared.refresh(false).is_err() {
            return;
        }
        if let Err(error) = self.follow(shared)
            && let Some(more) = crate::log::limited("shared pairs")
        {
            crate::log::error!("cold storage: {error}{more}");
        }
    }

    /// Loads the list of pairs now, after a file was not found; returns `false` if the snapshot is
    /// still the same.
    pub(super) fn reload_shared(&self) -> Result<bool, ColdError> {
        let Some(shared) = self.disk.shared() else {
            return Ok(false);
        };
        let before = self.snapshot.load_full();
        let refreshed = shared.refresh(true);
        refreshed.map_err(|error| self.failed_share("read", &error))?;
        self.follow(shared)?;
        Ok(!Arc::ptr_eq(&before, &self.snapshot.load()))
    }

    /// Opens the pairs that other nodes have added, and drops those that they have removed.
    fn follow(&self, shared: &dyn Shared) -> Result<(), ColdError> {
        let snapshot = self.snapshot.load_full();
        let levels = snapshot.levels.iter();
        let open: BTreeSet<(u32, u64)> = levels
            .flat_map(|level| level.pairs.iter().map(|pair| (level.number, pair.number())))
            .collect();
        let listed = shared.pairs();
        let mut opened = Vec::new();
        for &(level, number) in listed.iter().filter(|pair| !open.contains(pair)) {
            let dir = self.level_dir(level);
            let pair = Pair::open(&*self.disk, &dir, number, self.options.mapped);
            let (pair, damages) = match pair {
                // Replaced meanwhile.
                Err(ReadError::Failed { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
                    continue;
                }
                pair => pair.map_err(|error| self.failed(error))?,
            };
            for damage in damages {
                self.damages.note(damage);
            }
            opened.push((level, Arc::new(pair)));
        }
        if opened.is_empty() && listed.len() == open.len() {
            return Ok(());
        }
        self.edit(|snapshot| {
            // Loaded under the lock: a pair of this node is listed before it gets into the snapshot.
            let listed: BTreeSet<(u32, u64)> = shared.pairs().into_iter().collect();
            for level in &mut snapshot.levels {
                let number = level.number;
                level
                    .pairs
                    .retain(|pair| listed.contains(&(number, pair.number())));
            }
            for (level, pair) in opened {
                if listed.contains(&(level, pair.number())) {
                    snapshot.add_pair(level, pair);
                }
            }
        });
        Ok(())
    }

    /// Returns whether another node has stored the atom already, so that it need not be written to a
    /// new pair.
    pub(super) fn is_shared_atom(&self, id: &AtomId) -> bool {
        let snapshot = self.snapshot.load();
        let mut pairs = snapshot.pairs().filter(|pair| !pair.is_damaged());
        self.is_shared()
            && pairs.any(|pair| pair.may_have(id) && pair.contains(id).unwrap_or(false))
    }

    pub(super) fn shared_status(&self) -> SharedStatus {
        self.disk.shared().map(Shared::status).unwrap_or_default()
    }

    fn failed_share(&self, operation: &'static str, error: &io::Error) -> ColdError {
        ColdError::Shared {
            operation,
            root: self.root.clone(),
            message: error.to_string(),
        }
    }
}
