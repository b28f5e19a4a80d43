//! Places for the connections that peers have opened.
//!
//! An unauthenticated client can take places with silent connections, up to the timeout of a
//! handshake.
//! When a new connection finds none free, the oldest one whose handshake is not complete gives way
//! to it, unless it has had less than [`MIN_HANDSHAKE`].

use super::channel::Channel;
use super::connection::{Connection, Phase, Role};
use super::listener::{Accepted, network_of};
use super::service::Service;
use crate::log;
use astreum_core::stream::Server;
use astreum_core::time::Instant;
use core::net::IpAddr;
use core::time::Duration;

/// Time that a connection has for its handshake, even if others wait for its place.
const MIN_HANDSHAKE: Duration = Duration::from_secs(1);
/// Maximum number of connections that are accepted in one turn.
const ACCEPTED_PER_TURN: usize = 16;

impl Service {
    /// Accepts the connections that wait, as far as there are places.
    pub(super) fn accept(&mut self) {
        if self.accepts_in.is_none() {
            return;
        }
        let now = self.environment.clock.now();
        self.accepts_in = Some(Duration::ZERO);
        for _ in 0..ACCEPTED_PER_TURN {
            let (socket, address) = match self.listener.accept(now) {
                Accepted::Nothing => {
                    self.accepts_in = None;
                    return;
                }
                Accepted::Paused(pause) => {
                    self.accepts_in = Some(pause);
                    return;
                }
                Accepted::Surplus => continue,
                Accepted::Connection(socket, address) => (socket, address),
            };
            if !self.make_room(now, address) {
                continue;
            }
            let role = Role::Server {
                phase: Phase::Hello,
                server: Server::new(),
            };
            let connection = Connection::new(now, Channel::new(socket), address, role);
            if let Err(error) = self.insert(connection)
                && let Some(more) = log::limited("accepting a stream")
            {
                log::info!("cannot watch a connection: {error}{more}");
            }
        }
    }

    /// Returns whether a connection from an address may be served, for which another may have to be
    /// closed.
    fn make_room(&mut self, now: Instant, address: IpAddr) -> bool {
        let network = network_of(address);
        let (mut all, mut of_network) = (0, 0);
        // The one that gives way, of all and of those from the network.
        let (mut first, mut first_of_network) = (None, None);
        for (token, connection) in &self.connections {
            let Role::Server { phase, .. } = &connection.role else {
                continue;
            };
            let is_same = network_of(connection.address) == network;
            all += 1;
            of_network += usize::from(is_same);
            let is_open = matches!(phase, Phase::Open);
            if is_open || now.since(connection.since) < MIN_HANDSHAKE {
                continue;
            }
            // Clients that the event loop knows are the last to give way.
            let is_known = matches!(phase, Phase::Message(_));
            let order = Some((is_known, connection.since, *token));
            let is_before = |other: Option<_>| other.is_none() || order < other;
            if is_before(first) {
                first = order;
            }
            if is_same && is_before(first_of_network) {
                first_of_network = order;
            }
        }
        let limits = &self.environment.limits;
        let closed = if of_network >= limits.served_of_network {
            first_of_network
        } else if all >= limits.served {
            first
        } else {
            return true;
        };
        let closed = closed.and_then(|(_, _, token)| self.connections.remove(&token));
        if let Some(closed) = &closed
            && let Some(more) = log::limited("places for streams")
        {
            log::info!(
                "closed a connection from {} without a handshake: others wait for its place{more}",
                closed.address
            );
        }
        closed.is_some()
    }
}
