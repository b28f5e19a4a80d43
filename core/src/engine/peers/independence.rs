//! Number of independent peers, which decides whether enough are known.
//!
//! Keys are free and addresses of one network are cheap, so a network counts for at most
//! [`TABLE_PEERS_PER_NETWORK`] peers and a network group for at most [`TABLE_PEERS_PER_GROUP`], as
//! in the routing table: the peers of a few networks do not end the search for others. Addresses
//! that are not public are exempt, as there. Peers that are not validated may not exist, and do not
//! count.

use super::Peers;
use crate::engine::limits::{FEW_PEERS, FEW_PEERS_DIVISOR};
use crate::wire::network_group::NetworkGroup;
use crate::wire::routing_table::{Network, TABLE_PEERS_PER_GROUP, TABLE_PEERS_PER_NETWORK};
use alloc::collections::BTreeMap;
use core::net::SocketAddr;
use core::time::Duration;

/// Counted peers by network and network group.
#[derive(Default)]
struct Counts {
    networks: BTreeMap<Network, usize>,
    groups: BTreeMap<NetworkGroup, usize>,
}

impl Counts {
    /// Counts a peer at an address, unless its network or network group has reached its limit.
    /// Returns whether it was counted.
    fn take(&mut self, address: &SocketAddr) -> bool {
        let Some(network) = Network::of(&address.ip()) else {
            return true;
        };
        let of_network = self.networks.entry(network).or_default();
        let of_group = self.groups.entry(NetworkGroup::of(address.ip()));
        let of_group = of_group.or_default();
        let has_place = *of_network < TABLE_PEERS_PER_NETWORK && *of_group < TABLE_PEERS_PER_GROUP;
        *of_network += usize::from(has_place);
        *of_group += usize::from(has_place);
        has_place
    }
}

impl Peers {
    /// Counts the independent peers. One that counts keeps its place before others of its network.
    pub(in crate::engine) fn count_independent(&mut self) {
        let mut counts = Counts::default();
        let mut independent = 0;
        for has_place in [true, false] {
            let peers = self.by_key.values_mut();
            for peer in peers.filter(|peer| peer.is_independent == has_place) {
                peer.is_independent = peer.is_validated && counts.take(&peer.address);
                independent += usize::from(peer.is_independent);
            }
        }
        self.independent = independent;
    }

    /// Returns the number of independent peers at the last count, with all that were validated
    /// since and without those that were removed.
    pub(in crate::engine) const fn independent(&self) -> usize {
        self.independent
    }

    /// Returns `interval`, or a fraction of it while there are fewer than [`FEW_PEERS`] independent
    /// peers.
    pub(in crate::engine) fn paced(&self, interval: Duration) -> Duration {
        if self.independent < FEW_PEERS {
            interval / FEW_PEERS_DIVISOR
        } else {
            interval
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_and_groups_count_up_to_the_limits_of_the_routing_table() {
        let counted = |count: u32, address: fn(u32) -> [u8; 4]| {
            let mut counts = Counts::default();
            let addresses = (0..count).map(|n| SocketAddr::from((address(n), 9)));
            addresses.filter(|address| counts.take(address)).count()
        };
        assert_eq!(counted(64, |n| [9, 9, 9, n.to_be_bytes()[3]]), 10);
        assert_eq!(counted(250, |n| [9, 9, n.to_be_bytes()[3], 1]), 20);
        assert_eq!(counted(250, |n| [9, n.to_be_bytes()[3], 1, 1]), 250);
        assert_eq!(counted(250, |n| [10, 9, 9, n.to_be_bytes()[3]]), 250);
        assert_eq!(counted(250, |_| [127, 0, 0, 1]), 250);
    }
}
