//! Status of a validator.

use super::foreign_blocks::{QUIET_OTHER, UNUSED_TURNS_OTHER};
use crate::atom::AtomId;
use crate::calendar::UtcTime;
use crate::consensus::{Conflict, SignedBlock};
use alloc::string::String;
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
                "another node validates with the same key: it made block {block} at {}; \
                 signing is stopped until the key has made no other block for up to {} s and up to \
                 {UNUSED_TURNS_OTHER} of its turns have passed unused; let only one node have the key",
                UtcTime(*timestamp),
                QUIET_OTHER.as_secs()
            ),
        }
    }
}

/// Reason why a validator waits.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Wait {
    /// There is no chain, and with seeds configured none is begun.
    NoChain,
    /// The head of an earlier run has not been loaded.
    LoadingHead,
    /// It computes the proposer schedule.
    Planning,
    /// It listens for another node with its key.
    Listening,
    /// It waits for a peer to name a head: what the key signed last was signed elsewhere.
    NoPeerHead,
    /// Peers have a longer chain.
    Behind,
    /// An atom of the head's state is missing and being fetched.
    MissingAtom(AtomId),
    /// The key has nothing at stake.
    NoStake,
    /// It has no slot soon.
    NoTurnSoon,
    /// It has signed on this head before, or for this time.
    Signed(Conflict),
    /// It signed a block on this head that is not here.
    LostBlock(SignedBlock),
    /// The storage has no room for a block.
    NoRoom,
    /// Something failed; it tries again.
    Trouble(String),
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoChain => f.write_str(
                "no chain yet: no seed has announced one, and a node with seeds begins none of \
                 its own; `astreum genesis` begins one",
            ),
            Self::LoadingHead => f.write_str("loading the head of the last run"),
            Self::Planning => f.write_str("computing the proposer schedule"),
            Self::Listening => f.write_str("listening for another node with the same key"),
            Self::NoPeerHead => f.write_str("waiting for the head of a peer"),
            Self::Behind => f.write_str("syncing to a longer chain"),
            Self::MissingAtom(id) => write!(f, "waiting for atom {id} of the head's state"),
            Self::NoStake => f.write_str(
                "the validation key has nothing at stake on this chain; send an amount to the \
                 treasury to stake it",
            ),
            Self::NoTurnSoon => f.write_str("no slot soon: its stake is small"),
            Self::Signed(conflict) => write!(f, "not signing on this head: {conflict}"),
            Self::LostBlock(mark) => write!(
                f,
                "block {} of height {} was signed here and is not stored; another block on its \
                 parent is not signed, other validators have to go on",
                mark.block, mark.height
            ),
            Self::NoRoom => f.write_str("waiting for room in the storage"),
            Self::Trouble(problem) => f.write_str(problem),
        }
    }
}

/// What a validator is doing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Activity {
    /// It signs nothing more.
    Halted(Halt),
    /// It waits for something other than its slot.
    Waiting(Wait),
    /// It waits for its slot, or for the time of the block that it has found.
    Scheduled {
        /// The block's time.
        timestamp: u64,
    },
    /// A worker assembles a block's body.
    Assembling {
        /// The block's height.
        height: u64,
    },
    /// It searches for a nonce.
    Mining {
        /// The block's height.
        height: u64,
        /// Nonces that were tried.
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
            Self::Scheduled { timestamp } => write!(f, "next slot {}", UtcTime(*timestamp)),
            Self::Assembling { height } => write!(f, "assembling block {height}"),
            Self::Mining { height, attempts } => {
                write!(f, "mining block {height}, {attempts} nonces tried")
            }
            Self::Storing { height } => write!(f, "storing block {height}"),
        }
    }
}

/// Reason why no block can be produced at present. It goes by itself once its cause is gone.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Problem {
    /// The storage has no room even for an empty block.
    NoRoom(String),
    /// The storage failed.
    StorageFailed(String),
    /// The worker that assembles blocks does not answer.
    AssemblyStalled,
    /// No peer has named a head, and the key's newest block was not signed on this node.
    NoPeerHead,
}

impl Problem {
    /// Returns a name for the kind of problem.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::NoRoom(_) => "no room",
            Self::StorageFailed(_) => "storage failed",
            Self::AssemblyStalled => "assembly stalled",
            Self::NoPeerHead => "no peer head",
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRoom(cause) => write!(
                f,
                "no block can be stored: {cause}; raise cold_storage_limit, or free space on the \
                 disk"
            ),
            Self::StorageFailed(cause) => write!(f, "no block can be stored: {cause}"),
            Self::AssemblyStalled => {
                f.write_str("no block can be made: the worker that assembles them does not answer")
            }
            Self::NoPeerHead => f.write_str(
                "nothing is signed: the last known block of the validation key was not signed on \
                 this node, and no peer has told what the key signed since then; connect it to a \
                 node that follows the chain, or, where none exists, start it once without seeds \
                 (default_seed and additional_seeds)",
            ),
        }
    }
}

/// What a validator was doing when its slot passed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MissedSlot {
    /// Assembling the body.
    Assembling,
    /// Searching for a nonce.
    Mining,
    /// It had found a block, and was not called in time.
    Publishing,
}

impl fmt::Display for MissedSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Assembling => "assembling",
            Self::Mining => "mining",
            Self::Publishing => "publishing",
        })
    }
}

/// Status of a validator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ValidatorStatus {
    /// Its public key.
    pub validator: [u8; 32],
    /// What it is doing.
    pub activity: Activity,
    /// Why no block can be produced at present.
    pub problem: Option<Problem>,
    /// Blocks that it made since it started.
    pub blocks_made: u64,
    /// Slots that it missed since it started.
    pub blocks_late: u64,
}

impl ValidatorStatus {
    /// Returns whether it produces no blocks although it should.
    #[must_use]
    pub const fn is_halted(&self) -> bool {
        self.problem.is_some() || matches!(self.activity, Activity::Halted(_))
    }
}
