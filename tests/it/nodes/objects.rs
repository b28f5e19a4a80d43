//! Atoms and lists between nodes: fetched, redirected, advertised, missing.

use super::support::{address, alone, eventually, introduce, knows, node};
use astreum_core::atom::{Atom, AtomId};
use astreum_core::expr::Expr;
use astreum_core::machine::Env;
use astreum_core::text;
use astreum_core::wire::object::PayloadType;
use astreum_node::Node;
use astreum_node::config::Config;
use astreum_tests::testkit::link_proxy::{LinkProxy, Path, SEEN_AT};
use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::time::Instant;

/// Returns two nodes that know each other.
fn pair() -> (Node, Node) {
    let (one, other) = (node(alone()), node(alone()));
    introduce(&one, &other);
    (one, other)
}

#[test]
fn atoms_are_fetched_in_both_directions() {
    let (one, other) = pair();
    for (from, to) in [(&one, &other), (&other, &one)] {
        let atom = Atom::bytes(from.port().unwrap().to_be_bytes());
        let stored = from.put(atom.clone()).unwrap();
        let start = Instant::now();
        assert_eq!(to.get_atom(stored.id).unwrap(), Some(atom.clone()));
        assert!(
            start.elapsed() < Duration::from_millis(1_500),
            "an answer is delivered when it arrives, not when the wait is over"
        );
        assert_eq!(to.store().get(&stored.id), Some(atom), "the atom is stored");
    }
}

#[test]
fn largest_atom_is_transferred() {
    let (one, other) = pair();
    let atom = Atom::bytes(vec![7; astreum_node::store::MAX_ATOM_DATA_BYTES]);
    let stored = one.put(atom.clone()).unwrap();
    assert_eq!(other.get_atom(stored.id).unwrap(), Some(atom));
}

#[test]
fn objects_of_every_size_arrive_on_a_path_that_drops_fragments() {
    let loopback = Config {
        bind_address: Some(Ipv4Addr::LOCALHOST.into()),
        ..alone()
    };
    let (one, other) = (node(loopback.clone()), node(loopback));
    let ports = [&one, &other].map(|node| node.port().unwrap());
    let path = Path {
        each_way: Duration::from_millis(1),
        drops_fragments: true,
    };
    let _proxy = LinkProxy::start(ports, path);
    one.contact(SocketAddr::from((SEEN_AT, ports[1]))).unwrap();
    eventually("the nodes know each other", || {
        knows(&one, &other) && knows(&other, &one)
    });
    // The offers of streams follow the validation.
    eventually("the nodes offer streams", || {
        [&one, &other].map(|node| node.peers().unwrap()[0].offers_stream) == [true, true]
    });
    for len in [10, 1_500, 3_900, astreum_node::store::MAX_ATOM_DATA_BYTES] {
        let atom = Atom::bytes(vec![7; len]);
        let stored = one.put(atom.clone()).unwrap();
        assert_eq!(other.get_atom(stored.id).unwrap(), Some(atom), "{len}");
    }
    let values: Vec<_> = (0..100_u8).map(|n| [n; 3_900]).collect();
    let stored = one.put_list(&values).unwrap();
    let list = other.get_atom_list(stored.id).unwrap().unwrap();
    let data: Vec<&[u8]> = list.iter().map(Atom::data).collect();
    assert_eq!(data, values);
}

#[test]
fn lists_are_fetched_whole_in_both_directions() {
    let (one, other) = pair();
    for (from, to) in [(&one, &other), (&other, &one)] {
        let port = from.port().unwrap();
        let values: Vec<Vec<u8>> = (0..40u8).map(|n| format!("{port} {n}").into()).collect();
        let stored = from.put_list(&values).unwrap();
        let list = to.get_atom_list(stored.id).unwrap().unwrap();
        let data: Vec<&[u8]> = list.iter().map(Atom::data).collect();
        assert_eq!(data, values);
        assert!(
            to.store().contains(&list[39].id()),
            "the whole list is stored"
        );
    }
}

#[test]
fn list_larger_than_a_datagram_is_transferred() {
    let (one, other) = pair();
    let values: Vec<Vec<u8>> = (0..100u8).map(|n| vec![n; 3_900]).collect();
    let stored = one.put_list(&values).unwrap();
    let list = other.get_atom_list(stored.id).unwrap().unwrap();
    let data: Vec<&[u8]> = list.iter().map(Atom::data).collect();
    assert_eq!(data, values);
}

#[test]
fn expression_is_fetched_and_loaded_by_ref() {
    let (one, other) = pair();
    let stored = one.put(Atom::bytes([5])).unwrap();
    let source = format!("(0x{} ref)", stored.id);
    let call = text::parse(&source).unwrap();
    let evaluation = other.eval(&call, &mut Env::new());
    let value = evaluation.value();
    assert!(!value.is_error(), "{value}");
    let local = one.eval(&call, &mut Env::new());
    assert_eq!(value, local.value());

    let expr = text::parse("(1 (two \"three\") ())").unwrap();
    let stored = one.put_expr(&expr).unwrap();
    let fetched = Expr::from_atoms(&other.view(), &stored.id, 100).unwrap();
    assert_eq!(fetched, expr);
}

/// Returns an atom whose id is closer to `one` than to `other`: the closest node does not advertise
/// to others.
fn nearest_to(one: &Node, other: &Node) -> Atom {
    let distance = |node: &Node, id: &AtomId| -> Vec<u8> {
        let key = node.public_key();
        let pairs = key.as_bytes().iter().zip(id.as_bytes());
        pairs.map(|(a, b)| a ^ b).collect()
    };
    (0..u16::MAX)
        .map(|number| Atom::bytes(number.to_be_bytes()))
        .find(|atom| distance(one, &atom.id()) < distance(other, &atom.id()))
        .unwrap()
}

#[test]
fn provider_is_found_through_a_third_node() {
    let (keeper, index, asking) = (node(alone()), node(alone()), node(alone()));
    introduce(&keeper, &index);
    let stored = keeper.put(nearest_to(&index, &keeper)).unwrap();
    keeper
        .advertise(stored.id, PayloadType::ATOM, None)
        .unwrap();
    eventually("the index knows the provider", || {
        let providers = index.providers(stored.id).unwrap();
        providers
            .iter()
            .any(|provider| provider.key == keeper.public_key())
    });
    introduce(&asking, &index);
    let atom = asking.get_atom(stored.id).unwrap().unwrap();
    assert_eq!(atom.id(), stored.id);
}

#[test]
fn advertisement_lasts_until_expired_or_withdrawn() {
    let (one, _other) = pair();
    let advertised = || one.status().network.unwrap().advertisements;
    let (first, second) = (AtomId::new([1; 32]), AtomId::new([2; 32]));
    let brief = Some(Duration::from_millis(300));
    one.advertise(first, PayloadType::ATOM, brief).unwrap();
    one.advertise(second, PayloadType::LIST, None).unwrap();
    assert_eq!(advertised(), 2);
    eventually("the first one has expired", || advertised() == 1);
    one.withdraw(second).unwrap();
    assert_eq!(advertised(), 0);
}

#[test]
fn lookup_of_a_missing_atom_ends_after_few_packets() {
    let config = || Config {
        atom_fetch_interval: Duration::from_millis(50),
        ..alone()
    };
    let nodes = [node(config()), node(config()), node(config())];
    introduce(&nodes[0], &nodes[1]);
    introduce(&nodes[1], &nodes[2]);
    introduce(&nodes[0], &nodes[2]);
    let packets = || -> u64 {
        let sent = |node: &Node| node.status().network.unwrap().stats.sent;
        nodes.iter().map(sent).sum()
    };
    let before = packets();
    let start = Instant::now();
    assert_eq!(nodes[0].get_atom(AtomId::new([0xaa; 32])).unwrap(), None);
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    std::thread::sleep(Duration::from_millis(300));
    assert!(packets() - before < 60, "{} packets", packets() - before);
}

#[test]
fn several_threads_fetch_at_once() {
    let (one, other) = pair();
    let ids: Vec<AtomId> = (0..200u32)
        .map(|number| one.put(Atom::bytes(number.to_be_bytes())).unwrap().id)
        .collect();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for id in &ids {
                    assert!(other.get_atom(*id).unwrap().is_some());
                }
            });
        }
    });
    assert_eq!(other.status().hot.atoms, 200);
}

#[test]
fn garbage_flood_is_counted_and_the_node_keeps_working() {
    let (one, other) = pair();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let received = || one.status().network.unwrap().stats.received;
    let before = received();
    for round in 0..200u32 {
        for len in [0, 1, 8, 9, 43, 44, 100, 1_400, 60_000] {
            let byte = u8::try_from(round).unwrap_or_default();
            socket.send_to(&vec![byte; len], address(&one)).unwrap();
        }
    }
    // The system may drop some packets before they reach the node.
    eventually("most packets were received", || received() > before + 100);
    let stored = one.put(Atom::bytes(*b"still here")).unwrap();
    assert!(other.get_atom(stored.id).unwrap().is_some());
    assert!(one.status().network.unwrap().stats.dropped_total() > 100);
    assert_eq!(one.peers().unwrap().len(), 1);
}
