//! Cold storage: what is put is in its files, in the levels and names that a reference node reads.

#![expect(clippy::unwrap_used, reason = "a failure fails the test")]

use astreum_core::atom::{Atom, AtomId};
use astreum_node::config::ColdStorageSync;
use astreum_node::store::cold::{ColdOptions, ColdStore};
use astreum_tests::sim::disk::SimDisk;
use std::path::Path;
use std::sync::Arc;

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
fn what_was_put_is_there_after_a_restart_and_a_collation() {
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
        ["/cold/level_1/0_data", "/cold/level_1/0_index"]
    );
}

#[test]
fn levels_merge_tenfold_and_lose_nothing() {
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

#[test]
fn beyond_the_limit_writes_are_refused_and_nothing_is_lost() {
    let disk = SimDisk::new();
    let store = open(&disk);
    let kept = atoms(0, 20);
    store.put(&kept).unwrap();
    assert!(store.put(&atoms(1_000, 2_000)).is_err());
    for (id, atom) in &kept {
        assert_eq!(store.get(id).unwrap().as_ref(), Some(atom));
    }
}
