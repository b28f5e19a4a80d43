//! Election inputs after one block: seeds and stakes.

use super::proposer_schedule::{ElectionError, ProposerSchedule};
use super::seeds::ElectionSeeds;
use super::stake_table::StakeTable;
use crate::atom::AtomId;

/// Seeds and stakes after one block. Clones share the stakes.
///
/// Derived along a branch: the election of a child follows from the election of its parent, the
/// child's id and the stakes that [its body](crate::chain::Body::stakes) leaves.
///
/// ```
/// use astreum_core::atom::AtomId;
/// use astreum_core::chain::{Address, Election, StakeTable, Stakes};
///
/// let validator = Address::new([7; 32]);
/// let stakes = StakeTable::from(&Stakes::from([(validator, 5_u64.into())]));
/// let genesis = Election::genesis(AtomId::new([1; 32]), stakes.clone());
/// let child = genesis.child(AtomId::new([2; 32]), stakes);
/// assert_eq!((child.block(), child.seeds.height()), (AtomId::new([2; 32]), 1));
/// assert_eq!(child.schedule().unwrap().next_validator(), validator);
/// ```
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
    /// ```
    /// use astreum_core::chain::Election;
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
    /// let mut schedule = Election::read(&store, &parent)?.schedule()?;
    /// // The only validator has every slot.
    /// assert!((1..=10).all(|slot| schedule.validator_of(slot) == Some(validator)));
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Fails if there is no stake.
    pub fn schedule(&self) -> Result<ProposerSchedule, ElectionError> {
        ProposerSchedule::new(&self.stakes, self.seeds.next_slot_seed())
    }
}
