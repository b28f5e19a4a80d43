//! Ports and address families of the socket.

use super::support::{alone, eventually, introduce, knows, node};
use astreum_core::atom::Atom;
use astreum_node::config::Config;
use astreum_node::{Node, node::NodeError};
use core::net::{IpAddr, Ipv6Addr, SocketAddr};

#[test]
fn port_zero_takes_any_port_and_each_node_gets_its_own() {
    let (one, other) = (node(alone()), node(alone()));
    assert_ne!(one.port().unwrap(), 0);
    assert_ne!(one.port(), other.port());
}

#[test]
fn configured_port_is_bound_and_released_on_disconnect() {
    let port = node(alone()).port().unwrap();
    let config = || Config {
        incoming_port: port,
        ..alone()
    };
    let first = node(config());
    assert_eq!(first.port(), Some(port));
    let second = Node::new(config()).unwrap();
    let error = second.connect().unwrap_err();
    assert!(matches!(error, NodeError::Network(_)));
    let text = error.to_string();
    assert!(
        text.contains(&port.to_string()) && text.contains("incoming_port"),
        "{text}"
    );
    first.disconnect();
    second.connect().unwrap();
    assert_eq!(second.port(), Some(port));
}

#[test]
fn connecting_twice_keeps_the_socket() {
    let node = node(alone());
    let port = node.port();
    node.connect().unwrap();
    assert_eq!(node.port(), port);
}

/// Fails with a message on a machine without IPv6 loopback.
#[test]
fn ipv6_nodes_connect_over_ipv6_and_to_ipv4_nodes() {
    let config = || Config {
        use_ipv6: true,
        ..alone()
    };
    let (one, other, old) = (node(config()), node(config()), node(alone()));
    let loopback = SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), other.port().unwrap());
    one.contact(loopback).unwrap();
    eventually("two nodes know each other over [::1]", || {
        knows(&one, &other) && knows(&other, &one)
    });
    assert!(
        one.peers()
            .unwrap()
            .iter()
            .all(|peer| peer.address.is_ipv6())
    );
    introduce(&one, &old);
    let stored = one.put(Atom::bytes(*b"for both")).unwrap();
    assert!(other.get_atom(stored.id).unwrap().is_some());
    assert!(old.get_atom(stored.id).unwrap().is_some());
    let peers = one.peers().unwrap();
    let old = peers
        .iter()
        .find(|peer| peer.public_key == old.public_key());
    assert!(
        old.unwrap().address.is_ipv4(),
        "an IPv4 peer looks like one"
    );
}

#[test]
fn ipv4_node_rejects_ipv6_addresses() {
    let node = node(alone());
    let error = node.contact("[::1]:52780").unwrap_err();
    assert!(error.to_string().contains("use_ipv6"), "{error}");
}
