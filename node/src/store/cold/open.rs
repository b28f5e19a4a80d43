//! Opening of a directory: lock, format check, and recovery from interruptions.

use super::watch::PROBE;
use super::{Broken, ColdError, ColdOptions, Inner, Level, MAX_LEVEL, Snapshot, lock};
use crate::store::disk::{DirEntry, Disk, OBJECT_STORE, is_read_only};
use crate::store::journal::{self, Journal, Recovery, Segment};
use crate::store::sorted_pair::{
    Damage, Pair, data_name, index_name, lengths_name, temporary_name,
};
use arc_swap::ArcSwap;
use astreum_core::atom::AtomId;
use core::sync::atomic::{AtomicBool, Ordering};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Content of `FORMAT`.
pub(super) const FORMAT: &[u8] = b"astreum cold storage 1\n";
/// Mark of a backup that is not complete.
pub(super) const INCOMPLETE: &str = "INCOMPLETE";
/// Fixed text of `FORMAT` in any version, before and after the version number.
const FORMAT_PARTS: (&str, &str) = ("astreum cold storage ", "\n");
const MAX_FORMAT_BYTES: u64 = 64;
/// Maximum size of a reference node's file; larger ones are ignored, since no node can have sent or
/// served them.
const MAX_LEFTOVER_BYTES: u64 = 1 << 30;

pub(super) fn open(
    disk: Arc<dyn Disk>,
    root: &Path,
    options: ColdOptions,
) -> Result<Inner, ColdError> {
    let not_created = |error| ColdError::io("create", root, &error);
    // An existing directory on a read-only disk can still be read.
    let read_only = match disk.create_dir(root) {
        Err(error) if is_read_only(&error) => Some(error),
        created => {
            created.map_err(not_created)?;
            None
        }
    };
    let dir_lock = disk
        .lock(root)
        .map_err(|error| match (error.kind(), read_only) {
            (io::ErrorKind::NotFound, Some(read_only)) => not_created(read_only),
            _ => ColdError::io("lock", &root.join("LOCK"), &error),
        })?
        .ok_or_else(|| ColdError::Locked { path: root.into() })?;
    let inner = Inner {
        disk,
        root: root.to_owned(),
        options,
        limit_bytes: options.limit_bytes.into(),
        refused_bytes: Default::default(),
        snapshot: ArcSwap::default(),
        is_prepared: Default::default(),
        edit: Default::default(),
        log: Default::default(),
        committed: Default::default(),
        maintenance: Default::default(),
        obsolete_bytes: Default::default(),
        collecting: Default::default(),
        damages: Default::default(),
        pins: Default::default(),
        headers: Default::default(),
        incidents: Default::default(),
        hits: Default::default(),
        misses: Default::default(),
        wake: Default::default(),
        is_quiet: AtomicBool::new(false),
        dir_lock,
    };
    inner.check_format()?;
    let entries = inner.list(root)?;
    let is_prepared = match inner.prepare(&entries) {
        // The store can still be read; a write tries again.
        Err(error) if error.is_read_only() => Err(error),
        prepared => Ok(prepared?),
    };
    inner.recover(&entries)?;
    inner.load_headers(&entries);
    // The ability to write is determined at the start, not at the first write.
    inner.add_recovered();
    match is_prepared.and_then(|()| inner.probe()) {
        Ok(()) => inner.sync_recovered(),
        Err(error) => lock(&inner.log).failure = Some(error),
    }
    inner.load_pins(&entries)?;
    Ok(inner)
}

impl Inner {
    fn check_format(&self) -> Result<(), ColdError> {
        let mark = self.root.join(INCOMPLETE);
        match self.disk.identity(&mark) {
            Ok(None) => {}
            Ok(Some(_)) => {
                let path = self.root.clone();
                return Err(ColdError::Incomplete { path });
            }
            Err(error) => return Err(ColdError::io("look for", &mark, &error)),
        }
        let mark = self.root.join(OBJECT_STORE);
        if !self.is_shared() && matches!(self.disk.identity(&mark), Ok(Some(_))) {
            return Err(ColdError::OfObjectStore { path: mark });
        }
        let path = self.root.join("FORMAT");
        let failed = |error| ColdError::io("read", &path, &error);
        match self.disk.open(&path) {
            Ok(file) => {
                let len = file.len().map_err(failed)?.min(MAX_FORMAT_BYTES);
                let mut found = vec![0; usize::try_from(len).unwrap_or_default()];
                file.read_exact_at(&mut found, 0).map_err(failed)?;
                if found == FORMAT {
                    return Ok(());
                }
                let found = String::from_utf8_lossy(&found).into_owned();
                Err(match is_of_other_version(&found) {
                    true => ColdError::Format { path, found },
                    false => ColdError::FormatDamaged { path, found },
                })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }

    /// Creates everything needed before a write. `FORMAT` comes last: an opener that finds it does
    /// not need to make the directory's own name durable again.
    pub(super) fn prepare(&self, entries: &[DirEntry]) -> Result<(), ColdError> {
        let is_there = |name: &str| entries.iter().any(|entry| entry.name == name);
        if !is_there("level_0") {
            // A reference node expects it.
            let level_0 = self.level_dir(0);
            let made = self.disk.create_dir(&level_0);
            made.map_err(|error| ColdError::io("create", &level_0, &error))?;
        }
        if !is_there("FORMAT") {
            for dir in self.root.ancestors().skip(1) {
                self.settle(dir)?;
            }
            let path = self.root.join("FORMAT");
            self.write_format(&path)
                .map_err(|error| ColdError::io("write", &path, &error))?;
        }
        self.is_prepared.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Makes the names in a parent directory durable, if permissions allow opening it.
    pub(super) fn settle(&self, dir: &Path) -> Result<(), ColdError> {
        let relative = dir.as_os_str().is_empty();
        let dir = if relative { Path::new(".") } else { dir };
        match self.disk.sync_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            settled => settled.map_err(|error| ColdError::io("sync", dir, &error)),
        }
    }

    fn write_format(&self, path: &Path) -> io::Result<()> {
        let temporary = self.root.join("FORMAT.tmp");
        let file = self.disk.create(&temporary)?;
        file.write_all_at(FORMAT, 0)?;
        file.sync()?;
        self.disk.rename(&temporary, path)?;
        self.disk.sync_dir(&self.root)
    }

    fn recover(&self, entries: &[DirEntry]) -> Result<(), ColdError> {
        let mut snapshot = Snapshot::default();
        let mut journals = BTreeMap::new();
        if entries.iter().any(|entry| entry.name == PROBE) {
            let _ = self.disk.remove(&self.root.join(PROBE));
        }
        self.load_incidents()?;
        for entry in entries {
            let number = entry.name.strip_prefix("level_").and_then(canonical_number);
            let number = number.filter(|number| entry.is_dir && *number > 0);
            match number.map(|number| u32::try_from(number).unwrap_or(u32::MAX)) {
                Some(number @ ..=MAX_LEVEL) => {
                    snapshot.levels.push(self.open_level(number)?);
                }
                Some(_) => self.damages.note(Damage {
                    path: self.root.join(&entry.name),
                    offset: 0,
                    problem: "unexpected level number; ignored".into(),
                }),
                None => {}
            }
            if let Some(sequence) = journal::sequence(&entry.name).filter(|_| !entry.is_dir) {
                journals.insert(sequence, self.root.join(&entry.name));
            }
        }
        snapshot.levels.sort_by_key(|level| level.number);
        let next_sequence = journals.keys().next_back().map_or(0, |last| last + 1);
        let segment = self.recover_segment(journals.into_values())?;
        snapshot.segments.extend(segment.map(Arc::new));
        self.snapshot.store(Arc::new(snapshot));
        lock(&self.log).next_sequence = next_sequence;
        Ok(())
    }

    /// Opens the pairs of a level, highest number first.
    fn open_level(&self, level: u32) -> Result<Level, ColdError> {
        let dir = self.level_dir(level);
        let names = PairNames::of(self.list(&dir)?.into_iter().map(|entry| entry.name));
        let kept = self.remove_unfinished(&dir, &names);
        for name in &names.others {
            self.damages.note(Damage {
                path: dir.join(name),
                offset: 0,
                problem: "not a cold storage file: ignored; a reference node treats every \
                          `<digits>_index` as a pair"
                    .into(),
            });
        }
        let mut opened = Level {
            number: level,
            ..Level::default()
        };
        for (&number, &files) in names.pairs.iter().rev() {
            if names.is_unfinished(number) {
                self.damages.note_interrupted(Damage {
                    path: dir.join(data_name(number)),
                    offset: 0,
                    problem: if kept {
                        "left by an interrupted write; its content is in other files".into()
                    } else {
                        "left by an interrupted write; its content was in other files, and it is \
                         removed"
                            .into()
                    },
                });
                continue;
            }
            let missing = match (files.index, files.data) {
                (true, true) => {
                    let pair = self.open_pair(&dir, number);
                    if pair.is_none() && self.is_shared() {
                        // Its atoms are not absent, and opening again may succeed.
                        return Err(ColdError::Unopened {
                            path: dir.join(index_name(number)),
                        });
                    }
                    opened.pairs.extend(pair.map(Arc::new));
                    continue;
                }
                (true, false) => data_name(number),
                (false, _) => index_name(number),
            };
            self.damages.note(Damage {
                path: dir.join(missing),
                offset: 0,
                problem: "missing file of a pair that has other files".into(),
            });
            opened.broken.push(Broken { number });
        }
        Ok(opened)
    }

    /// Removes the files that an interrupted write or removal left in a level. Their content is
    /// elsewhere, so a failure is harmless; returns `true` then.
    fn remove_unfinished(&self, dir: &Path, names: &PairNames) -> bool {
        let numbers = names.pairs.keys().copied();
        let unfinished: Vec<u64> = numbers
            .filter(|&number| names.is_unfinished(number))
            .collect();
        // The temporary index marks the other files as removable, so it has to be removed after
        // them.
        let removed = unfinished.iter().try_for_each(|&number| {
            self.disk.remove(&dir.join(data_name(number)))?;
            self.disk.remove(&dir.join(lengths_name(number)))
        });
        let settled = removed.and_then(|()| match unfinished.is_empty() {
            true => Ok(()),
            false => self.disk.sync_dir(dir),
        });
        if settled.is_ok() {
            for name in &names.temporary {
                let _ = self.disk.remove(&dir.join(name));
            }
        }
        settled.is_err()
    }

    /// Opens a pair and reports its damage; returns `None` if it cannot be opened.
    pub(super) fn open_pair(&self, dir: &Path, number: u64) -> Option<Pair> {
        match Pair::open(&*self.disk, dir, number, self.options.mapped) {
            Ok((pair, damages)) => {
                for damage in damages {
                    self.damages.note(damage);
                }
                Some(pair)
            }
            Err(error) => {
                if let Some(error) = self.note(error) {
                    // Other pairs can still be served.
                    self.damages.note(Damage {
                        path: dir.join(index_name(number)),
                        offset: 0,
                        problem: error.to_string().into(),
                    });
                }
                None
            }
        }
    }

    /// Builds one segment of the leftovers and all journals, older journals first.
    fn recover_segment(
        &self,
        paths: impl Iterator<Item = PathBuf>,
    ) -> Result<Option<Segment>, ColdError> {
        let leftovers = self.list_leftovers()?;
        let mut journals: Vec<Journal> = Vec::new();
        let (mut found, mut file_bytes) = (Recovery::new(&leftovers), 0);
        for path in paths {
            let failed = |error| ColdError::io("read", &path, &error);
            let file = self.disk.open(&path).map_err(failed)?;
            let len = file.len().map_err(failed)?;
            // One without records is not added.
            let number = u32::try_from(journals.len()).unwrap_or(u32::MAX);
            let scanned = found.scan(number, len, |each| journal::scan(&path, &*file, each));
            let scanned = scanned.map_err(failed)?;
            for damage in &scanned.damages {
                self.damages.note(damage.clone());
            }
            if let Some(cut_off) = scanned.cut_off.clone() {
                self.damages.note_interrupted(cut_off);
            }
            if len <= journal::HEADER.len() as u64 && scanned.damages.is_empty() {
                // The journal was created and never written to.
                let _ = self.disk.remove(&path);
                continue;
            }
            let journal = Journal::new(path.clone(), file).map_err(failed)?;
            journals.push(journal.recovered(&scanned));
            file_bytes += len;
        }
        if journals.is_empty() && leftovers.is_empty() {
            return Ok(None);
        }
        let segment = Segment::recovered(journals, self.level_dir(0), found);
        let leftover_bytes = leftovers.iter().map(|&(_, len)| u64::from(len));
        segment.add_file_bytes(file_bytes + leftover_bytes.sum::<u64>());
        Ok(Some(segment))
    }

    /// Lists the atoms that are files of their own, each with its length in bytes.
    fn list_leftovers(&self) -> Result<Vec<(AtomId, u32)>, ColdError> {
        let mut leftovers = Vec::new();
        for entry in self.list(&self.level_dir(0))? {
            let len = u32::try_from(entry.len)
                .ok()
                .filter(|_| entry.len <= MAX_LEFTOVER_BYTES);
            match journal::leftover_id(&entry.name).zip(len) {
                Some(leftover) => leftovers.push(leftover),
                None => self.damages.note(Damage {
                    path: self.level_dir(0).join(&entry.name),
                    offset: 0,
                    problem: "not a cold storage file; a reference node stops collating here"
                        .into(),
                }),
            }
        }
        Ok(leftovers)
    }

    pub(super) fn list(&self, dir: &Path) -> Result<Vec<DirEntry>, ColdError> {
        self.disk
            .list(dir)
            .map_err(|error| ColdError::io("list", dir, &error))
    }
}

/// Returns whether this is the content of `FORMAT` in another version of this program.
fn is_of_other_version(found: &str) -> bool {
    let (before, after) = FORMAT_PARTS;
    let number = found
        .strip_prefix(before)
        .and_then(|rest| rest.strip_suffix(after));
    number.and_then(canonical_number).is_some()
}

/// Names in the directory of a level.
#[derive(Default)]
pub(super) struct PairNames {
    /// Existing files of each pair, by number.
    pub(super) pairs: BTreeMap<u64, PairFiles>,
    pub(super) temporary: Vec<String>,
    /// Names that are not files of cold storage.
    others: Vec<String>,
}

/// Existing files of a pair.
#[derive(Clone, Copy, Default)]
pub(super) struct PairFiles {
    index: bool,
    data: bool,
    lengths: bool,
}

impl PairNames {
    pub(super) fn of(names: impl Iterator<Item = String>) -> Self {
        let mut found = Self::default();
        for name in names {
            let Some((number, kind)) = name
                .split_once('_')
                .and_then(|(number, kind)| Some((canonical_number(number)?, kind)))
            else {
                found.others.push(name);
                continue;
            };
            match kind {
                "index" => found.pairs.entry(number).or_default().index = true,
                "data" => found.pairs.entry(number).or_default().data = true,
                "lengths" => found.pairs.entry(number).or_default().lengths = true,
                "index.tmp" | "data.tmp" | "lengths.tmp" => found.temporary.push(name),
                _ => found.others.push(name),
            }
        }
        found
    }

    /// Returns whether the pair of this number has its index under the temporary name: its files do
    /// not have all final names yet, or are being removed. In either case its atoms are elsewhere.
    fn is_unfinished(&self, number: u64) -> bool {
        let temporary = temporary_name(&index_name(number));
        let has_index = self.pairs.get(&number).is_some_and(|files| files.index);
        !has_index && self.temporary.contains(&temporary)
    }

    /// Returns a number above those of all existing files.
    pub(super) fn next_number(&self) -> u64 {
        self.pairs.keys().next_back().map_or(0, |last| last + 1)
    }
}

/// Parses a number in the form that this implementation and the reference write: no sign, no
/// leading zeros.
fn canonical_number(digits: &str) -> Option<u64> {
    let number: u64 = digits.parse().ok()?;
    (number < u64::MAX && number.to_string() == digits).then_some(number)
}
