//! Index of the chain's transactions by sender, recipient, height and data.
//!
//! The index is made from the chain, and can be deleted at any time. It is on if
//! `transaction_index` is set.
//!
//! | module | contents |
//! | --- | --- |
//! | `record` | transaction and block as the index has them |
//! | `pages` | pages with checksums |
//! | `segment` | files, each with the transactions of consecutive blocks |
//! | `coverage` | blocks that the index has |
//! | `history` | queries |
//! | `builder` | follows the chain, writes and merges files |
//! | `thread` | thread of the builder |
//!
//! The newest blocks are in memory, up to 64 of them. Older ones are in files of 64 blocks, which
//! are merged eightfold, up to 262,144 blocks. So a reorganization changes what is in memory and at
//! most a few small files, pruning removes files, and damage costs the blocks of one file.
//!
//! Invariants:
//! - No progress is recorded: the builder follows the chain from the head down, and reads the blocks
//!   that are not in a file. A file is complete, or it does not exist.
//! - A query sees consecutive blocks of one branch, and its result states their heights.
//! - A page of a file that is damaged is never used: the query fails, and the file is replaced.
//! - The thread works in slices of a few milliseconds with pauses of the same length, and leaves the
//!   hot store as it is. No other thread waits for it.
//! - Memory is bounded by 1,024 blocks with 32,768 transactions, and those of one block more.

mod builder;
mod coverage;
mod history;
mod pages;
mod record;
mod segment;
mod thread;

pub use history::{
    Cursor, HistoryEntry, HistoryError, HistoryPage, HistoryQuery, MAX_SCANNED, ParseCursorError,
};
pub use record::{DataPrefix, IndexedTransaction, MAX_PREFIX_BYTES};
pub use thread::{IndexParts, IndexStatus, IndexView, TransactionIndex};

/// Name of the index's directory below the chain directory.
pub const DIRECTORY: &str = "transaction_index";

#[cfg(test)]
mod tests;
