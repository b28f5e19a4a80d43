//! Part of the `status` reply about port mapping.

use super::schema::record;
use core::net::SocketAddr;

record! {
    /// State of port mapping.
    #[derive(Default)]
    pub struct PortMappingReply {
        /// Configured protocol: `upnp`, `pcp` or `auto`.
        pub mode: String,
        /// Protocol by which the ports are mapped: `PCP`, `NAT-PMP` or `UPnP`.
        pub method: Option<String>,
        /// Address of the gateway in the local network.
        pub gateway: Option<String>,
        /// Mapped ports.
        pub ports: Vec<MappedPortReply>,
        /// Reason the ports are not mapped; null before the end of the first attempt.
        pub error: Option<String>,
        /// Reason the mapping may be of no use.
        pub doubt: Option<String>,
    }
}

record! {
    /// Port that a gateway forwards.
    pub struct MappedPortReply {
        /// `UDP` or `TCP`.
        pub protocol: String,
        /// Port of the node.
        pub port: u16,
        /// Port of the gateway.
        pub external_port: u16,
        /// Address that the port is reached at, if the gateway states it.
        pub external_address: Option<SocketAddr>,
        /// Seconds until the mapping ends unless it is renewed; null if it does not end.
        pub expires_seconds: Option<u64>,
    }
}
