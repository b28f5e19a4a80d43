//! Queries of blocks, their transactions and accounts.

use super::QueryError;
use astreum_core::atom::{AtomId, AtomSource, ReadOnce, collect_list};
use astreum_core::chain::{Account, Address, Block, MAX_LIST_ATOMS, Receipt};
use astreum_core::integer::Natural;
use astreum_core::trie;
use core::convert::Infallible;
use core::fmt;
use core::str::FromStr;

/// Reference to a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BlockAt {
    /// Newest block.
    Head,
    /// Block at this height of the head's chain.
    Height(u64),
    /// Block with this id, on any chain.
    Id(AtomId),
}

/// Formats the reference as `head`, a height or an id.
impl fmt::Display for BlockAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head => f.write_str("head"),
            Self::Height(height) => height.fmt(f),
            Self::Id(id) => id.fmt(f),
        }
    }
}

/// Error for text that is not a [`BlockAt`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ParseBlockAtError;

impl fmt::Display for ParseBlockAtError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("neither head, a height nor an id")
    }
}

impl core::error::Error for ParseBlockAtError {}

impl FromStr for BlockAt {
    type Err = ParseBlockAtError;

    fn from_str(text: &str) -> Result<Self, ParseBlockAtError> {
        if text == "head" {
            return Ok(Self::Head);
        }
        // An id may consist of decimal digits only; no height is that long.
        let id = text.parse().map(Self::Id).ok();
        let height = || text.parse().map(Self::Height).ok();
        id.or_else(height).ok_or(ParseBlockAtError)
    }
}

/// Returns the block that `at` refers to on the chain that ends in `head`.
///
/// # Errors
/// Fails if an atom is missing, is not a block, or the chain does not reach the height.
pub fn block<S>(source: &S, head: AtomId, at: BlockAt) -> Result<Block, QueryError>
where
    S: AtomSource<Error = Infallible> + ?Sized,
{
    match at {
        BlockAt::Head => Ok(Block::read(source, head)?),
        BlockAt::Id(id) => block_with_id(source, id),
        BlockAt::Height(height) => {
            let head = Block::read(source, head)?;
            let wanted = Natural::from(height);
            if head.height < wanted {
                let head = head.height.clone();
                return Err(QueryError::TooHigh { height, head });
            }
            previous_at(source, head, &wanted)
        }
    }
}

/// Returns the block with this id, on any chain.
///
/// # Errors
/// Fails if an atom is missing or is not a block.
pub fn block_with_id<S>(source: &S, id: AtomId) -> Result<Block, QueryError>
where
    S: AtomSource<Error = Infallible> + ?Sized,
{
    Block::read(source, id).map_err(|error| QueryError::of_record("block", error))
}

/// Returns the block at this height on the chain that ends in `block`, which is at least as high.
///
/// # Errors
/// Fails if an atom is missing, or a block on the way is malformed or has the wrong height.
pub fn previous_at<S>(source: &S, block: Block, height: &Natural) -> Result<Block, QueryError>
where
    S: AtomSource<Error = Infallible> + ?Sized,
{
    let mut block = block;
    while block.height != *height {
        // The heights of a verified chain decrease by one; those of a trusted chain may not.
        if block.height < *height || block.is_genesis() {
            let id = block.id();
            return Err(QueryError::Malformed(format!(
                "heights of the blocks before {id} do not descend to {height}"
            )));
        }
        block = Block::read(&ReadOnce(source), block.previous)?;
    }
    Ok(block)
}

/// Returns at most `count` blocks from `first` backwards.
///
/// # Errors
/// Fails if an atom is missing or is not a block.
pub fn blocks<S>(source: &S, first: Block, count: usize) -> Result<Vec<Block>, QueryError>
where
    S: AtomSource<Error = Infallible> + ?Sized,
{
    let mut blocks = Vec::new();
    let mut next = Some(first);
    while let Some(block) = next.take() {
        if blocks.len() == count {
            break;
        }
        if !block.is_genesis() && blocks.len() + 1 < count {
            next = Some(Block::read(source, block.previous)?);
        }
        blocks.push(block);
    }
    Ok(blocks)
}

/// Returns the ids of a block's transactions, in order.
///
/// # Errors
/// Fails if an atom is missing, or the list has items that are not ids.
pub fn transactions<S>(source: &S, block: &Block) -> Result<Vec<AtomId>, QueryError>
where
    S: AtomSource<Error = Infallible> + ?Sized,
{
    ids(source, block.transactions, "transactions", block)
}

fn ids<S>(source: &S, list: AtomId, what: &str, block: &Block) -> Result<Vec<AtomId>, QueryError>
where
    S: AtomSource<Error = Infallible> + ?Sized,
{
    let atoms = collect_list(source, list, MAX_LIST_ATOMS)?;
    let ids = atoms.iter().map(|atom| AtomId::from_slice(atom.data()));
    ids.collect::<Option<_>>().ok_or_else(|| {
        let id = block.id();
        QueryError::Malformed(format!("malformed {what} of block {id}: not a list of ids"))
    })
}

/// Transaction in a block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Included {
    /// Index in the block, from 0.
    pub index: usize,
    /// Id of the transaction.
    pub transaction: AtomId,
    /// Id of the receipt.
    pub receipt_id: AtomId,
    /// Receipt of the transaction.
    pub receipt: Receipt,
}

/// Returns the number of transactions in a block, and `count` of them with their receipts after the
/// first `skip`.
///
/// # Errors
/// Fails if an atom is missing, or the lists have different lengths.
pub fn included<S>(
    source: &S,
    block: &Block,
    skip: usize,
    count: usize,
) -> Result<(usize, Vec<Included>), QueryError>
where
    S: AtomSource<Error = Infallible> + ?Sized,
{
    let transactions = transactions(source, block)?;
    let total = transactions.len();
    if count == 0 || skip >= total {
        return Ok((total, Vec::new()));
    }
    let receipts = ids(source, block.receipts, "receipts", block)?;
    if receipts.len() != total {
        let (id, receipts) = (block.id(), receipts.len());
        return Err(QueryError::Malformed(format!(
            "block {id} has {total} transactions and {receipts} receipts"
        )));
    }
    let pairs = transactions.into_iter().zip(receipts).enumerate();
    let some = pairs.skip(skip).take(count);
    let read = some.map(|(index, (transaction, receipt_id))| {
        Ok(Included {
            index,
            transaction,
            receipt_id,
            receipt: Receipt::read(source, receipt_id)?,
        })
    });
    Ok((total, read.collect::<Result<_, QueryError>>()?))
}

/// Returns the account with this address under a root of accounts and the id of its record, or
/// `None` if it does not exist.
///
/// # Errors
/// Fails if an atom is missing, or the stored record is not an account.
pub fn account<S>(
    source: &S,
    accounts: AtomId,
    address: &Address,
) -> Result<Option<(AtomId, Account)>, QueryError>
where
    S: AtomSource<Error = Infallible> + ?Sized,
{
    let Some(value) = trie::get(source, accounts, address.as_bytes())? else {
        return Ok(None);
    };
    let id = AtomId::from_slice(&value).ok_or_else(|| {
        QueryError::Malformed(format!("malformed record of account {address}: not an id"))
    })?;
    Ok(Some((id, Account::read(source, id)?)))
}
