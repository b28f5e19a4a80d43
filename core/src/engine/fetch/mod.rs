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
//! the rest, or only the next atom. A long list may continue by stream, and returns to datagrams if
//! that stalls. Every fetch has a total time limit, which grows only with the
//! bytes received: a peer that serves a list slowly does not keep it open for ever.

mod answers;
mod candidates;
mod progress;
mod request;
mod stream;

pub use request::{Extent, FetchRequest, ListLimit};

use super::limits::{
    FETCH_BYTES_PER_SECOND, FETCH_TIMEOUTS, MAX_FETCH_NAMED, MAX_FETCH_PREFERRED,
    MAX_FETCH_WAITERS, MAX_FETCHES,
};
use super::output::Output;
use super::{Engine, Event, FetchError, FetchId, FetchProgress};
use crate::atom::{AtomId, LinkedAtoms};
use crate::crypto::PublicKey;
use crate::time::Instant;
use crate::wire::object::PayloadType;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::mem;
use core::net::SocketAddr;
use core::time::Duration;
use request::Object;
use stream::Stream;

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
    /// `true` if it has not answered in time, and its stream has not been tried.
    is_late: bool,
}

/// State of a fetch.
#[derive(Debug)]
struct Fetch {
    /// Request of the first caller; the fetch counts against the peer that it prefers.
    request: FetchRequest,
    /// Id that is requested now: that of the object, or of the rest of the list.
    wanted: AtomId,
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
    atoms: LinkedAtoms,
    bytes: usize,
    stream: Stream,
}

impl Fetch {
    fn next_due(&self) -> Instant {
        let waiting = self.asked.values().filter(|asked| !asked.is_done);
        let next_stream = self.stream.yields_at().filter(|_| self.has_late());
        waiting
            .map(|asked| asked.retry_at)
            .chain(next_stream)
            .fold(self.deadline, Instant::min)
    }

    /// Returns the total time limit of the fetch. For the beginning of a list, received bytes do
    /// not extend it.
    fn end(&self) -> Instant {
        if self.request.extent.is_part() {
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
        self.by_object.insert(fetch.request.object(), handle);
        self.by_wanted.insert((fetch.wanted, handle));
        self.timers.insert((fetch.due, handle));
        self.by_handle.insert(handle, fetch);
        handle
    }

    fn remove(&mut self, handle: Handle) -> Option<Fetch> {
        let fetch = self.by_handle.remove(&handle)?;
        self.by_object.remove(&fetch.request.object());
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

    /// Returns the fetch of a caller.
    fn of(&self, fetch_id: FetchId) -> Option<&Fetch> {
        self.by_handle.get(self.by_waiter.get(&fetch_id)?)
    }

    /// Returns the state of a peer that a fetch has asked.
    fn asked(&self, handle: Handle, key: &PublicKey) -> Option<&AskedPeer> {
        self.by_handle.get(&handle)?.asked.get(key)
    }

    fn asked_mut(&mut self, handle: Handle, key: &PublicKey) -> Option<&mut AskedPeer> {
        self.by_handle.get_mut(&handle)?.asked.get_mut(key)
    }

    /// Starts a fetch, or joins one of the same object that is under way. Reports fetches that end
    /// at once. `timeout` is the time that a fetch may go without progress; zero disables fetching.
    fn start(
        &mut self,
        now: Instant,
        request: FetchRequest,
        timeout: Duration,
        out: &mut Output,
    ) -> (FetchId, Start) {
        let FetchRequest { id, kind, from, .. } = request;
        let fetch = FetchId(self.next_id);
        self.next_id += 1;
        let atoms = LinkedAtoms::new(id);
        if id.is_zero() && kind == PayloadType::LIST {
            out.report(Event::Fetched {
                fetch,
                id,
                kind,
                atoms,
                from: None,
            });
            return (fetch, Start::Ended);
        }
        let is_known = matches!(kind, PayloadType::ATOM | PayloadType::LIST);
        if id.is_zero() || !is_known || timeout.is_zero() {
            let error = FetchError::NotFound;
            out.report(Event::FetchFailed {
                fetch,
                id,
                atoms,
                error,
            });
            return (fetch, Start::Ended);
        }
        let running = self.by_object.get(&request.object()).copied();
        let is_full = match running.and_then(|handle| self.by_handle.get_mut(&handle)) {
            Some(running) if running.waiters.len() < MAX_FETCH_WAITERS => {
                running.waiters.push(fetch);
                false
            }
            Some(_) => true,
            None => self.by_handle.len() >= MAX_FETCHES && !self.end_one_for(from, out),
        };
        if is_full {
            let error = FetchError::TooMany;
            out.report(Event::FetchFailed {
                fetch,
                id,
                atoms,
                error,
            });
            return (fetch, Start::Ended);
        }
        if let Some(handle) = running {
            self.by_waiter.insert(fetch, handle);
            return (fetch, Start::Joined(handle));
        }
        let deadline = now + timeout;
        let handle = self.insert(Fetch {
            request,
            wanted: id,
            preferred: Vec::new(),
            asked: BTreeMap::new(),
            named_again: Vec::new(),
            has_tried: false,
            waiters: Vec::from([fetch]),
            deadline,
            ends: now + timeout.saturating_mul(FETCH_TIMEOUTS),
            due: deadline,
            atoms,
            bytes: 0,
            stream: Stream::default(),
        });
        self.by_waiter.insert(fetch, handle);
        (fetch, Start::New(handle))
    }

    /// Ends a fetch so that there is room for one caused by `from`: the latest fetch of the peer
    /// that most fetches count against. Returns `false` if none has more than `from` would have.
    fn end_one_for(&mut self, from: Option<PublicKey>, out: &mut Output) -> bool {
        let mut counts: BTreeMap<Option<PublicKey>, usize> = BTreeMap::new();
        for fetch in self.by_handle.values() {
            *counts.entry(fetch.request.from).or_default() += 1;
        }
        let own = counts.get(&from).copied().unwrap_or(0);
        let most = counts.into_iter().max_by_key(|(_, count)| *count);
        let Some((heaviest, _)) = most.filter(|(_, count)| *count > own + 1) else {
            return false;
        };
        let mut latest = self.by_handle.iter().rev();
        let latest = latest.find(|(_, fetch)| fetch.request.from == heaviest);
        let handle = latest.map(|(handle, _)| *handle);
        handle.is_some_and(|handle| {
            self.fail(handle, FetchError::TooMany, out);
            true
        })
    }

    /// Ends a fetch without an event, for one caller; returns `false` if it is not under way.
    fn cancel(&mut self, fetch_id: FetchId) -> bool {
        let Some(handle) = self.by_waiter.remove(&fetch_id) else {
            return false;
        };
        if let Some(fetch) = self.by_handle.get_mut(&handle) {
            fetch.waiters.retain(|waiter| *waiter != fetch_id);
            if fetch.waiters.is_empty() {
                self.remove(handle);
            }
        }
        true
    }
}

/// Beginning of a fetch.
enum Start {
    /// The fetch has ended at once, and was reported.
    Ended,
    /// No other caller fetches the object.
    New(Handle),
    /// Another caller fetches the same object already.
    Joined(Handle),
}

impl Engine {
    /// Fetches an object from the network, without querying the store. Ends with [`Event::Fetched`]
    /// or [`Event::FetchFailed`], unless it is cancelled: after `fetch_timeout` without progress,
    /// and in any case after eight times that and one second per 64 KiB received.
    pub fn fetch(&mut self, now: Instant, request: FetchRequest) -> FetchId {
        let timeout = self.config.fetch_timeout;
        let (fetch, start) = self.fetches.start(now, request, timeout, &mut self.out);
        match (start, request.from) {
            (Start::New(handle), from) => self.ask_first(now, handle, from),
            (Start::Joined(handle), Some(peer)) => {
                self.prefer(now, handle, peer);
            }
            (Start::Joined(_), None) | (Start::Ended, _) => {}
        }
        fetch
    }

    /// Asks `peer`, which reportedly has the object, as well, and prefers it for the rest of a
    /// list. Returns `false` if it has been asked already, or cannot be asked.
    pub fn prefer_peer(&mut self, now: Instant, fetch_id: FetchId, peer: &PublicKey) -> bool {
        let handle = self.fetches.by_waiter.get(&fetch_id).copied();
        handle.is_some_and(|handle| self.prefer(now, handle, *peer))
    }

    /// Ends a fetch without an event; returns `false` if it is not under way.
    pub fn cancel(&mut self, fetch_id: FetchId) -> bool {
        self.fetches.cancel(fetch_id)
    }

    /// Returns the progress of a fetch, or `None` if it is not under way.
    #[must_use]
    pub fn fetch_progress(&self, fetch_id: FetchId) -> Option<FetchProgress> {
        let fetch = self.fetches.of(fetch_id)?;
        Some(FetchProgress {
            atoms: fetch.atoms_in_all(),
            bytes: fetch.bytes,
            next: fetch.atoms.next(),
        })
    }

    /// Returns the atoms that have arrived for a fetch and that the host does not have from a
    /// stream: a host that cancels the fetch can keep them. `None` if it is not under way.
    #[must_use]
    pub fn arrived_atoms(&self, fetch_id: FetchId) -> Option<&LinkedAtoms> {
        self.fetches.of(fetch_id).map(|fetch| &fetch.atoms)
    }

    /// Returns the number of fetches under way; a shared fetch counts once.
    #[must_use]
    pub fn pending_fetches(&self) -> usize {
        self.fetches.by_handle.len()
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::EngineConfig;
    use super::*;
    use crate::atom::{Atom, HashedAtom, bytes_list};
    use crate::crypto::SecretKey;
    use crate::wire::object::Found;

    const TIMEOUT: Duration = Duration::from_secs(2);

    fn output() -> Output {
        let config = EngineConfig::new(SecretKey::from_bytes([1; 32]), 7);
        Output::new(&config, PublicKey::new([1; 32]), &[2; 32])
    }

    fn key(n: u8) -> PublicKey {
        PublicKey::new([n; 32])
    }

    fn start(fetches: &mut Fetches, request: FetchRequest, out: &mut Output) -> (FetchId, Start) {
        fetches.start(Instant::ZERO, request, TIMEOUT, out)
    }

    fn answer(atoms: &[Atom]) -> Found {
        Found::List(atoms.iter().cloned().map(HashedAtom::new).collect())
    }

    #[test]
    fn callers_share_a_fetch_of_the_same_object_and_extent() {
        let (mut fetches, mut out) = (Fetches::default(), output());
        let request = FetchRequest::list(AtomId::new([1; 32]));
        let (first, start_of_first) = start(&mut fetches, request, &mut out);
        let Start::New(handle) = start_of_first else {
            panic!("a new fetch");
        };
        let (second, joined) = start(&mut fetches, request.first_from(Some(key(1))), &mut out);
        assert!(matches!(joined, Start::Joined(it) if it == handle));
        let limit = ListLimit { atoms: 1, bytes: 1 };
        let part = FetchRequest::beginning(request.id, limit);
        assert!(matches!(
            start(&mut fetches, part, &mut out).1,
            Start::New(_)
        ));
        assert_eq!(fetches.by_handle.len(), 2);
        assert!(fetches.cancel(first) && !fetches.cancel(first));
        assert_eq!(fetches.by_handle.len(), 2, "the second caller waits");
        assert!(fetches.cancel(second));
        assert_eq!(fetches.by_handle.len(), 1);
    }

    #[test]
    fn list_is_assembled_from_answers_and_reported_to_each_caller() {
        let (mut fetches, mut out) = (Fetches::default(), output());
        let (head, atoms) = bytes_list(&[b"a", b"b", b"c"]);
        let request = FetchRequest::list(head);
        let (_, Start::New(handle)) = start(&mut fetches, request, &mut out) else {
            panic!("a new fetch");
        };
        start(&mut fetches, request, &mut out);
        // The last atom is not linked to the first.
        let found = answer(&[atoms[0].clone(), atoms[2].clone()]);
        let rest = fetches.take_found(Instant::ZERO, handle, &key(2), (&found, TIMEOUT), &mut out);
        assert_eq!(rest, Some(PayloadType::LIST));
        assert_eq!(fetches.wanting(&atoms[0].next()), [handle]);
        assert!(fetches.wanting(&head).is_empty() && out.poll_event().is_none());
        let found = answer(&atoms[1..]);
        let rest = fetches.take_found(Instant::ZERO, handle, &key(3), (&found, TIMEOUT), &mut out);
        assert_eq!(rest, None);
        for _ in 0..2 {
            let Some(Event::Fetched {
                atoms: got, from, ..
            }) = out.poll_event()
            else {
                panic!("fetched");
            };
            assert_eq!((got.into_atoms(), from), (atoms.clone(), Some(key(3))));
        }
        assert!(fetches.is_empty() && fetches.deadline().is_none());
        assert!(fetches.by_waiter.is_empty() && fetches.by_wanted.is_empty());
    }

    #[test]
    fn list_beyond_its_limit_fails_or_ends_with_its_beginning() {
        let (head, atoms) = bytes_list(&[b"a", b"b", b"c"]);
        let bytes = ListLimit::MAX.bytes;
        let limit = ListLimit { atoms: 2, bytes };
        for is_part in [false, true] {
            let (mut fetches, mut out) = (Fetches::default(), output());
            let request = if is_part {
                FetchRequest::beginning(head, limit)
            } else {
                FetchRequest::list_within(head, limit)
            };
            let (_, Start::New(handle)) = start(&mut fetches, request, &mut out) else {
                panic!("a new fetch");
            };
            let found = (&answer(&atoms), TIMEOUT);
            fetches.take_found(Instant::ZERO, handle, &key(2), found, &mut out);
            match out.poll_event() {
                Some(Event::Fetched { atoms, .. }) => assert!(is_part && atoms.len() == 2),
                Some(Event::FetchFailed { atoms, error, .. }) => {
                    assert!(!is_part && atoms.len() == 2);
                    assert_eq!(error, FetchError::TooLarge);
                }
                other => panic!("{other:?}"),
            }
            assert!(fetches.is_empty());
        }
    }

    #[test]
    fn full_table_ends_the_latest_fetch_of_the_peer_with_most() {
        let (mut fetches, mut out) = (Fetches::default(), output());
        let request = |n: usize, from: u8| {
            let mut id = [1; 32];
            id[..8].copy_from_slice(&(n as u64).to_be_bytes());
            FetchRequest::atom(AtomId::new(id)).first_from(Some(key(from)))
        };
        let mut last = None;
        for n in 0..MAX_FETCHES {
            last = Some(start(&mut fetches, request(n, 1), &mut out).0);
        }
        let (refused, ended) = start(&mut fetches, request(MAX_FETCHES, 1), &mut out);
        assert!(matches!(ended, Start::Ended));
        let (_, new) = start(&mut fetches, request(MAX_FETCHES, 2), &mut out);
        assert!(matches!(new, Start::New(_)));
        assert_eq!(fetches.by_handle.len(), MAX_FETCHES);
        for expected in [Some(refused), last] {
            let Some(Event::FetchFailed { fetch, error, .. }) = out.poll_event() else {
                panic!("failed");
            };
            assert_eq!((Some(fetch), error), (expected, FetchError::TooMany));
        }
    }
}
