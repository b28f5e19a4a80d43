//! Tests of the votes on our own address.

use super::net::config;
use super::scripted::{Scripted, Stage, atom};
use crate::atom::AtomId;
use crate::engine::{Engine, EngineConfig, Event, limits};
use crate::wire::message::Topic;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const HONEST: [u8; 4] = [5, 5, 5, 5];
const LIE: [u8; 4] = [203, 0, 113, 7];

/// Returns a peer in a network group of its own that reports that it observes us at `seen`.
fn voter(n: u8, seen: [u8; 4]) -> Scripted {
    voter_at([8, n, 8, 8], n.into(), seen)
}

fn voter_at(ip: [u8; 4], n: u32, seen: [u8; 4]) -> Scripted {
    let address = SocketAddr::from((ip, 4_000 + u16::try_from(n).unwrap()));
    let mut peer = Scripted::new(n, address);
    peer.seen = SocketAddr::from((seen, 1_001));
    peer
}

fn learned(stage: &Stage) -> Option<IpAddr> {
    stage
        .engine
        .advertised_address()
        .map(|address| address.ip())
}

fn changes(stage: &Stage) -> usize {
    let changed = |event: &&Event| matches!(event, Event::AddressLearned(_));
    stage.events.iter().filter(changed).count()
}

#[test]
fn votes_of_removed_peers_do_not_count() {
    let mut stage = Stage::new();
    for n in 0..20 {
        let liar = stage.join(voter(n, LIE));
        assert!(stage.knows(liar));
    }
    assert_eq!(learned(&stage), Some(LIE.into()));
    for n in 0..20 {
        let key = stage.peers[n].key();
        assert!(stage.engine.disconnect(&key));
    }
    for n in 100..105 {
        stage.join(voter(n, HONEST));
    }
    stage.run(2 * SECOND);
    assert_eq!(learned(&stage), Some(HONEST.into()));
}

#[test]
fn ipv6_addresses_do_not_count_without_ipv6() {
    let seen: SocketAddr = "[2a01:4f8::7]:1001".parse().unwrap();
    for use_ipv6 in [false, true] {
        let mut config = config(1);
        config.use_ipv6 = use_ipv6;
        let start = crate::time::Instant::from_secs(1_000);
        let mut stage = Stage::with(Engine::new(config, [1; 32], start));
        for n in 0..3 {
            let mut peer = voter(n, LIE);
            peer.seen = seen;
            stage.join(peer);
        }
        stage.run(2 * SECOND);
        let expected = use_ipv6.then_some(seen.ip());
        assert_eq!(learned(&stage), expected);
        stage.join(voter(100, HONEST));
        stage.run(2 * SECOND);
        let expected = expected.or(Some(HONEST.into()));
        assert_eq!(learned(&stage), expected);
    }
}

#[test]
fn one_network_group_has_one_vote() {
    let mut stage = Stage::new();
    for n in 0..3 {
        stage.join(voter(n, HONEST));
    }
    for n in 100..160 {
        let liar = stage.join(voter_at([9, 9, 0, u8::try_from(n).unwrap()], n, LIE));
        assert!(stage.knows(liar));
    }
    // Two of three peers in a mixed group report the true address.
    for (n, seen) in [(1, HONEST), (2, LIE), (3, HONEST)] {
        stage.join(voter_at([7, 7, 7, n], 200 + u32::from(n), seen));
    }
    stage.run(600 * SECOND);
    assert_eq!(learned(&stage), Some(HONEST.into()));
    assert_eq!(changes(&stage), 1);
}

#[test]
fn each_local_address_has_a_vote_unless_there_are_public_voters() {
    let mut stage = Stage::new();
    let seen = [192, 168, 1, 9];
    for n in 1..=3 {
        stage.join(voter_at([192, 168, 1, n], n.into(), seen));
    }
    stage.join(voter_at([192, 168, 1, 66], 66, LIE));
    stage.run(2 * SECOND);
    assert_eq!(learned(&stage), Some(seen.into()));
    stage.join(voter(100, HONEST));
    stage.run(2 * SECOND);
    assert_eq!(learned(&stage), Some(HONEST.into()));
    // A peer outside cannot name a local address.
    let outside = stage.join(voter(101, seen));
    let key = stage.peers[0].key();
    stage.engine.disconnect(&key);
    stage.run(2 * SECOND);
    assert!(stage.knows(outside));
    assert_eq!(learned(&stage), Some(HONEST.into()));
}

#[test]
fn change_is_followed_within_ten_minutes_without_new_peers() {
    for (count, is_reference) in [(1, false), (5, false), (40, false), (200, false), (5, true)] {
        let mut stage = Stage::new();
        for n in 0..count {
            let mut peer = voter(n, HONEST);
            peer.is_reference = is_reference;
            stage.join(peer);
        }
        stage.run(5 * SECOND);
        assert_eq!(learned(&stage), Some(HONEST.into()));
        for peer in &mut stage.peers {
            peer.seen = SocketAddr::from(([6, 6, 6, 6], 1_001));
        }
        let moved = stage.now;
        while learned(&stage) != Some([6, 6, 6, 6].into()) {
            stage.run(SECOND);
            assert!(stage.now.since(moved) <= 600 * SECOND, "{count} peers");
        }
        assert_eq!(changes(&stage), 2, "{count} peers");
    }
}

#[test]
fn votes_expire_and_the_address_stays_until_another_is_reported() {
    let mut stage = Stage::new();
    let first = stage.join(voter(1, LIE));
    // It stays a peer without answers that name an address.
    stage.peers[first].answers_probes = false;
    stage.run(limits::ADDRESS_VOTE_LIFETIME + 60 * SECOND);
    assert!(stage.knows(first));
    assert_eq!(learned(&stage), Some(LIE.into()));
    stage.join(voter(2, HONEST));
    stage.run(2 * SECOND);
    assert_eq!(learned(&stage), Some(HONEST.into()), "not a tie");
}

/// Anyone can send a handshake in the name of a voter from another address, which is then probed.
#[test]
fn forged_handshakes_do_not_delay_the_renewal_of_votes() {
    let mut stage = Stage::new();
    let me = stage.me();
    let voters: Vec<usize> = (0..5).map(|n| stage.join(voter(n, HONEST))).collect();
    stage.join(voter(9, LIE));
    for round in 0..15 {
        for n in &voters {
            if round % 2 == 0 {
                let forged = stage.peers[*n].handshake();
                let elsewhere = [77, 7, 7, 1 + u8::try_from(*n).unwrap()];
                // One alone does not cover the answer and the probe.
                for _ in 0..2 {
                    stage.deliver_from(SocketAddr::from((elsewhere, 9)), &forged);
                }
            }
            // Neither is asked for a sign of life.
            let head = AtomId::new([round + 1; 32]);
            let ping = stage.peers[*n].ping(&me, Some(head));
            stage.deliver(*n, &ping);
            let get = [&[0][..], atom(round.into()).id().as_bytes(), &[1]].concat();
            let get = stage.peers[*n].sealed(&me, Topic::ObjectRequest, &get);
            stage.deliver(*n, &get);
        }
        stage.run(100 * SECOND);
        assert_eq!(learned(&stage), Some(HONEST.into()), "round {round}");
    }
}

#[test]
fn configured_address_is_not_voted_on() {
    let configured: SocketAddr = "9.9.9.9:99".parse().unwrap();
    let mut stage = Stage::new();
    let config = EngineConfig {
        advertised_address: Some(configured),
        ..config(1)
    };
    stage.engine = Engine::new(config, [1; 32], stage.now);
    let peer = stage.join(voter(1, LIE));
    stage.run(300 * SECOND);
    assert!(stage.knows(peer));
    assert_eq!(stage.engine.advertised_address(), Some(configured));
    assert_eq!(changes(&stage), 0);
}

#[test]
fn renewal_asks_a_bounded_number_of_peers() {
    let mut stage = Stage::new();
    for n in 0..200 {
        stage.join(voter(n, HONEST));
    }
    stage.run(200 * SECOND);
    let before = stage.engine.stats().sent;
    stage.run(230 * SECOND);
    let rounds = 230 / limits::RENEWAL_INTERVAL.as_secs() + 1;
    let asked = rounds * limits::ADDRESS_VOTES_RENEWED_AT_REST as u64;
    // In addition, each peer of the routing table is sent a ping.
    let sent = stage.engine.stats().sent - before;
    assert!((asked - 20..=asked + 200).contains(&sent), "{sent} sent");
}
