//! The node's store: one facade that the event loop, the API's threads and the machine share.
//!
//! Today it is the [`hot`] store alone, so what is put lives as long as memory has room for it and
//! the process runs; [`Durability`] says so to the caller. Cold storage goes behind this facade.
//!
//! Atoms are spread over shards by a keyed hash. Each shard has its own lock and its own share of
//! the limit, so that a thread that evaluates does not hold up the loop, and a growing index stalls
//! nobody for long. Small limits get one shard, because an atom must fit into a shard's share.

pub mod cold;
pub mod disk;
pub mod hot;
mod journal;
pub mod level;
pub mod map;

use astreum_core::atom::{Atom, AtomId, AtomSink, AtomSource, SourceError};
use core::convert::Infallible;
use core::fmt;
use core::hash::BuildHasher;
use hashbrown::DefaultHashBuilder;
use hot::{HotStats, HotStore};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The most data that an atom may have and still fit into one datagram, in bytes.
pub const MAX_ATOM_DATA_BYTES: usize = 65_368;

/// A shard is never smaller than this.
const SHARD_MIN_BYTES: usize = 4 << 20;
const MAX_SHARDS: usize = 16;

/// How long an acknowledged write lasts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// Until memory is needed for something else, or the process ends. There is no cold storage.
    Memory,
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("not durable: kept in memory only"),
        }
    }
}

/// Why the store did not keep an atom.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum StoreError {
    /// It has more data than one datagram can carry.
    AtomTooLarge {
        /// Bytes of data.
        data_bytes: usize,
    },
    /// It is larger than the whole of the hot storage.
    ExceedsHotStorage {
        /// Bytes that it would take, bookkeeping included.
        entry_bytes: usize,
        /// Bytes that there are for one atom.
        limit_bytes: usize,
    },
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtomTooLarge { data_bytes } => write!(
                f,
                "the atom has {data_bytes} bytes of data and cannot travel in one datagram, which \
                 takes {MAX_ATOM_DATA_BYTES}; cut the data and store it as a list of atoms"
            ),
            Self::ExceedsHotStorage {
                entry_bytes,
                limit_bytes,
            } => write!(
                f,
                "the atom takes {entry_bytes} bytes and hot storage has {limit_bytes} for one atom; \
                 raise hot_storage_limit"
            ),
        }
    }
}

impl core::error::Error for StoreError {}

/// The store; clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shards: Box<[Mutex<HotStore>]>,
    hasher: DefaultHashBuilder,
}

impl Store {
    /// An empty store that keeps at most `hot_limit_bytes` in memory.
    #[must_use]
    pub fn new(hot_limit_bytes: u64) -> Self {
        let limit = usize::try_from(hot_limit_bytes).unwrap_or(usize::MAX);
        let wanted = (limit / SHARD_MIN_BYTES).clamp(1, MAX_SHARDS);
        // Rounded down to a power of two, so that choosing a shard is a mask.
        let count = 1usize << wanted.ilog2();
        let shards = (0..count)
            .map(|_| Mutex::new(HotStore::new(limit / count)))
            .collect();
        let hasher = DefaultHashBuilder::default();
        Self {
            inner: Arc::new(Inner { shards, hasher }),
        }
    }

    /// The atom, if it is here.
    #[must_use]
    pub fn get(&self, id: &AtomId) -> Option<Atom> {
        self.shard(id).get(id)
    }

    /// Whether the atom is here.
    #[must_use]
    pub fn contains(&self, id: &AtomId) -> bool {
        self.shard(id).contains(id)
    }

    /// Keeps `atom`; gives its id and how long the write lasts.
    ///
    /// # Errors
    /// When the atom is too large to travel or to be kept.
    pub fn put(&self, atom: Atom) -> Result<(AtomId, Durability), StoreError> {
        let id = atom.id();
        self.put_known(id, atom).map(|durability| (id, durability))
    }

    /// As [`Self::put`], for an atom whose id is known already.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub fn put_known(&self, id: AtomId, atom: Atom) -> Result<Durability, StoreError> {
        let data_bytes = atom.data().len();
        if data_bytes > MAX_ATOM_DATA_BYTES {
            return Err(StoreError::AtomTooLarge { data_bytes });
        }
        self.shard(&id)
            .put(id, atom)
            .map(|_| Durability::Memory)
            .map_err(|error| StoreError::ExceedsHotStorage {
                entry_bytes: error.entry_bytes,
                limit_bytes: error.limit_bytes,
            })
    }

    /// How long what is put lasts.
    #[must_use]
    pub const fn durability(&self) -> Durability {
        Durability::Memory
    }

    /// Forgets an atom.
    pub fn remove(&self, id: &AtomId) -> Option<Atom> {
        self.shard(id).remove(id)
    }

    /// What the hot store did and holds, all shards together.
    #[must_use]
    pub fn hot_stats(&self) -> HotStats {
        self.inner
            .shards
            .iter()
            .map(|shard| lock(shard).stats())
            .fold(HotStats::default(), |sum, stats| sum.merge(&stats))
    }

    #[expect(
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        reason = "the mask leaves an index below the number of shards, which is a power of two"
    )]
    fn shard(&self, id: &AtomId) -> MutexGuard<'_, HotStore> {
        let Inner { shards, hasher } = &*self.inner;
        lock(&shards[hasher.hash_one(id) as usize & (shards.len() - 1)])
    }
}

/// Nothing under the lock calls out, so a poisoned one can only mean that memory ran out; the node
/// is then better off serving what is there.
fn lock(shard: &Mutex<HotStore>) -> MutexGuard<'_, HotStore> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl AtomSource for Store {
    type Error = Infallible;

    fn atom(&self, id: &AtomId) -> Result<Atom, SourceError<Infallible>> {
        self.get(id).ok_or(SourceError::Missing(*id))
    }
}

impl AtomSink for Store {
    type Error = StoreError;

    fn put(&mut self, id: AtomId, atom: Atom) -> Result<(), StoreError> {
        self.put_known(id, atom).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_atom_that_cannot_travel_is_refused_and_the_largest_that_can_is_kept() {
        let store = Store::new(1 << 20);
        let largest = Atom::bytes(vec![1; MAX_ATOM_DATA_BYTES]);
        let (id, durability) = store.put(largest.clone()).unwrap();
        assert_eq!(store.get(&id), Some(largest));
        assert_eq!(durability, Durability::Memory);
        let data_bytes = MAX_ATOM_DATA_BYTES + 1;
        let error = store.put(Atom::bytes(vec![1; data_bytes])).unwrap_err();
        assert_eq!(error, StoreError::AtomTooLarge { data_bytes });
        assert!(error.to_string().contains("65369") && error.to_string().contains("65368"));
    }

    #[test]
    fn no_hot_storage_keeps_nothing_and_says_which_key_to_raise() {
        let store = Store::new(0);
        let error = store.put(Atom::bytes(*b"x")).unwrap_err();
        assert!(error.to_string().contains("hot_storage_limit"), "{error}");
    }

    #[test]
    fn shards_share_the_limit() {
        for limit in [0, 1 << 20, 9 << 20, 1 << 30] {
            let store = Store::new(limit);
            assert!(store.inner.shards.len().is_power_of_two());
            let total = store.hot_stats().limit_bytes;
            assert!(total <= limit && total + 16 > limit);
        }
        assert_eq!(Store::new(1 << 30).inner.shards.len(), MAX_SHARDS);
    }

    #[test]
    fn threads_see_one_store_within_its_limit() {
        let store = Store::new(16 << 20);
        let put = |from: u32| {
            for number in from..from + 20_000 {
                let (id, _) = store.put(Atom::bytes(number.to_be_bytes())).unwrap();
                assert!(store.contains(&id));
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| put(0));
            scope.spawn(|| put(10_000));
        });
        let stats = store.hot_stats();
        assert_eq!(stats.atoms + stats.evicted, stats.inserted);
        assert!(stats.inserted >= 30_000);
        assert!(stats.used_bytes <= stats.limit_bytes);
    }
}
