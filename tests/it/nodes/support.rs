//! Helpers for tests of whole nodes.

pub(crate) use astreum_tests::testkit::wait::eventually;

use astreum_node::{Node, config::Config};
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;

/// Time limit of any wait, longer than needed on a busy machine.
pub(crate) const WAIT_TIMEOUT: Duration = Duration::from_secs(20);

/// Returns a configuration without seeds, on any port.
pub(crate) fn alone() -> Config {
    Config {
        incoming_port: 0,
        default_seed: None,
        ..Config::default()
    }
}

/// Creates a connected node.
pub(crate) fn node(config: Config) -> Node {
    let node = Node::new(config).unwrap();
    node.connect().unwrap();
    node
}

/// Returns the loopback address of a node.
pub(crate) fn address(node: &Node) -> SocketAddr {
    let port = node.port().unwrap();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

/// Makes `one` start a handshake with `other`, and waits until they know each other.
pub(crate) fn introduce(one: &Node, other: &Node) {
    one.contact(address(other)).unwrap();
    eventually("the nodes know each other", || {
        knows(one, other) && knows(other, one)
    });
}

pub(crate) fn knows(one: &Node, other: &Node) -> bool {
    let key = other.public_key();
    let peers = one.peers().unwrap();
    peers.iter().any(|peer| peer.public_key == key)
}
