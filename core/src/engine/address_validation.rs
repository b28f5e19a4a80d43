//! Address validation: a peer echoes an unguessable id that was sent only to its address.
//!
//! A *probe* is an object request for such an id. A reference node that has our handshake answers
//! with its peer nearest to the id, which is us: the id is close to our own key. Nodes of this
//! implementation answer that they do not have it. Either answer is sealed by the peer, names the
//! id, and may contain the address at which the peer observes us. It also confirms the stream that
//! the peer seals in ([`super::replay`]): another probe is sent when a validated peer seems to have
//! restarted.

use super::allowance::{Allowance, Destination};
use super::contacts::GET_BYTES;
use super::egress::sealed_bytes;
use super::limits::{CONTACT_INTERVAL, MAX_PROBES, PROBE_INTERVAL, WANTED_PEERS};
use super::peers::{Peer, Probe};
use super::random::ProbeIds;
use super::reads::ObjectSource;
use super::{DropReason, Engine, Event, RemoveReason, Sender, Source};
use crate::atom::AtomId;
use crate::crypto::PublicKey;
use crate::time::Instant;
use crate::wire::handshake::Cookie;
use crate::wire::message::Topic;
use crate::wire::object::{Action, Answer, PayloadType, Request, Response};
use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use core::mem;
use core::net::SocketAddr;

/// Ids of probes, and the times at which unanswered probes are repeated.
#[derive(Debug)]
pub(super) struct AddressValidation {
    pub(super) ids: ProbeIds,
    timers: BTreeSet<(Instant, PublicKey)>,
}

impl AddressValidation {
    pub(super) fn new(me: PublicKey, seed: &[u8; 32]) -> Self {
        Self {
            ids: ProbeIds::new(me, seed),
            timers: BTreeSet::new(),
        }
    }

    /// Starts a probe of a peer at an address: stores it with the peer and sets its timer. Returns
    /// the id to request. `tries` is the number of probes of the address before.
    fn begin(
        &mut self,
        now: Instant,
        (key, peer): (&PublicKey, &mut Peer),
        address: SocketAddr,
        (tries, is_for_stream): (u8, bool),
    ) -> AtomId {
        let id = self.ids.fresh(key, &address);
        let is_own = peer.address == address;
        if is_for_stream {
            *peer.probes.confirmation_asked_at(is_own) = Some(now);
        }
        *peer.probes.slot(is_own) = Some(Box::new(Probe {
            id,
            address,
            sent_at: now,
            tries: tries.saturating_add(1),
            is_for_stream,
        }));
        self.timers.insert((now + PROBE_INTERVAL, *key));
        AtomId::new(id)
    }

    /// Removes and returns the peer of a timer that is due.
    fn next_due(&mut self, now: Instant) -> Option<PublicKey> {
        self.timers.first().filter(|(at, _)| *at <= now)?;
        self.timers.pop_first().map(|(_, key)| key)
    }

    /// Returns the time of the next timer.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Returns the number of timers.
    #[cfg(test)]
    pub(super) fn timers(&self) -> usize {
        self.timers.len()
    }
}

/// Returns the number of probes of `address` that were sent before, or `None` if it was probed too
/// recently for another one.
fn tries_before(
    now: Instant,
    peer: &mut Peer,
    address: SocketAddr,
    is_for_stream: bool,
) -> Option<u8> {
    let is_own = peer.address == address;
    let tries = match peer.probes.slot(is_own) {
        Some(probe) => {
            let is_same = probe.address == address;
            let is_spent = is_same && !is_for_stream && probe.tries >= MAX_PROBES;
            let rest = if is_spent {
                CONTACT_INTERVAL
            } else {
                PROBE_INTERVAL
            };
            if now.since(probe.sent_at) < rest {
                return None;
            }
            if is_same && !is_spent { probe.tries } else { 0 }
        }
        None => 0,
    };
    if is_for_stream {
        // A recorded packet costs its sender nothing.
        let asked_at = peer.probes.confirmation_asked_at(is_own);
        if asked_at.is_some_and(|at| now.since(at) < PROBE_INTERVAL) {
            return None;
        }
    }
    Some(tries)
}

impl Engine {
    /// Starts validation of an address, unless it is validated, validation is under way, or a probe
    /// exceeds the amplification limit of the address. With `is_for_stream`, the address is
    /// validated and the peer is to confirm its stream.
    pub(super) fn request_validation(
        &mut self,
        now: Instant,
        key: &PublicKey,
        address: SocketAddr,
        is_for_stream: bool,
    ) {
        let Some(peer) = self.peers.get_mut(key) else {
            return;
        };
        let is_wanted = is_for_stream || !peer.is_validated_at(&address);
        if !is_wanted || !peer.may_be_asked_at(&address) {
            return;
        }
        let solicited = &self.contacts.solicited;
        if solicited.is_probed(now, address, *key) {
            return;
        }
        let Some(tries) = tries_before(now, peer, address, is_for_stream) else {
            return;
        };
        let source = Source {
            key: *key,
            address,
            is_validated: false,
        };
        // A reference node answers only peers that it knows.
        let has_our_key = is_for_stream
            || self.contacts.has(now, &address)
            || self.handshakes.answer(now, &source, &mut self.out)
            || self.handshakes.has(now, address, *key);
        if has_our_key && self.out.credits.covers(&address, sealed_bytes(GET_BYTES)) {
            let to = Destination {
                key: *key,
                address,
                allowance: Allowance::Credit,
            };
            self.send_probe(now, to, (tries, is_for_stream));
        }
    }

    /// Sends a probe to a key that has answered from an address that we have contacted, within the
    /// budgets of that address. `echo` is the cookie in the answer. Returns `None` if the address
    /// was not contacted, or must not be sent a request.
    ///
    /// # Errors
    /// Returns the reason if the probe was sent recently, exceeds a budget, or the key is invalid.
    pub(super) fn probe_solicited(
        &mut self,
        now: Instant,
        source: &Source,
        echo: Option<&Cookie>,
    ) -> Option<Result<(), DropReason>> {
        let (key, address) = (source.key, source.address);
        let is_seed = self.seeds.contains(&address);
        if is_seed {
            let share = self.peers.own_share();
            self.contacts.solicited.expect(now, address, (share, false));
        }
        let known = self.peers.get(&key);
        let takes_ipv6 = known.is_some_and(|peer| peer.takes_ipv6);
        let is_marked = takes_ipv6 || self.handshakes.is_marked(now, key, address);
        if !self.contacts.solicited.expects(now, &address) || address.is_ipv6() && !is_marked {
            return None;
        }
        if self.contacts.solicited.is_probed(now, address, key) {
            return Some(Err(DropReason::HandshakeTooSoon));
        }
        let solicited = &mut self.contacts.solicited;
        let is_echo = echo.is_some_and(|echo| solicited.is_cookie(&address, echo));
        let difficulty = known.map_or(1, |peer| peer.difficulty);
        let known = known.map(|peer| peer.shared.clone());
        let before = solicited.shared(address, key).cloned();
        let shared = match known.or(before) {
            Some(shared) => shared,
            None => {
                let is_within = if is_echo {
                    solicited.take_echo_agreement(now)
                } else {
                    solicited.take_agreement(now, &address, is_seed)
                };
                if !is_within {
                    return Some(Err(DropReason::KeyBudget));
                }
                match self.keys.agree_unlimited(&key, &mut self.out) {
                    Ok(shared) => shared,
                    Err(reason) => return Some(Err(reason)),
                }
            }
        };
        // The handshake that came covers it.
        if !self.out.credits.spend(&address, sealed_bytes(GET_BYTES)) {
            return Some(Err(DropReason::HandshakeTooSoon));
        }
        // The same id again: the round trip may be longer than the interval of probes.
        let before = solicited.probe(address, key);
        let (id, tries) = match before {
            Some(before) => (before.id, before.tries.saturating_add(1)),
            None => (self.validation.ids.fresh(&key, &address), 1),
        };
        let request = Request {
            action: Action::Get(Some(PayloadType::ATOM)),
            atom_id: AtomId::new(id),
            data: &[],
        };
        let seal = (&shared, difficulty);
        let content = (Topic::ObjectRequest, GET_BYTES);
        let to = (address, Allowance::Charged);
        self.out.sealed(now, to, seal, content, |out| {
            request.write(out);
        });
        let probe = Probe {
            id,
            address,
            sent_at: now,
            tries,
            is_for_stream: false,
        };
        solicited.insert(address, key, shared, probe);
        Some(Ok(()))
    }

    /// Sends a probe. The caller has checked that it does not exceed the allowance.
    pub(super) fn send_probe(&mut self, now: Instant, to: Destination, tries: (u8, bool)) {
        let Some(peer) = self.peers.get_mut(&to.key) else {
            return;
        };
        let of = (&to.key, peer);
        let id = self.validation.begin(now, of, to.address, tries);
        self.send_get(now, to, id, PayloadType::ATOM);
    }

    /// Returns whether a response answers a probe. If so, the address is validated and the stream
    /// of the sender confirmed.
    pub(super) fn take_probe_response<S: ObjectSource + ?Sized>(
        &mut self,
        now: Instant,
        sender: &Sender,
        response: &Response<'_>,
        store: &S,
    ) -> bool {
        let key = sender.source.key;
        let Some(peer) = self.peers.get_mut(&key) else {
            return false;
        };
        let id = response.atom_id.as_bytes();
        let probe = peer.probes.take(id);
        let Some(probe) =
            probe.or_else(|| self.contacts.solicited.take(sender.source.address, key, id))
        else {
            return false;
        };
        // A reference node never gives this kind of answer, and seals with random nonces.
        peer.is_ours = response.answer == Answer::Nearest;
        let has_restarted = if peer.is_ours {
            peer.replay.confirm(&sender.nonce)
        } else {
            peer.replay.forget_stream();
            false
        };
        peer.last_heard = now;
        peer.used_at = now;
        peer.kept_alive_at = None;
        if has_restarted {
            peer.pings = 0;
        }
        if probe.tries == 1 {
            self.peers.note_round_trip(&key, now.since(probe.sent_at));
        }
        if let Err(reason) = self.make_room_at(now, &key, &probe.address) {
            let id = self.validation.ids.fresh(&key, &probe.address);
            if let Some(peer) = self.peers.get_mut(&key) {
                peer.rest_probes(now, probe.address, id);
            }
            self.out.drop(reason);
            return true;
        }
        self.set_validated(now, &key, probe.address, store);
        if has_restarted {
            self.readvertise_to(now, &key);
            self.send_chain_identity(now, &key);
        }
        self.release_held(now, &key);
        true
    }

    /// Records a validated address, and takes the actions that follow from it.
    fn set_validated<S: ObjectSource + ?Sized>(
        &mut self,
        now: Instant,
        key: &PublicKey,
        address: SocketAddr,
        store: &S,
    ) {
        let was_validated = self
            .peers
            .get(key)
            .is_some_and(|peer| peer.is_validated_at(&address));
        let was_in_table = self.peers.table.get(key).is_some();
        let validated = self.peers.set_validated(key, address);
        for replaced in validated.replaced {
            self.remove_peer(&replaced, RemoveReason::Replaced);
        }
        if validated.is_new {
            self.out.report(Event::PeerAdded {
                peer: *key,
                address,
            });
        }
        if let Some(from) = validated.moved_from {
            // It is in another network group now.
            self.own_address.withdraw(key);
            self.out.report(Event::PeerMoved {
                peer: *key,
                from,
                to: address,
            });
        }
        let is_pinned = self.seeds.pin(key, &address);
        if is_pinned || validated.moved_from.is_some() {
            // Its head counts for more now, or in another network group.
            self.report_head(key);
        }
        self.serve_waiting(now, key, store);
        if was_validated {
            return;
        }
        self.send_ping(now, key);
        self.send_chain_identity(now, key);
        if self.peers.independent() < WANTED_PEERS || self.peers.is_near(key) {
            self.ask_routes(now, key);
        }
        self.fetch_from_newcomer(now, key);
        if !was_in_table && self.peers.table.get(key).is_some() {
            self.advertisements.schedule_pass();
        }
    }

    /// Applies the held statements of a peer that are of the stream which is now confirmed.
    fn release_held(&mut self, now: Instant, key: &PublicKey) {
        let Some(peer) = self.peers.get_mut(key) else {
            return;
        };
        let released = peer.held.release(peer.replay.confirmed());
        if let Some(ping) = released.ping {
            self.take_ping(now, key, &ping);
        }
        if let Some((nonce, content)) = released.block {
            self.take_block(key, &nonce, content);
        }
        for id in released.transactions {
            self.report_transaction(key, id);
        }
    }

    /// Serves the requests and stores the provider records that waited for the validation of a
    /// peer.
    fn serve_waiting<S: ObjectSource + ?Sized>(
        &mut self,
        now: Instant,
        key: &PublicKey,
        store: &S,
    ) {
        let Some(peer) = self.peers.get_mut(key) else {
            return;
        };
        let source = Source {
            key: *key,
            address: peer.address,
            is_validated: true,
        };
        let puts = mem::take(&mut peer.puts);
        for waiting in mem::take(&mut peer.waiting) {
            if waiting.deadline > now {
                self.serve(now, &source, waiting.id, waiting.kind, store);
            } else {
                self.out.drop(DropReason::ValidationTimeout);
            }
        }
        for put in puts {
            let taken = if put.deadline > now {
                self.take_put(now, &source, &put)
            } else {
                Err(DropReason::ValidationTimeout)
            };
            self.out.drop_if(taken);
        }
    }

    /// Repeats unanswered probes, up to [`MAX_PROBES`] times.
    pub(super) fn probe_again(&mut self, now: Instant) {
        while let Some(key) = self.validation.next_due(now) {
            let Some(peer) = self.peers.get(&key) else {
                continue;
            };
            for probe in peer.probes.iter() {
                if now.since(probe.sent_at) < PROBE_INTERVAL {
                    continue;
                }
                if probe.tries < MAX_PROBES {
                    self.request_validation(now, &key, probe.address, probe.is_for_stream);
                }
                let peer = self.peers.get(&key);
                let mut probes = peer.into_iter().flat_map(|peer| peer.probes.iter());
                if !probes.any(|asked| asked.address == probe.address && asked.sent_at == now) {
                    // It has not answered in time, or another probe exceeds the amplification
                    // limit.
                    let peer = self.peers.get_mut(&key);
                    for _ in 0..peer.map_or(0, Peer::give_up_waiting) {
                        self.out.drop(DropReason::ValidationTimeout);
                    }
                }
            }
        }
    }
}
