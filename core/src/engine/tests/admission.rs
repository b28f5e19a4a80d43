//! Tests of admission: limits per network, and the scope of addresses that peers name.

use super::net::key;
use super::scripted::{Scripted, Stage};
use super::unknown_peer;
use crate::atom::AtomId;
use crate::engine::{DropReason, FetchRequest, contact, limits};
use crate::wire::message::Topic;
use crate::wire::object::{Action, PayloadType, Request};
use crate::wire::routing_table::Network;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn crowded(n: u32) -> SocketAddr {
    let [.., high, low] = n.to_be_bytes();
    SocketAddr::from(([9, 9, 9, low], 1_000 + u16::from(high)))
}

fn in_crowded_network(stage: &Stage) -> usize {
    let network = Network::of(&crowded(1).ip());
    let there = stage.engine.peers.iter();
    there
        .filter(|(_, peer)| Network::of(&peer.address.ip()) == network)
        .count()
}

/// The first packet comes from a spoofed source, and the address is validated elsewhere.
#[test]
fn peers_count_at_their_validated_address_and_not_at_their_source() {
    for is_spoofed in [false, true] {
        let mut stage = Stage::new();
        let me = stage.me();
        for n in 0..200 {
            let mut peer = Scripted::new(n, crowded(n));
            if is_spoofed {
                let spoofed = Ipv4Addr::from_bits(0x3000_0000 + (n << 8));
                let ping = peer.ping(&me, None);
                stage.deliver_from(SocketAddr::from((spoofed, 9)), &ping);
            }
            stage.join(peer);
            stage.run(SECOND);
        }
        let there = in_crowded_network(&stage);
        assert!(there <= limits::MAX_PEERS_PER_NETWORK, "{there}");
        assert!(there > limits::MAX_PEERS_PER_NETWORK / 2, "{there}");
        // Peers of another network are not affected.
        let other = stage.join(Scripted::new(999, SocketAddr::from(([9, 9, 10, 1], 9))));
        assert!(stage.knows(other));
    }
}

#[test]
fn validated_peers_move_into_a_full_network_only_if_there_is_room() {
    let mut stage = Stage::new();
    let me = stage.me();
    let mut movers = [0; 70];
    for (n, mover) in (0..).zip(&mut movers) {
        let home = Ipv4Addr::from_bits(0x3000_0000 + (n << 8));
        *mover = stage.join(Scripted::new(n, SocketAddr::from((home, 9))));
        assert!(stage.knows(*mover));
    }
    for (n, mover) in (0..).zip(movers) {
        stage.peers[mover].address = crowded(n);
        let ping = stage.peers[mover].ping(&me, None);
        stage.deliver(mover, &ping);
    }
    assert_eq!(in_crowded_network(&stage), limits::MAX_PEERS_PER_NETWORK);
    // A refused peer stays where it was validated, and is not probed over and over.
    assert_eq!(stage.engine.peer_count(), movers.len());
    let refused = movers.len() - limits::MAX_PEERS_PER_NETWORK;
    let dropped = stage.engine.stats().dropped(DropReason::TooManyPeers);
    assert_eq!(dropped, refused.try_into().unwrap());
    let before = stage.engine.stats().sent;
    for (n, mover) in (0..).zip(movers).skip(limits::MAX_PEERS_PER_NETWORK) {
        for _ in 0..10 {
            let ping = stage.peers[mover].ping(&me, None);
            stage.deliver(mover, &ping);
        }
        assert_eq!(stage.peers[mover].address, crowded(n));
    }
    assert_eq!(stage.engine.stats().sent, before);
}

#[test]
fn peer_at_a_private_address_cannot_refer_us_to_loopback() {
    for (from, named, is_contacted) in [
        ("172.17.0.1:40000", "127.0.0.1:53", false),
        ("100.64.0.1:40000", "127.0.0.1:53", false),
        ("8.8.8.8:40000", "100.64.0.1:53", false),
        ("172.17.0.1:40000", "8.8.8.8:53", true),
        ("127.0.0.1:40000", "127.0.0.1:53", true),
    ] {
        let mut stage = Stage::new();
        let me = stage.me();
        let peer = stage.join(Scripted::new(1, from.parse().unwrap()));
        assert!(stage.knows(peer), "{from}");
        let named: SocketAddr = named.parse().unwrap();
        let id = AtomId::new([7; 32]);
        let mut content = Vec::new();
        Request {
            action: Action::Put(PayloadType::ATOM),
            atom_id: id,
            data: &contact::encode(key(9), named),
        }
        .write(&mut content);
        let put = stage.peers[peer].sealed(&me, Topic::ObjectRequest, &content);
        stage.deliver(peer, &put);
        stage
            .engine
            .fetch(stage.now, FetchRequest::new(id, PayloadType::ATOM));
        stage.run(SECOND);
        let is_sent = stage.stray.iter().any(|(to, _)| *to == named);
        assert_eq!(is_sent, is_contacted, "{from} {named}");
    }
}

/// A network has 64 places, whose peers may be of one owner, or may not exist.
#[test]
fn peers_of_one_network_do_not_stop_the_search_for_others() {
    for is_validated in [true, false] {
        let mut stage = Stage::new();
        let me = stage.me();
        let seed = SocketAddr::from(([6, 6, 6, 6], 6));
        let now = stage.now;
        stage.engine.set_seeds(now, &[seed], &[]);
        let honest = [1, 2, 3].map(|n: u8| {
            let address = SocketAddr::from(([8, n, 8, 8], 4_000));
            stage.join(Scripted::new(n.into(), address))
        });
        let most = u32::try_from(limits::MAX_PEERS_PER_NETWORK).unwrap();
        let crowd: Vec<usize> = (100..100 + most)
            .map(|n| {
                let address = if is_validated {
                    crowded(n)
                } else {
                    let ip = Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(n));
                    SocketAddr::from((ip, 9))
                };
                let peer = stage.join(Scripted::new(n, address));
                assert_eq!(stage.knows(peer), is_validated);
                peer
            })
            .collect();
        let all = stage.engine.peer_count();
        assert_eq!(all, honest.len() + crowd.len());
        for round in 0..4 {
            stage.stray.clear();
            for n in honest {
                stage.peers[n].got.clear();
            }
            for n in &crowd {
                let ping = stage.peers[*n].ping(&me, None);
                stage.deliver(*n, &ping);
                let get = [&[0][..], AtomId::new([round; 32]).as_bytes(), &[1]].concat();
                let get = stage.peers[*n].sealed(&me, Topic::ObjectRequest, &get);
                stage.deliver(*n, &get);
            }
            stage.run(300 * SECOND);
            let contacts = stage.stray.iter().filter(|(to, _)| *to == seed).count();
            assert!((1..=11).contains(&contacts), "{contacts} contacts");
            for n in honest {
                let mut got = stage.peers[n].got.iter();
                assert!(got.any(|(topic, _)| *topic == Topic::RouteRequest), "{n}");
            }
        }
        assert_eq!(stage.engine.peer_count(), all);
    }
}

#[test]
fn seed_has_a_place_in_a_full_network() {
    let seed = SocketAddr::from(([9, 9, 9, 250], 7));
    for moves in [false, true] {
        let mut stage = Stage::new();
        let me = stage.me();
        let now = stage.now;
        stage.engine.set_seeds(now, &[], &[seed]);
        let most = u32::try_from(limits::MAX_PEERS_PER_NETWORK).unwrap();
        let crowd: Vec<usize> = (0..most)
            .map(|n| stage.join(Scripted::new(n, crowded(n))))
            .collect();
        assert!(crowd.iter().all(|n| stage.knows(*n)));
        let came = if moves {
            let home = SocketAddr::from(([8, 8, 8, 8], 8));
            let came = stage.join(Scripted::new(900, home));
            assert!(stage.knows(came));
            stage.peers[came].address = seed;
            let ping = stage.peers[came].ping(&me, None);
            stage.deliver(came, &ping);
            came
        } else {
            stage.join(Scripted::new(900, seed))
        };
        let at_seed = |stage: &Stage| {
            let peer = stage.engine.peer(&stage.peers[came].key());
            peer.is_some_and(|peer| peer.is_validated && peer.address == seed)
        };
        assert!(at_seed(&stage), "moves {moves}");
        assert_eq!(in_crowded_network(&stage), limits::MAX_PEERS_PER_NETWORK);
        let is_in_table = stage.engine.peers.table.get(&stage.peers[came].key());
        assert!(is_in_table.is_none(), "it is a spare");
        // The others send without a pause, and more of them come.
        for n in 0..6 {
            stage.run(10 * SECOND);
            for n in &crowd {
                let ping = stage.peers[*n].ping(&me, None);
                stage.deliver(*n, &ping);
            }
            stage.join(Scripted::new(200 + n, crowded(200 + n)));
            assert!(at_seed(&stage), "moves {moves}, displaced");
        }
    }
}

/// A bridge in front of the internet: one private address for all peers.
#[test]
fn peers_behind_one_private_address_have_separate_budgets() {
    let bridge = |port: u16| SocketAddr::from(([172, 17, 0, 1], port));
    let mut stage = Stage::new();
    let me = stage.me();
    let burst = limits::AGREEMENTS_BURST_PER_NETWORK;
    for n in 0..2 * burst {
        let secret = unknown_peer::many(5_000 + n);
        let ping = unknown_peer::ping(1);
        let packet = unknown_peer::sealed(&secret, &me, 666, [1; 12], Topic::Ping, &ping);
        stage.deliver_from(bridge(666), &packet);
    }
    assert_eq!(stage.engine.stats().agreements, u64::from(burst));
    assert!(stage.engine.peers.len() <= limits::MAX_PEERS_PER_NETWORK);
    let honest = stage.join(Scripted::new(1, bridge(777)));
    assert!(stage.knows(honest));
}

#[test]
fn private_address_that_most_peers_share_is_reported() {
    for (ip, is_reported) in [
        ([172, 17, 0, 1], true),
        ([100, 64, 0, 1], true),
        ([127, 0, 0, 1], false),
        ([8, 8, 8, 8], false),
    ] {
        let mut stage = Stage::new();
        for n in 0..7u16 {
            stage.join(Scripted::new(n.into(), SocketAddr::from((ip, 4_000 + n))));
        }
        assert_eq!(stage.engine.shared_private_address(), None, "too few");
        stage.join(Scripted::new(7, SocketAddr::from((ip, 4_007))));
        let reported = stage.engine.shared_private_address();
        assert_eq!(reported, is_reported.then(|| ip.into()));
        for n in 8..16u8 {
            let other = SocketAddr::from(([10, 0, 0, n], 4_000));
            stage.join(Scripted::new(n.into(), other));
        }
        assert_eq!(stage.engine.shared_private_address(), None, "not most");
    }
}
