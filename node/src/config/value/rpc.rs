//! Values about RPC.

use super::seed::is_host_name;
use super::{DisplayValue, OptionalSetting, Raw, Setting};
use core::net::{IpAddr, SocketAddr};

/// Address to listen on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ListenAddress(pub SocketAddr);

impl ListenAddress {
    /// Returns whether only this machine can reach it.
    #[must_use]
    pub const fn is_local(&self) -> bool {
        match self.0.ip() {
            IpAddr::V4(address) => address.is_loopback(),
            IpAddr::V6(address) => match address.to_ipv4_mapped() {
                Some(address) => address.is_loopback(),
                None => address.is_loopback(),
            },
        }
    }
}

impl OptionalSetting for ListenAddress {
    fn parse(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }

    fn reason(&self) -> Option<&'static str> {
        let is_multicast = self.0.ip().is_multicast();
        is_multicast.then_some("a multicast address is not the address of one node")
    }

    fn shown(&self) -> DisplayValue {
        DisplayValue::Text(self.0.to_string())
    }
}

/// Names of hosts without ports, in lower case.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HostNames(pub Vec<String>);

/// Origins of web pages, in lower case.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Origins(pub Vec<String>);

/// Returns whether a text is scheme, host and port, as a browser sends it.
fn is_origin(text: &str) -> bool {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    let Some(rest) = rest else {
        return false;
    };
    let address = rest.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (is_host, port) = match address {
        Some((host, port)) => (host.parse::<core::net::Ipv6Addr>().is_ok(), port),
        None => {
            let (host, port) = rest.split_at(rest.find(':').unwrap_or(rest.len()));
            (is_host_name(host), port)
        }
    };
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|number| number > 0);
    is_host && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
}

/// Reads a list: an array in TOML; elsewhere a repeated flag, or text separated by commas.
fn list(raw: &Raw, is_valid: impl Fn(&str) -> bool + Copy) -> Result<Vec<String>, String> {
    match raw {
        Raw::List(items) => {
            let lists: Result<Vec<Vec<String>>, String> =
                items.iter().map(|item| list(item, is_valid)).collect();
            Ok(lists?.concat())
        }
        Raw::Text(text) | Raw::Quoted(text) => {
            let items = text.split(',').map(str::trim);
            let items = items.filter(|item| !item.is_empty()).map(|item| {
                let item = item.to_ascii_lowercase();
                match is_valid(&item) {
                    true => Ok(item),
                    false => Err(format!("{item:?}")),
                }
            });
            items.collect()
        }
        _ => Err(raw.to_string()),
    }
}

impl Setting for HostNames {
    fn read(raw: &Raw) -> Result<Self, String> {
        list(raw, is_host_name).map(Self)
    }

    fn show(&self) -> DisplayValue {
        DisplayValue::Texts(self.0.clone())
    }
}

impl Setting for Origins {
    fn read(raw: &Raw) -> Result<Self, String> {
        list(raw, is_origin).map(Self)
    }

    fn show(&self) -> DisplayValue {
        DisplayValue::Texts(self.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_those_that_browsers_send() {
        for valid in [
            "https://wallet.example.org",
            "http://localhost:8080",
            "http://127.0.0.1:1",
            "http://[::1]:3000",
        ] {
            assert!(is_origin(valid), "{valid}");
        }
        for wrong in [
            "*",
            "null",
            "wallet.example.org",
            "https://",
            "https://a.org/",
            "https://a.org/path",
            "https://a.org:",
            "https://a.org:0",
            "https://a.org:x",
            "ftp://a.org",
            "https://a b",
        ] {
            assert!(!is_origin(wrong), "{wrong}");
        }
    }

    #[test]
    fn lists_are_split_and_in_lower_case() {
        let of = |text: &str| HostNames::read(&Raw::Text(text.to_owned())).map(|it| it.0);
        assert_eq!(of("A.org, b"), Ok(vec!["a.org".to_owned(), "b".to_owned()]));
        assert_eq!(of(""), Ok(Vec::new()));
        assert_eq!(of("a.org:80"), Err("\"a.org:80\"".to_owned()));
    }

    #[test]
    fn only_loopback_addresses_are_local() {
        let of = |text: &str| ListenAddress::parse(text).map(|it| it.is_local());
        for local in [
            "127.0.0.1:0",
            "127.9.9.9:1",
            "[::1]:1",
            "[::ffff:127.0.0.1]:1",
        ] {
            assert_eq!(of(local), Some(true), "{local}");
        }
        for remote in ["0.0.0.0:1", "[::]:1", "192.0.2.7:1", "[::ffff:192.0.2.7]:1"] {
            assert_eq!(of(remote), Some(false), "{remote}");
        }
        assert_eq!(of("localhost:1"), None);
    }
}
