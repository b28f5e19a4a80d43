//! Tests of authenticated handshakes between nodes of this implementation.

use super::net::{Net, at, config, key};
use super::scripted::{Scripted, Stage, atom};
use super::unknown_peer;
use crate::atom::AtomId;
use crate::engine::{Event, FetchRequest, limits};
use crate::wire::handshake::{Block, ChainIdentity, MAGIC};
use crate::wire::message::{Body, Message, write_handshake};
use crate::wire::packet::{Draft, Packet};
use alloc::vec::Vec;
use core::net::{Ipv6Addr, SocketAddr};
use core::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn chain(n: u8) -> ChainIdentity {
    ChainIdentity {
        rules_version: 2,
        chain_id: 7,
        genesis: Some(AtomId::new([n; 32])),
    }
}

fn block(identity: ChainIdentity) -> Block {
    Block {
        identity: Some(identity),
        ..Block::default()
    }
}

/// Returns the chain identities in events, in order.
fn reported_identities(events: &[Event]) -> Vec<ChainIdentity> {
    let identities = events.iter().filter_map(|event| match event {
        Event::ChainIdentity { identity, .. } => Some(*identity),
        _ => None,
    });
    identities.collect()
}

fn payloads(net: &Net, to: SocketAddr, skip: usize) -> Vec<Vec<u8>> {
    let packets = net.sent_to(to, skip).into_iter();
    let payloads = packets.filter_map(|packet| {
        let packet = Packet::decode(&packet.bytes).ok()?;
        match Message::decode(packet.message()).ok()?.body {
            Body::Handshake(payload) => Some(payload.to_vec()),
            Body::Sealed(_) => None,
        }
    });
    payloads.collect()
}

fn with_identities() -> Net {
    let mut net = Net::of_ours(2);
    for n in 1..=2 {
        net.with(n, |engine, now| engine.set_chain_identity(now, chain(n)));
    }
    net
}

#[test]
fn validated_nodes_learn_each_others_chain() {
    let mut net = with_identities();
    net.meet(1, 2);
    for (one, other) in [(1, 2), (2, 1)] {
        let info = net.engine(one).peer(&key(other)).unwrap();
        assert_eq!(info.identity, Some(chain(other)));
        assert_eq!(reported_identities(&net.node(one).events), [chain(other)]);
    }
    let count = net.sent.len();
    assert!(count <= 16, "{count} packets to connect");
    // No block is asked for again, and a repeated identity is not reported.
    net.run(29 * SECOND);
    assert_eq!(net.sent.len(), count);
    net.run(600 * SECOND);
    assert_eq!(reported_identities(&net.node(1).events).len(), 1);
    // A change is sent at once.
    net.with(2, |engine, now| engine.set_chain_identity(now, chain(9)));
    net.run(SECOND);
    assert_eq!(
        reported_identities(&net.node(1).events),
        [chain(2), chain(9)]
    );
    assert_eq!(net.engine(2).chain_identity(), Some(chain(9)));
}

#[test]
fn chain_is_known_again_after_a_restart() {
    let mut net = with_identities();
    net.meet(1, 2);
    net.add_at(at(2), config(2), [99; 32]);
    net.with(2, |engine, now| engine.set_chain_identity(now, chain(5)));
    net.meet(2, 1);
    assert_eq!(
        reported_identities(&net.node(1).events),
        [chain(2), chain(5)]
    );
    assert_eq!(reported_identities(&net.node(2).events), [chain(1)]);
}

#[test]
fn reference_nodes_get_empty_payloads() {
    let mut net = Net::of_ours(1);
    net.with(1, |engine, now| engine.set_chain_identity(now, chain(1)));
    net.add_reference(2);
    net.meet(1, 2);
    net.add_reference(3).handshake(at(1), &[]);
    net.run(1_000 * SECOND);
    assert!(net.knows(1, 2) && net.knows(1, 3));
    for n in 2..=3 {
        let payloads = payloads(&net, at(n), 0);
        assert!(!payloads.is_empty() && payloads.iter().all(Vec::is_empty));
    }
}

#[test]
fn node_without_a_chain_sends_no_identity_and_learns_those_of_others() {
    let mut net = Net::of_ours(2);
    net.meet(1, 2);
    let plain = net.sent.len();
    let mut net = Net::of_ours(2);
    net.with(2, |engine, now| engine.set_chain_identity(now, chain(2)));
    net.meet(1, 2);
    assert_eq!(reported_identities(&net.node(1).events), [chain(2)]);
    assert_eq!(net.sent.len(), plain + 1);
    // It is asked a limited number of times, and has no identity to send.
    net.run(60 * SECOND);
    let blocks = payloads(&net, at(1), 0);
    let blocks = blocks.iter().filter(|payload| payload.starts_with(&MAGIC));
    assert!(blocks.count() <= 1 + usize::from(limits::MAX_PROBES));
    assert_eq!(net.engine(2).peer(&key(1)).unwrap().identity, None);
    net.with(1, |engine, now| engine.set_chain_identity(now, chain(1)));
    net.run(SECOND);
    assert_eq!(reported_identities(&net.node(2).events), [chain(1)]);
}

#[test]
fn forged_blocks_have_no_effect() {
    let mut stage = Stage::new();
    let me = stage.me();
    let now = stage.now;
    stage.engine.set_chain_identity(now, chain(1));
    let peer = stage.join(Scripted::new(1, at(9)));
    let honest = stage.peers[peer].block(&me, &block(chain(2)));
    stage.deliver(peer, &honest);
    assert_eq!(reported_identities(&stage.events), [chain(2)]);
    let name = stage.peers[peer].key();
    // Without authentication, with that of another key, and with its own but changed content.
    let mut forged = Vec::new();
    let mut draft = Draft::new(&mut forged);
    let mut payload = Vec::new();
    block(chain(3)).write(&mut payload);
    write_handshake(draft.message_mut(), &name, at(9).port(), &payload);
    draft.work(1);
    let mut liar = Scripted::new(2, at(9));
    let mut of_other = liar.block(&me, &block(chain(4)));
    of_other[9..41].copy_from_slice(name.as_bytes());
    let mut changed = stage.peers[peer].block(&me, &block(chain(5)));
    changed[60] ^= 1;
    for mut packet in [forged, of_other, changed] {
        Draft::resume(&mut packet).unwrap().work(1);
        stage.deliver(peer, &packet);
        stage.run(20 * SECOND);
    }
    assert_eq!(reported_identities(&stage.events), [chain(2)]);
    assert_eq!(stage.engine.peer(&name).unwrap().identity, Some(chain(2)));
}

#[test]
fn replayed_blocks_of_this_run_and_of_earlier_ones_have_no_effect() {
    let mut stage = Stage::new();
    let me = stage.me();
    let peer = stage.add(Scripted::new(1, at(9)));
    let mut recorded = Vec::new();
    for run in 1..=3 {
        // Before it is validated, and after.
        let first = stage.peers[peer].block(&me, &block(chain(run)));
        stage.deliver(peer, &first);
        stage.meet(peer, None);
        // The late one has been overtaken.
        let late = stage.peers[peer].block(&me, &block(chain(100 + run)));
        let last = stage.peers[peer].block(&me, &block(chain(50 + run)));
        for packet in [&last, &late] {
            stage.deliver(peer, packet);
        }
        recorded.extend([first, late, last]);
        stage.run(20 * SECOND);
        stage.peers[peer].restart();
    }
    let expected = [1, 51, 2, 52, 3, 53].map(chain);
    // The first handshake of a run is of an unknown key or an unconfirmed stream.
    let of_runs = reported_identities(&stage.events);
    assert_eq!(of_runs.last(), Some(&chain(53)));
    assert!(of_runs.iter().all(|identity| expected.contains(identity)));
    stage.peers[peer].run_number = 3;
    for packet in &recorded {
        stage.deliver(peer, packet);
        stage.run(2 * SECOND);
    }
    assert_eq!(reported_identities(&stage.events), of_runs);
    let key = stage.peers[peer].key();
    assert_eq!(stage.engine.peer(&key).unwrap().identity, Some(chain(53)));
}

#[test]
fn questions_are_answered_at_a_bounded_rate_and_only_where_validated() {
    let mut stage = Stage::new();
    let me = stage.me();
    let now = stage.now;
    stage.engine.set_chain_identity(now, chain(1));
    let peer = stage.join(Scripted::new(1, at(9)));
    assert!(stage.knows(peer));
    let answers = |stage: &Stage| stage.peers[peer].payloads.len();
    let question = Block {
        identity: None,
        is_question: true,
        ..Block::default()
    };
    stage.run(5 * SECOND);
    let before = answers(&stage);
    for _ in 0..100 {
        let packet = stage.peers[peer].block(&me, &question);
        stage.deliver(peer, &packet);
        stage.deliver_from(at(77), &packet);
        let packet = stage.peers[peer].block(&me, &question);
        stage.deliver_from(at(78), &packet);
        stage.run(SECOND / 10);
    }
    assert!((10..=11).contains(&(answers(&stage) - before)));
    let elsewhere: Vec<_> = stage
        .stray
        .iter()
        .filter(|(to, _)| to.ip() == at(78).ip())
        .collect();
    let is_block = |bytes: &[u8]| bytes.windows(4).any(|window| window == MAGIC);
    assert!(elsewhere.iter().all(|(_, bytes)| !is_block(bytes)));
}

#[test]
fn lost_block_is_requested_again() {
    let mut stage = Stage::new();
    let now = stage.now;
    stage.engine.set_chain_identity(now, chain(1));
    let peer = stage.join(Scripted::new(1, at(9)));
    stage.run(60 * SECOND);
    let questions = |stage: &Stage| {
        let payloads = stage.peers[peer].payloads.iter();
        let blocks = payloads.filter_map(|payload| Block::decode(payload).ok());
        blocks.filter(|(block, _)| block.is_question).count()
    };
    assert_eq!(questions(&stage), usize::from(limits::MAX_PROBES));
}

/// A reference node on IPv6 stops receiving when it is asked for an object.
#[test]
fn mark_from_another_address_is_ignored() {
    let v6 = |n: u16| SocketAddr::from((Ipv6Addr::new(0x2001, 0xdb8, n, 0, 0, 0, 0, 1), 9));
    let marks = [super::super::IPV6_MARK, &MAGIC];
    for (mark, is_known) in marks
        .into_iter()
        .flat_map(|mark| [(mark, true), (mark, false)])
    {
        let mut stage = Stage::with(crate::engine::Engine::new(
            crate::engine::EngineConfig {
                use_ipv6: true,
                ..config(1)
            },
            [1; 32],
            Stage::new().now,
        ));
        let me = stage.me();
        let mut reference = Scripted::new(5, v6(5));
        reference.is_reference = true;
        let reference = stage.add(reference);
        if is_known {
            stage.meet(reference, None);
        }
        let mut packet = Vec::new();
        let mut draft = Draft::new(&mut packet);
        write_handshake(draft.message_mut(), &stage.peers[reference].key(), 77, mark);
        draft.work(1);
        stage.deliver_from(v6(666), &packet);
        for _ in 0..5 {
            let ping = stage.peers[reference].ping(&me, None);
            stage.deliver(reference, &ping);
            let now = stage.now;
            stage.engine.fetch(now, FetchRequest::atom(atom(1).id()));
            stage.run(3 * SECOND);
        }
        let asked = stage.peers[reference].requests();
        assert_eq!(asked + stage.engine.peers.validated(), 0);
    }
    // A block from another address is of a peer that is not validated.
    let mut stage = Stage::new();
    let me = stage.me();
    let peer = stage.add(Scripted::new(7, v6(7)));
    let ping = stage.peers[peer].ping(&me, None);
    stage.deliver(peer, &ping);
    let packet = stage.peers[peer].block(&me, &block(chain(1)));
    stage.deliver_from(v6(8), &packet);
    assert_eq!(reported_identities(&stage.events), []);
    // A node of this implementation identifies itself by a block from its own address.
    let mut stage = Stage::new();
    let me = stage.me();
    let peer = stage.add(Scripted::new(6, v6(6)));
    let ping = stage.peers[peer].ping(&me, None);
    stage.deliver(peer, &ping);
    assert!(!stage.knows(peer));
    let block = stage.peers[peer].block(&me, &Block::default());
    stage.deliver(peer, &block);
    assert!(stage.knows(peer));
}

#[test]
fn malformed_blocks_are_answered_as_any_handshake() {
    let mut stage = Stage::new();
    for (n, payload) in [
        &b"ast1\x01"[..],
        b"ast1\xff\x1c",
        &[7; 600],
        b"ast1\x02\x01\x00",
    ]
    .into_iter()
    .enumerate()
    {
        let from = SocketAddr::from(([127, 0, 1, 1 + u8::try_from(n).unwrap()], 9));
        let mut packet = Vec::new();
        let mut draft = Draft::new(&mut packet);
        let name = unknown_peer::many(u32::try_from(n).unwrap()).public_key();
        write_handshake(draft.message_mut(), &name, 9, payload);
        draft.work(1);
        stage.deliver_from(from, &packet);
        assert_eq!(stage.stray.last().map(|(to, _)| *to), Some(from));
    }
    assert_eq!(
        stage.engine.stats().agreements,
        0,
        "no key agreement is computed"
    );
}
