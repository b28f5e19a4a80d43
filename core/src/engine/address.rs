//! Address classification: canonical form, contactable addresses, and the origins that per-network
//! limits count.

use crate::wire::network_group::Scope;
use crate::wire::routing_table::Network;
use core::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};

/// Returns the canonical form of an address: an IPv4-mapped address as IPv4, and an IPv6 address
/// with its flow label cleared.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) if v6.ip().to_ipv4_mapped().is_none() => {
            SocketAddr::V6(SocketAddrV6::new(*v6.ip(), v6.port(), 0, v6.scope_id()))
        }
        _ => SocketAddr::new(address.ip().to_canonical(), address.port()),
    }
}

/// Origin that per-network limits count: the network of a public address, or the socket for any
/// other. Ranges that are not public are not assigned by network, and many peers may share one such
/// address behind a NAT or a bridge, so there each socket counts by itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Origin {
    Network(Network),
    Socket(SocketAddr),
}

impl Origin {
    /// First origin in order.
    pub(super) const FIRST: Self = Self::Network(Network::V4([0; 3]));

    /// Returns the origin of an address.
    pub(super) fn of(address: &SocketAddr) -> Self {
        Network::of(&address.ip()).map_or(Self::Socket(*address), Self::Network)
    }
}

/// Returns whether a datagram sent to this address can reach a single host.
pub(super) fn is_contactable(address: SocketAddr) -> bool {
    let ip = address.ip();
    let reserved = match ip {
        IpAddr::V4(ip) => ip.octets().starts_with(&[0]) || ip == Ipv4Addr::BROADCAST,
        IpAddr::V6(_) => false,
    };
    address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !reserved
}

/// Returns whether a referrer at `referrer` may make us contact `named`: only loopback peers may
/// name loopback addresses, and a peer at a public address may not name a private one.
pub(super) fn is_referral_allowed(referrer: IpAddr, named: SocketAddr) -> bool {
    is_contactable(named) && Scope::of(named.ip()) >= Scope::of(referrer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn mapped_addresses_are_ipv4() {
        assert_eq!(canonical(at("[::ffff:1.2.3.4]:5")), at("1.2.3.4:5"));
        assert_eq!(canonical(at("[2001:db8::1]:5")), at("[2001:db8::1]:5"));
        let scoped = SocketAddrV6::new("fe80::1".parse().unwrap(), 5, 7, 3);
        let kept = SocketAddrV6::new(*scoped.ip(), 5, 0, 3);
        assert_eq!(canonical(scoped.into()), kept.into());
    }

    #[test]
    fn referrals_lead_to_hosts_of_the_same_or_a_wider_scope() {
        let public = at("8.8.8.8:1").ip();
        let local = at("127.0.0.1:1").ip();
        let bridge = at("172.17.0.1:1").ip();
        for bad in [
            "0.0.0.0:1",
            "1.2.3.4:0",
            "224.0.0.1:1",
            "255.255.255.255:1",
            "[::]:1",
            "[ff02::1]:1",
        ] {
            assert!(!is_referral_allowed(local, at(bad)), "{bad}");
        }
        for loopback in [
            "127.0.0.1:53",
            "127.8.8.8:1",
            "[::1]:1",
            "[2002:7f00:1::]:1",
        ] {
            assert!(!is_referral_allowed(public, at(loopback)), "{loopback}");
            assert!(!is_referral_allowed(bridge, at(loopback)), "{loopback}");
            assert!(is_referral_allowed(local, at(loopback)), "{loopback}");
        }
        for inner in [
            "10.0.0.1:1",
            "100.64.0.1:1",
            "192.168.0.1:1",
            "[fd00::1]:1",
            "[fe80::1]:1",
        ] {
            assert!(!is_referral_allowed(public, at(inner)), "{inner}");
            assert!(is_referral_allowed(local, at(inner)), "{inner}");
            assert!(is_referral_allowed(bridge, at(inner)), "{inner}");
        }
        for referrer in [public, bridge, local] {
            assert!(is_referral_allowed(referrer, at("1.2.3.4:1")));
        }
    }

    #[test]
    fn public_addresses_count_by_network_and_others_by_socket() {
        let origin = |text| Origin::of(&at(text));
        assert_eq!(origin("8.8.8.8:1"), origin("8.8.8.9:2"));
        assert_eq!(origin("[2002:808:808::1]:1"), origin("8.8.8.9:2"));
        for (one, other) in [
            ("172.17.0.1:1", "172.17.0.1:2"),
            ("100.64.0.1:1", "100.64.0.1:2"),
            ("127.0.0.1:1", "127.0.0.2:1"),
        ] {
            assert_ne!(origin(one), origin(other));
        }
    }
}
