//! Addresses of the gateway, and of this machine as the gateway sees it.

use core::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::io;
use std::net::UdpSocket;

/// Flag of a route through a gateway, in Linux's table.
const VIA_GATEWAY: u32 = 2;

/// Returns the gateway of the default route.
///
/// # Errors
/// Fails if the system has no default route, or no table of routes to read.
pub(super) fn default_gateway() -> Result<Ipv4Addr, String> {
    let advice = "set port_mapping_gateway to the address of the router";
    let table = std::fs::read_to_string("/proc/self/net/route")
        .map_err(|error| format!("cannot read the routes of this system: {error}; {advice}"))?;
    gateway_in(&table).ok_or_else(|| format!("this machine has no default route; {advice}"))
}

/// Finds the gateway of the default route with the least metric in Linux's table of routes.
fn gateway_in(table: &str) -> Option<Ipv4Addr> {
    let routes = table.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let hex = |at: usize| u32::from_str_radix(fields.get(at)?, 16).ok();
        let (destination, gateway, flags, mask) = (hex(1)?, hex(2)?, hex(3)?, hex(7)?);
        let metric: u32 = fields.get(6)?.parse().ok()?;
        let is_default = destination == 0 && mask == 0 && flags & VIA_GATEWAY != 0;
        // The bytes of the address in memory, as a number of this machine.
        (is_default && gateway != 0).then(|| (metric, Ipv4Addr::from(gateway.to_ne_bytes())))
    });
    routes.min_by_key(|(metric, _)| *metric).map(|(_, ip)| ip)
}

/// Returns the address from which packets to `gateway` are sent.
///
/// # Errors
/// Fails if there is no route to it.
pub(super) fn own_address(gateway: Ipv4Addr) -> io::Result<IpAddr> {
    let socket = UdpSocket::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0))?;
    // Nothing is sent.
    socket.connect(SocketAddrV4::new(gateway, 9))?;
    Ok(socket.local_addr()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_route_with_the_least_metric_is_found() {
        let head =
            "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n";
        let of = |gateway: [u8; 4], metric| {
            let gateway = u32::from_ne_bytes(gateway);
            format!("eth0\t00000000\t{gateway:08X}\t0003\t0\t0\t{metric}\t00000000\t0\t0\t0\n")
        };
        let direct = "eth0\t0000A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n";
        let table = [
            head,
            direct,
            &of([10, 0, 0, 1], 600),
            &of([192, 168, 0, 1], 100),
        ]
        .concat();
        assert_eq!(gateway_in(&table), Some(Ipv4Addr::new(192, 168, 0, 1)));
        assert_eq!(gateway_in(&[head, direct].concat()), None);
        for damaged in ["", "x\ny z\n", "a\n\t\t\t\n", &table[..90]] {
            assert_eq!(gateway_in(damaged), None, "{damaged:?}");
        }
    }

    #[test]
    fn own_address_is_that_of_the_route() {
        let loopback = own_address(Ipv4Addr::new(127, 3, 2, 1)).unwrap();
        assert_eq!(loopback, IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
}
