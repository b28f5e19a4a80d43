//! What one transaction does to the state.
//!
//! [`State::apply`] follows the reference's `consensus/transaction/apply.py` line by line, its
//! oddities included: a failed transfer still makes the recipient, a failed stake still files the
//! old one, a burn that opens a contract with an amount fails and opens it all the same.
//!
//! Invariants:
//! - A transaction is applied whole or leaves no trace: [`Outcome::Rejected`] and every error take
//!   back whatever it had written.
//! - Money is neither made nor lost: the sum of all balances and all open channels changes by what
//!   was minted less the fees, and by nothing else.
//! - Beyond the reference, [`State::admit`] lets no transaction in twice, none that spends what was
//!   burnt or staked, and none over the caps.

use super::contract::{self, Excess, Measured, Payment, Terms, WalkBudget};
use super::cost::{self, FEE, Price};
use super::fields::number;
use super::journal::{Journal, Map, StateError, Value};
use super::leader_election::StakeTable;
use super::receipt::ReceiptIds;
use super::{
    Account, Address, BURN, Block, MAX_BLOCK_BYTES, MAX_BLOCK_TRANSACTIONS, MAX_LIST_ATOMS,
    MAX_WALK_BYTES, Receipt, RecordAtoms, Status, TREASURY, Transaction, channel,
};
use crate::atom::{AtomId, AtomSource};
use crate::integer::Natural;
use crate::trie::BatchHasher;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

/// A new stake is at least one part of all stakes in so many.
const STAKE_PARTS: u64 = 1_000_000;

/// Where in the chain a block's transactions are applied.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Position {
    /// The chain.
    pub chain_id: Natural,
    /// The height of the block that is being made or verified.
    pub height: Natural,
    /// The id of the block before it.
    pub previous: AtomId,
    /// The timestamp of the block before it.
    pub previous_timestamp: Natural,
    /// What storage costs.
    pub price: Price,
    /// The accounts after the block before it.
    pub accounts: AtomId,
    /// The stakes after the block before it, as [`State::admit_and_apply`] needs them.
    /// [`State::apply`] alone, which knows no rule but the reference's, does not look at them.
    pub stakes: StakeTable,
}

impl Position {
    /// Right after `parent`, which left these stakes.
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

/// Why a transaction cannot be part of this block. It has left no trace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Rejection {
    /// It is for another chain.
    ChainId {
        /// The chain that it is for.
        transaction: Natural,
        /// This chain.
        chain: Natural,
    },
    /// There is no account at the sender's address.
    NoSender,
    /// The sender cannot pay for it, the amount aside.
    Balance {
        /// What it has.
        balance: Natural,
        /// What it needs.
        needed: Natural,
    },
    /// What the transaction really costs is more than the sender has, although the reserve is not:
    /// its numbers are very long.
    RealCost {
        /// What the sender has.
        balance: Natural,
        /// What it needs.
        needed: Natural,
    },
    /// The block before has no fees to divide by, so that storage has no price.
    NoPrice,
    /// The chain has no treasury or no burn account.
    NoSystemAccount {
        /// Which.
        address: Address,
    },
    /// It has been applied before.
    Replayed,
    /// The sender is the treasury or the burn account. Anybody can sign for the latter: its address
    /// is a key of small order.
    SystemSender,
    /// It looks at a list that is longer than those of a block may be together:
    /// [`MAX_LIST_ATOMS`](super::MAX_LIST_ATOMS), and [`MAX_WALK_BYTES`](super::MAX_WALK_BYTES)
    /// as stored. It fits into no block.
    ListTooLong {
        /// The list.
        list: AtomId,
    },
    /// It looks at a list that is longer than the lists of the block's other transactions leave
    /// room for. It may fit into another block.
    BlockListsTooLong {
        /// The list.
        list: AtomId,
    },
    /// It would file a new stake of less than a millionth of all stakes, or of nothing, which a
    /// failed transaction files.
    SmallStake {
        /// What it would file.
        amount: Natural,
        /// What it would have to, see [`least_new_stake`].
        least: Natural,
    },
    /// The block has [`MAX_BLOCK_TRANSACTIONS`] already, or with it more than
    /// [`MAX_BLOCK_BYTES`](super::MAX_BLOCK_BYTES).
    BlockFull,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ChainId { transaction, chain } => {
                write!(
                    f,
                    "the transaction is for chain {transaction}, this is chain {chain}"
                )
            }
            Self::NoSender => f.write_str("the sender has no account"),
            Self::Balance { balance, needed } => write!(
                f,
                "the sender has {balance} and needs {needed} for the fee and for storage"
            ),
            Self::RealCost { balance, needed } => write!(
                f,
                "the sender has {balance} and the transaction costs {needed}, more than its reserve"
            ),
            Self::NoPrice => f.write_str("storage has no price: the chain has no fees so far"),
            Self::NoSystemAccount { address } => {
                write!(
                    f,
                    "the chain has no account at {address}, which its rules need"
                )
            }
            Self::Replayed => f.write_str("the transaction has been applied before"),
            Self::SystemSender => {
                f.write_str("the treasury and the burn account do not send transactions")
            }
            Self::ListTooLong { list } => write!(
                f,
                "list {list} is too long: a block looks at lists of {MAX_LIST_ATOMS} atoms and \
                 {MAX_WALK_BYTES} bytes together at most"
            ),
            Self::BlockListsTooLong { list } => write!(
                f,
                "the lists that the block's transactions look at are too long together with {list}"
            ),
            Self::SmallStake { amount, least } => write!(
                f,
                "a first stake of {amount} is too small: at least {least}, a millionth of all stakes"
            ),
            Self::BlockFull => {
                write!(
                    f,
                    "the block has the most transactions that it may: {MAX_BLOCK_TRANSACTIONS}, or \
                     {MAX_BLOCK_BYTES} bytes of them"
                )
            }
        }
    }
}

impl core::error::Error for Rejection {}

/// What became of a transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It is part of the block.
    Applied {
        /// Its receipt.
        receipt: Receipt,
        /// The receipt's id.
        receipt_id: AtomId,
    },
    /// It cannot be.
    Rejected(Rejection),
}

/// What [`State::seal`] leaves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sealed {
    /// The root of the accounts trie.
    pub accounts: AtomId,
    /// Where those of the appended atoms stand that belong to contract and channel records.
    pub record_atoms: Range<usize>,
}

/// The state that a block's transactions change, one after the other.
pub struct State<S> {
    pub(super) journal: Journal<S>,
    position: Position,
    pub(super) totals: Totals,
    left: WalkBudget,
    receipt_ids: ReceiptIds,
}

/// What entered and left the system.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Totals {
    /// Paid to storage providers out of nothing.
    pub(super) minted: Natural,
    /// Fees, which nobody gets.
    pub(super) fees: Natural,
    /// Added to the stakes of the block before.
    staked: Natural,
}

/// Which rules a transaction is applied by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Rules {
    /// The reference's.
    Reference,
    /// Also those of this implementation that depend on what the transaction does.
    Own,
}

/// Why applying stopped before its end.
enum Stop<E> {
    Rejected(Rejection),
    State(StateError<E>),
}

impl<E> From<StateError<E>> for Stop<E> {
    fn from(error: StateError<E>) -> Self {
        Self::State(error)
    }
}

impl<E> From<Rejection> for Stop<E> {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl<S: AtomSource> State<S> {
    /// The state before the first transaction of the block at `position`.
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

    /// Where the block stands.
    #[must_use]
    pub const fn position(&self) -> &Position {
        &self.position
    }

    /// What the transactions so far have minted.
    #[must_use]
    pub const fn minted(&self) -> &Natural {
        &self.totals.minted
    }

    /// What the transactions so far have paid in fees, which left the system.
    #[must_use]
    pub const fn fees(&self) -> &Natural {
        &self.totals.fees
    }

    /// The account at this address as the transactions so far have left it. The roots of its tries
    /// are those of the block before.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn account(&mut self, address: &Address) -> Result<Option<&Account>, StateError<S::Error>> {
        self.journal.account(address)
    }

    /// Applies a transaction whose signature has been checked: [`State::admit`], then
    /// [`State::apply`].
    ///
    /// # Errors
    /// When the state cannot be read, because an atom is missing or otherwise. Nothing has changed.
    pub fn admit_and_apply(
        &mut self,
        transaction: &Transaction,
    ) -> Result<Outcome, StateError<S::Error>> {
        match self.admit(transaction)? {
            Some(rejection) => Ok(Outcome::Rejected(rejection)),
            None => self.apply_by(transaction, Rules::Own),
        }
    }

    /// Why a transaction may not be applied although the reference would: what bars replay and the
    /// spending of burnt money.
    ///
    /// # Errors
    /// As [`State::apply`].
    pub fn admit(
        &mut self,
        transaction: &Transaction,
    ) -> Result<Option<Rejection>, StateError<S::Error>> {
        if [BURN, TREASURY].contains(transaction.sender()) {
            return Ok(Some(Rejection::SystemSender));
        }
        // A contract that somebody opens on the id of a transaction that is still pending counts
        // the four atoms of its head; only applying it files ten.
        let filed = contract::atom_count(&mut self.journal, transaction.id().as_bytes())?;
        let applied = filed.is_some_and(|atoms| atoms == cost::TRANSACTION_ATOMS);
        Ok(applied.then_some(Rejection::Replayed))
    }

    /// Applies a transaction by the reference's rules alone: neither its signature is looked at nor
    /// whether it was applied before.
    ///
    /// # Errors
    /// When the state cannot be read, because an atom is missing or otherwise. Nothing has changed:
    /// once the atom is there, the same call gives what it would have given.
    pub fn apply(&mut self, transaction: &Transaction) -> Result<Outcome, StateError<S::Error>> {
        self.apply_by(transaction, Rules::Reference)
    }

    fn apply_by(
        &mut self,
        transaction: &Transaction,
        rules: Rules,
    ) -> Result<Outcome, StateError<S::Error>> {
        self.journal.checkpoint();
        let (totals, left) = (self.totals.clone(), self.left);
        let stop = match self.run(transaction, rules) {
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
            Stop::Rejected(rejection) => Ok(Outcome::Rejected(rejection)),
            Stop::State(error) => Err(error),
        }
    }

    /// Turns all that the transactions have written into atoms, which are appended to `atoms`.
    /// Afterwards the accounts have the roots that their tries have now.
    ///
    /// # Errors
    /// As [`State::apply`]; it may be called again.
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

    /// Adds to a balance outside of any transaction.
    pub(super) fn credit(
        &mut self,
        address: &Address,
        amount: &Natural,
    ) -> Result<(), StateError<S::Error>> {
        self.journal
            .change(address, |account| account.balance += amount)
    }

    /// The root of the accounts trie, when only balances have changed since [`State::seal`].
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
        rules: Rules,
    ) -> Result<(Receipt, AtomId), Stop<S::Error>> {
        let (sender, recipient) = (transaction.sender(), &transaction.recipient);
        let reserve = self.reserve(transaction)?;
        let balance = self.balance(sender)?;
        let mut draft = Draft {
            status: Status::Success,
            // What a withdrawal says it moves comes out of the channel.
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
        if sender == recipient {
            self.operate_channel(transaction, &mut draft)?;
        } else if *recipient == TREASURY {
            self.stake(sender, &draft.moved, rules)?;
        } else {
            if *recipient == BURN {
                self.operate_contract(transaction, &mut draft)?;
            }
            // Also where nothing is moved: the account is made.
            self.journal
                .change(recipient, |account| account.balance += &draft.moved)?;
        }
        self.settle(transaction, &draft)
    }

    /// What the sender must have besides the amount; rejects where it has not.
    fn reserve(&mut self, transaction: &Transaction) -> Result<Natural, Stop<S::Error>> {
        if transaction.chain_id != self.position.chain_id {
            return Err(Stop::Rejected(Rejection::ChainId {
                transaction: transaction.chain_id.clone(),
                chain: self.position.chain_id.clone(),
            }));
        }
        for address in [BURN, TREASURY] {
            if self.journal.account(&address)?.is_none() {
                return Err(Stop::Rejected(Rejection::NoSystemAccount { address }));
            }
        }
        let needed = self.position.price.reserve(transaction.data.len());
        let needed = needed.ok_or(Rejection::NoPrice)?;
        let balance = self.balance(transaction.sender())?;
        if balance < needed {
            return Err(Stop::Rejected(Rejection::Balance { balance, needed }));
        }
        Ok(needed)
    }

    fn balance(&mut self, sender: &Address) -> Result<Natural, Stop<S::Error>> {
        let account = self.journal.account(sender)?.ok_or(Rejection::NoSender)?;
        Ok(account.balance.clone())
    }

    /// A transaction of an account to itself: a channel's operation, or nothing but the fee.
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
                    // The amount leaves the balance and is in the channel.
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

    /// Adds to what the sender has staked; the money goes to the treasury.
    ///
    /// A failed transaction files what was there, and zero where nothing was: by the reference's
    /// rules, not by ours.
    fn stake(
        &mut self,
        sender: &Address,
        amount: &Natural,
        rules: Rules,
    ) -> Result<(), Stop<S::Error>> {
        let key = sender.as_bytes();
        let filed = self.journal.entry(&TREASURY, Map::Data, key)?;
        if rules == Rules::Own {
            self.check_stakes()?;
            let least = self.least_new_stake();
            if filed.is_none() && *amount < least {
                let amount = amount.clone();
                return Err(Stop::Rejected(Rejection::SmallStake { amount, least }));
            }
        }
        let staked = match filed {
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

    /// The least that a validator without a stake may stake now: a millionth of all stakes, and
    /// not nothing. See [`least_new_stake`].
    #[must_use]
    pub fn least_new_stake(&self) -> Natural {
        least_new_stake(&(self.position.stakes.total() + &self.totals.staked))
    }

    /// Whether the stakes of the position are those of its accounts. Other ones would give another
    /// verdict than everybody else's.
    fn check_stakes(&mut self) -> Result<(), StateError<S::Error>> {
        let treasury = self.journal.account(&TREASURY)?;
        let root = treasury.map_or(AtomId::ZERO, |treasury| treasury.data);
        if root == self.position.stakes.root() {
            return Ok(());
        }
        Err(StateError::Malformed {
            id: root,
            problem: "the stakes at hand are those of another state",
        })
    }

    /// The stakes that the transactions so far leave, once [`State::seal`] has given the treasury's
    /// data their root.
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

    /// A transaction to the burn account whose data asks for something. What it moves is credited
    /// elsewhere.
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

    /// Opens a contract on the list with this id, unless there is one or the sender cannot pay for
    /// it besides what is `reserved`.
    fn open(
        &mut self,
        sender: &Address,
        list: &[u8],
        reserved: &Natural,
    ) -> Result<bool, Stop<S::Error>> {
        let Ok(key) = list.try_into() else {
            // Nothing has an id of another width.
            return Ok(false);
        };
        if contract::is_filed(&mut self.journal, key)? {
            return Ok(false);
        }
        let head = AtomId::new(*key);
        let measured = contract::measure(&mut self.journal, head, &mut self.left)?;
        let Measured { bytes, atoms } = measured.map_err(|excess| too_long(head, excess))?;
        let cost = self.position.price.of(bytes).ok_or(Rejection::NoPrice)?;
        if self.balance(sender)? < reserved + &cost {
            return Ok(false);
        }
        self.file(key, sender, bytes, atoms)?;
        self.journal.change(&BURN, |burn| burn.balance += &cost)?;
        self.journal.change(sender, |account| {
            // Covered: the balance is at least the cost and what is reserved.
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

    /// Files the transaction and its receipt, and takes what the sender owes.
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
        let mut storage = self.position.price.of(bytes).ok_or(Rejection::NoPrice)?;
        self.file(
            transaction.id().as_bytes(),
            sender,
            bytes,
            cost::TRANSACTION_ATOMS,
        )?;
        // On file already when somebody has opened a contract on it, or when the transaction is
        // applied a second time. Then it is paid for.
        if !contract::is_filed(&mut self.journal, receipt_id.as_bytes())? {
            let bytes = cost::RECEIPT_BYTES;
            storage += self.position.price.of(bytes).ok_or(Rejection::NoPrice)?;
            self.file(receipt_id.as_bytes(), sender, bytes, cost::RECEIPT_ATOMS)?;
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
            return Err(Stop::Rejected(Rejection::RealCost { balance, needed }));
        }
        self.totals.fees += &FEE;
        Ok((receipt, receipt_id))
    }

    fn file(
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
        contract::file(&mut self.journal, key, &terms)
    }
}

/// The least that a validator without a stake may stake where all stakes are `total`: a millionth of
/// them, rounded up, and at least 1. An entry that exists may be added to with any amount.
///
/// So new stakes are always possible, and n of them need at least (1 + 1/1,000,000)^n of what was
/// staked before: 2.7 times as much for a million of them, 22,000 times as much for ten.
#[must_use]
pub fn least_new_stake(total: &Natural) -> Natural {
    let least = total.div_ceil(&Natural::from(STAKE_PARTS));
    least.unwrap_or_default().max(Natural::ONE)
}

/// A transaction on its way.
struct Draft {
    status: Status,
    /// What leaves the sender's balance for the recipient or for a channel.
    moved: Natural,
    /// The fee and what is set aside for storage.
    reserve: Natural,
}

impl Draft {
    fn fail(&mut self) {
        self.status = Status::Failed;
        self.moved = Natural::ZERO;
    }
}

const fn too_long(list: AtomId, excess: Excess) -> Rejection {
    match excess {
        Excess::List => Rejection::ListTooLong { list },
        Excess::Block => Rejection::BlockListsTooLong { list },
    }
}

/// The first byte of the data, which says what is asked for.
fn operation(transaction: &Transaction) -> Option<u8> {
    transaction.data.first().copied()
}
