//! Output of the engine: packets, events and counters that the host takes.
//!
//! Each part of the engine writes to it. A packet is queued under an [`Allowance`], so that the
//! amplification limits are checked in one place.

use super::IPV6_MARK;
use super::allowance::Allowance;
use super::amplification::Credits;
use super::config::EngineConfig;
use super::egress::{Egress, handshake_bytes, sealed_bytes};
use super::event::Event;
use super::event_queue::EventQueue;
use super::shares::Share;
use super::stats::{DropReason, Stats};
use crate::crypto::{PublicKey, SharedKey};
use crate::time::Instant;
use crate::wire::handshake::Block;
use crate::wire::message::Topic;
use alloc::vec::Vec;
use core::net::SocketAddr;

/// Packets, events and counters for the host.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) egress: Egress,
    /// Amplification limits of unvalidated addresses.
    pub(super) credits: Credits,
    events: EventQueue,
    pub(super) stats: Stats,
}

impl Output {
    pub(super) fn new(config: &EngineConfig, me: PublicKey, seed: &[u8; 32]) -> Self {
        Self {
            egress: Egress::new(config, me, seed),
            credits: Credits::default(),
            events: EventQueue::new(),
            stats: Stats::default(),
        }
    }

    /// Counts a dropped datagram or packet.
    pub(super) fn drop(&mut self, reason: DropReason) {
        self.stats.drop(reason);
    }

    /// Counts a failure, if it is one.
    pub(super) fn drop_if(&mut self, result: Result<(), DropReason>) {
        if let Err(reason) = result {
            self.stats.drop(reason);
        }
    }

    /// Queues an event that is not a statement of a peer.
    pub(super) fn report(&mut self, event: Event) {
        self.events.push(event);
    }

    /// Queues a statement of a peer, which counts against `share`.
    pub(super) fn report_statement(&mut self, share: Share, event: Event) {
        if self.events.push_statement(share, event).is_some() {
            self.stats.drop(DropReason::EventsFull);
        }
    }

    /// Returns the next event.
    pub(super) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop()
    }

    /// Returns whether a packet of `bytes` may be sent to an address, and charges it to the
    /// amplification limit of the address if that applies.
    fn allows(&mut self, to: &SocketAddr, allowance: Allowance, bytes: usize) -> bool {
        match allowance {
            Allowance::Validated | Allowance::FirstContact | Allowance::Charged => true,
            Allowance::Credit => self.credits.spend(to, bytes),
        }
    }

    /// Sends sealed content of `content_len` bytes, within the allowance; returns `false` if it
    /// exceeds that.
    pub(super) fn sealed(
        &mut self,
        now: Instant,
        (to, allowance): (SocketAddr, Allowance),
        seal: (&SharedKey, u8),
        (topic, content_len): (Topic, usize),
        write: impl FnOnce(&mut Vec<u8>),
    ) -> bool {
        let is_allowed = self.allows(&to, allowance, sealed_bytes(content_len));
        if is_allowed {
            self.egress
                .sealed(now, &mut self.stats, to, seal, topic, write);
        }
        is_allowed
    }

    /// Sends a handshake without an extension block, within the allowance; returns `false` if it
    /// exceeds that.
    pub(super) fn handshake(
        &mut self,
        now: Instant,
        (to, allowance): (SocketAddr, Allowance),
    ) -> bool {
        let payload = if to.is_ipv6() { IPV6_MARK } else { &[] };
        self.payload(now, (to, allowance), payload)
    }

    /// Sends a handshake with an extension block, within the allowance; returns `false` if it
    /// exceeds that.
    pub(super) fn block(
        &mut self,
        now: Instant,
        to: (SocketAddr, Allowance),
        block: &Block,
    ) -> bool {
        let mut payload = Vec::new();
        block.write(&mut payload);
        self.payload(now, to, &payload)
    }

    fn payload(
        &mut self,
        now: Instant,
        (to, allowance): (SocketAddr, Allowance),
        payload: &[u8],
    ) -> bool {
        let is_allowed = self.allows(&to, allowance, handshake_bytes(payload.len()));
        if is_allowed {
            self.egress.handshake(now, &mut self.stats, to, payload);
        }
        is_allowed
    }

    /// Sends a handshake with an authenticated block to the owner of `receiver`. The caller checks
    /// the limits.
    pub(super) fn authenticated_block(
        &mut self,
        now: Instant,
        to: (SocketAddr, PublicKey, &SharedKey),
        block: &Block,
    ) {
        self.egress
            .authenticated_handshake(now, &mut self.stats, to, block);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::SecretKey;

    #[test]
    fn only_credit_is_charged_and_limited() {
        let config = EngineConfig::new(SecretKey::from_bytes([1; 32]), 7);
        let mut out = Output::new(&config, PublicKey::new([1; 32]), &[2; 32]);
        let to = SocketAddr::from(([9, 8, 7, 6], 5));
        let now = Instant::ZERO;
        let bytes = handshake_bytes(0);
        assert!(!out.handshake(now, (to, Allowance::Credit)), "no balance");
        assert!(out.handshake(now, (to, Allowance::FirstContact)));
        assert!(out.handshake(now, (to, Allowance::Validated)));
        out.credits.received(now, to, bytes);
        for _ in 0..super::super::limits::AMPLIFICATION {
            assert!(out.handshake(now, (to, Allowance::Credit)));
            assert!(out.handshake(now, (to, Allowance::FirstContact)));
        }
        assert!(!out.handshake(now, (to, Allowance::Credit)), "spent");
        let mut buffer = Vec::new();
        let mut sent = 0;
        while out.egress.poll(&mut out.stats, &mut buffer).is_some() {
            assert_eq!(buffer.len(), bytes);
            sent += 1;
        }
        assert_eq!(sent, 2 + 2 * super::super::limits::AMPLIFICATION);
    }

    #[test]
    fn content_is_charged_by_the_length_of_its_packet() {
        let [ours, theirs] = [1, 2].map(|n| SecretKey::from_bytes([n; 32]));
        let shared = ours.agree(&theirs.public_key()).unwrap();
        let mut out = Output::new(
            &EngineConfig::new(ours.clone(), 7),
            ours.public_key(),
            &[2; 32],
        );
        let to = SocketAddr::from(([9, 8, 7, 6], 5));
        out.credits.received(Instant::ZERO, to, sealed_bytes(10));
        let mut send = || {
            let to = (to, Allowance::Credit);
            out.sealed(Instant::ZERO, to, (&shared, 1), (Topic::Ping, 10), |out| {
                out.extend_from_slice(&[0; 10]);
            })
        };
        assert!(send() && send() && send());
        assert!(!send(), "three times the bytes that came");
        let mut buffer = Vec::new();
        while out.egress.poll(&mut out.stats, &mut buffer).is_some() {
            assert_eq!(buffer.len(), sealed_bytes(10));
        }
        assert_eq!(out.stats.sent, 3);
    }
}
