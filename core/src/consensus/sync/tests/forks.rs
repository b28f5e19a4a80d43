//! Fork choice in sync: all verified blocks compete, within the maximum depth.

use super::host::{BEGINNING, Host, LocalStore, Maker, time};
use crate::chain::Block;
use crate::chain::fork_choice::Cause;
use crate::consensus::sync::{SyncConfig, SyncEvent};
use crate::consensus::{ForkDecisions, Input, SavedHead};
use alloc::vec;
use alloc::vec::Vec;

fn shallow() -> SyncConfig {
    SyncConfig {
        max_reorg_depth: 30,
        ..SyncConfig::default()
    }
}

/// Makes blocks by the validators of their slots, without the slots of `absent`.
fn extend(
    maker: &mut Maker,
    on: &Block,
    count: usize,
    validators: &[u8],
    absent: Option<u8>,
) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    for _ in 0..count {
        let last = blocks.last().unwrap_or(on).clone();
        let turn = maker.validator_after(&last, validators);
        let by = validators.iter().find(|by| Some(**by) != absent).copied();
        let by = if Some(turn) == absent {
            by.unwrap()
        } else {
            turn
        };
        blocks.push(maker.next_by(&last, by, 2));
    }
    blocks
}

#[test]
fn stale_block_of_a_small_stake_replaces_nothing() {
    let mut maker = Maker::of_validators(&[(1, 1_000), (4, 1)]);
    let genesis = maker.genesis.clone();
    let lone = maker.next_by(&genesis, 4, 1);
    let ours = extend(&mut maker, &genesis, 36, &[1, 4], Some(4));
    let mut host = Host::new(time(&ours[35]).max(time(&lone)));
    host.announce(1, ours[35].id());
    host.run(&[&maker], 2);
    assert_eq!(host.verified_head(), Some(ours[35].id()));
    // Ours has stood still for a long time, and the other one is fresh.
    host.run(&[&maker], 60);
    host.announce(2, lone.id());
    host.run(&[&maker], 30);
    assert!(host.sync().is_verified(&lone.id()));
    assert_eq!(host.verified_head(), Some(ours[35].id()));
}

#[test]
fn age_of_a_head_is_irrelevant() {
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let ours = maker.extend(&genesis, 2, 2);
    let other = maker.extend(&genesis, 5, 3);
    let mut host = Host::new(BEGINNING + 100_000);
    // A chain that stands still is joined, and a longer one of the same stake replaces it.
    for branch in [&ours, &other] {
        let head = branch.last().unwrap().id();
        host.announce(1, head);
        host.run(&[&maker], 15);
        assert_eq!(host.verified_head(), Some(head));
    }
    let mut reversed = Host::new(BEGINNING + 100_000);
    for branch in [&other, &ours] {
        reversed.announce(1, branch.last().unwrap().id());
        reversed.run(&[&maker], 15);
        assert_eq!(reversed.verified_head(), Some(other[4].id()));
    }
}

#[test]
fn shorter_branch_of_more_stake_replaces_a_longer_one_when_deep() {
    let mut maker = Maker::of_validators(&[(1, 1_000), (4, 1_000), (5, 1)]);
    let genesis = maker.genesis.clone();
    let trunk = extend(&mut maker, &genesis, 3, &[1, 4, 5], None);
    let ours = extend(&mut maker, &trunk[2], 40, &[1, 4, 5], Some(4));
    let other = extend(&mut maker, &trunk[2], 25, &[1, 4, 5], None);
    let last = time(&ours[39]).max(time(&other[24]));
    let mut host = Host::new(last);
    host.announce(1, ours[39].id());
    host.run(&[&maker], 2);
    assert_eq!(host.verified_head(), Some(ours[39].id()));
    host.announce(2, other[24].id());
    host.run(&[&maker], 2);
    assert_eq!(host.verified_head(), Some(other[24].id()));
    // It is a warning, with depth and fork.
    let reorganization = host.status().reorganization.unwrap();
    assert_eq!(
        (reorganization.depth, reorganization.fork),
        (40, trunk[2].id())
    );
    assert!(
        host.events
            .contains(&SyncEvent::Reorganized(reorganization))
    );
}

/// Returns two branches from height 3, ours of 40 blocks and another of 50, and a host that has
/// ours.
fn beyond_the_depth() -> (Maker, Vec<Block>, Vec<Block>, Host) {
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let trunk = maker.extend(&genesis, 3, 2);
    let ours = maker.extend(&trunk[2], 40, 2);
    let other = maker.extend(&trunk[2], 50, 3);
    let mut host = Host::with(time(&other[49]), shallow(), None);
    host.announce(1, ours[39].id());
    host.run(&[&maker], 2);
    assert_eq!(host.verified_head(), Some(ours[39].id()));
    (maker, ours, other, host)
}

#[test]
fn reorganization_beyond_the_depth_waits_for_the_operator() {
    let (maker, ours, other, mut host) = beyond_the_depth();
    host.announce(2, other[49].id());
    host.run(&[&maker], 30);
    assert_eq!(host.verified_head(), Some(ours[39].id()));
    let contests = host.status().contests;
    let [contest] = contests.as_slice() else {
        panic!("{contests:?}");
    };
    assert_eq!(contest.cause, Cause::NeedsOperator);
    assert_eq!(contest.fork.ours.as_ref().unwrap().tip, ours[39].id());
    assert_eq!(contest.fork.others[0].tip, other[49].id());
    let reported = |event: &&SyncEvent| matches!(event, SyncEvent::Contested(_));
    assert_eq!(host.events.iter().filter(reported).count(), 1);
    assert_eq!(host.status().forks.len(), 1);
    host.input(&Input::AdoptFork(other[0].id()));
    host.run(&[&maker], 1);
    assert_eq!(host.verified_head(), Some(other[49].id()));
    assert_eq!(host.files.decisions.adopted, Some(other[0].id()));
    assert_eq!(host.status().reorganization.unwrap().depth, 40);
}

#[test]
fn anchor_survives_a_restart() {
    let (maker, ours, other, host) = beyond_the_depth();
    let saved: SavedHead = host.files.head.clone().unwrap();
    let anchor = saved.resume.anchor.unwrap();
    assert_eq!((anchor.height, anchor.id), (43 - 30, ours[9].id()));
    let mut again = Host::with(host.now.as_secs(), shallow(), Some(saved));
    again.store = host.store.clone();
    again.announce(2, other[49].id());
    again.run(&[&maker], 30);
    assert_eq!(again.verified_head(), Some(ours[39].id()));
    assert_eq!(again.status().contests.len(), 1);
}

#[test]
fn restored_anchor_binds_where_the_head_alone_would_not() {
    let mut maker = Maker::of_validators(&[(1, 1_000), (4, 1_000), (5, 1)]);
    let genesis = maker.genesis.clone();
    let all = [1, 4, 5];
    let trunk = extend(&mut maker, &genesis, 32, &all, None);
    let long = extend(&mut maker, &trunk[31], 28, &all, Some(4));
    let heavy = extend(&mut maker, &trunk[31], 20, &all, None);
    let first = maker.next_by(&trunk[24], 1, 6);
    let mut other = vec![first.clone()];
    other.extend(extend(&mut maker, &first, 60, &all, None));
    let last = time(&other[60]).max(time(&long[27])).max(time(&heavy[19]));
    let mut host = Host::with(last, shallow(), None);
    for (from, head) in [(1, long[27].id()), (2, heavy[19].id())] {
        host.announce(from, head);
        host.run(&[&maker], 2);
        assert_eq!(host.verified_head(), Some(head));
    }
    // The head went from height 60 to 52, and the anchor stayed at 30.
    let saved: SavedHead = host.files.head.clone().unwrap();
    assert_eq!(saved.resume.anchor.unwrap().height, 30);
    let restarted = |saved: SavedHead| {
        let mut again = Host::with(host.now.as_secs(), shallow(), Some(saved));
        again.store = host.store.clone();
        again.announce(2, heavy[19].id());
        again.run(&[&maker], 12);
        again.announce(3, other[60].id());
        again.run(&[&maker], 12);
        again
    };
    let again = restarted(saved.clone());
    assert_eq!(again.verified_head(), Some(heavy[19].id()));
    assert_eq!(again.status().contests[0].cause, Cause::NeedsOperator);
    // Without it the fork at height 25 is within the depth.
    let mut without = saved;
    without.resume.anchor = None;
    assert_eq!(restarted(without).verified_head(), Some(other[60].id()));
}

#[test]
fn saved_head_that_is_avoided_is_left_at_the_start() {
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let trunk = maker.extend(&genesis, 5, 2);
    let mut host = Host::with(time(&trunk[4]), shallow(), None);
    host.announce(1, trunk[4].id());
    host.run(&[&maker], 1);
    assert_eq!(host.verified_head(), Some(trunk[4].id()));
    let avoided = trunk[3].id();
    // The decision was saved, but not yet the head that follows from it.
    let config = SyncConfig {
        decisions: ForkDecisions {
            avoided: vec![avoided],
            ..ForkDecisions::default()
        },
        ..shallow()
    };
    let mut again = Host::with(host.now.as_secs(), config, host.files.head.clone());
    again.store = host.store.clone();
    again.run(&[&maker], 1);
    assert_eq!(again.verified_head(), Some(trunk[2].id()));
    assert!(again.chain.context.avoids(&avoided));
    again.input(&Input::AdoptFork(avoided));
    assert!(!again.chain.context.avoids(&avoided));
}

#[test]
fn avoided_branch_is_abandoned_and_not_synced_again() {
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let trunk = maker.extend(&genesis, 5, 2);
    let low = maker.extend(&trunk[1], 2, 3);
    let mut host = Host::with(time(&trunk[4]), shallow(), None);
    for (from, head) in [(1, trunk[4].id()), (2, low[1].id())] {
        host.announce(from, head);
        host.run(&[&maker], 1);
    }
    assert_eq!(host.verified_head(), Some(trunk[4].id()));
    host.input(&Input::AvoidBlock(trunk[2].id()));
    host.run(&[&maker], 1);
    assert_eq!(host.verified_head(), Some(low[1].id()));
    assert_eq!(host.files.decisions.avoided, [trunk[2].id()]);
    let next = maker.next(&trunk[4], 2, &[]);
    host.announce(1, next.id());
    host.run(&[&maker], 20);
    assert_eq!(host.verified_head(), Some(low[1].id()));
    assert_eq!(host.status().bad_blocks, []);
    // Also after a restart.
    let config = SyncConfig {
        decisions: host.files.decisions.clone(),
        ..shallow()
    };
    let mut again = Host::with(host.now.as_secs(), config, host.files.head.clone());
    again.store = host.store.clone();
    again.announce(1, next.id());
    again.run(&[&maker], 20);
    assert_eq!(again.verified_head(), Some(low[1].id()));
    // The operator may change the decision.
    again.input(&Input::AdoptFork(trunk[2].id()));
    again.announce(1, next.id());
    again.run(&[&maker], 20);
    assert_eq!(again.verified_head(), Some(next.id()));
}

#[test]
fn operator_can_adopt_a_branch_with_a_deep_fork_point() {
    let (maker, _, other, mut host) = beyond_the_depth();
    host.input(&Input::AdoptFork(other[49].id()));
    host.run(&[&maker], 5);
    assert_eq!(host.verified_head(), Some(other[49].id()));
}

#[test]
fn chain_without_the_checkpoint_is_not_adopted() {
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let trunk = maker.extend(&genesis, 3, 2);
    let long = maker.extend(&trunk[2], 40, 2);
    let right = maker.extend(&trunk[2], 5, 3);
    let config = SyncConfig {
        checkpoint: Some(right[1].id()),
        ..SyncConfig::default()
    };
    let mut host = Host::with(time(&long[39]), config.clone(), None);
    host.announce(1, long[39].id());
    host.run(&[&maker], 30);
    assert_eq!(host.verified_head(), None);
    assert!(host.status().lacks_checkpoint);
    host.announce(2, right[4].id());
    host.run(&[&maker], 5);
    assert_eq!(host.verified_head(), Some(right[4].id()));
    assert!(!host.status().lacks_checkpoint);
    // It holds after a restart, with the other branch available.
    let mut again = Host::with(host.now.as_secs(), config, host.files.head.clone());
    again.store = host.store.clone();
    again.announce(1, long[39].id());
    again.run(&[&maker], 30);
    assert_eq!(again.verified_head(), Some(right[4].id()));
    let next = maker.next(&right[4], 2, &[]);
    again.announce(2, next.id());
    again.run(&[&maker], 5);
    assert_eq!(again.verified_head(), Some(next.id()));
    // A checkpoint that is configured later is found in the chain that is stored.
    let config = SyncConfig {
        checkpoint: Some(trunk[0].id()),
        ..SyncConfig::default()
    };
    let mut later = Host::with(host.now.as_secs(), config, host.files.head.clone());
    later.store = host.store.clone();
    later.run(&[], 5);
    assert!(!later.status().lacks_checkpoint);
}

#[test]
fn stakes_at_an_old_fork_are_read_when_they_are_needed() {
    // More blocks than cached elections.
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let trunk = maker.extend(&genesis, 3, 2);
    let ours = maker.extend(&trunk[2], 100, 2);
    let other = maker.extend(&trunk[2], 110, 3);
    let mut host = Host::new(time(&other[109]));
    for branch in [&ours, &other] {
        let head = branch.last().unwrap().id();
        host.announce(1, head);
        host.run(&[&maker], 12);
        assert_eq!(host.verified_head(), Some(head));
    }
    // Also with a host that does not keep fetched atoms.
    let mut host = Host::new(time(&other[109]));
    host.store = LocalStore::new(10_000);
    for branch in [&ours, &other] {
        let head = branch.last().unwrap().id();
        host.announce(1, head);
        host.run(&[&maker], 12);
        assert_eq!(host.verified_head(), Some(head));
    }
    assert_eq!(vec![host.status().contests.len()], [0]);
}
