//! Engine configuration.

use super::limits;
use crate::atom::AtomId;
use crate::crypto::SecretKey;
use crate::wire::handshake::ChainIdentity;
use core::net::SocketAddr;
use core::time::Duration;

/// The engine's configuration. Start from [`EngineConfig::new`] and change what differs.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// The relay key.
    pub secret: SecretKey,
    /// The bound port, never 0. Peers answer to it unless [`Self::advertised_address`] has another.
    pub incoming_port: u16,
    /// Whether the host's socket speaks IPv6. If not, IPv6 addresses are never contacted.
    pub use_ipv6: bool,
    /// Our address as peers reach it; `None` to learn it from them. Its port is in our headers, and
    /// peers answer to it: a NAT may map it to the bound one.
    pub advertised_address: Option<SocketAddr>,
    /// Whether our pings say that we validate, and transactions are taken.
    pub is_validator: bool,
    /// The newest block, which our pings name.
    pub head: Option<AtomId>,
    /// The chain that we follow, which our handshakes to nodes of ours name.
    pub chain_identity: Option<ChainIdentity>,
    /// Silence after which a peer is evicted; zero evicts none.
    pub peer_timeout: Duration,
    /// Interval of checks for silent peers.
    pub peer_timeout_interval: Duration,
    /// How often the seeds are tried while there is no peer; zero tries once.
    pub bootstrap_retry_interval: Duration,
    /// How often advertisements are repeated; zero sends each once.
    pub storage_index_interval: Duration,
    /// How long a fetch may go without progress; zero disables fetching.
    pub fetch_timeout: Duration,
    /// Lifetime of provider records.
    pub provider_lifetime: Duration,
    /// Cap of the incoming queue; 0 disables the cap.
    pub incoming_queue_limit_bytes: u64,
    /// Cap of the outgoing queue; 0 disables the cap.
    pub outgoing_queue_limit_bytes: u64,
    /// How long a datagram waits for space in the full incoming queue; zero drops it at once.
    pub incoming_queue_timeout: Duration,
    /// How long a packet waits for space in the full outgoing queue; zero drops it at once.
    pub outgoing_queue_timeout: Duration,
}

impl EngineConfig {
    /// Returns the documented defaults for this key and port.
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

    /// Returns the port that our headers name.
    #[must_use]
    pub const fn announced_port(&self) -> u16 {
        match self.advertised_address {
            Some(address) => address.port(),
            None => self.incoming_port,
        }
    }
}
