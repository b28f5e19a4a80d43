//! Counters of the HTTP server, for metrics.

use crate::rpc::http_counts::HttpCounts;
use core::sync::atomic::{AtomicU64, Ordering};

/// Counters of the server, which count from its start.
#[derive(Debug, Default)]
pub struct HttpCounters {
    pub(super) open_connections: AtomicU64,
    pub(super) connections: AtomicU64,
    pub(super) refused_connections: AtomicU64,
    pub(super) requests: AtomicU64,
    pub(super) failed_requests: AtomicU64,
    pub(super) rejected_requests: AtomicU64,
    pub(super) open_subscriptions: AtomicU64,
    pub(super) dropped_subscriptions: AtomicU64,
}

impl HttpCounters {
    /// Returns the values.
    #[must_use]
    pub fn counts(&self) -> HttpCounts {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        HttpCounts {
            open_connections: of(&self.open_connections),
            connections: of(&self.connections),
            refused_connections: of(&self.refused_connections),
            requests: of(&self.requests),
            failed_requests: of(&self.failed_requests),
            rejected_requests: of(&self.rejected_requests),
            open_subscriptions: of(&self.open_subscriptions),
            dropped_subscriptions: of(&self.dropped_subscriptions),
        }
    }
}

/// Adds one.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Subtracts one.
pub(super) fn uncount(counter: &AtomicU64) {
    counter.fetch_sub(1, Ordering::Relaxed);
}
