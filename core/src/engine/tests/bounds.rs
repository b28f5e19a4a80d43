//! Tests of resource bounds under floods, stubborn peers and malformed input.

use super::net::{Net, at, config, key, secret};
use super::scripted::{Scripted, Stage};
use super::unknown_peer;
use crate::atom::{Atom, AtomId, MemoryStore};
use crate::engine::{DropReason, Engine, FetchError, FetchRequest, limits};
use crate::time::Instant;
use crate::wire::message::Topic;
use crate::wire::object::PayloadType;
use crate::wire::packet::{Draft, Packet};
use alloc::vec::Vec;
use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn flood_of_fresh_keys_is_bounded() {
    let mut engine = Engine::new(config(1), [1; 32], Instant::ZERO);
    let store = MemoryStore::new();
    let mut buffer = Vec::new();
    let mut now = Instant::ZERO;
    for n in 0..9_000u32 {
        now = now + Duration::from_micros(200);
        let from = SocketAddr::from((Ipv4Addr::from_bits(0x7f00_0000 + n), 9));
        let ping = unknown_peer::ping(1);
        let packet = unknown_peer::sealed(
            &unknown_peer::many(n),
            &key(1),
            9,
            [1; 12],
            Topic::Ping,
            &ping,
        );
        engine.handle_datagram(now, from, &packet, &store);
        engine.handle_datagram(
            now,
            from,
            &unknown_peer::handshake(&unknown_peer::many(n).public_key(), 9),
            &store,
        );
        while engine.poll_transmit(&mut buffer).is_some() {}
        while engine.poll_event().is_some() {}
    }
    let burst = u64::from(limits::AGREEMENTS_BURST);
    let refilled = u64::from(limits::AGREEMENTS_PER_SECOND) * 2;
    assert!(engine.stats().agreements <= burst + refilled);
    assert!(engine.stats().dropped(DropReason::KeyBudget) > 0);
    assert!(engine.peers.len() <= limits::MAX_PEERS);
    assert!(engine.out.credits.len() <= limits::MAX_CREDITS);
    assert!(engine.handshakes.len() <= limits::MAX_HANDSHAKE_ANSWERS);
    assert!(engine.validation.timers() <= limits::MAX_PEERS * 2);
    // All of them are silent from now on, and are evicted.
    for _ in 0..200 {
        now = now + 10 * SECOND;
        engine.handle_timeout(now, &store);
        while engine.poll_transmit(&mut buffer).is_some() {}
    }
    assert_eq!((engine.peers.len(), engine.peer_count()), (0, 0));
    assert_eq!(
        (engine.out.credits.len(), engine.validation.timers()),
        (0, 0)
    );
}

#[test]
fn flood_of_handshakes_does_not_keep_newcomers_out() {
    let mut net = Net::of_ours(2);
    let flood = u32::try_from(2 * limits::MAX_HANDSHAKE_ANSWERS).unwrap();
    for n in 0..flood {
        let from = SocketAddr::from((Ipv4Addr::from_bits(0x1400_0000 + n * 61), 9));
        let name = crate::crypto::PublicKey::new(*unknown_peer::many(n).as_bytes());
        net.inject(from, at(1), unknown_peer::handshake(&name, 9));
    }
    net.run(SECOND / 10);
    assert_eq!(
        net.engine(1).handshakes.len(),
        limits::MAX_HANDSHAKE_ANSWERS
    );
    net.meet(2, 1);
    assert!(net.knows(1, 2) && net.knows(2, 1));
    assert_eq!(
        net.engine(1).handshakes.len(),
        limits::MAX_HANDSHAKE_ANSWERS
    );
}

/// A handshake is forged in the name of one node to the other while neither has room to remember
/// answered handshakes.
#[test]
fn two_flooded_nodes_do_not_exchange_handshakes_forever() {
    let mut net = Net::of_ours(2);
    for n in 0..u32::try_from(limits::MAX_HANDSHAKE_ANSWERS).unwrap() {
        let from = SocketAddr::from((Ipv4Addr::from_bits(0x1400_0000 + n * 61), 9));
        let name = crate::crypto::PublicKey::new(*unknown_peer::many(n).as_bytes());
        for victim in [1, 2] {
            net.inject(from, at(victim), unknown_peer::handshake(&name, 9));
        }
    }
    net.run(SECOND / 10);
    let before = net.sent.len();
    net.inject(at(2), at(1), unknown_peer::handshake(&key(2), at(2).port()));
    net.run(5 * SECOND);
    let exchanged = net.sent.len() - before;
    assert!(exchanged < 200, "{exchanged} packets");
}

#[test]
fn unknown_peers_of_one_network_have_their_own_budget() {
    let mut engine = Engine::new(config(1), [1; 32], Instant::ZERO);
    let store = MemoryStore::new();
    for n in 0..300u32 {
        let from = SocketAddr::from(([8, 8, 8, 8], 9));
        let ping = unknown_peer::ping(1);
        let packet = unknown_peer::sealed(
            &unknown_peer::many(n),
            &key(1),
            9,
            [1; 12],
            Topic::Ping,
            &ping,
        );
        engine.handle_datagram(Instant::ZERO, from, &packet, &store);
    }
    assert_eq!(
        engine.stats().agreements,
        u64::from(limits::AGREEMENTS_BURST_PER_NETWORK)
    );
    let other = unknown_peer::sealed(
        &unknown_peer::many(999),
        &key(1),
        9,
        [1; 12],
        Topic::Ping,
        &unknown_peer::ping(1),
    );
    engine.handle_datagram(
        Instant::ZERO,
        SocketAddr::from(([9, 9, 9, 9], 9)),
        &other,
        &store,
    );
    assert!(
        engine
            .peers
            .get(&unknown_peer::many(999).public_key())
            .is_some()
    );
}

#[test]
fn excessive_difficulty_is_clamped_and_searched_by_the_host() {
    let mut net = Net::of_ours(1);
    net.add_reference(2);
    net.meet(1, 2);
    let packet = unknown_peer::sealed(
        &secret(2),
        &key(1),
        at(2).port(),
        [9; 12],
        Topic::Ping,
        &unknown_peer::ping(255),
    );
    net.inject(at(2), at(1), packet);
    net.run(SECOND);
    assert_eq!(
        net.engine(1).peer(&key(2)).unwrap().difficulty,
        limits::MAX_DIFFICULTY
    );
    let before = net.sent.len();
    for n in 0..20 {
        net.fetch(1, AtomId::new([n + 1; 32]), PayloadType::ATOM);
    }
    let now = net.now;
    let engine = net.engine(1);
    assert_eq!(engine.pending_work(), limits::MAX_WORK_PER_ADDRESS);
    let mut work = engine.poll_work().unwrap();
    assert!(work.run(10).is_none(), "26 bits need more attempts");
    let given_up = work.give_up();
    engine.handle_work(now, given_up);
    engine.handle_work(now, given_up);
    assert_eq!(engine.pending_work(), limits::MAX_WORK_PER_ADDRESS - 1);
    net.run(5 * SECOND);
    assert_eq!(
        net.engine(1).pending_work(),
        0,
        "work that the host never returns expires"
    );
    assert!(net.engine(1).poll_work().is_none());
    assert_eq!(net.sent.len(), before);
    assert!(net.dropped(1, DropReason::WorkBudget) >= 20);
    assert_eq!(net.engine(1).outgoing_bytes(), 0);
}

#[test]
fn packet_is_sent_once_its_proof_of_work_is_returned() {
    let mut net = Net::of_ours(1);
    net.add_reference(2);
    net.meet(1, 2);
    let packet = unknown_peer::sealed(
        &secret(2),
        &key(1),
        at(2).port(),
        [9; 12],
        Topic::Ping,
        &unknown_peer::ping(14),
    );
    net.inject(at(2), at(1), packet);
    net.run(SECOND);
    let before = net.sent.len();
    let id = net.reference(2).store.insert(Atom::bytes(*b"x"));
    net.fetch(1, id, PayloadType::ATOM);
    let now = net.now;
    let mut work = net
        .engine(1)
        .poll_work()
        .expect("14 bits are searched by the host");
    let done = loop {
        if let Some(done) = work.run(1_000) {
            break done;
        }
    };
    net.engine(1).handle_work(now, done);
    net.run(SECOND / 10);
    assert_eq!(
        Packet::decode(&net.sent[before].bytes)
            .unwrap()
            .check_work(14),
        Ok(())
    );
    assert_eq!(net.fetched(1).len(), 1);
}

#[test]
fn full_incoming_queue_requires_more_work_and_drains_completely() {
    let mut tight = config(1);
    tight.incoming_queue_limit_bytes = 1_000;
    tight.incoming_queue_timeout = Duration::ZERO;
    let mut engine = Engine::new(tight, [1; 32], Instant::ZERO);
    let store = MemoryStore::new();
    for n in 0..30u32 {
        let packet = unknown_peer::handshake(&unknown_peer::many(n).public_key(), 9);
        engine.enqueue_datagram(Instant::ZERO, at(9), &packet);
    }
    assert!(engine.incoming_bytes() <= 1_000 && engine.required_difficulty() > 1);
    assert!(engine.stats().dropped(DropReason::TooLittleWork) > 0);
    while engine.handle_queued(Instant::ZERO, &store) {}
    assert_eq!(
        (engine.incoming_bytes(), engine.required_difficulty()),
        (0, 1)
    );
    assert!(engine.outgoing_bytes() > 0);
    let mut buffer = Vec::new();
    while engine.poll_transmit(&mut buffer).is_some() {}
    assert_eq!(engine.outgoing_bytes(), 0);
}

/// Sealed packets from unknown peers fill the queue; handshakes, and peers at their validated
/// addresses, bypass it.
#[test]
fn full_incoming_queue_delays_no_validated_peer_and_no_handshake() {
    let mut net = Net::new();
    let mut tight = config(1);
    tight.incoming_queue_limit_bytes = 20_000;
    tight.incoming_queue_timeout = Duration::ZERO;
    net.add(1, tight);
    net.add_reference(2);
    net.meet(1, 2);
    let id = net.put(1, Atom::bytes(*b"x"));
    let now = net.now;
    for n in 0..2_000u32 {
        let packet = unknown_peer::sealed(&secret(9), &key(1), 9, [0; 12], Topic::Ping, &[0; 8]);
        let from = SocketAddr::from((Ipv4Addr::from_bits(0x1400_0000 + n), 9));
        net.engine(1).enqueue_datagram(now, from, &packet);
    }
    assert!(net.engine(1).required_difficulty() >= 3);
    let mut get = Vec::new();
    let action = crate::wire::object::Action::Get(Some(PayloadType::ATOM));
    crate::wire::object::Request {
        action,
        atom_id: id,
        data: &[],
    }
    .write(&mut get);
    // With one bit of proof of work, all of them.
    let request = |from: u8, port, n: u8| {
        unknown_peer::sealed(
            &secret(from),
            &key(1),
            port,
            [n; 12],
            Topic::ObjectRequest,
            &get,
        )
    };
    let lazy = |packet: &Vec<u8>| Packet::decode(packet).unwrap().work() < 3;
    let known = (0..9)
        .map(|n| request(2, at(2).port(), n))
        .find(lazy)
        .unwrap();
    let unknown = (0..9)
        .map(|n| request(8, at(8).port(), n))
        .find(lazy)
        .unwrap();
    // A known key at another address does not count as known.
    let moved = (10..19)
        .map(|n| request(2, at(8).port(), n))
        .find(lazy)
        .unwrap();
    let handshake = (0..9)
        .map(|n| unknown_peer::handshake(&unknown_peer::many(n).public_key(), at(7).port()))
        .find(lazy)
        .unwrap();
    let served = net.engine(1).stats().objects_served;
    let (skip, lazy_before) = (net.sent.len(), net.dropped(1, DropReason::TooLittleWork));
    for (n, packet) in [(2, known), (8, unknown), (8, moved), (7, handshake)] {
        net.inject(at(n), at(1), packet);
    }
    net.run(SECOND / 10);
    assert_eq!(net.engine(1).stats().objects_served, served + 1);
    assert_eq!(net.dropped(1, DropReason::TooLittleWork), lazy_before + 2);
    assert!(!net.sent_to(at(7), skip + 1).is_empty(), "answered");
}

#[test]
fn full_outgoing_queue_drops() {
    let mut net = Net::new();
    let mut tight = config(1);
    tight.outgoing_queue_limit_bytes = 500;
    tight.outgoing_queue_timeout = Duration::ZERO;
    net.add(1, tight);
    net.add_reference(2);
    net.meet(1, 2);
    let now = net.now;
    let engine = net.engine(1);
    for n in 0..50 {
        engine.fetch(
            now,
            FetchRequest::new(AtomId::new([n + 1; 32]), PayloadType::ATOM),
        );
    }
    assert!(engine.outgoing_bytes() <= 500);
    assert!(engine.stats().dropped(DropReason::OutgoingFull) >= 45);
}

#[test]
fn fetches_are_bounded() {
    let mut engine = Engine::new(config(1), [1; 32], Instant::ZERO);
    for n in 0..limits::MAX_FETCHES + 10 {
        let mut id = [1; 32];
        id[..8].copy_from_slice(&(n as u64).to_be_bytes());
        engine.fetch(
            Instant::ZERO,
            FetchRequest::new(AtomId::new(id), PayloadType::ATOM),
        );
    }
    assert_eq!(engine.pending_fetches(), limits::MAX_FETCHES);
    let mut refused = 0;
    while let Some(event) = engine.poll_event() {
        let error = FetchError::TooMany;
        assert!(matches!(event, super::super::Event::FetchFailed { error: e, .. } if e == error));
        refused += 1;
    }
    assert_eq!(refused, 10);
    engine.handle_timeout(Instant::from_secs(3), &MemoryStore::new());
    assert_eq!(
        (engine.pending_fetches(), engine.fetches.deadline()),
        (0, None)
    );
}

#[test]
fn transactions_are_reported_only_to_validators_and_within_bounds() {
    for is_validator in [false, true] {
        let mut ours = config(1);
        ours.is_validator = is_validator;
        let mut stage = Stage::with(Engine::new(ours, [1; 32], Instant::from_secs(1_000)));
        let peer = stage.join(Scripted::new(1, at(9)));
        assert!(stage.knows(peer));
        let me = stage.me();
        let Stage {
            engine,
            store,
            peers,
            now,
            ..
        } = &mut stage;
        for _ in 0..limits::MAX_EVENTS + 100 {
            let packet = peers[peer].sealed(&me, Topic::Transaction, &[7; 32]);
            engine.handle_datagram(*now, at(9), &packet, store);
        }
        let mut count = 0;
        while engine.poll_event().is_some() {
            count += 1;
        }
        assert_eq!(count, if is_validator { limits::MAX_EVENTS } else { 0 });
    }
}

/// One source at full rate between two polls of the host.
#[test]
fn flood_of_one_peer_leaves_the_events_of_others() {
    let mut ours = config(1);
    ours.is_validator = true;
    let mut stage = Stage::with(Engine::new(ours, [1; 32], Instant::from_secs(1_000)));
    let liar = stage.join(Scripted::new(1, SocketAddr::from(([9, 9, 9, 9], 9))));
    let honest = stage.join(Scripted::new(2, SocketAddr::from(([8, 8, 8, 8], 9))));
    let me = stage.me();
    let mut announce = |peer: usize, id: [u8; 32]| {
        let packet = stage.peers[peer].sealed(&me, Topic::Transaction, &id);
        let from = stage.peers[peer].address;
        let Stage { engine, store, .. } = &mut stage;
        engine.handle_datagram(Instant::from_secs(1_000), from, &packet, store);
    };
    for n in 0..2 * limits::MAX_EVENTS {
        announce(liar, [7; 32]);
        if n % 100 == 0 {
            announce(honest, [8; 32]);
        }
    }
    stage.carry();
    let transactions = stage.transactions();
    assert_eq!(transactions.len(), limits::MAX_EVENTS);
    let of_honest = transactions.iter().filter(|id| id.as_bytes() == &[8; 32]);
    assert_eq!(of_honest.count(), 2 * limits::MAX_EVENTS / 100 + 1);
}

#[test]
fn fetches_caused_by_one_peer_leave_room_for_others() {
    let mut engine = Engine::new(config(1), [1; 32], Instant::ZERO);
    let id = |n: usize| AtomId::new(crate::crypto::hash(&n.to_be_bytes()));
    for n in 0..2 * limits::MAX_FETCHES {
        engine.fetch(
            Instant::ZERO,
            FetchRequest::atom(id(n)).first_from(Some(key(2))),
        );
    }
    assert_eq!(engine.pending_fetches(), limits::MAX_FETCHES);
    while engine.poll_event().is_some() {}
    let mut honest = Vec::new();
    for n in 0..100 {
        honest.push(engine.fetch(
            Instant::ZERO,
            FetchRequest::atom(id(1_000_000 + n)).first_from(Some(key(3))),
        ));
        honest.push(engine.fetch(
            Instant::ZERO,
            FetchRequest::new(id(2_000_000 + n), PayloadType::ATOM),
        ));
    }
    assert_eq!(engine.pending_fetches(), limits::MAX_FETCHES);
    let mut ended = 0;
    while let Some(event) = engine.poll_event() {
        let super::super::Event::FetchFailed { fetch, error, .. } = event else {
            continue;
        };
        assert!(error == FetchError::TooMany && !honest.contains(&fetch));
        ended += 1;
    }
    assert_eq!(ended, honest.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn arbitrary_datagrams_do_no_harm(
        datagrams in proptest::collection::vec(
            (proptest::collection::vec(any::<u8>(), 0..200), any::<bool>(), any::<[u8; 4]>()), 0..30,
        ),
    ) {
        let mut engine = Engine::new(config(1), [1; 32], Instant::ZERO);
        let store = MemoryStore::new();
        let mut buffer = Vec::new();
        for (mut datagram, is_worked, ip) in datagrams {
            if is_worked && datagram.len() > 8 {
                Draft::resume(&mut datagram).unwrap().work(1);
            }
            engine.handle_datagram(Instant::ZERO, SocketAddr::from((ip, 9)), &datagram, &store);
        }
        engine.handle_timeout(Instant::from_secs(100), &store);
        while engine.poll_transmit(&mut buffer).is_some() {}
        while engine.poll_event().is_some() {}
        prop_assert_eq!(engine.peer_count(), 0);
    }

    /// Messages of trusted peers: authentic content of every topic.
    #[test]
    fn arbitrary_content_does_no_harm(
        contents in proptest::collection::vec(
            (0..6usize, proptest::collection::vec(any::<u8>(), 0..120), 0..3u8), 0..40,
        ),
    ) {
        let mut net = Net::of_ours(1);
        net.add_reference(2);
        net.meet(1, 2);
        net.reference(2).is_dead = true;
        net.fetch(1, AtomId::new([1; 32]), PayloadType::LIST);
        for (n, (topic, content, shape)) in contents.into_iter().enumerate() {
            // Some of it is about the object that is being fetched.
            let content = match shape {
                0 => content,
                1 => [&[0], &[1; 32][..], &content].concat(),
                _ => [&[1], &[1; 32][..], &content].concat(),
            };
            let mut nonce = [4; 12];
            nonce[..8].copy_from_slice(&(n as u64).to_be_bytes());
            let packet = unknown_peer::sealed(&secret(2), &key(1), at(2).port(), nonce, Topic::ALL[topic], &content);
            net.inject(at(2), at(1), packet);
        }
        net.run(5 * SECOND);
        prop_assert_eq!(net.engine(1).pending_fetches(), 0);
        prop_assert!(net.sent.len() < 400);
    }
}

/// A reference node on IPv6 cannot be validated, so its address may be a victim's.
#[test]
fn unvalidatable_peer_stays_within_its_amplification_limit_and_times_out() {
    let mut stage = Stage::new();
    let me = stage.me();
    let mut reference = Scripted::new(1, "[2001:db8::1]:9".parse().unwrap());
    reference.is_reference = true;
    let reference = stage.add(reference);
    stage.meet(reference, None);
    assert_eq!(
        (stage.engine.peer_count(), stage.knows(reference)),
        (1, false)
    );
    stage.run(890 * SECOND);
    let stats = stage.engine.stats();
    let most = limits::AMPLIFICATION * stats.received_bytes;
    assert!(stats.sent_bytes <= most, "{stats:?}");
    let ping = stage.peers[reference].ping(&me, None);
    stage.deliver(reference, &ping);
    stage.run(890 * SECOND);
    assert_eq!(stage.engine.peer_count(), 1);
    stage.run(20 * SECOND);
    assert_eq!(stage.engine.peer_count(), 0);
}
