//! Handlers of requests about the chain.

use crate::chain_service::Head;
use crate::key_file::relay_key_refusal;
use crate::node::{Node, SendError, SentTransaction, TransactionState, Until};
use crate::query::{AccountProof, CheckedTransaction, Costs, Included, QueryError};
use crate::rpc::{
    AccountName, AccountReply, BlockReply, ConfirmationLevel, CostsReply, ErrorKind, HeadReply,
    Hex, IncludedReply, MAX_BLOCKS_REPLY, MAX_SLOTS_REPLY, MAX_TRANSACTIONS_REPLY,
    MAX_WAIT_SECONDS, Number, RpcError, SendReply, TransactionReply, TransactionStanding,
    TransactionStatusReply, ValidatorReply, ValidatorsReply, request,
};
use crate::store::Durability;
use astreum_core::atom::{AtomId, MemoryStore};
use astreum_core::chain::confirmations::Confirmation;
use astreum_core::chain::{
    Address, BURN, Block, RecordError, TREASURY, Transaction, TransactionError,
};
use astreum_core::integer::Natural;
use core::time::Duration;

pub(super) fn block(node: &Node, params: &request::Block) -> Result<BlockReply, RpcError> {
    let block = node.block(params.at)?;
    let count = as_count(params.transactions.min(MAX_TRANSACTIONS_REPLY));
    let (total, included) = node.included(&block, as_count(params.skip), count)?;
    Ok(BlockReply {
        included: included.iter().map(included_reply).collect(),
        ..block_reply(&block, Some(total))
    })
}

pub(super) fn blocks(node: &Node, params: &request::Blocks) -> Result<Vec<BlockReply>, RpcError> {
    let count = as_count(params.count.min(MAX_BLOCKS_REPLY));
    let blocks = node.blocks(params.from, count)?;
    let replies = blocks
        .iter()
        .map(|(block, total)| block_reply(block, *total));
    Ok(replies.collect())
}

pub(super) fn account(node: &Node, account: AccountName) -> Result<AccountReply, RpcError> {
    let address = address_of(node, account)?;
    let state = node.account(&address)?;
    let account = &state.account;
    Ok(AccountReply {
        account: address,
        head: head_reply(&state.head),
        id: state.id,
        balance: account.balance.clone(),
        counter: account.counter.clone(),
        stake: state.stake.clone(),
        code: account.code,
        data: account.data,
        channels: account.channels,
    })
}

pub(super) fn validators(node: &Node, slots: u32) -> Result<ValidatorsReply, RpcError> {
    let own = node.own_address().ok();
    let validators = node.validators(as_count(slots.min(MAX_SLOTS_REPLY)))?;
    let stakes = validators.stakes.iter().map(|stake| ValidatorReply {
        key: stake.validator,
        stake: stake.stake.clone(),
        share_ppm: stake.share_ppm,
        own: own == Some(stake.validator),
    });
    let total: Natural = validators.stakes.iter().map(|stake| &stake.stake).sum();
    Ok(ValidatorsReply {
        head: head_reply(&validators.head),
        total,
        validators: stakes.collect(),
        slots: validators.slots,
    })
}

pub(super) fn send_transaction(
    node: &Node,
    params: request::SendTransaction,
) -> Result<SendReply, RpcError> {
    let id = params.id;
    let source: MemoryStore = params.atoms.into_iter().collect();
    let transaction = Transaction::read(&source, id).map_err(|error| match error {
        RecordError::Malformed { problem, .. } => {
            TransactionError::Malformed { problem }.to_string()
        }
        error => error.to_string(),
    })?;
    if !params.force {
        refuse_relay_key(node, &transaction.recipient)?;
    }
    let warnings = warnings(&transaction);
    if params.dry_run {
        let CheckedTransaction { costs, balance } = node.check_transaction(&transaction)?;
        return Ok(SendReply {
            id,
            own_pool: false,
            validators: 0,
            durable: false,
            costs: costs_reply(&costs, &balance),
            warnings,
        });
    }
    let sent = node.send_transaction(&transaction)?;
    Ok(send_reply(id, &sent, warnings))
}

/// Refuses a recipient that is the public key of a known relay: it is not an account, and a
/// transfer to it is lost.
fn refuse_relay_key(node: &Node, recipient: &Address) -> Result<(), RpcError> {
    let owner = if node.public_key().as_bytes() == recipient.as_bytes() {
        "this node"
    } else if node
        .peers()?
        .iter()
        .any(|peer| peer.public_key.as_bytes() == recipient.as_bytes())
    {
        "a peer"
    } else {
        return Ok(());
    };
    Err(relay_key_refusal(recipient, owner).into())
}

pub(super) fn resend_transaction(node: &Node, id: AtomId) -> Result<SendReply, RpcError> {
    let sent = node.resend_transaction(id)?;
    Ok(send_reply(id, &sent, Vec::new()))
}

fn send_reply(id: AtomId, sent: &SentTransaction, warnings: Vec<String>) -> SendReply {
    SendReply {
        id,
        own_pool: sent.own_pool,
        validators: sent.validators as u64,
        durable: sent.durability != Durability::Memory,
        costs: costs_reply(&sent.costs, &sent.balance),
        warnings,
    }
}

/// Returns warnings about valid but probably unintended transactions.
fn warnings(transaction: &Transaction) -> Vec<String> {
    let (recipient, data) = (transaction.recipient, &transaction.data);
    let moves = !transaction.amount.is_zero();
    let mut warnings = Vec::new();
    let mut warn = |warning: &str| warnings.push(warning.to_owned());
    if recipient == *transaction.sender() && data.is_empty() {
        warn("the sender is the recipient: the transaction only pays its fee");
    }
    if recipient == BURN && data.first() == Some(&0) && moves {
        warn("a storage contract with an amount fails; send it with amount 0");
    } else if recipient == BURN && moves {
        warn("the amount sent to the burn account is lost permanently");
    }
    if recipient == TREASURY && !data.is_empty() {
        warn("data sent to the treasury is ignored");
    }
    warnings
}

pub(super) fn transaction(node: &Node, id: AtomId) -> Result<TransactionReply, RpcError> {
    let transaction = node.transaction(id)?;
    Ok(TransactionReply {
        id: transaction.id(),
        chain_id: Number(transaction.chain_id.clone()),
        sender: *transaction.sender(),
        recipient: transaction.recipient,
        amount: transaction.amount.clone(),
        counter: transaction.counter.clone(),
        data: transaction.data[..].into(),
        signature: transaction.signature().as_bytes()[..].into(),
        signature_holds: transaction.verify_signature().is_ok(),
    })
}

pub(super) fn transaction_status(
    node: &Node,
    params: &request::TransactionStatus,
) -> Result<TransactionStatusReply, RpcError> {
    let id = params.id;
    let wait = Duration::from_secs(params.wait_seconds.min(MAX_WAIT_SECONDS));
    let until = if params.until_safe {
        Until::Safe
    } else {
        Until::Included
    };
    let (state, head) = node.wait_for_transaction(id, until, wait)?;
    let head = head.as_ref().map(head_reply);
    let mut reply = TransactionStatusReply::new(id, TransactionStanding::Unknown, head);
    reply.state = match &state {
        TransactionState::Included(found) => {
            let included = included_reply(&found.included);
            // The state of a merely trusted head may not be available here.
            let confirmation = node.confirmation(&found.block).ok();
            let (level, undo_stake) = confirmation.map(confirmation_level).unzip();
            reply.confirmation = level;
            reply.undo_stake = undo_stake.flatten();
            reply.block = Some(found.block.id());
            reply.height = Some(Number(found.block.height.clone()));
            reply.index = Some(included.index);
            reply.receipt = Some(included.receipt);
            reply.cost = Some(included.cost);
            included.status.into()
        }
        TransactionState::Pending { before, waiting } => {
            reply.pool_place = Some(*before as u64 + 1);
            reply.pool_transactions = Some(*waiting as u64);
            TransactionStanding::Pending
        }
        TransactionState::WaitingForData { data } => {
            reply.waits_for = Some(*data);
            TransactionStanding::Waiting
        }
        TransactionState::Fetching => TransactionStanding::Fetching,
        TransactionState::Announced { validators } => {
            reply.validators = validators.map(|count| count as u64);
            TransactionStanding::Announced
        }
        TransactionState::NoKnownValidator => TransactionStanding::Unheld,
        TransactionState::Expired => TransactionStanding::Expired,
        TransactionState::Abandoned {
            block,
            height,
            reason,
        } => {
            reply.abandoned_block = Some(*block);
            reply.abandoned_height = Some(*height);
            reply.reason = Some(reason.to_string());
            TransactionStanding::Abandoned
        }
        TransactionState::Rejected(why) => {
            reply.reason = Some(why.to_string());
            TransactionStanding::Refused
        }
        TransactionState::Stored => TransactionStanding::Stored,
        TransactionState::Unknown => TransactionStanding::Unknown,
    };
    Ok(reply)
}

pub(super) fn prove_account(node: &Node, account: AccountName) -> Result<AccountProof, RpcError> {
    let address = address_of(node, account)?;
    Ok(node.prove_account(&address)?)
}

fn confirmation_level(confirmation: Confirmation) -> (ConfirmationLevel, Option<Natural>) {
    match confirmation {
        Confirmation::Included { undo_stake } => (ConfirmationLevel::Included, Some(undo_stake)),
        Confirmation::Safe => (ConfirmationLevel::Safe, None),
        Confirmation::Settled => (ConfirmationLevel::Settled, None),
    }
}

fn as_count(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

pub(super) fn address_of(node: &Node, account: AccountName) -> Result<Address, RpcError> {
    match account {
        AccountName::Me => Ok(node.own_address()?),
        AccountName::Key(address) => Ok(address),
    }
}

pub(super) fn head_reply(head: &Head) -> HeadReply {
    HeadReply {
        id: head.id(),
        height: head.height().into(),
        timestamp: head.timestamp().into(),
        state: head.state(),
    }
}

fn block_reply(block: &Block, total: Option<usize>) -> BlockReply {
    let signature = block.signature();
    BlockReply {
        id: block.id(),
        chain_id: Number(block.chain_id.clone()),
        height: Number(block.height.clone()),
        previous: block.previous,
        timestamp: Number(block.timestamp.clone()),
        difficulty: Number(block.difficulty.clone()),
        validator: block.validator,
        nonce: block.nonce.clone(),
        cumulative_stake: block.cumulative_stake.clone(),
        cumulative_burn: block.cumulative_burn.clone(),
        cumulative_mint: block.cumulative_mint.clone(),
        cumulative_total_fees: block.cumulative_total_fees.clone(),
        total_fees: block.total_fees.clone(),
        accounts: block.accounts,
        transactions: block.transactions,
        receipts: block.receipts,
        signature: signature.map_or_else(Hex::default, |signature| signature.as_bytes()[..].into()),
        signature_holds: signature.map(|_| block.verify_signature().is_ok()),
        transaction_count: total.map(|total| total as u64),
        included: Vec::new(),
    }
}

fn included_reply(included: &Included) -> IncludedReply {
    IncludedReply {
        index: included.index as u64,
        id: included.transaction,
        receipt: included.receipt_id,
        status: included.receipt.status,
        cost: included.receipt.cost.clone(),
    }
}

fn costs_reply(costs: &Costs, balance: &Natural) -> CostsReply {
    CostsReply {
        fee: costs.fee.clone(),
        storage: costs.storage.clone(),
        balance: balance.clone(),
    }
}

impl From<QueryError> for RpcError {
    fn from(error: QueryError) -> Self {
        let kind = match error {
            QueryError::Missing(id) => ErrorKind::Missing(id),
            QueryError::Stopping => ErrorKind::Stopping,
            _ => ErrorKind::Failed,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<SendError> for RpcError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Query(error) => error.into(),
            error => error.to_string().into(),
        }
    }
}
