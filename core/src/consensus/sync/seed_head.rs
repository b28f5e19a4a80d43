//! Default seed, and the newest head that it has announced.

use super::announced_heads::AnnouncedHeads;
use super::announcers::Announcer;
use crate::atom::AtomId;
use crate::crypto::PublicKey;
use alloc::vec::Vec;

/// Default seed and its head. The head ends before the seed: one that cannot be followed is
/// dropped, and the seed is still asked first for what belongs to its chain.
#[derive(Debug, Default)]
pub(super) struct SeedHead {
    seed: Option<Announcer>,
    head: Option<AtomId>,
}

impl SeedHead {
    /// Records that the seed has announced a head.
    pub(super) const fn announce(&mut self, seed: Announcer, head: AtomId) {
        self.seed = Some(seed);
        self.head = Some(head);
    }

    /// Drops the head, which cannot be followed.
    pub(super) const fn drop_head(&mut self) {
        self.head = None;
    }

    /// Drops the seed and its head if the seed is this peer.
    pub(super) fn remove_peer(&mut self, peer: &PublicKey) {
        if self.seed.is_some_and(|seed| seed.peer == *peer) {
            *self = Self::default();
        }
    }

    /// Returns the seed.
    pub(super) const fn seed(&self) -> Option<Announcer> {
        self.seed
    }

    /// Returns the newest head of the seed.
    pub(super) const fn head(&self) -> Option<AtomId> {
        self.head
    }

    /// Returns the heads of all seeds: this one, and those that configured seeds announce.
    pub(super) fn with_heads_of_seeds(&self, heads: &AnnouncedHeads) -> Vec<AtomId> {
        let mut heads = heads.heads_of_seeds();
        heads.extend(self.head);
        heads.sort_unstable();
        heads.dedup();
        heads
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::network_group::NetworkGroup;

    #[test]
    fn seed_outlives_its_head_and_leaves_with_its_peer() {
        let peer = |n| PublicKey::new([n; 32]);
        let seed = Announcer {
            peer: peer(1),
            group: NetworkGroup::of([1, 2, 3, 4].into()),
            is_seed: true,
        };
        let mut head = SeedHead::default();
        head.announce(seed, AtomId::new([9; 32]));
        assert_eq!(head.head(), Some(AtomId::new([9; 32])));
        head.drop_head();
        assert_eq!(head.head(), None);
        head.remove_peer(&peer(2));
        assert_eq!(head.seed().map(|seed| seed.peer), Some(peer(1)));
        head.announce(seed, AtomId::new([8; 32]));
        head.remove_peer(&peer(1));
        assert!(head.seed().is_none() && head.head().is_none());
    }
}
