//! Check of a transaction before it is sent, by the rules of the block after a head.

use super::{Costs, QueryError, costs};
use astreum_core::atom::AtomSource;
use astreum_core::chain::{
    Account, Block, Position, StakeTable, State, StateError, Transaction, TransactionError,
};
use astreum_core::integer::Natural;
use core::convert::Infallible;

/// Costs of a transaction that the next block can include.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CheckedTransaction {
    /// Costs besides the amount.
    pub costs: Costs,
    /// Balance of the sender.
    pub balance: Natural,
}

/// Checks a transaction as the mempool and the block after `head` do. `stakes` returns the stakes
/// after `head`; it is called only for a first stake.
///
/// The lists that the transaction refers to are not read.
///
/// # Errors
/// Fails if an atom is missing, or a stored record is malformed. The inner error is the reason that
/// the next block cannot include the transaction.
pub fn check_transaction<S>(
    source: &S,
    head: &Block,
    transaction: &Transaction,
    stakes: impl FnOnce() -> Result<StakeTable, QueryError>,
) -> Result<Result<CheckedTransaction, TransactionError>, QueryError>
where
    S: AtomSource<Error = Infallible> + ?Sized,
{
    if let Err(error) = transaction.check() {
        return Ok(Err(error));
    }
    let state_with = |stakes: &StakeTable| State::new(source, Position::after(head, stakes));
    let mut state = state_with(&StakeTable::default());
    if let Err(error) = state.check(transaction)? {
        return Ok(Err(error));
    }
    if state.records_new_stake(transaction)?
        && let Err(error) = state_with(&stakes()?).check_new_stake(transaction)?
    {
        return Ok(Err(error));
    }
    let sender = *transaction.sender();
    let Some(account): Option<&Account> = state.account(&sender)? else {
        return Ok(Err(TransactionError::NoSender { sender }));
    };
    let balance = account.balance.clone();
    let checked = costs(head, transaction).map(|costs| CheckedTransaction { costs, balance });
    Ok(checked.ok_or(TransactionError::NoPrice))
}

impl From<StateError<Infallible>> for QueryError {
    fn from(error: StateError<Infallible>) -> Self {
        match error {
            StateError::Source(error) => error.into(),
            StateError::Unmeasured { at, .. } => Self::Missing(at),
            malformed @ StateError::Malformed { .. } => Self::Malformed(malformed.to_string()),
        }
    }
}

#[cfg(test)]
mod tests;
