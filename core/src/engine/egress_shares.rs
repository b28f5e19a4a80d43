//! Shares of the outgoing queue, by network group of the destination.
//!
//! The socket takes packets in the order of the queue, and one peer can request answers of many
//! times the size of its requests. While the queue is at least half full, a group that has an
//! eighth of the limit queued gets no more: the other half is left to the other groups.

use crate::wire::network_group::NetworkGroup;
use alloc::collections::BTreeMap;
use core::net::SocketAddr;

/// Part of the limit that one group may hold of a queue that is half full: one in this many.
const GROUP_PART: u64 = 8;

/// Queued bytes by network group.
#[derive(Debug)]
pub(super) struct EgressShares {
    /// Limit of the queue in bytes; 0 for none.
    limit_bytes: u64,
    groups: BTreeMap<NetworkGroup, u64>,
}

impl EgressShares {
    /// Creates the shares of an empty queue.
    pub(super) const fn new(limit_bytes: u64) -> Self {
        Self {
            limit_bytes,
            groups: BTreeMap::new(),
        }
    }

    /// Returns whether a queue that holds `queued_bytes` takes another packet to an address.
    pub(super) fn is_allowed(&self, queued_bytes: u64, to: SocketAddr) -> bool {
        if self.limit_bytes == 0 || queued_bytes < self.limit_bytes / 2 {
            return true;
        }
        let held = self.groups.get(&NetworkGroup::of(to.ip()));
        held.is_none_or(|held| *held < self.limit_bytes / GROUP_PART)
    }

    /// Counts a packet that was queued.
    pub(super) fn add(&mut self, to: SocketAddr, len: usize) {
        let held = self.groups.entry(NetworkGroup::of(to.ip())).or_default();
        *held = held.saturating_add(len as u64);
    }

    /// Counts a packet that left the queue.
    pub(super) fn remove(&mut self, to: SocketAddr, len: usize) {
        let group = NetworkGroup::of(to.ip());
        if let Some(held) = self.groups.get_mut(&group) {
            *held = held.saturating_sub(len as u64);
            if *held == 0 {
                self.groups.remove(&group);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(a: u8, b: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([a, b, 1, 1], port))
    }

    #[test]
    fn group_may_fill_half_of_the_queue_and_then_holds_an_eighth() {
        let mut shares = EgressShares::new(1_000);
        let mut queued = 0;
        let mut push = |shares: &mut EgressShares, to, len: usize| {
            let is_allowed = shares.is_allowed(queued, to);
            if is_allowed {
                shares.add(to, len);
                queued += len as u64;
            }
            is_allowed
        };
        for port in 0..5 {
            assert!(push(&mut shares, at(60, 1, port), 100));
        }
        assert!(
            !push(&mut shares, at(60, 1, 9), 1),
            "other ports, same group"
        );
        for group in 2..6 {
            assert!(push(&mut shares, at(60, group, 1), 100));
            assert!(push(&mut shares, at(60, group, 2), 25));
            assert!(!push(&mut shares, at(60, group, 3), 1));
        }
    }

    #[test]
    fn dequeued_bytes_are_subtracted() {
        let mut shares = EgressShares::new(1_000);
        shares.add(at(60, 1, 1), 300);
        shares.add(at(60, 1, 2), 200);
        assert!(!shares.is_allowed(500, at(60, 1, 1)));
        shares.remove(at(60, 1, 1), 300);
        assert!(!shares.is_allowed(500, at(60, 1, 1)));
        shares.remove(at(60, 1, 2), 200);
        assert!(shares.is_allowed(500, at(60, 1, 1)) && shares.groups.is_empty());
    }

    #[test]
    fn queue_without_a_limit_has_no_shares() {
        let mut shares = EgressShares::new(0);
        shares.add(at(60, 1, 1), 1 << 30);
        assert!(shares.is_allowed(1 << 30, at(60, 1, 1)));
    }
}
