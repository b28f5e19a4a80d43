//! Backups under power cuts: at every call of a backup that changes something, on a disk that loses,
//! tears and reorders unsynced data, what is left is complete, or nothing, or refused.

#![expect(clippy::unwrap_used, reason = "a failed operation fails the test")]

use astreum_core::atom::{Atom, AtomId};
use astreum_node::config::ColdStorageSync;
use astreum_node::store::cold::{ColdError, ColdOptions, ColdStore};
use astreum_node::store::disk::Disk as _;
use astreum_tests::random::Random;
use astreum_tests::sim;
use astreum_tests::sim::disk::{Fault, SimDisk};
use std::path::Path;
use std::sync::Arc;

const ROOT: &str = "/store";
const COPY: &str = "/copy";
const SEEDS: u64 = 40;

type Atoms = Vec<(AtomId, Atom)>;

fn open(disk: &SimDisk, root: &str) -> Result<ColdStore, ColdError> {
    let options = ColdOptions {
        level_size_bytes: 200,
        limit_bytes: 0,
        sync: ColdStorageSync::Always,
        mapped: false,
        background: false,
    };
    ColdStore::open_on(Arc::new(disk.clone()), Path::new(root), options)
}

/// Returns a disk with a store of several levels, which is open, and its atoms.
fn filled(seed: u64) -> (SimDisk, ColdStore, Atoms) {
    let disk = SimDisk::new();
    let store = open(&disk, ROOT).unwrap();
    let mut atoms = Atoms::new();
    for number in 0..6_u64 {
        let batch = sim::batch(seed ^ (number << 32));
        store.put(&batch).unwrap();
        atoms.extend(batch);
        if number < 5 {
            store.maintain().unwrap();
        }
    }
    (disk, store, atoms)
}

fn assert_holds(store: &ColdStore, atoms: &Atoms, what: &str) {
    for (id, atom) in atoms {
        assert_eq!(store.get(id).unwrap().as_ref(), Some(atom), "{what}");
    }
    assert_eq!(store.verify(&mut |_| ()).unwrap().damaged, 0, "{what}");
    assert_eq!(store.stats().damages, [], "{what}");
}

#[test]
fn backup_cut_anywhere_is_complete_or_refused() {
    let (mut complete, mut refused, mut absent) = (0, 0, 0);
    for seed in 0..SEEDS {
        let (disk, store, _) = filled(seed);
        disk.set_fault(None);
        store.back_up(Path::new(COPY), &|| true).unwrap();
        let calls = disk.changes();
        assert!(calls > 20, "{calls}");
        for cut in 0..=calls {
            let what = format!("seed {seed}, cut at call {cut}");
            let (disk, store, atoms) = filled(seed);
            disk.set_fault(Some(Fault::PowerCut(cut)));
            let copied = store.back_up(Path::new(COPY), &|| true);
            assert_eq!(copied.is_ok(), cut == calls, "{what}: {copied:?}");
            let mut random = Random::new(seed.rotate_left(40) ^ cut);
            let disk = disk.after_power_cut(&mut random);
            let is_empty = disk.list(Path::new(COPY)).unwrap().is_empty();
            match open(&disk, COPY) {
                _ if is_empty => {
                    assert!(copied.is_err(), "{what}: lost");
                    absent += 1;
                }
                Ok(copy) => {
                    assert_holds(&copy, &atoms, &what);
                    complete += 1;
                }
                Err(error @ ColdError::Incomplete { .. }) => {
                    assert!(copied.is_err(), "{what}: {error}");
                    assert!(error.to_string().contains("incomplete backup"), "{error}");
                    refused += 1;
                }
                Err(error) => panic!("{what}: {error}"),
            }
            // The store itself is as it was.
            assert_holds(&open(&disk, ROOT).unwrap(), &atoms, &what);
        }
    }
    let counts = format!("{complete} complete, {refused} refused, {absent} absent");
    assert!(
        complete >= SEEDS && refused > 10 * SEEDS && absent > 0,
        "{counts}"
    );
}
