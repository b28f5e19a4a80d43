//! In-memory nodes of a trie: one cache line each, with keys and values in a shared buffer.

use super::Trie;
use super::bit_slice::Bits;
use crate::atom::AtomId;
use alloc::vec::Vec;
use core::num::{NonZeroU32, NonZeroUsize};

/// Number of a slot in [`Trie::slots`]: one more than its index.
pub(super) type SlotIndex = NonZeroU32;

/// Start of a value in an [`Arena`]; `None` if there is no value.
pub(super) type ValueIndex = Option<NonZeroUsize>;

/// Number of unreferenced bytes of keys and values below which compaction is not worth its cost.
const MIN_WASTED_BYTES: usize = 64 << 10;

/// State of an in-memory node relative to the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// Only the id is known; the node has not been needed yet.
    Unloaded,
    /// The node is new or changed, so its id is not known.
    Changed,
    /// The id is known; the atoms are not written.
    Hashed,
    /// The atoms are in the store.
    Stored,
    /// The slot is unused and can be reused.
    Free,
}

/// In-memory node.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub(super) struct Node {
    pub(super) id: AtomId,
    /// Start of its bits in the arena, in bits. The offset within a byte is the same as in the full
    /// key.
    pub(super) key_start: usize,
    pub(super) value: ValueIndex,
    pub(super) children: [Option<SlotIndex>; 2],
    pub(super) key_len: u16,
    pub(super) state: State,
}

impl Node {
    /// New or changed node without contents.
    pub(super) const EMPTY: Self = Self {
        id: AtomId::ZERO,
        key_start: 0,
        value: None,
        children: [None; 2],
        key_len: 0,
        state: State::Changed,
    };

    pub(super) const fn unloaded(id: AtomId) -> Self {
        Self {
            id,
            state: State::Unloaded,
            ..Self::EMPTY
        }
    }

    /// Returns the number of bits in the node's key.
    pub(super) fn bit_count(&self) -> usize {
        usize::from(self.key_len)
    }
}

/// Converts a number of key bits to its form in a [`Node`].
pub(super) fn key_len(len: usize) -> u16 {
    // The callers have checked that a path has at most 65,528 bits.
    u16::try_from(len).unwrap_or(u16::MAX)
}

pub(super) const fn child(node: &Node, bit: bool) -> Option<SlotIndex> {
    let [zero, one] = node.children;
    if bit { one } else { zero }
}

pub(super) const fn child_mut(
    children: &mut [Option<SlotIndex>; 2],
    bit: bool,
) -> &mut Option<SlotIndex> {
    let [zero, one] = children;
    if bit { one } else { zero }
}

/// Buffer of keys and values. Several nodes share the bytes of the key that created them; each
/// value is preceded by its length in 8 bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Arena {
    bytes: Vec<u8>,
    /// Approximate number of bytes that are no longer referenced.
    wasted: usize,
}

impl Arena {
    pub(super) fn reserve(&mut self, bytes: usize) {
        self.bytes.reserve(bytes);
    }

    /// Stores `bytes` and returns the index of the first one.
    pub(super) fn add(&mut self, bytes: &[u8]) -> usize {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start
    }

    /// Stores `value`; an empty value is `None`.
    pub(super) fn add_value(&mut self, value: &[u8]) -> ValueIndex {
        if value.is_empty() {
            return None;
        }
        // A usize has at most 64 bits on every target that Rust supports.
        self.add(&(value.len() as u64).to_le_bytes());
        NonZeroUsize::new(self.add(value))
    }

    /// Returns the value; empty if there is none.
    pub(super) fn value(&self, value: ValueIndex) -> &[u8] {
        let Some((head, tail)) = value.and_then(|start| self.bytes.split_at_checked(start.get()))
        else {
            return &[];
        };
        let len = head.last_chunk().map_or(0, |len| u64::from_le_bytes(*len));
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        tail.get(..len).unwrap_or_default()
    }

    pub(super) fn bits(&self, start: usize, len: usize) -> Bits<'_> {
        Bits::new(&self.bytes, start, len)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Marks `value` as unreferenced.
    pub(super) fn forget_value(&mut self, value: ValueIndex) {
        if value.is_some() {
            self.wasted += 8 + self.value(value).len();
        }
    }

    /// Copies the referenced bytes to a new buffer once they are at most half of all bytes.
    fn compact(&mut self, nodes: &mut [Node]) {
        if self.wasted < MIN_WASTED_BYTES || self.wasted < self.bytes.len() / 2 {
            return;
        }
        let old = core::mem::take(self);
        let is_loaded = |node: &&mut Node| !matches!(node.state, State::Unloaded | State::Free);
        for node in nodes.iter_mut().filter(is_loaded) {
            let end = (node.key_start + node.bit_count()).div_ceil(8);
            let key = old.bytes.get(node.key_start / 8..end).unwrap_or_default();
            node.key_start = self.add(key) * 8 + node.key_start % 8;
            node.value = self.add_value(old.value(node.value));
        }
    }
}

impl Trie {
    pub(super) fn key(&self, node: &Node) -> Bits<'_> {
        self.arena.bits(node.key_start, node.bit_count())
    }

    pub(super) fn value(&self, node: &Node) -> &[u8] {
        self.arena.value(node.value)
    }

    pub(super) fn add(&mut self, node: Node) -> SlotIndex {
        if let Some(index) = self.free.pop() {
            *self.node_mut(index) = node;
            return index;
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "2^32 slots are 256 GiB, and far more in their keys"
        )]
        let index = SlotIndex::MIN.saturating_add(self.slots.len() as u32);
        self.slots.push(node);
        index
    }

    pub(super) fn add_leaf(&mut self, key: &[u8], depth: usize, value: &[u8]) -> SlotIndex {
        let key_start = self.arena.add(key) * 8 + depth;
        let value = self.arena.add_value(value);
        self.add(Node {
            key_start,
            key_len: key_len(key.len() * 8 - depth),
            value,
            ..Node::EMPTY
        })
    }

    /// Replaces the value of the node in `at`.
    pub(super) fn set_value(&mut self, at: SlotIndex, value: &[u8]) {
        let old = self.node(at).value;
        self.arena.forget_value(old);
        let value = self.arena.add_value(value);
        self.change(at).value = value;
    }

    /// Frees the slot `at`. The value of the node must be moved or marked as unreferenced
    /// separately.
    pub(super) fn release(&mut self, at: SlotIndex) {
        self.arena.wasted += self.node(at).bit_count() / 8;
        self.node_mut(at).state = State::Free;
        self.free.push(at);
    }

    /// Compacts the arena if it is worthwhile. Called at the end of each operation.
    pub(super) fn compact(&mut self) {
        self.arena.compact(&mut self.slots);
    }

    /// Returns the node in `at`; only its id is valid before it is loaded.
    #[expect(
        clippy::indexing_slicing,
        reason = "indexes come from `add`; slots never go away"
    )]
    pub(super) fn node(&self, at: SlotIndex) -> &Node {
        &self.slots[(at.get() - 1) as usize]
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "indexes come from `add`; slots never go away"
    )]
    pub(super) fn node_mut(&mut self, at: SlotIndex) -> &mut Node {
        &mut self.slots[(at.get() - 1) as usize]
    }

    /// Marks the node in `at`, which must be loaded, as changed and returns it.
    pub(super) fn change(&mut self, at: SlotIndex) -> &mut Node {
        let node = self.node_mut(at);
        node.state = State::Changed;
        node
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atom::NoStore;

    #[test]
    fn node_size_is_one_cache_line() {
        assert_eq!(size_of::<Node>(), 64);
    }

    #[test]
    fn overwritten_and_removed_values_are_reclaimed() {
        let (mut trie, value) = (Trie::new(), [7; 1_000]);
        let key = |i: u32| *blake3::hash(&(i % 50).to_be_bytes()).as_bytes();
        for i in 0..10_000_u32 {
            let len = 900 + i as usize % 100;
            if i % 3 == 0 {
                trie.remove(&NoStore, &key(i)).unwrap();
            }
            trie.put(&NoStore, &key(i), &value[..len]).unwrap();
            assert!(trie.arena.bytes.len() < 4 * MIN_WASTED_BYTES);
        }
        for i in 9_950..10_000 {
            let found = trie.get(&NoStore, &key(i)).unwrap().unwrap();
            assert_eq!(*found, value[..900 + i as usize % 100]);
        }
    }
}
