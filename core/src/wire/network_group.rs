//! Network groups: the unit in which independent peers are counted.
//!
//! Keys are free and addresses of one network are cheap, so every decision that several peers take
//! part in (a vote, a share of a table, a second opinion) counts network groups and not keys. A
//! group is an IPv4 /16 or an IPv6 /32, about the allocation of one provider. Private, loopback,
//! link-local and carrier-grade NAT addresses are not allocated to providers, so each of them is a
//! group of its own: a network inside one site or one machine works like any other.
//!
//! IPv6 addresses that carry an IPv4 address of their owner (IPv4-mapped, NAT64 `64:ff9b::/96`,
//! 6to4 `2002::/16`) belong to the group of that IPv4 address: an IPv4 address is not a second IPv6
//! network.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Network group. Only comparison has a meaning; the contents are private.
///
/// ```
/// use astreum_core::wire::network_group::NetworkGroup;
/// let group = |text: &str| NetworkGroup::of(text.parse().unwrap());
/// assert_eq!(group("203.0.113.1"), group("203.0.200.9"));
/// assert_ne!(group("203.0.113.1"), group("203.1.113.1"));
/// // An IPv4 address in IPv6 form belongs to the same group.
/// assert_eq!(group("203.0.113.1"), group("::ffff:203.0.113.1"));
/// // Private addresses are groups of their own.
/// assert!(group("192.168.0.1").is_local() && group("192.168.0.1") != group("192.168.0.2"));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkGroup(Kind);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Kind {
    /// Public IPv4 /16.
    V4([u8; 2]),
    /// Public IPv6 /32.
    V6([u8; 4]),
    /// Single address of a range that is not public.
    Address(IpAddr),
}

impl NetworkGroup {
    /// Returns the group of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        let address = effective_address(address);
        Self(match address {
            IpAddr::V4(ip) if !is_public_v4(ip) => Kind::Address(address),
            IpAddr::V6(ip) if !is_public_v6(ip) => Kind::Address(address),
            IpAddr::V4(ip) => {
                let [a, b, ..] = ip.octets();
                Kind::V4([a, b])
            }
            IpAddr::V6(ip) => {
                let [a, b, c, d, ..] = ip.octets();
                Kind::V6([a, b, c, d])
            }
        })
    }

    /// Returns the first address of the group.
    pub(crate) fn first_address(&self) -> IpAddr {
        match self.0 {
            Kind::V4([a, b]) => Ipv4Addr::new(a, b, 0, 0).into(),
            Kind::V6([a, b, c, d]) => {
                let mut octets = [0; 16];
                if let Some(first) = octets.first_chunk_mut() {
                    *first = [a, b, c, d];
                }
                Ipv6Addr::from(octets).into()
            }
            Kind::Address(address) => address,
        }
    }

    /// Returns whether the group is a single address of a range that is not public.
    #[must_use]
    pub const fn is_local(&self) -> bool {
        matches!(self.0, Kind::Address(_))
    }
}

/// Prints the network in CIDR notation, or the address.
impl fmt::Display for NetworkGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Kind::V4(_) => write!(f, "{}/16", self.first_address()),
            Kind::V6(_) => write!(f, "{}/32", self.first_address()),
            Kind::Address(ip) => ip.fmt(f),
        }
    }
}

impl fmt::Debug for NetworkGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NetworkGroup({self})")
    }
}

/// Reach of an address, narrowest first.
///
/// ```
/// use astreum_core::wire::network_group::Scope;
/// let scope = |text: &str| Scope::of(text.parse().unwrap());
/// assert_eq!(scope("127.0.0.1"), Scope::Loopback);
/// assert_eq!(scope("10.1.2.3"), Scope::Private);
/// assert_eq!(scope("8.8.8.8"), Scope::Public);
/// assert!(Scope::Loopback < Scope::Private && Scope::Private < Scope::Public);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Scope {
    /// This host.
    Loopback,
    /// A private, link-local or carrier-grade NAT range.
    Private,
    /// The internet.
    Public,
}

impl Scope {
    /// Returns the scope of an address. An IPv6 address that carries an IPv4 address has the scope
    /// of that IPv4 address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match effective_address(address) {
            IpAddr::V4(ip) if ip.is_loopback() => Self::Loopback,
            IpAddr::V6(ip) if ip.is_loopback() => Self::Loopback,
            IpAddr::V4(ip) if !is_public_v4(ip) => Self::Private,
            IpAddr::V6(ip) if !is_public_v6(ip) => Self::Private,
            _ => Self::Public,
        }
    }
}

/// Returns the IPv4 address that an IPv6 address carries, or the address itself.
pub(super) fn effective_address(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(ip) => embedded_v4(ip).map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

/// Returns the IPv4 address that an IPv6 address embeds, if any.
fn embedded_v4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    match ip.octets() {
        [0x20, 0x02, a, b, c, d, ..]
        | [0x00, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d] => {
            Some(Ipv4Addr::new(a, b, c, d))
        }
        _ => ip.to_ipv4_mapped(),
    }
}

const fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, ..] = ip.octets();
    let is_shared = a == 100 && b & 0b1100_0000 == 64;
    !(ip.is_loopback() || ip.is_private() || ip.is_link_local() || is_shared)
}

const fn is_public_v6(ip: Ipv6Addr) -> bool {
    !(ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn group(text: &str) -> NetworkGroup {
        NetworkGroup::of(text.parse().unwrap())
    }

    #[test]
    fn public_addresses_share_the_group_of_their_network() {
        for (one, other, is_same) in [
            ("8.8.8.8", "8.8.255.1", true),
            ("8.8.8.8", "8.9.8.8", false),
            ("100.63.0.1", "100.63.9.9", true),
            ("100.128.0.1", "100.128.9.9", true),
            ("172.32.0.1", "172.32.0.2", true),
            ("2001:db8::1", "2001:db8:ffff::1", true),
            ("2001:db8::1", "2001:db9::1", false),
        ] {
            assert_eq!(group(one) == group(other), is_same, "{one} {other}");
            assert!(!group(one).is_local(), "{one}");
        }
    }

    #[test]
    fn each_non_public_address_is_its_own_group() {
        for (one, other) in [
            ("127.0.0.1", "127.0.0.2"),
            ("10.0.0.1", "10.0.0.2"),
            ("172.16.0.1", "172.31.255.254"),
            ("192.168.1.1", "192.168.1.2"),
            ("169.254.1.1", "169.254.1.2"),
            ("100.64.0.1", "100.127.255.254"),
            ("::1", "fd00::1"),
            ("fe80::1", "fe80::2"),
            ("::ffff:10.0.0.1", "10.0.0.2"),
        ] {
            assert_ne!(group(one), group(other), "{one} {other}");
            assert!(
                group(one).is_local() && group(other).is_local(),
                "{one} {other}"
            );
        }
    }

    #[test]
    fn embedded_ipv4_address_counts_as_itself() {
        for text in [
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2002:808:808::1",
            "2002:808:101:5::1",
        ] {
            assert_eq!(group(text), group("8.8.4.4"), "{text}");
        }
        assert_eq!(group("2002:7f00:1::"), group("127.0.0.1"));
        assert_ne!(group("64:ff9c::808:808"), group("8.8.8.8"));
    }

    #[test]
    fn scopes_are_loopback_private_and_public() {
        let scope = |text: &str| Scope::of(text.parse().unwrap());
        for text in [
            "127.0.0.1",
            "127.9.9.9",
            "::1",
            "::ffff:127.0.0.1",
            "2002:7f00:1::",
        ] {
            assert_eq!(scope(text), Scope::Loopback, "{text}");
        }
        for text in [
            "10.0.0.1",
            "172.17.0.1",
            "192.168.1.1",
            "169.254.1.1",
            "100.64.0.1",
            "100.127.255.254",
            "fd00::1",
            "fe80::1",
            "64:ff9b::a00:1",
        ] {
            assert_eq!(scope(text), Scope::Private, "{text}");
        }
        for text in ["8.8.8.8", "100.63.0.1", "100.128.0.1", "2001:db8::1"] {
            assert_eq!(scope(text), Scope::Public, "{text}");
        }
        assert!(Scope::Loopback < Scope::Private && Scope::Private < Scope::Public);
    }

    #[test]
    fn displays_as_network_or_address() {
        for (address, text) in [
            ("8.8.4.4", "8.8.0.0/16"),
            ("2001:db8:5::1", "2001:db8::/32"),
            ("192.168.1.7", "192.168.1.7"),
            ("fe80::1", "fe80::1"),
        ] {
            assert_eq!(group(address).to_string(), text);
        }
    }
}
