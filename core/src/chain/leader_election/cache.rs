//! Cache of the elections of recent blocks.

use super::election::Election;
use super::known::KnownElections;
use super::loader::ElectionLoader;
use super::stake_table::StakeTable;
use crate::atom::{AtomId, AtomSource};
use crate::chain::{Block, RecordError};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Maximum number of elections in a cache.
pub const MAX_CACHED_ELECTIONS: usize = 64;
/// Maximum number of elections that a cache loads at a time; the least recently requested is
/// dropped.
const MAX_LOADERS: usize = 8;

/// Elections by block; the one that was added first is dropped first. Stake tables of one chain
/// share their common parts, so all of them take little more memory than one.
///
/// ```
/// use astreum_core::chain::{Election, ElectionCache};
/// # use astreum_core::atom::MemoryStore;
/// # use astreum_core::chain::{Address, Genesis};
/// # use astreum_core::crypto::SigningKey;
/// # use astreum_core::integer::Natural;
/// # use astreum_core::trie::Scalar;
/// # let key = SigningKey::from_seed(&[1; 32]);
/// # let validator = Address::from(key.verifying_key());
/// # let mut store = MemoryStore::new();
/// # let genesis = Genesis::new(validator, Natural::ZERO, 1_700_000_000_u64.into());
/// # let parent = genesis.build(&mut Scalar, &mut store)?;
/// let mut cache = ElectionCache::default();
/// let election = loop {
///     // At most 100 headers and trie nodes in each call.
///     if let Some(election) = cache.load(&store, &parent, 100)? {
///         break election;
///     }
/// };
/// assert_eq!(election.stakes, Election::read(&store, &parent)?.stakes);
/// assert!(cache.get(&parent.id()).is_some());
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ElectionCache {
    elections: BTreeMap<AtomId, (u64, Election)>,
    added: u64,
    loaders: Vec<ElectionLoader>,
}

impl ElectionCache {
    /// Returns the election after `block`, which must have been verified: from the cache, or read
    /// from `source`, with at most `steps` headers and trie nodes in this call. Returns `None` if
    /// there is more to read; call again.
    ///
    /// # Errors
    /// As [`ElectionLoader::run`]. After headers or stakes that are malformed, the next call reads
    /// everything again.
    pub fn load<S: AtomSource + ?Sized>(
        &mut self,
        source: &S,
        block: &Block,
        steps: u32,
    ) -> Result<Option<Election>, RecordError<S::Error>> {
        let id = block.id();
        if let Some(known) = self.get(&id) {
            return Ok(Some(known.clone()));
        }
        let begun = self.loaders.iter().position(|loader| loader.block() == id);
        let mut loader = match begun {
            Some(begun) => self.loaders.remove(begun),
            None => ElectionLoader::new(block, None),
        };
        let read = loader.run(source, Some(&*self), steps);
        if let Ok(Some(election)) = &read {
            self.insert(election.clone());
            return read;
        }
        // It has passed over what is malformed, and would go on without it.
        if matches!(read, Err(RecordError::Malformed { .. })) {
            return read;
        }
        if self.loaders.len() == MAX_LOADERS {
            self.loaders.remove(0);
        }
        self.loaders.push(loader);
        read
    }

    /// Returns the election after this block.
    #[must_use]
    pub fn get(&self, block: &AtomId) -> Option<&Election> {
        self.elections.get(block).map(|(_, election)| election)
    }

    /// Adds an election.
    pub fn insert(&mut self, election: Election) {
        self.added += 1;
        self.elections
            .insert(election.block(), (self.added, election));
        if self.elections.len() > MAX_CACHED_ELECTIONS {
            let oldest = self.elections.iter().min_by_key(|(_, (added, _))| *added);
            if let Some(oldest) = oldest.map(|(id, _)| *id) {
                self.elections.remove(&oldest);
            }
        }
    }

    /// Returns the best table to start from for the treasury data root `root` after a block of this
    /// height: a table with the same root, else that of the block nearest in height; of two equal
    /// ones the one added later.
    #[must_use]
    pub fn nearest_stakes(&self, root: AtomId, height: u64) -> Option<StakeTable> {
        let distance = |(added, election): &(u64, Election)| {
            let is_other = election.stakes.root() != root;
            let far = election.seeds.height().abs_diff(height);
            (is_other, far, core::cmp::Reverse(*added))
        };
        let nearest = self.elections.values().min_by_key(|entry| distance(entry));
        nearest.map(|(_, election)| election.stakes.clone())
    }
}

impl KnownElections for ElectionCache {
    fn get(&self, block: &AtomId) -> Option<&Election> {
        Self::get(self, block)
    }

    fn nearest_stakes(&self, root: AtomId, height: u64) -> Option<StakeTable> {
        Self::nearest_stakes(self, root, height)
    }
}
