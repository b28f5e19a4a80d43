//! Reads of a stored trie: lookup of a key and iteration in key order.

use super::bit_slice::{BitBuf, Bits};
use super::node::StoredNode;
use super::{MAX_KEY_BYTES, TrieError, checked_key};
use crate::atom::{AtomId, AtomSource};
use crate::expr::Bytes;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::ops::Bound;

/// Returns the value of `key` in the trie with this root, or `None` if it is absent.
///
/// ```
/// use astreum_core::atom::MemoryStore;
/// use astreum_core::trie::{self, Scalar, Trie};
///
/// let mut store = MemoryStore::new();
/// let root = Trie::from_sorted([("a", "1")])?.commit(&mut Scalar, &mut store)?;
/// assert_eq!(trie::get(&store, root, b"a")?.as_deref(), Some(b"1".as_slice()));
/// assert_eq!(trie::get(&store, root, b"b")?, None);
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
///
/// # Errors
/// Fails if a node is missing or malformed, or if the key is too long.
pub fn get<S: AtomSource + ?Sized>(
    source: &S,
    root: AtomId,
    key: &[u8],
) -> Result<Option<Bytes>, TrieError<S::Error>> {
    get_bits(source, root, checked_key(key)?)
}

/// Returns the value of the key bits `key`, starting at the node `id`.
pub(super) fn get_bits<S: AtomSource + ?Sized>(
    source: &S,
    id: AtomId,
    key: Bits<'_>,
) -> Result<Option<Bytes>, TrieError<S::Error>> {
    let (mut id, mut rest) = (id, key);
    while !id.is_zero() {
        let node = StoredNode::load(source, id)?;
        match step(&node, rest) {
            Step::Elsewhere => return Ok(None),
            Step::Here => return Ok(value_of(&node)),
            Step::Below { child, rest: below } => (id, rest) = (child, below),
        }
    }
    Ok(None)
}

/// Step of a key at a node.
pub(super) enum Step<'a> {
    /// The node's bits differ from the key.
    Elsewhere,
    /// The key ends here.
    Here,
    /// The key continues at this child, which may be absent, with these bits.
    Below { child: AtomId, rest: Bits<'a> },
}

pub(super) fn step<'a>(node: &StoredNode, key: Bits<'a>) -> Step<'a> {
    let bits = node.key();
    if bits.common_len(key) < bits.len() {
        return Step::Elsewhere;
    }
    let rest = key.skip(bits.len());
    match rest.bit(0) {
        None => Step::Here,
        Some(bit) => Step::Below {
            child: node.child(bit),
            rest: rest.skip(1),
        },
    }
}

/// Returns the node's value, or `None` if it is empty.
pub(super) fn value_of(node: &StoredNode) -> Option<Bytes> {
    (!node.value().is_empty()).then(|| node.shared_value().into())
}

/// Returns all keys and values in key order.
///
/// ```
/// use astreum_core::atom::MemoryStore;
/// use astreum_core::trie::{self, Scalar, Trie};
///
/// let mut store = MemoryStore::new();
/// let pairs = [("a", "1"), ("ab", "2"), ("b", "3")];
/// let root = Trie::from_sorted(pairs)?.commit(&mut Scalar, &mut store)?;
/// for (entry, (key, value)) in trie::entries(&store, root).zip(pairs) {
///     let entry = entry?;
///     assert_eq!((&*entry.0, &*entry.1), (key.as_bytes(), value.as_bytes()));
/// }
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
pub fn entries<S: AtomSource + ?Sized>(source: &S, root: AtomId) -> Entries<'_, S> {
    Entries::new(source, root, Bound::Unbounded, Bound::Unbounded)
}

/// Returns the keys within `bounds` and their values, in key order.
///
/// ```
/// use astreum_core::atom::MemoryStore;
/// use astreum_core::trie::{self, Scalar, Trie};
/// use core::ops::Bound;
///
/// let mut store = MemoryStore::new();
/// let pairs = [("a", "1"), ("b", "2"), ("c", "3")];
/// let root = Trie::from_sorted(pairs)?.commit(&mut Scalar, &mut store)?;
/// let bounds = (Bound::Excluded(b"a".as_slice()), Bound::Included(b"c".as_slice()));
/// let keys = trie::range(&store, root, bounds).map(|entry| entry.map(|(key, _)| key));
/// assert_eq!(keys.collect::<Result<Vec<_>, _>>()?, [b"b", b"c"]);
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
pub fn range<'a, S: AtomSource + ?Sized>(
    source: &'a S,
    root: AtomId,
    bounds: (Bound<&[u8]>, Bound<&[u8]>),
) -> Entries<'a, S> {
    let (start, end) = bounds;
    Entries::new(
        source,
        root,
        start.map(<[u8]>::to_vec),
        end.map(<[u8]>::to_vec),
    )
}

/// Returns the keys that start with `start` and their values, in key order.
///
/// ```
/// use astreum_core::atom::MemoryStore;
/// use astreum_core::trie::{self, Scalar, Trie};
///
/// let mut store = MemoryStore::new();
/// let pairs = [("user/1", "a"), ("user/2", "b"), ("zone", "c")];
/// let root = Trie::from_sorted(pairs)?.commit(&mut Scalar, &mut store)?;
/// assert_eq!(trie::prefix(&store, root, b"user/").count(), 2);
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
pub fn prefix<'a, S: AtomSource + ?Sized>(
    source: &'a S,
    root: AtomId,
    start: &[u8],
) -> Entries<'a, S> {
    // The first key greater than all keys with this prefix: the prefix without its trailing 0xff
    // bytes, plus one. It does not exist if the prefix consists only of 0xff bytes.
    let kept = start
        .iter()
        .rposition(|byte| *byte != 0xff)
        .map_or(0, |last| last + 1);
    let mut end = start.get(..kept).unwrap_or_default().to_vec();
    let end = match end.last_mut() {
        Some(last) => {
            *last += 1;
            Bound::Excluded(end)
        }
        None => Bound::Unbounded,
    };
    Entries::new(source, root, Bound::Included(start.to_vec()), end)
}

/// Iterator over the entries of a stored trie in key order.
///
/// After a missing-atom error the iterator keeps its position: fetch the atom and call
/// [`Iterator::next`] again. Without the atom it returns the same error forever, so the caller must
/// stop.
///
/// ```
/// use astreum_core::atom::MemoryStore;
/// use astreum_core::trie::{self, Scalar, Trie};
///
/// let mut full = MemoryStore::new();
/// let root = Trie::from_sorted([("a", "1")])?.commit(&mut Scalar, &mut full)?;
/// // Reads from a store that has nothing yet, and fetches what is missing.
/// let mut store = MemoryStore::new();
/// let missing = |store: &_| trie::get(store, root, b"a").err().and_then(|error| error.missing());
/// while let Some(missing) = missing(&store) {
///     let (_, atom) = full.iter().find(|(id, _)| **id == missing).unwrap();
///     store.insert(atom.clone());
/// }
/// assert_eq!(trie::entries(&store, root).count(), 1);
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
pub struct Entries<'a, S: ?Sized> {
    source: &'a S,
    start: Bound<Vec<u8>>,
    end: Bound<Vec<u8>>,
    path: BitBuf,
    pending: Vec<Pending>,
}

/// Subtree that is not visited yet.
struct Pending {
    node: AtomId,
    /// Length of the path to the parent node.
    above: usize,
    /// Bit that selects this node in its parent; `None` for the root.
    bit: Option<bool>,
}

impl<'a, S: ?Sized> Entries<'a, S> {
    fn new(source: &'a S, root: AtomId, start: Bound<Vec<u8>>, end: Bound<Vec<u8>>) -> Self {
        let mut pending = Vec::new();
        push(&mut pending, root, 0, None);
        Self {
            source,
            start,
            end,
            path: BitBuf::default(),
            pending,
        }
    }

    /// Returns whether keys that start with the path can be within the lower bound; if `whole_key`
    /// is set, whether the path itself is.
    fn reaches_start(&self, whole_key: bool) -> bool {
        let (bound, inclusive) = match &self.start {
            Bound::Unbounded => return true,
            Bound::Included(bound) => (Bits::of(bound), true),
            Bound::Excluded(bound) => (Bits::of(bound), false),
        };
        let path = self.path.as_bits();
        if whole_key {
            match path.order(bound) {
                Ordering::Less => false,
                Ordering::Equal => inclusive,
                Ordering::Greater => true,
            }
        } else {
            // If the path is a prefix of the bound or greater, keys below it can be within the
            // bound.
            path.order(bound.take(path.len())) != Ordering::Less
        }
    }

    /// Returns whether the path is within the upper bound; if not, no later key is.
    fn reaches_end(&self) -> bool {
        let (bound, inclusive) = match &self.end {
            Bound::Unbounded => return true,
            Bound::Included(bound) => (Bits::of(bound), true),
            Bound::Excluded(bound) => (Bits::of(bound), false),
        };
        match self.path.as_bits().order(bound) {
            Ordering::Less => true,
            Ordering::Equal => inclusive,
            Ordering::Greater => false,
        }
    }
}

fn push(pending: &mut Vec<Pending>, node: AtomId, above: usize, bit: Option<bool>) {
    if !node.is_zero() {
        pending.push(Pending { node, above, bit });
    }
}

/// Moves `path` to the end of `node`'s bits, which start after `above` bits and one for `bit`.
pub(super) fn follow<E>(
    path: &mut BitBuf,
    above: usize,
    bit: Option<bool>,
    node: &StoredNode,
    id: AtomId,
) -> Result<(), TrieError<E>> {
    path.truncate(above);
    if let Some(bit) = bit {
        path.push(bit);
    }
    if path.len() + node.key().len() > MAX_KEY_BYTES * 8 {
        return Err(TrieError::Malformed {
            node: id,
            problem: "its path exceeds the maximum key length",
        });
    }
    path.extend(node.key());
    Ok(())
}

impl<S: AtomSource + ?Sized> Iterator for Entries<'_, S> {
    type Item = Result<(Vec<u8>, Bytes), TrieError<S::Error>>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(&Pending {
            node: id,
            above,
            bit,
        }) = self.pending.last()
        {
            let node = match StoredNode::load(self.source, id) {
                Ok(node) => node,
                Err(error) => return Some(Err(error)),
            };
            let followed = follow(&mut self.path, above, bit, &node, id);
            if let Err(error) = followed {
                return Some(Err(error));
            }
            self.pending.pop();
            if !self.reaches_end() {
                self.pending.clear();
                return None;
            }
            if !self.reaches_start(false) {
                continue;
            }
            let depth = self.path.len();
            push(&mut self.pending, node.child(true), depth, Some(true));
            push(&mut self.pending, node.child(false), depth, Some(false));
            // No key ends in the middle of a byte.
            if depth.is_multiple_of(8)
                && let Some(value) = value_of(&node)
                && self.reaches_start(true)
            {
                return Some(Ok((self.path.as_bytes().to_vec(), value)));
            }
        }
        None
    }
}
