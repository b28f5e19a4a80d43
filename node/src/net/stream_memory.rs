//! Memory of atoms that streams have brought and that their receivers have not taken.
//!
//! Atoms are counted from their arrival until the [`Share`] that goes with them is dropped: when they
//! are stored, handed over to the engine, or given up. While an account is full, the connections that
//! bring more are not read; the thread of the streams is woken when it no longer is.

use astreum_core::atom::{Atom, HashedAtom};
use core::ops::Deref;
use core::sync::atomic::{AtomicUsize, Ordering};
use mio::Waker;
use std::sync::Arc;

/// Number of bytes that an atom takes beyond its stored form: its id twice, while a group is put
/// together, lengths and pointers, and the overhead of an allocation.
const ATOM_BYTES: usize = 160;

/// Bytes in memory, and the number from which no more are read.
#[derive(Clone, Debug)]
pub(super) struct Account(Arc<Balance>);

#[derive(Debug)]
struct Balance {
    bytes: AtomicUsize,
    limit: usize,
    waker: Arc<Waker>,
}

impl Account {
    pub(super) fn new(limit: usize, waker: &Arc<Waker>) -> Self {
        Self(Arc::new(Balance {
            bytes: AtomicUsize::new(0),
            limit,
            waker: Arc::clone(waker),
        }))
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// Returns whether so much is in memory that no more is to be read.
    pub(super) fn is_full(&self) -> bool {
        self.bytes() >= self.0.limit
    }

    /// Returns whether a connection or atoms in memory have this account.
    pub(super) fn is_used(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    fn add(&self, bytes: usize) {
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn remove(&self, bytes: usize) {
        let before = self.0.bytes.fetch_sub(bytes, Ordering::Relaxed);
        if before >= self.0.limit && before - bytes < self.0.limit {
            // Fails only after the thread has ended.
            let _ = self.0.waker.wake();
        }
    }
}

/// Accounts of a node: the atoms of lists, and those of requests.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    pub(super) lists: Account,
    pub(super) requests: Account,
    peer_limit: usize,
}

impl Memory {
    /// Creates the accounts, each with the number of bytes from which it is full.
    pub(super) fn new(lists: usize, requests: usize, peer: usize, waker: &Arc<Waker>) -> Self {
        Self {
            lists: Account::new(lists, waker),
            requests: Account::new(requests, waker),
            peer_limit: peer,
        }
    }

    /// Creates the account of one peer.
    pub(super) fn of_peer(&self) -> Account {
        Account::new(self.peer_limit, &self.lists.0.waker)
    }

    pub(super) fn bytes(&self) -> usize {
        self.lists.bytes() + self.requests.bytes()
    }
}

/// Accounts of what a connection delivers: of all connections of its kind, and of its peer.
#[derive(Clone, Debug)]
pub(super) struct Accounts {
    pub(super) all: Account,
    pub(super) peer: Account,
}

impl Accounts {
    /// Counts atoms until the share is dropped.
    pub(super) fn share<'a>(&self, atoms: impl Iterator<Item = &'a Atom>) -> Share {
        let bytes = atoms.map(|atom| atom.stored_len() + ATOM_BYTES).sum();
        self.all.add(bytes);
        self.peer.add(bytes);
        Share {
            accounts: self.clone(),
            bytes,
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.all.is_full() || self.peer.is_full()
    }
}

/// Bytes in memory, which count until this is dropped.
#[derive(Debug)]
pub(super) struct Share {
    accounts: Accounts,
    bytes: usize,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.accounts.all.remove(self.bytes);
        self.accounts.peer.remove(self.bytes);
    }
}

/// Verified atoms that a stream has brought. They count as memory of streams until they are dropped.
#[derive(Debug)]
pub struct StreamedAtoms {
    atoms: Vec<HashedAtom>,
    _share: Share,
}

impl StreamedAtoms {
    pub(super) fn new(atoms: Vec<HashedAtom>, accounts: &Accounts) -> Self {
        let share = accounts.share(atoms.iter().map(HashedAtom::atom));
        Self {
            atoms,
            _share: share,
        }
    }

    /// Takes the atoms out, which no longer count.
    #[must_use]
    pub fn into_atoms(self) -> Vec<HashedAtom> {
        self.atoms
    }
}

impl Deref for StreamedAtoms {
    type Target = [HashedAtom];

    fn deref(&self) -> &[HashedAtom] {
        &self.atoms
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;
    use mio::{Events, Poll, Token};

    #[test]
    fn atoms_count_until_they_are_dropped_and_the_reader_is_woken_when_there_is_room() {
        let mut poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), Token(1)).unwrap());
        let mut is_woken = || {
            let mut events = Events::with_capacity(4);
            let zero = Some(Duration::ZERO);
            poll.poll(&mut events, zero).unwrap();
            !events.is_empty()
        };
        let atoms = |len| vec![HashedAtom::new(Atom::bytes(vec![7; len]))];
        let size = |len: usize| 33 + len + ATOM_BYTES;
        let all = Account::new(size(100) + size(50), &waker);
        let [one, other] = [size(100), usize::MAX].map(|limit| Accounts {
            all: all.clone(),
            peer: Account::new(limit, &waker),
        });
        let first = StreamedAtoms::new(atoms(100), &one);
        assert!(one.is_full() && !other.is_full(), "the limit of one peer");
        let second = StreamedAtoms::new(atoms(50), &other);
        assert!(other.is_full(), "the limit of all");
        assert_eq!(all.bytes(), size(100) + size(50));
        let third = StreamedAtoms::new(atoms(1), &other);
        drop(third);
        assert!(other.is_full() && !is_woken());
        assert_eq!(second.into_atoms(), atoms(50));
        assert!(!other.is_full() && is_woken());
        assert!(one.is_full() && !is_woken());
        drop(first);
        assert!(!one.is_full() && is_woken());
        assert_eq!((all.bytes(), one.peer.bytes()), (0, 0));
    }
}
