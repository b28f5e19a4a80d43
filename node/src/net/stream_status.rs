//! State of the streams of a node.

/// State of the streams of a node.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct StreamStatus {
    /// TCP port on which streams are accepted; `None` if they are turned off or failed.
    pub port: Option<u16>,
    /// Reason why streams are not accepted although they are not turned off.
    pub failure: Option<String>,
    /// Number of bytes received by streams.
    pub received_bytes: u64,
    /// Number of bytes sent by streams.
    pub sent_bytes: u64,
    /// Number of open connections, in both directions.
    pub connections: u64,
    /// Number of bytes of memory of what has arrived by stream and is not stored.
    pub memory_bytes: u64,
}
