//! Handshakes: exchange of public keys in the clear, and extension blocks between nodes of this
//! implementation.
//!
//! A handshake without authentication proves nothing: it is answered, and has no other effect. It
//! never counts as a sign of life, and nothing in it is used but cookies and, over IPv6, the mark
//! of a node of this implementation. If it comes from an address that we have contacted, its key is
//! probed instead ([`super::solicited`]).
//!
//! A handshake from an unvalidated address is answered once per [`limits::CONTACT_INTERVAL`] for
//! each key, so that two nodes do not answer each other's answers. One with a cookie is a contact
//! and not an answer: it is always answered, with an echo of the same length that requests nothing.
//!
//! Handshakes to a validated peer of this implementation contain an authenticated extension block
//! ([`crate::wire::handshake`]). They are sent when the peer is validated or has restarted, when
//! our chain identity changes, with each periodic ping, and when the peer asks. They tell it which
//! chain we follow. Such a handshake is not answered unless it asks for a block. A peer whose block
//! is missing is asked for it up to [`limits::MAX_PROBES`] times.

use super::egress::handshake_bytes;
use super::random::split;
use super::{DropReason, Engine, Event, IPV6_MARK, Sender, Source, limits};
use crate::crypto::PublicKey;
use crate::time::Instant;
use crate::wire::handshake::{Authentication, Block, ChainIdentity, Cookie};
use alloc::vec::Vec;
use core::mem;
use core::net::SocketAddr;

/// State of the exchange of authenticated blocks with a peer.
#[derive(Debug, Default)]
pub(super) struct BlockExchange {
    pub(super) identity: Option<ChainIdentity>,
    /// Nonce of the latest block that was applied.
    latest: Option<[u8; 12]>,
    /// Number of times that the peer was asked for a block.
    asked: u8,
    /// Time at which the peer was last sent a block because it asked.
    answered_at: Option<Instant>,
}

impl BlockExchange {
    /// Applies a block, unless a later one of the same stream was applied. Returns whether the
    /// identity has changed.
    fn take(&mut self, nonce: &[u8; 12], identity: Option<ChainIdentity>) -> bool {
        let (prefix, count) = split(nonce);
        let is_late = self
            .latest
            .as_ref()
            .map(split)
            .is_some_and(|(latest, at)| latest == prefix && at > count);
        if is_late {
            return false;
        }
        self.latest = Some(*nonce);
        mem::replace(&mut self.identity, identity) != identity
    }
}

impl Engine {
    /// Answers a handshake, or applies the block of an authenticated one.
    pub(super) fn handle_handshake(
        &mut self,
        now: Instant,
        source: Source,
        (message, payload): (&[u8], &[u8]),
    ) -> Result<(), DropReason> {
        let block = Block::decode(payload).ok();
        let authenticated =
            block.and_then(|(block, authentication)| Some((block, authentication?)));
        if let Some((block, authentication)) = &authenticated
            && self.is_authentic(&source.key, message, authentication)
        {
            return self.handle_block(now, source, message.len(), (block, authentication));
        }
        if source.address.is_ipv6() && (block.is_some() || payload == IPV6_MARK) {
            let name = (source.key, source.address);
            self.marked.take(now, source.share(), name, 1);
            let peer = self.peers.get_mut(&source.key);
            if let Some(peer) = peer.filter(|peer| peer.address == source.address) {
                peer.takes_ipv6 = true;
            }
        }
        if let Some(peer) = self.peers.get_mut(&source.key) {
            peer.has_sent_handshake = true;
        }
        let cookies = block.map(|(block, _)| block).unwrap_or_default();
        let is_echoed = cookies
            .cookie
            .is_some_and(|cookie| self.echo(now, &source, cookie));
        if source.is_validated {
            return self.answer_validated_peer(now, &source.key);
        }
        let is_known = self.peers.get(&source.key).is_some();
        if let Some(probed) = self.probe_solicited(now, &source, cookies.echo.as_ref()) {
            return probed;
        }
        let answered = is_echoed || self.send_limited_handshake(now, &source);
        if is_known {
            self.request_validation(now, &source.key, source.address, false);
        }
        if answered {
            Ok(())
        } else {
            Err(DropReason::HandshakeTooSoon)
        }
    }

    /// Answers a handshake of a peer from its validated address with a handshake and a ping: the
    /// peer may have restarted, and needs both. An answer within [`limits::CONTACT_INTERVAL`] of
    /// the previous one is delayed until the interval has passed.
    pub(super) fn answer_validated_peer(
        &mut self,
        now: Instant,
        key: &PublicKey,
    ) -> Result<(), DropReason> {
        let Some(peer) = self.peers.get_mut(key) else {
            return Ok(());
        };
        let free_at = peer
            .answered_at
            .map_or(now, |at| at + limits::CONTACT_INTERVAL);
        if free_at > now {
            if !mem::replace(&mut peer.is_answer_due, true) {
                self.answer_timers.insert((free_at, *key));
            }
            return Err(DropReason::HandshakeTooSoon);
        }
        peer.answered_at = Some(now);
        peer.is_answer_due = false;
        let (address, is_ours) = (peer.address, peer.is_ours);
        if is_ours && self.config.chain_identity.is_some() {
            self.send_block(now, key, false);
        } else {
            self.send_handshake(now, address);
        }
        self.send_ping(now, key);
        Ok(())
    }

    /// Sends the delayed answers that are due.
    pub(super) fn answer_due(&mut self, now: Instant) {
        while let Some(&(at, key)) = self.answer_timers.first()
            && at <= now
        {
            self.answer_timers.pop_first();
            let is_due = self.peers.get(&key).is_some_and(|peer| peer.is_answer_due);
            if is_due {
                // The interval has passed, so nothing is delayed again.
                let _ = self.answer_validated_peer(now, &key);
            }
        }
    }

    /// Sends a handshake to an unvalidated address, within its amplification limit and once per
    /// interval and key.
    pub(super) fn send_limited_handshake(&mut self, now: Instant, source: &Source) -> bool {
        let name = (source.address, source.key);
        if self.handshakes.contains(now, &name) {
            return false;
        }
        let bytes = handshake_bytes(self.handshake_payload(&source.address).len());
        if !self.credits.spend(&source.address, bytes) {
            return false;
        }
        let is_taken = self.handshakes.take(now, source.share(), name, 1);
        if !is_taken && !self.answer_untracked() {
            return false;
        }
        self.send_handshake(now, source.address);
        true
    }

    /// Answers a contact, whose cookie shows that it is not an answer to us; returns `false` if the
    /// echo exceeds the amplification limit of the address.
    fn echo(&mut self, now: Instant, source: &Source, cookie: Cookie) -> bool {
        let block = Block {
            echo: Some(cookie),
            ..Block::default()
        };
        let bytes = handshake_bytes(block.encoded_len(false));
        if !source.is_validated && !self.credits.spend(&source.address, bytes) {
            return false;
        }
        // The echo tells the sender our key.
        let name = (source.address, source.key);
        self.handshakes.take(now, source.share(), name, 1);
        self.send_payload(now, source.address, &block);
        true
    }

    /// Contacts an address of our own accord, and again after each of [`limits::FOLLOW_UPS`] if it
    /// has not answered.
    pub(super) fn contact(&mut self, now: Instant, address: SocketAddr) {
        self.contact_once(now, address);
        self.solicited.follow_up(now, address);
    }

    /// Contacts an address that has not answered once more.
    pub(super) fn contact_again(&mut self, now: Instant, address: SocketAddr) {
        let share = self.share(&self.me);
        self.solicited.expect(now, address, (share, false));
        self.solicited.end_follow_ups(address);
        self.send_cookie(now, address);
    }

    /// Sends a handshake to an address. If a packet has come from there recently, the node may just
    /// have answered a handshake that was forged in our name, so this one carries a cookie to show
    /// that it is not an answer.
    pub(super) fn contact_once(&mut self, now: Instant, to: SocketAddr) {
        if self.credits.has(&to) {
            self.send_cookie(now, to);
        } else {
            self.send_handshake(now, to);
        }
    }

    /// Sends a handshake with the cookie of a contacted address.
    fn send_cookie(&mut self, now: Instant, to: SocketAddr) {
        let fresh = self.probe_ids.cookie(&self.me, &to);
        let block = Block {
            cookie: self.solicited.cookie(&to, fresh),
            ..Block::default()
        };
        self.send_payload(now, to, &block);
    }

    fn send_payload(&mut self, now: Instant, to: SocketAddr, block: &Block) {
        let mut payload = Vec::new();
        block.write(&mut payload);
        self.egress.handshake(now, &mut self.stats, to, &payload);
    }

    /// Contacts again the addresses that have not answered: after a second within the amplification
    /// limit, and after an interval in any case.
    pub(super) fn follow_up(&mut self, now: Instant) {
        while let Some(address) = self.solicited.next_follow_up(now) {
            if self.peers.is_validated_address(&address) || self.is_own_address(address) {
                continue;
            }
            let block = Block {
                cookie: Some(Cookie::default()),
                ..Block::default()
            };
            let bytes = handshake_bytes(block.encoded_len(false));
            if self.may_contact(now, address, None) || self.credits.spend(&address, bytes) {
                self.send_cookie(now, address);
            }
        }
    }

    /// Returns whether to answer a handshake that there is no room to remember. A flood of keys and
    /// addresses fills the memory at no cost, and must not keep newcomers out; the answer is within
    /// the amplification limit of the address. A few are not answered: otherwise two nodes with
    /// full memories would exchange handshakes for ever.
    const fn answer_untracked(&mut self) -> bool {
        self.untracked_handshakes = self.untracked_handshakes.wrapping_add(1);
        !self
            .untracked_handshakes
            .is_multiple_of(limits::UNTRACKED_HANDSHAKE_DROP_RATIO)
    }

    /// Sends a handshake without an extension block; the caller checks the limits.
    pub(super) fn send_handshake(&mut self, now: Instant, to: SocketAddr) {
        let payload = self.handshake_payload(&to);
        self.egress.handshake(now, &mut self.stats, to, payload);
    }

    /// Returns whether this handshake was sent to us by the owner of `key`, which is a known peer.
    fn is_authentic(
        &self,
        key: &PublicKey,
        message: &[u8],
        authentication: &Authentication<'_>,
    ) -> bool {
        let peer = self.peers.get(key);
        peer.is_some_and(|peer| authentication.is_valid(message, &peer.shared, &self.me))
    }

    /// Applies an authentic block, or holds it until its sender has shown that it is not a replay.
    fn handle_block(
        &mut self,
        now: Instant,
        source: Source,
        len: usize,
        (block, authentication): (&Block, &Authentication<'_>),
    ) -> Result<(), DropReason> {
        let nonce = &authentication.nonce;
        if let Some(peer) = self.peers.get_mut(&source.key)
            && peer.address == source.address
        {
            // A reference node never writes blocks.
            peer.takes_ipv6 |= source.address.is_ipv6();
        }
        let sender = self.note_authentic(now, source, (nonce, true, len))?;
        let Some(peer) = self.peers.get_mut(&source.key) else {
            return Ok(());
        };
        if sender.is_trusted && peer.is_validated {
            self.take_block(&source.key, nonce, block.identity);
        } else {
            peer.held.block(*nonce, block.identity);
        }
        if !sender.source.is_validated {
            let is_for_stream = sender.is_unconfirmed;
            self.request_validation(now, &source.key, source.address, is_for_stream);
        } else if block.is_question {
            self.answer_question(now, &sender);
        }
        Ok(())
    }

    /// Applies an authentic block, and reports a changed chain identity.
    pub(super) fn take_block(
        &mut self,
        key: &PublicKey,
        nonce: &[u8; 12],
        identity: Option<ChainIdentity>,
    ) {
        let Some(peer) = self.peers.get_mut(key) else {
            return;
        };
        let has_changed = peer.block_exchange.take(nonce, identity);
        if let Some(identity) = identity.filter(|_| has_changed) {
            let peer = *key;
            self.push_event(Event::ChainIdentity { peer, identity });
        }
    }

    /// Sends a block to a peer that has asked for it, at most once per [`limits::PROBE_INTERVAL`].
    fn answer_question(&mut self, now: Instant, sender: &Sender) {
        let Some(peer) = self.peers.get_mut(&sender.source.key) else {
            return;
        };
        let answered_at = &mut peer.block_exchange.answered_at;
        if answered_at.is_some_and(|at| now.since(at) < limits::PROBE_INTERVAL) {
            return;
        }
        *answered_at = Some(now);
        self.send_block(now, &sender.source.key, false);
    }

    /// Sends a validated peer of this implementation a handshake with an authenticated block, if we
    /// follow a chain.
    pub(super) fn send_chain_identity(&mut self, now: Instant, key: &PublicKey) {
        if self.config.chain_identity.is_some() {
            self.send_block(now, key, false);
        }
    }

    /// Asks a validated peer of this implementation for its block if that is missing, up to
    /// [`limits::MAX_PROBES`] times.
    pub(super) fn ask_for_block(&mut self, now: Instant, key: &PublicKey) {
        let Some(peer) = self.peers.get_mut(key) else {
            return;
        };
        let block_exchange = &mut peer.block_exchange;
        let is_known = block_exchange.latest.is_some();
        if !is_known && block_exchange.asked < limits::MAX_PROBES {
            block_exchange.asked += 1;
            self.send_block(now, key, true);
        }
    }

    /// Sends a validated peer of this implementation a handshake with an authenticated block. With
    /// `is_question`, it asks the peer for its own block.
    fn send_block(&mut self, now: Instant, key: &PublicKey, is_question: bool) {
        let Some(peer) = self.peers.get(key) else {
            return;
        };
        if !peer.is_validated || !peer.is_ours {
            return;
        }
        let block = Block {
            identity: self.config.chain_identity,
            is_question,
            ..Block::default()
        };
        let to = (peer.address, *key, &peer.shared);
        self.egress
            .authenticated_handshake(now, &mut self.stats, to, &block);
    }

    /// Sets the chain that we follow, and sends it to every validated peer of this implementation.
    pub fn set_chain_identity(&mut self, now: Instant, identity: ChainIdentity) {
        if self.config.chain_identity == Some(identity) {
            return;
        }
        self.config.chain_identity = Some(identity);
        let ours = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.is_validated && peer.is_ours);
        let keys: Vec<PublicKey> = ours.map(|(key, _)| *key).collect();
        for key in keys {
            self.send_block(now, &key, false);
        }
    }

    /// Returns the identity of the chain that we follow.
    #[must_use]
    pub const fn chain_identity(&self) -> Option<ChainIdentity> {
        self.config.chain_identity
    }

    const fn handshake_payload(&self, to: &SocketAddr) -> &'static [u8] {
        if to.is_ipv6() { IPV6_MARK } else { &[] }
    }
}
