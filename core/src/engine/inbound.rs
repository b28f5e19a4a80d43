//! Inbound side: the queue of datagrams that wait to be handled, and the keys whose packets are
//! dropped.

use super::config::EngineConfig;
use super::datagram::{Datagram, QueuedDatagram};
use super::limits::MAX_BANS;
use super::queue::ByteQueue;
use super::stats::DropReason;
use crate::crypto::PublicKey;
use crate::time::Instant;
use alloc::collections::BTreeSet;

/// Waiting datagrams, and banned keys.
#[derive(Debug)]
pub(super) struct Inbound {
    queue: ByteQueue<QueuedDatagram>,
    banned: BTreeSet<PublicKey>,
}

impl Inbound {
    pub(super) const fn new(config: &EngineConfig) -> Self {
        Self {
            queue: ByteQueue::new(
                config.incoming_queue_limit_bytes,
                config.incoming_queue_timeout,
            ),
            banned: BTreeSet::new(),
        }
    }

    /// Checks the proof of work of a datagram, and queues it.
    ///
    /// # Errors
    /// Fails if the datagram has too little work, or the queue is full.
    pub(super) fn push(&mut self, now: Instant, datagram: &Datagram<'_>) -> Result<(), DropReason> {
        datagram.check_work(self.required_difficulty())?;
        let pushed = self.queue.push(now, datagram.len(), datagram.to_queued());
        pushed.map_err(|_| DropReason::IncomingFull)
    }

    /// Removes and returns the next queued datagram.
    pub(super) fn pop(&mut self) -> Option<QueuedDatagram> {
        self.queue.pop()
    }

    /// Drops the datagrams that have waited too long for space; returns their number.
    pub(super) fn expire(&mut self, now: Instant) -> usize {
        self.queue.expire(now)
    }

    /// Returns the time at which the next datagram has waited too long for space.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.queue.deadline()
    }

    /// Returns the number of bytes in the queue.
    pub(super) const fn queued_bytes(&self) -> u64 {
        self.queue.bytes()
    }

    /// Returns the proof of work that the queue requires of senders, in leading zero bits.
    pub(super) fn required_difficulty(&self) -> u8 {
        self.queue.required_difficulty()
    }

    /// Bans a key. If there are [`MAX_BANS`] bans, the one of the lowest key ends.
    pub(super) fn ban(&mut self, key: PublicKey) {
        if self.banned.len() >= MAX_BANS && !self.banned.contains(&key) {
            self.banned.pop_first();
        }
        self.banned.insert(key);
    }

    /// Ends a ban; returns `false` if the key was not banned.
    pub(super) fn unban(&mut self, key: &PublicKey) -> bool {
        self.banned.remove(key)
    }

    /// Returns whether the packets of a key are dropped.
    pub(super) fn is_banned(&self, key: &PublicKey) -> bool {
        self.banned.contains(key)
    }

    /// Returns the banned keys.
    pub(super) fn banned(&self) -> impl Iterator<Item = &PublicKey> {
        self.banned.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::SecretKey;

    fn inbound() -> Inbound {
        Inbound::new(&EngineConfig::new(SecretKey::from_bytes([1; 32]), 7))
    }

    #[test]
    fn bans_are_bounded_and_the_lowest_key_ends_first() {
        let key = |n: usize| {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&(n as u64).to_be_bytes());
            PublicKey::new(bytes)
        };
        let mut inbound = inbound();
        for n in 0..=MAX_BANS {
            inbound.ban(key(n));
            inbound.ban(key(n));
        }
        assert_eq!(inbound.banned().count(), MAX_BANS);
        assert!(!inbound.is_banned(&key(0)) && inbound.is_banned(&key(1)));
        assert!(inbound.unban(&key(1)) && !inbound.unban(&key(1)));
        assert!(!inbound.is_banned(&key(1)));
    }

    #[test]
    fn datagram_without_work_is_not_queued() {
        let mut inbound = inbound();
        let from = ([1, 2, 3, 4], 5).into();
        let mut queued = 0;
        for n in 0..64 {
            let bytes = [0, 0, 0, 0, 0, 0, 0, n, 7];
            let datagram = Datagram::parse(from, &bytes).unwrap();
            let pushed = inbound.push(Instant::ZERO, &datagram);
            assert_eq!(pushed.is_ok(), datagram.check_work(1).is_ok());
            queued += usize::from(pushed.is_ok());
        }
        assert!(queued > 0 && queued < 64);
        assert!(inbound.queued_bytes() > 0);
        assert_eq!(core::iter::from_fn(|| inbound.pop()).count(), queued);
        assert_eq!(inbound.queued_bytes(), 0);
    }
}
