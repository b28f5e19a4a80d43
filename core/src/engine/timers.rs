//! Periodic maintenance: peer timeouts, seed retries, record expiry.
//!
//! A peer is *needed* if the routing table has a place for it, it is a validator, a seed or a
//! reference node, objects were requested from it by stream lately, no more than [`WANTED_PEERS`]
//! are registered, or it is one of no more than as many *independent* peers: those that count if a
//! network counts for a few only ([`super::peers`]). A needed node of this implementation is asked
//! for a sign of life once neither side has requested anything from the other for half of the peer
//! timeout; the request is a sign of life of ours at the peer, so one exchange serves both. A peer
//! that is not needed is sent nothing at rest, and removed once it has been unused for the peer
//! timeout: as long as it needs us, it asks us. Pings inform a node of this implementation of
//! changes, and are repeated at intervals that grow, or once if it is not needed but has asked
//! since; a reference node counts nothing else as a sign of life, and is sent them at a fixed
//! interval.

use super::allowance::{Allowance, Destination};
use super::limits::{
    CONTACT_INTERVAL, FEW_PEERS, MAX_PING_INTERVAL, MAX_PROBES, PING_INTERVAL, PROBE_INTERVAL,
    REPLAY_WINDOW_LIFETIME, SEED_INTERVAL, WANTED_PEERS,
};
use super::peers::{Peer, Probe};
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

/// Values that the actions for all peers depend on.
#[derive(Clone, Copy)]
struct Pace {
    /// Silence after which a peer is evicted; zero evicts none.
    timeout: Duration,
    /// Shortest interval between two pings of the same content.
    ping_interval: Duration,
    /// `true` if that interval grows.
    grows: bool,
    /// Difficulty that our pings require at present.
    difficulty: u8,
}

impl Pace {
    /// Returns the interval between two pings to a peer.
    fn ping_interval(&self, peer: &Peer) -> Duration {
        let least = if self.timeout.is_zero() {
            self.ping_interval
        } else {
            self.ping_interval.min(self.timeout / 3)
        };
        // The difficulty changes without a ping.
        let is_current = peer.sent_difficulty == self.difficulty;
        if !peer.is_ours || !self.grows || !is_current {
            return least;
        }
        let doublings = u32::from(peer.pings.saturating_sub(1)).min(16);
        least
            .saturating_mul(1 << doublings)
            .min(MAX_PING_INTERVAL.max(least))
    }
}

impl MaintenanceAction {
    /// Returns the action that is due for a peer, if any. Registered peers are pinged, and evicted
    /// after the timeout without a sign of life unless that is zero.
    fn of(now: Instant, peer: &Peer, is_needed: bool, pace: &Pace) -> Option<Self> {
        let silence = now.since(peer.last_heard);
        if !peer.is_registered {
            return (silence >= UNREGISTERED_TIMEOUT)
                .then_some(Self::Remove(RemoveReason::TimedOut));
        }
        let timeout = pace.timeout;
        if timeout.is_zero() {
            // No peer is evicted.
        } else if !peer.is_validated {
            // It cannot be validated: its address may be forged, and is not contacted.
            if silence >= timeout {
                return Some(Self::Remove(RemoveReason::TimedOut));
            }
        } else if !is_needed {
            if now.since(peer.used_at) >= timeout {
                return Some(Self::Remove(RemoveReason::Unused));
            }
        } else {
            // A peer is removed only after it was probed and had time to answer.
            let grace = PROBE_INTERVAL.min(timeout / 4);
            let is_asked = peer.kept_alive_at.is_some_and(|at| now.since(at) >= grace);
            if silence >= timeout && is_asked {
                return Some(Self::Remove(RemoveReason::TimedOut));
            }
            if Self::is_sign_of_life_due(now, peer, silence, timeout) {
                return Some(Self::KeepAlive);
            }
        }
        // Neither side asks for a ping that is lost. A peer that needs us is to have our news.
        let is_news = peer.pings < 2 && peer.used_at > peer.pinged_at;
        let may_ping = is_needed || is_news || peer.sent_difficulty != pace.difficulty;
        let is_due = may_ping && now.since(peer.pinged_at) >= pace.ping_interval(peer);
        is_due.then_some(Self::Ping)
    }

    /// Returns whether a needed peer is to be asked for a sign of life: if it is silent, or shows by
    /// pings alone that it is there, which does not show that it still knows us.
    fn is_sign_of_life_due(
        now: Instant,
        peer: &Peer,
        silence: Duration,
        timeout: Duration,
    ) -> bool {
        if silence >= timeout / 2 {
            let rest = CONTACT_INTERVAL.min(timeout / 4);
            return peer.kept_alive_at.is_none_or(|at| now.since(at) >= rest);
        }
        // It may have been lost: a peer that answers none is not asked at every check.
        let is_asked = |probe: &Probe| now.since(probe.sent_at) < timeout / 4;
        peer.is_ours
            && now.since(peer.used_at) >= timeout / 2
            && !peer.own_probe().is_some_and(is_asked)
    }
}

impl Engine {
    /// Sets the resolved addresses of the seeds, at most [`MAX_SEEDS`](super::limits::MAX_SEEDS) of
    /// each kind, and contacts new ones at once. May be called again: the pin of the default seed stays.
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
    /// was not known. If there are [`MAX_BANS`](super::limits::MAX_BANS) bans, the oldest one ends.
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
        self.peers.count_independent();
        let pace = Pace {
            timeout: self.config.peer_timeout,
            ping_interval: self.peers.paced(PING_INTERVAL),
            grows: self.peers.independent() >= FEW_PEERS,
            difficulty: self.inbound.required_difficulty(),
        };
        let actions: Vec<(PublicKey, MaintenanceAction)> = self
            .peers
            .iter()
            .filter_map(|(key, peer)| {
                let is_needed = self.needs(now, key, peer);
                let action = MaintenanceAction::of(now, peer, is_needed, &pace)?;
                Some((*key, action))
            })
            .collect();
        let mut unused: Vec<(Instant, PublicKey, bool)> = Vec::new();
        for (key, action) in actions {
            match action {
                MaintenanceAction::Remove(RemoveReason::Unused) => {
                    let peer = self.peers.get(&key);
                    unused.extend(peer.map(|peer| (peer.used_at, key, peer.is_independent)));
                }
                MaintenanceAction::Remove(reason) => self.remove_peer(&key, reason),
                MaintenanceAction::KeepAlive => self.keep_alive(now, &key),
                MaintenanceAction::Ping => {
                    self.send_ping(now, &key);
                    self.send_chain_identity(now, &key);
                }
            }
        }
        unused.sort_unstable();
        // Neither of all peers nor of the independent ones are fewer kept than are wanted.
        let excess = |count: usize| count.saturating_sub(WANTED_PEERS);
        let of_all = excess(self.peers.registered());
        let mut of_independent = excess(self.peers.independent());
        let unused = unused.into_iter().filter(|(_, _, is_independent)| {
            let is_excess = !is_independent || of_independent > 0;
            of_independent -= usize::from(*is_independent && is_excess);
            is_excess
        });
        for (_, key, _) in unused.take(of_all) {
            self.remove_peer(&key, RemoveReason::Unused);
        }
        for (_, peer) in self.peers.iter_mut() {
            if now.since(peer.last_heard) >= REPLAY_WINDOW_LIFETIME {
                peer.replay.close();
            }
        }
        if self.has_block() {
            for key in self.peers.validated_where(|peer| peer.is_ours) {
                self.ask_for_block(now, &key);
            }
        }
        self.contact_missing_seeds(now);
        if self.peers.independent() < WANTED_PEERS {
            let are_few = self.peers.registered() < WANTED_PEERS;
            let asked = |peer: &Peer| are_few || peer.is_independent;
            for key in self.peers.validated_where(asked) {
                self.ask_routes(now, &key);
            }
        }
    }

    /// Returns whether a peer is needed, see the [module](self).
    fn needs(&self, now: Instant, key: &PublicKey, peer: &Peer) -> bool {
        let streamed = peer.streamed_at.map(|at| now.since(at));
        !peer.is_ours
            || peer.is_validator
            || self.peers.registered() <= WANTED_PEERS
            || peer.is_independent && self.peers.independent() <= WANTED_PEERS
            || streamed.is_some_and(|since| since < self.config.peer_timeout)
            || self.peers.table.get(key).is_some()
            || peer.is_seed(key, &self.seeds)
    }

    /// Contacts seeds that are not peers, once per [`SEED_INTERVAL`] or more often while peers are
    /// few. However many there are, they may all be of one owner. A node without validated peers
    /// bootstraps instead.
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

    /// Asks a peer for a sign of life. A reference node never answers a ping, but answers a
    /// handshake and a probe. A node of this implementation answers the probe; it is sent the others
    /// only if it does not answer the first one.
    fn keep_alive(&mut self, now: Instant, key: &PublicKey) {
        let may_ask = self.peers.may_ask(key);
        let Some(peer) = self.peers.get_mut(key) else {
            return;
        };
        let is_first = peer.kept_alive_at.replace(now).is_none();
        let is_probe_enough = may_ask && peer.is_ours && is_first;
        let address = peer.address;
        if !is_first {
            // It may have missed pings.
            peer.pings = 0;
        }
        if !is_probe_enough {
            // Only validated peers are kept alive.
            self.out.handshake(now, (address, Allowance::Validated));
        }
        if may_ask {
            let to = Destination::validated(*key, address);
            self.send_probe(now, to, (MAX_PROBES, false));
        }
        if !is_probe_enough {
            self.send_ping(now, key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::SharedKey;

    #[test]
    fn ping_interval_grows_with_each_ping_and_shrinks_with_news() {
        let pace = Pace {
            timeout: Duration::from_secs(900),
            ping_interval: PING_INTERVAL,
            grows: true,
            difficulty: 1,
        };
        let address = SocketAddr::from(([9, 9, 9, 9], 9));
        let mut peer = Peer::new(Instant::ZERO, SharedKey::from_bytes([0; 32]), address);
        (peer.is_ours, peer.sent_difficulty) = (true, 1);
        let mut seconds = |pings: u8| {
            peer.pings = pings;
            pace.ping_interval(&peer).as_secs()
        };
        let grown: Vec<u64> = [0, 1, 2, 3, 4, 5, 6, 255].map(&mut seconds).into();
        assert_eq!(grown, [300, 300, 600, 1_200, 2_400, 3_600, 3_600, 3_600]);
        let few = Pace {
            grows: false,
            ..pace
        };
        assert_eq!(few.ping_interval(&peer), PING_INTERVAL);
        // A new difficulty is sent at the shortest interval.
        let busy = Pace {
            difficulty: 2,
            ..pace
        };
        assert_eq!(busy.ping_interval(&peer), PING_INTERVAL);
        peer.is_ours = false;
        assert_eq!(pace.ping_interval(&peer), PING_INTERVAL);
        let hasty = Pace {
            timeout: Duration::from_secs(60),
            ..pace
        };
        assert_eq!(hasty.ping_interval(&peer), Duration::from_secs(20));
    }
}
