//! Engine configuration.

use super::limits;
use crate::atom::AtomId;
use crate::crypto::SecretKey;
use crate::wire::handshake::{ChainIdentity, StreamOffer};
use core::net::SocketAddr;
use core::time::Duration;

/// Configuration of the engine. Start from [`EngineConfig::new`] and change individual fields.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Relay secret key.
    pub secret: SecretKey,
    /// UDP port that the host has bound; not 0. Peers send to it unless
    /// [`Self::advertised_address`] has another.
    pub incoming_port: u16,
    /// `true` if the host's socket supports IPv6. Otherwise IPv6 addresses are never contacted.
    pub use_ipv6: bool,
    /// Our address as peers reach it; `None` to learn it from them. Its port is announced in our
    /// packet headers, and peers send to it: a NAT may map it to the bound port.
    pub advertised_address: Option<SocketAddr>,
    /// `true` if our pings state that this node is a validator. Announced transactions are reported
    /// only then.
    pub is_validator: bool,
    /// Id of the newest block, announced in our pings.
    pub head: Option<AtomId>,
    /// Identity of the chain that we follow, sent in handshakes to nodes of this implementation.
    pub chain_identity: Option<ChainIdentity>,
    /// Offer to accept streams, sent in handshakes to nodes of this implementation; `None` if the
    /// host accepts none.
    pub stream_offer: Option<StreamOffer>,
    /// Time without a sign of life after which a peer is evicted; zero evicts none.
    pub peer_timeout: Duration,
    /// Interval between checks for inactive peers.
    pub peer_timeout_interval: Duration,
    /// Interval between attempts to reach the seeds while there is no validated peer; zero tries
    /// once.
    pub bootstrap_retry_interval: Duration,
    /// Interval at which advertisements are repeated; zero sends each once.
    pub storage_index_interval: Duration,
    /// Time that a fetch may go without progress; zero disables fetching.
    pub fetch_timeout: Duration,
    /// Lifetime of provider records.
    pub provider_lifetime: Duration,
    /// Capacity of the incoming queue, in bytes; 0 disables the limit.
    pub incoming_queue_limit_bytes: u64,
    /// Capacity of the outgoing queue, in bytes; 0 disables the limit.
    pub outgoing_queue_limit_bytes: u64,
    /// Time that a datagram waits for space in a full incoming queue; zero drops it at once.
    pub incoming_queue_timeout: Duration,
    /// Time that a packet waits for space in a full outgoing queue; zero drops it at once.
    pub outgoing_queue_timeout: Duration,
}

impl EngineConfig {
    /// Creates a configuration with the documented defaults for this key and port.
    #[must_use]
    pub const fn new(secret: SecretKey, incoming_port: u16) -> Self {
        Self {
            secret,
            incoming_port,
            use_ipv6: false,
            advertised_address: None,
            is_validator: false,
            head: None,
            chain_identity: None,
            stream_offer: None,
            peer_timeout: Duration::from_secs(900),
            peer_timeout_interval: Duration::from_secs(10),
            bootstrap_retry_interval: Duration::from_secs(30),
            storage_index_interval: Duration::from_secs(600),
            fetch_timeout: Duration::from_secs(2),
            provider_lifetime: limits::PROVIDER_LIFETIME,
            incoming_queue_limit_bytes: 67_108_864,
            outgoing_queue_limit_bytes: 67_108_864,
            incoming_queue_timeout: Duration::from_secs(1),
            outgoing_queue_timeout: Duration::from_secs(1),
        }
    }

    /// Returns the port that is announced in our packet headers.
    #[must_use]
    pub const fn announced_port(&self) -> u16 {
        match self.advertised_address {
            Some(address) => address.port(),
            None => self.incoming_port,
        }
    }
}
