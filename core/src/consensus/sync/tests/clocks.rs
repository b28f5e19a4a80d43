//! Blocks from the future, and clocks that are set.

use super::host::{BEGINNING, Host, Maker, time};
use crate::consensus::Component;
use core::time::Duration;

#[test]
fn follower_with_a_slow_clock_continues_within_a_second_of_its_correction() {
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let mut blocks = maker.extend(&genesis, 5, 2);
    let mut host = Host::new(time(&blocks[4]));
    host.announce(1, blocks[4].id());
    host.run(&[&maker], 1);
    assert_eq!(host.verified_head(), Some(blocks[4].id()));
    host.clock_behind = Duration::from_secs(100);
    for _ in 0..7 {
        let next = maker.next(&blocks[blocks.len() - 1].clone(), 2, &[]);
        host.run(&[&maker], 2);
        host.announce(1, next.id());
        blocks.push(next);
    }
    let last = blocks.last().unwrap();
    assert_eq!(host.verified_head(), Some(blocks[4].id()));
    assert!(host.waits().join("").contains("s in the future"));
    host.clock_behind = Duration::ZERO;
    host.run_for(&[&maker], Duration::from_millis(1_100));
    assert_eq!(host.verified_head(), Some(last.id()));
    assert_eq!(host.status().bad_blocks, []);
}

#[test]
fn block_far_in_the_future_is_retried_when_the_clock_is_set() {
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let block = maker.next(&genesis, 2, &[]);
    let mut host = Host::new(time(&block));
    // Started in 1970, like a machine without a clock.
    host.clock_behind = host.now;
    host.announce(1, block.id());
    host.run(&[&maker], 20);
    assert_ne!(host.verified_head(), Some(block.id()));
    assert_eq!(host.status().bad_blocks, []);
    assert!(host.status().dropped.unwrap().1.contains("s in the future"));
    // It is not announced again.
    host.clock_behind = Duration::ZERO;
    host.run_for(&[&maker], Duration::from_millis(1_100));
    assert_eq!(host.verified_head(), Some(block.id()));
}

#[test]
fn wall_clock_deadlines_are_checked_every_second() {
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let soon = maker.next(&genesis, 300, &[]);
    let late = maker.next(&genesis, 90_000, &[]);
    for block in [soon, late] {
        let mut host = Host::new(BEGINNING);
        host.announce(1, block.id());
        host.run(&[&maker], 1);
        let timeout = host.sync().poll_timeout().unwrap();
        assert!(timeout.since(host.instant()) <= Duration::from_secs(1));
    }
}

#[test]
fn branch_that_waits_for_its_time_frees_its_slot() {
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let mut host = Host::new(BEGINNING + 2);
    for number in 0..40 {
        let early = maker.next(&genesis, 500 + u64::from(number), &[]);
        host.announce(number + 10, early.id());
    }
    host.run(&[&maker], 10);
    let block = maker.next(&genesis, 2, &[]);
    host.announce(1, block.id());
    host.run(&[&maker], 10);
    assert_eq!(host.verified_head(), Some(block.id()));
}
