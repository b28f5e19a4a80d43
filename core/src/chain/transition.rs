//! State transition of one transaction.
//!
//! [`State::apply`] follows the reference's `consensus/transaction/apply.py` line by line,
//! including its quirks: a failed transfer still creates the recipient's account, a failed stake
//! still records the old stake, and an opening of a contract with an amount fails but still records
//! the contract.
//!
//! Invariants:
//! - A transaction is applied completely or not at all: [`Outcome::Rejected`] and every error
//!   revert all its writes.
//! - Money is conserved: the sum of all balances and all open channels changes only by the minted
//!   amount minus the fees.
//! - Beyond the reference, [`State::admit_and_apply`] rejects replayed transactions, transactions
//!   that spend burnt or staked amounts, and new stakes that are too small.
//! - [`check`] decides everything that precedes the effects.

mod check;

#[cfg(feature = "consensus")]
pub(crate) use check::check_chain;

use super::contract::{self, Excess, Measured, Payment, Terms, WalkBudget};
use super::cost::{self, FEE, Price};
use super::fields::number;
use super::journal::{Journal, Map, StateError, Value};
use super::leader_election::StakeTable;
use super::receipt::ReceiptIds;
use super::{
    Account, Address, BURN, Block, Receipt, RecordAtoms, Status, TREASURY, Transaction,
    TransactionError, channel,
};
use crate::atom::{AtomId, AtomSource};
use crate::integer::Natural;
use crate::trie::BatchHasher;
use alloc::vec::Vec;
use core::ops::Range;

/// Divisor of the total stake: a new stake is at least this part of all stakes.
const STAKE_PARTS: u64 = 1_000_000;

/// Position in the chain at which a block's transactions are applied.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Position {
    /// Id of the chain.
    pub chain_id: Natural,
    /// Height of the block that is produced or verified.
    pub height: Natural,
    /// Id of the parent block.
    pub previous: AtomId,
    /// Timestamp of the parent block, in seconds since the Unix epoch.
    pub previous_timestamp: Natural,
    /// Price of storage.
    pub price: Price,
    /// Root of the accounts trie after the parent block.
    pub accounts: AtomId,
    /// Stakes after the parent block, for [`State::admit_and_apply`]. [`State::apply`], which
    /// follows only the reference's rules, does not use them.
    pub stakes: StakeTable,
}

impl Position {
    /// Returns the position after `parent`, which left these stakes.
    ///
    /// ```
    /// use astreum_core::chain::{Election, Position};
    /// # use astreum_core::atom::MemoryStore;
    /// # use astreum_core::chain::{Address, Genesis};
    /// # use astreum_core::crypto::SigningKey;
    /// # use astreum_core::integer::Natural;
    /// # use astreum_core::trie::Scalar;
    /// # let key = SigningKey::from_seed(&[1; 32]);
    /// # let validator = Address::from(key.verifying_key());
    /// # let mut store = MemoryStore::new();
    /// # let genesis = Genesis::new(validator, Natural::ZERO, 1_700_000_000_u64.into());
    /// # let parent = genesis.build(&mut Scalar, &mut store)?;
    /// # let Election { seeds, stakes } = Election::read(&store, &parent)?;
    /// let position = Position::after(&parent, &stakes);
    /// assert_eq!((position.height.to_u64(), position.previous), (Some(1), parent.id()));
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    #[must_use]
    pub fn after(parent: &Block, stakes: &StakeTable) -> Self {
        Self {
            chain_id: parent.chain_id.clone(),
            height: &parent.height + &Natural::ONE,
            previous: parent.id(),
            previous_timestamp: parent.timestamp.clone(),
            price: Price::new(
                parent.cumulative_stake.clone(),
                parent.cumulative_total_fees.clone(),
            ),
            accounts: parent.accounts,
            stakes: stakes.clone(),
        }
    }
}

/// Result of a transaction.
///
/// ```
/// use astreum_core::chain::{Election, Outcome, Position, State, Unsigned};
/// # use astreum_core::atom::MemoryStore;
/// # use astreum_core::chain::{Address, Genesis};
/// # use astreum_core::crypto::SigningKey;
/// # use astreum_core::integer::Natural;
/// # use astreum_core::trie::Scalar;
/// # let key = SigningKey::from_seed(&[1; 32]);
/// # let validator = Address::from(key.verifying_key());
/// # let mut store = MemoryStore::new();
/// # let genesis = Genesis::new(validator, Natural::ZERO, 1_700_000_000_u64.into());
/// # let parent = genesis.build(&mut Scalar, &mut store)?;
/// # let Election { seeds, stakes } = Election::read(&store, &parent)?;
/// let transfer = Unsigned {
///     chain_id: Natural::ZERO,
///     amount: 900_000_000_u64.into(),
///     counter: 1_u64.into(),
///     data: b"".as_slice().into(),
///     recipient: Address::new([2; 32]),
/// };
/// let mut state = State::new(&store, Position::after(&parent, &stakes));
/// match state.admit_and_apply(&transfer.sign(&key))? {
///     // The sender cannot pay the amount, but it paid for the place in the block.
///     Outcome::Applied { receipt, .. } => assert_eq!(receipt.status.code(), 1),
///     Outcome::Rejected(rejection) => panic!("{rejection}"),
/// }
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The transaction is part of the block.
    Applied {
        /// Receipt of the transaction.
        receipt: Receipt,
        /// Id of the receipt.
        receipt_id: AtomId,
    },
    /// The transaction cannot be part of the block.
    Rejected(TransactionError),
}

/// Result of [`State::seal`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sealed {
    /// Root of the accounts trie.
    pub accounts: AtomId,
    /// Range of the appended atoms that holds contract and channel records.
    pub record_atoms: Range<usize>,
}

/// State that a block's transactions change, one after another.
///
/// ```
/// use astreum_core::chain::{Election, Outcome, Position, State, Status, Unsigned};
/// # use astreum_core::atom::MemoryStore;
/// # use astreum_core::chain::{Address, Genesis};
/// # use astreum_core::crypto::SigningKey;
/// # use astreum_core::integer::Natural;
/// # use astreum_core::trie::Scalar;
/// # let key = SigningKey::from_seed(&[1; 32]);
/// # let validator = Address::from(key.verifying_key());
/// # let mut store = MemoryStore::new();
/// # let genesis = Genesis::new(validator, Natural::ZERO, 1_700_000_000_u64.into());
/// # let parent = genesis.build(&mut Scalar, &mut store)?;
/// # let Election { seeds, stakes } = Election::read(&store, &parent)?;
/// let transfer = Unsigned {
///     chain_id: Natural::ZERO,
///     amount: 100_u64.into(),
///     counter: 1_u64.into(),
///     data: b"".as_slice().into(),
///     recipient: Address::new([2; 32]),
/// };
/// let mut state = State::new(&store, Position::after(&parent, &stakes));
/// let Outcome::Applied { receipt, .. } = state.admit_and_apply(&transfer.sign(&key))? else {
///     panic!("rejected");
/// };
/// assert_eq!(receipt.status, Status::Success);
/// let account = state.account(&Address::new([2; 32]))?.ok_or("unused")?;
/// assert_eq!(account.balance, 100);
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
pub struct State<S> {
    pub(super) journal: Journal<S>,
    position: Position,
    pub(super) totals: Totals,
    left: WalkBudget,
    receipt_ids: ReceiptIds,
}

/// Amounts that entered or left the system, or were staked.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Totals {
    /// Minted amount, paid to storage providers.
    pub(super) minted: Natural,
    /// Fees; they are credited to no account.
    pub(super) fees: Natural,
    /// Amount added to the stakes of the parent block.
    staked: Natural,
}

/// Reason that applying a transaction stopped early.
enum Stop<E> {
    Rejected(TransactionError),
    State(StateError<E>),
}

impl<E> From<StateError<E>> for Stop<E> {
    fn from(error: StateError<E>) -> Self {
        Self::State(error)
    }
}

impl<E> From<TransactionError> for Stop<E> {
    fn from(error: TransactionError) -> Self {
        Self::Rejected(error)
    }
}

impl<S: AtomSource> State<S> {
    /// Creates the state before the first transaction of the block at `position`.
    #[must_use]
    pub fn new(source: S, position: Position) -> Self {
        Self {
            journal: Journal::new(source, position.accounts),
            position,
            totals: Totals::default(),
            left: WalkBudget::FULL,
            receipt_ids: ReceiptIds::new(&FEE, AtomId::ZERO),
        }
    }

    /// Returns the position of the block.
    #[must_use]
    pub const fn position(&self) -> &Position {
        &self.position
    }

    /// Returns the amount minted by the transactions so far.
    #[must_use]
    pub const fn minted(&self) -> &Natural {
        &self.totals.minted
    }

    /// Returns the fees paid by the transactions so far, which left the system.
    #[must_use]
    pub const fn fees(&self) -> &Natural {
        &self.totals.fees
    }

    /// Returns the account at this address after the transactions so far. The roots of its tries
    /// are those after the parent block until [`State::seal`] updates them.
    ///
    /// # Errors
    /// Fails if the state cannot be read.
    pub fn account(&mut self, address: &Address) -> Result<Option<&Account>, StateError<S::Error>> {
        self.journal.account(address)
    }

    /// Applies a transaction that has passed [`Transaction::check`]: [`State::check`],
    /// [`State::check_new_stake`], then the effects, as [`State::apply`] does.
    ///
    /// ```
    /// use astreum_core::chain::{Election, Outcome, Position, TransactionError, State, Unsigned};
    /// # use astreum_core::atom::MemoryStore;
    /// # use astreum_core::chain::{Address, Genesis};
    /// # use astreum_core::crypto::SigningKey;
    /// # use astreum_core::integer::Natural;
    /// # use astreum_core::trie::Scalar;
    /// # let key = SigningKey::from_seed(&[1; 32]);
    /// # let validator = Address::from(key.verifying_key());
    /// # let mut store = MemoryStore::new();
    /// # let genesis = Genesis::new(validator, Natural::ZERO, 1_700_000_000_u64.into());
    /// # let parent = genesis.build(&mut Scalar, &mut store)?;
    /// # let Election { seeds, stakes } = Election::read(&store, &parent)?;
    /// let foreign = Unsigned {
    ///     chain_id: 7_u64.into(),
    ///     amount: 100_u64.into(),
    ///     counter: 1_u64.into(),
    ///     data: b"".as_slice().into(),
    ///     recipient: Address::new([2; 32]),
    /// };
    /// let mut state = State::new(&store, Position::after(&parent, &stakes));
    /// let outcome = state.admit_and_apply(&foreign.sign(&key))?;
    /// assert!(matches!(outcome, Outcome::Rejected(TransactionError::ChainId { .. })));
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Fails if the state cannot be read, for example because an atom is missing. Nothing has
    /// changed.
    pub fn admit_and_apply(
        &mut self,
        transaction: &Transaction,
    ) -> Result<Outcome, StateError<S::Error>> {
        let reserve = match self.check(transaction)? {
            Ok(reserve) => reserve,
            Err(error) => return Ok(Outcome::Rejected(error)),
        };
        if let Err(error) = self.check_new_stake(transaction)? {
            return Ok(Outcome::Rejected(error));
        }
        self.execute(transaction, reserve)
    }

    /// Applies a transaction by the reference's rules alone: neither verifies the signature nor
    /// detects replays.
    ///
    /// # Errors
    /// Fails if the state cannot be read, for example because an atom is missing. Nothing has
    /// changed: once the atom is available, the same call returns what it would have returned
    /// before.
    pub fn apply(&mut self, transaction: &Transaction) -> Result<Outcome, StateError<S::Error>> {
        match self.reserve(transaction) {
            Ok(reserve) => self.execute(transaction, reserve),
            Err(Stop::Rejected(error)) => Ok(Outcome::Rejected(error)),
            Err(Stop::State(error)) => Err(error),
        }
    }

    /// Applies a transaction by the reference's rules, given the result of [`State::reserve`].
    fn execute(
        &mut self,
        transaction: &Transaction,
        reserve: Natural,
    ) -> Result<Outcome, StateError<S::Error>> {
        self.journal.checkpoint();
        let (totals, left) = (self.totals.clone(), self.left);
        let stop = match self.run(transaction, reserve) {
            Ok((receipt, receipt_id)) => {
                self.journal.checkpoint();
                return Ok(Outcome::Applied {
                    receipt,
                    receipt_id,
                });
            }
            Err(stop) => stop,
        };
        self.journal.rollback();
        (self.totals, self.left) = (totals, left);
        match stop {
            Stop::Rejected(error) => Ok(Outcome::Rejected(error)),
            Stop::State(error) => Err(error),
        }
    }

    /// Turns all writes of the transactions into atoms, which are appended to `atoms`. Afterwards
    /// the accounts have the current roots of their tries.
    ///
    /// # Errors
    /// As [`State::apply`]; may be called again.
    pub fn seal(
        &mut self,
        hasher: &mut impl BatchHasher,
        atoms: &mut RecordAtoms,
    ) -> Result<Sealed, StateError<S::Error>> {
        let (accounts, record_atoms) = self.journal.seal(hasher, atoms)?;
        Ok(Sealed {
            accounts,
            record_atoms,
        })
    }

    /// Adds `amount` to a balance outside of any transaction.
    pub(super) fn credit(
        &mut self,
        address: &Address,
        amount: &Natural,
    ) -> Result<(), StateError<S::Error>> {
        self.journal
            .change(address, |account| account.balance += amount)
    }

    /// Returns the root of the accounts trie if only balances have changed since [`State::seal`].
    pub(super) fn seal_accounts(
        &mut self,
        hasher: &mut impl BatchHasher,
        atoms: &mut RecordAtoms,
    ) -> Result<AtomId, StateError<S::Error>> {
        self.journal.seal_accounts(hasher, atoms)
    }

    fn run(
        &mut self,
        transaction: &Transaction,
        reserve: Natural,
    ) -> Result<(Receipt, AtomId), Stop<S::Error>> {
        let (sender, recipient) = (transaction.sender(), &transaction.recipient);
        let mut draft = self.draft(transaction, reserve)?;
        if sender == recipient {
            self.operate_channel(transaction, &mut draft)?;
        } else if *recipient == TREASURY {
            self.stake(sender, &draft.moved)?;
        } else {
            if *recipient == BURN {
                self.operate_contract(transaction, &mut draft)?;
            }
            // Even if nothing is moved, the account is created.
            self.journal
                .change(recipient, |account| account.balance += &draft.moved)?;
        }
        self.settle(transaction, &draft)
    }

    fn balance(&mut self, sender: &Address) -> Result<Natural, Stop<S::Error>> {
        let account = self.journal.account(sender)?;
        let account = account.ok_or(TransactionError::NoSender { sender: *sender })?;
        Ok(account.balance.clone())
    }

    /// Executes a transaction of an account to itself: a channel operation, or nothing but the fee.
    fn operate_channel(
        &mut self,
        transaction: &Transaction,
        draft: &mut Draft,
    ) -> Result<(), Stop<S::Error>> {
        let operation = operation(transaction).filter(|_| draft.status == Status::Success);
        let (sender, data) = (transaction.sender(), &*transaction.data);
        let now = &self.position.previous_timestamp;
        let journal = &mut self.journal;
        let done = match operation {
            Some(channel::UPDATE) => {
                let done = channel::update(journal, sender, data, &transaction.amount)?;
                if done {
                    // The amount leaves the balance and is now in the channel.
                    return Ok(());
                }
                done
            }
            Some(channel::CLOSE) => channel::close(journal, now, sender, data)?,
            Some(channel::WITHDRAW) => {
                channel::withdraw(journal, &self.position.chain_id, now, sender, data)?
            }
            _ => true,
        };
        draft.moved = Natural::ZERO;
        if !done {
            draft.status = Status::Failed;
        }
        Ok(())
    }

    /// Adds to the sender's stake; the amount goes to the treasury.
    ///
    /// By the reference's rules, a failed transaction records the existing stake, and zero if there
    /// was none. [`State::check_new_stake`] rejects a new stake of zero.
    fn stake(&mut self, sender: &Address, amount: &Natural) -> Result<(), StateError<S::Error>> {
        let key = sender.as_bytes();
        let existing = self.journal.entry(&TREASURY, Map::Data, key)?;
        let staked = match existing {
            Some(Value::Bytes(bytes)) => number(&bytes),
            _ => Natural::ZERO,
        };
        let staked = Value::Bytes((staked + amount).to_bytes_le().as_slice().into());
        self.journal.put(&TREASURY, Map::Data, key, staked)?;
        self.journal
            .change(&TREASURY, |treasury| treasury.balance += amount)?;
        self.totals.staked += amount;
        Ok(())
    }

    /// Returns the minimum stake of a validator without a stake at this point: a millionth of all
    /// stakes, at least 1. See [`min_new_stake`].
    #[must_use]
    pub fn min_new_stake(&self) -> Natural {
        min_new_stake(&(self.position.stakes.total() + &self.totals.staked))
    }

    /// Checks that the stakes of the position are those of its accounts. Other stakes would give a
    /// verdict that differs from other nodes' verdicts.
    fn check_stakes(&mut self) -> Result<(), StateError<S::Error>> {
        let treasury = self.journal.account(&TREASURY)?;
        let root = treasury.map_or(AtomId::ZERO, |treasury| treasury.data);
        if root == self.position.stakes.root() {
            return Ok(());
        }
        Err(StateError::Malformed {
            id: root,
            problem: "stakes belong to another state",
        })
    }

    /// Returns the stakes after the transactions so far. [`State::seal`] must have updated the root
    /// of the treasury's data trie.
    pub(super) fn sealed_stakes(&mut self) -> Result<StakeTable, StateError<S::Error>> {
        let changes = self.journal.written(&TREASURY, Map::Data);
        let changes = changes.filter_map(|(key, value)| match value {
            Value::Bytes(bytes) => Some((Address::new(*key), number(bytes))),
            Value::Record(_) => None,
        });
        let changes: Vec<(Address, Natural)> = changes.collect();
        if changes.is_empty() {
            self.check_stakes()?;
            return Ok(self.position.stakes.clone());
        }
        let treasury = self.journal.account(&TREASURY)?;
        let root = treasury.map_or(AtomId::ZERO, |treasury| treasury.data);
        Ok(self.position.stakes.with(root, changes))
    }

    /// Executes the contract operation of a transaction to the burn account, if its data starts
    /// with one. The caller credits the moved amount.
    fn operate_contract(
        &mut self,
        transaction: &Transaction,
        draft: &mut Draft,
    ) -> Result<(), Stop<S::Error>> {
        let done = match transaction.data.split_first() {
            Some((&contract::OPEN, list)) => {
                let reserved = &draft.reserve + &draft.moved;
                self.open(transaction.sender(), list, &reserved)?
            }
            Some((&contract::PAY, payload)) => self.pay(transaction.sender(), payload)?,
            _ => true,
        };
        if !done {
            draft.status = Status::Failed;
        }
        Ok(())
    }

    /// Opens a contract on the list with this id. Returns `false` if there is one already, or if
    /// the sender cannot pay for it in addition to the `reserved` amount.
    fn open(
        &mut self,
        sender: &Address,
        list: &[u8],
        reserved: &Natural,
    ) -> Result<bool, Stop<S::Error>> {
        let Ok(key) = list.try_into() else {
            // Ids always have 32 bytes.
            return Ok(false);
        };
        if contract::exists(&mut self.journal, key)? {
            return Ok(false);
        }
        let head = AtomId::new(*key);
        let measured = contract::measure(&mut self.journal, head, &mut self.left)?;
        let Measured { bytes, atoms } = measured.map_err(|excess| too_long(head, excess))?;
        let cost = self
            .position
            .price
            .of(bytes)
            .ok_or(TransactionError::NoPrice)?;
        if self.balance(sender)? < reserved + &cost {
            return Ok(false);
        }
        self.record_contract(key, sender, bytes, atoms)?;
        self.journal.change(&BURN, |burn| burn.balance += &cost)?;
        self.journal.change(sender, |account| {
            // Cannot saturate: the balance covers the cost and the reserved amount.
            account.balance = account.balance.saturating_sub(&cost);
        })?;
        Ok(true)
    }

    fn pay(&mut self, sender: &Address, payload: &[u8]) -> Result<bool, Stop<S::Error>> {
        let Position {
            height, previous, ..
        } = &self.position;
        let left = &mut self.left;
        match contract::pay(&mut self.journal, sender, height, previous, payload, left)? {
            Payment::Due(due) => {
                self.journal
                    .change(sender, |account| account.balance += &due)?;
                self.totals.minted += &due;
                Ok(true)
            }
            Payment::Refused => Ok(false),
            Payment::TooLong { list, excess } => Err(Stop::Rejected(too_long(list, excess))),
        }
    }

    /// Records contracts for the transaction and its receipt, and charges the sender.
    fn settle(
        &mut self,
        transaction: &Transaction,
        draft: &Draft,
    ) -> Result<(Receipt, AtomId), Stop<S::Error>> {
        let sender = transaction.sender();
        let receipt = Receipt {
            transaction: transaction.id(),
            status: draft.status,
            cost: FEE,
            logs: AtomId::ZERO,
        };
        let receipt_id = self.receipt_ids.id(receipt.transaction, receipt.status);
        let bytes = cost::stored_bytes(transaction);
        let mut storage = self
            .position
            .price
            .of(bytes)
            .ok_or(TransactionError::NoPrice)?;
        self.record_contract(
            transaction.id().as_bytes(),
            sender,
            bytes,
            cost::TRANSACTION_ATOMS,
        )?;
        // The receipt has a contract already if one was opened on its id, or if the transaction is
        // applied a second time. Then its storage has been paid for.
        if !contract::exists(&mut self.journal, receipt_id.as_bytes())? {
            let bytes = cost::RECEIPT_BYTES;
            storage += self
                .position
                .price
                .of(bytes)
                .ok_or(TransactionError::NoPrice)?;
            self.record_contract(receipt_id.as_bytes(), sender, bytes, cost::RECEIPT_ATOMS)?;
        }
        self.journal
            .change(&BURN, |burn| burn.balance += &storage)?;
        let needed = storage + &draft.moved + FEE;
        let balance = self.journal.change(sender, |account| {
            let left = account.balance.checked_sub(&needed)?;
            Some(core::mem::replace(&mut account.balance, left))
        })?;
        if balance.is_none() {
            let balance = self.balance(sender)?;
            return Err(TransactionError::RealCost { balance, needed }.into());
        }
        self.totals.fees += &FEE;
        Ok((receipt, receipt_id))
    }

    fn record_contract(
        &mut self,
        key: &[u8; 32],
        owner: &Address,
        bytes: u64,
        atoms: u64,
    ) -> Result<(), StateError<S::Error>> {
        let previous = &self.position.previous;
        let terms = Terms {
            owner,
            previous,
            bytes,
            atoms,
        };
        contract::record(&mut self.journal, key, &terms)
    }
}

/// Returns the minimum stake of a validator without a stake if all stakes are `total`: a millionth
/// of them, rounded up, and at least 1. Any amount may be added to an existing stake.
///
/// So new stakes are always possible, and n of them need at least (1 + 1/1,000,000)^n of the
/// previous total: 2.7 times as much for a million of them, 22,000 times as much for ten million.
///
/// ```
/// use astreum_core::chain::min_new_stake;
/// assert_eq!(min_new_stake(&250_000_u64.into()), 1);
/// assert_eq!(min_new_stake(&1_000_001_u64.into()), 2);
/// ```
#[must_use]
pub fn min_new_stake(total: &Natural) -> Natural {
    let minimum = total.div_ceil(&Natural::from(STAKE_PARTS));
    minimum.unwrap_or_default().max(Natural::ONE)
}

/// Intermediate result of a transaction.
struct Draft {
    status: Status,
    /// Amount that leaves the sender's balance for the recipient or for a channel.
    moved: Natural,
    /// Fee and the amount reserved for storage.
    reserve: Natural,
}

impl Draft {
    fn fail(&mut self) {
        self.status = Status::Failed;
        self.moved = Natural::ZERO;
    }
}

const fn too_long(list: AtomId, excess: Excess) -> TransactionError {
    match excess {
        Excess::List => TransactionError::ListTooLong { list },
        Excess::Block => TransactionError::BlockListsTooLong { list },
    }
}

/// Returns the first byte of the data, which selects the operation.
fn operation(transaction: &Transaction) -> Option<u8> {
    transaction.data.first().copied()
}
