//! State that all connections share.

use super::answer::Executor;
use super::connections::Connections;
use super::counters::HttpCounters;
use super::guard::Guard;
use super::hub::Hub;
use hyper::HeaderMap;
use std::sync::Arc;

/// State of the server.
pub(super) struct Shared {
    pub(super) executor: Arc<Executor>,
    pub(super) hub: Arc<Hub>,
    pub(super) guard: Guard,
    pub(super) connections: Arc<Connections>,
    pub(super) counters: Arc<HttpCounters>,
    /// Headers of the explorer, if it is switched on.
    pub(super) explorer: Option<HeaderMap>,
}
