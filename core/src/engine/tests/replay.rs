//! Tests of replayed packets of earlier runs of a peer.

use super::net::{at, config};
use super::scripted::{Scripted, Stage, atom};
use crate::atom::AtomId;
use crate::engine::{DropReason, Engine, EngineConfig, RemoveReason};
use crate::wire::message::Topic;
use crate::wire::packet::NONCE_BYTES;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn head(run: u8) -> AtomId {
    AtomId::new([run; 32])
}

fn validator(seed: u8) -> Engine {
    let config = EngineConfig {
        is_validator: true,
        ..config(1)
    };
    Engine::new(config, [seed; 32], Stage::new().now)
}

/// Simulates one run of a peer, which joins and sends a head, a record and a transaction. Returns
/// the packets.
fn simulate_run(stage: &mut Stage, peer: usize) -> Vec<Vec<u8>> {
    let me = stage.me();
    let run = stage.peers[peer].run_number;
    let first = stage.peers[peer].sent.len();
    stage.meet(peer, Some(head(run)));
    let put = stage.peers[peer].put(&me, atom(run.into()).id());
    stage.deliver(peer, &put);
    let announced = head(run + 100);
    let transaction = stage.peers[peer].sealed(&me, Topic::Transaction, announced.as_bytes());
    stage.deliver(peer, &transaction);
    stage.peers[peer].sent[first..].to_vec()
}

/// Replays recorded packets, from their original source and from another address.
fn replay(stage: &mut Stage, peer: usize, packets: &[Vec<u8>]) {
    for packet in packets {
        stage.deliver(peer, packet);
        stage.deliver_from(at(77), packet);
    }
}

fn provided(stage: &Stage) -> Vec<AtomId> {
    stage.engine.providers().map(|(id, _)| *id).collect()
}

#[test]
fn rejects_packets_of_all_earlier_runs() {
    let mut stage = Stage::with(validator(1));
    let peer = stage.add(Scripted::new(1, at(9)));
    let mut recorded = Vec::new();
    for run in 1..=5u8 {
        recorded.extend(simulate_run(&mut stage, peer));
        assert!(stage.knows(peer));
        assert_eq!(stage.heads().last(), Some(&head(run)));
        stage.run(20 * SECOND);
        stage.peers[peer].restart();
    }
    stage.peers[peer].run_number = 5;
    let runs: Vec<AtomId> = (1..=5).map(head).collect();
    assert_eq!(stage.heads(), runs);
    assert_eq!(stage.transactions().len(), 5);
    let (events, records) = (stage.events.len(), provided(&stage));
    for _ in 0..3 {
        replay(&mut stage, peer, &recorded);
        stage.run(SECOND);
    }
    assert_eq!(stage.events.len(), events, "no event is reported");
    assert_eq!(provided(&stage), records);
    let known = stage.engine.peer(&stage.peers[peer].key()).unwrap();
    assert_eq!((known.head, known.address), (Some(head(5)), at(9)));
    assert!(stage.engine.stats().dropped(DropReason::Replayed) > 0);
    assert!(stage.engine.stats().dropped(DropReason::Unconfirmed) > 0);
}

#[test]
fn rejects_earlier_runs_after_eviction_and_after_our_own_restart() {
    for is_own_restart in [false, true] {
        let mut stage = Stage::with(validator(1));
        let peer = stage.add(Scripted::new(1, at(9)));
        let mut recorded = Vec::new();
        for _ in 1..=3u8 {
            recorded.extend(simulate_run(&mut stage, peer));
            stage.run(20 * SECOND);
            stage.peers[peer].restart();
        }
        if is_own_restart {
            let peers = core::mem::take(&mut stage.peers);
            let now = stage.now;
            stage = Stage::with(validator(2));
            (stage.peers, stage.now) = (peers, now);
        } else {
            let key = stage.peers[peer].key();
            assert!(stage.engine.disconnect(&key));
            stage.carry();
        }
        stage.events.clear();
        // No node is there to answer probes: recorded packets add no peer, and state nothing.
        stage.peers[peer].answers_probes = false;
        replay(&mut stage, peer, &recorded);
        assert_eq!((stage.engine.peer_count(), stage.events.len()), (0, 0));
        stage.peers[peer].answers_probes = true;
        stage.run(SECOND);
        simulate_run(&mut stage, peer);
        assert!(stage.knows(peer));
        assert_eq!(stage.heads(), [head(4)]);
        assert_eq!(stage.transactions(), [head(104)]);
        let events = stage.events.len();
        replay(&mut stage, peer, &recorded);
        stage.run(5 * SECOND);
        assert_eq!(stage.events.len(), events, "own restart {is_own_restart}");
        let known = stage.engine.peer(&stage.peers[peer].key()).unwrap();
        assert_eq!(known.head, Some(head(4)));
    }
}

#[test]
fn recorded_pings_do_not_keep_a_dead_peer_alive() {
    for is_reference in [false, true] {
        let config = EngineConfig {
            peer_timeout: 60 * SECOND,
            ..config(1)
        };
        let mut stage = Stage::new();
        stage.engine = Engine::new(config, [1; 32], stage.now);
        let me = stage.me();
        let mut dead = Scripted::new(1, at(9));
        dead.is_reference = is_reference;
        // Of the previous run, which the engine has never met: no memory can contain them.
        let recorded: Vec<_> = (0..200).map(|_| dead.ping(&me, Some(head(1)))).collect();
        dead.restart();
        let peer = stage.add(dead);
        stage.meet(peer, Some(head(2)));
        assert!(stage.knows(peer));
        stage.peers[peer].answers_probes = false;
        for packet in &recorded {
            stage.run(SECOND);
            stage.deliver(peer, packet);
        }
        assert!(!stage.knows(peer), "reference {is_reference}");
        let gone = stage.events.iter().any(|event| {
            let reason = RemoveReason::TimedOut;
            matches!(event, crate::engine::Event::PeerRemoved { reason: r, .. } if *r == reason)
        });
        assert!(gone);
        assert_eq!(stage.engine.peer_count(), 0);
    }
}

#[test]
fn restarted_peer_is_accepted_within_a_second_under_a_flood_of_its_recorded_packets() {
    let mut stage = Stage::with(validator(1));
    let peer = stage.add(Scripted::new(1, at(9)));
    let recorded = simulate_run(&mut stage, peer);
    stage.run(20 * SECOND);
    stage.peers[peer].restart();
    let second = simulate_run(&mut stage, peer);
    stage.run(20 * SECOND);
    assert_eq!(stage.heads(), [head(1), head(2)]);
    // It is down: it answers nothing.
    stage.peers[peer].answers_probes = false;
    let is_sealed = |packet: &Vec<u8>| packet[NONCE_BYTES] == 0;
    let all = recorded.into_iter().chain(second);
    let flood: Vec<_> = all.filter(is_sealed).collect();
    let milli = Duration::from_millis(1);
    for n in 0..10_000usize {
        stage.run(milli);
        let packet = &flood[n % flood.len()];
        let from = SocketAddr::from(([127, 3, n.to_be_bytes()[7] % 250, 1], at(9).port()));
        stage.deliver_from(if n % 2 == 0 { from } else { at(9) }, packet);
    }
    let (elsewhere, all) = (stage.stray.len(), stage.engine.stats().sent);
    stage.peers[peer].answers_probes = true;
    stage.peers[peer].restart();
    let started = stage.now;
    stage.meet(peer, Some(head(3)));
    for n in 0..1_000usize {
        if stage.heads().contains(&head(3)) {
            break;
        }
        stage.run(milli);
        let elsewhere = SocketAddr::from(([127, 4, n.to_be_bytes()[7] % 250, 1], 9));
        stage.deliver_from(elsewhere, &flood[n % flood.len()]);
        stage.deliver(peer, &flood[n % flood.len()]);
    }
    assert_eq!(stage.heads(), [head(1), head(2), head(3)]);
    assert!(stage.now.since(started) <= SECOND + milli);
    assert!(elsewhere <= 11 && all < 50, "{elsewhere} of {all} sent");
}

#[test]
fn statements_of_a_reference_node_are_remembered_beyond_its_traffic_and_its_removal() {
    let mut stage = Stage::with(validator(1));
    let me = stage.me();
    let mut reference = Scripted::new(1, at(9));
    reference.is_reference = true;
    let peer = stage.join(reference);
    let mut recorded = Vec::new();
    for run in 1..=20 {
        let ping = stage.peers[peer].ping(&me, Some(head(run)));
        stage.deliver(peer, &ping);
        recorded.push(ping);
    }
    assert_eq!(stage.heads().len(), 20);
    // Much other traffic.
    for n in 0..5_000u32 {
        let put = stage.peers[peer].put(&me, atom(n % 7).id());
        stage.deliver(peer, &put);
    }
    let key = stage.peers[peer].key();
    for is_evicted in [false, true] {
        if is_evicted {
            assert!(stage.engine.disconnect(&key));
            // Replays add it again without a place among the registered peers, and it is removed.
            for ping in [&recorded[3], &recorded[7]] {
                stage.deliver_from(at(8), ping);
                assert!(stage.engine.peers.get(&key).is_some());
                stage.run(80 * SECOND);
                assert!(stage.engine.peers.get(&key).is_none());
            }
            stage.run(20 * SECOND);
            stage.meet(peer, Some(head(20)));
            assert!(stage.knows(peer));
        }
        stage.events.clear();
        replay(&mut stage, peer, &recorded);
        assert_eq!(stage.heads(), [], "evicted {is_evicted}");
        assert_eq!(stage.engine.peer(&key).unwrap().head, Some(head(20)));
    }
}

#[test]
fn statements_before_validation_count_after_it() {
    let mut stage = Stage::with(validator(1));
    let me = stage.me();
    let mut peer = Scripted::new(1, at(9));
    peer.answers_probes = false;
    let peer = stage.join(peer);
    for n in 0..100 {
        let id = AtomId::new([n; 32]);
        let transaction = stage.peers[peer].sealed(&me, Topic::Transaction, id.as_bytes());
        stage.deliver(peer, &transaction);
    }
    let ping = stage.peers[peer].ping(&me, Some(head(9)));
    stage.deliver(peer, &ping);
    assert_eq!((stage.engine.peer_count(), stage.events.len()), (0, 0));
    stage.peers[peer].answers_probes = true;
    stage.run(SECOND);
    assert!(stage.knows(peer));
    assert_eq!(stage.heads(), [head(9)]);
    let held = super::super::limits::MAX_HELD_TRANSACTIONS;
    assert_eq!(stage.transactions().len(), held);
    let dropped = stage.engine.stats().dropped(DropReason::NotValidated);
    assert_eq!(dropped, 100 - held as u64);
}
