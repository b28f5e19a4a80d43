//! Self-contained proofs of accounts.
//!
//! A proof holds the block's own atoms, whose ids lead from the block's id to the root of its
//! accounts; the trie nodes from that root to the place of the account, existing or not; and the
//! account's record. All parts are bound by ids, so an account can be trusted as far as the block's
//! id. A proof must not contain anything that it does not need.

use super::{QueryError, account};
use astreum_core::atom::{Atom, AtomId, AtomSource, MemoryStore};
use astreum_core::chain::{Account, Address, Block};
use astreum_core::trie::{Proof, ProofError};
use core::convert::Infallible;
use core::fmt;
use serde::{Deserialize, Serialize};

/// Name and version of the format.
const FORMAT: &str = "astreum account proof 1";

/// Proof of an account in its written form, with fields in hex. [`AccountProof::verify`] returns
/// its content.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountProof {
    /// Name and version of the format.
    pub format: String,
    /// Key of the account.
    pub account: String,
    /// Id of the block.
    pub block: String,
    /// Atoms of the block in stored form.
    pub block_atoms: Vec<String>,
    /// Trie nodes of the path, as written by [`Proof::to_bytes`].
    pub path: String,
    /// Atoms of the account in stored form; empty if the account does not exist.
    pub account_atoms: Vec<String>,
}

/// Statement of a verified proof.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proven {
    /// Key of the account.
    pub address: Address,
    /// Block that the statement is about.
    pub block: Block,
    /// Account and id of its record; `None` if it does not exist.
    pub account: Option<(AtomId, Account)>,
}

/// Reason a proof is invalid.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ProofProblem {
    /// The format is unknown.
    Format(String),
    /// A part is not valid hex, an id or an atom.
    Unreadable(&'static str),
    /// The atoms are not exactly those of the block with the given id.
    Block(String),
    /// The path does not lead from the block's accounts to the account.
    Path(ProofError),
    /// The account's atoms are not exactly those at the end of the path.
    Account(String),
}

impl fmt::Display for ProofProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format(other) => {
                write!(f, "unsupported format {other:?}, expected {FORMAT:?}")
            }
            Self::Unreadable(part) => write!(f, "malformed {part}"),
            Self::Block(what) => write!(f, "the atoms do not match the block: {what}"),
            Self::Path(error) => write!(f, "invalid path to the account: {error}"),
            Self::Account(what) => {
                write!(f, "the account does not match the end of the path: {what}")
            }
        }
    }
}

impl core::error::Error for ProofProblem {}

impl AccountProof {
    /// Creates a proof of the account with this address, or of its absence, as of `block`.
    ///
    /// # Errors
    /// Fails if an atom is missing.
    pub fn prove<S>(source: &S, block: &Block, address: &Address) -> Result<Self, QueryError>
    where
        S: AtomSource<Error = Infallible> + ?Sized,
    {
        let path = Proof::prove(source, block.accounts, address.as_bytes())?;
        let account = account(source, block.accounts, address)?;
        let stored = |atom: &Atom| hex::encode(atom.to_bytes());
        let atoms = block.to_atoms();
        let account_atoms = account.map(|(_, account)| account.to_atoms().1);
        Ok(Self {
            format: FORMAT.to_owned(),
            account: address.to_string(),
            block: block.id().to_string(),
            block_atoms: atoms.iter().map(|(_, atom)| stored(atom)).collect(),
            path: hex::encode(path.to_bytes()),
            account_atoms: account_atoms
                .unwrap_or_default()
                .iter()
                .map(|(_, atom)| stored(atom))
                .collect(),
        })
    }

    /// Verifies the proof against its block id, which the caller must trust. Needs no store.
    ///
    /// # Errors
    /// Fails if the proof is invalid.
    pub fn verify(&self) -> Result<Proven, ProofProblem> {
        if self.format != FORMAT {
            return Err(ProofProblem::Format(self.format.clone()));
        }
        let address: Address = self
            .account
            .parse()
            .map_err(|_| ProofProblem::Unreadable("account"))?;
        let block = self.verified_block()?;
        let path = hex::decode(&self.path)
            .ok()
            .ok_or(ProofProblem::Unreadable("path"))?;
        let value = Proof::from_bytes(&path)
            .and_then(|proof| proof.verify(block.accounts, address.as_bytes()))
            .map_err(ProofProblem::Path)?;
        let account = match value {
            Some(value) => Some(self.verified_account(&value)?),
            None if self.account_atoms.is_empty() => None,
            None => {
                let problem = "the path does not lead to an account";
                return Err(ProofProblem::Account(problem.to_owned()));
            }
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
        if atoms_equal(&atoms, &block.to_atoms()) {
            Ok(block)
        } else {
            Err(ProofProblem::Block("unneeded atoms".to_owned()))
        }
    }

    fn verified_account(&self, value: &[u8]) -> Result<(AtomId, Account), ProofProblem> {
        let wrong = |what: String| ProofProblem::Account(what);
        let id = AtomId::from_slice(value)
            .ok_or_else(|| wrong("the path does not end in an id".to_owned()))?;
        let atoms = atoms(&self.account_atoms).ok_or(ProofProblem::Unreadable("account_atoms"))?;
        let store: MemoryStore = atoms.iter().cloned().collect();
        let account = Account::read(&store, id).map_err(|error| wrong(error.to_string()))?;
        if atoms_equal(&atoms, &account.to_atoms().1) {
            Ok((id, account))
        } else {
            Err(wrong("unneeded atoms".to_owned()))
        }
    }
}

fn atoms(texts: &[String]) -> Option<Vec<Atom>> {
    let atom = |text: &String| Atom::from_bytes(&hex::decode(text).ok()?).ok();
    texts.iter().map(atom).collect()
}

fn atoms_equal(atoms: &[Atom], record: &[(AtomId, Atom)]) -> bool {
    atoms.iter().eq(record.iter().map(|(_, atom)| atom))
}
