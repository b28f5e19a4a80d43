//! Keys, headers, transactions and lists for tests.

use crate::atom::{Atom, AtomId, AtomSource as _, MemoryStore};
use crate::chain::{Address, Header, Transaction, Unsigned};
use crate::consensus::SignedBlock;
use crate::consensus::producer::Interrupt;
use crate::crypto::{PublicKey, SigningKey};
use crate::engine::ListLimit;
use crate::integer::Natural;
use alloc::vec::Vec;

/// Wall time at which chains begin, in seconds.
pub const BEGINNING: u64 = 1_800_000_000;

/// Returns a signing key by its number.
#[must_use]
pub fn key(number: u8) -> SigningKey {
    SigningKey::from_seed(&[number; 32])
}

/// Returns the account of the key with this number.
#[must_use]
pub fn address(number: u8) -> Address {
    Address::from(key(number).verifying_key())
}

/// Returns a peer by its number.
#[must_use]
pub const fn peer(number: u8) -> PublicKey {
    PublicKey::new([number; 32])
}

/// Returns a header with this height, parent and timestamp and otherwise empty fields.
#[must_use]
pub fn header(height: u64, previous: AtomId, timestamp: u64) -> Header {
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

/// Returns the entry of a signing record for a block, which is named by the byte of its id.
#[must_use]
pub const fn mark(parent: u8, block: u8, timestamp: u64) -> SignedBlock {
    SignedBlock {
        parent: AtomId::new([parent; 32]),
        block: AtomId::new([block; 32]),
        height: timestamp / 2,
        timestamp,
    }
}

/// Returns a transaction that the key `from` signs.
#[must_use]
pub fn transaction(
    from: u8,
    recipient: Address,
    amount: u64,
    counter: u64,
    data: &[u8],
) -> Transaction {
    let unsigned = Unsigned {
        chain_id: Natural::ZERO,
        amount: amount.into(),
        counter: counter.into(),
        data: data.into(),
        recipient,
    };
    unsigned.sign(&key(from))
}

/// Returns the beginning of a list, as a peer that has `store` sends it: as far as the store has
/// it, within `limit`, up to `most` atoms.
#[must_use]
pub fn part(store: &MemoryStore, id: AtomId, limit: ListLimit, most: usize) -> Vec<Atom> {
    let (mut atoms, mut bytes, mut next) = (Vec::new(), 0, id);
    while !next.is_zero() && atoms.len() < limit.atoms.min(most) && bytes <= limit.bytes {
        let Ok(atom) = store.atom(&next) else {
            break;
        };
        bytes += atom.stored_len();
        next = atom.next();
        atoms.push(atom);
    }
    atoms
}

/// Interruption of an assembly after this number of checks.
#[derive(Debug)]
pub struct InterruptAfter(pub Option<u32>);

impl Interrupt for InterruptAfter {
    fn is_due(&mut self) -> bool {
        let left = self.0.map(|left| left.checked_sub(1));
        self.0 = left.map(Option::unwrap_or_default);
        left == Some(None)
    }
}
