//! Reads of objects that are not in memory: order, turns and budgets.
//!
//! A request for such an object waits here, and the host reads for it on threads of its own
//! ([`Engine::poll_read`](super::Engine::poll_read)), so that a slow disk does not delay datagrams.
//!
//! - One peer has one read at a time, so its requests are answered in order.
//! - A turn is one [`Read`]: a single atom on a slow disk, as many as fit the turn on a fast one.
//!   Network groups take turns, and in a group its peers. A group has at most
//!   [`MAX_READS_PER_GROUP`] of the [`MAX_CONCURRENT_READS`] reads that are out.
//! - A peer has room for [`MAX_READS_PER_PEER`] requests. When [`MAX_READS`] wait in all, the
//!   source with most requests loses its latest.
//! - After [`MAX_READ_TIME`] a list is answered with the part that was read.

use super::limits::{
    MAX_CONCURRENT_READS, MAX_LIST_ANSWER_BYTES, MAX_READ_TIME, MAX_READ_WAIT, MAX_READS,
    MAX_READS_PER_GROUP, MAX_READS_PER_PEER,
};
use super::shares::{Share, Shares};
use super::{DropReason, Source};
use crate::atom::{Atom, AtomId, AtomSource, SourceError};
use crate::crypto::PublicKey;
use crate::time::Instant;
use crate::wire::network_group::NetworkGroup;
use crate::wire::object::{FOUND_LENGTH_BYTES, PayloadType};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

/// Result of [`ObjectSource::look_up`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LookUp {
    /// The atom.
    Found(Atom),
    /// The atom is not in the source.
    Missing,
    /// The atom may be on a disk. The host is asked to read it, see
    /// [`Engine::poll_read`](super::Engine::poll_read).
    OnDisk,
    /// The source failed.
    Failed,
}

/// Source of objects for requests of peers, which is queried while a datagram is handled: a source
/// that would have to wait for a disk returns [`LookUp::OnDisk`] instead.
///
/// Every [`AtomSource`] is an `ObjectSource` that never defers to a disk.
pub trait ObjectSource {
    /// Looks up an atom without waiting.
    fn look_up(&self, id: &AtomId) -> LookUp;
}

impl<S: AtomSource + ?Sized> ObjectSource for S {
    fn look_up(&self, id: &AtomId) -> LookUp {
        match self.atom(id) {
            Ok(atom) => LookUp::Found(atom),
            Err(SourceError::Missing(_)) => LookUp::Missing,
            Err(SourceError::Failed(_)) => LookUp::Failed,
        }
    }
}

/// An object, or the part of it that a store has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Object {
    Atom(Atom),
    /// The first atoms of a list, as far as a reference node can receive them in one answer.
    List(Vec<Atom>),
    Missing,
}

/// An object as far as it has been read.
#[derive(Clone, Debug)]
pub(super) struct Part {
    is_list: bool,
    next: AtomId,
    atoms: Vec<Atom>,
    bytes: usize,
    /// `true` for an atom, and for a list whose head alone exceeds a list answer: it is sent as an
    /// atom.
    is_atom: bool,
    is_complete: bool,
}

impl Part {
    /// Creates an object of which nothing has been read.
    pub(super) fn new(id: AtomId, kind: PayloadType) -> Self {
        Self {
            is_list: kind == PayloadType::LIST,
            next: id,
            atoms: Vec::new(),
            bytes: 0,
            is_atom: kind == PayloadType::ATOM,
            is_complete: id.is_zero() || !matches!(kind, PayloadType::ATOM | PayloadType::LIST),
        }
    }

    /// Returns the atom to read next, or `None` if the object is complete.
    pub(super) const fn wanted(&self) -> Option<AtomId> {
        if self.is_complete {
            None
        } else {
            Some(self.next)
        }
    }

    /// Adds the wanted atom.
    pub(super) fn take(&mut self, atom: Atom) {
        self.bytes += FOUND_LENGTH_BYTES + atom.stored_len();
        let is_too_long = self.is_list && self.bytes > MAX_LIST_ANSWER_BYTES;
        if is_too_long && !self.atoms.is_empty() {
            // The rest is the list that starts after the last atom.
            self.is_complete = true;
            return;
        }
        self.is_atom |= is_too_long;
        self.next = atom.next();
        self.is_complete = self.is_atom || self.next.is_zero();
        self.atoms.push(atom);
    }

    /// Ends the object: the wanted atom is missing, or the rest is not to be read.
    pub(super) const fn end(&mut self) {
        self.is_complete = true;
    }

    /// Returns the object.
    pub(super) fn into_object(mut self) -> Object {
        if self.atoms.is_empty() {
            return Object::Missing;
        }
        if !self.is_atom {
            return Object::List(self.atoms);
        }
        self.atoms.pop().map_or(Object::Missing, Object::Atom)
    }
}

/// Identifier of a read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ReadId(u64);

/// A read for the host to run on a thread that may wait for a disk.
#[derive(Clone, Debug)]
pub struct Read {
    id: ReadId,
    part: Part,
}

impl Read {
    /// Returns the identifier of the read.
    #[must_use]
    pub const fn id(&self) -> ReadId {
        self.id
    }

    /// Reads one atom, and then those that follow it in its list for as long as `has_time` returns
    /// `true`.
    pub fn run<S: AtomSource + ?Sized>(
        mut self,
        store: &S,
        mut has_time: impl FnMut() -> bool,
    ) -> ReadDone {
        let mut has_failed = false;
        while let Some(wanted) = self.part.wanted() {
            match store.atom(&wanted) {
                Ok(atom) => self.part.take(atom),
                Err(error) => {
                    has_failed = matches!(error, SourceError::Failed(_));
                    self.part.end();
                }
            }
            if !has_time() {
                break;
            }
        }
        self.done(has_failed)
    }

    /// Returns the result of a read that is abandoned, which counts as failed.
    #[must_use]
    pub fn give_up(mut self) -> ReadDone {
        self.part.end();
        self.done(true)
    }

    fn done(self, has_failed: bool) -> ReadDone {
        let Self { id, part } = self;
        ReadDone {
            id,
            part,
            has_failed,
        }
    }
}

/// Result of a [`Read`].
#[derive(Clone, Debug)]
pub struct ReadDone {
    id: ReadId,
    part: Part,
    has_failed: bool,
}

impl ReadDone {
    pub(super) const fn has_failed(&self) -> bool {
        self.has_failed
    }
}

/// A request that waits for reads.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) source: Source,
    pub(super) id: AtomId,
    pub(super) kind: PayloadType,
    /// `None` while a read has it.
    part: Option<Part>,
    since: Instant,
    first_read: Option<Instant>,
}

impl Request {
    pub(super) const fn new(
        now: Instant,
        source: Source,
        id: AtomId,
        kind: PayloadType,
        part: Part,
    ) -> Self {
        Self {
            source,
            id,
            kind,
            part: Some(part),
            since: now,
            first_read: None,
        }
    }
}

/// Requests of one peer that wait for reads, in order of arrival.
#[derive(Debug, Default)]
struct PeerReads {
    /// The first request is the one being read: its peer waits for a turn, or its read is out.
    requests: VecDeque<Request>,
}

/// Peers of a network group.
#[derive(Debug, Default)]
struct Group {
    /// Peers that wait for a turn: each has a request and no read that is out.
    turns: VecDeque<PublicKey>,
    out: usize,
}

/// Requests that wait for reads, and reads that are out.
#[derive(Debug, Default)]
pub(super) struct Reads {
    next_id: u64,
    peers: BTreeMap<Share, PeerReads>,
    groups: BTreeMap<NetworkGroup, Group>,
    /// Groups in which a peer waits for a turn.
    turns: VecDeque<NetworkGroup>,
    out: BTreeMap<ReadId, Share>,
    shares: Shares,
    waiting: usize,
}

impl Reads {
    /// Returns the number of requests that wait or are being read.
    pub(super) const fn len(&self) -> usize {
        self.waiting
    }

    /// Adds a request. A duplicate of a waiting request of the same peer is ignored.
    ///
    /// # Errors
    /// Returns [`DropReason::ReadsFull`] if a request was dropped: this one, or the latest of the
    /// source with most requests to make room for it.
    pub(super) fn add(&mut self, request: Request) -> Result<(), DropReason> {
        let share = request.source.share();
        let of_peer = self.peers.get(&share);
        let mut requests = of_peer.into_iter().flat_map(|peer| &peer.requests);
        if requests.any(|there| there.id == request.id && there.kind == request.kind) {
            return Ok(());
        }
        if of_peer.is_some_and(|peer| peer.requests.len() >= MAX_READS_PER_PEER) {
            return Err(DropReason::ReadsFull);
        }
        let mut dropped = Ok(());
        if self.waiting >= MAX_READS {
            let loser = self.shares.loser(share).filter(|loser| *loser != share);
            if !loser.is_some_and(|loser| self.drop_latest(loser)) {
                return Err(DropReason::ReadsFull);
            }
            dropped = Err(DropReason::ReadsFull);
        }
        let peer = self.peers.entry(share).or_default();
        let is_first = peer.requests.is_empty();
        peer.requests.push_back(request);
        self.shares.add(share);
        self.waiting += 1;
        if is_first {
            self.wait_for_turn(share);
        }
        dropped
    }

    /// Drops the latest request of a source, unless it is its only one.
    fn drop_latest(&mut self, share: Share) -> bool {
        let Some(peer) = self.peers.get_mut(&share) else {
            return false;
        };
        // The only request may be out, or have its turn: it stays.
        if peer.requests.len() < 2 {
            return false;
        }
        peer.requests.pop_back();
        self.shares.remove(share);
        self.waiting -= 1;
        true
    }

    fn wait_for_turn(&mut self, share: Share) {
        let group = self.groups.entry(share.group()).or_default();
        if group.turns.is_empty() {
            self.turns.push_back(share.group());
        }
        group.turns.push_back(share.key());
    }

    /// Takes the peer whose turn it is.
    fn take_turn(&mut self) -> Option<Share> {
        let groups = &self.groups;
        let has_capacity = |of: &NetworkGroup| {
            let group = groups.get(of);
            group.is_some_and(|group| group.out < MAX_READS_PER_GROUP)
        };
        // Few groups can have all their reads out, so the search is short.
        let at = self.turns.iter().position(has_capacity)?;
        let of = self.turns.remove(at)?;
        let group = self.groups.get_mut(&of)?;
        let key = group.turns.pop_front()?;
        if !group.turns.is_empty() {
            self.turns.push_back(of);
        }
        Some(Share::in_group(of, key))
    }

    /// Returns the next read, or `None` if [`MAX_CONCURRENT_READS`] are out or no request waits.
    /// `is_known` returns whether a peer is still known; `dropped` is called with the reason for
    /// each request that is dropped.
    pub(super) fn poll(
        &mut self,
        now: Instant,
        is_known: impl Fn(&PublicKey) -> bool,
        mut dropped: impl FnMut(DropReason),
    ) -> Option<Read> {
        while self.out.len() < MAX_CONCURRENT_READS {
            let share = self.take_turn()?;
            let Some(peer) = self.peers.get_mut(&share) else {
                continue;
            };
            let is_known = is_known(&share.key());
            let is_over = |request: &Request| {
                let is_late = now.since(request.since) >= MAX_READ_WAIT;
                !is_known || (is_late && request.first_read.is_none())
            };
            while peer.requests.front().is_some_and(is_over) {
                peer.requests.pop_front();
                self.shares.remove(share);
                self.waiting -= 1;
                dropped(DropReason::ReadTimeout);
            }
            let request = peer.requests.front_mut();
            let Some((request, part)) =
                request.and_then(|request| request.part.take().map(|part| (&mut *request, part)))
            else {
                self.peers.remove(&share);
                self.forget(share.group());
                continue;
            };
            request.first_read.get_or_insert(now);
            let id = ReadId(self.next_id);
            self.next_id += 1;
            self.groups.entry(share.group()).or_default().out += 1;
            self.out.insert(id, share);
            return Some(Read { id, part });
        }
        None
    }

    /// Handles the result of a read. Returns the request with its object once that is complete, or
    /// with the part that was read within [`MAX_READ_TIME`].
    pub(super) fn done(&mut self, now: Instant, done: ReadDone) -> Option<(Request, Object)> {
        let share = self.out.remove(&done.id)?;
        if let Some(group) = self.groups.get_mut(&share.group()) {
            group.out -= 1;
        }
        let ReadDone { part, .. } = done;
        let peer = self.peers.get_mut(&share)?;
        let request = peer.requests.front_mut()?;
        let first = request.first_read.unwrap_or(now);
        if part.wanted().is_some() && now.since(first) < MAX_READ_TIME {
            request.part = Some(part);
            self.wait_for_turn(share);
            return None;
        }
        let request = peer.requests.pop_front()?;
        self.shares.remove(share);
        self.waiting -= 1;
        if peer.requests.is_empty() {
            self.peers.remove(&share);
            self.forget(share.group());
        } else {
            self.wait_for_turn(share);
        }
        Some((request, part.into_object()))
    }

    /// Removes a group without reads or waiting peers.
    fn forget(&mut self, of: NetworkGroup) {
        let group = self.groups.get(&of);
        if group.is_some_and(|group| group.out == 0 && group.turns.is_empty()) {
            self.groups.remove(&of);
        }
    }
}
