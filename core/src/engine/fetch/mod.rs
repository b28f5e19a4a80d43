//! Fetches of objects from peers.
//!
//! Candidates are asked in a fixed order: the peers that the caller prefers (a peer that named an
//! object has the objects that belong to it), then known providers, then the peers nearest to the
//! id. A fetch waits for the first of these kinds that yields a peer which is not silent, and
//! continues with the next as soon as an answer is late or negative. A redirect is followed if it
//! leads to a peer that has not been asked, within a maximum number of hops and of peers in all, so
//! that every fetch ends after a bounded number of packets.
//!
//! A record may be dead: when a named peer is late or does not have the object, its referrers are
//! asked again, and name another.
//!
//! A peer that has left its last requests unanswered is *silent*: it ranks behind all others of its
//! kind, and no fetch waits for it alone. Only an answer to a request ends that, so a silent peer
//! that is near is occasionally asked in addition to the others.
//!
//! A list that does not arrive in one answer is assembled: each answer may contain the beginning of
//! the rest, or only the next atom. Every fetch has a total time limit, which grows only with the
//! bytes received: a peer that serves a list slowly does not keep it open for ever.

mod answers;
mod candidates;
mod progress;

use super::limits::{
    FETCH_BYTES_PER_SECOND, FETCH_TIMEOUTS, MAX_FETCH_NAMED, MAX_FETCH_PREFERRED,
    MAX_FETCH_WAITERS, MAX_FETCHES, MAX_LIST_ATOMS, MAX_LIST_BYTES,
};
use super::{Engine, Event, FetchError, FetchId};
use crate::atom::{Atom, AtomId};
use crate::crypto::PublicKey;
use crate::time::Instant;
use crate::wire::object::PayloadType;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::mem;
use core::net::SocketAddr;
use core::time::Duration;

/// A peer that was asked.
#[derive(Clone, Copy, Debug)]
struct AskedPeer {
    address: SocketAddr,
    /// Referrer that named it.
    referrer: Option<PublicKey>,
    /// Kind in the request: a peer that does not answer for a list is asked for its first atom.
    kind: PayloadType,
    hops: u8,
    tries: u8,
    asked_at: Instant,
    retry_at: Instant,
    /// `true` if it has answered without the wanted object, or is not waited for.
    is_done: bool,
    /// `true` if it was silent when it was asked, and has not answered: it is waited for last, and
    /// only once.
    is_trial: bool,
}

/// Maximum size of a list before its fetch is abandoned.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ListLimit {
    /// Maximum number of atoms.
    pub atoms: usize,
    /// Maximum number of stored bytes of the atoms.
    pub bytes: usize,
}

impl ListLimit {
    /// The largest limit.
    pub const MAX: Self = Self {
        atoms: MAX_LIST_ATOMS,
        bytes: MAX_LIST_BYTES,
    };
}

/// State of a fetch.
#[derive(Debug)]
struct Fetch {
    id: AtomId,
    kind: PayloadType,
    limit: ListLimit,
    /// `true` if the beginning of the list is sufficient.
    is_part: bool,
    /// Id that is requested now: that of the object, or of the rest of the list.
    wanted: AtomId,
    /// Peer that the first caller prefers; the fetch counts against it.
    from: Option<PublicKey>,
    /// Peers to ask before others.
    preferred: Vec<PublicKey>,
    asked: BTreeMap<PublicKey, AskedPeer>,
    /// Peers that were named again after they had been asked, each with the referrer.
    named_again: Vec<(PublicKey, PublicKey)>,
    /// `true` if a silent peer was tried.
    has_tried: bool,
    waiters: Vec<FetchId>,
    deadline: Instant,
    /// Latest deadline, apart from the time that received bytes add.
    ends: Instant,
    /// Time of the next action.
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

    /// Returns the total time limit of the fetch. For the beginning of a list, received bytes do
    /// not extend it.
    fn end(&self) -> Instant {
        if self.is_part {
            return self.ends;
        }
        let bytes = u64::try_from(self.bytes).unwrap_or(u64::MAX);
        self.ends + Duration::from_millis(bytes.saturating_mul(1_000) / FETCH_BYTES_PER_SECOND)
    }

    /// Returns the number of asked peers that were named by a referrer.
    fn named(&self) -> usize {
        let asked = self.asked.values();
        asked.filter(|asked| asked.referrer.is_some()).count()
    }

    /// Records that a referrer names a peer that has been asked already.
    fn name_again(&mut self, key: PublicKey, referrer: PublicKey) {
        if self.named_again.len() < MAX_FETCH_NAMED {
            self.named_again.push((key, referrer));
        }
    }

    /// Removes and returns the referrers that named a peer again after it had been asked.
    fn take_referrers(&mut self, key: &PublicKey) -> Vec<PublicKey> {
        let (of_key, others) = mem::take(&mut self.named_again)
            .into_iter()
            .partition(|(named, _)| named == key);
        self.named_again = others;
        let of_key: Vec<(PublicKey, PublicKey)> = of_key;
        of_key.into_iter().map(|(_, referrer)| referrer).collect()
    }

    /// Adds a peer to ask before others, if there is room.
    fn prefer(&mut self, peer: PublicKey) {
        if self.preferred.len() < MAX_FETCH_PREFERRED && !self.preferred.contains(&peer) {
            self.preferred.push(peer);
        }
    }
}

/// Identifier of a fetch that callers may share.
type Handle = u64;

/// Object of a fetch: id, kind, limit, and whether a part is sufficient. Callers with different
/// limits do not share a fetch.
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

    /// Returns the fetches that currently request this id.
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
    /// Fetches an object from the network, without querying the store. Ends with [`Event::Fetched`]
    /// or [`Event::FetchFailed`], unless it is cancelled: after `fetch_timeout` without progress,
    /// and in any case after eight times that and one second per 64 KiB received.
    pub fn fetch(&mut self, now: Instant, id: AtomId, kind: PayloadType) -> FetchId {
        self.start_fetch(now, (id, kind, ListLimit::MAX, false), None)
    }

    /// Fetches an atom. `from` is asked first, then known providers and the nearest peers.
    pub fn fetch_atom(&mut self, now: Instant, id: AtomId, from: Option<PublicKey>) -> FetchId {
        let object = (id, PayloadType::ATOM, ListLimit::MAX, false);
        self.start_fetch(now, object, from)
    }

    /// Fetches a list of at most `limit`: a larger list fails with [`FetchError::TooLarge`]. `from`
    /// is asked first, then known providers and the nearest peers.
    pub fn fetch_list(
        &mut self,
        now: Instant,
        id: AtomId,
        limit: ListLimit,
        from: Option<PublicKey>,
    ) -> FetchId {
        self.start_fetch(now, (id, PayloadType::LIST, limit, false), from)
    }

    /// Fetches the beginning of a list: as much as `limit` allows, and, if it arrives slowly, as
    /// much as arrived in eight times `fetch_timeout`. So the cost of a list while it is assembled
    /// is chosen by the caller, and not by the peers that serve it. `from` is asked first, then
    /// known providers and the nearest peers.
    pub fn fetch_list_part(
        &mut self,
        now: Instant,
        id: AtomId,
        limit: ListLimit,
        from: Option<PublicKey>,
    ) -> FetchId {
        self.start_fetch(now, (id, PayloadType::LIST, limit, true), from)
    }

    /// Starts a fetch, or joins one of the same object that is under way.
    fn start_fetch(&mut self, now: Instant, object: Object, from: Option<PublicKey>) -> FetchId {
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
                atoms: Vec::new(),
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
            None => self.fetches.by_handle.len() >= MAX_FETCHES && !self.end_fetch_for(from),
        };
        if is_full {
            self.push_event(Event::FetchFailed {
                fetch: fetch_id,
                id,
                atoms: Vec::new(),
                error: FetchError::TooMany,
            });
            return fetch_id;
        }
        let handle = running.unwrap_or_else(|| {
            let timeout = self.config.fetch_timeout;
            let deadline = now + timeout;
            let ends = now + timeout.saturating_mul(FETCH_TIMEOUTS);
            self.fetches.insert(Fetch {
                id,
                kind,
                limit,
                is_part,
                wanted: id,
                from,
                preferred: Vec::new(),
                asked: BTreeMap::new(),
                named_again: Vec::new(),
                has_tried: false,
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
            self.ask_first(now, handle, from);
        } else if let Some(peer) = from {
            self.prefer(now, handle, peer);
        }
        fetch_id
    }

    /// Ends a fetch so that there is room for one caused by `from`: the latest fetch of the peer
    /// that most fetches count against. Returns `false` if none has more than `from` would have.
    fn end_fetch_for(&mut self, from: Option<PublicKey>) -> bool {
        let mut counts: BTreeMap<Option<PublicKey>, usize> = BTreeMap::new();
        for fetch in self.fetches.by_handle.values() {
            *counts.entry(fetch.from).or_default() += 1;
        }
        let own = counts.get(&from).copied().unwrap_or(0);
        let most = counts.into_iter().max_by_key(|(_, count)| *count);
        let Some((heaviest, _)) = most.filter(|(_, count)| *count > own + 1) else {
            return false;
        };
        let mut latest = self.fetches.by_handle.iter().rev();
        let latest = latest.find(|(_, fetch)| fetch.from == heaviest);
        let handle = latest.map(|(handle, _)| *handle);
        handle.is_some_and(|handle| {
            self.fail(handle, FetchError::TooMany);
            true
        })
    }

    /// Asks `peer`, which reportedly has the object, as well, and prefers it for the rest of a
    /// list. Returns `false` if it has been asked already, or cannot be asked.
    pub fn prefer_peer(&mut self, now: Instant, fetch_id: FetchId, peer: &PublicKey) -> bool {
        let handle = self.fetches.by_waiter.get(&fetch_id).copied();
        handle.is_some_and(|handle| self.prefer(now, handle, *peer))
    }

    /// Ends a fetch without an event; returns `false` if it is not under way.
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

    /// Returns the number of fetches under way; a shared fetch counts once.
    #[must_use]
    pub fn pending_fetches(&self) -> usize {
        self.fetches.by_handle.len()
    }
}
