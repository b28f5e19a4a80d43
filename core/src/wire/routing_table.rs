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

mod bucket_set;

use super::network_group::{NetworkGroup, Scope, effective_address};
use crate::crypto::{KEY_BYTES, PublicKey};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use bucket_set::BucketSet;
use core::fmt;
use core::net::{IpAddr, SocketAddr};
use core::ops::Deref;

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
///
/// ```
/// use astreum_core::wire::routing_table::Distance;
/// let (zero, mut near, far) = ([0; 32], [0; 32], [0xff; 32]);
/// near[1] = 0x10;
/// assert_eq!(Distance::between(&zero, &near).shared_bits(), 11);
/// assert!(Distance::between(&zero, &near) < Distance::between(&zero, &far));
/// assert_eq!(Distance::between(&far, &far).shared_bits(), 256);
/// ```
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
///
/// ```
/// use astreum_core::wire::routing_table::Network;
/// let network = |text: &str| Network::of(&text.parse().unwrap());
/// assert_eq!(network("8.8.8.8"), Some(Network::V4([8, 8, 8])));
/// assert_eq!(network("192.168.0.1"), None);
/// ```
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
///
/// ```
/// use astreum_core::crypto::PublicKey;
/// use astreum_core::wire::routing_table::{PeerTable, Refusal};
///
/// let own = PublicKey::new([0; 32]);
/// let address = "8.8.8.8:52780".parse().unwrap();
/// let mut table = PeerTable::new(own);
/// assert_eq!(table.insert(own, address, ()).err(), Some(Refusal::OwnKey));
/// assert_eq!(table.set_address(&PublicKey::new([1; 32]), address), Err(Refusal::Unknown));
/// ```
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

/// Peers that are closest to a target, closest first; at most `N`.
#[derive(Clone, Debug)]
pub struct Closest<'t, V, const N: usize>(heapless::Vec<&'t Entry<V>, N>);

impl<'t, V, const N: usize> Deref for Closest<'t, V, N> {
    type Target = [&'t Entry<V>];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
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
///
/// ```
/// use astreum_core::crypto::PublicKey;
/// use astreum_core::wire::routing_table::PeerTable;
///
/// let mut table = PeerTable::new(PublicKey::new([0; 32]));
/// let peer = PublicKey::new([1; 32]);
/// table.insert(peer, "127.0.0.1:52780".parse()?, "a value")?;
/// assert_eq!(table.get(&peer).map(|entry| entry.value), Some("a value"));
/// assert_eq!(table.buckets().map(|(bits, _)| bits).collect::<Vec<_>>(), [7]);
/// assert!(table.remove(&peer).is_some() && table.is_empty());
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct PeerTable<V> {
    own: PublicKey,
    /// Entries of each bucket; an empty bucket has no allocation.
    buckets: Box<[Vec<Entry<V>>]>,
    /// Buckets that are not empty.
    occupied: BucketSet,
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
            occupied: BucketSet::default(),
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
        self.bucket_at(self.bucket_index(key))
    }

    fn bucket_at(&self, index: usize) -> &[Entry<V>] {
        self.buckets.get(index).map_or(&[], Vec::as_slice)
    }

    /// Returns the peer with this key.
    #[must_use]
    pub fn get(&self, key: &PublicKey) -> Option<&Entry<V>> {
        self.bucket(key).iter().find(|entry| entry.key == *key)
    }

    /// Returns the peer with this key, with a mutable value.
    ///
    /// ```
    /// use astreum_core::crypto::PublicKey;
    /// use astreum_core::wire::routing_table::PeerTable;
    ///
    /// let mut table = PeerTable::new(PublicKey::new([0; 32]));
    /// let peer = PublicKey::new([1; 32]);
    /// table.insert(peer, "127.0.0.1:1".parse()?, 0)?;
    /// if let Some(entry) = table.get_mut(&peer) {
    ///     entry.value += 1;
    /// }
    /// assert_eq!(table.iter().map(|entry| entry.value).collect::<Vec<_>>(), [1]);
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    #[must_use]
    pub fn get_mut(&mut self, key: &PublicKey) -> Option<&mut Entry<V>> {
        let index = self.bucket_index(key);
        let bucket = self.buckets.get_mut(index)?;
        bucket.iter_mut().find(|entry| entry.key == *key)
    }

    /// Checks that [`PeerTable::insert`] would accept this peer, or that the table contains it.
    ///
    /// ```
    /// use astreum_core::crypto::PublicKey;
    /// use astreum_core::wire::routing_table::{PeerTable, Refusal};
    ///
    /// let mut table = PeerTable::new(PublicKey::new([0; 32]));
    /// let address = "8.8.8.8:52780".parse()?;
    /// for key in [0x80, 0x81] {
    ///     table.insert(PublicKey::new([key; 32]), address, ())?;
    /// }
    /// // A bucket takes two peers of one network.
    /// let admits = |key| table.admits(&PublicKey::new([key; 32]), &address);
    /// assert_eq!(admits(0x82), Err(Refusal::NetworkFullInBucket));
    /// assert_eq!(admits(0x40), Ok(()));
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
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

    /// Checks the limits of the network and the group of `address` for a peer that leaves its
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
    /// ```
    /// use astreum_core::crypto::PublicKey;
    /// use astreum_core::wire::routing_table::PeerTable;
    ///
    /// let mut table = PeerTable::new(PublicKey::new([0; 32]));
    /// let peer = PublicKey::new([1; 32]);
    /// assert!(table.insert(peer, "127.0.0.1:1".parse()?, 1)?.is_none());
    /// // A peer that the table already contains stays unchanged.
    /// table.insert(peer, "127.0.0.1:2".parse()?, 2)?;
    /// let kept = table.get(&peer).map(|entry| (entry.address().port(), entry.value));
    /// assert_eq!(kept, Some((1, 1)));
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
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
        self.occupied.insert(index);
        self.count_in(&address);
        self.len += 1;
        Ok(replaced)
    }

    /// Changes the address of a peer.
    ///
    /// ```
    /// use astreum_core::crypto::PublicKey;
    /// use astreum_core::wire::routing_table::PeerTable;
    ///
    /// let mut table = PeerTable::new(PublicKey::new([0; 32]));
    /// let (peer, moved) = (PublicKey::new([1; 32]), "127.0.0.1:2".parse()?);
    /// table.insert(peer, "127.0.0.1:1".parse()?, ())?;
    /// table.set_address(&peer, moved)?;
    /// assert_eq!(table.get(&peer).map(|entry| entry.address()), Some(moved));
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
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
        if bucket.is_empty() {
            self.occupied.remove(index);
        }
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
        let buckets = self.occupied.ascending();
        buckets.flat_map(|index| self.bucket_at(index))
    }

    /// Returns all peers, with mutable values.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Entry<V>> {
        self.buckets.iter_mut().flatten()
    }

    /// Returns the buckets that are not empty: the number of leading bits that their peers share
    /// with us, and the peers.
    pub fn buckets(&self) -> impl Iterator<Item = (usize, &[Entry<V>])> {
        let indexes = self.occupied.ascending();
        indexes.map(|index| (index, self.bucket_at(index)))
    }

    /// Returns the peer that is closest to `target`.
    ///
    /// ```
    /// use astreum_core::crypto::PublicKey;
    /// use astreum_core::wire::routing_table::PeerTable;
    ///
    /// let mut table = PeerTable::new(PublicKey::new([0; 32]));
    /// for key in [0x01, 0x40, 0x80] {
    ///     table.insert(PublicKey::new([key; 32]), "127.0.0.1:1".parse()?, ())?;
    /// }
    /// let closest = table.closest(&[0x41; 32]).map(|entry| *entry.key());
    /// assert_eq!(closest, Some(PublicKey::new([0x40; 32])));
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    #[must_use]
    pub fn closest(&self, target: &[u8; KEY_BYTES]) -> Option<&Entry<V>> {
        self.nearest::<1>(target, |_| true).first().copied()
    }

    /// Returns the `N` peers that are closest to `target` among those for which `keep` returns
    /// `true`, closest first.
    ///
    /// Visits buckets in the order of their distance from `target` and stops as soon as no other
    /// bucket can contain a closer peer. Does not allocate.
    ///
    /// ```
    /// use astreum_core::crypto::PublicKey;
    /// use astreum_core::wire::routing_table::PeerTable;
    ///
    /// let mut table = PeerTable::new(PublicKey::new([0; 32]));
    /// for (key, is_validator) in [(0x40, false), (0x42, true), (0x80, true)] {
    ///     table.insert(PublicKey::new([key; 32]), "127.0.0.1:1".parse()?, is_validator)?;
    /// }
    /// let validators = table.closest_where::<8>(&[0x41; 32], |entry| entry.value);
    /// let keys: Vec<u8> = validators.iter().map(|entry| entry.key().as_bytes()[0]).collect();
    /// assert_eq!(keys, [0x42, 0x80]);
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn closest_where<const N: usize>(
        &self,
        target: &[u8; KEY_BYTES],
        keep: impl Fn(&Entry<V>) -> bool,
    ) -> Closest<'_, V, N> {
        Closest(self.nearest(target, keep))
    }

    /// Does the same as [`PeerTable::closest_where`], and returns the list itself.
    pub(crate) fn nearest<const N: usize>(
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
        let (nearer, farther) = self.occupied.split(shared, distance);
        let outer = self.occupied.below(shared);
        nearer
            .ascending()
            .chain(farther.descending())
            .chain(outer.descending())
            .map(|index| self.bucket_at(index))
    }

    /// Returns the entries of a route response: for each bucket, the peer that is closest to
    /// `asker` among those for which `keep` returns `true`, if any.
    ///
    /// ```
    /// use astreum_core::crypto::PublicKey;
    /// use astreum_core::wire::routing_table::PeerTable;
    ///
    /// let mut table = PeerTable::new(PublicKey::new([0; 32]));
    /// for key in [0x40, 0x42, 0x80] {
    ///     table.insert(PublicKey::new([key; 32]), "127.0.0.1:1".parse()?, ())?;
    /// }
    /// let asker = PublicKey::new([0x43; 32]);
    /// let nearest = table.nearest_of_each_bucket(&asker, |_| true);
    /// let keys: Vec<u8> = nearest.map(|entry| entry.key().as_bytes()[0]).collect();
    /// assert_eq!(keys, [0x80, 0x42]);
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn nearest_of_each_bucket<'t>(
        &'t self,
        asker: &PublicKey,
        keep: impl Fn(&Entry<V>) -> bool + 't,
    ) -> impl Iterator<Item = &'t Entry<V>> {
        let asker = *asker;
        self.occupied.ascending().filter_map(move |index| {
            self.bucket_at(index)
                .iter()
                .filter(|entry| keep(entry))
                .min_by_key(|entry| Distance::between(asker.as_bytes(), entry.key.as_bytes()))
        })
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
mod tests;
