//! Binary radix trie of accounts, stakes and contracts.

#![expect(clippy::unwrap_used, reason = "a failure fails the test")]

use astreum_core::atom::{AtomId, MemoryStore};
use astreum_core::trie::{Proof, Scalar, Trie, entries, get};
use std::collections::BTreeMap;

/// Returns pairs whose keys share prefixes, with one key as the prefix of others.
fn pairs() -> BTreeMap<Vec<u8>, Vec<u8>> {
    [
        "a", "ab", "abc", "b", "romane", "romanus", "romulus", "ruber",
    ]
    .iter()
    .map(|key| {
        (
            key.as_bytes().to_vec(),
            format!("the value of {key}").into_bytes(),
        )
    })
    .collect()
}

fn committed(pairs: &BTreeMap<Vec<u8>, Vec<u8>>) -> (MemoryStore, AtomId) {
    let mut store = MemoryStore::new();
    let mut trie = Trie::new();
    for (key, value) in pairs {
        trie.put(&store, key, value).unwrap();
    }
    let root = trie.commit(&mut Scalar, &mut store).unwrap();
    (store, root)
}

#[test]
fn get_returns_exactly_what_was_put() {
    let (store, root) = committed(&pairs());
    for (key, value) in pairs() {
        assert_eq!(get(&store, root, &key).unwrap().as_deref(), Some(&*value));
    }
    for absent in ["", "r", "roman", "romanes", "c"] {
        assert_eq!(
            get(&store, root, absent.as_bytes()).unwrap(),
            None,
            "{absent}"
        );
    }
    let read: BTreeMap<_, _> = entries(&store, root)
        .map(|entry| {
            entry
                .map(|(key, value)| (key.to_vec(), value.to_vec()))
                .unwrap()
        })
        .collect();
    assert_eq!(read, pairs());
}

#[test]
fn root_depends_only_on_the_contents() {
    let (_, root) = committed(&pairs());
    let mut backwards = Trie::new();
    let store = MemoryStore::new();
    backwards.put(&store, b"gone", b"soon").unwrap();
    for (key, value) in pairs().iter().rev() {
        backwards.put(&store, key, value).unwrap();
    }
    assert_ne!(backwards.root(&mut Scalar), root);
    assert!(backwards.remove(&store, b"gone").unwrap());
    assert_eq!(backwards.root(&mut Scalar), root);
    assert_eq!(Trie::new().root(&mut Scalar), AtomId::ZERO);
}

#[test]
fn proof_verifies_without_a_store_and_only_against_its_root() {
    let (store, root) = committed(&pairs());
    let mut others = pairs();
    others.insert(b"ruber".to_vec(), b"another value".to_vec());
    let (_, other_root) = committed(&others);
    for key in [&b"romanus"[..], b"roman", b"abc"] {
        let proof = Proof::prove(&store, root, key).unwrap();
        let value = proof.verify(root, key).unwrap();
        assert_eq!(value.as_deref(), pairs().get(key).map(Vec::as_slice));
        assert!(proof.verify(other_root, key).is_err());
    }
}
