//! Our own address, as peers report it.
//!
//! Each answer to a probe and each "not here" contains the address at which the answering peer
//! observes us. Only reports of currently validated peers count: a vote belongs to one peer, is
//! removed with the peer, and expires after [`ADDRESS_VOTE_LIFETIME`]; the peers of one network
//! group have one vote together. Old votes are renewed by asking, a few network groups at a time,
//! so that a change of our address is detected by votes for the new one and not by the absence of
//! votes for the old one. A peer is asked at its own address, whatever other addresses are probed in
//! its name.
//!
//! Voters at public addresses decide as long as there are any: an address observed from the local
//! network is of no use outside it. Without them the local network decides, and each of its
//! addresses is a group.
//!
//! The address changes from one to another at most once per [`ADDRESS_CHANGE_INTERVAL`]: peers may
//! change their reports at will, and every change is sent to other peers.
//!
//! Without IPv6 (`use_ipv6`) reports of an IPv6 address do not count.
//!
//! The port is the one that we announce in our packet headers, so only the IP address is voted on.

use super::address::is_referral_allowed;
use super::allowance::{Allowance, Destination};
use super::config::EngineConfig;
use super::limits::{
    ADDRESS_CHANGE_INTERVAL, ADDRESS_COUNT_DELAY, ADDRESS_VOTE_LIFETIME, ADDRESS_VOTE_RENEWAL,
    ADDRESS_VOTES_RENEWED, ADDRESS_VOTES_RENEWED_AT_REST, MAX_PROBES, RENEWAL_INTERVAL,
};
use super::peers::{Peer, Peers};
use super::{Engine, Event, Source};
use crate::crypto::PublicKey;
use crate::time::Instant;
use crate::wire::network_group::NetworkGroup;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;

/// A peer's report of our address.
#[derive(Clone, Copy, Debug)]
struct Vote {
    group: NetworkGroup,
    seen: IpAddr,
    at: Instant,
}

/// Votes of peers on our own address.
#[derive(Debug)]
pub(super) struct OwnAddress {
    /// Address of the configuration, which votes do not change.
    configured: Option<SocketAddr>,
    /// `true` if the host's socket supports IPv6. Otherwise nothing reaches us there.
    use_ipv6: bool,
    /// Port that the host has bound.
    port: u16,
    /// Votes of currently validated peers, so no more than there are peers.
    votes: BTreeMap<PublicKey, Vote>,
    learned: Option<IpAddr>,
    /// Time at which the votes are to be counted again.
    count_at: Option<Instant>,
    /// Time of the last change from one address to another.
    changed_at: Option<Instant>,
    /// Latest time that was passed in.
    latest: Instant,
    /// Time of the next renewal of old votes.
    renew_at: Instant,
}

impl OwnAddress {
    pub(super) fn new(now: Instant, config: &EngineConfig) -> Self {
        Self {
            configured: config.advertised_address,
            use_ipv6: config.use_ipv6,
            port: config.incoming_port,
            votes: BTreeMap::new(),
            learned: None,
            count_at: None,
            changed_at: None,
            latest: now,
            renew_at: now + RENEWAL_INTERVAL,
        }
    }

    /// Returns the time of the next action.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let renewal = (!self.votes.is_empty()).then_some(self.renew_at);
        [self.count_at, renewal].into_iter().flatten().min()
    }

    /// Returns the address at which peers reach us: the configured one, else the learned one.
    pub(super) fn advertised(&self) -> Option<SocketAddr> {
        let learned = self.learned.map(|ip| SocketAddr::new(ip, self.port));
        self.configured.or(learned)
    }

    /// Returns whether an address is our advertised one, or loopback with our own port.
    pub(super) fn is_own(&self, address: SocketAddr) -> bool {
        let is_local_host = address.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST)
            || address.ip() == IpAddr::V6(Ipv6Addr::LOCALHOST);
        let is_loopback = is_local_host && address.port() == self.port;
        is_loopback || self.advertised() == Some(address)
    }

    /// Counts the votes if that is due. If the address has changed and none is configured, returns
    /// it, and whether there was none before.
    pub(super) fn update(&mut self, now: Instant) -> Option<(SocketAddr, bool)> {
        let is_first = self.learned.is_none();
        let ip = self.count(now)?;
        let address = SocketAddr::new(ip, self.port);
        self.configured.is_none().then_some((address, is_first))
    }

    /// Removes expired votes if that is due. Returns the peers to ask for their votes again: one
    /// each of a few network groups of the routing table whose votes are old, the oldest first; of
    /// more of them while recent votes differ from the learned address. The other votes come with the
    /// answers of peers that are kept alive.
    pub(super) fn renew(&mut self, now: Instant, peers: &Peers) -> Vec<PublicKey> {
        if self.renew_at > now {
            return Vec::new();
        }
        self.renew_at = now + RENEWAL_INTERVAL;
        self.expire(now, peers);
        if self.configured.is_some() {
            return Vec::new();
        }
        let voted_at = |key: &PublicKey| {
            let vote = self.votes.get(key);
            vote.map_or(Instant::ZERO, |vote| vote.at)
        };
        /// Time of the newest vote of a network group, and the peer whose own vote is the oldest.
        type Standing = (Instant, (Instant, PublicKey));
        let mut groups: BTreeMap<NetworkGroup, Standing> = BTreeMap::new();
        // A peer that is asked is kept, so those are asked that are kept anyway. One that does not
        // answer must not take the place of others in each round.
        let is_asked = |peer: &Peer| {
            let probe = peer.own_probe();
            probe.is_some_and(|probe| now.since(probe.sent_at) < ADDRESS_VOTE_RENEWAL)
        };
        let may_be_asked = |key: &PublicKey, peer: &Peer| {
            peer.is_validated && is_kept(peers, key) && !is_asked(peer)
        };
        for (key, peer) in peers.iter().filter(|(key, peer)| may_be_asked(key, peer)) {
            let own = (voted_at(key), *key);
            let (newest, oldest) = groups.entry(peer.group()).or_insert((own.0, own));
            *newest = own.0.max(*newest);
            *oldest = own.min(*oldest);
        }
        let mut due: Vec<Standing> = groups
            .into_values()
            .filter(|(newest, _)| now.since(*newest) >= ADDRESS_VOTE_RENEWAL)
            .collect();
        due.sort_unstable();
        let most = if self.is_disputed(now) {
            ADDRESS_VOTES_RENEWED
        } else {
            ADDRESS_VOTES_RENEWED_AT_REST
        };
        let due = due.into_iter().take(most);
        due.map(|(_, (_, key))| key).collect()
    }

    /// Records the address at which a peer observes us, if the peer is validated where the answer
    /// came from. Returns whether the vote counts.
    pub(super) fn note(
        &mut self,
        now: Instant,
        (source, peer): (&Source, &Peer),
        seen: SocketAddr,
    ) -> bool {
        let counts = peer.is_validated_at(&source.address)
            && is_referral_allowed(source.address.ip(), seen)
            && (self.use_ipv6 || seen.is_ipv4());
        if counts {
            let vote = Vote {
                group: peer.group(),
                seen: seen.ip(),
                at: now,
            };
            self.vote(now, source.key, vote);
        }
        counts
    }

    /// Records the vote of a validated peer.
    fn vote(&mut self, now: Instant, key: PublicKey, vote: Vote) {
        let before = self.votes.insert(key, vote);
        let is_same =
            before.is_some_and(|before| (before.group, before.seen) == (vote.group, vote.seen));
        self.latest = now;
        if !is_same {
            self.schedule_count();
        }
    }

    /// Removes the vote of a peer that is gone or has moved.
    pub(super) fn withdraw(&mut self, key: &PublicKey) {
        if self.votes.remove(key).is_some() {
            self.schedule_count();
        }
    }

    fn schedule_count(&mut self) {
        // The first vote counts at once, further ones together.
        let delay = self.learned.map_or(Duration::ZERO, |_| ADDRESS_COUNT_DELAY);
        self.count_at.get_or_insert(self.latest + delay);
    }

    /// Counts the votes if that is due; returns the address if it has changed.
    fn count(&mut self, now: Instant) -> Option<IpAddr> {
        self.latest = now;
        self.count_at.take_if(|at| *at <= now)?;
        let elected = self.elect(now).filter(|ip| self.learned != Some(*ip))?;
        if self.learned.is_some() {
            let free_at = self.changed_at.map(|at| at + ADDRESS_CHANGE_INTERVAL);
            if let Some(free_at) = free_at.filter(|at| *at > now) {
                // Votes that change at will must not change the address at will.
                self.count_at = Some(free_at);
                return None;
            }
            self.changed_at = Some(now);
        }
        self.learned = Some(elected);
        Some(elected)
    }

    /// Returns the address that most network groups report; the report of a group is the most
    /// frequent one of its peers, the newest if there are several.
    fn elect(&self, now: Instant) -> Option<IpAddr> {
        let has_public = self.votes.values().any(|vote| !vote.group.is_local());
        let voters = self.votes.values().filter(|vote| {
            let is_old = now.since(vote.at) > ADDRESS_VOTE_LIFETIME;
            !is_old && (!has_public || !vote.group.is_local())
        });
        let mut by_group: BTreeMap<(NetworkGroup, IpAddr), (usize, Instant)> = BTreeMap::new();
        for vote in voters {
            let (count, latest) = by_group
                .entry((vote.group, vote.seen))
                .or_insert((0, vote.at));
            *count += 1;
            *latest = vote.at.max(*latest);
        }
        let mut of_group: BTreeMap<NetworkGroup, ((usize, Instant), IpAddr)> = BTreeMap::new();
        for ((group, seen), weight) in by_group {
            let most = of_group.entry(group).or_insert((weight, seen));
            *most = (*most).max((weight, seen));
        }
        let mut counts: BTreeMap<IpAddr, usize> = BTreeMap::new();
        for (_, seen) in of_group.into_values() {
            *counts.entry(seen).or_insert(0) += 1;
        }
        let most = counts
            .into_iter()
            // In a tie the address stays as it is.
            .max_by_key(|(seen, count)| (*count, self.learned == Some(*seen), *seen));
        most.map(|(seen, _)| seen)
    }

    /// Returns whether recent votes of several network groups name another address than the learned
    /// one.
    fn is_disputed(&self, now: Instant) -> bool {
        let recent = self.votes.values();
        let recent = recent.filter(|vote| now.since(vote.at) < ADDRESS_VOTE_RENEWAL);
        let mut others = recent
            .filter(|vote| self.learned.is_some_and(|ip| ip != vote.seen))
            .map(|vote| vote.group);
        let first = others.next();
        first.is_some_and(|first| others.any(|group| group != first))
    }

    /// Removes expired votes: those of peers that are not asked again expire when they would be.
    fn expire(&mut self, now: Instant, peers: &Peers) {
        let before = self.votes.len();
        self.votes.retain(|key, vote| {
            let lifetime = if is_kept(peers, key) {
                ADDRESS_VOTE_LIFETIME
            } else {
                ADDRESS_VOTE_RENEWAL
            };
            now.since(vote.at) <= lifetime
        });
        if self.votes.len() < before {
            self.schedule_count();
        }
    }
}

/// Returns whether a peer is kept alive anyway: it is in the routing table, or a reference node.
fn is_kept(peers: &Peers, key: &PublicKey) -> bool {
    let is_ours = peers.get(key).is_some_and(|peer| peer.is_ours);
    !is_ours || peers.table.get(key).is_some()
}

impl Engine {
    /// Returns the address at which peers reach us: the configured one, else the learned one.
    #[must_use]
    pub fn advertised_address(&self) -> Option<SocketAddr> {
        self.own_address.advertised()
    }

    /// Returns the private address that most validated peers share, if there are at least
    /// [`SHARED_ADDRESS_PEERS`](super::limits::SHARED_ADDRESS_PEERS): a NAT or a bridge in front of
    /// us hides the origin of packets, so that limits cannot count by network.
    #[must_use]
    pub fn shared_private_address(&self) -> Option<IpAddr> {
        self.peers.shared_private_address()
    }

    /// Records the address at which a peer observes us.
    pub(super) fn note_own_address(&mut self, now: Instant, source: &Source, seen: SocketAddr) {
        if let Some(peer) = self.peers.get(&source.key)
            && self.own_address.note(now, (source, peer), seen)
        {
            self.count_votes(now);
        }
    }

    fn count_votes(&mut self, now: Instant) {
        if let Some((address, is_first)) = self.own_address.update(now) {
            self.out.report(Event::AddressLearned(address));
            let repeats = !self.config.storage_index_interval.is_zero();
            self.advertisements.address_changed(now, is_first, repeats);
        }
    }

    /// Counts votes and renews old ones, if that is due.
    pub(super) fn update_own_address(&mut self, now: Instant) {
        for key in self.own_address.renew(now, &self.peers) {
            let Some(peer) = self.peers.get(&key).filter(|_| self.peers.may_ask(&key)) else {
                continue;
            };
            let (address, is_ours) = (peer.address, peer.is_ours);
            if !is_ours {
                // A reference node names the address that our last handshake came from.
                self.out.handshake(now, (address, Allowance::Validated));
            }
            let to = Destination::validated(key, address);
            self.send_probe(now, to, (MAX_PROBES, false));
        }
        self.count_votes(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::SecretKey;

    fn ip(n: u8) -> IpAddr {
        [60, 1, 1, n].into()
    }

    fn vote(votes: &mut OwnAddress, now: Instant, voter: u8, seen: u8) {
        let vote = Vote {
            group: NetworkGroup::of([voter, 1, 1, 1].into()),
            seen: ip(seen),
            at: now,
        };
        votes.vote(now, PublicKey::new([voter; 32]), vote);
    }

    #[test]
    fn most_groups_decide_and_the_address_changes_once_per_interval() {
        let config = EngineConfig::new(SecretKey::from_bytes([1; 32]), 7);
        let start = Instant::from_secs(10_000);
        let mut votes = OwnAddress::new(start, &config);
        assert_eq!((votes.advertised(), votes.update(start)), (None, None));
        vote(&mut votes, start, 20, 1);
        let first = SocketAddr::new(ip(1), 7);
        assert_eq!(votes.update(start), Some((first, true)));
        assert!(votes.is_own(first) && !votes.is_own(SocketAddr::new(ip(1), 8)));
        let mut now = start;
        for (round, seen) in [(0, 2), (1, 3)] {
            for voter in 20..25 {
                vote(&mut votes, now, voter, seen);
            }
            now = now + ADDRESS_COUNT_DELAY;
            let changed = votes.update(now);
            assert_eq!(changed.is_some(), round == 0, "{changed:?}");
        }
        assert_eq!(votes.advertised(), Some(SocketAddr::new(ip(2), 7)));
        let free_at = votes.deadline().unwrap().max(now);
        assert!(
            votes
                .update(start + ADDRESS_COUNT_DELAY + ADDRESS_CHANGE_INTERVAL)
                .is_some()
        );
        assert!(free_at > now || votes.advertised() == Some(SocketAddr::new(ip(3), 7)));
    }

    #[test]
    fn configured_address_is_not_changed_by_votes() {
        let mut config = EngineConfig::new(SecretKey::from_bytes([1; 32]), 7);
        let configured = SocketAddr::from(([9, 9, 9, 9], 80));
        config.advertised_address = Some(configured);
        let mut votes = OwnAddress::new(Instant::ZERO, &config);
        vote(&mut votes, Instant::ZERO, 20, 1);
        assert_eq!(votes.update(Instant::ZERO), None);
        assert_eq!(votes.advertised(), Some(configured));
        assert!(votes.is_own(configured) && !votes.is_own(SocketAddr::new(ip(1), 7)));
        assert!(votes.is_own(([127, 0, 0, 1], 7).into()), "loopback");
    }
}
