//! Permission to send a packet to an address.

use super::Source;
use crate::crypto::PublicKey;
use core::net::SocketAddr;

/// Permission to send a packet to an address. Each packet is sent under one, so that no packet
/// leaves without a decision about the amplification limit of its receiver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Allowance {
    /// The address is validated, and has no limit.
    Validated,
    /// The packet is the first contact of an unvalidated address in the interval, or the contact of
    /// a seed: it is exempt from the amplification limit.
    FirstContact,
    /// The packet is charged to the amplification limit of the address when it is sent.
    Credit,
    /// The packet has been charged to the amplification limit of the address before.
    Charged,
}

impl Allowance {
    /// Returns the allowance of further packets to an address.
    pub(super) const fn of(is_validated: bool) -> Self {
        if is_validated {
            Self::Validated
        } else {
            Self::Credit
        }
    }
}

/// Receiver of a packet, and the permission to send to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Destination {
    pub(super) key: PublicKey,
    pub(super) address: SocketAddr,
    pub(super) allowance: Allowance,
}

impl Destination {
    /// Returns a peer at its validated address.
    pub(super) const fn validated(key: PublicKey, address: SocketAddr) -> Self {
        Self {
            key,
            address,
            allowance: Allowance::Validated,
        }
    }
}

/// An answer goes where the message came from.
impl From<&Source> for Destination {
    fn from(source: &Source) -> Self {
        Self {
            key: source.key,
            address: source.address,
            allowance: Allowance::of(source.is_validated),
        }
    }
}
