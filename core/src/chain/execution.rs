//! What a block says about its transactions, made and checked.
//!
//! A [`Builder`] applies transactions over a parent and gives the [`Body`] that the block's header
//! has to state.

use super::cost::{FEE, stored_bytes};
use super::journal::StateError;
use super::leader_election::StakeTable;
use super::record::VERSION;
use super::record::{Part, write_chains};
use super::transition::{Outcome, Position, Rejection, State};
use super::{
    Address, BURN, Block, Header, MAX_BLOCK_BYTES, MAX_BLOCK_TRANSACTIONS, Receipt, RecordAtoms,
    Status, TREASURY, Transaction,
};
use crate::atom::{AtomId, AtomKind, AtomSource, bytes_list};
use crate::integer::Natural;
use crate::trie::BatchHasher;
use alloc::vec::Vec;
use core::ops::Range;

/// What the validator of a block may credit itself with, outside what counts as minted.
pub const REWARD: Natural = Natural::ONE;

/// What the header of a block states about its transactions, and everything that they made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Body {
    /// The accounts' root.
    pub accounts: AtomId,
    /// The head of the list of the transactions' ids.
    pub transactions: AtomId,
    /// The head of the list of the receipts' ids.
    pub receipts: AtomId,
    /// The treasury's balances after each block so far, added up.
    pub cumulative_stake: Natural,
    /// The burn account's balances after each block so far, added up.
    pub cumulative_burn: Natural,
    /// What was minted so far.
    pub cumulative_mint: Natural,
    /// Fees that were collected so far. No rule of today's collects any.
    pub cumulative_total_fees: Natural,
    /// Fees that this block collected.
    pub total_fees: Natural,
    /// The ids of the transactions, in order.
    pub transaction_ids: Vec<AtomId>,
    /// The ids of their receipts.
    pub receipt_ids: Vec<AtomId>,
    /// The receipts.
    pub receipt_values: Vec<Receipt>,
    /// The atoms of everything that the block made: its two lists, receipts, records, accounts and
    /// nodes of tries. The transactions' own are not among them.
    pub atoms: RecordAtoms,
    /// Which of `atoms` are those of contract and channel records.
    pub record_atoms: Range<usize>,
    /// Whether the validator has credited itself with [`REWARD`].
    pub reward_claimed: bool,
    /// The stakes after the block.
    pub stakes: StakeTable,
}

impl Body {
    /// The header of a block with this body after `parent`, without work yet.
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

/// Applies the transactions of one block, in the order in which they come.
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

/// What the header adds to.
struct ParentTotals {
    stake: Natural,
    burn: Natural,
    mint: Natural,
    fees: Natural,
}

impl<S: AtomSource> Builder<S> {
    /// A body without transactions after `parent`, which left these stakes, and whose accounts
    /// `source` has or names as missing.
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

    /// How many transactions the body has.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.transaction_ids.len()
    }

    /// Whether it has none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.transaction_ids.is_empty()
    }

    pub(super) const fn source(&self) -> &S {
        self.state.journal.source()
    }

    /// The state as the transactions so far have left it.
    pub const fn state(&mut self) -> &mut State<S> {
        &mut self.state
    }

    /// Applies a transaction, whose signature the caller has checked, and adds it to the body. A
    /// rejected one is not part of it and has left no trace.
    ///
    /// # Errors
    /// When the state cannot be read, because an atom is missing or otherwise. The body is as it
    /// was; once the atom is there, the transaction may be tried again.
    pub fn apply(
        &mut self,
        transaction: &Transaction,
    ) -> Result<Result<Status, Rejection>, StateError<S::Error>> {
        let bytes = self.bytes.saturating_add(stored_bytes(transaction));
        if self.len() >= MAX_BLOCK_TRANSACTIONS || bytes > MAX_BLOCK_BYTES {
            return Ok(Err(Rejection::BlockFull));
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
            Outcome::Rejected(rejection) => Ok(Err(rejection)),
        }
    }

    /// The body of a block with the transactions so far, in which `claimant` credits itself with
    /// [`REWARD`] if there is one.
    ///
    /// # Errors
    /// As [`Builder::apply`]; it may be called again.
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

    /// Credits `claimant` in a body that was just made.
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

    /// The accounts' root with still more credited to this address.
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

/// Appends the atoms of a bytes list of ids; its head.
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
    let chains: Vec<[Part<'_>; 6]> = receipts
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
    write_chains(hasher, &chains, atoms);
}
