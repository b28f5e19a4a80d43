//! Fuzz target of the trie, compared with an ordered map, over a source in which every atom is
//! missing on the first read.

use super::input::{byte_or, bytes, operations};
use crate::model::first_miss_store::{self, FirstMissStore};
use arbitrary::{Arbitrary, Unstructured};
use astreum_core::atom::AtomId;
use astreum_core::trie::{Proof, Scalar, Trie, TrieError, diff, entries, get, prefix};
use core::convert::Infallible;
use std::collections::{BTreeMap, BTreeSet};

/// Maximum key length in bytes: short, so that many keys are prefixes of others.
const MAX_KEY_BYTES: usize = 6;
/// Maximum number of operations per run.
const MAX_OPERATIONS: usize = 48;

/// Operation on the trie, with its key.
#[derive(Clone, Copy, Debug)]
enum Operation<'a> {
    /// An empty value removes the key.
    Put(&'a [u8], &'a [u8]),
    Remove(&'a [u8]),
    Get(&'a [u8]),
    Commit(&'a [u8], Promise),
    /// Drops the changes since the last commit.
    Reopen,
}

/// Promise that is checked after a commit: one, because each costs far more than the commit.
#[derive(Clone, Copy, Debug)]
enum Promise {
    Reads,
    Encoding,
    Diff,
}

impl From<usize> for Promise {
    fn from(number: usize) -> Self {
        match number % 3 {
            0 => Self::Reads,
            1 => Self::Encoding,
            _ => Self::Diff,
        }
    }
}

impl<'a> Arbitrary<'a> for Operation<'a> {
    fn arbitrary(input: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let code = u8::arbitrary(input)?;
        let key = bytes(input, usize::from(code >> 4) % (MAX_KEY_BYTES + 1));
        Ok(match code & 7 {
            0..=2 => {
                let len = usize::from(byte_or(input, 1)) % 40;
                Self::Put(key, bytes(input, len))
            }
            3 | 4 => Self::Remove(key),
            5 => Self::Get(key),
            6 => Self::Commit(key, usize::from(code >> 3).into()),
            _ => Self::Reopen,
        })
    }
}

/// Repeats the call until no atom is missing any more.
fn retry_missing<T>(call: impl FnMut() -> Result<T, TrieError<Infallible>>) -> T {
    first_miss_store::retry_missing(call, TrieError::missing)
}

/// Collects the entries of an iterator that keeps its position while an atom is missing.
fn collect_with_missing<T, C: FromIterator<T>>(
    entries: impl Iterator<Item = Result<T, TrieError<Infallible>>>,
) -> C {
    let mut missing = AtomId::ZERO;
    let here = entries.filter_map(|entry| match entry {
        Ok(entry) => Some(entry),
        Err(error) => match error.missing() {
            Some(id) => {
                assert_ne!(missing, id, "missing although it was supplied");
                missing = id;
                None
            }
            None => panic!("{error:?}"),
        },
    });
    here.collect()
}

/// Runs puts, removals, reads, commits and proofs in the order of the bytes.
pub fn run(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let mut store = FirstMissStore::default();
    let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let mut committed = (AtomId::ZERO, model.clone());
    let mut trie = Trie::new();
    for operation in operations(&mut input, MAX_OPERATIONS) {
        match operation {
            Operation::Put(key, value) => {
                retry_missing(|| trie.put(&store, key, value));
                if value.is_empty() {
                    model.remove(key);
                } else {
                    model.insert(key.to_vec(), value.to_vec());
                }
            }
            Operation::Remove(key) => {
                let was_there = retry_missing(|| trie.remove(&store, key));
                assert_eq!(was_there, model.remove(key).is_some(), "removed {key:?}");
            }
            Operation::Get(key) => {
                let value = retry_missing(|| trie.get(&store, key));
                assert_eq!(value.as_deref(), model.get(key).map(Vec::as_slice));
            }
            Operation::Commit(key, promise) => {
                let Ok(root) = trie.commit(&mut Scalar, &mut store.all);
                check(promise, &store, &committed, root, &model, key);
                committed = (root, model.clone());
                trie = Trie::open(root);
            }
            Operation::Reopen => {
                trie = Trie::open(committed.0);
                model.clone_from(&committed.1);
            }
        }
    }
    let Ok(root) = trie.commit(&mut Scalar, &mut store.all);
    let key = model.keys().next().cloned().unwrap_or_default();
    let promise = super::selection(data, 3).into();
    check(promise, &store, &committed, root, &model, &key);
}

/// Checks one promise about a committed trie, with every atom missing once.
fn check(
    promise: Promise,
    store: &FirstMissStore,
    before: &(AtomId, BTreeMap<Vec<u8>, Vec<u8>>),
    root: AtomId,
    model: &BTreeMap<Vec<u8>, Vec<u8>>,
    key: &[u8],
) {
    store.forget();
    match promise {
        Promise::Reads => check_reads(store, root, model, key),
        Promise::Encoding => check_encoding(store, root, model, key),
        Promise::Diff => check_diff(store, before, root, model),
    }
}

/// Checks that committed contents read back.
fn check_reads(
    store: &FirstMissStore,
    root: AtomId,
    model: &BTreeMap<Vec<u8>, Vec<u8>>,
    key: &[u8],
) {
    let read: Vec<_> = collect_with_missing(entries(store, root));
    let read = read.iter().map(|(key, value)| (&**key, &**value));
    assert!(
        read.eq(model.iter().map(|(key, value)| (&**key, &**value))),
        "all entries"
    );
    store.forget();
    let first = key.get(..1).unwrap_or_default();
    let below: Vec<_> = collect_with_missing(prefix(store, root, first));
    let expected = model.keys().filter(|key| key.starts_with(first));
    assert!(
        below.iter().map(|(key, _)| key).eq(expected),
        "entries below {first:?}"
    );
}

/// Checks that the encoding of these contents is canonical, and that a key is proven and read as
/// present or absent.
fn check_encoding(
    store: &FirstMissStore,
    root: AtomId,
    model: &BTreeMap<Vec<u8>, Vec<u8>>,
    key: &[u8],
) {
    let pairs: Vec<(&[u8], &[u8])> = model.iter().map(|(k, v)| (&**k, &**v)).collect();
    let built = Trie::from_sorted(pairs).map(|mut trie| trie.root(&mut Scalar));
    assert_eq!(
        built.ok(),
        Some(root),
        "the root depends only on the contents"
    );
    let proof = retry_missing(|| Proof::prove(store, root, key));
    let proven = proof.verify(root, key);
    assert_eq!(
        proven.ok().map(|value| value.map(|value| value.to_vec())),
        Some(model.get(key).cloned())
    );
    let value = retry_missing(|| get(store, root, key));
    assert_eq!(value.as_deref(), model.get(key).map(Vec::as_slice));
}

fn check_diff(
    store: &FirstMissStore,
    before: &(AtomId, BTreeMap<Vec<u8>, Vec<u8>>),
    root: AtomId,
    model: &BTreeMap<Vec<u8>, Vec<u8>>,
) {
    let changes = diff(store, before.0, root);
    let changed: BTreeSet<Vec<u8>> =
        collect_with_missing(changes.map(|change| change.map(|change| change.key.to_vec())));
    let keys = before.1.keys().chain(model.keys());
    let expected: BTreeSet<&Vec<u8>> = keys
        .filter(|key| before.1.get(*key) != model.get(*key))
        .collect();
    assert!(changed.iter().eq(expected), "changes since {}", before.0);
}
