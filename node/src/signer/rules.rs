//! Reasons to refuse a block.
//!
//! The record has the last 32 blocks. A block on a parent that has left it is refused by its height,
//! which follows from that of the parent: with any other height it is not valid.

use astreum_core::chain::{Address, Block};
use astreum_core::consensus::{Conflict, SignedBlock, SigningRecord};
use astreum_core::integer::Natural;
use core::fmt;
use core::time::Duration;

/// Maximum number of seconds by which a block's time may be ahead of this machine's clock. A block
/// that is far in the future would keep the key silent until then.
pub const MAX_FUTURE_SECONDS: u64 = 60;

/// Reason a block is not signed.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Refusal {
    /// It belongs to another chain.
    OtherChain {
        /// Chain id of the block.
        found: Natural,
        /// Chain id of this signer.
        expected: u64,
    },
    /// It names another validator.
    OtherValidator(Address),
    /// It is a genesis, is signed already, or has numbers that no block has.
    Malformed(&'static str),
    /// It is too far in the future.
    Future {
        /// Timestamp of the block, in seconds since 1970.
        timestamp: u64,
        /// Clock of this machine, in seconds since 1970.
        now: u64,
    },
    /// A block on the same parent, or one that is not earlier, is signed.
    Conflict(Conflict),
    /// A block of the same or a greater height is signed.
    NotHigher {
        /// Height of the refused block.
        height: u64,
        /// Signed block.
        signed: SignedBlock,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherChain { found, expected } => {
                write!(f, "the block has chain_id {found}, this signer {expected}")
            }
            Self::OtherValidator(address) => {
                write!(f, "the block names another validator: {address}")
            }
            Self::Malformed(what) => f.write_str(what),
            Self::Future { timestamp, now } => write!(
                f,
                "the block's time {timestamp} is more than {MAX_FUTURE_SECONDS} s after the \
                 signer's clock {now}"
            ),
            Self::Conflict(conflict) => conflict.fmt(f),
            Self::NotHigher { height, signed } => write!(
                f,
                "the block has height {height}, and block {} at height {} is already signed; this \
                 key signs only greater heights: wait until the node's chain is higher, and check \
                 with `astreum status` that it follows the chain of that block",
                signed.block, signed.height
            ),
        }
    }
}

/// Checks that a block may be signed, and returns its entry in the record without its id.
///
/// # Errors
/// See [`Refusal`].
pub fn check(
    block: &Block,
    previous_difficulty: &Natural,
    validator: &Address,
    chain_id: u64,
    record: &SigningRecord,
    now: Duration,
) -> Result<(), Refusal> {
    if block.chain_id != chain_id {
        return Err(Refusal::OtherChain {
            found: block.chain_id.clone(),
            expected: chain_id,
        });
    }
    if block.validator != *validator {
        return Err(Refusal::OtherValidator(block.validator));
    }
    if block.signature().is_some() {
        return Err(Refusal::Malformed("the block has a signature"));
    }
    if block.is_genesis() || block.height.is_zero() {
        return Err(Refusal::Malformed("the block has no parent"));
    }
    let (Some(height), Some(timestamp)) = (block.height.to_u64(), block.timestamp.to_u64()) else {
        return Err(Refusal::Malformed("height or timestamp exceed 64 bits"));
    };
    // The difficulty changes by at most one from block to block.
    let base = previous_difficulty.clone().max(Natural::ONE);
    let is_near = block.difficulty <= &base + &Natural::ONE
        && base <= &block.difficulty + &Natural::ONE
        && !block.difficulty.is_zero();
    if !is_near {
        return Err(Refusal::Malformed(
            "the difficulty does not follow from that of the parent",
        ));
    }
    let now = now.as_secs();
    if timestamp > now.saturating_add(MAX_FUTURE_SECONDS) {
        return Err(Refusal::Future { timestamp, now });
    }
    let conflict = record.allows(&block.previous, timestamp);
    conflict.map_err(Refusal::Conflict)?;
    let not_lower = record.blocks().iter().find(|mark| mark.height >= height);
    match not_lower {
        Some(signed) => Err(Refusal::NotHigher {
            height,
            signed: *signed,
        }),
        None => Ok(()),
    }
}
