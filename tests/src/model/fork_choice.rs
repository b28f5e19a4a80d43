//! Stateless fork choice oracle: every set is counted anew at every fork.

#![expect(
    clippy::indexing_slicing,
    reason = "an oracle: a wrong index fails the test that uses it"
)]

use std::collections::BTreeSet;

/// Tree of blocks. Block 0 is the genesis; every other block has a parent with a lower number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tree {
    /// Parent of each block; that of the genesis is not used.
    pub parents: Vec<usize>,
    /// Producer of each block.
    pub producers: Vec<usize>,
    /// Rank of each block's id among all ids.
    pub ranks: Vec<usize>,
    /// Stake of each producer, the same at every block.
    pub stakes: Vec<u64>,
}

/// Decision of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Choice {
    /// This head.
    Head(usize),
    /// No head: the node is on neither of two deep branches.
    Undecided,
}

/// Properties of the forks on the way to a decision.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kind {
    /// True if every fork had a branch of more than 16 blocks.
    pub is_deep: bool,
    /// True if at some fork one branch had less than an eighth of the stake of another one.
    pub has_light: bool,
}

#[derive(Clone, Copy)]
struct Group {
    first: usize,
    blocks: u128,
    stake: u128,
}

impl Tree {
    /// Returns the height of a block.
    #[must_use]
    pub fn height(&self, block: usize) -> usize {
        self.chain(block).count() - 1
    }

    fn chain(&self, block: usize) -> impl Iterator<Item = usize> {
        core::iter::successors(Some(block), |at| (*at != 0).then(|| self.parents[*at]))
    }

    fn is_above(&self, block: usize, ancestor: usize) -> bool {
        let mut at = block;
        while at > ancestor {
            at = self.parents[at];
        }
        at == ancestor
    }

    fn known(&self, own: Option<usize>, tips: &[usize]) -> BTreeSet<usize> {
        let all = own.iter().chain(tips);
        all.flat_map(|tip| self.chain(*tip)).collect()
    }

    fn children(&self, known: &BTreeSet<usize>, fork: usize) -> Vec<usize> {
        let above = known.iter().copied().filter(|block| *block != 0);
        above.filter(|block| self.parents[*block] == fork).collect()
    }

    fn groups(&self, known: &BTreeSet<usize>, fork: usize) -> Vec<Group> {
        let group = |first: &usize| {
            let members = known.iter().filter(|it| self.is_above(**it, *first));
            let members: Vec<usize> = members.copied().collect();
            let top = members.iter().map(|it| self.height(*it)).max();
            let producers: BTreeSet<usize> = members.iter().map(|it| self.producers[*it]).collect();
            let stake = producers
                .iter()
                .map(|it| u128::from(self.stakes[*it]))
                .sum();
            Group {
                first: *first,
                blocks: (top.unwrap_or(0) - self.height(fork)) as u128,
                stake,
            }
        };
        let children = self.children(known, fork);
        children.iter().map(group).collect()
    }

    /// Returns the head of a node that stands at `own` and knows the chains of `tips`.
    #[must_use]
    pub fn choose(&self, own: Option<usize>, tips: &[usize], max_reorg_depth: u64) -> Choice {
        let known = self.known(own, tips);
        let limit = u128::from(max_reorg_depth);
        let mut at = 0;
        loop {
            match *self.children(&known, at) {
                [] => return Choice::Head(at),
                [only] => {
                    at = only;
                    continue;
                }
                _ => (),
            }
            let groups = self.groups(&known, at);
            let ours = own.and_then(|own| {
                groups
                    .iter()
                    .position(|group| self.is_above(own, group.first))
            });
            let selected = self.select(&groups, ours);
            if let (Some(ours), Some(own)) = (ours, own) {
                let depth = (self.height(own) - self.height(at)) as u128;
                at = groups[if depth > limit { ours } else { selected }].first;
                continue;
            }
            let winner = groups[selected];
            let is_rival = |group: &Group| {
                group.first != winner.first
                    && group.blocks.min(winner.blocks) > limit.max(16)
                    && 8 * group.stake >= winner.stake
            };
            if groups.iter().any(is_rival) {
                return Choice::Undecided;
            }
            at = winner.first;
        }
    }

    fn select(&self, groups: &[Group], ours: Option<usize>) -> usize {
        let total: u128 = self.stakes.iter().map(|stake| u128::from(*stake)).sum();
        let is_deep = groups.iter().any(|group| group.blocks > 16);
        let score = |at: usize| groups[at].blocks * groups[at].stake;
        let majority = |at: usize| groups[at].blocks >= 16 && 2 * groups[at].stake > total;
        let rank = |at: usize| usize::MAX - self.ranks[groups[at].first];
        let strength = |at: usize| {
            if is_deep {
                (u128::from(majority(at)), score(at), rank(at))
            } else {
                (groups[at].blocks, score(at), rank(at))
            }
        };
        let weight = |at: usize| {
            let heavy = if is_deep { groups[at].stake } else { score(at) };
            (heavy, majority(at), score(at), rank(at))
        };
        let replaces = |ours: usize, other: usize| {
            if is_deep {
                8 * groups[other].stake >= groups[ours].stake && strength(other) > strength(ours)
            } else {
                groups[other].blocks > groups[ours].blocks && 8 * score(other) >= score(ours)
            }
        };
        let all = 0..groups.len();
        let heaviest = all.clone().max_by_key(|at| weight(*at));
        let mut at = ours.or(heaviest).unwrap_or(0);
        while let Some(next) = all
            .clone()
            .filter(|it| replaces(at, *it))
            .max_by_key(|it| strength(*it))
        {
            at = next;
        }
        at
    }

    /// Returns the properties of the forks among the chains of `tips`.
    #[must_use]
    pub fn kind(&self, tips: &[usize]) -> Kind {
        let known = self.known(None, tips);
        let mut kind = Kind {
            is_deep: true,
            has_light: false,
        };
        for fork in &known {
            if self.children(&known, *fork).len() > 1 {
                let groups = self.groups(&known, *fork);
                kind.is_deep &= groups.iter().any(|group| group.blocks > 16);
                let stakes = || groups.iter().map(|group| group.stake);
                let (least, most) = (stakes().min(), stakes().max());
                kind.has_light |= least.map(|stake| 8 * stake) < most;
            }
        }
        kind
    }
}
