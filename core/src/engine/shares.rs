//! Fair shares of bounded tables that peers fill: selection of the entry to remove from a full one.
//!
//! With eviction by age alone, the fastest sender would displace all others. So each entry counts
//! for its source and for the network group of the source; the group with most entries loses first,
//! and in it the source with most. A source that sends at full rate displaces its own entries.

use crate::crypto::PublicKey;
use crate::time::Instant;
use crate::wire::network_group::NetworkGroup;
use alloc::collections::{BTreeMap, BTreeSet};
use core::net::IpAddr;

/// Source of an entry: a peer in a network group.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Share {
    group: NetworkGroup,
    key: PublicKey,
}

impl Share {
    /// Returns the share of a peer at an address.
    pub(super) fn of(ip: IpAddr, key: PublicKey) -> Self {
        let group = NetworkGroup::of(ip);
        Self { group, key }
    }

    /// Returns the share of a peer in a network group.
    pub(super) const fn in_group(group: NetworkGroup, key: PublicKey) -> Self {
        Self { group, key }
    }

    pub(super) const fn group(&self) -> NetworkGroup {
        self.group
    }

    pub(super) const fn key(&self) -> PublicKey {
        self.key
    }
}

/// Number of entries of a network group, and its sources by their number of entries.
#[derive(Debug, Default)]
struct Group {
    entries: usize,
    by_load: BTreeSet<(usize, PublicKey)>,
}

/// Numbers of entries, by source and network group.
#[derive(Debug, Default)]
pub(super) struct Shares {
    of: BTreeMap<Share, usize>,
    groups: BTreeMap<NetworkGroup, Group>,
    by_load: BTreeSet<(usize, NetworkGroup)>,
}

impl Shares {
    pub(super) const fn new() -> Self {
        Self {
            of: BTreeMap::new(),
            groups: BTreeMap::new(),
            by_load: BTreeSet::new(),
        }
    }

    /// Adds an entry of a source.
    pub(super) fn add(&mut self, share: Share) {
        self.change(share, 1, 0);
    }

    /// Subtracts an entry of a source.
    pub(super) fn remove(&mut self, share: Share) {
        self.change(share, 0, 1);
    }

    fn change(&mut self, share: Share, more: usize, fewer: usize) {
        let Share { group, key } = share;
        let before = self.of.get(&share).copied().unwrap_or(0);
        let after = (before + more).saturating_sub(fewer);
        let in_group = self.groups.entry(group).or_default();
        self.by_load.remove(&(in_group.entries, group));
        in_group.by_load.remove(&(before, key));
        in_group.entries = (in_group.entries + more).saturating_sub(fewer);
        if after > 0 {
            self.of.insert(share, after);
            in_group.by_load.insert((after, key));
        } else {
            self.of.remove(&share);
        }
        if in_group.entries > 0 {
            self.by_load.insert((in_group.entries, group));
        } else {
            self.groups.remove(&group);
        }
    }

    /// Returns the source with most entries, in the group with most.
    pub(super) fn heaviest(&self) -> Option<Share> {
        let (_, group) = self.by_load.last()?;
        let (_, key) = self.groups.get(group)?.by_load.last()?;
        Some(Share {
            group: *group,
            key: *key,
        })
    }

    /// Returns whether no group has more entries than `group`, beyond the one that it would add.
    fn is_heaviest(&self, group: NetworkGroup) -> bool {
        let most = self.by_load.last().map_or(0, |(entries, _)| *entries);
        let own = self.groups.get(&group).map_or(0, |it| it.entries);
        own > 0 && own + 1 >= most
    }

    /// Returns the source that loses an entry to a new one of `share`: one of the group with most
    /// entries if that has more than the group of `share` would have, else one of the group of
    /// `share`. Returns `None` in the latter case if that group has no entry.
    pub(super) fn loser(&self, share: Share) -> Option<Share> {
        let heaviest = self.heaviest()?;
        let entries = |group: &NetworkGroup| self.groups.get(group).map_or(0, |it| it.entries);
        if entries(&share.group) + 1 < entries(&heaviest.group) {
            return Some(heaviest);
        }
        let (most, key) = self.groups.get(&share.group)?.by_load.last()?;
        let own = self.of.get(&share).copied().unwrap_or(0);
        let key = if own >= *most { share.key } else { *key };
        let group = share.group;
        Some(Share { group, key })
    }
}

/// An entry of a [`ShareTable`].
#[derive(Debug)]
struct Entry<V> {
    at: Instant,
    share: Share,
    value: V,
}

/// Bounded table of entries, each with a time and a source.
#[derive(Debug)]
pub(super) struct ShareTable<K, V> {
    capacity: usize,
    entries: BTreeMap<K, Entry<V>>,
    by_time: BTreeSet<(Instant, K)>,
    by_share: BTreeMap<Share, BTreeSet<(Instant, K)>>,
    by_group: BTreeMap<NetworkGroup, BTreeSet<(Instant, K)>>,
    shares: Shares,
}

impl<K: Ord + Copy, V> ShareTable<K, V> {
    pub(super) const fn new(capacity: usize) -> Self {
        Self {
            capacity,
            entries: BTreeMap::new(),
            by_time: BTreeSet::new(),
            by_share: BTreeMap::new(),
            by_group: BTreeMap::new(),
            shares: Shares::new(),
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns the key of the entry to remove for a new one of `share`, or `None` if there is room.
    pub(super) fn displaced_by(&self, share: Share) -> Option<K> {
        if self.entries.len() < self.capacity {
            return None;
        }
        let oldest = || self.oldest().map(|(_, key)| key);
        self.loser(share).or_else(oldest)
    }

    /// Returns whether there is no room, and an entry of `group` would displace one of that group.
    pub(super) fn is_full_of(&self, group: NetworkGroup) -> bool {
        self.entries.len() >= self.capacity && self.shares.is_heaviest(group)
    }

    /// Returns the value of a key, and the time of its insertion.
    pub(super) fn get(&self, key: &K) -> Option<(Instant, &V)> {
        let entry = self.entries.get(key)?;
        Some((entry.at, &entry.value))
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        Some(&mut self.entries.get_mut(key)?.value)
    }

    /// Returns the time and key of the oldest entry.
    pub(super) fn oldest(&self) -> Option<(Instant, K)> {
        self.by_time.first().copied()
    }

    /// Returns the key of the entry to remove for a new one of `share`, or `None` if no source has
    /// more.
    fn loser(&self, share: Share) -> Option<K> {
        let loser = self.shares.loser(share)?;
        let of_source = self.by_share.get(&loser)?;
        // If no source of the group has more than another, the oldest entry of the group is
        // removed.
        let of = if of_source.len() > 1 {
            of_source
        } else {
            self.by_group.get(&loser.group)?
        };
        let (_, key) = of.first()?;
        Some(*key)
    }

    /// Adds an entry; returns `false` if the table is full and no source has more entries.
    pub(super) fn try_insert(&mut self, at: Instant, share: Share, key: K, value: V) -> bool {
        self.remove(&key);
        if self.entries.len() >= self.capacity {
            let Some(loser) = self.loser(share) else {
                return false;
            };
            self.remove(&loser);
        }
        self.add(at, share, key, value);
        true
    }

    /// Adds an entry. If the table is full and no source has more entries, the oldest entry of all
    /// is removed.
    pub(super) fn insert(&mut self, at: Instant, share: Share, key: K, value: V) {
        self.remove(&key);
        if let Some(loser) = self.displaced_by(share) {
            self.remove(&loser);
        }
        self.add(at, share, key, value);
    }

    fn add(&mut self, at: Instant, share: Share, key: K, value: V) {
        self.entries.insert(key, Entry { at, share, value });
        self.by_time.insert((at, key));
        self.by_share.entry(share).or_default().insert((at, key));
        let of_group = self.by_group.entry(share.group).or_default();
        of_group.insert((at, key));
        self.shares.add(share);
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        self.take(key).map(|(.., value)| value)
    }

    /// Removes an entry, and returns its time and source as well.
    pub(super) fn take(&mut self, key: &K) -> Option<(Instant, Share, V)> {
        let Entry { at, share, value } = self.entries.remove(key)?;
        self.by_time.remove(&(at, *key));
        forget(&mut self.by_share, &share, &(at, *key));
        forget(&mut self.by_group, &share.group, &(at, *key));
        self.shares.remove(share);
        Some((at, share, value))
    }
}

fn forget<O: Ord, E: Ord>(entries: &mut BTreeMap<O, BTreeSet<E>>, of: &O, entry: &E) {
    if let Some(own) = entries.get_mut(of) {
        own.remove(entry);
        if own.is_empty() {
            entries.remove(of);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn share(group: u8, key: u8) -> Share {
        Share::of([group, 1, 1, 1].into(), PublicKey::new([key; 32]))
    }

    #[test]
    fn heaviest_group_loses_first_and_in_it_the_heaviest_source() {
        let mut shares = Shares::default();
        assert_eq!(shares.heaviest(), None);
        for (group, key, count) in [(8, 1, 5), (9, 2, 3), (9, 3, 4), (10, 4, 1)] {
            (0..count).for_each(|_| shares.add(share(group, key)));
        }
        let mut order = Vec::new();
        while let Some(heaviest) = shares.heaviest() {
            order.push(heaviest.key.as_bytes()[0]);
            shares.remove(heaviest);
        }
        assert_eq!(order.len(), 13);
        assert_eq!(order[..4], [3, 3, 2, 1]);
        assert!(shares.groups.is_empty() && shares.by_load.is_empty());
    }

    #[test]
    fn source_does_not_lose_to_one_with_as_many_entries() {
        let mut shares = Shares::default();
        for group in 1..=100 {
            shares.add(share(group, 1));
        }
        assert_eq!(shares.loser(share(200, 1)), None, "all have one entry");
        shares.add(share(7, 2));
        assert_eq!(
            shares.loser(share(200, 1)).map(|it| it.group),
            Some(share(7, 1).group)
        );
        // A heavy source loses to itself.
        (0..9).for_each(|_| shares.add(share(7, 2)));
        assert_eq!(shares.loser(share(7, 2)), Some(share(7, 2)));
        assert_eq!(shares.loser(share(7, 3)), Some(share(7, 2)));
    }

    /// One source at full rate, with one key or with many in a network group.
    #[test]
    fn flood_of_one_source_displaces_its_own_entries_alone() {
        for keys in [1, 200] {
            for refuses in [true, false] {
                let mut table = ShareTable::new(1_000);
                let mut put = |n: u32, share, name| {
                    let at = Instant::from_micros(n.into());
                    if refuses {
                        assert!(table.try_insert(at, share, name, ()));
                    } else {
                        table.insert(at, share, name, ());
                    }
                };
                for n in 0..10_000u32 {
                    put(n, share(9, u8::try_from(n % keys).unwrap()), (0, n));
                    if n % 20 == 0 {
                        put(
                            n,
                            share(20 + u8::try_from(n / 20 % 100).unwrap(), 1),
                            (1, n),
                        );
                    }
                }
                let mut honest = (0..10_000).step_by(20);
                assert!(honest.all(|n| table.get(&(1, n)).is_some()));
                assert_eq!(table.len(), 1_000);
                while let Some((_, key)) = table.oldest() {
                    table.remove(&key);
                }
                assert!(table.by_share.is_empty() && table.by_group.is_empty());
                assert!(table.shares.of.is_empty());
            }
        }
    }

    proptest! {
        #[test]
        fn counts_follow_the_entries(
            steps in proptest::collection::vec((0..4u8, 0..4u8, any::<bool>()), 0..200),
        ) {
            let mut shares = Shares::default();
            let mut plain: BTreeMap<(u8, u8), usize> = BTreeMap::new();
            for (group, key, is_added) in steps {
                let count = plain.entry((group, key)).or_default();
                if is_added {
                    *count += 1;
                    shares.add(share(group, key));
                } else if *count > 0 {
                    *count -= 1;
                    shares.remove(share(group, key));
                }
                let most = (0..4u8).map(|group| {
                    let of = plain.iter().filter(|((it, _), _)| *it == group);
                    of.map(|(_, count)| *count).sum::<usize>()
                }).max().unwrap_or(0);
                let heaviest = shares.by_load.last().map_or(0, |(count, _)| *count);
                prop_assert_eq!(heaviest, most);
                for ((group, key), count) in &plain {
                    let counted = shares.of.get(&share(*group, *key));
                    prop_assert_eq!(counted.copied().unwrap_or(0), *count);
                }
            }
        }
    }
}
