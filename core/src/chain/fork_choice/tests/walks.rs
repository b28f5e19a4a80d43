//! Walks over whole trees.

use super::*;

#[test]
fn extension_is_taken_and_an_ancestor_is_not() {
    let mut world = World::new(&[10; 3]);
    let a = world.run(id(1), 5, &[0]);
    let b = world.run(a, 3, &[1]);
    assert_eq!(world.chosen(a, &[b]), b);
    assert_eq!(world.chosen(b, &[a]), b);
    let outcome = world.choice(Some(a), &[b]).decide(&world, &[]);
    let Decision::Switch(extension) = outcome.decision else {
        panic!("{outcome:?}");
    };
    assert_eq!(
        (extension.from, extension.to, extension.fork),
        (Some(a), b, a)
    );
    assert_eq!(
        (extension.undone, extension.added, extension.height),
        (0, 3, 8)
    );
    // A node without a head adopts the whole branch.
    let outcome = world.choice(None, &[a, b]).decide(&world, &[]);
    assert_eq!(target(&outcome), Some(b));
}

#[test]
fn reorganization_reports_fork_and_depth() {
    let mut world = World::new(&[10; 40]);
    let fork = world.run(id(1), 5, &[0]);
    let ours = world.run(fork, 17, &[1, 2]);
    let theirs = world.run(fork, 18, &[3, 4]);
    let mut choice = world.choice(Some(ours), &[theirs]);
    let Decision::Switch(reorganization) = choice.decide(&world, &[]).decision else {
        panic!("no reorganization");
    };
    let expected = Reorganization {
        from: Some(ours),
        to: theirs,
        height: 23,
        fork,
        undone: 17,
        added: 18,
    };
    assert_eq!(reorganization, expected);
    assert!(reorganization.is_deep());
    let near = Reorganization {
        undone: 16,
        ..expected
    };
    assert!(!near.is_deep());
    choice.set_head(&world, theirs).unwrap();
    assert_eq!(choice.decide(&world, &[]).decision, Decision::Keep);
    // The branch that was left still competes.
    let longer = world.run(ours, 5, &[1, 2]);
    choice.insert(&world, longer.into(), NOW).unwrap();
    assert_eq!(target(&choice.decide(&world, &[])), Some(longer));
}

/// One block of height 1 with a stake of 1 against a head of height 36: issue 10, number 4.
#[test]
fn stale_head_of_height_36_is_not_replaced_by_one_block() {
    let mut world = World::new(&[1_000, 1]);
    let head = world.run(id(1), 36, &[0]);
    let block = world.child(id(1), 1);
    assert_eq!(world.chosen(head, &[block]), head);
    let short = world.block_at(head, 1);
    assert_eq!(world.chosen(short, &[block]), short);
}

#[test]
fn group_counts_all_its_branches() {
    // Above the fork, ours has 20 blocks by 0 and 1. The other group has three branches of 18
    // blocks, by 2, 3 and 4 each; only together they outweigh ours.
    let mut world = World::new(&[100; 10]);
    let ours = world.run(id(1), 20, &[0, 1]);
    let stem = world.child(id(1), 2);
    let tips: Vec<AtomId> = [2, 3, 4]
        .iter()
        .map(|by| world.run(stem, 17, &[*by]))
        .collect();
    assert_eq!(world.chosen(ours, &tips[..1]), ours);
    assert_eq!(world.chosen(ours, &tips[..2]), ours);
    // 18 x 300 against 20 x 200; within the group, the lowest first block of equal branches.
    assert_eq!(world.chosen(ours, &tips), tips[0]);
}

#[test]
fn stakes_are_read_at_each_fork() {
    let mut world = World::new(&[500, 100, 100]);
    let fork = world.run(id(1), 3, &[0]);
    let ours = world.run(fork, 20, &[1]);
    let theirs = world.run(fork, 20, &[2]);
    // Ours has the lower first block, so it wins the tie.
    assert_eq!(world.chosen(ours, &[theirs]), ours);
    let at_fork = [(producer(1), 100), (producer(2), 101)].into();
    world.stakes_at.insert(fork, at_fork);
    assert_eq!(world.chosen(ours, &[theirs]), theirs);
    // A producer without stake at the fork does not count.
    world.stakes_at.insert(fork, [(producer(1), 1)].into());
    assert_eq!(world.chosen(ours, &[theirs]), ours);
}

#[test]
fn missing_stakes_keep_the_branch_and_are_reported() {
    let mut world = World::new(&[100; 4]);
    let fork = world.run(id(1), 3, &[0]);
    let ours = world.run(fork, 20, &[1]);
    let theirs = world.run(fork, 25, &[2, 3]);
    world.unavailable.insert(fork);
    let mut choice = world.choice(Some(ours), &[theirs]);
    let outcome = choice.decide(&world, &[]);
    assert_eq!(
        (outcome.decision, outcome.missing_stakes),
        (Decision::Keep, vec![fork])
    );
    // Extensions of our branch are followed regardless.
    let next = world.child(ours, 1);
    choice.insert(&world, next.into(), NOW).unwrap();
    assert_eq!(target(&choice.decide(&world, &[])), Some(next));
    // A node without a branch cannot begin.
    let outcome = world.choice(None, &[ours, theirs]).decide(&world, &[]);
    assert_eq!(
        (outcome.decision, outcome.missing_stakes),
        (Decision::Keep, vec![fork])
    );
    world.unavailable.clear();
    assert_eq!(target(&choice.decide(&world, &[])), Some(theirs));
}

#[test]
fn veto_is_reported_and_keeps_both_sides() {
    // A producer with a stake of 450 made 10 blocks and stopped; one with 50 made 100.
    let mut world = World::new(&[450, 50, 500]);
    let fork = world.run(id(1), 5, &[2]);
    let died = world.run(fork, 10, &[0]);
    let alive = world.run(fork, 100, &[1]);
    for (head, other) in [(died, alive), (alive, died)] {
        let outcome = world.choice(Some(head), &[other]).decide(&world, &[]);
        assert_eq!(outcome.decision, Decision::Keep);
        let expected: &[Cause] = if head == died { &[Cause::Light] } else { &[] };
        assert_eq!(causes(&outcome), expected);
    }
    let contest = world
        .choice(Some(died), &[alive])
        .decide(&world, &[])
        .contests
        .remove(0);
    let side = |tip, first, blocks, stake: u64| Side {
        first: world.block_at(tip, first),
        tip,
        blocks,
        stake: Some(stake.into()),
    };
    let expected = Fork {
        block: fork,
        height: 5,
        total: Some(1_000_u64.into()),
        ours: Some(side(died, 6, 10, 450)),
        others: vec![side(alive, 6, 100, 50)],
    };
    assert_eq!(contest.fork, expected);
    // A node on neither branch begins at the heavier one.
    let outcome = world.choice(None, &[died, alive]).decide(&world, &[]);
    assert_eq!((target(&outcome), causes(&outcome)), (Some(died), vec![]));
}

#[test]
fn fork_beyond_the_depth_limit_needs_the_operator_and_does_not_stop_the_chain() {
    let mut world = World::new(&[100; 10]);
    let fork = world.run(id(1), 5, &[0]);
    let ours = world.run(fork, 1_025, &[1, 2]);
    let theirs = world.run(fork, 1_100, &[3, 4, 5]);
    let at_limit = world.block_at(ours, 5 + 1_024);
    assert_eq!(world.chosen(at_limit, &[theirs]), theirs);

    let mut choice = world.choice(Some(ours), &[theirs]);
    let outcome = choice.decide(&world, &[]);
    assert_eq!(outcome.decision, Decision::Keep);
    assert_eq!(causes(&outcome), [Cause::NeedsOperator]);
    let reported = &outcome.contests[0].fork;
    assert_eq!((reported.block, reported.height), (fork, 5));
    assert_eq!(reported.ours.as_ref().map(|side| side.tip), Some(ours));
    assert_eq!(
        reported
            .others
            .iter()
            .map(|side| side.tip)
            .collect::<Vec<_>>(),
        [theirs]
    );
    assert_eq!(choice.forks(), core::slice::from_ref(reported));

    let next = world.child(ours, 1);
    choice.insert(&world, next.into(), NOW).unwrap();
    let outcome = choice.decide(&world, &[]);
    assert_eq!(
        (target(&outcome), causes(&outcome)),
        (Some(next), vec![Cause::NeedsOperator])
    );
    // The limit is configurable.
    let mut patient = Choice::new(Settings {
        max_reorg_depth: 1_025,
    });
    patient.set_head(&world, ours).unwrap();
    patient.insert(&world, theirs.into(), NOW).unwrap();
    assert_eq!(target(&patient.decide(&world, &[])), Some(theirs));
}

#[test]
fn branch_that_lost_and_ended_beyond_the_limit_is_dropped() {
    let mut world = World::new(&[100; 10]);
    let orphan = world.child(id(1), 3);
    let alive = world.run(id(1), 200, &[4]);
    let top = world.run(id(1), 1_300, &[1, 2]);
    let mut choice = world.choice(Some(world.block_at(top, 1_025)), &[orphan, alive]);
    for (height, expected) in [
        (1_025, vec![orphan, alive]),
        (1_026, vec![alive]),
        (1_224, vec![alive]),
        (1_225, vec![]),
    ] {
        choice
            .set_head(&world, world.block_at(top, height))
            .unwrap();
        assert_eq!(choice.decide(&world, &[]).decision, Decision::Keep);
        let others = choice.forks().into_iter().flat_map(|fork| fork.others);
        assert_eq!(others.map(|side| side.tip).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn anchor_does_not_fall_with_the_head_of_a_lower_branch() {
    let mut world = World::new(&[100; 10]);
    let genesis = id(1);
    let stem = world.run(genesis, 100, &[0]);
    let ours = world.run(stem, 1_000, &[1]);
    let heavier = world.run(stem, 600, &[2, 3]);
    let mut choice = world.choice(Some(ours), &[heavier]);
    assert_eq!(choice.anchor_height(), 1_100 - 1_024);
    assert_eq!(target(&choice.decide(&world, &[])), Some(heavier));
    choice.set_head(&world, heavier).unwrap();
    assert_eq!(choice.anchor_height(), 76);
    // A branch that left below the anchor needs the operator, although it is less than 1,024 blocks
    // deep.
    let below = world.block_at(heavier, 75);
    let deep = world.run(below, 700, &[4, 5, 6, 7, 8, 9]);
    choice.insert(&world, deep.into(), NOW).unwrap();
    let outcome = choice.decide(&world, &[]);
    assert_eq!(
        (target(&outcome), causes(&outcome)),
        (None, vec![Cause::NeedsOperator])
    );
    // After a restart the anchor is restored; without it the branch would win.
    for (anchor, expected) in [(Some(76), None), (None, Some(deep))] {
        let mut restarted = world.choice(Some(heavier), &[deep]);
        if let Some(height) = anchor {
            restarted.restore_anchor(height);
        }
        assert_eq!(target(&restarted.decide(&world, &[])), expected);
    }
    // The anchor cannot be set above the head.
    let mut restarted = world.choice(Some(heavier), &[]);
    restarted.restore_anchor(u64::MAX);
    assert_eq!(restarted.anchor_height(), 700);
}

#[test]
fn first_decision_between_two_deep_branches_needs_agreeing_trusted_heads() {
    let mut world = World::new(&[100; 10]);
    let a = world.run(id(1), 1_100, &[0, 1, 2]);
    let b = world.run(id(1), 1_200, &[3, 4, 5]);
    let light = world.run(id(1), 1_100, &[6]);
    let known = world.block_at(a, 1_050);
    let decide = |head: Option<AtomId>, tips: &[AtomId], trusted: &[AtomId]| {
        let outcome = world.choice(head, tips).decide(&world, trusted);
        (target(&outcome), causes(&outcome))
    };
    let undecided = (None, vec![Cause::NeedsFirstDecision]);
    for head in [None, Some(id(1))] {
        assert_eq!(decide(head, &[a, b], &[]), undecided);
        assert_eq!(decide(head, &[a, b], &[a]), (Some(a), vec![]));
        assert_eq!(decide(head, &[a, b], &[a, known]), (Some(a), vec![]));
        assert_eq!(decide(head, &[a, b], &[a, b]), undecided);
        assert_eq!(decide(head, &[a, b], &[a, id(999_999)]), undecided);
        // Only rivals are eligible: an unknown producer's short or light branch does not settle the
        // fork.
        let short = world.block_at(a, 1_024);
        assert_eq!(decide(head, &[short, b], &[short]), (Some(b), vec![]));
    }
    assert_eq!(
        decide(None, &[a, light], &[]).1,
        [Cause::NeedsFirstDecision]
    );
    // A node on one of them follows the rule.
    assert_eq!(
        decide(Some(world.block_at(a, 1)), &[a, b], &[]),
        (Some(b), vec![])
    );
}

#[test]
fn far_lighter_branch_does_not_keep_newcomers_out() {
    let mut world = World::new(&[900, 100, 100]);
    let honest = world.run(id(1), 1_200, &[0]);
    let light = world.run(id(1), 5_000, &[1]);
    let outcome = world.choice(None, &[honest, light]).decide(&world, &[]);
    assert_eq!((target(&outcome), causes(&outcome)), (Some(honest), vec![]));
}
