//! Checks of a request before anything else: host, origin and token.

use super::token::Token;
use crate::rpc::access::Access;
use core::net::{IpAddr, Ipv6Addr};
use hyper::header::{AUTHORIZATION, HOST, ORIGIN};
use hyper::{HeaderMap, Request, StatusCode};

/// Result of the checks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Admitted {
    pub(super) access: Access,
    /// Origin that is on the list, and has to be named in the reply.
    pub(super) origin: Option<String>,
}

/// Reason that a request is not answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Rejection {
    pub(super) status: StatusCode,
    pub(super) reason: &'static str,
    /// Origin that is on the list: its page may read the reason.
    pub(super) origin: Option<String>,
}

impl Rejection {
    const fn new(status: StatusCode, reason: &'static str) -> Self {
        Self {
            status,
            reason,
            origin: None,
        }
    }
}

/// Hosts, origins and token that are accepted.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    /// Names of hosts, in lower case, beside `localhost` and IP addresses.
    pub(super) hosts: Vec<String>,
    /// Origins of pages, such as `https://wallet.example.org`.
    pub(super) origins: Vec<String>,
    pub(super) token: Token,
}

const HOST_REASON: &str = "the host of the request is not allowed: use an IP address or localhost, or \
add the name to rpc_hosts\n";
const ORIGIN_REASON: &str = "the origin of the request is not allowed: add it to rpc_origins\n";
const TOKEN_REASON: &str = "the token is wrong: the file of rpc_token_file has the right one, to be sent \
as `Authorization: Bearer TOKEN`\n";

impl Guard {
    /// Checks the headers of a request.
    pub(super) fn admit<B>(&self, request: &Request<B>) -> Result<Admitted, Rejection> {
        let headers = request.headers();
        let host = only(headers, &HOST)
            .ok_or_else(|| Rejection::new(StatusCode::BAD_REQUEST, "expected one Host header\n"))?;
        let of_target = request.uri().host();
        if !self.is_host(host_name(host)) || of_target.is_some_and(|host| !self.is_host(host)) {
            return Err(Rejection::new(StatusCode::FORBIDDEN, HOST_REASON));
        }
        let origin = self.origin(headers, host)?;
        match self.access(headers) {
            Ok(access) => Ok(Admitted { access, origin }),
            Err(rejection) => Err(Rejection {
                origin,
                ..rejection
            }),
        }
    }

    /// Returns whether a `Host` header may name this host, given without its port. A name in a foreign
    /// domain may resolve to this machine (DNS rebinding); an address cannot be such a name.
    fn is_host(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let address = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        match address {
            Some(address) => address.parse::<Ipv6Addr>().is_ok(),
            None => {
                host.parse::<IpAddr>().is_ok() || host == "localhost" || self.hosts.contains(&host)
            }
        }
    }

    fn origin(&self, headers: &HeaderMap, host: &str) -> Result<Option<String>, Rejection> {
        let rejection = || Rejection::new(StatusCode::FORBIDDEN, ORIGIN_REASON);
        if !headers.contains_key(&ORIGIN) {
            return Ok(None);
        }
        let origin = only(headers, &ORIGIN).ok_or_else(rejection)?;
        if self
            .origins
            .iter()
            .any(|it| it.eq_ignore_ascii_case(origin))
        {
            return Ok(Some(origin.to_owned()));
        }
        // A page of this server, perhaps behind a proxy that adds TLS.
        let of_page = origin
            .strip_prefix("http://")
            .or_else(|| origin.strip_prefix("https://"));
        match of_page {
            Some(of_page) if of_page.eq_ignore_ascii_case(host) => Ok(None),
            _ => Err(rejection()),
        }
    }

    fn access(&self, headers: &HeaderMap) -> Result<Access, Rejection> {
        if !headers.contains_key(&AUTHORIZATION) {
            return Ok(Access::Read);
        }
        let token = only(headers, &AUTHORIZATION).and_then(bearer);
        match token {
            Some(token) if self.token.is(token) => Ok(Access::Full),
            _ => Err(Rejection::new(StatusCode::UNAUTHORIZED, TOKEN_REASON)),
        }
    }
}

/// Returns the value of a header that occurs once.
fn only<'h>(headers: &'h HeaderMap, name: &hyper::header::HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    match values.next() {
        Some(_) => None,
        None => value.to_str().ok(),
    }
}

/// Returns the token of an authorization.
fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim_matches(' '))
}

/// Returns a host without its port.
fn host_name(host: &str) -> &str {
    let port = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map(|(_, port)| port),
        None => host.find(':').and_then(|at| host.get(at..)),
    };
    let port = port.filter(|port| {
        let digits = port.strip_prefix(':').unwrap_or("x");
        digits.bytes().all(|digit| digit.is_ascii_digit())
    });
    host.strip_suffix(port.unwrap_or_default()).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard() -> (Guard, String) {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("token");
        let token = Token::read_or_create(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap().trim().to_owned();
        let guard = Guard {
            hosts: vec!["node.example.org".to_owned()],
            origins: vec!["https://wallet.example.org".to_owned()],
            token,
        };
        (guard, text)
    }

    fn admit(guard: &Guard, headers: &[(&str, &str)]) -> Result<Admitted, u16> {
        admit_at(guard, "/", headers)
    }

    fn admit_at(guard: &Guard, uri: &str, headers: &[(&str, &str)]) -> Result<Admitted, u16> {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).unwrap();
        guard.admit(&request).map_err(|it| it.status.as_u16())
    }

    #[test]
    fn hosts_are_addresses_localhost_or_listed() {
        let (guard, _) = guard();
        for host in [
            "127.0.0.1:52781",
            "127.0.0.1",
            "[::1]:52781",
            "[::1]",
            "192.0.2.7:1",
            "localhost:52781",
            "LocalHost",
            "localhost.",
            "node.example.org",
            "Node.Example.org:443",
        ] {
            assert!(admit(&guard, &[("host", host)]).is_ok(), "{host}");
        }
        for host in [
            "evil.example.org",
            "127.0.0.1.evil.example.org",
            "127.0.0.1.",
            "localhost.evil.org:52781",
            "node.example.org.evil.org",
            "node.example.org:x",
            "[evil.example.org]",
            "[::1].evil.org",
            "2130706433",
            "",
            ":52781",
        ] {
            let found = admit(&guard, &[("host", host)]);
            let is_address = host == "127.0.0.1.";
            assert_eq!(found.is_ok(), is_address, "{host}: {found:?}");
        }
        assert_eq!(admit(&guard, &[]), Err(400));
        let twice = [("host", "localhost"), ("host", "localhost")];
        assert_eq!(admit(&guard, &twice), Err(400));
        let found = admit_at(&guard, "http://evil.org/", &[("host", "localhost")]);
        assert_eq!(found, Err(403));
    }

    #[test]
    fn origins_are_absent_the_same_or_listed() {
        let (guard, _) = guard();
        let of = |origin: &str| {
            admit(&guard, &[("host", "127.0.0.1:7"), ("origin", origin)]).map(|it| it.origin)
        };
        let listed = "https://wallet.example.org";
        assert_eq!(of(listed), Ok(Some(listed.to_owned())));
        assert_eq!(of("http://127.0.0.1:7"), Ok(None));
        for other in [
            "null",
            "",
            "http://127.0.0.1:8",
            "http://127.0.0.1",
            "https://wallet.example.org.evil.org",
            "http://wallet.example.org",
            "https://evil.org",
        ] {
            assert_eq!(of(other), Err(403), "{other}");
        }
    }

    #[test]
    fn wrong_tokens_are_rejected_and_none_is_read_only() {
        let (guard, token) = guard();
        let host = ("host", "localhost");
        let of = |text: &str| admit(&guard, &[host, ("authorization", text)]).map(|it| it.access);
        assert_eq!(of(&format!("Bearer {token}")), Ok(Access::Full));
        assert_eq!(of(&format!("bearer  {token}")), Ok(Access::Full));
        assert_eq!(admit(&guard, &[host]).map(|it| it.access), Ok(Access::Read));
        for wrong in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer x",
            &token,
            &format!("Basic {token}"),
            &format!("Bearer {token}x"),
        ] {
            assert_eq!(of(wrong), Err(401), "{wrong}");
        }
    }
}
