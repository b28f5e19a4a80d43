//! Cold storage: stored atoms are in its files, in the levels and names that a reference node
//! reads.

#![expect(clippy::unwrap_used, reason = "a failure fails the test")]

use astreum_core::atom::{Atom, AtomId};
use astreum_node::config::ColdStorageSync;
use astreum_node::store::cold::{ColdError, ColdOptions, ColdStore};
use astreum_tests::sim::disk::{Fault, SimDisk};
use core::time::Duration;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

const OPTIONS: ColdOptions = ColdOptions {
    level_size_bytes: 1_000,
    limit_bytes: 20_000,
    sync: ColdStorageSync::Always,
    mapped: false,
    background: false,
};

fn open(disk: &SimDisk) -> ColdStore {
    open_with(disk, OPTIONS)
}

fn open_with(disk: &SimDisk, options: ColdOptions) -> ColdStore {
    ColdStore::open_on(Arc::new(disk.clone()), Path::new("/cold"), options).unwrap()
}

fn atoms(from: u32, count: u32) -> Vec<(AtomId, Atom)> {
    (from..from + count)
        .map(|number| Atom::bytes(number.to_be_bytes().repeat(8)))
        .map(|atom| (atom.id(), atom))
        .collect()
}

fn names(disk: &SimDisk) -> Vec<String> {
    let files = disk.files();
    let names = files.keys().map(|path| path.to_string_lossy().into_owned());
    names.filter(|name| name.contains("level_")).collect()
}

#[test]
fn stored_atoms_survive_a_restart_and_a_collation() {
    let disk = SimDisk::new();
    let all = atoms(0, 50);
    open(&disk).put(&all).unwrap();
    let store = open(&disk);
    for round in ["from the journal", "from the pair"] {
        for (id, atom) in &all {
            assert_eq!(store.get(id).unwrap().as_ref(), Some(atom), "{round}");
        }
        store.collate().unwrap();
    }
    assert_eq!(store.get(&AtomId::new([7; 32])).unwrap(), None);
    assert_eq!(
        names(&disk),
        [
            "/cold/level_1/0_data",
            "/cold/level_1/0_index",
            "/cold/level_1/0_lengths"
        ]
    );
}

#[test]
fn levels_merge_tenfold_without_loss() {
    let disk = SimDisk::new();
    let unlimited = ColdOptions {
        limit_bytes: 0,
        ..OPTIONS
    };
    let store = open_with(&disk, unlimited);
    let mut all = Vec::new();
    for batch in 0..9 {
        let next = atoms(batch * 20, 20);
        store.put(&next).unwrap();
        all.extend(next);
        store.maintain().unwrap();
    }
    assert!(
        names(&disk).iter().any(|name| name.contains("level_2")),
        "{:?}",
        names(&disk)
    );
    for (id, atom) in &all {
        assert_eq!(store.get(id).unwrap().as_ref(), Some(atom));
    }
}

/// Writes into a removed or replaced directory would be lost with the process.
#[test]
fn write_into_a_replaced_directory_is_refused_until_the_original_is_restored() {
    for is_recreated in [false, true] {
        let disk = SimDisk::new();
        let store = open(&disk);
        store.put(&atoms(0, 5)).unwrap();
        disk.remove_all(Path::new("/cold"));
        if is_recreated {
            disk.insert_dir(Path::new("/cold"));
        }
        for first in [100, 200] {
            let error = store.put(&atoms(first, 5)).unwrap_err();
            assert!(matches!(error, ColdError::Displaced(_)), "{error}");
            assert_eq!(store.write_failure(), Some(error));
        }
        for change in [
            store.collate().err(),
            store.maintain().err(),
            store.merge_with(1, &mut |_| ()).err(),
            store.clear_set_aside().err(),
        ] {
            assert!(
                matches!(change, Some(ColdError::Displaced(_))),
                "{change:?}"
            );
        }
        // Nothing was written to the new directory.
        let there = disk
            .files()
            .into_keys()
            .filter(|path| path.starts_with("/cold"));
        assert_eq!(there.count(), 0);
        // Atoms that were stored before are still served.
        assert!(store.get(&atoms(0, 1)[0].0).unwrap().is_some());
    }
}

/// A journal whose file was removed refuses the write, and its content is saved while it is open.
#[test]
fn removed_journal_refuses_the_write_and_is_collated_while_it_can_be_read() {
    let disk = SimDisk::new();
    let store = open(&disk);
    let first = atoms(0, 5);
    store.put(&first).unwrap();
    disk.remove_all(Path::new("/cold/journal-00000000"));
    let second = atoms(100, 5);
    let error = store.put(&second).unwrap_err();
    assert!(matches!(error, ColdError::Displaced(_)), "{error}");
    assert!(error.to_string().contains("journal-00000000"), "{error}");
    store.maintain().unwrap();
    store.put(&second).unwrap();
    assert_eq!(store.write_failure(), None);
    drop(store);
    let store = open(&disk);
    for (id, atom) in first.iter().chain(&second) {
        assert_eq!(store.get(id).unwrap().as_ref(), Some(atom));
    }
    assert_eq!(store.stats().damages, []);
}

/// Pairs whose files were removed or truncated while they were open are rewritten from the open
/// files.
#[test]
fn pair_removed_while_open_is_rewritten() {
    let disk = SimDisk::new();
    let options = ColdOptions {
        background: true,
        ..OPTIONS
    };
    let all = atoms(0, 5);
    {
        let store = open(&disk);
        store.put(&all).unwrap();
        store.collate().unwrap();
    }
    let store = open_with(&disk, options);
    disk.remove_all(Path::new("/cold/level_1/0_data"));
    disk.remove_all(Path::new("/cold/level_1/0_index"));
    let deadline = Instant::now() + Duration::from_secs(60);
    while store.stats().set_aside.is_empty() {
        assert!(Instant::now() < deadline, "{:?}", store.stats());
        std::thread::yield_now();
    }
    drop(store);
    let store = open(&disk);
    for (id, atom) in &all {
        assert_eq!(store.get(id).unwrap().as_ref(), Some(atom));
    }
    assert_eq!(store.stats().damages, []);
}

/// Write refusal is known from the start, and again after the state of the disk changes.
#[test]
fn write_failure_of_the_disk_is_reported_before_a_write_and_cleared_after_recovery() {
    for kind in [ErrorKind::ReadOnlyFilesystem, ErrorKind::StorageFull] {
        let disk = SimDisk::new();
        open(&disk).put(&atoms(0, 5)).unwrap();
        disk.set_fault(Some(Fault::ChangesFrom(0, kind)));
        let options = ColdOptions {
            background: true,
            ..OPTIONS
        };
        let store = open_with(&disk, options);
        let reported = store.stats().write_failure;
        assert!(reported.is_some_and(|reported| reported.contains("/cold")));
        disk.set_fault(None);
        let deadline = Instant::now() + Duration::from_secs(60);
        while store.write_failure().is_some() {
            assert!(Instant::now() < deadline, "{kind}");
            std::thread::yield_now();
        }
    }
}

/// A level of only damaged pairs is repaired once, and not read at every maintenance.
#[test]
fn level_of_damaged_pairs_is_read_once() {
    let disk = SimDisk::new();
    let options = ColdOptions {
        limit_bytes: 0,
        level_size_bytes: 100,
        ..OPTIONS
    };
    {
        let store = open_with(
            &disk,
            ColdOptions {
                level_size_bytes: 1 << 20,
                ..options
            },
        );
        for number in 0..4 {
            store.put(&atoms(100 * number, 20)).unwrap();
            store.collate().unwrap();
        }
    }
    for number in 0..4 {
        let data = format!("/cold/level_1/{number}_data");
        disk.damage(Path::new(&data), |bytes| bytes.fill(0xff));
    }
    let store = open_with(&disk, options);
    store.maintain().unwrap();
    let stats = store.stats();
    assert_eq!((stats.set_aside.len(), stats.atoms), (4, 0));
    assert!(
        stats
            .set_aside
            .iter()
            .all(|incident| incident.missing == 20)
    );
    disk.set_fault(None);
    for _ in 0..10 {
        store.maintain().unwrap();
    }
    // Only the directory is read.
    assert!(disk.reads() <= 40, "{} reads", disk.reads());
    assert_eq!(disk.changes(), 0);
}

#[test]
fn storage_limit_refuses_writes_without_loss() {
    let disk = SimDisk::new();
    let store = open(&disk);
    let kept = atoms(0, 20);
    store.put(&kept).unwrap();
    assert!(store.put(&atoms(1_000, 2_000)).is_err());
    for (id, atom) in &kept {
        assert_eq!(store.get(id).unwrap().as_ref(), Some(atom));
    }
}
