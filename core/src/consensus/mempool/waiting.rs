//! Data that waiting transactions need: lists are measured, atoms are fetched.
//!
//! Transactions that name the same list share its measurement, and lists that lack the same atom
//! share its fetch; if no peer has the atom, all of them are given up together. A local list is
//! read a slice at a time, and lists take turns, so that a short one does not wait for long ones.
//! Of a fetched list only the length is kept, not its atoms: it may be larger than the store.
//!
//! Invariants:
//! - At most [`MAX_FETCHES`] fetches are under way; senders take turns for them.
//! - One call reads at most [`SLICE_ATOMS`] atoms, and two slices are [`SLICE_PAUSE`] apart.
//! - A need ends in one [`Resolved`], unless it is dropped before.

use super::turns::{Sender, Turn, Turns};
use super::verdicts::{ListLength, Verdict};
use crate::atom::{Atom, AtomId, AtomSource};
use crate::chain::MAX_LIST_ATOMS;
use crate::consensus::{Context, Effect, PART};
use crate::crypto::PublicKey;
use crate::engine::{FetchError, FetchRequest};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::convert::Infallible;
use core::time::Duration;

/// Maximum number of fetches under way.
pub const MAX_FETCHES: usize = 16;
/// Number of failed fetches of one atom at which everything that needs it is given up.
pub const MAX_FAILURES: u8 = 2;
/// Maximum number of fetches for one list: twice as many as a list of maximum length needs.
pub const MAX_PARTS: u32 = 4_096;
/// Maximum number of atoms read in one call, of all lists together.
pub const SLICE_ATOMS: usize = 512;
/// Number of atoms of one list that are read before the next list has its turn.
const TURN_ATOMS: usize = 128;
/// Interval between two slices, so that reading lists takes a small part of the thread's time.
pub const SLICE_PAUSE: Duration = Duration::from_millis(4);

/// Data that transactions wait for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Data {
    /// The length of a list.
    List(AtomId),
    /// An atom of the state.
    Atom(AtomId),
}

impl Data {
    /// Returns the id of the list or atom.
    #[must_use]
    pub const fn id(&self) -> AtomId {
        match self {
            Self::List(id) | Self::Atom(id) => *id,
        }
    }
}

/// Result of a need.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resolved {
    /// The list was measured.
    List(AtomId, Verdict),
    /// The atom is available.
    Atom(AtomId),
    /// The data needs an atom that no peer has.
    Unavailable {
        /// Id of the data.
        data: AtomId,
        /// Id of the atom.
        atom: AtomId,
    },
}

/// Read of a list that keeps only its length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Walk {
    next: AtomId,
    length: ListLength,
}

impl Walk {
    const fn new(list: AtomId) -> Self {
        let length = ListLength { atoms: 0, bytes: 0 };
        Self { next: list, length }
    }

    /// Counts the next atom. Returns the verdict if there is one.
    fn take(&mut self, atom: &Atom) -> Option<Verdict> {
        if self.length.atoms >= MAX_LIST_ATOMS as u64 {
            return Some(Verdict::TooLong);
        }
        self.length.atoms += 1;
        self.length.bytes = self.length.bytes.saturating_add(atom.stored_len() as u64);
        self.next = atom.next();
        self.end()
    }

    fn end(&self) -> Option<Verdict> {
        self.next
            .is_zero()
            .then_some(Verdict::Measured(self.length))
    }
}

#[derive(Debug)]
struct Need {
    sender: Sender,
    /// Peer to ask first.
    from: Option<PublicKey>,
    /// Progress along a list; `None` for an atom.
    walk: Option<Walk>,
    parts: u32,
    /// Atom that it waits for; `None` while it is being read.
    missing: Option<AtomId>,
}

/// Fetch of an atom, under way or queued.
#[derive(Debug)]
struct Fetch {
    needs: Vec<AtomId>,
    failures: u8,
    /// Its position in the queue; `None` while it is under way.
    queued: Option<Turn>,
}

/// Needs of waiting transactions. See the [module](self).
#[derive(Debug)]
pub struct Needs {
    needs: BTreeMap<AtomId, Need>,
    fetches: BTreeMap<AtomId, Fetch>,
    queue: Turns<AtomId>,
    arrivals: i64,
    under_way: usize,
    walking: VecDeque<AtomId>,
    next_slice: Duration,
    resolved: Vec<Resolved>,
}

impl Default for Needs {
    fn default() -> Self {
        Self {
            needs: BTreeMap::new(),
            fetches: BTreeMap::new(),
            queue: Turns::new(),
            arrivals: 0,
            under_way: 0,
            walking: VecDeque::new(),
            next_slice: Duration::ZERO,
            resolved: Vec::new(),
        }
    }
}

impl Needs {
    /// Adds a need, unless it exists. `from` is a peer that is likely to have the data.
    pub fn add(&mut self, data: Data, sender: Sender, from: Option<PublicKey>) {
        let id = data.id();
        if self.needs.contains_key(&id) {
            return;
        }
        let walk = match data {
            Data::List(list) => Some(Walk::new(list)),
            Data::Atom(_) => None,
        };
        let need = Need {
            sender,
            from,
            walk,
            parts: 0,
            missing: None,
        };
        self.needs.insert(id, need);
        match walk.map(|walk| walk.end()) {
            Some(Some(verdict)) => self.resolve(id, Resolved::List(id, verdict)),
            Some(None) => self.walking.push_back(id),
            None => self.fetch(id, id),
        }
    }

    /// Removes a need that no transaction has any more.
    pub fn drop(&mut self, id: &AtomId) {
        self.remove(id);
        self.resolved.retain(|resolved| resolved.data() != *id);
    }

    /// Reads a slice of the local lists, and starts fetches.
    pub fn advance(
        &mut self,
        now: Duration,
        atoms: &dyn AtomSource<Error = Infallible>,
        context: &mut Context,
    ) {
        if self.next_slice <= now && !self.walking.is_empty() {
            self.next_slice = now.saturating_add(SLICE_PAUSE);
            let mut left = SLICE_ATOMS;
            while left > 0
                && let Some(id) = self.walking.pop_front()
            {
                left = left.saturating_sub(self.walk(id, atoms));
            }
        }
        while self.under_way < MAX_FETCHES {
            let first = self.queue.iter().next().map(|(turn, atom)| (turn, *atom));
            let Some((turn, atom)) = first else {
                return;
            };
            self.queue.remove(turn);
            let Some(fetch) = self.fetches.get_mut(&atom) else {
                continue;
            };
            fetch.queued = None;
            self.under_way += 1;
            // The peer that announced the transaction is asked first, other providers after a
            // failure.
            let is_first = fetch.failures == 0;
            let need = fetch.needs.first().and_then(|need| self.needs.get(need));
            let from = need.and_then(|need| need.from).filter(|_| is_first);
            let request = FetchRequest::beginning(atom, PART).first_from(from);
            context.push_effect(Effect::Fetch(request));
        }
    }

    /// Records the end of a fetch, which may have been one of these.
    pub fn fetched(&mut self, id: &AtomId, outcome: Result<&[Atom], FetchError>) {
        let Some(fetch) = self.fetches.get_mut(id) else {
            return;
        };
        if fetch.queued.is_none() {
            self.under_way -= 1;
        }
        let atoms = outcome.unwrap_or_default();
        if atoms.is_empty() {
            self.fetch_failed(*id);
            return;
        }
        let Some(fetch) = self.fetches.remove(id) else {
            return;
        };
        if let Some(turn) = fetch.queued {
            self.queue.remove(turn);
        }
        for need in fetch.needs {
            self.feed(need, atoms);
        }
    }

    /// Returns the needs resolved since the last call.
    pub fn take_resolved(&mut self) -> Vec<Resolved> {
        core::mem::take(&mut self.resolved)
    }

    /// Returns when [`Needs::advance`] is due next.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        if self.under_way < MAX_FETCHES && !self.queue.is_empty() {
            return Some(Duration::ZERO);
        }
        (!self.walking.is_empty()).then_some(self.next_slice)
    }

    /// Returns whether there are no needs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.needs.is_empty()
    }

    /// Reads the local part of a list. Returns the number of atoms read or requested.
    fn walk(&mut self, id: AtomId, atoms: &dyn AtomSource<Error = Infallible>) -> usize {
        let Some(walk) = self.needs.get_mut(&id).and_then(|need| need.walk.as_mut()) else {
            return 1;
        };
        for read in 1..=TURN_ATOMS {
            let next = walk.next;
            let Ok(atom) = atoms.atom(&next) else {
                self.fetch(id, next);
                return read;
            };
            if let Some(verdict) = walk.take(&atom) {
                self.resolve(id, Resolved::List(id, verdict));
                return read;
            }
        }
        self.walking.push_back(id);
        TURN_ATOMS
    }

    /// Continues a need whose next atoms have been fetched.
    fn feed(&mut self, id: AtomId, atoms: &[Atom]) {
        let Some(need) = self.needs.get_mut(&id) else {
            return;
        };
        need.missing = None;
        need.parts += 1;
        let is_over = need.parts > MAX_PARTS;
        let Some(walk) = need.walk.as_mut() else {
            self.resolve(id, Resolved::Atom(id));
            return;
        };
        if let Some(verdict) = atoms.iter().find_map(|atom| walk.take(atom)) {
            self.resolve(id, Resolved::List(id, verdict));
        } else if is_over {
            // Peers send it atom by atom, which does not prove anything about the list.
            let (data, atom) = (id, walk.next);
            self.resolve(id, Resolved::Unavailable { data, atom });
        } else {
            self.walking.push_back(id);
        }
    }

    /// Queues the fetch of an atom that a need lacks.
    fn fetch(&mut self, id: AtomId, atom: AtomId) {
        let Some(need) = self.needs.get_mut(&id) else {
            return;
        };
        need.missing = Some(atom);
        let sender = need.sender;
        if let Some(fetch) = self.fetches.get_mut(&atom) {
            fetch.needs.push(id);
            return;
        }
        let queued = Some(self.enqueue(sender, atom));
        let fetch = Fetch {
            needs: [id].into(),
            failures: 0,
            queued,
        };
        self.fetches.insert(atom, fetch);
    }

    fn enqueue(&mut self, sender: Sender, atom: AtomId) -> Turn {
        let arrival = self.arrivals;
        self.arrivals += 1;
        self.queue.push(sender, arrival, atom)
    }

    fn fetch_failed(&mut self, atom: AtomId) {
        let Some(fetch) = self.fetches.get_mut(&atom) else {
            return;
        };
        if fetch.queued.is_some() {
            // The fetch was another component's; ours is still queued.
            return;
        }
        if fetch.needs.is_empty() {
            self.fetches.remove(&atom);
            return;
        }
        fetch.failures += 1;
        if fetch.failures < MAX_FAILURES {
            let need = fetch.needs.first().and_then(|need| self.needs.get(need));
            let sender = need.map_or([0; 32], |need| need.sender);
            let queued = Some(self.enqueue(sender, atom));
            if let Some(fetch) = self.fetches.get_mut(&atom) {
                fetch.queued = queued;
            }
            return;
        }
        let needs = self.fetches.remove(&atom).map(|fetch| fetch.needs);
        for data in needs.unwrap_or_default() {
            if let Some(need) = self.needs.get_mut(&data) {
                need.missing = None;
            }
            self.resolve(data, Resolved::Unavailable { data, atom });
        }
    }

    fn resolve(&mut self, id: AtomId, resolved: Resolved) {
        self.remove(&id);
        self.resolved.push(resolved);
    }

    fn remove(&mut self, id: &AtomId) {
        let Some(need) = self.needs.remove(id) else {
            return;
        };
        let Some(atom) = need.missing else {
            self.walking.retain(|walking| walking != id);
            return;
        };
        if let Some(fetch) = self.fetches.get_mut(&atom) {
            fetch.needs.retain(|other| other != id);
            // A fetch that is under way ends by itself.
            if fetch.needs.is_empty()
                && let Some(turn) = fetch.queued
            {
                self.queue.remove(turn);
                self.fetches.remove(&atom);
            }
        }
    }
}

impl Resolved {
    /// Returns the id of the list or atom.
    #[must_use]
    pub const fn data(&self) -> AtomId {
        match self {
            Self::List(data, _) | Self::Atom(data) | Self::Unavailable { data, .. } => *data,
        }
    }
}

#[cfg(test)]
mod tests;
