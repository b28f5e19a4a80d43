//! Values about port mapping.

use super::{DisplayValue, OptionalSetting, Raw, Setting, parsed};
use core::net::Ipv4Addr;

/// Protocol by which a gateway is asked to map the node's ports.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum PortMapping {
    /// None: ports are not mapped.
    #[default]
    Off,
    /// UPnP.
    Upnp,
    /// PCP, or else NAT-PMP.
    Pcp,
    /// PCP, or else NAT-PMP, or else UPnP.
    Auto,
}

impl PortMapping {
    /// Returns its name in a configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Upnp => "upnp",
            Self::Pcp => "pcp",
            Self::Auto => "auto",
        }
    }
}

impl Setting for PortMapping {
    fn read(raw: &Raw) -> Result<Self, String> {
        let all = [Self::Off, Self::Upnp, Self::Pcp, Self::Auto];
        let value = all.into_iter().find(|it| raw.text() == Some(it.name()));
        parsed(raw, value)
    }

    fn show(&self) -> DisplayValue {
        DisplayValue::Text(self.name().to_owned())
    }
}

impl OptionalSetting for Ipv4Addr {
    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    /// Rejects addresses that one gateway cannot have.
    fn reason(&self) -> Option<&'static str> {
        if self.is_unspecified() || self.is_multicast() || self.is_broadcast() {
            Some("it is not the address of one gateway")
        } else {
            None
        }
    }

    fn shown(&self) -> DisplayValue {
        DisplayValue::Text(self.to_string())
    }
}
