//! Fetch of a whole state: everything that the root of a state trie leads to.
//!
//! A node that joins a chain at a block that it trusts does not have the state after that block. Later
//! blocks are verified over it, and fetch what they need; this component fetches the rest, so that
//! the node can answer for every account, and serve others. The state is followed from its root:
//! what is stored is read, what is missing is requested from peers, as short lists, by stream.
//!
//! Invariants:
//! - An atom is followed only after it was checked against the id that leads to it: by the store, or
//!   by the client of the stream.
//! - Nothing is followed twice while it is remembered ([`SEEN`] ids), so that shared parts cost one
//!   visit.
//! - Memory is bounded by the depth of the state and the open requests, not by its size: what is
//!   found last is followed first.
//! - Complete means that every atom was found. A list that no peer has is asked for again.

use crate::atom::{Atom, AtomId, AtomKind, AtomSource, HashedAtom, SourceError};
use crate::chain::push_links;
use crate::wire::stream::MAX_IDS;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec;
use alloc::vec::Vec;

/// Number of visited ids that are remembered; the memory is 32 bytes for each.
pub const SEEN: usize = 1 << 20;
/// Maximum number of atoms that are requested of one list at a time. Nodes of tries and records have
/// at most ten.
pub const LIST_ATOMS: u32 = 64;

/// Number of atoms behind the symbol of a trie's node.
const NODE_FIELDS: usize = 4;

/// Ids that were visited lately, in constant memory: each replaces one that shares its place. A walk
/// that skips them visits shared parts once as long as few others lie between.
///
/// ```
/// use astreum_core::atom::AtomId;
/// use astreum_core::consensus::snapshot::Seen;
///
/// let mut seen = Seen::new(16);
/// assert!(seen.visit(AtomId::new([1; 32])) && !seen.visit(AtomId::new([1; 32])));
/// ```
#[derive(Debug)]
pub struct Seen(Box<[AtomId]>);

impl Seen {
    /// Creates the memory of at most `len` ids; at least one.
    #[must_use]
    pub fn new(len: usize) -> Self {
        Self(vec![AtomId::ZERO; len.max(1)].into())
    }

    /// Returns the place of an id.
    fn place(&mut self, id: &AtomId) -> Option<&mut AtomId> {
        let [a, b, c, d, ..] = *id.as_bytes();
        let hash = usize::try_from(u32::from_le_bytes([a, b, c, d])).unwrap_or_default();
        // The length is not zero.
        let at = hash.checked_rem(self.0.len())?;
        self.0.get_mut(at)
    }

    /// Records a visit; returns whether the id was not known to be visited.
    pub fn visit(&mut self, id: AtomId) -> bool {
        let place = self.place(&id);
        place.is_none_or(|place| core::mem::replace(place, id) != id)
    }

    /// Forgets a visit.
    fn forget(&mut self, id: &AtomId) {
        if let Some(place) = self.place(id).filter(|place| **place == *id) {
            *place = AtomId::ZERO;
        }
    }
}

/// Open request.
#[derive(Debug, Default)]
struct Open {
    /// Lists that have not arrived completely; the first is arriving.
    lists: VecDeque<AtomId>,
    /// Atoms of the first one.
    arrived: Vec<HashedAtom>,
}

/// Lists to request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListsWanted {
    /// Number by which the answer is reported.
    pub number: u64,
    /// Ids of their first atoms, at most [`MAX_IDS`].
    pub lists: Vec<AtomId>,
}

/// Result of [`StateFetch::poll`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StatePoll {
    /// These lists are missing: at most [`LIST_ATOMS`] atoms of each are to be requested.
    Request(ListsWanted),
    /// There is more to follow in the store.
    Busy,
    /// Open requests have to be answered first.
    Waiting,
    /// Everything else was found: what is missing has been refused, and is followed again after
    /// [`StateFetch::retry`].
    Refused,
    /// The whole state is stored.
    Complete,
}

/// Fetch of a state. See the [module](self).
#[derive(Debug)]
pub struct StateFetch {
    /// Ids to follow, the next one last.
    waiting: Vec<AtomId>,
    /// Lists that are missing and not requested.
    missing: Vec<AtomId>,
    open: BTreeMap<u64, Open>,
    /// Lists that were requested from a peer, which did not deliver them.
    refused: Vec<AtomId>,
    /// Nodes of which a part is stored: their children are known when the rest has arrived.
    incomplete: Vec<AtomId>,
    /// `true` if something has arrived since the incomplete nodes were looked at.
    has_progressed: bool,
    seen: Seen,
    next_number: u64,
    atoms: u64,
    bytes: u64,
}

impl StateFetch {
    /// Starts at these ids: roots of tries, or first atoms of lists.
    #[must_use]
    pub fn new(roots: impl IntoIterator<Item = AtomId>) -> Self {
        Self {
            waiting: roots.into_iter().filter(|root| !root.is_zero()).collect(),
            missing: Vec::new(),
            open: BTreeMap::new(),
            refused: Vec::new(),
            incomplete: Vec::new(),
            has_progressed: false,
            seen: Seen::new(SEEN),
            next_number: 0,
            atoms: 0,
            bytes: 0,
        }
    }

    /// Returns the number of atoms that have arrived.
    #[must_use]
    pub const fn atoms(&self) -> u64 {
        self.atoms
    }

    /// Returns the stored bytes of these atoms.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the number of lists that were refused and not found since.
    #[must_use]
    pub const fn refused(&self) -> usize {
        self.refused.len()
    }

    /// Returns the number of open requests.
    #[must_use]
    pub fn open_requests(&self) -> usize {
        self.open.len()
    }

    /// Follows up to `steps` ids in the store, and returns what has to be done next.
    ///
    /// # Errors
    /// Fails if the source fails; it may be called again.
    pub fn poll<S: AtomSource>(&mut self, source: &S, steps: u32) -> Result<StatePoll, S::Error> {
        for _ in 0..steps {
            if self.missing.len() >= MAX_IDS {
                break;
            }
            let Some(id) = self.waiting.pop() else { break };
            if !self.seen.visit(id) {
                continue;
            }
            if let Err(error) = self.look_at(source, id) {
                self.again([id]);
                return Err(error);
            }
        }
        Ok(self.next())
    }

    /// Follows an id in the store, or notes what is missing.
    fn look_at<S: AtomSource>(&mut self, source: &S, id: AtomId) -> Result<(), S::Error> {
        let atom = match source.atom(&id) {
            Ok(atom) => atom,
            Err(SourceError::Missing(_)) => {
                self.missing.push(id);
                return Ok(());
            }
            Err(SourceError::Failed(error)) => return Err(error),
        };
        let Some(field) = missing_field(source, &atom)? else {
            return push_links(source, &atom, &mut self.waiting);
        };
        self.incomplete.push(id);
        if self.seen.visit(field) {
            self.missing.push(field);
        }
        Ok(())
    }

    fn next(&mut self) -> StatePoll {
        let is_full = self.missing.len() >= MAX_IDS;
        if !self.missing.is_empty() && (is_full || self.waiting.is_empty()) {
            let at = self.missing.len().saturating_sub(MAX_IDS);
            let lists = self.missing.split_off(at);
            let number = self.next_number;
            self.next_number += 1;
            let open = Open {
                lists: lists.iter().copied().collect(),
                arrived: Vec::new(),
            };
            self.open.insert(number, open);
            return StatePoll::Request(ListsWanted { number, lists });
        }
        let is_still = self.waiting.is_empty() && self.open.is_empty();
        if is_still && !self.incomplete.is_empty() && self.has_progressed {
            self.has_progressed = false;
            let incomplete = core::mem::take(&mut self.incomplete);
            self.again(incomplete);
        }
        match (self.waiting.is_empty(), self.open.is_empty()) {
            (false, _) => StatePoll::Busy,
            (true, false) => StatePoll::Waiting,
            (true, true) if !self.refused.is_empty() || !self.incomplete.is_empty() => {
                StatePoll::Refused
            }
            (true, true) => StatePoll::Complete,
        }
    }

    /// Follows verified atoms that an answer has brought, in order. They must be stored.
    ///
    /// # Errors
    /// Fails if the source fails.
    pub fn arrived<S: AtomSource>(
        &mut self,
        number: u64,
        atoms: Vec<HashedAtom>,
        source: &S,
    ) -> Result<(), S::Error> {
        let Some(mut open) = self.open.remove(&number) else {
            return Ok(());
        };
        self.has_progressed |= !atoms.is_empty();
        for atom in atoms {
            self.atoms += 1;
            self.bytes += atom.atom().stored_len() as u64;
            let is_last = atom.atom().next().is_zero();
            open.arrived.push(atom);
            let most = usize::try_from(LIST_ATOMS).unwrap_or(usize::MAX);
            if is_last || open.arrived.len() >= most {
                let list = core::mem::take(&mut open.arrived);
                open.lists.pop_front();
                self.follow(&list, source)?;
            }
        }
        if !open.lists.is_empty() {
            self.open.insert(number, open);
        }
        Ok(())
    }

    /// Follows the atoms of a list, or of its beginning.
    fn follow<S: AtomSource>(&mut self, list: &[HashedAtom], source: &S) -> Result<(), S::Error> {
        let over = Over { list, source };
        let mut links = Vec::new();
        for atom in list {
            push_links(&over, atom.atom(), &mut links)?;
        }
        // The rest of the list is at hand.
        links.retain(|link| list.iter().all(|atom| atom.id() != *link));
        self.waiting.append(&mut links);
        Ok(())
    }

    /// Ends a request. What has not arrived was refused, or the connection was lost.
    pub fn ended(&mut self, number: u64, was_refused: bool) {
        let Some(mut open) = self.open.remove(&number) else {
            return;
        };
        // The server ends the answer at the first list that it does not have. A list of which a part
        // has arrived continues behind it.
        if was_refused && open.arrived.is_empty() {
            self.refused.extend(open.lists.pop_front());
        }
        self.again(open.lists);
    }

    /// Follows refused lists again.
    pub fn retry(&mut self) {
        let refused = core::mem::take(&mut self.refused);
        self.again(refused);
    }

    /// Follows ids again that count as visited.
    fn again(&mut self, ids: impl IntoIterator<Item = AtomId>) {
        for id in ids {
            self.seen.forget(&id);
            self.waiting.push(id);
        }
    }
}

/// Returns the first of the fields behind a symbol that is not stored: those of a trie's node name
/// its children, which are not known otherwise.
fn missing_field<S: AtomSource>(source: &S, atom: &Atom) -> Result<Option<AtomId>, S::Error> {
    if atom.kind() != AtomKind::Symbol {
        return Ok(None);
    }
    let mut next = atom.next();
    for _ in 0..NODE_FIELDS {
        if next.is_zero() {
            break;
        }
        next = match source.atom(&next) {
            Ok(field) => field.next(),
            Err(SourceError::Missing(_)) => return Ok(Some(next)),
            Err(SourceError::Failed(error)) => return Err(error),
        };
    }
    Ok(None)
}

/// Atoms of a list over a store.
struct Over<'a, S> {
    list: &'a [HashedAtom],
    source: &'a S,
}

impl<S: AtomSource> AtomSource for Over<'_, S> {
    type Error = S::Error;

    fn atom(&self, id: &AtomId) -> Result<Atom, SourceError<S::Error>> {
        match self.list.iter().find(|atom| atom.id() == *id) {
            Some(atom) => Ok(atom.atom().clone()),
            None => self.source.atom(id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atom::MemoryStore;
    use crate::chain::Account;
    use crate::expr::Expr;
    use crate::trie::{Scalar, Trie};
    use core::cell::Cell;
    use core::convert::Infallible;

    /// Stores a state with accounts, some of them with code and data; returns its root.
    fn state(accounts: u16, store: &mut MemoryStore) -> AtomId {
        let code = Expr::list(
            (0..200_u8)
                .map(|byte| Expr::bytes([byte]))
                .collect::<Vec<_>>(),
        );
        let (code, atoms) = code.to_atoms();
        store.extend(atoms);
        let mut map = Trie::new();
        for number in 0..accounts {
            let mut account = Account {
                balance: u64::from(number / 3).into(),
                ..Account::default()
            };
            if number % 5 == 0 {
                account.code = code;
                let mut data = Trie::new();
                data.put(&*store, &number.to_be_bytes(), b"value").unwrap();
                account.data = data.commit(&mut Scalar, store).unwrap();
            }
            let id = account.write(store).unwrap();
            let key = crate::crypto::hash(&number.to_be_bytes());
            map.put(&*store, &key, id.as_bytes()).unwrap();
        }
        map.commit(&mut Scalar, store).unwrap()
    }

    /// Answer of a peer to a request: the atoms of the lists up to the first one that it lacks.
    fn answer(peer: &MemoryStore, lists: &[AtomId]) -> (Vec<HashedAtom>, bool) {
        let mut atoms = Vec::new();
        for list in lists {
            let mut next = *list;
            for _ in 0..LIST_ATOMS {
                let Ok(atom) = peer.atom(&next) else {
                    return (atoms, false);
                };
                next = atom.next();
                atoms.push(HashedAtom::new(atom));
                if next.is_zero() {
                    break;
                }
            }
        }
        (atoms, true)
    }

    fn put(atoms: &[HashedAtom], store: &mut MemoryStore) {
        store.extend(atoms.iter().map(|atom| atom.atom().clone()));
    }

    /// Fetches from a peer until nothing is left to ask it for; returns the result, and the number of
    /// requests. Each answer arrives in pieces of this size.
    fn fetch(
        fetch: &mut StateFetch,
        peer: &MemoryStore,
        store: &mut MemoryStore,
        piece: usize,
    ) -> (StatePoll, usize) {
        let mut requests = 0;
        loop {
            let polled: Result<StatePoll, Infallible> = fetch.poll(&*store, 100);
            match polled.unwrap() {
                StatePoll::Busy => {}
                StatePoll::Request(ListsWanted { number, lists }) => {
                    requests += 1;
                    let (atoms, is_complete) = answer(peer, &lists);
                    for atoms in atoms.chunks(piece) {
                        put(atoms, store);
                        fetch.arrived(number, atoms.to_vec(), &*store).unwrap();
                    }
                    if !is_complete {
                        fetch.ended(number, true);
                    }
                }
                other => return (other, requests),
            }
        }
    }

    #[test]
    fn whole_state_arrives_in_any_pieces() {
        let mut peer = MemoryStore::new();
        let root = state(500, &mut peer);
        for piece in [1, 3, 1_000] {
            let (mut store, mut state) = (MemoryStore::new(), StateFetch::new([root]));
            let (end, requests) = fetch(&mut state, &peer, &mut store, piece);
            assert_eq!(end, StatePoll::Complete, "{piece}");
            assert_eq!(store.len(), peer.len());
            assert!(requests < 60, "{requests} requests");
            assert!(state.atoms() >= store.len() as u64 && state.bytes() > state.atoms());
        }
    }

    #[test]
    fn stored_part_is_followed_and_not_requested() {
        let mut peer = MemoryStore::new();
        let root = state(300, &mut peer);
        let mut store = MemoryStore::new();
        let all: Vec<Atom> = peer.iter().map(|(_, atom)| atom.clone()).collect();
        // Every second atom was stored before an interruption.
        store.extend(all.iter().step_by(2).cloned());
        let missing = peer.len() - store.len();
        let mut state = StateFetch::new([root]);
        let (end, _) = fetch(&mut state, &peer, &mut store, 50);
        assert_eq!((end, store.len()), (StatePoll::Complete, peer.len()));
        assert!(state.atoms() < 6 * missing as u64, "{}", state.atoms());
        let mut again = StateFetch::new([root]);
        let (end, requests) = fetch(&mut again, &MemoryStore::new(), &mut store, 50);
        assert_eq!((end, requests), (StatePoll::Complete, 0));
    }

    #[test]
    fn lists_that_a_peer_lacks_do_not_hide_others_and_are_asked_for_again() {
        let mut whole = MemoryStore::new();
        let root = state(300, &mut whole);
        let all: Vec<Atom> = whole.iter().map(|(_, atom)| atom.clone()).collect();
        let account = Account {
            balance: 7_u64.into(),
            ..Account::default()
        };
        let lost = account.to_atoms().0;
        let part: MemoryStore = all.into_iter().filter(|atom| atom.id() != lost).collect();
        let (mut store, mut state) = (MemoryStore::new(), StateFetch::new([root]));
        let (end, _) = fetch(&mut state, &part, &mut store, 50);
        assert_eq!((end, state.refused()), (StatePoll::Refused, 1));
        assert!(store.len() + 6 >= part.len(), "all but one record");
        // A peer that has nothing does not end it either.
        state.retry();
        let (end, _) = fetch(&mut state, &MemoryStore::new(), &mut store, 50);
        assert_eq!((end, state.refused()), (StatePoll::Refused, 1));
        state.retry();
        let (end, _) = fetch(&mut state, &whole, &mut store, 50);
        assert_eq!((end, store.len()), (StatePoll::Complete, whole.len()));
    }

    #[test]
    fn peers_that_each_have_every_second_atom_give_the_whole() {
        let mut whole = MemoryStore::new();
        let root = state(200, &mut whole);
        let part = |odd: bool| -> MemoryStore {
            let atoms = whole
                .iter()
                .filter(|(id, _)| (id.as_bytes()[0] % 2 == 1) == odd);
            atoms.map(|(_, atom)| atom.clone()).collect()
        };
        let peers = [part(true), part(false)];
        let (mut store, mut state) = (MemoryStore::new(), StateFetch::new([root]));
        for round in 0.. {
            let (end, _) = fetch(&mut state, &peers[round % 2], &mut store, 50);
            if end == StatePoll::Complete {
                break;
            }
            assert_eq!(end, StatePoll::Refused);
            assert!(round < 500, "no progress");
            state.retry();
        }
        assert_eq!(store.len(), whole.len());
    }

    #[test]
    fn lost_connection_costs_the_rest_of_its_requests() {
        let mut peer = MemoryStore::new();
        let root = state(100, &mut peer);
        let (mut store, mut state) = (MemoryStore::new(), StateFetch::new([root]));
        let StatePoll::Request(first) = state.poll(&store, 10).unwrap() else {
            panic!("a request");
        };
        assert_eq!(state.poll(&store, 10), Ok(StatePoll::Waiting));
        state.ended(first.number, false);
        let (end, _) = fetch(&mut state, &peer, &mut store, 50);
        assert_eq!((end, store.len()), (StatePoll::Complete, peer.len()));
        // What belongs to a request that has ended is ignored.
        state
            .arrived(first.number, answer(&peer, &[root]).0, &store)
            .unwrap();
        assert_eq!(state.poll(&store, 10), Ok(StatePoll::Complete));
    }

    #[test]
    fn failure_of_the_store_loses_nothing() {
        /// Fails at one read.
        struct Failing<'s>(&'s MemoryStore, Cell<usize>);
        impl AtomSource for Failing<'_> {
            type Error = ();
            fn atom(&self, id: &AtomId) -> Result<Atom, SourceError<()>> {
                self.1.set(self.1.get().wrapping_sub(1));
                match self.1.get() {
                    0 => Err(SourceError::Failed(())),
                    _ => self.0.atom(id).map_err(|_| SourceError::Missing(*id)),
                }
            }
        }
        let mut store = MemoryStore::new();
        let root = state(20, &mut store);
        let lost = store.atom(&root).unwrap().next();
        let part: MemoryStore = store
            .iter()
            .filter(|(id, _)| **id != lost)
            .map(|(_, atom)| atom.clone())
            .collect();
        for at in 1..40 {
            let mut state = StateFetch::new([root]);
            let failing = Failing(&part, Cell::new(at));
            let polled: Vec<_> = (0..2).map(|_| state.poll(&failing, u32::MAX)).collect();
            let requests = |poll: &Result<StatePoll, ()>| matches!(poll, Ok(StatePoll::Request(_)));
            assert!(polled.iter().any(requests), "the rest of the root, {at}");
            let mut state = StateFetch::new([root]);
            let failing = Failing(&store, Cell::new(at));
            assert_eq!(state.poll(&failing, u32::MAX), Err(()), "{at}");
            assert_eq!(
                state.poll(&failing, u32::MAX),
                Ok(StatePoll::Complete),
                "{at}"
            );
        }
    }

    #[test]
    fn parts_that_are_shared_by_everything_cost_one_visit() {
        // Each list names the one below it twice: 2^60 ways lead to the bottom.
        let mut peer = MemoryStore::new();
        let mut root = peer.insert(Atom::empty_list());
        for _ in 0..60 {
            let rest = peer.insert(Atom::list(root, AtomId::ZERO));
            root = peer.insert(Atom::list(root, rest));
        }
        let (mut store, mut state) = (MemoryStore::new(), StateFetch::new([root]));
        let (end, requests) = fetch(&mut state, &peer, &mut store, 50);
        assert_eq!((end, store.len()), (StatePoll::Complete, peer.len()));
        assert!(requests < 200, "{requests}");
    }
}
