//! What differs between two tries, in the order of the keys, without reading what they share.

use super::MAX_KEY_BYTES;
use super::TrieError;
use super::bits::{BitBuf, Bits};
use super::node::StoredNode;
use super::walk::value_of;
use crate::atom::{AtomId, AtomSource};
use crate::expr::Bytes;
use alloc::vec::Vec;

/// A key whose value is not the same in two tries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// The key.
    pub key: Vec<u8>,
    /// Its value in the first trie, `None` if it has none there.
    pub before: Option<Bytes>,
    /// Its value in the second trie, `None` if it has none there.
    pub after: Option<Bytes>,
}

/// The changes that lead from the trie `before` to the trie `after`, in the order of their keys.
///
/// Both are read from `source`. Subtrees that both share are not read at all.
pub fn diff<S: AtomSource + ?Sized>(source: &S, before: AtomId, after: AtomId) -> Diff<'_, S> {
    let mut diff = Diff {
        source,
        path: BitBuf::default(),
        pending: Vec::new(),
    };
    diff.push(0, None, Side::of(before), Side::of(after));
    diff
}

/// Goes through the changes between two tries; see [`diff`].
///
/// After an error that names a missing atom it stands where it stood, as
/// [`Entries`](super::Entries) does.
pub struct Diff<'a, S: ?Sized> {
    source: &'a S,
    path: BitBuf,
    pending: Vec<Pending>,
}

/// One trie at some point of a path, which may lie within a node's bits.
#[derive(Clone)]
struct Side {
    id: AtomId,
    /// How many of the node's bits lie above the point.
    used: usize,
    node: Option<StoredNode>,
}

/// A point of a path, and both tries there.
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

impl<S: ?Sized> Diff<'_, S> {
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

impl<S: AtomSource + ?Sized> Iterator for Diff<'_, S> {
    type Item = Result<Change, TrieError<S::Error>>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(point) = self.pending.last_mut() {
            for side in point.sides.iter_mut().flatten() {
                if side.node.is_none() {
                    match StoredNode::load(self.source, side.id) {
                        Ok(node) => side.node = Some(node),
                        Err(error) => return Some(Err(error)),
                    }
                }
            }
            let Some(Pending {
                above,
                bit,
                sides: [before, after],
            }) = self.pending.pop()
            else {
                break;
            };
            // Both go on together for as long as they agree, or the only one does.
            let count = match (&before, &after) {
                (Some(before), Some(after)) => before.rest().common_len(after.rest()),
                (Some(side), None) | (None, Some(side)) => side.rest().len(),
                (None, None) => continue,
            };
            self.path.truncate(above);
            if let Some(bit) = bit {
                self.path.push(bit);
            }
            if let Some(side) = before.as_ref().or(after.as_ref()) {
                if self.path.len() + count > MAX_KEY_BYTES * 8 {
                    let problem = "no key is as long as its path";
                    return Some(Err(TrieError::Malformed {
                        node: side.id,
                        problem,
                    }));
                }
                self.path.extend(side.rest().take(count));
            }
            let depth = self.path.len();
            for bit in [true, false] {
                let below = |side: &Option<Side>| side.as_ref()?.after(count, bit);
                let (before, after) = (below(&before), below(&after));
                self.push(depth, Some(bit), before, after);
            }
            let value = |side: &Option<Side>| side.as_ref()?.value_after(count);
            let (before, after) = (value(&before), value(&after));
            if before != after && depth.is_multiple_of(8) {
                let key = self.path.as_bytes().to_vec();
                return Some(Ok(Change { key, before, after }));
            }
        }
        None
    }
}
