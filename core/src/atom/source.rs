//! Sources and sinks of atoms, as narrow traits with a host-defined error type.

use super::{Atom, AtomId, ListStretch};
use alloc::vec::Vec;
use core::convert::Infallible;
use core::fmt;
use core::hash::{BuildHasherDefault, Hasher};
use hashbrown::HashMap;

/// Reason a source did not return an atom.
///
/// "Missing" is not a failure: it carries the id that the caller can fetch elsewhere before it
/// tries again.
///
/// ```
/// use astreum_core::atom::{AtomId, AtomSource, MemoryStore, SourceError};
///
/// let id = AtomId::new([7; 32]);
/// match MemoryStore::new().atom(&id) {
///     Ok(atom) => panic!("found {atom:?}"),
///     // Fetch it elsewhere, insert it, and try again.
///     Err(SourceError::Missing(missing)) => assert_eq!(missing, id),
///     Err(SourceError::Failed(error)) => match error {},
/// }
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SourceError<E> {
    /// The source works but does not have this atom.
    Missing(AtomId),
    /// The source failed.
    Failed(E),
}

impl<E: fmt::Display> fmt::Display for SourceError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(id) => write!(f, "atom {id} is missing"),
            Self::Failed(error) => write!(f, "failed to read the atom store: {error}"),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for SourceError<E> {}

/// Source of atoms by id.
///
/// A source of stored bytes that may be damaged:
///
/// ```
/// use astreum_core::atom::{Atom, AtomId, AtomSource, SourceError};
/// use astreum_core::expr::Expr;
/// use core::convert::Infallible;
/// use std::collections::BTreeMap;
///
/// struct Records(BTreeMap<AtomId, Vec<u8>>);
///
/// impl AtomSource for Records {
///     type Error = Infallible;
///
///     fn atom(&self, id: &AtomId) -> Result<Atom, SourceError<Infallible>> {
///         let stored = self.0.get(id).and_then(|bytes| Atom::from_bytes(bytes).ok());
///         let intact = stored.filter(|atom| atom.id() == *id);
///         intact.ok_or(SourceError::Missing(*id))
///     }
/// }
///
/// let (id, atoms) = Expr::bytes("abc").to_atoms();
/// let mut records = Records(atoms.iter().map(|atom| (atom.id(), atom.to_bytes())).collect());
/// assert!(Expr::from_atoms(&records, &id, 10).is_ok_and(|read| read == Expr::bytes("abc")));
///
/// records.0.insert(id, b"damaged".to_vec());
/// assert_eq!(records.atom(&id), Err(SourceError::Missing(id)));
/// ```
pub trait AtomSource {
    /// Error of the source itself.
    type Error;

    /// Returns the atom with this id.
    ///
    /// The caller may rely on the id: a source that reads from a medium that can be damaged
    /// verifies it and reports a mismatching atom as missing.
    ///
    /// # Errors
    /// Returns [`SourceError::Missing`] if the source does not have the atom, and
    /// [`SourceError::Failed`] if the lookup failed.
    fn atom(&self, id: &AtomId) -> Result<Atom, SourceError<Self::Error>>;

    /// Returns the atom with this id to a caller that reads many atoms, each of them once. A source
    /// that keeps what it has read from a slower medium need not keep this one. The default
    /// implementation is [`AtomSource::atom`].
    ///
    /// # Errors
    /// As [`AtomSource::atom`].
    fn atom_once(&self, id: &AtomId) -> Result<Atom, SourceError<Self::Error>> {
        self.atom(id)
    }

    /// Returns the measured length of the list that starts with this atom, or of any leading part
    /// of it. If only lengths are needed, a source that has measured a list does not need its
    /// atoms.
    ///
    /// The value must be true, as computed by [`ListMeasurer`](super::ListMeasurer). The default
    /// implementation returns `None`.
    fn list_stretch(&self, head: &AtomId) -> Option<ListStretch> {
        let _ = head;
        None
    }
}

/// Sink of atoms.
///
/// A sink that counts what it is given:
///
/// ```
/// use astreum_core::atom::{Atom, AtomId, AtomSink};
/// use core::convert::Infallible;
///
/// #[derive(Default)]
/// struct Size(usize);
///
/// impl AtomSink for Size {
///     type Error = Infallible;
///
///     fn put(&mut self, _: AtomId, atom: Atom) -> Result<(), Infallible> {
///         self.0 += atom.stored_len();
///         Ok(())
///     }
/// }
///
/// let mut size = Size::default();
/// astreum_core::text::parse("(a a)")?.write_atoms(&mut size)?;
/// assert_eq!(size.0, 2 * (33 + 1) + 2 * (33 + 32));
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
pub trait AtomSink {
    /// Error of the sink.
    type Error;

    /// Stores `atom` under `id`, which must be the atom's own id.
    ///
    /// # Errors
    /// Fails if the sink could not store it.
    fn put(&mut self, id: AtomId, atom: Atom) -> Result<(), Self::Error>;
}

impl<T: AtomSource + ?Sized> AtomSource for &T {
    type Error = T::Error;

    fn atom(&self, id: &AtomId) -> Result<Atom, SourceError<T::Error>> {
        (**self).atom(id)
    }

    fn atom_once(&self, id: &AtomId) -> Result<Atom, SourceError<T::Error>> {
        (**self).atom_once(id)
    }

    fn list_stretch(&self, head: &AtomId) -> Option<ListStretch> {
        (**self).list_stretch(head)
    }
}

impl<T: AtomSource + ?Sized> AtomSource for &mut T {
    type Error = T::Error;

    fn atom(&self, id: &AtomId) -> Result<Atom, SourceError<T::Error>> {
        (**self).atom(id)
    }

    fn atom_once(&self, id: &AtomId) -> Result<Atom, SourceError<T::Error>> {
        (**self).atom_once(id)
    }

    fn list_stretch(&self, head: &AtomId) -> Option<ListStretch> {
        (**self).list_stretch(head)
    }
}

impl<T: AtomSink + ?Sized> AtomSink for &mut T {
    type Error = T::Error;

    fn put(&mut self, id: AtomId, atom: Atom) -> Result<(), T::Error> {
        (**self).put(id, atom)
    }
}

/// Source whose reads are all [`AtomSource::atom_once`], for code that goes through long chains or
/// tries.
#[derive(Clone, Copy, Debug)]
pub struct ReadOnce<S>(pub S);

impl<S: AtomSource> AtomSource for ReadOnce<S> {
    type Error = S::Error;

    fn atom(&self, id: &AtomId) -> Result<Atom, SourceError<S::Error>> {
        self.0.atom_once(id)
    }

    fn list_stretch(&self, head: &AtomId) -> Option<ListStretch> {
        self.0.list_stretch(head)
    }
}

/// Unbounded in-memory atom store. Its internal order is not observable.
///
/// ```
/// use astreum_core::atom::{Atom, AtomSource, MemoryStore};
///
/// let mut store = MemoryStore::new();
/// let id = store.insert(Atom::bytes(*b"abc"));
/// assert_eq!(store.atom(&id), Ok(Atom::bytes(*b"abc")));
/// assert_eq!(store.len(), 1);
/// ```
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    atoms: HashMap<AtomId, Atom, BuildHasherDefault<IdBits>>,
}

/// Hasher for ids that uses their first 8 bytes, because ids are already hashes.
#[derive(Clone, Copy, Default)]
pub(crate) struct IdBits(u64);

impl Hasher for IdBits {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(bytes) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*bytes);
        }
    }

    // The length prefix of an id, which is always the same.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

impl MemoryStore {
    /// Creates an empty store.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            atoms: HashMap::with_hasher(BuildHasherDefault::new()),
        }
    }

    /// Stores `atom` under its own id and returns the id.
    ///
    /// ```
    /// use astreum_core::atom::{Atom, MemoryStore};
    /// let (mut store, atom) = (MemoryStore::new(), Atom::symbol("add"));
    /// assert_eq!(store.insert(atom.clone()), atom.id());
    /// assert_eq!(store.insert(atom.clone()), atom.id());
    /// assert_eq!(store.len(), 1);
    /// ```
    pub fn insert(&mut self, atom: Atom) -> AtomId {
        let id = atom.id();
        self.atoms.insert(id, atom);
        id
    }

    /// Removes an atom and returns it.
    ///
    /// ```
    /// use astreum_core::atom::{Atom, AtomSource, MemoryStore, SourceError};
    /// let mut store = MemoryStore::new();
    /// let id = store.insert(Atom::symbol("add"));
    /// assert_eq!(store.remove(&id), Some(Atom::symbol("add")));
    /// assert_eq!(store.atom(&id), Err(SourceError::Missing(id)));
    /// ```
    pub fn remove(&mut self, id: &AtomId) -> Option<Atom> {
        self.atoms.remove(id)
    }

    /// Returns the number of atoms.
    #[must_use]
    pub fn len(&self) -> usize {
        self.atoms.len()
    }

    /// Returns whether the store is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.atoms.is_empty()
    }

    /// Returns the atoms in the order of their ids.
    ///
    /// ```
    /// use astreum_core::atom::{Atom, MemoryStore};
    /// let store: MemoryStore = ["a", "b", "c"].map(Atom::symbol).into_iter().collect();
    /// assert!(store.iter().is_sorted_by_key(|(id, _)| *id));
    /// assert!(store.iter().all(|(id, atom)| atom.id() == *id));
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = (&AtomId, &Atom)> {
        let mut atoms: Vec<(&AtomId, &Atom)> = self.atoms.iter().collect();
        atoms.sort_unstable_by_key(|(id, _)| *id);
        atoms.into_iter()
    }
}

impl Extend<Atom> for MemoryStore {
    fn extend<I: IntoIterator<Item = Atom>>(&mut self, atoms: I) {
        self.atoms
            .extend(atoms.into_iter().map(|atom| (atom.id(), atom)));
    }
}

impl FromIterator<Atom> for MemoryStore {
    fn from_iter<I: IntoIterator<Item = Atom>>(atoms: I) -> Self {
        let mut store = Self::new();
        store.extend(atoms);
        store
    }
}

impl AtomSource for MemoryStore {
    type Error = Infallible;

    fn atom(&self, id: &AtomId) -> Result<Atom, SourceError<Infallible>> {
        self.atoms.get(id).cloned().ok_or(SourceError::Missing(*id))
    }
}

impl AtomSink for MemoryStore {
    type Error = Infallible;

    fn put(&mut self, id: AtomId, atom: Atom) -> Result<(), Infallible> {
        self.atoms.insert(id, atom);
        Ok(())
    }
}

/// Store that is always empty and discards every atom.
///
/// ```
/// use astreum_core::atom::{AtomId, AtomSource, NoStore, SourceError};
/// use astreum_core::expr::Expr;
///
/// let mut store = NoStore;
/// let id = Expr::symbol("add").write_atoms(&mut store).unwrap();
/// assert_eq!(store.atom(&id), Err(SourceError::Missing(id)));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct NoStore;

impl AtomSource for NoStore {
    type Error = Infallible;

    fn atom(&self, id: &AtomId) -> Result<Atom, SourceError<Infallible>> {
        Err(SourceError::Missing(*id))
    }
}

impl AtomSink for NoStore {
    type Error = Infallible;

    fn put(&mut self, _: AtomId, _: Atom) -> Result<(), Infallible> {
        Ok(())
    }
}
