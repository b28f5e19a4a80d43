//! Route requests and responses: exchange of peer addresses.

use super::allowance::Destination;
use super::limits::{MAX_ROUTE_ENTRIES, ROUTE_REQUEST_INTERVAL, ROUTE_RESPONSE_TIMEOUT};
use super::{DropReason, Engine, Source};
use crate::crypto::PublicKey;
use crate::time::Instant;
use crate::wire::message::Topic;
use crate::wire::route_message::{AddressFamily, RouteTable, decode_entries, write_entry};
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

impl Engine {
    /// Answers with the address of the peer nearest to the asker in each bucket, never the asker
    /// itself. An IPv4 node reads IPv4 entries only, and a reference node on IPv6 cannot use IPv6
    /// contacts.
    pub(super) fn handle_route_request(
        &mut self,
        now: Instant,
        source: &Source,
        content: &[u8],
    ) -> Result<(), DropReason> {
        let table = RouteTable::decode(content).map_err(|_| DropReason::BadContent)?;
        if table == RouteTable::Validators && !self.config.is_validator {
            return Ok(());
        }
        let peers = &self.peers;
        let takes_ipv6 = peers.get(&source.key).is_some_and(|peer| peer.takes_ipv6);
        let is_listed = |key: &PublicKey, address: SocketAddr| {
            let is_in_table =
                table == RouteTable::Peers || peers.get(key).is_some_and(|peer| peer.is_validator);
            let is_readable = address.is_ipv4() || (source.address.is_ipv6() && takes_ipv6);
            *key != source.key && is_in_table && is_readable
        };
        let family = AddressFamily::of(&source.address);
        let entries: Vec<SocketAddr> = peers
            .nearest_of_each_bucket(&source.key, |entry| is_listed(entry.key(), entry.address()))
            .map(|entry| widen(entry.address(), family))
            .collect();
        if entries.is_empty() {
            return Ok(());
        }
        let len = entries.len() * family.entry_bytes();
        let sent = self.send(now, source, Topic::RouteResponse, len, |out| {
            entries.iter().for_each(|address| write_entry(out, address));
        });
        if sent {
            Ok(())
        } else {
            Err(DropReason::NotValidated)
        }
    }

    /// Sends a validated peer a route request, at most once per interval.
    pub(super) fn ask_routes(&mut self, now: Instant, key: &PublicKey) {
        let interval = self.peers.paced(ROUTE_REQUEST_INTERVAL);
        let Some(peer) = self.peers.get_mut(key).filter(|peer| peer.is_validated) else {
            return;
        };
        let asked = peer.routes_asked_at;
        if asked.is_some_and(|at| now.since(at) < interval) {
            return;
        }
        peer.routes_asked_at = Some(now);
        let to = Destination::validated(*key, peer.address);
        let content = RouteTable::Peers.encode();
        self.send(now, to, Topic::RouteRequest, content.len(), |out| {
            out.extend_from_slice(&content);
        });
    }

    /// Contacts the addresses in a solicited response, within the budgets.
    pub(super) fn handle_route_response(
        &mut self,
        now: Instant,
        source: &Source,
        content: &[u8],
    ) -> Result<(), DropReason> {
        let asked = self
            .peers
            .get(&source.key)
            .and_then(|peer| peer.routes_asked_at);
        if asked.is_none_or(|at| now.since(at) > ROUTE_RESPONSE_TIMEOUT) {
            return Err(DropReason::Unsolicited);
        }
        let family = AddressFamily::of(&source.address);
        let entries = decode_entries(content, family).map_err(|_| DropReason::BadContent)?;
        self.peers.note_served(&source.key);
        for address in entries
            .take(MAX_ROUTE_ENTRIES)
            .map(super::address::canonical)
        {
            let is_known = self.peers.is_validated_address(&address);
            let is_new = !is_known && !self.own_address.is_own(address);
            if is_new
                && self
                    .contacts
                    .is_referral_allowed(source.address.ip(), address)
                && self.may_contact(now, address, Some(&source.key))
            {
                let ids = &mut self.validation.ids;
                self.contacts.contact_once(now, address, ids, &mut self.out);
            }
        }
        Ok(())
    }
}

/// Returns the address in the family that the reader expects: IPv4 as IPv4-mapped for IPv6.
fn widen(address: SocketAddr, family: AddressFamily) -> SocketAddr {
    match (address.ip(), family) {
        (IpAddr::V4(ip), AddressFamily::V6) => {
            SocketAddr::new(ip.to_ipv6_mapped().into(), address.port())
        }
        _ => address,
    }
}
