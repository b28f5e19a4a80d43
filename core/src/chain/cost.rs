//! Transaction costs: the fee, and storage of the transaction and its receipt.
//!
//! The fee is 1 and leaves the system. The price of a byte of storage is the cumulative stake
//! divided by the cumulative fees, both as of the parent block. The cost is rounded up for each
//! stored item and goes to the burn account (source: the reference's
//! `consensus/transaction/storage_contract.py`).

use super::Transaction;
use crate::atom::HEADER_BYTES;
use crate::integer::Natural;

/// Fee of every transaction, independent of its effects. It is credited to no account.
pub const FEE: Natural = Natural::ONE;

/// Number of atoms of a transaction.
pub(super) const TRANSACTION_ATOMS: u64 = 10;
/// Number of atoms of a receipt.
pub(super) const RECEIPT_ATOMS: u64 = 6;
/// Stored bytes of an atom besides its data.
pub(super) const ATOM_BYTES: u64 = HEADER_BYTES as u64;
/// Stored bytes of a receipt: overhead of its atoms, and the data: type, version, the transaction's
/// id, status, fee and the id of the logs.
pub const RECEIPT_BYTES: u64 = RECEIPT_ATOMS * ATOM_BYTES + 7 + 1 + 32 + 1 + 1 + 32;
/// Stored bytes of a transaction without its integers and its data: overhead of its atoms, type,
/// version, signature, the id of the body, recipient and sender.
const TRANSACTION_FIXED_BYTES: u64 = TRANSACTION_ATOMS * ATOM_BYTES + 11 + 1 + 64 + 32 + 32 + 32;
/// Bytes reserved for a transaction's three integers, whatever their length.
const RESERVED_NUMBER_BYTES: u64 = 24;

/// Price of storage in one block.
///
/// ```
/// use astreum_core::chain::cost::Price;
///
/// let price = Price::new(1_u64.into(), 100_u64.into());
/// assert_eq!(price.of(526).and_then(|cost| cost.to_u64()), Some(6));
/// assert_eq!(Price::new(1_u64.into(), 0_u64.into()).of(526), None);
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Price {
    stake: Natural,
    fees: Natural,
}

impl Price {
    /// Returns the price in the block that follows one with these totals.
    #[must_use]
    pub const fn new(cumulative_stake: Natural, cumulative_total_fees: Natural) -> Self {
        Self {
            stake: cumulative_stake,
            fees: cumulative_total_fees,
        }
    }

    /// Returns the cost of `bytes`; `None` if storage has no price because no fees were ever
    /// collected.
    #[must_use]
    pub fn of(&self, bytes: u64) -> Option<Natural> {
        (&Natural::from(bytes) * &self.stake).div_ceil(&self.fees)
    }

    /// Returns the balance that the sender of a transaction with `data_bytes` of data needs besides
    /// the amount; `None` as in [`Price::of`].
    ///
    /// The actual cost depends on the length of the transaction's integers and can be more or less.
    ///
    /// ```
    /// use astreum_core::chain::cost::Price;
    /// // The fee, and one for each of the two stored items.
    /// let price = Price::new(1_u64.into(), 1_000_000_u64.into());
    /// assert_eq!(price.reserve(0).and_then(|balance| balance.to_u64()), Some(3));
    /// ```
    #[must_use]
    pub fn reserve(&self, data_bytes: usize) -> Option<Natural> {
        Some(FEE + self.of(reserved_bytes(data_bytes))? + self.of(RECEIPT_BYTES)?)
    }
}

/// Returns the bytes that are reserved for a transaction with `data_bytes` of data. Only one with
/// long integers has more stored bytes.
pub(super) const fn reserved_bytes(data_bytes: usize) -> u64 {
    // A usize has at most 64 bits, and a data length is far below its maximum.
    TRANSACTION_FIXED_BYTES + RESERVED_NUMBER_BYTES + data_bytes as u64
}

/// Returns the stored bytes of all atoms of this transaction.
///
/// ```
/// use astreum_core::chain::cost::stored_bytes;
/// use astreum_core::chain::{Address, Unsigned};
/// use astreum_core::crypto::SigningKey;
///
/// let transfer = Unsigned {
///     chain_id: 0_u64.into(),
///     amount: 100_u64.into(),
///     counter: 1_u64.into(),
///     data: b"note".as_slice().into(),
///     recipient: Address::new([2; 32]),
/// };
/// let transfer = transfer.sign(&SigningKey::from_seed(&[1; 32]));
/// let atoms = transfer.to_atoms();
/// let bytes: usize = atoms.iter().map(|(_, atom)| atom.stored_len()).sum();
/// assert_eq!(stored_bytes(&transfer), bytes as u64);
/// ```
#[must_use]
pub fn stored_bytes(transaction: &Transaction) -> u64 {
    let number_bytes = |number: &Natural| number.bit_length().div_ceil(8).max(1);
    TRANSACTION_FIXED_BYTES
        + number_bytes(&transaction.chain_id)
        + number_bytes(&transaction.amount)
        + number_bytes(&transaction.counter)
        + transaction.data.len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atom::AtomId;
    use crate::chain::{Address, Receipt, Status, Unsigned};
    use crate::crypto::SigningKey;
    use proptest::prelude::*;

    #[test]
    fn prices_round_up_and_need_fees() {
        let price = |stake: u64, fees: u64| Price::new(stake.into(), fees.into());
        assert_eq!(price(1, 3).of(10), Some(4_u64.into()));
        assert_eq!(price(5, 1).of(10), Some(50_u64.into()));
        assert_eq!(price(0, 7).of(10), Some(0_u64.into()));
        assert_eq!(price(1, 0).of(10), None);
        assert_eq!(price(1, 1).reserve(4), Some((1 + 530 + 272_u64).into()));
        let huge = Natural::from(u128::MAX);
        let expected: Natural = "3402823669209384634633746074317682114550".parse().unwrap();
        assert_eq!(Price::new(huge, 1_u64.into()).of(10), Some(expected));
    }

    #[test]
    fn receipt_bytes_match_the_encoding() {
        for status in [Status::Success, Status::Failed] {
            let receipt = Receipt {
                transaction: AtomId::new([7; 32]),
                status,
                cost: FEE,
                logs: AtomId::ZERO,
            };
            let (_, atoms) = receipt.to_atoms();
            let bytes: usize = atoms.iter().map(|(_, atom)| atom.stored_len()).sum();
            assert_eq!(
                (bytes as u64, atoms.len() as u64),
                (RECEIPT_BYTES, RECEIPT_ATOMS)
            );
        }
    }

    proptest! {
        #[test]
        fn stored_bytes_match_the_transaction_encoding(
            chain_id: u8, amount: u128, counter: u64,
            data in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let transaction = Unsigned {
                chain_id: u64::from(chain_id).into(),
                amount: amount.into(),
                counter: counter.into(),
                data: data.as_slice().into(),
                recipient: Address::new([3; 32]),
            }
            .sign(&SigningKey::from_seed(&[1; 32]));
            let atoms = transaction.to_atoms();
            let bytes: usize = atoms.iter().map(|(_, atom)| atom.stored_len()).sum();
            prop_assert_eq!(bytes as u64, stored_bytes(&transaction));
            prop_assert_eq!(atoms.len() as u64, TRANSACTION_ATOMS);
        }
    }
}
