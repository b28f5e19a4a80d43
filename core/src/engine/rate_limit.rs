//! Rate limits: token buckets, and events that may happen a limited number of times per interval.

use super::address::Origin;
use super::limits;
use super::shares::{Share, ShareTable};
use crate::crypto::SharedKey;
use crate::time::Instant;
use crate::wire::network_group::NetworkGroup;
use alloc::collections::{BTreeMap, BTreeSet};
use core::net::SocketAddr;
use core::time::Duration;

/// Token bucket: tokens return at a steady rate, up to a burst. Counted in millionths of a token.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    micros: u64,
    filled: Instant,
}

impl Bucket {
    /// Creates a bucket that holds all its tokens.
    pub(super) const fn full(now: Instant, burst: u32) -> Self {
        Self {
            micros: burst as u64 * 1_000_000,
            filled: now,
        }
    }

    /// Takes one token; returns `false` if there is none. `burst` is the capacity.
    pub(super) fn take(&mut self, now: Instant, per_second: u32, burst: u32) -> bool {
        let passed = u64::try_from(now.since(self.filled).as_micros()).unwrap_or(u64::MAX);
        let gained = passed.saturating_mul(per_second.into());
        let full = u64::from(burst).saturating_mul(1_000_000);
        self.micros = self.micros.saturating_add(gained).min(full);
        self.filled = now;
        let left = self.micros.checked_sub(1_000_000);
        self.micros = left.unwrap_or(self.micros);
        left.is_some()
    }
}

/// Key shared with an unknown peer, and the budget of its packets that may be tried.
#[derive(Debug)]
pub(super) struct UnknownKey {
    shared: SharedKey,
    tries: Bucket,
}

impl UnknownKey {
    pub(super) const fn new(now: Instant, shared: SharedKey) -> Self {
        Self {
            shared,
            tries: Bucket::full(now, limits::SOLICITED_BURST),
        }
    }

    /// Returns the key for one more packet, within the budget. The budget covers the packets of a
    /// node that probes the keys which answer its contact.
    pub(super) fn take(&mut self, now: Instant) -> Option<&SharedKey> {
        let (rate, burst) = (limits::SOLICITED_PER_SECOND, limits::SOLICITED_BURST);
        self.tries.take(now, rate, burst).then_some(&self.shared)
    }
}

/// Token buckets by key. When full, the one used longest ago is removed.
#[derive(Debug)]
struct Buckets<K> {
    of: BTreeMap<K, Bucket>,
    /// Keys by the time of their last use.
    by_use: BTreeSet<(Instant, K)>,
}

impl<K: Ord + Copy> Buckets<K> {
    const fn new() -> Self {
        Self {
            of: BTreeMap::new(),
            by_use: BTreeSet::new(),
        }
    }

    /// Takes one token from the bucket of `key`; returns `false` if it is empty.
    fn take(&mut self, now: Instant, key: K, (per_second, burst): (u32, u32)) -> bool {
        let known = self.of.get(&key).copied();
        if let Some(known) = known {
            self.by_use.remove(&(known.filled, key));
        } else if self.of.len() >= limits::MAX_NETWORKS
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.of.remove(&oldest);
        }
        let mut bucket = known.unwrap_or(Bucket::full(now, burst));
        let is_within = bucket.take(now, per_second, burst);
        self.by_use.insert((bucket.filled, key));
        self.of.insert(key, bucket);
        is_within
    }
}

/// Budget of key agreements with unknown peers: in all, per network group and per origin.
#[derive(Debug)]
pub(super) struct Agreements {
    everywhere: Bucket,
    by_group: Buckets<NetworkGroup>,
    by_origin: Buckets<Origin>,
}

/// Budget of key agreements caused by referrers, per network group of the referrer.
#[derive(Debug)]
pub(super) struct ReferralAgreements(Buckets<NetworkGroup>);

impl ReferralAgreements {
    pub(super) const fn new() -> Self {
        Self(Buckets::new())
    }

    /// Takes one agreement caused by a referrer of this group; returns whether the budget allowed
    /// it.
    pub(super) fn take(&mut self, now: Instant, group: NetworkGroup) -> bool {
        let rate = limits::AGREEMENTS_PER_SECOND_PER_GROUP;
        let burst = limits::AGREEMENTS_BURST_PER_GROUP;
        self.0.take(now, group, (rate, burst))
    }
}

impl Agreements {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            everywhere: Bucket::full(now, limits::AGREEMENTS_BURST),
            by_group: Buckets::new(),
            by_origin: Buckets::new(),
        }
    }

    /// Takes one agreement with a peer at `address`; returns whether the budget allowed it.
    pub(super) fn take(&mut self, now: Instant, address: &SocketAddr) -> bool {
        let rate = limits::AGREEMENTS_PER_SECOND_PER_NETWORK;
        let burst = limits::AGREEMENTS_BURST_PER_NETWORK;
        let origin = Origin::of(address);
        if !self.by_origin.take(now, origin, (rate, burst)) {
            return false;
        }
        // Many peers may share an address that is not public, so it has no budget per group.
        let group = NetworkGroup::of(address.ip());
        let rate = limits::AGREEMENTS_PER_SECOND_PER_GROUP;
        let burst = limits::AGREEMENTS_BURST_PER_GROUP;
        if !group.is_local() && !self.by_group.take(now, group, (rate, burst)) {
            return false;
        }
        let (rate, burst) = (limits::AGREEMENTS_PER_SECOND, limits::AGREEMENTS_BURST);
        self.everywhere.take(now, rate, burst)
    }
}

/// Events that may happen a limited number of times per interval, each under a key and charged to a
/// source.
///
/// When full, the source with most events loses one; if no source has more than the new one, new
/// events are refused until the oldest is an interval old. A flood therefore silences us towards
/// its own sources, and does not displace the events of others.
#[derive(Debug)]
pub(super) struct IntervalLimiter<K> {
    interval: Duration,
    events: ShareTable<K, u8>,
}

impl<K: Ord + Copy> IntervalLimiter<K> {
    pub(super) const fn new(interval: Duration, capacity: usize) -> Self {
        Self {
            interval,
            events: ShareTable::new(capacity),
        }
    }

    /// Takes one event for `key`, charged to `share`, and returns whether it was allowed. At most
    /// `times` are allowed in the interval that begins with the first.
    pub(super) fn take(&mut self, now: Instant, share: Share, key: K, times: u8) -> bool {
        self.expire(now);
        if let Some(count) = self.events.get_mut(&key) {
            let is_free = *count < times;
            *count = count.saturating_add(u8::from(is_free));
            return is_free;
        }
        self.events.try_insert(now, share, key, 1)
    }

    /// Like [`Self::take`] for an event that may happen once, but costs little in a flood: if this
    /// is full, an event does not displace another of its own network group, and is refused.
    pub(super) fn take_if_room(&mut self, now: Instant, share: Share, key: K) -> bool {
        self.expire(now);
        if self.events.get(&key).is_some() || self.events.is_full_of(share.group()) {
            return false;
        }
        self.events.try_insert(now, share, key, 1)
    }

    /// Returns whether the event happened within the interval.
    pub(super) fn contains(&self, now: Instant, key: &K) -> bool {
        self.count(now, key) > 0
    }

    /// Returns the number of times that the event happened within the interval.
    pub(super) fn count(&self, now: Instant, key: &K) -> u8 {
        let event = self.events.get(key);
        let event = event.filter(|(first, _)| now.since(*first) < self.interval);
        event.map_or(0, |(_, count)| *count)
    }

    /// Removes events whose interval is over.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some((first, key)) = self.events.oldest()
            && now.since(first) >= self.interval
        {
            self.events.remove(&key);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.events.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::PublicKey;

    fn share(group: u8, key: u8) -> Share {
        Share::of([group, 1, 1, 1].into(), PublicKey::new([key; 32]))
    }

    #[test]
    fn unknown_peers_of_one_network_share_a_budget_that_refills() {
        let mut agreements = Agreements::new(Instant::ZERO);
        // A network, and a bridge address that many peers share.
        for (one, same, other) in [
            (([8, 8, 8, 1], 1), ([8, 8, 8, 2], 2), ([8, 8, 9, 1], 1)),
            (
                ([172, 17, 0, 1], 1),
                ([172, 17, 0, 1], 1),
                ([172, 17, 0, 1], 2),
            ),
        ] {
            let [one, same, other] = [one, same, other].map(SocketAddr::from);
            let taken = (0..100)
                .filter(|_| agreements.take(Instant::ZERO, &one))
                .count();
            assert_eq!(taken, 64);
            assert!(!agreements.take(Instant::ZERO, &same));
            assert!(agreements.take(Instant::ZERO, &other));
            let later = Instant::from_secs(1);
            let taken = (0..100).filter(|_| agreements.take(later, &one)).count();
            assert_eq!(taken, 16);
        }
    }

    #[test]
    fn all_networks_share_a_global_budget() {
        let mut agreements = Agreements::new(Instant::ZERO);
        let local = |n| SocketAddr::from(([127, 0, 0, 1], n));
        let taken = (0..10_000)
            .filter(|n| agreements.take(Instant::ZERO, &local(*n)))
            .count();
        assert_eq!(taken, 4_000);
        for n in 0..u32::try_from(2 * limits::MAX_NETWORKS).unwrap() {
            let ip = core::net::Ipv4Addr::from_bits(0x0800_0000 | n << 8);
            agreements.take(Instant::from_secs(9), &SocketAddr::from((ip, 9)));
        }
        for (of, by_use) in [
            (
                agreements.by_origin.of.len(),
                agreements.by_origin.by_use.len(),
            ),
            (
                agreements.by_group.of.len(),
                agreements.by_group.by_use.len(),
            ),
        ] {
            assert!((1..=limits::MAX_NETWORKS).contains(&of));
            assert_eq!(of, by_use);
        }
        assert_eq!(agreements.by_origin.of.len(), limits::MAX_NETWORKS);
    }

    #[test]
    fn network_group_has_a_share_of_the_budget() {
        let mut agreements = Agreements::new(Instant::ZERO);
        let of_group = |low| SocketAddr::from(([8, 8, low, 1], 1));
        let taken = (0..10_000)
            .filter(|n| agreements.take(Instant::ZERO, &of_group(u32::to_be_bytes(*n)[3])))
            .count();
        let burst = usize::try_from(limits::AGREEMENTS_BURST_PER_GROUP).unwrap();
        assert_eq!(taken, burst);
        assert!(agreements.take(Instant::ZERO, &SocketAddr::from(([9, 8, 8, 1], 1))));
    }

    #[test]
    fn events_are_limited_per_interval_and_refused_when_full() {
        let mut limiter = IntervalLimiter::new(Duration::from_secs(10), 2);
        let mut take = |seconds, name: char, times| {
            // Each key is in a network group of its own.
            let share = share(u8::try_from(name).unwrap(), 1);
            let now = Instant::from_secs(seconds);
            let is_taken = limiter.take(now, share, name, times);
            (is_taken, limiter.count(now, &name), limiter.len())
        };
        assert_eq!(take(0, 'a', 2), (true, 1, 1));
        assert_eq!(take(1, 'a', 2), (true, 2, 1));
        assert_eq!(take(9, 'a', 2), (false, 2, 1));
        assert_eq!(take(9, 'b', 1), (true, 1, 2));
        assert_eq!(take(9, 'c', 1), (false, 0, 2));
        assert_eq!(take(10, 'c', 1), (true, 1, 2));
        assert_eq!(take(10, 'd', 1), (false, 0, 2));
        let at = Instant::from_secs;
        assert!(limiter.contains(at(18), &'b') && !limiter.contains(at(19), &'b'));
    }
}
