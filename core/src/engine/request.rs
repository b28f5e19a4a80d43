//! Sending of single requests: permission, amplification limit of the address, and response
//! timeout.

use super::address_validation::GET_BYTES;
use super::egress::sealed_bytes;
use super::round_trip::RoundTrip;
use super::{Engine, Source};
use crate::atom::AtomId;
use crate::crypto::PublicKey;
use crate::time::Instant;
use crate::wire::object::PayloadType;
use core::net::SocketAddr;
use core::time::Duration;

/// A redirect that is being followed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Redirect {
    pub(super) key: PublicKey,
    pub(super) address: SocketAddr,
    /// Length of its packet in bytes.
    pub(super) bytes: usize,
    /// `true` if the address had not been contacted recently.
    pub(super) is_first: bool,
}

impl Engine {
    /// Returns whether a peer may be sent a request: a reference node on IPv6 stops receiving at a
    /// request that it cannot answer.
    pub(super) fn may_ask(&self, key: &PublicKey) -> bool {
        let peer = self.peers.get(key);
        peer.is_some_and(|peer| peer.may_be_asked_at(&peer.address))
    }

    /// Returns the response timeout of a request that was sent `tries` times to a peer.
    pub(super) fn response_timeout(&self, key: &PublicKey, tries: u8) -> Duration {
        let own = self.peers.get(key).map(|peer| peer.round_trip);
        let trip = own.filter(RoundTrip::is_known).unwrap_or(self.round_trip);
        trip.response_timeout(tries)
    }

    /// Records the round trip of a request that was sent once.
    pub(super) fn note_round_trip(&mut self, key: &PublicKey, took: Duration) {
        self.round_trip.note(took);
        if let Some(peer) = self.peers.get_mut(key) {
            peer.round_trip.note(took);
        }
    }

    /// Sends a request to a validated peer at its address, or to any other peer at `address`, as
    /// named by `referrer`. Returns `false` if it may not be sent or exceeds a limit.
    pub(super) fn request(
        &mut self,
        now: Instant,
        key: PublicKey,
        address: SocketAddr,
        referrer: Option<&PublicKey>,
        wanted: AtomId,
        wanted_as: PayloadType,
    ) -> bool {
        if let Some(peer) = self.peers.get(&key)
            && peer.is_validated
        {
            let to = Source {
                key,
                address: peer.address,
                is_validated: true,
            };
            return self.may_ask(&key) && self.send_get(now, &to, wanted, wanted_as);
        }
        let to = Source {
            key,
            address,
            is_validated: false,
        };
        if let Some(referrer) = referrer
            && let Some(referring) = self.peers.get(referrer)
            && !self.is_referral_allowed(referring.address.ip(), address)
        {
            return false;
        }
        let is_first = self.may_contact(now, address, referrer);
        if self.peers.get(&key).is_none() {
            if !is_first && !self.credits.covers(&address, sealed_bytes(GET_BYTES)) {
                return false;
            }
            let admitted = self
                .agree(now, &to)
                .and_then(|shared| self.admit(now, &to, shared));
            if let Err(reason) = admitted {
                self.stats.drop(reason);
                return false;
            }
            if let Some(peer) = self.peers.get_mut(&key) {
                // Only nodes of this implementation are sent contacts on IPv6.
                peer.takes_ipv6 = address.is_ipv6();
            }
        }
        // The first packet to an address is exempt from the amplification limit.
        let to = Source {
            is_validated: is_first,
            ..to
        };
        self.send_get(now, &to, wanted, wanted_as)
    }

    /// Raises the amplification limit of an address that a redirect names by the bytes of the
    /// redirect: a request to a new peer may be lost, and an unvalidated address is sent another
    /// only within its limit. Each redirect is charged to the budget of the referrer.
    pub(super) fn credit_referred_address(
        &mut self,
        now: Instant,
        referrer: &Source,
        redirect: &Redirect,
    ) {
        let Redirect { key, address, .. } = redirect;
        let peer = self.peers.get(key);
        let is_validated = peer.is_some_and(|peer| peer.is_validated);
        if is_validated
            || *key == self.me
            || !self.is_referral_allowed(referrer.address.ip(), *address)
        {
            return;
        }
        let is_contacted = self.is_contacted(now, address);
        let is_paid = if redirect.is_first {
            is_contacted
        } else {
            is_contacted && self.charge_referrer(now, &referrer.key)
        };
        if is_paid {
            self.credits.received(now, *address, redirect.bytes);
        }
        if is_paid && redirect.is_first {
            // The first packet was sent before.
            self.credits.spend(address, sealed_bytes(GET_BYTES));
        }
    }
}
