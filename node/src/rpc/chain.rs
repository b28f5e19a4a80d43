//! Replies of the control socket about the chain.
//!
//! Amounts and counters are decimal text, so that no reader rounds them; heights, times, chain ids
//! and difficulties are a [`Number`].

use super::number::Number;
use super::schema::{record, schema_of};
use super::text::{self, ConfirmationLevel, Hex, TransactionStanding};
use crate::query::Slot;
use astreum_core::atom::AtomId;
use astreum_core::chain::{Address, Status};
use astreum_core::consensus::HeadState;
use astreum_core::integer::Natural;

/// Maximum number of blocks in one reply; the next request starts at the last one's `previous`.
pub const MAX_BLOCKS_REPLY: u32 = 1_000;
/// Maximum number of transactions in one [`BlockReply`].
pub const MAX_TRANSACTIONS_REPLY: u32 = 5_000;
/// Maximum number of slots of a schedule in one reply.
pub const MAX_SLOTS_REPLY: u32 = 10_000;
/// Maximum wait for a transaction in one request, in seconds.
pub const MAX_WAIT_SECONDS: u64 = 30;

record! {
    /// Block that a reply is as of.
    pub struct HeadReply {
        /// Id of the block.
        #[serde(with = "text")]
        pub id: AtomId,
        /// Height of the block.
        pub height: Number,
        /// Timestamp in seconds since 1970.
        pub timestamp: Number,
        /// Reason it is the head: `own`, `verified` or `trusted`.
        #[serde(with = "text")]
        pub state: HeadState,
    }
}

record! {
    /// Block.
    pub struct BlockReply {
        /// Id of the block.
        #[serde(with = "text")]
        pub id: AtomId,
        /// Chain id.
        pub chain_id: Number,
        /// Height of the block.
        pub height: Number,
        /// Id of the previous block; 64 zeros for a genesis.
        #[serde(with = "text")]
        pub previous: AtomId,
        /// Timestamp in seconds since 1970.
        pub timestamp: Number,
        /// Number of leading zero bits that the next block's id needs.
        pub difficulty: Number,
        /// Key of its producer.
        #[serde(with = "text")]
        pub validator: Address,
        /// Nonce of the proof of work.
        #[serde(with = "text")]
        pub nonce: Natural,
        /// Cumulative stake.
        #[serde(with = "text")]
        pub cumulative_stake: Natural,
        /// Cumulative burn.
        #[serde(with = "text")]
        pub cumulative_burn: Natural,
        /// Cumulative mint.
        #[serde(with = "text")]
        pub cumulative_mint: Natural,
        /// Cumulative fees.
        #[serde(with = "text")]
        pub cumulative_total_fees: Natural,
        /// Fees of this block.
        #[serde(with = "text")]
        pub total_fees: Natural,
        /// Root of the accounts trie.
        #[serde(with = "text")]
        pub accounts: AtomId,
        /// First atom of the list of transactions.
        #[serde(with = "text")]
        pub transactions: AtomId,
        /// First atom of the list of receipts.
        #[serde(with = "text")]
        pub receipts: AtomId,
        /// Signature; empty for a genesis.
        #[serde(with = "text")]
        pub signature: Hex,
        /// `true` if the signature is valid; null for a genesis, which has none.
        pub signature_holds: Option<bool>,
        /// Number of transactions; null if their list was not found.
        pub transaction_count: Option<u64>,
        /// Transactions that the request asked for.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub included: Vec<IncludedReply>,
    }
}

record! {
    /// Transaction in a block.
    pub struct IncludedReply {
        /// Index in the block, from 0.
        pub index: u64,
        /// Id of the transaction.
        #[serde(with = "text")]
        pub id: AtomId,
        /// Id of its receipt.
        #[serde(with = "text")]
        pub receipt: AtomId,
        /// `success` or `failed`.
        #[serde(with = "text")]
        pub status: Status,
        /// Fee.
        #[serde(with = "text")]
        pub cost: Natural,
    }
}

record! {
    /// Account as of a block.
    pub struct AccountReply {
        /// Key of the account.
        #[serde(with = "text")]
        pub account: Address,
        /// Block that the reply is as of.
        pub head: HeadReply,
        /// Id of the account record.
        #[serde(with = "text")]
        pub id: AtomId,
        /// Balance.
        #[serde(with = "text")]
        pub balance: Natural,
        /// Counter of its transactions.
        #[serde(with = "text")]
        pub counter: Natural,
        /// Stake.
        #[serde(with = "text")]
        pub stake: Natural,
        /// Id of its code; 64 zeros if it has none.
        #[serde(with = "text")]
        pub code: AtomId,
        /// Root of its data.
        #[serde(with = "text")]
        pub data: AtomId,
        /// Root of its channels.
        #[serde(with = "text")]
        pub channels: AtomId,
    }
}

record! {
    /// Validators and proposer schedule.
    pub struct ValidatorsReply {
        /// Block that the reply is as of.
        pub head: HeadReply,
        /// Sum of all stakes.
        #[serde(with = "text")]
        pub total: Natural,
        /// All validators, in descending order of stake.
        pub validators: Vec<ValidatorReply>,
        /// Producer of each next slot, valid until a new block is produced.
        pub slots: Vec<Slot>,
    }
}

record! {
    /// Validator.
    pub struct ValidatorReply {
        /// Key of the validator.
        #[serde(with = "text")]
        pub key: Address,
        /// Stake.
        #[serde(with = "text")]
        pub stake: Natural,
        /// Share of all stakes, in millionths.
        pub share_ppm: u64,
        /// `true` if it is this node's own.
        pub own: bool,
    }
}

schema_of! {
    /// Slot: two seconds in which one validator may produce the next block.
    Slot {
        /// First second of the slot, since 1970.
        from: Natural,
        /// Last second of the slot, since 1970.
        to: Natural,
        /// Key of the producer.
        validator: Address,
    }
}

record! {
    /// Accepted transaction.
    pub struct SendReply {
        /// Id of the transaction.
        #[serde(with = "text")]
        pub id: AtomId,
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
}

record! {
    /// Costs of a transaction without its amount, as of a block.
    pub struct CostsReply {
        /// Fee.
        #[serde(with = "text")]
        pub fee: Natural,
        /// Maximum cost of storing the transaction and its receipt.
        #[serde(with = "text")]
        pub storage: Natural,
        /// Balance of the sender.
        #[serde(with = "text")]
        pub balance: Natural,
    }
}

record! {
    /// Contents of a transaction.
    pub struct TransactionReply {
        /// Id of the transaction.
        #[serde(with = "text")]
        pub id: AtomId,
        /// Chain id.
        pub chain_id: Number,
        /// Key of the sender.
        #[serde(with = "text")]
        pub sender: Address,
        /// Key of the recipient.
        #[serde(with = "text")]
        pub recipient: Address,
        /// Amount.
        #[serde(with = "text")]
        pub amount: Natural,
        /// Counter that distinguishes it from otherwise equal transactions.
        #[serde(with = "text")]
        pub counter: Natural,
        /// Data.
        #[serde(with = "text")]
        pub data: Hex,
        /// Signature.
        #[serde(with = "text")]
        pub signature: Hex,
        /// `true` if the signature is valid.
        pub signature_holds: bool,
    }
}

record! {
    /// State of a transaction.
    pub struct TransactionStatusReply {
        /// Id of the transaction.
        #[serde(with = "text")]
        pub id: AtomId,
        /// `success` or `failed` in a block; in this node's mempool `pending` (ready for inclusion),
        /// `waiting` (for data) or `fetching`; `announced` to validators, or `unheld` (no validator is
        /// known to announce it to); `refused`, `expired`, or `abandoned` (in a block that a
        /// reorganization removed); `stored` (known here, but in no block and not in the mempool), or
        /// `unknown`.
        #[serde(with = "text")]
        pub state: TransactionStanding,
        /// Reason it was rejected, or did not return to the mempool after a reorganization.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub reason: Option<String>,
        /// Id of the list or atom that it waits for.
        #[serde(default, skip_serializing_if = "Option::is_none", with = "text")]
        pub waits_for: Option<AtomId>,
        /// Number of validators that received the last announcement.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub validators: Option<u64>,
        /// Id of the abandoned block that it was in.
        #[serde(default, skip_serializing_if = "Option::is_none", with = "text")]
        pub abandoned_block: Option<AtomId>,
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
        #[serde(with = "text")]
        pub block: Option<AtomId>,
        /// Height of its block.
        #[serde(default)]
        pub height: Option<Number>,
        /// `included`, `safe` (no branch of less than half of the stake can undo the block) or
        /// `settled` (undoing it takes a third of the stake to produce on both branches), if it is in a
        /// block.
        #[serde(default, skip_serializing_if = "Option::is_none", with = "text")]
        pub confirmation: Option<ConfirmationLevel>,
        /// Stake that could undo the block, if it is only included.
        #[serde(default, skip_serializing_if = "Option::is_none", with = "text")]
        pub undo_stake: Option<Natural>,
        /// Index in its block, from 0.
        pub index: Option<u64>,
        /// Id of its receipt.
        #[serde(with = "text")]
        pub receipt: Option<AtomId>,
        /// Fee.
        #[serde(with = "text")]
        pub cost: Option<Natural>,
        /// Head at the time of the query.
        pub head: Option<HeadReply>,
    }
}

impl TransactionStatusReply {
    /// Creates a state without details.
    #[must_use]
    pub const fn new(id: AtomId, state: TransactionStanding, head: Option<HeadReply>) -> Self {
        Self {
            id,
            state,
            reason: None,
            waits_for: None,
            validators: None,
            abandoned_block: None,
            abandoned_height: None,
            pool_place: None,
            pool_transactions: None,
            block: None,
            height: None,
            confirmation: None,
            undo_stake: None,
            index: None,
            receipt: None,
            cost: None,
            head,
        }
    }

    /// Returns whether the state is final, unless the chain is reorganized.
    #[must_use]
    pub fn is_final(&self) -> bool {
        self.block.is_some() || self.reason.is_some() || self.state == TransactionStanding::Expired
    }

    /// Returns whether its block is safe or settled.
    #[must_use]
    pub fn is_safe(&self) -> bool {
        matches!(
            self.confirmation,
            Some(ConfirmationLevel::Safe | ConfirmationLevel::Settled)
        )
    }
}
