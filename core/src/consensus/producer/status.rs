//! What a validator says of itself.

use super::foreign_blocks::{QUIET_OTHER, UNUSED_TURNS_OTHER};
use crate::atom::AtomId;
use crate::consensus::{Conflict, SignedBlock};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// Why a validator signs nothing for now.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Halt {
    /// Another node signs with its key, or did until a moment ago.
    SecondValidator {
        /// The newest block that the key signed and this node did not make.
        block: AtomId,
        /// The block's time.
        timestamp: u64,
    },
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SecondValidator { block, timestamp } => write!(
                f,
                "another node validates with the same key: it made block {block} at {timestamp}; \
                 signing is stopped until the key has made no other block for up to {} s and up to \
                 {UNUSED_TURNS_OTHER} of its turns have passed unused; let only one node have the key",
                QUIET_OTHER.as_secs()
            ),
        }
    }
}

/// What keeps a validator from its turn for now.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Wait {
    /// There is no chain, and with seeds configured none is begun.
    NoChain,
    /// The head of an earlier run has not been loaded.
    LoadingHead,
    /// It is about to find out when its turn comes.
    Planning,
    /// It listens for another node with its key.
    Listening,
    /// Peers have a longer chain.
    Behind,
    /// An atom of the head's state is missing and being fetched.
    MissingAtom(AtomId),
    /// The key has nothing at stake.
    NoStake,
    /// Its turn does not come soon.
    NoTurnSoon,
    /// It has signed on this head before, or for this time.
    Signed(Conflict),
    /// It signed a block on this head that is not here.
    LostBlock(SignedBlock),
    /// Something went wrong; it tries again.
    Trouble(String),
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoChain => f.write_str(
                "no chain yet: none of the seeds has named one, and a node with seeds begins none \
                 of its own; `astreum genesis` begins one",
            ),
            Self::LoadingHead => f.write_str("loading the head of the last run"),
            Self::Planning => f.write_str("finding out when its turn comes"),
            Self::Listening => f.write_str("listening for another node with the same key"),
            Self::Behind => f.write_str("following a longer chain"),
            Self::MissingAtom(id) => write!(f, "waiting for atom {id} of the head's state"),
            Self::NoStake => f.write_str(
                "the validation key has nothing at stake on this chain; send an amount to the \
                 treasury to stake it",
            ),
            Self::NoTurnSoon => f.write_str("its turn does not come soon: its stake is small"),
            Self::Signed(conflict) => write!(f, "signs nothing here: {conflict}"),
            Self::LostBlock(mark) => write!(
                f,
                "block {} of height {} was signed here and is not stored; another block on its \
                 parent is not signed, other validators have to go on",
                mark.block, mark.height
            ),
            Self::Trouble(problem) => f.write_str(problem),
        }
    }
}

/// What a validator is doing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Activity {
    /// It signs nothing more.
    Halted(Halt),
    /// It waits for something other than its turn.
    Waiting(Wait),
    /// It waits for its turn, or for the time of the block that it has found.
    Scheduled {
        /// The block's time.
        timestamp: u64,
    },
    /// It searches for a nonce.
    Mining {
        /// The block's height.
        height: u64,
        /// How many were tried.
        attempts: u64,
    },
    /// It stores a block.
    Storing {
        /// The block's height.
        height: u64,
    },
}

impl fmt::Display for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Halted(halt) => halt.fmt(f),
            Self::Waiting(wait) => wait.fmt(f),
            Self::Scheduled { timestamp } => write!(f, "next block at {timestamp}"),
            Self::Mining { height, attempts } => {
                write!(f, "mining block {height}, {attempts} nonces tried")
            }
            Self::Storing { height } => write!(f, "storing block {height}"),
        }
    }
}

/// How a validator is doing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ValidatorStatus {
    /// Its public key.
    pub validator: [u8; 32],
    /// What it is doing.
    pub activity: Activity,
    /// Blocks that it made since it started.
    pub blocks_made: u64,
    /// Blocks that were not ready in time since it started.
    pub blocks_late: u64,
    /// Transactions that wait.
    pub pool_transactions: usize,
    /// Their ids, in the order in which they came.
    pub waiting: Vec<AtomId>,
    /// Their bytes.
    pub pool_bytes: usize,
    /// Transactions that were refused since it started.
    pub refused: u64,
    /// The latest of those, newest last, and why.
    pub refusals: Vec<(AtomId, String)>,
}

impl ValidatorStatus {
    /// How many transactions are taken before this one, `None` when it does not wait.
    #[must_use]
    pub fn before(&self, id: &AtomId) -> Option<usize> {
        self.waiting.iter().position(|waiting| waiting == id)
    }
}
