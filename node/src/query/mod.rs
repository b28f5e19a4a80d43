//! Queries of the chain, answered from atoms.
//!
//! All queries are functions of an atom source and a block, shared by a running node, its library
//! and the verification of proofs. They change and fetch nothing; an atom that the source does not
//! have is reported as [`QueryError::Missing`].

mod blocks;
mod check;
mod confirmation;
mod costs;
mod proof;
mod stakes;
mod status;

pub use blocks::{
    BlockAt, Included, ParseBlockAtError, account, block, block_with_id, blocks, included,
    previous_at, transactions,
};
pub use check::{CheckedTransaction, check_transaction};
pub use confirmation::confirmation;
pub use costs::{Costs, costs};
pub use proof::{AccountProof, ProofProblem, Proven};
pub use stakes::{Slot, Stake, schedule, stake};
pub use status::{TransactionLocation, find};

use astreum_core::atom::{AtomId, ListError, SourceError};
use astreum_core::chain::{Address, Block, RecordError};
use astreum_core::integer::Natural;
use astreum_core::trie::TrieError;
use core::convert::Infallible;
use core::fmt;

/// Reason a query has no answer.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum QueryError {
    /// The node has no chain.
    NoHead,
    /// An atom was not found.
    Missing(AtomId),
    /// The copy of an atom in cold storage cannot be read, and no peer has the atom.
    Unreadable {
        /// Id of the atom.
        id: AtomId,
        /// Place of the copy, and the reason.
        reason: String,
    },
    /// A stored record is malformed.
    Malformed(String),
    /// The chain does not reach the height.
    TooHigh {
        /// Requested height.
        height: u64,
        /// Height of the head.
        head: Natural,
    },
    /// The account does not exist.
    UnknownAccount {
        /// Key of the account.
        account: Address,
        /// Height of the queried block.
        height: Natural,
    },
    /// A block was pruned, so that a part of it is not kept.
    NotKept {
        /// Subject and verb of the message, such as `the stakes before block 7 are`.
        what: String,
        /// Height below which blocks are pruned.
        below: u64,
    },
    /// The transaction is not known.
    UnknownTransaction(AtomId),
    /// The query was about the node's own account, and the node has no validation key.
    NoOwnAccount,
    /// The node stopped before the query was answered.
    Stopping,
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHead => f.write_str(
                "this node has no block yet; it gets one from a seed or a peer, by validating, or \
                 from `astreum genesis`",
            ),
            Self::Missing(id) => write!(f, "atom {id} was not found locally or at any peer"),
            Self::Unreadable { id, reason } => write!(
                f,
                "atom {id} cannot be read, and no peer delivered it: {reason}"
            ),
            Self::Malformed(what) => f.write_str(what),
            Self::TooHigh { height, head } => {
                write!(
                    f,
                    "block {height} does not exist yet; the head is block {head}"
                )
            }
            Self::UnknownAccount { account, height } => write!(
                f,
                "account {account} does not exist at block {height}; the first transaction to an \
                 account creates it"
            ),
            Self::NotKept { what, below } => write!(
                f,
                "{what} not kept here: pruned below height {below}; ask a node that keeps \
                 everything (prune_blocks = 0)"
            ),
            Self::UnknownTransaction(id) => {
                write!(f, "transaction {id} was not found locally or at any peer")
            }
            Self::Stopping => f.write_str("the node is shutting down"),
            Self::NoOwnAccount => f.write_str(
                "this node has no account: it has no validation key; give an \
                 account's key, or set validation_secret_key_file",
            ),
        }
    }
}

impl core::error::Error for QueryError {}

impl QueryError {
    /// Converts the error of reading the record of this type with a requested id.
    pub(crate) fn of_record(name: &str, error: RecordError<Infallible>) -> Self {
        match error {
            RecordError::Malformed { record, problem } => {
                Self::Malformed(format!("{record} is not a {name}: {problem}"))
            }
            source @ RecordError::Source(_) => source.into(),
        }
    }
}

/// Known facts about the blocks that were pruned from a store.
#[derive(Clone, Copy)]
pub struct Pruned<'p> {
    /// Height below which blocks are pruned.
    pub below: u64,
    /// Returns the header of a pruned block of the chain.
    pub header_at: &'p dyn Fn(u64) -> Option<Block>,
    /// Returns whether an atom is stored.
    pub is_stored: &'p dyn Fn(&AtomId) -> bool,
}

impl fmt::Debug for Pruned<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pruned")
            .field("below", &self.below)
            .finish_non_exhaustive()
    }
}

impl Pruned<'_> {
    /// No block was pruned.
    pub const NONE: Self = Self {
        below: 0,
        header_at: &|_| None,
        is_stored: &|_| false,
    };

    /// Checks that the transactions of a block may be read; otherwise they would be searched for in
    /// vain. `what` describes what is read.
    ///
    /// # Errors
    /// Fails if the block was pruned and its transactions are not stored.
    pub fn check(&self, block: &Block, what: impl FnOnce() -> String) -> Result<(), QueryError> {
        let is_pruned = block.height < self.below;
        let list = block.transactions;
        if is_pruned && !list.is_zero() && !(self.is_stored)(&list) {
            let (what, below) = (what(), self.below);
            return Err(QueryError::NotKept { what, below });
        }
        Ok(())
    }
}

impl QueryError {
    /// Returns the id of the missing atom, if that is the reason.
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
