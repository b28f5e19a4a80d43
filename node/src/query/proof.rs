//! Written form of proofs of accounts: a JSON object with fields in hex.
//!
//! Content and verification are those of [`chain::AccountProof`].

use super::QueryError;
use astreum_core::atom::{Atom, AtomId, AtomSource};
use astreum_core::chain::{self, Account, AccountProofError, Address, Block, ProvenAccount};
use astreum_core::trie::Proof;
use core::convert::Infallible;
use core::fmt;
use serde::{Deserialize, Serialize};

/// Name and version of the format.
const FORMAT: &str = "astreum account proof 1";

/// Proof of an account in its written form. [`AccountProof::verify`] returns its content.
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

/// Reason a written proof is invalid.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ProofProblem {
    /// The format is unknown.
    Format(String),
    /// A part is not valid hex, an id or an atom.
    Unreadable(&'static str),
    /// The path is not the bytes of a proof, or the parts do not prove the account.
    Invalid(AccountProofError),
}

impl fmt::Display for ProofProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format(other) => {
                write!(f, "unsupported format {other:?}, expected {FORMAT:?}")
            }
            Self::Unreadable(part) => write!(f, "malformed {part}"),
            Self::Invalid(error) => error.fmt(f),
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
        let proof = chain::AccountProof::prove(source, block, address)?;
        let stored = |atom: &Atom| hex::encode(atom.to_bytes());
        Ok(Self {
            format: FORMAT.to_owned(),
            account: address.to_string(),
            block: block.id().to_string(),
            block_atoms: proof.block.iter().map(stored).collect(),
            path: hex::encode(proof.path.to_bytes()),
            account_atoms: proof.account.iter().map(stored).collect(),
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
        let unreadable = ProofProblem::Unreadable;
        let address: Address = self.account.parse().map_err(|_| unreadable("account"))?;
        let block: AtomId = self.block.parse().map_err(|_| unreadable("block"))?;
        let path = hex::decode(&self.path).map_err(|_| unreadable("path"))?;
        let invalid_path = |error| ProofProblem::Invalid(AccountProofError::Path(error));
        let proof = chain::AccountProof {
            block: atoms(&self.block_atoms).ok_or(unreadable("block_atoms"))?,
            path: Proof::from_bytes(&path).map_err(invalid_path)?,
            account: atoms(&self.account_atoms).ok_or(unreadable("account_atoms"))?,
        };
        let proven = proof.verify(block, &address);
        let ProvenAccount { block, account } = proven.map_err(ProofProblem::Invalid)?;
        Ok(Proven {
            address,
            block,
            account,
        })
    }
}

fn atoms(texts: &[String]) -> Option<Vec<Atom>> {
    let atom = |text: &String| Atom::from_bytes(&hex::decode(text).ok()?).ok();
    texts.iter().map(atom).collect()
}
