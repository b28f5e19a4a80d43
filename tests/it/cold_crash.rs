//! Durability of acknowledged writes: power cuts at every call that changes something, on a disk
//! that loses, tears and reorders unsynced data, and failures of single calls. If
//! `cold_storage_sync` is `interval` or `never`, a write counts as acknowledged once a sync has
//! returned.

#![expect(clippy::unwrap_used, reason = "a failed operation fails the test")]

use astreum_core::atom::{Atom, AtomId};
use astreum_node::config::ColdStorageSync;
use astreum_node::store::cold::{ColdError, ColdOptions, ColdStore};
use astreum_node::store::disk::Disk as _;
use astreum_tests::random::Random;
use astreum_tests::sim;
use astreum_tests::sim::disk::{Fault, SimDisk};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

const ROOT: &str = "/store";
const CUTS: u64 = 10_000;

type Atoms = Vec<(AtomId, Atom)>;

fn open(disk: &SimDisk) -> Result<ColdStore, ColdError> {
    open_with(disk, ColdStorageSync::Always)
}

fn open_with(disk: &SimDisk, sync: ColdStorageSync) -> Result<ColdStore, ColdError> {
    let options = ColdOptions {
        level_size_bytes: 200,
        limit_bytes: 0,
        sync,
        mapped: false,
        background: false,
    };
    ColdStore::open_on(Arc::new(disk.clone()), Path::new(ROOT), options)
}

fn batch(seed: u64, number: u64) -> Atoms {
    sim::batch(seed ^ (number << 32))
}

/// Inserts, collates, merges and reopens, and records acknowledged atoms: deferred ones as soon as a
/// sync or another write has returned. Ends at the first error.
fn work(
    disk: &SimDisk,
    seed: u64,
    batches: u64,
    acknowledged: &mut Atoms,
) -> Result<(), ColdError> {
    let mut store = open(disk)?;
    let mut deferred = Atoms::new();
    for number in 0..batches {
        let atoms = batch(seed, number);
        match number % 4 {
            1 => {
                store.put_deferred(&atoms)?;
                deferred = atoms;
            }
            2 => {
                // Nothing is written, but the caller may rely on the atom.
                store.put(deferred.get(..1).unwrap_or_default())?;
                acknowledged.append(&mut deferred);
                store.put(&atoms)?;
                acknowledged.extend(atoms);
            }
            3 => {
                store.put_deferred(&atoms)?;
                store.sync()?;
                acknowledged.extend(atoms);
            }
            _ => {
                store.put(&atoms)?;
                acknowledged.extend(atoms);
            }
        }
        store.maintain()?;
        if number % 8 == 7 {
            drop(store);
            store = open(disk)?;
        }
    }
    Ok(())
}

fn assert_holds(store: &ColdStore, atoms: &Atoms, what: &str) {
    for (id, atom) in atoms {
        match store.get(id) {
            Ok(found) => assert_eq!(found.as_ref(), Some(atom), "{what}"),
            Err(error) => panic!("{what}: {error}"),
        }
    }
}

/// A reference node fails on an index without its data, so a power cut must not leave one.
fn assert_no_index_without_data(disk: &SimDisk, what: &str) {
    for level in 1..9 {
        let dir = Path::new(ROOT).join(format!("level_{level}"));
        let names: Vec<_> = disk.list(&dir).unwrap().into_iter().collect();
        for entry in &names {
            let Some(number) = entry.name.strip_suffix("_index") else {
                continue;
            };
            let data = format!("{number}_data");
            let there = names.iter().any(|other| other.name == data);
            assert!(
                there,
                "{what}: level {level} has {} and no {data}",
                entry.name
            );
        }
    }
}

/// Files that the store does not know occupy space that its limit does not count.
fn assert_nothing_is_left_over(disk: &SimDisk, store: &ColdStore, what: &str) {
    let names = |dir: &Path| disk.list(dir).unwrap_or_default();
    let root = Path::new(ROOT);
    let journals = names(root)
        .into_iter()
        .filter(|entry| entry.name.starts_with("journal-"));
    let mut files = vec![journals.count() as u64];
    for level in 1..9 {
        files.push(names(&root.join(format!("level_{level}"))).len() as u64);
    }
    for (level, files) in (0_u32..).zip(files) {
        let known = store
            .stats()
            .levels
            .into_iter()
            .find(|it| it.level == level);
        let known = known.map_or(0, |it| it.files * if level == 0 { 1 } else { 3 });
        assert_eq!(files, known, "{what}: files of level {level}");
    }
}

/// Checks that only the end of a journal is found damaged after a power cut. Data without an index
/// is recognized as left over, or is absent.
fn assert_only_tails(store: &ColdStore, what: &str) {
    for damage in store.stats().damages {
        let path = damage.path.to_string_lossy().into_owned();
        assert!(path.contains("journal-"), "{what}: {damage}");
    }
}

#[test]
fn acknowledged_writes_survive_a_power_cut_at_every_call() {
    let (mut cuts, mut seed, mut deepest) = (0, 0, 0);
    while cuts < CUTS {
        seed += 1;
        let disk = SimDisk::new();
        disk.set_fault(None);
        let mut acknowledged = Atoms::new();
        work(&disk, seed, 24, &mut acknowledged).unwrap();
        let calls = disk.changes();
        deepest = deepest.max(open(&disk).unwrap().stats().levels.len());
        assert!(calls > 200);
        for cut in 0..calls {
            cut_at(seed, cut);
            cuts += 1;
        }
    }
    assert!(deepest >= 4, "level 3 is not reached: {deepest}");
}

fn cut_at(seed: u64, cut: u64) {
    let what = format!("seed {seed}, cut at call {cut}");
    let mut random = Random::new(seed.rotate_left(40) ^ cut);
    let mut disk = SimDisk::new();
    disk.set_fault(Some(Fault::PowerCut(cut)));
    let mut acknowledged = Atoms::new();
    // The cut may occur in a call whose failure is only reported.
    let worked = work(&disk, seed, 24, &mut acknowledged);
    assert!(worked.is_err() || disk.is_off(), "{what}");
    // The recovery is interrupted as well, sometimes several times.
    disk = disk.after_power_cut(&mut random);
    assert_no_index_without_data(&disk, &what);
    while random.below(2) == 0 {
        disk.set_fault(Some(Fault::PowerCut(random.next() % 12)));
        let again = work(&disk, !seed, 2, &mut acknowledged);
        if again.is_ok() && !disk.is_off() {
            break;
        }
        disk = disk.after_power_cut(&mut random);
        assert_no_index_without_data(&disk, &what);
    }
    disk.set_fault(None);
    let store = open(&disk).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_holds(&store, &acknowledged, &what);
    assert_only_tails(&store, &what);
    if random.below(4) == 0 {
        store.collate().unwrap();
        store.merge_with(1, &mut |_| ()).unwrap();
        store.maintain().unwrap();
        assert_holds(&store, &acknowledged, &what);
        assert_eq!(store.verify(&mut |_| ()).unwrap().damaged, 0, "{what}");
    }
}

/// Every call fails once, with the disk full, broken or read-only.
#[test]
fn failed_call_loses_nothing_and_the_store_continues() {
    let clean = SimDisk::new();
    work(&clean, 7, 16, &mut Atoms::new()).unwrap();
    for kind in [
        ErrorKind::StorageFull,
        ErrorKind::Other,
        ErrorKind::ReadOnlyFilesystem,
    ] {
        for at in 0..clean.changes() {
            fail_once(Fault::Change(at, kind));
        }
    }
    for at in 0..clean.reads() {
        fail_once(Fault::Read(at, ErrorKind::Other));
    }
}

fn fail_once(fault: Fault) {
    let what = format!("{fault:?}");
    let disk = SimDisk::new();
    disk.set_fault(Some(fault));
    let mut acknowledged = Atoms::new();
    let mut store = open(&disk);
    for number in 0..16 {
        let Ok(opened) = &store else {
            // It failed while opening; the second attempt succeeds.
            store = open(&disk);
            continue;
        };
        let atoms = batch(7, number);
        if opened.put(&atoms).is_ok() {
            acknowledged.extend(atoms);
        } else {
            // The next attempt succeeds, and reads continued to work.
            assert_holds(opened, &acknowledged, &what);
            opened
                .put(&atoms)
                .unwrap_or_else(|error| panic!("{what}: {error}"));
            acknowledged.extend(atoms);
        }
        if opened.maintain().is_err() {
            opened
                .maintain()
                .unwrap_or_else(|error| panic!("{what}: {error}"));
        }
        // The check reads as well, and would encounter the failure of a read.
        if matches!(fault, Fault::Change(..)) {
            assert_nothing_is_left_over(&disk, opened, &what);
        }
        if number % 8 == 7 {
            drop(store);
            store = open(&disk);
        }
    }
    disk.set_fault(None);
    drop(store);
    assert_holds(&open(&disk).unwrap(), &acknowledged, &what);
    // Nor after a power cut: writes acknowledged after a failure are as durable as before.
    let disk = disk.after_power_cut(&mut Random::new(1));
    assert_holds(&open(&disk).unwrap(), &acknowledged, &what);
}

#[test]
fn full_disk_refuses_writes_serves_reads_and_recovers() {
    let disk = SimDisk::new();
    let mut acknowledged = Atoms::new();
    work(&disk, 3, 5, &mut acknowledged).unwrap();
    let store = open(&disk).unwrap();
    disk.set_fault(Some(Fault::ChangesFrom(0, ErrorKind::StorageFull)));
    for number in 100..120 {
        let error = store.put(&batch(3, number)).unwrap_err();
        assert!(matches!(
            error,
            ColdError::Io {
                kind: ErrorKind::StorageFull,
                ..
            }
        ));
        assert!(error.to_string().contains("journal-"), "{error}");
        assert_eq!(store.stats().write_failure, Some(error.to_string()));
        assert_holds(&store, &acknowledged, "full");
    }
    let unkept = batch(3, 100);
    assert_eq!(store.get(&unkept[0].0), Ok(None));
    disk.set_fault(None);
    store.put(&unkept).unwrap();
    assert_eq!(store.stats().write_failure, None);
    acknowledged.extend(unkept);
    drop(store);
    let disk = disk.after_power_cut(&mut Random::new(5));
    assert_holds(&open(&disk).unwrap(), &acknowledged, "after");
}

#[test]
fn read_only_directory_is_served() {
    let disk = SimDisk::new();
    let mut acknowledged = Atoms::new();
    work(&disk, 4, 12, &mut acknowledged).unwrap();
    disk.set_fault(Some(Fault::ChangesFrom(0, ErrorKind::ReadOnlyFilesystem)));
    let store = open(&disk).unwrap();
    assert_holds(&store, &acknowledged, "read-only");
    assert!(store.put(&batch(4, 99)).is_err());
    assert!(store.stats().write_failure.is_some());
}

/// Puts, syncs, collates, merges and reopens under a policy that does not sync every write, with
/// failures. A write counts as synced once a sync, or a clean shutdown, has returned.
fn work_unsynced(disk: &SimDisk, sync: ColdStorageSync, seed: u64, synced: &mut Atoms) {
    let mut random = Random::new(seed);
    let mut written = Atoms::new();
    let Ok(mut store) = open_with(disk, sync) else {
        return;
    };
    for number in 0..24 {
        let atoms = batch(seed, number);
        if store.put(&atoms).is_ok() {
            written.extend(atoms);
        }
        match random.below(8) {
            0 => drop(store.collate()),
            1 => drop(store.maintain()),
            2 | 3 if store.sync().is_ok() => synced.append(&mut written),
            4 => {
                drop(store);
                let Ok(opened) = open_with(disk, sync) else {
                    return;
                };
                store = opened;
            }
            _ => {}
        }
        if disk.is_off() {
            return;
        }
    }
}

#[test]
fn synced_writes_survive_failures_and_a_power_cut_under_every_policy() {
    let (mut cuts, mut counted) = (0, 0);
    for sync in [
        ColdStorageSync::Interval,
        ColdStorageSync::Never,
        ColdStorageSync::Always,
    ] {
        for seed in 0..1_200_u64 {
            let mut random = Random::new(seed ^ 0x5eed);
            let disk = SimDisk::new();
            // A failure, followed some calls later by the power cut; or the cut alone.
            let at = random.next() % 120;
            let kind = [ErrorKind::StorageFull, ErrorKind::Other][random.below(2)];
            let faults = [
                Fault::Change(at, kind),
                Fault::ChangesBetween(at, at + random.next() % 12, kind),
                Fault::Sync(random.next() % 20, kind),
            ];
            let fault = faults[random.below(3)];
            let cut = at + random.next() % 120;
            disk.set_faults(&[fault, Fault::PowerCut(cut)]);
            let mut synced = Atoms::new();
            work_unsynced(&disk, sync, seed, &mut synced);
            cuts += u64::from(disk.is_off());
            counted += synced.len();
            let what = format!("{sync:?}, seed {seed}, {fault:?}, cut at call {cut}");
            let disk = disk.after_power_cut(&mut random);
            let store = open_with(&disk, sync).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_holds(&store, &synced, &what);
        }
    }
    assert!(
        cuts > 2_000 && counted > 50_000,
        "{cuts} cuts, {counted} atoms"
    );
}

/// A sync that succeeds has forced all data, including that of a failed write or a failed
/// collation.
#[test]
fn sync_forces_journals_that_a_failure_left_behind() {
    type Fail = fn(&ColdStore);
    let failures: [(&str, Fail); 3] = [
        ("no failure", |_| ()),
        ("a write", |store| assert!(store.put(&batch(9, 2)).is_err())),
        ("a collation", |store| assert!(store.collate().is_err())),
    ];
    for sync in [ColdStorageSync::Interval, ColdStorageSync::Never] {
        for (name, fail) in failures {
            let disk = SimDisk::new();
            let store = open_with(&disk, sync).unwrap();
            store.put(&batch(9, 0)).unwrap();
            store.sync().unwrap();
            let atoms = batch(9, 1);
            store.put(&atoms).unwrap();
            if name != "no failure" {
                disk.set_fault(Some(Fault::ChangesFrom(0, ErrorKind::StorageFull)));
            }
            fail(&store);
            disk.set_fault(None);
            store.sync().unwrap();
            for seed in 0..100 {
                let what = format!("{sync:?}, failure of {name}, cut {seed}");
                let disk = disk.after_power_cut(&mut Random::new(seed));
                assert_holds(&open_with(&disk, sync).unwrap(), &atoms, &what);
            }
        }
    }
}

/// After a failed sync the system may have dropped unwritten data: a second sync that succeeds
/// proves nothing, and the atoms are written again.
#[test]
fn failed_sync_is_not_trusted_the_second_time() {
    for sync in [ColdStorageSync::Interval, ColdStorageSync::Never] {
        let disk = SimDisk::new();
        let store = open_with(&disk, sync).unwrap();
        let atoms = batch(11, 0);
        store.put(&atoms).unwrap();
        disk.set_fault(Some(Fault::Sync(0, ErrorKind::Other)));
        store.sync().unwrap();
        // In a pair, not in the journal whose sync failed.
        let stats = store.stats();
        assert_eq!((stats.levels[0].files, stats.levels[1].files), (0, 1));
        let disk = disk.after_power_cut(&mut Random::new(3));
        assert_holds(&open_with(&disk, sync).unwrap(), &atoms, "after the cut");
    }
}

#[test]
fn deferred_writes_survive_the_failed_sync_of_a_later_write() {
    let disk = SimDisk::new();
    let store = open(&disk).unwrap();
    let deferred = batch(13, 0);
    store.put_deferred(&deferred).unwrap();
    disk.set_fault(Some(Fault::Sync(0, ErrorKind::Other)));
    assert!(store.put(&batch(13, 1)).is_err());
    store.sync().unwrap();
    let disk = disk.after_power_cut(&mut Random::new(5));
    assert_holds(&open(&disk).unwrap(), &deferred, "after the cut");
}

/// A clean shutdown syncs under every policy.
#[test]
fn closing_syncs_under_every_policy() {
    for sync in [ColdStorageSync::Interval, ColdStorageSync::Never] {
        let disk = SimDisk::new();
        let atoms = batch(12, 0);
        open_with(&disk, sync).unwrap().put(&atoms).unwrap();
        let disk = disk.after_power_cut(&mut Random::new(4));
        assert_holds(&open_with(&disk, sync).unwrap(), &atoms, "closed");
    }
}
