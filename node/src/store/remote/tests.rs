//! Tests of cold stores whose pairs are in an object store in memory, which fails on request.

mod memory;

use super::{ObjectsError, RemoteError, RemoteOptions, open};
use crate::config::ColdStorageSync;
use crate::store::cold::{ColdError, ColdOptions, ColdStore};
use crate::store::disk::{ReadOnlyDisk, SystemDisk};
use astreum_core::atom::{Atom, AtomId};
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use memory::{Fault, MemoryObjects};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

const URL: &str = "s3://bucket/prefix";

fn atom(n: u32) -> (AtomId, Atom) {
    let atom = Atom::bytes(n.to_be_bytes().repeat(5));
    (atom.id(), atom)
}

fn atoms(numbers: core::ops::Range<u32>) -> Vec<(AtomId, Atom)> {
    numbers.map(atom).collect()
}

fn cold_options() -> ColdOptions {
    ColdOptions {
        level_size_bytes: 4_096,
        limit_bytes: 0,
        sync: ColdStorageSync::Never,
        mapped: true,
        background: false,
    }
}

/// Nodes with local directories of their own, and one object store.
struct World {
    scratch: TempDir,
    objects: Arc<MemoryObjects>,
    lease: Duration,
    cache_limit_bytes: u64,
}

impl World {
    fn new() -> Self {
        Self {
            scratch: tempfile::tempdir().unwrap(),
            objects: Arc::default(),
            lease: Duration::from_hours(1),
            cache_limit_bytes: 64 << 20,
        }
    }

    fn root(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn options(&self) -> RemoteOptions {
        RemoteOptions {
            url: URL.into(),
            cache_limit_bytes: self.cache_limit_bytes,
            lease: self.lease,
            is_read_only: false,
        }
    }

    fn try_open(&self, name: &str) -> Result<ColdStore, String> {
        let root = self.root(name);
        let objects = Arc::clone(&self.objects);
        let disk = open(objects, Arc::new(SystemDisk), &root, self.options());
        let disk = disk.map_err(|error| error.to_string())?;
        ColdStore::open_on(disk, &root, cold_options()).map_err(|error| error.to_string())
    }

    fn open(&self, name: &str) -> ColdStore {
        self.try_open(name).unwrap()
    }

    /// Opens a store after the manifest was put back.
    fn open_after(&self, name: &str, manifest: &[u8]) -> ColdStore {
        self.objects.replace("manifest.json", manifest.to_vec());
        self.open(name)
    }

    /// Checks that every object that the manifest refers to exists, and returns the manifest.
    fn check(&self) -> super::manifest::Manifest {
        let bytes = self.objects.object("manifest.json").unwrap_or_default();
        if bytes.is_empty() {
            return Default::default();
        }
        let manifest = super::manifest::Manifest::parse(&bytes).unwrap();
        for pair in &manifest.pairs {
            for key in pair.keys() {
                assert!(self.objects.object(&key).is_some(), "{key} is missing");
            }
        }
        manifest
    }
}

fn assert_holds(store: &ColdStore, numbers: core::ops::Range<u32>) {
    for (id, atom) in atoms(numbers) {
        assert_eq!(store.get(&id), Ok(Some(atom)));
    }
}

#[test]
fn pairs_outlive_the_node_and_other_nodes_read_them() {
    let world = World::new();
    let store = world.open("a");
    store.put(&atoms(0..300)).unwrap();
    assert!(store.collate().unwrap());
    assert_holds(&store, 0..300);
    let level = &store.stats().levels[1];
    assert_eq!((level.level, level.files, level.atoms), (1, 1, 300));
    // No file of the pair is left on the local disk.
    assert_eq!(
        fs::read_dir(world.root("a").join("level_1"))
            .unwrap()
            .count(),
        0
    );
    drop(store);
    let store = world.open("a");
    assert_holds(&store, 0..300);
    // Another node reads the pairs, and sees those that follow.
    let reader = world.open("b");
    assert_holds(&reader, 0..300);
    store.put(&atoms(300..400)).unwrap();
    store.collate().unwrap();
    assert_eq!(reader.get(&atom(399).0), Ok(None));
    assert!(reader.refresh_shared().unwrap());
    assert!(!reader.refresh_shared().unwrap());
    assert_holds(&reader, 0..400);
    // Merges replace what the reader has open, which it can continue to read.
    assert!(store.merge_with(1, &mut |_| ()).unwrap());
    assert_holds(&reader, 0..400);
    reader.refresh_shared().unwrap();
    assert_holds(&reader, 0..400);
    let manifest = world.check();
    assert_eq!((manifest.pairs.len(), manifest.retired.len()), (1, 2));
    assert_eq!(manifest.writer, None);
    // Both write.
    reader.put(&atoms(400..500)).unwrap();
    reader.collate().unwrap();
    store.refresh_shared().unwrap();
    assert_holds(&store, 0..500);
    assert_eq!(store.stats().object_store_problems, [] as [&str; 0]);
}

#[test]
fn known_pairs_open_without_their_indexes() {
    let world = World::new();
    let store = world.open("a");
    store.put(&atoms(0..3_000)).unwrap();
    store.collate().unwrap();
    let before = world.objects.read_bytes();
    let reader = world.open("b");
    let first = world.objects.read_bytes() - before;
    // The manifest and the fingerprint index; the index alone has 480,000 bytes.
    assert!(first < 20_000, "{first}");
    drop(reader);
    let before = world.objects.read_bytes();
    let reader = world.open("b");
    let second = world.objects.read_bytes() - before;
    assert!(second < 2_000, "{second}");
    assert_holds(&reader, 0..3_000);
    assert_eq!(reader.get(&atom(3_000).0), Ok(None));
    // A fingerprint index that is damaged, on the disk and in the store, is rebuilt.
    drop(reader);
    let dir = world.root("b").join("fingerprints");
    for entry in fs::read_dir(&dir).unwrap() {
        fs::write(entry.unwrap().path(), "damaged").unwrap();
    }
    world.objects.damage("_fingerprints", 60);
    assert_holds(&world.open("b"), 0..3_000);
    for entry in fs::read_dir(&dir).unwrap() {
        assert!(entry.unwrap().metadata().unwrap().len() > 5_000);
    }
}

#[test]
fn writes_are_acknowledged_while_the_store_is_unreachable_and_uploaded_later() {
    let world = World::new();
    let store = world.open("a");
    store.put(&atoms(0..100)).unwrap();
    store.collate().unwrap();
    world.objects.set(Some(Fault::Down));
    store.put(&atoms(100..200)).unwrap();
    let error = store.collate().unwrap_err().to_string();
    assert!(error.contains("not available: down"), "{error}");
    assert_holds(&store, 100..200);
    let problems = store.stats().object_store_problems;
    assert!(problems[0].contains("s3://bucket/prefix"), "{problems:?}");
    assert!(problems[0].contains("down"), "{problems:?}");
    drop(store);
    // A node that cannot load the manifest does not start.
    let error = world.try_open("a").unwrap_err();
    assert!(error.contains("not available: down"), "{error}");
    world.objects.set(None);
    let store = world.open("a");
    assert_holds(&store, 0..200);
    assert!(store.collate().unwrap());
    assert_holds(&store, 0..200);
    assert_eq!(store.stats().object_store_problems, [] as [&str; 0]);
    assert_holds(&world.open("b"), 0..200);
}

#[test]
fn node_does_not_start_without_the_index_of_a_pair() {
    let world = World::new();
    let store = world.open("a");
    store.put(&atoms(0..100)).unwrap();
    store.collate().unwrap();
    // The manifest is loaded, and nothing else.
    world.objects.fail_from(1);
    let error = world.try_open("b").unwrap_err();
    assert!(error.contains("cannot open the pair"), "{error}");
    world.objects.heal();
    let reader = world.open("b");
    // A running node continues with the pairs that it knows.
    store.put(&atoms(100..200)).unwrap();
    store.collate().unwrap();
    world.objects.fail_from(1);
    let error = reader.refresh_shared().unwrap_err().to_string();
    assert!(error.contains("down"), "{error}");
    world.objects.heal();
    std::thread::sleep(Duration::from_millis(150));
    assert_holds(&reader, 0..100);
    assert!(reader.refresh_shared().unwrap());
    assert_holds(&reader, 0..200);
}

#[test]
fn read_that_fails_for_the_network_is_an_error_and_not_an_absence() {
    let world = World::new();
    let store = world.open("a");
    store.put(&atoms(0..100)).unwrap();
    store.collate().unwrap();
    let faults = [
        (Fault::Down, "down"),
        (Fault::Partial, "of 262144 bytes"),
        (Fault::Denied, "access denied"),
    ];
    for (fault, expected) in faults {
        let reader = world.open(expected);
        world.objects.set(Some(fault));
        let error = reader.get(&atom(7).0).unwrap_err().to_string();
        assert!(
            error.contains(expected) || fault == Fault::Partial && error.contains("arrived"),
            "{error}"
        );
        // It is certain that this one is not stored, without the network.
        assert_eq!(reader.get(&atom(1_000).0), Ok(None));
        // Nothing counts as damaged, and nothing is repaired.
        let stats = reader.stats();
        assert_eq!((stats.damages.len(), stats.set_aside.len()), (0, 0));
        assert!(!stats.object_store_problems.is_empty());
        // What is stored is not known, so that a write is not skipped.
        reader.put(&[atom(7)]).unwrap();
        assert_holds(&reader, 7..8);
        world.objects.set(None);
        // Reads are refused for a moment after a failure.
        std::thread::sleep(Duration::from_millis(150));
        assert_holds(&reader, 0..100);
        // With the blocks in the cache, the network is not needed.
        world.objects.set(Some(Fault::Down));
        assert_holds(&reader, 0..100);
        world.objects.set(None);
        assert_holds(&reader, 0..100);
    }
}

#[test]
fn writer_that_lost_its_lease_harms_nothing() {
    let mut world = World::new();
    world.lease = Duration::ZERO;
    let (a, b) = (world.open("a"), world.open("b"));
    a.put(&atoms(0..100)).unwrap();
    a.collate().unwrap();
    a.put(&atoms(100..200)).unwrap();
    b.put(&atoms(200..300)).unwrap();
    // While the first one uploads, the other one takes the lease, and merges.
    let other = b.clone();
    let taken = Arc::new(AtomicBool::new(false));
    let is_taken = Arc::clone(&taken);
    world.objects.on_upload(move || {
        if !is_taken.swap(true, Ordering::SeqCst) {
            other.collate().unwrap();
            other.merge_with(1, &mut |_| ()).unwrap();
        }
    });
    let error = a.collate().unwrap_err().to_string();
    assert!(error.contains("lease was lost"), "{error}");
    assert!(taken.load(Ordering::SeqCst));
    let problems = a.stats().object_store_problems;
    assert!(
        problems.iter().any(|it| it.contains("lease was lost")),
        "{problems:?}"
    );
    // Nothing is lost on either side, and the object store has only what the other one wrote.
    assert_holds(&a, 0..200);
    assert_holds(&b, 0..100);
    assert_holds(&b, 200..300);
    assert_eq!(b.get(&atom(150).0), Ok(None));
    let manifest = world.check();
    assert_eq!(manifest.pairs.len(), 1);
    assert!(world.objects.keys().len() > manifest.keys().len() + 1);
    // It continues, and the problem ends.
    assert!(a.collate().unwrap());
    assert_holds(&a, 0..300);
    assert_eq!(a.stats().object_store_problems, [] as [&str; 0]);
    b.refresh_shared().unwrap();
    assert_holds(&b, 0..300);
    // What the lost turn had uploaded is deleted by a later writer.
    let c = world.open("c");
    c.put(&atoms(300..310)).unwrap();
    c.collate().unwrap();
    let manifest = world.check();
    assert_eq!(world.objects.keys().len(), manifest.keys().len() + 1);
    assert_holds(&c, 0..310);
}

#[test]
fn lease_of_another_node_is_respected_until_it_ends() {
    let mut world = World::new();
    let (a, b) = (world.open("a"), world.open("b"));
    a.put(&atoms(0..100)).unwrap();
    b.put(&atoms(100..200)).unwrap();
    let other = b.clone();
    world.objects.on_upload(move || {
        let error = other.collate().unwrap_err();
        assert!(matches!(error, ColdError::NotOurTurn { .. }), "{error}");
    });
    a.collate().unwrap();
    world.objects.on_upload(|| ());
    b.collate().unwrap();
    drop((a, b));
    assert_eq!(world.check().pairs.len(), 2);
    // A writer that ends without giving up its lease: the same directory takes it over at once.
    let a = world.open("a");
    a.put(&atoms(200..300)).unwrap();
    world.objects.fail_from(2);
    assert!(a.collate().is_err());
    drop(a);
    world.objects.heal();
    assert!(world.check().writer.is_some());
    let b = world.open("b");
    b.put(&atoms(300..400)).unwrap();
    let error = b.collate().unwrap_err();
    assert!(matches!(error, ColdError::NotOurTurn { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("the lease") && text.contains("120 s"),
        "{text}"
    );
    assert!(world.open("a").collate().unwrap());
    drop(b);
    // Another directory, after the time of the lease.
    let a = world.open("a");
    a.put(&atoms(400..500)).unwrap();
    world.objects.fail_from(2);
    assert!(a.collate().is_err());
    drop(a);
    world.objects.heal();
    world.lease = Duration::from_millis(300);
    let b = world.open("b");
    assert!(matches!(b.collate(), Err(ColdError::NotOurTurn { .. })));
    std::thread::sleep(Duration::from_millis(400));
    assert!(b.collate().unwrap());
    assert_holds(&b, 0..400);
    assert_holds(&world.open("a"), 0..500);
}

#[test]
fn lease_that_was_left_ends_when_the_directory_is_opened_again() {
    let world = World::new();
    let b = world.open("b");
    b.put(&atoms(0..50)).unwrap();
    b.collate().unwrap();
    b.put(&atoms(50..100)).unwrap();
    let a = world.open("a");
    a.put(&atoms(100..200)).unwrap();
    world.objects.fail_from(2);
    assert!(a.collate().is_err());
    drop(a);
    world.objects.heal();
    assert!(world.check().writer.is_some());
    let error = b.collate().unwrap_err();
    assert!(matches!(error, ColdError::NotOurTurn { .. }), "{error}");
    // Another process that finds the directory locked leaves the lease of the first one alone.
    let a = world.open("a");
    assert!(world.check().writer.is_none());
    let other = b.clone();
    let root = world.root("a");
    let (objects, options) = (Arc::clone(&world.objects), world.options());
    world.objects.on_upload(move || {
        let objects = Arc::clone(&objects);
        let disk = open(objects, Arc::new(SystemDisk), &root, options.clone()).unwrap();
        let second = ColdStore::open_on(disk, &root, cold_options());
        assert!(matches!(second, Err(ColdError::Locked { .. })));
        assert!(other.collate().is_err(), "the lease is lost");
    });
    assert!(a.collate().unwrap());
    world.objects.on_upload(|| ());
    assert!(b.collate().unwrap());
    assert_holds(&b, 0..200);
}

/// Every operation fails from one on, for each number of operations; then everything works again.
#[test]
fn interruption_at_any_request_loses_nothing() {
    for fault in [Fault::Down, Fault::LostAnswer, Fault::Late] {
        let mut interrupted = 0;
        for operations in 0.. {
            let world = World::new();
            let store = world.open("a");
            let mut next = 0;
            let mut more = |store: &ColdStore| {
                store.put(&atoms(next..next + 50)).unwrap();
                next += 50;
            };
            more(&store);
            store.collate().unwrap();
            more(&store);
            store.collate().unwrap();
            more(&store);
            world.objects.fail_as(operations, fault);
            let steps = [
                store.collate(),
                store.merge_with(1, &mut |_| ()),
                store.maintain().map(|()| true),
            ];
            let has_failed = steps.iter().any(Result::is_err);
            more(&store);
            drop(store);
            world.objects.heal();
            // Requests that were on their way arrive now, out of order.
            world.objects.deliver();
            world.check();
            let store = world.open("a");
            assert_holds(&store, 0..next);
            world.objects.deliver();
            store.put(&atoms(next..next + 50)).unwrap();
            store.collate().unwrap();
            store.merge_with(1, &mut |_| ()).unwrap();
            store.maintain().unwrap();
            assert_holds(&store, 0..next + 50);
            world.objects.deliver();
            let manifest = world.check();
            // No object is left that nothing refers to.
            assert_eq!(world.objects.keys().len(), manifest.keys().len() + 1);
            assert_holds(&world.open("b"), 0..next + 50);
            assert_eq!(store.stats().set_aside, []);
            if !has_failed {
                break;
            }
            interrupted += 1;
        }
        assert!(interrupted > 15, "{fault:?}: {interrupted}");
    }
}

#[test]
fn many_writers_take_turns_without_loss() {
    const ROUNDS: u32 = 25;
    let mut world = World::new();
    // So short that leases are lost all the time.
    world.lease = Duration::from_millis(1);
    let names = ["a", "b", "c"];
    std::thread::scope(|scope| {
        for (at, name) in names.iter().enumerate() {
            let store = world.open(name);
            let first = u32::try_from(at).unwrap() * 10_000;
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let start = first + round * 20;
                    store.put(&atoms(start..start + 20)).unwrap();
                    let _ = store.collate();
                    let _ = store.maintain();
                    assert_holds(&store, first..start + 20);
                }
                while store.collate() != Ok(false) {}
            });
        }
    });
    let manifest = world.check();
    assert!(manifest.epoch > u64::from(ROUNDS));
    let reader = world.open("d");
    for at in 0..3 {
        assert_holds(&reader, at * 10_000..at * 10_000 + ROUNDS * 20);
    }
    let verified = reader.verify(&mut |_| ()).unwrap();
    assert_eq!(verified.damaged, 0);
}

#[test]
fn reader_finds_atoms_whose_old_objects_are_gone() {
    let world = World::new();
    let store = world.open("a");
    store.put(&atoms(0..100)).unwrap();
    store.collate().unwrap();
    let reader = world.open("b");
    store.put(&atoms(100..200)).unwrap();
    store.collate().unwrap();
    store.merge_with(1, &mut |_| ()).unwrap();
    // As if the reader had been cut off for longer than old objects are kept.
    let manifest = world.check();
    for retired in &manifest.retired {
        for key in retired.pair.keys() {
            world.objects.remove(&key);
        }
    }
    assert_holds(&reader, 0..200);
    // An object that the manifest lists and that is gone is an error.
    let reader = world.open("c");
    for pair in &manifest.pairs {
        world.objects.remove(&pair.key(super::manifest::Kind::Data));
    }
    let error = reader.get(&atom(7).0).unwrap_err().to_string();
    assert!(error.contains("not found"), "{error}");
    assert_eq!(reader.get(&atom(1_000).0), Ok(None));
}

#[test]
fn damaged_cache_is_replaced_and_damaged_object_is_repaired() {
    let world = World::new();
    let store = world.open("a");
    store.put(&atoms(0..100)).unwrap();
    store.collate().unwrap();
    let reader = world.open("b");
    assert_holds(&reader, 0..100);
    // A block of the cache that changes after its checksum was compared.
    let cache = world.root("b").join("cache");
    let mut changed = 0;
    for entry in fs::read_dir(&cache).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        if path.to_string_lossy().contains("_data") {
            bytes.iter_mut().take(2_000).for_each(|byte| *byte ^= 1);
            changed += 1;
        }
        fs::write(path, bytes).unwrap();
    }
    assert_eq!(changed, 1);
    assert_holds(&reader, 0..100);
    assert_eq!(reader.stats().damages, []);
    reader.maintain().unwrap();
    assert_eq!(reader.stats().set_aside, []);
    drop(reader);
    // An object that another program has damaged.
    world.objects.damage("_data", 1_000);
    let reader = world.open("c");
    let readable = atoms(0..100).into_iter().filter(|(id, atom)| {
        let found = reader.get(id).unwrap();
        assert!(found.is_none() || found.as_ref() == Some(atom));
        found.is_some()
    });
    assert_eq!(readable.count(), 99);
    assert_eq!(reader.stats().damages.len(), 1);
    reader.maintain().unwrap();
    let stats = reader.stats();
    assert_eq!((stats.damages.len(), stats.set_aside.len()), (0, 1));
    assert_eq!(stats.set_aside[0].missing, 1);
    let aside = world.root("c").join("damaged");
    assert!(fs::read_dir(aside).unwrap().count() >= 2);
    reader.put(&atoms(0..100)).unwrap();
    assert_holds(&reader, 0..100);
    reader.collate().unwrap();
    world.check();
    assert_holds(&world.open("d"), 0..100);
}

#[test]
fn collation_leaves_out_what_other_nodes_have_uploaded() {
    let world = World::new();
    let (a, b) = (world.open("a"), world.open("b"));
    a.put(&atoms(0..100)).unwrap();
    b.put(&atoms(50..150)).unwrap();
    a.collate().unwrap();
    b.collate().unwrap();
    assert_eq!(b.stats().atoms, 150);
    assert_holds(&b, 0..150);
    b.put(&atoms(0..150)).unwrap();
    assert_eq!(b.collate(), Ok(false));
    a.put(&atoms(100..140)).unwrap();
    assert!(!a.collate().unwrap());
    assert_eq!(world.check().pairs.len(), 2);
    assert_holds(&a, 0..150);
}

#[test]
fn garbage_collection_is_refused_and_copies_work() {
    let world = World::new();
    let store = world.open("a");
    store.put(&atoms(0..100)).unwrap();
    store.collate().unwrap();
    store.put(&atoms(100..120)).unwrap();
    let error = store.begin_collection().unwrap_err();
    assert_eq!(error, ColdError::SharedPairs);
    assert!(error.to_string().contains("other nodes"), "{error}");
    assert_eq!(store.verify(&mut |_| ()).unwrap().atoms, 120);
    // A backup is a plain directory with everything.
    let to = world.root("backup");
    store.back_up(&to, &|| true).unwrap();
    let copy = ColdStore::open(&to, cold_options()).unwrap();
    assert_holds(&copy, 0..120);
    assert_eq!(copy.stats().damages, []);
    drop(copy);
    let exported = world.root("exported");
    store.export_reference(&exported, &mut |_| ()).unwrap();
    // And the other way.
    let other = World::new();
    let imported = other.open("a");
    let moved = imported.import(&to, &mut |_| ()).unwrap();
    assert_eq!(moved.atoms, 120);
    imported.maintain().unwrap();
    assert_holds(&imported, 0..120);
    drop(store);
    // A backup fails if a pair cannot be read.
    let store = world.open("b");
    world.objects.set(Some(Fault::Down));
    assert!(store.back_up(&world.root("second"), &|| true).is_err());
    assert!(ColdStore::open(&world.root("second"), cold_options()).is_err());
}

#[test]
fn local_directory_belongs_to_one_object_store() {
    let world = World::new();
    drop(world.open("a"));
    let error = ColdStore::open(&world.root("a"), cold_options()).unwrap_err();
    assert!(matches!(error, ColdError::OfObjectStore { .. }), "{error}");
    let options = RemoteOptions {
        url: "s3://bucket/other".into(),
        ..world.options()
    };
    let open_as = |root: &Path, options| {
        let objects = Arc::new(MemoryObjects::default());
        open(objects, Arc::new(SystemDisk), root, options).unwrap_err()
    };
    let error = open_as(&world.root("a"), options.clone());
    assert!(
        matches!(&error, RemoteError::OtherStore { url } if url == URL),
        "{error}"
    );
    // Pairs of a plain directory would be hidden.
    let plain = ColdStore::open(&world.root("plain"), cold_options()).unwrap();
    plain.put(&atoms(0..10)).unwrap();
    plain.collate().unwrap();
    drop(plain);
    let error = open_as(&world.root("plain"), options);
    assert!(error.to_string().contains("store import"), "{error}");
    // Reading changes nothing.
    let options = RemoteOptions {
        is_read_only: true,
        ..world.options()
    };
    let objects = Arc::clone(&world.objects);
    let root = world.root("a");
    let disk = open(objects, Arc::new(ReadOnlyDisk), &root, options).unwrap();
    let store = ColdStore::open_on(disk, &root, cold_options()).unwrap();
    assert!(store.put(&atoms(0..10)).is_err());
    assert_eq!(world.objects.keys().len(), 0);
}

#[test]
fn manifest_that_was_deleted_replaced_or_is_newer_is_refused() {
    let world = World::new();
    let store = world.open("a");
    let old = {
        store.put(&atoms(0..100)).unwrap();
        store.collate().unwrap();
        world.objects.object("manifest.json").unwrap()
    };
    store.put(&atoms(100..200)).unwrap();
    store.collate().unwrap();
    store.put(&atoms(200..300)).unwrap();
    let refused = |expected: &str| {
        let error = store.refresh_shared().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(store.collate().is_err());
        assert_holds(&store, 0..300);
    };
    let current = world.objects.object("manifest.json").unwrap();
    world.objects.replace("manifest.json", old);
    refused("went back");
    let newer = String::from_utf8(current.clone()).unwrap();
    let newer = newer.replace("store 1", "store 2").into_bytes();
    world.objects.replace("manifest.json", newer);
    refused("newer version");
    world.objects.remove("manifest.json");
    refused("another program has deleted it");
    // Neither a node that has seen it nor a new one begins another list.
    drop(store);
    let error = world.try_open("a").unwrap_err();
    assert!(
        error.contains("is missing, and this node has seen"),
        "{error}"
    );
    let new = world.open("new");
    new.put(&atoms(0..10)).unwrap();
    let error = new.collate().unwrap_err().to_string();
    assert!(
        error.contains("there are pairs, but no manifest"),
        "{error}"
    );
    drop(new);
    let store = world.open_after("a", &current);
    assert!(store.collate().unwrap());
    assert_holds(&world.open("b"), 0..300);
}

#[test]
fn errors_of_an_object_store_are_not_those_of_a_read_only_disk() {
    let denied: std::io::Error = ObjectsError::Denied("no".into()).into();
    assert!(!crate::store::disk::is_read_only(&denied));
    let gone: std::io::Error = ObjectsError::NotFound("x".into()).into();
    assert_eq!(gone.kind(), std::io::ErrorKind::NotFound);
}
