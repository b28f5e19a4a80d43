//! Invalid blocks, and the peers that announced them.

use crate::atom::AtomId;
use crate::crypto::PublicKey;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;

/// Maximum number of invalid blocks remembered; the one found longest ago is forgotten.
pub(super) const MAX_BAD_BLOCKS: usize = 4_096;
/// Maximum number of offending peers remembered; the one recorded longest ago is forgotten.
pub(super) const MAX_OFFENDERS: usize = 1_024;
/// Maximum number of dead ends remembered; the one added longest ago is forgotten.
const MAX_DEAD_ENDS: usize = 1_024;

/// Record of a peer that announced invalid blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Offender {
    /// Number of invalid blocks that it announced, without immediate repetitions.
    pub(super) count: u64,
    /// The last of them.
    pub(super) block: AtomId,
}

/// Invalid blocks with their reasons. See the [module](self).
#[derive(Debug, Default)]
pub(super) struct BadBlocks {
    blocks: BTreeMap<AtomId, String>,
    order: VecDeque<AtomId>,
    offenders: BTreeMap<PublicKey, Offender>,
    offender_order: VecDeque<PublicKey>,
}

impl BadBlocks {
    /// Remembers a block as invalid.
    pub(super) fn add(&mut self, block: AtomId, reason: &str) {
        if self.blocks.insert(block, String::from(reason)).is_none() {
            self.order.push_back(block);
        }
        while self.order.len() > MAX_BAD_BLOCKS
            && let Some(oldest) = self.order.pop_front()
        {
            self.blocks.remove(&oldest);
        }
    }

    /// Returns the reason a block is invalid, if it is known to be.
    pub(super) fn reason(&self, block: &AtomId) -> Option<&str> {
        self.blocks.get(block).map(String::as_str)
    }

    /// Returns the invalid blocks, the one found last first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&AtomId, &String)> {
        let ids = self.order.iter().rev();
        ids.filter_map(|id| self.blocks.get_key_value(id))
    }

    /// Records a peer that announces an invalid block. The same block again counts once.
    pub(super) fn note_offender(&mut self, peer: PublicKey, block: AtomId) {
        if let Some(offender) = self.offenders.get_mut(&peer) {
            if offender.block != block {
                offender.count += 1;
                offender.block = block;
            }
            return;
        }
        if self.offender_order.len() >= MAX_OFFENDERS
            && let Some(oldest) = self.offender_order.pop_front()
        {
            self.offenders.remove(&oldest);
        }
        self.offenders.insert(peer, Offender { count: 1, block });
        self.offender_order.push_back(peer);
    }

    /// Returns the peers that announced invalid blocks.
    pub(super) fn offenders(&self) -> impl Iterator<Item = (&PublicKey, &Offender)> {
        self.offenders.iter()
    }
}

/// Blocks of branches that this node does not follow down: to another genesis, or to a fork that is
/// too deep. They are not invalid; they spare the next head of the same branch the descent.
#[derive(Debug)]
pub(super) struct DeadEnds<R> {
    blocks: BTreeMap<AtomId, R>,
    order: VecDeque<AtomId>,
}

impl<R> Default for DeadEnds<R> {
    fn default() -> Self {
        Self {
            blocks: BTreeMap::new(),
            order: VecDeque::new(),
        }
    }
}

impl<R> DeadEnds<R> {
    pub(super) fn add(&mut self, block: AtomId, reason: R) {
        if self.blocks.insert(block, reason).is_none() {
            self.order.push_back(block);
        }
        if self.order.len() > MAX_DEAD_ENDS
            && let Some(oldest) = self.order.pop_front()
        {
            self.blocks.remove(&oldest);
        }
    }

    pub(super) fn reason(&self, block: &AtomId) -> Option<&R> {
        self.blocks.get(block)
    }

    /// Forgets all dead ends.
    pub(super) fn clear(&mut self) {
        self.blocks.clear();
        self.order.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn id(number: u16) -> AtomId {
        let mut bytes = [7; 32];
        bytes[..2].copy_from_slice(&number.to_be_bytes());
        AtomId::new(bytes)
    }

    fn peer(number: u16) -> PublicKey {
        PublicKey::new(*id(number).as_bytes())
    }

    #[test]
    fn remembers_bad_blocks_and_offenders_within_bounds() {
        let mut bad = BadBlocks::default();
        for number in 0..6_000 {
            bad.add(id(number), "wrong receipt");
            bad.note_offender(peer(number), id(number));
        }
        assert_eq!(bad.iter().count(), MAX_BAD_BLOCKS);
        assert_eq!(bad.offenders().count(), MAX_OFFENDERS);
        assert_eq!(bad.reason(&id(1)), None);
        assert_eq!(bad.reason(&id(5_999)), Some("wrong receipt"));
        assert_eq!(bad.iter().next().map(|(block, _)| *block), Some(id(5_999)));
    }

    #[test]
    fn counts_different_bad_blocks_of_a_peer() {
        let mut bad = BadBlocks::default();
        for block in [1, 1, 2, 2, 3] {
            bad.note_offender(peer(9), id(block));
        }
        let counts: Vec<u64> = bad
            .offenders()
            .map(|(_, offender)| offender.count)
            .collect();
        assert_eq!(counts, [3]);
    }

    #[test]
    fn dead_ends_are_bounded_and_can_be_cleared() {
        let mut ends = DeadEnds::default();
        (0..2_000).for_each(|number| ends.add(id(number), number));
        assert_eq!(ends.reason(&id(1_999)), Some(&1_999));
        assert_eq!(ends.reason(&id(3)), None);
        assert_eq!(ends.blocks.len(), MAX_DEAD_ENDS);
        ends.clear();
        assert_eq!(ends.reason(&id(1_999)), None);
    }
}
