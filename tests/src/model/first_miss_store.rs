//! Store in which every atom is missing on the first read, as if it had to be fetched.

use astreum_core::atom::{Atom, AtomId, AtomSource, MemoryStore, SourceError};
use core::cell::RefCell;
use std::collections::BTreeSet;

/// Store in which every atom is missing on the first read. See the [module](self).
#[derive(Default)]
pub struct FirstMissStore<S = MemoryStore> {
    /// Atoms that can be fetched.
    pub all: S,
    /// First 8 bytes of the ids of atoms that have been read.
    here: RefCell<BTreeSet<u64>>,
}

impl<S> FirstMissStore<S> {
    /// Makes all atoms missing again.
    pub fn forget(&self) {
        self.here.borrow_mut().clear();
    }
}

impl<S> From<S> for FirstMissStore<S> {
    fn from(all: S) -> Self {
        Self {
            all,
            here: RefCell::default(),
        }
    }
}

impl<S: AtomSource> AtomSource for FirstMissStore<S> {
    type Error = S::Error;

    fn atom(&self, id: &AtomId) -> Result<Atom, SourceError<S::Error>> {
        let start = id.as_bytes().first_chunk().copied().unwrap_or_default();
        if self.here.borrow_mut().insert(u64::from_le_bytes(start)) {
            return Err(SourceError::Missing(*id));
        }
        self.all.atom(id)
    }
}

/// Repeats the call until no atom is missing any more. `missing` returns the id that an error waits
/// for.
///
/// # Panics
/// Panics if the call fails otherwise, or reports an atom as missing that it has been given.
pub fn retry_missing<T, E: core::fmt::Debug>(
    mut call: impl FnMut() -> Result<T, E>,
    missing: impl Fn(&E) -> Option<AtomId>,
) -> T {
    // Few: a set of ids spends more time under a fuzzer, which follows each comparison of bytes.
    let mut fetched = Vec::new();
    loop {
        match call() {
            Ok(value) => return value,
            Err(error) => match missing(&error) {
                Some(id) => {
                    assert!(
                        !fetched.contains(&id),
                        "{id} is reported as missing although it was supplied"
                    );
                    fetched.push(id);
                }
                None => panic!("{error:?}"),
            },
        }
    }
}
