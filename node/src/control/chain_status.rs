//! How a node tells of the chain that it follows.

use serde::{Deserialize, Serialize};

/// The chain of a node, as it stands.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ChainReply {
    /// Id of the head, in hex, if there is one.
    pub head: Option<String>,
    /// Blocks before it.
    pub height: Option<u64>,
    /// When it was made, in seconds since 1970.
    pub timestamp: Option<u64>,
    /// `trusted` (the default seed or the configuration names it, nothing was checked), `verified`
    /// or `own`.
    pub state: Option<String>,
    /// Id of the block that everything was verified from: the genesis, or `verified_up_to`.
    pub root: Option<String>,
    /// Whether a longer chain is being followed.
    pub behind: bool,
    /// The heads that are being followed.
    pub syncs: Vec<SyncReply>,
    /// How many heads peers offer.
    pub candidates: u64,
    /// Fetches of the chain under way.
    pub fetches: u64,
    /// What the start, or the default seed's head, waits for.
    pub waits: Option<String>,
    /// Why the head that was given up last is not followed.
    pub dropped: Option<String>,
    /// The bad blocks that were found last.
    pub bad_blocks: Vec<BadBlockReply>,
}

/// How far one head has been followed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SyncReply {
    /// Its id, in hex.
    pub head: String,
    /// Its height; 0 until its header is here.
    pub height: u64,
    /// Headers that are here.
    pub headers_done: u64,
    /// Headers that are needed, for all that is known.
    pub headers_total: u64,
    /// Blocks that are verified.
    pub blocks_done: u64,
    /// Blocks that are to be verified.
    pub blocks_total: u64,
    /// What it waits for.
    pub waits: Option<String>,
}

/// A block that breaks a rule.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BadBlockReply {
    /// Its id, in hex.
    pub id: String,
    /// The rule.
    pub reason: String,
}

impl ChainReply {
    /// Lines for people, each with its heading.
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
            let waits = waits.as_ref().map(|waits| format!("; waits for {waits}"));
            let waits = waits.unwrap_or_default();
            lines.push((
                "following",
                format!(
                    "{head} at {height}: {headers_done} of {headers_total} headers, {blocks_done} \
                     of {blocks_total} blocks{waits}"
                ),
            ));
        }
        let waits = self.waits.iter().map(|waits| ("waits for", waits.clone()));
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
                "aa at 9: 3 of 10 headers, 0 of 0 blocks; waits for atom bb",
                "cc: wrong"
            ]
        );
        assert!(ChainReply::default().lines().is_empty());
    }
}
