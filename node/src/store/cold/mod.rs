//! Atoms on disk: what is put is on the disk when the call returns, and is served from there.
//!
//! | in the directory | what it is |
//! | --- | --- |
//! | `journal-<n>` | where writes go first; see `journal.rs` |
//! | `level_0/<ID>.bin` | what a reference node left there; read, taken in at the next collation |
//! | `level_<n>/<m>_index`, `<m>_data` | sealed pairs, the reference's format; see `level.rs` |
//! | `FORMAT`, `LOCK` | version of the above, and the lock of the node that has it open |
//!
//! When level 0 (the journals and the leftovers) passes `cold_storage_level_size` it is collated
//! into a new pair of level 1, and a level that passes `cold_storage_level_size` × 10^level is
//! merged whole into a new pair of the next level. A reference node reads such a directory; of
//! level 0 it sees the leftovers alone.
//!
//! Invariants:
//! - **Acknowledged means on the disk** (under `cold_storage_sync = always`): the journal's bytes
//!   are synced, and its name is. Callers that come together share one sync.
//! - **A file is removed only after everything in it is synced elsewhere under a synced name.**
//!   So an interruption at any point leaves each atom in at least one place; twice is harmless.
//! - **Readers never wait for the disk's writers**: they hold a snapshot of the files, which a
//!   worker replaces. What is removed stays readable to who has it open.
//! - **Reads are verified**: an atom whose bytes do not match its id is reported with file and
//!   offset, and the next older copy is looked for. Only the newest copy that is whole counts.
//! - After a write failed, its file is never written to again. Writes are refused with the reason,
//!   reads go on, and the next write tries a fresh file, so that it recovers when space returns.
//!
//! Locks, in the order in which they may be taken: maintenance, log, edit of the snapshot.

mod collate;
mod commit;
mod error;
mod open;
mod stats;
mod transfer;
mod worker;

pub use error::ColdError;
pub use stats::{ColdStats, LevelStats};
pub use transfer::{Progress, Transferred, Verified};

use super::disk::{Disk, SystemDisk};
use super::journal::Segment;
use super::level::{Pair, ReadError};
use crate::config::{ColdStorageSync, Config};
use arc_swap::{ArcSwap, Guard};
use astreum_core::atom::{Atom, AtomId};
use commit::Log;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use stats::Damages;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use worker::Worker;

/// Higher levels do not come about: each holds ten times the one below it, and this one more than
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
    /// What the configuration says.
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
    // After `inner` is of no use to anybody else: its drop ends the thread, which holds `inner` too.
    _worker: Option<Arc<Worker>>,
}

/// What readers see: never changed, only replaced.
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
}

impl Level {
    fn bytes(&self) -> u64 {
        self.pairs.iter().map(|pair| pair.bytes()).sum()
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
            let pairs = Vec::new();
            self.levels.insert(at, Level { number, pairs });
        }
        if let Some(level) = self.levels.get_mut(at) {
            level.pairs.insert(0, pair);
        }
    }

    /// Whether the atom may be here; `false` is certain. All of memory that this takes is asked for
    /// at once, which is why it does not end early, and the fewer the instructions, the earlier the
    /// processor gets to the next lookup's.
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

    /// Bytes that all of it takes, or will once it is collated.
    fn used_bytes(&self) -> u64 {
        let waiting = self
            .segments
            .iter()
            .map(|segment| commit::collated_bytes(segment.atoms(), segment.stored_bytes()))
            .sum::<u64>();
        waiting + self.levels.iter().map(Level::bytes).sum::<u64>()
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
    /// Held while files are collated or merged; what could not be removed then.
    maintenance: Mutex<Vec<collate::Doomed>>,
    /// What that takes.
    doomed_bytes: AtomicU64,
    damages: Damages,
    hits: AtomicU64,
    misses: AtomicU64,
    wake: worker::Wake,
    _lock: Box<dyn Send + Sync>,
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
    /// Opens the store in a directory, which is made where there is none, and recovers what an
    /// interruption left.
    ///
    /// # Errors
    /// When somebody else has it open, its format is newer than this program, or the disk fails.
    pub fn open(root: &Path, options: ColdOptions) -> Result<Self, ColdError> {
        Self::open_on(Arc::new(SystemDisk), root, options)
    }

    /// As [`Self::open`], on a disk of the caller's.
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

    /// The atom, if it is here and whole. What is damaged is reported in [`Self::stats`].
    ///
    /// # Errors
    /// When it is not among what could be read, and the disk failed on something.
    pub fn get(&self, id: &AtomId) -> Result<Option<Atom>, ColdError> {
        self.inner.get(id)
    }

    /// Whether the atom has a place here. Its bytes are not read, so that one that is damaged is
    /// found out by [`Self::get`] alone; nor does this count as a lookup.
    #[must_use]
    pub fn contains(&self, id: &AtomId) -> bool {
        self.inner.contains(id)
    }

    /// Keeps atoms, each under its own id. When it returns they are on the disk, as far as
    /// `cold_storage_sync` asks for that. Atoms that are here already cost a lookup alone.
    ///
    /// # Errors
    /// When the limit is reached, an atom is too large or the disk fails. Then none of those that
    /// were not here before counts as kept.
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

    /// As [`Self::collate`], and tells how far it is.
    ///
    /// # Errors
    /// As [`Self::collate`].
    pub fn collate_with(&self, progress: &mut dyn FnMut(Progress)) -> Result<bool, ColdError> {
        self.inner.collate(progress)
    }

    /// Merges a level into one pair of the next one, whatever its size. `false` without pairs.
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

    /// Collates and merges what has passed its size.
    ///
    /// # Errors
    /// When the disk fails. Nothing is lost then.
    pub fn maintain(&self) -> Result<(), ColdError> {
        self.inner.maintain(&mut |_| ())
    }

    /// As [`Self::maintain`], and tells how far each collation and each merge is.
    ///
    /// # Errors
    /// As [`Self::maintain`].
    pub fn maintain_with(&self, progress: &mut dyn FnMut(Progress)) -> Result<(), ColdError> {
        self.inner.maintain(progress)
    }

    /// Forces to the disk what was written and not forced yet.
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

    /// What it holds and what happened.
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

    /// Apart from [`Self::get`], so that an atom that is not here costs next to nothing.
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
        // What cannot be read is not here.
        let sealed = |pair: &Arc<Pair>| pair.contains(id).unwrap_or(false);
        snapshot.segments.iter().any(waiting) || snapshot.pairs().any(sealed)
    }

    /// Looks from the newest to the oldest, past what is damaged.
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

    /// Reports damage; gives back what is a failure of the disk instead.
    fn note(&self, error: ReadError) -> Option<ColdError> {
        match error {
            ReadError::Damaged(damage) => {
                self.damages.note(damage);
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

/// Nothing under these locks calls out, so a poisoned one can only mean that memory ran out; what
/// it guards is changed last, so it is as it was before.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
