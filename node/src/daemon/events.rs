//! Events of a node, for subscriptions.

use super::chain_handlers::head_reply;
use crate::chain_service::ChainStatus;
use crate::log;
use crate::node::Node;
use crate::rpc::{EventSource, HeadReply, LogReply, Observer, ReorganizationReply};
use astreum_core::atom::AtomId;
use astreum_core::chain::Block;
use std::sync::{Arc, Mutex, PoisonError};

/// Maximum number of blocks that are read to find the fork of two heads.
const MAX_BLOCKS: u64 = 10_000;

/// Events of a node.
#[derive(Debug)]
pub(super) struct NodeEvents {
    node: Arc<Node>,
}

impl NodeEvents {
    pub(super) const fn new(node: Arc<Node>) -> Self {
        Self { node }
    }

    fn previous(&self, id: AtomId) -> Option<AtomId> {
        // Only what is stored: peers are not asked for old blocks.
        Some(Block::read(self.node.store(), id).ok()?.previous)
    }
}

impl EventSource for NodeEvents {
    fn observe(&self, observer: Arc<dyn Observer>) -> Box<dyn Send> {
        let of_log = Arc::clone(&observer);
        let lines = log::Watch::new(move |line: &log::LogLine| {
            of_log.log(LogReply {
                time: line.time.clone(),
                level: line.level.into(),
                module: line.module.clone(),
                message: line.message.clone(),
            });
        });
        let last = Mutex::new(None);
        let heads = self.node.chain().watch(move |status: &ChainStatus| {
            let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(head) = &status.head
                && *last != Some(head.id())
            {
                *last = Some(head.id());
                observer.head(head_reply(head));
            }
            observer.chain();
        });
        Box::new((lines, heads))
    }

    fn reorganization(&self, from: &HeadReply, to: &HeadReply) -> Option<ReorganizationReply> {
        let (from_height, to_height) = (from.height.0.to_u64()?, to.height.0.to_u64()?);
        let previous = |id| self.previous(id);
        fork((from.id, from_height), (to.id, to_height), previous)
    }
}

/// Returns the reorganization between two heads; `None` if the second one extends the first, or may
/// do so as far as is known here.
fn fork(
    from: (AtomId, u64),
    to: (AtomId, u64),
    previous: impl Fn(AtomId) -> Option<AtomId>,
) -> Option<ReorganizationReply> {
    let unknown = ReorganizationReply {
        from: from.0,
        to: to.0,
        fork: None,
        depth: None,
    };
    let is_known = || -> Option<(AtomId, u64)> {
        let ((mut old, mut old_height), (mut new, mut new_height)) = (from, to);
        for _ in 0..MAX_BLOCKS {
            if old == new {
                return Some((old, old_height));
            }
            if new_height >= old_height {
                new = previous(new)?;
                new_height = new_height.checked_sub(1)?;
            } else {
                old = previous(old)?;
                old_height = old_height.checked_sub(1)?;
            }
        }
        None
    };
    match is_known() {
        Some((id, _)) if id == from.0 => None,
        Some((id, height)) => Some(ReorganizationReply {
            fork: Some(id),
            depth: Some(from.1 - height),
            ..unknown
        }),
        // A chain that has grown by more blocks than are stored or read.
        None if to.1 > from.1 => None,
        None => Some(unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(byte: u8) -> AtomId {
        AtomId::new([byte; 32])
    }

    /// Blocks 1, 2, 3, 4 and, on block 2, 13 and 14; the first byte's last digit is the height.
    fn previous(block: AtomId) -> Option<AtomId> {
        match block.as_bytes()[0] {
            13 => Some(id(2)),
            0 | 99 => None,
            byte => Some(id(byte - 1)),
        }
    }

    fn found(from: u8, to: u8) -> Option<(Option<AtomId>, Option<u64>)> {
        let of = |byte: u8| (id(byte), u64::from(byte % 10));
        fork(of(from), of(to), previous).map(|it| (it.fork, it.depth))
    }

    #[test]
    fn extensions_are_not_reorganizations() {
        assert_eq!(found(2, 3), None);
        assert_eq!(found(1, 4), None);
        assert_eq!(found(3, 3), None);
        assert_eq!(found(2, 14), None);
    }

    #[test]
    fn fork_and_depth_are_those_of_the_branches() {
        assert_eq!(found(3, 13), Some((Some(id(2)), Some(1))));
        assert_eq!(found(4, 14), Some((Some(id(2)), Some(2))));
        assert_eq!(found(4, 13), Some((Some(id(2)), Some(2))));
        assert_eq!(found(3, 14), Some((Some(id(2)), Some(1))));
        // The head went back on its own branch.
        assert_eq!(found(4, 3), Some((Some(id(3)), Some(1))));
        // Blocks that are not stored.
        assert_eq!(found(99, 3), Some((None, None)));
        assert_eq!(found(3, 99), None);
    }
}
