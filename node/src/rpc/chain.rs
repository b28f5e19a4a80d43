//! Replies of the control socket about the chain.
//!
//! Amounts and counters are decimal text, so that no reader rounds them; heights, times, chain ids
//! and difficulties are numbers (see [`number`](mod@super::number)).

use serde::{Deserialize, Serialize};

/// Maximum number of blocks in one reply; the next request starts at the last one's `previous`.
pub const MAX_BLOCKS_REPLY: u32 = 1_000;
/// Maximum number of transactions in one [`BlockReply`].
pub const MAX_TRANSACTIONS_REPLY: u32 = 5_000;
/// Maximum number of slots of a schedule in one reply.
pub const MAX_SLOTS_REPLY: u32 = 10_000;
/// Maximum wait for a transaction in one request, in seconds.
pub const MAX_WAIT_SECONDS: u64 = 30;

/// Block that a reply is as of.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HeadReply {
    /// Id of the block in hex.
    pub id: String,
    /// Height of the block.
    #[serde(with = "super::number")]
    pub height: String,
    /// Timestamp in seconds since 1970.
    #[serde(with = "super::number")]
    pub timestamp: String,
    /// Reason it is the head: `own`, `verified` or `trusted`.
    pub state: String,
}

/// Block.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BlockReply {
    /// Id of the block in hex.
    pub id: String,
    /// Chain id.
    #[serde(with = "super::number")]
    pub chain_id: String,
    /// Height of the block.
    #[serde(with = "super::number")]
    pub height: String,
    /// Id of the previous block in hex; 64 zeros for a genesis.
    pub previous: String,
    /// Timestamp in seconds since 1970.
    #[serde(with = "super::number")]
    pub timestamp: String,
    /// Number of leading zero bits that the next block's id needs.
    #[serde(with = "super::number")]
    pub difficulty: String,
    /// Key of its producer in hex.
    pub validator: String,
    /// Nonce of the proof of work.
    pub nonce: String,
    /// Cumulative stake.
    pub cumulative_stake: String,
    /// Cumulative burn.
    pub cumulative_burn: String,
    /// Cumulative mint.
    pub cumulative_mint: String,
    /// Cumulative fees.
    pub cumulative_total_fees: String,
    /// Fees of this block.
    pub total_fees: String,
    /// Root of the accounts trie in hex.
    pub accounts: String,
    /// First atom of the list of transactions in hex.
    pub transactions: String,
    /// First atom of the list of receipts in hex.
    pub receipts: String,
    /// Signature in hex; empty for a genesis.
    pub signature: String,
    /// `true` if the signature is valid; null for a genesis, which has none.
    pub signature_holds: Option<bool>,
    /// Number of transactions; null if their list was not found.
    pub transaction_count: Option<u64>,
    /// Transactions that the request asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub included: Vec<IncludedReply>,
}

/// Transaction in a block.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct IncludedReply {
    /// Index in the block, from 0.
    pub index: u64,
    /// Id of the transaction in hex.
    pub id: String,
    /// Id of its receipt in hex.
    pub receipt: String,
    /// `success` or `failed`.
    pub status: String,
    /// Fee.
    pub cost: String,
}

/// Account as of a block.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AccountReply {
    /// Key of the account in hex.
    pub account: String,
    /// Block that the reply is as of.
    pub head: HeadReply,
    /// Id of the account record in hex.
    pub id: String,
    /// Balance.
    pub balance: String,
    /// Counter of its transactions.
    pub counter: String,
    /// Stake.
    pub stake: String,
    /// Id of its code in hex; 64 zeros if it has none.
    pub code: String,
    /// Root of its data in hex.
    pub data: String,
    /// Root of its channels in hex.
    pub channels: String,
}

/// Validators and proposer schedule.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ValidatorsReply {
    /// Block that the reply is as of.
    pub head: HeadReply,
    /// Sum of all stakes.
    pub total: String,
    /// All validators, in descending order of stake.
    pub validators: Vec<ValidatorReply>,
    /// Producer of each next slot, valid until a new block is produced.
    pub slots: Vec<SlotReply>,
}

/// Validator.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ValidatorReply {
    /// Key of the validator in hex.
    pub key: String,
    /// Stake.
    pub stake: String,
    /// Share of all stakes, in millionths.
    pub share_ppm: u64,
    /// `true` if it is this node's own.
    pub own: bool,
}

/// Slot: two seconds in which one validator may produce the next block.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SlotReply {
    /// First second of the slot, since 1970.
    pub from: String,
    /// Last second of the slot, since 1970.
    pub to: String,
    /// Key of the producer in hex.
    pub validator: String,
}

/// Accepted transaction.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SendReply {
    /// Id of the transaction in hex.
    pub id: String,
    /// `true` if this node validates and keeps it for a block of its own.
    pub own_pool: bool,
    /// Number of validators it was announced to.
    pub validators: u64,
    /// `true` if the stored transaction survives a restart of the node.
    pub durable: bool,
    /// Maximum costs, without the amount.
    pub costs: CostsReply,
    /// Remaining risks, one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// Costs of a transaction without its amount, as of a block.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CostsReply {
    /// Fee.
    pub fee: String,
    /// Maximum cost of storing the transaction and its receipt.
    pub storage: String,
    /// Balance of the sender.
    pub balance: String,
}

/// Contents of a transaction.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TransactionReply {
    /// Id of the transaction in hex.
    pub id: String,
    /// Chain id.
    #[serde(with = "super::number")]
    pub chain_id: String,
    /// Key of the sender in hex.
    pub sender: String,
    /// Key of the recipient in hex.
    pub recipient: String,
    /// Amount.
    pub amount: String,
    /// Counter that distinguishes it from otherwise equal transactions.
    pub counter: String,
    /// Data in hex.
    pub data: String,
    /// Signature in hex.
    pub signature: String,
    /// `true` if the signature is valid.
    pub signature_holds: bool,
}

/// State of a transaction.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TransactionStatusReply {
    /// Id of the transaction in hex.
    pub id: String,
    /// `success` or `failed` in a block; in this node's mempool `pending` (ready for inclusion),
    /// `waiting` (for data) or `fetching`; `announced` to validators, or `unheld` (no validator is
    /// known to announce it to); `refused`, `expired`, or `abandoned` (in a block that a
    /// reorganization removed); `stored` (known here, but in no block and not in the mempool), or
    /// `unknown`.
    pub state: String,
    /// Reason it was rejected, or did not return to the mempool after a reorganization.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Id of the list or atom that it waits for, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// Number of validators that received the last announcement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validators: Option<u64>,
    /// Id of the abandoned block that it was in, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abandoned_block: Option<String>,
    /// Height of the abandoned block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abandoned_height: Option<u64>,
    /// Position in this node's mempool, 1 being the next to be included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool_place: Option<u64>,
    /// Number of ready transactions in this node's mempool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool_transactions: Option<u64>,
    /// Id of its block, if it is in one.
    pub block: Option<String>,
    /// Height of its block.
    #[serde(default, with = "super::number::optional")]
    pub height: Option<String>,
    /// `included`, `safe` (no branch of less than half of the stake can undo the block) or
    /// `settled` (undoing it takes a third of the stake to produce on both branches), if it is in a
    /// block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmation: Option<String>,
    /// Stake that could undo the block, if it is only included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo_stake: Option<String>,
    /// Index in its block, from 0.
    pub index: Option<u64>,
    /// Id of its receipt in hex.
    pub receipt: Option<String>,
    /// Fee.
    pub cost: Option<String>,
    /// Head at the time of the query.
    pub head: Option<HeadReply>,
}

impl TransactionStatusReply {
    /// Returns whether the state is final, unless the chain is reorganized.
    #[must_use]
    pub fn is_final(&self) -> bool {
        self.block.is_some() || self.reason.is_some() || self.state == "expired"
    }

    /// Returns whether its block is safe or settled.
    #[must_use]
    pub fn is_safe(&self) -> bool {
        matches!(self.confirmation.as_deref(), Some("safe" | "settled"))
    }
}
