//! What is wrong with a block.

use crate::atom::AtomId;
use crate::chain::execution::REWARD;
use crate::chain::journal::StateError;
use crate::chain::leader_election::ElectionError;
use crate::chain::transition::Rejection;
use crate::chain::{Address, RecordError};
use crate::crypto::SignatureError;
use crate::integer::Natural;
use alloc::boxed::Box;
use core::fmt;

/// What is wrong with a block, for good.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Invalid {
    /// It belongs to another chain.
    ChainId {
        /// The chain that it states.
        stated: Natural,
        /// The chain of the node.
        expected: Natural,
    },
    /// It follows another block than the one that it is checked against.
    Previous {
        /// The block that it states.
        stated: AtomId,
        /// The block that it is checked against.
        expected: AtomId,
    },
    /// Its height is not one more than its parent's, or not 0 without one.
    Height {
        /// The height that it states.
        stated: Natural,
        /// The height that it should have.
        expected: Natural,
    },
    /// It is not later than its parent.
    Timestamp {
        /// The time that it states.
        stated: Natural,
        /// The time of its parent.
        parent: Natural,
    },
    /// Its difficulty does not follow from its parent's and the time between them.
    Difficulty {
        /// The difficulty that it states.
        stated: Natural,
        /// The difficulty that it should have.
        expected: Natural,
    },
    /// Its id does not have the leading zero bits that its parent asks for.
    Work {
        /// The bits that it should have.
        needed: Natural,
    },
    /// Its validator did not sign it.
    Signature(SignatureError),
    /// Nobody can make a block at its time.
    Schedule(ElectionError),
    /// It is somebody else's turn at its time.
    Validator {
        /// Who made it.
        stated: Address,
        /// Whose turn it was.
        scheduled: Address,
    },
    /// The list of its transactions is none, or longer than a block may have.
    TransactionList {
        /// What is wrong with it.
        problem: &'static str,
    },
    /// One of its transactions cannot be read: it is no transaction, or not in its only form.
    MalformedTransaction {
        /// Where it stands.
        index: usize,
        /// The record.
        id: AtomId,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The sender of one of its transactions did not sign it.
    TransactionSignature {
        /// Where it stands.
        index: usize,
        /// Its id.
        id: AtomId,
    },
    /// One of its transactions cannot be part of it.
    Rejected {
        /// Where it stands.
        index: usize,
        /// Its id.
        id: AtomId,
        /// Why not.
        rejection: Box<Rejection>,
    },
    /// Its transactions are not those that it was checked with.
    Transactions {
        /// The list that it states.
        stated: AtomId,
        /// The list of those.
        computed: AtomId,
    },
    /// Its receipts are not what its transactions give.
    Receipts {
        /// The list that it states.
        stated: AtomId,
        /// The list that they give.
        computed: AtomId,
    },
    /// The accounts after it are not what its transactions leave, with the reward or without.
    Accounts {
        /// The root that it states.
        stated: AtomId,
        /// The root that they leave, without the reward.
        computed: AtomId,
    },
    /// Its accounts are right but for what its validator credited itself with.
    Reward {
        /// What that was.
        claimed: Natural,
    },
    /// One of its totals is wrong.
    Total {
        /// Which.
        total: Total,
        /// What it states.
        stated: Natural,
        /// What it should be.
        expected: Natural,
    },
    /// It is a first block with something that a first block does not have.
    Genesis {
        /// What.
        problem: &'static str,
    },
}

/// One of the sums that a header carries.
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
                write!(
                    f,
                    "the block belongs to chain {stated}, this is chain {expected}"
                )
            }
            Self::Previous { stated, expected } => {
                write!(f, "the block follows {stated}, not {expected}")
            }
            Self::Height { stated, expected } => {
                write!(f, "the block's height is {stated}, it should be {expected}")
            }
            Self::Timestamp { stated, parent } => {
                write!(
                    f,
                    "the block's time {stated} is not later than its parent's {parent}"
                )
            }
            Self::Difficulty { stated, expected } => {
                write!(
                    f,
                    "the block's difficulty is {stated}, it should be {expected}"
                )
            }
            Self::Work { needed } => {
                write!(f, "the block's id does not have {needed} leading zero bits")
            }
            Self::Signature(error) => write!(f, "the block's signature: {error}"),
            Self::Schedule(error) => write!(f, "the block's validator: {error}"),
            Self::Validator { stated, scheduled } => {
                write!(f, "{stated} made the block in the slot of {scheduled}")
            }
            Self::TransactionList { problem } => {
                write!(f, "the list of the block's transactions: {problem}")
            }
            Self::MalformedTransaction { index, id, problem } => {
                write!(f, "transaction {index} of the block, {id}: {problem}")
            }
            Self::TransactionSignature { index, id } => write!(
                f,
                "transaction {index} of the block, {id}: the sender did not sign it"
            ),
            Self::Rejected {
                index,
                id,
                rejection,
            } => write!(f, "transaction {index} of the block, {id}: {rejection}"),
            Self::Transactions { stated, computed } => {
                write!(f, "the block's transactions are {stated}, not {computed}")
            }
            Self::Receipts { stated, computed } => write!(
                f,
                "the block's receipts are {stated}, its transactions give {computed}"
            ),
            Self::Accounts { stated, computed } => write!(
                f,
                "the block's accounts are {stated}, its transactions leave {computed}"
            ),
            Self::Reward { claimed } => write!(
                f,
                "the block's validator credits itself with {claimed}, {REWARD} is allowed"
            ),
            Self::Total {
                total,
                stated,
                expected,
            } => write!(
                f,
                "the block's {total} is {stated}, it should be {expected}"
            ),
            Self::Genesis { problem } => write!(f, "the first block: {problem}"),
        }
    }
}

impl core::error::Error for Invalid {}

/// Why a block could not be accepted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum VerifyError<E> {
    /// It is wrong, and will be.
    Invalid(Invalid),
    /// It is too far ahead of the clock. It may be right later.
    Future {
        /// The time that it states.
        stated: Natural,
        /// The latest time that is accepted now.
        latest: Natural,
    },
    /// What it is checked against could not be read, because an atom is missing or otherwise.
    State(StateError<E>),
}

impl<E> VerifyError<E> {
    /// The atom to fetch before the check is tried again, if that is what it waits for.
    #[must_use]
    pub const fn missing(&self) -> Option<AtomId> {
        match self {
            Self::State(error) => error.missing(),
            _ => None,
        }
    }

    /// What is wrong with the block for good, if something is.
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
                "the block is from the future: its time is {stated}, the latest accepted is {latest}"
            ),
            Self::State(error) => error.fmt(f),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for VerifyError<E> {}
