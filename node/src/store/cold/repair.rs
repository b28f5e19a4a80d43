//! Repair of damaged pairs: intact atoms are rewritten, damaged files are set aside.
//!
//! The order of steps keeps every intact atom in at least one place, and the evidence of the
//! damage: the intact atoms are written to a new pair of the same level and synced, then the report
//! of the losses, and only then the damaged files are moved to the directory of files set aside.
//! After an interruption in between, the same pair is repaired again.
//!
//! An intact file of a damaged pair is removed once its content is in the new pair: data beside a
//! damaged index, for example. If the data is damaged, all files of the pair are kept, since the
//! index identifies the data.

use super::progress::{Pending, Progress, push};
use super::remove::Obsolete;
use super::set_aside::{Moves, ReportWriter};
use super::{Broken, ColdError, Inner, Snapshot, lock};
use crate::store::sealed::Sealed;
use crate::store::sorted_pair::{
    Condition, Damage, Files, Item, Pair, PairWriter, ReadError, Salvage, data_name, index_name,
    lengths_name, temporary_name,
};
use astreum_core::atom::{Atom, AtomId};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Maximum number of intact atoms out of order that are put together.
const STRAGGLERS: usize = 1_024;
/// Bytes after which they are put earlier.
const STRAGGLER_BYTES: usize = 8 << 20;

/// Pair to be repaired.
enum Target {
    Damaged(Arc<Pair>),
    Broken(Broken),
}

/// Files of a pair that could not be opened as a pair.
#[derive(Default)]
pub(super) struct Opened {
    index: Option<Sealed>,
    data: Option<Sealed>,
}

impl Opened {
    pub(super) const fn files(&self) -> Files<'_> {
        Files {
            index: self.index.as_ref(),
            data: self.data.as_ref(),
        }
    }
}

impl Inner {
    /// Repairs the damaged pairs of a level. Returns `false` if there were none.
    pub(super) fn repair(
        &self,
        level: u32,
        obsolete: &mut Vec<Obsolete>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<bool, ColdError> {
        let snapshot = self.snapshot.load_full();
        let Some(level_now) = snapshot.level(level) else {
            return Ok(false);
        };
        let damaged = level_now.pairs.iter().filter(|pair| pair.is_damaged());
        let targets: Vec<Target> = damaged
            .map(|pair| Target::Damaged(Arc::clone(pair)))
            .chain(level_now.broken.iter().copied().map(Target::Broken))
            .collect();
        if !targets.is_empty() {
            self.begin_turn()?;
        }
        for target in &targets {
            self.repair_pair(level, target, obsolete, progress)?;
            self.remove_obsolete(obsolete)?;
        }
        Ok(!targets.is_empty())
    }

    fn repair_pair(
        &self,
        level: u32,
        target: &Target,
        obsolete: &mut Vec<Obsolete>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), ColdError> {
        let dir = self.level_dir(level);
        let opened;
        let (number, files, bytes) = match target {
            Target::Damaged(pair) => (pair.number(), pair.files(), pair.file_bytes()),
            Target::Broken(broken) => {
                opened = self.open_broken(level, *broken)?;
                let files = opened.files();
                let bytes = [files.index, files.data].into_iter().flatten();
                (broken.number, files, bytes.map(Sealed::len).sum())
            }
        };
        self.check_room_aside(bytes)?;
        let salvage = Salvage::new(&*self.disk, &dir, number, files);
        let mut salvage = salvage.map_err(|error| self.failed(error))?;
        let mut rescue = Rescue {
            inner: self,
            report: self.begin_report(),
            pending: Pending::new(salvage.count(), progress),
            last: None,
            stragglers: Vec::new(),
            straggler_bytes: 0,
            skipped: match target {
                Target::Damaged(pair) => Some(Arc::clone(pair)),
                Target::Broken(_) => None,
            },
        };
        let pair = self.write_pair(level, obsolete, |writer| {
            while let Some(item) = salvage.next().map_err(|error| self.failed(error))? {
                rescue.take(item, writer)?;
            }
            rescue.put_stragglers()
        })?;
        let outcome = self.report_pair(level, target, number, rescue.report, salvage.finish());
        let moves = match outcome {
            Ok(moves) => moves,
            Err(error) => {
                // The new pair is not in the snapshot yet, and the old one will be repaired again.
                obsolete.extend(pair.map(|pair| Obsolete::Pairs {
                    level,
                    pairs: vec![(pair.number(), pair.file_bytes())],
                }));
                return Err(error);
            }
        };
        self.edit(|snapshot| {
            if let Some(pair) = pair {
                snapshot.add_pair(level, pair);
            }
            if let Some(level) = snapshot.levels.iter_mut().find(|it| it.number == level) {
                match target {
                    Target::Damaged(old) => level.pairs.retain(|pair| !Arc::ptr_eq(pair, old)),
                    Target::Broken(old) => level.broken.retain(|broken| broken != old),
                }
            }
        });
        // Files of the pair that are not set aside. They are removed last.
        obsolete.push(Obsolete::Pairs {
            level,
            pairs: vec![(number, bytes)],
        });
        obsolete.push(Obsolete::SetAside(moves));
        Ok(())
    }

    /// Writes the report of a salvaged pair; returns the files to set aside.
    fn report_pair(
        &self,
        level: u32,
        target: &Target,
        number: u64,
        mut report: ReportWriter,
        (condition, damages): (Condition, Vec<Damage>),
    ) -> Result<Moves, ColdError> {
        let dir = self.level_dir(level);
        let listed = self.list(&dir)?;
        // The index first: recovery can handle data without an index.
        let kept = [index_name, lengths_name, data_name].map(|name| name(number));
        let kept = kept.into_iter().filter_map(|name| {
            let entry = listed.iter().find(|entry| entry.name == name)?;
            let path = dir.join(&name);
            // A file with that name that is not the file that was read is kept, too.
            let is_foreign = match target {
                Target::Damaged(pair) => pair.id_of(&path).is_some_and(|id| !self.is_at(&path, id)),
                Target::Broken(_) => false,
            };
            let is_kept = is_foreign
                || condition.data
                || condition.index && name == index_name(number)
                || condition.lengths && name == lengths_name(number);
            is_kept.then_some((path, entry.len))
        });
        let kept: Vec<(PathBuf, u64)> = kept.collect();
        let mut problems = self.damages.take(|damage| is_of(damage, &dir, number));
        problems.extend(damages);
        problems.sort();
        problems.dedup();
        for damage in &problems {
            report.problem(&self.below_root(damage));
        }
        let moves = self.finish_report(report, &kept)?;
        let index = dir.join(index_name(number));
        let data = dir.join(data_name(number));
        let keeps = |path: &Path| kept.iter().any(|(kept, _)| kept == path);
        Ok(if keeps(&index) && !keeps(&data) {
            let marker = dir.join(temporary_name(&index_name(number)));
            moves.with_marker(index, marker)
        } else {
            moves
        })
    }

    /// Returns the damage with its path relative to the root, which stays valid if the directory
    /// moves.
    pub(super) fn below_root(&self, damage: &Damage) -> Damage {
        let path = damage.path.strip_prefix(&self.root);
        Damage {
            path: path.unwrap_or(&damage.path).to_owned(),
            ..damage.clone()
        }
    }

    /// Opens the existing files of a pair.
    pub(super) fn open_broken(&self, level: u32, broken: Broken) -> Result<Opened, ColdError> {
        let dir = self.level_dir(level);
        let open = |name: String| {
            let path = dir.join(name);
            match Sealed::open(&*self.disk, &path, self.options.mapped) {
                Ok(sealed) => Ok(Some(sealed)),
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
                Err(error) => Err(ColdError::io("read", &path, &error)),
            }
        };
        Ok(Opened {
            index: open(index_name(broken.number))?,
            data: open(data_name(broken.number))?,
        })
    }

    /// Fails if setting aside `bytes` more would exceed the limit of the store.
    pub(super) fn check_room_aside(&self, bytes: u64) -> Result<(), ColdError> {
        let limit_bytes = self.limit_bytes();
        let used_bytes = lock(&self.incidents).bytes();
        if limit_bytes > 0 && used_bytes.saturating_add(bytes) > limit_bytes {
            return Err(ColdError::SetAsideFull {
                used_bytes,
                limit_bytes,
            });
        }
        Ok(())
    }

    /// Converts a read error to an error of the store; damage is noted, too.
    pub(super) fn failed(&self, error: ReadError) -> ColdError {
        match error {
            ReadError::Failed { path, error } => ColdError::io("read", &path, &error),
            ReadError::Damaged(damage) => {
                let error = std::io::Error::other(damage.problem.clone());
                self.damages.note(damage.clone());
                ColdError::io("read", &damage.path, &error)
            }
        }
    }

    /// Returns whether an intact copy of the atom is stored outside of `skipped`.
    pub(super) fn is_elsewhere(&self, id: &AtomId, skipped: Option<&Arc<Pair>>) -> bool {
        let snapshot = self.snapshot.load();
        let waiting = snapshot.segments.iter().any(|segment| {
            let found = segment.find(id, |path| self.disk.open(path));
            matches!(found, Ok(Some(_)))
        });
        waiting || self.is_in_pair(&snapshot, id, skipped)
    }

    /// Returns whether an intact copy of the atom is in another pair than `skipped`.
    pub(super) fn is_in_pair(
        &self,
        snapshot: &Snapshot,
        id: &AtomId,
        skipped: Option<&Arc<Pair>>,
    ) -> bool {
        snapshot
            .pairs()
            .filter(|pair| skipped.is_none_or(|skipped| !Arc::ptr_eq(pair, skipped)))
            .any(|pair| pair.may_have(id) && matches!(pair.find(id), Ok(Some(_))))
    }
}

/// Returns whether the damage is in a file of this pair.
fn is_of(damage: &Damage, dir: &Path, number: u64) -> bool {
    let name = damage.path.file_name().and_then(|name| name.to_str());
    damage.path.parent() == Some(dir)
        && name.is_some_and(|name| {
            [index_name, data_name, lengths_name]
                .iter()
                .any(|of| of(number) == *name)
        })
}

/// Destination of a salvage: atoms go to the new pair or to the journal, losses to the report.
struct Rescue<'a> {
    inner: &'a Inner,
    report: ReportWriter,
    pending: Pending<'a>,
    /// Last id in the new pair, in which ids ascend.
    last: Option<AtomId>,
    /// Intact atoms that are out of order in the damaged pair.
    stragglers: Vec<(AtomId, Atom)>,
    straggler_bytes: usize,
    skipped: Option<Arc<Pair>>,
}

impl Rescue<'_> {
    fn take(&mut self, item: Item, writer: &mut PairWriter<'_>) -> Result<(), ColdError> {
        self.pending.advance();
        match item {
            Item::Intact(id, atom) if self.last < Some(id) => {
                push(writer, &id, &atom)?;
                self.last = Some(id);
            }
            Item::Intact(id, atom) => {
                self.straggler_bytes += atom.stored_len();
                self.stragglers.push((id, atom));
                if self.stragglers.len() >= STRAGGLERS || self.straggler_bytes >= STRAGGLER_BYTES {
                    self.put_stragglers()?;
                }
            }
            Item::Lost(id) => {
                if !self.inner.is_elsewhere(&id, self.skipped.as_ref()) {
                    let dir = &self.inner.root;
                    let result = self.report.lose(self.inner, &id);
                    result
                        .map_err(|error| ColdError::io("write a damage report to", dir, &error))?;
                }
            }
            Item::Unknown(atoms) => self.report.unknown += atoms,
        }
        Ok(())
    }

    /// Writes the stragglers to the journal, like any other atom.
    fn put_stragglers(&mut self) -> Result<(), ColdError> {
        if self.stragglers.is_empty() {
            return Ok(());
        }
        self.straggler_bytes = 0;
        let stragglers = core::mem::take(&mut self.stragglers);
        // A copy in the damaged pair does not count.
        self.inner.put_beside(&stragglers, self.skipped.as_ref())?;
        // They have to be durable before the damaged pair is set aside.
        self.inner.sync_journals()
    }
}
