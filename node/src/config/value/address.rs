//! Addresses of a node: IP addresses, and those with a port.

use super::{DisplayValue, OptionalSetting};
use core::net::{IpAddr, Ipv4Addr, SocketAddr};

impl OptionalSetting for IpAddr {
    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    /// Rejects addresses that a socket cannot have.
    fn reason(&self) -> Option<&'static str> {
        if self.is_unspecified() {
            Some("an unspecified address stands for all addresses: leave the key unset")
        } else if self.is_multicast() {
            Some("a multicast address is not the address of one node")
        } else {
            None
        }
    }

    fn shown(&self) -> DisplayValue {
        DisplayValue::Text(self.to_string())
    }
}

impl OptionalSetting for SocketAddr {
    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    /// Rejects addresses that other nodes cannot send to.
    fn reason(&self) -> Option<&'static str> {
        let ip = self.ip().to_canonical();
        if ip.is_unspecified() {
            Some("an unspecified address cannot be reached by peers")
        } else if ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST) {
            Some("a multicast or broadcast address is not the address of one node")
        } else if self.port() == 0 {
            Some("port 0 cannot be reached by peers")
        } else {
            None
        }
    }

    fn shown(&self) -> DisplayValue {
        DisplayValue::Text(self.to_string())
    }
}
