//! Tests of address validation against unknown peers.

use super::net::{Net, Packet, at, config, key, secret};
use super::unknown_peer;
use crate::atom::{Atom, AtomId, MemoryStore};
use crate::crypto::{PublicKey, SEAL_NONCE_BYTES};
use crate::engine::{DropReason, Engine, Event, FetchError, limits};
use crate::time::Instant;
use crate::wire::message::{HEADER_BYTES, Topic};
use crate::wire::object::{Action, Answer, Contact, PayloadType, Request, Response};
use crate::wire::packet::{Draft, NONCE_BYTES};
use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use core::net::{SocketAddr, SocketAddrV4};
use core::time::Duration;
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);

fn get(id: AtomId) -> Vec<u8> {
    let mut content = Vec::new();
    let action = Action::Get(Some(PayloadType::ATOM));
    Request {
        action,
        atom_id: id,
        data: &[],
    }
    .write(&mut content);
    content
}

#[test]
fn large_answer_waits_for_address_validation() {
    let mut net = Net::of_ours(1);
    let id = net.put(1, Atom::bytes(vec![1; 3_000]));
    // No node is at address 9, so it cannot be validated: it is spoofed.
    let packet = unknown_peer::sealed(
        &secret(9),
        &key(1),
        1009,
        [1; 12],
        Topic::ObjectRequest,
        &get(id),
    );
    let paid = packet.len();
    net.inject(at(9), at(1), packet);
    net.run(20 * SECOND);
    let got: usize = net
        .sent_to(at(9), 0)
        .iter()
        .map(|packet| packet.bytes.len())
        .sum();
    assert!((1..=3 * paid).contains(&got), "{got} bytes for {paid}");
    assert_eq!(net.dropped(1, DropReason::ValidationTimeout), 1);
    assert_eq!(net.engine(1).stats().objects_served, 0);
}

#[test]
fn address_moves_only_after_validation() {
    let mut net = Net::of_ours(2);
    net.meet(1, 2);
    // Sealed by the peer, sent from another address: authentic, but no node at 9 can echo.
    let packet = unknown_peer::sealed(
        &secret(2),
        &key(1),
        1009,
        [1; 12],
        Topic::Ping,
        &unknown_peer::ping(1),
    );
    net.inject(at(9), at(1), packet);
    net.inject(at(9), at(1), unknown_peer::handshake(&key(2), 1009));
    net.run(20 * SECOND);
    assert_eq!(net.engine(1).peer(&key(2)).unwrap().address, at(2));
    assert!(!net.sent_to(at(9), 0).is_empty(), "the address is probed");
    assert!(
        !net.node(1)
            .events
            .iter()
            .any(|event| matches!(event, Event::PeerMoved { .. }))
    );
}

#[test]
fn replays_and_reflections_are_dropped() {
    let mut net = Net::of_ours(2);
    net.meet(1, 2);
    let id = net.put(1, Atom::bytes(*b"x"));
    net.fetch(2, id, PayloadType::ATOM);
    net.run(SECOND);
    let sealed = |packet: &&Packet| packet.bytes.get(NONCE_BYTES) == Some(&0);
    let to_one: Vec<Packet> = net
        .sent
        .iter()
        .filter(|packet| packet.to == at(1))
        .filter(sealed)
        .cloned()
        .collect();
    let to_two: Vec<Packet> = net
        .sent
        .iter()
        .filter(|packet| packet.to == at(2))
        .filter(sealed)
        .cloned()
        .collect();
    let before = net.sent.len();
    for packet in &to_one {
        net.inject(packet.from, packet.to, packet.bytes.clone());
    }
    // Packets that 1 sent to 2 return to 1 in the name of 2: same key, same nonce.
    for packet in &to_two {
        let mut bytes = packet.bytes.clone();
        let name = NONCE_BYTES + 1;
        bytes[name..name + 32].copy_from_slice(key(2).as_bytes());
        bytes[name + 32..NONCE_BYTES + HEADER_BYTES].copy_from_slice(&at(2).port().to_be_bytes());
        Draft::resume(&mut bytes).unwrap().work(1);
        assert!(bytes.len() > NONCE_BYTES + HEADER_BYTES + SEAL_NONCE_BYTES);
        net.inject(at(2), at(1), bytes);
    }
    net.run(SECOND);
    assert_eq!(net.dropped(1, DropReason::Replayed), to_one.len() as u64);
    assert_eq!(net.dropped(1, DropReason::Reflected), to_two.len() as u64);
    assert_eq!(
        net.sent.len() - before,
        to_one.len() + to_two.len(),
        "no answer is sent"
    );
}

/// Key agreement ignores a key's top bit, and a header is not authenticated: with the bit set, a
/// recorded packet would open as that of a new peer, from which nothing has been received yet.
#[test]
fn recorded_packet_under_an_alias_of_its_key_is_rejected() {
    let mut net = Net::of_ours(2);
    net.meet(1, 2);
    let ping = unknown_peer::ping(1);
    let mut packet = unknown_peer::sealed(
        &secret(2),
        &key(1),
        at(2).port(),
        [1; 12],
        Topic::Ping,
        &ping,
    );
    net.inject(at(2), at(1), packet.clone());
    net.run(SECOND);
    let before = net.sent.len();
    packet[NONCE_BYTES + 32] |= 0x80;
    Draft::resume(&mut packet).unwrap().work(1);
    net.inject(at(2), at(1), packet);
    let mut alias = *key(2).as_bytes();
    alias[31] |= 0x80;
    let handshake = unknown_peer::handshake(&PublicKey::new(alias), at(9).port());
    net.inject(at(9), at(1), handshake);
    net.run(SECOND);
    assert_eq!(net.dropped(1, DropReason::BadKey), 2);
    assert_eq!(net.engine(1).peer_count(), 1);
    assert_eq!(net.sent.len(), before + 2, "no answer is sent");
}

#[test]
fn unsolicited_responses_have_no_effect() {
    let mut net = Net::of_ours(2);
    net.meet(1, 2);
    let before = (net.sent.len(), net.node(1).events.len());
    let atom = Atom::bytes(*b"unwanted");
    let mut found = vec![1];
    atom.write_to(&mut found);
    let address = SocketAddrV4::new([127, 0, 0, 9].into(), 9);
    let contact = Contact {
        public_key: key(9),
        address,
    }
    .encode();
    let mut contents = Vec::new();
    for (answer, data) in [
        (Answer::Found, &found[..]),
        (Answer::Provider, &contact),
        (Answer::Nearest, &contact),
    ] {
        let mut content = Vec::new();
        Response {
            answer,
            atom_id: atom.id(),
            data,
        }
        .write(&mut content);
        contents.push((Topic::ObjectResponse, content));
    }
    for (n, (topic, content)) in contents.iter().enumerate() {
        let nonce = [u8::try_from(n).unwrap() + 50; 12];
        let packet =
            unknown_peer::sealed(&secret(2), &key(1), at(2).port(), nonce, *topic, content);
        net.inject(at(2), at(1), packet);
    }
    net.run(SECOND);
    assert_eq!(net.dropped(1, DropReason::Unsolicited), 3);
    // They are of a stream that is not confirmed: the peer is probed once, and answers in its own
    // stream.
    assert_eq!((net.sent.len() - 3 - 2, net.node(1).events.len()), before);

    // An unsolicited route response, long after the last request.
    net.run(60 * SECOND);
    let before = net.sent.len();
    let packet = unknown_peer::sealed(
        &secret(2),
        &key(1),
        at(2).port(),
        [99; 12],
        Topic::RouteResponse,
        &[127, 0, 0, 9, 0, 9],
    );
    net.inject(at(2), at(1), packet);
    net.run(SECOND);
    assert_eq!(net.sent.len(), before + 1 + 2);
    assert_eq!(net.dropped(1, DropReason::Unconfirmed), 1);
    // The same in the confirmed stream.
    let before = net.sent.len();
    let nonce = super::super::random::join([99; 6], 1 << 30);
    net.engine(1)
        .peers
        .get_mut(&key(2))
        .unwrap()
        .replay
        .confirm(&nonce);
    let packet = unknown_peer::sealed(
        &secret(2),
        &key(1),
        at(2).port(),
        super::super::random::join([99; 6], (1 << 30) + 1),
        Topic::RouteResponse,
        &[127, 0, 0, 9, 0, 9],
    );
    net.inject(at(2), at(1), packet);
    net.run(SECOND);
    assert_eq!(net.sent.len(), before + 1);
    assert_eq!(net.dropped(1, DropReason::Unsolicited), 4);
}

#[test]
fn answer_counts_only_from_an_asked_peer_and_with_the_requested_object() {
    let mut net = Net::of_ours(1);
    net.add_reference(2);
    net.add_reference(3).is_dead = false;
    net.meet(1, 2);
    let atom = Atom::bytes(*b"wanted");
    net.reference(2).is_dead = true;
    net.fetch(1, atom.id(), PayloadType::ATOM);
    let respond = |from: u8, data: &Atom, nonce: u8| {
        let mut found = vec![1];
        data.write_to(&mut found);
        let mut content = Vec::new();
        Response {
            answer: Answer::Found,
            atom_id: atom.id(),
            data: &found,
        }
        .write(&mut content);
        unknown_peer::sealed(
            &secret(from),
            &key(1),
            at(from).port(),
            [nonce; 12],
            Topic::ObjectResponse,
            &content,
        )
    };
    net.inject(at(3), at(1), respond(3, &atom, 60));
    net.inject(at(2), at(1), respond(2, &Atom::bytes(*b"other"), 61));
    net.run(SECOND / 10);
    assert_eq!(net.dropped(1, DropReason::Unsolicited), 1);
    assert_eq!(net.dropped(1, DropReason::WrongObject), 1);
    assert!(
        !net.engine(1).peers.has_served(&key(2)),
        "a malformed answer is not a service"
    );
    // There was no other peer to ask.
    assert_eq!(net.fetched(1), [Err(FetchError::NotFound)]);
    net.fetch(1, atom.id(), PayloadType::ATOM);
    net.inject(at(2), at(1), respond(2, &atom, 62));
    net.run(SECOND / 10);
    assert_eq!(net.fetched(1)[1], Ok(vec![atom]));
    assert!(net.engine(1).peers.has_served(&key(2)));
}

#[test]
fn referred_addresses_are_contacted_once_and_within_a_budget() {
    let mut net = Net::of_ours(1);
    net.add_reference(2);
    net.meet(1, 2);
    let named: Vec<u8> = (0..200u8).flat_map(|n| [127, 0, 9, n, 0, 9]).collect();
    for nonce in 0..3 {
        let packet = unknown_peer::sealed(
            &secret(2),
            &key(1),
            at(2).port(),
            [70 + nonce; 12],
            Topic::RouteResponse,
            &named,
        );
        net.inject(at(2), at(1), packet);
    }
    net.run(SECOND);
    let mut contacted = BTreeMap::new();
    for packet in net
        .sent
        .iter()
        .filter(|packet| packet.from == at(1) && packet.to.port() == 9)
    {
        *contacted.entry(packet.to).or_insert(0) += 1;
    }
    assert_eq!(contacted.len(), limits::MAX_CONTACTS_PER_REFERRER);
    assert!(contacted.values().all(|count| *count == 1));
}

#[test]
fn low_order_keys_and_our_own_key_are_rejected() {
    let mut net = Net::of_ours(1);
    let low = PublicKey::new([0; 32]);
    let mut packet = unknown_peer::sealed(
        &secret(9),
        &key(1),
        1009,
        [1; 12],
        Topic::Ping,
        &unknown_peer::ping(1),
    );
    packet[NONCE_BYTES + 1..NONCE_BYTES + 33].copy_from_slice(low.as_bytes());
    Draft::resume(&mut packet).unwrap().work(1);
    net.inject(at(9), at(1), packet);
    net.inject(at(9), at(1), unknown_peer::handshake(&key(1), 1009));
    net.inject(at(9), at(1), unknown_peer::handshake(&key(9), 0));
    net.run(SECOND);
    assert_eq!(net.dropped(1, DropReason::BadKey), 1);
    assert_eq!(net.dropped(1, DropReason::OwnKey), 1);
    assert_eq!(net.dropped(1, DropReason::Unanswerable), 1);
}

/// An arbitrary packet of a hostile peer: sender, source and content.
fn packet() -> impl Strategy<Value = (u8, u8, Vec<u8>)> {
    let topic = (0..6usize).prop_map(|index| Topic::ALL[index]);
    let content = prop_oneof![
        Just(get(Atom::bytes(vec![1; 600]).id())),
        Just(get(Atom::bytes(*b"small").id())),
        any::<[u8; 32]>().prop_map(|id| get(AtomId::new(id))),
        Just(unknown_peer::ping(1).to_vec()),
        Just(vec![0]),
        proptest::collection::vec(any::<u8>(), 0..80),
    ];
    let sealed =
        (1..5u8, topic, any::<[u8; 12]>(), content).prop_map(|(from, topic, nonce, content)| {
            (
                from,
                unknown_peer::sealed(&secret(from + 10), &key(1), 1009, nonce, topic, &content),
            )
        });
    let shake = (1..5u8).prop_map(|from| (from, unknown_peer::handshake(&key(from + 10), 1009)));
    let any_packet = prop_oneof![3 => sealed, 2 => shake];
    (any_packet, 0..3u8).prop_map(|((key, bytes), host)| (key, host, bytes))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn unvalidated_addresses_get_at_most_three_times_the_bytes_they_send(
        steps in proptest::collection::vec((packet(), 0..3_000u64), 1..60),
    ) {
        let mut engine = Engine::new(config(1), [1; 32], Instant::ZERO);
        let store: MemoryStore = [Atom::bytes(vec![1; 600]), Atom::bytes(*b"small")].into_iter().collect();
        let mut balance: BTreeMap<SocketAddr, usize> = BTreeMap::new();
        let mut now = Instant::ZERO;
        let mut buffer = Vec::new();
        for ((_, host, bytes), millis) in steps {
            now = now + Duration::from_millis(millis);
            engine.handle_timeout(now, &store);
            let from = SocketAddr::from(([10, 9, 9, host], 5));
            let answered_at = SocketAddr::from(([10, 9, 9, host], 1009));
            *balance.entry(answered_at).or_insert(0) += 3 * bytes.len();
            engine.handle_datagram(now, from, &bytes, &store);
            while let Some(transmit) = engine.poll_transmit(&mut buffer) {
                // No peer echoes anything, so none is ever validated.
                let left = balance.get(&transmit.to).copied().unwrap_or(0).checked_sub(transmit.len);
                prop_assert!(left.is_some(), "amplification limit of {} exceeded", transmit.to);
                balance.insert(transmit.to, left.unwrap_or(0));
            }
        }
        prop_assert!(engine.peers().all(|peer| !peer.is_validated));
        prop_assert_eq!(engine.outgoing_bytes(), 0);
    }
}
