//! Addresses of seeds, as configured.

use super::{DisplayValue, OptionalSetting, Raw, Setting};
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::str::FromStr;

/// Host name or IP address, and port, of a seed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seed {
    host: String,
    port: u16,
}

impl Seed {
    /// Returns the name or address; an IPv6 address without its brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the UDP port, never 0.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Returns the address if the host is an IP address and needs no resolver.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        let ip: IpAddr = self.host.parse().ok()?;
        Some(SocketAddr::new(ip, self.port))
    }
}

/// Error for text that is not a [`Seed`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ParseSeedError;

impl fmt::Display for ParseSeedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected host:port or [ipv6]:port, with a port from 1 to 65535")
    }
}

impl core::error::Error for ParseSeedError {}

impl FromStr for Seed {
    type Err = ParseSeedError;

    fn from_str(text: &str) -> Result<Self, ParseSeedError> {
        let (host, port) = text.rsplit_once(':').ok_or(ParseSeedError)?;
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        let port: u16 = port.parse().map_err(|_| ParseSeedError)?;
        let (host, is_valid) = match host.strip_prefix('[') {
            Some(rest) => {
                let host = rest.strip_suffix(']').ok_or(ParseSeedError)?;
                (host, host.parse::<Ipv6Addr>().is_ok())
            }
            None => (host, is_host_name(host)),
        };
        if port == 0 || !digits || !is_valid {
            return Err(ParseSeedError);
        }
        let host = host.to_owned();
        Ok(Self { host, port })
    }
}

/// Returns whether `host` can be a host name or an IPv4 address. Lenient on purpose: the resolver
/// decides which names exist, this check only catches typing errors.
pub(super) fn is_host_name(host: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    };
    let name = host.strip_suffix('.').unwrap_or(host);
    // A name that ends in a number is an IPv4 address or a mistake.
    let numeric = name
        .rsplit('.')
        .next()
        .is_some_and(|label| label.bytes().all(|byte| byte.is_ascii_digit()));
    let is_address = host.parse::<Ipv4Addr>().is_ok();
    host.len() <= 253 && name.split('.').all(is_label) && (!numeric || is_address)
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl OptionalSetting for Seed {
    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn shown(&self) -> DisplayValue {
        DisplayValue::Text(self.to_string())
    }

    /// Accepts Python's `None`, with which the reference's README disables the default seed.
    fn is_none_word(text: &str) -> bool {
        text.eq_ignore_ascii_case("none") || text.eq_ignore_ascii_case("null")
    }
}

/// Array in TOML; elsewhere a repeated flag, or text separated by commas.
impl Setting for Vec<Seed> {
    fn read(raw: &Raw) -> Result<Self, String> {
        match raw {
            Raw::List(items) => {
                let lists: Result<Vec<Self>, String> = items.iter().map(one_or_more).collect();
                Ok(lists?.into_iter().flatten().collect())
            }
            Raw::Text(_) => one_or_more(raw),
            _ => Err(raw.to_string()),
        }
    }

    fn show(&self) -> DisplayValue {
        DisplayValue::Texts(self.iter().map(Seed::to_string).collect())
    }
}

pub(super) fn one_or_more(raw: &Raw) -> Result<Vec<Seed>, String> {
    let seed = |text: &str| text.trim().parse().map_err(|_| format!("{text:?}"));
    match raw {
        Raw::Text(text) => text
            .split(',')
            .filter(|part| !part.trim().is_empty())
            .map(seed)
            .collect(),
        Raw::Quoted(text) => Ok(vec![seed(text)?]),
        _ => Err(raw.to_string()),
    }
}
