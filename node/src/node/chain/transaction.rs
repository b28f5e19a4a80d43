//! States of transactions, and reasons that one is not sent.

use crate::node::NodeError;
use crate::query::{Costs, QueryError, TransactionLocation};
use crate::store::Durability;
use astreum_core::atom::AtomId;
use astreum_core::chain::TransactionError;
use astreum_core::consensus::mempool::Refusal;
use astreum_core::integer::Natural;
use core::fmt;

/// Condition to wait for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Until {
    /// The transaction is in a block.
    #[default]
    Included,
    /// Its block is safe: [`Confirmation::Safe`](astreum_core::chain::confirmations::Confirmation::Safe).
    Safe,
}

/// State of a transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TransactionState {
    /// Included in a block.
    Included(Box<TransactionLocation>),
    /// Ready for inclusion in this validator's mempool.
    Pending {
        /// Number of transactions that come before it.
        before: usize,
        /// Number of all ready transactions.
        waiting: usize,
    },
    /// In this node's mempool, waiting for a missing list or atom.
    WaitingForData {
        /// Id of the list or atom.
        data: AtomId,
    },
    /// Being fetched or checked.
    Fetching,
    /// Announced to validators by this node, which does not validate itself.
    Announced {
        /// Number of validators that received the last announcement; `None` before the first one.
        validators: Option<usize>,
    },
    /// In this node's mempool, which knows no validator to announce it to.
    NoKnownValidator,
    /// Rejected by the mempool, with the reason.
    Rejected(Refusal),
    /// Not included before its lifetime ended.
    Expired,
    /// Was in a block that a reorganization removed, and could not return to the mempool.
    Abandoned {
        /// Id of the block.
        block: AtomId,
        /// Height of the block.
        height: u64,
        /// Reason it did not return to the mempool.
        reason: Refusal,
    },
    /// Stored here or at a peer, but neither in a block of the head's chain nor in this node's
    /// mempool.
    Stored,
    /// Not found at this node or any peer.
    Unknown,
}

impl TransactionState {
    /// Returns whether the state is final, unless the chain is reorganized or the transaction is
    /// sent again.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Included(_) | Self::Rejected(_) | Self::Expired | Self::Abandoned { .. }
        )
    }
}

/// Result of sending a transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SentTransaction {
    /// Costs of the transaction.
    pub costs: Costs,
    /// Balance of its sender.
    pub balance: Natural,
    /// `true` if this node may put it into a block itself.
    pub own_pool: bool,
    /// Number of validators that the transaction was announced to.
    pub validators: usize,
    /// Durability of the stored transaction at this node.
    pub durability: Durability,
}

/// Reason a transaction was not sent.
#[derive(Debug)]
#[non_exhaustive]
pub enum SendError {
    /// The chain query failed.
    Query(QueryError),
    /// The next block cannot include the transaction.
    Transaction(TransactionError),
    /// The balance of the sender does not cover the amount: a block would include the transaction,
    /// and it would fail and be paid for.
    InsufficientBalance {
        /// Balance of the sender.
        balance: Natural,
        /// Amount to be sent.
        amount: Natural,
        /// Costs of the transaction.
        costs: Box<Costs>,
    },
    /// This node does not validate and knows no validator.
    NoValidator {
        /// Number of connected peers.
        peers: usize,
    },
    /// The mempool of this node's validator rejected the transaction for a reason of its own, and
    /// no other validator is known.
    Rejected(Refusal),
    /// The node could not store or announce the transaction.
    Node(NodeError),
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Query(error) => error.fmt(f),
            Self::Transaction(error) => error.fmt(f),
            Self::InsufficientBalance {
                balance,
                amount,
                costs,
            } => {
                let (fee, storage) = (&costs.fee, &costs.storage);
                let needed = costs.with_amount(amount);
                let missing = needed.saturating_sub(balance);
                write!(
                    f,
                    "insufficient balance: the sender has {balance} and needs {needed} (amount \
                     {amount}, fee {fee}, storage {storage}); {missing} is missing"
                )
            }
            Self::NoValidator { peers } => write!(
                f,
                "no validator is known: this node is not a validator, and none of its {peers} \
                 peers is a validator with a head; `astreum peers --connect HOST:PORT` connects to \
                 one"
            ),
            Self::Rejected(refusal) => {
                write!(f, "rejected by the validator of this node: {refusal}")
            }
            Self::Node(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for SendError {}

impl<E: Into<QueryError>> From<E> for SendError {
    fn from(error: E) -> Self {
        Self::Query(error.into())
    }
}
