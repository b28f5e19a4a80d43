//! Reasons that a transaction cannot be part of a block, the same at every entrance: when it is
//! sent, in the mempool and in a block.

use crate::atom::AtomId;
use crate::chain::{
    Address, MAX_BLOCK_BYTES, MAX_BLOCK_TRANSACTIONS, MAX_LIST_ATOMS, MAX_WALK_BYTES,
};
use crate::crypto::SignatureError;
use crate::integer::Natural;
use core::fmt;

/// Reason that a transaction cannot be part of a block. The state is unchanged.
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
/// // A sender without an account cannot pay the fee.
/// let transfer = transfer.sign(&SigningKey::from_seed(&[9; 32]));
/// let mut builder = Builder::new(&store, &parent, &stakes);
/// let error = builder.apply(&transfer)?.err();
/// assert!(matches!(error, Some(TransactionError::NoSender { .. })));
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TransactionError {
    /// The record is not a transaction or not canonical, or a field is too long.
    Malformed {
        /// Description of the error.
        problem: &'static str,
    },
    /// The signature is invalid.
    Signature(SignatureError),
    /// The transaction belongs to another chain.
    ChainId {
        /// Chain id of the transaction.
        transaction: Natural,
        /// Id of this chain.
        chain: Natural,
    },
    /// The sender's account does not exist, so it cannot pay.
    NoSender {
        /// Address of the sender.
        sender: Address,
    },
    /// The sender's balance is too low for the fee and storage; the amount is not counted.
    Balance {
        /// Balance of the sender.
        balance: Natural,
        /// Required balance.
        needed: Natural,
    },
    /// The sender's balance covers the reserve but not the actual cost, because the transaction's
    /// integers are very long.
    RealCost {
        /// Balance of the sender.
        balance: Natural,
        /// Required balance.
        needed: Natural,
    },
    /// The cumulative fees of the parent block are 0, so storage has no price.
    NoPrice,
    /// The chain has no treasury or no burn account.
    NoSystemAccount {
        /// Address of the missing account.
        address: Address,
    },
    /// The transaction has been applied before.
    Replayed,
    /// The sender is the treasury or the burn account. The burn account's address is a key of small
    /// order, for which valid signatures can be made without a secret key.
    SystemSender,
    /// The transaction refers to a list that is longer than all lists of a block together may be:
    /// [`MAX_LIST_ATOMS`](crate::chain::MAX_LIST_ATOMS) atoms and
    /// [`MAX_WALK_BYTES`](crate::chain::MAX_WALK_BYTES) stored bytes. It does not fit into any
    /// block.
    ListTooLong {
        /// Head of the list.
        list: AtomId,
    },
    /// The transaction refers to a list that is longer than the rest of the block's limit. It may
    /// fit into another block.
    BlockListsTooLong {
        /// Head of the list.
        list: AtomId,
    },
    /// The transaction would record a new stake of less than a millionth of all stakes, or of 0, as
    /// a failed transaction does.
    SmallStake {
        /// Stake that would be recorded.
        amount: Natural,
        /// Minimum stake, see [`min_new_stake`](crate::chain::min_new_stake).
        minimum: Natural,
    },
    /// The block already has [`MAX_BLOCK_TRANSACTIONS`], or would exceed
    /// [`MAX_BLOCK_BYTES`](crate::chain::MAX_BLOCK_BYTES).
    BlockFull,
}

impl TransactionError {
    /// Returns whether the transaction cannot be part of any block of this chain, whatever the
    /// state: the error depends only on the transaction, or on a list that never changes.
    #[must_use]
    pub const fn is_permanent(&self) -> bool {
        matches!(
            self,
            Self::Malformed { .. }
                | Self::Signature(_)
                | Self::ChainId { .. }
                | Self::SystemSender
                | Self::ListTooLong { .. }
        )
    }
}

impl fmt::Display for TransactionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed { problem } => write!(f, "malformed transaction: {problem}"),
            Self::Signature(error) => write!(f, "invalid transaction signature: {error}"),
            Self::ChainId { transaction, chain } => {
                write!(f, "wrong chain id {transaction}, expected {chain}")
            }
            Self::NoSender { sender } => write!(
                f,
                "insufficient balance: the sender {sender} has no account"
            ),
            Self::Balance { balance, needed } => write!(
                f,
                "insufficient balance {balance}: fee and storage cost {needed}"
            ),
            Self::RealCost { balance, needed } => write!(
                f,
                "insufficient balance {balance}: the transaction costs {needed}, which exceeds its \
                 reserve"
            ),
            Self::NoPrice => {
                f.write_str("storage has no price: the cumulative fees of the chain are 0")
            }
            Self::NoSystemAccount { address } => {
                write!(f, "missing required account {address}")
            }
            Self::Replayed => f.write_str(
                "replayed transaction: it is already in the chain; use another counter to send it \
                 again",
            ),
            Self::SystemSender => {
                f.write_str("the treasury and the burn account cannot send transactions")
            }
            Self::ListTooLong { list } => write!(
                f,
                "list {list} is too long: all lists of a block have at most {MAX_LIST_ATOMS} atoms \
                 and {MAX_WALK_BYTES} bytes together"
            ),
            Self::BlockListsTooLong { list } => write!(
                f,
                "list {list} exceeds the limit for all lists of the block together"
            ),
            Self::SmallStake { amount, minimum } => write!(
                f,
                "a first stake of {amount} is too small: the minimum is {minimum}, a millionth of \
                 all stakes"
            ),
            Self::BlockFull => {
                write!(
                    f,
                    "block is full: at most {MAX_BLOCK_TRANSACTIONS} transactions and \
                     {MAX_BLOCK_BYTES} bytes"
                )
            }
        }
    }
}

impl core::error::Error for TransactionError {}
