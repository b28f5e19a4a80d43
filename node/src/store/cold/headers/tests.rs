//! Tests of the header file.

use super::*;
use crate::config::ColdStorageSync;
use crate::store::cold::ColdOptions;
use astreum_core::atom::AtomSource as _;
use astreum_core::testkit::header;
use std::fs;

fn open(path: &Path) -> ColdStore {
    let options = ColdOptions {
        level_size_bytes: 1 << 20,
        limit_bytes: 0,
        sync: ColdStorageSync::Always,
        mapped: true,
        background: false,
    };
    ColdStore::open(path, options).unwrap()
}

/// Makes blocks that follow each other; every tenth one has a signature.
fn blocks(count: u64) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    for height in 0..count {
        let previous = blocks.last().map_or(AtomId::ZERO, Block::id);
        let header = header(height, previous, 1_000 + height);
        blocks.push(match height % 10 {
            0 => header.sign(&astreum_core::testkit::key(1)),
            _ => header.signed(None),
        });
    }
    blocks
}

fn files(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.starts_with("headers")).collect();
    names.sort();
    names
}

fn assert_has(store: &ColdStore, blocks: &[Block]) {
    let source = crate::store::Store::with_cold(0, Some(store.clone()));
    for block in blocks {
        assert!(store.may_have(&block.id()) && store.contains(&block.id()));
        assert_eq!(Block::read(&source, block.id()).as_ref(), Ok(block));
        for (id, atom) in block.to_atoms() {
            assert_eq!(source.atom(&id), Ok(atom));
        }
        let height = block.height.to_u64().unwrap();
        assert_eq!(store.header_at(0, height).unwrap().as_ref(), Some(block));
    }
}

/// A run that was interrupted, or left a pair alone, removes some atoms of a header and not others.
#[test]
fn header_is_complete_although_its_first_atom_alone_is_in_a_pair() {
    let scratch = tempfile::tempdir().unwrap();
    let store = open(scratch.path());
    let blocks = blocks(3);
    store.add_headers(0, &blocks).unwrap();
    for block in &blocks {
        let atoms = block.to_atoms().into_iter();
        let first: Vec<_> = atoms.filter(|(id, _)| *id == block.id()).collect();
        assert_eq!(first.len(), 1);
        store.put(&first).unwrap();
    }
    drop(store);
    let store = open(scratch.path());
    store.maintain().unwrap();
    assert_has(&store, &blocks);
}

#[test]
fn header_atoms_are_rebuilt_after_merges_and_restarts() {
    let scratch = tempfile::tempdir().unwrap();
    let store = open(scratch.path());
    let blocks = blocks(3_000);
    assert!(!store.may_have(&blocks[0].id()));
    // The segments come from the top, as they do in a first run.
    for part in blocks[..2_500].chunks(500).rev() {
        store.add_headers(0, part).unwrap();
    }
    assert_eq!(files(scratch.path()).len(), 5);
    assert_has(&store, &blocks[..2_500]);
    store.merge_headers().unwrap();
    store.add_headers(0, &blocks[2_500..]).unwrap();
    store.add_headers(7, &blocks[..10]).unwrap();
    store.merge_headers().unwrap();
    assert!(
        files(scratch.path()).len() <= 4,
        "{:?}",
        files(scratch.path())
    );
    assert_has(&store, &blocks);
    assert_eq!(store.pruned_below(0), 3_000);
    assert_eq!(store.headers_down_to(0, 2_999), 0);
    assert_eq!(store.header_at(0, 3_000).unwrap(), None);
    drop(store);
    let store = open(scratch.path());
    assert_has(&store, &blocks);
    assert_eq!(store.pruned_below(7), 10);
    let bytes: u64 = files(scratch.path())
        .iter()
        .map(|name| fs::metadata(scratch.path().join(name)).unwrap().len())
        .sum();
    assert!(bytes / 3_010 < 250, "{bytes}");
    assert_eq!(store.stats().damages, []);
}

#[test]
fn gaps_and_absent_ids_are_not_found() {
    let scratch = tempfile::tempdir().unwrap();
    let store = open(scratch.path());
    let blocks = blocks(300);
    store.add_headers(0, &blocks[..100]).unwrap();
    store.add_headers(0, &blocks[200..]).unwrap();
    store.merge_headers().unwrap();
    assert_eq!(store.headers_down_to(0, 299), 200);
    assert_eq!(store.headers_down_to(0, 99), 0);
    for block in &blocks[100..200] {
        assert_eq!(store.get(&block.id()), Ok(None));
        let height = block.height.to_u64().unwrap();
        assert_eq!(store.header_at(0, height).unwrap(), None);
    }
    let refused = store.add_headers(0, &[blocks[100].clone(), blocks[102].clone()]);
    assert!(refused.is_err());
    store.add_headers(0, &blocks[100..200]).unwrap();
    assert_eq!(store.headers_down_to(0, 299), 0);
    assert_has(&store, &blocks);
}

#[test]
fn damaged_headers_are_missing_and_reported() {
    let scratch = tempfile::tempdir().unwrap();
    let store = open(scratch.path());
    let blocks = blocks(200);
    store.add_headers(0, &blocks).unwrap();
    drop(store);
    let path = scratch.path().join("headers-0-0-199");
    let whole = fs::read(&path).unwrap();
    let mut damaged = whole.clone();
    damaged[60] ^= 1;
    fs::write(&path, &damaged).unwrap();
    let store = open(scratch.path());
    assert_eq!(store.get(&blocks[0].id()), Ok(None));
    assert_has(&store, &blocks[1..]);
    assert_eq!(store.stats().damages.len(), 1);
    drop(store);
    for len in [0, 30, whole.len() - 1] {
        fs::write(&path, &whole[..len]).unwrap();
        let store = open(scratch.path());
        assert_eq!(store.get(&blocks[5].id()), Ok(None));
        assert_eq!(store.stats().damages.len(), 1);
    }
}

#[test]
fn merged_segments_that_an_interruption_left_are_removed() {
    let scratch = tempfile::tempdir().unwrap();
    let store = open(scratch.path());
    let blocks = blocks(200);
    store.add_headers(0, &blocks[..100]).unwrap();
    store.add_headers(0, &blocks[100..]).unwrap();
    let [lower, upper] =
        ["headers-0-0-99", "headers-0-100-199"].map(|name| scratch.path().join(name));
    let kept = fs::read(&lower).unwrap();
    store.merge_headers().unwrap();
    drop(store);
    fs::write(&lower, &kept).unwrap();
    assert!(!upper.exists());
    let store = open(scratch.path());
    assert_has(&store, &blocks);
    assert_eq!(files(scratch.path()), ["headers-0-0-199"]);
    assert_eq!(store.stats().damages, []);
}
