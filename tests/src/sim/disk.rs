//! Simulated in-memory disk that keeps exactly the data that it guaranteed to keep.
//!
//! At a power cut, data that was written and not synced is lost, kept or torn, each write by itself
//! and in any order. The same holds for names that were created, renamed or removed in a directory
//! that was not synced, each by itself. Calls can be made to fail, once or from then on. Files can
//! be damaged, and directories replaced, as by another program.

mod handles;

use crate::heap;
use crate::random::Random;
use astreum_node::store::disk::{DirEntry, DirLock, Disk, DiskFile, FileId};
use core::fmt;
use core::ops::{Deref, DerefMut};
use handles::{SimFile, SimLock};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes that the disk writes atomically. A torn write is torn at multiples of it.
const SECTOR_BYTES: usize = 16;

/// Planned failure of calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The power goes off during the call with this number, counted from 0, among the calls that
    /// change something. Every later call fails.
    PowerCut(u64),
    /// The call with this number fails, among the calls that change something.
    Change(u64, ErrorKind),
    /// Every call from this number on fails, among the calls that change something.
    ChangesFrom(u64, ErrorKind),
    /// Every call from the first number up to the second, exclusive, fails, among the calls that
    /// change something.
    ChangesBetween(u64, u64, ErrorKind),
    /// The file sync with this number fails, among the syncs of files. The unsynced data is lost at
    /// a power cut even if a later sync succeeds.
    Sync(u64, ErrorKind),
    /// The call with this number fails, among the calls that read.
    Read(u64, ErrorKind),
}

#[derive(Clone, Default)]
struct Inode {
    /// Content that reads return.
    now: Vec<u8>,
    /// Content that survives a power cut.
    durable: Vec<u8>,
    /// Writes since the last sync, in order.
    pending: Vec<(usize, Vec<u8>)>,
    /// True if a sync failed and dropped data, so that no later write is reliable.
    is_dropped: bool,
    /// Number of open handles.
    opened: usize,
}

/// Target of a name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Node {
    /// Directory, with a number that distinguishes it from another directory of the same name.
    Dir(u64),
    File(usize),
}

/// Nodes by their absolute paths, without a slash at the end. They are compared as bytes, because
/// the order of paths splits them into components each time.
type Names = BTreeMap<OsString, Node>;

#[derive(Clone)]
enum NameChange {
    Set(OsString, Node),
    Remove(OsString),
    Rename(OsString, OsString, Node),
}

impl NameChange {
    fn apply(&self, names: &mut Names) {
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
        name_in(path, dir).is_some()
    }
}

#[derive(Default)]
struct State {
    inodes: Vec<Inode>,
    names: Names,
    durable_names: Names,
    pending_names: Vec<NameChange>,
    locks: BTreeSet<PathBuf>,
    next_dir: u64,
    changes: u64,
    reads: u64,
    syncs: u64,
    faults: Vec<Fault>,
    has_failed: bool,
    off: bool,
}

/// Simulated disk. Clones share the same content.
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

struct Borrowed<'a> {
    state: MutexGuard<'a, State>,
    _scope: heap::Scope,
}

impl Deref for Borrowed<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for Borrowed<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

impl State {
    /// Counts a call that changes something. Returns `Ok(true)` if the power goes off during the
    /// call.
    fn change(&mut self) -> io::Result<bool> {
        if self.off {
            return Err(off());
        }
        let number = self.changes;
        self.changes += 1;
        let mut outcome = Ok(false);
        for fault in &self.faults {
            match *fault {
                Fault::PowerCut(at) if at == number => {
                    (self.off, self.has_failed) = (true, true);
                    return Ok(true);
                }
                Fault::Change(at, kind) if at == number => outcome = Err(kind.into()),
                Fault::ChangesFrom(at, kind) if at <= number => outcome = Err(kind.into()),
                Fault::ChangesBetween(from, to, kind) if (from..to).contains(&number) => {
                    outcome = Err(kind.into());
                }
                _ => {}
            }
        }
        self.has_failed |= outcome.is_err();
        outcome
    }

    /// Counts a sync of a file and returns the error with which it fails, if any.
    fn sync_fault(&mut self) -> Option<ErrorKind> {
        let number = self.syncs;
        self.syncs += 1;
        let fault = self.faults.iter().find_map(|fault| match *fault {
            Fault::Sync(at, kind) if at == number => Some(kind),
            _ => None,
        });
        self.has_failed |= fault.is_some();
        fault
    }

    fn read(&mut self) -> io::Result<()> {
        if self.off {
            return Err(off());
        }
        let number = self.reads;
        self.reads += 1;
        let fails = self.faults.iter().find_map(|fault| match *fault {
            Fault::Read(at, kind) if at == number => Some(kind),
            _ => None,
        });
        fails.map_or(Ok(()), |kind| Err(kind.into()))
    }

    /// Changes names. A power cut during the call leaves the change pending, like any other.
    fn rename(&mut self, change: NameChange) -> io::Result<()> {
        let cut = self.change()?;
        change.apply(&mut self.names);
        self.pending_names.push(change);
        if cut { Err(off()) } else { Ok(()) }
    }

    /// Frees the content of files without an open handle and without a name, now or after any power
    /// cut.
    fn free(&mut self) {
        let changed = self.pending_names.iter().filter_map(|change| match change {
            NameChange::Set(_, node) | NameChange::Rename(_, _, node) => Some(node),
            NameChange::Remove(_) => None,
        });
        let nodes = self.names.values().chain(self.durable_names.values());
        let mut is_named = vec![false; self.inodes.len()];
        for node in nodes.chain(changed) {
            if let Node::File(inode) = node
                && let Some(is_named) = is_named.get_mut(*inode)
            {
                *is_named = true;
            }
        }
        for (inode, is_named) in self.inodes.iter_mut().zip(is_named) {
            if !is_named && inode.opened == 0 {
                *inode = Inode::default();
            }
        }
    }

    fn new_dir(&mut self) -> Node {
        self.next_dir += 1;
        Node::Dir(self.next_dir)
    }

    /// Returns the identity of a file or directory. Directories have odd numbers, files even ones.
    fn identity(&self, path: &Path) -> Option<FileId> {
        let inode = match self.names.get(path.as_os_str())? {
            Node::Dir(number) => 2 * number + 1,
            Node::File(inode) => 2 * *inode as u64,
        };
        Some(FileId { device: 1, inode })
    }

    fn file(&self, path: &Path) -> io::Result<usize> {
        match self.names.get(path.as_os_str()) {
            Some(Node::File(inode)) => Ok(*inode),
            _ => Err(ErrorKind::NotFound.into()),
        }
    }

    fn inode(&mut self, inode: usize) -> io::Result<&mut Inode> {
        self.inodes.get_mut(inode).ok_or_else(off)
    }
}

impl SimDisk {
    /// Creates an empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Its state. What is allocated while it is borrowed is not memory of a node.
    fn state(&self) -> Borrowed<'_> {
        Borrowed {
            state: self.0.lock().unwrap_or_else(PoisonError::into_inner),
            _scope: heap::leave(),
        }
    }

    /// Plans a failure, and counts calls from 0 again.
    pub fn set_fault(&self, fault: Option<Fault>) {
        self.set_faults(fault.as_slice());
    }

    /// Plans several failures, and counts calls from 0 again.
    pub fn set_faults(&self, faults: &[Fault]) {
        let mut state = self.state();
        state.faults = faults.to_vec();
        (state.changes, state.reads, state.syncs) = (0, 0, 0);
    }

    /// Returns the number of calls that changed something since the last failure was planned.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.state().changes
    }

    /// Returns the number of calls that read since the last failure was planned.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.state().reads
    }

    /// Returns whether a failure is planned, or the power is off.
    #[must_use]
    pub fn is_faulty(&self) -> bool {
        let state = self.state();
        state.off || !state.faults.is_empty()
    }

    /// Returns whether a call that changes something has failed since the disk was new or the power
    /// came back.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.state().has_failed
    }

    /// Returns whether no failure is planned, and no call that changes something has failed since the
    /// disk was new or the power came back.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let state = self.state();
        state.faults.is_empty() && !state.has_failed
    }

    /// Returns whether a planned power cut has occurred. Every call fails afterwards; only the
    /// result of [`Self::after_power_cut`] works again.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.state().off
    }

    /// Returns the disk as the next start finds it if the power goes off now.
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
                Node::Dir(_) => None,
            })
            .collect();
        // Files without a name are gone.
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
            next_dir: state.next_dir,
            ..State::default()
        })))
    }

    /// Returns all files with their content.
    #[must_use]
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let state = self.state();
        let files = state.names.iter().filter_map(|(path, node)| match node {
            Node::File(inode) => Some((path.into(), state.inodes.get(*inode)?.now.clone())),
            Node::Dir(_) => None,
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

    /// Returns the number of bytes in all files.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        let state = self.state();
        let lens = state.names.values().filter_map(|node| match node {
            Node::File(inode) => Some(state.inodes.get(*inode)?.now.len() as u64),
            Node::Dir(_) => None,
        });
        lens.sum()
    }

    /// Creates a file and the directories above it, durably.
    pub fn insert_file(&self, path: &Path, bytes: &[u8]) {
        let mut state = self.state();
        let inode = Inode {
            now: bytes.to_vec(),
            durable: bytes.to_vec(),
            ..Inode::default()
        };
        state.inodes.push(inode);
        let node = Node::File(state.inodes.len() - 1);
        for dir in path.ancestors().skip(1) {
            if !state.names.contains_key(dir.as_os_str()) {
                let node = state.new_dir();
                state.names.insert(dir.into(), node);
            }
            if let Some(node) = state.names.get(dir.as_os_str()).copied() {
                state.durable_names.insert(dir.into(), node);
            }
        }
        state.names.insert(path.into(), node);
        state.durable_names.insert(path.into(), node);
    }

    /// Changes the content of a file durably, without the knowledge of its user.
    pub fn damage(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        if let Ok(inode) = state.file(path)
            && let Some(inode) = state.inodes.get_mut(inode)
        {
            change(&mut inode.now);
            inode.durable.clone_from(&inode.now);
            inode.pending.clear();
        }
    }

    /// Removes a file, or a directory with its content, durably and without the knowledge of its
    /// user.
    pub fn remove_all(&self, path: &Path) {
        let mut state = self.state();
        let is_outside = |name: &OsString| !Path::new(name).starts_with(path);
        state.names.retain(|name, _| is_outside(name));
        state.durable_names.retain(|name, _| is_outside(name));
        state.pending_names.retain(|change| {
            let (NameChange::Set(name, _)
            | NameChange::Remove(name)
            | NameChange::Rename(_, name, _)) = change;
            is_outside(name)
        });
    }

    /// Creates an empty directory at a path, durably.
    pub fn insert_dir(&self, path: &Path) {
        let mut state = self.state();
        let node = state.new_dir();
        state.names.insert(path.into(), node);
        state.durable_names.insert(path.into(), node);
    }
}

/// Returns whether all directories above a path exist, except the root.
fn has_parents(names: &Names, path: &OsStr) -> bool {
    let mut path = path;
    while let Some(parent) = parent(path).filter(|parent| *parent != "/") {
        if !matches!(names.get(parent), Some(Node::Dir(_))) {
            return false;
        }
        path = parent;
    }
    true
}

/// Returns the directory of an absolute path without a slash at the end, or `None` for the root.
fn parent(path: &OsStr) -> Option<&OsStr> {
    let path = path.to_str()?;
    match path.rsplit_once('/')? {
        (_, "") => None,
        ("", _) => Some("/".as_ref()),
        (parent, _) => Some(parent.as_ref()),
    }
}

/// Returns the name of an entry of a directory, or `None` if the path is not one.
fn name_in<'n>(path: &'n OsStr, dir: &Path) -> Option<&'n str> {
    let name = path.to_str()?.strip_prefix(dir.to_str()?)?;
    let name = match dir.as_os_str() == "/" {
        true => name,
        false => name.strip_prefix('/')?,
    };
    (!name.is_empty() && !name.contains('/')).then_some(name)
}

/// Returns the state of a file after a power cut.
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
            .map(Path::as_os_str)
            .filter(|dir| *dir != "/" && !state.names.contains_key(*dir))
            .map(OsStr::to_owned)
            .collect();
        while let Some(dir) = missing.pop() {
            let node = state.new_dir();
            state.rename(NameChange::Set(dir, node))?;
        }
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let mut state = self.state();
        state.read()?;
        let inside = state.names.iter().filter_map(|(name, node)| {
            let name = name_in(name, path)?;
            let len = match node {
                Node::Dir(_) => 0,
                Node::File(inode) => state.inodes.get(*inode)?.now.len() as u64,
            };
            Some(DirEntry {
                name: name.to_owned(),
                is_dir: matches!(node, Node::Dir(_)),
                len,
            })
        });
        Ok(inside.collect())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        if !has_parents(&state.names, path.as_os_str()) {
            return Err(ErrorKind::NotFound.into());
        }
        state.inodes.push(Inode::default());
        let inode = state.inodes.len() - 1;
        state.rename(NameChange::Set(path.into(), Node::File(inode)))?;
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
        state.rename(NameChange::Rename(from.into(), to.into(), node))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        if state.file(path).is_err() && !state.off {
            return Ok(());
        }
        state.rename(NameChange::Remove(path.into()))
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

    fn identity(&self, path: &Path) -> io::Result<Option<FileId>> {
        let mut state = self.state();
        state.read()?;
        Ok(state.identity(path))
    }

    fn lock(&self, root: &Path) -> io::Result<Option<Box<dyn DirLock>>> {
        let mut state = self.state();
        state.read()?;
        let Some(id) = state.identity(root) else {
            return Err(ErrorKind::NotFound.into());
        };
        let taken = state.locks.insert(root.to_owned());
        Ok(taken.then(|| -> Box<dyn DirLock> {
            Box::new(SimLock {
                disk: self.clone(),
                root: root.to_owned(),
                id,
            })
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn power_cut_loses_or_tears_only_unsynced_data() {
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
