//! Tests of peers at rest: which are kept, and what they are sent.

use super::net::config;
use super::scripted::{Scripted, Stage, atom};
use crate::atom::AtomId;
use crate::crypto::PublicKey;
use crate::engine::limits::{MAX_PING_INTERVAL, PING_INTERVAL, WANTED_PEERS};
use crate::engine::peers::Peer;
use crate::engine::{Engine, EngineConfig, Event, RemoveReason};
use crate::wire::message::Topic;
use crate::wire::ping::Ping;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::num::NonZeroU8;
use core::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
/// Default of the peer timeout.
const TIMEOUT: Duration = Duration::from_secs(900);
/// More than the routing table has room for, which takes more than [`WANTED_PEERS`] of them.
const PEERS: u32 = 300;

fn scripted(n: u32) -> Scripted {
    let [.., high, low] = n.to_be_bytes();
    Scripted::new(n, SocketAddr::from(([127, 1, high, low], 4_000)))
}

fn key(stage: &Stage, n: usize) -> PublicKey {
    stage.peers[n].key()
}

/// Returns a stage with [`PEERS`] peers at rest, and the numbers of those that the routing table has room
/// for and of the spare ones.
fn at_rest() -> (Stage, Vec<usize>, Vec<usize>) {
    let mut stage = Stage::new();
    for n in 0..PEERS {
        let joined = stage.join(scripted(n));
        assert!(stage.knows(joined));
    }
    let is_in_table = |n: &usize| stage.engine.peers.table.get(&key(&stage, *n)).is_some();
    let (table, spare): (Vec<usize>, Vec<usize>) = (0..stage.peers.len()).partition(is_in_table);
    assert!(table.len() > WANTED_PEERS && spare.len() > 100, "{table:?}");
    for peer in &mut stage.peers {
        peer.got.clear();
        peer.payloads.clear();
        peer.probes = 0;
    }
    (stage, table, spare)
}

fn removed(stage: &Stage, n: usize) -> Vec<RemoveReason> {
    let of = key(stage, n);
    let events = stage.events.iter().filter_map(|event| match event {
        Event::PeerRemoved { peer, reason } if *peer == of => Some(*reason),
        _ => None,
    });
    events.collect()
}

#[test]
fn unused_peers_outside_the_routing_table_are_sent_nothing_and_removed() {
    let (mut stage, table, spare) = at_rest();
    stage.run(TIMEOUT - 20 * SECOND);
    for n in &spare {
        let peer = &stage.peers[*n];
        assert!(stage.knows(*n), "{n}");
        let got = (peer.got.len(), peer.probes, peer.payloads.len());
        assert_eq!(got, (0, 0, 0), "{n}");
    }
    stage.run(40 * SECOND);
    for n in &spare {
        assert_eq!(removed(&stage, *n), [RemoveReason::Unused], "{n}");
    }
    assert_eq!(stage.engine.peer_count(), table.len());
    // The others are asked for a sign of life and stay.
    stage.run(4 * TIMEOUT);
    for n in &table {
        assert!(stage.knows(*n), "{n}");
        let probes = stage.peers[*n].probes;
        // Once per half a timeout, or earlier because of the votes on our address.
        assert!((10..=30).contains(&probes), "{n}: {probes} probes");
        assert_eq!(stage.peers[*n].payloads.len(), 0, "{n}: no handshake");
    }
}

#[test]
fn requests_keep_a_peer_outside_the_routing_table_and_pings_do_not() {
    let (mut stage, _, spare) = at_rest();
    let me = stage.me();
    let (asks, pings) = (spare[0], spare[1]);
    for round in 0..10 {
        stage.run(TIMEOUT / 3);
        let get = [&[0][..], atom(round).id().as_bytes(), &[1]].concat();
        let get = stage.peers[asks].sealed(&me, Topic::ObjectRequest, &get);
        stage.deliver(asks, &get);
        let head = AtomId::new([u8::try_from(round).unwrap() + 1; 32]);
        let ping = stage.peers[pings].ping(&me, Some(head));
        if stage.knows(pings) {
            stage.deliver(pings, &ping);
        }
    }
    assert!(stage.knows(asks));
    assert_eq!(removed(&stage, pings), [RemoveReason::Unused]);
    stage.run(TIMEOUT + 20 * SECOND);
    assert_eq!(removed(&stage, asks), [RemoveReason::Unused]);
}

#[test]
fn validators_stream_peers_and_seeds_are_kept_without_a_place_in_the_routing_table() {
    let (mut stage, _, spare) = at_rest();
    let me = stage.me();
    let (validator, streams, seed) = (spare[0], spare[1], spare[2]);
    let ping = Ping {
        is_validator: true,
        difficulty: NonZeroU8::MIN,
        latest_block: None,
    };
    let ping = stage.peers[validator].sealed(&me, Topic::Ping, &ping.encode());
    stage.deliver(validator, &ping);
    let address = stage.peers[seed].address;
    let now = stage.now;
    stage.engine.set_seeds(now, &[], &[address]);
    for _ in 0..12 {
        let (now, of) = (stage.now, key(&stage, streams));
        stage.engine.note_stream_use(now, &of);
        stage.run(TIMEOUT / 3);
    }
    for n in [validator, streams, seed] {
        assert!(stage.knows(n), "{n}");
        assert!(stage.peers[n].probes >= 6, "{n}: it keeps us, too");
    }
    assert!(!stage.knows(spare[3]));
    stage.run(2 * TIMEOUT);
    assert!(!stage.knows(streams) && stage.knows(validator) && stage.knows(seed));
}

#[test]
fn few_peers_are_all_kept() {
    let mut stage = Stage::new();
    let joined: Vec<usize> = (0..50).map(|n| stage.join(scripted(n))).collect();
    let is_spare = |n: &&usize| stage.engine.peers.table.get(&key(&stage, **n)).is_none();
    assert!(joined.iter().filter(is_spare).count() > 2);
    stage.run(4 * TIMEOUT);
    assert!(joined.iter().all(|n| stage.knows(*n)));
}

#[test]
fn pings_of_the_same_content_become_rare_except_to_reference_nodes() {
    let (mut stage, table, _) = at_rest();
    let ours = table[0];
    let mut reference = scripted(1_000);
    reference.is_reference = true;
    let reference = stage.join(reference);
    let counts = |stage: &Stage| [ours, reference].map(|n| stage.peers[n].pings());
    let [_, first] = counts(&stage);
    // 300, 900, 2,100, 4,500 and 8,100 s after the first ping.
    stage.run(9_000 * SECOND);
    let [to_ours, to_reference] = counts(&stage);
    assert_eq!(to_ours, 5);
    let fixed = 9_000 / PING_INTERVAL.as_secs();
    assert!(to_reference - first >= usize::try_from(fixed).unwrap() - 1);
    // Changed content is sent at once, and repeated soon.
    for round in 1..=3 {
        let before = counts(&stage)[0];
        let now = stage.now;
        let head = AtomId::new([round; 32]);
        stage.engine.set_head(now, Some(head));
        stage.carry();
        assert_eq!(counts(&stage)[0], before + 1);
        stage.run(PING_INTERVAL + 20 * SECOND);
        assert_eq!(counts(&stage)[0], before + 2);
        stage.run(MAX_PING_INTERVAL);
    }
}

#[test]
fn silent_peer_of_the_routing_table_is_probed_and_removed() {
    let (mut stage, table, _) = at_rest();
    let silent = table[0];
    stage.peers[silent].answers_probes = false;
    stage.run(TIMEOUT - 20 * SECOND);
    let peer = &stage.peers[silent];
    assert!(stage.knows(silent) && peer.probes > 10);
    assert!(
        !peer.payloads.is_empty(),
        "handshakes, if it has our old key"
    );
    stage.run(40 * SECOND);
    assert_eq!(removed(&stage, silent), [RemoveReason::TimedOut]);
}

#[test]
fn peer_that_pings_and_answers_no_probe_is_not_probed_at_every_check() {
    let (mut stage, table, _) = at_rest();
    let me = stage.me();
    let pings = table[0];
    stage.peers[pings].answers_probes = false;
    let rounds = 4 * TIMEOUT.as_secs() / 60;
    for _ in 0..rounds {
        let ping = stage.peers[pings].ping(&me, None);
        stage.deliver(pings, &ping);
        stage.run(60 * SECOND);
    }
    assert!(stage.knows(pings));
    let probes = stage.peers[pings].probes;
    // Half of them because of the votes on our address.
    assert!((4..=24).contains(&probes), "{probes} probes");
}

/// Anyone can send a handshake in the name of a peer from another address, which is then probed.
#[test]
fn forged_handshakes_do_not_stop_questions_for_a_sign_of_life() {
    let (mut stage, table, _) = at_rest();
    let me = stage.me();
    let pings = table[0];
    let elsewhere = SocketAddr::from(([77, 7, 7, 7], 9));
    let rounds = TIMEOUT.as_secs() / 60;
    for _ in 0..rounds {
        let forged = stage.peers[pings].handshake();
        stage.deliver_from(elsewhere, &forged);
        let ping = stage.peers[pings].ping(&me, None);
        stage.deliver(pings, &ping);
        stage.run(60 * SECOND);
    }
    let probes = stage.peers[pings].probes;
    assert!(probes >= 1, "{probes} probes");
}

#[test]
fn lost_question_for_a_sign_of_life_is_repeated_after_a_quarter_of_the_timeout() {
    // A configured address needs no votes, which are probes as well.
    let config = EngineConfig {
        advertised_address: Some(SocketAddr::from(([9, 9, 9, 9], 99))),
        ..config(1)
    };
    let mut stage = Stage::new();
    stage.engine = Engine::new(config, [1; 32], stage.now);
    let me = stage.me();
    let pings = stage.join(scripted(1));
    assert!(stage.knows(pings));
    stage.peers[pings].answers_probes = false;
    stage.peers[pings].probes = 0;
    for (time, sent) in [(TIMEOUT / 2, 1), (TIMEOUT / 4, 2), (TIMEOUT / 4, 3)] {
        for _ in 0..time.as_secs() / 45 {
            let ping = stage.peers[pings].ping(&me, None);
            stage.deliver(pings, &ping);
            stage.run(45 * SECOND);
        }
        stage.run(12 * SECOND);
        assert_eq!(stage.peers[pings].probes, sent);
    }
}

#[test]
fn news_for_a_peer_that_needs_us_are_repeated_once() {
    let (mut stage, _, spare) = at_rest();
    let me = stage.me();
    let (asks, rests) = (spare[0], spare[1]);
    let (now, head) = (stage.now, AtomId::new([7; 32]));
    stage.engine.set_head(now, Some(head));
    stage.run(SECOND);
    assert_eq!([asks, rests].map(|n| stage.peers[n].pings()), [1, 1]);
    for repeats in [1, 1, 1] {
        let get = [&[0][..], atom(1).id().as_bytes(), &[1]].concat();
        let get = stage.peers[asks].sealed(&me, Topic::ObjectRequest, &get);
        stage.deliver(asks, &get);
        stage.run(PING_INTERVAL + 20 * SECOND);
        assert_eq!(stage.peers[asks].pings(), 1 + repeats);
    }
    assert_eq!(stage.peers[rests].pings(), 1);
}

#[test]
fn idle_peer_is_small() {
    let bytes = size_of::<Peer>();
    assert!(bytes <= 640, "{bytes} bytes");
}
