//! Cold storage: a persistent atom store, durable when a write returns.
//!
//! | in the directory | content |
//! | --- | --- |
//! | `journal-<n>` | write-ahead journals; see `journal.rs` |
//! | `level_0/<ID>.bin` | atoms left by a reference node; read, and collated with the journals |
//! | `level_<n>/<m>_index`, `<m>_data` | sealed pairs in the reference's format; see `sorted_pair` |
//! | `level_<n>/<m>_lengths` | boundaries of the atoms in the data; see `sorted_pair::lengths` |
//! | `pins-<n>` | pinned objects; see `pins.rs` |
//! | `headers-<chain>-<first>-<last>` | headers of pruned blocks; see `headers.rs` |
//! | `damaged/<i>_*` | damaged files that were set aside, with a report; see `set_aside.rs` |
//! | `FORMAT`, `LOCK` | version of the format; lock of the node that has the directory open |
//! | `INCOMPLETE` | mark of a backup that was interrupted, which is refused |
//!
//! When level 0 (the journals and the leftovers) exceeds `cold_storage_level_size` it is collated
//! into a new pair of level 1. A level that exceeds `cold_storage_level_size` × 10^level is merged
//! completely into a new pair of the next level. A reference node can read such a directory; of
//! level 0 it sees only the leftovers.
//!
//! Invariants:
//! - **Acknowledged means durable** (under `cold_storage_sync = always`): the journal's content and
//!   its name are synced, and the journal is still at its path in the directory that was opened.
//!   Concurrent callers share one sync.
//! - **A file is removed only after everything in it is synced elsewhere under a synced name.**
//!   An interruption at any point leaves each atom in at least one place; two are harmless.
//! - **Nothing damaged is removed**: its intact atoms are rewritten, and the damaged file is set
//!   aside with the ids of the lost atoms, and reported until it is cleared.
//! - **Readers never wait for writers**: they hold a snapshot of the files, which a worker
//!   replaces. A removed file stays readable while it is open.
//! - **Reads are verified**: an atom whose bytes do not match its id is reported with file and
//!   offset, and the next older copy is tried.
//! - A file is never written to again after a failed write. Writes are refused with the reason,
//!   reads continue, and the next write tries a new file, so that the store recovers when space is
//!   available again.
//!
//! Lock order: maintenance, incidents, collection, log, edit of the snapshot.

mod backup;
mod collate;
mod commit;
mod error;
mod headers;
mod marking;
mod merge;
mod open;
mod pins;
mod progress;
mod quiet;
mod remove;
mod repair;
mod set_aside;
mod share;
mod stats;
mod sweep;
mod transfer;
mod watch;
mod worker;

pub use backup::{BackedUp, UnfinishedBackup};
pub use error::ColdError;
pub(in crate::store) use error::limit_text;
pub use headers::MAX_HEADERS;
pub use marking::{Collection, Extent, Visit};
pub use pins::{PinKinds, roots_of};
pub use progress::Progress;
pub use set_aside::SetAside;
pub use stats::{ColdStats, LevelStats};
pub use sweep::Swept;
pub use transfer::{Transferred, Verified};

use super::disk::{DirLock, Disk, SystemDisk};
use super::journal::Segment;
use super::sorted_pair::{Pair, ReadError};
use crate::config::{ColdStorageSync, Settings};
use arc_swap::{ArcSwap, Guard};
use astreum_core::atom::{Atom, AtomId};
use commit::Log;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use set_aside::Incidents;
use stats::Damages;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use worker::Worker;

/// Maximum level. Each level holds ten times the one below it, so this one exceeds any disk.
const MAX_LEVEL: u32 = 20;

/// Options of a cold store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ColdOptions {
    /// Bytes of atoms in level 0 above which it is collated.
    pub level_size_bytes: u64,
    /// Maximum bytes on the disk; 0 for no limit.
    pub limit_bytes: u64,
    /// Policy for forcing writes to the disk.
    pub sync: ColdStorageSync,
    /// True if sealed files are mapped into memory.
    pub mapped: bool,
    /// True if a thread collates and merges. Otherwise only [`ColdStore::maintain`] does.
    pub background: bool,
}

impl ColdOptions {
    /// Options of a store that is only read.
    pub(super) const fn to_read(mapped: bool) -> Self {
        Self {
            level_size_bytes: u64::MAX,
            limit_bytes: 0,
            sync: ColdStorageSync::Never,
            mapped,
            background: false,
        }
    }
}

/// Options of a node's store, with a thread that maintains it.
impl From<&Settings> for ColdOptions {
    fn from(settings: &Settings) -> Self {
        Self {
            level_size_bytes: settings.cold_storage_level_size,
            limit_bytes: settings.cold_storage_limit,
            sync: settings.cold_storage_sync,
            mapped: settings.cold_storage_mmap,
            background: true,
        }
    }
}

/// Atom store on disk; see the module. Clones share it, and the last one closes it.
#[derive(Clone, Debug)]
pub struct ColdStore {
    inner: Arc<Inner>,
    // Dropped after `inner`: its drop ends the thread, which holds `inner` too.
    _worker: Option<Arc<Worker>>,
}

/// Immutable set of files that readers see; replaced as a whole.
#[derive(Clone, Default)]
struct Snapshot {
    /// Segments of level 0, newest first.
    segments: Vec<Arc<Segment>>,
    /// Levels in ascending order, from level 1.
    levels: Vec<Level>,
}

/// Pair with a missing file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Broken {
    number: u64,
}

#[derive(Clone, Default)]
struct Level {
    number: u32,
    /// Pairs, highest number first.
    pairs: Vec<Arc<Pair>>,
    /// Pairs with a missing file, to be repaired.
    broken: Vec<Broken>,
}

impl Level {
    /// Returns the bytes that decide when the level is merged. Damaged pairs do not count; they are
    /// repaired first.
    fn intact_bytes(&self) -> u64 {
        let intact = self.pairs.iter().filter(|pair| !pair.is_damaged());
        intact.map(|pair| pair.bytes()).sum()
    }

    /// Returns the bytes of all files.
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

    /// Inserts a pair at the front of its level.
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
            // A list of shared pairs may have named a new pair before its writer adds it.
            let is_here = level.pairs.iter().any(|it| it.number() == pair.number());
            if !is_here {
                level.pairs.insert(0, pair);
            }
        }
    }

    /// Returns whether the atom may be stored; `false` is certain. It does not return early, so
    /// that all memory that it needs is requested at once. The fewer the instructions, the earlier
    /// the processor gets to the next lookup.
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

    /// Returns whether the atom may be in level 0.
    #[inline(never)]
    fn may_wait(&self, id: &AtomId) -> bool {
        let mut may_have = false;
        for segment in &self.segments {
            segment.may_have([id].into_iter(), |_| may_have = true);
        }
        may_have
    }

    /// Like [`Self::may_have`], for the first 64 atoms together; returns one bit for each.
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

    /// Returns the bytes of atoms that wait for a collation.
    fn level_0_bytes(&self) -> u64 {
        self.segments
            .iter()
            .map(|segment| segment.stored_bytes())
            .sum()
    }

    /// Returns the bytes that everything takes once level 0 is collated.
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
    /// Maximum bytes on the disk; 0 for no limit. That of the options at first.
    limit_bytes: AtomicU64,
    /// Size of the last write if the limit refused it; 0 otherwise.
    refused_bytes: AtomicU64,
    snapshot: ArcSwap<Snapshot>,
    /// True if the directory has everything it needs before it is written to.
    is_prepared: AtomicBool,
    /// Held while the snapshot is replaced.
    edit: Mutex<()>,
    /// Garbage collection that is under way.
    collecting: marking::Collecting,
    log: Mutex<Log>,
    /// Notified when a group of writes is done.
    committed: Condvar,
    /// Held during a collation, merge or repair; holds the files that could not be removed then.
    maintenance: Mutex<Vec<remove::Obsolete>>,
    /// Bytes of the files in `maintenance`.
    obsolete_bytes: AtomicU64,
    damages: Damages,
    pins: pins::Pins,
    headers: headers::Headers,
    /// Damaged files that were set aside.
    incidents: Mutex<Incidents>,
    hits: AtomicU64,
    misses: AtomicU64,
    wake: worker::Wake,
    /// True if little is written, as the worker has found.
    is_quiet: AtomicBool,
    dir_lock: Box<dyn DirLock>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Regardless of `cold_storage_sync`, an orderly shutdown makes everything durable.
        if let Err(error) = self.sync().and_then(|()| self.sync_pins()) {
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
    /// Opens the store in a directory, which is created if missing, and recovers from
    /// interruptions.
    ///
    /// # Errors
    /// Fails if another opener has the directory open, its format is newer than this program or
    /// damaged, or the disk fails.
    pub fn open(root: &Path, options: ColdOptions) -> Result<Self, ColdError> {
        Self::open_on(Arc::new(SystemDisk), root, options)
    }

    /// Like [`Self::open`], on the given disk.
    ///
    /// # Errors
    /// Same as [`Self::open`].
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

    /// Returns the atom if there is an intact copy. Damage is reported in [`Self::stats`].
    ///
    /// # Errors
    /// Fails if no copy could be read and the disk failed on one.
    pub fn get(&self, id: &AtomId) -> Result<Option<Atom>, ColdError> {
        self.inner.get(id)
    }

    /// Returns the reason that an atom of which there is a copy cannot be read, with the place of
    /// the copy; `None` if it can be read, or there is no copy.
    #[must_use]
    pub fn unreadable(&self, id: &AtomId) -> Option<String> {
        let found = self.inner.get(id);
        let (atom, problems) = self.inner.find(&self.inner.snapshot.load(), id);
        match (found, atom, problems.first()) {
            (Ok(Some(_)), ..) | (_, Some(_), _) => None,
            (_, None, Some(problem)) => Some(problem.to_string()),
            (Err(error), ..) => Some(error.to_string()),
            (Ok(None), None, None) => None,
        }
    }

    /// Returns whether an index has the atom. Its bytes are not read, so only [`Self::get`] detects
    /// damage. Does not count as a lookup.
    #[must_use]
    pub fn contains(&self, id: &AtomId) -> bool {
        self.inner.contains(id)
    }

    /// Returns whether the atom may be stored; `false` is certain. No file is touched.
    #[must_use]
    pub fn may_have(&self, id: &AtomId) -> bool {
        self.inner.snapshot.load().may_have(id) || self.inner.headers.may_have(id)
    }

    /// Stores atoms, each under its own id. They are durable on return, as far as
    /// `cold_storage_sync` requires it. An atom that is stored already costs only a lookup.
    ///
    /// # Errors
    /// Fails if the limit is reached, an atom is too large, the disk fails, or the directory was
    /// removed or replaced. None of the new atoms counts as stored then.
    pub fn put(&self, atoms: &[(AtomId, Atom)]) -> Result<(), ColdError> {
        self.inner.put(atoms)
    }

    /// Like [`Self::put`], without a sync, whatever `cold_storage_sync` is. The atoms can be read at
    /// once; they are durable after [`Self::sync`].
    ///
    /// # Errors
    /// Same as [`Self::put`].
    pub fn put_deferred(&self, atoms: &[(AtomId, Atom)]) -> Result<(), ColdError> {
        self.inner.put_deferred(atoms)
    }

    /// Collates level 0 now, whatever its size. Returns `false` if there was nothing to collate.
    ///
    /// # Errors
    /// Fails if the disk fails. Nothing is lost then.
    pub fn collate(&self) -> Result<bool, ColdError> {
        self.collate_with(&mut |_| ())
    }

    /// Like [`Self::collate`], and reports progress.
    ///
    /// # Errors
    /// Same as [`Self::collate`].
    pub fn collate_with(&self, progress: &mut dyn FnMut(Progress)) -> Result<bool, ColdError> {
        self.in_turn(|| self.inner.collate(progress))
    }

    /// Repairs a level and merges it into one pair of the next one, whatever its size. Returns
    /// `false` if the level has no pairs.
    ///
    /// # Errors
    /// Fails if the disk fails. Nothing is lost then.
    pub fn merge_with(
        &self,
        level: u32,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<bool, ColdError> {
        self.in_turn(|| self.inner.merge(level, progress))
    }

    /// Repairs damaged files, and collates and merges levels that exceed their size.
    ///
    /// # Errors
    /// Fails if the disk fails. Nothing is lost then.
    pub fn maintain(&self) -> Result<(), ColdError> {
        self.inner.maintain(&mut |_| ())
    }

    /// Like [`Self::maintain`], and reports the progress of each step.
    ///
    /// # Errors
    /// Same as [`Self::maintain`].
    pub fn maintain_with(&self, progress: &mut dyn FnMut(Progress)) -> Result<(), ColdError> {
        self.inner.maintain(progress)
    }

    /// Rewrites the intact atoms of every damaged pair, and sets the damaged files aside. Returns
    /// `false` if there were no damaged pairs.
    ///
    /// # Errors
    /// Fails if the disk fails, or too much is set aside already. Nothing is lost then.
    pub fn repair_with(&self, progress: &mut dyn FnMut(Progress)) -> Result<bool, ColdError> {
        self.in_turn(|| self.inner.repair_all(progress))
    }

    /// Ends the turn to change shared pairs that an operation may have taken.
    fn in_turn<T>(&self, work: impl FnOnce() -> T) -> T {
        let result = work();
        self.inner.end_turn();
        result
    }

    /// Loads the current list of shared pairs now, and returns whether it is another one; the
    /// thread of the store does so at intervals. Has no effect on a store of one node.
    ///
    /// # Errors
    /// Fails if the list, or a new pair, cannot be read.
    pub fn refresh_shared(&self) -> Result<bool, ColdError> {
        self.inner.reload_shared()
    }

    /// Returns whether the sealed pairs are shared with other nodes, in an object store.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.inner.is_shared()
    }

    /// Returns at most `max` ids of atoms that were lost in damaged files and are still missing.
    /// Returns `None` after all of them were checked; the next call starts again. Each call
    /// continues where the last one ended, and is bounded in time. Atoms that were stored again
    /// leave the list.
    ///
    /// # Errors
    /// Fails if the disk fails.
    pub fn next_lost(&self, max: usize) -> Result<Option<Vec<AtomId>>, ColdError> {
        self.inner.next_lost(max)
    }

    /// Returns whether atoms were lost in damaged files and are not known to be stored again.
    #[must_use]
    pub fn has_lost(&self) -> bool {
        lock(&self.inner.incidents).has_lost()
    }

    /// Removes the damaged files that were set aside and the lists of atoms lost with them. Returns
    /// a description of each removed incident.
    ///
    /// # Errors
    /// Fails if the disk fails.
    pub fn clear_set_aside(&self) -> Result<Vec<SetAside>, ColdError> {
        self.inner.clear_set_aside()
    }

    /// Returns the reason writes are refused, if they are.
    #[must_use]
    pub fn write_failure(&self) -> Option<ColdError> {
        lock(&self.inner.log).failure.clone()
    }

    /// Makes all acknowledged writes durable, whatever `cold_storage_sync` is.
    ///
    /// # Errors
    /// Fails if the disk fails.
    pub fn sync(&self) -> Result<(), ColdError> {
        self.inner.sync()
    }

    /// Returns whether there are writes that [`Self::sync`] has to make durable.
    #[must_use]
    pub fn needs_sync(&self) -> bool {
        self.inner.needs_sync()
    }

    /// Returns the directory of the store.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.root
    }

    /// Returns the options of the store.
    #[must_use]
    pub fn options(&self) -> ColdOptions {
        ColdOptions {
            limit_bytes: self.inner.limit_bytes(),
            ..self.inner.options
        }
    }

    /// Sets the maximum bytes on the disk; 0 for no limit. Nothing is removed.
    pub fn set_limit(&self, limit_bytes: u64) {
        let limit = &self.inner.limit_bytes;
        limit.store(limit_bytes, Ordering::Relaxed);
    }

    /// Returns statistics and health.
    #[must_use]
    pub fn stats(&self) -> ColdStats {
        self.inner.stats()
    }

    /// Returns how many bytes the store can still take: the remainder of its limit, and at most the
    /// free space of the disk, where that is known.
    #[must_use]
    pub fn room_bytes(&self) -> u64 {
        let by_limit = match self.inner.limit_bytes() {
            0 => u64::MAX,
            limit => limit.saturating_sub(self.inner.used_bytes()),
        };
        let disk = rustix::fs::statvfs(self.path()).ok();
        let free = disk.map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        free.map_or(by_limit, |free| free.min(by_limit))
    }
}

impl Inner {
    /// Returns the maximum bytes on the disk; 0 for no limit.
    fn limit_bytes(&self) -> u64 {
        self.limit_bytes.load(Ordering::Relaxed)
    }

    /// Returns the bytes that count against the limit.
    fn used_bytes(&self) -> u64 {
        let obsolete_bytes = self.obsolete_bytes.load(Ordering::Relaxed);
        self.snapshot.load().used_bytes() + obsolete_bytes + self.headers.bytes()
    }

    fn get(&self, id: &AtomId) -> Result<Option<Atom>, ColdError> {
        let snapshot = self.snapshot.load();
        let found = match snapshot.may_have(id) {
            true => self.look_up(snapshot, id),
            false => Ok(None),
        };
        match found {
            Ok(None) if self.headers.may_have(id) => self.look_up_header(id),
            Ok(None) => {
                self.misses.fetch_add(1, Ordering::Relaxed);
                Ok(None)
            }
            Ok(Some(atom)) => {
                self.complete_header(id, &atom);
                Ok(Some(atom))
            }
            Err(error) => Err(error),
        }
    }

    #[inline(never)]
    fn look_up_header(&self, id: &AtomId) -> Result<Option<Atom>, ColdError> {
        let found = self.header_atom(id)?;
        let counter = match found {
            Some(_) => &self.hits,
            None => &self.misses,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        Ok(found)
    }

    /// Looks up an atom in the files; separate from [`Self::get`], so that a lookup of an absent
    /// atom costs next to nothing.
    #[inline(never)]
    fn look_up(
        &self,
        mut snapshot: Guard<Arc<Snapshot>>,
        id: &AtomId,
    ) -> Result<Option<Atom>, ColdError> {
        loop {
            let (atom, problems) = self.find(&snapshot, id);
            let is_gone = |problem: &ReadError| match problem {
                ReadError::Failed { error, .. } => error.kind() == io::ErrorKind::NotFound,
                ReadError::Damaged(_) => false,
            };
            // Another node has merged the pair, and this one has not seen it yet.
            if atom.is_none() && problems.iter().any(is_gone) && self.reload_shared()? {
                snapshot = self.snapshot.load();
                continue;
            }
            if atom.is_none() && !problems.is_empty() {
                // A leftover is opened by name, and may have been collated in the meantime.
                let now = self.snapshot.load();
                if !Arc::ptr_eq(&now, &snapshot) {
                    snapshot = now;
                    continue;
                }
            }
            let failed = problems
                .into_iter()
                .filter_map(|problem| self.note(problem));
            let failed = failed.last();
            if atom.is_some() {
                self.hits.fetch_add(1, Ordering::Relaxed);
                self.collecting.has_read(id);
            }
            return match (atom, failed) {
                (None, Some(error)) => {
                    self.misses.fetch_add(1, Ordering::Relaxed);
                    Err(error)
                }
                (atom, _) => Ok(atom),
            };
        }
    }

    fn contains(&self, id: &AtomId) -> bool {
        let snapshot = self.snapshot.load();
        if !snapshot.may_have(id) {
            return self.has_header(id);
        }
        let waiting = |segment: &Arc<Segment>| segment.contains(id);
        // An index that cannot be read counts as empty.
        let sealed = |pair: &Arc<Pair>| pair.contains(id).unwrap_or(false);
        snapshot.segments.iter().any(waiting) || snapshot.pairs().any(sealed) || self.has_header(id)
    }

    /// Searches from the newest to the oldest copy, past damaged ones.
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

    /// Notes damage, so that it is repaired; returns an error if the disk failed.
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

    /// Replaces the snapshot by a changed copy.
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

/// Locks a mutex. A poisoned one can only mean that memory ran out: the guarded data is changed
/// last, so it is unchanged.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
