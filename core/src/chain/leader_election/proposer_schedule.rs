//! Proposer schedule: the block producers of the slots after one block.

use super::random::{below_natural, seeded};
use super::stake_table::StakeTable;
use super::stake_tree::StakeTree;
use crate::atom::AtomId;
use crate::chain::{Address, SLOT_SECONDS};
use crate::integer::Natural;
use core::fmt;
use rand_mt::Mt;

/// Maximum number of slots between a block and its parent: more than four years.
pub const MAX_SLOTS: u64 = 1 << 26;

/// Reason that no block producer can be elected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ElectionError {
    /// There is no stake.
    NoStake,
    /// The slot is more than [`MAX_SLOTS`] after the parent block.
    TooFar {
        /// Number of the slot.
        slot: Natural,
    },
}

impl fmt::Display for ElectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoStake => f.write_str("no validator has a stake"),
            Self::TooFar { slot } => write!(
                f,
                "slot {slot} is too far from the previous block: the maximum distance is \
                 {MAX_SLOTS}"
            ),
        }
    }
}

impl core::error::Error for ElectionError {}

/// Returns the slot of a block with `timestamp` after a parent with `previous_timestamp`; the first
/// slot is 1.
///
/// ```
/// use astreum_core::chain::slot_of;
/// let parent = 1_700_000_000_u64;
/// assert_eq!(slot_of(&parent.into(), &(parent + 2).into()), Ok(1));
/// assert_eq!(slot_of(&parent.into(), &(parent + 9).into()), Ok(5));
/// ```
///
/// # Errors
/// Fails if the slot is beyond [`MAX_SLOTS`].
pub fn slot_of(previous_timestamp: &Natural, timestamp: &Natural) -> Result<u64, ElectionError> {
    let gap = timestamp.saturating_sub(previous_timestamp);
    let seconds = Natural::from(SLOT_SECONDS);
    let slot = gap.div_ceil(&seconds).unwrap_or_default();
    match slot.to_u64() {
        Some(slot) if slot <= MAX_SLOTS => Ok(slot.max(1)),
        _ => Err(ElectionError::TooFar { slot }),
    }
}

/// Returns the scheduled producer of a block with `timestamp`. `stakes` are those that the parent
/// left, `seed` is that of the block's height.
///
/// ```
/// use astreum_core::atom::AtomId;
/// use astreum_core::chain::{Address, ElectionError, StakeTable, Stakes, validator_at};
///
/// let (seed, parent, time) = (AtomId::new([1; 32]), 10_u64.into(), 12_u64.into());
/// let validator = Address::new([7; 32]);
/// let stakes = StakeTable::from(&Stakes::from([(validator, 5_u64.into())]));
/// assert_eq!(validator_at(&stakes, seed, &parent, &time), Ok(validator));
/// let none = StakeTable::from(&Stakes::new());
/// assert_eq!(validator_at(&none, seed, &parent, &time), Err(ElectionError::NoStake));
/// ```
///
/// # Errors
/// Fails if there is no stake or the slot is too far from the parent.
pub fn validator_at(
    stakes: &StakeTable,
    seed: AtomId,
    previous_timestamp: &Natural,
    timestamp: &Natural,
) -> Result<Address, ElectionError> {
    let slot = slot_of(previous_timestamp, timestamp)?;
    ProposerSchedule::new(stakes, seed)?
        .validator_of(slot)
        .ok_or(ElectionError::NoStake)
}

/// Block producers of the slots after one block, drawn in order.
///
/// The position is kept: continuing from a slot costs only the slots in between, each a search
/// among the stakes. Once every stake is down to 1, after a few dozen slots per validator, draws no
/// longer change a stake and only the random number generator runs, for some nanoseconds per slot.
/// The stakes are shared with the table; the parts that a draw halves are copied on their first
/// change.
///
/// ```
/// use astreum_core::atom::AtomId;
/// use astreum_core::chain::{Address, ProposerSchedule, StakeTable, Stakes};
///
/// let validators = [1, 2].map(|byte| Address::new([byte; 32]));
/// let stakes = StakeTable::from(&Stakes::from(validators.map(|one| (one, 100_u64.into()))));
/// let mut schedule = ProposerSchedule::new(&stakes, AtomId::new([7; 32])).unwrap();
/// let producers: Vec<Address> = (0..20).map(|_| schedule.next_validator()).collect();
/// assert_eq!(schedule.slot(), 20);
/// assert!(validators.iter().all(|validator| producers.contains(validator)));
/// ```
#[derive(Clone, Debug)]
pub struct ProposerSchedule {
    random: Mt,
    stakes: StakeTree,
    /// Number of slots that have been drawn.
    slot: u64,
    winner: Address,
}

impl ProposerSchedule {
    /// Creates a draw before the first slot. `seed` is that of the height
    /// ([`ElectionSeeds::next_slot_seed`](super::ElectionSeeds::next_slot_seed)).
    ///
    /// # Errors
    /// Fails if there is no stake.
    pub fn new(stakes: &StakeTable, seed: AtomId) -> Result<Self, ElectionError> {
        let stakes = stakes.tree().clone();
        let (winner, _) = stakes.iter().next().ok_or(ElectionError::NoStake)?;
        Ok(Self {
            random: seeded(seed),
            winner: *winner,
            stakes,
            slot: 0,
        })
    }

    /// Returns the number of slots that have been drawn.
    #[must_use]
    pub const fn slot(&self) -> u64 {
        self.slot
    }

    /// Draws the next slot and returns its block producer.
    pub fn next_validator(&mut self) -> Address {
        let position = below_natural(&mut self.random, self.stakes.total());
        self.slot = self.slot.saturating_add(1);
        if let Some(validator) = self.stakes.halve_at(position) {
            self.winner = validator;
        }
        self.winner
    }

    /// Returns the block producer of this slot; `None` if the slot is before the last one drawn.
    ///
    /// The time is proportional to the slots in between: check the slot against [`MAX_SLOTS`]
    /// first.
    ///
    /// ```
    /// use astreum_core::atom::AtomId;
    /// use astreum_core::chain::{Address, ProposerSchedule, StakeTable, Stakes};
    ///
    /// let validator = Address::new([1; 32]);
    /// let stakes = StakeTable::from(&Stakes::from([(validator, 100_u64.into())]));
    /// let mut schedule = ProposerSchedule::new(&stakes, AtomId::new([7; 32])).unwrap();
    /// assert_eq!(schedule.validator_of(10), Some(validator));
    /// // Slots are drawn in order.
    /// assert_eq!(schedule.validator_of(9), None);
    /// ```
    pub fn validator_of(&mut self, slot: u64) -> Option<Address> {
        self.advance(slot, u64::MAX)
    }

    /// Draws like [`validator_of`](Self::validator_of), but returns `None` after `most` draws that
    /// search among the stakes, or 64 times as many that do not. Call it again to continue.
    pub fn advance(&mut self, slot: u64, most: u64) -> Option<Address> {
        for _ in 0..most {
            if self.slot >= slot {
                break;
            }
            if *self.stakes.total() == self.stakes.len() {
                // Every stake is 1: draws change no stake, and only the last one matters.
                let skipped = (slot - self.slot - 1).min(most.saturating_mul(64));
                for _ in 0..skipped {
                    below_natural(&mut self.random, self.stakes.total());
                }
                self.slot += skipped;
                if self.slot + 1 < slot {
                    return None;
                }
            }
            self.next_validator();
        }
        (self.slot == slot && slot > 0).then_some(self.winner)
    }
}
