//! A block's body over the processors of this machine.
//!
//! Its transactions are read on all of them. Then one applies the transactions while the others
//! check their signatures, a few [side by side](check_signatures_with), and helps them once it is
//! done. The verdict is core's
//! [`verify_body`](astreum_core::chain::verify_body): a signature that does not hold comes before
//! whatever applying comes to.

use crate::chain::Environment;
use astreum_core::atom::AtomId;
use astreum_core::chain::cost::stored_bytes;
use astreum_core::chain::{
    Address, Block, BlockBytes, Body, MAX_BLOCK_BYTES, StakeTable, Transaction, VerifyError,
    check_signatures_with, check_signed, read_ids, read_transaction, repeat_body,
};
use astreum_core::crypto::VerifyingKey;
use astreum_core::trie::BatchHasher;
use core::convert::Infallible;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::collections::BTreeMap;
use std::sync::OnceLock;

type Result<T> = core::result::Result<T, VerifyError<Infallible>>;

/// A block's transactions, read and checked once however often the block is tried.
#[derive(Debug)]
pub struct Checked {
    pub(super) block: AtomId,
    pub(super) transactions: Vec<Transaction>,
    pub(super) signed: Vec<bool>,
}

/// Checks the body of `block`, whose header was right; `stakes` are those that `parent` left. What was found out about its transactions
/// stays in `checked`, for when the block is tried again.
///
/// # Errors
/// As [`astreum_core::chain::verify_body`].
pub fn verify_body(
    world: &Environment<'_>,
    block: &Block,
    parent: &Block,
    stakes: &StakeTable,
    hasher: &mut impl BatchHasher,
    checked: &mut Option<Checked>,
) -> Result<Body> {
    let mut repeat = |transactions: &[Transaction]| {
        let repeated = repeat_body(world.atoms, parent, stakes, transactions, hasher);
        repeated.and_then(|repeated| repeated.check(block, hasher))
    };
    if let Some(checked) = checked.as_ref().filter(|it| it.block == block.id()) {
        check_signed(&checked.transactions, &checked.signed)?;
        return repeat(&checked.transactions);
    }
    let transactions = read_transactions(world, block)?;
    let senders = Senders::of(&transactions);
    let check = |first: usize, signed: &mut [bool]| {
        let transactions = transactions.iter().skip(first).take(signed.len());
        check_signatures_with(transactions, |sender| senders.key(sender), signed);
    };
    let mut body = None;
    let mut apply = || body = Some(repeat(&transactions));
    let signed = (world.parallel).all_beside(transactions.len(), &check, &mut apply);
    let checked = checked.insert(Checked {
        block: block.id(),
        transactions,
        signed,
    });
    check_signed(&checked.transactions, &checked.signed)?;
    body.unwrap_or_else(|| repeat(&checked.transactions))
}

/// The keys of a block's senders, each decoded once, by who needs it first.
struct Senders<'t>(BTreeMap<&'t Address, OnceLock<Option<VerifyingKey>>>);

impl<'t> Senders<'t> {
    fn of(transactions: &'t [Transaction]) -> Self {
        let senders = transactions.iter().map(Transaction::sender);
        Self(senders.map(|sender| (sender, OnceLock::new())).collect())
    }

    /// The key at this address, `None` when it is none.
    fn key(&self, sender: &Address) -> Option<VerifyingKey> {
        let decode = || VerifyingKey::from_bytes(sender.as_bytes()).ok();
        self.0
            .get(sender)
            .map_or_else(decode, |key| *key.get_or_init(decode))
    }
}

/// As [`astreum_core::chain::read_transactions`].
fn read_transactions(world: &Environment<'_>, block: &Block) -> Result<Vec<Transaction>> {
    let atoms = world.atoms;
    let ids = read_ids(&atoms, block.transactions)?;
    let slots: Vec<OnceLock<Result<Transaction>>> = ids.iter().map(|_| OnceLock::new()).collect();
    // Nobody needs what comes after one that cannot be read.
    let has_failed = AtomicBool::new(false);
    let bytes = AtomicU64::new(0);
    let read = |first: usize, is_read: &mut [bool]| {
        let places = slots.iter().zip(&ids).enumerate().skip(first);
        for ((at, (slot, id)), is_read) in places.zip(is_read) {
            if has_failed.load(Ordering::Relaxed) {
                return;
            }
            let read = read_transaction(&atoms, at, *id);
            let len = read.as_ref().map_or(0, stored_bytes);
            let all = bytes.fetch_add(len, Ordering::Relaxed).saturating_add(len);
            *is_read = read.is_ok();
            if !*is_read || all > MAX_BLOCK_BYTES {
                has_failed.store(true, Ordering::Relaxed);
            }
            // Nobody else has this place.
            let _ = slot.set(read);
        }
    };
    world.parallel.all(ids.len(), &read);
    let slots = slots.into_iter().map(OnceLock::into_inner);
    let mut bytes = BlockBytes::default();
    let transactions = slots.zip(&ids).enumerate().map(|(at, (slot, id))| {
        // What was left out may be what is wrong first.
        let transaction = slot.unwrap_or_else(|| read_transaction(&atoms, at, *id))?;
        bytes.add(&transaction)?;
        Ok(transaction)
    });
    transactions.collect()
}
