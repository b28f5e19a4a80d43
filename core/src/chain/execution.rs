//! Block execution.
//!
//! A [`Builder`] applies transactions to the state after a parent and returns the [`Body`] that the
//! block's header has to state. Block production and verification both use it.

use super::cost::{FEE, stored_bytes};
use super::journal::StateError;
use super::leader_election::StakeTable;
use super::record::VERSION;
use super::record::{Part, write_lists};
use super::transition::{Outcome, Position, State};
use super::{
    Address, BURN, Block, Header, MAX_BLOCK_BYTES, MAX_BLOCK_TRANSACTIONS, Receipt, RecordAtoms,
    Status, TREASURY, Transaction, TransactionError,
};
use crate::atom::{AtomId, AtomKind, AtomSource, bytes_list};
use crate::integer::Natural;
use crate::trie::BatchHasher;
use alloc::vec::Vec;
use core::ops::Range;

/// Reward that the producer of a block may credit to itself; not counted as minted.
pub const REWARD: Natural = Natural::ONE;

/// Header fields that follow from a block's transactions, and everything that execution created.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Body {
    /// Root of the accounts trie.
    pub accounts: AtomId,
    /// Head of the list of transaction ids.
    pub transactions: AtomId,
    /// Head of the list of receipt ids.
    pub receipts: AtomId,
    /// Sum of the treasury's balances after each block so far.
    pub cumulative_stake: Natural,
    /// Sum of the burn account's balances after each block so far.
    pub cumulative_burn: Natural,
    /// Amount minted so far.
    pub cumulative_mint: Natural,
    /// Fees collected so far. No current rule collects any.
    pub cumulative_total_fees: Natural,
    /// Fees collected by this block.
    pub total_fees: Natural,
    /// Ids of the transactions, in order.
    pub transaction_ids: Vec<AtomId>,
    /// Ids of the receipts, in the same order.
    pub receipt_ids: Vec<AtomId>,
    /// Receipts, in the same order.
    pub receipt_values: Vec<Receipt>,
    /// Atoms of everything that the block created: its two lists, receipts, records, accounts and
    /// trie nodes. The atoms of the transactions are not included.
    pub atoms: RecordAtoms,
    /// Range of `atoms` that holds contract and channel records.
    pub record_atoms: Range<usize>,
    /// Whether the block producer has credited itself with [`REWARD`].
    pub reward_claimed: bool,
    /// Stakes after the block.
    pub stakes: StakeTable,
}

impl Body {
    /// Returns the header of a block with this body after `parent`, with a nonce of 0 and no proof
    /// of work.
    ///
    /// ```
    /// use astreum_core::chain::{Builder, Election};
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
    /// let body = Builder::new(&store, &parent, &stakes).finish(&mut Scalar, Some(validator))?;
    /// let time = &parent.timestamp + &2_u64.into();
    /// let header = body.header(&parent, validator, time, Natural::ONE);
    /// assert_eq!((header.previous, header.height.to_u64()), (parent.id(), Some(1)));
    /// assert_eq!(header.accounts, body.accounts);
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    #[must_use]
    pub fn header(
        &self,
        parent: &Block,
        validator: Address,
        timestamp: Natural,
        difficulty: Natural,
    ) -> Header {
        Header {
            chain_id: parent.chain_id.clone(),
            height: &parent.height + &Natural::ONE,
            previous: parent.id(),
            timestamp,
            difficulty,
            cumulative_stake: self.cumulative_stake.clone(),
            cumulative_burn: self.cumulative_burn.clone(),
            cumulative_mint: self.cumulative_mint.clone(),
            cumulative_total_fees: self.cumulative_total_fees.clone(),
            total_fees: self.total_fees.clone(),
            accounts: self.accounts,
            transactions: self.transactions,
            receipts: self.receipts,
            validator,
            nonce: Natural::ZERO,
        }
    }
}

/// Executor of one block: applies its transactions in order.
///
/// ```
/// use astreum_core::chain::{Builder, Election, Status, Unsigned};
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
/// let mut builder = Builder::new(&store, &parent, &stakes);
/// assert_eq!(builder.apply(&transfer.sign(&key))?, Ok(Status::Success));
/// let body = builder.finish(&mut Scalar, Some(validator))?;
/// assert_eq!((body.transaction_ids.len(), body.receipt_values.len()), (1, 1));
/// assert!(body.reward_claimed);
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
pub struct Builder<S> {
    state: State<S>,
    parent: ParentTotals,
    /// Stored bytes of the transactions.
    bytes: u64,
    transaction_ids: Vec<AtomId>,
    receipt_ids: Vec<AtomId>,
    receipts: Vec<Receipt>,
    credited: bool,
}

/// Cumulative totals of the parent's header.
struct ParentTotals {
    stake: Natural,
    burn: Natural,
    mint: Natural,
    fees: Natural,
}

impl<S: AtomSource> Builder<S> {
    /// Creates a body without transactions after `parent`. `stakes` are those that the parent left;
    /// `source` has the accounts after it or reports their atoms as missing.
    #[must_use]
    pub fn new(source: S, parent: &Block, stakes: &StakeTable) -> Self {
        Self {
            state: State::new(source, Position::after(parent, stakes)),
            parent: ParentTotals {
                stake: parent.cumulative_stake.clone(),
                burn: parent.cumulative_burn.clone(),
                mint: parent.cumulative_mint.clone(),
                fees: parent.cumulative_total_fees.clone(),
            },
            bytes: 0,
            transaction_ids: Vec::new(),
            receipt_ids: Vec::new(),
            receipts: Vec::new(),
            credited: false,
        }
    }

    /// Returns the number of transactions.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.transaction_ids.len()
    }

    /// Returns whether there are no transactions.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.transaction_ids.is_empty()
    }

    pub(super) const fn source(&self) -> &S {
        self.state.journal.source()
    }

    /// Returns the state after the transactions so far.
    pub const fn state(&mut self) -> &mut State<S> {
        &mut self.state
    }

    /// Applies a transaction that has passed [`Transaction::check`] and adds it to the body. A
    /// rejected transaction is not added and has changed nothing.
    ///
    /// ```
    /// use astreum_core::chain::{Builder, Election, TransactionError, Unsigned};
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
    /// let transfer = transfer.sign(&key);
    /// let mut builder = Builder::new(&store, &parent, &stakes);
    /// assert!(builder.apply(&transfer)?.is_ok());
    /// // A replayed transaction is rejected and changes nothing.
    /// assert_eq!(builder.apply(&transfer)?, Err(TransactionError::Replayed));
    /// assert_eq!(builder.len(), 1);
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Fails if the state cannot be read, for example because an atom is missing. The body is
    /// unchanged; once the atom is available, the transaction may be applied again.
    pub fn apply(
        &mut self,
        transaction: &Transaction,
    ) -> Result<Result<Status, TransactionError>, StateError<S::Error>> {
        let bytes = self.bytes.saturating_add(stored_bytes(transaction));
        if self.len() >= MAX_BLOCK_TRANSACTIONS || bytes > MAX_BLOCK_BYTES {
            return Ok(Err(TransactionError::BlockFull));
        }
        match self.state.admit_and_apply(transaction)? {
            Outcome::Applied {
                receipt,
                receipt_id,
            } => {
                let status = receipt.status;
                self.bytes = bytes;
                self.transaction_ids.push(transaction.id());
                self.receipt_ids.push(receipt_id);
                self.receipts.push(receipt);
                Ok(Ok(status))
            }
            Outcome::Rejected(error) => Ok(Err(error)),
        }
    }

    /// Returns the body of a block with the transactions so far. If `claimant` is given, [`REWARD`]
    /// is credited to it.
    ///
    /// # Errors
    /// As [`Builder::apply`]; may be called again.
    pub fn finish(
        &mut self,
        hasher: &mut impl BatchHasher,
        claimant: Option<Address>,
    ) -> Result<Body, StateError<S::Error>> {
        let mut body = self.finish_unclaimed(hasher)?;
        if let Some(claimant) = claimant {
            self.claim(hasher, claimant, &mut body)?;
        }
        Ok(body)
    }

    fn finish_unclaimed(
        &mut self,
        hasher: &mut impl BatchHasher,
    ) -> Result<Body, StateError<S::Error>> {
        let mut atoms = Vec::new();
        let transactions = write_list(&self.transaction_ids, &mut atoms);
        let receipts = write_list(&self.receipt_ids, &mut atoms);
        write_receipts(hasher, &self.receipts, &mut atoms);
        let sealed = self.state.seal(hasher, &mut atoms)?;
        let stakes = self.state.sealed_stakes()?;
        let (staked, burnt) = (self.balance(&TREASURY)?, self.balance(&BURN)?);
        Ok(Body {
            accounts: sealed.accounts,
            transactions,
            receipts,
            cumulative_stake: &self.parent.stake + &staked,
            cumulative_burn: &self.parent.burn + &burnt,
            cumulative_mint: &self.parent.mint + self.state.minted(),
            cumulative_total_fees: self.parent.fees.clone(),
            total_fees: Natural::ZERO,
            transaction_ids: self.transaction_ids.clone(),
            receipt_ids: self.receipt_ids.clone(),
            receipt_values: self.receipts.clone(),
            atoms,
            record_atoms: sealed.record_atoms,
            reward_claimed: false,
            stakes,
        })
    }

    /// Credits [`REWARD`] to `claimant` in a body that was just created.
    pub(super) fn claim(
        &mut self,
        hasher: &mut impl BatchHasher,
        claimant: Address,
        body: &mut Body,
    ) -> Result<(), StateError<S::Error>> {
        if !self.credited {
            self.state.credit(&claimant, &REWARD)?;
            self.credited = true;
        }
        body.accounts = self.state.seal_accounts(hasher, &mut body.atoms)?;
        body.reward_claimed = true;
        Ok(())
    }

    /// Returns the accounts root after a further `amount` is credited to this address.
    pub(super) fn credit(
        &mut self,
        hasher: &mut impl BatchHasher,
        address: &Address,
        amount: &Natural,
    ) -> Result<AtomId, StateError<S::Error>> {
        self.state.credit(address, amount)?;
        self.state.seal_accounts(hasher, &mut RecordAtoms::new())
    }

    pub(super) fn balance(&mut self, address: &Address) -> Result<Natural, StateError<S::Error>> {
        let account = self.state.account(address)?;
        Ok(account.map_or(Natural::ZERO, |account| account.balance.clone()))
    }
}

/// Appends the atoms of a bytes list of ids and returns its head.
fn write_list(ids: &[AtomId], atoms: &mut RecordAtoms) -> AtomId {
    let (head, list) = bytes_list(ids);
    let mut id = head;
    for atom in list {
        let next = atom.next();
        atoms.push((id, atom));
        id = next;
    }
    head
}

/// Appends the atoms of receipts.
fn write_receipts(hasher: &mut impl BatchHasher, receipts: &[Receipt], atoms: &mut RecordAtoms) {
    let fee = FEE.to_bytes_be();
    let lists: Vec<[Part<'_>; 6]> = receipts
        .iter()
        .map(|receipt| -> [Part<'_>; 6] {
            [
                (AtomKind::Symbol, b"receipt"),
                (AtomKind::Bytes, &VERSION),
                (AtomKind::List, receipt.transaction.as_ref()),
                (AtomKind::Bytes, receipt.status.bytes()),
                (AtomKind::Bytes, fee.as_slice()),
                (AtomKind::List, receipt.logs.as_ref()),
            ]
        })
        .collect();
    write_lists(hasher, &lists, atoms);
}
