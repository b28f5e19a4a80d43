//! What decides which validator may make the next block after one block.

use super::draw::{Draw, ElectionError};
use super::loader::ElectionLoader;
use super::seeds::ElectionSeeds;
use super::stake_table::StakeTable;
use crate::atom::{AtomId, AtomSource};
use crate::chain::{Block, RecordError};

/// Seeds and stakes after one block. Clones share the stakes.
///
/// It is carried along a branch: the election of a child follows from that of its parent, the id of
/// the child and the stakes that [its body](crate::chain::Body::stakes) leaves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Election {
    /// Seeds of the heights after the block.
    pub seeds: ElectionSeeds,
    /// Stakes that the block left.
    pub stakes: StakeTable,
}

impl Election {
    /// Returns the election after a genesis with these stakes.
    #[must_use]
    pub fn genesis(id: AtomId, stakes: StakeTable) -> Self {
        Self {
            seeds: ElectionSeeds::genesis(id),
            stakes,
        }
    }

    /// Returns the election after the child with this id, which left these stakes.
    #[must_use]
    pub fn child(&self, id: AtomId, stakes: StakeTable) -> Self {
        Self {
            seeds: self.seeds.child(id),
            stakes,
        }
    }

    /// Reads the election after a block at once: all stakes, and up to 3,071 headers. A node uses
    /// [`ElectionLoader`].
    ///
    /// # Errors
    /// When an atom is missing, or what is stored are not such a chain and its stakes.
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

    /// Returns the id of the block.
    #[must_use]
    pub const fn block(&self) -> AtomId {
        self.seeds.block()
    }

    /// Returns the draws for the next block.
    ///
    /// # Errors
    /// When there is no stake.
    pub fn draw(&self) -> Result<Draw, ElectionError> {
        Draw::new(&self.stakes, self.seeds.next_slot_seed())
    }
}
