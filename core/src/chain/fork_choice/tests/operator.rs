//! Operator decisions and rejected insertions.

use super::*;
use std::string::ToString;

/// Creates two branches above a fork at height 5, both deeper than the limit.
fn split() -> (World, AtomId, AtomId, AtomId) {
    let mut world = World::new(&[100; 10]);
    let fork = world.run(id(1), 5, &[0]);
    let ours = world.run(fork, 1_030, &[1, 2]);
    let theirs = world.run(fork, 1_100, &[3, 4, 5]);
    (world, fork, ours, theirs)
}

#[test]
fn adopted_branch_wins_at_any_depth_and_is_kept() {
    let (mut world, _, ours, theirs) = split();
    let mut choice = world.choice(Some(ours), &[theirs]);
    choice.adopt(&world, Some(world.block_at(theirs, 6)));
    let outcome = choice.decide(&world, &[]);
    assert_eq!((target(&outcome), causes(&outcome)), (Some(theirs), vec![]));
    choice.set_head(&world, theirs).unwrap();
    // The anchor falls.
    assert_eq!(choice.anchor_height(), 81);
    // The other branch grows and has a majority by the rule.
    let longer = world.run(ours, 500, &[1, 2, 6, 7, 8, 9]);
    choice.insert(&world, longer.into(), NOW).unwrap();
    let outcome = choice.decide(&world, &[]);
    assert_eq!(
        (outcome.decision, outcome.contests),
        (Decision::Keep, vec![])
    );
    // Once the decision is revoked, the rule asks the operator again.
    choice.adopt(&world, None);
    assert_eq!(causes(&choice.decide(&world, &[])), [Cause::NeedsOperator]);
    choice.adopt(&world, Some(world.block_at(longer, 6)));
    assert_eq!(target(&choice.decide(&world, &[])), Some(longer));
}

#[test]
fn block_can_be_adopted_before_it_is_known() {
    let (world, _, ours, theirs) = split();
    let mut choice = world.choice(Some(ours), &[]);
    choice.adopt(&world, Some(world.block_at(theirs, 700)));
    assert_eq!(choice.decide(&world, &[]).decision, Decision::Keep);
    choice.insert(&world, theirs.into(), NOW).unwrap();
    assert_eq!(target(&choice.decide(&world, &[])), Some(theirs));
}

#[test]
fn avoided_branch_is_left_at_any_depth() {
    let (world, fork, ours, theirs) = split();
    let avoided = world.block_at(ours, 6);
    let mut choice = world.choice(Some(ours), &[theirs]);
    assert!(choice.avoid(&world, avoided));
    let outcome = choice.decide(&world, &[]);
    let Decision::Switch(reorganization) = outcome.decision else {
        panic!("{outcome:?}");
    };
    assert_eq!((reorganization.to, reorganization.fork), (theirs, fork));
    assert_eq!(
        (reorganization.from, reorganization.undone),
        (Some(ours), 1_030)
    );
    choice.set_head(&world, theirs).unwrap();
    let again = choice.insert(&world, ours.into(), NOW);
    assert_eq!(again, Err(InsertError::Avoided(avoided)));
    assert_eq!(choice.avoided().copied().collect::<Vec<_>>(), [avoided]);
    assert!(choice.stop_avoiding(&world, &avoided));
    assert!(!choice.stop_avoiding(&world, &avoided));
    assert_eq!(choice.insert(&world, ours.into(), NOW), Ok(()));
}

#[test]
fn avoiding_without_an_alternative_moves_the_head_back() {
    let mut world = World::new(&[100; 10]);
    let head = world.run(id(1), 50, &[1]);
    let avoided = world.block_at(head, 20);
    let mut choice = world.choice(Some(head), &[]);
    // The root of the tree is far above it.
    assert!(choice.avoid(&world, avoided));
    let outcome = choice.decide(&world, &[]);
    let parent = world.block_at(head, 19);
    let Decision::Switch(back) = outcome.decision else {
        panic!("{outcome:?}");
    };
    assert_eq!((back.to, back.undone, back.added), (parent, 31, 0));
    choice.set_head(&world, parent).unwrap();
    assert_eq!(choice.decide(&world, &[]).decision, Decision::Keep);
    // A head above it that the host sets regardless is left again, also after a restart.
    choice.set_head(&world, head).unwrap();
    assert_eq!(target(&choice.decide(&world, &[])), Some(parent));
    let mut restarted = Choice::new(Settings::default());
    assert!(restarted.avoid(&world, avoided));
    restarted.set_head(&world, head).unwrap();
    assert_eq!(target(&restarted.decide(&world, &[])), Some(parent));
    // Another branch above the parent is an extension then.
    let other = world.run(parent, 2, &[2]);
    restarted.insert(&world, other.into(), NOW).unwrap();
    assert_eq!(target(&restarted.decide(&world, &[])), Some(other));
    // If the decision is revoked before the host moved, the node stays.
    restarted.stop_avoiding(&world, &avoided);
    assert_eq!(restarted.decide(&world, &[]).decision, Decision::Keep);
}

#[test]
fn lower_part_of_an_avoided_branch_still_competes() {
    let mut world = World::new(&[100; 10]);
    let ours = world.run(id(1), 20, &[0]);
    let theirs = world.run(id(1), 40, &[1]);
    let mut choice = world.choice(Some(ours), &[theirs]);
    choice.avoid(&world, world.block_at(theirs, 31));
    assert_eq!(
        target(&choice.decide(&world, &[])),
        Some(world.block_at(theirs, 30))
    );
    let mut choice = world.choice(Some(ours), &[theirs]);
    choice.avoid(&world, world.block_at(theirs, 1));
    assert_eq!(choice.decide(&world, &[]).decision, Decision::Keep);
    assert_eq!(choice.forks(), []);
}

#[test]
fn last_command_for_a_block_applies() {
    let (world, _, ours, theirs) = split();
    let first = world.block_at(theirs, 6);
    let mut choice = world.choice(Some(ours), &[theirs]);
    choice.adopt(&world, Some(first));
    choice.avoid(&world, first);
    assert_eq!(choice.adopted(), None);
    assert_eq!(choice.decide(&world, &[]).decision, Decision::Keep);
    choice.adopt(&world, Some(first));
    assert_eq!(
        (choice.adopted(), choice.avoided().count()),
        (Some(first), 0)
    );
    choice.insert(&world, theirs.into(), NOW).unwrap();
    assert_eq!(target(&choice.decide(&world, &[])), Some(theirs));
}

#[test]
fn list_of_avoided_blocks_is_bounded() {
    let world = World::new(&[1]);
    let mut choice = world.choice(Some(id(1)), &[]);
    for number in 0..256 {
        assert!(choice.avoid(&world, id(1_000 + number)));
    }
    assert!(!choice.avoid(&world, id(5)));
    assert!(choice.avoid(&world, id(1_000)));
    assert_eq!(choice.avoided().count(), MAX_AVOIDED);
}

#[test]
fn early_block_waits() {
    let mut world = World::new(&[100; 3]);
    let head = world.run(id(1), 5, &[0]);
    let next = world.child(head, 1);
    let mut choice = world.choice(Some(head), &[]);
    let early = choice.insert(&world, next.into(), 11);
    assert_eq!(early, Err(InsertError::Early { timestamp: 12 }));
    let text = early.unwrap_err().to_string();
    assert_eq!(text, "block time 1970-01-01 00:00:12 UTC is in the future");
    assert_eq!(choice.insert(&world, next.into(), 12), Ok(()));
    // The node's own head is never too early.
    let later = world.run(next, 10, &[1]);
    assert_eq!(choice.set_head(&world, later), Ok(()));
}

#[test]
fn unconnected_blocks_are_rejected() {
    let mut world = World::new(&[100; 3]);
    let head = world.run(id(1), 5, &[0]);
    world.put(900, AtomId::ZERO, 0, 1);
    let other = world.run(id(900), 9, &[1]);
    world.put(800, id(799), 6, 1);
    let mut choice = world.choice(Some(head), &[]);
    let mut insert = |id: AtomId| choice.insert(&world, id.into(), NOW);
    assert_eq!(insert(other), Err(InsertError::Unrelated));
    assert_eq!(insert(id(800)), Err(InsertError::NotIndexed(id(799))));
    assert_eq!(insert(id(700)), Err(InsertError::NotIndexed(id(700))));
    assert_eq!(
        choice.set_head(&world, id(700)),
        Err(InsertError::NotIndexed(id(700)))
    );
    assert_eq!(choice.head(), Some(head));
    // A head that does not connect starts a new tree.
    choice.set_head(&world, other).unwrap();
    assert_eq!((choice.head(), choice.forks()), (Some(other), vec![]));
}

#[test]
fn chain_without_the_checkpoint_is_never_adopted() {
    let (world, _, ours, theirs) = split();
    let checkpoint = world.block_at(ours, 600);
    // The head is already above the checkpoint.
    let mut choice = world.choice(Some(ours), &[]);
    choice.set_checkpoint(&world, checkpoint);
    assert_eq!(choice.checkpoint_height(), Some(600));
    let refused = choice.insert(&world, theirs.into(), NOW);
    assert_eq!(refused, Err(InsertError::LacksCheckpoint));
    // After a restart, without reading the index.
    let mut restarted = world.choice(Some(ours), &[]);
    restarted.restore_checkpoint(checkpoint, 600);
    let refused = restarted.insert(&world, theirs.into(), NOW);
    assert_eq!(refused, Err(InsertError::LacksCheckpoint));
}

#[test]
fn branch_with_the_checkpoint_wins_at_any_depth() {
    let (world, _, ours, theirs) = split();
    let checkpoint = world.block_at(theirs, 600);
    for is_known in [false, true] {
        let tips: &[AtomId] = if is_known { &[theirs] } else { &[] };
        let mut choice = world.choice(Some(ours), tips);
        choice.set_checkpoint(&world, checkpoint);
        assert_eq!(choice.checkpoint_height(), None);
        let below = world.block_at(theirs, 599);
        if !is_known {
            assert_eq!(choice.decide(&world, &[]).decision, Decision::Keep);
            let refused = choice.insert(&world, below.into(), NOW);
            assert_eq!(refused, Err(InsertError::LacksCheckpoint));
            choice.insert(&world, theirs.into(), NOW).unwrap();
        }
        let outcome = choice.decide(&world, &[]);
        assert_eq!((target(&outcome), causes(&outcome)), (Some(theirs), vec![]));
    }
}

#[test]
fn newcomer_follows_headers_to_the_checkpoint_only() {
    let (world, fork, ours, theirs) = split();
    let mut choice = Choice::new(Settings::default());
    choice.set_checkpoint(&world, world.block_at(theirs, 600));
    let refused = choice.insert(&world, ours.into(), NOW);
    assert_eq!(refused, Err(InsertError::LacksCheckpoint));
    for height in [5, 300, 599] {
        let tip = Tip {
            id: world.block_at(theirs, height),
            leads_to_checkpoint: true,
        };
        choice.insert(&world, tip, NOW).unwrap();
        assert_eq!(target(&choice.decide(&world, &[])), Some(tip.id));
        choice.set_head(&world, tip.id).unwrap();
        assert_eq!(choice.checkpoint_height(), None);
    }
    choice.insert(&world, theirs.into(), NOW).unwrap();
    assert_eq!(target(&choice.decide(&world, &[])), Some(theirs));
    choice.set_head(&world, theirs).unwrap();
    assert_eq!(choice.checkpoint_height(), Some(600));
    let refused = choice.insert(&world, ours.into(), NOW);
    assert_eq!(refused, Err(InsertError::LacksCheckpoint));
    // Without a head and with the whole chain indexed.
    let mut choice = Choice::new(Settings::default());
    choice.set_checkpoint(&world, world.block_at(theirs, 600));
    choice.insert(&world, theirs.into(), NOW).unwrap();
    assert_eq!(choice.checkpoint_height(), Some(600));
    let refused = choice.insert(&world, fork.into(), NOW);
    assert_eq!(refused, Ok(()), "an ancestor changes nothing");
    assert_eq!(target(&choice.decide(&world, &[])), Some(theirs));
}

#[test]
fn fork_of_a_checkpointed_branch_has_the_checkpoint_only_if_it_forks_above() {
    let (mut world, _, ours, theirs) = split();
    let checkpoint = world.block_at(theirs, 600);
    let above = world.run(world.block_at(theirs, 601), 3, &[6]);
    let at = world.run(checkpoint, 3, &[7]);
    let below = world.run(world.block_at(theirs, 599), 3, &[8]);
    // The node is on the other branch, so its chain does not contain the checkpoint yet.
    let mut choice = world.choice(Some(ours), &[theirs]);
    choice.set_checkpoint(&world, checkpoint);
    assert_eq!(choice.checkpoint_height(), None);
    assert_eq!(choice.insert(&world, above.into(), NOW), Ok(()));
    assert_eq!(choice.insert(&world, at.into(), NOW), Ok(()));
    let refused = choice.insert(&world, below.into(), NOW);
    assert_eq!(refused, Err(InsertError::LacksCheckpoint));
}

#[test]
fn newcomer_that_avoids_a_block_follows_the_remaining_branch() {
    let (world, _, ours, theirs) = split();
    let mut choice = world.choice(None, &[theirs, ours]);
    assert!(choice.avoid(&world, world.block_at(theirs, 6)));
    assert_eq!(target(&choice.decide(&world, &[])), Some(ours));
}
