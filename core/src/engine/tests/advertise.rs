//! Tests of advertisements while peers come, move and restart, and while our own address changes.

use super::scripted::{Scripted, Stage};
use crate::atom::AtomId;
use crate::engine::{Event, limits};
use crate::wire::object::PayloadType;
use core::net::SocketAddr;
use core::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn id(n: u32) -> AtomId {
    AtomId::new(crate::crypto::hash(&n.to_be_bytes()))
}

fn peer(n: u8) -> Scripted {
    let mut peer = Scripted::new(n.into(), SocketAddr::from(([8, n, 8, 8], 4_000)));
    peer.seen = "198.51.100.1:1001".parse().unwrap();
    peer
}

/// Returns a stage whose engine has advertised `count` objects to three peers.
fn advertising(count: u32) -> Stage {
    let mut stage = Stage::new();
    for n in 0..count {
        let is_taken = stage
            .engine
            .advertise(stage.now, id(n), PayloadType::ATOM, None);
        assert!(is_taken);
    }
    for n in 0..3 {
        stage.join(peer(n));
    }
    stage.run(100 * SECOND);
    take_records(&mut stage);
    stage
}

/// Clears the records that the peers were sent; returns their number.
fn take_records(stage: &mut Stage) -> usize {
    let records = stage.peers.iter().map(Scripted::records).sum();
    for peer in &mut stage.peers {
        peer.got.clear();
        peer.sent.clear();
    }
    records
}

#[test]
fn changed_port_causes_no_new_advertisements() {
    let mut stage = advertising(2_000);
    let me = stage.me();
    for port in 0..60 {
        stage.peers[0].address.set_port(5_000 + port);
        let ping = stage.peers[0].ping(&me, None);
        stage.deliver(0, &ping);
        stage.run(SECOND);
    }
    let moved = |event: &&Event| matches!(event, Event::PeerMoved { .. });
    assert_eq!(stage.events.iter().filter(moved).count(), 60);
    assert_eq!(take_records(&mut stage), 0);
}

#[test]
fn repeated_handshakes_cause_one_readvertisement_per_interval() {
    let mut stage = advertising(2_000);
    let me = stage.me();
    let once = {
        let handshake = stage.peers[0].handshake();
        stage.deliver(0, &handshake);
        let ping = stage.peers[0].ping(&me, None);
        stage.deliver(0, &ping);
        stage.run(9 * SECOND);
        take_records(&mut stage)
    };
    assert!(once > 100, "{once}");
    stage.run(30 * SECOND);
    assert_eq!(take_records(&mut stage), 0);
    for _ in 0..300 {
        let handshake = stage.peers[0].handshake();
        stage.deliver(0, &handshake);
        let ping = stage.peers[0].ping(&me, None);
        stage.deliver(0, &ping);
        stage.run(SECOND / 10);
    }
    let received = take_records(&mut stage);
    assert!(
        received <= 4 * once,
        "{received} records in 30 s, {once} at once"
    );
}

/// No input causes more than one turn of advertisements, however many there are.
#[test]
fn new_peer_receives_records_at_the_pace_of_advertisements() {
    let mut stage = advertising(20_000);
    let new = stage.join(peer(9));
    let most = limits::ADVERTISEMENTS_PER_TURN * limits::ADVERTISE_FANOUT;
    let mut received = 0;
    for _ in 0..2_000 {
        let before = received;
        stage.run(limits::ADVERTISE_PACE);
        received = stage.peers.iter().map(Scripted::records).sum();
        assert!(
            received - before <= most,
            "{} records in a turn",
            received - before
        );
    }
    assert!(stage.peers[new].records() > 1_000);
    // The new peer has all its records.
    stage.run(60 * SECOND);
    assert_eq!(
        stage.peers.iter().map(Scripted::records).sum::<usize>(),
        received
    );
}

#[test]
fn changing_address_reports_cause_no_flood_of_advertisements() {
    let time = 1_200 * SECOND;
    let mut usual = advertising(500);
    usual.run(time);
    let usual = take_records(&mut usual);
    assert!(usual > 500);
    let mut stage = advertising(500);
    let me = stage.me();
    // Four malicious peers against three honest ones.
    let liars = [20, 21, 22, 23].map(|n| stage.join(peer(n)));
    take_records(&mut stage);
    let rounds = 120;
    for round in 0..rounds {
        let [.., low] = u32::to_be_bytes(round);
        for liar in liars {
            stage.peers[liar].seen = SocketAddr::from(([203, 0, 113, low], 1_001));
            stage.peers[liar].address.set_port(5_000 + u16::from(low));
            let ping = stage.peers[liar].ping(&me, None);
            stage.deliver(liar, &ping);
        }
        stage.run(time / rounds);
    }
    let changed = |event: &&Event| matches!(event, Event::AddressLearned(_));
    let changes = stage.events.iter().filter(changed).count();
    let most = usize::try_from(time.as_secs() / limits::ADDRESS_CHANGE_INTERVAL.as_secs()).unwrap();
    assert!(changes <= 2 + most, "{changes} changes");
    assert!(changes > 2, "the false reports are counted");
    let received = take_records(&mut stage);
    assert!(
        received <= 3 * usual,
        "{received} records instead of {usual}"
    );
}
