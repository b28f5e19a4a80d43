//! Garbage collection: marks what has to be kept.
//!
//! A collection works on the sealed pairs that exist when it begins. It has two bits for each of
//! their atoms: *visited*, set by the caller that follows the links from what has to be kept, and
//! *protected*, set by every caller that relies on the atom meanwhile. Atoms with neither are garbage.
//!
//! Invariants:
//! - **A write that finds its atom stored protects it**, from the beginning of a collection to its
//!   end: the state of a block can need atoms again that were garbage when the collection began.
//!   Whether an atom is stored is decided under the lock that a collection takes when it begins and
//!   when it replaces a pair, so that no write relies on an atom that is about to go.
//! - A write that was under way when a collection began has ended before the begin returns.
//! - A read protects the atom that it returns, too. It never waits, so that one that coincides with
//!   the begin or with the replacement of a pair may come too late.
//! - The two kinds of bits are separate: a protected atom does not count as visited, since its links
//!   were not followed.
//! - Atoms of level 0, and of pairs made after the beginning, are never garbage.
//! - Pairs are not merged during a collection. A pair that is repaired meanwhile is not swept.
//! - Nothing of a collection is on the disk: after an interruption, a new one begins.

use super::{ColdError, ColdStore, Inner, Snapshot, lock};
use crate::store::sorted_pair::{Pair, ReadError};
use arc_swap::ArcSwapOption;
use astreum_core::atom::{Atom, AtomId, AtomSource, SourceError};
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Bytes that an atom takes in the index and in the lengths.
const ENTRY_BYTES: u64 = 160 + 6;

/// One bit for each entry of a pair.
struct Bits(Box<[AtomicU64]>);

impl Bits {
    fn new(count: u32) -> Self {
        let words = count.div_ceil(u64::BITS);
        Self((0..words).map(|_| AtomicU64::new(0)).collect())
    }

    /// Sets a bit; returns `false` if it was set.
    fn set(&self, at: u32) -> bool {
        let bit = 1 << (at % u64::BITS);
        let word = self.0.get((at / u64::BITS) as usize);
        word.is_some_and(|word| word.fetch_or(bit, Ordering::SeqCst) & bit == 0)
    }

    fn word(&self, at: usize) -> u64 {
        self.0.get(at).map_or(0, |word| word.load(Ordering::SeqCst))
    }
}

/// Sealed pair with its marks.
pub(super) struct MarkedPair {
    pub(super) level: u32,
    pub(super) pair: Arc<Pair>,
    visited: Bits,
    protected: Bits,
    /// True while the pair is rewritten; from then on, atoms that become protected are listed.
    is_swept: AtomicBool,
    revived: Mutex<Vec<AtomId>>,
}

impl MarkedPair {
    fn new(level: u32, pair: &Arc<Pair>) -> Self {
        Self {
            level,
            pair: Arc::clone(pair),
            visited: Bits::new(pair.count()),
            protected: Bits::new(pair.count()),
            is_swept: AtomicBool::new(false),
            revived: Mutex::default(),
        }
    }

    /// Protects the atom if the pair has it.
    fn protect(&self, id: &AtomId) {
        // If the index cannot be read, the pair cannot be rewritten either.
        if self.pair.may_have(id)
            && let Ok(Some(at)) = self.pair.position(id)
            && self.protected.set(at)
            && self.is_swept.load(Ordering::SeqCst)
        {
            lock(&self.revived).push(*id);
        }
    }

    /// Returns whether the entry is kept.
    pub(super) fn is_kept(&self, at: u32) -> bool {
        let word = (at / u64::BITS) as usize;
        let kept = self.visited.word(word) | self.protected.word(word);
        kept >> (at % u64::BITS) & 1 == 1
    }

    /// Returns the number of kept entries.
    pub(super) fn kept(&self) -> u64 {
        let words = 0..self.visited.0.len();
        let kept = words.map(|at| self.visited.word(at) | self.protected.word(at));
        kept.map(|word| u64::from(word.count_ones())).sum()
    }

    /// Starts to list the atoms that become protected; see [`Self::take_revived`].
    pub(super) fn start_sweep(&self) {
        self.is_swept.store(true, Ordering::SeqCst);
    }

    /// Returns the atoms that became protected since the last call.
    pub(super) fn take_revived(&self) -> Vec<AtomId> {
        core::mem::take(&mut *lock(&self.revived))
    }

    pub(super) fn has_revived(&self) -> bool {
        !lock(&self.revived).is_empty()
    }
}

/// Marks of a collection.
pub(super) struct Marking {
    /// Pairs in the order in which they are read.
    pub(super) pairs: Vec<MarkedPair>,
    /// Visited atoms that are in none of the pairs.
    others: Mutex<HashSet<AtomId>>,
}

impl Marking {
    fn new(snapshot: &Snapshot) -> Self {
        let levels = snapshot.levels.iter();
        let pairs = levels.flat_map(|level| {
            let of_level = move |pair| MarkedPair::new(level.number, pair);
            level.pairs.iter().map(of_level)
        });
        Self {
            pairs: pairs.collect(),
            others: Mutex::default(),
        }
    }

    fn protect(&self, id: &AtomId) {
        for marked in &self.pairs {
            marked.protect(id);
        }
    }
}

/// Collection that may be under way.
#[derive(Default)]
pub(super) struct Collecting {
    marking: ArcSwapOption<Marking>,
    /// Held by writes from the lookup of their atoms until they have ended; excluded when a
    /// collection begins and when it replaces a pair.
    writes: RwLock<()>,
}

impl Collecting {
    /// Keeps a collection from beginning and from replacing a pair.
    pub(super) fn hold(&self) -> Hold<'_> {
        let lock = self.writes.read().unwrap_or_else(PoisonError::into_inner);
        Hold {
            marking: self.marking.load_full(),
            _lock: lock,
        }
    }

    /// Waits until no write relies on an atom that is not protected.
    pub(super) fn exclude(&self) -> RwLockWriteGuard<'_, ()> {
        self.writes.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_active(&self) -> bool {
        self.marking.load().is_some()
    }

    /// Protects an atom that was read.
    #[inline]
    pub(super) fn has_read(&self, id: &AtomId) {
        if let Some(marking) = &*self.marking.load() {
            marking.protect(id);
        }
    }
}

/// Lock of a write; see [`Collecting::hold`].
pub(super) struct Hold<'a> {
    marking: Option<Arc<Marking>>,
    _lock: RwLockReadGuard<'a, ()>,
}

impl Hold<'_> {
    /// Protects an atom that the caller relies on.
    pub(super) fn protect(&self, id: &AtomId) {
        if let Some(marking) = &self.marking {
            marking.protect(id);
        }
    }
}

/// Result of [`Collection::visit`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Visit {
    /// The atom is kept from now on; its links have to be followed.
    New(Atom),
    /// The atom was visited before.
    Known,
    /// The atom is not stored.
    Missing,
}

/// Number of atoms of the sealed pairs, and their bytes in all files.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Extent {
    /// Number of atoms.
    pub atoms: u64,
    /// Bytes of the atoms and of their index entries.
    pub bytes: u64,
}

/// Garbage collection under way; see the module. Dropping it ends the collection.
pub struct Collection {
    pub(super) store: ColdStore,
    pub(super) marking: Arc<Marking>,
}

impl fmt::Debug for Collection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collection")
            .field("pairs", &self.marking.pairs.len())
            .finish_non_exhaustive()
    }
}

impl Drop for Collection {
    fn drop(&mut self) {
        self.store.inner.collecting.marking.store(None);
        // Merges were put off.
        self.store.inner.wake.notify();
    }
}

impl ColdStore {
    /// Begins a garbage collection. Until it is dropped, every atom that is written or read is
    /// kept; of the others, those that are not [visited](Collection::visit) are garbage.
    ///
    /// Everything that is found to be needed *after* the beginning, together with everything that is
    /// written since, has to be what is needed in total: the caller determines what to visit after
    /// this call.
    ///
    /// # Errors
    /// Fails if another collection is under way, the pairs are shared with other nodes, or the disk
    /// fails.
    pub fn begin_collection(&self) -> Result<Collection, ColdError> {
        let inner = &self.inner;
        if inner.is_shared() {
            return Err(ColdError::SharedPairs);
        }
        // Whatever waits in level 0 cannot be collected.
        inner.collate(&mut |_| ())?;
        // A merge would replace pairs.
        let _maintenance = lock(&inner.maintenance);
        if inner.collecting.is_active() {
            return Err(ColdError::Collecting);
        }
        let marking = Arc::new(Marking::new(&inner.snapshot.load()));
        inner.collecting.marking.store(Some(Arc::clone(&marking)));
        // Writes that did not see the marking end.
        drop(inner.collecting.exclude());
        Ok(Collection {
            store: self.clone(),
            marking,
        })
    }
}

impl Collection {
    /// Marks an atom as visited, which keeps it.
    ///
    /// # Errors
    /// Fails if the disk fails, or if the only copies of the atom are damaged.
    pub fn visit(&self, id: &AtomId) -> Result<Visit, ColdError> {
        let inner = &self.store.inner;
        let (mut is_here, mut is_new, mut atom) = (false, false, None);
        for marked in &self.marking.pairs {
            if !marked.pair.may_have(id) {
                continue;
            }
            // The atom is read from the first pair in which it is new.
            let wanted = |at| marked.visited.set(at) && atom.is_none();
            match marked.pair.find_if(id, wanted) {
                Ok(None) => {}
                Ok(Some(found)) => {
                    is_here = true;
                    is_new |= found.is_some();
                    atom = atom.or(found);
                }
                Err(ReadError::Damaged(damage)) => {
                    (is_here, is_new) = (true, true);
                    inner.damages.note(damage);
                }
                Err(error) => return Err(inner.failed(error)),
            }
        }
        if is_here && !is_new {
            return Ok(Visit::Known);
        }
        if let Some(atom) = atom {
            return Ok(Visit::New(atom));
        }
        if !lock(&self.marking.others).insert(*id) {
            return Ok(Visit::Known);
        }
        match self.find(id)? {
            Some(atom) => Ok(Visit::New(atom)),
            None => Ok(Visit::Missing),
        }
    }

    /// Returns an atom without keeping it.
    ///
    /// # Errors
    /// Fails if there are copies and none could be read.
    pub fn find(&self, id: &AtomId) -> Result<Option<Atom>, ColdError> {
        self.store.inner.find_any(id)
    }

    /// Returns what is kept, and what is garbage.
    ///
    /// # Errors
    /// Fails if the disk fails.
    pub fn extents(&self) -> Result<(Extent, Extent), ColdError> {
        let (mut kept, mut garbage) = (Extent::default(), Extent::default());
        for marked in &self.marking.pairs {
            let mut cursor = marked.pair.cursor();
            while let Some(at) = cursor.position() {
                let len = cursor.stored_len().unwrap_or_default();
                let extent = match marked.is_kept(at) {
                    true => &mut kept,
                    false => &mut garbage,
                };
                extent.atoms += 1;
                extent.bytes += len + ENTRY_BYTES;
                cursor.advance();
            }
        }
        Ok((kept, garbage))
    }
}

/// Atoms of the store, without keeping them.
impl AtomSource for Collection {
    type Error = ColdError;

    fn atom(&self, id: &AtomId) -> Result<Atom, SourceError<ColdError>> {
        match self.find(id) {
            Ok(atom) => atom.ok_or(SourceError::Missing(*id)),
            Err(error) => Err(SourceError::Failed(error)),
        }
    }
}

impl Inner {
    /// Returns an intact copy of an atom, without counting a lookup and without keeping the atom. An
    /// atom of which all copies are damaged is an error: it must not be taken for one that is absent.
    fn find_any(&self, id: &AtomId) -> Result<Option<Atom>, ColdError> {
        let (atom, problems) = self.find(&self.snapshot.load(), id);
        let has_copies = !problems.is_empty();
        let problems = problems.into_iter();
        let failed = problems.filter_map(|problem| self.note(problem)).last();
        match (atom, failed) {
            (None, Some(error)) => Err(error),
            (None, None) if has_copies => Err(ColdError::Unreadable { id: *id }),
            (atom, _) => Ok(atom),
        }
    }
}
