//! Cold storage: atoms on disk, durable when a write returns.
//!
//! | in the directory | content |
//! | --- | --- |
//! | `journal-<n>` | write-ahead journals; see `journal.rs` |
//! | `level_0/<ID>.bin` | atoms that a reference node left; read, and collated with the journals |
//! | `level_<n>/<m>_index`, `<m>_data` | sealed pairs in the reference's format; see `level.rs` |
//! | `level_<n>/<m>_lengths` | boundaries of the atoms in the data; see `level/lengths.rs` |
//! | `damaged/<i>_*` | damaged files that were set aside, with a report; see `set_aside.rs` |
//! | `FORMAT`, `LOCK` | version of the above, and the lock of the node that has it open |
//!
//! When level 0 (the journals and the leftovers) passes `cold_storage_level_size` it is collated
//! into a new pair of level 1, and a level that passes `cold_storage_level_size` × 10^level is
//! merged whole into a new pair of the next level. A reference node reads such a directory; of
//! level 0 it sees the leftovers alone.
//!
//! Invariants:
//! - **Acknowledged means durable** (under `cold_storage_sync = always`): the journal's content and
//!   its name are synced, and the journal is still at its path in the directory that was opened.
//!   Concurrent callers share one sync.
//! - **A file is removed only after everything in it is synced elsewhere under a synced name.**
//!   An interruption at any point leaves each atom in at least one place; two are harmless.
//! - **Nothing damaged is removed**: its intact atoms are rewritten, the damaged file is set aside
//!   with the ids of the atoms that were lost, and reported until it is cleared.
//! - **Readers never wait for writers**: they hold a snapshot of the files, which a worker replaces.
//!   A removed file stays readable while it is open.
//! - **Reads are verified**: an atom whose bytes do not match its id is reported with file and
//!   offset, and the next older copy is looked for.
//! - After a write failed, its file is never written to again. Writes are refused with the reason,
//!   reads continue, and the next write tries a fresh file, so that the store recovers when space
//!   returns.
//!
//! Locks, in the order in which they may be taken: maintenance, incidents, log, edit of the snapshot.

mod collate;
mod commit;
mod error;
mod merge;
mod open;
mod remove;
mod repair;
mod set_aside;
mod stats;
mod transfer;
mod watch;
mod worker;

pub use error::ColdError;
pub use set_aside::SetAside;
pub use stats::{ColdStats, LevelStats};
pub use transfer::{Progress, Transferred, Verified};

use super::disk::{DirLock, Disk, SystemDisk};
use super::journal::Segment;
use super::level::{Pair, ReadError};
use crate::config::{ColdStorageSync, Config};
use arc_swap::{ArcSwap, Guard};
use astreum_core::atom::{Atom, AtomId};
use commit::Log;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use repair::Broken;
use set_aside::Incidents;
use stats::Damages;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use worker::Worker;

/// Higher levels are never reached: each holds ten times the one below it, and this one more than
/// any disk.
const MAX_LEVEL: u32 = 20;

/// How a cold store behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ColdOptions {
    /// Bytes of atoms in level 0 past which it is collated.
    pub level_size_bytes: u64,
    /// Bytes that the store may take on the disk; 0 for no limit.
    pub limit_bytes: u64,
    /// When writes are forced to the disk.
    pub sync: ColdStorageSync,
    /// Whether sealed files are mapped into memory.
    pub mapped: bool,
    /// Whether a thread collates and merges. Without, [`ColdStore::maintain`] does when called.
    pub background: bool,
}

impl ColdOptions {
    /// Options of a configuration.
    #[must_use]
    pub const fn from_config(config: &Config) -> Self {
        Self {
            level_size_bytes: config.cold_storage_level_size,
            limit_bytes: config.cold_storage_limit,
            sync: config.cold_storage_sync,
            mapped: config.cold_storage_mmap,
            background: true,
        }
    }
}

/// Atoms on disk; see the module. Clones share it, and the last one closes it.
#[derive(Clone, Debug)]
pub struct ColdStore {
    inner: Arc<Inner>,
    // Dropped after `inner`: its drop ends the thread, which holds `inner` too.
    _worker: Option<Arc<Worker>>,
}

/// The files that readers see: never changed, only replaced.
#[derive(Clone, Default)]
struct Snapshot {
    /// The newest first.
    segments: Vec<Arc<Segment>>,
    /// From level 1 upward.
    levels: Vec<Level>,
}

#[derive(Clone, Default)]
struct Level {
    number: u32,
    /// The highest number first.
    pairs: Vec<Arc<Pair>>,
    /// Pairs of which a file is missing, to be repaired.
    broken: Vec<Broken>,
}

impl Level {
    /// Bytes that decide when it is merged: damaged pairs are repaired first.
    fn intact_bytes(&self) -> u64 {
        let intact = self.pairs.iter().filter(|pair| !pair.is_damaged());
        intact.map(|pair| pair.bytes()).sum()
    }

    /// Bytes of all its files.
    fn file_bytes(&self) -> u64 {
        self.pairs.iter().map(|pair| pair.file_bytes()).sum()
    }
}

impl Snapshot {
    fn pairs(&self) -> impl Iterator<Item = &Arc<Pair>> {
        self.levels.iter().flat_map(|level| &level.pairs)
    }

    fn level(&self, number: u32) -> Option<&Level> {
        self.levels.iter().find(|level| level.number == number)
    }

    /// Puts a pair in front of its level.
    fn add_pair(&mut self, number: u32, pair: Arc<Pair>) {
        let at = self.levels.partition_point(|level| level.number < number);
        if self
            .levels
            .get(at)
            .is_none_or(|level| level.number != number)
        {
            let level = Level {
                number,
                ..Level::default()
            };
            self.levels.insert(at, level);
        }
        if let Some(level) = self.levels.get_mut(at) {
            level.pairs.insert(0, pair);
        }
    }

    /// Whether the atom may be here; `false` is certain. All memory that this needs is requested at
    /// once, which is why it does not return early; the fewer the instructions, the earlier the
    /// processor gets to the next lookup.
    #[inline(always)]
    fn may_have(&self, id: &AtomId) -> bool {
        let mut may_have = !self.segments.is_empty() && self.may_wait(id);
        for level in &self.levels {
            for pair in &level.pairs {
                may_have |= pair.may_have(id);
            }
        }
        may_have
    }

    /// Whether the atom may be in level 0.
    #[inline(never)]
    fn may_wait(&self, id: &AtomId) -> bool {
        let mut may_have = false;
        for segment in &self.segments {
            segment.may_have([id].into_iter(), |_| may_have = true);
        }
        may_have
    }

    /// As [`Self::may_have`], for the first 64 atoms together, a bit for each.
    fn may_have_of(&self, atoms: &[(AtomId, Atom)]) -> u64 {
        let ids = || atoms.iter().take(64).map(|(id, _)| id);
        let mut may_have = 0;
        for segment in &self.segments {
            segment.may_have(ids(), |at| may_have |= 1 << at);
        }
        for pair in self.pairs() {
            for (at, id) in ids().enumerate() {
                may_have |= u64::from(pair.may_have(id)) << at;
            }
        }
        may_have
    }

    /// Bytes of atoms that wait for a collation.
    fn level_0_bytes(&self) -> u64 {
        self.segments
            .iter()
            .map(|segment| segment.stored_bytes())
            .sum()
    }

    /// Bytes that all of it takes once it is collated.
    fn used_bytes(&self) -> u64 {
        let waiting = self
            .segments
            .iter()
            .map(|segment| commit::collated_bytes(segment.atoms(), segment.stored_bytes()))
            .sum::<u64>();
        waiting + self.levels.iter().map(Level::file_bytes).sum::<u64>()
    }
}

struct Inner {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    options: ColdOptions,
    snapshot: ArcSwap<Snapshot>,
    /// Whether the directory has what it needs before it is written to.
    is_prepared: AtomicBool,
    /// Held while the snapshot is replaced.
    edit: Mutex<()>,
    log: Mutex<Log>,
    /// Notified when a group of writes is done.
    committed: Condvar,
    /// Held while files are collated, merged or repaired; files that could not be removed then.
    maintenance: Mutex<Vec<remove::Doomed>>,
    /// Bytes of those.
    doomed_bytes: AtomicU64,
    damages: Damages,
    /// Damaged files that were set aside.
    incidents: Mutex<Incidents>,
    hits: AtomicU64,
    misses: AtomicU64,
    wake: worker::Wake,
    dir_lock: Box<dyn DirLock>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Whatever the policy, an orderly end leaves nothing to chance.
        if let Err(error) = self.sync() {
            crate::log::error!("cold storage: {error}");
        }
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ColdStore")
            .field("root", &self.root)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl ColdStore {
    /// Opens the store in a directory, which is created if missing, and recovers from interruptions.
    ///
    /// # Errors
    /// When another opener has it, its format is newer than this program or damaged, or the disk
    /// fails.
    pub fn open(root: &Path, options: ColdOptions) -> Result<Self, ColdError> {
        Self::open_on(Arc::new(SystemDisk), root, options)
    }

    /// As [`Self::open`], on the given disk.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_on(
        disk: Arc<dyn Disk>,
        root: &Path,
        options: ColdOptions,
    ) -> Result<Self, ColdError> {
        let inner = Arc::new(open::open(disk, root, options)?);
        let worker = if options.background {
            Some(Arc::new(Worker::start(&inner)?))
        } else {
            None
        };
        Ok(Self {
            inner,
            _worker: worker,
        })
    }

    /// The atom, if there is an intact copy. Damage is reported in [`Self::stats`].
    ///
    /// # Errors
    /// When no copy could be read, and the disk failed on one.
    pub fn get(&self, id: &AtomId) -> Result<Option<Atom>, ColdError> {
        self.inner.get(id)
    }

    /// Whether an index has the atom. Its bytes are not read, so only [`Self::get`] notices damage;
    /// nor does this count as a lookup.
    #[must_use]
    pub fn contains(&self, id: &AtomId) -> bool {
        self.inner.contains(id)
    }

    /// Returns whether the atom may be here; `false` is certain. No file is touched.
    #[must_use]
    pub fn may_have(&self, id: &AtomId) -> bool {
        self.inner.snapshot.load().may_have(id)
    }

    /// Stores atoms, each under its own id. When it returns they are durable, as far as
    /// `cold_storage_sync` asks for it. Atoms that are here already cost a lookup.
    ///
    /// # Errors
    /// When the limit is reached, an atom is too large, the disk fails, or the directory was removed
    /// or replaced. Then none of the new atoms counts as stored.
    pub fn put(&self, atoms: &[(AtomId, Atom)]) -> Result<(), ColdError> {
        self.inner.put(atoms)
    }

    /// Collates level 0 now, whatever its size. `false` when there was nothing to collate.
    ///
    /// # Errors
    /// When the disk fails. Nothing is lost then.
    pub fn collate(&self) -> Result<bool, ColdError> {
        self.inner.collate(&mut |_| ())
    }

    /// As [`Self::collate`], and reports progress.
    ///
    /// # Errors
    /// As [`Self::collate`].
    pub fn collate_with(&self, progress: &mut dyn FnMut(Progress)) -> Result<bool, ColdError> {
        self.inner.collate(progress)
    }

    /// Repairs a level and merges it into one pair of the next one, whatever its size. `false`
    /// without pairs.
    ///
    /// # Errors
    /// When the disk fails. Nothing is lost then.
    pub fn merge_with(
        &self,
        level: u32,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<bool, ColdError> {
        self.inner.merge(level, progress)
    }

    /// Repairs what is damaged, and collates and merges levels that have passed their size.
    ///
    /// # Errors
    /// When the disk fails. Nothing is lost then.
    pub fn maintain(&self) -> Result<(), ColdError> {
        self.inner.maintain(&mut |_| ())
    }

    /// As [`Self::maintain`], and reports the progress of each step.
    ///
    /// # Errors
    /// As [`Self::maintain`].
    pub fn maintain_with(&self, progress: &mut dyn FnMut(Progress)) -> Result<(), ColdError> {
        self.inner.maintain(progress)
    }

    /// Rewrites the intact atoms of every damaged pair, and sets the damaged files aside. `false` when
    /// there were none.
    ///
    /// # Errors
    /// When the disk fails, or too much is set aside already. Nothing is lost then.
    pub fn repair_with(&self, progress: &mut dyn FnMut(Progress)) -> Result<bool, ColdError> {
        self.inner.repair_all(progress)
    }

    /// Ids of atoms that were lost in damaged files and are still missing, `max` at most; `None` when
    /// all of them were looked through, after which the next call starts again. Continues where the
    /// last call ended, and is bounded in time. Atoms that were stored again leave the list.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn next_lost(&self, max: usize) -> Result<Option<Vec<AtomId>>, ColdError> {
        self.inner.next_lost(max)
    }

    /// Whether atoms were lost in damaged files and are not known to be stored again.
    #[must_use]
    pub fn has_lost(&self) -> bool {
        lock(&self.inner.incidents).has_lost()
    }

    /// Removes the damaged files that were set aside, and the lists of atoms lost with them; returns
    /// what was removed.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn clear_set_aside(&self) -> Result<Vec<SetAside>, ColdError> {
        self.inner.clear_set_aside()
    }

    /// Why writes are refused now, if they are.
    #[must_use]
    pub fn write_failure(&self) -> Option<ColdError> {
        lock(&self.inner.log).failure.clone()
    }

    /// Makes everything durable that was acknowledged, whatever `cold_storage_sync` is.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn sync(&self) -> Result<(), ColdError> {
        self.inner.sync()
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.root
    }

    /// How it behaves.
    #[must_use]
    pub fn options(&self) -> ColdOptions {
        self.inner.options
    }

    /// Statistics and health.
    #[must_use]
    pub fn stats(&self) -> ColdStats {
        self.inner.stats()
    }

    /// Returns how many bytes it can still take: what its limit leaves, and not more than what the
    /// disk has free, where that is known.
    #[must_use]
    pub fn room_bytes(&self) -> u64 {
        let by_limit = match self.inner.options.limit_bytes {
            0 => u64::MAX,
            limit => limit.saturating_sub(self.inner.used_bytes()),
        };
        let disk = rustix::fs::statvfs(self.path()).ok();
        let free = disk.map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        free.map_or(by_limit, |free| free.min(by_limit))
    }
}

impl Inner {
    /// Bytes that count against the limit.
    fn used_bytes(&self) -> u64 {
        let doomed_bytes = self.doomed_bytes.load(Ordering::Relaxed);
        self.snapshot.load().used_bytes() + doomed_bytes
    }

    fn get(&self, id: &AtomId) -> Result<Option<Atom>, ColdError> {
        let snapshot = self.snapshot.load();
        if !snapshot.may_have(id) {
            self.misses.fetch_add(1, Ordering::Relaxed);
            return Ok(None);
        }
        self.look_up(snapshot, id)
    }

    /// Separate from [`Self::get`], so that an absent atom costs next to nothing.
    #[inline(never)]
    fn look_up(
        &self,
        mut snapshot: Guard<Arc<Snapshot>>,
        id: &AtomId,
    ) -> Result<Option<Atom>, ColdError> {
        loop {
            let (atom, problems) = self.find(&snapshot, id);
            if atom.is_none() && !problems.is_empty() {
                // A leftover is opened by name, and may have been collated in between.
                let now = self.snapshot.load();
                if !Arc::ptr_eq(&now, &snapshot) {
                    snapshot = now;
                    continue;
                }
            }
            let counter = if atom.is_some() {
                &self.hits
            } else {
                &self.misses
            };
            counter.fetch_add(1, Ordering::Relaxed);
            let failed = problems
                .into_iter()
                .filter_map(|problem| self.note(problem));
            let failed = failed.last();
            return match (atom, failed) {
                (None, Some(error)) => Err(error),
                (atom, _) => Ok(atom),
            };
        }
    }

    fn contains(&self, id: &AtomId) -> bool {
        let snapshot = self.snapshot.load();
        if !snapshot.may_have(id) {
            return false;
        }
        let waiting = |segment: &Arc<Segment>| segment.contains(id);
        // An index that cannot be read has nothing.
        let sealed = |pair: &Arc<Pair>| pair.contains(id).unwrap_or(false);
        snapshot.segments.iter().any(waiting) || snapshot.pairs().any(sealed)
    }

    /// Looks from the newest to the oldest copy, past damaged ones.
    fn find(&self, snapshot: &Snapshot, id: &AtomId) -> (Option<Atom>, Vec<ReadError>) {
        let mut problems = Vec::new();
        for segment in &snapshot.segments {
            match segment.find(id, |path| self.disk.open(path)) {
                Ok(None) => {}
                Ok(atom) => return (atom, problems),
                Err(error) => problems.push(error),
            }
        }
        for pair in snapshot.pairs() {
            match pair.find(id) {
                Ok(None) => {}
                Ok(atom) => return (atom, problems),
                Err(error) => problems.push(error),
            }
        }
        (None, problems)
    }

    /// Reports damage, which is then repaired; returns a failure of the disk.
    fn note(&self, error: ReadError) -> Option<ColdError> {
        match error {
            ReadError::Damaged(damage) => {
                self.damages.note(damage);
                self.wake.notify();
                None
            }
            ReadError::Failed { path, error } => Some(ColdError::io("read", &path, &error)),
        }
    }

    /// Replaces the snapshot.
    fn edit(&self, change: impl FnOnce(&mut Snapshot)) {
        let _edit = lock(&self.edit);
        let mut snapshot = Snapshot::clone(&self.snapshot.load());
        change(&mut snapshot);
        self.snapshot.store(Arc::new(snapshot));
    }

    fn level_dir(&self, level: u32) -> PathBuf {
        self.root.join(format!("level_{level}"))
    }

    fn stats(&self) -> ColdStats {
        stats::of(self)
    }
}

/// A poisoned lock can only mean that memory ran out: what it guards is changed last, so it is as it
/// was before.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
