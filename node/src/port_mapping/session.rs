//! Choice of the protocol by which ports are mapped.

use core::net::Ipv4Addr;

use super::types::{Mapped, Port};
#[cfg(feature = "port-mapping")]
use super::{pcp, route, upnp};
use crate::config::PortMapping;

/// Mappings of a gateway.
#[cfg(feature = "port-mapping")]
pub(super) enum Session {
    Pcp(pcp::Session),
    Upnp(upnp::Session),
}

#[cfg(feature = "port-mapping")]
impl Session {
    /// Finds a gateway and maps the ports.
    pub(super) fn open(
        mode: PortMapping,
        gateway: Option<Ipv4Addr>,
        ports: &[Port],
    ) -> Result<(Self, Mapped), String> {
        let pcp = || {
            let gateway = gateway.map_or_else(route::default_gateway, Ok)?;
            Self::Pcp(pcp::Session::open(gateway)?).mapped(ports)
        };
        let upnp = || Self::Upnp(upnp::Session::open(gateway)?).mapped(ports);
        match mode {
            PortMapping::Off => Err("port mapping is off".to_owned()),
            PortMapping::Pcp => pcp(),
            PortMapping::Upnp => upnp(),
            PortMapping::Auto => pcp().or_else(|first: String| {
                upnp().map_err(|second: String| format!("{first}; {second}"))
            }),
        }
    }

    /// Maps the ports for the first time: all, or none.
    fn mapped(mut self, ports: &[Port]) -> Result<(Self, Mapped), String> {
        match self.map(ports) {
            Ok(mapped) => Ok((self, mapped)),
            Err(error) => {
                // The first failure is the one to report.
                let _ = self.remove();
                Err(error)
            }
        }
    }

    /// Renews the mappings.
    pub(super) fn map(&mut self, ports: &[Port]) -> Result<Mapped, String> {
        match self {
            Self::Pcp(session) => session.map(ports),
            Self::Upnp(session) => session.map(ports),
        }
    }

    /// Removes the mappings.
    pub(super) fn remove(self) -> Result<(), String> {
        match self {
            Self::Pcp(session) => session.remove(),
            Self::Upnp(session) => session.remove(),
        }
    }
}

/// Uninhabited: this program was built without the protocols.
#[cfg(not(feature = "port-mapping"))]
pub(super) enum Session {}

#[cfg(not(feature = "port-mapping"))]
impl Session {
    pub(super) fn open(
        _: PortMapping,
        _: Option<Ipv4Addr>,
        _: &[Port],
    ) -> Result<(Self, Mapped), String> {
        Err("this program was built without the feature `port-mapping`".to_owned())
    }

    pub(super) fn map(&mut self, _: &[Port]) -> Result<Mapped, String> {
        match *self {}
    }

    pub(super) fn remove(self) -> Result<(), String> {
        match self {}
    }
}
