//! Periodic maintenance: peer timeouts, seed retries, record expiry.

use super::limits::{
    CONTACT_INTERVAL, FEW_PEERS, FEW_PEERS_DIVISOR, MAX_BANS, MAX_SEEDS, PING_INTERVAL,
    PROBE_INTERVAL, SEED_INTERVAL, WANTED_PEERS,
};
use super::reads::ObjectSource;
use super::{DropReason, Engine, RemoveReason};
use crate::crypto::PublicKey;
use crate::time::Instant;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

/// Silence after which an unregistered peer is removed.
const UNREGISTERED_TIMEOUT: Duration = Duration::from_secs(60);
/// Minimum interval between two checks, whatever is configured.
const MIN_CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// Action that a check takes for a peer.
enum MaintenanceAction {
    Remove(RemoveReason),
    KeepAlive,
    Ping,
}

impl Engine {
    /// Sets the resolved addresses of the seeds, at most [`MAX_SEEDS`] of each kind, and contacts
    /// new ones at once. May be called again: the pin of the default seed stays.
    pub fn set_seeds(&mut self, now: Instant, default: &[SocketAddr], additional: &[SocketAddr]) {
        let canonical = |seeds: &[SocketAddr]| -> Vec<SocketAddr> {
            seeds
                .iter()
                .take(MAX_SEEDS)
                .copied()
                .map(super::address::canonical)
                .collect()
        };
        let before = core::mem::take(&mut self.seeds);
        self.seeds.default = canonical(default);
        self.seeds.additional = canonical(additional);
        self.seeds.pinned = before.pinned;
        let is_new =
            |seed: &SocketAddr| !before.default.contains(seed) && !before.additional.contains(seed);
        let fresh: Vec<SocketAddr> = self.all_seeds().into_iter().filter(is_new).collect();
        // Resolving the same addresses again does not delay the next attempt.
        if !fresh.is_empty() {
            self.next_bootstrap = now + self.config.bootstrap_retry_interval;
        }
        for seed in fresh {
            self.connect(now, seed);
        }
    }

    fn all_seeds(&self) -> Vec<SocketAddr> {
        self.seeds.addresses().copied().collect()
    }

    /// Sends a handshake to an address, unless one was sent of our own accord within
    /// [`CONTACT_INTERVAL`]. An address that does not answer is contacted again, at the latest
    /// after that time.
    pub fn connect(&mut self, now: Instant, address: SocketAddr) {
        let address = super::address::canonical(address);
        if !self.is_own_address(address) && self.may_contact(now, address, None) {
            self.contact(now, address);
        }
    }

    /// Removes a peer; returns `false` if no peer has this key.
    pub fn disconnect(&mut self, key: &PublicKey) -> bool {
        let is_known = self.peers.get(key).is_some();
        self.remove_peer(key, RemoveReason::Disconnected);
        is_known
    }

    /// Removes a peer and drops its packets until [`Engine::unban`]; returns `false` if the peer
    /// was not known. If there are [`MAX_BANS`] bans, the one of the lowest key ends.
    pub fn ban(&mut self, key: PublicKey) -> bool {
        if self.banned.len() >= MAX_BANS && !self.banned.contains(&key) {
            self.banned.pop_first();
        }
        self.banned.insert(key);
        self.disconnect(&key)
    }

    /// Ends a ban; returns `false` if the key was not banned.
    pub fn unban(&mut self, key: &PublicKey) -> bool {
        self.banned.remove(key)
    }

    /// Returns the keys of banned peers.
    pub fn banned(&self) -> impl Iterator<Item = &PublicKey> {
        self.banned.iter()
    }

    /// Returns the time at which [`Engine::handle_timeout`] is due if nothing else happens before.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let first = |timers: &alloc::collections::BTreeSet<(Instant, PublicKey)>| {
            timers.first().map(|(at, _)| *at)
        };
        let deadlines = [
            Some(self.next_check),
            self.bootstrap_at(),
            first(&self.probe_timers),
            first(&self.answer_timers),
            self.fetches.deadline(),
            self.advertisements.deadline(),
            self.own_address.deadline(),
            self.solicited.deadline(),
            self.egress.deadline(),
            self.incoming.deadline(),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Returns the time of the next attempt to reach the seeds, or `None` if there is a validated
    /// peer, no seed, or no interval configured.
    fn bootstrap_at(&self) -> Option<Instant> {
        let has_seeds = !self.seeds.is_empty();
        // Unvalidated peers may not exist, and must not keep us from the seeds.
        let is_alone = self.peers.validated() == 0;
        let repeats = !self.config.bootstrap_retry_interval.is_zero();
        (has_seeds && is_alone && repeats).then_some(self.next_bootstrap)
    }

    /// Handles all timers that are due.
    pub fn handle_timeout<S: ObjectSource + ?Sized>(&mut self, now: Instant, store: &S) {
        // No timer needs an object yet; the parameter keeps the inputs of the engine uniform.
        let _ = store;
        self.answer_due(now);
        self.follow_up(now);
        self.probe_again(now);
        self.advance_fetches(now);
        self.update_own_address(now);
        self.advertise_due(now);
        self.egress.expire(now, &mut self.stats);
        for _ in 0..self.incoming.expire(now) {
            self.stats.drop(DropReason::IncomingFull);
        }
        if self.next_check <= now {
            self.next_check = now + self.config.peer_timeout_interval.max(MIN_CHECK_INTERVAL);
            self.check_peers(now);
            self.expire(now);
        }
        if self.bootstrap_at().is_some_and(|at| at <= now) {
            self.next_bootstrap = now + self.config.bootstrap_retry_interval;
            for seed in self.all_seeds() {
                self.contact_seed(now, seed);
            }
        }
    }

    /// Sends a handshake to a seed that is not a validated peer. The interval is configured and may
    /// be shorter than [`CONTACT_INTERVAL`].
    fn contact_seed(&mut self, now: Instant, seed: SocketAddr) {
        let may = self.is_contacted(now, &seed) || self.may_contact(now, seed, None);
        if may && !self.is_own_address(seed) {
            self.contact_again(now, seed);
        }
    }

    fn expire(&mut self, now: Instant) {
        self.credits.expire(now);
        self.contacts.expire(now);
        self.solicited.expire(now);
        self.referrers.expire(now);
        self.handshakes.expire(now);
        self.marked.expire(now);
        self.redirects.expire(now);
        self.providers.expire(now);
    }

    /// Removes, probes and pings peers as their silence requires, and searches for more peers while
    /// there are few.
    fn check_peers(&mut self, now: Instant) {
        let actions: Vec<(PublicKey, MaintenanceAction)> = self
            .peers
            .iter()
            .filter_map(|(key, peer)| Some((*key, self.maintenance_action(now, peer)?)))
            .collect();
        for (key, action) in actions {
            match action {
                MaintenanceAction::Remove(reason) => self.remove_peer(&key, reason),
                MaintenanceAction::KeepAlive => self.keep_alive(now, &key),
                MaintenanceAction::Ping => {
                    self.send_ping(now, &key);
                    self.send_chain_identity(now, &key);
                }
            }
        }
        if self.config.chain_identity.is_some() {
            self.ask_for_blocks(now);
        }
        if self.peers.registered() < WANTED_PEERS {
            self.contact_missing_seeds(now);
            let validated = self.peers.iter().filter(|(_, peer)| peer.is_validated);
            let keys: Vec<PublicKey> = validated.map(|(key, _)| *key).collect();
            for key in keys {
                self.ask_routes(now, &key);
            }
        }
    }

    /// Asks validated peers of this implementation for missing blocks.
    fn ask_for_blocks(&mut self, now: Instant) {
        let ours = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.is_validated && peer.is_ours);
        let keys: Vec<PublicKey> = ours.map(|(key, _)| *key).collect();
        for key in keys {
            self.ask_for_block(now, &key);
        }
    }

    /// Contacts seeds that are not peers, once per [`SEED_INTERVAL`] or more often while peers are
    /// few. A node without validated peers bootstraps instead.
    fn contact_missing_seeds(&mut self, now: Instant) {
        if self.peers.validated() == 0
            || now.since(self.seeds_contacted_at) < self.paced(SEED_INTERVAL)
        {
            return;
        }
        self.seeds_contacted_at = now;
        for seed in self.all_seeds() {
            if !self.peers.is_validated_address(&seed) {
                self.contact_seed(now, seed);
            }
        }
    }

    /// Returns `interval`, or a fraction of it while there are fewer than [`FEW_PEERS`] registered
    /// peers.
    pub(super) fn paced(&self, interval: Duration) -> Duration {
        if self.peers.registered() < FEW_PEERS {
            interval / FEW_PEERS_DIVISOR
        } else {
            interval
        }
    }

    /// Returns the action that is due for a peer, if any.
    fn maintenance_action(
        &self,
        now: Instant,
        peer: &super::peers::Peer,
    ) -> Option<MaintenanceAction> {
        let silence = now.since(peer.last_heard);
        if !peer.is_registered {
            return (silence >= UNREGISTERED_TIMEOUT)
                .then_some(MaintenanceAction::Remove(RemoveReason::TimedOut));
        }
        let timeout = self.config.peer_timeout;
        if !timeout.is_zero() && !peer.is_validated {
            // It cannot be validated: its address may be forged, and is not contacted.
            if silence >= timeout {
                return Some(MaintenanceAction::Remove(RemoveReason::TimedOut));
            }
        } else if !timeout.is_zero() {
            // A peer is removed only after it was probed and had time to answer.
            let grace = PROBE_INTERVAL.min(timeout / 4);
            let is_asked = peer.kept_alive_at.is_some_and(|at| now.since(at) >= grace);
            if silence >= timeout && is_asked {
                return Some(MaintenanceAction::Remove(RemoveReason::TimedOut));
            }
            let pause = CONTACT_INTERVAL.min(timeout / 4);
            let is_resting = peer.kept_alive_at.is_some_and(|at| now.since(at) < pause);
            if silence >= timeout / 2 && !is_resting {
                return Some(MaintenanceAction::KeepAlive);
            }
        }
        let pause = self.paced(PING_INTERVAL);
        let interval = if timeout.is_zero() {
            pause
        } else {
            pause.min(timeout / 3)
        };
        (now.since(peer.pinged_at) >= interval).then_some(MaintenanceAction::Ping)
    }

    /// Asks a silent peer for a sign of life. A reference node never answers a ping, but answers a
    /// handshake and a probe. A node of this implementation answers the probe.
    fn keep_alive(&mut self, now: Instant, key: &PublicKey) {
        let Some(peer) = self.peers.get_mut(key) else {
            return;
        };
        peer.kept_alive_at = Some(now);
        let address = peer.address;
        self.send_handshake(now, address);
        if self.may_ask(key) {
            self.send_probe(now, key, address, (super::limits::MAX_PROBES, false));
        }
        self.send_ping(now, key);
    }
}
