//! Counts of the HTTP server, for metrics.

/// Counts of the server since its start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HttpCounts {
    /// Open connections.
    pub open_connections: u64,
    /// Accepted connections.
    pub connections: u64,
    /// Connections that were refused, because too many were open.
    pub refused_connections: u64,
    /// Answered JSON-RPC requests.
    pub requests: u64,
    /// Those of them that were answered with an error.
    pub failed_requests: u64,
    /// HTTP requests that were rejected for their host, origin or token.
    pub rejected_requests: u64,
    /// Open subscriptions.
    pub open_subscriptions: u64,
    /// Subscriptions that were ended, because their client read too slowly.
    pub dropped_subscriptions: u64,
}
