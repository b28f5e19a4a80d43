//! Verification of a block: its header against its parent, its body against the parent's state.
//!
//! Checks run from cheap to expensive, and what a forger can make cheaply is refused before anything
//! that costs time: a timestamp from the future before validators are drawn for it, the validator's
//! turn and signature before transactions are applied.
//!
//! A block is [`Invalid`] for good: every node judges it the same, whatever it holds. What depends on
//! what a node holds, or on its clock, is apart: [`VerifyError::State`] and [`VerifyError::Future`].

mod body;
mod error;
mod header;

pub use body::{
    BlockBytes, Repeated, check_signatures, check_signatures_with, check_signed, read_ids,
    read_transaction, read_transactions, repeat_body, verify_body,
};
pub use error::{Invalid, Total, VerifyError};
pub use header::{TurnCheck, verify_genesis, verify_header, verify_link, verify_turn};
