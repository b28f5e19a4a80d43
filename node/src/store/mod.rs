//! The node's store: one facade that the event loop, the API's threads and the machine share.
//!
//! What is put goes to the [`hot`] store and, where there is one, to the [`cold`] store, which alone
//! outlives the process; [`Durability`] says to the caller which it was. What the network brought
//! is kept hot alone ([`Store::keep`]), as the reference does it: others have it as well.
//!
//! Atoms are spread over shards by a keyed hash. Each shard has its own lock and its own share of
//! the limit, so that a thread that evaluates does not hold up the loop, and a growing index stalls
//! nobody for long. Small limits get one shard, because an atom must fit into a shard's share.

mod bus_error;
pub mod cold;
pub mod disk;
pub mod hot;
mod journal;
pub mod level;
pub mod map;
mod served;

pub use bus_error::exit_on_bus_error;

use crate::config::ColdStorageSync;
use crate::log;
use astreum_core::atom::{Atom, AtomId, AtomSink, AtomSource, SourceError};
use astreum_core::consensus::StoreFailure;
use cold::{ColdError, ColdStore};
use core::convert::Infallible;
use core::fmt;
use core::hash::BuildHasher;
use hashbrown::DefaultHashBuilder;
use hot::{HotStats, HotStore};
pub use served::{ServedMemory, ServedStore};
use std::io;
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
    /// It is in the files of cold storage; the system writes them to the disk when it sees fit, so
    /// that the process may end and the power may not.
    Files,
    /// It is on the disk.
    Disk,
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("not durable: kept in memory only"),
            Self::Files => f.write_str("cold storage, not forced to the disk at once"),
            Self::Disk => f.write_str("durable: on the disk when acknowledged"),
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
    /// Cold storage did not take it.
    Cold(ColdError),
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
            Self::Cold(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for StoreError {}

impl StoreError {
    /// Returns the error as the chain's components see it.
    #[must_use]
    pub fn failure(&self) -> StoreFailure {
        let message = self.to_string();
        match self {
            Self::ExceedsHotStorage { .. } | Self::Cold(ColdError::LimitReached { .. }) => {
                StoreFailure::NoRoom(message)
            }
            Self::Cold(ColdError::Io { kind, .. }) if is_no_room(*kind) => {
                StoreFailure::NoRoom(message)
            }
            Self::AtomTooLarge { .. } | Self::Cold(_) => StoreFailure::Failed(message),
        }
    }
}

/// Returns whether an I/O error says that the disk or a quota is full.
#[must_use]
pub const fn is_no_room(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

/// The store; clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shards: Box<[Mutex<HotStore>]>,
    hasher: DefaultHashBuilder,
    cold: Option<ColdStore>,
}

impl Store {
    /// An empty store that keeps at most `hot_limit_bytes` in memory.
    #[must_use]
    pub fn new(hot_limit_bytes: u64) -> Self {
        Self::with_cold(hot_limit_bytes, None)
    }

    /// As [`Self::new`], with what is in `cold` behind it.
    #[must_use]
    pub fn with_cold(hot_limit_bytes: u64, cold: Option<ColdStore>) -> Self {
        let limit = usize::try_from(hot_limit_bytes).unwrap_or(usize::MAX);
        let wanted = (limit / SHARD_MIN_BYTES).clamp(1, MAX_SHARDS);
        // Rounded down to a power of two, so that choosing a shard is a mask.
        let count = 1usize << wanted.ilog2();
        let shards = (0..count)
            .map(|_| Mutex::new(HotStore::new(limit / count)))
            .collect();
        let hasher = DefaultHashBuilder::default();
        Self {
            inner: Arc::new(Inner {
                shards,
                hasher,
                cold,
            }),
        }
    }

    /// The atom, if it is here.
    #[must_use]
    pub fn get(&self, id: &AtomId) -> Option<Atom> {
        let hot = self.shard(id).get(id);
        hot.or_else(|| self.cold_atom(id))
    }

    fn cold_atom(&self, id: &AtomId) -> Option<Atom> {
        let atom = self.read_cold(id)?;
        // What was asked for once is likely to be asked for again.
        let _ = self.shard(id).put(*id, atom.clone());
        Some(atom)
    }

    /// Returns an atom of cold storage, which does not come into memory.
    fn read_cold(&self, id: &AtomId) -> Option<Atom> {
        match self.inner.cold.as_ref()?.get(id) {
            Ok(atom) => atom,
            Err(error) => {
                // The network may have it all the same. Peers can ask for it as often as they like.
                if let Some(more) = log::limited("cold storage") {
                    log::error!("atom {id} counts as missing: {error}{more}");
                }
                None
            }
        }
    }

    /// Whether the atom is here. The data of one in cold storage is not read; see
    /// [`ColdStore::contains`].
    #[must_use]
    pub fn contains(&self, id: &AtomId) -> bool {
        let hot = self.shard(id).contains(id);
        hot || self.cold().is_some_and(|cold| cold.contains(id))
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
        self.put_all(vec![(id, atom)])
    }

    /// As [`Self::put`], for atoms whose ids are known already. All of them share one write to the
    /// disk, so that many cost little more than one.
    ///
    /// # Errors
    /// As [`Self::put`]. Some may have been kept then.
    pub fn put_all(&self, atoms: Vec<(AtomId, Atom)>) -> Result<Durability, StoreError> {
        for (_, atom) in &atoms {
            check_len(atom)?;
        }
        if let Some(cold) = self.cold() {
            cold.put(&atoms).map_err(StoreError::Cold)?;
        }
        for (id, atom) in atoms {
            match self.keep_checked(id, atom) {
                // It is on the disk, and comes from there.
                Err(_) if self.cold().is_some() => {}
                kept => kept?,
            }
        }
        Ok(self.durability())
    }

    /// Keeps `atom` in memory alone, as long as there is room; never waits for a disk.
    ///
    /// # Errors
    /// When the atom is too large to travel or to be kept.
    pub fn keep(&self, id: AtomId, atom: Atom) -> Result<(), StoreError> {
        check_len(&atom)?;
        self.keep_checked(id, atom)
    }

    fn keep_checked(&self, id: AtomId, atom: Atom) -> Result<(), StoreError> {
        self.shard(&id)
            .put(id, atom)
            .map(|_| ())
            .map_err(|error| StoreError::ExceedsHotStorage {
                entry_bytes: error.entry_bytes,
                limit_bytes: error.limit_bytes,
            })
    }

    /// How long what is put lasts.
    #[must_use]
    pub fn durability(&self) -> Durability {
        match self.cold().map(|cold| cold.options().sync) {
            None => Durability::Memory,
            Some(ColdStorageSync::Always) => Durability::Disk,
            Some(ColdStorageSync::Interval | ColdStorageSync::Never) => Durability::Files,
        }
    }

    /// Forces to the disk what was written to cold storage, if there is one and its
    /// `cold_storage_sync` has not done so already.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn sync(&self) -> Result<(), StoreError> {
        match self.cold() {
            Some(cold) if cold.options().sync != ColdStorageSync::Always => {
                cold.sync().map_err(StoreError::Cold)
            }
            _ => Ok(()),
        }
    }

    /// Returns how many bytes cold storage can still take, by its limit and by the disk; `None` where
    /// there is no cold storage.
    #[must_use]
    pub fn room_bytes(&self) -> Option<u64> {
        self.cold().map(ColdStore::room_bytes)
    }

    /// Cold storage, where there is one.
    #[must_use]
    pub fn cold(&self) -> Option<&ColdStore> {
        self.inner.cold.as_ref()
    }

    /// Forgets an atom that is in memory; cold storage forgets none.
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
        let Inner { shards, hasher, .. } = &*self.inner;
        lock(&shards[hasher.hash_one(id) as usize & (shards.len() - 1)])
    }
}

/// Nothing under the lock calls out, so a poisoned one can only mean that memory ran out; the node
/// is then better off serving what is there.
fn lock(shard: &Mutex<HotStore>) -> MutexGuard<'_, HotStore> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

fn check_len(atom: &Atom) -> Result<(), StoreError> {
    let data_bytes = atom.data().len();
    if data_bytes > MAX_ATOM_DATA_BYTES {
        return Err(StoreError::AtomTooLarge { data_bytes });
    }
    Ok(())
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
    fn what_cold_storage_has_is_served_after_a_restart_and_what_was_only_kept_is_not() {
        let scratch = crate::scratch::Scratch::new("store-cold");
        let open = |hot_limit_bytes| {
            let options = cold::ColdOptions::from_config(&crate::config::Config::default());
            let cold = ColdStore::open(scratch.path(), options).unwrap();
            Store::with_cold(hot_limit_bytes, Some(cold))
        };
        let (given, fetched) = (Atom::bytes(*b"given"), Atom::bytes(*b"fetched"));
        // Even without room in memory.
        let store = open(0);
        let (id, durability) = store.put(given.clone()).unwrap();
        assert_eq!(durability, Durability::Disk);
        assert_eq!(store.get(&id), Some(given.clone()));
        drop(store);
        let store = open(1 << 20);
        store.keep(fetched.id(), fetched.clone()).unwrap();
        assert_eq!(store.get(&id), Some(given.clone()));
        assert!(store.contains(&id) && store.contains(&fetched.id()));
        // Asking whether it is there was no lookup, and the second one comes from memory.
        assert_eq!(store.get(&id), Some(given));
        assert_eq!(store.cold().unwrap().stats().hits, 1);
        drop(store);
        let store = open(1 << 20);
        assert!(store.contains(&id) && !store.contains(&fetched.id()));
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
