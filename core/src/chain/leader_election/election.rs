//! Election inputs after one block: seeds and stakes.

use super::proposer_schedule::{ElectionError, ProposerSchedule};
use super::seeds::ElectionSeeds;
use super::stake_table::StakeTable;
use crate::atom::AtomId;

/// Seeds and stakes after one block. Clones share the stakes.
///
/// Derived along a branch: the election of a child follows from the election of its parent, the
/// child's id and the stakes that [its body](crate::chain::Body::stakes) leaves.
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

    /// Returns the id of the block.
    #[must_use]
    pub const fn block(&self) -> AtomId {
        self.seeds.block()
    }

    /// Returns the proposer schedule for the next block.
    ///
    /// # Errors
    /// Fails if there is no stake.
    pub fn schedule(&self) -> Result<ProposerSchedule, ElectionError> {
        ProposerSchedule::new(&self.stakes, self.seeds.next_slot_seed())
    }
}
