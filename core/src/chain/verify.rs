//! Block verification: the header against its parent, the body against the parent's state.
//!
//! Checks run cheapest first, and blocks that are cheap to forge are rejected before any expensive
//! check: a timestamp in the future before leader election, the producer's slot and signature
//! before transactions are executed.
//!
//! [`Invalid`] is a permanent verdict: all nodes reach the same one, regardless of their data.
//! Verdicts that depend on a node's data or clock are separate: [`VerifyError::State`] and
//! [`VerifyError::Future`].

mod body;
mod error;
mod header;

pub use body::{
    BlockBytes, ExecutedBody, check_signatures, check_signatures_with, check_signed, read_ids,
    read_transaction, read_transactions, reexecute_body, verify_body,
};
pub use error::{Invalid, Total, VerifyError};
pub use header::{ProposerCheck, verify_genesis, verify_header, verify_link, verify_proposer};
