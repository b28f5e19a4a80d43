//! Checks of a transaction before its effects: one rule engine for every entrance.
//!
//! [`Transaction::check`] needs no state, [`State::check`] needs the accounts, and
//! [`State::check_new_stake`] needs the stakes too. A block runs all three before it applies a
//! transaction, the mempool runs the first two when it admits one, and a node runs all three before
//! it sends one: so each of them reports the same [`TransactionError`].
//!
//! The rest depends on the effects and on the other transactions of the block, and is checked while
//! they are applied: the lists that a transaction refers to, the cost of one that changes its
//! sender's balance, and the room in the block.

use super::{Draft, State, Stop, operation};
use crate::atom::{AtomId, AtomSource};
use crate::chain::cost::{self, FEE};
use crate::chain::journal::{Map, StateError};
use crate::chain::receipt::ReceiptIds;
use crate::chain::record::LONG_INTEGER;
use crate::chain::transaction::LONG_DATA;
use crate::chain::{
    BURN, MAX_INTEGER_BYTES, MAX_TRANSACTION_DATA_BYTES, Status, TREASURY, Transaction,
    TransactionError, channel, contract,
};
use crate::integer::Natural;

impl Transaction {
    /// Checks everything that depends on no state: the sizes of the fields, as
    /// [`Transaction::read`] does, and the signature.
    ///
    /// # Errors
    /// Returns the reason that the transaction cannot be part of any block.
    pub fn check(&self) -> Result<(), TransactionError> {
        if self.data.len() > MAX_TRANSACTION_DATA_BYTES {
            return Err(TransactionError::Malformed { problem: LONG_DATA });
        }
        let is_long = |number: &Natural| number.bit_length() > 8 * MAX_INTEGER_BYTES as u64;
        if [&self.chain_id, &self.amount, &self.counter]
            .into_iter()
            .any(is_long)
        {
            let problem = LONG_INTEGER;
            return Err(TransactionError::Malformed { problem });
        }
        self.verify_signature().map_err(TransactionError::Signature)
    }
}

impl<S: AtomSource> State<S> {
    /// Checks a transaction that has passed [`Transaction::check`] against the accounts. Returns
    /// the balance that its sender needs besides the amount. The stakes of the
    /// [position](super::Position) are not used.
    ///
    /// These are the reference's checks and those of this implementation: the treasury and the burn
    /// account are not senders, and a transaction is applied once.
    ///
    /// # Errors
    /// Fails if the state cannot be read, for example because an atom is missing. Nothing has
    /// changed.
    pub fn check(
        &mut self,
        transaction: &Transaction,
    ) -> Result<Result<Natural, TransactionError>, StateError<S::Error>> {
        verdict(self.check_accounts(transaction))
    }

    /// Checks that a new stake is not too small, for a transaction that has passed
    /// [`State::check`]. A failed transaction, which stakes nothing, is a new stake of 0.
    ///
    /// # Errors
    /// As [`State::check`]. Fails also if the stakes of the [position](super::Position) are those
    /// of another state.
    pub fn check_new_stake(
        &mut self,
        transaction: &Transaction,
    ) -> Result<Result<(), TransactionError>, StateError<S::Error>> {
        if transaction.recipient != TREASURY {
            return Ok(Ok(()));
        }
        self.check_stakes()?;
        if !self.records_new_stake(transaction)? {
            return Ok(Ok(()));
        }
        verdict(self.new_stake(transaction))
    }

    /// Returns whether a transaction records a stake for a sender that has none, so that its amount
    /// has a minimum.
    ///
    /// # Errors
    /// As [`State::check`].
    pub fn records_new_stake(
        &mut self,
        transaction: &Transaction,
    ) -> Result<bool, StateError<S::Error>> {
        if transaction.recipient != TREASURY {
            return Ok(false);
        }
        let sender = transaction.sender().as_bytes();
        let recorded = self.journal.entry(&TREASURY, Map::Data, sender)?;
        Ok(recorded.is_none())
    }

    fn check_accounts(&mut self, transaction: &Transaction) -> Result<Natural, Stop<S::Error>> {
        if [BURN, TREASURY].contains(transaction.sender()) {
            return Err(TransactionError::SystemSender.into());
        }
        check_chain(transaction, &self.position.chain_id)?;
        // A contract opened on the id of a pending transaction counts the four atoms of its head;
        // only applying the transaction records ten.
        let atoms = contract::atom_count(&mut self.journal, transaction.id().as_bytes())?;
        if atoms.is_some_and(|atoms| atoms == cost::TRANSACTION_ATOMS) {
            return Err(TransactionError::Replayed.into());
        }
        let reserve = self.reserve(transaction)?;
        self.check_real_cost(transaction, &reserve)?;
        Ok(reserve)
    }

    /// Checks that the sender can pay the actual cost, which exceeds the reserve if the integers
    /// are long. Transactions with an operation may change the sender's balance first, and are
    /// checked when they are applied.
    fn check_real_cost(
        &mut self,
        transaction: &Transaction,
        reserve: &Natural,
    ) -> Result<(), Stop<S::Error>> {
        let (sender, recipient) = (transaction.sender(), &transaction.recipient);
        let bytes = cost::stored_bytes(transaction);
        if bytes <= cost::reserved_bytes(transaction.data.len())
            || *recipient == BURN
            || recipient == sender
        {
            return Ok(());
        }
        let draft = self.draft(transaction, reserve.clone())?;
        let price = &self.position.price;
        let mut needed = price.of(bytes).ok_or(TransactionError::NoPrice)? + &draft.moved + FEE;
        let receipt = price.of(cost::RECEIPT_BYTES);
        let receipt_id = ReceiptIds::new(&FEE, AtomId::ZERO).id(transaction.id(), draft.status);
        if !contract::exists(&mut self.journal, receipt_id.as_bytes())? {
            needed += receipt.ok_or(TransactionError::NoPrice)?;
        }
        let balance = self.balance(sender)?;
        if balance < needed {
            return Err(TransactionError::RealCost { balance, needed }.into());
        }
        Ok(())
    }

    fn new_stake(&mut self, transaction: &Transaction) -> Result<(), Stop<S::Error>> {
        let reserve = self.reserve(transaction)?;
        let amount = self.draft(transaction, reserve)?.moved;
        let minimum = self.min_new_stake();
        if amount < minimum {
            return Err(TransactionError::SmallStake { amount, minimum }.into());
        }
        Ok(())
    }

    /// Returns the balance that the sender needs besides the amount, by the reference's rules.
    pub(super) fn reserve(&mut self, transaction: &Transaction) -> Result<Natural, Stop<S::Error>> {
        check_chain(transaction, &self.position.chain_id)?;
        for address in [BURN, TREASURY] {
            if self.journal.account(&address)?.is_none() {
                return Err(TransactionError::NoSystemAccount { address }.into());
            }
        }
        let needed = self.position.price.reserve(transaction.data.len());
        let needed = needed.ok_or(TransactionError::NoPrice)?;
        let balance = self.balance(transaction.sender())?;
        if balance < needed {
            return Err(TransactionError::Balance { balance, needed }.into());
        }
        Ok(needed)
    }

    /// Returns the intermediate result before any effect: the transaction has failed if the balance
    /// does not cover the amount too, or if it opens a contract with an amount.
    pub(super) fn draft(
        &mut self,
        transaction: &Transaction,
        reserve: Natural,
    ) -> Result<Draft, Stop<S::Error>> {
        let (sender, recipient) = (transaction.sender(), &transaction.recipient);
        let balance = self.balance(sender)?;
        let mut draft = Draft {
            status: Status::Success,
            // A withdrawal takes its amount out of the channel, not out of the balance.
            moved: if sender == recipient && operation(transaction) == Some(channel::WITHDRAW) {
                Natural::ZERO
            } else {
                transaction.amount.clone()
            },
            reserve,
        };
        if *recipient == BURN
            && operation(transaction) == Some(contract::OPEN)
            && !draft.moved.is_zero()
        {
            draft.fail();
        }
        if balance < &draft.reserve + &draft.moved {
            draft.fail();
        }
        Ok(draft)
    }
}

/// Checks that a transaction belongs to the chain with this id; the cheapest of the checks, which a
/// host may run before it verifies the signature.
///
/// # Errors
/// Returns [`TransactionError::ChainId`] if it belongs to another chain.
pub(crate) fn check_chain(
    transaction: &Transaction,
    chain: &Natural,
) -> Result<(), TransactionError> {
    if transaction.chain_id == *chain {
        return Ok(());
    }
    Err(TransactionError::ChainId {
        transaction: transaction.chain_id.clone(),
        chain: chain.clone(),
    })
}

/// Separates the verdict on a transaction from errors of the state.
fn verdict<T, E>(result: Result<T, Stop<E>>) -> Result<Result<T, TransactionError>, StateError<E>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(Stop::Rejected(error)) => Ok(Err(error)),
        Err(Stop::State(error)) => Err(error),
    }
}
