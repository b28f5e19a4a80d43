use super::*;
use crate::crypto::SharedKey;
use crate::engine::DropReason;
use crate::engine::limits::{
    MAX_PEERS, MAX_PEERS_PER_NETWORK, SPARE_PEER_SILENCE, UNVALIDATED_GRACE, UNVALIDATED_WITH_GRACE,
};
use crate::engine::replay::Freshness;
use crate::engine::seeds::Seeds;
use crate::wire::network_group::NetworkGroup;
use core::time::Duration;

fn key(n: u32) -> PublicKey {
    let mut bytes = [0x55; 32];
    bytes[..4].copy_from_slice(&n.to_be_bytes());
    PublicKey::new(bytes)
}

fn no_seeds() -> Seeds {
    Seeds::new(Instant::ZERO, Duration::ZERO)
}

fn add(peers: &mut Peers, n: u32, ip: [u8; 4]) -> Result<(), DropReason> {
    let port = if ip == [127, 0, 0, 1] { 1 + n } else { 1 };
    let address = SocketAddr::from((ip, u16::try_from(port).unwrap()));
    let now = Instant::from_micros(n.into());
    if let Some(victim) = peers.make_room(now, &address, &no_seeds())? {
        peers.remove(&victim);
    }
    peers.insert(
        key(n),
        Peer::new(now, SharedKey::from_bytes([0; 32]), address),
    );
    Ok(())
}

#[test]
fn full_table_evicts_unvalidated_peers_and_keeps_validated_ones() {
    let mut peers = Peers::new(PublicKey::new([0; 32]));
    let most = u32::try_from(MAX_PEERS).unwrap();
    for n in 0..most {
        assert_eq!(add(&mut peers, n, [127, 0, 0, 1]), Ok(()));
    }
    peers.set_validated(&key(0), SocketAddr::from(([127, 0, 0, 1], 1)));
    assert_eq!(add(&mut peers, most, [127, 0, 0, 1]), Ok(()));
    assert!(peers.get(&key(0)).is_some() && peers.get(&key(1)).is_none());
    for n in 1..=most {
        peers.set_validated(
            &key(n),
            SocketAddr::from((Ipv4Addr::from_bits(0x0a00_0000 + n), 1)),
        );
    }
    assert_eq!((peers.len(), peers.registered()), (MAX_PEERS, MAX_PEERS));
    assert_eq!(
        add(&mut peers, most + 1, [8, 8, 8, 8]),
        Err(DropReason::TooManyPeers)
    );
    // Then silent peers outside the routing table are evicted, the longest silent first.
    let address = SocketAddr::from(([8, 8, 8, 8], 8));
    let is_spare = |n: &u32| peers.get(&key(*n)).is_some() && peers.table.get(&key(*n)).is_none();
    let spare: Vec<u32> = (0..=most).filter(is_spare).collect();
    assert!(spare.len() > MAX_PEERS / 2 && !peers.table.is_empty());
    let soon = Instant::ZERO + SPARE_PEER_SILENCE;
    let pinned = peers.get(&key(spare[0])).unwrap().address;
    let mut seeds = no_seeds();
    seeds.set(soon, &[pinned], &[]);
    assert!(seeds.pin(&key(spare[0]), &pinned));
    let mut room = |now, seeds: &Seeds| peers.make_room(now, &address, seeds);
    let later = soon + Duration::from_secs(1);
    assert_eq!(room(later, &no_seeds()), Ok(Some(key(spare[0]))));
    assert_eq!(room(later, &seeds), Ok(Some(key(spare[1]))));
    assert_eq!(
        room(Instant::from_micros(9_999), &no_seeds()),
        Err(DropReason::TooManyPeers)
    );
    // A peer that was heard from since goes behind those after it.
    peers.get_mut(&key(spare[0])).unwrap().last_heard = later;
    assert_eq!(
        peers.make_room(later, &address, &no_seeds()),
        Ok(Some(key(spare[1])))
    );
}

#[test]
fn newcomers_have_a_grace_period_before_eviction() {
    let mut peers = Peers::new(PublicKey::new([0; 32]));
    let places = u32::try_from(MAX_PEERS).unwrap();
    let address = |n: u32| SocketAddr::from((Ipv4Addr::from_bits(0x0a00_0000 + n), 1));
    for n in 0..places {
        add(&mut peers, n, [127, 0, 0, 1]).unwrap();
        peers.set_validated(&key(n), address(n));
    }
    let mut come = |n: u32, now: Instant| {
        let gone = peers
            .make_room(now, &address(n), &no_seeds())
            .unwrap()
            .unwrap();
        peers.remove(&gone);
        let peer = Peer::new(now, SharedKey::from_bytes([0; 32]), address(n));
        peers.insert(key(n), peer);
        gone
    };
    let now = Instant::ZERO + 2 * SPARE_PEER_SILENCE;
    assert!(come(places, now) < key(places), "a spare peer");
    let now = now + UNVALIDATED_GRACE;
    assert_eq!(
        come(places + 1, now),
        key(places),
        "its grace period is over"
    );
    let most = places + 1 + u32::try_from(UNVALIDATED_WITH_GRACE).unwrap();
    for n in places + 2..=most {
        assert!(
            come(n, now) < key(places),
            "a spare peer is evicted for {n}"
        );
    }
    assert_eq!(
        come(most + 1, now),
        key(places + 1),
        "there are too many unvalidated peers"
    );
    assert_eq!(come(most + 2, now), key(places + 2));
}

#[test]
fn peers_per_network_are_bounded() {
    let mut peers = Peers::new(PublicKey::new([0; 32]));
    for n in 0..200 {
        assert_eq!(add(&mut peers, n, [8, 8, 8, 8]), Ok(()));
    }
    assert_eq!(peers.len(), MAX_PEERS_PER_NETWORK);
    assert_eq!(add(&mut peers, 200, [8, 8, 9, 8]), Ok(()));
    for n in 0..=200 {
        peers.remove(&key(n));
    }
    assert!(peers.by_origin.is_empty() && peers.by_address.is_empty());
    assert!(peers.claims.is_empty() && peers.unvalidated.is_empty() && peers.spares.is_empty());
    assert_eq!(peers.registered(), 0);
}

#[test]
fn validated_peer_takes_over_the_address() {
    let mut peers = Peers::new(PublicKey::new([0; 32]));
    let (first, second) = (
        SocketAddr::from(([1, 1, 1, 1], 1)),
        SocketAddr::from(([2, 2, 2, 2], 2)),
    );
    add(&mut peers, 1, [1, 1, 1, 1]).unwrap();
    add(&mut peers, 2, [1, 1, 1, 1]).unwrap();
    assert!(peers.set_validated(&key(1), first).is_new);
    assert!(!peers.set_validated(&key(1), first).is_new);
    assert_eq!(peers.set_validated(&key(2), first).replaced, [key(1)]);
    assert!(peers.table.get(&key(1)).is_none() && peers.table.get(&key(2)).is_some());
    peers.remove(&key(1));
    let moved = peers.set_validated(&key(2), second);
    assert_eq!(
        (moved.moved_from, moved.replaced, moved.is_new),
        (Some(first), Vec::new(), false)
    );
    assert_eq!(peers.by_address.len(), 1);
}

#[test]
fn silent_claimant_is_removed_when_the_owner_of_the_address_is_validated() {
    let mut peers = Peers::new(PublicKey::new([0; 32]));
    let address = SocketAddr::from(([1, 1, 1, 1], 1));
    for n in 1..=3 {
        add(&mut peers, n, [1, 1, 1, 1]).unwrap();
    }
    add(&mut peers, 4, [2, 2, 2, 2]).unwrap();
    assert_eq!(peers.set_validated(&key(2), address).replaced, [key(1)]);
}

#[test]
fn group_with_most_peers_loses_a_spare_to_a_newcomer_of_another() {
    let mut peers = Peers::new(PublicKey::new([0; 32]));
    let most = u32::try_from(MAX_PEERS).unwrap();
    let now = Instant::from_secs(100);
    let silent_since = Instant::from_secs(89);
    assert!(now.since(silent_since) > SPARE_PEER_SILENCE);
    // 64 peers of each /24 of a /18, one of which gives its place to a peer elsewhere.
    let honest = (key(0), [7, 7, 7, 7]);
    for n in 0..most {
        let ip = if n == 0 {
            honest.1
        } else {
            Ipv4Addr::from_bits(0x0909_0000 + ((n / 64) << 8) + n % 64).octets()
        };
        add(&mut peers, n, ip).unwrap();
        peers.set_validated(&key(n), SocketAddr::from((ip, 1)));
        peers.get_mut(&key(n)).unwrap().last_heard = now;
    }
    peers.get_mut(&honest.0).unwrap().last_heard = silent_since;
    peers.leave_table(&honest.0);
    peers.update_queue(&honest.0);
    assert_eq!((peers.len(), peers.validated()), (MAX_PEERS, MAX_PEERS));
    let newcomer = SocketAddr::from(([8, 8, 8, 8], 1));
    let mut seeds = no_seeds();
    let first: Vec<SocketAddr> = (0..64)
        .map(|n| SocketAddr::from(([9, 9, 0, n], 1)))
        .collect();
    seeds.set(now, &[], &first);
    let mut lost = BTreeSet::new();
    for n in most..most + 100 {
        let victim = peers.make_room(now, &newcomer, &seeds).unwrap().unwrap();
        assert!(peers.table.get(&victim).is_none());
        let loser = peers.get(&victim).unwrap();
        assert_eq!(loser.group(), NetworkGroup::of([9, 9, 0, 0].into()));
        assert!(!seeds.contains(&loser.address));
        peers.remove(&victim);
        lost.insert(victim);
        let ip = [20 + u8::try_from(n - most).unwrap(), 1, 1, 1];
        add(&mut peers, n, ip).unwrap();
        peers.set_validated(&key(n), SocketAddr::from((ip, 1)));
    }
    assert_eq!(lost.len(), 100);
    // The group itself gets no place of another.
    let more = SocketAddr::from(([9, 9, 99, 1], 1));
    let room = peers.make_room(now, &more, &no_seeds());
    assert_eq!(room, Err(DropReason::TooManyPeers));
    assert!(peers.get(&honest.0).is_some());
    for n in 0..most + 100 {
        peers.remove(&key(n));
    }
    assert!(peers.groups.is_empty());
}

#[test]
fn remembered_statements_stay_with_the_address_that_made_them() {
    let mut peers = Peers::new(PublicKey::new([0; 32]));
    add(&mut peers, 1, [1, 1, 1, 1]).unwrap();
    peers.register(&key(1));
    let heard_at = Instant::from_micros(1);
    let note = |peers: &mut Peers| {
        let peer = peers.get_mut(&key(1)).unwrap();
        peer.replay.note(&[7; 12], true)
    };
    assert_eq!(note(&mut peers), Freshness::Unconfirmed);
    peers.remove(&key(1));
    // Someone replays a statement from elsewhere.
    for n in 2..4 {
        let address = SocketAddr::from(([n, 2, 2, 2], 1));
        let shared = SharedKey::from_bytes([0; 32]);
        peers.insert(key(1), Peer::new(Instant::from_secs(9), shared, address));
        assert_eq!(note(&mut peers), Freshness::Replayed);
        assert_eq!(peers.remove(&key(1)), Some(false));
    }
    let (at, share, _) = peers.departed.take(&key(1)).unwrap();
    let group = NetworkGroup::of([1, 1, 1, 1].into());
    assert_eq!((at, share.group()), (heard_at, group));
}
