//! Chain part of the `status` reply.

use crate::chain_service::snapshot::SnapshotStatus;
use crate::chain_service::{ChainStatus, Head, SyncRate};
use crate::rpc::{BadBlockReply, ChainReply, SnapshotReply};

/// Converts the status of the chain to its reply.
pub(super) fn chain_reply(
    status: &ChainStatus,
    rate: Option<SyncRate>,
    snapshot: Option<&SnapshotStatus>,
) -> ChainReply {
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
        syncs: sync.syncs.clone(),
        headers_per_second: rate.map(|rate| rate.headers_per_second),
        blocks_per_second: rate.map(|rate| rate.blocks_per_second),
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
        snapshot: snapshot.map(|status| SnapshotReply {
            block: status.block,
            stage: status.stage,
            atoms: status.atoms,
            bytes: status.bytes,
        }),
    }
}
