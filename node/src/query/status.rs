//! Lookup of a transaction's location in the chain.
//!
//! Applying a transaction stores a contract for its ten atoms with the burn account, under the
//! transaction's id. The contract names the block before the one that applied the transaction, so a
//! lookup only has to follow the chain down to that height.

use super::{Included, Pruned, QueryError, account, included, previous_at};
use astreum_core::atom::{AtomId, AtomSource, collect_list};
use astreum_core::chain::{BURN, Block};
use astreum_core::integer::Natural;
use astreum_core::trie;
use core::convert::Infallible;

/// Number of fields in a storage contract's record.
const CONTRACT_FIELDS: usize = 6;
/// Index of the field that names the block before the one with the contract.
const PREVIOUS_FIELD: usize = 1;
/// Index of the field with the number of atoms.
const ATOMS_FIELD: usize = 5;
/// Number of atoms of a transaction. Another account may open a contract on the transaction's id
/// before it is applied; that contract counts four atoms.
const TRANSACTION_ATOMS: u64 = 10;

/// Location of a transaction in the chain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TransactionLocation {
    /// Block with the transaction.
    pub block: Block,
    /// Index in the block, and receipt.
    pub included: Included,
}

/// Returns the transaction's location in the chain that ends in `head`, or `None` if it is not
/// included.
///
/// # Errors
/// Fails if an atom is missing, the block was pruned, or a stored record is malformed.
pub fn find<S>(
    source: &S,
    head: &Block,
    id: AtomId,
    pruned: &Pruned<'_>,
) -> Result<Option<TransactionLocation>, QueryError>
where
    S: AtomSource<Error = Infallible> + ?Sized,
{
    let Some(previous) = block_before(source, head, id)? else {
        return Ok(None);
    };
    let previous = Block::read(source, previous)?;
    let height = previous.height.clone() + Natural::ONE;
    let header = height.to_u64().and_then(pruned.header_at);
    let block = match header.filter(|block| block.previous == previous.id()) {
        Some(block) => block,
        None => previous_at(source, head.clone(), &height)?,
    };
    pruned.check(&block, || {
        format!("the result of transaction {id}, which is in block {height}, is")
    })?;
    let (total, _) = included(source, &block, 0, 0)?;
    let place = super::transactions(source, &block)?
        .iter()
        .position(|transaction| *transaction == id);
    let place = place.filter(|_| block.previous == previous.id());
    let Some(place) = place else {
        let at = block.id();
        return Err(QueryError::Malformed(format!(
            "transaction {id} is not among the {total} transactions of block {height}, {at}"
        )));
    };
    let (_, mut one) = included(source, &block, place, 1)?;
    Ok(one
        .pop()
        .map(|included| TransactionLocation { block, included }))
}

/// Returns the block before the one that the transaction was applied in.
fn block_before<S>(source: &S, head: &Block, id: AtomId) -> Result<Option<AtomId>, QueryError>
where
    S: AtomSource<Error = Infallible> + ?Sized,
{
    let Some((_, burn)) = account(source, head.accounts, &BURN)? else {
        return Ok(None);
    };
    let Some(record) = trie::get(source, burn.data, id.as_bytes())? else {
        return Ok(None);
    };
    let malformed = || QueryError::Malformed(format!("malformed storage contract {id}"));
    let record = AtomId::from_slice(&record).ok_or_else(malformed)?;
    let fields = collect_list(source, record, CONTRACT_FIELDS)?;
    let field = |at: usize| fields.get(at).map(|atom| atom.data());
    let atoms = field(ATOMS_FIELD).and_then(|count| Natural::from_bytes_le(count).ok());
    if atoms.ok_or_else(malformed)? != TRANSACTION_ATOMS {
        return Ok(None);
    }
    let previous = field(PREVIOUS_FIELD).and_then(AtomId::from_slice);
    previous.ok_or_else(malformed).map(Some)
}
