//! A trie from pairs that are already in order, without looking for their places.

use super::bits::Bits;
use super::edit::{Node, Slot, SlotIndex, State, child_mut};
use super::{MAX_KEY_BYTES, Trie, TrieError};
use crate::atom::{AtomId, AtomSource};
use crate::expr::Bytes;
use alloc::vec::Vec;
use core::fmt;

/// Why pairs are not the sorted contents of a trie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BuildError {
    /// A key is not greater than the one before it.
    OutOfOrder {
        /// The index of the pair.
        index: usize,
    },
    /// A key is longer than [`MAX_KEY_BYTES`].
    KeyTooLong {
        /// The index of the pair.
        index: usize,
    },
    /// A value is empty, which means that the key is absent.
    EmptyValue {
        /// The index of the pair.
        index: usize,
    },
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfOrder { index } => {
                write!(
                    f,
                    "the key of pair {index} is not greater than the one before it"
                )
            }
            Self::KeyTooLong { index } => {
                write!(
                    f,
                    "the key of pair {index} has more than {MAX_KEY_BYTES} bytes"
                )
            }
            Self::EmptyValue { index } => write!(f, "the value of pair {index} is empty"),
        }
    }
}

impl core::error::Error for BuildError {}

impl Trie {
    /// The trie that holds these pairs, whose keys must ascend.
    ///
    /// # Errors
    /// When a key does not ascend or is too long, or a value is empty.
    pub fn from_sorted<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, BuildError> {
        let mut trie = Self::new();
        // The nodes on the way to the last key, each with the depth at which its bits start.
        let mut spine: Vec<(SlotIndex, usize)> = Vec::new();
        let mut last: Option<K> = None;
        for (index, (key, value)) in pairs.into_iter().enumerate() {
            let (bytes, value) = (key.as_ref(), value.as_ref());
            if bytes.len() > MAX_KEY_BYTES {
                return Err(BuildError::KeyTooLong { index });
            }
            if value.is_empty() {
                return Err(BuildError::EmptyValue { index });
            }
            match &last {
                Some(last) if last.as_ref() >= bytes => {
                    return Err(BuildError::OutOfOrder { index });
                }
                Some(last) => {
                    let common = Bits::of(last.as_ref()).common_len(Bits::of(bytes));
                    trie.append(&mut spine, common, bytes, value);
                }
                None => {
                    let leaf = trie.add_leaf(bytes, 0, value);
                    trie.root = Some(leaf);
                    spine.push((leaf, 0));
                }
            }
            last = Some(key);
        }
        Ok(trie)
    }

    /// Gives each key its value; an empty one removes the key, and of a key that comes twice the
    /// last value counts.
    ///
    /// Costs less than one [`Trie::put`] after the other: in the order of the keys, neighbours find
    /// the way that they share in the processor's caches, and into an empty trie none has to look
    /// for its place. Hashing is left to [`Trie::root`] and [`Trie::commit`], which hash every
    /// changed node once.
    ///
    /// # Errors
    /// As [`Trie::put`]. Some keys may have their values then; calling again with all of them does
    /// the rest.
    pub fn put_all<S: AtomSource + ?Sized, K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        source: &S,
        pairs: &[(K, V)],
    ) -> Result<(), TrieError<S::Error>> {
        if let Some((key, _)) = pairs
            .iter()
            .find(|(key, _)| key.as_ref().len() > MAX_KEY_BYTES)
        {
            let len = key.as_ref().len();
            return Err(TrieError::KeyTooLong { len });
        }
        let mut sorted: Vec<(&[u8], &[u8])> = pairs
            .iter()
            .map(|(key, value)| (key.as_ref(), value.as_ref()))
            .collect();
        // Stable, so that of equal keys the last one stays last.
        sorted.sort_by_key(|(key, _)| *key);
        sorted.reverse();
        sorted.dedup_by(|(later, _), (kept, _)| later == kept);
        sorted.reverse();
        if self.is_empty() {
            sorted.retain(|(_, value)| !value.is_empty());
            if let Ok(built) = Self::from_sorted(sorted.iter().copied()) {
                *self = built;
                return Ok(());
            }
        }
        for (key, value) in sorted {
            self.put(source, key, value)?;
        }
        Ok(())
    }

    /// Adds a key that is greater than all others and shares `common` bits with the last one.
    fn append(
        &mut self,
        spine: &mut Vec<(SlotIndex, usize)>,
        common: usize,
        key: &[u8],
        value: &[u8],
    ) {
        // The last node that starts at or before the place where the keys part.
        while spine.len() > 1 && spine.last().is_some_and(|(_, depth)| *depth > common) {
            spine.pop();
        }
        let Some(&(at, depth)) = spine.last() else {
            return;
        };
        let kept = common - depth;
        if kept < self.node(at).key_len {
            self.push_down(at, kept);
        }
        // The new key is greater, so it goes on with a one, or extends the last key by any bit.
        let bit = Bits::of(key).bit(common).unwrap_or_default();
        let leaf = self.add_leaf(key, common + 1, value);
        *child_mut(self.change(at), bit) = Some(leaf);
        spine.push((leaf, common + 1));
    }

    /// Cuts the node in `at` after `kept` bits; what it was becomes its child.
    fn push_down(&mut self, at: SlotIndex, kept: usize) {
        let node = self.node(at).clone();
        let bit = self.key(&node).bit(kept).unwrap_or_default();
        let (key_start, key_len) = (node.key_start, node.key_len);
        let lower = self.add(Slot::Node(Node {
            key_start: key_start + kept + 1,
            key_len: key_len - kept - 1,
            ..node
        }));
        let mut upper = Node {
            key_start,
            key_len: kept,
            value: Bytes::default(),
            children: [None; 2],
            id: AtomId::ZERO,
            state: State::Changed,
        };
        *child_mut(&mut upper, bit) = Some(lower);
        *self.slot_mut(at) = Slot::Node(upper);
    }
}
