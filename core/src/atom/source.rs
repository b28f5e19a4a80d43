//! Where atoms come from and where they go, as narrow traits whose errors the host owns.

use super::{Atom, AtomId, ListStretch};
use alloc::vec::Vec;
use core::convert::Infallible;
use core::fmt;
use core::hash::{BuildHasherDefault, Hasher};
use hashbrown::HashMap;

/// Why a source did not give an atom.
///
/// "Missing" is not a failure: it names what the caller can fetch elsewhere before it tries again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SourceError<E> {
    /// The source works and does not hold this atom.
    Missing(AtomId),
    /// The source itself failed.
    Failed(E),
}

impl<E: fmt::Display> fmt::Display for SourceError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(id) => write!(f, "atom {id} is missing"),
            Self::Failed(error) => write!(f, "the atom store failed: {error}"),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for SourceError<E> {}

/// Gives atoms by id.
pub trait AtomSource {
    /// How the source itself can fail.
    type Error;

    /// The atom with this id.
    ///
    /// The caller may rely on the id: a source that reads from a medium that can be damaged checks
    /// it and calls what does not match missing.
    ///
    /// # Errors
    /// [`SourceError::Missing`] when the atom is not here, [`SourceError::Failed`] when the source
    /// could not look.
    fn atom(&self, id: &AtomId) -> Result<Atom, SourceError<Self::Error>>;

    /// Returns what is known about the length of the list that starts with this atom, of any part
    /// of it from there on. Where only lengths count, a source that has measured a list need not
    /// have its atoms.
    ///
    /// It must be true, as [`ListMeasurer`](super::ListMeasurer) finds it out. Sources know nothing
    /// unless they say so.
    fn list_stretch(&self, head: &AtomId) -> Option<ListStretch> {
        let _ = head;
        None
    }
}

/// Takes atoms.
pub trait AtomSink {
    /// How the sink can fail.
    type Error;

    /// Keeps `atom` under `id`, which is the atom's own id.
    ///
    /// # Errors
    /// When the sink could not keep it.
    fn put(&mut self, id: AtomId, atom: Atom) -> Result<(), Self::Error>;
}

impl<T: AtomSource + ?Sized> AtomSource for &T {
    type Error = T::Error;

    fn atom(&self, id: &AtomId) -> Result<Atom, SourceError<T::Error>> {
        (**self).atom(id)
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

/// Every atom it was given, in memory, without a bound. The order in which it holds them shows
/// nowhere.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    atoms: HashMap<AtomId, Atom, BuildHasherDefault<IdBits>>,
}

/// Hasher of ids, which are hashes: their first bits.
#[derive(Clone, Copy, Default)]
pub(crate) struct IdBits(u64);

impl Hasher for IdBits {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(bytes) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*bytes);
        }
    }

    // An id's length, which is always the same.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            atoms: HashMap::with_hasher(BuildHasherDefault::new()),
        }
    }

    /// Keeps `atom` under its own id, which is returned.
    pub fn insert(&mut self, atom: Atom) -> AtomId {
        let id = atom.id();
        self.atoms.insert(id, atom);
        id
    }

    /// Removes an atom.
    pub fn remove(&mut self, id: &AtomId) -> Option<Atom> {
        self.atoms.remove(id)
    }

    /// How many atoms it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.atoms.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.atoms.is_empty()
    }

    /// Its atoms in the order of their ids.
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

/// Holds nothing and keeps nothing.
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
