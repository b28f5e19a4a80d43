//! TCP listener and the budgets of incoming connections.

use super::LISTENER;
use crate::net::socket::{Interface, canonical, unbound};
use astreum_core::time::Instant;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry};
use socket2::{Protocol, Type};
use std::collections::BTreeMap;
use std::io;

/// Number of connections that the system keeps until they are accepted.
const BACKLOG: i32 = 64;
/// Interval in which the connections from one IP address are counted.
const RATE_INTERVAL: Duration = Duration::from_secs(10);
/// Maximum number of connections from one IP address in an interval.
const MAX_PER_INTERVAL: u32 = 32;
/// Maximum number of IP addresses that are counted; then the counts begin anew.
const MAX_COUNTED: usize = 1_024;

#[derive(Debug)]
pub(super) struct Listener {
    socket: TcpListener,
    port: u16,
    /// Start of the interval and number of connections in it, by IP address.
    counts: BTreeMap<IpAddr, (Instant, u32)>,
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
        })
    }

    pub(super) const fn port(&self) -> u16 {
        self.port
    }

    /// Accepts the next connection, or returns `None` if none is waiting. One from an address
    /// that has opened too many is closed.
    pub(super) fn accept(&mut self, now: Instant) -> Option<Result<(TcpStream, IpAddr), IpAddr>> {
        let (socket, from) = loop {
            match self.socket.accept() {
                Ok(accepted) => break accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                // Errors of a single connection, and of a lack of resources, which would repeat.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(_) => return None,
            }
        };
        let from = canonical(from).ip();
        if self.count(now, from) {
            Some(Ok((socket, from)))
        } else {
            Some(Err(from))
        }
    }

    /// Counts a connection; returns `false` if there are too many.
    fn count(&mut self, now: Instant, from: IpAddr) -> bool {
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
