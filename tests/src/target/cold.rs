//! Fuzz target of the cold store, on a disk that fails and loses power: acknowledged atoms are
//! present, and a wrong atom is never returned.

use super::input::Input;
use crate::random::Random;
use crate::sim::batch;
use crate::sim::disk::{Fault, SimDisk};
use astreum_core::atom::{Atom, AtomId};
use astreum_node::config::ColdStorageSync;
use astreum_node::store::cold::{ColdOptions, ColdStore};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// Maximum number of operations per run.
const MAX_OPERATIONS: usize = 48;

struct Run {
    disk: SimDisk,
    store: Option<ColdStore>,
    random: Random,
    /// Every atom that was ever put, and whether the put was acknowledged.
    put: BTreeMap<AtomId, (Atom, bool)>,
}

/// Returns the atoms of a number with their ids.
fn known_batch(number: u8) -> &'static [(AtomId, Atom)] {
    static BATCHES: [OnceLock<Vec<(AtomId, Atom)>>; 256] = [const { OnceLock::new() }; 256];
    let known = BATCHES.get(usize::from(number));
    known.map_or(&[], |known| known.get_or_init(|| batch(number.into())))
}

/// Runs puts, maintenance, faults, power cuts and bit flips in the order of the bytes.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let seed = u64::from(input.byte().unwrap_or(0));
    let mut run = Run {
        disk: SimDisk::new(),
        store: None,
        random: Random::new(seed),
        put: BTreeMap::new(),
    };
    for _ in 0..MAX_OPERATIONS {
        let Some(code) = input.byte() else {
            break;
        };
        super::count_operations(1);
        run.act(code & 15, input.byte().unwrap_or(0));
    }
    run.disk.set_fault(None);
    if run.disk.is_off() {
        run.lose_power();
    }
    run.open();
    run.check();
}

impl Run {
    fn act(&mut self, what: u8, argument: u8) {
        if self.store.is_none() && what < 12 {
            self.open();
        }
        let at = self.disk.changes() + u64::from(argument & 31);
        match what {
            0..=4 => self.put(argument),
            5 => self.with(|store| store.collate().is_ok()),
            6 => self.with(|store| store.maintain().is_ok()),
            7 => self.with(|store| {
                store
                    .merge_with(1 + u32::from(argument & 1), &mut |_| ())
                    .is_ok()
            }),
            8 => self
                .disk
                .set_fault(Some(Fault::Change(at, ErrorKind::StorageFull))),
            9 => self
                .disk
                .set_fault(Some(Fault::ChangesFrom(at, ErrorKind::Other))),
            10 => {
                let at = self.disk.reads() + u64::from(argument & 31);
                self.disk.set_fault(Some(Fault::Read(at, ErrorKind::Other)));
            }
            11 => self.check_some(),
            12 => self.disk.set_fault(Some(Fault::PowerCut(at))),
            13 => self.disk.set_fault(None),
            _ => self.lose_power(),
        }
    }

    /// Cuts the power, unless it is off already, and restarts.
    fn lose_power(&mut self) {
        self.store = None;
        self.disk = self.disk.after_power_cut(&mut self.random);
    }

    fn open(&mut self) {
        let options = ColdOptions {
            level_size_bytes: 256,
            limit_bytes: 1 << 20,
            sync: ColdStorageSync::Always,
            mapped: false,
            background: false,
        };
        let disk = Arc::new(self.disk.clone());
        self.store = None;
        self.store = ColdStore::open_on(disk, Path::new("/cold"), options).ok();
    }

    fn with(&self, act: impl FnOnce(&ColdStore) -> bool) {
        if let Some(store) = &self.store {
            // The result is ignored, because the disk may fail.
            act(store);
        }
    }

    fn put(&mut self, number: u8) {
        let Some(store) = &self.store else {
            return;
        };
        let atoms = known_batch(number);
        let is_kept = store.put(atoms).is_ok();
        for (id, atom) in atoms {
            let (_, was_kept) = self.put.entry(*id).or_insert_with(|| (atom.clone(), false));
            *was_kept |= is_kept;
        }
    }

    /// Checks that no atom is wrong, regardless of disk failures.
    fn check_some(&self) {
        let Some(store) = &self.store else {
            return;
        };
        for (id, (atom, _)) in &self.put {
            if let Ok(Some(found)) = store.get(id) {
                assert_eq!(found, *atom, "wrong bytes under {id}");
            }
        }
    }

    /// Checks that every acknowledged atom is present on a disk that works again.
    fn check(&self) {
        let store = self.store.as_ref();
        let store = store.unwrap_or_else(|| panic!("the store does not open on an intact disk"));
        for (id, (atom, is_kept)) in &self.put {
            match store.get(id) {
                Ok(Some(found)) => assert_eq!(found, *atom, "wrong bytes under {id}"),
                Ok(None) => assert!(!is_kept, "acknowledged atom {id} is lost"),
                Err(error) => panic!("{id} on an intact disk: {error}"),
            }
        }
        assert!(
            store.put(&batch(1_000)).is_ok(),
            "the store recovers with its disk"
        );
    }
}
