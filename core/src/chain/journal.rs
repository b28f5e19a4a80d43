//! Staged state of a block: its writes over the state of its parent.
//!
//! Accounts and the entries of their tries are read and written through the journal. The store is
//! not touched until [`Journal::seal`] turns all changes into atoms, once for the whole block.
//!
//! Invariants:
//! - **A transaction reads the writes of earlier ones**, including records: a contract or channel
//!   record can be read as a list of atoms as soon as the transaction that created it has finished.
//! - **Rollback is complete**: after [`Journal::rollback`] the state is as it was at the last
//!   [`Journal::checkpoint`].
//! - **Missing is an outcome**: an operation that needs an atom which the source does not have
//!   changes no visible state. Loaded trie nodes are kept, so a retry is cheap.
//! - The result does not depend on the order in which accounts or entries were accessed: staged
//!   maps are ordered, and tries are canonical.

use super::fields::Fields;
use super::record::{Part, write_lists};
use super::{Account, Address, RecordError};
use crate::atom::{Atom, AtomId, AtomKind, AtomSink, AtomSource, SourceError};
use crate::expr::Bytes;
use crate::trie::{BatchHasher, Scalar, Trie, TrieError};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::convert::Infallible;
use core::fmt;
use core::ops::Range;

/// Reason that the state could not be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StateError<E> {
    /// An atom is missing or the source failed.
    Source(SourceError<E>),
    /// A transaction needs the length of a list, which is unknown from this atom on. Fetch the
    /// atoms from there, or measure them and report the result through
    /// [`AtomSource::list_stretch`](crate::atom::AtomSource::list_stretch). An unavailable atom may
    /// be one that the block itself creates; then it is sufficient to report the length up to it.
    Unmeasured {
        /// Head of the list.
        list: AtomId,
        /// First missing atom.
        at: AtomId,
    },
    /// The stored data under this id is malformed for its place in the state.
    Malformed {
        /// Id of the malformed data.
        id: AtomId,
        /// Description of the error.
        problem: &'static str,
    },
}

impl<E> StateError<E> {
    /// Returns the atom to fetch before a retry; `None` if no atom is missing.
    ///
    /// ```
    /// use astreum_core::atom::NoStore;
    /// use astreum_core::chain::{Builder, Election};
    /// # use astreum_core::atom::MemoryStore;
    /// # use astreum_core::chain::{Address, Genesis};
    /// # use astreum_core::crypto::SigningKey;
    /// # use astreum_core::integer::Natural;
    /// # use astreum_core::trie::Scalar;
    /// # let key = SigningKey::from_seed(&[1; 32]);
    /// # let validator = Address::from(key.verifying_key());
    /// # let mut store = MemoryStore::new();
    /// # let genesis = Genesis::new(validator, Natural::ZERO, 1_700_000_000_u64.into());
    /// # let parent = genesis.build(&mut Scalar, &mut store)?;
    /// # let Election { seeds, stakes } = Election::read(&store, &parent)?;
    /// // A body cannot be made without the accounts: fetch the atom and call again.
    /// let made = Builder::new(NoStore, &parent, &stakes).finish(&mut Scalar, None);
    /// assert_eq!(made.err().and_then(|error| error.missing()), Some(parent.accounts));
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    #[must_use]
    pub const fn missing(&self) -> Option<AtomId> {
        match self {
            Self::Source(SourceError::Missing(id)) | Self::Unmeasured { at: id, .. } => Some(*id),
            _ => None,
        }
    }

    /// Returns the head of the list whose length is needed; `None` if no length is needed.
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
                problem: "trie key is too long",
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
                write!(f, "unknown length of list {list} from atom {at}")
            }
            Self::Malformed { id, problem } => write!(f, "malformed state at {id}: {problem}"),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for StateError<E> {}

/// Key in one of an account's tries.
pub(super) type Key = [u8; 32];

/// One of an account's two tries.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Map {
    /// Data trie: stakes in the treasury, contracts in the burn account.
    Data,
    /// Payment channels by peer.
    Channels,
}

/// Index of a record that the block created.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct RecordIndex(usize);

/// Value under a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Value {
    /// Bytes as stored in the trie.
    Bytes(Bytes),
    /// Reference to a record that this block created; its id is stored in the trie.
    Record(RecordIndex),
}

/// Account that was read.
#[derive(Clone)]
struct Staged {
    /// `None` if the account does not exist.
    account: Option<Account>,
    changed: bool,
}

/// Trie that was read, and the writes to it.
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
    /// All records that the block created, including those that were replaced later.
    made: Vec<Fields>,
    /// Atoms of the first `readable_count` records.
    readable: BTreeMap<AtomId, Atom>,
    readable_count: usize,
    /// Values that the current transaction has overwritten; restored last first.
    undo: Vec<Undo>,
    /// Number of records that existed at the last checkpoint.
    made_before: usize,
}

impl<S: AtomSource> Journal<S> {
    /// Creates a journal without writes over the accounts trie with this root.
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

    /// Commits all writes so far: [`Journal::rollback`] no longer reverts them.
    pub(super) fn checkpoint(&mut self) {
        self.undo.clear();
        self.made_before = self.made.len();
    }

    /// Reverts all writes since the last checkpoint.
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

    /// Returns the account at this address; `None` if it does not exist.
    pub(super) fn account(
        &mut self,
        address: &Address,
    ) -> Result<Option<&Account>, StateError<S::Error>> {
        Ok(self.load(address)?.account.as_ref())
    }

    /// Changes the account at this address; creates it if it does not exist.
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

    /// Returns the value under `key` in a trie of the account at `owner`.
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
        // Nodes on the path stay in memory, for a later write to this entry.
        Ok(staged.trie.fetch(&self.source, key)?.map(Value::Bytes))
    }

    /// Writes `value` under `key` in a trie of the account at `owner`.
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

    /// Returns the writes to a trie of the account at `owner`, ordered by key.
    pub(super) fn written(
        &self,
        owner: &Address,
        map: Map,
    ) -> impl Iterator<Item = (&Key, &Value)> {
        let map = self.maps.get(&(*owner, map));
        map.into_iter().flat_map(|map| &map.writes)
    }

    /// Creates `record` and writes its id under `key`, as [`Journal::put`] does.
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

    /// Returns the record that `value` refers to: its first fields, and its number of atoms,
    /// counted up to one more than the maximum number of fields. `None` if the value is not an id
    /// or the list has an atom that is not of kind bytes.
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

    /// Returns the atom with this id, from the source or from a record that an earlier transaction
    /// created.
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

    /// Computes the ids of the records of finished transactions. Few transactions need them, so the
    /// others do not wait for hashes that [`Journal::seal`] computes in batches.
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
                    problem: "accounts-trie value is not a 32-byte id",
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

    /// Opens a trie of the account at `owner`; the empty trie if the account does not exist.
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
    /// Turns all writes into atoms, which are appended to `atoms`. Returns the root of the accounts
    /// trie and the range of `atoms` that holds the records.
    ///
    /// After an error it may be called again once the missing atom is available.
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

    /// Does the work of [`Journal::seal`] for changes to accounts alone that followed it.
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
        let lists: Vec<[Part<'_>; 6]> = changed
            .iter()
            .zip(&numbers)
            .map(|((_, account), [balance, counter])| account_parts(account, balance, counter))
            .collect();
        let ids = write_lists(hasher, &lists, atoms);
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

/// Returns the parts of an account's list, as [`Account::to_atoms`] encodes it.
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

/// Appends the atoms of records and returns the records' ids in the same order.
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

/// Writes the records that have `N` fields.
fn write_records_of<const N: usize>(
    hasher: &mut impl BatchHasher,
    records: &[Fields],
    atoms: &mut Vec<(AtomId, Atom)>,
    ids: &mut [AtomId],
) {
    let of_len = |record: &&Fields| record.len() == N;
    let lists: Vec<[Part<'_>; N]> = records.iter().filter(of_len).map(Fields::parts).collect();
    let heads = write_lists(hasher, &lists, atoms);
    let slots = records.iter().zip(ids).filter(|(record, _)| of_len(record));
    for ((_, slot), head) in slots.zip(heads) {
        *slot = head;
    }
}

/// Appends the atoms of a trie's new nodes and returns its root.
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
