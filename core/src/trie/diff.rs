//! Differences between two tries, in the order of the keys, without reading what they share.

use super::MAX_KEY_BYTES;
use super::TrieError;
use super::bit_slice::{BitBuf, Bits};
use super::iter::value_of;
use super::node::StoredNode;
use crate::atom::{AtomId, AtomSource};
use crate::expr::Bytes;
use alloc::vec::Vec;

/// A key with different values in two tries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// The key.
    pub key: Vec<u8>,
    /// Its value in the first trie, `None` if it has none there.
    pub before: Option<Bytes>,
    /// Its value in the second trie, `None` if it has none there.
    pub after: Option<Bytes>,
}

/// Returns the changes that lead from the trie `before` to the trie `after`, in the order of their
/// keys.
///
/// Both are read from `source`. Subtrees that both share are not read at all.
pub fn diff<S: AtomSource + ?Sized>(source: &S, before: AtomId, after: AtomId) -> Diff<'_, S> {
    Diff {
        source,
        cursor: DiffCursor::new(before, after),
    }
}

/// Iterator over the changes between two tries; see [`diff`].
///
/// After an error that names a missing atom it stands where it stood, as
/// [`Entries`](super::Entries) does.
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
/// call. Borrows nothing; the differences from the empty trie are all entries.
#[derive(Clone, Debug)]
pub struct DiffCursor {
    path: BitBuf,
    pending: Vec<Pending>,
}

/// Result of [`DiffCursor::step`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DiffStep {
    /// A node was compared, and no key ends there with another value.
    Node,
    /// The next change in the order of the keys.
    Change(Change),
    /// There are no more changes.
    Done,
}

/// One trie at some point of a path, which may lie within a node's bits.
#[derive(Clone, Debug)]
struct Side {
    id: AtomId,
    /// How many of the node's bits lie above the point.
    used: usize,
    node: Option<StoredNode>,
}

/// A point of a path, and both tries there.
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

    /// The trie behind `bit` after `count` more bits.
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

    /// The value after `count` more bits, if the node's bits end there.
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

    /// Returns the ids of nodes that later steps will read, nearest first, for hosts that fetch
    /// ahead. There are at most two for each bit of the path.
    pub fn pending_nodes(&self) -> impl Iterator<Item = AtomId> {
        let sides = self.pending.iter().rev().flat_map(|point| &point.sides);
        let unread = sides.flatten().filter(|side| side.node.is_none());
        unread.map(|side| side.id)
    }

    /// Compares the next nodes: one of each trie, at most.
    ///
    /// # Errors
    /// When a node is missing or malformed. The cursor has not moved; it may be called again once
    /// the missing atom is there.
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
        // Both go on together for as long as they agree, or the only one does.
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
            let problem = "no key is as long as its path";
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
