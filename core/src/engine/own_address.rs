//! Our own address, as peers report it.
//!
//! Each answer to a probe and each "not here" contains the address at which the answering peer
//! observes us. Only reports of currently validated peers count: a vote belongs to one peer, is
//! removed with the peer, and expires after [`ADDRESS_VOTE_LIFETIME`]; the peers of one network
//! group have one vote together. Old votes are renewed by asking, a few network groups at a time,
//! so that a change of our address is detected by votes for the new one and not by the absence of
//! votes for the old one.
//!
//! Voters at public addresses decide as long as there are any: an address observed from the local
//! network is of no use outside it. Without them the local network decides, and each of its
//! addresses is a group.
//!
//! The address changes from one to another at most once per [`ADDRESS_CHANGE_INTERVAL`]: peers may
//! change their reports at will, and every change is sent to other peers.
//!
//! The port is the one that we announce in our packet headers, so only the IP address is voted on.

use super::address::is_referral_allowed;
use super::limits::{
    ADDRESS_CHANGE_INTERVAL, ADDRESS_COUNT_DELAY, ADDRESS_VOTE_LIFETIME, ADDRESS_VOTE_RENEWAL,
    ADDRESS_VOTES_RENEWED, MAX_PROBES, RENEWAL_INTERVAL, SHARED_ADDRESS_PEERS,
};
use super::{Engine, Event, Source};
use crate::crypto::PublicKey;
use crate::time::Instant;
use crate::wire::network_group::{NetworkGroup, Scope};
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
    pub(super) fn new(now: Instant) -> Self {
        Self {
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

    /// Returns the address at which most network groups observe us.
    pub(super) const fn learned(&self) -> Option<IpAddr> {
        self.learned
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

    /// Removes expired votes.
    fn expire(&mut self, now: Instant) {
        let before = self.votes.len();
        self.votes
            .retain(|_, vote| now.since(vote.at) <= ADDRESS_VOTE_LIFETIME);
        if self.votes.len() < before {
            self.schedule_count();
        }
    }
}

impl Engine {
    /// Returns the address at which peers reach us: the configured one, else the learned one.
    #[must_use]
    pub fn advertised_address(&self) -> Option<SocketAddr> {
        let learned = self.own_address.learned();
        let learned = learned.map(|ip| SocketAddr::new(ip, self.config.incoming_port));
        self.config.advertised_address.or(learned)
    }

    /// Returns the private address that most validated peers share, if there are at least
    /// [`SHARED_ADDRESS_PEERS`]: a NAT or a bridge in front of us hides the origin of packets, so
    /// that limits cannot count by network.
    #[must_use]
    pub fn shared_private_address(&self) -> Option<IpAddr> {
        let validated = self.peers.iter().filter(|(_, peer)| peer.is_validated);
        let mut counts: BTreeMap<IpAddr, usize> = BTreeMap::new();
        let mut all = 0;
        for (_, peer) in validated {
            all += 1;
            *counts.entry(peer.address.ip()).or_default() += 1;
        }
        let (ip, most) = counts.into_iter().max_by_key(|(_, count)| *count)?;
        let is_shared = all >= SHARED_ADDRESS_PEERS && 2 * most > all;
        (is_shared && Scope::of(ip) == Scope::Private).then_some(ip)
    }

    /// Returns whether an address is our advertised one, or loopback with our own port.
    pub(super) fn is_own_address(&self, address: SocketAddr) -> bool {
        let is_local_host = address.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST)
            || address.ip() == IpAddr::V6(Ipv6Addr::LOCALHOST);
        let is_loopback = is_local_host && address.port() == self.config.incoming_port;
        is_loopback || self.advertised_address() == Some(address)
    }

    /// Records the address at which a peer observes us, if the peer is validated where the answer
    /// came from.
    pub(super) fn note_own_address(&mut self, now: Instant, source: &Source, seen: SocketAddr) {
        let Some(peer) = self.peers.get(&source.key) else {
            return;
        };
        if !peer.is_validated_at(&source.address) || !is_referral_allowed(source.address.ip(), seen)
        {
            return;
        }
        let vote = Vote {
            group: peer.group(),
            seen: seen.ip(),
            at: now,
        };
        self.own_address.vote(now, source.key, vote);
        self.count_votes(now);
    }

    fn count_votes(&mut self, now: Instant) {
        let is_first = self.own_address.learned().is_none();
        let Some(ip) = self.own_address.count(now) else {
            return;
        };
        if self.config.advertised_address.is_none() {
            let address = SocketAddr::new(ip, self.config.incoming_port);
            self.push_event(Event::AddressLearned(address));
            self.advertise_address(now, is_first);
        }
    }

    /// Counts votes and renews old ones, if that is due.
    pub(super) fn update_own_address(&mut self, now: Instant) {
        if self.own_address.renew_at <= now {
            self.own_address.renew_at = now + RENEWAL_INTERVAL;
            self.own_address.expire(now);
            if self.config.advertised_address.is_none() {
                self.renew_votes(now);
            }
        }
        self.count_votes(now);
    }

    /// Asks one peer each of up to [`ADDRESS_VOTES_RENEWED`] network groups whose votes are old,
    /// the oldest first.
    fn renew_votes(&mut self, now: Instant) {
        let voted_at = |key: &PublicKey| {
            let vote = self.own_address.votes.get(key);
            vote.map_or(Instant::ZERO, |vote| vote.at)
        };
        /// Time of the newest vote of a network group, and the peer whose own vote is the oldest.
        type Standing = (Instant, (Instant, PublicKey));
        let mut groups: BTreeMap<NetworkGroup, Standing> = BTreeMap::new();
        for (key, peer) in self.peers.iter().filter(|(_, peer)| peer.is_validated) {
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
        for (_, (_, key)) in due.into_iter().take(ADDRESS_VOTES_RENEWED) {
            let Some(peer) = self.peers.get(&key).filter(|_| self.may_ask(&key)) else {
                continue;
            };
            let (address, is_ours) = (peer.address, peer.is_ours);
            if !is_ours {
                // A reference node names the address that our last handshake came from.
                self.send_handshake(now, address);
            }
            self.send_probe(now, &key, address, (MAX_PROBES, false));
        }
    }
}
