//! Damaged files of cold storage: regardless of the damage and of the store's reaction, intact
//! atoms are not lost, the damaged file is kept, and the ids of lost atoms are reported until they
//! are stored again.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failure of the store or the disk, or of the test's own arithmetic, fails the test"
)]

use astreum_core::atom::{Atom, AtomId};
use astreum_node::config::ColdStorageSync;
use astreum_node::store::cold::{ColdError, ColdOptions, ColdStats, ColdStore};
use astreum_node::store::disk::Disk as _;
use astreum_tests::random::Random;
use astreum_tests::sim::disk::{Fault, SimDisk};
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const ROOT: &str = "/store";
const ATOM_BYTES: usize = 33 + 24;

type Atoms = Vec<(AtomId, Atom)>;

fn open(disk: &SimDisk) -> ColdStore {
    try_open(disk).unwrap()
}

fn try_open(disk: &SimDisk) -> Result<ColdStore, ColdError> {
    let options = ColdOptions {
        level_size_bytes: 1 << 20,
        limit_bytes: 0,
        sync: ColdStorageSync::Always,
        mapped: false,
        background: false,
    };
    ColdStore::open_on(Arc::new(disk.clone()), Path::new(ROOT), options)
}

/// Returns atoms of equal length, so that a test can determine the atom that a byte belongs to.
fn atoms(first: u64, count: u64) -> Atoms {
    (first..first + count)
        .map(|number| Atom::bytes([number.to_be_bytes(); 3].as_flattened()))
        .map(|atom| (atom.id(), atom))
        .collect()
}

fn path(name: &str) -> PathBuf {
    Path::new(ROOT).join(name)
}

/// Creates four pairs of level 1 with twenty atoms each, one journal, and two files of a reference
/// node.
fn fill(disk: &SimDisk) -> BTreeMap<&'static str, Atoms> {
    let store = open(disk);
    let mut by_file = BTreeMap::new();
    for (number, name) in ["level_1/0", "level_1/1", "level_1/2", "level_1/3"]
        .into_iter()
        .enumerate()
    {
        let mut batch = atoms(100 * number as u64, 20);
        store.put(&batch).unwrap();
        store.collate().unwrap();
        batch.sort_by_key(|(id, _)| *id);
        by_file.insert(name, batch);
    }
    let waiting = atoms(1_000, 20);
    store.put(&waiting).unwrap();
    by_file.insert("journal-00000004", waiting);
    let leftovers = atoms(2_000, 2);
    for (id, atom) in &leftovers {
        let name = format!("level_0/{}.bin", id.to_string().to_uppercase());
        disk.insert_file(&path(&name), &atom.to_bytes());
    }
    by_file.insert("level_0", leftovers);
    drop(store);
    by_file
}

/// Operation on a store with a damaged file.
#[derive(Clone, Copy, Debug)]
enum Step {
    Verify,
    Merge,
    Collate,
    Maintain,
    Repair,
    Reopen,
}

const STEPS: [Step; 6] = [
    Step::Verify,
    Step::Merge,
    Step::Collate,
    Step::Maintain,
    Step::Repair,
    Step::Reopen,
];

fn take(store: ColdStore, disk: &SimDisk, step: Step) -> ColdStore {
    match step {
        Step::Verify => drop(store.verify(&mut |_| ()).unwrap()),
        Step::Merge => drop(store.merge_with(1, &mut |_| ()).unwrap()),
        Step::Collate => drop(store.collate().unwrap()),
        Step::Maintain => store.maintain().unwrap(),
        Step::Repair => drop(store.repair_with(&mut |_| ()).unwrap()),
        Step::Reopen => {
            drop(store);
            return open(disk);
        }
    }
    store
}

/// Returns all ids in the reports of lost atoms.
fn all_lost(store: &ColdStore) -> BTreeSet<AtomId> {
    let mut lost = BTreeSet::new();
    while let Some(ids) = store.next_lost(7).unwrap() {
        lost.extend(ids);
    }
    lost
}

fn is_reported(stats: &ColdStats) -> bool {
    !stats.damages.is_empty() || !stats.set_aside.is_empty()
}

/// Performs all steps in this order after the damage. Then every intact atom must be present and
/// the others reported; storing them again must resolve the report.
#[track_caller]
fn check(disk: &SimDisk, steps: &[Step], kept: &Atoms, lost: &Atoms, what: &str) {
    check_counted(disk, steps, kept, lost, true, what);
}

#[track_caller]
fn check_counted(
    disk: &SimDisk,
    steps: &[Step],
    kept: &Atoms,
    lost: &Atoms,
    is_counted: bool,
    what: &str,
) {
    let mut store = open(disk);
    for &step in steps {
        store = take(store, disk, step);
        // A merge detects all damage of its level; other steps detect damage in the data that they
        // read.
        if matches!(step, Step::Merge) {
            let readable = kept
                .iter()
                .filter(|(id, _)| store.get(id).unwrap().is_some());
            assert_eq!(
                readable.count(),
                kept.len(),
                "{what}: readable after {step:?}"
            );
        }
    }
    store.collate().unwrap();
    store.repair_with(&mut |_| ()).unwrap();
    store.merge_with(1, &mut |_| ()).unwrap();
    for (id, atom) in kept {
        assert_eq!(store.get(id).unwrap().as_ref(), Some(atom), "{what}: {id}");
    }
    let stats = store.stats();
    assert_eq!(stats.damages, [], "{what}");
    assert!(is_reported(&stats), "{what}: not reported");
    let ids: BTreeSet<AtomId> = lost.iter().map(|(id, _)| *id).collect();
    let reported = all_lost(&store);
    assert!(
        reported.is_subset(&ids),
        "{what}: reported {reported:?} of {ids:?}"
    );
    let unknown: u64 = stats.set_aside.iter().map(|it| it.unknown).sum();
    // Without index and lengths the number of atoms is unknown.
    let at_least = if is_counted { ids.len() as u64 } else { 1 };
    assert!(
        reported.len() as u64 + unknown >= at_least,
        "{what}: {} ids and {unknown} unknown of {}",
        reported.len(),
        ids.len()
    );
    // Storing them again removes them from the list, and the incident stays until it is cleared.
    store.put(lost).unwrap();
    assert_eq!(all_lost(&store), BTreeSet::new(), "{what}: healed");
    drop(store);
    let store = open(disk);
    let stats = store.stats();
    assert!(is_reported(&stats), "{what}: not reported after a restart");
    let missing: u64 = stats.set_aside.iter().map(|it| it.missing).sum();
    assert_eq!(missing, 0, "{what}: repaired but missing");
    let cleared = store.clear_set_aside().unwrap();
    assert_eq!(cleared, stats.set_aside, "{what}");
    assert!(!is_reported(&store.stats()), "{what}: cleared");
    assert_eq!(disk.list(&path("damaged")).unwrap(), [], "{what}");
    drop(store);
    let store = open(disk);
    assert!(!is_reported(&store.stats()), "{what}: cleared");
    assert_eq!(store.verify(&mut |_| ()).unwrap().damaged, 0, "{what}");
}

/// Kind of damage: the file, the change, and the atoms that cannot survive it.
struct Damage {
    file: String,
    description: String,
    lost: Vec<usize>,
}

fn flip(bytes: &mut [u8], at: usize, random: &mut Random) {
    bytes[at] ^= 1 << random.below(8);
}

fn numbers(range: core::ops::Range<usize>) -> Vec<usize> {
    range.collect()
}

/// Damages a file of the pair at `name` in one of many ways. `has_lengths` is true if the pair has
/// a lengths file, without which a truncated index loses the atoms behind the cut.
fn damage_pair(disk: &SimDisk, name: &str, has_lengths: bool, random: &mut Random) -> Damage {
    let files = disk.files();
    let len = |end: &str| files[&path(&format!("{name}_{end}"))].len();
    let file = |end: &str| format!("{name}_{end}");
    let damage = |file: &String, change: &mut dyn FnMut(&mut Vec<u8>)| {
        disk.damage(&path(file), |bytes| change(bytes));
    };
    let kinds = if has_lengths { 12 } else { 9 };
    let kind = random.below(kinds);
    let (file, description, lost) = match kind {
        0 => {
            let (file, at) = (file("index"), random.below(len("index")));
            damage(&file, &mut |bytes| flip(bytes, at, random));
            (file, format!("bit of byte {at} flipped"), vec![])
        }
        1 => {
            let (file, cut) = (file("index"), random.below(len("index")));
            damage(&file, &mut |bytes| bytes.truncate(cut));
            let whole = cut.saturating_sub(64) / 160;
            let lost = if has_lengths { 20..20 } else { whole..20 };
            (file, format!("cut to {cut}"), numbers(lost))
        }
        2 => {
            let (file, extra) = (file("index"), 1 + random.below(500));
            damage(&file, &mut |bytes| bytes.resize(bytes.len() + extra, 0xa5));
            (file, format!("{extra} bytes appended"), vec![])
        }
        3 => {
            let (file, at) = (file("data"), random.below(len("data")));
            damage(&file, &mut |bytes| flip(bytes, at, random));
            (
                file,
                format!("bit of byte {at} flipped"),
                vec![at / ATOM_BYTES],
            )
        }
        4 => {
            let (file, cut) = (file("data"), random.below(len("data")));
            damage(&file, &mut |bytes| bytes.truncate(cut));
            (file, format!("cut to {cut}"), numbers(cut / ATOM_BYTES..20))
        }
        5 => {
            let (file, extra) = (file("data"), 1 + random.below(500));
            damage(&file, &mut |bytes| bytes.resize(bytes.len() + extra, 0xa5));
            (file, format!("{extra} bytes appended"), vec![])
        }
        6 => {
            let file = file("data");
            disk.remove_all(&path(&file));
            (file, "removed".to_owned(), numbers(0..20))
        }
        7 => {
            let file = file("index");
            disk.remove_all(&path(&file));
            let lost = if has_lengths { 20..20 } else { 0..20 };
            (file, "removed".to_owned(), numbers(lost))
        }
        8 => {
            // The id of one entry with the bytes of another atom.
            let entry = random.below(20);
            let atom = (entry + 1 + random.below(19)) % 20;
            let (index, data) = (file("index"), file("data"));
            let at = 64 + entry * 160 + random.below(32);
            damage(&index, &mut |bytes| flip(bytes, at, random));
            let byte = atom * ATOM_BYTES + random.below(ATOM_BYTES);
            damage(&data, &mut |bytes| flip(bytes, byte, random));
            let description = format!("id of entry {entry} and byte {byte} of the data flipped");
            (index, description, vec![atom])
        }
        9 => {
            let (file, at) = (file("lengths"), random.below(len("lengths")));
            damage(&file, &mut |bytes| flip(bytes, at, random));
            (file, format!("bit of byte {at} flipped"), vec![])
        }
        10 => {
            let (file, cut) = (file("lengths"), random.below(len("lengths")));
            damage(&file, &mut |bytes| bytes.truncate(cut));
            (file, format!("cut to {cut}"), vec![])
        }
        _ => {
            // Many entries at once, as in a lost sector.
            let file = file("index");
            let from = 64 + random.below(2_000);
            damage(&file, &mut |bytes| bytes[from..from + 1_000].fill(0));
            (file, format!("1000 bytes from {from} on zeroed"), vec![])
        }
    };
    Damage {
        file,
        description,
        lost,
    }
}

fn split(all: &BTreeMap<&'static str, Atoms>, name: &str, lost: &[usize]) -> (Atoms, Atoms) {
    let (mut kept, mut gone) = (Atoms::new(), Atoms::new());
    for (file, atoms) in all {
        for (at, atom) in atoms.iter().enumerate() {
            if *file == name && lost.contains(&at) {
                gone.push(atom.clone());
            } else {
                kept.push(atom.clone());
            }
        }
    }
    (kept, gone)
}

fn random_steps(random: &mut Random) -> Vec<Step> {
    let count = random.below(4);
    (0..count)
        .map(|_| STEPS[random.below(STEPS.len())])
        .collect()
}

#[test]
fn damaged_pair_costs_only_the_atoms_whose_bytes_are_damaged() {
    for seed in 0..1_500 {
        let mut random = Random::new(seed);
        let disk = SimDisk::new();
        let all = fill(&disk);
        let name = ["level_1/0", "level_1/1", "level_1/3"][random.below(3)];
        let damage = damage_pair(&disk, name, true, &mut random);
        let (kept, lost) = split(&all, name, &damage.lost);
        let steps = random_steps(&mut random);
        let Damage {
            file, description, ..
        } = damage;
        let what = format!("seed {seed}, {file} {description}, {steps:?}");
        check(&disk, &steps, &kept, &lost, &what);
    }
}

/// A pair of a reference node, or of an older version: without a lengths file.
#[test]
fn damaged_pair_without_lengths_keeps_what_the_rest_of_its_index_covers() {
    for seed in 0..1_500 {
        let mut random = Random::new(seed);
        let disk = SimDisk::new();
        let all = fill(&disk);
        let name = ["level_1/0", "level_1/1", "level_1/3"][random.below(3)];
        disk.remove_all(&path(&format!("{name}_lengths")));
        let damage = damage_pair(&disk, name, false, &mut random);
        let (kept, lost) = split(&all, name, &damage.lost);
        let steps = random_steps(&mut random);
        let Damage {
            file, description, ..
        } = damage;
        let what = format!("seed {seed}, {file} {description}, no lengths, {steps:?}");
        let index = disk
            .files()
            .get(&path(&format!("{name}_index")))
            .map(Vec::len);
        let is_counted = index.is_some_and(|len| len >= 64);
        check_counted(&disk, &steps, &kept, &lost, is_counted, &what);
    }
}

#[test]
fn damaged_journal_costs_only_the_atoms_whose_bytes_are_damaged() {
    let name = "journal-00000004";
    let record_bytes = 40 + ATOM_BYTES;
    for seed in 0..1_500 {
        let mut random = Random::new(seed);
        let disk = SimDisk::new();
        let all = fill(&disk);
        let len = 8 + 20 * record_bytes;
        assert_eq!(disk.files()[&path(name)].len(), len);
        let at = random.below(len);
        let (description, lost) = match random.below(3) {
            0 => {
                disk.damage(&path(name), |bytes| flip(bytes, at, &mut random));
                let (record, offset) = (at.saturating_sub(8) / record_bytes, at.saturating_sub(8));
                let is_in_atom = at >= 8 && offset % record_bytes >= 40;
                let lost = is_in_atom.then_some(record);
                (
                    format!("bit of byte {at} flipped"),
                    lost.into_iter().collect(),
                )
            }
            1 => {
                // Two consecutive records.
                let record = random.below(19);
                let byte = |record: usize| 8 + record * record_bytes + 40 + 50;
                disk.damage(&path(name), |bytes| {
                    flip(bytes, byte(record), &mut random);
                    flip(bytes, byte(record + 1), &mut random);
                });
                (
                    format!("records {record} and the next"),
                    vec![record, record + 1],
                )
            }
            _ => {
                let extra = 1 + random.below(300);
                disk.damage(&path(name), |bytes| {
                    bytes.resize(bytes.len() + extra, 0xa5);
                });
                (format!("{extra} bytes appended"), vec![])
            }
        };
        let (kept, lost) = split(&all, name, &lost);
        let steps = random_steps(&mut random);
        let what = format!("seed {seed}, {name} {description}, {steps:?}");
        let is_cut_off = open(&disk).stats().damages.is_empty();
        if is_cut_off {
            // Appended bytes that look like an interrupted write are not damage, and nothing is
            // lost.
            let store = open(&disk);
            store.collate().unwrap();
            for (id, atom) in &kept {
                assert_eq!(store.get(id).unwrap().as_ref(), Some(atom), "{what}");
            }
            assert!(!store.stats().interrupted.is_empty(), "{what}");
            continue;
        }
        check(&disk, &steps, &kept, &lost, &what);
    }
}

#[test]
fn damaged_file_of_a_reference_node_is_kept_with_the_id_in_its_name() {
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let disk = SimDisk::new();
        let all = fill(&disk);
        let at = random.below(2);
        let (id, _) = all["level_0"][at];
        let name = format!("level_0/{}.bin", id.to_string().to_uppercase());
        let byte = random.below(ATOM_BYTES);
        let description = match random.below(3) {
            0 => {
                disk.damage(&path(&name), |bytes| flip(bytes, byte, &mut random));
                format!("bit of byte {byte} flipped")
            }
            1 => {
                disk.damage(&path(&name), |bytes| bytes.truncate(byte));
                format!("cut to {byte}")
            }
            _ => {
                disk.damage(&path(&name), |bytes| bytes.push(7));
                "a byte appended".to_owned()
            }
        };
        let (kept, lost) = split(&all, "level_0", &[at]);
        let steps = random_steps(&mut random);
        let what = format!("seed {seed}, {name} {description}, {steps:?}");
        check(&disk, &steps, &kept, &lost, &what);
    }
}

/// The power goes off anywhere in a repair, or one of its calls fails; the next start repairs
/// again.
#[test]
fn power_cut_or_failure_during_a_repair_loses_no_intact_atom() {
    let mut cuts = 0;
    for seed in 0..3_000 {
        let mut random = Random::new(seed);
        let mut disk = SimDisk::new();
        let all = fill(&disk);
        let name = ["level_1/0", "level_1/1", "level_1/3"][random.below(3)];
        let damage = damage_pair(&disk, name, true, &mut random);
        let (kept, lost) = split(&all, name, &damage.lost);
        let at = random.below(90) as u64;
        let fault = match random.below(3) {
            0 => Fault::Change(at, ErrorKind::StorageFull),
            1 => Fault::ChangesFrom(at, ErrorKind::Other),
            _ => Fault::PowerCut(at),
        };
        disk.set_fault(Some(fault));
        if let Ok(store) = try_open(&disk) {
            // Any of them may fail.
            let _ = store.verify(&mut |_| ());
            let _ = store.merge_with(1, &mut |_| ());
            let _ = store.collate();
            let _ = store.repair_with(&mut |_| ());
        }
        if disk.is_off() {
            cuts += 1;
            disk = disk.after_power_cut(&mut random);
        }
        disk.set_fault(None);
        let Damage {
            file, description, ..
        } = damage;
        let what = format!("seed {seed}, {file} {description}, {fault:?}");
        check(&disk, &[Step::Verify], &kept, &lost, &what);
    }
    assert!(cuts > 400, "{cuts}");
}

/// The damaged file is kept byte for byte, under its name with the number of the incident as a
/// prefix.
#[test]
fn damaged_files_are_kept_byte_for_byte() {
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let disk = SimDisk::new();
        fill(&disk);
        let damage = damage_pair(&disk, "level_1/1", true, &mut random);
        let damaged = disk.files().get(&path(&damage.file)).cloned();
        let store = open(&disk);
        store.verify(&mut |_| ()).unwrap();
        store.merge_with(1, &mut |_| ()).unwrap();
        let kept = damage.file.replace('/', "_");
        let kept = disk
            .files()
            .get(&path(&format!("damaged/1_{kept}")))
            .cloned();
        let what = format!("seed {seed}, {} {}", damage.file, damage.description);
        assert_eq!(kept, damaged, "{what}");
        // No file is left in the level.
        assert_eq!(disk.list(&path("level_1")).unwrap(), [], "{what}");
    }
}

/// Damaged pairs that cannot be set aside for lack of space stay in place, are reported, and do not
/// prevent merges of intact pairs. Once incidents are cleared, they are repaired.
#[test]
fn damaged_pairs_without_room_to_be_set_aside_do_not_block_merges() {
    let disk = SimDisk::new();
    fill(&disk);
    let used = open(&disk).stats().used_bytes;
    let options = ColdOptions {
        // Level 1 exceeds its size with a single pair.
        level_size_bytes: 100,
        // Room for the files of one pair, and not for those of two.
        limit_bytes: used,
        sync: ColdStorageSync::Always,
        mapped: false,
        background: false,
    };
    let bytes = |disk: &SimDisk, name: &str| -> u64 {
        let files = disk.files();
        let of_pair = files
            .iter()
            .filter(|(file, _)| file.to_string_lossy().contains(name));
        of_pair.map(|(_, bytes)| bytes.len() as u64).sum()
    };
    let mut aside = 0;
    while aside + bytes(&disk, "level_1/0_") <= used {
        // An earlier incident of the size of a pair.
        let file = format!("damaged/{}_former", 100 + aside);
        disk.insert_file(&path(&file), &vec![0; 4_000]);
        aside += 4_000;
    }
    for name in ["level_1/1_data", "level_1/3_data"] {
        disk.damage(&path(name), |bytes| bytes[40] ^= 1);
    }
    let open = || ColdStore::open_on(Arc::new(disk.clone()), Path::new(ROOT), options).unwrap();
    let store = open();
    store.verify(&mut |_| ()).unwrap();
    for _ in 0..2 {
        let error = store.maintain().unwrap_err();
        assert!(matches!(error, ColdError::SetAsideFull { .. }), "{error}");
    }
    let left: BTreeSet<String> = disk
        .list(&path("level_1"))
        .unwrap()
        .into_iter()
        .map(|entry| entry.name)
        .filter(|name| name.ends_with("data"))
        .collect();
    assert!(
        left.contains("1_data") && left.contains("3_data"),
        "{left:?}"
    );
    assert!(
        !left.contains("0_data") && !left.contains("2_data"),
        "{left:?}"
    );
    assert!(store.stats().damages.len() >= 2);
    store.clear_set_aside().unwrap();
    store.maintain().unwrap();
    let stats = store.stats();
    assert_eq!((stats.damages.len(), stats.set_aside.len()), (0, 2));
    assert_eq!(stats.set_aside.iter().map(|it| it.missing).sum::<u64>(), 2);
}
