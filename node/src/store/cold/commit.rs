//! Group commit: concurrent callers share one write and one sync.
//!
//! The first caller that finds no write under way leads: it takes everything that waits, writes and
//! syncs it without holding the lock, and gives the outcome to the others. Callers that come
//! meanwhile gather for the next round.
//!
//! Before a write is acknowledged, the journal's file has to be at its path, in the directory that
//! was opened: a write to a file that is removed, or in a directory that was replaced, is lost with
//! the process.
//!
//! Under `cold_storage_sync = interval` and `never` a journal can be left behind with content that
//! was written and not synced. Every such journal is remembered until it is synced or collated. A
//! journal whose sync failed is not synced again, since the system may have dropped what it could not
//! write: its atoms are read back, verified and collated instead.

use super::{ColdError, Inner, Snapshot, lock};
use crate::config::ColdStorageSync;
use crate::store::disk::{DiskFile, Displaced, FileId};
use crate::store::journal::{self, Journal, Record, Segment};
use crate::store::level::{Pair, lengths_len};
use astreum_core::atom::{Atom, AtomId};
use core::sync::atomic::Ordering;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, MutexGuard, OnceLock, PoisonError};

/// Bytes that so many atoms take in a pair, the count in the head of the index aside.
pub(super) const fn collated_bytes(atoms: u64, stored_bytes: u64) -> u64 {
    let lengths = if atoms == 0 { 0 } else { lengths_len(atoms) };
    let index = atoms.saturating_mul(160);
    index.saturating_add(lengths).saturating_add(stored_bytes)
}

/// Buffers kept for the next write take at most this together.
const SPARE_BYTES: usize = 4 << 20;
/// Atoms looked up together before they are written.
const ATOMS_A_LOOK: usize = 64;

/// Writes that wait for the disk, and the journal that they go to.
#[derive(Default)]
pub(super) struct Log {
    waiting: Group,
    /// Empty buffers with capacity: memory that the system has to clear first costs more than
    /// writing to it.
    spare: (Vec<u8>, Vec<Record>),
    /// Whether a caller writes now, which has `active` then.
    leading: bool,
    /// Bytes that the leader writes, as [`collated_bytes`].
    in_flight_bytes: u64,
    active: Option<Active>,
    pub(super) next_sequence: u64,
    /// Why the last write failed, until one succeeds or the disk is found to work again.
    pub(super) failure: Option<ColdError>,
    /// Journals with content that is not synced, besides `active`. At most as many as there are
    /// journals in level 0.
    dirty: Vec<Dirty>,
}

/// A journal that is not appended to any more, with content that is not synced.
struct Dirty {
    segment: Arc<Segment>,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    /// Whether a sync of it failed.
    is_doubtful: bool,
}

/// The journal that is appended to.
#[derive(Clone)]
struct Active {
    segment: Arc<Segment>,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    id: FileId,
    end: u64,
    /// Whether acknowledged content is not synced.
    dirty: bool,
}

impl Active {
    /// Ends appending to it; `None` when all of it is synced.
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
    outcome: Arc<OnceLock<Result<(), ColdError>>>,
}

impl Group {
    fn collated_bytes(&self) -> u64 {
        collated_bytes(self.records.len() as u64, self.stored_bytes)
    }

    fn add(&mut self, other: Self) {
        let base = self.bytes.len() as u64;
        self.stored_bytes += other.stored_bytes;
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
    /// Keeps the buffers of a group that was written.
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

    /// As [`Self::put`]; copies of the atoms in `skipped` do not count.
    pub(super) fn put_beside(
        &self,
        atoms: &[(AtomId, Atom)],
        skipped: Option<&Arc<Pair>>,
    ) -> Result<(), ColdError> {
        let group = self.encode(atoms, skipped)?;
        if group.records.is_empty() {
            return Ok(());
        }
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
            // A name is used once, whatever becomes of the file.
            log.next_sequence += u64::from(active.is_none());
            drop(log);
            let written = self.write(&group, &mut active, sequence);
            log = lock(&self.log);
            log.leading = false;
            log.in_flight_bytes = 0;
            if written.is_ok() {
                log.active = active;
            } else {
                // Not written to again.
                let retired = active.and_then(|active| active.retire(false));
                log.dirty.extend(retired);
            }
            log.failure = written.clone().err();
            // Only the leader of a group sets its outcome.
            let _ = group.outcome.set(written);
            log.keep_spare(group);
            self.committed.notify_all();
        }
    }

    /// Encodes the records of atoms that are not here yet.
    fn encode(
        &self,
        atoms: &[(AtomId, Atom)],
        skipped: Option<&Arc<Pair>>,
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
        let looks = atoms.chunks(ATOMS_A_LOOK).flat_map(|atoms| {
            let may_have = snapshot.may_have_of(atoms);
            atoms
                .iter()
                .zip((0..).map(move |at| may_have >> at & 1 == 1))
        });
        for ((id, atom), may_be_here) in looks {
            // A damaged copy does not count: writing the atom again heals it.
            if may_be_here && self.is_kept(&snapshot, id, skipped) {
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

    /// Whether there is an intact copy that lasts as long as a new one would.
    fn is_kept(&self, snapshot: &Snapshot, id: &AtomId, skipped: Option<&Arc<Pair>>) -> bool {
        let waiting = snapshot.segments.iter().any(|segment| {
            segment.is_durable(id)
                && matches!(segment.find(id, |path| self.disk.open(path)), Ok(Some(_)))
        });
        waiting || self.is_in_pair(snapshot, id, skipped)
    }

    fn check_limit(&self, log: &Log, group: &Group) -> Result<(), ColdError> {
        let limit_bytes = self.options.limit_bytes;
        let used_bytes = self.used_bytes();
        let wanted = used_bytes
            .saturating_add(log.in_flight_bytes)
            .saturating_add(log.waiting.collated_bytes())
            .saturating_add(group.collated_bytes());
        if limit_bytes > 0 && wanted > limit_bytes {
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
                // Nothing in it was acknowledged. A file of that name in another directory is not
                // ours.
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
        journal.dirty |= self.options.sync != ColdStorageSync::Always;
        journal.segment.add(0, end, &group.records);
        journal.segment.add_file_bytes(group.bytes.len() as u64);
        journal.end += group.bytes.len() as u64;
        if self.snapshot.load().level_0_bytes() > self.options.level_size_bytes {
            self.wake.notify();
        }
        Ok(())
    }

    /// Checks that what was written can be found at the next start.
    fn check_journal(&self, journal: &Active) -> Result<(), ColdError> {
        self.check_place()?;
        let at_path = self.disk.identity(&journal.path);
        let at_path = at_path.map_err(|error| ColdError::io("look for", &journal.path, &error))?;
        if at_path == Some(journal.id) {
            return Ok(());
        }
        // What is in it is still readable here, and saved by a collation.
        for journal in journal.segment.journals() {
            journal.set_displaced();
        }
        self.wake.notify();
        Err(ColdError::Displaced(Displaced {
            path: journal.path.clone(),
            is_missing: at_path.is_none(),
        }))
    }

    /// Checks that the path leads to the directory that was opened, and that its lock is held.
    pub(super) fn check_place(&self) -> Result<(), ColdError> {
        match self.dir_lock.displaced() {
            Ok(None) => Ok(()),
            Ok(Some(displaced)) => Err(ColdError::Displaced(displaced)),
            Err(error) => Err(ColdError::io("look for", &self.root, &error)),
        }
    }

    fn create_journal(&self, sequence: u64) -> Result<Active, ColdError> {
        // Not in another directory that has come to the path.
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
        if self.options.sync == ColdStorageSync::Always {
            file.sync()
                .map_err(|error| ColdError::io("sync", path, &error))?;
        }
        if fresh {
            // The file's name has to last as long as its content.
            self.disk
                .sync_dir(&self.root)
                .map_err(|error| ColdError::io("sync", &self.root, &error))?;
        }
        Ok(())
    }

    /// Ends the journal that is appended to, and gives all segments, which are sealed then.
    pub(super) fn seal(&self) -> Vec<Arc<Segment>> {
        let mut log = self.lock_log();
        let retired = log.active.take().and_then(|active| active.retire(false));
        log.dirty.extend(retired);
        log.spare = Default::default();
        // Under the lock, so that no new segment comes in between.
        self.snapshot.load().segments.clone()
    }

    /// The log, while no caller writes.
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

    /// Makes everything durable that was acknowledged.
    pub(super) fn sync(&self) -> Result<(), ColdError> {
        match self.sync_journals() {
            // Read back and rewritten, every atom is known to be durable.
            Err(_) if self.has_doubtful() => self.collate(&mut |_| ()).map(drop),
            synced => synced,
        }
    }

    /// Whether a sync of a journal failed that is not collated yet.
    fn has_doubtful(&self) -> bool {
        lock(&self.log).dirty.iter().any(|dirty| dirty.is_doubtful)
    }

    /// Adds the journals that a recovery found: that they can be read does not mean that they were
    /// synced. Until they are, their atoms are written again where they are put.
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

    /// Makes the recovered journals durable, with their names. A failure refuses no reads.
    pub(super) fn sync_recovered(&self) {
        if let Err(error) = self.sync_journals() {
            crate::log::error!("cold storage: {error}");
            lock(&self.log).failure = Some(error);
        }
    }

    /// Whether something that an earlier process wrote is not durable.
    pub(super) fn is_sync_due(&self) -> bool {
        self.options.sync == ColdStorageSync::Always && !lock(&self.log).dirty.is_empty()
    }

    /// Syncs every journal with content that is not synced; an error as long as there is one of
    /// which a sync failed.
    pub(super) fn sync_journals(&self) -> Result<(), ColdError> {
        let mut log = self.lock_log();
        let mut dirty = core::mem::take(&mut log.dirty);
        let active = log.active.take_if(|active| active.dirty);
        if active.is_none() && dirty.is_empty() {
            return Ok(());
        }
        // Lead, so that writers gather instead of waiting for the lock.
        log.leading = true;
        drop(log);
        // Nor are the names of recovered journals known to be durable.
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
            let error = io::Error::other("an earlier sync of it failed");
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
        // A collation may have ended meanwhile.
        let snapshot = self.snapshot.load();
        dirty.retain(|journal| {
            let is_its = |segment| Arc::ptr_eq(segment, &journal.segment);
            snapshot.segments.iter().any(is_its)
        });
        if dirty.is_empty() {
            outcome = Ok(());
        }
        log.dirty.append(&mut dirty);
        if let Err(error) = &outcome {
            log.failure = Some(error.clone());
        }
        self.committed.notify_all();
        drop(log);
        outcome
    }

    /// Forgets journals whose content is durable elsewhere.
    pub(super) fn forget_dirty(&self, segments: &[Arc<Segment>]) {
        let is_done = |dirty: &Dirty| segments.iter().any(|it| Arc::ptr_eq(it, &dirty.segment));
        lock(&self.log).dirty.retain(|dirty| !is_done(dirty));
    }
}
