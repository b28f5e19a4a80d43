//! Memory of streams: what a connection takes, and the default of `stream_memory_limit`.

use super::Config;

/// Number of bytes that count for the buffers of one connection.
pub(crate) const CONNECTION_BYTES: u64 = 2 << 20;
/// Number of bytes for what has arrived, by default.
pub(crate) const RECEIVED_BYTES: u64 = 192 << 20;
/// Minimum of a limit of memory: two connections in each direction, and room for what they deliver.
pub(super) const MIN_BYTES: u64 = 16 << 20;
/// Maximum of a limit of connections.
pub(super) const MAX_CONNECTIONS: u64 = 4_096;
/// Minimum number of connections from one address: lists have a connection of their own.
pub(super) const MIN_PEER_CONNECTIONS: u64 = 2;

/// Returns the memory for all connections that a configuration allows.
pub(super) fn default_limit(config: &Config) -> u64 {
    let connections = [
        config.stream_connections,
        config.stream_outgoing_connections,
    ];
    let connections: u64 = connections.into_iter().map(u64::from).sum();
    RECEIVED_BYTES + connections * CONNECTION_BYTES
}
