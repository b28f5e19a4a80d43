//! Chain part of the `status` reply.

use crate::chain_service::sync::SyncProgress;
use crate::chain_service::{ChainStatus, Head};
use crate::rpc::{BadBlockReply, ChainReply, SyncReply};

/// Converts the status of the chain to its reply.
pub(super) fn chain_reply(status: &ChainStatus) -> ChainReply {
    let head = status.head.as_ref();
    let sync = &status.sync;
    let dropped = sync.dropped.as_ref();
    ChainReply {
        head: head.map(Head::id),
        height: head.map(Head::height),
        timestamp: head.map(Head::timestamp),
        state: head.map(Head::state),
        root: status.root,
        behind: status.is_behind,
        syncs: sync.syncs.iter().map(sync_reply).collect(),
        candidates: sync.candidates as u64,
        fetches: sync.fetches as u64,
        waits: sync.waits.clone(),
        dropped: dropped.map(|(id, why)| format!("{id}: {why}")),
        bad_blocks: sync
            .bad_blocks
            .iter()
            .map(|(id, reason)| BadBlockReply {
                id: *id,
                reason: reason.clone(),
            })
            .collect(),
    }
}

fn sync_reply(sync: &SyncProgress) -> SyncReply {
    SyncReply {
        head: sync.head,
        height: sync.height,
        headers_done: sync.headers_done,
        headers_total: sync.headers_total,
        blocks_done: sync.blocks_done,
        blocks_total: sync.blocks_total,
        waits: sync.waits.clone(),
    }
}
