//! Status of a validator.

use super::foreign_blocks::{QUIET_OTHER, UNUSED_SLOTS_OTHER};
use crate::atom::AtomId;
use crate::calendar::UtcTime;
use crate::consensus::{Conflict, SignedBlock};
use alloc::string::String;
use core::fmt;

/// Reason a validator has stopped signing.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Halt {
    /// Another node signs with its key, or did until a moment ago.
    DuplicateValidator {
        /// Newest block of the key that this node did not make.
        block: AtomId,
        /// Timestamp of the block, in seconds since 1970.
        timestamp: u64,
    },
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DuplicateValidator { block, timestamp } => write!(
                f,
                "duplicate validator: another node produced block {block} with this key at {}; \
                 signing is stopped until the key has produced no other block for up to {} s and \
                 up to {UNUSED_SLOTS_OTHER} of its slots have passed unused; use the key on one \
                 node only",
                UtcTime(*timestamp),
                QUIET_OTHER.as_secs()
            ),
        }
    }
}

/// Reason a validator waits.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Wait {
    /// There is no chain, and a node with seeds does not create one.
    NoChain,
    /// The head of an earlier run has not been loaded.
    LoadingHead,
    /// It computes the proposer schedule.
    Planning,
    /// It listens for a duplicate validator.
    Listening,
    /// It waits for a peer to announce a head: the key's newest block was signed elsewhere.
    NoPeerHead,
    /// It syncs to a longer chain.
    Behind,
    /// An atom of the head's state is missing and being fetched.
    MissingAtom(AtomId),
    /// The key does not have a stake.
    NoStake,
    /// Its next slot is far away or unknown.
    NoSlotSoon,
    /// It has signed a block on this head, or for this time or later.
    Signed(Conflict),
    /// It signed a block on this head that is not stored.
    LostBlock(SignedBlock),
    /// The operator avoids this block: the head, which is about to change, or the block that was
    /// signed on the head.
    Avoided(AtomId),
    /// The storage does not have room for a block.
    NoRoom,
    /// The signer is not connected, or has not replied to a request.
    Signer,
    /// Something failed; it tries again.
    Failed(String),
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoChain => f.write_str(
                "no chain yet: no seed has announced a head, and a node with seeds does not create \
                 a chain; `astreum genesis` creates one",
            ),
            Self::LoadingHead => f.write_str("loading the head of the last run"),
            Self::Planning => f.write_str("computing the proposer schedule"),
            Self::Listening => f.write_str("listening for another node with the same key"),
            Self::NoPeerHead => f.write_str("waiting for the head of a peer"),
            Self::Behind => f.write_str("syncing to a longer chain"),
            Self::MissingAtom(id) => write!(f, "waiting for atom {id} of the head's state"),
            Self::NoStake => f.write_str(
                "the validation key has no stake on this chain; send an amount to the \
                 treasury to stake it",
            ),
            Self::NoSlotSoon => f.write_str("no slot soon: the stake of the key is small"),
            Self::Signed(conflict) => write!(f, "not signing on this head: {conflict}"),
            Self::LostBlock(mark) => write!(
                f,
                "signed block {} at height {} is not stored; no other block on its parent is \
                 signed, so another validator has to continue",
                mark.block, mark.height
            ),
            Self::Avoided(block) => write!(f, "block {block} is avoided by the operator"),
            Self::NoRoom => f.write_str("waiting for free storage space"),
            Self::Signer => f.write_str("waiting for the signer"),
            Self::Failed(problem) => f.write_str(problem),
        }
    }
}

/// Activity of a validator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Activity {
    /// Signing has stopped.
    Halted(Halt),
    /// It waits for something other than its slot.
    Waiting(Wait),
    /// It waits for its slot, or for the time of the block that it has found.
    Scheduled {
        /// Timestamp of the block, in seconds since 1970.
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
        /// Number of nonces tried.
        attempts: u64,
    },
    /// The signer searches for a nonce and signs.
    Signing {
        /// The block's height.
        height: u64,
    },
    /// It waits for the storage of a block.
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
            Self::Signing { height } => write!(f, "waiting for the signature of block {height}"),
            Self::Storing { height } => write!(f, "storing block {height}"),
        }
    }
}

/// Reason no blocks can be produced at present. It ends without intervention once its cause is
/// gone.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Problem {
    /// The storage does not have room even for an empty block.
    NoRoom(String),
    /// The storage failed.
    StorageFailed(String),
    /// The worker that assembles blocks does not answer.
    AssemblyStalled,
    /// No peer has announced a head, and the key's newest block was not signed on this node.
    NoPeerHead,
    /// The signer cannot be reached, or does not have the key.
    SignerAway(String),
    /// The signer refuses to sign, or returned something else than the requested block.
    SignerRefused(String),
    /// The operator avoids this block, which was signed on the head: no other one is signed there.
    AvoidedBlock(AtomId),
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
            Self::SignerAway(_) => "signer away",
            Self::SignerRefused(_) => "signer refused",
            Self::AvoidedBlock(_) => "avoided block",
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
                f.write_str("no block can be produced: the assembly worker does not respond")
            }
            Self::NoPeerHead => f.write_str(
                "signing is stopped: the last known block of the validation key was not signed on \
                 this node, and no peer has reported what the key has signed since; connect to a \
                 node that follows the chain, or, if none exists, start this node once without \
                 seeds (default_seed and additional_seeds)",
            ),
            Self::SignerAway(cause) => write!(
                f,
                "no block can be signed: {cause}; the validator resumes by itself once the signer \
                 is connected"
            ),
            Self::SignerRefused(cause) => write!(f, "the signer did not sign a block: {cause}"),
            Self::AvoidedBlock(block) => write!(
                f,
                "signing is stopped: block {block}, which this key has signed on the head, is \
                 avoided, and no other block is signed there; another validator has to continue, \
                 or `astreum chain adopt {block}` revokes the decision"
            ),
        }
    }
}

/// Activity of a validator when its slot passed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MissedSlot {
    /// Assembling the body.
    Assembling,
    /// Searching for a nonce.
    Mining,
    /// Waiting for the signer.
    Signing,
    /// Waiting for the time of a found block; the producer was not called in time.
    Publishing,
}

impl fmt::Display for MissedSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Assembling => "assembling",
            Self::Mining => "mining",
            Self::Signing => "signing",
            Self::Publishing => "publishing",
        })
    }
}

/// Status of a validator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ValidatorStatus {
    /// Its public key.
    pub validator: [u8; 32],
    /// Current activity.
    pub activity: Activity,
    /// Reason no blocks can be produced at present.
    pub problem: Option<Problem>,
    /// Number of blocks made since the start.
    pub blocks_made: u64,
    /// Number of slots missed since the start.
    pub blocks_late: u64,
}

impl ValidatorStatus {
    /// Returns whether it does not produce blocks although it should.
    #[must_use]
    pub const fn is_halted(&self) -> bool {
        self.problem.is_some() || matches!(self.activity, Activity::Halted(_))
    }
}
