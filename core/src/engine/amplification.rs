//! Amplification limits: byte balances of unvalidated addresses. An address may be sent at most
//! three times the bytes that came from it, or from a referrer that named it.
//!
//! The balance is kept per address that answers go to. Removing a balance is safe: the address is
//! left without one, and later packets to it are again bounded by later packets from it.

use super::limits::{AMPLIFICATION, CREDIT_LIFETIME, MAX_CREDITS};
use crate::time::Instant;
use alloc::collections::{BTreeMap, BTreeSet};
use core::net::SocketAddr;

/// Balance of an unvalidated address in bytes, and the time of the last packet that added to it.
#[derive(Debug)]
struct Credit {
    bytes: u64,
    used: Instant,
}

/// Balances of unvalidated addresses, at most [`MAX_CREDITS`] of them.
#[derive(Debug, Default)]
pub(super) struct Credits {
    by_address: BTreeMap<SocketAddr, Credit>,
    by_use: BTreeSet<(Instant, SocketAddr)>,
}

impl Credits {
    /// Adds [`AMPLIFICATION`] times `bytes` to the balance of `address`, after `bytes` came from
    /// it.
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

    /// Subtracts `bytes` from the balance of `address`; returns `false`, without effect, if the
    /// balance is smaller.
    pub(super) fn spend(&mut self, address: &SocketAddr, bytes: usize) -> bool {
        let Some(credit) = self.by_address.get_mut(address) else {
            return false;
        };
        let left = credit.bytes.checked_sub(bytes as u64);
        credit.bytes = left.unwrap_or(credit.bytes);
        left.is_some()
    }

    /// Returns whether a packet from `address`, or a redirect that names it, has come recently.
    pub(super) fn has(&self, address: &SocketAddr) -> bool {
        self.by_address.contains_key(address)
    }

    /// Returns whether the balance of `address` is at least `bytes`.
    pub(super) fn covers(&self, address: &SocketAddr, bytes: usize) -> bool {
        let credit = self.by_address.get(address);
        credit.is_some_and(|credit| credit.bytes >= bytes as u64)
    }

    /// Removes the balances of addresses that have been silent for more than [`CREDIT_LIFETIME`].
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some(&(used, address)) = self.by_use.first()
            && now.since(used) > CREDIT_LIFETIME
        {
            self.by_use.pop_first();
            self.by_address.remove(&address);
        }
    }

    /// Returns the number of balances.
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
    fn unknown_addresses_have_no_balance_and_old_balances_expire() {
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
    fn flood_of_addresses_stays_bounded() {
        let mut credits = Credits::default();
        for n in 0..u32::try_from(2 * MAX_CREDITS).unwrap() {
            let address = SocketAddr::from((core::net::Ipv4Addr::from_bits(n), 1));
            credits.received(Instant::from_micros(n.into()), address, 1);
        }
        assert_eq!(credits.len(), MAX_CREDITS);
    }

    proptest! {
        #[test]
        fn sent_bytes_never_exceed_three_times_the_received_bytes(
            steps in proptest::collection::vec((0..4u16, any::<bool>(), 0..200usize), 0..300),
        ) {
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
