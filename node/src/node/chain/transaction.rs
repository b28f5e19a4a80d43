//! States of transactions, and reasons that one is not sent.

use crate::node::NodeError;
use crate::query::{Costs, QueryError, TransactionLocation};
use crate::store::Durability;
use astreum_core::atom::AtomId;
use astreum_core::chain::{Address, MAX_TRANSACTION_DATA_BYTES};
use astreum_core::integer::Natural;
use core::fmt;

/// Condition to wait for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Until {
    /// The transaction is in a block.
    #[default]
    Included,
    /// Its block is safe: [`Confirmation::Safe`].
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
    Rejected(String),
    /// Not included before its lifetime ended.
    Expired,
    /// Was in a block that a reorganization removed, and could not return to the mempool.
    Abandoned {
        /// Id of the block.
        block: AtomId,
        /// Height of the block.
        height: u64,
        /// Reason it did not return to the mempool.
        reason: String,
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
    /// The signature is invalid.
    InvalidSignature,
    /// The transaction carries more data than a block allows.
    DataTooLarge {
        /// Size of the data in bytes.
        data_bytes: usize,
    },
    /// The transaction is for another chain.
    WrongChain {
        /// Chain id of the transaction.
        found: Natural,
        /// Chain id of the head.
        expected: Natural,
    },
    /// The transaction is in the chain already.
    AlreadyApplied {
        /// Height of its block.
        height: Natural,
    },
    /// The sender has no account, so it cannot pay.
    UnknownSender {
        /// Address of the sender.
        sender: Address,
    },
    /// The balance of the sender is too small.
    InsufficientBalance {
        /// Balance of the sender.
        balance: Natural,
        /// Amount to be sent.
        amount: Natural,
        /// Costs of the transaction.
        costs: Box<Costs>,
    },
    /// The transaction would be a first stake that is too small for any block.
    StakeTooSmall {
        /// Amount to be staked.
        amount: Natural,
        /// Minimum stake.
        minimum: Natural,
    },
    /// The chain has no price for storage: it can never include a transaction.
    NoStoragePrice,
    /// This node does not validate and knows no validator.
    NoValidator {
        /// Number of connected peers.
        peers: usize,
    },
    /// This node's validator rejected the transaction, and no other validator is known.
    Rejected(String),
    /// The node could not store or announce the transaction.
    Node(NodeError),
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Query(error) => error.fmt(f),
            Self::InvalidSignature => f.write_str("invalid transaction signature"),
            Self::DataTooLarge { data_bytes } => write!(
                f,
                "transaction data of {data_bytes} bytes exceeds the maximum of \
                 {MAX_TRANSACTION_DATA_BYTES}"
            ),
            Self::StakeTooSmall { amount, minimum } => write!(
                f,
                "a first stake of {amount} is too small: the minimum is {minimum}, a millionth \
                 of all stakes"
            ),
            Self::WrongChain { found, expected } => write!(
                f,
                "wrong chain id {found}: this node follows chain {expected}"
            ),
            Self::AlreadyApplied { height } => write!(
                f,
                "the transaction is already in block {height}; use another counter to send it again"
            ),
            Self::UnknownSender { sender } => write!(
                f,
                "insufficient balance: the sender {sender} has no account on this chain"
            ),
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
            Self::NoStoragePrice => f.write_str(
                "storage has no price on this chain: its cumulative fees are 0, so it cannot \
                 include transactions",
            ),
            Self::NoValidator { peers } => write!(
                f,
                "no validator is known: this node is not a validator, and none of its {peers} \
                 peers is a validator with a head; `astreum peers --connect HOST:PORT` connects to \
                 one"
            ),
            Self::Rejected(why) => {
                write!(f, "rejected by the validator of this node: {why}")
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
