//! State of one connection.

use super::channel::Channel;
use crate::net::stream_memory::Accounts;
use astreum_core::crypto::PublicKey;
use astreum_core::stream::{Client, HANDSHAKE_TIMEOUT, Hello, IDLE_TIMEOUT, STALL_TIMEOUT, Server};
use astreum_core::time::Instant;
use astreum_core::wire::stream::Decoder;
use core::net::IpAddr;

/// Use of a connection to a peer. Lists have one of their own, so that nothing else waits for the disk
/// with them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Usage {
    /// Lists that are stored as they arrive.
    Lists,
    /// Everything else.
    Requests,
}

/// Which side of a connection this node is.
#[derive(Debug)]
pub(super) enum Role {
    /// The peer requests objects from this node.
    Server { phase: Phase, server: Server },
    /// This node requests objects from the peer.
    Client {
        peer: PublicKey,
        usage: Usage,
        client: Client,
        /// Accounts of what it delivers.
        accounts: Accounts,
        /// Frames that have not been encrypted.
        frames: Vec<u8>,
    },
}

/// Progress of the server's side of a handshake.
#[derive(Clone, Copy, Debug)]
pub(super) enum Phase {
    /// The hello has not arrived.
    Hello,
    /// The event loop is asked whether it knows the client.
    Asked(Hello),
    /// The message of the client, which has this stream key, has not arrived.
    Message(PublicKey),
    /// The handshake is complete.
    Open,
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) channel: Channel,
    pub(super) address: IpAddr,
    pub(super) role: Role,
    pub(super) decoder: Decoder,
    pub(super) since: Instant,
    /// Time at which bytes were last sent or received.
    pub(super) moved_at: Instant,
    /// Time of the first request of a client since bytes of the server last arrived.
    pub(super) awaits_since: Option<Instant>,
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// `true` if it has reached a limit of bandwidth.
    pub(super) is_paused: bool,
    /// `true` if there is more to do at once.
    pub(super) has_more: bool,
}

impl Connection {
    pub(super) fn new(now: Instant, channel: Channel, address: IpAddr, role: Role) -> Self {
        Self {
            channel,
            address,
            role,
            decoder: Decoder::new(),
            since: now,
            moved_at: now,
            awaits_since: None,
            readable: true,
            writable: true,
            is_paused: false,
            has_more: true,
        }
    }

    /// Returns the peer and the use of a connection to a peer.
    pub(super) const fn client_of(&self) -> Option<(PublicKey, Usage)> {
        match &self.role {
            Role::Client { peer, usage, .. } => Some((*peer, *usage)),
            Role::Server { .. } => None,
        }
    }

    /// Returns whether so much of what it has delivered is in memory that it is not to be read.
    pub(super) fn is_full(&self) -> bool {
        matches!(&self.role, Role::Client { accounts, .. } if accounts.is_full())
    }

    pub(super) const fn is_server(&self) -> bool {
        matches!(self.role, Role::Server { .. })
    }

    /// Returns whether the time for the handshake is over.
    pub(super) fn is_late(&self, now: Instant) -> bool {
        !self.channel.is_open() && now.since(self.since) >= HANDSHAKE_TIMEOUT
    }

    /// Returns whether nothing has moved for too long, or the server owes an answer for too long
    /// and sends nothing. `has_open` is `true` if requests were sent and have not ended.
    pub(super) fn is_silent(&self, now: Instant, has_open: bool) -> bool {
        let is_stalled = |since| has_open && now.since(since) >= STALL_TIMEOUT;
        now.since(self.moved_at) >= IDLE_TIMEOUT || self.awaits_since.is_some_and(is_stalled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;
    use mio::net::TcpStream;
    use std::net::TcpListener;

    #[test]
    fn connection_whose_server_owes_an_answer_is_silent_sooner() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let channel = Channel::new(TcpStream::connect(address).unwrap());
        let phase = Phase::Hello;
        let server = Server::new();
        let begin = Instant::from_secs(100);
        let role = Role::Server { phase, server };
        let mut connection = Connection::new(begin, channel, address.ip(), role);
        let moment = Duration::from_micros(1);
        assert!(!connection.is_late(begin + HANDSHAKE_TIMEOUT - moment));
        assert!(connection.is_late(begin + HANDSHAKE_TIMEOUT));
        for has_open in [false, true] {
            assert!(!connection.is_silent(begin + IDLE_TIMEOUT - moment, has_open));
            assert!(connection.is_silent(begin + IDLE_TIMEOUT, has_open));
        }
        // Requests that are sent move bytes, and bring no answer.
        let later = begin + IDLE_TIMEOUT;
        connection.awaits_since = Some(begin);
        connection.moved_at = later;
        assert!(connection.is_silent(begin + STALL_TIMEOUT, true));
        assert!(!connection.is_silent(begin + STALL_TIMEOUT - moment, true));
        assert!(!connection.is_silent(later, false), "nothing is owed");
        connection.awaits_since = None;
        assert!(!connection.is_silent(later, true), "it has answered");
    }
}
