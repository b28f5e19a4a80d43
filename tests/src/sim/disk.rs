//! A disk in memory that keeps what it promised and not a byte more.
//!
//! What was written and not synced is lost at a power cut, or kept, or torn, each write by itself
//! and in any order; names that were made, renamed or removed and whose directory was not synced
//! likewise, each by itself. Calls can be told to fail, once or from then on.

use crate::random::Random;
use astreum_node::store::disk::{DirEntry, Disk, DiskFile};
use core::fmt;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes that the disk writes as one; a torn write is torn between them.
const SECTOR_BYTES: usize = 16;

/// When and how calls fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The power goes off in the middle of the call with this number, counted from 0, of those that
    /// change something; every later call fails.
    PowerCut(u64),
    /// The call with this number fails, of those that change something.
    Change(u64, ErrorKind),
    /// Every call fails from this number on, of those that change something.
    ChangesFrom(u64, ErrorKind),
    /// The call with this number fails, of those that read.
    Read(u64, ErrorKind),
}

#[derive(Clone, Default)]
struct Inode {
    /// What is read now.
    now: Vec<u8>,
    /// What a power cut leaves at least.
    durable: Vec<u8>,
    /// What was written since, in order.
    pending: Vec<(usize, Vec<u8>)>,
    /// Handles to it.
    opened: usize,
}

/// What stands under a name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Node {
    Dir,
    File(usize),
}

#[derive(Clone)]
enum NameChange {
    Set(PathBuf, Node),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf, Node),
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, Node>) {
        match self {
            Self::Set(path, node) => drop(names.insert(path.clone(), *node)),
            Self::Remove(path) => drop(names.remove(path)),
            Self::Rename(from, to, node) => {
                names.remove(from);
                names.insert(to.clone(), *node);
            }
        }
    }

    fn is_in(&self, dir: &Path) -> bool {
        let (Self::Set(path, _) | Self::Remove(path) | Self::Rename(_, path, _)) = self;
        path.parent() == Some(dir)
    }
}

#[derive(Default)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, Node>,
    durable_names: BTreeMap<PathBuf, Node>,
    pending_names: Vec<NameChange>,
    locks: BTreeSet<PathBuf>,
    changes: u64,
    reads: u64,
    fault: Option<Fault>,
    off: bool,
}

/// The disk; clones are the same one.
#[derive(Clone, Default)]
pub struct SimDisk(Arc<Mutex<State>>);

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimDisk")
    }
}

fn off() -> io::Error {
    io::Error::other("the power is off")
}

impl State {
    /// Counts a call that changes something. `Ok(true)` when the power goes off in the middle of it.
    fn change(&mut self) -> io::Result<bool> {
        if self.off {
            return Err(off());
        }
        let number = self.changes;
        self.changes += 1;
        match self.fault {
            Some(Fault::PowerCut(at)) if at == number => {
                self.off = true;
                Ok(true)
            }
            Some(Fault::Change(at, kind)) if at == number => Err(kind.into()),
            Some(Fault::ChangesFrom(at, kind)) if at <= number => Err(kind.into()),
            _ => Ok(false),
        }
    }

    fn read(&mut self) -> io::Result<()> {
        if self.off {
            return Err(off());
        }
        let number = self.reads;
        self.reads += 1;
        match self.fault {
            Some(Fault::Read(at, kind)) if at == number => Err(kind.into()),
            _ => Ok(()),
        }
    }

    /// Changes names; a power cut in the middle leaves it pending as any other.
    fn rename(&mut self, change: NameChange) -> io::Result<()> {
        let cut = self.change()?;
        change.apply(&mut self.names);
        self.pending_names.push(change);
        if cut { Err(off()) } else { Ok(()) }
    }

    /// Takes the bytes of files that no name leads to, nor will after any power cut, and that
    /// nobody has open.
    fn free(&mut self) {
        let changed = self.pending_names.iter().filter_map(|change| match change {
            NameChange::Set(_, node) | NameChange::Rename(_, _, node) => Some(node),
            NameChange::Remove(_) => None,
        });
        let nodes = self.names.values().chain(self.durable_names.values());
        let named: BTreeSet<usize> = nodes
            .chain(changed)
            .filter_map(|node| match node {
                Node::File(inode) => Some(*inode),
                Node::Dir => None,
            })
            .collect();
        for (number, inode) in self.inodes.iter_mut().enumerate() {
            if !named.contains(&number) && inode.opened == 0 {
                *inode = Inode::default();
            }
        }
    }

    fn file(&self, path: &Path) -> io::Result<usize> {
        match self.names.get(path) {
            Some(Node::File(inode)) => Ok(*inode),
            _ => Err(ErrorKind::NotFound.into()),
        }
    }

    fn inode(&mut self, inode: usize) -> io::Result<&mut Inode> {
        self.inodes.get_mut(inode).ok_or_else(off)
    }
}

impl SimDisk {
    /// A disk with nothing on it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Plans a failure, and counts calls from 0 again.
    pub fn set_fault(&self, fault: Option<Fault>) {
        let mut state = self.state();
        (state.fault, state.changes, state.reads) = (fault, 0, 0);
    }

    /// Calls that changed something, since the last failure was planned.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.state().changes
    }

    /// Calls that read, since the last failure was planned.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.state().reads
    }

    /// Whether a planned power cut has come. No call works any more: only
    /// [`Self::after_power_cut`] gives a disk that does.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.state().off
    }

    /// The disk as the next start finds it after the power went off now.
    #[must_use]
    pub fn after_power_cut(&self, random: &mut Random) -> Self {
        let state = self.state();
        let mut names = state.durable_names.clone();
        for change in &state.pending_names {
            if random.below(2) == 0 {
                change.apply(&mut names);
            }
        }
        let kept = names.clone();
        names.retain(|path, _| has_parents(&kept, path));
        let named: BTreeSet<usize> = names
            .values()
            .filter_map(|node| match node {
                Node::File(inode) => Some(*inode),
                Node::Dir => None,
            })
            .collect();
        // What no name leads to is gone.
        let mut inodes = Vec::new();
        let mut numbers = BTreeMap::new();
        for number in named {
            if let Some(inode) = state.inodes.get(number) {
                numbers.insert(number, inodes.len());
                inodes.push(settle(inode, random));
            }
        }
        for node in names.values_mut() {
            if let Node::File(inode) = node
                && let Some(number) = numbers.get(inode)
            {
                *inode = *number;
            }
        }
        let durable_names = names.clone();
        Self(Arc::new(Mutex::new(State {
            inodes,
            names,
            durable_names,
            ..State::default()
        })))
    }

    /// All files and what is in them.
    #[must_use]
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let state = self.state();
        let files = state.names.iter().filter_map(|(path, node)| match node {
            Node::File(inode) => Some((path.clone(), state.inodes.get(*inode)?.now.clone())),
            Node::Dir => None,
        });
        files.collect()
    }

    fn handle(&self, state: &mut State, inode: usize) -> Arc<dyn DiskFile> {
        if let Some(inode) = state.inodes.get_mut(inode) {
            inode.opened += 1;
        }
        Arc::new(SimFile {
            disk: self.clone(),
            inode,
        })
    }

    /// Bytes in all files.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        let state = self.state();
        let lens = state.names.values().filter_map(|node| match node {
            Node::File(inode) => Some(state.inodes.get(*inode)?.now.len() as u64),
            Node::Dir => None,
        });
        lens.sum()
    }

    /// Puts a file on the disk, durably, with the directories above it.
    pub fn plant(&self, path: &Path, bytes: &[u8]) {
        let mut state = self.state();
        let inode = Inode {
            now: bytes.to_vec(),
            durable: bytes.to_vec(),
            ..Inode::default()
        };
        state.inodes.push(inode);
        let node = Node::File(state.inodes.len() - 1);
        let dirs = path.ancestors().skip(1).map(|dir| (dir.into(), Node::Dir));
        for (path, node) in dirs.chain([(path.to_owned(), node)]) {
            state.names.insert(path.clone(), node);
            state.durable_names.insert(path, node);
        }
    }
}

fn has_parents(names: &BTreeMap<PathBuf, Node>, path: &Path) -> bool {
    path.ancestors()
        .skip(1)
        .filter(|dir| dir.parent().is_some())
        .all(|dir| names.get(dir) == Some(&Node::Dir))
}

/// What a power cut leaves of a file.
fn settle(inode: &Inode, random: &mut Random) -> Inode {
    let mut left = inode.durable.clone();
    for (offset, bytes) in &inode.pending {
        match random.below(3) {
            0 => {}
            1 => write(&mut left, *offset, bytes),
            _ => {
                for (at, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
                    if random.below(2) == 0 {
                        write(&mut left, offset + at * SECTOR_BYTES, sector);
                    }
                }
            }
        }
    }
    Inode {
        now: left.clone(),
        durable: left,
        ..Inode::default()
    }
}

fn write(bytes: &mut Vec<u8>, offset: usize, new: &[u8]) {
    let end = offset + new.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    if let Some(place) = bytes.get_mut(offset..end) {
        place.copy_from_slice(new);
    }
}

impl Disk for SimDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let mut missing: Vec<_> = path
            .ancestors()
            .filter(|dir| dir.parent().is_some() && !state.names.contains_key(*dir))
            .map(Path::to_owned)
            .collect();
        while let Some(dir) = missing.pop() {
            state.rename(NameChange::Set(dir, Node::Dir))?;
        }
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let mut state = self.state();
        state.read()?;
        let inside = state.names.iter().filter_map(|(name, node)| {
            let name = name.strip_prefix(path).ok()?.to_str()?;
            if name.is_empty() || name.contains('/') {
                return None;
            }
            let len = match node {
                Node::Dir => 0,
                Node::File(inode) => state.inodes.get(*inode)?.now.len() as u64,
            };
            Some(DirEntry {
                name: name.to_owned(),
                is_dir: *node == Node::Dir,
                len,
            })
        });
        Ok(inside.collect())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        if !has_parents(&state.names, path) {
            return Err(ErrorKind::NotFound.into());
        }
        state.inodes.push(Inode::default());
        let inode = state.inodes.len() - 1;
        state.rename(NameChange::Set(path.to_owned(), Node::File(inode)))?;
        Ok(self.handle(&mut state, inode))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        state.read()?;
        let inode = state.file(path)?;
        Ok(self.handle(&mut state, inode))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        let node = Node::File(state.file(from)?);
        state.rename(NameChange::Rename(from.to_owned(), to.to_owned(), node))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        if state.file(path).is_err() && !state.off {
            return Ok(());
        }
        state.rename(NameChange::Remove(path.to_owned()))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        if state.change()? {
            return Err(off());
        }
        let State {
            pending_names,
            durable_names,
            ..
        } = &mut *state;
        pending_names.retain(|change| {
            let settled = change.is_in(path);
            if settled {
                change.apply(durable_names);
            }
            !settled
        });
        state.free();
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        let mut state = self.state();
        state.read()?;
        let taken = state.locks.insert(path.to_owned());
        Ok(taken.then(|| -> Box<dyn Send + Sync> {
            Box::new(SimLock {
                disk: self.clone(),
                path: path.to_owned(),
            })
        }))
    }
}

struct SimLock {
    disk: SimDisk,
    path: PathBuf,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.disk.state().locks.remove(&self.path);
    }
}

struct SimFile {
    disk: SimDisk,
    inode: usize,
}

impl Drop for SimFile {
    fn drop(&mut self) {
        if let Some(inode) = self.disk.state().inodes.get_mut(self.inode) {
            inode.opened = inode.opened.saturating_sub(1);
        }
    }
}

impl DiskFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        let mut state = self.disk.state();
        state.read()?;
        Ok(state.inode(self.inode)?.now.len() as u64)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.read()?;
        let now = &state.inode(self.inode)?.now;
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let bytes = start
            .checked_add(buffer.len())
            .and_then(|end| now.get(start..end))
            .ok_or(ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        let offset = usize::try_from(offset).map_err(|_| ErrorKind::FileTooLarge)?;
        // A write that fails may have done its first half.
        let (bytes, outcome) = match state.change() {
            Ok(false) => (bytes, Ok(())),
            Ok(true) => (bytes, Err(off())),
            Err(error) if state.off => return Err(error),
            Err(error) => (bytes.get(..bytes.len() / 2).unwrap_or_default(), Err(error)),
        };
        let inode = state.inode(self.inode)?;
        write(&mut inode.now, offset, bytes);
        inode.pending.push((offset, bytes.to_vec()));
        outcome
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        if state.change()? {
            return Err(off());
        }
        let inode = state.inode(self.inode)?;
        inode.durable.clone_from(&inode.now);
        inode.pending.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_synced_is_sometimes_lost_and_sometimes_torn_and_what_was_never_is() {
        let (mut lost, mut torn, mut kept, mut renamed) = (0, 0, 0, 0);
        for seed in 0..200 {
            let disk = SimDisk::new();
            disk.create_dir(Path::new("/d")).unwrap();
            disk.sync_dir(Path::new("/")).unwrap();
            let file = disk.create(Path::new("/d/a")).unwrap();
            file.write_all_at(&[1; 64], 0).unwrap();
            file.sync().unwrap();
            disk.sync_dir(Path::new("/d")).unwrap();
            file.write_all_at(&[2; 64], 64).unwrap();
            disk.rename(Path::new("/d/a"), Path::new("/d/b")).unwrap();
            let files = disk.after_power_cut(&mut Random::new(seed)).files();
            assert_eq!(files.len(), 1);
            renamed += usize::from(files.contains_key(Path::new("/d/b")));
            let bytes = files.values().next().unwrap();
            assert_eq!(bytes[..64], [1; 64]);
            match bytes.len() {
                64 => lost += 1,
                128 if bytes[64..] == [2; 64] => kept += 1,
                _ => torn += 1,
            }
        }
        let seen = [lost, torn, kept, renamed];
        assert!(seen.iter().all(|&times| times > 20), "{seen:?}");
    }
}
