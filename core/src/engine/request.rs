//! Sending of single requests: permission, amplification limit of the address, and redirects.

use super::allowance::{Allowance, Destination};
use super::contacts::{Cause, GET_BYTES, Redirect};
use super::egress::sealed_bytes;
use super::{Engine, Source};
use crate::atom::AtomId;
use crate::crypto::PublicKey;
use crate::time::Instant;
use crate::wire::message::Topic;
use crate::wire::object::{Action, PayloadType, Request};
use core::net::SocketAddr;

impl Engine {
    /// Takes the first contact of an address, see [`super::contacts::Contacts::take`].
    pub(super) fn may_contact(
        &mut self,
        now: Instant,
        address: SocketAddr,
        referrer: Option<&PublicKey>,
    ) -> bool {
        let cause = match referrer {
            Some(referrer) => Cause::Referrer(self.peers.share(referrer)),
            None => Cause::Own(self.peers.own_share()),
        };
        self.contacts.take(now, address, cause, &mut self.out)
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
            let to = Destination::validated(key, peer.address);
            return self.peers.may_ask(&key) && self.send_get(now, to, wanted, wanted_as);
        }
        if let Some(referrer) = referrer
            && let Some(referring) = self.peers.get(referrer)
            && !self
                .contacts
                .is_referral_allowed(referring.address.ip(), address)
        {
            return false;
        }
        let is_first = self.may_contact(now, address, referrer);
        if self.peers.get(&key).is_none() {
            if !is_first && !self.out.credits.covers(&address, sealed_bytes(GET_BYTES)) {
                return false;
            }
            let named = Source {
                key,
                address,
                is_validated: false,
            };
            let admitted = self
                .keys
                .agree(now, &named, &mut self.out)
                .and_then(|shared| self.admit(now, &named, shared));
            if let Err(reason) = admitted {
                self.out.drop(reason);
                return false;
            }
            if let Some(peer) = self.peers.get_mut(&key) {
                // Only nodes of this implementation are sent contacts on IPv6.
                peer.takes_ipv6 = address.is_ipv6();
            }
        }
        let allowance = if is_first {
            Allowance::FirstContact
        } else {
            Allowance::Credit
        };
        let to = Destination {
            key,
            address,
            allowance,
        };
        self.send_get(now, to, wanted, wanted_as)
    }

    /// Sends a request for an object, within the allowance of the receiver.
    pub(super) fn send_get(
        &mut self,
        now: Instant,
        to: Destination,
        atom_id: AtomId,
        kind: PayloadType,
    ) -> bool {
        let request = Request {
            action: Action::Get(Some(kind)),
            atom_id,
            data: &[],
        };
        self.send(now, to, Topic::ObjectRequest, GET_BYTES, |out| {
            request.write(out);
        })
    }

    /// Raises the amplification limit of an unvalidated address that a redirect names, see
    /// [`super::contacts::Contacts::credit_referred_address`].
    pub(super) fn credit_referred_address(
        &mut self,
        now: Instant,
        referrer: &Source,
        redirect: &Redirect,
    ) {
        if self.peers.is_validated(&redirect.key) || redirect.key == self.me {
            return;
        }
        let referrer = (referrer.address.ip(), self.peers.share(&referrer.key));
        self.contacts
            .credit_referred_address(now, referrer, redirect, &mut self.out);
    }
}
