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
//! our chain identity changes, with each periodic ping ([`super::timers`]), and when the peer asks.
//! They state which chain we follow, and where we accept streams. Such a handshake is not answered
//! unless it asks for a block. A peer whose block is missing is asked for it up to
//! [`limits::MAX_PROBES`] times.

use super::allowance::Allowance;
use super::random::split;
use super::{DropReason, Engine, Event, IPV6_MARK, Source, limits};
use crate::crypto::PublicKey;
use crate::time::Instant;
use crate::wire::handshake::{Authentication, Block, ChainIdentity, StreamOffer};
use core::mem;

/// Content of the authenticated block of a peer.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct BlockContent {
    pub(super) identity: Option<ChainIdentity>,
    pub(super) stream: Option<StreamOffer>,
}

impl BlockContent {
    const fn of(block: &Block) -> Self {
        Self {
            identity: block.identity,
            stream: block.stream,
        }
    }
}

/// State of the exchange of authenticated blocks with a peer.
#[derive(Debug, Default)]
pub(super) struct BlockExchange {
    pub(super) content: BlockContent,
    /// Nonce of the latest block that was applied.
    latest: Option<[u8; 12]>,
    /// Number of times that the peer was asked for a block.
    asked: u8,
    /// Time at which the peer was last sent a block because it asked.
    answered_at: Option<Instant>,
}

impl BlockExchange {
    /// Begins an answer to a question, at most one per [`limits::PROBE_INTERVAL`]. Returns whether
    /// it is to be sent.
    fn begin_answer(&mut self, now: Instant) -> bool {
        let answered_at = self.answered_at;
        let may = answered_at.is_none_or(|at| now.since(at) >= limits::PROBE_INTERVAL);
        if may {
            self.answered_at = Some(now);
        }
        may
    }

    /// Begins a question to a peer whose block is missing, up to [`limits::MAX_PROBES`] of them.
    /// Returns whether it is to be sent.
    const fn begin_question(&mut self) -> bool {
        let may = self.latest.is_none() && self.asked < limits::MAX_PROBES;
        self.asked += may as u8;
        may
    }

    /// Applies a block, unless a later one of the same stream was applied. Returns whether the
    /// identity has changed.
    fn take(&mut self, nonce: &[u8; 12], content: BlockContent) -> bool {
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
        mem::replace(&mut self.content, content).identity != content.identity
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
            self.handshakes.mark(now, &source);
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
            .is_some_and(|cookie| self.handshakes.echo(now, &source, cookie, &mut self.out));
        if source.is_validated {
            return self.answer_validated_peer(now, &source.key);
        }
        let is_known = self.peers.get(&source.key).is_some();
        if let Some(probed) = self.probe_solicited(now, &source, cookies.echo.as_ref()) {
            return probed;
        }
        let answered = is_echoed || self.handshakes.answer(now, &source, &mut self.out);
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
        let begun = peer.begin_answer(now);
        if let Err(delayed_until) = begun {
            if let Some(at) = delayed_until {
                self.handshakes.delay(at, *key);
            }
            return Err(DropReason::HandshakeTooSoon);
        }
        // It may have lost the contents of earlier pings.
        peer.pings = 0;
        let (address, is_ours) = (peer.address, peer.is_ours);
        if is_ours && self.has_block() {
            self.send_block(now, key, false);
        } else {
            self.out.handshake(now, (address, Allowance::Validated));
        }
        self.send_ping(now, key);
        Ok(())
    }

    /// Sends the delayed answers that are due.
    pub(super) fn answer_due(&mut self, now: Instant) {
        while let Some(key) = self.handshakes.next_due(now) {
            let is_due = self.peers.get(&key).is_some_and(|peer| peer.is_answer_due);
            if is_due {
                // The interval has passed, so nothing is delayed again.
                let _ = self.answer_validated_peer(now, &key);
            }
        }
    }

    /// Contacts again the addresses that have not answered: after a second within the amplification
    /// limit, and after an interval in any case.
    pub(super) fn follow_up(&mut self, now: Instant) {
        while let Some(address) = self.contacts.solicited.next_follow_up(now) {
            if self.peers.is_validated_address(&address) || self.own_address.is_own(address) {
                continue;
            }
            let to = (address, self.peers.own_share());
            let ids = &mut self.validation.ids;
            self.contacts.follow_up(now, to, ids, &mut self.out);
        }
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
            self.take_block(&source.key, nonce, BlockContent::of(block));
        } else {
            peer.held.block(*nonce, BlockContent::of(block));
        }
        if !sender.source.is_validated {
            let is_for_stream = sender.is_unconfirmed;
            self.request_validation(now, &source.key, source.address, is_for_stream);
        } else if block.is_question {
            let peer = self.peers.get_mut(&source.key);
            if peer.is_some_and(|peer| peer.block_exchange.begin_answer(now)) {
                self.send_block(now, &source.key, false);
            }
        }
        Ok(())
    }

    /// Applies an authentic block, and reports a changed chain identity.
    pub(super) fn take_block(&mut self, key: &PublicKey, nonce: &[u8; 12], content: BlockContent) {
        let Some(peer) = self.peers.get_mut(key) else {
            return;
        };
        let has_changed = peer.block_exchange.take(nonce, content);
        if let Some(identity) = content.identity.filter(|_| has_changed) {
            let peer = *key;
            let event = Event::ChainIdentity { peer, identity };
            self.out.report_statement(self.peers.share(key), event);
        }
    }

    /// Returns whether we have anything to state in a block: that we follow a chain, or accept
    /// streams.
    pub(super) const fn has_block(&self) -> bool {
        self.config.chain_identity.is_some() || self.config.stream_offer.is_some()
    }

    /// Sends a validated peer of this implementation a handshake with an authenticated block, if we
    /// have anything to state.
    pub(super) fn send_chain_identity(&mut self, now: Instant, key: &PublicKey) {
        if self.has_block() {
            self.send_block(now, key, false);
        }
    }

    /// Asks a validated peer of this implementation for its block if that is missing, up to
    /// [`limits::MAX_PROBES`] times.
    pub(super) fn ask_for_block(&mut self, now: Instant, key: &PublicKey) {
        let peer = self.peers.get_mut(key);
        if peer.is_some_and(|peer| peer.block_exchange.begin_question()) {
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
            stream: self.config.stream_offer,
            ..Block::default()
        };
        let to = (peer.address, *key, &peer.shared);
        self.out.authenticated_block(now, to, &block);
    }

    /// Sets the chain that we follow, and sends it to every validated peer of this implementation.
    pub fn set_chain_identity(&mut self, now: Instant, identity: ChainIdentity) {
        if self.config.chain_identity == Some(identity) {
            return;
        }
        self.config.chain_identity = Some(identity);
        self.peers.restart_pings();
        for key in self.peers.validated_where(|peer| peer.is_ours) {
            self.send_block(now, &key, false);
        }
    }

    /// Returns the identity of the chain that we follow.
    #[must_use]
    pub const fn chain_identity(&self) -> Option<ChainIdentity> {
        self.config.chain_identity
    }
}
