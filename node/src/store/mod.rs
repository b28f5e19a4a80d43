//! The node's store: one facade that the event loop, the API's threads and the virtual machine
//! share.
//!
//! Stored atoms go to the [`hot`] store and, if configured, to the [`cold`] store, which alone
//! outlives the process; [`Durability`] reports which one applied. Atoms received from the
//! network are kept only in the hot store ([`Store::keep`]), as in the reference implementation:
//! other nodes have them too. Parts of a large object, from a user or by stream, go to the cold
//! store alone if there is one ([`Store::put_streamed`]).
//!
//! Atoms are spread over shards by a keyed hash. Each shard has its own lock and its own share of
//! the limit, so that a thread that runs programs does not delay the event loop, and a growing
//! index blocks no thread for long. Small limits get one shard, because an atom must fit into a
//! shard's share.

mod bus_error;
pub mod cold;
pub mod disk;
pub mod hot;
mod journal;
pub mod mmap;
mod open;
pub mod remote;
mod sealed;
mod served;
pub mod sorted_pair;

pub use bus_error::exit_on_bus_error;
pub(crate) use open::NO_OBJECT_STORE;
pub use open::{open_cold, open_cold_to_read};

use crate::config::ColdStorageSync;
use crate::log;
use astreum_core::atom::{Atom, AtomId, AtomSink, AtomSource, SourceError};
use astreum_core::consensus::StoreFailure;
use cold::{ColdError, ColdStore, PinKinds, roots_of};
use core::convert::Infallible;
use core::fmt;
use core::hash::BuildHasher;
use hashbrown::DefaultHashBuilder;
use hot::{HotStats, HotStore};
pub use served::{ServedChecked, ServedMemory, ServedStore};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Maximum data of an atom that fits into one datagram, in bytes.
pub const MAX_ATOM_DATA_BYTES: usize = 65_368;

/// Minimum size of a shard, in bytes, unless there is only one.
const SHARD_MIN_BYTES: usize = 4 << 20;
const MAX_SHARDS: usize = 16;

/// Durability of an acknowledged write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// Kept until the memory is needed or the process ends; there is no cold storage.
    Memory,
    /// Written to the files of cold storage; the system writes them to the disk later. Survives the
    /// end of the process, but not a power loss.
    Files,
    /// On the disk; survives a power loss.
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

/// Reason the store did not keep an atom.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum StoreError {
    /// The atom has more data than fits into one datagram.
    AtomTooLarge {
        /// Size of the data, in bytes.
        data_bytes: usize,
    },
    /// The atom is larger than the hot storage allows for one atom.
    ExceedsHotStorage {
        /// Bytes that the atom would take, including bookkeeping.
        entry_bytes: usize,
        /// Maximum bytes for one atom.
        limit_bytes: usize,
    },
    /// Cold storage rejected the atom.
    Cold(ColdError),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtomTooLarge { data_bytes } => write!(
                f,
                "atom with {data_bytes} bytes of data does not fit into a datagram, the maximum is \
                 {MAX_ATOM_DATA_BYTES}; split the data and store it as a list of atoms"
            ),
            Self::ExceedsHotStorage {
                entry_bytes,
                limit_bytes,
            } => write!(
                f,
                "atom of {entry_bytes} bytes exceeds the hot storage maximum of {limit_bytes} for \
                 one atom; raise hot_storage_limit"
            ),
            Self::Cold(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for StoreError {}

impl StoreError {
    /// Converts the error to the form used by the consensus components. These give the advice for
    /// a limit that is reached.
    #[must_use]
    pub fn failure(&self) -> StoreFailure {
        let message = self.to_string();
        match self {
            Self::Cold(ColdError::LimitReached {
                used_bytes,
                limit_bytes,
            }) => StoreFailure::NoRoom(cold::limit_text(*used_bytes, *limit_bytes)),
            Self::ExceedsHotStorage { .. } | Self::Cold(ColdError::WriteTooLarge { .. }) => {
                StoreFailure::NoRoom(message)
            }
            Self::Cold(ColdError::Io { kind, .. }) if is_no_room(*kind) => {
                StoreFailure::NoRoom(message)
            }
            Self::AtomTooLarge { .. } | Self::Cold(_) => StoreFailure::Failed(message),
        }
    }
}

/// Returns whether an I/O error means that the disk or a quota is full.
#[must_use]
pub const fn is_no_room(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

/// Atom store; clones share the content.
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
    /// Creates an empty store that keeps at most `hot_limit_bytes` in memory.
    #[must_use]
    pub fn new(hot_limit_bytes: u64) -> Self {
        Self::with_cold(hot_limit_bytes, None)
    }

    /// Like [`Self::new`], backed by the cold store `cold`.
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

    /// Sets the maximum bytes in memory; evicts what exceeds it. Returns `false`, and changes
    /// nothing, if an atom might then not fit into a shard: their number is fixed.
    #[must_use]
    pub fn set_hot_limit(&self, hot_limit_bytes: u64) -> bool {
        let limit = usize::try_from(hot_limit_bytes).unwrap_or(usize::MAX);
        let count = self.inner.shards.len();
        if count > 1 && limit / count < SHARD_MIN_BYTES / 2 {
            return false;
        }
        for shard in &self.inner.shards {
            let shard = shard.lock();
            let mut shard = shard.unwrap_or_else(PoisonError::into_inner);
            shard.set_limit(limit / count);
        }
        true
    }

    /// Returns the atom, from memory or cold storage, or `None` if it is not stored or cannot be
    /// read.
    #[must_use]
    pub fn get(&self, id: &AtomId) -> Option<Atom> {
        let hot = self.shard(id).get(id);
        hot.or_else(|| self.cold_atom(id))
    }

    /// Returns the atom if it is in memory.
    #[must_use]
    pub fn get_in_memory(&self, id: &AtomId) -> Option<Atom> {
        self.shard(id).get(id)
    }

    /// Returns whether the atom is in memory.
    #[must_use]
    pub fn is_in_memory(&self, id: &AtomId) -> bool {
        self.shard(id).contains(id)
    }

    fn cold_atom(&self, id: &AtomId) -> Option<Atom> {
        let atom = self.read_cold(id)?;
        // An atom that was requested once is likely to be requested again.
        let _ = self.shard(id).put(*id, atom.clone());
        Some(atom)
    }

    /// Returns an atom of cold storage without bringing it into memory.
    fn read_cold(&self, id: &AtomId) -> Option<Atom> {
        match self.inner.cold.as_ref()?.get(id) {
            Ok(atom) => atom,
            Err(error) => {
                // The network may still have it. Rate-limited, since peers can trigger this at
                // will.
                if let Some(more) = log::limited("cold storage") {
                    log::error!("treating atom {id} as missing: {error}{more}");
                }
                None
            }
        }
    }

    /// Returns the reason that the copy of an atom cannot be read, see [`ColdStore::unreadable`].
    #[must_use]
    pub fn unreadable(&self, id: &AtomId) -> Option<String> {
        self.cold()?.unreadable(id)
    }

    /// Returns whether the atom is stored. The data of an atom in cold storage is not read; see
    /// [`ColdStore::contains`].
    #[must_use]
    pub fn contains(&self, id: &AtomId) -> bool {
        let hot = self.shard(id).contains(id);
        hot || self.cold().is_some_and(|cold| cold.contains(id))
    }

    /// Stores `atom`; returns its id and the durability of the write.
    ///
    /// # Errors
    /// Fails if the atom is too large for a datagram or for the store, or if cold storage fails.
    pub fn put(&self, atom: Atom) -> Result<(AtomId, Durability), StoreError> {
        let id = atom.id();
        self.put_known(id, atom).map(|durability| (id, durability))
    }

    /// Like [`Self::put`], for an atom whose id is known.
    ///
    /// # Errors
    /// Same as [`Self::put`].
    pub fn put_known(&self, id: AtomId, atom: Atom) -> Result<Durability, StoreError> {
        self.put_all(vec![(id, atom)])
    }

    /// Like [`Self::put`], for atoms whose ids are known. All share one write to the disk, so that
    /// many cost little more than one.
    ///
    /// # Errors
    /// Same as [`Self::put`]. Some of the atoms may have been stored.
    pub fn put_all(&self, atoms: Vec<(AtomId, Atom)>) -> Result<Durability, StoreError> {
        self.put_cold(&atoms)?;
        self.keep_all(atoms)?;
        Ok(self.durability())
    }

    /// Like [`Self::put_all`], without a sync, whatever `cold_storage_sync` is: the atoms are
    /// durable after [`Self::sync`], in the order in which they were put.
    ///
    /// # Errors
    /// Same as [`Self::put_all`].
    pub fn put_deferred(&self, atoms: Vec<(AtomId, Atom)>) -> Result<(), StoreError> {
        for (_, atom) in &atoms {
            check_len(atom)?;
        }
        if let Some(cold) = self.cold() {
            cold.put_deferred(&atoms).map_err(StoreError::Cold)?;
        }
        self.keep_all(atoms)
    }

    fn keep_all(&self, atoms: Vec<(AtomId, Atom)>) -> Result<(), StoreError> {
        for (id, atom) in atoms {
            match self.keep_checked(id, atom) {
                // It is in cold storage, and is read from there.
                Err(_) if self.cold().is_some() => {}
                kept => kept?,
            }
        }
        Ok(())
    }

    /// Like [`Self::put_all`], for parts of a large object: cold storage alone keeps them, if there
    /// is one, so that they do not evict other atoms from memory.
    ///
    /// # Errors
    /// Same as [`Self::put_all`].
    pub fn put_streamed(&self, atoms: Vec<(AtomId, Atom)>) -> Result<Durability, StoreError> {
        if self.cold().is_none() {
            return self.put_all(atoms);
        }
        self.put_cold(&atoms)?;
        Ok(self.durability())
    }

    /// Like [`Self::put_streamed`], without a sync, as [`Self::put_deferred`].
    ///
    /// # Errors
    /// Same as [`Self::put_all`].
    pub fn put_streamed_deferred(&self, atoms: Vec<(AtomId, Atom)>) -> Result<(), StoreError> {
        let Some(cold) = self.cold() else {
            return self.keep_all(atoms);
        };
        for (_, atom) in &atoms {
            check_len(atom)?;
        }
        cold.put_deferred(&atoms).map_err(StoreError::Cold)
    }

    /// Like [`Self::put_all`], for atoms that a user stores: pruning keeps them, and what they lead
    /// to, until they are unpinned.
    ///
    /// # Errors
    /// Same as [`Self::put_all`].
    pub fn put_pinned(&self, atoms: Vec<(AtomId, Atom)>) -> Result<Durability, StoreError> {
        let Some(cold) = self.cold() else {
            return self.put_all(atoms);
        };
        for (_, atom) in &atoms {
            check_len(atom)?;
        }
        // Pinned first, so that nothing is pruned in between.
        let pinned = cold.add_pins(&roots_of(&atoms), PinKinds::STORED);
        let new = pinned.map_err(StoreError::Cold)?;
        let stored = self.put_all(atoms);
        if stored.is_err() {
            let _ = cold.remove_pins(&new);
        }
        cold.sync_pins().map_err(StoreError::Cold)?;
        stored
    }

    /// Checks atoms and writes them to cold storage, if there is one.
    fn put_cold(&self, atoms: &[(AtomId, Atom)]) -> Result<(), StoreError> {
        for (_, atom) in atoms {
            check_len(atom)?;
        }
        match self.cold() {
            Some(cold) => cold.put(atoms).map_err(StoreError::Cold),
            None => Ok(()),
        }
    }

    /// Keeps `atom` in memory only, as long as there is room; never waits for a disk.
    ///
    /// # Errors
    /// Fails if the atom is too large for a datagram or for the hot store.
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

    /// Returns the durability of a write.
    #[must_use]
    pub fn durability(&self) -> Durability {
        match self.cold().map(|cold| cold.options().sync) {
            None => Durability::Memory,
            Some(ColdStorageSync::Always) => Durability::Disk,
            Some(ColdStorageSync::Interval | ColdStorageSync::Never) => Durability::Files,
        }
    }

    /// Forces the writes to cold storage to the disk, unless `cold_storage_sync` has done so
    /// already. Does nothing without cold storage.
    ///
    /// # Errors
    /// Fails if the disk fails.
    pub fn sync(&self) -> Result<(), StoreError> {
        match self.cold() {
            Some(cold) if cold.needs_sync() => cold.sync().map_err(StoreError::Cold),
            _ => Ok(()),
        }
    }

    /// Returns the bytes that cold storage can still take, by its limit and by the free space of
    /// the disk, or `None` without cold storage.
    #[must_use]
    pub fn room_bytes(&self) -> Option<u64> {
        self.cold().map(ColdStore::room_bytes)
    }

    /// Returns the cold store, if there is one.
    #[must_use]
    pub fn cold(&self) -> Option<&ColdStore> {
        self.inner.cold.as_ref()
    }

    /// Removes an atom from memory; cold storage is not affected.
    pub fn remove(&self, id: &AtomId) -> Option<Atom> {
        self.shard(id).remove(id)
    }

    /// Returns statistics of the hot store, summed over all shards.
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

/// Locks a shard. The code under the lock calls nothing outside, so a poisoned lock can only mean
/// that memory ran out; serving the remaining atoms is better then than failing.
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

    fn atom_once(&self, id: &AtomId) -> Result<Atom, SourceError<Infallible>> {
        self.served().atom(id)
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
    fn atom_too_large_for_a_datagram_is_refused_and_the_largest_is_kept() {
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
    fn zero_hot_storage_keeps_nothing_and_names_the_configuration_key() {
        let store = Store::new(0);
        let error = store.put(Atom::bytes(*b"x")).unwrap_err();
        assert!(error.to_string().contains("hot_storage_limit"), "{error}");
    }

    #[test]
    fn cold_atoms_are_served_after_a_restart_and_hot_atoms_are_not() {
        let scratch = tempfile::tempdir().unwrap();
        let open = |hot_limit_bytes| {
            let options = cold::ColdOptions::from(&crate::config::Settings::default());
            let cold = ColdStore::open(scratch.path(), options).unwrap();
            Store::with_cold(hot_limit_bytes, Some(cold))
        };
        let (given, fetched) = (Atom::bytes(*b"given"), Atom::bytes(*b"fetched"));
        // Works without room in memory, too.
        let store = open(0);
        let (id, durability) = store.put(given.clone()).unwrap();
        assert_eq!(durability, Durability::Disk);
        assert_eq!(store.get(&id), Some(given.clone()));
        drop(store);
        let store = open(1 << 20);
        store.keep(fetched.id(), fetched.clone()).unwrap();
        assert_eq!(store.get(&id), Some(given.clone()));
        assert!(store.contains(&id) && store.contains(&fetched.id()));
        // `contains` did not count as a lookup, and the second `get` is served from memory.
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
    fn threads_share_one_store_within_its_limit() {
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
