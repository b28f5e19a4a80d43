//! Handlers of requests about the chain.

use super::handlers::{parse_atom, parse_id};
use crate::chain_service::Head;
use crate::key_file::relay_key_refusal;
use crate::node::{Node, SendError, SentTransaction, TransactionState, Until};
use crate::query::{AccountProof, BlockAt, Costs, Included, QueryError};
use crate::rpc::{
    AccountReply, BlockReply, CostsReply, ErrorKind, HeadReply, IncludedReply, MAX_BLOCKS_REPLY,
    MAX_SLOTS_REPLY, MAX_TRANSACTIONS_REPLY, MAX_WAIT_SECONDS, RpcError, SendReply, SlotReply,
    TransactionReply, TransactionStatusReply, ValidatorReply, ValidatorsReply, hex, request,
};
use crate::store::Durability;
use astreum_core::atom::{AtomId, MemoryStore};
use astreum_core::chain::confirmations::Confirmation;
use astreum_core::chain::{Address, BURN, Block, Status, TREASURY, Transaction};
use astreum_core::integer::Natural;
use core::time::Duration;

pub(super) fn block(node: &Node, params: &request::Block) -> Result<BlockReply, RpcError> {
    let block = node.block(parse_at(&params.at)?)?;
    let count = as_count(params.transactions.min(MAX_TRANSACTIONS_REPLY));
    let (total, included) = node.included(&block, as_count(params.skip), count)?;
    Ok(BlockReply {
        included: included.iter().map(included_reply).collect(),
        ..block_reply(&block, Some(total))
    })
}

pub(super) fn blocks(node: &Node, params: &request::Blocks) -> Result<Vec<BlockReply>, RpcError> {
    let count = as_count(params.count.min(MAX_BLOCKS_REPLY));
    let blocks = node.blocks(parse_at(&params.from)?, count)?;
    let replies = blocks
        .iter()
        .map(|(block, total)| block_reply(block, *total));
    Ok(replies.collect())
}

pub(super) fn account(node: &Node, account: &str) -> Result<AccountReply, RpcError> {
    let address = parse_account(node, account)?;
    let state = node.account(&address)?;
    let account = &state.account;
    Ok(AccountReply {
        account: address.to_string(),
        head: head_reply(&state.head),
        id: state.id.to_string(),
        balance: account.balance.to_string(),
        counter: account.counter.to_string(),
        stake: state.stake.to_string(),
        code: account.code.to_string(),
        data: account.data.to_string(),
        channels: account.channels.to_string(),
    })
}

pub(super) fn validators(node: &Node, slots: u32) -> Result<ValidatorsReply, RpcError> {
    let own = node.own_address().ok();
    let validators = node.validators(as_count(slots.min(MAX_SLOTS_REPLY)))?;
    let stakes = validators.stakes.iter().map(|stake| ValidatorReply {
        key: stake.validator.to_string(),
        stake: stake.stake.to_string(),
        share_ppm: stake.share_ppm,
        own: own == Some(stake.validator),
    });
    let slots = validators.slots.iter().map(|slot| SlotReply {
        from: slot.from.to_string(),
        to: slot.to.to_string(),
        validator: slot.validator.to_string(),
    });
    let total: Natural = validators.stakes.iter().map(|stake| &stake.stake).sum();
    Ok(ValidatorsReply {
        head: head_reply(&validators.head),
        total: total.to_string(),
        validators: stakes.collect(),
        slots: slots.collect(),
    })
}

pub(super) fn send_transaction(
    node: &Node,
    params: &request::SendTransaction,
) -> Result<SendReply, RpcError> {
    let id = parse_id(&params.id)?;
    let atoms: Vec<_> = params
        .atoms
        .iter()
        .enumerate()
        .map(|(at, text)| parse_atom(text).map_err(|error| format!("atom {at}: {error}")))
        .collect::<Result<_, _>>()?;
    let source: MemoryStore = atoms.into_iter().collect();
    let transaction = Transaction::read(&source, id).map_err(|error| error.to_string())?;
    if !params.force {
        refuse_relay_key(node, &transaction.recipient)?;
    }
    let warnings = warnings(&transaction);
    if params.dry_run {
        let (costs, balance) = node.check_transaction(&transaction)?;
        return Ok(SendReply {
            id: id.to_string(),
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

pub(super) fn resend_transaction(node: &Node, id: &str) -> Result<SendReply, RpcError> {
    let id = parse_id(id)?;
    let sent = node.resend_transaction(id)?;
    Ok(send_reply(id, &sent, Vec::new()))
}

fn send_reply(id: AtomId, sent: &SentTransaction, warnings: Vec<String>) -> SendReply {
    SendReply {
        id: id.to_string(),
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
        warn("the sender is the recipient: nothing is moved, and the fee is paid");
    }
    if recipient == BURN && data.first() == Some(&0) && moves {
        warn("a storage contract with an amount fails; send it with amount 0");
    } else if recipient == BURN && moves {
        warn("what is sent to the burn account is gone for good");
    }
    if recipient == TREASURY && !data.is_empty() {
        warn("the treasury takes no notice of data");
    }
    warnings
}

pub(super) fn transaction(node: &Node, id: &str) -> Result<TransactionReply, RpcError> {
    let transaction = node.transaction(parse_id(id)?)?;
    Ok(TransactionReply {
        id: transaction.id().to_string(),
        chain_id: transaction.chain_id.to_string(),
        sender: transaction.sender().to_string(),
        recipient: transaction.recipient.to_string(),
        amount: transaction.amount.to_string(),
        counter: transaction.counter.to_string(),
        data: hex(&transaction.data),
        signature: hex(transaction.signature().as_bytes()),
        signature_holds: transaction.verify_signature().is_ok(),
    })
}

pub(super) fn transaction_status(
    node: &Node,
    params: &request::TransactionStatus,
) -> Result<TransactionStatusReply, RpcError> {
    let id = parse_id(&params.id)?;
    let wait = Duration::from_secs(params.wait_seconds.min(MAX_WAIT_SECONDS));
    let until = if params.until_safe {
        Until::Safe
    } else {
        Until::Included
    };
    let (state, head) = node.wait_for_transaction(id, until, wait)?;
    let mut reply = TransactionStatusReply {
        id: id.to_string(),
        state: String::new(),
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
        head: head.as_ref().map(head_reply),
    };
    let word = match &state {
        TransactionState::Included(place) => {
            let included = included_reply(&place.included);
            // The state of a merely trusted head may not be available here.
            let confirmation = node.confirmation(&place.block).ok();
            let (word, undo_stake) = confirmation.as_ref().map(confirmation_words).unzip();
            reply.confirmation = word;
            reply.undo_stake = undo_stake.flatten();
            reply.block = Some(place.block.id().to_string());
            reply.height = Some(place.block.height.to_string());
            reply.index = Some(included.index);
            reply.receipt = Some(included.receipt);
            reply.cost = Some(included.cost);
            status_word(place.included.receipt.status)
        }
        TransactionState::Pending { before, waiting } => {
            reply.pool_place = Some(*before as u64 + 1);
            reply.pool_transactions = Some(*waiting as u64);
            "pending"
        }
        TransactionState::WaitingForData { data } => {
            reply.waits_for = Some(data.to_string());
            "waiting"
        }
        TransactionState::Fetching => "fetching",
        TransactionState::Announced { validators } => {
            reply.validators = validators.map(|count| count as u64);
            "announced"
        }
        TransactionState::Unheld => "unheld",
        TransactionState::Expired => "expired",
        TransactionState::Abandoned {
            block,
            height,
            reason,
        } => {
            reply.abandoned_block = Some(block.to_string());
            reply.abandoned_height = Some(*height);
            reply.reason = Some(reason.clone());
            "abandoned"
        }
        TransactionState::Refused(why) => {
            reply.reason = Some(why.clone());
            "refused"
        }
        TransactionState::Stored => "stored",
        TransactionState::Unknown => "unknown",
    };
    reply.state = word.to_owned();
    Ok(reply)
}

pub(super) fn prove_account(node: &Node, account: &str) -> Result<AccountProof, RpcError> {
    let address = parse_account(node, account)?;
    Ok(node.prove_account(&address)?)
}

fn confirmation_words(confirmation: &Confirmation) -> (String, Option<String>) {
    let (word, undo_stake) = match confirmation {
        Confirmation::Included { undo_stake } => ("included", Some(undo_stake.to_string())),
        Confirmation::Safe => ("safe", None),
        Confirmation::Settled => ("settled", None),
    };
    (word.to_owned(), undo_stake)
}

const fn status_word(status: Status) -> &'static str {
    match status {
        Status::Success => "success",
        Status::Failed => "failed",
    }
}

fn as_count(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

fn parse_at(text: &str) -> Result<BlockAt, RpcError> {
    if text == "head" {
        return Ok(BlockAt::Head);
    }
    if let Ok(id) = text.parse() {
        return Ok(BlockAt::Id(id));
    }
    let height = text.parse().map(BlockAt::Height);
    height.map_err(|_| format!("{text:?} is neither head, a height nor an id").into())
}

fn parse_account(node: &Node, text: &str) -> Result<Address, RpcError> {
    if text == "me" {
        return Ok(node.own_address()?);
    }
    text.parse()
        .map_err(|error| format!("{text:?}: {error}").into())
}

fn head_reply(head: &Head) -> HeadReply {
    HeadReply {
        id: head.id().to_string(),
        height: head.height().to_string(),
        timestamp: head.timestamp().to_string(),
        state: head.state().to_string(),
    }
}

fn block_reply(block: &Block, total: Option<usize>) -> BlockReply {
    let signature = block.signature();
    BlockReply {
        id: block.id().to_string(),
        chain_id: block.chain_id.to_string(),
        height: block.height.to_string(),
        previous: block.previous.to_string(),
        timestamp: block.timestamp.to_string(),
        difficulty: block.difficulty.to_string(),
        validator: block.validator.to_string(),
        nonce: block.nonce.to_string(),
        cumulative_stake: block.cumulative_stake.to_string(),
        cumulative_burn: block.cumulative_burn.to_string(),
        cumulative_mint: block.cumulative_mint.to_string(),
        cumulative_total_fees: block.cumulative_total_fees.to_string(),
        total_fees: block.total_fees.to_string(),
        accounts: block.accounts.to_string(),
        transactions: block.transactions.to_string(),
        receipts: block.receipts.to_string(),
        signature: signature.map_or_else(String::new, |signature| hex(signature.as_bytes())),
        signature_holds: signature.map(|_| block.verify_signature().is_ok()),
        transaction_count: total.map(|total| total as u64),
        included: Vec::new(),
    }
}

fn included_reply(included: &Included) -> IncludedReply {
    IncludedReply {
        index: included.index as u64,
        id: included.transaction.to_string(),
        receipt: included.receipt_id.to_string(),
        status: status_word(included.receipt.status).to_owned(),
        cost: included.receipt.cost.to_string(),
    }
}

fn costs_reply(costs: &Costs, balance: &Natural) -> CostsReply {
    CostsReply {
        fee: costs.fee.to_string(),
        storage: costs.storage.to_string(),
        balance: balance.to_string(),
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
