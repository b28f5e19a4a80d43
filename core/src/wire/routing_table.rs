//! Kademlia routing table.
//!
//! The bucket of a peer is the number of leading bits that its key shares with ours. A bucket holds
//! sixteen peers, a newcomer to a full bucket is dropped, and entries are not reordered (reference:
//! `communication/models/route.py`). Distance is XOR.
//!
//! Unlike the reference, the table limits the peers of each network. A network is an IPv4 /24 or an
//! IPv6 /48 (the prefix of one site; with /64 one site would count as 65,536 networks): a bucket
//! takes two peers of it and the table ten, as in discv5. The owner of a large network has many of
//! these, so network groups ([`NetworkGroup`]: /16 and /32) are limited too: three peers in a
//! bucket and twenty in the table. Addresses that are not public are exempt.
//!
//! A full bucket takes a newcomer of a group that it does not have if it has several peers of
//! another group: the youngest such peer is evicted. The oldest peer of each group stays, so keys
//! and addresses of few groups neither keep new groups out nor evict established peers.
//!
//! Invariants:
//! - The table does not contain our own key, or any key twice: at most 256 × 16 peers.
//! - Each entry is in the bucket of its key, in the order of insertion.
//! - No network and no group exceeds its limits, unless it is exempt.

use super::network_group::{NetworkGroup, Scope, effective_address};
use crate::crypto::{KEY_BYTES, PublicKey};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, SocketAddr};

/// Number of buckets: one for each bit of a key.
pub const BUCKETS: usize = KEY_BYTES * 8;
/// Maximum number of peers in a bucket.
pub const BUCKET_PEERS: usize = 16;
/// Maximum number of peers in the table.
pub const MAX_PEERS: usize = BUCKETS * BUCKET_PEERS;
/// Maximum number of peers of one network in a bucket.
pub const BUCKET_PEERS_PER_NETWORK: usize = 2;
/// Maximum number of peers of one network in the table.
pub const TABLE_PEERS_PER_NETWORK: usize = 10;
/// Maximum number of peers of one network group in a bucket.
pub const BUCKET_PEERS_PER_GROUP: usize = 3;
/// Maximum number of peers of one network group in the table.
pub const TABLE_PEERS_PER_GROUP: usize = 20;

/// XOR distance between two keys, or between a key and an id, ordered as a number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Distance([u128; 2]);

impl Distance {
    /// Returns the distance between `a` and `b`.
    #[must_use]
    pub fn between(a: &[u8; KEY_BYTES], b: &[u8; KEY_BYTES]) -> Self {
        let [a_high, a_low] = halves(a);
        let [b_high, b_low] = halves(b);
        Self([a_high ^ b_high, a_low ^ b_low])
    }

    /// Returns the number of leading bits that both share: the bucket, or 256 for equal keys.
    #[must_use]
    pub const fn shared_bits(&self) -> u32 {
        let [high, low] = self.0;
        if high == 0 {
            u128::BITS + low.leading_zeros()
        } else {
            high.leading_zeros()
        }
    }
}

fn halves(key: &[u8; KEY_BYTES]) -> [u128; 2] {
    let mut halves = [0; 2];
    for (half, bytes) in halves.iter_mut().zip(key.as_chunks::<16>().0) {
        *half = u128::from_be_bytes(*bytes);
    }
    halves
}

/// Network whose limits apply to an address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Network {
    /// An IPv4 /24.
    V4([u8; 3]),
    /// An IPv6 /48.
    V6([u8; 6]),
}

impl Network {
    /// Returns the network of `address`, or `None` if it is not public and therefore exempt. An
    /// IPv6 address that carries an IPv4 address has the network of that IPv4 address.
    #[must_use]
    pub fn of(address: &IpAddr) -> Option<Self> {
        if Scope::of(*address) != Scope::Public {
            return None;
        }
        match effective_address(*address) {
            IpAddr::V4(ip) => ip.octets().first_chunk().copied().map(Self::V4),
            IpAddr::V6(ip) => ip.octets().first_chunk().copied().map(Self::V6),
        }
    }
}

/// Returns the group whose limits apply to an address, or `None` if it is not public.
fn public_group(address: &SocketAddr) -> Option<NetworkGroup> {
    Some(NetworkGroup::of(address.ip())).filter(|group| !group.is_local())
}

/// Reason why a peer was not inserted, or its address not changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The key is our own.
    OwnKey,
    /// The bucket of the key is full.
    BucketFull,
    /// The network of the address has reached its limit in the bucket of the key.
    NetworkFullInBucket,
    /// The network of the address has reached its limit in the table.
    NetworkFullInTable,
    /// The network group of the address has reached its limit in the bucket of the key.
    GroupFullInBucket,
    /// The network group of the address has reached its limit in the table.
    GroupFullInTable,
    /// The table does not contain the peer.
    Unknown,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OwnKey => "own key",
            Self::BucketFull => "bucket is full",
            Self::NetworkFullInBucket => "network limit of the bucket reached",
            Self::NetworkFullInTable => "network limit of the table reached",
            Self::GroupFullInBucket => "network group limit of the bucket reached",
            Self::GroupFullInTable => "network group limit of the table reached",
            Self::Unknown => "unknown peer",
        })
    }
}

impl core::error::Error for Refusal {}

/// Peer in the table, with a value of the owner of the table.
#[derive(Clone, Debug)]
pub struct Entry<V> {
    key: PublicKey,
    address: SocketAddr,
    /// Value of the owner of the table.
    pub value: V,
}

impl<V> Entry<V> {
    /// Returns the key of the peer.
    pub const fn key(&self) -> &PublicKey {
        &self.key
    }

    /// Returns the address at which the peer listens. [`PeerTable::set_address`] changes it.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Routing table: peers in buckets by distance.
#[derive(Clone, Debug)]
pub struct PeerTable<V> {
    own: PublicKey,
    /// Entries of each bucket; an empty bucket has no allocation.
    buckets: Box<[Vec<Entry<V>>]>,
    /// Number of peers in the table by network.
    networks: BTreeMap<Network, usize>,
    /// Number of peers in the table by network group.
    groups: BTreeMap<NetworkGroup, usize>,
    len: usize,
}

impl<V> PeerTable<V> {
    /// Creates an empty table for our own key.
    #[must_use]
    pub fn new(own: PublicKey) -> Self {
        Self {
            own,
            buckets: (0..BUCKETS).map(|_| Vec::new()).collect(),
            networks: BTreeMap::new(),
            groups: BTreeMap::new(),
            len: 0,
        }
    }

    /// Returns our own key.
    #[must_use]
    pub const fn own_key(&self) -> &PublicKey {
        &self.own
    }

    /// Returns the number of peers.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Returns whether the table is empty.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the bucket of `key`, or 256 for our own key.
    fn bucket_index(&self, key: &PublicKey) -> usize {
        Distance::between(self.own.as_bytes(), key.as_bytes()).shared_bits() as usize
    }

    fn bucket(&self, key: &PublicKey) -> &[Entry<V>] {
        self.buckets
            .get(self.bucket_index(key))
            .map_or(&[], Vec::as_slice)
    }

    /// Returns the peer with this key.
    #[must_use]
    pub fn get(&self, key: &PublicKey) -> Option<&Entry<V>> {
        self.bucket(key).iter().find(|entry| entry.key == *key)
    }

    /// Returns the peer with this key, with a mutable value.
    #[must_use]
    pub fn get_mut(&mut self, key: &PublicKey) -> Option<&mut Entry<V>> {
        let index = self.bucket_index(key);
        let bucket = self.buckets.get_mut(index)?;
        bucket.iter_mut().find(|entry| entry.key == *key)
    }

    /// Checks that [`PeerTable::insert`] would accept this peer, or that the table contains it.
    ///
    /// # Errors
    /// Returns the reason why [`PeerTable::insert`] would fail.
    pub fn admits(&self, key: &PublicKey, address: &SocketAddr) -> Result<(), Refusal> {
        if *key == self.own {
            return Err(Refusal::OwnKey);
        }
        let bucket = self.bucket(key);
        if bucket.iter().any(|entry| entry.key == *key) {
            return Ok(());
        }
        if bucket.len() >= BUCKET_PEERS && replaceable(bucket, address).is_none() {
            return Err(Refusal::BucketFull);
        }
        self.check_network(key, address, None)
    }

    /// Checks the limits of the network and the group of `address` for a peer that gives up its
    /// old address `leaving`.
    fn check_network(
        &self,
        key: &PublicKey,
        address: &SocketAddr,
        leaving: Option<&SocketAddr>,
    ) -> Result<(), Refusal> {
        let bucket = || self.bucket(key).iter();
        let network = Network::of(&address.ip());
        if network.is_some() && network != leaving.and_then(|old| Network::of(&old.ip())) {
            let of_network = |entry: &&Entry<V>| Network::of(&entry.address.ip()) == network;
            if bucket().filter(of_network).count() >= BUCKET_PEERS_PER_NETWORK {
                return Err(Refusal::NetworkFullInBucket);
            }
            let taken = network.and_then(|network| self.networks.get(&network));
            if taken.is_some_and(|taken| *taken >= TABLE_PEERS_PER_NETWORK) {
                return Err(Refusal::NetworkFullInTable);
            }
        }
        let group = public_group(address);
        if group.is_some() && group != leaving.and_then(public_group) {
            let of_group = |entry: &&Entry<V>| public_group(&entry.address) == group;
            if bucket().filter(of_group).count() >= BUCKET_PEERS_PER_GROUP {
                return Err(Refusal::GroupFullInBucket);
            }
            let taken = group.and_then(|group| self.groups.get(&group));
            if taken.is_some_and(|taken| *taken >= TABLE_PEERS_PER_GROUP) {
                return Err(Refusal::GroupFullInTable);
            }
        }
        Ok(())
    }

    /// Inserts a peer; returns the peer that it replaces. A peer that the table already contains
    /// stays unchanged, including address and value.
    ///
    /// # Errors
    /// Fails if the key is our own, or a limit is reached.
    pub fn insert(
        &mut self,
        key: PublicKey,
        address: SocketAddr,
        value: V,
    ) -> Result<Option<Entry<V>>, Refusal> {
        self.admits(&key, &address)?;
        if self.get(&key).is_some() {
            return Ok(None);
        }
        let bucket = self.bucket(&key);
        let is_full = bucket.len() >= BUCKET_PEERS;
        let victim = replaceable(bucket, &address).filter(|_| is_full);
        let replaced = victim.and_then(|victim| self.remove(&victim));
        let index = self.bucket_index(&key);
        let bucket = self.buckets.get_mut(index).ok_or(Refusal::OwnKey)?;
        bucket.push(Entry {
            key,
            address,
            value,
        });
        self.count_in(&address);
        self.len += 1;
        Ok(replaced)
    }

    /// Changes the address of a peer.
    ///
    /// # Errors
    /// Fails if the table does not contain the peer, or a limit of the network or group of the
    /// address is reached. The peer then stays unchanged.
    pub fn set_address(&mut self, key: &PublicKey, address: SocketAddr) -> Result<(), Refusal> {
        let old = self.get(key).ok_or(Refusal::Unknown)?.address;
        self.check_network(key, &address, Some(&old))?;
        if let Some(entry) = self.get_mut(key) {
            entry.address = address;
        }
        self.count_out(&old);
        self.count_in(&address);
        Ok(())
    }

    /// Removes and returns a peer.
    pub fn remove(&mut self, key: &PublicKey) -> Option<Entry<V>> {
        let index = self.bucket_index(key);
        let bucket = self.buckets.get_mut(index)?;
        let position = bucket.iter().position(|entry| entry.key == *key)?;
        let entry = bucket.remove(position);
        self.count_out(&entry.address);
        self.len -= 1;
        Some(entry)
    }

    fn count_in(&mut self, address: &SocketAddr) {
        count_in(&mut self.networks, Network::of(&address.ip()));
        count_in(&mut self.groups, public_group(address));
    }

    fn count_out(&mut self, address: &SocketAddr) {
        count_out(&mut self.networks, Network::of(&address.ip()));
        count_out(&mut self.groups, public_group(address));
    }

    /// Returns all peers, farthest bucket first, in order of insertion within a bucket.
    pub fn iter(&self) -> impl Iterator<Item = &Entry<V>> + Clone {
        self.buckets.iter().flatten()
    }

    /// Returns all peers, with mutable values.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Entry<V>> {
        self.buckets.iter_mut().flatten()
    }

    /// Returns the buckets that are not empty: the number of leading bits that their peers share
    /// with us, and the peers.
    pub fn buckets(&self) -> impl Iterator<Item = (usize, &[Entry<V>])> {
        let indexed = self.buckets.iter().enumerate();
        indexed.filter_map(|(index, bucket)| {
            (!bucket.is_empty()).then_some((index, bucket.as_slice()))
        })
    }

    /// Returns the peer that is closest to `target`.
    #[must_use]
    pub fn closest(&self, target: &[u8; KEY_BYTES]) -> Option<&Entry<V>> {
        self.closest_where::<1>(target, |_| true).first().copied()
    }

    /// Returns the `N` peers that are closest to `target` among those for which `keep` returns
    /// `true`, closest first.
    ///
    /// Visits buckets in the order of their distance from `target` and stops as soon as no other
    /// bucket can contain a closer peer. Does not allocate.
    pub fn closest_where<const N: usize>(
        &self,
        target: &[u8; KEY_BYTES],
        keep: impl Fn(&Entry<V>) -> bool,
    ) -> heapless::Vec<&Entry<V>, N> {
        let mut nearest: heapless::Vec<(Distance, &Entry<V>), N> = heapless::Vec::new();
        for bucket in self.buckets_by_distance(target) {
            if nearest.is_full() {
                break;
            }
            let start = nearest.len();
            for entry in bucket.iter().filter(|entry| keep(entry)) {
                let distance = Distance::between(target, entry.key.as_bytes());
                insert_sorted(&mut nearest, start, distance, entry);
            }
        }
        nearest.into_iter().map(|(_, entry)| entry).collect()
    }

    /// Returns the buckets by distance: every peer of an earlier bucket is closer to `target` than
    /// every peer of a later one.
    ///
    /// Let `s` be the number of bits that target and own key share. A peer of bucket `s` differs
    /// from us at bit `s`, as the target does, and shares more than `s` bits with the target. Peers
    /// of the buckets `b > s` agree with us at bit `s` and differ from the target there; their
    /// order depends on later bits of the distance between target and own key, of which bucket `b`
    /// flips bit `b`. If that bit is 1 (flipping makes it 0), bucket `b` is closer than all higher
    /// buckets; otherwise it is farther than all of them. Buckets `b < s` share only `b` bits with
    /// the target: the higher, the closer.
    fn buckets_by_distance<'t>(
        &'t self,
        target: &[u8; KEY_BYTES],
    ) -> impl Iterator<Item = &'t [Entry<V>]> + use<'t, V> {
        let distance = Distance::between(self.own.as_bytes(), target);
        let shared = (distance.shared_bits() as usize).min(BUCKETS);
        let bit = move |index: &usize| distance.bit(*index);
        let nearer = (shared..BUCKETS).filter(bit);
        let farther = (shared..BUCKETS).rev().filter(move |index| !bit(index));
        let outer = (0..shared).rev();
        nearer
            .chain(farther)
            .chain(outer)
            .filter_map(|index| self.buckets.get(index).map(Vec::as_slice))
    }

    /// Returns the entries of a route response: for each bucket, the peer that is closest to
    /// `asker` among those for which `keep` returns `true`, if any.
    pub fn nearest_of_each_bucket<'t>(
        &'t self,
        asker: &PublicKey,
        keep: impl Fn(&Entry<V>) -> bool + 't,
    ) -> impl Iterator<Item = &'t Entry<V>> {
        let asker = *asker;
        self.buckets.iter().filter_map(move |bucket| {
            bucket
                .iter()
                .filter(|entry| keep(entry))
                .min_by_key(|entry| Distance::between(asker.as_bytes(), entry.key.as_bytes()))
        })
    }
}

impl Distance {
    /// Returns whether bit `index` is set, counted from the most significant.
    fn bit(&self, index: usize) -> bool {
        let [high, low] = self.0;
        let (half, index) = if index < 128 {
            (high, index)
        } else {
            (low, index - 128)
        };
        index < 128 && half >> (127 - index) & 1 == 1
    }
}

/// Inserts `entry` by its distance at or after position `start`, and drops the farthest entry of a
/// full list. Entries before `start` must be closer.
fn insert_sorted<'t, V, const N: usize>(
    nearest: &mut heapless::Vec<(Distance, &'t Entry<V>), N>,
    start: usize,
    distance: Distance,
    entry: &'t Entry<V>,
) {
    let known = nearest.get(start..).unwrap_or_default();
    let position = start + known.partition_point(|(other, _)| *other < distance);
    if nearest.is_full() && position < N {
        nearest.pop();
    }
    // If the list is full and the entry is farther than all, `insert` returns it, and it is
    // dropped.
    let _ = nearest.insert(position, (distance, entry));
}

/// Returns the peer of a full bucket that a newcomer at `address` may replace: the youngest peer
/// that shares its group with another, if the bucket does not have the group of the newcomer.
fn replaceable<V>(bucket: &[Entry<V>], address: &SocketAddr) -> Option<PublicKey> {
    let count = |group: NetworkGroup| {
        let of_group = |entry: &&Entry<V>| public_group(&entry.address) == Some(group);
        bucket.iter().filter(of_group).count()
    };
    if public_group(address).is_some_and(|group| count(group) > 0) {
        return None;
    }
    let is_double = |entry: &&Entry<V>| {
        let group = public_group(&entry.address);
        group.is_some_and(|group| count(group) > 1)
    };
    bucket.iter().rev().find(is_double).map(|entry| entry.key)
}

fn count_in<K: Ord>(counts: &mut BTreeMap<K, usize>, counted: Option<K>) {
    if let Some(counted) = counted {
        *counts.entry(counted).or_default() += 1;
    }
}

fn count_out<K: Ord>(counts: &mut BTreeMap<K, usize>, counted: Option<K>) {
    let Some(counted) = counted else {
        return;
    };
    if let Some(count) = counts.get_mut(&counted) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&counted);
        }
    }
}

#[cfg(test)]
mod tests {
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
        let at =
            |group: u8, net: u8| -> SocketAddr { format!("{group}.1.{net}.1:1").parse().unwrap() };
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
            prop_assert!((0..256).all(|index| distance.bit(index) == bit(index)));
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
}
