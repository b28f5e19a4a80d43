//! Proof that a peer receives at an address: it echoes an id that only went there.
//!
//! The question is an object request for an id that nobody can guess. A reference node that has
//! our handshake answers with its peer nearest to the id, which is us: the id stands by our own
//! key. Nodes of ours say that they do not have it. Either answer comes sealed by the peer, names
//! the id, and may say where the peer sees us.

use super::limits::{CONTACT_INTERVAL, MAX_PROBES, PROBE_INTERVAL, WANTED_PEERS};
use super::outbox::sealed_bytes;
use super::peers::Probe;
use super::{DropReason, Engine, Event, RemoveReason, Source};
use crate::atom::{AtomId, AtomSource};
use crate::crypto::PublicKey;
use crate::time::Instant;
use crate::wire::message::Topic;
use crate::wire::object::{Action, Answer, PayloadType, Request, Response};
use core::mem;
use core::net::SocketAddr;

/// Bytes of an object request without data.
pub(super) const GET_BYTES: usize = 1 + 32 + 1;

impl Engine {
    /// Asks a peer to prove an address, unless it has, is being asked, or has not paid for the
    /// question.
    pub(super) fn seek_proof(&mut self, now: Instant, key: &PublicKey, address: SocketAddr) {
        let Some(peer) = self.peers.get(key) else {
            return;
        };
        let may_be_asked = address.is_ipv4() || peer.takes_ipv6;
        if !may_be_asked || peer.is_proven_at(&address) {
            return;
        }
        let tries = match &peer.probe {
            Some(probe) => {
                let is_same = probe.address == address;
                let is_spent = is_same && probe.tries >= MAX_PROBES;
                let rest = if is_spent {
                    CONTACT_INTERVAL
                } else {
                    PROBE_INTERVAL
                };
                if now.since(probe.sent_at) < rest {
                    return;
                }
                if is_same && !is_spent { probe.tries } else { 0 }
            }
            None => 0,
        };
        let source = Source {
            key: *key,
            address,
            is_proven: false,
        };
        // It only answers whom it knows.
        let is_told = self.contacts.contains(now, &address) || self.introduce(now, &source);
        if !is_told && !self.handshakes.contains(now, &(address, *key)) {
            return;
        }
        if self.credits.spend(&address, sealed_bytes(GET_BYTES)) {
            self.send_probe(now, key, address, tries);
        }
    }

    /// Sends a probe that has been paid for, or goes to a proven address.
    pub(super) fn send_probe(
        &mut self,
        now: Instant,
        key: &PublicKey,
        address: SocketAddr,
        tries: u8,
    ) {
        let id = self.probe_ids.fresh(&self.me, key, &address);
        let Some(peer) = self.peers.get_mut(key) else {
            return;
        };
        peer.probe = Some(Probe {
            id,
            address,
            sent_at: now,
            tries: tries.saturating_add(1),
        });
        self.probe_timers.insert((now + PROBE_INTERVAL, *key));
        let paid = Source {
            key: *key,
            address,
            is_proven: true,
        };
        self.send_get(now, &paid, AtomId::new(id), PayloadType::ATOM);
    }

    pub(super) fn send_get(
        &mut self,
        now: Instant,
        to: &Source,
        atom_id: AtomId,
        kind: PayloadType,
    ) -> bool {
        let action = Action::Get(Some(kind));
        let request = Request {
            action,
            atom_id,
            data: &[],
        };
        self.send(now, to, Topic::ObjectRequest, GET_BYTES, |out| {
            request.write(out);
        })
    }

    /// Whether a response answers the probe of its sender; if so, the address is
    /// proven.
    pub(super) fn take_proof<S: AtomSource + ?Sized>(
        &mut self,
        now: Instant,
        source: &Source,
        response: &Response<'_>,
        store: &S,
    ) -> bool {
        let Some(peer) = self.peers.get_mut(&source.key) else {
            return false;
        };
        match peer.probe {
            Some(probe) if probe.id == *response.atom_id.as_bytes() => {
                peer.probe = None;
                // A reference node never gives this kind of answer.
                peer.is_ours |= response.answer == Answer::Nearest;
                if probe.tries == 1 {
                    self.note_round_trip(&source.key, now.since(probe.sent_at));
                }
                self.prove(now, &source.key, probe.address, store);
                true
            }
            _ => false,
        }
    }

    /// What follows from the proof of an address.
    fn prove<S: AtomSource + ?Sized>(
        &mut self,
        now: Instant,
        key: &PublicKey,
        address: SocketAddr,
        store: &S,
    ) {
        let was_proven = self
            .peers
            .get(key)
            .is_some_and(|peer| peer.is_proven_at(&address));
        let proven = self.peers.prove(key, address);
        for replaced in proven.replaced {
            self.remove_peer(&replaced, RemoveReason::Replaced);
        }
        if proven.is_new {
            self.push_event(Event::PeerAdded {
                peer: *key,
                address,
            });
        }
        if let Some(from) = proven.moved_from {
            self.push_event(Event::PeerMoved {
                peer: *key,
                from,
                to: address,
            });
        }
        if self.seeds.pinned.is_none() && self.seeds.default.contains(&address) {
            self.seeds.pinned = Some(*key);
            self.tell_head(key);
        }
        if was_proven {
            return;
        }
        self.send_ping(now, key);
        if self.peers.registered() < WANTED_PEERS || self.peers.is_near(key) {
            self.ask_routes(now, key);
        }
        self.serve_waiting(now, key, store);
        self.fetch_from_newcomer(now, key);
        self.advertisements.look_again(now);
    }

    fn serve_waiting<S: AtomSource + ?Sized>(&mut self, now: Instant, key: &PublicKey, store: &S) {
        let Some(peer) = self.peers.get_mut(key) else {
            return;
        };
        let source = Source {
            key: *key,
            address: peer.address,
            is_proven: true,
        };
        for waiting in mem::take(&mut peer.waiting) {
            if waiting.deadline > now {
                self.serve(now, &source, waiting.id, waiting.kind, store);
            } else {
                self.stats.drop(DropReason::ProofTimeout);
            }
        }
    }

    /// Repeats probes that were not answered, a few times.
    pub(super) fn probe_again(&mut self, now: Instant) {
        while let Some(&(at, key)) = self.probe_timers.first()
            && at <= now
        {
            self.probe_timers.pop_first();
            let Some(probe) = self.peers.get(&key).and_then(|peer| peer.probe) else {
                continue;
            };
            if probe.tries >= MAX_PROBES {
                self.give_up_waiting(&key);
                continue;
            }
            self.seek_proof(now, &key, probe.address);
            let asked = self.peers.get(&key).and_then(|peer| peer.probe);
            if asked.is_none_or(|asked| asked.sent_at < now) {
                // It has not paid for another probe.
                self.give_up_waiting(&key);
            }
        }
    }

    fn give_up_waiting(&mut self, key: &PublicKey) {
        if let Some(peer) = self.peers.get_mut(key) {
            for _ in mem::take(&mut peer.waiting) {
                self.stats.drop(DropReason::ProofTimeout);
            }
        }
    }
}
