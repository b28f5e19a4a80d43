//! Group commit: concurrent callers share one write and one sync.
//!
//! The first caller that finds no write in progress becomes the leader: it takes all waiting
//! writes, writes and syncs them without holding the lock, and passes the outcome to the other
//! callers. Callers that arrive meanwhile gather for the next round.
//!
//! Before a write is acknowledged, the journal's file has to be at its path, in the directory that
//! was opened: a write to a removed file, or in a directory that was replaced, is lost when the
//! process ends.
//!
//! Under `cold_storage_sync = interval` and `never`, and after deferred writes, a journal can be left
//! with content that was written and not synced. Every such journal is remembered until it is
//! synced or collated. A journal whose sync failed is not synced again, since the system may have
//! dropped the data that it could not write: its atoms are read back, verified and collated instead.

use super::marking::Hold;
use super::{ColdError, Inner, Snapshot, lock};
use crate::config::ColdStorageSync;
use crate::store::disk::{DiskFile, Displaced, FileId};
use crate::store::journal::{self, Journal, Record, Segment};
use crate::store::sorted_pair::{Pair, lengths_len};
use astreum_core::atom::{Atom, AtomId};
use core::sync::atomic::Ordering;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, MutexGuard, OnceLock, PoisonError};

/// Returns the bytes that the atoms take in a pair, without the count at the start of the index.
pub(super) const fn collated_bytes(atoms: u64, stored_bytes: u64) -> u64 {
    let lengths = if atoms == 0 { 0 } else { lengths_len(atoms) };
    let index = atoms.saturating_mul(160);
    index.saturating_add(lengths).saturating_add(stored_bytes)
}

/// Maximum total size of the buffers kept for the next write, in bytes.
const SPARE_BYTES: usize = 4 << 20;
/// Number of atoms looked up together before they are written.
const ATOMS_PER_LOOKUP: usize = 64;

/// Writes that wait for the disk, and the journal that they go to.
#[derive(Default)]
pub(super) struct Log {
    waiting: Group,
    /// Empty buffers with capacity, for reuse: the system clears fresh memory first, which costs
    /// more than writing to it.
    spare: (Vec<u8>, Vec<Record>),
    /// True while a caller writes; that caller has `active` then.
    leading: bool,
    /// Bytes that the leader writes, computed by [`collated_bytes`].
    in_flight_bytes: u64,
    active: Option<Active>,
    pub(super) next_sequence: u64,
    /// Reason the last write failed, until a write succeeds or the disk is found to work again.
    pub(super) failure: Option<ColdError>,
    /// True if deferred writes may not be synced, although `cold_storage_sync` is `always`. Every
    /// other write makes them durable as well, since it may skip atoms that they have written.
    has_deferred: bool,
    /// Journals with content that is not synced, without `active`. At most as many as there are
    /// journals in level 0.
    dirty: Vec<Dirty>,
}

/// Journal that is no longer appended to, with content that is not synced.
struct Dirty {
    segment: Arc<Segment>,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    /// True if a sync of the journal failed.
    is_doubtful: bool,
}

/// Journal that is appended to.
#[derive(Clone)]
struct Active {
    segment: Arc<Segment>,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    id: FileId,
    end: u64,
    /// True if acknowledged content is not synced.
    dirty: bool,
}

impl Active {
    /// Ends appending; returns `None` if all content is synced.
    fn retire(self, is_doubtful: bool) -> Option<Dirty> {
        let Self {
            segment,
            path,
            file,
            dirty,
            ..
        } = self;
        dirty.then_some(Dirty {
            segment,
            path,
            file,
            is_doubtful,
        })
    }
}

/// Writes done together.
#[derive(Default)]
struct Group {
    bytes: Vec<u8>,
    records: Vec<Record>,
    stored_bytes: u64,
    /// True if one of the writes has to be synced.
    syncs: bool,
    outcome: Arc<OnceLock<Result<(), ColdError>>>,
}

impl Group {
    fn collated_bytes(&self) -> u64 {
        collated_bytes(self.records.len() as u64, self.stored_bytes)
    }

    fn add(&mut self, other: Self) {
        let base = self.bytes.len() as u64;
        self.stored_bytes += other.stored_bytes;
        self.syncs |= other.syncs;
        if self.bytes.is_empty() {
            self.bytes = other.bytes;
            self.records = other.records;
            return;
        }
        self.bytes.extend_from_slice(&other.bytes);
        self.records
            .extend(other.records.iter().map(|record| Record {
                offset: base + record.offset,
                ..*record
            }));
    }
}

impl Log {
    /// Keeps the buffers of a written group for reuse.
    fn keep_spare(&mut self, group: Group) {
        let Group {
            mut bytes,
            mut records,
            ..
        } = group;
        if bytes.capacity() + records.capacity() * size_of::<Record>() <= SPARE_BYTES {
            bytes.clear();
            records.clear();
            self.spare = (bytes, records);
        }
    }
}

impl Inner {
    pub(super) fn put(&self, atoms: &[(AtomId, Atom)]) -> Result<(), ColdError> {
        self.put_beside(atoms, None)
    }

    /// Like [`Self::put`]; copies of the atoms in the pair `skipped` do not count.
    pub(super) fn put_beside(
        &self,
        atoms: &[(AtomId, Atom)],
        skipped: Option<&Arc<Pair>>,
    ) -> Result<(), ColdError> {
        let syncs = self.options.sync == ColdStorageSync::Always;
        self.put_group(atoms, skipped, syncs)?;
        // The atoms that were skipped may be in a deferred write.
        if syncs && lock(&self.log).has_deferred {
            return self.sync();
        }
        Ok(())
    }

    /// Like [`Self::put`], without a sync, whatever `cold_storage_sync` is: the atoms are durable
    /// after the next sync, or the next write that is not deferred.
    pub(super) fn put_deferred(&self, atoms: &[(AtomId, Atom)]) -> Result<(), ColdError> {
        self.put_group(atoms, None, false)
    }

    /// Writes the atoms of which there is no copy outside of `skipped`.
    pub(super) fn put_group(
        &self,
        atoms: &[(AtomId, Atom)],
        skipped: Option<&Arc<Pair>>,
        syncs: bool,
    ) -> Result<(), ColdError> {
        // Held until the end: a collection that begins later finds everything written.
        let hold = self.collecting.hold();
        let mut group = self.encode(atoms, skipped, &hold)?;
        group.syncs = syncs;
        match group.records.is_empty() {
            true => Ok(()),
            false => self.commit(group),
        }
    }

    fn commit(&self, group: Group) -> Result<(), ColdError> {
        let mut log = lock(&self.log);
        self.check_limit(&log, &group)?;
        log.waiting.add(group);
        let outcome = Arc::clone(&log.waiting.outcome);
        loop {
            if let Some(outcome) = outcome.get() {
                return outcome.clone();
            }
            if log.leading {
                log = self
                    .committed
                    .wait(log)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            log.leading = true;
            let group = core::mem::take(&mut log.waiting);
            log.in_flight_bytes = group.collated_bytes();
            let mut active = log.active.take();
            let sequence = log.next_sequence;
            // Each name is used only once, whatever happens to the file.
            log.next_sequence += u64::from(active.is_none());
            drop(log);
            let written = self.write(&group, &mut active, sequence);
            log = lock(&self.log);
            log.leading = false;
            log.in_flight_bytes = 0;
            if written.is_ok() {
                log.has_deferred |= !group.syncs && self.options.sync == ColdStorageSync::Always;
                log.active = active;
            } else {
                // The journal is not written to again. If it is the sync that failed, deferred
                // writes before it are in doubt.
                let retired = active.and_then(|active| active.retire(group.syncs));
                log.dirty.extend(retired);
            }
            log.failure = written.clone().err();
            // Only the leader of a group sets its outcome.
            let _ = group.outcome.set(written);
            log.keep_spare(group);
            self.committed.notify_all();
        }
    }

    /// Encodes the records of the atoms that are not stored yet.
    fn encode(
        &self,
        atoms: &[(AtomId, Atom)],
        skipped: Option<&Arc<Pair>>,
        hold: &Hold<'_>,
    ) -> Result<Group, ColdError> {
        let (bytes, records) = core::mem::take(&mut lock(&self.log).spare);
        let mut group = Group {
            bytes,
            records,
            ..Group::default()
        };
        let size = |(_, atom): &(AtomId, Atom)| atom.stored_len() + 40;
        group.bytes.reserve(atoms.iter().map(size).sum());
        group.records.reserve(atoms.len());
        let snapshot = self.snapshot.load();
        let lookups = atoms.chunks(ATOMS_PER_LOOKUP).flat_map(|atoms| {
            let may_have = snapshot.may_have_of(atoms);
            atoms
                .iter()
                .zip((0..).map(move |at| may_have >> at & 1 == 1))
        });
        for ((id, atom), may_be_here) in lookups {
            // A damaged copy does not count: writing the atom again repairs it.
            if may_be_here && self.is_kept(&snapshot, id, skipped) {
                hold.protect(id);
                continue;
            }
            if !journal::encode(id, atom, &mut group.bytes, &mut group.records) {
                let stored_bytes = atom.stored_len();
                return Err(ColdError::AtomTooLarge { stored_bytes });
            }
            group.stored_bytes += atom.stored_len() as u64;
        }
        Ok(group)
    }

    /// Returns whether there is an intact copy that is as durable as a new one.
    fn is_kept(&self, snapshot: &Snapshot, id: &AtomId, skipped: Option<&Arc<Pair>>) -> bool {
        let waiting = snapshot.segments.iter().any(|segment| {
            segment.is_durable(id)
                && matches!(segment.find(id, |path| self.disk.open(path)), Ok(Some(_)))
        });
        waiting || self.is_in_pair(snapshot, id, skipped)
    }

    /// Checks that a write fits. One that would not fit into an empty store says nothing about the
    /// state of this one.
    fn check_limit(&self, log: &Log, group: &Group) -> Result<(), ColdError> {
        let limit_bytes = self.limit_bytes();
        let used_bytes = self.used_bytes();
        let group_bytes = group.collated_bytes();
        if limit_bytes > 0 && group_bytes > limit_bytes {
            return Err(ColdError::WriteTooLarge {
                write_bytes: group_bytes,
                limit_bytes,
            });
        }
        let wanted = used_bytes
            .saturating_add(log.in_flight_bytes)
            .saturating_add(log.waiting.collated_bytes())
            .saturating_add(group_bytes);
        let is_refused = limit_bytes > 0 && wanted > limit_bytes;
        let refused_bytes = if is_refused { group_bytes } else { 0 };
        self.refused_bytes.store(refused_bytes, Ordering::Relaxed);
        if is_refused {
            return Err(ColdError::LimitReached {
                used_bytes,
                limit_bytes,
            });
        }
        Ok(())
    }

    fn write(
        &self,
        group: &Group,
        active: &mut Option<Active>,
        sequence: u64,
    ) -> Result<(), ColdError> {
        let fresh = active.is_none();
        let journal = match active {
            Some(journal) => journal,
            None => active.insert(self.create_journal(sequence)?),
        };
        let written = self
            .append(group, journal, fresh)
            .and_then(|()| self.check_journal(journal));
        if fresh {
            if let Err(error) = written {
                // No record in it was acknowledged. A file with that name in another directory
                // belongs to another store.
                if self.is_at(&journal.path, journal.id) {
                    let _ = self.disk.remove(&journal.path);
                }
                return Err(error);
            }
            let segment = Arc::clone(&journal.segment);
            self.edit(|snapshot| snapshot.segments.insert(0, segment));
        }
        written?;
        let end = journal.end;
        // A sync covers what was written to the file before, too.
        journal.dirty = !group.syncs;
        journal.segment.add(0, end, &group.records);
        journal.segment.add_file_bytes(group.bytes.len() as u64);
        journal.end += group.bytes.len() as u64;
        if self.snapshot.load().level_0_bytes() > self.options.level_size_bytes {
            self.wake.notify();
        }
        Ok(())
    }

    /// Checks that the next start will find the written records.
    fn check_journal(&self, journal: &Active) -> Result<(), ColdError> {
        self.check_place()?;
        let at_path = self.disk.identity(&journal.path);
        let at_path = at_path.map_err(|error| ColdError::io("look for", &journal.path, &error))?;
        if at_path == Some(journal.id) {
            return Ok(());
        }
        // Its content can still be read through the open file, and a collation saves it.
        for journal in journal.segment.journals() {
            journal.set_displaced();
        }
        self.wake.notify();
        Err(ColdError::Displaced(Displaced {
            path: journal.path.clone(),
            is_missing: at_path.is_none(),
        }))
    }

    /// Checks that the path still leads to the directory that was opened, and that its lock is
    /// held.
    pub(super) fn check_place(&self) -> Result<(), ColdError> {
        match self.dir_lock.displaced() {
            Ok(None) => Ok(()),
            Ok(Some(displaced)) => Err(ColdError::Displaced(displaced)),
            Err(error) => Err(ColdError::io("look for", &self.root, &error)),
        }
    }

    fn create_journal(&self, sequence: u64) -> Result<Active, ColdError> {
        // Never creates a file in another directory that was put at the path.
        self.check_place()?;
        if !self.is_prepared.load(Ordering::Relaxed) {
            self.prepare(&self.list(&self.root)?)?;
        }
        let path = self.root.join(journal::name(sequence));
        let failed = |error| ColdError::io("create", &path, &error);
        let file = self.disk.create(&path).map_err(failed)?;
        let journal = Journal::new(path.clone(), Arc::clone(&file)).map_err(failed)?;
        let id = journal.id;
        let segment = Segment::new(vec![journal], self.level_dir(0));
        let end = journal::HEADER.len() as u64;
        segment.add_file_bytes(end);
        Ok(Active {
            segment: Arc::new(segment),
            path,
            file,
            id,
            end,
            dirty: false,
        })
    }

    fn append(&self, group: &Group, journal: &Active, fresh: bool) -> Result<(), ColdError> {
        let Active {
            path, file, end, ..
        } = journal;
        let write = |bytes: &[u8], at| {
            file.write_all_at(bytes, at)
                .map_err(|error| ColdError::io("write to", path, &error))
        };
        if fresh {
            write(&journal::HEADER, 0)?;
        }
        write(&group.bytes, *end)?;
        if group.syncs {
            file.sync()
                .map_err(|error| ColdError::io("sync", path, &error))?;
        }
        if fresh {
            // The file's name has to be as durable as its content.
            self.disk
                .sync_dir(&self.root)
                .map_err(|error| ColdError::io("sync", &self.root, &error))?;
        }
        Ok(())
    }

    /// Ends the journal that is appended to, and returns all segments, which are sealed then.
    pub(super) fn seal(&self) -> Vec<Arc<Segment>> {
        let mut log = self.lock_log();
        let retired = log.active.take().and_then(|active| active.retire(false));
        log.dirty.extend(retired);
        log.spare = Default::default();
        // Under the lock, so that no new segment is added in between.
        self.snapshot.load().segments.clone()
    }

    /// Locks the log after the current write has ended.
    fn lock_log(&self) -> MutexGuard<'_, Log> {
        let mut log = lock(&self.log);
        while log.leading {
            log = self
                .committed
                .wait(log)
                .unwrap_or_else(PoisonError::into_inner);
        }
        log
    }

    /// Makes all acknowledged writes durable.
    pub(super) fn sync(&self) -> Result<(), ColdError> {
        match self.sync_journals() {
            // Collation reads every atom back and rewrites it, so that it is known to be durable.
            Err(_) if self.has_doubtful() => self.collate(&mut |_| ()).map(drop),
            synced => synced,
        }
    }

    /// Returns whether there are writes that [`Self::sync`] has to make durable.
    pub(super) fn needs_sync(&self) -> bool {
        self.options.sync != ColdStorageSync::Always || lock(&self.log).has_deferred
    }

    /// Returns whether there is a journal that is not collated yet and whose sync failed.
    fn has_doubtful(&self) -> bool {
        lock(&self.log).dirty.iter().any(|dirty| dirty.is_doubtful)
    }

    /// Adds the journals that a recovery found. They are readable, but may not have been synced;
    /// until they are, their atoms are written again when they are put.
    pub(super) fn add_recovered(&self) {
        let snapshot = self.snapshot.load_full();
        let mut log = lock(&self.log);
        for segment in &snapshot.segments {
            let journals = segment.journals().iter();
            log.dirty.extend(journals.map(|journal| Dirty {
                segment: Arc::clone(segment),
                path: journal.path.clone(),
                file: Arc::clone(&journal.file),
                is_doubtful: false,
            }));
        }
    }

    /// Makes the recovered journals and their names durable. A failure does not prevent reads.
    pub(super) fn sync_recovered(&self) {
        if let Err(error) = self.sync_journals() {
            crate::log::error!("cold storage: {error}");
            lock(&self.log).failure = Some(error);
        }
    }

    /// Returns whether content written by an earlier process is not durable yet.
    pub(super) fn is_sync_due(&self) -> bool {
        self.options.sync == ColdStorageSync::Always && !lock(&self.log).dirty.is_empty()
    }

    /// Syncs every journal with unsynced content. Fails as long as there is a journal whose sync
    /// failed.
    pub(super) fn sync_journals(&self) -> Result<(), ColdError> {
        let mut log = self.lock_log();
        let mut dirty = core::mem::take(&mut log.dirty);
        let active = log.active.take_if(|active| active.dirty);
        if active.is_none() && dirty.is_empty() {
            log.has_deferred = false;
            return Ok(());
        }
        // Acts as the leader, so that writers gather instead of waiting for the lock.
        log.leading = true;
        drop(log);
        // The names of recovered journals are not known to be durable either.
        let mut outcome = match dirty.is_empty() {
            true => Ok(()),
            false => self.sync_dir(&self.root),
        };
        let are_named = outcome.is_ok();
        dirty.retain_mut(|journal| {
            if !are_named {
                return true;
            }
            if !journal.is_doubtful && journal.file.sync().is_ok() {
                journal.segment.set_synced(&journal.path);
                return false;
            }
            journal.is_doubtful = true;
            let error = io::Error::other("an earlier sync failed");
            outcome = Err(ColdError::io("sync", &journal.path, &error));
            true
        });
        let active = active.and_then(|mut active| match active.file.sync() {
            Ok(()) => {
                active.dirty = false;
                Some(active)
            }
            Err(error) => {
                outcome = Err(ColdError::io("sync", &active.path, &error));
                dirty.extend(active.retire(true));
                None
            }
        });
        let mut log = lock(&self.log);
        log.leading = false;
        if active.is_some() {
            log.active = active;
        }
        // A collation may have finished meanwhile.
        let snapshot = self.snapshot.load();
        dirty.retain(|journal| {
            let is_its = |segment| Arc::ptr_eq(segment, &journal.segment);
            snapshot.segments.iter().any(is_its)
        });
        if dirty.is_empty() {
            outcome = Ok(());
        }
        log.dirty.append(&mut dirty);
        match &outcome {
            Ok(()) => log.has_deferred = false,
            Err(error) => log.failure = Some(error.clone()),
        }
        self.committed.notify_all();
        drop(log);
        outcome
    }

    /// Removes journals from the list whose content is durable elsewhere.
    pub(super) fn forget_dirty(&self, segments: &[Arc<Segment>]) {
        let is_done = |dirty: &Dirty| segments.iter().any(|it| Arc::ptr_eq(it, &dirty.segment));
        lock(&self.log).dirty.retain(|dirty| !is_done(dirty));
    }
}
