//! Rate limits: token buckets, and events that may happen a few times an interval.

use super::address::Origin;
use super::limits;
use crate::time::Instant;
use alloc::collections::{BTreeMap, BTreeSet};
use core::net::SocketAddr;
use core::time::Duration;

/// Tokens that come back at a steady rate, up to a burst. Counted in millionths.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    micros: u64,
    filled: Instant,
}

impl Bucket {
    /// A bucket that has all its tokens.
    pub(super) const fn full(now: Instant, burst: u32) -> Self {
        Self {
            micros: burst as u64 * 1_000_000,
            filled: now,
        }
    }

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

/// Budget of key agreements with unknown peers, from everywhere and from each origin.
#[derive(Debug)]
pub(super) struct Agreements {
    everywhere: Bucket,
    by_origin: BTreeMap<Origin, Bucket>,
    /// The same by when they were used last.
    by_use: BTreeSet<(Instant, Origin)>,
}

impl Agreements {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            everywhere: Bucket::full(now, limits::AGREEMENTS_BURST),
            by_origin: BTreeMap::new(),
            by_use: BTreeSet::new(),
        }
    }

    /// Returns whether one more agreement with a peer at `address` is within the budget.
    pub(super) fn take(&mut self, now: Instant, address: &SocketAddr) -> bool {
        let origin = Origin::of(address);
        let known = self.by_origin.get(&origin).copied();
        if let Some(known) = known {
            self.by_use.remove(&(known.filled, origin));
        } else if self.by_origin.len() >= limits::MAX_NETWORKS
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.by_origin.remove(&oldest);
        }
        let full = Bucket::full(now, limits::AGREEMENTS_BURST_PER_NETWORK);
        let mut bucket = known.unwrap_or(full);
        let (rate, burst) = (
            limits::AGREEMENTS_PER_SECOND_PER_NETWORK,
            limits::AGREEMENTS_BURST_PER_NETWORK,
        );
        let is_within = bucket.take(now, rate, burst);
        self.by_use.insert((bucket.filled, origin));
        self.by_origin.insert(origin, bucket);
        let (rate, burst) = (limits::AGREEMENTS_PER_SECOND, limits::AGREEMENTS_BURST);
        is_within && self.everywhere.take(now, rate, burst)
    }
}

/// Things that may happen a few times an interval, each under a key of its own.
///
/// When it is full, nothing new may happen until the oldest is an interval old: a flood makes us
/// silent, never forgetful.
#[derive(Debug)]
pub(super) struct Recently<K> {
    interval: Duration,
    capacity: usize,
    by_key: BTreeMap<K, (Instant, u8)>,
    by_time: BTreeSet<(Instant, K)>,
}

impl<K: Ord + Copy> Recently<K> {
    pub(super) const fn new(interval: Duration, capacity: usize) -> Self {
        Self {
            interval,
            capacity,
            by_key: BTreeMap::new(),
            by_time: BTreeSet::new(),
        }
    }

    /// Whether it may happen now, for at most `times` in the interval that began with the first;
    /// if so, it has happened.
    pub(super) fn take(&mut self, now: Instant, key: K, times: u8) -> bool {
        self.expire(now);
        if let Some((_, count)) = self.by_key.get_mut(&key) {
            let free = *count < times;
            *count = count.saturating_add(u8::from(free));
            return free;
        }
        if self.by_key.len() >= self.capacity {
            return false;
        }
        self.by_key.insert(key, (now, 1));
        self.by_time.insert((now, key));
        true
    }

    /// Whether it happened within the interval.
    pub(super) fn contains(&self, now: Instant, key: &K) -> bool {
        let first = self.by_key.get(key);
        first.is_some_and(|(first, _)| now.since(*first) < self.interval)
    }

    pub(super) fn expire(&mut self, now: Instant) {
        while let Some(&(first, key)) = self.by_time.first()
            && now.since(first) >= self.interval
        {
            self.by_time.pop_first();
            self.by_key.remove(&key);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_of_one_network_share_a_budget_that_refills() {
        let mut agreements = Agreements::new(Instant::ZERO);
        // A network, and a bridge that many peers share.
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
    fn everybody_shares_a_budget_too() {
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
        assert_eq!(agreements.by_origin.len(), limits::MAX_NETWORKS);
        assert_eq!(agreements.by_use.len(), limits::MAX_NETWORKS);
    }

    #[test]
    fn recent_things_wait_and_a_full_memory_refuses() {
        let mut recently = Recently::new(Duration::from_secs(10), 2);
        let at = Instant::from_secs;
        assert!(recently.take(at(0), 'a', 2) && recently.take(at(1), 'a', 2));
        assert!(!recently.take(at(9), 'a', 2));
        assert!(recently.contains(at(9), &'a') && !recently.contains(at(10), &'a'));
        assert!(recently.take(at(9), 'b', 1) && !recently.take(at(9), 'c', 1));
        assert!(recently.take(at(10), 'c', 1) && !recently.take(at(10), 'd', 1));
        assert_eq!(recently.len(), 2);
    }
}
