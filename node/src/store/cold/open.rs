//! Opening a directory: lock, format, and whatever an interruption left.

use super::{ColdError, ColdOptions, Inner, Level, MAX_LEVEL, Snapshot, lock};
use crate::store::disk::{DirEntry, Disk, DiskFile, is_read_only};
use crate::store::journal::{self, Segment};
use crate::store::level::{Damage, Pair, data_name, index_name, temporary_name};
use arc_swap::ArcSwap;
use astreum_core::atom::AtomId;
use core::sync::atomic::Ordering;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What `FORMAT` says.
const FORMAT: &[u8] = b"astreum cold storage 1\n";
const MAX_FORMAT_BYTES: u64 = 64;
/// Larger files of a reference node are left alone: no node can have sent or served them.
const MAX_LEFTOVER_BYTES: u64 = 1 << 30;

pub(super) fn open(
    disk: Arc<dyn Disk>,
    root: &Path,
    options: ColdOptions,
) -> Result<Inner, ColdError> {
    unless_read_only(disk.create_dir(root))
        .map_err(|error| ColdError::io("create", root, &error))?;
    let lock_path = root.join("LOCK");
    let held = disk
        .lock(&lock_path)
        .map_err(|error| ColdError::io("lock", &lock_path, &error))?
        .ok_or_else(|| ColdError::Locked { path: root.into() })?;
    let inner = Inner {
        disk,
        root: root.to_owned(),
        options,
        snapshot: ArcSwap::default(),
        is_prepared: Default::default(),
        edit: Default::default(),
        log: Default::default(),
        committed: Default::default(),
        maintenance: Default::default(),
        doomed_bytes: Default::default(),
        damages: Default::default(),
        hits: Default::default(),
        misses: Default::default(),
        wake: Default::default(),
        _lock: held,
    };
    inner.check_format()?;
    let entries = inner.list(root)?;
    match inner.prepare(&entries) {
        // It can be read all the same; a write tries again.
        Err(ColdError::Io {
            kind: io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem,
            ..
        }) => {}
        prepared => prepared?,
    }
    inner.recover(&entries)?;
    Ok(inner)
}

/// A disk that cannot be written to can be read.
fn unless_read_only(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if is_read_only(&error) => Ok(()),
        result => result,
    }
}

impl Inner {
    fn check_format(&self) -> Result<(), ColdError> {
        let path = self.root.join("FORMAT");
        let failed = |error| ColdError::io("read", &path, &error);
        match self.disk.open(&path) {
            Ok(file) => {
                let len = file.len().map_err(failed)?.min(MAX_FORMAT_BYTES);
                let mut found = vec![0; usize::try_from(len).unwrap_or_default()];
                file.read_exact_at(&mut found, 0).map_err(failed)?;
                if found != FORMAT {
                    let found = String::from_utf8_lossy(&found).trim_end().to_owned();
                    return Err(ColdError::Format { path, found });
                }
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }

    /// Makes what has to be there before anything is written. `FORMAT` comes last: whoever finds it
    /// need not settle the directory's own name again.
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

    /// Makes the names in a directory above ours last, if we may open it at all.
    fn settle(&self, dir: &Path) -> Result<(), ColdError> {
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
        for entry in entries {
            let number = entry.name.strip_prefix("level_").and_then(canonical_number);
            let number = number.filter(|number| entry.is_dir && *number > 0);
            match number.map(|number| u32::try_from(number).unwrap_or(u32::MAX)) {
                Some(number @ ..=MAX_LEVEL) => {
                    let pairs = self.open_level(number)?;
                    snapshot.levels.push(Level { number, pairs });
                }
                Some(_) => self.damages.note(Damage {
                    path: self.root.join(&entry.name),
                    offset: 0,
                    problem: "levels of that number do not come about; it is left alone".into(),
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

    /// Opens the pairs of a level, the highest number first.
    fn open_level(&self, level: u32) -> Result<Vec<Arc<Pair>>, ColdError> {
        let dir = self.level_dir(level);
        let names = PairNames::of(self.list(&dir)?.into_iter().map(|entry| entry.name));
        let kept = self.remove_unfinished(&dir, &names);
        for name in &names.others {
            self.damages.note(Damage {
                path: dir.join(name),
                offset: 0,
                problem: "not a file of cold storage, which is not read; a reference node takes \
                          every `<digits>_index` for a pair"
                    .into(),
            });
        }
        let mut pairs = Vec::new();
        for (&number, &files) in names.pairs.iter().rev() {
            if names.is_unfinished(number) {
                self.damages.note_interrupted(Damage {
                    path: dir.join(data_name(number)),
                    offset: 0,
                    problem: if kept {
                        "an interrupted write left it; what it holds is in other files".into()
                    } else {
                        "an interrupted write left it; what it held is in other files, and it is \
                         removed"
                            .into()
                    },
                });
                continue;
            }
            let missing = match files {
                (true, true) => {
                    pairs.extend(self.open_pair(&dir, number).map(Arc::new));
                    continue;
                }
                (true, false) => data_name(number),
                (false, _) => index_name(number),
            };
            self.damages.note(Damage {
                path: dir.join(missing),
                offset: 0,
                problem: "the file is missing, the other one of its pair is there and is kept"
                    .into(),
            });
        }
        Ok(pairs)
    }

    /// Removes what an interrupted write or removal left in a level. It holds nothing that is not
    /// elsewhere, so that it stays is no harm: `true` then.
    fn remove_unfinished(&self, dir: &Path, names: &PairNames) -> bool {
        let unfinished = |&number: &u64| names.is_unfinished(number);
        let data: Vec<u64> = names.pairs.keys().copied().filter(unfinished).collect();
        // The temporary index is what says that the data may go, so it has to go after it.
        let removed = data.iter().try_for_each(|&number| {
            let path = dir.join(data_name(number));
            self.disk.remove(&path)
        });
        let settled = removed.and_then(|()| match data.is_empty() {
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

    /// Opens a pair and reports what is wrong with it; `None` when it cannot be opened.
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
                    // The other pairs can be served all the same.
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

    /// One segment of all journals, the older ones first, and of the leftovers.
    fn recover_segment(
        &self,
        paths: impl Iterator<Item = PathBuf>,
    ) -> Result<Option<Segment>, ColdError> {
        let mut journals: Vec<(PathBuf, Arc<dyn DiskFile>)> = Vec::new();
        let mut found = Vec::new();
        for path in paths {
            let failed = |error| ColdError::io("read", &path, &error);
            let file = self.disk.open(&path).map_err(failed)?;
            let mut records = Vec::new();
            let scanned = journal::scan(&path, &*file, |record| records.push(record));
            let len = file.len().map_err(failed)?;
            let scanned = scanned.map_err(failed)?;
            for damage in scanned.damages {
                self.damages.note(damage);
            }
            if let Some(cut_off) = scanned.cut_off {
                self.damages.note_interrupted(cut_off);
            }
            if len <= journal::HEADER.len() as u64 {
                // Made and never written to.
                let _ = self.disk.remove(&path);
                continue;
            }
            journals.push((path, file));
            found.push((records, len));
        }
        let leftovers = self.list_leftovers()?;
        if journals.is_empty() && leftovers.is_empty() {
            return Ok(None);
        }
        let segment = Segment::new(journals, self.level_dir(0));
        segment.add_leftovers(&leftovers);
        segment.add_file_bytes(leftovers.iter().map(|&(_, len)| u64::from(len)).sum());
        for (journal, (records, len)) in (0..).zip(found) {
            segment.add(journal, 0, &records);
            segment.add_file_bytes(len);
        }
        Ok(Some(segment))
    }

    /// Atoms in files of their own, each with its length in bytes.
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
                    problem: "not a file of cold storage; a reference node stops collating here"
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

/// What the names in a level's directory say.
#[derive(Default)]
pub(super) struct PairNames {
    /// Of each number, whether its index and its data are there.
    pub(super) pairs: BTreeMap<u64, (bool, bool)>,
    pub(super) temporary: Vec<String>,
    /// Names that are none of ours.
    others: Vec<String>,
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
                "index" => found.pairs.entry(number).or_default().0 = true,
                "data" => found.pairs.entry(number).or_default().1 = true,
                "index.tmp" | "data.tmp" => found.temporary.push(name),
                _ => found.others.push(name),
            }
        }
        found
    }

    /// Whether the data of this number has its index under the temporary name: of a pair that has
    /// not got its names yet, or is being removed. Either way its atoms are elsewhere.
    fn is_unfinished(&self, number: u64) -> bool {
        let temporary = temporary_name(&index_name(number));
        self.pairs.get(&number) == Some(&(false, true)) && self.temporary.contains(&temporary)
    }

    /// A number that no file has.
    pub(super) fn next_number(&self) -> u64 {
        self.pairs.keys().next_back().map_or(0, |last| last + 1)
    }
}

/// A number as we and the reference write it: no sign, no leading zeros.
fn canonical_number(digits: &str) -> Option<u64> {
    let number: u64 = digits.parse().ok()?;
    (number < u64::MAX && number.to_string() == digits).then_some(number)
}
