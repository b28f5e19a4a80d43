//! Reading a stored trie: one key, or keys in order.

use super::bit_slice::{BitBuf, Bits};
use super::node::StoredNode;
use super::{MAX_KEY_BYTES, TrieError, checked_key};
use crate::atom::{AtomId, AtomSource};
use crate::expr::Bytes;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::ops::Bound;

/// The value of `key` in the trie with this root, `None` where there is none.
///
/// # Errors
/// When a node is missing or malformed, or the key is too long.
pub fn get<S: AtomSource + ?Sized>(
    source: &S,
    root: AtomId,
    key: &[u8],
) -> Result<Option<Bytes>, TrieError<S::Error>> {
    get_bits(source, root, checked_key(key)?)
}

/// The value behind the bits `key`, read from the node `id` on.
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

/// Where a key goes at a node.
pub(super) enum Step<'a> {
    /// The node's bits are not the key's.
    Elsewhere,
    /// The key ends here.
    Here,
    /// On to this child, which may be none, with these bits.
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

/// The node's value, `None` if it is empty.
pub(super) fn value_of(node: &StoredNode) -> Option<Bytes> {
    (!node.value().is_empty()).then(|| node.shared_value().into())
}

/// All keys and values in the order of the keys.
pub fn entries<S: AtomSource + ?Sized>(source: &S, root: AtomId) -> Entries<'_, S> {
    Entries::new(source, root, Bound::Unbounded, Bound::Unbounded)
}

/// The keys and values whose keys lie within `bounds`, in the order of the keys.
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

/// The keys and values whose keys start with `start`, in the order of the keys.
pub fn prefix<'a, S: AtomSource + ?Sized>(
    source: &'a S,
    root: AtomId,
    start: &[u8],
) -> Entries<'a, S> {
    // The first key that is greater than all that start so: the prefix, without the 0xff bytes that
    // it ends in, plus one. There is none if it is 0xff bytes only.
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

/// Goes through a stored trie in the order of its keys.
///
/// After an error that names a missing atom the iterator stands where it stood: fetch the atom and
/// call [`Iterator::next`] again. Whoever does not must stop, for it gives the same error for ever.
pub struct Entries<'a, S: ?Sized> {
    source: &'a S,
    start: Bound<Vec<u8>>,
    end: Bound<Vec<u8>>,
    path: BitBuf,
    pending: Vec<Pending>,
}

/// A subtree that is still to be visited.
struct Pending {
    node: AtomId,
    /// The length of the path to the node above.
    above: usize,
    /// The bit that leads here from there; none leads to the root.
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

    /// Whether keys that start with the path, or are the path, can lie after the lower bound.
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
            // A path that starts the bound, or goes past it, leads to keys on its far side.
            path.order(bound.take(path.len())) != Ordering::Less
        }
    }

    /// Whether the path lies before the upper bound; if not, nothing that follows does.
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

/// Moves `path` to the end of `node`'s bits, which stand `above` bits and one for `bit` down.
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
            problem: "no key is as long as its path",
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
