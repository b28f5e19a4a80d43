//! Fetch of atoms that were lost in damaged files from peers.

use super::support::{alone, eventually, introduce, node};
use astreum_core::atom::{Atom, AtomId};
use astreum_core::wire::object::PayloadType;
use astreum_node::config::{ColdStorageSync, Config};
use astreum_node::store::cold::{ColdOptions, ColdStore};
use std::fs;

#[test]
fn lost_atoms_are_fetched_again_from_peers() {
    let dir = tempfile::tempdir().unwrap();
    let atoms: Vec<(AtomId, Atom)> = (0..30_u8)
        .map(|n| Atom::bytes([n; 20]))
        .map(|atom| (atom.id(), atom))
        .collect();
    let options = ColdOptions {
        level_size_bytes: 1 << 20,
        limit_bytes: 0,
        sync: ColdStorageSync::Always,
        mapped: true,
        background: false,
    };
    {
        let store = ColdStore::open(dir.path(), options).unwrap();
        store.put(&atoms).unwrap();
        store.collate().unwrap();
    }
    // Overwrites all data, but not the index.
    let data = dir.path().join("level_1/0_data");
    let len = fs::metadata(&data).unwrap().len();
    fs::write(&data, vec![0xff; usize::try_from(len).unwrap()]).unwrap();
    let helper = node(alone());
    for (id, atom) in &atoms {
        helper.put(atom.clone()).unwrap();
        helper.advertise(*id, PayloadType::ATOM, None).unwrap();
    }
    let damaged = node(Config {
        cold_storage_path: Some(dir.path().to_owned()),
        ..alone()
    });
    introduce(&damaged, &helper);
    let missing = || {
        let stats = damaged.store().cold().unwrap().stats();
        let incidents = stats.set_aside.iter();
        (
            stats.set_aside.len(),
            incidents.map(|it| it.missing).sum::<u64>(),
        )
    };
    // A read detects the damage.
    assert_eq!(damaged.store().get(&atoms[0].0), None);
    eventually("the pair is set aside", || missing().0 == 1);
    eventually("every lost atom is stored again", || missing() == (1, 0));
    drop(damaged);
    let store = ColdStore::open(dir.path(), options).unwrap();
    for (id, atom) in &atoms {
        assert_eq!(store.get(id).unwrap().as_ref(), Some(atom));
    }
    // The incident is reported until an operator clears it.
    assert_eq!(store.stats().set_aside.len(), 1);
    drop(store);
}
