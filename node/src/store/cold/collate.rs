//! Collation of the journals of level 0 into one sealed pair of level 1.
//!
//! The order of steps keeps every atom in at least one place: the new pair is written and synced
//! under temporary names, gets its final names, the names are synced, readers get the new snapshot,
//! and only then the sources are removed. A damaged source is set aside instead, with a report of
//! the atoms lost in it.

use super::open::PairNames;
use super::progress::{Pending, Progress, push};
use super::remove::Obsolete;
use super::set_aside::ReportWriter;
use super::{ColdError, Inner, lock};
use crate::store::journal::{AT_BITS, Segment};
use crate::store::sorted_pair::{Pair, PairWriter, ReadError};
use astreum_core::atom::AtomId;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

impl Inner {
    pub(super) fn collate(&self, progress: &mut dyn FnMut(Progress)) -> Result<bool, ColdError> {
        let mut obsolete = lock(&self.maintenance);
        self.check_place()?;
        self.settle_pins()?;
        self.remove_obsolete(&mut obsolete)?;
        let segments = self.seal();
        let total = segments.iter().map(|segment| segment.atoms()).sum();
        let is_damaged = |segment: &Arc<Segment>| segment.damaged_journals().next().is_some();
        if total == 0 && !segments.iter().any(is_damaged) {
            return Ok(false);
        }
        self.begin_turn()?;
        let mut lost = Lost {
            inner: self,
            report: self.begin_report(),
            files: Vec::new(),
        };
        let mut pending = Pending::new(total, progress);
        let pair = self.write_pair(1, &mut obsolete, |writer| {
            self.collate_segments(&segments, writer, &mut pending, &mut lost)
        })?;
        let outcome = segments
            .iter()
            .try_for_each(|segment| lost.take_journals(segment))
            .and_then(|()| lost.finish());
        let moves = match outcome {
            Ok(moves) => moves,
            Err(error) => {
                // The new pair is not in the snapshot yet, and the next attempt writes another one.
                obsolete.extend(pair.map(|pair| Obsolete::Pairs {
                    level: 1,
                    pairs: vec![(pair.number(), pair.file_bytes())],
                }));
                return Err(error);
            }
        };
        self.edit(|snapshot| {
            let is_done =
                |segment: &Arc<Segment>| segments.iter().any(|it| Arc::ptr_eq(it, segment));
            snapshot.segments.retain(|segment| !is_done(segment));
            if let Some(pair) = &pair {
                snapshot.add_pair(1, Arc::clone(pair));
            }
        });
        self.forget_dirty(&segments);
        obsolete.push(Obsolete::Segments(segments));
        obsolete.extend(moves);
        self.remove_obsolete(&mut obsolete)?;
        Ok(pair.is_some())
    }

    /// Writes the atoms of the segments; for each id the newest intact copy.
    fn collate_segments(
        &self,
        segments: &[Arc<Segment>],
        writer: &mut PairWriter<'_>,
        pending: &mut Pending<'_>,
        lost: &mut Lost<'_>,
    ) -> Result<(), ColdError> {
        // Each with the place of its segment and the number of its record, in one word: this takes
        // most of the memory of a collation.
        let mut entries: Vec<(AtomId, u64)> = Vec::new();
        for (at, segment) in (0_u64..).zip(segments) {
            let ids = segment.numbered_ids().into_iter();
            entries.extend(ids.map(|(id, number)| (id, at << AT_BITS | number)));
        }
        // For equal ids, the newest segment comes first.
        entries.sort_unstable();
        for copies in entries.chunk_by(|(one, _), (other, _)| one == other) {
            let mut intact = None;
            for &(_, place) in copies {
                pending.advance();
                let at = usize::try_from(place >> AT_BITS).unwrap_or(usize::MAX);
                let Some(segment) = segments.get(at) else {
                    continue;
                };
                // Every copy is read, so that damage in any of them is found before its file is
                // removed.
                match segment.read_record(place, |path| self.disk.open(path)) {
                    Ok(found) => intact = intact.or(found),
                    Err(ReadError::Damaged(damage)) => {
                        lost.take_leftover(&damage.path);
                        self.damages.note(damage);
                    }
                    Err(error) => return Err(self.failed(error)),
                }
            }
            match (copies.first(), intact) {
                (Some((id, _)), Some(_)) if self.is_shared_atom(id) => {}
                (Some((id, _)), Some(atom)) => push(writer, id, &atom)?,
                (Some((id, _)), None) => lost.lose(id)?,
                (None, _) => {}
            }
        }
        Ok(())
    }

    /// Writes a new pair of a level and opens it; returns `None` if no atom was written. A pair
    /// that may be incomplete is added to `obsolete`.
    pub(super) fn write_pair(
        &self,
        level: u32,
        obsolete: &mut Vec<Obsolete>,
        fill: impl FnOnce(&mut PairWriter<'_>) -> Result<(), ColdError>,
    ) -> Result<Option<Arc<Pair>>, ColdError> {
        // A reference node stops searching at the first missing level.
        for level in 1..=level {
            let dir = self.level_dir(level);
            let made = self.disk.create_dir(&dir);
            made.map_err(|error| ColdError::io("create", &dir, &error))?;
        }
        self.sync_dir(&self.root)?;
        let dir = self.level_dir(level);
        let number = match self.disk.shared() {
            Some(shared) => shared
                .pair_number()
                .map_err(|error| ColdError::io("write a pair to", &dir, &error))?,
            None => {
                let entries = self.list(&dir)?.into_iter();
                PairNames::of(entries.map(|entry| entry.name)).next_number()
            }
        };
        let failed = |error| ColdError::io("write a pair to", &dir, &error);
        let mut writer = PairWriter::create(&*self.disk, &dir, number).map_err(failed)?;
        fill(&mut writer)?;
        if writer.count() == 0 {
            return Ok(None);
        }
        let bytes = writer.bytes();
        let pair = writer.finish().and_then(|()| {
            let pair = self.open_pair(&dir, number).map(Arc::new);
            pair.ok_or_else(|| io::Error::other("the new pair cannot be opened"))
        });
        if pair.is_err() {
            let pairs = vec![(number, bytes)];
            obsolete.push(Obsolete::Pairs { level, pairs });
        }
        pair.map(Some).map_err(failed)
    }
}

/// Damaged files of level 0 and report of the atoms lost in them.
struct Lost<'a> {
    inner: &'a Inner,
    report: ReportWriter,
    files: Vec<(PathBuf, u64)>,
}

impl Lost<'_> {
    /// Adds an atom without an intact copy in level 0.
    fn lose(&mut self, id: &AtomId) -> Result<(), ColdError> {
        if self.inner.is_elsewhere(id, None) {
            return Ok(());
        }
        let result = self.report.lose(self.inner, id);
        result.map_err(|error| ColdError::io("write a damage report to", &self.inner.root, &error))
    }

    /// Adds the damaged file if it is an atom that a reference node left.
    fn take_leftover(&mut self, path: &std::path::Path) {
        if path.parent() == Some(&self.inner.level_dir(0)) {
            let len = self.inner.disk.open(path).and_then(|file| file.len());
            self.files.push((path.to_owned(), len.unwrap_or(0)));
        }
    }

    /// Adds the damaged journals of a segment.
    fn take_journals(&mut self, segment: &Segment) -> Result<(), ColdError> {
        for journal in segment.damaged_journals() {
            let (ids, unknown) = journal.lost();
            self.report.unknown += unknown;
            for id in ids {
                self.lose(id)?;
            }
            if self.inner.is_at(&journal.path, journal.id) {
                let len = journal.file.len().unwrap_or(0);
                self.files.push((journal.path.clone(), len));
            }
        }
        Ok(())
    }

    /// Makes the report durable, if there is something to report.
    fn finish(mut self) -> Result<Option<Obsolete>, ColdError> {
        if self.files.is_empty() && self.report.is_empty() {
            return Ok(None);
        }
        self.inner
            .check_room_aside(self.files.iter().map(|(_, len)| len).sum())?;
        let files = &self.files;
        let problems = self
            .inner
            .damages
            .take(|damage| files.iter().any(|(path, _)| *path == damage.path));
        for problem in &problems {
            self.report.problem(&self.inner.below_root(problem));
        }
        let moves = self.inner.finish_report(self.report, &self.files)?;
        Ok(Some(Obsolete::SetAside(moves)))
    }
}
