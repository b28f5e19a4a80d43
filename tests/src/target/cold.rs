//! Fuzz target of the cold store, on a disk that fails and loses power: acknowledged atoms are
//! present, and a wrong atom is never returned.

use super::input::operations;
use crate::random::Random;
use crate::sim::batch;
use crate::sim::disk::{Fault, SimDisk};
use arbitrary::{Arbitrary, Unstructured};
use astreum_core::atom::{Atom, AtomId};
use astreum_node::config::ColdStorageSync;
use astreum_node::store::cold::{ColdOptions, ColdStore};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// Maximum number of operations per run.
const MAX_OPERATIONS: usize = 48;

/// Operation on the store or its disk. Faults occur after a number of calls.
#[derive(Clone, Copy, Debug)]
enum Operation {
    /// Puts the batch of atoms with this number.
    Put(u8),
    Collate,
    Maintain,
    /// Merges a level.
    Merge(u32),
    FailChange(u64),
    FailChangesFrom(u64),
    FailRead(u64),
    Check,
    CutPower(u64),
    EndFault,
    LosePower,
}

impl<'a> Arbitrary<'a> for Operation {
    fn arbitrary(input: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let (code, argument) = <(u8, u8)>::arbitrary(input)?;
        let calls = u64::from(argument & 31);
        Ok(match code & 15 {
            0..=4 => Self::Put(argument),
            5 => Self::Collate,
            6 => Self::Maintain,
            7 => Self::Merge(1 + u32::from(argument & 1)),
            8 => Self::FailChange(calls),
            9 => Self::FailChangesFrom(calls),
            10 => Self::FailRead(calls),
            11 => Self::Check,
            12 => Self::CutPower(calls),
            13 => Self::EndFault,
            _ => Self::LosePower,
        })
    }
}

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

/// Returns the atoms that are put at the end of a run.
fn last_batch() -> &'static [(AtomId, Atom)] {
    static BATCH: OnceLock<Vec<(AtomId, Atom)>> = OnceLock::new();
    BATCH.get_or_init(|| batch(1_000))
}

/// Runs puts, maintenance, faults, power cuts and bit flips in the order of the bytes.
pub fn run(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let seed = input.arbitrary::<u8>().map_or(0, u64::from);
    let mut run = Run {
        disk: SimDisk::new(),
        store: None,
        random: Random::new(seed),
        put: BTreeMap::new(),
    };
    for operation in operations(&mut input, MAX_OPERATIONS) {
        run.act(operation);
    }
    run.disk.set_fault(None);
    if run.disk.is_off() {
        run.lose_power();
    }
    run.open();
    run.check();
}

impl Run {
    fn act(&mut self, operation: Operation) {
        let is_of_disk = matches!(
            operation,
            Operation::CutPower(_) | Operation::EndFault | Operation::LosePower
        );
        if self.store.is_none() && !is_of_disk {
            self.open();
        }
        let changes = self.disk.changes();
        let fault = match operation {
            Operation::Put(number) => return self.put(number),
            Operation::Collate => return self.with(|store| store.collate().is_ok()),
            Operation::Maintain => return self.with(|store| store.maintain().is_ok()),
            Operation::Merge(level) => {
                return self.with(|store| store.merge_with(level, &mut |_| ()).is_ok());
            }
            Operation::Check => return self.check_some(),
            Operation::LosePower => return self.lose_power(),
            Operation::EndFault => None,
            Operation::FailChange(calls) => {
                Some(Fault::Change(changes + calls, ErrorKind::StorageFull))
            }
            Operation::FailChangesFrom(calls) => {
                Some(Fault::ChangesFrom(changes + calls, ErrorKind::Other))
            }
            Operation::FailRead(calls) => {
                Some(Fault::Read(self.disk.reads() + calls, ErrorKind::Other))
            }
            Operation::CutPower(calls) => Some(Fault::PowerCut(changes + calls)),
        };
        self.disk.set_fault(fault);
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
            store.put(last_batch()).is_ok(),
            "the store recovers with its disk"
        );
    }
}
