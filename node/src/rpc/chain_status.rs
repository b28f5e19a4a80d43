//! Chain part of the `status` reply.

use super::schema::{record, schema_of};
use super::text;
use crate::chain_service::snapshot::SnapshotStage;
use astreum_core::atom::AtomId;
use astreum_core::consensus::HeadState;
use astreum_core::consensus::sync::SyncProgress;

record! {
    /// Chain of a node, as of now.
    #[derive(Default)]
    pub struct ChainReply {
        /// Id of the head, if there is one.
        #[serde(with = "text")]
        pub head: Option<AtomId>,
        /// Height: number of blocks before the head.
        pub height: Option<u64>,
        /// Timestamp of the head, in seconds since 1970.
        pub timestamp: Option<u64>,
        /// `trusted` (named by the default seed or the configuration, nothing was checked), `verified`
        /// or `own`.
        #[serde(with = "text")]
        pub state: Option<HeadState>,
        /// Id of the block that verification started from: the genesis, `verified_up_to`, or the
        /// block of a snapshot.
        #[serde(with = "text")]
        pub root: Option<AtomId>,
        /// `true` if the node syncs to a longer chain.
        pub behind: bool,
        /// Sync targets.
        pub syncs: Vec<SyncProgress>,
        /// Headers a second that become available of the first target, as a mean of ten seconds.
        /// `null` if there is no target, or within the first second.
        pub headers_per_second: Option<u64>,
        /// Blocks a second that are verified for the first target, as a mean of ten seconds. `null`
        /// if there is no target, or within the first second.
        pub blocks_per_second: Option<u64>,
        /// Number of heads that peers offer.
        pub candidates: u64,
        /// Number of chain fetches in progress.
        pub fetches: u64,
        /// Data that the start, or the default seed's head, waits for.
        pub waits: Option<String>,
        /// Reason the most recently dropped head is not followed.
        pub dropped: Option<String>,
        /// Bad blocks found most recently.
        pub bad_blocks: Vec<BadBlockReply>,
        /// Fetch of the state, if the node joins its chain by a snapshot.
        pub snapshot: Option<SnapshotReply>,
    }
}

record! {
    /// Fetch of the state after the block at which a chain is joined.
    pub struct SnapshotReply {
        /// Id of the block, once it is known.
        #[serde(with = "text")]
        pub block: Option<AtomId>,
        /// `waiting` (for the block), `headers`, `state` or `complete`.
        #[serde(with = "text")]
        pub stage: SnapshotStage,
        /// Number of atoms that have arrived since the start of the node.
        pub atoms: u64,
        /// Stored bytes of these atoms.
        pub bytes: u64,
    }
}

schema_of! {
    /// Sync progress of one target.
    SyncProgress {
        /// Id of the target.
        head: AtomId,
        /// Height of the target; 0 until its header is available.
        height: u64,
        /// Number of available headers.
        headers_done: u64,
        /// Number of required headers, as far as known.
        headers_total: u64,
        /// Number of verified blocks.
        blocks_done: u64,
        /// Number of blocks to verify.
        blocks_total: u64,
        /// Data that it waits for.
        waits: Option<String>,
    }
}

record! {
    /// Block that breaks a rule.
    pub struct BadBlockReply {
        /// Id of the block.
        #[serde(with = "text")]
        pub id: AtomId,
        /// Rule that it breaks.
        pub reason: String,
    }
}

impl ChainReply {
    /// Returns human-readable lines, each with its heading.
    #[must_use]
    pub fn lines(&self) -> Vec<(&'static str, String)> {
        let mut lines = Vec::new();
        if let (Some(height), Some(state)) = (self.height, self.state) {
            let state = match state {
                HeadState::Trusted => "trusted, not verified",
                HeadState::Verified | HeadState::Own => state.name(),
            };
            lines.push(("height", format!("{height} ({state})")));
        }
        if let Some(timestamp) = self.timestamp {
            lines.push(("head time", crate::log::utc_text(timestamp)));
        }
        if let Some(root) = &self.root {
            lines.push(("verified from", root.to_string()));
        }
        if let Some(SnapshotReply {
            block,
            stage,
            atoms,
            bytes,
        }) = &self.snapshot
        {
            let of = block.map(|block| format!(" of block {block}"));
            let of = of.unwrap_or_default();
            let text = match stage {
                SnapshotStage::Waiting => "waiting for a trusted block".to_owned(),
                SnapshotStage::Complete => format!("complete: the state{of} is stored"),
                stage => format!("fetching the {stage}{of}: {atoms} atoms, {bytes} bytes"),
            };
            lines.push(("snapshot", text));
        }
        let rates = self.headers_per_second.zip(self.blocks_per_second);
        for (at, sync) in self.syncs.iter().enumerate() {
            let SyncProgress {
                head,
                height,
                headers_done,
                headers_total,
                blocks_done,
                blocks_total,
                waits,
            } = sync;
            let waits = waits.as_ref().map(|waits| format!("; waiting for {waits}"));
            let waits = waits.unwrap_or_default();
            // Unknown before the first header.
            let progress = match headers_total {
                0 => "no header yet".to_owned(),
                _ => format!(
                    "{headers_done} of {headers_total} headers, {blocks_done} of {blocks_total} \
                     blocks"
                ),
            };
            let rate = rates.filter(|_| at == 0).map(|(headers, blocks)| {
                format!("; {headers} headers and {blocks} blocks a second")
            });
            let rate = rate.unwrap_or_default();
            lines.push((
                "following",
                format!("{head} at {height}: {progress}{rate}{waits}"),
            ));
        }
        let waits = self
            .waits
            .iter()
            .map(|waits| ("waiting for", waits.clone()));
        let dropped = self.dropped.iter();
        let dropped = dropped.map(|why| ("not followed", why.clone()));
        let bad = self.bad_blocks.iter();
        let bad = bad.map(|block| ("bad block", format!("{}: {}", block.id, block.reason)));
        lines.extend(waits.chain(dropped).chain(bad));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_state_unverified_heads_and_missing_data() {
        let sync = SyncProgress {
            head: AtomId::new([0xaa; 32]),
            height: 9,
            headers_done: 3,
            headers_total: 10,
            blocks_done: 0,
            blocks_total: 0,
            waits: Some("atom bb".to_owned()),
        };
        let bad = BadBlockReply {
            id: AtomId::new([0xcc; 32]),
            reason: "wrong".to_owned(),
        };
        let reply = ChainReply {
            height: Some(7),
            state: Some(HeadState::Trusted),
            syncs: vec![sync],
            headers_per_second: Some(400),
            blocks_per_second: Some(0),
            bad_blocks: vec![bad],
            ..ChainReply::default()
        };
        let lines: Vec<String> = reply.lines().into_iter().map(|(_, line)| line).collect();
        let (head, bad) = ("aa".repeat(32), "cc".repeat(32));
        assert_eq!(
            lines,
            [
                "7 (trusted, not verified)",
                &format!(
                    "{head} at 9: 3 of 10 headers, 0 of 0 blocks; 400 headers and 0 blocks a \
                     second; waiting for atom bb"
                ),
                &format!("{bad}: wrong"),
            ]
        );
        assert!(ChainReply::default().lines().is_empty());
    }
}
