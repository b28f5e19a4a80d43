//! Mapping by PCP, and by NAT-PMP if the gateway does not know PCP.
//!
//! Answers are datagrams of the gateway's address and of bounded size; every request ends in time.

use core::net::{IpAddr, Ipv4Addr};
use core::num::NonZeroU16;
use core::time::Duration;

use crab_nat::{
    InternetProtocol, MappingFailure, PortMapping, PortMappingOptions, PortMappingType,
    RECOMMENDED_MAPPING_LIFETIME_SECONDS, TimeoutConfig, natpmp, pcp,
};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use super::route::own_address;
use super::types::{Mapped, MappedPort, Method, Port, Transport, short};

/// Times of requests: 3.75 seconds in all without an answer.
const TIMEOUTS: TimeoutConfig = TimeoutConfig {
    initial_timeout: Duration::from_millis(250),
    max_retries: 3,
    max_retry_timeout: Some(Duration::from_secs(2)),
};
/// Times of the requests that remove a mapping: the node is about to stop.
const REMOVAL_TIMEOUTS: TimeoutConfig = TimeoutConfig {
    initial_timeout: Duration::from_millis(150),
    max_retries: 2,
    max_retry_timeout: Some(Duration::from_millis(300)),
};

/// Mappings of a gateway.
pub(super) struct Session {
    runtime: Runtime,
    gateway: Ipv4Addr,
    client: IpAddr,
    mappings: Vec<(Port, PortMapping)>,
}

impl Session {
    /// Prepares mappings of a gateway; nothing is sent.
    pub(super) fn open(gateway: Ipv4Addr) -> Result<Self, String> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let client = own_address(gateway);
        let client = client.map_err(|error| format!("no route to {gateway}: {error}"))?;
        Ok(Self {
            runtime: runtime.map_err(short)?,
            gateway,
            client,
            mappings: Vec::new(),
        })
    }

    /// Maps ports, or renews their mappings.
    pub(super) fn map(&mut self, ports: &[Port]) -> Result<Mapped, String> {
        let Self {
            runtime,
            gateway,
            client,
            mappings,
        } = self;
        let (gateway, client) = (*gateway, *client);
        runtime.block_on(async {
            for port in ports {
                match mappings.iter_mut().find(|(mapped, _)| mapped == port) {
                    Some((_, mapping)) => mapping.renew().await.map_err(short)?,
                    None => mappings.push((*port, create(gateway, client, *port).await?)),
                }
            }
            let is_pcp = |(_, mapping): &(Port, PortMapping)| {
                matches!(mapping.mapping_type(), PortMappingType::Pcp { .. })
            };
            let method = match mappings.iter().all(is_pcp) {
                true => Method::Pcp,
                false => Method::NatPmp,
            };
            // Only for display: without it the ports are mapped as well.
            let address = match method {
                Method::Pcp => None,
                _ => natpmp::external_address(gateway.into(), Some(TIMEOUTS))
                    .await
                    .ok(),
            };
            let ports = mappings.iter().map(|(port, mapping)| {
                let external_ip = match mapping.mapping_type() {
                    PortMappingType::Pcp { external_ip, .. } => Some(external_ip.to_canonical()),
                    PortMappingType::NatPmp => address.map(IpAddr::V4),
                };
                MappedPort {
                    port: *port,
                    external_port: mapping.external_port().get(),
                    external_ip,
                    expires: Some(mapping.expiration()),
                }
            });
            Ok(Mapped {
                method,
                gateway: gateway.into(),
                ports: ports.collect(),
            })
        })
    }

    /// Removes the mappings.
    pub(super) fn remove(self) -> Result<(), String> {
        self.runtime.block_on(async {
            let mut removals = JoinSet::new();
            for (_, mut mapping) in self.mappings {
                mapping.timeout_config = REMOVAL_TIMEOUTS;
                removals.spawn(async move { mapping.try_drop().await.map_err(|(error, _)| error) });
            }
            let mut result = Ok(());
            while let Some(removed) = removals.join_next().await {
                let removed = removed.map_err(short).and_then(|it| it.map_err(short));
                result = result.and(removed);
            }
            result
        })
    }
}

async fn create(gateway: Ipv4Addr, client: IpAddr, port: Port) -> Result<PortMapping, String> {
    let number = NonZeroU16::new(port.number).ok_or("port 0 cannot be mapped")?;
    let protocol = match port.transport {
        Transport::Udp => InternetProtocol::Udp,
        Transport::Tcp => InternetProtocol::Tcp,
    };
    let options = PortMappingOptions {
        external_port: Some(number),
        lifetime_seconds: Some(RECOMMENDED_MAPPING_LIFETIME_SECONDS),
        timeout_config: Some(TIMEOUTS),
    };
    let request = pcp::BaseMapRequest::new(gateway.into(), client, protocol, number);
    let failure = match pcp::port_mapping(request, None, None, options).await {
        Ok(mapping) => return Ok(mapping),
        Err(failure) => failure,
    };
    // Some gateways that only know NAT-PMP do not answer PCP at all.
    let mapping = natpmp::port_mapping(gateway.into(), protocol, number, options).await;
    mapping.map_err(|error| {
        let (pcp, nat_pmp) = (MappingFailure::Pcp(failure), MappingFailure::NatPmp(error));
        short(format!("{gateway}: {pcp}, {nat_pmp}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    /// Answers of a gateway to a request of PCP and of NAT-PMP.
    fn answer(request: &[u8]) -> Vec<u8> {
        let mut answer = request.to_vec();
        answer[1] |= 0x80;
        match request[0] {
            2 => {
                answer[3] = 0;
                answer[8..24].fill(0);
            }
            _ if request.len() == 2 => answer.extend([0, 0, 0, 0, 0, 1, 203, 0, 113, 7]),
            _ => {
                let (ports, lease) = (request[4..8].to_vec(), request[8..12].to_vec());
                answer.truncate(4);
                answer.extend([0, 0, 0, 1]);
                answer.extend(ports.into_iter().chain(lease));
            }
        }
        answer
    }

    #[test]
    fn damaged_answers_are_errors_or_mappings() {
        let gateway = Ipv4Addr::new(127, 77, 2, 1);
        let socket = UdpSocket::bind((gateway, crab_nat::GATEWAY_PORT)).unwrap();
        std::thread::spawn(move || {
            // Xorshift: the same damages in every run.
            let mut state = 0x9e37_79b9_7f4a_7c15_u64;
            let mut below = |limit: usize| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                usize::try_from(state % limit as u64).unwrap()
            };
            let mut buffer = [0; 2_048];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let mut answer = answer(&buffer[..length]);
                for _ in 0..below(4) {
                    let at = below(answer.len());
                    answer[at] = u8::try_from(below(256)).unwrap();
                }
                match below(8) {
                    0 => answer.truncate(below(61)),
                    1 => answer.resize(below(1_400), 0xff),
                    _ => {}
                }
                let _ = socket.send_to(&answer, from);
            }
        });
        let port = |transport| Port {
            transport,
            number: 52_780,
        };
        let ports = [port(Transport::Udp), port(Transport::Tcp)];
        let (mut mapped, mut failed) = (0, 0);
        for _ in 0..300 {
            let mut session = Session::open(gateway).unwrap();
            match session.map(&ports) {
                Ok(result) => {
                    assert_eq!(result.ports.len(), 2);
                    mapped += 1;
                }
                Err(error) => {
                    assert!(error.contains("127.77.2.1"), "{error}");
                    failed += 1;
                }
            }
        }
        assert!(mapped > 10 && failed > 10, "{mapped} {failed}");
    }
}
