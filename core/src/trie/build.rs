//! Bulk construction of a trie from sorted pairs, without lookups.

use super::arena::{Node, SlotIndex, ValueIndex, child_mut, key_len};
use super::{MAX_KEY_BYTES, Trie, TrieError};
use crate::atom::AtomSource;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

/// Number of pairs that are copied before their nodes are created.
const FETCHED_PAIRS: usize = 64;

/// Reason pairs are not the sorted contents of a trie.
///
/// ```
/// use astreum_core::trie::{BuildError, Trie};
/// let unsorted = Trie::from_sorted([("b", "1"), ("a", "2")]);
/// assert_eq!(unsorted.unwrap_err(), BuildError::OutOfOrder { index: 1 });
/// let empty = Trie::from_sorted([("a", "")]);
/// assert_eq!(empty.unwrap_err(), BuildError::EmptyValue { index: 0 });
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BuildError {
    /// A key is not greater than the previous one.
    OutOfOrder {
        /// Index of the pair.
        index: usize,
    },
    /// A key is longer than [`MAX_KEY_BYTES`].
    KeyTooLong {
        /// Index of the pair.
        index: usize,
    },
    /// A value is empty, which would mean that the key is absent.
    EmptyValue {
        /// Index of the pair.
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
                    "the key of pair {index} exceeds the maximum of {MAX_KEY_BYTES} bytes"
                )
            }
            Self::EmptyValue { index } => write!(f, "the value of pair {index} is empty"),
        }
    }
}

impl core::error::Error for BuildError {}

impl Trie {
    /// Creates the trie that contains these pairs, whose keys must be strictly ascending.
    ///
    /// ```
    /// use astreum_core::atom::MemoryStore;
    /// use astreum_core::trie::{Scalar, Trie};
    ///
    /// let store = MemoryStore::new();
    /// let mut built = Trie::from_sorted([("alice", "7"), ("bob", "11")])?;
    /// let mut map = Trie::new();
    /// map.put(&store, b"bob", b"11")?;
    /// map.put(&store, b"alice", b"7")?;
    /// assert_eq!(built.root(&mut Scalar), map.root(&mut Scalar));
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Fails if the keys are not strictly ascending, a key is too long, or a value is empty.
    pub fn from_sorted<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, BuildError> {
        let pairs = pairs.into_iter();
        let mut builder = Builder::default();
        builder.trie.slots.reserve(pairs.size_hint().0 * 2);
        for (index, (key, value)) in pairs.enumerate() {
            let (key, value) = (key.as_ref(), value.as_ref());
            if key.len() > MAX_KEY_BYTES {
                return Err(BuildError::KeyTooLong { index });
            }
            if value.is_empty() {
                return Err(BuildError::EmptyValue { index });
            }
            let pair = builder.keep(key, value);
            if !builder.push(pair) {
                return Err(BuildError::OutOfOrder { index });
            }
        }
        Ok(builder.finish())
    }

    /// Sets the value of each key. An empty value removes the key; of a key that occurs more than
    /// once the last value is used.
    ///
    /// Costs less than separate calls of [`Trie::put`]: in key order, neighbours find their shared
    /// path in the processor's caches, and an empty trie needs no lookups. Hashing is left to
    /// [`Trie::root`] and [`Trie::commit`], which hash every changed node once.
    ///
    /// ```
    /// use astreum_core::atom::NoStore;
    /// use astreum_core::trie::Trie;
    ///
    /// let mut map = Trie::new();
    /// map.put_all(&NoStore, &[("bob", "11"), ("alice", "7"), ("bob", "12")])?;
    /// assert_eq!(map.get(&NoStore, b"bob")?.as_deref(), Some(b"12".as_slice()));
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Trie::put`]. Some keys may have their new values then; calling again with all pairs
    /// completes the operation.
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
        let order = sorted(pairs);
        if self.is_empty() {
            *self = Builder::build(pairs, &order);
            return Ok(());
        }
        for (key, value) in order.iter().filter_map(|entry| pairs.get(entry.index)) {
            self.put(source, key.as_ref(), value.as_ref())?;
        }
        Ok(())
    }
}

/// Index of a pair in the input, with the first bytes of its key.
#[derive(Clone, Copy)]
struct Entry {
    start: u64,
    index: usize,
}

/// Reads the first and the last byte.
fn ends(bytes: &[u8]) -> u8 {
    bytes.first().copied().unwrap_or_default() ^ bytes.last().copied().unwrap_or_default()
}

/// Returns the pairs in key order; of a key that occurs more than once, the last pair.
fn sorted<K: AsRef<[u8]>, V>(pairs: &[(K, V)]) -> Vec<Entry> {
    let key = |entry: &Entry| pairs.get(entry.index).map(|(key, _)| key.as_ref());
    let order: Vec<Entry> = pairs
        .iter()
        .enumerate()
        .map(|(index, (key, _))| Entry {
            start: start(key.as_ref()),
            index,
        })
        .collect();
    let (mut order, ends) = partition_by_prefix(order);
    let mut rest = order.as_mut_slice();
    let mut done = 0;
    for end in ends {
        let Some((part, others)) = core::mem::take(&mut rest).split_at_mut_checked(end - done)
        else {
            break;
        };
        // Most keys differ in their first eight bytes, so the full keys are rarely compared.
        part.sort_unstable_by(|a, b| {
            a.start
                .cmp(&b.start)
                .then_with(|| key(a).cmp(&key(b)))
                .then(b.index.cmp(&a.index))
        });
        (rest, done) = (others, end);
    }
    order.dedup_by(|earlier, kept| earlier.start == kept.start && key(earlier) == key(kept));
    order
}

/// Partitions the entries by the first bits of their keys. Returns them in that order, and the end
/// of each partition: if keys are evenly distributed, a partition has a handful of them.
fn partition_by_prefix(entries: Vec<Entry>) -> (Vec<Entry>, Vec<usize>) {
    let bits = entries.len().checked_ilog2().unwrap_or(0).clamp(3, 19) - 2;
    let run = |entry: &Entry| usize::try_from(entry.start >> (64 - bits)).unwrap_or_default();
    let mut counts = vec![0; 1 << bits];
    for entry in &entries {
        if let Some(count) = counts.get_mut(run(entry)) {
            *count += 1;
        }
    }
    // Next position in each partition; after the loop, its end.
    let mut next = counts;
    let mut sum = 0;
    for count in &mut next {
        sum += core::mem::replace(count, sum);
    }
    let mut order = entries.clone();
    for entry in &entries {
        if let Some(next) = next.get_mut(run(entry)) {
            if let Some(slot) = order.get_mut(*next) {
                *slot = *entry;
            }
            *next += 1;
        }
    }
    (order, next)
}

/// Returns the first eight bytes of a key, zero-padded. Their order is the order of the keys, or
/// they are equal.
fn start(key: &[u8]) -> u64 {
    u64::from_be_bytes(key.first_chunk().copied().unwrap_or_else(|| {
        let mut start = [0; 8];
        start.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
        start
    }))
}

/// Key and value in the arena.
#[derive(Clone, Copy)]
struct Pair {
    /// Start of the key, in bytes.
    key: usize,
    /// Number of bits in the key.
    bits: usize,
    value: ValueIndex,
}

/// Node whose last child is not known yet.
struct Open {
    /// Length of the path to the end of its bits.
    end: usize,
    value: ValueIndex,
    children: [Option<SlotIndex>; 2],
}

/// Builder that creates nodes from sorted keys, each once and after its children: when a key
/// arrives, all nodes that belong only to earlier keys are known.
#[derive(Default)]
struct Builder {
    trie: Trie,
    last: Option<Pair>,
    /// Nodes above the last key, the lowest one last.
    open: Vec<Open>,
}

impl Builder {
    fn build<K: AsRef<[u8]>, V: AsRef<[u8]>>(pairs: &[(K, V)], order: &[Entry]) -> Trie {
        let mut builder = Self::default();
        builder.trie.slots.reserve(order.len() * 2);
        let bytes = |(key, value): &(K, V)| key.as_ref().len() + value.as_ref().len() + 8;
        builder.trie.arena.reserve(pairs.iter().map(bytes).sum());
        let mut fetched = Vec::with_capacity(FETCHED_PAIRS);
        for order in order.chunks(FETCHED_PAIRS) {
            // Pairs are scattered in memory: reading both ends of each first lets the processor
            // load all of them in parallel.
            let pairs_here = order.iter().filter_map(|entry| pairs.get(entry.index));
            let touched = pairs_here.fold(0, |all, (key, value)| {
                all ^ ends(key.as_ref()) ^ ends(value.as_ref())
            });
            core::hint::black_box(touched);
            for (key, value) in order.iter().filter_map(|entry| pairs.get(entry.index)) {
                if !value.as_ref().is_empty() {
                    fetched.push(builder.keep(key.as_ref(), value.as_ref()));
                }
            }
            for pair in fetched.drain(..) {
                builder.push(pair);
            }
        }
        builder.finish()
    }

    fn keep(&mut self, key: &[u8], value: &[u8]) -> Pair {
        Pair {
            key: self.trie.arena.add(key),
            bits: key.len() * 8,
            value: self.trie.arena.add_value(value),
        }
    }

    /// Adds a pair; returns `false` if its key is not greater than the last one.
    fn push(&mut self, pair: Pair) -> bool {
        let Some(last) = self.last.replace(pair) else {
            return true;
        };
        let parting = self.common_len(last, pair);
        if parting == pair.bits || (parting < last.bits && !self.bit(pair, parting)) {
            return false;
        }
        self.close(last, Some(parting));
        true
    }

    fn finish(mut self) -> Trie {
        if let Some(last) = self.last {
            self.close(last, None);
        }
        self.trie
    }

    fn common_len(&self, a: Pair, b: Pair) -> usize {
        let arena = &self.trie.arena;
        let start = |pair: Pair| {
            let bytes = arena.bytes().get(pair.key..)?;
            bytes.first_chunk().map(|start| u64::from_be_bytes(*start))
        };
        let differs = start(a).zip(start(b)).map_or(0, |(a, b)| a ^ b);
        let common = differs.leading_zeros() as usize;
        if differs != 0 && common < a.bits.min(b.bits) {
            return common;
        }
        let bits = |pair: Pair| arena.bits(pair.key * 8, pair.bits);
        bits(a).common_len(bits(b))
    }

    fn bit(&self, pair: Pair, index: usize) -> bool {
        let bits = self.trie.arena.bits(pair.key * 8, pair.bits);
        bits.bit(index).unwrap_or_default()
    }

    /// Creates the nodes that end below `parting`, the length of the common prefix of `last` and
    /// the next key; all of them if no key follows.
    fn close(&mut self, last: Pair, parting: Option<usize>) {
        if parting == Some(last.bits) {
            let (end, value) = (last.bits, last.value);
            self.open.push(Open {
                end,
                value,
                children: [None; 2],
            });
            return;
        }
        let leaf = Open {
            end: last.bits,
            value: last.value,
            children: [None; 2],
        };
        let mut at = self.add(last, leaf, parting);
        while let Some(mut node) = self.open.pop_if(|node| Some(node.end) > parting) {
            *child_mut(&mut node.children, self.bit(last, node.end)) = Some(at);
            at = self.add(last, node, parting);
        }
        let Some(end) = parting else {
            self.trie.root = Some(at);
            return;
        };
        if self.open.last().is_none_or(|node| node.end < end) {
            self.open.push(Open {
                end,
                value: None,
                children: [None; 2],
            });
        }
        let bit = self.bit(last, end);
        if let Some(node) = self.open.last_mut() {
            *child_mut(&mut node.children, bit) = Some(at);
        }
    }

    /// Creates a node on the path to `pair`, below the lowest open node or `parting`.
    fn add(&mut self, pair: Pair, node: Open, parting: Option<usize>) -> SlotIndex {
        let above = self.open.last().map(|node| node.end).max(parting);
        let depth = above.map_or(0, |end| end + 1);
        self.trie.add(Node {
            key_start: pair.key * 8 + depth,
            key_len: key_len(node.end - depth),
            value: node.value,
            children: node.children,
            ..Node::EMPTY
        })
    }
}
