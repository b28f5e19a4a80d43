//! Confirmations: the effort needed to undo a block.
//!
//! Measured as [fork choice](super::fork_choice) measures a branch, so that the displayed state
//! matches the rule: n is the number of blocks from the block in question up to the head, D the
//! stake, as of the block's parent, of their distinct producers, T the total stake as of the
//! parent.
//!
//! | state | condition | meaning |
//! | --- | --- | --- |
//! | included | n < 16 or 2 D ≤ T | undoing the block needs a branch with about `undo_stake` |
//! | safe | n ≥ 16 and 2 D > T | a branch made separately by less than half of the stake cannot win |
//! | settled | n ≥ 32 and 3 D ≥ 2 T | two conflicting settled blocks need a third of the stake on both branches |
//!
//! A number of blocks alone is not sufficient: 16 blocks are 99.9 % of the stake in a chain of one
//! validator and 1.6 % in one of 1,000 equal ones. "Safe" and "settled" are descriptions; neither
//! is a lock.
//!
//! ```
//! use astreum_core::chain::confirmations::{Confirmation, Confirmations};
//! # use astreum_core::chain::{Address, fork_choice::StakeView};
//! # use astreum_core::integer::Natural;
//! # struct Stakes;
//! # impl StakeView for Stakes {
//! #     fn stake(&self, _: &Address) -> Natural { Natural::from(200_u64) }
//! #     fn total(&self) -> Natural { Natural::from(1_000_u64) }
//! # }
//! # let stakes_after_parent = Stakes;
//! let mut seen = Confirmations::new(&stakes_after_parent);
//! // The producers from the block up to the head, in any order; later blocks are added as they come.
//! for block in 0..20 {
//!     seen.add(Address::new([block % 3; 32]));
//! }
//! assert_eq!(seen.state(20), Confirmation::Safe);
//! ```

use super::fork_choice::{LIGHT_FACTOR, NEAR_BLOCKS, StakeView};
use super::{Address, SLOT_SECONDS};
use crate::integer::Natural;
use alloc::collections::BTreeSet;
use core::fmt;

/// Minimum number of blocks, including the block itself, of a settled block.
pub const SETTLED_BLOCKS: u64 = 32;
/// Number of slots by which a competing branch may have begun before the block was made.
const EARLIER_SLOTS: u64 = 12;

/// Confirmation state of a block.
///
/// ```
/// use astreum_core::chain::confirmations::Confirmation;
///
/// let (majority, total) = (600_u64.into(), 1_000_u64.into());
/// // More than half of the stake, but too few blocks; then enough of them.
/// let recent = Confirmation::new(15, &majority, &total, 15);
/// assert!(matches!(recent, Confirmation::Included { .. }));
/// assert_eq!(Confirmation::new(16, &majority, &total, 16), Confirmation::Safe);
/// // Settled needs two thirds of the stake.
/// assert_eq!(Confirmation::new(90, &majority, &total, 90), Confirmation::Safe);
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Confirmation {
    /// The block is in the chain.
    Included {
        /// Stake that a branch about as long as the chain above the block needs to undo it.
        undo_stake: Natural,
    },
    /// A branch made separately by less than half of the stake cannot undo the block, however long
    /// it is.
    Safe,
    /// A conflicting block can only be settled too if a third of the stake builds on both branches.
    Settled,
}

impl Confirmation {
    /// Returns the state of a block.
    ///
    /// `blocks` and `stake` describe the part of the chain from the block up to the head, `total`
    /// is the total stake, both stakes as of the block's parent, and `slots` is the number of slots
    /// since the block was made.
    ///
    /// ```
    /// use astreum_core::chain::confirmations::Confirmation;
    /// use astreum_core::integer::Natural;
    ///
    /// let (stake, total) = (Natural::from(700_u64), Natural::from(1_000_u64));
    /// assert_eq!(Confirmation::new(32, &stake, &total, 32), Confirmation::Settled);
    /// assert_eq!(Confirmation::new(16, &stake, &total, 16), Confirmation::Safe);
    /// let recent = Confirmation::new(3, &stake, &total, 3);
    /// assert!(matches!(recent, Confirmation::Included { .. }));
    /// ```
    #[must_use]
    pub fn new(blocks: u64, stake: &Natural, total: &Natural, slots: u64) -> Self {
        let times = |factor: u64, number: &Natural| &Natural::from(factor) * number;
        // D > floor(T / 2) is equivalent to 2 D > T.
        if blocks < NEAR_BLOCKS || *stake <= total.half() {
            let undo_stake = undo_stake(blocks, stake, slots);
            return Self::Included { undo_stake };
        }
        if blocks >= SETTLED_BLOCKS && times(3, stake) >= times(2, total) {
            return Self::Settled;
        }
        Self::Safe
    }
}

/// Returns D / 8, and beyond 16 blocks at least n D divided by the slots that the other branch had,
/// rounded up.
fn undo_stake(blocks: u64, stake: &Natural, slots: u64) -> Natural {
    let eighth = stake.div_ceil(&LIGHT_FACTOR.into()).unwrap_or_default();
    if blocks <= NEAR_BLOCKS {
        return eighth;
    }
    let slots = Natural::from(slots) + Natural::from(EARLIER_SLOTS);
    let product = &Natural::from(blocks) * stake;
    product.div_ceil(&slots).unwrap_or_default().max(eighth)
}

/// Returns the slots between a block's timestamp and now, both in seconds since the Unix epoch.
///
/// ```
/// use astreum_core::chain::confirmations::slots_since;
/// assert_eq!(slots_since(1_700_000_000, 1_700_000_020), 10);
/// assert_eq!(slots_since(1_700_000_000, 1_699_999_999), 0);
/// ```
#[must_use]
pub const fn slots_since(timestamp: u64, now: u64) -> u64 {
    now.saturating_sub(timestamp) / SLOT_SECONDS
}

/// Count of the blocks from one block up to the head. Memory is bounded by the number of
/// validators.
///
/// ```
/// use astreum_core::chain::confirmations::{Confirmation, Confirmations};
/// use astreum_core::chain::{Address, StakeTable, Stakes};
///
/// let validator = Address::new([1; 32]);
/// let stakes = StakeTable::from(&Stakes::from([(validator, 100_u64.into())]));
/// let mut seen = Confirmations::new(&stakes);
/// for _ in 0..32 {
///     seen.add(validator);
/// }
/// assert_eq!((seen.blocks(), seen.stake().to_u64()), (32, Some(100)));
/// assert_eq!(seen.state(32), Confirmation::Settled);
/// ```
#[derive(Clone, Debug)]
pub struct Confirmations<V> {
    stakes: V,
    total: Natural,
    producers: BTreeSet<Address>,
    blocks: u64,
    stake: Natural,
}

impl<V: StakeView> Confirmations<V> {
    /// Creates a count without blocks. `stakes` are those after the parent of the block in
    /// question.
    #[must_use]
    pub fn new(stakes: V) -> Self {
        Self {
            total: stakes.total(),
            stakes,
            producers: BTreeSet::new(),
            blocks: 0,
            stake: Natural::ZERO,
        }
    }

    /// Adds a block; the block in question counts too. The order does not matter.
    pub fn add(&mut self, producer: Address) {
        self.blocks = self.blocks.saturating_add(1);
        if self.producers.insert(producer) {
            self.stake += &self.stakes.stake(&producer);
        }
    }

    /// Returns the number of blocks.
    #[must_use]
    pub const fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Returns the stake of the distinct producers.
    #[must_use]
    pub const fn stake(&self) -> &Natural {
        &self.stake
    }

    /// Returns the total stake.
    #[must_use]
    pub const fn total(&self) -> &Natural {
        &self.total
    }

    /// Returns the state; `slots` is the number of slots since the block was made.
    ///
    /// A state that is at least [`Confirmation::Safe`] after some of the blocks stays so after the
    /// others, so a host may stop counting at [`Confirmation::Settled`].
    #[must_use]
    pub fn state(&self, slots: u64) -> Confirmation {
        Confirmation::new(self.blocks, &self.stake, &self.total, slots)
    }
}

/// Share of the stake that produced the last blocks.
///
/// ```
/// use astreum_core::chain::confirmations::ActiveStake;
/// use astreum_core::chain::{Address, StakeTable, Stakes};
///
/// let [first, second] = [1, 2].map(|byte| Address::new([byte; 32]));
/// let stakes = Stakes::from([(first, 40_u64.into()), (second, 60_u64.into())]);
/// let active = ActiveStake::of(&StakeTable::from(&stakes), [first; 100]);
/// assert!(active.is_stalled());
/// assert_eq!((active.blocks, active.inactive_percent()), (100, 60));
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ActiveStake {
    /// Number of blocks examined.
    pub blocks: u64,
    /// Stake of the distinct producers.
    pub active: Natural,
    /// Total stake.
    pub total: Natural,
}

impl ActiveStake {
    /// Counts the producers of the last blocks. `stakes` are those as of the head.
    pub fn of<V: StakeView>(stakes: V, producers: impl IntoIterator<Item = Address>) -> Self {
        let mut seen = Confirmations::new(stakes);
        for producer in producers {
            seen.add(producer);
        }
        Self {
            blocks: seen.blocks,
            active: seen.stake,
            total: seen.total,
        }
    }

    /// Returns whether at most half of the stake produced these blocks, so that none of them is
    /// safe or becomes safe while this lasts.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        self.active <= self.total.half()
    }

    /// Returns the percentage of the stake, rounded down, that produced none of the blocks.
    #[must_use]
    pub fn inactive_percent(&self) -> u64 {
        let inactive = self.total.saturating_sub(&self.active);
        let percent = (&Natural::from(100_u64) * &inactive).checked_div(&self.total);
        percent.and_then(|percent| percent.to_u64()).unwrap_or(0)
    }
}

/// Formats a message for `status`, which mentions a [stall](ActiveStake::is_stalled).
impl fmt::Display for ActiveStake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} % of the stake has not produced a block for {} blocks",
            self.inactive_percent(),
            self.blocks
        )?;
        if self.is_stalled() {
            f.write_str(": no block becomes safe")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn state(blocks: u64, stake: u64, slots: u64) -> Confirmation {
        Confirmation::new(blocks, &stake.into(), &1_000_u64.into(), slots)
    }

    fn included(stake: u64) -> Confirmation {
        let undo_stake = stake.into();
        Confirmation::Included { undo_stake }
    }

    #[test]
    fn safe_needs_16_blocks_and_more_than_half_of_the_stake() {
        assert_eq!(state(15, 999, 15), included(125));
        assert_eq!(state(16, 500, 16), included(63));
        assert_eq!(state(16, 501, 16), Confirmation::Safe);
        assert_eq!(state(31, 1_000, 31), Confirmation::Safe);
        // 4 of 7 is more than half, 3 is not.
        let odd = |stake: u64| Confirmation::new(16, &stake.into(), &7_u64.into(), 16);
        assert_eq!(odd(4), Confirmation::Safe);
        assert_eq!(odd(3), included(1));
        // Without any stake no block is safe.
        let none = Confirmation::new(99, &Natural::ZERO, &Natural::ZERO, 99);
        assert_eq!(none, included(0));
    }

    #[test]
    fn settled_needs_32_blocks_and_two_thirds_of_the_stake() {
        assert_eq!(state(32, 667, 32), Confirmation::Settled);
        assert_eq!(state(32, 666, 32), Confirmation::Safe);
        assert_eq!(state(31, 667, 31), Confirmation::Safe);
        let exact = Confirmation::new(32, &6_u64.into(), &9_u64.into(), 32);
        assert_eq!(exact, Confirmation::Settled);
    }

    #[test]
    fn undo_stake_is_an_eighth_or_limited_by_the_slots() {
        assert_eq!(state(1, 1_000, 1), included(125));
        assert_eq!(state(16, 100, 1), included(13));
        // 17 x 100 over 5 + 12 slots, rounded up; over many slots an eighth of the stake.
        assert_eq!(state(17, 100, 5), included(100));
        assert_eq!(state(17, 100, 6), included(95));
        assert_eq!(state(17, 100, 100_000), included(13));
        let large: Natural = "340282366920938463463374607431768211455".parse().unwrap();
        let total = &large * &100_u64.into();
        let undo_stake = large.clone();
        let state = Confirmation::new(u64::MAX, &large, &total, u64::MAX - 12);
        assert_eq!(state, Confirmation::Included { undo_stake });
    }

    #[test]
    fn slots_since_a_later_timestamp_are_zero() {
        assert_eq!(slots_since(100, 105), 2);
        assert_eq!(slots_since(105, 100), 0);
    }

    /// Validators with a total stake of 1,000: 400 for validator 0, 100 each for 1 to 6, none for
    /// the others.
    struct Stakes;

    impl StakeView for Stakes {
        fn stake(&self, validator: &Address) -> Natural {
            Natural::from(match validator.as_bytes()[0] {
                0 => 400_u64,
                1..=6 => 100,
                _ => 0,
            })
        }

        fn total(&self) -> Natural {
            Natural::from(1_000_u64)
        }
    }

    #[test]
    fn producers_count_once() {
        let mut seen = Confirmations::new(Stakes);
        for block in 0..16 {
            seen.add(Address::new([block % 2; 32]));
        }
        assert_eq!((seen.blocks(), seen.stake()), (16, &500_u64.into()));
        assert_eq!(seen.state(16), included(63));
        seen.add(Address::new([9; 32]));
        assert_eq!(*seen.stake(), 500);
        seen.add(Address::new([2; 32]));
        assert_eq!(
            (seen.stake(), seen.total()),
            (&600_u64.into(), &1_000_u64.into())
        );
        assert_eq!(seen.state(18), Confirmation::Safe);
    }

    #[test]
    fn active_stake_reports_the_inactive_share() {
        let of = |count: u8| ActiveStake::of(&Stakes, (0..count).map(|n| Address::new([n; 32])));
        let half = of(2);
        assert!(half.is_stalled());
        let text = "50 % of the stake has not produced a block for 2 blocks: no block becomes safe";
        assert_eq!(half.to_string(), text);
        assert!(!of(3).is_stalled());
        let text = "40 % of the stake has not produced a block for 3 blocks";
        assert_eq!(of(3).to_string(), text);
        let none = ActiveStake {
            blocks: 0,
            active: Natural::ZERO,
            total: Natural::ZERO,
        };
        assert_eq!((none.is_stalled(), none.inactive_percent()), (true, 0));
    }
}
