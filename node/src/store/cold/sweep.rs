//! Garbage collection: rewrites pairs without what was not kept.
//!
//! The order of steps keeps every kept atom in at least one place: the new pair is written and
//! synced under temporary names, gets its final names, the names are synced, atoms that became
//! protected while it was written are written to a journal and synced, readers get the new snapshot,
//! and only then the old pair is removed. An interruption at any point leaves too much, never too
//! little.

use super::marking::{Collection, MarkedPair};
use super::progress::{Pending, Progress, push};
use super::remove::Obsolete;
use super::{ColdError, Inner, lock};
use crate::store::sorted_pair::{Cursor, Pair, PairWriter, ReadError};
use astreum_core::atom::{Atom, AtomId};
use std::sync::Arc;

/// Number of revived atoms that are written together.
const REVIVED_BATCH: usize = 1_024;
/// Number of atoms between two questions whether to continue.
const ATOMS_PER_CHECK: u32 = 4_096;

/// Result of [`Collection::sweep`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Swept {
    /// Number of atoms that were removed.
    pub atoms: u64,
    /// Bytes by which the files became smaller.
    pub bytes: u64,
    /// Number of pairs that were rewritten or removed.
    pub pairs: u64,
}

impl Collection {
    /// Removes the garbage from every pair of which at least one part in `divisor` is garbage.
    /// `should_continue` is asked regularly; the sweep ends with [`ColdError::Cancelled`] once it returns
    /// `false`. What was removed until then stays removed.
    ///
    /// # Errors
    /// Fails if a kept atom is damaged, the disk fails, or the sweep is cancelled. Nothing that is
    /// kept is lost then.
    pub fn sweep(
        &self,
        divisor: u64,
        progress: &mut dyn FnMut(Progress),
        should_continue: &dyn Fn() -> bool,
    ) -> Result<Swept, ColdError> {
        let inner = &self.store.inner;
        let mut swept = Swept::default();
        let total = self.marking.pairs.iter();
        let total = total.map(|marked| u64::from(marked.pair.count())).sum();
        let mut pending = Pending::new(total, progress);
        for marked in &self.marking.pairs {
            let garbage = u64::from(marked.pair.count()) - marked.kept();
            let is_worth_it = garbage.saturating_mul(divisor) >= u64::from(marked.pair.count());
            if garbage > 0 && is_worth_it {
                let mut sweep = Sweep {
                    inner,
                    marked,
                    pending: &mut pending,
                    should_continue,
                };
                let done = sweep.run()?;
                swept.atoms += done.atoms;
                swept.bytes += done.bytes;
                swept.pairs += done.pairs;
            }
        }
        Ok(swept)
    }
}

/// Sweep of one pair.
struct Sweep<'a, 'p> {
    inner: &'a Inner,
    marked: &'a MarkedPair,
    pending: &'a mut Pending<'p>,
    should_continue: &'a dyn Fn() -> bool,
}

impl Sweep<'_, '_> {
    fn run(&mut self) -> Result<Swept, ColdError> {
        let (inner, marked) = (self.inner, self.marked);
        let mut obsolete = lock(&inner.maintenance);
        inner.check_place()?;
        inner.remove_obsolete(&mut obsolete)?;
        let is_it = |pair: &Arc<Pair>| Arc::ptr_eq(pair, &marked.pair);
        if marked.pair.is_damaged() || !inner.snapshot.load().pairs().any(is_it) {
            return Ok(Swept::default());
        }
        marked.start_sweep();
        let new = inner.write_pair(marked.level, &mut obsolete, |writer| self.fill(writer))?;
        let replaced = self.replace(new.as_ref());
        let bytes = new.as_ref().map_or(0, |pair| pair.file_bytes());
        if let Err(error) = replaced {
            // The new pair is not in the snapshot; the next collection writes another one.
            obsolete.extend(new.map(|pair| Obsolete::Pairs {
                level: marked.level,
                pairs: vec![(pair.number(), bytes)],
            }));
            return Err(error);
        }
        let old = &marked.pair;
        obsolete.push(Obsolete::Pairs {
            level: marked.level,
            pairs: vec![(old.number(), old.file_bytes())],
        });
        inner.remove_obsolete(&mut obsolete)?;
        let atoms = u64::from(new.map_or(0, |pair| pair.count()));
        Ok(Swept {
            atoms: u64::from(old.count()).saturating_sub(atoms),
            bytes: old.file_bytes().saturating_sub(bytes),
            pairs: 1,
        })
    }

    /// Writes the kept atoms of the pair, each verified.
    fn fill(&mut self, writer: &mut PairWriter<'_>) -> Result<(), ColdError> {
        let mut cursor = self.marked.pair.cursor();
        let mut until_check = ATOMS_PER_CHECK;
        while let Some(at) = cursor.position() {
            if self.marked.is_kept(at) {
                let (id, atom) = self.read(&mut cursor)?;
                push(writer, &id, &atom)?;
            }
            cursor.advance();
            self.pending.advance();
            until_check -= 1;
            if until_check == 0 {
                until_check = ATOMS_PER_CHECK;
                self.save_revived()?;
                if !(self.should_continue)() {
                    return Err(ColdError::Cancelled);
                }
            }
        }
        Ok(())
    }

    fn read(&self, cursor: &mut Cursor<'_>) -> Result<(AtomId, Atom), ColdError> {
        let id = cursor.id().transpose();
        let read = id.and_then(|id| Ok((id.unwrap_or_default(), cursor.atom()?)));
        read.map_err(|error| self.failed(error))
    }

    fn failed(&self, error: ReadError) -> ColdError {
        match error {
            ReadError::Damaged(damage) => {
                let path = damage.path.clone();
                self.inner.damages.note(damage);
                // The pair is marked as damaged, so that it is repaired.
                self.inner.wake.notify();
                ColdError::DamagedAgain { path }
            }
            error => self.inner.failed(error),
        }
    }

    /// Writes the atoms that became protected to a journal, durably, unless they are elsewhere.
    fn save_revived(&self) -> Result<(), ColdError> {
        let revived = self.marked.take_revived();
        for ids in revived.chunks(REVIVED_BATCH) {
            let mut atoms = Vec::with_capacity(ids.len());
            for id in ids {
                let found = self.marked.pair.find(id);
                let found = found.map_err(|error| self.failed(error))?;
                atoms.extend(found.map(|atom| (*id, atom)));
            }
            self.inner.put_revived(&atoms, &self.marked.pair)?;
        }
        Ok(())
    }

    /// Replaces the pair in the snapshot. Until then, writes may rely on atoms of the old pair.
    fn replace(&self, new: Option<&Arc<Pair>>) -> Result<(), ColdError> {
        let (inner, marked) = (self.inner, self.marked);
        loop {
            self.save_revived()?;
            let _excluded = inner.collecting.exclude();
            // A write may have come in between.
            if marked.has_revived() {
                continue;
            }
            inner.edit(|snapshot| {
                if let Some(new) = new {
                    snapshot.add_pair(marked.level, Arc::clone(new));
                }
                for level in &mut snapshot.levels {
                    level.pairs.retain(|pair| !Arc::ptr_eq(pair, &marked.pair));
                }
            });
            return Ok(());
        }
    }
}

impl Inner {
    /// Writes atoms of which a copy is in a pair that is about to be removed. They are on the disk
    /// on return, as they were there.
    fn put_revived(&self, atoms: &[(AtomId, Atom)], removed: &Arc<Pair>) -> Result<(), ColdError> {
        self.put_group(atoms, Some(removed), false)?;
        // Not `sync`, which may collate; the caller excludes that.
        self.sync_journals()
    }
}
