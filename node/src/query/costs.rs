//! Costs of a transaction besides its amount.

use astreum_core::chain::cost::{FEE, Price, RECEIPT_BYTES, stored_bytes};
use astreum_core::chain::{Block, Transaction};
use astreum_core::integer::Natural;

/// Costs of a transaction in the block after a head.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Costs {
    /// Transaction fee.
    pub fee: Natural,
    /// Balance required for storing the transaction and its receipt; only the real size is charged.
    pub storage: Natural,
}

impl Costs {
    /// Returns the sum of all costs and `amount`.
    #[must_use]
    pub fn with_amount(&self, amount: &Natural) -> Natural {
        &(&self.fee + &self.storage) + amount
    }
}

/// Returns the costs of a transaction in the block after `head`, or `None` if the chain has no
/// price because its cumulative fees are 0.
#[must_use]
pub fn costs(head: &Block, transaction: &Transaction) -> Option<Costs> {
    let price = Price::new(
        head.cumulative_stake.clone(),
        head.cumulative_total_fees.clone(),
    );
    let reserve = price.reserve(transaction.data.len())?;
    // Numbers longer than the reserve allows for cost more than the reserve.
    let real = price.of(stored_bytes(transaction))? + price.of(RECEIPT_BYTES)?;
    Some(Costs {
        fee: FEE,
        storage: reserve.saturating_sub(&FEE).max(real),
    })
}
