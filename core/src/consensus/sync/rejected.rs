//! Blocks and heads that are not followed, with the reasons.
//!
//! An invalid block is remembered, as are its known descendants, so that a later branch ends at the
//! first of them. A dead end is a block of a branch that this node does not follow, although none
//! of its blocks is known to be invalid.

use super::bad_blocks::{BadBlocks, DeadEnds, Offender};
use super::other_chains::OtherChain;
use crate::atom::AtomId;
use crate::crypto::PublicKey;
use alloc::string::String;

/// Reason a branch is not followed, although none of its blocks is known to be invalid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum DeadEnd {
    /// It belongs to another chain.
    OtherChain(OtherChain),
    /// Its fork point is too deep.
    DeepFork,
    /// The operator avoids this block of it.
    Avoided(AtomId),
}

/// Rejected blocks and heads. See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Rejected {
    bad: BadBlocks,
    dead_ends: DeadEnds<DeadEnd>,
    /// Head that was dropped last, with the reason.
    dropped: Option<(AtomId, String)>,
}

impl Rejected {
    /// Remembers a block as invalid. `announcers` are the peers that announce it as their head.
    pub(super) fn add_bad(
        &mut self,
        block: AtomId,
        reason: &str,
        announcers: impl IntoIterator<Item = PublicKey>,
    ) {
        self.bad.add(block, reason);
        for peer in announcers {
            self.bad.note_offender(peer, block);
        }
    }

    /// Records that a peer announces a block, if that is known to be invalid. Returns the reason.
    pub(super) fn check_announcement(&mut self, peer: PublicKey, block: AtomId) -> Option<String> {
        let reason = self.bad.reason(&block).map(String::from)?;
        self.bad.note_offender(peer, block);
        Some(reason)
    }

    /// Returns the reason a block is invalid, if it is known to be.
    pub(super) fn bad_reason(&self, block: &AtomId) -> Option<&str> {
        self.bad.reason(block)
    }

    /// Remembers blocks as dead ends.
    pub(super) fn add_dead_ends(
        &mut self,
        blocks: impl IntoIterator<Item = AtomId>,
        reason: DeadEnd,
    ) {
        for block in blocks {
            self.dead_ends.add(block, reason);
        }
    }

    /// Returns the reason a block is a dead end, if it is known to be.
    pub(super) fn dead_end(&self, block: &AtomId) -> Option<DeadEnd> {
        self.dead_ends.reason(block).copied()
    }

    /// Forgets all dead ends, after the operator has changed what is followed. Invalid blocks stay
    /// invalid.
    pub(super) fn forget_dead_ends(&mut self) {
        self.dead_ends.clear();
    }

    /// Returns whether a block is invalid or a dead end.
    pub(super) fn contains(&self, block: &AtomId) -> bool {
        self.bad.reason(block).is_some() || self.dead_ends.reason(block).is_some()
    }

    /// Records a head that is dropped, for the status.
    pub(super) fn note_dropped(&mut self, head: AtomId, reason: String) {
        self.dropped = Some((head, reason));
    }

    /// Returns the head that was dropped last, with the reason.
    pub(super) const fn dropped(&self) -> Option<&(AtomId, String)> {
        self.dropped.as_ref()
    }

    /// Returns the invalid blocks, the one found last first.
    pub(super) fn bad_blocks(&self) -> impl Iterator<Item = (&AtomId, &String)> {
        self.bad.iter()
    }

    /// Returns the peers that announced invalid blocks.
    pub(super) fn offenders(&self) -> impl Iterator<Item = (&PublicKey, &Offender)> {
        self.bad.offenders()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn id(number: u8) -> AtomId {
        AtomId::new([number; 32])
    }

    fn peer(number: u8) -> PublicKey {
        PublicKey::new([number; 32])
    }

    #[test]
    fn announcers_of_an_invalid_block_are_offenders_before_and_after_it_is_found() {
        let mut rejected = Rejected::default();
        assert_eq!(rejected.check_announcement(peer(1), id(1)), None);
        rejected.add_bad(id(1), "wrong receipt", [peer(1)]);
        let reason = rejected.check_announcement(peer(2), id(1));
        assert_eq!(reason.as_deref(), Some("wrong receipt"));
        let offenders: Vec<_> = rejected.offenders().map(|(peer, _)| *peer).collect();
        assert_eq!(offenders, [peer(1), peer(2)]);
    }

    #[test]
    fn operator_may_open_dead_ends_but_not_invalid_blocks() {
        let mut rejected = Rejected::default();
        rejected.add_bad(id(1), "wrong receipt", []);
        rejected.add_dead_ends([id(2), id(3)], DeadEnd::DeepFork);
        assert_eq!(rejected.dead_end(&id(3)), Some(DeadEnd::DeepFork));
        assert!(rejected.contains(&id(1)) && rejected.contains(&id(2)));
        rejected.forget_dead_ends();
        assert_eq!(rejected.dead_end(&id(3)), None);
        assert!(rejected.contains(&id(1)) && !rejected.contains(&id(2)));
    }
}
