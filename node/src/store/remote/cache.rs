//! Read cache on the local disk: blocks of objects, each in a file of its own.
//!
//! | in the file | content |
//! | --- | --- |
//! | the block | up to [`BLOCK_BYTES`] bytes of an object, from a multiple of that on |
//! | 4 bytes | CRC-32 of the block, little-endian |
//!
//! Invariants:
//! - The files take at most the limit; the blocks that were used least recently go first.
//! - A block that does not match its checksum when it is read first in a process is dropped. Names of
//!   objects are unique and objects immutable, so that a block stays valid for ever.
//! - The cache is never needed: a file that is missing, damaged or cannot be written is a miss.

use crate::log;
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Maximum bytes of a block.
pub(super) const BLOCK_BYTES: u64 = 256 << 10;
/// Bytes of a file beyond its block.
const CHECKSUM_BYTES: u64 = 4;

/// Block of an object: the object's name, and the number of the block.
type Key = (String, u64);

/// Cache in one directory; see the module.
#[derive(Debug)]
pub(super) struct Cache {
    dir: PathBuf,
    limit_bytes: u64,
    blocks: Mutex<Blocks>,
}

#[derive(Debug, Default)]
struct Blocks {
    known: HashMap<Key, Block>,
    /// Blocks by the time of their last use.
    by_use: BTreeMap<u64, Key>,
    bytes: u64,
    clock: u64,
    hits: u64,
    misses: u64,
}

#[derive(Clone, Copy, Debug)]
struct Block {
    /// Bytes of its file.
    file_bytes: u64,
    used: u64,
    /// True once its checksum was compared in this process.
    is_checked: bool,
}

impl Blocks {
    /// Returns the block and makes it the one that was used last.
    fn touch(&mut self, key: &Key) -> Option<Block> {
        self.clock += 1;
        let clock = self.clock;
        let block = self.known.get_mut(key)?;
        self.by_use.remove(&block.used);
        block.used = clock;
        self.by_use.insert(clock, key.clone());
        Some(*block)
    }

    fn add(&mut self, key: Key, file_bytes: u64, is_checked: bool) {
        self.remove(&key);
        self.clock += 1;
        let block = Block {
            file_bytes,
            used: self.clock,
            is_checked,
        };
        self.by_use.insert(self.clock, key.clone());
        self.known.insert(key, block);
        self.bytes += file_bytes;
    }

    fn remove(&mut self, key: &Key) -> bool {
        let Some(block) = self.known.remove(key) else {
            return false;
        };
        self.by_use.remove(&block.used);
        self.bytes -= block.file_bytes;
        true
    }
}

fn file_name((object, number): &Key) -> String {
    format!("{object}.{number}")
}

impl Cache {
    /// Opens the cache in a directory, which is created if missing, with what earlier processes have
    /// left in it.
    pub(super) fn open(dir: &Path, limit_bytes: u64) -> Self {
        let cache = Self {
            dir: dir.to_owned(),
            limit_bytes,
            blocks: Mutex::default(),
        };
        if let Err(error) = cache.load() {
            cache.failed("use", &error);
        }
        cache
    }

    pub(super) const fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    fn load(&self) -> io::Result<()> {
        fs::create_dir_all(&self.dir)?;
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let key = name.to_str().and_then(|name| name.rsplit_once('.'));
            let key = key.and_then(|(object, number)| {
                Some((object.to_owned(), number.parse::<u64>().ok()?))
            });
            let metadata = entry.metadata()?;
            match key.filter(|_| metadata.is_file()) {
                Some(key) => found.push((metadata.modified().ok(), key, metadata.len())),
                // Left by an interrupted write.
                None if metadata.is_file() => drop(fs::remove_file(entry.path())),
                None => {}
            }
        }
        found.sort();
        let mut blocks = self.lock();
        for (_, key, file_bytes) in found {
            blocks.add(key, file_bytes, false);
        }
        self.evict(&mut blocks);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Blocks> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.dir.join(file_name(key))
    }

    fn failed(&self, operation: &str, error: &io::Error) {
        if let Some(more) = log::limited("object store cache") {
            log::warn!(
                "cold storage: cannot {operation} the cache in {}: {error}{more}",
                self.dir.display()
            );
        }
    }

    /// Removes the blocks that were used least recently until the limit is kept.
    fn evict(&self, blocks: &mut Blocks) {
        while blocks.bytes > self.limit_bytes {
            let Some((_, key)) = blocks.by_use.pop_first() else {
                break;
            };
            blocks.remove(&key);
            let _ = fs::remove_file(self.path(&key));
        }
    }

    /// Fills the buffer with the bytes of a block from `offset` in it on; returns `false` if they are
    /// not in the cache.
    pub(super) fn read(&self, object: &str, number: u64, offset: u64, buffer: &mut [u8]) -> bool {
        let key = (object.to_owned(), number);
        let block = {
            let mut blocks = self.lock();
            let block = blocks.touch(&key);
            match block {
                Some(_) => blocks.hits += 1,
                None => blocks.misses += 1,
            }
            block
        };
        let Some(block) = block else { return false };
        let is_read = match block.is_checked {
            true => self.read_checked(&key, block, offset, buffer),
            false => self.check(&key, block, offset, buffer),
        };
        let is_read = is_read.unwrap_or(false);
        if !is_read {
            self.forget_block(&key);
        }
        is_read
    }

    fn read_checked(
        &self,
        key: &Key,
        block: Block,
        offset: u64,
        buffer: &mut [u8],
    ) -> io::Result<bool> {
        let end = offset.saturating_add(buffer.len() as u64);
        if end.saturating_add(CHECKSUM_BYTES) > block.file_bytes {
            return Ok(false);
        }
        File::open(self.path(key))?.read_exact_at(buffer, offset)?;
        Ok(true)
    }

    /// Reads a whole block and compares its checksum.
    fn check(&self, key: &Key, block: Block, offset: u64, buffer: &mut [u8]) -> io::Result<bool> {
        if block.file_bytes > BLOCK_BYTES + CHECKSUM_BYTES {
            return Ok(false);
        }
        let file = fs::read(self.path(key))?;
        let Some((bytes, checksum)) = file.split_last_chunk::<4>() else {
            return Ok(false);
        };
        if crc32fast::hash(bytes).to_le_bytes() != *checksum {
            return Ok(false);
        }
        if let Some(block) = self.lock().known.get_mut(key) {
            block.is_checked = true;
        }
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let wanted = bytes.get(start..).and_then(|rest| rest.get(..buffer.len()));
        Ok(wanted.is_some_and(|wanted| {
            buffer.copy_from_slice(wanted);
            true
        }))
    }

    /// Adds a block.
    pub(super) fn add(&self, object: &str, number: u64, bytes: &[u8]) {
        let file_bytes = bytes.len() as u64 + CHECKSUM_BYTES;
        if file_bytes > self.limit_bytes {
            return;
        }
        let key = (object.to_owned(), number);
        if let Err(error) = self.write(&key, bytes) {
            self.failed("write to", &error);
            return;
        }
        let mut blocks = self.lock();
        blocks.add(key, file_bytes, true);
        self.evict(&mut blocks);
    }

    fn write(&self, key: &Key, bytes: &[u8]) -> io::Result<()> {
        // Two readers may fetch the same block at once.
        let thread = std::thread::current().id();
        let temporary = self.dir.join(format!("{}-{thread:?}", file_name(key)));
        let written = File::create(&temporary).and_then(|mut file| {
            file.write_all(bytes)?;
            file.write_all(&crc32fast::hash(bytes).to_le_bytes())
        });
        let written = written.and_then(|()| fs::rename(&temporary, self.path(key)));
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    fn forget_block(&self, key: &Key) {
        if self.lock().remove(key) {
            let _ = fs::remove_file(self.path(key));
        }
    }

    /// Drops the blocks of an object; returns `false` if there were none.
    pub(super) fn forget(&self, object: &str) -> bool {
        let blocks = self.lock();
        let of_object = blocks.known.keys().filter(|(name, _)| name == object);
        let keys: Vec<Key> = of_object.cloned().collect();
        drop(blocks);
        for key in &keys {
            self.forget_block(key);
        }
        !keys.is_empty()
    }

    /// Drops the blocks of all objects for which `is_kept` returns `false`.
    pub(super) fn retain(&self, is_kept: impl Fn(&str) -> bool) {
        let blocks = self.lock();
        let gone = blocks.known.keys().filter(|(name, _)| !is_kept(name));
        let gone: Vec<Key> = gone.cloned().collect();
        drop(blocks);
        for key in &gone {
            self.forget_block(key);
        }
    }

    /// Returns the bytes of the files, and the numbers of hits and misses.
    pub(super) fn stats(&self) -> (u64, u64, u64) {
        let blocks = self.lock();
        (blocks.bytes, blocks.hits, blocks.misses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(cache: &Cache, object: &str, number: u64) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 10];
        cache.read(object, number, 5, &mut buffer).then_some(buffer)
    }

    #[test]
    fn blocks_survive_a_restart_and_damaged_ones_are_dropped() {
        let scratch = tempfile::tempdir().unwrap();
        let cache = Cache::open(scratch.path(), 10_000);
        let bytes: Vec<u8> = (0..100).collect();
        assert_eq!(read(&cache, "a", 0), None);
        cache.add("a", 0, &bytes);
        cache.add("a", 1, &bytes);
        assert_eq!(read(&cache, "a", 0).unwrap(), bytes[5..15]);
        drop(cache);
        fs::write(scratch.path().join("left-over"), "x").unwrap();
        let mut damaged = fs::read(scratch.path().join("a.1")).unwrap();
        damaged[50] ^= 1;
        fs::write(scratch.path().join("a.1"), damaged).unwrap();
        let cache = Cache::open(scratch.path(), 10_000);
        assert!(!scratch.path().join("left-over").exists());
        assert_eq!(read(&cache, "a", 0).unwrap(), bytes[5..15]);
        assert_eq!(read(&cache, "a", 1), None);
        assert_eq!(cache.stats().0, 104);
        assert!(!scratch.path().join("a.1").exists());
        // A file that another program has removed or cut is a miss.
        fs::write(scratch.path().join("a.0"), "x").unwrap();
        assert_eq!(read(&cache, "a", 0), None);
        assert_eq!(cache.stats().0, 0);
    }

    #[test]
    fn limit_evicts_the_least_recently_used_blocks() {
        let scratch = tempfile::tempdir().unwrap();
        let cache = Cache::open(scratch.path(), 3 * 104);
        for number in 0..3 {
            cache.add("a", number, &[7; 100]);
        }
        assert!(read(&cache, "a", 0).is_some());
        cache.add("b", 0, &[7; 100]);
        let left = [("a", 0), ("a", 1), ("a", 2), ("b", 0)];
        let left = left.map(|(object, number)| read(&cache, object, number).is_some());
        assert_eq!(left, [true, false, true, true]);
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 3);
        cache.add("c", 0, &[7; 1_000]);
        assert_eq!(cache.stats().0, 3 * 104);
        assert!(cache.forget("a") && !cache.forget("a"));
        cache.retain(|name| name != "b");
        assert_eq!(cache.stats().0, 0);
        // A smaller limit applies to what is there.
        cache.add("a", 0, &[7; 100]);
        drop(cache);
        assert_eq!(Cache::open(scratch.path(), 50).stats().0, 0);
    }
}
