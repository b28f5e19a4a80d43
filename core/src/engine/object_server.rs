//! Object server: the records and peers that requests for objects are redirected to, and the
//! requests that wait for a disk.

use super::Source;
use super::limits::CONTACT_INTERVAL;
use super::limits::{
    MAX_FORWARDED_PUTS, MAX_NEARER_NAMED, MAX_PROVIDERS_PER_ID, MAX_REDIRECTS,
    MAX_REPEATED_REDIRECTS,
};
use super::peers::{Peers, Standing, WaitingPut};
use super::providers::{Provider, Providers};
use super::rate_limit::IntervalLimiter;
use super::reads::Reads;
use super::stats::DropReason;
use crate::atom::AtomId;
use crate::crypto::PublicKey;
use crate::time::Instant;
use crate::wire::network_group::Scope;
use crate::wire::object::PayloadType;
use crate::wire::routing_table::Distance;
use core::net::SocketAddr;
use core::time::Duration;

/// Kind of an answer about an id, for budgets.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum RedirectKind {
    /// Redirect to a nearer peer.
    Nearer(PayloadType),
    /// Redirect to a provider.
    Provider(PayloadType),
    /// Forwarded put; the key that it is counted under is that of the provider.
    Put,
}

/// Provider records, budgets of redirects, and requests for objects on a disk.
#[derive(Debug)]
pub(super) struct ObjectServer {
    pub(super) providers: Providers,
    redirects: IntervalLimiter<(PublicKey, AtomId, RedirectKind)>,
    /// Requests of peers for objects that are on a disk.
    pub(super) reads: Reads,
}

impl ObjectServer {
    pub(super) fn new() -> Self {
        Self {
            providers: Providers::default(),
            redirects: IntervalLimiter::new(CONTACT_INTERVAL, MAX_REDIRECTS),
            reads: Reads::default(),
        }
    }

    /// Removes expired records and budgets.
    pub(super) fn expire(&mut self, now: Instant) {
        self.redirects.expire(now);
        self.providers.expire(now);
    }

    /// Returns the number of redirects that are counted.
    #[cfg(test)]
    pub(super) fn redirects(&self) -> usize {
        self.redirects.len()
    }

    /// Returns the contact to name to an asker for an object that is not here, and counts the
    /// redirect: a provider, or a peer strictly nearer to the object than we are. Returns `None` if
    /// there is none, or the asker was redirected too often.
    pub(super) fn redirect(
        &mut self,
        now: Instant,
        peers: &Peers,
        (source, id, kind): (&Source, AtomId, PayloadType),
    ) -> Option<(PublicKey, SocketAddr)> {
        let asker = peers.get(&source.key);
        let takes_ipv6 = source.address.is_ipv6() && asker.is_some_and(|peer| peer.takes_ipv6);
        let can_take = |address: &SocketAddr| address.is_ipv4() || takes_ipv6;
        let redirect = RedirectKind::Provider(kind);
        let provider = self.provider_for(now, peers, (source, id, redirect), can_take);
        let nearer = self.nearer_for(now, peers, (source, id, kind), can_take);
        // Third-party records alternate with nearer peers, which may have a record of a provider
        // that serves.
        let mut all = self.providers.of(now, &id);
        let has_own = all.any(|provider| provider.is_own && provider.has_served);
        drop(all);
        let is_ours = asker.is_some_and(|peer| peer.is_ours);
        let counts = [redirect, RedirectKind::Nearer(kind)]
            .map(|redirect| self.redirects.count(now, &(source.key, id, redirect)));
        let is_turn_of_nearer = is_ours && !has_own && counts[1] < counts[0];
        if let Some(provider) = provider
            && !(is_turn_of_nearer && nearer.is_some())
        {
            let named = Some((provider.key, provider.address));
            return named.filter(|_| self.may_redirect(now, is_ours, (source, id, redirect)));
        }
        let redirect = RedirectKind::Nearer(kind);
        nearer.filter(|_| self.may_redirect(now, is_ours, (source, id, redirect)))
    }

    /// Returns the provider to name to an asker: own records first, and a different one for each
    /// asker and each time that it asks. A dead record therefore does not hide an object for long.
    fn provider_for(
        &self,
        now: Instant,
        peers: &Peers,
        (source, id, redirect): (&Source, AtomId, RedirectKind),
        can_take: impl Fn(&SocketAddr) -> bool,
    ) -> Option<Provider> {
        let me = peers.own_key();
        let all = self.providers.of(now, &id).filter(|provider| {
            provider.key != source.key && provider.key != *me && can_take(&provider.address)
        });
        let all = all.take(MAX_PROVIDERS_PER_ID);
        let mut all: heapless::Vec<Provider, MAX_PROVIDERS_PER_ID> = all.collect();
        let first = usize::from(source.key.as_bytes().first().copied().unwrap_or(0));
        let kind = |provider: &Provider| (provider.is_own, provider.has_served);
        for of_kind in all.chunk_by_mut(|one, next| kind(one) == kind(next)) {
            if of_kind.first().is_some_and(|provider| provider.is_own) {
                of_kind.rotate_left(first % of_kind.len());
                continue;
            }
            // The oldest, the newest, the next oldest, and so on: a flood is then behind or before
            // the others.
            if first % 2 == 0 {
                of_kind.reverse();
            }
            for at in 1..of_kind.len() {
                if let Some(rest) = of_kind.get_mut(at..) {
                    rest.reverse();
                }
            }
        }
        // Other peers may have reported a false address to a provider about itself: its validated
        // address is named first.
        let validated = |provider: &Provider| {
            let peer = peers.get(&provider.key).filter(|peer| peer.is_validated)?;
            let is_useful = peer.address != provider.address
                && Scope::of(peer.address.ip()) >= Scope::of(source.address.ip())
                && can_take(&peer.address);
            is_useful.then_some(peer.address)
        };
        let mut named: heapless::Vec<Provider, { 2 * MAX_PROVIDERS_PER_ID }> = heapless::Vec::new();
        named.extend(all.iter().map(|provider| Provider {
            address: validated(provider).unwrap_or(provider.address),
            ..*provider
        }));
        let stated = all.iter().filter(|provider| validated(provider).is_some());
        named.extend(stated.copied());
        let attempt = self.redirects.count(now, &(source.key, id, redirect));
        let at = usize::from(attempt) % named.len().max(1);
        named.get(at).copied()
    }

    /// Returns whether an asker may be redirected, and counts the redirect. Nodes of this
    /// implementation count hops: they may be redirected again, since an answer may have been lost.
    /// A reference node does not, and the next one sends it back here.
    fn may_redirect(
        &mut self,
        now: Instant,
        is_ours: bool,
        (source, id, redirect): (&Source, AtomId, RedirectKind),
    ) -> bool {
        let name = (source.key, id, redirect);
        if is_ours {
            // Counted, so that another provider is named the next time.
            self.redirects.take(now, source.share(), name, u8::MAX);
            return true;
        }
        let is_reference = source.is_validated && matches!(redirect, RedirectKind::Nearer(_));
        let times = if is_reference {
            1
        } else {
            MAX_REPEATED_REDIRECTS
        };
        self.redirects.take(now, source.share(), name, times)
    }

    /// Returns the nearer peer to name to an asker: the nearest at first, and another one each time
    /// that it asks again, so that a peer that answers nothing does not end a lookup.
    fn nearer_for(
        &self,
        now: Instant,
        peers: &Peers,
        (source, id, kind): (&Source, AtomId, PayloadType),
        can_take: impl Fn(&SocketAddr) -> bool,
    ) -> Option<(PublicKey, SocketAddr)> {
        let all: Nearer = all_nearer(peers, &id, &source.key, |_| true, &can_take);
        let serving: Nearer = all_nearer(
            peers,
            &id,
            &source.key,
            |standing| standing.has_served,
            &can_take,
        );
        let named = alternate(&all, &serving);
        let name = (source.key, id, RedirectKind::Nearer(kind));
        let attempt = usize::from(self.redirects.count(now, &name));
        named.get(attempt % named.len().max(1)).copied()
    }

    /// Stores a provider record, and returns the peer to forward it to: one nearer to the id than
    /// we are, if there is one.
    ///
    /// Each hop is strictly nearer to the id, so that a put cannot loop; it is never sent back to
    /// its sender. It is forwarded up to [`MAX_FORWARDED_PUTS`] times within an interval: puts are
    /// not acknowledged, and are repeated.
    ///
    /// # Errors
    /// Returns [`DropReason::RedirectBudget`] if the record was stored, and is not forwarded
    /// because the budget is exhausted.
    pub(super) fn put(
        &mut self,
        now: Instant,
        peers: &Peers,
        (source, put): (&Source, &WaitingPut),
        lifetime: Duration,
    ) -> Result<Option<PublicKey>, DropReason> {
        let WaitingPut {
            id, key, address, ..
        } = *put;
        let takes = |peer: &SocketAddr| address.is_ipv4() || peer.is_ipv6();
        let name = (key, id, RedirectKind::Put);
        let attempt = self.redirects.count(now, &name);
        let nearer = nearer(peers, &id, &source.key, attempt, takes);
        // Stored at each hop, too: the nearest peer may be gone, or malicious.
        let provider = Provider {
            key,
            address,
            expires: now + lifetime,
            source: source.key,
            is_own: key == source.key,
            has_served: peers.has_served(&source.key),
        };
        self.providers.put(id, provider, source.share());
        let Some((nearer, _)) = nearer else {
            return Ok(None);
        };
        let share = source.share();
        if self.redirects.take(now, share, name, MAX_FORWARDED_PUTS) {
            Ok(Some(nearer))
        } else {
            Err(DropReason::RedirectBudget)
        }
    }
}

/// Peers nearer to an object than we are.
type Nearer = heapless::Vec<(PublicKey, SocketAddr), MAX_NEARER_NAMED>;

/// Returns the peer to forward a record of `id` to, which is strictly nearer than we are and is not
/// `other`: at first the nearest that has answered a request, if there is one, and another one each
/// time, so that a peer that discards a record does not keep it from all others.
pub(super) fn nearer(
    peers: &Peers,
    id: &AtomId,
    other: &PublicKey,
    attempt: u8,
    can_take: impl Fn(&SocketAddr) -> bool,
) -> Option<(PublicKey, SocketAddr)> {
    let serving: Nearer = all_nearer(peers, id, other, |standing| standing.has_served, &can_take);
    let all: Nearer = all_nearer(peers, id, other, |_| true, &can_take);
    let named = alternate(&serving, &all);
    named
        .get(usize::from(attempt) % named.len().max(1))
        .copied()
}

/// Returns the `N` peers nearest to `id` that are strictly nearer than we are and are not `other`.
fn all_nearer<const N: usize>(
    peers: &Peers,
    id: &AtomId,
    other: &PublicKey,
    keep: impl Fn(&Standing) -> bool,
    can_take: impl Fn(&SocketAddr) -> bool,
) -> heapless::Vec<(PublicKey, SocketAddr), N> {
    let target = id.as_bytes();
    let own = Distance::between(target, peers.own_key().as_bytes());
    let nearest: heapless::Vec<_, N> = peers.nearest(target, |entry| {
        let is_nearer = Distance::between(target, entry.key().as_bytes()) < own;
        is_nearer && entry.key() != other && keep(&entry.value) && can_take(&entry.address())
    });
    let nearest = nearest.into_iter();
    nearest
        .map(|entry| (*entry.key(), entry.address()))
        .collect()
}

/// Peers of two lists, alternately.
type InTurn = heapless::Vec<(PublicKey, SocketAddr), { 2 * MAX_NEARER_NAMED }>;

/// Returns the peers of two lists alternately, each once.
fn alternate(first: &[(PublicKey, SocketAddr)], second: &[(PublicKey, SocketAddr)]) -> InTurn {
    let mut named = InTurn::new();
    for at in 0..MAX_NEARER_NAMED {
        for one in [first.get(at), second.get(at)].into_iter().flatten() {
            if !named.contains(one) {
                // The capacity is that of both lists together.
                let _ = named.push(*one);
            }
        }
    }
    named
}
