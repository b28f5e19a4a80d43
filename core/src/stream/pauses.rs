//! Pauses after failures of streams, and the times after which a connection has failed.
//!
//! A peer whose stream fails is not tried again for [`MIN_PAUSE`], and twice as long after each
//! further failure, up to [`MAX_PAUSE`]: one that has just restarted serves again within seconds, and
//! one that is unreachable costs a connection a minute. A stream that delivers ends the count. A peer
//! that has violated the protocol is not tried for [`VIOLATION_PAUSE`].

use crate::crypto::PublicKey;
use crate::time::Instant;
use alloc::collections::BTreeMap;
use core::time::Duration;

/// Maximum time from the first packet of a connection to the end of its handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Time without a byte from the server, since the client began to wait for one, after which a
/// connection with open requests has failed.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Time without traffic after which a connection is closed.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Time for which a peer is not tried again after its first failure.
pub const MIN_PAUSE: Duration = Duration::from_secs(1);
/// Maximum time for which a peer is not tried again after a failure.
pub const MAX_PAUSE: Duration = Duration::from_secs(60);
/// Time for which a peer is not tried again after a violation of the protocol.
pub const VIOLATION_PAUSE: Duration = Duration::from_secs(3_600);
/// Maximum number of peers with a pause. Beyond that, the one whose pause ends first is forgotten.
const MAX_PAUSES: usize = 1_024;

#[derive(Clone, Copy, Debug)]
struct Pause {
    until: Instant,
    /// Length of the pause.
    duration: Duration,
}

/// Peers whose streams have failed.
#[derive(Debug, Default)]
pub struct Pauses(BTreeMap<PublicKey, Pause>);

impl Pauses {
    /// Creates an empty set.
    #[must_use]
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Returns whether a peer is not to be tried at present.
    #[must_use]
    pub fn contains(&self, now: Instant, peer: &PublicKey) -> bool {
        self.0.get(peer).is_some_and(|pause| pause.until > now)
    }

    /// Records that a stream of a peer has failed.
    pub fn note_failure(&mut self, now: Instant, peer: PublicKey) {
        let last = self.0.get(&peer).map(|pause| pause.duration);
        let duration = last.map_or(MIN_PAUSE, |last| (last * 2).min(MAX_PAUSE));
        self.insert(now, peer, duration);
    }

    /// Records that a peer has violated the protocol.
    pub fn note_violation(&mut self, now: Instant, peer: PublicKey) {
        self.insert(now, peer, VIOLATION_PAUSE);
    }

    /// Records that a stream of a peer has delivered something valid.
    pub fn note_delivered(&mut self, peer: &PublicKey) {
        self.0.remove(peer);
    }

    fn insert(&mut self, now: Instant, peer: PublicKey, duration: Duration) {
        let until = now + duration;
        if self.0.len() >= MAX_PAUSES && !self.0.contains_key(&peer) {
            let first = self.0.iter().min_by_key(|(_, pause)| pause.until);
            if let Some(first) = first.map(|(peer, _)| *peer) {
                self.0.remove(&first);
            }
        }
        self.0.insert(peer, Pause { until, duration });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: PublicKey = PublicKey::new([7; 32]);
    const SECOND: Duration = Duration::from_secs(1);

    /// Returns the number of seconds for which the peer is paused.
    fn paused_seconds(pauses: &Pauses, now: Instant) -> u64 {
        let mut seconds = 0..4_000;
        let first = seconds.find(|it| !pauses.contains(now + SECOND * *it, &PEER));
        u64::from(first.expect("the pause ends"))
    }

    #[test]
    fn pause_doubles_until_the_peer_delivers() {
        let (mut pauses, mut now) = (Pauses::new(), Instant::from_secs(9));
        assert_eq!(paused_seconds(&pauses, now), 0);
        for expected in [1, 2, 4, 8, 16, 32, 60, 60] {
            pauses.note_failure(now, PEER);
            assert_eq!(paused_seconds(&pauses, now), expected);
            now = now + SECOND * 100;
            assert!(!pauses.contains(now, &PEER));
        }
        pauses.note_delivered(&PEER);
        pauses.note_failure(now, PEER);
        assert_eq!(paused_seconds(&pauses, now), 1);
        pauses.note_violation(now, PEER);
        assert_eq!(paused_seconds(&pauses, now), 3_600);
        assert!(!pauses.contains(now, &PublicKey::new([8; 32])));
    }

    #[test]
    fn failures_of_many_peers_do_not_end_a_long_pause() {
        let (mut pauses, now) = (Pauses::new(), Instant::from_secs(9));
        pauses.note_violation(now, PEER);
        for number in (0_u32..).take(2 * MAX_PAUSES) {
            let mut key = [0; 32];
            key[..4].copy_from_slice(&number.to_le_bytes());
            pauses.note_failure(now, PublicKey::new(key));
        }
        assert_eq!(pauses.0.len(), MAX_PAUSES);
        assert!(pauses.contains(now, &PEER));
    }
}
