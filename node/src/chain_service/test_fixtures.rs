//! Sample blocks for tests.

use astreum_core::atom::AtomId;
use astreum_core::chain::{Address, Header};
use astreum_core::integer::Natural;

/// Returns a header that is empty except for its place in the chain.
pub(crate) fn header(height: u64, previous: AtomId, timestamp: u64) -> Header {
    Header {
        chain_id: Natural::ZERO,
        height: height.into(),
        previous,
        timestamp: timestamp.into(),
        difficulty: Natural::ONE,
        cumulative_stake: Natural::ZERO,
        cumulative_burn: Natural::ZERO,
        cumulative_mint: Natural::ZERO,
        cumulative_total_fees: Natural::ONE,
        total_fees: Natural::ZERO,
        accounts: AtomId::ZERO,
        transactions: AtomId::ZERO,
        receipts: AtomId::ZERO,
        validator: Address::new([0; 32]),
        nonce: Natural::ZERO,
    }
}
