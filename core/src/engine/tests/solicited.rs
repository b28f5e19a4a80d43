//! Tests of first contacts under a flood of forged answers.

use super::net::{Net, at, config, key};
use super::scripted::{Scripted, Stage};
use super::unknown_peer;
use crate::engine::{Engine, limits};
use crate::time::Instant;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// Forgeries that reach two nodes while one of them contacts the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Forged {
    Nothing,
    /// Handshakes of fresh keys, to each in the name of the address of the other.
    FreshKeys,
    /// The same, and handshakes of the key of each.
    OwnKeys,
}

/// Returns the time until nodes 1 and 2 have validated each other.
fn join(forged: Forged, pace: Duration, latency: Duration, is_seed: bool) -> Option<Duration> {
    let mut net = Net::of_ours(2);
    net.latency = latency;
    let mut n = 0;
    let mut forge = |net: &mut Net| {
        n += 1;
        let fresh = unknown_peer::many(n).public_key();
        for (victim, other) in [(1, 2), (2, 1)] {
            if forged != Forged::Nothing {
                let packet = unknown_peer::handshake(&fresh, at(other).port());
                net.inject(at(other), at(victim), packet);
            }
            if forged == Forged::OwnKeys {
                let packet = unknown_peer::handshake(&key(other), at(other).port());
                net.inject(at(other), at(victim), packet);
            }
        }
        net.run(pace);
    };
    let began = net.now;
    while net.now < began + 15 * SECOND {
        forge(&mut net);
    }
    let now = net.now;
    if is_seed {
        net.engine(1).set_seeds(now, &[at(2)], &[]);
        net.run(Duration::ZERO);
    } else {
        net.connect(1, 2);
    }
    while net.now < now + 120 * SECOND {
        if net.knows(1, 2) && net.knows(2, 1) {
            return Some(net.now.since(now));
        }
        forge(&mut net);
    }
    None
}

#[test]
fn forged_handshakes_do_not_prevent_a_contact_from_joining() {
    for latency in [1, 150, 900].map(Duration::from_millis) {
        let usual = join(Forged::Nothing, SECOND / 10, latency, true);
        assert!(usual.is_some_and(|took| took < 10 * SECOND), "{usual:?}");
        for pace in [10, 100, 1_000, 5_000, 9_900].map(Duration::from_millis) {
            for is_seed in [true, false] {
                for (forged, most) in [
                    (Forged::FreshKeys, 6 * latency + pace + SECOND),
                    // Either node has just answered that key, and does so again after an interval.
                    (
                        Forged::OwnKeys,
                        limits::CONTACT_INTERVAL + 6 * latency + pace + SECOND,
                    ),
                ] {
                    let took = join(forged, pace, latency, is_seed);
                    assert!(
                        took.is_some_and(|took| took <= most),
                        "{forged:?} every {pace:?}, latency {latency:?}, seed {is_seed}: {took:?}"
                    );
                }
            }
        }
    }
}

/// The network of the seed has used its budget for unknown peers.
#[test]
fn answers_of_contacts_use_no_budget_of_unknown_peers() {
    let seed = SocketAddr::from(([8, 8, 8, 8], 4_001));
    let mut stage = Stage::with(Engine::new(config(1), [1; 32], Instant::from_secs(1_000)));
    let me = stage.me();
    let peer = stage.add(Scripted::new(1, seed));
    for n in 0..2 * limits::AGREEMENTS_BURST_PER_NETWORK {
        let mut other = Scripted::new(1_000 + n, SocketAddr::from(([8, 8, 8, 9], 9)));
        let ping = other.ping(&me, None);
        stage.deliver_from(other.address, &ping);
    }
    let spent = stage.engine.stats().agreements;
    assert_eq!(spent, u64::from(limits::AGREEMENTS_BURST_PER_NETWORK));
    stage.engine.connect(stage.now, seed);
    stage.carry();
    let handshake = stage.peers[peer].handshake();
    stage.deliver(peer, &handshake);
    assert!(stage.knows(peer));
}

#[test]
fn forged_answers_are_probed_within_the_amplification_limit_and_add_no_peer() {
    let contacted = SocketAddr::from(([8, 8, 8, 8], 4_001));
    let mut stage = Stage::new();
    stage.engine.connect(stage.now, contacted);
    stage.carry();
    let first: usize = stage.stray.iter().map(|(_, packet)| packet.len()).sum();
    let mut received = 0;
    for n in 0..5_000 {
        let packet = unknown_peer::handshake(&unknown_peer::many(n).public_key(), contacted.port());
        received += packet.len();
        stage.deliver_from(contacted, &packet);
        stage.run(Duration::from_millis(1));
    }
    let sent: usize = stage.stray.iter().map(|(_, packet)| packet.len()).sum();
    assert!(
        sent > first && sent - first <= 3 * received,
        "{sent} for {received}"
    );
    assert_eq!(stage.engine.peers.len(), 0);
    let spent = u32::try_from(stage.engine.stats().agreements).unwrap();
    assert!(spent <= limits::SOLICITED_BURST + 6 * limits::SOLICITED_PER_SECOND);
    // Another contact is not affected.
    let other = stage.add(Scripted::new(
        9_000,
        SocketAddr::from(([9, 9, 9, 9], 4_001)),
    ));
    stage.engine.connect(stage.now, stage.peers[other].address);
    stage.carry();
    let handshake = stage.peers[other].handshake();
    stage.deliver(other, &handshake);
    assert!(stage.knows(other));
}

/// A peer that has contacted us from a spoofed address is still found at its own.
#[test]
fn handshakes_in_the_name_of_a_contact_from_elsewhere_do_not_delay_it() {
    let mut stage = Stage::new();
    let me = stage.me();
    let home = SocketAddr::from(([8, 8, 8, 8], 4_001));
    let peer = stage.add(Scripted::new(1, home));
    let recorded = stage.peers[peer].ping(&me, None);
    stage.deliver_from(SocketAddr::from(([9, 9, 9, 9], 4_001)), &recorded);
    let handshake: Vec<u8> = stage.peers[peer].handshake();
    for n in 0..1_000 {
        let elsewhere = SocketAddr::from((Ipv4Addr::from_bits(0x3000_0000 + n), 4_001));
        stage.deliver_from(elsewhere, &handshake);
        if n == 500 {
            stage.engine.connect(stage.now, home);
            stage.carry();
            stage.deliver(peer, &handshake);
            assert!(stage.knows(peer));
        }
        stage.run(Duration::from_millis(20));
    }
}
