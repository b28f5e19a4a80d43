//! Caller of a method: what its connection can do beyond the answer, and whether it still waits.

use super::error::RpcError;
use super::subscription::Session;
use super::transfer::Transfers;
use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

/// Caller of a method.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    gone: Arc<AtomicBool>,
    transfers: Option<Arc<dyn Transfers>>,
    session: Option<Arc<dyn Session>>,
}

impl Caller {
    /// Creates a caller without transfers and subscriptions; it is gone once the flag is set.
    #[must_use]
    pub const fn new(gone: Arc<AtomicBool>) -> Self {
        Self {
            gone,
            transfers: None,
            session: None,
        }
    }

    /// Creates a caller that has subscriptions.
    #[must_use]
    pub const fn with_session(gone: Arc<AtomicBool>, session: Arc<dyn Session>) -> Self {
        Self {
            gone,
            transfers: None,
            session: Some(session),
        }
    }

    /// Creates a caller that sends and receives transfers.
    #[must_use]
    pub const fn with_transfers(gone: Arc<AtomicBool>, transfers: Arc<dyn Transfers>) -> Self {
        Self {
            gone,
            transfers: Some(transfers),
            session: None,
        }
    }

    /// Returns the session of the caller's connection.
    ///
    /// # Errors
    /// Fails if the transport cannot send without a request.
    pub fn session(&self) -> Result<&dyn Session, RpcError> {
        let session = self.session.as_deref();
        session.ok_or_else(|| "this connection is not a WebSocket".into())
    }

    /// Returns the transfers of the caller's connection.
    ///
    /// # Errors
    /// Fails if the transport has no transfers.
    pub fn transfers(&self) -> Result<&dyn Transfers, RpcError> {
        let transfers = self.transfers.as_deref();
        transfers.ok_or_else(|| "this connection does not carry transfers".into())
    }

    /// Returns whether the caller uses the control socket, so that it is the node's user or root.
    #[must_use]
    pub const fn is_local(&self) -> bool {
        self.transfers.is_some()
    }

    /// Returns whether the answer is not needed: the caller has closed its connection, or the node
    /// stops.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// Returns the flag that is set once the caller is gone.
    #[must_use]
    pub fn gone(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.gone)
    }
}
