//! Detection of another node that has our relay key.
//!
//! The sender of a packet is named in the clear, so a packet in our own name proves nothing. It is
//! answered with an authenticated handshake under the key that we share with ourselves, which
//! contains a cookie. Only a holder of our key can return that cookie in an authenticated handshake
//! of its own. Recorded handshakes contain other cookies, and our own packets are recognized by
//! their nonces if they are reflected.

use super::egress::handshake_bytes;
use super::{DropReason, Engine, Event, Source};
use crate::crypto::SharedKey;
use crate::time::Instant;
use crate::wire::handshake::{Block, Cookie};
use crate::wire::message::Body;

impl Engine {
    /// Handles a message in our own name that came from `source`, and returns the reason to drop
    /// it.
    pub(super) fn handle_own_key(
        &mut self,
        now: Instant,
        source: &Source,
        (message, body): (&[u8], &Body<'_>),
    ) -> DropReason {
        let Body::Handshake(payload) = body else {
            return DropReason::OwnKey;
        };
        let cookie = self.validation.ids.lasting_cookie(&source.address);
        let block = Block::decode(payload).ok();
        let Some((block, Some(authentication))) = block else {
            self.answer_own_key(now, source, (None, true), None);
            return DropReason::OwnKey;
        };
        if self.out.egress.is_ours(&authentication.nonce) {
            return DropReason::Reflected;
        }
        let shared = match self.keys.agree(now, source, &mut self.out) {
            Ok(shared) => shared,
            Err(reason) => return reason,
        };
        if !authentication.is_valid(message, &shared, &self.me) {
            return DropReason::NotAuthentic;
        }
        if block.echo == Some(cookie) {
            let address = source.address;
            self.out.report(Event::OwnKeyElsewhere { address });
        }
        if block.cookie.is_some() {
            // An answer to an answer does not ask for another.
            let asks = block.echo.is_none();
            self.answer_own_key(now, source, (block.cookie, asks), Some(shared));
        }
        DropReason::OwnKey
    }

    /// Sends the owner of an address an authenticated handshake under the key that we share with
    /// ourselves, within the amplification limit of the address; `shared` is that key. If it is
    /// `None`, it is derived within the budget of key agreements.
    fn answer_own_key(
        &mut self,
        now: Instant,
        source: &Source,
        (echo, asks): (Option<Cookie>, bool),
        shared: Option<SharedKey>,
    ) {
        let cookie = asks.then(|| self.validation.ids.lasting_cookie(&source.address));
        let block = Block {
            cookie,
            echo,
            ..Block::default()
        };
        let bytes = handshake_bytes(block.encoded_len(true));
        let share = source.share();
        let may = echo.is_some() || self.handshakes.take(now, source.address, share);
        if !may || !self.out.credits.spend(&source.address, bytes) {
            return;
        }
        let agree = || self.keys.agree(now, source, &mut self.out);
        if let Ok(shared) = shared.map_or_else(agree, Ok) {
            let to = (source.address, self.me, &shared);
            self.out.authenticated_block(now, to, &block);
        }
    }
}
