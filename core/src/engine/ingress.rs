//! Ingress: validation, authentication and dispatch of inbound datagrams.

use super::address::{canonical, is_contactable};
use super::egress::sealed_bytes;
use super::peers::Peer;
use super::random::split;
use super::rate_limit::UnknownKey;
use super::reads::ObjectSource;
use super::replay::{Freshness, ReplayWindow};
use super::shares::Share;
use super::{DropReason, Engine, Event, RemoveReason, Sender, Source, limits};
use crate::atom::AtomId;
use crate::crypto::{Nonce, PublicKey, SharedKey};
use crate::time::Instant;
use crate::wire::message::{Body, ContentError, Message, Sealed, Topic};
use crate::wire::packet::{NONCE_BYTES, Packet};
use alloc::vec::Vec;
use core::mem;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};

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
        self.stats.received += 1;
        self.stats.received_bytes += datagram.len() as u64;
        let required = if self.is_urgent(from, datagram) {
            1
        } else {
            self.incoming.required_difficulty()
        };
        let handled = check_work(datagram, required)
            .and_then(|packet| self.handle_packet(now, from, &packet, store));
        if let Err(reason) = handled {
            self.stats.drop(reason);
        }
    }

    /// Returns whether a datagram bypasses the incoming queue and its difficulty: it claims to come
    /// from a peer at the validated address of that peer, or is a handshake, which costs less to
    /// handle than to queue. A flood of sealed packets from unknown keys must not delay these.
    #[must_use]
    pub fn is_urgent(&self, from: SocketAddr, datagram: &[u8]) -> bool {
        let message = Packet::decode(datagram).map(|packet| Message::decode(packet.message()));
        let Ok(Ok(message)) = message else {
            return false;
        };
        if matches!(message.body, Body::Handshake(_)) {
            return true;
        }
        let address = message.port.map(|port| {
            let mut address = from;
            address.set_port(port.get());
            canonical(address)
        });
        let known = self.peers.get(&message.sender).zip(address);
        known.is_some_and(|(peer, address)| peer.is_validated_at(&address))
    }

    /// Queues a datagram for [`Engine::handle_queued`], within the capacity and the timeout of the
    /// incoming queue. The fuller the queue, the more proof of work is required of senders.
    pub fn enqueue_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        self.stats.received += 1;
        self.stats.received_bytes += datagram.len() as u64;
        let queued = check_work(datagram, self.incoming.required_difficulty()).and_then(|_| {
            let item = (from, Vec::from(datagram));
            let pushed = self.incoming.push(now, datagram.len(), item);
            pushed.map_err(|_| DropReason::IncomingFull)
        });
        if let Err(reason) = queued {
            self.stats.drop(reason);
        }
    }

    /// Handles the next queued datagram; returns `false` if there is none.
    pub fn handle_queued<S: ObjectSource + ?Sized>(&mut self, now: Instant, store: &S) -> bool {
        let Some((from, datagram)) = self.incoming.pop() else {
            return false;
        };
        let handled = Packet::decode(&datagram)
            .map_err(|_| DropReason::TooShort)
            .and_then(|packet| self.handle_packet(now, from, &packet, store));
        if let Err(reason) = handled {
            self.stats.drop(reason);
        }
        true
    }

    /// Handles a packet whose proof of work has been checked: validates the header and dispatches
    /// by the kind of its body.
    fn handle_packet<S: ObjectSource + ?Sized>(
        &mut self,
        now: Instant,
        from: SocketAddr,
        packet: &Packet<'_>,
        store: &S,
    ) -> Result<(), DropReason> {
        let bytes = packet.message();
        let len = NONCE_BYTES + bytes.len();
        let message = Message::decode(bytes).map_err(|_| DropReason::Malformed)?;
        let port = message.port.ok_or(DropReason::Unanswerable)?;
        // Answers go to the port in the header, as in the reference.
        let mut address = from;
        address.set_port(port.get());
        let address = canonical(address);
        if !is_contactable(address) {
            return Err(DropReason::Unanswerable);
        }
        if message.sender == self.me {
            let source = Source {
                key: message.sender,
                address,
                is_validated: false,
            };
            self.credits.received(now, address, len);
            return Err(self.handle_own_key(now, &source, (bytes, &message.body)));
        }
        if self.banned.contains(&message.sender) {
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
            self.credits.received(now, address, len);
        }
        match message.body {
            Body::Handshake(payload) => self.handle_handshake(now, source, (bytes, payload)),
            Body::Sealed(sealed) => self.handle_sealed(now, source, (&sealed, len), store),
        }
    }

    /// Derives the key shared with an unknown peer, within the budget of key agreements.
    pub(super) fn agree(&mut self, now: Instant, source: &Source) -> Result<SharedKey, DropReason> {
        if !self.agreements.take(now, &source.address) {
            return Err(DropReason::KeyBudget);
        }
        self.stats.agreements += 1;
        self.config
            .secret
            .agree(&source.key)
            .map_err(|_| DropReason::BadKey)
    }

    /// Returns the key shared with an unknown peer. It is stored already if the peer has answered
    /// our contact or if its last packet failed authentication; otherwise it is derived within the
    /// budget of key agreements.
    fn shared_with_unknown(
        &mut self,
        now: Instant,
        source: &Source,
    ) -> Result<SharedKey, DropReason> {
        if let Some(shared) = self.solicited.shared(source.address, source.key) {
            return Ok(shared.clone());
        }
        match self.unknown_keys.get_mut(&(source.key, source.address)) {
            Some(unknown) => unknown.take(now).cloned().ok_or(DropReason::KeyBudget),
            None => self.agree(now, source),
        }
    }

    /// Adds an unknown peer, evicting another if necessary.
    pub(super) fn admit(
        &mut self,
        now: Instant,
        source: &Source,
        shared: SharedKey,
    ) -> Result<(), DropReason> {
        let pinned = self.seeds.pinned.as_ref();
        if let Some(victim) = self.peers.make_room(now, &source.address, pinned)? {
            self.remove_peer(&victim, RemoveReason::Displaced);
        }
        let mut peer = Peer::new(now, shared, source.address);
        if let Some(statements) = self.departed.take(&source.key) {
            peer.replay = ReplayWindow::remembering(statements);
        }
        peer.takes_ipv6 = self.marked.contains(now, &(source.key, source.address));
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
        let pinned = self.seeds.pinned.as_ref();
        if let Some(victim) = self.peers.make_room_at(now, key, address, pinned)? {
            self.remove_peer(&victim, RemoveReason::Displaced);
        }
        Ok(())
    }

    /// Removes a peer. If it was registered, reports the removal, and keeps its statements for
    /// replay protection unless its stream was confirmed.
    pub(super) fn remove_peer(&mut self, key: &PublicKey, reason: RemoveReason) {
        let Some(removed) = self.peers.remove(key) else {
            return;
        };
        self.own_address.withdraw(key);
        if removed.is_registered {
            if let Some(statements) = removed.replay.into_statements() {
                let share = Share::of(removed.address.ip(), *key);
                let heard_at = removed.last_heard;
                self.departed.insert(heard_at, share, *key, statements);
            }
            self.push_event(Event::PeerRemoved { peer: *key, reason });
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
        if self.egress.is_ours(sealed.nonce()) {
            return Err(DropReason::Reflected);
        }
        let mut unknown = None;
        if self.peers.get(&source.key).is_none() {
            unknown = Some(self.shared_with_unknown(now, &source)?);
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
                self.unknown_keys.remove(&(source.key, source.address));
                let admitted = unknown.map_or(Ok(()), |key| self.admit(now, &source, key));
                admitted
                    .and_then(|()| self.note_authentic(now, source, of))
                    .and_then(|sender| self.handle_content(now, &sender, topic, content, store))
            }
            Err(ContentError::NotAuthentic) => {
                let name = (source.key, source.address);
                if let Some(shared) = unknown
                    && self.unknown_keys.get(&name).is_none()
                {
                    // A node that joins sends packets sealed for other keys than ours: for keys
                    // that were forged in our name.
                    let unknown = UnknownKey::new(now, shared);
                    self.unknown_keys.insert(now, source.share(), name, unknown);
                }
                // The packet may be sealed for a key that we had before: the sender learns our
                // present key.
                if source.is_validated {
                    let _ = self.answer_validated_peer(now, &source.key);
                } else {
                    self.send_limited_handshake(now, &source);
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
        let freshness = peer.replay.note(nonce, is_statement);
        if freshness == Freshness::Replayed {
            return Err(DropReason::Replayed);
        }
        let is_current = freshness == Freshness::Current;
        let is_unconfirmed = !is_current && peer.replay.confirmed().is_some();
        if is_current || !peer.is_validated {
            peer.last_heard = now;
            peer.kept_alive_at = None;
        }
        // A node that must not be probed over IPv6 cannot be validated.
        let is_trusted = if peer.is_validated {
            !is_unconfirmed
        } else {
            !peer.may_be_asked_at(&source.address)
        };
        if is_unconfirmed {
            if source.is_validated {
                // Its packets were not added to its balance so far, since it was validated.
                self.credits.received(now, source.address, len);
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
        let group = peer.group();
        self.push_event(Event::Transaction {
            peer: *key,
            group,
            id,
        });
    }

    /// Sends sealed content of `content_len` bytes, to an unvalidated address only within its
    /// amplification limit. Returns `false` if it exceeds that or the receiver is unknown.
    pub(super) fn send(
        &mut self,
        now: Instant,
        to: &Source,
        topic: Topic,
        content_len: usize,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> bool {
        let Some(peer) = self.peers.get(&to.key) else {
            return false;
        };
        if !to.is_validated && !self.credits.spend(&to.address, sealed_bytes(content_len)) {
            return false;
        }
        let seal = (&peer.shared, peer.difficulty);
        self.egress
            .sealed(now, &mut self.stats, to.address, seal, topic, write);
        true
    }

    /// Takes the one first contact of an address per interval; returns whether it was available. If
    /// `referrer` named the address, it is charged to the budget of that referrer as well.
    pub(super) fn may_contact(
        &mut self,
        now: Instant,
        address: SocketAddr,
        referrer: Option<&PublicKey>,
    ) -> bool {
        let is_ours = self.config.use_ipv6 || address.is_ipv4();
        // A referrer that names an address must not keep us from contacting it of our own accord.
        let is_chosen = referrer.is_none();
        let was_contacted = self.contacts.contains(now, &(address, true))
            || !is_chosen && self.contacts.contains(now, &(address, false));
        if !is_ours || !is_contactable(address) || was_contacted {
            return false;
        }
        if referrer.is_some_and(|referrer| !self.charge_referrer(now, referrer)) {
            return false;
        }
        let share = self.share(referrer.unwrap_or(&self.me));
        let may = self.contacts.take(now, share, (address, is_chosen), 1);
        if may {
            self.solicited.expect(now, address, (share, !is_chosen));
        }
        may
    }

    /// Returns whether an address was contacted within [`limits::CONTACT_INTERVAL`].
    pub(super) fn is_contacted(&self, now: Instant, address: &SocketAddr) -> bool {
        let contains = |is_chosen| self.contacts.contains(now, &(*address, is_chosen));
        contains(true) || contains(false)
    }

    /// Charges a referral to a referrer; returns whether its budget for the interval allowed it.
    pub(super) fn charge_referrer(&mut self, now: Instant, referrer: &PublicKey) -> bool {
        let times = u8::try_from(limits::MAX_CONTACTS_PER_REFERRER).unwrap_or(u8::MAX);
        let share = self.share(referrer);
        let may = self.referrers.take(now, share, *referrer, times);
        if !may {
            self.stats.drop(DropReason::RedirectBudget);
        }
        may
    }

    /// Returns the share of tables that a peer, or this node itself, counts against.
    pub(super) fn share(&self, key: &PublicKey) -> Share {
        let address = self.peers.get(key).map(|peer| peer.address.ip());
        Share::of(address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)), *key)
    }

    /// Returns whether a referrer at `referrer` may make us contact `named`.
    pub(super) fn is_referral_allowed(&self, referrer: IpAddr, named: SocketAddr) -> bool {
        super::address::is_referral_allowed(referrer, named)
            && (self.config.use_ipv6 || named.is_ipv4())
    }
}

/// Decodes a packet and checks its proof of work.
fn check_work(datagram: &[u8], required: u8) -> Result<Packet<'_>, DropReason> {
    let packet = Packet::decode(datagram).map_err(|_| DropReason::TooShort)?;
    let checked = packet.check_work(required.into());
    checked
        .map(|()| packet)
        .map_err(|_| DropReason::TooLittleWork)
}
