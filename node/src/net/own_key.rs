//! Warning about another node that has this node's relay key.

use core::net::SocketAddr;

/// Returns the warning about another node that has this node's relay key.
#[must_use]
pub fn own_key_warning(from: SocketAddr) -> String {
    format!(
        "the node at {from} has the same relay key as this node: use a separate relay key for \
         each, because peers know only one of them at a time"
    )
}
