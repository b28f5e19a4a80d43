//! Differences between two tries in key order, without reading shared subtrees.

use super::MAX_KEY_BYTES;
use super::TrieError;
use super::bit_slice::{BitBuf, Bits};
use super::iter::value_of;
use super::node::StoredNode;
use crate::atom::{AtomId, AtomSource};
use crate::expr::Bytes;
use alloc::vec::Vec;

/// Key with different values in two tries.
///
/// ```
/// use astreum_core::atom::{AtomId, MemoryStore};
/// use astreum_core::expr::Bytes;
/// use astreum_core::trie::{Change, Scalar, Trie, diff};
///
/// let mut store = MemoryStore::new();
/// let root = Trie::from_sorted([("a", "1")])?.commit(&mut Scalar, &mut store)?;
/// let removed = diff(&store, root, AtomId::ZERO).next().unwrap()?;
/// let before = Some(Bytes::new(b"1"));
/// assert_eq!(removed, Change { key: b"a".to_vec(), before, after: None });
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// The key.
    pub key: Vec<u8>,
    /// Value in the first trie, or `None` if the key is absent there.
    pub before: Option<Bytes>,
    /// Value in the second trie, or `None` if the key is absent there.
    pub after: Option<Bytes>,
}

/// Returns the changes that lead from the trie `before` to the trie `after`, in key order.
///
/// Both are read from `source`. Subtrees that both share are not read.
///
/// ```
/// use astreum_core::atom::MemoryStore;
/// use astreum_core::trie::{Scalar, Trie, diff};
///
/// let mut store = MemoryStore::new();
/// let mut map = Trie::from_sorted([("a", "1"), ("b", "2")])?;
/// let before = map.commit(&mut Scalar, &mut store)?;
/// map.put(&store, b"b", b"3")?;
/// let after = map.commit(&mut Scalar, &mut store)?;
///
/// let changes = diff(&store, before, after).collect::<Result<Vec<_>, _>>()?;
/// assert_eq!((changes.len(), changes[0].key.as_slice()), (1, b"b".as_slice()));
/// assert_eq!(changes[0].after.as_deref(), Some(b"3".as_slice()));
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
pub fn diff<S: AtomSource + ?Sized>(source: &S, before: AtomId, after: AtomId) -> Diff<'_, S> {
    Diff {
        source,
        cursor: DiffCursor::new(before, after),
    }
}

/// Iterator over the changes between two tries; see [`diff`].
///
/// After a missing-atom error the iterator keeps its position, as [`Entries`](super::Entries) does.
pub struct Diff<'a, S: ?Sized> {
    source: &'a S,
    cursor: DiffCursor,
}

impl<S: AtomSource + ?Sized> Iterator for Diff<'_, S> {
    type Item = Result<Change, TrieError<S::Error>>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.cursor.step(self.source) {
                Ok(DiffStep::Node) => {}
                Ok(DiffStep::Change(change)) => return Some(Ok(change)),
                Ok(DiffStep::Done) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// Position in the comparison of two tries, for hosts that compare a bounded number of nodes per
/// call. Borrows nothing. A comparison with the empty trie yields all entries.
///
/// ```
/// use astreum_core::atom::{AtomId, MemoryStore};
/// use astreum_core::trie::{DiffCursor, DiffStep, Scalar, Trie};
///
/// let mut store = MemoryStore::new();
/// let pairs = [("a", "1"), ("b", "2")];
/// let root = Trie::from_sorted(pairs)?.commit(&mut Scalar, &mut store)?;
/// let mut cursor = DiffCursor::new(AtomId::ZERO, root);
/// let mut keys = Vec::new();
/// loop {
///     match cursor.step(&store)? {
///         DiffStep::Node => {} // Other work can be done in between.
///         DiffStep::Change(change) => keys.push(change.key),
///         DiffStep::Done => break,
///     }
/// }
/// assert_eq!(keys, [b"a", b"b"]);
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct DiffCursor {
    path: BitBuf,
    pending: Vec<Pending>,
}

/// Result of [`DiffCursor::step`].
///
/// ```
/// use astreum_core::atom::{AtomId, NoStore};
/// use astreum_core::trie::{DiffCursor, DiffStep};
///
/// // Two equal roots have nothing to compare, and nothing is read.
/// let root = AtomId::new([7; 32]);
/// let step = DiffCursor::new(root, root).step(&NoStore).unwrap();
/// assert!(matches!(step, DiffStep::Done));
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DiffStep {
    /// A node was compared; no key with different values ends there.
    Node,
    /// The next change in key order.
    Change(Change),
    /// There are no more changes.
    Done,
}

/// One trie at a point of a path, which may lie within a node's bits.
#[derive(Clone, Debug)]
struct Side {
    id: AtomId,
    /// Number of the node's bits above the point.
    used: usize,
    node: Option<StoredNode>,
}

/// Point of a path, with both tries there.
#[derive(Clone, Debug)]
struct Pending {
    above: usize,
    bit: Option<bool>,
    sides: [Option<Side>; 2],
}

impl Side {
    fn of(id: AtomId) -> Option<Self> {
        (!id.is_zero()).then_some(Self {
            id,
            used: 0,
            node: None,
        })
    }

    fn rest(&self) -> Bits<'_> {
        self.node
            .as_ref()
            .map_or(Bits::of(&[]), |node| node.key().skip(self.used))
    }

    /// Returns the trie for `bit` after `count` more bits.
    fn after(&self, count: usize, bit: bool) -> Option<Self> {
        let node = self.node.as_ref()?;
        match self.rest().bit(count) {
            Some(own) => (own == bit).then(|| Self {
                used: self.used + count + 1,
                ..self.clone()
            }),
            None => Self::of(node.child(bit)),
        }
    }

    /// Returns the value after `count` more bits, if the node's bits end there.
    fn value_after(&self, count: usize) -> Option<Bytes> {
        let node = self.node.as_ref()?;
        if self.rest().len() == count {
            value_of(node)
        } else {
            None
        }
    }
}

impl DiffCursor {
    /// Starts the comparison of the tries with these roots.
    #[must_use]
    pub fn new(before: AtomId, after: AtomId) -> Self {
        let mut cursor = Self {
            path: BitBuf::default(),
            pending: Vec::new(),
        };
        cursor.push(0, None, Side::of(before), Side::of(after));
        cursor
    }

    /// Returns the ids of nodes that later steps will read, nearest first, for hosts that prefetch.
    /// There are at most two for each bit of the path.
    ///
    /// ```
    /// use astreum_core::atom::AtomId;
    /// use astreum_core::trie::DiffCursor;
    ///
    /// let (before, after) = (AtomId::new([1; 32]), AtomId::new([2; 32]));
    /// let wanted: Vec<AtomId> = DiffCursor::new(before, after).pending_nodes().collect();
    /// assert!(wanted.contains(&before) && wanted.contains(&after));
    /// ```
    pub fn pending_nodes(&self) -> impl Iterator<Item = AtomId> {
        let sides = self.pending.iter().rev().flat_map(|point| &point.sides);
        let unread = sides.flatten().filter(|side| side.node.is_none());
        unread.map(|side| side.id)
    }

    /// Compares the next nodes, at most one of each trie.
    ///
    /// # Errors
    /// Fails if a node is missing or malformed. The cursor keeps its position; call it again once
    /// the missing atom is available.
    pub fn step<S: AtomSource + ?Sized>(
        &mut self,
        source: &S,
    ) -> Result<DiffStep, TrieError<S::Error>> {
        let Some(point) = self.pending.last_mut() else {
            return Ok(DiffStep::Done);
        };
        for side in point.sides.iter_mut().flatten() {
            if side.node.is_none() {
                side.node = Some(StoredNode::load(source, side.id)?);
            }
        }
        // Both continue together as far as they agree, or the only one does.
        let (count, side) = match &point.sides {
            [Some(before), Some(after)] => (before.rest().common_len(after.rest()), before),
            [Some(side), None] | [None, Some(side)] => (side.rest().len(), side),
            [None, None] => {
                self.pending.pop();
                return Ok(DiffStep::Node);
            }
        };
        self.path.truncate(point.above);
        if let Some(bit) = point.bit {
            self.path.push(bit);
        }
        if self.path.len() + count > MAX_KEY_BYTES * 8 {
            let problem = "its path exceeds the maximum key length";
            let node = side.id;
            return Err(TrieError::Malformed { node, problem });
        }
        self.path.extend(side.rest().take(count));
        let depth = self.path.len();
        let Some(Pending {
            sides: [before, after],
            ..
        }) = self.pending.pop()
        else {
            return Ok(DiffStep::Done);
        };
        for bit in [true, false] {
            let below = |side: &Option<Side>| side.as_ref()?.after(count, bit);
            let (before, after) = (below(&before), below(&after));
            self.push(depth, Some(bit), before, after);
        }
        let value = |side: &Option<Side>| side.as_ref()?.value_after(count);
        let (before, after) = (value(&before), value(&after));
        // No key ends in the middle of a byte.
        if before == after || !depth.is_multiple_of(8) {
            return Ok(DiffStep::Node);
        }
        let key = self.path.as_bytes().to_vec();
        Ok(DiffStep::Change(Change { key, before, after }))
    }

    fn push(&mut self, above: usize, bit: Option<bool>, before: Option<Side>, after: Option<Side>) {
        let same = match (&before, &after) {
            (Some(before), Some(after)) => before.id == after.id && before.used == after.used,
            (None, None) => true,
            _ => false,
        };
        if !same {
            self.pending.push(Pending {
                above,
                bit,
                sides: [before, after],
            });
        }
    }
}
