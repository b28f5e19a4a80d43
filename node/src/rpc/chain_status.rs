//! Chain part of the `status` reply.

use serde::{Deserialize, Serialize};

/// Chain of a node, as of now.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ChainReply {
    /// Id of the head in hex, if there is one.
    pub head: Option<String>,
    /// Height: number of blocks before the head.
    pub height: Option<u64>,
    /// Timestamp of the head, in seconds since 1970.
    pub timestamp: Option<u64>,
    /// `trusted` (named by the default seed or the configuration, nothing was checked), `verified`
    /// or `own`.
    pub state: Option<String>,
    /// Id of the block that verification started from: the genesis, or `verified_up_to`.
    pub root: Option<String>,
    /// `true` if the node syncs to a longer chain.
    pub behind: bool,
    /// Sync targets.
    pub syncs: Vec<SyncReply>,
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
}

/// Sync progress of one target.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SyncReply {
    /// Id of the target in hex.
    pub head: String,
    /// Height of the target; 0 until its header is available.
    pub height: u64,
    /// Number of available headers.
    pub headers_done: u64,
    /// Number of required headers, as far as known.
    pub headers_total: u64,
    /// Number of verified blocks.
    pub blocks_done: u64,
    /// Number of blocks to verify.
    pub blocks_total: u64,
    /// Data that it waits for.
    pub waits: Option<String>,
}

/// Block that breaks a rule.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BadBlockReply {
    /// Id of the block in hex.
    pub id: String,
    /// Rule that it breaks.
    pub reason: String,
}

impl ChainReply {
    /// Returns human-readable lines, each with its heading.
    #[must_use]
    pub fn lines(&self) -> Vec<(&'static str, String)> {
        let mut lines = Vec::new();
        if let (Some(height), Some(state)) = (self.height, &self.state) {
            let state = match state.as_str() {
                "trusted" => "trusted, not verified",
                state => state,
            };
            lines.push(("height", format!("{height} ({state})")));
        }
        if let Some(timestamp) = self.timestamp {
            lines.push(("head time", crate::log::utc_text(timestamp)));
        }
        if let Some(root) = &self.root {
            lines.push(("verified from", root.clone()));
        }
        for sync in &self.syncs {
            let SyncReply {
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
            lines.push((
                "following",
                format!(
                    "{head} at {height}: {headers_done} of {headers_total} headers, {blocks_done} \
                     of {blocks_total} blocks{waits}"
                ),
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
    fn people_are_told_what_is_not_verified_and_what_is_waited_for() {
        let sync = SyncReply {
            head: "aa".to_owned(),
            height: 9,
            headers_done: 3,
            headers_total: 10,
            blocks_done: 0,
            blocks_total: 0,
            waits: Some("atom bb".to_owned()),
        };
        let bad = BadBlockReply {
            id: "cc".to_owned(),
            reason: "wrong".to_owned(),
        };
        let reply = ChainReply {
            height: Some(7),
            state: Some("trusted".to_owned()),
            syncs: vec![sync],
            bad_blocks: vec![bad],
            ..ChainReply::default()
        };
        let lines: Vec<String> = reply.lines().into_iter().map(|(_, line)| line).collect();
        assert_eq!(
            lines,
            [
                "7 (trusted, not verified)",
                "aa at 9: 3 of 10 headers, 0 of 0 blocks; waiting for atom bb",
                "cc: wrong"
            ]
        );
        assert!(ChainReply::default().lines().is_empty());
    }
}
