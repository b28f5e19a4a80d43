//! Mapping by an Internet Gateway Device of UPnP.
//!
//! Answers are at most 1 MiB, come from the address that the device was found at, and end in time.

use core::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use core::time::Duration;
use std::time::Instant;

use igd_next::aio::Gateway;
use igd_next::aio::tokio::{Tokio, search_gateway};
use igd_next::{AddPortError, GatewayIpVersion, PortMappingProtocol, SearchOptions};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use super::route::own_address;
use super::types::{Mapped, MappedPort, Method, Port, Transport, short};

/// Port on which devices are searched.
const SEARCH_PORT: u16 = 1_900;
/// Maximum time of a search.
const SEARCH_TIMEOUT: Duration = Duration::from_secs(4);
/// Maximum time of all requests that map ports.
const MAP_TIMEOUT: Duration = Duration::from_secs(15);
/// Maximum time of all requests that remove mappings.
const REMOVAL_TIMEOUT: Duration = Duration::from_millis(900);
/// Requested lease in seconds.
const LEASE_SECONDS: u32 = 7_200;
/// Name of the mappings in the device's table.
const DESCRIPTION: &str = "astreum";
/// Arguments of the requests that change mappings.
const ARGUMENTS: [&str; 8] = [
    "NewEnabled",
    "NewExternalPort",
    "NewInternalClient",
    "NewInternalPort",
    "NewLeaseDuration",
    "NewPortMappingDescription",
    "NewProtocol",
    "NewRemoteHost",
];

/// Mappings of a device.
pub(super) struct Session {
    runtime: Runtime,
    device: Gateway<Tokio>,
    client: IpAddr,
    mapped: Vec<MappedPort>,
}

impl Session {
    /// Finds a device: at `gateway`, or else in the local network.
    pub(super) fn open(gateway: Option<Ipv4Addr>) -> Result<Self, String> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(short)?;
        let mut options = SearchOptions::default();
        options.timeout = Some(SEARCH_TIMEOUT);
        options.single_search_timeout = Some(SEARCH_TIMEOUT);
        options.gateway_ip_version = GatewayIpVersion::V4;
        if let Some(gateway) = gateway {
            options.broadcast_address = SocketAddrV4::new(gateway, SEARCH_PORT).into();
            options.allowed_gateway_ips = vec![gateway.into()];
        }
        let found = runtime.block_on(search_gateway(options));
        let mut device = found.map_err(|error| {
            let place = gateway.map_or_else(|| "the local network".to_owned(), |ip| ip.to_string());
            short(format!("no UPnP gateway was found in {place}: {error}"))
        })?;
        // Each unknown argument would be a warning in the log at every request.
        for arguments in device.control_schema.values_mut() {
            arguments.retain(|argument| ARGUMENTS.contains(&argument.as_str()));
            arguments.truncate(ARGUMENTS.len());
        }
        let IpAddr::V4(ip) = device.addr.ip() else {
            return Err("the UPnP gateway has an IPv6 address".to_owned());
        };
        if gateway.is_some_and(|gateway| gateway != ip) {
            return Err(format!("the UPnP gateway {ip} is not port_mapping_gateway"));
        }
        let client = own_address(ip).map_err(|error| format!("no route to {ip}: {error}"))?;
        Ok(Self {
            runtime,
            device,
            client,
            mapped: Vec::new(),
        })
    }

    /// Maps ports, or renews their mappings.
    pub(super) fn map(&mut self, ports: &[Port]) -> Result<Mapped, String> {
        let Self {
            runtime,
            device,
            client,
            mapped,
        } = self;
        let requests = async {
            // Only for display: without it the ports are mapped as well.
            let external_ip = device.get_external_ip().await.ok();
            for port in ports {
                let old = mapped.iter().position(|mapped| mapped.port == *port);
                let old = old.map(|at| mapped.remove(at));
                let wanted = old.map_or(port.number, |old| old.external_port);
                let own = SocketAddr::new(*client, port.number);
                let (external_port, lease) = add(device, port.transport, wanted, own).await?;
                mapped.push(MappedPort {
                    port: *port,
                    external_port,
                    external_ip,
                    expires: lease.map(|lease| Instant::now() + lease),
                });
            }
            Ok(())
        };
        let done = runtime.block_on(async { timeout(MAP_TIMEOUT, requests).await });
        done.unwrap_or_else(|_| Err("no answer in time".to_owned()))
            .map_err(|error| format!("UPnP gateway {}: {error}", device.addr))?;
        Ok(Mapped {
            method: Method::Upnp,
            gateway: device.addr.ip(),
            ports: mapped.clone(),
        })
    }

    /// Removes the mappings.
    pub(super) fn remove(self) -> Result<(), String> {
        let Self {
            runtime,
            device,
            mapped,
            ..
        } = self;
        let requests = async {
            let mut result = Ok(());
            for port in mapped {
                let protocol = protocol(port.port.transport);
                let removed = device.remove_port(protocol, port.external_port).await;
                result = result.and(removed.map_err(short));
            }
            result
        };
        let done = runtime.block_on(async { timeout(REMOVAL_TIMEOUT, requests).await });
        done.unwrap_or_else(|_| Err("no answer in time".to_owned()))
    }
}

/// Maps a port to `wanted`, or to another port if that is taken; returns the port and the lease.
async fn add(
    device: &Gateway<Tokio>,
    transport: Transport,
    wanted: u16,
    own: SocketAddr,
) -> Result<(u16, Option<Duration>), String> {
    let protocol = protocol(transport);
    // Some devices support permanent mappings only.
    for seconds in [LEASE_SECONDS, 0] {
        let added = device.add_port(protocol, wanted, own, seconds, DESCRIPTION);
        let external_port = match added.await {
            Ok(()) => wanted,
            Err(AddPortError::OnlyPermanentLeasesSupported) if seconds > 0 => continue,
            Err(AddPortError::PortInUse) => {
                let any = device.add_any_port(protocol, own, seconds, DESCRIPTION);
                any.await.map_err(short)?
            }
            Err(error) => return Err(short(error)),
        };
        let lease = (seconds > 0).then(|| Duration::from_secs(u64::from(seconds)));
        return Ok((external_port, lease));
    }
    Err("the gateway grants no lease".to_owned())
}

const fn protocol(transport: Transport) -> PortMappingProtocol {
    match transport {
        Transport::Udp => PortMappingProtocol::UDP,
        Transport::Tcp => PortMappingProtocol::TCP,
    }
}
