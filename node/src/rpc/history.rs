//! Replies about the index of transactions.

use super::number::Number;
use super::schema::record;
use super::text::{self, Hex};
use astreum_core::atom::AtomId;
use astreum_core::chain::{Address, Status};
use astreum_core::integer::Natural;

/// Maximum number of transactions in one [`HistoryReply`].
pub const MAX_HISTORY_REPLY: u32 = 500;
/// Number of transactions in one [`HistoryReply`] if the request does not state it.
pub const DEFAULT_HISTORY_REPLY: u32 = 50;

record! {
    /// Page of the chain's transactions.
    pub struct HistoryReply {
        /// Lowest height from which on the index is complete; null if it has no block yet.
        pub from_height: Option<Number>,
        /// Height up to which the index is complete; null if it has no block yet.
        pub to_height: Option<Number>,
        /// Id of the block at that height.
        #[serde(with = "text")]
        pub to_block: Option<AtomId>,
        /// `true` if the node keeps no transactions below the lowest height.
        pub complete: bool,
        /// Transactions, the newest first.
        pub transactions: Vec<HistoryEntryReply>,
        /// Cursor to continue from, also if this page is not full; null at the end.
        pub next: Option<String>,
    }
}

record! {
    /// Transaction of the chain.
    pub struct HistoryEntryReply {
        /// Id of the transaction.
        #[serde(with = "text")]
        pub id: AtomId,
        /// Id of its block.
        #[serde(with = "text")]
        pub block: AtomId,
        /// Height of its block.
        pub height: Number,
        /// Index in the block, from 0.
        pub index: u64,
        /// Timestamp of its block, in seconds since 1970.
        pub timestamp: Number,
        /// Sender.
        #[serde(with = "text")]
        pub sender: Address,
        /// Recipient.
        #[serde(with = "text")]
        pub recipient: Address,
        /// Amount; null if the transaction is not stored here.
        #[serde(with = "text")]
        pub amount: Option<Natural>,
        /// `success` or `failed`.
        #[serde(with = "text")]
        pub status: Status,
        /// First bytes of its data, 32 at most.
        #[serde(with = "text")]
        pub data_prefix: Hex,
        /// Number of bytes of its data; null if the transaction is not stored here.
        pub data_bytes: Option<u64>,
    }
}

record! {
    /// State of the index of transactions.
    pub struct IndexReply {
        /// Lowest height from which on the index is complete; null if it has no block yet.
        pub from_height: Option<Number>,
        /// Height up to which the index is complete; null if it has no block yet.
        pub to_height: Option<Number>,
        /// `true` if the node keeps no transactions below the lowest height.
        pub complete: bool,
        /// Reason that the index does not go further down now.
        pub waits_for: Option<String>,
        /// Number of its files.
        pub files: u64,
        /// Bytes of its files.
        pub bytes: u64,
    }
}
