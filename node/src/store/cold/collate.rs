//! Collation and merging: many small places become one sealed pair.
//!
//! The order is what keeps every atom in at least one place: the new pair is written and synced
//! under temporary names, gets its names, the names are synced, readers get the new snapshot, and
//! only then what went into it is removed. The indexes of a merged level lose their names first, for
//! good before their data goes: an index without data is what a reference node cannot handle. They
//! go last, so that data without an index is always known for what it is.
//!
//! What a disk refuses to remove is kept in mind, counts as used, and goes before anything else is
//! written: a disk that fails now and then must not fill up with what is nobody's.

use super::open::PairNames;
use super::transfer::Progress;
use super::{ColdError, Inner, MAX_LEVEL, lock};
use crate::store::journal::{Segment, leftover_name};
use crate::store::level::{
    Cursor, Pair, PairWriter, ReadError, data_name, index_name, temporary_name,
};
use astreum_core::atom::{Atom, AtomId};
use core::cmp::Reverse;
use core::sync::atomic::Ordering;
use std::collections::BinaryHeap;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Atoms between two reports of progress.
const ATOMS_A_REPORT: u64 = 1_024;

/// Files whose content is elsewhere for good.
pub(super) enum Doomed {
    Segments(Vec<Arc<Segment>>),
    /// The numbers of pairs, and their bytes.
    Pairs {
        level: u32,
        pairs: Vec<(u64, u64)>,
    },
}

impl Doomed {
    fn bytes(&self) -> u64 {
        match self {
            Self::Segments(segments) => segments.iter().map(|segment| segment.file_bytes()).sum(),
            Self::Pairs { pairs, .. } => pairs.iter().map(|(_, bytes)| bytes).sum(),
        }
    }
}

impl Inner {
    pub(super) fn maintain(&self, progress: &mut dyn FnMut(Progress)) -> Result<(), ColdError> {
        self.remove_doomed(&mut lock(&self.maintenance))?;
        if self.snapshot.load().level_0_bytes() > self.options.level_size_bytes {
            self.collate(progress)?;
        }
        // Each merge can push the next level past its size; the list grows meanwhile.
        let mut level = 1;
        loop {
            let snapshot = self.snapshot.load();
            let Some(highest) = snapshot.levels.last().map(|level| level.number) else {
                return Ok(());
            };
            let bytes = snapshot.level(level).map_or(0, super::Level::bytes);
            if bytes > self.level_limit(level) {
                self.merge(level, progress)?;
            }
            if level >= highest {
                return Ok(());
            }
            level += 1;
        }
    }

    /// Bytes past which a level is merged.
    fn level_limit(&self, level: u32) -> u64 {
        let tenfold = 10_u64.checked_pow(level).unwrap_or(u64::MAX);
        self.options.level_size_bytes.saturating_mul(tenfold)
    }

    pub(super) fn collate(&self, progress: &mut dyn FnMut(Progress)) -> Result<bool, ColdError> {
        let mut doomed = lock(&self.maintenance);
        self.remove_doomed(&mut doomed)?;
        let segments = self.seal();
        let total = segments.iter().map(|segment| segment.atoms()).sum();
        if total == 0 {
            return Ok(false);
        }
        let mut entries: Vec<(AtomId, usize)> = Vec::new();
        for (at, segment) in segments.iter().enumerate() {
            entries.extend(segment.ids().into_iter().map(|id| (id, at)));
        }
        // Of an id the newest segment comes first.
        entries.sort_unstable();
        let mut pending = Pending::new(total, progress);
        let written = self.write_pair(1, &mut doomed, |writer| {
            let mut last = None;
            for &(id, at) in &entries {
                pending.advance();
                if last == Some(id) {
                    continue;
                }
                let Some(segment) = segments.get(at) else {
                    continue;
                };
                // A damaged copy makes way for an older one.
                if let Some(atom) = self.whole(segment.find(&id, |path| self.disk.open(path)))? {
                    push(writer, &id, &atom)?;
                    last = Some(id);
                }
            }
            Ok(())
        })?;
        let Some(pair) = written else {
            return Ok(false);
        };
        self.edit(|snapshot| {
            snapshot
                .segments
                .retain(|segment| !segments.iter().any(|done| Arc::ptr_eq(done, segment)));
            snapshot.add_pair(1, pair);
        });
        doomed.push(Doomed::Segments(segments));
        self.remove_doomed(&mut doomed)?;
        Ok(true)
    }

    /// Removes what has to go. What does not is tried again next time.
    fn remove_doomed(&self, doomed: &mut Vec<Doomed>) -> Result<(), ColdError> {
        let mut removed = Ok(());
        while let Some(last) = doomed.last()
            && removed.is_ok()
        {
            removed = match last {
                Doomed::Segments(segments) => self.remove_segments(segments),
                Doomed::Pairs { level, pairs } => self.remove_pairs(*level, pairs),
            };
            if removed.is_ok() {
                doomed.pop();
            }
        }
        // Not before it has failed: the limit has room for what is removed in the next moment.
        let left = doomed.iter().map(Doomed::bytes).sum();
        self.doomed_bytes.store(left, Ordering::Relaxed);
        removed
    }

    fn remove_segments(&self, segments: &[Arc<Segment>]) -> Result<(), ColdError> {
        let level_0 = self.level_dir(0);
        let mut leftovers = false;
        for segment in segments {
            for (path, _) in segment.journals() {
                self.remove(path)?;
            }
            for id in segment.leftovers() {
                self.remove(&level_0.join(leftover_name(&id)))?;
                leftovers = true;
            }
        }
        if leftovers {
            self.sync_dir(&level_0)?;
        }
        self.sync_dir(&self.root)
    }

    pub(super) fn merge(
        &self,
        level: u32,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<bool, ColdError> {
        let mut doomed = lock(&self.maintenance);
        self.remove_doomed(&mut doomed)?;
        let snapshot = self.snapshot.load_full();
        let level_of_pairs = snapshot.level(level).filter(|_| level < MAX_LEVEL);
        let pairs = level_of_pairs.map(|level| level.pairs.clone());
        let Some(pairs) = pairs.filter(|pairs| !pairs.is_empty()) else {
            return Ok(false);
        };
        let total = pairs.iter().map(|pair| u64::from(pair.count())).sum();
        let mut pending = Pending::new(total, progress);
        let written = self.write_pair(level + 1, &mut doomed, |writer| {
            self.merge_pairs(&pairs, writer, &mut pending)
        })?;
        let Some(pair) = written else {
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
        let pairs = pairs.iter().map(|pair| (pair.number(), pair.bytes()));
        let pairs = pairs.collect();
        doomed.push(Doomed::Pairs { level, pairs });
        self.remove_doomed(&mut doomed)?;
        Ok(true)
    }

    /// Writes what the pairs hold, of an id the newest copy that is whole.
    fn merge_pairs(
        &self,
        pairs: &[Arc<Pair>],
        writer: &mut PairWriter<'_>,
        pending: &mut Pending<'_>,
    ) -> Result<(), ColdError> {
        let mut cursors: Vec<_> = pairs.iter().map(|pair| pair.cursor()).collect();
        let mut heads = BinaryHeap::with_capacity(cursors.len());
        for (rank, cursor) in cursors.iter_mut().enumerate() {
            heads.extend(self.head(cursor)?.map(|id| Reverse((id, rank))));
        }
        let mut last = None;
        while let Some(Reverse((id, rank))) = heads.pop() {
            let Some(cursor) = cursors.get_mut(rank) else {
                continue;
            };
            if last != Some(id)
                && let Some(atom) = self.whole(cursor.atom().map(Some))?
            {
                push(writer, &id, &atom)?;
                last = Some(id);
            }
            cursor.advance();
            pending.advance();
            heads.extend(self.head(cursor)?.map(|id| Reverse((id, rank))));
        }
        Ok(())
    }

    pub(super) fn head(&self, cursor: &mut Cursor<'_>) -> Result<Option<AtomId>, ColdError> {
        let id = cursor.id().transpose();
        id.map_err(|error| ColdError::io("read", &self.root, &error))
    }

    fn remove_pairs(&self, level: u32, pairs: &[(u64, u64)]) -> Result<(), ColdError> {
        let dir = self.level_dir(level);
        let doomed_path = |number| dir.join(temporary_name(&index_name(number)));
        for &(number, _) in pairs {
            let (from, to) = (dir.join(index_name(number)), doomed_path(number));
            match self.disk.rename(&from, &to) {
                // An earlier attempt got so far, or it was never named.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                renamed => renamed.map_err(|error| ColdError::io("rename", &from, &error))?,
            }
        }
        self.sync_dir(&dir)?;
        for &(number, _) in pairs {
            self.remove(&dir.join(data_name(number)))?;
        }
        self.sync_dir(&dir)?;
        for &(number, _) in pairs {
            self.remove(&doomed_path(number))?;
        }
        Ok(())
    }

    /// What was found, if it is whole; damage is reported and is not worth stopping for.
    pub(super) fn whole(
        &self,
        found: Result<Option<Atom>, ReadError>,
    ) -> Result<Option<Atom>, ColdError> {
        found.or_else(|error| self.note(error).map_or(Ok(None), Err))
    }

    /// Writes a new pair of a level and opens it; `None` when nothing was written. One that does not
    /// get so far is doomed.
    fn write_pair(
        &self,
        level: u32,
        doomed: &mut Vec<Doomed>,
        fill: impl FnOnce(&mut PairWriter<'_>) -> Result<(), ColdError>,
    ) -> Result<Option<Arc<Pair>>, ColdError> {
        // A reference node stops looking at the first level that is missing.
        for level in 1..=level {
            let dir = self.level_dir(level);
            let made = self.disk.create_dir(&dir);
            made.map_err(|error| ColdError::io("create", &dir, &error))?;
        }
        self.sync_dir(&self.root)?;
        let dir = self.level_dir(level);
        let names = PairNames::of(self.list(&dir)?.into_iter().map(|entry| entry.name));
        let number = names.next_number();
        let failed = |error| ColdError::io("write a pair to", &dir, &error);
        let mut writer = PairWriter::create(&*self.disk, &dir, number).map_err(failed)?;
        fill(&mut writer)?;
        if writer.count() == 0 {
            return Ok(None);
        }
        let bytes = writer.bytes();
        let pair = writer.finish().and_then(|()| {
            let pair = self.open_pair(&dir, number).map(Arc::new);
            pair.ok_or_else(|| io::Error::other("what was written cannot be opened"))
        });
        if pair.is_err() {
            let pairs = vec![(number, bytes)];
            doomed.push(Doomed::Pairs { level, pairs });
        }
        pair.map(Some).map_err(failed)
    }

    fn remove(&self, path: &Path) -> Result<(), ColdError> {
        let removed = self.disk.remove(path);
        removed.map_err(|error| ColdError::io("remove", path, &error))
    }

    fn sync_dir(&self, path: &Path) -> Result<(), ColdError> {
        let synced = self.disk.sync_dir(path);
        synced.map_err(|error| ColdError::io("sync", path, &error))
    }
}

fn push(writer: &mut PairWriter<'_>, id: &AtomId, atom: &Atom) -> Result<(), ColdError> {
    let pushed = writer.push(id, atom);
    pushed.map_err(|error| ColdError::io("write a pair to", writer.dir(), &error))
}

/// Counts and reports how far something is.
pub(super) struct Pending<'a> {
    at: Progress,
    report: &'a mut dyn FnMut(Progress),
}

impl<'a> Pending<'a> {
    pub(super) fn new(total: u64, report: &'a mut dyn FnMut(Progress)) -> Self {
        let at = Progress { done: 0, total };
        Self { at, report }
    }

    pub(super) fn advance(&mut self) {
        self.at.done += 1;
        if self.at.done.is_multiple_of(ATOMS_A_REPORT) || self.at.done == self.at.total {
            (self.report)(self.at);
        }
    }
}
