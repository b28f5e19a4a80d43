//! Where a transaction is.
//!
//! Applying one files a contract for its ten atoms with the burn account, under its id; the
//! contract names the block before the one that it was applied in. So nothing has to be searched
//! but the way down to that height.

use super::{Included, QueryError, account, included, previous_at};
use astreum_core::atom::{AtomId, AtomSource, collect_list};
use astreum_core::chain::{BURN, Block};
use astreum_core::integer::Natural;
use astreum_core::trie;
use core::convert::Infallible;

/// Fields of a storage contract's record.
const CONTRACT_FIELDS: usize = 6;
/// Which of them names the block before the one that made it.
const PREVIOUS_FIELD: usize = 1;
/// Which of them counts atoms.
const ATOMS_FIELD: usize = 5;
/// The atoms of a transaction. Somebody may open a contract on its id before it is applied, and
/// that one counts four.
const TRANSACTION_ATOMS: u64 = 10;

/// A transaction's place in the chain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// The block.
    pub block: Block,
    /// Its place there and its receipt.
    pub included: Included,
}

/// The transaction's place in the chain that ends in `head`; `None` if it is not in it.
///
/// # Errors
/// When an atom is missing, or what is stored makes no sense.
pub fn find<S>(source: &S, head: &Block, id: AtomId) -> Result<Option<Place>, QueryError>
where
    S: AtomSource<Error = Infallible> + ?Sized,
{
    let Some(previous) = block_before(source, head, id)? else {
        return Ok(None);
    };
    let previous = Block::read(source, previous)?;
    let height = previous.height.clone() + Natural::ONE;
    let block = previous_at(source, head.clone(), &height)?;
    let (total, _) = included(source, &block, 0, 0)?;
    let place = super::transactions(source, &block)?
        .iter()
        .position(|transaction| *transaction == id);
    let place = place.filter(|_| block.previous == previous.id());
    let Some(place) = place else {
        let at = block.id();
        return Err(QueryError::Malformed(format!(
            "transaction {id} was applied in block {height}, and is not among the {total} of {at}"
        )));
    };
    let (_, mut one) = included(source, &block, place, 1)?;
    Ok(one.pop().map(|included| Place { block, included }))
}

/// The block before the one that the transaction was applied in.
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
    let malformed = || QueryError::Malformed(format!("the contract of {id} is not a contract"));
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
