//! Configured seeds, the pinned key of the default seed, and the times at which seeds are
//! contacted.

use super::address::canonical;
use super::limits::MAX_SEEDS;
use crate::crypto::PublicKey;
use crate::time::Instant;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

/// Addresses of the seeds, as the host has resolved them.
#[derive(Debug)]
pub(super) struct Seeds {
    default: Vec<SocketAddr>,
    additional: Vec<SocketAddr>,
    /// First key that was validated at an address of the default seed.
    pinned: Option<PublicKey>,
    /// Interval between attempts while there is no validated peer; zero tries once.
    retry_interval: Duration,
    next_bootstrap: Instant,
    /// Time at which missing seeds were last contacted while there were validated peers.
    contacted_at: Instant,
}

impl Seeds {
    pub(super) const fn new(now: Instant, retry_interval: Duration) -> Self {
        Self {
            default: Vec::new(),
            additional: Vec::new(),
            pinned: None,
            retry_interval,
            next_bootstrap: now,
            contacted_at: now,
        }
    }

    /// Replaces the addresses, at most [`MAX_SEEDS`] of each kind; the pin stays. Returns the new
    /// ones, which are to be contacted.
    pub(super) fn set(
        &mut self,
        now: Instant,
        default: &[SocketAddr],
        additional: &[SocketAddr],
    ) -> Vec<SocketAddr> {
        let resolved = |seeds: &[SocketAddr]| -> Vec<SocketAddr> {
            let seeds = seeds.iter().take(MAX_SEEDS).copied();
            seeds.map(canonical).collect()
        };
        let before = [
            core::mem::replace(&mut self.default, resolved(default)),
            core::mem::replace(&mut self.additional, resolved(additional)),
        ];
        let is_new = |seed: &SocketAddr| !before.iter().flatten().any(|had| had == seed);
        let fresh: Vec<SocketAddr> = self.addresses().copied().filter(is_new).collect();
        // Resolving the same addresses again does not delay the next attempt.
        if !fresh.is_empty() {
            self.next_bootstrap = now + self.retry_interval;
        }
        fresh
    }

    /// Returns the addresses of all seeds, those of the default seed first.
    pub(super) fn addresses(&self) -> impl Iterator<Item = &SocketAddr> {
        self.default.iter().chain(&self.additional)
    }

    /// Returns whether an address is that of a seed.
    pub(super) fn contains(&self, address: &SocketAddr) -> bool {
        self.addresses().any(|seed| seed == address)
    }

    /// Pins a key that was validated at `address` if that is an address of the default seed and no
    /// key is pinned; returns whether it was pinned now.
    pub(super) fn pin(&mut self, key: &PublicKey, address: &SocketAddr) -> bool {
        let is_pinned = self.pinned.is_none() && self.default.contains(address);
        if is_pinned {
            self.pinned = Some(*key);
        }
        is_pinned
    }

    /// Returns whether a peer is the pinned default seed.
    pub(super) fn is_default(&self, key: &PublicKey) -> bool {
        self.pinned.as_ref() == Some(key)
    }

    /// Returns the time of the next attempt to reach the seeds of a node without validated peers,
    /// or `None` if there is no seed, or no interval configured.
    pub(super) fn bootstrap_at(&self) -> Option<Instant> {
        let has_seeds = self.addresses().next().is_some();
        let repeats = !self.retry_interval.is_zero();
        (has_seeds && repeats).then_some(self.next_bootstrap)
    }

    /// Returns the seeds to contact now, if a node without validated peers is to try again.
    pub(super) fn bootstrap(&mut self, now: Instant) -> Vec<SocketAddr> {
        if self.bootstrap_at().is_none_or(|at| at > now) {
            return Vec::new();
        }
        self.next_bootstrap = now + self.retry_interval;
        self.addresses().copied().collect()
    }

    /// Returns the seeds of which a node with validated peers contacts the missing ones, once per
    /// `interval`.
    pub(super) fn refresh(&mut self, now: Instant, interval: Duration) -> Vec<SocketAddr> {
        if now.since(self.contacted_at) < interval {
            return Vec::new();
        }
        self.contacted_at = now;
        self.addresses().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(n: u8) -> SocketAddr {
        SocketAddr::from(([9, 9, 9, n], 7))
    }

    #[test]
    fn only_new_addresses_are_returned_and_delay_the_next_attempt() {
        let second = Duration::from_secs(1);
        let mut seeds = Seeds::new(Instant::ZERO, second);
        assert_eq!(seeds.bootstrap_at(), None, "no seed");
        let mapped = "[::ffff:9.9.9.1]:7".parse().unwrap();
        assert_eq!(
            seeds.set(Instant::ZERO, &[mapped], &[at(2)]),
            [at(1), at(2)]
        );
        let now = Instant::ZERO + second / 2;
        assert!(seeds.set(now, &[at(2)], &[at(1)]).is_empty());
        assert_eq!(seeds.bootstrap_at(), Some(Instant::ZERO + second));
        assert_eq!(seeds.set(now, &[at(2)], &[at(3)]), [at(3)]);
        assert_eq!(seeds.bootstrap_at(), Some(now + second));
        assert!(seeds.bootstrap(now).is_empty(), "not due");
        assert_eq!(seeds.bootstrap(now + second), [at(2), at(3)]);
        assert_eq!(seeds.bootstrap_at(), Some(now + second * 2));
        let many: Vec<SocketAddr> = (0..=255).map(at).cycle().take(9 * MAX_SEEDS).collect();
        seeds.set(now, &many, &[]);
        assert_eq!(seeds.addresses().count(), MAX_SEEDS);
        let mut once = Seeds::new(Instant::ZERO, Duration::ZERO);
        once.set(Instant::ZERO, &[at(1)], &[]);
        assert_eq!(once.bootstrap_at(), None);
    }

    #[test]
    fn first_key_at_the_default_seed_is_pinned() {
        let mut seeds = Seeds::new(Instant::ZERO, Duration::ZERO);
        seeds.set(Instant::ZERO, &[at(1)], &[at(2)]);
        let [one, two] = [1, 2].map(|n| PublicKey::new([n; 32]));
        assert!(!seeds.pin(&one, &at(2)), "not the default seed");
        assert!(seeds.pin(&one, &at(1)));
        assert!(!seeds.pin(&two, &at(1)), "pinned");
        seeds.set(Instant::ZERO, &[at(3)], &[]);
        assert!(seeds.is_default(&one) && !seeds.is_default(&two));
    }

    #[test]
    fn missing_seeds_are_due_once_per_interval() {
        let mut seeds = Seeds::new(Instant::ZERO, Duration::ZERO);
        seeds.set(Instant::ZERO, &[at(1)], &[at(2)]);
        let minute = Duration::from_secs(60);
        assert!(seeds.refresh(Instant::from_secs(59), minute).is_empty());
        assert_eq!(
            seeds.refresh(Instant::from_secs(60), minute),
            [at(1), at(2)]
        );
        assert!(seeds.refresh(Instant::from_secs(61), minute).is_empty());
    }
}
