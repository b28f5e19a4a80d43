//! What kind of address it is, and whether it can be somebody's.

use crate::wire::table::Network;
use core::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};

/// An IPv4 address in IPv6 clothes as what it is; of an IPv6 address only what names a host.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) if v6.ip().to_ipv4_mapped().is_none() => {
            SocketAddr::V6(SocketAddrV6::new(*v6.ip(), v6.port(), 0, v6.scope_id()))
        }
        _ => SocketAddr::new(address.ip().to_canonical(), address.port()),
    }
}

/// Loopback, private and link-local ranges: no budgets per network there, and a stranger outside
/// cannot make us contact them.
pub(super) fn is_local(ip: IpAddr) -> bool {
    Network::of(&ip).is_none()
}

/// Whether a datagram can be sent there and reach one host.
pub(super) fn is_contactable(address: SocketAddr) -> bool {
    let ip = address.ip();
    let reserved = match ip {
        IpAddr::V4(ip) => ip.octets().starts_with(&[0]) || ip == Ipv4Addr::BROADCAST,
        IpAddr::V6(_) => false,
    };
    address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !reserved
}

/// Whether somebody at `namer` may make us contact `named`: what is local to us is for locals.
pub(super) fn may_name(namer: IpAddr, named: SocketAddr) -> bool {
    is_contactable(named) && (!is_local(named.ip()) || is_local(namer))
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
    fn nobody_names_what_is_no_host_or_not_theirs() {
        let public = at("8.8.8.8:1").ip();
        let local = at("127.0.0.1:1").ip();
        for bad in [
            "0.0.0.0:1",
            "1.2.3.4:0",
            "224.0.0.1:1",
            "255.255.255.255:1",
            "[::]:1",
            "[ff02::1]:1",
        ] {
            assert!(!may_name(local, at(bad)), "{bad}");
        }
        for inner in [
            "127.0.0.1:1",
            "10.0.0.1:1",
            "192.168.0.1:1",
            "[::1]:1",
            "[fd00::1]:1",
            "[fe80::1]:1",
        ] {
            assert!(!may_name(public, at(inner)), "{inner}");
            assert!(may_name(local, at(inner)), "{inner}");
        }
        assert!(may_name(public, at("1.2.3.4:1")));
    }
}
