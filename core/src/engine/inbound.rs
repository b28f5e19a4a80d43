//! Inbound side: the queue of datagrams that wait to be handled, and the keys whose packets are
//! dropped.

use super::config::EngineConfig;
use super::datagram::{Datagram, QueuedDatagram};
use super::limits::MAX_BANS;
use super::queue::ByteQueue;
use super::stats::DropReason;
use crate::crypto::PublicKey;
use crate::time::Instant;
use alloc::collections::BTreeMap;

/// Waiting datagrams, and banned keys.
#[derive(Debug)]
pub(super) struct Inbound {
    queue: ByteQueue<QueuedDatagram>,
    /// Banned keys, each with the number of its ban.
    banned: BTreeMap<PublicKey, u64>,
    /// Number of bans so far.
    bans: u64,
}

impl Inbound {
    pub(super) const fn new(config: &EngineConfig) -> Self {
        Self {
            queue: ByteQueue::new(
                config.incoming_queue_limit_bytes,
                config.incoming_queue_timeout,
            ),
            banned: BTreeMap::new(),
            bans: 0,
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

    /// Bans a key, until [`Self::unban`]. If there are [`MAX_BANS`] bans, the oldest one ends; a
    /// key that is banned again counts as new.
    pub(super) fn ban(&mut self, key: PublicKey) {
        self.bans += 1;
        self.banned.insert(key, self.bans);
        if self.banned.len() > MAX_BANS {
            let oldest = self.banned.iter().min_by_key(|(_, number)| **number);
            if let Some(oldest) = oldest.map(|(key, _)| *key) {
                self.banned.remove(&oldest);
            }
        }
    }

    /// Ends a ban; returns `false` if the key was not banned.
    pub(super) fn unban(&mut self, key: &PublicKey) -> bool {
        self.banned.remove(key).is_some()
    }

    /// Returns whether the packets of a key are dropped.
    pub(super) fn is_banned(&self, key: &PublicKey) -> bool {
        self.banned.contains_key(key)
    }

    /// Returns the banned keys.
    pub(super) fn banned(&self) -> impl Iterator<Item = &PublicKey> {
        self.banned.keys()
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
    fn bans_are_bounded_and_the_oldest_ends_first() {
        let key = |n: usize| {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&(n as u64).to_be_bytes());
            PublicKey::new(bytes)
        };
        let mut inbound = inbound();
        let highest = 2 * MAX_BANS;
        // From high keys to low ones, the highest once more.
        for n in 0..MAX_BANS {
            inbound.ban(key(highest - n));
            inbound.ban(key(highest - n));
        }
        inbound.ban(key(highest));
        inbound.ban(key(0));
        assert_eq!(inbound.banned().count(), MAX_BANS);
        assert!(inbound.is_banned(&key(0)) && inbound.is_banned(&key(highest)));
        assert!(!inbound.is_banned(&key(highest - 1)), "the oldest");
        assert!(inbound.is_banned(&key(highest - 2)));
        inbound.ban(key(1));
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
