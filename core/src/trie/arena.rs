//! The nodes of a trie in memory: one cache line each, keys and values in one buffer beside them.

use super::Trie;
use super::bit_slice::Bits;
use crate::atom::AtomId;
use alloc::vec::Vec;
use core::num::{NonZeroU32, NonZeroUsize};

/// Names a place in [`Trie::slots`]: one more than its index.
pub(super) type SlotIndex = NonZeroU32;

/// Where a value starts in an [`Arena`], none for no value.
pub(super) type ValueIndex = Option<NonZeroUsize>;

/// Bytes of keys and values that nothing names any more and that are not worth a compaction.
const MIN_WASTED_BYTES: usize = 64 << 10;

/// How far a node in memory is from the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// Only its id is known, as it was not needed so far.
    Unloaded,
    /// Its id is not known.
    Changed,
    /// Its id is known, its atoms are not written.
    Hashed,
    /// Its atoms are in the store.
    Stored,
    /// No node: the slot can be used again.
    Free,
}

/// A node in memory.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub(super) struct Node {
    pub(super) id: AtomId,
    /// Where its bits start in the arena; as far into a byte as they stand in their key.
    pub(super) key_start: usize,
    pub(super) value: ValueIndex,
    pub(super) children: [Option<SlotIndex>; 2],
    pub(super) key_len: u16,
    pub(super) state: State,
}

impl Node {
    /// A node that is new or changed.
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

    /// The number of its bits.
    pub(super) fn bit_count(&self) -> usize {
        usize::from(self.key_len)
    }
}

/// What `len` bits of a key are in a [`Node`].
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

/// Keys, several nodes sharing the bytes of the one that brought them, and values, each after its
/// length in 8 bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Arena {
    bytes: Vec<u8>,
    /// How many of them nothing names any more, about.
    wasted: usize,
}

impl Arena {
    pub(super) fn reserve(&mut self, bytes: usize) {
        self.bytes.reserve(bytes);
    }

    /// Keeps `bytes`; the index of the first one.
    pub(super) fn add(&mut self, bytes: &[u8]) -> usize {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start
    }

    /// Keeps `value`, unless it is empty.
    pub(super) fn add_value(&mut self, value: &[u8]) -> ValueIndex {
        if value.is_empty() {
            return None;
        }
        // A usize has at most 64 bits on every target that Rust has.
        self.add(&(value.len() as u64).to_le_bytes());
        NonZeroUsize::new(self.add(value))
    }

    /// The value, empty for none.
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

    /// `value` is not needed any more.
    pub(super) fn forget_value(&mut self, value: ValueIndex) {
        if value.is_some() {
            self.wasted += 8 + self.value(value).len();
        }
    }

    /// Takes over what the nodes still name, once that is less than half of all.
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

    /// Gives the node in `at` another value.
    pub(super) fn set_value(&mut self, at: SlotIndex, value: &[u8]) {
        let old = self.node(at).value;
        self.arena.forget_value(old);
        let value = self.arena.add_value(value);
        self.change(at).value = value;
    }

    /// The node in `at` is none any more. Its value is still to be forgotten, or has moved.
    pub(super) fn release(&mut self, at: SlotIndex) {
        self.arena.wasted += self.node(at).bit_count() / 8;
        self.node_mut(at).state = State::Free;
        self.free.push(at);
    }

    /// To be called when an operation is over.
    pub(super) fn compact(&mut self) {
        self.arena.compact(&mut self.slots);
    }

    /// The node in `at`, of which only the id can be used before it is loaded.
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

    /// The node in `at`, which was loaded before, about to be changed.
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
    fn a_node_fills_a_cache_line() {
        assert_eq!(size_of::<Node>(), 64);
    }

    #[test]
    fn what_is_overwritten_and_removed_does_not_pile_up() {
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
