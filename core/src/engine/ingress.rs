//! Ingress: validation, authentication and dispatch of inbound datagrams.

use super::address::is_contactable;
use super::allowance::Destination;
use super::datagram::Datagram;
use super::peers::{Peer, Stream};
use super::random::split;
use super::reads::ObjectSource;
use super::{DropReason, Engine, Event, RemoveReason, Sender, Source};
use crate::atom::AtomId;
use crate::crypto::{Nonce, PublicKey, SharedKey};
use crate::time::Instant;
use crate::wire::message::{Body, ContentError, Sealed, Topic};
use alloc::vec::Vec;
use core::mem;
use core::net::SocketAddr;

impl Engine {
    /// Handles a datagram that came from `from`. Requests are served from `store`.
    ///
    /// A dropped datagram is counted in [`Engine::stats`]. One that fails authentication may be
    /// answered with a handshake, within the amplification limit.
    pub fn handle_datagram<S: ObjectSource + ?Sized>(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
        store: &S,
    ) {
        self.note_received(datagram);
        let handled = Datagram::parse(from, datagram).and_then(|datagram| {
            let is_urgent = self.is_urgent(&datagram);
            self.handle_new(now, &datagram, is_urgent, store)
        });
        self.out.drop_if(handled);
    }

    /// Handles a datagram, or queues it for [`Engine::handle_queued`] if the host `is_busy` or
    /// others are queued. Returns whether it was handled.
    ///
    /// A datagram is urgent, and never queued, if it claims to come from a peer at the validated
    /// address of that peer, or is a handshake, which costs less to handle than to queue. A flood
    /// of sealed packets from unknown keys must not delay these.
    pub fn handle_or_queue_datagram<S: ObjectSource + ?Sized>(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
        is_busy: bool,
        store: &S,
    ) -> bool {
        self.note_received(datagram);
        let parsed = Datagram::parse(from, datagram);
        let is_urgent = parsed
            .as_ref()
            .is_ok_and(|datagram| self.is_urgent(datagram));
        let is_queued = !is_urgent && (is_busy || self.inbound.queued_bytes() > 0);
        let taken = parsed.and_then(|datagram| {
            if is_queued {
                self.inbound.push(now, &datagram)
            } else {
                self.handle_new(now, &datagram, is_urgent, store)
            }
        });
        self.out.drop_if(taken);
        !is_queued
    }

    /// Queues a datagram for [`Engine::handle_queued`], within the capacity and the timeout of the
    /// incoming queue. The fuller the queue, the more proof of work is required of senders.
    pub fn enqueue_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        self.note_received(datagram);
        let parsed = Datagram::parse(from, datagram);
        let queued = parsed.and_then(|datagram| self.inbound.push(now, &datagram));
        self.out.drop_if(queued);
    }

    /// Handles the next queued datagram; returns `false` if there is none.
    pub fn handle_queued<S: ObjectSource + ?Sized>(&mut self, now: Instant, store: &S) -> bool {
        let Some(queued) = self.inbound.pop() else {
            return false;
        };
        let handled = self.handle_checked(now, &queued.as_datagram(), store);
        self.out.drop_if(handled);
        true
    }

    const fn note_received(&mut self, datagram: &[u8]) {
        self.out.stats.received += 1;
        self.out.stats.received_bytes += datagram.len() as u64;
    }

    /// Returns whether a datagram bypasses the incoming queue and its difficulty.
    pub(super) fn is_urgent(&self, datagram: &Datagram<'_>) -> bool {
        let Some(message) = datagram.message() else {
            return false;
        };
        if matches!(message.body, Body::Handshake(_)) {
            return true;
        }
        let known = self.peers.get(&message.sender);
        let known = known.zip(datagram.answer_address());
        known.is_some_and(|(peer, address)| peer.is_validated_at(&address))
    }

    /// Checks the proof of work of a datagram, and handles it.
    fn handle_new<S: ObjectSource + ?Sized>(
        &mut self,
        now: Instant,
        datagram: &Datagram<'_>,
        is_urgent: bool,
        store: &S,
    ) -> Result<(), DropReason> {
        let required = if is_urgent {
            1
        } else {
            self.inbound.required_difficulty()
        };
        datagram.check_work(required)?;
        self.handle_checked(now, datagram, store)
    }

    /// Handles a datagram whose proof of work has been checked: validates the header and dispatches
    /// by the kind of its body.
    fn handle_checked<S: ObjectSource + ?Sized>(
        &mut self,
        now: Instant,
        datagram: &Datagram<'_>,
        store: &S,
    ) -> Result<(), DropReason> {
        let (bytes, len) = (datagram.bytes(), datagram.len());
        let message = datagram.message().ok_or(DropReason::Malformed)?;
        let address = datagram
            .answer_address()
            .filter(|address| is_contactable(*address))
            .ok_or(DropReason::Unanswerable)?;
        if message.sender == self.me {
            let source = Source {
                key: message.sender,
                address,
                is_validated: false,
            };
            self.out.credits.received(now, address, len);
            return Err(self.handle_own_key(now, &source, (bytes, &message.body)));
        }
        if self.inbound.is_banned(&message.sender) {
            return Err(DropReason::Banned);
        }
        // With a non-canonical encoding of its key, a known peer would appear unknown and its
        // recorded packets new.
        if !message.sender.is_canonical() {
            return Err(DropReason::BadKey);
        }
        let known = self.peers.get(&message.sender);
        let is_validated = known.is_some_and(|peer| peer.is_validated_at(&address));
        let source = Source {
            key: message.sender,
            address,
            is_validated,
        };
        if !is_validated {
            self.out.credits.received(now, address, len);
        }
        match message.body {
            Body::Handshake(payload) => self.handle_handshake(now, source, (bytes, payload)),
            Body::Sealed(sealed) => self.handle_sealed(now, source, (&sealed, len), store),
        }
    }

    /// Adds an unknown peer, evicting another if necessary.
    pub(super) fn admit(
        &mut self,
        now: Instant,
        source: &Source,
        shared: SharedKey,
    ) -> Result<(), DropReason> {
        let room = self.peers.make_room(now, &source.address, &self.seeds)?;
        if let Some(victim) = room {
            self.remove_peer(&victim, RemoveReason::Displaced);
        }
        let mut peer = Peer::new(now, shared, source.address);
        peer.takes_ipv6 = self.handshakes.is_marked(now, source.key, source.address);
        self.peers.insert(source.key, peer);
        Ok(())
    }

    /// Evicts a peer if a known one needs a place at another address, where it counts from now on.
    pub(super) fn make_room_at(
        &mut self,
        now: Instant,
        key: &PublicKey,
        address: &SocketAddr,
    ) -> Result<(), DropReason> {
        let room = self.peers.make_room_at(now, key, address, &self.seeds)?;
        if let Some(victim) = room {
            self.remove_peer(&victim, RemoveReason::Displaced);
        }
        Ok(())
    }

    /// Removes a peer, and reports the removal if it was registered.
    pub(super) fn remove_peer(&mut self, key: &PublicKey, reason: RemoveReason) {
        let Some(was_registered) = self.peers.remove(key) else {
            return;
        };
        self.own_address.withdraw(key);
        if was_registered {
            self.out.report(Event::PeerRemoved { peer: *key, reason });
        }
    }

    /// Decrypts a sealed packet, adds its sender as a peer if it is unknown, and handles the
    /// content.
    fn handle_sealed<S: ObjectSource + ?Sized>(
        &mut self,
        now: Instant,
        source: Source,
        (sealed, len): (&Sealed<'_>, usize),
        store: &S,
    ) -> Result<(), DropReason> {
        if self.out.egress.is_ours(sealed.nonce()) {
            return Err(DropReason::Reflected);
        }
        let mut unknown = None;
        if self.peers.get(&source.key).is_none() {
            // It is stored already if the peer has answered our contact.
            let solicited = &self.contacts.solicited;
            let solicited = solicited.shared(source.address, source.key).cloned();
            let shared =
                solicited.map_or_else(|| self.keys.shared(now, &source, &mut self.out), Ok);
            unknown = Some(shared?);
        }
        let mut scratch = mem::take(&mut self.scratch);
        let known = self.peers.get(&source.key).map(|peer| &peer.shared);
        let opened = match known.or(unknown.as_ref()) {
            Some(shared) => sealed.open(shared, &mut scratch),
            None => Err(ContentError::NotAuthentic),
        };
        let handled = match opened {
            Ok((topic, content)) => {
                let is_statement = matches!(topic, Topic::Ping | Topic::Transaction);
                let of = (sealed.nonce(), is_statement, len);
                self.keys.forget(&source);
                let admitted = unknown.map_or(Ok(()), |key| self.admit(now, &source, key));
                admitted
                    .and_then(|()| self.note_authentic(now, source, of))
                    .and_then(|sender| self.handle_content(now, &sender, topic, content, store))
            }
            Err(ContentError::NotAuthentic) => {
                if let Some(shared) = unknown {
                    self.keys.keep(now, &source, shared);
                }
                // The packet may be sealed for a key that we had before: the sender learns our
                // present key.
                if source.is_validated {
                    let _ = self.answer_validated_peer(now, &source.key);
                } else {
                    self.handshakes.answer(now, &source, &mut self.out);
                }
                Err(DropReason::NotAuthentic)
            }
            Err(ContentError::Empty | ContentError::UnknownTopic { .. }) => {
                Err(DropReason::UnknownTopic)
            }
        };
        self.scratch = scratch;
        handled
    }

    /// Checks an authentic message for replay and records the sign of life of its sender.
    ///
    /// # Errors
    /// Fails if the message is a replay, or the sender is unknown or has no place at its address.
    pub(super) fn note_authentic(
        &mut self,
        now: Instant,
        mut source: Source,
        (nonce, is_statement, len): (&Nonce, bool, usize),
    ) -> Result<Sender, DropReason> {
        let peer = self.peers.get_mut(&source.key);
        let peer = peer.ok_or(DropReason::TooManyPeers)?;
        let stream = peer.note_authentic(now, nonce, is_statement)?;
        let is_unconfirmed = stream == Stream::Unconfirmed;
        // A node that must not be probed over IPv6 cannot be validated.
        let is_trusted = if peer.is_validated {
            !is_unconfirmed
        } else {
            !peer.may_be_asked_at(&source.address)
        };
        if is_unconfirmed {
            if source.is_validated {
                // Its packets were not added to its balance so far, since it was validated.
                self.out.credits.received(now, source.address, len);
            }
            source.is_validated = false;
        } else if !source.is_validated && !peer.is_validated {
            self.make_room_at(now, &source.key, &source.address)?;
            self.peers.follow(&source.key, source.address);
        }
        Ok(Sender {
            source,
            nonce: *nonce,
            is_trusted,
            is_unconfirmed,
        })
    }

    /// Dispatches authentic content by topic, and starts address validation or confirmation of the
    /// stream if that is missing.
    fn handle_content<S: ObjectSource + ?Sized>(
        &mut self,
        now: Instant,
        sender: &Sender,
        topic: Topic,
        content: &[u8],
        store: &S,
    ) -> Result<(), DropReason> {
        let source = &sender.source;
        if topic != Topic::Ping
            && !sender.is_unconfirmed
            && let Some(peer) = self.peers.get_mut(&source.key)
        {
            peer.used_at = now;
        }
        if sender.is_unconfirmed {
            // Done before the message is handled: the sender's next action may depend on it.
            self.request_validation(now, &source.key, source.address, true);
        }
        let handled = match topic {
            Topic::Ping => self.handle_ping(now, sender, content),
            Topic::ObjectRequest => self.handle_request(now, sender, content, store),
            Topic::ObjectResponse => self.handle_response(now, sender, content, store),
            Topic::RouteRequest => self.handle_route_request(now, source, content),
            Topic::RouteResponse if sender.is_unconfirmed => Err(DropReason::Unconfirmed),
            Topic::RouteResponse => self.handle_route_response(now, source, content),
            Topic::Transaction => self.handle_transaction(sender, content),
        };
        if !source.is_validated && !sender.is_unconfirmed {
            self.request_validation(now, &source.key, source.address, false);
        }
        handled
    }

    /// Reports an announced transaction, or holds it until its sender has shown that it is not a
    /// replay. Ignored unless we are a validator.
    fn handle_transaction(&mut self, sender: &Sender, content: &[u8]) -> Result<(), DropReason> {
        let id = AtomId::from_slice(content).ok_or(DropReason::BadContent)?;
        if !self.config.is_validator {
            return Ok(());
        }
        let key = sender.source.key;
        if sender.is_trusted {
            self.report_transaction(&key, id);
            return Ok(());
        }
        let (prefix, _) = split(&sender.nonce);
        let peer = self.peers.get_mut(&key);
        if peer.is_some_and(|peer| peer.held.transaction(prefix, id)) {
            Ok(())
        } else {
            Err(DropReason::NotValidated)
        }
    }

    /// Reports a transaction that a validated peer has announced.
    pub(super) fn report_transaction(&mut self, key: &PublicKey, id: AtomId) {
        let Some(peer) = self.peers.get(key).filter(|peer| peer.is_validated) else {
            return;
        };
        let event = Event::Transaction {
            peer: *key,
            group: peer.group(),
            id,
        };
        self.out.report_statement(self.peers.share(key), event);
    }

    /// Sends sealed content of `content_len` bytes, within the allowance of the receiver. Returns
    /// `false` if it exceeds that or the receiver is unknown.
    pub(super) fn send(
        &mut self,
        now: Instant,
        to: impl Into<Destination>,
        topic: Topic,
        content_len: usize,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> bool {
        let Destination {
            key,
            address,
            allowance,
        } = to.into();
        self.peers.get(&key).is_some_and(|peer| {
            let seal = (&peer.shared, peer.difficulty);
            let content = (topic, content_len);
            self.out
                .sealed(now, (address, allowance), seal, content, write)
        })
    }
}
