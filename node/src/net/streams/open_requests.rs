//! Requests of other threads that are open.

use crate::net::stream_request::Receiver;
use astreum_core::consensus::StreamObject;
use std::collections::BTreeMap;

/// Open request.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) token: usize,
    /// Number on the connection; `None` until that is open and has a place.
    pub(super) number: Option<u32>,
    pub(super) object: StreamObject,
    pub(super) receiver: Receiver,
}

/// Open requests by their numbers.
#[derive(Debug, Default)]
pub(super) struct Requests(pub(super) BTreeMap<u64, Request>);

impl Requests {
    /// Returns the connection of a request, and its number there.
    pub(super) fn place(&self, number: u64) -> Option<(usize, u32)> {
        let request = self.0.get(&number)?;
        Some((request.token, request.number?))
    }
}
