//! State of one connection.

use super::channel::Channel;
use astreum_core::crypto::PublicKey;
use astreum_core::stream::{Client, Hello, Server};
use astreum_core::time::Instant;
use astreum_core::wire::stream::Decoder;
use core::net::IpAddr;

/// Which side of a connection this node is.
#[derive(Debug)]
pub(super) enum Role {
    /// The peer requests objects from this node.
    Server { phase: Phase, server: Server },
    /// This node requests objects from the peer.
    Client {
        peer: PublicKey,
        client: Client,
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
            readable: true,
            writable: true,
            is_paused: false,
            has_more: true,
        }
    }

    pub(super) fn is_client_of(&self, key: &PublicKey) -> bool {
        matches!(&self.role, Role::Client { peer, .. } if peer == key)
    }

    pub(super) const fn is_server(&self) -> bool {
        matches!(self.role, Role::Server { .. })
    }
}
