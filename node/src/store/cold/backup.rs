//! Copy of a store that is in use.
//!
//! Invariants:
//! - The copy holds every atom whose write had returned when the copy began, in files that this
//!   implementation opens as after an interruption; later atoms may be in it.
//! - Readers and writers continue. Collations and merges wait while level 0 is copied; sealed pairs are
//!   copied from their open files, so that a merge may remove them meanwhile.
//! - `INCOMPLETE` is written first and removed last, each durably: a directory in which it stands is
//!   the rest of a backup that was interrupted, and is refused as a store. Without the mark it would
//!   open as a store that lacks atoms.

use super::open::{FORMAT, INCOMPLETE};
use super::set_aside::DIRECTORY;
use super::{ColdError, ColdStore, Snapshot, lock};
use crate::store::disk::{Disk, DiskFile};
use crate::store::sorted_pair::{data_name, index_name, lengths_name};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Number of bytes that are copied at a time.
const CHUNK_BYTES: u64 = 1 << 20;

/// Result of [`ColdStore::back_up`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BackedUp {
    /// Number of files that were copied.
    pub files: u64,
    /// Number of bytes that were copied.
    pub bytes: u64,
}

/// Content of the mark of an incomplete backup, for a user that finds it.
const MARK: &[u8] = b"This backup is being written, or was interrupted. Remove the directory.\n";

/// Copy of a store that counts once it is finished, so that other files can be added before.
#[derive(Debug)]
pub struct UnfinishedBackup {
    disk: Arc<dyn Disk>,
    to: PathBuf,
    done: BackedUp,
}

impl UnfinishedBackup {
    /// Marks the copy as complete.
    ///
    /// # Errors
    /// Fails if the disk fails. The directory may be marked as incomplete then.
    pub fn finish(self) -> Result<BackedUp, ColdError> {
        let path = self.to.join(INCOMPLETE);
        let removed = self.disk.remove(&path);
        removed.map_err(|error| ColdError::io("remove", &path, &error))?;
        let synced = self.disk.sync_dir(&self.to);
        synced.map_err(|error| ColdError::io("sync", &self.to, &error))?;
        Ok(self.done)
    }
}

/// File to copy, with its path below the root.
struct Source {
    name: PathBuf,
    file: Arc<dyn DiskFile>,
    len: u64,
}

impl ColdStore {
    /// Copies the store to an empty directory, while it is in use. Everything is on the disk when
    /// this returns. `should_continue` is asked regularly; the copy ends with [`ColdError::Cancelled`] once
    /// it returns `false`. An incomplete copy is left to the caller to remove.
    ///
    /// # Errors
    /// Fails if the directory is not empty, a disk fails, or the copy is cancelled.
    pub fn back_up(
        &self,
        to: &Path,
        should_continue: &dyn Fn() -> bool,
    ) -> Result<BackedUp, ColdError> {
        self.begin_backup(to, should_continue)?.finish()
    }

    /// Like [`Self::back_up`], up to the mark that makes the copy a store: the caller can add other
    /// files first.
    ///
    /// # Errors
    /// Same as [`Self::back_up`].
    pub fn begin_backup(
        &self,
        to: &Path,
        should_continue: &dyn Fn() -> bool,
    ) -> Result<UnfinishedBackup, ColdError> {
        let inner = &self.inner;
        let disk = &*inner.disk;
        let listed = disk.list(to);
        if !listed
            .map_err(|error| ColdError::io("read", to, &error))?
            .is_empty()
        {
            return Err(ColdError::NotEmpty { path: to.into() });
        }
        let mut copy = Copy {
            disk,
            from: &inner.root,
            to,
            should_continue,
            dirs: BTreeSet::new(),
            done: BackedUp::default(),
            buffer: Vec::new(),
        };
        copy.dir(Path::new(""))?;
        for dir in to.ancestors().skip(1) {
            inner.settle(dir)?;
        }
        copy.mark()?;
        let sealed = {
            let _maintenance = lock(&inner.maintenance);
            let snapshot = inner.snapshot.load_full();
            copy.level_0(&snapshot)?;
            sealed_files(disk, &inner.root, &snapshot)?
        };
        for source in &sealed {
            copy.file(source)?;
        }
        copy.finish()?;
        let done = copy.done;
        Ok(UnfinishedBackup {
            disk: Arc::clone(&inner.disk),
            to: to.to_owned(),
            done,
        })
    }
}

/// Returns the files of all sealed pairs, open, and with the data in front of its index: without an
/// index, a pair counts as unfinished.
fn sealed_files(
    disk: &dyn Disk,
    root: &Path,
    snapshot: &Snapshot,
) -> Result<Vec<Source>, ColdError> {
    let mut sources = Vec::new();
    for level in &snapshot.levels {
        let name = PathBuf::from(format!("level_{}", level.number));
        for pair in &level.pairs {
            let number = pair.number();
            // A store of a reference node has no lengths.
            sources.extend(open_if_any(disk, root, name.join(lengths_name(number)))?);
            for file_name in [data_name(number), index_name(number)] {
                sources.push(open(disk, root, name.join(file_name))?);
            }
        }
    }
    Ok(sources)
}

/// Opens the file with this name below the root.
fn open(disk: &dyn Disk, root: &Path, name: PathBuf) -> Result<Source, ColdError> {
    let path = root.join(&name);
    let opened = disk.open(&path).and_then(|file| Ok((file.len()?, file)));
    let (len, file) = opened.map_err(|error| ColdError::io("open", &path, &error))?;
    Ok(Source { name, file, len })
}

/// Like [`open`]; `None` if the file does not exist.
fn open_if_any(disk: &dyn Disk, root: &Path, name: PathBuf) -> Result<Option<Source>, ColdError> {
    match open(disk, root, name) {
        Err(ColdError::Io {
            kind: ErrorKind::NotFound,
            ..
        }) => Ok(None),
        source => source.map(Some),
    }
}

/// Copy that is under way.
struct Copy<'a> {
    disk: &'a dyn Disk,
    from: &'a Path,
    to: &'a Path,
    should_continue: &'a dyn Fn() -> bool,
    /// Directories that were created, below the root.
    dirs: BTreeSet<PathBuf>,
    done: BackedUp,
    buffer: Vec<u8>,
}

impl Copy<'_> {
    /// Copies the journals, the atoms that a reference node left, and what was set aside. No merge
    /// removes any of them meanwhile.
    fn level_0(&mut self, snapshot: &Snapshot) -> Result<(), ColdError> {
        for journal in snapshot.segments.iter().flat_map(|it| it.journals()) {
            let name = journal.path.file_name().map(PathBuf::from);
            let len = journal.file.len();
            self.file(&Source {
                name: name.unwrap_or_default(),
                file: Arc::clone(&journal.file),
                len: len.map_err(|error| ColdError::io("read", &journal.path, &error))?,
            })?;
        }
        // The newest file of pins has all of those that count.
        let root = self.disk.list(self.from);
        let root = root.map_err(|error| ColdError::io("read", self.from, &error))?;
        let is_own = |name: &str| name.starts_with("pins-") || name.starts_with("headers-");
        for entry in root.into_iter().filter(|entry| is_own(&entry.name)) {
            if let Some(source) = open_if_any(self.disk, self.from, PathBuf::from(entry.name))? {
                self.file(&source)?;
            }
        }
        let level_0 = Path::new("level_0");
        // Also without files: a reference node expects it.
        self.dir(level_0)?;
        for name in self.names(level_0)? {
            self.file(&open(self.disk, self.from, name)?)?;
        }
        for name in self.names(Path::new(DIRECTORY))? {
            // An operator may clear them at any time.
            if let Some(source) = open_if_any(self.disk, self.from, name)? {
                self.file(&source)?;
            }
        }
        Ok(())
    }

    /// Lists the files of a directory, with their paths below the root.
    fn names(&self, dir: &Path) -> Result<Vec<PathBuf>, ColdError> {
        let path = self.from.join(dir);
        let listed = self.disk.list(&path);
        let listed = listed.map_err(|error| ColdError::io("read", &path, &error))?;
        let files = listed.into_iter().filter(|entry| !entry.is_dir);
        Ok(files.map(|entry| dir.join(entry.name)).collect())
    }

    /// Creates a directory of the copy once.
    fn dir(&mut self, name: &Path) -> Result<(), ColdError> {
        if self.dirs.insert(name.to_owned()) {
            let path = self.path_of(name);
            let made = self.disk.create_dir(&path);
            made.map_err(|error| ColdError::io("create", &path, &error))?;
        }
        Ok(())
    }

    /// Returns the path of a directory of the copy; an empty name is the root.
    fn path_of(&self, name: &Path) -> PathBuf {
        match name.as_os_str().is_empty() {
            true => self.to.to_owned(),
            false => self.to.join(name),
        }
    }

    fn sync_dir(&self, name: &Path) -> Result<(), ColdError> {
        let path = self.path_of(name);
        let synced = self.disk.sync_dir(&path);
        synced.map_err(|error| ColdError::io("sync", &path, &error))
    }

    /// Copies one file and syncs it.
    fn file(&mut self, source: &Source) -> Result<(), ColdError> {
        if let Some(dir) = source.name.parent() {
            self.dir(dir)?;
        }
        let path = self.to.join(&source.name);
        let failed = |error| ColdError::io("write", &path, &error);
        let target = self.disk.create(&path).map_err(failed)?;
        let mut at = 0;
        while at < source.len {
            if !(self.should_continue)() {
                return Err(ColdError::Cancelled);
            }
            let len = CHUNK_BYTES.min(source.len - at);
            self.buffer.resize(usize::try_from(len).unwrap_or(0), 0);
            let read = source.file.read_exact_at(&mut self.buffer, at);
            read.map_err(|error| ColdError::io("read", &self.from.join(&source.name), &error))?;
            target.write_all_at(&self.buffer, at).map_err(failed)?;
            at += len;
        }
        target.sync().map_err(failed)?;
        self.done.files += 1;
        self.done.bytes += source.len;
        Ok(())
    }

    /// Writes the mark of an incomplete backup, durably, before anything else.
    fn mark(&self) -> Result<(), ColdError> {
        let path = self.to.join(INCOMPLETE);
        let written = self.disk.create(&path).and_then(|file| {
            file.write_all_at(MARK, 0)?;
            file.sync()
        });
        written.map_err(|error| ColdError::io("write", &path, &error))?;
        self.sync_dir(Path::new(""))
    }

    /// Writes `FORMAT`, and makes all names durable.
    fn finish(&self) -> Result<(), ColdError> {
        for dir in &self.dirs {
            self.sync_dir(dir)?;
        }
        self.sync_dir(Path::new(""))?;
        let path = self.to.join("FORMAT");
        let written = self.disk.create(&path).and_then(|file| {
            file.write_all_at(FORMAT, 0)?;
            file.sync()
        });
        written.map_err(|error| ColdError::io("write", &path, &error))?;
        self.sync_dir(Path::new(""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ColdStorageSync;
    use crate::store::cold::ColdOptions;
    use crate::store::journal::leftover_name;
    use astreum_core::atom::{Atom, AtomId};
    use core::cell::Cell;
    use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
    use std::{fs, thread};

    fn options() -> ColdOptions {
        ColdOptions {
            level_size_bytes: 4_096,
            limit_bytes: 0,
            sync: ColdStorageSync::Never,
            mapped: true,
            background: false,
        }
    }

    fn atom(n: u32) -> (AtomId, Atom) {
        let atom = Atom::bytes(n.to_be_bytes().repeat(5));
        (atom.id(), atom)
    }

    /// Checks that a copy opens without damage and holds these atoms.
    fn assert_holds(path: &Path, mut atoms: impl Iterator<Item = (AtomId, Atom)>) {
        let copy = ColdStore::open(path, options()).unwrap();
        assert_eq!(copy.stats().damages, []);
        let verified = copy.verify(&mut |_| {}).unwrap();
        assert_eq!(verified.damaged, 0);
        assert!(atoms.all(|(id, atom)| copy.get(&id).unwrap() == Some(atom)));
    }

    /// Number of atoms that are written beside the copies, each followed by maintenance.
    const WRITTEN: u32 = 1_000;
    const COPIES: u32 = 5;

    #[test]
    fn copy_under_load_has_all_that_was_acknowledged_before() {
        let scratch = tempfile::tempdir().unwrap();
        let store = ColdStore::open(&scratch.path().join("cold"), options()).unwrap();
        let (written, stops) = (AtomicU32::new(0), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                for n in 0..WRITTEN {
                    if stops.load(Ordering::Relaxed) {
                        break;
                    }
                    store.put(&[atom(n)]).unwrap();
                    written.store(n + 1, Ordering::Release);
                    // Collations and merges run beside the copy.
                    store.maintain().unwrap();
                }
            });
            for number in 0..COPIES {
                while written.load(Ordering::Acquire) < number * (WRITTEN / COPIES) {
                    thread::yield_now();
                }
                let before = written.load(Ordering::Acquire);
                let to = scratch.path().join(format!("copy{number}"));
                let done = store.back_up(&to, &|| true).unwrap();
                assert!(done.bytes >= u64::from(before) * 20, "{done:?}");
                assert_holds(&to, (0..before).map(atom));
            }
            stops.store(true, Ordering::Relaxed);
        });
        assert!(written.into_inner() > WRITTEN / 2);
    }

    #[test]
    fn files_of_a_reference_node_and_damaged_ones_are_copied() {
        let scratch = tempfile::tempdir().unwrap();
        let (root, to) = (scratch.path().join("cold"), scratch.path().join("copy"));
        fs::create_dir_all(root.join("level_0")).unwrap();
        let (id, left) = atom(7);
        fs::write(
            root.join("level_0").join(leftover_name(&id)),
            left.to_bytes(),
        )
        .unwrap();
        fs::create_dir(root.join(DIRECTORY)).unwrap();
        fs::write(root.join(DIRECTORY).join("notes"), "kept").unwrap();
        let store = ColdStore::open(&root, options()).unwrap();
        store.back_up(&to, &|| true).unwrap();
        assert_eq!(fs::read(to.join(DIRECTORY).join("notes")).unwrap(), b"kept");
        assert_holds(&to, [atom(7)].into_iter());
    }

    #[test]
    fn copy_without_a_file_of_a_pair_fails() {
        for (lost, may_lack) in [("0_index", false), ("0_data", false), ("0_lengths", true)] {
            let scratch = tempfile::tempdir().unwrap();
            let (root, to) = (scratch.path().join("cold"), scratch.path().join("copy"));
            let store = ColdStore::open(&root, options()).unwrap();
            store.put(&(0..20).map(atom).collect::<Vec<_>>()).unwrap();
            store.collate().unwrap();
            fs::remove_file(root.join("level_1").join(lost)).unwrap();
            let done = store.back_up(&to, &|| true);
            assert_eq!(done.is_ok(), may_lack, "{lost}: {done:?}");
            assert_eq!(ColdStore::open(&to, options()).is_ok(), may_lack);
        }
    }

    #[test]
    fn cancelled_copy_is_not_a_store_and_others_are_not_overwritten() {
        let scratch = tempfile::tempdir().unwrap();
        let (root, to) = (scratch.path().join("cold"), scratch.path().join("copy"));
        let store = ColdStore::open(&root, options()).unwrap();
        store.put(&(0..200).map(atom).collect::<Vec<_>>()).unwrap();
        store.maintain().unwrap();
        let calls = Cell::new(0);
        let should_continue = || calls.replace(calls.get() + 1) < 2;
        assert_eq!(
            store.back_up(&to, &should_continue),
            Err(ColdError::Cancelled)
        );
        let error = ColdStore::open(&to, options()).unwrap_err();
        assert!(matches!(error, ColdError::Incomplete { .. }), "{error}");
        let error = store.back_up(&to, &|| true).unwrap_err();
        assert!(matches!(error, ColdError::NotEmpty { .. }), "{error}");
    }
}
