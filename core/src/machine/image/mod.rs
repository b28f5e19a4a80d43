//! Suspended evaluations as bytes, to go on with them elsewhere or later.
//!
//! An image holds what an evaluation needs and nothing that depends on the machine that made it:
//! expressions (shared ones once), the environment with its parents, the account, and positions as
//! a list and the index of an operation in its code, which every machine compiles alike. Numbers
//! are LEB128; an expression is the index of a node in a table in which items come before the
//! lists that hold them.
//!
//! Reading takes any bytes: what is read is checked as far as going on with it needs, so that no
//! bytes make a machine panic or take more than its limits and a multiple of their own length.
//! Charge, steps and values are as trustworthy as where the bytes come from.

mod read;
mod write;

pub(super) use read::restore;

use core::fmt;

/// What an image starts with: its name and the version of its form.
const MAGIC: [u8; 5] = *b"asti\x01";

/// Tags of nodes.
mod tag {
    pub(super) const SYMBOL: u64 = 0;
    pub(super) const BYTES: u64 = 1;
    pub(super) const LIST: u64 = 2;
}

/// Reason why bytes are not an evaluation that a machine can go on with, see
/// [`Machine::restore`](super::Machine::restore).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum RestoreError {
    /// The bytes are not an image, of another version, or damaged.
    Malformed,
    /// The evaluation has limits over those of the machine.
    Limits,
    /// The machine has not the same host functions as the one that suspended the evaluation.
    HostFunctions,
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "malformed image of an evaluation",
            Self::Limits => "the evaluation has higher limits than the machine",
            Self::HostFunctions => "the evaluation was suspended with other host functions",
        })
    }
}

impl core::error::Error for RestoreError {}
