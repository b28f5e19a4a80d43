//! RPC over HTTP/1.1 and WebSocket, with metrics and health checks.
//!
//! The methods are those of [`Service`](super::Service), and a message is answered as on the control
//! socket; arrays of requests are answered as well. One thread runs the connections; a request that
//! may wait or reads the disk runs on one of a few others, which exist while they are needed.
//!
//! JSON-RPC is that of the control socket, so that this module is a transport: `hyper` for HTTP and
//! `tokio-websockets` for frames. The server of jsonrpsee 0.26 does not fit: it starts a task
//! for every message of a WebSocket without a limit, so that a client that does not read its replies
//! takes any amount of memory, and it has a second implementation of JSON-RPC with other errors.
//!
//! Invariants:
//! - Nothing is answered unless the host of the request is an IP address, `localhost` or configured,
//!   and its origin absent, the same, or configured: a page of another site has no access, whatever
//!   its name resolves to.
//! - A request that needs [`Access::Full`](super::Access) is executed only with the token.
//! - Memory is bounded: by the numbers of connections, of their requests in progress and of waiting
//!   notifications, and by the size of each request and reply. A connection whose requests in
//!   progress reach a limit is not read from until one is answered.
//! - Callers without the token leave places and memory for those with it.
//! - A peer that neither sends nor receives for the time of a limit loses its connection.
//! - Work for a request ends when its connection is closed.

mod answer;
mod connections;
mod counters;
mod explorer;
mod guard;
mod handshake;
mod hub;
mod listener;
mod routes;
mod session;
mod shared;
mod stall;
mod token;

pub use counters::HttpCounters;
pub use listener::{HttpError, HttpOptions, HttpServer};
pub(crate) use token::check_token_file;

use crate::rpc::codec::MAX_MESSAGE_BYTES;
use core::time::Duration;

/// Maximum length in bytes of a request, or of an array of requests.
pub const MAX_REQUEST_BYTES: usize = 1 << 20;
/// Maximum number of requests in an array.
pub const MAX_BATCH: usize = 64;
/// Maximum number of requests of one WebSocket that are in progress.
pub const MAX_IN_FLIGHT: usize = 64;
/// Maximum number of subscriptions of one WebSocket.
pub const MAX_SUBSCRIPTIONS: usize = 16;
/// Maximum number of notifications of one WebSocket that wait to be sent; a subscription that exceeds
/// it ends.
pub const MAX_NOTIFICATIONS: usize = 256;
/// Maximum size in bytes of the notifications of one WebSocket that wait to be sent.
const MAX_NOTIFICATION_BYTES: usize = 1 << 20;
/// Maximum number of requests of all connections that are executed at a time.
const MAX_EXECUTING: usize = 24;
/// Number of those that are for callers with the token.
const RESERVED_EXECUTING: usize = 8;
/// Maximum number of requests of callers without the token that wait at a time for something to
/// happen.
const MAX_WAITING: usize = 8;
/// Maximum number of requests of one connection that are executed at a time, or have a reply that
/// waits to be sent.
const MAX_EXECUTING_OF_ONE: usize = 8;
/// Maximum KiB of large replies of all connections that wait to be sent.
const MAX_REPLY_KIB: usize = MAX_EXECUTING * (MAX_MESSAGE_BYTES >> 10);
/// KiB of those that are for callers with the token.
const RESERVED_REPLY_KIB: usize = RESERVED_EXECUTING * (MAX_MESSAGE_BYTES >> 10);
/// Size in bytes of a reply up to which it is not large.
const LARGE_REPLY_BYTES: usize = 16 << 10;
/// Number of metrics and health checks that are executed at a time, beside those.
const MONITORING: usize = 4;
/// Maximum bytes of requests of one WebSocket that are in progress; one more is read.
const MAX_IN_FLIGHT_BYTES: usize = MAX_REQUEST_BYTES;
/// Maximum time for the headers of a request, and that a connection may wait for the next one.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum time for the body of a request.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum time that a peer may not receive.
const STALL_TIMEOUT: Duration = Duration::from_secs(20);
/// Interval at which a silent WebSocket is pinged, and time of silence after which it is closed.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const SILENCE_TIMEOUT: Duration = Duration::from_secs(90);
/// Maximum size in bytes of the headers of a request.
const MAX_HEADER_BYTES: usize = 16 << 10;
/// Maximum time that a metrics request or health check takes.
const MONITORING_TIMEOUT: Duration = Duration::from_secs(5);
