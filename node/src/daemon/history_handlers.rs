//! Handlers of requests about the index of transactions.

use super::chain_handlers::address_of;
use crate::node::Node;
use crate::rpc::{
    DEFAULT_HISTORY_REPLY, ErrorKind, HistoryEntryReply, HistoryReply, IndexReply,
    MAX_HISTORY_REPLY, RpcError, request,
};
use crate::transaction_index::{HistoryEntry, HistoryError, HistoryQuery, IndexStatus};
use astreum_core::chain::Transaction;

fn invalid(reason: impl Into<String>) -> RpcError {
    let reason = reason.into();
    RpcError::new(
        ErrorKind::InvalidParams,
        format!("invalid params of history: {reason}"),
    )
}

pub(super) fn history(node: &Node, params: request::History) -> Result<HistoryReply, RpcError> {
    let limit = params.limit.unwrap_or(DEFAULT_HISTORY_REPLY);
    if limit == 0 || limit > MAX_HISTORY_REPLY {
        let reason = format!("limit {limit}: expected 1 to {MAX_HISTORY_REPLY}");
        return Err(invalid(reason));
    }
    let after = params.after.map(|text| {
        let shown: String = text.chars().take(80).collect();
        let parsed = text.parse();
        parsed.map_err(|error| invalid(format!("after {shown:?}: {error}")))
    });
    let low = params.from_height.unwrap_or(0);
    let high = params.to_height.unwrap_or(u64::MAX);
    if low > high {
        let reason = format!("from_height {low} is above to_height {high}");
        return Err(invalid(reason));
    }
    let address = |name| address_of(node, name);
    let query = HistoryQuery {
        account: params.account.map(address).transpose()?,
        sender: params.sender.map(address).transpose()?,
        recipient: params.recipient.map(address).transpose()?,
        heights: low..=high,
        data_prefix: params.data_prefix.unwrap_or_default().0,
        limit: usize::try_from(limit).unwrap_or(usize::MAX),
        after: after.transpose()?,
    };
    let page = node.history(&query)?;
    let transactions = page.entries.iter().map(|entry| entry_reply(node, entry));
    Ok(HistoryReply {
        from_height: page.from_height.map(Into::into),
        to_height: page.to.map(|(height, _)| height.into()),
        to_block: page.to.map(|(_, id)| id),
        complete: page.is_complete,
        transactions: transactions.collect(),
        next: page.next.map(|next| next.to_string()),
    })
}

fn entry_reply(node: &Node, entry: &HistoryEntry) -> HistoryEntryReply {
    let indexed = &entry.transaction;
    // Not fetched: what is pruned here is nothing to wait for.
    let transaction = Transaction::read(&node.store().served(), indexed.id).ok();
    let transaction = transaction.as_ref();
    HistoryEntryReply {
        id: indexed.id,
        block: entry.block,
        height: indexed.height.into(),
        index: indexed.index.into(),
        timestamp: entry.timestamp.into(),
        sender: indexed.sender,
        recipient: indexed.recipient,
        amount: transaction.map(|transaction| transaction.amount.clone()),
        status: indexed.status,
        data_prefix: indexed.data.as_bytes().into(),
        data_bytes: transaction.map(|transaction| transaction.data.len() as u64),
    }
}

pub(super) fn index_reply(status: &IndexStatus) -> IndexReply {
    IndexReply {
        from_height: status.from_height.map(Into::into),
        to_height: status.to.map(|(height, _)| height.into()),
        complete: status.is_complete,
        waits_for: status.waits_for.clone(),
        files: status.files,
        bytes: status.bytes,
    }
}

impl From<HistoryError> for RpcError {
    fn from(error: HistoryError) -> Self {
        let reason = error.to_string();
        match error {
            HistoryError::LongPrefix { .. } => invalid(reason),
            _ => reason.into(),
        }
    }
}
