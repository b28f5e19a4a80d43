//! Requests of other processes: the control socket, through which the other commands reach a running
//! node, and with the feature `http` the same methods over HTTP and WebSocket.
//!
//! The control socket is a Unix domain socket with mode 0600 that carries JSON-RPC 2.0 messages in
//! length-prefixed frames (see [`codec`]). The methods are those of [`Service`], which is independent
//! of the transport.
//!
//! Invariants:
//! - Only processes of the node's own user, or root, get an answer.
//! - A message is at most [`MAX_MESSAGE_BYTES`] long in either direction, and at most
//!   [`MAX_CONNECTIONS`] connections are open, plus [`RESERVED_CONNECTIONS`] for status and stop
//!   requests: the memory of both sides is bounded.
//! - A transfer has at most [`MAX_TRANSFER_BYTES`] in a frame, and is as fast as its receiver: neither
//!   side collects frames.
//! - Work for a request ends when its connection is closed.
//! - Requests are read and answered on separate threads; the event loop never waits for one.
//! - A socket is replaced only by a process that holds its lock, and only if no process answers on
//!   it.

mod access;
mod caller;
mod chain;
mod chain_status;
mod client;
pub mod codec;
mod connections;
mod dispatch;
mod error;
mod findings;
mod forks;
mod history;
#[cfg(feature = "http")]
mod http;
mod http_counts;
mod link;
mod message;
mod number;
mod port_mapping;
mod protocol;
mod pruning;
mod reload;
mod rpc_address;
mod schema;
mod server;
mod service;
mod subscription;
mod text;
mod transfer;

pub use access::Access;
pub use caller::Caller;
pub use chain::{
    AccountReply, BlockReply, CostsReply, HeadReply, IncludedReply, MAX_BLOCKS_REPLY,
    MAX_SLOTS_REPLY, MAX_TRANSACTIONS_REPLY, MAX_WAIT_SECONDS, SendReply, TransactionReply,
    TransactionStatusReply, ValidatorReply, ValidatorsReply,
};
pub use chain_status::{BadBlockReply, ChainReply, SnapshotReply};
pub use client::{Client, ClientError, DEFAULT_TIMEOUT, Download, TRANSFER};
pub use codec::{MAX_MESSAGE_BYTES, MAX_TRANSFER_BYTES};
pub use connections::{MAX_CONNECTIONS, RESERVED_CONNECTIONS};
pub use dispatch::answer;
pub use error::{ErrorKind, RpcError};
pub use findings::duration;
pub use forks::{ForkReply, ForksReply};
pub use history::{
    DEFAULT_HISTORY_REPLY, HistoryEntryReply, HistoryReply, IndexReply, MAX_HISTORY_REPLY,
};
#[cfg(feature = "http")]
pub(crate) use http::check_token_file;
#[cfg(feature = "http")]
pub use http::{
    HttpCounters, HttpError, HttpOptions, HttpServer, MAX_BATCH, MAX_IN_FLIGHT, MAX_NOTIFICATIONS,
    MAX_REQUEST_BYTES, MAX_SUBSCRIPTIONS,
};
pub use http_counts::HttpCounts;
pub use message::MAX_ID_BYTES;
pub use number::{Number, number};
pub use port_mapping::{MappedPortReply, PortMappingReply};
pub use protocol::{
    AdvertisementReply, AtomReply, BackupReply, EVAL_FETCH_SECONDS, EvalReply, ListReply,
    MAX_LIST_REPLY_BYTES, PeerReply, ProducerReply, ProviderReply, PutReply, RefusalReply,
    SentReply, StatusReply, StoredReply, TransferProgress,
};
pub use pruning::{MAX_PINS_REPLY, PinReply, PinnedReply, PruneReply, PruningReply};
pub use reload::{ChangeReply, ReloadReply};
pub use rpc_address::RpcAddressReply;
pub use server::{Server, ServerError};
pub use service::{Method, PartialService, Request, Service, request, schema};
pub use subscription::{
    EventSource, LogReply, NOTIFICATION, Observer, ReorganizationReply, Session,
};
pub use text::{
    AccountName, ConfirmationLevel, Hex, LogLevel, Topic, TransactionStanding, hex, unhex,
};
pub use transfer::{AtomParts, AtomReader, TransferError, Transfers, push_atom};
