//! Configured seeds, and the pinned key of the default seed.

use super::peers::Peer;
use crate::crypto::PublicKey;
use alloc::vec::Vec;
use core::net::SocketAddr;

/// Addresses of the seeds, as the host has resolved them.
#[derive(Debug, Default)]
pub(super) struct Seeds {
    pub(super) default: Vec<SocketAddr>,
    pub(super) additional: Vec<SocketAddr>,
    /// First key that was validated at an address of the default seed.
    pub(super) pinned: Option<PublicKey>,
}

impl Seeds {
    /// Returns the addresses of all seeds, those of the default seed first.
    pub(super) fn addresses(&self) -> impl Iterator<Item = &SocketAddr> {
        self.default.iter().chain(&self.additional)
    }

    /// Returns whether an address is that of a seed.
    pub(super) fn contains(&self, address: &SocketAddr) -> bool {
        self.addresses().any(|seed| seed == address)
    }

    /// Returns whether there is no seed.
    pub(super) const fn is_empty(&self) -> bool {
        self.default.is_empty() && self.additional.is_empty()
    }

    /// Returns whether a peer is the pinned default seed.
    pub(super) fn is_default(&self, key: &PublicKey) -> bool {
        self.pinned.as_ref() == Some(key)
    }

    /// Returns whether a peer is the pinned default seed, or validated at the address of a seed.
    pub(super) fn is_seed(&self, key: &PublicKey, peer: &Peer) -> bool {
        let is_at_seed = || self.addresses().any(|seed| peer.is_validated_at(seed));
        self.is_default(key) || is_at_seed()
    }
}
