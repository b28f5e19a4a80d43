//! First adoption of a chain.
//!
//! A node without a chain waits before it adopts one: for the heads of all configured seeds, or of
//! peers in [`FIRST_ADOPTION_GROUPS`] different network groups, or for `first_adoption_wait`.
//! Chains with different geneses cannot be compared; the one announced by more seeds, then by more
//! network groups, is adopted.

use super::announced_heads::{AnnouncedHeads, AnnouncerCounts};
use super::announcers::Announcers;
use super::block_index::{BlockIndex, Entry};
use super::branches::Branches;
use super::config::SyncConfig;
use super::seed_head::SeedHead;
use crate::atom::AtomId;
use crate::time::Instant;
use alloc::collections::BTreeMap;
use core::cmp::Reverse;
use core::time::Duration;

/// Number of network groups whose heads a node waits for before it adopts a chain.
pub const FIRST_ADOPTION_GROUPS: usize = 8;

/// Wait for the heads of independent peers. See the [module](self).
#[derive(Debug)]
pub(super) struct FirstAdoption {
    /// Number of configured seeds.
    seeds: usize,
    wait: Duration,
    /// Time when a peer first announced a head.
    first_announced: Option<Instant>,
}

impl FirstAdoption {
    /// Creates the state of a node to which no peer has announced a head.
    pub(super) const fn new(config: &SyncConfig) -> Self {
        Self {
            seeds: config.seeds,
            wait: config.first_adoption_wait,
            first_announced: None,
        }
    }

    /// Records that a peer has announced a head.
    pub(super) fn note_announcement(&mut self, now: Instant) {
        self.first_announced.get_or_insert(now);
    }

    /// Returns whether no peer has announced a head yet.
    pub(super) const fn is_alone(&self) -> bool {
        self.first_announced.is_none()
    }

    /// Returns whether the heads of enough independent peers are known.
    pub(super) fn is_ready(&self, now: Instant, heads: &AnnouncedHeads, seed: &SeedHead) -> bool {
        let AnnouncerCounts { groups, seeds } = heads.announcer_counts();
        let seeds = seeds + usize::from(seed.head().is_some());
        let has_seeds = self.seeds > 0 && seeds >= self.seeds;
        let first = self.first_announced;
        let is_late = first.is_some_and(|first| now.since(first) >= self.wait);
        has_seeds || groups >= FIRST_ADOPTION_GROUPS || is_late
    }

    /// Returns when the wait ends if no more peers announce a head.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.first_announced.map(|first| first + self.wait)
    }
}

/// Returns the root of the verified chain that most seeds, then most network groups, announce;
/// among equals the one with the higher chain, then with the lower id.
pub(super) fn best_root(
    index: &BlockIndex,
    heads: &AnnouncedHeads,
    branches: &Branches,
) -> Option<AtomId> {
    let mut support: BTreeMap<AtomId, Announcers> = BTreeMap::new();
    for id in heads.heads() {
        if let Some(root) = index.get(id).and_then(Entry::root) {
            let known = support.entry(root).or_default();
            known.add_all(&heads.announcers(id));
        }
    }
    for branch in branches.iter() {
        if let Some(root) = branch.root.filter(|_| !branch.is_reading_headers()) {
            support.entry(root).or_default().add_all(&branch.announcers);
        }
    }
    let roots = index.roots();
    let founded = roots.filter(|(root, top)| *top > 0 || heads.peers_of(root) > 0);
    let ranked = founded.map(|(root, top)| {
        let support = support.get(&root).map(Announcers::support);
        (support, top, Reverse(root))
    });
    ranked.max().map(|(.., root)| root.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::sync::announcers::Announcer;
    use crate::consensus::sync::header_path::PathLimits;
    use crate::consensus::sync::tests::parts::{announcer, id, insert};

    const NOW: Instant = Instant::from_secs(100);

    fn wait(seeds: usize) -> FirstAdoption {
        FirstAdoption::new(&SyncConfig {
            seeds,
            ..SyncConfig::default()
        })
    }

    #[test]
    fn waits_for_all_seeds_or_many_groups_or_its_time() {
        let (mut heads, mut seed) = (AnnouncedHeads::default(), SeedHead::default());
        let is_ready =
            |seeds, heads: &AnnouncedHeads, seed: &SeedHead| wait(seeds).is_ready(NOW, heads, seed);
        let of_seed = |number| Announcer {
            is_seed: true,
            ..announcer(number)
        };
        heads.announce(NOW, of_seed(1), id(1));
        assert!(is_ready(1, &heads, &seed) && !is_ready(2, &heads, &seed));
        seed.announce(of_seed(2), id(2));
        assert!(is_ready(2, &heads, &seed) && !is_ready(0, &heads, &seed));
        for number in 10..17 {
            assert!(!is_ready(0, &heads, &seed));
            heads.announce(NOW, announcer(number), id(number));
        }
        assert!(is_ready(0, &heads, &seed), "eight groups");

        let (heads, seed) = (AnnouncedHeads::default(), SeedHead::default());
        let mut late = wait(0);
        assert!(late.is_alone() && late.deadline().is_none());
        late.note_announcement(NOW);
        late.note_announcement(NOW + Duration::from_secs(5));
        assert_eq!(late.deadline(), Some(NOW + Duration::from_secs(20)));
        assert!(!late.is_ready(NOW + Duration::from_secs(19), &heads, &seed));
        assert!(late.is_ready(NOW + Duration::from_secs(20), &heads, &seed));
    }

    #[test]
    fn root_of_the_most_support_is_adopted_and_a_lone_genesis_is_not() {
        let (mut index, mut heads) = (BlockIndex::default(), AnnouncedHeads::default());
        let branches = Branches::new(PathLimits {
            interval: 4,
            checkpoints: 4,
            resident: 64,
        });
        insert(&mut index, id(1), AtomId::ZERO, 0, id(1));
        assert_eq!(best_root(&index, &heads, &branches), None);
        heads.announce(NOW, announcer(9), id(1));
        assert_eq!(best_root(&index, &heads, &branches), Some(id(1)));
        // A longer chain is not preferred to one that more groups announce.
        insert(&mut index, id(11), AtomId::ZERO, 0, id(11));
        insert(&mut index, id(12), id(11), 1, id(11));
        assert_eq!(best_root(&index, &heads, &branches), Some(id(1)));
        for number in [3, 4] {
            heads.announce(NOW, announcer(number), id(12));
        }
        assert_eq!(best_root(&index, &heads, &branches), Some(id(11)));
    }
}
