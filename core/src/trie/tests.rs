//! Tests of the trie against an ordered map and against golden roots.

use super::*;
use crate::atom::{Atom, AtomSource, MemoryStore};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::ops::Bound;
use proptest::prelude::*;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// Generates keys from a small alphabet and of all lengths, so that they share bits and are
/// prefixes of one another.
fn key() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![Just(0), Just(0xff), Just(0x80), Just(0x01), any::<u8>()];
    proptest::collection::vec(byte, 0..5)
}

/// Generates pairs to put; an empty value removes the key.
fn operations() -> impl Strategy<Value = Vec<(Vec<u8>, Vec<u8>)>> {
    let value = prop_oneof![
        3 => proptest::collection::vec(any::<u8>(), 1..4),
        1 => proptest::collection::vec(any::<u8>(), 20..80),
        2 => Just(Vec::new()),
    ];
    proptest::collection::vec((key(), value), 0..60)
}

fn apply(
    trie: &mut Trie,
    model: &mut Model,
    store: &MemoryStore,
    operations: &[(Vec<u8>, Vec<u8>)],
) {
    for (key, value) in operations {
        trie.put(store, key, value).unwrap();
        if value.is_empty() {
            model.remove(key);
        } else {
            model.insert(key.clone(), value.clone());
        }
    }
}

fn build(model: &Model, store: &mut MemoryStore) -> AtomId {
    Trie::from_sorted(model)
        .unwrap()
        .commit(&mut Scalar, store)
        .unwrap()
}

fn all(store: &MemoryStore, root: AtomId) -> Model {
    entries(store, root)
        .map(|entry| entry.map(|(k, v)| (k, v.to_vec())).unwrap())
        .collect()
}

proptest! {
    #[test]
    fn contents_and_root_match_the_model(first in operations(), second in operations(), probes in proptest::collection::vec(key(), 0..20)) {
        let (mut store, mut model) = (MemoryStore::new(), Model::new());
        let mut trie = Trie::new();
        apply(&mut trie, &mut model, &store, &first);
        let root = trie.commit(&mut Scalar, &mut store).unwrap();
        prop_assert_eq!(all(&store, root), model.clone());
        prop_assert_eq!(build(&model, &mut store), root);

        // Continue in the same trie, and in a reopened one that has to load every node.
        let mut reopened = Trie::open(root);
        let before = model.clone();
        apply(&mut trie, &mut model.clone(), &store, &second);
        apply(&mut reopened, &mut model, &store, &second);
        let after = trie.root(&mut Scalar);
        prop_assert_eq!(reopened.root(&mut Scalar), after);
        for key in probes.iter().chain(model.keys()) {
            let expected = model.get(key).map(Vec::as_slice);
            let found = [&trie, &reopened].map(|trie| trie.get(&store, key).unwrap());
            prop_assert_eq!(found[0].as_deref(), expected);
            prop_assert_eq!(found[1].as_deref(), expected);
        }
        prop_assert_eq!(reopened.commit(&mut Scalar, &mut store).unwrap(), after);
        prop_assert_eq!(all(&store, after), model.clone());
        prop_assert_eq!(build(&model, &mut store), after);

        let changes: Vec<Change> = diff(&store, root, after).map(Result::unwrap).collect();
        let keys: BTreeSet<&Vec<u8>> = before.keys().chain(model.keys()).collect();
        let expected: Vec<Change> = keys
            .into_iter()
            .filter(|key| before.get(*key) != model.get(*key))
            .map(|key| {
                let value = |map: &Model| map.get(key).map(|value| value.as_slice().into());
                Change { key: key.clone(), before: value(&before), after: value(&model) }
            })
            .collect();
        prop_assert_eq!(changes, expected);
    }

    #[test]
    fn ranges_and_prefixes_match_the_model(
        operations in operations(), start in key(), end in key(), kinds in (0..3, 0..3),
    ) {
        let (mut store, mut model) = (MemoryStore::new(), Model::new());
        apply(&mut Trie::new(), &mut model, &MemoryStore::new(), &operations);
        let root = build(&model, &mut store);
        let bound = |kind, key| match kind {
            0 => Bound::Unbounded,
            1 => Bound::Included(key),
            _ => Bound::Excluded(key),
        };
        let (low, high) = (bound(kinds.0, start.as_slice()), bound(kinds.1, end.as_slice()));
        let inside = |key: &Vec<u8>| {
            let key = key.as_slice();
            (match low { Bound::Unbounded => true, Bound::Included(b) => key >= b, Bound::Excluded(b) => key > b })
                && (match high { Bound::Unbounded => true, Bound::Included(b) => key <= b, Bound::Excluded(b) => key < b })
        };
        let found: Vec<Vec<u8>> = range(&store, root, (low, high)).map(|entry| entry.unwrap().0).collect();
        let expected: Vec<Vec<u8>> = model.keys().filter(|key| inside(key)).cloned().collect();
        prop_assert_eq!(found, expected);
        let found: Vec<Vec<u8>> = prefix(&store, root, &start).map(|entry| entry.unwrap().0).collect();
        let expected: Vec<Vec<u8>> = model.keys().filter(|key| key.starts_with(&start)).cloned().collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn proofs_prove_only_presence_or_absence(operations in operations(), probe in key(), other in key()) {
        let (mut store, mut model) = (MemoryStore::new(), Model::new());
        apply(&mut Trie::new(), &mut model, &MemoryStore::new(), &operations);
        let root = build(&model, &mut store);
        let proof = Proof::prove(&store, root, &probe).unwrap();
        let expected = model.get(&probe).map(Vec::as_slice);
        let bytes = proof.to_bytes();
        let read = Proof::from_bytes(&bytes).unwrap();
        let shown = read.verify(root, &probe).unwrap();
        prop_assert_eq!(shown.as_deref(), expected);
        // For another key the proof yields the correct value or an error.
        if let Ok(value) = proof.verify(root, &other) {
            prop_assert_eq!(value.as_deref(), model.get(&other).map(Vec::as_slice));
        }
        // No byte of it can be modified or cut off.
        for index in 0..bytes.len() {
            let mut forged = bytes.clone();
            forged[index] ^= 1;
            prop_assert!(Proof::from_bytes(&forged).and_then(|proof| proof.verify(root, &probe)).is_err());
            let cut = Proof::from_bytes(&bytes[..index]).and_then(|proof| proof.verify(root, &probe));
            prop_assert!(cut.is_err());
        }
    }

    #[test]
    fn missing_atom_is_reported_and_the_operation_can_be_retried(operations in operations(), key in key(), value in any::<u8>()) {
        let (mut store, mut model) = (MemoryStore::new(), Model::new());
        apply(&mut Trie::new(), &mut model, &MemoryStore::new(), &operations);
        let root = build(&model, &mut store);
        let (mut fetched, mut trie) = (MemoryStore::new(), Trie::open(root));
        let one = [value];
        for value in [one.as_slice(), &[]] {
            while let Err(error) = trie.put(&fetched, &key, value) {
                fetched.insert(store.atom(&error.missing().unwrap()).unwrap());
            }
            if value.is_empty() { model.remove(&key) } else { model.insert(key.clone(), value.to_vec()) };
            let changed = trie.clone().root(&mut Scalar);
            prop_assert_eq!(changed, build(&model, &mut store));
        }
        let count = entries(&store, root).map(Result::unwrap).count();
        prop_assert!(count <= operations.len());
    }
}

#[test]
fn iterator_continues_after_a_missing_atom_is_fetched() {
    let pairs: Vec<([u8; 1], [u8; 1])> = (0..50).map(|i| ([i * 5], [i])).collect();
    let mut store = MemoryStore::new();
    let root = Trie::from_sorted(pairs.clone())
        .unwrap()
        .commit(&mut Scalar, &mut store)
        .unwrap();
    let partial = core::cell::RefCell::new(MemoryStore::new());
    struct Shared<'a>(&'a core::cell::RefCell<MemoryStore>);
    impl AtomSource for Shared<'_> {
        type Error = core::convert::Infallible;
        fn atom(&self, id: &AtomId) -> Result<Atom, SourceError<Self::Error>> {
            self.0.borrow().atom(id)
        }
    }
    let shared = Shared(&partial);
    let mut found = Vec::new();
    for entry in entries(&shared, root) {
        match entry {
            Ok((key, _)) => found.push(key),
            Err(error) => {
                let id = error.missing().unwrap();
                partial.borrow_mut().insert(store.atom(&id).unwrap());
            }
        }
    }
    assert_eq!(
        found,
        pairs
            .iter()
            .map(|(key, _)| key.to_vec())
            .collect::<Vec<_>>()
    );
}

#[test]
fn empty_trie_has_the_zero_id() {
    assert_eq!(Trie::new().root(&mut Scalar), AtomId::ZERO);
    assert!(Trie::open(AtomId::ZERO).is_empty());
    let store = MemoryStore::new();
    assert_eq!(get(&store, AtomId::ZERO, b"x"), Ok(None));
    let mut trie = Trie::new();
    trie.put(&store, b"x", b"1").unwrap();
    assert!(trie.remove(&store, b"x").unwrap() && !trie.remove(&store, b"x").unwrap());
    assert_eq!(trie.root(&mut Scalar), AtomId::ZERO);
}

#[test]
fn roots_match_the_reference() {
    let root = |pairs: &[(&[u8], &[u8])]| -> String {
        let mut trie = Trie::new();
        pairs
            .iter()
            .for_each(|(key, value)| trie.put(&MemoryStore::new(), key, value).unwrap());
        trie.root(&mut Scalar).to_string()
    };
    assert_eq!(
        root(&[(&[0], &[1])]),
        "c20b0a4da61e8411b085f797a86985d6c8feade2603b3ff2ec95ec92ec7393ab"
    );
    assert_eq!(
        root(&[(&[0], &[1]), (&[0x80], &[2]), (&[1], &[3]), (&[0x81], &[4])]),
        "b5bf4ccb1db442ef85ca0e08b05d432b80440894826a9995d3703edbbb8ba12f"
    );
    assert_eq!(
        root(&[(&[0xff], &[1]), (&[0, 0xff], &[2]), (&[1, 0], &[3])]),
        "7249b9fc1ad80981290c6fc47eba16a495a3ace0b01629fe8ba4cbd4c90d02c5"
    );
}

#[test]
fn keys_beyond_the_length_limit_are_rejected() {
    let store = MemoryStore::new();
    let mut trie = Trie::new();
    let longest = [7; MAX_KEY_BYTES];
    trie.put(&store, &longest, b"v").unwrap();
    trie.put(&store, &longest[1..], b"w").unwrap();
    assert_eq!(
        trie.get(&store, &longest).unwrap().as_deref(),
        Some(b"v".as_slice())
    );
    let error = trie.put(&store, &[7; MAX_KEY_BYTES + 1], b"v").unwrap_err();
    assert_eq!(
        error,
        TrieError::KeyTooLong {
            len: MAX_KEY_BYTES + 1
        }
    );
}

#[test]
fn path_of_eight_thousand_nodes_does_not_recurse() {
    let work = || {
        let mut store = MemoryStore::new();
        let mut trie = Trie::new();
        let key = [0xa5; MAX_KEY_BYTES];
        (0..=MAX_KEY_BYTES).for_each(|len| trie.put(&store, &key[..len], b"v").unwrap());
        let root = trie.commit(&mut Scalar, &mut store).unwrap();
        assert_eq!(entries(&store, root).count(), MAX_KEY_BYTES + 1);
        let proof = Proof::prove(&store, root, &key).unwrap();
        assert_eq!(
            proof.verify(root, &key).unwrap().as_deref(),
            Some(b"v".as_slice())
        );
        (0..=MAX_KEY_BYTES).for_each(|len| assert!(trie.remove(&store, &key[..len]).unwrap()));
        assert!(trie.is_empty());
    };
    std::thread::Builder::new()
        .stack_size(64 << 10)
        .spawn(work)
        .unwrap()
        .join()
        .unwrap();
}

#[test]
fn batch_cost_is_proportional_to_the_touched_nodes() {
    struct Counting(usize);
    impl BatchHasher for Counting {
        fn hash_many(&mut self, messages: &[&[u8]], out: &mut [[u8; 32]]) {
            self.0 += messages.len();
            Scalar.hash_many(messages, out);
        }
    }
    let store = MemoryStore::new();
    let key = |i: u32| *blake3::hash(&i.to_be_bytes()).as_bytes();
    let mut trie = Trie::new();
    (0..20_000).for_each(|i| trie.put(&store, &key(i), b"value").unwrap());
    let mut all = Counting(0);
    trie.root(&mut all);
    // At most 20,000 leaves with seven hashes and as many inner nodes with eight.
    assert!(all.0 <= 20_000 * 15, "{} hashes", all.0);
    (0..100).for_each(|i| trie.put(&store, &key(i * 7), b"other").unwrap());
    let mut some = Counting(0);
    trie.root(&mut some);
    // 100 paths of about 16 nodes each, some of them shared.
    assert!(some.0 <= 100 * 16 * 8, "{} hashes", some.0);
    let mut none = Counting(0);
    trie.root(&mut none);
    assert_eq!(none.0, 0);
}

#[test]
fn malformed_node_is_reported() {
    let mut store = MemoryStore::new();
    let id = store.insert(Atom::bytes(*b"no node"));
    assert!(matches!(get(&store, id, b"k"), Err(TrieError::Malformed { node, .. }) if node == id));
    let id = store.insert(Atom::symbol("trie"));
    assert!(matches!(get(&store, id, b"k"), Err(TrieError::Malformed { node, .. }) if node == id));
}

proptest! {
    #[test]
    fn batch_put_matches_single_puts(first in operations(), second in operations()) {
        let mut store = MemoryStore::new();
        let (mut single, mut batch) = (Trie::new(), Trie::new());
        apply(&mut single, &mut Model::new(), &store, &first);
        batch.put_all(&store, &first).unwrap();
        let root = single.commit(&mut Scalar, &mut store).unwrap();
        prop_assert_eq!(batch.root(&mut Scalar), root);
        // Continue in the same trie, and in a reopened one that has to load every node.
        apply(&mut single, &mut Model::new(), &store, &second);
        let after = single.root(&mut Scalar);
        let mut reopened = Trie::open(root);
        for trie in [&mut batch, &mut reopened] {
            trie.put_all(&store, &second).unwrap();
            prop_assert_eq!(trie.root(&mut Scalar), after);
        }
    }
}

#[test]
fn too_long_key_is_rejected_before_a_batch_starts() {
    let mut trie = Trie::new();
    let pairs = [
        (Vec::from(*b"a"), b"1"),
        (alloc::vec![0; MAX_KEY_BYTES + 1], b"2"),
    ];
    let error = trie.put_all(&MemoryStore::new(), &pairs).unwrap_err();
    assert_eq!(error, TrieError::KeyTooLong { len: 8_192 });
    assert!(trie.is_empty());
}
