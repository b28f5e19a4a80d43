//! Detection of a store to which little is written: its level 0 is collated before it is full, so
//! that the memory of the index is free while nothing happens.

use super::Inner;
use core::sync::atomic::Ordering;
use core::time::Duration;
use std::time::Instant;

/// Memory of the index of level 0 from which on a quiet store is collated, in bytes: some 150,000
/// atoms.
const INDEX_BYTES: u64 = 8 << 20;
/// Number of atoms from which on a store that receives them between two checks, a second apart, is
/// busy. A chain without transactions writes 33 atoms with each block.
const BUSY_ATOMS: u64 = 1_000;
/// Time without such a second after which a store is quiet.
const QUIET_AFTER: Duration = Duration::from_secs(10);

/// Observation of the writes. A store is quiet when it is opened.
#[derive(Debug, Default)]
pub(super) struct Writes {
    /// Number of atoms of level 0 at the last check.
    atoms: Option<u64>,
    busy_at: Option<Instant>,
}

impl Writes {
    /// Checks the number of atoms of level 0; returns whether the store is quiet.
    fn check(&mut self, now: Instant, atoms: u64) -> bool {
        // A collation changes the number as well, and is itself a reason to wait.
        let before = self.atoms.replace(atoms);
        if before.is_some_and(|before| before.abs_diff(atoms) >= BUSY_ATOMS) {
            self.busy_at = Some(now);
        }
        self.busy_at
            .is_none_or(|busy_at| now.duration_since(busy_at) >= QUIET_AFTER)
    }
}

impl Inner {
    /// Checks what was written since the last check.
    pub(super) fn check_writes(&self, writes: &mut Writes, now: Instant) {
        let snapshot = self.snapshot.load();
        let atoms = snapshot.segments.iter().map(|it| it.atoms()).sum();
        let is_quiet = writes.check(now, atoms);
        self.is_quiet.store(is_quiet, Ordering::Relaxed);
    }

    /// Returns whether the store is quiet and the index of level 0 takes much memory.
    pub(super) fn is_quiet_collation_due(&self) -> bool {
        let index_bytes = || {
            let snapshot = self.snapshot.load();
            let segments = snapshot.segments.iter();
            segments.map(|it| it.memory_bytes()).sum::<u64>()
        };
        self.is_quiet.load(Ordering::Relaxed) && index_bytes() >= INDEX_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ColdOptions, ColdStore};
    use super::*;
    use crate::config::ColdStorageSync;
    use astreum_core::atom::{Atom, AtomId};

    #[test]
    fn store_is_quiet_at_first_and_some_time_after_many_writes() {
        let start = Instant::now();
        let at = |second: u64| start + Duration::from_secs(second);
        let mut writes = Writes::default();
        assert!(writes.check(at(0), 200_000), "as it was found");
        assert!(writes.check(at(1), 200_999));
        assert!(!writes.check(at(2), 201_999));
        assert!(!writes.check(at(11), 202_000));
        assert!(writes.check(at(12), 202_001));
        assert!(!writes.check(at(13), 0), "collated");
        assert!(writes.check(at(23), 33));
    }

    #[test]
    fn index_of_a_quiet_store_is_collated_at_its_start() {
        let scratch = tempfile::tempdir().unwrap();
        let options = ColdOptions {
            level_size_bytes: 1 << 30,
            limit_bytes: 0,
            sync: ColdStorageSync::Never,
            mapped: true,
            background: false,
        };
        let atoms = (0..160_000_u32).map(|n| Atom::bytes(n.to_be_bytes()));
        let atoms: Vec<(AtomId, Atom)> = atoms.map(|atom| (atom.id(), atom)).collect();
        for few in [true, false] {
            let dir = scratch.path().join(few.to_string());
            let atoms = if few { &atoms[..10_000] } else { &atoms[..] };
            let store = ColdStore::open(&dir, options).unwrap();
            store.put(atoms).unwrap();
            store.maintain().unwrap();
            assert_eq!(store.inner.snapshot.load().pairs().count(), 0);
            drop(store);
            let background = true;
            let store = ColdStore::open(
                &dir,
                ColdOptions {
                    background,
                    ..options
                },
            )
            .unwrap();
            let waiting = || {
                let segments = &store.inner.snapshot.load().segments;
                segments.iter().map(|it| it.atoms()).sum::<u64>()
            };
            let until = Instant::now() + Duration::from_secs(if few { 3 } else { 60 });
            while waiting() > 0 && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(10));
            }
            assert_eq!(waiting(), if few { 10_000 } else { 0 });
            for (id, atom) in atoms.iter().step_by(997) {
                assert_eq!(store.get(id).unwrap().as_ref(), Some(atom));
            }
        }
    }
}
