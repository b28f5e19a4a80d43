//! Limits of the bytes that streams move in a second, in each direction: in total, and for each IP
//! address.
//!
//! Bytes on the socket count, encryption included. A meter lets at most a quarter of a second's bytes
//! pass at once, so that no second has more than five quarters of its limit.

use astreum_core::time::Instant;
use core::net::IpAddr;
use core::time::Duration;
use std::collections::BTreeMap;

/// Interval at which connections that have reached a limit continue.
pub(super) const PAUSE: Duration = Duration::from_millis(20);
/// Number of addresses above which those that have not used their meters are forgotten.
const MAX_ADDRESSES: usize = 256;
/// Part of a second whose bytes may pass at once, as a divisor.
const BURST_DIVISOR: u64 = 4;

/// Configured limits in bytes per second; 0 for none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::net) struct Limits {
    pub(in crate::net) total: u64,
    pub(in crate::net) of_address: u64,
}

/// Direction of bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Direction {
    Sent,
    Received,
}

/// Bytes that may be moved in one direction.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    bytes: u64,
    /// Time up to which the bytes are counted.
    at: Instant,
}

impl Bucket {
    const fn full(now: Instant, limit: u64) -> Self {
        Self {
            bytes: burst(limit),
            at: now,
        }
    }

    /// Adds what the time since the last call allows, and returns what there is.
    fn refill(&mut self, now: Instant, limit: u64) -> u64 {
        let earned = now.since(self.at).as_nanos() * u128::from(limit) / 1_000_000_000;
        // Otherwise the time for parts of a byte would be lost each time.
        if earned > 0 {
            let earned = u64::try_from(earned).unwrap_or(u64::MAX);
            self.bytes = self.bytes.saturating_add(earned).min(burst(limit));
            self.at = now;
        }
        self.bytes
    }
}

/// Returns the bytes that may pass at once.
const fn burst(limit: u64) -> u64 {
    let part = limit / BURST_DIVISOR;
    if part == 0 { 1 } else { part }
}

/// Buckets of both directions.
#[derive(Clone, Copy, Debug)]
struct Meter {
    sent: Bucket,
    received: Bucket,
}

impl Meter {
    const fn full(now: Instant, limit: u64) -> Self {
        Self {
            sent: Bucket::full(now, limit),
            received: Bucket::full(now, limit),
        }
    }

    const fn of(&mut self, direction: Direction) -> &mut Bucket {
        match direction {
            Direction::Sent => &mut self.sent,
            Direction::Received => &mut self.received,
        }
    }

    fn is_full(&mut self, now: Instant, limit: u64) -> bool {
        [Direction::Sent, Direction::Received]
            .into_iter()
            .all(|direction| self.of(direction).refill(now, limit) >= burst(limit))
    }
}

/// Meters of all streams.
#[derive(Debug)]
pub(super) struct Bandwidth {
    limits: Limits,
    total: Meter,
    addresses: BTreeMap<IpAddr, Meter>,
}

impl Bandwidth {
    pub(super) const fn new(now: Instant, limits: Limits) -> Self {
        Self {
            limits,
            total: Meter::full(now, limits.total),
            addresses: BTreeMap::new(),
        }
    }

    /// Returns the number of bytes that a connection with an address may move now.
    pub(super) fn allowance(
        &mut self,
        now: Instant,
        address: IpAddr,
        direction: Direction,
    ) -> usize {
        let Limits { total, of_address } = self.limits;
        let mut bytes = u64::MAX;
        if total > 0 {
            bytes = self.total.of(direction).refill(now, total);
        }
        if of_address > 0 {
            let meter = self.meter(now, address);
            bytes = bytes.min(meter.of(direction).refill(now, of_address));
        }
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// Counts bytes that were moved.
    pub(super) fn count(
        &mut self,
        now: Instant,
        address: IpAddr,
        direction: Direction,
        bytes: usize,
    ) {
        let bytes = bytes as u64;
        if self.limits.total > 0 {
            let bucket = self.total.of(direction);
            bucket.bytes = bucket.bytes.saturating_sub(bytes);
        }
        if self.limits.of_address > 0 {
            let bucket = self.meter(now, address).of(direction);
            bucket.bytes = bucket.bytes.saturating_sub(bytes);
        }
    }

    fn meter(&mut self, now: Instant, address: IpAddr) -> &mut Meter {
        let limit = self.limits.of_address;
        if self.addresses.len() >= MAX_ADDRESSES && !self.addresses.contains_key(&address) {
            self.addresses.retain(|_, meter| !meter.is_full(now, limit));
        }
        let entry = self.addresses.entry(address);
        entry.or_insert_with(|| Meter::full(now, limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Direction::{Received, Sent};

    fn address(n: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, n])
    }

    /// Moves as much as is allowed every few milliseconds; returns the bytes of ten seconds.
    fn moved(limits: Limits, addresses: &[IpAddr], step: u64) -> Vec<usize> {
        let mut bandwidth = Bandwidth::new(Instant::ZERO, limits);
        let mut moved = vec![0; addresses.len()];
        for at in (0..10_000).step_by(usize::try_from(step).unwrap()) {
            let now = Instant::from_millis(at);
            for (moved, address) in moved.iter_mut().zip(addresses) {
                let bytes = bandwidth.allowance(now, *address, Sent).min(1 << 20);
                bandwidth.count(now, *address, Sent, bytes);
                *moved += bytes;
            }
        }
        moved
    }

    #[test]
    fn streams_move_what_the_limits_allow() {
        let ours = [address(1), address(2)];
        for step in [1, 20, 130] {
            for limit in [1_000, 1_000_000] {
                let limits = Limits {
                    total: limit,
                    of_address: 0,
                };
                let all: usize = moved(limits, &ours, step).into_iter().sum();
                let exact = usize::try_from(10 * limit).unwrap();
                assert!(
                    (exact * 95 / 100..=exact * 103 / 100).contains(&all),
                    "{all}"
                );
                let limits = Limits {
                    total: 0,
                    of_address: limit,
                };
                for of_one in moved(limits, &ours, step) {
                    assert!(of_one.abs_diff(exact) <= exact / 20, "{of_one}");
                }
            }
        }
        let unlimited = moved(Limits::default(), &ours[..1], 100);
        assert_eq!(unlimited, [100 << 20]);
    }

    #[test]
    fn directions_are_independent_and_addresses_are_forgotten_once_they_rest() {
        let limits = Limits {
            total: 0,
            of_address: 1_000,
        };
        let mut bandwidth = Bandwidth::new(Instant::ZERO, limits);
        let now = Instant::from_secs(1);
        bandwidth.count(now, address(1), Sent, 5_000);
        assert_eq!(bandwidth.allowance(now, address(1), Sent), 0);
        assert_eq!(bandwidth.allowance(now, address(1), Received), 250);
        assert_eq!(bandwidth.allowance(now, address(2), Sent), 250);
        let later = Instant::from_millis(1_100);
        for n in 0..=255 {
            bandwidth.allowance(later, IpAddr::from([10, 0, 1, n]), Sent);
        }
        // It is not forgotten before it may send as much as at first.
        assert_eq!(bandwidth.allowance(later, address(1), Sent), 100);
        assert!(bandwidth.addresses.len() <= MAX_ADDRESSES);
    }
}
