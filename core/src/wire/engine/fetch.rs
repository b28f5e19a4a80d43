//! Fetching objects: who is asked, whose answer counts, and when to stop.
//!
//! Known providers are asked first, else the nearest peers, several at once. A redirect is followed
//! if it leads to somebody who has not been asked, within a number of hops and of peers in all, so
//! that every search ends after a bounded number of packets. A list that does not come as one is
//! put together: each answer may hold the beginning of what is left, or just the next atom.

use super::ask::Redirect;
use super::contact;
use super::limits::{
    FETCH_FANOUT, FETCH_RETRY, MAX_FETCH_HOPS, MAX_FETCH_PEERS, MAX_FETCH_TRIES, MAX_FETCH_WAITERS,
    MAX_FETCHES, MAX_LIST_ATOMS, MAX_LIST_BYTES, PART_TIMEOUTS,
};
use super::objects::RESPONSE_HEAD_BYTES;
use super::outbox::sealed_bytes;
use super::{DropReason, Engine, Event, FetchError, FetchId, Sender, Source};
use crate::atom::{Atom, AtomId, AtomSource};
use crate::crypto::PublicKey;
use crate::time::Instant;
use crate::wire::object::{Answer, Found, FoundError, PayloadType, Response};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::net::SocketAddr;

/// One who was asked.
#[derive(Clone, Copy, Debug)]
struct Asked {
    address: SocketAddr,
    hops: u8,
    tries: u8,
    asked_at: Instant,
    retry_at: Instant,
    /// It has answered, and had nothing new.
    is_done: bool,
}

/// What a list may be before a fetch of it is given up.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ListLimit {
    /// Atoms.
    pub atoms: usize,
    /// Stored bytes of the atoms.
    pub bytes: usize,
}

impl ListLimit {
    /// The most that is ever taken.
    pub const MAX: Self = Self {
        atoms: MAX_LIST_ATOMS,
        bytes: MAX_LIST_BYTES,
    };
}

#[derive(Debug)]
struct Fetch {
    id: AtomId,
    kind: PayloadType,
    limit: ListLimit,
    /// Whether the beginning of the list will do.
    is_part: bool,
    /// What is asked for now: the object, or the rest of the list.
    wanted: AtomId,
    wanted_as: PayloadType,
    asked: BTreeMap<PublicKey, Asked>,
    waiters: Vec<FetchId>,
    deadline: Instant,
    /// No answer moves the deadline beyond this.
    ends: Instant,
    /// When something is to be done about it.
    due: Instant,
    atoms: Vec<Atom>,
    bytes: usize,
}

impl Fetch {
    const fn object(&self) -> Object {
        (self.id, self.kind, self.limit, self.is_part)
    }

    fn next_due(&self) -> Instant {
        let waiting = self.asked.values().filter(|asked| !asked.is_done);
        waiting
            .map(|asked| asked.retry_at)
            .fold(self.deadline, Instant::min)
    }
}

/// Names a fetch that callers may share.
type Handle = u64;

/// What a fetch is for. Callers with different limits do not share one.
type Object = (AtomId, PayloadType, ListLimit, bool);

/// The fetches under way.
#[derive(Debug, Default)]
pub(super) struct Fetches {
    next_id: u64,
    next_handle: Handle,
    by_handle: BTreeMap<Handle, Fetch>,
    by_object: BTreeMap<Object, Handle>,
    by_wanted: BTreeSet<(AtomId, Handle)>,
    by_waiter: BTreeMap<FetchId, Handle>,
    timers: BTreeSet<(Instant, Handle)>,
}

impl Fetches {
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.timers.first().map(|(due, _)| *due)
    }

    fn wanting(&self, id: &AtomId) -> Vec<Handle> {
        let range = self
            .by_wanted
            .range((*id, Handle::MIN)..=(*id, Handle::MAX));
        range.map(|(_, handle)| *handle).collect()
    }

    fn insert(&mut self, fetch: Fetch) -> Handle {
        let handle = self.next_handle;
        self.next_handle += 1;
        self.by_object.insert(fetch.object(), handle);
        self.by_wanted.insert((fetch.wanted, handle));
        self.timers.insert((fetch.due, handle));
        self.by_handle.insert(handle, fetch);
        handle
    }

    fn remove(&mut self, handle: Handle) -> Option<Fetch> {
        let fetch = self.by_handle.remove(&handle)?;
        self.by_object.remove(&fetch.object());
        self.by_wanted.remove(&(fetch.wanted, handle));
        self.timers.remove(&(fetch.due, handle));
        for waiter in &fetch.waiters {
            self.by_waiter.remove(waiter);
        }
        Some(fetch)
    }

    fn reschedule(&mut self, handle: Handle) {
        if let Some(fetch) = self.by_handle.get_mut(&handle) {
            let due = fetch.next_due();
            self.timers.remove(&(fetch.due, handle));
            self.timers.insert((due, handle));
            fetch.due = due;
        }
    }

    fn is_empty(&self) -> bool {
        self.by_handle.is_empty()
    }
}

impl Engine {
    /// Fetches an object from the network; the store is not asked. Ends with
    /// [`Event::Fetched`] or [`Event::FetchFailed`], unless it is cancelled.
    pub fn fetch(&mut self, now: Instant, id: AtomId, kind: PayloadType) -> FetchId {
        self.fetch_up_to(now, id, kind, ListLimit::MAX)
    }

    /// As [`Engine::fetch`], for a list that is not worth more than `limit`: beyond that it fails
    /// with [`FetchError::TooLarge`].
    pub fn fetch_up_to(
        &mut self,
        now: Instant,
        id: AtomId,
        kind: PayloadType,
        limit: ListLimit,
    ) -> FetchId {
        self.start_fetch(now, (id, kind, limit, false))
    }

    /// Fetches the beginning of a list: as much as `limit` allows, and if it comes slowly as much as
    /// came in eight times the time of a fetch. So what a list costs while it is put together is the
    /// caller's choice, and not that of whoever serves it.
    pub fn fetch_part(&mut self, now: Instant, id: AtomId, limit: ListLimit) -> FetchId {
        self.start_fetch(now, (id, PayloadType::LIST, limit, true))
    }

    fn start_fetch(&mut self, now: Instant, object: Object) -> FetchId {
        let (id, kind, limit, is_part) = object;
        let fetch_id = FetchId(self.fetches.next_id);
        self.fetches.next_id += 1;
        if id.is_zero() && kind == PayloadType::LIST {
            let event = Event::Fetched {
                fetch: fetch_id,
                id,
                kind,
                atoms: Vec::new(),
                from: None,
            };
            self.push_event(event);
            return fetch_id;
        }
        let is_known = matches!(kind, PayloadType::ATOM | PayloadType::LIST);
        if id.is_zero() || !is_known || self.config.fetch_timeout.is_zero() {
            self.push_event(Event::FetchFailed {
                fetch: fetch_id,
                id,
                error: FetchError::NotFound,
            });
            return fetch_id;
        }
        let running = self.fetches.by_object.get(&object).copied();
        let is_full = match running.and_then(|handle| self.fetches.by_handle.get_mut(&handle)) {
            Some(fetch) if fetch.waiters.len() < MAX_FETCH_WAITERS => {
                fetch.waiters.push(fetch_id);
                false
            }
            Some(_) => true,
            None => self.fetches.by_handle.len() >= MAX_FETCHES,
        };
        if is_full {
            self.push_event(Event::FetchFailed {
                fetch: fetch_id,
                id,
                error: FetchError::TooMany,
            });
            return fetch_id;
        }
        let handle = running.unwrap_or_else(|| {
            let timeout = self.config.fetch_timeout;
            let deadline = now + timeout;
            let ends = if is_part {
                now + timeout.saturating_mul(PART_TIMEOUTS)
            } else {
                Instant::MAX
            };
            self.fetches.insert(Fetch {
                id,
                kind,
                limit,
                is_part,
                wanted: id,
                wanted_as: kind,
                asked: BTreeMap::new(),
                waiters: Vec::from([fetch_id]),
                deadline,
                ends,
                due: deadline,
                atoms: Vec::new(),
                bytes: 0,
            })
        });
        self.fetches.by_waiter.insert(fetch_id, handle);
        if running.is_none() {
            self.ask_first(now, handle);
        }
        fetch_id
    }

    /// Asks `peer` as well, who says that it has what a fetch is after, whoever else knows of it;
    /// `false` if it has been asked, or cannot be.
    pub fn ask_too(&mut self, now: Instant, fetch_id: FetchId, peer: &PublicKey) -> bool {
        let Some(handle) = self.fetches.by_waiter.get(&fetch_id).copied() else {
            return false;
        };
        let Some(address) = self.peers.get(peer).map(|peer| peer.address) else {
            return false;
        };
        let is_asked = self.may_ask(peer) && self.ask(now, handle, *peer, address, 0, None);
        self.fetches.reschedule(handle);
        is_asked
    }

    /// Ends a fetch without an event; `false` if it is not under way.
    pub fn cancel(&mut self, fetch_id: FetchId) -> bool {
        let Some(handle) = self.fetches.by_waiter.remove(&fetch_id) else {
            return false;
        };
        if let Some(fetch) = self.fetches.by_handle.get_mut(&handle) {
            fetch.waiters.retain(|waiter| *waiter != fetch_id);
            if fetch.waiters.is_empty() {
                self.fetches.remove(handle);
            }
        }
        true
    }

    /// Fetches under way, shared ones counted once.
    #[must_use]
    pub fn pending_fetches(&self) -> usize {
        self.fetches.by_handle.len()
    }

    /// Asks the known providers, else the nearest peers.
    fn ask_first(&mut self, now: Instant, handle: Handle) {
        let Some(wanted) = self
            .fetches
            .by_handle
            .get(&handle)
            .map(|fetch| fetch.wanted)
        else {
            return;
        };
        let providers: Vec<_> = self.providers.of(now, &wanted).take(FETCH_FANOUT).collect();
        let mut count = 0;
        for provider in providers {
            let namer = Some(provider.source);
            count += usize::from(self.ask(now, handle, provider.key, provider.address, 0, namer));
        }
        if count == 0 {
            self.ask_nearest(now, handle, FETCH_FANOUT);
        }
        self.settle(now, handle);
    }

    /// Asks up to `count` more of the nearest peers; gives how many were asked.
    fn ask_nearest(&mut self, now: Instant, handle: Handle, count: usize) -> usize {
        let Some(fetch) = self.fetches.by_handle.get(&handle) else {
            return 0;
        };
        let target = fetch.wanted.as_bytes();
        let nearest = self
            .peers
            .table
            .closest_where::<FETCH_FANOUT>(target, |entry| {
                !fetch.asked.contains_key(entry.key()) && self.may_ask(entry.key())
            });
        let nearest: Vec<_> = nearest
            .into_iter()
            .map(|entry| (*entry.key(), entry.address()))
            .collect();
        let mut asked = 0;
        for (key, address) in nearest.into_iter().take(count) {
            asked += usize::from(self.ask(now, handle, key, address, 0, None));
        }
        asked
    }

    /// Asks one for what is wanted; `false` if it has been asked, or cannot be.
    fn ask(
        &mut self,
        now: Instant,
        handle: Handle,
        key: PublicKey,
        address: SocketAddr,
        hops: u8,
        namer: Option<PublicKey>,
    ) -> bool {
        let Some(fetch) = self.fetches.by_handle.get(&handle) else {
            return false;
        };
        let (wanted, wanted_as) = (fetch.wanted, fetch.wanted_as);
        let is_new = key != self.me && !fetch.asked.contains_key(&key);
        if !is_new
            || fetch.asked.len() >= MAX_FETCH_PEERS
            || hops > MAX_FETCH_HOPS
            || !self.request(now, key, address, namer.as_ref(), wanted, wanted_as)
        {
            return false;
        }
        let patience = self.patience(&key, 1);
        if let Some(fetch) = self.fetches.by_handle.get_mut(&handle) {
            let asked = Asked {
                address,
                hops,
                tries: 1,
                asked_at: now,
                retry_at: now + patience,
                is_done: false,
            };
            fetch.asked.insert(key, asked);
        }
        true
    }

    /// A peer that has just proven itself may know more than those who were asked.
    pub(super) fn fetch_from_newcomer(&mut self, now: Instant, key: &PublicKey) {
        if self.fetches.is_empty() || !self.may_ask(key) {
            return;
        }
        let Some(address) = self.peers.get(key).map(|peer| peer.address) else {
            return;
        };
        let lonely = self.fetches.by_handle.iter();
        let lonely = lonely.filter(|(_, fetch)| fetch.asked.len() < FETCH_FANOUT);
        let handles: Vec<Handle> = lonely.map(|(handle, _)| *handle).collect();
        for handle in handles {
            self.ask(now, handle, *key, address, 0, None);
            self.fetches.reschedule(handle);
        }
    }

    /// Takes a response, if it answers a probe or somebody who was asked sends it.
    pub(super) fn handle_response<S: AtomSource + ?Sized>(
        &mut self,
        now: Instant,
        sender: &Sender,
        content: &[u8],
        store: &S,
    ) -> Result<(), DropReason> {
        let source = &sender.source;
        let response = Response::decode(content).map_err(|_| DropReason::BadContent)?;
        let id = response.atom_id;
        if self.take_proof(now, sender, &response, store) {
            self.note_seen(now, source, &response);
            return Ok(());
        }
        let mut handles = self.fetches.wanting(&id);
        handles.retain(|handle| {
            let fetch = self.fetches.by_handle.get(handle);
            fetch.is_some_and(|fetch| fetch.asked.contains_key(&source.key))
        });
        let Some(first) = handles.first() else {
            return Err(DropReason::Unsolicited);
        };
        let fetch = self.fetches.by_handle.get(first);
        let asked = fetch.and_then(|fetch| fetch.asked.get(&source.key));
        if let Some(asked) = asked
            && asked.tries == 1
            && !asked.is_done
        {
            self.note_round_trip(&source.key, now.since(asked.asked_at));
        }
        let taken = match response.answer {
            Answer::Found => match Found::decode(&id, response.data) {
                Ok(found) => {
                    for handle in &handles {
                        self.take_found(now, *handle, source, &found);
                    }
                    return Ok(());
                }
                Err(FoundError::OtherAtom { .. }) => Err(DropReason::WrongObject),
                Err(_) => Err(DropReason::BadContent),
            },
            Answer::Provider => self.follow_redirect(now, &handles, source, response.data),
            Answer::Nearest => Ok(()),
        };
        self.note_seen(now, source, &response);
        for handle in handles {
            let fetch = self.fetches.by_handle.get_mut(&handle);
            if let Some(asked) = fetch.and_then(|fetch| fetch.asked.get_mut(&source.key)) {
                asked.is_done = true;
            }
            self.settle(now, handle);
        }
        taken
    }

    /// Learns where the sender of a response sees us, if it says so.
    fn note_seen(&mut self, now: Instant, source: &Source, response: &Response<'_>) {
        let seen = match response.answer {
            Answer::Found => None,
            Answer::Nearest => contact::decode_seen(response.data),
            Answer::Provider => contact::decode(response.data)
                .filter(|(key, _)| *key == self.me)
                .map(|(_, address)| address),
        };
        if let Some(seen) = seen {
            self.note_own_address(now, source, seen);
        }
    }

    fn follow_redirect(
        &mut self,
        now: Instant,
        handles: &[Handle],
        source: &Source,
        data: &[u8],
    ) -> Result<(), DropReason> {
        let (key, address) = contact::decode(data).ok_or(DropReason::BadContent)?;
        let redirect = Redirect {
            key,
            address,
            bytes: sealed_bytes(RESPONSE_HEAD_BYTES + data.len()),
            is_first: !self.contacts.contains(now, &address),
        };
        if !redirect.is_first {
            self.pay_for_named(now, source, &redirect);
        }
        for handle in handles {
            let fetch = self.fetches.by_handle.get(handle);
            let Some(hops) = fetch
                .and_then(|fetch| fetch.asked.get(&source.key))
                .map(|by| by.hops)
            else {
                continue;
            };
            self.ask(
                now,
                *handle,
                key,
                address,
                hops.saturating_add(1),
                Some(source.key),
            );
        }
        if redirect.is_first {
            self.pay_for_named(now, source, &redirect);
        }
        Ok(())
    }

    fn take_found(&mut self, now: Instant, handle: Handle, source: &Source, found: &Found) {
        let Some(fetch) = self.fetches.by_handle.get_mut(&handle) else {
            return;
        };
        let mut next = fetch.wanted;
        for (index, atom) in found.atoms().iter().enumerate() {
            // The first has been checked; the others count as far as the links lead.
            if index > 0 && atom.id() != next {
                break;
            }
            fetch.bytes = fetch.bytes.saturating_add(atom.stored_len());
            fetch.atoms.push(atom.clone());
            next = atom.next();
            if fetch.kind == PayloadType::ATOM || next.is_zero() {
                return self.finish(handle, Some(source.key));
            }
            if fetch.atoms.len() >= fetch.limit.atoms || fetch.bytes > fetch.limit.bytes {
                if fetch.is_part {
                    return self.finish(handle, Some(source.key));
                }
                return self.fail(handle, FetchError::TooLarge);
            }
        }
        if matches!(found, Found::List(_)) {
            fetch.wanted_as = PayloadType::LIST;
        }
        self.go_on(now, handle, source, next);
    }

    /// Asks for the rest of a list, from whom has just brought a part of it.
    fn go_on(&mut self, now: Instant, handle: Handle, source: &Source, next: AtomId) {
        let Some(fetch) = self.fetches.by_handle.get_mut(&handle) else {
            return;
        };
        self.fetches.by_wanted.remove(&(fetch.wanted, handle));
        self.fetches.by_wanted.insert((next, handle));
        fetch.wanted = next;
        fetch.asked.clear();
        fetch.deadline = (now + self.config.fetch_timeout).min(fetch.ends);
        self.ask(now, handle, source.key, source.address, 0, None);
        self.settle(now, handle);
    }

    /// After a change: if nobody who was asked can still answer, more are asked; if there is nobody
    /// left, the search has ended.
    fn settle(&mut self, now: Instant, handle: Handle) {
        let Some(fetch) = self.fetches.by_handle.get(&handle) else {
            return;
        };
        let is_waiting = fetch.asked.values().any(|asked| !asked.is_done);
        let has_asked = !fetch.asked.is_empty();
        // Nobody to ask at all: somebody may come before the deadline.
        if !is_waiting && self.ask_nearest(now, handle, FETCH_FANOUT) == 0 && has_asked {
            return self.fail(handle, FetchError::NotFound);
        }
        self.fetches.reschedule(handle);
    }

    fn finish(&mut self, handle: Handle, from: Option<PublicKey>) {
        let Some(Fetch {
            id,
            kind,
            waiters,
            atoms,
            ..
        }) = self.fetches.remove(handle)
        else {
            return;
        };
        for fetch in waiters {
            self.push_event(Event::Fetched {
                fetch,
                id,
                kind,
                atoms: atoms.clone(),
                from,
            });
        }
    }

    fn fail(&mut self, handle: Handle, error: FetchError) {
        let fetch = self.fetches.by_handle.get(&handle);
        if fetch.is_some_and(|fetch| fetch.is_part && !fetch.atoms.is_empty()) {
            return self.finish(handle, None);
        }
        let Some(Fetch { id, waiters, .. }) = self.fetches.remove(handle) else {
            return;
        };
        for fetch in waiters {
            self.push_event(Event::FetchFailed { fetch, id, error });
        }
    }

    /// Asks again where no answer came, and ends what has waited for too long.
    pub(super) fn advance_fetches(&mut self, now: Instant) {
        while let Some(&(due, handle)) = self.fetches.timers.first()
            && due <= now
        {
            let Some(fetch) = self.fetches.by_handle.get(&handle) else {
                self.fetches.timers.pop_first();
                continue;
            };
            if fetch.deadline <= now {
                self.fail(handle, FetchError::Timeout);
            } else {
                self.retry(now, handle);
            }
        }
    }

    fn retry(&mut self, now: Instant, handle: Handle) {
        let Some(fetch) = self.fetches.by_handle.get_mut(&handle) else {
            return;
        };
        let mut again = Vec::new();
        for (key, asked) in &mut fetch.asked {
            if asked.is_done || asked.retry_at > now {
                continue;
            }
            // A list answer that does not come may be too large to travel: atom by atom then.
            if now.since(asked.asked_at) >= FETCH_RETRY {
                fetch.wanted_as = PayloadType::ATOM;
            }
            if asked.tries >= MAX_FETCH_TRIES {
                asked.retry_at = Instant::MAX;
                continue;
            }
            asked.tries += 1;
            again.push((*key, asked.address, asked.tries));
        }
        let (wanted, wanted_as) = (fetch.wanted, fetch.wanted_as);
        for (key, address, tries) in again {
            let retry_at = now + self.patience(&key, tries);
            if let Some(fetch) = self.fetches.by_handle.get_mut(&handle)
                && let Some(asked) = fetch.asked.get_mut(&key)
            {
                asked.retry_at = retry_at;
            }
            self.request(now, key, address, None, wanted, wanted_as);
        }
        self.ask_nearest(now, handle, 1);
        self.fetches.reschedule(handle);
    }
}
