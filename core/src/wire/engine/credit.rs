//! What addresses that are not proven may be sent: at most three times what came from them, or from
//! a peer that named them.
//!
//! The balance is per address that answers go to. Forgetting one is safe: it is left without
//! credit, and what it is sent later is again bounded by what comes later.

use super::limits::{AMPLIFICATION, CREDIT_LIFETIME, MAX_CREDITS};
use crate::time::Instant;
use alloc::collections::{BTreeMap, BTreeSet};
use core::net::SocketAddr;

#[derive(Debug)]
struct Credit {
    bytes: u64,
    used: Instant,
}

#[derive(Debug, Default)]
pub(super) struct Credits {
    by_address: BTreeMap<SocketAddr, Credit>,
    by_use: BTreeSet<(Instant, SocketAddr)>,
}

impl Credits {
    /// Notes that `bytes` came from `address`.
    pub(super) fn received(&mut self, now: Instant, address: SocketAddr, bytes: usize) {
        let bytes = (bytes as u64).saturating_mul(AMPLIFICATION);
        if let Some(credit) = self.by_address.get_mut(&address) {
            self.by_use.remove(&(credit.used, address));
            credit.bytes = credit.bytes.saturating_add(bytes);
            credit.used = now;
        } else {
            if self.by_address.len() >= MAX_CREDITS
                && let Some((_, oldest)) = self.by_use.pop_first()
            {
                self.by_address.remove(&oldest);
            }
            self.by_address.insert(address, Credit { bytes, used: now });
        }
        self.by_use.insert((now, address));
    }

    /// Takes `bytes` off the balance of `address`, if it has them.
    pub(super) fn spend(&mut self, address: &SocketAddr, bytes: usize) -> bool {
        let Some(credit) = self.by_address.get_mut(address) else {
            return false;
        };
        let left = credit.bytes.checked_sub(bytes as u64);
        credit.bytes = left.unwrap_or(credit.bytes);
        left.is_some()
    }

    /// Returns whether something has come from `address` of late, or has named it.
    pub(super) fn has(&self, address: &SocketAddr) -> bool {
        self.by_address.contains_key(address)
    }

    /// Whether `address` has `bytes`.
    pub(super) fn covers(&self, address: &SocketAddr, bytes: usize) -> bool {
        let credit = self.by_address.get(address);
        credit.is_some_and(|credit| credit.bytes >= bytes as u64)
    }

    /// Forgets what has been silent for long.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some(&(used, address)) = self.by_use.first()
            && now.since(used) > CREDIT_LIFETIME
        {
            self.by_use.pop_first();
            self.by_address.remove(&address);
        }
    }

    /// Addresses that are kept.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        debug_assert_eq!(self.by_address.len(), self.by_use.len());
        self.by_address.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], port))
    }

    #[test]
    fn strangers_have_no_credit_and_old_balances_go() {
        let mut credits = Credits::default();
        assert!(!credits.spend(&address(1), 0));
        credits.received(Instant::ZERO, address(1), 10);
        assert!(credits.spend(&address(1), 30) && !credits.spend(&address(1), 1));
        credits.expire(Instant::from_secs(60));
        assert_eq!(credits.len(), 1);
        credits.expire(Instant::from_secs(61));
        assert_eq!(credits.len(), 0);
    }

    #[test]
    fn a_flood_of_addresses_stays_bounded() {
        let mut credits = Credits::default();
        for n in 0..u32::try_from(2 * MAX_CREDITS).unwrap() {
            let address = SocketAddr::from((core::net::Ipv4Addr::from_bits(n), 1));
            credits.received(Instant::from_micros(n.into()), address, 1);
        }
        assert_eq!(credits.len(), MAX_CREDITS);
    }

    proptest! {
        #[test]
        fn never_more_than_three_times(steps in proptest::collection::vec((0..4u16, any::<bool>(), 0..200usize), 0..300)) {
            let mut credits = Credits::default();
            let mut balance = [0i64; 4];
            for (port, receive, bytes) in steps {
                let signed = i64::try_from(bytes).unwrap();
                if receive {
                    credits.received(Instant::ZERO, address(port), bytes);
                    balance[usize::from(port)] += 3 * signed;
                } else if credits.spend(&address(port), bytes) {
                    balance[usize::from(port)] -= signed;
                }
                prop_assert!(balance.iter().all(|left| *left >= 0));
            }
        }
    }
}
