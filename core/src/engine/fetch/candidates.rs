//! Candidates of a fetch: selection and order of the peers that are asked.

use super::{AskedPeer, Fetches, Handle};
use crate::atom::AtomId;
use crate::crypto::PublicKey;
use crate::engine::limits::{
    FETCH_FANOUT, MAX_FETCH_ASKED, MAX_FETCH_HOPS, MAX_FETCH_NAMED, MAX_FETCH_PEERS,
    MAX_FETCH_PREFERRED, MAX_FETCH_TRIES,
};
use crate::engine::peers::Peers;
use crate::engine::providers::Providers;
use crate::engine::{Engine, Provider};
use crate::time::Instant;
use crate::wire::object::PayloadType;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

/// Reason why a peer is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reason {
    /// The caller prefers the peer.
    Preferred,
    /// The peer provides the object, is near to it, or was named by a referrer.
    Candidate,
    /// The peer is silent, and may have come back: it is not waited for.
    Trial,
}

/// A peer that may be asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    key: PublicKey,
    address: SocketAddr,
    hops: u8,
    /// Referrer that named the peer.
    referrer: Option<PublicKey>,
    reason: Reason,
}

impl Candidate {
    /// Creates a candidate for a known peer.
    const fn known(key: PublicKey, address: SocketAddr, reason: Reason) -> Self {
        Self {
            key,
            address,
            hops: 0,
            referrer: None,
            reason,
        }
    }

    /// Creates a candidate for the peer that has just sent a part of the wanted object.
    pub(super) const fn serving(key: PublicKey, address: SocketAddr) -> Self {
        Self::known(key, address, Reason::Preferred)
    }

    /// Creates a candidate for a peer that `referrer` named.
    pub(super) const fn named(
        key: PublicKey,
        address: SocketAddr,
        referrer: PublicKey,
        hops: u8,
    ) -> Self {
        Self {
            key,
            address,
            hops,
            referrer: Some(referrer),
            reason: Reason::Candidate,
        }
    }
}

impl Fetches {
    /// Returns whether the answer of a peer that is not silent is awaited.
    fn awaits_responsive_peer(&self, handle: Handle, peers: &Peers) -> bool {
        let fetch = self.by_handle.get(&handle);
        let mut asked = fetch.into_iter().flat_map(|fetch| &fetch.asked);
        asked.any(|(key, asked)| !asked.is_done && !peers.is_silent(key))
    }

    /// Returns the peers that callers prefer and that have not been asked.
    fn preferred(
        &self,
        handle: Handle,
        peers: &Peers,
    ) -> heapless::Vec<Candidate, MAX_FETCH_PREFERRED> {
        let fetch = self.by_handle.get(&handle);
        let preferred = fetch.into_iter().flat_map(|fetch| {
            let is_asked = |key: &&PublicKey| fetch.asked.contains_key(*key);
            fetch.preferred.iter().filter(move |key| !is_asked(key))
        });
        let preferred = preferred.filter(|key| peers.may_ask(key));
        let candidates = preferred.filter_map(|key| {
            let address = peers.get(key)?.address;
            Some(Candidate::known(*key, address, Reason::Preferred))
        });
        candidates.collect()
    }

    /// Returns the known providers of the wanted id, or of the list that it belongs to, that have
    /// not been asked, silent ones last.
    fn providers(
        &self,
        now: Instant,
        handle: Handle,
        peers: &Peers,
        known: &Providers,
    ) -> Vec<Candidate> {
        let Some(fetch) = self.by_handle.get(&handle) else {
            return Vec::new();
        };
        let id = fetch.request.id;
        let of_list = (id != fetch.wanted).then_some(id);
        let ids = [Some(fetch.wanted), of_list];
        let known = ids
            .iter()
            .flatten()
            .flat_map(|id: &AtomId| known.of(now, id));
        let mut providers: Vec<Provider> = known
            .filter(|provider| !fetch.asked.contains_key(&provider.key))
            .collect();
        // The order is otherwise kept: the record put last comes first.
        providers.sort_by_key(|provider| peers.is_silent(&provider.key));
        let providers = providers.into_iter();
        providers
            .map(|provider| Candidate::named(provider.key, provider.address, provider.source, 0))
            .collect()
    }

    /// Returns the nearest peers that have not been asked, and once per fetch, in addition, a
    /// silent one that would have been asked.
    fn nearest(&self, now: Instant, handle: Handle, peers: &Peers) -> Near {
        let mut near = Near::default();
        let Some(fetch) = self.by_handle.get(&handle) else {
            return near;
        };
        let target = fetch.wanted.as_bytes();
        let may_be_asked = |key: &PublicKey| !fetch.asked.contains_key(key) && peers.may_ask(key);
        let all = peers.nearest::<FETCH_FANOUT>(target, |entry| may_be_asked(entry.key()));
        // Keys near to an object are free to generate: peers that have answered a request alternate
        // with others.
        let serving = peers.nearest::<FETCH_FANOUT>(target, |entry| {
            entry.value.has_served && may_be_asked(entry.key())
        });
        for at in 0..FETCH_FANOUT {
            for entry in [all.get(at), serving.get(at)].into_iter().flatten() {
                if near.peers.iter().all(|one| one.key != *entry.key()) {
                    let known = Candidate::known(*entry.key(), entry.address(), Reason::Candidate);
                    // The capacity is that of both lists together.
                    let _ = near.peers.push(known);
                }
            }
        }
        let trial = peers.trial::<FETCH_FANOUT>(now, target, |entry| may_be_asked(entry.key()));
        let trial = trial.filter(|_| !fetch.has_tried);
        near.trial = trial.map(|(key, address)| Candidate::known(key, address, Reason::Trial));
        near
    }

    /// Records that a fetch has tried a silent peer.
    fn note_tried(&mut self, handle: Handle) {
        if let Some(fetch) = self.by_handle.get_mut(&handle) {
            fetch.has_tried = true;
        }
    }

    /// Returns the id to ask a candidate for, or `None` if the candidate has been asked or exceeds
    /// a limit, or the list continues by stream.
    fn wanted_of(&self, handle: Handle, candidate: &Candidate) -> Option<AtomId> {
        let fetch = self.by_handle.get(&handle)?;
        if fetch.stream.is_active() {
            return None;
        }
        let named = fetch.named();
        // Neither named peers nor near peers take the places of the other kind.
        let (count, most) = match candidate.reason {
            Reason::Preferred => (fetch.asked.len(), MAX_FETCH_ASKED),
            Reason::Candidate if candidate.referrer.is_some() => (named, MAX_FETCH_NAMED),
            Reason::Candidate | Reason::Trial => (fetch.asked.len() - named, MAX_FETCH_PEERS),
        };
        let is_new = !fetch.asked.contains_key(&candidate.key);
        let may = is_new && count < most && candidate.hops <= MAX_FETCH_HOPS;
        may.then_some(fetch.wanted)
    }

    /// Records that a candidate was asked for an atom or a list.
    fn note_asked(
        &mut self,
        now: Instant,
        handle: Handle,
        candidate: &Candidate,
        (kind, response_timeout): (PayloadType, Duration),
    ) {
        let is_trial = candidate.reason == Reason::Trial;
        if let Some(fetch) = self.by_handle.get_mut(&handle) {
            let asked = AskedPeer {
                address: candidate.address,
                referrer: candidate.referrer,
                kind,
                hops: candidate.hops,
                tries: if is_trial { MAX_FETCH_TRIES } else { 1 },
                asked_at: now,
                retry_at: now + response_timeout,
                is_done: is_trial,
                is_trial,
                is_late: false,
            };
            fetch.asked.insert(candidate.key, asked);
        }
    }

    /// Begins to ask a referrer again. Returns the id to ask for and the state of the referrer, or
    /// `None` if its answer is awaited, which names another peer anyway, or it was asked too often.
    fn begin_again(&mut self, handle: Handle, referrer: &PublicKey) -> Option<(AtomId, AskedPeer)> {
        let fetch = self.by_handle.get_mut(&handle)?;
        let wanted = fetch.wanted;
        let asked = fetch.asked.get_mut(referrer)?;
        if !asked.is_done || asked.tries >= MAX_FETCH_TRIES {
            return None;
        }
        asked.tries += 1;
        asked.is_done = false;
        asked.retry_at = Instant::MAX;
        Some((wanted, *asked))
    }
}

/// Peers near to the object of a fetch.
#[derive(Default)]
struct Near {
    peers: heapless::Vec<Candidate, { 2 * FETCH_FANOUT }>,
    /// Silent peer to try in addition.
    trial: Option<Candidate>,
}

impl Engine {
    /// Asks the first peers for a fetch: the preferred one, else the known providers, else the
    /// nearest peers. Silent peers are not waited for.
    pub(super) fn ask_first(&mut self, now: Instant, handle: Handle, from: Option<PublicKey>) {
        if let Some(peer) = from
            && let Some(fetch) = self.fetches.by_handle.get_mut(&handle)
        {
            fetch.prefer(peer);
            self.ask_preferred(now, handle, 1);
        }
        if !self.fetches.awaits_responsive_peer(handle, &self.peers) {
            self.ask_providers(now, handle, FETCH_FANOUT);
        }
        if !self.fetches.awaits_responsive_peer(handle, &self.peers) {
            self.ask_nearest(now, handle, FETCH_FANOUT);
        }
        self.continue_fetch(now, handle);
    }

    /// Prefers a peer for a fetch that is under way, and asks it unless it has been asked. Returns
    /// whether it was asked now.
    pub(super) fn prefer(&mut self, now: Instant, handle: Handle, peer: PublicKey) -> bool {
        let Some(fetch) = self.fetches.by_handle.get_mut(&handle) else {
            return false;
        };
        fetch.prefer(peer);
        let address = self.peers.get(&peer).map(|peer| peer.address);
        let candidate = address.map(|address| Candidate::known(peer, address, Reason::Preferred));
        let is_asked = candidate.is_some_and(|candidate| {
            self.peers.may_ask(&peer) && self.ask(now, handle, &candidate)
        });
        self.fetches.reschedule(handle);
        is_asked
    }

    /// Asks up to `count` more peers; returns the number of peers asked.
    pub(super) fn ask_more(&mut self, now: Instant, handle: Handle, count: usize) -> usize {
        let mut asked = self.ask_preferred(now, handle, count);
        if asked < count {
            asked += self.ask_providers(now, handle, count - asked);
        }
        if asked < count {
            asked += self.ask_nearest(now, handle, count - asked);
        }
        asked
    }

    fn ask_preferred(&mut self, now: Instant, handle: Handle, count: usize) -> usize {
        let preferred = self.fetches.preferred(handle, &self.peers);
        self.ask_all(now, handle, &preferred, count)
    }

    fn ask_providers(&mut self, now: Instant, handle: Handle, count: usize) -> usize {
        let known = &self.objects.providers;
        let providers = self.fetches.providers(now, handle, &self.peers, known);
        self.ask_all(now, handle, &providers, count)
    }

    /// Asks the nearest peers, and once per fetch, in addition, a silent one that would have been
    /// asked.
    pub(super) fn ask_nearest(&mut self, now: Instant, handle: Handle, count: usize) -> usize {
        let near = self.fetches.nearest(now, handle, &self.peers);
        let asked = self.ask_all(now, handle, &near.peers, count);
        if let Some(trial) = near.trial
            && self.ask(now, handle, &trial)
        {
            self.peers.note_trial(now, &trial.key);
            self.fetches.note_tried(handle);
        }
        asked
    }

    fn ask_all(
        &mut self,
        now: Instant,
        handle: Handle,
        candidates: &[Candidate],
        count: usize,
    ) -> usize {
        let mut asked = 0;
        for candidate in candidates {
            if asked >= count {
                break;
            }
            asked += usize::from(self.ask(now, handle, candidate));
        }
        asked
    }

    /// Asks one peer for the wanted object; returns `false` if it has been asked, or cannot be
    /// asked.
    pub(super) fn ask(&mut self, now: Instant, handle: Handle, candidate: &Candidate) -> bool {
        let Some(fetch) = self.fetches.by_handle.get(&handle) else {
            return false;
        };
        self.ask_as(now, handle, candidate, fetch.request.kind)
    }

    /// Asks one peer for the wanted object as an atom or a list; returns `false` if it has been
    /// asked, or cannot be asked.
    pub(super) fn ask_as(
        &mut self,
        now: Instant,
        handle: Handle,
        candidate: &Candidate,
        kind: PayloadType,
    ) -> bool {
        let Some(wanted) = self.fetches.wanted_of(handle, candidate) else {
            return false;
        };
        let Candidate {
            key,
            address,
            referrer,
            ..
        } = *candidate;
        if key == self.me || !self.request(now, key, address, referrer.as_ref(), wanted, kind) {
            return false;
        }
        let timeout = self.peers.response_timeout(&key, 1);
        self.fetches
            .note_asked(now, handle, candidate, (kind, timeout));
        true
    }

    /// Asks a referrer again, for another record.
    pub(super) fn ask_referrer_again(
        &mut self,
        now: Instant,
        handle: Handle,
        referrer: &PublicKey,
    ) {
        let Some((wanted, asked)) = self.fetches.begin_again(handle, referrer) else {
            return;
        };
        let is_sent = self.request(now, *referrer, asked.address, None, wanted, asked.kind);
        let retry_at = now + self.peers.response_timeout(referrer, asked.tries);
        if let Some(asked) = self.fetches.asked_mut(handle, referrer) {
            asked.retry_at = retry_at;
            asked.is_done = !is_sent;
        }
    }

    /// Asks a peer that has just been validated in all fetches with few asked peers: it may know
    /// more than those.
    pub(in crate::engine) fn fetch_from_newcomer(&mut self, now: Instant, key: &PublicKey) {
        if self.fetches.is_empty() || !self.peers.may_ask(key) {
            return;
        }
        let Some(address) = self.peers.get(key).map(|peer| peer.address) else {
            return;
        };
        let few_asked = self.fetches.by_handle.iter();
        let few_asked = few_asked.filter(|(_, fetch)| fetch.asked.len() < FETCH_FANOUT);
        let handles: Vec<Handle> = few_asked.map(|(handle, _)| *handle).collect();
        let candidate = Candidate::known(*key, address, Reason::Candidate);
        for handle in handles {
            self.ask(now, handle, &candidate);
            self.fetches.reschedule(handle);
        }
    }
}
