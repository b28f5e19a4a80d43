//! Lists and requests of other threads that are open.

use crate::net::stream_request::Receiver;
use astreum_core::consensus::StreamObject;
use astreum_core::crypto::PublicKey;
use std::collections::BTreeMap;

/// A list that is fetched by stream.
#[derive(Debug)]
pub(super) struct List {
    pub(super) peer: PublicKey,
    pub(super) token: usize,
    pub(super) place: Place,
}

/// Place of a list on its connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// None is free, or the connection is not open.
    Waiting,
    /// One is reserved until the event loop begins or cancels the list.
    Reserved,
    /// It is requested, by this number.
    Open(u32),
}

impl List {
    /// Returns the number of its request, if it was sent.
    pub(super) const fn number(&self) -> Option<u32> {
        match self.place {
            Place::Open(number) => Some(number),
            Place::Waiting | Place::Reserved => None,
        }
    }
}

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
