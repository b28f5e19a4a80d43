//! Binary images of suspended evaluations, to resume them elsewhere or later.
//!
//! An image contains the state of an evaluation and nothing that depends on the machine that wrote
//! it: expressions (shared ones once), the environment with its parents, the account, and
//! positions, each as a list and the index of an operation in its code, which every machine
//! compiles identically. What the evaluation has compiled and looked up is part of its state, because
//! it counts steps for both once. Numbers are LEB128. An expression is the index of a node in a table in
//! which items come before the lists that contain them.
//!
//! Reading accepts arbitrary bytes: they are checked as far as resuming needs, so that no input
//! makes a machine panic or take more than its limits and a multiple of the input's length. Charge,
//! steps and values are only as trustworthy as the source of the bytes.

mod read;
mod write;

pub(super) use read::restore;

use core::fmt;

/// Prefix of an image: its name and the version of the format.
const MAGIC: [u8; 5] = *b"asti\x02";

/// Tags of nodes.
mod tag {
    pub(super) const SYMBOL: u64 = 0;
    pub(super) const BYTES: u64 = 1;
    pub(super) const LIST: u64 = 2;
}

/// Reason bytes are not an evaluation that a machine can resume, see
/// [`Machine::restore`](super::Machine::restore).
///
/// ```
/// use astreum_core::{atom::NoStore, machine::{Machine, RestoreError}};
/// let error = Machine::new(NoStore).restore(b"not an image").err();
/// assert_eq!(error, Some(RestoreError::Malformed));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum RestoreError {
    /// The bytes are not an image, have another version, or are damaged.
    Malformed,
    /// The evaluation has higher limits than the machine.
    Limits,
    /// The machine does not have the same host functions as the one that suspended the evaluation.
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
