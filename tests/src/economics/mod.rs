//! Cost of filling a disk at the prices of a genesis.
//!
//! A transaction is billed for its own bytes and those of its receipt. It adds more than that to
//! the stores of all nodes: the trie nodes above each account and record that it touches are
//! rewritten, and each atom has an entry in an index. The ratio depends on the kind of transaction.
//! [`ways`] measures it on in-memory chains with the product's own transition, and [`Epoch`]
//! compares it with the price of storage in the first block and after a year of blocks.

mod chain;
mod ways;

pub use ways::{Size, Way, ways};

use astreum_core::chain::cost::{FEE, Price, RECEIPT_BYTES};
use astreum_core::chain::{BURN, Genesis, TREASURY};
use astreum_core::integer::Natural;

/// Size of the disk to fill, in bytes.
pub const DISK_BYTES: u64 = 10 << 30;
/// Number of blocks in a year without missed slots.
pub const YEAR_BLOCKS: u64 = 365 * 86_400 / astreum_core::chain::SLOT_SECONDS;

/// Price of storage of a genesis, a number of blocks after it.
#[derive(Clone, Debug)]
pub struct Epoch {
    price: Price,
    /// Amount that can be spent: the balances that the genesis gave to accounts.
    supply: Natural,
}

impl Epoch {
    /// Returns the prices of a chain whose treasury has, beside its balance, `staked` more from the
    /// first block on.
    #[must_use]
    pub fn of(genesis: &Genesis, blocks: u64, staked: &Natural) -> Self {
        let balance = genesis.balances.get(&TREASURY).cloned().unwrap_or_default();
        let cumulative = &(&balance + staked) * &Natural::from(blocks);
        let owned = genesis.balances.iter();
        let owned = owned.filter(|(address, _)| ![TREASURY, BURN].contains(address));
        Self {
            price: Price::new(cumulative, genesis.cumulative_total_fees.clone()),
            supply: owned.map(|(_, balance)| balance).sum(),
        }
    }

    /// Returns the payment for a transaction that is billed for this number of stored bytes.
    #[must_use]
    pub fn cost(&self, billed_bytes: u64) -> Natural {
        let of = |bytes| self.price.of(bytes).unwrap_or_default();
        FEE + of(billed_bytes) + of(RECEIPT_BYTES)
    }

    /// Returns the cost of filling the disk in this way.
    #[must_use]
    pub fn filling(&self, way: &Way) -> Natural {
        let transactions = DISK_BYTES.div_ceil(way.pair_bytes.max(1));
        &self.cost(way.billed_bytes) * &Natural::from(transactions)
    }

    /// Returns the amount that can be spent.
    #[must_use]
    pub const fn supply(&self) -> &Natural {
        &self.supply
    }

    /// Returns the share of this amount in the supply, in parts per million.
    #[must_use]
    pub fn share_ppm(&self, cost: &Natural) -> u64 {
        let parts = cost * &Natural::from(1_000_000_u64);
        let share = parts.checked_div(&self.supply);
        share.and_then(|share| share.to_u64()).unwrap_or(u64::MAX)
    }
}
