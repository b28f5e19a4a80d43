//! Ordered map of sorted chunks.
//!
//! It replaces [`alloc::collections::BTreeMap`] where the size of the machine code matters, on a
//! microcontroller and in a WebAssembly module: each type of B-tree is two to four kilobytes of code,
//! each type of this map less than one. It is a B-tree of two levels: an operation searches the list
//! of chunks, then one chunk, and moves at most the items of that chunk. At most one in 64 insertions
//! moves the list of chunks.

use alloc::vec::Vec;
use core::borrow::Borrow;
use core::fmt;

/// Number of items at which a chunk is split into halves.
const CHUNK_ITEMS: usize = 128;

/// Ordered map. Its chunks are not empty; their capacity is at most [`CHUNK_ITEMS`].
#[derive(Clone)]
pub(crate) struct SortedMap<K, V> {
    chunks: Vec<Vec<(K, V)>>,
}

impl<K, V> SortedMap<K, V> {
    pub(crate) const fn new() -> Self {
        Self { chunks: Vec::new() }
    }

    #[inline]
    pub(crate) const fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.chunks.clear();
    }

    /// Returns the items in the order of their keys.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        let items = self.chunks.iter().flatten();
        items.map(|(key, value)| (key, value))
    }
}

impl<K: Ord, V> SortedMap<K, V> {
    /// Returns the chunk for `key`, and the position of the key in it, or the position at which to
    /// insert it.
    fn find<Q: Ord + ?Sized>(&self, key: &Q) -> (usize, Result<usize, usize>)
    where
        K: Borrow<Q>,
    {
        let starts_before = |chunk: &Vec<(K, V)>| {
            let first = chunk.first();
            first.is_some_and(|(first, _)| first.borrow().cmp(key).is_le())
        };
        let after = self.chunks.partition_point(starts_before);
        let at = after.saturating_sub(1);
        let chunk = self.chunks.get(at).map_or(&[][..], Vec::as_slice);
        let found = chunk.binary_search_by(|(other, _)| other.borrow().cmp(key));
        (at, found)
    }

    pub(crate) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let (at, found) = self.find(key);
        let (_, value) = self.chunks.get(at)?.get(found.ok()?)?;
        Some(value)
    }

    /// Inserts an item; returns the previous value of its key.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let (at, found) = self.find(&key);
        if self.chunks.is_empty() {
            self.chunks.push(Vec::new());
        }
        let chunk = self.chunks.get_mut(at)?;
        match found {
            Ok(index) => {
                let (_, old) = chunk.get_mut(index)?;
                Some(core::mem::replace(old, value))
            }
            Err(index) => {
                chunk.insert(index, (key, value));
                if chunk.len() >= CHUNK_ITEMS {
                    let half = chunk.split_off(CHUNK_ITEMS / 2);
                    self.chunks.insert(at + 1, half);
                }
                None
            }
        }
    }

    /// Removes an item; returns its value.
    pub(crate) fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let (at, found) = self.find(key);
        let chunk = self.chunks.get_mut(at)?;
        let (_, value) = chunk.remove(found.ok()?);
        let len = chunk.len();
        if len == 0 {
            self.chunks.remove(at);
        } else if len <= chunk.capacity() / 4 {
            // Chunks of few items must not keep the memory of many.
            chunk.shrink_to(2 * len);
        }
        Some(value)
    }
}

impl<K, V> Default for SortedMap<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for SortedMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use proptest::prelude::*;

    fn check(map: &SortedMap<u16, u32>, model: &BTreeMap<u16, u32>) {
        assert!(map.iter().eq(model));
        assert_eq!(map.is_empty(), model.is_empty());
        for chunk in &map.chunks {
            assert!(!chunk.is_empty() && chunk.len() < CHUNK_ITEMS);
            assert!(chunk.capacity() <= CHUNK_ITEMS);
            assert!(chunk.capacity() <= 4 * chunk.len().max(CHUNK_ITEMS / 4));
        }
    }

    #[test]
    fn many_items_are_split_into_chunks() {
        let keys = |order: u16| (0..5000_u16).map(move |key| key.wrapping_mul(order) % 5000);
        // Ascending, descending and scattered.
        for order in [1, u16::MAX, 7919] {
            let (mut map, mut model) = (SortedMap::new(), BTreeMap::new());
            for key in keys(order) {
                assert_eq!(map.insert(key, 1), model.insert(key, 1));
            }
            check(&map, &model);
            assert!(map.chunks.len() > 20);
            for key in keys(7907) {
                assert_eq!(map.remove(&key), model.remove(&key));
            }
            check(&map, &model);
        }
    }

    #[test]
    fn sparse_chunks_release_memory() {
        let mut map = SortedMap::new();
        for key in 0..10_000_u16 {
            map.insert(key, ());
        }
        for key in (0..10_000).filter(|key| key % 60 != 0) {
            map.remove(&key);
        }
        let capacity: usize = map.chunks.iter().map(Vec::capacity).sum();
        assert!(capacity <= 4 * map.iter().count(), "{capacity}");
    }

    #[test]
    fn debug_shows_a_map() {
        let mut map = SortedMap::new();
        map.insert("b", 2);
        map.insert("a", 1);
        assert_eq!(alloc::format!("{map:?}"), r#"{"a": 1, "b": 2}"#);
    }

    proptest! {
        #[test]
        fn operations_match_the_standard_map(
            operations in proptest::collection::vec((0..400_u16, any::<u32>(), 0..3_u8), 0..1500),
        ) {
            let (mut map, mut model) = (SortedMap::new(), BTreeMap::new());
            for (key, value, operation) in operations {
                match operation {
                    0 => prop_assert_eq!(map.remove(&key), model.remove(&key)),
                    _ => prop_assert_eq!(map.insert(key, value), model.insert(key, value)),
                }
                prop_assert_eq!(map.get(&key), model.get(&key));
            }
            check(&map, &model);
            map.clear();
            prop_assert!(map.is_empty() && map.get(&0).is_none());
        }
    }
}
