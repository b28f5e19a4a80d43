//! Costs and limits of the tree.

use super::*;

fn tips_of(choice: &Choice) -> usize {
    choice.tree.as_ref().map_or(0, |tree| tree.leaves().count())
}

fn blocks_of(choice: &Choice) -> usize {
    choice.tree.as_ref().map_or(0, Tree::len)
}

#[test]
fn new_block_on_a_tip_reads_no_more_headers_however_deep_the_fork() {
    let mut world = World::new(&[100; 10]);
    let mut head = world.run(id(1), 900, &[0, 1]);
    let mut other = world.run(id(1), 800, &[2, 3]);
    let mut choice = world.choice(Some(head), &[other]);
    choice.decide(&world, &[]);
    for _ in 0..50 {
        head = world.child(head, 1);
        other = world.child(other, 2);
        world.lookups.set(0);
        choice.insert(&world, other.into(), NOW).unwrap();
        choice.insert(&world, head.into(), NOW).unwrap();
        choice.decide(&world, &[]);
        choice.set_head(&world, head).unwrap();
        assert!(world.lookups.get() <= 5, "{}", world.lookups.get());
    }
}

#[test]
fn new_branch_reads_the_headers_of_both_sides_once() {
    let mut world = World::new(&[100; 10]);
    let fork = world.run(id(1), 2_000, &[0]);
    let head = world.run(fork, 900, &[0, 1]);
    let other = world.run(fork, 800, &[2, 3]);
    let mut choice = world.choice(Some(head), &[]);
    world.lookups.set(0);
    choice.insert(&world, other.into(), NOW).unwrap();
    // Our side is read for its links and for its producers.
    assert!(
        world.lookups.get() <= 2 * 900 + 800 + 10,
        "{}",
        world.lookups.get()
    );
    assert_eq!(choice.forks()[0].height, 2_000);
}

#[test]
fn chain_without_forks_keeps_one_block() {
    let mut world = World::new(&[100; 10]);
    let mut head = world.run(id(1), 3, &[0]);
    let mut choice = world.choice(Some(head), &[]);
    for _ in 0..100 {
        head = world.child(head, 1);
        choice.insert(&world, head.into(), NOW).unwrap();
        assert_eq!(target(&choice.decide(&world, &[])), Some(head));
        choice.set_head(&world, head).unwrap();
        assert_eq!(blocks_of(&choice), 1);
    }
    // A new node that has not adopted anything yet keeps one block, too.
    let mut choice = world.choice(None, &[]);
    for height in 1..=head_height(&world, head) {
        let tip = world.block_at(head, height);
        choice.insert(&world, tip.into(), NOW).unwrap();
        assert_eq!(blocks_of(&choice), 1);
    }
    assert_eq!(target(&choice.decide(&world, &[])), Some(head));
}

fn head_height(world: &World, head: AtomId) -> u64 {
    world.blocks[&head].height
}

/// One validator makes any number of blocks for one slot, or of branches.
#[test]
fn flood_of_tips_does_not_displace_heavier_branches() {
    let mut world = World::new(&[100; 10]);
    let fork = world.run(id(1), 5, &[0]);
    let head = world.run(fork, 30, &[0, 1]);
    // Lower side of a network partition.
    let heavier = world.run(fork, 20, &[2, 3, 4, 5, 6]);
    let mut choice = world.choice(Some(head), &[heavier]);
    let base = world.block_at(head, 33);
    for _ in 0..1_000 {
        let flood = world.child(base, 9);
        choice.insert(&world, flood.into(), NOW).unwrap();
        assert!(tips_of(&choice) <= MAX_TIPS);
        assert_eq!(target(&choice.decide(&world, &[])), Some(heavier));
    }
    for _ in 0..500 {
        let flood = world.run(fork, 25, &[9]);
        choice.insert(&world, flood.into(), NOW).unwrap();
        assert!(tips_of(&choice) <= MAX_TIPS);
        assert_eq!(target(&choice.decide(&world, &[])), Some(heavier));
    }
    // The newest block is counted at least once.
    let last = world.child(world.block_at(head, 34), 7);
    let before = choice.forks()[0].ours.clone().unwrap().stake;
    choice.insert(&world, last.into(), NOW).unwrap();
    choice.decide(&world, &[]);
    assert_ne!(choice.forks()[0].ours.clone().unwrap().stake, before);
}

#[test]
fn long_branches_are_counted_in_bounded_memory() {
    let mut world = World::new(&[100; 10]);
    let fork = world.run(id(1), 5, &[0]);
    let early = world.run(fork, 10, &[7]);
    let ours = world.run(early, 50_000, &[1, 2]);
    let theirs = world.run(fork, 60_000, &[3, 4, 5]);
    let mut choice = world.choice(None, &[ours, theirs]);
    assert!(blocks_of(&choice) <= MAX_BLOCKS);
    choice.decide(&world, &[]);
    let fork_of = |choice: &Choice| choice.forks().remove(0);
    let expected = |tip, blocks, stake: u64| Side {
        first: world.block_at(tip, 6),
        tip,
        blocks,
        stake: Some(stake.into()),
    };
    let sides = [expected(ours, 50_010, 300), expected(theirs, 60_000, 300)];
    assert_eq!(fork_of(&choice).others, sides);
    // A branch at forgotten blocks is rejected; near the tips a new branch fits.
    let deep = world.child(world.block_at(theirs, 20), 6);
    let refused = choice.insert(&world, deep.into(), NOW);
    assert_eq!(refused, Err(InsertError::TooDeep));
    let near = world.child(world.block_at(theirs, 59_000), 6);
    choice.insert(&world, near.into(), NOW).unwrap();
    choice.decide(&world, &[]);
    assert_eq!(fork_of(&choice).others[1].stake, Some(400_u64.into()));
    let near = world.child(world.block_at(ours, 49_500), 8);
    choice.insert(&world, near.into(), NOW).unwrap();
    choice.decide(&world, &[]);
    assert_eq!(fork_of(&choice).others[0].stake, Some(400_u64.into()));
    // The number of headers read by one insertion is bounded, too.
    let far = world.run(fork, 70_000, &[6]);
    let refused = choice.insert(&world, far.into(), NOW);
    assert_eq!(refused, Err(InsertError::TooDeep));
}

#[test]
fn inserting_again_changes_nothing() {
    let mut world = World::new(&[100; 10]);
    let fork = world.run(id(1), 5, &[0]);
    let head = world.run(fork, 20, &[0, 1]);
    let other = world.run(fork, 18, &[2]);
    let mut choice = world.choice(Some(head), &[other]);
    choice.decide(&world, &[]);
    let before = (choice.forks(), blocks_of(&choice));
    for tip in [other, head, fork, world.block_at(other, 9), id(1)] {
        choice.insert(&world, tip.into(), NOW).unwrap();
        choice.decide(&world, &[]);
        assert_eq!((choice.forks(), blocks_of(&choice)), before);
    }
}

#[test]
fn tips_without_known_stakes_are_evicted_last() {
    let mut world = World::new(&[100; 10]);
    let head = world.run(id(1), 30, &[0]);
    world.unavailable.insert(world.block_at(head, 3));
    let unmeasured = world.child(world.block_at(head, 3), 1);
    let mut choice = world.choice(Some(head), &[unmeasured]);
    for _ in 0..300 {
        let flood = world.run(world.block_at(head, 20), 3, &[9]);
        choice.insert(&world, flood.into(), NOW).unwrap();
        choice.decide(&world, &[]);
    }
    let kept = choice.tree.as_ref().and_then(|tree| tree.find(&unmeasured));
    assert!(kept.is_some() && tips_of(&choice) == MAX_TIPS);
}

#[test]
fn stake_table_of_a_state_is_a_view() {
    let stakes =
        crate::chain::Stakes::from([(producer(1), 5_u64.into()), (producer(2), 7_u64.into())]);
    let table = StakeTable::from(&stakes);
    fn view(view: &impl StakeView, by: usize) -> (Natural, Natural) {
        (view.stake(&producer(by)), view.total())
    }
    assert_eq!(view(&table, 2), (7_u64.into(), 12_u64.into()));
    assert_eq!(view(&&table, 3), (Natural::ZERO, 12_u64.into()));
}

#[test]
fn blocks_above_the_head_are_not_a_fork() {
    let mut world = World::new(&[100; 10]);
    let head = world.run(id(1), 5, &[0]);
    let above = world.run(head, 3, &[1]);
    let mut choice = world.choice(Some(head), &[above]);
    assert_eq!((choice.forks(), tips_of(&choice)), (vec![], 1));
    let other = world.run(head, 2, &[2]);
    choice.insert(&world, other.into(), NOW).unwrap();
    assert_eq!(choice.forks().len(), 1);
}

#[test]
fn tree_whose_branches_have_one_block_each_has_nothing_to_forget() {
    let mut world = World::new(&[100; 10]);
    let head = world.child(id(1), 0);
    let other = world.child(id(1), 1);
    let mut choice = world.choice(Some(head), &[other]);
    let tree = choice.tree.as_mut().unwrap();
    assert_eq!(tree.len(), 3);
    assert!(!tree.forget());
    assert_eq!(tree.len(), 3);
}
