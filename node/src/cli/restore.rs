//! Folder of a manifest, written to a directory.
//!
//! Everything is written below a new directory beside the final one, which gets its name when the
//! folder is complete. A manifest comes from anyone, so nothing that it names can lead elsewhere:
//!
//! - Paths are relative, and checked when the table is read ([`astreum_core::manifest`]).
//! - Each directory and file is opened by its own name in its directory's descriptor, without
//!   following links, and created new: an existing one is an error, unless the command resumes.
//! - Modes are permission bits, reduced by the umask. Directories get theirs last, so that one that
//!   its owner may not write to can be filled first.
//! - Files are filled by several threads, since a small file from a distant peer takes round trips
//!   and hardly any bytes. Directories and files are created in the order of the table.
//! - A folder that is larger than the free space is refused before anything is written, because a
//!   manifest of a few bytes can state any size.

use core::sync::atomic::{AtomicBool, Ordering};
use std::fs::{self, File};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use astreum_core::atom::AtomId;
use astreum_core::manifest::{Entry, EntryKind, LIST_BYTES, Table};
use rustix::fs::{CWD, Mode, OFlags, fchmod, mkdirat, openat};
use rustix::io::Errno;

use crate::rpc::Client;

use super::interrupt::Interrupt;
use super::manifest_reader::{Manifest, lists_of, read_content};
use super::output::Failure;
use super::partial::{check_free, lock, part_path, verified_len};
use super::progress::ByteBar;

/// Mode of a directory while it is filled, and of a file before it is complete.
const OWN_DIRECTORY: Mode = Mode::RWXU;
const OWN_FILE: Mode = Mode::RUSR.union(Mode::WUSR);
/// Number of files that are filled at once, each over a connection of its own: a quarter of those
/// that the control socket has.
const FILLERS: usize = 8;

/// Writes the folder of a manifest to `path`, which does not exist or is an empty directory.
pub(super) fn restore(
    client: &Client,
    (id, manifest): (AtomId, &Manifest),
    (path, resumes): (&Path, bool),
    bar: &ByteBar,
) -> Result<(), Failure> {
    check_place(path)?;
    let interrupt = Interrupt::watch().map_err(Failure::failed)?;
    let part = part_path(path, resumes.then_some(&id));
    let tree = Tree::create(&part, resumes)?;
    check_room(&part, &manifest.table, resumes)?;
    let written = interrupt.limit().scope(|| {
        tree.write(client, manifest, &interrupt, bar)?;
        tree.set_modes(&manifest.table)
    });
    if written.is_ok() {
        tree.finish(path)?;
        return Ok(());
    }
    drop(tree);
    let kept = match resumes {
        true => "; --resume continues",
        false => "",
    };
    interrupt.end(&format!(
        "interrupted: {} was not written{kept}",
        path.display()
    ));
    written
}

fn check_place(path: &Path) -> Result<(), Failure> {
    let failed = |problem: &str| Failure::Failed(format!("{}: {problem}", path.display()));
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(&error.to_string())),
        Ok(metadata) if !metadata.is_dir() => {
            return Err(failed(
                "exists and is not a directory; the object is a folder, so choose another path",
            ));
        }
        Ok(_) => {}
    }
    let mut entries = fs::read_dir(path).map_err(|error| failed(&error.to_string()))?;
    match entries.next() {
        None => Ok(()),
        Some(_) => Err(failed(
            "the directory is not empty, and nothing is overwritten; choose an empty or a new one",
        )),
    }
}

/// Checks that what is to be written fits on the disk.
fn check_room(part: &Path, table: &Table, resumes: bool) -> Result<(), Failure> {
    // Bytes of a file that an earlier command has written.
    let written = |entry: Entry<'_>| {
        let found = fs::symlink_metadata(part.join(entry.path)).ok();
        let len = found.filter(fs::Metadata::is_file).map(|it| it.len());
        len.unwrap_or(0).min(entry.size().unwrap_or(0))
    };
    let present: u64 = match resumes {
        true => table.entries().map(written).sum(),
        false => 0,
    };
    check_free("folder", part, table.file_bytes().saturating_sub(present))
}

/// Directory that is being filled.
struct Tree {
    path: PathBuf,
    root: OwnedFd,
    resumes: bool,
    /// Bits that new files do not get.
    umask: Mode,
    is_finished: bool,
}

impl Tree {
    /// Creates the directory, or opens that of an earlier command.
    fn create(path: &Path, resumes: bool) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::Failed(format!("{}: {error}", path.display()));
        let root = directory(&CWD, path, resumes).map_err(failed)?;
        let shared = root.try_clone().map_err(failed)?;
        if resumes {
            let locked = File::from(shared);
            lock(&locked, path)?;
        }
        // Reading it means setting it; no other thread creates files meanwhile.
        let umask = rustix::process::umask(OWN_DIRECTORY.complement());
        rustix::process::umask(umask);
        Ok(Self {
            path: path.to_owned(),
            root,
            resumes,
            umask,
            is_finished: false,
        })
    }

    fn failed(&self, entry: &Entry<'_>, error: &io::Error) -> Failure {
        let path = self.path.join(entry.path);
        let advice = match error.kind() {
            io::ErrorKind::AlreadyExists => {
                "; its name may differ from another one only in case or form"
            }
            _ => "",
        };
        Failure::Failed(format!("{}: {error}{advice}", path.display()))
    }

    /// Writes all directories and files.
    fn write(
        &self,
        client: &Client,
        manifest: &Manifest,
        interrupt: &Interrupt,
        bar: &ByteBar,
    ) -> Result<(), Failure> {
        let (jobs, queue) = sync_channel(0);
        let filler = Filler {
            tree: self,
            client,
            interrupt,
            bar,
            queue: Mutex::new(queue),
            failure: Mutex::new(None),
            has_failed: AtomicBool::new(false),
        };
        let created = thread::scope(|scope| {
            let count = manifest.contents.len().min(FILLERS);
            for _ in 0..count {
                let thread = thread::Builder::new().name("file".to_owned());
                let started = thread.spawn_scoped(scope, || filler.run());
                started.map_err(|error| {
                    Failure::Failed(format!("failed to start a thread: {error}"))
                })?;
            }
            // Dropped at the end of the scope, which lets the threads end.
            let jobs = jobs;
            self.create_all(manifest, &mut |job| {
                interrupt.check()?;
                match filler.has_failed.load(Ordering::Relaxed) {
                    true => Err(Failure::Reported),
                    // The threads receive until this sender is gone.
                    false => jobs.send(job).map_err(Failure::failed),
                }
            })
        });
        let failure = filler.failure.into_inner();
        match failure.unwrap_or_else(PoisonError::into_inner) {
            Some((_, failure)) => Err(failure),
            None => created,
        }
    }

    /// Creates all directories and files, in the order of the table, and passes the files on.
    fn create_all<'m>(
        &self,
        manifest: &'m Manifest,
        fill: &mut dyn FnMut(Job<'m>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut contents = manifest.contents.iter();
        // Directories from the root to the last one.
        let mut open: Vec<OwnedFd> = Vec::new();
        for (number, entry) in manifest.table.entries().enumerate().skip(1) {
            let (depth, name) = match entry.path.rsplit_once('/') {
                Some((parent, name)) => (1 + parent.split('/').count(), name),
                None => (1, entry.path),
            };
            open.truncate(depth - 1);
            let parent = open.last().unwrap_or(&self.root);
            match entry.kind {
                EntryKind::Directory => {
                    let made = directory(parent, Path::new(name), self.resumes);
                    open.push(made.map_err(|error| self.failed(&entry, &error))?);
                }
                EntryKind::File { size } => {
                    let file = self.file(parent, name);
                    let file = file.map_err(|error| self.failed(&entry, &error))?;
                    // There is one content for each file.
                    let content = contents.next().copied().unwrap_or(AtomId::ZERO);
                    fill(Job {
                        number,
                        entry,
                        file,
                        content: (content, size),
                    })?;
                }
            }
        }
        Ok(())
    }

    /// Opens a file to write.
    fn file(&self, parent: &OwnedFd, name: &str) -> io::Result<File> {
        let mut flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        if !self.resumes {
            flags |= OFlags::EXCL;
        }
        // What an earlier command has left is opened, perhaps without the permission to write.
        let opened = openat(parent, name, flags | OFlags::NONBLOCK, OWN_FILE);
        let file = File::from(match opened {
            Err(Errno::ACCESS) if self.resumes => {
                rustix::fs::unlinkat(parent, name, rustix::fs::AtFlags::empty())?;
                openat(parent, name, flags | OFlags::EXCL, OWN_FILE)?
            }
            opened => opened?,
        });
        match file.metadata()?.is_file() {
            true => Ok(file),
            false => Err(io::Error::other("is not a regular file; remove it")),
        }
    }

    /// Writes what a file lacks.
    fn fill(
        &self,
        client: &Client,
        (entry, mut file): (&Entry<'_>, File),
        (content, size): (AtomId, u64),
        interrupt: &Interrupt,
        bar: &ByteBar,
    ) -> Result<(), Failure> {
        let path = self.path.join(entry.path);
        let failed = |error: io::Error| self.failed(entry, &error);
        let lists = lists_of(client, (content, size), &path.display(), bar)?;
        let kept = match self.resumes {
            true => verified_len(&file, &lists, Some(size)).map_err(failed)?,
            false => 0,
        };
        if self.resumes {
            file.set_len(kept).map_err(failed)?;
            file.seek(SeekFrom::Start(kept)).map_err(failed)?;
            bar.add(usize::try_from(kept).unwrap_or_default());
        }
        let (what, rest) = (path.display(), (&lists[..], size));
        let mut out = io::BufWriter::with_capacity(64 << 10, &file);
        read_content(
            client,
            rest,
            kept.div_ceil(LIST_BYTES),
            &what,
            bar,
            &mut |bytes| {
                interrupt.check()?;
                out.write_all(bytes).map_err(failed)
            },
        )?;
        out.flush().map_err(failed)?;
        drop(out);
        let mode = Mode::from_raw_mode(entry.mode.into()).difference(self.umask);
        fchmod(&file, mode).map_err(|error| self.failed(entry, &error.into()))
    }

    /// Sets the modes of the directories, the innermost first.
    fn set_modes(&self, table: &Table) -> Result<(), Failure> {
        let directories: Vec<Entry<'_>> = table
            .entries()
            .filter(|entry| entry.kind == EntryKind::Directory)
            .collect();
        for entry in directories.iter().rev() {
            let mode = Mode::from_raw_mode(entry.mode.into()).difference(self.umask);
            let set = self
                .open_directory(entry.path)
                .and_then(|it| Ok(fchmod(it, mode)?));
            set.map_err(|error| self.failed(entry, &error))?;
        }
        Ok(())
    }

    /// Opens a directory of the tree, component by component.
    fn open_directory(&self, path: &str) -> io::Result<OwnedFd> {
        let mut opened = self.root.try_clone()?;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            opened = openat(&opened, name, DIRECTORY, Mode::empty())?;
        }
        Ok(opened)
    }

    /// Gives the directory its final name.
    fn finish(mut self, path: &Path) -> Result<(), Failure> {
        // An empty directory of this name is replaced.
        fs::rename(&self.path, path)
            .map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))?;
        self.is_finished = true;
        Ok(())
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        if !self.is_finished && !self.resumes {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// File to fill.
struct Job<'m> {
    /// Number of its entry in the table.
    number: usize,
    entry: Entry<'m>,
    file: File,
    /// Id of the content, and its size in bytes.
    content: (AtomId, u64),
}

/// Threads that fill files.
struct Filler<'m, 'a> {
    tree: &'a Tree,
    client: &'a Client,
    interrupt: &'a Interrupt,
    bar: &'a ByteBar,
    queue: Mutex<Receiver<Job<'m>>>,
    /// Failure at the first entry of those that failed, with the number of the entry.
    failure: Mutex<Option<(usize, Failure)>>,
    has_failed: AtomicBool,
}

impl Filler<'_, '_> {
    /// Fills files until there are no more. After a failure, the rest is passed over.
    fn run(&self) {
        self.interrupt.limit().scope(|| {
            while let Some(job) = self.next() {
                if self.has_failed.load(Ordering::Relaxed) {
                    continue;
                }
                let number = job.number;
                let filled = self.tree.fill(
                    self.client,
                    (&job.entry, job.file),
                    job.content,
                    self.interrupt,
                    self.bar,
                );
                if let Err(failure) = filled {
                    self.fail(number, failure);
                }
            }
        });
    }

    fn next(&self) -> Option<Job<'_>> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.recv().ok()
    }

    fn fail(&self, number: usize, failure: Failure) {
        self.has_failed.store(true, Ordering::Relaxed);
        let mut first = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if first.as_ref().is_none_or(|(other, _)| number < *other) {
            *first = Some((number, failure));
        }
    }
}

/// Flags that open a directory and follow no link.
const DIRECTORY: OFlags = OFlags::DIRECTORY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Creates a directory and opens it; an existing one is opened only if the command resumes.
fn directory(parent: &impl std::os::fd::AsFd, name: &Path, resumes: bool) -> io::Result<OwnedFd> {
    match mkdirat(parent, name, OWN_DIRECTORY) {
        Err(Errno::EXIST) if resumes => {}
        made => made?,
    }
    Ok(openat(parent, name, DIRECTORY, Mode::empty())?)
}
