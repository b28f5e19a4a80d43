//! Peers that announce heads: budgets, preference, silence.

use super::host::{Host, Maker, group, peer, time};
use crate::atom::AtomId;
use crate::consensus::Input;
use crate::consensus::sync::{MAX_BRANCHES, MAX_HEADS};
use core::time::Duration;

fn random_id(number: u32) -> AtomId {
    let mut bytes = [0xa5; 32];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    AtomId::new(bytes)
}

#[test]
fn thousand_random_heads_per_second_cost_at_most_two_requests_per_second() {
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let mut at = maker.next(&genesis, 2, &[]);
    let mut host = Host::new(time(&at));
    host.latency = [Duration::from_millis(30), Duration::from_secs(2)];
    host.announce(1, at.id());
    host.run(&[&maker], 2);
    assert_eq!(host.verified_head(), Some(at.id()));
    host.silent.insert(peer(66));
    let before: usize = host.asked.values().sum();
    let (mut honest, mut number) = (0, 0);
    let seconds = 30;
    for second in 0..seconds {
        let asked: usize = host.asked.values().sum();
        for _ in 0..1_000 {
            number += 1;
            host.announce(66, random_id(number));
            host.run_for(&[&maker], Duration::from_millis(1));
        }
        if second % 5 == 2 {
            let gap = host.now.as_secs() - time(&at);
            at = maker.next(&at, gap, &[]);
            let asked: usize = host.asked.values().sum();
            host.announce(1, at.id());
            host.run(&[&maker], 1);
            assert_eq!(host.verified_head(), Some(at.id()), "within a second");
            honest += host.asked.values().sum::<usize>() - asked;
        }
        assert!(host.asked.values().sum::<usize>() <= asked + 2 + honest);
    }
    let wasted = host.asked.values().sum::<usize>() - before - honest;
    assert!(wasted <= 2 * seconds, "{wasted} requests");
    assert!(wasted >= 2, "some are looked up");
}

#[test]
fn announcing_a_bad_block_in_between_gives_no_new_budget() {
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let good = maker.next(&genesis, 2, &[]);
    let mut header = maker.draft(&genesis, 3, &[]);
    header.cumulative_mint = 99_u64.into();
    let bad = maker.mine(&genesis, header, 1);
    let mut host = Host::new(time(&bad));
    host.latency = [Duration::from_millis(30), Duration::from_secs(2)];
    host.announce(1, good.id());
    host.announce(66, bad.id());
    host.run(&[&maker], 3);
    assert_eq!(host.verified_head(), Some(good.id()));
    assert!(host.sync().bad_reason(&bad.id()).is_some());
    host.silent.insert(peer(66));
    let before: usize = host.asked.values().sum();
    let seconds = 30;
    for number in 0..seconds * 100 {
        host.announce(66, bad.id());
        host.announce(66, random_id(number));
        host.run_for(&[&maker], Duration::from_millis(10));
    }
    let wasted = host.asked.values().sum::<usize>() - before;
    assert!(wasted <= 2 * seconds as usize, "{wasted} requests");
}

#[test]
fn peer_that_announced_a_head_is_asked_first_for_its_data() {
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let mut blocks = maker.extend(&genesis, 5, 2);
    let transfers: alloc::vec::Vec<_> = (0..50).map(Maker::transfer).collect();
    blocks.push(maker.next(&blocks[4].clone(), 2, &transfers));
    let mut host = Host::new(time(&blocks[5]));
    // No other peer has anything.
    host.others_answer = false;
    host.announce(7, blocks[5].id());
    host.run(&[&maker], 5);
    assert_eq!(host.verified_head(), Some(blocks[5].id()));
    assert_eq!(
        host.preferred.keys().collect::<alloc::vec::Vec<_>>(),
        [&Some(peer(7))]
    );
}

#[test]
fn announcers_of_a_head_take_turns_and_silent_ones_lose_theirs() {
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let blocks = maker.extend(&genesis, 30, 2);
    let mut host = Host::new(time(&blocks[29]));
    host.others_answer = false;
    host.latency = [Duration::from_millis(10), Duration::from_secs(1)];
    host.silent.insert(peer(3));
    for from in 1..=3 {
        host.announce(from, blocks[29].id());
    }
    host.run(&[&maker], 4);
    assert_eq!(host.verified_head(), Some(blocks[29].id()));
    let of = |number| {
        host.preferred
            .get(&Some(peer(number)))
            .copied()
            .unwrap_or(0)
    };
    assert!(
        of(1) > 20 && of(1).abs_diff(of(2)) < 10,
        "{:?}",
        host.preferred
    );
    assert_eq!(of(3), 1, "{:?}", host.preferred);
}

#[test]
fn sixty_silent_announcers_do_not_delay_the_head() {
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let mut at = maker.next(&genesis, 2, &[]);
    let mut host = Host::new(time(&at));
    host.others_answer = false;
    host.latency = [Duration::from_millis(20), Duration::from_secs(1)];
    for from in 100..160 {
        host.silent.insert(peer(from));
    }
    let mut behind = 0;
    for _ in 0..60 {
        for from in 100..160 {
            host.announce_in(from, group(100), at.id());
        }
        host.announce(1, at.id());
        host.run(&[&maker], 2);
        let height = host
            .context
            .head()
            .map_or(0, crate::consensus::Head::height);
        behind = behind.max(at.height.to_u64().unwrap() - height);
        at = maker.next(&at, 2, &[]);
    }
    assert!(behind <= 2, "{behind} blocks behind");
}

#[test]
fn sixty_slow_new_peers_do_not_delay_a_follower() {
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let mut at = maker.next(&genesis, 2, &[]);
    let mut host = Host::new(time(&at));
    host.announce(1, at.id());
    host.run(&[&maker], 2);
    // The providers nearest to an id do not have it, and are slow to answer.
    host.latency = [Duration::from_millis(20), Duration::from_secs(9)];
    for from in 100..160 {
        host.slow.insert(peer(from), Duration::from_millis(900));
    }
    let mut behind = [0; 2];
    for number in 0..60 {
        host.announce(1, at.id());
        for from in 100..160 {
            host.announce(from, at.id());
        }
        host.run(&[&maker], 2);
        let head = host.context.head();
        let height = head.map_or(0, crate::consensus::Head::height);
        // Each is asked once before it is known to be slow.
        let phase = &mut behind[usize::from(number >= 20)];
        *phase = at
            .height
            .to_u64()
            .unwrap()
            .saturating_sub(height)
            .max(*phase);
        at = maker.next(&at, 2, &[Maker::transfer(number)]);
    }
    let [first, then] = behind;
    assert!(first <= 4 && then <= 1, "{behind:?} blocks behind");
}

#[test]
fn flood_of_heads_is_bounded_and_does_not_delay_an_honest_one() {
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let block = maker.next(&genesis, 2, &[]);
    let mut host = Host::new(time(&block));
    for number in 1..6_000 {
        let id = random_id(number);
        host.input(&Input::PeerHead {
            peer: crate::crypto::PublicKey::new(*id.as_bytes()),
            group: group(9),
            id,
            is_default_seed: false,
            is_seed: false,
        });
        if number % 100 == 0 {
            host.run(&[&maker], 0);
            let status = host.status();
            assert!(status.candidates <= MAX_HEADS && status.syncs.len() <= MAX_BRANCHES);
        }
    }
    host.announce(1, block.id());
    host.announce(2, block.id());
    host.run(&[&maker], 30);
    assert_eq!(host.verified_head(), Some(block.id()));
    host.input(&Input::PeerGone { peer: peer(1) });
    assert_eq!(host.verified_head(), Some(block.id()));
}
