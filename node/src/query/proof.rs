//! Proofs of accounts that stand on their own.
//!
//! A proof holds the block's own atoms, whose ids lead from the block's id to the root of its
//! accounts; the trie nodes from that root to where the account is, or would be; and the account's
//! record. Everything is bound by ids, so who trusts the block's id can trust the account. Nothing
//! that the statement does not need may be in it.

use super::{QueryError, account};
use crate::control::{hex, unhex};
use astreum_core::atom::{Atom, AtomId, AtomSource, MemoryStore};
use astreum_core::chain::{Account, Address, Block};
use astreum_core::trie::{Proof, ProofError};
use core::convert::Infallible;
use core::fmt;
use serde::{Deserialize, Serialize};

/// What a proof calls itself.
const FORMAT: &str = "astreum account proof 1";

/// A proof of an account as it is written, in hex. What it says is in [`AccountProof::verify`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountProof {
    /// The format and its version.
    pub format: String,
    /// The account's key.
    pub account: String,
    /// The block's id.
    pub block: String,
    /// The block's atoms in stored form.
    pub block_atoms: Vec<String>,
    /// The trie nodes on the way, as [`Proof::to_bytes`] writes them.
    pub path: String,
    /// The account's atoms in stored form; none where there is no account.
    pub account_atoms: Vec<String>,
}

/// What a proof shows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proven {
    /// The account's key.
    pub address: Address,
    /// The block.
    pub block: Block,
    /// The account and its record's id; `None` if there is none.
    pub account: Option<(AtomId, Account)>,
}

/// Why a proof shows nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ProofProblem {
    /// It is of another format.
    Format(String),
    /// A part of it is no hex, id or atom.
    Unreadable(&'static str),
    /// Its atoms are not the block with its id, and nothing else.
    Block(String),
    /// Its path does not belong to the block's accounts and the account.
    Path(ProofError),
    /// Its account is not the one at the end of the path, and nothing else.
    Account(String),
}

impl fmt::Display for ProofProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format(other) => {
                write!(f, "its format is {other:?}, and this reads {FORMAT:?}")
            }
            Self::Unreadable(part) => write!(f, "its {part} cannot be read"),
            Self::Block(what) => write!(f, "its atoms are not the block that it names: {what}"),
            Self::Path(error) => write!(f, "its path does not lead to the account: {error}"),
            Self::Account(what) => write!(f, "its account is not at the end of the path: {what}"),
        }
    }
}

impl core::error::Error for ProofProblem {}

impl AccountProof {
    /// Proves the account with this address, or that there is none, as of `block`.
    ///
    /// # Errors
    /// When an atom is missing.
    pub fn prove<S>(source: &S, block: &Block, address: &Address) -> Result<Self, QueryError>
    where
        S: AtomSource<Error = Infallible> + ?Sized,
    {
        let path = Proof::prove(source, block.accounts, address.as_bytes())?;
        let account = account(source, block.accounts, address)?;
        let stored = |atom: &Atom| hex(&atom.to_bytes());
        let atoms = block.to_atoms();
        let account_atoms = account.map(|(_, account)| account.to_atoms().1);
        Ok(Self {
            format: FORMAT.to_owned(),
            account: address.to_string(),
            block: block.id().to_string(),
            block_atoms: atoms.iter().map(|(_, atom)| stored(atom)).collect(),
            path: hex(&path.to_bytes()),
            account_atoms: account_atoms
                .unwrap_or_default()
                .iter()
                .map(|(_, atom)| stored(atom))
                .collect(),
        })
    }

    /// What it shows, to who trusts the block's id. Needs no store.
    ///
    /// # Errors
    /// When it shows nothing.
    pub fn verify(&self) -> Result<Proven, ProofProblem> {
        if self.format != FORMAT {
            return Err(ProofProblem::Format(self.format.clone()));
        }
        let address: Address = self
            .account
            .parse()
            .map_err(|_| ProofProblem::Unreadable("account"))?;
        let block = self.verified_block()?;
        let path = unhex(&self.path).ok_or(ProofProblem::Unreadable("path"))?;
        let value = Proof::from_bytes(&path)
            .and_then(|proof| proof.verify(block.accounts, address.as_bytes()))
            .map_err(ProofProblem::Path)?;
        let account = match value {
            Some(value) => Some(self.verified_account(&value)?),
            None if self.account_atoms.is_empty() => None,
            None => return Err(ProofProblem::Account("the path leads to none".to_owned())),
        };
        Ok(Proven {
            address,
            block,
            account,
        })
    }

    fn verified_block(&self) -> Result<Block, ProofProblem> {
        let id: AtomId = self
            .block
            .parse()
            .map_err(|_| ProofProblem::Unreadable("block"))?;
        let atoms = atoms(&self.block_atoms).ok_or(ProofProblem::Unreadable("block_atoms"))?;
        let store: MemoryStore = atoms.iter().cloned().collect();
        let block =
            Block::read(&store, id).map_err(|error| ProofProblem::Block(error.to_string()))?;
        if are(&atoms, &block.to_atoms()) {
            Ok(block)
        } else {
            Err(ProofProblem::Block("there are others as well".to_owned()))
        }
    }

    fn verified_account(&self, value: &[u8]) -> Result<(AtomId, Account), ProofProblem> {
        let wrong = |what: String| ProofProblem::Account(what);
        let id =
            AtomId::from_slice(value).ok_or_else(|| wrong("the path ends in no id".to_owned()))?;
        let atoms = atoms(&self.account_atoms).ok_or(ProofProblem::Unreadable("account_atoms"))?;
        let store: MemoryStore = atoms.iter().cloned().collect();
        let account = Account::read(&store, id).map_err(|error| wrong(error.to_string()))?;
        if are(&atoms, &account.to_atoms().1) {
            Ok((id, account))
        } else {
            Err(wrong("there are others as well".to_owned()))
        }
    }
}

fn atoms(texts: &[String]) -> Option<Vec<Atom>> {
    let atom = |text: &String| Atom::from_bytes(&unhex(text)?).ok();
    texts.iter().map(atom).collect()
}

fn are(atoms: &[Atom], record: &[(AtomId, Atom)]) -> bool {
    atoms.iter().eq(record.iter().map(|(_, atom)| atom))
}
