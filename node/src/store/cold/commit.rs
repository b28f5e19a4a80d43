//! Group commit: callers that come together share one write and one sync.
//!
//! The first caller that finds nobody writing leads: it takes everything that waits, writes and
//! syncs it without holding the lock, and tells the others how it went. Those who come meanwhile
//! gather for the next round.

use super::{ColdError, Inner, lock};
use crate::config::ColdStorageSync;
use crate::store::disk::DiskFile;
use crate::store::journal::{self, Record, Segment};
use astreum_core::atom::{Atom, AtomId};
use core::sync::atomic::Ordering;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock, PoisonError};

/// Bytes that so many atoms take in a pair, the count in its head aside.
pub(super) const fn collated_bytes(atoms: u64, stored_bytes: u64) -> u64 {
    atoms.saturating_mul(160).saturating_add(stored_bytes)
}

/// Buffers that are kept for the next write take at most this together.
const SPARE_BYTES: usize = 4 << 20;
/// Atoms that are looked for together before they are written.
const ATOMS_A_LOOK: usize = 64;

/// What waits for the disk, and where it goes.
#[derive(Default)]
pub(super) struct Log {
    waiting: Group,
    /// Empty, with room: memory that the system has to clear first costs more than what is written
    /// to it.
    spare: (Vec<u8>, Vec<Record>),
    /// Whether somebody writes now; `active` is that caller's then.
    leading: bool,
    /// What the leader writes, as [`collated_bytes`].
    in_flight_bytes: u64,
    active: Option<Active>,
    pub(super) next_sequence: u64,
    /// Why the last write failed, until one succeeds.
    pub(super) failure: Option<ColdError>,
}

/// The journal that is appended to.
#[derive(Clone)]
struct Active {
    segment: Arc<Segment>,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    end: u64,
    /// Whether something was written and not synced.
    dirty: bool,
}

/// Writes that are done together.
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
        let group = self.encode(atoms)?;
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
            // What failed is not written to again.
            log.active = active.filter(|_| written.is_ok());
            log.failure = written.clone().err();
            // Nobody else has set it: a group is written by one leader.
            let _ = group.outcome.set(written);
            log.keep_spare(group);
            self.committed.notify_all();
        }
    }

    /// The records of those that are not here yet.
    fn encode(&self, atoms: &[(AtomId, Atom)]) -> Result<Group, ColdError> {
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
            if may_be_here && self.find(&snapshot, id).0.is_some() {
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
        let written = self.append(group, journal, fresh);
        if fresh {
            if let Err(error) = written {
                // Nothing in it was acknowledged.
                let _ = self.disk.remove(&journal.path);
                return Err(error);
            }
            let segment = Arc::clone(&journal.segment);
            self.edit(|snapshot| snapshot.segments.insert(0, segment));
        }
        written?;
        let end = journal.end;
        journal.segment.add(0, end, &group.records);
        journal.segment.add_file_bytes(group.bytes.len() as u64);
        journal.end += group.bytes.len() as u64;
        if self.snapshot.load().level_0_bytes() > self.options.level_size_bytes {
            self.wake.notify();
        }
        Ok(())
    }

    fn create_journal(&self, sequence: u64) -> Result<Active, ColdError> {
        if !self.is_prepared.load(Ordering::Relaxed) {
            self.prepare(&self.list(&self.root)?)?;
        }
        let path = self.root.join(journal::name(sequence));
        let file = self
            .disk
            .create(&path)
            .map_err(|error| ColdError::io("create", &path, &error))?;
        let journals = vec![(path.clone(), Arc::clone(&file))];
        let segment = Segment::new(journals, self.level_dir(0));
        let end = journal::HEADER.len() as u64;
        segment.add_file_bytes(end);
        Ok(Active {
            segment: Arc::new(segment),
            path,
            file,
            end,
            dirty: false,
        })
    }

    fn append(&self, group: &Group, journal: &mut Active, fresh: bool) -> Result<(), ColdError> {
        let Active {
            path,
            file,
            end,
            dirty,
            ..
        } = journal;
        let write = |bytes: &[u8], at| {
            file.write_all_at(bytes, at)
                .map_err(|error| ColdError::io("write to", path, &error))
        };
        if fresh {
            write(&journal::HEADER, 0)?;
        }
        write(&group.bytes, *end)?;
        *dirty = true;
        if self.options.sync == ColdStorageSync::Always {
            file.sync()
                .map_err(|error| ColdError::io("sync", path, &error))?;
            *dirty = false;
        }
        if fresh {
            // The file's name has to last as long as what is in it.
            self.disk
                .sync_dir(&self.root)
                .map_err(|error| ColdError::io("sync", &self.root, &error))?;
        }
        Ok(())
    }

    /// Ends the journal that is appended to, and gives every segment that there is: all sealed.
    pub(super) fn seal(&self) -> Vec<Arc<Segment>> {
        let mut log = lock(&self.log);
        while log.leading {
            log = self
                .committed
                .wait(log)
                .unwrap_or_else(PoisonError::into_inner);
        }
        log.active = None;
        log.spare = Default::default();
        // Under the lock, so that no new segment comes in between.
        self.snapshot.load().segments.clone()
    }

    pub(super) fn sync(&self) -> Result<(), ColdError> {
        let mut log = lock(&self.log);
        while log.leading {
            log = self
                .committed
                .wait(log)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let Some(mut active) = log.active.take_if(|active| active.dirty) else {
            return Ok(());
        };
        // Lead, so that writers gather instead of waiting for the lock.
        log.leading = true;
        drop(log);
        let synced = active
            .file
            .sync()
            .map_err(|error| ColdError::io("sync", &active.path, &error));
        active.dirty = false;
        let mut log = lock(&self.log);
        log.leading = false;
        match &synced {
            Ok(()) => log.active = Some(active),
            Err(error) => log.failure = Some(error.clone()),
        }
        self.committed.notify_all();
        synced
    }
}
