//! Nodes of one process on loopback: joining, leaving, rejoining.

use super::support::{WAIT_TIMEOUT, address, alone, eventually, introduce, knows, node};
use astreum_core::atom::{Atom, AtomId};
use astreum_core::machine::Env;
use astreum_node::config::{Config, Secret};
use astreum_node::node::NodeError;
use astreum_node::{Node, WaitLimit};
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::sync::Arc;
use std::time::Instant;

fn seeded(seeds: &[String]) -> Config {
    Config {
        additional_seeds: seeds.iter().map(|seed| seed.parse().unwrap()).collect(),
        bootstrap_retry_interval: Duration::from_secs(1),
        ..alone()
    }
}

#[test]
fn introduced_nodes_become_peers() {
    let (one, other) = (node(alone()), node(alone()));
    introduce(&one, &other);
    let peers = one.peers().unwrap();
    assert_eq!(peers.len(), 1);
    let peer = peers[0];
    assert_eq!(peer.public_key, other.public_key());
    assert_eq!(peer.address, address(&other));
    assert!(!peer.is_validator);
    assert!(peer.last_heard < WAIT_TIMEOUT);
    assert_eq!(one.status().network.unwrap().peers, 1);
}

#[test]
fn node_joins_through_its_seeds() {
    let seed = node(alone());
    let joining = node(seeded(&[address(&seed).to_string()]));
    eventually("the seed and the node know each other", || {
        knows(&seed, &joining) && knows(&joining, &seed)
    });
}

#[test]
fn only_the_default_seed_sets_the_head() {
    let [trusted, other] = [[7; 32], [8; 32]].map(|head| Config {
        latest_block_hash: Some(AtomId::new(head)),
        ..alone()
    });
    let (seed, untrusted) = (node(trusted), node(other));
    let follower = node(Config {
        default_seed: address(&seed).to_string().parse().ok(),
        ..alone()
    });
    let head = || follower.status().network.unwrap().head;
    introduce(&untrusted, &follower);
    eventually("the follower has the head of its default seed", || {
        head() == Some(AtomId::new([7; 32]))
    });
    let reports_head = |peer: &astreum_node::node::Peer| peer.head == Some(AtomId::new([7; 32]));
    eventually("it announces that head", || {
        untrusted.peers().unwrap().iter().any(reports_head)
    });
    assert_eq!(head(), Some(AtomId::new([7; 32])));
}

#[test]
fn unavailable_seed_is_retried() {
    let port = node(alone()).port().unwrap();
    let joining = node(seeded(&[
        "no-such-host.invalid:1".to_owned(),
        format!("127.0.0.1:{port}"),
    ]));
    std::thread::sleep(Duration::from_millis(300));
    assert!(joining.peers().unwrap().is_empty());
    let seed = node(Config {
        incoming_port: port,
        ..alone()
    });
    eventually("the late seed is found", || {
        knows(&seed, &joining) && knows(&joining, &seed)
    });
}

#[test]
fn start_without_network_succeeds() {
    let node = node(Config {
        incoming_port: 0,
        default_seed: "no-such-host.invalid:52780".parse().ok(),
        ..Config::default()
    });
    let stored = node.put(Atom::bytes(*b"alone")).unwrap();
    assert!(node.get_atom(stored.id).unwrap().is_some());
    assert!(node.peers().unwrap().is_empty());
}

#[test]
fn restarted_node_with_the_same_key_is_recognized() {
    let config = || Config {
        relay_secret_key: Some(Secret::new([3; 32])),
        ..alone()
    };
    let other = node(alone());
    let first = node(config());
    introduce(&first, &other);
    let key = first.public_key();
    drop(first);
    let again = node(config());
    assert_eq!(again.public_key(), key);
    again.contact(address(&other)).unwrap();
    eventually(
        "the restarted node has its peer, at its new address",
        || {
            let at = address(&again);
            let moved =
                |peer: &astreum_node::node::Peer| peer.public_key == key && peer.address == at;
            knows(&again, &other) && other.peers().unwrap().iter().any(moved)
        },
    );
    let stored = again.put(Atom::bytes(*b"after")).unwrap();
    assert!(other.get_atom(stored.id).unwrap().is_some());
}

#[test]
fn disconnected_node_reports_it_and_can_reconnect() {
    let (one, other) = (node(alone()), node(alone()));
    introduce(&one, &other);
    one.disconnect();
    assert_eq!(one.port(), None);
    assert!(one.peers().unwrap().is_empty());
    let error = one.contact(address(&other)).unwrap_err();
    assert!(matches!(error, NodeError::NotConnected));
    let id = AtomId::new([1; 32]);
    assert_eq!(one.get_atom(id).unwrap(), None);
    one.connect().unwrap();
    one.contact(address(&other)).unwrap();
    eventually("the peers are back", || knows(&one, &other));
}

#[test]
fn disconnect_ends_pending_fetches() {
    let patient = || Config {
        atom_fetch_interval: Duration::from_secs(600),
        ..alone()
    };
    // A peer that never answers keeps the fetch waiting.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let node: Node = node(patient());
    node.contact(silent.local_addr().unwrap()).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| node.get_atom(AtomId::new([1; 32])));
        std::thread::sleep(Duration::from_millis(200));
        let start = Instant::now();
        node.disconnect();
        assert_eq!(waiting.join().unwrap().unwrap(), None);
        assert!(start.elapsed() < WAIT_TIMEOUT);
    });
}

#[test]
fn fetches_end_at_the_deadline_of_their_caller() {
    let node: Node = node(Config {
        atom_fetch_interval: Duration::from_secs(600),
        ..alone()
    });
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    node.contact(silent.local_addr().unwrap()).unwrap();
    let id = |number: u8| AtomId::new([number; 32]);
    let brief = WaitLimit::NONE.within(Duration::from_millis(100));
    assert_eq!(brief.scope(|| node.get_atom(id(1))).unwrap(), None);
    // All fetches of an evaluation have one deadline.
    let references = (0..2_000).map(|number| format!("(0x{number:064x} ref)"));
    let source = format!("({} list)", references.collect::<Vec<_>>().join(" "));
    let expr = astreum_core::text::parse(&source).unwrap();
    let evaluation = brief.scope(|| node.eval(&expr, &mut Env::new()));
    assert!(evaluation.missing().is_some(), "{}", evaluation.value());
    // A cancelled caller does not wait either.
    let gone = Arc::new(AtomicBool::new(false));
    let wait_limit = WaitLimit::NONE.until(Arc::clone(&gone));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| wait_limit.scope(|| node.get_atom_list(id(2))));
        std::thread::sleep(Duration::from_millis(50));
        gone.store(true, Ordering::Relaxed);
        assert_eq!(waiting.join().unwrap().unwrap(), None);
    });
}

#[test]
fn only_silent_peers_are_dropped_after_the_timeout() {
    let impatient = || Config {
        peer_timeout: Duration::from_secs(1),
        peer_timeout_interval: Duration::from_secs(1),
        ..alone()
    };
    let (one, living, dying) = (node(impatient()), node(alone()), node(alone()));
    introduce(&one, &living);
    introduce(&one, &dying);
    drop(dying);
    eventually("the silent peer is gone", || {
        one.peers().unwrap().len() == 1
    });
    std::thread::sleep(Duration::from_secs(3));
    assert!(knows(&one, &living), "a peer that answers stays");
}
