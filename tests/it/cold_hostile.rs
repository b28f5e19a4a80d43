//! Tampered directories of cold storage: they open without the tampered parts and report them, or
//! are refused with an error that names the place. Opening does not hang, crash or allocate by a
//! number in a file.

#![expect(clippy::unwrap_used, reason = "a failed operation fails the test")]

use astreum_core::atom::{Atom, AtomId};
use astreum_node::config::ColdStorageSync;
use astreum_node::store::cold::{ColdOptions, ColdStore};
use astreum_tests::sim::batch;
use core::time::Duration;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::thread;

/// Time after which an operation counts as hanging; longer than any operation here takes.
const TIMEOUT: Duration = Duration::from_secs(20);
const LEVEL_BYTES: u64 = 2_000;

fn options(mapped: bool) -> ColdOptions {
    ColdOptions {
        level_size_bytes: LEVEL_BYTES,
        limit_bytes: 0,
        sync: ColdStorageSync::Never,
        mapped,
        background: false,
    }
}

/// Stores two batches that are collated into a pair each and one in the journal, and returns all
/// atoms.
fn fill(root: &Path) -> Vec<(AtomId, Atom)> {
    let store = ColdStore::open(root, options(false)).unwrap();
    let mut all = Vec::new();
    for number in 0..3 {
        let atoms = batch(number);
        store.put(&atoms).unwrap();
        if number < 2 {
            store.collate().unwrap();
        }
        all.extend(atoms);
    }
    all
}

/// Opens the directory and reads all of it. Returns the reported damage, or the error.
fn open_and_read(root: &Path, all: &[(AtomId, Atom)], mapped: bool) -> Result<String, String> {
    let (root, all) = (root.to_owned(), all.to_vec());
    let (sender, receiver) = channel();
    // A hanging thread is left behind, and the test has failed.
    thread::spawn(move || sender.send(read(&root, &all, mapped)));
    let outcome = receiver.recv_timeout(TIMEOUT);
    outcome.unwrap_or_else(|_| panic!("the store hangs or has panicked"))
}

fn read(root: &Path, all: &[(AtomId, Atom)], mapped: bool) -> Result<String, String> {
    let store = ColdStore::open(root, options(mapped)).map_err(|error| error.to_string())?;
    let mut missing = 0;
    for (id, atom) in all {
        match store.get(id) {
            Ok(Some(found)) => assert_eq!(found, *atom, "wrong bytes"),
            Ok(None) | Err(_) => missing += 1,
        }
    }
    let verified = store
        .verify(&mut |_| ())
        .map_err(|error| error.to_string())?;
    let more = batch(1_000);
    let written = store.put(&more).and_then(|()| store.collate().map(drop));
    let maintained = store.maintain();
    if written.is_ok() {
        for (id, atom) in &more {
            assert_eq!(store.get(id).ok().flatten().as_ref(), Some(atom));
        }
    }
    let stats = store.stats();
    // Damage that looks like an interrupted write, and repaired damage, are reported too.
    let damages = stats.damages.iter().chain(&stats.interrupted);
    let damages = damages.map(ToString::to_string);
    let set_aside = stats.set_aside.iter().flat_map(|it| it.problems.clone());
    let damages: Vec<String> = damages.chain(set_aside).collect();
    Ok(format!(
        "missing {missing}; damaged {}; {}; {written:?}; {maintained:?}",
        verified.damaged,
        damages.join("; ")
    ))
}

/// Returns the first file in `dir` whose name ends with this text.
fn file(dir: &Path, end: &str) -> PathBuf {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().ends_with(end))
        .collect();
    names.sort();
    names.swap_remove(0)
}

fn journal(root: &Path) -> PathBuf {
    (0..9)
        .map(|number| root.join(format!("journal-{number:08}")))
        .rfind(|path| path.exists())
        .unwrap()
}

fn replace(path: &Path, with: impl FnOnce(&Path)) {
    if path.is_dir() {
        fs::remove_dir_all(path).unwrap();
    } else {
        let _ = fs::remove_file(path);
    }
    with(path);
}

fn pipe(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
}

fn huge(path: &Path) {
    stretch(path, 1 << 42);
}

/// Extends a file by a hole that occupies no disk space.
fn stretch(path: &Path, len: u64) {
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).truncate(false);
    options.open(path).unwrap().set_len(len).unwrap();
}

fn bytes(path: &Path, content: &[u8]) {
    File::create(path).unwrap().write_all(content).unwrap();
}

type Tamper = fn(&Path);

/// Name of the case, change of the directory, and text that the report must contain.
const CASES: &[(&str, Tamper, &str)] = &[
    (
        "pipe for an index",
        |root| replace(&file(&root.join("level_1"), "_index"), pipe),
        "_index",
    ),
    (
        "pipe for data",
        |root| replace(&file(&root.join("level_1"), "_data"), pipe),
        "_data",
    ),
    (
        "pipe for a journal",
        |root| replace(&journal(root), pipe),
        "journal-",
    ),
    (
        "pipe for the format",
        |root| replace(&root.join("FORMAT"), pipe),
        "FORMAT",
    ),
    (
        "device for data",
        |root| {
            replace(&file(&root.join("level_1"), "_data"), |path| {
                symlink("/dev/zero", path).unwrap();
            });
        },
        "_data",
    ),
    (
        "directory for an index",
        |root| {
            replace(&file(&root.join("level_1"), "_index"), |path| {
                fs::create_dir(path).unwrap();
            });
        },
        "_index",
    ),
    (
        "socket for data",
        |root| {
            replace(&file(&root.join("level_1"), "_data"), |path| {
                // Bound at a short path, because the path of a socket is limited to about a hundred
                // bytes.
                drop(UnixListener::bind(path).unwrap());
            });
        },
        "_data",
    ),
    (
        "link to itself",
        |root| {
            replace(&file(&root.join("level_1"), "_index"), |path| {
                symlink(path, path).unwrap();
            });
        },
        "_index",
    ),
    (
        "file for a level",
        |root| replace(&root.join("level_1"), |path| bytes(path, b"level")),
        "level_1",
    ),
    (
        "huge index",
        |root| huge(&file(&root.join("level_1"), "_index")),
        "_index",
    ),
    (
        "huge data",
        |root| huge(&file(&root.join("level_1"), "_data")),
        "",
    ),
    (
        "journal that ends in zeros",
        |root| stretch(&journal(root), 4 << 20),
        "journal-",
    ),
    (
        "index of nines",
        |root| bytes(&file(&root.join("level_1"), "_index"), &[0x99; 4_444]),
        "_index",
    ),
    (
        "journal of nines",
        |root| bytes(&journal(root), &[0x99; 4_444]),
        "journal-",
    ),
    (
        "no index",
        |root| replace(&file(&root.join("level_1"), "_index"), |_| ()),
        "_index",
    ),
    (
        "newer format",
        |root| bytes(&root.join("FORMAT"), b"astreum cold storage 9\n"),
        "FORMAT",
    ),
    (
        "binary format",
        |root| bytes(&root.join("FORMAT"), &[0xff; 10_000]),
        "FORMAT",
    ),
    (
        "unexpected level number",
        |root| {
            fs::create_dir(root.join("level_4294967295")).unwrap();
            fs::create_dir(root.join("level_99999999999")).unwrap();
        },
        "level_4294967295, byte 0: unexpected level number",
    ),
    (
        "names out of bounds",
        |root| {
            bytes(&root.join("level_1/99999999999999999999_index"), b"x");
            bytes(&root.join("level_1/-1_data"), b"x");
            bytes(&root.join("level_0/zz.bin"), b"x");
            huge(&root.join(format!("level_0/{}.bin", "ab".repeat(32))));
        },
        "",
    ),
];

#[test]
fn tampered_directories_open_or_are_refused_with_a_reason() {
    let untouched = tempfile::tempdir().unwrap();
    let all = fill(untouched.path());
    let reported = open_and_read(untouched.path(), &all, true).unwrap();
    assert_eq!(reported, "missing 0; damaged 0; ; Ok(()); Ok(())");
    for (name, tamper, said) in CASES {
        for mapped in [false, true] {
            let scratch = tempfile::tempdir().unwrap();
            let all = fill(scratch.path());
            tamper(scratch.path());
            let outcome = open_and_read(scratch.path(), &all, mapped);
            let (Ok(reported) | Err(reported)) = &outcome;
            assert!(reported.contains(said), "{name}: {reported}");
        }
    }
}

#[test]
fn rejects_paths_that_are_not_directories() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("cold");
    bytes(&path, b"a file");
    let error = read(&path, &[], true).unwrap_err();
    assert!(error.contains("cold"), "{error}");
    replace(&path, pipe);
    let error = open_and_read(&path, &[], true).unwrap_err();
    assert!(error.contains("cold"), "{error}");
}
