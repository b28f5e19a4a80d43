//! Permission that each request needs on a transport that others than the node's user can reach.

use super::service::Request;
use super::text::Topic;

/// Permission of a caller, and what a request needs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Access {
    /// Reads: the state of the node, and objects that its peers serve to any node.
    Read,
    /// Everything: changes of state, work without bounds, files of the node's machine, and its log.
    Full,
}

impl Request {
    /// Returns the permission that it needs. Requests that are not listed need [`Access::Full`].
    #[must_use]
    pub fn access(&self) -> Access {
        match self {
            Self::Status(_)
            | Self::Peers(_)
            | Self::Get(_)
            | Self::GetList(_)
            | Self::Advertised(_)
            | Self::Providers(_)
            | Self::Block(_)
            | Self::Blocks(_)
            | Self::Account(_)
            | Self::History(_)
            | Self::Validators(_)
            | Self::Transaction(_)
            | Self::TransactionStatus(_)
            | Self::Forks(_)
            | Self::ProveAccount(_)
            | Self::Pins(_)
            | Self::Metrics(_)
            | Self::Authenticate(_)
            | Self::Unsubscribe(_) => Access::Read,
            // Another user of the machine may not read the log.
            Self::Subscribe(subscribe) => match subscribe.topic {
                Topic::Log => Access::Full,
                _ => Access::Read,
            },
            _ => Access::Full,
        }
    }

    /// Returns whether it waits for something to happen, which may take as long as it states.
    #[cfg(feature = "http")]
    pub(super) const fn waits(&self) -> bool {
        matches!(self, Self::TransactionStatus(params) if params.wait_seconds > 0)
    }
}
