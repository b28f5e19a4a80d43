//! Joining and staying connected: known peers, local addresses, bans, and duplicate keys.

use super::support::{address, alone, eventually, introduce, knows, node};
use astreum_core::atom::Atom;
use astreum_node::Node;
use astreum_node::config::{Chain, Config, Secret};
use core::net::SocketAddr;
use core::time::Duration;

#[test]
fn library_node_uses_the_configured_chain() {
    let node = Node::new(Config {
        chain: Some(Chain::Main),
        ..alone()
    });
    assert_eq!(node.unwrap().settings().chain_id, 1);
}

#[test]
fn atom_is_fetched_in_the_background_without_waiting() {
    let hasty = [
        Config {
            atom_fetch_interval: Duration::ZERO,
            ..alone()
        },
        Config {
            atom_fetch_retries: 0,
            ..alone()
        },
    ];
    for config in hasty {
        let (one, other) = (node(alone()), node(config));
        introduce(&one, &other);
        let stored = one.put(Atom::bytes([7; 40])).unwrap();
        assert_eq!(other.get_atom(stored.id).unwrap(), None);
        eventually("the requested atom is stored", || {
            other.store().contains(&stored.id)
        });
        let list = one.put_list(&[[1; 40], [2; 40]]).unwrap();
        assert_eq!(other.get_atom_list(list.id).unwrap(), None);
        eventually("the requested list is stored", || {
            let found = other.get_atom_list(list.id).unwrap();
            found.is_some_and(|atoms| atoms.len() == 2)
        });
    }
}

#[test]
fn known_peers_are_contacted_after_a_restart_without_seeds() {
    let scratch = tempfile::tempdir().unwrap();
    let staying = node(alone());
    let leaving = node(alone());
    leaving.remember_peers(scratch.path()).unwrap();
    introduce(&leaving, &staying);
    leaving.disconnect();
    drop(leaving);
    let back = node(alone());
    assert_eq!(back.peers().unwrap().len(), 0);
    back.remember_peers(scratch.path()).unwrap();
    eventually("the peer of the earlier run is connected", || {
        knows(&back, &staying)
    });
}

#[cfg(target_os = "linux")]
#[test]
fn node_contacted_at_its_second_address_becomes_a_peer() {
    let (one, other) = (node(alone()), node(alone()));
    let second = SocketAddr::from(([127, 0, 0, 2], address(&other).port()));
    one.contact(second).unwrap();
    eventually("the nodes know each other", || {
        knows(&one, &other) && knows(&other, &one)
    });
    let peers = one.peers().unwrap();
    assert_eq!(peers[0].address, second);
}

#[test]
fn banned_peers_are_removed_and_stay_out() {
    let (one, other) = (node(alone()), node(alone()));
    introduce(&one, &other);
    let key = other.public_key();
    assert!(one.ban(key).unwrap());
    assert!(!knows(&one, &other));
    assert_eq!(one.banned().unwrap(), [key]);
    let dropped = || one.status().network.unwrap().stats.dropped_total();
    let before = dropped();
    other.contact(address(&one)).unwrap();

    let _ = other.get_atom(Atom::bytes([9; 9]).id()).unwrap();
    eventually("packets of the banned peer are dropped", || {
        dropped() > before
    });
    assert!(!knows(&one, &other));
    assert!(one.unban(key).unwrap() && !one.unban(key).unwrap());
    assert_eq!(one.banned().unwrap(), []);
}

#[test]
fn duplicate_relay_key_is_detected() {
    let twin = || Config {
        relay_secret_key: Some(Secret::new([7; 32])),
        ..alone()
    };
    let (one, other) = (node(twin()), node(twin()));
    let from = || one.status().network.unwrap().own_key_from;
    assert_eq!(from(), None);
    other.contact(address(&one)).unwrap();
    eventually("a packet with the own key is detected", || {
        from() == Some(address(&other))
    });
}

#[test]
fn node_does_not_connect_to_itself() {
    let one = node(alone());
    let error = one.contact(address(&one)).unwrap_err().to_string();
    assert!(error.contains("is the address of this node"), "{error}");
    let second = SocketAddr::from(([127, 0, 0, 9], address(&one).port()));
    assert!(one.contact(second).is_err());
}
