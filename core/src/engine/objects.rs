//! Object requests: serving of objects, redirects, provider records.

use super::contact;
use super::egress::sealed_bytes;
use super::limits::{
    MAX_FORWARDED_PUTS, MAX_NEARER_NAMED, MAX_PROVIDERS_PER_ID, MAX_REPEATED_REDIRECTS,
    MAX_WAITING, WAITING_TIMEOUT,
};
use super::peers::{Standing, Waiting, WaitingPut};
use super::providers::Provider;
use super::random::ProbeIds;
use super::reads::{self, LookUp, Object, ObjectSource, Part, Read, ReadDone};
use super::{DropReason, Engine, Sender, Source};
use crate::atom::AtomId;
use crate::crypto::PublicKey;
use crate::time::Instant;
use crate::wire::message::Topic;
use crate::wire::network_group::Scope;
use crate::wire::object::{
    Action, Answer, FOUND_LENGTH_BYTES, PayloadType, Request, write_found_atom, write_found_list,
    write_response_head,
};
use crate::wire::packet::MAX_BYTES;
use crate::wire::routing_table::Distance;
use core::net::SocketAddr;

/// Number of bytes in front of a response's data.
pub(super) const RESPONSE_HEAD_BYTES: usize = 1 + 32;

/// Kind of an answer about an id, for budgets.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum RedirectKind {
    /// Redirect to a nearer peer.
    Nearer(PayloadType),
    /// Redirect to a provider.
    Provider(PayloadType),
    /// Forwarded put; the key that it is counted under is that of the provider.
    Put,
}

impl Engine {
    /// Handles an object request: serves a get, and stores or holds a put.
    pub(super) fn handle_request<S: ObjectSource + ?Sized>(
        &mut self,
        now: Instant,
        sender: &Sender,
        content: &[u8],
        store: &S,
    ) -> Result<(), DropReason> {
        let source = &sender.source;
        let request = Request::decode(content).map_err(|_| DropReason::BadContent)?;
        match request.action {
            Action::Get(kind) => {
                let kind = kind.unwrap_or(PayloadType::ATOM);
                self.serve(now, source, request.atom_id, kind, store);
                Ok(())
            }
            Action::Put(_) if sender.is_unconfirmed => Err(DropReason::Unconfirmed),
            Action::Put(kind) => self.handle_put(now, source, request.atom_id, kind, request.data),
        }
    }

    /// Answers a request with the object, with a redirect, or with "not here". An object that is on
    /// a disk is read first.
    pub(super) fn serve<S: ObjectSource + ?Sized>(
        &mut self,
        now: Instant,
        source: &Source,
        id: AtomId,
        kind: PayloadType,
        store: &S,
    ) {
        let mut part = Part::new(id, kind);
        while let Some(wanted) = part.wanted() {
            match store.look_up(&wanted) {
                LookUp::Found(atom) => part.take(atom),
                LookUp::Missing => part.end(),
                LookUp::Failed => {
                    self.stats.drop(DropReason::StoreFailed);
                    part.end();
                }
                LookUp::OnDisk => return self.read(now, source, id, kind, part),
            }
        }
        self.answer(now, source, id, kind, &part.into_object());
    }

    /// Queues a read of the rest of an object for a validated peer. Reads cost more than anything
    /// else that a packet of 100 bytes can cause, so an address that may be forged gets none.
    fn read(&mut self, now: Instant, source: &Source, id: AtomId, kind: PayloadType, part: Part) {
        let peer = self.peers.get(&source.key);
        if !source.is_validated && peer.is_none_or(|peer| peer.may_be_asked_at(&source.address)) {
            return self.wait_for_validation(now, source, id, kind);
        }
        let request = reads::Request::new(now, *source, id, kind, part);
        if let Err(reason) = self.reads.add(request) {
            self.stats.drop(reason);
        }
    }

    /// Returns the next read for the host to run. At most
    /// [`MAX_CONCURRENT_READS`](super::limits::MAX_CONCURRENT_READS) are out at a time.
    pub fn poll_read(&mut self, now: Instant) -> Option<Read> {
        let Self {
            reads,
            peers,
            stats,
            ..
        } = self;
        let is_known = |key: &PublicKey| peers.get(key).is_some();
        let read = reads.poll(now, is_known, |reason| stats.drop(reason))?;
        stats.disk_reads += 1;
        Some(read)
    }

    /// Handles the result of a read; sends the object to the peer that requested it once it is
    /// complete.
    pub fn handle_read(&mut self, now: Instant, done: ReadDone) {
        if done.has_failed() {
            self.stats.drop(DropReason::StoreFailed);
        }
        let Some((request, object)) = self.reads.done(now, done) else {
            return;
        };
        let reads::Request {
            mut source,
            id,
            kind,
            ..
        } = request;
        // The peer may have moved in the meantime.
        let peer = self.peers.get(&source.key);
        source.is_validated &= peer.is_some_and(|peer| peer.is_validated_at(&source.address));
        self.answer(now, &source, id, kind, &object);
    }

    /// Returns the number of requests that wait for reads.
    #[must_use]
    pub const fn pending_reads(&self) -> usize {
        self.reads.len()
    }

    /// Sends an object, or redirects if it is missing. An answer that exceeds the amplification
    /// limit waits for address validation.
    fn answer(
        &mut self,
        now: Instant,
        source: &Source,
        id: AtomId,
        kind: PayloadType,
        object: &Object,
    ) {
        let len = match object {
            Object::Missing => return self.redirect(now, source, id, kind),
            Object::Atom(atom) => 1 + atom.stored_len(),
            Object::List(atoms) => {
                let each = atoms
                    .iter()
                    .map(|atom| FOUND_LENGTH_BYTES + atom.stored_len());
                1 + each.sum::<usize>()
            }
        };
        let len = RESPONSE_HEAD_BYTES + len;
        if sealed_bytes(len) > MAX_BYTES {
            self.stats.drop(DropReason::TooLarge);
            return;
        }
        let sent = self.send(now, source, Topic::ObjectResponse, len, |out| {
            write_response_head(out, Answer::Found, &id);
            match object {
                Object::Atom(atom) => write_found_atom(out, atom),
                Object::List(atoms) => {
                    // Each is far below the 4 GiB that a length can express.
                    let _ = write_found_list(out, atoms);
                }
                Object::Missing => {}
            }
        });
        if sent {
            self.stats.objects_served += 1;
        } else {
            self.wait_for_validation(now, source, id, kind);
        }
    }

    /// Keeps a request until the address of its sender is validated.
    fn wait_for_validation(
        &mut self,
        now: Instant,
        source: &Source,
        id: AtomId,
        kind: PayloadType,
    ) {
        let Some(peer) = self.peers.get_mut(&source.key) else {
            return;
        };
        peer.waiting.retain(|waiting| waiting.deadline > now);
        let is_there = peer
            .waiting
            .iter()
            .any(|waiting| waiting.id == id && waiting.kind == kind);
        if is_there {
            return;
        }
        if peer.waiting.len() >= MAX_WAITING {
            self.stats.drop(DropReason::NotValidated);
            return;
        }
        peer.waiting.push(Waiting {
            id,
            kind,
            deadline: now + WAITING_TIMEOUT,
        });
    }

    /// Redirects to a provider of an object that is not here, or to a peer strictly nearer to it
    /// than we are; otherwise answers "not here".
    fn redirect(&mut self, now: Instant, source: &Source, id: AtomId, kind: PayloadType) {
        // A probe: a plain "not here" identifies us to its sender as a node of this implementation.
        if ProbeIds::may_be_of(&source.key, &id) {
            return self.send_not_found(now, source, id);
        }
        let takes_ipv6 = source.address.is_ipv6()
            && self
                .peers
                .get(&source.key)
                .is_some_and(|peer| peer.takes_ipv6);
        let can_take = |address: &SocketAddr| address.is_ipv4() || takes_ipv6;
        let redirect = RedirectKind::Provider(kind);
        let provider = self.provider_for(now, source, id, redirect, can_take);
        let nearer = self.nearer_for(now, source, id, kind, can_take);
        // Third-party records alternate with nearer peers, which may have a record of a provider
        // that serves.
        let mut all = self.providers.of(now, &id);
        let has_own = all.any(|provider| provider.is_own && provider.has_served);
        drop(all);
        let is_ours = self.peers.get(&source.key).is_some_and(|peer| peer.is_ours);
        let counts = [redirect, RedirectKind::Nearer(kind)]
            .map(|redirect| self.redirects.count(now, &(source.key, id, redirect)));
        let is_turn_of_nearer = is_ours && !has_own && counts[1] < counts[0];
        if let Some(provider) = provider
            && !(is_turn_of_nearer && nearer.is_some())
        {
            if self.may_redirect(now, source, id, redirect) {
                return self.send_contact(now, source, id, provider.key, provider.address);
            }
        } else if let Some((key, address)) = nearer
            && self.may_redirect(now, source, id, RedirectKind::Nearer(kind))
        {
            return self.send_contact(now, source, id, key, address);
        }
        self.send_not_found(now, source, id);
    }

    /// Returns the provider to name to an asker: own records first, and a different one for each
    /// asker and each time that it asks. A dead record therefore does not hide an object for long.
    fn provider_for(
        &self,
        now: Instant,
        source: &Source,
        id: AtomId,
        redirect: RedirectKind,
        can_take: impl Fn(&SocketAddr) -> bool,
    ) -> Option<Provider> {
        let all = self.providers.of(now, &id).filter(|provider| {
            provider.key != source.key && provider.key != self.me && can_take(&provider.address)
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
            let peer = self
                .peers
                .get(&provider.key)
                .filter(|peer| peer.is_validated)?;
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
        source: &Source,
        id: AtomId,
        redirect: RedirectKind,
    ) -> bool {
        let asker = self.peers.get(&source.key);
        if asker.is_some_and(|asker| asker.is_ours) {
            // Counted, so that another provider is named the next time.
            let name = (source.key, id, redirect);
            self.redirects.take(now, source.share(), name, u8::MAX);
            return true;
        }
        let is_reference = source.is_validated && matches!(redirect, RedirectKind::Nearer(_));
        let times = if is_reference {
            1
        } else {
            MAX_REPEATED_REDIRECTS
        };
        let name = (source.key, id, redirect);
        self.redirects.take(now, source.share(), name, times)
    }

    /// Returns the nearer peer to name to an asker: the nearest at first, and another one each time
    /// that it asks again, so that a peer that answers nothing does not end a lookup.
    fn nearer_for(
        &self,
        now: Instant,
        source: &Source,
        id: AtomId,
        kind: PayloadType,
        can_take: impl Fn(&SocketAddr) -> bool,
    ) -> Option<(PublicKey, SocketAddr)> {
        let all: heapless::Vec<_, MAX_NEARER_NAMED> =
            self.all_nearer(&id, &source.key, |_| true, &can_take);
        let serving: heapless::Vec<_, MAX_NEARER_NAMED> =
            self.all_nearer(&id, &source.key, |standing| standing.has_served, &can_take);
        let named = alternate(&all, &serving);
        let name = (source.key, id, RedirectKind::Nearer(kind));
        let attempt = usize::from(self.redirects.count(now, &name));
        named.get(attempt % named.len().max(1)).copied()
    }

    /// Returns the peer to forward a record of `id` to, which is strictly nearer than we are and is
    /// not `other`: at first the nearest that has answered a request, if there is one, and another
    /// one each time, so that a peer that discards a record does not keep it from all others.
    pub(super) fn nearer(
        &self,
        id: &AtomId,
        other: &PublicKey,
        attempt: u8,
        can_take: impl Fn(&SocketAddr) -> bool,
    ) -> Option<(PublicKey, SocketAddr)> {
        let serving: heapless::Vec<_, MAX_NEARER_NAMED> =
            self.all_nearer(id, other, |standing| standing.has_served, &can_take);
        let all: heapless::Vec<_, MAX_NEARER_NAMED> =
            self.all_nearer(id, other, |_| true, &can_take);
        let named = alternate(&serving, &all);
        named
            .get(usize::from(attempt) % named.len().max(1))
            .copied()
    }

    /// Returns the `N` peers nearest to `id` that are strictly nearer than we are and are not
    /// `other`.
    fn all_nearer<const N: usize>(
        &self,
        id: &AtomId,
        other: &PublicKey,
        keep: impl Fn(&Standing) -> bool,
        can_take: impl Fn(&SocketAddr) -> bool,
    ) -> heapless::Vec<(PublicKey, SocketAddr), N> {
        let target = id.as_bytes();
        let own = Distance::between(target, self.me.as_bytes());
        let nearest: heapless::Vec<_, N> = self.peers.nearest(target, |entry| {
            let is_nearer = Distance::between(target, entry.key().as_bytes()) < own;
            is_nearer && entry.key() != other && keep(&entry.value) && can_take(&entry.address())
        });
        let nearest = nearest.into_iter();
        nearest
            .map(|entry| (*entry.key(), entry.address()))
            .collect()
    }

    fn send_contact(
        &mut self,
        now: Instant,
        to: &Source,
        id: AtomId,
        key: PublicKey,
        address: SocketAddr,
    ) {
        let bytes = contact::encode(key, address);
        self.respond(now, to, id, Answer::Provider, &bytes);
    }

    /// Answers "not here", with the address at which we observe the asker. A reference node ignores
    /// this kind of answer.
    fn send_not_found(&mut self, now: Instant, to: &Source, id: AtomId) {
        let bytes = contact::encode_seen(to.address);
        self.respond(now, to, id, Answer::Nearest, &bytes);
    }

    fn respond(&mut self, now: Instant, to: &Source, id: AtomId, answer: Answer, data: &[u8]) {
        let len = RESPONSE_HEAD_BYTES + data.len();
        let sent = self.send(now, to, Topic::ObjectResponse, len, |out| {
            write_response_head(out, answer, &id);
            out.extend_from_slice(data);
        });
        if !sent {
            self.stats.drop(DropReason::NotValidated);
        }
    }

    /// Stores the provider record of a validated peer; the record of another peer waits until its
    /// address is validated.
    fn handle_put(
        &mut self,
        now: Instant,
        source: &Source,
        id: AtomId,
        kind: PayloadType,
        data: &[u8],
    ) -> Result<(), DropReason> {
        let (key, address) = contact::decode(data).ok_or(DropReason::BadContent)?;
        if id.is_zero() || !self.is_referral_allowed(source.address.ip(), address) {
            return Err(DropReason::BadContent);
        }
        let put = WaitingPut {
            id,
            kind,
            key,
            address,
            deadline: now + WAITING_TIMEOUT,
        };
        if source.is_validated {
            return self.take_put(now, source, &put);
        }
        let Some(peer) = self.peers.get_mut(&source.key) else {
            return Err(DropReason::NotValidated);
        };
        peer.puts.retain(|waiting| waiting.deadline > now);
        if peer.puts.len() >= MAX_WAITING {
            return Err(DropReason::NotValidated);
        }
        peer.puts.push(put);
        Ok(())
    }

    /// Stores a provider record, and forwards it to the peer nearest to the id if that is nearer
    /// than we are.
    ///
    /// Each hop is strictly nearer to the id, so that a put cannot loop; it is never sent back to
    /// its sender. It is forwarded up to [`MAX_FORWARDED_PUTS`] times within an interval: puts are
    /// not acknowledged, and are repeated.
    pub(super) fn take_put(
        &mut self,
        now: Instant,
        source: &Source,
        put: &WaitingPut,
    ) -> Result<(), DropReason> {
        let WaitingPut {
            id,
            kind,
            key,
            address,
            ..
        } = *put;
        // The put may have come from another address than the validated one.
        if !self.is_referral_allowed(source.address.ip(), address) {
            return Err(DropReason::BadContent);
        }
        if key == self.me {
            // Our own advertisement came back.
            return Ok(());
        }
        let takes = |peer: &SocketAddr| address.is_ipv4() || peer.is_ipv6();
        let name = (key, id, RedirectKind::Put);
        let attempt = self.redirects.count(now, &name);
        let nearer = self.nearer(&id, &source.key, attempt, takes);
        // Stored at each hop, too: the nearest peer may be gone, or malicious.
        let provider = Provider {
            key,
            address,
            expires: now + self.config.provider_lifetime,
            source: source.key,
            is_own: key == source.key,
            has_served: self.peers.has_served(&source.key),
        };
        self.providers.put(id, provider, source.share());
        if let Some((nearer, _)) = nearer {
            let share = source.share();
            if !self.redirects.take(now, share, name, MAX_FORWARDED_PUTS) {
                return Err(DropReason::RedirectBudget);
            }
            self.send_put(now, &nearer, id, kind, key, address);
        }
        Ok(())
    }

    /// Sends a provider record to a validated peer; returns `false` if the peer is not validated or
    /// cannot use the address.
    pub(super) fn send_put(
        &mut self,
        now: Instant,
        to: &PublicKey,
        id: AtomId,
        kind: PayloadType,
        key: PublicKey,
        address: SocketAddr,
    ) -> bool {
        let Some(peer) = self.peers.get(to).filter(|peer| peer.is_validated) else {
            return false;
        };
        let takes_ipv6 = peer.address.is_ipv6() && peer.takes_ipv6;
        if address.is_ipv6() && !takes_ipv6 {
            return false;
        }
        let to = Source {
            key: *to,
            address: peer.address,
            is_validated: true,
        };
        let bytes = contact::encode(key, address);
        let request = Request {
            action: Action::Put(kind),
            atom_id: id,
            data: &bytes,
        };
        let len = super::address_validation::GET_BYTES + bytes.len();
        self.send(now, &to, Topic::ObjectRequest, len, |out| {
            request.write(out);
        })
    }
}

/// Peers that are named or told in turn.
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
