use super::*;
use alloc::collections::BTreeSet;
use alloc::format;
use proptest::collection::vec as list_of;
use proptest::prelude::*;

fn local() -> SocketAddr {
    "127.0.0.1:1".parse().unwrap()
}

fn table(own: [u8; 32], keys: &[[u8; 32]]) -> PeerTable<()> {
    let mut table = PeerTable::new(PublicKey::new(own));
    for key in keys {
        let _ = table.insert(PublicKey::new(*key), local(), ());
    }
    table
}

fn key(first: u8, last: u8) -> PublicKey {
    let mut key = [0; 32];
    key[0] = first;
    key[31] = last;
    PublicKey::new(key)
}

#[test]
fn full_bucket_rejects_newcomers_until_a_peer_leaves() {
    let mut table = PeerTable::new(PublicKey::new([0; 32]));
    for last in 0..16 {
        assert!(table.insert(key(0x80, last), local(), last).is_ok());
    }
    let refused = table.insert(key(0x80, 99), local(), 99);
    assert_eq!(refused.err(), Some(Refusal::BucketFull));
    // A known peer stays unchanged.
    assert!(table.insert(key(0x80, 3), local(), 77).unwrap().is_none());
    assert_eq!(table.get(&key(0x80, 3)).map(|entry| entry.value), Some(3));
    assert_eq!(
        table.remove(&key(0x80, 3)).map(|entry| entry.value),
        Some(3)
    );
    assert!(table.remove(&key(0x80, 3)).is_none());
    assert!(table.insert(key(0x80, 99), local(), 99).is_ok());
    let order: Vec<u8> = table.iter().map(|entry| entry.value).collect();
    assert_eq!(
        order,
        [0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 99]
    );
    assert_eq!(table.len(), 16);
}

#[test]
fn own_key_is_rejected() {
    let mut table = PeerTable::new(PublicKey::new([5; 32]));
    let own = PublicKey::new([5; 32]);
    assert_eq!(table.insert(own, local(), ()).err(), Some(Refusal::OwnKey));
    assert!(table.get(&own).is_none() && table.get_mut(&own).is_none());
    assert!(table.remove(&own).is_none() && table.is_empty());
}

#[test]
fn network_is_limited_to_two_peers_per_bucket_and_ten_per_table() {
    let mut table = PeerTable::new(PublicKey::new([0; 32]));
    let at = |host: u8| format!("198.51.100.{host}:1").parse().unwrap();
    for bucket in 0..5 {
        for last in 0..2 {
            assert!(
                table
                    .insert(key(0x80 >> bucket, last), at(last), ())
                    .is_ok()
            );
        }
        let third = table.insert(key(0x80 >> bucket, 9), at(9), ());
        assert_eq!(third.err(), Some(Refusal::NetworkFullInBucket));
    }
    let eleventh = table.insert(key(1, 0), at(3), ());
    assert_eq!(eleventh.err(), Some(Refusal::NetworkFullInTable));
    // The same IPv4 network as an IPv4-mapped IPv6 address.
    let mapped = "[::ffff:198.51.100.7]:1".parse().unwrap();
    let eleventh = table.insert(key(1, 0), mapped, ());
    assert_eq!(eleventh.err(), Some(Refusal::NetworkFullInTable));
    assert!(table.remove(&key(0x80, 0)).is_some());
    assert!(table.insert(key(1, 0), mapped, ()).is_ok());
}

#[test]
fn network_group_is_limited_to_three_peers_per_bucket_and_twenty_per_table() {
    let ipv4 = |net: u8| format!("203.7.{net}.1:1").parse().unwrap();
    let ipv6 = |net: u8| format!("[2001:db8:{net:x}::1]:1").parse().unwrap();
    let families: [&dyn Fn(u8) -> SocketAddr; 2] = [&ipv4, &ipv6];
    for at in families {
        let mut table = PeerTable::new(PublicKey::new([0; 32]));
        let mut net = 0;
        for bucket in 0..6 {
            for last in 0..3 {
                net += 1;
                assert!(table.insert(key(0x80 >> bucket, last), at(net), ()).is_ok());
            }
            let fourth = table.insert(key(0x80 >> bucket, 9), at(200), ());
            assert_eq!(fourth.err(), Some(Refusal::GroupFullInBucket));
        }
        assert!(table.insert(key(2, 0), at(100), ()).is_ok());
        assert!(table.insert(key(2, 1), at(101), ()).is_ok());
        let next = table.insert(key(1, 0), at(102), ());
        assert_eq!(next.err(), Some(Refusal::GroupFullInTable));
        let other = "198.51.100.1:1".parse().unwrap();
        assert!(table.insert(key(1, 0), other, ()).is_ok());
        let moved = table.set_address(&key(1, 0), at(102));
        assert_eq!(moved, Err(Refusal::GroupFullInTable));
    }
}

#[test]
fn new_group_replaces_the_youngest_peer_of_a_group_with_two_peers() {
    let mut table = PeerTable::new(PublicKey::new([0; 32]));
    let at = |group: u8, net: u8| -> SocketAddr { format!("{group}.1.{net}.1:1").parse().unwrap() };
    // Two peers of each of the groups 11 to 18.
    for n in 0..16 {
        let address = at(11 + n % 8, n);
        assert!(table.insert(key(0x80, n), address, n).unwrap().is_none());
    }
    let third = table.insert(key(0x80, 100), at(11, 50), 100);
    assert_eq!(
        third.err(),
        Some(Refusal::BucketFull),
        "a group that is there"
    );
    for n in 0..8u8 {
        let replaced = table.insert(key(0x80, 32 + n), at(32 + n, 1), 32 + n);
        let replaced = replaced.unwrap().map(|entry| entry.value);
        assert_eq!(replaced, Some(15 - n), "the youngest");
    }
    // Every group has one peer, and the eight oldest peers have stayed.
    let last = table.insert(key(0x80, 101), at(99, 1), 101);
    assert_eq!(last.err(), Some(Refusal::BucketFull));
    let stayed = table.iter().filter(|entry| entry.value < 8).count();
    assert_eq!((stayed, table.len()), (8, 16));
    // A full bucket without public addresses does not take any newcomer.
    let mut table = PeerTable::new(PublicKey::new([0; 32]));
    for n in 0..16 {
        table.insert(key(0x80, n), local(), ()).unwrap();
    }
    let refused = table.insert(key(0x80, 16), at(11, 1), ());
    assert_eq!(refused.err(), Some(Refusal::BucketFull));
}

/// Addresses that fill a table are cheap; the measure is the number of honest peers in the
/// table.
#[test]
fn flood_from_ten_networks_leaves_room_for_peers_of_many() {
    let fresh = |n: u32| PublicKey::new(crate::crypto::hash(&n.to_be_bytes()));
    for (groups, addresses) in [(1u32, 1_000u32), (10, 200)] {
        let mut table = PeerTable::new(PublicKey::new([0; 32]));
        for n in 0..50_000 {
            let (group, net) = (11 + n % groups, n / groups % (addresses / groups));
            let [.., high, low] = net.to_be_bytes();
            let octets = [group.to_be_bytes()[3], 1, low, 1 + high];
            let _ = table.insert(fresh(n), SocketAddr::from((octets, 1)), false);
        }
        for n in 0..3_000 {
            let address = core::net::Ipv4Addr::from_bits(0x2000_0000 + (n << 16));
            let _ = table.insert(fresh(1_000_000 + n), SocketAddr::from((address, 1)), true);
        }
        for (index, bucket) in table.buckets().filter(|(index, _)| *index < 7) {
            let honest = bucket.iter().filter(|entry| entry.value).count();
            let least = BUCKET_PEERS - BUCKET_PEERS.min(10);
            assert!(
                honest >= least,
                "{groups} groups: {honest} in bucket {index}"
            );
            assert!(groups > 1 || honest >= BUCKET_PEERS - BUCKET_PEERS_PER_GROUP);
        }
    }
}

#[test]
fn changed_address_counts_for_its_new_network() {
    let mut table = PeerTable::new(PublicKey::new([0; 32]));
    let at = |text: &str| text.parse::<SocketAddr>().unwrap();
    for last in 0..3 {
        table.insert(key(0x80, last), local(), ()).unwrap();
    }
    let crowded = at("203.0.113.5:9");
    assert_eq!(table.set_address(&key(0x80, 0), crowded), Ok(()));
    assert_eq!(table.set_address(&key(0x80, 1), crowded), Ok(()));
    assert_eq!(
        table.set_address(&key(0x80, 2), crowded),
        Err(Refusal::NetworkFullInBucket)
    );
    assert_eq!(table.get(&key(0x80, 2)).map(Entry::address), Some(local()));
    // A move within one network does not count against its limit.
    let neighbour = at("203.0.113.6:9");
    assert_eq!(table.set_address(&key(0x80, 0), neighbour), Ok(()));
    assert_eq!(table.set_address(&key(0x80, 0), local()), Ok(()));
    assert_eq!(table.set_address(&key(0x80, 2), crowded), Ok(()));
    assert_eq!(
        table.set_address(&key(1, 1), local()),
        Err(Refusal::Unknown)
    );
}

#[test]
fn private_addresses_are_exempt_and_ipv6_counts_by_site() {
    for exempt in [
        "127.9.9.9",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.1.1",
        "::1",
        "fd00::1",
        "fe80::1",
        "::ffff:10.0.0.1",
        "100.64.0.1",
    ] {
        assert_eq!(Network::of(&exempt.parse().unwrap()), None, "{exempt}");
    }
    let network = |text: &str| Network::of(&text.parse().unwrap()).unwrap();
    assert_eq!(network("8.8.8.8"), Network::V4([8, 8, 8]));
    assert_eq!(network("2001:db8:1:2::3"), network("2001:db8:1:ffff::"));
    assert_ne!(network("2001:db8:1::"), network("2001:db8:2::"));
}

/// Generates keys that are close to each other, so that buckets fill and share long prefixes.
fn near_keys() -> impl Strategy<Value = [u8; 32]> {
    (any::<[u8; 2]>(), 0..32usize, 0..4u8).prop_map(|(bytes, position, mask)| {
        let mut key = [0; 32];
        key[position] = bytes[0] & (0xff >> (2 * mask));
        key[31] ^= bytes[1] & 7;
        key
    })
}

fn plain_distance(a: &[u8; 32], b: &[u8; 32]) -> Vec<u8> {
    a.iter().zip(b).map(|(a, b)| a ^ b).collect()
}

proptest! {
    #[test]
    fn distance_is_xor(a in any::<[u8; 32]>(), b in any::<[u8; 32]>(), c in any::<[u8; 32]>()) {
        prop_assert_eq!(
            Distance::between(&a, &b).cmp(&Distance::between(&a, &c)),
            plain_distance(&a, &b).cmp(&plain_distance(&a, &c))
        );
        let bits = plain_distance(&a, &b);
        let bit = |index: usize| bits[index / 8] << (index % 8) & 0x80 != 0;
        let distance = Distance::between(&a, &b);
        let shared = (0..256).find(|index| bit(*index)).unwrap_or(256);
        prop_assert_eq!(distance.shared_bits() as usize, shared);
    }

    #[test]
    fn queries_agree_with_a_full_scan(
        own in near_keys(), keys in list_of(near_keys(), 0..120), target in near_keys(),
        odd: bool,
    ) {
        let table = table(own, &keys);
        let mut all: Vec<[u8; 32]> = table.iter().map(|entry| *entry.key.as_bytes()).collect();
        prop_assert_eq!(all.len(), table.len());
        prop_assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());

        let keep = |key: &[u8; 32]| !odd || key[31] & 1 == 1;
        let mut each: Vec<[u8; 32]> = Vec::new();
        for (index, bucket) in table.buckets() {
            prop_assert!(bucket.len() <= BUCKET_PEERS);
            let keys: Vec<[u8; 32]> = bucket.iter().map(|entry| *entry.key.as_bytes()).collect();
            for key in &keys {
                let shared = Distance::between(&own, key).shared_bits();
                prop_assert_eq!(shared as usize, index);
            }
            let kept = keys.into_iter().filter(keep);
            each.extend(kept.min_by_key(|key| plain_distance(&target, key)));
        }
        let asker = PublicKey::new(target);
        let listed: Vec<[u8; 32]> = table
            .nearest_of_each_bucket(&asker, |entry| keep(entry.key.as_bytes()))
            .map(|entry| *entry.key.as_bytes())
            .collect();
        prop_assert_eq!(listed, each);

        all.sort_by_key(|key| plain_distance(&target, key));
        let closest = table.closest(&target).map(|entry| *entry.key.as_bytes());
        prop_assert_eq!(closest, all.first().copied());
        all.retain(keep);
        all.truncate(5);
        let nearest: Vec<[u8; 32]> = table
            .closest_where::<5>(&target, |entry| keep(entry.key.as_bytes()))
            .iter()
            .map(|entry| *entry.key.as_bytes())
            .collect();
        prop_assert_eq!(nearest, all);
    }

    #[test]
    fn network_counts_follow_the_entries(
        steps in list_of((0..3u8, 0..8u8, 0..6u8, 0..3u8), 0..200),
    ) {
        let mut table = PeerTable::new(PublicKey::new([0; 32]));
        for (action, bucket, last, network) in steps {
            let key = key(0x80 >> bucket, last);
            let address = format!("198.{}.{network}.{last}:1", 51 + last % 2).parse().unwrap();
            match action {
                0 => drop(table.insert(key, address, ())),
                1 => drop(table.remove(&key)),
                _ => drop(table.set_address(&key, address)),
            }
            let mut networks = BTreeMap::new();
            for entry in table.iter() {
                count_in(&mut networks, Network::of(&entry.address.ip()));
            }
            prop_assert_eq!(&networks, &table.networks);
            prop_assert!(networks.values().all(|count| *count <= TABLE_PEERS_PER_NETWORK));
            let mut groups = BTreeMap::new();
            table.iter().for_each(|entry| count_in(&mut groups, public_group(&entry.address)));
            prop_assert_eq!(&groups, &table.groups);
            prop_assert!(groups.values().all(|count| *count <= TABLE_PEERS_PER_GROUP));
            for (_, entries) in table.buckets() {
                let mut networks = BTreeMap::new();
                for entry in entries {
                    count_in(&mut networks, Network::of(&entry.address.ip()));
                }
                prop_assert!(networks.values().all(|count| *count <= BUCKET_PEERS_PER_NETWORK));
            }
            prop_assert_eq!(table.iter().count(), table.len());
        }
    }
}
