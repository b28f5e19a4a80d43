use super::*;
use crate::store::disk::ReadOnlyDisk;
use crate::store::journal::leftover_name;
use std::fs;

fn options() -> ColdOptions {
    ColdOptions {
        level_size_bytes: 4_096,
        limit_bytes: 0,
        sync: ColdStorageSync::Always,
        mapped: true,
        background: false,
    }
}

fn atoms(numbers: core::ops::Range<u32>) -> Vec<(AtomId, Atom)> {
    numbers
        .map(|n| Atom::bytes(n.to_be_bytes().repeat(5)))
        .map(|atom| (atom.id(), atom))
        .collect()
}

fn assert_holds(store: &ColdStore, atoms: &[(AtomId, Atom)]) {
    for (id, atom) in atoms {
        assert_eq!(store.get(id).unwrap().as_ref(), Some(atom));
    }
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn stored_atoms_survive_every_step_and_every_reopening() {
    for mapped in [true, false] {
        let scratch = tempfile::tempdir().unwrap();
        let options = ColdOptions {
            mapped,
            ..options()
        };
        let all = atoms(0..3_000);
        let mut store = ColdStore::open(scratch.path(), options).unwrap();
        for (at, batch) in all.chunks(100).enumerate() {
            store.put(batch).unwrap();
            store.maintain().unwrap();
            assert_holds(&store, &all[..(at + 1) * 100]);
            if at % 7 == 0 {
                drop(store);
                store = ColdStore::open(scratch.path(), options).unwrap();
                assert_holds(&store, &all[..(at + 1) * 100]);
            }
        }
        let stats = store.stats();
        assert!(stats.levels.len() >= 3, "{stats:?}");
        assert_eq!(stats.atoms, 3_000);
        assert_eq!(stats.damages, []);
        assert_eq!(store.get(&Atom::symbol("absent").id()), Ok(None));
        for level in 1..stats.levels.len() {
            let names = names(&store.inner.level_dir(u32::try_from(level).unwrap()));
            assert!(names.iter().all(|name| {
                ["_index", "_data", "_lengths"]
                    .iter()
                    .any(|end| name.ends_with(end))
            }));
        }
    }
}

#[test]
fn second_opener_is_refused_until_the_first_closes() {
    let scratch = tempfile::tempdir().unwrap();
    let store = ColdStore::open(scratch.path(), options()).unwrap();
    let error = ColdStore::open(scratch.path(), options()).unwrap_err();
    assert!(matches!(error, ColdError::Locked { .. }), "{error}");
    drop(store);
    ColdStore::open(scratch.path(), options()).unwrap();
}

#[test]
fn missing_directory_on_a_read_only_disk_cannot_be_created() {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path().join("cold");
    let opened = ColdStore::open_on(Arc::new(ReadOnlyDisk), &root, options());
    let error = opened.unwrap_err().to_string();
    assert!(error.contains("cannot create "), "{error}");
    assert!(error.contains("cold: read-only filesystem"), "{error}");
}

#[test]
fn newer_format_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    fs::write(scratch.path().join("FORMAT"), "astreum cold storage 2\n").unwrap();
    let error = ColdStore::open(scratch.path(), options()).unwrap_err();
    assert!(error.to_string().contains("cold storage 2"), "{error}");
}

#[test]
fn files_of_a_reference_node_are_read_and_collated() {
    let scratch = tempfile::tempdir().unwrap();
    let level_0 = scratch.path().join("level_0");
    fs::create_dir_all(&level_0).unwrap();
    let all = atoms(0..40);
    for (id, atom) in &all {
        fs::write(level_0.join(leftover_name(id)), atom.to_bytes()).unwrap();
    }
    fs::write(level_0.join("notes.txt"), "stray").unwrap();
    let store = ColdStore::open(scratch.path(), options()).unwrap();
    assert_holds(&store, &all);
    let stats = store.stats();
    assert_eq!((stats.levels[0].atoms, stats.damages.len()), (40, 1));
    assert!(store.collate().unwrap());
    assert_eq!(names(&level_0), ["notes.txt"]);
    assert_holds(&store, &all);
    assert_eq!(store.stats().levels[1].atoms, 40);
}

#[test]
fn limit_refuses_writes_and_removes_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    // Index and data with the number of entries, and the lengths file.
    let limit_bytes = 20 * (160 + 33 + 20) + 64 + 28 + 12 + 20 * 6;
    let options = ColdOptions {
        limit_bytes,
        ..options()
    };
    let store = ColdStore::open(scratch.path(), options).unwrap();
    let all = atoms(0..21);
    store.put(&all[..20]).unwrap();
    let error = store.put(&all[20..]).unwrap_err();
    assert!(matches!(error, ColdError::LimitReached { .. }), "{error}");
    assert!(error.to_string().contains("cold_storage_limit"));
    assert!(store.stats().is_full && store.stats().refuses_writes());
    store.collate().unwrap();
    assert!(store.stats().used_bytes <= limit_bytes);
    assert!(store.put(&all[20..]).is_err());
    // Storing an atom that is stored already is not a write.
    store.put(&all[..20]).unwrap();
    assert_holds(&store, &all[..20]);
    assert!(
        store.stats().is_full,
        "room for the refused write is needed"
    );
    store.set_limit(limit_bytes * 2);
    assert!(!store.stats().is_full, "there is room for it");
    store.set_limit(0);
    assert!(!store.stats().is_full);
    store.put(&all[20..]).unwrap();
    store.set_limit(limit_bytes);
    assert_holds(&store, &all);
    assert_eq!(store.stats().limit_bytes, limit_bytes);
    store.set_limit(1);
    assert!(store.stats().is_full, "the limit is exceeded");
}

#[test]
fn damaged_atom_is_reported_and_healed_by_storing_it_again() {
    let scratch = tempfile::tempdir().unwrap();
    let all = atoms(0..10);
    let store = ColdStore::open(scratch.path(), options()).unwrap();
    store.put(&all).unwrap();
    store.collate().unwrap();
    drop(store);
    let data_path = scratch.path().join("level_1/0_data");
    let mut data = fs::read(&data_path).unwrap();
    data[2 * 53 + 40] ^= 1;
    fs::write(&data_path, data).unwrap();
    let store = ColdStore::open(scratch.path(), options()).unwrap();
    let lost: Vec<_> = all
        .iter()
        .filter(|(id, _)| store.get(id).unwrap().is_none())
        .collect();
    assert_eq!(lost.len(), 1);
    let damages = store.stats().damages;
    assert_eq!((damages.len(), damages[0].offset), (1, 2 * 53));
    assert!(damages[0].path.ends_with("level_1/0_data"));
    store.put(&all).unwrap();
    assert_holds(&store, &all);
    store.collate().unwrap();
    store.merge_with(1, &mut |_| ()).unwrap();
    assert_holds(&store, &all);
    assert_eq!(
        store.verify(&mut |_| ()).unwrap(),
        Verified {
            atoms: 10,
            damaged: 0
        }
    );
}

#[test]
fn every_flipped_byte_of_a_small_store_costs_one_atom_at_most() {
    let scratch = tempfile::tempdir().unwrap();
    let all = atoms(0..6);
    let make = || {
        let _ = fs::remove_dir_all(scratch.path());
        let store = ColdStore::open(scratch.path(), options()).unwrap();
        store.put(&all[..3]).unwrap();
        store.collate().unwrap();
        store.put(&all[3..]).unwrap();
    };
    make();
    for file in ["journal-00000001", "level_1/0_index", "level_1/0_data"] {
        let path = scratch.path().join(file);
        let bytes = fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0xff;
            fs::write(&path, flipped).unwrap();
            let store = ColdStore::open(scratch.path(), options()).unwrap();
            let found = all.iter().filter(|(id, atom)| {
                let found = store.get(id).unwrap();
                assert!(found.as_ref().is_none_or(|found| found == atom));
                found.is_some()
            });
            assert!(found.count() >= 5, "{file}, byte {at}");
        }
        fs::write(&path, bytes).unwrap();
    }
}

#[test]
fn number_of_pairs_of_a_level_is_bounded_whatever_its_size() {
    let scratch = tempfile::tempdir().unwrap();
    let options = ColdOptions {
        level_size_bytes: 1 << 30,
        ..options()
    };
    let store = ColdStore::open(scratch.path(), options).unwrap();
    let all = atoms(0..40);
    for atom in all.chunks(1) {
        store.put(atom).unwrap();
        store.collate().unwrap();
        store.maintain().unwrap();
        let snapshot = store.inner.snapshot.load();
        for level in &snapshot.levels {
            assert!(level.pairs.len() <= 32);
        }
    }
    assert_eq!(store.inner.snapshot.load().pairs().count(), 8);
    assert_holds(&store, &all);
}

#[test]
fn concurrent_writers_share_one_store() {
    let scratch = tempfile::tempdir().unwrap();
    let options = ColdOptions {
        background: true,
        ..options()
    };
    let store = ColdStore::open(scratch.path(), options).unwrap();
    let all = atoms(0..4_000);
    std::thread::scope(|scope| {
        for part in all.chunks(1_000) {
            let store = store.clone();
            scope.spawn(move || {
                for (at, batch) in part.chunks(20).enumerate() {
                    store.put(batch).unwrap();
                    assert_holds(&store, &part[..(at + 1) * 20]);
                }
            });
        }
    });
    assert_holds(&store, &all);
    assert_eq!(store.stats().maintenance_failure, None);
    drop(store);
    let store = ColdStore::open(scratch.path(), options).unwrap();
    assert_holds(&store, &all);
    assert_eq!(store.stats().damages, []);
}

#[test]
fn export_holds_all_atoms_and_a_reference_export_no_foreign_files() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = |name: &str| scratch.path().join(name);
    let all = atoms(0..300);
    let store = ColdStore::open(&dir("from"), options()).unwrap();
    store.put(&all[..200]).unwrap();
    store.collate().unwrap();
    store.put(&all[200..]).unwrap();
    let whole = Transferred {
        atoms: 300,
        damaged: 0,
    };
    let mut last = None;
    let exported = store.export_reference(&dir("reference"), &mut |at| last = Some(at));
    assert_eq!(exported, Ok(whole));
    assert_eq!(
        last,
        Some(Progress {
            done: 300,
            total: 300
        })
    );
    assert_eq!(names(&dir("reference")), ["level_0", "level_1"]);
    assert_eq!(names(&dir("reference/level_1")), ["0_data", "0_index"]);
    assert!(matches!(
        store.export_reference(&dir("reference"), &mut |_| ()),
        Err(ColdError::NotEmpty { .. })
    ));
    assert_eq!(store.export(&dir("ours"), &mut |_| ()), Ok(whole));
    for name in ["reference", "ours"] {
        let before = names(&dir(name));
        let target = ColdStore::open(&dir("target").join(name), options()).unwrap();
        assert_eq!(target.import(&dir(name), &mut |_| ()), Ok(whole));
        assert_holds(&target, &all);
        assert_eq!(names(&dir(name)), before);
    }
    let missing = store.import(&dir("nowhere"), &mut |_| ()).unwrap_err();
    assert!(missing.to_string().contains("nowhere"), "{missing}");
}

/// Presence is answered from the indexes: damaged data is not read.
#[test]
fn contains_reads_no_data_and_counts_no_lookup() {
    let scratch = tempfile::tempdir().unwrap();
    let all = atoms(0..30);
    let store = ColdStore::open(scratch.path(), options()).unwrap();
    store.put(&all[..20]).unwrap();
    store.collate().unwrap();
    store.put(&all[20..]).unwrap();
    assert!(all.iter().all(|(id, _)| store.contains(id)));
    assert!(!store.contains(&Atom::symbol("absent").id()));
    drop(store);
    let data_path = scratch.path().join("level_1/0_data");
    let len = fs::read(&data_path).unwrap().len();
    fs::write(&data_path, vec![0xff; len]).unwrap();
    let store = ColdStore::open(scratch.path(), options()).unwrap();
    assert!(all.iter().all(|(id, _)| store.contains(id)));
    let stats = store.stats();
    assert_eq!((stats.hits, stats.misses), (0, 0));
    assert_eq!(stats.damages, []);
}

#[test]
fn rejects_directories_without_a_store() {
    let scratch = tempfile::tempdir().unwrap();
    let error_of = |path: &Path| ColdStore::open_to_read(path, true).unwrap_err().to_string();
    let none = "no cold storage in";
    assert!(error_of(&scratch.path().join("none")).contains(none));
    assert!(error_of(scratch.path()).contains(none));
    let file = scratch.path().join("level_0");
    fs::write(&file, b"a foreign file").unwrap();
    assert!(error_of(scratch.path()).contains(none));
    for path in [file.clone(), file.join("below")] {
        assert!(error_of(&path).contains("expected a directory"));
        let error = ColdStore::open(&path, options()).unwrap_err().to_string();
        assert!(error.contains("expected a directory"), "{error}");
    }
    assert_eq!(fs::read(&file).unwrap(), b"a foreign file");
}

/// Files that a power loss can leave of a merge: the data alone, and its index under the temporary
/// name.
#[test]
fn leftovers_of_interruptions_are_removed_and_data_without_an_index_stays() {
    let scratch = tempfile::tempdir().unwrap();
    let all = atoms(0..20);
    let store = ColdStore::open(scratch.path(), options()).unwrap();
    store.put(&all).unwrap();
    store.collate().unwrap();
    drop(store);
    let level_1 = scratch.path().join("level_1");
    let copy = |from: &str, to: &str| fs::copy(level_1.join(from), level_1.join(to)).unwrap();
    copy("0_data", "1_data");
    copy("0_index", "1_index.tmp");
    copy("0_data", "2_data");
    copy("0_index", "3_index.tmp");
    copy("0_data", "3_data.tmp");
    copy("0_index", "007_index");
    let before = names(&level_1);
    let reported = |store: &ColdStore| {
        let stats = store.stats();
        let paths = |places: &[crate::store::sorted_pair::Damage]| {
            let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
            places.iter().map(|at| name(&at.path)).collect::<Vec<_>>()
        };
        (paths(&stats.damages), paths(&stats.interrupted))
    };
    let expected = (
        vec!["007_index".to_owned(), "2_index".to_owned()],
        vec!["1_data".to_owned()],
    );
    // A read-only opener removes nothing.
    let store = ColdStore::open_to_read(scratch.path(), true).unwrap();
    assert_eq!(reported(&store), expected);
    drop(store);
    assert_eq!(names(&level_1), before);
    let store = ColdStore::open(scratch.path(), options()).unwrap();
    assert_eq!(reported(&store), expected);
    let kept = ["007_index", "0_data", "0_index", "0_lengths", "2_data"];
    assert_eq!(names(&level_1), kept);
    assert_holds(&store, &all);
    drop(store);
    // On the second start there is nothing left to report.
    let store = ColdStore::open(scratch.path(), options()).unwrap();
    assert_eq!(reported(&store), (expected.0, vec![]));
}

#[test]
fn interrupted_writes_are_distinguished_from_damaged_ones() {
    let scratch = tempfile::tempdir().unwrap();
    let all = atoms(0..5);
    let store = ColdStore::open(scratch.path(), options()).unwrap();
    store.put(&all).unwrap();
    drop(store);
    let path = scratch.path().join("journal-00000000");
    let whole = fs::read(&path).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 4;
    // File content, then the expected numbers: intact atoms, damaged places, interrupted writes.
    let cases = [
        (whole[..whole.len() - 1].to_vec(), 4, 0, 1),
        ([&whole[..], &[0; 500]].concat(), 5, 0, 1),
        ([&whole[..], &whole[8..60]].concat(), 5, 0, 1),
        (flipped, 4, 1, 0),
    ];
    for (bytes, atoms, damages, interrupted) in cases {
        fs::write(&path, bytes).unwrap();
        let store = ColdStore::open_to_read(scratch.path(), true).unwrap();
        let verified = store.verify(&mut |_| ()).unwrap();
        assert_eq!((verified.atoms, verified.damaged), (atoms, 0));
        let stats = store.stats();
        assert_eq!(stats.damages.len(), damages, "{stats:?}");
        assert_eq!(stats.interrupted.len(), interrupted, "{stats:?}");
    }
}

/// Two pairs with the same atoms, each with one damaged atom that is intact in the other: a merge
/// takes the intact copies, and both damaged files are kept.
#[test]
fn merge_repairs_damaged_pairs_and_takes_the_intact_copy_of_every_atom() {
    let scratch = tempfile::tempdir().unwrap();
    let mut all = atoms(0..12);
    all.sort_by_key(|(id, _)| *id);
    let store = ColdStore::open(scratch.path(), options()).unwrap();
    store.put(&all).unwrap();
    store.collate().unwrap();
    drop(store);
    let level_1 = scratch.path().join("level_1");
    let data = fs::read(level_1.join("0_data")).unwrap();
    let index = fs::read(level_1.join("0_index")).unwrap();
    // Every atom takes 53 bytes: the fourth is damaged in the older pair, the eighth in the newer
    // one.
    let damaged = |at: usize| {
        let mut data = data.clone();
        data[at * 53 + 50] ^= 1;
        data
    };
    fs::write(level_1.join("0_data"), damaged(3)).unwrap();
    fs::write(level_1.join("1_data"), damaged(7)).unwrap();
    fs::write(level_1.join("1_index"), index).unwrap();
    let store = ColdStore::open(scratch.path(), options()).unwrap();
    let mut last = Progress { done: 0, total: 0 };
    assert!(store.merge_with(1, &mut |at| last = at).unwrap());
    // Eleven intact atoms of each pair.
    assert_eq!((last.done, last.total), (22, 22));
    let stats = store.stats();
    assert_eq!(stats.damages, []);
    let aside = |at: usize| (stats.set_aside[at].missing, stats.set_aside[at].unknown);
    assert_eq!(
        (stats.set_aside.len(), aside(0), aside(1)),
        (2, (0, 0), (0, 0))
    );
    let kept = |number: u64, pair: u64| {
        let name = format!("damaged/{number}_level_1_{pair}_data");
        fs::read(scratch.path().join(name)).unwrap()
    };
    assert!(kept(1, 0) == damaged(3) && kept(2, 1) == damaged(7));
    assert_eq!(names(&level_1), [] as [&str; 0]);
    assert_eq!(
        fs::read(scratch.path().join("level_2/0_data")).unwrap(),
        data
    );
    assert_holds(&store, &all);
}

#[test]
fn maintenance_reports_the_progress_of_every_step() {
    let scratch = tempfile::tempdir().unwrap();
    let store = ColdStore::open(scratch.path(), options()).unwrap();
    let mut ends = Vec::new();
    for batch in atoms(0..2_000).chunks(100) {
        store.put(batch).unwrap();
        let mut last = None;
        store.maintain_with(&mut |at| last = Some(at)).unwrap();
        ends.extend(last);
    }
    assert!(ends.iter().all(|end| end.done == end.total), "{ends:?}");
    // Collations of one batch, and merges of several batches.
    assert!(ends.iter().any(|end| end.total == 100));
    assert!(ends.iter().any(|end| end.total > 100));
}
