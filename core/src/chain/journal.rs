//! What a block has written so far, over the state of its parent.
//!
//! Accounts, and the entries of their tries, are read through here and written here; the store is
//! not touched until [`Journal::seal`] turns everything that changed into atoms, once for the whole
//! block.
//!
//! Invariants:
//! - **What a transaction wrote is what the next one reads**, records included: a contract or
//!   channel record can be read as a list of atoms as soon as the transaction that made it is done.
//! - **Dropped whole**: after [`Journal::rollback`] everything is as it was at the last
//!   [`Journal::checkpoint`].
//! - **Missing is an outcome**: an operation that needs an atom which the source does not have has
//!   changed nothing that can be seen. Trie nodes stay loaded, so that asking again costs little.
//! - Nothing depends on the order in which accounts or entries were touched: staged maps are
//!   ordered, and tries are canonical.

use super::fields::Fields;
use super::record::{Part, write_chains};
use super::{Account, Address, RecordError};
use crate::atom::{Atom, AtomId, AtomKind, AtomSink, AtomSource, SourceError};
use crate::expr::Bytes;
use crate::trie::{BatchHasher, Scalar, Trie, TrieError};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::convert::Infallible;
use core::fmt;
use core::ops::Range;

/// Why the state could not be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StateError<E> {
    /// An atom is missing or the source failed.
    Source(SourceError<E>),
    /// A transaction looks at the length of a list, and it is not known from this atom on. Fetch the
    /// atoms from there, or measure them and say so in
    /// [`AtomSource::list_stretch`](crate::atom::AtomSource::list_stretch). An atom that cannot be
    /// had may be one that the block itself makes: what was measured up to it is enough then.
    Unmeasured {
        /// The head of the list.
        list: AtomId,
        /// The first atom that is missing.
        at: AtomId,
    },
    /// What is stored under this id is not what the state needs there.
    Malformed {
        /// The id.
        id: AtomId,
        /// What is wrong with it.
        problem: &'static str,
    },
}

impl<E> StateError<E> {
    /// The atom to fetch before the operation is tried again, if that is what it waits for.
    #[must_use]
    pub const fn missing(&self) -> Option<AtomId> {
        match self {
            Self::Source(SourceError::Missing(id)) | Self::Unmeasured { at: id, .. } => Some(*id),
            _ => None,
        }
    }

    /// The head of the list whose length is needed, if the operation waits for that.
    #[must_use]
    pub const fn unmeasured(&self) -> Option<AtomId> {
        match self {
            Self::Unmeasured { list, .. } => Some(*list),
            _ => None,
        }
    }
}

impl<E> From<SourceError<E>> for StateError<E> {
    fn from(error: SourceError<E>) -> Self {
        Self::Source(error)
    }
}

impl<E> From<TrieError<E>> for StateError<E> {
    fn from(error: TrieError<E>) -> Self {
        match error {
            TrieError::Source(error) => Self::Source(error),
            TrieError::Malformed { node, problem } => Self::Malformed { id: node, problem },
            TrieError::KeyTooLong { .. } => Self::Malformed {
                id: AtomId::ZERO,
                problem: "a key is too long for a trie",
            },
        }
    }
}

impl<E> From<RecordError<E>> for StateError<E> {
    fn from(error: RecordError<E>) -> Self {
        match error {
            RecordError::Source(error) => Self::Source(error),
            RecordError::Malformed { record, problem } => Self::Malformed {
                id: record,
                problem,
            },
        }
    }
}

impl<E: fmt::Display> fmt::Display for StateError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(error) => error.fmt(f),
            Self::Unmeasured { list, at } => {
                write!(
                    f,
                    "the length of list {list} is not known from atom {at} on"
                )
            }
            Self::Malformed { id, problem } => write!(f, "the state at {id}: {problem}"),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for StateError<E> {}

/// A key in one of an account's tries.
pub(super) type Key = [u8; 32];

/// One of an account's two tries.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Map {
    /// Stakes of the treasury, contracts of the burn account.
    Data,
    /// Payment channels by peer.
    Channels,
}

/// Names a record that the block made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct RecordIndex(usize);

/// What stands under a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Value {
    /// These bytes.
    Bytes(Bytes),
    /// The id of a record that this block made.
    Record(RecordIndex),
}

/// An account that was read.
#[derive(Clone)]
struct Staged {
    /// `None` when there is no such account.
    account: Option<Account>,
    changed: bool,
}

/// A trie that was read, and what was written to it.
struct StagedMap {
    trie: Trie,
    writes: BTreeMap<Key, Value>,
}

enum Undo {
    Account(Address, Staged),
    Entry(Address, Map, Key, Option<Value>),
}

/// Staged writes over the accounts trie of the parent.
pub(super) struct Journal<S> {
    source: S,
    accounts: Trie,
    staged: BTreeMap<Address, Staged>,
    maps: BTreeMap<(Address, Map), StagedMap>,
    /// Every record that the block made, also those that were replaced since.
    made: Vec<Fields>,
    /// The atoms of the first `readable_count` of them.
    readable: BTreeMap<AtomId, Atom>,
    readable_count: usize,
    /// What the transaction under way has overwritten, last first to be restored.
    undo: Vec<Undo>,
    made_before: usize,
}

impl<S: AtomSource> Journal<S> {
    /// Nothing written yet over the accounts trie with this root.
    pub(super) fn new(source: S, accounts_root: AtomId) -> Self {
        Self {
            source,
            accounts: Trie::open(accounts_root),
            staged: BTreeMap::new(),
            maps: BTreeMap::new(),
            made: Vec::new(),
            readable: BTreeMap::new(),
            readable_count: 0,
            undo: Vec::new(),
            made_before: 0,
        }
    }

    pub(super) const fn source(&self) -> &S {
        &self.source
    }

    /// What was written so far stays.
    pub(super) fn checkpoint(&mut self) {
        self.undo.clear();
        self.made_before = self.made.len();
    }

    /// Takes back everything since the last checkpoint.
    pub(super) fn rollback(&mut self) {
        while let Some(undo) = self.undo.pop() {
            match undo {
                Undo::Account(address, before) => {
                    self.staged.insert(address, before);
                }
                Undo::Entry(owner, map, key, before) => {
                    let Some(map) = self.maps.get_mut(&(owner, map)) else {
                        continue;
                    };
                    match before {
                        Some(value) => map.writes.insert(key, value),
                        None => map.writes.remove(&key),
                    };
                }
            }
        }
        self.made.truncate(self.made_before);
    }

    /// The account at this address, `None` if there is none.
    pub(super) fn account(
        &mut self,
        address: &Address,
    ) -> Result<Option<&Account>, StateError<S::Error>> {
        Ok(self.load(address)?.account.as_ref())
    }

    /// Changes the account at this address, which is made if there is none.
    pub(super) fn change<T>(
        &mut self,
        address: &Address,
        change: impl FnOnce(&mut Account) -> T,
    ) -> Result<T, StateError<S::Error>> {
        let staged = self.load(address)?;
        let before = staged.clone();
        staged.changed = true;
        let result = change(staged.account.get_or_insert_default());
        self.undo.push(Undo::Account(*address, before));
        Ok(result)
    }

    /// What stands under `key` in a trie of the account at `owner`.
    pub(super) fn entry(
        &mut self,
        owner: &Address,
        map: Map,
        key: &Key,
    ) -> Result<Option<Value>, StateError<S::Error>> {
        self.open(owner, map)?;
        let Some(staged) = self.maps.get_mut(&(*owner, map)) else {
            return Ok(None);
        };
        if let Some(value) = staged.writes.get(key) {
            return Ok(Some(value.clone()));
        }
        // Nodes on the way stay in memory, where the entry will be put.
        Ok(staged.trie.fetch(&self.source, key)?.map(Value::Bytes))
    }

    /// Puts `value` under `key` in a trie of the account at `owner`.
    pub(super) fn put(
        &mut self,
        owner: &Address,
        map: Map,
        key: &Key,
        value: Value,
    ) -> Result<(), StateError<S::Error>> {
        self.open(owner, map)?;
        if let Some(staged) = self.maps.get_mut(&(*owner, map)) {
            let before = staged.writes.insert(*key, value);
            self.undo.push(Undo::Entry(*owner, map, *key, before));
        }
        Ok(())
    }

    /// What was put in a trie of the account at `owner`, in the order of the keys.
    pub(super) fn written(
        &self,
        owner: &Address,
        map: Map,
    ) -> impl Iterator<Item = (&Key, &Value)> {
        let map = self.maps.get(&(*owner, map));
        map.into_iter().flat_map(|map| &map.writes)
    }

    /// Makes `record` and puts its id under `key`, as [`Journal::put`].
    pub(super) fn put_record(
        &mut self,
        owner: &Address,
        map: Map,
        key: &Key,
        record: Fields,
    ) -> Result<(), StateError<S::Error>> {
        let index = RecordIndex(self.made.len());
        self.put(owner, map, key, Value::Record(index))?;
        self.made.push(record);
        Ok(())
    }

    /// The record whose id `value` is: its first fields, and how many atoms it has, counted up to
    /// one more than a record can have fields. `None` when it holds no id or a list that is not of
    /// bytes.
    pub(super) fn record(
        &mut self,
        value: &Value,
    ) -> Result<Option<(Fields, usize)>, StateError<S::Error>> {
        let bytes = match value {
            Value::Record(RecordIndex(index)) => {
                return Ok(self.made.get(*index).map(|made| (made.clone(), made.len())));
            }
            Value::Bytes(bytes) => bytes,
        };
        let Some(mut next) = AtomId::from_slice(bytes) else {
            return Ok(None);
        };
        let mut atoms = Vec::with_capacity(super::fields::MAX_FIELDS);
        while !next.is_zero() && atoms.len() <= super::fields::MAX_FIELDS {
            let atom = self.atom(&next)?;
            if atom.kind() != AtomKind::Bytes {
                return Ok(None);
            }
            next = atom.next();
            atoms.push(atom);
        }
        Ok(Some((Fields::from_atoms(&atoms), atoms.len())))
    }

    /// The atom with this id, from the source or from a record that an earlier transaction made.
    pub(super) fn atom(&mut self, id: &AtomId) -> Result<Atom, StateError<S::Error>> {
        match self.source.atom(id) {
            Err(SourceError::Missing(_)) => {
                self.make_readable();
                let atom = self.readable.get(id).cloned();
                atom.ok_or(StateError::Source(SourceError::Missing(*id)))
            }
            found => Ok(found?),
        }
    }

    /// Gives the records of finished transactions their ids. Few transactions ask, so that the
    /// others need not wait for hashes that [`Journal::seal`] makes many at a time.
    fn make_readable(&mut self) {
        let finished = self.made.get(..self.made_before).unwrap_or_default();
        let new = finished.get(self.readable_count..).unwrap_or_default();
        let mut atoms = Vec::new();
        write_records(&mut Scalar, new, &mut atoms);
        self.readable.extend(atoms);
        self.readable_count = finished.len();
    }

    fn load(&mut self, address: &Address) -> Result<&mut Staged, StateError<S::Error>> {
        use alloc::collections::btree_map::Entry;
        let place = match self.staged.entry(*address) {
            Entry::Occupied(staged) => return Ok(staged.into_mut()),
            Entry::Vacant(place) => place,
        };
        let account = match self.accounts.fetch(&self.source, address.as_ref())? {
            Some(value) => {
                let id = AtomId::from_slice(&value).ok_or(StateError::Malformed {
                    id: AtomId::ZERO,
                    problem: "an entry of the accounts trie is no id",
                })?;
                Some(Account::read(&self.source, id)?)
            }
            None => None,
        };
        Ok(place.insert(Staged {
            account,
            changed: false,
        }))
    }

    /// Opens a trie of the account at `owner`, the empty one if there is no account.
    fn open(&mut self, owner: &Address, map: Map) -> Result<(), StateError<S::Error>> {
        if self.maps.contains_key(&(*owner, map)) {
            return Ok(());
        }
        let account = self.account(owner)?;
        let root = account.map_or(AtomId::ZERO, |account| match map {
            Map::Data => account.data,
            Map::Channels => account.channels,
        });
        let staged = StagedMap {
            trie: Trie::open(root),
            writes: BTreeMap::new(),
        };
        self.maps.insert((*owner, map), staged);
        Ok(())
    }
}

impl<S: AtomSource> Journal<S> {
    /// Turns everything that was written into atoms, which are appended to `atoms`. The root of the
    /// accounts trie, and where among `atoms` those of the records are.
    ///
    /// After an error it may be called again, once the missing atom is there.
    pub(super) fn seal(
        &mut self,
        hasher: &mut impl BatchHasher,
        atoms: &mut Vec<(AtomId, Atom)>,
    ) -> Result<(AtomId, Range<usize>), StateError<S::Error>> {
        self.checkpoint();
        let records_start = atoms.len();
        let records = write_records(hasher, &self.made, atoms);
        let record_atoms = records_start..atoms.len();
        for ((owner, map), staged) in &mut self.maps {
            if staged.writes.is_empty() {
                continue;
            }
            let entries: Vec<(&Key, &[u8])> = staged
                .writes
                .iter()
                .map(|(key, value)| match value {
                    Value::Bytes(bytes) => (key, &**bytes),
                    Value::Record(RecordIndex(index)) => {
                        (key, records.get(*index).map_or(&[][..], AtomId::as_ref))
                    }
                })
                .collect();
            staged.trie.put_all(&self.source, &entries)?;
            let root = commit(&mut staged.trie, hasher, atoms);
            let account = self.staged.get_mut(owner).and_then(|staged| {
                staged.changed = true;
                staged.account.as_mut()
            });
            if let Some(account) = account {
                match map {
                    Map::Data => account.data = root,
                    Map::Channels => account.channels = root,
                }
            }
        }
        let accounts_root = self.seal_accounts(hasher, atoms)?;
        Ok((accounts_root, record_atoms))
    }

    /// As [`Journal::seal`], for what changed in accounts alone since it was called.
    pub(super) fn seal_accounts(
        &mut self,
        hasher: &mut impl BatchHasher,
        atoms: &mut Vec<(AtomId, Atom)>,
    ) -> Result<AtomId, StateError<S::Error>> {
        let changed: Vec<(&Address, &Account)> = self
            .staged
            .iter()
            .filter(|(_, staged)| staged.changed)
            .filter_map(|(address, staged)| Some((address, staged.account.as_ref()?)))
            .collect();
        let numbers: Vec<[Vec<u8>; 2]> = changed
            .iter()
            .map(|(_, account)| [account.balance.to_bytes_le(), account.counter.to_bytes_le()])
            .collect();
        let chains: Vec<[Part<'_>; 6]> = changed
            .iter()
            .zip(&numbers)
            .map(|((_, account), [balance, counter])| account_parts(account, balance, counter))
            .collect();
        let ids = write_chains(hasher, &chains, atoms);
        let entries: Vec<(&Address, AtomId)> = changed
            .iter()
            .map(|(address, _)| *address)
            .zip(ids)
            .collect();
        self.accounts.put_all(&self.source, &entries)?;
        let root = commit(&mut self.accounts, hasher, atoms);
        for staged in self.staged.values_mut() {
            staged.changed = false;
        }
        Ok(root)
    }
}

/// An account as the parts of its chain, as [`Account::to_atoms`] makes it.
fn account_parts<'a>(account: &'a Account, balance: &'a [u8], counter: &'a [u8]) -> [Part<'a>; 6] {
    [
        (AtomKind::Symbol, b"account"),
        (AtomKind::Bytes, balance),
        (AtomKind::List, account.channels.as_ref()),
        (AtomKind::List, account.code.as_ref()),
        (AtomKind::Bytes, counter),
        (AtomKind::List, account.data.as_ref()),
    ]
}

/// Appends the atoms of records; their ids in the same order.
fn write_records(
    hasher: &mut impl BatchHasher,
    records: &[Fields],
    atoms: &mut Vec<(AtomId, Atom)>,
) -> Vec<AtomId> {
    let mut ids = Vec::new();
    ids.resize(records.len(), AtomId::ZERO);
    write_records_of::<3>(hasher, records, atoms, &mut ids);
    write_records_of::<6>(hasher, records, atoms, &mut ids);
    ids
}

/// Does those of them that have `N` fields.
fn write_records_of<const N: usize>(
    hasher: &mut impl BatchHasher,
    records: &[Fields],
    atoms: &mut Vec<(AtomId, Atom)>,
    ids: &mut [AtomId],
) {
    let of_len = |record: &&Fields| record.len() == N;
    let chains: Vec<[Part<'_>; N]> = records.iter().filter(of_len).map(Fields::parts).collect();
    let heads = write_chains(hasher, &chains, atoms);
    let places = records.iter().zip(ids).filter(|(record, _)| of_len(record));
    for ((_, place), head) in places.zip(heads) {
        *place = head;
    }
}

/// Appends the atoms of a trie's new nodes; its root.
fn commit(
    trie: &mut Trie,
    hasher: &mut impl BatchHasher,
    atoms: &mut Vec<(AtomId, Atom)>,
) -> AtomId {
    match trie.commit(hasher, &mut Appended(atoms)) {
        Ok(root) => root,
        Err(never) => match never {},
    }
}

struct Appended<'a>(&'a mut Vec<(AtomId, Atom)>);

impl AtomSink for Appended<'_> {
    type Error = Infallible;

    fn put(&mut self, id: AtomId, atom: Atom) -> Result<(), Infallible> {
        self.0.push((id, atom));
        Ok(())
    }
}
