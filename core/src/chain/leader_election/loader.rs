//! Incremental loading of an election from a store, based on known elections of other blocks.

use super::election::Election;
use super::known::KnownElections;
use super::seeds::{ElectionSeeds, SeedRun};
use super::stake_loader::StakeLoader;
use super::stake_table::StakeTable;
use crate::atom::{AtomId, AtomSource};
use crate::chain::{Block, RecordError};
use alloc::vec;
use alloc::vec::Vec;

/// Maximum number of stakes in a genesis. The state of a genesis is served by a peer: without this
/// bound, a few dozen nodes could represent more stakes than any memory holds.
pub const MAX_GENESIS_STAKES: u64 = 1 << 20;

/// Loader of the [`Election`] after one block, with a bounded number of atoms per call. It reads
/// the headers below the block, down to one with known seeds or to the start of the epoch before
/// last, and the stakes as a difference from the nearest known table.
///
/// A node derives elections along its branches. It needs a loader for the first block of a run, for
/// a trusted head, and for a branch whose elections were dropped.
///
/// ```
/// use astreum_core::chain::{Election, ElectionLoader};
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
/// let mut loader = ElectionLoader::new(&parent, None);
/// let mut calls = 0;
/// let election = loop {
///     calls += 1;
///     if let Some(election) = loader.run(&store, None, 1)? {
///         break election;
///     }
/// };
/// assert_eq!(election.seeds, Election::read(&store, &parent)?.seeds);
/// assert!(calls > 1);
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct ElectionLoader {
    /// Ids of the headers read so far, the block itself first.
    ids: Vec<AtomId>,
    /// Next header to read.
    below: AtomId,
    /// Height of the block; `None` if it is not valid in a chain.
    height: Option<u64>,
    accounts: AtomId,
    seeds: Option<ElectionSeeds>,
    stakes: Option<StakeLoader>,
    table: Option<StakeTable>,
    max_stakes: Option<u64>,
}

impl ElectionLoader {
    /// Creates a loader for the election after `block`. `max_stakes` limits the stakes in the state
    /// of a block that was not verified, as in [`StakeLoader::with_max_stakes`]. The stakes of a
    /// genesis, which were not made by transactions, are always limited to [`MAX_GENESIS_STAKES`].
    #[must_use]
    pub fn new(block: &Block, max_stakes: Option<u64>) -> Self {
        let height = block.height.to_u64();
        let height = height.filter(|height| (*height == 0) == block.is_genesis());
        Self {
            ids: vec![block.id()],
            below: block.previous,
            height,
            accounts: block.accounts,
            seeds: None,
            stakes: None,
            table: None,
            max_stakes: match (max_stakes, block.is_genesis()) {
                (Some(most), true) => Some(most.min(MAX_GENESIS_STAKES)),
                (None, true) => Some(MAX_GENESIS_STAKES),
                (most, false) => most,
            },
        }
    }

    /// Returns the id of the block.
    #[must_use]
    pub fn block(&self) -> AtomId {
        self.ids.first().copied().unwrap_or_default()
    }

    /// Reads up to `steps` headers and trie nodes; returns the election once everything is read.
    /// Uses the elections in `known` instead of reading them again.
    ///
    /// # Errors
    /// Fails if an atom is missing, after which it may be called again, or if the stored headers or
    /// stakes are malformed, after which it must not be: it would pass over them.
    pub fn run<S: AtomSource + ?Sized>(
        &mut self,
        source: &S,
        known: Option<&dyn KnownElections>,
        steps: u32,
    ) -> Result<Option<Election>, RecordError<S::Error>> {
        let height = self.height.ok_or(RecordError::Malformed {
            record: self.block(),
            problem: "invalid block height",
        })?;
        let mut left = steps;
        while self.seeds.is_none() {
            if left == 0 {
                return Ok(None);
            }
            left -= 1;
            self.walk(source, known, height)?;
        }
        if self.table.is_none() {
            self.table = self.read_stakes(source, known, height, left)?;
        }
        let parts = self.seeds.zip(self.table.clone());
        Ok(parts.map(|(seeds, stakes)| Election { seeds, stakes }))
    }

    /// Returns the ids of atoms that will be read next, for prefetching.
    pub fn pending_nodes(&self) -> impl Iterator<Item = AtomId> {
        self.stakes.iter().flat_map(StakeLoader::pending_nodes)
    }

    /// Reads one header, or completes the seeds.
    fn walk<S: AtomSource + ?Sized>(
        &mut self,
        source: &S,
        known: Option<&dyn KnownElections>,
        block_height: u64,
    ) -> Result<(), RecordError<S::Error>> {
        if let Some(known) = self.ids.last().and_then(|id| known?.get(id)) {
            let later = self.ids.iter().rev().skip(1);
            let seeds = later.fold(known.seeds, |seeds, id| seeds.child(*id));
            self.seeds = Some(seeds);
            return Ok(());
        }
        let walked = self.ids.len() as u64;
        // Saturates at 0, the lowest height.
        let below = block_height.saturating_sub(walked);
        if walked > block_height - SeedRun::first_height(block_height) {
            let mut run = SeedRun::to(block_height);
            for id in self.ids.iter().rev() {
                run.push(*id);
            }
            self.seeds = run.finish();
            return Ok(());
        }
        let block = Block::read(source, self.below)?;
        if block.height != below || (below == 0) != block.is_genesis() {
            return Err(RecordError::Malformed {
                record: self.below,
                problem: "height is not one less than the height of the next block",
            });
        }
        self.ids.push(self.below);
        self.below = block.previous;
        Ok(())
    }

    fn read_stakes<S: AtomSource + ?Sized>(
        &mut self,
        source: &S,
        known: Option<&dyn KnownElections>,
        block_height: u64,
        steps: u32,
    ) -> Result<Option<StakeTable>, RecordError<S::Error>> {
        if self.stakes.is_none() {
            let root = StakeLoader::find_root(source, self.accounts)?;
            let nearest = known.and_then(|known| known.nearest_stakes(root, block_height));
            let loader = StakeLoader::new(nearest.unwrap_or_default(), root);
            self.stakes = Some(match self.max_stakes {
                Some(max) => loader.with_max_stakes(max),
                None => loader,
            });
        }
        match &mut self.stakes {
            Some(loader) => loader.run(source, steps),
            None => Ok(None),
        }
    }
}

impl Election {
    /// Reads the election after a block in one call: all stakes and up to 3,071 headers. A node
    /// uses [`ElectionLoader`] instead.
    ///
    /// ```
    /// use astreum_core::chain::{Election, ElectionSeeds};
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
    /// let election = Election::read(&store, &parent)?;
    /// assert_eq!(election.seeds, ElectionSeeds::genesis(parent.id()));
    /// assert_eq!(election.stakes.stake(&validator), genesis.stakes[&validator]);
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Fails if an atom is missing, or the stored headers or stakes are malformed.
    pub fn read<S: AtomSource + ?Sized>(
        source: &S,
        block: &Block,
    ) -> Result<Self, RecordError<S::Error>> {
        let mut loader = ElectionLoader::new(block, None);
        loop {
            if let Some(election) = loader.run(source, None, u32::MAX)? {
                return Ok(election);
            }
        }
    }
}
