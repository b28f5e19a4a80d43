//! Part of the `status` reply about port mapping, its problem and its warning.

use crate::config::Settings;
use crate::port_mapping::{MappedPort, MappingStatus};
use crate::rpc::{MappedPortReply, PortMappingReply};
use std::time::Instant;

/// Returns the reply about a state.
pub(super) fn reply(settings: &Settings, status: &MappingStatus) -> PortMappingReply {
    let mode = settings.port_mapping.name().to_owned();
    let error = status.error.clone();
    let Some(mapped) = &status.mapped else {
        return PortMappingReply {
            mode,
            error,
            ..PortMappingReply::default()
        };
    };
    let now = Instant::now();
    PortMappingReply {
        mode,
        method: Some(mapped.method.name().to_owned()),
        gateway: Some(mapped.gateway.to_string()),
        ports: mapped
            .ports
            .iter()
            .map(|port| port_reply(port, now))
            .collect(),
        error,
        doubt: mapped.doubt(),
    }
}

fn port_reply(mapped: &MappedPort, now: Instant) -> MappedPortReply {
    let left = |end: Instant| end.saturating_duration_since(now).as_secs();
    MappedPortReply {
        protocol: mapped.port.transport.name().to_owned(),
        port: mapped.port.number,
        external_port: mapped.external_port,
        external_address: mapped.external_address(),
        expires_seconds: mapped.expires.map(left),
    }
}

/// Returns the problem that these UDP and TCP ports are not mapped although that is configured.
pub(super) fn problem(
    settings: &Settings,
    status: &MappingStatus,
    (udp, tcp): (Option<u16>, Option<u16>),
) -> Option<String> {
    let error = status.error.as_ref()?;
    let mode = settings.port_mapping.name();
    let numbers = [
        udp.map(|it| format!("UDP port {it}")),
        tcp.map(|it| format!("TCP port {it}")),
    ];
    let numbers: Vec<String> = numbers.into_iter().flatten().collect();
    let numbers = numbers.join(" and ");
    Some(format!(
        "the ports are not mapped although port_mapping = \"{mode}\": {error}; forward {numbers} in \
         the router, or set port_mapping = \"off\""
    ))
}
