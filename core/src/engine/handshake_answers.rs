//! Answers to handshakes: at most one per interval for each unvalidated address and key, and the
//! delayed answers to validated peers.

use super::allowance::Allowance;
use super::egress::handshake_bytes;
use super::limits;
use super::output::Output;
use super::rate_limit::IntervalLimiter;
use super::shares::Share;
use super::{IPV6_MARK, Source};
use crate::crypto::PublicKey;
use crate::time::Instant;
use crate::wire::handshake::{Block, Cookie};
use alloc::collections::BTreeSet;
use core::net::SocketAddr;

/// Handshakes that were answered or are to be answered, and keys that have identified themselves in
/// one.
#[derive(Debug)]
pub(super) struct HandshakeAnswers {
    /// Recent handshakes to unvalidated addresses, by the address and the key that they answered.
    recent: IntervalLimiter<(SocketAddr, PublicKey)>,
    /// Number of handshakes that were due an answer while `recent` was full.
    untracked: u32,
    /// Keys, each at an IPv6 address, that have identified themselves as nodes of this
    /// implementation.
    marked: IntervalLimiter<(PublicKey, SocketAddr)>,
    /// Delayed answers to validated peers, by the time at which they are due.
    delayed: BTreeSet<(Instant, PublicKey)>,
}

impl HandshakeAnswers {
    pub(super) const fn new() -> Self {
        let (interval, most) = (limits::CONTACT_INTERVAL, limits::MAX_HANDSHAKE_ANSWERS);
        Self {
            recent: IntervalLimiter::new(interval, most),
            untracked: 0,
            marked: IntervalLimiter::new(interval, most),
            delayed: BTreeSet::new(),
        }
    }

    /// Records that a key at an IPv6 address claims to be a node of this implementation.
    pub(super) fn mark(&mut self, now: Instant, source: &Source) {
        let name = (source.key, source.address);
        self.marked.take(now, source.share(), name, 1);
    }

    /// Returns whether a key at an address has identified itself recently.
    pub(super) fn is_marked(&self, now: Instant, key: PublicKey, address: SocketAddr) -> bool {
        self.marked.contains(now, &(key, address))
    }

    /// Returns whether a key at an address was sent a handshake within the interval.
    pub(super) fn has(&self, now: Instant, address: SocketAddr, key: PublicKey) -> bool {
        self.recent.contains(now, &(address, key))
    }

    /// Takes the one answer per interval to a key at an address.
    pub(super) fn take(&mut self, now: Instant, address: SocketAddr, of: Share) -> bool {
        self.recent.take(now, of, (address, of.key()), 1)
    }

    /// Sends a handshake to an unvalidated address, within its amplification limit and once per
    /// interval and key. Returns whether it was sent.
    pub(super) fn answer(&mut self, now: Instant, source: &Source, out: &mut Output) -> bool {
        let Source { key, address, .. } = *source;
        if self.has(now, address, key) {
            return false;
        }
        let payload = if address.is_ipv6() { IPV6_MARK } else { &[] };
        if !out.credits.spend(&address, handshake_bytes(payload.len())) {
            return false;
        }
        let is_recorded = self
            .recent
            .take_if_room(now, source.share(), (address, key));
        if !is_recorded && !self.answer_untracked() {
            return false;
        }
        out.handshake(now, (address, Allowance::Charged));
        true
    }

    /// Returns whether to answer a handshake that there is no room to remember, or that is one of a
    /// network group whose handshakes fill the memory: displacing one of them for each would be the
    /// largest part of their cost. A flood of keys and addresses must not keep newcomers out; the
    /// answer is within the amplification limit of the address. A few are not answered: otherwise
    /// two nodes with full memories would exchange handshakes for ever.
    const fn answer_untracked(&mut self) -> bool {
        self.untracked = self.untracked.wrapping_add(1);
        !self
            .untracked
            .is_multiple_of(limits::UNTRACKED_HANDSHAKE_DROP_RATIO)
    }

    /// Answers a contact, whose cookie shows that it is not an answer to us; returns `false` if the
    /// echo exceeds the amplification limit of the address.
    pub(super) fn echo(
        &mut self,
        now: Instant,
        source: &Source,
        cookie: Cookie,
        out: &mut Output,
    ) -> bool {
        let block = Block {
            echo: Some(cookie),
            ..Block::default()
        };
        let allowance = Allowance::of(source.is_validated);
        let is_sent = out.block(now, (source.address, allowance), &block);
        if is_sent {
            // The echo tells the sender our key.
            self.take(now, source.address, source.share());
        }
        is_sent
    }

    /// Delays the answer to a validated peer.
    pub(super) fn delay(&mut self, at: Instant, key: PublicKey) {
        self.delayed.insert((at, key));
    }

    /// Removes and returns the receiver of a delayed answer that is due.
    pub(super) fn next_due(&mut self, now: Instant) -> Option<PublicKey> {
        self.delayed.first().filter(|(at, _)| *at <= now)?;
        self.delayed.pop_first().map(|(_, key)| key)
    }

    /// Returns the time of the next delayed answer.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.delayed.first().map(|(at, _)| *at)
    }

    /// Removes what is an interval old.
    pub(super) fn expire(&mut self, now: Instant) {
        self.recent.expire(now);
        self.marked.expire(now);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.recent.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::SecretKey;
    use crate::engine::EngineConfig;

    fn source(address: &str, key: u8) -> Source {
        Source {
            key: PublicKey::new([key; 32]),
            address: address.parse().unwrap(),
            is_validated: false,
        }
    }

    fn output() -> Output {
        let config = EngineConfig::new(SecretKey::from_bytes([1; 32]), 7);
        Output::new(&config, PublicKey::new([1; 32]), &[2; 32])
    }

    #[test]
    fn each_key_at_an_address_is_answered_once_per_interval_within_the_limit() {
        let (mut answers, mut out) = (HandshakeAnswers::new(), output());
        let one = source("9.8.7.6:5", 3);
        let mut now = Instant::ZERO;
        assert!(!answers.answer(now, &one, &mut out), "no balance");
        assert!(!answers.has(now, one.address, one.key), "and not counted");
        out.credits.received(now, one.address, 1_000);
        for _ in 0..2 {
            assert!(answers.answer(now, &one, &mut out));
            assert!(!answers.answer(now, &one, &mut out));
            assert!(answers.answer(now, &source("9.8.7.6:5", 4), &mut out));
            now = now + limits::CONTACT_INTERVAL;
        }
    }

    #[test]
    fn few_handshakes_stay_unanswered_when_the_memory_is_full() {
        let (mut answers, mut out) = (HandshakeAnswers::new(), output());
        let ratio = limits::UNTRACKED_HANDSHAKE_DROP_RATIO;
        let most = u32::try_from(limits::MAX_HANDSHAKE_ANSWERS).unwrap();
        let mut answered = 0;
        for n in 0..most + 2 * ratio {
            let mut key = [7; 32];
            key[..4].copy_from_slice(&n.to_be_bytes());
            // Each source is in a network group of its own.
            let [_, _, high, low] = n.to_be_bytes();
            let one = Source {
                key: PublicKey::new(key),
                address: SocketAddr::from(([20 + high, low, 1, 1], 9)),
                is_validated: false,
            };
            out.credits.received(Instant::ZERO, one.address, 100);
            answered += u32::from(answers.answer(Instant::ZERO, &one, &mut out));
        }
        assert_eq!(answered, most + 2 * ratio - 2);
        assert_eq!(answers.len(), limits::MAX_HANDSHAKE_ANSWERS);
    }

    #[test]
    fn flood_of_one_network_displaces_nothing_and_is_answered() {
        let (mut answers, mut out) = (HandshakeAnswers::new(), output());
        let most = u16::try_from(limits::MAX_HANDSHAKE_ANSWERS).unwrap();
        let of = |group: u8, port: u16| Source {
            key: PublicKey::new([3; 32]),
            address: SocketAddr::from(([group, 8, 7, 6], port)),
            is_validated: false,
        };
        let mut answer = |one: &Source| {
            out.credits.received(Instant::ZERO, one.address, 100);
            answers.answer(Instant::ZERO, one, &mut out)
        };
        assert!((1..=most).all(|port| answer(&of(9, port))));
        let more = (most + 1..=2 * most).filter(|port| answer(&of(9, *port)));
        assert_eq!(more.count(), usize::from(most - most / 32));
        // A handshake of another network is remembered, in place of one of the flood.
        assert!(answer(&of(20, 1)) && !answer(&of(20, 1)));
        let kept = (1..=most).filter(|port| {
            let one = of(9, *port);
            answers.has(Instant::ZERO, one.address, one.key)
        });
        assert_eq!(kept.count(), usize::from(most - 1));
        assert_eq!(answers.len(), limits::MAX_HANDSHAKE_ANSWERS);
    }

    #[test]
    fn echo_is_always_sent_within_the_limit_and_counts_as_an_answer() {
        let (mut answers, mut out) = (HandshakeAnswers::new(), output());
        let one = source("9.8.7.6:5", 3);
        assert!(!answers.echo(Instant::ZERO, &one, [1; 8], &mut out));
        assert!(!answers.has(Instant::ZERO, one.address, one.key));
        out.credits.received(Instant::ZERO, one.address, 1_000);
        assert!(answers.echo(Instant::ZERO, &one, [1; 8], &mut out));
        assert!(answers.echo(Instant::ZERO, &one, [1; 8], &mut out));
        assert!(!answers.answer(Instant::ZERO, &one, &mut out));
    }

    #[test]
    fn delayed_answers_come_in_the_order_in_which_they_are_due() {
        let mut answers = HandshakeAnswers::new();
        let (at, key) = (Instant::from_secs, |n| PublicKey::new([n; 32]));
        assert_eq!((answers.deadline(), answers.next_due(at(9))), (None, None));
        answers.delay(at(5), key(1));
        answers.delay(at(3), key(2));
        assert_eq!(answers.deadline(), Some(at(3)));
        assert_eq!(answers.next_due(at(2)), None);
        assert_eq!(answers.next_due(at(5)), Some(key(2)));
        assert_eq!(answers.next_due(at(5)), Some(key(1)));
        assert_eq!(answers.next_due(at(5)), None);
    }
}
