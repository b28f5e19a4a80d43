//! Subscriptions: requests, notifications, and the sources of events.
//!
//! A transport that can send without a request implements [`Session`]; a node is an [`EventSource`].
//! The result in a notification is a [`HeadReply`], a [`ReorganizationReply`], a
//! [`TransactionStatusReply`] or a [`LogReply`], by the topic.

use super::chain::{HeadReply, TransactionStatusReply};
use super::error::RpcError;
use super::schema::{Schema, Types, record};
use super::text::{self, LogLevel, Topic};
use astreum_core::atom::AtomId;
use core::fmt;
use std::sync::Arc;

/// Method of the notifications of a subscription.
pub const NOTIFICATION: &str = "subscription";

record! {
    /// Reorganization: the head moved to another branch.
    pub struct ReorganizationReply {
        /// Head before.
        #[serde(with = "text")]
        pub from: AtomId,
        /// Head after.
        #[serde(with = "text")]
        pub to: AtomId,
        /// Last block that both have in common; null if it is not known here.
        #[serde(with = "text")]
        pub fork: Option<AtomId>,
        /// Number of blocks that were undone; null if the fork is not known.
        pub depth: Option<u64>,
    }
}

record! {
    /// Line of the log.
    pub struct LogReply {
        /// Time in RFC 3339.
        pub time: String,
        /// Level.
        #[serde(with = "text")]
        pub level: LogLevel,
        /// Module that logged it.
        pub module: String,
        /// Message.
        pub message: String,
    }
}

/// Adds the types of notifications to those of the schema.
pub(super) fn add_types(types: &mut Types) {
    HeadReply::schema(types);
    ReorganizationReply::schema(types);
    TransactionStatusReply::schema(types);
    LogReply::schema(types);
}

/// Connection that can send without a request.
pub trait Session: Send + Sync + fmt::Debug {
    /// Starts a subscription; returns its number.
    ///
    /// # Errors
    /// Fails if the parameters do not fit the topic, there are too many subscriptions, or the caller
    /// may not have it.
    fn subscribe(
        &self,
        topic: Topic,
        id: Option<AtomId>,
        level: Option<LogLevel>,
    ) -> Result<u64, RpcError>;

    /// Ends a subscription: `true` if there was one.
    fn unsubscribe(&self, subscription: u64) -> bool;

    /// Permits all methods to the connection.
    ///
    /// # Errors
    /// Fails if the token is wrong.
    fn authenticate(&self, token: &str) -> Result<(), RpcError>;
}

/// Receiver of events. Called on the threads that cause them: it must neither block nor log.
pub trait Observer: Send + Sync {
    /// The head has changed.
    fn head(&self, head: HeadReply);
    /// The head, the mempool or another part of the chain's status has changed.
    fn chain(&self);
    /// A line was logged.
    fn log(&self, line: LogReply);
}

/// Source of events.
pub trait EventSource: Send + Sync {
    /// Calls `observer` for every event, as long as the result lives.
    #[must_use]
    fn observe(&self, observer: Arc<dyn Observer>) -> Box<dyn Send>;

    /// Returns the reorganization between two heads; `None` if the second one extends the first. May
    /// read the disk.
    fn reorganization(&self, from: &HeadReply, to: &HeadReply) -> Option<ReorganizationReply>;
}
