//! Verification errors of blocks.

use crate::atom::AtomId;
use crate::chain::execution::REWARD;
use crate::chain::journal::StateError;
use crate::chain::leader_election::ElectionError;
use crate::chain::{Address, RecordError, TransactionError};
use crate::crypto::SignatureError;
use crate::integer::Natural;
use alloc::boxed::Box;
use core::fmt;

/// Permanent reason that a block is invalid.
///
/// ```
/// use astreum_core::chain::{Invalid, verify_link};
/// use core::convert::Infallible;
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
/// // A genesis is not a child of itself.
/// let later = parent.timestamp.clone();
/// let error = verify_link::<Infallible>(&parent, &parent, &Natural::ZERO, &later).unwrap_err();
/// let invalid = error.invalid().ok_or("no verdict")?;
/// assert!(matches!(invalid, Invalid::Previous { expected, .. } if *expected == parent.id()));
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Invalid {
    /// The block belongs to another chain.
    ChainId {
        /// Chain id in the block.
        stated: Natural,
        /// Chain id of the node.
        expected: Natural,
    },
    /// The block's parent is not the block that it is checked against.
    Previous {
        /// Parent id in the block.
        stated: AtomId,
        /// Id of the block that it is checked against.
        expected: AtomId,
    },
    /// The height is not the parent's plus 1, or not 0 in a genesis.
    Height {
        /// Height in the block.
        stated: Natural,
        /// Expected height.
        expected: Natural,
    },
    /// The timestamp is not later than the parent's.
    Timestamp {
        /// Timestamp of the block.
        stated: Natural,
        /// Timestamp of the parent.
        parent: Natural,
    },
    /// The difficulty does not follow from the parent's difficulty and the time between the blocks.
    Difficulty {
        /// Difficulty in the block.
        stated: Natural,
        /// Expected difficulty.
        expected: Natural,
    },
    /// The id has fewer leading zero bits than the parent's difficulty requires.
    Work {
        /// Required leading zero bits.
        needed: Natural,
    },
    /// The block producer's signature is missing or invalid.
    Signature(SignatureError),
    /// No block producer can be elected for the block's timestamp.
    Schedule(ElectionError),
    /// The block's slot belongs to another block producer.
    Validator {
        /// Producer of the block.
        stated: Address,
        /// Scheduled producer of the slot.
        scheduled: Address,
    },
    /// The transaction list is malformed or too long.
    TransactionList {
        /// Description of the error.
        problem: &'static str,
    },
    /// A transaction cannot be part of the block.
    Transaction {
        /// Index of the transaction in the block.
        index: usize,
        /// Id of the transaction.
        id: AtomId,
        /// Reason that the transaction is rejected.
        error: Box<TransactionError>,
    },
    /// The block's transactions are not those that it was verified with.
    Transactions {
        /// Transaction list in the block.
        stated: AtomId,
        /// List of the given transactions.
        computed: AtomId,
    },
    /// The receipts are not those of the block's transactions.
    Receipts {
        /// Receipt list in the block.
        stated: AtomId,
        /// Expected receipt list.
        computed: AtomId,
    },
    /// The accounts root does not match the result of the transactions, with or without the reward.
    Accounts {
        /// Accounts root in the block.
        stated: AtomId,
        /// Expected accounts root, without the reward.
        computed: AtomId,
    },
    /// The accounts are correct except for the producer's reward.
    Reward {
        /// Reward that the producer credited to itself.
        claimed: Natural,
    },
    /// A total in the header is wrong.
    Total {
        /// Name of the total.
        total: Total,
        /// Value in the block.
        stated: Natural,
        /// Expected value.
        expected: Natural,
    },
    /// The block is not a valid genesis.
    Genesis {
        /// Description of the error.
        problem: &'static str,
    },
}

/// Sum in a block header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Total {
    /// [`Header::total_fees`](crate::chain::Header::total_fees).
    Fees,
    /// [`Header::cumulative_total_fees`](crate::chain::Header::cumulative_total_fees).
    CumulativeFees,
    /// [`Header::cumulative_mint`](crate::chain::Header::cumulative_mint).
    CumulativeMint,
    /// [`Header::cumulative_stake`](crate::chain::Header::cumulative_stake).
    CumulativeStake,
    /// [`Header::cumulative_burn`](crate::chain::Header::cumulative_burn).
    CumulativeBurn,
}

impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fees => "total_fees",
            Self::CumulativeFees => "cumulative_total_fees",
            Self::CumulativeMint => "cumulative_mint",
            Self::CumulativeStake => "cumulative_stake",
            Self::CumulativeBurn => "cumulative_burn",
        })
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ChainId { stated, expected } => {
                write!(f, "wrong chain id {stated}, expected {expected}")
            }
            Self::Previous { stated, expected } => {
                write!(f, "wrong parent {stated}, expected {expected}")
            }
            Self::Height { stated, expected } => {
                write!(f, "wrong height {stated}, expected {expected}")
            }
            Self::Timestamp { stated, parent } => {
                write!(
                    f,
                    "timestamp {stated} is not later than the parent's timestamp {parent}"
                )
            }
            Self::Difficulty { stated, expected } => {
                write!(f, "wrong difficulty {stated}, expected {expected}")
            }
            Self::Work { needed } => {
                write!(
                    f,
                    "insufficient proof of work: the block id has fewer than {needed} leading \
                     zero bits"
                )
            }
            Self::Signature(error) => write!(f, "invalid block signature: {error}"),
            Self::Schedule(error) => write!(f, "leader election failed: {error}"),
            Self::Validator { stated, scheduled } => {
                write!(
                    f,
                    "wrong proposer {stated}: the slot belongs to {scheduled}"
                )
            }
            Self::TransactionList { problem } => {
                write!(f, "malformed transaction list: {problem}")
            }
            Self::Transaction { index, id, error } => {
                write!(f, "rejected transaction {index} ({id}): {error}")
            }
            Self::Transactions { stated, computed } => {
                write!(
                    f,
                    "transactions id mismatch: stated {stated}, computed {computed}"
                )
            }
            Self::Receipts { stated, computed } => write!(
                f,
                "receipts id mismatch: stated {stated}, computed {computed}"
            ),
            Self::Accounts { stated, computed } => write!(
                f,
                "accounts id mismatch: stated {stated}, computed {computed}"
            ),
            Self::Reward { claimed } => {
                write!(f, "excessive reward {claimed}, the maximum is {REWARD}")
            }
            Self::Total {
                total,
                stated,
                expected,
            } => write!(f, "wrong {total} {stated}, expected {expected}"),
            Self::Genesis { problem } => write!(f, "invalid genesis block: {problem}"),
        }
    }
}

impl core::error::Error for Invalid {}

/// Reason that a block could not be accepted.
///
/// ```
/// use astreum_core::atom::NoStore;
/// use astreum_core::chain::{VerifyError, verify_genesis};
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
/// // A store without the state is not a fault of the block.
/// match verify_genesis(&NoStore, &parent, &Natural::ZERO) {
///     Err(VerifyError::State(error)) => assert_eq!(error.missing(), Some(parent.accounts)),
///     verdict => panic!("{verdict:?}"),
/// }
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum VerifyError<E> {
    /// The block is permanently invalid.
    Invalid(Invalid),
    /// The timestamp is too far ahead of the clock. The block may become valid later.
    Future {
        /// Timestamp of the block.
        stated: Natural,
        /// Latest accepted timestamp.
        latest: Natural,
    },
    /// The state for the check could not be read, for example because an atom is missing.
    State(StateError<E>),
}

impl<E> VerifyError<E> {
    /// Returns the atom to fetch before a retry; `None` if no atom is missing.
    #[must_use]
    pub const fn missing(&self) -> Option<AtomId> {
        match self {
            Self::State(error) => error.missing(),
            _ => None,
        }
    }

    /// Returns the permanent reason that the block is invalid; `None` for other errors.
    ///
    /// ```
    /// use astreum_core::chain::{Invalid, verify_genesis};
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
    /// let error = verify_genesis(&store, &parent, &7_u64.into()).unwrap_err();
    /// assert!(matches!(error.invalid(), Some(Invalid::ChainId { .. })));
    /// assert_eq!(error.missing(), None);
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    #[must_use]
    pub const fn invalid(&self) -> Option<&Invalid> {
        match self {
            Self::Invalid(invalid) => Some(invalid),
            _ => None,
        }
    }
}

impl<E> From<Invalid> for VerifyError<E> {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(invalid)
    }
}

impl<E> From<StateError<E>> for VerifyError<E> {
    fn from(error: StateError<E>) -> Self {
        Self::State(error)
    }
}

impl<E> From<RecordError<E>> for VerifyError<E> {
    fn from(error: RecordError<E>) -> Self {
        Self::State(error.into())
    }
}

impl<E: fmt::Display> fmt::Display for VerifyError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(invalid) => invalid.fmt(f),
            Self::Future { stated, latest } => write!(
                f,
                "timestamp {stated} is in the future: the latest accepted is {latest}"
            ),
            Self::State(error) => error.fmt(f),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for VerifyError<E> {}
