//! Random trees compared with a naive model, which recounts everything at every fork.

use super::*;
use proptest::prelude::*;
use proptest::sample::Index;
use std::collections::BTreeMap;

/// Run of blocks of a random tree: start, length, validators that make it.
type Run = (Index, u64, Vec<usize>);

fn runs(count: usize) -> impl Strategy<Value = Vec<Run>> {
    let length = prop_oneof![1..4_u64, 1..22_u64, 14..40_u64];
    let validators = proptest::collection::vec(0..8_usize, 1..5);
    proptest::collection::vec((any::<Index>(), length, validators), 1..count)
}

fn stakes() -> impl Strategy<Value = Vec<u64>> {
    let stake = prop_oneof![Just(0_u64), 1..10_u64, 1..500_u64];
    proptest::collection::vec(stake, 8)
}

/// Builds the tree and returns it with its blocks in order of creation.
fn build(stakes: &[u64], runs: &[Run]) -> (World, Vec<AtomId>) {
    let mut world = World::new(stakes);
    let mut blocks = vec![id(1)];
    for (at, length, validators) in runs {
        let mut parent = *at.get(&blocks);
        for by in validators
            .iter()
            .cycle()
            .take((*length).try_into().unwrap())
        {
            parent = world.child(parent, *by);
            blocks.push(parent);
        }
    }
    (world, blocks)
}

struct Naive<'a> {
    world: &'a World,
    known: BTreeSet<AtomId>,
    own: Option<AtomId>,
}

impl<'a> Naive<'a> {
    fn new(world: &'a World, own: Option<AtomId>, tips: &[AtomId]) -> Self {
        let mut known = BTreeSet::new();
        for tip in own.iter().chain(tips) {
            known.extend(chain_of(world, *tip));
        }
        Self { world, known, own }
    }

    fn height(&self, id: AtomId) -> u64 {
        self.world.blocks[&id].height
    }

    fn is_above(&self, id: AtomId, ancestor: AtomId) -> bool {
        let height = self.height(ancestor);
        self.height(id) >= height && self.world.block_at(id, height) == ancestor
    }

    fn decide(&self, max_reorg_depth: u64) -> Option<AtomId> {
        let mut at = id(1);
        loop {
            let children = self.known.iter().copied();
            let children: Vec<AtomId> = children
                .filter(|child| self.world.blocks[child].parent == at)
                .collect();
            let own = self.own.filter(|own| self.is_above(*own, at) && *own != at);
            let ours =
                own.and_then(|own| children.iter().copied().find(|it| self.is_above(own, *it)));
            match *children {
                [] => return Some(at),
                [only] => at = only,
                _ => {
                    let depth = own.map_or(0, |own| self.height(own) - self.height(at));
                    let selected = self.select(at, &children, ours);
                    let is_fixed = depth > max_reorg_depth;
                    at = ours.filter(|_| is_fixed).unwrap_or(selected);
                }
            }
        }
    }

    fn select(&self, fork: AtomId, children: &[AtomId], ours: Option<AtomId>) -> AtomId {
        let total: u128 = self.world.stakes.values().map(|it| u128::from(*it)).sum();
        let measured: BTreeMap<AtomId, (u128, u128)> = children
            .iter()
            .map(|child| {
                let group = self.known.iter().filter(|id| self.is_above(**id, *child));
                let group: Vec<&IndexedBlock> = group.map(|id| &self.world.blocks[id]).collect();
                let top = group.iter().map(|block| block.height).max().unwrap();
                let producers: BTreeSet<Address> = group.iter().map(|it| it.producer).collect();
                let stake = producers
                    .iter()
                    .map(|it| u128::from(self.world.stakes[it]))
                    .sum();
                (*child, (u128::from(top - self.height(fork)), stake))
            })
            .collect();
        let is_deep = measured.values().any(|(blocks, _)| *blocks > 16);
        let rank =
            |(blocks, stake): (u128, u128)| (blocks >= 16 && 2 * stake > total, blocks * stake);
        let replaces = |ours: AtomId, other: AtomId| {
            let (o, c) = (measured[&ours], measured[&other]);
            if is_deep {
                let is_tied = rank(c) == rank(o) && other < ours;
                8 * c.1 >= o.1 && (rank(c) > rank(o) || is_tied)
            } else {
                c.0 > o.0 && 8 * c.0 * c.1 >= o.0 * o.1
            }
        };
        // Of equal ones the first, which has the lowest id.
        let best = |of: Vec<AtomId>, by: &dyn Fn(AtomId) -> (u128, bool, u128)| {
            let mut best: Option<AtomId> = None;
            for id in of {
                if best.is_none_or(|best| by(id) > by(best)) {
                    best = Some(id);
                }
            }
            best
        };
        let weight = |id: AtomId| {
            let (majority, score) = rank(measured[&id]);
            (
                if is_deep { measured[&id].1 } else { score },
                majority,
                score,
            )
        };
        let strength = |id: AtomId| {
            let (majority, score) = rank(measured[&id]);
            let blocks = measured[&id].0;
            (
                if is_deep {
                    u128::from(majority)
                } else {
                    blocks
                },
                false,
                score,
            )
        };
        let mut at = ours.or_else(|| best(children.to_vec(), &weight)).unwrap();
        loop {
            let better = children.iter().copied().filter(|it| replaces(at, *it));
            match best(better.collect(), &strength) {
                Some(next) => at = next,
                None => return at,
            }
        }
    }
}

fn chain_of(world: &World, tip: AtomId) -> BTreeSet<AtomId> {
    let mut chain = BTreeSet::new();
    let mut at = tip;
    while let Some(block) = world.blocks.get(&at) {
        chain.insert(at);
        at = block.parent;
    }
    chain
}

/// Compares the branches of every fork as counted by fork choice with a recount.
fn check_measures(world: &World, choice: &mut Choice, own: AtomId, known: &[AtomId]) {
    choice.decide(world, &[]);
    let naive = Naive::new(world, Some(own), known);
    for fork in choice.forks() {
        for side in fork.ours.iter().chain(&fork.others) {
            let group = naive
                .known
                .iter()
                .filter(|id| naive.is_above(**id, side.first));
            let group: Vec<&IndexedBlock> = group.map(|id| &world.blocks[id]).collect();
            let producers: BTreeSet<Address> = group.iter().map(|it| it.producer).collect();
            let stake: u64 = producers.iter().map(|it| world.stakes[it]).sum();
            let top = group.iter().map(|block| block.height).max().unwrap();
            assert_eq!(side.blocks, top - fork.height);
            if let Some(counted) = &side.stake {
                assert_eq!(*counted, Natural::from(stake), "{}", text(&fork));
            }
        }
    }
}

fn text(fork: &Fork) -> String {
    std::format!("{fork:#?}")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn walk_agrees_with_a_naive_model(
        stakes in stakes(), runs in runs(8), own: Option<Index>, tips: Vec<Index>, limit in 10..60_u64,
    ) {
        let (world, blocks) = build(&stakes, &runs);
        let own = own.map(|own| *own.get(&blocks));
        let mut tips: Vec<AtomId> = tips.iter().take(12).map(|tip| *tip.get(&blocks)).collect();
        tips.push(*blocks.last().unwrap());
        let mut choice = Choice::new(Settings { max_reorg_depth: limit });
        if let Some(own) = own {
            choice.set_head(&world, own).unwrap();
        }
        for tip in &tips {
            choice.insert(&world, (*tip).into(), NOW).unwrap();
        }
        let outcome = choice.decide(&world, &[]);
        let is_undecided = causes(&outcome).contains(&Cause::NeedsFirstDecision);
        if !is_undecided {
            let expected = Naive::new(&world, own, &tips).decide(limit);
            prop_assert_eq!(target(&outcome).or(own), expected);
        }
    }

    #[test]
    fn order_of_insertion_does_not_matter_and_a_second_decision_keeps_the_first(
        stakes in stakes(), runs in runs(8), own: Index, order: Vec<Index>,
    ) {
        let (world, blocks) = build(&stakes, &runs);
        let own = *own.get(&blocks);
        let expected = Naive::new(&world, Some(own), &blocks).decide(1_024).unwrap();
        let mut choice = world.choice(Some(own), &[]);
        for tip in order.iter().map(|tip| *tip.get(&blocks)) {
            choice.insert(&world, tip.into(), NOW).unwrap();
            choice.decide(&world, &[]);
        }
        for tip in blocks.iter().rev() {
            choice.insert(&world, (*tip).into(), NOW).unwrap();
        }
        let found = target(&choice.decide(&world, &[])).unwrap_or(own);
        prop_assert_eq!(found, expected);
        choice.set_head(&world, found).unwrap();
        prop_assert_eq!(choice.decide(&world, &[]).decision, Decision::Keep);
        prop_assert_eq!(world.chosen(found, &blocks), found);
    }

    #[test]
    fn stake_counts_stay_correct_through_growth_moves_and_removals(
        stakes in stakes(), runs in runs(10), moves: Vec<(Index, bool)>, avoided: Index,
    ) {
        let (world, blocks) = build(&stakes, &runs);
        let mut own = id(1);
        let mut choice = world.choice(Some(own), &[]);
        let mut known = vec![own];
        for (at, is_head) in moves {
            let block = *at.get(&blocks);
            choice.insert(&world, block.into(), NOW).unwrap();
            known.push(block);
            if is_head {
                choice.set_head(&world, block).unwrap();
                own = block;
            }
            check_measures(&world, &mut choice, own, &known);
        }
        // Without the blocks above an avoided one, and with them again.
        let avoided = *avoided.get(&blocks);
        if avoided == id(1) {
            return Ok(());
        }
        prop_assert!(choice.avoid(&world, avoided));
        let clean = |tip: AtomId| match chain_of(&world, tip).contains(&avoided) {
            true => world.blocks[&avoided].parent,
            false => tip,
        };
        let left: Vec<AtomId> = known.iter().map(|tip| clean(*tip)).collect();
        check_measures(&world, &mut choice, clean(own), &left);
        choice.stop_avoiding(&world, &avoided);
        for tip in &known {
            choice.insert(&world, (*tip).into(), NOW).unwrap();
        }
        check_measures(&world, &mut choice, own, &known);
    }

    #[test]
    fn removal_of_tips_keeps_the_measures(
        stakes in stakes(), runs in runs(10), own: Index, removed: Vec<Index>,
    ) {
        let (world, blocks) = build(&stakes, &runs);
        let own = *own.get(&blocks);
        let mut choice = world.choice(Some(own), &blocks);
        choice.decide(&world, &[]);
        for at in removed.iter().take(5) {
            let tree = choice.tree.as_mut().unwrap();
            let leaves: Vec<_> = tree.leaves().map(|(key, leaf)| (key, leaf.last())).collect();
            let (key, leaf) = *at.get(&leaves);
            if leaves.len() < 2 || tree.path(tree.find(&own).unwrap().0).contains(&key) || leaf == own {
                continue;
            }
            tree.remove(key);
            choice.settle();
            let left: Vec<AtomId> = choice.tree.as_ref().unwrap().leaves().map(|(_, it)| it.last()).collect();
            check_measures(&world, &mut choice, own, &left);
        }
    }

    #[test]
    fn forgetting_blocks_changes_no_measure(
        stakes in stakes(), runs in runs(8), own: Index, times in 1..8_usize,
    ) {
        let (world, blocks) = build(&stakes, &runs);
        let own = *own.get(&blocks);
        let mut choice = world.choice(Some(own), &blocks);
        let before = choice.decide(&world, &[]);
        let forks = choice.forks();
        for _ in 0..times {
            choice.tree.as_mut().unwrap().forget();
            choice.settle();
        }
        prop_assert_eq!(choice.decide(&world, &[]), before);
        prop_assert_eq!(choice.forks(), forks);
    }
}
