//! Description of a fetch, which passes unchanged from its caller to the engine.

use super::super::limits::{MAX_LIST_ATOMS, MAX_LIST_BYTES};
use crate::atom::AtomId;
use crate::crypto::PublicKey;
use crate::wire::object::PayloadType;

/// Maximum size of a list before its fetch is abandoned.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ListLimit {
    /// Maximum number of atoms.
    pub atoms: usize,
    /// Maximum number of stored bytes of the atoms.
    pub bytes: usize,
}

impl ListLimit {
    /// The largest limit.
    pub const MAX: Self = Self {
        atoms: MAX_LIST_ATOMS,
        bytes: MAX_LIST_BYTES,
    };
}

/// Extent of the fetched part of a list.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Extent {
    /// The whole list: a list larger than the limit fails with
    /// [`FetchError::TooLarge`](crate::engine::FetchError::TooLarge).
    Whole(ListLimit),
    /// The beginning of the list: as much as the limit allows, and, if it arrives slowly, as much
    /// as arrived in eight times the fetch timeout. So the cost of a list while it is assembled is
    /// chosen by the caller, and not by the peers that serve it.
    Beginning(ListLimit),
}

impl Extent {
    pub(super) const fn limit(self) -> ListLimit {
        match self {
            Self::Whole(limit) | Self::Beginning(limit) => limit,
        }
    }

    pub(super) const fn is_part(self) -> bool {
        matches!(self, Self::Beginning(_))
    }
}

/// An object to fetch, and the peer to ask first.
///
/// ```
/// use astreum_core::atom::AtomId;
/// use astreum_core::engine::{Extent, FetchRequest, ListLimit};
///
/// let id = AtomId::new([1; 32]);
/// let limit = ListLimit { atoms: 10, bytes: 1_000 };
/// assert_eq!(FetchRequest::list(id).extent, Extent::Whole(ListLimit::MAX));
/// assert_eq!(FetchRequest::beginning(id, limit).extent, Extent::Beginning(limit));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FetchRequest {
    /// Id of the object.
    pub id: AtomId,
    /// Kind of the object: one atom or a list.
    pub kind: PayloadType,
    /// Extent of a list.
    pub extent: Extent,
    /// Peer to ask first, before known providers and the nearest peers.
    pub from: Option<PublicKey>,
    /// `true` if the rest of a long list may arrive by stream: the host then gets it from the
    /// stream, the event for the fetch is [`Event::Streamed`](crate::engine::Event::Streamed), and
    /// the byte limit of the extent applies only to what arrives by datagram.
    pub may_stream: bool,
}

impl FetchRequest {
    /// Requests an object of a kind; a list as a whole.
    #[must_use]
    pub const fn new(id: AtomId, kind: PayloadType) -> Self {
        Self {
            id,
            kind,
            extent: Extent::Whole(ListLimit::MAX),
            from: None,
            may_stream: false,
        }
    }

    /// Requests an atom.
    #[must_use]
    pub const fn atom(id: AtomId) -> Self {
        Self::new(id, PayloadType::ATOM)
    }

    /// Requests a list.
    #[must_use]
    pub const fn list(id: AtomId) -> Self {
        Self::new(id, PayloadType::LIST)
    }

    /// Requests a list of at most `limit`.
    #[must_use]
    pub const fn list_within(id: AtomId, limit: ListLimit) -> Self {
        Self {
            extent: Extent::Whole(limit),
            ..Self::list(id)
        }
    }

    /// Requests the beginning of a list, of at most `limit`.
    #[must_use]
    pub const fn beginning(id: AtomId, limit: ListLimit) -> Self {
        Self {
            extent: Extent::Beginning(limit),
            ..Self::list(id)
        }
    }

    /// Returns the request with a peer to ask first.
    #[must_use]
    pub const fn first_from(self, from: Option<PublicKey>) -> Self {
        Self { from, ..self }
    }

    /// Returns the request with permission to continue by stream.
    #[must_use]
    pub const fn or_by_stream(self) -> Self {
        Self {
            may_stream: true,
            ..self
        }
    }

    /// Returns the object. Callers with different extents do not share a fetch.
    pub(super) const fn object(&self) -> Object {
        (self.id, self.kind, self.extent, self.may_stream)
    }
}

/// Object of a fetch: id, kind and extent, and whether it may continue by stream.
pub(super) type Object = (AtomId, PayloadType, Extent, bool);
