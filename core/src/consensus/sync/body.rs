//! Verification of a block's body on all processors of a machine.
//!
//! The transactions are read in parallel. Then one thread applies the transactions while the others
//! verify the signatures in [batches](check_signatures_with); it helps them once it is done. The
//! verdict is that of [`verify_body`](crate::chain::verify_body): an invalid signature takes
//! precedence over any error of applying.

use crate::atom::AtomId;
use crate::chain::cost::stored_bytes;
use crate::chain::{
    Address, Block, BlockBytes, Body, MAX_BLOCK_BYTES, StakeTable, Transaction, VerifyError,
    check_signatures_with, check_signed, read_ids, read_transaction, reexecute_body,
};
use crate::consensus::Environment;
use crate::crypto::VerifyingKey;
use crate::trie::BatchHasher;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::convert::Infallible;
#[cfg(target_has_atomic = "ptr")]
use core::sync::atomic::AtomicU32;
use core::sync::atomic::{AtomicBool, Ordering};
#[cfg(not(target_has_atomic = "ptr"))]
use portable_atomic::AtomicU32;
use spin::{Mutex, Once};

type Result<T> = core::result::Result<T, VerifyError<Infallible>>;

/// Transactions of a block, read and verified once regardless of how often the block is tried.
#[derive(Debug)]
pub struct CheckedTransactions {
    block: AtomId,
    transactions: Vec<Transaction>,
    signed: Vec<bool>,
}

impl CheckedTransactions {
    /// Returns the transactions, in order.
    #[must_use]
    pub fn transactions(&self) -> &[Transaction] {
        &self.transactions
    }
}

/// Verifies the body of `block`, whose header is valid; `stakes` are those after `parent`. The
/// verified transactions stay in `checked`, for when the block is tried again.
///
/// # Errors
/// Fails as [`crate::chain::verify_body`] does.
pub fn verify_body(
    environment: &Environment<'_>,
    block: &Block,
    parent: &Block,
    stakes: &StakeTable,
    hasher: &mut impl BatchHasher,
    checked: &mut Option<CheckedTransactions>,
) -> Result<Body> {
    let mut repeat = |transactions: &[Transaction]| {
        let repeated = reexecute_body(environment.atoms, parent, stakes, transactions, hasher);
        repeated.and_then(|repeated| repeated.check(block, hasher))
    };
    if let Some(checked) = checked.as_ref().filter(|it| it.block == block.id()) {
        check_signed(&checked.transactions, &checked.signed)?;
        return repeat(&checked.transactions);
    }
    let transactions = read_transactions(environment, block)?;
    let senders = Senders::of(&transactions);
    let check = |first: usize, signed: &mut [bool]| {
        let transactions = transactions.iter().skip(first).take(signed.len());
        check_signatures_with(transactions, |sender| senders.key(sender), signed);
    };
    let mut body = None;
    let mut apply = || body = Some(repeat(&transactions));
    let parallel = environment.parallel;
    let signed = parallel.all_alongside(transactions.len(), &check, &mut apply);
    let checked = checked.insert(CheckedTransactions {
        block: block.id(),
        transactions,
        signed,
    });
    check_signed(&checked.transactions, &checked.signed)?;
    body.unwrap_or_else(|| repeat(&checked.transactions))
}

/// Public keys of a block's senders, each decoded at most once, on first use.
struct Senders<'t>(BTreeMap<&'t Address, Once<Option<VerifyingKey>>>);

impl<'t> Senders<'t> {
    fn of(transactions: &'t [Transaction]) -> Self {
        let senders = transactions.iter().map(Transaction::sender);
        Self(senders.map(|sender| (sender, Once::new())).collect())
    }

    /// Returns the key at this address; `None` if it is not a key.
    fn key(&self, sender: &Address) -> Option<VerifyingKey> {
        let decode = || VerifyingKey::from_bytes(sender.as_bytes()).ok();
        let known = self.0.get(sender);
        known.map_or_else(decode, |key| *key.call_once(decode))
    }
}

/// Reads transactions as [`crate::chain::read_transactions`] does.
fn read_transactions(environment: &Environment<'_>, block: &Block) -> Result<Vec<Transaction>> {
    let atoms = environment.atoms;
    let ids = read_ids(&atoms, block.transactions)?;
    // Each slot has one writer, so locks are never contended.
    let slots: Vec<Mutex<Option<Result<Transaction>>>> =
        ids.iter().map(|_| Mutex::new(None)).collect();
    // Transactions after an unreadable one are not needed.
    let has_failed = AtomicBool::new(false);
    // Limits the work; the verdict does not depend on it.
    let bytes = AtomicU32::new(0);
    let read = |first: usize, is_read: &mut [bool]| {
        let places = slots.iter().zip(&ids).enumerate().skip(first);
        for ((at, (slot, id)), is_read) in places.zip(is_read) {
            if has_failed.load(Ordering::Relaxed) {
                return;
            }
            let read = read_transaction(&atoms, at, *id);
            let len = read.as_ref().map_or(0, stored_bytes);
            let len = u32::try_from(len).unwrap_or(u32::MAX);
            let before = bytes.fetch_add(len, Ordering::Relaxed);
            *is_read = read.is_ok();
            if !*is_read || u64::from(before.saturating_add(len)) > MAX_BLOCK_BYTES {
                has_failed.store(true, Ordering::Relaxed);
            }
            *slot.lock() = Some(read);
        }
    };
    environment.parallel.all(ids.len(), &read);
    let mut bytes = BlockBytes::default();
    let transactions = slots
        .into_iter()
        .zip(&ids)
        .enumerate()
        .map(|(at, (slot, id))| {
            // A skipped transaction may be the first one that is wrong, so it is read here.
            let read = slot.into_inner();
            let transaction = read.unwrap_or_else(|| read_transaction(&atoms, at, *id))?;
            bytes.add(&transaction)?;
            Ok(transaction)
        });
    transactions.collect()
}
