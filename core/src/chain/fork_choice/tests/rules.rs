//! Fork choice rule at one fork.

use super::*;
use proptest::prelude::*;

fn branch(blocks: u64, stake: u64, first: u64) -> Branch {
    Branch {
        blocks,
        stake: stake.into(),
        first: id(first),
    }
}

/// Returns whether the second branch replaces the first, with a total stake of 1,000.
fn replaced(ours: (u64, u64), challenger: (u64, u64)) -> bool {
    let (ours, challenger) = (
        branch(ours.0, ours.1, 1),
        branch(challenger.0, challenger.1, 2),
    );
    replaces(&ours, &challenger, &1_000_u64.into())
}

#[test]
fn near_fork_takes_the_higher_branch_unless_far_lighter() {
    assert!(replaced((1, 100), (2, 100)));
    assert!(!replaced((2, 100), (2, 900)));
    assert!(!replaced((3, 1), (2, 900)));
    // 8 b(C) D(C) against b(O) D(O): 8 x 16 x 1 against 1 x 128.
    assert!(replaced((1, 128), (16, 1)));
    assert!(!replaced((1, 129), (16, 1)));
    assert!(replaced((15, 128), (16, 15)));
    assert!(!replaced((15, 137), (16, 16)));
}

#[test]
fn fork_is_deep_as_soon_as_one_branch_has_more_than_16_blocks() {
    // 15 x 400 outweighs 17 x 300, though it is lower.
    assert!(replaced((15, 400), (16, 300)));
    assert!(!replaced((15, 400), (17, 300)));
    assert!(replaced((17, 300), (15, 400)));
    assert!(!replaced((16, 300), (15, 400)));
}

#[test]
fn deep_fork_takes_blocks_times_stake() {
    assert!(replaced((20, 100), (21, 100)));
    assert!(replaced((20, 100), (20, 101)));
    assert!(replaced((40, 100), (20, 201)));
    assert!(!replaced((40, 100), (20, 199)));
    assert!(!replaced((21, 100), (20, 100)));
}

#[test]
fn deep_fork_is_never_won_with_less_than_an_eighth_of_the_stake() {
    assert!(replaced((20, 400), (1_000, 50)));
    assert!(!replaced((20, 400), (1_000, 49)));
    // The heavier branch, which has fewer blocks times stake, does not win from the other side
    // either.
    assert!(!replaced((1_000, 49), (20, 400)));
}

#[test]
fn majority_wins_over_any_length() {
    // 501 of 1,000 and 16 blocks are a majority, 500 or 15 are not.
    assert!(replaced((1_000, 499), (16, 501)));
    assert!(!replaced((1_000, 499), (16, 500)));
    assert!(!replaced((1_000, 499), (15, 501)));
    assert!(!replaced((16, 501), (1_000, 499)));
    // Between two majorities, blocks times stake decides.
    assert!(replaced((17, 501), (16, 600)));
    let odd = |stake| branch(16, stake, 1).has_majority(&7_u64.into());
    assert!(odd(4) && !odd(3));
}

#[test]
fn exact_tie_goes_to_the_lower_first_block() {
    let total = 1_000_u64.into();
    let (low, high) = (branch(20, 100, 1), branch(40, 50, 2));
    assert!(replaces(&high, &low, &total));
    assert!(!replaces(&low, &high, &total));
    // In a near fork no branch replaces one of equal height.
    let (low, high) = (branch(16, 100, 1), branch(16, 100, 2));
    assert!(!replaces(&high, &low, &total) && !replaces(&low, &high, &total));
}

#[test]
fn products_do_not_overflow() {
    let large: Natural = "340282366920938463463374607431768211455".parse().unwrap();
    let branch = |blocks, first| Branch {
        blocks,
        stake: large.clone(),
        first: id(first),
    };
    let total = &large * &large;
    let (ours, longer) = (branch(u64::MAX - 1, 1), branch(u64::MAX, 2));
    assert!(replaces(&ours, &longer, &total) && !replaces(&longer, &ours, &total));
}

#[test]
fn light_branch_does_not_shield_the_others() {
    // Ours is 20 x 300. The second has more blocks times stake than the third, but is light.
    let branches = [branch(20, 300, 1), branch(10_000, 1, 2), branch(25, 350, 3)];
    let selection = select(&branches, Some(0), &1_000_u64.into()).unwrap();
    assert_eq!((selection.branch, selection.vetoed), (2, Some(1)));
}

#[test]
fn depth_belongs_to_the_fork_so_that_three_branches_have_no_cycle() {
    // In pairs: 2 replaces 1 (near and higher), 3 replaces 2 and 1 replaces 3 (deep and heavier).
    let branches = [branch(5, 300, 1), branch(10, 40, 2), branch(20, 30, 3)];
    let total = 1_000_u64.into();
    let pair = |a: usize, b: usize| replaces(&branches[a], &branches[b], &total);
    assert!(pair(0, 1) && pair(1, 2) && pair(2, 0));
    for incumbent in [None, Some(0), Some(1), Some(2)] {
        let selection = select(&branches, incumbent, &total).unwrap();
        assert_eq!(selection.branch, 0, "from {incumbent:?}");
    }
}

#[test]
fn node_without_a_branch_starts_at_the_heaviest() {
    let total = 1_000_u64.into();
    let from_none = |branches: &[Branch]| select(branches, None, &total);
    // Long and light against short and heavy.
    let selection = from_none(&[branch(4_000, 1, 1), branch(6, 300, 2)]).unwrap();
    assert_eq!((selection.branch, selection.vetoed), (1, Some(0)));
    // Near: the higher one, of equally high ones the heavier, of equally heavy ones the lower id.
    let near = [
        branch(2, 100, 4),
        branch(3, 90, 3),
        branch(3, 100, 2),
        branch(3, 100, 1),
    ];
    for len in 1..=near.len() {
        let selected = from_none(&near[..len]).map(|selection| selection.branch);
        assert_eq!(selected, Some(len - 1));
    }
    assert_eq!(from_none(&[]), None);
    assert_eq!(select(&[branch(1, 1, 1)], Some(1), &total), None);
}

fn any_branches() -> impl Strategy<Value = Vec<Branch>> {
    let blocks = prop_oneof![1..20_u64, 14..19_u64, 1..3_000_u64];
    let stake = prop_oneof![1..20_u64, 1..600_u64];
    let branches = proptest::collection::vec((blocks, stake), 1..6);
    branches.prop_map(|all| {
        let numbered = (1..).zip(all);
        numbered
            .map(|(first, (blocks, stake))| branch(blocks, stake, first))
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn at_most_one_of_two_branches_replaces_the_other(
        pair in any_branches().prop_filter("two", |all| all.len() >= 2),
    ) {
        let total = 1_000_u64.into();
        let (a, b) = (&pair[0], &pair[1]);
        let (forth, back) = (replaces(a, b, &total), replaces(b, a, &total));
        prop_assert!(!(forth && back));
        let is_deep = a.blocks.max(b.blocks) > 16;
        let eight = Natural::from(8_u64);
        let is_light = &eight * &a.stake < b.stake || &eight * &b.stake < a.stake;
        if is_deep && !is_light {
            prop_assert!(forth != back);
        }
    }

    #[test]
    fn selection_is_stable_and_independent_of_the_order_of_branches(branches in any_branches()) {
        let total = 1_000_u64.into();
        let mut reversed = branches.clone();
        reversed.reverse();
        let turned = |index: usize| branches.len() - 1 - index;
        for incumbent in core::iter::once(None).chain((0..branches.len()).map(Some)) {
            let found = select(&branches, incumbent, &total).unwrap();
            let other = select(&reversed, incumbent.map(turned), &total).unwrap();
            prop_assert_eq!(found.branch, turned(other.branch));
            prop_assert_eq!(found.vetoed, other.vetoed.map(turned));
            let again = select(&branches, Some(found.branch), &total).unwrap();
            prop_assert_eq!(again.branch, found.branch);
        }
    }

    #[test]
    fn deep_selection_does_not_depend_on_the_start_unless_a_branch_is_light(
        branches in any_branches(),
    ) {
        let total = 1_000_u64.into();
        let stakes = || branches.iter().map(|branch| &branch.stake);
        let least = stakes().min().unwrap();
        let is_light = &Natural::from(8_u64) * least < *stakes().max().unwrap();
        if branches.iter().any(|branch| branch.blocks > 16) && !is_light {
            let first = select(&branches, None, &total).unwrap();
            for incumbent in 0..branches.len() {
                let found = select(&branches, Some(incumbent), &total).unwrap();
                prop_assert_eq!(found, first);
                prop_assert_eq!(found.vetoed, None);
            }
        }
    }
}
