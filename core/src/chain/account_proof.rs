//! Proofs of accounts, to be checked with the id of a block alone.
//!
//! A proof has the block's own atoms, whose ids lead from the block's id to the root of its
//! accounts; the trie nodes from that root to the place of the account, existing or not; and the
//! account's record. Ids bind all parts, so the account can be trusted as far as the block's id.
//!
//! Invariant: a proof is unique. Atoms that it does not need make it invalid.

use super::{Account, Address, Block, RecordError};
use crate::atom::{Atom, AtomId, AtomSource, MemoryStore};
use crate::trie::{Proof, ProofError};
use alloc::vec::Vec;
use core::convert::Infallible;
use core::fmt;

/// Proof of an account as of a block, or of its absence.
///
/// ```
/// use astreum_core::atom::MemoryStore;
/// use astreum_core::chain::{AccountProof, Address, Genesis};
/// use astreum_core::integer::Natural;
/// use astreum_core::trie::Scalar;
///
/// let owner = Address::new([7; 32]);
/// let mut store = MemoryStore::new();
/// let genesis = Genesis::new(owner, Natural::ZERO, Natural::from(1_700_000_000_u64));
/// let block = genesis.build(&mut Scalar, &mut store).unwrap();
///
/// let proof = AccountProof::prove(&store, &block, &owner).unwrap();
/// // The reader has no store: the block's id is enough.
/// let proven = proof.verify(block.id(), &owner).unwrap();
/// assert!(proven.account.is_some());
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AccountProof {
    /// Atoms of the block.
    pub block: Vec<Atom>,
    /// Trie nodes on the path from the root of the accounts to the account.
    pub path: Proof,
    /// Atoms of the account's record; empty if the account does not exist.
    pub account: Vec<Atom>,
}

/// Statement of a verified [`AccountProof`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProvenAccount {
    /// Block that the statement is about.
    pub block: Block,
    /// Id of the account's record, and the account; `None` if it does not exist.
    pub account: Option<(AtomId, Account)>,
}

/// Reason an [`AccountProof`] is invalid.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum AccountProofError {
    /// The atoms of the block are not a block with the given id.
    Block(RecordError<Infallible>),
    /// There are atoms that the block does not need.
    UnneededBlockAtoms,
    /// The path does not lead from the block's accounts to the account.
    Path(ProofError),
    /// The path does not end in the id of a record.
    NotAnId,
    /// The account's atoms are not the record at the end of the path.
    Account(RecordError<Infallible>),
    /// There are atoms that the account does not need.
    UnneededAccountAtoms,
    /// There are atoms of an account, but the path shows that it does not exist.
    NoAccount,
}

impl fmt::Display for AccountProofError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const BLOCK: &str = "the atoms do not match the block";
        const ACCOUNT: &str = "the account does not match the end of the path";
        match self {
            Self::Block(error) => write!(f, "{BLOCK}: {error}"),
            Self::UnneededBlockAtoms => write!(f, "{BLOCK}: unneeded atoms"),
            Self::Path(error) => write!(f, "invalid path to the account: {error}"),
            Self::NotAnId => write!(f, "{ACCOUNT}: the path does not end in an id"),
            Self::Account(error) => write!(f, "{ACCOUNT}: {error}"),
            Self::UnneededAccountAtoms => write!(f, "{ACCOUNT}: unneeded atoms"),
            Self::NoAccount => write!(f, "{ACCOUNT}: the path does not lead to an account"),
        }
    }
}

impl core::error::Error for AccountProofError {}

impl AccountProof {
    /// Creates a proof of the account with this address, or of its absence, as of `block`.
    ///
    /// # Errors
    /// Fails if an atom is missing or a record is malformed.
    pub fn prove<S: AtomSource + ?Sized>(
        source: &S,
        block: &Block,
        address: &Address,
    ) -> Result<Self, RecordError<S::Error>> {
        let path = Proof::prove(source, block.accounts, address.as_bytes())?;
        let account = Account::find(source, block.accounts, address)?;
        let account = account.map(|account| record(account.to_atoms().1));
        Ok(Self {
            block: record(block.to_atoms()),
            path,
            account: account.unwrap_or_default(),
        })
    }

    /// Verifies the proof of the account `address` as of the block `block`, whose id the caller
    /// must trust. Needs no store.
    ///
    /// # Errors
    /// Fails if the proof is for another block or account, or invalid.
    pub fn verify(
        &self,
        block: AtomId,
        address: &Address,
    ) -> Result<ProvenAccount, AccountProofError> {
        let block = self.verified_block(block)?;
        let value = self.path.verify(block.accounts, address.as_bytes());
        let account = match value.map_err(AccountProofError::Path)? {
            Some(value) => Some(self.verified_account(&value)?),
            None if self.account.is_empty() => None,
            None => return Err(AccountProofError::NoAccount),
        };
        Ok(ProvenAccount { block, account })
    }

    fn verified_block(&self, id: AtomId) -> Result<Block, AccountProofError> {
        let store: MemoryStore = self.block.iter().cloned().collect();
        let block = Block::read(&store, id).map_err(AccountProofError::Block)?;
        if record(block.to_atoms()) == self.block {
            Ok(block)
        } else {
            Err(AccountProofError::UnneededBlockAtoms)
        }
    }

    fn verified_account(&self, value: &[u8]) -> Result<(AtomId, Account), AccountProofError> {
        let id = AtomId::from_slice(value).ok_or(AccountProofError::NotAnId)?;
        let store: MemoryStore = self.account.iter().cloned().collect();
        let account = Account::read(&store, id).map_err(AccountProofError::Account)?;
        if record(account.to_atoms().1) == self.account {
            Ok((id, account))
        } else {
            Err(AccountProofError::UnneededAccountAtoms)
        }
    }
}

fn record(atoms: impl IntoIterator<Item = (AtomId, Atom)>) -> Vec<Atom> {
    atoms.into_iter().map(|(_, atom)| atom).collect()
}
