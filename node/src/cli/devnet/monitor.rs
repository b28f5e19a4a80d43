//! New blocks of a network, as lines.

use std::io::Write as _;

use astreum_core::atom::AtomId;
use serde_json::json;

use super::super::output::{Failure, Output, json_line};
use super::super::table::time;
use super::directory::Description;
use super::nodes::Nodes;
use crate::query::BlockAt;
use crate::rpc::{BlockReply, request};

/// Maximum number of blocks that are listed at once; earlier ones are counted.
const MAX_LISTED: u64 = 50;

/// Reports blocks as they become the head of the first node that runs.
#[derive(Debug, Default)]
pub(super) struct Monitor {
    /// Height and id of the head that was reported last.
    last: Option<(u64, AtomId)>,
    is_json: bool,
}

impl Monitor {
    pub(super) fn new(is_json: bool) -> Self {
        Self {
            last: None,
            is_json,
        }
    }

    /// Forgets the last head: the nodes have another chain.
    pub(super) const fn forget(&mut self) {
        self.last = None;
    }

    /// Reports the blocks since the last call, once all nodes that run have had a chance to receive
    /// them.
    pub(super) fn poll(
        &mut self,
        nodes: &Nodes,
        found: &Description,
        out: &mut Output,
    ) -> Result<(), Failure> {
        let heads = nodes.iter().filter(|node| node.is_running());
        let heads: Vec<_> = heads
            .filter_map(|node| {
                let chain = node.request(&request::Status {})?.chain;
                Some((node, chain.height?, chain.head?))
            })
            .collect();
        let Some((node, height, head)) = heads.first() else {
            return Ok(());
        };
        if self.last.is_some_and(|(_, id)| id == *head) {
            return Ok(());
        }
        // At first only the head is reported.
        let since = self.last.map_or(*height, |(height, _)| height);
        // One more, to see whether the last one is still part of the chain.
        let count = height
            .saturating_sub(since)
            .saturating_add(1)
            .min(MAX_LISTED);
        let request = request::Blocks {
            from: BlockAt::Id(*head),
            count: u32::try_from(count).unwrap_or(u32::MAX),
        };
        let Some(mut blocks) = node.request(&request) else {
            return Ok(());
        };
        blocks.reverse();
        let height_of = |block: &BlockReply| block.height.0.to_u64().unwrap_or_default();
        let is_reorganized = self.last.is_some_and(|(last, id)| {
            let same = blocks.iter().find(|block| height_of(block) == last);
            same.is_some_and(|block| block.id != id)
        }) || self.last.is_some_and(|(last, _)| *height <= last);
        if is_reorganized {
            self.report_reorganization(*height, out)?;
        }
        let at_head = heads.iter().filter(|(_, _, id)| id == head).count();
        let has = |block: &BlockReply| match block.id == *head {
            true => Some((at_head, heads.len())),
            false => None,
        };
        for block in &blocks {
            if height_of(block) > since || is_reorganized || self.last.is_none() {
                self.report(block, found, has(block), out)?;
            }
        }
        self.last = Some((*height, *head));
        out.flush()?;
        Ok(())
    }

    fn report_reorganization(&self, height: u64, out: &mut Output) -> Result<(), Failure> {
        match self.is_json {
            true => json_line(out, &json!({"event": "reorganization", "height": height})),
            false => Ok(writeln!(
                out,
                "reorganization: the head is now at height {height}"
            )?),
        }
    }

    fn report(
        &self,
        block: &BlockReply,
        found: &Description,
        has: Option<(usize, usize)>,
        out: &mut Output,
    ) -> Result<(), Failure> {
        let validator = block.validator.to_string();
        let node = found.validators.iter().position(|it| *it == validator);
        let node = node.map(|at| at + 1);
        let transactions = block.transaction_count.unwrap_or_default();
        if self.is_json {
            return json_line(
                out,
                &json!({
                    "event": "block",
                    "height": block.height,
                    "id": block.id.to_string(),
                    "timestamp": block.timestamp,
                    "transactions": transactions,
                    "node": node,
                    "nodes_at_head": has.map(|(count, _)| count),
                }),
            );
        }
        let by = node.map_or_else(|| "another key".to_owned(), |node| format!("node {node}"));
        let has = match has {
            Some((count, all)) if all > 1 => format!("  {count} of {all} nodes"),
            _ => String::new(),
        };
        let plural = if transactions == 1 { "" } else { "s" };
        Ok(writeln!(
            out,
            "block {:>6}  {}  {by}  {transactions} transaction{plural}  {}{has}",
            block.height,
            time(&block.timestamp.0),
            block.id
        )?)
    }
}
