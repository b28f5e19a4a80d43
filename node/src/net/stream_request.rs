//! Requests by stream of threads outside of the network: their receivers, and what they receive.

use super::stream_memory::StreamedAtoms;
use crate::runtime::inbox::Inbox;
use astreum_core::crypto::PublicKey;
use astreum_core::engine::ListId;
use astreum_core::wire::stream::EndReason;
use std::sync::mpsc::Sender;

/// Receiver of what a request brings.
#[derive(Clone, Debug)]
pub(super) enum Receiver {
    /// Chain thread.
    Chain(Inbox),
    /// Thread that stores the atoms itself.
    Caller(Sender<StreamAnswer>),
    /// Event loop, for an object that the engine fetches and holds.
    Engine {
        /// Identifier of the object.
        list: ListId,
        /// Peer that the request is sent to.
        peer: PublicKey,
    },
}

/// Result of a request, or a part of it, for its caller.
#[derive(Debug)]
pub struct StreamAnswer {
    /// Number of the request.
    pub number: u64,
    /// Atoms, or the end.
    pub part: StreamPart,
}

/// Part of the answer to a request.
#[derive(Debug)]
pub enum StreamPart {
    /// Verified atoms, in order.
    Atoms(StreamedAtoms),
    /// End of the request.
    End(RequestEnd),
}

/// Reason of the end of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RequestEnd {
    /// Everything has arrived.
    Complete,
    /// The peer does not have the next object.
    Missing,
    /// The peer refuses such a request, or its stream was lost.
    Failed,
}

impl From<EndReason> for RequestEnd {
    fn from(reason: EndReason) -> Self {
        match reason {
            EndReason::Missing => Self::Missing,
            EndReason::Busy | EndReason::Unsupported | EndReason::Failed | EndReason::Other(_) => {
                Self::Failed
            }
        }
    }
}
