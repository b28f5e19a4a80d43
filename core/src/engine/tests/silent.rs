//! Tests of validated peers that do not answer requests, and of the order in which peers are asked.

use super::net::{Net, at, key};
use super::scripted::{Scripted, Stage, atom};
use crate::atom::{Atom, AtomId, bytes_list};
use crate::engine::limits::SILENT_TRIAL_INTERVAL;
use crate::engine::{FetchError, FetchRequest, ListLimit};
use crate::wire::message::Topic;
use crate::wire::object::{PayloadType, Response};
use crate::wire::routing_table::Distance;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const ATOM: PayloadType = PayloadType::ATOM;

/// Returns a peer at an address of its own.
fn peer(n: u32) -> Scripted {
    let [.., high, low] = n.to_be_bytes();
    let address = SocketAddr::from(([127, 1, high, low], 4_000));
    Scripted::new(n, address)
}

/// Returns a stage with sixty validated peers that answer nothing, and an honest one, which has a
/// place in the routing table or came too late for one.
fn among_silent_peers(is_in_table: bool) -> (Stage, usize) {
    let mut stage = Stage::new();
    let honest = stage.add(peer(1_000));
    if is_in_table {
        stage.meet(honest, None);
    }
    for n in 0..60 {
        let silent = stage.join(peer(n));
        assert!(stage.knows(silent));
        stage.peers[silent].answers_gets = false;
        stage.peers[silent].answers_probes = false;
    }
    if !is_in_table {
        stage.meet(honest, None);
    }
    assert!(stage.knows(honest));
    for peer in &mut stage.peers {
        peer.got.clear();
    }
    (stage, honest)
}

/// Returns an atom that the honest peer has, and to which it is not among the nearest.
fn far(stage: &mut Stage, honest: usize, from: u32) -> AtomId {
    let rank = |stage: &Stage, id: &AtomId| {
        let distance = |peer: &Scripted| Distance::between(id.as_bytes(), peer.key().as_bytes());
        let own = distance(&stage.peers[honest]);
        stage
            .peers
            .iter()
            .filter(|peer| distance(peer) < own)
            .count()
    };
    let atom = (from..)
        .map(atom)
        .find(|atom| rank(stage, &atom.id()) >= 20);
    let atom = atom.unwrap();
    stage.peers[honest].store.insert(atom)
}

fn asked(stage: &Stage, honest: usize) -> usize {
    let all: usize = stage.peers.iter().map(Scripted::requests).sum();
    all - stage.peers[honest].requests()
}

#[test]
fn preferred_peer_is_asked_first_and_alone_for_every_kind_of_fetch() {
    let (mut stage, honest) = among_silent_peers(false);
    let from = Some(stage.peers[honest].key());
    let id = far(&mut stage, honest, 0);
    let (head, atoms) = bytes_list(&[[1; 9], [2; 9]]);
    stage.peers[honest].store.extend(atoms);
    let me = stage.me();
    for id in [id, head] {
        let put = stage.peers[1].put(&me, id);
        stage.deliver(1, &put);
        assert_eq!(stage.engine.providers_of(stage.now, &id).count(), 1);
    }
    let now = stage.now;
    let limit = ListLimit::MAX;
    stage
        .engine
        .fetch(now, FetchRequest::atom(id).first_from(from));
    stage
        .engine
        .fetch(now, FetchRequest::list_within(head, limit).first_from(from));
    stage
        .engine
        .fetch(now, FetchRequest::beginning(head, limit).first_from(from));
    stage.carry();
    // It serves lists an atom at a time.
    assert_eq!(stage.fetched(), [Ok(1), Ok(2), Ok(2)]);
    assert_eq!(asked(&stage, honest), 0);
}

#[test]
fn preferred_peer_without_the_object_does_not_delay_others() {
    for answers in [true, false] {
        let mut stage = Stage::new();
        for n in 0..5 {
            stage.join(peer(n));
        }
        let id = atom(7).id();
        for n in 1..5 {
            stage.peers[n].store.insert(atom(7));
        }
        stage.peers[0].answers_gets = answers;
        let from = Some(stage.peers[0].key());
        let started = stage.now;
        stage
            .engine
            .fetch(started, FetchRequest::atom(id).first_from(from));
        while stage.fetched().is_empty() {
            stage.run(Duration::from_millis(10));
        }
        assert_eq!(stage.fetched(), [Ok(1)]);
        let took = stage.now.since(started);
        assert!(took <= Duration::from_millis(if answers { 10 } else { 210 }));
        assert_eq!(stage.peers[0].requests(), if answers { 1 } else { 2 });
    }
}

#[test]
fn silent_peers_lose_their_rank_until_they_answer_a_request() {
    let (mut stage, honest) = among_silent_peers(true);
    let mut rounds = 0;
    loop {
        let id = far(&mut stage, honest, 100 * rounds);
        let now = stage.now;
        stage.engine.fetch(now, FetchRequest::atom(id));
        stage.run(3 * SECOND);
        rounds += 1;
        if stage.fetched().last() == Some(&Ok(1)) {
            break;
        }
        assert_eq!(stage.fetched().last(), Some(&Err(FetchError::Timeout)));
        assert!(rounds < 6, "silent peers keep their rank");
    }
    // From now on no fetch waits for them, whether or not they send pings.
    let me = stage.me();
    for n in 1..=60 {
        let ping = stage.peers[n].ping(&me, None);
        stage.deliver(n, &ping);
        stage.peers[n].got.clear();
    }
    let is_silent = |stage: &Stage, n: &usize| {
        let key = stage.peers[*n].key();
        stage.engine.peers.is_silent(&key)
    };
    let silent: Vec<usize> = (1..=60).filter(|n| is_silent(&stage, n)).collect();
    assert!(silent.len() > 20);
    for n in 0..100 {
        let id = far(&mut stage, honest, 10_000 + 100 * n);
        let now = stage.now;
        stage.engine.fetch(now, FetchRequest::atom(id));
        stage.carry();
        assert_eq!(stage.fetched().last(), Some(&Ok(1)), "fetch {n}");
        stage.run(SECOND / 10);
    }
    // Each is tried occasionally.
    let trials = usize::try_from(10 * SECOND.as_secs() / SILENT_TRIAL_INTERVAL.as_secs()).unwrap();
    let tried = silent.iter().map(|n| stage.peers[*n].requests());
    assert!(tried.clone().all(|count| count <= trials));
    assert!((1..=100).contains(&tried.sum::<usize>()));

    // One of them answers again: it is asked as the others are.
    stage.run(SILENT_TRIAL_INTERVAL);
    let back = silent[10];
    stage.peers[back].answers_gets = true;
    let near = |n: &u32| {
        let id = atom(*n).id();
        let distance = |peer: &Scripted| Distance::between(id.as_bytes(), peer.key().as_bytes());
        let own = distance(&stage.peers[back]);
        stage.peers.iter().all(|peer| distance(peer) >= own)
    };
    let ids: Vec<AtomId> = (20_000..)
        .filter(near)
        .take(20)
        .map(|n| atom(n).id())
        .collect();
    stage.peers[back].got.clear();
    for id in ids {
        let now = stage.now;
        stage.engine.fetch(now, FetchRequest::atom(id));
        stage.run(SECOND / 10);
    }
    assert_eq!(stage.peers[back].requests(), 20);
    let key = stage.peers[back].key();
    assert!(!stage.engine.peers.is_silent(&key));
}

#[test]
fn silent_peers_get_no_referrals_and_no_advertisements() {
    let mut stage = Stage::new();
    let peers: Vec<usize> = (0..6).map(|n| stage.join(peer(n))).collect();
    let silent = |stage: &Stage, n: usize| {
        let key = stage.peers[n].key();
        stage.engine.peers.is_silent(&key)
    };
    for n in &peers[..5] {
        stage.peers[*n].answers_gets = false;
    }
    let now = stage.now;
    stage.engine.fetch(now, FetchRequest::atom(atom(1).id()));
    stage.run(3 * SECOND);
    assert_eq!(peers.iter().filter(|n| silent(&stage, **n)).count(), 5);
    // An id to which silent peers are nearest, and the one that answers nearer than we are.
    let me = stage.me();
    let distance = |key: &crate::crypto::PublicKey, id: &AtomId| {
        Distance::between(id.as_bytes(), key.as_bytes())
    };
    let fits = |id: &AtomId| {
        let answers = distance(&stage.peers[5].key(), id);
        let nearer = stage.peers[..5]
            .iter()
            .filter(|peer| distance(&peer.key(), id) < answers);
        answers < distance(&me, id) && nearer.count() >= 3
    };
    let id = (0..).map(|n| atom(n).id()).find(fits).unwrap();
    let asker = stage.join(peer(50));
    for peer in &mut stage.peers {
        peer.got.clear();
    }
    let get = [&[0][..], id.as_bytes(), &[1]].concat();
    let get = stage.peers[asker].sealed(&me, Topic::ObjectRequest, &get);
    stage.deliver(asker, &get);
    let routes = stage.peers[asker].sealed(&me, Topic::RouteRequest, &[0]);
    stage.deliver(asker, &routes);
    let got = &stage.peers[asker].got;
    let redirect = got
        .iter()
        .find(|(topic, _)| *topic == Topic::ObjectResponse);
    let redirect = Response::decode(&redirect.unwrap().1).unwrap();
    assert_eq!(redirect.data[..32], *stage.peers[5].key().as_bytes());
    let listed = got.iter().find(|(topic, _)| *topic == Topic::RouteResponse);
    assert_eq!(listed.unwrap().1, [127, 1, 0, 5, 15, 160]);
    let now = stage.now;
    stage.engine.advertise(now, id, ATOM, None);
    stage.carry();
    assert_eq!(stage.peers[5].records(), 1);
    // If there is no other peer, they are sent advertisements all the same.
    let advertised = stage.peers[..5]
        .iter()
        .map(Scripted::records)
        .sum::<usize>();
    assert!((1..=2).contains(&advertised), "{advertised} records");
}

#[test]
fn lost_answers_do_not_make_a_peer_silent_for_long() {
    let mut stage = Stage::new();
    let only = stage.join(peer(1));
    stage.peers[only].answers_gets = false;
    let now = stage.now;
    stage.engine.fetch(now, FetchRequest::atom(atom(1).id()));
    stage.run(2 * SECOND);
    let key = stage.peers[only].key();
    assert!(stage.engine.peers.is_silent(&key));
    // There is no other peer: it is asked, and one answer suffices.
    stage.peers[only].answers_gets = true;
    stage.peers[only].store.insert(atom(2));
    let now = stage.now;
    stage.engine.fetch(now, FetchRequest::atom(atom(2).id()));
    stage.carry();
    assert_eq!(stage.fetched(), [Err(FetchError::Timeout), Ok(1)]);
    assert!(!stage.engine.peers.is_silent(&key));
}

#[test]
fn preference_of_every_caller_counts() {
    let (mut stage, honest) = among_silent_peers(false);
    let id = far(&mut stage, honest, 0);
    let now = stage.now;
    for n in 1..=4 {
        let from = Some(stage.peers[n].key());
        stage
            .engine
            .fetch(now, FetchRequest::atom(id).first_from(from));
    }
    stage.run(SECOND / 20);
    assert!(stage.fetched().is_empty());
    let from = Some(stage.peers[honest].key());
    let now = stage.now;
    stage
        .engine
        .fetch(now, FetchRequest::atom(id).first_from(from));
    stage.carry();
    assert_eq!(stage.fetched(), [Ok(1); 5]);
}

#[test]
fn list_continues_from_other_peers_when_the_preferred_one_leaves() {
    let mut net = Net::of_ours(4);
    for n in 2..=4 {
        net.meet(1, n);
    }
    let (head, atoms) = bytes_list(&(0..2_000u32).map(u32::to_be_bytes).collect::<Vec<_>>());
    for n in 2..=4 {
        net.node(n).store.extend(atoms.clone());
    }
    let from = Some(key(2));
    let first = net.sent.len();
    net.with(1, |engine, now| {
        engine.fetch(
            now,
            FetchRequest::list_within(head, ListLimit::MAX).first_from(from),
        )
    });
    net.run(Duration::from_millis(20));
    let before = net.sent.len();
    assert!(before - first > 10 && net.fetched(1).is_empty());
    assert!(
        net.sent_to(at(3), first).is_empty(),
        "only the preferred peer is asked"
    );
    net.hosts.remove(&at(2));
    net.run(2 * SECOND);
    let whole: Result<Vec<Atom>, FetchError> = Ok(atoms);
    assert_eq!(net.fetched(1), [whole]);
    let packets = net.sent.len() - before;
    assert!(packets < 120, "{packets} packets");
}
