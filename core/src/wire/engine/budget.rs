//! How often things may happen: token buckets, and things that happen once an interval.

use super::limits;
use crate::time::Instant;
use crate::wire::table::Network;
use alloc::collections::{BTreeMap, BTreeSet};
use core::net::IpAddr;
use core::time::Duration;

/// Tokens that come back at a steady rate, up to a burst. Counted in millionths.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    micros: u64,
    filled: Instant,
}

impl Bucket {
    fn take(&mut self, now: Instant, per_second: u32, burst: u32) -> bool {
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

/// What key agreements with strangers may cost, from everywhere and from each network.
#[derive(Debug)]
pub(super) struct Agreements {
    everywhere: Bucket,
    by_network: BTreeMap<Network, Bucket>,
}

impl Agreements {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            everywhere: Bucket {
                micros: u64::from(limits::AGREEMENTS_BURST) * 1_000_000,
                filled: now,
            },
            by_network: BTreeMap::new(),
        }
    }

    /// Whether one more agreement with somebody at `ip` is within the budget.
    pub(super) fn take(&mut self, now: Instant, ip: IpAddr) -> bool {
        if let Some(network) = Network::of(&ip) {
            if self.by_network.len() >= limits::MAX_NETWORKS
                && !self.by_network.contains_key(&network)
            {
                self.forget_oldest();
            }
            let full = Bucket {
                micros: u64::from(limits::AGREEMENTS_BURST_PER_NETWORK) * 1_000_000,
                filled: now,
            };
            let bucket = self.by_network.entry(network).or_insert(full);
            let (rate, burst) = (
                limits::AGREEMENTS_PER_SECOND_PER_NETWORK,
                limits::AGREEMENTS_BURST_PER_NETWORK,
            );
            if !bucket.take(now, rate, burst) {
                return false;
            }
        }
        let (rate, burst) = (limits::AGREEMENTS_PER_SECOND, limits::AGREEMENTS_BURST);
        self.everywhere.take(now, rate, burst)
    }

    fn forget_oldest(&mut self) {
        let oldest = self
            .by_network
            .iter()
            .min_by_key(|(_, bucket)| bucket.filled);
        if let Some(network) = oldest.map(|(network, _)| *network) {
            self.by_network.remove(&network);
        }
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
        let one = IpAddr::from([8, 8, 8, 1]);
        let taken = (0..100)
            .filter(|_| agreements.take(Instant::ZERO, one))
            .count();
        assert_eq!(taken, 64);
        assert!(!agreements.take(Instant::ZERO, IpAddr::from([8, 8, 8, 2])));
        assert!(agreements.take(Instant::ZERO, IpAddr::from([8, 8, 9, 1])));
        let later = Instant::from_secs(1);
        let taken = (0..100).filter(|_| agreements.take(later, one)).count();
        assert_eq!(taken, 16);
    }

    #[test]
    fn everybody_shares_a_budget_too() {
        let mut agreements = Agreements::new(Instant::ZERO);
        let local = IpAddr::from([127, 0, 0, 1]);
        let taken = (0..10_000)
            .filter(|_| agreements.take(Instant::ZERO, local))
            .count();
        assert_eq!(taken, 4_000);
        for n in 0..u32::try_from(2 * limits::MAX_NETWORKS).unwrap() {
            agreements.take(
                Instant::from_secs(9),
                IpAddr::V4((0x0800_0000 | n << 8).into()),
            );
        }
        assert_eq!(agreements.by_network.len(), limits::MAX_NETWORKS);
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
