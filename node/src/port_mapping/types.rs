//! Ports and the state of their mappings.

use core::fmt;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::time::Instant;

/// Maximum length in characters of a text from a gateway.
#[cfg(any(test, feature = "port-mapping"))]
const MAX_ERROR_CHARS: usize = 300;

/// Transport protocol of a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// Streams.
    Tcp,
}

impl Transport {
    /// Returns its name in output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        }
    }
}

/// Port of the node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Port {
    /// Transport protocol.
    pub transport: Transport,
    /// Number.
    pub number: u16,
}

/// Protocol by which ports are mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    /// Port Control Protocol, RFC 6887.
    Pcp,
    /// NAT Port Mapping Protocol, RFC 6886.
    NatPmp,
    /// Internet Gateway Device of UPnP.
    Upnp,
}

impl Method {
    /// Returns its name in output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pcp => "PCP",
            Self::NatPmp => "NAT-PMP",
            Self::Upnp => "UPnP",
        }
    }
}

/// Mapping of a port, as the gateway states it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MappedPort {
    /// Port of the node.
    pub port: Port,
    /// Number of the port of the gateway.
    pub external_port: u16,
    /// Address of the gateway outside, if it states one.
    pub external_ip: Option<IpAddr>,
    /// Time that the mapping ends unless it is renewed; `None` if it does not end.
    pub expires: Option<Instant>,
}

impl MappedPort {
    /// Returns the address that the port is reached at, if it is known.
    #[must_use]
    pub fn external_address(&self) -> Option<SocketAddr> {
        let ip = self.external_ip?;
        Some(SocketAddr::new(ip, self.external_port))
    }
}

impl fmt::Display for MappedPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Port { transport, number } = self.port;
        write!(f, "{} {number} at ", transport.name())?;
        match self.external_address() {
            Some(address) => write!(f, "{address}"),
            None => write!(f, "port {} of the gateway", self.external_port),
        }
    }
}

/// Ports that a gateway has mapped.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mapped {
    /// Protocol.
    pub method: Method,
    /// Address of the gateway in the local network.
    pub gateway: IpAddr,
    /// Ports.
    pub ports: Vec<MappedPort>,
}

impl Mapped {
    /// Returns the shortest time until a mapping ends.
    pub(super) fn lease(&self, now: Instant) -> Option<Duration> {
        let ends = self.ports.iter().filter_map(|port| port.expires);
        ends.min().map(|end| end.saturating_duration_since(now))
    }

    /// Returns why the mapping may be of no use, if that is apparent.
    #[must_use]
    pub fn doubt(&self) -> Option<String> {
        let ip = self.ports.iter().find_map(|port| port.external_ip);
        if let Some(ip) = ip.filter(|ip| !is_public(*ip)) {
            return Some(format!(
                "the gateway's own address {ip} is not public: another NAT, such as that of the \
                 provider, is in front of it, and does not forward the ports"
            ));
        }
        let moved = self.ports.iter().find(|mapped| {
            mapped.port.transport == Transport::Tcp && mapped.external_port != mapped.port.number
        });
        moved.map(|mapped| {
            format!(
                "the gateway maps TCP port {} to {}, but peers open streams at the former: set \
                 stream_port to a number that is free at the gateway",
                mapped.port.number, mapped.external_port
            )
        })
    }
}

/// State of port mapping.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MappingStatus {
    /// Ports that are mapped.
    pub mapped: Option<Mapped>,
    /// Reason they are not, after the first attempt.
    pub error: Option<String>,
}

/// Returns whether packets to an address arrive from other networks.
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [first, second, ..] = ip.octets();
            // Carrier-grade NAT, RFC 6598.
            let is_shared = first == 100 && second & 0xc0 == 64;
            !(ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_unspecified()
                || ip.is_multicast()
                || ip.is_broadcast()
                || is_shared)
        }
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(ip) => is_public(IpAddr::V4(ip)),
            None => {
                !(ip.is_loopback()
                    || ip.is_unspecified()
                    || ip.is_multicast()
                    || ip.is_unique_local()
                    || ip.is_unicast_link_local())
            }
        },
    }
}

/// Returns an error as text of bounded length: a part of it may come from a gateway.
#[cfg(any(test, feature = "port-mapping"))]
pub(super) fn short(error: impl fmt::Display) -> String {
    let text = error.to_string();
    let mut short: String = text.chars().take(MAX_ERROR_CHARS).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(ip: &str, transport: Transport, external_port: u16) -> Mapped {
        Mapped {
            method: Method::Pcp,
            gateway: "192.168.1.1".parse().unwrap(),
            ports: vec![MappedPort {
                port: Port {
                    transport,
                    number: 52_780,
                },
                external_port,
                external_ip: Some(ip.parse().unwrap()),
                expires: None,
            }],
        }
    }

    #[test]
    fn doubt_is_about_private_gateways_and_other_stream_ports() {
        let good = mapped("203.0.113.7", Transport::Tcp, 52_780);
        assert_eq!(good.doubt(), None);
        assert_eq!(good.ports[0].to_string(), "TCP 52780 at 203.0.113.7:52780");
        for private in [
            "10.1.2.3",
            "100.64.0.1",
            "100.127.255.255",
            "::ffff:192.168.0.1",
        ] {
            let doubt = mapped(private, Transport::Udp, 52_780).doubt();
            assert!(
                doubt.is_some_and(|doubt| doubt.contains("not public")),
                "{private}"
            );
        }
        assert_eq!(mapped("100.128.0.1", Transport::Udp, 52_780).doubt(), None);
        // Datagrams of peers are answered at the address that they come from.
        assert_eq!(mapped("203.0.113.7", Transport::Udp, 50_000).doubt(), None);
        let moved = mapped("203.0.113.7", Transport::Tcp, 50_000)
            .doubt()
            .unwrap();
        assert!(moved.contains("52780 to 50000"), "{moved}");
    }

    #[test]
    fn texts_of_gateways_are_cut() {
        let long = short("é".repeat(100_000));
        assert_eq!(long.chars().count(), MAX_ERROR_CHARS + 1);
        assert_eq!(short("short"), "short");
    }
}
