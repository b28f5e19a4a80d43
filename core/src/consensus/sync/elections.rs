//! Leader elections after blocks, and the stakes that the fork choice compares branches by.
//!
//! The election after a block follows from its parent's as long as that is cached. Otherwise it is
//! read from the chain, a bounded part per call: its seeds from the headers, or from what was saved
//! with the head, and its stakes from the state.

use super::stake_jobs::{JobStep, KnownStakes, StakeJobs};
use super::working_set::View;
use crate::atom::AtomId;
use crate::chain::{Block, Election, ElectionCache, ElectionSeeds, RecordError, StakeLoader};
use core::convert::Infallible;

/// Maximum number of headers and stake trie nodes read in one call.
const READS_PER_CALL: u32 = 4_096;

/// Elections. See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Elections {
    cache: ElectionCache,
    /// Seeds of the election that were saved with the head of an earlier run.
    saved: Option<ElectionSeeds>,
    /// Loader of the stakes that belong to the saved seeds.
    loader: Option<StakeLoader>,
    jobs: StakeJobs,
}

impl Elections {
    /// Takes over the seeds that were saved with the head of an earlier run.
    pub(super) fn restore(&mut self, saved: Option<ElectionSeeds>) {
        self.saved = saved;
    }

    /// Returns the election after a block, if it is cached.
    pub(super) fn get(&self, block: &AtomId) -> Option<&Election> {
        self.cache.get(block)
    }

    /// Adds an election that follows from the parent's.
    pub(super) fn insert(&mut self, election: Election) {
        self.cache.insert(election);
    }

    /// Returns the seeds of the election after a block, if they are known.
    pub(super) fn seeds_after(&self, block: &AtomId) -> Option<ElectionSeeds> {
        let cached = self.cache.get(block).map(|election| election.seeds);
        cached.or_else(|| self.saved_for(block))
    }

    fn saved_for(&self, block: &AtomId) -> Option<ElectionSeeds> {
        self.saved.filter(|seeds| seeds.block() == *block)
    }

    /// Returns the leader election after a verified block; `None` if there is more to read.
    pub(super) fn after(
        &mut self,
        view: &View<'_>,
        block: &Block,
    ) -> Result<Option<Election>, RecordError<Infallible>> {
        let id = block.id();
        if let Some(known) = self.cache.get(&id) {
            return Ok(Some(known.clone()));
        }
        let Some(seeds) = self.saved_for(&id) else {
            return self.cache.load(view, block, READS_PER_CALL);
        };
        // The saved seeds replace a read of thousands of headers; only the stakes are read.
        let mut loader = match self.loader.take() {
            Some(loader) => loader,
            None => {
                let root = StakeLoader::find_root(view, block.accounts)?;
                let known = self.cache.nearest_stakes(root, seeds.height());
                StakeLoader::new(known.unwrap_or_default(), root)
            }
        };
        let loaded = loader.run(view, READS_PER_CALL);
        let Ok(Some(stakes)) = loaded else {
            self.loader = Some(loader);
            return loaded.map(|_| None);
        };
        let election = Election { seeds, stakes };
        self.cache.insert(election.clone());
        Ok(Some(election))
    }

    /// Starts to read the stakes after a block, for the fork choice.
    pub(super) fn read_stakes_after(&mut self, block: AtomId, is_verified: bool) {
        self.jobs.start(block, is_verified);
    }

    /// Continues to read stakes for the fork choice.
    pub(super) fn read_stakes(&mut self, view: &View<'_>) -> JobStep {
        self.jobs.step(view, &self.cache)
    }

    /// Returns whether stakes of this block are being read.
    pub(super) fn needs(&self, block: &AtomId) -> bool {
        self.jobs.needs(block)
    }

    /// Returns the known stakes.
    pub(super) const fn stakes(&self) -> KnownStakes<'_> {
        self.jobs.with(&self.cache)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::sync::tests::parts::id;

    #[test]
    fn saved_seeds_belong_to_one_block() {
        let seeds = |block: AtomId| {
            let ids = [block, id(2), id(3), id(4)];
            let ids = ids.iter().flat_map(AtomId::as_bytes).copied();
            let bytes = 7_u64.to_be_bytes().into_iter().chain(ids);
            ElectionSeeds::from_bytes(&bytes.collect::<alloc::vec::Vec<u8>>()).unwrap()
        };
        let mut elections = Elections::default();
        assert_eq!(elections.seeds_after(&id(1)), None);
        elections.restore(Some(seeds(id(1))));
        assert_eq!(elections.seeds_after(&id(1)), Some(seeds(id(1))));
        assert_eq!(elections.seeds_after(&id(9)), None);
        // They replace reads of headers, but are not an election yet.
        assert!(elections.get(&id(1)).is_none());
    }

    #[test]
    fn stakes_are_needed_until_they_are_read() {
        let mut elections = Elections::default();
        elections.read_stakes_after(id(1), true);
        assert!(elections.needs(&id(1)) && !elections.needs(&id(2)));
    }
}
