//! Periodic maintenance: peer timeouts, seed retries, record expiry.

use super::allowance::{Allowance, Destination};
use super::limits::{CONTACT_INTERVAL, PING_INTERVAL, PROBE_INTERVAL, SEED_INTERVAL, WANTED_PEERS};
use super::peers::Peer;
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

impl MaintenanceAction {
    /// Returns the action that is due for a peer, if any. Registered peers are pinged once per
    /// `pause`, and evicted after `timeout` without a sign of life unless that is zero.
    fn of(now: Instant, peer: &Peer, timeout: Duration, pause: Duration) -> Option<Self> {
        let silence = now.since(peer.last_heard);
        if !peer.is_registered {
            return (silence >= UNREGISTERED_TIMEOUT)
                .then_some(Self::Remove(RemoveReason::TimedOut));
        }
        if !timeout.is_zero() && !peer.is_validated {
            // It cannot be validated: its address may be forged, and is not contacted.
            if silence >= timeout {
                return Some(Self::Remove(RemoveReason::TimedOut));
            }
        } else if !timeout.is_zero() {
            // A peer is removed only after it was probed and had time to answer.
            let grace = PROBE_INTERVAL.min(timeout / 4);
            let is_asked = peer.kept_alive_at.is_some_and(|at| now.since(at) >= grace);
            if silence >= timeout && is_asked {
                return Some(Self::Remove(RemoveReason::TimedOut));
            }
            let rest = CONTACT_INTERVAL.min(timeout / 4);
            let is_resting = peer.kept_alive_at.is_some_and(|at| now.since(at) < rest);
            if silence >= timeout / 2 && !is_resting {
                return Some(Self::KeepAlive);
            }
        }
        let interval = if timeout.is_zero() {
            pause
        } else {
            pause.min(timeout / 3)
        };
        (now.since(peer.pinged_at) >= interval).then_some(Self::Ping)
    }
}

impl Engine {
    /// Sets the resolved addresses of the seeds, at most [`MAX_SEEDS`](super::limits::MAX_SEEDS) of each kind, and contacts
    /// new ones at once. May be called again: the pin of the default seed stays.
    pub fn set_seeds(&mut self, now: Instant, default: &[SocketAddr], additional: &[SocketAddr]) {
        for seed in self.seeds.set(now, default, additional) {
            self.connect(now, seed);
        }
    }

    /// Sends a handshake to an address, unless one was sent of our own accord within
    /// [`CONTACT_INTERVAL`]. An address that does not answer is contacted again, at the latest
    /// after that time.
    pub fn connect(&mut self, now: Instant, address: SocketAddr) {
        let address = super::address::canonical(address);
        if !self.own_address.is_own(address) && self.may_contact(now, address, None) {
            let ids = &mut self.validation.ids;
            self.contacts.contact(now, address, ids, &mut self.out);
        }
    }

    /// Removes a peer; returns `false` if no peer has this key.
    pub fn disconnect(&mut self, key: &PublicKey) -> bool {
        let is_known = self.peers.get(key).is_some();
        self.remove_peer(key, RemoveReason::Disconnected);
        is_known
    }

    /// Removes a peer and drops its packets until [`Engine::unban`]; returns `false` if the peer
    /// was not known. If there are [`MAX_BANS`](super::limits::MAX_BANS) bans, the one of the lowest key ends.
    pub fn ban(&mut self, key: PublicKey) -> bool {
        self.inbound.ban(key);
        self.disconnect(&key)
    }

    /// Ends a ban; returns `false` if the key was not banned.
    pub fn unban(&mut self, key: &PublicKey) -> bool {
        self.inbound.unban(key)
    }

    /// Returns the keys of banned peers.
    pub fn banned(&self) -> impl Iterator<Item = &PublicKey> {
        self.inbound.banned()
    }

    /// Returns the time at which [`Engine::handle_timeout`] is due if nothing else happens before.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let deadlines = [
            Some(self.next_check),
            self.bootstrap_at(),
            self.validation.deadline(),
            self.handshakes.deadline(),
            self.fetches.deadline(),
            self.advertisements.deadline(),
            self.own_address.deadline(),
            self.contacts.solicited.deadline(),
            self.out.egress.deadline(),
            self.inbound.deadline(),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Returns the time of the next attempt to reach the seeds, or `None` if there is a validated
    /// peer. Unvalidated peers may not exist, and must not keep us from the seeds.
    fn bootstrap_at(&self) -> Option<Instant> {
        let is_alone = self.peers.validated() == 0;
        self.seeds.bootstrap_at().filter(|_| is_alone)
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
        self.out.egress.expire(now, &mut self.out.stats);
        for _ in 0..self.inbound.expire(now) {
            self.out.drop(DropReason::IncomingFull);
        }
        if self.next_check <= now {
            self.next_check = now + self.config.peer_timeout_interval.max(MIN_CHECK_INTERVAL);
            self.check_peers(now);
            self.expire(now);
        }
        if self.peers.validated() == 0 {
            for seed in self.seeds.bootstrap(now) {
                self.contact_seed(now, seed);
            }
        }
    }

    /// Sends a handshake to a seed that is not a validated peer. The interval is configured and may
    /// be shorter than [`CONTACT_INTERVAL`].
    fn contact_seed(&mut self, now: Instant, seed: SocketAddr) {
        let may = self.contacts.has(now, &seed) || self.may_contact(now, seed, None);
        if may && !self.own_address.is_own(seed) {
            let to = (seed, self.peers.own_share());
            let ids = &mut self.validation.ids;
            self.contacts.contact_again(now, to, ids, &mut self.out);
        }
    }

    fn expire(&mut self, now: Instant) {
        self.out.credits.expire(now);
        self.contacts.expire(now);
        self.handshakes.expire(now);
        self.objects.expire(now);
    }

    /// Removes, probes and pings peers as their silence requires, and searches for more peers while
    /// there are few.
    fn check_peers(&mut self, now: Instant) {
        let timeout = self.config.peer_timeout;
        let pause = self.peers.paced(PING_INTERVAL);
        let actions: Vec<(PublicKey, MaintenanceAction)> = self
            .peers
            .iter()
            .filter_map(|(key, peer)| {
                Some((*key, MaintenanceAction::of(now, peer, timeout, pause)?))
            })
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
        if self.has_block() {
            for key in self.peers.validated_where(|peer| peer.is_ours) {
                self.ask_for_block(now, &key);
            }
        }
        if self.peers.registered() < WANTED_PEERS {
            self.contact_missing_seeds(now);
            for key in self.peers.validated_where(|_| true) {
                self.ask_routes(now, &key);
            }
        }
    }

    /// Contacts seeds that are not peers, once per [`SEED_INTERVAL`] or more often while peers are
    /// few. A node without validated peers bootstraps instead.
    fn contact_missing_seeds(&mut self, now: Instant) {
        if self.peers.validated() == 0 {
            return;
        }
        let interval = self.peers.paced(SEED_INTERVAL);
        for seed in self.seeds.refresh(now, interval) {
            if !self.peers.is_validated_address(&seed) {
                self.contact_seed(now, seed);
            }
        }
    }

    /// Asks a silent peer for a sign of life. A reference node never answers a ping, but answers a
    /// handshake and a probe. A node of this implementation answers the probe.
    fn keep_alive(&mut self, now: Instant, key: &PublicKey) {
        let Some(peer) = self.peers.get_mut(key) else {
            return;
        };
        peer.kept_alive_at = Some(now);
        let address = peer.address;
        // Only validated peers are kept alive.
        self.out.handshake(now, (address, Allowance::Validated));
        if self.peers.may_ask(key) {
            let to = Destination::validated(*key, address);
            self.send_probe(now, to, (super::limits::MAX_PROBES, false));
        }
        self.send_ping(now, key);
    }
}
