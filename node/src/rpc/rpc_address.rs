//! Part of the `status` reply about RPC over HTTP.

use super::schema::record;
use core::net::SocketAddr;

record! {
    /// Address of RPC over HTTP and WebSocket.
    pub struct RpcAddressReply {
        /// Address that it listens on.
        pub address: SocketAddr,
        /// Absolute path of the token file; only in replies through the control socket.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub token_file: Option<String>,
    }
}
