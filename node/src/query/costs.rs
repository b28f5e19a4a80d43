//! What a transaction costs, beside its amount.

use astreum_core::chain::cost::{FEE, Price, RECEIPT_BYTES, stored_bytes};
use astreum_core::chain::{Block, Transaction};
use astreum_core::integer::Natural;

/// What a transaction costs in the block after a head.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Costs {
    /// The fee.
    pub fee: Natural,
    /// What has to be there for storing it and its receipt; what they really take is charged.
    pub storage: Natural,
}

impl Costs {
    /// All of it, with `amount` on top.
    #[must_use]
    pub fn with(&self, amount: &Natural) -> Natural {
        &(&self.fee + &self.storage) + amount
    }
}

/// What a transaction costs in the block after `head`; `None` where the chain can price nothing
/// because its cumulative fees are 0.
#[must_use]
pub fn costs(head: &Block, transaction: &Transaction) -> Option<Costs> {
    let price = Price::new(
        head.cumulative_stake.clone(),
        head.cumulative_total_fees.clone(),
    );
    let reserve = price.reserve(transaction.data.len())?;
    // Numbers that are longer than what is set aside for them cost more than the reserve.
    let real = price.of(stored_bytes(transaction))? + price.of(RECEIPT_BYTES)?;
    Some(Costs {
        fee: FEE,
        storage: reserve.saturating_sub(&FEE).max(real),
    })
}
