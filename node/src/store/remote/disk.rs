//! Disk whose sealed pairs are objects; every other file is local.
//!
//! | path below the root | kept |
//! | --- | --- |
//! | `level_<n>/<m>_index`, `<m>_data`, `<m>_lengths` | in the object store, as the manifest lists them |
//! | `level_<n>/*.tmp` | locally: files of pairs that are being written |
//! | `cache/` | locally: blocks of objects |
//! | `fingerprints/` | locally: fingerprint indexes of the pairs |
//! | `OBJECT_STORE` | locally: address of the object store, and id of this directory |
//! | `MANIFEST_VERSION` | locally: version of the manifest that was seen last |
//! | everything else | locally |
//!
//! A pair is written to local files. With the `sync_dir` after its index got its name, its objects
//! are uploaded, and then the manifest is changed.

use super::SEEN;
use super::cache::{BLOCK_BYTES, Cache};
use super::catalog::Catalog;
use super::file::{ObjectFile, file_id};
use super::manifest::{Kind, Manifest, PairEntry};
use super::requests::Requests;
use crate::clock;
use crate::store::disk::{
    DirEntry, DirLock, Disk, DiskFile, FileId, Shared, SharedStatus, SystemDisk, Turn,
};
use crate::store::sorted_pair::encode_fingerprints;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Directory of fingerprint indexes below the root.
pub(super) const FINGERPRINTS: &str = "fingerprints";
/// Bytes per write when an object is copied to a local file.
const COPY_BYTES: u64 = 1 << 20;
/// Part of the cache, as a divisor, that a new pair may fill.
const KEPT_DIVISOR: u64 = 4;

/// Disk with objects; see the module.
pub(super) struct RemoteDisk {
    pub(super) local: Arc<dyn Disk>,
    pub(super) root: PathBuf,
    /// Address of the object store, for messages.
    pub(super) url: String,
    pub(super) is_read_only: bool,
    pub(super) requests: Arc<Requests>,
    pub(super) cache: Arc<Cache>,
    pub(super) catalog: Arc<Catalog>,
    pub(super) pending: Mutex<Pending>,
    /// Version of the manifest that is in the file.
    pub(super) seen: AtomicU64,
}

/// Changes that the next `sync_dir` makes.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// Local files of new pairs by level and number.
    staged: BTreeMap<(u32, u64), BTreeMap<Kind, PathBuf>>,
    removed: BTreeSet<(u32, u64)>,
}

impl fmt::Debug for RemoteDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteDisk")
            .field("root", &self.root)
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// Meaning of a path.
enum Place {
    /// File or directory that belongs to this node.
    Local,
    /// Directory of a level above 0.
    Level(u32),
    /// File of a sealed pair.
    Pair(u32, u64, Kind),
}

impl RemoteDisk {
    fn place(&self, path: &Path) -> Place {
        self.sealed(path).unwrap_or(Place::Local)
    }

    fn sealed(&self, path: &Path) -> Option<Place> {
        let mut parts = path.strip_prefix(&self.root).ok()?.iter();
        let level = parts.next()?.to_str()?.strip_prefix("level_")?;
        let level: u32 = level.parse().ok().filter(|level| *level > 0)?;
        let Some(name) = parts.next() else {
            return Some(Place::Level(level));
        };
        let (number, _) = name.to_str()?.split_once('_')?;
        let number: u64 = number.parse().ok()?;
        let kinds = [Kind::Index, Kind::Data, Kind::Lengths];
        let kind = kinds
            .into_iter()
            .find(|kind| Some(kind.file_name(number).as_str()) == name.to_str())?;
        Some(Place::Pair(level, number, kind))
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn manifest(&self) -> Arc<Manifest> {
        self.catalog.manifest()
    }

    /// Returns the pair of a file, if the manifest has it.
    fn entry(&self, level: u32, number: u64, kind: Kind) -> Option<PairEntry> {
        let manifest = self.manifest();
        let pair = manifest.pair(level, number);
        pair.filter(|pair| pair.len(kind) > 0).cloned()
    }

    fn open_object(&self, pair: &PairEntry, kind: Kind) -> ObjectFile {
        ObjectFile::new(&self.requests, &self.cache, pair, kind)
    }

    /// Uploads the staged pairs of a level and removes those that are to go, by one change of the
    /// manifest.
    fn publish(&self, level: u32) -> io::Result<()> {
        let (staged, removed) = {
            let mut pending = self.pending();
            let is_ready = |(of, _): &(u32, u64), files: &BTreeMap<Kind, PathBuf>| {
                *of == level && files.contains_key(&Kind::Index)
            };
            let staged: Vec<_> = pending
                .staged
                .extract_if(.., |key, files| is_ready(key, files))
                .collect();
            let removed: Vec<_> = pending
                .removed
                .extract_if(.., |(of, _)| *of == level)
                .collect();
            (staged, removed)
        };
        if staged.is_empty() && removed.is_empty() {
            return Ok(());
        }
        let mut pairs = Vec::new();
        let mut published = Ok(());
        for ((level, number), files) in &staged {
            match self.upload(*level, *number, files) {
                Ok(uploaded) => pairs.push(uploaded),
                Err(error) => {
                    published = Err(error);
                    break;
                }
            }
        }
        let published = published.and_then(|()| {
            let now = clock::unix_time().as_secs();
            self.catalog.change(|manifest| {
                manifest
                    .pairs
                    .extend(pairs.iter().map(|(pair, _)| pair.clone()));
                for (level, number) in &removed {
                    manifest.retire(*level, *number, now);
                }
            })?;
            Ok(())
        });
        for ((pair, fingerprints), (_, files)) in pairs.iter().zip(&staged) {
            let is_small = pair.index + pair.data <= self.cache.limit_bytes() / KEPT_DIVISOR;
            let is_kept = published.is_ok() && is_small;
            if published.is_ok() {
                let _ = self.write_file(&self.fingerprints_path(pair), fingerprints);
            }
            for (kind, path) in files.iter().filter(|_| is_kept) {
                // Freshly written atoms are read soon, and merged later.
                let _ = self.keep(pair, *kind, path);
            }
        }
        for (_, files) in &staged {
            for path in files.values() {
                let _ = self.local.remove(path);
            }
        }
        published
    }

    /// Uploads the files of a pair under new names; also returns its fingerprint index.
    fn upload(
        &self,
        level: u32,
        number: u64,
        files: &BTreeMap<Kind, PathBuf>,
    ) -> io::Result<(PairEntry, Vec<u8>)> {
        let nonce = clock::entropy()?;
        let (nonce, _) = nonce.split_at(8);
        let mut pair = PairEntry {
            level,
            number,
            nonce: hex::encode(nonce),
            index: 0,
            data: 0,
            lengths: 0,
            fingerprints: 0,
        };
        let (index, data) = (files.get(&Kind::Index), files.get(&Kind::Data));
        let (index, data) = index.zip(data).ok_or(ErrorKind::NotFound)?;
        let fingerprints = encode_fingerprints(&*self.local, index, data)?;
        pair.fingerprints = fingerprints.len() as u64;
        let mut source = |buffer: &mut [u8], offset: u64| {
            let start = usize::try_from(offset).unwrap_or(usize::MAX);
            let part = fingerprints
                .get(start..)
                .and_then(|rest| rest.get(..buffer.len()));
            buffer.copy_from_slice(part.ok_or(ErrorKind::UnexpectedEof)?);
            Ok(())
        };
        let key = pair.key(Kind::Fingerprints);
        self.requests.upload(&key, pair.fingerprints, &mut source)?;
        for (kind, path) in files {
            let len = self.upload_file(&pair, *kind, path)?;
            match kind {
                Kind::Index => pair.index = len,
                Kind::Data => pair.data = len,
                Kind::Lengths => pair.lengths = len,
                Kind::Fingerprints => pair.fingerprints = len,
            }
        }
        Ok((pair, fingerprints))
    }

    fn upload_file(&self, pair: &PairEntry, kind: Kind, path: &Path) -> io::Result<u64> {
        let file = self.local.open(path)?;
        let len = file.len()?;
        let mut source = |buffer: &mut [u8], offset: u64| {
            // An upload can take longer than a lease lasts.
            self.catalog.keep_lease()?;
            file.read_exact_at(buffer, offset)
        };
        self.requests.upload(&pair.key(kind), len, &mut source)?;
        Ok(len)
    }

    /// Adds the content of a local file to the cache.
    fn keep(&self, pair: &PairEntry, kind: Kind, path: &Path) -> io::Result<()> {
        let file = self.local.open(path)?;
        let len = file.len()?;
        let mut block = Vec::new();
        for number in 0..len.div_ceil(BLOCK_BYTES) {
            let start = number * BLOCK_BYTES;
            let bytes = BLOCK_BYTES.min(len - start);
            block.resize(usize::try_from(bytes).unwrap_or(0), 0);
            file.read_exact_at(&mut block, start)?;
            self.cache.add(&pair.name(kind), number, &block);
        }
        Ok(())
    }

    fn fingerprints_path(&self, pair: &PairEntry) -> PathBuf {
        let name = pair.name(Kind::Fingerprints);
        self.root.join(FINGERPRINTS).join(name)
    }

    /// Writes a whole file that can be rebuilt, also where nothing else may be changed.
    fn write_file(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let temporary = path.with_extension("tmp");
        let file = SystemDisk.create(&temporary)?;
        file.write_all_at(bytes, 0)?;
        SystemDisk.rename(&temporary, path)
    }

    /// Copies an object to a local file, durably.
    fn copy_out(&self, pair: &PairEntry, kind: Kind, to: &Path) -> io::Result<()> {
        let (from, to) = (self.open_object(pair, kind), self.local.create(to)?);
        let mut buffer = Vec::new();
        let mut at = 0;
        while at < pair.len(kind) {
            let len = COPY_BYTES.min(pair.len(kind) - at);
            buffer.resize(usize::try_from(len).unwrap_or(0), 0);
            from.read_exact_at(&mut buffer, at)?;
            to.write_all_at(&buffer, at)?;
            at += len;
        }
        to.sync()
    }

    /// Takes the index of a pair away: the next `sync_dir` removes the pair.
    fn unlist(&self, level: u32, number: u64) -> io::Result<()> {
        let staged = self.pending().staged.remove(&(level, number));
        if let Some(files) = staged {
            for path in files.values() {
                self.local.remove(path)?;
            }
            return Ok(());
        }
        if self.manifest().pair(level, number).is_none() {
            return Err(ErrorKind::NotFound.into());
        }
        self.pending().removed.insert((level, number));
        Ok(())
    }

    /// Records the version of the manifest, so that a later start finds out if it was deleted.
    fn note_version(&self) {
        let version = self.manifest().version;
        if self.is_read_only || self.seen.swap(version, Ordering::Relaxed) == version {
            return;
        }
        // Without it, only that check is missing.
        let _ = self.write_file(&self.root.join(SEEN), format!("{version}\n").as_bytes());
    }

    /// Drops what is kept locally of pairs that no longer exist.
    pub(super) fn tidy(&self) {
        self.note_version();
        let manifest = self.manifest();
        let pairs = manifest.pairs.iter();
        let names = pairs.flat_map(|pair| Kind::ALL.map(|kind| pair.name(kind)));
        let names: BTreeSet<String> = names.collect();
        self.cache.retain(|name| names.contains(name));
        let dir = self.root.join(FINGERPRINTS);
        for entry in self.local.list(&dir).unwrap_or_default() {
            if !names.contains(&entry.name) {
                let _ = self.local.remove(&dir.join(entry.name));
            }
        }
    }
}

impl Disk for RemoteDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.local.create_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = self.local.list(path)?;
        if path == self.root {
            let manifest = self.manifest();
            let levels: BTreeSet<u32> = manifest.pairs.iter().map(|pair| pair.level).collect();
            for level in levels {
                let name = format!("level_{level}");
                if !entries.iter().any(|entry| entry.name == name) {
                    let (is_dir, len) = (true, 0);
                    entries.push(DirEntry { name, is_dir, len });
                }
            }
        }
        if let Place::Level(level) = self.place(path) {
            let manifest = self.manifest();
            let pairs = manifest.pairs.iter().filter(|pair| pair.level == level);
            let kinds = [Kind::Index, Kind::Data, Kind::Lengths];
            entries.extend(pairs.flat_map(|pair| {
                let existing = kinds.into_iter().filter(|kind| pair.len(*kind) > 0);
                existing.map(|kind| DirEntry {
                    name: kind.file_name(pair.number),
                    is_dir: false,
                    len: pair.len(kind),
                })
            }));
        }
        Ok(entries)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.local.create(path)?;
        let dir = path.parent().map(|dir| self.place(dir));
        Ok(match dir {
            Some(Place::Level(_)) => Arc::new(StagedFile {
                file,
                catalog: Arc::clone(&self.catalog),
            }),
            _ => file,
        })
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        match self.place(path) {
            Place::Pair(level, number, kind) => {
                let pair = self.entry(level, number, kind);
                let pair = pair.ok_or(ErrorKind::NotFound)?;
                Ok(Arc::new(self.open_object(&pair, kind)))
            }
            Place::Local | Place::Level(_) => self.local.open(path),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        match (self.place(from), self.place(to)) {
            (Place::Pair(level, number, kind), target) => {
                if let Place::Local = target
                    && to.parent() != from.parent()
                {
                    let pair = self.entry(level, number, kind);
                    self.copy_out(&pair.ok_or(ErrorKind::NotFound)?, kind, to)?;
                }
                match kind {
                    Kind::Index => self.unlist(level, number),
                    _ => Ok(()),
                }
            }
            (_, Place::Pair(level, number, kind)) => {
                if self.is_read_only {
                    return Err(ErrorKind::ReadOnlyFilesystem.into());
                }
                if self.local.identity(from)?.is_none() {
                    return Err(ErrorKind::NotFound.into());
                }
                let mut pending = self.pending();
                let files = pending.staged.entry((level, number)).or_default();
                files.insert(kind, from.to_owned());
                Ok(())
            }
            _ => self.local.rename(from, to),
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match self.place(path) {
            // The objects of a pair are deleted some time after it has left the manifest.
            Place::Pair(..) => Ok(()),
            Place::Local | Place::Level(_) => self.local.remove(path),
        }
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        match self.place(path) {
            Place::Level(level) => self.publish(level),
            _ => self.local.sync_dir(path),
        }
    }

    fn identity(&self, path: &Path) -> io::Result<Option<FileId>> {
        match self.place(path) {
            Place::Pair(level, number, kind) => {
                let pair = self.entry(level, number, kind);
                Ok(pair.map(|pair| file_id(&pair, kind)))
            }
            Place::Local | Place::Level(_) => self.local.identity(path),
        }
    }

    fn lock(&self, root: &Path) -> io::Result<Option<Box<dyn DirLock>>> {
        let lock = self.local.lock(root)?;
        // No other process has the directory: a lease in its name is that of one that was killed.
        if lock.is_some() && !self.is_read_only {
            self.catalog.release_left();
        }
        Ok(lock)
    }

    fn shared(&self) -> Option<&dyn Shared> {
        Some(self)
    }
}

impl Shared for RemoteDisk {
    fn begin(&self) -> io::Result<Turn> {
        if self.is_read_only {
            return Err(ErrorKind::ReadOnlyFilesystem.into());
        }
        Ok(self.catalog.acquire()?)
    }

    fn end(&self) {
        self.catalog.release();
        self.note_version();
    }

    fn pair_number(&self) -> io::Result<u64> {
        let number = self.catalog.next_number();
        number.ok_or_else(|| io::Error::other("this node does not have the lease"))
    }

    fn refresh(&self, now: bool) -> io::Result<()> {
        let before = self.manifest();
        self.catalog.refresh(now)?;
        if self.manifest().version != before.version {
            self.tidy();
        }
        Ok(())
    }

    fn pairs(&self) -> Vec<(u32, u64)> {
        let manifest = self.manifest();
        let pairs = manifest.pairs.iter();
        pairs.map(|pair| (pair.level, pair.number)).collect()
    }

    fn side_file(&self, index: &Path) -> Option<PathBuf> {
        let Place::Pair(level, number, Kind::Index) = self.place(index) else {
            return None;
        };
        let pair = self.entry(level, number, Kind::Index)?;
        let path = self.fingerprints_path(&pair);
        let is_here = matches!(self.local.identity(&path), Ok(Some(_)));
        if !is_here && pair.fingerprints > 0 {
            let key = pair.key(Kind::Fingerprints);
            let bytes = self.requests.get_range(&key, 0, pair.fingerprints);
            // Without it, the index is read.
            if let Ok(bytes) = bytes {
                let _ = self.write_file(&path, &bytes);
            }
        }
        Some(path)
    }

    fn status(&self) -> SharedStatus {
        let mut problems = self.catalog.problems();
        if problems.is_empty() {
            problems.extend(self.requests.failure());
        }
        let problems = problems.into_iter();
        let problems = problems.map(|problem| format!("object store {}: {problem}", self.url));
        let mut counters = self.requests.counters();
        let (bytes, hits, misses) = self.cache.stats();
        counters.extend([
            ("object_store_cache_bytes".to_owned(), bytes),
            ("object_store_cache_hits".to_owned(), hits),
            ("object_store_cache_misses".to_owned(), misses),
        ]);
        SharedStatus {
            problems: problems.collect(),
            counters,
        }
    }
}

impl Drop for RemoteDisk {
    fn drop(&mut self) {
        self.catalog.release();
    }
}

/// Local file of a pair that is being written. Writing takes time: it renews the lease.
struct StagedFile {
    file: Arc<dyn DiskFile>,
    catalog: Arc<Catalog>,
}

impl DiskFile for StagedFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn identity(&self) -> io::Result<FileId> {
        self.file.identity()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.catalog.keep_lease()?;
        self.file.write_all_at(bytes, offset)
    }

    /// Has no effect: until the pair is uploaded, its atoms are elsewhere.
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
