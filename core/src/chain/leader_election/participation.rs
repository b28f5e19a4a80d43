//! Participation: stake of recent block producers compared with its expectation.

use super::stake_table::StakeTable;
use crate::chain::Address;
use crate::integer::Natural;
use alloc::collections::BTreeSet;

/// Number of blocks in a [`Participation`].
pub const PARTICIPATION_BLOCKS: usize = 256;

/// Number of fractional bits of fixed-point shares.
const FRACTION_BITS: u32 = 62;
const ONE: u128 = 1 << FRACTION_BITS;

/// Share of the stake that produced a run of blocks, and its expectation.
///
/// If each validator `i` has the share `s` of the stake and every slot is used, the distinct
/// producers of 256 blocks hold `Σ s(1-(1-s)^256)` on average: 1 for a single validator, 0.23 for
/// 1,000 equal ones. A much lower share means that some validators make blocks outside their slots,
/// or that the blocks of the others are not received.
///
/// ```
/// use astreum_core::chain::{Address, Participation, StakeTable, Stakes};
///
/// let [large, small] = [1, 2].map(|byte| Address::new([byte; 32]));
/// let stakes = StakeTable::from(&Stakes::from([(large, 999_u64.into()), (small, 1_u64.into())]));
/// let of = |producer| Participation::of(&stakes, [producer; 256]).unwrap();
/// assert!(of(small).is_low() && !of(large).is_low());
/// assert_eq!((of(small).actual_ppm, of(small).expected_ppm), (1_000, 999_226));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Participation {
    /// Share of the stake of the distinct producers, in millionths.
    pub actual_ppm: u64,
    /// Expected share, in millionths.
    pub expected_ppm: u64,
}

impl Participation {
    /// Returns the participation in a run of blocks with these producers, by these stakes. `None`
    /// if there are fewer than [`PARTICIPATION_BLOCKS`] producers or no stakes; further producers
    /// are ignored.
    ///
    /// Iterates over all stakes: some milliseconds for 100,000.
    #[must_use]
    pub fn of(stakes: &StakeTable, producers: impl IntoIterator<Item = Address>) -> Option<Self> {
        let mut count = 0;
        let mut distinct = BTreeSet::new();
        for producer in producers.into_iter().take(PARTICIPATION_BLOCKS) {
            count += 1;
            distinct.insert(producer);
        }
        if count < PARTICIPATION_BLOCKS || stakes.is_empty() {
            return None;
        }
        let actual: Natural = distinct.iter().map(|producer| stakes.stake(producer)).sum();
        let fraction = |stake: &Natural| {
            let scaled = stake * &Natural::new(ONE);
            let share = scaled.checked_div(stakes.total());
            // A stake is at most the total.
            share.and_then(|share| share.to_u128()).unwrap_or(ONE)
        };
        let expected = stakes.iter().fold(0_u128, |sum, (_, stake)| {
            let share = fraction(stake);
            let mut silent = ONE - share.min(ONE);
            for _ in 0..PARTICIPATION_BLOCKS.ilog2() {
                silent = (silent * silent) >> FRACTION_BITS;
            }
            sum.saturating_add((share * (ONE - silent)) >> FRACTION_BITS)
        });
        let ppm = |share: u128| {
            let ppm = (share.min(ONE) * 1_000_000 + ONE / 2) >> FRACTION_BITS;
            u64::try_from(ppm).unwrap_or_default()
        };
        Some(Self {
            actual_ppm: ppm(fraction(&actual)),
            expected_ppm: ppm(expected),
        })
    }

    /// Returns whether the producers hold less than a quarter of the expected stake.
    #[must_use]
    pub const fn is_low(&self) -> bool {
        self.actual_ppm.saturating_mul(4) < self.expected_ppm
    }
}
