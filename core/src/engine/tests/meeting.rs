//! Tests of registration, eviction and seeds.

use super::net::{Net, at, config, key, secret};
use super::unknown_peer;
use crate::atom::AtomId;
use crate::engine::limits::WANTED_PEERS;
use crate::engine::{DropReason, Engine, Event, FetchRequest, RemoveReason};
use crate::wire::message::{Body, HEADER_BYTES, Message, Topic};
use crate::wire::network_group::NetworkGroup;
use crate::wire::packet::{NONCE_BYTES, Packet};
use crate::wire::routing_table::Distance;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn is_handshake(bytes: &[u8]) -> bool {
    let packet = Packet::decode(bytes).unwrap();
    matches!(
        Message::decode(packet.message()).unwrap().body,
        Body::Handshake(_)
    )
}

#[test]
fn two_nodes_connect_and_then_send_nothing() {
    let mut net = Net::of_ours(2);
    let head = AtomId::new([9; 32]);
    net.with(2, |engine, now| engine.set_head(now, Some(head)));
    net.meet(1, 2);
    assert!(net.knows(1, 2) && net.knows(2, 1));
    let count = net.sent.len();
    assert!(count <= 14, "{count} packets to connect");
    net.run(10 * SECOND);
    assert_eq!(net.sent.len(), count);
    assert_eq!(net.engine(1).peer(&key(2)).unwrap().head, Some(head));
    let reported = Event::Head {
        peer: key(2),
        group: NetworkGroup::of(at(2).ip()),
        id: head,
        is_default_seed: false,
        is_seed: false,
    };
    assert!(net.node(1).events.contains(&reported));
    assert_eq!(net.engine(1).advertised_address(), Some(at(1)));
}

#[test]
fn contacted_reference_node_becomes_a_peer() {
    let mut net = Net::of_ours(1);
    net.add_reference(2);
    net.meet(1, 2);
    assert!(net.knows(1, 2));
    assert!(net.reference(2).peers.get(&key(1)).is_some());
    assert_eq!(net.reference(2).pings[&key(1)].difficulty.get(), 1);
    assert_eq!(
        net.engine(1).advertised_address(),
        Some(at(1)),
        "learned from the echo"
    );
}

#[test]
fn contacting_reference_node_becomes_a_peer() {
    let mut net = Net::of_ours(1);
    let reference = net.add_reference(2);
    reference.handshake(at(1), &[]);
    reference.handshake(at(1), &at(2).port().to_be_bytes());
    net.run(SECOND);
    assert!(net.knows(1, 2));
    assert!(net.reference(2).pings.contains_key(&key(1)));
    let first = net.sent.iter().find(|packet| packet.to == at(2)).unwrap();
    assert!(is_handshake(&first.bytes));
    assert_eq!(
        first.bytes.len(),
        NONCE_BYTES + HEADER_BYTES,
        "an empty payload"
    );
}

#[test]
fn unvalidated_handshake_gets_only_a_handshake() {
    let mut net = Net::of_ours(1);
    for _ in 0..5 {
        net.inject(at(9), at(1), unknown_peer::handshake(&key(9), at(9).port()));
        net.run(SECOND);
    }
    let answers = net.sent_to(at(9), 0);
    assert_eq!(answers.len(), 1);
    assert!(is_handshake(&answers[0].bytes));
    assert_eq!(
        net.engine(1).stats().agreements,
        0,
        "no key agreement is computed"
    );
}

#[test]
fn known_peer_handshake_gets_handshake_and_ping_once_in_ten_seconds() {
    let mut net = Net::of_ours(1);
    net.add_reference(2);
    net.meet(1, 2);
    let before = net.sent.len();
    for _ in 0..5 {
        net.inject(at(2), at(1), unknown_peer::handshake(&key(2), at(2).port()));
    }
    net.run(9 * SECOND);
    let lengths = |net: &Net| -> Vec<usize> {
        net.sent_to(at(2), before)
            .iter()
            .map(|packet| packet.bytes.len())
            .collect()
    };
    assert_eq!(lengths(&net), [43, 106]);
    net.run(2 * SECOND);
    assert_eq!(
        lengths(&net),
        [43, 106, 43, 106],
        "early handshakes share one answer"
    );
}

#[test]
fn restarted_reference_node_reconnects() {
    for other_port in [false, true] {
        let mut net = Net::of_ours(1);
        net.add_reference(2).handshake(at(1), &[]);
        net.run(SECOND);
        assert!(net.knows(1, 2));
        let address = if other_port {
            SocketAddr::from(([127, 0, 0, 2], 7))
        } else {
            at(2)
        };
        net.hosts.remove(&at(2));
        let mut fresh = super::reference::Reference::new(secret(2), address);
        fresh.run_number = 1;
        fresh.handshake(at(1), &[]);
        net.hosts
            .insert(address, super::net::Host::Reference(fresh.into()));
        net.run(SECOND);
        let Some(super::net::Host::Reference(fresh)) = net.hosts.get(&address) else {
            panic!("it is there");
        };
        assert!(fresh.peers.get(&key(1)).is_some() && fresh.pings.contains_key(&key(1)));
        assert_eq!(net.engine(1).peer(&key(2)).unwrap().address, address);
    }
}

#[test]
fn changed_key_at_the_same_address_replaces_the_peer() {
    let mut net = Net::of_ours(1);
    net.add_reference(2);
    net.meet(1, 2);
    let mut fresh = super::reference::Reference::new(secret(3), at(2));
    fresh.handshake(at(1), &[]);
    net.hosts
        .insert(at(2), super::net::Host::Reference(fresh.into()));
    net.run(SECOND);
    assert!(net.knows(1, 3) && !net.knows(1, 2));
    let gone = Event::PeerRemoved {
        peer: key(2),
        reason: RemoveReason::Replaced,
    };
    assert!(net.node(1).events.contains(&gone));
}

#[test]
fn sender_of_a_packet_that_fails_authentication_gets_our_key() {
    let mut net = Net::of_ours(1);
    let old = key(77);
    let packet = unknown_peer::sealed(
        &secret(9),
        &old,
        1009,
        [1; 12],
        Topic::Ping,
        &unknown_peer::ping(1),
    );
    net.inject(at(9), at(1), packet);
    net.run(SECOND);
    assert_eq!(net.dropped(1, DropReason::NotAuthentic), 1);
    assert_eq!(net.sent_to(at(9), 0).len(), 1);
    assert_eq!(net.engine(1).peer_count(), 0);
}

#[test]
fn authentic_ping_starts_validation_and_registers_no_peer_before() {
    let mut net = Net::of_ours(1);
    let ping = unknown_peer::ping(7);
    let packet = unknown_peer::sealed(&secret(9), &key(1), 1009, [1; 12], Topic::Ping, &ping);
    net.inject(at(9), at(1), packet);
    net.run(SECOND);
    assert!(net.engine(1).peer(&key(9)).is_none());
    let unvalidated = net.engine(1).peers.get(&key(9)).unwrap();
    assert_eq!((unvalidated.difficulty, unvalidated.address), (7, at(9)));
    let probes = net.sent_to(at(9), 0);
    assert!(probes.iter().any(|packet| !is_handshake(&packet.bytes)));
    // A reference node that still knows us answers our handshake with a ping alone.
    let mut net = Net::of_ours(1);
    net.add_reference(2);
    net.meet(1, 2);
    net.add(1, config(1));
    net.reference(2).ping(&key(1), at(1));
    net.run(SECOND);
    assert!(net.knows(1, 2));
}

#[test]
fn idle_reference_node_stays_and_a_dead_one_is_removed_after_a_probe() {
    let mut net = Net::new();
    let mut ours = config(1);
    ours.peer_timeout = 60 * SECOND;
    net.add(1, ours);
    net.add_reference(2);
    net.meet(1, 2);
    net.run(600 * SECOND);
    assert!(net.knows(1, 2), "it answers handshakes");
    net.reference(2).is_dead = true;
    let before = net.sent.len();
    net.run(80 * SECOND);
    assert!(!net.knows(1, 2));
    assert!(
        net.sent_to(at(2), before)
            .iter()
            .any(|packet| is_handshake(&packet.bytes))
    );
    let gone = Event::PeerRemoved {
        peer: key(2),
        reason: RemoveReason::TimedOut,
    };
    assert_eq!(net.node(1).events.last(), Some(&gone));
    let before = net.sent.len();
    net.run(600 * SECOND);
    assert_eq!(net.sent.len(), before, "a removed peer is not contacted");
}

#[test]
fn seeds_are_tried_while_there_are_few_peers() {
    let mut net = Net::of_ours(1);
    net.with(1, |engine, now| engine.set_seeds(now, &[at(2)], &[at(3)]));
    net.run(95 * SECOND);
    assert_eq!(
        net.sent_to(at(2), 0).len(),
        5,
        "at 0, once more after 10, and at 30, 60 and 90 seconds"
    );
    assert_eq!(net.sent_to(at(3), 0).len(), 5);
    net.add_reference(3);
    net.run(30 * SECOND);
    assert!(net.knows(1, 3));
    assert!(net.engine(1).peer(&key(3)).unwrap().is_seed);
    let before = net.sent_to(at(2), 0).len();
    // That peer may be all that a partitioned network left us: the other seed is contacted all the
    // same.
    net.run(600 * SECOND);
    assert_eq!(net.sent_to(at(2), 0).len(), before + 20);
    assert!(!net.engine(1).peer(&key(3)).unwrap().is_default_seed);
}

#[test]
fn neither_repeated_resolution_nor_a_phantom_peer_prevents_seed_contacts() {
    let mut net = Net::of_ours(1);
    let packet = unknown_peer::sealed(
        &secret(9),
        &key(1),
        1009,
        [1; 12],
        Topic::Ping,
        &unknown_peer::ping(1),
    );
    net.inject(at(9), at(1), packet);
    for _ in 0..10 {
        net.with(1, |engine, now| engine.set_seeds(now, &[at(2)], &[]));
        net.run(10 * SECOND);
    }
    assert_eq!(net.engine(1).peer_count(), 0);
    assert_eq!(
        net.sent_to(at(2), 0).len(),
        5,
        "at 0, once more after 10, and at 30, 60 and 90 seconds"
    );
}

#[test]
fn default_seed_is_the_first_peer_validated_at_its_address() {
    let mut net = Net::of_ours(3);
    net.with(1, |engine, now| engine.set_seeds(now, &[at(2)], &[]));
    // Another key claims to be there first, and cannot be validated.
    let ping = unknown_peer::ping(1);
    let packet = unknown_peer::sealed(
        &secret(9),
        &key(1),
        at(2).port(),
        [1; 12],
        Topic::Ping,
        &ping,
    );
    net.inject(at(2), at(1), packet);
    net.run(SECOND);
    assert!(net.engine(1).peer(&key(2)).unwrap().is_default_seed);
    // It is removed when the owner of the address is validated there.
    assert!(net.engine(1).peer(&key(9)).is_none());
    // Another key takes the address over, and is a peer like others.
    net.hosts.remove(&at(2));
    let mut other = config(4);
    other.incoming_port = at(2).port();
    net.add_at(at(2), other, [4; 32]);
    let now = net.now;
    net.node_at(at(2)).engine.connect(now, at(1));
    net.run(SECOND);
    assert!(net.knows(1, 4) && !net.engine(1).peer(&key(4)).unwrap().is_default_seed);
}

#[test]
fn peers_of_peers_are_found_through_routes() {
    let mut net = Net::of_ours(6);
    for n in 2..=6 {
        net.connect(n, 1);
    }
    net.run(5 * SECOND);
    let met = (2..=6).filter(|n| net.engine(*n).peer_count() > 1).count();
    assert!(met >= 3, "{met} of five know others");
    for n in 2..=6 {
        assert!(net.engine(n).peers().all(|peer| peer.is_validated));
    }
}

/// A lookup of an id near to us reaches us through our neighbours, so they are contacted although
/// there are peers enough.
#[test]
fn node_with_enough_peers_requests_routes_only_from_near_newcomers() {
    let mut net = Net::of_ours(201);
    let own = key(1);
    let mut others: Vec<u8> = (2..=201).collect();
    others.sort_by_key(|n| Distance::between(own.as_bytes(), key(*n).as_bytes()));
    let (nearest, farthest) = (others[0], others[199]);
    for n in &others[50..150] {
        net.connect(*n, 1);
        net.run(Duration::from_millis(50));
    }
    assert!(net.engine(1).peers.registered() >= WANTED_PEERS);
    for (newcomer, is_asked) in [(farthest, false), (nearest, true)] {
        net.meet(newcomer, 1);
        let peer = net.engine(1).peers.get(&key(newcomer)).unwrap();
        assert_eq!(
            (peer.is_validated, peer.routes_asked_at.is_some()),
            (true, is_asked)
        );
    }
}

#[test]
fn nodes_connect_over_ipv6_and_send_no_requests_to_reference_nodes() {
    let address = |n: u16| SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 0, n], 1000 + n));
    let mut net = Net::new();
    for n in 1..=2 {
        let mut config = config(n);
        config.use_ipv6 = true;
        config.incoming_port = 1000 + u16::from(n);
        net.add_at(address(n.into()), config, [n; 32]);
    }
    let now = net.now;
    net.node_at(address(1)).engine.connect(now, address(2));
    net.run(SECOND);
    let engine = &net.node_at(address(1)).engine;
    assert!(engine.peer(&key(2)).unwrap().is_validated);

    // A reference node: its handshakes carry no mark, and it must never be asked for an object.
    let packets = [
        unknown_peer::handshake(&key(9), 1009),
        unknown_peer::sealed(
            &secret(9),
            &key(1),
            1009,
            [1; 12],
            Topic::Ping,
            &unknown_peer::ping(1),
        ),
    ];
    for packet in packets {
        net.inject(address(9), address(1), packet);
        net.run(SECOND);
    }
    let lengths: Vec<_> = net
        .sent_to(address(9), 0)
        .iter()
        .map(|packet| packet.bytes.len())
        .collect();
    assert_eq!(lengths, [43 + super::super::IPV6_MARK.len()]);
    net.node_at(address(1)).engine.fetch(
        now,
        FetchRequest::new(AtomId::new([1; 32]), crate::wire::object::PayloadType::ATOM),
    );
    net.run(3 * SECOND);
    assert_eq!(net.sent_to(address(9), 0).len(), 1);
}

#[test]
fn equal_inputs_give_equal_outputs() {
    let run = || {
        let mut net = Net::of_ours(4);
        net.add_reference(5);
        for n in 2..=5 {
            net.connect(1, n);
        }
        net.run(30 * SECOND);
        net.sent
    };
    assert_eq!(run(), run());
}

#[test]
fn another_seed_gives_other_nonces() {
    let mut net = Net::of_ours(2);
    net.meet(1, 2);
    let mut other = Net::of_ours(1);
    other.add_at(at(2), config(2), [77; 32]);
    other.meet(1, 2);
    assert_ne!(net.sent, other.sent);
    let _: &Engine = net.engine(1);
}
