//! TCP listener and the budgets of incoming connections.

use super::LISTENER;
use crate::log;
use crate::net::socket::{Interface, canonical, unbound};
use astreum_core::time::Instant;
use core::net::{IpAddr, Ipv6Addr, SocketAddr};
use core::time::Duration;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry};
use socket2::{Protocol, Type};
use std::collections::BTreeMap;
use std::io;

/// Number of connections that the system keeps until they are accepted.
const BACKLOG: i32 = 64;
/// Interval in which the connections from one network are counted.
const RATE_INTERVAL: Duration = Duration::from_secs(10);
/// Maximum number of connections from one network in an interval.
const MAX_PER_INTERVAL: u32 = 32;
/// Maximum number of networks that are counted; then the counts begin anew.
const MAX_COUNTED: usize = 1_024;
/// Pause after a connection that could not be accepted, for instance because the process has no
/// descriptor left. It stays queued.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Returns what connections are counted by: an IPv4 address, or the first 64 bits of an IPv6 address,
/// since a single host has all addresses of such a network.
pub(super) fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

#[derive(Debug)]
pub(super) struct Listener {
    socket: TcpListener,
    port: u16,
    /// Start of the interval and number of connections in it, by network.
    counts: BTreeMap<IpAddr, (Instant, u32)>,
    /// Time of the next attempt after one that failed.
    retry_at: Option<Instant>,
}

/// Connections that wait at a listener.
#[derive(Debug)]
pub(super) enum Accepted {
    /// A connection from this IP address.
    Connection(TcpStream, IpAddr),
    /// One from an address that has opened too many, which is closed.
    Surplus,
    /// None: the poll reports the next one.
    Nothing,
    /// None can be accepted before the end of this pause, which the poll does not report.
    Paused(Duration),
}

impl Listener {
    /// Binds `port`, 0 for any port.
    pub(super) fn bind(port: u16, interface: Interface, registry: &Registry) -> io::Result<Self> {
        let (socket, ip) = unbound(Type::STREAM, Protocol::TCP, interface)?;
        // Connections of an earlier run may still be closing on this port.
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::new(ip, port).into())?;
        socket.listen(BACKLOG)?;
        let mut socket = TcpListener::from_std(socket.into());
        let port = socket.local_addr()?.port();
        registry.register(&mut socket, LISTENER, Interest::READABLE)?;
        Ok(Self {
            socket,
            port,
            counts: BTreeMap::new(),
            retry_at: None,
        })
    }

    pub(super) const fn port(&self) -> u16 {
        self.port
    }

    /// Accepts the next connection.
    pub(super) fn accept(&mut self, now: Instant) -> Accepted {
        self.accept_with(now, TcpListener::accept)
    }

    fn accept_with(
        &mut self,
        now: Instant,
        mut accept: impl FnMut(&TcpListener) -> io::Result<(TcpStream, SocketAddr)>,
    ) -> Accepted {
        if let Some(at) = self.retry_at.filter(|at| *at > now) {
            return Accepted::Paused(at.since(now));
        }
        self.retry_at = None;
        let (socket, from) = loop {
            match accept(&self.socket) {
                Ok(accepted) => break accepted,
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Accepted::Nothing,
                    // Errors of the call, and of a single connection.
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                    _ => {
                        self.retry_at = Some(now + RETRY_PAUSE);
                        if let Some(more) = log::limited("accepting streams") {
                            log::warn!("cannot accept a stream: {error}{more}");
                        }
                        return Accepted::Paused(RETRY_PAUSE);
                    }
                },
            }
        };
        let from = canonical(from).ip();
        match self.count(now, from) {
            true => Accepted::Connection(socket, from),
            false => Accepted::Surplus,
        }
    }

    /// Counts a connection; returns `false` if there are too many.
    fn count(&mut self, now: Instant, from: IpAddr) -> bool {
        let from = network_of(from);
        if self.counts.len() >= MAX_COUNTED && !self.counts.contains_key(&from) {
            self.counts.clear();
        }
        let (since, count) = self.counts.entry(from).or_insert((now, 0));
        if now.since(*since) >= RATE_INTERVAL {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        *count <= MAX_PER_INTERVAL
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;
    use mio::Poll;

    fn failed<T>(error: impl Into<io::Error>) -> io::Result<T> {
        Err(error.into())
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_counted_together() {
        let poll = Poll::new().unwrap();
        let interface = Interface {
            use_ipv6: false,
            address: Some(Ipv4Addr::LOCALHOST.into()),
        };
        let mut listener = Listener::bind(0, interface, poll.registry()).unwrap();
        let mut count = |address: String| listener.count(Instant::ZERO, address.parse().unwrap());
        for host in 1..=MAX_PER_INTERVAL {
            assert!(count(format!("2001:db8:1:2:{host}::9")));
            assert!(count(format!("192.0.2.{host}")));
        }
        assert!(!count("2001:db8:1:2::7".into()));
        assert!(count("2001:db8:1:3::7".into()));
        assert!(count("192.0.2.99".into()));
    }

    #[test]
    fn connection_stays_queued_while_there_is_no_descriptor() {
        let poll = Poll::new().unwrap();
        let interface = Interface {
            use_ipv6: false,
            address: Some(Ipv4Addr::LOCALHOST.into()),
        };
        let mut listener = Listener::bind(0, interface, poll.registry()).unwrap();
        let there = SocketAddr::from((Ipv4Addr::LOCALHOST, listener.port()));
        let _client = std::net::TcpStream::connect(there).unwrap();
        let now = Instant::ZERO;
        let mut outcomes = vec![
            failed(io::ErrorKind::ConnectionAborted),
            failed(io::Error::from_raw_os_error(24)),
        ]
        .into_iter();
        let found = listener.accept_with(now, |_| outcomes.next().unwrap());
        assert!(matches!(found, Accepted::Paused(RETRY_PAUSE)), "{found:?}");
        assert!(
            outcomes.next().is_none(),
            "an error of one connection is passed over"
        );
        // During the pause nothing is tried.
        let half = RETRY_PAUSE / 2;
        let found = listener.accept_with(now + half, |_| unreachable!());
        assert!(
            matches!(found, Accepted::Paused(left) if left == half),
            "{found:?}"
        );
        let found = listener.accept(now + RETRY_PAUSE);
        assert!(matches!(found, Accepted::Connection(..)), "{found:?}");
        let found = listener.accept(now + RETRY_PAUSE);
        assert!(matches!(found, Accepted::Nothing), "{found:?}");
    }
}
