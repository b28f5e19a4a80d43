//! Maintenance: collation, repair, and merging of a level into one pair of the next one.
//!
//! A merge reads only intact pairs, and verifies every atom. Damage ends it: the pair is repaired
//! first, and the merge starts again with the intact pairs.

use super::progress::{Pending, Progress, push};
use super::remove::Obsolete;
use super::{ColdError, Inner, Level, MAX_LEVEL, lock};
use crate::store::sorted_pair::{Pair, PairWriter, ReadError, check_lengths};
use astreum_core::atom::AtomId;
use core::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

/// Number of pairs above which a level is merged, whatever its size: a lookup asks each of them, and
/// each has two files open. Quiet stores with a large `cold_storage_level_size` collate small pairs.
const MAX_PAIRS: usize = 32;

/// Reason a merge ended without a new pair.
enum Stop {
    /// A pair was found damaged and is marked.
    Damaged,
    Failed(ColdError),
}

impl From<ColdError> for Stop {
    fn from(error: ColdError) -> Self {
        Self::Failed(error)
    }
}

impl Inner {
    pub(super) fn maintain(&self, progress: &mut dyn FnMut(Progress)) -> Result<(), ColdError> {
        let maintained = self.maintain_all(progress);
        self.end_turn();
        maintained
    }

    fn maintain_all(&self, progress: &mut dyn FnMut(Progress)) -> Result<(), ColdError> {
        self.check_place()?;
        self.remove_obsolete(&mut lock(&self.maintenance))?;
        if self.is_sync_due() {
            self.sync()?;
        }
        // A failed repair does not prevent the other steps.
        let mut repaired = self.repair_all(progress).map(drop);
        if self.is_collation_due() {
            self.collate(progress)?;
        }
        // A merge would replace pairs that are being collected; it follows when that has ended.
        if self.collecting.is_active() {
            return repaired;
        }
        // Each merge can make the next level exceed its size; the list of levels grows meanwhile.
        let mut level = 1;
        loop {
            let snapshot = self.snapshot.load();
            let Some(highest) = snapshot.levels.last().map(|level| level.number) else {
                return repaired;
            };
            let bytes = snapshot.level(level).map_or(0, Level::intact_bytes);
            let pairs = snapshot.level(level).map_or(0, |level| level.pairs.len());
            if bytes > self.level_limit(level) || pairs > MAX_PAIRS {
                match self.merge(level, progress) {
                    Err(error @ ColdError::SetAsideFull { .. }) => repaired = Err(error),
                    merged => drop(merged?),
                }
            }
            if level >= highest {
                return repaired;
            }
            level += 1;
        }
    }

    /// Returns whether level 0 exceeds its size, is to be collated while the store is quiet, or has a
    /// journal without a name that a pair must save.
    fn is_collation_due(&self) -> bool {
        let snapshot = self.snapshot.load();
        snapshot.level_0_bytes() > self.options.level_size_bytes
            || self.is_quiet_collation_due()
            || snapshot
                .segments
                .iter()
                .any(|segment| segment.is_displaced())
    }

    /// Repairs every damaged pair, whatever the sizes. Returns `false` if there were none.
    pub(super) fn repair_all(&self, progress: &mut dyn FnMut(Progress)) -> Result<bool, ColdError> {
        let mut obsolete = lock(&self.maintenance);
        self.check_place()?;
        self.settle_pins()?;
        let snapshot = self.snapshot.load_full();
        let mut any = false;
        for level in &snapshot.levels {
            any |= self.repair(level.number, &mut obsolete, progress)?;
        }
        Ok(any)
    }

    /// Returns the bytes above which a level is merged.
    fn level_limit(&self, level: u32) -> u64 {
        let tenfold = 10_u64.checked_pow(level).unwrap_or(u64::MAX);
        self.options.level_size_bytes.saturating_mul(tenfold)
    }

    pub(super) fn merge(
        &self,
        level: u32,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<bool, ColdError> {
        let mut obsolete = lock(&self.maintenance);
        self.check_place()?;
        self.settle_pins()?;
        self.remove_obsolete(&mut obsolete)?;
        if level >= MAX_LEVEL || self.collecting.is_active() {
            return Ok(false);
        }
        self.begin_turn()?;
        // Damaged pairs that cannot be set aside stay, and do not prevent the merging of intact
        // pairs.
        let (mut repaired, refused) = match self.repair(level, &mut obsolete, progress) {
            Err(error @ ColdError::SetAsideFull { .. }) => (false, Err(error)),
            repaired => (repaired?, Ok(())),
        };
        // Each attempt repairs at least one pair; the bound ends the loop on a disk that damages
        // new files.
        let attempts = self.intact_pairs(level).len() + 1;
        for _ in 0..attempts {
            let pairs = self.intact_pairs(level);
            if pairs.is_empty() {
                return refused.map(|()| repaired);
            }
            match self.merge_intact(level, &pairs, &mut obsolete, progress) {
                Ok(merged) => return refused.map(|()| merged || repaired),
                Err(Stop::Failed(error)) => return Err(error),
                Err(Stop::Damaged) => {
                    repaired |= self.repair(level, &mut obsolete, progress)?;
                }
            }
        }
        Err(ColdError::DamagedAgain {
            path: self.level_dir(level),
        })
    }

    fn intact_pairs(&self, level: u32) -> Vec<Arc<Pair>> {
        let snapshot = self.snapshot.load();
        let pairs = snapshot.level(level).map(|level| &level.pairs);
        let intact = pairs
            .into_iter()
            .flatten()
            .filter(|pair| !pair.is_damaged());
        intact.cloned().collect()
    }

    fn merge_intact(
        &self,
        level: u32,
        pairs: &[Arc<Pair>],
        obsolete: &mut Vec<Obsolete>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<bool, Stop> {
        let total = pairs.iter().map(|pair| u64::from(pair.count())).sum();
        let mut pending = Pending::new(total, progress);
        let mut is_damaged = false;
        let written = self.write_pair(level + 1, obsolete, |writer| {
            match self.merge_pairs(level, pairs, writer, &mut pending) {
                Ok(()) => Ok(()),
                Err(Stop::Failed(error)) => Err(error),
                Err(Stop::Damaged) => {
                    is_damaged = true;
                    Err(ColdError::DamagedAgain {
                        path: self.level_dir(level),
                    })
                }
            }
        });
        if is_damaged {
            return Err(Stop::Damaged);
        }
        let Some(pair) = written? else {
            return Ok(false);
        };
        self.edit(|snapshot| {
            snapshot.add_pair(level + 1, pair);
            if let Some(merged) = snapshot.levels.iter_mut().find(|old| old.number == level) {
                merged
                    .pairs
                    .retain(|pair| !pairs.iter().any(|done| Arc::ptr_eq(done, pair)));
            }
        });
        let pairs = pairs.iter().map(|pair| (pair.number(), pair.file_bytes()));
        let pairs = pairs.collect();
        obsolete.push(Obsolete::Pairs { level, pairs });
        self.remove_obsolete(obsolete)?;
        Ok(true)
    }

    /// Writes the atoms of the pairs, for each id the newest copy; all copies are verified.
    fn merge_pairs(
        &self,
        level: u32,
        pairs: &[Arc<Pair>],
        writer: &mut PairWriter<'_>,
        pending: &mut Pending<'_>,
    ) -> Result<(), Stop> {
        let dir = self.level_dir(level);
        for pair in pairs {
            self.stop_if_damaged(check_lengths(&*self.disk, &dir, pair))?;
        }
        let mut cursors: Vec<_> = pairs.iter().map(|pair| pair.cursor()).collect();
        let mut heads: BinaryHeap<Reverse<(AtomId, usize)>> =
            BinaryHeap::with_capacity(cursors.len());
        for (rank, cursor) in cursors.iter_mut().enumerate() {
            let id = self.stop_if_damaged(cursor.id().transpose())?;
            heads.extend(id.map(|id| Reverse((id, rank))));
        }
        let mut last = None;
        while let Some(Reverse((id, rank))) = heads.pop() {
            let Some(cursor) = cursors.get_mut(rank) else {
                continue;
            };
            let atom = self.stop_if_damaged(cursor.atom())?;
            if last != Some(id) {
                push(writer, &id, &atom)?;
                last = Some(id);
            }
            cursor.advance();
            pending.advance();
            let id = self.stop_if_damaged(cursor.id().transpose())?;
            heads.extend(id.map(|id| Reverse((id, rank))));
        }
        for (cursor, pair) in cursors.iter().zip(pairs) {
            if !cursor.covers_data() {
                pair.set_damaged();
                return Err(Stop::Damaged);
            }
        }
        Ok(())
    }

    fn stop_if_damaged<T>(&self, read: Result<T, ReadError>) -> Result<T, Stop> {
        read.map_err(|error| match error {
            ReadError::Damaged(damage) => {
                self.damages.note(damage);
                Stop::Damaged
            }
            error => Stop::Failed(self.failed(error)),
        })
    }
}
