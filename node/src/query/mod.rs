//! Questions about the chain, answered from atoms.
//!
//! Everything here is a function of an atom source and a block: what a running node, its library
//! and the checks of a proof have in common. Nothing is changed, nothing is fetched; an atom that
//! the source does not give is [`QueryError::Missing`] and named.

mod blocks;
mod confirmation;
mod costs;
mod proof;
mod stakes;
mod status;

pub use blocks::{BlockAt, Included, account, block, blocks, included, previous_at, transactions};
pub use confirmation::confirmation;
pub use costs::{Costs, costs};
pub use proof::{AccountProof, ProofProblem, Proven};
pub use stakes::{Slot, Stake, schedule, stake};
pub use status::{Place, find};

use astreum_core::atom::{AtomId, ListError, SourceError};
use astreum_core::chain::{Address, RecordError};
use astreum_core::integer::Natural;
use astreum_core::trie::TrieError;
use core::convert::Infallible;
use core::fmt;

/// Why a question has no answer.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum QueryError {
    /// There is no chain to ask about.
    NoHead,
    /// An atom was nowhere.
    Missing(AtomId),
    /// What is stored is not what it should be.
    Malformed(String),
    /// The chain does not reach this height.
    TooHigh {
        /// The height that was asked for.
        height: u64,
        /// That of the head.
        head: Natural,
    },
    /// There is no such account.
    UnknownAccount {
        /// Its key.
        account: Address,
        /// The height of the block that was asked about.
        height: Natural,
    },
    /// No such transaction is known.
    UnknownTransaction(AtomId),
    /// The question was about the node's own account, and it has none.
    NoOwnAccount,
    /// The node stopped before there was an answer.
    Stopping,
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHead => f.write_str(
                "this node has no block yet; it gets one from a seed or a peer, by validating, or \
                 from `astreum genesis`",
            ),
            Self::Missing(id) => write!(f, "atom {id} was not found here or at any peer"),
            Self::Malformed(what) => f.write_str(what),
            Self::TooHigh { height, head } => {
                write!(
                    f,
                    "there is no block {height} yet; the head is block {head}"
                )
            }
            Self::UnknownAccount { account, height } => write!(
                f,
                "there is no account {account} as of block {height}; an account begins with the \
                 first transaction to it"
            ),
            Self::UnknownTransaction(id) => {
                write!(f, "no transaction {id} was found here or at any peer")
            }
            Self::Stopping => f.write_str("the node is shutting down"),
            Self::NoOwnAccount => f.write_str(
                "this node has no account of its own, for it has no validation key; give an \
                 account's key, or set validation_secret_key_file",
            ),
        }
    }
}

impl core::error::Error for QueryError {}

impl QueryError {
    /// The atom that was nowhere, if that is why.
    #[must_use]
    pub const fn missing(&self) -> Option<AtomId> {
        match self {
            Self::Missing(id) => Some(*id),
            _ => None,
        }
    }
}

impl From<SourceError<Infallible>> for QueryError {
    fn from(error: SourceError<Infallible>) -> Self {
        match error {
            SourceError::Missing(id) => Self::Missing(id),
            SourceError::Failed(never) => match never {},
        }
    }
}

impl From<RecordError<Infallible>> for QueryError {
    fn from(error: RecordError<Infallible>) -> Self {
        match error {
            RecordError::Source(error) => error.into(),
            malformed @ RecordError::Malformed { .. } => Self::Malformed(malformed.to_string()),
        }
    }
}

impl From<TrieError<Infallible>> for QueryError {
    fn from(error: TrieError<Infallible>) -> Self {
        match error {
            TrieError::Source(error) => error.into(),
            other => Self::Malformed(other.to_string()),
        }
    }
}

impl From<ListError<Infallible>> for QueryError {
    fn from(error: ListError<Infallible>) -> Self {
        match error {
            ListError::Source(error) => error.into(),
            other => Self::Malformed(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests;
