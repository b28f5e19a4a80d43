//! The body of a block against the state that its parent left.

use super::error::{Invalid, Total, VerifyError};
use super::header::check_total;
use crate::atom::{AtomId, AtomKind, AtomSource};
use crate::chain::cost::stored_bytes;
use crate::chain::execution::{Body, Builder, REWARD};
use crate::chain::leader_election::StakeTable;
use crate::chain::{
    Account, Address, Block, MAX_BLOCK_BYTES, MAX_BLOCK_TRANSACTIONS, RecordError, Transaction,
};
use crate::crypto::{Claim, VerifyingKey, verify_each};
use crate::trie::BatchHasher;
use alloc::boxed::Box;
use alloc::vec::Vec;

/// The transactions of a block, in order. Their signatures are not checked.
///
/// # Errors
/// When an atom of the list or of a transaction is missing, or one of them is not what it should
/// be.
pub fn read_transactions<S: AtomSource + ?Sized>(
    source: &S,
    block: &Block,
) -> Result<Vec<Transaction>, VerifyError<S::Error>> {
    let ids = read_ids(source, block.transactions)?;
    let mut transactions = Vec::with_capacity(ids.len());
    let mut bytes = BlockBytes::default();
    for (index, id) in ids.into_iter().enumerate() {
        let transaction = read_transaction(source, index, id)?;
        bytes.add(&transaction)?;
        transactions.push(transaction);
    }
    Ok(transactions)
}

/// Adds up how long the transactions of a block are, so that reading them ends where a block's may
/// not be longer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BlockBytes(u64);

impl BlockBytes {
    /// Adds a transaction.
    ///
    /// # Errors
    /// When all together have more than [`MAX_BLOCK_BYTES`](crate::chain::MAX_BLOCK_BYTES).
    pub fn add(&mut self, transaction: &Transaction) -> Result<(), Invalid> {
        self.0 = self.0.saturating_add(stored_bytes(transaction));
        if self.0 > MAX_BLOCK_BYTES {
            let problem = "its transactions have more bytes than a block may";
            return Err(Invalid::TransactionList { problem });
        }
        Ok(())
    }
}

/// One of the transactions of a block, which stands at `index`. Its signature is not checked.
///
/// # Errors
/// As [`read_transactions`].
pub fn read_transaction<S: AtomSource + ?Sized>(
    source: &S,
    index: usize,
    id: AtomId,
) -> Result<Transaction, VerifyError<S::Error>> {
    Transaction::read(source, id).map_err(|error| match error {
        RecordError::Malformed { problem, .. } => {
            Invalid::MalformedTransaction { index, id, problem }.into()
        }
        error => error.into(),
    })
}

/// The ids in the list of a block's transactions.
///
/// # Errors
/// As [`read_transactions`].
pub fn read_ids<S: AtomSource + ?Sized>(
    source: &S,
    head: AtomId,
) -> Result<Vec<AtomId>, VerifyError<S::Error>> {
    let mut ids = Vec::new();
    let mut next = head;
    while !next.is_zero() {
        if ids.len() == MAX_BLOCK_TRANSACTIONS {
            let problem = "it is longer than a block may be";
            return Err(Invalid::TransactionList { problem }.into());
        }
        let atom = source.atom(&next).map_err(RecordError::from)?;
        let id = AtomId::from_slice(atom.data()).filter(|_| atom.kind() == AtomKind::Bytes);
        ids.push(id.ok_or(Invalid::TransactionList {
            problem: "an atom of it does not hold an id",
        })?);
        next = atom.next();
    }
    Ok(ids)
}

/// Whether each transaction is signed by its sender, one after the other. What a host checks in
/// parallel must come out the same: [`Transaction::verify_signature`] decides, never a batch.
#[must_use]
pub fn check_signatures(transactions: &[Transaction]) -> Vec<bool> {
    let is_signed = |transaction: &Transaction| transaction.verify_signature().is_ok();
    transactions.iter().map(is_signed).collect()
}

/// As [`check_signatures`], faster: several [side by side](verify_each), with senders' keys from
/// `key_of`, which says `None` of what is no key. A host that decodes each key of a block once saves
/// another part. Sets as many of `signed` as there are transactions.
pub fn check_signatures_with<'t>(
    transactions: impl Iterator<Item = &'t Transaction>,
    key_of: impl Fn(&Address) -> Option<VerifyingKey>,
    signed: &mut [bool],
) {
    let claims: Vec<Claim<'_>> = transactions
        .map(|transaction| transaction.claim(key_of(transaction.sender())))
        .collect();
    verify_each(&claims, signed);
}

/// Checks the body of `block`, whose header [was right](crate::chain::verify_header), by doing what it
/// says that it has done. Everything that it made comes back, to be stored. `stakes` are those that
/// `parent` left.
///
/// `transactions` are those of the block, as [`read_transactions`] gives them, and `signed` says of
/// each whether its sender signed it, as [`check_signatures`] does.
///
/// # Errors
/// What is wrong, or missing. Nothing has changed; once what is missing is there, the same call
/// comes to the same end as if it had been there before.
pub fn verify_body<S: AtomSource>(
    source: S,
    block: &Block,
    parent: &Block,
    stakes: &StakeTable,
    transactions: &[Transaction],
    signed: &[bool],
    hasher: &mut impl BatchHasher,
) -> Result<Body, VerifyError<S::Error>> {
    check_signed(transactions, signed)?;
    repeat_body(&source, parent, stakes, transactions, hasher)?.check(block, hasher)
}

/// Whether all transactions are signed, as [`check_signatures`] has found.
///
/// # Errors
/// Which is the first that is not.
pub fn check_signed(transactions: &[Transaction], signed: &[bool]) -> Result<(), Invalid> {
    for (index, transaction) in transactions.iter().enumerate() {
        if signed.get(index) != Some(&true) {
            let id = transaction.id();
            return Err(Invalid::TransactionSignature { index, id });
        }
    }
    Ok(())
}

/// Does what a block's transactions say, as the second half of [`verify_body`]: for a host that
/// checks their signatures meanwhile. A [forged signature](check_signed) is what is wrong with the
/// block, whatever this comes to.
///
/// # Errors
/// As [`verify_body`].
pub fn repeat_body<S: AtomSource>(
    source: S,
    parent: &Block,
    stakes: &StakeTable,
    transactions: &[Transaction],
    hasher: &mut impl BatchHasher,
) -> Result<Repeated<S>, VerifyError<S::Error>> {
    let mut builder = Builder::new(source, parent, stakes);
    for (index, transaction) in transactions.iter().enumerate() {
        if let Err(rejection) = builder.apply(transaction)? {
            let rejection = Box::new(rejection);
            let id = transaction.id();
            return Err(Invalid::Rejected {
                index,
                id,
                rejection,
            }
            .into());
        }
    }
    let body = builder.finish(hasher, None)?;
    Ok(Repeated { builder, body })
}

/// What the transactions of a block come to, before it is compared with what the block says.
pub struct Repeated<S> {
    builder: Builder<S>,
    body: Body,
}

impl<S: AtomSource> Repeated<S> {
    /// Compares it with what `block` says, and gives it back to be stored.
    ///
    /// # Errors
    /// As [`verify_body`].
    pub fn check(
        self,
        block: &Block,
        hasher: &mut impl BatchHasher,
    ) -> Result<Body, VerifyError<S::Error>> {
        let Self {
            mut builder,
            mut body,
        } = self;
        check_lists(block, &body)?;
        check_totals(block, &body)?;
        if block.accounts == body.accounts {
            return Ok(body);
        }
        let computed = body.accounts;
        builder.claim(hasher, block.validator, &mut body)?;
        if block.accounts == body.accounts {
            return Ok(body);
        }
        let claimed = other_claim(block, &mut builder, hasher)?;
        Err(claimed
            .unwrap_or(Invalid::Accounts {
                stated: block.accounts,
                computed,
            })
            .into())
    }
}

fn check_lists(block: &Block, body: &Body) -> Result<(), Invalid> {
    if block.transactions != body.transactions {
        return Err(Invalid::Transactions {
            stated: block.transactions,
            computed: body.transactions,
        });
    }
    if block.receipts != body.receipts {
        return Err(Invalid::Receipts {
            stated: block.receipts,
            computed: body.receipts,
        });
    }
    Ok(())
}

fn check_totals(block: &Block, body: &Body) -> Result<(), Invalid> {
    for (total, stated, expected) in [
        (Total::Fees, &block.total_fees, &body.total_fees),
        (
            Total::CumulativeFees,
            &block.cumulative_total_fees,
            &body.cumulative_total_fees,
        ),
        (
            Total::CumulativeMint,
            &block.cumulative_mint,
            &body.cumulative_mint,
        ),
        (
            Total::CumulativeStake,
            &block.cumulative_stake,
            &body.cumulative_stake,
        ),
        (
            Total::CumulativeBurn,
            &block.cumulative_burn,
            &body.cumulative_burn,
        ),
    ] {
        check_total(total, stated, expected)?;
    }
    Ok(())
}

/// Whether the accounts are right but for a reward that is none of those allowed, where the atoms
/// are here to tell; the block is wrong either way.
fn other_claim<S: AtomSource>(
    block: &Block,
    builder: &mut Builder<S>,
    hasher: &mut impl BatchHasher,
) -> Result<Option<Invalid>, VerifyError<S::Error>> {
    let validator = &block.validator;
    let Ok(Some(stated)) = Account::find(builder.source(), block.accounts, validator) else {
        return Ok(None);
    };
    // The reward is credited already.
    let credited = builder.balance(validator)?;
    let Some(more) = stated.balance.checked_sub(&credited) else {
        return Ok(None);
    };
    let root = builder.credit(hasher, validator, &more)?;
    let claimed = REWARD + more;
    Ok((root == block.accounts).then_some(Invalid::Reward { claimed }))
}
