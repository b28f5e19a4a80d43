//! What is said over the control socket about the chain.
//!
//! Amounts and counters are decimal text, so that no reader rounds them; heights, times, chain ids and
//! difficulties are numbers (see [`super::number`]).

use serde::{Deserialize, Serialize};

/// The most blocks in one reply; more are asked for from the last one's `previous`.
pub const MAX_BLOCKS_REPLY: u32 = 1_000;
/// The most transactions that one [`BlockReply`] lists.
pub const MAX_TRANSACTIONS_REPLY: u32 = 5_000;
/// The most slots of a schedule in one reply.
pub const MAX_SLOTS_REPLY: u32 = 10_000;
/// The longest wait for a transaction in one request, in seconds.
pub const MAX_WAIT_SECONDS: u64 = 30;

/// The block that an answer is about.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HeadReply {
    /// Its id, in hex.
    pub id: String,
    /// Its height.
    #[serde(with = "super::number")]
    pub height: String,
    /// Its time, in seconds since 1970.
    #[serde(with = "super::number")]
    pub timestamp: String,
    /// Why it is taken for the head: `own`, `verified` or `trusted`.
    pub state: String,
}

/// A block.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BlockReply {
    /// Its id, in hex.
    pub id: String,
    /// Identifier of its chain.
    #[serde(with = "super::number")]
    pub chain_id: String,
    /// Its height.
    #[serde(with = "super::number")]
    pub height: String,
    /// The id of the block before it, in hex; 64 zeros where there is none.
    pub previous: String,
    /// Its time, in seconds since 1970.
    #[serde(with = "super::number")]
    pub timestamp: String,
    /// Zero bits that its successor's id needs.
    #[serde(with = "super::number")]
    pub difficulty: String,
    /// Who made it, in hex.
    pub validator: String,
    /// The nonce.
    pub nonce: String,
    /// All that is staked.
    pub cumulative_stake: String,
    /// All that is burnt.
    pub cumulative_burn: String,
    /// All that was minted.
    pub cumulative_mint: String,
    /// All fees so far.
    pub cumulative_total_fees: String,
    /// The fees of this block.
    pub total_fees: String,
    /// Root of the accounts, in hex.
    pub accounts: String,
    /// Head of the list of transactions, in hex.
    pub transactions: String,
    /// Head of the list of receipts, in hex.
    pub receipts: String,
    /// The signature, in hex; empty for a genesis.
    pub signature: String,
    /// Whether the signature holds; null for a genesis, which has none.
    pub signature_holds: Option<bool>,
    /// How many transactions it carries; null where its list is nowhere.
    pub transaction_count: Option<u64>,
    /// Some of them, as asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub included: Vec<IncludedReply>,
}

/// A transaction in a block.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct IncludedReply {
    /// Its place in the block, from 0.
    pub index: u64,
    /// Its id, in hex.
    pub id: String,
    /// Its receipt's id, in hex.
    pub receipt: String,
    /// `success` or `failed`.
    pub status: String,
    /// The fee.
    pub cost: String,
}

/// An account as of a block.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AccountReply {
    /// Its key, in hex.
    pub account: String,
    /// The block.
    pub head: HeadReply,
    /// The account's record, in hex.
    pub id: String,
    /// What it has.
    pub balance: String,
    /// Its counter.
    pub counter: String,
    /// What it staked.
    pub stake: String,
    /// Its code, in hex; 64 zeros where there is none.
    pub code: String,
    /// Root of its data, in hex.
    pub data: String,
    /// Root of its channels, in hex.
    pub channels: String,
}

/// Who validates.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ValidatorsReply {
    /// The block that this follows from.
    pub head: HeadReply,
    /// All stakes together.
    pub total: String,
    /// Every validator, the largest stake first.
    pub validators: Vec<ValidatorReply>,
    /// Who makes the next block, slot by slot, as long as nobody makes one before.
    pub slots: Vec<SlotReply>,
}

/// A validator.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ValidatorReply {
    /// Its key, in hex.
    pub key: String,
    /// What it staked.
    pub stake: String,
    /// Its part of all stakes, in millionths.
    pub share_ppm: u64,
    /// Whether it is this node's own.
    pub own: bool,
}

/// A slot.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SlotReply {
    /// The first second that is in it, since 1970.
    pub from: String,
    /// The last.
    pub to: String,
    /// Whose it is, in hex.
    pub validator: String,
}

/// A transaction that was taken.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SendReply {
    /// Its id, in hex.
    pub id: String,
    /// Whether this node validates and keeps it for a block of its own.
    pub own_pool: bool,
    /// How many validators it was announced to.
    pub validators: u64,
    /// Whether the node stored it so that it survives a restart.
    pub durable: bool,
    /// What it costs at most, beside the amount.
    pub costs: CostsReply,
    /// What may go wrong all the same, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// What a transaction costs beside its amount, as of a block.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CostsReply {
    /// The fee.
    pub fee: String,
    /// For storing it and its receipt, at most.
    pub storage: String,
    /// What the sender has.
    pub balance: String,
}

/// What a transaction says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TransactionReply {
    /// Its id, in hex.
    pub id: String,
    /// Identifier of its chain.
    #[serde(with = "super::number")]
    pub chain_id: String,
    /// Who pays, in hex.
    pub sender: String,
    /// Who gets it, in hex.
    pub recipient: String,
    /// How much.
    pub amount: String,
    /// What tells it from otherwise equal ones.
    pub counter: String,
    /// Its data, in hex.
    pub data: String,
    /// The signature, in hex.
    pub signature: String,
    /// Whether the signature holds.
    pub signature_holds: bool,
}

/// Where a transaction is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TransactionStatusReply {
    /// Its id, in hex.
    pub id: String,
    /// `success` or `failed` in a block; in this node's mempool `pending` (ready to be included),
    /// `waiting` (for data) or `fetching`; `announced` to validators, or `unheld` (no validator is known
    /// to announce it to); `refused`, `expired`, or `abandoned` (in a branch that was left);
    /// `stored` (known here, in no block and not in the mempool), or `unknown`.
    pub state: String,
    /// Why it is refused, or did not return from a branch that was left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The list or atom that it waits for, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// Validators that it was announced to last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validators: Option<u64>,
    /// The abandoned block that it was in, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abandoned_block: Option<String>,
    /// That block's height.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abandoned_height: Option<u64>,
    /// Its place in this node's mempool, the first that is taken being 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool_place: Option<u64>,
    /// How many are ready in this node's mempool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool_transactions: Option<u64>,
    /// The block, if it is in one.
    pub block: Option<String>,
    /// That block's height.
    #[serde(default, with = "super::number::optional")]
    pub height: Option<String>,
    /// `included`, `safe` (no branch of less than half of the stake can undo the block) or `settled`
    /// (undoing it takes a third of the stake to produce on both branches), if it is in a block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmation: Option<String>,
    /// The stake that undoes an included block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo_stake: Option<String>,
    /// Its place in that block, from 0.
    pub index: Option<u64>,
    /// The receipt's id, in hex.
    pub receipt: Option<String>,
    /// The fee.
    pub cost: Option<String>,
    /// The head when this was looked up.
    pub head: Option<HeadReply>,
}

impl TransactionStatusReply {
    /// Whether it will not change any more, unless the chain does.
    #[must_use]
    pub fn is_final(&self) -> bool {
        self.block.is_some() || self.reason.is_some() || self.state == "expired"
    }

    /// Whether its block is safe or settled.
    #[must_use]
    pub fn is_safe(&self) -> bool {
        matches!(self.confirmation.as_deref(), Some("safe" | "settled"))
    }
}
