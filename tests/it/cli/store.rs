//! Command `astreum store`: inspection and maintenance of cold storage without a node.

use std::fs;

use astreum_core::atom::{Atom, AtomId};

use super::fixtures::{open_cold, store};
use astreum_tests::testkit::Home;

/// Creates a store of ten atoms in a pair and ten in the journal.
fn filled(home: &Home) {
    let store = open_cold(home);
    let atoms: Vec<(AtomId, Atom)> = (0..20_u8)
        .map(|n| Atom::bytes([n; 30]))
        .map(|atom| (atom.id(), atom))
        .collect();
    let (sealed, waiting) = atoms.split_at(10);
    store.put(sealed).unwrap();
    store.collate().unwrap();
    store.put(waiting).unwrap();
}

#[test]
fn interrupted_write_is_not_damage_but_a_flipped_byte_is() {
    let home = Home::new("store-cut");
    filled(&home);
    let clean = store(&home, &["verify"]);
    assert_eq!(clean.lines(), ["20 atoms, 0 damaged"]);
    let path = home.path().join("cold/journal-00000001");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 5]).unwrap();
    let cut = store(&home, &["verify"]);
    let [counts, left] = cut.lines()[..] else {
        panic!("{cut:?}")
    };
    assert_eq!(counts, "19 atoms, 0 damaged");
    assert!(left.starts_with("interrupted") && left.contains("journal-00000001, byte"));
    let json = store(&home, &["verify", "--json"]).json();
    assert_eq!(json["damages"].as_array().unwrap().len(), 0, "{json}");
    assert_eq!(json["interrupted"].as_array().unwrap().len(), 1, "{json}");
    assert!(store(&home, &["stat"]).text().contains("interrupted"));
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    fs::write(&path, flipped).unwrap();
    let damaged = store(&home, &["verify"]);
    assert_eq!(damaged.code, 1, "{damaged:?}");
    assert!(
        damaged
            .text()
            .contains("damaged         cold/journal-00000001, byte")
    );
    let data = home.path().join("cold/level_1/0_data");
    fs::write(&path, &whole).unwrap();
    let mut bytes = fs::read(&data).unwrap();
    bytes[40] ^= 1;
    fs::write(&data, bytes).unwrap();
    let damaged = store(&home, &["verify"]);
    assert_eq!(damaged.code, 1, "{damaged:?}");
    assert!(
        damaged.text().contains("20 atoms, 1 damaged"),
        "{damaged:?}"
    );
}

#[test]
fn merge_and_collate_report_their_progress() {
    let home = Home::new("store-merge");
    filled(&home);
    // Both level 0 and level 1 exceed their size.
    let merged = store(&home, &["merge", "--cold-storage-level-size", "1"]);
    assert!(
        merged.stderr.contains("merging: 10 of 10 atoms"),
        "{merged:?}"
    );
    assert!(
        merged.stderr.contains("merging: 20 of 20 atoms"),
        "{merged:?}"
    );
    let stat = store(&home, &["stat", "--json"]).json();
    assert_eq!(stat["levels"][0]["atoms"], 0, "{stat}");
    assert_eq!(stat["atoms"], 20, "{stat}");
    let merged = store(&home, &["merge", "7"]);
    assert_eq!(merged.code, 0, "{merged:?}");
    assert!(merged.stderr.contains("level 7 has no pairs"), "{merged:?}");
    let collated = store(&home, &["collate"]);
    assert!(
        collated.stderr.contains("nothing to collate"),
        "{collated:?}"
    );
}

#[test]
fn invalid_input_is_explained_and_creates_nothing() {
    let home = Home::new("store-wrong");
    store(&home, &["stat"]).fails(1, &["cold", "no cold storage in"]);
    store(&home, &["verify"]).fails(1, &["no cold storage in"]);
    store(&home, &["collate"]).fails(1, &["no cold storage in"]);
    store(&home, &["merge"]).fails(1, &["no cold storage in"]);
    store(&home, &["export", "to"]).fails(1, &["no cold storage in"]);
    assert!(!home.path().join("cold").exists() && !home.path().join("to").exists());
    store(&home, &["import", "nowhere"]).fails(1, &["nowhere", "no cold storage in"]);
    assert!(!home.path().join("cold").exists());
    home.file("note", "text");
    store(&home, &["import", "note"]).fails(1, &["note"]);
    home.run(&["store", "stat", "--cold-storage-path", "note"])
        .fails(1, &["note"]);
    filled(&home);
    store(&home, &["merge", "0"]).fails(2, &["expected an integer from 1 to 999"]);
    store(&home, &["import", "cold"]).fails(2, &["cold_storage_path itself"]);
    store(&home, &["export", "./cold"]).fails(2, &["cold_storage_path itself"]);
    std::os::unix::fs::symlink("cold", home.path().join("link")).unwrap();
    for inside in ["cold/level_0", "cold/new", "link/new/copy"] {
        store(&home, &["export", inside]).fails(2, &[inside, "is in cold_storage_path"]);
        store(&home, &["export", inside, "--reference"]).fails(2, &["is in cold_storage_path"]);
    }
    assert!(!home.path().join("cold/new").exists());
    fs::create_dir(home.path().join("full")).unwrap();
    home.file("full/notes", "text");
    store(&home, &["export", "full", "--reference"]).fails(1, &["full is not empty"]);
    store(&home, &["export", "note"]).fails(1, &["note"]);
    let verified = store(&home, &["verify"]);
    assert_eq!(verified.lines(), ["20 atoms, 0 damaged"]);
}
